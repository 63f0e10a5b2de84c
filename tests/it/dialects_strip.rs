//! What is left out of a body by name, and that every other byte stays.

use bytes::Bytes;
use gratis::dialect::strip;

fn stripped(body: &str, names: &[&str]) -> Option<String> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let left = strip(&Bytes::copy_from_slice(body.as_bytes()), &names)?;
    Some(String::from_utf8(left.to_vec()).unwrap())
}

#[test]
fn members_go_from_the_places_where_they_mean_something() {
    for (body, left) in [
        (r#"{"enable_search":true,"model":"m"}"#, r#"{"model":"m"}"#),
        (r#"{"model":"m", "enable_search":true}"#, r#"{"model":"m"}"#),
        (r#"{"a":1,"enable_search":true,"plugins":[],"b":2}"#, r#"{"a":1,"b":2}"#),
        (r#"{"parameters":{"enable_search":true,"n":1}}"#, r#"{"parameters":{"n":1}}"#),
        (
            r#"{"input":{"enable_search":true,"messages":[{"cache_control":{},"role":"user"}]}}"#,
            r#"{"input":{"messages":[{"role":"user"}]}}"#,
        ),
        (r#"{"input":[{"cache_control":{},"type":"message"}]}"#, r#"{"input":[{"type":"message"}]}"#),
        (r#"{"system":[{"text":"a","cache_control":{}}]}"#, r#"{"system":[{"text":"a"}]}"#),
        (r#"{"tools":[{"name":"a","cache_control":{}}]}"#, r#"{"tools":[{"name":"a"}]}"#),
        (
            r#"{"messages":[{"content":[{"cache_control":{},"text":"x"}]}]}"#,
            r#"{"messages":[{"content":[{"text":"x"}]}]}"#,
        ),
    ] {
        assert_eq!(stripped(body, &["enable_search", "plugins", "cache_control"]).as_deref(), Some(left), "{body}");
    }
}

#[test]
fn elsewhere_and_by_other_names_everything_stays() {
    for body in [
        r#"{"model":"m","messages":[{"enable_search":true,"content":"cache_control"}]}"#,
        r#"{"metadata":{"cache_control":{}}}"#,
        r#"{"input":"enable_search"}"#,
        r#"{"service_tier":"x"}"#,
        "[]",
        "no JSON",
    ] {
        assert_eq!(stripped(body, &["enable_search", "cache_control"]), None, "{body}");
    }
}
