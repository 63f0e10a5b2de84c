//! The configuration: what is built in, how it is overridden, and how mistakes are shown.

mod catalogue;
mod mistakes;
mod secrets;
mod sources;
mod store;

use std::path::{Path, PathBuf};

use gratis::config::{ConfigErrors, Env, Loaded, load};
use tempfile::TempDir;

/// A folder with a `gratis.toml` in it.
struct Folder {
    dir: TempDir,
}

impl Folder {
    fn with(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("gratis.toml"), text).unwrap();
        Self { dir }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self) -> PathBuf {
        self.path("gratis.toml")
    }

    fn load(&self, env: &Env) -> Result<Loaded, ConfigErrors> {
        load(Some(&self.file()), env)
    }

    /// What `gratis check` would print of this file, without the folder's own name.
    fn mistakes(&self) -> String {
        let text = self.load(&key()).err().expect("a mistake").render(false);
        text.replace(&format!("{}/", self.dir.path().display()), "")
    }
}

/// The environment with the one variable that is needed.
fn key() -> Env {
    key_and(&[])
}

fn key_and(more: &[(&str, &str)]) -> Env {
    Env::of([("DASHSCOPE_API_KEY", "sk-upstream-secret")].iter().chain(more).copied())
}

pub fn sound(text: &str) -> Loaded {
    Folder::with(text).load(&key()).unwrap_or_else(|errors| panic!("{errors}"))
}

fn shipped() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/config/gratis.toml"))
}
