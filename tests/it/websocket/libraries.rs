//! Clients that were not written by us, beside the tunnel and through it: the same messages, the same close.

use std::path::{Path, PathBuf};

use super::{ASR, OMNI, TTS, plan};
use crate::support::world::{KEY, World};

fn tool(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    assert!(path.exists(), "{} is missing: run `make tools` first", path.display());
    path
}

async fn run(program: &str, script: &str, arguments: &[&str]) -> String {
    let mut command = tokio::process::Command::new(tool(program));
    command
        .arg(tool(script))
        .args(arguments)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("NO_PROXY", "*")
        .kill_on_drop(true);
    let output = tokio::time::timeout(std::time::Duration::from_secs(120), command.output());
    let output = output.await.unwrap_or_else(|_| panic!("{script} {arguments:?} does not end")).unwrap();
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script} {arguments:?}: {said}\n{complained}");
    said.into_owned()
}

async fn compare(program: &str, script: &str) {
    for case in ["speech", "turns", "unread", "refused"] {
        let mut settings = plan();
        settings.grants.iter_mut().for_each(|grant| grant.1 = 1_000_000);
        settings.simulator.answer = 9..=9;
        let world = World::new(settings).await;
        let ws = |origin: &str| origin.replace("http://", "ws://");
        let through = run(program, script, &[&ws(&world.origin), KEY, case]).await;
        world.quiet_tasks().await;
        for model in [TTS, OMNI] {
            let balance = world.settled(model).await;
            assert_eq!((balance.spent, balance.presumed), (world.charged(model).await, 0), "{case}");
        }
        let beside = run(program, script, &[&ws(&world.simulator.origin()), KEY, case]).await;
        if case == "refused" {
            // Refused here, in the shape that the service refuses in.
            assert!(through.contains("ModelNotFound") && beside.contains("ModelNotFound"), "{through}\n{beside}");
            continue;
        }
        assert!(through == beside, "{case}:\n{through}\nbeside the tunnel:\n{beside}");
        assert!(through.lines().count() >= 3, "{through}");
        println!("{script}, {case}: {} lines, {}", through.lines().count(), through.lines().last().unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn python_websockets_sees_no_difference() {
    compare("target/clients-venv/bin/python", "tests/clients/python/sockets.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_ws_sees_no_difference() {
    tool("tests/clients/node/node_modules/ws");
    compare("target/clients-venv/bin/node", "tests/clients/node/sockets.mjs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashscope_sdk_speaks_and_listens_until_the_free_quota_ends() {
    let world = World::new(plan()).await;
    let origin = world.origin.replace("http://", "ws://");
    let table = run("target/clients-venv/bin/python", "tests/clients/python/speech.py", &[&origin, KEY]).await;
    println!("{table}");
    assert!(table.contains(" passed, 0 failed"), "{table}");
    world.quiet_tasks().await;
    for model in [TTS, ASR] {
        let balance = world.settled(model).await;
        assert_eq!((balance.spent, balance.presumed), (world.charged(model).await, 0), "{model}");
        assert!(balance.spent > 0);
    }
}
