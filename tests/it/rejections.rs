//! Every refusal, byte by byte: its status, its headers, and its body in the caller's dialect; and that it changed no counter.

mod accounts;
mod requests;

use gratis::ledger::AccountId;
use gratis::store::LedgerStore;
use serde_json::{Value, json};

use crate::support::plug::{Plug, Reply};
use crate::support::world::{KEY, Plan, World, model};

/// What the client is told about trying again.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Again {
    /// `x-should-retry: false`.
    Useless,
    /// `retry-after`, in seconds.
    After(u32),
    /// Neither: as the client likes.
    AsYouLike,
}

/// A refusal as it must look.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    status: u16,
    code: &'static str,
    /// The envelope's `type`.
    kind: &'static str,
    param: Option<&'static str>,
    /// Refused where the model service refuses: then there is an `id` (W 1.2).
    id: bool,
    again: Again,
}

impl Wanted {
    /// Refused before the model service would have been asked.
    const fn gateway(status: u16, code: &'static str) -> Self {
        let kind = if status < 500 { "invalid_request_error" } else { "server_error" };
        Self { status, code, kind, param: None, id: false, again: Again::Useless }
    }

    /// Refused as the model service does: type and code are the same.
    const fn service(status: u16, code: &'static str) -> Self {
        Self { kind: code, id: true, ..Self::gateway(status, code) }
    }

    /// A parameter of the request is wrong.
    const fn parameter(param: &'static str) -> Self {
        let code = "invalid_parameter_error";
        Self { kind: "invalid_request_error", param: Some(param), ..Self::service(400, code) }
    }

    const fn request() -> Self {
        Self::service(400, "invalid_request_error")
    }

    const fn again(self, again: Again) -> Self {
        Self { again, ..self }
    }
}

const FREE_TIER_ONLY: Wanted = Wanted::service(403, "AllocationQuota.FreeTierOnly");
const INVALID_KEY: Wanted = Wanted::gateway(401, "invalid_api_key");

fn plan() -> Plan {
    Plan::new(model("qwen-plus", 32_768, 8_192), 1_000_000)
}

fn hi() -> Value {
    json!({"model": "qwen-plus", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 64})
}

fn with(name: &str, value: Value) -> String {
    let mut body = hi();
    body[name] = value;
    body.to_string()
}

/// A request with these header lines beside the body's length.
fn request(line: &str, headers: &str, body: &str) -> String {
    format!("{line} HTTP/1.1\r\nhost: gratis\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

fn chat(body: &str) -> String {
    request("POST /v1/chat/completions", &bearer(), body)
}

fn bearer() -> String {
    format!("authorization: Bearer {KEY}\r\n")
}

/// Sends the request and looks at every part of the refusal; nothing may have gone upstream and no counter may have moved.
async fn refused(world: &World, name: &str, request: impl AsRef<[u8]>, wanted: Wanted) -> Reply {
    let before = (world.received().await, counters(world).await);
    let reply = answered(world, name, request, wanted).await;
    assert_eq!((world.received().await, counters(world).await), before, "{name}: a counter moved");
    reply
}

/// The same without a look at the counters.
async fn answered(world: &World, name: &str, request: impl AsRef<[u8]>, wanted: Wanted) -> Reply {
    let mut plug = Plug::to(&world.origin).await;
    plug.write(request).await;
    let reply = plug.reply().await;
    assert_eq!(reply.status, wanted.status, "{name}: {reply:?}");
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_else(|e| panic!("{name}: {e}: {reply:?}"));
    let error = &body["error"];
    let id = reply.header("x-gratis-request-id").unwrap_or_else(|| panic!("{name}: no request id: {reply:?}"));
    let message = error["message"].as_str().unwrap();
    assert!(message.len() > 10 && message.len() < 400, "{name}: {message}");
    let mut envelope = json!({
        "error": {"message": message, "type": wanted.kind, "param": wanted.param, "code": wanted.code},
        "request_id": id,
    });
    if wanted.id {
        envelope["id"] = json!(format!("chatcmpl-{id}"));
    }
    assert_eq!(body, envelope, "{name}");
    assert_eq!(reply.header("content-type"), Some("application/json"), "{name}");
    assert_eq!(reply.header("x-gratis-error-source"), Some("gratis"), "{name}");
    let (retry, after) = match wanted.again {
        Again::Useless => (Some("false"), None),
        Again::After(seconds) => (None, Some(seconds.to_string())),
        Again::AsYouLike => (None, None),
    };
    assert_eq!((reply.header("x-should-retry"), reply.header("retry-after")), (retry, after.as_deref()), "{name}");
    reply
}

/// Every balance of the account; nothing where the store does not answer.
async fn counters(world: &World) -> String {
    match world.store.book(&AccountId::from("default")).await {
        Ok(book) => {
            let pools = book.pools.iter().map(|(pool, of)| (pool, of.grants.iter().map(|grant| grant.balance)));
            pools.map(|(pool, balances)| format!("{pool} {:?}\n", balances.collect::<Vec<_>>())).collect()
        }
        Err(_) => String::new(),
    }
}
