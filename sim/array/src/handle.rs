//! The array as several parties of one node share it.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::{Array, Gate};

/// A shared array. Take the lock for one call at a time; never hold it across an await.
#[derive(Debug, Clone)]
pub struct ArrayHandle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    array: Mutex<Array>,
    stirs: Arc<Stirred>,
    gate: Option<Arc<Gate>>,
}

impl ArrayHandle {
    /// Shares an array.
    pub fn new(array: Array) -> Self {
        Self::make(array, None)
    }

    /// Shares an array with a journal: answers wait at the gate until what they acknowledge is durable.
    pub fn with_gate(array: Array, gate: Arc<Gate>) -> Self {
        Self::make(array, Some(gate))
    }

    fn make(array: Array, gate: Option<Arc<Gate>>) -> Self {
        Self(Arc::new(Shared { array: Mutex::new(array), stirs: Arc::default(), gate }))
    }

    /// Where answers wait; none for an array in memory, whose answers never do.
    pub fn gate(&self) -> Option<&Arc<Gate>> {
        self.0.gate.as_ref()
    }

    /// Locks the array. A holder that panicked leaves it usable: every command ends in a whole state or changes nothing.
    pub fn lock(&self) -> ArrayGuard<'_> {
        ArrayGuard {
            array: self.0.array.lock().unwrap_or_else(PoisonError::into_inner),
            stirs: &self.0.stirs,
        }
    }

    /// Puts an array that was made of the journal of this one in its place, in the same world: its time goes on, and so do
    /// its promises, so that nobody takes a new one for one of the old that was kept.
    pub fn replace(&self, mut array: Array) {
        let mut guard = self.lock();
        array.go_on(guard.promised());
        *guard = array;
    }

    /// Wakes whoever waits when the array has something new for those outside of it: a message for another array, an answer
    /// of one, a command that its other half has acknowledged.
    pub fn stirs(&self) -> Stirs {
        Stirs { seen: self.0.stirs.count.load(Ordering::Acquire), stirred: self.0.stirs.clone() }
    }
}

impl From<Array> for ArrayHandle {
    fn from(array: Array) -> Self {
        Self::new(array)
    }
}

/// The locked array.
#[derive(Debug)]
pub struct ArrayGuard<'a> {
    array: MutexGuard<'a, Array>,
    stirs: &'a Stirred,
}

impl Deref for ArrayGuard<'_> {
    type Target = Array;
    fn deref(&self) -> &Array {
        &self.array
    }
}

impl DerefMut for ArrayGuard<'_> {
    fn deref_mut(&mut self) -> &mut Array {
        &mut self.array
    }
}

impl Drop for ArrayGuard<'_> {
    fn drop(&mut self) {
        if self.array.take_stir() {
            self.stirs.count.fetch_add(1, Ordering::Release);
            self.stirs.changes.notify_waiters();
        }
    }
}

/// The stirs of the array ([`Array::take_stir`]). Who waits first wakes first, so that one seed gives one history.
#[derive(Debug, Default)]
struct Stirred {
    count: AtomicU64,
    changes: Notify,
}

/// See [`ArrayHandle::stirs`]. Nothing that stirs after it was made is missed.
#[derive(Debug)]
pub struct Stirs {
    stirred: Arc<Stirred>,
    /// Stirs that were seen.
    seen: u64,
}

impl Stirs {
    /// Waits until something has stirred since the last time. Cancelling it loses nothing.
    pub async fn next(&mut self) {
        loop {
            // Made before the look: what stirs between the two wakes it.
            let change = self.stirred.changes.notified();
            let count = self.stirred.count.load(Ordering::Acquire);
            if count != self.seen {
                self.seen = count;
                return;
            }
            change.await;
        }
    }
}
