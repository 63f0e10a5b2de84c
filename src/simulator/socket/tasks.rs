//! `/api-ws/v1/inference`: tasks one after another. Characters are charged as they arrive, seconds of audio likewise.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{Over, Talk, told};
use crate::simulator::errors::Envelope;
use crate::simulator::ledger::Charge;
use crate::simulator::modes::Mode;

/// A task in progress.
struct Task {
    id: String,
    model: String,
    mode: Mode,
    speech: bool,
    /// Bytes of one second of its audio.
    rate: u64,
    bytes: u64,
    /// Characters or seconds so far.
    units: u64,
}

pub(super) async fn speak(mut talk: Talk) {
    let mut task: Option<Task> = None;
    loop {
        let Ok(message) = talk.hear().await else { return };
        let done = match (message, &mut task) {
            (Message::Binary(audio), Some(task)) => listen(&mut talk, task, audio.len() as u64).await,
            (Message::Text(text), _) => {
                let value: Value = serde_json::from_str(&text).unwrap_or_default();
                match (value.pointer("/header/action").and_then(Value::as_str), &mut task) {
                    (Some("run-task"), None) => match begin(&talk, &value) {
                        Ok(begun) if begun.mode == Mode::NeverAnswer => return talk.hang().await,
                        Ok(begun) if begun.mode == Mode::ResetBeforeHead => return talk.break_off(begun.mode),
                        Ok(begun) => {
                            let begun = task.insert(begun);
                            let started = talk.say(&event(begun, "task-started", json!({}))).await;
                            match started {
                                Ok(()) => read(&mut talk, begun, &value).await,
                                over => over,
                            }
                        }
                        Err(failure) => {
                            let _ = talk.say(&failure).await;
                            return talk.close(1000, "task failed").await;
                        }
                    },
                    (Some("continue-task"), Some(task)) => read(&mut talk, task, &value).await,
                    (Some("finish-task"), Some(running)) => {
                        if running.mode == Mode::Cut {
                            return talk.close(1000, "cut").await;
                        }
                        let finished = finish(&mut talk, running).await;
                        task = None;
                        finished
                    }
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        };
        if done.is_err() {
            return;
        }
        match task.as_ref().filter(|task| task.units > 0).map(|task| task.mode) {
            Some(Mode::HangMidStream) => return talk.hang().await,
            Some(mode @ (Mode::ResetMidStream | Mode::Truncate)) => return talk.break_off(mode),
            Some(Mode::ErrorMidStream) => {
                if let Some(task) = &task {
                    let _ = talk.say(&failed(&task.id, "InternalError", "It broke in the middle.")).await;
                }
                return talk.close(1000, "task failed").await;
            }
            _ => {}
        }
    }
}

fn begin(talk: &Talk, value: &Value) -> Result<Task, Value> {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (id, model) = (text("/header/task_id"), text("/payload/model"));
    if talk.state.model(model).is_none() {
        talk.refuse("model_not_found");
        return Err(failed(id, "ModelNotFound", "Model can not be found."));
    }
    let (behaviour, _) = talk.decide(model);
    if behaviour.mode.is_refusal() {
        talk.refuse(behaviour.mode.name());
        let envelope = Envelope::of(behaviour.mode, model);
        let (code, message) = envelope.map_or(("InternalError", String::new()), |found| (found.code, found.message));
        return Err(failed(id, code, &message));
    }
    let rate = value.pointer("/payload/parameters/sample_rate").and_then(Value::as_u64).unwrap_or(16_000);
    talk.charge(model, behaviour.mode, Charge::default());
    Ok(Task {
        id: id.to_owned(),
        model: model.to_owned(),
        mode: behaviour.mode,
        speech: text("/payload/task") != "asr",
        rate: rate.saturating_mul(2).max(1),
        bytes: 0,
        units: 0,
    })
}

/// Speaks the text of a message.
async fn read(talk: &mut Talk, task: &mut Task, value: &Value) -> Result<(), Over> {
    let text = value.pointer("/payload/input/text").and_then(Value::as_str).unwrap_or_default();
    if !task.speech || text.is_empty() {
        return Ok(());
    }
    let characters: u64 = text.chars().map(|c| if is_han(c) { 2 } else { 1 }).sum();
    talk.charge_more(&task.model, characters);
    task.units = task.units.saturating_add(characters);
    let audio = text.bytes().flat_map(|byte| [byte, !byte]).collect();
    talk.send(audio).await?;
    let payload = json!({"output": {"sentence": {"words": []}}, "usage": usage(task)});
    talk.say(&event(task, "result-generated", payload)).await
}

/// Hears a piece of audio.
async fn listen(talk: &mut Talk, task: &mut Task, bytes: u64) -> Result<(), Over> {
    if task.speech {
        return Ok(());
    }
    task.bytes = task.bytes.saturating_add(bytes);
    let seconds = task.bytes.div_ceil(task.rate);
    let Some(more) = seconds.checked_sub(task.units).filter(|more| *more > 0) else { return Ok(()) };
    talk.charge_more(&task.model, more);
    task.units = seconds;
    let end = seconds.saturating_mul(1_000);
    let sentence = json!({"sentence_id": seconds, "begin_time": end - 1_000, "end_time": end, "text": "hm", "heartbeat": false,
        "sentence_end": true, "words": [{"begin_time": end - 1_000, "end_time": end, "text": "hm", "punctuation": ""}]});
    let payload = json!({"output": {"sentence": sentence}, "usage": usage(task)});
    talk.say(&event(task, "result-generated", payload)).await
}

async fn finish(talk: &mut Talk, task: &Task) -> Result<(), Over> {
    // The last message of a task may tell no usage: the one before counts (`WIRE 3.5`).
    talk.say(&event(task, "task-finished", json!({"output": {}, "usage": null}))).await
}

fn usage(task: &Task) -> Value {
    if task.mode == Mode::NoUsage {
        return Value::Null;
    }
    let units = told(task.mode, task.units);
    if task.speech { json!({"characters": units}) } else { json!({"duration": units}) }
}

fn event(task: &Task, name: &str, payload: Value) -> Value {
    json!({"header": {"task_id": task.id, "event": name, "attributes": {}}, "payload": payload})
}

fn failed(id: &str, code: &str, message: &str) -> Value {
    let header =
        json!({"task_id": id, "event": "task-failed", "error_code": code, "error_message": message, "attributes": {}});
    json!({"header": header, "payload": {}})
}

/// Whether a character is charged twice (`WIRE 4`): those of the Han script, by its blocks.
fn is_han(c: char) -> bool {
    let code = u32::from(c);
    let blocks =
        [(0x2e80, 0x2fdf), (0x3005, 0x3007), (0x3021, 0x3029), (0x3400, 0x4dbf), (0x4e00, 0x9fff), (0xf900, 0xfaff)];
    blocks.iter().any(|(from, to)| (*from..=*to).contains(&code)) || (0x2_0000..=0x3_ffff).contains(&code)
}
