//! What a host is told when it is built. Plain values with the defaults of open-iscsi where it has them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::chap::ChapHash;
use crate::host::UeventPlan;

/// What the initiator offers for one digest key, in order of preference (RFC 7143 section 13.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DigestOffer {
    /// `None`.
    #[default]
    Never,
    /// `CRC32C,None`.
    Prefer,
    /// `None,CRC32C`.
    Allow,
    /// `CRC32C` alone: a target that cannot do it is refused.
    Require,
}

/// Offers of the operational negotiation and the time limits of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// HeaderDigest.
    pub header_digest: DigestOffer,
    /// DataDigest.
    pub data_digest: DigestOffer,
    /// InitialR2T. `false` lets unsolicited Data-Out flow when the target agrees.
    pub initial_r2t: bool,
    /// ImmediateData.
    pub immediate_data: bool,
    /// MaxRecvDataSegmentLength that we declare, bytes, 512 to 16,777,215.
    pub max_recv_data_segment: u32,
    /// MaxBurstLength, bytes, 512 to 16,777,215.
    pub max_burst: u32,
    /// FirstBurstLength, bytes, 512 to `max_burst`.
    pub first_burst: u32,
    /// MaxOutstandingR2T, 1 to 65,535.
    pub max_outstanding_r2t: u16,
    /// DefaultTime2Wait, seconds, 0 to 3,600.
    pub time2wait: u16,
    /// DefaultTime2Retain, seconds, 0 to 3,600.
    pub time2retain: u16,
    /// CHAP algorithms, the preferred one first.
    pub chap_hashes: Vec<ChapHash>,
    /// With one-way CHAP credentials, `None` is offered too, so that a target that wants no authentication works.
    pub offer_none_with_chap: bool,
    /// Limit for connecting and the whole login.
    pub login_timeout: Duration,
    /// How often an idle connection is pinged.
    pub ping_interval: Duration,
    /// How long an answer to a ping may take before the connection is given up.
    pub ping_timeout: Duration,
    /// Limit for a task management answer or a logout.
    pub manage_timeout: Duration,
    /// Commands in flight at most, besides what the CmdSN window allows.
    pub queue_depth: usize,
    /// Redirections followed during one login.
    pub max_redirects: u32,
    /// Distinguishes several initiators of one name on one host (ISID qualifier); they would end each other's sessions.
    pub isid_qualifier: u16,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            header_digest: DigestOffer::Never,
            data_digest: DigestOffer::Never,
            initial_r2t: false,
            immediate_data: true,
            max_recv_data_segment: 256 * 1024,
            max_burst: 1024 * 1024,
            first_burst: 256 * 1024,
            max_outstanding_r2t: 4,
            time2wait: 2,
            time2retain: 0,
            chap_hashes: vec![ChapHash::Sha3_256, ChapHash::Sha256, ChapHash::Sha1, ChapHash::Md5],
            offer_none_with_chap: true,
            login_timeout: Duration::from_secs(15),
            ping_interval: Duration::from_secs(5),
            ping_timeout: Duration::from_secs(5),
            manage_timeout: Duration::from_secs(10),
            queue_depth: 128,
            max_redirects: 4,
            isid_qualifier: 0,
        }
    }
}

/// Planted faults of the connector, for the bench's own proof. The default has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectorDefects {
    /// D36: a device that is already at the LUN is taken without reading its identity.
    pub skip_wwn_check: bool,
    /// D45: extend rescans the first path only and reports success.
    pub extend_one_path_only: bool,
    /// D44: a forced disconnect stops at the first failed flush and leaves the devices.
    pub leave_devices_on_force: bool,
    /// Disconnect does not flush (INV-H4).
    pub skip_flush_on_disconnect: bool,
}

/// Called when the fault plan wants this node to crash; whoever drives the run crashes it. Without a hook the asking call just never
/// ends.
#[derive(Clone, Default)]
pub struct CrashHook(pub Option<Arc<dyn Fn() + Send + Sync>>);

impl fmt::Debug for CrashHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "CrashHook(set)" } else { "CrashHook(none)" })
    }
}

/// One host.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// Host name.
    pub host: String,
    /// iSCSI name of the initiator.
    pub iqn: String,
    /// Address by which the host is known.
    pub ip: IpAddr,
    /// The host wants several paths.
    pub multipath: bool,
    /// The host refuses fewer than two paths.
    pub enforce_multipath: bool,
    /// Session offers and limits.
    pub session: SessionConfig,
    /// How long commands wait for a lost session or for any path to come back before they fail.
    pub replacement_timeout: Duration,
    /// How long after the loss of a connection the target is trusted to have noticed it by its own pings, and to have ended the
    /// session. A lost write is then sent over another path, after a LOGICAL UNIT RESET there. It must be longer than the
    /// target's ping interval and time-out together; zero: never trust that.
    pub fence_after: Duration,
    /// How long one command may take before it is aborted.
    pub command_timeout: Duration,
    /// Rescans for a device after the first, free one (os-brick `device_scan_attempts`).
    pub scan_attempts: u32,
    /// How long the other logins may still take once one path works (os-brick's grace of 10 s).
    pub path_grace: Duration,
    /// Source address for some portals; others use the default route.
    pub sources: BTreeMap<SocketAddr, IpAddr>,
    /// Delay and bursts of device events.
    pub uevents: UeventPlan,
    /// Per-command notes in the world's history, for debugging.
    pub trace: bool,
    /// Planted faults.
    pub defects: ConnectorDefects,
    /// What a planned crash of this node calls.
    pub on_crash: CrashHook,
}

impl HostConfig {
    /// A host with default limits.
    pub fn new(host: impl Into<String>, iqn: impl Into<String>, ip: IpAddr) -> Self {
        Self {
            host: host.into(),
            iqn: iqn.into(),
            ip,
            multipath: false,
            enforce_multipath: false,
            session: SessionConfig::default(),
            replacement_timeout: Duration::from_secs(120),
            fence_after: Duration::from_secs(60),
            command_timeout: Duration::from_secs(30),
            scan_attempts: 3,
            path_grace: Duration::from_secs(10),
            sources: BTreeMap::new(),
            uevents: UeventPlan::default(),
            trace: false,
            defects: ConnectorDefects::default(),
            on_crash: CrashHook::default(),
        }
    }
}
