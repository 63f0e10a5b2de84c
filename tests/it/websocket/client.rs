//! A client that was not written by us, and the messages that it sends.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::TTS;
use crate::support::PATIENCE;
use crate::support::world::KEY;

pub struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

pub const TASK: &str = "00000000000090008000000000000001";

impl Client {
    pub async fn to(origin: &str, path: &str) -> Self {
        Self::with_key(origin, path, KEY).await.unwrap()
    }

    pub async fn with_key(origin: &str, path: &str, key: &str) -> Result<Self, Error> {
        let url = format!("{}{path}", origin.replace("http://", "ws://"));
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("bearer {key}").parse().unwrap());
        tokio_tungstenite::connect_async(request).await.map(|(socket, _)| Self(socket))
    }

    pub async fn inference(origin: &str) -> Self {
        Self::to(origin, "/api-ws/v1/inference").await
    }

    pub async fn realtime(origin: &str) -> Self {
        let mut client = Self::to(origin, &format!("/api-ws/v1/realtime?model={}", super::OMNI)).await;
        assert_eq!(client.next().await["type"], "session.created");
        client
    }

    pub async fn say(&mut self, value: &Value) {
        self.0.send(Message::text(value.to_string())).await.unwrap();
    }

    pub async fn raw(&mut self, text: &str) {
        self.0.send(Message::text(text.to_owned())).await.unwrap();
    }

    /// Sends, where it still can.
    pub async fn try_say(&mut self, value: &Value) -> bool {
        self.0.send(Message::text(value.to_string())).await.is_ok()
    }

    pub async fn send(&mut self, bytes: Vec<u8>) {
        self.0.send(Message::binary(bytes)).await.unwrap();
    }

    pub async fn try_send(&mut self, bytes: Vec<u8>) -> bool {
        self.0.send(Message::binary(bytes)).await.is_ok()
    }

    pub async fn message(&mut self) -> Option<Result<Message, Error>> {
        let next = tokio::time::timeout(PATIENCE, self.0.next());
        next.await.expect("nothing came for 20 seconds")
    }

    /// The next text message.
    pub async fn next(&mut self) -> Value {
        loop {
            match self.message().await.expect("the connection ended").unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The first text message with this event or type.
    pub async fn until(&mut self, name: &str) -> Value {
        loop {
            let value = self.next().await;
            if value["header"]["event"] == name || value["type"] == name {
                return value;
            }
        }
    }

    /// The code and reason with which the server closes; `None` where the connection just ends.
    pub async fn closed(&mut self) -> Option<(u16, String)> {
        loop {
            match self.message().await {
                Some(Ok(Message::Close(frame))) => {
                    return frame.map(|CloseFrame { code, reason }| (code.into(), reason.to_string()));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    pub async fn close(&mut self) {
        self.0.close(None).await.unwrap();
    }

    /// Drops the connection without a word.
    pub fn vanish(self) {
        drop(self);
    }
}

pub fn run_tts(text: &str) -> Value {
    let input = if text.is_empty() { json!({}) } else { json!({"text": text}) };
    json!({
        "header": {"action": "run-task", "task_id": TASK, "streaming": "duplex"},
        "payload": {"task_group": "audio", "task": "tts", "function": "SpeechSynthesizer", "model": TTS,
            "parameters": {"voice": "longanyang", "format": "mp3"}, "input": input},
    })
}

pub fn run_asr(format: &str) -> Value {
    json!({
        "header": {"action": "run-task", "task_id": TASK, "streaming": "duplex"},
        "payload": {"task_group": "audio", "task": "asr", "function": "recognition", "model": super::ASR,
            "parameters": {"format": format, "sample_rate": 16_000}, "input": {}},
    })
}

pub fn go_on(text: &str) -> Value {
    json!({"header": {"action": "continue-task", "task_id": TASK, "streaming": "duplex"}, "payload": {"input": {"text": text}}})
}

pub fn finish() -> Value {
    json!({"header": {"action": "finish-task", "task_id": TASK, "streaming": "duplex"}, "payload": {"input": {}}})
}

pub fn respond() -> Value {
    json!({"type": "response.create"})
}
