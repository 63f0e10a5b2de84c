//! Which request goes where.

use std::io;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::delivery::{Script, Step};
use super::errors::Envelope;
use super::recorder::Seen;
use super::render::{self, Head};
use super::serve::Fate;
use super::state::State;
use super::ways::{Family, Way};
use super::{SimUnit, apps, chat, control, shapes};

/// A reply whose body is a script.
pub(super) type Answer = Response<Script>;

/// The largest body that is read.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// Answers one request.
///
/// # Errors
/// Only to end the connection without a reply.
pub(super) async fn answer(state: &State, fate: &Fate, request: Request<Incoming>) -> io::Result<Answer> {
    let (parts, body) = request.into_parts();
    // A body that breaks off is the end of the connection: nothing was asked, nothing is charged.
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        return Err(io::Error::other("the request's body is too long or broke off"));
    };
    let body = body.to_bytes();
    let path = parts.uri.path();
    if let Some(answer) = control::answer(state, &parts.method, &parts.uri, &body) {
        let (status, value) = answer;
        return Ok(json_answer(status, &value, fate));
    }
    let path_and_query = parts.uri.path_and_query().map_or(path, |all| all.as_str());
    state.shared().recorder.take(Seen {
        number: 0,
        method: parts.method.to_string(),
        path: path_and_query.to_owned(),
        version: format!("{:?}", parts.version),
        headers: parts.headers.clone(),
        body: body.clone(),
    });
    if let Some(app) = apps::id(&parts.method, path) {
        return apps::answer(state, fate, app, &parts.headers, &body);
    }
    if let Some(way) = Way::of(&parts.method, path) {
        return chat::answer(state, fate, way, &parts.headers, &body).await;
    }
    if let Some(echo) = echo(state) {
        return chat::echo(&echo, None, fate);
    }
    if parts.method == Method::GET && path.split('/').any(|part| part == "models") {
        return Ok(models(state, path, fate));
    }
    let head = head(state, "");
    if let Some((status, value)) = thing(state, &parts.method, path, &head.request_id) {
        return Ok(json_answer(status, &value, fate));
    }
    let mut unknown = Envelope::unreadable(&format!("There is no {} {path} here.", parts.method));
    unknown.status = 404;
    Ok(envelope(&unknown, &head, fate))
}

/// The reply of an echo rule that is for all models.
fn echo(state: &State) -> Option<super::behaviour::Reply> {
    let mut shared = state.shared();
    let mut rng = StdRng::seed_from_u64(state.settings.seed);
    if shared.rules.echoes("") { shared.rules.decide("", &mut rng).reply } else { None }
}

/// What is said of a task or another thing with an id.
fn thing(state: &State, method: &Method, path: &str, request_id: &str) -> Option<(StatusCode, Value)> {
    let mut shared = state.shared();
    let super::state::Shared { things, ledger, .. } = &mut *shared;
    things.answer(ledger, method, path, request_id)
}

fn models(state: &State, path: &str, fate: &Fate) -> Answer {
    let model = |code: &str| json!({"id": code, "object": "model", "created": 1_790_000_000, "owned_by": "system"});
    match path.rsplit_once("/models/") {
        Some((_, code)) if !code.is_empty() => match state.model(code) {
            Some(_) => json_answer(StatusCode::OK, &model(code), fate),
            None => envelope(&Envelope::unknown_model(code), &head(state, code), fate),
        },
        _ => {
            let all: Vec<Value> = state.settings.models.iter().map(|known| model(&known.code)).collect();
            json_answer(StatusCode::OK, &json!({"object": "list", "data": all}), fate)
        }
    }
}

pub(super) fn head(state: &State, model: &str) -> Head {
    let seed = state.shared().recorder.count() ^ state.settings.seed.rotate_left(16);
    let mut rng = StdRng::seed_from_u64(seed);
    Head {
        id: format!("chatcmpl-{}", render::uuid(&mut rng)),
        request_id: render::uuid(&mut rng),
        model: model.to_owned(),
        created: chat::now().as_secs(),
        way: Way::Chat,
        unit: SimUnit::Tokens,
        events: false,
    }
}

/// A complete error envelope.
pub(super) fn envelope(envelope: &Envelope, head: &Head, fate: &Fate) -> Answer {
    let status = StatusCode::from_u16(envelope.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if head.events && head.way.family() == Family::Native {
        // A refused stream is one event under the error's status (`WIRE 1.3`).
        let mut answer = stream([Step::Send(shapes::error_event(envelope, head))], fate);
        *answer.status_mut() = status;
        return answer;
    }
    let body = shapes::error(envelope, head);
    json_answer(status, &body, fate)
}

/// A JSON reply sent whole.
pub(super) fn json_answer(status: StatusCode, value: &Value, fate: &Fate) -> Answer {
    let mut answer = json_head(fate).map(|_| Script::whole(value.to_string(), fate));
    *answer.status_mut() = status;
    answer
}

/// A 200 of JSON without a body yet.
pub(super) fn json_head(fate: &Fate) -> Answer {
    dated(Response::new(Script::whole(Bytes::new(), fate)), "application/json")
}

/// A 200 of events.
pub(super) fn stream(steps: impl IntoIterator<Item = Step>, fate: &Fate) -> Answer {
    dated(Response::new(Script::new(steps, fate)), "text/event-stream;charset=UTF-8")
}

/// The headers of recorded replies (`WIRE 2.4`).
fn dated(mut answer: Answer, kind: &'static str) -> Answer {
    let now = HeaderValue::from(u64::try_from(chat::now().as_millis()).unwrap_or(u64::MAX));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert("server", HeaderValue::from_static("istio-envoy"));
    headers.insert("x-dashscope-call-gateway", HeaderValue::from_static("true"));
    headers.insert("x-envoy-upstream-service-time", HeaderValue::from_static("1"));
    headers.insert("req-cost-time", HeaderValue::from_static("1"));
    headers.insert("req-arrive-time", now.clone());
    headers.insert("resp-start-time", now);
    let vary = "Origin,Access-Control-Request-Method,Access-Control-Request-Headers, Accept-Encoding";
    headers.insert("vary", HeaderValue::from_static(vary));
    answer
}
