//! What a journal keeps beside its entries: settlements that wait, configurations, what is remembered of the store.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry as Place;

use super::queue::Write;
use super::{Journal, Kept, Parked, Remembered, load};
use crate::ledger::{AccountId, HoldId, Origin, Resolution};
use crate::store::StoreError;
use crate::store::embedded::queue::unavailable;

impl Journal {
    /// Keeps a settlement that the store has not acknowledged; on return it survives the death of this process. One for the same
    /// hold that waits already stays as it is.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn park(
        &self,
        account: &AccountId,
        hold: HoldId,
        resolution: Resolution,
        origin: Option<Origin>,
    ) -> Result<(), StoreError> {
        let (account, since) = (account.clone(), self.clock.now());
        self.written(|books, batch| {
            if let Place::Vacant(vacant) = books.parked.entry(hold) {
                let parked = Parked { account, hold, resolution, origin, since, needs_operator: false };
                batch.writes.push(Write::Park(parked.clone()));
                vacant.insert(parked);
            }
        })
        .await
    }

    /// The store has acknowledged it. Gone with a later group: after a kill it may be replayed once more, which changes nothing.
    ///
    /// # Errors
    /// When nothing is written any more.
    pub fn unpark(&self, hold: HoldId) -> Result<(), StoreError> {
        self.shared
            .change(|books, batch| {
                if books.parked.remove(&hold).is_some() {
                    batch.writes.push(Write::Unpark(hold));
                }
                None
            })
            .map(drop)
    }

    /// The settlements that wait, oldest first.
    #[must_use]
    pub fn parked(&self) -> Vec<Parked> {
        let now = self.clock.now();
        let mut parked: Vec<Parked> = self.shared.lock().books.parked.values().cloned().collect();
        parked.sort_by_key(|parked| (parked.since, parked.hold));
        parked.into_iter().map(|parked| parked.judged(now)).collect()
    }

    /// Keeps an account as it is configured at a revision. `false` = this revision or a newer one is kept already. Whoever changed
    /// the account himself then calls [`sync`](Self::sync).
    ///
    /// # Errors
    /// When nothing is written any more.
    pub fn keep(&self, account: &AccountId, revision: u64, kept: &Kept) -> Result<bool, StoreError> {
        let body = serde_json::to_string(kept).map_err(|error| unavailable(&error.to_string()))?;
        let mut newer = false;
        self.shared.change(|books, batch| {
            let known = books.known(account);
            newer = known.revision.is_none_or(|known| known < revision);
            if newer {
                known.revision = Some(revision);
                batch.writes.push(Write::Kept { account: account.clone(), revision, body });
            }
            None
        })?;
        Ok(newer)
    }

    /// The revision at which an account is kept.
    #[must_use]
    pub fn kept_revision(&self, account: &AccountId) -> Option<u64> {
        self.shared.lock().books.accounts.get(account)?.revision
    }

    /// What is remembered of the store.
    #[must_use]
    pub fn remembered(&self) -> Remembered {
        self.shared.lock().books.remembered.clone()
    }

    /// Remembers something else of the store; durable on return. In a new epoch the numbers of [`seen`](Self::seen) begin anew.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn remember(&self, remembered: Remembered) -> Result<(), StoreError> {
        let value = serde_json::to_string(&remembered).map_err(|error| unavailable(&error.to_string()))?;
        self.written(|books, batch| {
            if remembered.epoch > books.remembered.epoch {
                books.forget_seen(batch);
            }
            books.remembered = remembered;
            batch.full = true;
            batch.writes.push(Write::Fact { name: load::REMEMBERED, value });
        })
        .await
    }

    /// The highest sequence number of this replica that the store acknowledged, for each account.
    #[must_use]
    pub fn seen(&self) -> BTreeMap<AccountId, u64> {
        self.shared.lock().books.seen()
    }

    /// Notes such a number; a lower one is ignored. Written with the next group.
    ///
    /// # Errors
    /// When nothing is written any more.
    pub fn note_seen(&self, account: &AccountId, seq: u64) -> Result<(), StoreError> {
        self.shared
            .change(|books, batch| {
                books.note_seen(account, seq, batch);
                None
            })
            .map(drop)
    }

    /// Notes the replicas that are known to the store, so that a rebuild can say whose file is missing. None is ever forgotten.
    ///
    /// # Errors
    /// When nothing is written any more.
    pub fn note_peers(&self, replicas: &[String]) -> Result<(), StoreError> {
        self.shared
            .change(|books, batch| {
                let known = books.peers.len();
                books.peers.extend(replicas.iter().filter(|replica| **replica != self.replica).cloned());
                if books.peers.len() > known {
                    batch.writes.push(Write::Fact { name: load::PEERS, value: books.peers_text() });
                }
                None
            })
            .map(drop)
    }
}
