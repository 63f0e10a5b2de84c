//! A visit to the store without a replica: what an operator's command does, beside running replicas or where none can run.

use redis::{Cmd, Value};

use super::address::Address;
use super::class::Class;
use super::find::Finder;
use super::layout::slot;
use super::look::META_FIELDS;
use super::server::{Call, Server};
use super::{DIAL, OpenError, Settings};
use crate::ledger::Timestamp;
use crate::store::redis::keys::Keys;
use crate::store::redis::reply;
use crate::store::redis::status::Replica;

const BEGIN: &str = include_str!("begin.lua");
const RESUME: &str = include_str!("resume.lua");

/// Connections to every server of the store that takes writes.
pub(in crate::store::redis) struct Visit {
    servers: Vec<Server>,
    pub(in crate::store::redis) keys: Keys,
}

/// What stands in the ledger's own key.
pub(in crate::store::redis) struct Found {
    pub(in crate::store::redis) ledger: Option<String>,
    pub(in crate::store::redis) complete: bool,
    pub(in crate::store::redis) epoch: u64,
    pub(in crate::store::redis) alarm: Option<String>,
}

impl Visit {
    pub(in crate::store::redis) async fn to(settings: &Settings) -> Result<Self, OpenError> {
        let address = Address::of(settings)?;
        let within = DIAL.max(settings.timeout);
        let failed = |why: String| OpenError(format!("{} cannot be used: {why}", settings.url));
        let mut servers = Vec::new();
        for seat in Finder::default().seats(&address, &[], within).await.map_err(failed)? {
            let host = seat.address.clone();
            let dialled = tokio::time::timeout(within, Server::dial(&address, seat, &[], within)).await;
            let server = dialled.map_err(|_| failed(format!("{host} does not answer")))?;
            servers.push(server.map_err(failed)?);
        }
        Ok(Self { servers, keys: Keys::new(&settings.prefix) })
    }

    /// `Redis 7.0.15`, and how many servers take writes.
    pub(in crate::store::redis) fn server(&self) -> String {
        let version = self.servers.first().map_or("", |server| server.facts.version.as_str());
        match self.servers.len() {
            1 => format!("Redis {version}, one server takes writes"),
            count => format!("Redis {version}, {count} servers take writes"),
        }
    }

    /// The weakest class of its servers.
    pub(in crate::store::redis) fn class(&self) -> Option<Class> {
        self.servers.iter().map(|server| server.class).max()
    }

    /// The run id of the server that has the ledger's own key.
    pub(in crate::store::redis) fn run_id(&self) -> String {
        self.of(&self.keys.meta()).map(|server| server.facts.run.clone()).unwrap_or_default()
    }

    fn of(&self, key: &str) -> Option<&Server> {
        match self.servers.as_slice() {
            [alone] => Some(alone),
            servers => servers.iter().find(|server| server.seat.holds(slot(key.as_bytes()))),
        }
    }

    /// One command on the server that has the key, acknowledged as its class promises.
    pub(in crate::store::redis) async fn ask(&self, key: &str, cmd: &Cmd) -> Result<Value, OpenError> {
        let server = self.of(key).ok_or_else(|| OpenError(format!("no server has the key {key}")))?;
        on(server, cmd).await
    }

    /// What stands in the ledger's own key.
    pub(in crate::store::redis) async fn found(&self) -> Result<Found, OpenError> {
        let key = self.keys.meta();
        let mut cmd = redis::cmd("HMGET");
        cmd.arg(&key).arg(&META_FIELDS);
        let answer = self.ask(&key, &cmd).await?;
        let [ledger, epoch, complete, _, alarm] =
            reply::parts(answer).map_err(|_| OpenError(format!("{key} is no key of Gratis")))?;
        let text = |value: &Value| reply::text(value).ok().map(str::to_owned);
        Ok(Found {
            ledger: text(&ledger),
            complete: complete != Value::Nil,
            epoch: reply::amount(&epoch).unwrap_or(0),
            alarm: text(&alarm),
        })
    }

    /// Makes the ledger's own key; it is not complete yet.
    pub(in crate::store::redis) async fn begin(&self, ledger: &str, pepper: Option<&str>) -> Result<(), OpenError> {
        let key = self.keys.meta();
        let mut cmd = redis::cmd("EVAL");
        cmd.arg(BEGIN).arg(1).arg(&key).arg(ledger).arg(pepper.unwrap_or_default());
        if self.ask(&key, &cmd).await? != Value::Int(1) {
            return Err(OpenError("there is a ledger in the store already; it was left as it is".to_owned()));
        }
        Ok(())
    }

    /// Says that the ledger holds all that it should.
    pub(in crate::store::redis) async fn complete(&self) -> Result<(), OpenError> {
        let key = self.keys.meta();
        let mut cmd = redis::cmd("HSET");
        cmd.arg(&key).arg("complete").arg(1);
        self.ask(&key, &cmd).await.map(drop)
    }

    /// Raises the ledger's epoch: every replica takes what is there for the truth.
    pub(in crate::store::redis) async fn raise_epoch(&self) -> Result<(), OpenError> {
        let key = self.keys.meta();
        let mut cmd = redis::cmd("EVAL");
        cmd.arg(RESUME).arg(1).arg(&key);
        if self.ask(&key, &cmd).await? == Value::Nil {
            return Err(OpenError("there is no ledger in the store to go on from".to_owned()));
        }
        Ok(())
    }

    /// The replicas that were seen, and when.
    pub(in crate::store::redis) async fn replicas(&self) -> Result<Vec<Replica>, OpenError> {
        let key = self.keys.replicas();
        let mut cmd = redis::cmd("HGETALL");
        cmd.arg(&key);
        let unreadable = |_| OpenError(format!("{key} is no key of Gratis"));
        let pairs = reply::list(self.ask(&key, &cmd).await?).map_err(unreadable)?;
        let mut replicas = Vec::new();
        for pair in pairs.chunks(2) {
            let [name, seen] = pair else { continue };
            let name = reply::text(name).map_err(unreadable)?.to_owned();
            let line = reply::text(seen).map_err(unreadable)?;
            let (seen, why) = line.split_once(' ').map_or((line, None), |(seen, why)| (seen, Some(why.to_owned())));
            let seen = seen.parse().map_err(|_| OpenError(format!("{key} is no key of Gratis")))?;
            replicas.push(Replica { name, seen: Timestamp(seen), suspended: why });
        }
        replicas.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(replicas)
    }

    /// Removes every key under the prefix; answers how many that were.
    pub(in crate::store::redis) async fn erase(&self) -> Result<u64, OpenError> {
        let mut removed = 0;
        for server in &self.servers {
            let mut cursor = "0".to_owned();
            loop {
                let mut scan = redis::cmd("SCAN");
                scan.arg(&cursor).arg("MATCH").arg(self.keys.pattern()).arg("COUNT").arg(1_000);
                let unreadable = |_| OpenError("SCAN was not answered by a cursor and keys".to_owned());
                let [next, found] = reply::parts(on(server, &scan).await?).map_err(unreadable)?;
                next_cursor(&mut cursor, &next)?;
                for key in reply::list(found).map_err(unreadable)? {
                    let mut remove = redis::cmd("UNLINK");
                    remove.arg(reply::text(&key).map_err(unreadable)?);
                    removed += reply::amount(&on(server, &remove).await?).unwrap_or(0);
                }
                if cursor == "0" {
                    break;
                }
            }
        }
        Ok(removed)
    }
}

fn next_cursor(cursor: &mut String, next: &Value) -> Result<(), OpenError> {
    reply::text(next).map_err(|_| OpenError("SCAN gave no cursor".to_owned()))?.clone_into(cursor);
    Ok(())
}

async fn on(server: &Server, cmd: &Cmd) -> Result<Value, OpenError> {
    let answered =
        tokio::time::timeout(DIAL, server.exchange(None, Call { cmd, write: true, asking: false }, DIAL)).await;
    let answer = answered.map_err(|_| OpenError(format!("{} does not answer", server.seat.address)))?;
    answer.map_err(|fault| OpenError(format!("{}: {fault}", server.seat.address)))
}
