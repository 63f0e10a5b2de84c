//! C11: every surface that can be billed beside the quota, in free quota only. Each is refused with a reason that names it; nothing
//! is passed on uncounted. A new dialect adds its rows to [`SURFACES`].

use gratis::dialect::STRIPPABLE;
use serde_json::{Value, json};

use crate::support::plug::Plug;
use crate::support::world::{KEY, Plan, World, model};

/// What a surface comes to in free quota only.
#[derive(Clone, Copy, Debug)]
enum Comes {
    /// 403 `AllocationQuota.FreeTierOnly`; the message and `param` name this.
    Refused(&'static str),
    /// 404: there is no such model here.
    NoModel,
    /// 404: the path is not metered, so it is not passed on.
    NotMetered,
    /// 403 `AllocationQuota.FreeTierOnly`, whatever is in it: nothing of its kind is ever covered.
    NotCovered,
    /// It is metered: an empty call is refused because it names no model, and nothing goes up.
    Metered,
    /// The path takes another method.
    OtherMethod,
    /// It costs nothing, or it is plain inference, and is served.
    Served,
}

/// Where it is asked for.
enum Surface {
    /// A member of a chat request.
    Chat(&'static str, fn() -> Value),
    /// A model's code.
    Model(&'static str),
    /// A path.
    Path(&'static str, &'static str),
}

use Comes::{Metered, NoModel, NotCovered, NotMetered, OtherMethod, Refused, Served};
use Surface::{Chat, Model, Path};

const SURFACES: [(&str, Surface, Comes); 43] = [
    ("W 4", Chat("enable_search", || json!(true)), Refused("enable_search")),
    ("W 4", Chat("search_options", || json!({"forced_search": true})), Refused("search_options")),
    ("W 4", Chat("enable_code_interpreter", || json!(true)), Refused("enable_code_interpreter")),
    ("W 4", Chat("plugins", || json!([{"name": "x"}])), Refused("plugins")),
    ("W 4", Chat("tools", || json!([{"type": "web_search"}])), Refused("tools")),
    ("W 4", Chat("tools", || json!([{"type": "mcp", "server_url": "http://x"}])), Refused("tools")),
    ("W 4", Chat("tools", || json!([{"type": "code_interpreter"}])), Refused("tools")),
    ("W 4", Chat("tools", || json!([{"type": "image_search"}])), Refused("tools")),
    ("S1:6", Chat("messages", marked), Refused("cache_control")),
    ("S1:6", Chat("messages", marked_message), Refused("cache_control")),
    ("W 4", Chat("service_tier", || json!("priority")), Refused("service_tier")),
    ("W 4", Chat("service_tier", || json!("batch")), Refused("service_tier")),
    ("W 2.2", Chat("enable_search", || json!(false)), Served),
    ("W 2.2", Chat("service_tier", || json!("auto")), Served),
    ("W 2.2", Chat("tools", || json!([{"type": "function", "function": {"name": "f"}}])), Served),
    ("S2:9", Model("ft:qwen-plus-0001"), NoModel),
    ("S2:9", Model("qwen-plus-deployed-1"), NoModel),
    ("S0:75", Model("qwen-plus-latest"), NoModel),
    ("S0:76", Path("POST", "/compatible-mode/v1/batches"), NotCovered),
    ("S2:71", Path("POST", "/compatible-mode/v1/files"), Served),
    ("S2:71", Path("GET", "/compatible-mode/v1/batches"), OtherMethod),
    ("W 2.2", Path("POST", "/compatible-mode/v1/completions"), Metered),
    ("W 2.2", Path("POST", "/compatible-mode/v1/responses"), Metered),
    ("W 2.2", Path("POST", "/compatible-mode/v1/conversations"), Served),
    ("W 2.2", Path("POST", "/compatible-mode/v1/embeddings"), Metered),
    ("W 2.2", Path("POST", "/compatible-api/v1/reranks"), Metered),
    ("W 2.2", Path("POST", "/api/v1/services/aigc/text-generation/generation"), Metered),
    ("W 2.2", Path("POST", "/api/v1/services/aigc/multimodal-generation/generation"), Metered),
    ("W 2.2", Path("POST", "/api/v1/services/aigc/image-generation/generation"), Metered),
    ("W 2.2", Path("POST", "/api/v1/services/aigc/text2image/image-synthesis"), Metered),
    ("W 2.2", Path("POST", "/api/v1/services/aigc/video-generation/video-synthesis"), Metered),
    ("W 2.2", Path("POST", "/api/v1/services/embeddings/text-embedding/text-embedding"), Metered),
    ("W 2.2", Path("POST", "/api/v1/services/rerank/text-rerank/text-rerank"), Metered),
    ("W 2.2", Path("POST", "/api/v1/services/audio/asr/transcription"), Metered),
    ("W 2.2", Path("POST", "/api/v1/services/audio/tts/SpeechSynthesizer"), Metered),
    ("W 2.2", Path("POST", "/api/v1/services/audio/tts/customization"), Metered),
    ("W 2.2", Path("POST", "/api/v1/apps/my-app/completion"), NotCovered),
    ("W 2.2", Path("POST", "/api/v1/fine-tunes"), NotMetered),
    ("W 2.2", Path("POST", "/api/v1/deployments"), NotMetered),
    ("W 2.2", Path("POST", "/api/v1/uploads"), NotMetered),
    ("W 2.2", Path("POST", "/apps/anthropic/v1/messages"), Metered),
    ("W 2.2", Path("GET", "/api-ws/v1/inference"), Metered),
    ("W 2.2", Path("GET", "/api-ws/v1/realtime"), Metered),
];

fn marked() -> Value {
    json!([{"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]}])
}

fn marked_message() -> Value {
    json!([{"role": "user", "content": "hi", "cache_control": {"type": "ephemeral"}}])
}

fn plan(free_quota_only: bool) -> Plan {
    Plan { free_quota_only, ..Plan::new(model("qwen-plus", 32_768, 8_192), 10_000_000) }
}

fn chat(change: impl FnOnce(&mut Value)) -> String {
    let mut body = json!({"model": "qwen-plus", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 64});
    change(&mut body);
    sent("POST", "/compatible-mode/v1/chat/completions", &body.to_string())
}

fn sent(method: &str, path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: gratis\r\ncontent-length: {length}\r\nauthorization: Bearer {KEY}\r\n\r\n{body}"
    )
}

async fn answer(world: &World, request: String) -> (u16, Value) {
    let mut plug = Plug::to(&world.origin).await;
    plug.write(request).await;
    let reply = plug.reply().await;
    (reply.status, serde_json::from_slice(&reply.body).unwrap_or_default())
}

/// WebSocket paths say what they miss in the order in which they look: the handshake first.
fn path_of_sockets(name: &str) -> bool {
    name.contains("/api-ws/")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_surface_is_billed_beside_the_quota() {
    let world = World::new(plan(true)).await;
    let mut wrong = Vec::new();
    println!("{:6} {:62} {:6} {:32} reason", "source", "surface", "status", "code");
    for (source, surface, comes) in SURFACES {
        let before = world.received().await;
        let (name, request) = match surface {
            Chat(member, value) => {
                (format!("{member} = {}", value()).chars().take(60).collect(), chat(|body| body[member] = value()))
            }
            Model(code) => (format!("model = {code}"), chat(|body| body["model"] = json!(code))),
            Path(method, path) => (format!("{method} {path}"), sent(method, path, "{}")),
        };
        let (status, body) = answer(&world, request).await;
        // DashScope's own shape has no envelope (W 1.3).
        let error = if body["error"].is_object() { &body["error"] } else { &body };
        let text = |member: &str| error[member].as_str().unwrap_or_default().to_owned();
        println!(
            "{source:6} {name:62} {status:6} {:32} {}",
            text("code"),
            text("message").chars().take(80).collect::<String>()
        );
        let well = match comes {
            Refused(named) => {
                let named = text("message").contains(named) && text("param") == named;
                status == 403 && text("code") == "AllocationQuota.FreeTierOnly" && named
            }
            NoModel => status == 404 && text("code") == "model_not_found",
            NotMetered => status == 404 && text("code") == "not_metered",
            NotCovered => status == 403 && text("code") == "AllocationQuota.FreeTierOnly",
            Metered => status == 400 && (text("message").contains("model") || path_of_sockets(&name)),
            OtherMethod => status == 405,
            Served => status == 200,
        };
        let arrived = world.received().await - before;
        if !well || arrived != u64::from(matches!(comes, Served)) {
            wrong.push(format!("{source} {name}: {status} {body}, {arrived} requests arrived"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What a policy that strips comes to.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_policy_strips_is_served_without_it_and_said() {
    let mut plan = plan(true);
    plan.quota.strip = STRIPPABLE.map(str::to_owned).to_vec();
    let world = World::new(plan).await;
    println!("{:6} {:62} {:6} x-gratis-stripped", "source", "surface", "status");
    for (source, surface, comes) in SURFACES {
        let (Chat(member, value), Refused(named)) = (surface, comes) else { continue };
        let before = world.received().await;
        let mut plug = Plug::to(&world.origin).await;
        plug.write(chat(|body| body[member] = value())).await;
        let reply = plug.reply().await;
        let stripped = reply.header("x-gratis-stripped").map(str::to_owned);
        let name: String = format!("{member} = {}", value()).chars().take(60).collect();
        println!("{source:6} {name:62} {:6} {}", reply.status, stripped.as_deref().unwrap_or("-"));
        if named == "tools" {
            assert_eq!((reply.status, stripped), (403, None), "{name}: the model is told to use it");
            assert_eq!(world.received().await, before);
            continue;
        }
        assert_eq!((reply.status, stripped.as_deref()), (200, Some(named)), "{name}");
        let body = world.last_request().await;
        assert!(!body.to_string().contains(named), "{name}: {body}");
    }
    // Not everything may go: nothing does.
    let both = chat(|body| {
        body["enable_search"] = json!(true);
        body["tools"] = json!([{"type": "web_search"}]);
    });
    let (status, body) = answer(&world, both).await;
    assert_eq!(status, 403, "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_strips_only_what_it_names_and_nothing_that_is_paid_for() {
    let mut narrow = plan(true);
    narrow.quota.strip = vec!["enable_search".to_owned()];
    let world = World::new(narrow).await;
    let (status, body) = answer(&world, chat(|body| body["plugins"] = json!([{"name": "x"}]))).await;
    assert_eq!((status, &body["error"]["param"]), (403, &json!("plugins")), "{body}");
    let mut paid = plan(false);
    paid.quota.strip = vec!["enable_search".to_owned()];
    let world = World::new(paid).await;
    assert_eq!(answer(&world, chat(|body| body["enable_search"] = json!(true))).await.0, 200);
    assert!(world.last_request().await.to_string().contains("enable_search"));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_mode_off_what_is_billed_apart_is_passed_on() {
    let world = World::new(plan(false)).await;
    for (source, surface, comes) in SURFACES {
        if let (Chat(member, value), Refused(_)) = (surface, comes) {
            let (status, body) = answer(&world, chat(|body| body[member] = value())).await;
            assert_eq!(status, 200, "{source} {member}: {body}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_without_a_grant_is_named() {
    for (host, named) in [(true, "upstream.simulator.base_url"), (false, "upstream.simulator.api_key")] {
        let mut plan = plan(true);
        if host {
            plan.site.other_products = vec!["127.0.0.".to_owned()];
        } else {
            plan.site.other_keys = vec!["sk-up".to_owned()];
        }
        let world = World::new(plan).await;
        let (status, body) = answer(&world, chat(|_| {})).await;
        assert_eq!((status, &body["error"]["code"]), (403, &json!("AllocationQuota.FreeTierOnly")));
        assert!(body["error"]["message"].as_str().unwrap().contains(named), "{body}");
        assert_eq!(world.received().await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_site_covers_marked_cache_blocks_they_are_served() {
    let mut plan = plan(true);
    plan.site.covers.explicit_cache = true;
    let world = World::new(plan).await;
    assert_eq!(answer(&world, chat(|body| body["messages"] = marked())).await.0, 200);
}
