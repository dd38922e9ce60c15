//! Mini Cinder, Nova and Glance: what turns user operations into driver, connector and block device calls.
//!
//! | module | holds |
//! |---|---|
//! | [`ControlPlane`] (`control`) | the facade that the runner calls |
//! | `engine` | flows: steps with undo, intent log, unwinding, crash recovery |
//! | [`scheduler`] | filters, capacity maths, weigher: a pure function that explains itself |
//! | `volume` | create, delete, extend, snapshot, clone, flatten, re-image |
//! | [`image`] | image store, safety inspector, readers, digests, sample image, image cache |
//! | `attach` | Cinder's attachment API and the control host's own attachments |
//! | `compute` | Nova's side: block device mappings, attach, detach, extend notification |
//! | `db` | the state database (SQLite) |
//! | [`testing`] | fake array and hosts, and the helpers that fail or crash each step of each flow in turn |
//!
//! This crate knows storage only as the traits of `sanbench-api` and the outside only as `sanbench_world::Env`.
//! It must not know any array, protocol or simulation.
//!
//! Start with [`ControlPlane`], then read one flow, such as `volume/extend.rs`, with its step table on top.

mod attach;
mod compute;
mod config;
mod control;
mod db;
mod defects;
mod engine;
mod error;
pub mod image;
mod model;
pub mod scheduler;
mod status;
pub mod testing;
mod volume;

pub use attach::LocalRead;
pub use compute::{AttachOptions, DetachOptions};
pub use config::{Backend, CacheLimits, Converter, FlowsConfig, QuotaLimits, Repeat};
pub use control::{ControlPlane, HeldBefore, Leftovers, LockKind, LockName, StartReport};
pub use defects::FlowDefects;
pub use engine::{FlowInfo, IllegalEvent, StepEvent, StepStatus, flow_catalogue, next_status};
pub use error::{Cause, Failure, FlowError, Refusal};
pub use model::{
    AttachmentView, BdmView, CacheEntryView, CreateRequest, ExtendReport, InstanceView, QuotaView,
    SnapshotView, Source, Transition, VolumeView,
};
pub use status::{AttachStatus, AttachmentStatus, SnapshotStatus, VolumeStatus};
