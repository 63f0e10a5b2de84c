//! Bytes pass as they are: fragments, masks, odd cuts, control frames between fragments, empty and large frames.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::client::{finish, go_on, run_tts};
use super::script::{self, Got, frame};
use super::{TTS, plan};
use crate::support::world::World;

const FIN: u8 = 0x80;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const MORE: u8 = 0;
const PING: u8 = 9;
const PONG: u8 = 10;

/// What a client sends within one task: every form that a frame can have.
fn up() -> Vec<u8> {
    let mask = Some([0x12, 0xf0, 0x00, 0xff]);
    let text = go_on("frag-ments").to_string();
    let (first, rest) = text.as_bytes().split_at(41);
    let (second, third) = rest.split_at(1);
    [
        frame(FIN | TEXT, run_tts("hello").to_string().as_bytes(), Some([0, 0, 0, 0])),
        frame(FIN | PING, b"are you there", mask),
        frame(TEXT, first, mask),
        frame(FIN | PING, b"", Some([9, 9, 9, 9])),
        frame(MORE, second, Some([1, 2, 3, 4])),
        frame(MORE, b"", mask),
        frame(FIN | PONG, b"unasked", mask),
        frame(FIN | MORE, third, mask),
        frame(FIN | BINARY, &[0xa5; 70_000], mask),
        frame(BINARY, &[1; 126], mask),
        frame(FIN | MORE, &[2; 125], mask),
        frame(FIN | BINARY, b"", mask),
        frame(FIN | TEXT, finish().to_string().as_bytes(), mask),
    ]
    .concat()
}

/// What a server sends for it.
fn down() -> Vec<u8> {
    let event = |event: &str, usage: serde_json::Value| {
        let header = json!({"task_id": super::client::TASK, "event": event, "attributes": {}});
        json!({"header": header, "payload": {"output": {"x": "ünï"}, "usage": usage}}).to_string()
    };
    let result = event("result-generated", json!({"characters": 15}));
    let (first, rest) = result.as_bytes().split_at(result.find('ü').unwrap() + 1);
    [
        frame(FIN | TEXT, event("task-started", json!(null)).as_bytes(), None),
        frame(FIN | PONG, b"are you there", None),
        frame(FIN | BINARY, &[0x5a; 200_000], None),
        frame(TEXT, first, None),
        frame(FIN | PING, b"and you", None),
        frame(FIN | MORE, rest, None),
        frame(BINARY, b"", None),
        frame(FIN | MORE, &[3; 300], None),
        // Longer than what is read of a message: it passes all the same.
        frame(FIN | TEXT, format!("\"{}\"", "x".repeat(1_100_000)).as_bytes(), None),
        frame(FIN | TEXT, event("task-finished", json!(null)).as_bytes(), None),
        frame(FIN | 8, &1000_u16.to_be_bytes(), None),
    ]
    .concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_directions_pass_byte_for_byte_however_they_are_cut() {
    for cut in [1_usize, 3, 7, 4_096, usize::MAX] {
        let got = Got::default();
        let origin = script::upstream({
            let got = got.clone();
            move |raw| upstream(raw, got.clone(), cut)
        })
        .await;
        let mut settings = plan();
        settings.upstream = Some(origin);
        let world = World::new(settings).await;
        let mut raw =
            script::connect(&world.origin, "/api-ws/v1/inference", "Sec-WebSocket-Extensions: permessage-deflate\r\n")
                .await;
        assert!(raw.head.starts_with("HTTP/1.1 101"), "{}", raw.head);
        assert_eq!(script::header(&raw.head, "sec-websocket-accept").unwrap(), "ICX+Yqv66kxgM0FcWaLWlFLwTAI=");
        assert!(script::header(&raw.head, "sec-websocket-extensions").is_none());
        let (mut reader, mut writer) = raw.stream.split();
        let sending = async {
            for piece in pieces(&up(), cut) {
                writer.write_all(piece).await.unwrap();
            }
        };
        let wanted = down();
        let reading = async {
            let mut bytes = vec![0; wanted.len()];
            reader.read_exact(&mut bytes).await.unwrap();
            bytes
        };
        let ((), bytes) = tokio::join!(sending, reading);
        assert!(bytes == wanted, "down, in pieces of {cut}");
        assert!(got.wait(up().len()).await == up(), "up, in pieces of {cut}");
        writer.write_all(&frame(FIN | 8, &1000_u16.to_be_bytes(), Some([5; 4]))).await.unwrap();
        // A message was too long to be read, so the usage may have been in it.
        let balance = world.settled(TTS).await;
        assert!(balance.presumed >= 15 && balance.spent == 0, "{balance:?}");
    }
}

fn pieces(bytes: &[u8], cut: usize) -> impl Iterator<Item = &[u8]> {
    // The long payload goes as it is: a million writes of one byte would only take time.
    let (head, tail) = bytes.split_at(bytes.len().min(3_000));
    head.chunks(cut).chain(tail.chunks(cut.max(1_000)))
}

async fn upstream(raw: script::Raw, got: Got, cut: usize) {
    let (mut reader, mut writer) = raw.stream.into_split();
    let reading = async {
        let mut buffer = vec![0; 65_536];
        while let Ok(read) = reader.read(&mut buffer).await {
            if read == 0 {
                return;
            }
            got.add(&buffer[..read]);
        }
    };
    let writing = async {
        got.wait(1).await;
        for piece in pieces(&down(), cut) {
            writer.write_all(piece).await.unwrap();
        }
    };
    tokio::join!(reading, writing);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_up_before_the_upstream_has_agreed() {
    let got = Got::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let seen = got.clone();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; 65_536];
        let mut answered = false;
        while let Ok(read) = stream.read(&mut buffer).await {
            if read == 0 {
                return;
            }
            seen.add(&buffer[..read]);
            if seen.bytes().ends_with(b"\r\n\r\n") && !answered {
                answered = true;
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
            }
        }
    });
    let mut settings = plan();
    settings.upstream = Some(origin);
    let world = World::new(settings).await;
    let mut client = super::client::Client::inference(&world.origin).await;
    client.say(&run_tts("secret")).await;
    assert_eq!(client.until("task-failed").await["header"]["error_code"], "gratis_upstream_broken");
    assert!(!String::from_utf8_lossy(&got.bytes()).contains("secret"));
    assert!(got.bytes().ends_with(b"\r\n\r\n"), "only a handshake went up");
    let balance = world.settled(TTS).await;
    assert_eq!((balance.spent, balance.presumed, balance.held), (0, 0, 0));
}
