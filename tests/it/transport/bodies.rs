//! Request bodies: how they are framed, how large they may be, and that what was not read is never taken for a request.

use serde_json::json;

use super::{hi, plan};
use crate::support::plug::{Plug, chat_head, chat_request};
use crate::support::wire::h2;
use crate::support::world::{KEY, Plan, World, model};

const LIMIT: usize = 10 << 20;

/// A body of exactly `size` bytes that names its bound, so that nothing has to be written into it.
fn body_of(size: usize) -> String {
    let make = |text: &str| {
        format!(
            "{{\"model\":\"qwen-plus\", \"max_tokens\":16,\"messages\":[{{\"role\":\"user\",\"content\":\"{text}\"}}]}}"
        )
    };
    let body = make(&"a \\u00e9".repeat(size).as_str()[..size - make("").len()]);
    // A cut escape sequence would not be JSON: end on plain letters.
    let end = "\"}]}";
    let body = format!("{}zzzzzzzz{end}", &body[..body.len() - end.len() - 8]);
    let body = body.replace("\\zzzzzzzz", "zzzzzzzzz");
    assert_eq!(body.len(), size);
    body
}

fn large() -> Plan {
    Plan::new(model("qwen-plus", 16 << 20, 8_192), 500 << 20)
}

fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut framed = Vec::with_capacity(body.len() * 2);
    for chunk in body.chunks(size) {
        framed.extend(format!("{:x}\r\n", chunk.len()).bytes());
        framed.extend(chunk);
        framed.extend(b"\r\n");
    }
    framed.extend(b"0\r\n\r\n");
    framed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_may_come_in_chunks_and_in_pieces_of_any_size() {
    let world = World::new(plan()).await;
    let body = hi(false).to_string();
    let head = chat_head("1.1", KEY, "transfer-encoding: chunked\r\n");
    let mut plug = Plug::to(&world.origin).await;
    plug.write(&head).await;
    for byte in chunked(body.as_bytes(), 3) {
        plug.write([byte]).await;
    }
    assert_eq!(plug.reply().await.status, 200);
    assert_eq!(world.last_request().await["body"], body.as_str());

    // Chunk extensions and trailers are framing: they reach nobody.
    let framed =
        format!("{head}{:X};name=value\r\n{body}\r\n0\r\nx-secret: 1\r\nauthorization: Bearer x\r\n\r\n", body.len());
    plug.write(framed).await;
    assert_eq!(plug.reply().await.status, 200);
    let last = world.last_request().await;
    assert_eq!(last["body"], body.as_str());
    assert!(!last.to_string().contains("x-secret"), "{last}");

    let request = chat_request("1.1", KEY, "", &body);
    for byte in request.bytes() {
        plug.write([byte]).await;
    }
    assert_eq!(plug.reply().await.status, 200);
    assert_eq!(world.received().await, 3);
    let balance = world.settled("qwen-plus").await;
    assert_eq!((balance.spent, balance.presumed), (world.charged("qwen-plus").await, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_at_the_limit_passes_byte_for_byte() {
    let world = World::new(large()).await;
    let body = body_of(LIMIT);
    let mut plug = Plug::to(&world.origin).await;
    plug.write(chat_request("1.1", KEY, "", &body)).await;
    let reply = plug.reply().await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(world.last_request().await["body"] == body.as_str(), "the body was changed");

    plug.write(chat_head("1.1", KEY, "transfer-encoding: chunked\r\n")).await;
    plug.write(chunked(body.as_bytes(), 65_536)).await;
    assert_eq!(plug.reply().await.status, 200);
    assert!(world.last_request().await["body"] == body.as_str(), "the body was changed");

    // Where the client names no bound, the clamp is written in, and nothing else is touched.
    let silent = body.replacen(" \"max_tokens\":16,", "", 1);
    plug.write(chat_request("1.1", KEY, "", &silent)).await;
    assert_eq!(plug.reply().await.status, 200);
    let sent = world.last_request().await["body"].as_str().unwrap().to_owned();
    let sent: Vec<&str> = sent.splitn(2, "\"max_tokens\":").collect();
    let (before, after) = (sent[0], sent[1].trim_start_matches(|c: char| c.is_ascii_digit()));
    let joined = format!("{before}{}", after.strip_prefix(',').unwrap_or(after));
    assert!(joined == silent, "more than the clamp was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_a_413_that_the_client_gets_to_read() {
    let world = World::new(large()).await;
    let body = body_of(LIMIT + 1);
    // As most clients do: everything is written first, and only then read.
    let declared = chat_request("1.1", KEY, "", &body).into_bytes();
    let mut undeclared = chat_head("1.1", KEY, "transfer-encoding: chunked\r\n").into_bytes();
    undeclared.extend(chunked(body.as_bytes(), 65_536));
    for request in [declared, undeclared] {
        let mut plug = Plug::to(&world.origin).await;
        plug.write(request).await;
        let reply = plug.reply().await;
        assert_eq!(reply.status, 413, "{reply:?}");
        assert!(reply.text().contains("request_too_large"), "{reply:?}");
        usable_or_announced(&mut plug, &reply.head).await;
    }
    let mut sender = h2(&world.origin).await;
    for (size, status) in [(LIMIT + 1, 413), (LIMIT, 200)] {
        let url = format!("{}/v1/chat/completions", world.origin);
        let bearer = format!("Bearer {KEY}");
        let headers = [("authorization", bearer.as_str())];
        let request = crate::support::wire::request(http::Method::POST, &url, &headers, body_of(size).into());
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), status);
    }
    world.quiet().await;
    assert_eq!(world.received().await, 1, "only what is within the limit went on");
}

/// After a rejection the connection either goes on, or the reply said that it would not.
async fn usable_or_announced(plug: &mut Plug, head: &str) {
    if head.to_ascii_lowercase().contains("connection: close") {
        assert_eq!(plug.rest().await, b"");
        return;
    }
    plug.write(chat_request("1.1", KEY, "", &body_of(256))).await;
    assert_eq!(plug.reply().await.status, 200, "the reply promised a connection that goes on: {head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_was_not_read_is_never_taken_for_a_request() {
    let world = World::new(plan()).await;
    let smuggled = chat_request("1.1", KEY, "", &hi(false).to_string());
    let filled = format!("{smuggled}{}", " ".repeat(200_000));
    let cases = [
        ("POST /v1/chat/completions", "sk-wrong", "", 401),
        ("POST /v1/assistants", KEY, "", 404),
        ("PUT /v1/chat/completions", KEY, "", 405),
        ("POST /v1/chat/completions", KEY, "content-encoding: gzip\r\n", 415),
        ("POST /v1/chat/completions", KEY, "", 400),
        ("GET /v1/models", KEY, "", 200),
    ];
    for (line, key, more, status) in cases {
        for (body, chunks) in [(&smuggled, false), (&smuggled, true), (&filled, false), (&filled, true)] {
            let framing = match chunks {
                true => "transfer-encoding: chunked\r\n".to_owned(),
                false => format!("content-length: {}\r\n", body.len()),
            };
            let head = format!("{line} HTTP/1.1\r\nhost: gratis\r\nauthorization: Bearer {key}\r\n{framing}{more}\r\n");
            let mut plug = Plug::to(&world.origin).await;
            plug.write(&head).await;
            // The first reply may come, and the connection end, before the body is written.
            let framed = if chunks { chunked(body.as_bytes(), 1_000) } else { body.as_bytes().to_vec() };
            let _ = plug.try_write(framed).await;
            let reply = plug.reply().await;
            assert_eq!(reply.status, status, "{line} {more}: {reply:?}");
            let closes = reply.header("connection") == Some("close");
            assert!(closes || reply.status == 400 || reply.status == 200, "{line} {more}: {reply:?}");
            let bye = "GET /v1/unmetered HTTP/1.1\r\nhost: gratis\r\nconnection: close\r\n\r\n";
            let _ = plug.try_write(bye).await;
            let rest = String::from_utf8_lossy(&plug.rest().await).into_owned();
            assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 404"), "{line} {more}: {rest}");
            assert!(rest.matches("HTTP/1.1").count() <= 1, "{line} {more}: {rest}");
            assert!(!closes || rest.is_empty(), "{line} {more}: {rest}");
            assert!(
                reply.status != 400 || !rest.is_empty(),
                "a body that was read leaves the connection usable: {reply:?}"
            );
        }
    }
    assert_eq!(world.received().await, 4, "only GET /v1/models went on");
    assert_eq!(world.charged("qwen-plus").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn contradictory_framing_is_refused() {
    let world = World::new(plan()).await;
    let body = hi(false).to_string();
    let length = format!("content-length: {}\r\n", body.len());
    let cases = [
        format!("{length}content-length: {}\r\n", body.len() + 1),
        "content-length: +5\r\n".to_owned(),
        "content-length: 5, 6\r\n".to_owned(),
        "transfer-encoding: gzip\r\n".to_owned(),
        "transfer-encoding: chunked, gzip\r\n".to_owned(),
        "transfer-encoding : chunked\r\n".to_owned(),
    ];
    for more in cases {
        let mut plug = Plug::to(&world.origin).await;
        plug.write(format!("{}{body}", chat_head("1.1", KEY, &more))).await;
        let rest = String::from_utf8_lossy(&plug.rest().await).into_owned();
        assert!(rest.starts_with("HTTP/1.1 400"), "{more}: {rest}");
    }
    // With both, the chunks count and the connection must not go on (RFC 9112 6.3).
    let both = "content-length: 3\r\ntransfer-encoding: chunked\r\n";
    let mut plug = Plug::to(&world.origin).await;
    let framed = String::from_utf8(chunked(body.as_bytes(), 64)).unwrap();
    plug.write(format!("{}{framed}", chat_head("1.1", KEY, both))).await;
    let reply = plug.reply().await;
    if reply.status == 200 {
        assert_eq!(world.last_request().await["body"], body.as_str());
    } else {
        assert_eq!(reply.status, 400, "{reply:?}");
    }
    let sent = json!(world.received().await);
    assert!(sent == json!(0) || sent == json!(1));
}
