//! What is kept beside the books, for all replicas: the audit log and small named values. Each verb is one script call, the values
//! of a shelf stand in one slot.

use redis::{FromRedisValue, Value};

use super::link::Script;
use super::reply::{amount, text};
use super::{Redis, books::unreadable};
use crate::store::{Answer, Line, Log, NoteStore, Shelf, StoreError, StoreErrorKind};

pub(super) static NOTES: Script = Script::new("notes", include_str!("notes.lua"));

impl Redis {
    async fn shelf(&self, shelf: Shelf, verb: &str, args: &[&str]) -> Result<Value, StoreError> {
        let [values, names, until] = self.keys.shelf(shelf.name());
        let now = self.store_now();
        let keep = shelf.keep_ms().map_or(0, |ms| now.plus(ms).0);
        let mut cmd = NOTES.call(&[values.as_bytes(), names.as_bytes(), until.as_bytes()]);
        cmd.arg(verb).arg(now.0).arg(keep).arg(shelf.most().unwrap_or(0));
        for arg in args {
            cmd.arg(*arg);
        }
        let answer = self.link.run(&NOTES, &values, cmd).await;
        answer.map_err(|error| self.failure(&"".into(), error))
    }
}

fn read<T: FromRedisValue>(value: Value) -> Result<T, StoreError> {
    let corrupt = |error: redis::ParsingError| StoreError { kind: StoreErrorKind::Corrupt, detail: error.to_string() };
    redis::from_redis_value(value).map_err(corrupt)
}

impl NoteStore for Redis {
    fn append(&self, log: Log, line: String) -> Answer<'_, u64> {
        Box::pin(async move {
            let (key, mut push) = (self.keys.log(log.name()), redis::cmd("RPUSH"));
            push.arg(&key).arg(line);
            amount(&self.ask(&key, &push, true).await?).map_err(unreadable)
        })
    }

    fn newest(&self, log: Log, before: Option<u64>, limit: usize) -> Answer<'_, Vec<Line>> {
        Box::pin(async move {
            let (key, mut length) = (self.keys.log(log.name()), redis::cmd("LLEN"));
            length.arg(&key);
            let all = amount(&self.ask(&key, &length, false).await?).map_err(unreadable)?;
            // Lines are never removed: the place of a line is its number less one.
            let last = before.map_or(all, |before| before.saturating_sub(1).min(all));
            let first = last.saturating_sub(u64::try_from(limit).unwrap_or(u64::MAX));
            if first >= last {
                return Ok(Vec::new());
            }
            let mut range = redis::cmd("LRANGE");
            range.arg(&key).arg(first).arg(last - 1);
            let lines: Vec<String> = read(self.ask(&key, &range, false).await?)?;
            let numbered = (first + 1..).zip(lines).map(|(number, text)| Line { number, text });
            let mut numbered: Vec<Line> = numbered.collect();
            numbered.reverse();
            Ok(numbered)
        })
    }

    fn get<'a>(&'a self, shelf: Shelf, name: &'a str) -> Answer<'a, Option<String>> {
        Box::pin(async move { read(self.shelf(shelf, "get", &[name]).await?) })
    }

    fn put(&self, shelf: Shelf, values: Vec<(String, String)>) -> Answer<'_, ()> {
        Box::pin(async move {
            let args: Vec<&str> = values.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]).collect();
            self.shelf(shelf, "put", &args).await.map(drop)
        })
    }

    fn put_if_absent<'a>(&'a self, shelf: Shelf, name: &'a str, value: String) -> Answer<'a, Option<String>> {
        Box::pin(async move { read(self.shelf(shelf, "claim", &[name, &value]).await?) })
    }

    fn remove<'a>(&'a self, shelf: Shelf, name: &'a str) -> Answer<'a, bool> {
        Box::pin(async move { Ok(self.shelf(shelf, "remove", &[name]).await? == Value::Int(1)) })
    }

    fn list<'a>(
        &'a self,
        shelf: Shelf,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> Answer<'a, Vec<(String, String)>> {
        Box::pin(async move {
            let limit = limit.to_string();
            let said = self.shelf(shelf, "list", &[prefix, after.unwrap_or_default(), &limit]).await?;
            let said = super::reply::list(said).map_err(unreadable)?;
            let mut found = Vec::with_capacity(said.len() / 2);
            for pair in said.chunks(2) {
                let [name, value] = pair else { continue };
                found.push((text(name).map_err(unreadable)?.to_owned(), text(value).map_err(unreadable)?.to_owned()));
            }
            Ok(found)
        })
    }
}
