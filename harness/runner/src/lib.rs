//! Plans, stories, runs and replays: the director of the bench.
//!
//! A [`story`] file is text; a [`plan::Plan`] is the same as data.
//! This crate knows the workflow and the checkers by their values, never an array, a driver or a target: those are
//! put together by the composition root and handed in.

pub mod plan;
pub mod story;
