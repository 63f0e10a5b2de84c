//! The observer of event streams, against a reader that sees the whole stream at once.

use bytes::Bytes;
use gratis::dialect::{Encoding, Finding, Observer, Reading, UpstreamSignal, Watch};
use gratis::ledger::Usage;
use proptest::prelude::*;

use crate::dialects_oracle::{Told, tell};

const DELTA: &str = r#"{"choices":[{"delta":{"content":"Hi \"usage\":{1} 你"}}],"usage":null}"#;
const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":16,"completion_tokens":3,"total_tokens":19}}"#;
const ERROR: &str = r#"{"error":{"message":"x","code":"Throttling.AllocationQuota"}}"#;

fn watch(stream: &[u8], cuts: &[usize], strip: bool, clean: bool) -> (Vec<u8>, Option<usize>, Finding) {
    let whole = Bytes::copy_from_slice(stream);
    let mut observer =
        Observer::new(Watch::default(), Some("text/event-stream;charset=UTF-8"), Encoding::Identity, strip);
    let (mut out, mut mark, mut from) = (Vec::new(), None, 0);
    for cut in cuts.iter().copied().chain([stream.len()]) {
        let seen = observer.observe(whole.slice(from..cut));
        if let Some(at) = seen.end_at {
            assert_eq!(mark.replace(out.len() + at), None, "two end marks");
        }
        out.extend_from_slice(&seen.bytes);
        from = cut;
    }
    out.extend_from_slice(&observer.end(clean));
    (out, mark, observer.finding())
}

/// What the finding must be, from what the whole stream says.
fn agrees(told: &Told, finding: &Finding, clean: bool) {
    let complete = clean || told.mark.is_some();
    let most = told.usages.iter().fold((0, 0), |a, u| (a.0.max(u.0), a.1.max(u.1)));
    let decreased = told.usages.windows(2).any(|w| w[1].0 < w[0].0 || w[1].1 < w[0].1);
    let usage = Usage { input: most.0, output: most.1 };
    let exact = told.last || (complete && told.errors.is_empty());
    let reading = match told.usages.is_empty() {
        true => Reading::None,
        false if exact && !finding.flags.usage_decreased => Reading::Exact(usage),
        false => Reading::AtLeast(usage),
    };
    assert_eq!(finding.reading, reading);
    assert!(!decreased || finding.flags.usage_decreased);
    assert_eq!(finding.error.as_ref().map(|e| &e.code), told.errors.last());
    assert_eq!(finding.complete, complete);
    let only = complete && !told.errors.is_empty() && told.others == 0 && told.usages.is_empty();
    assert_eq!(finding.only_error, only);
}

fn line_end() -> impl Strategy<Value = &'static str> {
    prop_oneof![4 => Just("\n"), 2 => Just("\r\n"), 1 => Just("\r")]
}

fn usage_numbers() -> impl Strategy<Value = String> {
    (0..5000_u64, 0..5000_u64, 0..3_u64).prop_map(|(input, output, more)| {
        format!(r#"{{"prompt_tokens":{input},"completion_tokens":{output},"total_tokens":{}}}"#, input + output + more)
    })
}

fn event() -> impl Strategy<Value = String> {
    let payload = prop_oneof![
        6 => Just(DELTA.to_owned()),
        2 => usage_numbers().prop_map(|u| format!(r#"{{"id":"a","choices":[ ],"usage": {u} }}"#)),
        1 => usage_numbers().prop_map(|u| format!(r#"{{"choices":[{{"a":[]}}],"usage":{u}}}"#)),
        1 => usage_numbers().prop_map(|u| format!(r#"{{"x":{{"usage":{u},"choices":[]}},"choices":[{{}}]}}"#)),
        1 => Just(ERROR.to_owned()),
        1 => Just(r#"{"error":null,"choices":[{}]}"#.to_owned()),
        1 => Just("[DONE]".to_owned()),
        1 => Just("[DO]".to_owned()),
        1 => "[a-z{}\\[\\]\": ]{0,12}",
    ];
    let before = prop_oneof![6 => Just(""), 1 => Just(": keep-alive"), 1 => Just("id: 1"), 1 => Just("data")];
    (payload, before, line_end(), any::<bool>(), any::<bool>()).prop_map(|(payload, before, end, space, split)| {
        let space = if space { " " } else { "" };
        let before = if before.is_empty() { String::new() } else { format!("{before}{end}") };
        // Inside an object a line may end behind any comma that is outside of its strings.
        let payload =
            if split { payload.replace(r#","usage":"#, &format!(",{end}data:{space}\"usage\":")) } else { payload };
        format!("{before}data:{space}{payload}{end}{end}")
    })
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    (prop::collection::vec(event(), 0..8), 0..4_usize).prop_map(|(events, short)| {
        let mut bytes = events.concat().into_bytes();
        bytes.truncate(bytes.len().saturating_sub(short));
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_split_of_a_stream_passes_the_same_bytes_and_finds_the_same(
        stream in stream(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        strip in any::<bool>(),
        clean in any::<bool>(),
    ) {
        let told = tell(&stream, strip);
        let mut cuts: Vec<_> = cuts.iter().map(|i| i.index(stream.len() + 1)).collect();
        cuts.sort_unstable();
        let whole = watch(&stream, &[], strip, clean);
        prop_assert_eq!(&whole.0, &told.bytes);
        prop_assert_eq!(whole.1, told.mark);
        if told.sound {
            agrees(&told, &whole.2, clean);
        }
        prop_assert_eq!(watch(&stream, &cuts, strip, clean), whole.clone());
        let every: Vec<_> = (1..stream.len()).collect();
        prop_assert_eq!(watch(&stream, &every, strip, clean), whole);
    }
}

fn exact(finding: &Finding) -> Option<(u64, u64)> {
    match finding.reading {
        Reading::Exact(usage) => Some((usage.input, usage.output)),
        Reading::AtLeast(_) | Reading::None => None,
    }
}

#[test]
fn a_chunk_without_anything_to_hold_is_the_same_memory() {
    let chunk = Bytes::from(format!("data: {DELTA}\n\ndata: {DELTA}\n\n"));
    let mut observer = Observer::new(Watch::default(), Some("text/event-stream"), Encoding::Identity, true);
    let seen = observer.observe(chunk.clone());
    assert_eq!(seen.bytes.as_ptr(), chunk.as_ptr());
    assert_eq!((seen.bytes.len(), seen.end_at), (chunk.len(), None));
}

#[test]
fn content_usage_and_end_in_one_chunk_come_out_as_one_with_the_end_marked() {
    let chunk = Bytes::from(format!("data: {DELTA}\n\ndata: {USAGE}\n\ndata: [DONE]\n\n"));
    let mut observer = Observer::new(Watch::default(), Some("text/event-stream"), Encoding::Identity, true);
    let seen = observer.observe(chunk);
    let content = format!("data: {DELTA}\n\n");
    assert_eq!(seen.bytes, format!("{content}data: [DONE]\n\n"));
    assert_eq!(seen.end_at, Some(content.len()));
    let finding = observer.finding();
    assert_eq!(exact(&finding), Some((16, 3)));
    assert!(finding.complete && finding.flags.usage_stripped);
}

#[test]
fn content_is_not_held_back_while_the_usage_chunk_is_looked_for() {
    let mut observer = Observer::new(Watch::default(), Some("text/event-stream"), Encoding::Identity, true);
    let part = Bytes::from_static(b"data: {\"choices\":[{\"delta\":{\"content\":\"half a wo");
    assert_eq!(observer.observe(part.clone()).bytes, part);
    let rest = Bytes::from_static(b"rd\"}}]}\n\n");
    assert_eq!(observer.observe(rest.clone()).bytes, rest);
}

#[test]
fn a_usage_chunk_is_final_even_when_the_stream_is_cut_behind_it() {
    let stream = format!("data: {DELTA}\n\ndata: {USAGE}\n\n");
    let (_, _, finding) = watch(stream.as_bytes(), &[], false, false);
    assert_eq!((exact(&finding), finding.complete), (Some((16, 3)), false));
    // Without its closing brace nothing of it counts.
    let cut = &stream.as_bytes()[..stream.len() - 3];
    assert_eq!(watch(cut, &[], false, false).2.reading, Reading::None);
}

#[test]
fn usage_beside_content_is_a_part_until_the_stream_ends() {
    let stream = format!("data: {}\n\n", USAGE.replace("[]", "[{}]"));
    let usage = Usage { input: 16, output: 3 };
    assert_eq!(watch(stream.as_bytes(), &[], false, false).2.reading, Reading::AtLeast(usage));
    assert_eq!(watch(stream.as_bytes(), &[], false, true).2.reading, Reading::Exact(usage));
    let failed = format!("{stream}data: {ERROR}\n\n");
    assert_eq!(watch(failed.as_bytes(), &[], false, true).2.reading, Reading::AtLeast(usage));
}

#[test]
fn a_usage_that_cannot_be_counted_is_no_usage() {
    let with = |usage: &str| {
        let stream = format!("data: {{\"choices\":[],\"usage\":{usage}}}\n\ndata: [DONE]\n\n");
        watch(stream.as_bytes(), &[], true, true).2
    };
    for bad in [
        r#"{"prompt_tokens":-1,"completion_tokens":1}"#,
        r#"{"prompt_tokens":1.0,"completion_tokens":1}"#,
        r#"{"prompt_tokens":"1","completion_tokens":1}"#,
        r#"{"prompt_tokens":2147483649,"completion_tokens":1}"#,
        r#"{"prompt_tokens":1,"prompt_tokens":2,"completion_tokens":1}"#,
        r#"{"prompt_tokens":1}"#,
        "{}",
        "[1,2,3]",
        "[1,2,3,null,null,null]",
        "7",
    ] {
        let finding = with(bad);
        assert_eq!((finding.reading, finding.flags.usage_malformed), (Reading::None, true), "{bad}");
    }
    assert_eq!(exact(&with(r#"{"prompt_tokens":0,"completion_tokens":0}"#)), Some((0, 0)));
    let most = r#"{"prompt_tokens":2147483648,"completion_tokens":0}"#;
    assert_eq!(exact(&with(most)), Some((1 << 31, 0)), "the largest that is counted");
    let null = with("null");
    assert_eq!((null.reading, null.flags.usage_malformed), (Reading::None, false));
    let more = with(r#"{"prompt_tokens":1,"completion_tokens":2,"total_tokens":9}"#);
    assert_eq!((exact(&more), more.flags.total_mismatch), (Some((1, 8)), true));
}

#[test]
fn a_decreasing_usage_is_doubtful() {
    let higher = USAGE.replace(":3,", ":9,").replace("19", "25");
    let stream = format!("data: {higher}\n\ndata: {USAGE}\n\ndata: [DONE]\n\n");
    let finding = watch(stream.as_bytes(), &[], false, true).2;
    assert_eq!(finding.reading, Reading::AtLeast(Usage { input: 16, output: 9 }));
    assert!(finding.flags.usage_decreased);
}

#[test]
fn repeated_usage_and_end_marks_count_once() {
    let stream = format!("data: {USAGE}\n\ndata: {USAGE}\n\ndata: [DONE]\n\ndata: [DONE]\n\n");
    let (_, mark, finding) = watch(stream.as_bytes(), &[], false, true);
    assert_eq!((exact(&finding), mark), (Some((16, 3)), Some(2 * (USAGE.len() + 8))));
}

#[test]
fn a_stream_that_is_one_error_is_not_billed() {
    let stream = format!("data: {ERROR}\n\n");
    let finding = watch(stream.as_bytes(), &[], true, true).2;
    assert!(finding.only_error);
    assert_eq!(finding.error.unwrap().signal, UpstreamSignal::RateLimited);
    assert!(!watch(stream.as_bytes(), &[], true, false).2.only_error, "cut off: it may go on");
}

#[test]
fn a_usage_event_of_any_size_is_found() {
    let long = "x".repeat(3 << 20);
    let stream = format!("data: {{\"t\":\"{long}\",{}\n\n", &USAGE[1..]);
    let cuts: Vec<_> = (1..stream.len()).step_by(10_007).collect();
    for (strip, cuts) in [(false, &cuts[..]), (true, &cuts), (true, &[])] {
        let (out, _, finding) = watch(stream.as_bytes(), cuts, strip, true);
        assert_eq!(exact(&finding), Some((16, 3)));
        assert_eq!(out.len(), stream.len(), "an event above the bound is passed on");
    }
}

/// Events that are not what they seem: whatever they are taken for, it is the same at every split.
#[test]
fn odd_events_are_never_taken_out_and_read_the_same_at_every_split() {
    let usage = r#""usage":{"prompt_tokens":1,"completion_tokens":1}"#;
    for event in [
        format!("data: {{\"choices\":[],{usage}}}\ndata: [DONE]\n\n"),
        format!("data: {{\"choices\":[{{}}],\"choices\":[],{usage}}}\n\n"),
        format!("data: {{\"choices\":{{}},{usage}}}\n\n"),
        format!("data: [{{\"choices\":[],{usage}}}]\n\n"),
        "data: {\"choices\":[],\"u\"sage:7}\n\n".to_owned(),
        "data: {\"choices\":[],\"usage\":nulh,\"x\":1}\n\n".to_owned(),
        "data: {\"choices\":[],\"usage\"x:{}}\n\n".to_owned(),
        "data: {\"choices\":[],\"usage\":null,\"error\" :1}\n\n".to_owned(),
    ] {
        let whole = watch(event.as_bytes(), &[], true, true);
        assert_eq!(String::from_utf8_lossy(&whole.0), event);
        for cut in 0..=event.len() {
            assert_eq!(watch(event.as_bytes(), &[cut], true, true), whole, "{event} cut at {cut}");
        }
    }
}
