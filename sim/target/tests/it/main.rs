//! The target, against initiators that are driven by hand.
//!
//! One program: each test file that is a program of its own is compiled and linked with everything below it once more.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod bench;
mod commands;
mod exchange;
#[path = "../../fuzz/src/lib.rs"]
mod fuzz;
mod fuzz_corpus;
mod hostile;
mod limit;
mod login;
mod mischief;
mod network;
mod planted;
mod recovery;
mod reservations;
mod session;
mod units;

use fuzz::talker;
