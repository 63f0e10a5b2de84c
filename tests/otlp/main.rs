//! The export of traces (feature `otlp`): the program itself, and a collector that decodes what it is sent.
#![cfg(test)]
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may stop where something is not as it should be"
)]

#[path = "../it/support/binary.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod binary;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gratis::simulator;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::json;
use tokio::net::TcpListener;

use binary::{Gratis, Home, PROVIDER_KEY};

/// How long anything that must happen may take.
const PATIENCE: Duration = Duration::from_secs(180);

const PROMPT: &str = "the canary sings of secrets";
const REPLY: &str = "x-gratis-request-id";

/// What a collector was sent.
#[derive(Clone, Default)]
struct Collector {
    bodies: Arc<Mutex<Vec<Bytes>>>,
}

impl Collector {
    /// Begins to collect; answers the address.
    async fn begin(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let bodies = Arc::clone(&self.bodies);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let bodies = Arc::clone(&bodies);
                let take = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                    let bodies = Arc::clone(&bodies);
                    async move {
                        assert_eq!(request.uri().path(), "/v1/traces");
                        assert_eq!(request.headers()["content-type"], "application/x-protobuf");
                        let body = request.into_body().collect().await?.to_bytes();
                        bodies.lock().unwrap().push(body);
                        Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::new())))
                    }
                });
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), take));
            }
        });
        origin
    }

    fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        let bodies = self.bodies.lock().unwrap();
        bodies.iter().map(|body| ExportTraceServiceRequest::decode(body.clone()).unwrap()).collect()
    }

    fn spans(&self) -> Vec<Span> {
        let of = |request: ExportTraceServiceRequest| {
            request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans)
        };
        self.requests().into_iter().flat_map(of).collect()
    }

    /// The spans of one request by their names, once there are as many.
    async fn spans_of(&self, gratis: &Gratis, id: &str, count: usize) -> HashMap<String, Span> {
        let begun = Instant::now();
        loop {
            let spans = self.spans();
            let request = spans.iter().find(|span| attribute(span, "request_id") == json!(id));
            let trace = request.map(|request| request.trace_id.clone()).unwrap_or_default();
            let its = spans.iter().filter(|span| !trace.is_empty() && span.trace_id == trace);
            let its: HashMap<_, _> = its.map(|span| (span.name.clone(), span.clone())).collect();
            if its.len() >= count {
                return its;
            }
            assert!(begun.elapsed() < PATIENCE, "{id}: {spans:?}\n{}", gratis.said());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn attribute(span: &Span, name: &str) -> serde_json::Value {
    let found = span.attributes.iter().find(|attribute| attribute.key == name);
    match found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(Any::StringValue(text)) => json!(text),
        Some(Any::BoolValue(flag)) => json!(flag),
        Some(Any::IntValue(number)) => json!(number),
        Some(other) => panic!("{name}: {other:?}"),
        None => serde_json::Value::Null,
    }
}

async fn chat(origin: &str, key: &str, stream: bool, traceparent: Option<&str>) -> (u16, HeaderMap, Bytes) {
    let body = json!({"model": "qwen-max", "messages": [{"role": "user", "content": PROMPT}], "stream": stream,
        "stream_options": if stream { json!({"include_usage": true}) } else { json!(null) }, "max_tokens": 64});
    let mut request = Request::post(format!("{origin}/v1/chat/completions"))
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json");
    if let Some(traceparent) = traceparent {
        request = request.header("traceparent", traceparent);
    }
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(request.body(Full::new(Bytes::from(body.to_string()))).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    (parts.status.as_u16(), parts.headers, body.collect().await.unwrap().to_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn configure(home: &Home, simulator: &str, collector: &str, more: &str) {
    home.configure(simulator, &format!("[trace]\notlp_endpoint = \"{collector}\"\n{more}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_one_trace_with_its_reservation_its_exchange_and_its_settlement() {
    let simulator = simulator::start(simulator::Settings::default()).await.unwrap();
    let collector = Collector::default();
    let address = collector.begin().await;
    let mut home = Home::new(&simulator.origin(), "");
    configure(&home, &simulator.origin(), &address, "accept_traceparent = true\n");
    home.set("OTEL_BSP_SCHEDULE_DELAY", "50");
    let key = home.init("qwen-max=500,000/1,000,000");
    let mut gratis = home.serve();
    let traceparent = format!("00-{TRACE}-{PARENT}-01");

    for stream in [false, true] {
        let (status, headers, body) = chat(&gratis.origin, &key, stream, None).await;
        let text = String::from_utf8_lossy(&body).into_owned();
        assert_eq!(status, 200, "{text}");
        let id = headers[REPLY].to_str().unwrap();
        let spans = collector.spans_of(&gratis, id, 4).await;
        let request = &spans["request"];
        assert!(request.parent_span_id.is_empty(), "{request:?}");
        for name in ["reserve", "upstream", "settle"] {
            assert_eq!(spans[name].parent_span_id, request.span_id, "{name}");
        }
        let said = |name: &str| attribute(request, name);
        assert_eq!((said("http.response.status_code"), said("model")), (json!(200), json!("qwen-max")));
        assert_eq!((said("stream"), said("ending")), (json!(stream), json!("settled")));
        let (input, output) = (said("input").as_i64().unwrap(), said("output").as_i64().unwrap());
        assert!(text.contains(&format!("\"total_tokens\":{}", input + output)), "{input} and {output}: {text}");
        let upstream = &spans["upstream"];
        assert_eq!(attribute(upstream, "upstream"), json!("default"));
        assert_eq!(attribute(upstream, "http.response.status_code"), json!(200));
        // A server's span, and a client's.
        assert_eq!((request.kind, upstream.kind), (2, 3));
    }

    // What is refused has no exchange; its trace is the client's.
    let (status, headers, _) = chat(&gratis.origin, "sk-wrong", false, Some(&traceparent)).await;
    assert_eq!(status, 401);
    let spans = collector.spans_of(&gratis, headers[REPLY].to_str().unwrap(), 1).await;
    let request = &spans["request"];
    assert_eq!((hex(&request.trace_id), hex(&request.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
    assert_eq!(attribute(request, "error.type"), json!("invalid_api_key"));
    assert_eq!(spans.len(), 1, "{spans:?}");

    // Unless it is configured, no client's trace is gone on in.
    configure(&home, &simulator.origin(), &address, "");
    gratis.signal("HUP");
    gratis.wait_for("The configuration was read again.");
    let (_, headers, _) = chat(&gratis.origin, &key, false, Some(&traceparent)).await;
    let spans = collector.spans_of(&gratis, headers[REPLY].to_str().unwrap(), 4).await;
    assert!(hex(&spans["request"].trace_id) != TRACE && spans["request"].parent_span_id.is_empty());

    // The last one is sent at the end.
    let (_, headers, _) = chat(&gratis.origin, &key, false, None).await;
    gratis.signal("TERM");
    assert_eq!(gratis.ended().await.code(), Some(0), "{}", gratis.said());
    collector.spans_of(&gratis, headers[REPLY].to_str().unwrap(), 4).await;

    let resource = collector.requests()[0].resource_spans[0].resource.clone().unwrap();
    assert!(format!("{resource:?}").contains("\"gratis\""), "{resource:?}");
    let all = collector.bodies.lock().unwrap().concat();
    for secret in [PROMPT, &key, PROVIDER_KEY, &home.token()] {
        assert!(!all.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret} was exported");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_not_there_stops_nobody() {
    let simulator = simulator::start(simulator::Settings::default()).await.unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut home = Home::new(&simulator.origin(), "");
    // OpenTelemetry's own variable names it as well.
    home.set("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{closed}"));
    home.set("OTEL_BSP_SCHEDULE_DELAY", "50");
    let key = home.init("qwen-max=500,000/1,000,000");
    let mut gratis = home.serve();
    for _ in 0..8 {
        assert_eq!(chat(&gratis.origin, &key, true, None).await.0, 200);
    }
    gratis.signal("TERM");
    assert_eq!(gratis.ended().await.code(), Some(0), "{}", gratis.said());
}
