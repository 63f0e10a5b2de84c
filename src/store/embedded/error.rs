//! Why a ledger could not be opened: what is wrong, where, and what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Why a ledger was not opened or made.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no ledger in the directory, and opening never makes one.
    #[error("there is no ledger in {}: `gratis init` makes one", dir.display())]
    NotInitialised {
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// There is a ledger already, and making one never replaces it.
    #[error("{} exists already; it was left as it is", file.display())]
    Exists {
        /// The ledger.
        file: PathBuf,
    },
    /// Another process owns the ledger.
    #[error("{} is in use by another process{}: one process owns a ledger", file.display(), owner(*pid))]
    Locked {
        /// The ledger.
        file: PathBuf,
        /// The process that owns it, where known.
        pid: Option<u32>,
    },
    /// The file is not a ledger of Gratis, or not the one that belongs here.
    #[error("{} is not the ledger that belongs here: {what}", file.display())]
    Foreign {
        /// The file.
        file: PathBuf,
        /// What it is instead.
        what: String,
    },
    /// The file was written by a newer version.
    #[error("{} has format {found}; this version knows formats up to {known}: use a newer version of gratis", file.display())]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format that this version knows.
        known: i64,
    },
    /// The contents contradict themselves.
    #[error("{} cannot be trusted: {what}. Restore it, or run `gratis store recover --presume-all`", file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// What contradicts what, with both figures.
        what: String,
    },
    /// The file is older than what was durable here before: somebody put a copy back.
    #[error(
        "{} is older than the ledger that last ran here (commit {found}, {durable} were durable): what was used since is \
         not in it. Put the newer file back, or run `gratis store recover --presume-all`",
        file.display()
    )]
    Older {
        /// The file.
        file: PathBuf,
        /// The file's last commit.
        found: u64,
        /// The last commit that was durable.
        durable: u64,
    },
    /// The directory is on a file system of which durability and locks are not known.
    #[error("{} is on a {kind} file system: a ledger needs a local one", dir.display())]
    NotLocal {
        /// The directory.
        dir: PathBuf,
        /// The kind of file system.
        kind: String,
    },
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// SQLite refused.
    #[error("cannot {action} {}: {source}", file.display())]
    Sql {
        /// What was tried.
        action: &'static str,
        /// On what.
        file: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

fn owner(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

impl OpenError {
    pub(in crate::store) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    pub(in crate::store) fn sql(action: &'static str, file: &Path) -> impl FnOnce(rusqlite::Error) -> Self {
        let file = file.to_owned();
        move |source| {
            use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
            match source.sqlite_error_code() {
                Some(NotADatabase) => Self::Foreign { file, what: "it is not a database".to_owned() },
                Some(DatabaseCorrupt) => Self::Corrupt { file, what: source.to_string() },
                Some(_) | None => Self::Sql { action, file, source },
            }
        }
    }
}
