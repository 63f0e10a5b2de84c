//! The simulator: its shapes, its charges, its misbehaviour.

mod charges;
mod control;
mod delivery;
mod shapes;

use bytes::Bytes;
use gratis::simulator::{Running, Settings, SimModel};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

pub(crate) type TestClient = Client<HttpConnector, Full<Bytes>>;

pub(crate) fn client() -> TestClient {
    Client::builder(TokioExecutor::new()).build_http()
}

/// A simulator on a free port with one listed model, and a client for it.
pub(crate) struct Bench {
    pub(crate) running: Running,
    pub(crate) client: TestClient,
}

/// A model that can think, of ordinary size.
pub(crate) fn model() -> SimModel {
    SimModel { max_output: 1_000, max_thinking: 2_000, ..SimModel::new("qwen-plus") }
}

impl Bench {
    pub(crate) async fn new(settings: Settings) -> Self {
        Self { running: gratis::simulator::start(settings).await.unwrap(), client: client() }
    }

    pub(crate) async fn listed() -> Self {
        Self::new(Settings { models: vec![model()], ..Settings::default() }).await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.running.origin())
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response<Incoming> {
        self.send(path, body.to_string(), &[]).await.unwrap()
    }

    pub(crate) async fn send(
        &self,
        path: &str,
        body: String,
        headers: &[(&str, &str)],
    ) -> Result<Response<Incoming>, hyper_util::client::legacy::Error> {
        let mut request = Request::post(self.url(path)).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.client.request(request.body(Full::from(body)).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let request = Request::get(self.url(path)).body(Full::default()).unwrap();
        json_of(self.client.request(request).await.unwrap()).await
    }

    /// A chat call; the body gets model and one user message unless it has them.
    pub(crate) async fn chat(&self, text: &str, extra: Value) -> Response<Incoming> {
        self.post("/compatible-mode/v1/chat/completions", &chat(text, extra)).await
    }

    pub(crate) async fn ledger(&self) -> Value {
        self.get("/ledger").await.1
    }

    /// (calls, tokens) of the listed model.
    pub(crate) async fn charged(&self) -> (u64, u64) {
        let ledger = self.ledger().await;
        let line = &ledger["models"]["qwen-plus"];
        (line["calls"].as_u64().unwrap_or(0), line["charged"].as_u64().unwrap_or(0))
    }

    pub(crate) async fn behave(&self, rule: Value) {
        let (status, body) = json_of(self.post("/behave", &rule).await).await;
        assert_eq!(status, 200, "{body}");
    }
}

pub(crate) fn chat(text: &str, extra: Value) -> Value {
    let mut body = json!({"model": "qwen-plus", "messages": [{"role": "user", "content": text}]});
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

pub(crate) async fn bytes_of(response: Response<Incoming>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

pub(crate) async fn json_of(response: Response<Incoming>) -> (u16, Value) {
    let status = response.status().as_u16();
    let bytes = bytes_of(response).await;
    (status, serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("no JSON: {bytes:?}")))
}

/// The payloads of a stream in the plain framing, `[DONE]` as a string.
pub(crate) fn payloads(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    assert!(text.is_empty() || text.ends_with("\n\n"), "{text:?}");
    text.split_terminator("\n\n")
        .map(|event| event.strip_prefix("data: ").unwrap_or_else(|| panic!("no event: {event:?}")))
        .map(|data| if data == "[DONE]" { json!("[DONE]") } else { serde_json::from_str(data).unwrap() })
        .collect()
}

pub(crate) async fn events_of(response: Response<Incoming>) -> Vec<Value> {
    assert_eq!(response.headers()["content-type"], "text/event-stream;charset=UTF-8");
    payloads(&bytes_of(response).await)
}

/// The texts of one field of every delta, joined.
pub(crate) fn joined(events: &[Value], index: u64, field: &str) -> String {
    let choices = events.iter().filter_map(|event| event["choices"].get(0));
    choices
        .filter(|choice| choice["index"] == index)
        .filter_map(|choice| choice["delta"][field].as_str().map(str::to_owned))
        .collect()
}
