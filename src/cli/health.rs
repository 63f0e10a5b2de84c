//! `gratis health`: for a container's health check.

use http::Method;

use super::client::{Admin, AdminArgs};
use super::out::Out;
use super::{Done, Failure};

/// Whether a running gratis is well.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Ask whether calls can be admitted, not only whether the process answers.
    #[arg(long)]
    ready: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Exit code 1 for everything that is not well, also when nothing answers: other codes mean something else to a container's
/// health check.
pub(super) fn run(args: Args, out: &mut Out<'_>) -> Done {
    let Args { ready, admin } = args;
    let path = if ready { "/readyz?verbose" } else { "/livez" };
    let reply = match admin.call(async |api: Admin| api.raw(Method::GET, path, None).await) {
        Err(Failure::Unreachable(why)) => return Err(Failure::Refused(why)),
        other => other?,
    };
    out.text(&String::from_utf8_lossy(&reply.body))?;
    if reply.status.is_success() { Ok(()) } else { Err(Failure::Said) }
}
