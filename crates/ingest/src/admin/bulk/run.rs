//! One replay or drop at a time in this process, and how far it is.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use actix_web::{http::StatusCode, rt};
use postback_core::{
    operate::Acting,
    queue::{Queue, QueueError, Revision},
    view::time_text,
};
use serde::Serialize;

use super::{super::text::Text, name, which::Which};
use crate::problem::Problem;

/// The latest run, if there was one since the process began.
#[derive(Debug, Default)]
pub(crate) struct Runs(Arc<Mutex<Option<Run>>>);

/// How far a run is.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Run {
    /// `replay` or `drop`.
    pub(super) action: &'static str,
    pub(super) which: Text,
    /// Rows a second.
    pub(super) rate: Option<f64>,
    pub(super) state: State,
    /// Rows that were found; while they are counted none.
    pub(super) rows: u64,
    pub(super) batches: u64,
    /// Batches that were looked at for them.
    pub(super) looked_at: usize,
    /// Rows replayed or dropped.
    pub(super) changed: u64,
    /// Rows that were not, because workers hold their batches.
    pub(super) passed_over: u64,
    pub(super) began_at: String,
    pub(super) ended_at: Option<String>,
    /// Why it failed.
    pub(super) error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Counting,
    Acting,
    /// Somebody wants it to end.
    Stopping,
    Done,
    Stopped,
    Failed,
}

impl State {
    pub(super) fn is_over(self) -> bool {
        matches!(self, State::Done | State::Stopped | State::Failed)
    }
}

impl Run {
    pub(super) fn is_over(&self) -> bool {
        self.state.is_over()
    }

    /// The state in a word.
    pub(super) fn word(&self) -> &'static str {
        match self.state {
            State::Counting => "counting",
            State::Acting => "at work",
            State::Stopping => "stopping",
            State::Done => "done",
            State::Stopped => "stopped",
            State::Failed => "failed",
        }
    }

    pub(super) fn rate_text(&self) -> String {
        postback_core::operate::rate_text(self.rate)
    }

    pub(super) fn is_replay(&self) -> bool {
        self.action == "replay"
    }

    pub(super) fn participle(&self) -> &'static str {
        if self.is_replay() { "replayed" } else { "dropped" }
    }
}

fn now() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    time_text(since.as_millis() as u64)
}

impl Runs {
    fn lock(&self) -> MutexGuard<'_, Option<Run>> {
        // A panic while it was held left nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn latest(&self) -> Option<Run> {
        self.lock().clone()
    }

    /// Has the run end after its next step. False: there is none.
    pub(super) fn stop(&self) -> bool {
        let mut latest = self.lock();
        let running = latest.as_mut().filter(|run| !run.is_over());
        running.map(|run| run.state = State::Stopping).is_some()
    }

    fn is_stopping(&self) -> bool {
        self.lock().as_ref().is_some_and(|run| run.state == State::Stopping)
    }

    fn note(&self, change: impl FnOnce(&mut Run)) {
        if let Some(run) = self.lock().as_mut() {
            change(run);
        }
    }

    /// Begins a run, which goes on whether anybody waits for it or not.
    pub(super) fn start(
        &self,
        queue: Queue,
        which: Which,
        revision: Revision,
        rate: Option<f64>,
    ) -> Result<rt::task::JoinHandle<()>, Problem> {
        let mut latest = self.lock();
        if latest.as_ref().is_some_and(|run| !run.is_over()) {
            let detail =
                "another replay or drop is at work: wait for it, or stop it on /dead/progress";
            return Err(Problem::new(StatusCode::CONFLICT, "busy", detail));
        }
        *latest = Some(Run {
            action: name(revision),
            which: which.text().into(),
            rate,
            state: State::Counting,
            rows: 0,
            batches: 0,
            looked_at: 0,
            changed: 0,
            passed_over: 0,
            began_at: now(),
            ended_at: None,
            error: None,
        });
        let runs = Runs(self.0.clone());
        Ok(rt::spawn(async move {
            let worked = runs.work(&queue, &which, revision, rate).await;
            runs.end(worked.err());
        }))
    }

    fn end(&self, error: Option<QueueError>) {
        self.note(|run| {
            run.state = match (&error, run.state) {
                (Some(_), _) => State::Failed,
                (None, State::Stopping) => State::Stopped,
                (None, _) => State::Done,
            };
            run.ended_at = Some(now());
            let why = |error: &QueueError| {
                format!("redis cannot be used ({}): the same can be asked for again", error.kind())
            };
            run.error = error.as_ref().map(why);
            log::info!(
                "{} of dead rows {}: {} of {} rows, {} passed over ({})",
                run.action,
                run.word(),
                run.changed,
                run.rows,
                run.passed_over,
                run.which
            );
        });
    }

    async fn work(
        &self,
        queue: &Queue,
        which: &Which,
        revision: Revision,
        rate: Option<f64>,
    ) -> Result<(), QueueError> {
        let go_on = |seen| {
            self.note(|run| run.looked_at = seen);
            !self.is_stopping()
        };
        let selection = which.select(queue, revision, go_on).await?;
        self.note(|run| {
            (run.rows, run.batches) = (selection.rows, selection.batches);
            if run.state == State::Counting {
                run.state = State::Acting;
            }
        });
        let mut acting = Acting::new(selection, rate);
        while !self.is_stopping() {
            let Some(rows) = acting.go_on(queue).await? else { break };
            let passed_over = acting.selection().passed_over();
            self.note(|run| {
                run.changed += rows;
                run.passed_over = passed_over;
            });
        }
        Ok(())
    }
}
