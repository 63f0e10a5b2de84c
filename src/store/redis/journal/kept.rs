//! What a journal keeps beside the figures: how accounts are configured, settlements that wait, what is remembered of the store.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ledger::{
    AccountId, AccountState, Book, Closure, Grant, HoldId, Key, KeyId, ModelCode, Origin, PoolId, Resolution, Switch,
    Timestamp, Usage,
};
use crate::store::KeyDigest;

/// An account as it is configured at a revision: everything of its book but the counters and holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Kept {
    /// The site whose rules apply.
    pub site: String,
    /// The account's state.
    pub state: AccountState,
    /// The account guard.
    pub never_pay: bool,
    /// Its keys.
    pub keys: Vec<KeptKey>,
    /// Its pools.
    pub pools: BTreeMap<PoolId, KeptPool>,
    /// Its grants, as they were made.
    pub grants: Vec<Grant>,
}

/// A key with the digest by which it is found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeptKey {
    /// The key.
    pub key: Key,
    /// Its digest, where it has one.
    #[serde(serialize_with = "write_digest", deserialize_with = "read_digest")]
    pub digest: Option<KeyDigest>,
}

/// A pool without its grants and figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeptPool {
    /// The switch.
    pub switch: Switch,
    /// Set when the provider refused the pool.
    pub closed: Option<Closure>,
    /// Set once a call used more than its hold.
    pub overran: bool,
}

impl Kept {
    /// What is to be kept of a book.
    #[must_use]
    pub fn of(book: &Book, digests: &BTreeMap<KeyId, KeyDigest>) -> Self {
        let pool =
            |pool: &crate::ledger::Pool| KeptPool { switch: pool.switch, closed: pool.closed, overran: pool.overran };
        let key = |key: &Key| KeptKey { key: key.clone(), digest: digests.get(&key.id).copied() };
        Self {
            site: book.site.clone(),
            state: book.state,
            never_pay: book.never_pay,
            keys: book.keys.values().map(key).collect(),
            pools: book.pools.iter().map(|(id, state)| (id.clone(), pool(state))).collect(),
            grants: book.pools.values().flat_map(|pool| pool.grants.iter().map(|fund| fund.grant.clone())).collect(),
        }
    }
}

fn write_digest<S: Serializer>(digest: &Option<KeyDigest>, serializer: S) -> Result<S::Ok, S::Error> {
    let text = digest.map(|KeyDigest(bytes)| hex(&bytes));
    text.serialize(serializer)
}

/// Bytes as hexadecimal digits.
fn hex(bytes: &[u8; 32]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn read_digest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<KeyDigest>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let mut bytes = [0_u8; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(serde::de::Error::custom("a digest is 64 hexadecimal digits"));
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digits = std::str::from_utf8(pair).map_err(serde::de::Error::custom)?;
        *byte = u8::from_str_radix(digits, 16).map_err(serde::de::Error::custom)?;
    }
    Ok(Some(KeyDigest(bytes)))
}

/// A settlement that the store has not acknowledged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parked {
    /// Whose hold.
    pub account: AccountId,
    /// The hold.
    pub hold: HoldId,
    /// What became of it.
    pub resolution: Resolution,
    /// Where its usage belongs if the store does not know the hold.
    pub origin: Option<Origin>,
    /// Since when it waits.
    pub since: Timestamp,
    /// It waits for more than seven days: the store may have forgotten that it was settled, so only the operator can say (F-SET-1).
    pub needs_operator: bool,
}

/// How long a parked settlement is replayed without asking, in ms: as long as the store recognises a repeat (LEDGER 2).
const REPLAYED_MS: u64 = 7 * 24 * 3_600_000;

impl Parked {
    pub(super) fn judged(mut self, now: Timestamp) -> Self {
        self.needs_operator = self.since.plus(REPLAYED_MS) < now;
        self
    }

    /// The row's text.
    pub(super) fn body(&self) -> serde_json::Result<String> {
        let (word, usage) = match self.resolution {
            Resolution::Settle(usage) => ("settle", Some(usage)),
            Resolution::Release => ("release", None),
            Resolution::Presume(usage) => ("presume", usage),
        };
        let origin = self.origin.clone().map(|origin| (origin.key, origin.model, origin.pool));
        let (account, since) = (self.account.clone(), self.since);
        serde_json::to_string(&ParkedBody { account, resolution: word.into(), usage, origin, since })
    }

    /// The inverse of [`body`](Self::body).
    pub(super) fn read(hold: HoldId, body: &str) -> Option<Self> {
        let ParkedBody { account, resolution, usage, origin, since } = serde_json::from_str(body).ok()?;
        let resolution = match (resolution.as_str(), usage) {
            ("settle", Some(usage)) => Resolution::Settle(usage),
            ("release", None) => Resolution::Release,
            ("presume", usage) => Resolution::Presume(usage),
            _ => return None,
        };
        let origin = origin.map(|(key, model, pool)| Origin { key, model, pool });
        Some(Self { account, hold, resolution, origin, since, needs_operator: false })
    }
}

#[derive(Serialize, Deserialize)]
struct ParkedBody {
    account: AccountId,
    resolution: String,
    usage: Option<Usage>,
    origin: Option<(KeyId, ModelCode, PoolId)>,
    since: Timestamp,
}

/// What a replica remembers of the shared store, so that it notices another one or an older one (LEDGER 4).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Remembered {
    /// The ledger's own id; `None` = none was seen yet.
    pub ledger: Option<String>,
    /// Its epoch.
    pub epoch: u64,
    /// The highest beat seen of each server's run id.
    pub runs: BTreeMap<String, u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parked_settlement_is_read_back() {
        let usage = Usage { input: 3, output: 4 };
        let origin = Origin { key: "k".into(), model: "m".into(), pool: "p".into() };
        let resolutions = [
            Resolution::Settle(usage),
            Resolution::Release,
            Resolution::Presume(None),
            Resolution::Presume(Some(usage)),
        ];
        for resolution in resolutions {
            for origin in [None, Some(origin.clone())] {
                let (account, since) = (AccountId::from("a"), Timestamp(9));
                let parked = Parked { account, hold: HoldId(7), resolution, origin, since, needs_operator: false };
                assert_eq!(Parked::read(HoldId(7), &parked.body().unwrap()), Some(parked));
            }
        }
        assert_eq!(Parked::read(HoldId(7), r#"{"account":"a","resolution":"settle","usage":null,"since":1}"#), None);
    }

    #[test]
    fn a_digest_is_read_back_and_a_broken_one_is_not() {
        let key = r#"{"id":"k","name":"","state":"active","models":[],"workspace":null,"last4":"","created":0}"#;
        let text = format!(r#"{{"key":{key},"digest":"{}"}}"#, "a7".repeat(32));
        let kept: KeptKey = serde_json::from_str(&text).unwrap();
        assert_eq!(kept.digest, Some(KeyDigest([0xa7; 32])));
        assert_eq!(serde_json::to_string(&kept).unwrap(), text);
        for wrong in ["", "a7", &"+7".repeat(32), &"zz".repeat(32)] {
            let text = format!(r#"{{"key":{key},"digest":"{wrong}"}}"#);
            assert!(serde_json::from_str::<KeptKey>(&text).is_err(), "{wrong}");
        }
    }
}
