//! Defaults, the file and the environment: which wins, and that the file of defaults is complete.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use gratis::config::{Clamp, Env, FILE_VARIABLE, LogFormat, StoreKind, check_report, known_keys, load};
use gratis::ledger::Overrun;

use super::{Folder, key, key_and, shipped, sound};

/// The keys of gratis.toml with their sections, those that are shown as `#key = value` included.
fn written_keys() -> BTreeSet<String> {
    let text = std::fs::read_to_string(shipped()).unwrap();
    let mut section = String::new();
    let mut keys = BTreeSet::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.replace("upstream.default", "upstream.*");
        } else if let Some((key, _)) = line.trim_start_matches('#').split_once(" = ")
            && !line.starts_with("# ")
        {
            keys.insert(format!("{section}.{key}"));
        }
    }
    keys
}

#[test]
fn every_key_that_the_program_knows_is_in_the_file_and_the_reverse() {
    let known: BTreeSet<String> = known_keys().into_iter().collect();
    assert_eq!(written_keys(), known);
    assert!(known.len() > 50, "{known:?}");
}

#[test]
fn every_key_of_the_file_has_a_comment_above_it_or_above_its_neighbours() {
    let text = std::fs::read_to_string(shipped()).unwrap();
    for section in text.split("\n[").skip(1) {
        assert!(section.contains("\n# ") || section.contains("\n#"), "no comment in [{section}");
    }
}

#[test]
fn the_lines_that_show_a_key_without_default_can_be_used_as_they_are() {
    let text = std::fs::read_to_string(shipped()).unwrap();
    let shown = |line: &str| line.starts_with('#') && !line.starts_with("# ") && line.contains(" = ");
    let lines = text.lines().map(|line| if shown(line) { &line[1..] } else { line });
    let folder = Folder::with(&lines.collect::<Vec<_>>().join("\n"));
    let report = folder.mistakes();
    assert!(!report.contains("unknown key") && !report.contains("wrong kind"), "{report}");
    // Only the files that those lines name are missing, and the export of traces where this build has none.
    for mistake in folder.load(&key()).err().unwrap().mistakes() {
        let exports = cfg!(feature = "otlp") || !mistake.message().contains("exports no traces");
        assert!(mistake.message().contains("cannot read") || !exports, "{mistake:?}");
    }
}

#[test]
fn without_a_file_the_defaults_are_those_of_the_shipped_file() {
    let built_in = load(None, &key()).unwrap_or_else(|errors| panic!("{errors}"));
    let mut shipped = load(Some(shipped()), &key()).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(built_in.warnings.is_empty(), "{:?}", built_in.warnings);
    // A path of a file is meant from that file's folder.
    shipped.config.store.state_dir = PathBuf::from("gratis-data");
    let (one, two) = (&built_in.config, &shipped.config);
    assert_eq!(one.server, two.server);
    assert_eq!(one.log, two.log);
    assert_eq!(one.store.state_dir, two.store.state_dir);
    assert_eq!((one.store.lease, one.store.flush_interval), (two.store.lease, two.store.flush_interval));
    assert_eq!(one.store.queue, two.store.queue);
    assert_eq!(one.quota, two.quota);
    assert_eq!(one.limits, two.limits);
    assert_eq!(one.site, two.site);
    assert_eq!(one.upstreams.len(), two.upstreams.len());
    assert_eq!(one.upstreams[0].base_url, two.upstreams[0].base_url);
}

#[test]
fn an_app_has_each_model_as_often_as_it_is_listed() {
    let config = sound("[app.a1]\nmodels = [\"qwen-plus\", \"qwen-max\", \"qwen-plus\"]\n").config;
    let models: Vec<_> = config.apps["a1"].iter().map(|(code, calls)| (code.as_str(), *calls)).collect();
    assert_eq!(models, [("qwen-max", 1), ("qwen-plus", 2)]);
    assert!(sound("").config.apps.is_empty());
}

#[test]
fn the_defaults_are_what_the_design_says() {
    let config = sound("").config;
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:8081");
    assert!(config.server.tls.is_none());
    assert_eq!(config.server.first_byte_timeout, Duration::from_secs(10));
    assert_eq!(config.server.header_timeout, Duration::from_secs(10));
    assert_eq!(config.server.tls_timeout, Duration::from_secs(5));
    assert_eq!(config.server.drain_timeout, Duration::from_secs(600));
    assert_eq!((config.server.max_headers, config.server.max_header_bytes), (100, 64 << 10));
    assert_eq!(config.log.format, LogFormat::Auto);
    assert!(matches!(config.store.kind, StoreKind::Embedded));
    assert_eq!(config.store.lease, Duration::from_secs(600));
    let quota = &config.quota;
    assert_eq!((quota.hold_share, quota.hold_share_floor, quota.min_output), (8, 8_192, 256));
    assert_eq!(quota.clamp, Clamp::Always);
    assert_eq!(quota.overrun, None);
    assert_eq!(quota.max_output_default, None);
    assert_eq!(quota.busy_wait, Duration::from_secs(2));
    assert_eq!(quota.settle_wait, Duration::from_millis(250));
    assert_eq!(quota.max_call_plain, Duration::from_secs(300));
    assert_eq!(quota.max_call_stream, Duration::from_secs(3_600));
    assert_eq!(quota.presumed_breaker, 3);
    assert_eq!(config.limits.max_body, 10 << 20);
    assert_eq!(config.site.name, "model-studio-intl");
    assert_eq!(config.upstreams[0].base_url, "https://dashscope-intl.aliyuncs.com/compatible-mode/v1");
    assert_eq!(config.upstreams[0].api_key.as_ref().unwrap().expose(), "sk-upstream-secret");
}

#[test]
fn a_file_overrides_key_by_key() {
    let config = sound("[server]\nlisten = \"0.0.0.0:9000\"\n[quota]\nhold_share = 4\n").config;
    assert_eq!(config.server.listen.port(), 9_000);
    assert_eq!(config.server.max_streams, 100);
    assert_eq!((config.quota.hold_share, config.quota.min_output), (4, 256));
}

#[test]
fn the_environment_overrides_the_file() {
    let folder =
        Folder::with("[server]\nlisten = \"127.0.0.1:9000\"\n[upstream.my-own]\napi_key = { file = \"gone\" }\n");
    let env = key_and(&[
        ("GRATIS_SERVER__LISTEN", "127.0.0.1:9001"),
        ("GRATIS_QUOTA__HOLD_SHARE", "16"),
        ("GRATIS_LOG__REQUESTS", "false"),
        ("GRATIS_QUOTA__OVERRUN", "last-call"),
        ("GRATIS_UPSTREAM__MY_OWN__API_KEY__ENV", "OTHER"),
        ("GRATIS_UPSTREAM__MY_OWN__MODELS", "qwen-max, qwen-plus"),
        ("OTHER", "other-secret"),
        ("GRATIS_HOME", "no override: it has no double underscore"),
    ]);
    let loaded = folder.load(&env).unwrap_or_else(|errors| panic!("{errors}"));
    let config = &loaded.config;
    assert_eq!(config.server.listen.port(), 9_001);
    assert_eq!(config.quota.hold_share, 16);
    assert!(!config.log.requests);
    assert!(loaded.sites.iter().all(|site| site.overrun == Overrun::LastCall));
    assert_eq!(config.upstreams[0].api_key.as_ref().unwrap().expose(), "other-secret");
    assert_eq!(config.upstreams[0].models.len(), 2);
}

#[test]
fn a_mistake_in_the_environment_names_its_variable_and_not_its_value() {
    let env = key_and(&[
        ("GRATIS_SERVER__MAX_STREAMS", "many"),
        ("GRATIS_SERVER__LISTN", "127.0.0.1:1"),
        ("GRATIS_UPSTREAM__DEFAULT__APIKEY", "hunter2"),
        ("GRATIS_UPSTREAM__OTHER__BASE_URL", "https://example.com"),
        ("GRATIS_SERVER__LISTEN__PORT", "1"),
    ]);
    let report = load(None, &env).err().unwrap().render(false);
    for part in [
        "(from GRATIS_SERVER__MAX_STREAMS)",
        "unknown key `listn` in [server] (from GRATIS_SERVER__LISTN)",
        "did you mean `listen`?",
        "(from GRATIS_UPSTREAM__DEFAULT__APIKEY)",
        "there is no upstream `other` in the file (from GRATIS_UPSTREAM__OTHER__BASE_URL)",
        "(from GRATIS_SERVER__LISTEN__PORT)",
        "5 mistakes",
    ] {
        assert!(report.contains(part), "{part:?} not in\n{report}");
    }
    assert!(!report.contains("hunter2"), "{report}");
}

#[test]
fn a_variable_that_lacks_an_underscore_is_warned_of() {
    let env =
        key_and(&[("GRATIS_SERVER_LISTEN", "127.0.0.1:1"), ("GRATIS_SERVICE_HOST", "10.0.0.1"), ("GRATIS_X", "1")]);
    let loaded = load(None, &env).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
    let warning = loaded.warnings[0].render(false);
    assert!(
        warning.contains("GRATIS_SERVER_LISTEN is not read") && warning.contains("GRATIS_SERVER__LISTEN"),
        "{warning}"
    );
}

#[test]
fn the_file_can_be_named_by_the_environment() {
    let folder = Folder::with("[server]\nlisten = \"127.0.0.1:9002\"\n");
    let env = key_and(&[(FILE_VARIABLE, folder.file().to_str().unwrap())]);
    assert_eq!(load(None, &env).unwrap_or_else(|errors| panic!("{errors}")).config.server.listen.port(), 9_002);
    let gone = load(Some(&folder.path("gone.toml")), &key()).err().unwrap().render(false);
    assert!(gone.contains("cannot read") && gone.contains("gone.toml"), "{gone}");
}

#[test]
fn upstreams_of_ones_own_inherit_all_but_the_key() {
    let config = sound(concat!(
        "[upstream.local]\nbase_url = \"http://127.0.0.1:8000/v1\"\nallow_private = true\nmodels = [\"qwen-max\"]\n",
        "[upstream.rest]\nconnect_timeout = \"1s\"\n",
    ))
    .config;
    let names: Vec<&str> = config.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    assert_eq!(names, ["local", "rest"]);
    assert!(config.upstreams.iter().all(|upstream| upstream.api_key.is_none()), "the provider's key went elsewhere");
    assert_eq!(config.upstreams[1].head_timeout, Duration::from_secs(300));
    assert_eq!(config.upstream_of("qwen-max").unwrap().name, "local");
    assert_eq!(config.upstream_of("qwen-plus").unwrap().name, "rest");
}

#[test]
fn check_says_that_it_is_sound_and_counts() {
    let report = check_report(None, &key(), false);
    assert_eq!(report.exit_code, 0, "{}", report.text);
    assert!(report.text.contains("configuration is sound: 67 models, 61 with a sound bound"), "{}", report.text);
    let report = check_report(None, &Env::default(), false);
    assert_eq!(report.exit_code, 2);
    assert!(report.text.contains("the environment has no DASHSCOPE_API_KEY"), "{}", report.text);
}

#[test]
fn a_default_hold_above_an_eighth_of_a_grant_is_warned_of_and_sound() {
    let folder = Folder::with("[quota]\nhold_share = 2\n");
    let report = check_report(Some(&folder.file()), &key(), false);
    assert_eq!(report.exit_code, 0);
    assert!(report.text.contains("more than an eighth"), "{}", report.text);
    assert!(report.text.ends_with("1 warning\n"), "{}", report.text);
}

#[test]
fn paths_of_a_file_are_meant_from_its_folder() {
    let folder = Folder::with("[store]\nstate_dir = \"state\"\n");
    let config = folder.load(&key()).unwrap_or_else(|errors| panic!("{errors}")).config;
    assert_eq!(config.store.state_dir, folder.path("state"));
    assert_eq!(config.keys.pepper_file, Some(folder.path("state/pepper")));
    assert_eq!(config.admin.token_file, Some(folder.path("state/admin-token")));
    assert_eq!(sound("").config.store.state_dir, PathBuf::from("gratis-data"));
}
