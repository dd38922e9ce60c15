//! A site put together from its parts; the same for every environment.

mod clean;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sanbench_api::{Connector, ImageId, VolumeDriver, async_trait};
use sanbench_check::Finding;
use sanbench_durable::Spoil;
use sanbench_flows::image::ImageStore;
use sanbench_flows::{Backend, ControlPlane, FlowDefects, FlowsConfig};
use sanbench_initiator::config::DigestOffer;
use sanbench_initiator::{ConnectorDefects, HostConfig, HostConnector};
use sanbench_rest::Desk;
use sanbench_runner::plan::{PlacedFault, Plan, Spoiled, Tune};
use sanbench_runner::story::Name;
use sanbench_runner::{Cleaned, PathState, Promise, Remote, Severed, Site, SiteError, SiteImage};
use sanbench_world::{Env, Fault, Firings};
use serde_json::{Value, json};

use super::images::{ImageInput, add_image};
use super::machine::Machine;
use super::monitor::{Found, MonitoredDriver};
use super::options;
use super::sim::world_fault;
use crate::registry::{DriverEntry, Naming};
use crate::safety::Tag;

/// Wraps a driver before the workflow gets it (journal and limits on real arrays).
pub(crate) type Wrap = Arc<dyn Fn(Arc<dyn VolumeDriver>) -> Arc<dyn VolumeDriver> + Send + Sync>;

/// How faults are counted.
pub(crate) type CountFirings = Arc<dyn Fn() -> Firings + Send + Sync>;

/// What a site is made of.
pub(crate) struct SiteParts {
    /// The bench's own node.
    pub(crate) bench: Env,
    /// The control host: volume service and its connector.
    pub(crate) control: Env,
    /// Compute hosts by story name.
    pub(crate) hosts: BTreeMap<Name, Env>,
    /// The driver.
    pub(crate) driver: DriverEntry,
    /// Back-end options before those of the story.
    pub(crate) options: BTreeMap<String, String>,
    /// Defects to plant in driver, workflow and connectors.
    pub(crate) planted: Vec<String>,
    /// Defects of the workflow.
    pub(crate) flow_defects: FlowDefects,
    /// Defects of the connectors.
    pub(crate) connector_defects: ConnectorDefects,
    /// The run's tag.
    pub(crate) tag: Tag,
    /// The user's image.
    pub(crate) image: Option<ImageInput>,
    /// Wraps drivers.
    pub(crate) wrap: Option<Wrap>,
    /// The volume service's database outlasts the power of this machine.
    pub(crate) power_safe: bool,
    /// What the monitors found.
    pub(crate) found: Found,
    /// Counts faults.
    pub(crate) firings: CountFirings,
    /// Breaks and mends things, where that is possible.
    pub(crate) levers: Option<Arc<dyn Levers>>,
    /// The second array.
    pub(crate) remote: Option<Arc<dyn Remote>>,
    /// Where administrators sit: of the array, and of the second one.
    pub(crate) desks: Vec<Desk>,
}

/// How a host goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HostEnd {
    /// It loses its power: nobody hears of it any more.
    Power,
    /// What runs its initiator is killed: its connections are closed.
    Killed,
}

/// Of a hundred segments so many, as a network takes it.
pub(super) fn percent(loss: u64) -> u8 {
    u8::try_from(loss).unwrap_or(u8::MAX)
}

/// Breaks and mends what only a simulated site can: power, controllers, paths, objects behind the driver's back.
#[async_trait]
pub(crate) trait Levers: Send + Sync {
    /// The array loses its power and gets it back.
    async fn power_loss(&self) -> Result<(), SiteError>;
    /// A controller fails or comes back.
    fn set_controller(&self, controller: u64, up: bool) -> Result<(), SiteError>;
    /// A LUN gets a limit of write commands a second, or loses it with 0.
    fn limit(&self, lun: &str, iops: u64) -> Result<(), SiteError>;
    /// A portal, from 1, is switched off or on.
    fn set_portal(&self, portal: u64, enabled: bool) -> Result<(), SiteError>;
    /// All portals in their order.
    fn every_portal(&self) -> Vec<std::net::SocketAddr>;
    /// A path of a host, from 1, is cut or healed.
    fn set_path(&self, host: &Name, path: u64, state: PathState) -> Result<(), SiteError>;
    /// Connections over a path end.
    fn sever(&self, host: &Name, path: u64, how: Severed) -> Result<(), SiteError>;
    /// A host, or its initiator, goes down.
    fn host_off(&self, host: &Name, how: HostEnd) -> Result<(), SiteError>;
    /// It starts again; answers the node that it runs on now.
    fn host_on(&self, host: &Name) -> Result<Env, SiteError>;
    /// Somebody else makes a LUN of 1 GiB.
    fn squat(&self, name: &str) -> Result<(), SiteError>;
    /// Portals that work now.
    fn portals(&self) -> Vec<std::net::SocketAddr>;
    /// Somebody else fills a pool.
    fn fill(&self, pool: &str, leave: u64) -> Result<String, SiteError>;
    /// A page of a LUN on disk holds what was not written to it; false if no data are on disk there.
    fn spoil(&self, lun: &str, lba: u64, how: Spoil) -> Result<bool, SiteError>;
    /// Such pages hold again what was written.
    fn mend(&self) -> Result<(), SiteError>;
    /// What filled a pool goes.
    fn drain(&self, pool: &str) -> Result<String, SiteError>;
    /// A fault waits for its point from now on; answers its number.
    fn arm(&self, point: &str, nth: u64, fault: Fault) -> u64;
    /// Faults that have not fired are taken away.
    fn disarm(&self);
    /// Everything that is broken in the network works again.
    fn heal(&self) {}
    /// Bytes that a connection holds before their receiver must read some; none where only the machine knows.
    fn window(&self) -> Option<usize> {
        None
    }
}

/// A site that stands.
pub(crate) struct ComposedSite {
    parts: SiteParts,
    /// Whether the control host has multipathd: no restart of the service changes that.
    multipath: bool,
    service: Mutex<Service>,
    control_connector: Arc<dyn Connector>,
    connectors: BTreeMap<Name, Arc<Machine>>,
    host_names: BTreeMap<Name, String>,
    host_order: Vec<Name>,
    store: ImageStore,
    images: BTreeMap<Name, SiteImage>,
    /// Volume types of the story, with their extra specs.
    types: Vec<(Name, BTreeMap<String, String>)>,
}

/// The volume service as it runs now; a restart replaces it.
struct Service {
    options: BTreeMap<String, String>,
    control: ControlPlane,
    drivers: Drivers,
    promise: Promise,
}

/// Drivers by back end.
type Drivers = Arc<BTreeMap<String, Arc<dyn VolumeDriver>>>;

/// The paths that a story means with this number; 0 is all.
fn paths(path: u64) -> std::ops::RangeInclusive<u64> {
    if path == 0 { 1..=2 } else { path..=path }
}

/// Added to the ISID qualifier of a second connector of one host.
const INTRUDER: u16 = 100;
/// The same for the connector that has to do with the second array.
const FAR: u16 = 200;

/// Name of the one back end.
const BACKEND: &str = "control@tldriver";

impl ComposedSite {
    /// A host goes down, is away for so many seconds and connects again what is attached to it.
    async fn start_again(&self, host: &Name, how: HostEnd, off: u64) -> Result<(), SiteError> {
        let machine = self.connectors.get(host);
        let machine = machine.ok_or_else(|| SiteError::Internal(format!("the site has no host {host}")))?;
        let levers = self.levers()?;
        levers.host_off(host, how)?;
        self.parts.bench.sleep(std::time::Duration::from_secs(off)).await;
        machine.started(levers.host_on(host)?);
        let control = self.control();
        if control.is_crashed() {
            // Whoever comes after the volume service finds the disks when they are asked for.
            return Ok(());
        }
        let name = self.host_names.get(host).map_or("", String::as_str);
        control.host_booted(name).await.map_err(|e| SiteError::Unreachable(e.to_string()))
    }

    fn levers(&self) -> Result<Arc<dyn Levers>, SiteError> {
        let none = || SiteError::Internal("only a simulated site can break so".into());
        self.parts.levers.clone().ok_or_else(none)
    }

    fn service(&self) -> MutexGuard<'_, Service> {
        self.service.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the site together and starts the volume service.
    pub(crate) async fn start(parts: SiteParts, plan: &Plan) -> Result<Self, SiteError> {
        let mut options = parts.options.clone();
        options.extend(options::filled_in(&parts.options, &plan.site.options));
        let store = ImageStore::new();
        let mut connectors: BTreeMap<Name, Arc<Machine>> = BTreeMap::new();
        let mut host_names = BTreeMap::new();
        for (n, (name, paths)) in plan.site.hosts.iter().enumerate() {
            let Some(env) = parts.hosts.get(name) else { continue };
            let tune = plan.site.tunes.get(name).copied().unwrap_or_default();
            let host = host_named(parts.tag, n + 1, tune);
            let config = tuned(env, &parts, &host, n + 1, *paths > 1, tune);
            let connector = Arc::new(Machine::new(env.clone(), config));
            host_names.insert(name.clone(), host);
            connectors.insert(name.clone(), connector);
        }
        let control_host = parts.tag.host(0);
        let flows = workflow(&parts, &options);
        let multipath = flows.multipath_for_image_xfer;
        let config = tuned(&parts.control, &parts, &control_host, 0, multipath, Tune::default());
        let control_connector: Arc<dyn Connector> =
            Arc::new(HostConnector::new(parts.control.clone(), config));
        let built = build(&parts, &options)?;
        let control =
            plane(&parts, &built.drivers, &control_connector, &connectors, &host_names, &store, flows)?;
        // As users and administrators do it: over the interface of the service, and kept when it restarts.
        let mut images = BTreeMap::new();
        let mut control_dice = parts.bench.rng("images");
        for (name, kind, size) in &plan.site.images {
            let mut bytes = [0; 16];
            control_dice.fill(&mut bytes);
            bytes[..4].copy_from_slice(&parts.tag.0);
            let id = ImageId::from_random(bytes);
            let image = add_image(control.images(), parts.image.as_ref(), name.as_str(), id, *kind, *size);
            images.insert(name.clone(), image);
        }
        let service = Service {
            options,
            control: control.clone(),
            drivers: Arc::new(built.drivers),
            promise: built.promise,
        };
        let site = Self {
            multipath,
            service: Mutex::new(service),
            control_connector,
            connectors,
            host_names,
            host_order: plan.site.hosts.iter().map(|(name, _)| name.clone()).collect(),
            store,
            images,
            types: plan.site.types.clone(),
            parts,
        };
        control.start().await.map_err(|e| SiteError::Unreachable(e.to_string()))?;
        site.make_types()?;
        Ok(site)
    }

    fn make_types(&self) -> Result<(), SiteError> {
        let control = self.control();
        self.types.iter().try_for_each(|(name, specs)| {
            let made = control.create_type(name.as_str(), specs.clone());
            made.map_err(|e| SiteError::Internal(format!("type {name}: {e}")))
        })
    }

    /// The node of a host.
    pub(super) fn node(&self, host: &Name) -> Option<Env> {
        self.connectors.get(host).map(|machine| machine.env())
    }

    /// Whether an administrator of the array works here.
    pub(super) fn is_administered(&self) -> bool {
        !self.parts.desks.is_empty()
    }

    /// Bytes that a connection holds, see [`Levers::window`].
    pub(super) fn window(&self) -> Option<usize> {
        self.parts.levers.as_ref()?.window()
    }

    /// The run's tag as its type.
    pub(super) fn run_tag(&self) -> Tag {
        self.parts.tag
    }

    /// Stops the volume service: no management session stays behind.
    pub(crate) async fn stop(&self) {
        // A service that crashed has nothing to log out.
        let _ = self.control().stop().await;
    }
}

struct BuiltDriver {
    drivers: BTreeMap<String, Arc<dyn VolumeDriver>>,
    promise: Promise,
}

fn build(parts: &SiteParts, options: &BTreeMap<String, String>) -> Result<BuiltDriver, SiteError> {
    let built = (parts.driver.build)(&parts.control, options, &parts.planted)
        .map_err(|e| SiteError::BadOption(format!("{}: {}", e.key, e.problem)))?;
    let driver = match &parts.wrap {
        Some(wrap) => wrap(built.driver),
        None => built.driver,
    };
    let driver: Arc<dyn VolumeDriver> = Arc::new(MonitoredDriver::new(driver, parts.found.clone()));
    Ok(BuiltDriver {
        drivers: BTreeMap::from([(BACKEND.to_owned(), driver)]),
        promise: Promise {
            max_clone_depth: built.max_clone_depth,
            flatten_from_snapshot: built.flatten_from_snapshot,
        },
    })
}

fn plane(
    parts: &SiteParts,
    drivers: &BTreeMap<String, Arc<dyn VolumeDriver>>,
    control_connector: &Arc<dyn Connector>,
    connectors: &BTreeMap<Name, Arc<Machine>>,
    host_names: &BTreeMap<Name, String>,
    store: &ImageStore,
    flows: FlowsConfig,
) -> Result<ControlPlane, SiteError> {
    let backends = drivers.iter().map(|(name, driver)| Backend::new(name.clone(), driver.clone())).collect();
    let computes = connectors
        .iter()
        .filter_map(|(name, c)| Some((host_names.get(name)?.clone(), c.clone() as Arc<dyn Connector>)))
        .collect();
    ControlPlane::new(
        parts.control.clone(),
        backends,
        control_connector.clone(),
        computes,
        store.clone(),
        flows,
    )
    .map_err(|e| SiteError::Internal(e.to_string()))
}

/// What the service does with these options; read anew whenever it starts.
fn workflow(parts: &SiteParts, options: &BTreeMap<String, String>) -> FlowsConfig {
    FlowsConfig {
        id_prefix: Some(parts.tag.0),
        defects: parts.flow_defects,
        power_safe: parts.power_safe,
        ..options::workflow(options)
    }
}

/// Name of the `n`-th host. A long one is long in the middle: it begins and ends as the short one does.
fn host_named(tag: Tag, n: usize, tune: Tune) -> String {
    let (short, head) = (tag.host(n), format!("sb-{tag}-"));
    let missing = usize::try_from(tune.name_length).unwrap_or(0).saturating_sub(short.len() + 1);
    match missing {
        0 => short,
        _ => format!("{head}{}-{n}", "x".repeat(missing)),
    }
}

fn tuned(env: &Env, parts: &SiteParts, host: &str, n: usize, multipath: bool, tune: Tune) -> HostConfig {
    let mut config = host_config(env, parts, host, n, multipath);
    config.interfaces = u16::try_from(tune.interfaces.clamp(1, 8)).unwrap_or(1);
    config.uevents.delay = std::time::Duration::from_secs(tune.events);
    let session = &mut config.session;
    if tune.digests {
        (session.header_digest, session.data_digest) = (DigestOffer::Prefer, DigestOffer::Prefer);
    }
    if let Some(burst) = u32::try_from(tune.burst).ok().filter(|burst| *burst > 0) {
        (session.max_burst, session.first_burst) = (burst, burst);
    }
    if tune.solicited {
        (session.initial_r2t, session.immediate_data) = (true, false);
    }
    config
}

fn host_config(env: &Env, parts: &SiteParts, host: &str, n: usize, multipath: bool) -> HostConfig {
    let ip = env.addresses().first().copied().unwrap_or(std::net::Ipv4Addr::LOCALHOST.into());
    let mut config = HostConfig::new(host, parts.tag.iqn(n), ip);
    config.multipath = multipath;
    config.defects = parts.connector_defects;
    // Hosts of one process share its address; the ISID qualifier keeps their sessions apart.
    config.session.isid_qualifier = u16::try_from(n).unwrap_or(0);
    config
}

#[async_trait]
impl Site for ComposedSite {
    fn env(&self) -> &Env {
        &self.parts.bench
    }

    fn tag(&self) -> [u8; 4] {
        self.parts.tag.0
    }

    fn control(&self) -> ControlPlane {
        self.service().control.clone()
    }

    fn drivers(&self) -> Drivers {
        self.service().drivers.clone()
    }

    fn hosts(&self) -> Vec<Name> {
        self.connectors.keys().cloned().collect()
    }

    fn connector(&self, host: &Name) -> Option<Arc<dyn Connector>> {
        self.connectors.get(host).map(|machine| machine.clone() as Arc<dyn Connector>)
    }

    fn intruder(&self, host: &Name) -> Option<Arc<dyn Connector>> {
        let n = self.host_order.iter().position(|name| name == host)? + 1;
        let env = self.node(host)?;
        let mut config = host_config(&env, &self.parts, self.host_names.get(host)?, n, false);
        config.scan_attempts = 0;
        // Sessions of its own: it must not end those of the host's real connector.
        config.session.isid_qualifier += INTRUDER;
        Some(Arc::new(HostConnector::new(env, config)))
    }

    fn host_name(&self, host: &Name) -> Option<String> {
        self.host_names.get(host).cloned()
    }

    fn naming(&self) -> Option<&'static (dyn Naming + Sync)> {
        self.parts.driver.naming
    }

    fn control_connector(&self) -> Arc<dyn Connector> {
        self.control_connector.clone()
    }

    fn image(&self, name: &Name) -> Option<SiteImage> {
        self.images.get(name).cloned()
    }

    fn promise(&self) -> Promise {
        self.service().promise
    }

    async fn restart(&self, options: &BTreeMap<String, String>) -> Result<(), SiteError> {
        // A service that has crashed logs out nowhere.
        if !self.control().is_crashed() {
            let _ = self.control().stop().await;
        }
        let options = {
            let mut service = self.service();
            service.options.extend(options::filled_in(&self.parts.options, options));
            service.options.clone()
        };
        let built = build(&self.parts, &options)?;
        let mut flows = workflow(&self.parts, &options);
        flows.multipath_for_image_xfer = self.multipath;
        let control = plane(
            &self.parts,
            &built.drivers,
            &self.control_connector,
            &self.connectors,
            &self.host_names,
            &self.store,
            flows,
        )?;
        *self.service() = Service {
            options,
            control: control.clone(),
            drivers: Arc::new(built.drivers),
            promise: built.promise,
        };
        control.start().await.map(|_| ()).map_err(|e| SiteError::Unreachable(e.to_string()))
    }

    async fn clean(&self) -> Result<Cleaned, SiteError> {
        self.lose_and_clean().await
    }

    async fn power_loss(&self) -> Result<(), SiteError> {
        self.levers()?.power_loss().await
    }

    async fn set_controller(&self, controller: u64, up: bool) -> Result<(), SiteError> {
        self.levers()?.set_controller(controller, up)
    }

    async fn limit(&self, lun: &str, iops: u64) -> Result<(), SiteError> {
        self.levers()?.limit(lun, iops)
    }

    async fn set_portal(&self, portal: u64, enabled: bool) -> Result<(), SiteError> {
        self.levers()?.set_portal(portal, enabled)
    }

    fn every_portal(&self) -> Vec<std::net::SocketAddr> {
        self.parts.levers.as_ref().map(|levers| levers.every_portal()).unwrap_or_default()
    }

    async fn set_path(&self, host: &Name, path: u64, state: PathState) -> Result<(), SiteError> {
        let levers = self.levers()?;
        paths(path).try_for_each(|path| levers.set_path(host, path, state))
    }

    async fn sever(&self, host: &Name, path: u64, how: Severed) -> Result<(), SiteError> {
        let levers = self.levers()?;
        paths(path).try_for_each(|path| levers.sever(host, path, how))
    }

    async fn reboot(&self, host: &Name, off: u64) -> Result<(), SiteError> {
        self.start_again(host, HostEnd::Power, off).await
    }

    async fn restart_initiator(&self, host: &Name) -> Result<(), SiteError> {
        self.start_again(host, HostEnd::Killed, 0).await
    }

    async fn squat(&self, name: &str) -> Result<(), SiteError> {
        self.levers()?.squat(name)?;
        self.parts.found.foreign(name);
        Ok(())
    }

    async fn administer(
        &self,
        far: bool,
        method: &str,
        path: &str,
        body: &BTreeMap<String, String>,
    ) -> Result<(i64, Value), SiteError> {
        let desk = self.parts.desks.get(usize::from(far));
        let desk = desk.ok_or_else(|| SiteError::Internal("nobody administers this array here".into()))?;
        let body = if method == "GET" { Value::Null } else { json!(body) };
        desk.call(method, path, &body).await.map_err(|e| SiteError::Internal(e.to_string()))
    }

    fn portals(&self) -> Option<Vec<std::net::SocketAddr>> {
        self.parts.levers.as_ref().map(|levers| levers.portals())
    }

    async fn fill(&self, pool: &Name, leave: u64) -> Result<String, SiteError> {
        self.levers()?.fill(pool.as_str(), leave)
    }

    fn spoil(&self, lun: &str, lba: u64, how: Spoiled) -> Result<bool, SiteError> {
        let how = match how {
            Spoiled::Rot => Spoil::Rot,
            Spoiled::Torn => Spoil::Torn,
            Spoiled::Misdirected => Spoil::Misdirected,
        };
        self.levers()?.spoil(lun, lba, how)
    }

    fn mend(&self) -> Result<(), SiteError> {
        self.levers()?.mend()
    }

    async fn drain(&self, pool: &Name) -> Result<String, SiteError> {
        self.levers()?.drain(pool.as_str())
    }

    fn remote(&self) -> Option<Arc<dyn Remote>> {
        self.parts.remote.clone()
    }

    fn far_connector(&self, host: &Name) -> Option<Arc<dyn Connector>> {
        let n = self.host_order.iter().position(|name| name == host)? + 1;
        let env = self.node(host)?;
        let mut config = host_config(&env, &self.parts, self.host_names.get(host)?, n, false);
        config.session.isid_qualifier += FAR;
        Some(Arc::new(HostConnector::new(env, config)))
    }

    fn arm(&self, fault: &PlacedFault) -> Result<u64, SiteError> {
        Ok(self.levers()?.arm(&fault.point, fault.nth, world_fault(fault.action)))
    }

    fn disarm(&self) -> Result<(), SiteError> {
        if let Some(levers) = &self.parts.levers {
            levers.disarm();
        }
        Ok(())
    }

    async fn heal(&self) -> Result<(), SiteError> {
        if let Some(levers) = &self.parts.levers {
            levers.heal();
        }
        Ok(())
    }

    fn take_findings(&self) -> Vec<Finding> {
        self.parts.found.take()
    }

    fn stopped(&self) -> bool {
        crate::interrupt::stopped()
    }

    fn firings(&self) -> Firings {
        (self.parts.firings)()
    }
}
