//! What a poll says of a task (W 1.6, 3.5).

use super::finding::{Reading, Tally};
use super::json_scan::JsonScan;
use super::{Api, Watch};
use crate::ledger::{Unit, Usage};

/// What became of a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TaskOutcome {
    /// It goes on, or the reply does not tell.
    Running,
    /// It is over and used this much.
    Used(Usage),
    /// It is over, and what it used cannot be read.
    Unread,
    /// It failed or was cancelled, which is free.
    Failed,
}

impl TaskOutcome {
    /// Reads the whole reply to a poll of a task whose model is counted in `unit`.
    #[must_use]
    pub fn read(body: &[u8], unit: Unit) -> Self {
        let watch = Watch { api: Api::Image, unit };
        let mut tally = Tally::new(watch);
        let mut scan: JsonScan = tally.scan();
        scan.feed(body);
        let status: Option<String> = scan.task_status.value().and_then(|raw| serde_json::from_slice(raw).ok());
        match status.as_deref() {
            Some("SUCCEEDED") => {
                tally.reply(&scan);
                match tally.finding().reading {
                    Reading::Exact(usage) => Self::Used(usage),
                    Reading::AtLeast(_) | Reading::None => Self::Unread,
                }
            }
            Some("FAILED" | "CANCELED") => Self::Failed,
            _ => Self::Running,
        }
    }
}
