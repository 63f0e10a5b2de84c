//! The one place where the parts are put together.
//!
//! [`start`] answers the addresses that were bound and a handle that stops everything in the right order: what a test needs,
//! and what `gratis serve` and `gratis demo` need.

mod ledger;
mod memory;
mod reload;
pub mod settings;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, AdminState, Changes, Check, Coverage, Rules, Token};
use crate::clock::Clock;
use crate::config::{Config, Loaded};
use crate::dialect::{self, Dialect};
use crate::notify::{Known, Notifier};
use crate::proxy::{self, Proxy, Shared};
use crate::server::{self, Certificates, Listening};
use crate::store::{NoteStore, Pepper, Store};
use crate::telemetry::{Memory, Metrics};

pub use ledger::Ledger;
pub use reload::{Loader, Reloader};

/// What a process runs with.
pub struct Parts {
    /// The checked configuration.
    pub loaded: Loaded,
    /// Reads the configuration again.
    pub loader: Loader,
    /// The ledger; it is closed at the end.
    pub ledger: Ledger,
    /// Hashes keys.
    pub pepper: Pepper,
    /// The operator's token.
    pub token: Option<Token>,
    /// The metrics; made first, because the log counts what it drops.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Clock,
    /// Sockets that somebody else keeps.
    pub sockets: Sockets,
}

/// Listening sockets that were handed over to this process and outlive it (systemd's protocol: `LISTEN_FDS`). While no process
/// serves, connections wait in them.
#[derive(Default)]
pub struct Sockets {
    /// For clients, in place of `server.listen`.
    pub proxy: Option<std::net::TcpListener>,
    /// For operators, in place of `admin.listen`.
    pub admin: Option<std::net::TcpListener>,
}

impl Sockets {
    /// What the environment hands over: the first socket is for clients, a second one for operators.
    ///
    /// # Errors
    /// What was handed over is no TCP socket.
    pub fn handed_over() -> std::io::Result<Self> {
        let mut sockets = listenfd::ListenFd::from_env();
        let mut take = |place| if place < sockets.len() { sockets.take_tcp_listener(place) } else { Ok(None) };
        Ok(Self { proxy: take(0)?, admin: take(1)? })
    }
}

/// Everything runs until [`shutdown`](Self::shutdown).
pub struct Running {
    /// Where clients connect.
    pub proxy_address: SocketAddr,
    /// Where operators connect.
    pub admin_address: SocketAddr,
    /// Whether clients connect by TLS.
    pub tls: bool,
    /// Takes over a changed configuration.
    pub reloader: Arc<Reloader>,
    proxy: Proxy,
    serving: JoinHandle<Result<bool, String>>,
    admin: JoinHandle<Result<bool, String>>,
    worker: JoinHandle<()>,
    watch: JoinHandle<((), ())>,
    changes: Changes,
    explainer: JoinHandle<()>,
    stop: CancellationToken,
    stop_admin: CancellationToken,
    draining: Arc<AtomicBool>,
    drain: Duration,
    ledger: Ledger,
}

/// The metrics of a process, with a label for each model of its catalogue.
#[must_use]
pub fn metrics(loaded: &Loaded) -> Arc<Metrics> {
    let mut models: Vec<&str> = loaded.catalogue.models().map(|model| model.code.as_str()).collect();
    models.sort_unstable();
    Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), models))
}

/// Binds both listeners and serves.
///
/// # Errors
/// An address cannot be bound, a certificate or CA file cannot be used, an upstream's URL cannot be used. The text says which.
pub async fn start(parts: Parts) -> Result<Running, String> {
    let Parts { loaded, loader, ledger, pepper, token, metrics, clock, sockets } = parts;
    let config = &loaded.config;
    let memory = Memory::find(config.limits.memory);
    let shared = Arc::new(ArcSwap::from_pointee(settings::shared(&loaded, memory.limit())?));
    let certificates = settings::certificates(config)?;
    let tls = certificates.is_some();
    let (listening, admin_listening) = listen(config, certificates.clone(), sockets, &metrics).await?;
    let reloader = Reloader::new(loader, Arc::clone(&shared), certificates, &loaded, &memory, Arc::clone(&metrics));
    let draining = Arc::new(AtomicBool::new(false));
    let store = ledger.store(&metrics);
    let notes = ledger.notes(config, &clock)?;
    let notifier = notifier(config, &store, &notes, &shared, &clock)?;
    let (proxy, worker) = Proxy::new(
        Arc::clone(&shared),
        Arc::clone(&store),
        Arc::new(pepper.clone()),
        clock.clone(),
        Arc::clone(&metrics),
        config.quota.settle_queue,
    );
    let changes = Changes::default();
    let admin_state = AdminState {
        store: Arc::clone(&store),
        rules: rules(&shared, config.site.name.clone()),
        pepper: pepper.clone(),
        notes: Arc::clone(&notes),
        notifier: Arc::clone(&notifier),
        token,
        read_token: read_token(config),
        changes: changes.clone(),
        audit_lines: config.admin.audit_lines,
        body_max: ADMIN_BODY,
        lease_ms: u64::try_from(config.store.lease.as_millis()).unwrap_or(u64::MAX),
        checks: checks(&draining),
        metrics: rendered(&metrics, &ledger),
        store_state: state(&ledger),
        resume: ledger.resume(),
        coverage: Arc::new(coverage),
        recent: Arc::new(proxy.recall()),
        reload: reloader.for_admin(),
        version: env!("CARGO_PKG_VERSION").into(),
    };
    let explainer = spawn(proxy.keep_beside(Arc::clone(&notes), settings::explain(config)));
    let (stop, stop_admin) = (CancellationToken::new(), CancellationToken::new());
    let (proxy_address, admin_address) = (listening.address(), admin_listening.address());
    let service = proxy::service(proxy.clone(), config.limits.in_flight, &metrics);
    let serving = spawn(serve(listening, service, stop.clone(), config.server.drain_timeout));
    let admin = spawn(serve(admin_listening, admin::router(admin_state), stop_admin.clone(), ADMIN_DRAIN));
    let looks = memory::look(memory, &proxy, metrics);
    let (worker, watch) = (spawn(worker), spawn(join(notifier.run(stop.clone()), looks)));
    Ok(Running {
        proxy_address,
        admin_address,
        tls,
        reloader,
        proxy,
        serving,
        admin,
        worker,
        watch,
        changes,
        explainer,
        stop,
        stop_admin,
        draining,
        drain: config.server.drain_timeout,
        ledger,
    })
}

fn read_token(config: &Config) -> Option<Token> {
    config.admin.read_token.as_ref().and_then(|token| Token::new(token.expose()))
}

/// Binds what was not handed over.
async fn listen(
    config: &Config,
    certificates: Option<Arc<Certificates>>,
    sockets: Sockets,
    metrics: &Arc<Metrics>,
) -> Result<(Listening, Listening), String> {
    let (clients, operators) = (settings::listener(config, certificates), settings::admin_listener(config));
    let listening = server::listen(clients, sockets.proxy, Arc::clone(metrics)).await?;
    Ok((listening, server::listen(operators, sockets.admin, Arc::clone(metrics)).await?))
}

/// Who tells what passes a mark in the books.
fn notifier(
    config: &Config,
    store: &Arc<dyn Store>,
    notes: &Arc<dyn NoteStore>,
    shared: &Arc<ArcSwap<Shared>>,
    clock: &Clock,
) -> Result<Arc<Notifier>, String> {
    let settings = settings::notify(&config.notify)?;
    Notifier::new(&settings, Arc::clone(store), Arc::clone(notes), known(shared), clock.clone()).map(Arc::new)
}

/// The most bytes of an operator's request.
const ADMIN_BODY: usize = 1 << 20;
/// How long an operator's request may take at the end.
const ADMIN_DRAIN: Duration = Duration::from_secs(5);
/// How long the last settlements may take at the end.
const LAST_SETTLEMENTS: Duration = Duration::from_secs(30);

async fn serve<S, B>(listening: Listening, service: S, stop: CancellationToken, drain: Duration) -> Result<bool, String>
where
    S: tower::Service<
            http::Request<hyper::body::Incoming>,
            Response = http::Response<B>,
            Error = std::convert::Infallible,
        > + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    listening.serve(service, stop, drain).await
}

#[allow(clippy::disallowed_methods, reason = "the handles are kept in Running, and shutdown waits for them")]
fn spawn<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(work)
}

impl Running {
    /// Stops in order: no new connections, requests in progress end, what clients left behind is read to its end, the last
    /// settlements are stored, the ledger is closed. Answers whether everything ended by itself.
    pub async fn shutdown(self) -> bool {
        self.draining.store(true, Ordering::Release);
        self.stop.cancel();
        self.proxy.go_down();
        let since = Clock::stopwatch();
        let mut clean = matches!(self.serving.await, Ok(Ok(true)));
        let tasks = self.proxy.tasks().clone();
        tasks.close();
        clean &= tokio::time::timeout(self.drain.saturating_sub(since.elapsed()), tasks.wait()).await.is_ok();
        drop(self.proxy);
        clean &= tokio::time::timeout(LAST_SETTLEMENTS, self.worker).await.is_ok();
        clean &= tokio::time::timeout(LAST_SETTLEMENTS, self.explainer).await.is_ok();
        // What it was telling somebody is told again after the next start.
        self.watch.abort();
        self.stop_admin.cancel();
        // What an operator still asks for may be cut.
        let _ = self.admin.await;
        clean &= tokio::time::timeout(ADMIN_DRAIN, self.changes.ended()).await.is_ok();
        if let Err(error) = self.ledger.close().await {
            tracing::error!(error = %error, "the ledger could not be closed cleanly");
            clean = false;
        }
        clean
    }
}

fn rules(shared: &Arc<ArcSwap<Shared>>, default_site: String) -> admin::Source<Rules> {
    let shared = Arc::clone(shared);
    Arc::new(move || {
        let shared = shared.load();
        let mut sites: Vec<_> = shared.sites.values().cloned().collect();
        sites.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Rules { catalogue: Arc::clone(&shared.catalogue), sites, default_site: default_site.clone() }
    })
}

fn known(shared: &Arc<ArcSwap<Shared>>) -> Arc<dyn Fn() -> Known + Send + Sync> {
    let shared = Arc::clone(shared);
    Arc::new(move || {
        let shared = shared.load();
        Known { catalogue: Arc::clone(&shared.catalogue), sites: shared.sites.values().cloned().collect() }
    })
}

fn checks(draining: &Arc<AtomicBool>) -> admin::Source<Vec<Check>> {
    let draining = Arc::clone(draining);
    Arc::new(move || {
        let problem = draining.load(Ordering::Acquire).then(|| "this instance is going down".to_owned());
        vec![Check { name: "serving", problem }]
    })
}

fn rendered(metrics: &Arc<Metrics>, ledger: &Ledger) -> admin::Source<String> {
    let (metrics, ledger) = (Arc::clone(metrics), ledger.clone());
    Arc::new(move || {
        ledger.measure(&metrics);
        metrics.render()
    })
}

fn state(ledger: &Ledger) -> admin::Source<admin::StoreState> {
    let ledger = ledger.clone();
    Arc::new(move || ledger.state())
}

fn coverage() -> Vec<Coverage> {
    let rows = dialect::coverage().iter();
    rows.map(|row| Coverage {
        method: row.method.to_owned(),
        path: row.path.to_owned(),
        dialect: match row.dialect {
            Dialect::OpenAi => "openai".to_owned(),
            Dialect::DashScope => "dashscope".to_owned(),
            Dialect::Anthropic => "anthropic".to_owned(),
        },
        metering: row.metering.name(),
        source: row.source.to_owned(),
    })
    .chain(dialect::sockets().iter().map(|row| Coverage {
        method: "GET".to_owned(),
        path: row.path.to_owned(),
        dialect: row.dialect.to_owned(),
        metering: row.metering.to_owned(),
        source: row.source.to_owned(),
    }))
    .collect()
}
