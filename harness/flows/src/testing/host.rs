//! A host in memory: it finds a device only while the array maps the volume to it.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use sanbench_api::{
    AccessMode, Attached, BLOCK_SIZE, ConnectionInfo, Connector, ConnectorError, ConnectorProperties,
    HostCensus, HostDevice, VolumeId, async_trait,
};

use super::array::{FakeArray, FakeDevice, held};

#[derive(Default)]
struct Host {
    connected: BTreeMap<VolumeId, (Attached, Arc<AtomicBool>, u64)>,
    script: BTreeMap<&'static str, VecDeque<ConnectorError>>,
}

/// A host. Shared by reference; it outlives crashes of the control node.
pub struct FakeHost {
    name: String,
    array: FakeArray,
    state: Mutex<Host>,
}

impl std::fmt::Debug for FakeHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FakeHost({})", self.name)
    }
}

impl FakeHost {
    /// A host of that name in front of the array.
    pub fn new(name: &str, array: &FakeArray) -> Arc<Self> {
        Arc::new(Self { name: name.to_owned(), array: array.clone(), state: Mutex::default() })
    }

    /// The next call of `operation` (a method name of the connector trait) fails without an effect.
    pub fn fail_next(&self, operation: &'static str, error: ConnectorError) {
        held(&self.state).script.entry(operation).or_default().push_back(error);
    }

    fn scripted(&self, operation: &'static str) -> Result<(), ConnectorError> {
        match held(&self.state).script.get_mut(operation).and_then(VecDeque::pop_front) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Connector for FakeHost {
    fn properties(&self) -> ConnectorProperties {
        ConnectorProperties {
            host: self.name.clone(),
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            initiator: Some(format!("iqn.2026-01.test:{}", self.name)),
            multipath: false,
            enforce_multipath: false,
        }
    }

    async fn connect_volume(&self, info: &ConnectionInfo) -> Result<Attached, ConnectorError> {
        self.scripted("connect_volume")?;
        let mut state = held(&self.state);
        if let Some((attached, _, _)) = state.connected.get(&info.volume_id) {
            return Ok(attached.clone());
        }
        let lun = {
            let array = held(&self.array.0);
            let mapped = array.mappings.contains(&(info.volume_id, self.name.clone()));
            array.luns.get(&info.volume_id).filter(|_| mapped).cloned()
        };
        let lun = lun.ok_or(ConnectorError::DeviceNotFound { lun: 1, scans: 3 })?;
        let gone = Arc::new(AtomicBool::new(false));
        let attached = Attached {
            path: format!("/dev/fake-{}", info.volume_id),
            wwn: lun.wwn,
            multipath_id: None,
            paths: 1,
            device: Arc::new(FakeDevice {
                disk: Arc::clone(&lun.disk),
                wwn: lun.wwn,
                read_only: info.access_mode == AccessMode::ReadOnly,
                gone: Arc::clone(&gone),
            }),
        };
        let bytes = held(&lun.disk).capacity() * u64::from(BLOCK_SIZE);
        state.connected.insert(info.volume_id, (attached.clone(), gone, bytes));
        Ok(attached)
    }

    async fn disconnect_volume(&self, info: &ConnectionInfo, _force: bool) -> Result<(), ConnectorError> {
        self.scripted("disconnect_volume")?;
        if let Some((_, gone, _)) = held(&self.state).connected.remove(&info.volume_id) {
            gone.store(true, Ordering::Release);
        }
        Ok(())
    }

    async fn extend_volume(&self, info: &ConnectionInfo) -> Result<u64, ConnectorError> {
        self.scripted("extend_volume")?;
        let mut state = held(&self.state);
        let (attached, _, bytes) = state
            .connected
            .get_mut(&info.volume_id)
            .ok_or(ConnectorError::DeviceNotFound { lun: 1, scans: 1 })?;
        *bytes = attached.device.capacity_blocks() * u64::from(BLOCK_SIZE);
        Ok(*bytes)
    }

    fn census(&self) -> HostCensus {
        let state = held(&self.state);
        let devices = state.connected.values().map(|(attached, _, bytes)| HostDevice {
            hctl: "0:0:0:1".into(),
            name: attached.path.clone(),
            wwn: Some(attached.wwn),
            portal: "10.0.0.1:3260".into(),
            size_bytes: *bytes,
        });
        HostCensus { host: self.name.clone(), devices: devices.collect(), ..HostCensus::default() }
    }
}
