//! `gratis completions`.

use clap::CommandFactory;
use clap_complete::Shell;

use super::Done;
use super::out::Out;

/// What a shell needs to complete commands: `source <(gratis completions bash)`.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Which shell.
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &Args, out: &mut Out<'_>) -> Done {
    // Written to memory first: the generator panics where a pipe is closed.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "gratis", &mut script);
    out.text(&String::from_utf8_lossy(&script))
}
