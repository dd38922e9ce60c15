//! The sum of all changes in memory.

use std::collections::BTreeMap;

use sanbench_array::{EXTENT_PAGES, Saved, SavedExtent, SavedNode, SavedObject};

use crate::disk::{Commit, Contents};

/// Objects, nodes and extents as commits have left them.
#[derive(Debug, Default, Clone)]
pub struct Rows {
    objects: BTreeMap<(String, String), Vec<u8>>,
    nodes: BTreeMap<u64, SavedNode>,
    extents: BTreeMap<u64, (SavedExtent, [u32; EXTENT_PAGES])>,
}

impl Rows {
    /// What a commit makes of them.
    pub fn apply(&mut self, Commit { changes, sums, .. }: Commit<'_>) {
        for object in &changes.objects {
            let key = (object.kind.to_owned(), object.key.clone());
            match &object.value {
                Some(value) => drop(self.objects.insert(key, value.clone())),
                None => drop(self.objects.remove(&key)),
            }
        }
        // What is gone first: no number comes twice.
        for number in &changes.nodes_gone {
            self.nodes.remove(number);
        }
        for number in &changes.extents_gone {
            self.extents.remove(number);
        }
        self.nodes.extend(changes.nodes.iter().map(|node| (node.number, node.clone())));
        let extents = changes.extents.iter().zip(sums);
        self.extents.extend(extents.map(|(extent, sums)| (extent.number, (*extent, *sums))));
    }

    /// The value of an object.
    pub fn object(&self, kind: &str, key: &str) -> Option<&[u8]> {
        self.objects.get(&(kind.to_owned(), key.to_owned())).map(Vec::as_slice)
    }

    /// All of them, for an array that is made again.
    pub fn contents(&self) -> Contents {
        let objects = self.objects.iter().map(|((kind, key), value)| SavedObject {
            kind: kind.clone(),
            key: key.clone(),
            value: value.clone(),
        });
        let pairs = self.extents.values().flat_map(|(extent, sums)| extent.places.into_iter().zip(*sums));
        Contents {
            saved: Saved {
                objects: objects.collect(),
                nodes: self.nodes.values().cloned().collect(),
                extents: self.extents.values().map(|(extent, _)| *extent).collect(),
            },
            pages: pairs.filter(|(place, _)| *place != 0).collect(),
        }
    }
}
