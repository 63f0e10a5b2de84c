//! `[store]`: where the ledger is kept.

use std::path::PathBuf;
use std::time::Duration;

use super::admin::read_secret;
use super::env::Env;
use super::reader::Reader;
use super::secret::Secret;
use super::server::read_certificates;
use crate::store::redis::{Credentials, Url};

/// The ledger's store. Holds a secret, so it has no `Debug`.
#[derive(Clone)]
pub struct StoreConfig {
    /// The folder of everything that this process writes: the embedded ledger or the journal, the pepper, the operator's token.
    pub state_dir: PathBuf,
    /// Which store it is.
    pub kind: StoreKind,
    /// How long a hold lives (LEDGER 2).
    pub lease: Duration,
    /// How often what was written is forced to the disk (LEDGER 3).
    pub flush_interval: Duration,
    /// Requests that may wait for the writer.
    pub queue: usize,
}

/// Which store keeps the ledger.
#[derive(Clone)]
pub enum StoreKind {
    /// SQLite in the state folder, one process alone (LEDGER 3).
    Embedded,
    /// Redis or Valkey, shared by all replicas (LEDGER 4).
    Shared(SharedStore),
}

/// How the shared store is reached. Holds a secret, so it has no `Debug`.
#[derive(Clone)]
pub struct SharedStore {
    /// The servers.
    pub url: Url,
    /// The user; `None` = the default one.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// Certificates to trust instead of the public ones.
    pub ca_file: Option<PathBuf>,
    /// What every key begins with.
    pub prefix: String,
    /// How long one call may take.
    pub timeout: Duration,
    /// Whether a store that can lose acknowledged writes is accepted.
    pub accept_loss: bool,
}

/// The longest prefix: it is part of every key.
const LONGEST_PREFIX: usize = 64;

/// Keys that mean nothing to the embedded store.
const SHARED_ONLY: [&str; 6] = ["ca_file", "prefix", "timeout", "accept_loss", "user", "password"];

pub(super) fn read(mut r: Reader<'_, '_>, env: &Env) -> Option<StoreConfig> {
    let millis = Duration::from_millis;
    let state_dir = r.required_path("state_dir");
    // First, so that no message about another key shows a password that stands in it.
    let address = address(&mut r);
    let shared = shared(&mut r, env);
    // A lease of less than a second would turn live calls into presumed ones all the time.
    let lease = r.duration("lease", millis(1_000)..=millis(86_400_000));
    let flush_interval = r.duration("flush_interval", millis(10)..=millis(60_000));
    let queue = r.count("queue", 16..=1_000_000);
    let kind = address.and_then(|address| kind_of(&mut r, address, shared?));
    r.finish();
    Some(StoreConfig {
        state_dir: state_dir?,
        kind: kind?,
        lease: lease?,
        flush_interval: flush_interval?,
        queue: usize::try_from(queue?).ok()?,
    })
}

/// The inner `None` = the embedded store. The outer one = it was wrong.
#[allow(clippy::option_option, reason = "embedded and wrong are two things here, and wrong is already reported")]
fn address(r: &mut Reader<'_, '_>) -> Option<Option<(Url, Credentials)>> {
    let spot = r.found_spot("url");
    r.hide_logins("url");
    let read = r.text("url", "\"redis://host:6379\"", |text| match text {
        "embedded" => Ok(None),
        address => Url::read(address).map(Some),
    });
    if let Some(Some((_, Credentials { password: Some(_), .. }))) = &read
        && !spot.is_some_and(|spot| r.report.is_variable(spot))
    {
        let help =
            "leave it out of the address: password = { env = \"NAME\" } or password = { file = \"path\" }".to_owned();
        r.report.warning(spot, "the address of the store holds a password", "in this address", Some(help));
    }
    read
}

/// What stands beside the address.
struct Beside {
    user: Option<String>,
    password: Option<Secret>,
    ca_file: Option<PathBuf>,
    prefix: String,
    timeout: Duration,
    accept_loss: bool,
}

fn shared(r: &mut Reader<'_, '_>, env: &Env) -> Option<Beside> {
    let millis = Duration::from_millis;
    let ca_file = r.optional_path("ca_file");
    let prefix = r.text("prefix", "\"gratis\"", prefix);
    let timeout = r.duration("timeout", millis(10)..=millis(10_000));
    let accept_loss = r.flag("accept_loss");
    let user = r.optional_text("user", "\"gratis\"", |text| match text.trim() {
        "" => Err("no user is written here".to_owned()),
        user => Ok(user.to_owned()),
    });
    let password = read_secret(r, "password", env);
    if let Some(Some(path)) = &ca_file
        && let Err(problem) = read_certificates(path)
    {
        r.report.mistake(r.spot_of("ca_file"), problem, "this file", None);
    }
    Some(Beside {
        user: user?,
        password: password?,
        ca_file: ca_file?,
        prefix: prefix?,
        timeout: timeout?,
        accept_loss: accept_loss?,
    })
}

/// A prefix is put before keys as it is; a brace would change the slot of every key in a cluster.
fn prefix(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
    if text.is_empty() || text.len() > LONGEST_PREFIX || !text.bytes().all(plain) {
        return Err(format!("a prefix is letters, digits and . _ - : only, {LONGEST_PREFIX} at most"));
    }
    Ok(text.to_owned())
}

fn kind_of(r: &mut Reader<'_, '_>, address: Option<(Url, Credentials)>, beside: Beside) -> Option<StoreKind> {
    let Some((url, written)) = address else {
        for key in SHARED_ONLY {
            if let Some(spot) = r.found_spot(key).filter(|spot| !r.report.is_built_in(*spot)) {
                let message = format!("`{key}` means nothing to the embedded store");
                r.report.warning(Some(spot), message, "not used", Some("set `url` to a shared store".to_owned()));
            }
        }
        return Some(StoreKind::Embedded);
    };
    let mut sound = true;
    for (key, twice) in [
        ("user", beside.user.is_some() && written.user.is_some()),
        ("password", beside.password.is_some() && written.password.is_some()),
    ] {
        if twice {
            let message = format!("there is a {key} here and another one in `url`");
            r.report.mistake(r.spot_of(key), message, "the second", Some("leave it out of the address".to_owned()));
            sound = false;
        }
    }
    let password = beside.password.or_else(|| written.password.map(|text| Secret::new(text.expose().to_owned())));
    let user = beside.user.or(written.user);
    if user.is_some() && password.is_none() {
        let spot = r.found_spot("user").unwrap_or_else(|| r.spot_of("url"));
        let help = "password = { env = \"NAME\" } or password = { file = \"path\" }".to_owned();
        r.report.mistake(spot, "a user needs a password to log in", "this user", Some(help));
        sound = false;
    }
    if beside.ca_file.is_some() && !url.tls {
        let help = "begin the address with rediss, or leave `ca_file` out".to_owned();
        r.report.mistake(r.spot_of("ca_file"), "`ca_file` is for TLS, and `url` is without", "this file", Some(help));
        sound = false;
    }
    let Beside { ca_file, prefix, timeout, accept_loss, .. } = beside;
    sound.then_some(StoreKind::Shared(SharedStore { url, user, password, ca_file, prefix, timeout, accept_loss }))
}
