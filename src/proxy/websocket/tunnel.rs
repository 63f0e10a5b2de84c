//! The tunnel: bytes pass as they came, frame by frame, while the calls on the connection are held for and settled.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};

use crate::dialect::{Ended, FrameError, OwnFrame, Part, Stretch};
use crate::proxy::record::Record;
use crate::proxy::rejection::{Rejection, UpstreamTrouble};
use crate::proxy::settings::{OnDisconnect, QuotaSettings, SocketSettings};
use crate::proxy::upstream::Upstream;

use super::connect::Io;
use super::end::End;
use super::fault::Fault;
use super::guard::Guard;
use super::line::{CallAsk, Granted, Line};
use super::speech::{Speech, Step};
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
    record: Record,
    phase: Phase,
    asking: Option<Asking>,
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
        record: Record,
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
        let Self { client, server, asking, tail, line, going_down, .. } = self;
        let (from_client, into_client) = client.halves();
        let (from_server, into_server) = server.halves();
        tokio::select! {
            read = from_client.read(), if hear => Event::Client(read),
            read = from_server.read(), if listen => Event::Server(read),
            wrote = into_client.write(), if to_client => Event::ToClient(wrote),
            wrote = into_server.write(), if to_server => Event::ToServer(wrote),
            answer = wait(asking.as_mut()) => Event::Answered(Box::new(answer)),
            in_time = wait(tail.as_mut().map(|tail| &mut tail.settled)) => Event::Settled(in_time),
            () = line.parts.stop.cancelled(), if !*going_down => Event::GoingDown,
            () = sleep_until(deadline) => Event::Time,
        }
    }

    /// Whether the client's bytes are wanted now.
    fn hears_client(&self) -> bool {
        match self.phase {
            Phase::Open => self.asking.is_none() && self.speech.may_send() && self.server.output.len() < HIGH,
            Phase::Refusing(..) | Phase::Gone { .. } => false,
            Phase::Closing { .. } => !self.client.closed,
        }
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
                if std::mem::take(&mut self.waiting) {
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

    /// Looks at the upstream's next bytes; answers whether there were any.
    fn read_server(&mut self) -> bool {
        if self.tail.is_some() || (self.passes() && self.client.output.len() >= HIGH) {
            return false;
        }
        let stretch = match self.server.frames.read(&self.server.input) {
            Ok(Some(stretch)) => stretch,
            Ok(None) => return false,
            Err(error) => {
                tracing::warn!(error = %error, "the upstream's frames cannot be read");
                self.server.stop_reading();
                self.server_left();
                return false;
            }
        };
        let bytes = self.server.input.split_to(stretch.length);
        match stretch.part {
            Part::Binary => {
                if stretch.begins.is_some() {
                    self.speech.server_other(false);
                }
                self.forward_to_client(&bytes, &stretch);
            }
            Part::Control => {
                self.server.control.extend_from_slice(&bytes);
                if stretch.ended.is_some() {
                    self.server.closed |= stretch.ended == Some(Ended::Close);
                    let whole = self.server.control.split();
                    self.forward_to_client(&whole, &stretch);
                }
            }
            // Only the last frame can be the end of a call, so only it is held until it is whole.
            Part::Text if !stretch.last => self.forward_to_client(&bytes, &stretch),
            Part::Text => {
                self.server.held.extend_from_slice(&bytes);
                if stretch.ended.is_some() {
                    self.server_said(&stretch);
                }
            }
        }
        true
    }

    /// A text message of the upstream's is whole.
    fn server_said(&mut self, stretch: &Stretch) {
        let told = match self.server.frames.text() {
            Some(text) => self.speech.server_text(text),
            None => {
                self.speech.server_other(true);
                super::speech::Told::default()
            }
        };
        let raw = self.server.held.split();
        // A client that is about to be told of a failure must not read before that its call went well.
        let hidden = told.ended && matches!((&self.phase, &self.speech), (Phase::Refusing(..), Speech::Tasks(_)));
        if !hidden && self.passes() {
            if told.settling.is_empty() {
                self.client.pass(&raw, stretch);
            } else {
                let settled = Box::pin(all(told.settling, self.quota.settle_wait));
                self.tail = Some(Tail { bytes: raw.to_vec(), stretch: *stretch, settled });
            }
        }
        self.ask(told.ask);
    }

    fn forward_to_client(&mut self, bytes: &[u8], stretch: &Stretch) {
        if self.passes() {
            self.client.pass(bytes, stretch);
        }
    }

    /// Looks at the client's next bytes; answers whether there were any.
    fn read_client(&mut self) -> bool {
        let closing = matches!(self.phase, Phase::Closing { .. });
        if !self.hears_client() {
            return false;
        }
        let stretch = match self.client.frames.read(&self.client.input) {
            Ok(Some(stretch)) => stretch,
            Ok(None) => return false,
            Err(_) if closing => {
                self.client.stop_reading();
                return false;
            }
            Err(error) => {
                self.client_broke(error);
                return false;
            }
        };
        let bytes = self.client.input.split_to(stretch.length);
        if closing {
            self.client.closed |= stretch.ended == Some(Ended::Close);
            return true;
        }
        match stretch.part {
            Part::Control => {
                self.client.control.extend_from_slice(&bytes);
                if let Some(ended) = stretch.ended {
                    self.control(ended, &stretch);
                }
            }
            Part::Text => {
                self.client.held.extend_from_slice(&bytes);
                if stretch.ended == Some(Ended::Message) {
                    let text = self.client.frames.text().unwrap_or_default();
                    let step = self.speech.client_text(text);
                    self.step(step, &stretch);
                }
            }
            Part::Binary => {
                if let Some(length) = stretch.begins {
                    self.dropping = false;
                    self.client.held.extend_from_slice(&bytes);
                    let step = self.speech.client_binary(length);
                    self.step(step, &stretch);
                } else if !self.dropping {
                    self.server.pass(&bytes, &stretch);
                }
            }
        }
        true
    }

    /// Does with what the client said, which is in `client.held`, as it was decided.
    fn step(&mut self, step: Result<Step, Fault>, stretch: &Stretch) {
        self.guard.last = Some(*stretch);
        match step {
            Ok(Step::Pass) => self.send_held(),
            Ok(Step::Drop) => {
                self.client.held.clear();
                self.dropping = true;
            }
            Ok(Step::Ask(call)) => {
                self.waiting = true;
                self.ask(Some(call));
            }
            Err(fault) => {
                self.client.held.clear();
                self.refuse(fault);
            }
        }
    }

    fn send_held(&mut self) {
        let bytes = self.client.held.split();
        if let Some(stretch) = self.guard.last.take() {
            self.server.pass(&bytes, &stretch);
        }
    }

    /// A control frame of the client's is whole.
    fn control(&mut self, ended: Ended, stretch: &Stretch) {
        let raw = self.client.control.split();
        if !self.guard.admits_control(self.settings.control_frames) {
            return self.client_broke(FrameError { code: POLICY, reason: "There are too many control frames." });
        }
        match ended {
            Ended::Close => return self.client_closes(&raw, stretch),
            Ended::Pong if self.guard.is_ours(self.client.frames.control()) => return,
            Ended::Ping if !self.server.takes() => {
                let payload = self.client.frames.control().to_vec();
                self.client.say(OwnFrame::Pong(&payload));
                return;
            }
            Ended::Ping | Ended::Pong | Ended::Fragment | Ended::Message => {}
        }
        // Between the frames of a message that is held back, it keeps its place.
        if self.client.held.is_empty() {
            self.server.pass(&raw, stretch);
        } else {
            self.client.held.extend_from_slice(&raw);
        }
    }

    /// The client closes in the protocol's own way.
    fn client_closes(&mut self, raw: &[u8], stretch: &Stretch) {
        self.client.closed = true;
        self.client.held.clear();
        let until = Instant::now() + self.settings.close_wait;
        if self.server.takes() && (self.speech.idle() || self.server.closed) {
            self.server.pass(raw, stretch);
            self.phase = Phase::Closing { until, passes: true };
            return;
        }
        // Passed on in the middle of a call, it would take the call's usage with it: so the client is answered here.
        let payload = self.client.frames.control().to_vec();
        let (code, reason) = payload
            .split_first_chunk::<2>()
            .map_or((NORMAL, &[][..]), |(code, reason)| (u16::from_be_bytes(*code), reason));
        self.client.say(OwnFrame::Close(code, std::str::from_utf8(reason).unwrap_or_default()));
        self.gone();
    }

    /// The client's bytes break a rule: it is told so, and treated as one that has left.
    fn client_broke(&mut self, error: FrameError) {
        tracing::debug!(reason = error.reason, "a client's frames are refused");
        let fault = Fault::Frames(error).words();
        self.record.code = Some(fault.code);
        self.client.say(OwnFrame::Close(error.code, error.reason));
        self.gone();
    }

    fn client_left(&mut self) {
        match self.phase {
            Phase::Open | Phase::Refusing(..) => {
                self.client.stop_reading();
                self.gone();
            }
            Phase::Gone { .. } | Phase::Closing { .. } => {
                self.client.stop_reading();
                self.client.closed = true;
            }
        }
    }

    /// Nothing more is heard of the client. What is in progress is read to its end, within the caps.
    fn gone(&mut self) {
        self.asking = None;
        self.waiting = false;
        self.speech.refused();
        self.client.stop_reading();
        let reads_on = !self.speech.idle() && !self.server.closed && self.quota.on_disconnect == OnDisconnect::Drain;
        if reads_on && let Some(place) = self.line.parts.drainer.place() {
            self.drain = Some(place);
            let most = if self.finish() { self.quota.drain_time } else { Duration::ZERO };
            self.phase = Phase::Gone { until: Instant::now() + most, bytes: self.quota.drain_bytes };
        } else {
            self.close_server();
        }
    }

    /// Makes the upstream finish what its client left unfinished; answers whether it can.
    fn finish(&mut self) -> bool {
        // In the middle of a message of the client's nothing can be said for it.
        self.speech.finish().is_none_or(|text| self.server.say(OwnFrame::Text(&text)))
    }

    fn close_server(&mut self) {
        if !self.server.told_to_close() {
            self.server.say(OwnFrame::Close(NORMAL, ""));
        }
        self.phase = Phase::Closing { until: Instant::now() + self.settings.close_wait, passes: false };
    }

    /// The upstream's connection is over.
    fn server_left(&mut self) {
        self.server.stop_reading();
        self.server.stop_writing();
        let until = Instant::now() + self.settings.close_wait;
        self.blame |= matches!(self.phase, Phase::Open | Phase::Refusing(..)) && !self.server.closed;
        match &self.phase {
            Phase::Refusing(..) => {}
            Phase::Open | Phase::Gone { .. } | Phase::Closing { .. } => {
                self.asking = None;
                self.phase = Phase::Closing { until, passes: true };
            }
        }
    }

    /// Nothing more of the client's goes up: once what is in progress has ended, the client is told why.
    fn refuse(&mut self, fault: Fault) {
        self.asking = None;
        let completes = !self.speech.idle() && self.finish();
        let most = if completes { self.quota.drain_time } else { Duration::ZERO };
        self.phase = Phase::Refusing(Box::new(fault), Instant::now() + most);
    }

    /// Goes on to the next phase where this one is over.
    fn move_on(&mut self) {
        let idle = self.speech.idle() && self.tail.is_none();
        // Behind its close the upstream says nothing more.
        let server_gone = self.upstream.is_some() && (self.server.closed || self.server.reader.is_none());
        match &mut self.phase {
            Phase::Open if self.going_down && idle && self.asking.is_none() => {
                self.farewell(&Fault::Ours(Rejection::ShuttingDown), true);
            }
            Phase::Open | Phase::Closing { .. } => {}
            Phase::Refusing(..) if idle || server_gone => {
                let until = Instant::now();
                let refusing = std::mem::replace(&mut self.phase, Phase::Closing { until, passes: false });
                if let Phase::Refusing(fault, _) = refusing {
                    self.farewell(&fault, false);
                }
            }
            Phase::Gone { bytes, .. } if idle || server_gone || *bytes == 0 => self.close_server(),
            Phase::Gone { .. } if !self.client.has_output() => self.let_go(),
            Phase::Refusing(..) | Phase::Gone { .. } => {}
        }
    }

    /// Ends the client's connection while the upstream is still read.
    fn let_go(&mut self) {
        if self.client.takes() {
            let client = std::mem::replace(&mut self.client, End::nobody());
            let patience = self.settings.close_wait;
            self.line.parts.drainer.tasks().spawn(async move {
                // Whoever does not close in time is cut off.
                let _ = tokio::time::timeout(patience, client.shut()).await;
            });
        }
    }

    /// Tells both sides that it is over.
    fn farewell(&mut self, fault: &Fault, silent: bool) {
        let words = fault.words();
        self.record.code = Some(words.code.clone());
        if let Fault::Ours(rejection) = fault {
            self.line.parts.metrics.rejection(rejection.code());
        }
        if !silent {
            let text = self.speech.error(&words);
            self.client.say(OwnFrame::Text(&text));
        }
        self.client.say(OwnFrame::Close(if silent { GOING_AWAY } else { words.close }, &words.code));
        self.close_server();
    }

    fn time(&mut self) {
        let now = Instant::now();
        let too_long = self.speech.busy_since().is_some_and(|since| since.elapsed() >= self.quota.max_call_stream);
        match &self.phase {
            Phase::Open | Phase::Refusing(..) if too_long => {
                self.speech.end(false, true);
                self.farewell(&Fault::Ours(Rejection::Upstream(UpstreamTrouble::Timeout)), false);
            }
            Phase::Open => {
                if !self.hears_client() {
                    return;
                }
                if self.guard.is_silent(&self.settings) {
                    self.client_left();
                } else if self.guard.wants_ping(&self.settings) {
                    match self.client.say(OwnFrame::Ping(self.guard.payload())) {
                        true => self.guard.pinged(),
                        // It is being sent a frame: that is looked at again after a further interval.
                        false => self.guard.heard(),
                    }
                }
            }
            Phase::Refusing(_, until) if now >= *until => {
                let fault = std::mem::replace(&mut self.phase, Phase::Closing { until: now, passes: false });
                if let Phase::Refusing(fault, _) = fault {
                    self.farewell(&fault, false);
                }
            }
            Phase::Gone { until, .. } if now >= *until => self.close_server(),
            Phase::Refusing(..) | Phase::Gone { .. } | Phase::Closing { .. } => {}
        }
    }

    /// Whether there is nothing more to wait for.
    fn is_over(&self) -> bool {
        let Phase::Closing { until, .. } = self.phase else { return false };
        let server = self.server.reader.is_none() || self.server.closed;
        // A client that was told to close is waited for; one that was told nothing sees the connection end.
        let client = !self.client.has_output()
            && (self.client.closed || self.client.reader.is_none() || !self.client.told_to_close());
        (server && client && self.tail.is_none()) || Instant::now() >= until
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
