//! `[server]`: where clients connect.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::reader::Reader;
use super::values;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// The listener for clients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerConfig {
    /// Where it listens; port 0 = any free one.
    pub listen: SocketAddr,
    /// Its certificate; `None` = plain HTTP.
    pub tls: Option<TlsFiles>,
    /// How long a new connection may stay silent (F-ACC-1).
    pub first_byte_timeout: Duration,
    /// How long a TLS handshake may take (F-ACC-5).
    pub tls_timeout: Duration,
    /// How long the head of a request may take (F-ACC-2).
    pub header_timeout: Duration,
    /// Header fields of one request (F-ACC-7).
    pub max_headers: usize,
    /// Bytes of the head of one request (F-ACC-7).
    pub max_header_bytes: usize,
    /// HTTP/2 requests in progress on one connection (F-ACC-12).
    pub max_streams: u32,
    /// HTTP/2 pings, settings and priorities of one connection in 10 seconds (F-ACC-12).
    pub max_control_frames: u32,
    /// Connections at the same time.
    pub max_connections: usize,
    /// How long calls in progress may take to end after SIGTERM (F-LIF-1).
    pub drain_timeout: Duration,
}

/// A certificate chain and its key, both in PEM. They were readable and belonged together when the configuration was loaded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The key of the first certificate.
    pub private_key: PathBuf,
}

pub(super) fn read(mut r: Reader<'_, '_>) -> Option<ServerConfig> {
    let listen = r.text("listen", "\"127.0.0.1:8080\"", values::address);
    let tls = tls(&mut r);
    let first_byte_timeout = r.duration("first_byte_timeout", SECOND..=HOUR);
    let tls_timeout = r.duration("tls_timeout", SECOND..=HOUR);
    let header_timeout = r.duration("header_timeout", SECOND..=HOUR);
    let max_headers = r.count("max_headers", 16..=1_000);
    let max_header_bytes = r.size("max_header_bytes", 8 << 10..=1 << 20);
    let max_streams = r.count("max_streams", 1..=10_000);
    let max_control_frames = r.count("max_control_frames", 10..=1_000_000);
    let max_connections = r.count("max_connections", 1..=1_000_000);
    let drain_timeout = r.duration("drain_timeout", Duration::ZERO..=DAY);
    r.finish();
    Some(ServerConfig {
        listen: listen?,
        tls: tls?,
        first_byte_timeout: first_byte_timeout?,
        tls_timeout: tls_timeout?,
        header_timeout: header_timeout?,
        max_headers: usize::try_from(max_headers?).ok()?,
        max_header_bytes: usize::try_from(max_header_bytes?).ok()?,
        max_streams: u32::try_from(max_streams?).ok()?,
        max_control_frames: u32::try_from(max_control_frames?).ok()?,
        max_connections: usize::try_from(max_connections?).ok()?,
        drain_timeout: drain_timeout?,
    })
}

#[allow(
    clippy::option_option,
    reason = "no certificate and a wrong one are two things here, and wrong is already reported"
)]
fn tls(r: &mut Reader<'_, '_>) -> Option<Option<TlsFiles>> {
    let certificate = r.optional_path("tls_certificate");
    let private_key = r.optional_path("tls_private_key");
    let (certificate_spot, key_spot) = (r.spot_of("tls_certificate"), r.spot_of("tls_private_key"));
    let (certificate, private_key) = match (certificate?, private_key?) {
        (None, None) => return Some(None),
        (Some(certificate), Some(private_key)) => (certificate, private_key),
        (Some(_), None) => {
            r.report.mistake(certificate_spot, "`tls_certificate` needs `tls_private_key` beside it", "alone", None);
            return None;
        }
        (None, Some(_)) => {
            r.report.mistake(key_spot, "`tls_private_key` needs `tls_certificate` beside it", "alone", None);
            return None;
        }
    };
    let chain = read_certificates(&certificate);
    let key = PrivateKeyDer::from_pem_file(&private_key)
        .map_err(|error| format!("cannot read a private key from {}: {error}", private_key.display()));
    if let Err(problem) = &chain {
        r.report.mistake(certificate_spot, problem, "this file", None);
    }
    if let Err(problem) = &key {
        r.report.mistake(key_spot, problem, "this file", None);
    }
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    if let Err(error) = rustls::sign::CertifiedKey::from_der(chain.ok()?, key.ok()?, &provider) {
        r.report.mistake(
            key_spot,
            format!("the certificate and its key cannot be used together: {error}"),
            "this key",
            None,
        );
        return None;
    }
    if super::secret::is_open_to_others(&private_key) == Some(true) {
        let message = format!("{} can be read by others than its owner", private_key.display());
        r.report.warning(Some(key_spot), message, "this file", Some(format!("chmod 600 {}", private_key.display())));
    }
    Some(Some(TlsFiles { certificate, private_key }))
}

/// The certificates of a PEM file, at least one.
pub(super) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("cannot read certificates from {shown}: {error}"))?;
    if certificates.is_empty() { Err(format!("{shown} holds no certificate")) } else { Ok(certificates) }
}
