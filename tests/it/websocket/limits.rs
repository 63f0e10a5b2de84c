//! What a client may not do (FAULTS 4.7): each ends the connection with the code for it, and costs nothing.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::client::{Client, run_tts};
use super::script::{self, Raw, frame};
use super::{TTS, plan};
use crate::support::wire::{request, send};
use crate::support::world::{KEY, World};

const MASK: Option<[u8; 4]> = Some([1, 2, 3, 4]);

/// What the server says last: the code of its close.
async fn code_of(mut raw: Raw) -> u16 {
    let mut got = Vec::new();
    raw.stream.read_to_end(&mut got).await.unwrap();
    let at = got.iter().position(|byte| *byte == 0x88).unwrap_or_else(|| panic!("no close in {got:?}"));
    u16::from_be_bytes([got[at + 2], got[at + 3]])
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_break_a_rule_close_the_connection_with_the_code_for_it() {
    let world = World::new(plan()).await;
    let long = |length: u64| [&[0x82, 0xff][..], &length.to_be_bytes(), &[0; 4]].concat();
    let cases: [(&str, Vec<u8>, u16); 16] = [
        ("not masked", frame(0x81, b"{}", None), 1002),
        ("a reserved bit", frame(0xc1, b"{}", MASK), 1002),
        ("an unknown opcode", frame(0x83, b"", MASK), 1002),
        ("an unknown control opcode", frame(0x8b, b"", MASK), 1002),
        ("nothing to go on with", frame(0x80, b"x", MASK), 1002),
        ("a message inside another", [frame(0x01, b"{", MASK), frame(0x81, b"}", MASK)].concat(), 1002),
        ("a control frame in parts", frame(0x09, b"x", MASK), 1002),
        ("a large control frame", frame(0x89, &[0; 126], MASK), 1002),
        ("a length that is not the shortest", [0x82, 0xfe, 0, 5, 0, 0, 0, 0].to_vec(), 1002),
        ("a length of more than 63 bits", long(u64::MAX), 1002),
        ("a close of one byte", frame(0x88, &[3], MASK), 1002),
        ("a close that must not be sent", frame(0x88, &1005_u16.to_be_bytes(), MASK), 1002),
        ("text that is no UTF-8", frame(0x81, b"\xff\xfe", MASK), 1007),
        ("a reason that is no UTF-8", frame(0x88, &[3, 0xe8, 0xff], MASK), 1007),
        ("a frame that is too large", long((1 << 20) + 1), 1009),
        (
            "a message that is too large",
            [frame(0x02, &[0; 1 << 19], MASK).repeat(1), frame(0x00, &[0; 1 << 19], MASK), frame(0x80, b"x", MASK)]
                .concat(),
            1009,
        ),
    ];
    for (name, bytes, code) in cases {
        let mut raw = script::connect(&world.origin, "/api-ws/v1/inference", "").await;
        if name == "a message that is too large" {
            // Audio is taken only within a task.
            raw.stream.write_all(&frame(0x81, run_tts("").to_string().as_bytes(), MASK)).await.unwrap();
        }
        raw.stream.write_all(&bytes).await.unwrap();
        assert_eq!(code_of(raw).await, code, "{name}");
    }
    world.quiet_tasks().await;
    let balance = world.settled(TTS).await;
    assert_eq!((balance.spent, balance.held), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_pings_ends_the_connection() {
    let world = World::new(plan()).await;
    let mut raw = script::connect(&world.origin, "/api-ws/v1/inference", "").await;
    raw.stream.write_all(&frame(0x89, b"x", MASK).repeat(101)).await.unwrap();
    assert_eq!(code_of(raw).await, 1008);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_answers_no_ping_counts_as_gone_and_one_that_does_stays() {
    let mut settings = plan();
    settings.sockets.ping_interval = Duration::from_millis(50);
    settings.sockets.ping_timeout = Duration::from_millis(200);
    let world = World::new(settings).await;
    let mut silent = script::connect(&world.origin, "/api-ws/v1/inference", "").await;
    silent.stream.write_all(&frame(0x81, run_tts("").to_string().as_bytes(), MASK)).await.unwrap();
    let mut got = Vec::new();
    silent.stream.read_to_end(&mut got).await.unwrap();
    assert!(got.windows(2).any(|pair| pair == [0x89, 12]), "it was asked first");

    let mut lively = Client::inference(&world.origin).await;
    lively.say(&run_tts("")).await;
    lively.until("task-started").await;
    // Its library answers pings while it reads; several intervals pass.
    let idle = tokio::time::timeout(Duration::from_secs(1), async {
        while let Some(Ok(message)) = lively.message().await {
            assert!(message.is_ping(), "{message:?}");
        }
    });
    assert!(idle.await.is_err(), "the connection ended");
    lively.say(&super::client::finish()).await;
    lively.until("task-finished").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_whole_handshake_opens_a_connection_and_only_so_many() {
    let mut settings = plan();
    settings.sockets.connections = 2;
    let world = World::new(settings).await;
    let bearer = format!("Bearer {KEY}");
    let whole = [
        ("authorization", bearer.as_str()),
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
    ];
    let url = format!("{}/api-ws/v1/inference", world.origin);
    for wrong in [
        ("connection", "keep-alive"),
        ("upgrade", "h2c"),
        ("sec-websocket-version", "8"),
        ("sec-websocket-key", "short"),
    ] {
        let headers = whole.map(|pair| if pair.0 == wrong.0 { wrong } else { pair });
        let response = send(request(http::Method::GET, &url, &headers, Vec::new())).await;
        assert_eq!(response.status(), 400, "{wrong:?}");
    }
    for (path, status) in [
        ("/api-ws/v1/inference?x=1", 400),
        ("/api-ws/v1/realtime", 400),
        ("/api-ws/v1/realtime?model=", 400),
        ("/api-ws/v1/realtime?model=a&model=b", 400),
        ("/api-ws/v1/realtime?model=qwen%2dx", 400),
        ("/api-ws/v1/realtime?model=unknown", 404),
        ("/api-ws/v1/other", 404),
        ("/api-ws/v1//inference", 404),
        ("/API-WS/v1/inference", 404),
    ] {
        let raw = script::connect(&world.origin, path, "").await;
        assert!(raw.head.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {}", raw.head);
    }
    let first = script::connect(&world.origin, "/api-ws/v1/inference", "").await;
    let second = script::connect(&world.origin, "/api-ws/v1/inference/", "").await;
    let third = script::connect(&world.origin, "/api-ws/v1/inference", "").await;
    let heads = [first.head, second.head, third.head].map(|head| head[9..12].to_owned());
    assert_eq!(heads, ["101", "101", "503"]);
    assert_eq!(world.received().await, 0);
}
