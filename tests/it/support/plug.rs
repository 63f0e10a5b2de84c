//! A raw HTTP/1 connection: what is written is exactly what was said, and what is read is shown as it came.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::PATIENCE;

pub struct Plug<S = TcpStream> {
    stream: S,
    got: Vec<u8>,
}

/// One reply, with its framing taken off.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    /// The head as it came, without the empty line.
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Plug {
    pub async fn to(origin: &str) -> Self {
        let stream = TcpStream::connect(origin.split_once("://").unwrap().1).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Plug<S> {
    pub fn over(stream: S) -> Self {
        Self { stream, got: Vec::new() }
    }

    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_write(bytes).await.unwrap();
    }

    /// Writes where the peer may have stopped reading.
    pub async fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await?;
        self.stream.flush().await
    }

    /// Reads more; false at the end of the stream.
    async fn more(&mut self) -> bool {
        let mut buffer = vec![0; 65_536];
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut buffer)).await;
        let read = read.unwrap_or_else(|_| panic!("nothing came after {:?}", String::from_utf8_lossy(&self.got)));
        let count = read.unwrap_or(0);
        self.got.extend_from_slice(&buffer[..count]);
        count > 0
    }

    /// Reads through `mark`.
    pub async fn until(&mut self, mark: &str) -> Vec<u8> {
        loop {
            let found = self.got.windows(mark.len()).position(|window| window == mark.as_bytes());
            if let Some(at) = found {
                return self.take(at + mark.len());
            }
            assert!(
                self.more().await,
                "the connection ended before {mark:?}: {:?}",
                String::from_utf8_lossy(&self.got)
            );
        }
    }

    async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.got.len() < count {
            assert!(self.more().await, "the connection ended after {} of {count} bytes", self.got.len());
        }
        self.take(count)
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let rest = self.got.split_off(count);
        std::mem::replace(&mut self.got, rest)
    }

    /// Everything up to the end of the stream.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.got)
    }

    /// The next reply, interim ones included.
    pub async fn reply(&mut self) -> Reply {
        let head = String::from_utf8(self.until("\r\n\r\n").await).unwrap().trim_end().to_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{head}"));
        let mut reply = Reply { status, head, body: Vec::new() };
        let chunked = reply.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
        let length = reply.header("content-length").map(|length| length.parse().unwrap());
        reply.body = match length {
            _ if status < 200 => Vec::new(),
            Some(length) => self.exactly(length).await,
            None if chunked => self.chunks().await,
            None => self.rest().await,
        };
        reply
    }

    /// One request with a counted body, as a server reads it; `None` once the client has closed the connection.
    pub async fn request(&mut self) -> Option<Vec<u8>> {
        while self.got.is_empty() {
            if !self.more().await {
                return None;
            }
        }
        let head = String::from_utf8(self.until("\r\n\r\n").await).unwrap().to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        Some(self.exactly(length.unwrap_or(0)).await)
    }

    async fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = String::from_utf8(self.until("\r\n").await).unwrap();
            let size = usize::from_str_radix(line.trim_end().split(';').next().unwrap(), 16).unwrap();
            if size == 0 {
                while self.until("\r\n").await != b"\r\n" {}
                return body;
            }
            body.extend(self.exactly(size).await);
            assert_eq!(self.exactly(2).await, b"\r\n");
        }
    }
}

/// The head of a chat request; `more` are header lines, each with its end.
pub fn chat_head(version: &str, key: &str, more: &str) -> String {
    format!("POST /v1/chat/completions HTTP/{version}\r\nhost: gratis\r\nauthorization: Bearer {key}\r\n{more}\r\n")
}

/// A whole chat request with a declared length.
pub fn chat_request(version: &str, key: &str, more: &str, body: &str) -> String {
    let more = format!("content-length: {}\r\n{more}", body.len());
    format!("{}{body}", chat_head(version, key, &more))
}
