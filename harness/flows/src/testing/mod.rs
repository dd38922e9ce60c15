//! Fakes and helpers to test flows with: an array and hosts in memory, and runs that fail, drop or crash each step
//! of a flow in turn and then demand that nothing is left behind.
//!
//! Start with [`fail_each_step`].

mod array;
mod host;
mod steps;

pub use array::{FakeArray, FakeDriver, MemoryDisk};
pub use host::FakeHost;
pub use steps::{Outcome, Rig, Story, crash_each_step, fail_each_step, run_once, run_with};
