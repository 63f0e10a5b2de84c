//! `[quota]` and `[limits]`: how calls are kept within the free quota, and how large anything may become.

use std::time::Duration;

use super::reader::Reader;
use crate::dialect::STRIPPABLE;
use crate::ledger::{Amount, MAX_AMOUNT, Overrun};

/// How calls are kept within the free quota (LEDGER 7, 8, 9).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuotaConfig {
    /// Whether a call may exceed the quota in free quota only; `None` = the site's rule.
    pub overrun: Option<Overrun>,
    /// Whether nothing is refused for quota, only counted (E6).
    pub shadow: bool,
    /// What is left out of a call rather than refused because it is billed beside the quota (C11).
    pub strip: Vec<String>,
    /// A call without bounds of its own holds at most this share of what is left.
    pub hold_share: u64,
    /// What it may hold in any case.
    pub hold_share_floor: Amount,
    /// With less than this for the answer a call is refused.
    pub min_output: Amount,
    /// When the output bound is made explicit upstream.
    pub clamp: Clamp,
    /// The bound of the answer where a call names none; `None` = the model's maximum.
    pub max_output_default: Option<Amount>,
    /// How long a call waits where only holds are in the way.
    pub busy_wait: Duration,
    /// How many may wait so.
    pub busy_queue: usize,
    /// The longest plain call.
    pub max_call_plain: Duration,
    /// The longest streamed call.
    pub max_call_stream: Duration,
    /// What happens when a client leaves.
    pub on_disconnect: OnDisconnect,
    /// The most bytes of one response that are read for a client that left.
    pub drain_bytes: u64,
    /// The longest that is done.
    pub drain_time: Duration,
    /// How many responses are read so at the same time.
    pub drain_streams: usize,
    /// How long the end mark waits for the settlement.
    pub settle_wait: Duration,
    /// How many settlements may wait.
    pub settle_queue: usize,
    /// After this many presumed in a row the upstream is left alone.
    pub presumed_breaker: u32,
    /// For how long.
    pub breaker_cool_down: Duration,
    /// How often tasks in progress are asked about.
    pub task_poll: Duration,
}

/// When the output bound is made explicit upstream (LEDGER 7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clamp {
    /// Always: also a bound that the request names is made smaller where it does not fit.
    Always,
    /// Only where the request names none.
    Absent,
    /// Never: what does not fit as it is, is refused.
    Never,
}

/// What happens to a call whose client leaves (ARCHITECTURE 5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnDisconnect {
    /// Read on for the usage, within the caps.
    Drain,
    /// Stop, and presume the hold.
    Cancel,
}

/// How large anything may become.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LimitsConfig {
    /// Bytes of one request (F-ACC-8).
    pub max_body: usize,
    /// Bytes of memory of the process; `None` = those of its control group, or of the machine (F-LIF-6).
    pub memory: Option<u64>,
    /// How long a request's body may take to arrive (F-ACC-3).
    pub body_timeout: Duration,
    /// The least bytes a second of a request's body, once it has had a while; 0 = as slow as it likes (F-ACC-3).
    pub body_min_rate: u64,
    /// How long a client may leave a response unread (F-ACC-4).
    pub write_timeout: Duration,
    /// Calls in progress.
    pub in_flight: usize,
    /// Calls of one key in progress (F-CLI-5).
    pub key_in_flight: usize,
}

/// The parameters that are left out; each must be one that can be.
fn strip(r: &mut Reader<'_, '_>) -> Option<Vec<String>> {
    let named = r.texts("strip")?;
    for (name, spot) in named.iter().filter(|(name, _)| !STRIPPABLE.contains(&name.as_str())) {
        let help = format!("what can be left out: {}", STRIPPABLE.join(", "));
        r.report.mistake(*spot, format!("`{name}` cannot be left out of a call"), "this name", Some(help));
    }
    Some(named.into_iter().map(|(name, _)| name).collect())
}

pub(super) fn read_quota(mut r: Reader<'_, '_>) -> Option<QuotaConfig> {
    let millis = Duration::from_millis;
    let day = millis(86_400_000);
    let clamps = [("always", Clamp::Always), ("absent", Clamp::Absent), ("never", Clamp::Never)];
    let overruns = [("never", Overrun::Never), ("last-call", Overrun::LastCall)];
    let leaves = [("drain", OnDisconnect::Drain), ("cancel", OnDisconnect::Cancel)];
    let overrun = r.optional_choice("overrun", &overruns);
    let shadow = r.flag("shadow");
    let strip = strip(&mut r);
    let hold_share = r.count("hold_share", 1..=1_000);
    let hold_share_floor = r.count("hold_share_floor", 1..=MAX_AMOUNT);
    let min_output = r.count("min_output", 1..=MAX_AMOUNT);
    let clamp = r.choice("clamp", &clamps);
    let max_output_default = r.optional_count("max_output_default", 1..=MAX_AMOUNT);
    let busy_wait = r.duration("busy_wait", Duration::ZERO..=millis(60_000));
    let busy_queue = r.count("busy_queue", 0..=1_000_000);
    let max_call_plain = r.duration("max_call_plain", millis(1_000)..=day);
    let max_call_stream = r.duration("max_call_stream", millis(1_000)..=day);
    let on_disconnect = r.choice("on_disconnect", &leaves);
    let drain_bytes = r.size("drain_bytes", 0..=1 << 40);
    let drain_time = r.duration("drain_time", Duration::ZERO..=day);
    let drain_streams = r.count("drain_streams", 0..=1_000_000);
    let settle_wait = r.duration("settle_wait", Duration::ZERO..=millis(10_000));
    let settle_queue = r.count("settle_queue", 16..=10_000_000);
    let presumed_breaker = r.count("presumed_breaker", 1..=1_000_000);
    let breaker_cool_down = r.duration("breaker_cool_down", millis(100)..=day);
    let task_poll = r.duration("task_poll", millis(100)..=millis(3_600_000));
    if let (Some(least), Some(Some(most))) = (min_output, max_output_default)
        && most < least
    {
        let message =
            format!("`max_output_default` is below `min_output` ({least}), so every silent call would be refused");
        r.report.mistake(r.spot_of("max_output_default"), message, "too small", None);
    }
    r.finish();
    Some(QuotaConfig {
        overrun: overrun?,
        shadow: shadow?,
        strip: strip?,
        hold_share: hold_share?,
        hold_share_floor: hold_share_floor?,
        min_output: min_output?,
        clamp: clamp?,
        max_output_default: max_output_default?,
        busy_wait: busy_wait?,
        busy_queue: usize::try_from(busy_queue?).ok()?,
        max_call_plain: max_call_plain?,
        max_call_stream: max_call_stream?,
        on_disconnect: on_disconnect?,
        drain_bytes: drain_bytes?,
        drain_time: drain_time?,
        drain_streams: usize::try_from(drain_streams?).ok()?,
        settle_wait: settle_wait?,
        settle_queue: usize::try_from(settle_queue?).ok()?,
        presumed_breaker: u32::try_from(presumed_breaker?).ok()?,
        breaker_cool_down: breaker_cool_down?,
        task_poll: task_poll?,
    })
}

pub(super) fn read_limits(mut r: Reader<'_, '_>) -> Option<LimitsConfig> {
    let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3_600));
    let max_body = r.size("max_body", 1 << 10..=1 << 30);
    let memory = r.optional_size("memory", 16 << 20..=1 << 44);
    let body_timeout = r.duration("body_timeout", second..=hour);
    let body_min_rate = r.size("body_min_rate", 0..=1 << 30);
    let write_timeout = r.duration("write_timeout", second..=hour);
    let in_flight = r.count("in_flight", 1..=1_000_000);
    let key_in_flight = r.count("key_in_flight", 1..=1_000_000);
    r.finish();
    Some(LimitsConfig {
        max_body: usize::try_from(max_body?).ok()?,
        memory: memory?,
        body_timeout: body_timeout?,
        body_min_rate: body_min_rate?,
        write_timeout: write_timeout?,
        in_flight: usize::try_from(in_flight?).ok()?,
        key_in_flight: usize::try_from(key_in_flight?).ok()?,
    })
}
