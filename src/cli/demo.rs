//! `gratis demo`: everything on this machine: a simulator, a ledger that is thrown away, an account with a key.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::admin::Token;
use crate::app::{self, Parts, Running};
use crate::catalogue::{Catalogue, Model, Thinking};
use crate::clock::Clock;
use crate::config::{self, Env, Loaded};
use crate::ledger::{Side, Timestamp, Unit};
use crate::simulator::{self, SimModel, SimUnit};
use crate::store::Pepper;
use crate::store::embedded::Embedded;
use crate::store::keys::new_token;

use super::init::furnish::{self, Furnished};
use super::init::plan::Planned;
use super::out::Out;
use super::serve::{runtime, until_told};
use super::{Done, Failure};

/// The models of the demo and what is granted of each: small, so that their end can be seen.
const MODELS: [(&str, u64); 4] =
    [("qwen-plus", 20_000), ("qwen-max", 50_000), ("qwen-flash", 1_000_000), ("qwen3.8-max", 200_000)];

/// Try everything out: nothing leaves this machine, and nothing is kept.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Print one line of JSON for scripts, then run until SIGINT or SIGTERM.
    #[arg(long)]
    json: bool,
    /// How long a hold lives.
    #[arg(long, value_name = "TIME", default_value = "10m")]
    lease: String,
    /// Where clients connect.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where operators connect.
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
    let folder = match &args.state_dir {
        Some(path) => Folder { path: path.clone(), keep: true },
        None => {
            Folder { path: std::env::temp_dir().join(format!("gratis-demo-{}", uuid::Uuid::now_v7())), keep: false }
        }
    };
    let loaded = settings(&args, &folder, "http://127.0.0.1:1/compatible-mode/v1")?;
    let granted =
        if args.grant.is_empty() { MODELS.map(|(m, a)| (m.to_owned(), a)).to_vec() } else { args.grant.clone() };
    let models = chosen(&loaded.catalogue, &granted)?;
    let metrics = app::metrics(&loaded);
    let _log = crate::telemetry::install(&app::settings::log(&loaded.config), metrics.log_dropped.clone())
        .map_err(Failure::Refused)?;
    let done = runtime()?.block_on(async {
        let simulator = simulator::start(simulator_settings(&args, &models)).await;
        let simulator = simulator.map_err(|error| Failure::Refused(format!("the simulator cannot listen: {error}")))?;
        let base_url = format!("{}/compatible-mode/v1", simulator.origin());
        let loaded = settings(&args, &folder, &base_url)?;
        let clock = Clock::system();
        let store = Embedded::create(app::settings::store(&loaded.config), clock.clone());
        let store = Arc::new(store.map_err(|error| Failure::Refused(error.to_string()))?);
        let pepper = Pepper::generate().map_err(|error| Failure::Refused(error.to_string()))?;
        let token = new_token("gratis-admin-").map_err(|error| Failure::Refused(error.to_string()))?;
        let plan = planned(&models, clock.now());
        let furnished = furnish::furnish(&*store, &pepper, &loaded.config.site.name, &plan, None).await?;
        let again = loaded.clone();
        let parts = Parts {
            loaded,
            loader: Box::new(move || Ok(again.clone())),
            store: Arc::clone(&store) as _,
            embedded: Some(store),
            pepper,
            token: Token::new(&token),
            metrics,
            clock,
        };
        let running = app::start(parts).await.map_err(Failure::Refused)?;
        let shown = Shown {
            running: &running,
            simulator: simulator.origin(),
            furnished: &furnished,
            token: &token,
            models: &models,
        };
        if args.json {
            shown.json(out)?
        } else {
            shown.text(out)?
        }
        until_told(running, out).await
    });
    drop(folder);
    done
}

/// The defaults, on free ports, with the simulator as the upstream.
fn settings(args: &Args, folder: &Folder, base_url: &str) -> Result<Loaded, Failure> {
    let env = Env::of([
        ("GRATIS_SERVER__LISTEN", args.listen.to_string()),
        ("GRATIS_ADMIN__LISTEN", args.admin_listen.to_string()),
        ("GRATIS_STORE__STATE_DIR", folder.path.display().to_string()),
        ("GRATIS_STORE__LEASE", args.lease.clone()),
        ("GRATIS_LOG__FILTER", args.log.clone()),
        ("GRATIS_UPSTREAM__DEFAULT__BASE_URL", base_url.to_owned()),
        ("GRATIS_UPSTREAM__DEFAULT__ALLOW_PRIVATE", "true".to_owned()),
        ("DASHSCOPE_API_KEY", "sk-simulator".to_owned()),
    ]);
    config::load(None, &env).map_err(|errors| Failure::Usage(errors.to_string()))
}

/// A model of the demo and what is granted of it.
type Chosen = (Arc<Model>, u64);

fn chosen(catalogue: &Catalogue, granted: &[(String, u64)]) -> Result<Vec<Chosen>, Failure> {
    let models = granted.iter().map(|(code, amount)| match catalogue.model(code) {
        Some(model) if model.is_bounded() => Ok((Arc::clone(model), *amount)),
        Some(_) => Err(Failure::Usage(format!("--grant {code}: no sound bound is known of this model"))),
        None => Err(Failure::Usage(format!("--grant {code}: the catalogue has no such model"))),
    });
    models.collect()
}

fn planned(models: &[Chosen], now: Timestamp) -> Vec<Planned> {
    let days = |days: u32| Duration::from_secs(u64::from(days) * 86_400);
    let plan = models.iter().map(|(model, amount)| Planned {
        model: model.code.clone(),
        pool: model.pool.clone(),
        side: Side::Both,
        unit: model.unit,
        amount: *amount,
        spent: 0,
        start: now,
        end: u64::try_from(days(model.validity_days).as_millis()).ok().map(|ms| now.plus(ms)),
    });
    plan.collect()
}

fn simulator_settings(args: &Args, models: &[Chosen]) -> simulator::Settings {
    let models = models.iter().map(|(model, _)| {
        let mut sim = SimModel::new(model.code.as_str());
        if let Some(bounds) = &model.bounds {
            sim.window = bounds.window;
            sim.max_output = bounds.max_output;
            sim.max_thinking = bounds.max_thinking;
            sim.thinks_by_default = matches!(bounds.thinking, Thinking::On | Thinking::Always);
            sim.per_media_max = bounds.per_image_max.unwrap_or(bounds.window);
        }
        sim.unit = match model.unit {
            Unit::Tokens => SimUnit::Tokens,
            Unit::Images => SimUnit::Images,
            Unit::Seconds => SimUnit::Seconds,
            Unit::Characters => SimUnit::Characters,
            Unit::Voices => SimUnit::Voices,
        };
        sim.max_units = model.max_units.unwrap_or(1);
        sim
    });
    simulator::Settings {
        listen: args.simulator_listen,
        models: models.collect(),
        worst: args.worst,
        chunk_delay: Duration::from_millis(args.chunk_delay),
        ..simulator::Settings::default()
    }
}

const fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Tokens => "tokens",
        Unit::Images => "images",
        Unit::Seconds => "seconds",
        Unit::Characters => "characters",
        Unit::Voices => "voices",
    }
}

struct Shown<'a> {
    running: &'a Running,
    simulator: String,
    furnished: &'a Furnished,
    token: &'a str,
    models: &'a [Chosen],
}

impl Shown<'_> {
    fn origin(&self) -> String {
        format!("http://{}", self.running.proxy_address)
    }

    fn json(&self, out: &mut Out<'_>) -> Done {
        let origin = self.origin();
        let models: Vec<_> = self
            .models
            .iter()
            .map(|(model, granted)| json!({"model": model.code, "unit": model.unit, "granted": granted}))
            .collect();
        let line = json!({
            "origin": origin,
            "base_url": format!("{origin}/compatible-mode/v1"),
            "admin_url": format!("http://{}", self.running.admin_address),
            "api_key": self.furnished.secret.expose(),
            "admin_token": self.token,
            "simulator_url": self.simulator,
            "models": models,
        });
        out.line(line)?;
        out.flush()
    }

    fn text(&self, out: &mut Out<'_>) -> Done {
        let (origin, key) = (self.origin(), self.furnished.secret.expose());
        let (admin, token, simulator) = (self.running.admin_address, self.token, &self.simulator);
        let program = std::env::args().next().unwrap_or_else(|| "gratis".to_owned());
        let first = self.models.first().map(|(model, _)| model.code.as_str()).unwrap_or_default();
        out.line(format!(
            "gratis {} demo: nothing leaves this machine, and nothing is kept.\n",
            env!("CARGO_PKG_VERSION")
        ))?;
        out.line(format!("  base URL   {origin}/compatible-mode/v1"))?;
        out.line(format!("  API key    {key}"))?;
        out.line(format!("  admin API  http://{admin}   token {token}"))?;
        out.line(format!("  simulator  {simulator}   (its own ledger: {simulator}/ledger)\n"))?;
        out.line("Free quota, and nothing beyond it:")?;
        for (model, granted) in self.models {
            out.line(format!("  {:<14} {granted:>9} {}", model.code.as_str(), unit(model.unit)))?;
        }
        out.text(&format!(
            r#"
Try it:

  curl -N {origin}/compatible-mode/v1/chat/completions \
    -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \
    -d '{{"model": "{first}", "stream": true, "messages": [{{"role": "user", "content": "Hello"}}]}}'

  from openai import OpenAI
  client = OpenAI(base_url="{origin}/compatible-mode/v1", api_key="{key}")
  print(client.chat.completions.create(model="{first}", messages=[{{"role": "user", "content": "Hello"}}]))

What is left, and a load that tries to get past it:

  {program} model balance --admin http://{admin} --token {token}
  {program} load --target {origin} --key {key} --model {first} --requests 500 --concurrency 64 \
    --stream-share 0.5 --abort-share 0.1 --oracle {simulator} --admin http://{admin} --admin-token {token}

Ctrl-C ends it.
"#
        ))?;
        out.flush()
    }
}
