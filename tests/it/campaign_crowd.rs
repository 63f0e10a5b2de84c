//! The crowd: 64 clients at a time against a small grant, streamed and plain mixed, some of which go away, until it is used up.

use std::path::Path;
use std::time::Duration;

use gratis::load;

use crate::campaign_site::{Line, MINIMAL, demo};

/// One crowd.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub model: &'static str,
    pub granted: u64,
    /// The simulator charges the most that each call can cost.
    pub worst: bool,
    /// Calls of one wave; waves follow each other until the free quota is refused.
    pub requests: u64,
    pub seed: u64,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    pub completed: u64,
    pub aborted: u64,
    pub busy: u64,
    /// What was still open when the crowd had gone and nothing was held.
    pub left_by_crowd: u64,
    pub line: Line,
}

/// Sends crowds until the grant is used up, and then one client after the last tokens.
pub async fn run(program: &Path, plan: Plan) -> Outcome {
    let folder = tempfile::tempdir().expect("a folder");
    let (_demo, site) = demo(program, &folder, (plan.model, plan.granted), plan.worst);
    let (mut completed, mut aborted, mut busy) = (0, 0, 0);
    for wave in 0..1_000 {
        let settings = load::Settings {
            targets: vec![site.origin.parse().unwrap()],
            key: site.key.clone(),
            models: vec![plan.model.to_owned()],
            requests: Some(plan.requests),
            concurrency: 64,
            stream_share: 0.5,
            abort_share: 0.2,
            prompt_bytes: 64,
            call_timeout: Duration::from_secs(30),
            seed: plan.seed + wave,
            ..load::Settings::default()
        };
        let report = load::run(settings, |_| ()).await.expect("the load begins");
        completed += report.completed;
        aborted += report.aborted;
        busy += report.errors.iter().filter(|(kind, _)| kind.starts_with("429")).map(|(_, count)| count).sum::<u64>();
        for kind in report.errors.keys() {
            let expected = kind.starts_with("429") || kind == "403 AllocationQuota.FreeTierOnly";
            assert!(expected, "{plan:?}, wave {wave}: {:?}", report.errors);
        }
        if report.errors.keys().any(|kind| kind.starts_with("403")) {
            break;
        }
    }
    let left_by_crowd = site.settled().await[plan.model].left();
    completed += site.use_up(plan.model).await;
    let line = site.settled().await[plan.model];
    Outcome { completed, aborted, busy, left_by_crowd, line }
}

impl Outcome {
    pub fn show(&self, plan: Plan) {
        let line = self.line;
        println!(
            "{}{}: granted {}, charged {} in {} calls, spent {}, presumed {}, held {}, left {} (by the crowd {})",
            plan.model,
            if plan.worst { " --worst" } else { "" },
            line.granted,
            line.charged,
            line.calls,
            line.spent,
            line.presumed,
            line.held,
            line.left(),
            self.left_by_crowd,
        );
        println!(
            "  completed {}, aborted {}, told to come back (429) {}, overspent {}, drift {}",
            self.completed,
            self.aborted,
            self.busy,
            line.overspent(),
            line.drift()
        );
    }

    /// Stops where a token is lost or made.
    pub fn check(&self, plan: Plan) {
        let line = self.line;
        assert_eq!((line.overspent(), line.drift(), line.held), (0, 0, 0), "{plan:?}: {line:?}");
        assert!(line.left() < MINIMAL, "{plan:?}: refused with that much left: {line:?}");
        assert!(line.spent + line.presumed <= line.granted, "{plan:?}: {line:?}");
        assert!(self.completed > 0, "{plan:?}: {self:?}");
    }
}
