//! The kill campaign: `gratis serve` is killed at random instants under load, and the simulator, which lives on, judges.
//!
//! One load of streamed and plain calls runs through all rounds, restarts included; a fifth of its clients go away by themselves.
//! After the last round the grants are used up, so that what the kills left as presumed cannot be read as quota.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use gratis::load::{self, Report};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::campaign_site::{Ground, Line, MINIMAL};

/// How much is killed.
pub struct Plan {
    pub program: PathBuf,
    pub rounds: u32,
    pub seed: u64,
    /// The longest life of a server from ready to its kill.
    pub longest: Duration,
}

/// What came of it.
pub struct Outcome {
    pub rounds: u32,
    pub report: Report,
    /// From the start of the program until it was ready, each time.
    pub restarts: Vec<Duration>,
    /// When the last round was over.
    pub killed: BTreeMap<String, Line>,
    /// When the grants were used up.
    pub used_up: BTreeMap<String, Line>,
}

/// Models of the catalogue with a sound bound.
const MODELS: [&str; 4] = ["qwen-plus", "qwen-max", "qwen-flash", "qwen-turbo"];
/// What a round may take of each grant: 32 holds presumed, and what is settled in its time.
const A_ROUND: u64 = 20_000;

/// Kills and starts again, so many times.
pub async fn run(plan: &Plan) -> Outcome {
    let granted = A_ROUND * u64::from(plan.rounds.max(10));
    let grants = MODELS.map(|model| (model, granted));
    let ground = Ground::new(&plan.program, &grants, &[]);
    let settings = load::Settings {
        targets: vec![ground.site.origin.parse().unwrap()],
        key: ground.site.key.clone(),
        models: MODELS.map(str::to_owned).to_vec(),
        requests: Some(u64::MAX),
        concurrency: 32,
        stream_share: 0.5,
        abort_share: 0.2,
        // Named, so that a kill presumes little and the grant lasts for all rounds.
        max_tokens: Some(200),
        call_timeout: Duration::from_secs(20),
        seed: plan.seed,
        ..load::Settings::default()
    };
    let stop = settings.stop.clone();
    let rounds = async {
        let mut chance = StdRng::seed_from_u64(plan.seed);
        let mut restarts = Vec::new();
        for _ in 0..plan.rounds {
            let (serve, took) = ground.serve().await;
            restarts.push(took);
            tokio::time::sleep(plan.longest.mul_f64(chance.random_range(0.0..=1.0))).await;
            serve.kill();
        }
        stop.cancel();
        restarts
    };
    let (report, mut restarts) = tokio::join!(load::run(settings, |_| ()), rounds);
    let (_serve, took) = ground.serve().await;
    restarts.push(took);
    let killed = ground.site.settled().await;
    for model in MODELS {
        ground.site.use_up(model).await;
    }
    let used_up = ground.site.settled().await;
    Outcome { rounds: plan.rounds, report: report.expect("the load begins"), restarts, killed, used_up }
}

impl Outcome {
    /// The middle one and the longest of the restarts.
    pub fn restart_times(&self) -> (Duration, Duration) {
        let mut sorted = self.restarts.clone();
        sorted.sort_unstable();
        (sorted[sorted.len() / 2], *sorted.last().expect("it was started"))
    }

    /// The table.
    pub fn show(&self) {
        let sum = |lines: &BTreeMap<String, Line>, of: fn(&Line) -> u64| lines.values().map(of).sum::<u64>();
        println!("rounds               {}", self.rounds);
        println!("calls begun          {}", self.report.requests);
        println!("calls completed      {}", self.report.completed);
        println!("calls aborted        {}", self.report.aborted);
        for (kind, count) in &self.report.errors {
            println!("error: {kind:<30} {count}");
        }
        for (when, lines) in [("after the kills", &self.killed), ("used up", &self.used_up)] {
            println!("{when}:");
            println!("  calls charged      {}", sum(lines, |line| line.calls));
            println!("  tokens charged     {}", sum(lines, |line| line.charged));
            println!("  tokens granted     {}", sum(lines, |line| line.granted));
            println!("  tokens spent       {}", sum(lines, |line| line.spent));
            println!("  tokens presumed    {}", sum(lines, |line| line.presumed));
            println!("  tokens left        {}", sum(lines, Line::left));
            println!("  overspent tokens   {}", sum(lines, Line::overspent));
            println!("  ledger drift       {}", sum(lines, Line::drift));
        }
        let (middle, longest) = self.restart_times();
        println!("restart p50 / max    {} / {} ms", middle.as_millis(), longest.as_millis());
        let mut slowest: Vec<(u128, usize)> = self.restarts.iter().map(Duration::as_millis).zip(0..).collect();
        slowest.sort_unstable_by(|one, other| other.cmp(one));
        slowest.truncate(5);
        println!("slowest, (ms, round) {slowest:?}");
    }

    /// Stops where the two ledgers do not agree, or where a kill made quota out of nothing.
    pub fn check(&self) {
        for lines in [&self.killed, &self.used_up] {
            for (model, line) in lines {
                assert_eq!((line.overspent(), line.drift()), (0, 0), "{model}: {line:?}");
                assert!(line.spent + line.presumed <= line.granted, "{model}: {line:?}");
            }
        }
        for model in MODELS {
            let line = self.used_up[model];
            assert!(line.left() < MINIMAL, "{model} was refused with that much left: {line:?}");
            assert!(line.left() * 20 <= line.granted, "{model}: less than 95 % is spent or presumed: {line:?}");
            // Otherwise nobody was there to be killed.
            assert!(line.spent > 0 && self.killed[model].calls > 0, "{model}: {line:?}");
        }
        let presumed: u64 = self.killed.values().map(|line| line.presumed).sum();
        assert!(presumed > 0, "no kill met a call in progress");
        assert!(self.report.completed > u64::from(self.rounds), "next to no call went through");
    }
}
