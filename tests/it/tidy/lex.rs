//! Takes comments and literals out of Rust source, so that rules look at code alone.

/// The text with comments and the content of literals replaced by spaces; lines stay where they are.
pub(super) fn code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = skipped(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Where the comment or literal that begins here ends; the same place if none begins.
fn skipped(chars: &[char], at: usize) -> usize {
    let rest = &chars[at..];
    let after_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match rest {
        ['/', '/', ..] => at + rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
        ['/', '*', ..] => at + block_comment(rest),
        ['"', ..] => at + quoted(rest, 1),
        ['b', '"', ..] if !after_word => at + quoted(rest, 2),
        ['r', '"' | '#', ..] if !after_word => at + raw(rest, 1),
        ['b', 'r', '"' | '#', ..] if !after_word => at + raw(rest, 2),
        ['\'', '\\', ..] => at + 2 + rest[3..].iter().position(|c| *c == '\'').map_or(0, |length| length + 2),
        // A lifetime has no second quote; a character has it two places on.
        ['\'', _, '\'', ..] => at + 3,
        _ => at,
    }
}

fn block_comment(rest: &[char]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        match &rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn quoted(rest: &[char], open: usize) -> usize {
    let mut at = open;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// A raw string; zero if it is none (`r#type`).
fn raw(rest: &[char], open: usize) -> usize {
    let hashes = rest[open..].iter().take_while(|c| **c == '#').count();
    if rest.get(open + hashes) != Some(&'"') {
        return 0;
    }
    let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let body = open + hashes + 1;
    let found = rest[body..].windows(close.len()).position(|window| window == close);
    found.map_or(rest.len(), |length| body + length + close.len())
}

#[test]
fn comments_and_literals_are_blank_and_lines_stay() {
    let text = "a /* b /* c */ d */ e // f\n\"g\\\" h\" 'i' '\\'' r#\"j\"k\"# l<'m> b\"n\" br\"o\" r#type\n";
    let code = code(text);
    assert_eq!(code.matches('\n').count(), 2);
    for kept in ["a", "e", "l<'m>", "r#type"] {
        assert!(code.contains(kept), "{kept} not in {code:?}");
    }
    for gone in ["b", "c", "d", "f", "g", "h", "i", "j", "k", "n", "o"] {
        assert!(!code.contains(gone), "{gone} in {code:?}");
    }
}
