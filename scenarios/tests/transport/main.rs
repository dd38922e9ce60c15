//! Faults on live connections: the real connector against the real target over two portals, while stamped I/O runs.
//!
//! Whatever happens to the connections, no read may give what no legal order of the writes gives, every operation ends
//! in bounded virtual time, and the sessions are up again in bounded time after the fault. A failure prints the line that
//! repeats it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may stop")]
#![allow(unreachable_pub, reason = "a test is a crate of its own")]

mod loopback;
mod metro;
mod model;
mod rig;
mod simulated;
