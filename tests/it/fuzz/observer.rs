//! The observer of streams and replies: never panics, loses no byte, and no cut changes what it finds.

use bytes::Bytes;
use gratis::dialect::{Encoding, Finding, Observer, Reading, Watch};

use super::oracle;

const KINDS: [(&str, Encoding); 6] = [
    ("text/event-stream", Encoding::Identity),
    ("text/event-stream", Encoding::Identity),
    ("application/json", Encoding::Identity),
    ("application/json", Encoding::Gzip),
    ("application/json", Encoding::Deflate),
    ("text/event-stream", Encoding::Brotli),
];

fn watch(
    kind: (&str, Encoding),
    body: &Bytes,
    cuts: &[u8],
    strip: bool,
    clean: bool,
) -> (Vec<u8>, Option<usize>, Finding) {
    let mut observer = Observer::new(Watch::default(), Some(kind.0), kind.1, strip);
    let (mut out, mut mark, mut from) = (Vec::new(), None, 0_usize);
    let steps = cuts.iter().map(|cut| usize::from(*cut));
    for step in steps.chain([usize::MAX]) {
        let to = from.saturating_add(step).min(body.len());
        let seen = observer.observe(body.slice(from..to));
        if let Some(at) = seen.end_at {
            assert!(mark.replace(out.len() + at).is_none(), "two end marks");
        }
        out.extend_from_slice(&seen.bytes);
        from = to;
    }
    out.extend_from_slice(&observer.end(clean));
    (out, mark, observer.finding())
}

/// Looks at one input.
pub fn check(input: (u8, &[u8], &[u8])) {
    let (choice, cuts, body) = input;
    let kind = KINDS[usize::from(choice >> 2) % KINDS.len()];
    let (strip, clean) = (choice & 1 != 0, choice & 2 != 0);
    let stream = kind.0 == "text/event-stream" && kind.1 == Encoding::Identity;
    let body = Bytes::copy_from_slice(body);
    let whole = watch(kind, &body, &[], strip, clean);
    let pieces = watch(kind, &body, cuts, strip, clean);
    assert_eq!(whole.0, pieces.0);
    assert_eq!(whole.2, pieces.2);
    if !stream {
        assert_eq!(whole.0, body);
        return;
    }
    assert_eq!(whole.1, pieces.1);
    let told = oracle::tell(&body, strip);
    if !strip {
        assert_eq!(whole.0, body);
    }
    // What a full parse calls no JSON may still be read in part; nothing more is asked of it.
    if told.sound {
        assert_eq!(whole.0, told.bytes);
        assert_eq!(whole.1, told.mark);
        let most = told.usages.iter().fold((0, 0), |a: (u64, u64), u| (a.0.max(u.0), a.1.max(u.1)));
        let seen = match whole.2.reading {
            Reading::None => None,
            Reading::Exact(usage) | Reading::AtLeast(usage) => Some((usage.input, usage.output)),
        };
        assert_eq!(seen, (!told.usages.is_empty()).then_some(most));
        assert_eq!(whole.2.error.is_some(), !told.errors.is_empty());
    }
}
