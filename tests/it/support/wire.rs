//! Small HTTP clients for tests: one that reads whole replies, and one that shows every byte.

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

type Client = hyper_util::client::legacy::Client<hyper_util::client::legacy::connect::HttpConnector, Full<Bytes>>;

pub fn client() -> Client {
    hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build_http()
}

pub fn request(method: Method, url: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(Bytes::from(body))).unwrap()
}

pub async fn send(request: Request<Full<Bytes>>) -> http::Response<Incoming> {
    client().request(request).await.unwrap()
}

pub async fn post(url: &str, headers: &[(&str, &str)], body: Vec<u8>) -> (u16, HeaderMap, Bytes) {
    whole(send(request(Method::POST, url, headers, body)).await).await.unwrap()
}

pub async fn whole(response: http::Response<Incoming>) -> Result<(u16, HeaderMap, Bytes), hyper::Error> {
    let (parts, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok((parts.status.as_u16(), parts.headers, body))
}

pub async fn get_json(url: &str) -> Value {
    let (_, _, body) = whole(send(request(Method::GET, url, &[], Vec::new())).await).await.unwrap();
    serde_json::from_slice(&body).unwrap_or_else(|e| panic!("{url}: {e}: {}", String::from_utf8_lossy(&body)))
}

/// A chat request with a key; `body` as JSON.
pub async fn chat(origin: &str, key: &str, body: &Value) -> (u16, HeaderMap, Bytes) {
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    post(&format!("{origin}/compatible-mode/v1/chat/completions"), &headers, body.to_string().into_bytes()).await
}

/// Sends raw bytes on a connection of its own and reads at most `most` bytes, then drops the connection.
pub async fn raw(origin: &str, bytes: &[u8], most: usize) -> Vec<u8> {
    let mut stream = TcpStream::connect(origin.trim_start_matches("http://")).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut got = Vec::new();
    while got.len() < most {
        let mut buffer = vec![0; (most - got.len()).min(65_536)];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(n) => got.extend_from_slice(&buffer[..n]),
        }
    }
    got
}

/// An HTTP/2 client connection with prior knowledge (h2c).
pub async fn h2(origin: &str) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(origin.trim_start_matches("http://")).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    #[allow(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    tokio::spawn(connection);
    sender
}
