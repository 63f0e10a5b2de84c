//! The operator's hands on the request path: why a call was decided so, what serves instead, what the provider said, shadow mode.

mod fallback;
mod provider;
mod shadow;
mod why;

use std::sync::Arc;
use std::time::{Duration, Instant};

use gratis::clock::Clock;
use gratis::store::embedded::Notes;
use gratis::store::{NoteStore, Shelf};
use http::HeaderMap;
use serde_json::{Value, json};

use crate::support::PATIENCE;
use crate::support::wire;
use crate::support::world::{KEY, Plan, World, model};

fn notes() -> Arc<dyn NoteStore> {
    Arc::new(Notes::in_memory(Clock::system()).unwrap())
}

fn hi(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 64})
}

/// Two models with quota, and notes.
fn plan(notes: &Arc<dyn NoteStore>) -> Plan {
    let mut plan = Plan::new(model("qwen-max", 32_768, 8_192), 1_000_000);
    plan.models.push(model("qwen-plus", 32_768, 8_192));
    plan.grants.push(("qwen-plus".to_owned(), 1_000_000));
    plan.notes = Some(Arc::clone(notes));
    plan
}

async fn call(world: &World, body: &Value) -> (u16, HeaderMap, Value) {
    let (status, headers, body) = wire::chat(&world.origin, KEY, body).await;
    (status, headers, serde_json::from_slice(&body).unwrap_or_default())
}

/// Waits until something is so.
async fn until<T>(what: &str, mut so: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = so().await {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "it never was so: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The trace of a response.
async fn trace(notes: &Arc<dyn NoteStore>, headers: &HeaderMap) -> Value {
    let id = headers["x-gratis-request-id"].to_str().unwrap().to_owned();
    let found = until("a trace", async || notes.get(Shelf::Traces, &id).await.unwrap()).await;
    serde_json::from_str(&found).unwrap()
}
