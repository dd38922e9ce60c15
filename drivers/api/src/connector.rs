//! The host side (os-brick's role): from connection info to a block device, and back to nothing.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{BlockDevice, BlockError, ConnectionInfo, Outcome, Wwn};

/// What a host tells a driver about itself (os-brick "connector properties").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectorProperties {
    /// Host name.
    pub host: String,
    /// Address the host is known by.
    pub ip: IpAddr,
    /// iSCSI initiator name; absent when the host has none.
    pub initiator: Option<String>,
    /// The host wants several paths.
    pub multipath: bool,
    /// The host refuses fewer than two paths.
    pub enforce_multipath: bool,
}

/// A connected volume.
#[derive(Clone)]
pub struct Attached {
    /// Device path, such as `/dev/sda` or `/dev/dm-0`.
    pub path: String,
    /// Identity read from the device itself.
    pub wwn: Wwn,
    /// WWID of the multipath map, when there is one.
    pub multipath_id: Option<String>,
    /// Number of paths that work now.
    pub paths: usize,
    /// The data plane.
    pub device: Arc<dyn BlockDevice>,
}

impl std::fmt::Debug for Attached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attached")
            .field("path", &self.path)
            .field("wwn", &self.wwn)
            .field("multipath_id", &self.multipath_id)
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}

/// Why a connect, disconnect or extend on a host failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectorError {
    /// No portal could be logged in to.
    #[error("no session to {portals}: {message}")]
    NoSession {
        /// The portals tried.
        portals: String,
        /// Last reason.
        message: String,
    },
    /// The target refused the credentials (login status class 2).
    #[error("target refused the login: {message}")]
    LoginRefused {
        /// Status class and detail in words.
        message: String,
    },
    /// Sessions are up, but no device with that LUN appeared.
    #[error("no device for LUN {lun} after {scans} scans")]
    DeviceNotFound {
        /// The LUN looked for.
        lun: u16,
        /// Scans made.
        scans: u32,
    },
    /// A device appeared, but it is another volume (ATT-006, D36).
    #[error("device at LUN {lun} is {found}, expected {expected}")]
    WrongDevice {
        /// The LUN looked at.
        lun: u16,
        /// The identity wanted.
        expected: Wwn,
        /// The identity read from the device.
        found: Wwn,
    },
    /// Fewer paths than enforced.
    #[error("only {found} path(s), multipath is enforced")]
    TooFewPaths {
        /// Paths found.
        found: usize,
    },
    /// Data could not be flushed, so nothing was removed (no force).
    #[error("flush failed, device kept: {0}")]
    FlushFailed(BlockError),
    /// Paths of the volume show different sizes, or one could not be read.
    #[error("capacity differs between paths: {message}")]
    UnequalPaths {
        /// Path and size of each.
        message: String,
    },
    /// Reading or writing the device failed.
    #[error(transparent)]
    Device(#[from] BlockError),
    /// The connection info makes no sense.
    #[error("bad connection info: {message}")]
    BadConnectionInfo {
        /// What is wrong.
        message: String,
    },
}

impl ConnectorError {
    /// A failed connect leaves the host as it was (INV-H7), so only device errors leave doubt.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::FlushFailed(e) | Self::Device(e) => e.outcome(),
            _ => Outcome::NotDone,
        }
    }
}

/// One iSCSI session in the host table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostSession {
    /// Portal address as text.
    pub portal: String,
    /// Target name.
    pub iqn: String,
    /// True while logged in.
    pub logged_in: bool,
}

/// One SCSI device in the host table; it outlives its mapping until it is removed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostDevice {
    /// `host:channel:target:lun`.
    pub hctl: String,
    /// Device name, such as `sda`.
    pub name: String,
    /// Identity read when it appeared.
    pub wwn: Option<Wwn>,
    /// Portal of its session.
    pub portal: String,
    /// Capacity known to the host, in bytes.
    pub size_bytes: u64,
}

/// One multipath map.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MultipathMap {
    /// Map name, such as `dm-0`.
    pub name: String,
    /// WWID.
    pub wwid: String,
    /// Names of its path devices.
    pub paths: Vec<String>,
    /// Size of the map in bytes.
    pub size_bytes: u64,
}

/// Everything that exists on one host: the host inventory of the census.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HostCensus {
    /// Host name.
    pub host: String,
    /// Sessions.
    pub sessions: Vec<HostSession>,
    /// Node records as `portal,iqn`.
    pub nodes: Vec<String>,
    /// SCSI devices.
    pub devices: Vec<HostDevice>,
    /// by-id names and the device each points to, as `name -> device`.
    pub by_id: Vec<String>,
    /// Multipath maps.
    pub maps: Vec<MultipathMap>,
    /// Rules of its own that the host broke, as `RULE: what is wrong`. No object, so an empty host may have some.
    #[serde(default)]
    pub violations: Vec<String>,
}

impl HostCensus {
    /// True when nothing at all is left on the host.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
            && self.nodes.is_empty()
            && self.devices.is_empty()
            && self.by_id.is_empty()
            && self.maps.is_empty()
    }
}

/// The connector of one host. Calls on one host are serialised by the implementation (os-brick's host-wide lock).
#[async_trait]
pub trait Connector: Send + Sync {
    /// Who this host is.
    fn properties(&self) -> ConnectorProperties;

    /// Logs in where needed, finds the device by LUN and WWN on every path, and builds a multipath map when more
    /// than one path is wanted. Repeatable. A failure leaves the host as it was (INV-H7).
    async fn connect_volume(&self, info: &ConnectionInfo) -> Result<Attached, ConnectorError>;

    /// Flushes, removes map and devices, logs out of sessions nobody else uses. Repeatable: nothing there is success.
    /// Without `force` a failed flush keeps everything; with it nothing is left whatever fails (INV-H5).
    async fn disconnect_volume(&self, info: &ConnectionInfo, force: bool) -> Result<(), ConnectorError>;

    /// Makes every path and the map show the array's present size, and answers it in bytes (INV-H8).
    async fn extend_volume(&self, info: &ConnectionInfo) -> Result<u64, ConnectorError>;

    /// Registers `key` on every path of a connected volume and takes its persistent reservation (write exclusive, registrants
    /// only), to outlast a loss of power (SPC-4 clause 5.14, APTPL): what mpathpersist does. Repeatable.
    async fn reserve_volume(&self, _info: &ConnectionInfo, _key: u64) -> Result<(), ConnectorError> {
        Err(ConnectorError::BadConnectionInfo { message: "this host takes no reservations".to_owned() })
    }

    /// The key that holds the volume's persistent reservation; `release` is a key of ours whose registrations, and the
    /// reservation with them, go afterwards.
    async fn reservation(
        &self,
        _info: &ConnectionInfo,
        _release: Option<u64>,
    ) -> Result<Option<u64>, ConnectorError> {
        Ok(None)
    }

    /// The LUNs that each target of the connection info shows to this host (REPORT LUNS), as far as it has sessions; `None`
    /// from a host that cannot ask.
    async fn shown_luns(&self, _info: &ConnectionInfo) -> Result<Option<Vec<Vec<u16>>>, ConnectorError> {
        Ok(None)
    }

    /// The host inventory now.
    fn census(&self) -> HostCensus;
}
