//! The wire vectors of the WebSocket APIs, played frame by frame against an upstream that plays its half of them.

use std::sync::Arc;

use base64::Engine as _;
use futures_util::{SinkExt, StreamExt};
use gratis::catalogue::ModelType;
use gratis::ledger::Unit;
use serde_json::{Value, json};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::client::Client;
use super::script;
use crate::support::vectors::of_protocols;
use crate::support::world::{Plan, World, model, unit_model};

#[tokio::test(flavor = "multi_thread")]
async fn every_vector_of_the_websocket_apis_passes_end_to_end() {
    let vectors = of_protocols(&["ws_inference", "ws_realtime"]);
    assert_eq!(vectors.len(), 3, "the vectors are missing");
    for (name, vector) in vectors {
        play(&name, Arc::new(vector)).await;
    }
}

async fn play(name: &str, vector: Arc<Value>) {
    let origin = script::upstream({
        let vector = Arc::clone(&vector);
        move |raw| upstream(Arc::clone(&vector), raw)
    })
    .await;
    let quota = &vector["state"]["quota"][0];
    let code = quota["pool"].as_str().unwrap();
    let row = match quota["unit"].as_str().unwrap() {
        "characters" => unit_model(code, ModelType::Tts, Unit::Characters, Some(200_000)),
        "tokens" => model(code, 32_768, 4_096),
        other => panic!("{other}"),
    };
    let mut plan = Plan::new(row, quota["remaining"].as_u64().unwrap());
    plan.upstream = Some(origin);
    let world = World::new(plan).await;
    let mut client = Client::to(&world.origin, vector["request"]["path"].as_str().unwrap()).await;
    for frame in vector["frames"].as_array().unwrap() {
        if frame["from"] == "client" {
            client.raw(frame["text"].as_str().unwrap()).await;
        } else {
            assert_eq!(client.message().await.unwrap().unwrap(), message(frame), "{name}");
        }
    }
    for frame in vector["expected"]["client"]["frames"].as_array().into_iter().flatten() {
        match frame["text"].as_str() {
            Some(text) => {
                assert_eq!(client.message().await.unwrap().unwrap().into_text().unwrap().as_str(), text, "{name}")
            }
            None => assert!(client.closed().await.is_some(), "{name}"),
        }
    }
    let before = u64::from(quota["remaining"] == json!(0));
    let charged =
        vector["expected"]["charge"].as_array().unwrap().iter().map(|charge| charge["amount"].as_u64().unwrap());
    let wanted: u64 = charged.sum();
    assert_eq!(world.balance(code).await.spent - before, wanted, "{name}: the end waited for the settlement");
    if client.try_say(&json!({})).await {
        client.vanish();
    }
}

fn message(frame: &Value) -> Message {
    match frame["text"].as_str() {
        Some(text) => Message::text(text),
        None => Message::binary(
            base64::engine::general_purpose::STANDARD.decode(frame["binary_base64"].as_str().unwrap()).unwrap(),
        ),
    }
}

/// The upstream's half of a vector; what the client says must come as it stands there.
async fn upstream(vector: Arc<Value>, raw: script::Raw) {
    let mut socket = WebSocketStream::from_raw_socket(raw.stream, Role::Server, None).await;
    assert!(script::header(&raw.head, "sec-websocket-extensions").is_none());
    assert_eq!(script::header(&raw.head, "authorization").unwrap(), "Bearer sk-upstream");
    for frame in vector["frames"].as_array().unwrap() {
        if frame["from"] == "client" {
            assert_eq!(socket.next().await.unwrap().unwrap(), message(frame));
        } else {
            socket.send(message(frame)).await.unwrap();
        }
    }
    while let Some(Ok(_)) = socket.next().await {}
}
