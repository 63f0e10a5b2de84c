//! How a reply travels: whole, in pieces, compressed, broken.

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::HeaderValue;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};

use super::behaviour::Behaviour;
use super::chunks::{self, Event};
use super::delivery::{Script, Step, split};
use super::errors::Envelope;
use super::modes::Mode;
use super::render::Head;
use super::route::{self, Answer};
use super::serve::Fate;

/// Bytes a write of `slow-drip`, and the wait between two.
const DRIP: (usize, Duration) = (8, Duration::from_millis(20));
/// Bytes a write of `split` without a number.
const SPLIT: usize = 7;
/// How much more than the body `wrong-length` promises.
const TOO_LONG: u64 = 64;
/// What `garbage` sends: no JSON, no event, no UTF-8.
const GARBAGE: &[u8] = b"\x00\x9f\x92\x96 this is not what was asked for {{{ \xff";

/// A streamed reply.
pub(super) fn stream(events: &[Event], behaviour: &Behaviour, delay: Duration, head: &Head, fate: &Fate) -> Answer {
    let mode = behaviour.mode;
    let mut steps: Vec<Step> = Vec::new();
    for event in halved(events, mode) {
        if !(delay.is_zero() || steps.is_empty()) {
            steps.push(Step::Wait(delay));
        }
        steps.push(Step::Send(chunks::frame(event, mode)));
    }
    if mode == Mode::ErrorMidStream
        && let Some(envelope) = Envelope::of(mode, &head.model)
    {
        steps.push(Step::Send(chunks::frame(&chunks::error(&envelope, head), mode)));
    }
    if mode == Mode::Garbage {
        steps = vec![Step::Send(Bytes::from_static(GARBAGE))];
    }
    steps.push(Step::Flush);
    let mut answer = route::stream(Vec::new(), fate);
    if mode == Mode::GzipStream {
        steps = gzip_steps(steps);
        answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    finish(answer, steps, behaviour, fate)
}

/// A plain reply.
pub(super) fn plain(body: Vec<u8>, behaviour: &Behaviour, gzip: bool, fate: &Fate) -> Answer {
    let mut answer = route::json_head(fate);
    let body = match behaviour.mode {
        Mode::Garbage => GARBAGE.to_vec(),
        Mode::InvalidUtf8 => spoil(body),
        Mode::ErrorHtml => {
            *answer.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
            b"<html><body><h1>500 Internal Server Error</h1></body></html>".to_vec()
        }
        _ => body,
    };
    let body = if gzip {
        answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        compress(&body)
    } else {
        Bytes::from(body)
    };
    let steps = if is_cut(behaviour.mode) {
        let half = body.slice(..body.len().div_ceil(2));
        vec![Step::Send(half), Step::Flush]
    } else {
        vec![Step::Send(body)]
    };
    finish(answer, steps, behaviour, fate)
}

/// Whether only the first half of the reply is sent.
const fn is_cut(mode: Mode) -> bool {
    matches!(mode, Mode::HangMidStream | Mode::ResetMidStream | Mode::Truncate | Mode::Cut | Mode::ErrorMidStream)
}

/// The events that are sent: the first half of the chunks, and neither usage nor `[DONE]`, where the mode cuts.
fn halved(events: &[Event], mode: Mode) -> &[Event] {
    if !is_cut(mode) {
        return events;
    }
    let chunks = events.iter().take_while(|event| matches!(event, Event::Chunk(_) | Event::Framed(_))).count();
    events.get(..chunks.div_ceil(2)).unwrap_or(events)
}

/// The last steps and the body, as the mode has them.
fn finish(mut answer: Answer, mut steps: Vec<Step>, behaviour: &Behaviour, fate: &Fate) -> Answer {
    match behaviour.mode {
        Mode::HangMidStream => steps.push(Step::Hang),
        Mode::ResetMidStream => steps.push(Step::Break { reset: true }),
        Mode::Truncate => steps.push(Step::Break { reset: false }),
        Mode::Split => steps = split(steps, behaviour.split_every.unwrap_or(SPLIT), Duration::ZERO),
        Mode::SlowDrip => steps = split(steps, behaviour.split_every.unwrap_or(DRIP.0), DRIP.1),
        Mode::WrongLength => {
            let sent: u64 = steps.iter().map(length).sum();
            answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(sent.saturating_add(TOO_LONG)));
            steps.extend([Step::Flush, Step::Break { reset: false }]);
        }
        _ => (),
    }
    answer.map(|_| Script::new(steps, fate))
}

fn length(step: &Step) -> u64 {
    match step {
        Step::Send(bytes) => bytes.len() as u64,
        Step::Flush | Step::Wait(_) | Step::Hang | Step::Break { .. } => 0,
    }
}

/// Puts two bytes that are no UTF-8 into the first text.
fn spoil(body: Vec<u8>) -> Vec<u8> {
    let mark = b"\"content\":\"";
    let at = body.windows(mark.len()).position(|window| window == mark).map_or(0, |at| at + mark.len());
    let mut spoiled = body;
    spoiled.splice(at..at, [0xff, 0xfe]);
    spoiled
}

fn compress(body: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing into memory cannot fail.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default().into()
}

/// One gzip stream over all pieces, each flushed so that it can be read on arrival.
fn gzip_steps(steps: Vec<Step>) -> Vec<Step> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let mut out: Vec<Step> = steps
        .into_iter()
        .map(|step| match step {
            Step::Send(bytes) => {
                let _ = encoder.write_all(&bytes);
                let _ = encoder.flush();
                Step::Send(std::mem::take(encoder.get_mut()).into())
            }
            other @ (Step::Flush | Step::Wait(_) | Step::Hang | Step::Break { .. }) => other,
        })
        .collect();
    out.push(Step::Send(encoder.finish().unwrap_or_default().into()));
    out
}
