//! What goes into a session and comes out of it.

use std::time::Duration;

use bytes::Bytes;
use sanbench_wire::pdu::{AsyncEvent, LogoutResponseCode, Residual, TaskResponse};
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::sense::Sense;
use sanbench_wire::scsi::status::Status;

/// The caller's name for something it asked for. Never reused within a session.
pub type Ticket = u64;

/// A SCSI command to be run.
#[derive(Clone, Debug)]
pub struct Request {
    /// Logical unit.
    pub lun: Lun,
    /// CDB.
    pub cdb: [u8; 16],
    /// What moves.
    pub data: Transfer,
}

/// Data direction of a command.
#[derive(Clone, Debug)]
pub enum Transfer {
    /// Nothing.
    None,
    /// At most this many bytes come in.
    In(u32),
    /// These bytes go out.
    Out(Bytes),
}

/// How a command ended at the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// SCSI status.
    pub status: Status,
    /// Sense data of CHECK CONDITION.
    pub sense: Option<Sense>,
    /// Data that came in, in order.
    pub data: Vec<Bytes>,
    /// Difference to what was expected, bytes.
    pub residual: Residual,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandEnd {
    /// The device server answered.
    Completed(Completion),
    /// The target answered with a service failure or rejected the PDU; nothing is known of the effect.
    Failed(String),
    /// A task management function ended it: it will not be applied any later (SAM-5 clause 7.2).
    Aborted,
    /// It was withdrawn before any byte of it was sent, or the target refused to take it: it has had no effect and will have
    /// none.
    Withdrawn,
    /// The connection ended with the command under way: it may have taken effect, and may still do so until the session is
    /// known to be dead at the target.
    Lost,
}

/// What an asynchronous message says (RFC 7143 section 11.9.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// A SCSI asynchronous event of a logical unit.
    Scsi {
        /// Logical unit.
        lun: Lun,
        /// Its sense data, when it can be read.
        sense: Option<Sense>,
    },
    /// The target asks for a logout. The session lets open commands end, takes no new ones, and logs out by itself in time.
    LogoutRequested,
    /// The target drops this connection, or all of the session; it wants no login before `wait` has passed.
    Dropped {
        /// Event.
        event: AsyncEvent,
        /// Time2Wait.
        wait: Duration,
    },
    /// The tasks of a logical unit are ended by the target.
    TasksTerminated(Lun),
    /// Anything else.
    Other(AsyncEvent),
}

/// What the session tells its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A command ended.
    Command(Ticket, CommandEnd),
    /// A task management function was answered.
    Managed(Ticket, TaskResponse),
    /// A text exchange ended.
    Text(Ticket, Bytes),
    /// The target closed the session as asked.
    LoggedOut {
        /// How it went.
        response: LogoutResponseCode,
        /// The target wants no login before this has passed (Time2Wait).
        wait: Duration,
    },
    /// The target announced something.
    Announced(Announcement),
}

/// Limits that the owner chooses.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Commands in flight at most.
    pub queue_depth: usize,
    /// Silence before a ping.
    pub ping_interval: Duration,
    /// Silence after a ping before the connection is given up.
    pub ping_timeout: Duration,
}
