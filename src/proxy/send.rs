//! The last steps of the straight line: send, and turn the reply into the client's.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, Response};

use crate::dialect::{Route, Watch};

use super::admission::Admission;
use super::exchange::{AwaitingHead, Call};
use super::headers::{self, AdmissionHeaders};
use super::metered_body::ReplyBody;
use super::parts::ProxyParts;
use super::record::Record;
use super::rejection::{Rejection, UpstreamTrouble};
use super::rules::may_be_sent;
use super::settings::Shared;
use super::upstream::{Upstream, UpstreamBody, UpstreamFailure};

/// An admitted call, ready to be sent.
pub(super) struct Ready {
    pub(super) watch: Watch,
    pub(super) route: Route,
    pub(super) client: HeaderMap,
    pub(super) stream: bool,
    pub(super) task: bool,
    pub(super) strip_usage: bool,
    pub(super) body: Bytes,
    /// What the client will be told of its admission.
    pub(super) told: AdmissionHeaders,
    pub(super) admission: Admission,
    /// The holds of an app's other models.
    pub(super) further: Vec<Admission>,
    pub(super) upstream: Arc<Upstream>,
}

/// A rejection, and the record where it has not gone on with the call.
type Failed = (Rejection, Option<Box<Record>>);

pub(super) async fn send(
    parts: &Arc<ProxyParts>,
    shared: Arc<Shared>,
    ready: Box<Ready>,
    mut record: Box<Record>,
) -> Result<Response<ReplyBody>, Failed> {
    let Ready { watch, route, client, stream, task, strip_usage, body, told, admission, further, upstream } = *ready;
    let mut to_upstream = headers::to_upstream(&client, upstream.authorization(), route.dialect, stream);
    headers::json_body(&mut to_upstream);
    if task {
        headers::ask_for_task(&mut to_upstream);
    }
    drop(client);
    let body = record.carry(body);
    let begun = record.elapsed();
    parts.metrics.admission_seconds.observe(begun.as_secs_f64());
    let call = Box::new(Call {
        parts: Arc::clone(parts),
        shared,
        upstream: Arc::clone(&upstream),
        watch,
        strip_usage,
        admission: Some(admission),
        further,
        span: record.span.upstream(upstream.name()),
        record,
    });
    if !may_be_sent(call.record.elapsed(), call.max_call()) {
        return Err((Rejection::Upstream(UpstreamTrouble::Timeout), Some(call.not_sent())));
    }
    let Ok(head) = upstream.send(Method::POST, route.base, &route.upstream_path, to_upstream, body) else {
        return Err((Rejection::Upstream(UpstreamTrouble::Unreachable), Some(call.not_sent())));
    };
    let mut waiting = AwaitingHead::new(head, call);
    let Ok((answer, call)) = tokio::time::timeout(upstream.head_timeout(), &mut waiting).await else {
        // The call goes on in the background, with its record, and may still learn what it cost.
        return Err((Rejection::Upstream(UpstreamTrouble::Timeout), None));
    };
    parts.metrics.upstream_head_seconds.observe(call.record.elapsed().saturating_sub(begun).as_secs_f64());
    match answer {
        // Neither is a reply to a call: a redirect, followed, would lead past the counter, and nobody asked for an upgrade.
        Ok(response) if response.status().is_redirection() || response.status().is_informational() => {
            let status = response.status().as_u16();
            tracing::warn!(
                request_id = headers::request_id(call.record.id),
                upstream = upstream.name(),
                status,
                "the upstream gave no reply"
            );
            Err((Rejection::Upstream(UpstreamTrouble::Broken), Some(call.unreadable())))
        }
        Ok(response) => Ok(reply(response, call, told)),
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            tracing::warn!(request_id = headers::request_id(call.record.id), upstream = upstream.name(), error = %error, cause, "the upstream failed");
            match UpstreamFailure::of(&error) {
                UpstreamFailure::NotSent => {
                    Err((Rejection::Upstream(UpstreamTrouble::Unreachable), Some(call.not_sent())))
                }
                UpstreamFailure::Broken => Err((Rejection::Upstream(UpstreamTrouble::Broken), Some(call.unreadable()))),
            }
        }
    }
}

fn reply(response: Response<UpstreamBody>, call: Box<Call>, told: AdmissionHeaders) -> Response<ReplyBody> {
    let (mut head, body) = response.into_parts();
    headers::from_upstream(&mut head.headers);
    let taken_out = call.strip_usage && head.status.is_success();
    let meter = call.meter(head.status, &head.headers);
    if taken_out {
        head.headers.remove(CONTENT_LENGTH);
    }
    told.write(&mut head.headers);
    Response::from_parts(head, ReplyBody::metered(body, meter, !taken_out))
}
