//! Both worlds.
//!
//! One program: each test file that is a program of its own is compiled and linked with everything below it once more.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;
mod determinism;
mod faults;
mod http;
mod live;
mod live_ways;
mod shapes;
mod streams;
