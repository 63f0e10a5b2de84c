//! A cluster whose slots and masters a test can move.

use std::process::{Command, Stdio};

use super::{ALWAYS, Server, WAIT, free_port, until, wait_until};

/// A cluster: the first servers are the masters, the others their replicas.
pub struct Cluster {
    pub servers: Vec<Server>,
    masters: usize,
}

impl Cluster {
    /// Three masters with a replica each, of class `redis-wait`.
    pub fn start() -> Self {
        Self::start_with(3, 1, &WAIT)
    }

    /// Three masters without replicas: what the scripts need, no promise.
    pub fn of_masters() -> Self {
        Self::start_with(3, 0, &ALWAYS)
    }

    /// This many masters with this many replicas each.
    pub fn start_with(masters: usize, replicas: usize, lines: &[&str]) -> Self {
        let own = |port: u16| {
            // The bus has a free port of its own: the default is 10,000 above, which may be taken.
            format!(
                "port {port}\ncluster-enabled yes\ncluster-config-file nodes.conf\ncluster-port {}\ncluster-node-timeout 2000\n\
                 cluster-replica-validity-factor 0\nrepl-diskless-sync-delay 0\nrepl-ping-replica-period 1\n{}",
                free_port(),
                lines.join("\n")
            )
        };
        let count = masters * (1 + replicas);
        let servers: Vec<_> = (0..count).map(|_| Server::start_as("redis-server", &own, &[])).collect();
        let mut words = vec!["--cluster".to_owned(), "create".to_owned()];
        words.extend(servers.iter().map(Server::address));
        words.extend(["--cluster-replicas", &replicas.to_string(), "--cluster-yes"].map(str::to_owned));
        let mut made = String::new();
        wait_until("a cluster", || {
            let output = Command::new("redis-cli").args(&words).stdin(Stdio::null()).output().unwrap();
            made = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{made}");
            true
        });
        let cluster = Self { servers, masters };
        for (place, server) in cluster.servers.iter().enumerate() {
            let said = |text: &str| server.cli(&["CLUSTER", "INFO"]).contains(text);
            wait_until("a cluster that is well", || {
                said("cluster_state:ok") && said(&format!("cluster_known_nodes:{count}"))
            });
            if place >= masters {
                wait_until("a replica in step", || server.fact("master_link_status").as_deref() == Some("up"));
            } else {
                wait_until("a master that knows its replicas", || {
                    server.fact("connected_slaves") == Some(replicas.to_string())
                        && cluster.replicas_of(place).len() == replicas
                });
            }
        }
        cluster
    }

    /// `redis+cluster://h1:p,h2:p,...` of the masters.
    pub fn url(&self) -> String {
        let hosts: Vec<_> = self.servers[..self.masters].iter().map(Server::address).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    /// Which server owns the slot of a key, as `asked` sees it.
    pub fn owner(&self, asked: usize, key: &str) -> usize {
        let slot: u16 = self.servers[asked].cli(&["CLUSTER", "KEYSLOT", key]).parse().unwrap();
        self.owner_of_slot(asked, slot)
    }

    fn owner_of_slot(&self, asked: usize, slot: u16) -> usize {
        let nodes = self.servers[asked].cli(&["CLUSTER", "NODES"]);
        let owns = |line: &&str| {
            let ranges = line.split_whitespace().skip(8).filter(|word| !word.starts_with('['));
            ranges.into_iter().any(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                (first.parse().unwrap()..=last.parse().unwrap()).contains(&slot)
            })
        };
        let line = nodes.lines().find(owns).unwrap_or_else(|| panic!("nobody owns slot {slot}: {nodes}"));
        let address = line.split_whitespace().nth(1).unwrap().split('@').next().unwrap().to_owned();
        self.servers.iter().position(|server| server.address() == address).unwrap()
    }

    fn id(&self, server: usize) -> String {
        self.servers[server].cli(&["CLUSTER", "MYID"])
    }

    /// The replicas of a master, as it sees them.
    pub fn replicas_of(&self, master: usize) -> Vec<usize> {
        let id = self.id(master);
        let nodes = self.servers[master].cli(&["CLUSTER", "NODES"]);
        let place = |line: &str| {
            let mut words = line.split_whitespace();
            let address = words.nth(1)?.split('@').next()?;
            (words.nth(1)? == id).then(|| self.servers.iter().position(|server| server.address() == address))?
        };
        nodes.lines().filter_map(place).collect()
    }

    /// Moves the slot of a key with everything in it to another master, as an operator does while the cluster serves.
    pub fn migrate(&self, key: &str, to: usize) {
        let slot = self.servers[to].cli(&["CLUSTER", "KEYSLOT", key]);
        let from = self.owner(to, key);
        self.begin_migration(&slot, from, to);
        self.move_keys(&slot, from, to);
        self.end_migration(&slot, from, to);
    }

    /// The slot is on its way: what is asked for and no longer there is redirected.
    pub fn begin_migration(&self, slot: &str, from: usize, to: usize) {
        self.servers[to].must(&["CLUSTER", "SETSLOT", slot, "IMPORTING", &self.id(from)]);
        self.servers[from].must(&["CLUSTER", "SETSLOT", slot, "MIGRATING", &self.id(to)]);
    }

    /// Everything that is in the slot goes.
    pub fn move_keys(&self, slot: &str, from: usize, to: usize) {
        loop {
            let keys = self.servers[from].cli(&["CLUSTER", "GETKEYSINSLOT", slot, "100"]);
            let keys: Vec<_> = keys.lines().filter(|key| !key.is_empty()).collect();
            if keys.is_empty() {
                break;
            }
            let port = self.servers[to].port().to_string();
            let mut words = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            words.extend(keys);
            self.servers[from].must(&words);
        }
    }

    /// The slot has arrived.
    pub fn end_migration(&self, slot: &str, from: usize, to: usize) {
        let id = self.id(to);
        self.servers[to].must(&["CLUSTER", "SETSLOT", slot, "NODE", &id]);
        self.servers[from].must(&["CLUSTER", "SETSLOT", slot, "NODE", &id]);
    }

    /// Makes a server that was a master before one again, in the place of the one that was promoted for it.
    pub async fn hand_back(&self, old: usize, new: usize) {
        let up = || self.servers[old].fact("master_link_status").as_deref() == Some("up");
        until("the old master is in step", up).await;
        let mut looks = 0_u32;
        let again = || {
            if self.servers[old].fact("role").as_deref() == Some("master") {
                return true;
            }
            // A server gives a failover up after 5 s and does not try again by itself.
            if looks.is_multiple_of(600) {
                self.servers[old].cli(&["CLUSTER", "FAILOVER"]);
            }
            looks += 1;
            false
        };
        until("the old master is one again", again).await;
        let follows = || self.servers[new].fact("master_link_status").as_deref() == Some("up");
        until("the other one follows it", follows).await;
    }

    /// Waits until another server than `old` owns the key, as `asked` sees it.
    pub async fn wait_for_another(&self, asked: usize, key: &str, old: usize) -> usize {
        until("a failover", || self.owner(asked, key) != old).await;
        self.owner(asked, key)
    }
}
