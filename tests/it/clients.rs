//! Unmodified SDKs against `gratis demo`, each in its own language.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::sync_channel;
use std::thread;

use tempfile::TempDir;

use crate::support::PATIENCE;

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A tool that `make tools` puts there. A missing one fails the test: a skipped test would look like a passed one.
fn tool(path: &str) -> PathBuf {
    let path = in_repository(path);
    assert!(path.exists(), "{} is missing: run `make tools` first", path.display());
    path
}

/// Waits for a process, but not for ever.
fn wait(child: Child, what: &str) -> ExitStatus {
    let id = child.id();
    within(what, move || {
        let mut child = child;
        child.wait().unwrap()
    })
    .unwrap_or_else(|| {
        signal(id, "KILL");
        panic!("{what} did not end within {PATIENCE:?}")
    })
}

/// What `work` answers, unless it takes too long.
fn within<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, answer) = sync_channel(1);
    thread::Builder::new().name(what.to_owned()).spawn(move || done.send(work())).unwrap();
    answer.recv_timeout(PATIENCE).ok()
}

fn signal(process: u32, name: &str) {
    let status = Command::new("sh").args(["-c", &format!("kill -{name} {process}")]).status().unwrap();
    assert!(status.success(), "signal {name} to {process}");
}

/// `gratis demo --json`, with a folder of its own to work in.
struct Demo {
    child: Option<Child>,
    folder: TempDir,
}

impl Demo {
    fn start(grants: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_gratis"))
            .args(["demo", "--json", "--chunk-delay", "1"])
            .args(grants.iter().flat_map(|grant| ["--grant", grant]))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(folder.path().join("stderr")).unwrap())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let demo = Self { child: Some(child), folder };
        let line = within("the first line of gratis demo", move || {
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
            // What else it says is read and dropped, so that it never blocks on a full pipe.
            thread::spawn(move || output.read_to_end(&mut Vec::new()));
            line
        });
        let line = line.unwrap_or_default();
        let is_json = serde_json::from_str::<serde_json::Value>(&line).is_ok();
        assert!(is_json, "gratis demo --json printed {line:?} first, and on standard error:\n{}", demo.said());
        std::fs::write(demo.line(), line).unwrap();
        demo
    }

    /// The file with the line that it printed.
    fn line(&self) -> PathBuf {
        self.folder.path().join("demo.json")
    }

    /// What it wrote to standard error.
    fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("stderr")).unwrap()
    }

    /// Ends it as a service manager does.
    fn stop(mut self) {
        let child = self.child.take().unwrap();
        signal(child.id(), "TERM");
        let status = wait(child, "gratis demo after SIGTERM");
        assert!(status.success(), "gratis demo ended with {status} after SIGTERM:\n{}", self.said());
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn run(program: &Path, script: &str, grants: &[&str]) {
    let demo = Demo::start(grants);
    let path = demo.folder.path().join("table");
    let output = File::create(&path).unwrap();
    let child = Command::new(program)
        .arg(in_repository(script))
        .arg(demo.line())
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .spawn()
        .unwrap();
    let status = wait(child, script);
    let table = std::fs::read_to_string(&path).unwrap();
    println!("{table}");
    assert!(status.success(), "{script} ended with {status}\n{table}\ngratis demo said:\n{}", demo.said());
    assert!(table.contains(" passed, 0 failed"), "{table}");
    demo.stop();
}

#[test]
fn openai_python_works_until_the_free_quota_ends_and_asks_once_after_that() {
    run(&tool("target/clients-venv/bin/python"), "tests/clients/python/run.py", &[]);
}

#[test]
fn openai_node_works_until_the_free_quota_ends_and_asks_once_after_that() {
    tool("tests/clients/node/node_modules/openai");
    run(&tool("target/clients-venv/bin/node"), "tests/clients/node/run.mjs", &[]);
}

/// A model for every client (a response that goes on from another one is held at its window), and for most of them one whose grant is too small for a single call.
const GRANTS: [&str; 15] = [
    "qwen-plus=4000000",
    "qwen-max=100",
    "qwen3-vl-plus=1000000",
    "qwen3-vl-flash=100",
    "qwen3-asr-flash=3000",
    "text-embedding-v4=500000",
    "text-embedding-v3=10",
    "qwen3-rerank=500000",
    "wan2.2-t2i-flash=50",
    "wan2.2-t2i-plus=1",
    "wan2.6-t2v=50",
    "wan2.5-t2v-preview=1",
    "qwen3-tts-flash=5000",
    "cosyvoice-v3-flash=5",
    "qwen-flash=1000000",
];

#[test]
fn the_sdks_of_the_other_dialects_work_and_ask_once_where_they_are_refused() {
    run(&tool("target/clients-venv/bin/python"), "tests/clients/python/dialects.py", &GRANTS);
}
