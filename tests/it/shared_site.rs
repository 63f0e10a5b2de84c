//! What the runs of the shared store stand on: three replicas of the real program, each with a state folder of its own, one Redis, and
//! the simulator, whose ledger is the truth.
//!
//! Shared by the runs, so nothing here is a test.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use gratis::load::{self, Report};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::campaign_process::Process;
use crate::campaign_site::{Ground, Line, MINIMAL, Site};
use crate::support::PATIENCE;

/// The model whose grant is used up.
const MODEL: &str = "qwen-plus";
/// Calls a second over all replicas. Open loop: a store that refuses at once does not make the load heavier.
const RATE: f64 = 90.0;
/// What is granted besides the rounds, and for one round: more than it takes on a slow machine too, so that a grant which is used up
/// is never taken for a store that lets nothing through. The end of a run uses up what is left.
const BASE: u64 = 400_000;
const A_ROUND: u64 = 2_000_000;

/// How often a fault comes: once, or as often as `GRATIS_SHARED_ROUNDS` says (`make faults` sets it).
pub fn rounds() -> u32 {
    std::env::var("GRATIS_SHARED_ROUNDS").map_or(1, |text| text.parse().expect("a number of rounds"))
}

/// Three replicas on one store, and the load on all of them.
pub struct Trio {
    pub grounds: Vec<Ground>,
    pub replicas: Vec<Option<Process>>,
    load: Option<JoinHandle<Report>>,
    stop: CancellationToken,
    times: Vec<(&'static str, Duration)>,
}

impl Trio {
    /// A new ledger at this address, its replicas ready, and the load begun.
    pub async fn start(url: &str) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_gratis"));
        let granted = BASE + A_ROUND * u64::from(rounds());
        let ground = Ground::new(program, &[(MODEL, granted)], &[("GRATIS_STORE__URL", url)]);
        let grounds = vec![ground.sibling(), ground.sibling(), ground];
        let mut trio =
            Self { grounds, replicas: Vec::new(), load: None, stop: CancellationToken::new(), times: Vec::new() };
        for ground in &trio.grounds {
            trio.replicas.push(Some(ground.serve().await.0));
        }
        let settings = load::Settings {
            targets: trio.grounds.iter().map(|ground| ground.site.origin.parse().unwrap()).collect(),
            key: trio.site().key.clone(),
            models: vec![MODEL.to_owned()],
            duration: Some(Duration::from_secs(86_400)),
            concurrency: 24,
            rate: Some(RATE),
            max_tokens: Some(200),
            call_timeout: Duration::from_secs(20),
            stop: trio.stop.clone(),
            ..load::Settings::default()
        };
        trio.load = Some(tokio::spawn(async { load::run(settings, |_| ()).await.expect("the load begins") }));
        trio.run().await;
        trio
    }

    fn site(&self) -> &Site {
        &self.grounds[0].site
    }

    /// Some undisturbed load.
    pub async fn run(&self) {
        let calls = self.calls().await;
        let since = Instant::now();
        while self.calls().await < calls + 40 {
            assert!(since.elapsed() < PATIENCE, "no calls go through: {:?}", probe(self.site()).await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// How many calls reached the upstream.
    async fn calls(&self) -> u64 {
        let url = format!("{}/ledger", self.site().simulator);
        let (_, body) = self.site().wire.ask(Method::GET, &url, "", &Value::Null).await.expect("the simulator answers");
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        body["models"][MODEL]["calls"].as_u64().unwrap_or(0)
    }

    /// Waits until each replica refuses for want of the store. Notes how long after the fault the last one did, and the longest that a
    /// refused call took.
    pub async fn refuses(&mut self) {
        let since = Instant::now();
        let each = self.grounds.iter().map(|ground| async {
            let mut longest = Duration::ZERO;
            let mut first = None;
            for _ in 0..1_000 {
                let begun = Instant::now();
                let (status, code) = probe(&ground.site).await;
                if status == StatusCode::SERVICE_UNAVAILABLE {
                    assert_eq!(code, "gratis_store_unavailable");
                    longest = longest.max(begun.elapsed());
                    let first = *first.get_or_insert(since.elapsed());
                    if since.elapsed() > first + Duration::from_millis(500) {
                        return (first, longest);
                    }
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            panic!("it goes on without the store: {}", ground.log());
        });
        for (first, longest) in join_all(each).await {
            self.times.push(("refused after", first));
            self.times.push(("refusal takes", longest));
        }
    }

    /// Waits until each replica lets calls through again, and notes how long it took.
    pub async fn recovers(&mut self) {
        let since = Instant::now();
        for ground in &self.grounds {
            let mut last;
            while {
                last = probe(&ground.site).await;
                last.0 != StatusCode::OK
            } {
                if since.elapsed() > PATIENCE {
                    let (_, ready) = ground
                        .site
                        .wire
                        .ask(Method::GET, &format!("{}/readyz?verbose", ground.site.admin), "", &Value::Null)
                        .await
                        .expect("readyz");
                    panic!("it does not go on: {last:?}, {}, {}", String::from_utf8_lossy(&ready), ground.log());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        self.times.push(("recovered after", since.elapsed()));
    }

    /// `gratis store resume`.
    pub async fn resume(&self) {
        self.grounds[0].must(&["store", "resume", "--yes"]).await;
    }

    /// SIGTERM to each replica that runs.
    pub async fn stop(&mut self) {
        for replica in &mut self.replicas {
            if let Some(replica) = replica.take() {
                self.times.push(("stopped in", replica.stop().await));
            }
        }
    }

    /// Starts each replica that does not run.
    pub async fn start_again(&mut self) {
        for (replica, ground) in self.replicas.iter_mut().zip(&self.grounds) {
            if replica.is_none() {
                *replica = Some(ground.serve().await.0);
            }
        }
    }

    /// Stops the replicas, makes the ledger again from their journals, and starts them.
    pub async fn rebuild(&mut self) {
        self.stop().await;
        let journals: Vec<PathBuf> = self.grounds.iter().map(journal).collect();
        let mut words = vec!["store", "rebuild", "--yes"];
        words.extend(journals.iter().map(|file| file.to_str().expect("UTF-8")));
        self.grounds[0].must(&words).await;
        self.start_again().await;
    }

    /// How many settlements wait in the journals of the replicas.
    pub fn parked(&self) -> u64 {
        let count = |ground: &Ground| -> u64 {
            let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
            let file = rusqlite::Connection::open_with_flags(journal(ground), flags).expect("a journal");
            let count = file.query_row("SELECT count(*) FROM parked", (), |row| row.get::<_, i64>(0));
            u64::try_from(count.expect("its parked settlements")).expect("a count")
        };
        self.grounds.iter().map(count).sum()
    }

    pub fn note(&mut self, what: &'static str, time: Duration) {
        self.times.push((what, time));
    }

    /// Ends the load, uses the grant up, and compares the two ledgers.
    pub async fn finish(mut self, name: &str) -> Line {
        self.run().await;
        self.stop.cancel();
        let report = self.load.take().expect("a load").await.expect("the load ends");
        let before = self.site().settled().await[MODEL];
        for ground in &self.grounds {
            ground.site.use_up(MODEL).await;
        }
        let line = self.site().settled().await[MODEL];
        println!(
            "{name}: calls {} (load completed {} of {}), charged {}, spent {}, presumed {}, granted {}, overspent {}, drift {}",
            line.calls,
            report.completed,
            report.requests,
            line.charged,
            line.spent,
            line.presumed,
            line.granted,
            line.overspent(),
            line.drift()
        );
        println!("{name}: times {:?}", self.worst());
        println!("{name}: errors {:?}", report.errors);
        let refused_for_good = report.errors.keys().find(|error| error.starts_with('4'));
        assert_eq!(refused_for_good, None, "a fault of the store was told as a fault of the client");
        for line in [before, line] {
            assert_eq!((line.overspent(), line.drift()), (0, 0), "{line:?}");
            assert!(line.spent + line.presumed <= line.granted, "{line:?}");
        }
        assert!(line.left() < MINIMAL && line.left() * 20 <= line.granted, "refused with that much left: {line:?}");
        assert!(report.completed >= 80, "next to no call went through: {report:?}");
        line
    }

    /// The longest of each time.
    fn worst(&self) -> Vec<(&'static str, Duration)> {
        let mut worst: Vec<(&'static str, Duration)> = Vec::new();
        for &(what, time) in &self.times {
            match worst.iter_mut().find(|(known, _)| *known == what) {
                Some((_, longest)) => *longest = time.max(*longest),
                None => worst.push((what, time)),
            }
        }
        worst
    }
}

fn journal(ground: &Ground) -> PathBuf {
    ground.state().join("replica.db")
}

/// One small call: the status and the error's code.
async fn probe(site: &Site) -> (StatusCode, String) {
    let url = format!("{}/compatible-mode/v1/chat/completions", site.origin);
    let body = json!({"model": MODEL, "max_tokens": 16, "messages": [{"role": "user", "content": "hi"}]});
    let (status, body) = site.wire.ask(Method::POST, &url, &site.key, &body).await.expect("it answers");
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    (status, body["error"]["code"].as_str().unwrap_or_default().to_owned())
}
