//! The client's side of a tunnel: what it says goes up once it is held for.

use std::sync::Arc;

use tokio::time::Instant;

use crate::dialect::{Ended, FrameError, OwnFrame, Part, Stretch};

use super::super::fault::Fault;
use super::super::speech::Step;
use super::{NORMAL, POLICY, Phase, Tunnel};

impl Tunnel {
    /// Looks at the client's next bytes; answers whether there were any.
    pub(super) fn read_client(&mut self) -> bool {
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
    pub(super) fn step(&mut self, step: Result<Step, Fault>, stretch: &Stretch) {
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
            Ok(Step::Check(things)) => {
                let line = Arc::clone(&self.line);
                self.checking = Some(Box::pin(async move { line.may_refer(&things).await }));
            }
            Err(fault) => {
                self.client.held.clear();
                self.refuse(fault);
            }
        }
    }

    /// Whether the client may refer to what its message names is known.
    pub(super) fn checked(&mut self, answer: Result<(), Fault>) {
        self.checking = None;
        match answer {
            Ok(()) if self.speech.may_send() => self.send_held(),
            // A response began meanwhile: the message waits for the hold of the next one.
            Ok(()) => self.waiting = true,
            Err(fault) => {
                self.client.held.clear();
                self.refuse(fault);
            }
        }
    }

    pub(super) fn send_held(&mut self) {
        let bytes = self.client.held.split();
        if let Some(stretch) = self.guard.last.take() {
            self.server.pass(&bytes, &stretch);
        }
    }

    /// A control frame of the client's is whole.
    pub(super) fn control(&mut self, ended: Ended, stretch: &Stretch) {
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
    pub(super) fn client_closes(&mut self, raw: &[u8], stretch: &Stretch) {
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
    pub(super) fn client_broke(&mut self, error: FrameError) {
        tracing::debug!(reason = error.reason, "a client's frames are refused");
        let fault = Fault::Frames(error).words();
        self.record.code = Some(fault.code);
        self.client.say(OwnFrame::Close(error.code, error.reason));
        self.gone();
    }

    pub(super) fn client_left(&mut self) {
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
}
