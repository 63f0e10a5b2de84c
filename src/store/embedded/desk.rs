//! A connection with a thread of its own: what is asked here holds up no commit of the ledger.

use std::path::Path;
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::error::OpenError;
use super::queue::unavailable;
use crate::store::{StoreError, StoreErrorKind};

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// How many questions wait at most; whoever comes then waits for room.
const WAITING: usize = 64;

/// The connection's thread.
#[derive(Debug)]
pub(super) struct Desk {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Desk {
    /// Starts the thread, by name, for a connection to `file`.
    pub(super) fn start(name: &str, connection: Connection, file: &Path) -> Result<Self, OpenError> {
        let (jobs, mut waiting) = mpsc::channel::<Job>(WAITING);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                while let Some(job) = waiting.blocking_recv() {
                    job(&connection);
                }
            })
            .map_err(OpenError::io("start a thread for", file))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Has the thread do something, and waits for its answer.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // Whoever asked may have gone.
            let _ = answer.send(question(connection));
        });
        let jobs = self.jobs.as_ref().ok_or_else(|| unavailable("the store is closed"))?;
        jobs.send(job).await.map_err(|_| unavailable("the store is closed"))?;
        let result = answered.await.map_err(|_| unavailable("a question to the store was given up"))?;
        result.map_err(|error| StoreError { kind: StoreErrorKind::Corrupt, detail: error.to_string() })
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing left to do.
            let _ = thread.join();
        }
    }
}
