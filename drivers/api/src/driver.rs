//! The volume driver contract (Cinder `VolumeDriverCore`, contributor documentation "Drivers").

use async_trait::async_trait;

use crate::{
    BackendStats, ConnectionInfo, ConnectorProperties, DriverError, Inventory, ModelUpdate, RefusalKind,
    SnapshotRef, VolumeRef,
};

/// Control plane of one back end. All calls may run concurrently; none holds a lock across another's wait for ever.
/// Every call ends within the driver's own time limits. A call that fails with a refusal has undone its own work.
#[async_trait]
pub trait VolumeDriver: Send + Sync {
    /// Logs in, checks pools and options. Called once before anything else; repeatable after a failure.
    async fn do_setup(&self) -> Result<(), DriverError>;

    /// Logs out, so that no management session is left behind (API-001). Best effort, repeatable.
    async fn shutdown(&self);

    /// A fresh capability report.
    async fn get_volume_stats(&self) -> Result<BackendStats, DriverError>;

    /// Allocates the volume, no export. Repeatable with equal parameters (adopts its own object by name, API-004);
    /// another size under that name is [`RefusalKind::Exists`].
    async fn create_volume(&self, volume: &VolumeRef) -> Result<ModelUpdate, DriverError>;

    /// Destroys volume and content. A missing object is success (CRE-007). Dependents are kept readable: the
    /// implementation flattens, keeps a silent parent, or answers [`RefusalKind::Busy`] and changes nothing.
    async fn delete_volume(&self, volume: &VolumeRef) -> Result<(), DriverError>;

    /// Takes a crash-consistent point-in-time snapshot.
    async fn create_snapshot(&self, snapshot: &SnapshotRef) -> Result<ModelUpdate, DriverError>;

    /// Removes a snapshot; missing is success; in use is [`RefusalKind::Busy`].
    async fn delete_snapshot(&self, snapshot: &SnapshotRef) -> Result<(), DriverError>;

    /// New volume with the snapshot's content; larger sizes read zero beyond it, smaller are refused.
    async fn create_volume_from_snapshot(
        &self,
        volume: &VolumeRef,
        snapshot: &SnapshotRef,
    ) -> Result<ModelUpdate, DriverError>;

    /// New volume with the source's content at one instant of the call; the source may be in use.
    async fn create_cloned_volume(
        &self,
        volume: &VolumeRef,
        source: &VolumeRef,
    ) -> Result<ModelUpdate, DriverError>;

    /// Grows to the absolute size `new_size_gib`. Equal size is success (a lost reply was repeated, EXT-007);
    /// smaller is [`RefusalKind::InvalidInput`].
    async fn extend_volume(&self, volume: &VolumeRef, new_size_gib: u64) -> Result<(), DriverError>;

    /// Makes the volume independent of what it was cloned from, content unchanged. Without parent a no-op (FLT-005).
    async fn flatten_volume(&self, volume: &VolumeRef) -> Result<(), DriverError>;

    /// Checks that the connector has what the protocol needs; else [`RefusalKind::InvalidConnector`].
    fn validate_connector(&self, connector: &ConnectorProperties) -> Result<(), DriverError> {
        match connector.initiator {
            Some(_) => Ok(()),
            None => {
                Err(DriverError::refused(RefusalKind::InvalidConnector, "connector has no initiator name"))
            }
        }
    }

    /// Prepares an export, where the array needs one. Repeatable.
    async fn create_export(
        &self,
        _volume: &VolumeRef,
        _connector: &ConnectorProperties,
    ) -> Result<Option<ModelUpdate>, DriverError> {
        Ok(None)
    }

    /// Removes an export; nothing there is success.
    async fn remove_export(&self, _volume: &VolumeRef) -> Result<(), DriverError> {
        Ok(())
    }

    /// Restores the export of an in-use volume after a restart of the service.
    async fn ensure_export(&self, _volume: &VolumeRef) -> Result<(), DriverError> {
        Ok(())
    }

    /// Maps the volume to this host only and says how to reach it. Repeatable: same host, same answer (ATT-002).
    async fn initialize_connection(
        &self,
        volume: &VolumeRef,
        connector: &ConnectorProperties,
    ) -> Result<ConnectionInfo, DriverError>;

    /// Removes the mapping for this host, or all of them without a connector. Missing is success. Answers true when
    /// other attachments still use the export.
    async fn terminate_connection(
        &self,
        volume: &VolumeRef,
        connector: Option<&ConnectorProperties>,
        force: bool,
    ) -> Result<bool, DriverError>;

    /// The listing of the array, when the driver offers one.
    fn inventory(&self) -> Option<&dyn Inventory> {
        None
    }
}
