//! The connection to the shared store.

use std::sync::{Arc, OnceLock};

use redis::{Cmd, Value};

use super::{OpenError, Settings};

/// One Lua script, versioned by its digest.
pub(super) struct Script {
    name: &'static str,
    text: &'static str,
    sha: OnceLock<String>,
}

impl Script {
    pub(super) const fn new(name: &'static str, text: &'static str) -> Self {
        Self { name, text, sha: OnceLock::new() }
    }

    pub(super) fn call(&self, keys: &[&[u8]]) -> Cmd {
        let sha = self.sha.get_or_init(|| redis::Script::new(self.text).get_hash().to_owned());
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(sha).arg(keys.len());
        for key in keys {
            cmd.arg(*key);
        }
        cmd
    }
}

/// Why a call came to nothing.
#[derive(Debug)]
pub(super) enum LinkError {
    Unavailable(String),
    Unknown(String),
    Script { code: String, detail: String },
    Corrupt(String),
}

pub(super) struct Link {
    connection: redis::aio::MultiplexedConnection,
}

impl Link {
    pub(super) async fn open(
        settings: &Settings,
        scripts: &'static [&'static Script],
        _memory: Arc<()>,
    ) -> Result<Self, OpenError> {
        use redis::IntoConnectionInfo;
        let info = settings.url.to_string().as_str().into_connection_info().map_err(|e| OpenError(e.to_string()))?;
        let info = info.set_tcp_settings(redis::io::tcp::TcpSettings::default().set_nodelay(true));
        let client = redis::Client::open(info).map_err(|e| OpenError(e.to_string()))?;
        let mut connection = client.get_multiplexed_async_connection().await.map_err(|e| OpenError(e.to_string()))?;
        for script in scripts {
            let _: String = redis::cmd("SCRIPT")
                .arg("LOAD")
                .arg(script.text)
                .query_async(&mut connection)
                .await
                .map_err(|e| OpenError(format!("{}: {e}", script.name)))?;
        }
        Ok(Self { connection })
    }

    pub(super) async fn run(&self, _script: &'static Script, cmd: Cmd) -> Result<Value, LinkError> {
        self.ask(cmd, true).await
    }

    pub(super) async fn ask(&self, cmd: Cmd, _write: bool) -> Result<Value, LinkError> {
        let mut connection = self.connection.clone();
        cmd.query_async(&mut connection).await.map_err(|error: redis::RedisError| {
            if error.code() == Some("GRATIS") {
                let detail = error.detail().unwrap_or_default();
                let (code, detail) = detail.split_once(' ').unwrap_or((detail, ""));
                return LinkError::Script { code: code.to_owned(), detail: detail.to_owned() };
            }
            LinkError::Corrupt(error.to_string())
        })
    }
}
