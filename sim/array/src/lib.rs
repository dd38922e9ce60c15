//! The simulated array as a plain synchronous value: commands and data requests in, outcomes out, time as an argument.
//!
//! It knows pools, LUNs, snapshots, linked clones and their split, full copies, hosts, groups, mapping views, initiators
//! and the thin copy-on-write store behind them. It must not know HTTP, JSON, iSCSI, SCSI, tasks or clocks: `sim/rest` and
//! `sim/target` translate.
//!
//! Where to start: [`Array`] and its [`Array::apply`] with [`Command`]; [`Array::read`] for the data plane.
//!
//! | module | what lives there |
//! |---|---|
//! | `config`, `defects` | construction: sizes, limits, planted defects |
//! | `command`, `refusal`, `object` | the public vocabulary |
//! | `array` | the value: construction, dispatch, listings |
//! | `volumes` | commands on LUNs and snapshots |
//! | `copies`, `jobs` | full copies; background work as time passes |
//! | `migration`, `rollback` | a LUN moves to another pool; a LUN becomes a snapshot of itself again |
//! | [`pair`] | HyperMetro and replication pairs with another array over a link |
//! | `mapping`, `reach` | hosts, groups, views; who sees what under which number |
//! | `data` | read, write, unmap |
//! | `access` | controllers, ownership, access states of target port groups (ALUA) |
//! | `cache` | the volatile write cache, flush, power loss |
//! | `atomics` | compare and write, or-write, block copies, sanitize |
//! | `reservation` | persistent and legacy reservations of one device |
//! | `traffic` | limits of commands and bytes per second |
//! | `durable` | the journal: what outlasts the value, and an array made of it again |
//! | `services` | labels, cache partitions, QoS policies |
//! | `events` | what the array tells by itself; pools that become too full |
//! | `kin` | who descends from whom |
//! | `paths` | how initiators see access states |
//! | `vstores` | virtual arrays: whose objects a command may touch |
//! | `gate`, `handle` | the array as its parties share it; where answers wait for durability |
//! | `census` | what exists, and the white-box audit |
//! | `store` | sparse copy-on-write content and space accounting |
//!
//! Units: sizes in blocks of 512 bytes, times since the world's start.

mod access;
mod array;
mod atomics;
mod cache;
mod census;
mod command;
mod config;
mod copies;
mod data;
mod defects;
mod durable;
mod events;
mod gate;
mod handle;
mod jobs;
mod kin;
mod mapping;
mod migration;
mod object;
pub mod pair;
mod paths;
mod reach;
mod refusal;
mod reservation;
mod rollback;
mod services;
mod store;
mod table;
mod traffic;
mod volumes;
mod vstores;

pub use access::{AccessError, AccessState, Controller, MOST_CONTROLLERS, TargetPortGroup, controller_name};
pub use array::Array;
pub use bytes::Bytes;
pub use cache::{LostWrites, PowerLoss};
pub use census::Census;
pub use command::{Command, Outcome};
pub use config::{ArrayConfig, Disks, Limits, PoolConfig, PortalConfig};
pub use defects::Defects;
pub use durable::{
    Changes, Damage, EXTENT_PAGES, ExtentChange, JournalDefects, MEDIUM_PAGE, Medium, NodeChange,
    ObjectChange, Places, Rotten, Saved, SavedExtent, SavedNode, SavedObject,
};
pub use events::{Event, EventKind};
pub use gate::{Gate, GateStats, Lost};
pub use handle::{ArrayGuard, ArrayHandle, Stirs};
pub use jobs::JobFault;
pub use object::{
    Chap, ChapCredentials, ChapUpdate, CloneOrigin, ClonePair, CopyStatus, DeviceId, DeviceInfo, Geometry,
    GroupRef, Host, HostGroup, Initiator, Lun, LunCopy, LunGroup, Mapped, Migration, Pool, PortGroup, Portal,
    Rollback, Secret, Snapshot, SplitStatus, View,
};
pub use paths::{HostAccess, InitiatorPaths, PathView};
pub use refusal::{IoError, Refusal};
pub use reservation::{Alert, ModeState, NexusId, ReservationKind, Reservations, ReserveError, Touch};
pub use services::{Labels, Partition, PartitionKind, QosPolicy, TrafficLimits};
pub use store::{BLOCK_BYTES, EXTENT_BLOCKS};
pub use traffic::TrafficPolicy;
pub use vstores::{Mention, SYSTEM_VSTORE, VStore};
