//! Where the configuration wants a ledger to be.

use std::path::Path;

use super::{Kept, Place};
use crate::cli::Failure;
use crate::cli::configuration;
use crate::cli::out::Out;
use crate::config::Loaded;
use crate::store::keys::Pepper;

/// The place that a configuration means.
pub(super) fn of(path: Option<&Path>, out: &mut Out<'_>) -> Result<Place, Failure> {
    let loaded = configuration::load_local(path, out)?;
    let config = &loaded.config;
    let pepper = match (&config.keys.pepper_file, &config.keys.pepper) {
        (Some(file), _) => Kept::InFile(file.clone()),
        (None, Some(secret)) => Kept::Elsewhere(Pepper::from_text(secret.expose()).ok_or_else(|| {
            Failure::Usage("keys.pepper is no pepper: 64 hexadecimal digits were expected".to_owned())
        })?),
        (None, None) => return Err(Failure::Usage("the configuration names no place for the pepper".to_owned())),
    };
    let token = match &config.admin.token_file {
        Some(file) => Kept::InFile(file.clone()),
        None => Kept::Elsewhere(()),
    };
    let site = loaded.site(&config.site.name).cloned();
    let site = site.ok_or_else(|| Failure::Usage(format!("there is no site `{}`", config.site.name)))?;
    let (base_url, state_dir) = (base_url(&loaded), std::path::absolute(&config.store.state_dir));
    let state_dir = state_dir.unwrap_or_else(|_| config.store.state_dir.clone());
    let serve_arguments = path.map(|path| format!(" --config {}", path.display())).unwrap_or_default();
    let shared = configuration::shared_store(config).ok();
    Ok(Place { state_dir, shared, pepper, token, site, catalogue: loaded.catalogue, base_url, serve_arguments })
}

/// What a client on this machine uses; a listener on all addresses is reached by loopback.
fn base_url(loaded: &Loaded) -> String {
    let server = &loaded.config.server;
    let scheme = if server.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{}/compatible-mode/v1", configuration::reachable(server.listen))
}
