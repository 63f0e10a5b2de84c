//! The readers of the other calls: what they find, where they write bounds, what they refuse.

use bytes::Bytes;
use gratis::dialect::{Api, Clamp, DialectError, Facts, Kind};
use gratis::ledger::Unit;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::mixed::{calls, tasks, wav_of};

fn read(api: Api, body: &Value) -> Facts {
    Facts::read(api, body.to_string().as_bytes()).unwrap_or_else(|e| panic!("{api:?} {body}: {e}"))
}

fn refused(api: Api, body: &str) -> DialectError {
    Facts::read(api, body.as_bytes()).expect_err(body)
}

fn spliced(api: Api, body: &str, clamp: &Clamp) -> String {
    let body = Bytes::from(body.to_owned());
    let out = Facts::read(api, &body).unwrap().splice(&body, clamp);
    String::from_utf8(out.to_vec()).unwrap()
}

fn bounds() -> Clamp {
    Clamp { answer: Some(7), ..Clamp::default() }
}

#[test]
fn bounds_are_written_where_each_call_has_them() {
    let both = Clamp { answer: Some(7), thinking_budget: Some(9), disable_thinking: false, include_usage: false };
    for (api, body, clamp, wanted) in [
        (Api::Completions, r#"{"model":"m","prompt":"x"}"#, bounds(), r#"{"max_tokens":7,"model":"m","prompt":"x"}"#),
        (
            Api::Responses,
            r#"{"model":"m","input":"x"}"#,
            bounds(),
            r#"{"max_output_tokens":7,"model":"m","input":"x"}"#,
        ),
        (
            Api::Responses,
            r#"{"model":"m","max_output_tokens": 90,"input":"x"}"#,
            bounds(),
            r#"{"model":"m","max_output_tokens": 7,"input":"x"}"#,
        ),
        (
            Api::Messages,
            r#"{"model":"m","messages":[],"max_tokens":50,"thinking":{"type":"enabled","budget_tokens":40}}"#,
            both.clone(),
            r#"{"model":"m","messages":[],"max_tokens":7,"thinking":{"type":"enabled","budget_tokens":9}}"#,
        ),
        (
            Api::Messages,
            r#"{"model":"m","messages":[]}"#,
            Clamp { disable_thinking: true, ..Clamp::default() },
            r#"{"thinking":{"type":"disabled"},"model":"m","messages":[]}"#,
        ),
        (
            Api::Generation,
            r#"{"model":"m","input":{"prompt":"x"}}"#,
            both.clone(),
            r#"{"parameters":{"max_tokens":7,"thinking_budget":9},"model":"m","input":{"prompt":"x"}}"#,
        ),
        (
            Api::Generation,
            r#"{"model":"m","input":{"prompt":"x"},"parameters":null}"#,
            bounds(),
            r#"{"model":"m","input":{"prompt":"x"},"parameters":{"max_tokens":7}}"#,
        ),
        (
            Api::Generation,
            r#"{"model":"m","input":{"prompt":"x"},"parameters": { }}"#,
            bounds(),
            r#"{"model":"m","input":{"prompt":"x"},"parameters": {"max_tokens":7 }}"#,
        ),
        (
            Api::Generation,
            r#"{"model":"m","input":{"prompt":"x"},"parameters":{"top_p":1,"max_tokens":99}}"#,
            both,
            r#"{"model":"m","input":{"prompt":"x"},"parameters":{"thinking_budget":9,"top_p":1,"max_tokens":7}}"#,
        ),
    ] {
        assert_eq!(spliced(api, body, &clamp), wanted, "{api:?} {body}");
    }
}

#[test]
fn what_cannot_be_metered_as_it_is_written_is_refused() {
    for (api, body) in [
        (Api::Generation, r#"{"model":"m","input":{},"input":{}}"#),
        (Api::Generation, r#"{"model":"m","input":{},"parameters":{"n":1,"n":2}}"#),
        (Api::Generation, r#"{"model":"m","input":{},"parameters":{"N":4}}"#),
        (Api::Generation, r#"{"model":"m","input":{},"parameters":{"max\u0054okens":4,"maxTokens":5}}"#),
        (Api::Generation, r#"{"model":"m","input":{},"enable_search":true}"#),
        (Api::Generation, r#"{"model":"m","input":{},"maxTokens":9}"#),
        (Api::Generation, r#"{"model":"m","input":{},"Parameters":{}}"#),
        (Api::Generation, r#"{"model":"m","input":{},"parameters":[]}"#),
        (Api::Generation, r#"{"model":"m","input":{"messages":[]},"parameters":{"n":0}}"#),
        (Api::Generation, r#"{"model":"m"}"#),
        (Api::Video, r#"{"model":"m","input":{},"parameters":{"duration":"5"}}"#),
        (Api::Video, r#"{"model":"m","input":{},"parameters":{"duration":5.0}}"#),
        (Api::Completions, r#"{"model":"m","prompt":["a","b"]}"#),
        (Api::Completions, r#"{"model":"m","prompt":[["a"]]}"#),
        (Api::Messages, r#"{"model":"m","messages":[],"max_tokens":1,"Max_Tokens":9}"#),
        (Api::Messages, r#"{"model":"m","messages":[],"thinking":{"type":"other"}}"#),
        (Api::Messages, r#"{"model":"m","messages":[],"thinking":{"type":"enabled","type":"disabled"}}"#),
        (Api::Messages, r#"{"model":"m","messages":[],"thinking":{"type":"enabled","budget_tokens":-1}}"#),
        (Api::Responses, r#"{"model":"m","input":[{"type":"item_reference","id":"msg_1"}]}"#),
        (Api::Responses, r#"{"model":"m","input":"x","previous_response_id":7}"#),
        (Api::Responses, r#"{"model":"m"}"#),
        (Api::Embeddings, r#"{"model":"m"}"#),
        (Api::Reranks, r#"{"model":"m","query":"q"}"#),
        (Api::Voice, r#"{"model":"m","input":{"action":"list_voice"}}"#),
    ] {
        let error = refused(api, body);
        assert!(!error.message.contains('9'), "nothing of the caller's content: {error}");
    }
}

#[test]
fn things_kept_at_the_provider_are_named() {
    let named =
        |api, body: Value| read(api, &body).references.iter().map(|one| (one.kind, one.id.clone())).collect::<Vec<_>>();
    let response =
        json!({"model": "m", "input": "x", "previous_response_id": "resp_1", "conversation": {"id": "conv_1"}});
    assert_eq!(
        named(Api::Responses, response),
        [(Kind::Conversation, "conv_1".to_owned()), (Kind::Response, "resp_1".to_owned())]
    );
    let file = |part: Value| json!({"model": "m", "messages": [{"role": "user", "content": [part]}]});
    for part in [
        json!({"type": "file", "file": {"file_id": "file-1"}}),
        json!({"type": "input_file", "file_id": "file-1"}),
        json!({"type": "image", "source": {"type": "file", "file_id": "file-1"}}),
        json!({"type": "text", "text": "see fileid://file-1, please"}),
    ] {
        let facts = read(Api::Messages, &file(part.clone()));
        assert_eq!(named(Api::Messages, file(part.clone())), [(Kind::File, "file-1".to_owned())], "{part}");
        assert!(facts.input.unbounded.is_some(), "{part}");
    }
    let voice = |action: &str| json!({"model": "m", "input": {"action": action, "voice": "v-1"}});
    assert_eq!(named(Api::Voice, voice("delete")), [(Kind::Voice, "v-1".to_owned())]);
    let made = |body: Value| read(Api::Voice, &body).units.made;
    assert_eq!((made(voice("delete")), made(json!({"model": "m", "input": {"action": "create"}}))), (0, 1));
    assert_eq!(made(json!({"model": "m", "input": {}})), 1, "who names no action may make one");
    let spoken = json!({"model": "m", "input": {"text": "x", "voice": "Cherry"}, "parameters": {"voice": "v-1"}});
    let facts = read(Api::Speech, &spoken);
    let voices: Vec<_> = facts.references.iter().map(|thing| (thing.kind, thing.id.as_str(), thing.common)).collect();
    assert_eq!(voices, [(Kind::Voice, "Cherry", true), (Kind::Voice, "v-1", true)]);
    assert_eq!(facts.input.unbounded, None);
}

#[test]
fn units_are_what_the_request_says() {
    let units = |api, body: Value| read(api, &body).units;
    let spoken = units(Api::Speech, json!({"model": "m", "input": {"text": "ab 你好，é😀"}}));
    assert_eq!(spoken.characters, 3 + 4 + 1 + 1 + 2);
    let tagged =
        json!({"model": "m", "input": {"text": "<speak>你<break/></speak>"}, "parameters": {"enable_ssml": true}});
    assert_eq!((units(Api::Speech, tagged.clone()).ssml, units(Api::Speech, tagged).spoken), (true, 2));
    let plain = units(Api::Speech, json!({"model": "m", "input": {"text": "a < b"}}));
    assert_eq!((plain.characters, plain.spoken), (5, 5), "only a text that is marked as a whole has tags");
    for (text, spoken) in [
        ("<speak>a<![CDATA[all of this is spoken]]></speak>", 49),
        ("<speak><?x y?>a</speak>", 23),
        ("<speak><sub alias=\"a > 'b\">x</sub></speak>", 8),
        ("<speak rate='2'>ab</speak>", 4),
    ] {
        let tagged = json!({"model": "m", "input": {"text": text}, "parameters": {"enable_ssml": true}});
        assert_eq!(units(Api::Speech, tagged).spoken, spoken, "{text}");
    }
    let film = |input: Value| units(Api::Video, json!({"model": "m", "input": input, "parameters": {"duration": 5}}));
    assert_eq!(
        (film(json!({"prompt": "x", "img_url": "u"})).seconds, film(json!({"img_url": "u"})).video),
        (Some(5), false)
    );
    assert!(film(json!({"prompt": "x", "video_url": "u"})).video);
    assert!(film(json!({"prompt": "x", "reference_urls": ["u"]})).video);
    let heard = units(Api::Transcription, json!({"model": "m", "input": {"file_urls": ["a", "b", "c"]}}));
    assert_eq!((heard.recordings, heard.heard), (3, 0));
    let sound = |content: Value| {
        let body = json!({"model": "m", "input": {"messages": [{"role": "user", "content": content}]}});
        let facts = read(Api::Generation, &body);
        assert!(facts.input.unbounded.is_some(), "its tokens are not known");
        (facts.units.recordings, facts.units.heard, facts.units.elsewhere)
    };
    let three = wav_of(3);
    assert_eq!(sound(json!([{"audio": three}])), (0, 4, false));
    assert_eq!(sound(json!([{"audio": three}, {"audio": three}, {"text": "a"}])), (0, 8, false));
    assert_eq!(sound(json!([{"audio": three}, {"audio": "https://example.com/a.wav"}])), (1, 4, true));
    assert_eq!(sound(json!([{"audio": three, "type": "input_audio"}])), (0, 4, true));
    assert_eq!(sound(json!([{"audio": [three, three]}])), (2, 0, true));
    assert_eq!(sound(json!([{"audio_url": ["a", "b"]}, {"audio": three}])), (2, 4, true));
    let drawn = json!({"model": "m", "input": {"prompt": "x"}, "parameters": {"n": 3, "enable_interleave": true, "max_images": 5}});
    let drawn = units(Api::Image, drawn);
    assert_eq!((drawn.images, drawn.max_images, drawn.interleaved), (Some(3), Some(5), true));
}

#[test]
fn a_prompt_is_one_text_or_ids_of_tokens() {
    let input = |prompt: Value| read(Api::Completions, &json!({"model": "m", "prompt": prompt})).input.text;
    let ids = input(json!([7, 8, 9]));
    assert_eq!((input(json!([7])), input(json!([]))), (ids / 3, 0));
    assert!(ids > 0 && input(json!(["ab"])) == input(json!("ab")) && input(json!("ab")) > input(json!("")));
}

#[test]
fn what_is_read_once_a_text_counts_once_a_text() {
    let text = |api, body: Value| read(api, &body).input.text;
    let one = text(Api::Reranks, json!({"model": "m", "query": "1234567890", "documents": ["a"]}));
    let three = text(Api::Reranks, json!({"model": "m", "query": "1234567890", "documents": ["a", "a", "a"]}));
    assert_eq!(three, 3 * one);
    // Parts of the question are no documents, wherever they stand.
    let question = r#""query":[{"text":"ab"},{"text":"cd"}]"#;
    let orders = [format!(r#"{question},"documents":["a","b"]"#), format!(r#""documents":["a","b"],{question}"#)];
    let [before, behind] = orders
        .map(|members| Facts::read(Api::Reranks, format!(r#"{{"model":"m",{members}}}"#).as_bytes()).unwrap().input);
    assert_eq!(before.text, behind.text);
    let ids = text(Api::Embeddings, json!({"model": "m", "input": [[1, 2, 3], [4]]}));
    assert_eq!(ids, 4);
    assert_eq!(text(Api::Completions, json!({"model": "m", "prompt": [5, 6, 7]})), 3);
    assert_eq!(text(Api::Completions, json!({"model": "m", "prompt": "ab", "suffix": "c"})), 3);
}

#[test]
fn a_model_is_called_only_where_its_unit_is_counted() {
    let all = [Unit::Tokens, Unit::Images, Unit::Seconds, Unit::Characters, Unit::Voices];
    let counts = |api: Api| all.into_iter().filter(|unit| api.counts(*unit)).collect::<Vec<_>>();
    for api in [Api::Chat, Api::Completions, Api::Responses, Api::Messages, Api::Embeddings, Api::Reranks] {
        assert_eq!(counts(api), [Unit::Tokens], "{api:?}");
    }
    for api in [Api::TextEmbedding, Api::MultimodalEmbedding, Api::TextRerank] {
        assert_eq!(counts(api), [Unit::Tokens], "{api:?}");
    }
    assert_eq!(counts(Api::Generation), all[..4]);
    assert_eq!(counts(Api::Image), [Unit::Images]);
    assert_eq!(counts(Api::Video), [Unit::Seconds]);
    assert_eq!(counts(Api::Transcription), [Unit::Seconds]);
    assert_eq!(counts(Api::Speech), [Unit::Characters]);
    assert_eq!(counts(Api::Voice), [Unit::Voices]);
    assert_eq!(counts(Api::App), all);
}

/// The call that a path of the mixed run has.
fn api_of(path: &str) -> Api {
    match gratis::dialect::route(&http::Method::POST, path, None) {
        gratis::dialect::RouteMatch::Found(route) => match route.metering {
            gratis::dialect::Metering::Call(api) => api,
            other => panic!("{path}: {other:?}"),
        },
        other => panic!("{path}: {other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_splice_into_any_call_is_read_again_with_its_bounds(
        which in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
        answer in 1_u64..100_000,
        insert in "[a-z{}\\[\\]\":,0-9 ]{0,6}",
    ) {
        let all: Vec<_> = calls("hello é").into_iter().chain(tasks("x")).collect();
        let call = &all[which.index(all.len())];
        let (api, body) = (api_of(call.path), call.body.to_string());
        let facts = Facts::read(api, body.as_bytes()).unwrap();
        let bytes = Bytes::from(body.clone());
        let out = facts.splice(&bytes, &Clamp { answer: Some(answer), ..Clamp::default() });
        let again = Facts::read(api, &out).unwrap();
        prop_assert!(again.answer == Some(answer) || !api.writes());
        prop_assert_eq!(&again.model, &facts.model);
        prop_assert!(again.units == facts.units || !api.writes());
        // Whatever is put anywhere: no panic, and what is read is JSON.
        let at = (0..=cut.index(body.len() + 1)).rev().find(|at| body.is_char_boundary(*at)).unwrap();
        let spoiled = format!("{}{insert}{}", &body[..at], &body[at..]);
        if Facts::read(api, spoiled.as_bytes()).is_ok() {
            prop_assert!(serde_json::from_str::<Value>(&spoiled).is_ok(), "{}", spoiled);
        }
    }
}
