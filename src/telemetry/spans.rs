//! The spans of a request: itself, its reservation, its exchange with the upstream, and its settlement.
//!
//! Where nobody takes them a span is nothing, and making one costs a look at the level. No span has a prompt or a key in it.

use std::sync::Arc;

use http::HeaderMap;
use tracing::field::Empty;

/// The target of all spans, by which the export knows them.
pub(super) const TARGET: &str = "gratis::span";

/// A span; it ends with its last copy.
#[derive(Clone, Debug, Default)]
pub struct Span(Option<Arc<tracing::Span>>);

/// What is said of a request once it is over.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// What was asked for.
    pub operation: &'a str,
    /// The status of the response.
    pub status: u16,
    /// The code of an error.
    pub code: Option<&'a str>,
    /// The model.
    pub model: Option<&'a str>,
    /// Whether the reply is a stream.
    pub stream: bool,
    /// What was held for it.
    pub held: u64,
    /// What it used: input and output.
    pub used: (u64, u64),
    /// What became of its hold.
    pub ending: &'a str,
}

impl Span {
    fn new(span: tracing::Span) -> Self {
        Self((!span.is_disabled()).then(|| Arc::new(span)))
    }

    /// A request with the id that its client is told.
    #[must_use]
    pub fn request(id: impl FnOnce() -> String) -> Self {
        let span = tracing::trace_span!(
            target: TARGET, parent: None, "request", otel.kind = "server", otel.status_code = Empty, request_id = Empty,
            operation = Empty, http.response.status_code = Empty, error.type = Empty, model = Empty, stream = Empty,
            held = Empty, input = Empty, output = Empty, ending = Empty
        );
        if !span.is_disabled() {
            span.record("request_id", id());
        }
        Self::new(span)
    }

    /// Makes the request a part of its client's trace, where the client names one.
    #[cfg(feature = "otlp")]
    pub fn go_on_from(&self, headers: &HeaderMap) {
        if let Some(span) = &self.0 {
            super::export::go_on_from(span, headers);
        }
    }

    /// Without the export there is no trace to be a part of.
    #[cfg(not(feature = "otlp"))]
    pub fn go_on_from(&self, _: &HeaderMap) {}

    /// The request's reservation.
    #[must_use]
    pub fn reserve(&self) -> Self {
        self.child(|parent| tracing::trace_span!(target: TARGET, parent: parent, "reserve"))
    }

    /// Its exchange with an upstream.
    #[must_use]
    pub fn upstream(&self, name: &str) -> Self {
        self.child(|parent| {
            tracing::trace_span!(
                target: TARGET, parent: parent, "upstream", otel.kind = "client", upstream = name,
                http.response.status_code = Empty
            )
        })
    }

    /// Its settlement.
    #[must_use]
    pub fn settle(&self) -> Self {
        self.child(|parent| tracing::trace_span!(target: TARGET, parent: parent, "settle"))
    }

    fn child(&self, make: impl FnOnce(&tracing::Span) -> tracing::Span) -> Self {
        self.0.as_ref().map_or_else(Self::default, |parent| Self::new(make(parent)))
    }

    /// Notes the status of a reply.
    pub fn status(&self, status: u16) {
        if let Some(span) = &self.0 {
            span.record("http.response.status_code", i64::from(status));
        }
    }

    /// Notes what became of a request.
    pub fn ended(&self, ended: Ended<'_>) {
        let Some(span) = &self.0 else { return };
        self.status(ended.status);
        if ended.status >= 500 {
            span.record("otel.status_code", "ERROR");
        }
        span.record("operation", ended.operation);
        if let Some(code) = ended.code {
            span.record("error.type", code);
        }
        if let Some(model) = ended.model {
            span.record("model", model);
        }
        span.record("stream", ended.stream);
        // An attribute is a signed number; any other would be text.
        for (name, units) in [("held", ended.held), ("input", ended.used.0), ("output", ended.used.1)] {
            span.record(name, i64::try_from(units).unwrap_or(i64::MAX));
        }
        span.record("ending", ended.ending);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nobody_takes_them_they_are_nothing() {
        let request = Span::request(|| unreachable!("an id that nobody reads"));
        assert!(request.0.is_none() && request.reserve().0.is_none() && request.upstream("x").0.is_none());
        assert_eq!(size_of::<Span>(), size_of::<usize>());
    }
}
