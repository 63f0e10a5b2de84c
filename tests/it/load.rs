//! The load client, against the simulator alone.

mod verdict;

use std::time::Duration;

use gratis::load::{self, LoadError, Progress, Report};
use gratis::simulator;
use serde_json::{Value, json};

use crate::simulator::Bench;

/// A setting's name, and a change that spoils it.
type Spoiled = (&'static str, fn(&mut load::Settings));

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
async fn latency_counts_what_the_server_takes() {
    let delays = simulator::Settings { first_delay: Duration::from_millis(30), ..simulator::Settings::default() };
    let bench = Bench::new(delays).await;
    let report = run(load::Settings { requests: Some(8), stream_share: 1.0, ..settings(&bench) }).await;
    for times in [report.latency_ms, report.first_chunk_ms] {
        assert!(times.p50 >= 29.9 && times.max >= times.p50, "{times:?}");
    }

    // Open loop: one caller for ten calls that are all planned at once; the last has waited for nine others.
    let planned = load::Settings { requests: Some(10), concurrency: 1, rate: Some(1e6), ..settings(&bench) };
    let report = run(planned).await;
    assert!(report.latency_ms.max >= 299.0, "counted from the plan: {:?}", report.latency_ms);
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
    // Each target by itself, in the order in which they were named.
    let [live, dead] = &report.targets[..] else { panic!("{:?}", report.targets) };
    assert_eq!((live.requests, live.completed, live.latency_ms.count, live.errors.len()), (30, 30, 30, 0));
    assert_eq!((dead.requests, dead.completed, dead.errors["connection refused"]), (30, 0, 30));
    assert_eq!(
        (live.target.trim_end_matches('/'), dead.target.contains(&free.port().to_string())),
        (&*bench.running.origin(), true)
    );
    assert!(report.rows().iter().any(|(name, text)| *name == dead.target && text.contains("30 x connection refused")));
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
    let changes: [Spoiled; 7] = [
        ("target", |settings| settings.targets.clear()),
        ("target", |settings| settings.targets = vec!["https://127.0.0.1:1".parse().unwrap()]),
        ("model", |settings| settings.models.clear()),
        ("stream-share", |settings| settings.stream_share = 1.1),
        ("rate", |settings| settings.rate = Some(0.0)),
        ("concurrency", |settings| settings.concurrency = 0),
        ("oracle", |settings| settings.admins = vec!["http://127.0.0.1:1".parse().unwrap()]),
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
