//! Gratis: a reverse proxy that keeps its clients inside the free quota of hosted models.

pub mod admin;
pub mod app;
pub mod catalogue;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dialect;
pub mod ledger;
pub mod load;
pub mod proxy;
pub mod server;
pub mod simulator;
pub mod store;
pub mod telemetry;
