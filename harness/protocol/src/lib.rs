//! iSCSI and SCSI conformance cases of sanbench's own.
//!
//! What it is for: named cases, each of which exercises named requirements (groups ISC, SCS, MPX, DAT of the catalogue)
//! against *any* target through portals that it is given: the simulated one, Debian's tgt, a real array. Every case ends in
//! bounded time with a [`Verdict`]; a failure says what was expected, what came, which clause asks for it, and the last
//! PDUs on the wire.
//!
//! What it must not know: the initiator of `drivers/initiator` (each is the other's test), any target, any array, reports,
//! stories. It writes only to the units that its caller names as scratch.
//!
//! | module | holds |
//! |---|---|
//! | [`suite`] | chapters, cases, how a case is run |
//! | [`lab`] | hosts, paths, the scratch unit; how sessions are opened |
//! | [`outcome`] | verdicts and failures |
//! | `raw` | the raw client: connection, login, commands |
//! | `monitor` | passive monitors of numbering, lengths, residuals and unit attentions; at work on every PDU of every case |
//! | `dialogue` | PDUs out of the segments of a connection, and what its login agreed on |
//! | [`passive`] | the same monitors over connections of others |
//! | `tape` | the trace of a case |
//! | `chap`, `cdb` | authentication and CDBs by hand |
//! | `cases` | the cases, one module a chapter |
//!
//! Start with [`suite::CHAPTERS`] and [`run_case`].

mod cases;
mod cdb;
mod chap;
mod dialogue;
pub mod lab;
mod monitor;
pub mod outcome;
pub mod passive;
mod raw;
pub mod suite;
mod tape;

pub use chap::Credentials;
pub use dialogue::Dialogue;
pub use lab::{Grow, Host, Lab, Path, Setup};
pub use monitor::Breach;
pub use outcome::{Failure, Verdict};
pub use suite::{CHAPTERS, Case, Chapter, Done, run_case};
