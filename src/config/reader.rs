//! Reads one section key by key: each value is checked, each mistake is reported, and reading goes on.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::report::{Origin, Report, Spot};
use super::secret::{Secret, SecretPlace};
use super::tree::{Found, Table, Value};
use super::values;

/// One section. Call [`finish`](Self::finish) last: it reports the keys that nobody asked for.
pub(super) struct Reader<'r, 't> {
    pub(super) report: &'r mut Report,
    table: &'t Table,
    /// Where the section begins.
    pub(super) spot: Spot,
    path: String,
    asked: Vec<&'static str>,
}

/// Where a secret is, or the secret itself where a variable of the environment holds it.
pub(super) enum Reference {
    Place(SecretPlace),
    Given(Secret),
}

impl<'r, 't> Reader<'r, 't> {
    pub(super) fn new(report: &'r mut Report, table: &'t Table, spot: Spot, path: &str) -> Self {
        Self { report, table, spot, path: path.to_owned(), asked: Vec::new() }
    }

    /// Marks a key as known and looks it up.
    pub(super) fn find(&mut self, key: &'static str) -> Option<&'t Found> {
        self.asked.push(key);
        if !self.path.is_empty() {
            self.report.known.insert(format!("{}.{key}", self.path));
        }
        self.table.get(key)
    }

    /// The place of a key's value, or that of the section.
    pub(super) fn spot_of(&self, key: &str) -> Spot {
        self.table.get(key).map_or(self.spot, |found| found.spot)
    }

    /// The place of a key's value, where it is there.
    pub(super) fn found_spot(&self, key: &str) -> Option<Spot> {
        self.table.get(key).map(|found| found.spot)
    }

    /// Keeps a text out of every message where it may hold a login.
    pub(super) fn hide_logins(&mut self, key: &str) {
        if let Some(Found { value: Value::Text(text), spot, .. }) = self.table.get(key)
            && text.contains('@')
        {
            self.report.hide(*spot);
        }
    }

    /// The section's name.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    fn required(&mut self, key: &'static str) -> Option<&'t Found> {
        let found = self.find(key);
        if found.is_none() {
            self.report.mistake(self.spot, format!("`{key}` is missing"), "in this section", None);
        }
        found
    }

    fn wrong_kind(&mut self, found: &Found, wanted: &str, example: &str) {
        let message = format!("{wanted} is wanted here, not {}", found.value.kind());
        self.report.mistake(found.spot, message, "wrong kind of value", Some(format!("for example {example}")));
    }

    fn parse<T>(&mut self, found: &Found, example: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let Value::Text(text) = &found.value else {
            self.wrong_kind(found, "text", example);
            return None;
        };
        parse(text).map_err(|problem| self.report.mistake(found.spot, problem, "this value", None)).ok()
    }

    /// Text that must be there.
    pub(super) fn text<T>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let found = self.required(key)?;
        self.parse(found, example, parse)
    }

    /// Text that may be absent. The outer `None` = it was wrong.
    #[allow(clippy::option_option, reason = "absent and wrong are two things here, and wrong is already reported")]
    pub(super) fn optional_text<T>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Option<T>> {
        match self.find(key) {
            None => Some(None),
            Some(found) => self.parse(found, example, parse).map(Some),
        }
    }

    /// A time within limits.
    pub(super) fn duration(&mut self, key: &'static str, range: RangeInclusive<Duration>) -> Option<Duration> {
        self.text(key, "\"10s\"", |text| {
            let time = values::duration(text)?;
            let (least, most) = (values::show_duration(*range.start()), values::show_duration(*range.end()));
            if range.contains(&time) { Ok(time) } else { Err(format!("\"{text}\" is not between {least} and {most}")) }
        })
    }

    /// A size in bytes within limits.
    pub(super) fn size(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        self.text(key, SIZE, |text| size_within(text, &range))
    }

    /// A size in bytes within limits that may be absent. The outer `None` = it was wrong.
    #[allow(clippy::option_option, reason = "absent and wrong are two things here, and wrong is already reported")]
    pub(super) fn optional_size(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<Option<u64>> {
        self.optional_text(key, SIZE, |text| size_within(text, &range))
    }

    /// A number within limits.
    pub(super) fn count(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let found = self.required(key)?;
        self.number(found, range)
    }

    /// A number within limits that may be absent. The outer `None` = it was wrong.
    #[allow(clippy::option_option, reason = "absent and wrong are two things here, and wrong is already reported")]
    pub(super) fn optional_count(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<Option<u64>> {
        match self.find(key) {
            None => Some(None),
            Some(found) => self.number(found, range).map(Some),
        }
    }

    pub(super) fn number(&mut self, found: &Found, range: RangeInclusive<u64>) -> Option<u64> {
        let number = match &found.value {
            Value::Integer(number) => *number,
            Value::Text(text) if self.report.is_variable(found.spot) => text.trim().parse().ok(),
            Value::Text(_) | Value::Boolean(_) | Value::Array(_) | Value::Table(_) | Value::Other(_) => {
                self.wrong_kind(found, "a whole number", &range.start().to_string());
                return None;
            }
        };
        let number = number.and_then(|number| u64::try_from(number).ok()).filter(|number| range.contains(number));
        if number.is_none() {
            let message = format!("a number from {} to {} is wanted here", range.start(), range.end());
            self.report.mistake(found.spot, message, "out of range", None);
        }
        number
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let found = self.required(key)?;
        match &found.value {
            Value::Boolean(flag) => Some(*flag),
            Value::Text(text) if self.report.is_variable(found.spot) && matches!(text.as_str(), "true" | "false") => {
                Some(text == "true")
            }
            Value::Text(_) | Value::Integer(_) | Value::Array(_) | Value::Table(_) | Value::Other(_) => {
                self.wrong_kind(found, "true or false", "true");
                None
            }
        }
    }

    /// One of several words.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        self.text(key, &quoted(words), |text| one_of(text, words))
    }

    /// One of several words, or absent. The outer `None` = it was wrong.
    #[allow(clippy::option_option, reason = "absent and wrong are two things here, and wrong is already reported")]
    pub(super) fn optional_choice<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<Option<T>> {
        self.optional_text(key, &quoted(words), |text| one_of(text, words))
    }

    /// A path that may be absent; a relative one is meant from the folder of the file that names it.
    #[allow(clippy::option_option, reason = "absent and wrong are two things here, and wrong is already reported")]
    pub(super) fn optional_path(&mut self, key: &'static str) -> Option<Option<PathBuf>> {
        let spot = self.spot_of(key);
        let path = self.optional_text(key, "\"path\"", non_empty)?;
        Some(path.map(|path| self.resolve(spot, &path)))
    }

    /// A path that must be there.
    pub(super) fn required_path(&mut self, key: &'static str) -> Option<PathBuf> {
        let spot = self.spot_of(key);
        let path = self.text(key, "\"path\"", non_empty)?;
        Some(self.resolve(spot, &path))
    }

    fn resolve(&self, spot: Spot, path: &str) -> PathBuf {
        match self.report.origin(spot) {
            Origin::File(file) => file.parent().unwrap_or_else(|| Path::new("")).join(path),
            Origin::BuiltIn | Origin::Variable => PathBuf::from(path),
        }
    }

    /// A list of texts; a variable separates them by commas.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<(String, Spot)>> {
        let found = self.required(key)?;
        match &found.value {
            Value::Array(elements) => {
                let texts: Vec<_> = elements
                    .iter()
                    .map(|element| Some((self.parse(element, "\"text\"", non_empty)?, element.spot)))
                    .collect();
                texts.into_iter().collect()
            }
            Value::Text(text) if self.report.is_variable(found.spot) => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                Some(parts.map(|part| (part.to_owned(), found.spot)).collect())
            }
            Value::Text(_) | Value::Integer(_) | Value::Boolean(_) | Value::Table(_) | Value::Other(_) => {
                self.wrong_kind(found, "a list of texts", "[\"a\", \"b\"]");
                None
            }
        }
    }

    /// Where a secret is. The outer `None` = it was wrong.
    #[allow(clippy::option_option, reason = "absent and wrong are two things here, and wrong is already reported")]
    pub(super) fn reference(&mut self, key: &'static str) -> Option<Option<(Reference, Spot)>> {
        let Some(found) = self.find(key) else { return Some(None) };
        let help = format!("write {key} = {{ env = \"NAME\" }} or {key} = {{ file = \"path\" }}");
        let table = match &found.value {
            Value::Text(text) if self.report.is_variable(found.spot) => {
                return Some(Some((Reference::Given(Secret::new(text.trim().to_owned())), found.spot)));
            }
            Value::Text(_) => {
                let message = format!("`{key}` is a secret, and secrets do not stand in this file");
                self.report.mistake(found.spot, message, "put it into the environment or a file", Some(help));
                return None;
            }
            Value::Table(table) => table,
            Value::Integer(_) | Value::Boolean(_) | Value::Array(_) | Value::Other(_) => {
                self.report.mistake(found.spot, format!("`{key}` says where a secret is"), "this value", Some(help));
                return None;
            }
        };
        let mut entries = table.iter();
        let (Some((name, entry)), None) = (entries.next(), entries.next()) else {
            self.report.mistake(found.spot, format!("`{key}` names exactly one place"), "here", Some(help));
            return None;
        };
        let text = match (name.as_str(), &entry.value) {
            ("env" | "file", Value::Text(text)) if !text.trim().is_empty() => text,
            _ => {
                self.report.mistake(entry.key, format!("`{key}` cannot be read"), "here", Some(help));
                return None;
            }
        };
        let place = if name == "env" {
            SecretPlace::Env(text.clone())
        } else {
            SecretPlace::File(self.resolve(entry.spot, text))
        };
        Some(Some((Reference::Place(place), found.spot)))
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self) {
        for (key, found) in self.table {
            if self.asked.iter().any(|asked| asked == key) {
                continue;
            }
            let close = closest(key, &self.asked);
            let help = match close {
                Some(close) => format!("did you mean `{close}`?"),
                None => format!("known here: {}", self.asked.join(", ")),
            };
            let section = if self.path.is_empty() { String::new() } else { format!(" in [{}]", self.path) };
            self.report.mistake(found.key, format!("unknown key `{key}`{section}"), "not known", Some(help));
        }
    }
}

/// The word that was most likely meant, if one is close.
pub(super) fn closest<'w>(text: &str, words: &[&'w str]) -> Option<&'w str> {
    let (distance, word) = words.iter().map(|word| (strsim::damerau_levenshtein(text, word), *word)).min()?;
    (distance <= 1 + text.len() / 4).then_some(word)
}

fn non_empty(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("nothing is written here".to_owned()) } else { Ok(text.to_owned()) }
}

fn quoted<T>(words: &[(&str, T)]) -> String {
    words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ")
}

fn one_of<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let known = words.iter().find(|(word, _)| *word == text);
    known.map(|(_, value)| *value).ok_or_else(|| format!("\"{text}\" is not known here; write {}", quoted(words)))
}

/// What a size looks like.
const SIZE: &str = "\"10MiB\"";

fn size_within(text: &str, range: &RangeInclusive<u64>) -> Result<u64, String> {
    let size = values::size(text)?;
    let (least, most) = (values::show_size(*range.start()), values::show_size(*range.end()));
    if range.contains(&size) { Ok(size) } else { Err(format!("\"{text}\" is not between {least} and {most}")) }
}
