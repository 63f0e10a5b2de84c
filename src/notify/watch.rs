//! The watch: looks at the books, claims what was passed, tells, tries again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::channel::{Channel, Delivery};
use super::crossing::{Choice, crossings};
use super::notice::{Mark, Notice};
use super::{Known, Settings};
use crate::catalogue::Notices;
use crate::clock::Clock;
use crate::ledger::{AccountId, Book, PoolId, Timestamp};
use crate::store::{NoteStore, Shelf, Store, StoreError, StoreErrorKind};

/// After how long a claim that nobody reported back on is left to the next attempt, in ms; the last one is repeated.
const PAUSES_MS: [u64; 6] = [30_000, 60_000, 300_000, 1_800_000, 7_200_000, 21_600_000];
/// The last attempt.
const ATTEMPTS: u32 = 12;
/// The most claims of an account that are looked at.
const CLAIMS_MAX: usize = 100_000;

/// What was noted of a crossing on one channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Claim {
    /// Of which attempt, from 1 on.
    attempt: u32,
    /// When it was claimed.
    at: Timestamp,
    /// Whether it was told, or need not be.
    done: bool,
}

impl Claim {
    /// From when on another attempt may be made.
    fn next_from(self) -> Timestamp {
        let place = usize::try_from(self.attempt).unwrap_or(usize::MAX).saturating_sub(1).min(PAUSES_MS.len() - 1);
        self.at.plus(PAUSES_MS.get(place).copied().unwrap_or(0))
    }
}

/// Tells what has to be told.
pub struct Notifier {
    store: Arc<dyn Store>,
    notes: Arc<dyn NoteStore>,
    known: Arc<dyn Fn() -> Known + Send + Sync>,
    channels: Vec<Channel>,
    clock: Clock,
    check_every: Duration,
}

impl Notifier {
    /// A watch with these channels.
    ///
    /// # Errors
    /// A setting that cannot be used; the text says which.
    pub fn new(
        settings: &Settings,
        store: Arc<dyn Store>,
        notes: Arc<dyn NoteStore>,
        known: Arc<dyn Fn() -> Known + Send + Sync>,
        clock: Clock,
    ) -> Result<Self, String> {
        let channels = Channel::all(settings)?;
        Ok(Self { store, notes, known, channels, clock, check_every: settings.check_every })
    }

    /// The channels that are set up.
    #[must_use]
    pub fn channels(&self) -> &[Channel] {
        &self.channels
    }

    /// Watches until it is told to stop.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        if self.channels.is_empty() {
            return;
        }
        let mut healthy = true;
        loop {
            match self.look().await {
                Ok(()) => healthy = true,
                // Without a ledger there is nothing to tell; that is said elsewhere.
                Err(error) if error.kind == StoreErrorKind::NotInitialised => {}
                Err(error) => {
                    if healthy {
                        tracing::error!(error = %error, "the books could not be looked at for notices");
                    }
                    healthy = false;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(self.check_every) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Looks once at every account.
    ///
    /// # Errors
    /// When the store or the notes do not answer; what was passed is told later.
    pub async fn look(&self) -> Result<(), StoreError> {
        for account in self.store.accounts().await? {
            self.look_at(&account).await?;
        }
        Ok(())
    }

    async fn look_at(&self, account: &AccountId) -> Result<(), StoreError> {
        let book = self.store.book(account).await?;
        let known = (self.known)();
        let choices = self.choices(account).await?;
        let wanted = |pool: &PoolId| wanted(&book, &known, &choices, pool);
        let passed = crossings(&book, &known, self.store.now(), wanted);
        let prefix = format!("{account}/");
        let claims: BTreeMap<String, Claim> = self
            .notes
            .list(Shelf::Crossings, &prefix, None, CLAIMS_MAX)
            .await?
            .into_iter()
            .filter_map(|(name, value)| Some((name, serde_json::from_str(&value).ok()?)))
            .collect();
        self.forget(&passed, &claims).await?;
        // The gravest mark of a kind is told; those it includes are noted as told.
        let mut told: BTreeSet<(u32, bool)> = BTreeSet::new();
        for notice in &passed {
            let first = told.insert((notice.grant.0, matches!(notice.mark, Mark::Ending(_))));
            for channel in &self.channels {
                self.tell(notice, channel, &claims, first).await?;
            }
        }
        Ok(())
    }

    /// What an account chose for itself and for its pools.
    async fn choices(&self, account: &AccountId) -> Result<BTreeMap<String, Choice>, StoreError> {
        let own = self.notes.get(Shelf::Notices, account.as_str()).await?;
        let under = self.notes.list(Shelf::Notices, &format!("{account}/"), None, CLAIMS_MAX).await?;
        let all = own.map(|own| (account.to_string(), own)).into_iter().chain(under);
        Ok(all.filter_map(|(name, value)| Some((name, serde_json::from_str(&value).ok()?))).collect())
    }

    /// A mark that is not passed any more, because something was granted or given back, can be passed again.
    async fn forget(&self, passed: &[Notice], claims: &BTreeMap<String, Claim>) -> Result<(), StoreError> {
        let names: BTreeSet<String> = passed.iter().map(Notice::name).collect();
        for claim in claims.keys().filter(|claim| claim.rsplit_once('@').is_none_or(|(name, _)| !names.contains(name)))
        {
            self.notes.remove(Shelf::Crossings, claim).await?;
        }
        Ok(())
    }

    async fn tell(
        &self,
        notice: &Notice,
        channel: &Channel,
        claims: &BTreeMap<String, Claim>,
        first: bool,
    ) -> Result<(), StoreError> {
        let name = format!("{}@{}", notice.name(), channel.name());
        let mine =
            claims.range(name.clone()..).take_while(|(claim, _)| claim.starts_with(&name)).map(|(_, claim)| *claim);
        let last = mine.max_by_key(|claim| claim.attempt);
        let now = self.clock.now();
        let attempt = match last {
            Some(claim) if claim.done || claim.attempt >= ATTEMPTS || now < claim.next_from() => return Ok(()),
            Some(claim) => claim.attempt + 1,
            None => 1,
        };
        let claim = Claim { attempt, at: now, done: !first };
        let place = format!("{name}#{attempt:02}");
        let text = serde_json::to_string(&claim).unwrap_or_default();
        if self.notes.put_if_absent(Shelf::Crossings, &place, text).await?.is_some() || claim.done {
            return Ok(());
        }
        let id = id_of(&name, claims, now);
        match channel.deliver(&Delivery { notice, id: &id, at: now }).await {
            Ok(()) => {
                tracing::info!(channel = channel.name(), notice = notice.subject(), "a notice was sent");
                let text = serde_json::to_string(&Claim { done: true, ..claim }).unwrap_or_default();
                self.notes.put(Shelf::Crossings, vec![(place, text)]).await?;
            }
            Err(error) => {
                tracing::warn!(
                    channel = channel.name(),
                    notice = notice.subject(),
                    attempt,
                    error,
                    "a notice was not taken"
                );
            }
        }
        Ok(())
    }

    /// Tries every channel; answers for each its name, its place, and what became of it.
    pub async fn test(&self) -> Vec<(&'static str, String, Result<(), String>)> {
        let now = self.clock.now();
        let notice = Notice::test(now);
        let id = format!("msg_test_{}", now.0);
        let mut results = Vec::new();
        for channel in &self.channels {
            let result = channel.deliver(&Delivery { notice: &notice, id: &id, at: now }).await;
            results.push((channel.name(), channel.place(), result));
        }
        results
    }
}

/// The id of a crossing: that of its first attempt, so that a receiver knows a repeat.
fn id_of(name: &str, claims: &BTreeMap<String, Claim>, now: Timestamp) -> String {
    let first = claims.get(&format!("{name}#01")).map_or(now, |claim| claim.at);
    let hash = Sha256::digest(format!("{name} {}", first.0));
    let digits: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("msg_{digits}")
}

fn wanted(book: &Book, known: &Known, choices: &BTreeMap<String, Choice>, pool: &PoolId) -> Notices {
    let site = known.sites.iter().find(|site| site.name == book.site);
    let mut wanted = site.map(|site| site.notices.clone()).unwrap_or_default();
    for name in [book.account.to_string(), format!("{}/{pool}", book.account)] {
        if let Some(choice) = choices.get(&name) {
            wanted = choice.over(&wanted);
        }
    }
    wanted
}
