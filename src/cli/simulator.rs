//! `gratis simulator`: the upstream of our own, alone.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::client::runtime_of_many;
use super::load::duration;
use super::out::{Format, Out};
use super::{Done, Failure};
use crate::simulator::{Settings, SimModel, start};

/// Run the simulator alone: an upstream that keeps a ledger of its own.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Charge the most that a call can cost.
    #[arg(long)]
    worst: bool,
    /// A model to serve; without any, every code is served. Can be repeated.
    #[arg(long = "model", value_name = "CODE")]
    models: Vec<String>,
    /// An app, and the models that one request to it calls. Can be repeated.
    #[arg(long = "app", value_name = "ID=MODEL,MODEL", value_parser = app)]
    apps: Vec<(String, Vec<String>)>,
    /// The only key that is accepted; without it every caller is.
    #[arg(long)]
    key: Option<String>,
    /// The wait before the head of a reply.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "0s")]
    first_delay: Duration,
    /// The wait between two chunks of a stream.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "0s")]
    chunk_delay: Duration,
    /// Decides everything that is left to chance.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How the address is shown.
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,
}

pub(super) fn run(args: Args, out: &mut Out<'_>) -> Done {
    let settings = Settings {
        listen: args.listen,
        models: args.models.into_iter().map(SimModel::new).collect(),
        apps: args.apps.into_iter().collect(),
        key: args.key,
        worst: args.worst,
        first_delay: args.first_delay,
        chunk_delay: args.chunk_delay,
        seed: args.seed,
        ..Settings::default()
    };
    runtime_of_many()?.block_on(async {
        let running = start(settings)
            .await
            .map_err(|error| Failure::Refused(format!("cannot listen at {}: {error}", args.listen)))?;
        let origin = running.origin();
        match args.output {
            Format::Json => out.line(json!({ "simulator_url": origin }))?,
            Format::Table => {
                out.line(format_args!("simulator  {origin}/compatible-mode/v1"))?;
                out.line(format_args!("ledger     {origin}/ledger"))?;
            }
        }
        out.flush()?;
        asked_to_stop().await?;
        running.shutdown().await;
        Ok(())
    })
}

/// An app's id, and its models.
fn app(text: &str) -> Result<(String, Vec<String>), String> {
    let (id, models) = text.split_once('=').ok_or("for example a1b2=qwen-plus,qwen-max")?;
    Ok((id.to_owned(), models.split(',').map(str::to_owned).collect()))
}

/// Until SIGINT or SIGTERM.
pub(super) async fn asked_to_stop() -> Done {
    let cannot = |error| Failure::Refused(format!("cannot listen for signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}
