//! What is kept beside the books, for all replicas: the audit log and small named values. Each verb is one script call, the values
//! of a shelf stand in one slot.

use redis::{FromRedisValue, Value};

use super::link::Script;
use super::reply::{amount, text};
use super::{Redis, books::unreadable};
use crate::store::{Answer, Line, Log, NoteStore, Shelf, StoreError, StoreErrorKind};

pub(super) static NOTES: Script = Script::new("notes", include_str!("notes.lua"));

pub(super) static LOG: Script = Script::new("log", include_str!("log.lua"));

impl Redis {
    async fn log(&self, log: Log, verb: &str, args: &[&str]) -> Result<Value, StoreError> {
        let [lines, gone] = self.keys.log(log.name());
        let mut cmd = LOG.call(&[lines.as_bytes(), gone.as_bytes()]);
        cmd.arg(verb);
        for arg in args {
            cmd.arg(*arg);
        }
        let answer = self.sender.link.run(&LOG, &lines, cmd).await;
        answer.map_err(|error| self.failure(&"".into(), error))
    }

    async fn shelf(&self, shelf: Shelf, verb: &str, args: &[&str]) -> Result<Value, StoreError> {
        let [values, names, until] = self.keys.shelf(shelf.name());
        let now = self.store_now();
        let keep = shelf.keep_ms().map_or(0, |ms| now.plus(ms).0);
        let mut cmd = NOTES.call(&[values.as_bytes(), names.as_bytes(), until.as_bytes()]);
        cmd.arg(verb).arg(now.0).arg(keep).arg(shelf.most().unwrap_or(0));
        for arg in args {
            cmd.arg(*arg);
        }
        let answer = self.sender.link.run(&NOTES, &values, cmd).await;
        answer.map_err(|error| self.failure(&"".into(), error))
    }
}

fn read<T: FromRedisValue>(value: Value) -> Result<T, StoreError> {
    let corrupt = |error: redis::ParsingError| StoreError { kind: StoreErrorKind::Corrupt, detail: error.to_string() };
    redis::from_redis_value(value).map_err(corrupt)
}

impl NoteStore for Redis {
    fn append(&self, log: Log, line: String) -> Answer<'_, u64> {
        Box::pin(async move { amount(&self.log(log, "append", &[&line]).await?).map_err(unreadable) })
    }

    fn shorten(&self, log: Log, most: usize) -> Answer<'_, u64> {
        Box::pin(async move { amount(&self.log(log, "shorten", &[&most.to_string()]).await?).map_err(unreadable) })
    }

    fn newest(&self, log: Log, before: Option<u64>, limit: usize) -> Answer<'_, Vec<Line>> {
        Box::pin(async move {
            // Nothing has a number below the first one.
            if before == Some(0) {
                return Ok(Vec::new());
            }
            let (before, limit) = (before.unwrap_or(0).to_string(), limit.to_string());
            let said = super::reply::list(self.log(log, "newest", &[&before, &limit]).await?).map_err(unreadable)?;
            let mut said = said.iter();
            let first = said.next().map_or(Ok(0), amount).map_err(unreadable)?;
            let numbered = (first..).zip(said).map(|(number, line)| Ok(Line { number, text: text(line)?.to_owned() }));
            let mut lines = numbered.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
            lines.reverse();
            Ok(lines)
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

    fn put_if<'a>(
        &'a self,
        shelf: Shelf,
        name: &'a str,
        was: Option<&'a str>,
        value: Option<String>,
    ) -> Answer<'a, bool> {
        Box::pin(async move {
            let is_there = if was.is_some() { "1" } else { "0" };
            let args = [name, is_there, was.unwrap_or_default(), value.as_deref().unwrap_or_default()];
            let args = if value.is_some() { &args[..] } else { &args[..3] };
            Ok(self.shelf(shelf, "put_if", args).await? == Value::Int(1))
        })
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
