//! The configuration, in a file and in variables: whatever is written, it is taken or every mistake is shown; nothing panics.

use std::path::PathBuf;
use std::sync::LazyLock;

use gratis::config::{Env, load};

static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("gratis-fuzz-{}.toml", std::process::id())));

/// The first line is a variable, the rest the file.
pub fn check(input: &str) {
    let (line, text) = input.split_once('\n').unwrap_or(("", input));
    let (name, value) = line.split_once('=').unwrap_or((line, ""));
    // A file that is named in it would be read: what stands there is none of this target's business.
    if [value, text].iter().any(|part| part.contains("/dev") || part.contains("/proc")) {
        return;
    }
    std::fs::write(&*FILE, text).expect("the temporary folder can be written to");
    let env = Env::of([("DASHSCOPE_API_KEY", "sk-fuzz"), (&*format!("GRATIS_{name}"), value)]);
    match load(Some(&FILE), &env) {
        Ok(loaded) => {
            assert!(!loaded.config.upstreams.is_empty());
            assert!(loaded.catalogue.models().next().is_some());
            loaded.warnings.iter().for_each(|warning| drop(warning.render(true)));
        }
        Err(errors) => {
            assert!(!errors.mistakes().is_empty(), "it is refused and nobody says why");
            let shown = errors.render(false);
            assert!(!shown.contains("sk-fuzz"), "a secret is shown");
        }
    }
}
