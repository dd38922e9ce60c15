//! The array as several parties of one node share it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Array;

/// A shared array. Take the lock for one call at a time; never hold it across an await.
#[derive(Debug, Clone)]
pub struct ArrayHandle(Arc<Mutex<Array>>);

impl ArrayHandle {
    /// Shares an array.
    pub fn new(array: Array) -> Self {
        Self(Arc::new(Mutex::new(array)))
    }

    /// Locks the array. A holder that panicked leaves it usable: every command ends in a whole state or changes nothing.
    pub fn lock(&self) -> MutexGuard<'_, Array> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<Array> for ArrayHandle {
    fn from(array: Array) -> Self {
        Self::new(array)
    }
}
