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

/// The waves. The simulator keeps one rule a model, so each mode has a model of its own.
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

/// How much is sent.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Of each model.
    pub granted: u64,
    /// Calls of each wave.
    pub requests: u64,
    pub seed: u64,
}

/// What came of it.
pub struct Outcome {
    pub completed: u64,
    pub errors: BTreeMap<String, u64>,
    /// After each wave: what was recorded above the grants, and both ledgers.
    pub waves: Vec<(u64, BTreeMap<String, Line>)>,
}

/// One wave after the other on one ledger.
pub async fn run(program: &Path, plan: Plan) -> Outcome {
    let grants = WAVES[0].map(|(model, _, _)| (model, plan.granted));
    let short = [
        ("GRATIS_UPSTREAM__DEFAULT__HEAD_TIMEOUT", "1s"),
        ("GRATIS_QUOTA__DRAIN_TIME", "1s"),
        ("GRATIS_QUOTA__BUSY_WAIT", "250ms"),
    ];
    let ground = Ground::new(program, &grants, &short);
    let (_serve, _) = ground.serve().await;
    let mut outcome = Outcome { completed: 0, errors: BTreeMap::new(), waves: Vec::new() };
    for (number, wave) in (0..).zip(WAVES) {
        ground.site.behave(&json!({"mode": "none"})).await;
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
            max_tokens: Some(200),
            call_timeout: Duration::from_secs(3),
            seed: plan.seed + number,
            ..load::Settings::default()
        };
        let report = load::run(settings, |_| ()).await.expect("the load begins");
        outcome.completed += report.completed;
        for (kind, count) in report.errors {
            *outcome.errors.entry(kind).or_default() += count;
        }
        let lines = ground.site.settled().await;
        outcome.waves.push((ground.site.overruns().await, lines));
    }
    outcome
}

impl Outcome {
    pub fn show(&self) {
        println!("completed {}, errors {:?}", self.completed, self.errors);
        for ((overruns, lines), wave) in self.waves.iter().zip(WAVES) {
            println!("recorded above the grants so far: {overruns}");
            for (model, mode, share) in wave {
                println!("  {model:<12} {mode:<18} {share:>4}  {:?}", lines[model]);
            }
        }
    }

    /// Truth at most spent and presumed, these at most the grant and what was recorded above it.
    pub fn check(&self) {
        for ((overruns, lines), wave) in self.waves.iter().zip(WAVES) {
            for (model, line) in lines {
                assert!(line.charged <= line.spent + line.presumed, "{wave:?}: {model}: {line:?}");
            }
            let above: u64 = lines.values().map(|line| (line.spent + line.presumed).saturating_sub(line.granted)).sum();
            assert!(above <= *overruns, "{wave:?}: {above} above the grants, {overruns} recorded: {lines:?}");
        }
        let (_, last) = self.waves.last().expect("waves");
        assert!(last.values().all(|line| line.presumed > 0), "a mode did nothing: {last:?}");
        assert!(self.completed > 0);
    }
}
