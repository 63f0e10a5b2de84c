//! Reading a body of records back. Nothing is taken for granted of its bytes.

use std::sync::Arc;

use super::record::{BALANCE, ENDED, ENTRY, FORGOTTEN, HOLD, KINDS, MODES, NAMES, Record, STATES, VERSION};
use super::rows::BalanceRow;
use crate::ledger::{Entry, GrantId, Hold, HoldId, Line, PoolId, Timestamp, Usage};

/// What is read is not what is written here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a body with a record that is not written here")]
pub(super) struct Malformed;

impl From<Malformed> for rusqlite::Error {
    fn from(error: Malformed) -> Self {
        Self::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, error.into())
    }
}

/// The records of a body, in order; the first that is malformed ends it.
#[derive(Debug)]
pub(super) struct Records<'b> {
    rest: &'b [u8],
    names: Vec<Arc<str>>,
    sound: bool,
}

impl<'b> Records<'b> {
    pub(super) fn of(body: &'b [u8]) -> Self {
        match body.split_first() {
            None => Self { rest: body, names: Vec::new(), sound: true },
            Some((version, rest)) => Self { rest, names: Vec::new(), sound: *version == VERSION },
        }
    }

    fn record(&mut self) -> Result<Record, Malformed> {
        let what = self.byte()?;
        let account = self.number()?.cast_signed();
        match what {
            HOLD => self.hold(account),
            ENDED => {
                let (id, state) = (self.id()?, self.one_of(&STATES)?);
                Ok(Record::Ended { account, id, state, since: self.instant()? })
            }
            FORGOTTEN => Ok(Record::Forgotten { account, id: self.id()? }),
            ENTRY => self.entry(account),
            BALANCE => {
                let (grant, granted, spent) = (self.grant()?, self.number()?, self.number()?);
                let row = BalanceRow { granted, spent, presumed: self.number()?, watermark: self.number()? };
                Ok(Record::Balance { account, grant, row })
            }
            _ => Err(Malformed),
        }
    }

    fn hold(&mut self, account: i64) -> Result<Record, Malformed> {
        let id = self.id()?;
        let (pool, model, key) = (self.name()?, self.name()?, self.name()?);
        let mut lines = Vec::new();
        for _ in 0..self.number()? {
            lines.push(Line { grant: self.grant()?, amount: self.number()? });
        }
        let amount = self.number()?;
        let (mode, state) = (self.one_of(&MODES)?, self.one_of(&STATES)?);
        let (deadline, since) = (self.instant()?, self.instant()?);
        let (pool, model, key) = (pool.into(), model.into(), key.into());
        let hold = Hold { pool, model, key, lines, amount, mode, state, deadline, since };
        Ok(Record::Hold { account, id, hold })
    }

    fn entry(&mut self, account: i64) -> Result<Record, Malformed> {
        let (at, kind) = (self.instant()?, self.one_of(&KINDS)?);
        let pool = PoolId::from(self.name()?);
        let grant = match self.number()?.checked_sub(1) {
            Some(grant) => Some(GrantId(u32::try_from(grant).map_err(|_| Malformed)?)),
            None => None,
        };
        let hold = match self.byte()? {
            0 => None,
            1 => Some(self.id()?),
            _ => return Err(Malformed),
        };
        let (granted, held, spent, presumed) = (self.signed()?, self.signed()?, self.signed()?, self.signed()?);
        let billed = Usage { input: self.number()?, output: self.number()? };
        Ok(Record::Entry {
            account,
            entry: Entry { at, kind, pool, grant, hold, granted, held, spent, presumed, billed },
        })
    }

    fn take(&mut self, length: usize) -> Result<&'b [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        let (byte, rest) = self.rest.split_first().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*byte)
    }

    fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = u64::from(self.byte()?);
            number |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed)
    }

    fn signed(&mut self) -> Result<i64, Malformed> {
        let number = self.number()?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    fn instant(&mut self) -> Result<Timestamp, Malformed> {
        self.number().map(Timestamp)
    }

    fn grant(&mut self) -> Result<GrantId, Malformed> {
        u32::try_from(self.number()?).map(GrantId).map_err(|_| Malformed)
    }

    fn id(&mut self) -> Result<HoldId, Malformed> {
        let bytes = self.take(16)?.try_into().map_err(|_| Malformed)?;
        Ok(HoldId(u128::from_be_bytes(bytes)))
    }

    fn one_of<T: Copy>(&mut self, values: &[T]) -> Result<T, Malformed> {
        values.get(usize::from(self.byte()?)).copied().ok_or(Malformed)
    }

    fn name(&mut self) -> Result<Arc<str>, Malformed> {
        let place = usize::try_from(self.number()?).map_err(|_| Malformed)?;
        if let Some(place) = place.checked_sub(1) {
            return self.names.get(place).cloned().ok_or(Malformed);
        }
        let length = usize::try_from(self.number()?).map_err(|_| Malformed)?;
        let name: Arc<str> = std::str::from_utf8(self.take(length)?).map_err(|_| Malformed)?.into();
        if self.names.len() < NAMES {
            self.names.push(name.clone());
        }
        Ok(name)
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Record, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if !self.sound {
            self.rest = &[];
            self.sound = true;
            return Some(Err(Malformed));
        }
        if self.rest.is_empty() {
            return None;
        }
        let record = self.record();
        if record.is_err() {
            self.rest = &[];
        }
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Body;
    use super::*;
    use crate::ledger::{BillingMode, EntryKind, HoldState};

    fn hold(number: u64, state: HoldState) -> Hold {
        Hold {
            pool: format!("pool-{}", number % 3).as_str().into(),
            model: format!("model-{number}").as_str().into(),
            key: "".into(),
            lines: (0..number % 4).map(|line| Line { grant: GrantId(7), amount: line << 40 }).collect(),
            amount: number,
            mode: BillingMode::PayAsYouGo,
            state,
            deadline: Timestamp(u64::MAX),
            since: Timestamp(0),
        }
    }

    fn entry(number: i64, kind: EntryKind) -> Entry {
        Entry {
            at: Timestamp(number.unsigned_abs()),
            kind,
            pool: "pool-1".into(),
            grant: (number > 3).then_some(GrantId(u32::MAX)),
            hold: (number < 9).then_some(HoldId(u128::MAX / 3)),
            granted: i64::MIN,
            held: -number,
            spent: i64::MAX,
            presumed: number,
            billed: Usage { input: 1, output: 127 },
        }
    }

    fn sample() -> (Body, Vec<Record>) {
        let (mut body, mut records) = (Body::default(), Vec::new());
        for number in 0..40_u32 {
            let (account, id) = (i64::from(number) + 1, HoldId(u128::from(number)));
            for state in STATES {
                let hold = hold(u64::from(number), state);
                body.hold(account, id, &hold);
                records.push(Record::Hold { account, id, hold });
                body.ended(account, id, state, Timestamp(128));
                records.push(Record::Ended { account, id, state, since: Timestamp(128) });
            }
            body.forgotten(account, id);
            records.push(Record::Forgotten { account, id });
        }
        for (number, kind) in (0..).zip(KINDS) {
            let entry = entry(number, kind);
            body.entry(1, &entry);
            records.push(Record::Entry { account: 1, entry });
        }
        let row = BalanceRow { granted: 1 << 53, spent: 300, presumed: 0, watermark: u64::MAX };
        body.balance(-1, GrantId(0), &row);
        records.push(Record::Balance { account: -1, grant: GrantId(0), row });
        (body, records)
    }

    #[test]
    fn records_are_read_back_also_with_more_names_than_places() {
        let (mut body, records) = sample();
        assert_eq!(body.records(), records.len());
        let read: Result<Vec<_>, _> = Records::of(body.bytes()).collect();
        assert_eq!(read.unwrap(), records);
        body.clear();
        assert_eq!((body.records(), Records::of(body.bytes()).next()), (0, None));
        body.hold(1, HoldId(1), &hold(1, HoldState::Open));
        assert_eq!(Records::of(body.bytes()).filter(Result::is_ok).count(), 1);
    }

    #[test]
    fn nothing_that_is_cut_or_changed_does_more_than_end_in_an_error() {
        let (body, records) = sample();
        let bytes = body.bytes();
        for cut in 0..bytes.len() {
            let read: Vec<_> = Records::of(&bytes[..cut]).collect();
            let whole = read.iter().filter(|record| record.is_ok()).count();
            assert!(whole < records.len() && read.len() - whole <= 1, "cut at {cut}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[at] ^= 0x41;
            let _ = Records::of(&changed).count();
        }
        assert_eq!(Records::of(&[VERSION + 1, 3, 1]).collect::<Vec<_>>(), [Err(Malformed)]);
        assert_eq!(Records::of(&[VERSION, ENDED, 1]).collect::<Vec<_>>(), [Err(Malformed)]);
    }
}
