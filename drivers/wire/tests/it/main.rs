//! PDUs, keys, CDBs and answers as bytes.
//!
//! One program: each test file that is a program of its own is compiled and linked with everything below it once more.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod fuzz_corpus;
mod roundtrip;
mod scsi;
mod vectors;
