//! Each kind of mistake shows its file, its line and a caret, and none hides another.

use super::Folder;

/// Asserts that a file with this mistake in it is refused with all of these parts, and that the place is shown.
fn refused(text: &str, line: usize, parts: &[&str]) {
    let report = Folder::with(text).mistakes();
    let place = format!("[gratis.toml:{line}:");
    assert!(report.contains(&place), "{place} not in\n{report}");
    assert!(report.contains('─') && report.contains('╰'), "no caret in\n{report}");
    for part in parts {
        assert!(report.contains(part), "{part:?} not in\n{report}");
    }
}

#[test]
fn what_is_no_toml() {
    refused("[server]\nlisten = = 3\n", 2, &["this is not TOML"]);
    refused("[server]\nmax_headers = 1\nmax_headers = 2\n", 3, &["this is not TOML", "duplicate key"]);
}

#[test]
fn unknown_keys_and_sections() {
    refused("\n[server]\nlistn = \"x\"\n", 3, &["unknown key `listn` in [server]", "did you mean `listen`?"]);
    refused("[sever]\nx = 1\n", 1, &["unknown key `sever`", "did you mean `server`?"]);
    refused("[log]\nzzzzzzzzzz = 1\n", 2, &["known here: format, filter, requests"]);
    refused("top = 1\n", 1, &["unknown key `top`"]);
}

#[test]
fn apps_and_their_models() {
    refused("[app.a1]\nmodels = [\"qwen-maxx\"]\n", 2, &["no model \"qwen-maxx\"", "did you mean \"qwen-max\"?"]);
    refused("[app.a1]\nmodels = []\n", 2, &["an app has 1 to 64 models"]);
    refused("[app.a1]\n", 1, &["`models` is missing"]);
    refused("[app]\na1 = 3\n", 2, &["an app is a table: [app.a1]"]);
    refused("app = 3\n", 1, &["an app is a table"]);
    refused("[app.\"a/b\"]\nmodels = [\"qwen-max\"]\n", 1, &["cannot be the id of an app"]);
    let two = "[upstream.a]\nmodels = [\"qwen-max\"]\n[upstream.b]\n[app.a1]\nmodels = [\"qwen-max\"]\n";
    refused(two, 5, &["`qwen-max` is served by [upstream.a]"]);
}

#[test]
fn values_of_the_wrong_kind() {
    refused("[server]\nlisten = 8080\n", 2, &["text is wanted here, not a number", "127.0.0.1:8080"]);
    refused("[server]\nmax_headers = \"100\"\n", 2, &["a whole number is wanted here, not text"]);
    refused("[log]\nrequests = \"yes\"\n", 2, &["true or false is wanted here"]);
    refused("server = 1\n", 1, &["`server` is a section"]);
    refused("[quota]\nhold_share = 1.5\n", 2, &["not a fraction"]);
    refused("[upstream.default]\nmodels = \"qwen-max\"\n", 2, &["a list of texts is wanted"]);
    refused("upstream = 3\n", 1, &["an upstream is a table"]);
}

#[test]
fn values_out_of_range_or_unreadable() {
    refused("[server]\nmax_headers = 0\n", 2, &["a number from 16 to 1000"]);
    refused("[server]\nmax_headers = 99999999999999999999\n", 2, &["a number from 16 to 1000"]);
    refused("[quota]\nhold_share = -1\n", 2, &["a number from 1 to 1000"]);
    refused("[store]\nlease = \"1ms\"\n", 2, &["not between 1s and 1d"]);
    refused("[store]\nlease = \"ten minutes\"\n", 2, &["is no time"]);
    refused("[limits]\nmax_body = \"10\"\n", 2, &["is no size", "10MiB"]);
    refused("[server]\nlisten = \"localhost\"\n", 2, &["is no address"]);
    refused("[log]\nformat = \"xml\"\n", 2, &["\"auto\" or \"json\" or \"text\""]);
    refused("[log]\nfilter = \"gratis=loud\"\n", 2, &["is no log filter"]);
    refused("[quota]\nmax_output_default = 100\n", 2, &["below `min_output`"]);
}

#[test]
fn upstreams_that_cannot_be_used() {
    refused("[upstream.default]\nbase_url = \"example.com/v1\"\n", 2, &["with its scheme"]);
    refused("[upstream.default]\nbase_url = \"http://example.com/v1\"\n", 2, &["plain HTTP", "allow_private = true"]);
    refused("[upstream.default]\nbase_url = \"https://169.254.169.254/\"\n", 2, &["private network"]);
    refused("[upstream.default]\nmodels = [\"qwen-maxx\"]\n", 2, &["has no model", "did you mean \"qwen-max\"?"]);
    refused("[upstream.a]\n[upstream.b]\n", 2, &["it is open which serves"]);
    refused(
        "[upstream.a]\nmodels = [\"qwen-max\"]\n[upstream.b]\nmodels = [\"qwen-max\"]\n",
        4,
        &["named by two upstreams"],
    );
    refused("[upstream.Bad]\n", 1, &["cannot be the name of an upstream"]);
    refused("[upstream.default]\nca_file = \"gone.pem\"\n", 2, &["cannot read certificates", "gone.pem"]);
}

#[test]
fn sites_and_regions_that_are_not_there() {
    refused("[site]\nname = \"model-studio-int\"\n", 2, &["no site", "did you mean \"model-studio-intl\"?"]);
    refused("[site]\nregion = \"moon-1\"\n", 2, &["no region \"moon-1\"", "ap-southeast-1"]);
    refused("[site]\nsites_dir = \"gone\"\n", 2, &["cannot read the folder", "gone"]);
    refused("[site]\ncatalogue_file = \"gone.toml\"\n", 2, &["cannot read", "gone.toml"]);
}

#[test]
fn certificates_that_cannot_be_used() {
    refused("[server]\ntls_certificate = \"a.crt\"\n", 2, &["needs `tls_private_key` beside it"]);
    refused("[server]\ntls_private_key = \"a.key\"\n", 2, &["needs `tls_certificate` beside it"]);
    let both = "[server]\ntls_certificate = \"a.crt\"\ntls_private_key = \"a.key\"\n";
    refused(both, 2, &["cannot read certificates from a.crt", "cannot read a private key from a.key", "2 mistakes"]);

    let make = || rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (one, two) = (make(), make());
    let folder = Folder::with(both);
    folder.write("a.crt", &one.cert.pem());
    folder.write("a.key", &two.signing_key.serialize_pem());
    assert!(folder.mistakes().contains("cannot be used together"), "{}", folder.mistakes());
    folder.write("a.key", &one.signing_key.serialize_pem());
    let loaded = folder.load(&super::key()).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(loaded.config.server.tls.is_some());
}

#[test]
fn two_listeners_at_one_place() {
    let report = Folder::with("[admin]\nlisten = \"127.0.0.1:8080\"\n").mistakes();
    assert!(report.contains("both listen at 127.0.0.1:8080"), "{report}");
    let free = Folder::with("[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n");
    assert!(free.load(&super::key()).is_ok());
}

#[test]
fn an_admin_listener_that_others_can_reach_is_warned_of() {
    let loaded = super::sound("[admin]\nlisten = \"0.0.0.0:8081\"\n");
    assert!(loaded.warnings[0].render(false).contains("gratis.toml:2:"), "{:?}", loaded.warnings);
}

#[test]
fn every_mistake_is_shown_in_one_run_in_the_order_of_the_lines() {
    let report = Folder::with(concat!(
        "[server]\n",
        "listn = 1\n",
        "max_headers = \"a\"\n",
        "[quota]\n",
        "hold_share = 0\n",
        "clam = \"always\"\n",
        "[upstream.default]\n",
        "base_url = \"ftp://x\"\n",
        "[site]\n",
        "name = \"mars\"\n",
        "[nonsense]\n",
    ))
    .mistakes();
    let lines = [2, 3, 5, 6, 8, 10, 11].map(|line| format!("[gratis.toml:{line}:"));
    let places: Vec<usize> =
        lines.iter().map(|line| report.find(line).unwrap_or_else(|| panic!("{line}\n{report}"))).collect();
    assert!(places.is_sorted(), "{report}");
    assert!(report.contains("7 mistakes"), "{report}");
}

#[test]
fn a_syntax_mistake_does_not_hide_the_others() {
    let report = Folder::with("[server]\nlisten = = 3\n[quota]\nhold_shar = 1\n").mistakes();
    assert!(report.contains("not TOML") && report.contains("did you mean `hold_share`?"), "{report}");
}

#[test]
#[cfg(not(feature = "otlp"))]
fn a_build_without_the_export_of_traces_says_so() {
    use super::{key_and, sound};
    refused(
        "[trace]\notlp_endpoint = \"http://127.0.0.1:4318\"\n",
        2,
        &["this program exports no traces", "--features otlp"],
    );
    refused("[trace]\notlp_endpoint = \"collector:4318\"\n", 2, &["neither http nor https"]);
    assert_eq!(sound("").config.trace.endpoint, None);
    // The variable may be meant for another program.
    let env = key_and(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")]);
    let loaded = Folder::with("").load(&env).unwrap();
    let warning = loaded.warnings.iter().find(|warning| warning.message().contains("OTEL_EXPORTER_OTLP_ENDPOINT"));
    assert!(warning.is_some() && loaded.config.trace.endpoint.is_none());
}

#[test]
#[cfg(feature = "otlp")]
fn spans_go_below_the_address_of_all_signals() {
    use super::{key_and, sound};
    let endpoint = |loaded: gratis::config::Loaded| loaded.config.trace.endpoint.unwrap_or_default();
    let written = "[trace]\notlp_endpoint = \"http://127.0.0.1:4318/\"\n";
    assert_eq!(endpoint(sound(written)), "http://127.0.0.1:4318/v1/traces");
    let with = |text: &str, env: &[(&str, &str)]| endpoint(Folder::with(text).load(&key_and(env)).unwrap());
    let (all, own) =
        (("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a"), ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://b/x"));
    assert_eq!(with("", &[all]), "http://a/v1/traces");
    assert_eq!(with("", &[all, own]), "http://b/x");
    assert_eq!(with(written, &[all, own]), "http://127.0.0.1:4318/v1/traces");
}
