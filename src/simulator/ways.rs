//! The calls that are served, by their paths (`WIRE 2.2`).

use http::Method;

/// The shape of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Way {
    #[default]
    Chat,
    Completions,
    Responses,
    Embeddings,
    Reranks,
    Messages,
    /// The provider's own generation, of whatever the model makes.
    Native,
    NativeEmbedding,
    NativeRerank,
    Image,
    Video,
    Speech,
    Transcription,
    Voice,
}

/// Whose errors a call gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    OpenAi,
    Native,
    Anthropic,
}

/// The ends of paths, and what is served there.
const ENDS: &[(&str, Way)] = &[
    ("/chat/completions", Way::Chat),
    ("/v1/completions", Way::Completions),
    ("/v1/responses", Way::Responses),
    ("/v1/embeddings", Way::Embeddings),
    ("/compatible-api/v1/reranks", Way::Reranks),
    ("/apps/anthropic/v1/messages", Way::Messages),
    ("/aigc/text-generation/generation", Way::Native),
    ("/aigc/multimodal-generation/generation", Way::Native),
    ("/aigc/image-generation/generation", Way::Image),
    ("/aigc/text2image/image-synthesis", Way::Image),
    ("/aigc/image2image/image-synthesis", Way::Image),
    ("/aigc/video-generation/video-synthesis", Way::Video),
    ("/aigc/image2video/video-synthesis", Way::Video),
    ("/text-embedding/text-embedding", Way::NativeEmbedding),
    ("/multimodal-embedding/multimodal-embedding", Way::NativeEmbedding),
    ("/text-rerank/text-rerank", Way::NativeRerank),
    ("/audio/asr/transcription", Way::Transcription),
    ("/audio/tts/SpeechSynthesizer", Way::Speech),
    ("/audio/tts/customization", Way::Voice),
];

impl Way {
    /// What a request line asks for, if it is a call.
    pub(super) fn of(method: &Method, path: &str) -> Option<Self> {
        let found = ENDS.iter().find(|(end, _)| path.ends_with(end)).map(|(_, way)| *way);
        found.filter(|_| method == Method::POST)
    }

    pub(super) const fn family(self) -> Family {
        match self {
            Self::Chat | Self::Completions | Self::Responses | Self::Embeddings | Self::Reranks => Family::OpenAi,
            Self::Messages => Family::Anthropic,
            Self::Native
            | Self::NativeEmbedding
            | Self::NativeRerank
            | Self::Image
            | Self::Video
            | Self::Speech
            | Self::Transcription
            | Self::Voice => Family::Native,
        }
    }

    /// Whether it writes tokens.
    pub(super) const fn writes(self) -> bool {
        matches!(self, Self::Chat | Self::Completions | Self::Responses | Self::Messages | Self::Native)
    }
}
