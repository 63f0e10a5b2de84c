//! What the configuration owns: it is shown here, and changed there. One setting has one owner.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::AdminState;
use super::balances::unknown_model;
use super::body::{Named, Params};
use super::models::ModelView;
use super::page::{List, Paged};
use super::problem::{Answer, Problem};
use crate::catalogue::Site;

/// A site's rules, as `config/sites` or the operator's own folder says them.
#[derive(Serialize, ToSchema)]
#[schema(as = Site)]
pub(super) struct SiteView {
    name: String,
    title: String,
    time_zone: String,
    /// Regions with a free quota.
    regions: Vec<String>,
    validity_days: u32,
    switch_default_on: bool,
    #[schema(value_type = String)]
    switch_off: crate::ledger::SwitchOff,
    overdue_grace_days: u32,
    unverified_is_free_only: bool,
    console_lag_minutes: u32,
}

impl From<&Site> for SiteView {
    fn from(site: &Site) -> Self {
        Self {
            name: site.name.clone(),
            title: site.title.clone(),
            time_zone: site.time_zone.clone(),
            regions: site.regions.clone(),
            validity_days: site.validity_days,
            switch_default_on: site.switch_default_on,
            switch_off: site.switch_off,
            overdue_grace_days: site.overdue_grace_days,
            unverified_is_free_only: site.unverified_is_free_only,
            console_lag_minutes: site.console_lag_minutes,
        }
    }
}

#[utoipa::path(get, path = "/sites", tag = "sites", params(Paged), responses((status = 200, description = "Done", body = List<SiteView>)))]
pub(super) async fn sites(
    State(state): State<AdminState>,
    Params(which): Params<Paged>,
) -> Answer<Json<List<SiteView>>> {
    let rules = state.rules();
    let sites = rules.sites.iter().map(|site| SiteView::from(site.as_ref())).collect();
    Ok(which.page()?.cut(sites, |site| site.name.clone()))
}

#[utoipa::path(get, path = "/sites/{site}", tag = "sites", params(("site" = String, Path)), responses((status = 200, description = "Done", body = SiteView)))]
pub(super) async fn site(State(state): State<AdminState>, Named(name): Named<String>) -> Answer<Json<SiteView>> {
    let rules = state.rules();
    let found = rules.site(&name).map(|site| Json(SiteView::from(site.as_ref())));
    found.ok_or_else(|| Problem::unknown("unknown_site", format!("There is no site `{name}` here.")))
}

#[utoipa::path(patch, path = "/sites/{site}", tag = "sites", params(("site" = String, Path)), request_body = Object, responses((status = 409, description = "The configuration owns it")))]
pub(super) async fn change_site(Named(name): Named<String>) -> Problem {
    owned(&format!("The rules of the site `{name}` are in its file"), "[site] sites_dir")
}

#[utoipa::path(get, path = "/models/{model}", tag = "models", params(("model" = String, Path)), responses((status = 200, description = "Done", body = ModelView)))]
pub(super) async fn model(State(state): State<AdminState>, Named(code): Named<String>) -> Answer<Json<ModelView>> {
    let rules = state.rules();
    let found = rules.catalogue.model(&code).map(|model| Json(ModelView::from(model.as_ref())));
    found.ok_or_else(|| unknown_model(&code))
}

#[utoipa::path(patch, path = "/models/{model}", tag = "models", params(("model" = String, Path)), request_body = Object, responses((status = 409, description = "The configuration owns it")))]
pub(super) async fn change_model(Named(code): Named<String>) -> Problem {
    owned(&format!("What is known of the model `{code}` is in the catalogue"), "[site] catalogue_file")
}

pub(super) fn owned(what: &str, setting: &str) -> Problem {
    Problem::conflict(
        "owned_by_configuration",
        format!(
            "{what}, which the configuration owns ({setting}). Change it there, then `gratis reload`; accounts, keys, grants, \
             switches and notices are what this API changes."
        ),
    )
    .with("setting", setting)
}
