//! Taking over a changed configuration without touching a call in progress.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};

use crate::admin::{Reload, Reloaded};
use crate::config::{Loaded, NotifyConfig, SharedStore, StoreKind};
use crate::proxy::Shared;
use crate::server::Certificates;
use crate::telemetry::{Memory, Metrics};

use super::settings;

/// Reads the configuration again; the error shows every mistake.
pub type Loader = Box<dyn Fn() -> Result<Loaded, String> + Send + Sync>;

/// Reads the configuration again and puts it in force, or keeps the old one and says why.
pub struct Reloader {
    loader: Loader,
    shared: Arc<ArcSwap<Shared>>,
    certificates: Option<Arc<Certificates>>,
    fixed: Fixed,
    /// The bytes that the process may have.
    memory: Option<u64>,
    metrics: Arc<Metrics>,
    /// One at a time: of two, the one that read first must not be put in force last.
    turn: Mutex<()>,
}

/// What only a restart changes.
#[derive(PartialEq)]
struct Fixed(Vec<(&'static str, String)>);

impl Fixed {
    fn of(loaded: &Loaded) -> Self {
        let config = &loaded.config;
        Self(vec![
            ("server.listen", config.server.listen.to_string()),
            ("server.tls_certificate", format!("{:?}", config.server.tls)),
            ("admin.listen", config.admin.listen.to_string()),
            ("log", format!("{:?} {} {:?}", config.log.format, config.log.filter, config.log.explain)),
            ("trace.otlp_endpoint", format!("{:?}", config.trace.endpoint)),
            ("store.state_dir", config.store.state_dir.display().to_string()),
            ("store.url", store(&config.store.kind)),
            ("quota.drain_streams", config.quota.drain_streams.to_string()),
            ("quota.settle_queue", config.quota.settle_queue.to_string()),
            ("notify", notify(&config.notify)),
            ("limits.in_flight", config.limits.in_flight.to_string()),
            ("limits.memory", format!("{:?}", config.limits.memory)),
        ])
    }
}

/// What a shared store is told, compared and never shown: a digest stands for the password.
fn store(kind: &StoreKind) -> String {
    match kind {
        StoreKind::Embedded => "embedded".to_owned(),
        StoreKind::Shared(store) => {
            let SharedStore { url, user, password, ca_file, prefix, timeout, accept_loss } = store;
            let password = password.as_ref().map(|password| Sha256::digest(password.expose()));
            format!("{url} {user:?} {password:?} {ca_file:?} {prefix} {timeout:?} {accept_loss}")
        }
    }
}

/// Everything of `[notify]` but its secrets.
fn notify(notify: &NotifyConfig) -> String {
    let mail = notify.mail.as_ref().map(|mail| (&mail.host, mail.port, mail.tls, &mail.from, &mail.to));
    let webhook = notify.webhook.as_ref().map(|webhook| &webhook.url);
    format!("{:?} {mail:?} {webhook:?}", notify.check_every)
}

impl Reloader {
    pub(super) fn new(
        loader: Loader,
        shared: Arc<ArcSwap<Shared>>,
        certificates: Option<Arc<Certificates>>,
        loaded: &Loaded,
        memory: &Memory,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let (fixed, memory) = (Fixed::of(loaded), memory.limit());
        Arc::new(Self { loader, shared, certificates, fixed, memory, metrics, turn: Mutex::default() })
    }

    /// Reloads. Answers what the operator should know.
    ///
    /// # Errors
    /// What is wrong with the new configuration; the old one stays in force as a whole.
    pub fn reload(&self) -> Result<Vec<String>, String> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = self.take_over();
        drop(turn);
        match &outcome {
            Ok(notes) => {
                self.metrics.reloads.inc();
                tracing::info!(notes = ?notes, "the configuration was read again");
            }
            Err(error) => {
                self.metrics.reloads_failed.inc();
                tracing::error!(error, "the new configuration is not taken over; the old one stays");
            }
        }
        outcome
    }

    fn take_over(&self) -> Result<Vec<String>, String> {
        let loaded = (self.loader)()?;
        let shared = settings::shared(&loaded, self.memory)?;
        if let Some(certificates) = &self.certificates {
            certificates.reload()?;
        }
        self.shared.store(Arc::new(shared));
        let mut notes: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        let now = Fixed::of(&loaded);
        let changed = self.fixed.0.iter().zip(&now.0).filter(|(old, new)| old != new);
        notes.extend(changed.map(|((key, _), _)| format!("{key} changed: it takes effect at the next start")));
        Ok(notes)
    }

    /// The same as the admin API wants it.
    pub(super) fn for_admin(self: &Arc<Self>) -> Reload {
        let reloader = Arc::clone(self);
        Arc::new(move || {
            let outcome = reloader.reload().map(|notes| Reloaded { notes });
            Box::pin(std::future::ready(outcome))
        })
    }
}
