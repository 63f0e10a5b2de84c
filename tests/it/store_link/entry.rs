//! Getting in: passwords, access lists, certificates.

use super::*;
use crate::support::redis::{ALWAYS, Server};

/// What an access list must allow, as README says.
const ALLOWED: &str = "~gratis:* +ping +info +config|get +cluster|nodes +asking +wait +time +script|load +eval +evalsha +exists \
                       +get +mget +set +mset +del +incrby +hget +hset +hsetnx +hmget +hgetall +hincrby +hdel +hkeys +hexists \
                       +sadd +smembers +zadd +zrem +zscore +zcard +zrange +zrangebylex +zrangebyscore +rpush +llen +lrange \
                       +ltrim";

fn guarded(lines: &[&str], user: &str) -> Server {
    let admin = "user default on >admin ~* +@all";
    Server::start_guarded(&[&ALWAYS[..], &[admin, user], lines].concat(), &["--pass", "admin"])
}

fn url(server: &Server, login: &str) -> String {
    format!("redis://{login}@{}", server.address())
}

#[tokio::test]
async fn a_user_who_may_do_only_what_is_needed_does_everything() {
    let dir = tempfile::tempdir().unwrap();
    let server = guarded(&[], &format!("user gratis on >open-sesame {ALLOWED}"));
    let store = funded(settings(&url(&server, "gratis:open-sesame"), dir.path())).await;
    spend(&store, 1).await;
    assert_eq!(spent(&store).await, 1);
    assert_eq!(store.accounts().await.unwrap(), [account()]);
    store.resume().await.unwrap();
    assert!(store.check().await.is_ok());
}

#[tokio::test]
async fn who_is_not_let_in_is_told_so_without_the_password() {
    let dir = tempfile::tempdir().unwrap();
    let server = guarded(&[], &format!("user gratis on >open-sesame {ALLOWED}"));
    for (login, said) in [("gratis:hunter2", "assword"), (":hunter2", "assword"), ("", "NOAUTH")] {
        let url = if login.is_empty() { server.url() } else { url(&server, login) };
        let why = refusal(settings(&url, dir.path())).await;
        assert!(why.contains(said) && !why.contains("hunter2"), "{login}: {why}");
    }
}

#[tokio::test]
async fn what_may_not_be_asked_is_not_proven() {
    let dir = tempfile::tempdir().unwrap();
    let server = guarded(&[], &format!("user gratis on >pw {}", ALLOWED.replace("+config|get ", "")));
    let why = refusal(settings(&url(&server, "gratis:pw"), dir.path())).await;
    assert!(why.contains("redis-unproven") && why.contains("+config|get"), "{why}");
    let store = funded(lossy(&url(&server, "gratis:pw"), dir.path())).await;
    spend(&store, 1).await;
    end(store).await;
    let blind = guarded(&[], &format!("user gratis on >pw {}", ALLOWED.replace("+info ", "")));
    let why = refusal(lossy(&url(&blind, "gratis:pw"), dir.path())).await;
    assert!(why.contains("INFO"), "{why}");
}

#[tokio::test]
async fn a_right_that_is_taken_away_while_it_runs_refuses_and_a_right_given_back_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let server = guarded(&[], &format!("user gratis on >pw {ALLOWED}"));
    let store = funded(settings(&url(&server, "gratis:pw"), dir.path())).await;
    server.must(&["ACL", "SETUSER", "gratis", "-evalsha"]);
    let error = reserve(&store, 1).await.unwrap_err();
    assert!(error.kind == StoreErrorKind::TimedOut && error.detail.contains("NOPERM"), "{error:?}");
    server.must(&["ACL", "SETUSER", "gratis", "+evalsha"]);
    spend(&store, 2).await;
    // Who is thrown out comes back with the same password.
    server.must(&["ACL", "SETUSER", "gratis", "off"]);
    server.cli(&["CLIENT", "KILL", "USER", "gratis"]);
    stops(&store, 10, "").await;
    server.must(&["ACL", "SETUSER", "gratis", "on"]);
    comes_back(&store, 20).await;
}

/// A certificate authority and a server's certificate of it, which ends in this year.
struct Certificates {
    dir: tempfile::TempDir,
}

impl Certificates {
    fn made(year: i32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = authority.self_signed(&key).unwrap();
        let issuer = rcgen::Issuer::new(authority, key);
        let own = rcgen::KeyPair::generate().unwrap();
        let mut server = rcgen::CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        server.not_before = rcgen::date_time_ymd(2000, 1, 1);
        server.not_after = rcgen::date_time_ymd(year, 1, 1);
        let server = server.signed_by(&own, &issuer).unwrap();
        for (name, text) in [("ca.pem", root.pem()), ("cert.pem", server.pem()), ("key.pem", own.serialize_pem())] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        Self { dir }
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// A Redis that speaks nothing but TLS.
    fn serve(&self) -> Server {
        let lines = [
            ALWAYS[0].to_owned(),
            ALWAYS[1].to_owned(),
            "port 0".to_owned(),
            "tls-port PORT".to_owned(),
            format!("tls-cert-file {}", self.file("cert.pem")),
            format!("tls-key-file {}", self.file("key.pem")),
            "tls-auth-clients no".to_owned(),
        ];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        Server::start_guarded(&lines, &["--tls", "--insecure"])
    }
}

#[tokio::test]
async fn tls_lets_in_only_where_the_certificate_is_trusted_and_valid() {
    let dir = tempfile::tempdir().unwrap();
    let (good, other, old) = (Certificates::made(2099), Certificates::made(2099), Certificates::made(2001));
    let server = good.serve();
    let with = |server: &Server, ca: Option<&Certificates>| {
        let mut settings = settings(&format!("rediss://{}", server.address()), dir.path());
        settings.ca_file = ca.map(|ca| ca.file("ca.pem").into());
        settings
    };
    let store = funded(with(&server, Some(&good))).await;
    spend(&store, 1).await;
    end(store).await;
    for (ca, said) in [(None, "UnknownIssuer"), (Some(&other), "certificate")] {
        let why = refusal(with(&server, ca)).await;
        assert!(why.contains(said), "{why}");
    }
    let expired = old.serve();
    let why = refusal(with(&expired, Some(&old))).await;
    assert!(why.contains("xpired"), "{why}");
    let why = refusal(settings(&format!("redis://{}", server.address()), dir.path())).await;
    assert!(!why.is_empty());
}
