//! Commands that work without a running gratis: check, store, simulator, load.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use gratis::clock::Clock;
use gratis::ledger::AccountId;
use gratis::store::LedgerStore;
use gratis::store::embedded::{Embedded, Settings};
use tempfile::TempDir;

use super::desk::{Ran, program, run};
use crate::support::wire::get_json;

#[test]
fn check_says_every_mistake_with_its_line() {
    let folder = TempDir::new().unwrap();
    let check = |key: &str| {
        let mut command = program(folder.path());
        command.args(["check", "--config", "g.toml"]).env("DASHSCOPE_API_KEY", key);
        Ran::of(command)
    };
    std::fs::write(folder.path().join("g.toml"), "[server]\nlisten = \"127.0.0.1:8080\"\n").unwrap();
    assert!(check("sk-x").code(0).out.contains("configuration is sound"));
    std::fs::write(folder.path().join("g.toml"), "[server]\nlisten = \"nowhere\"\n[quota]\nhold_shar = 3\n").unwrap();
    let ran = check("sk-x").code(2);
    assert!(ran.out.is_empty() && ran.err.contains("nowhere") && ran.err.contains("hold_shar"), "{ran:?}");
    assert!(!ran.err.contains('\u{1b}'), "no colours where nobody looks");
}

#[tokio::test]
async fn recover_leaves_nothing_available() {
    let folder = TempDir::new().unwrap();
    let gratis = |line: &str| {
        let mut command = program(folder.path());
        command.args(line.split_whitespace()).env("DASHSCOPE_API_KEY", "sk-x");
        Ran::of(command)
    };
    assert!(gratis("store recover --presume-all").code(1).err.contains("no ledger"));
    gratis("init --balance qwen-max=300/1,000").code(0);
    gratis("store recover").code(2);
    let ran = gratis("store recover --presume-all").code(0);
    assert!(ran.out.contains("qwen-max grant 1: 300"), "{ran:?}");
    let state = folder.path().join("gratis-data");
    let store = Embedded::open(Settings::new(&state), Clock::system()).unwrap();
    let book = store.book(&AccountId::from("default")).await.unwrap();
    assert_eq!(book.pools["qwen-max"].grants[0].balance.available(), 0);
    // While somebody has it open nobody recovers it.
    let dir = format!("store recover --presume-all --state-dir {}", state.display());
    assert!(gratis(&dir).code(1).err.contains("in use"));
}

/// A simulator of its own process; it is stopped as an operator would stop it.
struct Simulator {
    child: Child,
    origin: String,
}

impl Simulator {
    fn start(folder: &TempDir, line: &str) -> Self {
        let mut command = program(folder.path());
        command.args(["simulator", "-o", "json"]).args(line.split_whitespace());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut first).unwrap();
        let said: serde_json::Value = serde_json::from_str(&first).unwrap();
        Self { child, origin: said["simulator_url"].as_str().unwrap().to_owned() }
    }

    fn stop(&mut self) -> Option<i32> {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn load_drives_the_simulator_and_reports() {
    let folder = TempDir::new().unwrap();
    let mut simulator = Simulator::start(&folder, "--model qwen-max");
    let load = |more: &str| {
        let mut command = program(folder.path());
        let target = &simulator.origin;
        let line = format!("load --target {target} --key k --model qwen-max --requests 20 --concurrency 4 {more}");
        command.args(line.split_whitespace());
        command
    };
    let report = run(load("-o json --stream-share 0.5")).await.code(0);
    assert_eq!([&report.json()["requests"], &report.json()["completed"]], [20, 20]);
    let table = run(load("")).await.code(0);
    assert!(table.out.contains("latency p99"), "{table:?}");
    let ledger = get_json(&format!("{}/ledger", simulator.origin)).await;
    assert_eq!(ledger["models"]["qwen-max"]["calls"], 40);
    // An admin API that does not answer is known before the first call is made.
    let oracle = format!("--oracle {} --admin http://127.0.0.1:1", simulator.origin);
    run(load(&oracle)).await.code(3);
    run(load("--admin http://127.0.0.1:1")).await.code(2);
    run(load("--stream-share 2")).await.code(2);
    run(load("--duration 1s")).await.code(2);
    let ledger = get_json(&format!("{}/ledger", simulator.origin)).await;
    assert_eq!(ledger["models"]["qwen-max"]["calls"], 40);
    assert_eq!(simulator.stop(), Some(0));
}

#[test]
fn an_address_in_use_is_said() {
    let folder = TempDir::new().unwrap();
    let simulator = Simulator::start(&folder, "");
    let mut command = program(folder.path());
    command.args(["simulator", "--listen", simulator.origin.trim_start_matches("http://")]);
    assert!(Ran::of(command).code(1).err.contains("cannot listen at"));
}

#[test]
fn a_text_is_estimated_by_a_vocabulary_or_by_the_bound() {
    let folder = tempfile::tempdir().unwrap();
    let estimate = |more: &[&str]| {
        let mut command = super::desk::program(folder.path());
        command.args(["model", "estimate", "qwen-max"]).args(more).args(["-o", "json"]);
        super::desk::Ran::of(command)
    };
    // The sources' own example (S4): 7 tokens.
    let text = "\u{4f60}\u{597d}\u{ff0c}\u{6211}\u{662f}\u{901a}\u{4e49}\u{5343}\u{95ee}";
    let bound = estimate(&[text]).code(0).json();
    assert_eq!((&bound["tokens"], &bound["bound"]), (&serde_json::json!(27), &serde_json::json!(27 + 512 + 16)));
    assert!(bound["from"].as_str().unwrap().starts_with("the bound"), "{bound}");
    let found = std::process::Command::new("find")
        .args([concat!(env!("CARGO_MANIFEST_DIR"), "/target/operations-venv"), "-name", "qwen.tiktoken"])
        .output()
        .unwrap();
    let vocabulary = String::from_utf8(found.stdout).unwrap();
    assert!(!vocabulary.is_empty(), "qwen.tiktoken is missing: run `make tools` first");
    let exact = estimate(&[text, "--vocabulary", vocabulary.trim()]).code(0).json();
    assert_eq!((&exact["tokens"], &exact["bound"]), (&serde_json::json!(7), &bound["bound"]));
    let english = estimate(&["The quick brown fox jumps over the lazy dog.", "--vocabulary", vocabulary.trim()]);
    assert_eq!(english.code(0).json()["tokens"], 10);
    std::fs::write(folder.path().join("none"), "nothing\n").unwrap();
    assert!(estimate(&["x", "--vocabulary", "none"]).code(2).err.contains("is no vocabulary"));
    estimate(&["x", "--vocabulary", "missing"]).code(2);
}

#[test]
fn completions_are_written_for_every_shell() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let mut command = super::desk::program(folder.path());
        command.args(["completions", shell]);
        let ran = super::desk::Ran::of(command).code(0);
        assert!(ran.out.contains("gratis") && ran.out.contains("fallback"), "{shell}");
    }
}
