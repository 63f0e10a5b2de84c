//! `gratis store`, `init`, `serve` and `demo` where a shared store is meant: what needs no server, and what a dead one comes to.

use std::path::Path;

use tempfile::TempDir;

use super::desk::{Ran, program};

/// A configuration with this address in it; the provider's key is there.
fn gratis(folder: &Path, url: &str, line: &str) -> Ran {
    let mut command = program(folder);
    let text =
        format!("[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[store]\nurl = \"{url}\"\n");
    std::fs::write(folder.join("g.toml"), text).unwrap();
    command.args(line.split_whitespace()).args(["--config", "g.toml"]).env("DASHSCOPE_API_KEY", "sk-x");
    Ran::of(command)
}

/// An address where nobody listens, with a password that nothing may show.
fn dead() -> String {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    format!("redis://:hunter2@127.0.0.1:{port}/0")
}

#[test]
fn status_of_an_embedded_store_opens_nothing() {
    let folder = TempDir::new().unwrap();
    let status = |line: &str| gratis(folder.path(), "embedded", line).code(0);
    let value = status("store status -o json").json();
    assert_eq!(
        (&value["store"], &value["class"], &value["ledger"]),
        (&"embedded".into(), &"embedded".into(), &"absent".into())
    );
    gratis(folder.path(), "embedded", "init --balance qwen-max=1/2").code(0);
    assert_eq!(status("store status -o json").json()["ledger"], "ready");
    let text = status("store status").out;
    assert!(text.contains("ready") && text.contains("gratis-data"), "{text}");
}

#[test]
fn what_is_for_a_shared_store_says_so_on_an_embedded_one() {
    let folder = TempDir::new().unwrap();
    for line in ["store resume --yes", "store rebuild journal", "store rebuild journal --yes"] {
        let ran = gratis(folder.path(), "embedded", line).code(1);
        assert!(ran.err.contains("several replicas share") && ran.out.is_empty(), "{line}: {ran:?}");
    }
    let ran = gratis(folder.path(), "embedded", "init --assume-full --discard-incomplete").code(2);
    assert!(ran.err.contains("several replicas share"), "{ran:?}");
    assert!(!folder.path().join("gratis-data").join("ledger.db").exists());
    let ran = gratis(folder.path(), "embedded", "store rebuild").code(2);
    assert!(ran.err.contains("FILE"), "{ran:?}");
    let ran = gratis(folder.path(), "embedded", "store rebuild journal --dry-run --yes").code(2);
    assert!(ran.err.contains("cannot be used with"), "{ran:?}");
}

#[test]
fn a_store_that_cannot_be_reached_is_said_without_its_password() {
    let folder = TempDir::new().unwrap();
    let url = dead();
    let shown = url.replace(":hunter2@", "");
    for line in ["store status", "store status -o json", "store resume --yes", "init --assume-full"] {
        let ran = gratis(folder.path(), &url, line).code(3);
        assert!(ran.err.contains(&shown) && ran.out.is_empty(), "{line}: {ran:?}");
        assert!(!ran.err.contains("hunter2"), "{line}: {ran:?}");
    }
    // Nothing was made for a ledger that is not there.
    assert!(!folder.path().join("gratis-data/pepper").exists());
    assert!(!folder.path().join("gratis-data/admin-token").exists());
}

#[test]
fn an_embedded_ledger_beside_a_shared_store_is_not_ignored() {
    let folder = TempDir::new().unwrap();
    gratis(folder.path(), "embedded", "init --balance qwen-max=1/2").code(0);
    for line in ["serve", "init --assume-full"] {
        let ran = gratis(folder.path(), &dead(), line).code(1);
        assert!(ran.err.contains("ledger.db is a ledger of the embedded store"), "{line}: {ran:?}");
        assert!(ran.err.contains("Move the file away") && !ran.err.contains("hunter2"), "{line}: {ran:?}");
    }
}

#[test]
fn a_demo_with_several_replicas_needs_a_store_that_they_share() {
    let folder = TempDir::new().unwrap();
    for (line, said) in [
        ("demo --replicas 3", "need a shared store"),
        ("demo --replicas 3 --store embedded", "need a shared store"),
        ("demo --replicas 0", "1..=16"),
        ("demo --store http://host", "redis://"),
        ("demo --store redis://me:hunter2@a,b", "redis+cluster://"),
    ] {
        let mut command = program(folder.path());
        command.args(line.split_whitespace());
        let ran = Ran::of(command).code(2);
        assert!(ran.err.contains(said) && ran.out.is_empty() && !ran.err.contains("hunter2"), "{line}: {ran:?}");
    }
}
