//! Connections that speak WebSocket: a tunnel that passes bytes as they are and reads the frames in it, so that every call is held
//! for before it goes up (W 1.5, 2.2, 3.5).
//!
//! Tasks (`inference`) name their models, so the upstream is connected to only once the first one is admitted; a connection for
//! responses (`realtime`) names it in the query, and is refused at the handshake where nothing is left. What is refused later is
//! told in the dialect's own event, and the connection closes.
//!
//! Browsers are not kept apart by their `Origin`: a key in a header is the only credential, and no page can make a browser send it.

mod connect;
mod end;
mod fault;
mod guard;
mod line;
mod speech;
mod tab;
mod tasks;
mod tunnel;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::request::Parts;
use http::{HeaderMap, Response, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::OwnedSemaphorePermit;

use crate::dialect::{Protocol, Socket, handshake_key};
use crate::ledger::Unit;
use crate::store::Caller;

use super::handler::shown;
use super::metered_body::ReplyBody;
use super::parts::ProxyParts;
use super::record::Record;
use super::rejection::Rejection;
use super::settings::Shared;
use super::upstream::Upstream;
use super::{headers, rejection};

use end::End;
use fault::Fault;
use line::{Granted, Line};
use speech::Speech;
use tasks::Tasks;
use tunnel::Tunnel;
use turns::Turns;

/// How long a client may take to be there once its handshake is answered.
const UPGRADE: Duration = Duration::from_secs(10);

/// Answers a handshake, and runs the connection in the background.
pub(super) async fn open(
    parts: &Arc<ProxyParts>,
    current: &Arc<ArcSwap<Shared>>,
    opening: Opening,
    mut record: Box<Record>,
) -> Result<Response<ReplyBody>, Failed> {
    let ready = match prepare(parts, current, opening, &mut record).await {
        Ok(ready) => ready,
        Err(fault) => {
            return match fault.into_response() {
                Ok(response) => {
                    record.status = response.status().as_u16();
                    Ok(response)
                }
                Err(rejection) => Err((rejection, Some(record))),
            };
        }
    };
    Ok(run(parts, ready, record))
}

/// A handshake whose caller is known.
pub(super) struct Opening {
    pub(super) socket: Socket,
    pub(super) head: Parts,
    pub(super) caller: Caller,
}

/// A rejection, and the record where it has not gone on with the connection.
type Failed = (Rejection, Option<Box<Record>>);

/// A connection that may be opened.
struct Opened {
    line: Arc<Line>,
    shared: Arc<Shared>,
    speech: Speech,
    server: Connected,
    upgrade: OnUpgrade,
    answer: HeaderMap,
    place: OwnedSemaphorePermit,
}

async fn prepare(
    parts: &Arc<ProxyParts>,
    current: &Arc<ArcSwap<Shared>>,
    opening: Opening,
    record: &mut Record,
) -> Result<Opened, Fault> {
    let Opening { socket, mut head, caller } = opening;
    let protocol = match socket {
        Socket::Found(protocol) => protocol,
        Socket::Wrong(why) => return Err(Fault::invalid(why)),
    };
    record.operation = protocol.operation();
    let key = handshake_key(&head.headers).filter(|_| head.version == Version::HTTP_11 && !record.body_left);
    let Some(key) = key else {
        return Err(Fault::invalid("The path takes a WebSocket handshake of version 13 over HTTP/1.1."));
    };
    let mut answer = connect::answer(key);
    headers::add_request_id(&mut answer, record.id);
    let Some(upgrade) = head.extensions.remove::<OnUpgrade>() else {
        return Err(Fault::invalid("The connection cannot be upgraded."));
    };
    let place = Arc::clone(&parts.sockets).try_acquire_owned().map_err(|_| Fault::Ours(Rejection::Overloaded))?;
    if parts.stop.is_cancelled() {
        return Err(Fault::Ours(Rejection::ShuttingDown));
    }
    let shared = current.load_full();
    let line = Arc::new(Line::new(Arc::clone(parts), Arc::clone(current), caller, protocol, head.headers));
    let (speech, server) = speak(&line, &shared, record).await?;
    Ok(Opened { line, shared, speech, server, upgrade, answer, place })
}

/// Runs the connection in the background; the answer lets it begin.
fn run(parts: &Arc<ProxyParts>, opened: Opened, mut record: Box<Record>) -> Response<ReplyBody> {
    let Opened { line, shared, speech, server, upgrade, answer, place } = opened;
    let response = rejection::switching(answer);
    record.status = response.status().as_u16();
    let settings = shared.settings.sockets.clone();
    let quota = shared.settings.quota.clone();
    parts.drainer.tasks().spawn(async move {
        let _place = place;
        let Ok(Ok(io)) = tokio::time::timeout(UPGRADE, upgrade).await else { return };
        let client = End::client(TokioIo::new(io), settings.max_message);
        Tunnel::new(line, speech, (client, server), (settings, quota), record).run().await;
    });
    response
}

/// The upstream that is connected to already.
type Connected = Option<(connect::Io, Arc<Upstream>)>;

/// What is spoken, with what has to be admitted for it before anything is.
async fn speak(line: &Arc<Line>, shared: &Shared, record: &mut Record) -> Result<(Speech, Connected), Fault> {
    let Protocol::Realtime { model } = &line.protocol else {
        return Ok((Speech::Tasks(Box::new(Tasks::new(Arc::clone(line)))), None));
    };
    // What is counted in another unit than tokens is not told by a response's usage.
    let found = shared.catalogue.model(model).filter(|model| model.unit == Unit::Tokens);
    let found = found.ok_or_else(|| Fault::Ours(Rejection::ModelNotFound(shown(model))))?;
    record.model = Some(found.code.clone());
    let mut first: Granted = Arc::clone(line).grant(turns::ask(found, None), None).await?;
    let connected = first.connected.take().map(|io| (io, Arc::clone(&first.upstream)));
    Ok((Speech::Turns(Box::new(Turns::new(Arc::clone(line), first))), connected))
}
