//! The contract between the workflow and everything that speaks to storage.
//!
//! Start at [`VolumeDriver`] (what Cinder calls a volume driver: the control plane of one back end), then
//! [`Connector`] (os-brick's role: connection info to block device on one host) and [`BlockDevice`] (the data
//! plane). [`Inventory`] is the optional listing that lets the bench audit an array.
//!
//! Values and traits only. No network, no clock, no randomness, no defaults of any array: those belong to the
//! drivers. Every method says whether it may be repeated and which refusals it may answer.

mod connection;
mod connector;
mod device;
mod driver;
mod error;
mod ids;
mod inventory;
mod secret;
mod stats;
mod volume;

pub use connection::{AccessMode, ChapAuth, ConnectionInfo, TargetPath};
pub use connector::{
    Attached, Connector, ConnectorError, ConnectorProperties, HostCensus, HostDevice, HostSession,
    MultipathMap,
};
pub use device::{BLOCK_SIZE, BlockDevice, BlockError, LbaRange, LbaState};
pub use driver::VolumeDriver;
pub use error::{DriverError, Outcome, RefusalKind};
pub use ids::{AttachmentId, IdError, ImageId, InstanceId, SnapshotId, VolumeId, Wwn};
pub use inventory::{
    ArrayInventory, GroupEntry, HostEntry, InitiatorEntry, Inventory, JobEntry, LunEntry, ObjectKind,
    ObjectRef, ParentLink, SnapshotEntry, ViewEntry,
};
pub use secret::Secret;
pub use stats::{BackendStats, Capability, Capacity, OverSubscription, PoolStats};
pub use volume::{ModelUpdate, SnapshotRef, VolumeRef};

/// Re-exported so that implementors write `#[sanbench_api::async_trait]` with the version the traits use.
pub use async_trait::async_trait;
