//! `gratis init`: the only command that makes a ledger. Nothing that exists is touched.
//!
//! What it makes is in three steps that others can use one by one: the grants that are meant ([`plan`]), the secrets
//! ([`secrets`]), and an account with its grants and its first key in an open store ([`furnish`]).

pub mod furnish;
mod place;
pub mod plan;
pub mod secrets;
mod shared;
mod show;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use super::out::{Format, Out};
use super::serve::runtime;
use super::{Done, Failure};
use crate::admin::when;
use crate::catalogue::{Catalogue, Site};
use crate::clock::Clock;
use crate::config::{self, Env, SecretPlace};
use crate::ledger::Timestamp;
use crate::store::embedded::{self, Embedded};
use crate::store::keys::{NewKeySecret, Pepper};
use crate::store::redis;

use furnish::Furnished;
use plan::{Planned, Stated};

/// What the first account is called.
pub const ACCOUNT: &str = "default";

/// Make the ledger, the first account and its first key. With never_pay on: nothing can cost money.
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("figures").required(true).args(["assume_full", "balance"]).multiple(false)))]
pub(super) struct Args {
    /// Every model of the catalogue has its whole free quota: right for a provider account that has not been used.
    #[arg(long)]
    assume_full: bool,
    /// What the provider's console shows, and only these models: `qwen-max=362,917/1,000,000`. Can be repeated. Where input and
    /// output are counted apart: `MODEL:input=...` and `MODEL:output=...`.
    #[arg(long, value_name = "MODEL=LEFT/TOTAL")]
    balance: Vec<Stated>,
    /// When the provider account was activated: a date in the site's zone, or RFC 3339. The quota ends so many days later.
    /// [default: now, so the true end may be earlier]
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    /// A file with a key that clients have already: the first key, instead of a new one.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// In a shared store: remove what an `init` that died has left, and begin anew. Only while no other `init` is running.
    #[arg(long)]
    discard_incomplete: bool,
    /// The configuration.
    #[arg(long, value_name = "FILE", env = "GRATIS_CONFIG")]
    config: Option<PathBuf>,
    /// How results are shown.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Where a ledger is to be made, and by whose rules.
pub struct Place {
    /// The folder of everything that is written.
    pub state_dir: PathBuf,
    /// The store that replicas share, where the ledger is to be in one.
    pub shared: Option<redis::Settings>,
    /// Where the pepper goes, or a pepper that the operator keeps.
    pub pepper: Kept<Pepper>,
    /// Where the admin token goes, or that the operator keeps one.
    pub token: Kept<()>,
    /// The site whose rules apply.
    pub site: Site,
    /// The models.
    pub catalogue: Catalogue,
    /// What a client uses as its base URL once gratis runs.
    pub base_url: String,
    /// What has to be told to `gratis serve`, ` --config FILE` for example.
    pub serve_arguments: String,
}

/// A secret that is made here, or that the operator keeps elsewhere.
pub enum Kept<T> {
    /// It goes into this file, unless it is there already.
    InFile(PathBuf),
    /// The operator has it.
    Elsewhere(T),
}

/// What was asked for.
pub struct Wanted {
    /// The figures of the console; `None` = everything is full.
    pub stated: Option<Vec<Stated>>,
    /// When the provider account was activated, as written.
    pub start: Option<String>,
    /// The first key, where clients have one already.
    pub key: Option<NewKeySecret>,
    /// Whether an incomplete ledger of a shared store is to be removed first.
    pub discard_incomplete: bool,
}

/// A ledger that was made.
pub struct Made {
    /// What it holds.
    pub furnished: Furnished,
    /// What was granted.
    pub grants: Vec<Planned>,
    /// The file of the admin token, where it is kept in one of ours.
    pub token_file: Option<PathBuf>,
    /// Now, by the new ledger's clock.
    pub now: Timestamp,
}

/// Makes what was asked for, in the place that the configuration names.
pub(super) fn run(args: Args, out: &mut Out<'_>) -> Done {
    let key = args.key_file.map(known_key).transpose()?;
    let wanted = Wanted {
        stated: (!args.assume_full).then_some(args.balance),
        start: args.start,
        key,
        discard_incomplete: args.discard_incomplete,
    };
    let place = place::of(args.config.as_deref(), out)?;
    if wanted.discard_incomplete && place.shared.is_none() {
        return Err(Failure::Usage("--discard-incomplete is for a store that several replicas share".to_owned()));
    }
    let made = make(&place, &wanted)?;
    match args.output {
        Format::Json => show::json(&place, &made, out),
        Format::Table => show::text(&place, &made, &wanted, out),
    }
}

/// Makes everything: the ledger first, which fails where there is one, so that nothing beside it was touched either.
///
/// # Errors
/// What is wrong with the figures, before anything is made; or what could not be made, and what to do about what was.
pub fn make(place: &Place, wanted: &Wanted) -> Result<Made, Failure> {
    let clock = Clock::system();
    let now = clock.now();
    let grants = plan(place, wanted, now)?;
    let dir = &place.state_dir;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| Failure::Refused(format!("cannot make {}: {error}", dir.display())))?;
    let (furnished, token_file) = runtime()?.block_on(async {
        match &place.shared {
            None => in_file(place, wanted, &grants, clock).await,
            Some(settings) => shared::make(place, settings, wanted, &grants, clock).await,
        }
    })?;
    Ok(Made { furnished, grants, token_file, now })
}

/// What was furnished, and the file of the admin token.
type Written = (Furnished, Option<PathBuf>);

async fn in_file(place: &Place, wanted: &Wanted, grants: &[Planned], clock: Clock) -> Result<Written, Failure> {
    let dir = &place.state_dir;
    let store = Embedded::create(embedded::Settings::new(dir), clock);
    let store = store.map_err(|error| Failure::Refused(error.to_string()))?;
    let steps = async {
        let pepper = place.pepper()?;
        let token_file = place.token()?;
        let furnished = furnish::furnish(&store, &pepper, &place.site.name, grants, wanted.key.clone()).await?;
        store.close().await.map_err(|error| Failure::Refused(error.to_string()))?;
        Ok((furnished, token_file))
    };
    steps.await.map_err(|failure: Failure| {
        failure.and_then_do(&format!(
            "The ledger is not complete: remove {} and {}, and run `gratis init` again.",
            dir.join("ledger.*").display(),
            dir.join("pepper").display()
        ))
    })
}

impl Place {
    /// The pepper, made where it is missing.
    fn pepper(&self) -> Result<Pepper, Failure> {
        match &self.pepper {
            Kept::InFile(path) => secrets::pepper(path),
            Kept::Elsewhere(pepper) => Ok(pepper.clone()),
        }
    }

    /// The file of the admin token, which is made where it is missing; `None` = the operator keeps one.
    fn token(&self) -> Result<Option<PathBuf>, Failure> {
        match &self.token {
            Kept::InFile(path) => secrets::token(path).map(|_| Some(path.clone())),
            Kept::Elsewhere(()) => Ok(None),
        }
    }
}

/// The key of this file.
fn known_key(path: PathBuf) -> Result<NewKeySecret, Failure> {
    let shown = path.display().to_string();
    let wrong = |problem: String| Failure::Usage(format!("--key-file: {problem}"));
    let text = config::read_secret(&SecretPlace::File(path), &Env::default()).map_err(wrong)?;
    NewKeySecret::known(text.expose()).ok_or_else(|| {
        wrong(format!("{shown} holds no key that a header can carry: 8 to 256 visible ASCII characters were expected"))
    })
}

fn plan(place: &Place, wanted: &Wanted, now: Timestamp) -> Result<Vec<Planned>, Failure> {
    let start = match &wanted.start {
        Some(text) => {
            when::parse(text, &place.site.time_zone).map_err(|wrong| Failure::Usage(format!("--start: {wrong}")))?
        }
        None => now,
    };
    match &wanted.stated {
        None => Ok(plan::full(&place.catalogue, &place.site, start)),
        Some(stated) => plan::stated(&place.catalogue, &place.site, start, stated)
            .map_err(|wrong| Failure::Usage(wrong.join("\n       "))),
    }
}
