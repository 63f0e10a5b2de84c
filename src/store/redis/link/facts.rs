//! What a server says of itself, as far as the promise rests on it.

#![allow(clippy::wildcard_enum_match_arm, reason = "the client's `Value` is an open enum")]

use redis::Value;

/// When a server writes to its disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fsync {
    /// Before it answers.
    Always,
    /// Each second.
    Everysec,
    /// When the system likes to.
    No,
    /// It may not be asked: `CONFIG GET` is denied.
    Hidden,
}

/// What a server says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Facts {
    /// Another after each start of the process.
    pub(super) run: String,
    /// The history that it writes: the same for a primary and its replicas.
    pub(super) history: String,
    /// The history that it continued when it was promoted.
    pub(super) continued: String,
    /// As of Redis: Valkey says with which Redis it is compatible.
    pub(super) version: String,
    /// `standalone` or `cluster`.
    pub(super) mode: String,
    /// `master` or `slave`.
    pub(super) role: String,
    pub(super) loading: bool,
    /// What is thrown away when memory is used up.
    pub(super) eviction: String,
    pub(super) aof: bool,
    pub(super) fsync: Fsync,
    /// Whether it takes snapshots by itself; none when it may not be asked.
    pub(super) snapshots: Option<bool>,
    /// Whether it refuses writes without a replica in step.
    pub(super) min_replicas: bool,
    /// The replicas that are connected.
    pub(super) connected: u32,
}

/// The questions, in the order of the answers of [`Facts::read`].
pub(super) fn questions() -> redis::Pipeline {
    let mut pipe = redis::pipe();
    pipe.cmd("INFO");
    pipe.cmd("CONFIG").arg("GET").arg("appendfsync");
    pipe.cmd("CONFIG").arg("GET").arg("save");
    pipe
}

impl Facts {
    /// Reads the answers to [`questions`]; the error says what is missing.
    pub(super) fn read(answers: &[Value]) -> Result<Self, String> {
        let [info, fsync, save] = answers else { return Err("it does not answer each question".to_owned()) };
        let info = match info {
            Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Value::ServerError(error) => return Err(format!("it does not answer INFO: {error}")),
            other => return Err(format!("it does not answer INFO: {other:?}")),
        };
        let field =
            |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        let needed = |name: &str| field(name).map(str::to_owned).ok_or_else(|| format!("its INFO has no {name}"));
        if field("redis_mode") == Some("sentinel") {
            return Err("it is a sentinel: write store.url as redis+sentinel://host:port/service".to_owned());
        }
        Ok(Self {
            run: needed("run_id")?,
            history: needed("master_replid")?,
            continued: needed("master_replid2")?,
            version: needed("redis_version")?,
            mode: needed("redis_mode")?,
            role: needed("role")?,
            loading: needed("loading")? != "0",
            eviction: needed("maxmemory_policy")?,
            aof: needed("aof_enabled")? == "1",
            fsync: match setting(fsync).as_deref() {
                Some("always") => Fsync::Always,
                Some("everysec") => Fsync::Everysec,
                Some(_) => Fsync::No,
                None => Fsync::Hidden,
            },
            snapshots: setting(save).map(|value| !value.is_empty()),
            // The field is there only when `min-replicas-to-write` and `min-replicas-max-lag` are both set.
            min_replicas: field("min_slaves_good_slaves").is_some(),
            connected: needed("connected_slaves")?.parse().map_err(|_| "connected_slaves is no figure".to_owned())?,
        })
    }

    /// Whether it is at least the Redis that the scripts are written for.
    pub(super) fn is_new_enough(&self) -> bool {
        let mut figures = self.version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        (figures.next().unwrap_or(0), figures.next().unwrap_or(0)) >= (7, 0)
    }
}

/// The value of one setting; none when it was denied.
fn setting(answer: &Value) -> Option<String> {
    match answer {
        Value::Array(pair) => match pair.as_slice() {
            [_, Value::BulkString(value)] => Some(String::from_utf8_lossy(value).into_owned()),
            _ => None,
        },
        Value::Map(pairs) => match pairs.as_slice() {
            [(_, Value::BulkString(value))] => Some(String::from_utf8_lossy(value).into_owned()),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const INFO: &str = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nrun_id:run-a\r\nloading:0\r\n\
                        maxmemory_policy:noeviction\r\naof_enabled:1\r\nrole:master\r\nconnected_slaves:0\r\n\
                        master_replid:hist-a\r\nmaster_replid2:0000\r\n";

    fn pair(value: &str) -> Value {
        Value::Array(vec![Value::BulkString(b"name".to_vec()), Value::BulkString(value.into())])
    }

    fn denied() -> Value {
        redis::parse_redis_value(b"-NOPERM this user has no permissions to run the 'config' command\r\n").unwrap()
    }

    /// A single server that fsyncs before it answers.
    pub(in super::super) fn facts() -> Facts {
        Facts::read(&[Value::BulkString(INFO.into()), pair("always"), pair("")]).unwrap()
    }

    #[test]
    fn info_and_config_are_read() {
        let facts = facts();
        assert_eq!((facts.run.as_str(), facts.history.as_str(), facts.fsync), ("run-a", "hist-a", Fsync::Always));
        assert_eq!((facts.snapshots, facts.min_replicas, facts.loading), (Some(false), false, false));
        let hidden = Facts::read(&[Value::BulkString(INFO.into()), denied(), denied()]).unwrap();
        assert_eq!((hidden.fsync, hidden.snapshots), (Fsync::Hidden, None));
        let replicated = format!("{INFO}min_slaves_good_slaves:1\r\n");
        assert!(Facts::read(&[Value::BulkString(replicated.into()), denied(), denied()]).unwrap().min_replicas);
    }

    #[test]
    fn what_is_missing_is_said() {
        assert!(Facts::read(&[denied(), denied(), denied()]).unwrap_err().contains("INFO"));
        let short = INFO.replace("run_id", "other");
        assert!(Facts::read(&[Value::BulkString(short.into()), denied(), denied()]).unwrap_err().contains("run_id"));
        assert!(Facts::read(&[]).is_err());
        let sentinel = Value::BulkString("redis_mode:sentinel\r\nrun_id:run-a\r\n".into());
        assert!(Facts::read(&[sentinel, denied(), denied()]).unwrap_err().contains("redis+sentinel://"));
    }

    #[test]
    fn a_version_is_new_enough_from_7_0() {
        for (version, enough) in [("7.0.0", true), ("8.2.1", true), ("6.2.20", false), ("5.9", false), ("x", false)] {
            assert_eq!(Facts { version: version.to_owned(), ..facts() }.is_new_enough(), enough, "{version}");
        }
    }
}
