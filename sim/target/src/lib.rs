//! iSCSI target and SCSI device server of the simulated array.
//!
//! In front of an array stands a [`Target`]: it accepts connections on the array's portals, logs initiators in (RFC 7143),
//! and serves SCSI commands (SPC-4, SBC-3) on what the array shows to each of them. The same code runs on simulated and
//! on real networks.
//!
//! # Where things are
//!
//! | module | what it does |
//! |---|---|
//! | [`shell`](Target) | accept, read, write: the only async code |
//! | `session` | a connection as a value: bytes and time in, bytes out |
//! | `login`, `chap`, `negotiate` | the login phase, authentication, the rule of each key |
//! | `common` | what the parts of a session share: numbers, output, the way out |
//! | `full`, `manage` | full feature phase: command order, NOP, logout; task management and events |
//! | `recovery` | SNACK and what is kept for it |
//! | `limit` | answers that a traffic policy holds back |
//! | `tasks`, `writes` | SCSI commands and their answers; write data: R2T, Data-Out |
//! | `text` | SendTargets |
//! | `registry` | the sessions of a target, for reinstatement and resets |
//! | `scsi` | the device server: masking, unit attentions, commands on blocks |
//! | `config`, `surroundings` | what a target may do; secrets, faults, history lines |
//! | `defects` | planted defects |
//!
//! Start with [`Session::handle`] for the way of a PDU, and `scsi::begin` for the way of a command.
//!
//! # Fault points
//!
//! `target.login` (each Login Request), `target.command.before` (nothing done yet; also as
//! `target.command.before:SYNCHRONIZE CACHE` and so on, for commands other than READ), `target.command.after`
//! (work done, answer not sent). `Fail` answers with an error, `Delay` waits, `DropReply` does the work and stays silent, `CrashNode`
//! calls [`TargetConfig::on_crash`].
//!
//! It must not know REST, volumes' names in the control plane, flows or checkers.

mod ahs;
mod chap;
mod common;
mod config;
mod defects;
mod full;
mod limit;
mod login;
mod manage;
mod negotiate;
mod recovery;
mod registry;
mod scsi;
mod session;
mod shell;
mod surroundings;
mod tasks;
mod text;
pub mod upset;
mod writes;

pub use config::{
    MAX_ATOMIC_BLOCKS, MAX_COMPARE_BLOCKS, MAX_TRANSFER_BLOCKS, MAX_UNMAP_BLOCKS, MAX_UNMAP_DESCRIPTORS,
    MAX_WRITE_SAME_BLOCKS, Redirect, SPIN, TargetConfig,
};
pub use defects::TargetDefects;
pub use login::PortalContext;
pub use registry::Registry;
pub use session::{Session, SessionParts, fault_points};
pub use shell::{Target, serve};
pub use surroundings::Surroundings;
