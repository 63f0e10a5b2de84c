//! Notices by webhook, signed as Standard Webhooks says: HMAC-SHA256 over id, time and body.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::channel::Delivery;

/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// The most that is read of an answer.
const ANSWER_MAX: usize = 64 << 10;

/// Where notices are posted to. Holds a secret, so it has no `Debug`.
#[derive(Clone)]
pub struct WebhookSettings {
    /// The address.
    pub url: Uri,
    /// `whsec_` and base64; several, separated by blanks, while one replaces another: each signs.
    pub secret: Zeroizing<String>,
    /// Certificates to trust instead of the public ones, in PEM.
    pub ca_file: Option<PathBuf>,
}

/// Posts notices.
pub struct Webhook {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: Uri,
    keys: Vec<Zeroizing<Vec<u8>>>,
}

/// The signature of one key: `v1,` and base64.
#[must_use]
pub fn sign(key: &[u8], id: &str, seconds: u64, body: &[u8]) -> String {
    // HMAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    mac.update(format!("{id}.{seconds}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// The keys of a secret.
fn keys(secret: &str) -> Result<Vec<Zeroizing<Vec<u8>>>, String> {
    let wrong = || format!("notify.webhook.secret is {PREFIX} and base64 of at least 24 bytes");
    let key = |text: &str| {
        let key = STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?;
        (key.len() >= 24).then(|| Zeroizing::new(key))
    };
    let keys: Vec<_> =
        secret.split_ascii_whitespace().map(|text| key(text).ok_or_else(wrong)).collect::<Result<_, _>>()?;
    if keys.is_empty() { Err(wrong()) } else { Ok(keys) }
}

impl Webhook {
    pub(super) fn new(settings: &WebhookSettings) -> Result<Self, String> {
        let file = settings.ca_file.as_deref();
        let tls = crate::trust::client(file.is_none(), file).map_err(|why| format!("notify.webhook.ca_file {why}"))?;
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, url: settings.url.clone(), keys: keys(&settings.secret)? })
    }

    /// The address without what may be a secret in it.
    pub(super) fn place(&self) -> String {
        format!("{}://{}", self.url.scheme_str().unwrap_or_default(), self.url.host().unwrap_or_default())
    }

    pub(super) async fn deliver(&self, delivery: &Delivery<'_>) -> Result<(), String> {
        let notice = delivery.notice;
        let body = json!({
            "type": format!("free_quota.{}", notice.mark.name()),
            "timestamp": notice.at,
            "data": notice,
            "text": notice.text(),
        })
        .to_string();
        let seconds = delivery.at.0 / 1_000;
        let signatures: Vec<String> =
            self.keys.iter().map(|key| sign(key, delivery.id, seconds, body.as_bytes())).collect();
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("gratis/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", delivery.id)
            .header("webhook-timestamp", seconds.to_string())
            .header("webhook-signature", signatures.join(" "))
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| error.to_string())?;
        let response = self.client.request(request).await.map_err(|error| innermost(&error))?;
        let status = response.status();
        // Read, so that the connection can be used again; what it says decides nothing.
        let _ = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        if status.is_success() { Ok(()) } else { Err(format!("answered by {status}")) }
    }
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks specification.
    #[test]
    fn a_signature_is_what_the_specification_shows() {
        let key = keys("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signed = sign(&key[0], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_is_checked() {
        assert_eq!(
            keys("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap().len(),
            2
        );
        for wrong in ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_YQ==", "whsec_!"] {
            assert!(keys(wrong).is_err(), "{wrong}");
        }
    }
}
