//! A value that several tasks watch.
//!
//! The channel of this name in tokio spreads its waiters over several lists by a random number, so tasks that wait for one change
//! wake in another order in every process. Here they wake in the order in which they began to wait.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use thiserror::Error;
use tokio::sync::Notify;

#[derive(Debug)]
struct Shared<T> {
    value: RwLock<T>,
    /// Counts changes; written under the lock of the value.
    version: AtomicU64,
    closed: AtomicBool,
    changes: Notify,
}

impl<T> Shared<T> {
    fn borrow(&self) -> Ref<'_, T> {
        let value = self.value.read().unwrap_or_else(PoisonError::into_inner);
        Ref { version: self.version.load(Ordering::Acquire), value }
    }
}

/// The side that changes the value. Dropping it ends the wait of all receivers.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

/// A side that watches the value.
#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// The version that was seen last.
    seen: u64,
}

/// The value, locked against changes. Do not hold it across an await.
#[derive(Debug)]
pub struct Ref<'a, T> {
    version: u64,
    value: RwLockReadGuard<'a, T>,
}

/// The sender is gone: the value changes no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("nobody changes the value any more")]
pub struct Closed;

impl<T> Deref for Ref<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Sender<T> {
    /// A value that nobody watches yet.
    pub fn new(value: T) -> Self {
        Self(Arc::new(Shared {
            value: RwLock::new(value),
            version: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            changes: Notify::new(),
        }))
    }

    /// The value now.
    pub fn borrow(&self) -> Ref<'_, T> {
        self.0.borrow()
    }

    /// Watches from now on: the present value counts as seen.
    pub fn subscribe(&self) -> Receiver<T> {
        let seen = self.0.borrow().version;
        Receiver { shared: self.0.clone(), seen }
    }

    /// Puts another value in place of this one, wakes all who wait, and answers the old value.
    pub fn send_replace(&self, value: T) -> T {
        let mut old = value;
        self.send_modify(|value| std::mem::swap(value, &mut old));
        old
    }

    /// Changes the value and wakes all who wait.
    pub fn send_modify(&self, change: impl FnOnce(&mut T)) {
        self.send_if_modified(|value| {
            change(value);
            true
        });
    }

    /// Changes the value; wakes all who wait if the closure says that it did.
    pub fn send_if_modified(&self, change: impl FnOnce(&mut T) -> bool) -> bool {
        let changed = {
            let mut value = self.0.value.write().unwrap_or_else(PoisonError::into_inner);
            let changed = change(&mut value);
            if changed {
                self.0.version.fetch_add(1, Ordering::Release);
            }
            changed
        };
        if changed {
            self.0.changes.notify_waiters();
        }
        changed
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.changes.notify_waiters();
    }
}

impl<T> Receiver<T> {
    /// The value now; what was seen before stays what was seen last.
    pub fn borrow(&self) -> Ref<'_, T> {
        self.shared.borrow()
    }

    /// The value now, which counts as seen.
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let value = self.shared.borrow();
        self.seen = value.version;
        value
    }

    /// Whether the value is another than the one that was seen last.
    ///
    /// # Errors
    /// [`Closed`].
    pub fn has_changed(&self) -> Result<bool, Closed> {
        match self.shared.closed.load(Ordering::Acquire) {
            true => Err(Closed),
            false => Ok(self.shared.version.load(Ordering::Acquire) != self.seen),
        }
    }

    /// Waits until the value is another than the one that was seen last, and counts it as seen. Cancelling it loses nothing.
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn changed(&mut self) -> Result<(), Closed> {
        loop {
            // Made before the look: what changes between the two wakes it.
            let change = self.shared.changes.notified();
            let version = self.shared.version.load(Ordering::Acquire);
            if version != self.seen {
                self.seen = version;
                return Ok(());
            }
            if self.shared.closed.load(Ordering::Acquire) {
                return Err(Closed);
            }
            change.await;
        }
    }

    /// Waits until the value is as wanted; it may be so already.
    ///
    /// # Errors
    /// [`Closed`] when it is not, and never will be.
    pub async fn wait_for(&mut self, mut wanted: impl FnMut(&T) -> bool) -> Result<T, Closed>
    where
        T: Clone,
    {
        loop {
            {
                let value = self.borrow_and_update();
                if wanted(&value) {
                    return Ok(value.clone());
                }
            }
            self.changed().await?;
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), seen: self.seen }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio_test::{assert_pending, assert_ready_eq, task};

    use super::*;

    #[test]
    fn a_change_is_seen_once_and_the_end_after_it() {
        let sender = Sender::new(1);
        let mut receiver = sender.subscribe();
        assert_pending!(task::spawn(receiver.changed()).poll());
        sender.send_replace(2);
        assert!(!sender.send_if_modified(|_| false));
        assert_ready_eq!(task::spawn(receiver.changed()).poll(), Ok(()));
        assert_eq!(*receiver.borrow(), 2);
        assert_pending!(task::spawn(receiver.changed()).poll());
        sender.send_modify(|value| *value += 1);
        drop(sender);
        assert_ready_eq!(task::spawn(receiver.changed()).poll(), Ok(()));
        assert_ready_eq!(task::spawn(receiver.changed()).poll(), Err(Closed));
        assert_ready_eq!(task::spawn(receiver.wait_for(|value| *value == 3)).poll(), Ok(3));
        assert_ready_eq!(task::spawn(receiver.wait_for(|value| *value == 4)).poll(), Err(Closed));
    }

    #[test]
    fn who_waits_first_wakes_first() {
        let woken = Arc::new(Mutex::new(Vec::new()));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(tokio::task::LocalSet::new().run_until(async {
            let sender = Sender::new(0);
            let tasks: Vec<_> = (0..40)
                .map(|n| {
                    let (mut receiver, woken) = (sender.subscribe(), woken.clone());
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "the order of a runtime's own tasks is what is looked at"
                    )]
                    tokio::task::spawn_local(async move {
                        receiver.changed().await.unwrap();
                        woken.lock().unwrap().push(n);
                    })
                })
                .collect();
            tokio::task::yield_now().await;
            sender.send_replace(1);
            for task in tasks {
                task.await.unwrap();
            }
        }));
        assert_eq!(*woken.lock().unwrap(), (0..40).collect::<Vec<_>>());
    }
}
