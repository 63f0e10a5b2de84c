//! Everything that calls share, behind one lock, so that the ledger is consistent at every instant.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::behaviour::Rules;
use super::ledger::Ledger;
use super::recorder::Recorder;
use super::tasks::Things;
use super::{Settings, SimModel};

/// What changes while the simulator runs.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) ledger: Ledger,
    pub(super) rules: Rules,
    pub(super) recorder: Recorder,
    pub(super) things: Things,
    /// The number of the last chat call, counted from 1.
    pub(super) calls: u64,
}

/// The simulator's settings and shared state.
#[derive(Debug)]
pub(super) struct State {
    pub(super) settings: Settings,
    shared: Mutex<Shared>,
}

impl State {
    pub(super) fn new(settings: Settings) -> Self {
        let shared = Mutex::new(Self::fresh(&settings));
        Self { settings, shared }
    }

    fn fresh(settings: &Settings) -> Shared {
        Shared {
            ledger: Ledger::default(),
            rules: Rules::default(),
            recorder: Recorder::new(settings.keep_requests),
            things: Things::default(),
            calls: 0,
        }
    }

    /// The shared part. A poisoned lock is taken all the same: every change is whole before anything can panic.
    pub(super) fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets every charge, rule and request.
    pub(super) fn reset(&self) {
        *self.shared() = Self::fresh(&self.settings);
    }

    /// The model of that code, and whether its limits are enforced with an error (a listed model) or silently.
    pub(super) fn model(&self, code: &str) -> Option<(SimModel, bool)> {
        if self.settings.models.is_empty() {
            return Some((SimModel::new(code), false));
        }
        self.settings.models.iter().find(|model| model.code == code).map(|model| (model.clone(), true))
    }
}
