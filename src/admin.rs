//! The operator's JSON API: accounts, keys, grants, switches, balances, holds, the provider console's figure; with health,
//! readiness and metrics on the same listener.
//!
//! Everything but [`OPEN_PATHS`] needs a token, compared in constant time: the operator's, or one that may look and not change.
//! `/admin/openapi.json` describes every route and is made from the code. Changes go one at a time through `journal`. Errors are RFC 9457 documents with a stable
//! `code`. Bodies with unknown fields are refused, so that nothing is accepted and then ignored. A time is RFC 3339 in UTC; where
//! one is read, a plain date is the beginning of that day in the time zone of the account's site.
//!
//! The rules are the ledger's: this room translates, asks the store, and shows what became of it.

mod accounts;
mod audit;
mod balances;
mod because;
mod body;
mod entries;
mod etag;
pub mod figure;
mod grants;
mod guard;
mod holds;
mod journal;
mod keys;
mod models;
mod notices;
mod openapi;
mod owned;
mod page;
mod people;
mod problem;
mod requests;
mod shadow;
mod snapshot;
mod standing;
mod switches;
mod sync;
mod system;
mod table;
mod upstreams;
pub mod when;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::get;
use serde::Serialize;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::ToSchema;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use guard::{OPEN_PATHS, Token};
pub use journal::Changes;

use crate::catalogue::{Catalogue, Model, Site};
use crate::ledger::PoolId;
use crate::notify::Notifier;
use crate::provider::{Provider, Sites};
use crate::store::keys::Pepper;
use crate::store::{self, NoteStore, Store};

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

    /// The same, as the room of the provider asks for it.
    fn sites(&self) -> impl Fn(&str) -> Option<Arc<Site>> + Send + Sync + '_ {
        |name| self.site(name).cloned()
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
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
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
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, ToSchema)]
pub struct Reloaded {
    /// What the operator should know: warnings, settings that need a restart.
    pub notes: Vec<String>,
}

/// What is seen of the store behind the books, from this process alone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
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

/// What explains a call, by its request id.
pub type Recall = Arc<dyn Fn(&str) -> Option<serde_json::Value> + Send + Sync>;

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
    /// What is kept beside the books.
    pub notes: Arc<dyn NoteStore>,
    /// Tells by mail and webhook.
    pub notifier: Arc<Notifier>,
    /// The operator's token.
    pub token: Option<Token>,
    /// A token that may look and not change.
    pub read_token: Option<Token>,
    /// The changes in progress.
    pub changes: Changes,
    /// The lines of the audit log that are kept.
    pub audit_lines: usize,
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
    /// What explains a call of this process that is in memory alone, by its request id.
    pub recent: Recall,
    /// Reads the configuration again.
    pub reload: Reload,
    /// The version of the program.
    pub version: Arc<str>,
}

impl AdminState {
    fn rules(&self) -> Rules {
        (self.rules)()
    }

    /// What the provider says, as it is kept.
    fn provider<'a>(&'a self, sites: Sites<'a>) -> Provider<'a> {
        Provider { store: &*self.store, notes: &*self.notes, sites }
    }
}

/// The routes of the operator's listener.
pub fn router(state: AdminState) -> Router {
    let limit = DefaultBodyLimit::max(state.body_max);
    let (routes, document) = OpenApiRouter::with_openapi(openapi::head())
        .nest("/admin/v1", account_routes().merge(model_routes()).merge(other_routes()))
        .split_for_parts();
    let document = Arc::new(openapi::finish(document, &state.version));
    let shown = get(move || std::future::ready(axum::Json(OpenApi::clone(&document))));
    Router::new()
        .merge(open_routes())
        .merge(routes.layer(middleware::from_fn_with_state(state.clone(), journal::journal)))
        .route("/admin/openapi.json", shown)
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

fn account_routes() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new()
        .routes(routes!(accounts::list, accounts::create))
        .routes(routes!(accounts::show, accounts::change))
        .routes(routes!(standing::show))
        .routes(routes!(standing::happened))
        .routes(routes!(people::users, people::add_user))
        .routes(routes!(people::remove_user))
        .routes(routes!(people::workspaces, people::add_workspace))
        .routes(routes!(people::remove_workspace))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::change, keys::delete))
        .routes(routes!(grants::list, grants::add))
        .routes(routes!(grants::change))
        .routes(routes!(balances::of_account))
        .routes(routes!(holds::list))
        .routes(routes!(entries::list))
}

fn model_routes() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new()
        .routes(routes!(models::of_account))
        .routes(routes!(switches::show, switches::one))
        .routes(routes!(switches::several))
        .routes(routes!(sync::put_figure))
        .routes(routes!(sync::put_table))
        .routes(routes!(sync::reopen))
        .routes(routes!(upstreams::list))
        .routes(routes!(upstreams::reopen))
        .routes(routes!(models::catalogue))
        .routes(routes!(owned::model, owned::change_model))
        .routes(routes!(owned::sites))
        .routes(routes!(owned::site, owned::change_site))
}

fn other_routes() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new()
        .routes(routes!(notices::of_account, notices::set_of_account))
        .routes(routes!(notices::of_model, notices::set_of_model))
        .routes(routes!(notices::channels, notices::change_channels))
        .routes(routes!(notices::test))
        .routes(routes!(requests::why))
        .routes(routes!(shadow::report))
        .routes(routes!(requests::of_account, requests::set_of_account))
        .routes(routes!(requests::of_key, requests::set_of_key))
        .routes(routes!(balances::all))
        .routes(routes!(audit::list))
        .routes(routes!(system::coverage))
        .routes(routes!(system::reload))
        .routes(routes!(system::store))
        .routes(routes!(system::resume))
        .routes(routes!(system::version))
}
