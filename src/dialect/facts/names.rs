//! The parameters that we know, and keys that only look like one.

use crate::dialect::Kind;

/// What a parameter means for the cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Model,
    Messages,
    Stream,
    StreamOptions,
    Choices,
    BestOf,
    /// The bound of one answer.
    Answer,
    ThinkingBudget,
    EnableThinking,
    /// Anthropic's object with a `type` and a `budget_tokens`.
    ThinkingObject,
    /// Another way to ask for thinking, of other models on the platform.
    OtherThinking,
    Tools,
    Functions,
    /// Ends up in the prompt as JSON.
    Prompt,
    /// Text, a list of texts, or of parts of content.
    Content,
    /// One text alone, or the ids of its tokens.
    OneText,
    /// What is read once beside each of the documents.
    Query,
    /// Texts that are ranked.
    Documents,
    /// The object that holds what is read.
    Input,
    /// The object that holds the bounds.
    Parameters,
    /// Seconds that are made.
    Duration,
    /// A list of recordings.
    Recordings,
    /// How many images one answer has, beside `n`.
    MaxImages,
    /// Whether the number of images is left to the model.
    Interleave,
    /// Whether the text has tags that are not spoken.
    Ssml,
    /// What is done with a voice.
    Action,
    /// The voice, or the list of words, that something is done with or that a call is made with.
    Voice,
    /// A response, or a conversation, that the call goes on from.
    Reference(Kind),
    /// Billed apart when it is anything but false or null (W 4).
    BilledApart,
    /// Billed apart when it names another tier than the default.
    ServiceTier,
    /// Refers to something kept elsewhere, or to media: the body does not bound the input.
    Unbounded,
    /// Adds nothing to the prompt and costs nothing.
    Harmless,
}

/// The parameters of one object.
pub(super) type Table = &'static [(&'static str, Role)];

/// A known parameter: its place in the table, its name, its role.
pub(super) struct Known {
    pub(super) index: usize,
    pub(super) name: &'static str,
    pub(super) role: Role,
}

/// The known parameter of exactly this name.
pub(super) fn known(table: Table, key: &str) -> Option<Known> {
    let index = table.iter().position(|(name, _)| *name == key)?;
    table.get(index).map(|&(name, role)| Known { index, name, role })
}

/// The metered parameter that a lenient parser could take `key` for: the comparison leaves out case, punctuation,
/// control characters and a leading `is`, as parsers of the platform's own family do. `key` itself is none of ours.
pub(super) fn disguised(table: Table, key: &str) -> Option<&'static str> {
    let metered = |role: Role| role != Role::Harmless;
    table.iter().find(|(name, role)| metered(*role) && looks_like(key, name)).map(|(name, _)| *name)
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

/// Whether such a member may carry or refer to a video, whose seconds may be charged.
pub(super) fn names_moving(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["video", "reference", "media", "file"].iter().any(|word| key.contains(word)) || key == "url"
}
