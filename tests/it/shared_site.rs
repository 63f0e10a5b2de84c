//! Three replicas of the real program on one shared store, a simulator that lives on, and load over all of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use gratis::load::{self, Report};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::campaign_site::{Line, MINIMAL, Process, Site, Wire, bare, free_port};
use crate::support::wire;

/// How long anything that must happen may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many replicas there are.
pub const REPLICAS: usize = 3;
/// The model of the load: its bounds are small.
pub const MODEL: &str = "qwen-plus";

type Variables = Vec<(&'static str, String)>;

/// The ledger, the replicas' folders and ports, and the simulator.
pub struct Trio {
    /// The first replica.
    pub site: Site,
    variables: Vec<Variables>,
    origins: Vec<String>,
    admins: Vec<String>,
    folder: TempDir,
    _simulator: Process,
}

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_gratis"))
}

impl Trio {
    /// Makes a ledger in the store with this grant.
    pub fn new(url: &str, granted: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut simulator = bare(program(), &folder);
        simulator.args(["simulator", "--listen", "127.0.0.1:0", "--chunk-delay", "1ms", "-o", "json"]);
        let simulator = Process::start_and_hear(&mut simulator);
        let simulator_url = simulator.said["simulator_url"].as_str().unwrap().to_owned();
        let (mut variables, mut origins, mut admins) = (Vec::new(), Vec::new(), Vec::new());
        for replica in 0..REPLICAS {
            let (clients, operators) = (free_port(), free_port());
            origins.push(format!("http://127.0.0.1:{clients}"));
            admins.push(format!("http://127.0.0.1:{operators}"));
            variables.push(settings(url, &state(&folder, replica), (clients, operators), &simulator_url));
        }
        let mut init = bare(program(), &folder);
        init.envs(variables[0].iter().map(|(name, value)| (name, value)));
        let made =
            init.args(["init", "-o", "json", "--balance", &format!("{MODEL}={granted}/{granted}")]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        for replica in 1..REPLICAS {
            let (from, to) = (state(&folder, 0), state(&folder, replica));
            std::fs::create_dir_all(&to).unwrap();
            for file in ["pepper", "admin-token"] {
                std::fs::copy(from.join(file), to.join(file)).unwrap();
            }
        }
        let site = Site {
            wire: Wire::new(),
            origin: origins[0].clone(),
            admin: admins[0].clone(),
            token: std::fs::read_to_string(state(&folder, 0).join("admin-token")).unwrap().trim().to_owned(),
            key: made["api_key"].as_str().unwrap().to_owned(),
            simulator: simulator_url,
            lease: Duration::from_secs(5),
        };
        Self { site, variables, origins, admins, folder, _simulator: simulator }
    }

    /// Sets a variable for every replica that is started from now on.
    pub fn set(&mut self, name: &'static str, value: &str) {
        for variables in &mut self.variables {
            variables.push((name, value.to_owned()));
        }
    }

    /// An operator's request to a replica: its status and answer.
    pub async fn admin(&self, replica: usize, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
        let url = format!("{}/admin/v1{path}", self.admins[replica]);
        let (status, answer) = self.site.wire.ask(method, &url, &self.site.token, body).await.unwrap();
        (status, serde_json::from_slice(&answer).unwrap_or_default())
    }

    /// The ETag of a setting, as a replica shows it.
    pub async fn tag(&self, replica: usize, path: &str) -> String {
        let url = format!("{}/admin/v1{path}", self.admins[replica]);
        let bearer = format!("Bearer {}", self.site.token);
        let asked = wire::request(Method::GET, &url, &[("authorization", &bearer)], Vec::new());
        wire::send(asked).await.headers()["etag"].to_str().unwrap().to_owned()
    }

    /// A change of what has this ETag: its status and answer.
    pub async fn change(
        &self,
        replica: usize,
        method: &Method,
        path: &str,
        tag: &str,
        body: &Value,
    ) -> (StatusCode, Value) {
        let url = format!("{}/admin/v1{path}", self.admins[replica]);
        let bearer = format!("Bearer {}", self.site.token);
        let headers = [("authorization", bearer.as_str()), ("if-match", tag), ("content-type", "application/json")];
        let asked = wire::request(method.clone(), &url, &headers, body.to_string().into_bytes());
        let (status, _, answer) = wire::whole(wire::send(asked).await).await.unwrap();
        (StatusCode::from_u16(status).unwrap(), serde_json::from_slice(&answer).unwrap_or_default())
    }

    /// One small call of a key through a replica: its status and answer.
    pub async fn call(&self, replica: usize, key: &str, model: &str) -> (StatusCode, Value) {
        let url = format!("{}/compatible-mode/v1/chat/completions", self.origins[replica]);
        let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 300});
        let (status, answer) = self.site.wire.ask(Method::POST, &url, key, &body).await.unwrap();
        (status, serde_json::from_slice(&answer).unwrap_or_default())
    }

    /// Starts a replica and waits until its operator's listener answers; `ready` = until it admits calls.
    pub async fn serve(&self, replica: usize, ready: bool) -> Process {
        let mut command = bare(program(), &self.folder);
        command.envs(self.variables[replica].iter().map(|(name, value)| (name, value))).arg("serve");
        let log = self.folder.path().join(format!("serve-{replica}.log"));
        command.stderr(std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap());
        let process = Process::start(&mut command);
        self.wait(replica, if ready { &[StatusCode::OK] } else { &[StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE] })
            .await;
        process
    }

    /// Starts all of them.
    pub async fn serve_all(&self) -> Vec<Process> {
        let mut processes = Vec::new();
        for replica in 0..REPLICAS {
            processes.push(self.serve(replica, true).await);
        }
        processes
    }

    /// Waits until a replica's readiness is one of these.
    pub async fn wait(&self, replica: usize, wanted: &[StatusCode]) {
        let (url, since) = (format!("{}/readyz?verbose", self.admins[replica]), Instant::now());
        loop {
            let answer = self.site.wire.ask(Method::GET, &url, "", &Value::Null).await;
            if answer.as_ref().is_ok_and(|(status, _)| wanted.contains(status)) {
                return;
            }
            if since.elapsed() > PATIENCE {
                let log = std::fs::read_to_string(self.folder.path().join(format!("serve-{replica}.log")));
                panic!("replica {replica}: {answer:?} instead of {wanted:?}\n{}", log.unwrap_or_default());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn wait_all(&self, wanted: StatusCode) {
        for replica in 0..REPLICAS {
            self.wait(replica, &[wanted]).await;
        }
    }

    /// A command of the program with the first replica's settings.
    pub fn cli(&self, words: &[&str]) -> Output {
        let mut command: Command = bare(program(), &self.folder);
        command.envs(self.variables[0].iter().map(|(name, value)| (name, value))).args(words);
        command.output().unwrap()
    }

    /// The same, which must succeed.
    pub fn must(&self, words: &[&str]) -> String {
        let output = self.cli(words);
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {said}");
        said
    }

    /// The journals of all replicas.
    pub fn journals(&self) -> Vec<String> {
        (0..REPLICAS).map(|replica| state(&self.folder, replica).join("replica.db").display().to_string()).collect()
    }

    /// Load over all replicas while the trouble lasts.
    pub async fn under_load<T>(&self, trouble: impl Future<Output = T>) -> (Report, T) {
        let settings = load::Settings {
            targets: self.origins.iter().map(|origin| origin.parse().unwrap()).collect(),
            key: self.site.key.clone(),
            models: vec![MODEL.to_owned()],
            requests: Some(u64::MAX),
            concurrency: 12,
            stream_share: 0.5,
            abort_share: 0.1,
            max_tokens: Some(200),
            call_timeout: Duration::from_secs(20),
            seed: 7,
            ..load::Settings::default()
        };
        let stop = settings.stop.clone();
        let trouble = async {
            let done = trouble.await;
            stop.cancel();
            done
        };
        let (report, done) = tokio::join!(load::run(settings, |_| ()), trouble);
        (report.expect("the load begins"), done)
    }

    /// What one small call is answered by each replica.
    pub async fn answers(&self) -> Vec<StatusCode> {
        let mut answers = Vec::new();
        let body = json!({"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 300});
        for origin in &self.origins {
            let url = format!("{origin}/compatible-mode/v1/chat/completions");
            answers.push(self.site.wire.ask(Method::POST, &url, &self.site.key, &body).await.unwrap().0);
        }
        answers
    }

    /// Uses the grant up and compares the two ledgers; shows what came of it.
    pub async fn judge(&self, label: &str, report: &Report) {
        let before = self.site.settled().await;
        check(label, "after the trouble", &before);
        self.site.use_up(MODEL).await;
        let lines = self.site.settled().await;
        check(label, "used up", &lines);
        let line = lines[MODEL];
        println!(
            "{label}: {} calls completed, {} errors; charged {}, spent {}, presumed {} of {} granted; overspent {}, drift {}",
            report.completed,
            report.errors.values().sum::<u64>(),
            line.charged,
            line.spent,
            line.presumed,
            line.granted,
            line.overspent(),
            line.drift()
        );
        assert!(line.left() < MINIMAL.max(line.granted / 20), "{label}: refused with that much left: {line:?}");
        assert!(report.completed > 0, "{label}: nothing went through");
    }
}

fn check(label: &str, when: &str, lines: &BTreeMap<String, Line>) {
    for (model, line) in lines {
        assert_eq!((line.overspent(), line.drift()), (0, 0), "{label}, {when}: {model}: {line:?}");
        assert!(line.spent + line.presumed <= line.granted, "{label}, {when}: {model}: {line:?}");
    }
}

fn state(folder: &TempDir, replica: usize) -> PathBuf {
    folder.path().join(format!("state-{replica}"))
}

fn settings(url: &str, state: &Path, (clients, operators): (u16, u16), simulator: &str) -> Variables {
    vec![
        ("GRATIS_SERVER__LISTEN", format!("127.0.0.1:{clients}")),
        ("GRATIS_ADMIN__LISTEN", format!("127.0.0.1:{operators}")),
        ("GRATIS_STORE__URL", url.to_owned()),
        ("GRATIS_STORE__STATE_DIR", state.display().to_string()),
        ("GRATIS_STORE__LEASE", "5s".to_owned()),
        ("GRATIS_STORE__TIMEOUT", "1s".to_owned()),
        ("GRATIS_LOG__FILTER", "warn".to_owned()),
        ("GRATIS_LOG__REQUESTS", "false".to_owned()),
        ("GRATIS_QUOTA__PRESUMED_BREAKER", "1000000".to_owned()),
        ("GRATIS_UPSTREAM__DEFAULT__BASE_URL", format!("{simulator}/compatible-mode/v1")),
        ("GRATIS_UPSTREAM__DEFAULT__ALLOW_PRIVATE", "true".to_owned()),
        ("DASHSCOPE_API_KEY", "sk-simulator".to_owned()),
    ]
}
