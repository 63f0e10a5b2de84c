//! TLS: certificates from files, renewed without a restart; HTTP/2 by ALPN.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{hi, upstream};
use crate::support::binary::Home;
use crate::support::plug::{Plug, chat_request};

pub(super) const TLS: &str = "tls_certificate = \"server.crt\"\ntls_private_key = \"server.key\"\n";

/// Writes a new certificate for localhost with its key.
fn certify(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("server.crt"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("server.key"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

/// Connects as a client that trusts this certificate alone.
pub(super) async fn connect(
    origin: &str,
    trusted: &CertificateDer<'static>,
    protocol: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = TcpStream::connect(origin.trim_start_matches("https://")).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_connect_by_tls_and_choose_http2() {
    let simulator = upstream(Duration::ZERO).await;
    let home = Home::new(&simulator.origin(), TLS);
    let certificate = certify(home.path());
    let key = home.init("qwen-max=500,000/1,000,000");
    let gratis = home.serve();
    assert!(gratis.origin.starts_with("https://"), "{}", gratis.said());

    let mut plug = Plug::over(connect(&gratis.origin, &certificate, "http/1.1").await.unwrap());
    for stream in [false, true] {
        plug.write(chat_request("1.1", &key, "", &hi(stream).to_string())).await;
        let reply = plug.reply().await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.text().ends_with("data: [DONE]\n\n"), stream);
    }

    let stream = connect(&gratis.origin, &certificate, "h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post(format!("{}/v1/chat/completions", gratis.origin))
        .header("authorization", format!("Bearer {key}"))
        .body(Full::new(Bytes::from(hi(true).to_string())))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, http::Version::HTTP_2));
    assert!(response.into_body().collect().await.unwrap().to_bytes().ends_with(b"data: [DONE]\n\n"));

    // Plain HTTP on that port is answered by nothing but the end of the connection.
    let mut plain = Plug::over(TcpStream::connect(gratis.origin.trim_start_matches("https://")).await.unwrap());
    plain.write(chat_request("1.1", &key, "", &hi(false).to_string())).await;
    assert!(!String::from_utf8_lossy(&plain.rest().await).contains("HTTP/1.1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_for_new_connections_and_a_broken_one_is_not_taken() {
    let simulator = upstream(Duration::ZERO).await;
    let home = Home::new(&simulator.origin(), TLS);
    let first = certify(home.path());
    let key = home.init("qwen-max=500,000/1,000,000");
    let mut gratis = home.serve();
    let mut open = Plug::over(connect(&gratis.origin, &first, "http/1.1").await.unwrap());

    let second = certify(home.path());
    connect(&gratis.origin, &first, "http/1.1").await.unwrap();
    gratis.signal("HUP");
    gratis.wait_for("The configuration was read again.");
    connect(&gratis.origin, &second, "http/1.1").await.unwrap();
    connect(&gratis.origin, &first, "http/1.1").await.unwrap_err();
    open.write(chat_request("1.1", &key, "", &hi(false).to_string())).await;
    assert_eq!(open.reply().await.status, 200, "a connection that is open goes on");

    for (times, (file, text)) in
        [("server.crt", "-----BEGIN CERTIFICATE-----\nno\n"), ("server.crt", ""), ("server.key", "no key")]
            .into_iter()
            .enumerate()
    {
        certify(home.path());
        std::fs::write(home.path().join(file), text).unwrap();
        gratis.signal("HUP");
        gratis.wait_for_times("The new configuration is not taken over", times + 1);
        assert!(gratis.said().contains(file), "{}", gratis.said());
        connect(&gratis.origin, &second, "http/1.1").await.unwrap();
    }
    // A certificate and a key of another one; a change beside it is not taken over either.
    home.configure(&simulator.origin(), &format!("{TLS}[limits]\nmax_body = \"1KiB\"\n"));
    let key_file = home.path().join("server.key");
    certify(home.path());
    let other = std::fs::read(&key_file).unwrap();
    certify(home.path());
    std::fs::write(&key_file, other).unwrap();
    gratis.signal("HUP");
    gratis.wait_for_times("The new configuration is not taken over", 4);
    connect(&gratis.origin, &second, "http/1.1").await.unwrap();
    let mut long = hi(false);
    long["user"] = serde_json::json!("x".repeat(2_000));
    open.write(chat_request("1.1", &key, "", &long.to_string())).await;
    assert_eq!(open.reply().await.status, 200, "half of a configuration was taken over");
}
