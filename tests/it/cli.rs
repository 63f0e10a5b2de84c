//! The command line: the real program, against an admin API in this process.

mod desk;
mod init;
mod ledger_commands;
mod operator;
mod pipe;
mod plan;
mod store;
