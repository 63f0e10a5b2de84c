//! Listeners: connections in, requests out to a service that it knows nothing of.

mod connection;
mod flood;
mod listener;
mod stall;
mod tls;

pub use connection::Limits;
pub use listener::{Listening, Settings, listen};
pub use tls::{Certificates, TlsFiles};
