//! Responses of one model: the hold of the next one is open before any message of the client's goes up, because the upstream may
//! begin a response by itself.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::catalogue::Model;
use crate::clock::Stopwatch;
use crate::dialect::{self, ServerEvent};
use crate::ledger::{BillingMode, Usage};
use crate::proxy::bound::{self, CallBound};
use crate::proxy::rejection::Rejection;
use crate::proxy::uncovered;

use super::fault::{Fault, Words};
use super::line::{CallAsk, Granted, Line, new_hold};
use super::speech::{Step, Told};
use super::tab::Tab;

/// The responses of one connection.
pub(super) struct Turns {
    line: Arc<Line>,
    model: Arc<Model>,
    /// What is held for the next one.
    next: Option<Tab>,
    /// Those in progress, oldest first; `None` = it began while nothing was held for it.
    current: VecDeque<Option<Tab>>,
    /// Whether anything of the client's has gone up.
    sent: bool,
    surcharge: Option<&'static str>,
    /// Only calls in progress were in the way of the next hold: it is asked for again once the running response has ended.
    postponed: bool,
    /// A message of the server's could not be read.
    doubtful: bool,
}

/// The hold of one response: the whole window, and all that the model can put out.
pub(super) fn ask(model: &Arc<Model>, surcharge: Option<&'static str>) -> CallAsk {
    let CallBound { ask, sound, .. } = bound::at_most(model, 1);
    CallAsk { hold: new_hold(), model: Arc::clone(model), ask, bounded: sound, surcharge, references: Vec::new() }
}

impl Turns {
    pub(super) fn new(line: Arc<Line>, first: Granted) -> Self {
        let model = Arc::clone(&first.model);
        let next = Some(Tab::new(&line, first, "ws.response"));
        Self {
            line,
            model,
            next,
            current: VecDeque::new(),
            sent: false,
            surcharge: None,
            postponed: false,
            doubtful: false,
        }
    }

    pub(super) fn has_next(&self) -> bool {
        self.next.is_some()
    }

    pub(super) fn idle(&self) -> bool {
        self.current.is_empty()
    }

    pub(super) fn busy_since(&self) -> Option<Stopwatch> {
        self.current.front()?.as_ref().map(Tab::since)
    }

    /// The next hold is refused because of calls in progress; answers whether one of them is of this connection.
    pub(super) fn postpone(&mut self) -> bool {
        self.postponed = !self.current.is_empty();
        self.postponed
    }

    pub(super) fn sent(&mut self) {
        self.sent = true;
    }

    pub(super) fn client_text(&mut self, text: &str) -> Result<Step, Fault> {
        let event = dialect::client_event(text).map_err(|error| Fault::Ours(Rejection::InvalidRequest(error)))?;
        if event.model.is_some_and(|model| model != self.model.code.as_str()) {
            return Err(Fault::invalid("The model of a connection is the one of its query."));
        }
        if let Some(name) = event.surcharge {
            if self.next.as_ref().is_none_or(|tab| tab.mode() == BillingMode::FreeQuotaOnly) {
                return Err(Fault::Ours(Rejection::NotCovered(vec![name.to_owned()])));
            }
            self.surcharge = Some(name);
        }
        self.sent = true;
        Ok(if event.references.is_empty() { Step::Pass } else { Step::Check(event.references) })
    }

    pub(super) fn server_other(&mut self, unread: bool) {
        self.doubtful |= unread;
    }

    pub(super) fn server_text(&mut self, text: &str) -> Told {
        match dialect::server_event(text) {
            ServerEvent::Created => Told { ask: self.begin(), ..Told::default() },
            ServerEvent::Done(usage) => self.done(usage),
            ServerEvent::Error(error) => {
                if let Some(tab) = self.current.iter_mut().flatten().chain(&mut self.next).next() {
                    tab.signal(&error);
                }
                Told::default()
            }
            ServerEvent::Other => Told::default(),
        }
    }

    /// A response began. Gives what the one after it asks for.
    fn begin(&mut self) -> Option<CallAsk> {
        let mut tab = self.next.take();
        match &mut tab {
            Some(tab) => tab.begin(),
            None => tracing::warn!(model = %self.model.code, "a response began before its hold was taken"),
        }
        let asks = tab.is_some();
        self.current.push_back(tab);
        asks.then(|| ask(&self.model, self.surcharge))
    }

    fn done(&mut self, usage: Option<Usage>) -> Told {
        // A service that does not announce its responses ends them all the same.
        let again = std::mem::take(&mut self.postponed).then(|| ask(&self.model, self.surcharge));
        let ask = if self.current.is_empty() { self.begin().or(again) } else { again };
        let usage = usage.filter(|_| !std::mem::take(&mut self.doubtful));
        let settling = match (self.current.pop_front().flatten(), usage) {
            (Some(tab), Some(usage)) => tab.settle(usage),
            (Some(tab), None) => tab.presume(None, true),
            (None, usage) => {
                self.record_uncovered(usage);
                Vec::new()
            }
        };
        Told { settling, ended: true, ask }
    }

    /// Writes down a response that no hold was open for: what it used, or the most that it can have.
    fn record_uncovered(&self, usage: Option<Usage>) {
        let (input, output) = bound::most(&self.model);
        let usage = usage.unwrap_or(Usage { input, output });
        let caller = &self.line.caller;
        uncovered::write_down(&self.line.parts, (&caller.account, &caller.key.id), &self.model, usage);
    }

    /// A hold was admitted: for a response that has begun without one, else for the next.
    pub(super) fn granted(&mut self, granted: Granted) -> Option<CallAsk> {
        let tab = Tab::new(&self.line, granted, "ws.response");
        match self.current.iter_mut().find(|tab| tab.is_none()) {
            Some(place) => {
                *place = Some(tab);
                Some(ask(&self.model, self.surcharge))
            }
            None => {
                self.next = Some(tab);
                None
            }
        }
    }

    pub(super) fn error(&self, words: &Words) -> String {
        let id = uuid::Uuid::now_v7().to_string();
        dialect::error_event(&id, &words.kind, &words.code, &words.message, words.param.as_deref())
    }

    /// The connection is over. What is in progress is presumed; the next hold is given back where nothing can have begun for it: no
    /// message of the client's went up, or the server closed after everything that it had to say.
    pub(super) fn end(&mut self, clean: bool, blame: bool) {
        for tab in std::mem::take(&mut self.current) {
            match tab {
                Some(tab) => drop(tab.presume(None, blame)),
                None => self.record_uncovered(None),
            }
        }
        if let Some(tab) = self.next.take() {
            if clean || !self.sent { drop(tab.release()) } else { drop(tab.presume(None, blame)) }
        }
    }
}
