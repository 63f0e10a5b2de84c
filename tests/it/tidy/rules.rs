//! The rules: each is a function from sources to complaints.

use super::{
    ALONE, CHILD_PROCESSES, EMPTY_WORDS, EXCEPTIONS, File, IMPURE, MOST_FILE_LINES, MOST_FUNCTION_LINES, PURE, ROWS,
    STATUS_CODES,
};

type Rule = fn(&[File]) -> Vec<String>;

/// Every rule by name.
pub(super) const ALL: [(&str, Rule); 9] = [
    ("direction", direction),
    ("purity", purity),
    ("environment", environment),
    ("status codes", status_codes),
    ("file size", file_size),
    ("function size", function_size),
    ("form", form),
    ("nothing left", nothing_left),
    ("names", names),
];

/// The row of a room in the table.
pub(super) fn row_of(room: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&room))
}

fn direction(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files {
        let Some(room) = file.room() else { continue };
        if room != ALONE.0 && row_of(room).is_none() {
            complaints.push(format!("{}: the room `{room}` has no row in the table", file.path));
        }
        for (line, named) in rooms_named(&file.code) {
            if named != room && !may_name(room, named) && !EXCEPTIONS.contains(&(file.path.as_str(), named)) {
                complaints.push(format!("{}:{line}: `{room}` names `{named}`, which is not above it", file.path));
            }
        }
        complaints.extend(escapes(file).map(|line| format!("{}:{line}: `super` reaches past its room", file.path)));
    }
    complaints
}

fn may_name(room: &str, named: &str) -> bool {
    if named == ALONE.0 {
        return ALONE.1.contains(&room);
    }
    match (row_of(room), row_of(named)) {
        (Some(own), Some(other)) => other < own,
        // What is no room is an item of lib.rs, which knows nothing.
        (_, None) => room != ALONE.0,
        (None, _) => false,
    }
}

/// The first segment of every path that begins with `crate::`, with its line; `crate::{a, b::c}` names a and b.
fn rooms_named(code: &str) -> Vec<(usize, &str)> {
    let mut named = Vec::new();
    for (at, found) in code.match_indices("crate::") {
        if code[..at].ends_with(is_word) || code[..at].ends_with('$') {
            continue;
        }
        let rest = code[at + found.len()..].trim_start();
        let line = code[..at].matches('\n').count() + 1;
        match rest.strip_prefix('{') {
            None => named.push((line, first_word(rest))),
            Some(group) => named.extend(group_heads(group).map(|word| (line, word))),
        }
    }
    named
}

/// The heads of `a::b, c::{d, e}, f}`: a, c, f.
fn group_heads(group: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    let mut starts = vec![0];
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => starts.push(at + 1),
            _ => {}
        }
    }
    starts.into_iter().map(|start| first_word(group[start..].trim_start())).filter(|word| !word.is_empty())
}

/// Lines where a run of `super::` leaves the room: as many as the file is deep, one more within a test module.
fn escapes(file: &File) -> impl Iterator<Item = usize> {
    let depth = file.path.matches('/').count();
    let tests_from = file.code.find("#[cfg(test)]").unwrap_or(usize::MAX);
    let code = file.code.as_str();
    let runs = code.match_indices("super::").filter(|(at, _)| !code[..*at].ends_with("super::"));
    let mut lines = Vec::new();
    for (at, _) in runs {
        let run = code[at..].split("super::").take_while(|part| part.is_empty()).count();
        if run >= depth + usize::from(at > tests_from) {
            lines.push(code[..at].matches('\n').count() + 1);
        }
    }
    lines.into_iter()
}

fn purity(files: &[File]) -> Vec<String> {
    let pure = files.iter().filter(|file| file.room().is_some_and(|room| PURE.contains(&room)));
    pure.flat_map(|file| {
        let found = IMPURE.iter().filter(|word| has_word(&file.code, word));
        found.map(|word| format!("{}: a pure room contains `{word}`", file.path))
    })
    .collect()
}

fn environment(files: &[File]) -> Vec<String> {
    let others = files.iter().filter(|file| file.is_under("src/") && file.room() != Some("config"));
    let reads = others.filter(|file| file.code.contains("env::var"));
    reads.map(|file| format!("{}: reads the environment, which only config does", file.path)).collect()
}

fn status_codes(files: &[File]) -> Vec<String> {
    let others =
        files.iter().filter(|file| file.is_under("src/") && STATUS_CODES.iter().all(|allowed| !file.is_under(allowed)));
    let written = others.filter(|file| file.code.contains("StatusCode::"));
    written.map(|file| format!("{}: writes a status code; allowed: {STATUS_CODES:?}", file.path)).collect()
}

fn file_size(files: &[File]) -> Vec<String> {
    let long = files.iter().map(|file| (file, file.text.lines().count())).filter(|(_, lines)| *lines > MOST_FILE_LINES);
    long.map(|(file, lines)| format!("{}: {lines} lines, more than {MOST_FILE_LINES}", file.path)).collect()
}

fn function_size(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files {
        for (at, _) in file.code.match_indices("fn ").filter(|(at, _)| !file.code[..*at].ends_with(is_word)) {
            let rest = &file.code[at + 3..];
            let lines = body_lines(rest);
            if lines > MOST_FUNCTION_LINES {
                complaints.push(format!("{}: `{}` has {lines} lines", file.path, first_word(rest)));
            }
        }
    }
    complaints
}

/// The lines of code between a function's braces; 0 without a body.
fn body_lines(rest: &str) -> usize {
    let Some(open) = rest.find(['{', ';']).filter(|at| rest[*at..].starts_with('{')) else { return 0 };
    let mut depth = 0_usize;
    for (at, c) in rest[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return rest[open + 1..open + at].lines().filter(|line| !line.trim().is_empty()).count();
        }
    }
    0
}

fn form(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files {
        if !file.text.starts_with("//! ") {
            complaints.push(format!("{}: begins without `//!` that says what it is for", file.path));
        }
        if file.path.ends_with("/mod.rs") {
            complaints.push(format!("{}: a module is foo.rs beside foo/, never mod.rs", file.path));
        }
    }
    complaints
}

fn nothing_left(files: &[File]) -> Vec<String> {
    // Put together here, so that this file does not complain about itself.
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let left = files.iter().filter(|file| {
        let code = ["todo!", "unimplemented!"].iter().any(|left| file.code.contains(left));
        let ignored = file.code.contains("#[ignore") && !CHILD_PROCESSES.contains(&file.path.as_str());
        code || ignored || words.iter().any(|word| has_word(&file.text, word))
    });
    left.map(|file| format!("{}: something is left for later", file.path)).collect()
}

fn names(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| file.is_under("src/")) {
        for kind in ["struct ", "enum ", "trait ", "type "] {
            // An indented `type` is named by a trait: `type Data` of a body.
            let own =
                |at: usize| !file.code[..at].ends_with(is_word) && (kind != "type " || !is_indented(&file.code, at));
            let found = file.code.match_indices(kind).filter(|(at, _)| own(*at));
            for name in found.map(|(at, _)| first_word(&file.code[at + kind.len()..])) {
                let empty = words_of(name).any(|word| EMPTY_WORDS.contains(&word));
                if empty || name == "Quota" || (kind == "struct " && name.ends_with("Handler")) {
                    complaints.push(format!("{}: `{name}` is named with a word that says nothing", file.path));
                }
            }
        }
    }
    complaints
}

fn is_indented(code: &str, at: usize) -> bool {
    code[..at].rsplit('\n').next().is_some_and(|line| line.starts_with(' '))
}

/// The words of a name in camel case.
fn words_of(name: &str) -> impl Iterator<Item = &str> {
    let mut starts: Vec<usize> = name.char_indices().filter(|(_, c)| c.is_uppercase()).map(|(at, _)| at).collect();
    starts.push(name.len());
    (1..starts.len()).map(move |next| &name[starts[next - 1]..starts[next]])
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| !is_word(c)).next().unwrap_or_default()
}

/// Whether a text occurs as whole words.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, found)| {
        let before = word.starts_with(is_word) && text[..at].ends_with(is_word);
        !before && !text[at + found.len()..].starts_with(is_word)
    })
}
