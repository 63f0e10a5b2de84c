//! Tasks and other things with ids (`WIRE 1.6, 2.2`).

use std::collections::BTreeMap;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::ledger::{Charge, Ledger};

/// A task. It is charged when it succeeds.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) model: String,
    pub(super) units: u64,
    pub(super) usage: Value,
    /// Whether it fails instead.
    pub(super) fails: bool,
    /// How often it was asked about.
    pub(super) polls: u32,
    pub(super) status: &'static str,
}

/// How many polls find it in progress.
const POLLS: u32 = 1;

/// What was made, by its id.
#[derive(Debug, Default)]
pub(super) struct Things {
    tasks: BTreeMap<String, Task>,
    made: u64,
}

impl Things {
    /// A new task; gives its id.
    pub(super) fn begin(&mut self, task: Task) -> String {
        self.made += 1;
        let id = format!("task-{:08x}", self.made);
        self.tasks.insert(id.clone(), task);
        id
    }

    /// Answers what is about a thing, if the path is.
    pub(super) fn answer(
        &mut self,
        ledger: &mut Ledger,
        method: &Method,
        path: &str,
        request_id: &str,
    ) -> Option<(StatusCode, Value)> {
        let parts: Vec<&str> = path.split('/').collect();
        match (method, parts.as_slice()) {
            (&Method::GET, [.., "tasks", id]) => Some(self.poll(ledger, id, request_id)),
            (&Method::POST, [.., "tasks", id, "cancel"]) => Some(self.cancel(id, request_id)),
            (&Method::POST, [.., kind @ ("files" | "conversations" | "batches")]) => {
                self.made += 1;
                let id = format!("{kind}-{:08x}", self.made);
                Some((StatusCode::OK, json!({"id": id, "object": kind, "status": "validating"})))
            }
            (_, [.., "files" | "conversations" | "batches" | "responses", id])
            | (_, [.., "files" | "conversations" | "batches", id, _]) => {
                Some((StatusCode::OK, json!({"id": id, "object": "thing"})))
            }
            _ => None,
        }
    }

    fn poll(&mut self, ledger: &mut Ledger, id: &str, request_id: &str) -> (StatusCode, Value) {
        let Some(task) = self.tasks.get_mut(id) else {
            return (
                StatusCode::OK,
                json!({"request_id": request_id, "output": {"task_id": id, "task_status": "UNKNOWN"}}),
            );
        };
        task.polls += 1;
        if task.polls > POLLS && task.status == "PENDING" {
            task.status = if task.fails { "FAILED" } else { "SUCCEEDED" };
            if !task.fails {
                ledger.charge(&task.model, "none", Charge { prompt: task.units, ..Charge::default() });
            }
        }
        let output = json!({"task_id": id, "task_status": task.status});
        let mut body = json!({"request_id": request_id, "output": output});
        if task.status == "SUCCEEDED"
            && let Some(body) = body.as_object_mut()
        {
            body.insert("usage".to_owned(), task.usage.clone());
        }
        (StatusCode::OK, body)
    }

    fn cancel(&mut self, id: &str, request_id: &str) -> (StatusCode, Value) {
        match self.tasks.get_mut(id) {
            Some(task) if task.status == "PENDING" => {
                task.status = "CANCELED";
                (StatusCode::OK, json!({"request_id": request_id}))
            }
            _ => {
                let body =
                    json!({"code": "UnsupportedOperation", "message": "The task is over.", "request_id": request_id});
                (StatusCode::BAD_REQUEST, body)
            }
        }
    }
}
