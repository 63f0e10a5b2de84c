//! Bounds written into a body: the asked-for values change, no other byte does.

use bytes::Bytes;
use gratis::dialect::{Api, Clamp, Facts};
use proptest::prelude::*;
use serde_json::Value;

use crate::fuzz::facts::meant;

fn splice(body: &str, clamp: &Clamp) -> String {
    let body = Bytes::from(body.to_owned());
    let out = Facts::read(Api::Chat, &body).unwrap().splice(&body, clamp);
    String::from_utf8(out.to_vec()).unwrap()
}

fn all() -> Clamp {
    Clamp { answer: Some(9), thinking_budget: Some(8), disable_thinking: true, include_usage: true }
}

#[test]
fn nothing_to_do_is_the_same_memory() {
    let body = Bytes::from_static(br#"{"model":"m","messages":[]}"#);
    let out = Facts::read(Api::Chat, &body).unwrap().splice(&body, &Clamp::default());
    assert_eq!((out.as_ptr(), out.len()), (body.as_ptr(), body.len()));
}

#[test]
fn absent_members_go_in_front_and_present_ones_are_replaced() {
    assert_eq!(
        splice(" { \"model\":\"m\" ,\"messages\":[]}\n", &all()),
        " {\"max_tokens\":9,\"thinking_budget\":8,\"enable_thinking\":false,\"stream_options\":{\"include_usage\":true}, \"model\":\"m\" ,\"messages\":[]}\n"
    );
    assert_eq!(
        splice(
            r#"{"model":"m","messages":[],"max_completion_tokens": 100 ,"thinking_budget":1,"enable_thinking":true,"stream_options":{"include_usage" : false}}"#,
            &all()
        ),
        r#"{"model":"m","messages":[],"max_completion_tokens": 9 ,"thinking_budget":8,"enable_thinking":true,"stream_options":{"include_usage" : true}}"#
    );
    assert_eq!(
        splice(
            r#"{"max_tokens":null,"messages":[],"thinking_budget":null,"enable_thinking":null,"stream_options":null,"model":"m"}"#,
            &all()
        ),
        r#"{"max_tokens":9,"messages":[],"thinking_budget":8,"enable_thinking":false,"stream_options":{"include_usage":true},"model":"m"}"#
    );
    let usage = Clamp { include_usage: true, ..Clamp::default() };
    assert_eq!(
        splice(r#"{"model":"m","messages":[],"stream_options":{ "x":1}}"#, &usage),
        r#"{"model":"m","messages":[],"stream_options":{"include_usage":true, "x":1}}"#
    );
    assert_eq!(
        splice(r#"{"model":"m","messages":[],"stream_options":{ }}"#, &usage),
        r#"{"model":"m","messages":[],"stream_options":{"include_usage":true }}"#
    );
    let both = splice(r#"{"max_tokens":20,"max_completion_tokens":20,"model":"m","messages":[]}"#, &all());
    assert!(both.contains(r#""max_tokens":9,"max_completion_tokens":9,"#), "{both}");
}

#[test]
fn another_body_is_not_sent_on() {
    let body = Bytes::from_static(br#"{"model":"m","messages":[]}"#);
    let other = Bytes::from_static(br#"{"model":"mm","messages":[]}"#);
    assert!(Facts::read(Api::Chat, &body).unwrap().splice(&other, &all()).is_empty());
}

/// A member as it may be written: what stands in front of its value, the value, what stands behind it.
type Member = (&'static str, String, String, &'static str);

fn member(name: &'static str, value: BoxedStrategy<String>) -> impl Strategy<Value = Option<Member>> {
    let space = prop::sample::select(vec!["", " ", "\n\t"]);
    (prop::option::of(value), space.clone(), space).prop_map(move |(value, before, after)| {
        value.map(|value| (name, format!("{after}\"{name}\"{before}:{after}"), value, before))
    })
}

fn numbers() -> BoxedStrategy<String> {
    prop_oneof![(1..100_000_u64).prop_map(|n| n.to_string()), Just("null".to_owned())].boxed()
}

fn among(values: &[&'static str]) -> BoxedStrategy<String> {
    prop::sample::select(values.to_vec()).prop_map(str::to_owned).boxed()
}

/// Ways to write `stream_options`, and what they become.
const OPTIONS: [(&str, &str); 6] = [
    ("null", r#"{"include_usage":true}"#),
    ("{}", r#"{"include_usage":true}"#),
    ("{ }", r#"{"include_usage":true }"#),
    (r#"{"include_usage":false}"#, r#"{"include_usage":true}"#),
    (r#"{"a":[{}], "include_usage" : null }"#, r#"{"a":[{}], "include_usage" : true }"#),
    (r#"{"b":"include_usage"}"#, r#"{"include_usage":true,"b":"include_usage"}"#),
];

fn members() -> impl Strategy<Value = Vec<Member>> {
    let decoy =
        r#"[{"role":"user","content":"\"max_tokens\":1 你","max_tokens":3,"stream_options":{"include_usage":false}}]"#;
    let members = (
        member("max_tokens", numbers()),
        member("thinking_budget", numbers()),
        member("enable_thinking", among(&["true", "false", "null"])),
        member("stream", among(&["true", "false"])),
        member("stream_options", among(&OPTIONS.map(|(written, _)| written))),
        member("metadata", among(&[r#"{"max_tokens":5,"x":"{"}"#])),
    );
    (members, any::<prop::sample::Index>()).prop_map(move |((a, b, c, d, e, f), turn)| {
        let mut all: Vec<Member> = [a, b, c, d, e, f].into_iter().flatten().collect();
        all.push(("model", "\"model\":".to_owned(), "\"m\"".to_owned(), ""));
        all.push(("messages", "\"messages\": ".to_owned(), decoy.to_owned(), " "));
        let turn = turn.index(all.len());
        all.rotate_left(turn);
        all
    })
}

fn write(front: &str, members: &[Member]) -> String {
    let members: Vec<_> = members.iter().map(|(_, a, value, z)| format!("{a}{value}{z}")).collect();
    format!(" {{{front}{}}} ", members.join(","))
}

/// The text that the body must become: every value in its place, new members in front.
fn expected(members: &[Member], clamp: &Clamp) -> String {
    let mut members = members.to_vec();
    let mut front = String::new();
    let mut set = |name: &str, new: String, if_null_only: bool| match members.iter_mut().find(|member| member.0 == name)
    {
        Some(member) if if_null_only && member.2 != "null" => {}
        Some(member) => member.2 = new,
        None => front.push_str(&format!("\"{name}\":{new},")),
    };
    if let Some(answer) = clamp.answer {
        set("max_tokens", answer.to_string(), false);
    }
    if let Some(budget) = clamp.thinking_budget {
        set("thinking_budget", budget.to_string(), false);
    }
    if clamp.disable_thinking {
        set("enable_thinking", "false".to_owned(), true);
    }
    if clamp.include_usage {
        match members.iter_mut().find(|member| member.0 == "stream_options") {
            Some(member) => member.2 = OPTIONS.iter().find(|(from, _)| *from == member.2).unwrap().1.to_owned(),
            None => front.push_str(r#""stream_options":{"include_usage":true},"#),
        }
    }
    write(&front, &members)
}

fn clamp() -> impl Strategy<Value = Clamp> {
    (prop::option::of(1..1000_u64), prop::option::of(1..1000_u64), any::<bool>(), any::<bool>()).prop_map(
        |(answer, thinking_budget, disable_thinking, include_usage)| Clamp {
            answer,
            thinking_budget,
            disable_thinking,
            include_usage,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn only_the_clamped_values_change(members in members(), clamp in clamp()) {
        let body = write("", &members);
        let out = splice(&body, &clamp);
        prop_assert_eq!(&out, &expected(&members, &clamp));
        let before: Value = serde_json::from_str(&body).unwrap();
        let after: Value = serde_json::from_str(&out).unwrap();
        prop_assert_eq!(after, meant(before, &clamp));
        // What was written is what is read again.
        let again = Facts::read(Api::Chat, out.as_bytes()).unwrap();
        prop_assert!(clamp.answer.is_none() || again.answer == clamp.answer);
        prop_assert!(clamp.thinking_budget.is_none() || again.thinking.budget == clamp.thinking_budget);
        prop_assert!(!clamp.include_usage || again.usage_asked);
    }
}
