//! WebSocket through a whole Gratis: what passes, what is held, and how connections end.

mod calls;
pub(crate) mod client;
mod ends;
mod exact;
mod libraries;
mod limits;
mod script;
mod vectors;
mod voices;

use gratis::catalogue::ModelType;
use gratis::ledger::Unit;

use crate::support::world::{Plan, model, unit_model};

pub(crate) const TTS: &str = "cosyvoice-v3-flash";
pub(crate) const ASR: &str = "fun-asr-realtime";
pub(crate) const OMNI: &str = "qwen3-omni-flash-realtime";

/// A model that speaks, one that listens, and one that does both in turns, each with a grant.
fn plan() -> Plan {
    let omni = model(OMNI, 32_768, 4_096);
    let mut plan = Plan::new(unit_model(TTS, ModelType::Tts, Unit::Characters, Some(200_000)), 10_000);
    plan.models.push(unit_model(ASR, ModelType::Asr, Unit::Seconds, None));
    plan.models.push(omni);
    plan.grants.push((ASR.to_owned(), 36_000));
    plan.grants.push((OMNI.to_owned(), 1_000_000));
    plan
}
