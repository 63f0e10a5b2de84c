//! The admin API, route by route, on a store in memory.

mod accounts;
mod door;
mod grants;
mod journal;
mod keys;
pub mod office;
mod standing;
mod switches;
mod sync;
mod system;
