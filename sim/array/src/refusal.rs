//! Why the array says no: a variant for each rule. The REST layer maps them to codes, the target to sense data.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A management command was refused; the array is as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum Refusal {
    /// The name is empty, too long, or has control characters; or the description is too long.
    #[error("name or description is not acceptable")]
    BadName,
    /// A number is outside its range (size 0 or too large, LUN id too large, bad iSCSI name).
    #[error("parameter out of range")]
    BadParameter,
    /// Another object of the kind has this name.
    #[error("name exists")]
    NameExists,
    /// No such pool.
    #[error("no such pool")]
    NoSuchPool,
    /// No such LUN.
    #[error("no such LUN")]
    NoSuchLun,
    /// No such snapshot.
    #[error("no such snapshot")]
    NoSuchSnapshot,
    /// No such LUN copy.
    #[error("no such LUN copy")]
    NoSuchLunCopy,
    /// No such clone pair.
    #[error("no such clone pair")]
    NoSuchClonePair,
    /// No such LUN migration.
    #[error("no such LUN migration")]
    NoSuchMigration,
    /// No rollback of the snapshot runs.
    #[error("no rollback is running")]
    NoRollback,
    /// No such host.
    #[error("no such host")]
    NoSuchHost,
    /// No such host group.
    #[error("no such host group")]
    NoSuchHostGroup,
    /// No such LUN group.
    #[error("no such LUN group")]
    NoSuchLunGroup,
    /// No such port group.
    #[error("no such port group")]
    NoSuchPortGroup,
    /// No such Ethernet port.
    #[error("no such port")]
    NoSuchPort,
    /// No such mapping view.
    #[error("no such mapping view")]
    NoSuchView,
    /// No such initiator.
    #[error("no such initiator")]
    NoSuchInitiator,
    /// The LUN has snapshots.
    #[error("LUN has snapshots")]
    HasSnapshots,
    /// Linked clones depend on the LUN or snapshot.
    #[error("source has linked clones")]
    HasClones,
    /// The LUN or snapshot is in a LUN group.
    #[error("object is in a LUN group")]
    InLunGroup,
    /// The LUN is openly exported.
    #[error("LUN is exported")]
    Exported,
    /// A LUN copy or clone pair refers to the LUN or snapshot.
    #[error("object belongs to a copy task")]
    InCopy,
    /// The snapshot is activated.
    #[error("snapshot is activated")]
    Activated,
    /// The snapshot is not activated, so that it has no content.
    #[error("snapshot is not activated")]
    NotActivated,
    /// An extend must make the LUN larger.
    #[error("new size must be larger")]
    MustGrow,
    /// The target of a copy is smaller than its source, or is the source.
    #[error("copy target does not fit")]
    BadCopyTarget,
    /// The copy runs already, or is complete.
    #[error("copy already started")]
    CopyStarted,
    /// The copy does not run.
    #[error("copy is not running")]
    CopyNotRunning,
    /// The LUN is no linked clone.
    #[error("LUN is not a linked clone")]
    NotAClone,
    /// No split of the LUN is running.
    #[error("no split is running")]
    NoSplit,
    /// The chain of parent links is as long as the store allows.
    #[error("clone chain too long")]
    TooDeep,
    /// The pool, or the medium behind the array, has no physical space left for this.
    #[error("pool is full")]
    PoolFull,
    /// A bound of the configuration is reached.
    #[error("object limit reached")]
    LimitReached,
    /// The object is in the group already.
    #[error("already in the group")]
    AlreadyInGroup,
    /// The object is not in the group.
    #[error("not in the group")]
    NotInGroup,
    /// The group is in the view already.
    #[error("group already in the view")]
    AlreadyInView,
    /// The group is not in the view.
    #[error("group not in the view")]
    NotInView,
    /// The view holds another group of this kind.
    #[error("view holds another group of this kind")]
    ViewOccupied,
    /// The host is in a host group or has bound initiators.
    #[error("host is in a host group or has initiators")]
    HostBusy,
    /// The host group still has hosts.
    #[error("host group has hosts")]
    GroupNotEmpty,
    /// The group is in a view.
    #[error("group is in a mapping view")]
    GroupInView,
    /// The view still holds a host group or a LUN group.
    #[error("mapping view holds groups")]
    ViewBusy,
    /// The initiator is registered already.
    #[error("initiator exists")]
    InitiatorExists,
    /// The initiator is bound to another host (bind), or to any host (delete).
    #[error("initiator is bound to a host")]
    InitiatorBound,
    /// The initiator is bound to no host.
    #[error("initiator is not bound")]
    InitiatorNotBound,
    /// The host LUN id is taken, or a host has no id left.
    #[error("host LUN id is not available")]
    HostLunIdTaken,
    /// No such controller.
    #[error("no such controller")]
    NoSuchController,
    /// The controller has failed.
    #[error("controller is down")]
    ControllerDown,
    /// No such vStore.
    #[error("no such vStore")]
    NoSuchVStore,
    /// The vStore has objects.
    #[error("vStore has objects")]
    VStoreBusy,
    /// The objects belong to different vStores.
    #[error("objects belong to different vStores")]
    OtherVStore,
    /// Only the array's administrator may do this.
    #[error("not for sessions of a vStore")]
    NotForVStores,
    /// No such QoS policy.
    #[error("no such QoS policy")]
    NoSuchQos,
    /// The QoS policy is active.
    #[error("QoS policy is active")]
    QosActive,
    /// No such cache partition.
    #[error("no such cache partition")]
    NoSuchPartition,
    /// No such remote device.
    #[error("no such remote device")]
    NoSuchRemote,
    /// The remote device has no such LUN.
    #[error("no such LUN on the remote device")]
    NoSuchRemoteLun,
    /// The remote device cannot be heard.
    #[error("remote device is not reachable")]
    RemoteDown,
    /// No such HyperMetro domain.
    #[error("no such HyperMetro domain")]
    NoSuchDomain,
    /// Pairs or groups are in the domain.
    #[error("HyperMetro domain is in use")]
    DomainBusy,
    /// No such HyperMetro or replication pair.
    #[error("no such pair")]
    NoSuchPair,
    /// No such consistency group of pairs.
    #[error("no such consistency group")]
    NoSuchPairGroup,
    /// The consistency group has no pairs.
    #[error("consistency group is empty")]
    GroupEmpty,
    /// The LUN is in a pair.
    #[error("LUN is in a pair")]
    Paired,
    /// The state of the pair does not allow it.
    #[error("state of the pair does not allow it")]
    PairBusy,
    /// The pair is in a consistency group.
    #[error("pair is in a consistency group")]
    PairInGroup,
    /// The secondary has no consistent content yet.
    #[error("secondary is incomplete")]
    Incomplete,
    /// The view does not show this object to any host.
    #[error("object is not mapped in this view")]
    NotMapped,
}

/// A data command failed; nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum IoError {
    /// The range leaves the device (SBC: LOGICAL BLOCK ADDRESS OUT OF RANGE), or the length is no multiple of 512 bytes.
    #[error("range leaves the device")]
    OutOfRange,
    /// The pool is out of physical space (SBC-3: DATA PROTECT, SPACE ALLOCATION FAILED WRITE PROTECT).
    #[error("pool is out of physical space")]
    NoSpace,
    /// The half of a HyperMetro pair that must not serve hosts at present (SPC-4: LOGICAL UNIT NOT ACCESSIBLE, TARGET PORT IN
    /// UNAVAILABLE STATE).
    #[error("device is not accessible here")]
    Inaccessible,
    /// Snapshots and protected secondaries cannot be written.
    #[error("device is read only")]
    ReadOnly,
    /// The device exists but has no content to give (snapshot not activated).
    #[error("device is offline")]
    Offline,
    /// No such device.
    #[error("device is gone")]
    Gone,
    /// What the medium of an array with a journal holds is not what was written (SBC: MEDIUM ERROR, UNRECOVERED READ
    /// ERROR). A write that needs the rest of such a page may have done a part of its work.
    #[error("medium is unreadable at block {lba}")]
    Unreadable {
        /// The first block that cannot be read.
        lba: u64,
    },
}
