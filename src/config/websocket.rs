//! `[websocket]`: what one WebSocket connection may take.

use std::time::Duration;

use super::reader::Reader;

/// The connections for tasks and responses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WebSocketConfig {
    /// Connections at the same time.
    pub connections: usize,
    /// Bytes of one frame, and of one message, of a client.
    pub max_message: usize,
    /// After so much silence a client is asked whether it is there.
    pub ping_interval: Duration,
    /// How long it may take to say so.
    pub ping_timeout: Duration,
    /// Control frames of a client in 10 seconds.
    pub control_frames: u32,
    /// How long the end of a connection may take.
    pub close_wait: Duration,
}

pub(super) fn read(mut r: Reader<'_, '_>) -> Option<WebSocketConfig> {
    let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3_600));
    let connections = r.count("connections", 0..=1_000_000);
    let max_message = r.size("max_message", 1 << 10..=64 << 20);
    let ping_interval = r.duration("ping_interval", second..=hour);
    let ping_timeout = r.duration("ping_timeout", second..=hour);
    let control_frames = r.count("control_frames", 1..=1_000_000);
    let close_wait = r.duration("close_wait", Duration::from_millis(100)..=hour);
    r.finish();
    Some(WebSocketConfig {
        connections: usize::try_from(connections?).ok()?,
        max_message: usize::try_from(max_message?).ok()?,
        ping_interval: ping_interval?,
        ping_timeout: ping_timeout?,
        control_frames: u32::try_from(control_frames?).ok()?,
        close_wait: close_wait?,
    })
}
