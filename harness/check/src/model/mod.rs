//! Reference models: [`data`] for contents, [`control`] for what exists.

mod blame;
pub mod control;
pub mod data;
pub mod runs;
