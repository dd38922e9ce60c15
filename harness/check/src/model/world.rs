//! One possible world: what exists, as far as the workflow's users can know.

use std::collections::{BTreeMap, BTreeSet};

use sanbench_api::{SnapshotId, VolumeId};

/// What a volume depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Parent {
    /// Linked to a volume.
    Volume(VolumeId),
    /// Linked to a snapshot.
    Snapshot(SnapshotId),
}

/// What the database says about an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    /// A row in a settled status.
    Healthy,
    /// No row, or one in an error status.
    Broken,
    /// Nothing is known.
    Any,
    /// No row.
    Gone,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Volume {
    /// Size in GiB.
    pub size_gib: u64,
    /// `host@backend#pool`.
    pub host: String,
    /// What it depends on, on the array.
    pub parent: Option<Parent>,
    /// Hosts that it is attached to.
    pub attached: BTreeSet<String>,
    /// Its row.
    pub row: Row,
    /// It has a LUN. With [`Row::Gone`] that is a silent parent: deleted, but kept for its children.
    pub lun: bool,
    /// It belongs to the workflow itself (image cache).
    pub internal: bool,
    /// It was extended.
    pub extended: bool,
    /// It was flattened after it had been linked.
    pub flattened: bool,
}

impl Volume {
    /// Deleted, but kept on the array for its children.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.lun && self.row == Row::Gone
    }

    /// The pool's name: what follows `#`.
    #[must_use]
    pub fn pool(&self) -> &str {
        self.host.split_once('#').map_or("", |(_, pool)| pool)
    }
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Snapshot {
    /// Of which volume.
    pub volume: VolumeId,
    /// Size in GiB.
    pub size_gib: u64,
    /// Its row.
    pub row: Row,
    /// It exists on the array.
    pub made: bool,
}

/// What exists.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct World {
    /// Volumes, silent parents and failed ones among them.
    pub volumes: BTreeMap<VolumeId, Volume>,
    /// Snapshots.
    pub snapshots: BTreeMap<SnapshotId, Snapshot>,
}

impl World {
    /// The volume, if it exists for its users.
    #[must_use]
    pub fn live(&self, volume: VolumeId) -> Option<&Volume> {
        self.volumes.get(&volume).filter(|volume| volume.lun && volume.row != Row::Gone)
    }

    /// The snapshot, if it exists for its users.
    #[must_use]
    pub fn usable(&self, snapshot: SnapshotId) -> Option<&Snapshot> {
        self.snapshots.get(&snapshot).filter(|snapshot| snapshot.made)
    }

    /// Parent links from a volume to its root.
    #[must_use]
    pub fn depth(&self, volume: VolumeId) -> u32 {
        let mut depth = 0;
        let mut at = self.volumes.get(&volume);
        while let Some(parent) = at.and_then(|volume| volume.parent) {
            depth += 1;
            if depth as usize > self.volumes.len() {
                break; // a circle cannot be made; be safe all the same
            }
            let next = match parent {
                Parent::Volume(id) => Some(id),
                Parent::Snapshot(id) => self.snapshots.get(&id).map(|snapshot| snapshot.volume),
            };
            at = next.and_then(|id| self.volumes.get(&id));
        }
        depth
    }

    /// Volumes linked directly to this parent.
    pub fn children(&self, parent: Parent) -> impl Iterator<Item = VolumeId> {
        self.volumes.iter().filter(move |(_, volume)| volume.parent == Some(parent)).map(|(id, _)| *id)
    }

    /// Snapshots of a volume that exist on the array.
    pub fn snapshots_of(&self, volume: VolumeId) -> impl Iterator<Item = SnapshotId> {
        self.snapshots.iter().filter(move |(_, one)| one.volume == volume && one.made).map(|(id, _)| *id)
    }

    /// Takes a volume's LUN away, or keeps it as a silent parent while something depends on it; then walks up and removes
    /// silent parents that nothing depends on any more.
    pub(super) fn remove_volume(&mut self, id: VolumeId, row: Row) {
        let needed = self.children(Parent::Volume(id)).next().is_some();
        let Some(volume) = self.volumes.get_mut(&id) else { return };
        volume.row = row;
        volume.attached.clear();
        if needed {
            return;
        }
        volume.lun = false;
        let parent = volume.parent.take();
        if row == Row::Gone {
            self.volumes.remove(&id);
        }
        self.prune(parent);
    }

    /// Cuts a volume from its parent; a silent parent without children goes.
    pub(super) fn unlink(&mut self, id: VolumeId) {
        let parent = self.volumes.get_mut(&id).and_then(|volume| {
            volume.flattened |= volume.parent.is_some();
            volume.parent.take()
        });
        self.prune(parent);
    }

    /// Removes a snapshot; what depended on it is flattened first.
    pub(super) fn remove_snapshot(&mut self, id: SnapshotId, row: Row) {
        let children: Vec<VolumeId> = self.children(Parent::Snapshot(id)).collect();
        children.into_iter().for_each(|child| self.unlink(child));
        if row == Row::Gone {
            self.snapshots.remove(&id);
        } else if let Some(snapshot) = self.snapshots.get_mut(&id) {
            snapshot.row = row;
            snapshot.made = false;
        }
    }

    /// Takes the database's word for which rows there are: what was in doubt is whole or gone.
    pub(super) fn rows(&mut self, volumes: &BTreeSet<VolumeId>, snapshots: &BTreeSet<SnapshotId>) {
        let doubtful: Vec<VolumeId> = self
            .volumes
            .iter()
            .filter(|(_, volume)| matches!(volume.row, Row::Any | Row::Broken))
            .map(|(id, _)| *id)
            .collect();
        for id in doubtful {
            if volumes.contains(&id) {
                if let Some(volume) = self.volumes.get_mut(&id) {
                    volume.row = Row::Healthy;
                }
            } else if self.volumes.get(&id).is_some_and(|volume| volume.lun) {
                // A silent parent, or a LUN that should not be: the inventory tells.
                if let Some(volume) = self.volumes.get_mut(&id) {
                    volume.row = Row::Gone;
                    volume.attached.clear();
                }
            } else {
                self.volumes.remove(&id);
            }
        }
        for (id, snapshot) in &mut self.snapshots {
            if matches!(snapshot.row, Row::Any | Row::Broken) && snapshots.contains(id) {
                snapshot.row = Row::Healthy;
            }
        }
        self.snapshots
            .retain(|id, snapshot| snapshot.made || snapshot.row == Row::Healthy || snapshots.contains(id));
    }

    fn prune(&mut self, parent: Option<Parent>) {
        let mut next = parent;
        while let Some(Parent::Volume(id)) = next {
            let silent = self.volumes.get(&id).is_some_and(Volume::is_silent);
            if !silent || self.children(Parent::Volume(id)).next().is_some() {
                return;
            }
            next = self.volumes.remove(&id).and_then(|volume| volume.parent);
        }
    }
}
