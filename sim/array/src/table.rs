//! A table of objects by id, with names that are unique in each vStore.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Refusal;
use crate::durable::{ObjectChange, Shelf, Tracked};

/// An object with an id, and a name in a vStore. It outlasts a restart, hence the form on disk.
pub(crate) trait Row: Serialize + DeserializeOwned {
    fn id(&self) -> u64;
    fn vstore(&self) -> u64;
    fn name(&self) -> &str;
    fn set_name(&mut self, name: String);
}

macro_rules! rows {
    ($($t:ty),*) => { $(impl Row for $t {
        fn id(&self) -> u64 { self.id }
        fn vstore(&self) -> u64 { self.vstore }
        fn name(&self) -> &str { &self.name }
        fn set_name(&mut self, name: String) { self.name = name; }
    })* };
}
use crate::object::{Host, HostGroup, Lun, LunCopy, LunGroup, PortGroup, Snapshot, View};
use crate::services::QosPolicy;
rows!(Lun, Snapshot, LunCopy, Host, HostGroup, LunGroup, PortGroup, View, QosPolicy);

/// Rows ordered by id; names are unique in each vStore.
#[derive(Debug)]
pub(crate) struct Table<T> {
    rows: Tracked<u64, T>,
    /// vStore -> name -> id.
    names: BTreeMap<u64, BTreeMap<String, u64>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { rows: Tracked::default(), names: BTreeMap::new() }
    }
}

impl<T: Row> Table<T> {
    pub(crate) fn get(&self, id: u64) -> Option<&T> {
        self.rows.get(&id)
    }
    pub(crate) fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        self.rows.get_mut(&id)
    }
    pub(crate) fn contains(&self, id: u64) -> bool {
        self.rows.contains_key(&id)
    }
    pub(crate) fn by_name(&self, vstore: u64, name: &str) -> Option<&T> {
        self.names.get(&vstore)?.get(name).and_then(|id| self.rows.get(id))
    }
    /// The rows of a name, the lowest vStore first.
    pub(crate) fn named(&self, name: &str) -> impl Iterator<Item = &T> {
        self.names.values().filter_map(move |names| names.get(name)).filter_map(|id| self.rows.get(id))
    }
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.rows.values()
    }
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.rows.values_mut()
    }
    /// Ids of rows that the journal has not seen as they are now.
    pub(crate) fn touched(&self) -> impl Iterator<Item = u64> {
        self.rows.touched().copied()
    }
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether a new row of a vStore may have this name in a table bounded to `limit` rows.
    pub(crate) fn admits(&self, vstore: u64, name: &str, limit: usize) -> Result<(), Refusal> {
        if self.by_name(vstore, name).is_some() {
            return Err(Refusal::NameExists);
        }
        if self.rows.len() >= limit {
            return Err(Refusal::LimitReached);
        }
        Ok(())
    }

    /// Inserts a row whose name [`Table::admits`] has let pass.
    pub(crate) fn insert(&mut self, row: T) {
        self.names.entry(row.vstore()).or_default().insert(row.name().to_owned(), row.id());
        self.rows.insert(row.id(), row);
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<T> {
        let row = self.rows.remove(&id)?;
        if let Some(names) = self.names.get_mut(&row.vstore()) {
            names.remove(row.name());
            if names.is_empty() {
                self.names.remove(&row.vstore());
            }
        }
        Some(row)
    }

    /// Renames a row; its own name again is no clash. The caller knows that the row exists.
    pub(crate) fn rename(&mut self, id: u64, name: &str) -> Result<(), Refusal> {
        let Some(row) = self.rows.get_mut(&id) else { return Ok(()) };
        let names = self.names.entry(row.vstore()).or_default();
        if names.get(name).is_some_and(|owner| *owner != id) {
            return Err(Refusal::NameExists);
        }
        names.remove(row.name());
        row.set_name(name.to_owned());
        names.insert(name.to_owned(), id);
        Ok(())
    }

    /// Audit: the name index says what the rows say.
    pub(crate) fn audit(&self, kind: &str, out: &mut Vec<String>) {
        let names: usize = self.names.values().map(BTreeMap::len).sum();
        if names != self.rows.len() {
            out.push(format!("{kind}: {names} names for {} rows", self.rows.len()));
        }
        for (id, row) in self.rows.iter() {
            if row.id() != *id || self.by_name(row.vstore(), row.name()).map(Row::id) != Some(*id) {
                out.push(format!("{kind} {id}: name index is wrong"));
            }
        }
    }
}

impl<T: Row> Shelf for Table<T> {
    fn watch(&mut self) {
        self.rows.watch();
    }
    fn drain(&mut self, kind: &'static str, out: &mut Vec<ObjectChange>) {
        self.rows.drain(kind, out);
    }
    fn load(&mut self, key: &str, value: &[u8]) -> Result<(), String> {
        self.rows.load(key, value)?;
        let row =
            key.parse().ok().and_then(|id| self.rows.get(&id)).filter(|row| row.id().to_string() == key);
        let row = row.ok_or("the object has another id")?;
        match self.names.entry(row.vstore()).or_default().insert(row.name().to_owned(), row.id()) {
            None => Ok(()),
            Some(_) => Err("another object has its name".to_owned()),
        }
    }
}
