//! How broken replies travel.

use std::io::{ErrorKind, Read as _};

use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Bench, bytes_of, chat, events_of};

/// Sends a call on a connection of its own and reads until it ends: the bytes, and how it ended.
async fn raw(bench: &Bench, text: &str, stream: bool) -> (Vec<u8>, Result<(), ErrorKind>) {
    let body = chat(text, json!({"stream": stream})).to_string();
    let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    let mut socket = TcpStream::connect(bench.running.address).await.unwrap();
    socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 65_536]);
    loop {
        match socket.read(&mut buffer).await {
            Ok(0) => return (bytes, Ok(())),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) => return (bytes, Err(error.kind())),
        }
        // A reply that ended well keeps the connection open.
        if bytes.ends_with(b"\r\n0\r\n\r\n") {
            return (bytes, Ok(()));
        }
    }
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn a_reset_is_a_reset_and_a_truncation_a_close() {
    let bench = Bench::listed().await;
    for stream in [true, false] {
        let (bytes, end) = raw(&bench, "[[sim:reset-before-head]]", stream).await;
        assert_eq!((bytes.len(), end), (0, Err(ErrorKind::ConnectionReset)));
        let (bytes, end) = raw(&bench, "[[sim:reset-mid-stream]]", stream).await;
        assert_eq!(end, Err(ErrorKind::ConnectionReset));
        assert!(has(&bytes, "HTTP/1.1 200") && has(&bytes, "choices"), "half of it came: {stream}");
        let (bytes, end) = raw(&bench, "[[sim:truncate]]", stream).await;
        assert_eq!(end, Ok(()));
        assert!(has(&bytes, "choices") && !bytes.ends_with(b"0\r\n\r\n"));
    }
}

#[tokio::test]
async fn a_cut_ends_clean_without_usage_and_without_end_mark() {
    let bench = Bench::listed().await;
    let asked = json!({"stream": true, "stream_options": {"include_usage": true}});
    let events = events_of(bench.chat("[[sim:cut]]", asked.clone()).await).await;
    assert!(events.iter().all(|event| event != "[DONE]" && event["usage"].is_null()));
    assert!(!events.is_empty());
    let events = events_of(bench.chat("[[sim:error-mid-stream]]", asked).await).await;
    let (error, before) = events.split_last().unwrap();
    assert!(error["error"]["code"].is_string());
    assert!(!before.is_empty() && before.iter().all(|event| event != "[DONE]"));
    let half = bytes_of(bench.chat("[[sim:cut]]", json!({})).await).await;
    assert!(serde_json::from_slice::<Value>(&half).is_err());
}

#[tokio::test]
async fn a_hanging_stream_keeps_the_connection_open() {
    let bench = Bench::listed().await;
    let mut response = bench.chat("[[sim:hang-mid-stream,answer=40]]", json!({"stream": true})).await;
    let mut text = Vec::new();
    // Half of twelve chunks arrives; what follows never does, and the test does not wait for it.
    while text.windows(6).filter(|window| window == b"data: ").count() < 6 {
        let frame = response.body_mut().frame().await.unwrap().unwrap();
        text.extend_from_slice(&frame.into_data().unwrap());
    }
    assert!(!has(&text, "[DONE]"));
    drop(response);
    bench.running.shutdown().await;
}

#[tokio::test]
async fn framings_differ_and_content_stays() {
    let bench = Bench::listed().await;
    let stream = async |mode: &str| {
        bytes_of(bench.chat(&format!("[[sim:{mode}]]"), json!({"stream": true})).await).await.to_vec()
    };
    let crlf = stream("crlf").await;
    assert!(crlf.ends_with(b"data: [DONE]\r\n\r\n") && !has(&crlf, "}\n\n"));
    let no_space = stream("no-space").await;
    assert!(no_space.ends_with(b"data:[DONE]\n\n") && !has(&no_space, "data: "));
    let comments = stream("comments").await;
    assert!(comments.starts_with(b": keep-alive\n\ndata: {"));
    let twice = stream("double-done").await;
    assert!(twice.ends_with(b"data: [DONE]\n\ndata: [DONE]\n\n"));
    assert!(std::str::from_utf8(&stream("invalid-utf8").await).is_err());
    assert!(std::str::from_utf8(&stream("garbage").await).is_err());
    let big = stream("big-line").await;
    assert!(big.split(|byte| *byte == b'\n').any(|line| line.len() > 10_000_000));
    let split = stream("split-3").await;
    assert!(split.ends_with(b"data: [DONE]\n\n"));
    let drip = stream("slow-drip,answer=1").await;
    assert!(drip.ends_with(b"data: [DONE]\n\n"));
}

#[tokio::test]
async fn a_split_reply_comes_in_frames_of_that_size() {
    let bench = Bench::listed().await;
    let mut response = bench.chat("[[sim:split-5,answer=4]]", json!({"stream": true})).await;
    while let Some(frame) = response.body_mut().frame().await {
        assert!(frame.unwrap().into_data().unwrap().len() <= 5);
    }
}

#[tokio::test]
async fn a_wrong_length_breaks_the_body() {
    let bench = Bench::listed().await;
    for stream in [true, false] {
        let response = bench.chat("[[sim:wrong-length]]", json!({"stream": stream})).await;
        assert!(response.headers().contains_key("content-length"));
        assert!(response.into_body().collect().await.is_err(), "{stream}");
    }
}

#[tokio::test]
async fn a_compressed_stream_is_the_stream() {
    let bench = Bench::listed().await;
    let response = bench.chat("[[sim:gzip-stream]]", json!({"stream": true})).await;
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*bytes_of(response).await).read_to_string(&mut text).unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn a_redirect_and_a_page_are_what_they_say() {
    let bench = Bench::listed().await;
    let response = bench.chat("[[sim:redirect]]", json!({})).await;
    assert_eq!(response.status(), 307);
    assert!(response.headers().contains_key("location"));
    let response = bench.chat("[[sim:error-html]]", json!({"stream": true})).await;
    assert_eq!((response.status().as_u16(), &response.headers()["content-type"]), (500, &"text/html".parse().unwrap()));
}
