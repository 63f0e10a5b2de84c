//! Which headers cross, in both directions, and what an encoded reply is.

use std::io::Write as _;

use base64::Engine as _;
use serde_json::{Value, json};

use super::{hi, plan};
use crate::support::plug::{Plug, chat_request};
use crate::support::wire::chat;
use crate::support::world::{KEY, World};

/// The headers of the last request upstream, in order of their names.
async fn last_headers(world: &World) -> Vec<(String, String)> {
    let last = world.last_request().await;
    let headers = last["headers"].as_array().unwrap().iter();
    let mut headers: Vec<_> =
        headers.map(|pair| (pair[0].as_str().unwrap().to_owned(), pair[1].as_str().unwrap().to_owned())).collect();
    headers.sort();
    headers
}

fn value<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_client_crosses_but_what_is_on_the_list() {
    let world = World::new(plan()).await;
    let more = format!(
        "x-api-key: {KEY}\r\napi-key: {KEY}\r\nproxy-authorization: Basic c2VjcmV0\r\ncookie: session=secret\r\n\
         x-forwarded-for: 10.0.0.1\r\nx-forwarded-host: secret\r\nforwarded: for=10.0.0.1\r\nvia: 1.1 secret\r\n\
         x-real-ip: 10.0.0.1\r\nreferer: http://secret/\r\norigin: http://secret\r\nconnection: x-secret, keep-alive\r\n\
         x-secret: secret\r\nkeep-alive: timeout=5\r\nproxy-connection: keep-alive\r\nte: trailers\r\ntrailer: x-secret\r\n\
         upgrade: websocket\r\nx-dashscope-async: enable\r\nx-dashscope-workspace: secret\r\nx-gratis-model: secret\r\n\
         openai-organization: secret\r\naccept: application/json\r\naccept-language: de\r\nuser-agent: test/1\r\n\
         content-type: text/plain\r\n"
    );
    let body = hi(false).to_string();
    let mut plug = Plug::to(&world.origin).await;
    plug.write(chat_request("1.1", KEY, &more, &body)).await;
    assert_eq!(plug.reply().await.status, 200);
    let headers = last_headers(&world).await;
    let length = body.len().to_string();
    let host = world.simulator.origin().trim_start_matches("http://").to_owned();
    let expected = [
        ("accept", "application/json"),
        ("accept-encoding", "identity"),
        ("accept-language", "de"),
        ("authorization", "Bearer sk-upstream"),
        ("content-length", length.as_str()),
        ("content-type", "application/json"),
        ("host", host.as_str()),
        ("user-agent", "test/1"),
    ];
    let expected: Vec<_> = expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    assert_eq!(headers, expected);
    plug.write(format!(
        "GET /v1/models HTTP/1.1\r\nhost: gratis\r\nauthorization: Bearer {KEY}\r\ncookie: secret\r\n\r\n"
    ))
    .await;
    assert_eq!(plug.reply().await.status, 200);
    let headers = last_headers(&world).await;
    assert_eq!(value(&headers, "authorization"), Some("Bearer sk-upstream"));
    assert!(!headers.iter().any(|(_, value)| value.contains("secret")), "{headers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_send_the_key_works_and_two_that_agree_are_one() {
    let world = World::new(plan()).await;
    let ways = [
        format!("authorization: Bearer {KEY}\r\n"),
        format!("authorization: bearer   {KEY}\r\n"),
        format!("x-api-key: {KEY}\r\n"),
        format!("api-key: {KEY}\r\n"),
        format!("authorization: Bearer {KEY}\r\nx-api-key: {KEY}\r\n"),
    ];
    let body = hi(false).to_string();
    for way in ways {
        let length = body.len();
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: gratis\r\ncontent-length: {length}\r\n{way}\r\n{body}"
        );
        let mut plug = Plug::to(&world.origin).await;
        plug.write(request).await;
        assert_eq!(plug.reply().await.status, 200, "{way}");
        assert_eq!(value(&last_headers(&world).await, "authorization"), Some("Bearer sk-upstream"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_the_upstream_s_connection_stays_there() {
    let world = World::new(plan()).await;
    let answer =
        json!({"id": "x", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}});
    let headers = json!({
        "content-type": "application/json", "connection": "x-secret", "x-secret": "1", "keep-alive": "timeout=5",
        "proxy-authenticate": "Basic", "proxy-connection": "close", "te": "gzip", "upgrade": "h2c",
        "x-gratis-available": "999999", "x-gratis-anything": "1", "x-request-id": "upstream-1", "x-kept": "yes",
    });
    let reply = json!({"headers": headers, "body": answer.to_string()});
    world.behave(json!({"mode": "echo", "reply": reply, "charge": 7})).await;
    let (status, headers, body) = chat(&world.origin, KEY, &hi(false)).await;
    assert_eq!((status, serde_json::from_slice::<Value>(&body).unwrap()), (200, answer));
    for gone in
        ["x-secret", "keep-alive", "proxy-authenticate", "proxy-connection", "te", "upgrade", "x-gratis-anything"]
    {
        assert!(!headers.contains_key(gone), "{gone}");
    }
    assert_ne!(headers["x-gratis-available"], "999999");
    assert_eq!(headers.get_all("x-gratis-available").iter().count(), 1);
    assert_eq!(
        (&headers["x-kept"], &headers["x-request-id"]),
        (&"yes".parse().unwrap(), &"upstream-1".parse().unwrap())
    );
    assert_eq!(world.settled("qwen-plus").await.spent, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoded_reply_passes_encoded_and_is_metered() {
    let world = World::new(plan()).await;
    let bearer = format!("Bearer {KEY}");
    for (accepted, asked) in [
        ("gzip, br, zstd", "gzip, br"),
        ("gzip;q=1.0, deflate;q=0.6, identity;q=0.3", "gzip, deflate"),
        ("gzip;q=0, zstd", "identity"),
        ("*", "gzip, deflate, br"),
    ] {
        let headers = [("authorization", bearer.as_str()), ("accept-encoding", accepted)];
        let url = format!("{}/v1/chat/completions", world.origin);
        let before = world.settled("qwen-plus").await.spent;
        let (status, headers, body) = crate::support::wire::post(&url, &headers, hi(false).to_string().into()).await;
        assert_eq!(status, 200);
        assert_eq!(value(&last_headers(&world).await, "accept-encoding"), Some(asked));
        let mut text = String::new();
        match headers.get("content-encoding") {
            Some(encoding) => {
                assert_eq!(encoding, "gzip");
                let mut reader = flate2::read::GzDecoder::new(&body[..]);
                std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
            }
            None => text = String::from_utf8(body.to_vec()).unwrap(),
        }
        assert_eq!(headers.contains_key("content-encoding"), asked.contains("gzip"), "{accepted}");
        let usage = serde_json::from_str::<Value>(&text).unwrap()["usage"]["total_tokens"].as_u64().unwrap();
        assert_eq!(world.settled("qwen-plus").await.spent - before, usage);
    }
    // A stream is asked for as it is: its usage chunk may have to be taken out.
    let headers = [("authorization", bearer.as_str()), ("accept-encoding", "gzip, br")];
    let url = format!("{}/v1/chat/completions", world.origin);
    let (status, _, _) = crate::support::wire::post(&url, &headers, hi(true).to_string().into()).await;
    assert_eq!(status, 200);
    assert_eq!(value(&last_headers(&world).await, "accept-encoding"), Some("identity"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoding_that_nobody_asked_for_still_passes_untouched() {
    let world = World::new(plan()).await;
    let answer = json!({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}});
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(answer.to_string().as_bytes()).unwrap();
    let bytes = encoder.finish().unwrap();
    let coded = base64::engine::general_purpose::STANDARD.encode(&bytes);
    let headers = json!({"content-type": "application/json", "content-encoding": "gzip"});
    let reply = json!({"headers": headers, "body_base64": coded, "split_every": 7});
    world.behave(json!({"mode": "echo", "reply": reply, "charge": 11})).await;
    let (status, headers, body) = chat(&world.origin, KEY, &hi(false)).await;
    assert_eq!((status, &headers["content-encoding"]), (200, &"gzip".parse().unwrap()));
    assert_eq!(body, bytes);
    assert_eq!(world.settled("qwen-plus").await.spent, 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_of_the_upstream_is_neither_followed_nor_handed_on() {
    let world = World::new(plan()).await;
    world.behave(json!({"mode": "redirect"})).await;
    let (status, headers, _) = chat(&world.origin, KEY, &hi(false)).await;
    assert_eq!(status, 502);
    assert!(!headers.contains_key("location"), "{headers:?}");
    assert_eq!(world.received().await, 1);
    world.quiet().await;
}
