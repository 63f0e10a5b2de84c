//! How a connection ends: refused, left, or done.

use std::time::Duration;

use tokio::time::Instant;

use crate::dialect::OwnFrame;
use crate::proxy::rejection::{Rejection, UpstreamTrouble};
use crate::proxy::settings::OnDisconnect;

use super::super::end::End;
use super::super::fault::Fault;
use super::{GOING_AWAY, NORMAL, Phase, Tunnel};

impl Tunnel {
    /// Nothing more is heard of the client. What is in progress is read to its end, within the caps.
    pub(super) fn gone(&mut self) {
        self.stop_asking();
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

    /// Whatever the store is being asked, nothing waits for the answer any more.
    pub(super) fn stop_asking(&mut self) {
        self.asking = None;
        self.checking = None;
    }

    /// Makes the upstream finish what its client left unfinished; answers whether it can.
    pub(super) fn finish(&mut self) -> bool {
        // In the middle of a message of the client's nothing can be said for it.
        self.speech.finish().is_none_or(|text| self.server.say(OwnFrame::Text(&text)))
    }

    /// Nothing more of the client's goes up: once what is in progress has ended, the client is told why.
    pub(super) fn refuse(&mut self, fault: Fault) {
        self.stop_asking();
        let completes = !self.speech.idle() && self.finish();
        let most = if completes { self.quota.drain_time } else { Duration::ZERO };
        self.phase = Phase::Refusing(Box::new(fault), Instant::now() + most);
    }

    /// Goes on to the next phase where this one is over.
    pub(super) fn move_on(&mut self) {
        let idle = self.speech.idle() && self.tail.is_none();
        let asking = self.is_asking();
        // Behind its close the upstream says nothing more.
        let server_gone = self.upstream.is_some() && (self.server.closed || self.server.reader.is_none());
        match &mut self.phase {
            Phase::Open if self.going_down && idle && !asking => {
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
    pub(super) fn let_go(&mut self) {
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
    pub(super) fn farewell(&mut self, fault: &Fault, silent: bool) {
        self.stop_asking();
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

    pub(super) fn close_server(&mut self) {
        if !self.server.told_to_close() {
            self.server.say(OwnFrame::Close(NORMAL, ""));
        }
        self.phase = Phase::Closing { until: Instant::now() + self.settings.close_wait, passes: false };
    }

    pub(super) fn time(&mut self) {
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
    pub(super) fn is_over(&self) -> bool {
        let Phase::Closing { until, .. } = self.phase else { return false };
        let server = self.server.reader.is_none() || self.server.closed;
        // A client that was told to close is waited for; one that was told nothing sees the connection end.
        let client = !self.client.has_output()
            && (self.client.closed || self.client.reader.is_none() || !self.client.told_to_close());
        (server && client && self.tail.is_none()) || Instant::now() >= until
    }
}
