//! What reads a server's answers, for the fuzz targets and their smoke run alone.

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

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    /// Changed answers.
    const CHANGED: usize = 20_000;

    /// A smoke run of the target `replies`: its seeds, and each with some other bytes.
    #[test]
    fn every_answer_is_read_or_refused() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/replies");
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let seeds: Vec<_> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
        seeds.iter().for_each(|seed| super::read(seed));
        let mut random = StdRng::seed_from_u64(1);
        for _ in 0..CHANGED {
            let mut answer = seeds[random.random_range(0..seeds.len())].clone();
            for _ in 0..random.random_range(1..=3) {
                let at = random.random_range(0..answer.len());
                match random.random_range(0..4) {
                    0 => answer[at] = b"0123456789-$*:+_,\r\n"[random.random_range(0..19)],
                    1 => answer[at] ^= 1 << random.random_range(0..8),
                    2 if answer.len() > 1 => drop(answer.remove(at)),
                    _ => answer.insert(at, random.random()),
                }
            }
            super::read(&answer);
        }
    }
}
