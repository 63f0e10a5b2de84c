//! What decides the cost of a request, read in one pass over its body.
//!
//! The reader is stricter than the services are: where two JSON parsers could read a body differently, one of them
//! would meter another call than the one that is charged, so such a body is refused.

mod body;
mod bound;
mod message;
mod names;
mod skim;
mod stream_options;
mod tools;
mod values;

use std::ops::Range;

use bytes::Bytes;

use super::error::DialectError;
use super::splice::{self, Clamp};

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

/// What a chat request asks for, and where its bounds stand in the body.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// The model code, exactly as written.
    pub model: String,
    /// Whether the reply is to be streamed.
    pub stream: bool,
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
    /// Parameters that are billed outside the free quota (W 4), each once, in the order of the body.
    pub surcharges: Vec<String>,
    spans: Spans,
}

/// What a request asks about thinking.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ThinkingAsk {
    /// `Some(true)` where any parameter asks for it, `Some(false)` where `enable_thinking` turns it off; silent otherwise.
    pub enabled: Option<bool>,
    /// `thinking_budget`, in tokens.
    pub budget: Option<u64>,
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

/// Where in the body the values stand that a clamp may change.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Spans {
    /// The length of the body, so that another body is not mistaken for it.
    pub(super) length: usize,
    /// Just behind the opening brace.
    pub(super) open: usize,
    pub(super) max_tokens: Option<Range<usize>>,
    pub(super) max_completion_tokens: Option<Range<usize>>,
    pub(super) thinking_budget: Option<Range<usize>>,
    pub(super) enable_thinking: Switch,
    pub(super) options: Options,
}

/// What the body says about `enable_thinking`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) enum Switch {
    /// Nothing.
    #[default]
    Absent,
    /// `null`, here.
    Null(Range<usize>),
    /// On or off.
    Said,
}

/// What the body says about `stream_options`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) enum Options {
    /// Nothing.
    #[default]
    Absent,
    /// `null`, here.
    Null(Range<usize>),
    /// An object without `include_usage`; the place is just behind its opening brace.
    Silent {
        /// Where to insert.
        at: usize,
        /// Whether the object has no member at all.
        empty: bool,
    },
    /// `include_usage` has a value, here.
    Said(Range<usize>),
}

impl Facts {
    /// Reads the body of a chat request.
    ///
    /// # Errors
    ///
    /// When the body is not one JSON object in UTF-8, repeats or disguises a parameter, or a parameter that decides the
    /// cost has a value that cannot be bounded. The message is meant for the client.
    pub fn read(body: &[u8]) -> Result<Self, DialectError> {
        body::read(body)
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

    /// Notes why the input has no bound; the first reason stays.
    fn unbound(&mut self, reason: &'static str) {
        self.input.unbounded.get_or_insert(reason);
    }
}
