//! What decides the cost of a request, read in one pass over its body.
//!
//! The reader is stricter than the services are: where two JSON parsers could read a body differently, one of them
//! would meter another call than the one that is charged, so such a body is refused.

mod body;
mod bound;
mod content;
mod message;
mod names;
mod parameter;
mod skim;
mod sound;
mod splice_spans;
mod stream_options;
mod tables;
mod tools;
mod values;

use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue};

use super::error::DialectError;
use super::splice::{self, Clamp};
use super::{Api, Dialect, Kind};
pub(super) use splice_spans::{Options, Slot, Spans, Switch};

pub(super) use names::looks_like;

/// The deepest nesting of a body.
const MAX_DEPTH: u8 = 64;
/// The deepest nesting of tools: re-serialised, deeper ones could outgrow their bound (LEDGER 7).
const MAX_TOOL_DEPTH: u8 = 32;
/// The longest model code, in bytes.
const MAX_MODEL: usize = 128;
/// The largest number that a bound may be.
const MAX_COUNT: u64 = 1 << 31;
/// The longest name of a parameter that we do not know, in bytes.
const MAX_NAME: usize = 128;
/// How many top-level parameters a body may have that we do not know.
const MAX_UNKNOWN: usize = 64;

/// What a request asks for, and where its bounds stand in the body.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// Whose shape the request has.
    pub api: Api,
    /// The model code, exactly as written.
    pub model: String,
    /// Whether the reply is to be streamed.
    pub stream: bool,
    /// Whether the call is to go on as a task.
    pub task: bool,
    /// Whether the client asked for usage in the stream itself.
    pub usage_asked: bool,
    /// How many answers are asked for (`n`, or `best_of` where that is larger); 1 where the request is silent.
    pub choices: u32,
    /// The bound of one answer, in tokens: `max_tokens` or `max_completion_tokens`.
    pub answer: Option<u64>,
    /// What is asked about thinking.
    pub thinking: ThinkingAsk,
    /// The parts of the input's bound.
    pub input: InputBound,
    /// What it asks for in units other than tokens.
    pub units: UnitsAsk,
    /// Parameters that are billed outside the free quota (W 4), each once, in the order of the body.
    pub surcharges: Vec<String>,
    /// Things kept at the provider, which must belong to the caller's account.
    pub references: Vec<Reference>,
    spans: Spans,
}

/// What a request asks about thinking.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ThinkingAsk {
    /// `Some(true)` where any parameter asks for it, `Some(false)` where `enable_thinking` turns it off; silent otherwise.
    pub enabled: Option<bool>,
    /// The budget, in tokens.
    pub budget: Option<u64>,
    /// Whether a budget may be added where the request names none.
    pub adds_budget: bool,
}

/// Parts from which the bound of the input is made (LEDGER 7).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct InputBound {
    /// Bytes of the messages' text after NFC normalisation, or more.
    pub text: u64,
    /// Six times the bytes of JSON that ends up in the prompt re-serialised: tools, tool calls, unknown parameters.
    pub json: u64,
    /// How many messages there are.
    pub messages: u64,
    /// Whether tools or functions are offered.
    pub has_tools: bool,
    /// How many images there are.
    pub images: u64,
    /// Why nothing in the body bounds the input (video, audio, files, state kept elsewhere): hold the window then.
    pub unbounded: Option<&'static str>,
}

/// What a request asks for in units other than tokens, as far as its body says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct UnitsAsk {
    /// `n`, where it is there.
    pub images: Option<u64>,
    /// How many images each of the `n` may have.
    pub max_images: Option<u64>,
    /// Whether the model decides how many images there are.
    pub interleaved: bool,
    /// Seconds of one video.
    pub seconds: Option<u64>,
    /// Whether a video is read, whose seconds may be charged as well.
    pub video: bool,
    /// How many recordings are read whose length is not known.
    pub recordings: u64,
    /// Seconds of the others, at most.
    pub heard: u64,
    /// Whether something is read that may be heard and stands where nobody looks for it.
    pub elsewhere: bool,
    /// Characters of all texts, as they are charged where they are spoken.
    pub characters: u64,
    /// The same without what stands in tags.
    pub spoken: u64,
    /// Whether tags are not spoken.
    pub ssml: bool,
    /// How many voices are made.
    pub made: u64,
}

/// A thing kept at the provider that a request refers to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reference {
    /// What it is.
    pub kind: Kind,
    /// Its id.
    pub id: String,
    /// Whether it may also be one that the provider has for everybody: then it only must not be another account's.
    pub common: bool,
}

impl Reference {
    /// A voice, or a list of words, that a call is made with: one of the provider's, or of an account's own. What is no id was made by
    /// nobody here.
    pub(super) fn voice(id: String) -> Option<Self> {
        Kind::is_id(&id).then_some(Self { kind: Kind::Voice, id, common: true })
    }
}

/// Whether the reply to a request with these headers is a stream of events, where headers decide it.
pub(super) fn asks_for_events(dialect: Dialect, headers: &HeaderMap) -> bool {
    let accepts = |value: &HeaderValue| value.to_str().is_ok_and(|text| text.contains("text/event-stream"));
    dialect == Dialect::DashScope
        && (is_enabled(headers, "x-dashscope-sse") || headers.get_all(ACCEPT).iter().any(accepts))
}

/// Whether any value of a header is `enable`.
fn is_enabled(headers: &HeaderMap, name: &str) -> bool {
    headers.get_all(name).iter().any(|value| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"enable"))
}

impl Facts {
    /// Reads the body of a request. Whether it is to be streamed may stand in its headers: [`Self::heed`].
    ///
    /// # Errors
    ///
    /// When the body is not one JSON object in UTF-8, repeats or disguises a parameter, or a parameter that decides the
    /// cost has a value that cannot be bounded. The message is meant for the client.
    pub fn read(api: Api, body: &[u8]) -> Result<Self, DialectError> {
        body::read(api, body)
    }

    /// Takes what a request's headers say beside its body (W 2.3).
    pub fn heed(&mut self, headers: &HeaderMap) {
        if self.api.dialect() == Dialect::DashScope {
            self.stream = asks_for_events(Dialect::DashScope, headers);
            // A plugin, or an inspection by another service of the provider's, may be charged beside the model.
            for name in ["X-DashScope-Plugin", "X-DashScope-DataInspection"] {
                if headers.contains_key(name) {
                    self.surcharge(name);
                }
            }
        }
        self.task = self.api.may_be_task() && is_enabled(headers, "x-dashscope-async");
    }

    /// Whether usage has to be asked for in the stream, and taken out again (W 0.5).
    #[must_use]
    pub fn adds_usage(&self) -> bool {
        matches!(self.api, Api::Chat | Api::Completions) && self.stream && !self.usage_asked
    }

    /// The body with the clamp's bounds written into it; every other byte stays as it was.
    ///
    /// `body` must be the one that was read; of another one nothing is sent on (an empty body comes back).
    #[must_use]
    pub fn splice(&self, body: &Bytes, clamp: &Clamp) -> Bytes {
        splice::splice(&self.spans, body, clamp)
    }

    /// Notes a parameter that is billed outside the free quota.
    fn surcharge(&mut self, name: &str) {
        if !self.surcharges.iter().any(|known| known == name) {
            self.surcharges.push(name.to_owned());
        }
    }

    /// Notes a thing that the request refers to.
    fn refer(&mut self, kind: Kind, id: String) {
        self.refer_to(Reference { kind, id, common: false });
    }

    fn refer_to(&mut self, reference: Reference) {
        if !self.references.contains(&reference) {
            self.references.push(reference);
        }
    }

    /// Notes why the input has no bound; the first reason stays.
    fn unbound(&mut self, reason: &'static str) {
        self.input.unbounded.get_or_insert(reason);
        self.units.elsewhere = true;
    }
}
