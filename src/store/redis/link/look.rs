//! One look at the store: who takes writes, whether it is what this replica knows, and the beat (LEDGER 4).

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use redis::{Cmd, Value};

use super::class::{Class, unfit};
use super::layout::{Seat, slot};
use super::server::Server;
use super::standing::{Beat, Halt, Member, Meta, Plan, behind, judge};
use super::{Inner, Members};
use crate::store::redis::reply;

/// What is counted up in each master: see the script.
const BEAT: &str = include_str!("beat.lua");

/// How long this replica's own disk may take to remember a look.
const DISK: Duration = Duration::from_secs(5);

/// The fields of the ledger's own key.
pub(super) const META_FIELDS: [&str; 5] = ["ledger", "epoch", "complete", "pepper", "alarm"];

impl Inner {
    /// Looks, judges, beats and remembers; afterwards calls go where it was found, or nowhere.
    pub(super) async fn look(&self) -> Result<(), Halt> {
        let before = self.found.load_full();
        let members = self.find(&before).await?;
        self.found.store(Arc::new(members.clone()));
        let judged = self.judge_and_beat(&members).await;
        match &judged {
            Ok(_) => self.meet(&members, None).await,
            Err(Halt::Suspended(why) | Halt::Unfit(why)) => self.meet(&members, Some(why)).await,
            Err(Halt::NotInitialised | Halt::Unreachable(_)) => {}
        }
        self.epoch.store(judged?, std::sync::atomic::Ordering::Release);
        self.members.store(Arc::new(members));
        Ok(())
    }

    /// Whether the store may be used, by what it is and what this replica remembers of it; answers its epoch.
    async fn judge_and_beat(&self, members: &Members) -> Result<u64, Halt> {
        let servers: Vec<&Arc<Server>> = members.0.iter().filter_map(|(_, server)| server.as_ref()).collect();
        for server in &servers {
            if let Some(why) = unfit(&self.address.topology, &server.facts) {
                return Err(Halt::Unfit(format!("{}: {why}", server.seat.address)));
            }
        }
        let Some(class) = servers.iter().map(|server| server.class).max() else {
            return Err(Halt::Unreachable("no master can be reached".to_owned()));
        };
        self.class.store(Some(Arc::new(class)));
        if !class.is_strict() && !self.accept_loss {
            return Err(self.too_weak(class));
        }
        let seen = self.journal.remembered();
        let meta = self.meta(members).await?;
        let found = |(seat, server): &(_, Option<Arc<Server>>)| Member {
            seat: Seat::clone(seat),
            found: server.as_ref().map(|server| (server.facts.clone(), server.class)),
        };
        let found: Vec<Member> = members.0.iter().map(found).collect();
        let plan = judge(&seen, meta.as_ref(), &found)?;
        self.rolled_back(&plan)?;
        let mut beats = Vec::new();
        for beat in &plan.beats {
            beats.push(self.beat(members, beat).await?);
        }
        let outcome = plan.outcome(&beats, &found);
        match tokio::time::timeout(DISK, self.journal.remember(outcome)).await {
            Ok(remembered) => remembered.map_err(|error| Halt::Unreachable(error.to_string()))?,
            Err(_) => return Err(Halt::Unreachable("the disk of this replica's journal does not answer".to_owned())),
        }
        Ok(plan.epoch)
    }

    fn too_weak(&self, class: Class) -> Halt {
        Halt::Unfit(format!(
            "the store is of the class {}: {}. Either {}, or accept it with store.accept_loss = true",
            class.name(),
            class.bound(),
            class.remedy(&self.address.topology)
        ))
    }

    async fn find(&self, before: &Members) -> Result<Members, Halt> {
        let known: Vec<String> = before.0.iter().map(|(seat, _)| seat.address.clone()).collect();
        let seats = self.finder.seats(&self.address, &known, self.dial_within).await.map_err(Halt::Unreachable)?;
        let servers = join_all(seats.iter().map(|seat| self.reach(before, seat))).await;
        if servers.iter().all(Result::is_err) {
            let said: Vec<String> = servers.into_iter().filter_map(Result::err).collect();
            return Err(Halt::Unreachable(said.join("; ")));
        }
        Ok(Members(seats.into_iter().zip(servers.into_iter().map(Result::ok)).collect()))
    }

    /// The server of a seat: over the connections that there are, or over new ones.
    async fn reach(&self, before: &Members, seat: &Seat) -> Result<Arc<Server>, String> {
        let reached = async {
            // What fails on the old connections is tried on new ones: the server may have come back since.
            if let Some(old) = before.at(&seat.address)
                && let Ok(Some(again)) = old.again(&self.address, seat.clone()).await
            {
                return Ok(Arc::new(again));
            }
            Server::dial(&self.address, seat.clone(), self.scripts, self.dial_within).await.map(Arc::new)
        };
        tokio::time::timeout(self.dial_within, reached).await.unwrap_or_else(|_| {
            // The way there may be cut without a word: the next look dials anew.
            if let Some(old) = before.at(&seat.address) {
                old.give_up();
            }
            Err(format!("{} does not answer", seat.address))
        })
    }

    /// What stands in the ledger's own key; `None` while its server cannot be reached.
    async fn meta(&self, members: &Members) -> Result<Option<Meta>, Halt> {
        let key = self.keys.meta();
        let Some(server) = members.of(slot(key.as_bytes())) else { return Ok(None) };
        let mut cmd = redis::cmd("HMGET");
        cmd.arg(&key).arg(&META_FIELDS);
        let answer =
            self.exchange(server, None, &cmd, false).await.map_err(|error| Halt::Unreachable(error.to_string()))?;
        let unreadable = |_| Halt::Suspended(format!("{key} cannot be read: it is no key of Gratis"));
        let [ledger, epoch, complete, pepper, alarm] = reply::parts(answer).map_err(unreadable)?;
        let complete = complete != Value::Nil || self.begun.load(std::sync::atomic::Ordering::Acquire);
        let ledger = reply::text(&ledger).ok().filter(|_| complete).map(str::to_owned);
        if let (Ok(kept), true) = (reply::text(&pepper), ledger.is_some())
            && self.pepper_mark.as_deref() != Some(kept)
        {
            let what =
                if self.pepper_mark.is_some() { "another pepper than the ledger was made with" } else { "no pepper" };
            return Err(Halt::Unfit(format!(
                "this replica has {what}, so that it would recognise no key: copy the file `pepper` from the state folder where \
                 `gratis init` ran, or set keys.pepper, and start it again"
            )));
        }
        if let Ok(why) = reply::text(&alarm) {
            return Err(Halt::Suspended(why.to_owned()));
        }
        Ok(Some(Meta { ledger, epoch: reply::amount(&epoch).unwrap_or(0) }))
    }

    /// Whether a call found the store rolled back, and no operator has said since that it goes on.
    fn rolled_back(&self, plan: &Plan) -> Result<(), Halt> {
        let mut rolled = self.rolled.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match &*rolled {
            Some((epoch, why)) if plan.epoch <= *epoch => Err(Halt::Suspended(why.clone())),
            Some(_) | None => {
                *rolled = None;
                Ok(())
            }
        }
    }

    async fn beat(&self, members: &Members, beat: &Beat) -> Result<u64, Halt> {
        let server = members.0.get(beat.member).and_then(|(_, server)| server.as_ref());
        let server = server.ok_or_else(|| Halt::Unreachable("a master was lost".to_owned()))?;
        let mut cmd = redis::cmd("EVAL");
        cmd.arg(BEAT).arg(1).arg(self.keys.beat(&beat.tag)).arg(self.journal.replica()).arg(beat.floor);
        let answer =
            self.exchange(server, None, &cmd, true).await.map_err(|error| Halt::Unreachable(error.to_string()))?;
        let unreadable = |_| Halt::Suspended("the beat cannot be read: it is no key of Gratis".to_owned());
        let [counted, found] = reply::parts(answer).map_err(unreadable)?;
        let (counted, found) = (reply::int(&counted).map_err(unreadable)?, reply::int(&found).map_err(unreadable)?);
        match (counted, u64::try_from(found)) {
            (1, Ok(beat)) => Ok(beat),
            (_, _) => Err(behind(&server.seat.address, found, beat.floor)),
        }
    }

    /// Says that this replica is there and, where that is so, why it admits nothing; and notes which others are there. Nothing
    /// depends on it but what an operator is shown.
    async fn meet(&self, members: &Members, suspended: Option<&str>) {
        let key = self.keys.replicas();
        let Some(server) = members.of(slot(key.as_bytes())) else { return };
        let mut say: Cmd = redis::cmd("HSET");
        let now = self.clock.now().0;
        say.arg(&key)
            .arg(self.journal.replica())
            .arg(suspended.map_or_else(|| now.to_string(), |why| format!("{now} {why}")));
        let mut list: Cmd = redis::cmd("HKEYS");
        list.arg(&key);
        // Whom a suspended replica meets may belong to another ledger.
        if self.exchange(server, None, &say, false).await.is_err() || suspended.is_some() {
            return;
        }
        let Ok(Value::Array(names)) = self.exchange(server, None, &list, false).await else { return };
        let names: Vec<String> = names.iter().filter_map(|name| reply::text(name).ok().map(str::to_owned)).collect();
        if let Err(error) = self.journal.note_peers(&names) {
            tracing::warn!(error = %error, "the other replicas could not be noted");
        }
    }
}
