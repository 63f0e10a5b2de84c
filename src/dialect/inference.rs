//! Tasks over WebSocket (`/api-ws/v1/inference`, W 1.5, 2.2, 3.5): what a client's message asks for, and what a server's tells.

use serde::Serialize;

use super::Reference;
use super::envelope::native_code;
use super::error::{DialectError, UpstreamError};
use super::members::{members, string};
use crate::ledger::{Amount, Unit};

/// The longest id of a task that is read, in bytes.
const MAX_ID: usize = 128;
/// No task uses more; a larger figure is a mistake of the upstream's and must not empty a grant.
const MAX_UNITS: f64 = 1e9;

/// What a client's message asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// A new task.
    Run(Run),
    /// More of its input.
    Continue {
        /// Whose.
        task: String,
        /// Characters of the text, as they are charged at most.
        characters: Amount,
    },
    /// Its input is complete.
    Finish {
        /// Whose.
        task: String,
    },
}

/// A task to begin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// Its id, which the client made.
    pub task: String,
    /// The model code, exactly as written.
    pub model: String,
    /// Whether the client says when its input is complete.
    pub streams_in: bool,
    /// Characters of the text that came with it, as they are charged at most.
    pub characters: Amount,
    /// What its audio is.
    pub audio: Audio,
    /// The voice and the list of words that it is made with, which may be an account's own.
    pub references: Vec<Reference>,
}

/// How many seconds the bytes of an input are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audio {
    /// Samples that are not compressed.
    Plain {
        /// Bytes of one second.
        bytes_per_second: u64,
    },
    /// Compressed: the bytes bound nothing.
    Compressed,
}

impl Audio {
    /// The most seconds that so many bytes are.
    #[must_use]
    pub fn seconds(self, bytes: u64) -> Option<Amount> {
        match self {
            Self::Plain { bytes_per_second } => Some(bytes.div_ceil(bytes_per_second.max(1))),
            Self::Compressed => None,
        }
    }
}

/// What a server's message tells of a task.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TaskEvent {
    /// How far the task is.
    pub state: TaskState,
    /// What it used so far, in its model's unit; the figure grows.
    pub usage: Option<Amount>,
    /// A usage stood there and cannot be counted.
    pub malformed: bool,
}

/// How far a task is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TaskState {
    /// It was accepted.
    Started,
    /// It goes on.
    Running,
    /// It is done.
    Finished,
    /// It ended with an error.
    Failed(UpstreamError),
}

/// Reads a client's message.
///
/// # Errors
/// It is no message of this API, or could be read as another one. The text is meant for the client.
pub fn command(text: &str) -> Result<Command, DialectError> {
    let [header, payload] = members(text, ["header", "payload"])?;
    let lacks = |what: &str| DialectError::request(format!("The message has no `{what}`."));
    let [action, task, streaming] =
        members(header.ok_or_else(|| lacks("header"))?, ["action", "task_id", "streaming"])?;
    let action = string(action).ok_or_else(|| lacks("header.action"))?;
    let task = string(task).filter(|id| is_id(id)).ok_or_else(|| lacks("header.task_id"))?;
    match action.as_str() {
        "run-task" => {
            let [model, parameters, input, resources] =
                members(payload.ok_or_else(|| lacks("payload"))?, ["model", "parameters", "input", "resources"])?;
            let model = string(model).ok_or_else(|| lacks("payload.model"))?;
            let (audio, spoken, references) = self::parameters(parameters)?;
            let given = text_of(input)?.saturating_add(spoken).saturating_add(raw_length(resources));
            let streams_in = string(streaming).is_some_and(|way| matches!(way.as_str(), "duplex" | "in"));
            Ok(Command::Run(Run { task, model, streams_in, characters: given, audio, references }))
        }
        "continue-task" => {
            let [input] = members(payload.ok_or_else(|| lacks("payload"))?, ["input"])?;
            Ok(Command::Continue { task, characters: text_of(input)? })
        }
        "finish-task" => {
            let input = match payload {
                Some(payload) => members(payload, ["input"])?[0],
                None => None,
            };
            // Nothing may be said for the first time here: it would go up without a hold.
            if text_of(input)? > 0 {
                return Err(DialectError::request("`finish-task` carries no input."));
            }
            Ok(Command::Finish { task })
        }
        _ => Err(DialectError::request("`header.action` must be run-task, continue-task or finish-task.")),
    }
}

/// The audio that is announced, and the characters of an instruction that may be charged as text.
fn parameters(raw: Option<&str>) -> Result<(Audio, Amount, Vec<Reference>), DialectError> {
    let Some(raw) = raw else { return Ok((Audio::Compressed, 0, Vec::new())) };
    let [format, rate, instruction, voice, words] =
        members(raw, ["format", "sample_rate", "instruction", "voice", "vocabulary_id"])?;
    let references = voices([voice, words])?;
    // Without a rate the lowest one that is served, so that the bytes are the most seconds.
    let rate = match rate {
        Some(rate) => rate.parse().ok().filter(|rate| (8_000..=192_000).contains(rate)),
        None => Some(8_000_u64),
    };
    let audio = match (string(format).as_deref(), rate) {
        // Samples of two bytes, one channel.
        (Some("pcm"), Some(rate)) => Audio::Plain { bytes_per_second: rate.saturating_mul(2) },
        // The header of the file has the last word; this is the least that it can say.
        (Some("wav"), _) => Audio::Plain { bytes_per_second: 8_000 },
        _ => Audio::Compressed,
    };
    Ok((audio, raw_length(instruction), references))
}

/// The voices, or lists of words, that a message names.
pub(super) fn voices<const N: usize>(named: [Option<&str>; N]) -> Result<Vec<Reference>, DialectError> {
    let mut references = Vec::new();
    for raw in named.into_iter().flatten() {
        let id = string(Some(raw)).ok_or_else(|| DialectError::request("A voice must be named by text."))?;
        references.extend(Reference::voice(id));
    }
    Ok(references)
}

/// The characters of an input: those of its text, and everything else in it as it is written.
fn text_of(input: Option<&str>) -> Result<Amount, DialectError> {
    let Some(input) = input.filter(|input| input.trim_ascii() != "{}") else { return Ok(0) };
    let [text] = members(input, ["text"])?;
    match string(text) {
        Some(said) => {
            let beside = input.len().saturating_sub(text.map_or(0, str::len)).saturating_sub(r#"{"text":}"#.len());
            Ok(characters(&said).saturating_add(beside as u64))
        }
        None => Ok(raw_length(Some(input))),
    }
}

fn raw_length(raw: Option<&str>) -> Amount {
    raw.map_or(0, characters)
}

/// Characters as they are charged where a text is spoken: a Han character counts 2, others 1 (W 4). Whatever is not ASCII is
/// taken for one, so that nobody's table of the script matters; the settlement gives the rest back.
#[must_use]
fn characters(text: &str) -> Amount {
    text.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum()
}

/// Whether an id is one that can be passed around: letters, digits and a few signs.
fn is_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= MAX_ID
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
}

/// Reads a server's message; `None` where it is none about a task. Nothing can fail here: what cannot be read counts for nothing.
#[must_use]
pub fn task_event(text: &str, unit: Unit) -> Option<TaskEvent> {
    let [header, payload] = members(text, ["header", "payload"]).ok()?;
    let [event, code, message] = members(header?, ["event", "error_code", "error_message"]).ok()?;
    let state = match string(event)?.as_str() {
        "task-started" => TaskState::Started,
        "task-finished" => TaskState::Finished,
        "task-failed" => TaskState::Failed(UpstreamError::new(
            &string(code).unwrap_or_default(),
            &string(message).unwrap_or_default(),
        )),
        _ => TaskState::Running,
    };
    let usage = payload.and_then(|payload| members(payload, ["usage"]).ok()).and_then(|[usage]| usage);
    let read = usage.map(|usage| count(usage, unit));
    Some(TaskEvent { state, usage: read.flatten(), malformed: read == Some(None) })
}

/// The figure of a usage: characters, or seconds rounded up (W 3.5).
fn count(usage: &str, unit: Unit) -> Option<Amount> {
    let [characters, duration, seconds] = members(usage, ["characters", "duration", "seconds"]).ok()?;
    let figure = match unit {
        Unit::Characters => characters,
        Unit::Seconds => duration.or(seconds),
        Unit::Tokens | Unit::Images | Unit::Voices => None,
    };
    whole(figure?)
}

/// A number as whole units, rounded up; `None` where it is none that can be counted.
fn whole(raw: &str) -> Option<Amount> {
    let number: f64 = raw.parse().ok().filter(|number| (0.0..=MAX_UNITS).contains(number))?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 0 and a billion")]
    Some(number.ceil() as Amount)
}

#[derive(Serialize)]
struct Message<'a, P: Serialize> {
    header: Header<'a>,
    payload: P,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Header<'a> {
    Failed { task_id: &'a str, event: &'a str, error_code: &'a str, error_message: &'a str, attributes: Empty },
    Finish { action: &'a str, task_id: &'a str, streaming: &'a str },
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
struct Input {
    input: Empty,
}

/// An error about a task, as the service has it (W 1.5). `code` is a code of the OpenAI dialect or of the service's own.
#[must_use]
pub fn task_failed(task: &str, code: &str, message: &str) -> String {
    let error_code = native_code(code);
    let header = Header::Failed {
        task_id: task,
        event: "task-failed",
        error_code,
        error_message: message,
        attributes: Empty {},
    };
    serde_json::to_string(&Message { header, payload: Empty {} }).unwrap_or_default()
}

/// What says that a task's input is complete, where its client does not say it any more.
#[must_use]
pub fn finish_task(task: &str) -> String {
    let header = Header::Finish { action: "finish-task", task_id: task, streaming: "duplex" };
    serde_json::to_string(&Message { header, payload: Input { input: Empty {} } }).unwrap_or_default()
}
