//! Gratis as one of the proxies of a comparison: its configuration, and a ledger with the key that all of them know.

use std::path::Path;
use std::process::Command;

use gratis::clock::Clock;
use gratis::config::{self, Env};
use gratis::store::embedded::{self, Embedded};
use gratis::store::{KeyStore as _, Pepper};

#[test]
fn the_configuration_of_the_comparison_is_without_a_mistake_and_its_model_has_a_sound_bound() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peer.toml");
    let loaded = config::load(Some(&path), &Env::default()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let model = loaded.catalogue.model("mock-1").expect("the catalogue has mock-1");
    assert!(model.bounds.is_some());
    assert!(!model.prices.is_empty(), "a model without a price is no ordinary one");
    assert_eq!(loaded.config.server.listen.to_string(), "127.0.0.1:9400");
    let upstream = loaded.config.upstream_of("mock-1").expect("an upstream serves it");
    assert_eq!(upstream.base_url.to_string(), "http://127.0.0.1:9100/v1");
}

fn init(folder: &Path, key: &str) -> (bool, String) {
    let key_file = folder.join("key");
    std::fs::write(&key_file, key).unwrap();
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peer.toml");
    let output = Command::new(env!("CARGO_BIN_EXE_gratis"))
        .args(["init", "--balance", "mock-1=1,000/1,000", "--config"])
        .arg(config)
        .arg("--key-file")
        .arg(key_file)
        .env("GRATIS_STORE__STATE_DIR", folder.join("state"))
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn a_ledger_can_be_made_with_a_key_that_clients_have_already() {
    let folder = tempfile::tempdir().unwrap();
    let (done, said) = init(folder.path(), "sk-bench-0\n");
    assert!(done, "{said}");
    let state = folder.path().join("state");
    let pepper = Pepper::from_text(std::fs::read_to_string(state.join("pepper")).unwrap().trim()).unwrap();
    let store = Embedded::open(embedded::Settings::new(&state), Clock::system()).unwrap();
    let caller = store.caller(&pepper.digest("sk-bench-0")).await.unwrap();
    assert_eq!(caller.expect("the key is known").key.last4, "ch-0");
    assert!(store.caller(&pepper.digest("sk-bench-1")).await.unwrap().is_none());
    store.close().await.unwrap();
}

#[test]
fn a_key_that_no_header_can_carry_makes_no_ledger() {
    for key in ["sk-1", "sk bench 0", "sk-b\u{e9}nch-0", &"k".repeat(257), ""] {
        let folder = tempfile::tempdir().unwrap();
        let (done, said) = init(folder.path(), key);
        assert!(!done && said.contains("--key-file"), "{key:?}: {said}");
        assert!(!folder.path().join("state").exists(), "{key:?}");
    }
}
