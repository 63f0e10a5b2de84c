//! `[notify]`: whom to tell when a quota nears its end.

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

use super::admin::read_secret;
use super::env::Env;
use super::reader::Reader;
use super::secret::Secret;
use super::tree::Value;

/// How notices are sent. Holds secrets, so it has no `Debug`.
#[derive(Clone)]
pub struct NotifyConfig {
    /// How often the books are looked at.
    pub check_every: Duration,
    /// `[notify.mail]`; `None` = no server is named.
    pub mail: Option<MailConfig>,
    /// `[notify.webhook]`; `None` = no address is named.
    pub webhook: Option<WebhookConfig>,
}

/// A mail server, and who writes to whom.
#[derive(Clone)]
pub struct MailConfig {
    /// The server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is spoken to.
    pub tls: MailTls,
    /// Certificates to trust instead of the public ones.
    pub ca_file: Option<PathBuf>,
    /// Name and password.
    pub credentials: Option<(String, Secret)>,
    /// Who writes.
    pub from: String,
    /// To whom.
    pub to: Vec<String>,
}

/// How a mail server is spoken to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MailTls {
    /// In the clear.
    Off,
    /// STARTTLS.
    StartTls,
    /// TLS from the first byte.
    Wrapped,
}

/// Where notices are posted to.
#[derive(Clone)]
pub struct WebhookConfig {
    /// The address.
    pub url: Uri,
    /// The secret that signs.
    pub secret: Secret,
    /// Certificates to trust instead of the public ones.
    pub ca_file: Option<PathBuf>,
}

pub(super) fn read(mut r: Reader<'_, '_>, env: &Env) -> Option<NotifyConfig> {
    let check_every = r.duration("check_every", Duration::from_millis(100)..=Duration::from_secs(3_600));
    let mail = part(&mut r, "mail", |r| read_mail(r, env));
    let webhook = part(&mut r, "webhook", |r| read_webhook(r, env));
    r.finish();
    Some(NotifyConfig { check_every: check_every?, mail: mail?, webhook: webhook? })
}

#[allow(clippy::option_option, reason = "absent and wrong are two things here, and wrong is already reported")]
fn part<T>(
    r: &mut Reader<'_, '_>,
    name: &'static str,
    read: impl FnOnce(Reader<'_, '_>) -> Option<Option<T>>,
) -> Option<Option<T>> {
    let Some(found) = r.find(name) else { return Some(None) };
    let Value::Table(table) = &found.value else {
        r.report.mistake(found.spot, format!("`{name}` is a section: [notify.{name}]"), "not a section", None);
        return None;
    };
    read(Reader::new(r.report, table, found.spot, &format!("notify.{name}")))
}

fn plain(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("nothing is written here".to_owned()) } else { Ok(text.trim().to_owned()) }
}

#[allow(clippy::option_option, reason = "absent and wrong are two things here, and wrong is already reported")]
fn read_mail(mut r: Reader<'_, '_>, env: &Env) -> Option<Option<MailConfig>> {
    let host = r.optional_text("host", "\"smtp.example.com\"", plain);
    let port = r.count("port", 1..=65_535);
    let ways = [("off", MailTls::Off), ("starttls", MailTls::StartTls), ("wrapped", MailTls::Wrapped)];
    let tls = r.choice("tls", &ways);
    let ca_file = r.optional_path("ca_file");
    let username = r.optional_text("username", "\"gratis\"", plain);
    let password = read_secret(&mut r, "password", env);
    let from = r.optional_text("from", "\"gratis@example.com\"", plain);
    let to = if r.find("to").is_some() { r.texts("to") } else { Some(Vec::new()) };
    let spot = r.spot_of("host");
    if let (Some(Some(_)), Some(from), Some(to)) = (&host, &from, &to)
        && (from.is_none() || to.is_empty())
    {
        r.report.mistake(spot, "[notify.mail] needs `from` and `to` as well", "a server is named here", None);
        r.finish();
        return None;
    }
    if let (Some(username), Some(password)) = (&username, &password)
        && username.is_some() != password.is_some()
    {
        r.report.mistake(spot, "[notify.mail] needs `username` and `password` together, or neither", "here", None);
    }
    r.finish();
    let (host, username, password, from, to) = (host?, username?, password?, from?, to?);
    let (port, tls, ca_file) = (u16::try_from(port?).ok()?, tls?, ca_file?);
    let (Some(host), Some(from)) = (host, from) else { return Some(None) };
    let to = to.into_iter().map(|(text, _)| text).collect();
    Some(Some(MailConfig { host, port, tls, ca_file, credentials: username.zip(password), from, to }))
}

#[allow(clippy::option_option, reason = "absent and wrong are two things here, and wrong is already reported")]
fn read_webhook(mut r: Reader<'_, '_>, env: &Env) -> Option<Option<WebhookConfig>> {
    let url = r.optional_text("url", "\"https://example.com/hook\"", |text| {
        let uri: Uri = text.parse().map_err(|_| format!("\"{text}\" is no address"))?;
        let fits = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
        if fits { Ok(uri) } else { Err(format!("\"{text}\" is no address: write https://example.com/hook")) }
    });
    let secret = read_secret(&mut r, "secret", env);
    let ca_file = r.optional_path("ca_file");
    let spot = r.spot_of("url");
    if let (Some(Some(_)), Some(None)) = (&url, &secret) {
        let help =
            "a receiver could not tell our notices from anybody's: make one with `openssl rand -base64 32`".to_owned();
        r.report.mistake(spot, "[notify.webhook] needs `secret` as well", "an address is named here", Some(help));
    }
    r.finish();
    let (url, secret, ca_file) = (url?, secret?, ca_file?);
    match (url, secret) {
        (Some(url), Some(secret)) => Some(Some(WebhookConfig { url, secret, ca_file })),
        (None, _) => Some(None),
        (Some(_), None) => None,
    }
}
