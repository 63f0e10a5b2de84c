//! Apps (`WIRE 2.2, 3.5`): which models one calls stands in the simulator's settings, not in the request.

use std::io;

use bytes::Bytes;
use http::{HeaderMap, Method};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use super::behaviour::Directives;
use super::chunks::Event;
use super::errors::Envelope;
use super::ledger::Charge;
use super::modes::Mode;
use super::prompt::Material;
use super::render::Head;
use super::route::{self, Answer};
use super::serve::Fate;
use super::state::State;
use super::ways::Way;
use super::{SimModel, SimUnit, chat, reading, shapes, socket, transport};

/// The app that a request line is about.
pub(super) fn id<'p>(method: &Method, path: &'p str) -> Option<&'p str> {
    let rest = path.strip_prefix("/api/v1/apps/").filter(|_| method == Method::POST)?;
    rest.strip_suffix("/completion").filter(|id| !id.is_empty() && !id.contains('/'))
}

/// Answers a call of an app: each of its models reads the prompt and answers, and is charged before anybody sees a byte.
pub(super) fn answer(state: &State, fate: &Fate, app: &str, headers: &HeaderMap, body: &Bytes) -> io::Result<Answer> {
    let root: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = root.pointer("/input/prompt").and_then(Value::as_str).unwrap_or_default().to_owned();
    let events = reading::enabled_header(headers, "x-dashscope-sse");
    let head = Head { way: Way::Native, unit: SimUnit::Tokens, events, ..route::head(state, "") };
    let refuse = |why: &Envelope| {
        state.shared().ledger.refuse(why.code);
        Ok(route::envelope(why, &head, fate))
    };
    if !chat::allowed(state, headers) {
        return refuse(&Envelope::invalid_key());
    }
    if text.is_empty() {
        return refuse(&Envelope::parameter("Required parameter(prompt) missing or invalid"));
    }
    let found = state.settings.apps.get(app);
    let models: Option<Vec<SimModel>> =
        found.and_then(|codes| codes.iter().map(|code| Some(state.model(code)?.0)).collect());
    let Some(models) = models else {
        return refuse(&Envelope { status: 400, ..Envelope::parameter("App is not exists.") });
    };
    let mut shared = state.shared();
    shared.calls = shared.calls.saturating_add(1);
    let mut rng = StdRng::seed_from_u64(state.settings.seed.rotate_left(32) ^ shared.calls);
    let ruled = shared.rules.decide(app, &mut rng);
    let directives = Directives::read(&text);
    let behaviour = directives.mode.map_or(ruled, super::behaviour::Behaviour::of);
    if let (Mode::Echo, Some(reply)) = (behaviour.mode, &behaviour.reply) {
        shared.ledger.refuse(behaviour.mode.name());
        drop(shared);
        return chat::echo(reply, behaviour.split_every, fate);
    }
    if let Some(envelope) = Envelope::of(behaviour.mode, app).filter(|_| behaviour.mode.is_refusal()) {
        drop(shared);
        return refuse(&envelope);
    }
    let material = Material::gather(&[json!({"role": "user", "content": text})], false, 0);
    let charges: Vec<(String, Charge)> =
        models.iter().map(|model| (model.code.clone(), cost(state, model, &material, &mut rng))).collect();
    for (code, charge) in &charges {
        shared.ledger.charge(code, behaviour.mode.name(), *charge);
    }
    drop(shared);
    let used = |(code, charge): &(String, Charge)| {
        let written = charge.answer.saturating_add(charge.thinking);
        json!({"model_id": code, "input_tokens": socket::told(behaviour.mode, charge.prompt),
            "output_tokens": socket::told(behaviour.mode, written)})
    };
    let usage = match behaviour.mode {
        Mode::NoUsage => json!({}),
        _ => json!({"models": charges.iter().map(used).collect::<Vec<Value>>()}),
    };
    let session = root.pointer("/input/session_id").and_then(Value::as_str);
    let session = session.map_or_else(|| head.request_id.replace('-', ""), ToOwned::to_owned);
    let body = |text: &str, finish: &str, usage: &Value| {
        json!({"output": {"finish_reason": finish, "session_id": session, "text": text}, "usage": usage,
            "request_id": head.request_id})
    };
    if !events {
        let whole = body("one two", "stop", &usage).to_string();
        return Ok(transport::plain(whole.into(), &behaviour, false, fate));
    }
    let parts = [("one ", "null", &json!({})), ("two", "null", &json!({})), ("", "stop", &usage)];
    let framed = |(number, (text, finish, usage)): (usize, &(&str, &str, &Value))| {
        shapes::framed(number + 1, "result", 200, &body(text, finish, usage))
    };
    let mut framed: Vec<Bytes> = parts.iter().enumerate().map(framed).collect();
    let last = framed.pop().map(Event::Last);
    let events: Vec<Event> = framed.into_iter().map(Event::Framed).chain(last).collect();
    Ok(transport::stream(&events, &behaviour, state.settings.chunk_delay, &head, fate))
}

/// What one of an app's models costs.
fn cost(state: &State, model: &SimModel, material: &Material, rng: &mut StdRng) -> Charge {
    if model.unit != SimUnit::Tokens {
        return Charge { prompt: model.max_units, ..Charge::default() };
    }
    if state.settings.worst {
        return Charge { prompt: model.window, answer: model.max_output, thinking: model.max_thinking };
    }
    let answer = rng.random_range(state.settings.answer.clone()).min(model.max_output);
    Charge { prompt: material.honest(rng).min(model.window), answer, thinking: 0 }
}
