//! os-brick's role on one host: connection info to block device, and back to nothing.
//!
//! | module | does |
//! |---|---|
//! | [`HostConnector`] (here) | the contract, the host-wide lock, fault points |
//! | `connect` | log in, scan, verify the identity, build the map, undo on failure |
//! | `disconnect` | flush, remove map, devices, names; log out |
//! | `extend` | one size on all paths and the map |
//! | `reserve` | persistent reservations over all paths |
//! | `heal` | what goes on between calls: expelled paths go, missing ones join |
//!
//! What exists on the host is in the [`HostTable`]; the live objects behind it (sessions, devices, maps) are kept beside it
//! under the same names. Each call runs as its own task of the node, so that a caller that gives up does not leave half a
//! device behind.

mod connect;
mod disconnect;
mod extend;
mod heal;
mod reserve;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sanbench_api::{
    Attached, BlockError, ChapAuth, ConnectionInfo, Connector, ConnectorError, ConnectorProperties,
    HostCensus, Wwn, async_trait,
};
use sanbench_world::{Env, Fault};
use serde_json::json;

use crate::config::HostConfig;
use crate::device::{PathDevice, PathFault};
use crate::discovery::{self, Discovered};
use crate::disk::Disk;
use crate::error::LoginError;
use crate::host::{Hctl, HostTable, SessionId, map_wwid};
use crate::link::crash_here;
use crate::lock;
use crate::multipath::MultipathDevice;
use crate::multipath::fence::InDoubt;
use crate::portal::PortalSession;

/// How long device nodes and names may take to vanish (os-brick: 30 s).
const SETTLE_LIMIT: Duration = Duration::from_secs(30);
/// Sessions to one portal at most.
const MAX_INTERFACES: u16 = 8;

/// The objects behind the host table.
#[derive(Default)]
struct Live {
    sessions: BTreeMap<SessionId, PortalSession>,
    devices: BTreeMap<Hctl, Arc<PathDevice>>,
    maps: BTreeMap<String, Arc<MultipathDevice>>,
    /// Attached volumes and how they were asked for.
    attached: BTreeMap<Wwn, ConnectionInfo>,
    /// Changes that the last map of a volume left in doubt.
    doubts: BTreeMap<Wwn, Vec<InDoubt>>,
}

struct Inner {
    env: Env,
    config: Arc<HostConfig>,
    table: Arc<Mutex<HostTable>>,
    live: Arc<Mutex<Live>>,
    /// The host-wide lock: one file for all processes of the host.
    gate: Arc<tokio::sync::Mutex<()>>,
    /// Devices that their maps expelled, by name.
    expelled: Arc<Mutex<Vec<String>>>,
    healing: AtomicBool,
}

/// The connector of one host. Cheap to clone; clones are the same host.
#[derive(Clone)]
pub struct HostConnector(Arc<Inner>);

impl std::fmt::Debug for HostConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostConnector({})", self.0.config.host)
    }
}

impl HostConnector {
    /// A host with nothing connected.
    pub fn new(env: Env, config: HostConfig) -> Self {
        let table = HostTable::new(config.host.clone(), config.uevents);
        Self(Arc::new(Inner {
            env,
            config: Arc::new(config),
            table: Arc::new(Mutex::new(table)),
            live: Arc::default(),
            gate: Arc::default(),
            expelled: Arc::default(),
            healing: AtomicBool::new(false),
        }))
    }

    /// The connector of another process on the same host: same sessions, devices and maps, and the same lock file.
    pub fn other_process(&self) -> Self {
        let inner = &self.0;
        let local = inner.config.defects.process_local_lock;
        Self(Arc::new(Inner {
            env: inner.env.clone(),
            config: inner.config.clone(),
            table: inner.table.clone(),
            live: inner.live.clone(),
            gate: if local { Arc::default() } else { inner.gate.clone() },
            expelled: inner.expelled.clone(),
            healing: AtomicBool::new(false),
        }))
    }

    /// A copy of the host table as it is now.
    pub fn table(&self) -> HostTable {
        self.0.settled_table()
    }

    /// Asks a portal for the targets that this host may see.
    ///
    /// # Errors
    /// Why there was no answer.
    pub async fn discover(
        &self,
        portal: SocketAddr,
        auth: Option<&ChapAuth>,
    ) -> Result<Vec<Discovered>, LoginError> {
        discovery::send_targets(&self.0.env, &self.0.config, portal, auth).await
    }

    /// The LUNs that a target shows to this host over a session that is up (REPORT LUNS).
    ///
    /// # Errors
    /// [`ConnectorError::NoSession`] without such a session; what the target answered.
    pub async fn report_luns(&self, portal: SocketAddr, iqn: &str) -> Result<Vec<u16>, ConnectorError> {
        let inner = &self.0;
        let id = lock(&inner.table).sessions_to(portal, iqn).next().map(|(id, _)| id);
        let session = id.and_then(|id| lock(&inner.live).sessions.get(&id).cloned());
        let lost = |message: String| ConnectorError::NoSession { portals: portal.to_string(), message };
        let session = session.ok_or_else(|| lost("not logged in".to_owned()))?;
        match PathDevice::report_luns(&inner.env, &inner.config, &session).await {
            Ok(luns) => Ok(luns),
            Err(PathFault::Block(error)) => Err(ConnectorError::Device(error)),
            Err(fault) => Err(lost(format!("{fault:?}"))),
        }
    }

    async fn run<T, F>(
        &self,
        point: &'static str,
        work: impl FnOnce(Arc<Inner>) -> F,
    ) -> Result<T, ConnectorError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ConnectorError>> + Send + 'static,
    {
        let inner = self.0.clone();
        let work = work(inner.clone());
        let whole = async move {
            let _gate = inner.gate.lock().await;
            let injected =
                |message: &str| ConnectorError::Device(BlockError::NoAnswer { message: message.to_owned() });
            let mut lose = false;
            match inner.env.fault(point) {
                None => {}
                Some(Fault::Fail | Fault::Answer(_) | Fault::Message(_)) => {
                    let message = "injected fault".to_owned();
                    return Err(ConnectorError::NoSession { portals: String::new(), message });
                }
                Some(Fault::Delay(d)) => inner.env.sleep(d).await,
                Some(Fault::DropReply) => lose = true,
                Some(Fault::CrashNode) => crash_here(&inner.env, &inner.config.on_crash, point).await,
            }
            lock(&inner.table).begin_call(point);
            let result = work.await;
            lock(&inner.table).end_call();
            if lose { Err(injected("the answer was lost")) } else { result }
        };
        match self.0.env.spawn(whole).await {
            Ok(result) => result,
            Err(gone) => Err(ConnectorError::Device(BlockError::NoAnswer { message: gone.to_string() })),
        }
    }
}

impl Inner {
    fn settled_table(&self) -> HostTable {
        let mut table = lock(&self.table);
        table.advance(self.env.now());
        table.clone()
    }

    fn note(&self, what: &'static str, detail: impl FnOnce() -> serde_json::Value) {
        self.env.note("initiator", || json!({"what": what, "detail": detail()}));
    }

    /// Delivers device events until `done` or until `limit` has passed; answers whether it was done.
    async fn settle(&self, limit: Duration, done: impl Fn(&HostTable) -> bool) -> bool {
        let deadline = self.env.now() + limit;
        loop {
            let next = {
                let mut table = lock(&self.table);
                table.advance(self.env.now());
                if done(&table) {
                    return true;
                }
                table.next_event()
            };
            match next {
                Some(due) if due <= deadline => self.env.sleep_until(due).await,
                _ => return false,
            }
        }
    }

    /// The block device of a device name: of its map when one holds it.
    fn attached(&self, wwn: Wwn, device: &str, at: Hctl, info: &ConnectionInfo) -> Option<Attached> {
        let read_only = info.access_mode == sanbench_api::AccessMode::ReadOnly;
        let (holder, partitions) = {
            let table = lock(&self.table);
            let holder = table.holder(device).map(|(name, _)| name);
            (holder, table.device(at).map_or(0, |d| d.partitions))
        };
        let node = |name: &str, separator: &str| {
            if self.config.defects.return_partition && partitions > 0 {
                format!("/dev/{name}{separator}1")
            } else {
                format!("/dev/{name}")
            }
        };
        let live = lock(&self.live);
        if let Some(map) = holder.and_then(|name| live.maps.get(&name).cloned()) {
            return Some(Attached {
                path: node(map.name(), "p"),
                wwn,
                multipath_id: Some(map_wwid(&wwn)),
                paths: map.usable(),
                device: Arc::new(Disk::new(map, read_only)),
            });
        }
        let path = live.devices.get(&at)?.clone();
        Some(Attached {
            path: node(device, ""),
            wwn,
            multipath_id: None,
            paths: usize::from(path.session().up().is_some()),
            device: Arc::new(Disk::new(path, read_only)),
        })
    }

    /// Deletes a device: out of its map, out of the table, dead for whoever still holds it. An emptied map goes too.
    fn delete_device(&self, at: Hctl) {
        let now = self.env.now();
        let (name, orphan) = {
            let mut table = lock(&self.table);
            let Some(name) = table.device(at).map(|d| d.name.clone()) else { return };
            let mut orphan = None;
            if let Some((map, record)) = table.holder(&name).map(|(m, r)| (m, r.clone())) {
                let _ = table.remove_path(&map, &name);
                if record.paths.len() <= 1 {
                    let _ = table.remove_map(&map);
                    orphan = Some(map.clone());
                }
                if let Some(map) = lock(&self.live).maps.get(&map) {
                    map.remove_path(&name);
                }
            }
            // The map let go of it above, and it exists: nothing can refuse.
            let _ = table.remove_device(now, at);
            (name, orphan)
        };
        let device = lock(&self.live).devices.remove(&at);
        if let Some(device) = device {
            device.remove();
        }
        if let Some(map) = orphan {
            self.bury(&map);
        }
        self.note("device-removed", || json!({"hctl": at.to_string(), "name": name}));
    }

    /// Ends a map whose record is gone. What it leaves in doubt is kept for the next map of the volume.
    fn bury(&self, name: &str) {
        let mut live = lock(&self.live);
        let Some(map) = live.maps.remove(name) else { return };
        map.remove();
        let doubts = map.doubts();
        if !doubts.is_empty() {
            live.doubts.entry(map.volume()).or_default().extend(doubts);
        }
    }

    /// A login of this I_T nexus has ended whatever an earlier session of it left at the target.
    fn reinstated(&self, session: &PortalSession) {
        let live = lock(&self.live);
        for doubt in live.doubts.values().flatten() {
            let old = doubt.session();
            if (old.portal(), old.iqn(), old.isid()) == (session.portal(), session.iqn(), session.isid()) {
                doubt.reinstated();
            }
        }
    }

    /// The configuration of sessions over one interface of the host: each has an ISID of its own.
    fn session_config(&self, interface: u16) -> Arc<HostConfig> {
        if interface == 0 {
            return self.config.clone();
        }
        let mut config = HostConfig::clone(&self.config);
        // The upper bits of the qualifier; the lower ones tell connectors of one name apart.
        config.session.isid_qualifier = config.session.isid_qualifier.wrapping_add(interface << 12);
        Arc::new(config)
    }

    /// Logs out of a session that no device uses, and removes its node record.
    async fn drop_session(&self, id: SessionId) {
        if lock(&self.table).session_in_use(id) && !self.config.defects.logout_shared_session {
            return;
        }
        let session = lock(&self.live).sessions.remove(&id);
        let Some(session) = session else { return };
        session.close().await;
        let mut table = lock(&self.table);
        let _ = table.remove_session(id);
        let _ = table.remove_node(session.portal(), session.iqn());
    }
}

#[async_trait]
impl Connector for HostConnector {
    fn properties(&self) -> ConnectorProperties {
        let config = &self.0.config;
        ConnectorProperties {
            host: config.host.clone(),
            ip: config.ip,
            initiator: Some(config.iqn.clone()),
            multipath: config.multipath,
            enforce_multipath: config.enforce_multipath,
        }
    }

    async fn connect_volume(&self, info: &ConnectionInfo) -> Result<Attached, ConnectorError> {
        let info = info.clone();
        self.run("connector.connect", |inner| async move { inner.connect(&info).await }).await
    }

    async fn disconnect_volume(&self, info: &ConnectionInfo, force: bool) -> Result<(), ConnectorError> {
        let info = info.clone();
        self.run("connector.disconnect", move |inner| async move { inner.disconnect(&info, force).await })
            .await
    }

    async fn extend_volume(&self, info: &ConnectionInfo) -> Result<u64, ConnectorError> {
        let info = info.clone();
        self.run("connector.extend", |inner| async move { inner.extend(&info).await }).await
    }

    async fn reserve_volume(&self, info: &ConnectionInfo, key: u64) -> Result<(), ConnectorError> {
        let info = info.clone();
        self.run("connector.reserve", move |inner| async move { inner.reserve(&info, key).await }).await
    }

    async fn reservation(
        &self,
        info: &ConnectionInfo,
        release: Option<u64>,
    ) -> Result<Option<u64>, ConnectorError> {
        let info = info.clone();
        self.run("connector.reserve", move |inner| async move {
            match release {
                Some(key) => inner.release(&info, key).await,
                None => inner.holder(&info).await,
            }
        })
        .await
    }

    async fn shown_luns(&self, info: &ConnectionInfo) -> Result<Option<Vec<Vec<u16>>>, ConnectorError> {
        let mut shown = Vec::new();
        for path in &info.paths {
            match self.report_luns(path.portal, &path.iqn).await {
                Ok(luns) => shown.push(luns),
                Err(ConnectorError::NoSession { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some(shown))
    }

    fn census(&self) -> HostCensus {
        let table = self.0.settled_table();
        let mut census = table.census();
        // Whoever holds the gate is in the middle of something: a call, or the healing of paths.
        let quiet = self.0.gate.try_lock().is_ok();
        if quiet && table.calls() == 0 && table.next_event().is_none() {
            for violation in table.at_rest() {
                self.0.note("violation", || json!({"rule": violation.rule, "text": violation.text}));
                census.violations.push(violation.to_string());
            }
        }
        census
    }
}
