//! Who descends from whom: snapshots by LUN, linked clones by source. An index beside the objects, so that no command has
//! to look through all of them; the audit derives it anew.

use std::collections::{BTreeMap, BTreeSet};

use crate::Array;
use crate::object::DeviceId;

/// The index.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Kin {
    snapshots: BTreeMap<u64, BTreeSet<u64>>,
    clones: BTreeMap<DeviceId, BTreeSet<u64>>,
}

fn drop_from<K: Ord>(index: &mut BTreeMap<K, BTreeSet<u64>>, key: &K, id: u64) {
    if let Some(all) = index.get_mut(key) {
        all.remove(&id);
        if all.is_empty() {
            index.remove(key);
        }
    }
}

impl Kin {
    pub(crate) fn add_snapshot(&mut self, lun: u64, snapshot: u64) {
        self.snapshots.entry(lun).or_default().insert(snapshot);
    }
    pub(crate) fn drop_snapshot(&mut self, lun: u64, snapshot: u64) {
        drop_from(&mut self.snapshots, &lun, snapshot);
    }
    pub(crate) fn add_clone(&mut self, source: DeviceId, lun: u64) {
        self.clones.entry(source).or_default().insert(lun);
    }
    pub(crate) fn drop_clone(&mut self, source: DeviceId, lun: u64) {
        drop_from(&mut self.clones, &source, lun);
    }
}

impl Array {
    /// Ids of the snapshots of a LUN, ascending.
    pub fn snapshots_of(&self, lun: u64) -> impl Iterator<Item = u64> {
        self.kin.snapshots.get(&lun).into_iter().flatten().copied()
    }

    /// Ids of the linked clones of a device, ascending.
    pub fn clones_of(&self, source: DeviceId) -> impl Iterator<Item = u64> {
        self.kin.clones.get(&source).into_iter().flatten().copied()
    }

    pub(crate) fn rebuild_kin(&mut self) {
        self.kin = self.fresh_kin();
    }

    fn fresh_kin(&self) -> Kin {
        let mut fresh = Kin::default();
        self.snapshots.iter().for_each(|snapshot| fresh.add_snapshot(snapshot.parent, snapshot.id));
        for lun in self.luns.iter() {
            lun.origin.iter().for_each(|origin| fresh.add_clone(origin.source, lun.id));
        }
        fresh
    }

    /// Audit: the index says what the objects say.
    pub(crate) fn audit_kin(&self, out: &mut Vec<String>) {
        if self.fresh_kin() != self.kin {
            out.push("the index of descendants is wrong".to_owned());
        }
    }
}
