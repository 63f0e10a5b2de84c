//! How requests come in and replies go out on the wire, whatever the version of HTTP and the framing.

mod bodies;
mod framing;
mod headers;
mod pool;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use crate::support::plug::{Plug, chat_head, chat_request};
use crate::support::wire::h2;
use crate::support::world::{KEY, Plan, World, model};

fn plan() -> Plan {
    Plan::new(model("qwen-plus", 32_768, 8_192), 50_000_000)
}

fn hi(stream: bool) -> Value {
    json!({"model": "qwen-plus", "messages": [{"role": "user", "content": "hi"}], "stream": stream, "max_tokens": 64})
}

fn chat_over_h2(origin: &str, stream: bool) -> Request<Full<Bytes>> {
    let url = format!("{origin}/v1/chat/completions");
    let request = Request::builder().method(Method::POST).uri(url).header("authorization", format!("Bearer {KEY}"));
    request.body(Full::new(Bytes::from(hi(stream).to_string()))).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_one_http2_connection_are_metered_apart() {
    let world = World::new(plan()).await;
    let sender = h2(&world.origin).await;
    let mut calls = tokio::task::JoinSet::new();
    for call in 0..24 {
        let (mut sender, stream) = (sender.clone(), call % 2 == 0);
        let request = chat_over_h2(&world.origin, stream);
        calls.spawn(async move {
            let response = sender.send_request(request).await.unwrap();
            assert_eq!((response.status().as_u16(), response.version()), (200, http::Version::HTTP_2));
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let text = String::from_utf8(body.to_vec()).unwrap();
            assert_eq!(text.ends_with("data: [DONE]\n\n"), stream, "{text}");
            if stream {
                0
            } else {
                serde_json::from_str::<Value>(&text).unwrap()["usage"]["total_tokens"].as_u64().unwrap()
            }
        });
    }
    let told: u64 = calls.join_all().await.into_iter().sum();
    let balance = world.settled("qwen-plus").await;
    assert_eq!((balance.spent, balance.presumed), (world.charged("qwen-plus").await, 0));
    assert!(told > 0 && balance.spent > told, "{told}, {balance:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_http2_stream_is_charged_exactly_and_leaves_its_neighbours_alone() {
    let mut settings = plan();
    settings.simulator.chunk_delay = std::time::Duration::from_millis(5);
    let world = World::new(settings).await;
    let mut sender = h2(&world.origin).await;
    let left = sender.send_request(chat_over_h2(&world.origin, true)).await.unwrap();
    let kept = sender.send_request(chat_over_h2(&world.origin, true)).await.unwrap();
    let mut left = left.into_body();
    assert!(left.frame().await.unwrap().is_ok());
    drop(left);
    let text = kept.into_body().collect().await.unwrap().to_bytes();
    assert!(text.ends_with(b"data: [DONE]\n\n"));
    let balance = world.settled("qwen-plus").await;
    assert_eq!((balance.spent, balance.presumed), (world.charged("qwen-plus").await, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_0_gets_no_chunks_and_keeps_the_connection_only_when_asked() {
    let world = World::new(plan()).await;
    for stream in [false, true] {
        let mut plug = Plug::to(&world.origin).await;
        plug.write(chat_request("1.0", KEY, "", &hi(stream).to_string())).await;
        let reply = plug.reply().await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.header("transfer-encoding"), None, "{}", reply.head);
        assert_eq!(reply.text().ends_with("data: [DONE]\n\n"), stream, "{}", reply.text());
        assert_eq!(plug.rest().await, b"", "the connection closes by itself");
    }
    let mut plug = Plug::to(&world.origin).await;
    for _ in 0..2 {
        plug.write(chat_request("1.0", KEY, "connection: keep-alive\r\n", &hi(false).to_string())).await;
        assert_eq!(plug.reply().await.status, 200);
    }
    let balance = world.settled("qwen-plus").await;
    assert_eq!((balance.spent, balance.presumed), (world.charged("qwen-plus").await, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_1_keeps_the_connection_and_answers_pipelined_requests_in_order() {
    let world = World::new(plan()).await;
    let mut plug = Plug::to(&world.origin).await;
    for stream in [true, false, true] {
        plug.write(chat_request("1.1", KEY, "", &hi(stream).to_string())).await;
        let reply = plug.reply().await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.text().ends_with("data: [DONE]\n\n"), stream);
    }
    let three = [
        chat_request("1.1", KEY, "", &hi(false).to_string()),
        chat_request("1.1", KEY, "", "no JSON"),
        chat_request("1.1", KEY, "connection: close\r\n", &hi(true).to_string()),
    ];
    plug.write(three.concat()).await;
    assert_eq!(plug.reply().await.status, 200);
    assert_eq!(plug.reply().await.status, 400);
    let last = plug.reply().await;
    assert!(last.text().ends_with("data: [DONE]\n\n"), "{last:?}");
    assert_eq!(plug.rest().await, b"");
    let balance = world.settled("qwen-plus").await;
    assert_eq!((balance.spent, balance.presumed), (world.charged("qwen-plus").await, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_invited_only_once_the_caller_is_known() {
    let world = World::new(plan()).await;
    let body = hi(false).to_string();
    let expect = format!("expect: 100-continue\r\ncontent-length: {}\r\n", body.len());
    let too_large = format!("expect: 100-continue\r\ncontent-length: {}\r\n", (10 << 20) + 1);
    let encoded = format!("{expect}content-encoding: gzip\r\n");
    let uninvited = [("sk-wrong", &expect, 401), (KEY, &too_large, 413), (KEY, &encoded, 415)]
        .map(|(key, more, status)| (chat_head("1.1", key, more), status));
    for (head, status) in uninvited {
        let mut plug = Plug::to(&world.origin).await;
        plug.write(&head).await;
        let reply = plug.reply().await;
        assert_eq!(reply.status, status, "{head}");
        assert_eq!(
            plug.rest().await,
            b"",
            "a client that waits for the invitation must not be taken for one that sent it"
        );
    }
    assert_eq!(world.received().await, 0);
    let mut plug = Plug::to(&world.origin).await;
    plug.write(chat_head("1.1", KEY, &expect)).await;
    assert_eq!(plug.reply().await.status, 100);
    assert_eq!(world.received().await, 0);
    plug.write(&body).await;
    assert_eq!(plug.reply().await.status, 200);
    plug.write(chat_request("1.1", KEY, "", &body)).await;
    assert_eq!(plug.reply().await.status, 200, "the connection goes on");
}
