//! How many tokens a prompt has: an honest estimate, and the worst that it could be.

use rand::RngExt as _;
use serde_json::Value;
use unicode_normalization::UnicodeNormalization as _;

use super::SimModel;

/// Tokens of the chat template a message at most, per request, and with tools (`LEDGER 7`).
const TEMPLATE: (u64, u64, u64) = (16, 512, 512);
/// Bytes of tool JSON may come back so many times longer when the template writes them anew (`LEDGER 7`).
const TOOL_FACTOR: u64 = 6;
/// An honest guess at the tokens of one image, sound or video.
const HONEST_MEDIA: u64 = 1_280;

/// What of a request turns into prompt tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Material {
    /// Messages.
    messages: u64,
    /// ASCII bytes and other characters of the normalised text, and all its bytes.
    ascii: u64,
    others: u64,
    nfc_bytes: u64,
    /// Bytes of JSON that the template writes anew: tools, response format, tool calls.
    json_bytes: u64,
    /// Whether tools were sent.
    tools: bool,
    /// Images, sounds and videos.
    media: u64,
}

impl Material {
    /// Gathers it from the messages. `json_bytes` is the raw length of tools and response format.
    pub(super) fn gather(messages: &[Value], tools: bool, json_bytes: u64) -> Self {
        let mut material = Self { tools, json_bytes, ..Self::default() };
        for message in messages {
            material.messages += 1;
            for name in ["content", "reasoning_content", "name"] {
                material.content(message.get(name));
            }
            if let Some(calls) = message.get("tool_calls") {
                material.json_bytes += calls.to_string().len() as u64;
            }
        }
        material
    }

    /// Leaves the template's messages out: the text is read as it is.
    pub(super) const fn plain(&mut self) {
        self.messages = 0;
    }

    fn content(&mut self, content: Option<&Value>) {
        match content {
            Some(Value::String(text)) => self.text(text),
            Some(Value::Array(parts)) => parts.iter().for_each(|part| self.part(part)),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => (),
        }
    }

    fn part(&mut self, part: &Value) {
        match part.get("text") {
            Some(Value::String(text)) => self.text(text),
            _ => match part.get("type").and_then(Value::as_str) {
                Some("tool_use") => self.json_bytes += part.to_string().len() as u64,
                Some("tool_result") => self.content(part.get("content")),
                // A text that is not there.
                Some(kind) if kind.ends_with("text") => (),
                _ => self.media += 1,
            },
        }
    }

    fn text(&mut self, text: &str) {
        if text.is_ascii() {
            self.ascii += text.len() as u64;
            self.nfc_bytes += text.len() as u64;
            return;
        }
        for c in text.nfc() {
            self.nfc_bytes += c.len_utf8() as u64;
            if c.is_ascii() { self.ascii += 1 } else { self.others += 1 }
        }
    }

    /// About one token for four ASCII bytes, one for every other character, and 5 to 11 a message.
    pub(super) fn honest(&self, rng: &mut impl rand::Rng) -> u64 {
        let template: u64 = (0..self.messages).map(|_| rng.random_range(5..=11_u64)).sum();
        let tools = if self.tools { 54 } else { 0 };
        let json = self.json_bytes.div_ceil(4);
        self.ascii.div_ceil(4) + self.others + template + tools + json + self.media * HONEST_MEDIA
    }

    /// The most that it can be, never above the window.
    pub(super) fn worst(&self, model: &SimModel) -> u64 {
        let (message, base, tools) = TEMPLATE;
        let template = self.messages * message + base + if self.tools { tools } else { 0 };
        let media = self.media.saturating_mul(model.per_media_max);
        let all = self.nfc_bytes + template + self.json_bytes.saturating_mul(TOOL_FACTOR) + media;
        all.min(model.window)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_worst_counts_normalised_bytes() {
        // U+1D160 grows to three characters of four bytes each.
        let messages = [json!({"role": "user", "content": "a\u{1D160}"})];
        let material = Material::gather(&messages, false, 0);
        assert_eq!(material.worst(&SimModel::new("m")), 13 + 16 + 512);
        let small = SimModel { window: 100, ..SimModel::new("m") };
        assert_eq!(material.worst(&small), 100);
    }

    #[test]
    fn honest_is_never_above_the_worst() {
        let model = SimModel::new("m");
        for text in ["", "hi", "你好，世界", "e\u{301}", "\u{1D160}", "한국어"] {
            let messages = [
                json!({"role": "user", "content": text}),
                json!({"role": "user", "content": [
                {"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": "x"}}]}),
            ];
            for tools in [false, true] {
                let material = Material::gather(&messages, tools, 40);
                let mut rng = StdRng::seed_from_u64(7);
                assert!(material.honest(&mut rng) <= material.worst(&model), "{text:?}");
            }
        }
    }
}
