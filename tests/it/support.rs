//! What the integration tests share.

pub mod binary;
pub mod memory;
pub mod models;
pub mod plug;
pub mod proxy;
pub mod redis;
pub mod vectors;
pub mod wire;
pub mod world;
