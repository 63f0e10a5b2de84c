//! An upstream that does byte by byte what it is told, and remembers what it got.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// A connection that has been upgraded, as raw bytes.
pub struct Raw {
    pub head: String,
    pub stream: TcpStream,
}

/// Answers handshakes and hands each connection to `talk`.
pub async fn upstream<F, T>(talk: F) -> String
where
    F: Fn(Raw) -> T + Send + Sync + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let head = head(&mut stream).await;
            let key = header(&head, "sec-websocket-key").unwrap_or_default();
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {}\r\n\r\n",
                derive_accept_key(key.as_bytes())
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            tokio::spawn(talk(Raw { head, stream }));
        }
    });
    origin
}

/// Connects to Gratis as a client that writes its frames itself.
pub async fn connect(origin: &str, path: &str, more: &str) -> Raw {
    let mut stream = TcpStream::connect(origin.trim_start_matches("http://")).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: gratis\r\nAuthorization: Bearer {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{more}\r\n",
        crate::support::world::KEY
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = head(&mut stream).await;
    Raw { head, stream }
}

/// Everything to the end of the headers, and not a byte more.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

pub fn header(head: &str, name: &str) -> Option<String> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().to_owned())
}

/// One frame, written by hand: the first byte as given, masked where a mask is given.
pub fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let bit = if mask.is_some() { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match payload.len() {
        n if n < 126 => bytes.push(bit | n as u8),
        n if n < 65_536 => {
            bytes.push(bit | 126);
            bytes.extend((n as u16).to_be_bytes());
        }
        n => {
            bytes.push(bit | 127);
            bytes.extend((n as u64).to_be_bytes());
        }
    }
    let mask_bytes = mask.unwrap_or_default();
    bytes.extend(mask.iter().flatten());
    bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask_bytes[at % 4]));
    bytes
}

/// Bytes that arrived somewhere.
#[derive(Clone, Default)]
pub struct Got(Arc<Mutex<Vec<u8>>>);

impl Got {
    pub fn add(&self, bytes: &[u8]) {
        self.0.lock().unwrap().extend_from_slice(bytes);
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }

    /// Waits until so many have come.
    pub async fn wait(&self, length: usize) -> Vec<u8> {
        let begun = std::time::Instant::now();
        loop {
            let bytes = self.bytes();
            if bytes.len() >= length {
                return bytes;
            }
            assert!(begun.elapsed().as_secs() < 20, "{} of {length} bytes came", bytes.len());
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }
}
