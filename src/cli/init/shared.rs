//! A ledger in a store that replicas share. It counts as made only when it is complete.

use super::plan::Planned;
use super::{Place, Wanted, Written, furnish};
use crate::cli::Failure;
use crate::clock::Clock;
use crate::store::embedded;
use crate::store::redis::{self, LedgerState, Redis, Settings};

/// Makes it. Nothing is written, here or there, before it is known that there is none.
pub(super) async fn make(
    place: &Place,
    settings: &Settings,
    wanted: &Wanted,
    grants: &[Planned],
    clock: Clock,
) -> Result<Written, Failure> {
    let refused = |error: &dyn std::fmt::Display| Failure::Refused(error.to_string());
    if let Some(file) = embedded::ledger_in(&place.state_dir) {
        return Err(Failure::Refused(format!(
            "{} is a ledger of the embedded store, and store.url names a shared one. Move the file away, and state its figures with \
             --balance.",
            file.display()
        )));
    }
    make_room(settings, wanted.discard_incomplete).await?;
    // The pepper first: a ledger whose pepper was never written would be of no use.
    let pepper = place.pepper()?;
    let settings = Settings { pepper_mark: Some(pepper.mark()), ..settings.clone() };
    let store = Redis::create(settings, clock).await.map_err(|error| refused(&error))?;
    let steps = async {
        let token_file = place.token()?;
        let furnished = furnish::furnish(&store, &pepper, &place.site.name, grants, wanted.key.clone()).await?;
        store.complete().await.map_err(|error| refused(&error))?;
        Ok((furnished, token_file))
    };
    let made = steps.await.map_err(|failure: Failure| {
        failure.and_then_do("The ledger is not complete: run `gratis init` again with --discard-incomplete.")
    });
    let closed = store.close().await;
    let made = made?;
    closed.map_err(|error| refused(&error))?;
    Ok(made)
}

/// Sees to it that there is nothing under the prefix.
async fn make_room(settings: &Settings, discard: bool) -> Result<(), Failure> {
    let status = redis::status(settings).await.map_err(|error| Failure::Unreachable(error.to_string()))?;
    let place = format!("{} under the prefix `{}`", settings.url, settings.prefix);
    match status.ledger {
        LedgerState::Absent => Ok(()),
        LedgerState::Ready => Err(Failure::Refused(format!(
            "there is a ledger at {place}; it was left as it is. Another one beside it needs another store.prefix."
        ))),
        LedgerState::Incomplete if discard => {
            redis::erase(settings).await.map(|_| ()).map_err(|error| Failure::Refused(error.to_string()))
        }
        LedgerState::Incomplete => Err(Failure::Refused(format!(
            "the ledger at {place} was begun and never completed: `gratis init` died, or one is running now. If none is running, \
             remove what it left and begin anew with --discard-incomplete; nothing was ever counted there."
        ))),
    }
}
