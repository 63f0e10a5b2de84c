//! Sending spans to a collector: OTLP over HTTP, in batches, beside the requests. What a collector does not take in time is dropped.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::KeyValue;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HeaderExtractor, HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::resource::EnvResourceDetector;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tokio::runtime::Handle;
use tracing::Level;
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt as _};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::{Layer, Registry};

use super::spans::TARGET;

/// How long one batch may take, and the last one at the end of the process.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The most of a collector's answer that is read.
const ANSWER_MAX: usize = 64 << 10;

/// The export; it sends what is left when it is closed.
pub(super) struct Export {
    provider: SdkTracerProvider,
}

impl Export {
    /// Sends to the whole address `endpoint`; `runtime` does the sending.
    pub(super) fn begin(endpoint: &str, runtime: Handle) -> Result<Self, String> {
        let wrong = |error: &dyn std::fmt::Display| format!("trace.otlp_endpoint {endpoint}: {error}");
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Carrier { client: client().map_err(|error| wrong(&error))?, runtime })
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint)
            .build()
            .map_err(|error| wrong(&error))?;
        // What OTEL_RESOURCE_ATTRIBUTES says goes before what is said here.
        let resource = Resource::builder_empty()
            .with_service_name("gratis")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_detector(Box::new(EnvResourceDetector::new()))
            .build();
        let provider = SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build();
        Ok(Self { provider })
    }

    /// What takes the spans, and nothing else.
    pub(super) fn layer(&self) -> impl Layer<Registry> + Send + Sync + use<> {
        OpenTelemetryLayer::<Registry, SdkTracer>::new(self.provider.tracer("gratis"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_filter(Targets::new().with_target(TARGET, Level::TRACE))
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown_with_timeout(TIMEOUT) {
            tracing::warn!(error = %error, "the last spans could not be exported");
        }
    }
}

/// Makes a span a part of the trace that the headers name (W3C Trace Context).
pub(super) fn go_on_from(span: &tracing::Span, headers: &HeaderMap) {
    let context = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
    // It has not begun yet, so that its parent can still be chosen.
    let _ = span.set_parent(context);
}

/// Carries batches. They are made on a thread that is none of the runtime's, so the runtime is told to send them.
#[derive(Debug)]
struct Carrier {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    runtime: Handle,
}

type Sent<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Carrier {
    fn send_bytes<'s, 'a>(&'s self, request: Request<Bytes>) -> Sent<'a>
    where
        's: 'a,
        Self: 'a,
    {
        let client = self.client.clone();
        let sending = self.runtime.spawn(async move {
            let send = async {
                let (parts, body) = client.request(request.map(Full::new)).await?.into_parts();
                let body = Limited::new(body, ANSWER_MAX).collect().await?;
                Ok(Response::from_parts(parts, body.to_bytes()))
            };
            tokio::time::timeout(TIMEOUT, send).await?
        });
        Box::pin(async move { sending.await? })
    }
}

fn client() -> Result<Client<HttpsConnector<HttpConnector>, Full<Bytes>>, String> {
    let tls = crate::trust::client(true, None)?;
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}
