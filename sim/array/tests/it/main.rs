//! The array's core, case by case; `model` draws commands at random.
//!
//! One program: each test file that is a program of its own is compiled and linked with everything below it once more.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod access;
mod cache;
mod moves;
mod rules;
mod store;
