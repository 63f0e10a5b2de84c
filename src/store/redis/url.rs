//! The address of a shared store, read and checked before anything is connected.

use std::fmt;
use std::str::FromStr;

use http::uri::Authority;
use percent_encoding::percent_decode_str;

use super::settings::{Credentials, Password};

/// How the servers of a shared store belong together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Topology {
    /// One server.
    Standalone,
    /// One primary at a time, which the sentinels know.
    Sentinel,
    /// Several primaries that share the slots.
    Cluster,
}

/// Every scheme that is understood: its text, the servers it means, and whether they are reached by TLS.
const SCHEMES: [(&str, Topology, bool); 6] = [
    ("redis", Topology::Standalone, false),
    ("rediss", Topology::Standalone, true),
    ("redis+sentinel", Topology::Sentinel, false),
    ("rediss+sentinel", Topology::Sentinel, true),
    ("redis+cluster", Topology::Cluster, false),
    ("rediss+cluster", Topology::Cluster, true),
];

/// The port of a server, and that of a sentinel, where none is written.
const SERVER_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// The address of a shared store, without who logs in: `redis://host:6379/0`,
/// `redis+sentinel://host:26379,other:26379/primary/0`, `redis+cluster://host:6379,other:6379`; `rediss` = by TLS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Url {
    /// How the servers belong together.
    pub topology: Topology,
    /// Whether they are reached by TLS.
    pub tls: bool,
    /// Servers, sentinels, or members of the cluster to begin with: host (an IPv6 address in brackets) and port; at least one.
    pub hosts: Vec<(String, u16)>,
    /// What the sentinels call the primary; empty elsewhere.
    pub primary: String,
    /// The number of the database; 0 in a cluster.
    pub database: u16,
}

impl Url {
    /// Reads an address and the login that may stand in it. The error says what would be right and shows nothing that may be
    /// a secret.
    ///
    /// # Errors
    /// When it is no address of a shared store.
    pub fn read(text: &str) -> Result<(Self, Credentials), String> {
        let (scheme, rest) = text.split_once("://").ok_or_else(unknown_scheme)?;
        let known = SCHEMES.iter().find(|(name, ..)| *name == scheme);
        let (_, topology, tls) = *known.ok_or_else(unknown_scheme)?;
        if rest.contains(['?', '#']) {
            return Err(
                "the address of a store has no `?` and no `#`; in a password they are written %3F and %23".to_owned()
            );
        }
        // A password may hold a slash that was not encoded: the login ends at the last `@`.
        let (login, place) = rest.rsplit_once('@').map_or((None, rest), |(login, place)| (Some(login), place));
        let (servers, path) = place.split_once('/').map_or((place, ""), |(servers, path)| (servers, path));
        let port = if topology == Topology::Sentinel { SENTINEL_PORT } else { SERVER_PORT };
        let hosts = servers.split(',').map(|server| host(server, port)).collect::<Result<Vec<_>, _>>()?;
        if topology == Topology::Standalone && hosts.len() > 1 {
            return Err("one server is named by redis://; several are a cluster (redis+cluster://) or sentinels \
                 (redis+sentinel://)"
                .to_owned());
        }
        let (primary, database) = path_of(topology, path)?;
        let credentials = login.map_or(Ok(Credentials::default()), credentials)?;
        Ok((Self { topology, tls, hosts, primary, database }, credentials))
    }
}

fn unknown_scheme() -> String {
    let schemes: Vec<String> = SCHEMES.iter().map(|(name, ..)| format!("\"{name}://...\"")).collect();
    format!("a store is \"embedded\" or an address that begins with one of {}", schemes.join(", "))
}

fn host(server: &str, default_port: u16) -> Result<(String, u16), String> {
    let wrong = || format!("a server is written HOST or HOST:PORT, for example \"127.0.0.1:{default_port}\"");
    let authority: Authority = server.parse().map_err(|_| wrong())?;
    let port = match authority.port() {
        Some(port) => port.as_str().parse().map_err(|_| wrong())?,
        // What stands behind the host is no number.
        None if authority.host() != server => return Err(wrong()),
        None => default_port,
    };
    if authority.host().is_empty() || port == 0 {
        return Err(wrong());
    }
    Ok((authority.host().to_owned(), port))
}

/// What stands behind the servers: a database, a primary, both, or nothing.
fn path_of(topology: Topology, path: &str) -> Result<(String, u16), String> {
    let database = |text: &str| match text {
        "" => Ok(0),
        number => number.parse().map_err(|_| "a database is a number, \"redis://host:6379/0\" for example".to_owned()),
    };
    match topology {
        Topology::Standalone => Ok((String::new(), database(path)?)),
        Topology::Cluster if matches!(path, "" | "0") => Ok((String::new(), 0)),
        Topology::Cluster => Err("a cluster has one database, so that nothing stands behind its servers".to_owned()),
        Topology::Sentinel => {
            let (primary, number) = path.split_once('/').unwrap_or((path, ""));
            if primary.is_empty() {
                return Err("the name that the sentinels give the primary is missing: \
                     \"redis+sentinel://host:26379,other:26379/mymaster\""
                    .to_owned());
            }
            Ok((primary.to_owned(), database(number)?))
        }
    }
}

fn credentials(login: &str) -> Result<Credentials, String> {
    let decode = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8();
        decoded.map(|text| text.into_owned()).map_err(|_| "the user or password in the address is no UTF-8".to_owned())
    };
    let (user, password) = login.split_once(':').map_or((login, None), |(user, password)| (user, Some(password)));
    Ok(Credentials {
        user: Some(decode(user)?).filter(|user| !user.is_empty()),
        password: password.map(decode).transpose()?.filter(|text| !text.is_empty()).map(Password::new),
    })
}

impl FromStr for Url {
    type Err = String;

    /// Reads an address in which nobody logs in.
    fn from_str(text: &str) -> Result<Self, String> {
        let (url, credentials) = Self::read(text)?;
        if credentials.user.is_some() || credentials.password.is_some() {
            return Err("a user or a password in the address is not taken here".to_owned());
        }
        Ok(url)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = SCHEMES.iter().find(|(_, topology, tls)| (*topology, *tls) == (self.topology, self.tls));
        write!(f, "{}://", scheme.map(|(name, ..)| *name).unwrap_or_default())?;
        for (place, (host, port)) in self.hosts.iter().enumerate() {
            write!(f, "{}{host}:{port}", if place == 0 { "" } else { "," })?;
        }
        match self.topology {
            Topology::Standalone => write!(f, "/{}", self.database),
            Topology::Sentinel => write!(f, "/{}/{}", self.primary, self.database),
            Topology::Cluster => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, String> {
        Url::read(text).map(|(url, _)| url.to_string())
    }

    #[test]
    fn every_kind_of_address_is_read() {
        for (text, url) in [
            ("redis://host", "redis://host:6379/0"),
            ("redis://host:1/7", "redis://host:1/7"),
            ("rediss://[::1]:6380", "rediss://[::1]:6380/0"),
            ("redis+sentinel://a,b:2/mymaster", "redis+sentinel://a:26379,b:2/mymaster/0"),
            ("rediss+sentinel://a/mymaster/3", "rediss+sentinel://a:26379/mymaster/3"),
            ("redis+cluster://a:1,b:2,c:3", "redis+cluster://a:1,b:2,c:3"),
            ("rediss+cluster://a/", "rediss+cluster://a:6379"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(url), "{text}");
            assert_eq!(shown(url).as_deref(), Ok(url), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_says_what_would_be() {
        for (text, said) in [
            ("", "\"embedded\" or an address"),
            ("host:6379", "\"embedded\" or an address"),
            ("http://host", "\"redis://...\""),
            ("redis://", "HOST:PORT"),
            ("redis://host:", "HOST:PORT"),
            ("redis://host:0", "HOST:PORT"),
            ("redis://host:99999", "HOST:PORT"),
            ("redis://a,b", "redis+cluster://"),
            ("redis://host/one", "a database is a number"),
            ("redis://host?x=1", "no `?`"),
            ("redis+sentinel://host", "mymaster"),
            ("redis+sentinel://host/", "mymaster"),
            ("redis+cluster://host/1", "one database"),
        ] {
            let problem = shown(text).unwrap_err();
            assert!(problem.contains(said), "{text}: {problem}");
        }
    }

    #[test]
    fn who_logs_in_comes_apart_from_the_address_and_is_never_shown() {
        let (url, login) = Url::read("redis://me:p%40ss/w@host/1").unwrap();
        assert_eq!((url.to_string().as_str(), login.user.as_deref()), ("redis://host:6379/1", Some("me")));
        assert_eq!(login.password.unwrap().expose(), "p@ss/w");
        let (_, login) = Url::read("redis://:secret@host").unwrap();
        assert!(login.user.is_none() && login.password.unwrap().expose() == "secret");
        for text in
            ["redis://me:hunter2@host:x", "redis://me:hunter2@", "redi://me:hunter2@host", "redis://me:hunter2@a,b"]
        {
            let problem = shown(text).unwrap_err();
            assert!(!problem.contains("hunter2"), "{problem}");
        }
        assert!("redis://me:pw@host".parse::<Url>().is_err());
    }
}
