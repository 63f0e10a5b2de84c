//! API keys: how they are made, recognised and hashed. The key itself is shown once and kept nowhere.
//!
//! A key is `sk-gratis-`, 43 random characters of base 62 (256 bits), and 6 characters of checksum, so that a mistyped or
//! cut key is recognised without asking a store. Kept is HMAC-SHA256(pepper, key) and the last four characters: a key has
//! too much entropy to be guessed from its hash, so no slow hash is needed, and the pepper lives outside the store.

use hmac::{Hmac, KeyInit, Mac};
use rand::TryRng;
use rand::rngs::SysRng;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::KeyDigest;

/// What every key of ours begins with.
pub const PREFIX: &str = "sk-gratis-";

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62^43 > 2^256.
const RANDOM_CHARS: usize = 43;
/// 62^6 > 2^32.
const CHECK_CHARS: usize = 6;
/// What is enough to tell the keys of an account apart.
const ID_CHARS: usize = 8;
/// The characters of a key that was made elsewhere; the upper bound is that of what is looked at in a request.
const KNOWN_MIN: usize = 8;
const KNOWN_MAX: usize = 256;
/// The bytes of a pepper.
const PEPPER_BYTES: usize = 32;
/// The block of SHA-256: a key that is padded with zeros to a block gives the same HMAC.
const BLOCK: usize = 64;

/// The operating system gave no random bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the operating system gave no random bytes, so no secret can be made")]
pub struct NoEntropy;

/// The secret with which keys are hashed. It has no `Debug`, is never shown, and is wiped from memory at its end.
#[derive(Clone)]
pub struct Pepper(Zeroizing<[u8; BLOCK]>);

impl Pepper {
    /// A new random pepper.
    ///
    /// # Errors
    /// [`NoEntropy`] when the operating system gives no random bytes.
    pub fn generate() -> Result<Self, NoEntropy> {
        let mut bytes = Zeroizing::new([0_u8; PEPPER_BYTES]);
        SysRng.try_fill_bytes(bytes.as_mut_slice()).map_err(|_| NoEntropy)?;
        Ok(Self::from_bytes(&bytes))
    }

    /// The pepper of these 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; PEPPER_BYTES]) -> Self {
        let mut block = Zeroizing::new([0_u8; BLOCK]);
        for (to, from) in block.iter_mut().zip(bytes) {
            *to = *from;
        }
        Self(block)
    }

    /// Reads what [`to_text`](Self::to_text) wrote; white space around it is ignored. `None` when it is anything else.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let text = text.trim_ascii();
        if text.len() != PEPPER_BYTES * 2 {
            return None;
        }
        let mut bytes = Zeroizing::new([0_u8; PEPPER_BYTES]);
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(pair).ok().filter(|pair| !pair.starts_with('+'))?;
            *byte = u8::from_str_radix(digits, 16).ok()?;
        }
        Some(Self::from_bytes(&bytes))
    }

    /// The pepper as 64 hexadecimal digits, for its file.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
        let mut text = Zeroizing::new(String::with_capacity(PEPPER_BYTES * 2));
        for byte in self.0.iter().take(PEPPER_BYTES) {
            text.push(digit(byte >> 4));
            text.push(digit(byte & 0xf));
        }
        text
    }

    /// A short keyed value by which two replicas see that they hash with the same pepper: 16 hexadecimal digits. It says nothing
    /// of the pepper, and it is no key's digest: no key holds a space.
    #[must_use]
    pub fn mark(&self) -> String {
        let KeyDigest(digest) = self.digest("gratis pepper mark");
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// The keyed hash by which a key is found.
    #[must_use]
    pub fn digest(&self, key: &str) -> KeyDigest {
        let mut mac = Hmac::<Sha256>::new((&*self.0).into());
        mac.update(key.as_bytes());
        KeyDigest(mac.finalize().into_bytes().into())
    }
}

/// A new key, to be shown once. It has no `Debug` and no `Display`, and is wiped from memory at its end.
#[derive(Clone)]
pub struct NewKeySecret(Zeroizing<String>);

impl NewKeySecret {
    /// A key that clients have already: visible ASCII, so that a header can carry it, and at least twice as long as the four
    /// characters that stay readable. `None` where it is not.
    #[must_use]
    pub fn known(key: &str) -> Option<Self> {
        let fits = (KNOWN_MIN..=KNOWN_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self(Zeroizing::new(key.to_owned())))
    }

    /// What is kept of it: its keyed hash and its last four characters.
    #[must_use]
    pub fn kept(&self, pepper: &Pepper) -> (KeyDigest, String) {
        (pepper.digest(&self.0), self.0.get(self.0.len().saturating_sub(4)..).unwrap_or_default().to_owned())
    }

    /// The key as the client sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// A new random key with its keyed hash and its last four characters.
///
/// # Errors
/// [`NoEntropy`] when the operating system gives no random bytes.
pub fn new_key(pepper: &Pepper) -> Result<(NewKeySecret, KeyDigest, String), NoEntropy> {
    let mut key = Zeroizing::new(String::with_capacity(PREFIX.len() + RANDOM_CHARS + CHECK_CHARS));
    key.push_str(PREFIX);
    push_random(&mut key, RANDOM_CHARS)?;
    let check = checksum(&key);
    key.extend(check.iter().copied().map(char::from));
    let secret = NewKeySecret(key);
    let (digest, last4) = secret.kept(pepper);
    Ok((secret, digest, last4))
}

/// A random secret of 256 bits behind `prefix`, for a token that is not an API key.
///
/// # Errors
/// [`NoEntropy`] when the operating system gives no random bytes.
pub fn new_token(prefix: &str) -> Result<Zeroizing<String>, NoEntropy> {
    let mut token = Zeroizing::new(String::with_capacity(prefix.len() + RANDOM_CHARS));
    token.push_str(prefix);
    push_random(&mut token, RANDOM_CHARS)?;
    Ok(token)
}

/// A short random name behind `prefix`: not a secret, and told apart from others by whoever keeps them.
///
/// # Errors
/// [`NoEntropy`] when the operating system gives no random bytes.
pub fn new_id(prefix: &str) -> Result<String, NoEntropy> {
    let mut id = String::from(prefix);
    push_random(&mut id, ID_CHARS)?;
    Ok(id)
}

/// Whether the text can be a key of ours at all: prefix, length, characters and checksum. `false` says that nobody ever got
/// this key from here, without asking a store; `true` says nothing about whether the key is known.
#[must_use]
pub fn is_well_formed(key: &str) -> bool {
    let Some(random) = key.strip_prefix(PREFIX) else { return false };
    if random.len() != RANDOM_CHARS + CHECK_CHARS || !random.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return false;
    }
    let Some((body, check)) = key.split_at_checked(key.len() - CHECK_CHARS) else { return false };
    checksum(body).ct_eq(check.as_bytes()).into()
}

/// Appends random characters. A byte of 248 or more is thrown away, or the first characters would come more often.
fn push_random(text: &mut String, count: usize) -> Result<(), NoEntropy> {
    let mut bytes = Zeroizing::new([0_u8; 64]);
    let mut left = count;
    while left > 0 {
        SysRng.try_fill_bytes(bytes.as_mut_slice()).map_err(|_| NoEntropy)?;
        for byte in bytes.iter().filter(|byte| **byte < 248).take(left) {
            text.push(letter(u32::from(*byte)));
            left -= 1;
        }
    }
    Ok(())
}

/// The first 32 bits of SHA-256 in base 62. Public arithmetic: it finds mistakes, it proves nothing.
fn checksum(text: &str) -> [u8; CHECK_CHARS] {
    let mut hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let mut number = hash.iter().take(4).fold(0_u32, |number, byte| (number << 8) | u32::from(*byte));
    hash.zeroize();
    let mut check = [b'0'; CHECK_CHARS];
    for place in check.iter_mut().rev() {
        *place = u8::try_from(letter(number % 62)).unwrap_or(b'0');
        number /= 62;
    }
    check
}

fn letter(number: u32) -> char {
    ALPHABET.get((number % 62) as usize).copied().map_or('0', char::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pepper() -> Pepper {
        Pepper::from_bytes(&[7; 32])
    }

    #[test]
    fn a_new_key_is_well_formed_and_found_by_its_digest() {
        let (key, digest, last4) = new_key(&pepper()).unwrap();
        assert!(is_well_formed(key.expose()), "{}", key.expose());
        assert_eq!(key.expose().len(), 59);
        assert!(key.expose().ends_with(&last4) && last4.len() == 4);
        assert_eq!(pepper().digest(key.expose()), digest);
        let (other, other_digest, _) = new_key(&pepper()).unwrap();
        assert_ne!(key.expose(), other.expose());
        assert_ne!(digest, other_digest);
    }

    #[test]
    fn every_single_typing_mistake_is_seen() {
        let (key, _, _) = new_key(&pepper()).unwrap();
        for at in PREFIX.len()..key.expose().len() {
            let mut typed = key.expose().as_bytes().to_vec();
            typed[at] = if typed[at] == b'a' { b'b' } else { b'a' };
            assert!(!is_well_formed(std::str::from_utf8(&typed).unwrap()), "place {at}");
            assert!(!is_well_formed(&key.expose()[..at]), "cut at {at}");
        }
        for wrong in ["", "sk-", "sk-gratis-", "sk-other-0000", "sk-gratis-ÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄa"]
        {
            assert!(!is_well_formed(wrong), "{wrong}");
        }
    }

    #[test]
    fn the_digest_is_hmac_sha256() {
        // RFC 4231, test case 2, with its short key padded by hand as HMAC does.
        let mut bytes = [0_u8; 32];
        bytes[..4].copy_from_slice(b"Jefe");
        let KeyDigest(digest) = Pepper::from_bytes(&bytes).digest("what do ya want for nothing?");
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn a_pepper_goes_through_its_file() {
        let made = Pepper::generate().unwrap();
        let text = made.to_text();
        let read = Pepper::from_text(&format!("{}\n", *text)).unwrap();
        assert_eq!(made.digest("x"), read.digest("x"));
        assert_ne!(made.digest("x"), Pepper::generate().unwrap().digest("x"));
        assert_eq!((made.mark(), made.mark().len()), (read.mark(), 16));
        assert_ne!(made.mark(), Pepper::generate().unwrap().mark());
        for wrong in ["", "ab", &text[1..], &format!("+{}", &text[1..]), &"zz".repeat(32)] {
            assert!(Pepper::from_text(wrong).is_none(), "{wrong}");
        }
    }
}
