//! A map that knows which of its rows have changed since somebody last asked.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::ops::Deref;
use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Rows by key. Reading is reading a [`BTreeMap`]; whatever can change a row notes its key while the map is watched, which
/// it is not at first: an array in memory pays a branch.
#[derive(Debug)]
pub(crate) struct Tracked<K, V> {
    rows: BTreeMap<K, V>,
    touched: BTreeSet<K>,
    watched: bool,
}

impl<K, V> Default for Tracked<K, V> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), touched: BTreeSet::new(), watched: false }
    }
}

impl<K, V> Deref for Tracked<K, V> {
    type Target = BTreeMap<K, V>;
    fn deref(&self) -> &BTreeMap<K, V> {
        &self.rows
    }
}

impl<K: Ord + Clone, V> Tracked<K, V> {
    /// A row to change.
    pub(crate) fn get_mut<Q: Ord + ToOwned<Owned = K> + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let row = self.rows.get_mut(key)?;
        if self.watched {
            self.touched.insert(key.to_owned());
        }
        Some(row)
    }

    /// Inserts or replaces a row; gives the one that was there.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        if self.watched {
            self.touched.insert(key.clone());
        }
        self.rows.insert(key, value)
    }

    /// A row to change, made first if there is none.
    pub(crate) fn or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        if self.watched {
            self.touched.insert(key.clone());
        }
        self.rows.entry(key).or_default()
    }

    /// Removes a row.
    pub(crate) fn remove<Q: Ord + ToOwned<Owned = K> + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let row = self.rows.remove(key)?;
        if self.watched {
            self.touched.insert(key.to_owned());
        }
        Some(row)
    }

    /// Keeps the rows that the closure says to keep.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        let Self { rows, touched, watched } = self;
        rows.retain(|key, row| {
            let stays = keep(key, row);
            if !stays && *watched {
                touched.insert(key.clone());
            }
            stays
        });
    }

    /// Every row, to change.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        if self.watched {
            self.touched.extend(self.rows.keys().cloned());
        }
        self.rows.values_mut()
    }

    /// Keys of rows that changed, came or went.
    pub(crate) fn touched(&self) -> impl Iterator<Item = &K> {
        self.touched.iter()
    }

    /// From now on changes are noted; every row that there is counts as changed.
    pub(crate) fn watch(&mut self) {
        self.watched = true;
        self.touched.extend(self.rows.keys().cloned());
    }
}

/// The state of one object: where it belongs, and what it is. No value: it is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectChange {
    /// Kind of object, for example `lun`.
    pub kind: &'static str,
    /// Key within the kind.
    pub key: String,
    /// JSON.
    pub value: Option<Vec<u8>>,
}

/// A set of objects of one kind as the journal sees it.
pub(crate) trait Shelf {
    /// As [`Tracked::watch`].
    fn watch(&mut self);
    /// Moves what has changed to `out`, each object as it is now.
    fn drain(&mut self, kind: &'static str, out: &mut Vec<ObjectChange>);
    /// Puts an object back that was drained earlier.
    ///
    /// # Errors
    /// Key or value make no sense; the text says why.
    fn load(&mut self, key: &str, value: &[u8]) -> Result<(), String>;
}

impl<K, V> Shelf for Tracked<K, V>
where
    K: Ord + Clone + Display + FromStr,
    V: Serialize + DeserializeOwned,
{
    fn watch(&mut self) {
        Tracked::watch(self);
    }

    fn drain(&mut self, kind: &'static str, out: &mut Vec<ObjectChange>) {
        for key in std::mem::take(&mut self.touched) {
            let value = self.rows.get(&key).map(to_json);
            out.push(ObjectChange { kind, key: key.to_string(), value });
        }
    }

    fn load(&mut self, key: &str, value: &[u8]) -> Result<(), String> {
        let key = key.parse().map_err(|_| "the key is none".to_owned())?;
        self.rows.insert(key, from_json(value)?);
        Ok(())
    }
}

/// A value as JSON.
pub(crate) fn to_json<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value)
        .expect("objects have string keys and finite numbers, so that they have a JSON form")
}

/// A value from JSON.
pub(crate) fn from_json<T: DeserializeOwned>(json: &[u8]) -> Result<T, String> {
    serde_json::from_slice(json).map_err(|error| error.to_string())
}
