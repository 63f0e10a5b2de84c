//! The configuration, as commands use it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::out::Out;
use super::{Done, Failure};
use crate::app;
use crate::config::{self, Config, Env, Loaded, StoreKind};
use crate::store::redis;

/// Check the configuration: every mistake at once, with its file and line.
#[derive(clap::Args)]
pub(super) struct CheckArgs {
    /// The configuration.
    #[arg(long, value_name = "FILE", env = "GRATIS_CONFIG")]
    config: Option<PathBuf>,
}

/// Loads the configuration for what goes upstream; every mistake and warning goes to the standard error.
pub(super) fn load(path: Option<&Path>, out: &mut Out<'_>) -> Result<Loaded, Failure> {
    let loaded = load_with(path, &Env::of_process(), out)?;
    for warning in &loaded.warnings {
        out.remark(format!("warning: {warning}"))?;
    }
    Ok(loaded)
}

/// Loads the configuration for what stays on this machine: the provider's key need not be there.
pub(super) fn load_local(path: Option<&Path>, out: &mut Out<'_>) -> Result<Loaded, Failure> {
    load_with(path, &Env::of_process().or("DASHSCOPE_API_KEY", "not-needed"), out)
}

fn load_with(path: Option<&Path>, env: &Env, out: &mut Out<'_>) -> Result<Loaded, Failure> {
    config::load(path, env).or_else(|mistakes| {
        out.remark(mistakes.render(out.has_colour(env)))?;
        Err(Failure::Misused)
    })
}

/// `gratis check`.
pub(super) fn check(args: &CheckArgs, out: &mut Out<'_>) -> Done {
    let env = Env::of_process();
    let report = config::check_report(args.config.as_deref(), &env, out.has_colour(&env));
    if report.exit_code == 0 {
        return out.text(&report.text);
    }
    out.remark(report.text)?;
    Err(Failure::Misused)
}

/// The shared store that a configuration names, as a command reaches it beside running replicas.
pub(super) fn shared_store(config: &Config) -> Result<redis::Settings, Failure> {
    match &config.store.kind {
        StoreKind::Shared(shared) => Ok(app::settings::shared_store(config, shared, None)),
        StoreKind::Embedded => Err(Failure::Refused(
            "store.url is \"embedded\": this command is for a store that several replicas share".to_owned(),
        )),
    }
}

/// How this machine reaches a listener: one on all addresses by loopback.
pub(super) fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, listen.port())
}
