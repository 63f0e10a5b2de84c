//! Which grants are meant.

use std::collections::BTreeSet;
use std::str::FromStr;

use crate::admin::figure::{Figure, show};
use crate::admin::when::DAY_MS;
use crate::catalogue::{Catalogue, FreeQuota, Model, Site};
use crate::ledger::{Amount, ModelCode, Operation, PoolId, Side, Timestamp, Unit};

/// A grant that is to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Planned {
    /// A model that draws on it.
    pub model: ModelCode,
    /// Its pool.
    pub pool: PoolId,
    /// The part of a call that it pays.
    pub side: Side,
    /// What it counts.
    pub unit: Unit,
    /// How much.
    pub amount: Amount,
    /// Used before Gratis counted.
    pub spent: Amount,
    /// From when on.
    pub start: Timestamp,
    /// When it ends.
    pub end: Option<Timestamp>,
}

impl Planned {
    /// The operation that makes it.
    #[must_use]
    pub fn operation(&self) -> Operation {
        Operation::AddGrant {
            pool: self.pool.clone(),
            side: self.side,
            unit: self.unit,
            amount: self.amount,
            spent: self.spent,
            start: self.start,
            end: self.end,
        }
    }
}

/// What the console shows of one model: `qwen-max=362,917/1,000,000`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stated {
    /// The exact code.
    pub model: ModelCode,
    /// Which side, where input and output are counted apart.
    pub side: Side,
    /// The figure.
    pub figure: Figure,
}

impl FromStr for Stated {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (model, figure) =
            text.split_once('=').ok_or("write MODEL=LEFT/TOTAL, qwen-max=362,917/1,000,000 for example")?;
        let (model, side) = match model.rsplit_once(':') {
            Some((model, "input")) => (model, Side::Input),
            Some((model, "output")) => (model, Side::Output),
            Some(_) | None => (model, Side::Both),
        };
        if model.trim().is_empty() {
            return Err("the model's code is missing before `=`".to_owned());
        }
        Ok(Self { model: model.trim().into(), side, figure: figure.parse()? })
    }
}

/// The whole free quota of every model that has one, once a pool, by code.
#[must_use]
pub fn full(catalogue: &Catalogue, site: &Site, start: Timestamp) -> Vec<Planned> {
    let mut models: Vec<_> = catalogue.models().collect();
    models.sort_unstable_by(|a, b| a.code.cmp(&b.code));
    let mut seen = BTreeSet::new();
    models
        .into_iter()
        .filter(|model| model.free_quota.is_some() && seen.insert(model.pool.clone()))
        .flat_map(|model| {
            let sides = match model.free_quota {
                Some(FreeQuota::Total(amount)) => vec![(Side::Both, amount)],
                Some(FreeQuota::Split { input, output }) => vec![(Side::Input, input), (Side::Output, output)],
                None => Vec::new(),
            };
            sides.into_iter().map(|(side, amount)| planned(model, site, start, side, amount, 0))
        })
        .collect()
}

/// The grants of the figures that were stated.
///
/// # Errors
/// Everything that is wrong with them.
pub fn stated(
    catalogue: &Catalogue,
    site: &Site,
    start: Timestamp,
    figures: &[Stated],
) -> Result<Vec<Planned>, Vec<String>> {
    let (mut grants, mut wrong) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for stated in figures {
        match one(catalogue, site, start, stated) {
            Ok(grant) if seen.insert((grant.pool.clone(), grant.side)) => grants.push(grant),
            Ok(grant) => wrong.push(format!("{}: the counter `{}` was stated before", stated.model, grant.pool)),
            Err(problem) => wrong.push(format!("{}: {problem}", stated.model)),
        }
    }
    if wrong.is_empty() { Ok(grants) } else { Err(wrong) }
}

fn one(catalogue: &Catalogue, site: &Site, start: Timestamp, stated: &Stated) -> Result<Planned, String> {
    let model =
        catalogue.model(stated.model.as_str()).ok_or("the catalogue has no such model; codes are matched exactly")?;
    let usual = match (model.free_quota, stated.side) {
        (Some(FreeQuota::Split { .. }), Side::Both) => {
            return Err("input and output are counted apart: state MODEL:input=... and MODEL:output=...".to_owned());
        }
        (Some(FreeQuota::Total(_)) | None, Side::Input | Side::Output) => {
            return Err("input and output are not counted apart: leave out `:input` and `:output`".to_owned());
        }
        (Some(FreeQuota::Total(amount)), Side::Both) => Some(amount),
        (Some(FreeQuota::Split { input, .. }), Side::Input) => Some(input),
        (Some(FreeQuota::Split { output, .. }), Side::Output) => Some(output),
        (None, Side::Both) => None,
    };
    let Figure { remaining, total } = stated.figure;
    let amount = total.or(usual).ok_or("its whole quota is not known: state LEFT/TOTAL")?;
    let spent = amount
        .checked_sub(remaining)
        .ok_or_else(|| format!("{} are left of {}: state LEFT/TOTAL", show(remaining), show(amount)))?;
    Ok(planned(model, site, start, stated.side, amount, spent))
}

/// Where the model's validity and the site's differ, the shorter counts: quota that ends too early costs nothing.
fn planned(model: &Model, site: &Site, start: Timestamp, side: Side, amount: Amount, spent: Amount) -> Planned {
    let days = model.validity_days.min(site.validity_days);
    Planned {
        model: model.code.clone(),
        pool: model.pool.clone(),
        side,
        unit: model.unit,
        amount,
        spent,
        start,
        end: Some(start.plus(u64::from(days) * DAY_MS)),
    }
}
