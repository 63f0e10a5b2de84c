//! `gratis demo`: everything on this machine: a simulator, a ledger that is thrown away, an account with a key.
//!
//! On a shared store it runs several replicas in this one process, each with listeners and a state folder of its own, under a key
//! prefix that nobody else has and whose keys are removed at the end.

mod grants;
mod show;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::admin::Token;
use crate::app::{self, Ledger, Parts, Running, Sockets};
use crate::clock::Clock;
use crate::config::{self, Env, Loaded, StoreKind};
use crate::simulator;
use crate::store::embedded::Embedded;
use crate::store::keys::new_token;
use crate::store::redis::{self, Redis, Url};
use crate::store::{Pepper, Store};
use crate::telemetry::Metrics;

use super::init::furnish::{self, Furnished};
use super::out::Out;
use super::serve::{runtime, until_told};
use super::{Done, Failure};
use grants::Chosen;

/// The models of the demo and what is granted of each: small, so that their end can be seen.
const MODELS: [(&str, u64); 4] =
    [("qwen-plus", 20_000), ("qwen-max", 50_000), ("qwen-flash", 1_000_000), ("qwen3.8-max", 200_000)];

/// The most replicas in one process: each has threads, listeners and connections of its own.
const MOST_REPLICAS: u16 = 16;

/// Try everything out: nothing leaves this machine, and nothing is kept.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Print one line of JSON for scripts, then run until SIGINT or SIGTERM.
    #[arg(long)]
    json: bool,
    /// How long a hold lives.
    #[arg(long, value_name = "TIME", default_value = "10m")]
    lease: String,
    /// Where clients connect; further replicas take the ports behind it.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where operators connect; further replicas take the ports behind it.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    admin_listen: SocketAddr,
    /// Where the simulator listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    simulator_listen: SocketAddr,
    /// Grant this instead, `qwen-max=20000`, in the model's unit; can be repeated. The model must have a sound bound.
    #[arg(long, value_name = "MODEL=AMOUNT", value_parser = grant)]
    grant: Vec<(String, u64)>,
    /// The simulator charges the most that each call can cost.
    #[arg(long)]
    worst: bool,
    /// How long the simulator takes between two chunks of a stream, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 10)]
    chunk_delay: u64,
    /// What is logged.
    #[arg(long, value_name = "FILTER", default_value = "warn")]
    log: String,
    /// Keep the ledger in this folder and leave it there, instead of in one that is thrown away.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Keep the ledger in this Redis or Valkey, `redis://HOST:PORT`: under a prefix of its own, and removed at the end.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Run so many replicas; more than one need a shared store.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(MOST_REPLICAS)))]
    replicas: u16,
}

fn grant(text: &str) -> Result<(String, u64), String> {
    let (model, amount) = text.split_once('=').ok_or("write MODEL=AMOUNT, for example qwen-max=20000")?;
    let amount = amount.replace([',', '_'], "").parse().map_err(|_| format!("{amount:?} is not an amount"))?;
    Ok((model.to_owned(), amount))
}

/// A folder that goes when the demo does.
struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            // Left behind it is litter in the temporary folder, no more.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

pub(super) fn run(args: Args, out: &mut Out<'_>) -> Done {
    let store = args.store.as_deref().filter(|url| *url != "embedded");
    if let Some(url) = store {
        Url::read(url).map_err(|problem| Failure::Usage(format!("--store: {problem}")))?;
    }
    if store.is_none() && args.replicas > 1 {
        return Err(Failure::Usage(
            "--replicas: one process owns an embedded ledger, so that several replicas need a shared store: \
             --store redis://HOST:PORT"
                .to_owned(),
        ));
    }
    let folder = match &args.state_dir {
        Some(path) => Folder { path: path.clone(), keep: true },
        None => {
            Folder { path: std::env::temp_dir().join(format!("gratis-demo-{}", uuid::Uuid::now_v7())), keep: false }
        }
    };
    let stage = Stage {
        prefix: format!("gratis-demo-{}", uuid::Uuid::now_v7().simple()),
        store: store.map(str::to_owned),
        args,
        folder,
    };
    let first = stage.settings(0, "http://127.0.0.1:1/compatible-mode/v1")?;
    let granted = match stage.args.grant.is_empty() {
        true => MODELS.map(|(model, amount)| (model.to_owned(), amount)).to_vec(),
        false => stage.args.grant.clone(),
    };
    let models = grants::chosen(&first.catalogue, &granted)?;
    let metrics = app::metrics(&first);
    let _log = crate::telemetry::install(&app::settings::log(&first.config), None, metrics.log_dropped.clone())
        .map_err(Failure::Refused)?;
    runtime()?.block_on(async {
        let simulator = simulator::start(stage.simulator(&models)).await;
        let simulator = simulator.map_err(|error| Failure::Refused(format!("the simulator cannot listen: {error}")))?;
        stage.play(models, simulator.origin(), metrics, out).await
    })
}

/// What the demo runs with.
struct Stage {
    args: Args,
    folder: Folder,
    /// The address of the shared store.
    store: Option<String>,
    /// What every key in it begins with.
    prefix: String,
}

/// What all replicas share beside the store.
#[derive(Clone)]
struct Secrets {
    pepper: Pepper,
    token: Zeroizing<String>,
}

/// A shared store that the demo uses.
struct Shared {
    settings: redis::Settings,
    promise: Vec<String>,
}

/// Everything that runs.
struct Scene {
    replicas: Vec<Running>,
    state_dirs: Vec<PathBuf>,
    shared: Option<Shared>,
    simulator: String,
    furnished: Furnished,
    token: Zeroizing<String>,
    models: Vec<Chosen>,
}

impl Stage {
    /// Runs until somebody says otherwise. What was put into a shared store is removed, whatever happened.
    async fn play(&self, models: Vec<Chosen>, simulator: String, metrics: Arc<Metrics>, out: &mut Out<'_>) -> Done {
        let loaded = self.settings(0, &format!("{simulator}/compatible-mode/v1"))?;
        let shared = match &loaded.config.store.kind {
            StoreKind::Embedded => None,
            StoreKind::Shared(shared) => Some(app::settings::shared_store(&loaded.config, shared, None)),
        };
        let done = async {
            let scene = self.set(loaded, models, simulator, metrics).await?;
            if self.args.json {
                scene.json(out)?
            } else {
                scene.text(out)?
            }
            until_told(scene.replicas, out).await
        }
        .await;
        if let Some(settings) = shared
            && let Err(error) = redis::erase(&settings).await
        {
            out.remark(format!("The keys that begin with `{}` are left in the store: {error}", settings.prefix))?;
        }
        done
    }

    /// Makes the ledger and starts every replica on it.
    async fn set(
        &self,
        loaded: Loaded,
        models: Vec<Chosen>,
        simulator: String,
        metrics: Arc<Metrics>,
    ) -> Result<Scene, Failure> {
        let refused = |error: &dyn std::fmt::Display| Failure::Refused(error.to_string());
        let pepper = Pepper::generate().map_err(|error| refused(&error))?;
        let secrets = Secrets { pepper, token: new_token("gratis-admin-").map_err(|error| refused(&error))? };
        let clock = Clock::system();
        let plan = grants::planned(&models, clock.now());
        let site = &loaded.config.site.name;
        let (ledger, furnished, shared) = match &loaded.config.store.kind {
            StoreKind::Embedded => {
                let store = Embedded::create(app::settings::embedded_store(&loaded.config), clock.clone());
                let store = Arc::new(store.map_err(|error| refused(&error))?);
                let furnished = furnish::furnish(&*store, &secrets.pepper, site, &plan, None).await?;
                (Ledger::Embedded(store), furnished, None)
            }
            StoreKind::Shared(shared) => {
                let mark = Some(secrets.pepper.mark());
                let settings = app::settings::shared_store(&loaded.config, shared, mark);
                make_dir(&settings.dir)?;
                let store = Redis::create(settings.clone(), clock.clone()).await.map_err(|error| refused(&error))?;
                let furnished = furnish::furnish(&store as &dyn Store, &secrets.pepper, site, &plan, None).await?;
                store.complete().await.map_err(|error| refused(&error))?;
                let shared = Shared { promise: store.promise(), settings };
                (Ledger::Shared(Arc::new(store)), furnished, Some(shared))
            }
        };
        let mut state_dirs = vec![loaded.config.store.state_dir.clone()];
        let mut replicas = vec![start(loaded, ledger, secrets.clone(), metrics, clock.clone()).await?];
        for number in 1..self.args.replicas {
            let loaded = self.settings(number, &format!("{simulator}/compatible-mode/v1"))?;
            state_dirs.push(loaded.config.store.state_dir.clone());
            make_dir(&loaded.config.store.state_dir)?;
            let mark = Some(secrets.pepper.mark());
            let ledger = Ledger::open(&loaded.config, mark, clock.clone()).await.map_err(Failure::Refused)?;
            let metrics = app::metrics(&loaded);
            replicas.push(start(loaded, ledger, secrets.clone(), metrics, clock.clone()).await?);
        }
        Ok(Scene { replicas, state_dirs, shared, simulator, furnished, token: secrets.token, models })
    }

    /// The defaults, on free ports, with the simulator as the upstream.
    fn settings(&self, replica: u16, base_url: &str) -> Result<Loaded, Failure> {
        let args = &self.args;
        let dir = match &self.store {
            None => self.folder.path.clone(),
            Some(_) => self.folder.path.join(format!("replica-{}", replica + 1)),
        };
        let mut variables = vec![
            ("GRATIS_SERVER__LISTEN", port_behind(args.listen, replica)?),
            ("GRATIS_ADMIN__LISTEN", port_behind(args.admin_listen, replica)?),
            ("GRATIS_STORE__STATE_DIR", dir.display().to_string()),
            ("GRATIS_STORE__LEASE", args.lease.clone()),
            ("GRATIS_LOG__FILTER", args.log.clone()),
            ("GRATIS_UPSTREAM__DEFAULT__BASE_URL", base_url.to_owned()),
            ("GRATIS_UPSTREAM__DEFAULT__ALLOW_PRIVATE", "true".to_owned()),
            ("DASHSCOPE_API_KEY", "sk-simulator".to_owned()),
        ];
        if let Some(url) = &self.store {
            variables.push(("GRATIS_STORE__URL", url.clone()));
            variables.push(("GRATIS_STORE__PREFIX", self.prefix.clone()));
            // Nothing of value is counted here. What the store can lose is shown all the same.
            variables.push(("GRATIS_STORE__ACCEPT_LOSS", "true".to_owned()));
        }
        config::load(None, &Env::of(variables)).map_err(|errors| Failure::Usage(errors.to_string()))
    }

    fn simulator(&self, models: &[Chosen]) -> simulator::Settings {
        simulator::Settings {
            listen: self.args.simulator_listen,
            models: grants::simulated(models),
            worst: self.args.worst,
            chunk_delay: Duration::from_millis(self.args.chunk_delay),
            ..simulator::Settings::default()
        }
    }
}

/// The address of a replica: any free port, or as many behind the first one's as its number.
fn port_behind(first: SocketAddr, replica: u16) -> Result<String, Failure> {
    let port = if first.port() == 0 { Some(0) } else { first.port().checked_add(replica) };
    let port = port.ok_or_else(|| Failure::Usage(format!("there is no port {replica} behind {first}")))?;
    Ok(SocketAddr::new(first.ip(), port).to_string())
}

fn make_dir(dir: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(dir).map_err(|error| Failure::Refused(format!("cannot make {}: {error}", dir.display())))
}

async fn start(
    loaded: Loaded,
    ledger: Ledger,
    secrets: Secrets,
    metrics: Arc<Metrics>,
    clock: Clock,
) -> Result<Running, Failure> {
    let again = loaded.clone();
    let parts = Parts {
        loaded,
        loader: Box::new(move || Ok(again.clone())),
        ledger,
        pepper: secrets.pepper,
        token: Token::new(&secrets.token),
        metrics,
        clock,
        sockets: Sockets::default(),
    };
    app::start(parts).await.map_err(Failure::Refused)
}
