//! The tunnel: bytes pass as they came, frame by frame, while the calls on the connection are held for and settled.

mod down;
mod ending;
mod up;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};

use crate::dialect::Stretch;
use crate::proxy::record::Record;
use crate::proxy::settings::{QuotaSettings, SocketSettings};
use crate::proxy::upstream::Upstream;

use super::connect::Io;
use super::end::End;
use super::fault::Fault;
use super::guard::Guard;
use super::line::{CallAsk, Granted, Line};
use super::speech::Speech;
use super::tab::Settling;

/// A connection, with everything that it owns.
pub(super) struct Tunnel {
    line: Arc<Line>,
    speech: Speech,
    client: End,
    server: End,
    /// Whose connection `server` is.
    upstream: Option<Arc<Upstream>>,
    settings: SocketSettings,
    quota: QuotaSettings,
    guard: Guard,
    record: Box<Record>,
    phase: Phase,
    asking: Option<Asking>,
    /// Whether the client may refer to what its message in `client.held` names.
    checking: Option<Checking>,
    /// A complete message of the client's waits in `client.held` for what is asked.
    waiting: bool,
    /// Whether the binary frame that is passing is thrown away.
    dropping: bool,
    /// The end of a call, which waits until the counters show it.
    tail: Option<Tail>,
    going_down: bool,
    drain: Option<OwnedSemaphorePermit>,
    /// The upstream left in the middle of something.
    blame: bool,
}

type Asking = Pin<Box<dyn Future<Output = Result<Granted, Fault>> + Send>>;
type Checking = Pin<Box<dyn Future<Output = Result<(), Fault>> + Send>>;

/// What a connection is about.
enum Phase {
    /// Messages go both ways.
    Open,
    /// Nothing more of the client's goes up; what is in progress ends first, and then the client is told why.
    Refusing(Box<Fault>, Instant),
    /// The client has gone; what is in progress is read to its end, so that its usage is known.
    Gone { until: Instant, bytes: u64 },
    /// Both sides have been told, or need not be. `passes`: what the upstream still says goes to the client.
    Closing { until: Instant, passes: bool },
}

/// Bytes that wait for a settlement.
struct Tail {
    bytes: Vec<u8>,
    stretch: Stretch,
    settled: Pin<Box<dyn Future<Output = bool> + Send>>,
}

/// What happened.
enum Event {
    Client(std::io::Result<usize>),
    Server(std::io::Result<usize>),
    ToClient(std::io::Result<()>),
    ToServer(std::io::Result<()>),
    Answered(Box<Result<Granted, Fault>>),
    Checked(Result<(), Fault>),
    Settled(bool),
    GoingDown,
    Time,
}

/// More than so many bytes are not queued for a peer: then the other one is not read.
const HIGH: usize = 256 * 1024;

impl Tunnel {
    pub(super) fn new(
        line: Arc<Line>,
        speech: Speech,
        (client, server): (End, Option<(Io, Arc<Upstream>)>),
        (settings, quota): (SocketSettings, QuotaSettings),
        record: Box<Record>,
    ) -> Self {
        let mut far = End::upstream(settings.max_message);
        let upstream = server.map(|(io, upstream)| {
            far.connect(io);
            upstream
        });
        Self {
            line,
            speech,
            client,
            server: far,
            upstream,
            settings,
            quota,
            guard: Guard::new(),
            record,
            phase: Phase::Open,
            asking: None,
            checking: None,
            waiting: false,
            dropping: false,
            tail: None,
            going_down: false,
            drain: None,
            blame: false,
        }
    }

    /// Runs until both sides are done; whatever is held is resolved by then.
    pub(super) async fn run(mut self) {
        loop {
            while self.read_server() || self.read_client() {}
            self.move_on();
            if self.is_over() {
                break;
            }
            let event = self.event().await;
            self.take(event);
        }
        self.speech.end(self.server.closed, self.blame);
        let patience = self.settings.close_wait;
        let both = async { tokio::join!(self.client.shut(), self.server.shut()) };
        // Whoever does not close in time is cut off.
        let _ = tokio::time::timeout(patience, both).await;
        drop(self.record);
        drop(self.drain);
    }

    async fn event(&mut self) -> Event {
        let (hear, listen) = (self.hears_client(), self.hears_server());
        let (to_client, to_server) = (self.client.has_output(), self.server.has_output());
        let deadline = self.deadline();
        let Self { client, server, asking, checking, tail, line, going_down, .. } = self;
        let (from_client, into_client) = client.halves();
        let (from_server, into_server) = server.halves();
        tokio::select! {
            read = from_client.read(), if hear => Event::Client(read),
            read = from_server.read(), if listen => Event::Server(read),
            wrote = into_client.write(), if to_client => Event::ToClient(wrote),
            wrote = into_server.write(), if to_server => Event::ToServer(wrote),
            answer = wait(asking.as_mut()) => Event::Answered(Box::new(answer)),
            answer = wait(checking.as_mut()) => Event::Checked(answer),
            in_time = wait(tail.as_mut().map(|tail| &mut tail.settled)) => Event::Settled(in_time),
            () = line.parts.stop.cancelled(), if !*going_down => Event::GoingDown,
            () = sleep_until(deadline) => Event::Time,
        }
    }

    /// Whether the client's bytes are wanted now.
    fn hears_client(&self) -> bool {
        match self.phase {
            Phase::Open => !self.is_asking() && self.speech.may_send() && self.server.output.len() < HIGH,
            Phase::Refusing(..) | Phase::Gone { .. } => false,
            Phase::Closing { .. } => !self.client.closed,
        }
    }

    /// Whether the store is being asked for what the client's next message waits for.
    fn is_asking(&self) -> bool {
        self.asking.is_some() || self.checking.is_some()
    }

    fn hears_server(&self) -> bool {
        self.tail.is_none() && (self.client.output.len() < HIGH || !self.passes())
    }

    /// Whether what the upstream says goes to the client.
    fn passes(&self) -> bool {
        match self.phase {
            Phase::Open | Phase::Refusing(..) => true,
            Phase::Gone { .. } => false,
            Phase::Closing { passes, .. } => passes,
        }
    }

    fn deadline(&self) -> Instant {
        let phase = match &self.phase {
            Phase::Open if self.hears_client() => self.guard.next_ping(&self.settings),
            Phase::Open => Instant::now() + self.settings.ping_interval,
            Phase::Refusing(_, until) | Phase::Gone { until, .. } | Phase::Closing { until, .. } => *until,
        };
        let bounded = matches!(self.phase, Phase::Open | Phase::Refusing(..));
        let since = self.speech.busy_since().filter(|_| bounded);
        let longest = since.map(|since| Instant::now() + self.quota.max_call_stream.saturating_sub(since.elapsed()));
        longest.map_or(phase, |longest| longest.min(phase))
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Client(Ok(read)) if read > 0 => {
                self.guard.heard();
                self.record.bytes += read as u64;
            }
            Event::Client(_) => self.client_left(),
            Event::Server(Ok(read)) if read > 0 => {
                if let Phase::Gone { bytes, .. } = &mut self.phase {
                    *bytes = bytes.saturating_sub(read as u64);
                }
            }
            Event::Server(_) => self.server_left(),
            Event::ToClient(Ok(())) | Event::ToServer(Ok(())) => {}
            Event::ToClient(Err(_)) => {
                self.client.stop_writing();
                self.client_left();
            }
            // Why it takes nothing more, its own last bytes may tell.
            Event::ToServer(Err(_)) => self.server.stop_writing(),
            Event::Answered(answer) => self.answered(*answer),
            Event::Checked(answer) => self.checked(answer),
            Event::Settled(in_time) => {
                if !in_time {
                    self.line.parts.metrics.settled_late.inc();
                }
                if let Some(tail) = self.tail.take() {
                    self.client.pass(&tail.bytes, &tail.stretch);
                }
            }
            Event::GoingDown => self.going_down = true,
            Event::Time => self.time(),
        }
    }

    fn answered(&mut self, answer: Result<Granted, Fault>) {
        self.asking = None;
        match answer {
            Ok(mut granted) => {
                if let Some(io) = granted.connected.take() {
                    self.server.connect(io);
                    self.upstream = Some(Arc::clone(&granted.upstream));
                }
                let more = self.speech.granted(granted);
                if more.is_none() && std::mem::take(&mut self.waiting) {
                    self.send_held();
                }
                self.ask(more);
            }
            Err(fault) if fault.is_busy() && self.speech.postpone() => {}
            Err(fault) => {
                self.waiting = false;
                self.client.held.clear();
                self.speech.refused();
                self.refuse(fault);
            }
        }
    }

    /// Asks for what has to be admitted before the client goes on.
    fn ask(&mut self, call: Option<CallAsk>) {
        if let Some(call) = call.filter(|_| matches!(self.phase, Phase::Open)) {
            self.asking = Some(Box::pin(Arc::clone(&self.line).grant(call, self.upstream.clone())));
        }
    }
}

const NORMAL: u16 = 1000;
const GOING_AWAY: u16 = 1001;
const POLICY: u16 = 1008;

/// Waits for what may not be there.
async fn wait<T>(work: Option<&mut Pin<Box<dyn Future<Output = T> + Send>>>) -> T {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

/// Whether everything was settled in time.
async fn all(settling: Settling, most: Duration) -> bool {
    let every = async {
        for settled in settling {
            // A sender that is gone has nothing more to say.
            let _ = settled.await;
        }
    };
    tokio::time::timeout(most, every).await.is_ok()
}
