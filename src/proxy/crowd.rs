//! How many calls of one key may be in progress: one client's retries must not take every place (FAULTS F-CLI-5).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::ledger::KeyId;

/// Counts calls by key. Only keys with a call in progress are kept.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    calls: Mutex<HashMap<KeyId, usize>>,
}

/// A place of a key; given back when dropped.
#[derive(Debug)]
pub(super) struct KeyPlace {
    crowd: Arc<Crowd>,
    key: KeyId,
}

impl Crowd {
    /// A place for one more call of the key, unless it has `most` already.
    pub(super) fn enter(self: &Arc<Self>, key: &KeyId, most: usize) -> Option<KeyPlace> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let count = calls.entry(key.clone()).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(KeyPlace { crowd: Arc::clone(self), key: key.clone() })
    }
}

impl Drop for KeyPlace {
    fn drop(&mut self) {
        let mut calls = self.crowd.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = calls.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                calls.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_places_and_gets_them_back() {
        let crowd = Arc::new(Crowd::default());
        let (one, other) = (KeyId::from("one"), KeyId::from("other"));
        let first = crowd.enter(&one, 2).unwrap();
        let second = crowd.enter(&one, 2).unwrap();
        assert!(crowd.enter(&one, 2).is_none());
        assert!(crowd.enter(&other, 2).is_some(), "each key for itself");
        drop(first);
        assert!(crowd.enter(&one, 2).is_some());
        drop(second);
        assert!(crowd.calls.lock().unwrap().is_empty(), "nothing is kept of a key without calls");
    }
}
