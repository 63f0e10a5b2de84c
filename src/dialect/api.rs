//! The calls that are metered: each has a shape of its own for what it asks and for what it reports.

use serde::Serialize;

use super::{Dialect, Kind};
use crate::ledger::Unit;

/// A metered call's shape.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Api {
    /// OpenAI chat (W 3.1).
    #[default]
    Chat,
    /// OpenAI text completions (W 2.2).
    Completions,
    /// OpenAI responses (W 3.3).
    Responses,
    /// OpenAI embeddings (W 2.2).
    Embeddings,
    /// The rerank route beside the OpenAI ones (W 2.2).
    Reranks,
    /// Anthropic messages (W 3.4).
    Messages,
    /// DashScope generation: text, vision, speech and images as the model has it (W 3.2, 3.5).
    Generation,
    /// DashScope text embeddings (W 2.2).
    TextEmbedding,
    /// DashScope embeddings of texts, images and videos (W 2.2).
    MultimodalEmbedding,
    /// DashScope rerank (W 2.2).
    TextRerank,
    /// DashScope images, mostly as tasks (W 3.5).
    Image,
    /// DashScope videos, as tasks (W 3.5).
    Video,
    /// DashScope speech from text (W 3.5).
    Speech,
    /// DashScope text from recordings, as tasks (W 3.5).
    Transcription,
    /// DashScope voices of one's own (W 2.2).
    Voice,
    /// DashScope apps: the models stand in the app, not in the request (W 2.2).
    App,
}

/// What a reply's usage counts, and under which names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Counting {
    /// `prompt_tokens` and `completion_tokens`, both (W 3.1).
    Chat,
    /// `prompt_tokens` or `total_tokens`: nothing is written (W 2.2).
    Read,
    /// `input_tokens` and `output_tokens`, or `total_tokens` alone (W 3.2, 3.3).
    Tokens,
    /// As [`Self::Tokens`], with the tokens of images and videos beside those of texts.
    TokensApart,
    /// As [`Self::Tokens`], with cached tokens outside of `input_tokens` (W 3.4).
    TokensAndCache,
    /// `image_count` (W 3.5).
    Images,
    /// `seconds`, `duration`, `video_duration` (W 3.5).
    Seconds,
    /// `characters` (W 3.5).
    Characters,
    /// `count` (W 2.2).
    Voices,
    /// `models`, with `input_tokens` and `output_tokens` of each (W 3.5).
    Models,
}

impl Api {
    /// Whose shapes it has.
    #[must_use]
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::Chat | Self::Completions | Self::Responses | Self::Embeddings | Self::Reranks => Dialect::OpenAi,
            Self::Messages => Dialect::Anthropic,
            Self::Generation
            | Self::TextEmbedding
            | Self::MultimodalEmbedding
            | Self::TextRerank
            | Self::Image
            | Self::Video
            | Self::Speech
            | Self::Transcription
            | Self::Voice
            | Self::App => Dialect::DashScope,
        }
    }

    /// Whether a model that is counted in `unit` can be called in this way.
    #[must_use]
    pub const fn counts(self, unit: Unit) -> bool {
        match self {
            Self::Chat
            | Self::Completions
            | Self::Responses
            | Self::Embeddings
            | Self::Reranks
            | Self::Messages
            | Self::TextEmbedding
            | Self::MultimodalEmbedding
            | Self::TextRerank => matches!(unit, Unit::Tokens),
            Self::Generation => !matches!(unit, Unit::Voices),
            Self::Image => matches!(unit, Unit::Images),
            Self::Video | Self::Transcription => matches!(unit, Unit::Seconds),
            Self::Speech => matches!(unit, Unit::Characters),
            Self::Voice => matches!(unit, Unit::Voices),
            Self::App => true,
        }
    }

    /// Whether it writes tokens, so that there is an output to bound.
    #[must_use]
    pub const fn writes(self) -> bool {
        matches!(self, Self::Chat | Self::Completions | Self::Responses | Self::Messages | Self::Generation)
    }

    /// Whether its call may go on as a task, with `X-DashScope-Async: enable` (W 2.3).
    #[must_use]
    pub const fn may_be_task(self) -> bool {
        matches!(self, Self::Generation | Self::Image | Self::Video | Self::Transcription)
    }

    /// What a call makes: its reply gives the id, by which a later call may go on from it.
    #[must_use]
    pub const fn makes(self) -> Option<Kind> {
        match self {
            Self::Responses => Some(Kind::Response),
            Self::Voice => Some(Kind::Voice),
            Self::App => Some(Kind::Conversation),
            Self::Chat
            | Self::Completions
            | Self::Embeddings
            | Self::Reranks
            | Self::Messages
            | Self::Generation
            | Self::TextEmbedding
            | Self::MultimodalEmbedding
            | Self::TextRerank
            | Self::Image
            | Self::Video
            | Self::Speech
            | Self::Transcription => None,
        }
    }

    /// What its usage counts for a model of this unit: the catalogue decides, not the members that are there (W 0.11).
    pub(super) const fn counting(self, unit: Unit) -> Counting {
        match (unit, self.dialect()) {
            _ if matches!(self, Self::App) => Counting::Models,
            (Unit::Images, _) => Counting::Images,
            (Unit::Seconds, _) => Counting::Seconds,
            (Unit::Characters, _) => Counting::Characters,
            (Unit::Voices, _) => Counting::Voices,
            (Unit::Tokens, Dialect::Anthropic) => Counting::TokensAndCache,
            (Unit::Tokens, Dialect::OpenAi) if matches!(self, Self::Chat | Self::Completions) => Counting::Chat,
            (Unit::Tokens, Dialect::OpenAi) if matches!(self, Self::Embeddings | Self::Reranks) => Counting::Read,
            (Unit::Tokens, Dialect::DashScope) if matches!(self, Self::MultimodalEmbedding) => Counting::TokensApart,
            (Unit::Tokens, Dialect::OpenAi | Dialect::DashScope) => Counting::Tokens,
        }
    }

    /// The member of a reply or an event inside of which usage, errors and ids stand as well; empty = none.
    pub(super) const fn wrapper(self) -> &'static str {
        match self.dialect() {
            Dialect::OpenAi if matches!(self, Self::Responses) => "response",
            Dialect::OpenAi => "",
            Dialect::Anthropic => "message",
            Dialect::DashScope => "output",
        }
    }

    /// Whether an event of this `type` is the last one, with the final usage before or in it.
    pub(super) fn ends_with(self, event: &str) -> bool {
        match self.dialect() {
            Dialect::OpenAi => {
                self == Self::Responses
                    && matches!(event, "response.completed" | "response.incomplete" | "response.failed")
            }
            Dialect::Anthropic => event == "message_stop",
            Dialect::DashScope => false,
        }
    }
}
