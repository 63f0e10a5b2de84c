//! The way to one server of the store.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redis::RedisConnectionInfo;
use rustls::ClientConfig;

use super::super::OpenError;
use super::super::settings::Settings;
use super::super::url::{Topology, Url};
use super::connection::Connection;

/// Where the store is and how to get in. It holds a password, so it is never shown.
pub(super) struct Address {
    pub(super) topology: Topology,
    /// `host:port` of the server, of the sentinels, or of some nodes of the cluster.
    pub(super) hosts: Vec<String>,
    /// What the sentinels call the primary.
    pub(super) service: String,
    login: RedisConnectionInfo,
    /// How the servers are to prove who they are; none where nothing is encrypted.
    tls: Option<Arc<ClientConfig>>,
}

impl Address {
    /// The way that the settings describe.
    pub(super) fn of(settings: &Settings) -> Result<Self, OpenError> {
        let Url { topology, tls, hosts, primary, database } = &settings.url;
        let mut login = RedisConnectionInfo::default().set_db(i64::from(*database)).set_skip_set_lib_name();
        if let Some(user) = &settings.credentials.user {
            login = login.set_username(user);
        }
        if let Some(password) = &settings.credentials.password {
            login = login.set_password(password.expose());
        }
        Ok(Self {
            topology: *topology,
            hosts: hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect(),
            service: primary.clone(),
            login,
            tls: tls_config(*tls, settings.ca_file.as_deref())?,
        })
    }

    /// A new connection to a server of the store. Its calls have no time-out of their own.
    pub(super) async fn dial(&self, host: &str, within: Duration) -> Result<Connection, String> {
        self.dial_as(host, true, within).await
    }

    /// A new connection to a sentinel. Most ask for no password; those that do are given that of the store.
    pub(super) async fn dial_sentinel(&self, host: &str, within: Duration) -> Result<Connection, String> {
        let open = self.dial_as(host, false, within).await?;
        match open.command(&redis::cmd("PING")).await {
            Err(error) if error.code() == Some("NOAUTH") => self.dial_as(host, true, within).await,
            Err(error) => Err(format!("{host}: {error}")),
            Ok(_) => Ok(open),
        }
    }

    async fn dial_as(&self, host: &str, credentials: bool, within: Duration) -> Result<Connection, String> {
        let place = split(host).ok_or_else(|| format!("{host} is not host:port"))?;
        let login = match credentials {
            true => self.login.clone(),
            false => RedisConnectionInfo::default().set_skip_set_lib_name(),
        };
        let opened = tokio::time::timeout(within, Connection::open(place, self.tls.as_ref(), &login)).await;
        let opened = opened.map_err(|_| format!("{host} does not answer"))?;
        opened.map_err(|error| format!("{host}: {error}"))
    }

    /// Whether names are to be preferred to numbers, because certificates are made out to them.
    pub(super) fn prefers_names(&self) -> bool {
        self.tls.is_some()
    }
}

fn tls_config(tls: bool, ca_file: Option<&Path>) -> Result<Option<Arc<ClientConfig>>, OpenError> {
    match (tls, ca_file) {
        (false, None) => Ok(None),
        (false, Some(_)) => {
            Err(OpenError("store.ca_file is given, but store.url is not encrypted: write rediss".to_owned()))
        }
        (true, file) => {
            let config = crate::trust::client(file.is_none(), file);
            config.map(|config| Some(Arc::new(config))).map_err(|why| OpenError(format!("store.ca_file: {why}")))
        }
    }
}

/// `host:port` in two; an IPv6 address loses its brackets.
fn split(host: &str) -> Option<(&str, u16)> {
    let (name, port) = host.rsplit_once(':')?;
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    Some((name, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str) -> Settings {
        Settings::new(url.parse().unwrap(), "")
    }

    #[test]
    fn a_certificate_that_cannot_be_used_is_said_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        for (url, file, said) in [
            ("rediss://a", &file, "store.ca_file"),
            ("rediss://a", &folder.path().join("none"), "none"),
            ("redis://a", &file, "not encrypted"),
        ] {
            let why = Address::of(&Settings { ca_file: Some(file.clone()), ..settings(url) }).err().unwrap().0;
            assert!(why.contains(said), "{why}");
        }
    }
}
