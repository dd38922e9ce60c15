//! Time, chance, network, disks and processes of a node, simulated or live.
//!
//! Everything above this crate reaches the outside through one handle, [`Env`]. Two makes of it exist: [`sim`]
//! runs all nodes on one virtual clock and one seeded network inside the process; [`live`] maps the same calls
//! to the operating system. Code above never asks which one it was given.
//!
//! | module | holds |
//! |---|---|
//! | [`Env`] (`env`) | the handle: clock, tasks, chance, connections, disk, faults, notes |
//! | `dice` | keyed, stable pseudo-random streams |
//! | `task` | tasks that belong to a node and die with it |
//! | `net` | [`Stream`] and [`Listener`], one type for both makes |
//! | `disk` | what outlives a crash of the node's tasks |
//! | `loss` | what lost segments cost |
//! | `fault` | the fault plan and the points that ask it |
//! | `trace` | the history lines of [`Env::note`] |
//! | `capture` | payload segments for packet captures |
//! | `exec` | child processes (live only) |
//! | [`sim`] | virtual clock, simulated network, crashes, cuts |
//! | [`live`] | the real thing |
//!
//! This crate must not know what travels over its streams: no iSCSI, no HTTP, no volumes. It is also the only
//! place that may call the runtime's clock, sockets and spawn directly.
//!
//! Start with [`Env`], then [`sim::SimWorld::run`].

mod capture;
mod dice;
mod disk;
mod env;
mod exec;
mod fault;
pub mod live;
mod loss;
mod net;
mod recorder;
mod schedule;
pub mod sim;
mod task;
mod trace;
pub mod watch;

pub use capture::{Segment, SegmentKind, SegmentTap};
pub use dice::{Dice, dice};
pub use disk::Disk;
pub use env::{Elapsed, Env};
pub use exec::{Command, ExecError, Output};
pub use fault::{Delivery, Fault, FaultPlan, Firings, Wrong, by_point, covers};
pub use live::{LiveConfig, LiveEnd, LiveWorld};
pub use net::{Listener, Stream};
pub use schedule::Schedule;
pub use sim::{Crash, SimConfig, SimWorld};
pub use task::{Task, TaskGone};
pub use trace::TraceLine;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks and ignores poison: the guarded values are valid between any two statements, and a panicking task must
/// not take the other nodes of the world with it.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
