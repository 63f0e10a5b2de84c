//! `gratis serve`: the real thing. It never makes a ledger.

use std::path::PathBuf;

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

use crate::admin::Token;
use crate::app::{self, Ledger, Parts, Running, Sockets};
use crate::clock::Clock;
use crate::config::{self, Env, Loaded};
use crate::store::embedded::Embedded;
use crate::store::{LedgerStore, Pepper, StoreErrorKind};

use super::configuration;
use super::out::Out;
use super::{Done, Failure};

/// Serve clients.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The configuration; without one the defaults hold.
    #[arg(long, value_name = "FILE", env = "GRATIS_CONFIG")]
    config: Option<PathBuf>,
}

pub(super) fn run(args: Args, out: &mut Out<'_>) -> Done {
    let loaded = configuration::load(args.config.as_deref(), out)?;
    let metrics = app::metrics(&loaded);
    let clock = Clock::system();
    let runtime = runtime()?;
    let log = app::settings::log(&loaded.config);
    let traces = app::settings::trace(&loaded.config, runtime.handle());
    // Dropped before the runtime, which sends the last spans.
    let _log = crate::telemetry::install(&log, traces, metrics.log_dropped.clone()).map_err(Failure::Refused)?;
    let pepper = known_pepper(&loaded)?;
    let mark = pepper.as_ref().map(Pepper::mark);
    let config = args.config;
    let loader = move || config::load(config.as_deref(), &Env::of_process()).map_err(|errors| errors.to_string());
    runtime.block_on(async {
        let ledger = Ledger::open(&loaded.config, mark, clock.clone()).await.map_err(Failure::Refused)?;
        let token = loaded.config.admin.token.as_ref().and_then(|token| Token::new(token.expose()));
        if token.is_none() {
            out.remark("The admin API refuses everything: there is no admin token yet (`gratis init` makes one).")?;
        }
        let remarks = found(&ledger, pepper.is_some()).await;
        let pepper = pepper_for(&ledger, pepper, &loaded)?;
        let sockets = Sockets::handed_over()?;
        let parts = Parts { loaded, loader: Box::new(loader), ledger, pepper, token, metrics, clock, sockets };
        let running = app::start(parts).await.map_err(Failure::Refused)?;
        for line in remarks {
            out.remark(line)?;
        }
        out.remark(format!("clients:   http{}://{}/compatible-mode/v1", tls(&running), running.proxy_address))?;
        out.remark(format!("operators: http://{} (readyz, metrics, admin API)", running.admin_address))?;
        until_told(vec![running], out).await
    })
}

fn tls(running: &Running) -> &'static str {
    if running.tls { "s" } else { "" }
}

/// A runtime of as many threads as there are cores.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    // A second call, in the same process, finds it installed: that is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Refused(format!("cannot start the runtime: {error}")))
}

/// How a ledger is made.
const MAKE_ONE: [&str; 2] = [
    "Metered calls are refused (503) until there is one. Make it with: gratis init --assume-full",
    "or with the console's figures: gratis init --balance qwen-max=362,917/1,000,000",
];

/// What an operator should know of the ledger that was opened.
async fn found(ledger: &Ledger, has_pepper: bool) -> Vec<String> {
    let mut remarks = Vec::new();
    match ledger {
        Ledger::Absent(absent) => {
            remarks.extend(absent.check().await.err().map(|error| error.detail));
            remarks.extend(MAKE_ONE.map(str::to_owned));
            remarks.push("and start again.".to_owned());
        }
        Ledger::Embedded(embedded) => found_in_file(embedded, &mut remarks),
        Ledger::Shared(redis) => {
            remarks.extend(redis.promise().into_iter().map(|line| format!("store:     {line}")));
            match redis.check().await {
                Err(error) if error.kind == StoreErrorKind::NotInitialised => {
                    remarks.push(error.detail);
                    remarks.extend(MAKE_ONE.map(str::to_owned));
                    remarks.push(
                        if has_pepper {
                            "It is taken up as soon as it is there."
                        } else {
                            "Then start this instance again: it has no pepper yet, and every replica needs the one of the ledger."
                        }
                        .to_owned(),
                    );
                }
                Err(error) => remarks.push(format!("Calls are refused for now: {error}")),
                Ok(()) => {}
            }
        }
    }
    remarks
}

/// What the opening of an embedded ledger found.
fn found_in_file(embedded: &Embedded, remarks: &mut Vec<String>) {
    let opening = embedded.opening();
    if opening.presumed_holds > 0 {
        remarks.push(format!(
            "{} calls were in progress when the last process ended: each counts as presumed spent in full.",
            opening.presumed_holds
        ));
    }
    if let Some(reason) = opening.recovery {
        remarks.push(format!(
            "The last figures may be missing ({reason}), so that balances were raised to what was promised:"
        ));
        remarks.extend(opening.recovered.iter().map(|raised| {
            format!("  account {}, {}: {} more presumed spent", raised.account, raised.pool, raised.amount)
        }));
    }
}

/// The pepper of the configuration, where there is one.
fn known_pepper(loaded: &Loaded) -> Result<Option<Pepper>, Failure> {
    let Some(secret) = &loaded.config.keys.pepper else { return Ok(None) };
    Pepper::from_text(secret.expose()).map(Some).ok_or_else(|| {
        Failure::Refused("keys.pepper is not 64 hexadecimal digits, as `gratis init` writes it".to_owned())
    })
}

/// What keys are hashed with. Where there is no ledger there is no key either, and any pepper will do.
fn pepper_for(ledger: &Ledger, known: Option<Pepper>, loaded: &Loaded) -> Result<Pepper, Failure> {
    match (known, ledger) {
        (Some(pepper), _) => Ok(pepper),
        (None, Ledger::Embedded(_)) => {
            let file = loaded.config.keys.pepper_file.as_ref();
            let file = file.map(|file| file.display().to_string()).unwrap_or_default();
            Err(Failure::Refused(format!(
                "There is a ledger but no pepper ({file}), so that no key could be recognised. Put the file back from a backup, or set keys.pepper."
            )))
        }
        (None, Ledger::Absent(_) | Ledger::Shared(_)) => {
            Pepper::generate().map_err(|error| Failure::Refused(error.to_string()))
        }
    }
}

/// Runs until a signal says otherwise: SIGTERM and SIGINT stop in order, SIGHUP reads the configuration again.
pub(super) async fn until_told(replicas: Vec<Running>, out: &mut Out<'_>) -> Done {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    out.flush()?;
    announce(NotifyState::Ready);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                for running in &replicas {
                    reload(running, out)?;
                }
            }
        }
    }
    announce(NotifyState::Stopping);
    out.remark("Going down: calls in progress are waited for.")?;
    let all = futures_util::future::join_all(replicas.into_iter().map(Running::shutdown));
    let clean = tokio::select! {
        clean = all => clean.into_iter().all(|clean| clean),
        _ = interrupt.recv() => false,
        _ = terminate.recv() => false,
    };
    if clean {
        return Ok(());
    }
    Err(Failure::Refused("Some calls were cut: their holds count as presumed spent.".to_owned()))
}

/// Tells a service manager that asked to be told (`Type=notify`).
fn announce(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(error = %error, "the service manager could not be told");
    }
}

fn reload(running: &Running, out: &mut Out<'_>) -> Done {
    match running.reloader.reload() {
        Ok(notes) => {
            out.remark("The configuration was read again.")?;
            for note in notes {
                out.remark(note)?;
            }
            Ok(())
        }
        Err(error) => out.remark(format!("The new configuration is not taken over; the old one stays.\n{error}")),
    }
}
