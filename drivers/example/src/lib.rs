//! Example of a vendor's driver crate: copy it, put your own calls into [`ExampleDriver`], and run
//!
//! ```text
//! cargo test -p sanbench-example                                    every story and requirement, in simulation
//! SANBENCH_PROFILE=array.toml cargo test -p sanbench-example        the same against your array
//! cargo run -p sanbench-example -- run --env array.toml --report out
//! ```
//!
//! The example is an OEM's: an array that speaks the OceanStor dialect under another brand, with options of its own. Its driver
//! therefore hands every call on to the Tengling driver. A driver for another dialect has its own client in that place, and needs
//! a profile, since the bench simulates no other dialect.
//!
//! | where | what |
//! |---|---|
//! | `options` | the vendor's option names |
//! | [`ExampleDriver`] | the contract: one method for each call of the volume service |
//! | [`entry`], [`registry`] | how the bench learns of the driver |
//! | `main.rs` | the vendor's own `sanbench` |
//! | `tests/conformance.rs` | one line makes the tests |

mod options;

use std::collections::BTreeMap;
use std::sync::Arc;

use sanbench::Registry;
use sanbench::registry::{Built, DriverEntry, OptionError};
use sanbench_api::{
    BackendStats, ConnectionInfo, ConnectorProperties, DriverError, Inventory, ModelUpdate, SnapshotRef,
    VolumeDriver, VolumeRef, async_trait,
};
use sanbench_tengling::{DriverDefects, TenglingConfig, TenglingDriver};
use sanbench_world::Env;

/// The class that `volume_driver` of a `cinder.conf` names.
pub const CLASS: &str = "cinder.volume.drivers.example.ExampleISCSIDriver";

/// What the bench knows with this crate: all that it carries itself, and this driver as the one that is judged.
pub fn registry() -> Registry {
    Registry::builtin().with_default_driver(entry())
}

/// The driver as an entry of a registry.
pub fn entry() -> DriverEntry {
    DriverEntry {
        class: CLASS,
        title: "Example: an OEM's array of the OceanStor dialect",
        // Defects that `selftest` may plant in the driver. A driver that has none lists none.
        defects: &[],
        build,
        // Where the array's documents lay down how its clients name things, and other clients count on it: that rule.
        naming: None,
    }
}

fn build(env: &Env, options: &BTreeMap<String, String>, _planted: &[String]) -> Result<Built, OptionError> {
    let inner = options::translate(options)?;
    let (config, warnings) = TenglingConfig::from_options(&inner)
        .map_err(|e| OptionError { key: options::ours(&e.key, options), problem: e.problem })?;
    Ok(Built {
        // For journal and report. No credentials.
        address: inner.get("tengling_sanip").cloned().unwrap_or_default(),
        warnings: warnings
            .into_iter()
            .map(|w| format!("{}: {}", options::ours(&w.key, options), w.message))
            .collect(),
        // What the model holds the driver to. `None`: it promises no limit.
        max_clone_depth: Some(config.max_clone_depth),
        flatten_from_snapshot: config.flatten_volume_from_snapshot,
        driver: Arc::new(ExampleDriver::new(env.clone(), config)),
    })
}

/// The driver. What each call promises is said by [`VolumeDriver`]; `sanbench list requirements` says what is judged.
pub struct ExampleDriver {
    inner: TenglingDriver,
}

impl ExampleDriver {
    /// A driver that takes time, network and chance from `env` and from nowhere else: in simulation the clock is virtual, and the
    /// same seed must give the same calls.
    pub fn new(env: Env, config: TenglingConfig) -> Self {
        Self { inner: TenglingDriver::with_defects(env, config, DriverDefects::default()) }
    }
}

#[async_trait]
impl VolumeDriver for ExampleDriver {
    async fn do_setup(&self) -> Result<(), DriverError> {
        self.inner.do_setup().await
    }

    async fn shutdown(&self) {
        self.inner.shutdown().await;
    }

    async fn get_volume_stats(&self) -> Result<BackendStats, DriverError> {
        self.inner.get_volume_stats().await
    }

    async fn create_volume(&self, volume: &VolumeRef) -> Result<ModelUpdate, DriverError> {
        self.inner.create_volume(volume).await
    }

    async fn delete_volume(&self, volume: &VolumeRef) -> Result<(), DriverError> {
        self.inner.delete_volume(volume).await
    }

    async fn create_snapshot(&self, snapshot: &SnapshotRef) -> Result<ModelUpdate, DriverError> {
        self.inner.create_snapshot(snapshot).await
    }

    async fn delete_snapshot(&self, snapshot: &SnapshotRef) -> Result<(), DriverError> {
        self.inner.delete_snapshot(snapshot).await
    }

    async fn create_volume_from_snapshot(
        &self,
        volume: &VolumeRef,
        snapshot: &SnapshotRef,
    ) -> Result<ModelUpdate, DriverError> {
        self.inner.create_volume_from_snapshot(volume, snapshot).await
    }

    async fn create_cloned_volume(
        &self,
        volume: &VolumeRef,
        source: &VolumeRef,
    ) -> Result<ModelUpdate, DriverError> {
        self.inner.create_cloned_volume(volume, source).await
    }

    async fn extend_volume(&self, volume: &VolumeRef, new_size_gib: u64) -> Result<(), DriverError> {
        self.inner.extend_volume(volume, new_size_gib).await
    }

    async fn flatten_volume(&self, volume: &VolumeRef) -> Result<(), DriverError> {
        self.inner.flatten_volume(volume).await
    }

    fn validate_connector(&self, connector: &ConnectorProperties) -> Result<(), DriverError> {
        self.inner.validate_connector(connector)
    }

    async fn create_export(
        &self,
        volume: &VolumeRef,
        connector: &ConnectorProperties,
    ) -> Result<Option<ModelUpdate>, DriverError> {
        self.inner.create_export(volume, connector).await
    }

    async fn remove_export(&self, volume: &VolumeRef) -> Result<(), DriverError> {
        self.inner.remove_export(volume).await
    }

    async fn ensure_export(&self, volume: &VolumeRef) -> Result<(), DriverError> {
        self.inner.ensure_export(volume).await
    }

    async fn initialize_connection(
        &self,
        volume: &VolumeRef,
        connector: &ConnectorProperties,
    ) -> Result<ConnectionInfo, DriverError> {
        self.inner.initialize_connection(volume, connector).await
    }

    async fn terminate_connection(
        &self,
        volume: &VolumeRef,
        connector: Option<&ConnectorProperties>,
        force: bool,
    ) -> Result<bool, DriverError> {
        self.inner.terminate_connection(volume, connector, force).await
    }

    /// The array's own listing. Without it the bench cannot say what was left behind, and requirements about that stay unjudged.
    fn inventory(&self) -> Option<&dyn Inventory> {
        self.inner.inventory()
    }
}
