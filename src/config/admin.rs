//! `[admin]`, `[log]`, `[keys]`: what the operator sees and holds.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::env::Env;
use super::reader::{Reader, Reference};
use super::secret::{self, Secret, SecretPlace};
use super::values;

/// The operator's listener. Holds a secret, so it has no `Debug`.
#[derive(Clone)]
pub struct AdminConfig {
    /// Where it listens; port 0 = any free one.
    pub listen: SocketAddr,
    /// The operator's token; `None` = the file `token_file` is not there yet, and nobody may do anything.
    pub token: Option<Secret>,
    /// Where `gratis init` puts a token that it makes; `None` = the operator named a place of their own.
    pub token_file: Option<PathBuf>,
    /// A token that may look and not change.
    pub read_token: Option<Secret>,
    /// The lines of the audit log that are kept.
    pub audit_lines: usize,
}

/// How API keys are kept. Holds a secret, so it has no `Debug`.
#[derive(Clone)]
pub struct KeysConfig {
    /// The key of the keyed hash; `None` = the file `pepper_file` is not there yet, so there is no key to check.
    pub pepper: Option<Secret>,
    /// Where `gratis init` puts a pepper that it makes; `None` = the operator named a place of their own.
    pub pepper_file: Option<PathBuf>,
}

/// What is logged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogConfig {
    /// How lines look.
    pub format: LogFormat,
    /// What is logged, as `tracing` filters; checked.
    pub filter: String,
    /// Whether each request has a line.
    pub requests: bool,
    /// Which calls are kept for `gratis why`.
    pub explain: Explain,
}

/// Which calls are kept for `gratis why`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Explain {
    /// None.
    Off,
    /// All but those that were served and settled; of these the newest, in memory.
    Unusual,
    /// All.
    All,
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// One JSON object a line.
    Json,
    /// Lines for people.
    Text,
}

pub(super) fn read_admin(mut r: Reader<'_, '_>, env: &Env, state_dir: Option<&Path>) -> Option<AdminConfig> {
    let listen = r.text("listen", "\"127.0.0.1:8081\"", values::address);
    let token = made_or_named(&mut r, "token", env, state_dir.map(|dir| dir.join("admin-token")));
    if let Some(address) = listen.filter(|address| !address.ip().is_loopback()) {
        let message = format!("the admin API listens at {address}, where other machines may reach it, without TLS");
        let help = "keep it on 127.0.0.1, or see to it that only operators can reach the port".to_owned();
        r.report.warning(Some(r.spot_of("listen")), message, "not loopback", Some(help));
    }
    let read_token = read_secret(&mut r, "read_token", env);
    let audit_lines = r.count("audit_lines", 1_000..=100_000_000);
    r.finish();
    let (token, token_file) = token?;
    let audit_lines = usize::try_from(audit_lines?).ok()?;
    Some(AdminConfig { listen: listen?, token, token_file, read_token: read_token?, audit_lines })
}

pub(super) fn read_keys(mut r: Reader<'_, '_>, env: &Env, state_dir: Option<&Path>) -> Option<KeysConfig> {
    let pepper = made_or_named(&mut r, "pepper", env, state_dir.map(|dir| dir.join("pepper")));
    r.finish();
    let (pepper, pepper_file) = pepper?;
    Some(KeysConfig { pepper, pepper_file })
}

pub(super) fn read_log(mut r: Reader<'_, '_>) -> Option<LogConfig> {
    let words = [("auto", LogFormat::Auto), ("json", LogFormat::Json), ("text", LogFormat::Text)];
    let format = r.choice("format", &words);
    let filter = r.text("filter", "\"info\"", |text| {
        let parsed = tracing_subscriber::EnvFilter::builder().parse(text);
        parsed.map(|_| text.to_owned()).map_err(|error| format!("\"{text}\" is no log filter: {error}"))
    });
    let requests = r.flag("requests");
    let explain = r.choice("explain", &[("off", Explain::Off), ("unusual", Explain::Unusual), ("all", Explain::All)]);
    r.finish();
    Some(LogConfig { format: format?, filter: filter?, requests: requests?, explain: explain? })
}

/// A secret that `gratis init` makes, unless the operator names a place of their own.
fn made_or_named(
    r: &mut Reader<'_, '_>,
    key: &'static str,
    env: &Env,
    made: Option<PathBuf>,
) -> Option<(Option<Secret>, Option<PathBuf>)> {
    if let Some(named) = read_secret(r, key, env)? {
        return Some((Some(named), None));
    }
    let made = made?;
    if !made.exists() {
        return Some((None, Some(made)));
    }
    match secret::read(&SecretPlace::File(made.clone()), env) {
        Ok(secret) => {
            warn_if_open(r, key, &made);
            Some((Some(secret), Some(made)))
        }
        Err(problem) => {
            r.report.mistake_anywhere(format!("{}.{key}: {problem}", r.path()), None);
            None
        }
    }
}

/// The secret that a key refers to; the inner `None` = the key is absent.
#[allow(clippy::option_option, reason = "absent and wrong are two things here, and wrong is already reported")]
pub(super) fn read_secret(r: &mut Reader<'_, '_>, key: &'static str, env: &Env) -> Option<Option<Secret>> {
    let Some((reference, spot)) = r.reference(key)? else { return Some(None) };
    let place = match reference {
        Reference::Given(secret) => return Some(Some(secret)),
        Reference::Place(place) => place,
    };
    let secret = secret::read(&place, env);
    match (&secret, &place) {
        (Err(problem), SecretPlace::Env(name)) => {
            let help = format!("export {name}=..., or name a file: {key} = {{ file = \"path\" }}");
            r.report.mistake(spot, problem, "looked for here", Some(help));
        }
        (Err(problem), SecretPlace::File(_)) => r.report.mistake(spot, problem, "looked for here", None),
        (Ok(_), SecretPlace::File(path)) => warn_if_open(r, key, path),
        (Ok(_), SecretPlace::Env(_)) => {}
    }
    secret.ok().map(Some)
}

fn warn_if_open(r: &mut Reader<'_, '_>, key: &str, path: &Path) {
    if secret::is_open_to_others(path) == Some(true) {
        let spot = r.found_spot(key);
        let message = format!("{} holds a secret and can be read by others than its owner", path.display());
        r.report.warning(spot, message, "this file", Some(format!("chmod 600 {}", path.display())));
    }
}
