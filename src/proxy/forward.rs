//! Calls that cost nothing: passed on, never a question of quota (ARCHITECTURE 4.10). What is made by them belongs to the account
//! that made it, and only that account is let to it (F-AUT-4).

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Response};
use http_body_util::{BodyExt as _, Limited};

use crate::dialect::{Kind, Reference, Route};
use crate::ledger::AccountId;
use crate::store::{Resource, Store};

use super::headers;
use super::metered_body::ReplyBody;
use super::parts::ProxyParts;
use super::record::Record;
use super::rejection::{Rejection, UpstreamTrouble};
use super::tasks::{self, MAX_REPLY};
use super::upstream::{Upstream, UpstreamBody, UpstreamFailure};

/// A call that costs nothing, ready to be sent.
pub(super) struct Beside {
    pub(super) head: Parts,
    pub(super) route: Route,
    pub(super) body: Bytes,
    pub(super) upstream: Arc<Upstream>,
    pub(super) then: Then,
}

/// What its reply is looked at for.
pub(super) enum Then {
    /// Nothing: it passes as it comes.
    Pass,
    /// The id of what was made, for this account.
    Remember(Kind, AccountId),
    /// What became of a task.
    Settle(Box<Resource>),
}

/// The thing of this id, where it belongs to the account; another's is as unknown as one that never was.
pub(super) async fn owned(store: &dyn Store, account: &AccountId, kind: Kind, id: &str) -> Result<Resource, Rejection> {
    let found = store.resource(kind, id).await.map_err(Rejection::Store)?;
    found.filter(|found| found.account == *account).ok_or(Rejection::NotOwned)
}

/// Whether the account may refer to a thing: to its own, and where the provider has such things for everybody, to all but another's.
pub(super) async fn may_refer(store: &dyn Store, account: &AccountId, thing: &Reference) -> Result<(), Rejection> {
    let found = store.resource(thing.kind, &thing.id).await.map_err(Rejection::Store)?;
    match found {
        Some(found) if found.account == *account => Ok(()),
        None if thing.common => Ok(()),
        Some(_) | None => Err(Rejection::NotOwned),
    }
}

/// Passes such a call on.
pub(super) async fn send(
    parts: &ProxyParts,
    beside: Beside,
    record: &mut Record,
) -> Result<Response<ReplyBody>, Rejection> {
    let Beside { head, route, body, upstream, then } = beside;
    let mut to_upstream = headers::to_upstream(&head.headers, upstream.authorization(), route.dialect, false);
    if let Some(kind) = head.headers.get(CONTENT_TYPE).filter(|_| !body.is_empty()) {
        to_upstream.insert(CONTENT_TYPE, kind.clone());
    }
    if !matches!(then, Then::Pass) {
        to_upstream.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    let body = record.carry(body);
    let sent = upstream.send(head.method, route.base, &route.upstream_path, to_upstream, body);
    let Ok(waiting) = sent else { return Err(Rejection::Upstream(UpstreamTrouble::Unreachable)) };
    let answer = tokio::time::timeout(upstream.head_timeout(), waiting).await;
    let response = match answer {
        Err(_) => return Err(Rejection::Upstream(UpstreamTrouble::Timeout)),
        Ok(Err(error)) => {
            tracing::warn!(request_id = headers::request_id(record.id), upstream = upstream.name(), error = %error, "the upstream failed");
            return Err(match UpstreamFailure::of(&error) {
                UpstreamFailure::NotSent => Rejection::Upstream(UpstreamTrouble::Unreachable),
                UpstreamFailure::Broken => Rejection::Upstream(UpstreamTrouble::Broken),
            });
        }
        Ok(Ok(response)) => response,
    };
    let (mut head, body) = response.into_parts();
    record.status = head.status.as_u16();
    headers::from_upstream(&mut head.headers);
    headers::add_request_id(&mut head.headers, record.id);
    let body = match then {
        Then::Pass => ReplyBody::plain(body),
        then @ (Then::Remember(..) | Then::Settle(_)) => {
            let body = whole(&upstream, body).await?;
            if head.status.is_success() {
                look(parts, then, &body).await?;
            }
            head.headers.remove(CONTENT_LENGTH);
            ReplyBody::whole(body)
        }
    };
    Ok(Response::from_parts(head, body))
}

async fn whole(upstream: &Upstream, body: UpstreamBody) -> Result<Bytes, Rejection> {
    let read = Limited::new(body, MAX_REPLY).collect();
    match tokio::time::timeout(upstream.head_timeout(), read).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(_)) | Err(_) => Err(Rejection::ReplyUnreadable),
    }
}

/// Does what the reply is looked at for, before the client has it.
async fn look(parts: &ProxyParts, then: Then, body: &[u8]) -> Result<(), Rejection> {
    #[derive(serde::Deserialize)]
    struct Made {
        id: String,
    }
    match then {
        Then::Pass => Ok(()),
        Then::Settle(task) => {
            if let Err(error) = tasks::settle(parts, &task, body).await {
                tracing::warn!(task = task.id, error = %error, "a task could not be settled yet");
            }
            Ok(())
        }
        Then::Remember(kind, account) => {
            // A reply without an id has made nothing that could be asked for.
            let Ok(Made { id }) = serde_json::from_slice(body) else { return Ok(()) };
            let made = Resource { kind, id, account, created: parts.clock.now(), task: None };
            parts.store.remember(made).await.map_err(Rejection::Store)
        }
    }
}
