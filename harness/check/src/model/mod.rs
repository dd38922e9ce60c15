//! Reference models: [`data`] for contents, [`control`] for what exists; [`runs`] and [`world`] are what they are made of.

mod blame;
pub mod control;
pub mod data;
pub mod group;
pub mod overlap;
mod replica;
mod restore;
pub mod runs;
mod walk;
pub mod world;
