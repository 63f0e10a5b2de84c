//! Real Redis servers on free ports: one alone, a Sentinel trio, a cluster. Each ends with the value that started it.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rand::RngExt as _;

/// How long anything that must happen may take.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// One Redis on which nothing acknowledged is lost: the options of class `redis-always`.
pub const ALWAYS: [&str; 2] = ["appendonly yes", "appendfsync always"];

/// One Redis of class `redis-everysec`.
pub const EVERYSEC: [&str; 2] = ["appendonly yes", "appendfsync everysec"];

/// What a primary of class `redis-wait` needs beside its replicas.
pub const WAIT: [&str; 3] = ["appendonly yes", "min-replicas-to-write 1", "min-replicas-max-lag 2"];

/// Polls until `done`, without blocking the test's runtime; `what` is said when it never happens.
pub async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < DEADLINE, "it never happened: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < DEADLINE, "it never happened: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A port that nothing listens on, below those that the system gives to outgoing connections, so that a server can come back to it.
fn free_port() -> u16 {
    let mut random = rand::rng();
    loop {
        let port = random.random_range(10_000..32_000);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// One process of `redis-server` or `redis-sentinel` with a folder of its own.
pub struct Server {
    program: &'static str,
    folder: tempfile::TempDir,
    port: u16,
    /// What `redis-cli` needs to get in: password, TLS.
    access: Vec<String>,
    child: Option<Child>,
}

impl Server {
    /// A Redis with these lines in its `redis.conf`. Without any it keeps nothing on disk.
    pub fn start(lines: &[&str]) -> Self {
        Self::start_as("redis-server", &|_| lines.join("\n"), &[])
    }

    /// A Redis that `redis-cli` can only ask with these arguments: `--user`, `--pass`, `--tls` and so on.
    pub fn start_guarded(lines: &[&str], access: &[&str]) -> Self {
        Self::start_as("redis-server", &|_| lines.join("\n"), access)
    }

    /// One on which nothing acknowledged is lost.
    pub fn always() -> Self {
        Self::start(&ALWAYS)
    }

    fn start_as(program: &'static str, lines: &dyn Fn(u16) -> String, access: &[&str]) -> Self {
        // Another process may take a port between the look and the use of it.
        for _ in 0..10 {
            let port = free_port();
            let mut server = Self {
                program,
                folder: tempfile::tempdir().unwrap(),
                port,
                access: access.iter().map(|&word| word.to_owned()).collect(),
                child: None,
            };
            let lines = lines(port);
            let mut text = format!("bind 127.0.0.1\ndir {}\n", server.folder.path().display());
            for (name, default) in [("port", port.to_string()), ("save", "\"\"".to_owned())] {
                let given = lines.lines().any(|line| line.split_whitespace().next() == Some(name));
                if !given && !(name == "save" && program == "redis-sentinel") {
                    writeln!(text, "{name} {default}").unwrap();
                }
            }
            std::fs::write(server.conf(), text + &lines + "\n").unwrap();
            if server.spawn() {
                return server;
            }
            assert!(server.log().contains("Address already in use"), "{program} did not start: {}", server.log());
        }
        panic!("no free port was found for {program}");
    }

    fn conf(&self) -> PathBuf {
        self.folder.path().join("redis.conf")
    }

    /// Starts the process and waits until it answers at all; false when it ended.
    fn spawn(&mut self) -> bool {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let child = Command::new(self.program)
            .arg(self.conf())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|why| {
                panic!("{} is needed ({why}); tests/clients/tools.sh installs it", self.program);
            });
        let child = self.child.insert(child);
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if child.try_wait().unwrap().is_some() {
                self.child = None;
                return false;
            }
            assert!(begun.elapsed() < DEADLINE, "{} does not listen", self.program);
            std::thread::sleep(Duration::from_millis(5));
        }
        // Something else may listen on the port while ours is about to end.
        std::thread::sleep(Duration::from_millis(5));
        if child.try_wait().unwrap().is_some() {
            self.child = None;
            return false;
        }
        true
    }

    /// Its folder: `redis.conf`, `log`, `dump.rdb`, `appendonlydir`.
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir().join("log")).unwrap_or_default()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `redis://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// What `redis-cli` answers, without the line end. It asks for at most two seconds, so that a stopped server fails a test.
    pub fn cli(&self, words: &[&str]) -> String {
        let output = Command::new("timeout")
            .args(["--kill-after=1", "5", "redis-cli", "-p", &self.port.to_string(), "--no-auth-warning"])
            .args(&self.access)
            .args(words)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|why| panic!("redis-cli is needed ({why}); tests/clients/tools.sh installs it"));
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
            .trim_end()
            .to_owned()
    }

    /// `redis-cli` whose answer must be `OK`.
    pub fn must(&self, words: &[&str]) {
        let said = self.cli(words);
        assert_eq!(said, "OK", "redis-cli {words:?}: {}", self.log());
    }

    /// `CONFIG SET`.
    pub fn config(&self, name: &str, value: &str) {
        self.must(&["CONFIG", "SET", name, value]);
    }

    /// One figure or word of `INFO`.
    pub fn fact(&self, name: &str) -> Option<String> {
        let start = format!("{name}:");
        self.cli(&["INFO", "everything"])
            .lines()
            .find_map(|line| Some(line.strip_prefix(&start)?.trim_end().to_owned()))
    }

    /// Waits until it has loaded what it keeps and answers.
    pub fn wait_ready(&self) {
        wait_until("a loaded Redis", || self.cli(&["PING"]) == "PONG");
    }

    fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// `SIGSTOP`: it keeps its connections and answers nothing.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// `SIGCONT`.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// `SIGTERM`: it saves what its options say and ends.
    pub fn shut_down(&mut self) {
        self.signal("TERM");
        self.child.take().unwrap().wait().unwrap();
    }

    /// Starts it again on the same port with the same folder, after it was ended, and waits until it answers.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "it runs");
        assert!(self.spawn(), "it did not come back: {}", self.log());
        self.wait_ready();
    }

    /// Ends it, puts this in the place of what it kept, and starts it again: a restored snapshot. None: nothing was kept.
    pub fn restart_from(&mut self, snapshot: Option<&[u8]>) {
        self.kill();
        let _ = std::fs::remove_dir_all(self.dir().join("appendonlydir"));
        let _ = std::fs::remove_file(self.dir().join("dump.rdb"));
        if let Some(bytes) = snapshot {
            // A server with an AOF does not look at a snapshot: it is loaded without, and the AOF is made of it.
            std::fs::write(self.dir().join("dump.rdb"), bytes).unwrap();
            let conf = std::fs::read_to_string(self.conf()).unwrap();
            std::fs::write(self.conf(), conf.replace("appendonly yes", "appendonly no")).unwrap();
            self.restart();
            if conf.contains("appendonly yes") {
                self.config("appendonly", "yes");
                wait_until("an AOF", || self.fact("aof_rewrite_in_progress").as_deref() == Some("0"));
            }
            std::fs::write(self.conf(), conf).unwrap();
        } else {
            self.restart();
        }
    }

    /// A snapshot of what it holds now.
    pub fn snapshot(&self) -> Vec<u8> {
        self.must(&["SAVE"]);
        std::fs::read(self.dir().join("dump.rdb")).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

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

    /// `redis+sentinel://h1:p,h2:p,h3:p/gratis`.
    pub fn url(&self) -> String {
        let hosts: Vec<_> = self.sentinels.iter().map(Server::address).collect();
        format!("redis+sentinel://{}/{SERVICE}", hosts.join(","))
    }

    /// Which of `servers` the first sentinel that answers takes for the primary.
    pub fn primary(&self) -> usize {
        let said = self.sentinels[0].cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE]);
        let port: u16 = said.lines().nth(1).unwrap_or_else(|| panic!("no primary: {said}")).parse().unwrap();
        self.servers.iter().position(|server| server.port() == port).unwrap()
    }

    /// Waits until another server than `old` is the primary and says so itself.
    pub async fn wait_for_another(&self, old: usize) -> usize {
        until("a failover", || {
            let now = self.primary();
            now != old && self.servers[now].fact("role").as_deref() == Some("master")
        })
        .await;
        self.primary()
    }
}

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
            } else if replicas > 0 {
                let count = replicas.to_string();
                wait_until("a master with its replicas", || server.fact("connected_slaves").as_ref() == Some(&count));
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
        loop {
            let keys = self.servers[from].cli(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
            let keys: Vec<_> = keys.lines().filter(|key| !key.is_empty()).collect();
            if keys.is_empty() {
                break;
            }
            let port = self.servers[to].port().to_string();
            let mut words = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            words.extend(keys);
            self.servers[from].must(&words);
        }
        self.end_migration(&slot, from, to);
    }

    /// The slot is on its way: what is asked for and no longer there is redirected.
    pub fn begin_migration(&self, slot: &str, from: usize, to: usize) {
        self.servers[to].must(&["CLUSTER", "SETSLOT", slot, "IMPORTING", &self.id(from)]);
        self.servers[from].must(&["CLUSTER", "SETSLOT", slot, "MIGRATING", &self.id(to)]);
    }

    /// The slot has arrived.
    pub fn end_migration(&self, slot: &str, from: usize, to: usize) {
        let id = self.id(to);
        self.servers[to].must(&["CLUSTER", "SETSLOT", slot, "NODE", &id]);
        self.servers[from].must(&["CLUSTER", "SETSLOT", slot, "NODE", &id]);
    }

    /// Waits until another server than `old` owns the key, as `asked` sees it.
    pub async fn wait_for_another(&self, asked: usize, key: &str, old: usize) -> usize {
        until("a failover", || self.owner(asked, key) != old).await;
        self.owner(asked, key)
    }
}
