//! An operator's office: the admin API on a store in memory, with a clock that is turned by hand.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use gratis::admin::{AdminState, Changes, Check, Coverage, Reloaded, Rules, StoreState, Token, router};
use gratis::catalogue::{Catalogue, FreeQuota, Model, Site};
use gratis::clock::Clock;
use gratis::ledger::{
    AccountId, AccountState, Ask, Command, HoldId, KeyId, Outcome, Overrun, Reserve, ReserveRules, Resolution,
    SwitchOff, Timestamp, Unit, Usage,
};
use gratis::notify::{self, Known, Notifier};
use gratis::store::embedded::Notes;
use gratis::store::{LedgerStore, NewAccount, NoteStore, Pepper, Store};
use http::{HeaderMap, Method, Request};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::support::memory::MemoryStore;
use crate::support::models;
use crate::support::world::model;

pub const TOKEN: &str = "gratis-admin-token-of-the-tests";
pub const READ_TOKEN: &str = "gratis-read-token-of-the-tests";
pub const DAY: u64 = 86_400_000;
/// 2026-11-21T00:00:00Z.
pub const NOW: u64 = 1_795_219_200_000;

pub struct Office {
    pub state: AdminState,
    pub store: Arc<MemoryStore>,
    pub clock: Clock,
    pub draining: Arc<AtomicBool>,
    /// Why the store is suspended.
    pub suspended: Arc<Mutex<Option<String>>>,
    /// What the next reload answers.
    pub reload: Arc<Mutex<Result<Reloaded, String>>>,
}

/// An answer as it came; the body is `Null` where it is no JSON.
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    pub json: Value,
}

impl Reply {
    pub fn code(&self) -> &str {
        self.json["code"].as_str().unwrap_or_else(|| panic!("no problem: {} {}", self.status, self.text))
    }

    /// Asserts a problem of this status and code, in the shape of RFC 9457, with a sentence.
    pub fn is_problem(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.json["code"].as_str()), (status, Some(code)), "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.json["status"], status);
        assert_eq!(self.json["type"], "about:blank");
        assert!(self.json["title"].is_string());
        assert!(self.json["detail"].as_str().is_some_and(|detail| detail.len() > 20), "{}", self.text);
    }

    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.text);
        self.json
    }
}

impl Office {
    /// One account `default` without grants and keys, `never_pay` off.
    pub async fn new() -> Self {
        let clock = Clock::by_hand(Timestamp(NOW));
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let account = NewAccount {
            account: "default".into(),
            site: "strict".into(),
            state: AccountState::Active,
            never_pay: false,
        };
        assert!(store.open_account(account).await.unwrap());
        Self::on(Arc::clone(&store) as Arc<dyn Store>, store, clock)
    }

    /// The same on another store; `memory` is there for those who look behind it.
    pub fn on(store: Arc<dyn Store>, memory: Arc<MemoryStore>, clock: Clock) -> Self {
        let draining = Arc::new(AtomicBool::new(false));
        let reload = Arc::new(Mutex::new(Ok(Reloaded::default())));
        let suspended = Arc::new(Mutex::new(None));
        let notes: Arc<dyn NoteStore> = Arc::new(Notes::in_memory(clock.clone()).unwrap());
        let state = AdminState {
            store: Arc::clone(&store),
            rules: Arc::new(rules),
            pepper: Pepper::from_bytes(&[7; 32]),
            notifier: Arc::new(notifier(&store, &notes, &clock)),
            notes,
            token: Token::new(TOKEN),
            read_token: Token::new(READ_TOKEN),
            changes: Changes::default(),
            audit_lines: 1_000,
            body_max: 1 << 20,
            lease_ms: 600_000,
            checks: {
                let draining = Arc::clone(&draining);
                Arc::new(move || {
                    let problem = draining.load(Ordering::SeqCst).then(|| "draining".to_owned());
                    vec![Check { name: "accepting", problem }]
                })
            },
            store_state: {
                let suspended = Arc::clone(&suspended);
                Arc::new(move || StoreState {
                    kind: "shared",
                    promise: vec!["redis-always: nothing is forgotten".to_owned()],
                    suspended: suspended.lock().unwrap().clone(),
                    breaker_open: false,
                    parked_settlements: 0,
                })
            },
            resume: {
                let suspended = Arc::clone(&suspended);
                Some(Arc::new(move || {
                    suspended.lock().unwrap().take();
                    Box::pin(std::future::ready(Ok(())))
                }))
            },
            metrics: Arc::new(|| "# EOF\n".to_owned()),
            coverage: Arc::new(coverage),
            recent: Arc::new(|_| None),
            reload: {
                let reload = Arc::clone(&reload);
                Arc::new(move || {
                    let answer = reload.lock().unwrap().clone();
                    Box::pin(async move { answer })
                })
            },
            version: "0.0.0-test".into(),
        };
        Self { state, store: memory, clock, draining, suspended, reload }
    }

    pub fn router(&self) -> Router {
        router(self.state.clone())
    }

    pub async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Reply { status: parts.status.as_u16(), headers: parts.headers, text, json }
    }

    pub async fn call(&self, method: &str, path: &str, body: impl Into<Option<Value>>) -> Reply {
        let text = body.into().map(|body| body.to_string()).unwrap_or_default();
        self.call_text(method, path, text).await
    }

    pub async fn call_text(&self, method: &str, path: &str, body: String) -> Reply {
        let method: Method = method.parse().unwrap();
        let request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {TOKEN}"));
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Value {
        self.call("GET", path, None).await.ok()
    }

    /// Adds a grant of 1,000,000 that ends in 90 days; answers its number.
    pub async fn grant(&self, model: &str) -> u64 {
        let body = serde_json::json!({ "model": model, "amount": 1_000_000 });
        let made = self.call("POST", "/admin/v1/accounts/default/grants", body).await.ok();
        made["grant"].as_u64().unwrap()
    }

    /// A call of a model through a key: it holds `hold`, and uses `used` of it unless it is still in progress.
    pub async fn spend(&self, key: &str, model: &str, hold: u64, used: Option<u64>) -> HoldId {
        let account = AccountId::from("default");
        let id = HoldId(u128::from(self.clock.now().0) << 64 | u128::from(uuid::Uuid::now_v7().as_u128() as u64));
        let reserve = Reserve {
            hold: id,
            key: KeyId::from(key),
            model: model.into(),
            pool: rules().catalogue.model(model).unwrap().pool.clone(),
            ask: Ask { input: hold, ..Ask::default() },
            lease_ms: 600_000,
            max_call_ms: 1_000,
            caller_now: self.clock.now(),
            rules: ReserveRules {
                overrun: Overrun::Never,
                switch_default_on: false,
                priced: true,
                bounded: true,
                covered: true,
            },
        };
        let outcome = self.store.apply(&account, Command::Reserve(reserve)).unwrap();
        assert!(matches!(outcome, Outcome::Admitted(_)), "{outcome:?}");
        if let Some(input) = used {
            let resolution = Resolution::Settle(Usage { input, output: 0 });
            self.store.apply(&account, Command::Resolve { hold: id, resolution, origin: None }).unwrap();
        }
        id
    }

    /// Makes a key; answers its id and its secret.
    pub async fn key(&self) -> (String, String) {
        let made = self.call("POST", "/admin/v1/accounts/default/keys", serde_json::json!({})).await.ok();
        (made["id"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap().to_owned())
    }
}

/// Without channels: it tells nobody.
fn notifier(store: &Arc<dyn Store>, notes: &Arc<dyn NoteStore>, clock: &Clock) -> Notifier {
    let settings = notify::Settings { check_every: Duration::from_secs(10), mail: None, webhook: None };
    let known = || Known { catalogue: rules().catalogue, sites: rules().sites };
    Notifier::new(&settings, Arc::clone(store), Arc::clone(notes), Arc::new(known), clock.clone()).unwrap()
}

fn coverage() -> Vec<Coverage> {
    let text = |text: &str| text.to_owned();
    vec![Coverage {
        method: text("POST"),
        path: text("/compatible-mode/v1/chat/completions"),
        dialect: text("openai-chat"),
        metering: text("tokens"),
        source: text("W 2.4"),
    }]
}

/// Two sites that differ in when a switch may be turned off, and models of each kind.
pub fn rules() -> Rules {
    let with = |code: &str, change: fn(&mut Model)| {
        let mut model = model(code, 131_072, 8_192);
        model.free_quota = Some(FreeQuota::Total(1_000_000));
        change(&mut model);
        model
    };
    let models = [
        with("qwen-max", |_| {}),
        with("qwen-turbo", |model| model.validity_days = 30),
        with("shared", |_| {}),
        with("shared-latest", |model| model.pool = "shared".into()),
        with("vendor/slashed", |_| {}),
        with("no-quota", |model| model.free_quota = None),
        with("qwen-vl", |model| model.free_quota = Some(FreeQuota::Split { input: 100, output: 50 })),
        with("wan", |model| {
            model.unit = Unit::Images;
            model.bounds = None;
            model.free_quota = Some(FreeQuota::Total(100));
        }),
    ];
    Rules {
        catalogue: Arc::new(Catalogue::new(models)),
        sites: vec![Arc::new(site("strict", SwitchOff::OnceUsedUp)), Arc::new(site("easy", SwitchOff::AnyTime))],
        default_site: "strict".to_owned(),
    }
}

pub fn site(name: &str, switch_off: SwitchOff) -> Site {
    Site {
        name: name.to_owned(),
        title: name.to_owned(),
        time_zone: "Asia/Singapore".to_owned(),
        regions: vec!["ap-southeast-1".to_owned()],
        switch_off,
        overdue_grace_days: 3,
        ..models::site()
    }
}
