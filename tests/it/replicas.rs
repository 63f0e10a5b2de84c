//! Several replicas on one real Redis, as a person and a script run them: `gratis demo --store`, `gratis load` over all of them.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};

use crate::support::PATIENCE;
use crate::support::redis::Server;
use crate::support::wire::{chat, request, send, whole};

/// A running `gratis demo --json`; killed when dropped.
struct Demo {
    child: Child,
    line: Value,
    _folder: tempfile::TempDir,
}

impl Demo {
    fn start(words: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_gratis"))
            .args(["demo", "--json", "--chunk-delay", "0", "--lease", "5s"])
            .args(words)
            .current_dir(folder.path())
            .env_clear()
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let line = serde_json::from_str(&line).unwrap_or_else(|why| panic!("{why}: {line:?}"));
        Self { child, line, _folder: folder }
    }

    fn list(&self, name: &str) -> Vec<String> {
        let list = self.line[name].as_array().unwrap_or_else(|| panic!("no {name}: {}", self.line));
        list.iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    }

    fn text(&self, name: &str) -> &str {
        self.line[name].as_str().unwrap_or_else(|| panic!("no {name}: {}", self.line))
    }

    /// The balances of a model as one of the replicas sees them.
    async fn balance(&self, admin: &str, model: &str) -> Value {
        let bearer = format!("Bearer {}", self.text("admin_token"));
        let url = format!("{admin}/admin/v1/balances");
        let asked = request(Method::GET, &url, &[("authorization", &bearer)], Vec::new());
        let (status, _, body) = whole(send(asked).await).await.unwrap();
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        let body: Value = serde_json::from_slice(&body).unwrap();
        let rows = body["balances"].as_array().unwrap();
        rows.iter().find(|row| row["model"] == model).unwrap_or_else(|| panic!("no {model}: {body}")).clone()
    }

    /// SIGINT, and the exit code.
    fn stop(&mut self) -> Option<i32> {
        let sent = Command::new("kill").args(["-s", "INT", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "the demo does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hi(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 300})
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_share_one_ledger() {
    let server = Server::always();
    server.must(&["SET", "of-somebody-else", "1"]);
    let mut demo = Demo::start(&["--store", &server.url(), "--replicas", "3"]);
    for (one, many) in [("origin", "origins"), ("base_url", "base_urls"), ("admin_url", "admin_urls")] {
        assert_eq!(demo.list(many).len(), 3, "{}", demo.line);
        assert_eq!(demo.text(one), demo.list(many)[0]);
    }
    let mut folders = demo.list("state_dirs");
    folders.dedup();
    assert_eq!(folders.len(), 3, "each replica has its own: {folders:?}");
    assert!(demo.line["store"]["prefix"].as_str().unwrap().starts_with("gratis-demo-"), "{}", demo.line);
    // What one replica let through, every other one counts.
    let admins = demo.list("admin_urls");
    for origin in demo.list("origins") {
        let (status, _, body) = chat(&origin, demo.text("api_key"), &hi("qwen-flash")).await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    }
    let first = demo.balance(&admins[0], "qwen-flash").await;
    assert!(first["spent"].as_u64().unwrap() > 0, "{first}");
    for admin in &admins[1..] {
        assert_eq!(demo.balance(admin, "qwen-flash").await, first);
    }
    assert_eq!(demo.stop(), Some(0));
    assert_eq!(server.cli(&["KEYS", "*"]), "of-somebody-else", "nothing is left, and nothing of others was touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_over_all_replicas_overspends_nothing() {
    let server = Server::always();
    let demo = Demo::start(&["--store", &server.url(), "--replicas", "3", "--grant", "qwen-plus=60000"]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_gratis"));
    command.args(["load", "--key", demo.text("api_key"), "--model", "qwen-plus", "--requests", "900", "-o", "json"]);
    command.args(["--concurrency", "12", "--oracle", demo.text("simulator_url"), "--max-tokens", "400"]);
    command.args(["--admin-token", demo.text("admin_token")]);
    for origin in demo.list("origins") {
        command.args(["--target", &origin]);
    }
    for admin in demo.list("admin_urls") {
        command.args(["--admin", &admin]);
    }
    let output = tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output().unwrap()).await.unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{report:#}");
    let total = &report["verdict"]["total"];
    assert_eq!(
        (&total["overspent"], &total["drift"], &total["phantom"]),
        (&json!(0), &json!(0), &json!(0)),
        "{report:#}"
    );
    assert!(total["used_share"].as_f64().unwrap() >= 0.9, "{report:#}");
    let targets = report["targets"].as_array().unwrap();
    assert_eq!(targets.len(), 3);
    for target in targets {
        assert_eq!(target["requests"], 300, "{report:#}");
        assert!(target["completed"].as_u64().unwrap() > 0, "{report:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_text_of_the_demo_names_every_replica() {
    let server = Server::always();
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_gratis"))
        .args(["demo", "--store", &server.url(), "--replicas", "2"])
        .current_dir(folder.path())
        .env_clear()
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let text: Vec<String> = lines.by_ref().take_while(|line| !line.contains("Ctrl-C")).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    let text = text.join("\n");
    for said in
        ["replica 1  http://127.0.0.1:", "replica 2  http://127.0.0.1:", "keys begin with `gratis-demo-", &server.url()]
    {
        assert!(text.contains(said), "{said:?} not in\n{text}");
    }
    assert_eq!(text.matches("--target http://").count(), 2, "{text}");
}
