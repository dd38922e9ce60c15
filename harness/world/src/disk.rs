//! What a node keeps when its tasks die.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::lock;

/// Durable storage of a node; it survives a crash of the node's tasks.
///
/// The simulated make keeps objects in memory only; the live make adds a real directory.
pub struct Disk {
    directory: Option<PathBuf>,
    cells: Mutex<BTreeMap<(String, TypeId), Arc<dyn Any + Send + Sync>>>,
}

impl Disk {
    pub(crate) fn new(directory: Option<PathBuf>) -> Disk {
        Disk { directory, cells: Mutex::new(BTreeMap::new()) }
    }

    /// The node's own directory, created before the node started. `None` in the simulation, where no file of the
    /// host may take part in a decision.
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// The object kept under `name`, made by `make` when it is not there yet.
    ///
    /// An object of another type under the same name is another object.
    pub fn cell<T: Any + Send + Sync>(&self, name: &str, make: impl FnOnce() -> T) -> Arc<T> {
        let key = (name.to_owned(), TypeId::of::<T>());
        let found = lock(&self.cells).get(&key).cloned();
        let object = found.unwrap_or_else(|| {
            // `make` runs without the lock: it may use this disk itself. The first one stored wins.
            let fresh: Arc<dyn Any + Send + Sync> = Arc::new(make());
            lock(&self.cells).entry(key).or_insert(fresh).clone()
        });
        object.downcast::<T>().expect("the key holds the type's id")
    }

    /// Forgets the object of type `T` kept under `name`; holders of it keep theirs. Tells whether there was one.
    pub fn remove_cell<T: Any + Send + Sync>(&self, name: &str) -> bool {
        let old = lock(&self.cells).remove(&(name.to_owned(), TypeId::of::<T>()));
        old.is_some()
    }

    /// Takes all objects out, so that the caller can drop them without the lock.
    pub(crate) fn drain(&self) -> Vec<Arc<dyn Any + Send + Sync>> {
        std::mem::take(&mut *lock(&self.cells)).into_values().collect()
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells = lock(&self.cells);
        f.debug_struct("Disk")
            .field("directory", &self.directory)
            .field("cells", &cells.keys().map(|(name, _)| name).collect::<Vec<_>>())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_made_once_and_keyed_by_type() {
        let disk = Disk::new(None);
        let first = disk.cell("db", || Mutex::new(1u32));
        *lock(&first) = 5;
        let again = disk.cell("db", || Mutex::new(9u32));
        assert_eq!(*lock(&again), 5);
        assert_eq!(*disk.cell("db", || String::from("other")), "other");
        assert!(disk.remove_cell::<Mutex<u32>>("db"));
        assert!(!disk.remove_cell::<Mutex<u32>>("db"));
        assert_eq!(*lock(&disk.cell("db", || Mutex::new(9u32))), 9);
    }

    #[test]
    fn making_a_cell_may_use_the_disk() {
        let disk = Disk::new(None);
        let outer = disk.cell("outer", || *disk.cell("inner", || 4u8) + 1);
        assert_eq!(*outer, 5);
    }
}
