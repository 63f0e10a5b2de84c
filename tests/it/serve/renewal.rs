//! Certificates that are renewed and configurations that are read again while clients call: no call fails, a new connection sees the
//! new certificate, an old one goes on, and what is broken changes nothing.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::CertificateDer;
use serde_json::json;

use super::tls::{TLS, connect};
use super::{charged, hi, settled, upstream};
use crate::support::PATIENCE;
use crate::support::binary::Home;
use crate::support::plug::{Plug, chat_request};

const ROUNDS: usize = 8;

/// Who signs the server's certificates; clients trust it alone.
struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: rcgen::Issuer::new(params, key), certificate }
    }

    /// A new certificate for localhost, with its key, both in PEM; and the certificate as a client sees it.
    fn issue(&self) -> (String, String, CertificateDer<'static>) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let made = params.signed_by(&key, &self.issuer).unwrap();
        (made.pem(), key.serialize_pem(), made.der().clone())
    }
}

/// What the clients do.
struct Load {
    origin: String,
    key: String,
    trusted: CertificateDer<'static>,
    stop: AtomicBool,
    /// The calls that each client has made.
    calls: [AtomicU64; CLIENTS],
}

/// How a client connects; two of each.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Way {
    /// One connection for everything, HTTP/1.1.
    Kept,
    /// One for everything, HTTP/2.
    KeptTwo,
    /// One for each call, HTTP/1.1.
    Each,
    /// One for each call, HTTP/2.
    EachTwo,
}

const WAYS: [Way; 4] = [Way::Kept, Way::KeptTwo, Way::Each, Way::EachTwo];
const CLIENTS: usize = 8;

impl Load {
    async fn one(&self) -> Plug<tokio_rustls::client::TlsStream<tokio::net::TcpStream>> {
        Plug::over(connect(&self.origin, &self.trusted, "http/1.1").await.unwrap())
    }

    async fn two(&self) -> SendRequest<Full<Bytes>> {
        let stream = connect(&self.origin, &self.trusted, "h2").await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// Calls one after the other, plain and streamed; each has to be answered as a whole.
    async fn client(self: Arc<Self>, number: usize) {
        let way = WAYS[number % WAYS.len()];
        let (mut one, mut two) = (self.one().await, self.two().await);
        for call in 0.. {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let stream = call % 2 == 0;
            if matches!(way, Way::Each | Way::EachTwo) {
                (one, two) = (self.one().await, self.two().await);
            }
            let text = if matches!(way, Way::Kept | Way::Each) {
                one.write(chat_request("1.1", &self.key, "", &hi(stream).to_string())).await;
                let reply = one.reply().await;
                assert_eq!(reply.status, 200, "{way:?}, call {call}: {reply:?}");
                reply.text()
            } else {
                let request = http::Request::post(format!("{}/v1/chat/completions", self.origin))
                    .header("authorization", format!("Bearer {}", self.key))
                    .body(Full::new(Bytes::from(hi(stream).to_string())))
                    .unwrap();
                two.ready().await.unwrap();
                let response = two.send_request(request).await.unwrap();
                assert_eq!(response.status(), 200, "{way:?}, call {call}");
                String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
            };
            let end = if stream { "data: [DONE]" } else { "total_tokens" };
            assert!(text.contains(end), "{way:?}, call {call} was cut: {text}");
            self.calls[number].fetch_add(1, Ordering::SeqCst);
        }
    }

    /// The certificate that a new connection sees.
    async fn seen(&self) -> CertificateDer<'static> {
        let stream = connect(&self.origin, &self.trusted, "http/1.1").await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    }

    /// Waits until every client has made another call.
    async fn progress(&self, clients: &mut tokio::task::JoinSet<()>) {
        let before: Vec<u64> = self.calls.iter().map(|calls| calls.load(Ordering::SeqCst)).collect();
        let begun = Instant::now();
        while self.calls.iter().zip(&before).any(|(now, before)| now.load(Ordering::SeqCst) <= *before) {
            if let Some(ended) = clients.try_join_next() {
                panic!("a client gave up: {ended:?}");
            }
            assert!(begun.elapsed() < PATIENCE, "{:?} after {before:?}", self.calls);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn put(folder: &Path, certificate: &str, key: &str) {
    std::fs::write(folder.join("server.key"), key).unwrap();
    std::fs::write(folder.join("server.crt"), certificate).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_and_configurations_change_under_load_and_no_call_fails() {
    let simulator = upstream(Duration::from_millis(1)).await;
    let mut home = Home::new(&simulator.origin(), TLS);
    let authority = Authority::new();
    let (certificate, private, mut current) = authority.issue();
    put(home.path(), &certificate, &private);
    let key = home.init("qwen-max=50,000,000/50,000,000");
    let mut gratis = home.serve();
    home.set("GRATIS_ADMIN_URL", &gratis.admin);
    let trusted = authority.certificate.clone();
    let load =
        Load { origin: gratis.origin.clone(), key, trusted, stop: AtomicBool::new(false), calls: <_>::default() };
    let load = Arc::new(load);
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(Arc::clone(&load).client(number));
    }
    let (mut taken, mut refused) = (0, 0);
    for round in 0..ROUNDS {
        load.progress(&mut clients).await;
        // Beside the certificate the configuration changes too: another limit, and upstreams that are made anew.
        home.configure(&simulator.origin(), &format!("{TLS}[limits]\nmax_body = \"{}MiB\"\n", 1 + round));
        let (certificate, private, new) = authority.issue();
        // The half of it: a key without its certificate. Then no certificate at all.
        for broken in [None, Some("-----BEGIN CERTIFICATE-----\nno\n")] {
            std::fs::write(home.path().join("server.key"), &private).unwrap();
            if let Some(broken) = broken {
                std::fs::write(home.path().join("server.crt"), broken).unwrap();
            }
            gratis.signal("HUP");
            refused += 1;
            gratis.wait_for_times("The new configuration is not taken over", refused);
            assert_eq!(load.seen().await, current, "round {round}: what is broken was taken");
        }
        put(home.path(), &certificate, &private);
        if round % 2 == 0 {
            gratis.signal("HUP");
            taken += 1;
            gratis.wait_for_times("The configuration was read again.", taken);
        } else {
            let told = tokio::task::block_in_place(|| home.run(&["reload"]));
            assert!(told.status.success(), "{told:?}");
        }
        assert_eq!(load.seen().await, new, "round {round}: a new connection sees the old certificate");
        current = new;
    }
    // Several at once.
    for _ in 0..5 {
        gratis.signal("HUP");
    }
    load.progress(&mut clients).await;
    load.progress(&mut clients).await;
    load.stop.store(true, Ordering::SeqCst);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    let calls: Vec<u64> = load.calls.iter().map(|calls| calls.load(Ordering::SeqCst)).collect();
    println!("{ROUNDS} renewals, {refused} refused reloads; calls of each client {calls:?}, none failed");
    let balance = settled(&home, &gratis).await;
    assert_eq!(balance["presumed"], json!(0), "{balance}");
    assert_eq!(balance["spent"], json!(charged(&simulator).await), "{balance}");
}
