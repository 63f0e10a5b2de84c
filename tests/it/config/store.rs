//! `[store]`: addresses of a shared store, who logs in, and what is never shown.

use std::time::Duration;

use gratis::config::{SharedStore, StoreKind, load};
use gratis::store::redis::Topology;

use super::{Folder, key, key_and, sound};

fn shared(text: &str) -> SharedStore {
    match sound(text).config.store.kind {
        StoreKind::Shared(store) => store,
        StoreKind::Embedded => panic!("embedded: {text}"),
    }
}

#[test]
fn every_scheme_is_understood() {
    for (url, topology, tls) in [
        ("redis://host:6379/0", Topology::Standalone, false),
        ("rediss://host", Topology::Standalone, true),
        ("redis+sentinel://a,b,c/mymaster", Topology::Sentinel, false),
        ("rediss+sentinel://a:1/mymaster/2", Topology::Sentinel, true),
        ("redis+cluster://a,b", Topology::Cluster, false),
        ("rediss+cluster://a", Topology::Cluster, true),
    ] {
        let store = shared(&format!("[store]\nurl = \"{url}\"\n"));
        assert_eq!((store.url.topology, store.url.tls), (topology, tls), "{url}");
        assert_eq!((store.prefix.as_str(), store.timeout), ("gratis", Duration::from_millis(250)));
        assert!(!store.accept_loss && store.user.is_none() && store.password.is_none() && store.ca_file.is_none());
    }
    assert!(matches!(sound("[store]\nurl = \"embedded\"\n").config.store.kind, StoreKind::Embedded));
}

#[test]
fn what_stands_beside_the_address_is_read() {
    let folder = Folder::with(
        "[store]\nurl = \"rediss://host\"\nuser = \"gratis\"\npassword = { file = \"pw\" }\nca_file = \"ca.pem\"\n\
         prefix = \"team-a\"\ntimeout = \"1s\"\naccept_loss = true\n",
    );
    folder.write("pw", "hunter2\n");
    let made = rcgen::generate_simple_self_signed(vec!["host".to_owned()]).unwrap();
    folder.write("ca.pem", &made.cert.pem());
    let loaded = folder.load(&key()).unwrap_or_else(|errors| panic!("{errors}"));
    let StoreKind::Shared(store) = loaded.config.store.kind else { panic!("embedded") };
    assert_eq!((store.user.as_deref(), store.password.unwrap().expose()), (Some("gratis"), "hunter2"));
    assert_eq!((store.prefix.as_str(), store.timeout), ("team-a", Duration::from_secs(1)));
    assert!(store.accept_loss && store.ca_file.is_some());
}

#[test]
fn mistakes_are_shown_at_their_place() {
    for (text, line, said) in [
        ("url = \"host:6379\"", 2, "\"redis://...\""),
        ("url = \"redis:/host\"", 2, "\"embedded\""),
        ("url = \"redis://a,b\"", 2, "redis+cluster://"),
        ("url = \"redis+sentinel://a\"", 2, "mymaster"),
        ("url = \"redis://host/x\"", 2, "a database is a number"),
        ("url = 3", 2, "text is wanted here"),
        ("prefix = \"{a}\"", 2, "a prefix is letters"),
        ("prefix = \"\"", 2, "a prefix is letters"),
        ("timeout = \"1ms\"", 2, "not between 10ms and 10s"),
        ("accept_loss = \"yes\"", 2, "true or false"),
        ("user = \"\"", 2, "no user is written"),
        ("password = \"hunter2\"", 2, "secrets do not stand in this file"),
        ("ca_file = \"gone.pem\"", 2, "cannot read certificates"),
        ("url = \"redis://host\"\nuser = \"me\"", 3, "a user needs a password"),
        ("url = \"redis://me@host\"", 2, "a user needs a password"),
        ("accept_los = true", 2, "did you mean `accept_loss`?"),
    ] {
        let report = Folder::with(&format!("[store]\n{text}\n")).mistakes();
        assert!(report.contains(&format!("[gratis.toml:{line}:")), "{text}\n{report}");
        assert!(report.contains(said), "{text}\n{report}");
        assert!(!report.contains("hunter2"), "{report}");
    }
}

#[test]
fn a_login_that_is_written_twice_and_a_ca_without_tls_are_mistakes() {
    let folder =
        Folder::with("[store]\nurl = \"redis://me:hunter2@host\"\nuser = \"me\"\npassword = { env = \"PW\" }\n");
    let report = folder.load(&key_and(&[("PW", "x")])).err().unwrap().render(false);
    for said in ["there is a user here", "there is a password here", "2 mistakes"] {
        assert!(report.contains(said), "{report}");
    }
    assert!(!report.contains("hunter2"), "{report}");
    let made = rcgen::generate_simple_self_signed(vec!["host".to_owned()]).unwrap();
    let folder = Folder::with("[store]\nurl = \"redis://host\"\nca_file = \"ca.pem\"\n");
    folder.write("ca.pem", &made.cert.pem());
    assert!(folder.mistakes().contains("begin the address with rediss"), "{}", folder.mistakes());
}

#[test]
fn a_password_in_the_address_works_is_warned_of_and_is_never_shown() {
    let folder = Folder::with("[store]\nurl = \"redis://me:hunter%32@host/1\"\n");
    let loaded = folder.load(&key()).unwrap_or_else(|errors| panic!("{errors}"));
    let warning = loaded.warnings[0].render(false);
    assert!(warning.contains("holds a password") && warning.contains("gratis.toml:2:"), "{warning}");
    assert!(!warning.contains("hunter") && !warning.contains("me:"), "{warning}");
    let StoreKind::Shared(store) = loaded.config.store.kind else { panic!("embedded") };
    assert_eq!((store.user.as_deref(), store.password.unwrap().expose()), (Some("me"), "hunter2"));
    assert_eq!(store.url.to_string(), "redis://host:6379/1");
    // Beside other mistakes, in files that are no TOML, and where it is not encoded, too.
    for text in [
        "url = \"redis://me:hunter2@host\"\nlease = 3",
        "lease = 3\nurl = \"redis://me:hun/hunter2@a,b\"",
        "url = \"redis://me:hun/hunter2@host\nlease = 3",
        "url = 'redi://me:hunter2@host'",
        "url = \"redis://me:hunter2@host\"\nurl = \"redis://me:hunter2@host\"",
    ] {
        let report = Folder::with(&format!("[store]\n{text}\n")).mistakes();
        assert!(!report.contains("hunter2"), "{text}\n{report}");
    }
}

#[test]
fn the_environment_may_hold_it_all() {
    let env = key_and(&[("GRATIS_STORE__URL", "redis://:hunter2@host"), ("GRATIS_STORE__PREFIX", "p")]);
    let loaded = load(None, &env).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let StoreKind::Shared(store) = loaded.config.store.kind else { panic!("embedded") };
    assert_eq!(store.password.unwrap().expose(), "hunter2");
    let env = key_and(&[("GRATIS_STORE__URL", "redis://me:hunter2@host:x")]);
    let report = load(None, &env).err().unwrap().render(false);
    assert!(report.contains("GRATIS_STORE__URL") && !report.contains("hunter2"), "{report}");
}

#[test]
fn what_the_embedded_store_does_not_use_is_warned_of() {
    let loaded = sound("[store]\nprefix = \"x\"\naccept_loss = true\n");
    let said: Vec<&str> = loaded.warnings.iter().map(|warning| warning.message()).collect();
    assert_eq!(
        said,
        ["`prefix` means nothing to the embedded store", "`accept_loss` means nothing to the embedded store"]
    );
}
