//! Files that only their owner reads.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::cli::Failure;
use crate::store::keys::{Pepper, new_token};

/// The pepper of this file, made where the file is missing. An existing one is kept: keys may have been hashed with it.
///
/// # Errors
/// When it can be neither read nor made, or holds something else.
pub fn pepper(path: &Path) -> Result<Pepper, Failure> {
    if !path.exists() {
        let made = Pepper::generate().map_err(|error| Failure::Refused(error.to_string()))?;
        write_new(path, &made.to_text()).map_err(|error| cannot("write", path, &error))?;
    }
    let text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(|error| cannot("read", path, &error))?;
    Pepper::from_text(&text).ok_or_else(|| {
        Failure::Refused(format!("{} holds no pepper: 64 hexadecimal digits were expected", path.display()))
    })
}

/// Makes an admin token in this file; `false` where there is one already.
///
/// # Errors
/// When it cannot be made.
pub fn token(path: &Path) -> Result<bool, Failure> {
    if path.exists() {
        return Ok(false);
    }
    let token = new_token("gratis-admin-").map_err(|error| Failure::Refused(error.to_string()))?;
    write_new(path, &token).map_err(|error| cannot("write", path, &error))?;
    Ok(true)
}

/// Writes a new file with mode 0600, and makes it durable with its name: a pepper that is lost takes every key with it.
///
/// # Errors
/// When there is one already, or it cannot be written.
pub fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn cannot(action: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::Refused(format!("cannot {action} {}: {error}", path.display()))
}
