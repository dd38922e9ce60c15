//! The array's objects as everybody may read them. They change through [`crate::Command`]s alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::Medium;
use crate::access::Access;
use crate::cache::Cache;
use crate::config::Disks;
use crate::durable::forms;
use crate::paths::{HostAccess, InitiatorPaths};
use crate::reservation::Reservations;
use crate::services::{Labels, PartitionKind};
use crate::store::{Content, Counter, EXTENT_BLOCKS, Layer, Quota, Space};

/// A device with blocks. LUNs and snapshots share one number space, so that a number names at most one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum DeviceId {
    /// A LUN.
    Lun(u64),
    /// A snapshot.
    Snapshot(u64),
}

impl DeviceId {
    /// The number without the kind.
    pub fn number(self) -> u64 {
        match self {
            Self::Lun(id) | Self::Snapshot(id) => id,
        }
    }
}

impl From<DeviceId> for String {
    fn from(device: DeviceId) -> String {
        match device {
            DeviceId::Lun(id) => format!("lun {id}"),
            DeviceId::Snapshot(id) => format!("snapshot {id}"),
        }
    }
}

impl TryFrom<String> for DeviceId {
    type Error = &'static str;
    fn try_from(text: String) -> Result<DeviceId, &'static str> {
        let number = |id: &str| id.parse().map_err(|_| "not the number of a device");
        match text.split_once(' ') {
            Some(("lun", id)) => number(id).map(DeviceId::Lun),
            Some(("snapshot", id)) => number(id).map(DeviceId::Snapshot),
            _ => Err("neither a LUN nor a snapshot"),
        }
    }
}

/// A group of any kind, for mapping views.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupRef {
    /// A host group.
    Host(u64),
    /// A LUN group.
    Lun(u64),
    /// A port group.
    Port(u64),
}

/// A storage pool. Space counts in extents of 64 KiB and is told in blocks of 512 bytes.
#[derive(Debug)]
pub struct Pool {
    /// Id, from 0 in the order of the configuration.
    pub id: u64,
    /// Name.
    pub name: String,
    /// What disks it is made of.
    pub disks: Disks,
    pub(crate) capacity: u64,
    pub(crate) used: Arc<Counter>,
    pub(crate) reserved: u64,
    pub(crate) provisioned: u64,
    /// Counters of deleted thick LUNs of which extents live on, shared with others.
    pub(crate) orphans: Vec<Arc<Counter>>,
    /// Where its content is kept; none keeps it in memory.
    pub(crate) medium: Option<Arc<dyn Medium>>,
    /// Percent in use beyond which the array tells.
    pub(crate) threshold: u8,
    pub(crate) above: bool,
    /// How often it has become too full since somebody has set the threshold.
    pub(crate) crossings: u64,
    /// Somebody has set it: then hosts are told as well.
    pub(crate) armed: bool,
}

impl Pool {
    /// Physical capacity in blocks.
    pub fn capacity_blocks(&self) -> u64 {
        self.capacity * EXTENT_BLOCKS
    }
    /// Physical space in use in blocks: written extents, each counted once however many share it, and reservations of thick LUNs.
    pub fn used_blocks(&self) -> u64 {
        self.used_extents() * EXTENT_BLOCKS
    }
    /// Physical space left in blocks.
    pub fn free_blocks(&self) -> u64 {
        self.free_extents() * EXTENT_BLOCKS
    }
    /// Sum of the sizes of all LUNs in blocks; may exceed the capacity (over-subscription).
    pub fn provisioned_blocks(&self) -> u64 {
        self.provisioned
    }
    pub(crate) fn used_extents(&self) -> u64 {
        self.used.load(Ordering::Relaxed) + self.claimed()
    }
    fn claimed(&self) -> u64 {
        self.reserved + self.orphans.iter().map(|counter| counter.load(Ordering::Relaxed)).sum::<u64>()
    }
    /// Where a LUN of this pool takes its extents from.
    pub(crate) fn space<'a>(&'a self, quota: Option<&'a Quota>) -> Space<'a> {
        Space {
            pool: &self.used,
            limit: self.capacity.saturating_sub(self.claimed()),
            quota,
            medium: self.medium.as_ref(),
        }
    }
    pub(crate) fn free_extents(&self) -> u64 {
        self.capacity.saturating_sub(self.used_extents())
    }
}

/// Whether a LUN is being made independent of its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SplitStatus {
    /// No split asked for, or it is over.
    None,
    /// A split runs.
    Running,
    /// A split ran out of physical space; it can be started again.
    Failed,
}

/// The parent link of a linked clone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloneOrigin {
    /// The LUN or snapshot cloned.
    pub source: DeviceId,
    /// How far the clone still looks into its parent, in blocks.
    pub overlap_blocks: u64,
}

/// A LUN.
#[derive(Debug, Serialize, Deserialize)]
pub struct Lun {
    /// Id, never reused.
    pub id: u64,
    /// vStore that it belongs to; [`crate::SYSTEM_VSTORE`] is the array's own.
    #[serde(default)]
    pub vstore: u64,
    /// Name, unique among the LUNs of its vStore.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Id of its pool.
    pub pool: u64,
    /// Thin (space on first write) or thick (space reserved).
    pub thin: bool,
    /// NAA 6 identifier (SPC-4 section 7.8.6.6), never reused, never changed.
    pub wwn: [u8; 16],
    /// Unit serial number.
    pub serial: String,
    /// Grows by one with each change of size; starts at 1.
    pub size_generation: u64,
    /// Parent link; none for a root.
    pub origin: Option<CloneOrigin>,
    /// State of the split.
    pub split: SplitStatus,
    /// Progress of the running or failed split in percent.
    pub split_progress: u8,
    /// LUN groups that it is in.
    pub groups: BTreeSet<u64>,
    /// When it was made.
    pub created: Duration,
    /// Controller that owns it now.
    pub owner: u8,
    /// What clients have set and the array only keeps for them (cache and tier policies and the like), by name.
    #[serde(default)]
    pub labels: Labels,
    /// Its partition of each kind of cache.
    #[serde(default)]
    pub partitions: BTreeMap<PartitionKind, u64>,
    pub(crate) access: Access,
    pub(crate) reservations: Reservations,
    pub(crate) cache: Cache,
    /// Kept by the journal beside the LUN.
    #[serde(skip)]
    pub(crate) content: Content,
    pub(crate) quota: Option<Quota>,
    /// Only with [`crate::Defects::stale_read_after_extend`]: the content before the last extend.
    #[serde(skip)]
    pub(crate) stale_view: Option<Content>,
    /// Out of service; only the planted defect `full_pool_breaks_lun` does that.
    pub(crate) broken: bool,
}

impl Lun {
    /// Size in blocks of 512 bytes.
    pub fn blocks(&self) -> u64 {
        self.content.blocks()
    }
    /// Whether it is a linked clone.
    pub fn is_clone(&self) -> bool {
        self.origin.is_some()
    }
    /// Space held by its own map in blocks, shared extents included, the parent's not.
    pub fn allocated_blocks(&self) -> u64 {
        self.content.own_extents() * EXTENT_BLOCKS
    }
}

/// A snapshot of a LUN.
#[derive(Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// Id, never reused.
    pub id: u64,
    /// vStore that it belongs to; [`crate::SYSTEM_VSTORE`] is the array's own.
    #[serde(default)]
    pub vstore: u64,
    /// Name, unique among the snapshots of its vStore.
    pub name: String,
    /// Free text.
    pub description: String,
    /// The LUN.
    pub parent: u64,
    /// Id of the LUN's pool.
    pub pool: u64,
    /// NAA 6 identifier, never reused.
    pub wwn: [u8; 16],
    /// Unit serial number.
    pub serial: String,
    /// Size in blocks of 512 bytes: that of the LUN at activation (before: at creation).
    pub blocks: u64,
    /// LUN groups that it is in.
    pub groups: BTreeSet<u64>,
    /// When it was made.
    pub created: Duration,
    /// When its content was frozen; none while it is inactive.
    pub activated: Option<Duration>,
    /// Controller that owns it now; at birth that of its LUN.
    pub owner: u8,
    pub(crate) access: Access,
    pub(crate) reservations: Reservations,
    /// The last rollback from it.
    pub rollback: Option<Rollback>,
    /// Kept by the journal beside the snapshot.
    #[serde(skip)]
    pub(crate) layer: Option<Arc<Layer>>,
}

impl Snapshot {
    /// Whether it has frozen content.
    pub fn is_active(&self) -> bool {
        self.layer.is_some()
    }
}

/// State of a full copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CopyStatus {
    /// Not started.
    Created,
    /// Copying.
    Running,
    /// Done.
    Complete,
    /// Ran out of physical space, or lost its source.
    Failed,
}

/// A LUN copy task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LunCopy {
    /// Id.
    pub id: u64,
    /// vStore that it belongs to; [`crate::SYSTEM_VSTORE`] is the array's own.
    #[serde(default)]
    pub vstore: u64,
    /// Name, unique among the LUN copies of its vStore.
    pub name: String,
    /// What is copied.
    pub source: DeviceId,
    /// The LUN written.
    pub target: u64,
    /// Speed 1..=4 as asked for.
    pub speed: u8,
    /// State.
    pub status: CopyStatus,
    /// Progress in percent.
    pub progress: u8,
}

/// A clone pair.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClonePair {
    /// Id.
    pub id: u64,
    /// vStore that it belongs to; [`crate::SYSTEM_VSTORE`] is the array's own.
    #[serde(default)]
    pub vstore: u64,
    /// What is copied.
    pub source: DeviceId,
    /// The LUN written.
    pub target: u64,
    /// Rate 1..=4 as asked for.
    pub rate: u8,
    /// State of the last synchronisation.
    pub status: CopyStatus,
    /// Progress in percent.
    pub progress: u8,
}

/// A LUN migration. Its id is that of the LUN that moves.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Migration {
    /// The LUN that moves.
    pub id: u64,
    /// vStore that it belongs to; [`crate::SYSTEM_VSTORE`] is the array's own.
    #[serde(default)]
    pub vstore: u64,
    /// The LUN whose place it takes; at the end this one holds the old data in the old place.
    pub target: u64,
    /// Speed 1..=4 as asked for.
    pub speed: u8,
    /// State.
    pub status: CopyStatus,
    /// Progress in percent.
    pub progress: u8,
}

/// The last rollback from a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// Speed 1..=4 as asked for.
    pub speed: u8,
    /// Running, complete, or failed when it was given up.
    pub status: CopyStatus,
    /// Progress in percent.
    pub progress: u8,
    /// When it ended.
    pub ended: Option<Duration>,
}

/// A host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Host {
    /// Id.
    pub id: u64,
    /// vStore that it belongs to; [`crate::SYSTEM_VSTORE`] is the array's own.
    #[serde(default)]
    pub vstore: u64,
    /// Name, unique among the hosts of its vStore.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Host groups that it is in.
    pub groups: BTreeSet<u64>,
    /// How its initiators see their paths.
    #[serde(default)]
    pub access: HostAccess,
}

/// A host group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HostGroup {
    /// Id.
    pub id: u64,
    /// vStore that it belongs to; [`crate::SYSTEM_VSTORE`] is the array's own.
    #[serde(default)]
    pub vstore: u64,
    /// Name, unique among the host groups of its vStore.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Hosts in it.
    pub hosts: BTreeSet<u64>,
    /// Views that hold it.
    pub views: BTreeSet<u64>,
}

/// A LUN group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LunGroup {
    /// Id.
    pub id: u64,
    /// vStore that it belongs to; [`crate::SYSTEM_VSTORE`] is the array's own.
    #[serde(default)]
    pub vstore: u64,
    /// Name, unique among the LUN groups of its vStore.
    pub name: String,
    /// Free text.
    pub description: String,
    /// LUNs and snapshots in it.
    pub members: BTreeSet<DeviceId>,
    /// Views that hold it.
    pub views: BTreeSet<u64>,
}

/// A port group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PortGroup {
    /// Id.
    pub id: u64,
    /// vStore that it belongs to; [`crate::SYSTEM_VSTORE`] is the array's own.
    #[serde(default)]
    pub vstore: u64,
    /// Name, unique among the port groups of its vStore.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Ethernet ports in it ([`Portal::id`]).
    pub ports: BTreeSet<u64>,
    /// Views that hold it.
    pub views: BTreeSet<u64>,
}

/// A mapping view: at most one group of each kind. The hosts of its host group see the members of its LUN group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct View {
    /// Id.
    pub id: u64,
    /// vStore that it belongs to; [`crate::SYSTEM_VSTORE`] is the array's own.
    #[serde(default)]
    pub vstore: u64,
    /// Name, unique among the views of its vStore.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Host group.
    pub host_group: Option<u64>,
    /// LUN group.
    pub lun_group: Option<u64>,
    /// Port group; informative for path selection, does not mask.
    pub port_group: Option<u64>,
}

/// An Ethernet port with its iSCSI portal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Portal {
    /// Id of the Ethernet port.
    pub id: u64,
    /// Where it listens.
    pub address: SocketAddr,
    /// Number in the vendor's numbering.
    pub port_no: u32,
    /// Target portal group tag and target port group id.
    pub tpgt: u16,
    /// Controller that it is on, from 0.
    pub controller: u8,
    /// Whether it may be used. A disabled one takes no connections, and nobody is told of it.
    pub enabled: bool,
    /// The portal's own target name in the vendor's form, `<target iqn>::<port no>:<ip>`; the target answers to it
    /// as well as to its plain name ([`crate::Array::accepts_target_name`]).
    pub iqn: String,
    /// Location such as `CTE0.A0.P0`.
    pub location: String,
}

/// A secret that never shows itself in `Debug` output. Equality takes constant time for equal lengths.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Wraps secret bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }
    /// The bytes, for computing CHAP responses only.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// CHAP name and secret (RFC 7143 section 12.1.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChapCredentials {
    /// `CHAP_N`.
    pub name: String,
    /// The shared secret.
    #[serde(with = "forms::secret")]
    pub secret: Secret,
}

/// What an initiator must prove, and what the target proves in return when asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chap {
    /// Proved by the initiator.
    pub initiator: ChapCredentials,
    /// Proved by the target (mutual CHAP).
    pub mutual: Option<ChapCredentials>,
}

/// A change of an initiator's CHAP record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChapUpdate {
    /// As it is.
    Keep,
    /// No CHAP; the record is forgotten.
    Disable,
    /// CHAP with this record.
    Enable(Chap),
}

/// A registered iSCSI initiator.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Initiator {
    /// iSCSI name, unique on the array: it is a world-wide one.
    pub iqn: String,
    /// vStore that it belongs to.
    #[serde(default)]
    pub vstore: u64,
    /// Host that it is bound to.
    pub host: Option<u64>,
    /// CHAP record; with one, login needs CHAP.
    pub chap: Option<Chap>,
    /// Multipath type: 0 default, 1 third party.
    pub multipath: u8,
    /// How it sees its paths, with multipath type 1.
    #[serde(default)]
    pub paths: InitiatorPaths,
    /// Sessions open at the target; above 0 the initiator is online.
    #[serde(skip)]
    pub sessions: u32,
}

impl Initiator {
    /// Whether login needs CHAP.
    pub fn use_chap(&self) -> bool {
        self.chap.is_some()
    }
    /// `CHAP_N` of the initiator.
    pub fn chap_name(&self) -> Option<&str> {
        self.chap.as_ref().map(|chap| chap.initiator.name.as_str())
    }
    /// The secret that the initiator must prove.
    pub fn chap_secret(&self) -> Option<&Secret> {
        self.chap.as_ref().map(|chap| &chap.initiator.secret)
    }
    /// What the target proves when the initiator asks for mutual CHAP.
    pub fn mutual_chap(&self) -> Option<&ChapCredentials> {
        self.chap.as_ref().and_then(|chap| chap.mutual.as_ref())
    }
}

/// What the target tells about a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// NAA 6 identifier.
    pub wwn: [u8; 16],
    /// Unit serial number.
    pub serial: String,
    /// Size in blocks of 512 bytes.
    pub blocks: u64,
    /// Changes when the size does.
    pub size_generation: u64,
    /// Snapshots are read only.
    pub read_only: bool,
    /// Has content to give.
    pub online: bool,
    /// Thin provisioned.
    pub thin: bool,
    /// Name of the LUN or snapshot.
    pub name: String,
}

/// The part of [`DeviceInfo`] that costs nothing to make, for every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Size in blocks of 512 bytes.
    pub blocks: u64,
    /// Changes when the size does.
    pub size_generation: u64,
    /// Snapshots are read only.
    pub read_only: bool,
    /// Has content to give.
    pub online: bool,
}

/// Provisioning state of a run of blocks (SBC-3 GET LBA STATUS).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mapped {
    /// Backed by space, its own or an ancestor's.
    Mapped,
    /// Not backed; reads zero.
    Deallocated,
}
