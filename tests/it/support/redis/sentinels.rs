//! A primary with its replicas and three sentinels that watch over them.

use super::{Server, WAIT, until, wait_until};

/// The name that the sentinels know the primary by.
pub const SERVICE: &str = "gratis";

/// Three sentinels, a primary (the first of `servers`) and its replicas.
pub struct Sentinels {
    pub sentinels: Vec<Server>,
    pub servers: Vec<Server>,
}

impl Sentinels {
    /// A primary with one replica, of class `redis-wait`.
    pub fn start() -> Self {
        Self::start_with(1, &WAIT)
    }

    /// A primary with these replicas; the lines are for each of them.
    pub fn start_with(replicas: usize, lines: &[&str]) -> Self {
        let mut own: Vec<&str> = vec!["repl-diskless-sync-delay 0", "repl-ping-replica-period 1"];
        own.extend(lines);
        let primary = Server::start(&own);
        let follow = format!("replicaof 127.0.0.1 {}", primary.port());
        let mut servers = vec![primary];
        servers.extend((0..replicas).map(|_| Server::start(&[&own[..], &[&follow]].concat())));
        for server in &servers[1..] {
            wait_until("a replica in step", || server.fact("master_link_status").as_deref() == Some("up"));
        }
        let port = servers[0].port();
        let lines = format!(
            "sentinel monitor {SERVICE} 127.0.0.1 {port} 2\nsentinel down-after-milliseconds {SERVICE} 1000\n\
             sentinel failover-timeout {SERVICE} 4000\nsentinel parallel-syncs {SERVICE} 1"
        );
        let sentinels: Vec<_> = (0..3).map(|_| Server::start_as("redis-sentinel", &|_| lines.clone(), &[])).collect();
        let started = Self { sentinels, servers };
        for sentinel in &started.sentinels {
            let line = format!("status=ok,address=127.0.0.1:{port},slaves={replicas},sentinels=3");
            wait_until("sentinels that know each other", || sentinel.cli(&["INFO", "sentinel"]).contains(&line));
        }
        started
    }

    /// From now on nobody is promoted within a minute, however slow the machine is.
    pub fn be_patient(&self) {
        for sentinel in &self.sentinels {
            sentinel.must(&["SENTINEL", "SET", SERVICE, "down-after-milliseconds", "60000"]);
        }
    }

    /// `redis+sentinel://h1:p,h2:p,h3:p/gratis`.
    pub fn url(&self) -> String {
        let hosts: Vec<_> = self.sentinels.iter().map(Server::address).collect();
        format!("redis+sentinel://{}/{SERVICE}", hosts.join(","))
    }

    /// Which of `servers` the first sentinel takes for the primary.
    pub fn primary(&self) -> usize {
        self.primary_of(&self.sentinels[0])
    }

    fn primary_of(&self, sentinel: &Server) -> usize {
        let said = sentinel.cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE]);
        let port: u16 = said.lines().nth(1).unwrap_or_else(|| panic!("no primary: {said}")).parse().unwrap();
        self.servers.iter().position(|server| server.port() == port).unwrap()
    }

    /// Starts a server again that was the primary, as a replica of `primary`. Sentinels make it one by themselves, but only after many
    /// seconds in which nothing was late; on a busy machine that may never come.
    pub fn restart_behind(&mut self, old: usize, primary: usize) {
        let port = self.servers[primary].port().to_string();
        self.servers[old].restart();
        self.servers[old].must(&["REPLICAOF", "127.0.0.1", &port]);
    }

    /// Waits until another server than `old` is the primary and says so itself, and every sentinel knows it: one that does not would
    /// make it a replica of the old one, were that started again, and its history would be another.
    pub async fn wait_for_another(&self, old: usize) -> usize {
        until("a failover", || {
            let now = self.primary();
            now != old
                && self.sentinels.iter().all(|sentinel| self.primary_of(sentinel) == now)
                && self.servers[now].fact("role").as_deref() == Some("master")
        })
        .await;
        self.primary()
    }
}
