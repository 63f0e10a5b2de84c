//! Notices against real receivers: an HTTP server that checks signatures, and a mail server as a process of its own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use bytes::Bytes;
use gratis::ledger::{AccountId, GrantId, Operation};
use gratis::notify::{self, Known, MailSettings, MailTls, Notifier, WebhookSettings, sign};
use gratis::store::LedgerStore;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::admin::office::{DAY, Office, rules};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const KEY: [u8; 24] = [
    0x31, 0xf2, 0x90, 0xf6, 0xbf, 0x06, 0x29, 0x8a, 0xab, 0x4f, 0x08, 0xd4, 0x3c, 0x3f, 0x08, 0x2c, 0xf6, 0x48, 0xa3,
    0x62, 0xda, 0x2d, 0xa4, 0xb0,
];

/// What a receiver got.
#[derive(Clone, Default)]
struct Receiver {
    got: Arc<Mutex<Vec<(String, Value)>>>,
    /// How many it refuses first.
    refuse: Arc<AtomicU32>,
    refused: Arc<Mutex<Vec<String>>>,
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    let id = text("webhook-id");
    let signed = sign(&KEY, &id, text("webhook-timestamp").parse().unwrap(), &body);
    if text("webhook-signature") != signed {
        return StatusCode::UNAUTHORIZED;
    }
    if receiver.refuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
        receiver.refused.lock().unwrap().push(id);
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    receiver.got.lock().unwrap().push((id, serde_json::from_slice(&body).unwrap()));
    StatusCode::NO_CONTENT
}

impl Receiver {
    async fn start() -> (Self, http::Uri) {
        let receiver = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap()).parse().unwrap();
        let router = Router::new().route("/hook", post(receive)).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (receiver, url)
    }

    /// The types of what it got.
    fn types(&self) -> Vec<String> {
        self.got.lock().unwrap().iter().map(|(_, body)| body["type"].as_str().unwrap().to_owned()).collect()
    }
}

fn notifier(office: &Office, url: Option<&http::Uri>, mail: Option<MailSettings>) -> Notifier {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let webhook =
        url.map(|url| WebhookSettings { url: url.clone(), secret: Zeroizing::new(SECRET.to_owned()), ca_file: None });
    let settings = notify::Settings { check_every: Duration::from_secs(10), mail, webhook };
    let known = || Known { catalogue: rules().catalogue, sites: rules().sites };
    let (store, notes) = (Arc::clone(&office.state.store), Arc::clone(&office.state.notes));
    Notifier::new(&settings, store, notes, Arc::new(known), office.clock.clone()).unwrap()
}

#[tokio::test]
async fn each_crossing_is_told_once() {
    let office = Office::new().await;
    let (receiver, url) = Receiver::start().await;
    let (one, two) = (notifier(&office, Some(&url), None), notifier(&office, Some(&url), None));
    office.grant("qwen-max").await;
    let (key, _) = office.key().await;
    one.look().await.unwrap();
    assert!(receiver.types().is_empty());
    office.spend(&key, "qwen-max", 799_999, Some(799_999)).await;
    one.look().await.unwrap();
    assert!(receiver.types().is_empty(), "20.0001 % are left");
    // A hold of a call in progress is no use.
    office.spend(&key, "qwen-max", 1, Some(1)).await;
    let open = office.spend(&key, "qwen-max", 200_000, None).await;
    // Several replicas look at the same time.
    let more: Vec<Notifier> = (0..6).map(|_| notifier(&office, Some(&url), None)).collect();
    let looks = [&one, &two].into_iter().chain(&more).map(Notifier::look);
    for looked in futures_util::future::join_all(looks).await {
        looked.unwrap();
    }
    assert_eq!(receiver.types(), ["free_quota.remaining-20"]);
    let usage = gratis::ledger::Usage { input: 200_000, output: 0 };
    let resolution = gratis::ledger::Resolution::Settle(usage);
    office.store.resolve(&AccountId::from("default"), open, resolution, None).await.unwrap();
    for _ in 0..3 {
        let (a, b) = tokio::join!(one.look(), two.look());
        a.and(b).unwrap();
        office.clock.advance(DAY / 2);
    }
    assert_eq!(receiver.types(), ["free_quota.remaining-20", "free_quota.used-up"]);
    let got = receiver.got.lock().unwrap().clone();
    let first = &got[0].1["data"];
    assert_eq!(
        (&first["left"], &first["granted"], &first["models"]),
        (&json!(200_000), &json!(1_000_000), &json!(["qwen-max"]))
    );
    assert_eq!(
        (&first["account"], &first["mark"], &first["value"]),
        (&json!("default"), &json!("remaining"), &json!(20))
    );
    assert!(got[0].1["text"].as_str().unwrap().contains("gratis model list"));
    assert_ne!(got[0].0, got[1].0);
}

#[tokio::test]
async fn what_is_not_taken_is_told_again_with_the_same_id() {
    let office = Office::new().await;
    let (receiver, url) = Receiver::start().await;
    receiver.refuse.store(2, Ordering::SeqCst);
    let (one, two) = (notifier(&office, Some(&url), None), notifier(&office, Some(&url), None));
    office.grant("qwen-max").await;
    let (key, _) = office.key().await;
    office.spend(&key, "qwen-max", 1_000_000, Some(1_000_000)).await;
    for step in [0, 10_000, 25_000, 70_000, 400_000] {
        office.clock.advance(step);
        let (a, b) = tokio::join!(one.look(), two.look());
        a.and(b).unwrap();
    }
    // Used up includes "20 % or less": only the graver one is told.
    assert_eq!(receiver.types(), ["free_quota.used-up"]);
    let refused = receiver.refused.lock().unwrap().clone();
    assert_eq!(refused.len(), 2);
    assert!(refused.iter().all(|id| *id == receiver.got.lock().unwrap()[0].0), "{refused:?}");
}

#[tokio::test]
async fn what_is_given_back_can_be_used_up_again() {
    let office = Office::new().await;
    let (receiver, url) = Receiver::start().await;
    let one = notifier(&office, Some(&url), None);
    office.grant("qwen-max").await;
    let (key, _) = office.key().await;
    let account = AccountId::from("default");
    for round in 1..=2 {
        office.spend(&key, "qwen-max", 900_000, Some(900_000)).await;
        one.look().await.unwrap();
        one.look().await.unwrap();
        assert_eq!(receiver.types().len(), round);
        let sync = Operation::Sync { pool: "qwen-max".into(), grant: GrantId(1), remaining: 1_000_000, raise: true };
        office.store.operate(&account, sync).await.unwrap();
        one.look().await.unwrap();
        office.clock.advance(1_000);
    }
}

#[tokio::test]
async fn an_end_that_comes_near_is_told_and_each_account_chooses() {
    let office = Office::new().await;
    let (receiver, url) = Receiver::start().await;
    let one = notifier(&office, Some(&url), None);
    for model in ["qwen-max", "shared", "qwen-turbo"] {
        office.grant(model).await;
    }
    let notices = "/admin/v1/accounts/default";
    let choice = json!({ "days_before_end": [10, 3] });
    office.call("PUT", &format!("{notices}/models/shared/notices"), choice).await.ok();
    office.call("PUT", &format!("{notices}/models/qwen-turbo/notices"), json!({ "on": false })).await.ok();
    let shown = office.get(&format!("{notices}/models/shared/notices")).await;
    assert_eq!((&shown["days_before_end"], &shown["remaining_percent"]), (&json!([10, 3]), &json!([20, 0])));
    // All grants end after 90 days, that of qwen-turbo after 30.
    for day in 0..90 {
        one.look().await.unwrap();
        let told = receiver.types().len();
        let wanted = if day < 80 {
            0
        } else if day < 83 {
            1
        } else if day < 87 {
            2
        } else {
            3
        };
        assert_eq!(told, wanted, "day {day}: {:?}", receiver.types());
        office.clock.advance(DAY);
    }
    assert_eq!(receiver.types(), ["free_quota.ending-10", "free_quota.ending-7", "free_quota.ending-3"]);
    // Whoever wants none gets none.
    office.call("PUT", &format!("{notices}/notices"), json!({ "on": false })).await.ok();
    office.grant("qwen-max").await;
    let (key, _) = office.key().await;
    office.spend(&key, "qwen-max", 1_000_000, Some(1_000_000)).await;
    one.look().await.unwrap();
    assert_eq!(receiver.types().len(), 3);
    let wrong = json!({ "remaining_percent": [100] });
    office.call("PUT", &format!("{notices}/notices"), wrong).await.is_problem(400, "invalid_body");
}

/// The mail server; it is killed when dropped.
struct MailSink {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    port: u16,
}

impl MailSink {
    fn start(refuse: u32) -> Self {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("target/operations-venv/bin/python");
        assert!(python.exists(), "{} is missing: run `make tools` first", python.display());
        let mut child = Command::new(python)
            .arg(root.join("tests/operations/mail_sink.py"))
            .arg(refuse.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        Self { child, lines, port: u16::try_from(first["port"].as_u64().unwrap()).unwrap() }
    }

    fn next(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }

    fn settings(&self) -> MailSettings {
        MailSettings {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            tls: MailTls::Off,
            ca: None,
            credentials: None,
            from: "Gratis <gratis@example.com>".to_owned(),
            to: vec!["ops@example.com".to_owned(), "mei@example.com".to_owned()],
        }
    }
}

impl Drop for MailSink {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_takes_a_notice_once_and_after_it_was_busy() {
    let office = Office::new().await;
    let mut sink = MailSink::start(1);
    let one = notifier(&office, None, Some(sink.settings()));
    office.grant("qwen-max").await;
    let (key, _) = office.key().await;
    office.spend(&key, "qwen-max", 850_000, Some(850_000)).await;
    one.look().await.unwrap();
    assert_eq!(sink.next(), json!({ "refused": true }));
    one.look().await.unwrap();
    office.clock.advance(31_000);
    one.look().await.unwrap();
    let mail = sink.next();
    assert_eq!(mail["subject"], "Free quota of qwen-max: 20 % or less is left (default)");
    assert_eq!(
        (&mail["from"], &mail["to"]),
        (&json!("gratis@example.com"), &json!(["ops@example.com", "mei@example.com"]))
    );
    assert!(mail["text"].as_str().unwrap().contains("150000 of 1000000 tokens"), "{mail}");
    office.clock.advance(DAY);
    one.look().await.unwrap();
    let tried = one.test().await;
    assert_eq!((tried[0].0, &tried[0].2), ("mail", &Ok(())));
    assert_eq!(sink.next()["subject"], "Gratis can reach you here", "nothing was sent in between");
}

#[tokio::test]
async fn a_trial_says_what_became_of_it() {
    let mut office = Office::new().await;
    office.call("POST", "/admin/v1/notify/test", None).await.is_problem(409, "no_channel");
    let (receiver, url) = Receiver::start().await;
    office.state.notifier = Arc::new(notifier(&office, Some(&url), None));
    let tried = office.call("POST", "/admin/v1/notify/test", None).await.ok();
    assert_eq!((&tried[0]["channel"], &tried[0]["taken"]), (&json!("webhook"), &json!(true)));
    assert_eq!(receiver.types(), ["free_quota.test"]);
    receiver.refuse.store(1, Ordering::SeqCst);
    let tried = office.call("POST", "/admin/v1/notify/test", None).await.ok();
    assert_eq!(
        (&tried[0]["taken"], &tried[0]["error"]),
        (&json!(false), &json!("answered by 503 Service Unavailable"))
    );
    let channels = office.get("/admin/v1/notify/channels").await;
    assert_eq!(channels[0]["place"], "http://127.0.0.1");
    office.call("PATCH", "/admin/v1/notify/channels", json!({})).await.is_problem(409, "owned_by_configuration");
}
