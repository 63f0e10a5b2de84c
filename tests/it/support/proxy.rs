//! A TCP proxy in front of a Redis that misbehaves as networks do: it delays commands, cuts a connection after a command went through and
//! before its answer, and sends a command a second time, later and on another connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Each so-and-so-many-th script call meets this; 0 = none does.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    pub delay_every: u64,
    pub delay: Duration,
    pub cut_every: u64,
    pub replay_every: u64,
    pub replay_after: Duration,
}

#[derive(Default)]
pub struct Counts {
    calls: AtomicU64,
    delayed: AtomicU64,
    cut: AtomicU64,
    replayed: AtomicU64,
    healed: AtomicBool,
}

impl Counts {
    /// How often it delayed, cut and repeated.
    pub fn seen(&self) -> [u64; 3] {
        [&self.delayed, &self.cut, &self.replayed].map(|count| count.load(Ordering::Relaxed))
    }
}

/// A running proxy; it ends when dropped.
pub struct Proxy {
    port: u16,
    pub counts: Arc<Counts>,
    _accepting: JoinSet<()>,
}

impl Proxy {
    /// In front of a server on this port of the loopback interface.
    pub async fn start(server: u16, faults: Faults) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let counts = Arc::new(Counts::default());
        let mut accepting = JoinSet::new();
        let theirs = Arc::clone(&counts);
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(pass(client, server, faults, Arc::clone(&theirs)));
            }
        });
        Self { port, counts, _accepting: accepting }
    }

    /// From now on it passes on what comes, and nothing else.
    pub fn heal(&self) {
        self.counts.healed.store(true, Ordering::Relaxed);
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

async fn pass(client: TcpStream, server: u16, faults: Faults, counts: Arc<Counts>) {
    let Ok(upstream) = TcpStream::connect(("127.0.0.1", server)).await else { return };
    let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = upstream.into_split();
    let answers = async { drop(tokio::io::copy(&mut from_server, &mut to_client).await) };
    let commands = async {
        let mut waiting = Vec::new();
        loop {
            while let Some(length) = command(&waiting) {
                let bytes: Vec<u8> = waiting.drain(..length).collect();
                let is_call = bytes.windows(7).take(32).any(|word| word.eq_ignore_ascii_case(b"EVALSHA"));
                let call = if is_call { counts.calls.fetch_add(1, Ordering::Relaxed) + 1 } else { 0 };
                let sick = !counts.healed.load(Ordering::Relaxed);
                let meets = |every: u64| sick && call != 0 && every != 0 && call % every == 0;
                if meets(faults.delay_every) {
                    counts.delayed.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(faults.delay).await;
                }
                if meets(faults.replay_every) {
                    counts.replayed.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(again(bytes.clone(), server, faults.replay_after));
                }
                if to_server.write_all(&bytes).await.is_err() {
                    return;
                }
                if meets(faults.cut_every) {
                    counts.cut.fetch_add(1, Ordering::Relaxed);
                    return;
                }
            }
            if !matches!(from_client.read_buf(&mut waiting).await, Ok(1..)) {
                return;
            }
        }
    };
    // The connection ends with whichever of the two ends first; what the server says after a cut reaches nobody.
    tokio::select! {
        () = commands => {}
        () = answers => {}
    }
    // The command of a cut is carried out all the same: it is on the wire before this end is closed.
    let _ = to_server.shutdown().await;
}

/// The same command on a connection of its own.
async fn again(bytes: Vec<u8>, server: u16, after: Duration) {
    tokio::time::sleep(after).await;
    let Ok(mut connection) = TcpStream::connect(("127.0.0.1", server)).await else { return };
    if connection.write_all(&bytes).await.is_ok() {
        let _ = connection.read(&mut [0; 4_096]).await;
    }
}

/// How long the first command is, once it is whole: `*2\r\n$3\r\nGET\r\n$1\r\na\r\n`.
fn command(bytes: &[u8]) -> Option<usize> {
    let line = |from: usize| {
        let end = from + bytes.get(from..)?.windows(2).position(|pair| pair == b"\r\n")?;
        let figure: usize = std::str::from_utf8(&bytes[from + 1..end]).unwrap().parse().unwrap();
        Some((figure, end + 2))
    };
    let (words, mut at) = line(0)?;
    for _ in 0..words {
        let (length, start) = line(at)?;
        at = start + length + 2;
    }
    (bytes.len() >= at).then_some(at)
}
