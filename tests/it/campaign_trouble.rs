//! An upstream that misbehaves under load: what it charged is never more than what is spent or presumed, and that is never
//! more than the grant and the overruns that were recorded.
//!
//! `lie-low` is left out on purpose: usage below the truth that looks sound cannot be seen from outside, so that no proxy
//! covers it; the provider's own switch is the second line there.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use gratis::load;
use serde_json::json;

use crate::campaign_site::{Ground, Line};

/// Who misbehaves how in one wave: the model, the mode and its share.
type Wave = [(&'static str, &'static str, f64); 5];

/// The waves, each on a ledger of its own. The simulator keeps one rule a model, so each mode has a model of its own. Each wave
/// has a mode that leaves the usage unknown.
const WAVES: [Wave; 4] = [
    [
        ("qwen-plus", "reset-mid-stream", 0.1),
        ("qwen-max", "cut", 0.1),
        ("qwen-flash", "never-answer", 0.02),
        ("qwen-turbo", "rate-limit", 0.1),
        ("qwen3-max", "internal-error", 0.1),
    ],
    [
        ("qwen-plus", "truncate", 0.1),
        ("qwen-max", "error-mid-stream", 0.1),
        ("qwen-flash", "hang-mid-stream", 0.02),
        ("qwen-turbo", "reset-before-head", 0.1),
        ("qwen3-max", "error-html", 0.1),
    ],
    [
        ("qwen-plus", "no-usage", 0.1),
        ("qwen-max", "garbage", 0.1),
        ("qwen-flash", "negative-usage", 0.1),
        ("qwen-turbo", "wrong-length", 0.1),
        ("qwen3-max", "double-usage", 0.3),
    ],
    [
        ("qwen-plus", "ignore-clamp", 0.1),
        ("qwen-max", "float-usage", 0.1),
        ("qwen-flash", "think-past", 0.1),
        ("qwen-turbo", "gzip-stream", 0.3),
        ("qwen3-max", "split", 0.3),
    ],
];

/// An upstream that takes no notice of any bound, against a small grant and calls that name no bound: more is charged than was
/// held, and more than was granted.
const BEYOND: Wave = [
    ("qwen-plus", "ignore-clamp", 1.0),
    ("qwen-max", "ignore-clamp", 1.0),
    ("qwen-flash", "ignore-clamp", 1.0),
    ("qwen-turbo", "float-usage", 1.0),
    ("qwen3-max", "ignore-clamp", 0.5),
];
/// Two calls with the floor of what a silent call holds.
const BEYOND_GRANTED: u64 = 20_000;

/// How much is sent.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Of each model.
    pub granted: u64,
    /// Calls of each wave.
    pub requests: u64,
    pub seed: u64,
}

/// What came of one wave.
pub struct Outcome {
    /// Whether the upstream was made to take more than was granted.
    beyond: bool,
    wave: Wave,
    completed: u64,
    errors: BTreeMap<String, u64>,
    /// What was recorded above the grants.
    overruns: u64,
    lines: BTreeMap<String, Line>,
}

/// Every wave.
pub async fn run(program: &Path, plan: Plan) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for wave in WAVES {
        outcomes.push(one(program, plan, wave, false).await);
    }
    outcomes.push(one(program, Plan { granted: BEYOND_GRANTED, ..plan }, BEYOND, true).await);
    outcomes
}

async fn one(program: &Path, plan: Plan, wave: Wave, beyond: bool) -> Outcome {
    let grants = wave.map(|(model, _, _)| (model, plan.granted));
    let short = [
        ("GRATIS_UPSTREAM__DEFAULT__HEAD_TIMEOUT", "4s"),
        ("GRATIS_QUOTA__DRAIN_TIME", "4s"),
        ("GRATIS_QUOTA__BUSY_WAIT", "250ms"),
    ];
    let ground = Ground::new(program, &grants, &short);
    let (_serve, _) = ground.serve().await;
    for (model, mode, share) in wave {
        ground.site.behave(&json!({"mode": mode, "model": model, "share": share})).await;
    }
    let settings = load::Settings {
        targets: vec![ground.site.origin.parse().unwrap()],
        key: ground.site.key.clone(),
        models: wave.map(|(model, _, _)| model.to_owned()).to_vec(),
        requests: Some(plan.requests),
        concurrency: 32,
        stream_share: 0.5,
        abort_share: 0.1,
        max_tokens: (!beyond).then_some(200),
        // Less than any limit of the server: who hangs is left by the client, and drained in vain.
        call_timeout: Duration::from_secs(8),
        seed: plan.seed,
        ..load::Settings::default()
    };
    let report = load::run(settings, |_| ()).await.expect("the load begins");
    let lines = ground.site.settled().await;
    let overruns = ground.site.overruns().await;
    Outcome { beyond, wave, completed: report.completed, errors: report.errors, overruns, lines }
}

impl Outcome {
    pub fn show(&self) {
        println!("completed {}, recorded above the grants {}, errors {:?}", self.completed, self.overruns, self.errors);
        for (model, mode, share) in self.wave {
            let line = self.lines[model];
            println!(
                "  {model:<11} {mode:<18} {share:<4}  charged {} in {} calls, spent {}, presumed {}, granted {}",
                line.charged, line.calls, line.spent, line.presumed, line.granted
            );
        }
    }

    /// Truth at most spent and presumed, these at most the grant and what was recorded above it.
    pub fn check(&self) {
        let mut above = 0;
        for (model, mode, _) in self.wave {
            let line = self.lines[model];
            assert!(line.calls > 0, "{mode}: nobody called");
            assert!(line.charged <= line.spent + line.presumed, "{mode}: more was charged than is known: {line:?}");
            assert!(line.spent <= line.charged, "{mode}: more is said to be spent than was charged: {line:?}");
            above += (line.spent + line.presumed).saturating_sub(line.granted);
        }
        assert!(above <= self.overruns, "{above} above the grants, {} recorded: {:?}", self.overruns, self.lines);
        assert!(!self.beyond || self.overruns > 0, "nothing above the grants: {:?}", self.lines);
        assert!(self.lines.values().any(|line| line.presumed > 0), "no mode did anything: {:?}", self.lines);
        assert!(self.completed > 0, "{:?}", self.errors);
    }
}
