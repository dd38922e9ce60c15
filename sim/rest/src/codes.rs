//! Error codes of the dialect, and the code of each refusal of the array.
//!
//! Codes are those of array-rest sections 3 to 5, 8 and 11.7. Where no source names one, the code is our choice: free
//! numbers beside the family they belong to, which no known client treats in a special way. They are marked *ours*.

use std::borrow::Cow;

use sanbench_array::Refusal;

/// The session is lost or was never there.
pub(crate) const SESSION_LOST: i64 = -401;
/// Parameter error; also an unknown object or verb.
pub(crate) const PARAMETER: i64 = 50_331_651;
/// System busy.
pub(crate) const BUSY: i64 = 1_077_949_006;
/// The name exists.
pub(crate) const NAME_EXISTS: i64 = 1_077_948_993;
/// The object does not exist (objects that have no code of their own).
pub(crate) const OBJECT_MISSING: i64 = 1_077_948_996;
/// The id is not unique.
pub(crate) const NOT_UNIQUE: i64 = 1_077_948_997;
/// Wrong user or password.
pub(crate) const WRONG_CREDENTIALS: i64 = 1_077_987_870;
/// The account is locked after too many wrong passwords.
pub(crate) const ACCOUNT_LOCKED: i64 = 1_077_949_070;
/// The client's address is locked after too many wrong passwords.
pub(crate) const ADDRESS_LOCKED: i64 = 1_077_949_071;
/// Too many sessions.
pub(crate) const TOO_MANY_SESSIONS: i64 = 1_077_949_067;

pub(crate) const LUN_MISSING: i64 = 1_077_936_859;
pub(crate) const LUN_HAS_CLONES: i64 = 1_077_936_870;
pub(crate) const SNAPSHOT_MISSING: i64 = 1_077_937_880;
pub(crate) const SNAPSHOT_NOT_ACTIVE: i64 = 1_077_937_891;
pub(crate) const LUN_COPY_MISSING: i64 = 50_338_560;
/// A LUN copy that does not run is stopped already.
pub(crate) const COPY_STOPPED: i64 = 1_077_950_178;
pub(crate) const CLONE_PAIR_MISSING: i64 = 1_073_798_147;
pub(crate) const SPLIT_MISSING: i64 = 1_073_798_172;
pub(crate) const SPLIT_COMPLETE: i64 = 1_073_798_176;
pub(crate) const HOST_MISSING: i64 = 1_077_937_498;
pub(crate) const HOST_GROUP_MISSING: i64 = 1_077_937_500;
pub(crate) const HOST_IN_GROUP: i64 = 1_077_937_501;
pub(crate) const HOST_NOT_IN_GROUP: i64 = 1_073_745_412;
pub(crate) const LUN_IN_LUN_GROUP: i64 = 1_077_936_862;
pub(crate) const PORT_GROUP_MISSING: i64 = 1_077_951_832;
pub(crate) const PORT_IN_GROUP: i64 = 1_077_951_833;
pub(crate) const PORT_NOT_IN_GROUP: i64 = 1_073_807_618;
pub(crate) const VIEW_MISSING: i64 = 1_077_951_819;
pub(crate) const HOST_GROUP_NOT_IN_VIEW: i64 = 1_073_804_552;
pub(crate) const PORT_GROUP_NOT_IN_VIEW: i64 = 1_073_804_553;
pub(crate) const LUN_GROUP_NOT_IN_VIEW: i64 = 1_073_804_554;
pub(crate) const HOST_GROUP_IN_VIEW: i64 = 1_073_804_556;
pub(crate) const PORT_GROUP_IN_VIEW: i64 = 1_073_804_558;
pub(crate) const LUN_GROUP_IN_VIEW: i64 = 1_073_804_560;
pub(crate) const NOT_MAPPED: i64 = 1_073_804_587;
pub(crate) const INITIATOR_NOT_BOUND: i64 = 1_077_950_342;
pub(crate) const MIGRATION_MISSING: i64 = 1_073_806_607;

/// *Ours*: a LUN with snapshots cannot be deleted.
pub(crate) const LUN_HAS_SNAPSHOTS: i64 = 1_077_936_871;
/// *Ours*: a LUN or snapshot in a LUN group cannot be deleted.
pub(crate) const DEVICE_MAPPED: i64 = 1_077_936_872;
/// *Ours*: an openly exported LUN cannot be deleted.
pub(crate) const LUN_EXPORTED: i64 = 1_077_936_873;
/// *Ours*: a copy task refers to the object.
pub(crate) const IN_COPY: i64 = 1_077_936_874;
/// *Ours*: an extend must grow.
pub(crate) const MUST_GROW: i64 = 1_077_936_875;
/// *Ours*: the pool has no space left.
pub(crate) const POOL_FULL: i64 = 1_077_936_876;
/// *Ours*: a configured limit is reached.
pub(crate) const LIMIT: i64 = 1_077_936_877;
/// *Ours*: the clone chain is as long as the store allows.
pub(crate) const TOO_DEEP: i64 = 1_077_936_878;
/// *Ours*: the target of a copy is too small, or is its source.
pub(crate) const BAD_COPY_TARGET: i64 = 1_077_936_879;
/// *Ours*: an activated snapshot cannot be deleted.
pub(crate) const SNAPSHOT_ACTIVE: i64 = 1_077_937_892;
/// *Ours*: no rollback of the snapshot runs.
pub(crate) const NO_ROLLBACK: i64 = 1_077_937_893;
/// *Ours*: the host is in a host group or has initiators.
pub(crate) const HOST_BUSY: i64 = 1_077_937_502;
/// *Ours*: the host group has hosts.
pub(crate) const GROUP_NOT_EMPTY: i64 = 1_077_937_503;
/// *Ours*: the group is in a mapping view.
pub(crate) const GROUP_IN_VIEW: i64 = 1_077_951_820;
/// *Ours*: the view holds a host group or a LUN group.
pub(crate) const VIEW_BUSY: i64 = 1_077_951_821;
/// *Ours*: the view holds another group of this kind.
pub(crate) const VIEW_OCCUPIED: i64 = 1_077_951_822;
/// *Ours*: the copy was started before.
pub(crate) const COPY_STARTED: i64 = 1_077_950_179;
/// *Ours*: the initiator is bound to a host.
pub(crate) const INITIATOR_BOUND: i64 = 1_077_950_343;
/// *Ours*: the host LUN id is taken, or none is left.
pub(crate) const HOST_LUN_ID_TAKEN: i64 = 1_073_804_589;
/// *Ours*: the vStore does not exist, or is none of the session's.
pub(crate) const VSTORE_MISSING: i64 = 1_077_951_840;
/// *Ours*: the vStore has objects.
pub(crate) const VSTORE_BUSY: i64 = 1_077_951_841;
/// *Ours*: objects of different vStores cannot be brought together.
pub(crate) const OTHER_VSTORE: i64 = 1_077_951_842;
/// *Ours*: only the array's administrator may do this.
pub(crate) const NOT_FOR_VSTORES: i64 = 1_077_951_843;
/// *Ours*: an active QoS policy cannot be deleted.
pub(crate) const QOS_ACTIVE: i64 = 1_077_948_990;

pub(crate) const METRO_PAIR_MISSING: i64 = 1_077_674_242;
pub(crate) const METRO_PAIR_EXISTS: i64 = 1_077_674_256;
pub(crate) const METRO_GROUP_MISSING: i64 = 1_077_675_010;
pub(crate) const METRO_PAIR_NOT_IN_GROUP: i64 = 1_077_675_021;
pub(crate) const METRO_GROUP_EMPTY: i64 = 1_077_675_022;
pub(crate) const METRO_PAIR_IN_GROUP: i64 = 1_077_675_038;
pub(crate) const REPLICATION_PAIR_MISSING: i64 = 1_077_937_923;
pub(crate) const REPLICATION_GROUP_MISSING: i64 = 1_077_937_924;
pub(crate) const REPLICATION_PAIR_NOT_IN_GROUP: i64 = 1_077_937_927;
pub(crate) const REPLICATION_GROUP_EMPTY: i64 = 1_077_937_960;
/// *Ours*: the remote device cannot be reached.
pub(crate) const REMOTE_DOWN: i64 = 1_077_936_880;
/// *Ours*: the LUN is in a HyperMetro or replication pair.
pub(crate) const LUN_PAIRED: i64 = 1_077_936_881;
/// *Ours*: the state of the pair does not allow it.
pub(crate) const PAIR_BUSY: i64 = 1_077_936_882;
/// *Ours*: the pair is in a consistency group.
pub(crate) const PAIR_IN_GROUP: i64 = 1_077_936_883;
/// *Ours*: the secondary has no consistent content.
pub(crate) const SECONDARY_INCOMPLETE: i64 = 1_077_936_884;
/// *Ours*: the HyperMetro domain holds pairs or groups.
pub(crate) const DOMAIN_BUSY: i64 = 1_077_936_885;

/// Why a call failed, as the client hears it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// `error.code`.
    pub(crate) code: i64,
    /// `error.description`.
    pub(crate) description: Cow<'static, str>,
    /// No failure at all: another array has to be asked about this LUN of its first (remote device, LUN).
    pub(crate) ask: Option<(u64, u64)>,
}

impl Failure {
    /// A failure with a text of its own.
    pub(crate) fn new(code: i64, description: impl Into<Cow<'static, str>>) -> Self {
        Self { code, description: description.into(), ask: None }
    }
    /// The call comes again when the remote device has told of this LUN.
    pub(crate) fn ask(remote: u64, lun: u64) -> Self {
        Self { ask: Some((remote, lun)), ..Self::from(REMOTE_DOWN) }
    }
    /// A parameter error that names what is wrong.
    pub(crate) fn parameter(description: impl Into<Cow<'static, str>>) -> Self {
        Self::new(PARAMETER, description)
    }
    /// The object or verb is not known here.
    pub(crate) fn unsupported() -> Self {
        Self::new(PARAMETER, "The operation is not supported.")
    }
}

impl From<i64> for Failure {
    fn from(code: i64) -> Self {
        Self::new(code, describe(code))
    }
}

/// What a command was about, where one refusal has several codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Topic {
    /// Host groups and hosts; also everything that needs no distinction.
    Host,
    /// LUN groups, LUNs and snapshots.
    Lun,
    /// Port groups and ports.
    Port,
}

/// The code of a refusal.
pub(crate) fn code_of(refusal: Refusal, topic: Topic) -> i64 {
    match refusal {
        Refusal::BadName | Refusal::BadParameter => PARAMETER,
        Refusal::NameExists => NAME_EXISTS,
        Refusal::NoSuchController
        | Refusal::NoSuchPool
        | Refusal::NoSuchLunGroup
        | Refusal::NoSuchPort
        | Refusal::NoSuchInitiator => OBJECT_MISSING,
        Refusal::NoSuchLun => LUN_MISSING,
        Refusal::NoSuchSnapshot => SNAPSHOT_MISSING,
        Refusal::NoSuchLunCopy => LUN_COPY_MISSING,
        Refusal::NoSuchClonePair => CLONE_PAIR_MISSING,
        Refusal::NoSuchMigration => MIGRATION_MISSING,
        Refusal::NoRollback => NO_ROLLBACK,
        Refusal::NoSuchHost => HOST_MISSING,
        Refusal::NoSuchHostGroup => HOST_GROUP_MISSING,
        Refusal::NoSuchPortGroup => PORT_GROUP_MISSING,
        Refusal::NoSuchView => VIEW_MISSING,
        Refusal::HasSnapshots => LUN_HAS_SNAPSHOTS,
        Refusal::HasClones => LUN_HAS_CLONES,
        Refusal::InLunGroup => DEVICE_MAPPED,
        Refusal::Exported => LUN_EXPORTED,
        Refusal::InCopy => IN_COPY,
        Refusal::Activated => SNAPSHOT_ACTIVE,
        Refusal::NotActivated => SNAPSHOT_NOT_ACTIVE,
        Refusal::MustGrow => MUST_GROW,
        Refusal::BadCopyTarget => BAD_COPY_TARGET,
        Refusal::CopyStarted => COPY_STARTED,
        Refusal::CopyNotRunning => COPY_STOPPED,
        Refusal::NotAClone => SPLIT_MISSING,
        Refusal::NoSplit => SPLIT_COMPLETE,
        Refusal::TooDeep => TOO_DEEP,
        Refusal::PoolFull => POOL_FULL,
        Refusal::LimitReached => LIMIT,
        Refusal::AlreadyInGroup => match topic {
            Topic::Host => HOST_IN_GROUP,
            Topic::Lun => LUN_IN_LUN_GROUP,
            Topic::Port => PORT_IN_GROUP,
        },
        Refusal::NotInGroup => match topic {
            Topic::Host => HOST_NOT_IN_GROUP,
            Topic::Lun => OBJECT_MISSING,
            Topic::Port => PORT_NOT_IN_GROUP,
        },
        Refusal::AlreadyInView => match topic {
            Topic::Host => HOST_GROUP_IN_VIEW,
            Topic::Lun => LUN_GROUP_IN_VIEW,
            Topic::Port => PORT_GROUP_IN_VIEW,
        },
        Refusal::NotInView => match topic {
            Topic::Host => HOST_GROUP_NOT_IN_VIEW,
            Topic::Lun => LUN_GROUP_NOT_IN_VIEW,
            Topic::Port => PORT_GROUP_NOT_IN_VIEW,
        },
        Refusal::ViewOccupied => VIEW_OCCUPIED,
        Refusal::HostBusy => HOST_BUSY,
        Refusal::GroupNotEmpty => GROUP_NOT_EMPTY,
        Refusal::GroupInView => GROUP_IN_VIEW,
        Refusal::ViewBusy => VIEW_BUSY,
        Refusal::InitiatorExists => NOT_UNIQUE,
        Refusal::InitiatorBound => INITIATOR_BOUND,
        Refusal::InitiatorNotBound => INITIATOR_NOT_BOUND,
        Refusal::HostLunIdTaken => HOST_LUN_ID_TAKEN,
        Refusal::NotMapped => NOT_MAPPED,
        Refusal::ControllerDown => BUSY,
        Refusal::NoSuchVStore => VSTORE_MISSING,
        Refusal::VStoreBusy => VSTORE_BUSY,
        Refusal::OtherVStore => OTHER_VSTORE,
        Refusal::NotForVStores => NOT_FOR_VSTORES,
        Refusal::NoSuchQos | Refusal::NoSuchPartition => OBJECT_MISSING,
        Refusal::QosActive => QOS_ACTIVE,
        Refusal::NoSuchRemote
        | Refusal::NoSuchDomain
        | Refusal::NoSuchPair
        | Refusal::NoSuchPairGroup
        | Refusal::GroupEmpty => OBJECT_MISSING,
        Refusal::NoSuchRemoteLun => LUN_MISSING,
        Refusal::RemoteDown => REMOTE_DOWN,
        Refusal::Paired => LUN_PAIRED,
        Refusal::PairBusy => PAIR_BUSY,
        Refusal::PairInGroup => PAIR_IN_GROUP,
        Refusal::Incomplete => SECONDARY_INCOMPLETE,
        Refusal::DomainBusy => DOMAIN_BUSY,
    }
}

/// The failure of a refusal.
pub(crate) fn failure(refusal: Refusal, topic: Topic) -> Failure {
    Failure::from(code_of(refusal, topic))
}

/// The text of a code.
pub(crate) fn describe(code: i64) -> &'static str {
    match code {
        SESSION_LOST => "The session is invalid. Log in again.",
        PARAMETER => "The parameter is incorrect.",
        BUSY => "The system is busy.",
        NAME_EXISTS => "The name already exists.",
        OBJECT_MISSING => "The object does not exist.",
        NOT_UNIQUE => "The object ID is not unique.",
        WRONG_CREDENTIALS => "The user name or password is incorrect.",
        ACCOUNT_LOCKED => "The account is locked.",
        ADDRESS_LOCKED => "The address of the client is locked.",
        TOO_MANY_SESSIONS => "The number of sessions has reached the upper limit.",
        LUN_MISSING => "The LUN does not exist.",
        LUN_HAS_CLONES => "The LUN or snapshot has linked clones.",
        SNAPSHOT_MISSING => "The snapshot does not exist.",
        SNAPSHOT_NOT_ACTIVE => "The snapshot is not activated.",
        LUN_COPY_MISSING => "The LUN copy does not exist.",
        CLONE_PAIR_MISSING => "The clone pair does not exist.",
        SPLIT_MISSING => "The LUN has no clone relation.",
        SPLIT_COMPLETE => "The split is already complete.",
        HOST_MISSING => "The host does not exist.",
        HOST_GROUP_MISSING => "The host group does not exist.",
        HOST_IN_GROUP => "The host is already in the host group.",
        HOST_NOT_IN_GROUP => "The host is not in the host group.",
        LUN_IN_LUN_GROUP => "The LUN or snapshot is already in the LUN group.",
        PORT_GROUP_MISSING => "The port group does not exist.",
        PORT_IN_GROUP => "The port is already in the port group.",
        PORT_NOT_IN_GROUP => "The port is not in the port group.",
        VIEW_MISSING => "The mapping view does not exist.",
        HOST_GROUP_NOT_IN_VIEW => "The host group is not in the mapping view.",
        PORT_GROUP_NOT_IN_VIEW => "The port group is not in the mapping view.",
        LUN_GROUP_NOT_IN_VIEW => "The LUN group is not in the mapping view.",
        HOST_GROUP_IN_VIEW => "The host group is already in the mapping view.",
        PORT_GROUP_IN_VIEW => "The port group is already in the mapping view.",
        LUN_GROUP_IN_VIEW => "The LUN group is already in the mapping view.",
        NOT_MAPPED => "The object is not mapped to the host.",
        INITIATOR_NOT_BOUND => "The initiator is not added to a host.",
        MIGRATION_MISSING => "The LUN migration task does not exist.",
        NO_ROLLBACK => "No rollback is running.",
        LUN_HAS_SNAPSHOTS => "The LUN has snapshots.",
        DEVICE_MAPPED => "The LUN or snapshot is in a LUN group.",
        LUN_EXPORTED => "The LUN is exported.",
        IN_COPY => "The object belongs to a copy task.",
        MUST_GROW => "The new capacity must be larger than the current one.",
        POOL_FULL => "The storage pool has insufficient free capacity.",
        LIMIT => "The number of objects has reached the upper limit.",
        TOO_DEEP => "The chain of clones has reached the upper limit.",
        BAD_COPY_TARGET => "The target of the copy does not fit its source.",
        SNAPSHOT_ACTIVE => "The snapshot is activated.",
        HOST_BUSY => "The host is in a host group or has initiators.",
        GROUP_NOT_EMPTY => "The host group contains hosts.",
        GROUP_IN_VIEW => "The group is in a mapping view.",
        VIEW_BUSY => "The mapping view contains a host group or a LUN group.",
        VIEW_OCCUPIED => "The mapping view contains another group of this type.",
        COPY_STARTED => "The copy has been started.",
        COPY_STOPPED => "The copy is not running.",
        INITIATOR_BOUND => "The initiator is added to a host.",
        HOST_LUN_ID_TAKEN => "The host LUN ID is not available.",
        VSTORE_MISSING => "The vStore does not exist.",
        VSTORE_BUSY => "The vStore contains objects.",
        OTHER_VSTORE => "The objects belong to different vStores.",
        NOT_FOR_VSTORES => "The operation is not permitted in a vStore.",
        QOS_ACTIVE => "The QoS policy is active.",
        METRO_PAIR_MISSING => "The HyperMetro pair does not exist.",
        METRO_PAIR_EXISTS => "The LUN already has a HyperMetro pair.",
        METRO_GROUP_MISSING | REPLICATION_GROUP_MISSING => "The consistency group does not exist.",
        METRO_PAIR_NOT_IN_GROUP | REPLICATION_PAIR_NOT_IN_GROUP => {
            "The pair is not in the consistency group."
        }
        METRO_GROUP_EMPTY | REPLICATION_GROUP_EMPTY => "The consistency group has no pairs.",
        METRO_PAIR_IN_GROUP => "The pair is already in the consistency group.",
        REPLICATION_PAIR_MISSING => "The replication pair does not exist.",
        REMOTE_DOWN => "The remote device cannot be reached.",
        LUN_PAIRED => "The LUN is in a pair.",
        PAIR_BUSY => "The state of the pair does not allow the operation.",
        PAIR_IN_GROUP => "The pair is in a consistency group.",
        SECONDARY_INCOMPLETE => "The data of the secondary resource is incomplete.",
        DOMAIN_BUSY => "The HyperMetro domain is in use.",
        _ => "The operation failed.",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const ALL: &[Refusal] = &[
        Refusal::BadName,
        Refusal::BadParameter,
        Refusal::NameExists,
        Refusal::NoSuchController,
        Refusal::ControllerDown,
        Refusal::NoSuchPool,
        Refusal::NoSuchLun,
        Refusal::NoSuchSnapshot,
        Refusal::NoSuchLunCopy,
        Refusal::NoSuchClonePair,
        Refusal::NoSuchMigration,
        Refusal::NoRollback,
        Refusal::NoSuchHost,
        Refusal::NoSuchHostGroup,
        Refusal::NoSuchLunGroup,
        Refusal::NoSuchPortGroup,
        Refusal::NoSuchPort,
        Refusal::NoSuchView,
        Refusal::NoSuchInitiator,
        Refusal::HasSnapshots,
        Refusal::HasClones,
        Refusal::InLunGroup,
        Refusal::Exported,
        Refusal::InCopy,
        Refusal::Activated,
        Refusal::NotActivated,
        Refusal::MustGrow,
        Refusal::BadCopyTarget,
        Refusal::CopyStarted,
        Refusal::CopyNotRunning,
        Refusal::NotAClone,
        Refusal::NoSplit,
        Refusal::TooDeep,
        Refusal::PoolFull,
        Refusal::LimitReached,
        Refusal::AlreadyInGroup,
        Refusal::NotInGroup,
        Refusal::AlreadyInView,
        Refusal::NotInView,
        Refusal::ViewOccupied,
        Refusal::HostBusy,
        Refusal::GroupNotEmpty,
        Refusal::GroupInView,
        Refusal::ViewBusy,
        Refusal::InitiatorExists,
        Refusal::InitiatorBound,
        Refusal::InitiatorNotBound,
        Refusal::HostLunIdTaken,
        Refusal::NotMapped,
        Refusal::NoSuchVStore,
        Refusal::VStoreBusy,
        Refusal::OtherVStore,
        Refusal::NotForVStores,
        Refusal::NoSuchQos,
        Refusal::QosActive,
        Refusal::NoSuchPartition,
        Refusal::NoSuchRemote,
        Refusal::NoSuchRemoteLun,
        Refusal::RemoteDown,
        Refusal::NoSuchDomain,
        Refusal::DomainBusy,
        Refusal::NoSuchPair,
        Refusal::NoSuchPairGroup,
        Refusal::GroupEmpty,
        Refusal::Paired,
        Refusal::PairBusy,
        Refusal::PairInGroup,
        Refusal::Incomplete,
    ];

    #[test]
    fn refusals_and_their_codes() {
        let mut table = String::new();
        for refusal in ALL {
            let by_topic = [Topic::Host, Topic::Lun, Topic::Port].map(|topic| code_of(*refusal, topic));
            let distinct: BTreeSet<i64> = by_topic.into_iter().collect();
            let shown = if distinct.len() == 1 {
                format!("{} {}", by_topic[0], describe(by_topic[0]))
            } else {
                format!("host {} lun {} port {}", by_topic[0], by_topic[1], by_topic[2])
            };
            table.push_str(&format!("{:<18} {shown}\n", format!("{refusal:?}")));
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn every_refusal_has_a_text_of_its_own() {
        for refusal in ALL {
            for topic in [Topic::Host, Topic::Lun, Topic::Port] {
                assert_ne!(describe(code_of(*refusal, topic)), "The operation failed.", "{refusal:?}");
            }
        }
    }
}
