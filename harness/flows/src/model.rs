//! Rows of the state database as the rest of the bench sees them, and the requests that make them.

use std::collections::BTreeMap;
use std::time::Duration;

use sanbench_api::{
    AttachmentId, ConnectionInfo, ConnectorError, ConnectorProperties, ImageId, InstanceId, SnapshotId,
    VolumeId,
};
use serde::{Deserialize, Serialize};

use crate::status::{AttachStatus, AttachmentStatus, SnapshotStatus, VolumeStatus};

/// What a new volume is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Nothing: reads as zeroes.
    Raw,
    /// An image.
    Image(ImageId),
    /// A snapshot.
    Snapshot(SnapshotId),
    /// Another volume, at one instant of the call.
    Volume(VolumeId),
}

/// A request for a new volume.
#[derive(Debug, Clone)]
pub struct CreateRequest {
    /// Identity, when the caller wants to choose it (tagged runs); else random.
    pub id: Option<VolumeId>,
    /// Display name.
    pub name: String,
    /// Size in GiB, at least 1 and at least the source's.
    pub size_gib: u64,
    /// Volume type; `None` takes the source's, else the default type.
    pub volume_type: Option<String>,
    /// Availability zone; `None` takes any.
    pub availability_zone: Option<String>,
    /// Source.
    pub source: Source,
}

impl CreateRequest {
    /// An empty volume of the default type.
    pub fn raw(name: impl Into<String>, size_gib: u64) -> Self {
        Self {
            id: None,
            name: name.into(),
            size_gib,
            volume_type: None,
            availability_zone: None,
            source: Source::Raw,
        }
    }

    /// From this source.
    pub fn from_source(mut self, source: Source) -> Self {
        self.source = source;
        self
    }

    /// Of this type.
    pub fn of_type(mut self, volume_type: impl Into<String>) -> Self {
        self.volume_type = Some(volume_type.into());
        self
    }

    /// With this identity.
    pub fn with_id(mut self, id: VolumeId) -> Self {
        self.id = Some(id);
        self
    }
}

/// A volume row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VolumeView {
    /// Identity.
    pub id: VolumeId,
    /// Identity that back-end names derive from.
    pub name_id: VolumeId,
    /// Display name.
    pub name: String,
    /// Size in GiB.
    pub size_gib: u64,
    /// Status.
    pub status: VolumeStatus,
    /// Aggregate of its attachments.
    pub attach_status: AttachStatus,
    /// Status to go back to after a refused extend.
    pub previous_status: Option<VolumeStatus>,
    /// `host@backend#pool` once scheduled.
    pub host: Option<String>,
    /// Volume type.
    pub volume_type: Option<String>,
    /// What it was made from.
    pub source: Source,
    /// The driver's object id.
    pub provider_id: Option<String>,
    /// The driver's own text.
    pub provider_location: Option<String>,
    /// May be attached to several instances.
    pub multiattach: bool,
    /// Belongs to the internal tenant (image cache), not to the user.
    pub internal: bool,
    /// Time of creation.
    pub created_at: Duration,
}

impl VolumeView {
    /// The part of the host string before `#`.
    pub fn backend(&self) -> Option<&str> {
        self.host.as_deref().map(|h| h.split('#').next().unwrap_or(h))
    }

    /// The part of the host string after `#`.
    pub fn pool(&self) -> Option<&str> {
        self.host.as_deref().and_then(|h| h.split_once('#')).map(|(_, pool)| pool)
    }
}

/// A snapshot row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SnapshotView {
    /// Identity.
    pub id: SnapshotId,
    /// The volume it was taken of.
    pub volume: VolumeId,
    /// Display name.
    pub name: String,
    /// Size of the volume at that time in GiB.
    pub size_gib: u64,
    /// Status.
    pub status: SnapshotStatus,
    /// The driver's object id.
    pub provider_id: Option<String>,
    /// The driver's own text.
    pub provider_location: Option<String>,
}

/// An attachment row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AttachmentView {
    /// Identity.
    pub id: AttachmentId,
    /// Volume.
    pub volume: VolumeId,
    /// Instance.
    pub instance: InstanceId,
    /// Host of the instance.
    pub host: String,
    /// Status.
    pub status: AttachmentStatus,
    /// Connector of the host, once it is known.
    pub connector: Option<ConnectorProperties>,
    /// How the host reaches the volume, once connected; without secrets.
    pub connection_info: Option<ConnectionInfo>,
}

/// An instance row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstanceView {
    /// Identity.
    pub id: InstanceId,
    /// Compute host.
    pub host: String,
}

/// A block device mapping row (Nova), joined with the guest's disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BdmView {
    /// Instance.
    pub instance: InstanceId,
    /// Volume.
    pub volume: VolumeId,
    /// Attachment, once reserved.
    pub attachment: Option<AttachmentId>,
    /// Device name in the guest, such as `/dev/vdb`.
    pub device_name: String,
    /// Size that the guest was told, in GiB.
    pub size_gib: u64,
    /// Path on the host while the guest has the disk.
    pub host_path: Option<String>,
}

/// An entry of the image cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CacheEntryView {
    /// Image.
    pub image: ImageId,
    /// `host@backend#pool` of the cached volume.
    pub host: String,
    /// The cached volume.
    pub volume: VolumeId,
    /// Its size in GiB.
    pub size_gib: u64,
    /// Version of the image that it holds.
    pub image_version: u64,
    /// Order of last use.
    pub last_used: u64,
}

/// Quota usage: in use and reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct QuotaView {
    /// Volumes in use.
    pub volumes: u64,
    /// GiB in use.
    pub gigabytes: u64,
    /// Snapshots in use.
    pub snapshots: u64,
    /// Volumes reserved by running requests.
    pub reserved_volumes: u64,
    /// GiB reserved.
    pub reserved_gigabytes: u64,
    /// Snapshots reserved.
    pub reserved_snapshots: u64,
}

/// One status change. `None` stands for "no row".
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Transition {
    /// Order.
    pub seq: u64,
    /// When.
    pub at: Duration,
    /// `volume`, `attach_status` (of a volume), `snapshot` or `attachment`.
    pub kind: &'static str,
    /// Identity.
    pub id: String,
    /// Status before.
    pub from: Option<&'static str>,
    /// Status after.
    pub to: Option<&'static str>,
}

/// What an extend did.
#[derive(Debug, Clone, PartialEq)]
pub struct ExtendReport {
    /// New size in GiB.
    pub size_gib: u64,
    /// Per compute host that has the volume: the size in bytes that it sees now, or why it does not.
    pub hosts: BTreeMap<String, Result<u64, ConnectorError>>,
}
