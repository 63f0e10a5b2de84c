//! Thinking that more than one parameter of a request speaks of.

use bytes::Bytes;
use gratis::dialect::{Api, Clamp, Facts};

#[test]
fn of_two_parameters_about_thinking_the_one_that_asks_for_it_is_believed() {
    let read = |more: &str| Facts::read(Api::Messages, format!(r#"{{"model":"m","messages":[],{more}}}"#).as_bytes());
    let on = r#""thinking":{"type":"enabled","budget_tokens":40}"#;
    for (more, enabled) in [
        (format!(r#"{on},"enable_thinking":null"#), Some(true)),
        (format!(r#""enable_thinking":null,{on}"#), Some(true)),
        (format!(r#"{on},"enable_thinking":false"#), Some(true)),
        (format!(r#""enable_thinking":false,{on},"thinking_budget":null"#), Some(true)),
        (r#""enable_thinking":true,"thinking":{"type":"disabled"}"#.to_owned(), Some(true)),
        (r#""thinking":{"type":"disabled"},"enable_thinking":null"#.to_owned(), Some(false)),
        (r#""thinking":null,"enable_thinking":null"#.to_owned(), None),
    ] {
        let facts = read(&more).unwrap();
        assert_eq!(facts.thinking.enabled, enabled, "{more}");
        assert_eq!(facts.thinking.budget, more.contains("budget_tokens").then_some(40), "{more}");
    }
    for more in [format!(r#"{on},"thinking_budget":1"#), format!(r#""thinking_budget":1,{on}"#)] {
        assert!(read(&more).is_err(), "{more}");
    }
}

#[test]
fn a_null_beside_another_spelling_of_the_same_stays_as_it_is() {
    let off = Clamp { disable_thinking: true, ..Clamp::default() };
    let budget = Clamp { thinking_budget: Some(9), ..Clamp::default() };
    for (body, clamp, wanted) in [
        (
            r#"{"model":"m","messages":[],"enable_thinking":null}"#,
            &off,
            r#"{"thinking":{"type":"disabled"},"model":"m","messages":[],"enable_thinking":null}"#,
        ),
        (
            r#"{"model":"m","messages":[],"thinking":null,"enable_thinking":null}"#,
            &off,
            r#"{"model":"m","messages":[],"thinking":{"type":"disabled"},"enable_thinking":null}"#,
        ),
        (
            r#"{"model":"m","messages":[],"thinking":{"type":"enabled","budget_tokens":40},"thinking_budget":null}"#,
            &budget,
            r#"{"model":"m","messages":[],"thinking":{"type":"enabled","budget_tokens":9},"thinking_budget":null}"#,
        ),
    ] {
        let body = Bytes::from_static(body.as_bytes());
        assert_eq!(Facts::read(Api::Messages, &body).unwrap().splice(&body, clamp), wanted);
    }
}
