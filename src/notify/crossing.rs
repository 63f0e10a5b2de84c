//! Which marks a book has passed. A pure function: what was told before is no business of it.

use serde::{Deserialize, Serialize};

use super::Known;
use super::notice::{Mark, Notice, shown};
use crate::catalogue::Notices;
use crate::ledger::{Book, Fund, PoolId, Timestamp};

const DAY_MS: u64 = 86_400_000;

/// What an account, or one of its pools, wants to be told; what it leaves open is as above it: pool, account, site.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// Whether it wants any.
    #[serde(default)]
    pub on: Option<bool>,
    /// At which shares that are left, in percent; 0 = used up.
    #[serde(default)]
    pub remaining_percent: Option<Vec<u8>>,
    /// How many days before the end.
    #[serde(default)]
    pub days_before_end: Option<Vec<u32>>,
}

impl Choice {
    /// What applies, with `above` where nothing is chosen.
    #[must_use]
    pub fn over(&self, above: &Notices) -> Notices {
        Notices {
            on: self.on.unwrap_or(above.on),
            remaining_percent: self.remaining_percent.clone().unwrap_or_else(|| above.remaining_percent.clone()),
            days_before_end: self.days_before_end.clone().unwrap_or_else(|| above.days_before_end.clone()),
        }
    }
}

/// The marks that each grant of the book has passed, the gravest of its kind first; `wanted` says what applies to a pool.
pub fn crossings(book: &Book, known: &Known, now: Timestamp, wanted: impl Fn(&PoolId) -> Notices) -> Vec<Notice> {
    let mut notices = Vec::new();
    for (id, pool) in &book.pools {
        let wanted = wanted(id);
        if !wanted.on {
            continue;
        }
        let alive = |fund: &&Fund| fund.grant.start <= now && fund.grant.end.is_none_or(|end| now < end);
        for fund in pool.grants.iter().filter(alive) {
            notices.extend(marks(fund, &wanted, now).into_iter().map(|mark| notice(book, known, fund, mark, now)));
        }
    }
    notices
}

fn marks(fund: &Fund, wanted: &Notices, now: Timestamp) -> Vec<Mark> {
    let left = fund.balance.unspent();
    let granted = i128::from(fund.balance.granted);
    let passed = |percent: &&u8| i128::from(left) * 100 <= granted * i128::from(**percent);
    let mut percent: Vec<u8> = wanted.remaining_percent.iter().filter(passed).copied().collect();
    percent.sort_unstable();
    let mut marks: Vec<Mark> =
        percent.into_iter().map(|percent| if percent == 0 { Mark::UsedUp } else { Mark::Remaining(percent) }).collect();
    if left > 0 {
        let near = |days: &&u32| fund.grant.end.is_some_and(|end| end.0 <= now.plus(u64::from(**days) * DAY_MS).0);
        let mut days: Vec<u32> = wanted.days_before_end.iter().filter(near).copied().collect();
        days.sort_unstable();
        marks.extend(days.into_iter().map(Mark::Ending));
    }
    marks
}

fn notice(book: &Book, known: &Known, fund: &Fund, mark: Mark, now: Timestamp) -> Notice {
    let pool = &fund.grant.pool;
    let drawn = known.catalogue.models().filter(|model| model.pool == *pool);
    let mut models: Vec<String> = drawn.map(|model| model.code.to_string()).collect();
    models.sort_unstable();
    Notice {
        mark,
        account: book.account.clone(),
        pool: pool.clone(),
        models,
        grant: fund.grant.id,
        unit: fund.grant.unit,
        granted: fund.balance.granted,
        left: fund.balance.unspent(),
        ends: fund.grant.end.map(shown),
        at: shown(now),
    }
}
