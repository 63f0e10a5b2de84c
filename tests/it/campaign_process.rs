//! A process of the real program, and a client of it.
//!
//! Shared by the campaigns, so nothing here is a test.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::support::PATIENCE;

/// Between two looks at something that is waited for.
pub const LOOK: Duration = Duration::from_millis(1);

/// A process of the program. Killed when dropped.
pub struct Process {
    child: Child,
    // Kept open: a program whose standard output is closed ends.
    _stdout: Option<BufReader<ChildStdout>>,
    /// The JSON of its first line, where one was asked for.
    pub said: Value,
}

impl Process {
    /// Starts it without waiting for anything.
    pub fn start(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("the program starts");
        Self { child, _stdout: None, said: Value::Null }
    }

    /// Starts it and reads its first line.
    pub fn start_and_hear(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the program starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("it was piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("its first line can be read");
        let said = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{command:?} said {line:?}: {error}"));
        Self { child, _stdout: Some(stdout), said }
    }

    /// SIGKILL, and gone.
    pub fn kill(mut self) {
        self.end();
    }

    /// SIGTERM; answers how long it took to end.
    pub async fn stop(mut self) -> Duration {
        let sent = Command::new("kill").args(["-s", "TERM", &self.child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
        let since = Instant::now();
        while !self.has_ended() {
            assert!(since.elapsed() < PATIENCE, "it does not end");
            tokio::time::sleep(LOOK).await;
        }
        since.elapsed()
    }

    fn end(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked").is_some()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Asks for JSON on a connection of its own each time: the other side may have been killed meanwhile.
#[derive(Clone)]
pub struct Wire(Client<HttpConnector, Full<Bytes>>);

impl Wire {
    pub fn new() -> Self {
        Self(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http())
    }

    /// The status and the body; an error in words where there was no reply.
    pub async fn ask(
        &self,
        method: Method,
        url: &str,
        token: &str,
        body: &Value,
    ) -> Result<(StatusCode, Bytes), String> {
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json");
        let bytes = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let request = request.body(Full::new(bytes)).map_err(|error| error.to_string())?;
        let asked = async {
            let reply = self.0.request(request).await.map_err(|error| error.to_string())?;
            let status = reply.status();
            Ok((status, reply.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes()))
        };
        tokio::time::timeout(PATIENCE, asked).await.map_err(|_| format!("{url} does not answer"))?
    }

    pub async fn json(&self, url: &str, token: &str) -> Value {
        let (status, body) = self.ask(Method::GET, url, token, &Value::Null).await.expect("it answers");
        assert_eq!(status, StatusCode::OK, "{url}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).expect("it answers in JSON")
    }
}
