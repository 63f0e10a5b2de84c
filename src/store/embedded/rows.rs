//! Rows as values: how they are written down, and the checksum that each carries.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::sum::Sum;
use crate::ledger::{
    AccountState, Amount, Balance, Billed, BillingMode, Closure, EntryKind, Grant, GrantId, Hold, HoldId, HoldState,
    Key, Line, Pool, PoolId, Switch,
};
use crate::store::KeyDigest;

/// A change that has a row of its own on its way to the disk. What calls change goes into the journal instead.
#[derive(Debug)]
pub(super) enum Write {
    /// A sheaf of old finals is no longer kept.
    Prune { seq: i64 },
    /// An account was made or changed.
    Account(Box<AccountRow>),
    /// A grant was made.
    Grant { account: i64, grant: Box<Grant> },
    /// A pool was made or changed.
    Pool { account: i64, row: Box<PoolRow> },
    /// A key was added or changed.
    Key { account: i64, key: Box<Key>, digest: Option<KeyDigest> },
    /// A fact about the file itself.
    Meta { name: &'static str, value: String },
}

/// An account without its keys, pools and holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct AccountRow {
    pub(super) number: i64,
    pub(super) id: String,
    pub(super) site: String,
    pub(super) state: AccountState,
    pub(super) never_pay: bool,
}

/// A pool without its grants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PoolRow {
    pub(super) id: PoolId,
    pub(super) switch: Switch,
    pub(super) closed: Option<Closure>,
    pub(super) overran: bool,
    pub(super) billed: Billed,
}

impl PoolRow {
    pub(super) fn of(id: &PoolId, pool: &Pool) -> Self {
        Self { id: id.clone(), switch: pool.switch, closed: pool.closed, overran: pool.overran, billed: pool.billed }
    }

    pub(super) fn sum(&self, account: i64) -> i64 {
        Sum::new(b'p')
            .int(account)
            .text(self.id.as_str())
            .text(&word(&self.switch))
            .text(&self.closed.as_ref().map(word).unwrap_or_default())
            .int(i64::from(self.overran))
            .amount(self.billed.input)
            .amount(self.billed.output)
            .end()
    }
}

impl AccountRow {
    pub(super) fn sum(&self) -> i64 {
        Sum::new(b'a')
            .int(self.number)
            .text(&self.id)
            .text(&self.site)
            .text(&word(&self.state))
            .int(i64::from(self.never_pay))
            .end()
    }
}

/// A balance with its watermark. `held` is not written: its record is the open holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BalanceRow {
    pub(super) granted: Amount,
    pub(super) spent: Amount,
    pub(super) presumed: Amount,
    pub(super) watermark: Amount,
}

impl BalanceRow {
    pub(super) fn of(balance: &Balance, watermark: Amount) -> Self {
        Self { granted: balance.granted, spent: balance.spent, presumed: balance.presumed, watermark }
    }

    pub(super) fn sum(&self, account: i64, grant: GrantId) -> i64 {
        Sum::new(b'b')
            .int(account)
            .int(i64::from(grant.0))
            .amount(self.granted)
            .amount(self.spent)
            .amount(self.presumed)
            .amount(self.watermark)
            .end()
    }
}

pub(in crate::store) fn meta_sum(name: &str, value: &str) -> i64 {
    Sum::new(b'm').text(name).text(value).end()
}

pub(in crate::store) fn pulse_sum(commits: u64, live: u64) -> i64 {
    Sum::new(b'u').amount(commits).amount(live).end()
}

pub(super) fn body_sum(table: u8, account: i64, id: &str, body: &str, digest: Option<&KeyDigest>) -> i64 {
    let sum = Sum::new(table).int(account).text(id).text(body);
    match digest {
        Some(digest) => sum.bytes(&digest.0).end(),
        None => sum.end(),
    }
}

pub(super) fn hold_sum(account: i64, id: HoldId, hold: &Hold, lines: &str) -> i64 {
    Sum::new(b'h')
        .int(account)
        .bytes(&id.0.to_be_bytes())
        .text(hold.pool.as_str())
        .text(hold.model.as_str())
        .text(hold.key.as_str())
        .text(lines)
        .amount(hold.amount)
        .text(mode_word(hold.mode))
        .text(state_word(hold.state))
        .amount(hold.deadline.0)
        .amount(hold.since.0)
        .end()
}

/// Amounts and instants as SQLite's integers.
pub(in crate::store) fn int(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

/// A value of an enum as the word or the object that serde makes of it.
pub(super) fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

/// The inverse of [`word`].
pub(super) fn parse<T: DeserializeOwned>(text: &str) -> Option<T> {
    if text.starts_with('{') {
        return serde_json::from_str(text).ok();
    }
    serde_json::from_value(serde_json::Value::String(text.to_owned())).ok()
}

/// `grant:amount` for each line, with blanks between.
pub(super) fn lines_text(lines: &[Line], text: &mut String) {
    use std::fmt::Write as _;
    text.clear();
    for line in lines {
        let blank = if text.is_empty() { "" } else { " " };
        // Writing to a String cannot fail.
        let _ = write!(text, "{blank}{}:{}", line.grant.0, line.amount);
    }
}

/// The inverse of [`lines_text`].
pub(super) fn parse_lines(text: &str) -> Option<Vec<Line>> {
    text.split(' ')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (grant, amount) = part.split_once(':')?;
            Some(Line { grant: GrantId(grant.parse().ok()?), amount: amount.parse().ok()? })
        })
        .collect()
}

/// The words of the enums that every request writes, without serde's detour.
pub(super) fn state_word(state: HoldState) -> &'static str {
    match state {
        HoldState::Open => "open",
        HoldState::Settled => "settled",
        HoldState::Released => "released",
        HoldState::Presumed => "presumed",
        HoldState::Corrected => "corrected",
    }
}

pub(super) fn mode_word(mode: BillingMode) -> &'static str {
    match mode {
        BillingMode::FreeQuotaOnly => "free_quota_only",
        BillingMode::PayAsYouGo => "pay_as_you_go",
    }
}

pub(in crate::store) fn kind_word(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Grant => "grant",
        EntryKind::Reserve => "reserve",
        EntryKind::Settle => "settle",
        EntryKind::Release => "release",
        EntryKind::Presume => "presume",
        EntryKind::Expire => "expire",
        EntryKind::Correct => "correct",
        EntryKind::Unknown => "unknown",
        EntryKind::Sync => "sync",
        EntryKind::Recover => "recover",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back() {
        use crate::ledger::Timestamp;
        for state in
            [HoldState::Open, HoldState::Settled, HoldState::Released, HoldState::Presumed, HoldState::Corrected]
        {
            assert_eq!(parse(state_word(state)), Some(state));
        }
        for mode in [BillingMode::FreeQuotaOnly, BillingMode::PayAsYouGo] {
            assert_eq!(parse(mode_word(mode)), Some(mode));
        }
        let kinds = "grant reserve settle release presume expire correct unknown sync recover";
        for text in kinds.split(' ') {
            let kind: EntryKind = parse(text).unwrap();
            assert_eq!(kind_word(kind), text);
        }
        let overdue = AccountState::Overdue { grace_until: Timestamp(7) };
        assert_eq!(parse(&word(&overdue)), Some(overdue));
        assert_eq!(parse::<HoldState>("opem"), None);
    }

    #[test]
    fn lines_are_read_back() {
        let lines = vec![Line { grant: GrantId(1), amount: 5 }, Line { grant: GrantId(12), amount: 0 }];
        let mut text = String::new();
        lines_text(&lines, &mut text);
        assert_eq!(text, "1:5 12:0");
        assert_eq!(parse_lines(&text), Some(lines));
        assert_eq!(parse_lines(""), Some(vec![]));
        assert_eq!(parse_lines("1:-5"), None);
        assert_eq!(parse_lines("1"), None);
    }

    #[test]
    fn a_changed_figure_changes_the_sum() {
        let row = BalanceRow { granted: 100, spent: 3, presumed: 0, watermark: 9 };
        let sum = row.sum(1, GrantId(1));
        for bit in 0..40 {
            assert_ne!(BalanceRow { spent: 3 ^ (1 << bit), ..row }.sum(1, GrantId(1)), sum);
            assert_ne!(BalanceRow { watermark: 9 ^ (1 << bit), ..row }.sum(1, GrantId(1)), sum);
        }
    }
}
