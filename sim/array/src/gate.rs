//! Where answers wait until what they acknowledge is durable, and whoever makes it so waits for something to do.
//!
//! An array with a journal counts its promises ([`crate::Array::promised`]). A party that has raised the count asks for
//! durability up to it ([`Gate::want`]) and holds its answer back until [`Gate::poll`] lets it through; the committer takes
//! all that has been promised by then in one go. Nothing here depends on a runtime: waiting tasks leave their wakers, and the
//! committer is a thread ([`Gate::wait_for_work`]) or a task ([`Gate::work`]).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use thiserror::Error;

/// Durability is over: a commit has failed. Whoever waits must not answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the array cannot make anything durable any more: {0}")]
pub struct Lost(pub String);

/// What the commits of a gate have cost so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GateStats {
    /// Commits that wrote something.
    pub commits: u64,
    /// Promises kept by them. Divided by the commits: how many answers share one.
    pub promises: u64,
    /// Pages of 4 KiB written.
    pub pages: u64,
    /// Time that commits took, summed up.
    pub busy: Duration,
    /// The longest one.
    pub longest: Duration,
}

#[derive(Debug, Default)]
struct State {
    wanted: u64,
    stops: bool,
    lost: Option<Lost>,
    waiters: Vec<Waker>,
    /// The committer, where it is a task that has nothing to do.
    committer: Option<Waker>,
    stats: GateStats,
}

/// Between those who wait for durability and the one who makes it.
#[derive(Debug, Default)]
pub struct Gate {
    durable: AtomicU64,
    state: Mutex<State>,
    bell: Condvar,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Promises up to this one are kept.
    pub fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Asks for a commit that keeps promises up to this one.
    pub fn want(&self, promise: u64) {
        if promise <= self.durable() {
            return;
        }
        let mut state = self.state();
        if promise > state.wanted {
            state.wanted = promise;
            self.call_committer(state);
        }
    }

    /// Whether promises up to this one are kept; else the task is woken when more are.
    pub fn poll(&self, promise: u64, cx: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        if promise <= self.durable() {
            return Poll::Ready(Ok(()));
        }
        let mut state = self.state();
        if promise <= self.durable() {
            return Poll::Ready(Ok(()));
        }
        if let Some(lost) = &state.lost {
            return Poll::Ready(Err(lost.clone()));
        }
        if !state.waiters.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.waiters.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Asks for durability up to a promise and waits for it.
    ///
    /// # Errors
    /// It will not come any more.
    pub async fn settled(&self, promise: u64) -> Result<(), Lost> {
        self.want(promise);
        std::future::poll_fn(|cx| self.poll(promise, cx)).await
    }

    /// Ends when durability is over, and never otherwise.
    pub async fn lost(&self) -> Lost {
        match std::future::poll_fn(|cx| self.poll(u64::MAX, cx)).await {
            Err(lost) => lost,
            Ok(()) => std::future::pending().await,
        }
    }

    /// Why durability is over, if it is.
    pub fn why_lost(&self) -> Option<Lost> {
        self.state().lost.clone()
    }

    /// What commits have cost.
    pub fn stats(&self) -> GateStats {
        self.state().stats
    }

    // ---- for the committer

    /// Whether there is nothing to do for a committer, be it a thread or a task: all that is wanted is durable, and it is to go on.
    fn is_idle(&self, state: &State) -> bool {
        !state.stops && state.wanted <= self.durable()
    }

    /// Waits until somebody wants a commit, at most for `idle`; answers whether this is the last one.
    pub fn wait_for_work(&self, idle: Duration) -> bool {
        let waited = self.bell.wait_timeout_while(self.state(), idle, |state| self.is_idle(state));
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.stops
    }

    /// As [`Gate::wait_for_work`] for a committer that is a task: ends when somebody wants a commit, or the last one.
    pub async fn work(&self) {
        std::future::poll_fn(|cx| {
            let mut state = self.state();
            if self.is_idle(&state) {
                state.committer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Promises up to this one are kept.
    pub fn publish(&self, promise: u64) {
        self.durable.fetch_max(promise, Ordering::Release);
        let waiters = std::mem::take(&mut self.state().waiters);
        waiters.into_iter().for_each(Waker::wake);
    }

    /// Counts a commit before it is published: what it wrote, and how long it took.
    pub fn count_commit(&self, promises: u64, pages: u64, took: Duration) {
        let fresh = promises.saturating_sub(self.durable());
        let stats = &mut self.state().stats;
        stats.commits += 1;
        stats.promises += fresh;
        stats.pages += pages;
        stats.busy += took;
        stats.longest = stats.longest.max(took);
    }

    /// A commit has failed.
    pub fn fail(&self, why: String) {
        let mut state = self.state();
        state.lost.get_or_insert(Lost(why));
        let waiters = std::mem::take(&mut state.waiters);
        drop(state);
        waiters.into_iter().for_each(Waker::wake);
    }

    /// Asks the committer for a last commit.
    pub fn stop(&self) {
        let mut state = self.state();
        state.stops = true;
        self.call_committer(state);
    }

    /// There is something to do: wakes the committer, thread or task.
    fn call_committer(&self, mut state: MutexGuard<'_, State>) {
        let task = state.committer.take();
        drop(state);
        self.bell.notify_one();
        if let Some(task) = task {
            task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn answers_pass_when_their_promise_is_kept_and_never_behind_a_failure() {
        let gate = Gate::default();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(gate.poll(0, &mut cx).is_ready(), "nothing was promised");
        assert!(gate.poll(2, &mut cx).is_pending());
        gate.publish(1);
        assert!(gate.poll(2, &mut cx).is_pending());
        gate.publish(2);
        assert_eq!(gate.poll(2, &mut cx), Poll::Ready(Ok(())));
        gate.fail("disk".to_owned());
        assert_eq!(gate.poll(2, &mut cx), Poll::Ready(Ok(())), "what is durable stays it");
        assert_eq!(gate.poll(3, &mut cx), Poll::Ready(Err(Lost("disk".to_owned()))));
    }

    #[test]
    fn the_committer_has_work_as_long_as_something_is_wanted() {
        let gate = Gate::default();
        gate.want(3);
        assert!(!gate.wait_for_work(Duration::from_secs(3600)), "wanted: it comes back at once");
        gate.publish(3);
        assert!(!gate.wait_for_work(Duration::from_millis(1)), "nothing is wanted: it comes back when idle");
        gate.stop();
        assert!(gate.wait_for_work(Duration::from_secs(3600)));
    }

    #[test]
    fn a_committer_that_is_a_task_is_woken_by_whoever_wants_a_commit() {
        struct Count(AtomicU64);
        impl std::task::Wake for Count {
            fn wake(self: std::sync::Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let gate = Gate::default();
        let count = std::sync::Arc::new(Count(AtomicU64::new(0)));
        let waker = Waker::from(std::sync::Arc::clone(&count));
        let mut cx = Context::from_waker(&waker);
        let mut work = std::pin::pin!(gate.work());
        assert!(work.as_mut().poll(&mut cx).is_pending(), "nothing is wanted");
        gate.want(1);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(work.as_mut().poll(&mut cx).is_ready());
        gate.publish(1);
        let mut work = std::pin::pin!(gate.work());
        assert!(work.as_mut().poll(&mut cx).is_pending(), "what was wanted is durable");
        gate.stop();
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
        assert!(work.as_mut().poll(&mut cx).is_ready(), "the last one");
    }
}
