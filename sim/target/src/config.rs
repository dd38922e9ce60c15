//! What a target is willing to do: negotiation limits, time limits, bounds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sanbench_array::{Chap, ChapCredentials};

use crate::defects::TargetDefects;

/// Largest transfer of one READ, WRITE or VERIFY, in blocks of 512 bytes (8 MiB); told in the block limits page.
pub const MAX_TRANSFER_BLOCKS: u32 = 16_384;
/// Largest range of one WRITE SAME, in blocks (8 MiB).
pub const MAX_WRITE_SAME_BLOCKS: u64 = 16_384;
/// Largest sum of ranges in one UNMAP, in blocks (512 MiB).
pub const MAX_UNMAP_BLOCKS: u32 = 1 << 20;
/// Largest COMPARE AND WRITE, in blocks (of each of its two halves).
pub const MAX_COMPARE_BLOCKS: u32 = 255;
/// Largest WRITE ATOMIC, in blocks (1 MiB).
pub const MAX_ATOMIC_BLOCKS: u32 = 2048;
/// Largest number of descriptors in one UNMAP.
pub const MAX_UNMAP_DESCRIPTORS: u32 = 256;

/// Where a portal sends its initiators instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// Address of the other portal.
    pub to: SocketAddr,
    /// For good (01/02), or for this once (01/01).
    pub permanent: bool,
}

/// The spin of a target on real sockets: about what waking a sleeping processor costs.
pub const SPIN: Duration = Duration::from_micros(50);

/// Values of a target that are given once, at construction.
#[derive(Clone)]
pub struct TargetConfig {
    /// `TargetAlias` told at login.
    pub alias: String,
    /// Largest data segment the target receives, bytes (512 to 2^24 - 1); `MaxRecvDataSegmentLength`.
    pub max_recv_data_segment: u32,
    /// Upper bound of `MaxBurstLength`, bytes.
    pub max_burst: u32,
    /// Upper bound of `FirstBurstLength`, bytes.
    pub first_burst: u32,
    /// Upper bound of `MaxOutstandingR2T`.
    pub max_outstanding_r2t: u16,
    /// The target's wish for `InitialR2T`; the result is the OR of both sides.
    pub initial_r2t: bool,
    /// The target's wish for `ImmediateData`; the result is the AND of both sides.
    pub immediate_data: bool,
    /// `DefaultTime2Wait`, seconds; the result is the larger one.
    pub time2wait: u16,
    /// `DefaultTime2Retain`, seconds; the result is the smaller one.
    pub time2retain: u16,
    /// Highest `ErrorRecoveryLevel` agreed to, 0 or 1.
    pub error_recovery_level: u8,
    /// Bytes of unacknowledged answers that a session of recovery level 1 keeps for retransmission (RFC 7143 section 7.2).
    pub replay_buffer: usize,
    /// Commands that an initiator may have outstanding (the CmdSN window), 1 to 1,024.
    pub queue_depth: u16,
    /// Bytes that the write commands of one connection may hold or have asked for at a time. One command is always served.
    pub write_buffer: usize,
    /// Commands that may wait for write data in all sessions together; further ones hear BUSY or TASK SET FULL.
    pub max_tasks: usize,
    /// Connections served at a time; further ones are closed at once.
    pub max_connections: usize,
    /// Connections that may be in login at a time; further ones are closed at once.
    pub max_logins: usize,
    /// Time from accept to full feature phase, after which a connection is closed.
    pub login_timeout: Duration,
    /// Silence after which a NOP-In ping is sent; zero: never.
    pub ping_interval: Duration,
    /// Time that a ping waits for its answer before the connection is closed.
    pub ping_timeout: Duration,
    /// Time in which a peer must take some of the answers that wait for it, else the connection is closed; zero: for ever.
    pub stall_timeout: Duration,
    /// Portals that send normal sessions elsewhere (RFC 7143 section 11.13.5, status class 1), by portal address.
    pub redirects: BTreeMap<SocketAddr, Redirect>,
    /// Names of targets that were here once (status 02/04).
    pub removed_targets: BTreeSet<String>,
    /// CHAP that initiators without a record of their own must pass; `None` lets them in without.
    pub default_chap: Option<Chap>,
    /// Name and secret with which the target proves itself to initiators whose record has none (mutual CHAP).
    pub own_chap: Option<ChapCredentials>,
    /// Refuse normal sessions of initiators that the array does not know and that would see nothing (status 02/02).
    pub refuse_strangers: bool,
    /// A `scsi` note also for each command that goes well (many); every other answer, login and logout are always noted.
    pub trace_commands: bool,
    /// Wrong on purpose; none by default.
    pub defects: TargetDefects,
    /// Offer SANITIZE, which destroys a whole unit at one command.
    pub allow_sanitize: bool,
    /// How long a connection looks again for input after bytes moved before it sleeps. Zero (the default) in the
    /// simulation; [`SPIN`] where real sockets are served and latency counts. An idle connection always sleeps.
    pub spin: Duration,
    /// Called for a fault that says that the node must crash here; the connection then falls silent.
    pub on_crash: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl Default for TargetConfig {
    fn default() -> TargetConfig {
        TargetConfig {
            alias: "sanbench".to_owned(),
            max_recv_data_segment: 256 * 1024,
            max_burst: 1024 * 1024,
            first_burst: 256 * 1024,
            max_outstanding_r2t: 8,
            initial_r2t: false,
            immediate_data: true,
            time2wait: 2,
            time2retain: 0,
            error_recovery_level: 1,
            replay_buffer: 4 * 1024 * 1024,
            queue_depth: 128,
            write_buffer: 64 * 1024 * 1024,
            max_tasks: 16_384,
            max_connections: 4096,
            max_logins: 1024,
            login_timeout: Duration::from_secs(15),
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(60),
            redirects: BTreeMap::new(),
            removed_targets: BTreeSet::new(),
            default_chap: None,
            own_chap: None,
            refuse_strangers: false,
            trace_commands: false,
            spin: Duration::ZERO,
            defects: TargetDefects::default(),
            allow_sanitize: false,
            on_crash: None,
        }
    }
}

impl fmt::Debug for TargetConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TargetConfig")
            .field("max_recv_data_segment", &self.max_recv_data_segment)
            .field("max_burst", &self.max_burst)
            .field("first_burst", &self.first_burst)
            .field("queue_depth", &self.queue_depth)
            .field("max_connections", &self.max_connections)
            .finish_non_exhaustive()
    }
}
