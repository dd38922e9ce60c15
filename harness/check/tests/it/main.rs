//! The models, by properties.
//!
//! One program: each test file that is a program of its own is compiled and linked with everything below it once more.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod control_model;
mod data_model;
mod linearizable;
