//! What a driver hands to a host so that it can reach a volume (Cinder connection_info).

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{Secret, VolumeId, Wwn};

/// One way to the volume: a portal of a target and the LUN there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TargetPath {
    /// Portal address.
    pub portal: SocketAddr,
    /// iSCSI name of the target.
    pub iqn: String,
    /// Logical unit number as the host sees it (0 is valid).
    pub lun: u16,
}

/// CHAP credentials for the session (RFC 7143 section 12.1.3). Never serialised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChapAuth {
    /// CHAP name that the host sends.
    pub username: String,
    /// The host's secret.
    pub password: Secret,
    /// For mutual CHAP: name and secret that the target must prove.
    pub target: Option<(String, Secret)>,
}

/// Access that the attachment grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessMode {
    /// Read and write.
    ReadWrite,
    /// Writes must be refused.
    ReadOnly,
}

/// How a host reaches a volume. Serialised without credentials: what is stored suffices to disconnect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionInfo {
    /// Selects the connector: `iscsi`.
    pub driver_volume_type: String,
    /// The id that users see.
    pub volume_id: VolumeId,
    /// All paths, the preferred one first; at least one.
    pub paths: Vec<TargetPath>,
    /// Session credentials.
    #[serde(skip)]
    pub auth: Option<ChapAuth>,
    /// Identity that the device must show in VPD page 83h. The connector refuses any other device (ATT-006).
    pub wwn: Option<Wwn>,
    /// Access mode.
    pub access_mode: AccessMode,
    /// The device may be told about unused blocks.
    pub discard: bool,
    /// More than one path is wanted.
    pub multipath: bool,
    /// Fewer than two paths is an error.
    pub enforce_multipath: bool,
}
