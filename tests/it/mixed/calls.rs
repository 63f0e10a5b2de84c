//! The calls of the mixed run: every dialect and unit, as bodies.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// A call: its path, its headers, its body.
pub(crate) struct Call {
    pub(crate) path: &'static str,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) body: Value,
}

const SSE: (&str, &str) = ("x-dashscope-sse", "enable");
const ASYNC: (&str, &str) = ("x-dashscope-async", "enable");
const TEXT: &str = "/api/v1/services/aigc/text-generation/generation";
pub(super) const MULTI: &str = "/api/v1/services/aigc/multimodal-generation/generation";

pub(super) fn call(path: &'static str, body: Value) -> Call {
    Call { path, headers: Vec::new(), body }
}

pub(super) fn with(header: (&'static str, &'static str), mut call: Call) -> Call {
    call.headers.push(header);
    call
}

/// Calls of every shape. `text` directs the simulator.
pub(crate) fn calls(text: &str) -> Vec<Call> {
    let messages = json!([{"role": "user", "content": text}]);
    let parts = json!([{"role": "system", "content": "Be brief. 简短"}, {"role": "user", "content": [{"text": text}]}]);
    let native = |model: &str, parameters: Value| json!({"model": model, "input": {"messages": parts}, "parameters": parameters});
    let mut calls = Vec::new();
    for stream in [false, true] {
        calls.push(call("/v1/chat/completions", json!({"model": "plain", "messages": messages, "stream": stream})));
        calls.push(call(
            "/v1/completions",
            json!({"model": "plain", "prompt": text, "stream": stream, "max_tokens": 900}),
        ));
        calls.push(call(
            "/v1/responses",
            json!({"model": "plain", "input": text, "instructions": "é", "stream": stream}),
        ));
        calls.push(call(
            "/v1/responses",
            json!({"model": "thinker", "input": [{"role": "user", "content": [{"type": "input_text", "text": text}]}],
                "stream": stream, "max_output_tokens": 700}),
        ));
        calls.push(call(
            "/apps/anthropic/v1/messages",
            json!({"model": "thinker", "max_tokens": 800, "system": "s", "messages": messages, "stream": stream,
                "thinking": {"type": "enabled", "budget_tokens": 1500}}),
        ));
        calls.push(call(
            "/apps/anthropic/v1/messages",
            json!({"model": "plain", "max_tokens": 300, "stream": stream, "tools": [{"name": "t", "input_schema": {}}],
                "messages": [{"role": "user", "content": [{"type": "text", "text": text}]},
                    {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "t", "input": {"a": 1}}]},
                    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "ok"}]}]}),
        ));
        let mut natives = vec![
            call(TEXT, native("plain", json!({"result_format": "message", "incremental_output": true}))),
            call(TEXT, native("thinker", json!({"thinking_budget": 900}))),
            call(TEXT, json!({"model": "thinker", "input": {"prompt": text}})),
            call(MULTI, native("plain", Value::Null)),
            call(MULTI, json!({"model": "speak", "input": {"text": "你好, world", "voice": "Cherry"}})),
        ];
        if stream {
            natives = natives.into_iter().map(|native| with(SSE, native)).collect();
        }
        calls.append(&mut natives);
    }
    calls.extend([
        call("/v1/embeddings", json!({"model": "embed", "input": [text, "b"]})),
        call("/compatible-api/v1/reranks", json!({"model": "embed", "query": "é?", "documents": ["a", text]})),
        call("/api/v1/services/embeddings/text-embedding/text-embedding", json!({"model": "embed", "input": {"texts": ["a", text]}})),
        call(
            "/api/v1/services/embeddings/multimodal-embedding/multimodal-embedding",
            json!({"model": "embed", "input": {"contents": [{"text": text}]}}),
        ),
        call(
            "/api/v1/services/rerank/text-rerank/text-rerank",
            json!({"model": "embed", "input": {"query": "q", "documents": [text, "b", "c"]}}),
        ),
        call(MULTI, json!({"model": "draw", "input": {"messages": parts}, "parameters": {"n": 2}})),
        call(MULTI, json!({"model": "draw", "input": {"messages": parts}})),
        call(MULTI, json!({"model": "asr", "input": {"messages": [{"role": "user", "content": [{"audio": "https://example.com/a.mp3"}]}]}})),
        call(MULTI, json!({"model": "asr", "input": {"messages": [{"role": "user", "content": [{"audio": wav_of(1)}]}]}})),
        call("/api/v1/services/audio/tts/SpeechSynthesizer", json!({"model": "speak", "input": {"text": "漢字 and letters"}})),
        call("/api/v1/services/audio/tts/customization", json!({"model": "voice", "input": {"action": "create", "target_model": "speak"}})),
    ]);
    calls
}

/// Calls that go on as tasks.
pub(crate) fn tasks(text: &str) -> Vec<Call> {
    vec![
        with(
            ASYNC,
            call(
                "/api/v1/services/aigc/text2image/image-synthesis",
                json!({"model": "draw", "input": {"prompt": text}, "parameters": {"n": 3}}),
            ),
        ),
        with(
            ASYNC,
            call(
                "/api/v1/services/aigc/image-generation/generation",
                json!({"model": "draw", "input": {"messages": [{"role": "user", "content": [{"text": text}]}]}}),
            ),
        ),
        with(
            ASYNC,
            call(
                "/api/v1/services/aigc/video-generation/video-synthesis",
                json!({"model": "film", "input": {"prompt": text}, "parameters": {"duration": 5}}),
            ),
        ),
        with(
            ASYNC,
            call(
                "/api/v1/services/audio/asr/transcription",
                json!({"model": "asr", "input": {"file_urls": ["https://example.com/a.mp3"], "prompt": text}}),
            ),
        ),
    ]
}

/// So many seconds of silence as a WAV file in a data URI.
pub(crate) fn wav_of(seconds: u32) -> String {
    let mut file =
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0data\0\0\0\0".to_vec();
    file.resize(44 + 8_000 * seconds as usize, 0);
    format!("data:audio/wav;base64,{}", STANDARD.encode(file))
}

/// Calls of an app, whose models are declared.
pub(crate) fn apps(text: &str) -> Vec<Call> {
    let plain = call("/api/v1/apps/app-1/completion", json!({"input": {"prompt": text}, "parameters": {}}));
    let streamed = with(SSE, call(plain.path, plain.body.clone()));
    vec![plain, streamed]
}
