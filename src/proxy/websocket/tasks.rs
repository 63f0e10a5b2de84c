//! Tasks one after another: each is held for before it goes up, and again before each piece of input that its hold does not cover.

use std::sync::Arc;

use crate::catalogue::Model;
use crate::clock::Stopwatch;
use crate::dialect::{self, Audio, Command, Run, TaskState};
use crate::ledger::{Amount, Unit, Usage};
use crate::proxy::rejection::Rejection;

use super::fault::{Fault, Words};
use super::line::{CallAsk, Granted, Line};
use super::speech::{Step, Told};
use super::tab::Tab;

/// The tasks of one connection.
pub(super) struct Tasks {
    line: Arc<Line>,
    task: Option<Task>,
    /// The id of the last task, for errors.
    last: String,
}

struct Task {
    id: String,
    model: Arc<Model>,
    audio: Audio,
    streams_in: bool,
    /// Whether its input is complete.
    complete: bool,
    /// What was admitted; `None` until the first answer.
    tab: Option<Tab>,
    /// The most that what went up, or waits to, can cost.
    need: Amount,
    /// The same without what waits.
    sent: Amount,
    /// Bytes of its audio.
    bytes: u64,
    /// Whether the server has sent anything of a result.
    produced: bool,
    usage: Option<Amount>,
    /// A usage came that cannot be counted, or a message that could not be read.
    doubtful: bool,
}

/// Characters that are held ahead, so that a text in many small pieces does not ask for each.
const CHARACTERS_AHEAD: Amount = 500;
/// Seconds that are held ahead.
const SECONDS_AHEAD: Amount = 30;

impl Task {
    fn held(&self) -> Amount {
        self.tab.as_ref().map_or(0, Tab::held)
    }

    fn ahead(&self) -> Amount {
        match self.model.unit {
            _ if !self.streams_in => 0,
            Unit::Characters => CHARACTERS_AHEAD,
            Unit::Seconds => SECONDS_AHEAD,
            Unit::Tokens | Unit::Images | Unit::Voices => 0,
        }
    }

    /// What covers its need.
    fn step(&mut self) -> Step {
        match self.need.checked_sub(self.held()) {
            None | Some(0) => {
                self.sent = self.need;
                Step::Pass
            }
            Some(lacks) => Step::Ask(CallAsk::units(Arc::clone(&self.model), lacks, self.ahead(), true)),
        }
    }

    fn seen(&self) -> Option<Usage> {
        self.usage.map(|output| Usage { input: 0, output })
    }
}

impl Tasks {
    pub(super) fn new(line: Arc<Line>) -> Self {
        Self { line, task: None, last: String::new() }
    }

    pub(super) fn idle(&self) -> bool {
        self.task.is_none()
    }

    pub(super) fn busy_since(&self) -> Option<Stopwatch> {
        self.task.as_ref()?.tab.as_ref().map(Tab::since)
    }

    pub(super) fn client_text(&mut self, text: &str) -> Result<Step, Fault> {
        let command = dialect::command(text).map_err(|error| Fault::Ours(Rejection::InvalidRequest(error)))?;
        match command {
            Command::Run(run) => self.run(run),
            Command::Continue { task, characters } => {
                let Some(running) = self.running(&task)? else { return Ok(Step::Drop) };
                if running.model.unit == Unit::Characters {
                    running.need = running.need.saturating_add(characters);
                }
                Ok(running.step())
            }
            Command::Finish { task } => {
                let Some(running) = self.running(&task)? else { return Ok(Step::Drop) };
                running.complete = true;
                Ok(Step::Pass)
            }
        }
    }

    fn run(&mut self, run: Run) -> Result<Step, Fault> {
        if self.task.is_some() {
            return Err(Fault::invalid("A task is in progress on this connection; wait for its end."));
        }
        self.last.clone_from(&run.task);
        let shared = self.line.shared();
        // What is counted in tokens or pieces is not told by a task's usage.
        let model = shared.catalogue.model(&run.model).filter(|m| matches!(m.unit, Unit::Characters | Unit::Seconds));
        let Some(model) = model.map(Arc::clone) else {
            return Err(Fault::Ours(Rejection::ModelNotFound(crate::proxy::handler::shown(&run.model))));
        };
        let mut task = Task {
            id: run.task,
            audio: run.audio,
            streams_in: run.streams_in,
            complete: !run.streams_in,
            tab: None,
            need: 0,
            sent: 0,
            bytes: 0,
            produced: false,
            usage: None,
            doubtful: false,
            model,
        };
        let mut bounded = true;
        if task.model.unit == Unit::Characters {
            task.need = run.characters;
        } else if task.audio == Audio::Compressed {
            bounded = task.model.max_units.is_some();
            task.need = task.model.max_units.unwrap_or_default();
        }
        let ahead = if bounded && task.audio == Audio::Compressed && task.model.unit == Unit::Seconds {
            0
        } else {
            task.ahead()
        };
        let ask = CallAsk::units(Arc::clone(&task.model), task.need.max(1), ahead, bounded);
        let ask = CallAsk { references: run.references, ..ask };
        self.task = Some(task);
        Ok(Step::Ask(ask))
    }

    /// The task of this id, where it is in progress; `None` where it is over. A client may still speak of a task whose end it
    /// has not read yet.
    fn running(&mut self, id: &str) -> Result<Option<&mut Task>, Fault> {
        if self.last.is_empty() {
            return Err(Fault::invalid("The first message of a connection must be run-task."));
        }
        match &mut self.task {
            None => Ok(None),
            Some(task) if task.id == id => Ok(Some(task)),
            Some(_) => Err(Fault::invalid("Another task is in progress on this connection.")),
        }
    }

    pub(super) fn client_binary(&mut self, bytes: u64) -> Result<Step, Fault> {
        if self.last.is_empty() {
            return Err(Fault::invalid("The first message of a connection must be run-task."));
        }
        let Some(task) = &mut self.task else { return Ok(Step::Drop) };
        task.bytes = task.bytes.saturating_add(bytes);
        if let (Unit::Seconds, Some(seconds)) = (task.model.unit, task.audio.seconds(task.bytes)) {
            task.need = task.need.max(seconds);
        }
        Ok(task.step())
    }

    pub(super) fn granted(&mut self, granted: Granted) {
        let Some(task) = &mut self.task else { return };
        task.sent = task.need;
        match &mut task.tab {
            Some(tab) => tab.add(granted.admission),
            None => task.tab = Some(Tab::new(&self.line, granted, "ws.task")),
        }
    }

    pub(super) fn refused(&mut self) {
        self.task.take_if(|task| task.tab.is_none());
    }

    pub(super) fn server_other(&mut self, unread: bool) {
        if let Some(task) = &mut self.task {
            task.produced = true;
            task.doubtful |= unread;
        }
    }

    pub(super) fn server_text(&mut self, text: &str) -> Told {
        let Some(task) = &mut self.task else { return Told::default() };
        let Some(event) = dialect::task_event(text, task.model.unit) else {
            task.doubtful = true;
            return Told::default();
        };
        task.doubtful |= event.malformed;
        task.usage = task.usage.max(event.usage);
        match event.state {
            TaskState::Started => return Told::default(),
            TaskState::Running => {
                task.produced = true;
                return Told::default();
            }
            TaskState::Finished | TaskState::Failed(_) => {}
        }
        let Some(Task { tab: Some(mut tab), usage, sent, produced, doubtful, .. }) = self.task.take() else {
            return Told::default();
        };
        // A task to which nothing was given that costs anything need not say so.
        let usage = usage.or((sent == 0).then_some(0));
        let seen = usage.map(|output| Usage { input: 0, output });
        let settling = match (event.state, seen) {
            (TaskState::Failed(error), _) => {
                tab.signal(&error);
                // The whole reply was an error: provably not billed (LEDGER 8).
                if produced || doubtful || usage > Some(0) { tab.presume(seen, false) } else { tab.release() }
            }
            (_, Some(usage)) if !doubtful => tab.settle(usage),
            (_, seen) => tab.presume(seen, true),
        };
        Told { settling, ended: true, ask: None }
    }

    pub(super) fn finish(&mut self) -> Option<String> {
        let task = self.task.as_mut().filter(|task| task.tab.is_some() && !task.complete)?;
        task.complete = true;
        Some(dialect::finish_task(&task.id))
    }

    pub(super) fn error(&self, words: &Words) -> String {
        dialect::task_failed(&self.last, &words.code, &words.message)
    }

    pub(super) fn end(&mut self, blame: bool) {
        if let Some(task) = self.task.take() {
            let seen = task.seen();
            if let Some(tab) = task.tab {
                tab.presume(seen, blame);
            }
        }
    }
}
