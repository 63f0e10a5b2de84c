//! What is spoken on a connection, as the tunnel sees it: messages come in, and it is told what to do with them.

use crate::clock::Stopwatch;
use crate::dialect::Reference;

use super::fault::{Fault, Words};
use super::line::{CallAsk, Granted};
use super::tab::Settling;
use super::tasks::Tasks;
use super::turns::Turns;

/// One of the two protocols, with the state of its calls.
pub(super) enum Speech {
    /// Tasks one after another.
    Tasks(Box<Tasks>),
    /// Responses, each with a hold ahead.
    Turns(Box<Turns>),
}

/// What becomes of a client's message.
pub(super) enum Step {
    /// It goes up.
    Pass,
    /// It is about a task that is over: it goes nowhere.
    Drop,
    /// It goes up once this is admitted.
    Ask(CallAsk),
    /// It goes up once these are known not to be another account's.
    Check(Vec<Reference>),
}

/// What becomes of a server's message, which has been read.
#[derive(Default)]
pub(super) struct Told {
    /// What it waits for before it goes on.
    pub(super) settling: Settling,
    /// Whether it ended a call.
    pub(super) ended: bool,
    /// What has to be admitted before the client's next message.
    pub(super) ask: Option<CallAsk>,
}

impl Speech {
    /// Whether a client's message may go up now.
    pub(super) fn may_send(&self) -> bool {
        match self {
            Self::Tasks(_) => true,
            Self::Turns(turns) => turns.has_next(),
        }
    }

    /// Whether no call is in progress.
    pub(super) fn idle(&self) -> bool {
        match self {
            Self::Tasks(tasks) => tasks.idle(),
            Self::Turns(turns) => turns.idle(),
        }
    }

    /// Since when the oldest call is in progress.
    pub(super) fn busy_since(&self) -> Option<Stopwatch> {
        match self {
            Self::Tasks(tasks) => tasks.busy_since(),
            Self::Turns(turns) => turns.busy_since(),
        }
    }

    pub(super) fn client_text(&mut self, text: &str) -> Result<Step, Fault> {
        match self {
            Self::Tasks(tasks) => tasks.client_text(text),
            Self::Turns(turns) => turns.client_text(text),
        }
    }

    /// A binary frame of so many bytes begins.
    pub(super) fn client_binary(&mut self, bytes: u64) -> Result<Step, Fault> {
        match self {
            Self::Tasks(tasks) => tasks.client_binary(bytes),
            Self::Turns(turns) => {
                turns.sent();
                Ok(Step::Pass)
            }
        }
    }

    pub(super) fn server_text(&mut self, text: &str) -> Told {
        match self {
            Self::Tasks(tasks) => tasks.server_text(text),
            Self::Turns(turns) => turns.server_text(text),
        }
    }

    /// A message of the server's that cannot be read, or a binary one.
    pub(super) fn server_other(&mut self, unread: bool) {
        match self {
            Self::Tasks(tasks) => tasks.server_other(unread),
            Self::Turns(turns) => turns.server_other(unread),
        }
    }

    /// What was asked for is admitted. A further ask may follow at once.
    pub(super) fn granted(&mut self, granted: Granted) -> Option<CallAsk> {
        match self {
            Self::Tasks(tasks) => {
                tasks.granted(granted);
                None
            }
            Self::Turns(turns) => turns.granted(granted),
        }
    }

    /// Whether what is refused because of calls in progress is asked for again when one of this connection ends.
    pub(super) fn postpone(&mut self) -> bool {
        match self {
            Self::Tasks(_) => false,
            Self::Turns(turns) => turns.postpone(),
        }
    }

    /// What was asked for is refused: a call that had not begun never will.
    pub(super) fn refused(&mut self) {
        match self {
            Self::Tasks(tasks) => tasks.refused(),
            Self::Turns(_) => {}
        }
    }

    /// What makes the upstream finish the call although its client says nothing more.
    pub(super) fn finish(&mut self) -> Option<String> {
        match self {
            Self::Tasks(tasks) => tasks.finish(),
            Self::Turns(_) => None,
        }
    }

    /// The error in the protocol's own shape.
    pub(super) fn error(&self, words: &Words) -> String {
        match self {
            Self::Tasks(tasks) => tasks.error(words),
            Self::Turns(turns) => turns.error(words),
        }
    }

    /// The upstream's connection is over: `clean` where it closed in the protocol's own way, `blame` where it should not have.
    pub(super) fn end(&mut self, clean: bool, blame: bool) {
        match self {
            Self::Tasks(tasks) => tasks.end(blame),
            Self::Turns(turns) => turns.end(clean, blame),
        }
    }
}
