//! Who may come in, and what a request has to look like.

use axum::body::Body;
use gratis::admin::OPEN_PATHS;
use http::Request;
use serde_json::json;

use super::office::{Office, TOKEN};

const CLOSED: [(&str, &str); 24] = [
    ("GET", "/admin/v1/accounts"),
    ("POST", "/admin/v1/accounts"),
    ("GET", "/admin/v1/accounts/default"),
    ("PATCH", "/admin/v1/accounts/default"),
    ("GET", "/admin/v1/accounts/default/keys"),
    ("POST", "/admin/v1/accounts/default/keys"),
    ("PATCH", "/admin/v1/accounts/default/keys/k"),
    ("DELETE", "/admin/v1/accounts/default/keys/k"),
    ("GET", "/admin/v1/accounts/default/grants"),
    ("POST", "/admin/v1/accounts/default/grants"),
    ("PATCH", "/admin/v1/accounts/default/grants/1"),
    ("GET", "/admin/v1/accounts/default/models"),
    ("PUT", "/admin/v1/accounts/default/models/qwen-max/switch"),
    ("POST", "/admin/v1/accounts/default/switches"),
    ("GET", "/admin/v1/accounts/default/balances"),
    ("GET", "/admin/v1/accounts/default/holds"),
    ("GET", "/admin/v1/accounts/default/entries"),
    ("POST", "/admin/v1/accounts/default/sync"),
    ("POST", "/admin/v1/accounts/default/pools/qwen-max/reopen"),
    ("GET", "/admin/v1/balances"),
    ("GET", "/admin/v1/coverage"),
    ("GET", "/admin/v1/models"),
    ("POST", "/admin/v1/config/reload"),
    ("GET", "/no-such-path"),
];

fn request(method: &str, path: &str, credentials: &[&str]) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for credential in credentials {
        request = request.header("authorization", *credential);
    }
    request.body(Body::empty()).unwrap()
}

#[tokio::test]
async fn every_route_but_four_needs_the_token() {
    let office = Office::new().await;
    for (method, path) in CLOSED {
        let reply = office.send(request(method, path, &[])).await;
        reply.is_problem(401, "admin_token_missing");
        assert!(reply.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer"), "{path}");
    }
    for path in OPEN_PATHS {
        assert_eq!(office.send(request("GET", path, &[])).await.status, 200, "{path}");
    }
    // Nothing that looks like an open path is one.
    for path in ["/livez/", "//livez", "/livez/..", "/metrics/x", "/admin/v1/../../livez"] {
        assert_eq!(office.send(request("GET", path, &[])).await.status, 401, "{path}");
    }
}

#[tokio::test]
async fn only_the_whole_token_opens() {
    let office = Office::new().await;
    let longer = format!("Bearer {TOKEN}x");
    let shorter = format!("Bearer {}", &TOKEN[..TOKEN.len() - 1]);
    for wrong in [longer.as_str(), &shorter, "Bearer x", "Bearer  ", "bearer sk-gratis-0"] {
        office.send(request("GET", "/admin/v1/accounts", &[wrong])).await.is_problem(401, "admin_token_wrong");
    }
    let right = format!("Bearer {TOKEN}");
    let basic = format!("Basic {TOKEN}");
    for missing in [vec![TOKEN], vec![basic.as_str()], vec![right.as_str(), right.as_str()], vec![""]] {
        office.send(request("GET", "/admin/v1/accounts", &missing)).await.is_problem(401, "admin_token_missing");
    }
    for right in [right.clone(), format!("bearer {TOKEN}"), format!("BEARER   {TOKEN}")] {
        assert_eq!(office.send(request("GET", "/admin/v1/accounts", &[&right])).await.status, 200, "{right}");
    }
}

#[tokio::test]
async fn without_a_configured_token_nobody_comes_in() {
    let mut office = Office::new().await;
    (office.state.token, office.state.read_token) = (None, None);
    for credentials in [vec![], vec!["Bearer "], vec!["Bearer x"]] {
        let reply = office.send(request("GET", "/admin/v1/accounts", &credentials)).await;
        reply.is_problem(401, "admin_token_not_set");
        assert!(reply.text.contains("gratis init"), "{}", reply.text);
    }
    assert_eq!(office.send(request("GET", "/livez", &[])).await.status, 200);
    assert!(gratis::admin::Token::new(" \n").is_none());
}

#[tokio::test]
async fn an_unknown_route_or_method_is_said() {
    let office = Office::new().await;
    office.call("GET", "/admin/v1/nothing", None).await.is_problem(404, "no_such_route");
    office.call("GET", "/", None).await.is_problem(404, "no_such_route");
    let reply = office.call("DELETE", "/admin/v1/accounts", None).await;
    reply.is_problem(405, "no_such_method");
    assert!(reply.headers["allow"].to_str().unwrap().contains("POST"));
}

#[tokio::test]
async fn a_body_is_read_strictly() {
    let office = Office::new().await;
    let path = "/admin/v1/accounts/default/grants";
    for wrong in [
        "",
        "[]",
        "{",
        r#"{"model":"qwen-max"}"#,
        r#"{"model":"qwen-max","amount":-1}"#,
        r#"{"model":"qwen-max","amount":1.5}"#,
        r#"{"model":"qwen-max","amount":"1"}"#,
        r#"{"model":"qwen-max","amount":1,"amount":2}"#,
        r#"{"model":"qwen-max","amount":1,"ammount":2}"#,
        r#"{"model":"qwen-max","pool":"qwen-max","amount":1}"#,
        r#"{"amount":1}"#,
        r#"{"model":"qwen-max","amount":1,"end":"never","valid_days":3}"#,
    ] {
        let reply = office.call_text("POST", path, wrong.to_owned()).await;
        assert_eq!((reply.status, reply.code()), (400, "invalid_body"), "{wrong}");
    }
    let large = format!("{{\"model\":\"{}\"}}", "x".repeat(1 << 20));
    office.call_text("POST", path, large).await.is_problem(413, "body_too_large");
    assert_eq!(office.get(path).await, json!({ "items": [], "next": null }));
    office.call("GET", "/admin/v1/balances?modell=x", None).await.is_problem(400, "invalid_parameter");
}

#[tokio::test]
async fn answers_are_not_cached() {
    let office = Office::new().await;
    for path in ["/admin/v1/accounts", "/readyz"] {
        assert_eq!(office.call("GET", path, None).await.headers["cache-control"], "no-store");
    }
}
