//! A compute host that can lose its power: what its connector knew goes with it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use sanbench_api::{
    Attached, ConnectionInfo, Connector, ConnectorError, ConnectorProperties, HostCensus, async_trait,
};
use sanbench_initiator::{HostConfig, HostConnector};
use sanbench_world::Env;

/// A compute host. The workflow keeps one handle of it for ever; what runs behind it is new after each start.
pub(super) struct Machine {
    config: HostConfig,
    running: Mutex<Running>,
}

struct Running {
    env: Env,
    connector: HostConnector,
}

impl Machine {
    /// A host that has just started.
    pub(super) fn new(env: Env, config: HostConfig) -> Self {
        let connector = HostConnector::new(env.clone(), config.clone());
        Self { config, running: Mutex::new(Running { env, connector }) }
    }

    /// It has started again on this node: no session, device or map is left.
    pub(super) fn started(&self, env: Env) {
        let connector = HostConnector::new(env.clone(), self.config.clone());
        *self.running() = Running { env, connector };
    }

    /// Its node as it runs now.
    pub(super) fn env(&self) -> Env {
        self.running().env.clone()
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connector(&self) -> HostConnector {
        self.running().connector.clone()
    }
}

#[async_trait]
impl Connector for Machine {
    fn properties(&self) -> ConnectorProperties {
        self.connector().properties()
    }

    async fn connect_volume(&self, info: &ConnectionInfo) -> Result<Attached, ConnectorError> {
        self.connector().connect_volume(info).await
    }

    async fn disconnect_volume(&self, info: &ConnectionInfo, force: bool) -> Result<(), ConnectorError> {
        self.connector().disconnect_volume(info, force).await
    }

    async fn extend_volume(&self, info: &ConnectionInfo) -> Result<u64, ConnectorError> {
        self.connector().extend_volume(info).await
    }

    async fn reserve_volume(&self, info: &ConnectionInfo, key: u64) -> Result<(), ConnectorError> {
        self.connector().reserve_volume(info, key).await
    }

    async fn reservation(
        &self,
        info: &ConnectionInfo,
        release: Option<u64>,
    ) -> Result<Option<u64>, ConnectorError> {
        self.connector().reservation(info, release).await
    }

    async fn shown_luns(&self, info: &ConnectionInfo) -> Result<Option<Vec<Vec<u16>>>, ConnectorError> {
        self.connector().shown_luns(info).await
    }

    fn census(&self) -> HostCensus {
        self.connector().census()
    }
}
