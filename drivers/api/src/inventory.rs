//! What exists on an array, as its own management API lists it. The model is compared with this, never with the
//! inside of the array.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{DriverError, SnapshotId, VolumeId, Wwn};

/// Kinds of array objects that the census counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectKind {
    /// LUN.
    Lun,
    /// Snapshot.
    Snapshot,
    /// Host.
    Host,
    /// Host group.
    HostGroup,
    /// LUN group.
    LunGroup,
    /// Mapping view.
    MappingView,
    /// iSCSI initiator.
    Initiator,
    /// Background job: LUN copy or clone pair.
    Job,
}

/// One array object by kind and the array's own id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Kind.
    pub kind: ObjectKind,
    /// The array's id.
    pub id: String,
    /// Its name, for people.
    pub name: String,
}

/// The parent of a linked clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParentLink {
    /// Cloned from a LUN (array id).
    Lun(String),
    /// Cloned from a snapshot (array id).
    Snapshot(String),
}

/// A LUN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LunEntry {
    /// The array's id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Identity.
    pub wwn: Wwn,
    /// Capacity in 512-byte blocks.
    pub blocks: u64,
    /// Name of the pool that holds it.
    pub pool: String,
    /// Link to what it was cloned from, while it depends on it.
    pub parent: Option<ParentLink>,
    /// Mapped to at least one host.
    pub mapped: bool,
    /// Description text as stored on the array.
    pub description: String,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotEntry {
    /// The array's id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Array id of the LUN it was taken of.
    pub lun: String,
    /// Capacity in 512-byte blocks.
    pub blocks: u64,
    /// Content is frozen and usable.
    pub active: bool,
    /// Description text as stored on the array.
    pub description: String,
}

/// A host object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostEntry {
    /// The array's id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Initiators bound to it (IQNs).
    pub initiators: Vec<String>,
}

/// An initiator object; it survives unbinding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitiatorEntry {
    /// IQN.
    pub iqn: String,
    /// Array id of the host it is bound to.
    pub host: Option<String>,
}

/// A host group or LUN group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupEntry {
    /// The array's id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Array ids of members (hosts, or LUNs; snapshots are prefixed `snapshot:`).
    pub members: Vec<String>,
    /// Array id of the host that the driver made it for, when its name tells: an empty group belongs to somebody too.
    #[serde(default)]
    pub made_for: Option<String>,
}

/// A mapping view: one host group and one LUN group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewEntry {
    /// The array's id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Array id of its host group.
    pub host_group: Option<String>,
    /// Array id of its LUN group.
    pub lun_group: Option<String>,
    /// Array id of the host that the driver made it for, when its name tells.
    #[serde(default)]
    pub made_for: Option<String>,
}

/// A background job object (LUN copy, clone pair).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEntry {
    /// The array's id.
    pub id: String,
    /// Name or kind.
    pub name: String,
    /// Array id of the LUN that it writes, where the driver tells: a job without a name of its own belongs to whoever has that.
    #[serde(default)]
    pub lun: Option<String>,
}

/// Everything that the bench can see on an array, each list ordered by id.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ArrayInventory {
    /// LUNs.
    pub luns: Vec<LunEntry>,
    /// Snapshots.
    pub snapshots: Vec<SnapshotEntry>,
    /// Hosts.
    pub hosts: Vec<HostEntry>,
    /// Initiators.
    pub initiators: Vec<InitiatorEntry>,
    /// Host groups.
    pub host_groups: Vec<GroupEntry>,
    /// LUN groups.
    pub lun_groups: Vec<GroupEntry>,
    /// Mapping views.
    pub views: Vec<ViewEntry>,
    /// Jobs.
    pub jobs: Vec<JobEntry>,
}

impl ArrayInventory {
    /// The LUN of that name.
    pub fn lun_by_name(&self, name: &str) -> Option<&LunEntry> {
        self.luns.iter().find(|l| l.name == name)
    }

    /// Parent links from this LUN to its root, snapshot-made links included; `None` when a link leads nowhere or in
    /// a circle.
    pub fn depth(&self, lun_id: &str) -> Option<u32> {
        let mut depth = 0;
        let mut at = self.luns.iter().find(|l| l.id == lun_id)?;
        while let Some(parent) = &at.parent {
            depth += 1;
            if depth as usize > self.luns.len() {
                return None;
            }
            let next = match parent {
                ParentLink::Lun(id) => id.clone(),
                ParentLink::Snapshot(id) => self.snapshots.iter().find(|s| s.id == *id)?.lun.clone(),
            };
            at = self.luns.iter().find(|l| l.id == next)?;
        }
        Some(depth)
    }
}

/// Optional listing and clean-up of a back end. A driver without it is judged without array-side census.
#[async_trait]
pub trait Inventory: Send + Sync {
    /// Everything visible with the configured credentials. Read-only.
    async fn list(&self) -> Result<ArrayInventory, DriverError>;

    /// The array-side LUN name of a volume (by its name id). Deterministic, the same on every node.
    fn lun_name(&self, name_id: &VolumeId) -> String;

    /// The array-side name of a snapshot.
    fn snapshot_name(&self, id: &SnapshotId) -> String;

    /// The array-side name that a host of this host name gets.
    fn host_name(&self, host: &str) -> String;

    /// Removes one object for clean-up, with whatever unmapping it needs first. Missing is success.
    async fn remove(&self, object: &ObjectRef) -> Result<(), DriverError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lun(id: &str, parent: Option<ParentLink>) -> LunEntry {
        LunEntry {
            id: id.into(),
            name: format!("lun-{id}"),
            wwn: Wwn([0; 16]),
            blocks: 1,
            pool: "pool0".into(),
            parent,
            mapped: false,
            description: String::new(),
        }
    }

    #[test]
    fn depth_counts_snapshot_links_and_refuses_circles_and_dangling_links() {
        let snapshot = SnapshotEntry {
            id: "9".into(),
            name: "s".into(),
            lun: "1".into(),
            blocks: 1,
            active: true,
            description: String::new(),
        };
        let inventory = ArrayInventory {
            luns: vec![
                lun("0", None),
                lun("1", Some(ParentLink::Lun("0".into()))),
                lun("2", Some(ParentLink::Snapshot("9".into()))),
                lun("3", Some(ParentLink::Lun("4".into()))),
                lun("4", Some(ParentLink::Lun("3".into()))),
                lun("5", Some(ParentLink::Snapshot("404".into()))),
            ],
            snapshots: vec![snapshot],
            ..ArrayInventory::default()
        };
        let depths: Vec<_> = (0..6).map(|id| inventory.depth(&id.to_string())).collect();
        assert_eq!(depths, [Some(0), Some(1), Some(2), None, None, None]);
        assert_eq!(inventory.depth("missing"), None);
    }
}
