//! The driver as the workflow sees it. What a call does is in `provision.rs` (volumes come), `retire.rs` (they go) and
//! `attach.rs`; this file only holds the state and names the parts.

use std::fmt;

use sanbench_api::{
    BackendStats, ConnectionInfo, ConnectorProperties, DriverError, Inventory, ModelUpdate, RefusalKind,
    SnapshotRef, VolumeDriver, VolumeRef, async_trait,
};
use sanbench_world::Env;
use tokio::sync::{Mutex, RwLock, Semaphore};

use crate::attach::HostLocks;
use crate::client::Client;
use crate::config::TenglingConfig;
use crate::defects::DriverDefects;
use crate::error::refuse;
use crate::names;
use crate::provision::sectors;

/// Driver of one Tengling back end.
pub struct TenglingDriver {
    pub(crate) client: Client,
    pub(crate) config: TenglingConfig,
    pub(crate) defects: DriverDefects,
    pub(crate) flattening: Semaphore,
    pub(crate) hosts: HostLocks,
    /// Only the planted defect `flatten_holds_everything` ever takes it for itself.
    pub(crate) service: RwLock<()>,
    /// Whether the product has linked clones; asked once.
    product: Mutex<Option<bool>>,
}

impl fmt::Debug for TenglingDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenglingDriver")
            .field("config", &self.config)
            .field("defects", &self.defects)
            .finish_non_exhaustive()
    }
}

impl TenglingDriver {
    /// A driver that has not talked to the array yet.
    pub fn new(env: Env, config: TenglingConfig) -> Self {
        Self::with_defects(env, config, DriverDefects::default())
    }

    /// The same with planted defects, for the bench's own proof that it sees them.
    pub fn with_defects(env: Env, config: TenglingConfig, defects: DriverDefects) -> Self {
        Self {
            client: Client::new(env, &config, defects),
            flattening: Semaphore::new(config.limits.flattens.max(1)),
            hosts: HostLocks::default(),
            service: RwLock::default(),
            product: Mutex::new(None),
            defects,
            config,
        }
    }

    /// What the driver was told.
    pub fn config(&self) -> &TenglingConfig {
        &self.config
    }

    /// Pool of a volume; without one the first configured pool.
    pub(crate) fn pool_name<'a>(&'a self, volume: &'a VolumeRef) -> &'a str {
        match (volume.pool.as_str(), self.config.pools.first()) {
            ("", Some(first)) => first,
            (pool, _) => pool,
        }
    }

    pub(crate) async fn new_product(&self) -> Result<bool, DriverError> {
        let mut product = self.product.lock().await;
        if let Some(known) = *product {
            return Ok(known);
        }
        let answer = self.client.asks_new_product().await?;
        *product = Some(answer);
        Ok(answer)
    }
}

#[async_trait]
impl VolumeDriver for TenglingDriver {
    async fn do_setup(&self) -> Result<(), DriverError> {
        self.new_product().await?;
        self.client.check_pools(&self.config).await?;
        self.sweep().await;
        Ok(())
    }

    async fn shutdown(&self) {
        if !self.defects.sessions_left {
            self.client.logout_all().await;
        }
    }

    async fn get_volume_stats(&self) -> Result<BackendStats, DriverError> {
        let _turn = self.service.read().await;
        self.client.stats(&self.config).await
    }

    async fn create_volume(&self, volume: &VolumeRef) -> Result<ModelUpdate, DriverError> {
        let _turn = self.service.read().await;
        self.create(volume).await
    }

    async fn delete_volume(&self, volume: &VolumeRef) -> Result<(), DriverError> {
        self.delete(volume).await
    }

    async fn create_snapshot(&self, snapshot: &SnapshotRef) -> Result<ModelUpdate, DriverError> {
        let _turn = self.service.read().await;
        let lun = self.need_lun(&snapshot.volume).await?;
        let name = names::object_name(&snapshot.id.0);
        let made = self.client.take_snapshot(&name, &snapshot.id.to_string(), &lun.id).await?;
        let location = serde_json::json!({"snapshot_id": made.id, "snapshot_wwn": made.wwn});
        Ok(ModelUpdate {
            provider_id: Some(made.id),
            provider_location: Some(location.to_string()),
            ..ModelUpdate::default()
        })
    }

    async fn delete_snapshot(&self, snapshot: &SnapshotRef) -> Result<(), DriverError> {
        self.drop_snapshot(snapshot).await
    }

    async fn create_volume_from_snapshot(
        &self,
        volume: &VolumeRef,
        snapshot: &SnapshotRef,
    ) -> Result<ModelUpdate, DriverError> {
        self.create_from_snapshot(volume, snapshot).await
    }

    async fn create_cloned_volume(
        &self,
        volume: &VolumeRef,
        source: &VolumeRef,
    ) -> Result<ModelUpdate, DriverError> {
        self.create_clone(volume, source).await
    }

    async fn extend_volume(&self, volume: &VolumeRef, new_size_gib: u64) -> Result<(), DriverError> {
        let mut wanted = sectors(new_size_gib)?;
        let lun = self.need_lun(volume).await?;
        if self.defects.extend_adds {
            wanted += lun.sectors;
        }
        if wanted < lun.sectors {
            return refuse(
                RefusalKind::InvalidInput,
                format!("volume {} is larger than {new_size_gib} GiB", volume.id),
            );
        }
        self.client.expand_lun(&lun, wanted).await
    }

    async fn flatten_volume(&self, volume: &VolumeRef) -> Result<(), DriverError> {
        let _alone = match self.defects.flatten_holds_everything {
            true => Some(self.service.write().await),
            false => None,
        };
        self.flatten(volume).await
    }

    fn validate_connector(&self, connector: &ConnectorProperties) -> Result<(), DriverError> {
        match connector.initiator.as_deref() {
            Some(iqn) if !iqn.is_empty() && iqn.len() <= 223 && !connector.host.is_empty() => Ok(()),
            Some(_) => refuse(RefusalKind::InvalidConnector, "connector has an empty host or initiator name"),
            None => refuse(RefusalKind::InvalidConnector, "connector has no initiator name"),
        }
    }

    async fn ensure_export(&self, volume: &VolumeRef) -> Result<(), DriverError> {
        self.need_lun(volume).await.map(drop)
    }

    async fn initialize_connection(
        &self,
        volume: &VolumeRef,
        connector: &ConnectorProperties,
    ) -> Result<ConnectionInfo, DriverError> {
        let _turn = self.service.read().await;
        self.attach(volume, connector).await
    }

    async fn terminate_connection(
        &self,
        volume: &VolumeRef,
        connector: Option<&ConnectorProperties>,
        _force: bool,
    ) -> Result<bool, DriverError> {
        self.detach(volume, connector).await
    }

    fn inventory(&self) -> Option<&dyn Inventory> {
        Some(self)
    }
}
