//! What is said over WebSocket (W 1.5, 2.2, 3.5): handshakes, the messages of tasks, the events of responses.

use gratis::dialect::{
    Audio, Command, Protocol, ServerEvent, Socket, TaskState, UpstreamSignal, client_event, command, handshake_key,
    server_event, socket, sockets, task_event,
};
use gratis::ledger::{Unit, Usage};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};

fn run(payload: &Value) -> gratis::dialect::Run {
    let header = json!({"action": "run-task", "task_id": "t-1", "streaming": "duplex"});
    match command(&json!({"header": header, "payload": payload}).to_string()) {
        Ok(Command::Run(run)) => run,
        other => panic!("{payload}: {other:?}"),
    }
}

#[test]
fn only_samples_bound_the_seconds_of_audio() {
    let audio = |parameters: Value| run(&json!({"model": "m", "parameters": parameters})).audio;
    let plain = |bytes_per_second| Audio::Plain { bytes_per_second };
    assert_eq!(audio(json!({"format": "pcm", "sample_rate": 16_000})), plain(32_000));
    assert_eq!(audio(json!({"format": "pcm"})), plain(16_000), "the lowest rate");
    assert_eq!(audio(json!({"format": "pcm", "sample_rate": 8_000})), plain(16_000));
    assert_eq!(audio(json!({"format": "pcm", "sample_rate": 7_999})), Audio::Compressed);
    assert_eq!(audio(json!({"format": "pcm", "sample_rate": "16000"})), Audio::Compressed);
    assert_eq!(audio(json!({"format": "wav", "sample_rate": 48_000})), plain(8_000), "the file has the last word");
    assert_eq!(audio(json!({"format": "wav"})), plain(8_000));
    assert_eq!(audio(json!({"format": "opus", "sample_rate": 16_000})), Audio::Compressed);
    assert_eq!(run(&json!({"model": "m"})).audio, Audio::Compressed);
    assert_eq!(plain(32_000).seconds(0), Some(0));
    assert_eq!(plain(32_000).seconds(32_000), Some(1));
    assert_eq!(plain(32_000).seconds(32_001), Some(2));
    assert_eq!(Audio::Compressed.seconds(1), None);
}

#[test]
fn every_character_that_may_be_spoken_is_counted() {
    let characters = |payload: Value| run(&payload).characters;
    assert_eq!(characters(json!({"model": "m"})), 0);
    assert_eq!(characters(json!({"model": "m", "input": {}})), 0);
    assert_eq!(characters(json!({"model": "m", "input": {"text": "ab 你"}})), 5);
    assert_eq!(characters(json!({"model": "m", "input": {"text": "ab", "x": 1}})), 2 + ",\"x\":1".len() as u64);
    assert_eq!(characters(json!({"model": "m", "input": {"ssml": "a"}})), r#"{"ssml":"a"}"#.len() as u64);
    assert_eq!(characters(json!({"model": "m", "parameters": {"instruction": "low"}, "input": {"text": "a"}})), 6);
    assert_eq!(characters(json!({"model": "m", "resources": ["r"]})), 5);
    let more = |input: Value| {
        let text = json!({"header": {"action": "continue-task", "task_id": "t-1"}, "payload": {"input": input}});
        command(&text.to_string())
    };
    let task = "t-1".to_owned();
    assert_eq!(more(json!({"text": "abc"})), Ok(Command::Continue { task, characters: 3 }));
    let end = |payload: Value| {
        command(&json!({"header": {"action": "finish-task", "task_id": "t-1"}, "payload": payload}).to_string())
    };
    let task = "t-1".to_owned();
    assert_eq!(end(json!({"input": {}})), Ok(Command::Finish { task }));
    assert!(end(json!({"input": {"text": "a"}})).is_err(), "what was never held for");
    for (id, good) in
        [("t-1_.:Z", true), ("", false), ("a b", false), (&"x".repeat(128), true), (&"x".repeat(129), false)]
    {
        let text = json!({"header": {"action": "finish-task", "task_id": id}}).to_string();
        assert_eq!(command(&text).is_ok(), good, "{id}");
    }
    assert!(command(r#"{"header":{"action":"stop","task_id":"t"}}"#).is_err());
    assert!(
        command(r#"{"header":{"action":"run-task","task_id":"t","task_id":"u"},"payload":{"model":"m"}}"#).is_err()
    );
}

#[test]
fn a_task_says_how_far_it_is_and_what_it_used() {
    let read = |event: &str, payload: Value, unit| {
        let header = json!({"event": event, "task_id": "t", "error_code": "Throttling", "error_message": "Slow down"});
        let found = task_event(&json!({"header": header, "payload": payload}).to_string(), unit).unwrap();
        (found.state, found.usage, found.malformed)
    };
    let usage = |usage: Value, unit| {
        let (_, amount, malformed) = read("result-generated", json!({"usage": usage}), unit);
        (amount, malformed)
    };
    assert_eq!(read("task-started", json!({}), Unit::Seconds), (TaskState::Started, None, false));
    assert_eq!(read("result-generated", json!({}), Unit::Seconds).0, TaskState::Running);
    assert_eq!(read("task-finished", json!({}), Unit::Seconds).0, TaskState::Finished);
    assert!(matches!(read("task-failed", json!({}), Unit::Seconds).0, TaskState::Failed(_)));
    assert_eq!(usage(json!({"characters": 15}), Unit::Characters), (Some(15), false));
    assert_eq!(usage(json!({"duration": 2.1}), Unit::Seconds), (Some(3), false));
    assert_eq!(usage(json!({"seconds": 4}), Unit::Seconds), (Some(4), false));
    assert_eq!(usage(json!({"duration": 2, "seconds": 4}), Unit::Seconds), (Some(2), false));
    for wrong in [json!({"duration": -1}), json!({"duration": 1e10}), json!({"duration": "2"}), json!({}), json!(7)] {
        assert_eq!(usage(wrong.clone(), Unit::Seconds), (None, true), "{wrong}");
    }
    assert_eq!(usage(json!({"characters": 15}), Unit::Seconds), (None, true));
    assert_eq!(task_event(r#"{"header":{}}"#, Unit::Seconds), None);
}

#[test]
fn an_event_of_a_client_names_a_model_a_surcharge_or_a_voice() {
    let read = |event: Value| client_event(&event.to_string()).unwrap();
    let update = |session: Value| read(json!({"type": "session.update", "session": session}));
    assert_eq!(update(json!({"model": "m"})).model.as_deref(), Some("m"));
    assert_eq!(read(json!({"type": "response.create", "response": {"model": "m"}})).model.as_deref(), Some("m"));
    assert_eq!(read(json!({"type": "response.create", "session": {"model": "m"}})).model, None);
    assert_eq!(read(json!({"type": "input_audio_buffer.append", "session": {"model": "m"}})).model, None);
    assert_eq!(update(json!({"model": 7})).model.as_deref(), Some(""), "a model that nobody has");
    assert_eq!(update(json!({"enable_search": true})).surcharge, Some("enable_search"));
    assert_eq!(update(json!({"enable_search": false})).surcharge, None);
    assert_eq!(update(json!({"tools": [{"type": "function"}, {"type": "function"}]})).surcharge, None);
    assert_eq!(update(json!({"tools": [{"type": "function"}, {"type": "web_search"}]})).surcharge, Some("tools"));
    assert_eq!(update(json!({"tools": [{}]})).surcharge, Some("tools"));
    assert_eq!(update(json!({"tools": "all"})).surcharge, Some("tools"));
    let transcription = json!({"type": "transcription_session.update", "session": {"enable_search": 1}});
    assert_eq!(read(transcription).surcharge, Some("enable_search"));
    let response = json!({"type": "response.create", "response": {"enable_search": true}});
    assert_eq!(read(response).surcharge, Some("enable_search"));
    assert!(client_event(r#"{"session":{}}"#).is_err(), "without a type");
    assert!(client_event(r#"{"type":"session.update","session":{"model":"a","model":"b"}}"#).is_err());
    assert!(client_event(r#"{"type":"session.update","session":{"voice":7}}"#).is_err());
}

#[test]
fn an_event_of_a_server_begins_a_response_ends_it_or_is_an_error() {
    let done = |usage: Value| server_event(&json!({"type": "response.done", "response": {"usage": usage}}).to_string());
    let used = |input, output| ServerEvent::Done(Some(Usage { input, output }));
    assert_eq!(server_event(r#"{"type":"response.created"}"#), ServerEvent::Created);
    assert_eq!(server_event(r#"{"type":"session.created"}"#), ServerEvent::Other);
    assert_eq!(server_event("no event"), ServerEvent::Other);
    assert_eq!(server_event(r#"{"type":"response.done"}"#), ServerEvent::Done(None));
    assert_eq!(done(json!({"input_tokens": 3, "output_tokens": 4})), used(3, 4));
    assert_eq!(done(json!({"input_tokens": 3, "output_tokens": 4, "total_tokens": 7})), used(3, 4));
    assert_eq!(done(json!({"input_tokens": 3, "output_tokens": 4, "total_tokens": 9})), used(3, 6));
    assert_eq!(done(json!({"input_tokens": 3, "output_tokens": 4, "total_tokens": 2})), used(3, 4));
    assert_eq!(done(json!({"input_tokens": 1_u64 << 31, "output_tokens": 0})), used(1 << 31, 0));
    for wrong in [json!({"input_tokens": (1_u64 << 31) + 1, "output_tokens": 0}), json!({"input_tokens": 3}), json!({})]
    {
        assert_eq!(done(wrong.clone()), ServerEvent::Done(None), "{wrong}");
    }
    let error = json!({"type": "error", "error": {"code": "AllocationQuota.FreeTierOnly", "message": "used up"}});
    let ServerEvent::Error(error) = server_event(&error.to_string()) else { panic!("an error is one") };
    assert_eq!(error.signal, UpstreamSignal::FreeTierOnly);
}

#[test]
fn a_connection_has_one_of_three_paths_and_begins_with_get() {
    let get = |path, query| socket(&Method::GET, path, query);
    let inference = Some(Socket::Found(Protocol::Inference));
    let realtime = |model: &str| Some(Socket::Found(Protocol::Realtime { model: model.to_owned() }));
    assert_eq!(get("/api-ws/v1/inference", None), inference);
    assert_eq!(get("/api-ws/v1/inference/", Some("")), inference);
    assert!(matches!(get("/api-ws/v1/inference", Some("model=m")), Some(Socket::Wrong(_))));
    assert_eq!(get("/api-ws/v1/realtime", Some("model=qwen3-omni:a_b.c")), realtime("qwen3-omni:a_b.c"));
    for (found, path) in [(inference.clone(), "/api-ws/v1/inference"), (realtime("m"), "/api-ws/v1/realtime?model=m")] {
        let Some(Socket::Found(protocol)) = found else { panic!("{found:?}") };
        assert_eq!(protocol.upstream_path(), path);
    }
    let long = format!("model={}", "m".repeat(128));
    assert_eq!(get("/api-ws/v1/realtime", Some(&long)), realtime(&long[6..]));
    let longer = format!("{long}m");
    for query in ["", "model=", "model=.m", "model=a&b=c", "model=a%20b", "a=b", &longer] {
        assert!(matches!(get("/api-ws/v1/realtime", Some(query)), Some(Socket::Wrong(_))), "{query}");
    }
    assert_eq!(get("/api-ws/v1/other", None), None);
    assert!(matches!(socket(&Method::POST, "/api-ws/v1/inference", None), Some(Socket::Wrong(_))));
    let rows: Vec<_> = sockets().iter().map(|row| (row.path, row.dialect, row.metering)).collect();
    let wanted = [
        ("/api-ws/v1/inference", "dashscope", "websocket-tasks"),
        ("/api-ws/v1/inference/", "dashscope", "websocket-tasks"),
        ("/api-ws/v1/realtime", "openai", "websocket-responses"),
    ];
    assert_eq!(rows, wanted);
    assert!(sockets().iter().all(|row| !row.source.is_empty()));
}

#[test]
fn a_handshake_has_each_of_its_headers_once() {
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    let good = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", KEY),
    ];
    let read = |lines: &[(&str, &str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        handshake_key(&headers).map(str::to_owned)
    };
    assert_eq!(read(&good).as_deref(), Some(KEY));
    for place in 0..good.len() {
        let mut without = good.to_vec();
        let taken = without.remove(place);
        assert_eq!(read(&without), None, "without {}", taken.0);
        if taken.0 != "connection" {
            assert_eq!(read(&[&good[..], &[taken]].concat()), None, "{} twice", taken.0);
        }
    }
    let other = |name: &str, value: &'static str| {
        let lines: Vec<_> = good.iter().map(|&(n, v)| (n, if n == name { value } else { v })).collect();
        read(&lines)
    };
    assert_eq!(other("connection", "close"), None);
    assert_eq!(other("upgrade", "h2c"), None);
    assert_eq!(other("sec-websocket-version", "8"), None);
    for key in [
        "",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZQAA",
        "dGhlIHNhbXBsZSBub25jZ*==",
        "dGhlIHNhbXBsZSBub25jZQ=== ",
    ] {
        assert_eq!(other("sec-websocket-key", key), None, "{key}");
    }
}
