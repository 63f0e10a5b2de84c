//! The program itself as a child process, with a configuration and a state folder of its own.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::PATIENCE;

/// The provider's key that every child is given.
pub const PROVIDER_KEY: &str = "sk-provider-0001";

/// A folder with a configuration; what the program writes goes into it.
pub struct Home {
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl Home {
    /// A configuration with free ports, this upstream, and these lines more; a table that is already there must not come again.
    pub fn new(upstream: &str, more: &str) -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap(), variables: Vec::new() };
        home.configure(upstream, more);
        home
    }

    /// Gives every run from here this variable.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    pub fn configure(&self, upstream: &str, more: &str) {
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n{more}\n[admin]\nlisten = \"127.0.0.1:0\"\n[store]\nstate_dir = \"state\"\n\
             [upstream.default]\nbase_url = \"{upstream}/compatible-mode/v1\"\nallow_private = true\n"
        );
        std::fs::write(self.config(), text).unwrap();
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("gratis.toml")
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn token(&self) -> String {
        std::fs::read_to_string(self.path().join("state/admin-token")).unwrap().trim().to_owned()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gratis"));
        command
            .args(words)
            .arg("--config")
            .arg(self.config())
            .current_dir(self.path())
            .env_clear()
            .env("DASHSCOPE_API_KEY", PROVIDER_KEY)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Makes a ledger with this balance and answers the key.
    pub fn init(&self, balance: &str) -> String {
        let output = self.run(&["init", "--balance", balance, "-o", "json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let made: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        made["api_key"].as_str().unwrap().to_owned()
    }

    /// Starts `gratis serve` and waits until it says where it listens.
    pub fn serve(&self) -> Gratis {
        self.serve_with(&[])
    }

    pub fn serve_with(&self, variables: &[(&str, &str)]) -> Gratis {
        let mut command = self.command(&["serve"]);
        command.envs(variables.iter().copied());
        Self::begin(command)
    }

    /// The same on a socket that is handed over as a service manager does.
    pub fn serve_on(&self, socket: OwnedFd, variables: &[(&str, &str)]) -> Gratis {
        let mut command = self.through("export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\" 3<&0 </dev/null");
        command.stdin(Stdio::from(socket)).envs(variables.iter().copied());
        Self::begin(command)
    }

    /// The same with at most so many descriptors.
    pub fn serve_within(&self, descriptors: u32) -> Gratis {
        Self::begin(self.through(&format!("ulimit -n {descriptors}; exec \"$@\"")))
    }

    /// `gratis serve`, begun by a line for the shell that has it as `$@`.
    fn through(&self, line: &str) -> Command {
        let serve = self.command(&["serve"]);
        let mut command = Command::new("/bin/sh");
        command.args(["-c", line, "sh"]).arg(serve.get_program()).args(serve.get_args()).current_dir(self.path());
        command
            .env_clear()
            .envs(serve.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .stdin(Stdio::null());
        command
    }

    fn begin(mut command: Command) -> Gratis {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        collect(child.stdout.take().unwrap(), &said);
        collect(child.stderr.take().unwrap(), &said);
        let mut gratis = Gratis { child, said, origin: String::new(), admin: String::new() };
        gratis.wait_for("operators:");
        let said = gratis.said();
        let of = |what: &str| {
            let line = said.lines().find_map(|line| line.trim().strip_prefix(what)).unwrap();
            let url = line.split_whitespace().next().unwrap();
            let (scheme, rest) = url.split_once("://").unwrap();
            format!("{scheme}://{}", rest.split('/').next().unwrap())
        };
        gratis.origin = of("clients:");
        gratis.admin = of("operators:");
        gratis
    }
}

fn collect(mut from: impl Read + Send + 'static, said: &Arc<Mutex<Vec<u8>>>) {
    let said = Arc::clone(said);
    std::thread::spawn(move || {
        let mut buffer = [0; 8_192];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            said.lock().unwrap().extend_from_slice(&buffer[..count]);
        }
    });
}

/// A running `gratis serve`; it is killed when dropped.
pub struct Gratis {
    child: Child,
    said: Arc<Mutex<Vec<u8>>>,
    pub origin: String,
    pub admin: String,
}

impl Drop for Gratis {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Gratis {
    /// Everything that was written to standard output and standard error so far.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned()
    }

    /// Waits until `text` was said.
    pub fn wait_for(&mut self, text: &str) {
        self.wait_for_times(text, 1);
    }

    pub fn wait_for_times(&mut self, text: &str, times: usize) {
        let begun = Instant::now();
        while self.said().matches(text).count() < times {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended with {ended:?} and without {text:?}: {}", self.said());
            assert!(begun.elapsed() < PATIENCE, "it never said {text:?}: {}", self.said());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        let pid = self.id();
        let sent = Command::new("sh").args(["-c", &format!("kill -s {name} {pid}")]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end: {}", self.said());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
