//! Routes, encodings and error envelopes.

use gratis::dialect::{
    Api, Base, Dialect, Encoding, ErrorEnvelope, ErrorShape, Metering, RouteMatch, UpstreamSignal, coverage,
    render_error, route,
};
use http::Method;

const OPENAI: ErrorShape = ErrorShape { dialect: Dialect::OpenAi, events: false };

fn upstream(method: &Method, path: &str, query: Option<&str>) -> Option<String> {
    match route(method, path, query) {
        RouteMatch::Found(found) => Some(found.upstream_path.into_owned()),
        RouteMatch::MethodNotAllowed { .. } | RouteMatch::NotMetered => None,
    }
}

#[test]
fn what_is_in_the_table_is_found() {
    for base in ["/v1", "/compatible-mode/v1"] {
        let chat = format!("{base}/chat/completions");
        assert_eq!(upstream(&Method::POST, &chat, None).as_deref(), Some("/chat/completions"));
        assert_eq!(upstream(&Method::POST, &chat, Some("")).as_deref(), Some("/chat/completions"));
        assert_eq!(route(&Method::GET, &chat, None), RouteMatch::MethodNotAllowed { allow: "POST" });
        let models = format!("{base}/models");
        assert_eq!(upstream(&Method::GET, &models, None).as_deref(), Some("/models"));
        assert_eq!(upstream(&Method::GET, &models, Some("limit=2")).as_deref(), Some("/models?limit=2"));
        for id in ["qwen-plus", "qwen3.5-plus-2026-02-15", "a/b:free", "x_1"] {
            let path = format!("{base}/models/{id}");
            assert_eq!(upstream(&Method::GET, &path, None), Some(format!("/models/{id}")));
        }
    }
    assert_eq!(coverage().len(), 49);
    assert!(coverage().iter().all(|row| row.source.starts_with("W ")));
    let metered: Vec<_> =
        coverage().iter().filter(|row| row.metering == Metering::Call(Api::Chat)).map(|r| r.path).collect();
    assert_eq!(metered, ["/compatible-mode/v1/chat/completions", "/v1/chat/completions"]);
}

/// What a row must be by its path alone, so that a row that takes a value of its neighbour is seen.
#[test]
fn each_row_is_what_its_path_says() {
    let mut seen = std::collections::BTreeSet::new();
    for row in coverage() {
        let path = row.path.replace("{id}", "id-1").replace("{model}", "m-1");
        let RouteMatch::Found(found) = route(&Method::try_from(row.method).unwrap(), &path, None) else {
            panic!("{} {path} is not found", row.method);
        };
        assert!(seen.insert((row.method, row.path)), "{} {path} stands there twice", row.method);
        assert_eq!((found.metering, found.operation), (row.metering, row.operation), "{path}");
        let (dialect, sources): (_, &[&str]) = match path.as_str() {
            path if path.starts_with("/apps/anthropic/") => (Dialect::Anthropic, &["W 2.2, 3.4"]),
            path if path.contains("/tasks/") => (Dialect::DashScope, &["W 1.6, 2.2"]),
            path if path.starts_with("/api/v1/") => (Dialect::DashScope, &["W 2.2, 3.2, 3.5"]),
            path if path.ends_with("/chat/completions") => (Dialect::OpenAi, &["W 2.2, 3.1"]),
            _ => (Dialect::OpenAi, &["W 2.2"]),
        };
        assert_eq!((found.dialect, sources.contains(&row.source)), (dialect, true), "{path}: {}", row.source);
        let openai = path.strip_prefix("/compatible-mode/v1").or(path.strip_prefix("/v1"));
        let root = path.replacen("/api-task/", "/api/", 1);
        let (base, upstream) = openai.map_or((Base::Root, root.as_str()), |below| (Base::OpenAi, below));
        assert_eq!((found.base, found.upstream_path.as_ref()), (base, upstream), "{path}");
        let one = path.contains("id-1");
        let metered = match row.metering {
            Metering::Call(_) | Metering::Creates(_) | Metering::NotCovered(_) => row.method == "POST" && !one,
            Metering::App => row.method == "POST" && one,
            Metering::Free => row.method == "GET" && path.contains("/models"),
            Metering::Task => row.method == "GET" && path.contains("/tasks/"),
            Metering::Owned(_) => {
                one && (row.method != "POST" || !path.ends_with("/id-1") || path.contains("/conversations/"))
            }
        };
        assert!(metered, "{} {path} is {:?}", row.method, row.metering);
    }
}

#[test]
fn everything_else_is_not_metered() {
    let chat = "/compatible-mode/v1/chat/completions";
    let mut paths: Vec<String> = [
        "",
        "/",
        "*",
        "//v1/chat/completions",
        "/v1//chat/completions",
        "/v1/chat/completions/",
        "/v1/./chat/completions",
        "/v1/x/../chat/completions",
        "/V1/chat/completions",
        "/v1/Chat/completions",
        "/v1/chat/completions;a=b",
        "/v1/chat%2Fcompletions",
        "/v1/chat/completion%73",
        "/v1\\chat\\completions",
        "/v1/chat/completions ",
        "/v1/batches",
        "/v1/files",
        "/api/v1/tasks",
        "/api/v1/tasks/",
        "/api/v1/tasks/a/b",
        "/api/v1/tasks/a/cancel/",
        "/api/v1/tasks//cancel",
        "/api/v1/services/aigc/text-generation/generation/",
        "/api/v1/services/aigc/text-generation%2Fgeneration",
        "/api//v1/services/aigc/text-generation/generation",
        "/API/v1/services/aigc/text-generation/generation",
        "/api/v1/deployments",
        "/api/v1/fine-tunes",
        "/api/v1/uploads",
        "/api/v1/apps/../services/aigc/text-generation/generation",
        "/api/v1/apps/a/b/completion",
        "/apps/anthropic/v1/messages/count_tokens",
        "/apps/anthropic/v1/models",
        "/compatible-mode/v1/files/a/../b",
        "/compatible-mode/v1/files/a/content/",
        "/compatible-mode/v1/fine_tuning/jobs",
        "/v1/models/",
        "/v1/models//",
        "/v1/models/..",
        "/v1/models/../chat/completions",
        "/v1/models/a/../../chat/completions",
        "/v1/models/.hidden",
        "/v1/models/a..b",
        "/v1/models/a%2e",
        "/v1/models/a b",
        "/v1/models/a?b",
        "/v1/models/ä",
    ]
    .map(str::to_owned)
    .to_vec();
    paths.push(format!("/v1/models/{}", "a".repeat(129)));
    paths.push(format!("http://host{chat}"));
    for path in &paths {
        for method in [Method::POST, Method::GET] {
            assert_eq!(route(&method, path, None), RouteMatch::NotMetered, "{method} {path}");
        }
    }
    assert_eq!(route(&Method::POST, chat, Some("a=b")), RouteMatch::NotMetered);
    assert_eq!(route(&Method::GET, "/v1/models", Some("a=%20")), RouteMatch::NotMetered);
    assert_eq!(route(&Method::HEAD, "/v1/models", None), RouteMatch::MethodNotAllowed { allow: "GET" });
}

#[test]
fn an_encoding_is_asked_for_only_where_both_sides_can_read_it() {
    let ask = |header: &str| Encoding::acceptable(Some(header), false);
    assert_eq!(ask("gzip, deflate, br, zstd"), "gzip, deflate, br");
    assert_eq!(ask("gzip;q=0, deflate;q=0.5"), "deflate");
    assert_eq!(ask("gzip; q=0.000, *"), "deflate, br");
    assert_eq!(ask("GZIP"), "gzip");
    assert_eq!(ask("zstd"), "identity");
    assert_eq!(ask(""), "identity");
    assert_eq!(Encoding::acceptable(None, false), "identity");
    assert_eq!(Encoding::acceptable(Some("gzip"), true), "identity");
    assert_eq!(Encoding::of(Some(" x-GZip ")), Encoding::Gzip);
    assert_eq!(Encoding::of(Some("br")), Encoding::Brotli);
    assert_eq!(Encoding::of(Some("Deflate")), Encoding::Deflate);
    assert_eq!(Encoding::of(Some("gzip, br")), Encoding::Other);
    assert_eq!(Encoding::of(None), Encoding::Identity);
}

#[test]
fn an_error_has_the_keys_of_the_service_in_its_order() {
    let mut envelope = ErrorEnvelope {
        status: 400,
        code: "Arrearage",
        kind: "Arrearage",
        message: "Access \"denied\"",
        param: None,
        gateway: false,
        request_id: "0f-1",
    };
    assert_eq!(
        render_error(OPENAI, &envelope).bytes,
        r#"{"error":{"message":"Access \"denied\"","type":"Arrearage","param":null,"code":"Arrearage"},"id":"chatcmpl-0f-1","request_id":"0f-1"}"#
    );
    (envelope.gateway, envelope.param) = (true, Some("model"));
    assert_eq!(
        render_error(OPENAI, &envelope).bytes,
        r#"{"error":{"message":"Access \"denied\"","type":"Arrearage","param":"model","code":"Arrearage"},"request_id":"0f-1"}"#
    );
}

#[test]
fn a_code_says_what_a_refusal_means() {
    use UpstreamSignal::{Arrearage, FreeTierOnly, Other, RateLimited};
    for (code, message, signal) in [
        ("AllocationQuota.FreeTierOnly", "any", FreeTierOnly),
        ("Throttling.AllocationQuota", "Free allocated quota exceeded.", FreeTierOnly),
        ("Throttling.AllocationQuota", "Allocated quota exceeded, please increase your quota limit.", RateLimited),
        ("insufficient_quota", "You exceeded your current quota", RateLimited),
        ("Throttling.RateQuota", "", RateLimited),
        ("limit_requests", "", RateLimited),
        ("Arrearage", "", Arrearage),
        ("PrepaidBillOverdue", "", Arrearage),
        ("PostpaidBillOverdue", "", Arrearage),
        ("CommodityNotPurchased", "", Arrearage),
        ("permission_error", "AllocationQuota.FreeTierOnly: used up", FreeTierOnly),
        ("invalid_request_error", "Arrearage: a bill is overdue", Arrearage),
        ("permission_error", "this key may not", Other),
        ("invalid_api_key", "Arrearage", Other),
        ("", "Free allocated quota exceeded.", Other),
    ] {
        assert_eq!(UpstreamSignal::of(code, message), signal, "{code}: {message}");
    }
}
