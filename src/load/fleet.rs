//! The callers: as many as the concurrency, each with one call at a time.
//!
//! With a rate every call has a planned instant, fixed by its number alone. A caller that is late sends at once, and
//! the latency still counts from the plan.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Uri;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, sleep_until};

use super::call::{self, Caller, Ending};
use super::tally::Tally;
use super::{LoadError, Progress, Settings, body};

/// How often progress is told.
const TICK: Duration = Duration::from_millis(500);
/// The rest of a caller who found nobody there, so that a dead target does not turn into a spin.
const REST: Duration = Duration::from_millis(20);
/// Calls of a run that names neither a number nor a duration.
const DEFAULT_REQUESTS: u64 = 100;

/// What the callers share.
struct Fleet {
    settings: Settings,
    urls: Vec<Uri>,
    caller: Caller,
    next: AtomicU64,
    most: u64,
    start: Instant,
    tally: Mutex<Tally>,
}

impl Fleet {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the next call and when it is to be sent; `None` = enough.
    fn ticket(&self) -> Option<(u64, Instant)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let planned = match self.settings.rate {
            Some(rate) => self.start + seconds(number, rate),
            None => Instant::now(),
        };
        let over = self.settings.duration.is_some_and(|most| planned.duration_since(self.start) >= most);
        (number < self.most && !over).then_some((number, planned))
    }

    /// One caller, until nothing is left to send.
    async fn call_on(&self) {
        while let Some((number, planned)) = self.ticket() {
            tokio::select! {
                biased;
                () = self.settings.stop.cancelled() => return,
                () = sleep_until(planned) => (),
            }
            let order = body::order(&self.settings, number);
            let turn = usize::try_from(number).unwrap_or(0) % self.urls.len().max(1);
            let Some(url) = self.urls.get(turn) else { return };
            self.tally().begin(turn, order.stream);
            let outcome = call::make(&self.caller, &self.settings, url, order, planned).await;
            let dead = matches!(&outcome.ending, Ending::Failed(kind) if kind == "connection refused");
            self.tally().end(turn, outcome);
            if dead {
                sleep(REST).await;
            }
        }
    }

    fn progress(&self) -> Progress {
        let tally = self.tally();
        Progress::Sending {
            elapsed: self.start.elapsed(),
            begun: tally.begun,
            completed: tally.completed,
            failed: tally.failed(),
            in_flight: tally.in_flight(),
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "a call's number stays far below 2^52")]
fn seconds(number: u64, rate: f64) -> Duration {
    Duration::try_from_secs_f64(number as f64 / rate).unwrap_or(Duration::MAX / 4)
}

/// Sends everything and waits until every call has ended.
pub(super) async fn drive(settings: &Settings, progress: &mut impl FnMut(Progress)) -> Result<Tally, LoadError> {
    let wrong = |setting, problem| LoadError::Setting { setting, problem };
    let urls = settings.targets.iter().map(chat_url).collect::<Result<Vec<_>, _>>();
    let most = match (settings.requests, settings.duration) {
        (Some(requests), _) => requests,
        (None, Some(_)) => u64::MAX,
        (None, None) => DEFAULT_REQUESTS,
    };
    let tally = Tally::new(settings.targets.len())
        .ok_or_else(|| wrong("histogram", "three digits are not possible".to_owned()))?;
    let fleet = Arc::new(Fleet {
        settings: settings.clone(),
        urls: urls.map_err(|problem| wrong("target", problem))?,
        caller: call::caller(settings),
        next: AtomicU64::new(0),
        most,
        start: Instant::now(),
        tally: Mutex::new(tally),
    });
    let mut callers = JoinSet::new();
    let wanted = u64::try_from(settings.concurrency).unwrap_or(u64::MAX).min(most);
    for _ in 0..wanted {
        let fleet = Arc::clone(&fleet);
        callers.spawn(async move { fleet.call_on().await });
    }
    let mut tick = interval(TICK);
    loop {
        tokio::select! {
            ended = callers.join_next() => if ended.is_none() { break },
            _ = tick.tick() => progress(fleet.progress()),
        }
    }
    progress(fleet.progress());
    let elapsed = fleet.start.elapsed();
    let fresh = Tally::new(0).ok_or_else(|| wrong("histogram", "three digits are not possible".to_owned()))?;
    let mut tally = std::mem::replace(&mut *fleet.tally(), fresh);
    tally.elapsed = elapsed;
    Ok(tally)
}

/// Where chat calls of a target go: an origin gets the compatible-mode path, a base URL keeps its own.
fn chat_url(target: &Uri) -> Result<Uri, String> {
    if target.scheme_str() != Some("http") || target.authority().is_none() {
        return Err(format!("{target}: an http:// URL is needed"));
    }
    let base = target.to_string();
    let base = base.trim_end_matches('/');
    let path = if target.path().trim_end_matches('/').is_empty() { "/compatible-mode/v1" } else { "" };
    format!("{base}{path}/chat/completions").parse().map_err(|error| format!("{target}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_an_origin_or_a_base_url() {
        let url = |target: &str| chat_url(&target.parse().unwrap()).map(|url| url.to_string());
        let full = "http://127.0.0.1:8/compatible-mode/v1/chat/completions";
        assert_eq!(url("http://127.0.0.1:8").as_deref(), Ok(full));
        assert_eq!(url("http://127.0.0.1:8/").as_deref(), Ok(full));
        assert_eq!(url("http://127.0.0.1:8/compatible-mode/v1/").as_deref(), Ok(full));
        assert_eq!(url("http://127.0.0.1:8/v1").as_deref(), Ok("http://127.0.0.1:8/v1/chat/completions"));
        assert!(url("https://127.0.0.1:8").is_err());
        assert!(url("/v1").is_err());
    }

    #[test]
    fn planned_instants_depend_on_the_number_alone() {
        assert_eq!(seconds(0, 100.0), Duration::ZERO);
        assert_eq!(seconds(250, 100.0), Duration::from_millis(2_500));
    }
}
