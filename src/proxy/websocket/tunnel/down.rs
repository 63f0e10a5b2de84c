//! The upstream's side of a tunnel: what it says goes on at once, but for the end of a call, which waits until it is settled.

use tokio::time::Instant;

use crate::dialect::{Ended, Part, Stretch};

use super::super::speech::{Speech, Told};
use super::{HIGH, Phase, Tail, Tunnel, all};

impl Tunnel {
    /// Looks at the upstream's next bytes; answers whether there were any.
    pub(super) fn read_server(&mut self) -> bool {
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
    pub(super) fn server_said(&mut self, stretch: &Stretch) {
        let told = match self.server.frames.text() {
            Some(text) => self.speech.server_text(text),
            None => {
                self.speech.server_other(true);
                Told::default()
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

    pub(super) fn forward_to_client(&mut self, bytes: &[u8], stretch: &Stretch) {
        if self.passes() {
            self.client.pass(bytes, stretch);
        }
    }

    /// The upstream's connection is over.
    pub(super) fn server_left(&mut self) {
        self.server.stop_reading();
        self.server.stop_writing();
        let until = Instant::now() + self.settings.close_wait;
        self.blame |= matches!(self.phase, Phase::Open | Phase::Refusing(..)) && !self.server.closed;
        match &self.phase {
            Phase::Refusing(..) => {}
            Phase::Open | Phase::Gone { .. } | Phase::Closing { .. } => {
                self.stop_asking();
                self.phase = Phase::Closing { until, passes: true };
            }
        }
    }
}
