//! What a reply says that was used, in each unit and form.

use bytes::Bytes;
use gratis::dialect::{Api, Encoding, Finding, ModelUsage, Observer, Reading, Watch};
use gratis::ledger::{Unit, Usage};

fn seen(api: Api, unit: Unit, body: &str) -> Finding {
    let kind = if body.starts_with('{') { "application/json" } else { "text/event-stream" };
    let mut observer = Observer::new(Watch { api, unit }, Some(kind), Encoding::Identity, false);
    let out = observer.observe(Bytes::from(body.to_owned()));
    assert_eq!(out.bytes, body);
    observer.end(true);
    observer.finding()
}

#[test]
fn a_usage_is_counted_in_the_models_unit() {
    let exact = |input, output| Reading::Exact(Usage { input, output });
    for (api, unit, usage, wanted) in [
        (
            Api::Generation,
            Unit::Tokens,
            r#"{"input_tokens":1249,"output_tokens":12,"image_tokens":900,"total_tokens":1261}"#,
            exact(1249, 12),
        ),
        (Api::Generation, Unit::Tokens, r#"{"input_tokens":3,"output_tokens":2}"#, exact(3, 2)),
        (Api::Generation, Unit::Tokens, r#"{"total_tokens":9,"output_tokens":2}"#, exact(7, 2)),
        (
            Api::MultimodalEmbedding,
            Unit::Tokens,
            r#"{"input_tokens":10,"image_tokens":896,"image_count":1}"#,
            exact(906, 0),
        ),
        (Api::Generation, Unit::Images, r#"{"image_count":2,"input_tokens":0,"output_tokens":0}"#, exact(2, 0)),
        (Api::Generation, Unit::Seconds, r#"{"seconds":1,"output_tokens_details":{"text_tokens":6}}"#, exact(1, 0)),
        (Api::Generation, Unit::Seconds, r#"{"duration":1.2}"#, exact(2, 0)),
        (Api::Video, Unit::Seconds, r#"{"video_duration":5,"video_ratio":"16:9","video_count":2}"#, exact(10, 0)),
        (
            Api::Video,
            Unit::Seconds,
            r#"{"duration":15,"input_video_duration":5,"output_video_duration":10,"video_count":1,"SR":720}"#,
            exact(15, 0),
        ),
        (Api::Transcription, Unit::Seconds, "9", exact(9, 0)),
        (Api::Speech, Unit::Characters, r#"{"characters":41}"#, exact(41, 0)),
        (Api::Voice, Unit::Voices, r#"{"count":1}"#, exact(1, 0)),
        (Api::Generation, Unit::Images, r#"{"input_tokens":0,"output_tokens":0}"#, Reading::None),
        (Api::Generation, Unit::Images, r#"{"image_count":-1}"#, Reading::None),
        (Api::Generation, Unit::Seconds, r#"{"seconds":"1"}"#, Reading::None),
        (
            Api::Messages,
            Unit::Tokens,
            r#"{"input_tokens":1,"output_tokens":2,"cache_read_input_tokens":3,"cache_creation_input_tokens":4}"#,
            exact(8, 2),
        ),
        (
            Api::App,
            Unit::Tokens,
            r#"{"models":[{"model_id":"a","input_tokens":3,"output_tokens":4},{"model_id":"b","input_tokens":1,"output_tokens":2}]}"#,
            exact(4, 6),
        ),
        (Api::App, Unit::Tokens, "{}", Reading::None),
        (Api::App, Unit::Tokens, r#"{"models":[]}"#, Reading::None),
        (Api::App, Unit::Tokens, r#"{"models":[{"model_id":"a","input_tokens":3}]}"#, Reading::None),
        (Api::App, Unit::Tokens, r#"{"models":[["a",3,4]]}"#, Reading::None),
        (Api::App, Unit::Tokens, r#"{"models":[{"model_id":"a","input_tokens":-1,"output_tokens":2}]}"#, Reading::None),
        (Api::Messages, Unit::Tokens, r#"{"input_tokens":1}"#, Reading::None),
        (Api::Embeddings, Unit::Tokens, r#"{"prompt_tokens":23,"total_tokens":23}"#, exact(23, 0)),
        (Api::Embeddings, Unit::Tokens, r#"{"prompt_tokens":23}"#, exact(23, 0)),
        (Api::Chat, Unit::Tokens, r#"{"prompt_tokens":23}"#, Reading::None),
        (Api::Reranks, Unit::Tokens, r#"{"total_tokens":79}"#, exact(79, 0)),
    ] {
        let finding = seen(api, unit, &format!(r#"{{"output":{{"a":1}},"usage":{usage}}}"#));
        assert_eq!(finding.reading, wanted, "{api:?} {usage}");
    }
}

#[test]
fn a_total_that_is_not_the_sum_is_flagged_and_a_task_is_only_told_in_the_output() {
    let flagged = |usage: &str| {
        let reply = format!(r#"{{"choices":[],"usage":{usage}}}"#);
        seen(Api::Chat, Unit::Tokens, &reply).flags.total_mismatch
    };
    assert!(!flagged(r#"{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}"#));
    assert!(!flagged(r#"{"prompt_tokens":3,"completion_tokens":4}"#));
    assert!(flagged(r#"{"prompt_tokens":3,"completion_tokens":4,"total_tokens":12}"#));
    let task = |reply: &str| seen(Api::Video, Unit::Seconds, reply).task;
    let pending = r#""task_id":"t-1","task_status":"PENDING""#;
    assert_eq!(task(&format!(r#"{{"output":{{{pending}}}}}"#)).as_deref(), Some("t-1"));
    assert_eq!(task(&format!("{{{pending}}}")), None);
    assert_eq!(task(r#"{"output":{"task_id":"t-1","task_status":"FAILED"}}"#), None);
    assert_eq!(task(r#"{"output":{"task_id":"t-1"},"task_status":"FAILED"}"#).as_deref(), Some("t-1"));
}

#[test]
fn what_an_app_used_is_told_by_model_and_one_that_is_listed_twice_was_called_twice() {
    let one = |model: &str, input, output| ModelUsage { model: model.to_owned(), usage: Usage { input, output } };
    let reply = r#"{"output":{"session_id":"s-1","text":"a"},"usage":{"models":[
        {"model_id":"a","input_tokens":3,"output_tokens":4},{"model_id":"b","input_tokens":1,"output_tokens":2},
        {"model_id":"a","input_tokens":30,"output_tokens":40}]}}"#;
    let finding = seen(Api::App, Unit::Tokens, reply);
    assert_eq!(finding.models, [one("a", 33, 44), one("b", 1, 2)]);
    assert_eq!(finding.made.as_deref(), Some("s-1"));
    let event = |usage: &str, finish: &str| {
        format!("data:{{\"output\":{{\"finish_reason\":\"{finish}\"}},\"usage\":{usage}}}\n\n")
    };
    let models =
        |input: u64| format!("{{\"models\":[{{\"model_id\":\"a\",\"input_tokens\":{input},\"output_tokens\":4}}]}}");
    let grows = event("{}", "null") + &event(&models(2), "null") + &event(&models(3), "stop");
    assert_eq!(seen(Api::App, Unit::Tokens, &grows).models, [one("a", 3, 4)]);
    let shrinks = event(&models(3), "null") + &event(&models(2), "stop");
    let finding = seen(Api::App, Unit::Tokens, &shrinks);
    assert_eq!(finding.models, [one("a", 3, 4)]);
    assert_eq!(finding.reading, Reading::AtLeast(Usage { input: 3, output: 4 }));
}

#[test]
fn a_stream_that_ends_before_its_last_event_is_not_whole() {
    let native = |finish: &str| {
        format!(
            "data:{{\"output\":{{\"finish_reason\":{finish}}},\"usage\":{{\"input_tokens\":3,\"output_tokens\":2}}}}\n\n"
        )
    };
    let usage = Usage { input: 3, output: 2 };
    assert_eq!(seen(Api::Generation, Unit::Tokens, &native("\"null\"")).reading, Reading::AtLeast(usage));
    assert_eq!(seen(Api::Generation, Unit::Tokens, &native("\"stop\"")).reading, Reading::Exact(usage));
    let start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":3,\"output_tokens\":2}}}\n\n";
    assert_eq!(seen(Api::Messages, Unit::Tokens, start).reading, Reading::AtLeast(usage));
    let stop = format!("{start}event: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n");
    assert_eq!(seen(Api::Messages, Unit::Tokens, &stop).reading, Reading::Exact(usage));
}
