//! Plans, stories and runs: the director of the bench.
//!
//! | module | what it is for |
//! |---|---|
//! | [`story`] | the story language: one table of verbs, parser, printer |
//! | [`plan`] | the same as data: what the seed leaves open, the seed decides |
//! | [`site`](Site), [`remote`](Remote) | what a story stands on, and its second array; the composition root makes them |
//! | `execute` | plays steps: operations to the workflow, answers to the models |
//! | `read`, `audit` | reads volumes back; compares array, database and hosts with the model |
//! | `judge` | what is believed during a case |
//! | `blame` | which requirement which operation breaks or upholds |
//! | [`shrink`] | a short plan that fails like a long one |
//! | `run` | [`run_case`]: a case from its first to its last step |
//!
//! This crate knows the workflow and the checkers by their values, never an array, a driver or a target. Start with
//! [`run_case`].

mod audit;
mod blame;
mod case;
mod execute;
pub mod generate;
mod judge;
pub mod plan;
mod read;
mod remote;
mod run;
pub mod shrink;
mod site;
pub mod story;

pub use case::{CaseOutcome, CaseSpec};
pub use remote::{PairState, Remote};
pub use run::run_case;
pub use site::{Cleaned, PathState, Promise, Severed, Site, SiteError, SiteImage};
