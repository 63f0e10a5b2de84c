//! A whole Gratis on loopback: a simulator, a store, the request path, a listener.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use gratis::catalogue::{Catalogue, Model, Site};
use gratis::clock::Clock;
use gratis::dialect::Kind;
use gratis::ledger::{
    AccountId, AccountState, Ask, Balance, Book, HoldId, HoldState, Key, KeyId, KeyState, Operation, Origin, Outcome,
    Overrun, Reserve, ReserveRules, Side, SwitchOff, Timestamp, Unit,
};
use gratis::proxy::{
    App, ClampPolicy, Explain, OnDisconnect, Proxy, QuotaSettings, Settings, Shared, SocketSettings, Upstream,
    UpstreamSettings, Upstreams, service,
};
use gratis::server::{Limits, listen};
use gratis::simulator;
use gratis::store::{KeyStore, LedgerStore, NewAccount, NoteStore, Pepper, Resource, ResourceStore, TaskHold};
use gratis::telemetry::Metrics;
use tokio_util::sync::CancellationToken;

use super::PATIENCE;
use super::memory::MemoryStore;
use super::models::{calls_of, sim_model};
pub use super::models::{model, model_of, site, thinking_model, unit_model};

pub const KEY: &str = "sk-test-0001";

/// What a world is made of.
pub struct Plan {
    pub models: Vec<Model>,
    /// Pool and amount of each grant.
    pub grants: Vec<(String, u64)>,
    pub state: AccountState,
    pub free_quota_only: bool,
    pub quota: QuotaSettings,
    pub sockets: SocketSettings,
    pub simulator: simulator::Settings,
    pub head_timeout: Duration,
    /// How long a connection to the upstream may be idle.
    pub idle_timeout: Duration,
    pub max_body: usize,
    pub key_in_flight: usize,
    pub limits: Limits,
    /// The origin of another upstream than the simulator.
    pub upstream: Option<String>,
    /// The account that owns the upstream.
    pub owner: Option<AccountId>,
    /// The rules of the account's site.
    pub site: Site,
    /// What is kept beside the books; `None` = nothing.
    pub notes: Option<Arc<dyn NoteStore>>,
    /// Which calls are explained.
    pub explain: Explain,
    /// The declared apps, which the simulator has as well.
    pub apps: HashMap<String, App>,
    /// Another world's books, for a second replica.
    pub store: Option<Arc<MemoryStore>>,
}

impl Plan {
    pub fn new(model: Model, granted: u64) -> Self {
        let grants = vec![(model.pool.to_string(), granted)];
        Self {
            models: vec![model],
            grants,
            state: AccountState::Active,
            free_quota_only: true,
            quota: quota(),
            sockets: sockets(),
            simulator: simulator::Settings::default(),
            head_timeout: Duration::from_secs(300),
            idle_timeout: Duration::from_secs(60),
            max_body: 10 << 20,
            key_in_flight: 10_000,
            limits: limits(),
            upstream: None,
            owner: None,
            site: site(),
            notes: None,
            explain: Explain::All,
            apps: HashMap::new(),
            store: None,
        }
    }
}

/// The defaults of the configuration, with a short lease.
pub fn quota() -> QuotaSettings {
    QuotaSettings {
        hold_share: 8,
        hold_share_floor: 8_192,
        min_output: 256,
        max_output_default: None,
        clamp: ClampPolicy::Always,
        shadow: false,
        strip: Vec::new(),
        overrun: None,
        lease: Duration::from_secs(600),
        max_call_plain: Duration::from_secs(300),
        max_call_stream: Duration::from_secs(3_600),
        busy_wait: Duration::from_secs(2),
        busy_queue: 1_024,
        settle_wait: Duration::from_millis(250),
        on_disconnect: OnDisconnect::Drain,
        drain_streams: 1_024,
        drain_bytes: 16 << 20,
        drain_time: Duration::from_secs(120),
        presumed_breaker: 0,
        breaker_pause: Duration::from_secs(5),
        task_poll: Duration::from_secs(30),
    }
}

/// The defaults of the configuration.
pub fn sockets() -> SocketSettings {
    SocketSettings {
        connections: 100,
        max_message: 1 << 20,
        ping_interval: Duration::from_secs(30),
        ping_timeout: Duration::from_secs(20),
        control_frames: 100,
        close_wait: Duration::from_secs(5),
    }
}

pub struct World {
    pub origin: String,
    pub store: Arc<MemoryStore>,
    pub simulator: simulator::Running,
    pub metrics: Arc<Metrics>,
    pub proxy: Proxy,
    pub clock: Clock,
    account: AccountId,
    stop: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl World {
    pub async fn new(plan: Plan) -> Self {
        // The process may have installed it for another test.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut simulator = plan.simulator.clone();
        simulator.models = plan.models.iter().map(sim_model).collect();
        simulator.apps.extend(plan.apps.iter().map(|(id, app)| (id.clone(), calls_of(app))));
        let simulator = simulator::start(simulator).await.unwrap();
        let clock = Clock::system();
        let pepper = Arc::new(Pepper::from_bytes(&[7; 32]));
        let (store, account) = match plan.store.clone() {
            Some(store) => (store, AccountId::from("default")),
            None => {
                let store = Arc::new(MemoryStore::new(clock.clone()));
                let account = fill(&store, &plan, &pepper, clock.now()).await;
                (store, account)
            }
        };
        let upstream = Upstream::new(&UpstreamSettings {
            name: "simulator".into(),
            account: plan.owner,
            base_url: format!("{}/compatible-mode/v1", plan.upstream.unwrap_or_else(|| simulator.origin()))
                .parse()
                .unwrap(),
            authorization: Some(http::HeaderValue::from_static("Bearer sk-upstream")),
            ca_file: None,
            connect_timeout: Duration::from_secs(5),
            head_timeout: plan.head_timeout,
            idle_timeout: plan.idle_timeout,
            max_idle: 256,
            http2: false,
        });
        let metrics = Arc::new(Metrics::new("test", plan.models.iter().map(|model| model.code.as_str())));
        let shared = Shared {
            settings: Settings {
                quota: plan.quota,
                sockets: plan.sockets,
                max_body: plan.max_body,
                max_bodies: u64::MAX,
                body_timeout: Duration::from_secs(30),
                body_min_rate: 256,
                key_in_flight: plan.key_in_flight,
                log_requests: false,
                accept_traceparent: false,
            },
            catalogue: Arc::new(Catalogue::new(plan.models)),
            sites: HashMap::from([("test".to_owned(), Arc::new(plan.site))]),
            apps: plan.apps,
            upstreams: Upstreams { default: Arc::new(upstream.unwrap()), by_model: HashMap::new() },
        };
        let shared = Arc::new(ArcSwap::from_pointee(shared));
        let (proxy, worker) =
            Proxy::new(shared, Arc::clone(&store) as _, pepper, clock.clone(), Arc::clone(&metrics), 10_000);
        if let Some(notes) = plan.notes {
            tokio::spawn(proxy.keep_beside(notes, plan.explain));
        }
        proxy.tasks().spawn(worker);
        let listening = listen(server_settings(plan.limits), None, Arc::clone(&metrics)).await.unwrap();
        let origin = format!("http://{}", listening.address());
        let stop = CancellationToken::new();
        let service = service(proxy.clone(), 10_000, &metrics);
        let serving = listening.serve(service, stop.clone(), Duration::from_secs(5));
        proxy.tasks().spawn(async move {
            serving.await.unwrap();
        });
        Self { origin, store, simulator, metrics, proxy, clock, account, stop }
    }

    pub async fn book(&self) -> Book {
        self.store.book(&self.account).await.unwrap()
    }

    pub async fn operate(&self, operation: Operation) {
        let outcome = self.store.operate(&self.account, operation).await.unwrap();
        assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    }

    /// The balance of a pool's first grant, once no hold is open any more.
    pub async fn settled(&self, pool: &str) -> Balance {
        self.quiet().await;
        self.balance(pool).await
    }

    pub async fn balance(&self, pool: &str) -> Balance {
        self.book().await.pools.get(pool).map(|pool| pool.grants[0].balance).unwrap()
    }

    /// A task in progress of the test's account, with a hold of so many units.
    pub async fn open_task(&self, id: &str, model: &str, reserved: u64) {
        let hold = HoldId(uuid::Uuid::now_v7().as_u128());
        let key = KeyId::from("key-1");
        let reserve = Reserve {
            hold,
            key: key.clone(),
            model: model.into(),
            pool: model.into(),
            ask: Ask { input: reserved, ..Ask::default() },
            lease_ms: 86_400_000,
            max_call_ms: 86_400_000,
            caller_now: self.clock.now(),
            rules: ReserveRules {
                overrun: Overrun::Never,
                switch_default_on: true,
                priced: true,
                bounded: true,
                covered: true,
            },
        };
        let outcome = self.store.reserve(&self.account, reserve).await.unwrap();
        assert!(matches!(outcome, Outcome::Admitted(_)), "{outcome:?}");
        let unit = if model.starts_with("wan2.6-t2v") { Unit::Seconds } else { Unit::Images };
        let origin = Origin { key, model: model.into(), pool: model.into() };
        let task = Some(TaskHold { open: true, hold, origin, unit });
        let account = self.account.clone();
        let made = Resource { kind: Kind::Task, id: id.into(), account, created: self.clock.now(), task };
        self.store.remember(made).await.unwrap();
    }

    /// Waits until no hold is open.
    pub async fn quiet(&self) {
        let begun = std::time::Instant::now();
        loop {
            let book = self.book().await;
            if book.holds.values().all(|hold| hold.state != HoldState::Open) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "holds stay open: {:?}", book.holds);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until nothing runs in the background but the settlement worker and the listener.
    pub async fn quiet_tasks(&self) {
        let begun = std::time::Instant::now();
        while self.proxy.tasks().len() > 2 {
            assert!(begun.elapsed() < PATIENCE, "background work does not end");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// What the simulator charged for a model.
    pub async fn charged(&self, model: &str) -> u64 {
        let ledger = super::wire::get_json(&format!("{}/ledger", self.simulator.origin())).await;
        ledger["models"][model]["charged"].as_u64().unwrap_or(0)
    }

    /// How many requests have reached the simulator's dialect.
    pub async fn received(&self) -> u64 {
        let requests = super::wire::get_json(&format!("{}/requests?last=64", self.simulator.origin())).await;
        requests["count"].as_u64().unwrap()
    }

    /// The body of the last request that reached the simulator, as it came.
    pub async fn last_request(&self) -> serde_json::Value {
        let requests = super::wire::get_json(&format!("{}/requests?last=1", self.simulator.origin())).await;
        requests["requests"][0].clone()
    }

    pub async fn behave(&self, rule: serde_json::Value) {
        let url = format!("{}/behave", self.simulator.origin());
        let (status, _, body) = super::wire::post(&url, &[], rule.to_string().into_bytes()).await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    }
}

async fn fill(store: &MemoryStore, plan: &Plan, pepper: &Pepper, now: Timestamp) -> AccountId {
    let account = AccountId::from("default");
    let new = NewAccount { account: account.clone(), site: "test".into(), state: plan.state, never_pay: false };
    store.open_account(new).await.unwrap();
    let key = Key {
        id: KeyId::from("key-1"),
        name: "test".into(),
        state: KeyState::Active,
        models: Default::default(),
        workspace: None,
        last4: "0001".into(),
        created: now,
    };
    store.add_key(&account, key, pepper.digest(KEY)).await.unwrap();
    for (pool, amount) in &plan.grants {
        let spent = if *amount == 0 { 1 } else { 0 };
        let grant = Operation::AddGrant {
            pool: pool.as_str().into(),
            side: Side::Both,
            unit: plan.models.iter().find(|model| model.pool.as_str() == pool).map_or(Unit::Tokens, |model| model.unit),
            amount: amount + spent,
            spent: 0,
            start: Timestamp(0),
            end: None,
        };
        store.operate(&account, grant).await.unwrap();
        let on = Operation::SetSwitch {
            pool: pool.as_str().into(),
            on: plan.free_quota_only,
            rule: SwitchOff::AnyTime,
            default_on: false,
        };
        store.operate(&account, on).await.unwrap();
        if spent > 0 {
            let pool = pool.as_str().into();
            let grant = gratis::ledger::GrantId(store.book(&account).await.unwrap().next_grant - 1);
            store.operate(&account, Operation::Sync { pool, grant, remaining: 0, raise: false }).await.unwrap();
        }
    }
    account
}

/// The defaults of the configuration, but for floods.
fn limits() -> Limits {
    Limits {
        header_timeout: Duration::from_secs(10),
        first_byte_timeout: Duration::from_secs(10),
        write_timeout: Duration::from_secs(60),
        max_headers: 100,
        max_header_bytes: 65_536,
        max_streams: 100,
        max_control_frames: 200,
    }
}

fn server_settings(limits: Limits) -> gratis::server::Settings {
    gratis::server::Settings {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        certificates: None,
        tls_timeout: Duration::from_secs(5),
        limits,
        max_connections: 10_000,
    }
}
