//! Both ledgers, before the run and after the last hold is resolved.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::ask::Asker;
use super::{LoadError, Progress, Settings};

/// Between two readings.
const PAUSE: Duration = Duration::from_millis(200);
/// What is added to one lease, so that the store's own expiry has come and gone.
const GRACE: Duration = Duration::from_secs(2);

/// `GET {oracle}/ledger`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub(super) struct Charges {
    pub(super) models: BTreeMap<String, Charged>,
}

/// One model's line in it.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub(super) struct Charged {
    pub(super) calls: u64,
    pub(super) charged: u64,
}

/// `GET {admin}/admin/v1/balances`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub(super) struct Balances {
    pub(super) balances: Vec<Row>,
    /// The lease in milliseconds.
    pub(super) lease_ms: Option<u64>,
}

/// One balance. Fields that are not named here are ignored.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(super) struct Row {
    pub(super) model: Option<String>,
    pub(super) pool: String,
    pub(super) unit: Option<String>,
    pub(super) granted: u64,
    pub(super) held: u64,
    pub(super) spent: u64,
    pub(super) presumed: u64,
}

impl Row {
    /// Whether this is a balance in tokens of that model, or of the pool of that name where no model is named.
    pub(super) fn is_of(&self, model: &str) -> bool {
        self.model.as_ref().unwrap_or(&self.pool) == model && self.unit.as_ref().is_none_or(|unit| unit == "tokens")
    }
}

/// Both ledgers at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) charges: Charges,
    pub(super) balances: Balances,
}

impl Reading {
    /// Tokens held of these models. Other models and units may have traffic of their own.
    fn held(&self, models: &[String]) -> u64 {
        let ours = self.balances.balances.iter().filter(|row| models.iter().any(|model| row.is_of(model)));
        ours.map(|row| row.held).sum()
    }
}

/// Looks at both ledgers, if the settings name them.
pub(super) struct Watch {
    askers: Option<(Asker, Vec<Asker>)>,
    models: Vec<String>,
    lease: Duration,
}

impl Watch {
    pub(super) fn new(settings: &Settings) -> Result<Self, LoadError> {
        let wrong = |setting| move |problem| LoadError::Setting { setting, problem };
        let admin = |admin| Asker::new(admin, "/admin/v1/balances", settings.admin_token.clone());
        let askers = match &settings.oracle {
            Some(oracle) => Some((
                Asker::new(oracle, "/ledger", None).map_err(wrong("oracle"))?,
                settings.admins.iter().map(admin).collect::<Result<_, _>>().map_err(wrong("admin"))?,
            )),
            None => None,
        };
        Ok(Self { askers, models: settings.models.clone(), lease: settings.lease })
    }

    /// Where things stand before the run.
    pub(super) async fn baseline(&self) -> Result<Option<Reading>, LoadError> {
        let Some((oracle, admins)) = &self.askers else { return Ok(None) };
        let charges = oracle.ask().await.map_err(unanswered("simulator", oracle.url()))?;
        let balances = balances(admins).await.map_err(|(url, problem)| unanswered("admin API", url)(problem))?;
        Ok(Some(Reading { charges, balances }))
    }

    /// Reads until nothing is held and two readings agree, or until one lease has passed since now. The oracle is
    /// read after the balances: a charge that came between the two shows as a difference and is read again.
    pub(super) async fn settled(
        &self,
        before: Option<&Reading>,
        progress: &mut impl FnMut(Progress),
    ) -> Result<Option<Reading>, String> {
        let Some((oracle, admins)) = &self.askers else { return Ok(None) };
        let start = Instant::now();
        let mut last: Option<Reading> = None;
        let told = before.and_then(|reading| reading.balances.lease_ms).map(Duration::from_millis);
        let mut limit = told.unwrap_or(self.lease).saturating_add(GRACE);
        loop {
            let reading = read(oracle, admins).await;
            if let Some(lease) = reading.as_ref().ok().and_then(|reading| reading.balances.lease_ms) {
                limit = Duration::from_millis(lease).saturating_add(GRACE);
            }
            let elapsed = start.elapsed();
            let held = reading.as_ref().ok().map(|reading| reading.held(&self.models));
            progress(Progress::Settling { elapsed, held, limit });
            let quiet = held == Some(0) && reading.as_ref().ok() == last.as_ref();
            if quiet || elapsed > limit {
                return reading.map(Some);
            }
            last = reading.ok();
            sleep(PAUSE).await;
        }
    }
}

fn unanswered(whom: &'static str, url: String) -> impl FnOnce(String) -> LoadError {
    move |problem| LoadError::Unanswered { whom, url, problem }
}

/// The balances by the first admin API that answers; else the last one's address and what came from it.
async fn balances(admins: &[Asker]) -> Result<Balances, (String, String)> {
    let mut failed = (String::new(), "none is named".to_owned());
    for admin in admins {
        match admin.ask().await {
            Ok(balances) => return Ok(balances),
            Err(problem) => failed = (admin.url(), problem),
        }
    }
    Err(failed)
}

async fn read(oracle: &Asker, admins: &[Asker]) -> Result<Reading, String> {
    let balances = balances(admins).await.map_err(|(url, problem)| format!("admin API at {url}: {problem}"))?;
    let charges = oracle.ask().await.map_err(|problem| format!("simulator at {}: {problem}", oracle.url()))?;
    Ok(Reading { charges, balances })
}
