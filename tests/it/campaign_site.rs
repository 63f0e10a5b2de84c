//! What the campaigns stand on: a place where the real program runs, and what its two ledgers say.
//!
//! Shared by the campaigns, so nothing here is a test.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::campaign_process::{LOOK, Process, Wire};
use crate::support::PATIENCE;

/// More than the smallest request can hold: template, one short message and the least outputs of answer and thinking.
pub const MINIMAL: u64 = 512 + 16 + 64 + 256 + 256;

/// One model in both ledgers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Calls that the simulator charged.
    pub calls: u64,
    pub charged: u64,
    pub granted: u64,
    pub held: u64,
    pub spent: u64,
    pub presumed: u64,
}

impl Line {
    pub fn overspent(&self) -> u64 {
        self.charged.saturating_sub(self.granted)
    }

    pub fn drift(&self) -> u64 {
        self.charged.saturating_sub(self.spent + self.presumed) + self.spent.saturating_sub(self.charged)
    }

    pub fn left(&self) -> u64 {
        self.granted.saturating_sub(self.spent + self.presumed)
    }
}

/// Where the parts of a running Gratis are, and how to ask them.
#[derive(Clone)]
pub struct Site {
    pub wire: Wire,
    pub origin: String,
    pub admin: String,
    pub token: String,
    pub key: String,
    pub simulator: String,
    pub lease: Duration,
}

impl Site {
    /// Both ledgers once nothing is held any more: at most a lease later.
    pub async fn settled(&self) -> BTreeMap<String, Line> {
        let since = Instant::now();
        let limit = self.lease + Duration::from_secs(60);
        loop {
            let lines = self.read().await;
            let held: u64 = lines.values().map(|line| line.held).sum();
            if held == 0 {
                // Read again: the first reading may have seen the two ledgers at different instants.
                return self.read().await;
            }
            assert!(since.elapsed() < limit, "phantom holds, a lease after the last call: {lines:?}");
            tokio::time::sleep(LOOK * 50).await;
        }
    }

    async fn read(&self) -> BTreeMap<String, Line> {
        let balances = self.wire.json(&format!("{}/admin/v1/balances", self.admin), &self.token).await;
        let charges = self.wire.json(&format!("{}/ledger", self.simulator), "").await;
        let mut lines: BTreeMap<String, Line> = BTreeMap::new();
        for row in balances["balances"].as_array().expect("rows") {
            let figure = |name: &str| row[name].as_u64().unwrap_or_else(|| panic!("{name} of {row}"));
            let line = lines.entry(row["model"].as_str().expect("a model").to_owned()).or_default();
            line.granted += figure("granted");
            line.held += figure("held");
            line.spent += figure("spent");
            line.presumed += figure("presumed");
        }
        for (model, row) in charges["models"].as_object().expect("models") {
            let line = lines.entry(model.clone()).or_default();
            line.calls = row["calls"].as_u64().expect("calls");
            line.charged = row["charged"].as_u64().expect("charged");
        }
        lines
    }

    /// Makes the smallest calls, each with a long answer, until the free quota is refused. Says how many went through.
    pub async fn use_up(&self, model: &str) -> u64 {
        let url = format!("{}/compatible-mode/v1/chat/completions", self.origin);
        let text = "[[sim:answer=16000]]";
        let body = json!({"model": model, "messages": [{"role": "user", "content": text}]});
        for completed in 0..100_000 {
            let (status, reply) = self.wire.ask(Method::POST, &url, &self.key, &body).await.expect("it answers");
            let reply: Value = serde_json::from_slice(&reply).expect("a reply is JSON");
            if status == StatusCode::FORBIDDEN {
                assert_eq!(reply["error"]["code"], "AllocationQuota.FreeTierOnly", "{reply}");
                return completed;
            }
            assert_eq!(status, StatusCode::OK, "{reply}");
        }
        panic!("{model} is never used up");
    }

    /// Sets a rule of misbehaviour.
    pub async fn behave(&self, rule: &Value) {
        let url = format!("{}/behave", self.simulator);
        let (status, reply) = self.wire.ask(Method::POST, &url, "", rule).await.expect("the simulator answers");
        assert_eq!(status, StatusCode::OK, "{}", String::from_utf8_lossy(&reply));
    }

    /// `gratis_overspent_total`: what was recorded above the grants.
    pub async fn overruns(&self) -> u64 {
        let url = format!("{}/metrics", self.admin);
        let (_, text) = self.wire.ask(Method::GET, &url, &self.token, &Value::Null).await.expect("metrics");
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines = text.lines().filter(|line| line.starts_with("gratis_overspent_total"));
        let figures: Vec<u64> =
            lines.map(|line| line.rsplit(' ').next().unwrap().parse().expect("a whole number")).collect();
        assert!(!figures.is_empty(), "the metric gratis_overspent_total is gone");
        figures.iter().sum()
    }
}

/// A ledger in a folder, a simulator that lives on, and `gratis serve` on fixed ports whenever it is started.
pub struct Ground {
    pub site: Site,
    program: PathBuf,
    variables: Vec<(&'static str, String)>,
    folder: TempDir,
    /// A sibling has none of its own.
    _simulator: Option<Process>,
}

impl Ground {
    /// Makes the ledger with `gratis init` and starts the simulator. `more` are settings as variables.
    pub fn new(program: &Path, grants: &[(&str, u64)], more: &[(&'static str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut simulator = bare(program, &folder);
        simulator.args(["simulator", "--listen", "127.0.0.1:0", "--chunk-delay", "1ms", "-o", "json"]);
        let simulator = Process::start_and_hear(&mut simulator);
        let simulator_url = simulator.said["simulator_url"].as_str().expect("its address").to_owned();
        let (clients, operators) = (free_port(), free_port());
        let state = folder.path().join("state");
        let mut variables = vec![
            ("GRATIS_SERVER__LISTEN", format!("127.0.0.1:{clients}")),
            ("GRATIS_ADMIN__LISTEN", format!("127.0.0.1:{operators}")),
            ("GRATIS_STORE__STATE_DIR", state.display().to_string()),
            ("GRATIS_STORE__LEASE", "5s".to_owned()),
            ("GRATIS_LOG__FILTER", "error".to_owned()),
            // Otherwise three calls that a kill left in the dark would pause the upstream.
            ("GRATIS_QUOTA__PRESUMED_BREAKER", "1000000".to_owned()),
            ("GRATIS_UPSTREAM__DEFAULT__BASE_URL", format!("{simulator_url}/compatible-mode/v1")),
            ("GRATIS_UPSTREAM__DEFAULT__ALLOW_PRIVATE", "true".to_owned()),
            ("DASHSCOPE_API_KEY", "sk-simulator".to_owned()),
        ];
        variables.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let mut init = bare(program, &folder);
        init.envs(variables.iter().map(|(name, value)| (name, value))).args(["init", "-o", "json"]);
        for (model, amount) in grants {
            init.arg("--balance").arg(format!("{model}={amount}/{amount}"));
        }
        let made = init.output().expect("gratis init runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let made: Value = serde_json::from_slice(&made.stdout).expect("gratis init says JSON");
        let token = made["admin_token_file"].as_str().expect("a file");
        let site = Site {
            wire: Wire::new(),
            origin: format!("http://127.0.0.1:{clients}"),
            admin: format!("http://127.0.0.1:{operators}"),
            token: std::fs::read_to_string(token).expect("the token").trim().to_owned(),
            key: made["api_key"].as_str().expect("a key").to_owned(),
            simulator: simulator_url,
            lease: Duration::from_secs(5),
        };
        Self { site, program: program.to_owned(), variables, folder, _simulator: Some(simulator) }
    }

    /// Another replica of the same ledger, with ports and a state folder of its own: only where the store is a shared one.
    pub fn sibling(&self) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (clients, operators) = (free_port(), free_port());
        let state = folder.path().join("state");
        std::fs::create_dir(&state).expect("a state folder");
        for name in ["pepper", "admin-token"] {
            std::fs::copy(self.state().join(name), state.join(name)).expect("what `gratis init` wrote");
        }
        let mut variables = self.variables.clone();
        for (name, value) in &mut variables {
            match *name {
                "GRATIS_SERVER__LISTEN" => *value = format!("127.0.0.1:{clients}"),
                "GRATIS_ADMIN__LISTEN" => *value = format!("127.0.0.1:{operators}"),
                "GRATIS_STORE__STATE_DIR" => *value = state.display().to_string(),
                _ => {}
            }
        }
        let site = Site {
            origin: format!("http://127.0.0.1:{clients}"),
            admin: format!("http://127.0.0.1:{operators}"),
            ..self.site.clone()
        };
        Self { site, program: self.program.clone(), variables, folder, _simulator: None }
    }

    /// Its state folder.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// What the last `gratis serve` wrote.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("serve.log")).unwrap_or_default()
    }

    /// An operator's command, which must succeed.
    pub async fn must(&self, words: &[&str]) {
        let mut command = self.command();
        command.args(words).stdin(Stdio::null());
        let made = tokio::task::spawn_blocking(move || command.output()).await.expect("it runs").expect("it runs");
        assert!(made.status.success(), "gratis {words:?}: {}", String::from_utf8_lossy(&made.stderr));
    }

    fn command(&self) -> Command {
        let mut command = bare(&self.program, &self.folder);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts `gratis serve`; answers when it is ready, with the time from the start of the program to then.
    pub async fn serve(&self) -> (Process, Duration) {
        let log = self.folder.path().join("serve.log");
        let mut command = self.command();
        command.arg("serve");
        command.stderr(std::fs::File::create(&log).expect("a log"));
        let url = format!("{}/readyz", self.site.admin);
        let since = Instant::now();
        let mut process = Process::start(&mut command);
        loop {
            let answer = self.site.wire.ask(Method::GET, &url, "", &Value::Null).await;
            if matches!(&answer, Ok((StatusCode::OK, _))) {
                return (process, since.elapsed());
            }
            if process.has_ended() || since.elapsed() > PATIENCE {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                panic!("gratis serve does not become ready: {answer:?}\n{log}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// `gratis demo` with these grants.
pub fn demo(program: &Path, folder: &TempDir, grant: (&str, u64), worst: bool) -> (Process, Site) {
    let mut command = bare(program, folder);
    command.args(["demo", "--json", "--lease", "5s", "--chunk-delay", "0", "--log", "error", "--grant"]);
    command.arg(format!("{}={}", grant.0, grant.1));
    command.arg("--state-dir").arg(folder.path().join("state"));
    if worst {
        command.arg("--worst");
    }
    let process = Process::start_and_hear(&mut command);
    let said = |name: &str| process.said[name].as_str().unwrap_or_else(|| panic!("no {name}")).to_owned();
    let site = Site {
        wire: Wire::new(),
        origin: said("origin"),
        admin: said("admin_url"),
        token: said("admin_token"),
        key: said("api_key"),
        simulator: said("simulator_url"),
        lease: Duration::from_secs(5),
    };
    (process, site)
}

/// The program, in a folder of its own and without any setting from outside.
pub fn bare(program: &Path, folder: &TempDir) -> Command {
    let mut command = Command::new(program);
    command.env_clear().current_dir(folder.path());
    command
}

/// A port that stays free between two starts: below those from which the system takes the ports of outgoing connections. One
/// of those would sooner or later be taken by a client, or even by a client that connects to itself.
pub fn free_port() -> u16 {
    let mut port = 20_000 + u16::try_from(std::process::id() % 10_000).expect("below 10,000");
    loop {
        port = if port >= 31_999 { 20_000 } else { port + 1 };
        let taken = TAKEN.lock().unwrap().contains(&port);
        if !taken && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            TAKEN.lock().unwrap().push(port);
            return port;
        }
    }
}

/// Ports that were given out already: their process may be just about to be started again.
static TAKEN: std::sync::Mutex<Vec<u16>> = std::sync::Mutex::new(Vec::new());
