//! The campaigns in large: kills, crowds and a misbehaving upstream, each judged by the simulator's own ledger.
//!
//! ```text
//! cargo bench --bench kill -- --rounds 200     the kill campaign with so many kills
//! cargo bench --bench kill -- --crowds         64 clients against small grants
//! cargo bench --bench kill -- --trouble        an upstream that misbehaves
//! cargo bench --bench kill -- --all            all of them
//! ```
//!
//! `--seed N` decides what is left to chance, `--program FILE` names another program than the one just built. Without any of
//! them nothing is run, so that the measuring benches stay quick.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a campaign stops where something is not as it should be"
)]

#[path = "../tests/it/campaign_crowd.rs"]
mod campaign_crowd;
#[path = "../tests/it/campaign_kill.rs"]
mod campaign_kill;
#[path = "../tests/it/campaign_site.rs"]
mod campaign_site;
#[path = "../tests/it/campaign_trouble.rs"]
mod campaign_trouble;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What was asked for.
struct Asked {
    program: PathBuf,
    seed: u64,
    rounds: Option<u32>,
    crowds: bool,
    trouble: bool,
}

fn asked() -> Asked {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_gratis"));
    let mut asked = Asked { program, seed: 1, rounds: None, crowds: false, trouble: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("{word} needs a value"));
        match word.as_str() {
            "--rounds" => asked.rounds = Some(value().parse().expect("--rounds is a number")),
            "--seed" => asked.seed = value().parse().expect("--seed is a number"),
            "--program" => asked.program = std::path::absolute(value()).expect("--program is a path"),
            "--crowds" => asked.crowds = true,
            "--trouble" => asked.trouble = true,
            "--all" => {
                asked.rounds = asked.rounds.or(Some(200));
                (asked.crowds, asked.trouble) = (true, true);
            }
            // What cargo itself adds.
            "--bench" => {}
            other => panic!("{other} is not known: --rounds N, --crowds, --trouble, --all, --seed N, --program FILE"),
        }
    }
    asked
}

async fn kills(asked: &Asked, rounds: u32) {
    println!("\n# kills, seed {}", asked.seed);
    let plan = campaign_kill::Plan {
        program: asked.program.clone(),
        rounds,
        seed: asked.seed,
        longest: Duration::from_millis(400),
    };
    let outcome = campaign_kill::run(&plan).await;
    outcome.show();
    outcome.check();
    let (_, longest) = outcome.restart_times();
    assert!(longest < Duration::from_secs(1), "a restart took {longest:?}");
}

async fn crowds(program: &Path, seed: u64) {
    println!("\n# crowds, seed {seed}");
    for (model, granted) in [("qwen-plus", 20_000), ("qwen3.8-max", 200_000), ("qwen-flash", 2_000_000)] {
        for worst in [false, true] {
            let plan = campaign_crowd::Plan { model, granted, worst, requests: 2_000, seed };
            let outcome = campaign_crowd::run(program, plan).await;
            outcome.show(plan);
            outcome.check(plan);
        }
    }
}

async fn trouble(program: &Path, seed: u64) {
    println!("\n# trouble, seed {seed}");
    for granted in [60_000, 2_000_000] {
        let plan = campaign_trouble::Plan { granted, requests: 3_000, seed };
        for outcome in campaign_trouble::run(program, plan).await {
            outcome.show();
            outcome.check();
        }
    }
}

fn main() {
    let asked = asked();
    let since = Instant::now();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        if let Some(rounds) = asked.rounds {
            kills(&asked, rounds).await;
        }
        if asked.crowds {
            crowds(&asked.program, asked.seed).await;
        }
        if asked.trouble {
            trouble(&asked.program, asked.seed).await;
        }
    });
    if asked.rounds.is_none() && !asked.crowds && !asked.trouble {
        println!("No campaign was asked for: --rounds N, --crowds, --trouble or --all.");
    } else {
        println!("\nAll campaigns passed, in {:.0} s.", since.elapsed().as_secs_f64());
    }
}
