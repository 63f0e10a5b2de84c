//! `[trace]`: where the spans of requests go.

use super::env::Env;
use super::reader::Reader;
use super::report::Spot;
use super::values;

/// Where a collector takes spans, below the address of all its signals.
const PATH: &str = "/v1/traces";
/// OpenTelemetry's own variables: the address for spans as a whole, and that of all signals.
const OF_TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const OF_ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// The spans of requests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TraceConfig {
    /// The whole address that takes them; `None` = there are none.
    pub endpoint: Option<String>,
    /// Whether a request goes on in the trace that its client names.
    pub accept_traceparent: bool,
}

pub(super) fn read(mut r: Reader<'_, '_>, env: &Env) -> Option<TraceConfig> {
    let written = r.optional_text("otlp_endpoint", "\"http://127.0.0.1:4318\"", values::base_url);
    let spot = r.spot_of("otlp_endpoint");
    let accept_traceparent = r.flag("accept_traceparent");
    let endpoint = written.map(|written| match written {
        Some(uri) => export(&mut r, spot).then(|| below(&uri.to_string())),
        None => standard(&mut r, env),
    });
    r.finish();
    Some(TraceConfig { endpoint: endpoint?, accept_traceparent: accept_traceparent? })
}

/// Where spans go, of the address that takes all signals.
fn below(base: &str) -> String {
    format!("{}{PATH}", base.trim_end_matches('/'))
}

/// Whether this build exports at all.
fn export(r: &mut Reader<'_, '_>, spot: Spot) -> bool {
    if cfg!(not(feature = "otlp")) {
        r.report.mistake(spot, "this program exports no traces", "needs a build with `--features otlp`", None);
    }
    cfg!(feature = "otlp")
}

/// What OpenTelemetry's own variables say. They may be meant for another program, so that a build without the export only warns.
fn standard(r: &mut Reader<'_, '_>, env: &Env) -> Option<String> {
    let set = |name| env.get(name).filter(|value| !value.is_empty());
    let (name, endpoint) = match (set(OF_TRACES), set(OF_ALL)) {
        (Some(whole), _) => (OF_TRACES, whole.to_owned()),
        (None, Some(base)) => (OF_ALL, below(base)),
        (None, None) => return None,
    };
    if cfg!(not(feature = "otlp")) {
        let help = Some("build it with `--features otlp`".to_owned());
        r.report.warning(None, format!("{name} is set, and this program exports no traces"), "", help);
        return None;
    }
    if let Err(problem) = values::base_url(&endpoint) {
        r.report.mistake_anywhere(format!("{name}: {problem}"), None);
    }
    Some(endpoint)
}
