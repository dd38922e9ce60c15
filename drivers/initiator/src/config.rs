//! What a host is told when it is built. Plain values with the defaults of open-iscsi where it has them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::chap::ChapHash;
use crate::host::UeventPlan;
use crate::multipath::policy::Failback;

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

/// Planted faults of the connector and of the initiator below it, for the bench's own proof. The default has none. Each switch
/// is read in exactly one place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectorDefects {
    /// D29: a lost write is sent over another path at once, without proof that the lost session is dead.
    pub overtake_on_failover: bool,
    /// D35: every login comes with another ISID.
    pub fresh_isid: bool,
    /// D36: a device that is already at the LUN is taken without reading its identity.
    pub skip_wwn_check: bool,
    /// D37: the path that is returned is that of the first device of the session, whatever its LUN.
    pub first_device_of_session: bool,
    /// D38: a disconnect takes whatever device is at the LUN, also that of another volume.
    pub disconnect_by_lun: bool,
    /// D39: a disconnect does not wait until multipathd has let go of the paths, and a connect trusts its old list.
    pub trust_daemon_list: bool,
    /// D40: of several sessions to one portal, a disconnect sees the first only.
    pub first_session_only: bool,
    /// D41: a portal that fails is never reported, and the connect waits for it for ever.
    pub lost_portal_failure: bool,
    /// D42: a login that the target could not serve just then is not tried again.
    pub no_login_retry: bool,
    /// D43: two processes of one host do not see each other's lock.
    pub process_local_lock: bool,
    /// D44: a forced disconnect stops at the first failed flush and leaves the devices.
    pub leave_devices_on_force: bool,
    /// D45: extend rescans the first path only and reports success.
    pub extend_one_path_only: bool,
    /// D46: extend does not resize the multipath map.
    pub skip_map_resize: bool,
    /// D66: a session whose second login fails as well is never tried again.
    pub give_up_relogin: bool,
    /// D67: a disconnect logs out although other volumes use the session.
    pub logout_shared_session: bool,
    /// D68: the device of the first partition is returned in place of the whole device.
    pub return_partition: bool,
    /// D71: UNMAP is sent to devices that do not offer it.
    pub assume_unmap: bool,
    /// B1897787: disconnect does not flush (INV-H4).
    pub skip_flush_on_disconnect: bool,
    /// SCS-019: BUSY and TASK SET FULL fail a command.
    pub busy_is_failure: bool,
    /// MPX-011: a unit attention fails the command that met it.
    pub attention_is_failure: bool,
    /// ATT-004: a LUN that does not answer a scan counts as empty, and the device there is taken away.
    pub silence_is_absence: bool,
}

impl ConnectorDefects {
    /// Every switch: name, id in the catalogue of defects, what it does.
    pub const ALL: &'static [(&'static str, &'static str, &'static str)] = &[
        (
            "overtake_on_failover",
            "D29",
            "a lost write is sent over another path while the old session may live",
        ),
        ("fresh_isid", "D35", "every login comes with another ISID"),
        ("skip_wwn_check", "D36", "a device found at the LUN is taken without reading its identity"),
        ("first_device_of_session", "D37", "the path of another device of the session is returned"),
        ("disconnect_by_lun", "D38", "a disconnect takes whatever device is at the LUN"),
        ("trust_daemon_list", "D39", "multipathd's list of removed paths is trusted by the next attach"),
        ("first_session_only", "D40", "of several sessions to a portal a disconnect sees the first only"),
        ("lost_portal_failure", "D41", "a portal that fails is never reported, so a connect never ends"),
        ("no_login_retry", "D42", "a login that the target could not serve just then is not tried again"),
        ("process_local_lock", "D43", "two processes of one host do not see each other's lock"),
        ("leave_devices_on_force", "D44", "a forced disconnect stops at the first failed flush"),
        ("extend_one_path_only", "D45", "an extend rescans the first path only and reports success"),
        ("skip_map_resize", "D46", "an extend does not resize the multipath map"),
        ("give_up_relogin", "D66", "a session whose login fails twice is never tried again"),
        ("logout_shared_session", "D67", "a disconnect logs out of a session that other volumes use"),
        ("return_partition", "D68", "the first partition is returned in place of the whole device"),
        ("assume_unmap", "D71", "UNMAP is sent to devices that do not offer it"),
        ("skip_flush_on_disconnect", "B1897787", "a disconnect does not flush"),
        ("busy_is_failure", "SCS-019", "BUSY and TASK SET FULL fail a command"),
        ("attention_is_failure", "MPX-011", "a unit attention fails the command that met it"),
        (
            "silence_is_absence",
            "ATT-004",
            "a LUN that does not answer a scan counts as empty, and its device is taken away",
        ),
    ];

    /// Switches on the defect called `name`; false if there is none of that name.
    pub fn set(&mut self, name: &str) -> bool {
        let switch = match name {
            "overtake_on_failover" => &mut self.overtake_on_failover,
            "fresh_isid" => &mut self.fresh_isid,
            "skip_wwn_check" => &mut self.skip_wwn_check,
            "first_device_of_session" => &mut self.first_device_of_session,
            "disconnect_by_lun" => &mut self.disconnect_by_lun,
            "trust_daemon_list" => &mut self.trust_daemon_list,
            "first_session_only" => &mut self.first_session_only,
            "lost_portal_failure" => &mut self.lost_portal_failure,
            "no_login_retry" => &mut self.no_login_retry,
            "process_local_lock" => &mut self.process_local_lock,
            "leave_devices_on_force" => &mut self.leave_devices_on_force,
            "extend_one_path_only" => &mut self.extend_one_path_only,
            "skip_map_resize" => &mut self.skip_map_resize,
            "give_up_relogin" => &mut self.give_up_relogin,
            "logout_shared_session" => &mut self.logout_shared_session,
            "return_partition" => &mut self.return_partition,
            "assume_unmap" => &mut self.assume_unmap,
            "skip_flush_on_disconnect" => &mut self.skip_flush_on_disconnect,
            "busy_is_failure" => &mut self.busy_is_failure,
            "attention_is_failure" => &mut self.attention_is_failure,
            "silence_is_absence" => &mut self.silence_is_absence,
            _ => return false,
        };
        *switch = true;
        true
    }
}

/// How a multipath map uses its paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathsConfig {
    /// How often the checker looks at each path.
    pub checker_interval: Duration,
    /// How long one look may take before the path counts as broken.
    pub checker_timeout: Duration,
    /// When the load returns to a better group.
    pub failback: Failback,
    /// Commands that may wait in one map while no path is usable, each for `replacement_timeout`; `None`: they fail at once.
    pub queue_if_no_path: Option<usize>,
    /// How long a path in transition is waited for (used when commands do not queue).
    pub transition_limit: Duration,
    /// How long after a partial attach the missing portals are tried again; the pauses double up to twelve times this.
    pub heal_after: Duration,
}

impl Default for PathsConfig {
    fn default() -> Self {
        Self {
            checker_interval: Duration::from_secs(5),
            checker_timeout: Duration::from_secs(10),
            failback: Failback::Immediate,
            queue_if_no_path: Some(4096),
            transition_limit: Duration::from_secs(60),
            heal_after: Duration::from_secs(10),
        }
    }
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
    /// session. A lost write is then sent over another path, after a LOGICAL UNIT RESET there (see [`crate::multipath::fence`]).
    /// It must be longer than the target's ping interval and time-out together; zero: never trust that.
    pub fence_after: Duration,
    /// How long one command may take before it is aborted.
    pub command_timeout: Duration,
    /// Rescans for a device after the first, free one (os-brick `device_scan_attempts`).
    pub scan_attempts: u32,
    /// How long the other logins may still take once one path works (os-brick's grace of 10 s).
    pub path_grace: Duration,
    /// How multipath maps use their paths.
    pub paths: PathsConfig,
    /// Sessions to every portal (os-brick: one for each interface), 1 to 8.
    pub interfaces: u16,
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
            paths: PathsConfig::default(),
            interfaces: 1,
            sources: BTreeMap::new(),
            uevents: UeventPlan::default(),
            trace: false,
            defects: ConnectorDefects::default(),
            on_crash: CrashHook::default(),
        }
    }
}
