//! What the management plane can ask of the array, and what it hears back.

use crate::object::{ChapUpdate, DeviceId, GroupRef};
use crate::pair::PairCommand;
use crate::paths::{HostAccess, InitiatorPaths};
use crate::services::{PartitionKind, TrafficLimits};

/// One management command. Numbers are object ids unless the field says otherwise; sizes are in blocks of 512 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the fields are the ids, names and descriptions of the objects that the variant names"
)]
pub enum Command {
    /// Makes an empty LUN that reads zero. A thick one reserves its space at once.
    CreateLun { name: String, description: String, pool: u64, blocks: u64, thin: bool },
    /// Makes a thin LUN linked to the present content of a LUN, or to an activated snapshot; same pool, same size.
    CloneLun { name: String, source: DeviceId, description: String },
    /// Gives a LUN another name, and another description if there is one.
    RenameLun { lun: u64, name: String, description: Option<String> },
    /// Gives a LUN a new absolute size, which must be larger.
    ExpandLun { lun: u64, blocks: u64 },
    /// Deletes a LUN that nothing refers to. A split of it that runs is given up.
    DeleteLun { lun: u64 },
    /// Starts to copy the parent's extents into a linked clone; its link goes when all are copied. Idempotent while it runs.
    StartSplit { lun: u64 },
    /// Gives up a running split; what it copied stays, and so does the link.
    StopSplit { lun: u64 },
    /// Makes a snapshot of a LUN; on newer products it is activated at once.
    CreateSnapshot { name: String, description: String, parent: u64 },
    /// Freezes the content of all these snapshots at one instant; those already active stay as they are.
    ActivateSnapshots { ids: Vec<u64> },
    /// Deactivates a snapshot and gives up its content. Idempotent.
    StopSnapshot { snapshot: u64 },
    /// Gives a snapshot another name, and another description if there is one.
    RenameSnapshot { snapshot: u64, name: String, description: Option<String> },
    /// Deletes an inactive snapshot that nothing refers to.
    DeleteSnapshot { snapshot: u64 },
    /// Prepares a full copy of a LUN or an activated snapshot to a LUN of at least its size. `speed` is 1..=4: half, once, twice, four times
    /// [`crate::ArrayConfig::copy_rate`].
    CreateLunCopy { name: String, source: DeviceId, target: u64, speed: u8 },
    /// Starts the copy of the source's content at this instant.
    StartLunCopy { copy: u64 },
    /// Gives up a running copy; what it copied stays, and it can be started again from the beginning.
    StopLunCopy { copy: u64 },
    /// Removes the copy task, giving it up if it runs; the target stays.
    DeleteLunCopy { copy: u64 },
    /// Prepares a clone pair. `rate` is 1..=4 as for LUN copies.
    CreateClonePair { source: DeviceId, target: u64, rate: u8 },
    /// Starts to make the target equal to the source's content at this instant.
    SyncClonePair { pair: u64 },
    /// Gives up a running synchronisation; what it copied stays.
    StopClonePair { pair: u64 },
    /// Removes the pair, giving up a running synchronisation; both devices stay.
    DeleteClonePair { pair: u64 },
    /// Starts to move a LUN to the place (pool, allocation) of another one of its size; they change places at the end. The id of
    /// the task is that of the LUN. `speed` is 1..=4: half, once, twice, four times
    /// [`crate::ArrayConfig::copy_rate`].
    CreateMigration { lun: u64, target: u64, speed: u8 },
    /// Removes the migration task of a LUN, giving it up if it runs.
    DeleteMigration { lun: u64 },
    /// Makes the LUN of an activated snapshot what the snapshot has frozen. `speed` is 1..=4: half, once, twice, four times
    /// [`crate::ArrayConfig::copy_rate`].
    RollbackSnapshot { snapshot: u64, speed: u8 },
    /// Gives up a running rollback; the LUN keeps the snapshot's content.
    CancelRollback { snapshot: u64 },
    /// Makes a host.
    CreateHost { name: String, description: String },
    /// Changes a host; `None` keeps.
    UpdateHost { host: u64, name: Option<String>, description: Option<String> },
    /// Deletes a host that is in no group and has no initiators.
    DeleteHost { host: u64 },
    /// Makes a host group.
    CreateHostGroup { name: String, description: String },
    /// Deletes an empty host group that is in no view.
    DeleteHostGroup { group: u64 },
    /// Puts a host into a host group.
    AddHostToGroup { group: u64, host: u64 },
    /// Takes a host out of a host group.
    RemoveHostFromGroup { group: u64, host: u64 },
    /// Makes a LUN group.
    CreateLunGroup { name: String, description: String },
    /// Deletes a LUN group that is in no view; members only lose their membership.
    DeleteLunGroup { group: u64 },
    /// Puts a LUN or an activated snapshot into a LUN group.
    AddToLunGroup { group: u64, object: DeviceId },
    /// Takes a LUN or snapshot out of a LUN group.
    RemoveFromLunGroup { group: u64, object: DeviceId },
    /// Makes a port group.
    CreatePortGroup { name: String, description: String },
    /// Deletes a port group that is in no view.
    DeletePortGroup { group: u64 },
    /// Puts an Ethernet port into a port group.
    AddPortToGroup { group: u64, port: u64 },
    /// Takes an Ethernet port out of a port group.
    RemovePortFromGroup { group: u64, port: u64 },
    /// Makes an empty mapping view.
    CreateView { name: String, description: String },
    /// Deletes a view that holds neither host group nor LUN group.
    DeleteView { view: u64 },
    /// Puts a group into a view; one of each kind.
    AddToView { view: u64, group: GroupRef },
    /// Takes a group out of a view.
    RemoveFromView { view: u64, group: GroupRef },
    /// Changes the host LUN id under which the hosts of a view see an object. Refused where the id is taken.
    SetHostLunId { view: u64, object: DeviceId, host_lun_id: u16 },
    /// Registers an initiator: no host, no CHAP.
    AddInitiator { iqn: String },
    /// Changes CHAP and multipath type (0 default, 1 third party).
    UpdateInitiator { iqn: String, chap: ChapUpdate, multipath: Option<u8> },
    /// Binds an initiator to a host. Idempotent; refused while it is bound to another one.
    BindInitiator { iqn: String, host: u64 },
    /// Unbinds an initiator from its host.
    UnbindInitiator { iqn: String },
    /// Deletes an unbound initiator.
    DeleteInitiator { iqn: String },
    /// Shows a LUN to every initiator, without CHAP, known or not; its LUN number is in [`crate::Array::exports`]. Idempotent.
    OpenExport { lun: u64 },
    /// Takes back an open export.
    CloseExport { lun: u64 },
    /// Sets labels of a LUN, or with none takes them away.
    SetLunLabels { lun: u64, changes: Vec<(String, Option<String>)> },
    /// Makes a cache partition.
    CreatePartition { kind: PartitionKind, name: String, description: String },
    /// Deletes a cache partition without LUNs.
    DeletePartition { kind: PartitionKind, partition: u64 },
    /// Puts a LUN into a cache partition, out of the one of that kind that it is in. Idempotent.
    PutInPartition { kind: PartitionKind, partition: u64, lun: u64 },
    /// Takes a LUN out of a cache partition. Idempotent.
    TakeFromPartition { kind: PartitionKind, partition: u64, lun: u64 },
    /// Makes a QoS policy, which does not act yet.
    CreateQos { name: String, luns: Vec<u64>, limits: TrafficLimits, labels: Vec<(String, Option<String>)> },
    /// Changes a QoS policy, at once where it acts; `None` keeps.
    UpdateQos {
        qos: u64,
        luns: Option<Vec<u64>>,
        limits: Option<TrafficLimits>,
        labels: Vec<(String, Option<String>)>,
    },
    /// Makes a QoS policy act, or no longer.
    ActivateQos { qos: u64, active: bool },
    /// Deletes a QoS policy that does not act.
    DeleteQos { qos: u64 },
    /// Enables or disables an Ethernet port with its portal. A disabled one ends its sessions. Idempotent.
    SetPortEnabled { port: u64, enabled: bool },
    /// Gives a LUN another home controller, and moves it there if that one works.
    SetHome { lun: u64, controller: u8 },
    /// Sets how an initiator sees the paths to its LUNs.
    SetInitiatorPaths { iqn: String, paths: InitiatorPaths },
    /// Sets how all initiators of a host see the paths to its LUNs; goes before what they have set themselves.
    SetHostAccess { host: u64, access: HostAccess },
    /// Sets how full a pool may become, 1..=99 percent, before the array tells.
    SetPoolThreshold { pool: u64, percent: u8 },
    /// Makes a vStore.
    CreateVStore { name: String, description: String },
    /// Changes a vStore; `None` keeps.
    UpdateVStore { vstore: u64, name: Option<String>, description: Option<String> },
    /// Deletes a vStore without objects.
    DeleteVStore { vstore: u64 },
    /// Carries out a command as a session of a vStore: objects of others do not exist for it, and what it makes belongs to
    /// the vStore.
    Within { vstore: u64, command: Box<Command> },
    /// Something about HyperMetro or replication.
    Pairs(PairCommand),
}

impl Command {
    /// Whether it only ever takes something away: such commands are let in when there is no room for anything else.
    pub(crate) fn shrinks(&self) -> bool {
        matches!(
            self,
            Self::DeleteLun { .. }
                | Self::StopSplit { .. }
                | Self::StopSnapshot { .. }
                | Self::DeleteSnapshot { .. }
                | Self::StopLunCopy { .. }
                | Self::DeleteLunCopy { .. }
                | Self::StopClonePair { .. }
                | Self::DeleteClonePair { .. }
                | Self::DeleteMigration { .. }
                | Self::CancelRollback { .. }
                | Self::DeleteHost { .. }
                | Self::DeleteHostGroup { .. }
                | Self::RemoveHostFromGroup { .. }
                | Self::DeleteLunGroup { .. }
                | Self::RemoveFromLunGroup { .. }
                | Self::DeletePortGroup { .. }
                | Self::RemovePortFromGroup { .. }
                | Self::DeleteView { .. }
                | Self::RemoveFromView { .. }
                | Self::UnbindInitiator { .. }
                | Self::DeleteInitiator { .. }
                | Self::CloseExport { .. }
                | Self::TakeFromPartition { .. }
                | Self::DeletePartition { .. }
                | Self::DeleteQos { .. }
                | Self::DeleteVStore { .. }
        ) || matches!(self, Self::Within { command, .. } if command.shrinks())
    }
}

/// What a successful command gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done; nothing new.
    Done,
    /// The id of the new object.
    Created(u64),
}

impl Outcome {
    /// The id of the new object, if the command made one.
    pub fn id(self) -> Option<u64> {
        match self {
            Self::Done => None,
            Self::Created(id) => Some(id),
        }
    }
}
