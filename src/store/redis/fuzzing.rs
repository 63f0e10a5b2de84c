//! What reads a server's answers, for the fuzz targets alone.

use redis::Value;

use super::reply::{Asked, Said, said};
use super::{link, reading};
use crate::ledger::{AccountId, HoldId, Outcome, PoolId};

/// Reads an answer as it comes on the wire by everything that may be asked for it. Nothing here may panic, and no call may be
/// taken for admitted or resolved by an answer that does not say all of its figures.
pub fn read(bytes: &[u8]) {
    let Ok(value) = redis::parse_redis_value(bytes) else { return };
    link::fuzzing::read(&value);
    let (pool, hold) = (PoolId::from("pool"), HoldId(1));
    for asked in
        [Asked::Reserve(hold, &pool), Asked::Resolve(hold, Some(&pool)), Asked::Resolve(hold, None), Asked::Other]
    {
        let Ok(Said { what, entries, .. }) = said(value.clone(), asked) else { continue };
        let short = matches!(value, Value::BulkString(_));
        assert!(!short || (asked.hold().is_some() && entries.len() == 1));
        let Ok(outcome) = what.outcome() else { continue };
        if let (true, Asked::Reserve(..)) = (short, asked) {
            assert!(matches!(outcome, Outcome::Admitted(_)));
        }
    }
    if let Ok(Said { what, .. }) = said(value, Asked::Other) {
        let account = AccountId::from("account");
        if let Ok(read) = reading::book(&account, what) {
            assert_eq!(read.book.account, account);
        }
    }
}
