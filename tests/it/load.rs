//! The load client, against the simulator alone and against an admin API that says what the test wants.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use gratis::load::{self, LoadError, Progress, Report};
use serde_json::{Value, json};

use crate::simulator::{Bench, model};

fn settings(bench: &Bench) -> load::Settings {
    load::Settings {
        targets: vec![bench.running.origin().parse().unwrap()],
        key: "sk-load".to_owned(),
        models: vec!["qwen-plus".to_owned()],
        requests: Some(60),
        concurrency: 8,
        prompt_bytes: 64,
        ..load::Settings::default()
    }
}

async fn run(settings: load::Settings) -> Report {
    load::run(settings, |_| ()).await.unwrap()
}

#[tokio::test]
async fn completed_calls_are_the_simulators_calls() {
    let bench = Bench::listed().await;
    let report = run(settings(&bench)).await;
    assert_eq!((report.requests, report.completed, report.aborted), (60, 60, 0));
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    assert!(report.streamed > 0 && report.streamed < 60);
    let (calls, charged) = bench.charged().await;
    assert_eq!(calls, 60);
    assert!(report.reported_tokens > 0 && report.reported_tokens < charged, "half of the streams report nothing");
    assert_eq!((report.latency_ms.count, report.first_chunk_ms.count), (60, report.streamed));
    assert!(report.latency_ms.p50 <= report.latency_ms.p99 && report.latency_ms.p99 <= report.latency_ms.max);
    assert!(report.exit_ok() && report.verdict.is_none());
}

#[tokio::test]
async fn what_plain_replies_report_is_what_was_charged() {
    let bench = Bench::listed().await;
    let report = run(load::Settings { stream_share: 0.0, max_tokens: Some(20), ..settings(&bench) }).await;
    assert_eq!(report.reported_tokens, bench.charged().await.1);
    let (_, seen) = bench.get("/requests?last=1").await;
    let body: Value = serde_json::from_str(seen["requests"][0]["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["max_tokens"], 20);
    let headers = seen["requests"][0]["headers"].as_array().unwrap();
    assert!(headers.contains(&json!(["authorization", "Bearer sk-load"])));
}

#[tokio::test]
async fn aborted_calls_are_neither_completed_nor_errors() {
    let bench = Bench::listed().await;
    let report = run(load::Settings { abort_share: 0.7, stream_share: 1.0, ..settings(&bench) }).await;
    assert!(report.aborted > 0 && report.completed > 0, "{report:?}");
    assert_eq!(report.completed + report.aborted, 60, "{:?}", report.errors);
    assert!(bench.charged().await.0 >= report.completed);
}

#[tokio::test]
async fn a_rate_plans_every_call() {
    let bench = Bench::listed().await;
    let report = run(load::Settings { rate: Some(2_000.0), ..settings(&bench) }).await;
    assert_eq!(report.completed, 60);
    let by_time = load::Settings {
        requests: None,
        rate: Some(400.0),
        duration: Some(Duration::from_millis(100)),
        ..settings(&bench)
    };
    assert_eq!(run(by_time).await.completed, 40, "one call each 2.5 ms for 100 ms");
}

#[tokio::test]
async fn errors_are_counted_by_code() {
    let bench = Bench::listed().await;
    for (mode, word) in [
        ("free-tier-only", "403 AllocationQuota.FreeTierOnly"),
        ("overloaded", "503 ModelUnavailable"),
        ("error-html", "500 (no error code)"),
        ("reset-before-head", "connection reset"),
        ("truncate", "connection closed early in the body"),
        ("cut", "stream without its end mark"),
        ("error-mid-stream", "200 with the error event Throttling.AllocationQuota"),
    ] {
        bench.behave(json!({"mode": mode})).await;
        let report = run(load::Settings { stream_share: 1.0, requests: Some(10), ..settings(&bench) }).await;
        assert_eq!(report.errors.get(word), Some(&10), "{mode}: {:?}", report.errors);
        assert_eq!(report.completed, 0);
    }
}

#[tokio::test]
async fn a_dead_target_is_counted_and_the_run_goes_on() {
    let bench = Bench::listed().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut settings = settings(&bench);
    settings.targets.push(format!("http://{free}").parse().unwrap());
    let report = run(settings).await;
    assert_eq!((report.completed, report.errors["connection refused"]), (30, 30));
}

#[tokio::test]
async fn a_run_can_be_stopped() {
    let bench = Bench::listed().await;
    let settings = load::Settings { requests: Some(u64::MAX), ..settings(&bench) };
    let stop = settings.stop.clone();
    let mut seen = Vec::new();
    let report = load::run(settings, |progress| {
        if let Progress::Sending { completed, .. } = progress {
            seen.push(completed);
            if completed > 0 {
                stop.cancel();
            }
        }
    });
    let report = report.await.unwrap();
    assert!(report.completed > 0 && report.errors.is_empty());
    assert!(seen.is_sorted());
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused() {
    let bench = Bench::listed().await;
    let good = settings(&bench);
    let changes: [(&str, fn(&mut load::Settings)); 7] = [
        ("target", |settings| settings.targets.clear()),
        ("target", |settings| settings.targets = vec!["https://127.0.0.1:1".parse().unwrap()]),
        ("model", |settings| settings.models.clear()),
        ("stream-share", |settings| settings.stream_share = 1.1),
        ("rate", |settings| settings.rate = Some(0.0)),
        ("concurrency", |settings| settings.concurrency = 0),
        ("oracle", |settings| settings.admin = Some("http://127.0.0.1:1".parse().unwrap())),
    ];
    for (name, change) in changes {
        let mut settings = good.clone();
        change(&mut settings);
        match load::run(settings, |_| ()).await {
            Err(LoadError::Setting { setting, .. }) => assert_eq!(setting, name),
            other => panic!("{name}: {other:?}"),
        }
    }
}

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
        admin: Some(admin.url.parse().unwrap()),
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
    let (report, ..) = judged(|charged| vec![balances(5_000, 0, charged - 300, 300)]).await;
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
    assert!(held.iter().all(|held| *held == Some(25)) && held.len() > 1);
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
async fn a_run_does_not_begin_when_nobody_says_where_things_stand() {
    let bench = Bench::new(gratis::simulator::Settings { models: vec![model()], ..Default::default() }).await;
    let admin = Admin::new(vec![balances(1, 0, 0, 0)]).await;
    let settings = load::Settings {
        oracle: Some(bench.running.origin().parse().unwrap()),
        admin: Some(admin.url.parse().unwrap()),
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
