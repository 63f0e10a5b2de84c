//! A Lua script and the call of it by digest.

use std::sync::OnceLock;

use redis::Cmd;

/// One Lua script, versioned by its digest: replicas of two versions of Gratis work on one store during a deploy.
pub(in crate::store::redis) struct Script {
    /// What it is called, for errors.
    pub(in crate::store::redis) name: &'static str,
    /// Its text.
    pub(in crate::store::redis) text: &'static str,
    sha: OnceLock<String>,
}

impl Script {
    pub(in crate::store::redis) const fn new(name: &'static str, text: &'static str) -> Self {
        Self { name, text, sha: OnceLock::new() }
    }

    /// `EVALSHA sha numkeys key...`; the caller appends the arguments.
    pub(in crate::store::redis) fn call(&self, keys: &[&[u8]]) -> Cmd {
        let sha = self.sha.get_or_init(|| redis::Script::new(self.text).get_hash().to_owned());
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(sha).arg(keys.len());
        for key in keys {
            cmd.arg(*key);
        }
        cmd
    }

    /// `SCRIPT LOAD`.
    pub(super) fn load(&self) -> Cmd {
        let mut cmd = redis::cmd("SCRIPT");
        cmd.arg("LOAD").arg(self.text);
        cmd
    }
}
