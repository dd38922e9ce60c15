//! The witnesses: reference models and checkers that judge what the array, the driver and the workflow did.
//!
//! What it is for: the runner tells the models which operations were asked and how they were answered, and hands over what
//! was observed (bytes read, inventories, status changes, statistics); the models answer [`Finding`]s, each with the id of
//! the requirement that is broken.
//! What it must not know: the system itself. It imports the contract's value types and nothing else, does no I/O, has no
//! clock and draws nothing. It is written from the specification, not from the simulated array, and shares no code with it.
//!
//! Where to start:
//! - [`verdict`]: findings, and how many of them make a verdict;
//! - [`stamp`]: blocks that describe themselves, and the naming of what is wrong with one;
//! - [`model::data`]: what every block of every volume and snapshot must hold;
//! - [`model::control`]: which volumes, snapshots and attachments exist, as a small set of possible worlds;
//! - [`census`]: the inventories of array, database and hosts against that expectation;
//! - [`lifecycle`]: the status machines as tables;
//! - [`depth`], [`scheduler`], [`capacity`], [`access`], [`locks`]: single rules, recomputed independently.

pub mod access;
pub mod capacity;
pub mod census;
pub mod depth;
pub mod lifecycle;
pub mod locks;
pub mod model;
pub mod scheduler;
pub mod stamp;
pub mod verdict;

pub use model::control::{Answer, ControlModel, Operation, Source};
pub use model::data::{DataModel, ImageDigests, ModelError, Subject};
pub use model::group::Timed;
pub use model::overlap::Ticket;
pub use stamp::{Diagnosis, RunTag, Stamp};
pub use verdict::{Finding, Ledger, Verdict};
