//! Routes that cost nothing: passed on as they are, never a question of quota (ARCHITECTURE 4.10).

use bytes::Bytes;
use http::Response;
use http::request::Parts;

use crate::dialect::Route;

use super::headers;
use super::metered_body::ReplyBody;
use super::record::Record;
use super::rejection::{Rejection, UpstreamTrouble};
use super::settings::Shared;
use super::upstream::UpstreamFailure;

/// Passes a free call on.
pub(super) async fn free(
    shared: &Shared,
    route: &Route,
    head: &Parts,
    record: &mut Record,
) -> Result<Response<ReplyBody>, Rejection> {
    let upstream = &shared.upstreams.default;
    let to_upstream = headers::to_upstream(&head.headers, upstream.authorization(), route.dialect, false);
    let sent = upstream.send(head.method.clone(), route.base, &route.upstream_path, to_upstream, Bytes::new());
    let Ok(waiting) = sent else { return Err(Rejection::Upstream(UpstreamTrouble::Unreachable)) };
    let answer = tokio::time::timeout(upstream.head_timeout(), waiting).await;
    let response = match answer {
        Err(_) => return Err(Rejection::Upstream(UpstreamTrouble::Timeout)),
        Ok(Err(error)) => {
            tracing::warn!(request_id = %record.id, upstream = upstream.name(), error = %error, "the upstream failed");
            return Err(match UpstreamFailure::of(&error) {
                UpstreamFailure::NotSent => Rejection::Upstream(UpstreamTrouble::Unreachable),
                UpstreamFailure::Broken => Rejection::Upstream(UpstreamTrouble::Broken),
            });
        }
        Ok(Ok(response)) => response,
    };
    let (mut parts, body) = response.into_parts();
    record.status = parts.status.as_u16();
    headers::from_upstream(&mut parts.headers);
    headers::add_request_id(&mut parts.headers, record.id);
    Ok(Response::from_parts(parts, ReplyBody::plain(body)))
}
