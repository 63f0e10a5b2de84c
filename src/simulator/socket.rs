//! The two WebSocket APIs (`WIRE 1.5, 2.2, 3.5`): tasks and responses, charged like every call before anybody can see it.

mod tasks;
mod turns;

use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::Value;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::behaviour::Behaviour;
use super::chat;
use super::delivery::Script;
use super::errors::Envelope;
use super::ledger::Charge;
use super::modes::Mode;
use super::recorder::Seen;
use super::route::{self, Answer};
use super::serve::{Fate, Keeper};
use super::state::State;

/// Whether a request begins a WebSocket of one of the APIs.
pub(super) fn is_wanted<B>(request: &Request<B>) -> bool {
    request.headers().contains_key(SEC_WEBSOCKET_KEY) && request.uri().path().contains("/api-ws/v1/")
}

/// Answers the handshake and speaks in the background.
pub(super) fn accept(state: &Arc<State>, keeper: &Keeper, fate: &Fate, mut request: Request<Incoming>) -> Answer {
    let path = request.uri().path_and_query().map_or("", |all| all.as_str()).to_owned();
    state.shared().recorder.take(Seen {
        number: 0,
        method: request.method().to_string(),
        path: path.clone(),
        version: format!("{:?}", request.version()),
        headers: request.headers().clone(),
        body: Bytes::new(),
    });
    if !chat::allowed(state, request.headers()) {
        return route::envelope(&Envelope::invalid_key(), &route::head(state, ""), fate);
    }
    let model = path.split_once("model=").map(|(_, model)| model.to_owned());
    let realtime = path.contains("/realtime");
    let key = request.headers().get(SEC_WEBSOCKET_KEY).cloned();
    let upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let (Some(key), Some(upgrade), true) = (key, upgrade, realtime == model.is_some()) else {
        return route::envelope(
            &Envelope::unreadable("This is no handshake of an API here."),
            &route::head(state, ""),
            fate,
        );
    };
    let (state, fate_of_task) = (Arc::clone(state), fate.clone());
    keeper.keep(async move {
        let Ok(io) = upgrade.await else { return };
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(io), Role::Server, None).await;
        let talk = Talk { state, fate: fate_of_task, socket };
        match model {
            Some(model) => turns::speak(talk, model).await,
            None => tasks::speak(talk).await,
        }
    });
    let mut answer = Response::new(Script::whole(Bytes::new(), fate));
    *answer.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = accept {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    answer
}

/// One connection.
struct Talk {
    state: Arc<State>,
    fate: Fate,
    socket: WebSocketStream<TokioIo<Upgraded>>,
}

/// The peer has gone, or is gone to: nothing more can be said.
struct Over;

impl Talk {
    /// The client's next message; pings are answered by the library.
    async fn hear(&mut self) -> Result<Message, Over> {
        loop {
            match self.socket.next().await {
                Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => return Ok(message),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(Over),
            }
        }
    }

    async fn say(&mut self, value: &Value) -> Result<(), Over> {
        self.pause().await;
        self.socket.send(Message::text(value.to_string())).await.map_err(|_| Over)
    }

    async fn send(&mut self, bytes: Vec<u8>) -> Result<(), Over> {
        self.pause().await;
        self.socket.send(Message::binary(bytes)).await.map_err(|_| Over)
    }

    async fn pause(&mut self) {
        let delay = self.state.settings.chunk_delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
    }

    /// Closes in the protocol's own way, and hears the client out.
    async fn close(mut self, code: u16, reason: &'static str) {
        let frame = CloseFrame { code: code.into(), reason: reason.into() };
        if self.socket.close(Some(frame)).await.is_ok() {
            while let Some(Ok(_)) = self.socket.next().await {}
        }
    }

    /// Ends without a close, with a reset where the mode wants one.
    fn break_off(self, mode: Mode) {
        if matches!(mode, Mode::ResetMidStream | Mode::ResetBeforeHead) {
            self.fate.reset();
        }
    }

    /// Says nothing more until the client has gone.
    async fn hang(mut self) {
        while self.hear().await.is_ok() {}
    }

    /// What the rules say about the next call of a model, and the dice for it.
    fn decide(&self, model: &str) -> (Behaviour, StdRng) {
        let mut shared = self.state.shared();
        shared.calls = shared.calls.saturating_add(1);
        let mut rng = StdRng::seed_from_u64(self.state.settings.seed.rotate_left(32) ^ shared.calls);
        (shared.rules.decide(model, &mut rng), rng)
    }

    /// Writes down a call and what it costs at once.
    fn charge(&self, model: &str, mode: Mode, charge: Charge) {
        self.state.shared().ledger.charge(model, mode.name(), charge);
    }

    /// Writes down what a call costs beside that.
    fn charge_more(&self, model: &str, units: u64) {
        self.state.shared().ledger.more(model, Charge { answer: units, ..Charge::default() });
    }

    fn refuse(&self, why: &str) {
        self.state.shared().ledger.refuse(why);
    }
}

/// What usage says where the truth is `units`, under a mode.
pub(super) fn told(mode: Mode, units: u64) -> Value {
    match mode {
        Mode::LieLow => Value::from(units / 2),
        Mode::LieHigh => Value::from(units.saturating_mul(2)),
        Mode::NegativeUsage => Value::from(-1),
        Mode::StringUsage => Value::from(units.to_string()),
        _ => Value::from(units),
    }
}
