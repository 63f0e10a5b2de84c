//! What is found to be wrong, with its place, all of it at once.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, Severity, SourceSpan};

use super::mask;

/// A stretch of one of the sources that were read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Spot {
    /// Which source, as numbered by the report.
    pub(super) source: usize,
    /// First byte.
    pub(super) start: usize,
    /// The byte after the last.
    pub(super) end: usize,
}

/// What kind of source a setting was read from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Origin {
    /// A file that is compiled in.
    BuiltIn,
    /// A file of the operator's.
    File(std::path::PathBuf),
    /// A variable of the environment.
    Variable,
}

struct Source {
    name: String,
    origin: Origin,
    /// The text, with secrets overwritten.
    shown: Arc<str>,
}

/// One finding: what is wrong, where, and what would be right.
#[derive(Clone)]
pub struct Finding {
    message: String,
    label: String,
    help: Option<String>,
    place: Option<(Spot, NamedSource<Arc<str>>)>,
    warning: bool,
}

impl Finding {
    /// What is wrong, in one sentence.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The finding with its place in the file, a caret and what would help, as text for a terminal.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let mut text = String::new();
        let handler = GraphicalReportHandler::new_themed(theme).with_links(false).with_width(110).with_context_lines(1);
        if handler.render_report(&mut text, self).is_err() {
            text.clone_from(&self.message);
        }
        text
    }
}

impl fmt::Debug for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Finding {}

impl miette::Diagnostic for Finding {
    fn severity(&self) -> Option<Severity> {
        Some(if self.warning { Severity::Warning } else { Severity::Error })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let (spot, _) = self.place.as_ref()?;
        let span = SourceSpan::from(spot.start..spot.end);
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(Some(self.label.clone()), span))))
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        self.place.as_ref().map(|(_, source)| source as &dyn miette::SourceCode)
    }
}

/// Collects findings while the sources are read.
#[derive(Default)]
pub(super) struct Report {
    sources: Vec<Source>,
    findings: Vec<Finding>,
    /// Every key that a reader asked for, with its section: `server.listen`.
    pub(super) known: BTreeSet<String>,
}

impl Report {
    /// Adds a source and numbers it.
    pub(super) fn add_source(&mut self, name: &str, origin: Origin, text: &str) -> usize {
        self.sources.push(Source { name: name.to_owned(), origin, shown: mask::mask(text).into() });
        self.sources.len() - 1
    }

    /// Overwrites a stretch that turned out to be a secret.
    pub(super) fn hide(&mut self, spot: Spot) {
        if let Some(source) = self.sources.get_mut(spot.source) {
            let mut bytes = source.shown.as_bytes().to_vec();
            mask::overwrite(&mut bytes, spot.start, spot.end);
            source.shown = String::from_utf8(bytes).unwrap_or_default().into();
        }
    }

    /// What kind of source a spot is in.
    pub(super) fn origin(&self, spot: Spot) -> &Origin {
        self.sources.get(spot.source).map_or(&Origin::BuiltIn, |source| &source.origin)
    }

    /// Whether a value is the default.
    pub(super) fn is_built_in(&self, spot: Spot) -> bool {
        *self.origin(spot) == Origin::BuiltIn
    }

    /// Whether a value was set by a variable of the environment.
    pub(super) fn is_variable(&self, spot: Spot) -> bool {
        *self.origin(spot) == Origin::Variable
    }

    /// A mistake at a place.
    pub(super) fn mistake(&mut self, spot: Spot, message: impl Into<String>, label: &str, help: Option<String>) {
        self.add(Some(spot), message.into(), label, help, false);
    }

    /// A mistake that has no place in a file.
    pub(super) fn mistake_anywhere(&mut self, message: impl Into<String>, help: Option<String>) {
        self.add(None, message.into(), "", help, false);
    }

    /// Something that works and may not be meant.
    pub(super) fn warning(
        &mut self,
        spot: Option<Spot>,
        message: impl Into<String>,
        label: &str,
        help: Option<String>,
    ) {
        self.add(spot, message.into(), label, help, true);
    }

    fn add(&mut self, spot: Option<Spot>, mut message: String, label: &str, help: Option<String>, warning: bool) {
        let place = spot.and_then(|spot| {
            let source = self.sources.get(spot.source)?;
            Some((spot, NamedSource::new(&source.name, Arc::clone(&source.shown))))
        });
        if let Some(spot) = spot.filter(|spot| self.is_variable(*spot)) {
            let name = self.sources.get(spot.source).map_or("", |source| source.name.as_str());
            message = format!("{message} (from {name})");
        }
        self.findings.push(Finding { message, label: label.to_owned(), help, place, warning });
    }

    /// Whether anything is wrong so far.
    pub(super) fn has_mistakes(&self) -> bool {
        self.findings.iter().any(|finding| !finding.warning)
    }

    /// The mistakes and the warnings, each in the order of the sources and of their lines.
    pub(super) fn finish(self) -> (Vec<Finding>, Vec<Finding>) {
        let mut findings = self.findings;
        findings.sort_by_key(|finding| finding.place.as_ref().map(|(spot, _)| *spot));
        findings.into_iter().partition(|finding| !finding.warning)
    }
}

/// Every mistake that was found, at least one.
#[derive(Clone)]
pub struct ConfigErrors {
    pub(super) mistakes: Vec<Finding>,
    pub(super) warnings: Vec<Finding>,
}

impl ConfigErrors {
    /// The mistakes, in the order of the files and of their lines.
    #[must_use]
    pub fn mistakes(&self) -> &[Finding] {
        &self.mistakes
    }

    /// What was found beside them that works and may not be meant.
    #[must_use]
    pub fn warnings(&self) -> &[Finding] {
        &self.warnings
    }

    /// All of them as text for a terminal, with a last line that counts.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let mut text = String::new();
        for finding in self.warnings.iter().chain(&self.mistakes) {
            text.push_str(&finding.render(colour));
            text.push('\n');
        }
        let count = self.mistakes.len();
        text.push_str(&format!("{count} mistake{} in the configuration\n", if count == 1 { "" } else { "s" }));
        text
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl fmt::Debug for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ConfigErrors {}
