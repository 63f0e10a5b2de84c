//! What a client may do that costs nothing and still loads the process: silence, and control frames.

use tokio::time::Instant;

use crate::dialect::Stretch;
use crate::proxy::settings::SocketSettings;

/// Watches one client.
pub(super) struct Guard {
    heard: Instant,
    pinged: Option<Instant>,
    payload: [u8; 12],
    window: Instant,
    frames: u32,
    /// How the bytes end that the client's last message left waiting.
    pub(super) last: Option<Stretch>,
}

/// The time in which control frames are counted.
const WINDOW: std::time::Duration = std::time::Duration::from_secs(10);

impl Guard {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { heard: now, pinged: None, payload: rand::random(), window: now, frames: 0, last: None }
    }

    /// Bytes came.
    pub(super) fn heard(&mut self) {
        self.heard = Instant::now();
        self.pinged = None;
    }

    /// When to look at the client's silence next.
    pub(super) fn next_ping(&self, settings: &SocketSettings) -> Instant {
        match self.pinged {
            Some(pinged) => pinged + settings.ping_timeout,
            None => self.heard + settings.ping_interval,
        }
    }

    pub(super) fn wants_ping(&self, settings: &SocketSettings) -> bool {
        self.pinged.is_none() && self.heard.elapsed() >= settings.ping_interval
    }

    pub(super) fn pinged(&mut self) {
        self.pinged = Some(Instant::now());
    }

    /// Whether a ping was not answered in time.
    pub(super) fn is_silent(&self, settings: &SocketSettings) -> bool {
        self.pinged.is_some_and(|pinged| pinged.elapsed() >= settings.ping_timeout)
    }

    /// What our pings carry; no client can know it before.
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Whether a pong answers a ping of ours.
    pub(super) fn is_ours(&self, payload: &[u8]) -> bool {
        payload == self.payload
    }

    /// Counts a control frame; answers whether there may be so many.
    pub(super) fn admits_control(&mut self, most: u32) -> bool {
        if self.window.elapsed() >= WINDOW {
            (self.window, self.frames) = (Instant::now(), 0);
        }
        self.frames = self.frames.saturating_add(1);
        self.frames <= most
    }
}
