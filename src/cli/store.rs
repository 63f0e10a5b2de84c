//! `gratis store`: the store behind the books, without the admin API: the service may be refusing.

mod rebuild;
mod recover;
mod resume;
mod status;

use clap::Subcommand;

use super::Done;
use super::out::Out;

/// The store behind the books.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// What the store is, what it promises, who uses it, and whether it is suspended.
    Status(status::Args),
    /// Go on after a shared store was suspended: every replica takes what it holds now for the truth.
    Resume(resume::Args),
    /// Make the ledger of a shared store again from the replicas' journals. Without --yes it is only shown.
    Rebuild(rebuild::Args),
    /// Make an embedded ledger usable again that cannot be trusted, with nothing left available. gratis must not be running.
    Recover(recover::Args),
}

pub(super) fn run(args: Args, out: &mut Out<'_>) -> Done {
    match args.what {
        What::Status(args) => status::run(&args, out),
        What::Resume(args) => resume::run(&args, out),
        What::Rebuild(args) => rebuild::run(&args, out),
        What::Recover(args) => recover::run(args, out),
    }
}
