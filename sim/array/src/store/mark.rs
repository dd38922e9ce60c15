//! Under which number a node, an extent or a layer is kept on disk, and what of a node has changed since it was written.
//! In an array without a journal nothing here ever has a number.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Numbers of things that are gone since somebody last asked.
#[derive(Debug, Default)]
pub(crate) struct Gone(Mutex<Vec<u64>>);

impl Gone {
    fn note(&self, number: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(number);
    }
    /// Takes the numbers.
    pub(crate) fn take(&self) -> Vec<u64> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[derive(Debug)]
struct Kept {
    number: u64,
    gone: Arc<Gone>,
}

/// The number of a thing that is kept on disk, none before it is written the first time. Its end is noted. A copy of the
/// thing is another thing.
#[derive(Debug, Default)]
pub(crate) struct Mark(OnceLock<Kept>);

impl Mark {
    pub(crate) fn number(&self) -> Option<u64> {
        self.0.get().map(|kept| kept.number)
    }

    /// The number, and whether it was given just now: the next one of `last`.
    pub(crate) fn keep(&self, last: &mut u64, gone: &Arc<Gone>) -> (u64, bool) {
        if let Some(number) = self.number() {
            return (number, false);
        }
        *last += 1;
        self.adopt(*last, gone);
        (*last, true)
    }

    /// Gives a thing that comes from disk its number.
    pub(crate) fn adopt(&self, number: u64, gone: &Arc<Gone>) {
        // One that has a number already keeps it; only a caller that reads a thing twice would notice.
        let _ = self.0.set(Kept { number, gone: Arc::clone(gone) });
    }
}

impl Clone for Mark {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        if let Some(kept) = self.0.get() {
            kept.gone.note(kept.number);
        }
    }
}

/// A node of the map: its children, and which of them have changed since the node was last written. There are bits for 256
/// of them; of a root with more children several share a bit.
///
/// Invariant: below a child that is not in the set of touched ones, in any node that holds it, everything is written.
#[derive(Debug, Default)]
pub(crate) struct Node<T> {
    pub(crate) slots: Vec<T>,
    touched: [AtomicU64; 4],
    /// Whether a slot holds something else than when the node was last written.
    reshaped: AtomicBool,
    pub(crate) mark: Mark,
}

impl<T: Clone> Clone for Node<T> {
    fn clone(&self) -> Self {
        Self {
            slots: self.slots.clone(),
            touched: std::array::from_fn(|n| AtomicU64::new(self.touched[n].load(Ordering::Relaxed))),
            reshaped: AtomicBool::new(true),
            mark: Mark::default(),
        }
    }
}

impl<T> Node<T> {
    /// A node that comes from disk.
    pub(crate) fn adopted(slots: Vec<T>, number: u64, gone: &Arc<Gone>) -> Self {
        let node = Self {
            slots,
            touched: Default::default(),
            reshaped: AtomicBool::new(false),
            mark: Mark::default(),
        };
        node.mark.adopt(number, gone);
        node
    }

    /// Something at or below a child changes.
    #[inline]
    pub(crate) fn touch(&mut self, at: usize) {
        *self.touched[at / 64 % 4].get_mut() |= 1 << (at % 64);
    }

    /// A slot gets something else.
    #[inline]
    pub(crate) fn reshape(&mut self) {
        *self.reshaped.get_mut() = true;
    }

    /// The touched children; none is touched afterwards.
    pub(crate) fn take_touched(&self) -> impl Iterator<Item = usize> + use<T> {
        let len = self.slots.len();
        let words: [u64; 4] = std::array::from_fn(|n| self.touched[n].swap(0, Ordering::Relaxed));
        (0..len).filter(move |at| words[at / 64 % 4] >> (at % 64) & 1 == 1)
    }

    /// Whether a slot holds something else; not afterwards.
    pub(crate) fn take_reshaped(&self) -> bool {
        self.reshaped.swap(false, Ordering::Relaxed)
    }
}
