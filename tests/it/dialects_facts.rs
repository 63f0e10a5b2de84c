//! What is read of a request, and what is refused.

use gratis::dialect::{Api, DialectError, Facts};
use proptest::prelude::*;

pub(crate) fn with(members: &str) -> String {
    let comma = if members.is_empty() { "" } else { "," };
    format!(r#"{{"model":"qwen-plus","messages":[{{"role":"user","content":"hi"}}]{comma}{members}}}"#)
}

fn read(members: &str) -> Result<Facts, DialectError> {
    Facts::read(Api::Chat, with(members).as_bytes())
}

fn refused(body: impl AsRef<[u8]>) -> DialectError {
    let body = body.as_ref();
    Facts::read(Api::Chat, body).expect_err(&String::from_utf8_lossy(body))
}

#[test]
fn a_plain_request_is_read() {
    let facts = read(r#""stream":true,"stream_options":{"include_usage":true},"n":2,"max_tokens":7,"temperature":0.5"#)
        .unwrap();
    assert_eq!((facts.model.as_str(), facts.stream, facts.usage_asked, facts.choices), ("qwen-plus", true, true, 2));
    assert_eq!(facts.answer, Some(7));
    assert_eq!((facts.input.text, facts.input.json, facts.input.messages), (2, 0, 1));
    assert_eq!(facts.input.unbounded, None);
    assert!(facts.surcharges.is_empty());
    let silent = read("").unwrap();
    assert_eq!((silent.stream, silent.usage_asked, silent.choices, silent.answer), (false, false, 1, None));
    assert_eq!((silent.thinking.enabled, silent.thinking.budget), (None, None));
}

#[test]
fn the_model_is_the_one_at_the_top_wherever_it_stands() {
    let body = r#"{"messages":[{"role":"user","content":"\"model\":\"a\"","model":"b"}],"metadata":{"model":"c"},"mo\u0064el":"d"}"#;
    assert_eq!(Facts::read(Api::Chat, body.as_bytes()).unwrap().model, "d");
}

#[test]
fn a_missing_model_gets_the_words_of_the_service() {
    for body in [r#"{"messages":[]}"#, r#"{"model":null,"messages":[]}"#] {
        let error = refused(body);
        assert_eq!(error.message, "you must provide a model parameter.");
        assert_eq!(error.code, "invalid_request_error");
    }
    let long = format!(r#"{{"model":"{}","messages":[]}}"#, "m".repeat(129));
    for body in [r#"{"model":["a"],"messages":[]}"#, r#"{"model":7,"messages":[]}"#, &long] {
        assert_eq!(refused(body).param.as_deref(), Some("model"), "{body}");
    }
}

#[test]
fn what_parsers_read_differently_is_refused() {
    let whole = with("");
    let mut bodies: Vec<Vec<u8>> = vec![
        Vec::new(),
        b" ".to_vec(),
        b"[]".to_vec(),
        br#"["qwen-plus",[],true]"#.to_vec(),
        b"null".to_vec(),
        b"\"x\"".to_vec(),
        format!("\u{feff}{whole}").into_bytes(),
        whole.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        format!("{whole} x").into_bytes(),
        format!("{whole}{whole}").into_bytes(),
        format!("{whole}\0").into_bytes(),
        whole.as_bytes()[..whole.len() - 1].to_vec(),
        whole.replace("hi", "\\ud800").into_bytes(),
        whole.replace("hi", "a\nb").into_bytes(),
        [whole.as_bytes().split_at(20).0, b"\xff", whole.as_bytes().split_at(20).1].concat(),
    ];
    let members = [
        r#""seed":NaN"#,
        r#""seed":Infinity"#,
        r#""seed":1e999"#,
        r#""seed":01"#,
        r#""seed":1."#,
        r#""seed":+1"#,
        r#""seed":0x1"#,
        r#""stop":'x'"#,
        r#""stop":["a",]"#,
        r#""stop":"\ud800""#,
        r#""stop":{"\udc00":1}"#,
        r#""unheard_of":"\ud800\u0041""#,
        r#""tools":[{"type":"function","function":{"name":"\udfff"}}]"#,
        r#""stop":"\x41""#,
        r#"/* no */"seed":1"#,
        r#""seed":1,"#,
    ];
    bodies.extend(members.iter().map(|m| with(m).into_bytes()));
    for body in bodies {
        let error = refused(&body);
        assert!(error.message.len() < 200, "{error}");
    }
    let error = refused("{\"model\":\"m\",\n  \"messages\" []}");
    assert_eq!(error.message, "The request body cannot be read as JSON: expected `:` at line 2 column 14.");
}

#[test]
fn depth_is_bounded() {
    let nested = |name: &str, depth: usize| with(&format!("\"{name}\":{}{}", "[".repeat(depth), "]".repeat(depth)));
    for (name, most) in [("stop", 63), ("unheard_of", 63), ("response_format", 32), ("functions", 32)] {
        assert!(Facts::read(Api::Chat, nested(name, most).as_bytes()).is_ok(), "{name} {most}");
        for depth in [most + 1, 200, 100_000] {
            let error = refused(nested(name, depth));
            assert!(error.message.contains("nested too deeply"), "{error}");
        }
    }
    let tool = |depth: usize| {
        let inner = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        with(&format!(r#""tools":[{{"type":"function","x":{inner}}}]"#))
    };
    assert!(Facts::read(Api::Chat, tool(30).as_bytes()).is_ok());
    assert_eq!(refused(tool(31)).param.as_deref(), Some("tools"));
}

#[test]
fn a_parameter_is_given_once_under_its_own_name() {
    for name in ["model", "messages", "stream", "stream_options", "n", "max_tokens", "tools", "temperature", "user"] {
        let escaped = format!("\\u{:04x}{}", u32::from(name.as_bytes()[0]), &name[1..]);
        for second in [name, &escaped] {
            let error = refused(with(&format!("\"{name}\":null,\"{second}\":null")));
            assert!(error.message.contains("twice"), "{name}: {error}");
        }
    }
    assert!(refused(with(r#""x1":1,"x\u0031":2"#)).message.contains("twice"));
    for (disguise, name) in [
        ("Model", "model"),
        ("MODEL", "model"),
        ("mo_del", "model"),
        ("model\\u0000", "model"),
        ("model ", "model"),
        ("maxTokens", "max_tokens"),
        ("max-tokens", "max_tokens"),
        ("MAX_TOKENS", "max_tokens"),
        ("max_toKens", "max_tokens"),
        ("max_to\u{212a}ens", "max_tokens"),
        ("meſſages", "messages"),
        ("me\\u017f\\u017fages", "messages"),
        ("thınkıng_budget", "thinking_budget"),
        ("isStream", "stream"),
        ("N", "n"),
        ("enableSearch", "enable_search"),
        ("StreamOptions", "stream_options"),
    ] {
        let error = refused(with(&format!("\"{disguise}\":1")));
        assert_eq!(error.param.as_deref(), Some(name), "{disguise}: {error}");
    }
    let many: Vec<_> = (0..65).map(|i| format!("\"x{i}\":1")).collect();
    assert!(refused(with(&many.join(","))).message.contains("too many"));
    assert!(read(&many[..64].join(",")).is_ok());
    assert!(refused(with(&format!("\"{}\":1", "_".repeat(129)))).message.contains("too long"));
}

#[test]
fn bounds_are_whole_numbers_of_at_least_one() {
    for name in ["max_tokens", "max_completion_tokens", "thinking_budget", "n", "best_of"] {
        for bad in ["0", "-1", "1.0", "1e2", "\"5\"", "true", "[5]", "{}", "2147483649", "99999999999999999999", "-0"] {
            let error = refused(with(&format!("\"{name}\": {bad} ")));
            assert_eq!((error.code, error.param.as_deref()), ("invalid_parameter_error", Some(name)), "{bad}");
            assert!(error.message.contains(name));
        }
        for good in ["1", "2147483648", "null"] {
            assert!(read(&format!("\"{name}\":{good}")).is_ok(), "{name} {good}");
        }
    }
    for name in ["stream", "enable_thinking"] {
        for bad in ["1", "\"true\"", "[]"] {
            assert_eq!(refused(with(&format!("\"{name}\":{bad}"))).param.as_deref(), Some(name));
        }
    }
    for bad in [
        "true",
        "[]",
        "\"\"",
        r#"{"include_usage":1}"#,
        r#"{"include_usage":true,"include_usage":true}"#,
        r#"{"includeUsage":true}"#,
    ] {
        assert!(read(&format!("\"stream_options\":{bad}")).is_err(), "{bad}");
    }
}

#[test]
fn two_names_for_one_bound_must_agree() {
    assert!(read(r#""max_tokens":5,"max_completion_tokens":6"#).is_err());
    assert_eq!(read(r#""max_tokens":5,"max_completion_tokens":5"#).unwrap().answer, Some(5));
    assert_eq!(read(r#""max_tokens":null,"max_completion_tokens":6"#).unwrap().answer, Some(6));
    assert_eq!(read(r#""n":2,"best_of":4"#).unwrap().choices, 4);
}

#[test]
fn thinking_is_what_any_parameter_asks_for() {
    let ask = |members: &str| read(members).unwrap().thinking;
    assert_eq!(ask(r#""enable_thinking":true,"thinking_budget":9"#).budget, Some(9));
    assert_eq!(ask(r#""enable_thinking":true"#).enabled, Some(true));
    assert_eq!(ask(r#""enable_thinking":false"#).enabled, Some(false));
    assert_eq!(ask(r#""enable_thinking":null"#).enabled, None);
    assert_eq!(ask(r#""enable_thinking":false,"reasoning_effort":"high""#).enabled, Some(true));
    assert_eq!(ask(r#""chat_template_kwargs":{"enable_thinking":true}"#).enabled, Some(true));
    assert_eq!(ask(r#""thinking":null"#).enabled, None);
}

#[test]
fn an_error_never_repeats_what_the_caller_wrote() {
    for body in [
        with(r#""SECRET":1,"SECRET":2"#),
        with(r#""stream":"SECRET""#),
        with(r#""max_tokens":"SECRET""#),
        with(r#""tools":"SECRET""#),
        r#"{"model":"m","messages":"SECRET"}"#.to_owned(),
        r#"{"model":"m","messages":["SECRET"]}"#.to_owned(),
        r#"{"model":"m","messages":[{"role":"user","content":{"SECRET":1}}]}"#.to_owned(),
        r#"{"model":"m","messages":[{"role":7,"content":"SECRET"}]}"#.to_owned(),
        r#"{"model":"m" SECRET}"#.to_owned(),
        "\"SECRET\"".to_owned(),
    ] {
        let error = refused(&body);
        assert!(!format!("{error:?}").contains("SECRET"), "{error:?}");
    }
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map(".{0,6}", inner, 0..4).prop_map(|m| m.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn it_agrees_with_a_full_parse(
        model in "[ -~]{1,40}", stream: bool, n in 1..9_u32, max in 1..100_000_u64, other in json(), first: bool,
    ) {
        let mut members = [
            format!("\"model\" : {}", serde_json::json!(model)),
            format!("\"stream\":{stream}"),
            format!("\"n\":{n}"),
            format!("\"max_tokens\":{max}"),
            format!("\"metadata\":{other}"),
            "\"messages\":[]".to_owned(),
        ];
        if first {
            members.reverse();
        }
        let body = format!("{{{}}}", members.join(" ,\n"));
        let facts = Facts::read(Api::Chat, body.as_bytes()).unwrap();
        prop_assert_eq!((facts.model, facts.stream, facts.choices, facts.answer), (model, stream, n, Some(max)));
    }

    #[test]
    fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Facts::read(Api::Chat, &body);
    }
}
