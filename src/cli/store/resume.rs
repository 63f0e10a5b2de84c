//! `gratis store resume`: the operator has looked, and takes what the store holds for the truth.

use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;

use super::status;
use crate::cli::configuration;
use crate::cli::out::Out;
use crate::cli::serve::runtime;
use crate::cli::{Done, Failure};
use crate::store::redis::{self, LedgerState};

/// Go on after the store was suspended.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// The configuration.
    #[arg(long, value_name = "FILE", env = "GRATIS_CONFIG")]
    config: Option<PathBuf>,
}

/// What decides whether going on is right.
const CHECK: &str = "
Going on means: what the store holds now is the truth. Check first whether it has forgotten anything.

  * It was restarted or failed over, and its class says that nothing is lost then: it is right to go on.
  * It was emptied, or an older snapshot was loaded: what was spent since is missing and could be spent twice.
    Make it again from the journals instead: gratis store rebuild STATE_DIR/... of every replica.
  * In doubt: rebuild, or put in the console's figures first: gratis model sync CODE 362,917/1,000,000
";

pub(super) fn run(args: &Args, out: &mut Out<'_>) -> Done {
    let config = configuration::load_local(args.config.as_deref(), out)?.config;
    let settings = configuration::shared_store(&config)?;
    let seen = status::ask(&settings)?;
    if seen.ledger != LedgerState::Ready {
        return Err(Failure::Refused(format!(
            "{} holds no ledger under the prefix `{}`, so that there is nothing to go on from. Make it again from the journals \
             (gratis store rebuild), or make a new one (gratis init).",
            settings.url, settings.prefix
        )));
    }
    status::text(&settings, &seen, out)?;
    if !args.yes {
        out.remark(CHECK)?;
        confirm(out)?;
    }
    runtime()?.block_on(redis::resume(&settings)).map_err(|error| Failure::Refused(error.to_string()))?;
    out.line("Every replica goes on within a second.")
}

/// Waits for a word on the terminal. Where nobody sits there, `--yes` has to say it.
fn confirm(out: &mut Out<'_>) -> Done {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::Refused("nothing was changed: say --yes when you have checked it".to_owned()));
    }
    out.remark("Go on? Type yes:")?;
    out.flush()?;
    let mut word = String::new();
    stdin.lock().read_line(&mut word)?;
    if word.trim() == "yes" { Ok(()) } else { Err(Failure::Refused("nothing was changed".to_owned())) }
}
