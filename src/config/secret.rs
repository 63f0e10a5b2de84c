//! Secrets: by environment or file only, never shown.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::env::Env;

/// A secret. It has neither `Debug` nor `Display`, and its bytes are overwritten when the last clone is dropped.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Takes a secret over; the caller's copy is gone.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Arc::new(Zeroizing::new(text)))
    }

    /// The secret itself: for the one place that needs it, never for a log or a message.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Where a secret is to be found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SecretPlace {
    /// A variable of the environment.
    Env(String),
    /// A file; space and line ends around its content are no part of the secret.
    File(PathBuf),
}

/// Reads a secret. The error says where it was looked for and what would help; it never shows content.
///
/// # Errors
/// A variable or file that is absent, unreadable, empty, or that holds more than one line.
pub fn read(place: &SecretPlace, env: &Env) -> Result<Secret, String> {
    match place {
        SecretPlace::Env(name) => match env.get(name).map(str::trim) {
            None => Err(format!("the environment has no {name}")),
            Some(text) => one_line(text, name),
        },
        SecretPlace::File(path) => {
            let shown = path.display().to_string();
            let text = std::fs::read_to_string(path)
                .map(Zeroizing::new)
                .map_err(|error| format!("cannot read {shown}: {error}"))?;
            one_line(text.trim(), &shown)
        }
    }
}

fn one_line(text: &str, place: &str) -> Result<Secret, String> {
    if text.is_empty() {
        return Err(format!("{place} is empty"));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("{place} holds more than one line"));
    }
    Ok(Secret::new(text.to_owned()))
}

/// Whether others than the owner may read or write a file; `None` where the system has no such rights or the file is absent.
#[cfg(unix)]
pub(super) fn is_open_to_others(path: &Path) -> Option<bool> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).ok().map(|meta| meta.permissions().mode() & 0o077 != 0)
}

/// Whether others than the owner may read or write a file; `None` where the system has no such rights or the file is absent.
#[cfg(not(unix))]
pub(super) fn is_open_to_others(_path: &Path) -> Option<bool> {
    None
}
