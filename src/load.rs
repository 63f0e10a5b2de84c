//! The load client: drives a proxy, and settles its account against the simulator's ledger.
//!
//! With a rate it is open loop: the instants of sending are fixed beforehand and latency counts from the planned
//! instant, so that a slow server cannot hide its slowness by holding the client back. Without one it is closed loop:
//! as many callers as `concurrency`, each with one call at a time.
//!
//! # The verdict
//!
//! For each model, in tokens, from the totals of both ledgers (`GET {oracle}/ledger`,
//! `GET {admin}/admin/v1/balances`), read when nothing is held any more and two readings agree:
//!
//! * overspent = max(0, charged - granted)
//! * drift = max(0, charged - spent - presumed) + max(0, spent - charged)
//! * phantom = what is still held one lease after the last call ended
//!
//! Totals are compared, not differences, so that what an earlier run lost stays visible. This is right when simulator
//! and grant were fresh together; a simulator that charged before the grant was made is to be reset first
//! (`POST /reset`), and the report says so when it looks like that.

mod ask;
mod body;
mod call;
mod fleet;
mod report;
mod tally;
mod verdict;
mod watch;

use std::time::Duration;

use http::Uri;
use tokio_util::sync::CancellationToken;

pub use report::{ModelVerdict, Percentiles, Report, TargetReport, Verdict};

/// What to send, where to, and whom to ask afterwards.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where calls go, in turn: an origin, or a base URL that ends in `/compatible-mode/v1` or `/v1`. Plain HTTP.
    pub targets: Vec<Uri>,
    /// The API key of every call.
    pub key: String,
    /// The models asked for, in turn.
    pub models: Vec<String>,
    /// Stop after so many calls. Without it and without a duration: 100 calls.
    pub requests: Option<u64>,
    /// Stop sending after so long; calls in flight are waited for.
    pub duration: Option<Duration>,
    /// Callers at a time (at least 1); with a rate, the most calls in flight.
    pub concurrency: usize,
    /// Calls a second; `None` = closed loop.
    pub rate: Option<f64>,
    /// The part of the calls that is streamed, 0 to 1.
    pub stream_share: f64,
    /// The part of the calls whose client goes away at a random point, 0 to 1.
    pub abort_share: f64,
    /// Bytes of prompt, at most; each call takes between a quarter and all of it.
    pub prompt_bytes: usize,
    /// The `max_tokens` of every call; `None` sends none.
    pub max_tokens: Option<u32>,
    /// A call that takes longer is given up and counted as an error.
    pub call_timeout: Duration,
    /// The simulator's origin.
    pub oracle: Option<Uri>,
    /// Origins of admin APIs of one ledger; the first that answers is read.
    pub admins: Vec<Uri>,
    /// The admin API's token.
    pub admin_token: Option<String>,
    /// The proxy's lease, where the admin API does not say it.
    pub lease: Duration,
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// Ends the sending early; the report is still made.
    pub stop: CancellationToken,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            targets: Vec::new(),
            key: String::new(),
            models: Vec::new(),
            requests: None,
            duration: None,
            concurrency: 16,
            rate: None,
            stream_share: 0.5,
            abort_share: 0.0,
            prompt_bytes: 256,
            max_tokens: None,
            call_timeout: Duration::from_secs(120),
            oracle: None,
            admins: Vec::new(),
            admin_token: None,
            lease: Duration::from_secs(600),
            seed: 1,
            stop: CancellationToken::new(),
        }
    }
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Progress {
    /// Calls are being sent.
    Sending {
        /// Since the start.
        elapsed: Duration,
        /// Calls begun.
        begun: u64,
        /// Calls that ended well.
        completed: u64,
        /// Calls that ended otherwise, aborts left out.
        failed: u64,
        /// Calls in flight.
        in_flight: u64,
    },
    /// Every call has ended; the holds are not all resolved yet.
    Settling {
        /// Since the last call ended.
        elapsed: Duration,
        /// Tokens still held; `None` while the admin API does not answer.
        held: Option<u64>,
        /// When waiting ends.
        limit: Duration,
    },
}

/// Why a run could not begin.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A setting makes no sense.
    #[error("{setting}: {problem}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// The simulator or the admin API did not say where things stood before the run.
    #[error("{whom} at {url}: {problem}")]
    Unanswered {
        /// `simulator` or `admin API`.
        whom: &'static str,
        /// What was asked.
        url: String,
        /// What came instead.
        problem: String,
    },
}

/// Sends the load, waits until the holds are resolved, and reports. Dropping the future stops everything.
///
/// # Errors
/// [`LoadError`] before the first call only. What fails later is in the report.
pub async fn run(settings: Settings, mut progress: impl FnMut(Progress)) -> Result<Report, LoadError> {
    check(&settings)?;
    let watch = watch::Watch::new(&settings)?;
    let before = watch.baseline().await?;
    let tally = fleet::drive(&settings, &mut progress).await?;
    let after = watch.settled(before.as_ref(), &mut progress).await;
    Ok(report::make(&settings, &tally, before, after))
}

fn check(settings: &Settings) -> Result<(), LoadError> {
    let wrong = |setting, problem: &str| Err(LoadError::Setting { setting, problem: problem.to_owned() });
    if settings.targets.is_empty() {
        return wrong("target", "at least one URL is needed");
    }
    if settings.models.is_empty() {
        return wrong("model", "at least one model code is needed");
    }
    for (setting, share) in [("stream-share", settings.stream_share), ("abort-share", settings.abort_share)] {
        if !(0.0..=1.0).contains(&share) {
            return wrong(setting, "a share is between 0 and 1");
        }
    }
    if settings.rate.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
        return wrong("rate", "calls a second, more than 0");
    }
    if settings.concurrency == 0 {
        return wrong("concurrency", "at least 1");
    }
    if settings.admins.is_empty() != settings.oracle.is_none() {
        return wrong("oracle", "the verdict needs the simulator (--oracle) and the admin API (--admin) together");
    }
    Ok(())
}
