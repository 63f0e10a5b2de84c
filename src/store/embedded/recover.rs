//! The operator's way out of a ledger that cannot be trusted: everything that is left counts as used.

use crate::clock::Clock;

use super::{OpenError, Settings};

/// What a recovery did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recovery {
    /// One line each.
    pub done: Vec<String>,
}

/// Placeholder until written.
///
/// # Errors
/// Always.
pub fn recover(settings: &Settings, _clock: &Clock) -> Result<Recovery, OpenError> {
    Err(OpenError::NotInitialised { dir: settings.dir.clone() })
}
