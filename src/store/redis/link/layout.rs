//! Which servers hold the books, by what the sentinels and the cluster say.

#![allow(clippy::wildcard_enum_match_arm, reason = "the client's `Value` is an open enum")]

use redis::Value;

use super::class::Replicas;

/// How many slots a cluster has.
pub(super) const SLOTS: u16 = 16_384;

/// A server that takes writes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Seat {
    /// `host:port`.
    pub(super) address: String,
    pub(super) replicas: Replicas,
    /// Its slots, first and last; of a server that is alone: all.
    pub(super) slots: Vec<(u16, u16)>,
}

impl Seat {
    pub(super) fn alone(address: String, replicas: Replicas) -> Self {
        Self { address, replicas, slots: vec![(0, SLOTS - 1)] }
    }

    pub(super) fn holds(&self, slot: u16) -> bool {
        self.slots.iter().any(|&(first, last)| (first..=last).contains(&slot))
    }
}

/// The servers that take writes, as one sentinel or one node knows them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Layout {
    /// Raised by each failover: what was said with a higher one is newer.
    pub(super) epoch: u64,
    pub(super) seats: Vec<Seat>,
}

/// The slot of a key: of what stands between its first braces, if anything does.
pub(super) fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let rest = key.get(open + 1..)?;
        let close = rest.iter().position(|&byte| byte == b'}')?;
        rest.get(..close).filter(|tag| !tag.is_empty())
    });
    crc16::State::<crc16::XMODEM>::calculate(tag.unwrap_or(key)) % SLOTS
}

/// Reads `SENTINEL GET-MASTER-ADDR-BY-NAME`.
pub(super) fn primary(answer: &Value, service: &str) -> Result<String, String> {
    match answer {
        Value::Array(pair) => match pair.as_slice() {
            [Value::BulkString(host), Value::BulkString(port)] => {
                let (host, port) = (String::from_utf8_lossy(host), String::from_utf8_lossy(port));
                Ok(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
            }
            _ => Err("its answer is no address".to_owned()),
        },
        Value::Nil => Err(format!("it knows no service {service}")),
        Value::ServerError(error) if error.to_string().contains("unknown command") => {
            Err("it is no sentinel: write store.url as redis://host:port or redis+cluster://host:port".to_owned())
        }
        other => Err(format!("it does not say where the primary is: {other:?}")),
    }
}

/// Reads `SENTINEL MASTER`: how often another was promoted.
pub(super) fn epoch(answer: &Value) -> Result<u64, String> {
    field(answer, "config-epoch")
        .and_then(|epoch| epoch.parse().ok())
        .ok_or_else(|| format!("it does not say its configuration epoch: {answer:?}"))
}

/// A field of what a sentinel says of a server.
fn field(row: &Value, name: &str) -> Option<String> {
    redis::from_redis_value_ref::<std::collections::HashMap<String, String>>(row).ok()?.remove(name)
}

/// Reads `SENTINEL REPLICAS`.
pub(super) fn replicas(answer: &Value) -> Result<Replicas, String> {
    let Value::Array(rows) = answer else { return Err(format!("it does not list the replicas: {answer:?}")) };
    let mut replicas = Replicas::default();
    for row in rows {
        let flags = field(row, "flags").ok_or("a replica has no flags")?;
        replicas.known += 1;
        if !flags.split(',').any(|flag| matches!(flag, "s_down" | "o_down" | "disconnected")) {
            replicas.live += 1;
        }
    }
    Ok(replicas)
}

/// Reads `CLUSTER NODES`: the masters with slots, in a fixed order. `names`: a node's name is preferred to its number.
pub(super) fn masters(answer: &Value, names: bool, asked: &str) -> Result<Layout, String> {
    let Value::BulkString(bytes) = answer else { return Err(format!("it does not list the cluster: {answer:?}")) };
    let text = String::from_utf8_lossy(bytes);
    let rows: Vec<Row<'_>> = text.lines().filter_map(|line| row(line, names, asked)).collect();
    let mut seats: Vec<Seat> = Vec::new();
    for master in rows.iter().filter(|row| row.flag("master") && !row.slots.is_empty()) {
        let own = || rows.iter().filter(|row| row.flag("slave") && row.master == master.id);
        let count = |rows: usize| u32::try_from(rows).unwrap_or(u32::MAX);
        let replicas =
            Replicas { live: count(own().filter(|row| !row.flag("fail")).count()), known: count(own().count()) };
        seats.push(Seat { address: master.address.clone(), replicas, slots: master.slots.clone() });
    }
    if seats.is_empty() {
        return Err("it knows no master with slots".to_owned());
    }
    seats.sort_by(|a, b| a.slots.cmp(&b.slots));
    Ok(Layout { epoch: rows.iter().map(|row| row.epoch).max().unwrap_or(0), seats })
}

/// A line of `CLUSTER NODES`.
struct Row<'a> {
    id: &'a str,
    address: String,
    flags: &'a str,
    master: &'a str,
    epoch: u64,
    slots: Vec<(u16, u16)>,
}

impl Row<'_> {
    fn flag(&self, name: &str) -> bool {
        self.flags.split(',').any(|flag| flag == name)
    }
}

/// `id ip:port@bus[,name] flags master ping pong epoch link slot first-last [slot->-id]`
fn row<'a>(line: &'a str, names: bool, asked: &str) -> Option<Row<'a>> {
    let mut words = line.split_whitespace();
    let (id, place, flags, master) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let (socket, name) = match place.split_once(',') {
        Some((socket, rest)) => (socket, rest.split(',').next().filter(|name| !name.is_empty())),
        None => (place, None),
    };
    let (host, port) = socket.split('@').next()?.rsplit_once(':')?;
    let host = match name.filter(|_| names) {
        Some(name) => name,
        // A node that nobody told its own address says none: it is the one that was asked.
        None if host.is_empty() => asked.rsplit_once(':')?.0,
        None => host,
    };
    let bracketed = host.contains(':') && !host.starts_with('[');
    let address = if bracketed { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let range = |word: &str| {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    let epoch = words.nth(2)?.parse().ok()?;
    // A slot on its way stands in brackets; until it has arrived it is its owner's.
    let slots = words.skip(1).filter(|word| !word.starts_with('[')).filter_map(range).collect();
    Some(Row { id, address, flags, master, epoch, slots })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    #[test]
    fn a_key_has_the_slot_of_its_tag() {
        // The vectors of the cluster specification.
        assert_eq!(crc16::State::<crc16::XMODEM>::calculate(b"123456789"), 0x31C3);
        assert_eq!(slot(b"foo"), 12_182);
        assert_eq!(slot(b"gratis:{foo}:a"), slot(b"foo"));
        assert_eq!(slot(b"{user1000}.following"), slot(b"{user1000}.followers"));
        assert_ne!(slot(b"foo{}{bar}"), slot(b"bar"));
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
        assert_eq!(slot(b"foo{bar}{zap}"), slot(b"bar"));
    }

    #[test]
    fn the_nodes_of_a_cluster_are_read() {
        let nodes = "\
            a1 10.0.0.1:7000@17000,one.test myself,master - 0 1 1 connected 0-5460 [5461-<-b1]\n\
            b1 :7001@17001 master,fail? - 0 1 2 connected 5461-10922 16383\n\
            c1 fe80::1:7002@17002,,tls-port=0 master - 0 1 3 connected 10923-16382\n\
            d1 10.0.0.4:7003@17003 master - 0 1 0 connected\n\
            a2 10.0.0.5:7004@17004 slave a1 0 1 1 connected\n\
            a3 10.0.0.6:7005@17005 slave,fail a1 0 1 1 disconnected\n\
            b2 10.0.0.7:7006@17006 slave,fail? b1 0 1 2 connected\n";
        let Layout { epoch, seats } = masters(&text(nodes), false, "asked.test:7001").unwrap();
        assert_eq!(epoch, 3);
        let addresses: Vec<_> = seats.iter().map(|seat| seat.address.as_str()).collect();
        assert_eq!(addresses, ["10.0.0.1:7000", "asked.test:7001", "[fe80::1]:7002"]);
        let replicas: Vec<_> = seats.iter().map(|seat| (seat.replicas.live, seat.replicas.known)).collect();
        assert_eq!(replicas, [(1, 2), (1, 1), (0, 0)]);
        assert!(seats[1].holds(16_383) && seats[1].holds(5_461) && !seats[0].holds(5_461));
        assert_eq!(masters(&text(nodes), true, "x:1").unwrap().seats[0].address, "one.test:7000");
        assert!(masters(&text("x"), false, "x:1").is_err() && masters(&Value::Nil, false, "x:1").is_err());
    }

    #[test]
    fn what_a_sentinel_says_is_read() {
        let pair = |host: &str| Value::Array(vec![text(host), text("7000")]);
        assert_eq!(primary(&pair("10.0.0.1"), "s").unwrap(), "10.0.0.1:7000");
        assert_eq!(primary(&pair("fe80::1"), "s").unwrap(), "[fe80::1]:7000");
        assert!(primary(&Value::Nil, "s").unwrap_err().contains("no service s"));
        let row = |flags: &str| Value::Array(vec![text("name"), text("x"), text("flags"), text(flags)]);
        let rows = Value::Array(vec![row("slave"), row("s_down,slave"), row("slave,disconnected"), row("slave")]);
        assert_eq!(replicas(&rows).unwrap(), Replicas { live: 2, known: 4 });
        assert!(replicas(&Value::Nil).is_err());
        assert_eq!(epoch(&Value::Array(vec![text("config-epoch"), text("7")])).unwrap(), 7);
        assert!(epoch(&row("master")).is_err() && epoch(&Value::Nil).is_err());
    }
}
