//! Which volumes, snapshots and attachments must exist, predicted from operations and answers alone.
//!
//! A failed operation is an unknown, not a no: where its outcome is not known, the model goes on in both worlds until an
//! observation (an inventory, or a later answer) rules one out. No world left is the failure.

use std::collections::{BTreeMap, BTreeSet};

use sanbench_api::{SnapshotId, VolumeId};
use serde::Serialize;

use super::world::{Parent, Row, Snapshot, Volume, World};
use crate::census::{self, Census, Rules};
use crate::depth;
use crate::verdict::Finding;

/// Worlds kept side by side. Beyond it the model forgets some and says so ([`ControlModel::overflowed`]).
pub const MOST_WORLDS: usize = 64;

const CHECKER: &str = "control";

/// Where a new volume's content comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Empty, or an image: no dependency.
    Blank,
    /// Cloned from a volume.
    Volume(VolumeId),
    /// From a snapshot.
    Snapshot(SnapshotId),
}

/// An operation of the workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// A new volume.
    CreateVolume {
        /// Identity.
        id: VolumeId,
        /// Size in GiB.
        size_gib: u64,
        /// `host@backend#pool`; empty while nothing was scheduled.
        host: String,
        /// Content.
        source: Source,
        /// It belongs to the workflow itself (image cache).
        internal: bool,
    },
    /// Delete a volume.
    DeleteVolume {
        /// Which.
        id: VolumeId,
    },
    /// Grow a volume.
    Extend {
        /// Which.
        id: VolumeId,
        /// New absolute size in GiB.
        size_gib: u64,
    },
    /// A new snapshot.
    CreateSnapshot {
        /// Identity.
        id: SnapshotId,
        /// Of which volume.
        volume: VolumeId,
    },
    /// Delete a snapshot.
    DeleteSnapshot {
        /// Which.
        id: SnapshotId,
    },
    /// Make a volume independent.
    Flatten {
        /// Which.
        id: VolumeId,
    },
    /// Attach to a host.
    Attach {
        /// Which volume.
        volume: VolumeId,
        /// Which host.
        host: String,
    },
    /// Detach from a host.
    Detach {
        /// Which volume.
        volume: VolumeId,
        /// Which host.
        host: String,
    },
}

/// How an operation was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It succeeded.
    Done,
    /// It was refused: nothing changed, except that a row in an error status may remain of a create.
    Refused,
    /// It failed and what it had begun was undone; rows may be in an error status.
    Failed,
    /// Its outcome is not known (time-out, crash, lost answer).
    Unknown,
}

/// What a back end was configured to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackendRules {
    /// Clone depth limit in force; 0 or less means full copies.
    pub clone_depth_limit: i64,
    /// Volumes from snapshots are flattened.
    pub flatten_from_snapshot: bool,
    /// Clones are linked at all (otherwise every one is a full copy).
    pub linked_clones: bool,
    /// Volumes may be attached to several hosts.
    pub multiattach: bool,
}

impl Default for BackendRules {
    fn default() -> Self {
        Self { clone_depth_limit: 5, flatten_from_snapshot: false, linked_clones: true, multiattach: false }
    }
}

/// The model: a small set of possible worlds.
#[derive(Debug, Clone)]
pub struct ControlModel {
    pub(super) worlds: Vec<World>,
    widest: usize,
    pub(super) overflowed: bool,
    rules: BTreeMap<String, BackendRules>,
}

impl Default for ControlModel {
    fn default() -> Self {
        Self { worlds: vec![World::default()], widest: 1, overflowed: false, rules: BTreeMap::new() }
    }
}

impl ControlModel {
    /// Sets what a back end (`host@backend`) does from now on.
    pub fn set_backend(&mut self, backend: &str, rules: BackendRules) {
        self.rules.insert(backend.to_owned(), rules);
    }

    /// The rules of the back end that `host@backend#pool` belongs to; the defaults if none were set.
    #[must_use]
    pub fn backend(&self, host: &str) -> BackendRules {
        let backend = host.split('#').next().unwrap_or(host);
        self.rules.get(backend).copied().unwrap_or_default()
    }

    /// The worlds that are still possible; never empty.
    #[must_use]
    pub fn worlds(&self) -> &[World] {
        &self.worlds
    }

    /// The world, when there is no doubt.
    #[must_use]
    pub fn settled(&self) -> Option<&World> {
        match &self.worlds[..] {
            [world] if !self.overflowed => Some(world),
            _ => None,
        }
    }

    /// Worlds that were possible at a time, at most.
    #[must_use]
    pub fn widest(&self) -> usize {
        self.widest
    }

    /// Too many worlds were possible at some time: from then on a mismatch proves nothing.
    #[must_use]
    pub fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// Depth that the volume must have on the array, when all worlds agree.
    #[must_use]
    pub fn expected_depth(&self, volume: VolumeId) -> Option<u32> {
        let first = self.worlds.first()?.depth(volume);
        self.worlds.iter().all(|world| world.depth(volume) == first).then_some(first)
    }

    /// Volumes that may be linked to this one, or to one of its snapshots, on the array: in the world that has most of them.
    #[must_use]
    pub fn most_linked(&self, volume: VolumeId) -> usize {
        let linked = |world: &World| {
            let of = |parent: Parent| match parent {
                Parent::Volume(id) => id == volume,
                Parent::Snapshot(id) => world.snapshots.get(&id).is_some_and(|s| s.volume == volume),
            };
            world.volumes.values().filter(|child| child.parent.is_some_and(of)).count()
        };
        self.worlds.iter().map(linked).max().unwrap_or(0)
    }

    /// Takes an operation and its answer. A success that no world allows is a finding.
    pub fn complete(&mut self, operation: &Operation, answer: Answer) -> Vec<Finding> {
        let mut findings = Vec::new();
        if answer == Answer::Done {
            let verdicts: Vec<Option<Finding>> =
                self.worlds.iter().map(|world| self.forbidden(world, operation)).collect();
            if verdicts.iter().all(Option::is_some) {
                findings.extend(verdicts.into_iter().flatten().next());
            } else {
                // The success itself rules out the worlds in which it could not be.
                let mut verdicts = verdicts.into_iter();
                self.worlds.retain(|_| verdicts.next().flatten().is_none());
            }
        }
        let next: Vec<World> =
            self.worlds.iter().flat_map(|world| self.outcomes(world, operation, answer)).collect();
        self.settle(next);
        findings
    }

    /// Rules out the worlds for which `possible` is false. If none is left, that is a finding, and the worlds stay.
    pub fn observe(&mut self, what: &str, possible: impl Fn(&World) -> bool) -> Vec<Finding> {
        let kept: Vec<World> = self.worlds.iter().filter(|world| possible(world)).cloned().collect();
        if !kept.is_empty() {
            self.worlds = kept;
            return Vec::new();
        }
        if self.overflowed {
            return Vec::new();
        }
        let count = self.worlds.len();
        vec![
            Finding::new("CON-001", CHECKER, "world", "impossible")
                .says(format!("{what} fits none of the {count} possible outcomes"))
                .compared("one of the possible outcomes", what),
        ]
    }

    /// Once everything has come to rest, the database's word for which rows there are is final: what was in doubt is whole
    /// or gone. What the rows say is for the next inventory.
    pub fn rest(&mut self, volumes: &BTreeSet<VolumeId>, snapshots: &BTreeSet<SnapshotId>) {
        let mut worlds = std::mem::take(&mut self.worlds);
        worlds.iter_mut().for_each(|world| world.rows(volumes, snapshots));
        self.settle(worlds);
    }

    /// Compares an inventory with every possible world. Worlds that fit stay; if none fits, the findings are those of the
    /// world that comes closest, and the model goes on from there.
    pub fn judge(&mut self, observed: &Census, rules: &Rules<'_>) -> Vec<Finding> {
        let mut compared: Vec<(World, Vec<Finding>)> = std::mem::take(&mut self.worlds)
            .into_iter()
            .map(|world| {
                let findings = census::compare(&world, observed, rules);
                (world, findings)
            })
            .collect();
        let fewest = compared.iter().map(|(_, findings)| findings.len()).min().unwrap_or(0);
        if fewest == 0 {
            self.worlds =
                compared.into_iter().filter(|(_, f)| f.is_empty()).map(|(world, _)| world).collect();
            return Vec::new();
        }
        let closest = compared.iter().position(|(_, findings)| findings.len() == fewest).unwrap_or(0);
        let (world, findings) = compared.swap_remove(closest);
        self.worlds = vec![world];
        if self.overflowed { Vec::new() } else { findings }
    }

    pub(super) fn settle(&mut self, mut next: Vec<World>) {
        next.sort();
        next.dedup();
        if next.len() > MOST_WORLDS {
            next.truncate(MOST_WORLDS);
            self.overflowed = true;
        }
        self.widest = self.widest.max(next.len());
        self.worlds = next;
    }

    /// Why this operation must not succeed in this world.
    pub(super) fn forbidden(&self, world: &World, operation: &Operation) -> Option<Finding> {
        let wrong = |requirement: &str, field: &str, message: String, expected: &str| {
            let finding = Finding::new(requirement, CHECKER, "operation", field);
            Some(finding.says(message).compared(expected, "it succeeded"))
        };
        let absent =
            |field: &str, message: String| wrong("OBS-005", &format!("no {field}"), message, "a refusal");
        match operation {
            Operation::CreateVolume { id, size_gib, source, .. } => {
                if world.volumes.get(id).is_some_and(|volume| volume.row == Row::Healthy) {
                    return wrong("CRE-003", "exists", format!("volume {id} was created twice"), "a refusal");
                }
                let (source_gib, requirement) = match source {
                    Source::Blank => return None,
                    Source::Volume(from) => (world.live(*from).map(|v| v.size_gib), "CLN-005"),
                    Source::Snapshot(from) => (world.usable(*from).map(|s| s.size_gib), "SNP-006"),
                };
                match source_gib {
                    Some(source_gib) if *size_gib < source_gib => {
                        let message = format!("volume {id} of {size_gib} GiB was made from {source_gib} GiB");
                        wrong(requirement, "smaller", message, "a refusal: the source does not fit")
                    }
                    Some(_) => None,
                    None => absent("source", format!("volume {id} was made from nothing that exists")),
                }
            }
            Operation::DeleteVolume { id } => {
                let volume = world.volumes.get(id)?;
                if !volume.attached.is_empty() {
                    return wrong(
                        "CRE-008",
                        "attached",
                        format!("volume {id} was deleted while attached"),
                        "busy",
                    );
                }
                if world.snapshots_of(*id).next().is_some() {
                    return wrong(
                        "CRE-008",
                        "snapshots",
                        format!("volume {id} was deleted with snapshots"),
                        "busy",
                    );
                }
                None
            }
            Operation::Extend { id, size_gib } => {
                let Some(size) = world.live(*id).map(|volume| volume.size_gib) else {
                    return absent("volume", format!("volume {id}, which does not exist, was extended"));
                };
                if *size_gib > size {
                    return None;
                }
                let message = format!("volume {id} of {size} GiB was extended to {size_gib} GiB");
                wrong("EXT-002", "not larger", message, "a refusal with no change")
            }
            Operation::Attach { volume: id, host } => {
                let Some(volume) = world.live(*id) else {
                    return absent("volume", format!("volume {id}, which does not exist, was attached"));
                };
                let elsewhere = volume.attached.iter().any(|other| other != host);
                if elsewhere && !self.backend(&volume.host).multiattach {
                    let message = format!("volume {id} was attached to {host} while attached elsewhere");
                    return wrong("ATT-009", "second host", message, "a refusal");
                }
                None
            }
            Operation::CreateSnapshot { id, volume } if world.live(*volume).is_none() => {
                absent("volume", format!("snapshot {id} was taken of nothing that exists"))
            }
            Operation::Flatten { id } if world.live(*id).is_none() => {
                absent("volume", format!("volume {id}, which does not exist, was flattened"))
            }
            // Removing what is not there is success.
            Operation::CreateSnapshot { .. }
            | Operation::DeleteSnapshot { .. }
            | Operation::Flatten { .. }
            | Operation::Detach { .. } => None,
        }
    }

    /// The worlds that may follow.
    pub(super) fn outcomes(&self, world: &World, operation: &Operation, answer: Answer) -> Vec<World> {
        let creates = matches!(operation, Operation::CreateVolume { .. } | Operation::CreateSnapshot { .. });
        let row = match answer {
            Answer::Done => return vec![self.done(world, operation, Row::Healthy, Row::Gone)],
            Answer::Refused => return vec![refused(world, operation)],
            Answer::Failed if creates => Row::Broken,
            // Some failures leave an error status, others the status before.
            Answer::Failed | Answer::Unknown => Row::Any,
        };
        let mut unchanged = refused(world, operation);
        mark(&mut unchanged, operation, row);
        // A failed create or attach has undone its work; of everything else the effect may remain.
        if answer == Answer::Failed && (creates || matches!(operation, Operation::Attach { .. })) {
            return vec![unchanged];
        }
        if self.forbidden(world, operation).is_some() {
            return vec![unchanged];
        }
        let mut worlds = vec![unchanged, self.done(world, operation, row, row)];
        if let Operation::DeleteSnapshot { id } = operation {
            // What depends on it is flattened first, and the rest may not have happened.
            let mut halfway = world.clone();
            let children: Vec<VolumeId> = world.children(Parent::Snapshot(*id)).collect();
            children.into_iter().for_each(|child| halfway.unlink(child));
            mark(&mut halfway, operation, row);
            worlds.push(halfway);
        }
        worlds
    }

    /// The world in which the operation took effect; `made` and `gone` are the rows of what it made or removed.
    fn done(&self, world: &World, operation: &Operation, made: Row, gone: Row) -> World {
        let mut world = world.clone();
        match operation {
            Operation::CreateVolume { id, size_gib, host, source, internal } => {
                if let Some(volume) = world.volumes.get_mut(id).filter(|volume| volume.lun) {
                    volume.row = made; // a repeated create adopts what it finds
                    return world;
                }
                let volume = Volume {
                    size_gib: *size_gib,
                    host: host.clone(),
                    parent: self.parent(&world, host, *source),
                    attached: Default::default(),
                    row: made,
                    lun: true,
                    internal: *internal,
                    extended: false,
                    flattened: false,
                };
                world.volumes.insert(*id, volume);
            }
            Operation::DeleteVolume { id } => world.remove_volume(*id, gone),
            Operation::Extend { id, size_gib } => {
                if let Some(volume) = world.volumes.get_mut(id) {
                    volume.size_gib = volume.size_gib.max(*size_gib);
                    volume.extended = true;
                    volume.row = made;
                }
            }
            Operation::CreateSnapshot { id, volume } => {
                if let Some(snapshot) = world.snapshots.get_mut(id).filter(|snapshot| snapshot.made) {
                    snapshot.row = made;
                    return world;
                }
                let size_gib = world.volumes.get(volume).map_or(0, |volume| volume.size_gib);
                world.snapshots.insert(*id, Snapshot { volume: *volume, size_gib, row: made, made: true });
            }
            Operation::DeleteSnapshot { id } => world.remove_snapshot(*id, gone),
            Operation::Flatten { id } => {
                world.unlink(*id);
                if let Some(volume) = world.volumes.get_mut(id) {
                    volume.row = made;
                }
            }
            Operation::Attach { volume, host } => {
                if let Some(volume) = world.volumes.get_mut(volume) {
                    volume.attached.insert(host.clone());
                    volume.row = made;
                }
            }
            Operation::Detach { volume, host } => {
                if let Some(volume) = world.volumes.get_mut(volume) {
                    volume.attached.remove(host);
                    volume.row = made;
                }
            }
        }
        world
    }

    /// The link that a new volume keeps once its creation has succeeded.
    fn parent(&self, world: &World, host: &str, source: Source) -> Option<Parent> {
        let rules = self.backend(host);
        let (parent, below) = match source {
            Source::Blank => return None,
            Source::Volume(id) => (Parent::Volume(id), world.live(id).map(|_| id)?),
            Source::Snapshot(_) if rules.flatten_from_snapshot => return None,
            Source::Snapshot(id) => (Parent::Snapshot(id), world.usable(id)?.volume),
        };
        let linked = rules.linked_clones && !depth::must_flatten(world.depth(below), rules.clone_depth_limit);
        linked.then_some(parent)
    }
}

/// The world after a refusal: unchanged, but for the row that a refused create may leave.
fn refused(world: &World, operation: &Operation) -> World {
    let mut world = world.clone();
    match operation {
        Operation::CreateVolume { id, size_gib, host, internal, .. } => {
            world.volumes.entry(*id).or_insert_with(|| Volume {
                size_gib: *size_gib,
                host: host.clone(),
                parent: None,
                attached: Default::default(),
                row: Row::Broken,
                lun: false,
                internal: *internal,
                extended: false,
                flattened: false,
            });
        }
        Operation::CreateSnapshot { id, volume } => {
            world.snapshots.entry(*id).or_insert(Snapshot {
                volume: *volume,
                size_gib: 0,
                row: Row::Broken,
                made: false,
            });
        }
        _ => {}
    }
    world
}

/// Sets the row of what the operation is about.
fn mark(world: &mut World, operation: &Operation, row: Row) {
    match operation {
        Operation::CreateSnapshot { id, .. } | Operation::DeleteSnapshot { id } => {
            if let Some(snapshot) = world.snapshots.get_mut(id) {
                snapshot.row = row;
            }
        }
        Operation::CreateVolume { id, .. }
        | Operation::DeleteVolume { id }
        | Operation::Extend { id, .. }
        | Operation::Flatten { id }
        | Operation::Attach { volume: id, .. }
        | Operation::Detach { volume: id, .. } => {
            if let Some(volume) = world.volumes.get_mut(id) {
                volume.row = row;
            }
        }
    }
}

impl Operation {
    /// What it is, without whom it is about.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::CreateVolume { .. } => "create",
            Self::DeleteVolume { .. } => "delete",
            Self::Extend { .. } => "extend",
            Self::CreateSnapshot { .. } => "snapshot",
            Self::DeleteSnapshot { .. } => "delete-snapshot",
            Self::Flatten { .. } => "flatten",
            Self::Attach { .. } => "attach",
            Self::Detach { .. } => "detach",
        }
    }
}
