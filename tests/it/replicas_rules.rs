//! Three replicas of the real program on a real Redis: what one of them learns or is told stops the very next call on the others.
//! Nothing here waits for it.

use std::path::Path;

use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::campaign_process::Process;
use crate::campaign_site::{Ground, Site};
use crate::support::redis::Server;
use crate::support::wire;

const MODEL: &str = "qwen-plus";
const REPLICAS: usize = 3;
const OK: StatusCode = StatusCode::OK;
const FORBIDDEN: StatusCode = StatusCode::FORBIDDEN;
const GRANT: u64 = 10_000_000;

/// The replicas but one.
fn others(one: usize) -> impl Iterator<Item = usize> {
    (0..REPLICAS).filter(move |other| *other != one)
}

/// Three replicas that run.
struct Trio {
    grounds: Vec<Ground>,
    _running: Vec<Process>,
    _server: Server,
}

impl Trio {
    async fn start(more: &[(&'static str, &str)]) -> Self {
        let server = Server::always();
        let url = server.url();
        let mut settings = vec![("GRATIS_STORE__URL", url.as_str()), ("GRATIS_STORE__TIMEOUT", "2s")];
        settings.extend_from_slice(more);
        let ground = Ground::new(Path::new(env!("CARGO_BIN_EXE_gratis")), &[(MODEL, GRANT)], &settings);
        let grounds = vec![ground.sibling(), ground.sibling(), ground];
        let running = join_all(grounds.iter().map(Ground::serve)).await.into_iter().map(|(process, _)| process);
        let running = running.collect();
        Self { grounds, _running: running, _server: server }
    }

    fn site(&self, replica: usize) -> &Site {
        &self.grounds[replica].site
    }

    /// The key that `gratis init` made.
    fn key(&self) -> String {
        self.site(0).key.clone()
    }

    /// An operator's request to a replica: its status and answer.
    async fn admin(&self, replica: usize, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
        let site = self.site(replica);
        let url = format!("{}/admin/v1{path}", site.admin);
        let (status, answer) = site.wire.ask(method, &url, &site.token, body).await.unwrap();
        (status, serde_json::from_slice(&answer).unwrap_or_default())
    }

    /// The ETag of a setting, as a replica shows it.
    async fn tag(&self, replica: usize, path: &str) -> String {
        let url = format!("{}/admin/v1{path}", self.site(replica).admin);
        let bearer = format!("Bearer {}", self.site(replica).token);
        let asked = wire::request(Method::GET, &url, &[("authorization", &bearer)], Vec::new());
        wire::send(asked).await.headers()["etag"].to_str().unwrap().to_owned()
    }

    /// A change of what has this ETag: its status and answer.
    async fn change(&self, replica: usize, (method, path): (&Method, &str), tag: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}/admin/v1{path}", self.site(replica).admin);
        let bearer = format!("Bearer {}", self.site(replica).token);
        let headers = [("authorization", bearer.as_str()), ("if-match", tag), ("content-type", "application/json")];
        let asked = wire::request(method.clone(), &url, &headers, body.to_string().into_bytes());
        let (status, _, answer) = wire::whole(wire::send(asked).await).await.unwrap();
        (status, serde_json::from_slice(&answer).unwrap_or_default())
    }

    /// One small call of a key through a replica: its status and answer.
    async fn call(&self, replica: usize, key: &str, model: &str) -> (StatusCode, Value) {
        let site = self.site(replica);
        let url = format!("{}/compatible-mode/v1/chat/completions", site.origin);
        let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 300});
        let (status, answer) = site.wire.ask(Method::POST, &url, key, &body).await.unwrap();
        (status, serde_json::from_slice(&answer).unwrap_or_default())
    }

    /// An operator's request that is carried out.
    async fn done(&self, replica: usize, method: Method, path: &str, body: Value) -> Value {
        let (status, answer) = self.admin(replica, method, path, &body).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    /// What a call is answered by each of these: the status and the code of its error.
    async fn refused(&self, replicas: impl Iterator<Item = usize>, key: &str, model: &str) -> Vec<(u16, String)> {
        let mut answers = Vec::new();
        for replica in replicas {
            let (status, answer) = self.call(replica, key, model).await;
            answers.push((status.as_u16(), answer["error"]["code"].as_str().unwrap_or_default().to_owned()));
        }
        answers
    }

    /// Calls that reached the provider.
    async fn received(&self) -> u64 {
        let site = self.site(0);
        let url = format!("{}/requests?last=1", site.simulator);
        let (_, answer) = site.wire.ask(Method::GET, &url, "", &Value::Null).await.unwrap();
        serde_json::from_slice::<Value>(&answer).unwrap()["count"].as_u64().unwrap()
    }
}

fn each(status: u16, code: &str) -> Vec<(u16, String)> {
    vec![(status, code.to_owned()); REPLICAS - 1]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_and_a_flipped_switch_stop_the_next_call_on_every_replica() {
    let trio = Trio::start(&[]).await;
    let own = trio.key();
    for (one, model) in ["qwen-flash", "qwen-turbo", "qwen-max"].into_iter().enumerate() {
        // A key.
        let made = trio.done(one, Method::POST, "/accounts/default/keys", json!({"name": "a"})).await;
        let (id, key) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
        for other in others(one) {
            assert_eq!(trio.call(other, key, MODEL).await.0, OK);
        }
        trio.done(one, Method::DELETE, &format!("/accounts/default/keys/{id}"), Value::Null).await;
        assert_eq!(trio.refused(others(one), key, MODEL).await, each(401, "invalid_api_key"));
        // The guard of the account, on a model whose quota is too small for any call.
        let grant = json!({"model": model, "amount": 100});
        trio.done(one, Method::POST, "/accounts/default/grants", grant).await;
        let guard = async |on: bool| trio.done(one, Method::PATCH, "/accounts/default", json!({"never_pay": on})).await;
        guard(false).await;
        for other in others(one) {
            assert_eq!(trio.call(other, &own, model).await.0, OK, "it may be paid for");
        }
        guard(true).await;
        assert_eq!(trio.refused(others(one), &own, model).await, each(403, "AllocationQuota.FreeTierOnly"));
        guard(false).await;
        for other in others(one) {
            assert_eq!(trio.call(other, &own, model).await.0, OK);
        }
        // What is left of the grant was used by the calls above: another one is there to protect.
        trio.done(one, Method::POST, "/accounts/default/grants", json!({"model": model, "amount": 100})).await;
        let path = format!("/accounts/default/models/{model}/switch");
        trio.done(one, Method::PUT, &path, json!({"free_quota_only": true})).await;
        assert_eq!(trio.refused(others(one), &own, model).await, each(403, "AllocationQuota.FreeTierOnly"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_says_to_one_replica_stops_the_next_call_on_every_other() {
    let trio = Trio::start(&[("GRATIS_UPSTREAM__DEFAULT__ACCOUNT", "default")]).await;
    let own = trio.key();
    // An account that does not own the upstream, may pay, and has no grant of the model.
    let new = json!({"id": "payer", "never_pay": false});
    trio.done(0, Method::POST, "/accounts", new).await;
    let made = trio.done(0, Method::POST, "/accounts/payer/keys", json!({"name": "a"})).await;
    let payer = made["secret"].as_str().unwrap().to_owned();
    for one in 0..REPLICAS {
        assert_eq!(trio.call(one, &payer, MODEL).await.0, OK);
        trio.site(0).behave(&json!({"mode": "arrearage", "calls": 1})).await;
        assert_eq!(trio.call(one, &own, MODEL).await.0, StatusCode::BAD_REQUEST);
        let before = trio.received().await;
        for (whose, key) in [("owner", &own), ("payer", &payer)] {
            assert_eq!(trio.refused(others(one), key, MODEL).await, each(400, "Arrearage"), "{whose} after {one}");
        }
        assert_eq!(trio.received().await, before, "a call reached the provider");
        let another = others(one).next().unwrap();
        let standing = trio.done(another, Method::GET, "/accounts/default/standing", Value::Null).await;
        assert_eq!(standing["refused_by"], "default", "{standing}");
        assert_eq!(standing["state"]["state"], "overdue", "{standing}");
        let standing = trio.done(another, Method::GET, "/accounts/payer/standing", Value::Null).await;
        assert_eq!(standing["state"]["state"], "active", "{standing}");
        // The clear, through another replica, holds for all of them at once: by hand, or because the bill is paid.
        if one == 0 {
            trio.done(another, Method::POST, "/upstreams/default/reopen", Value::Null).await;
        } else {
            trio.done(another, Method::POST, "/accounts/default/events", json!({"kind": "topped_up"})).await;
        }
        for replica in 0..REPLICAS {
            for key in [&own, &payer] {
                let (status, answer) = trio.call(replica, key, MODEL).await;
                assert_eq!(status, OK, "{answer}");
            }
        }
        // The free quota is used up, says the provider.
        trio.site(0).behave(&json!({"mode": "free-tier-only", "calls": 1})).await;
        assert_eq!(trio.call(one, &own, MODEL).await.0, FORBIDDEN);
        let before = trio.received().await;
        assert_eq!(trio.refused(others(one), &own, MODEL).await, each(403, "AllocationQuota.FreeTierOnly"));
        assert_eq!(trio.received().await, before, "a call reached the provider");
        trio.done(another, Method::POST, &format!("/accounts/default/pools/{MODEL}/reopen"), Value::Null).await;
        for replica in 0..REPLICAS {
            assert_eq!(trio.call(replica, &own, MODEL).await.0, OK);
        }
    }
    // Each refusal and what ended it stand in the audit log, with the cause.
    let audit = trio.done(1, Method::GET, "/audit?account=default", Value::Null).await;
    let told = audit["items"].as_array().unwrap().iter().filter(|line| line["actor"]["role"] == "provider");
    let refusals = told.filter(|line| line["request"]["kind"] == "refused_by_provider");
    let codes: Vec<&Value> = refusals.map(|line| &line["request"]["code"]).collect();
    assert_eq!(codes, [&json!("Arrearage"); REPLICAS], "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_changes_that_rest_on_the_same_reading_one_is_carried_out_whichever_replica_is_asked() {
    let trio = Trio::start(&[]).await;
    let settings = [
        ("/accounts/default", Method::PATCH, [json!({"never_pay": false}), json!({"state": "unverified"})]),
        (
            "/accounts/default/fallback",
            Method::PUT,
            [json!({"models": ["qwen-max"]}), json!({"models": ["qwen-flash"]})],
        ),
        (
            "/accounts/default/notices",
            Method::PUT,
            [json!({"on": false}), json!({"on": true, "remaining_percent": [7]})],
        ),
    ];
    for (path, method, bodies) in settings {
        for _ in 0..5 {
            let tag = trio.tag(0, path).await;
            let [first, second] = &bodies;
            let (one, two) = tokio::join!(
                trio.change(1, (&method, path), &tag, first),
                trio.change(2, (&method, path), &tag, second)
            );
            let (mut answers, text) = ([one.0, two.0], format!("{path}: {} {}", one.1, two.1));
            answers.sort_unstable();
            assert_eq!(answers, [200, 412], "{text}");
            // Back to where it began, whatever was carried out.
            let back = match path {
                "/accounts/default" => json!({"never_pay": true, "state": "active"}),
                "/accounts/default/fallback" => json!({"models": []}),
                _ => json!({}),
            };
            trio.done(0, method.clone(), path, back).await;
        }
    }
}
