//! `/api-ws/v1/realtime`: responses that the client asks for, or that begin by themselves where turns are detected: then every third
//! piece of audio ends one.

use rand::RngExt as _;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{Over, Talk, told};
use crate::simulator::SimModel;
use crate::simulator::errors::Envelope;
use crate::simulator::ledger::Charge;
use crate::simulator::modes::Mode;

/// What was said so far.
struct Session {
    model: SimModel,
    /// Tokens of the conversation.
    context: u64,
    /// Pieces of audio that came; `None` = turns are not detected.
    pieces: Option<u64>,
    /// The number of the next event.
    events: u64,
}

/// Pieces of audio that make a turn.
const TURN: u64 = 3;
/// Tokens of the instructions.
const BASE: u64 = 32;

impl Session {
    fn event(&mut self, kind: &str, rest: &Value) -> Value {
        self.events = self.events.saturating_add(1);
        let mut event = json!({"event_id": format!("event_{}", self.events), "type": kind});
        if let (Some(event), Some(rest)) = (event.as_object_mut(), rest.as_object()) {
            event.extend(rest.clone());
        }
        event
    }
}

pub(super) async fn speak(mut talk: Talk, code: String) {
    let Some((model, _)) = talk.state.model(&code) else {
        talk.refuse("model_not_found");
        let _ = talk.say(&error("event_1", "model_not_found", "Model can not be found.")).await;
        return talk.close(1008, "model_not_found").await;
    };
    let mut session = Session { model, context: BASE, pieces: None, events: 0 };
    let created = session.event("session.created", &json!({"session": {"object": "realtime.session", "model": code}}));
    if talk.say(&created).await.is_err() {
        return;
    }
    loop {
        let Ok(message) = talk.hear().await else { return };
        let Message::Text(text) = message else { continue };
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        let (answer, responds) = hear(&mut session, &value);
        if let Some(answer) = answer
            && talk.say(&answer).await.is_err()
        {
            return;
        }
        if !responds {
            continue;
        }
        match respond(&mut talk, &mut session).await {
            Ok(Mode::Cut) => return talk.close(1000, "cut").await,
            Ok(Mode::HangMidStream | Mode::NeverAnswer) => return talk.hang().await,
            Ok(mode @ (Mode::ResetMidStream | Mode::ResetBeforeHead | Mode::Truncate)) => return talk.break_off(mode),
            Ok(mode) if mode.is_refusal() => return talk.close(1008, "refused").await,
            Ok(_) => {}
            Err(Over) => return,
        }
    }
}

/// What an event of the client's is answered by, and whether a response follows.
fn hear(session: &mut Session, value: &Value) -> (Option<Value>, bool) {
    let size = |value: Option<&Value>| value.map_or(0, |value| value.to_string().len() as u64);
    match value.get("type").and_then(Value::as_str).unwrap_or_default() {
        "session.update" => {
            let detects = value.pointer("/session/turn_detection").is_some_and(|found| !found.is_null());
            session.pieces = detects.then_some(0);
            session.context = session.context.saturating_add(size(value.pointer("/session/instructions")));
            (Some(session.event("session.updated", &json!({"session": {}}))), false)
        }
        "conversation.item.create" => {
            session.context = session.context.saturating_add(size(value.pointer("/item/content")));
            (Some(session.event("conversation.item.created", &json!({"item": {}}))), false)
        }
        "input_audio_buffer.append" => {
            session.context = session.context.saturating_add(size(value.get("audio")) / 64);
            let turns = session.pieces.as_mut().is_some_and(|pieces| {
                *pieces = pieces.saturating_add(1);
                *pieces % TURN == 0
            });
            (None, turns)
        }
        "input_audio_buffer.commit" => (Some(session.event("input_audio_buffer.committed", &json!({}))), false),
        "response.create" => (None, true),
        _ => (None, false),
    }
}

/// One response, charged before its first event; answers how it went.
async fn respond(talk: &mut Talk, session: &mut Session) -> Result<Mode, Over> {
    let code = session.model.code.clone();
    let (behaviour, mut rng) = talk.decide(&code);
    let mode = behaviour.mode;
    if mode.is_refusal() {
        talk.refuse(mode.name());
        let envelope = Envelope::of(mode, &code).map_or(("internal_error", String::new()), |e| (e.code, e.message));
        talk.say(&error("event_0", envelope.0, &envelope.1)).await?;
        return Ok(mode);
    }
    let settings = &talk.state.settings;
    let (input, output) = if settings.worst {
        (session.model.window, session.model.max_output)
    } else {
        let wanted = rng.random_range(settings.answer.clone());
        (session.context.min(session.model.window), wanted.min(session.model.max_output))
    };
    talk.charge(&code, mode, Charge { prompt: input, answer: output, thinking: 0 });
    session.context = session.context.saturating_add(output);
    if mode == Mode::NeverAnswer || mode == Mode::ResetBeforeHead {
        return Ok(mode);
    }
    let id = format!("resp_{}", session.events);
    let begun = json!({"response": {"id": id, "object": "realtime.response", "status": "in_progress", "usage": null}});
    let begun = session.event("response.created", &begun);
    talk.say(&begun).await?;
    for piece in ["one ", "two ", "three"] {
        let delta = session.event("response.audio_transcript.delta", &json!({"response_id": id, "delta": piece}));
        talk.say(&delta).await?;
        if matches!(mode, Mode::Cut | Mode::HangMidStream | Mode::ResetMidStream | Mode::Truncate) {
            return Ok(mode);
        }
    }
    let usage = match mode {
        Mode::NoUsage => Value::Null,
        _ => json!({"total_tokens": told(mode, input.saturating_add(output)), "input_tokens": told(mode, input),
            "output_tokens": told(mode, output), "input_tokens_details": {"text_tokens": input, "audio_tokens": 0}}),
    };
    let done = json!({"response": {"id": id, "object": "realtime.response", "status": "completed", "output": [], "usage": usage}});
    let done = session.event("response.done", &done);
    talk.say(&done).await?;
    Ok(mode)
}

fn error(id: &str, code: &str, message: &str) -> Value {
    json!({"event_id": id, "type": "error", "error": {"type": code, "code": code, "message": message, "param": null}})
}
