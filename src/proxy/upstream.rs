//! The one way upstream: pooled connections, and never a second try of what may have been read.

mod pool;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::Full;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Client, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::dialect::Base;
use crate::ledger::AccountId;

use super::breaker::Breaker;
use super::settings::UpstreamSettings;

use pool::Pool;
pub(super) use pool::UpstreamBody;

/// A model endpoint with its credential and its pool of connections.
pub struct Upstream {
    name: Arc<str>,
    owner: Option<AccountId>,
    /// Scheme and authority, as they stand before a path.
    origin: String,
    /// The path of the base URL.
    base: String,
    /// What the base is below of: all families of paths share the host (W 2.1).
    root: String,
    host: HeaderValue,
    /// The host without its port.
    bare_host: String,
    /// The path of the call that is the most frequent.
    chat: Uri,
    authorization: Option<HeaderValue>,
    head_timeout: Duration,
    connections: Connections,
    /// Makes a connection of its own for each WebSocket, always by HTTP/1.1.
    sockets: PooledClient,
    pub(super) breaker: Breaker,
}

type PooledClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// How requests travel.
enum Connections {
    /// One at a time on a connection of HTTP/1.1, which the call itself drives.
    Own(Arc<Pool>),
    /// Many at a time on one of HTTP/2, where the upstream offers it.
    Shared(Box<PooledClient>),
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// No connection.
    #[error("cannot connect")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The connection failed, or what came is no HTTP.
    #[error("the connection failed")]
    Broken(#[source] hyper::Error),
    /// Either of them, on a connection of HTTP/2.
    #[error(transparent)]
    Shared(#[from] legacy::Error),
}

/// A request that is under way until its response begins.
pub(super) struct Sent(Way);

enum Way {
    Own(Pin<Box<dyn Future<Output = Result<Response<UpstreamBody>, SendError>> + Send>>),
    Shared(ResponseFuture),
}

impl Future for Sent {
    type Output = Result<Response<UpstreamBody>, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Way::Own(sent) => sent.as_mut().poll(cx),
            Way::Shared(sent) => {
                Pin::new(sent).poll(cx).map_ok(|response| response.map(UpstreamBody::shared)).map_err(SendError::from)
            }
        }
    }
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
    pub(super) fn of(error: &SendError) -> Self {
        match error {
            SendError::Connect(_) => Self::NotSent,
            SendError::Shared(error) if error.is_connect() => Self::NotSent,
            SendError::Broken(_) | SendError::Shared(_) => Self::Broken,
        }
    }
}

impl Upstream {
    /// Builds the client; connects nowhere yet.
    ///
    /// # Errors
    /// The base URL has no host or another scheme than http and https, or the CA file cannot be read.
    pub fn new(settings: &UpstreamSettings) -> Result<Self, String> {
        let place = format!("upstream.{}", settings.name);
        let url = &settings.base_url;
        let authority = url.authority().ok_or_else(|| format!("{place}.base_url has no host: {url}"))?;
        let scheme = url.scheme_str();
        if !matches!(scheme, Some("http" | "https")) || url.query().is_some() {
            return Err(format!("{place}.base_url must be http:// or https:// without a query: {url}"));
        }
        if authority.as_str().contains('@') {
            return Err(format!("{place}.base_url must not carry a credential"));
        }
        let origin = format!("{}://{authority}", scheme.unwrap_or_default());
        let base = url.path().trim_end_matches('/').to_owned();
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
        let connections = if settings.http2 {
            let connector = tls.enable_all_versions().wrap_connector(http);
            let shared = Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(settings.idle_timeout)
                .pool_max_idle_per_host(settings.max_idle)
                // The library sends a request again only where it got it back unread from a reused connection that had been closed.
                .retry_canceled_requests(true)
                .set_host(false)
                .build(connector);
            Connections::Shared(Box::new(shared))
        } else {
            let target = origin.parse().map_err(|e| format!("{place}.base_url: {e}"))?;
            let connector = tls.enable_http1().wrap_connector(http);
            Connections::Own(Pool::new(connector, target, settings.max_idle, settings.idle_timeout))
        };
        let authorization = settings.authorization.clone();
        let name = settings.name.as_str().into();
        let head_timeout = settings.head_timeout;
        let breaker = Breaker::default();
        let owner = settings.account.clone();
        Ok(Self {
            name,
            owner,
            origin,
            base,
            root,
            host,
            bare_host,
            chat,
            authorization,
            head_timeout,
            connections,
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
    ) -> Result<Sent, UpstreamFailure> {
        let below = |base: &str, path: &str| format!("{base}{path}").parse().map_err(|_| UpstreamFailure::NotSent);
        let uri = match (base, path) {
            (Base::OpenAi, "/chat/completions") => self.chat.clone(),
            (Base::OpenAi, other) => below(&self.base, other)?,
            (Base::Root, other) => below(&self.root, other)?,
        };
        headers.insert(HOST, self.host.clone());
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.headers_mut() = headers;
        Ok(Sent(match &self.connections {
            Connections::Own(pool) => {
                *request.uri_mut() = uri;
                Way::Own(Box::pin(Arc::clone(pool).send(request)))
            }
            Connections::Shared(client) => {
                // Which connection it is for, is told by the whole address.
                *request.uri_mut() = below(&self.origin, &uri.to_string())?;
                Way::Shared(client.request(request))
            }
        }))
    }

    /// Begins a WebSocket handshake.
    pub(super) fn upgrade(
        &self,
        path_and_query: &str,
        mut headers: HeaderMap,
    ) -> Result<ResponseFuture, UpstreamFailure> {
        let uri = format!("{}{}{path_and_query}", self.origin, self.root)
            .parse::<Uri>()
            .map_err(|_| UpstreamFailure::NotSent)?;
        headers.insert(HOST, self.host.clone());
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(self.sockets.request(request))
    }
}

fn tls_config(settings: &UpstreamSettings) -> Result<rustls::ClientConfig, String> {
    crate::trust::client(true, settings.ca_file.as_deref())
        .map_err(|why| format!("upstream.{}.ca_file {why}", settings.name))
}
