//! A chat request as this upstream reads it.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::behaviour::Directives;
use super::errors::Envelope;
use super::prompt::Material;
use super::ways::Way;

/// What a chat request asks for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) way: Way,
    pub(super) model: String,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) choices: u64,
    /// The smaller of `max_tokens` and `max_completion_tokens`.
    pub(super) max_tokens: Option<u64>,
    pub(super) enable_thinking: Option<bool>,
    pub(super) thinking_budget: Option<u64>,
    /// The tool to call, with its parameters' schema.
    pub(super) tool: Option<(String, Value)>,
    pub(super) material: Material,
    pub(super) directives: Directives,
    /// Units other than tokens that the request itself names.
    pub(super) units: Option<u64>,
    /// It is to go on as a task.
    pub(super) task: bool,
}

/// The lengths of these, as they were written, go into the prompt.
#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(borrow)]
    response_format: Option<&'a RawValue>,
}

/// Most choices of one call (`bounds.json`: the provider allows 1 to 4).
const MAX_CHOICES: u64 = 4;

impl Asked {
    /// Reads a body.
    ///
    /// # Errors
    /// The envelope that the caller gets.
    pub(super) fn read(body: &[u8]) -> Result<Self, Envelope> {
        let root: Value = serde_json::from_slice(body)
            .map_err(|error| Envelope::unreadable(&format!("The request body is not valid JSON: {error}")))?;
        let model = root
            .get("model")
            .and_then(Value::as_str)
            .filter(|model| !model.is_empty())
            .ok_or_else(|| Envelope::unreadable("you must provide a model parameter."))?;
        let messages = root
            .get("messages")
            .and_then(Value::as_array)
            .filter(|messages| !messages.is_empty() && messages.iter().all(Value::is_object))
            .ok_or_else(|| Envelope::parameter("messages should be a list of at least one message"))?;
        let last = last_text(messages);
        let directives = Directives::read(&last);
        let tool = tool(&root, &last, &directives);
        Ok(Self {
            way: Way::Chat,
            units: None,
            task: false,
            model: model.to_owned(),
            stream: flag(&root, "stream")?.unwrap_or(false),
            include_usage: root.pointer("/stream_options/include_usage").and_then(Value::as_bool).unwrap_or(false),
            choices: count(&root, "n", 1, MAX_CHOICES)?.unwrap_or(1),
            max_tokens: max_tokens(&root)?,
            enable_thinking: flag(&root, "enable_thinking")?,
            thinking_budget: count(&root, "thinking_budget", 1, u64::MAX)?,
            tool,
            material: Material::gather(messages, has_tools(&root), json_bytes(body)),
            directives,
        })
    }
}

/// The bytes of tools and response format as written. A body with one of them twice counts as neither, which only a
/// test of that very thing would notice.
fn json_bytes(body: &[u8]) -> u64 {
    let length = |raw: Option<&RawValue>| raw.map_or(0, |raw| raw.get().len() as u64);
    serde_json::from_slice::<Raw<'_>>(body).map_or(0, |raw| length(raw.tools) + length(raw.response_format))
}

fn has_tools(root: &Value) -> bool {
    root.get("tools").and_then(Value::as_array).is_some_and(|tools| !tools.is_empty())
}

pub(super) fn flag(root: &Value, name: &str) -> Result<Option<bool>, Envelope> {
    match root.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(Envelope::parameter(&format!("{name} should be a boolean"))),
    }
}

pub(super) fn count(root: &Value, name: &str, least: u64, most: u64) -> Result<Option<u64>, Envelope> {
    match root.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64().filter(|count| (least..=most).contains(count)) {
            Some(count) => Ok(Some(count)),
            None if most == u64::MAX => Err(Envelope::parameter(&format!("{name} should be a positive integer"))),
            None => Err(Envelope::parameter(&format!("Range of {name} should be [{least}, {most}]"))),
        },
    }
}

fn max_tokens(root: &Value) -> Result<Option<u64>, Envelope> {
    let old = count(root, "max_tokens", 1, u64::MAX)?;
    let new = count(root, "max_completion_tokens", 1, u64::MAX)?;
    Ok(old.into_iter().chain(new).min())
}

/// The text of the last message if a user wrote it.
fn last_text(messages: &[Value]) -> String {
    let Some(last) = messages.last().filter(|last| last.get("role").and_then(Value::as_str) == Some("user")) else {
        return String::new();
    };
    match last.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    }
}

/// The function to call: the one that `tool_choice` names, the first with `required`, otherwise one that the last
/// user message speaks of, by its name or as "tool".
fn tool(root: &Value, last: &str, directives: &Directives) -> Option<(String, Value)> {
    let functions: Vec<&Value> =
        root.get("tools")?.as_array()?.iter().filter_map(|tool| tool.get("function")).collect();
    let name = |function: &Value| function.get("name").and_then(Value::as_str).unwrap_or("").to_owned();
    let chosen = match root.get("tool_choice") {
        Some(Value::String(choice)) if choice == "none" => None,
        Some(Value::String(choice)) if choice == "required" => functions.first(),
        Some(Value::Object(choice)) => {
            let wanted = choice.get("function").and_then(|function| function.get("name")).and_then(Value::as_str);
            functions.iter().find(|function| Some(name(function).as_str()) == wanted)
        }
        _ => {
            let speaks = directives.tool.unwrap_or_else(|| last.to_lowercase().contains("tool"));
            let named = functions.iter().find(|function| {
                let name = name(function);
                !name.is_empty() && last.contains(&name)
            });
            named.or_else(|| functions.first().filter(|_| speaks)).filter(|_| directives.tool != Some(false))
        }
    }?;
    Some((name(chosen), chosen.get("parameters").cloned().unwrap_or(Value::Null)))
}
