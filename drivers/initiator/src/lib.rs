//! User-space iSCSI initiator, multipath, host table and connector (os-brick's role).
//!
//! # What it is for
//!
//! From a [`sanbench_api::ConnectionInfo`] to a block device on one host, and back to nothing. Everything that a
//! Linux host would keep in its kernel, in iscsid, in multipathd and in udev lives here as plain values.
//!
//! # Where things are
//!
//! | module | what it knows | source |
//! |---|---|---|
//! | [`config`] | what a host is told at construction; planted connector defects | |
//! | [`negotiate`], [`chap`], [`login`] | the login phase as the initiator sees it, sans-IO | RFC 7143 sections 6, 12, 13 |
//! | [`sequence`], [`session`] | one task's data; the full feature phase, sans-IO | RFC 7143 sections 4.2, 11 |
//! | [`tolerance`] | what is let pass in spite of the RFC: one list | |
//! | [`link`], [`portal`] | the pump of one connection; a session that is re-established for ever | RFC 7143 section 7 |
//! | [`discovery`] | SendTargets | RFC 7143 appendix C |
//! | [`signals`] | unit attentions and announcements, sorted by what they mean; counters | |
//! | [`scsi`], [`device`] | a logical unit over one session: identity, capacity, retries | SAM-5, SPC-4, SBC-3 |
//! | `commands` | ALUA, reservations, mode pages, COMPARE AND WRITE and more, as methods of [`device::PathDevice`] | SPC-4, SBC-3 |
//! | [`retry`] | what status and sense data mean for whoever sent a command: one table | SAM-5, SPC-4 |
//! | [`disk`] | the block device on top of paths: bounds, splitting, pipelining | SBC-3 |
//! | [`host`] | the host table: sessions, nodes, h:c:t:l devices, by-id names, maps, uevents; a pure value | |
//! | [`multipath`] | one block device over several paths: ALUA, checker, failover, fencing of lost writes | SPC-4 5.15 |
//! | [`connector`] | [`HostConnector`]: connect, disconnect, extend, census | os-brick |
//!
//! Start with [`HostConnector`] for the use, with [`session::Session`] for the protocol.
//!
//! # What it must not know
//!
//! Arrays, management calls, the simulated target, whether the world is simulated.

pub mod chap;
mod commands;
pub mod config;
pub mod connector;
pub mod device;
pub mod discovery;
pub mod disk;
pub mod error;
pub mod host;
pub mod link;
pub mod login;
pub mod multipath;
pub mod negotiate;
pub mod portal;
pub mod retry;
pub mod scsi;
pub mod sequence;
pub mod session;
pub mod signals;
pub mod tolerance;

mod join;

pub use commands::PortIdentity;
pub use config::{ConnectorDefects, HostConfig, PathsConfig, SessionConfig};
pub use connector::HostConnector;
pub use error::{LoginError, ProtocolError};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks and ignores poison: the guarded values are valid between any two statements.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
