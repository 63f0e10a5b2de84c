//! Hides what may be a secret before a line of a file is shown in a message.

/// Words that end the name of a key whose value is a secret.
const SECRET_WORDS: [&str; 7] = ["key", "token", "pepper", "password", "passwd", "secret", "credential"];

/// Whether the value of a key of this name is a secret.
pub(super) fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    !name.starts_with("tls_") && SECRET_WORDS.iter().any(|word| name.ends_with(word))
}

/// The text with everything that may be a secret overwritten by `*`, byte for byte, so that spans stay true.
///
/// Three rules, because a file with a mistake in it may not parse: a quoted value of a key with a secret's name, anything
/// that begins like an API key (`sk-`) wherever it stands, and the user's part of a URL.
pub(super) fn mask(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut line_start = 0;
    for line in text.split_inclusive('\n') {
        mask_values(line, line_start, &mut bytes);
        line_start += line.len();
    }
    mask_api_keys(text, &mut bytes);
    mask_user_parts(text, &mut bytes);
    String::from_utf8(bytes).unwrap_or_default()
}

/// Overwrites a range; whole characters only, so that what is left is still UTF-8.
pub(super) fn overwrite(bytes: &mut [u8], start: usize, end: usize) {
    for byte in bytes.iter_mut().take(end).skip(start).filter(|byte| !matches!(byte, b'\n' | b'\r')) {
        *byte = b'*';
    }
}

fn mask_values(line: &str, line_start: usize, bytes: &mut [u8]) {
    let mut from = 0;
    while let Some(equals) = line.get(from..).and_then(|rest| rest.find('=')).map(|at| from + at) {
        from = equals + 1;
        let name = line.get(..equals).unwrap_or_default().trim_end().trim_end_matches(['"', '\'']);
        let name = name.rsplit(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-')).next().unwrap_or_default();
        let value = line.get(from..).unwrap_or_default();
        let start = from + value.len() - value.trim_start().len();
        let quote = line.get(start..).and_then(|rest| rest.chars().next());
        if !is_secret_name(name) || !matches!(quote, Some('"' | '\'')) {
            continue;
        }
        overwrite(bytes, line_start + start + 1, line_start + line.len());
        return;
    }
}

fn mask_api_keys(text: &str, bytes: &mut [u8]) {
    for (start, _) in text.match_indices("sk-") {
        if text.get(..start).is_some_and(|before| before.ends_with(|c: char| c.is_alphanumeric())) {
            continue;
        }
        let tail = text.get(start..).unwrap_or_default();
        let length = tail.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_')).unwrap_or(tail.len());
        if length >= 10 {
            overwrite(bytes, start, start + length);
        }
    }
}

fn mask_user_parts(text: &str, bytes: &mut [u8]) {
    for (at, scheme) in text.match_indices("://") {
        let start = at + scheme.len();
        let tail = text.get(start..).unwrap_or_default();
        // A password may hold a slash: up to the last `@` everything is hidden.
        let end = tail.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'')).unwrap_or(tail.len());
        if let Some(length) = tail.get(..end).and_then(|host| host.rfind('@')) {
            overwrite(bytes, start, start + length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_overwritten_and_spans_stay_true() {
        let text = "api_key = \"hunter2é\" # pw\nx = { token='abc' }\nurl = \"https://me:pw@host/\"\nodd = \"sk-abcdef0123\"\nb = \"redis://me:q/w@host\"\n";
        let masked = mask(text);
        assert_eq!(masked.len(), text.len());
        for secret in ["hunter2", "abc", "me:pw", "q/w", "sk-abcdef"] {
            assert!(!masked.contains(secret), "{secret} in {masked}");
        }
        assert!(masked.contains("@host/"));
    }

    #[test]
    fn what_is_no_secret_stays() {
        for text in ["tls_private_key = \"server.key\"", "api_key = { env = \"NAME\" }", "risk-of-what = 1"] {
            assert_eq!(mask(text), text);
        }
    }
}
