//! Where in the body the values stand that a clamp may change.

use std::ops::Range;

/// Where in the body the values stand that a clamp may change.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::dialect) struct Spans {
    /// The length of the body, so that another body is not mistaken for it.
    pub(in crate::dialect) length: usize,
    /// Where members are added.
    pub(in crate::dialect) slot: Slot,
    /// The bounds of the answer that are there.
    pub(in crate::dialect) answers: Vec<Range<usize>>,
    /// What such a bound is called where it is added.
    pub(in crate::dialect) answer_name: &'static str,
    pub(in crate::dialect) thinking_budget: Option<Range<usize>>,
    pub(in crate::dialect) enable_thinking: Switch,
    /// What turns thinking off, as a member.
    pub(in crate::dialect) no_thinking: (&'static str, &'static str),
    pub(in crate::dialect) options: Options,
}

/// Where members are added, and what stands around them there.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::dialect) struct Slot {
    pub(in crate::dialect) range: Range<usize>,
    pub(in crate::dialect) before: &'static str,
    pub(in crate::dialect) after: &'static str,
}

impl Slot {
    /// Behind the opening brace of an object, which may be empty.
    pub(super) fn in_object(at: usize, empty: bool) -> Self {
        Self { range: at..at, before: "", after: if empty { "" } else { "," } }
    }

    /// In front of the members at `at`, within what has to be added for it.
    pub(super) fn before(at: usize, before: &'static str, after: &'static str) -> Self {
        Self { range: at..at, before, after }
    }

    /// In place of what stands there.
    pub(super) fn instead(range: Range<usize>, before: &'static str, after: &'static str) -> Self {
        Self { range, before, after }
    }
}

/// What the body says about thinking.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::dialect) enum Switch {
    /// Nothing.
    #[default]
    Absent,
    /// `null`, here.
    Null(Range<usize>),
    /// On or off.
    Said,
}

/// What the body says about `stream_options`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::dialect) enum Options {
    /// Nothing.
    #[default]
    Absent,
    /// `null`, here.
    Null(Range<usize>),
    /// An object without `include_usage`; the place is just behind its opening brace.
    Silent {
        /// Where to insert.
        at: usize,
        /// Whether the object has no member at all.
        empty: bool,
    },
    /// `include_usage` has a value, here.
    Said(Range<usize>),
}
