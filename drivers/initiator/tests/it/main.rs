//! The initiator, against a target of the tests' own.
//!
//! One program: each test file that is a program of its own is compiled and linked with everything below it once more.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod connector;
mod defects;
mod disk;
mod fake;
mod fuzz_corpus;
mod host_table;
mod login;
mod misbehaviour;
mod multipath;
mod overtake;
mod policy;
mod session;
