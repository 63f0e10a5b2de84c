//! The catalogue and the sites: what is shipped, and what is refused.

use gratis::catalogue::{Confidence, FreeQuota, Thinking};
use gratis::config::load;
use gratis::ledger::{Overrun, SwitchOff, Unit};

use super::{Folder, key, sound};

#[test]
fn the_shipped_catalogue_has_67_rows_and_says_which_are_bounded() {
    let catalogue = sound("").catalogue;
    assert_eq!(catalogue.models().count(), 67);
    assert_eq!(catalogue.models().filter(|model| model.bounds.is_some()).count(), 30);
    assert_eq!(catalogue.models().filter(|model| model.max_units.is_some()).count(), 31);
    let mut unbounded: Vec<&str> =
        catalogue.models().filter(|model| !model.is_bounded()).map(|model| model.code.as_str()).collect();
    unbounded.sort_unstable();
    let expected = [
        "fun-asr",
        "fun-asr-realtime",
        "qwen3-asr-flash-realtime",
        "qwen3-tts-flash-realtime",
        "tongyi-embedding-vision-flash",
        "tongyi-embedding-vision-plus",
    ];
    assert_eq!(unbounded, expected);
    for model in catalogue.models() {
        assert_eq!(model.is_bounded(), model.bounds_confidence != Confidence::Unknown, "{}", model.code);
        assert!(!model.source.is_empty() && !model.bounds_source.is_empty(), "{} has no source", model.code);
        let bounds = model.bounds.as_ref();
        let thinks = bounds.is_some_and(|bounds| bounds.thinking != Thinking::Never);
        assert_eq!(bounds.is_some_and(|bounds| bounds.thinking_budget), thinks, "{}", model.code);
    }
}

#[test]
fn rows_are_read_as_they_are_written() {
    let catalogue = sound("").catalogue;
    let max = catalogue.model("qwen3.8-max").unwrap();
    let bounds = max.bounds.as_ref().unwrap();
    assert_eq!((bounds.window, bounds.max_input), (1_000_000, 991_808));
    assert_eq!((bounds.max_output, bounds.max_thinking), (131_072, 262_144));
    assert_eq!((bounds.template_base, bounds.template_message, bounds.template_tools), (512, 16, 512));
    assert_eq!(bounds.thinking, Thinking::On);
    assert_eq!(max.bounds_confidence, Confidence::Uncertain);
    assert_eq!((max.free_quota, max.unit, max.validity_days), (Some(FreeQuota::Total(1_000_000)), Unit::Tokens, 90));

    let tiers = &catalogue.model("qwen3-max").unwrap().prices;
    let limits: Vec<_> = tiers.iter().map(|tier| tier.input_up_to).collect();
    assert_eq!(limits, [Some(32_768), Some(131_072), Some(262_144)]);
    assert!(tiers[2].rates.contains(&("out".to_owned(), "15".to_owned())));

    let split = FreeQuota::Split { input: 1_000_000, output: 1_000_000 };
    assert_eq!(catalogue.model("qwen-vl-ocr").unwrap().free_quota, Some(split));
    let video = catalogue.model("wan2.6-t2v").unwrap();
    assert_eq!((video.unit, video.max_units), (Unit::Seconds, Some(15)));
    assert!(video.prices[0].rates.contains(&("per_second 1080P".to_owned(), "0.15".to_owned())));
    let asr = catalogue.model("qwen3-asr-flash").unwrap();
    assert_eq!(asr.prices[0].rates, [("per_second".to_owned(), "0.000035".to_owned())]);
    assert_eq!(catalogue.model("text-embedding-v4").unwrap().bounds.as_ref().unwrap().window, 81_920);
    assert!(!catalogue.model("qwen-image-plus").unwrap().is_priced());
    assert_eq!(catalogue.model("QWEN-MAX"), None);
}

#[test]
fn the_sites_say_what_the_sources_say() {
    let loaded = sound("");
    let names: Vec<&str> = loaded.sites.iter().map(|site| site.name.as_str()).collect();
    assert_eq!(names, ["qwen-cloud", "model-studio-intl", "model-studio-cn"]);
    for site in &loaded.sites {
        assert_eq!((site.validity_days, site.switch_default_on), (90, false));
        assert_eq!((site.switch_off, site.overrun), (SwitchOff::OnceUsedUp, Overrun::Never));
        assert!(site.unverified_is_free_only);
        assert_eq!(site.overdue_grace_days, 0);
    }
    let cn = loaded.site("model-studio-cn").unwrap();
    assert_eq!((cn.regions.as_slice(), cn.time_zone.as_str()), (["cn-beijing".to_owned()].as_slice(), "Asia/Shanghai"));
    assert_eq!(cn.console_lag_minutes, 1);
    let intl = loaded.site("model-studio-intl").unwrap();
    assert_eq!(
        intl.default_endpoint().unwrap().openai_base_url,
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"
    );
    assert!(intl.endpoint("us-east-1").is_some() && !intl.regions.contains(&"us-east-1".to_owned()));
    assert_eq!(loaded.site("mars"), None);
}

#[test]
fn a_region_without_free_quota_is_warned_of() {
    let loaded = sound("[site]\nregion = \"us-east-1\"\n");
    assert!(loaded.warnings[0].render(false).contains("has no free quota"));
    assert_eq!(loaded.config.upstreams[0].base_url.host(), Some("dashscope-us.aliyuncs.com"));
}

const ROW: &str =
    "[[model]]\ncode = \"my-model\"\ntype = \"text\"\nunit = \"tokens\"\nconfidence = \"ok\"\nsource = \"me\"\n";
const BOUNDS: &str =
    "[model.bounds]\nwindow = 1000\nmax_input = 900\nmax_output = 100\nmax_thinking = 0\nthinking = \"never\"\n";

fn with_rows(rows: &str) -> Folder {
    let folder = Folder::with("[site]\ncatalogue_file = \"mine.toml\"\n");
    folder.write("mine.toml", rows);
    folder
}

#[test]
fn rows_of_ones_own_are_added_and_replace() {
    let folder = with_rows(&format!("{ROW}{BOUNDS}{}free_quota = 7\n", ROW.replace("my-model", "qwen-max")));
    let catalogue = folder.load(&key()).unwrap_or_else(|errors| panic!("{errors}")).catalogue;
    assert_eq!(catalogue.models().count(), 68);
    let mine = catalogue.model("my-model").unwrap();
    assert_eq!((mine.validity_days, mine.pool.as_str()), (90, "my-model"));
    let bounds = mine.bounds.as_ref().unwrap();
    assert_eq!((bounds.template_base, bounds.max_n, bounds.thinking_budget), (512, 1, false));
    assert_eq!(catalogue.model("qwen-max").unwrap().free_quota, Some(FreeQuota::Total(7)));
}

/// Asserts that rows are refused, with their place and these words.
fn refused(rows: &str, line: usize, part: &str) {
    let report = with_rows(rows).mistakes();
    assert!(report.contains(&format!("[mine.toml:{line}:")), "line {line} not in\n{report}");
    assert!(report.contains(part), "{part:?} not in\n{report}");
}

#[test]
fn rows_that_cannot_be_right_are_refused_with_their_place() {
    let bounded = |from: &str, to: &str| format!("{ROW}{}", BOUNDS.replace(from, to));
    refused(&format!("{ROW}{ROW}"), 8, "is there twice");
    refused(&bounded("max_output = 100", "max_output = 2000"), 10, "more than the window of 1000");
    refused(&bounded("max_input = 900", "max_input = 1001"), 9, "more than the window");
    refused(&bounded("max_thinking = 0", "max_thinking = 5"), 11, "it never thinks");
    refused(&bounded("\"never\"", "\"on\""), 11, "cannot be 0");
    refused(&bounded("window = 1000\n", ""), 7, "`window` is missing");
    refused(&bounded("\"never\"", "\"sometimes\""), 12, "is not known here");
    refused(&ROW.replace("tokens", "words"), 4, "is not known here");
    refused(&ROW.replace("my-model", "my model"), 2, "is no model code");
    refused(&ROW.replace("code = \"my-model\"\n", ""), 1, "`code` is missing");
    refused(&format!("{ROW}max_unit = 1\n"), 7, "did you mean `max_units`?");
    refused(&format!("{ROW}max_units = 1\n"), 7, "has `[model.bounds]` instead");
    refused(&format!("{}max_units = 1\n{BOUNDS}", ROW.replace("tokens", "images")), 8, "bounds are in tokens");
    refused(&format!("{ROW}free_quota = {{ input = 1 }}\n"), 7, "`output` is missing");
    refused(&format!("{ROW}free_quota = 9007199254740993\n"), 7, "a number from 1 to 9007199254740991");
    refused(&format!("{ROW}prices = [{{ in = 0.5 }}]\n"), 7, "a price is decimal text");
    refused(&format!("{ROW}prices = [{{ in = \"-1\" }}]\n"), 7, "is no decimal price");
    refused(&format!("{ROW}prices = [{{ input_up_to = \"1X\", in = \"1\" }}]\n"), 7, "no number of tokens");
    let falling = "prices = [{ input_up_to = \"2K\", in = \"1\" }, { input_up_to = \"1K\", in = \"1\" }]\n";
    refused(&format!("{ROW}{falling}"), 7, "does not reach further");
    refused("model = 3\n", 1, "written as [[model]]");
    refused("[modle]\n", 1, "did you mean `model`?");
}

#[test]
fn models_on_one_pool_count_the_same_unit() {
    let other = ROW.replace("my-model", "other").replace("tokens", "images");
    refused(&format!("{ROW}{other}pool = \"my-model\"\n"), 10, "counts another unit");
}

#[test]
fn the_rows_that_are_shipped_are_sound_by_themselves() {
    // `load` reports a mistake in a compiled-in row as it does one of the operator's.
    assert!(load(None, &key()).is_ok());
}

#[test]
fn a_site_of_ones_own_is_read_and_checked() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/sites/qwen-cloud.toml")).unwrap();
    let folder = Folder::with("[site]\nname = \"mine\"\nsites_dir = \"sites\"\n");
    std::fs::create_dir(folder.path("sites")).unwrap();
    folder.write("sites/mine.toml", &text.replace("validity_days = 90", "validity_days = 30"));
    let loaded = folder.load(&key()).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.site(&loaded.config.site.name).unwrap().validity_days, 30);

    folder.write("sites/mine.toml", &text.replace("Asia/Singapore", "Asia/Mars").replace("\"off\"", "\"of\""));
    let report = folder.mistakes();
    assert!(report.contains("[sites/mine.toml:") && report.contains("is no time zone"), "{report}");
    assert!(report.contains("\"of\" is not known here"), "{report}");
    folder.write("sites/mine.toml", &text.replace("free_quota = true", "free_quota = false"));
    assert!(folder.mistakes().contains("no region has a free quota"));
}
