//! A reply as a script of steps, and the body that plays it.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use super::serve::Fate;

/// One step of a reply's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// These bytes.
    Send(Bytes),
    /// Let what was sent so far leave in a write of its own.
    Flush,
    /// Wait.
    Wait(Duration),
    /// Say nothing more and keep the connection open.
    Hang,
    /// End without the end of the body: with a TCP reset, or by closing.
    Break {
        /// A reset instead of a close.
        reset: bool,
    },
}

/// A body that plays its steps in order.
#[derive(Debug)]
pub(super) struct Script {
    steps: VecDeque<Step>,
    fate: Fate,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Script {
    pub(super) fn new(steps: impl IntoIterator<Item = Step>, fate: &Fate) -> Self {
        Self { steps: steps.into_iter().collect(), fate: fate.clone(), waiting: None }
    }

    /// A body sent at once.
    pub(super) fn whole(bytes: impl Into<Bytes>, fate: &Fate) -> Self {
        Self::new([Step::Send(bytes.into())], fate)
    }

    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(sleep) = self.waiting.as_mut() {
            std::task::ready!(sleep.as_mut().poll(cx));
            self.waiting = None;
        }
        Poll::Ready(())
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            std::task::ready!(self.poll_waiting(cx));
            match self.steps.front() {
                None => return Poll::Ready(None),
                // The step stays in front: the body never ends by itself, the connection does.
                Some(Step::Hang) => return Poll::Pending,
                Some(_) => (),
            }
            match self.steps.pop_front() {
                None | Some(Step::Hang) => (),
                Some(Step::Send(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Some(Step::Flush) => {
                    // To be asked again at once, after the connection has flushed what it holds.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some(Step::Wait(time)) => self.waiting = Some(Box::pin(sleep(time))),
                Some(Step::Break { reset }) => {
                    if reset {
                        self.fate.reset();
                    }
                    return Poll::Ready(Some(Err(io::Error::other("ends here by arrangement"))));
                }
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        let mut total = 0_u64;
        for step in &self.steps {
            match step {
                Step::Send(bytes) => total = total.saturating_add(bytes.len() as u64),
                Step::Flush => (),
                Step::Wait(_) | Step::Hang | Step::Break { .. } => return SizeHint::default(),
            }
        }
        // Only a body that is sent in one piece has a length; a stream is chunked as upstreams do it.
        if self.steps.len() == 1 { SizeHint::with_exact(total) } else { SizeHint::default() }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty() && self.waiting.is_none()
    }
}

/// The steps with every piece of bytes cut into `size` bytes a write.
pub(super) fn split(steps: Vec<Step>, size: usize, pause: Duration) -> Vec<Step> {
    let between = if pause.is_zero() { Step::Flush } else { Step::Wait(pause) };
    let mut out = Vec::new();
    for step in steps {
        match step {
            Step::Send(bytes) => {
                let mut rest = bytes;
                while rest.len() > size.max(1) {
                    out.extend([Step::Send(rest.split_to(size.max(1))), between.clone()]);
                }
                out.extend([Step::Send(rest), between.clone()]);
            }
            other @ (Step::Flush | Step::Wait(_) | Step::Hang | Step::Break { .. }) => out.push(other),
        }
    }
    out
}
