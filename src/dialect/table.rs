//! The table of routes. What stands nowhere in it is refused.

use super::route::RouteRow;
use super::{Api, Base, Dialect, Kind, Metering};

const CHAT: RouteRow = RouteRow {
    method: "POST",
    path: "/compatible-mode/v1/chat/completions",
    dialect: Dialect::OpenAi,
    metering: Metering::Call(Api::Chat),
    operation: "chat.completions",
    source: "W 2.2, 3.1",
    base: Base::OpenAi,
    upstream: "/chat/completions",
};

/// A call of the OpenAI family below `/v1` that is metered.
const fn openai(path: &'static str, api: Api, operation: &'static str, upstream: &'static str) -> RouteRow {
    RouteRow { path, metering: Metering::Call(api), operation, source: "W 2.2", upstream, ..CHAT }
}

/// A call of the OpenAI family that is not metered by itself.
const fn beside(method: &'static str, path: &'static str, metering: Metering, operation: &'static str) -> RouteRow {
    // The upstream's path is what follows `/compatible-mode/v1`.
    let (_, upstream) = path.split_at("/compatible-mode/v1".len());
    RouteRow { method, path, metering, operation, source: "W 2.2", upstream, ..CHAT }
}

const MODELS: RouteRow =
    RouteRow { method: "GET", ..openai("/compatible-mode/v1/models", Api::Chat, "models.list", "/models") };

const FREE_MODELS: RouteRow = RouteRow { metering: Metering::Free, ..MODELS };

const ONE_MODEL: RouteRow = RouteRow {
    path: "/compatible-mode/v1/models/{model}",
    operation: "models.get",
    upstream: "/models/{model}",
    ..FREE_MODELS
};

/// A metered call of the DashScope family: the upstream's path is the same one.
const fn native(path: &'static str, api: Api, operation: &'static str) -> RouteRow {
    RouteRow {
        path,
        dialect: Dialect::DashScope,
        metering: Metering::Call(api),
        operation,
        source: "W 2.2, 3.2, 3.5",
        base: Base::Root,
        upstream: path,
        ..CHAT
    }
}

const fn task(method: &'static str, path: &'static str, upstream: &'static str, metering: Metering) -> RouteRow {
    let operation = if matches!(metering, Metering::Task) { "tasks.get" } else { "tasks.cancel" };
    RouteRow { method, metering, source: "W 1.6, 2.2", upstream, ..native(path, Api::Image, operation) }
}

const RESPONSES: RouteRow = openai("/compatible-mode/v1/responses", Api::Responses, "responses.create", "/responses");

/// Where the responses were before they moved (W 2.2).
const OLD_RESPONSES: &str = "/api/v2/apps/protocols/compatible-mode/v1/responses";

pub(super) const TABLE: &[RouteRow] = &[
    CHAT,
    RouteRow { path: "/v1/chat/completions", ..CHAT },
    FREE_MODELS,
    RouteRow { path: "/v1/models", ..FREE_MODELS },
    ONE_MODEL,
    RouteRow { path: "/v1/models/{model}", ..ONE_MODEL },
    openai("/compatible-mode/v1/completions", Api::Completions, "completions", "/completions"),
    openai("/v1/completions", Api::Completions, "completions", "/completions"),
    RESPONSES,
    RouteRow { path: "/v1/responses", ..RESPONSES },
    RouteRow { path: OLD_RESPONSES, base: Base::Root, upstream: OLD_RESPONSES, ..RESPONSES },
    openai("/compatible-mode/v1/embeddings", Api::Embeddings, "embeddings", "/embeddings"),
    openai("/v1/embeddings", Api::Embeddings, "embeddings", "/embeddings"),
    RouteRow {
        base: Base::Root,
        ..openai("/compatible-api/v1/reranks", Api::Reranks, "reranks", "/compatible-api/v1/reranks")
    },
    beside("GET", "/compatible-mode/v1/responses/{id}", Metering::Owned(Kind::Response), "responses.get"),
    beside("DELETE", "/compatible-mode/v1/responses/{id}", Metering::Owned(Kind::Response), "responses.delete"),
    beside("POST", "/compatible-mode/v1/files", Metering::Creates(Kind::File), "files.create"),
    beside("GET", "/compatible-mode/v1/files/{id}", Metering::Owned(Kind::File), "files.get"),
    beside("DELETE", "/compatible-mode/v1/files/{id}", Metering::Owned(Kind::File), "files.delete"),
    beside("GET", "/compatible-mode/v1/files/{id}/content", Metering::Owned(Kind::File), "files.content"),
    beside("POST", "/compatible-mode/v1/conversations", Metering::Creates(Kind::Conversation), "conversations.create"),
    beside("GET", "/compatible-mode/v1/conversations/{id}", Metering::Owned(Kind::Conversation), "conversations.get"),
    beside(
        "POST",
        "/compatible-mode/v1/conversations/{id}",
        Metering::Owned(Kind::Conversation),
        "conversations.update",
    ),
    beside(
        "DELETE",
        "/compatible-mode/v1/conversations/{id}",
        Metering::Owned(Kind::Conversation),
        "conversations.delete",
    ),
    beside(
        "GET",
        "/compatible-mode/v1/conversations/{id}/items",
        Metering::Owned(Kind::Conversation),
        "conversations.items",
    ),
    beside(
        "POST",
        "/compatible-mode/v1/conversations/{id}/items",
        Metering::Owned(Kind::Conversation),
        "conversations.add",
    ),
    beside("POST", "/compatible-mode/v1/batches", Metering::NotCovered(Kind::Batch), "batches.create"),
    beside("GET", "/compatible-mode/v1/batches/{id}", Metering::Owned(Kind::Batch), "batches.get"),
    beside("POST", "/compatible-mode/v1/batches/{id}/cancel", Metering::Owned(Kind::Batch), "batches.cancel"),
    RouteRow {
        dialect: Dialect::Anthropic,
        source: "W 2.2, 3.4",
        ..native("/apps/anthropic/v1/messages", Api::Messages, "messages")
    },
    native("/api/v1/services/aigc/text-generation/generation", Api::Generation, "generation.text"),
    native("/api/v1/services/aigc/multimodal-generation/generation", Api::Generation, "generation.multimodal"),
    native("/api/v1/services/aigc/image-generation/generation", Api::Image, "generation.image"),
    native("/api/v1/services/aigc/text2image/image-synthesis", Api::Image, "images.text2image"),
    native("/api/v1/services/aigc/image2image/image-synthesis", Api::Image, "images.image2image"),
    native("/api/v1/services/aigc/video-generation/video-synthesis", Api::Video, "videos.generation"),
    native("/api/v1/services/aigc/image2video/video-synthesis", Api::Video, "videos.image2video"),
    native("/api/v1/services/embeddings/text-embedding/text-embedding", Api::TextEmbedding, "embeddings.text"),
    native(
        "/api/v1/services/embeddings/multimodal-embedding/multimodal-embedding",
        Api::MultimodalEmbedding,
        "embeddings.multimodal",
    ),
    native("/api/v1/services/rerank/text-rerank/text-rerank", Api::TextRerank, "rerank"),
    native("/api/v1/services/audio/asr/transcription", Api::Transcription, "audio.transcription"),
    native("/api/v1/services/audio/tts/SpeechSynthesizer", Api::Speech, "audio.speech"),
    native("/api/v1/services/audio/tts/customization", Api::Voice, "voices"),
    native("/api/v1/services/audio/asr/customization", Api::Voice, "vocabularies"),
    task("GET", "/api/v1/tasks/{id}", "/api/v1/tasks/{id}", Metering::Task),
    task("GET", "/api-task/v1/tasks/{id}", "/api/v1/tasks/{id}", Metering::Task),
    task("POST", "/api/v1/tasks/{id}/cancel", "/api/v1/tasks/{id}/cancel", Metering::Owned(Kind::Task)),
    task("POST", "/api-task/v1/tasks/{id}/cancel", "/api/v1/tasks/{id}/cancel", Metering::Owned(Kind::Task)),
    RouteRow { metering: Metering::App, ..native("/api/v1/apps/{id}/completion", Api::App, "apps") },
];
