//! What the operator wrote, checked: files and environment in, plain values out, or every mistake at once.
//!
//! `config/gratis.toml` is compiled in and is the base; a file of the operator's overrides it key by key, and variables of the
//! environment (`GRATIS_SERVER__LISTEN`) override both. A mistake is shown with its file, line and a caret, and does not hide
//! the others. Secrets come from the environment or from files, and nothing here prints one.
//!
//! Only this room reads the environment. Only `app` and `cli` name this room.

mod admin;
mod apps;
mod check;
mod env;
mod mask;
mod notify;
mod overlay;
mod quota;
mod reader;
mod report;
mod row;
mod rows;
mod secret;
mod server;
mod site;
mod site_rules;
mod sites;
mod store;
mod trace;
mod tree;
mod upstream;
mod values;
mod websocket;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

pub use admin::{AdminConfig, Explain, KeysConfig, LogConfig, LogFormat};
pub use apps::AppModels;
pub use check::{CheckReport, check_report};
pub use env::Env;
pub use notify::{MailConfig, MailTls, NotifyConfig, WebhookConfig};
pub use quota::{Clamp, LimitsConfig, OnDisconnect, QuotaConfig};
pub use report::{ConfigErrors, Finding};
pub use secret::{Secret, SecretPlace, read as read_secret};
pub use server::{ServerConfig, TlsFiles};
pub use site::SiteConfig;
pub use store::{SharedStore, StoreConfig, StoreKind};
pub use trace::TraceConfig;
pub use upstream::UpstreamConfig;
pub use websocket::WebSocketConfig;

use crate::catalogue::{Catalogue, Site};
use crate::ledger::Overrun;
use reader::Reader;
use report::{Origin, Report, Spot};
use tree::{Table, Value};

/// The defaults: every key with its comment.
pub const DEFAULTS: &str = include_str!("../config/gratis.toml");

/// The variable that names the file where the command line does not.
pub const FILE_VARIABLE: &str = "GRATIS_CONFIG";

/// Everything that the file decides, checked. Holds secrets, so it has no `Debug`.
#[derive(Clone)]
pub struct Config {
    /// The listener for clients.
    pub server: ServerConfig,
    /// The operator's listener.
    pub admin: AdminConfig,
    /// What is logged.
    pub log: LogConfig,
    /// Where spans go.
    pub trace: TraceConfig,
    /// The ledger's store.
    pub store: StoreConfig,
    /// How API keys are kept.
    pub keys: KeysConfig,
    /// Where calls go, at least one.
    pub upstreams: Vec<UpstreamConfig>,
    /// The models of each declared app, by its id.
    pub apps: HashMap<String, AppModels>,
    /// Whose rules apply.
    pub site: SiteConfig,
    /// How calls are kept within the free quota.
    pub quota: QuotaConfig,
    /// How large anything may become.
    pub limits: LimitsConfig,
    /// Whom to tell when a quota nears its end.
    pub notify: NotifyConfig,
    /// What one WebSocket connection may take.
    pub websocket: WebSocketConfig,
}

impl Config {
    /// The upstream that serves a model: the one that names it, else the one that names none.
    #[must_use]
    pub fn upstream_of(&self, model: &str) -> Option<&UpstreamConfig> {
        let names = |upstream: &&UpstreamConfig| upstream.models.iter().any(|code| code.as_str() == model);
        self.upstreams.iter().find(names).or_else(|| self.upstreams.iter().find(|upstream| upstream.models.is_empty()))
    }
}

/// A loaded configuration with what it refers to.
#[derive(Clone)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// All known models.
    pub catalogue: Catalogue,
    /// All known rule sets.
    pub sites: Vec<Site>,
    /// What works and may not be meant.
    pub warnings: Vec<Finding>,
}

impl Loaded {
    /// The rule set of a name; an `overrun` of `[quota]` has taken the place of the site's own.
    #[must_use]
    pub fn site(&self, name: &str) -> Option<&Site> {
        self.sites.iter().find(|site| site.name == name)
    }
}

/// Loads a configuration: the defaults, this file (or the one that `GRATIS_CONFIG` names), then the environment.
///
/// # Errors
/// Every mistake that was found.
pub fn load(path: Option<&Path>, env: &Env) -> Result<Loaded, ConfigErrors> {
    let mut report = Report::default();
    let named: Option<PathBuf> = path.map(Path::to_owned).or_else(|| env.get(FILE_VARIABLE).map(PathBuf::from));
    let tree = read_tree(named.as_deref(), env, &mut report);
    let loaded = read_everything(&tree, env, &mut report);
    overlay::warn_of_near_misses(env, &mut report);
    let (mistakes, warnings) = report.finish();
    match loaded {
        Some((config, catalogue, sites)) if mistakes.is_empty() => Ok(Loaded { config, catalogue, sites, warnings }),
        _ => Err(ConfigErrors { mistakes, warnings }),
    }
}

/// Every key that a file may have: `server.listen`, `upstream.*.base_url`.
#[must_use]
pub fn known_keys() -> Vec<String> {
    let mut report = Report::default();
    let tree = read_tree(None, &Env::default(), &mut report);
    // Mistakes, such as a secret that is absent, do not keep a key from being asked for.
    let _ = read_everything(&tree, &Env::default(), &mut report);
    let elsewhere = |key: &String| {
        !["model.", "defaults.", "region.", "cohort.", "covers.", "notices."]
            .iter()
            .any(|prefix| key.starts_with(prefix))
    };
    let section = |key: &String| matches!(key.as_str(), "notify.mail" | "notify.webhook");
    report.known.into_iter().filter(|key| elsewhere(key) && !section(key)).collect()
}

fn read_tree(file: Option<&Path>, env: &Env, report: &mut Report) -> Table {
    let source = report.add_source("gratis.toml (built in)", Origin::BuiltIn, DEFAULTS);
    let mut base = tree::parse(DEFAULTS, source, report);
    if let Some(path) = file {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let source = report.add_source(&path.display().to_string(), Origin::File(path.to_owned()), &text);
                let theirs = tree::parse(&text, source, report);
                tree::inherit_upstreams(&mut base, &theirs);
                tree::merge(&mut base, theirs);
            }
            Err(error) => report.mistake_anywhere(format!("cannot read {}: {error}", path.display()), None),
        }
    }
    overlay::apply(&mut base, env, report);
    base
}

/// Reads all sections, also after a mistake in one, so that each mistake is found in one run.
fn read_everything(tree: &Table, env: &Env, report: &mut Report) -> Option<(Config, Catalogue, Vec<Site>)> {
    let names = [
        "server",
        "admin",
        "log",
        "trace",
        "store",
        "keys",
        "upstream",
        "app",
        "site",
        "quota",
        "limits",
        "notify",
        "websocket",
    ];
    let [server, admin, log, trace, store, keys, upstreams, apps, site, quota, limits, notify, websocket] = {
        let mut root = Reader::new(report, tree, Spot { source: 0, start: 0, end: 0 }, "");
        let sections = names.map(|name| root.find(name));
        root.finish();
        sections
    };
    let server = section(report, "server", server).and_then(server::read);
    let store = section(report, "store", store).and_then(|r| store::read(r, env));
    let state_dir = store.as_ref().map(|store| store.state_dir.clone());
    let admin = section(report, "admin", admin).and_then(|r| admin::read_admin(r, env, state_dir.as_deref()));
    let log = section(report, "log", log).and_then(admin::read_log);
    let trace = section(report, "trace", trace).and_then(|r| trace::read(r, env));
    let keys = section(report, "keys", keys).and_then(|r| admin::read_keys(r, env, state_dir.as_deref()));
    let quota = section(report, "quota", quota).and_then(quota::read_quota);
    let limits = section(report, "limits", limits).and_then(quota::read_limits);
    let notify = section(report, "notify", notify).and_then(|r| notify::read(r, env));
    let websocket = section(report, "websocket", websocket).and_then(websocket::read);
    let (site, mut sites, catalogue) = site::read(report, site);
    let url = site.as_ref().map(|site| site.openai_base_url.clone());
    let upstreams = match upstreams.map(|found| (&found.value, found.spot)) {
        Some((Value::Table(table), _)) => upstream::read_all(report, table, env, url.as_deref(), &catalogue),
        Some((_, spot)) => {
            report.mistake(spot, "an upstream is a table: [upstream.default]", "not a table", None);
            None
        }
        None => None,
    };
    let apps = apps::read_all(report, apps, &catalogue, upstreams.as_deref());
    if let Some(quota) = &quota {
        check::warn_of_large_holds(report, quota, &catalogue);
        override_rules(&mut sites, quota.overrun);
    }
    if let (Some(server), Some(admin)) = (&server, &admin)
        && server.listen == admin.listen
        && server.listen.port() != 0
    {
        report.mistake_anywhere(format!("[server] and [admin] both listen at {}", server.listen), None);
    }
    let config = Config {
        server: server?,
        admin: admin?,
        log: log?,
        trace: trace?,
        store: store?,
        keys: keys?,
        upstreams: upstreams?,
        apps: apps?,
        site: site?,
        quota: quota?,
        limits: limits?,
        notify: notify?,
        websocket: websocket?,
    };
    Some((config, catalogue, sites))
}

fn override_rules(sites: &mut [Site], overrun: Option<Overrun>) {
    for site in sites {
        site.overrun = overrun.unwrap_or(site.overrun);
    }
}

fn section<'r, 't>(report: &'r mut Report, name: &str, found: Option<&'t tree::Found>) -> Option<Reader<'r, 't>> {
    let found = found?;
    let Value::Table(table) = &found.value else {
        report.mistake(found.spot, format!("`{name}` is a section: [{name}]"), "not a section", None);
        return None;
    };
    Some(Reader::new(report, table, found.key, name))
}
