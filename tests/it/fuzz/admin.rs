//! The bodies and paths of the admin API: whatever an operator sends, the answer is a change or a problem that says why.

use std::cell::RefCell;

use axum::Router;
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use super::office;

/// One office serves so many requests, so that it does not grow without end.
const SERVES: u32 = 2_000;

struct Desk {
    runtime: tokio::runtime::Runtime,
    router: Router,
    served: u32,
}

fn open() -> Desk {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let router = runtime.block_on(async {
        let office = office::Office::new().await;
        office.grant("qwen-max").await;
        office.router()
    });
    Desk { runtime, router, served: 0 }
}

thread_local! {
    static DESK: RefCell<Desk> = RefCell::new(open());
}

/// The first line is the method and what follows `/admin/v1`; the rest is the body.
pub fn check(input: &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (line, body) = (&input[..end], input.get(end + 1..).unwrap_or_default());
    let Some((method, path)) = std::str::from_utf8(line).ok().and_then(|line| line.split_once(' ')) else { return };
    let request = Request::builder().method(method).uri(format!("/admin/v1{path}"));
    let request = request.header("authorization", format!("Bearer {}", office::TOKEN));
    let Ok(request) = request.body(Body::from(body.to_vec())) else { return };
    DESK.with_borrow_mut(|desk| {
        if desk.served >= SERVES {
            *desk = open();
        }
        desk.served += 1;
        let (status, answer) = desk.runtime.block_on(async {
            let response = desk.router.clone().oneshot(request).await.expect("every request is answered");
            (response.status(), response.into_body().collect().await.expect("a body").to_bytes())
        });
        assert!(!status.is_server_error(), "{method} {path}: {status} {answer:?}");
        // To HEAD nothing is answered but the head.
        if !status.is_success() && method != "HEAD" {
            let problem: Value = serde_json::from_slice(&answer).expect("a problem is JSON");
            assert_eq!(problem["status"], status.as_u16());
            assert!(problem["code"].is_string() && problem["detail"].is_string(), "{problem}");
        }
    });
}
