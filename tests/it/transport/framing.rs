//! Heads that two servers could read differently, floods, and crowds (FAULTS 2.1, 4.1, 4.7).

use std::time::Duration;

use http::Method;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{hi, plan};
use crate::support::PATIENCE;
use crate::support::plug::{Plug, chat_head};
use crate::support::wire::{chat, request, send};
use crate::support::world::{KEY, World};

/// Sends bytes as they are; gives the status, the rest of the reply, and whether the connection ended.
async fn answer(world: &World, bytes: &str) -> (u16, String) {
    let mut plug = Plug::to(&world.origin).await;
    plug.write(bytes).await;
    let reply = plug.reply().await;
    let text = reply.text();
    assert_eq!(plug.rest().await, b"", "the connection must end: {bytes}");
    (reply.status, text)
}

#[tokio::test(flavor = "multi_thread")]
async fn f_acc_11_a_head_that_is_not_plainly_one_thing_is_refused_and_the_connection_ends() {
    let world = World::new(plan()).await;
    let body = hi(false).to_string();
    let length = format!("content-length: {}\r\n", body.len());
    let key = format!("authorization: Bearer {KEY}\r\n");
    let line = "POST /v1/chat/completions HTTP/1.1\r\n";
    let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let cases = [
        ("no host", format!("{line}{key}{length}\r\n{body}")),
        ("two hosts", format!("{line}host: a\r\nhost: b\r\n{key}{length}\r\n{body}")),
        ("the same host twice", format!("{line}host: a\r\nhost: a\r\n{key}{length}\r\n{body}")),
        (
            "a whole URL",
            format!("POST http://gratis/v1/chat/completions HTTP/1.1\r\nhost: gratis\r\n{key}{length}\r\n{body}"),
        ),
        ("CONNECT", format!("CONNECT gratis:443 HTTP/1.1\r\nhost: gratis\r\n{key}\r\n")),
        ("another coding before", format!("{line}host: a\r\n{key}transfer-encoding: gzip, chunked\r\n\r\n{chunks}")),
        ("chunked twice", format!("{line}host: a\r\n{key}transfer-encoding: chunked, chunked\r\n\r\n{chunks}")),
        (
            "two codings",
            format!("{line}host: a\r\n{key}transfer-encoding: cow\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"),
        ),
        ("an underscore", format!("{line}host: a\r\n{key}{length}content_length: 5\r\n\r\n{body}")),
        (
            "a hop that takes the key away",
            format!("{line}host: a\r\n{key}{length}connection: close, authorization\r\n\r\n{body}"),
        ),
        (
            "a hop that takes the length away",
            format!("{line}host: a\r\n{key}{length}connection: Content-Length\r\n\r\n{body}"),
        ),
    ];
    for (name, bytes) in cases {
        let (status, text) = answer(&world, &bytes).await;
        assert_eq!(status, 400, "{name}: {text}");
        let error: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{name}: {text}"));
        assert_eq!(error["error"]["code"], "invalid_request_error", "{name}");
    }
    assert_eq!(world.received().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn f_acc_11_behind_a_length_and_chunks_the_connection_ends() {
    let world = World::new(plan()).await;
    let body = hi(false).to_string();
    for both in
        ["content-length: 3\r\ntransfer-encoding: chunked\r\n", "transfer-encoding: chunked\r\ncontent-length: 3\r\n"]
    {
        let smuggled = "GET /v1/models HTTP/1.1\r\nhost: a\r\n\r\n";
        let head = chat_head("1.1", KEY, both);
        let (status, _) = answer(&world, &format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n{smuggled}", body.len())).await;
        assert_eq!(status, 200, "the chunks count");
    }
    assert_eq!(world.received().await, 2, "what came behind was never read as a request");
}

#[tokio::test(flavor = "multi_thread")]
async fn f_acc_7_a_long_target_is_a_414() {
    let world = World::new(plan()).await;
    let bearer = format!("Bearer {KEY}");
    for (length, status) in [(8_000, 404), (8_193, 414), (40_000, 414)] {
        let url = format!("{}/v1/{}", world.origin, "x".repeat(length - 4));
        let response = send(request(Method::GET, &url, &[("authorization", bearer.as_str())], Vec::new())).await;
        assert_eq!(response.status(), status, "{length}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f_acc_12_a_flood_of_http2_control_frames_ends_the_connection_and_a_few_do_not() {
    let world = World::new(plan()).await;
    let frame = |kind: u8, payload: &[u8]| [&[0, 0, payload.len() as u8, kind, 0, 0, 0, 0, 0][..], payload].concat();
    let ping = frame(6, b"12345678");
    for (name, flood) in [("pings", ping.clone()), ("settings", frame(4, b""))] {
        let mut stream = TcpStream::connect(world.origin.trim_start_matches("http://")).await.unwrap();
        let hello = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, b"")].concat();
        stream.write_all(&[hello, flood.repeat(100)].concat()).await.unwrap();
        let mut buffer = [0; 4_096];
        assert!(stream.read(&mut buffer).await.unwrap() > 0, "{name}: a few are answered");
        let ended = tokio::time::timeout(PATIENCE, async {
            // Written until the other side has had enough; then the write or the read fails, or the stream ends.
            while stream.write_all(&flood).await.is_ok() {
                match stream.try_read(&mut buffer) {
                    Ok(0) => return,
                    Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return,
                    _ => tokio::task::yield_now().await,
                }
            }
        });
        ended.await.unwrap_or_else(|_| panic!("{name}: the flood goes on"));
    }
    assert_eq!(chat(&world.origin, KEY, &hi(false)).await.0, 200, "others are served");
}

#[tokio::test(flavor = "multi_thread")]
async fn f_cli_5_one_key_has_so_many_calls_in_progress_and_no_more() {
    let mut settings = plan();
    settings.key_in_flight = 2;
    settings.simulator.first_delay = Duration::from_millis(300);
    let world = World::new(settings).await;
    let mut calls = tokio::task::JoinSet::new();
    for call in 0..8 {
        let origin = world.origin.clone();
        calls.spawn(async move { chat(&origin, KEY, &hi(call % 2 == 0)).await });
    }
    let replies = calls.join_all().await;
    let (good, refused): (Vec<_>, Vec<_>) = replies.into_iter().partition(|(status, ..)| *status == 200);
    assert!(good.len() >= 2 && !refused.is_empty(), "{} and {}", good.len(), refused.len());
    for (status, headers, body) in refused {
        assert_eq!(status, 429);
        assert_eq!(headers["retry-after"], "1");
        assert!(String::from_utf8_lossy(&body).contains("limit_requests"));
    }
    assert_eq!(world.received().await, good.len() as u64);
    world.quiet().await;
    assert_eq!(chat(&world.origin, KEY, &hi(false)).await.0, 200, "the places were given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn f_acc_1_and_2_a_connection_that_says_nothing_or_never_finishes_a_head_is_closed() {
    let mut settings = plan();
    settings.limits.first_byte_timeout = Duration::from_millis(200);
    settings.limits.header_timeout = Duration::from_millis(200);
    let world = World::new(settings).await;
    for said in ["", "P", "POST /v1/chat/completions HTTP/1.1\r\nhost: gratis\r\nx-a: "] {
        let mut crowd = Vec::new();
        for _ in 0..50 {
            let mut stream = TcpStream::connect(world.origin.trim_start_matches("http://")).await.unwrap();
            stream.write_all(said.as_bytes()).await.unwrap();
            crowd.push(stream);
        }
        assert_eq!(chat(&world.origin, KEY, &hi(false)).await.0, 200, "others are served meanwhile");
        for mut stream in crowd {
            let mut got = Vec::new();
            let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut got));
            // However it ends: what matters is that it does.
            let _ = ended.await.unwrap_or_else(|_| panic!("{said:?} keeps its connection"));
        }
    }
    let begun = std::time::Instant::now();
    while world.metrics.connections.get() > 1 {
        assert!(begun.elapsed() < PATIENCE, "{} connections", world.metrics.connections.get());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
