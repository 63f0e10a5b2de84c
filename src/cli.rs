//! The command line. One file a subcommand; operators' commands are a thin client of the admin API.
//!
//! Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 nothing answers. A closed pipe is no failure: whoever reads has seen
//! enough. Results go to the standard output, everything else to the standard error; `-o json` prints the API's own answer.

mod account;
mod audit;
mod client;
mod completions;
pub mod configuration;
mod demo;
mod entry;
mod estimate;
mod fallback;
mod grant;
mod health;
mod hold;
pub mod init;
mod key;
mod load;
mod model;
mod notify;
mod out;
mod route;
mod serve;
mod shadow;
mod simulator;
mod store;
mod upstream;
mod user;
mod version;
mod why;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use client::AdminArgs;
pub use out::{Format, Out};

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// It was refused, or it failed: exit code 1.
    Refused(String),
    /// What was asked makes no sense: exit code 2.
    Usage(String),
    /// The same, and it was already said what: exit code 2.
    Misused,
    /// Nothing answers: exit code 3.
    Unreachable(String),
    /// It did what it could and has already said what is wrong: exit code 1.
    Said,
    /// Nobody reads any more: exit code 0.
    ClosedPipe,
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::ClosedPipe => 0,
            Self::Refused(_) | Self::Said => 1,
            Self::Usage(_) | Self::Misused => 2,
            Self::Unreachable(_) => 3,
        }
    }

    /// The same refusal, with what to do about it.
    fn and_then_do(self, what: &str) -> Self {
        match self {
            Self::Refused(text) => Self::Refused(format!("{text}\n{what}")),
            other @ (Self::Usage(_) | Self::Misused | Self::Unreachable(_) | Self::Said | Self::ClosedPipe) => other,
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Refused(text) | Self::Usage(text) | Self::Unreachable(text) => Some(text),
            Self::Misused | Self::Said | Self::ClosedPipe => None,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::ClosedPipe;
        }
        Self::Refused(format!("cannot write: {error}"))
    }
}

/// What a command comes to.
pub type Done = Result<(), Failure>;

/// Keeps clients inside the free quota of hosted models.
#[derive(Parser)]
#[command(name = "gratis", version = version::shown(), disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Try everything out on this machine: a simulator, a ledger that is thrown away, an account with a key.
    Demo(demo::Args),
    /// Serve clients.
    Serve(serve::Args),
    /// Make the ledger, the first account and its first key.
    Init(init::Args),
    /// Check the configuration: every mistake at once.
    Check(configuration::CheckArgs),
    /// Accounts: make, show, change their state.
    Account(account::Args),
    /// API keys: make, disable, delete.
    Key(key::Args),
    /// Grants of free quota.
    Grant(grant::Args),
    /// Models: balances, switches, the console's figure.
    Model(model::Args),
    /// Calls in progress, and what was posted because nobody knew.
    Hold(hold::Args),
    /// The lines of the ledger.
    Entry(entry::Args),
    /// What shadow mode counted.
    Shadow(shadow::Args),
    /// Why a call was decided as it was.
    Why(why::Args),
    /// Users of an account: whose a key is.
    User(user::Args),
    /// Workspaces of an account.
    Workspace(user::Args),
    /// Models that serve instead of one whose free quota is used up.
    Fallback(fallback::Args),
    /// Upstreams that said that their account is overdue.
    Upstream(upstream::Args),
    /// Notices by mail and webhook: which, and a trial.
    Notify(notify::Args),
    /// Who changed what, and when.
    Audit(audit::Args),
    /// The routes that are metered.
    Route(route::Args),
    /// The ledger's files, while nothing runs.
    Store(store::Args),
    /// Drive a proxy, and compare what it counted with what the simulator charged.
    Load(Box<load::Args>),
    /// Run the simulator alone.
    Simulator(simulator::Args),
    /// Whether a running gratis is well: exit code 0 or 1.
    Health(health::Args),
    /// Read the configuration of a running gratis again.
    Reload(route::ReloadArgs),
    /// What a shell needs to complete commands.
    Completions(completions::Args),
    /// What this program is.
    Version,
}

/// Runs the program with these arguments, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>, stdout: &mut dyn Write, stderr: &mut dyn Write) -> ExitCode {
    ExitCode::from(exit_code(arguments, stdout, stderr))
}

fn exit_code(arguments: impl IntoIterator<Item = OsString>, stdout: &mut dyn Write, stderr: &mut dyn Write) -> u8 {
    let mut out = Out::new(stdout, stderr);
    let done = match Cli::try_parse_from(arguments) {
        Ok(cli) => dispatch(cli.command, &mut out),
        Err(message) => out.clap(&message),
    };
    let Err(failure) = done.and_then(|()| out.flush()) else { return 0 };
    if let Some(text) = failure.text() {
        // There is nobody left to tell when this fails.
        let _ = out.error(text);
    }
    failure.exit_code()
}

fn dispatch(command: Command, out: &mut Out<'_>) -> Done {
    match command {
        Command::Demo(args) => demo::run(args, out),
        Command::Serve(args) => serve::run(args, out),
        Command::Init(args) => init::run(args, out),
        Command::Check(args) => configuration::check(&args, out),
        Command::Account(args) => account::run(args, out),
        Command::Key(args) => key::run(args, out),
        Command::Grant(args) => grant::run(args, out),
        Command::Model(args) => model::run(args, out),
        Command::Hold(args) => hold::run(args, out),
        Command::Entry(args) => entry::run(args, out),
        Command::Shadow(args) => shadow::run(&args, out),
        Command::Why(args) => why::run(args, out),
        Command::User(args) => user::run(args, "users", out),
        Command::Workspace(args) => user::run(args, "workspaces", out),
        Command::Fallback(args) => fallback::run(args, out),
        Command::Upstream(args) => upstream::run(args, out),
        Command::Completions(args) => completions::run(&args, out),
        Command::Notify(args) => notify::run(args, out),
        Command::Audit(args) => audit::run(args, out),
        Command::Route(args) => route::run(args, out),
        Command::Store(args) => store::run(args, out),
        Command::Load(args) => load::run(*args, out),
        Command::Simulator(args) => simulator::run(args, out),
        Command::Health(args) => health::run(args, out),
        Command::Reload(args) => route::reload(args, out),
        Command::Version => out.line(format!("gratis {}", version::shown())),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
