//! Which call goes wrong, and how: the rules of `POST /behave` and the directives in a message.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rand::RngExt as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::modes::Mode;

/// A rule of `POST /behave`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    /// The mode's name; `none` takes the rule away.
    pub(super) mode: String,
    /// The part of the calls it applies to, 0 to 1.
    #[serde(default = "every_call")]
    pub(super) share: f64,
    /// Only calls of this model.
    pub(super) model: Option<String>,
    /// How many calls more; without it the rule stays.
    pub(super) calls: Option<u64>,
    /// Tokens charged instead of what the mode says.
    pub(super) charge: Option<u64>,
    /// Bytes a write, for `split` and `echo`.
    pub(super) split_every: Option<usize>,
    /// The reply of `echo`.
    pub(super) reply: Option<Reply>,
}

const fn every_call() -> f64 {
    1.0
}

/// A fixed reply.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reply {
    /// The status; 200 when absent.
    pub(super) status: Option<u16>,
    /// Header names and values.
    #[serde(default)]
    pub(super) headers: std::collections::BTreeMap<String, String>,
    /// The body as text.
    pub(super) body: Option<String>,
    /// The body in base64.
    pub(super) body_base64: Option<String>,
    /// Bytes a write.
    pub(super) split_every: Option<usize>,
    /// `clean` (the default), `reset`, `close` or `hang`.
    pub(super) end: Option<String>,
}

impl Reply {
    /// The bytes of the body.
    pub(super) fn bytes(&self) -> Result<Bytes, String> {
        match (&self.body, &self.body_base64) {
            (Some(_), Some(_)) => Err("reply: give body or body_base64, not both".to_owned()),
            (Some(text), None) => Ok(Bytes::from(text.clone())),
            (None, Some(coded)) => {
                STANDARD.decode(coded).map(Bytes::from).map_err(|error| format!("reply.body_base64: {error}"))
            }
            (None, None) => Ok(Bytes::new()),
        }
    }
}

/// What was decided for one call.
#[derive(Clone, Debug)]
pub(super) struct Behaviour {
    pub(super) mode: Mode,
    pub(super) charge: Option<u64>,
    pub(super) split_every: Option<usize>,
    pub(super) reply: Option<Reply>,
    /// Whether the call asked for a stream.
    pub(super) stream: bool,
}

impl Behaviour {
    pub(super) const fn of(mode: Mode) -> Self {
        Self { mode, charge: None, split_every: None, reply: None, stream: false }
    }
}

/// The rules in force, at most one a model and one for all.
#[derive(Debug, Default)]
pub(super) struct Rules(Vec<(Mode, Rule)>);

/// More rules than any test needs.
const MAX_RULES: usize = 256;

impl Rules {
    /// Puts a rule in force in place of the one for the same model; `none` without a model takes all away.
    pub(super) fn put(&mut self, rule: Rule) -> Result<(), String> {
        let mode = Mode::named(&rule.mode).ok_or_else(|| format!("mode: there is no {:?}", rule.mode))?;
        if !(0.0..=1.0).contains(&rule.share) {
            return Err(format!("share: {} is not between 0 and 1", rule.share));
        }
        if mode == Mode::Echo && rule.reply.is_none() {
            return Err("reply: echo needs one".to_owned());
        }
        if let Some(reply) = &rule.reply {
            check_reply(reply)?;
        }
        if mode == Mode::None && rule.model.is_none() {
            self.0.clear();
            return Ok(());
        }
        self.0.retain(|(_, old)| old.model != rule.model);
        if mode != Mode::None {
            if self.0.len() >= MAX_RULES {
                return Err(format!("there are {MAX_RULES} rules already"));
            }
            self.0.push((mode, rule));
        }
        Ok(())
    }

    /// What the rules say about this call: a rule for the model goes before the one for all.
    pub(super) fn decide(&mut self, model: &str, rng: &mut impl rand::Rng) -> Behaviour {
        let named = self.0.iter().position(|(_, rule)| rule.model.as_deref() == Some(model));
        let found = named.or_else(|| self.0.iter().position(|(_, rule)| rule.model.is_none()));
        let Some((index, (mode, rule))) = found.and_then(|at| self.0.get_mut(at).map(|found| (at, found))) else {
            return Behaviour::of(Mode::None);
        };
        if !rng.random_bool(rule.share) {
            return Behaviour::of(Mode::None);
        }
        let behaviour = Behaviour {
            mode: *mode,
            charge: rule.charge,
            split_every: rule.split_every,
            reply: rule.reply.clone(),
            stream: false,
        };
        if let Some(left) = rule.calls.as_mut() {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.0.remove(index);
            }
        }
        behaviour
    }

    /// Whether a fixed reply is in force for every call of this model.
    pub(super) fn echoes(&self, model: &str) -> bool {
        let named = self.0.iter().find(|(_, rule)| rule.model.as_deref() == Some(model));
        let found = named.or_else(|| self.0.iter().find(|(_, rule)| rule.model.is_none()));
        found.is_some_and(|(mode, rule)| *mode == Mode::Echo && rule.share >= 1.0)
    }

    /// The body of `GET /behave`.
    pub(super) fn to_json(&self) -> Value {
        let rules: Vec<Value> = self
            .0
            .iter()
            .map(|(mode, rule)| {
                json!({"mode": mode.name(), "share": rule.share, "model": rule.model, "calls": rule.calls})
            })
            .collect();
        let modes: Vec<&str> = Mode::ALL.iter().map(|(name, _)| *name).collect();
        json!({"rules": rules, "modes": modes})
    }
}

fn check_reply(reply: &Reply) -> Result<(), String> {
    reply.bytes()?;
    if let Some(status) = reply.status {
        http::StatusCode::from_u16(status).map_err(|_| format!("reply.status: {status} is none"))?;
    }
    match reply.end.as_deref() {
        None | Some("clean" | "reset" | "close" | "hang") => Ok(()),
        Some(other) => Err(format!("reply.end: {other:?} is not clean, reset, close or hang")),
    }
}

/// What a message itself asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Directives {
    pub(super) mode: Option<Mode>,
    pub(super) split_every: Option<usize>,
    pub(super) answer: Option<u64>,
    pub(super) thinking: Option<u64>,
    /// Whether a tool is to be called, where it says so.
    pub(super) tool: Option<bool>,
}

impl Directives {
    /// Reads every `[[sim:…]]` of the text. What is not understood is left alone: it is a caller's text.
    pub(super) fn read(text: &str) -> Self {
        let mut found = Self::default();
        for part in text.split("[[sim:").skip(1) {
            if let Some((words, _)) = part.split_once("]]") {
                words.split(',').for_each(|word| found.take(word.trim()));
            }
        }
        found
    }

    fn take(&mut self, word: &str) {
        if let Some(mode) = Mode::named(word) {
            self.mode = Some(mode);
        } else if word == "tool" {
            self.tool = Some(true);
        } else if word == "no-tool" {
            self.tool = Some(false);
        } else if let Some(size) = word.strip_prefix("split-").and_then(|size| size.parse().ok()) {
            self.mode = Some(Mode::Split);
            self.split_every = Some(size);
        } else if let Some(count) = word.strip_prefix("answer=").and_then(|count| count.parse().ok()) {
            self.answer = Some(count);
        } else if let Some(count) = word.strip_prefix("thinking=").and_then(|count| count.parse().ok()) {
            self.thinking = Some(count);
        }
    }
}
