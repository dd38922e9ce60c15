//! A driver under watch: what its contract promises about failed calls is checked where the call ends, before the
//! workflow tidies up behind it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sanbench_api::{
    BackendStats, ConnectionInfo, ConnectorProperties, DriverError, Inventory, ModelUpdate, Outcome,
    RefusalKind, SnapshotRef, VolumeDriver, VolumeRef, async_trait,
};
use sanbench_check::Finding;

/// What the monitors of a site found, and what they are told; shared by all of its drivers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found(Arc<Mutex<Watched>>);

#[derive(Debug, Default)]
struct Watched {
    findings: Vec<Finding>,
    /// Names of objects that somebody else made.
    foreign: BTreeSet<String>,
    /// Names of objects that an earlier call made, or may have made.
    made: BTreeSet<String>,
}

impl Watched {
    fn was_there(&self, name: &str) -> bool {
        self.foreign.contains(name) || self.made.contains(name)
    }
}

impl Found {
    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that was found since the last call.
    pub(crate) fn take(&self) -> Vec<Finding> {
        std::mem::take(&mut self.lock().findings)
    }

    /// An object of this name is not what a call has left.
    pub(crate) fn foreign(&self, name: &str) {
        self.lock().foreign.insert(name.to_owned());
    }
}

/// Passes every call on and looks at the array after a create that was refused.
pub(crate) struct MonitoredDriver {
    inner: Arc<dyn VolumeDriver>,
    found: Found,
}

impl MonitoredDriver {
    pub(crate) fn new(inner: Arc<dyn VolumeDriver>, found: Found) -> Self {
        Self { inner, found }
    }

    /// A call that fails with a refusal has undone its own work (CRE-009). An object that was there before and made the
    /// call fail is nobody's leftover.
    async fn undone<T>(
        &self,
        call: &str,
        answer: &Result<T, DriverError>,
        name: impl Fn(&dyn Inventory) -> String,
    ) {
        let Some(inventory) = self.inner.inventory() else { return };
        let name = name(inventory);
        let error = match answer {
            Err(error) if error.outcome() == Outcome::NotDone => error,
            _ => {
                self.found.lock().made.insert(name);
                return;
            }
        };
        if error.kind() == Some(RefusalKind::Exists) || self.found.lock().was_there(&name) {
            return;
        }
        let Ok(listing) = inventory.list().await else { return };
        let left =
            listing.luns.iter().any(|l| l.name == name) || listing.snapshots.iter().any(|s| s.name == name);
        if left {
            let finding = Finding::new("CRE-009", "contract", "driver", "left over")
                .says(format!("{call} was refused and left {name} on the array"))
                .compared("nothing", format!("{name} exists; the call answered: {error}"));
            self.found.lock().findings.push(finding);
        }
    }

    /// What a call has removed may be made anew.
    fn removed(&self, answer: &Result<(), DriverError>, name: impl Fn(&dyn Inventory) -> String) {
        if let (Ok(()), Some(inventory)) = (answer, self.inner.inventory()) {
            self.found.lock().made.remove(&name(inventory));
        }
    }
}

#[async_trait]
impl VolumeDriver for MonitoredDriver {
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
        let answer = self.inner.create_volume(volume).await;
        self.undone("create_volume", &answer, |i| i.lun_name(&volume.name_id)).await;
        answer
    }

    async fn delete_volume(&self, volume: &VolumeRef) -> Result<(), DriverError> {
        let answer = self.inner.delete_volume(volume).await;
        self.removed(&answer, |i| i.lun_name(&volume.name_id));
        answer
    }

    async fn create_snapshot(&self, snapshot: &SnapshotRef) -> Result<ModelUpdate, DriverError> {
        let answer = self.inner.create_snapshot(snapshot).await;
        self.undone("create_snapshot", &answer, |i| i.snapshot_name(&snapshot.id)).await;
        answer
    }

    async fn delete_snapshot(&self, snapshot: &SnapshotRef) -> Result<(), DriverError> {
        let answer = self.inner.delete_snapshot(snapshot).await;
        self.removed(&answer, |i| i.snapshot_name(&snapshot.id));
        answer
    }

    async fn create_volume_from_snapshot(
        &self,
        volume: &VolumeRef,
        snapshot: &SnapshotRef,
    ) -> Result<ModelUpdate, DriverError> {
        let answer = self.inner.create_volume_from_snapshot(volume, snapshot).await;
        self.undone("create_volume_from_snapshot", &answer, |i| i.lun_name(&volume.name_id)).await;
        answer
    }

    async fn create_cloned_volume(
        &self,
        volume: &VolumeRef,
        source: &VolumeRef,
    ) -> Result<ModelUpdate, DriverError> {
        let answer = self.inner.create_cloned_volume(volume, source).await;
        self.undone("create_cloned_volume", &answer, |i| i.lun_name(&volume.name_id)).await;
        answer
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

    fn inventory(&self) -> Option<&dyn Inventory> {
        self.inner.inventory()
    }
}
