//! The simulated array as it stands on a node: management API and iSCSI target over one state.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sanbench_array::{
    Array, ArrayConfig, ArrayHandle, ChapCredentials, Command, Defects, Disks, JobFault, Limits, Outcome,
    PoolConfig, Portal, PortalConfig, Secret, TrafficLimits,
};
use sanbench_durable::Spoil;
use sanbench_link::LinkConfig;
use sanbench_rest::{Desk, RestConfig, RestState};
use sanbench_runner::plan::{self, Plan};
use sanbench_runner::{CaseSpec, SiteError};
use sanbench_target::{TargetConfig, TargetDefects};
use sanbench_world::{Env, Fault, Listener, Task};

use super::kept::Vault;
use super::sim::pools;
use crate::defects::Planted;

/// Name and secret with which the simulated target proves itself to initiators that ask.
pub(crate) const TARGET_CHAP: (&str, &str) = ("array", "Target-34-chars!");

/// Number of the first port of an array.
const PORT_NO: u32 = 20200;
/// Controllers of an array.
pub(crate) const CONTROLLERS: u16 = 2;
/// Relative target port ids that an array has for itself, where several show one LUN.
pub(crate) const PORTS: u16 = 64;

/// What an array is made of.
pub(crate) struct ArrayParts {
    /// Where the management API listens.
    pub(crate) rest: SocketAddr,
    /// Where the portals listen.
    pub(crate) portals: Vec<SocketAddr>,
    /// Pools: name, bytes.
    pub(crate) pools: Vec<PoolConfig>,
    /// An array that there is already, with a journal; it gets the portals, and nothing else from here. None: a new one in
    /// memory.
    pub(crate) kept: Option<ArrayHandle>,
    /// A new array gets a journal in memory, with these defects, and comes back from a loss of power by what is in it.
    pub(crate) journal: Option<sanbench_durable::Defects>,
    /// PRODUCTVERSION.
    pub(crate) product: String,
    /// Serial, 16 hexadecimal digits.
    pub(crate) serial: String,
    /// Account of the management API and its settings.
    pub(crate) rest_config: RestConfig,
    /// Planted defects.
    pub(crate) defects: Defects,
    /// Defects planted in its target.
    pub(crate) target_defects: TargetDefects,
    /// New LUNs have a volatile write cache.
    pub(crate) write_cache: bool,
    /// Linked clones allowed of one source.
    pub(crate) clones: Option<u64>,
    /// Linked clones that it allows one behind another, if not its default.
    pub(crate) chain: Option<u64>,
    /// LUNs and snapshots together that it takes, if not its default.
    pub(crate) devices: Option<u64>,
    /// Bytes of the longest name of its target at a portal, if not as it comes.
    pub(crate) target_name: Option<u64>,
    /// What a fault point calls when it says that the node must crash.
    pub(crate) on_crash: Option<Arc<dyn Fn() + Send + Sync>>,
    /// Which of several arrays that show one LUN this is, from 0: their target port groups and ports have ids of their own.
    pub(crate) site: u16,
    /// Links to other arrays.
    pub(crate) links: Vec<LinkPart>,
    /// Its units offer SANITIZE: those of protocol cases are scratch.
    pub(crate) allow_sanitize: bool,
    /// How long a connection of the target looks for more input before it sleeps; zero in the simulation.
    pub(crate) spin: std::time::Duration,
}

impl ArrayParts {
    /// A new array in memory, as a case wants it.
    pub(crate) fn of_case(
        spec: &CaseSpec,
        planted: &Planted,
        rest: SocketAddr,
        portals: Vec<SocketAddr>,
    ) -> Self {
        Self {
            rest,
            portals,
            pools: pools_of(&spec.plan),
            kept: None,
            journal: spec.plan.site.journal.then_some(planted.journal),
            product: spec.plan.site.product.clone().unwrap_or_else(|| "V600R003C00".into()),
            serial: "21003400a30d844d".into(),
            rest_config: RestConfig::default(),
            defects: planted.array,
            target_defects: planted.target,
            write_cache: spec.plan.site.write_cache,
            clones: spec.plan.site.clones,
            chain: spec.plan.site.chain,
            devices: spec.plan.site.devices,
            target_name: spec.plan.site.target_name,
            on_crash: None,
            site: 0,
            links: Vec::new(),
            allow_sanitize: sanbench_protocol::Chapter::by_name(&spec.story).is_some(),
            spin: Duration::ZERO,
        }
    }
}

/// A link to another array.
#[derive(Debug, Clone)]
pub(crate) struct LinkPart {
    /// Name of the remote device.
    pub(crate) name: String,
    /// Where the other array listens, or this one does.
    pub(crate) end: LinkEnd,
    /// The secret of the link.
    pub(crate) secret: Secret,
}

/// Which end of a link an array is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LinkEnd {
    /// It dials.
    Dials(SocketAddr),
    /// It listens.
    Listens(SocketAddr),
}

/// An array that serves.
pub(crate) struct RunningArray {
    /// Its state.
    pub(crate) handle: ArrayHandle,
    /// Where the management API really listens.
    pub(crate) rest: SocketAddr,
    /// Where the portals really listen, in the order asked for.
    pub(crate) portals: Vec<SocketAddr>,
    /// Name of the target.
    pub(crate) target_iqn: String,
    /// The servers; they go on when this is dropped and end with their node.
    pub(crate) _tasks: Vec<Task<()>>,
    /// Where links are listened for, in the order asked for.
    pub(crate) link_listeners: Vec<SocketAddr>,
    rest_config: RestConfig,
    target_config: TargetConfig,
    links: Vec<LinkPart>,
    vault: Option<Arc<Vault>>,
    management: RestState,
    /// What the bench has done to the array by itself: this promise must be kept before the power goes.
    owed: AtomicU64,
}

impl RunningArray {
    /// Serves the same array again on a node that was down; sessions of both interfaces are forgotten.
    ///
    /// # Errors
    /// An address cannot be listened on.
    pub(crate) async fn serve_again(&self, env: &Env) -> io::Result<()> {
        let rest = env.listen(self.rest).await?;
        let mut listeners = Vec::new();
        for portal in &self.portals {
            listeners.push(env.listen(*portal).await?);
        }
        // The tasks end with their node.
        drop(start(env, &self.handle, rest, listeners, &self.rest_config, &self.target_config));
        start_committer(env, &self.handle, self.vault.as_ref());
        drop(start_links(env, &self.handle, &self.links, self.rest_config.on_crash.as_ref()).await?);
        Ok(())
    }

    /// Waits until what the bench itself has done to the array outlasts a loss of power: nobody else waits for that.
    pub(crate) async fn settle(&self) {
        // What the bench does to pairs goes past this array's levers.
        let owed = match self.links.is_empty() {
            true => self.owed.load(Ordering::Relaxed),
            false => self.handle.lock().promised(),
        };
        if let Some(gate) = self.handle.gate() {
            // A gate that has failed keeps nothing: the checks will tell.
            let _ = gate.settled(owed).await;
        }
    }

    /// Notes that the bench has changed the array.
    fn owe(&self, array: &mut Array) {
        array.promise();
        self.owed.store(array.promised(), Ordering::Relaxed);
    }

    /// Live management sessions. After a loss of power nobody knows: management began anew.
    pub(crate) fn sessions(&self) -> usize {
        self.management.sessions()
    }

    /// What is wrong inside of the array, or with what its journal holds.
    pub(crate) fn audit(&self) -> Option<String> {
        let first = self.handle.lock().audit().into_iter().next();
        first.or_else(|| self.vault.as_ref().and_then(|vault| vault.audit(&self.handle)))
    }

    /// Writes of linked clones that copied from their parents first, since the array was made or came back.
    pub(crate) fn copy_ups(&self) -> u64 {
        self.handle.lock().copy_ups()
    }

    /// The array comes back from a power loss on a node that was down: its volatile caches are lost. One with a journal is
    /// made again of what was committed.
    ///
    /// # Errors
    /// It does not come back from its journal, or an address cannot be listened on.
    pub(crate) async fn power_returns(&self, env: &Env) -> Result<(), SiteError> {
        if let Some(vault) = &self.vault {
            vault.restore(env, &self.handle).map_err(|e| SiteError::NotRestored(e.to_string()))?;
            watch_jobs(env, &self.handle);
            return self.serve_again(env).await.map_err(|e| SiteError::Internal(e.to_string()));
        }
        let mut dice = env.rng(&format!("power loss {}", self.handle.lock().power_generation()));
        let report = self.handle.lock().power_loss(env.now(), &mut |n| dice.below(n));
        env.note("power", || serde_json::json!({"lost": report.blocks_lost, "kept": report.blocks_kept}));
        self.serve_again(env).await.map_err(|e| SiteError::Internal(e.to_string()))
    }

    /// Where an administrator sits.
    pub(crate) fn desk(&self, env: &Env) -> Desk {
        Desk::new(env.clone(), self.handle.clone(), &self.rest_config)
    }

    /// Fails a controller, or brings it back.
    ///
    /// # Errors
    /// The array refuses.
    pub(crate) fn set_controller(&self, now: Duration, controller: u64, up: bool) -> Result<(), SiteError> {
        let controller = u8::try_from(controller).unwrap_or(u8::MAX);
        let mut array = self.handle.lock();
        let done = match up {
            true => array.restore_controller(now, controller),
            false => array.fail_controller(now, controller),
        };
        self.owe(&mut array);
        done.map_err(|e| SiteError::Internal(e.to_string()))
    }

    /// Gives a LUN a policy of its own that lets so many write commands a second through; takes it away with 0.
    ///
    /// # Errors
    /// There is no such LUN, or the array refuses.
    pub(crate) fn limit(&self, now: Duration, lun: &str, iops: u64) -> Result<(), SiteError> {
        let failed = |e: sanbench_array::Refusal| SiteError::Internal(e.to_string());
        let mut array = self.handle.lock();
        let id = array.lun_by_name(lun).map(|lun| lun.id);
        let id = id.ok_or_else(|| SiteError::Internal(format!("the array has no LUN {lun}")))?;
        if let Some(qos) = array.qos_of(id).map(|policy| policy.id) {
            array.apply(now, Command::ActivateQos { qos, active: false }).map_err(failed)?;
            array.apply(now, Command::DeleteQos { qos }).map_err(failed)?;
        }
        self.owe(&mut array);
        let Some(commands) = NonZeroU64::new(iops) else { return Ok(()) };
        let limits = TrafficLimits { commands: Some(commands), bytes: None, reads: false, writes: true };
        let name = format!("limit-{id}");
        let create = Command::CreateQos { name, luns: vec![id], limits, labels: Vec::new() };
        match array.apply(now, create).map_err(failed)? {
            Outcome::Created(qos) => {
                array.apply(now, Command::ActivateQos { qos, active: true }).map_err(failed)?;
                self.owe(&mut array);
                Ok(())
            }
            other => Err(SiteError::Internal(format!("no policy was made: {other:?}"))),
        }
    }

    /// Switches a portal, from 1, off or on.
    ///
    /// # Errors
    /// There is no such portal, or the array refuses.
    pub(crate) fn set_portal(&self, now: Duration, portal: u64, enabled: bool) -> Result<(), SiteError> {
        let mut array = self.handle.lock();
        let at = usize::try_from(portal).ok().and_then(|n| n.checked_sub(1));
        let port = at.and_then(|at| array.portals().get(at)).map(|portal| portal.id);
        let port = port.ok_or_else(|| SiteError::Internal(format!("the array has no portal {portal}")))?;
        let done = array.apply(now, Command::SetPortEnabled { port, enabled });
        self.owe(&mut array);
        done.map(|_| ()).map_err(|e| SiteError::Internal(e.to_string()))
    }

    /// Portals whose controller works.
    pub(crate) fn working_portals(&self) -> Vec<SocketAddr> {
        let array = self.handle.lock();
        let up = |controller: u8| array.controllers().get(usize::from(controller)).is_none_or(|c| c.up);
        let works = |portal: &&Portal| portal.enabled && up(portal.controller);
        array.portals().iter().filter(works).map(|portal| portal.address).collect()
    }

    /// Spoils the page that a block of a LUN is read from; false if no data are on disk there.
    ///
    /// # Errors
    /// The array keeps nothing on disk.
    pub(crate) fn spoil(&self, lun: &str, lba: u64, how: Spoil) -> Result<bool, SiteError> {
        Ok(self.journal()?.spoil(&self.handle, lun, lba, how))
    }

    /// Pages that were spoilt hold again what was written to them.
    ///
    /// # Errors
    /// The array keeps nothing on disk.
    pub(crate) fn mend(&self) -> Result<(), SiteError> {
        self.journal()?.mend();
        Ok(())
    }

    fn journal(&self) -> Result<&Arc<Vault>, SiteError> {
        self.vault.as_ref().ok_or_else(|| SiteError::Internal("the array has no journal".into()))
    }

    /// Fills a pool but for so many bytes with a thick LUN of somebody else.
    ///
    /// # Errors
    /// There is no such pool, or the array refuses.
    pub(crate) fn fill(&self, now: Duration, pool: &str, leave: u64) -> Result<String, SiteError> {
        let mut array = self.handle.lock();
        let found = array.pool_by_name(pool).map(|pool| (pool.id, pool.free_blocks()));
        let (id, free) = found.ok_or_else(|| SiteError::Internal(format!("the array has no pool {pool}")))?;
        let (name, description) = (filler(pool), "made by somebody else".to_owned());
        let blocks = free.saturating_sub(leave / 512);
        let command = Command::CreateLun { name: name.clone(), description, pool: id, blocks, thin: false };
        array.apply(now, command).map_err(|e| SiteError::Internal(e.to_string()))?;
        self.owe(&mut array);
        Ok(name)
    }

    /// Takes away what filled a pool.
    ///
    /// # Errors
    /// Nothing fills it.
    pub(crate) fn drain(&self, now: Duration, pool: &str) -> Result<String, SiteError> {
        let mut array = self.handle.lock();
        let name = filler(pool);
        let lun = array.lun_by_name(&name).map(|lun| lun.id);
        let lun = lun.ok_or_else(|| SiteError::Internal(format!("nothing fills pool {pool}")))?;
        array.apply(now, Command::DeleteLun { lun }).map_err(|e| SiteError::Internal(e.to_string()))?;
        self.owe(&mut array);
        Ok(name)
    }

    /// Makes a LUN of 1 GiB that nobody of the run has asked for.
    ///
    /// # Errors
    /// The array refuses.
    pub(crate) fn squat(&self, now: Duration, name: &str) -> Result<(), SiteError> {
        let (name, description) = (name.to_owned(), "made by somebody else".to_owned());
        let command = Command::CreateLun { name, description, pool: 0, blocks: 1 << 21, thin: true };
        let mut array = self.handle.lock();
        let done = array.apply(now, command);
        self.owe(&mut array);
        done.map(|_| ()).map_err(|e| SiteError::Internal(e.to_string()))
    }
}

/// Name of the LUN that fills a pool.
fn filler(pool: &str) -> String {
    format!("filler-{}", pool.chars().take(20).collect::<String>())
}

fn start(
    env: &Env,
    handle: &ArrayHandle,
    rest: Listener,
    listeners: Vec<Listener>,
    rest_config: &RestConfig,
    target_config: &TargetConfig,
) -> (RestState, Vec<Task<()>>) {
    let management = RestState::new(env.clone(), handle.clone(), rest_config.clone());
    let tasks = vec![
        env.spawn(sanbench_rest::serve_state(management.clone(), rest)),
        env.spawn(sanbench_target::serve(env.clone(), handle.clone(), listeners, target_config.clone())),
    ];
    (management, tasks)
}

/// Starts the committer of an array with a journal in memory; it ends with its node.
fn start_committer(env: &Env, handle: &ArrayHandle, vault: Option<&Arc<Vault>>) {
    if let Some(vault) = vault {
        drop(env.spawn(Arc::clone(vault).commit(env.clone(), handle.clone())));
    }
}

/// Lets the faults of the world meet the array's background work.
fn watch_jobs(env: &Env, handle: &ArrayHandle) {
    let watcher = env.clone();
    handle.lock().watch_jobs(move |point| match watcher.fault(point)? {
        Fault::Fail => Some(JobFault::Fail),
        Fault::Delay(pause) => Some(JobFault::Stall(pause)),
        Fault::CrashNode => Some(JobFault::ControllerFails),
        // There is no reply to drop or to spoil.
        Fault::DropReply | Fault::Answer(_) | Fault::Message(_) => None,
    });
}

/// The target name of an array with this serial number.
pub(crate) fn target_iqn(serial: &str) -> String {
    format!("iqn.2006-08.com.huawei:oceanstor:{serial}")
}

/// The target name with so much more at its end that its longest name at a portal has `bytes` bytes. (The array puts port number
/// and address behind it: each portal has a target name of its own.)
fn lengthened(name: String, portals: &[SocketAddr], bytes: Option<u64>) -> String {
    let behind = portals.iter().map(|portal| format!("::{PORT_NO}:{}", portal.ip()).len()).max();
    let has = name.len() + behind.unwrap_or(0);
    let missing =
        bytes.and_then(|bytes| usize::try_from(bytes).ok()).map_or(0, |bytes| bytes.saturating_sub(has));
    match missing {
        0 => name,
        1 => format!("{name}x"),
        _ => format!("{name}-{}", "x".repeat(missing - 1)),
    }
}

/// Pools by name and bytes.
pub(crate) fn pool_configs(pools: &[(String, u64)]) -> Vec<PoolConfig> {
    pools.iter().map(|(name, bytes)| PoolConfig::new(name.clone(), bytes / 512)).collect()
}

/// The pools of a case, of the disks that its story wants.
fn pools_of(plan: &Plan) -> Vec<PoolConfig> {
    let mut all = pool_configs(&pools(plan));
    for pool in &mut all {
        let wanted = plan.site.disks.iter().find(|(name, _)| name.as_str() == pool.name);
        pool.disks = match wanted.map(|(_, disks)| disks) {
            None | Some(plan::Disks::Ssd) => Disks::Ssd,
            Some(plan::Disks::Sas) => Disks::Sas,
            Some(plan::Disks::NlSas) => Disks::NlSas,
            Some(plan::Disks::Mix) => Disks::Mix,
            Some(plan::Disks::Untold) => Disks::Untold,
        };
    }
    all
}

/// Starts the links of an array; gives their tasks, and where the listening ones really listen.
async fn start_links(
    env: &Env,
    handle: &ArrayHandle,
    links: &[LinkPart],
    on_crash: Option<&Arc<dyn Fn() + Send + Sync>>,
) -> io::Result<(Vec<Task<()>>, Vec<SocketAddr>)> {
    let (mut tasks, mut listeners) = (Vec::new(), Vec::new());
    for LinkPart { name, end, secret } in links {
        let remote = handle.lock().add_remote(name);
        let config = LinkConfig { on_crash: on_crash.cloned(), ..LinkConfig::new(secret.clone()) };
        let (env, handle) = (env.clone(), handle.clone());
        tasks.push(match end {
            LinkEnd::Dials(to) => env.spawn(sanbench_link::dial(env.clone(), handle, remote, *to, config)),
            LinkEnd::Listens(on) => {
                let named = |e: io::Error| io::Error::new(e.kind(), format!("cannot listen on {on}: {e}"));
                let listener = env.listen(*on).await.map_err(named)?;
                listeners.push(listener.local_addr());
                env.spawn(sanbench_link::listen(env.clone(), handle, remote, listener, config))
            }
        });
    }
    Ok((tasks, listeners))
}

/// Starts an array on a node.
///
/// # Errors
/// An address cannot be listened on; names it.
pub(crate) async fn start_array(env: &Env, parts: ArrayParts) -> io::Result<RunningArray> {
    let named =
        |addr: SocketAddr, e: io::Error| io::Error::new(e.kind(), format!("cannot listen on {addr}: {e}"));
    let rest = env.listen(parts.rest).await.map_err(|e| named(parts.rest, e))?;
    let mut listeners = Vec::new();
    for portal in &parts.portals {
        listeners.push(env.listen(*portal).await.map_err(|e| named(*portal, e))?);
    }
    let portals: Vec<SocketAddr> = listeners.iter().map(|l| l.local_addr()).collect();
    let mut limits = Limits::default();
    if let Some(clones) = parts.clones {
        limits.clones = usize::try_from(clones).unwrap_or(usize::MAX);
    }
    if let Some(chain) = parts.chain {
        limits.chain = u32::try_from(chain).unwrap_or(u32::MAX);
    }
    if let Some(devices) = parts.devices {
        limits.devices = usize::try_from(devices).unwrap_or(usize::MAX);
    }
    let config = ArrayConfig {
        product: parts.product,
        target_iqn: lengthened(target_iqn(&parts.serial), &portals, parts.target_name),
        serial: parts.serial,
        pools: parts.pools,
        portals: portals
            .iter()
            .zip(0u16..)
            .map(|(address, n)| PortalConfig {
                address: *address,
                port_no: PORT_NO + 256 * u32::from(n),
                // Portals take turns on the two controllers; those of one controller are one target port group.
                tpgt: parts.site * CONTROLLERS + n % CONTROLLERS + 1,
                controller: (n % CONTROLLERS) as u8,
            })
            .collect(),
        controllers: CONTROLLERS as u8,
        write_cache: parts.write_cache,
        limits,
        port_base: parts.site * PORTS,
        defects: parts.defects,
        ..ArrayConfig::default()
    };
    let (vault, handle) = match (parts.kept, parts.journal) {
        (Some(handle), _) => {
            handle.lock().set_portals(config.portals);
            (None, handle)
        }
        (None, Some(defects)) => {
            let (vault, handle) = Vault::make(config, defects).map_err(io::Error::other)?;
            (Some(vault), handle)
        }
        (None, None) => (None, ArrayHandle::new(Array::new(config))),
    };
    let target_iqn = handle.lock().target_iqn().to_owned();
    watch_jobs(env, &handle);
    let rest_addr = rest.local_addr();
    let rest_config = RestConfig { on_crash: parts.on_crash.clone(), ..parts.rest_config };
    let target_config = TargetConfig {
        on_crash: parts.on_crash,
        defects: parts.target_defects,
        own_chap: Some(ChapCredentials { name: TARGET_CHAP.0.into(), secret: Secret::new(TARGET_CHAP.1) }),
        spin: parts.spin,
        allow_sanitize: parts.allow_sanitize,
        ..TargetConfig::default()
    };
    let (management, mut tasks) = start(env, &handle, rest, listeners, &rest_config, &target_config);
    start_committer(env, &handle, vault.as_ref());
    let (linked, link_listeners) =
        start_links(env, &handle, &parts.links, rest_config.on_crash.as_ref()).await?;
    tasks.extend(linked);
    Ok(RunningArray {
        handle,
        rest: rest_addr,
        portals,
        target_iqn,
        _tasks: tasks,
        link_listeners,
        rest_config,
        target_config,
        links: parts.links,
        vault,
        management,
        owed: AtomicU64::new(0),
    })
}
