//! A driver wrapped so that nothing is made without a journal line and nothing beyond the limits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sanbench_api::{
    BackendStats, ConnectionInfo, ConnectorProperties, DriverError, Inventory, ModelUpdate, RefusalKind,
    SnapshotRef, VolumeDriver, VolumeRef, async_trait,
};

use super::journal::{Entry, Journal};
use crate::config::Limits;

/// Journals and bounds every creating call; everything else passes through.
pub struct GuardedDriver {
    inner: Arc<dyn VolumeDriver>,
    journal: Arc<Journal>,
    limits: Limits,
    counts: Counts,
}

/// What a case has made and not removed, by its own count. Clones share it, so that a restarted service goes on with
/// the same counts.
#[derive(Clone, Default)]
pub struct Counts(Arc<Mutex<Live>>);

#[derive(Default)]
struct Live {
    volumes: BTreeMap<String, u64>,
    snapshots: BTreeMap<String, ()>,
    hosts: BTreeMap<String, ()>,
}

impl GuardedDriver {
    /// Wraps a driver.
    pub fn new(inner: Arc<dyn VolumeDriver>, journal: Arc<Journal>, limits: Limits, counts: Counts) -> Self {
        Self { inner, journal, limits, counts }
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.counts.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn intend(&self, kind: &str, id: String) -> Result<(), DriverError> {
        self.journal
            .append(&Entry::Intend { kind: kind.into(), id })
            .map_err(|e| DriverError::refused(RefusalKind::LimitReached, format!("not created: {e}")))
    }

    fn gone(&self, kind: &str, id: String) {
        // Losing this line only makes `clean` look for an object that is not there.
        let _ = self.journal.append(&Entry::Gone { kind: kind.into(), id });
    }

    fn admit_volume(&self, volume: &VolumeRef) -> Result<(), DriverError> {
        let id = volume.name_id.to_string();
        if !id.starts_with(&self.journal.tag().to_string()) {
            let message = format!("volume id {id} does not begin with the run's tag {}", self.journal.tag());
            return Err(DriverError::Fault { message });
        }
        self.admit(volume.size_gib, 1)?;
        self.intend("volume", id.clone())?;
        self.live().volumes.insert(id, volume.size_gib);
        Ok(())
    }

    fn admit(&self, more_gib: u64, more_objects: u64) -> Result<(), DriverError> {
        let live = self.live();
        let gib: u64 = live.volumes.values().sum::<u64>() + more_gib;
        let objects = (live.volumes.len() + live.snapshots.len() + live.hosts.len()) as u64 + more_objects;
        if gib > self.limits.capacity_gib {
            let message =
                format!("limit capacity_gib = {} would be exceeded ({gib})", self.limits.capacity_gib);
            return Err(DriverError::refused(RefusalKind::LimitReached, message));
        }
        if objects > self.limits.objects {
            let message = format!("limit objects = {} would be exceeded ({objects})", self.limits.objects);
            return Err(DriverError::refused(RefusalKind::LimitReached, message));
        }
        Ok(())
    }
}

#[async_trait]
impl VolumeDriver for GuardedDriver {
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
        self.admit_volume(volume)?;
        self.inner.create_volume(volume).await
    }

    async fn delete_volume(&self, volume: &VolumeRef) -> Result<(), DriverError> {
        self.inner.delete_volume(volume).await?;
        let id = volume.name_id.to_string();
        self.live().volumes.remove(&id);
        self.gone("volume", id);
        Ok(())
    }

    async fn create_snapshot(&self, snapshot: &SnapshotRef) -> Result<ModelUpdate, DriverError> {
        self.admit(0, 1)?;
        let id = snapshot.id.to_string();
        self.intend("snapshot", id.clone())?;
        self.live().snapshots.insert(id, ());
        self.inner.create_snapshot(snapshot).await
    }

    async fn delete_snapshot(&self, snapshot: &SnapshotRef) -> Result<(), DriverError> {
        self.inner.delete_snapshot(snapshot).await?;
        let id = snapshot.id.to_string();
        self.live().snapshots.remove(&id);
        self.gone("snapshot", id);
        Ok(())
    }

    async fn create_volume_from_snapshot(
        &self,
        volume: &VolumeRef,
        snapshot: &SnapshotRef,
    ) -> Result<ModelUpdate, DriverError> {
        self.admit_volume(volume)?;
        self.inner.create_volume_from_snapshot(volume, snapshot).await
    }

    async fn create_cloned_volume(
        &self,
        volume: &VolumeRef,
        source: &VolumeRef,
    ) -> Result<ModelUpdate, DriverError> {
        self.admit_volume(volume)?;
        self.inner.create_cloned_volume(volume, source).await
    }

    async fn extend_volume(&self, volume: &VolumeRef, new_size_gib: u64) -> Result<(), DriverError> {
        let id = volume.name_id.to_string();
        let now = self.live().volumes.get(&id).copied().unwrap_or(volume.size_gib);
        self.admit(new_size_gib.saturating_sub(now), 0)?;
        self.inner.extend_volume(volume, new_size_gib).await?;
        self.live().volumes.insert(id, new_size_gib);
        Ok(())
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
        if !self.journal.tag().owns(&connector.host) {
            let message =
                format!("host {} does not carry the run's tag {}", connector.host, self.journal.tag());
            return Err(DriverError::Fault { message });
        }
        let known = self.live().hosts.contains_key(&connector.host);
        if !known {
            self.admit(0, 1)?;
            self.intend("host", connector.host.clone())?;
            self.live().hosts.insert(connector.host.clone(), ());
        }
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
