//! The way to one server of the store.

use std::path::Path;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, TlsCertificates};

use super::super::OpenError;
use super::super::settings::Settings;
use super::super::url::{Topology, Url};

/// Where the store is and how to get in. It holds a password, so it is never shown.
pub(super) struct Address {
    pub(super) topology: Topology,
    /// `host:port` of the server, of the sentinels, or of some nodes of the cluster.
    pub(super) hosts: Vec<String>,
    /// What the sentinels call the primary.
    pub(super) service: String,
    login: RedisConnectionInfo,
    roots: Option<Vec<u8>>,
    tls: bool,
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
        let address = Self {
            topology: *topology,
            hosts: hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect(),
            service: primary.clone(),
            login,
            roots: roots(*tls, settings.ca_file.as_deref())?,
            tls: *tls,
        };
        // Whatever is wrong with a certificate is said now, not at the first connection.
        address.client(address.hosts.first().map_or("", String::as_str), true)?;
        Ok(address)
    }

    fn client(&self, host: &str, credentials: bool) -> Result<Client, OpenError> {
        let login = match credentials {
            true => self.login.clone(),
            false => RedisConnectionInfo::default().set_skip_set_lib_name(),
        };
        let (name, port) = split(host).ok_or_else(|| OpenError(format!("{host} is not host:port")))?;
        let place = match self.tls {
            true => ConnectionAddr::TcpTls { host: name, port, insecure: false, tls_params: None },
            false => ConnectionAddr::Tcp(name, port),
        };
        let info = place.into_connection_info().map_err(|error| OpenError(format!("{host}: {error}")))?;
        let info = info.set_redis_settings(login).set_tcp_settings(at_once());
        let made = match &self.roots {
            Some(pem) => {
                Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: Some(pem.clone()) })
            }
            None => Client::open(info),
        };
        made.map_err(|error| OpenError(format!("store.ca_file: {error}")))
    }

    /// A new connection to a server of the store. Its calls have no time-out of their own.
    pub(super) async fn dial(&self, host: &str, within: Duration) -> Result<MultiplexedConnection, String> {
        self.dial_as(host, true, within).await
    }

    /// A new connection to a sentinel. Most ask for no password; those that do are given that of the store.
    pub(super) async fn dial_sentinel(&self, host: &str, within: Duration) -> Result<MultiplexedConnection, String> {
        let mut open = self.dial_as(host, false, within).await?;
        match redis::cmd("PING").query_async::<String>(&mut open).await {
            Err(error) if error.code() == Some("NOAUTH") => self.dial_as(host, true, within).await,
            Err(error) => Err(format!("{host}: {error}")),
            Ok(_) => Ok(open),
        }
    }

    async fn dial_as(&self, host: &str, credentials: bool, within: Duration) -> Result<MultiplexedConnection, String> {
        let client = self.client(host, credentials).map_err(|error| error.0)?;
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(within)).set_response_timeout(None);
        let made = client.get_multiplexed_async_connection_with_config(&config).await;
        made.map_err(|error| format!("{host}: {error}"))
    }

    /// Whether names are to be preferred to numbers, because certificates are made out to them.
    pub(super) fn prefers_names(&self) -> bool {
        self.tls
    }
}

/// Nagle's algorithm holds a small call back until the answer to the one before it has come.
fn at_once() -> redis::io::tcp::TcpSettings {
    redis::io::tcp::TcpSettings::default().set_nodelay(true)
}

fn roots(tls: bool, ca_file: Option<&Path>) -> Result<Option<Vec<u8>>, OpenError> {
    let Some(file) = ca_file else { return Ok(None) };
    if !tls {
        return Err(OpenError("store.ca_file is given, but store.url is not encrypted: write rediss".to_owned()));
    }
    let read = std::fs::read(file);
    read.map(Some).map_err(|error| OpenError(format!("store.ca_file: {}: {error}", file.display())))
}

/// `host:port` in two; an IPv6 address loses its brackets.
fn split(host: &str) -> Option<(String, u16)> {
    let (name, port) = host.rsplit_once(':')?;
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    Some((name.to_owned(), port.parse().ok()?))
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

    #[test]
    fn every_connection_sends_at_once() {
        for url in ["redis://a", "redis+sentinel://a/s", "rediss+cluster://a"] {
            let address = Address::of(&settings(url)).unwrap();
            for credentials in [true, false] {
                let client = address.client("b:1", credentials).unwrap();
                assert!(client.get_connection_info().tcp_settings().nodelay(), "{url}");
            }
        }
    }
}
