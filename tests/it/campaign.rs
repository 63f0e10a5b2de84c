//! The campaigns in small; `make faults` kills a server in large.

use std::path::Path;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;
use tokio::task::JoinSet;

use crate::campaign_site::Ground;
use crate::{campaign_crowd, campaign_kill, campaign_trouble};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_gratis"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_forgets_nothing_and_spends_nothing_twice() {
    let plan =
        campaign_kill::Plan { program: program().to_owned(), rounds: 10, seed: 1, longest: Duration::from_millis(400) };
    let outcome = campaign_kill::run(&plan).await;
    outcome.show();
    outcome.check();
}

async fn crowd(model: &'static str, granted: u64, worst: bool) {
    let plan = campaign_crowd::Plan { model, granted, worst, requests: 192, seed: 1 };
    let outcome = campaign_crowd::run(program(), plan).await;
    outcome.show(plan);
    outcome.check(plan);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_uses_a_small_grant_up_and_no_more() {
    crowd("qwen-plus", 20_000, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_uses_a_small_grant_up_and_no_more_at_the_worst() {
    crowd("qwen-plus", 20_000, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_thinkers_uses_a_grant_up_and_no_more() {
    crowd("qwen3.8-max", 60_000, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_thinkers_uses_a_grant_up_and_no_more_at_the_worst() {
    crowd("qwen3.8-max", 200_000, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_misbehaves_is_never_undercounted() {
    let plan = campaign_trouble::Plan { granted: 60_000, requests: 500, seed: 1 };
    for outcome in campaign_trouble::run(program(), plan).await {
        outcome.show();
        outcome.check();
    }
}

/// Calls without a bound of their own, several at a time, until each of the callers was refused for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_million_tokens_99_of_100_are_used_before_the_last_refusal() {
    const GRANTED: u64 = 1_000_000;
    let ground = Ground::new(program(), &[("qwen-plus", GRANTED)], &[]);
    let (_process, site) = (ground.serve().await.0, ground.site.clone());
    let mut callers = JoinSet::new();
    for caller in 0..16 {
        let site = site.clone();
        callers.spawn(async move {
            let text = format!("Story {caller}, please. [[sim:answer=700]]");
            let body = json!({"model": "qwen-plus", "messages": [{"role": "user", "content": text}]});
            let url = format!("{}/v1/chat/completions", site.origin);
            loop {
                match site.wire.ask(Method::POST, &url, &site.key, &body).await.expect("it answers").0 {
                    StatusCode::OK => {}
                    // Calls in progress hold the rest: it may be free again in a moment.
                    StatusCode::TOO_MANY_REQUESTS => tokio::time::sleep(Duration::from_millis(20)).await,
                    StatusCode::FORBIDDEN => return,
                    other => panic!("{other}"),
                }
            }
        });
    }
    callers.join_all().await;
    let line = site.settled().await["qwen-plus"];
    println!("{} calls used {} of {GRANTED} tokens before the last refusal", line.calls, line.charged);
    assert_eq!((line.overspent(), line.drift(), line.presumed), (0, 0, 0), "{line:?}");
    assert!(line.charged * 100 >= GRANTED * 99, "{line:?}");
}
