//! The bench's own parts in this process, against a served array: what a story does, but stopped where a foreign program
//! can look.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use libtest_mimic::Failed;
use sanbench_api::{ConnectorProperties, VolumeDriver, VolumeId, VolumeRef};
use sanbench_flows::image::ImageStore;
use sanbench_flows::{Backend, ControlPlane, FlowsConfig};
use sanbench_initiator::{HostConfig, HostConnector, SessionConfig};
use sanbench_tengling::{TenglingConfig, TenglingDriver};
use sanbench_world::{LiveConfig, LiveWorld};

use super::serve::Serve;

/// This machine.
pub(crate) const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Runs the future on a runtime of its own.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(future)
}

/// A live world that records payload. Call it inside [`block_on`].
pub(crate) fn world(dir: &Path) -> LiveWorld {
    let config = LiveConfig {
        seed: 1,
        trace: false,
        state_dir: dir.join("world"),
        faults: Default::default(),
        capture: true,
    };
    LiveWorld::new(config).unwrap()
}

/// A host with its connector.
pub(crate) fn host(world: &LiveWorld, name: &str, session: SessionConfig) -> HostConnector {
    let mut config = HostConfig::new(name, format!("iqn.2026-11.org.sanbench:{name}"), HERE);
    config.session = session;
    HostConnector::new(world.node(name, &[HERE]), config)
}

/// Driver, workflow and control host.
pub(crate) struct Bench {
    /// The workflow.
    pub(crate) control: ControlPlane,
    /// The driver under it.
    pub(crate) driver: Arc<TenglingDriver>,
}

impl Bench {
    /// Starts the volume service against a served array.
    pub(crate) async fn start(world: &LiveWorld, array: &Serve, images: ImageStore) -> Result<Self, Failed> {
        let env = world.node("control", &[HERE]);
        let options: BTreeMap<String, String> =
            array.options().into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let (config, _) = TenglingConfig::from_options(&options).map_err(|e| e.to_string())?;
        let driver = Arc::new(TenglingDriver::new(env.clone(), config));
        let connector = Arc::new(host(world, "control", SessionConfig::default()));
        let control = ControlPlane::new(
            env,
            vec![Backend::new("control@served", driver.clone())],
            connector,
            BTreeMap::new(),
            images,
            FlowsConfig::default(),
        )?;
        let started = control.start().await?;
        if let Some((name, why)) = started.failed.first_key_value() {
            return Err(format!("{name}: {why}").into());
        }
        Ok(Self { control, driver })
    }

    /// A volume as its driver knows it.
    pub(crate) fn volume(&self, id: VolumeId) -> Result<VolumeRef, Failed> {
        let view = self.control.volume(id)?.ok_or("the volume has no row")?;
        Ok(VolumeRef {
            id,
            name_id: view.name_id,
            size_gib: view.size_gib,
            pool: view.pool().unwrap_or_default().to_owned(),
            extra_specs: BTreeMap::new(),
            use_quota: true,
            provider_id: view.provider_id,
            provider_location: view.provider_location,
        })
    }

    /// Maps a volume to a foreign initiator; answers portal, target and LUN.
    pub(crate) async fn map(
        &self,
        volume: &VolumeRef,
        who: &ConnectorProperties,
    ) -> Result<(SocketAddr, String, u16), Failed> {
        let info = self.driver.initialize_connection(volume, who).await?;
        let path = info.paths.first().ok_or("no path")?;
        Ok((path.portal, path.iqn.clone(), path.lun))
    }
}

/// A foreign initiator on this machine.
pub(crate) fn foreign(name: &str) -> ConnectorProperties {
    ConnectorProperties {
        host: name.to_owned(),
        ip: HERE,
        initiator: Some(format!("iqn.2026-11.org.example:{name}")),
        multipath: false,
        enforce_multipath: false,
    }
}
