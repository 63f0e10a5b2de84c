//! API keys: made here, kept only as a keyed hash.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::KeyDigest;

/// The secret with which keys are hashed: whoever reads the store alone cannot try keys against it.
pub struct Pepper(Hmac<Sha256>);

impl Pepper {
    /// A pepper of these bytes.
    #[must_use]
    pub fn new(secret: &Zeroizing<Vec<u8>>) -> Option<Self> {
        Hmac::new_from_slice(secret).ok().map(Self)
    }

    /// The keyed hash of a key (HMAC-SHA256).
    #[must_use]
    pub fn digest(&self, key: &str) -> KeyDigest {
        let mut mac = self.0.clone();
        mac.update(key.as_bytes());
        KeyDigest(mac.finalize().into_bytes().into())
    }
}
