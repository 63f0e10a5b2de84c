//! The campaigns in small; `make faults` kills a server in large.

use std::path::Path;
use std::time::Duration;

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
