//! Secrets come by environment or file, and no message ever shows one.

use gratis::config::{Env, load};

use super::{Folder, key, key_and};

#[test]
fn a_secret_in_the_file_is_refused_with_what_to_do_and_not_shown() {
    for text in [
        "[upstream.default]\napi_key = \"hunter2\"\n",
        "[upstream.default]\napi_key = \"\"\"\nhunter2\"\"\"\n",
        "[upstream]\ndefault = { api_key = \"hunter2\" }\n",
        "[admin]\ntoken = 'hunter2'\n",
        "[keys]\npepper = \"hunter2\"\n",
    ] {
        let report = Folder::with(text).mistakes();
        assert!(report.contains("secrets do not stand in this file"), "{report}");
        assert!(report.contains("{ env = \"NAME\" }"), "{report}");
        assert!(report.contains("gratis.toml:2:"), "{report}");
        assert!(!report.contains("hunter2"), "{report}");
    }
}

#[test]
fn a_secret_beside_a_mistake_is_not_shown_either() {
    for text in [
        "[upstream.default]\napi_key = \"hunter2\nbase_url = 3\n",
        "[upstream.default]\nbase_url = 3\napi_key = \"hunter2\"\nmodels = 3\n",
        "[upstream.default]\napikey = \"hunter2\"\n",
        "[upstream.default]\nbase_url = \"https://me:hunter2@example.com/v1\"\n",
        "[upstream.default]\nkeey = \"sk-hunter2hunter2\"\n",
        "[upstream.default]\napi_key = { env = \"A\", file = \"B\" } # hunter is fine here\npassword = \"hunter2\"\n",
    ] {
        let report = Folder::with(text).mistakes();
        assert!(!report.contains("hunter2"), "{text}\n{report}");
    }
}

#[test]
fn places_of_secrets_that_make_no_sense() {
    for text in ["api_key = 3", "api_key = {}", "api_key = { env = \"A\", file = \"b\" }", "api_key = { path = \"b\" }"]
    {
        let report = Folder::with(&format!("[upstream.default]\n{text}\n")).mistakes();
        assert!(report.contains("gratis.toml:2:") && report.contains("{ file = \"path\" }"), "{text}\n{report}");
    }
}

#[test]
fn a_secret_file_is_read_trimmed_and_warned_of_when_others_can_read_it() {
    let folder = Folder::with("[upstream.default]\napi_key = { file = \"key\" }\n");
    let report = folder.mistakes();
    assert!(report.contains("cannot read") && report.contains("gratis.toml:2:"), "{report}");

    let path = folder.write("key", "  file-secret\n");
    mode(&path, 0o600);
    let loaded = folder.load(&key()).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.config.upstreams[0].api_key.as_ref().unwrap().expose(), "file-secret");
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);

    mode(&path, 0o644);
    let loaded = folder.load(&key()).unwrap_or_else(|errors| panic!("{errors}"));
    let warning = loaded.warnings[0].render(false);
    assert!(warning.contains("chmod 600") && warning.contains("gratis.toml:2:"), "{warning}");
    assert!(!warning.contains("file-secret"));

    folder.write("key", "two\nlines\n");
    assert!(folder.mistakes().contains("more than one line"));
    folder.write("key", "\n");
    assert!(folder.mistakes().contains("is empty"));
}

#[test]
fn what_init_makes_is_used_once_it_is_there() {
    let folder = Folder::with("[store]\nstate_dir = \"state\"\n");
    let config = folder.load(&key()).unwrap_or_else(|errors| panic!("{errors}")).config;
    assert!(config.keys.pepper.is_none() && config.admin.token.is_none());

    std::fs::create_dir(folder.path("state")).unwrap();
    mode(&folder.write("state/pepper", "made-pepper"), 0o600);
    mode(&folder.write("state/admin-token", "made-token"), 0o600);
    let config = folder.load(&key()).unwrap_or_else(|errors| panic!("{errors}")).config;
    assert_eq!(config.keys.pepper.unwrap().expose(), "made-pepper");
    assert_eq!(config.admin.token.unwrap().expose(), "made-token");

    folder.write("state/pepper", "");
    assert!(folder.mistakes().contains("keys.pepper"), "{}", folder.mistakes());
}

#[test]
fn a_secret_of_the_environment_may_be_the_value_itself_or_a_name() {
    let env = key_and(&[("GRATIS_ADMIN__TOKEN", "t0ken"), ("GRATIS_KEYS__PEPPER__ENV", "PEPPER"), ("PEPPER", "p")]);
    let config = load(None, &env).unwrap_or_else(|errors| panic!("{errors}")).config;
    assert_eq!(config.admin.token.unwrap().expose(), "t0ken");
    assert!(config.admin.token_file.is_none());
    assert_eq!(config.keys.pepper.unwrap().expose(), "p");
}

#[test]
fn a_secret_that_is_named_and_absent_is_a_mistake() {
    let report = Folder::with("[keys]\npepper = { env = \"GONE\" }\n").mistakes();
    assert!(report.contains("the environment has no GONE") && report.contains("gratis.toml:2:"), "{report}");
    let report = load(None, &Env::of([("DASHSCOPE_API_KEY", " ")])).err().unwrap().render(false);
    assert!(report.contains("DASHSCOPE_API_KEY is empty"), "{report}");
}

#[cfg(unix)]
fn mode(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
