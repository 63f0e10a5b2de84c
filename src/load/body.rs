//! What one call asks for, all of it decided by the seed and the number of the call.

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;

use super::Settings;

/// Where the client goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Abort {
    /// So many milliseconds after sending began, if the head has not come by then.
    BeforeHead(u64),
    /// After so many pieces of the body.
    AfterPieces(u64),
}

/// One call, ready to be sent.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) body: Bytes,
    pub(super) stream: bool,
    pub(super) abort: Option<Abort>,
}

/// The longest wait of a client that goes away before the head, as a power of two of milliseconds.
const SOON: u32 = 4;
/// The most pieces that a client which goes away reads, as a power of two.
const PIECES: u32 = 5;

const WORDS: &[&str] = &["quota", "river", "ledger", "please", "count", "tokens", "水", "到", "渠", "成", "é", "why"];

/// Makes the call of that number.
pub(super) fn order(settings: &Settings, number: u64) -> Order {
    let mut rng = StdRng::seed_from_u64(settings.seed.rotate_left(32) ^ number);
    let turn = usize::try_from(number).unwrap_or(0) % settings.models.len().max(1);
    let model = settings.models.get(turn).map_or("", String::as_str);
    let stream = rng.random_bool(settings.stream_share);
    let mut body = json!({
        "model": model,
        "messages": [
            {"role": "system", "content": "Answer in a few words."},
            {"role": "user", "content": prompt(settings.prompt_bytes, &mut rng)},
        ],
    });
    if let Some(body) = body.as_object_mut() {
        if stream {
            body.insert("stream".to_owned(), true.into());
            // Some clients ask for the usage and some do not; a proxy has to count both.
            if rng.random_bool(0.5) {
                body.insert("stream_options".to_owned(), json!({"include_usage": true}));
            }
        }
        if let Some(most) = settings.max_tokens {
            body.insert("max_tokens".to_owned(), most.into());
        }
    }
    let abort = rng.random_bool(settings.abort_share).then(|| abort(stream, &mut rng));
    Order { body: body.to_string().into(), stream, abort }
}

fn abort(stream: bool, rng: &mut StdRng) -> Abort {
    // A plain reply is one or two pieces: there is little else to interrupt than the wait for it.
    if !stream || rng.random_bool(0.25) {
        Abort::BeforeHead(early(SOON, rng))
    } else {
        Abort::AfterPieces(early(PIECES, rng))
    }
}

/// Every order of magnitude as likely as the others: a fast server has answered in full when an even choice comes.
fn early(most: u32, rng: &mut StdRng) -> u64 {
    let power = rng.random_range(0..=most);
    rng.random_range(0..=1_u64 << power)
}

fn prompt(most: usize, rng: &mut StdRng) -> String {
    let length = rng.random_range(most / 4..=most.max(1));
    let mut text = String::with_capacity(length + 8);
    while text.len() < length {
        text.push_str(WORDS.get(rng.random_range(0..WORDS.len())).copied().unwrap_or("a"));
        text.push(' ');
    }
    text
}
