//! `[upstream.NAME]`: where calls go.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

use super::admin::read_secret;
use super::env::Env;
use super::reader::{Reader, closest};
use super::report::{Report, Spot};
use super::secret::Secret;
use super::server::read_certificates;
use super::tree::{Table, Value};
use super::values;
use crate::catalogue::Catalogue;
use crate::ledger::{AccountId, ModelCode};

/// One upstream. Holds a secret, so it has no `Debug`.
#[derive(Clone)]
pub struct UpstreamConfig {
    /// Its name.
    pub name: String,
    /// The base URL of its OpenAI dialect, without a slash at the end. Where none is written, that of the site's region.
    pub base_url: Uri,
    /// The provider's key; `None` = none is sent.
    pub api_key: Option<Secret>,
    /// The models that it serves; empty = all that no other upstream names.
    pub models: Vec<ModelCode>,
    /// The account that owns the provider account behind it.
    pub account: Option<AccountId>,
    /// Certificates to trust instead of the public ones.
    pub ca_file: Option<PathBuf>,
    /// Whether plain HTTP, loopback and private addresses are allowed.
    pub allow_private: bool,
    /// How long a connection may take to open.
    pub connect_timeout: Duration,
    /// How long the head of the answer may take (F-UP-3).
    pub head_timeout: Duration,
    /// One HTTP/2 connection instead of a pool of HTTP/1.1 ones.
    pub http2: bool,
    /// Idle connections that are kept.
    pub pool_max_idle: usize,
    /// How long they are kept.
    pub pool_idle_timeout: Duration,
}

/// Reads all of them. `site_url` is the base URL of the site's region, where that is known.
pub(super) fn read_all(
    report: &mut Report,
    upstreams: &Table,
    env: &Env,
    site_url: Option<&str>,
    catalogue: &Catalogue,
) -> Option<Vec<UpstreamConfig>> {
    let mut read = Vec::new();
    let mut takes_the_rest: Option<Spot> = None;
    let mut named: HashMap<String, Spot> = HashMap::new();
    for (name, found) in upstreams {
        if report.is_variable(found.key) {
            report.mistake(found.key, format!("there is no upstream `{name}` in the file"), "this variable", None);
            continue;
        }
        let Value::Table(table) = &found.value else {
            report.mistake(found.spot, format!("an upstream is a table: [upstream.{name}]"), "not a table", None);
            continue;
        };
        if !is_name(name) {
            let help = "lower-case letters, digits, `-` and `_`, a letter first, no two `_` in a row".to_owned();
            report.mistake(found.key, format!("`{name}` cannot be the name of an upstream"), "this name", Some(help));
        }
        let mut reader = Reader::new(report, table, found.key, "upstream.*");
        let models = reader.texts("models");
        let upstream = read_one(reader, name, env, site_url, models.as_deref());
        check_models(report, found.key, models.as_deref(), &mut takes_the_rest, &mut named);
        check_codes(report, models.as_deref(), catalogue);
        read.extend(upstream);
    }
    if read.is_empty() && !report.has_mistakes() {
        report.mistake_anywhere("there is no upstream", Some("write [upstream.default]".to_owned()));
    }
    Some(read)
}

fn check_models(
    report: &mut Report,
    spot: Spot,
    models: Option<&[(String, Spot)]>,
    takes_the_rest: &mut Option<Spot>,
    named: &mut HashMap<String, Spot>,
) {
    let Some(models) = models else { return };
    if models.is_empty() && takes_the_rest.replace(spot).is_some() {
        let help = "give all but one of them `models = [...]`".to_owned();
        report.mistake(spot, "two upstreams name no models, so it is open which serves", "the second", Some(help));
    }
    for (model, spot) in models {
        if named.insert(model.clone(), *spot).is_some() {
            report.mistake(*spot, format!("`{model}` is named by two upstreams"), "the second", None);
        }
    }
}

fn check_codes(report: &mut Report, models: Option<&[(String, Spot)]>, catalogue: &Catalogue) {
    for (model, spot) in models.unwrap_or_default().iter().filter(|(model, _)| catalogue.model(model).is_none()) {
        let known: Vec<&str> = catalogue.models().map(|model| model.code.as_str()).collect();
        let help = closest(model, &known).map(|close| format!("did you mean \"{close}\"?"));
        report.mistake(*spot, format!("the catalogue has no model \"{model}\""), "unknown model", help);
    }
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    name.bytes().all(fits) && name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.contains("__")
}

fn read_one(
    mut r: Reader<'_, '_>,
    name: &str,
    env: &Env,
    site_url: Option<&str>,
    models: Option<&[(String, Spot)]>,
) -> Option<UpstreamConfig> {
    let millis = Duration::from_millis;
    let base_url = r.optional_text("base_url", "\"https://host/compatible-mode/v1\"", values::base_url);
    let api_key = read_secret(&mut r, "api_key", env);
    let account = r.optional_text("account", "\"NAME\", as `gratis account list` shows it", values::account);
    let ca_file = r.optional_path("ca_file");
    let allow_private = r.flag("allow_private");
    let connect_timeout = r.duration("connect_timeout", millis(10)..=millis(300_000));
    let head_timeout = r.duration("head_timeout", millis(100)..=millis(86_400_000));
    let http2 = r.flag("http2");
    let pool_max_idle = r.count("pool_max_idle", 0..=100_000);
    let pool_idle_timeout = r.duration("pool_idle_timeout", millis(100)..=millis(3_600_000));
    if let Some(Some(path)) = &ca_file
        && let Err(problem) = read_certificates(path)
    {
        r.report.mistake(r.spot_of("ca_file"), problem, "this file", None);
    }
    if let (Some(Some(url)), Some(false)) = (&base_url, allow_private) {
        check_reach(&mut r, url);
    }
    r.finish();
    let base_url = match base_url? {
        Some(url) => url,
        None => values::base_url(site_url?).ok()?,
    };
    Some(UpstreamConfig {
        name: name.to_owned(),
        base_url,
        api_key: api_key?,
        models: models?.iter().map(|(model, _)| ModelCode::from(model.as_str())).collect(),
        account: account?,
        ca_file: ca_file?,
        allow_private: allow_private?,
        connect_timeout: connect_timeout?,
        head_timeout: head_timeout?,
        http2: http2?,
        pool_max_idle: usize::try_from(pool_max_idle?).ok()?,
        pool_idle_timeout: pool_idle_timeout?,
    })
}

/// Without `allow_private` a key goes to a public host over TLS only.
fn check_reach(r: &mut Reader<'_, '_>, url: &Uri) {
    let spot = r.spot_of("base_url");
    let help = || Some("if this is meant: allow_private = true".to_owned());
    if url.scheme_str() == Some("http") {
        r.report.mistake(spot, "plain HTTP would show the provider's key on the way", "not https", help());
    }
    if let Some(host) = url.host().filter(|host| values::is_private_host(host)) {
        r.report.mistake(spot, format!("{host} is on this machine or in a private network"), "this host", help());
    }
}
