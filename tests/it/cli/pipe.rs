//! Whoever reads may stop at any time.

use std::io::Read;
use std::process::Stdio;

use super::desk::Desk;

#[tokio::test]
async fn a_closed_pipe_is_no_failure() {
    let desk = Desk::new().await;
    for _ in 0..600 {
        desk.office.grant("qwen-max").await;
    }
    for line in ["grant list", "grant list -o json", "entry list --limit 1000 -o json", "--help", "version"] {
        let mut command = desk.command(line);
        let ended = tokio::task::spawn_blocking(move || {
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            // The reader goes before the first byte.
            drop(child.stdout.take());
            let mut err = String::new();
            child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
            (child.wait().unwrap().code(), err)
        });
        assert_eq!(ended.await.unwrap(), (Some(0), String::new()), "{line}");
    }
}

#[tokio::test]
async fn a_reader_that_stops_half_way_is_no_failure_either() {
    let desk = Desk::new().await;
    for _ in 0..600 {
        desk.office.grant("qwen-max").await;
    }
    let mut command = desk.command("grant list -o json");
    let ended = tokio::task::spawn_blocking(move || {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut some = [0; 64];
        child.stdout.take().unwrap().read_exact(&mut some).unwrap();
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        (child.wait().unwrap().code(), err)
    });
    assert_eq!(ended.await.unwrap(), (Some(0), String::new()));
}

#[tokio::test]
async fn a_full_disk_is_a_failure() {
    let desk = Desk::new().await;
    let mut command = desk.command("account list");
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    command.stdout(full);
    let ended = tokio::task::spawn_blocking(move || command.stderr(Stdio::piped()).output().unwrap()).await.unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(String::from_utf8(ended.stderr).unwrap().contains("cannot write"));
}
