//! From a credential to the caller.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::Value;

use crate::clock::{Clock, Stopwatch};
use crate::ledger::{AccountId, Key, KeyId, Operation, Outcome};
use crate::store::{Answer, Caller, KeyDigest, KeyStore, StoreError, StoreErrorKind};

use super::books::unreadable;
use super::keys::hex;
use super::reading::key_state;
use super::{Redis, reply};

/// How long a look-up is believed. Only routes that hold nothing depend on it: a reservation reads the key's state itself.
const FRESH: Duration = Duration::from_secs(5);
/// How long it is used while the store cannot be asked (FAULTS F-AUT-3).
const STALE: Duration = Duration::from_secs(60);
/// What part of a call's time a look-up may take that can be done without, so that a store that falls silent delays a refusal once.
const PART: u32 = 5;
/// Look-ups that are kept; beyond that all are forgotten and made anew.
const KEPT: usize = 100_000;

/// Look-ups that were answered lately.
#[derive(Default)]
pub(super) struct Callers(Mutex<HashMap<[u8; 32], Known>>);

impl std::fmt::Debug for Callers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Callers")
    }
}

#[derive(Clone)]
struct Known {
    caller: Caller,
    since: Stopwatch,
}

impl Callers {
    fn get(&self, digest: &KeyDigest) -> Option<Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&digest.0).cloned()
    }

    fn put(&self, digest: &KeyDigest, caller: &Caller) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(digest.0, Known { caller: caller.clone(), since: Clock::stopwatch() });
    }

    fn forget(&self, digest: &KeyDigest) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&digest.0);
    }

    /// Forgets a key by whatever secret it was known.
    fn forget_key(&self, account: &AccountId, id: &KeyId) {
        let is = |known: &Known| known.caller.account == *account && known.caller.key.id == *id;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, known| !is(known));
    }
}

impl Redis {
    async fn look_up(&self, digest: &KeyDigest) -> Result<Option<Caller>, StoreError> {
        let (key, mut get) = (self.keys.digest(digest), redis::cmd("GET"));
        get.arg(&key);
        let owner = self.ask(&key, &get, false).await?;
        let Value::BulkString(_) = owner else { return Ok(None) };
        let Some((account, id)) = reply::text(&owner).map_err(unreadable)?.split_once('\n') else {
            return Err(corrupt("a digest names no key"));
        };
        let account = AccountId::from(account);
        let (place, mut fields) = (self.place(&account), redis::cmd("HMGET"));
        fields.arg(&place.keys.hash).arg("site");
        fields.arg(format!("k:{id}")).arg(format!("b:{id}")).arg(format!("d:{id}"));
        let [site, state, body, current] =
            reply::parts(self.ask(&place.keys.hash, &fields, false).await?).map_err(unreadable)?;
        // A digest is written before its key, and goes after the key has another one.
        if reply::text(&current).ok() != Some(hex(digest).as_str()) {
            return Ok(None);
        }
        let state = reply::text(&state).and_then(key_state).map_err(unreadable)?;
        let body = reply::text(&body).map_err(unreadable)?;
        let key = Key { state, ..serde_json::from_str(body).map_err(|_| corrupt("a key cannot be read"))? };
        let site = reply::text(&site).map_err(unreadable)?.into();
        Ok(Some(Caller { account, site, key: Arc::new(key) }))
    }

    /// Who cannot be found is unknown only where there is a ledger: a store that was emptied knows nobody.
    pub(super) async fn is_there(&self) -> Result<(), StoreError> {
        let (key, mut get) = (self.keys.meta(), redis::cmd("HGET"));
        get.arg(&key).arg("ledger");
        if self.ask(&key, &get, false).await? == Value::Nil {
            let detail = "the shared store has lost its ledger".to_owned();
            return Err(StoreError { kind: StoreErrorKind::Unavailable, detail });
        }
        Ok(())
    }

    async fn claim_digest(&self, account: &AccountId, id: &str, digest: &KeyDigest) -> Result<(), StoreError> {
        let owner = format!("{account}\n{id}");
        let (key, mut claim) = (self.keys.digest(digest), redis::cmd("SET"));
        claim.arg(&key).arg(&owner).arg("NX").arg("GET");
        let before = self.ask(&key, &claim, true).await?;
        match reply::text(&before) {
            Ok(known) if known != owner => Err(corrupt("another key has this digest")),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

fn corrupt(what: &str) -> StoreError {
    StoreError { kind: StoreErrorKind::Corrupt, detail: what.to_owned() }
}

impl KeyStore for Redis {
    fn caller<'a>(&'a self, digest: &'a KeyDigest) -> Answer<'a, Option<Caller>> {
        let known = self.callers.get(digest);
        if let Some(known) = known.as_ref().filter(|known| known.since.elapsed() < FRESH) {
            return Box::pin(std::future::ready(Ok(Some(known.caller.clone()))));
        }
        Box::pin(async move {
            let stale = known.filter(|known| known.since.elapsed() < STALE);
            let looked_up = match &stale {
                None => self.look_up(digest).await,
                Some(_) => tokio::time::timeout(self.settings.timeout / PART, self.look_up(digest))
                    .await
                    .unwrap_or_else(|_| {
                        Err(StoreError {
                            kind: StoreErrorKind::TimedOut,
                            detail: "the look-up of a key took too long".to_owned(),
                        })
                    }),
            };
            match looked_up {
                Ok(Some(caller)) => {
                    self.callers.put(digest, &caller);
                    Ok(Some(caller))
                }
                Ok(None) => {
                    self.is_there().await?;
                    self.callers.forget(digest);
                    Ok(None)
                }
                Err(error) => match (error.kind, stale) {
                    (StoreErrorKind::Unavailable | StoreErrorKind::TimedOut, Some(known)) => Ok(Some(known.caller)),
                    _ => Err(error),
                },
            }
        })
    }

    fn add_key<'a>(&'a self, account: &'a AccountId, key: Key, digest: KeyDigest) -> Answer<'a, ()> {
        Box::pin(async move {
            let id = key.id.clone();
            self.claim_digest(account, id.as_str(), &digest).await?;
            let (place, mut field) = (self.place(account), redis::cmd("HGET"));
            field.arg(&place.keys.hash).arg(format!("d:{id}"));
            let before = self.ask(&place.keys.hash, &field, false).await?;
            let text = hex(&digest);
            let outcome = self.change(account, &Operation::PutKey(key), Some(&text)).await?;
            if !matches!(outcome, Outcome::Done(_)) {
                return Err(corrupt(&format!("the key was not added: {outcome:?}")));
            }
            if let Some(before) = reply::text(&before).ok().filter(|before| *before != text) {
                let (key, mut remove) = (self.keys.digest_of(before), redis::cmd("DEL"));
                remove.arg(&key);
                self.ask(&key, &remove, true).await?;
            }
            self.callers.forget_key(account, &id);
            Ok(())
        })
    }
}
