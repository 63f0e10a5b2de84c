//! The rules of the house, checked on the sources themselves.
//!
//! **Direction.** A room names only itself and rooms on rows above its own ([`ROWS`]); never one on its own row. The simulator
//! names no room at all and is named by `app` and `cli` only: an oracle must not share our code. `main.rs` names any.
//!
//! **Purity.** `ledger`, `catalogue`, `dialect` and `billing` know no runtime, clock, network, file, lock or log ([`IMPURE`]).
//!
//! **Ownership.** Variables of the environment are read in `config` alone. Status codes are written in [`STATUS_CODES`] alone.
//!
//! **Size.** No file has more than [`MOST_FILE_LINES`] lines, no function more than
//! [`MOST_FUNCTION_LINES`], blank lines and comments not counted.
//!
//! **Form.** Every file begins with `//!` and says what it is for. There is no `mod.rs`. Nothing is left for later: no `todo!`,
//! no `unimplemented!`, no ignored test ([`CHILD_PROCESSES`] apart), no such word in a comment. Types are not named with words that mean anything
//! ([`EMPTY_WORDS`]), and no struct is a `...Handler`.
//!
//! Each rule is a function from sources to complaints. One test shows that the sources have none; another plants one violation
//! of each rule and shows that it is seen.

mod lex;
mod rules;

use std::path::Path;

/// The rooms, from those that know nothing to those that know everything.
const ROWS: [&[&str]; 11] = [
    &["ledger", "trust"],
    &["catalogue"],
    &["billing", "dialect", "clock", "telemetry"],
    &["store"],
    &["notify", "provider"],
    &["proxy", "admin", "load"],
    &["console"],
    &["server"],
    &["config"],
    &["app"],
    &["cli"],
];

/// The room that stands alone, and those that may name it.
const ALONE: (&str, [&str; 2]) = ("simulator", ["app", "cli"]);

/// Exceptions from the direction, as (file, room that it names). Empty is best.
const EXCEPTIONS: [(&str, &str); 0] = [];

/// Rooms that only compute.
const PURE: [&str; 4] = ["ledger", "catalogue", "dialect", "billing"];

/// What a pure room does not contain.
const IMPURE: [&str; 12] = [
    "tokio",
    "hyper",
    "tracing",
    "async fn",
    ".await",
    "Instant",
    "SystemTime",
    "std::net",
    "std::fs",
    "std::thread",
    "Mutex",
    "RwLock",
];

/// Where a status code may be written: what a client gets, what an operator gets, and what stands on the other side.
const STATUS_CODES: [&str; 5] = ["src/proxy/rejection", "src/admin", "src/server/health", "src/simulator", "src/load"];

/// Words that say nothing in a type's name; `Quota` alone is a grant, a balance or a limit.
const EMPTY_WORDS: [&str; 4] = ["Manager", "Context", "Info", "Data"];

/// Files with a test that is ignored because other tests start it as a child process of its own.
const CHILD_PROCESSES: [&str; 1] = ["tests/it/store_child.rs"];

const MOST_FILE_LINES: usize = 400;
const MOST_FUNCTION_LINES: usize = 70;

/// A source file: its path from the package's folder, its text, and its text without comments and literals.
struct File {
    path: String,
    text: String,
    code: String,
}

impl File {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), code: lex::code(text) }
    }

    /// The room that it belongs to: `src/store/redis.rs` to `store`. None for lib.rs, main.rs and the tests.
    fn room(&self) -> Option<&str> {
        let first = self.path.strip_prefix("src/")?.split('/').next()?;
        let room = first.strip_suffix(".rs").unwrap_or(first);
        (!matches!(room, "lib" | "main")).then_some(room)
    }

    fn is_under(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }
}

/// Every Rust file of the package.
fn sources() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches"] {
        collect(&root.join(folder), root, &mut files);
    }
    assert!(files.len() > 30, "the sources were not found");
    files
}

fn collect(folder: &Path, root: &Path, files: &mut Vec<File>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            collect(&path, root, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            files.push(File::new(&name, &std::fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn the_sources_keep_the_rules_of_the_house() {
    let files = sources();
    let complaints: Vec<String> = rules::ALL.iter().flat_map(|(_, rule)| rule(&files)).collect();
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

#[test]
fn every_module_of_the_crate_has_a_row() {
    let lib = sources().into_iter().find(|file| file.path == "src/lib.rs").unwrap();
    let modules = lib.code.lines().filter_map(|line| line.trim().strip_prefix("pub mod ")?.strip_suffix(';'));
    for module in modules {
        assert!(rules::row_of(module).is_some() || module == ALONE.0, "`{module}` has no row in ROWS");
    }
}

/// One planted violation of each rule: the rule, the file, its text, and what the complaint says.
#[rustfmt::skip]
const PLANTED: [(&str, &str, &str, &str); 24] = [
    ("direction", "src/store/x.rs", "//! x\nuse crate::proxy::Thing;\n", "names `proxy`"),
    ("direction", "src/store/x.rs", "//! x\nfn f() { crate::config::load(); }\n", "names `config`"),
    ("direction", "src/store.rs", "//! x\nuse crate::{ledger::Book, notify::Mail};\n", "names `notify`"),
    ("direction", "src/proxy/x.rs", "//! x\nuse crate::simulator::Sim;\n", "names `simulator`"),
    ("direction", "src/simulator/x.rs", "//! x\nuse crate::ledger::Book;\n", "names `ledger`"),
    ("direction", "src/store/x.rs", "//! x\nuse super::super::proxy::Thing;\n", "past its room"),
    ("direction", "src/store.rs", "//! x\nuse super::proxy::Thing;\n", "past its room"),
    ("direction", "src/attic.rs", "//! x\n", "has no row"),
    ("purity", "src/ledger/x.rs", "//! x\nuse tokio::sync;\n", "`tokio`"),
    ("purity", "src/dialect.rs", "//! x\nuse std::sync::Mutex;\n", "`Mutex`"),
    ("purity", "src/catalogue/x.rs", "//! x\nfn f() { std::fs::read(p); }\n", "`std::fs`"),
    ("environment", "src/cli/x.rs", "//! x\nfn f() { std::env::var(\"A\"); }\n", "environment"),
    ("environment", "src/app.rs", "//! x\nuse std::env;\nfn f() { env::vars_os(); }\n", "environment"),
    ("status codes", "src/proxy/handler.rs", "//! x\nfn f() -> u8 { StatusCode::OK }\n", "status code"),
    ("file size", "src/app.rs", LONG_FILE, "lines"),
    ("function size", "tests/it/x.rs", LONG_FUNCTION, "`long`"),
    ("form", "src/app.rs", "use a::b;\n", "begins"),
    ("form", "src/store/mod.rs", "//! x\n", "mod.rs"),
    ("nothing left", "src/app.rs", "//! x\nfn f() { todo!() }\n", "left for later"),
    ("nothing left", "tests/it/x.rs", "//! x\n#[ignore]\nfn f() {}\n", "left for later"),
    ("nothing left", "src/app.rs", concat!("//! x\n// TO", "DO: later\n"), "left for later"),
    ("names", "src/app.rs", "//! x\nstruct RequestContext;\n", "`RequestContext`"),
    ("names", "src/app.rs", "//! x\npub struct CallHandler<T>(T);\n", "`CallHandler`"),
    ("names", "src/app.rs", "//! x\nenum Quota { A }\n", "`Quota`"),
];

#[rustfmt::skip]
const LONG_FILE: &str = concat!("//! x\n", include_str!("tidy.rs"), include_str!("tidy.rs"), include_str!("tidy.rs"));

#[rustfmt::skip]
const LONG_FUNCTION: &str = concat!("//! x\nfn long() {\n", include_str!("tidy/rules.rs"), "}\n");

#[test]
fn each_rule_sees_what_breaks_it() {
    for (name, path, text, said) in PLANTED {
        let (_, rule) = rules::ALL.iter().find(|(rule, _)| *rule == name).unwrap_or_else(|| panic!("no rule {name}"));
        let complaints = rule(&[File::new(path, text)]);
        assert!(complaints.iter().any(|complaint| complaint.contains(said)), "{name}, {text:?}: {complaints:?}");
    }
    for (name, _) in rules::ALL {
        assert!(PLANTED.iter().any(|(planted, ..)| *planted == name), "no violation of {name} is planted");
    }
}

#[test]
fn what_is_allowed_is_not_complained_about() {
    let allowed = [
        ("src/proxy/x.rs", "//! x\nuse crate::{ledger, store::Store};\nfn f() { crate::proxy::g(); }\n"),
        ("src/cli/demo.rs", "//! x\nuse crate::simulator::Sim;\n"),
        ("src/store/x.rs", "//! Beside [`crate::proxy`].\n// See crate::proxy.\nfn f() { \"crate::proxy\"; }\n"),
        ("src/store.rs", "//! x\n#[cfg(test)]\nmod tests {\n    use super::*;\n}\n"),
        ("src/store/x.rs", "//! x\nuse super::Store;\n"),
        ("src/config/env.rs", "//! x\nfn f() { std::env::vars_os(); }\n"),
        ("src/admin/keys.rs", "//! x\nfn f() -> u8 { StatusCode::OK }\n"),
        ("src/dialect/x.rs", "//! Knows no tokio.\nstruct Database;\nstruct FreeQuota;\n"),
        ("src/proxy/x.rs", "//! x\nimpl Body for Metered {\n    type Data = Bytes;\n}\n"),
    ];
    for (path, text) in allowed {
        let files = [File::new(path, text)];
        let complaints: Vec<String> = rules::ALL.iter().flat_map(|(_, rule)| rule(&files)).collect();
        assert!(complaints.is_empty(), "{text:?}: {complaints:?}");
    }
}
