//! What calls change, packed: the body of a commit in the journal, of a page of entries, of a sheaf of finals.
//!
//! A body is one byte for its version and then records. A record is one byte for what it is and its fields: numbers as LEB128 (signed
//! ones in zigzag), a hold's id as 16 bytes (big-endian), a name as its place among the first names of the body, or as itself. An
//! empty body has no bytes. Nothing in a body vouches for it: whoever keeps one keeps a checksum beside it.

use super::rows::BalanceRow;
use crate::ledger::{BillingMode, Entry, EntryKind, GrantId, Hold, HoldId, HoldState, Timestamp};

/// The first byte of a body.
pub(super) const VERSION: u8 = 1;

/// So many names of a body have a place; those that come later are written each time.
pub(super) const NAMES: usize = 32;

pub(super) const HOLD: u8 = 1;
pub(super) const ENDED: u8 = 2;
pub(super) const FORGOTTEN: u8 = 3;
pub(super) const ENTRY: u8 = 4;
pub(super) const BALANCE: u8 = 5;

/// In the order of their codes.
pub(super) const STATES: [HoldState; 5] =
    [HoldState::Open, HoldState::Settled, HoldState::Released, HoldState::Presumed, HoldState::Corrected];
pub(super) const MODES: [BillingMode; 2] = [BillingMode::FreeQuotaOnly, BillingMode::PayAsYouGo];
pub(super) const KINDS: [EntryKind; 10] = [
    EntryKind::Grant,
    EntryKind::Reserve,
    EntryKind::Settle,
    EntryKind::Release,
    EntryKind::Presume,
    EntryKind::Expire,
    EntryKind::Correct,
    EntryKind::Unknown,
    EntryKind::Sync,
    EntryKind::Recover,
];

/// One change, as it is read back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Record {
    /// A hold was made (open) or posted (presumed).
    Hold { account: i64, id: HoldId, hold: Hold },
    /// A hold became final, or a tombstone was written.
    Ended { account: i64, id: HoldId, state: HoldState, since: Timestamp },
    /// A presumed hold is no longer kept.
    Forgotten { account: i64, id: HoldId },
    /// A line of the ledger.
    Entry { account: i64, entry: Entry },
    /// What a balance is from then on.
    Balance { account: i64, grant: GrantId, row: BalanceRow },
}

/// Records, as they are written down.
#[derive(Debug, Default)]
pub(super) struct Body {
    bytes: Vec<u8>,
    /// Where in the bytes the names with a place are.
    names: Vec<(usize, usize)>,
    records: usize,
}

impl Body {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many records there are.
    pub(super) fn records(&self) -> usize {
        self.records
    }

    /// Empties it; its memory stays.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.names.clear();
        self.records = 0;
    }

    pub(super) fn hold(&mut self, account: i64, id: HoldId, hold: &Hold) {
        self.begin(HOLD, account);
        self.id(id);
        for name in [hold.pool.as_str(), hold.model.as_str(), hold.key.as_str()] {
            self.name(name);
        }
        self.number(hold.lines.len() as u64);
        for line in &hold.lines {
            self.number(u64::from(line.grant.0));
            self.number(line.amount);
        }
        self.number(hold.amount);
        self.bytes.extend([code(&MODES, hold.mode), code(&STATES, hold.state)]);
        self.number(hold.deadline.0);
        self.number(hold.since.0);
    }

    pub(super) fn ended(&mut self, account: i64, id: HoldId, state: HoldState, since: Timestamp) {
        self.begin(ENDED, account);
        self.id(id);
        self.bytes.push(code(&STATES, state));
        self.number(since.0);
    }

    pub(super) fn forgotten(&mut self, account: i64, id: HoldId) {
        self.begin(FORGOTTEN, account);
        self.id(id);
    }

    pub(super) fn entry(&mut self, account: i64, entry: &Entry) {
        self.begin(ENTRY, account);
        self.number(entry.at.0);
        self.bytes.push(code(&KINDS, entry.kind));
        self.name(entry.pool.as_str());
        self.number(entry.grant.map_or(0, |grant| u64::from(grant.0) + 1));
        self.bytes.push(u8::from(entry.hold.is_some()));
        if let Some(hold) = entry.hold {
            self.id(hold);
        }
        for figure in [entry.granted, entry.held, entry.spent, entry.presumed] {
            self.number(((figure << 1) ^ (figure >> 63)).cast_unsigned());
        }
        self.number(entry.billed.input);
        self.number(entry.billed.output);
    }

    pub(super) fn balance(&mut self, account: i64, grant: GrantId, row: &BalanceRow) {
        self.begin(BALANCE, account);
        self.number(u64::from(grant.0));
        for figure in [row.granted, row.spent, row.presumed, row.watermark] {
            self.number(figure);
        }
    }

    fn begin(&mut self, what: u8, account: i64) {
        if self.bytes.is_empty() {
            self.bytes.push(VERSION);
        }
        self.records += 1;
        self.bytes.push(what);
        self.number(account.cast_unsigned());
    }

    fn id(&mut self, id: HoldId) {
        self.bytes.extend(id.0.to_be_bytes());
    }

    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.bytes.push(number.to_le_bytes()[0]);
    }

    /// Its place, from 1; or 0 and the name.
    fn name(&mut self, name: &str) {
        let known = |(at, end): &(usize, usize)| self.bytes.get(*at..*end) == Some(name.as_bytes());
        if let Some(place) = self.names.iter().position(known) {
            self.number(place as u64 + 1);
            return;
        }
        self.number(0);
        self.number(name.len() as u64);
        let at = self.bytes.len();
        self.bytes.extend_from_slice(name.as_bytes());
        if self.names.len() < NAMES {
            self.names.push((at, self.bytes.len()));
        }
    }
}

/// A value's place in the order of its codes.
fn code<T: PartialEq + Copy>(values: &[T], value: T) -> u8 {
    let place = values.iter().position(|known| *known == value);
    place.and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX)
}
