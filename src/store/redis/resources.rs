//! Whose the things are that are kept at the provider. Nothing in it counts: each verb is a few plain commands, in an order in which
//! one that is cut short does no harm.

use redis::{Cmd, FromRedisValue};
use serde::{Deserialize, Serialize};

use super::Redis;
use crate::dialect::Kind;
use crate::ledger::{HoldId, Origin, Timestamp, Unit};
use crate::store::{Answer, Resource, ResourceStore, StoreError, StoreErrorKind, TaskHold};

/// How many things are forgotten at once.
const BATCH: usize = 256;

/// A thing as it is written down; whether a task is open stands in the set of open tasks.
#[derive(Serialize, Deserialize)]
struct Written {
    account: String,
    created: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<WrittenTask>,
}

#[derive(Serialize, Deserialize)]
struct WrittenTask {
    /// In hexadecimal.
    hold: String,
    key: String,
    model: String,
    pool: String,
    unit: Unit,
}

impl Written {
    fn of(made: &Resource) -> Self {
        let task = made.task.as_ref().map(|task| WrittenTask {
            hold: format!("{:032x}", task.hold.0),
            key: task.origin.key.as_str().to_owned(),
            model: task.origin.model.as_str().to_owned(),
            pool: task.origin.pool.as_str().to_owned(),
            unit: task.unit,
        });
        Self { account: made.account.as_str().to_owned(), created: made.created.0, task }
    }

    fn read(kind: Kind, id: &str, text: &str, open: bool) -> Result<Resource, StoreError> {
        let written: Self = serde_json::from_str(text).map_err(|error| corrupt(error.to_string()))?;
        let task = match written.task {
            None => None,
            Some(task) => Some(TaskHold {
                open,
                hold: HoldId(u128::from_str_radix(&task.hold, 16).map_err(|error| corrupt(error.to_string()))?),
                origin: Origin { key: task.key.into(), model: task.model.into(), pool: task.pool.into() },
                unit: task.unit,
            }),
        };
        let created = Timestamp(written.created);
        Ok(Resource { kind, id: id.to_owned(), account: written.account.into(), created, task })
    }
}

fn corrupt(detail: String) -> StoreError {
    StoreError { kind: StoreErrorKind::Corrupt, detail }
}

fn name(kind: Kind) -> String {
    serde_json::to_value(kind).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

/// A command and the key by which its server is found.
struct Keyed {
    key: String,
    cmd: Cmd,
}

impl Keyed {
    fn arg(&mut self, arg: impl redis::ToRedisArgs) -> &mut Self {
        self.cmd.arg(arg);
        self
    }
}

fn cmd(verb: &str, key: String) -> Keyed {
    let mut cmd = redis::cmd(verb);
    cmd.arg(&key);
    Keyed { key, cmd }
}

impl Redis {
    async fn answer<T: FromRedisValue>(&self, asked: Keyed, write: bool) -> Result<T, StoreError> {
        let value = self.ask(&asked.key, &asked.cmd, write).await?;
        redis::from_redis_value(value).map_err(|error| corrupt(error.to_string()))
    }

    /// A write whose answer says nothing.
    async fn done(&self, asked: Keyed) -> Result<(), StoreError> {
        self.ask(&asked.key, &asked.cmd, true).await.map(drop)
    }

    async fn read_resource(&self, kind: Kind, id: &str) -> Result<Option<Resource>, StoreError> {
        let text: Option<String> = self.answer(cmd("GET", self.keys.resource(&name(kind), id)), false).await?;
        let Some(text) = text else { return Ok(None) };
        let mut score = cmd("ZSCORE", self.keys.open_tasks());
        score.arg(id);
        let open: Option<f64> = if kind == Kind::Task { self.answer(score, false).await? } else { None };
        Written::read(kind, id, &text, open.is_some()).map(Some)
    }
}

impl ResourceStore for Redis {
    fn remember(&self, made: Resource) -> Answer<'_, ()> {
        Box::pin(async move {
            let kind = name(made.kind);
            let text = serde_json::to_string(&Written::of(&made)).map_err(|error| corrupt(error.to_string()))?;
            // The sets first: an id in them that has no record yet is passed over.
            let mut known = cmd("ZADD", self.keys.made(&kind));
            known.arg("NX").arg(made.created.0).arg(&made.id);
            let new: i64 = self.answer(known, true).await?;
            if new > 0 && made.task.as_ref().is_some_and(|task| task.open) {
                let mut open = cmd("ZADD", self.keys.open_tasks());
                open.arg("NX").arg(made.created.0).arg(&made.id);
                self.done(open).await?;
            }
            let mut set = cmd("SET", self.keys.resource(&kind, &made.id));
            set.arg(text).arg("NX");
            self.done(set).await
        })
    }

    fn resource<'a>(&'a self, kind: Kind, id: &'a str) -> Answer<'a, Option<Resource>> {
        Box::pin(self.read_resource(kind, id))
    }

    fn open_tasks(&self, limit: usize) -> Answer<'_, Vec<Resource>> {
        Box::pin(async move {
            let mut range = cmd("ZRANGE", self.keys.open_tasks());
            range.arg(0).arg(i64::try_from(limit).unwrap_or(i64::MAX).saturating_sub(1));
            let ids: Vec<String> = self.answer(range, false).await?;
            let mut open = Vec::with_capacity(ids.len());
            for id in ids {
                open.extend(self.read_resource(Kind::Task, &id).await?);
            }
            Ok(open)
        })
    }

    fn close_task<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut remove = cmd("ZREM", self.keys.open_tasks());
            remove.arg(id);
            self.done(remove).await
        })
    }

    fn forget(&self, kind: Kind, before: Timestamp) -> Answer<'_, ()> {
        Box::pin(async move {
            let kind_name = name(kind);
            let mut old = cmd("ZRANGEBYSCORE", self.keys.made(&kind_name));
            old.arg("-inf").arg(format!("({}", before.0)).arg("LIMIT").arg(0).arg(BATCH);
            let ids: Vec<String> = self.answer(old, false).await?;
            for id in ids {
                let open = self.read_resource(kind, &id).await?;
                if open.is_some_and(|made| made.task.is_some_and(|task| task.open)) {
                    continue;
                }
                self.done(cmd("DEL", self.keys.resource(&kind_name, &id))).await?;
                let mut forget = cmd("ZREM", self.keys.made(&kind_name));
                forget.arg(id);
                self.done(forget).await?;
            }
            Ok(())
        })
    }
}
