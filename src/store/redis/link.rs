//! The connections to the shared store, and whether it may be used at all.
//!
//! A task looks at the store each second, and at once after a connection was lost: who takes writes now, what it promises, whether it
//! is the store that this replica remembers (`standing`). Until a look says so, every call is refused without being sent. No call is
//! ever sent twice by itself, except where the server said that nothing was done.

mod address;
mod class;
mod connection;
mod facts;
mod fault;
mod find;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
mod layout;
mod look;
mod script;
mod server;
mod standing;
pub(super) mod visit;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use redis::{Cmd, Value};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

pub(super) use class::Class;
pub(super) use fault::LinkError;
pub(super) use script::Script;

use super::journal::Journal;
use super::keys::Keys;
use super::{OpenError, Settings};
use crate::clock::Clock;
use address::Address;
use fault::Fault;
use find::Finder;
use layout::{Seat, slot};
use server::{Call, Server};
use standing::Halt;

/// Warns the other replicas: see the script.
const ALARM: &str = include_str!("link/alarm.lua");

/// How often the store is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The same, after a look that failed.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How long it takes at least from one look to the next, where each fails.
const LOOK_LEAST: Duration = Duration::from_millis(50);
/// How long a connection and the questions to a server may take.
const DIAL: Duration = Duration::from_secs(1);

/// The servers that take writes; `None` = it cannot be reached.
#[derive(Clone, Default)]
struct Members(Vec<(Seat, Option<Arc<Server>>)>);

impl Members {
    /// The server of a slot.
    fn of(&self, slot: u16) -> Option<&Arc<Server>> {
        self.0.iter().find(|(seat, _)| seat.holds(slot))?.1.as_ref()
    }

    /// The server at an address.
    fn at(&self, address: &str) -> Option<&Arc<Server>> {
        self.0.iter().find(|(seat, _)| seat.address == address)?.1.as_ref()
    }
}

struct Inner {
    address: Address,
    scripts: &'static [&'static Script],
    keys: Keys,
    journal: Arc<Journal>,
    clock: Clock,
    timeout: Duration,
    dial_within: Duration,
    accept_loss: bool,
    pepper_mark: Option<String>,
    finder: Finder,
    /// Those that the last look found, whether they passed or not: their connections serve the next look.
    found: ArcSwap<Members>,
    /// Those that calls are sent to.
    members: ArcSwap<Members>,
    /// `None` = calls are sent.
    halt: ArcSwapOption<Halt>,
    class: ArcSwapOption<Class>,
    epoch: AtomicU64,
    /// A call found the store rolled back in this epoch.
    rolled: Mutex<Option<(u64, String)>>,
    /// Whether this handle began the ledger that is not complete yet.
    begun: AtomicBool,
    hurry: Notify,
}

/// The connections of one replica.
pub(super) struct Link {
    inner: Arc<Inner>,
    looks: watch::Receiver<u64>,
    // Ends with the link.
    _looking: JoinSet<()>,
}

impl Link {
    /// Connects and looks for the first time. A store that is suspended or empty is no error: it may become usable.
    ///
    /// # Errors
    /// When it cannot be reached, or what it promises is less than what is asked for.
    pub(super) async fn open(
        settings: &Settings,
        scripts: &'static [&'static Script],
        journal: Arc<Journal>,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let inner = Arc::new(Inner {
            address: Address::of(settings)?,
            scripts,
            keys: Keys::new(&settings.prefix),
            journal,
            clock,
            timeout: settings.timeout,
            dial_within: DIAL.max(settings.timeout),
            accept_loss: settings.accept_loss,
            pepper_mark: settings.pepper_mark.clone(),
            finder: Finder::default(),
            found: ArcSwap::default(),
            members: ArcSwap::default(),
            halt: ArcSwapOption::from_pointee(Halt::Unreachable("not connected yet".to_owned())),
            class: ArcSwapOption::empty(),
            epoch: AtomicU64::new(0),
            rolled: Mutex::new(None),
            begun: AtomicBool::new(false),
            hurry: Notify::new(),
        });
        match inner.look_and_note().await {
            Some(Halt::Unreachable(why)) => {
                return Err(OpenError(format!("{} cannot be used: {why}", settings.url)));
            }
            Some(Halt::Unfit(why)) => return Err(OpenError(format!("{}: {why}", settings.url))),
            Some(Halt::NotInitialised | Halt::Suspended(_)) | None => {}
        }
        let (told, looks) = watch::channel(0);
        let mut looking = JoinSet::new();
        looking.spawn(keep_looking(Arc::clone(&inner), told));
        Ok(Self { inner, looks, _looking: looking })
    }

    /// Runs a script that writes, on the server that has `key`.
    pub(super) async fn run(&self, script: &'static Script, key: &str, cmd: Cmd) -> Result<Value, LinkError> {
        self.inner.send(Some(script), key, &cmd, true).await
    }

    /// A plain command on the server that has `key`; `write` = it is acknowledged as the class promises.
    pub(super) async fn ask(&self, key: &str, cmd: &Cmd, write: bool) -> Result<Value, LinkError> {
        self.inner.send(None, key, cmd, write).await
    }

    /// The weakest class of the servers, as of the last look.
    pub(super) fn class(&self) -> Option<Class> {
        self.inner.class.load().as_deref().copied()
    }

    /// How often an operator said to go on.
    pub(super) fn epoch(&self) -> u64 {
        self.inner.epoch.load(Ordering::Acquire)
    }

    /// Whether calls are sent; the error says why not.
    pub(super) fn check(&self) -> Result<(), LinkError> {
        self.inner.check()
    }

    /// Why an operator has to look, if so.
    pub(super) fn suspended(&self) -> Option<String> {
        match self.inner.halt.load().as_deref() {
            Some(Halt::Suspended(why) | Halt::Unfit(why)) => Some(why.clone()),
            Some(Halt::NotInitialised | Halt::Unreachable(_)) | None => None,
        }
    }

    /// Whether calls are refused because nobody answers.
    pub(super) fn breaker_open(&self) -> bool {
        matches!(self.inner.halt.load().as_deref(), Some(Halt::Unreachable(_)))
            || self
                .inner
                .members
                .load()
                .0
                .iter()
                .any(|(_, server)| server.as_ref().is_none_or(|server| !server.answers()))
    }

    /// A call found that the store has forgotten what it acknowledged: nothing goes on until an operator has looked.
    pub(super) async fn roll_back(&self, detail: &str) {
        let why = format!(
            "the store has forgotten what it acknowledged ({detail}): a snapshot was restored, or writes were lost. Compare it with the \
             replicas' journals by `gratis store rebuild`, then go on with `gratis store resume`"
        );
        let epoch = self.epoch();
        {
            // Together: a look that is about to end must not clear it.
            let mut rolled = self.inner.rolled.lock().unwrap_or_else(PoisonError::into_inner);
            *rolled = Some((epoch, why.clone()));
            self.inner.halt.store(Some(Arc::new(Halt::Suspended(why.clone()))));
        }
        // The others learn of it at their next look. Where it cannot be written they find out by themselves.
        let key = self.inner.keys.meta();
        let mut alarm = redis::cmd("EVAL");
        alarm.arg(ALARM).arg(1).arg(&key).arg(why);
        let members = self.inner.members.load_full();
        if let Some(server) = members.of(slot(key.as_bytes()))
            && let Err(error) = self.inner.exchange(server, None, &alarm, true).await
        {
            tracing::warn!(error = %error, "the other replicas could not be warned");
        }
    }

    /// Says that this handle has begun the ledger that is there.
    pub(super) fn begin(&self) {
        self.inner.begun.store(true, Ordering::Release);
    }

    /// Waits until a look that begins now is over.
    pub(super) async fn refresh(&self) {
        let mut looks = self.looks.clone();
        let after = *looks.borrow_and_update() + 2;
        while *looks.borrow() < after {
            self.inner.hurry.notify_one();
            if looks.changed().await.is_err() {
                return;
            }
        }
    }
}

async fn keep_looking(inner: Arc<Inner>, told: watch::Sender<u64>) {
    let mut pause = LOOK_EVERY;
    loop {
        // Whoever is in a hurry does not wait for the next second; where each look fails, a moment is waited all the same.
        if tokio::time::timeout(pause, inner.hurry.notified()).await.is_ok() && pause == LOOK_AGAIN {
            tokio::time::sleep(LOOK_LEAST).await;
        }
        // A store that is on its way back is looked for more often.
        pause = if inner.look_and_note().await.is_some() { LOOK_AGAIN } else { LOOK_EVERY };
        told.send_modify(|looks| *looks += 1);
    }
}

impl Inner {
    async fn look_and_note(&self) -> Option<Halt> {
        let halt = self.look().await.err();
        let before = self.halt.load_full();
        if before.as_deref() != halt.as_ref() {
            match &halt {
                Some(Halt::Suspended(why) | Halt::Unfit(why)) => tracing::error!(why, "the shared store is suspended"),
                Some(Halt::Unreachable(why)) => tracing::warn!(why, "the shared store cannot be reached"),
                Some(Halt::NotInitialised) => tracing::warn!("there is no ledger in the shared store"),
                None => tracing::info!("the shared store is in use"),
            }
        }
        let rolled = self.rolled.lock().unwrap_or_else(PoisonError::into_inner);
        let halt = match (halt, &*rolled) {
            (None, Some((_, why))) => Some(Halt::Suspended(why.clone())),
            (halt, _) => halt,
        };
        self.halt.store(halt.clone().map(Arc::new));
        halt
    }

    fn check(&self) -> Result<(), LinkError> {
        match self.halt.load().as_deref() {
            None => Ok(()),
            Some(Halt::NotInitialised) => Err(LinkError::NotInitialised(
                "there is no ledger in the shared store: `gratis init` makes one".to_owned(),
            )),
            Some(Halt::Unreachable(why) | Halt::Unfit(why) | Halt::Suspended(why)) => {
                Err(LinkError::Unavailable(why.clone()))
            }
        }
    }

    async fn send(
        &self,
        script: Option<&'static Script>,
        key: &str,
        cmd: &Cmd,
        write: bool,
    ) -> Result<Value, LinkError> {
        self.check()?;
        let members = self.members.load();
        let server = match members.0.as_slice() {
            [(_, Some(server))] => server,
            _ => members
                .of(slot(key.as_bytes()))
                .ok_or_else(|| LinkError::Unavailable("the server of this account cannot be reached".to_owned()))?,
        };
        if !server.answers() {
            return Err(LinkError::Unavailable(format!("{} does not answer", server.seat.address)));
        }
        let begun = Clock::stopwatch();
        let fault = match self.exchange(server, script, cmd, write).await {
            Ok(value) => return Ok(value),
            Err(fault) => fault,
        };
        // Nothing was done there, and it says where instead. A server that this replica does not know has to pass a look first.
        let (Fault::Moved(to) | Fault::Ask(to)) = &fault else { return Err(fault.into()) };
        let Some(server) = members.at(to).filter(|server| server.answers()) else { return Err(fault.into()) };
        let asking = matches!(fault, Fault::Ask(_));
        let left = self.timeout.saturating_sub(begun.elapsed());
        self.exchange_within(left, server, script, Call { cmd, write, asking }).await.map_err(LinkError::from)
    }

    /// One exchange within the time that a call may take; whatever speaks for another server makes a look come at once.
    async fn exchange(
        &self,
        server: &Arc<Server>,
        script: Option<&Script>,
        cmd: &Cmd,
        write: bool,
    ) -> Result<Value, Fault> {
        self.exchange_within(self.timeout, server, script, Call { cmd, write, asking: false }).await
    }

    async fn exchange_within(
        &self,
        within: Duration,
        server: &Arc<Server>,
        script: Option<&Script>,
        call: Call<'_>,
    ) -> Result<Value, Fault> {
        match tokio::time::timeout(within, server.exchange(script, call, within)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(fault)) => {
                match &fault {
                    Fault::Lost(_) | Fault::Moved(_) | Fault::Ask(_) | Fault::Unfit(_) | Fault::Short(_) => {
                        self.hurry.notify_one();
                    }
                    Fault::NoScript
                    | Fault::Refused(_)
                    | Fault::Script { .. }
                    | Fault::Forbidden(_)
                    | Fault::Other(_) => {}
                }
                Err(fault)
            }
            Err(_) => {
                if server.unanswered() {
                    self.hurry.notify_one();
                }
                Err(Fault::Lost(format!("{} did not answer in {} ms", server.seat.address, within.as_millis())))
            }
        }
    }
}
