//! `gratis load`: drives a proxy and compares its ledger with the simulator's.

use std::time::Duration;

use http::Uri;
use tokio_util::sync::CancellationToken;

use super::client::runtime_of_many;
use super::out::{Format, Out};
use super::{Done, Failure};
use crate::load::{LoadError, Progress, Settings, run as drive};

/// Between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Drive a proxy, and compare what it counted with what the simulator charged.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Where calls go: an origin or a base URL. Can be repeated: calls go to each in turn.
    #[arg(long = "target", value_name = "URL", required = true)]
    targets: Vec<Uri>,
    /// The API key of every call.
    #[arg(long)]
    key: String,
    /// A model to ask for. Can be repeated.
    #[arg(long = "model", value_name = "CODE", required = true)]
    models: Vec<String>,
    /// Stop after so many calls [default without a duration: 100]
    #[arg(long, value_name = "N", conflicts_with = "duration")]
    requests: Option<u64>,
    /// Stop sending after so long, `10s` for example.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// Callers at a time; with a rate, the most calls in flight.
    #[arg(long, value_name = "N", default_value_t = 16)]
    concurrency: usize,
    /// Calls a second, whether or not earlier ones have ended.
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// The part of the calls that is streamed, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.5)]
    stream_share: f64,
    /// The part of the calls whose client goes away at a random point, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    abort_share: f64,
    /// Bytes of prompt, at most.
    #[arg(long, value_name = "N", default_value_t = 256)]
    prompt_bytes: usize,
    /// The `max_tokens` of every call; without it none is sent.
    #[arg(long, value_name = "N")]
    max_tokens: Option<u32>,
    /// How long a call may take.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "120s")]
    call_timeout: Duration,
    /// The simulator's origin.
    #[arg(long, value_name = "URL", requires = "admins")]
    oracle: Option<Uri>,
    /// The admin API's origin. Can be repeated for replicas of one ledger: the first that answers is read.
    #[arg(long = "admin", value_name = "URL", requires = "oracle")]
    admins: Vec<Uri>,
    /// The admin token.
    #[arg(long, value_name = "TOKEN", env = "GRATIS_ADMIN_TOKEN", hide_env_values = true)]
    admin_token: Option<String>,
    /// The proxy's lease, where the admin API does not say it.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10m")]
    lease: Duration,
    /// Decides everything that is left to chance.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How the report is shown.
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,
}

/// Reads a time with its unit: `10s`, `250ms`, `5m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time: write 10s, 250ms or 5m");
    let read: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(read).map_err(|_| wrong())
}

impl Args {
    fn settings(self) -> (Settings, Format) {
        let settings = Settings {
            targets: self.targets,
            key: self.key,
            models: self.models,
            requests: self.requests,
            duration: self.duration,
            concurrency: self.concurrency,
            rate: self.rate,
            stream_share: self.stream_share,
            abort_share: self.abort_share,
            prompt_bytes: self.prompt_bytes,
            max_tokens: self.max_tokens,
            call_timeout: self.call_timeout,
            oracle: self.oracle,
            admins: self.admins,
            admin_token: self.admin_token,
            lease: self.lease,
            seed: self.seed,
            stop: CancellationToken::new(),
        };
        (settings, self.output)
    }
}

pub(super) fn run(args: Args, out: &mut Out<'_>) -> Done {
    let (settings, format) = args.settings();
    let stop = settings.stop.clone();
    let report = runtime_of_many()?.block_on(async {
        let mut told = None;
        let mut run = std::pin::pin!(drive(settings, |progress| tell(progress, &mut told, out)));
        tokio::select! {
            report = &mut run => report,
            // What was sent so far is still reported.
            _ = tokio::signal::ctrl_c() => {
                stop.cancel();
                run.await
            }
        }
    });
    let report = report.map_err(|error| match error {
        LoadError::Setting { .. } => Failure::Usage(error.to_string()),
        LoadError::Unanswered { .. } => Failure::Unreachable(error.to_string()),
    })?;
    match format {
        Format::Json => {
            let value = serde_json::to_value(&report);
            out.json(&value.map_err(|error| Failure::Refused(format!("the report cannot be shown: {error}")))?)?;
        }
        Format::Table => out.pairs(&report.rows())?,
    }
    if report.exit_ok() { Ok(()) } else { Err(Failure::Said) }
}

/// A line of progress now and then. That nobody reads it is no reason to stop.
fn tell(progress: Progress, told: &mut Option<(bool, Duration)>, out: &mut Out<'_>) {
    let (settling, elapsed) = match progress {
        Progress::Sending { elapsed, .. } => (false, elapsed),
        Progress::Settling { elapsed, .. } => (true, elapsed),
    };
    if told.is_some_and(|(phase, last)| phase == settling && elapsed < last + PROGRESS_EVERY) {
        return;
    }
    *told = Some((settling, elapsed));
    let _ = match progress {
        Progress::Sending { elapsed, begun, completed, failed, in_flight } => out.remark(format_args!(
            "{:>5.1} s  {begun} begun, {completed} completed, {failed} failed, {in_flight} in flight",
            elapsed.as_secs_f64()
        )),
        Progress::Settling { elapsed, held, limit } => out.remark(format_args!(
            "{:>5.1} s  waiting for holds to be resolved: {} held, at most {:.0} s",
            elapsed.as_secs_f64(),
            held.map_or_else(|| "unknown".to_owned(), crate::admin::figure::show),
            limit.as_secs_f64()
        )),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        for wrong in ["", "10", "-1s", "soon"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
