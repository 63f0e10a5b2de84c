//! Where the configuration says that a ledger goes.
use super::Place;
use crate::cli::{Failure, Out};
use crate::ledger::Timestamp;
use crate::store::embedded::Embedded;
use std::path::Path;
pub(super) fn of(_: Option<&Path>, _: &mut Out<'_>) -> Result<Place, Failure> {
    Err(Failure::Misused)
}
pub(super) fn create(_: &Path) -> Result<(Embedded, Timestamp), Failure> {
    Err(Failure::Misused)
}
pub(super) async fn close(_: Embedded) -> Result<(), Failure> {
    Err(Failure::Misused)
}
