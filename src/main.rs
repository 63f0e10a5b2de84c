//! The program: everything is in the library.

use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    gratis::cli::run(std::env::args_os(), &mut io::stdout().lock(), &mut io::stderr())
}
