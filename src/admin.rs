//! The operator's JSON API: accounts, keys, grants, switches, balances, holds, the provider console's figure; with health,
//! readiness and metrics on the same listener.
//!
//! Everything but [`OPEN_PATHS`] needs the operator's token, compared in constant time. Errors are RFC 9457 documents with a stable
//! `code`. Bodies with unknown fields are refused, so that nothing is accepted and then ignored. A time is RFC 3339 in UTC; where
//! one is read, a plain date is the beginning of that day in the time zone of the account's site.
//!
//! The rules are the ledger's: this room translates, asks the store, and shows what became of it.

mod accounts;
mod balances;
mod body;
mod entries;
pub mod figure;
mod grants;
mod guard;
mod holds;
mod keys;
mod models;
mod problem;
mod switches;
mod sync;
mod system;
pub mod when;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, patch, post, put};
use serde::Serialize;
use tower_http::catch_panic::CatchPanicLayer;

pub use guard::{OPEN_PATHS, Token};

use crate::catalogue::{Catalogue, Model, Site};
use crate::ledger::PoolId;
use crate::store::keys::Pepper;
use crate::store::{self, Store};

/// What can be set about the operator's listener.
#[derive(Clone)]
pub struct Settings {
    /// Where to listen; loopback unless somebody decides otherwise.
    pub listen: SocketAddr,
    /// The operator's token; without one every route that needs it answers 401.
    pub token: Option<Token>,
    /// The most bytes of a request's body.
    pub body_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8081)), token: None, body_max: 1 << 20 }
    }
}

/// What is known of models and sites at one moment; another one after a reload.
#[derive(Clone)]
pub struct Rules {
    /// The models.
    pub catalogue: Arc<Catalogue>,
    /// The sites whose rules are known.
    pub sites: Vec<Arc<Site>>,
    /// The site of an account that names none.
    pub default_site: String,
}

impl Rules {
    /// The site of this name.
    #[must_use]
    pub fn site(&self, name: &str) -> Option<&Arc<Site>> {
        self.sites.iter().find(|site| site.name == name)
    }

    /// The models that draw on a pool, by code.
    #[must_use]
    pub fn models_of(&self, pool: &PoolId) -> Vec<&Arc<Model>> {
        let mut models: Vec<_> = self.catalogue.models().filter(|model| model.pool == *pool).collect();
        models.sort_unstable_by(|a, b| a.code.cmp(&b.code));
        models
    }
}

/// One route of the proxy and how it is metered (A7).
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Coverage {
    /// The HTTP method.
    pub method: String,
    /// The path, with `{}` where it varies.
    pub path: String,
    /// Whose shapes it speaks.
    pub dialect: String,
    /// How it is metered, or that it never consults quota.
    pub metering: String,
    /// Where that is written down.
    pub source: String,
}

/// One thing that has to be well before calls can be served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// Its name: one word.
    pub name: &'static str,
    /// What is wrong; `None` = well.
    pub problem: Option<String>,
}

/// What a successful reload says.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Reloaded {
    /// What the operator should know: warnings, settings that need a restart.
    pub notes: Vec<String>,
}

/// What is seen of the store behind the books, from this process alone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct StoreState {
    /// `embedded` or `shared`.
    pub kind: &'static str,
    /// What it promises, its bound first.
    pub promise: Vec<String>,
    /// Why nothing is admitted until an operator says to go on.
    pub suspended: Option<String>,
    /// Whether calls are refused without asking the store, because the last ones were not answered.
    pub breaker_open: bool,
    /// Settlements on this machine's disk that are not in the store yet.
    pub parked_settlements: u64,
}

/// Says that an operator has looked at what the store holds, and goes on from it.
pub type Resume = Arc<dyn Fn() -> store::Answer<'static, ()> + Send + Sync>;

/// Gives a value each time it is asked.
pub type Source<T> = Arc<dyn Fn() -> T + Send + Sync>;

/// Reads the configuration again; the error is what is wrong with it, and the old one stays in force.
pub type Reload = Arc<dyn Fn() -> Answered + Send + Sync>;

/// A boxed future of a reload.
pub type Answered = std::pin::Pin<Box<dyn Future<Output = Result<Reloaded, String>> + Send>>;

/// Everything that the routes need. The clock is the store's.
#[derive(Clone)]
pub struct AdminState {
    /// The books and the keys.
    pub store: Arc<dyn Store>,
    /// Catalogue and sites as they are now.
    pub rules: Source<Rules>,
    /// Hashes keys.
    pub pepper: Pepper,
    /// The operator's token.
    pub token: Option<Token>,
    /// The most bytes of a request's body.
    pub body_max: usize,
    /// The lease of a hold in ms, for whoever waits for one to pass.
    pub lease_ms: u64,
    /// What has to be well beside the ledger, draining for example; the ledger is asked by the route itself.
    pub checks: Source<Vec<Check>>,
    /// What is seen of the store.
    pub store_state: Source<StoreState>,
    /// Goes on after the store was suspended; `None` where it never is.
    pub resume: Option<Resume>,
    /// The metrics as text.
    pub metrics: Source<String>,
    /// The routes of the proxy.
    pub coverage: Source<Vec<Coverage>>,
    /// Reads the configuration again.
    pub reload: Reload,
    /// The version of the program.
    pub version: Arc<str>,
}

impl AdminState {
    fn rules(&self) -> Rules {
        (self.rules)()
    }
}

/// The routes of the operator's listener.
pub fn router(state: AdminState) -> Router {
    let limit = DefaultBodyLimit::max(state.body_max);
    Router::new()
        .merge(open_routes())
        .nest("/admin/v1", account_routes().merge(other_routes()))
        .fallback(system::no_such_route)
        .method_not_allowed_fallback(system::no_such_method)
        .layer(limit)
        .layer(middleware::from_fn_with_state(state.clone(), guard::guard))
        .layer(CatchPanicLayer::custom(system::panicked))
        .with_state(state)
}

fn open_routes() -> Router<AdminState> {
    Router::new()
        .route("/livez", get(system::live))
        .route("/healthz", get(system::live))
        .route("/readyz", get(system::ready))
        .route("/metrics", get(system::metrics))
}

fn account_routes() -> Router<AdminState> {
    Router::new()
        .route("/accounts", get(accounts::list).post(accounts::create))
        .route("/accounts/{account}", get(accounts::show).patch(accounts::change))
        .route("/accounts/{account}/keys", get(keys::list).post(keys::create))
        .route("/accounts/{account}/keys/{key}", patch(keys::change).delete(keys::delete))
        .route("/accounts/{account}/grants", get(grants::list).post(grants::add))
        .route("/accounts/{account}/grants/{grant}", patch(grants::change))
        .route("/accounts/{account}/models", get(models::of_account))
        .route("/accounts/{account}/models/{model}/switch", put(switches::one))
        .route("/accounts/{account}/switches", post(switches::several))
        .route("/accounts/{account}/balances", get(balances::of_account))
        .route("/accounts/{account}/holds", get(holds::list))
        .route("/accounts/{account}/entries", get(entries::list))
        .route("/accounts/{account}/sync", post(sync::put_figure))
        .route("/accounts/{account}/pools/{pool}/reopen", post(sync::reopen))
}

fn other_routes() -> Router<AdminState> {
    Router::new()
        .route("/balances", get(balances::all))
        .route("/coverage", get(system::coverage))
        .route("/models", get(models::catalogue))
        .route("/config/reload", post(system::reload))
        .route("/store", get(system::store))
        .route("/store/resume", post(system::resume))
        .route("/version", get(system::version))
}

/// A list. `next` is where the following page begins, `None` at the end.
#[derive(Serialize)]
struct List<T> {
    items: Vec<T>,
    next: Option<String>,
}

impl<T> List<T> {
    /// Everything on one page.
    fn whole(items: Vec<T>) -> axum::Json<Self> {
        axum::Json(Self { items, next: None })
    }
}
