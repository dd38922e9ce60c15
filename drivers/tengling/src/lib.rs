//! Driver of the Tengling IP SAN, an array with the OceanStor dialect of management REST.
//!
//! Start at [`TenglingDriver`] (`driver.rs`). From the outside in:
//!
//! | module | for |
//! |---|---|
//! | `config` | the back-end section of a `cinder.conf` as values |
//! | `driver` | [`sanbench_api::VolumeDriver`]: names what each call does |
//! | `provision`, `retire`, `attach` | volumes come, go, and meet hosts; every step beside its undo |
//! | `inventory` | the listing of the array and removal of single objects |
//! | `lun`, `snapshot`, `clone`, `copy`, `host`, `mapping`, `pool`, `port` | nouns of the dialect: which calls, which fields, which codes mean "done before" |
//! | `settle` | create and delete that are never executed twice; listings that miss nothing |
//! | `client` | session, renewal, endpoints, back-off, time limits of one call |
//! | `transport`, `tls` | HTTP/1.1 connections over the world's streams |
//! | `codes`, `error`, `names`, `value` | tables and small rules |
//!
//! It must not know: the simulated array (both are written from the same description, each is the other's test), the
//! workflow and its database, the data plane. Time, network and chance come from [`sanbench_world::Env`] alone.

mod attach;
mod client;
mod clone;
mod codes;
pub mod config;
mod copy;
mod defects;
mod driver;
mod error;
mod host;
mod inventory;
mod lun;
mod mapping;
mod names;
mod pool;
mod port;
mod provision;
mod retire;
mod settle;
mod snapshot;
mod tls;
mod transport;
mod value;

pub use config::{ConfigError, Limits, TenglingConfig, Warning};
pub use defects::DriverDefects;
pub use driver::TenglingDriver;

/// The driver class under which a `cinder.conf` names this driver (`volume_driver`).
pub const CLASS: &str = "cinder.volume.drivers.tengling.tengling_driver.TenglingISCSIDriver";
