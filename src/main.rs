//! The program: everything is in the library.

use std::io;
use std::process::ExitCode;

/// Many small buffers live and die with every request; this allocator is made for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    gratis::cli::run(std::env::args_os(), &mut io::stdout().lock(), &mut io::stderr())
}
