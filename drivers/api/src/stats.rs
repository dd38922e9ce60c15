//! The capability report of a back end (Cinder `get_volume_stats`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A capacity in GiB, or one of the two words that Cinder allows instead.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capacity {
    /// GiB, never negative.
    Gib(f64),
    /// Without limit.
    Infinite,
    /// Not known; the capacity filter lets it pass.
    Unknown,
}

/// `max_over_subscription_ratio`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverSubscription {
    /// Provisioned may be this many times the usable total; at least 1.
    Ratio(f64),
    /// Derived by the scheduler from provisioned and used capacity.
    Auto,
}

/// A capability that extra specs are matched against.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Capability {
    /// True or false.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
    /// Any element may match.
    List(Vec<Capability>),
    /// Nested capabilities, reached by colon-separated keys.
    Map(BTreeMap<String, Capability>),
}

/// What one pool reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PoolStats {
    /// Pool name, the part after `#` in the host string.
    pub pool_name: String,
    /// Total capacity.
    pub total_capacity_gb: Capacity,
    /// Free capacity.
    pub free_capacity_gb: Capacity,
    /// Sum of the sizes of all volumes in the pool, if the driver knows it.
    pub provisioned_capacity_gb: Option<f64>,
    /// Share of the total that must stay free, in percent (0 to 100).
    pub reserved_percentage: u32,
    /// Over-subscription of thin volumes.
    pub max_over_subscription_ratio: OverSubscription,
    /// Thin volumes offered.
    pub thin_provisioning_support: bool,
    /// Thick volumes offered.
    pub thick_provisioning_support: bool,
    /// Attachment to several instances offered.
    pub multiattach: bool,
    /// Extend while attached offered.
    pub online_extend_support: bool,
    /// Everything else, matched by unscoped or `capabilities:` extra specs.
    pub capabilities: BTreeMap<String, Capability>,
}

/// What a back end reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackendStats {
    /// The name that volume types pin to (extra spec `volume_backend_name`).
    pub volume_backend_name: String,
    /// Vendor.
    pub vendor_name: String,
    /// Version of the driver.
    pub driver_version: String,
    /// `iSCSI` and the like.
    pub storage_protocol: String,
    /// Pools, at least one.
    pub pools: Vec<PoolStats>,
}
