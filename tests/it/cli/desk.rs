//! A desk with a terminal: a folder of its own, the program, and an office that listens.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::admin::office::{Office, TOKEN};

/// The program, without anything of this process's environment.
pub fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gratis"));
    command.env_clear().current_dir(folder).stdin(Stdio::null());
    command
}

/// What a run of the program came to.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn of(mut command: Command) -> Self {
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Asserts the exit code; answers what was printed.
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// The rows of a table, each split at white space.
    pub fn rows(&self) -> Vec<Vec<&str>> {
        self.out.lines().skip(1).map(|line| line.split_whitespace().collect()).collect()
    }
}

pub struct Desk {
    pub office: Office,
    pub url: String,
    pub folder: TempDir,
    _stop: DropGuard,
}

impl Desk {
    pub async fn new() -> Self {
        Self::of(Office::new().await).await
    }

    pub async fn of(office: Office) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let (router, stopped) = (office.router(), stop.clone());
        tokio::spawn(async move {
            axum::serve(listener, router).with_graceful_shutdown(stopped.cancelled_owned()).await.unwrap();
        });
        Self { office, url, folder: TempDir::new().unwrap(), _stop: stop.drop_guard() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program with the address and the token of the office.
    pub fn command(&self, line: &str) -> Command {
        let mut command = program(self.folder.path());
        command.args(line.split_whitespace()).env("GRATIS_ADMIN_URL", &self.url).env("GRATIS_ADMIN_TOKEN", TOKEN);
        command
    }

    pub async fn run(&self, line: &str) -> Ran {
        run(self.command(line)).await
    }
}

/// Runs a program while the runtime goes on.
pub async fn run(command: Command) -> Ran {
    tokio::task::spawn_blocking(|| Ran::of(command)).await.unwrap()
}
