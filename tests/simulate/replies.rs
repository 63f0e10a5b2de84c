//! What the upstream answers, in the bytes that it would send, and what it charges for it.

use bytes::Bytes;
use gratis::ledger::{Admitted, Usage};

use crate::dice::Dice;

/// A reply on its way.
#[derive(Clone, Debug)]
pub struct Reply {
    pub success: bool,
    pub stream: bool,
    /// In the pieces in which it arrives.
    pub pieces: Vec<Bytes>,
    /// How it ends; `None` = it never does.
    pub clean: Option<bool>,
    pub kind: &'static str,
}

/// What is written, which is nothing where nothing is charged for it.
fn written(usage: Usage) -> &'static str {
    if usage.output > 0 { "Hi" } else { "" }
}

fn usage_json(usage: Usage) -> String {
    let Usage { input, output } = usage;
    let total = input + output;
    format!(r#"{{"prompt_tokens":{input},"completion_tokens":{output},"total_tokens":{total}}}"#)
}

fn json(text: &str, usage: &str) -> String {
    format!(r#"{{"id":"c","choices":[{{"message":{{"content":"{text}"}},"finish_reason":"stop"}}],"usage":{usage}}}"#)
}

fn stream(text: &str, usage: Option<&str>, end: &str) -> String {
    let delta = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}],\"usage\":null}}\n\n");
    let usage = usage.map_or(String::new(), |usage| format!("data: {{\"choices\":[],\"usage\":{usage}}}\n\n"));
    format!("{delta}{delta}{usage}{end}")
}

fn error(code: &str) -> String {
    format!(r#"{{"error":{{"message":"no","code":"{code}","type":"x"}}}}"#)
}

/// What a call within these bounds really uses: often all of it.
fn used(dice: &mut Dice, admitted: &Admitted, all: bool) -> Usage {
    if all || dice.chance(40) {
        return Usage { input: admitted.input, output: admitted.output };
    }
    Usage { input: dice.between(1.min(admitted.input), admitted.input), output: dice.between(0, admitted.output) }
}

/// The reply to a chat call, and what is charged for it. `calm` = nothing goes wrong, and all that was asked for is used.
pub fn chat(dice: &mut Dice, admitted: &Admitted, calm: bool) -> (Option<Usage>, Reply) {
    let usage = used(dice, admitted, calm);
    let (told, text) = (usage_json(usage), written(usage));
    let done = "data: [DONE]\n\n";
    let roll = if calm { 0 } else { dice.between(0, 99) };
    let (kind, text, success, is_stream, charged) = match roll {
        0..45 => ("json", json(text, &told), true, false, true),
        45..70 => ("stream", stream(text, Some(&told), done), true, true, true),
        70..75 => (
            "error in the stream",
            stream(text, None, &format!("data: {}\n\n", error("InternalError"))),
            true,
            true,
            true,
        ),
        75..79 => ("no usage", stream(text, None, done), true, true, true),
        79..82 => (
            "negative usage",
            json(text, r#"{"prompt_tokens":-1,"completion_tokens":-9,"total_tokens":-10}"#),
            true,
            false,
            true,
        ),
        82..87 => ("rate limited", error("Throttling.RateQuota"), false, false, false),
        87..91 => ("error of the server", error("InternalError"), false, false, false),
        91 => ("used up", error("AllocationQuota.FreeTierOnly"), false, false, false),
        92..95 => (
            "error with a usage",
            format!(r#"{{"error":{{"code":"x","message":"m"}},"usage":{told}}}"#),
            false,
            false,
            true,
        ),
        // Cumulative figures, of which the last one is missing where the reply breaks off.
        _ => {
            let first = usage_json(Usage { input: usage.input, output: usage.output / 2 });
            let text = format!(
                "data: {{\"choices\":[{{\"delta\":{{}}}}],\"usage\":{first}}}\n\n{}",
                stream(text, Some(&told), done)
            );
            ("cumulative", text, true, true, true)
        }
    };
    let mut clean = Some(true);
    let mut length = text.len();
    if !calm && dice.chance(if kind == "cumulative" { 60 } else { 6 }) {
        length = dice.place(length);
        clean = [Some(false), None][usize::from(dice.chance(30))];
    }
    let pieces = cut(dice, &Bytes::from(text).slice(..length));
    (charged.then_some(usage), Reply { success, stream: is_stream, pieces, clean, kind })
}

/// The reply to a call that makes a task.
pub fn task(id: usize) -> Reply {
    let text = format!(r#"{{"output":{{"task_status":"PENDING","task_id":"task-{id}"}},"request_id":"r"}}"#);
    Reply { success: true, stream: false, pieces: vec![Bytes::from(text)], clean: Some(true), kind: "task" }
}

fn cut(dice: &mut Dice, text: &Bytes) -> Vec<Bytes> {
    if text.is_empty() {
        return Vec::new();
    }
    let mut cuts: Vec<usize> = (0..dice.place(3)).map(|_| dice.place(text.len())).collect();
    cuts.extend([0, text.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| text.slice(pair[0]..pair[1])).collect()
}
