//! Tasks that belong to a node.
//!
//! A task's future lives in a cell that the node can reach. A crash takes the future out of the cell and drops it
//! at once, so that it cannot run again; the runtime's own task is then an empty shell that ends at its next turn.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, TryLockError, Weak};
use std::task::{Context, Poll};

use serde_json::json;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinHandle};

use crate::lock;
use crate::recorder::Recorder;
use crate::schedule::{Scheduler, Standing};

/// Why a task has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskGone {
    /// Its node crashed, or was already down when the task was to start.
    #[error("the node of the task went down")]
    NodeDown,
    /// [`Task::abort`] was called, or the world ended.
    #[error("the task was aborted")]
    Aborted,
    /// It panicked.
    #[error("the task panicked")]
    Panicked,
}

/// A running task of a node. Dropping it detaches: the task goes on until it ends or its node crashes.
pub struct Task<T> {
    join: Option<JoinHandle<Option<T>>>,
    set: Arc<TaskSet>,
}

impl<T> Task<T> {
    /// Ends the task at its next yield point; its future is dropped there.
    pub fn abort(&self) {
        if let Some(join) = &self.join {
            join.abort();
        }
    }

    /// True when the task has ended, in whatever way.
    pub fn is_finished(&self) -> bool {
        self.join.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, TaskGone>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(join) = &mut self.join else { return Poll::Ready(Err(TaskGone::NodeDown)) };
        let outcome = match Pin::new(join).poll(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(outcome) => outcome,
        };
        Poll::Ready(match outcome {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(TaskGone::NodeDown),
            Err(error) if error.is_panic() => Err(TaskGone::Panicked),
            Err(_) if self.set.is_down() => Err(TaskGone::NodeDown),
            Err(_) => Err(TaskGone::Aborted),
        })
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("finished", &self.is_finished()).finish_non_exhaustive()
    }
}

/// Turns that all tasks of a world may take together: tasks that wake each other for ever must not keep a run from ending.
#[derive(Debug)]
pub(crate) struct Turns {
    most: u64,
    taken: AtomicU64,
}

impl Turns {
    pub(crate) fn new(most: u64) -> Self {
        Self { most, taken: AtomicU64::new(0) }
    }

    /// Takes one; false when there is none left.
    fn take(&self) -> bool {
        self.taken.fetch_add(1, Ordering::Relaxed) < self.most
    }

    pub(crate) fn are_over(&self) -> bool {
        self.taken.load(Ordering::Relaxed) > self.most
    }
}

/// All tasks of one life of a node.
pub(crate) struct TaskSet {
    node: Arc<str>,
    handle: Handle,
    recorder: Arc<Recorder>,
    scheduler: Option<Arc<Mutex<Scheduler>>>,
    turns: Option<Arc<Turns>>,
    down: AtomicBool,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    next: u64,
    cells: BTreeMap<u64, Weak<dyn Kill>>,
}

impl TaskSet {
    pub(crate) fn new(node: Arc<str>, handle: Handle, recorder: Arc<Recorder>) -> TaskSet {
        TaskSet {
            node,
            handle,
            recorder,
            scheduler: None,
            turns: None,
            down: AtomicBool::new(false),
            running: Mutex::default(),
        }
    }

    /// Its tasks take turns as this policy says.
    pub(crate) fn scheduled(mut self, scheduler: Option<Arc<Mutex<Scheduler>>>) -> TaskSet {
        self.scheduler = scheduler;
        self
    }

    /// Its tasks stand still once these turns are taken.
    pub(crate) fn limited(mut self, turns: Arc<Turns>) -> TaskSet {
        self.turns = Some(turns);
        self
    }

    /// Asks the policy about a task whose turn it is; a priority that changes is a line of the history.
    fn passes(&self, scheduler: &Mutex<Scheduler>, standing: &mut Standing) -> bool {
        let mut scheduler = lock(scheduler);
        let (passes, changed) = (scheduler.passes(standing), scheduler.changed());
        drop(scheduler);
        if let Some(turn) = changed {
            self.recorder.note(&self.node, "turns", || json!({"event": "priority", "turn": turn}));
        }
        passes
    }

    pub(crate) fn is_down(&self) -> bool {
        self.down.load(Ordering::Acquire)
    }

    pub(crate) fn count(&self) -> usize {
        lock(&self.running).cells.len()
    }

    pub(crate) fn spawn<F>(self: &Arc<Self>, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        if self.is_down() {
            // A Drop handler of the dying node tries to start something: there is nobody left to run it.
            return Task { join: None, set: self.clone() };
        }
        let cell = Arc::new(Cell {
            future: Mutex::new(Some(Box::pin(future))),
            dead: AtomicBool::new(false),
            shell: OnceLock::new(),
        });
        let id = {
            let mut running = lock(&self.running);
            let id = running.next;
            running.next += 1;
            let weak: Weak<dyn Kill> = Arc::downgrade(&cell) as _;
            running.cells.insert(id, weak);
            id
        };
        let join = self.handle.spawn(Shell {
            cell: cell.clone(),
            set: self.clone(),
            id,
            standing: Standing::default(),
        });
        // Nobody else sets it, so a second value cannot be refused here.
        let _ = cell.shell.set(join.abort_handle());
        if self.is_down() {
            cell.kill();
        }
        Task { join: Some(join), set: self.clone() }
    }

    /// Drops all futures of the node, oldest task first. The one that is being polled now (a task may crash its
    /// own node) is dropped as soon as that poll returns.
    pub(crate) fn kill_all(&self) {
        self.down.store(true, Ordering::Release);
        loop {
            let cells = std::mem::take(&mut lock(&self.running).cells);
            if cells.is_empty() {
                return;
            }
            for cell in cells.into_values() {
                if let Some(cell) = cell.upgrade() {
                    cell.kill();
                }
            }
        }
    }
}

trait Kill: Send + Sync {
    fn kill(&self);
}

struct Cell<F> {
    future: Mutex<Option<Pin<Box<F>>>>,
    dead: AtomicBool,
    shell: OnceLock<AbortHandle>,
}

impl<F: Future + Send> Kill for Cell<F> {
    fn kill(&self) {
        self.dead.store(true, Ordering::Release);
        let future = match self.future.try_lock() {
            Ok(mut slot) => slot.take(),
            Err(TryLockError::Poisoned(slot)) => slot.into_inner().take(),
            // It is being polled: the shell drops it when the poll returns.
            Err(TryLockError::WouldBlock) => None,
        };
        drop(future);
        if let Some(shell) = self.shell.get() {
            shell.abort();
        }
    }
}

/// What the runtime polls.
struct Shell<F: Future + Send> {
    cell: Arc<Cell<F>>,
    set: Arc<TaskSet>,
    id: u64,
    standing: Standing,
}

impl<F: Future + Send> Future for Shell<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.set.turns.as_ref().is_some_and(|turns| !turns.take()) {
            // Nothing wakes it again: the world's clock runs to its horizon.
            return Poll::Pending;
        }
        if let Some(scheduler) = &this.set.scheduler
            && this.set.passes(scheduler, &mut this.standing)
        {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let watch = PanicWatch(&self.set);
        let (polled, spent) = {
            let mut slot = lock(&self.cell.future);
            let Some(future) = slot.as_mut().filter(|_| !self.cell.dead.load(Ordering::Acquire)) else {
                let dead = slot.take();
                drop(slot);
                drop(dead);
                return Poll::Ready(None);
            };
            let polled = future.as_mut().poll(cx);
            let ended = polled.is_ready() || self.cell.dead.load(Ordering::Acquire);
            (polled, if ended { slot.take() } else { None })
        };
        // Dropped without the slot's lock: its Drop handlers may reach back to this node.
        drop(spent);
        drop(watch);
        match polled {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if self.cell.dead.load(Ordering::Acquire) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<F: Future + Send> Drop for Shell<F> {
    fn drop(&mut self) {
        lock(&self.set.running).cells.remove(&self.id);
        let future = lock(&self.cell.future).take();
        drop(future);
    }
}

/// Records a panic that unwinds through a poll; a detached task would otherwise fail in silence.
struct PanicWatch<'a>(&'a TaskSet);

impl Drop for PanicWatch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.recorder.task_panicked(&self.0.node);
        }
    }
}
