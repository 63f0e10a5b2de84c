//! The lock file, which is also a witness: it remembers how far the ledger (or a replica's journal) had come.
//!
//! After every commit the writer notes the commit's number here (one small write, no fsync), and after a durable commit also that
//! one's number. What was written survives the death of the process; after a power loss the note may be older, or gone.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::error::OpenError;
use super::file::Kind;

/// What the lock file says of the ledger beside it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::store) struct Testimony {
    /// Which ledger.
    pub(in crate::store) instance: String,
    /// Its last commit.
    pub(in crate::store) commits: u64,
    /// Its last durable commit.
    pub(in crate::store) durable: u64,
    /// Whether a write failed: then it is not known what the kernel really wrote.
    pub(in crate::store) poisoned: bool,
}

/// The held lock.
#[derive(Debug)]
pub(in crate::store) struct Witness {
    file: File,
    text: String,
    pid: u32,
}

impl Witness {
    /// Takes the lock, for as long as the value lives.
    pub(in crate::store) fn lock(kind: &Kind, ledger: &Path) -> Result<Self, OpenError> {
        let path = ledger.with_file_name(kind.lock);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(OpenError::io("open the lock file", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file, text: String::with_capacity(256), pid: std::process::id() }),
            Err(TryLockError::WouldBlock) => Err(OpenError::Locked { file: ledger.to_owned(), pid: pid_of(file) }),
            Err(TryLockError::Error(source)) => Err(OpenError::Io { action: "lock", path, source }),
        }
    }

    /// What the file says; `None` when it is new or torn.
    pub(in crate::store) fn read(&mut self) -> Option<Testimony> {
        let mut text = String::new();
        (&self.file).take(4096).read_to_string(&mut text).ok()?;
        parse(&text)
    }

    /// Notes how far the ledger has come.
    pub(in crate::store) fn note(&mut self, testimony: &Testimony) -> std::io::Result<()> {
        self.text.clear();
        write(&mut self.text, testimony, self.pid);
        self.file.write_all_at(self.text.as_bytes(), 0)
    }

    /// Makes the note durable; at the start and the end only.
    pub(in crate::store) fn sync(&self) -> std::io::Result<()> {
        self.file.sync_data()
    }
}

impl Drop for Witness {
    /// Lets go at once: a descriptor that a child process inherited for a moment would otherwise keep the lock.
    fn drop(&mut self) {
        // Closing the file does the same, a moment later.
        let _ = self.file.unlock();
    }
}

/// Fixed widths, so that a note always overwrites the one before it.
fn write(text: &mut String, testimony: &Testimony, pid: u32) {
    use std::fmt::Write as _;
    let Testimony { instance, commits, durable, poisoned } = testimony;
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "pid {pid:010}\nledger {instance}\ncommit {commits:020}\ndurable {durable:020}\npoisoned {}\n",
        u8::from(*poisoned)
    );
    let sum = super::rows::meta_sum("witness", text);
    let _ = writeln!(text, "sum {:016x}", sum.cast_unsigned());
}

fn parse(text: &str) -> Option<Testimony> {
    let (body, sum) = text.rsplit_once("sum ")?;
    let sum = u64::from_str_radix(sum.trim_end(), 16).ok()?;
    if super::rows::meta_sum("witness", body) != sum.cast_signed() {
        return None;
    }
    let field = |name: &str| body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Some(Testimony {
        instance: field("ledger")?.to_owned(),
        commits: field("commit")?.parse().ok()?,
        durable: field("durable")?.parse().ok()?,
        poisoned: field("poisoned")? != "0",
    })
}

fn pid_of(mut file: File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.lines().find_map(|line| line.strip_prefix("pid "))?.parse().ok()
}

/// Which file, in which life of the machine.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::store) struct Place {
    /// The boot id; empty where it cannot be read.
    pub(in crate::store) boot: String,
    /// The device of the file.
    pub(in crate::store) device: String,
    /// The inode of the file.
    pub(in crate::store) inode: String,
}

impl Place {
    /// The place of a file now.
    pub(in crate::store) fn of(file: &Path) -> Result<Self, OpenError> {
        let metadata = std::fs::metadata(file).map_err(OpenError::io("look at", file))?;
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Ok(Self { boot: boot.trim().to_owned(), device: metadata.dev().to_string(), inode: metadata.ino().to_string() })
    }
}

/// What is known of a ledger before its books are read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::store) struct Past {
    /// Where it last ran.
    pub(in crate::store) place: Place,
    /// Whether it was stopped cleanly.
    pub(in crate::store) clean: bool,
    /// The number of its last commit.
    pub(in crate::store) commits: u64,
}

/// How far the counters of a ledger can be believed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::store) enum Standing {
    /// Nothing can be missing.
    Exact,
    /// Something may be missing, but nothing that was durable: what the watermarks promise counts as used.
    Recover(&'static str),
    /// Something that was durable is missing, so that the watermarks are too old to be of use.
    Older {
        /// The last durable commit.
        durable: u64,
    },
}

/// Judges a ledger that was found at `here` beside a lock file that said `testimony`.
pub(in crate::store) fn judge(past: &Past, here: &Place, testimony: Option<&Testimony>) -> Standing {
    if let Some(said) = testimony {
        if past.commits < said.durable {
            return Standing::Older { durable: said.durable };
        }
        if said.poisoned {
            return Standing::Recover("a write failed when it last ran");
        }
        if past.commits < said.commits {
            return Standing::Recover("its last commits are missing");
        }
    }
    if past.clean {
        return Standing::Exact;
    }
    if here.boot.is_empty() || past.place.boot != here.boot {
        return Standing::Recover("the machine was restarted without a clean stop");
    }
    if past.place != *here {
        return Standing::Recover("the file was moved or copied while it was in use");
    }
    match testimony {
        Some(_) => Standing::Exact,
        None => Standing::Recover("the lock file is missing or torn"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(boot: &str, inode: &str) -> Place {
        Place { boot: boot.to_owned(), device: "1".to_owned(), inode: inode.to_owned() }
    }

    fn said(commits: u64, durable: u64) -> Testimony {
        Testimony { instance: "i".to_owned(), commits, durable, poisoned: false }
    }

    fn past(commits: u64, clean: bool) -> Past {
        Past { place: place("b", "7"), clean, commits }
    }

    #[test]
    fn a_note_is_read_back_and_a_torn_one_is_not() {
        let mut text = String::new();
        write(&mut text, &said(u64::MAX, 1_234_567_890), u32::MAX);
        assert_eq!(parse(&text), Some(said(u64::MAX, 1_234_567_890)));
        text.clear();
        write(&mut text, &said(12, 7), 99);
        assert!(
            text.starts_with("pid 0000000099\nledger i\ncommit 00000000000000000012\ndurable 00000000000000000007\n")
        );
        assert_eq!(parse(&text), Some(said(12, 7)));
        for cut in 0..text.len() - 1 {
            assert_eq!(parse(&text[..cut]), None, "cut at {cut}");
        }
        assert_eq!(parse(&text.replace("commit 00000000000000000012", "commit 00000000000000000011")), None);
    }

    #[test]
    fn the_same_file_in_the_same_life_with_every_commit_is_exact() {
        assert_eq!(judge(&past(12, false), &place("b", "7"), Some(&said(12, 7))), Standing::Exact);
        // The process died between a commit and its note.
        assert_eq!(judge(&past(13, false), &place("b", "7"), Some(&said(12, 7))), Standing::Exact);
        assert_eq!(judge(&past(12, true), &place("c", "8"), Some(&said(12, 12))), Standing::Exact);
        assert_eq!(judge(&past(12, true), &place("c", "8"), None), Standing::Exact);
    }

    #[test]
    fn whatever_may_miss_a_commit_is_recovered() {
        let recovers = |past: Past, here: Place, said: Option<Testimony>| {
            assert!(matches!(judge(&past, &here, said.as_ref()), Standing::Recover(_)), "{past:?} {here:?} {said:?}");
        };
        recovers(past(12, false), place("c", "7"), Some(said(12, 7)));
        recovers(past(12, false), place("b", "8"), Some(said(12, 7)));
        recovers(past(12, false), place("", "7"), Some(said(12, 7)));
        recovers(past(12, false), place("b", "7"), None);
        recovers(past(11, false), place("b", "7"), Some(said(12, 7)));
        recovers(past(11, true), place("b", "7"), Some(said(12, 7)));
        recovers(past(12, true), place("b", "7"), Some(Testimony { poisoned: true, ..said(12, 7) }));
    }

    #[test]
    fn a_file_without_its_durable_commits_is_older() {
        let older = Standing::Older { durable: 7 };
        assert_eq!(judge(&past(6, false), &place("b", "7"), Some(&said(12, 7))), older);
        assert_eq!(judge(&past(6, true), &place("b", "7"), Some(&said(12, 7))), older);
        assert_eq!(judge(&past(6, true), &place("c", "9"), Some(&said(12, 7))), older);
    }
}
