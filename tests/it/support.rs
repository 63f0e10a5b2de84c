//! What the integration tests share.

use std::time::Duration;

pub mod binary;
pub mod memory;
pub mod models;
pub mod plug;
pub mod proxy;
pub mod redis;
pub mod vectors;
pub mod wire;
pub mod world;

/// How long anything that must happen may take. It only says how long a failure takes: no test judges a time.
pub const PATIENCE: Duration = Duration::from_secs(180);
