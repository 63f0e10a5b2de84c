//! What became of a hold: said once, and told to the store until it knows.

use gratis::ledger::{Command, Outcome, Resolution};
use gratis::proxy::rules::tries_again_after;
use gratis::store::StoreErrorKind;

use crate::calls::Stage;
use crate::world::{Event, Store, World};

impl World {
    /// Says once what became of a hold.
    pub fn resolve(&mut self, call: usize, resolution: Resolution) {
        self.say(|| format!("call {call}: {resolution:?}"));
        let of = &mut self.calls[call];
        (of.stage, of.resolution, of.observer) = (Stage::Resolving, Some(resolution), None);
        self.ask_to_resolve(call);
    }

    pub fn resolved(&mut self, call: usize, answer: Result<Outcome, StoreErrorKind>) {
        let replica = self.calls[call].replica;
        self.calls[call].attempt += 1;
        let Err(kind) = answer else {
            self.calls[call].stage = Stage::Done;
            self.replicas[replica].parked.retain(|parked| *parked != call);
            return;
        };
        let shared = matches!(self.store, Store::Shared(_));
        if shared && !self.replicas[replica].parked.contains(&call) {
            self.replicas[replica].parked.push(call);
        }
        let kind = if shared { StoreErrorKind::Deferred } else { kind };
        let of = &mut self.calls[call];
        let pause = tries_again_after(kind, of.failures);
        of.failures += 1;
        match pause {
            Some(pause) => self.later(u64::try_from(pause.as_millis()).unwrap(), Event::ResolveAgain(call)),
            None => of.stage = Stage::Done,
        }
    }

    pub fn resolve_again(&mut self, call: usize) {
        if self.calls[call].stage == Stage::Resolving {
            self.ask_to_resolve(call);
        }
    }

    pub fn ask_to_resolve(&mut self, call: usize) {
        let now = self.now;
        let of = &mut self.calls[call];
        let Some(resolution) = of.resolution else { return };
        of.attempt += 1;
        of.asked_at = now;
        let command = Command::Resolve { hold: of.hold, resolution, origin: Some(of.origin()) };
        self.ask_of(call, command);
    }
}
