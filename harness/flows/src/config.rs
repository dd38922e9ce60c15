//! What a control plane is built with.

use std::sync::Arc;
use std::time::Duration;

use sanbench_api::VolumeDriver;

use crate::defects::FlowDefects;

/// One back end: a volume service with its driver.
#[derive(Clone)]
pub struct Backend {
    /// `host@backend`, without a pool.
    pub name: String,
    /// Its driver.
    pub driver: Arc<dyn VolumeDriver>,
    /// Availability zone of the service.
    pub zone: String,
}

impl Backend {
    /// A back end in the zone `nova`.
    pub fn new(name: impl Into<String>, driver: Arc<dyn VolumeDriver>) -> Self {
        Self { name: name.into(), driver, zone: "nova".into() }
    }

    /// In another zone.
    pub fn in_zone(mut self, zone: impl Into<String>) -> Self {
        self.zone = zone.into();
        self
    }
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backend").field("name", &self.name).field("zone", &self.zone).finish_non_exhaustive()
    }
}

/// Limits of the image cache (Cinder `image_volume_cache_max_size_gb` and `_max_count`); zero means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimits {
    /// Sum of the sizes of cached volumes, in GiB.
    pub max_gib: u64,
    /// Number of cached volumes.
    pub max_count: u64,
}

/// Quota of the one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaLimits {
    /// Volumes.
    pub volumes: u64,
    /// GiB of volumes and snapshots together.
    pub gigabytes: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// GiB of one volume.
    pub per_volume_gigabytes: u64,
}

impl Default for QuotaLimits {
    fn default() -> Self {
        Self { volumes: 1_000, gigabytes: 100_000, snapshots: 1_000, per_volume_gigabytes: 65_536 }
    }
}

/// When images are converted by `qemu-img` before they are written. Where there is none, or no directory for its result
/// (the simulation), the in-process reader does it all. Both give the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Converter {
    /// Whenever there is one, as Cinder does.
    #[default]
    WhenPresent,
    /// Only for formats that the in-process reader lacks: no copy of the image is staged, which is faster.
    WhenNeeded,
}

/// Test mode of the flow engine: what is done twice, to prove that it may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Repeat {
    /// Nothing.
    #[default]
    Never,
    /// Every step.
    Steps,
    /// Every undo.
    Undos,
}

/// Options of the control plane.
#[derive(Debug, Clone)]
pub struct FlowsConfig {
    /// Quota of the tenant.
    pub quota: QuotaLimits,
    /// Image cache; `None` switches it off.
    pub image_cache: Option<CacheLimits>,
    /// Attempts to place a volume, at least 1; 1 means no retry (`scheduler_max_attempts`).
    pub scheduler_max_attempts: u32,
    /// `capacity_weight_multiplier`: positive spreads, negative stacks.
    pub capacity_weight_multiplier: f64,
    /// `max_over_subscription_ratio` for pools that do not report one.
    pub default_over_subscription: f64,
    /// A capability report older than this is renewed before a placement.
    pub stats_max_age: Duration,
    /// `use_multipath_for_image_xfer`.
    pub multipath_for_image_xfer: bool,
    /// `enforce_multipath_for_image_xfer`.
    pub enforce_multipath_for_image_xfer: bool,
    /// First four bytes of every volume and snapshot id that is not given by the caller (tagged runs).
    pub id_prefix: Option<[u8; 4]>,
    /// Volume type of requests that name none.
    pub default_volume_type: Option<String>,
    /// Bound of an image's virtual size in GiB, whatever the volume.
    pub max_image_gib: u64,
    /// When `qemu-img` converts.
    pub converter: Converter,
    /// Image chunks in flight towards the volume, at least 1.
    pub image_writes_in_flight: usize,
    /// Extra tries of a failed undo, with pauses of 1, 2, 4 ... seconds between.
    pub undo_retries: u32,
    /// The database is synced to the disk, so that it outlasts the power of this machine. Without, it outlasts only a kill of
    /// the process, and every step is faster.
    pub power_safe: bool,
    /// Test mode of the engine.
    pub repeat: Repeat,
    /// Planted defects.
    pub defects: FlowDefects,
}

impl Default for FlowsConfig {
    fn default() -> Self {
        Self {
            quota: QuotaLimits::default(),
            image_cache: None,
            scheduler_max_attempts: 3,
            capacity_weight_multiplier: 1.0,
            default_over_subscription: 20.0,
            stats_max_age: Duration::from_secs(60),
            multipath_for_image_xfer: false,
            enforce_multipath_for_image_xfer: false,
            id_prefix: None,
            default_volume_type: None,
            max_image_gib: 16_384,
            converter: Converter::default(),
            image_writes_in_flight: 4,
            undo_retries: 2,
            power_safe: true,
            repeat: Repeat::Never,
            defects: FlowDefects::default(),
        }
    }
}
