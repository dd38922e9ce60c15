//! Cinder's volume manager and API: one flow a file.

pub(crate) mod build;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod extend;
pub(crate) mod flatten;
pub(crate) mod from_image;
pub(crate) mod snapshot;
mod write;
