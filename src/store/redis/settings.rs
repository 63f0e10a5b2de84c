//! What a replica is told about the shared store.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::url::Url;
use crate::ledger::Amount;

/// A password of the store. It has neither `Debug` nor `Display`, and its bytes are overwritten when the last clone is dropped.
#[derive(Clone)]
pub struct Password(Arc<Zeroizing<String>>);

impl Password {
    /// Takes a password over.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Arc::new(Zeroizing::new(text)))
    }

    /// The password itself: for the login, never for a message.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Who logs in. Holds a secret, so it has no `Debug`.
#[derive(Clone, Default)]
pub struct Credentials {
    /// The user of the access list; `None` = the default user.
    pub user: Option<String>,
    /// The user's password; `None` = no login.
    pub password: Option<Password>,
}

/// Where the shared books are, and how this replica reaches them. Holds a secret, so it has no `Debug`.
#[derive(Clone)]
pub struct Settings {
    /// The servers.
    pub url: Url,
    /// Who logs in.
    pub credentials: Credentials,
    /// Certificates to trust instead of the public ones, in PEM.
    pub ca_file: Option<PathBuf>,
    /// The state folder of this replica: its journal.
    pub dir: PathBuf,
    /// What every key begins with.
    pub prefix: String,
    /// How long one call may take.
    pub timeout: Duration,
    /// Whether a class that can lose acknowledged writes is accepted.
    pub accept_loss: bool,
    /// The most that a journal's promise is ahead of what this replica took.
    pub block_max: Amount,
    /// The mark of the pepper that this replica hashes keys with ([`crate::store::Pepper::mark`]); `None` = it has none. It is kept
    /// in the store when a ledger is made. A replica with another one would recognise no key: it is refused, also when the ledger
    /// is made later than it began.
    pub pepper_mark: Option<String>,
    /// Whether the clock that the store is opened with takes the place of the server's: for tests that turn it.
    pub given_clock: bool,
}

impl Settings {
    /// The defaults, for an address and a folder.
    #[must_use]
    pub fn new(url: Url, dir: impl Into<PathBuf>) -> Self {
        Self {
            url,
            credentials: Credentials::default(),
            ca_file: None,
            dir: dir.into(),
            prefix: "gratis".to_owned(),
            timeout: Duration::from_millis(250),
            accept_loss: false,
            block_max: 50_000,
            pepper_mark: None,
            given_clock: false,
        }
    }
}
