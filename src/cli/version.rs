//! What this program is. The commit is known where the build says it: `GRATIS_COMMIT=$(git rev-parse HEAD) cargo build`.

use std::sync::LazyLock;

static SHOWN: LazyLock<String> = LazyLock::new(|| match option_env!("GRATIS_COMMIT").map(str::trim) {
    Some(commit) if !commit.is_empty() => format!("{} ({commit})", env!("CARGO_PKG_VERSION")),
    Some(_) | None => env!("CARGO_PKG_VERSION").to_owned(),
});

/// The version, with the commit where it is known.
pub(super) fn shown() -> &'static str {
    &SHOWN
}
