//! `gratis serve`: the real thing. It never makes a ledger.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use crate::admin::Token;
use crate::app::{self, Parts, Running};
use crate::clock::Clock;
use crate::config::{self, Env, Loaded};
use crate::store::embedded::{Absent, Embedded, OpenError};
use crate::store::{Pepper, Store};

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
    let opened = open(&loaded, &clock)?;
    let _log = crate::telemetry::install(&app::settings::log(&loaded.config), metrics.log_dropped.clone())
        .map_err(Failure::Refused)?;
    let secrets = secrets(&loaded, opened.embedded.is_some())?;
    let token = loaded.config.admin.token.as_ref().and_then(|token| Token::new(token.expose()));
    if token.is_none() {
        out.remark("The admin API refuses everything: there is no admin token yet (`gratis init` makes one).")?;
    }
    let config = args.config;
    let loader = move || config::load(config.as_deref(), &Env::of_process()).map_err(|errors| errors.to_string());
    let parts = Parts {
        loaded,
        loader: Box::new(loader),
        store: opened.store,
        embedded: opened.embedded,
        pepper: secrets,
        token,
        metrics,
        clock,
    };
    runtime()?.block_on(async {
        let running = app::start(parts).await.map_err(Failure::Refused)?;
        for line in opened.remarks {
            out.remark(line)?;
        }
        out.remark(format!("clients:   http{}://{}/compatible-mode/v1", tls(&running), running.proxy_address))?;
        out.remark(format!("operators: http://{} (readyz, metrics, admin API)", running.admin_address))?;
        until_told(running, out).await
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

struct Opened {
    store: Arc<dyn Store>,
    embedded: Option<Arc<Embedded>>,
    remarks: Vec<String>,
}

fn open(loaded: &Loaded, clock: &Clock) -> Result<Opened, Failure> {
    match Embedded::open(app::settings::store(&loaded.config), clock.clone()) {
        Ok(embedded) => {
            let remarks = found(&embedded);
            let embedded = Arc::new(embedded);
            Ok(Opened { store: Arc::clone(&embedded) as _, embedded: Some(embedded), remarks })
        }
        Err(error @ OpenError::NotInitialised { .. }) => {
            let remarks = vec![
                format!("{error}"),
                "Metered calls are refused (503) until there is one. Make it with: gratis init --assume-full"
                    .to_owned(),
                "or with the console's figures: gratis init --balance qwen-max=362,917/1,000,000 - and start again."
                    .to_owned(),
            ];
            let absent = Absent::new(error.to_string(), clock.clone());
            Ok(Opened { store: Arc::new(absent), embedded: None, remarks })
        }
        Err(error) => Err(Failure::Refused(error.to_string())),
    }
}

/// What the opening found that an operator should know.
fn found(embedded: &Embedded) -> Vec<String> {
    let opening = embedded.opening();
    let mut remarks = Vec::new();
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
    remarks
}

fn secrets(loaded: &Loaded, has_ledger: bool) -> Result<Pepper, Failure> {
    let file = loaded.config.keys.pepper_file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
    match &loaded.config.keys.pepper {
        Some(secret) => Pepper::from_text(secret.expose()).ok_or_else(|| {
            Failure::Refused("keys.pepper is not 64 hexadecimal digits, as `gratis init` writes it".to_owned())
        }),
        None if has_ledger => Err(Failure::Refused(format!(
            "There is a ledger but no pepper ({file}), so that no key could be recognised. Put the file back from a backup, or set keys.pepper."
        ))),
        None => Pepper::generate().map_err(|error| Failure::Refused(error.to_string())),
    }
}

/// Runs until a signal says otherwise: SIGTERM and SIGINT stop in order, SIGHUP reads the configuration again.
pub(super) async fn until_told(running: Running, out: &mut Out<'_>) -> Done {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    out.flush()?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                match running.reloader.reload() {
                    Ok(notes) => {
                        out.remark("The configuration was read again.")?;
                        for note in notes {
                            out.remark(note)?;
                        }
                    }
                    Err(error) => out.remark(format!("The new configuration is not taken over; the old one stays.\n{error}"))?,
                }
            }
        }
    }
    out.remark("Going down: calls in progress are waited for.")?;
    let clean = tokio::select! {
        clean = running.shutdown() => clean,
        _ = interrupt.recv() => false,
        _ = terminate.recv() => false,
    };
    if clean {
        return Ok(());
    }
    Err(Failure::Refused("Some calls were cut: their holds count as presumed spent.".to_owned()))
}
