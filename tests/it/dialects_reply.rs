//! The observer of JSON replies, plain and encoded.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use gratis::dialect::{Encoding, Finding, Observer, Reading, UpstreamSignal, Watch};
use gratis::ledger::Usage;

const REPLY: &str = r#"{"choices":[{"message":{"content":"\"usage\":{\"prompt_tokens\":1} }"},"usage":{"prompt_tokens":9}}],
 "usage": {"prompt_tokens":3019,"completion_tokens":104,"total_tokens":3123,"prompt_tokens_details":{"cached_tokens":2048}},
 "usage_":{"prompt_tokens":7},"x":[{"error":{"code":"no"}}]}"#;
const USAGE: Usage = Usage { input: 3019, output: 104 };

fn watch(body: &[u8], encoding: Encoding, every: usize, clean: bool) -> (Finding, Vec<usize>) {
    let mut observer = Observer::new(Watch::default(), Some("application/json"), encoding, true);
    let mut marks = Vec::new();
    for (at, chunk) in body.chunks(every).enumerate() {
        let chunk = Bytes::copy_from_slice(chunk);
        let seen = observer.observe(chunk.clone());
        assert_eq!((seen.bytes.as_ptr(), seen.bytes.len()), (chunk.as_ptr(), chunk.len()));
        if let Some(end_at) = seen.end_at {
            assert_eq!(end_at, 0);
            marks.push(at);
        }
    }
    assert!(observer.end(clean).is_empty());
    (observer.finding(), marks)
}

#[test]
fn the_top_level_usage_is_found_in_any_pieces() {
    for every in [1, 2, 3, 7, 64, 10_000] {
        let (finding, marks) = watch(REPLY.as_bytes(), Encoding::Identity, every, true);
        assert_eq!(finding.reading, Reading::Exact(USAGE));
        assert_eq!(finding.details.cached, Some(2048));
        assert_eq!(marks, [(REPLY.len() - 1) / every]);
        assert!(finding.complete && finding.error.is_none());
    }
}

#[test]
fn a_reply_that_is_cut_off_gives_at_least_what_stood_in_it() {
    let cut = &REPLY.as_bytes()[..REPLY.len() - 1];
    let (finding, marks) = watch(cut, Encoding::Identity, 50, true);
    assert_eq!((finding.reading, finding.complete, marks.len()), (Reading::AtLeast(USAGE), false, 0));
    let early = &REPLY.as_bytes()[..120];
    assert_eq!(watch(early, Encoding::Identity, 50, false).0.reading, Reading::None);
}

#[test]
fn what_is_no_json_object_says_nothing() {
    for body in ["", "[]", "<html>{\"usage\":{}}</html>", "\"usage\"", "12"] {
        let (finding, marks) = watch(body.as_bytes(), Encoding::Identity, 3, true);
        assert_eq!((finding.reading, finding.complete, finding.only_error), (Reading::None, false, false), "{body}");
        assert!(marks.is_empty());
    }
}

#[test]
fn every_encoding_is_read_and_passed_on_as_it_is() {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
    let mut raw = DeflateEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(REPLY.as_bytes()).unwrap();
    zlib.write_all(REPLY.as_bytes()).unwrap();
    raw.write_all(REPLY.as_bytes()).unwrap();
    let (gzip, zlib, raw) = (gzip.finish().unwrap(), zlib.finish().unwrap(), raw.finish().unwrap());
    for (encoding, body) in [(Encoding::Gzip, gzip), (Encoding::Deflate, zlib), (Encoding::Deflate, raw)] {
        for every in [1, 5, 1000] {
            let (finding, marks) = watch(&body, encoding, every, true);
            assert_eq!(finding.reading, Reading::Exact(USAGE), "{encoding:?} in pieces of {every}");
            assert_eq!(marks.len(), 1);
        }
        let mut broken = body.clone();
        broken[body.len() / 2] ^= 0xff;
        let finding = watch(&broken, encoding, 1000, true).0;
        assert!(!matches!(finding.reading, Reading::Exact(usage) if usage != USAGE), "{finding:?}");
        assert!(watch(&body[..body.len() / 2], encoding, 9, true).0.reading == Reading::None);
    }
}

/// A brotli stream of one stored block (RFC 7932, 9.2), made by hand: no encoder is among the dependencies.
fn brotli(text: &[u8]) -> Vec<u8> {
    let last = text.len() - 1;
    assert!(last < 1 << 16);
    let byte = |n: usize| u8::try_from(n & 0xff).unwrap();
    let head = [0x0f | byte((last & 1) << 7), byte(last >> 1), byte(last >> 9) | 0x80];
    [&head, text, &[0x03]].concat()
}

#[test]
fn brotli_is_read_as_well() {
    let body = brotli(REPLY.as_bytes());
    for every in [1, 7, 1000] {
        let (finding, marks) = watch(&body, Encoding::Brotli, every, true);
        assert_eq!((finding.reading, marks.len()), (Reading::Exact(USAGE), 1), "in pieces of {every}");
    }
    let finding = watch(b"no brotli at all, just some text", Encoding::Brotli, 5, true).0;
    assert_eq!((finding.reading, finding.only_error), (Reading::None, false));
}

#[test]
fn what_inflates_too_much_or_has_an_unknown_encoding_is_given_up() {
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    let text = "a".repeat(8 << 20);
    bomb.write_all(format!("{{\"x\":\"{text}\",{}", &REPLY[1..]).as_bytes()).unwrap();
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() * 200 < text.len());
    for (body, encoding) in [(bomb.as_slice(), Encoding::Gzip), (REPLY.as_bytes(), Encoding::Other)] {
        let (finding, marks) = watch(body, encoding, 1024, true);
        assert_eq!((finding.reading, finding.complete, marks.len()), (Reading::None, false, 0));
        assert!(finding.flags.undecodable);
    }
}

/// A reply of so many bytes, encoded.
fn gzip_of(bytes: usize) -> Vec<u8> {
    let rest = &REPLY[1..];
    let text = "a".repeat(bytes - rest.len() - r#"{"x":"",}"#.len() + 1);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(format!("{{\"x\":\"{text}\",{rest}").as_bytes()).unwrap();
    gzip.finish().unwrap()
}

#[test]
fn a_reply_may_inflate_to_a_hundred_times_its_size_and_64_kib() {
    // The more it is, the more its encoding is, by a thousandth: the bound is found in a few steps.
    let bound = (0..20).fold(64 << 10, |bytes, _| gzip_of(bytes).len() * 100 + (64 << 10));
    assert_eq!(bound, gzip_of(bound).len() * 100 + (64 << 10));
    for (bytes, is_read) in [(60_000, true), (bound, true), (bound + 1, false)] {
        let body = gzip_of(bytes);
        let finding = watch(&body, Encoding::Gzip, body.len(), true).0;
        assert_eq!(
            (finding.reading == Reading::Exact(USAGE), finding.flags.undecodable),
            (is_read, !is_read),
            "{bytes}"
        );
    }
}

#[test]
fn an_encoded_stream_passes_unchanged_and_is_still_read() {
    let text =
        b"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3019,\"completion_tokens\":104}}\n\ndata: [DONE]\n\n";
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(text).unwrap();
    let body = Bytes::from(gzip.finish().unwrap());
    let mut observer = Observer::new(Watch::default(), Some("text/event-stream"), Encoding::Gzip, true);
    let seen = observer.observe(body.clone());
    assert_eq!((seen.bytes, seen.end_at), (body, Some(0)));
    assert_eq!(observer.finding().reading, Reading::Exact(USAGE));
    assert!(!observer.finding().flags.usage_stripped);
}

#[test]
fn an_encoded_stream_without_an_end_mark_is_exact_where_it_ends_well() {
    let text = "data: {\"choices\":[{}],\"usage\":{\"prompt_tokens\":3019,\"completion_tokens\":104}}\n\n";
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(text.as_bytes()).unwrap();
    let body = Bytes::from(gzip.finish().unwrap());
    let end = |sent: Bytes, clean: bool| {
        let mut observer = Observer::new(Watch::default(), Some("text/event-stream"), Encoding::Gzip, true);
        observer.observe(sent);
        observer.end(clean);
        observer.finding().reading
    };
    assert_eq!(end(body.clone(), true), Reading::Exact(USAGE));
    assert_eq!(end(body.clone(), false), Reading::AtLeast(USAGE));
    assert_eq!(end(body.slice(..body.len() - 1), true), Reading::AtLeast(USAGE), "its checksum is cut off");
}

#[test]
fn an_envelope_of_either_form_is_only_an_error() {
    for (body, code, signal) in [
        (
            r#"{"error":{"message":"m","type":"t","param":null,"code":"AllocationQuota.FreeTierOnly"},"id":"c"}"#,
            "AllocationQuota.FreeTierOnly",
            UpstreamSignal::FreeTierOnly,
        ),
        (
            r#"{"code":"Throttling.AllocationQuota","message":"Free allocated quota exceeded.","request_id":"r"}"#,
            "Throttling.AllocationQuota",
            UpstreamSignal::FreeTierOnly,
        ),
        (r#"{"error":{"code":429,"message":[]}}"#, "", UpstreamSignal::Other),
        (r#"{"error":{"code":429}}"#, "429", UpstreamSignal::Other),
        (r#"{"error":"plain text"}"#, "", UpstreamSignal::Other),
        ("{\"error\":{\"code\":\"a\\nb<script>\"}}", "abscript", UpstreamSignal::Other),
    ] {
        let finding = watch(body.as_bytes(), Encoding::Identity, 4, true).0;
        let error = finding.error.expect(body);
        assert_eq!((error.code.as_str(), error.signal), (code, signal), "{body}");
        assert!(finding.only_error && finding.complete, "{body}");
    }
    let both = r#"{"choices":[{}],"code":"x","error":null,"usage":null}"#;
    let finding = watch(both.as_bytes(), Encoding::Identity, 4, true).0;
    assert_eq!((finding.error, finding.only_error), (None, false));
}
