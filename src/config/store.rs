//! `[store]`: where the ledger is kept.

use std::path::PathBuf;
use std::time::Duration;

use super::reader::Reader;

/// The ledger's store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreConfig {
    /// The folder of everything that Gratis writes: the embedded ledger, the pepper, the operator's token.
    pub state_dir: PathBuf,
    /// Which store it is.
    pub kind: StoreKind,
    /// How long a hold lives (LEDGER 2).
    pub lease: Duration,
    /// How often what was written is forced to the disk (LEDGER 3).
    pub flush_interval: Duration,
    /// Requests that may wait for the writer.
    pub queue: usize,
}

/// Which store keeps the ledger.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreKind {
    /// SQLite in the state folder, one process alone (LEDGER 3).
    Embedded,
}

pub(super) fn read(mut r: Reader<'_, '_>) -> Option<StoreConfig> {
    let millis = Duration::from_millis;
    let state_dir = r.required_path("state_dir");
    let kind = r.choice("url", &[("embedded", StoreKind::Embedded)]);
    // A lease of less than a second would turn live calls into presumed ones all the time.
    let lease = r.duration("lease", millis(1_000)..=millis(86_400_000));
    let flush_interval = r.duration("flush_interval", millis(10)..=millis(60_000));
    let queue = r.count("queue", 16..=1_000_000);
    r.finish();
    Some(StoreConfig {
        state_dir: state_dir?,
        kind: kind?,
        lease: lease?,
        flush_interval: flush_interval?,
        queue: usize::try_from(queue?).ok()?,
    })
}
