//! The one way upstream: a pooled client that never retries what may have been read.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::dialect::Base;
use crate::ledger::AccountId;

use super::breaker::Breaker;
use super::settings::UpstreamSettings;

/// A model endpoint with its credential and its pool of connections.
pub struct Upstream {
    name: Arc<str>,
    owner: Option<AccountId>,
    base: String,
    /// What the base is below of: all families of paths share the host (W 2.1).
    root: String,
    host: HeaderValue,
    /// The host without its port.
    bare_host: String,
    chat: Uri,
    authorization: Option<HeaderValue>,
    head_timeout: Duration,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// Makes a connection of its own for each WebSocket, always by HTTP/1.1.
    sockets: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    pub(super) breaker: Breaker,
}

/// Which phase of a call failed: that decides what it may have cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum UpstreamFailure {
    /// No connection: nothing was sent.
    NotSent,
    /// The connection broke, or what came was no reply: it may have been charged.
    Broken,
}

impl UpstreamFailure {
    pub(super) fn of(error: &hyper_util::client::legacy::Error) -> Self {
        if error.is_connect() { Self::NotSent } else { Self::Broken }
    }
}

impl Upstream {
    /// Builds the client; connects nowhere yet.
    ///
    /// # Errors
    /// The base URL has no host or another scheme than http and https, or the CA file cannot be read.
    pub fn new(settings: &UpstreamSettings) -> Result<Self, String> {
        let place = format!("upstream.{}", settings.name);
        let base = settings.base_url.to_string().trim_end_matches('/').to_owned();
        let authority = settings.base_url.authority().ok_or_else(|| format!("{place}.base_url has no host: {base}"))?;
        let scheme = settings.base_url.scheme_str();
        if !matches!(scheme, Some("http" | "https")) || settings.base_url.query().is_some() {
            return Err(format!("{place}.base_url must be http:// or https:// without a query: {base}"));
        }
        if authority.as_str().contains('@') {
            return Err(format!("{place}.base_url must not carry a credential"));
        }
        let chat = format!("{base}/chat/completions").parse().map_err(|e| format!("{place}.base_url: {e}"))?;
        let known = ["/compatible-mode/v1", "/v1"];
        let root = known.iter().find_map(|end| base.strip_suffix(end)).unwrap_or(&base).to_owned();
        let host = HeaderValue::from_str(authority.as_str()).map_err(|e| format!("{place}.base_url: {e}"))?;
        let bare_host = authority.host().to_owned();
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        http.enforce_http(false);
        http.set_connect_timeout(Some(settings.connect_timeout));
        let tls_config = tls_config(settings)?;
        let builder = || hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls_config.clone()).https_or_http();
        let tls = builder();
        let sockets = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .set_host(false)
            .build(builder().enable_http1().wrap_connector(http.clone()));
        let connector = if settings.http2 {
            tls.enable_all_versions().wrap_connector(http)
        } else {
            tls.enable_http1().wrap_connector(http)
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(settings.idle_timeout)
            .pool_max_idle_per_host(settings.max_idle)
            // The library sends a request again only where it got it back unread from a reused connection that had been closed.
            .retry_canceled_requests(true)
            .set_host(false)
            .build(connector);
        let authorization = settings.authorization.clone();
        let name = settings.name.as_str().into();
        let head_timeout = settings.head_timeout;
        let breaker = Breaker::default();
        let owner = settings.account.clone();
        Ok(Self {
            name,
            owner,
            base,
            root,
            host,
            bare_host,
            chat,
            authorization,
            head_timeout,
            client,
            sockets,
            breaker,
        })
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The account whose own provider account it draws on.
    pub(super) fn owner(&self) -> Option<&AccountId> {
        self.owner.as_ref()
    }

    /// The host without its port.
    pub(super) fn host(&self) -> &str {
        &self.bare_host
    }

    /// The provider's key, to tell which product it belongs to.
    pub(super) fn key(&self) -> Option<&str> {
        self.authorization.as_ref()?.to_str().ok()?.strip_prefix("Bearer ")
    }

    pub(super) fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    pub(super) fn head_timeout(&self) -> Duration {
        self.head_timeout
    }

    /// Begins a request. `path` is from our own table, never from the client's line as it was.
    pub(super) fn send(
        &self,
        method: Method,
        base: Base,
        path: &str,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<ResponseFuture, UpstreamFailure> {
        let uri = match (base, path) {
            (Base::OpenAi, "/chat/completions") => self.chat.clone(),
            (Base::OpenAi, other) => format!("{}{other}", self.base).parse().map_err(|_| UpstreamFailure::NotSent)?,
            (Base::Root, other) => format!("{}{other}", self.root).parse().map_err(|_| UpstreamFailure::NotSent)?,
        };
        headers.insert(HOST, self.host.clone());
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(self.client.request(request))
    }

    /// Begins a WebSocket handshake.
    pub(super) fn upgrade(
        &self,
        path_and_query: &str,
        mut headers: HeaderMap,
    ) -> Result<ResponseFuture, UpstreamFailure> {
        let uri = format!("{}{path_and_query}", self.root).parse::<Uri>().map_err(|_| UpstreamFailure::NotSent)?;
        headers.insert(HOST, self.host.clone());
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(self.sockets.request(request))
    }
}

fn tls_config(settings: &UpstreamSettings) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(file) = &settings.ca_file {
        let place = format!("upstream.{}.ca_file {}", settings.name, file.display());
        let certificates = CertificateDer::pem_file_iter(file).map_err(|e| format!("{place}: {e}"))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|e| format!("{place}: {e}"))?;
            roots.add(certificate).map_err(|e| format!("{place}: {e}"))?;
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().map_err(|e| e.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
