//! What exists on the array, in the database and on the hosts, against what should.
//!
//! Everything here is plain values: the runner collects a [`Census`] while nothing is running, the control model supplies
//! the expected [`World`], and each kind of difference names the requirement that it breaks.
//!
//! | difference | requirement |
//! |---|---|
//! | LUN or snapshot that nothing explains, or a missing one | CLU-005 |
//! | LUN of a create that failed | CRE-009 |
//! | two LUNs of one name / of one identity | API-004 / CRE-012 |
//! | LUN of the wrong size / after an extend | CRE-001 / EXT-001 |
//! | LUN in the wrong pool | SCH-001 |
//! | wrong clone depth / parent left after a flatten | CLN-003 / FLT-003 |
//! | snapshot that is not active | SNP-001 |
//! | mapping without attachment / missing mapping | ATT-001 / ATT-004 |
//! | host, group, view or initiator of nobody; job left | CLU-001 |
//! | foreign object changed or gone | CLU-002 |
//! | object listed twice, or not although it lived throughout | CLU-005 and API-012 |
//! | row missing or left over / status that is not so | CLU-005 / OBS-005 |
//! | attachment row left over / missing | ATT-012 / ATT-004 |
//! | quota that does not add up | QTA-001 |
//! | device, map or by-id name left on a host / missing | MPX-007 / ATT-004 |
//! | session or node record left on a host | CLU-001 (CLU-006 while others are attached) |
//! | path or map of the wrong size | EXT-004 |
//! | disk that a guest has of a volume that it should not / two disks of one name | ATT-004 |
//! | rule of its own that a host broke (INV-H1 to INV-H12) | by rule |
//! | temporary file, open flow or worker row left | CLU-001 |

mod array;
mod db;
mod hosts;
mod paged;
#[cfg(test)]
mod tests;

pub use paged::{came_or_went, listed};

use std::collections::BTreeMap;

use sanbench_api::{
    ArrayInventory, AttachmentId, HostCensus, InstanceId, Inventory, SnapshotId, VolumeId, Wwn,
};
use serde::Serialize;

use crate::model::world::World;
use crate::verdict::Finding;

pub(crate) const CHECKER: &str = "census";

/// Blocks of 512 bytes in a GiB.
pub const BLOCKS_PER_GIB: u64 = 1 << 21;

/// Everything that was observed at one quiet moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Census {
    /// The array; `None` without an inventory: array-side differences are then not judged.
    pub array: Option<ArrayInventory>,
    /// The state database.
    pub db: DbCensus,
    /// Each host.
    pub hosts: Vec<HostCensus>,
    /// Temporary files that are still there.
    pub files: Vec<String>,
}

/// The state database.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct DbCensus {
    /// Volume rows that are not deleted.
    pub volumes: Vec<DbVolume>,
    /// Snapshot rows that are not deleted.
    pub snapshots: Vec<DbSnapshot>,
    /// Attachment rows that are not deleted.
    pub attachments: Vec<DbAttachment>,
    /// Block device mappings of the compute service.
    pub mappings: Vec<DbMapping>,
    /// Quota, where it is kept.
    pub quota: Option<Quota>,
    /// Flows of the intent log that have neither ended nor been undone, and worker rows.
    pub open: Vec<String>,
    /// Disks that guests have of volumes without a block device mapping, in words.
    pub disks: Vec<String>,
}

/// A volume row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DbVolume {
    /// Identity.
    pub id: VolumeId,
    /// Status word.
    pub status: String,
    /// Size in GiB.
    pub size_gib: u64,
    /// `host@backend#pool` once scheduled.
    pub host: Option<String>,
    /// It belongs to the workflow itself, and to nobody's quota.
    pub internal: bool,
}

/// A snapshot row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DbSnapshot {
    /// Identity.
    pub id: SnapshotId,
    /// Of which volume.
    pub volume: VolumeId,
    /// Size in GiB of the volume at that time; counts against the same quota as volumes do.
    pub size_gib: u64,
    /// Status word.
    pub status: String,
}

/// An attachment row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DbAttachment {
    /// Identity.
    pub id: AttachmentId,
    /// Which volume.
    pub volume: VolumeId,
    /// Which host.
    pub host: String,
    /// Status word.
    pub status: String,
}

/// A block device mapping: that a guest has, or is to have, a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DbMapping {
    /// Which volume.
    pub volume: VolumeId,
    /// The attachment it belongs to.
    pub attachment: Option<AttachmentId>,
    /// The device that the guest was given, as `/dev/<name>` on its host; `None` while it has none.
    pub path: Option<String>,
    /// Whose disk it is.
    pub guest: InstanceId,
    /// The disk's name in the guest, such as `/dev/vdb`.
    pub disk: String,
}

/// Quota of the project.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Quota {
    /// Volumes in use.
    pub volumes: u64,
    /// GiB in use.
    pub gigabytes: u64,
    /// Snapshots in use.
    pub snapshots: u64,
    /// Sum of everything reserved.
    pub reserved: u64,
}

/// How the driver names things on the array.
pub trait Naming {
    /// LUN name of a volume.
    fn lun(&self, volume: VolumeId) -> String;
    /// Name of a snapshot.
    fn snapshot(&self, snapshot: SnapshotId) -> String;
    /// Name of a host object.
    fn host(&self, host: &str) -> String;
}

/// The names that a driver's own inventory gives.
#[derive(Clone, Copy)]
pub struct DriverNames<'a>(pub &'a dyn Inventory);

impl std::fmt::Debug for DriverNames<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DriverNames")
    }
}

impl Naming for DriverNames<'_> {
    fn lun(&self, volume: VolumeId) -> String {
        self.0.lun_name(&volume)
    }

    fn snapshot(&self, snapshot: SnapshotId) -> String {
        self.0.snapshot_name(&snapshot)
    }

    fn host(&self, host: &str) -> String {
        self.0.host_name(host)
    }
}

/// How to compare.
pub struct Rules<'a> {
    /// Names on the array.
    pub names: &'a dyn Naming,
    /// What was on the array before the run: not ours, and not to be touched.
    pub baseline: &'a ArrayInventory,
    /// Identities that were seen at attach time, for hosts without an array inventory.
    pub wwns: BTreeMap<VolumeId, Wwn>,
    /// Initiator objects may stay on the array (it offers no way to remove them).
    pub initiators_stay: bool,
}

impl std::fmt::Debug for Rules<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules").field("initiators_stay", &self.initiators_stay).finish_non_exhaustive()
    }
}

/// Every difference between one expected world and what was observed.
#[must_use]
pub fn compare(world: &World, observed: &Census, rules: &Rules<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(inventory) = &observed.array {
        array::compare(world, inventory, rules, &mut findings);
    }
    db::compare(world, &observed.db, &mut findings);
    hosts::compare(world, observed, rules, &mut findings);
    for file in &observed.files {
        findings.push(match file.starts_with("/dev/") {
            true => leftover("IMG-010", "file", format!("a regular file has the name of a device: {file}")),
            false => leftover("CLU-001", "file", format!("temporary file {file} is still there")),
        });
    }
    findings
}

/// Something is there that should not be.
fn leftover(requirement: &str, role: &str, message: String) -> Finding {
    Finding::new(requirement, CHECKER, role, "left over")
        .says(message)
        .compared("nothing", format!("a {role}"))
}

/// Something is not there that should be.
fn missing(requirement: &str, role: &str, message: String) -> Finding {
    Finding::new(requirement, CHECKER, role, "missing").says(message).compared(format!("a {role}"), "nothing")
}

/// Two values of one field differ.
fn differs(
    requirement: &str,
    role: &str,
    field: &str,
    message: String,
    expected: impl ToString,
    observed: impl ToString,
) -> Finding {
    Finding::new(requirement, CHECKER, role, field).says(message).compared(expected, observed)
}
