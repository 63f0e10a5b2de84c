//! What the keys of the shared store are called. Everything of an account stands in one slot: its name is the hash tag.

use crate::ledger::{AccountId, HoldId};
use crate::store::KeyDigest;

/// The names of a ledger's keys.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

/// The keys of one account, as its scripts are given them.
#[derive(Clone, Debug)]
pub(super) struct AccountKeys {
    /// The account's hash.
    pub(super) hash: String,
    /// Its open holds by the end of their lease.
    pub(super) due: String,
    /// Its presumed holds.
    pub(super) presumed: String,
    /// What the key of each hold begins with.
    pub(super) hold: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// What the ledger is: its id, its format, the epoch.
    pub(super) fn meta(&self) -> String {
        format!("{}:meta", self.prefix)
    }

    /// The beats of all replicas in one master, by the hash tag that stands for it.
    pub(super) fn beat(&self, tag: &str) -> String {
        format!("{}:{{{tag}}}:beat", self.prefix)
    }

    /// The replicas that were seen: when (ms), and behind a space why one admits nothing.
    pub(super) fn replicas(&self) -> String {
        format!("{}:replicas", self.prefix)
    }

    /// A pattern that every key of the ledger matches, and no other ledger's.
    pub(super) fn pattern(&self) -> String {
        let mut pattern = String::new();
        for c in self.prefix.chars() {
            if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^') {
                pattern.push('\\');
            }
            pattern.push(c);
        }
        format!("{pattern}:*")
    }

    /// A shelf of notes: its values, its names, and until when they are kept; in one slot.
    pub(super) fn shelf(&self, name: &str) -> [String; 3] {
        ["values", "names", "until"].map(|part| format!("{}:{{{}:{name}}}:{part}", self.prefix, self.prefix))
    }

    /// The lines of a log, and how many of them are gone; in one slot.
    pub(super) fn log(&self, name: &str) -> [String; 2] {
        let lines = format!("{}:log:{name}", self.prefix);
        let gone = format!("{}:{{{lines}}}:gone", self.prefix);
        [lines, gone]
    }

    /// The names of all accounts.
    pub(super) fn accounts(&self) -> String {
        format!("{}:accounts", self.prefix)
    }

    /// Whose key has a digest.
    pub(super) fn digest(&self, digest: &KeyDigest) -> String {
        self.digest_of(&hex(digest))
    }

    /// The same, of a digest in hexadecimal.
    pub(super) fn digest_of(&self, hex: &str) -> String {
        format!("{}:d:{hex}", self.prefix)
    }

    /// A thing kept at the provider.
    pub(super) fn resource(&self, kind: &str, id: &str) -> String {
        format!("{}:r:{kind}:{id}", self.prefix)
    }

    /// The things of a kind by when they were made.
    pub(super) fn made(&self, kind: &str) -> String {
        format!("{}:made:{kind}", self.prefix)
    }

    /// Tasks that are not known to be over, by when they were made.
    pub(super) fn open_tasks(&self) -> String {
        format!("{}:tasks", self.prefix)
    }

    pub(super) fn account(&self, account: &AccountId) -> AccountKeys {
        // A brace within the name would end the hash tag early.
        let name = account.as_str().replace('%', "%25").replace('{', "%7B").replace('}', "%7D");
        let base = format!("{}:{{{name}}}", self.prefix);
        AccountKeys {
            hash: format!("{base}:a"),
            due: format!("{base}:due"),
            presumed: format!("{base}:presumed"),
            hold: format!("{base}:h:"),
        }
    }
}

/// The field under which a replica counts what it wrote.
pub(super) fn count_field(replica: &str) -> String {
    format!("s:{replica}")
}

/// A hold's id as it stands in a key.
pub(super) fn hold_id(hold: HoldId) -> String {
    hold.to_string()
}

pub(super) fn hex(digest: &KeyDigest) -> String {
    use std::fmt::Write as _;
    digest.0.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_an_account_has_its_name_as_the_hash_tag() {
        let keys = Keys::new("gratis");
        for (account, tag) in [("acme", "{acme}"), ("a{b}c", "{a%7Bb%7Dc}"), ("}", "{%7D}"), ("50%", "{50%25}")] {
            let AccountKeys { hash, due, presumed, hold } = keys.account(&account.into());
            for key in [hash, due, presumed, hold] {
                let begin = key.find('{').unwrap();
                assert_eq!(&key[begin..=key.find('}').unwrap()], tag, "{key}");
            }
        }
    }
}
