//! The verdict, against an admin API that says what the test wants.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use gratis::load::{self, LoadError, Progress, Report};
use serde_json::{Value, json};

use super::settings;
use crate::simulator::{Bench, model};

/// An admin API that answers the next of its answers, and the last one for ever.
struct Admin {
    url: String,
    answers: Arc<Mutex<Vec<Value>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Admin {
    async fn new(mut answers: Vec<Value>) -> Self {
        answers.reverse();
        let answers = Arc::new(Mutex::new(answers));
        let app = Router::new().route("/admin/v1/balances", get(Self::answer)).with_state(Arc::clone(&answers));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        #[allow(clippy::disallowed_methods, reason = "ended by drop")]
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, answers, task }
    }

    async fn answer(
        State(answers): State<Arc<Mutex<Vec<Value>>>>,
        headers: HeaderMap,
    ) -> Result<Json<Value>, StatusCode> {
        if headers.get("authorization").is_none_or(|value| value != "Bearer token") {
            return Err(StatusCode::UNAUTHORIZED);
        }
        let mut answers = answers.lock().unwrap();
        let next = if answers.len() > 1 { answers.pop() } else { answers.last().cloned() };
        match next {
            Some(Value::Null) | None => Err(StatusCode::SERVICE_UNAVAILABLE),
            Some(next) => Ok(Json(next)),
        }
    }
}

fn balances(granted: u64, held: u64, spent: u64, presumed: u64) -> Value {
    let row = |side: &str, granted: u64, held: u64, spent: u64, presumed: u64| {
        json!({"account": "a", "model": "qwen-plus", "pool": "p", "grant": "g", "side": side, "unit": "tokens",
            "granted": granted, "held": held, "spent": spent, "presumed": presumed, "available": -1, "end": null,
            "something": "new"})
    };
    // Two sides that add up, another unit and another model that must not be counted.
    json!({"lease_ms": 1, "balances": [
        row("input", granted / 2, held, spent, 0), row("output", granted - granted / 2, 0, 0, presumed),
        {"model": "qwen-plus", "pool": "p", "unit": "images", "granted": 9, "held": 9, "spent": 9, "presumed": 9},
        {"model": "other", "pool": "other", "unit": "tokens", "granted": 5, "held": 0, "spent": 3, "presumed": 0}]})
}

/// One plain call of a known cost, judged against `after`.
async fn judged(after: impl FnOnce(u64) -> Vec<Value>) -> (Report, u64, Vec<Option<u64>>) {
    let bench = Bench::listed().await;
    bench.behave(json!({"mode": "no-usage", "charge": 1_000})).await;
    let mut answers = vec![balances(5_000, 0, 0, 0)];
    answers.extend(after(1_000));
    let admin = Admin::new(answers).await;
    let settings = load::Settings {
        requests: Some(1),
        stream_share: 0.0,
        oracle: Some(bench.running.origin().parse().unwrap()),
        admins: vec![admin.url.parse().unwrap()],
        admin_token: Some("token".to_owned()),
        ..settings(&bench)
    };
    let mut held = Vec::new();
    let report = load::run(settings, |progress| {
        if let Progress::Settling { held: now, .. } = progress {
            held.push(now);
        }
    });
    let report = report.await.unwrap();
    let left = admin.answers.lock().unwrap().len() as u64;
    (report, left, held)
}

fn figures(report: &Report) -> (u64, u64, u64, u64) {
    let total = &report.verdict.as_ref().unwrap_or_else(|| panic!("{report:?}")).total;
    (total.charged, total.overspent, total.drift, total.phantom)
}

#[tokio::test]
async fn an_agreement_of_both_ledgers_is_clean() {
    let (report, _, held) = judged(|charged| vec![balances(5_000, 0, charged - 300, 300)]).await;
    assert_eq!(held, [Some(0), Some(0)], "two readings that agree are enough");
    assert_eq!(figures(&report), (1_000, 0, 0, 0));
    assert!(report.exit_ok());
    let total = &report.verdict.as_ref().unwrap().total;
    assert_eq!((total.calls, total.granted, total.spent, total.presumed), (1, 5_000, 700, 300));
    assert!((total.used_share - 0.2).abs() < 1e-9);
    assert!(report.rows().contains(&("overspent tokens".to_owned(), "0".to_owned())));
    let line = serde_json::to_value(&report).unwrap();
    assert_eq!(line["verdict"]["models"][0]["model"], "qwen-plus");
}

#[tokio::test]
async fn more_than_the_grant_is_overspent() {
    let (report, ..) = judged(|charged| vec![balances(400, 0, charged, 0)]).await;
    assert_eq!(figures(&report), (1_000, 600, 0, 0));
    assert!(!report.exit_ok());
}

#[tokio::test]
async fn a_charge_that_was_not_seen_or_not_made_is_drift() {
    let (report, ..) = judged(|charged| vec![balances(5_000, 0, charged - 30, 10)]).await;
    assert_eq!(figures(&report), (1_000, 0, 20, 0));
    assert!(!report.exit_ok());
    let (report, ..) = judged(|charged| vec![balances(5_000, 0, charged + 7, 100)]).await;
    assert_eq!(figures(&report), (1_000, 0, 7, 0));
    let (report, ..) = judged(|charged| vec![balances(5_000, 0, 0, charged + 50)]).await;
    assert_eq!(figures(&report), (1_000, 0, 0, 0), "presumed too much is not drift");
}

#[tokio::test]
async fn what_stays_held_past_the_lease_is_a_phantom() {
    let (report, _, held) = judged(|charged| vec![balances(5_000, 25, charged, 0)]).await;
    assert_eq!(figures(&report), (1_000, 0, 0, 25));
    assert!(!report.exit_ok());
    assert!(held.iter().all(|held| *held == Some(25)) && held.len() > 2, "not given up before the lease");
}

#[tokio::test]
async fn holds_that_resolve_in_time_are_waited_for() {
    let (report, _, held) =
        judged(|charged| vec![balances(5_000, 25, 0, 0), Value::Null, balances(5_000, 0, charged, 0)]).await;
    assert_eq!(figures(&report), (1_000, 0, 0, 0));
    assert_eq!(held[..2], [Some(25), None], "an admin API that is away for a while is asked again");
    assert!(report.exit_ok());
}

#[tokio::test]
async fn without_an_answer_there_is_no_verdict_and_no_success() {
    let (report, ..) = judged(|_| vec![Value::Null]).await;
    assert!(report.verdict.is_none());
    assert!(report.verdict_problem.as_ref().unwrap().contains("503"));
    assert!(!report.exit_ok());
    assert_eq!(report.completed, 1, "the figures of the load stay");
}

#[tokio::test]
async fn a_replica_whose_admin_api_is_away_does_not_take_the_verdict_with_it() {
    let bench = Bench::listed().await;
    bench.behave(json!({"mode": "no-usage", "charge": 1_000})).await;
    let admin = Admin::new(vec![balances(5_000, 0, 0, 0), balances(5_000, 0, 1_000, 0)]).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = load::Settings {
        requests: Some(1),
        stream_share: 0.0,
        oracle: Some(bench.running.origin().parse().unwrap()),
        admins: vec![format!("http://{free}").parse().unwrap(), admin.url.parse().unwrap()],
        admin_token: Some("token".to_owned()),
        ..settings(&bench)
    };
    let report = load::run(settings, |_| ()).await.unwrap();
    assert_eq!(figures(&report), (1_000, 0, 0, 0));
    assert!(report.exit_ok());
}

#[tokio::test]
async fn a_run_does_not_begin_when_nobody_says_where_things_stand() {
    let bench = Bench::new(gratis::simulator::Settings { models: vec![model()], ..Default::default() }).await;
    let admin = Admin::new(vec![balances(1, 0, 0, 0)]).await;
    let settings = load::Settings {
        oracle: Some(bench.running.origin().parse().unwrap()),
        admins: vec![admin.url.parse().unwrap()],
        admin_token: Some("wrong".to_owned()),
        ..settings(&bench)
    };
    match load::run(settings, |_| ()).await {
        Err(LoadError::Unanswered { whom, problem, .. }) => {
            assert_eq!(whom, "admin API");
            assert!(problem.contains("401"), "{problem}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.charged().await, (0, 0));
}
