//! Real Redis servers on free ports: one alone, a Sentinel trio, a cluster. Each ends with the value that started it.

mod cluster;
mod sentinels;

pub use cluster::Cluster;
pub use sentinels::Sentinels;

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rand::RngExt as _;

use super::PATIENCE;

/// One Redis on which nothing acknowledged is lost: the options of class `redis-always`.
pub const ALWAYS: [&str; 2] = ["appendonly yes", "appendfsync always"];

/// One Redis of class `redis-everysec`.
pub const EVERYSEC: [&str; 2] = ["appendonly yes", "appendfsync everysec"];

/// What a primary of class `redis-wait` needs beside its replicas.
pub const WAIT: [&str; 3] = ["appendonly yes", "min-replicas-to-write 1", "min-replicas-max-lag 2"];

/// Polls until `done`, without blocking the test's runtime; `what` is said when it never happens.
pub async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "it never happened: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "it never happened: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A port that nothing listens on, below those that the system gives to outgoing connections, so that a server can come back to it.
fn free_port() -> u16 {
    let mut random = rand::rng();
    loop {
        let port = random.random_range(10_000..32_000);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// One process of `redis-server` or `redis-sentinel` with a folder of its own.
pub struct Server {
    program: &'static str,
    folder: tempfile::TempDir,
    port: u16,
    /// What `redis-cli` needs to get in: password, TLS.
    access: Vec<String>,
    child: Option<Child>,
}

impl Server {
    /// A Redis with these lines in its `redis.conf`; `PORT` in them is its port. Without any it keeps nothing on disk.
    pub fn start(lines: &[&str]) -> Self {
        Self::start_guarded(lines, &[])
    }

    /// A Redis that `redis-cli` can only ask with these arguments: `--user`, `--pass`, `--tls` and so on.
    pub fn start_guarded(lines: &[&str], access: &[&str]) -> Self {
        Self::start_as("redis-server", &|port| lines.join("\n").replace("PORT", &port.to_string()), access)
    }

    /// One on which nothing acknowledged is lost.
    pub fn always() -> Self {
        Self::start(&ALWAYS)
    }

    fn start_as(program: &'static str, lines: &dyn Fn(u16) -> String, access: &[&str]) -> Self {
        // Another process may take a port between the look and the use of it.
        for _ in 0..10 {
            let port = free_port();
            let mut server = Self {
                program,
                folder: tempfile::tempdir().unwrap(),
                port,
                access: access.iter().map(|&word| word.to_owned()).collect(),
                child: None,
            };
            let lines = lines(port);
            let mut text = format!("bind 127.0.0.1\ndir {}\n", server.folder.path().display());
            let given = |name| lines.lines().any(|line| line.split_whitespace().next() == Some(name));
            if !given("port") {
                writeln!(text, "port {port}").unwrap();
            }
            if program == "redis-server" && !given("save") {
                text.push_str("save \"\"\n");
            }
            std::fs::write(server.conf(), text + &lines + "\n").unwrap();
            if server.spawn() {
                return server;
            }
            assert!(server.log().contains("Address already in use"), "{program} did not start: {}", server.log());
        }
        panic!("no free port was found for {program}");
    }

    fn conf(&self) -> PathBuf {
        self.folder.path().join("redis.conf")
    }

    /// Starts the process and waits until it answers at all; false when it ended.
    fn spawn(&mut self) -> bool {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let child = Command::new(self.program)
            .arg(self.conf())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|why| {
                panic!("{} is needed ({why}); tests/clients/tools.sh installs it", self.program);
            });
        let child = self.child.insert(child);
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if child.try_wait().unwrap().is_some() {
                self.child = None;
                return false;
            }
            assert!(begun.elapsed() < PATIENCE, "{} does not listen", self.program);
            std::thread::sleep(Duration::from_millis(5));
        }
        // Something else may listen on the port while ours is about to end.
        std::thread::sleep(Duration::from_millis(5));
        if child.try_wait().unwrap().is_some() {
            self.child = None;
            return false;
        }
        true
    }

    /// Its folder: `redis.conf`, `log`, `dump.rdb`, `appendonlydir`.
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir().join("log")).unwrap_or_default()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `redis://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// What `redis-cli` answers, without the line end. It asks for at most five seconds, so that a stopped server fails a test.
    pub fn cli(&self, words: &[&str]) -> String {
        let output = Command::new("timeout")
            .args(["--kill-after=1", "5", "redis-cli", "-p", &self.port.to_string(), "--no-auth-warning"])
            .args(&self.access)
            .args(words)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|why| panic!("redis-cli is needed ({why}); tests/clients/tools.sh installs it"));
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
            .trim_end()
            .to_owned()
    }

    /// `redis-cli` whose answer must be `OK`.
    pub fn must(&self, words: &[&str]) {
        let said = self.cli(words);
        assert_eq!(said, "OK", "redis-cli {words:?}: {}", self.log());
    }

    /// `CONFIG SET`.
    pub fn config(&self, name: &str, value: &str) {
        self.must(&["CONFIG", "SET", name, value]);
    }

    /// One figure or word of `INFO`.
    pub fn fact(&self, name: &str) -> Option<String> {
        let start = format!("{name}:");
        self.cli(&["INFO", "everything"])
            .lines()
            .find_map(|line| Some(line.strip_prefix(&start)?.trim_end().to_owned()))
    }

    /// Waits until it has loaded what it keeps and answers.
    pub fn wait_ready(&self) {
        wait_until("a loaded Redis", || self.cli(&["PING"]) == "PONG");
    }

    fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// `SIGSTOP`: it keeps its connections and answers nothing.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// `SIGCONT`.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// `SIGTERM`: it saves what its options say and ends.
    pub fn shut_down(&mut self) {
        self.signal("TERM");
        self.child.take().unwrap().wait().unwrap();
    }

    /// Starts it again on the same port with the same folder, after it was ended, and waits until it answers.
    pub fn restart(&mut self) {
        self.restart_loading();
        self.wait_ready();
    }

    /// The same, without waiting until it has loaded what it keeps.
    pub fn restart_loading(&mut self) {
        assert!(self.child.is_none(), "it runs");
        assert!(self.spawn(), "it did not come back: {}", self.log());
    }

    /// Ends it, puts this in the place of what it kept, and starts it again: a restored snapshot. None: nothing was kept.
    pub fn restart_from(&mut self, snapshot: Option<&[u8]>) {
        self.kill();
        let _ = std::fs::remove_dir_all(self.dir().join("appendonlydir"));
        let _ = std::fs::remove_file(self.dir().join("dump.rdb"));
        if let Some(bytes) = snapshot {
            // A server with an AOF does not look at a snapshot: it is loaded without, and the AOF is made of it.
            std::fs::write(self.dir().join("dump.rdb"), bytes).unwrap();
            let conf = std::fs::read_to_string(self.conf()).unwrap();
            std::fs::write(self.conf(), conf.replace("appendonly yes", "appendonly no")).unwrap();
            self.restart();
            if conf.contains("appendonly yes") {
                self.config("appendonly", "yes");
                wait_until("an AOF", || self.fact("aof_rewrite_in_progress").as_deref() == Some("0"));
            }
            std::fs::write(self.conf(), conf).unwrap();
        } else {
            self.restart();
        }
    }

    /// A snapshot of what it holds now.
    pub fn snapshot(&self) -> Vec<u8> {
        self.must(&["SAVE"]);
        std::fs::read(self.dir().join("dump.rdb")).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
