//! The flow engine: ordered steps, each with its undo beside it, intent logged before the effect.
//!
//! Rules that every flow follows:
//! - a step that fails has no undo run of its own; where a step can half-succeed, an undo-only step stands before it;
//! - every step and every undo may be repeated (proved by the test mode [`crate::Repeat`]);
//! - an undo reads what it must undo from the database, because after a crash the context is rebuilt from there.
//!
//! Fault points: `flow.<flow>.<step>.before`, `.after` and `.undo`.

mod log;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sanbench_world::{Delivery, Env, Fault};
use serde_json::json;

pub use log::{IllegalEvent, StepEvent, StepStatus, next_status};

use crate::config::Repeat;
use crate::control::Plane;
use crate::db::FlowRow;
use crate::error::{Cause, Failure, FlowError, StepError};

/// What a step function answers.
pub(crate) type StepFuture<'a> = Pin<Box<dyn Future<Output = Result<(), StepError>> + Send + 'a>>;
/// A step or an undo.
pub(crate) type StepFn<C> = for<'a> fn(&'a mut C) -> StepFuture<'a>;

/// One row of a flow's table.
pub(crate) struct Step<C: 'static> {
    pub(crate) name: &'static str,
    run: Option<StepFn<C>>,
    undo: Option<StepFn<C>>,
    best_effort: bool,
}

impl<C> Step<C> {
    /// A step with nothing to undo.
    pub(crate) const fn run(name: &'static str, run: StepFn<C>) -> Self {
        Self { name, run: Some(run), undo: None, best_effort: false }
    }

    /// A step and its undo.
    pub(crate) const fn both(name: &'static str, run: StepFn<C>, undo: StepFn<C>) -> Self {
        Self { name, run: Some(run), undo: Some(undo), best_effort: false }
    }

    /// Placed before steps that can half-succeed.
    pub(crate) const fn undo_only(name: &'static str, undo: StepFn<C>) -> Self {
        Self { name, run: None, undo: Some(undo), best_effort: false }
    }

    /// Its failure is noted and changes nothing.
    pub(crate) const fn best_effort(name: &'static str, run: StepFn<C>) -> Self {
        Self { name, run: Some(run), undo: None, best_effort: true }
    }
}

/// What a restart does with an open flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recovery {
    /// Begin again from the first step; all are repeatable.
    Forward,
    /// Undo.
    Unwind,
}

/// What a failed undo means for the undos before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnUndoFailure {
    /// They do not depend on it.
    Continue,
    /// They must wait until it has succeeded.
    Stop,
}

/// A flow: its table and its policies.
pub(crate) struct Flow<C: 'static> {
    pub(crate) name: &'static str,
    pub(crate) steps: &'static [Step<C>],
    pub(crate) recovery: Recovery,
    pub(crate) on_undo_failure: OnUndoFailure,
}

/// What the steps of a flow share. Narrow and typed.
pub(crate) trait FlowContext: Send + Sized + 'static {
    /// The control plane it runs on.
    fn plane(&self) -> &Arc<Plane>;

    /// Makes the context again after a crash; `None` when there is nothing left to decide.
    fn rebuild(plane: &Arc<Plane>, row: &FlowRow) -> Result<Option<Self>, FlowError>;

    /// Told of the failure before the undos run.
    fn failed(&mut self, _error: &StepError) {}
}

/// One flow of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FlowInfo {
    /// Flow.
    pub name: &'static str,
    /// Its steps in order; undo-only steps included.
    pub steps: Vec<&'static str>,
    /// Those of them that have an undo.
    pub undos: Vec<&'static str>,
    /// Those whose failure does not fail the flow.
    pub best_effort: Vec<&'static str>,
}

/// Every flow with its step names, as the fault points spell them.
pub fn flow_catalogue() -> Vec<FlowInfo> {
    fn info<C>(flow: &Flow<C>) -> FlowInfo {
        let names =
            |keep: fn(&Step<C>) -> bool| flow.steps.iter().filter(|s| keep(s)).map(|s| s.name).collect();
        FlowInfo {
            name: flow.name,
            steps: names(|_| true),
            undos: names(|s| s.undo.is_some()),
            best_effort: names(|s| s.best_effort),
        }
    }
    vec![
        info(&crate::volume::create::ACCEPT),
        info(&crate::volume::build::BUILD),
        info(&crate::volume::from_image::BUILD_FROM_IMAGE),
        info(&crate::image::cache::CACHE_IMAGE),
        info(&crate::volume::from_image::REIMAGE),
        info(&crate::volume::delete::DELETE),
        info(&crate::volume::extend::EXTEND),
        info(&crate::volume::snapshot::CREATE_SNAPSHOT),
        info(&crate::volume::snapshot::DELETE_SNAPSHOT),
        info(&crate::volume::flatten::FLATTEN),
        info(&crate::compute::attach::ATTACH),
        info(&crate::compute::detach::DETACH),
    ]
}

/// Brings every open flow that nobody runs to its end. Answers what was done, for people.
pub(crate) async fn recover_all(plane: &Arc<Plane>) -> Result<Vec<String>, FlowError> {
    let rows = plane.db.single(|db| db.open_flows())?;
    let mut done = Vec::new();
    for row in rows {
        // Claimed or closed by somebody else since.
        let Some(_running) = plane.claim_flow(row.id)? else { continue };
        let said = resume(plane, &row).await;
        match said {
            Err(FlowError::Crashed) => return Err(FlowError::Crashed),
            Err(e @ FlowError::Internal(_)) => return Err(e),
            Err(e) => done.push(format!("{} of {}: {e}", row.kind, row.subject)),
            Ok(()) => done.push(format!("{} of {}: settled", row.kind, row.subject)),
        }
    }
    Ok(done)
}

/// Brings a flow that its caller has claimed to its end.
async fn resume(plane: &Arc<Plane>, row: &FlowRow) -> Result<(), FlowError> {
    match row.kind.as_str() {
        n if n == crate::volume::create::ACCEPT.name => {
            recover(&crate::volume::create::ACCEPT, plane, row).await
        }
        n if n == crate::volume::build::BUILD.name => recover(&crate::volume::build::BUILD, plane, row).await,
        n if n == crate::volume::from_image::BUILD_FROM_IMAGE.name => {
            recover(&crate::volume::from_image::BUILD_FROM_IMAGE, plane, row).await
        }
        n if n == crate::volume::from_image::REIMAGE.name => {
            recover(&crate::volume::from_image::REIMAGE, plane, row).await
        }
        n if n == crate::image::cache::CACHE_IMAGE.name => {
            recover(&crate::image::cache::CACHE_IMAGE, plane, row).await
        }
        n if n == crate::volume::delete::DELETE.name => {
            recover(&crate::volume::delete::DELETE, plane, row).await
        }
        n if n == crate::volume::extend::EXTEND.name => {
            recover(&crate::volume::extend::EXTEND, plane, row).await
        }
        n if n == crate::volume::snapshot::CREATE_SNAPSHOT.name => {
            recover(&crate::volume::snapshot::CREATE_SNAPSHOT, plane, row).await
        }
        n if n == crate::volume::snapshot::DELETE_SNAPSHOT.name => {
            recover(&crate::volume::snapshot::DELETE_SNAPSHOT, plane, row).await
        }
        n if n == crate::volume::flatten::FLATTEN.name => {
            recover(&crate::volume::flatten::FLATTEN, plane, row).await
        }
        n if n == crate::compute::attach::ATTACH.name => {
            recover(&crate::compute::attach::ATTACH, plane, row).await
        }
        n if n == crate::compute::detach::DETACH.name => {
            recover(&crate::compute::detach::DETACH, plane, row).await
        }
        other => Err(FlowError::Internal(format!("the log holds the unknown flow {other:?}"))),
    }
}

/// The message that carries a flow on arrives once more: at once, and a second later. Who finds the flow at work, or done,
/// leaves it alone.
fn redeliver(plane: &Arc<Plane>, id: i64) {
    let (env, plane) = (plane.env.clone(), Arc::clone(plane));
    let again: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
        for pause in [Duration::ZERO, Duration::from_secs(1)] {
            plane.env.sleep(pause).await;
            // A service that has stopped takes no messages; the next one has the flow.
            if plane.serving().is_err() {
                return;
            }
            let Ok(rows) = plane.db.single(|db| db.open_flows()) else { return };
            let Some(row) = rows.into_iter().find(|row| row.id == id) else { return };
            let claimed = plane.claim_flow(id).ok().flatten();
            if claimed.is_none() && !plane.config.defects.redelivery_not_recognised {
                continue;
            }
            if let Err(error) = resume(&plane, &row).await {
                plane.env.note("flow", || json!({"event": "redelivered", "error": error.to_string()}));
            }
        }
    });
    drop(env.spawn(again));
}

/// Runs a flow from its first step. `params` is what [`FlowContext::rebuild`] gets after a crash.
pub(crate) async fn run<C: FlowContext>(
    flow: &'static Flow<C>,
    subject: String,
    params: serde_json::Value,
    cx: &mut C,
) -> Result<(), FlowError> {
    let plane = Arc::clone(cx.plane());
    let at = plane.env.now();
    let running = plane.open_flow(|| plane.db.single(|db| db.open_flow(flow.name, &subject, &params, at)))?;
    plane.env.note("flow", || json!({"flow": flow.name, "subject": subject, "event": "begin"}));
    let mut run = Run { flow, plane, id: running.id, seq: 0, subject };
    run.forward(cx, vec![StepStatus::Never; flow.steps.len()]).await
}

async fn recover<C: FlowContext>(
    flow: &'static Flow<C>,
    plane: &Arc<Plane>,
    row: &FlowRow,
) -> Result<(), FlowError> {
    let lines = plane.db.read(|db| db.flow_log(row.id))?;
    let folded = log::fold(flow.steps.len(), &lines)
        .map_err(|e| FlowError::Internal(format!("log of {} {}: {e}", row.kind, row.subject)))?;
    let forward = flow.recovery == Recovery::Forward && !folded.unwinding;
    plane.env.note("flow", || {
        let way = if forward { "forward" } else { "back" };
        json!({"flow": flow.name, "subject": row.subject, "event": "recover", "way": way})
    });
    let context = C::rebuild(plane, row)?.filter(|_| !plane.config.defects.open_flows_forgotten);
    let Some(mut cx) = context else {
        return plane.db.read(|db| db.close_flow(row.id));
    };
    let seq = u32::try_from(lines.len()).unwrap_or(u32::MAX);
    let mut run = Run { flow, plane: Arc::clone(plane), id: row.id, seq, subject: row.subject.clone() };
    if forward {
        let statuses = match plane.config.defects.progress_forgotten {
            true => vec![StepStatus::Never; flow.steps.len()],
            false => folded.steps,
        };
        return run.forward(&mut cx, statuses).await;
    }
    let undo_failures = run.unwind(&mut cx, &folded.steps).await?;
    if undo_failures.is_empty() {
        return Ok(());
    }
    Err(FlowError::Failed(Box::new(Failure {
        flow: flow.name,
        step: "recovery",
        subject: row.subject.clone(),
        cause: Cause::Gone("undo failed again".into()),
        outcome: sanbench_api::Outcome::Unknown,
        undo_failures,
    })))
}

struct Run<C: 'static> {
    flow: &'static Flow<C>,
    plane: Arc<Plane>,
    id: i64,
    seq: u32,
    subject: String,
}

impl<C: FlowContext> Run<C> {
    fn log(&mut self, step: usize, event: StepEvent) -> Result<(), FlowError> {
        let (id, seq) = (self.id, self.seq);
        self.seq += 1;
        self.plane.db.single(|db| db.log_step(id, seq, step, event))
    }

    /// All steps from the first. `statuses` is what became of them before a crash: a step that fails now is no reason to leave
    /// what it and the later ones had begun then.
    async fn forward(&mut self, cx: &mut C, mut statuses: Vec<StepStatus>) -> Result<(), FlowError> {
        for (index, step) in self.flow.steps.iter().enumerate() {
            if self.plane.is_crashed() {
                return Err(FlowError::Crashed);
            }
            // An undo-only step has no effect that an intent would announce: the next step's vouches for it.
            if step.run.is_some() {
                self.log(index, StepEvent::Started)?;
            }
            let before = std::mem::replace(&mut statuses[index], StepStatus::Running);
            let answer = match self.one(step, cx).await {
                // Failing between two steps means that this one is done.
                Ok(after) => {
                    statuses[index] = StepStatus::Done;
                    after
                }
                // An undo-only step does nothing that could fail: what stopped it came after its intent.
                Err(error) if step.run.is_none() => {
                    statuses[index] = StepStatus::Done;
                    Err(error)
                }
                Err(error) => {
                    if before == StepStatus::Never {
                        statuses[index] = StepStatus::Failed;
                    }
                    Err(error)
                }
            };
            match answer {
                Ok(()) => {}
                Err(StepError::Crash) => return Err(self.crash()),
                Err(StepError::Lost) => {
                    if step.run.is_none() {
                        // Nobody goes on to the next step, which would have vouched for this one.
                        self.log(index, StepEvent::Started)?;
                    }
                    return Err(FlowError::Unanswered);
                }
                Err(error) if step.best_effort => {
                    statuses[index] = StepStatus::Done;
                    self.note(step.name, "ignored", &error);
                }
                Err(error) => return Err(self.fail(cx, step, index, statuses, error).await),
            }
        }
        self.plane.db.read(|db| db.close_flow(self.id))?;
        self.plane
            .env
            .note("flow", || json!({"flow": self.flow.name, "subject": self.subject, "event": "end"}));
        Ok(())
    }

    /// The step between its two fault points. The outer error is the step's own, the inner one comes after it.
    async fn one(&self, step: &Step<C>, cx: &mut C) -> Result<Result<(), StepError>, StepError> {
        self.ask(step.name, "before").await?;
        if let Some(run) = step.run {
            run(cx).await?;
            if self.plane.config.repeat == Repeat::Steps {
                run(cx).await?;
            }
        }
        Ok(self.ask(step.name, "after").await)
    }

    async fn ask(&self, step: &str, side: &str) -> Result<(), StepError> {
        let point = format!("flow.{}.{step}.{side}", self.flow.name);
        let fault = self.plane.env.fault(&point);
        if fault == Some(Fault::Message(Delivery::Twice)) {
            redeliver(&self.plane, self.id);
            return Ok(());
        }
        undergo(&self.plane.env, fault).await
    }

    fn crash(&self) -> FlowError {
        self.plane.mark_crashed();
        FlowError::Crashed
    }

    fn note(&self, step: &str, event: &str, error: &StepError) {
        self.plane.env.note("flow", || {
            json!({"flow": self.flow.name, "subject": self.subject, "step": step, "event": event,
                "error": error.to_string()})
        });
    }

    async fn fail(
        &mut self,
        cx: &mut C,
        step: &Step<C>,
        index: usize,
        statuses: Vec<StepStatus>,
        error: StepError,
    ) -> FlowError {
        self.note(step.name, "failed", &error);
        let event = match (statuses[index], step.run.is_some()) {
            (StepStatus::Failed, _) => Some(StepEvent::Failed),
            (_, false) => Some(StepEvent::Started),
            (_, true) => None,
        };
        if let Some(Err(broken)) = event.map(|event| self.log(index, event)) {
            return broken;
        }
        cx.failed(&error);
        let undo_failures = match self.unwind(cx, &statuses).await {
            Ok(failures) => failures,
            Err(broken) => return broken,
        };
        let cause = match error {
            StepError::Refused(refusal) => return FlowError::Refused(refusal),
            StepError::Internal(message) => return FlowError::Internal(message),
            StepError::Crash => return FlowError::Crashed,
            StepError::Lost => return FlowError::Unanswered,
            StepError::Failed(cause) => cause,
        };
        FlowError::Failed(Box::new(Failure {
            flow: self.flow.name,
            step: step.name,
            subject: self.subject.clone(),
            outcome: cause.outcome(),
            cause,
            undo_failures,
        }))
    }

    /// Undoes, last step first, what is done, in doubt, or was not undone before. Closes the flow if all went well.
    async fn unwind(&mut self, cx: &mut C, statuses: &[StepStatus]) -> Result<Vec<String>, FlowError> {
        let mut failures = Vec::new();
        for (index, step) in self.flow.steps.iter().enumerate().rev() {
            let Some(undo) = step.undo else { continue };
            let wanted = matches!(
                statuses[index],
                StepStatus::Running | StepStatus::Done | StepStatus::Undoing | StepStatus::UndoFailed
            );
            if !wanted {
                continue;
            }
            self.log(index, StepEvent::UndoStarted)?;
            match self.undo(step.name, undo, cx).await {
                Ok(()) => {
                    self.log(index, StepEvent::UndoFinished)?;
                    self.plane.env.note("flow", || {
                        json!({"flow": self.flow.name, "subject": self.subject, "step": step.name,
                            "event": "undone"})
                    });
                }
                Err(StepError::Crash) => return Err(self.crash()),
                Err(StepError::Lost) => return Err(FlowError::Unanswered),
                Err(error) => {
                    self.log(index, StepEvent::UndoFailed)?;
                    self.note(step.name, "undo failed", &error);
                    failures.push(format!("{}: {error}", step.name));
                    if self.flow.on_undo_failure == OnUndoFailure::Stop {
                        return Ok(failures);
                    }
                }
            }
        }
        if failures.is_empty() {
            self.plane.db.read(|db| db.close_flow(self.id))?;
        }
        Ok(failures)
    }

    async fn undo(&self, name: &str, undo: StepFn<C>, cx: &mut C) -> Result<(), StepError> {
        let mut tries = 0;
        loop {
            if self.plane.is_crashed() {
                return Err(StepError::Crash);
            }
            let answer = match self.ask(name, "undo").await {
                Ok(()) => undo(cx).await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(()) => break,
                Err(error @ (StepError::Crash | StepError::Lost)) => return Err(error),
                Err(error) if tries >= self.plane.config.undo_retries => return Err(error),
                Err(_) => self.plane.env.sleep(Duration::from_secs(1 << tries.min(5))).await,
            }
            tries += 1;
        }
        if self.plane.config.repeat == Repeat::Undos {
            undo(cx).await?;
        }
        Ok(())
    }
}

/// Asks the fault plan at a point and does what it says.
pub(crate) async fn ask(env: &Env, point: &str) -> Result<(), StepError> {
    undergo(env, env.fault(point)).await
}

async fn undergo(env: &Env, fault: Option<Fault>) -> Result<(), StepError> {
    match fault {
        None => Ok(()),
        Some(Fault::Delay(d)) => {
            env.sleep(d).await;
            Ok(())
        }
        Some(Fault::Message(Delivery::Lost)) => Err(StepError::Lost),
        Some(Fault::Fail | Fault::DropReply | Fault::Answer(_) | Fault::Message(Delivery::Twice)) => {
            Err(StepError::Failed(Cause::Injected))
        }
        Some(Fault::CrashNode) => Err(StepError::Crash),
    }
}

#[cfg(test)]
mod tests;
