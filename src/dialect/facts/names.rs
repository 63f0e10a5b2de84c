//! The top-level parameters that we know, and keys that only look like one.

/// What a top-level parameter means for the cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Model,
    Messages,
    Stream,
    StreamOptions,
    Choices,
    BestOf,
    MaxTokens,
    MaxCompletionTokens,
    ThinkingBudget,
    EnableThinking,
    /// Another way to ask for thinking, of other models on the platform.
    OtherThinking,
    Tools,
    Functions,
    /// Ends up in the prompt as JSON.
    Prompt,
    /// Billed apart when it is anything but false or null (W 4).
    BilledApart,
    /// Billed apart when it names another tier than the default.
    ServiceTier,
    /// Refers to something kept elsewhere, or to media: the body does not bound the input.
    Unbounded,
    /// Adds nothing to the prompt and costs nothing.
    Harmless,
}

/// A known parameter: its place in the table, its name, its role.
pub(super) struct Known {
    pub(super) index: usize,
    pub(super) name: &'static str,
    pub(super) role: Role,
}

/// Every parameter that we know; those that most requests have stand first.
const TABLE: [(&str, Role); 55] = [
    ("model", Role::Model),
    ("messages", Role::Messages),
    ("stream", Role::Stream),
    ("stream_options", Role::StreamOptions),
    ("max_tokens", Role::MaxTokens),
    ("temperature", Role::Harmless),
    ("top_p", Role::Harmless),
    ("tools", Role::Tools),
    ("tool_choice", Role::Prompt),
    ("enable_thinking", Role::EnableThinking),
    ("thinking_budget", Role::ThinkingBudget),
    ("max_completion_tokens", Role::MaxCompletionTokens),
    ("response_format", Role::Prompt),
    ("n", Role::Choices),
    ("best_of", Role::BestOf),
    ("functions", Role::Functions),
    ("function_call", Role::Prompt),
    ("reasoning_effort", Role::OtherThinking),
    ("reasoning", Role::OtherThinking),
    ("thinking", Role::OtherThinking),
    ("chat_template_kwargs", Role::OtherThinking),
    ("enable_search", Role::BilledApart),
    ("search_options", Role::BilledApart),
    ("web_search_options", Role::BilledApart),
    ("enable_code_interpreter", Role::BilledApart),
    ("plugins", Role::BilledApart),
    ("skill", Role::BilledApart),
    ("cache_control", Role::BilledApart),
    ("service_tier", Role::ServiceTier),
    ("previous_response_id", Role::Unbounded),
    ("conversation", Role::Unbounded),
    ("session_id", Role::Unbounded),
    ("file_ids", Role::Unbounded),
    ("modalities", Role::Unbounded),
    ("audio", Role::Unbounded),
    ("top_k", Role::Harmless),
    ("min_p", Role::Harmless),
    ("seed", Role::Harmless),
    ("stop", Role::Harmless),
    ("presence_penalty", Role::Harmless),
    ("frequency_penalty", Role::Harmless),
    ("repetition_penalty", Role::Harmless),
    ("logprobs", Role::Harmless),
    ("top_logprobs", Role::Harmless),
    ("logit_bias", Role::Harmless),
    ("user", Role::Harmless),
    ("metadata", Role::Harmless),
    ("store", Role::Harmless),
    ("parallel_tool_calls", Role::Harmless),
    ("vl_high_resolution_images", Role::Harmless),
    ("incremental_output", Role::Harmless),
    ("preserve_thinking", Role::Harmless),
    ("prompt_cache_key", Role::Harmless),
    ("safety_identifier", Role::Harmless),
    ("tool_stream", Role::Harmless),
];

/// The known parameter of exactly this name.
pub(super) fn known(key: &str) -> Option<Known> {
    let index = TABLE.iter().position(|(name, _)| *name == key)?;
    TABLE.get(index).map(|&(name, role)| Known { index, name, role })
}

/// The metered parameter that a lenient parser could take `key` for: the comparison leaves out case, punctuation,
/// control characters and a leading `is`, as parsers of the platform's own family do. `key` itself is none of ours.
pub(super) fn disguised(key: &str) -> Option<&'static str> {
    let metered = |role: Role| role != Role::Harmless;
    TABLE.iter().find(|(name, role)| metered(*role) && looks_like(key, name)).map(|(name, _)| *name)
}

/// Whether a lenient parser could take `key` for `name`.
pub(in crate::dialect) fn looks_like(key: &str, name: &str) -> bool {
    let same = |from: usize| fold(key).skip(from).eq(fold(name));
    same(0) || (fold(key).take(2).eq("is".chars()) && same(2))
}

/// The letters and digits of a key in lower case; the letters outside ASCII whose case folds into it are folded.
fn fold(key: &str) -> impl Iterator<Item = char> {
    key.chars().filter(|c| c.is_ascii_alphanumeric() || !c.is_ascii()).filter(|c| !c.is_control()).map(|c| match c {
        'ſ' => 's',
        '\u{212A}' => 'k',
        'ı' | 'İ' => 'i',
        other => other.to_ascii_lowercase(),
    })
}

/// Whether an unknown member may carry or refer to media, going by its name.
pub(super) fn names_media(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["image", "video", "audio", "file", "media", "url"].iter().any(|word| key.contains(word))
}
