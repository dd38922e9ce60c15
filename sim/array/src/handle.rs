//! The array as several parties of one node share it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Array, Gate};

/// A shared array. Take the lock for one call at a time; never hold it across an await.
#[derive(Debug, Clone)]
pub struct ArrayHandle {
    array: Arc<Mutex<Array>>,
    gate: Option<Arc<Gate>>,
}

impl ArrayHandle {
    /// Shares an array.
    pub fn new(array: Array) -> Self {
        Self { array: Arc::new(Mutex::new(array)), gate: None }
    }

    /// Shares an array with a journal: answers wait at the gate until what they acknowledge is durable.
    pub fn with_gate(array: Array, gate: Arc<Gate>) -> Self {
        Self { array: Arc::new(Mutex::new(array)), gate: Some(gate) }
    }

    /// Where answers wait; none for an array in memory, whose answers never do.
    pub fn gate(&self) -> Option<&Arc<Gate>> {
        self.gate.as_ref()
    }

    /// Locks the array. A holder that panicked leaves it usable: every command ends in a whole state or changes nothing.
    pub fn lock(&self) -> MutexGuard<'_, Array> {
        self.array.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<Array> for ArrayHandle {
    fn from(array: Array) -> Self {
        Self::new(array)
    }
}
