//! `gratis store recover`: an embedded ledger that refuses to open, while nothing runs.

use std::path::PathBuf;

use crate::admin::figure;
use crate::cli::configuration;
use crate::cli::out::Out;
use crate::cli::{Done, Failure};
use crate::clock::Clock;
use crate::store::embedded;

/// Make an embedded ledger usable again.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Yes: everything that is left counts as used.
    #[arg(long, required = true)]
    presume_all: bool,
    /// The state folder [default: that of the configuration]
    #[arg(long, value_name = "DIR", env = "GRATIS_STORE__STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// The configuration.
    #[arg(long, value_name = "FILE", env = "GRATIS_CONFIG")]
    config: Option<PathBuf>,
}

pub(super) fn run(args: Args, out: &mut Out<'_>) -> Done {
    let Args { presume_all: _, state_dir, config } = args;
    let dir = match state_dir {
        Some(dir) => dir,
        None => configuration::load_local(config.as_deref(), out)?.config.store.state_dir,
    };
    let recovery = embedded::recover(&embedded::Settings::new(dir), &Clock::system())
        .map_err(|error| Failure::Refused(error.to_string()))?;
    for found in &recovery.found {
        out.line(found)?;
    }
    out.line(format_args!("holds presumed  {}", recovery.presumed_holds))?;
    for grant in &recovery.recovered {
        let amount = figure::show(grant.amount);
        out.line(format_args!("counted as used  {} {} grant {}: {amount}", grant.account, grant.pool, grant.grant.0))?;
    }
    out.line("The ledger opens again. Put in the console's figures: gratis model sync CODE 362,917/1,000,000 --raise")
}
