//! JSON over HTTP: what the simulator and the admin API are asked.

use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;

/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest answer that is read.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Asks one server for JSON.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    client: Client<HttpConnector, Empty<Bytes>>,
    url: Uri,
    token: Option<String>,
}

impl Asker {
    /// `origin` may carry a path; `path` is put behind it.
    pub(super) fn new(origin: &Uri, path: &str, token: Option<String>) -> Result<Self, String> {
        let url = format!("{}{path}", origin.to_string().trim_end_matches('/'));
        let url: Uri = url.parse().map_err(|error| format!("{url} is no URL: {error}"))?;
        if url.scheme_str() != Some("http") || url.authority().is_none() {
            return Err(format!("{url}: an http:// URL is needed"));
        }
        // No pool: between two questions the server may have been killed and started again.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
        Ok(Self { client, url, token })
    }

    /// What is asked, for messages.
    pub(super) fn url(&self) -> String {
        self.url.to_string()
    }

    /// One question, one answer.
    ///
    /// # Errors
    /// In words: no connection, no answer in time, another status, or JSON of another shape.
    pub(super) async fn ask<T: DeserializeOwned>(&self) -> Result<T, String> {
        tokio::time::timeout(PATIENCE, self.ask_patiently()).await.map_err(|_| "no answer within 5 s".to_owned())?
    }

    async fn ask_patiently<T: DeserializeOwned>(&self) -> Result<T, String> {
        let mut request = Request::get(self.url.clone());
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Empty::new()).map_err(|error| error.to_string())?;
        let response = self.client.request(request).await.map_err(|error| super::call::in_words(&error).to_owned())?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| format!("the answer broke off: {error}"))?.to_bytes();
        if !status.is_success() {
            let text: String = String::from_utf8_lossy(&body).chars().take(200).collect();
            return Err(format!("status {status}: {text}"));
        }
        serde_json::from_slice(&body).map_err(|error| format!("not the JSON that was expected: {error}"))
    }
}
