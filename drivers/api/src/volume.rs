//! What the workflow hands to a driver: the part of a database row that a driver may know.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{SnapshotId, VolumeId};

/// A volume as a driver sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRef {
    /// The id that users see.
    pub id: VolumeId,
    /// The id that back-end object names derive from (Cinder `name_id`; differs from `id` after a migration).
    pub name_id: VolumeId,
    /// Size in GiB (what Cinder calls "gb").
    pub size_gib: u64,
    /// Name of the pool within the back end (the part of the host string after `#`).
    pub pool: String,
    /// Extra specs of the volume type.
    pub extra_specs: BTreeMap<String, String>,
    /// False for temporary volumes (migration targets): these are never flattened for depth.
    pub use_quota: bool,
    /// What the driver recorded when it made the volume.
    pub provider_id: Option<String>,
    /// The driver's own text, opaque to everybody else.
    pub provider_location: Option<String>,
}

/// A snapshot as a driver sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRef {
    /// The id that users see.
    pub id: SnapshotId,
    /// The volume it was taken of.
    pub volume: VolumeRef,
    /// Size in GiB of that volume at snapshot time.
    pub volume_size_gib: u64,
    /// What the driver recorded when it took the snapshot.
    pub provider_id: Option<String>,
    /// The driver's own text, opaque to everybody else.
    pub provider_location: Option<String>,
}

/// What the workflow must store after a driver call (Cinder "model update"). `None` means no change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ModelUpdate {
    /// New `provider_id`.
    pub provider_id: Option<String>,
    /// New `provider_location`.
    pub provider_location: Option<String>,
    /// Metadata to merge into the row.
    pub metadata: BTreeMap<String, String>,
}
