//! The configuration with which Gratis joins a comparison of proxies.

use std::path::Path;

use gratis::config::{self, Env};

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
