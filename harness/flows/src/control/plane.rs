//! What all flows share: the services of one control node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sanbench_api::{Attached, Connector, InstanceId, SnapshotRef, VolumeDriver, VolumeId, VolumeRef};
use sanbench_world::Env;
use serde_json::json;

use super::locks::{LockGuard, LockKind, Locks};
use crate::config::{Backend, FlowsConfig};
use crate::db::StateDb;
use crate::error::{Cause, FlowError, Refusal};
use crate::image::{ImageStore, ImageWork};
use crate::model::{SnapshotView, VolumeView};
use crate::scheduler::{Decision, Operation, Options, Request, Scheduler};
use crate::status::AttachStatus;

/// Extra specs of a type.
pub(crate) type Specs = Arc<BTreeMap<String, String>>;
/// A disk of a guest.
pub(crate) type GuestKey = (InstanceId, VolumeId);
/// A promise of the scheduler.
pub(crate) type Promise = (VolumeId, u64);

/// The control node.
pub(crate) struct Plane {
    pub(crate) env: Env,
    pub(crate) db: StateDb,
    pub(crate) config: FlowsConfig,
    pub(crate) backends: BTreeMap<String, Backend>,
    pub(crate) control_host: Arc<dyn Connector>,
    pub(crate) computes: BTreeMap<String, Arc<dyn Connector>>,
    pub(crate) images: ImageStore,
    pub(crate) work: ImageWork,
    scheduler: Mutex<Scheduler>,
    types: Mutex<BTreeMap<String, Specs>>,
    pub(crate) locks: Locks,
    /// What the hypervisors hold: gone after a restart, made again on demand.
    guests: Mutex<BTreeMap<GuestKey, Attached>>,
    running: Mutex<BTreeSet<i64>>,
    started: AtomicBool,
    crashed: AtomicBool,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes the flow from the running ones when its future ends or is dropped.
pub(crate) struct Running {
    plane: Arc<Plane>,
    pub(crate) id: i64,
}

impl Drop for Running {
    fn drop(&mut self) {
        held(&self.plane.running).remove(&self.id);
    }
}

impl Plane {
    pub(crate) fn new(
        env: Env,
        backends: Vec<Backend>,
        control_host: Arc<dyn Connector>,
        computes: BTreeMap<String, Arc<dyn Connector>>,
        images: ImageStore,
        config: FlowsConfig,
    ) -> Result<Arc<Self>, FlowError> {
        let db = StateDb::open(&env, config.power_safe, config.defects.busy_database_not_retried)?;
        let mut scheduler = Scheduler::default();
        for backend in &backends {
            scheduler.add(&backend.name, &backend.zone);
        }
        let types = db.tx::<_, rusqlite::Error>(|db| {
            for backend in &backends {
                db.put_service(&backend.name)?;
            }
            for disabled in db.disabled_services()? {
                scheduler.enable(&disabled, false);
            }
            db.types()
        })?;
        Ok(Arc::new(Self {
            work: ImageWork::new(env.clone(), config.converter),
            locks: Locks::new(&env),
            env,
            db,
            config,
            backends: backends.into_iter().map(|b| (b.name.clone(), b)).collect(),
            control_host,
            computes,
            images,
            scheduler: Mutex::new(scheduler),
            types: Mutex::new(types.into_iter().map(|(name, specs)| (name, Arc::new(specs))).collect()),
            guests: Mutex::default(),
            running: Mutex::default(),
            started: AtomicBool::new(false),
            crashed: AtomicBool::new(false),
        }))
    }

    /// Bytes of a new identity, with the prefix of tagged runs.
    pub(crate) fn id_bytes(&self) -> [u8; 16] {
        let mut bytes = self.env.uuid_bytes();
        if let Some(prefix) = self.config.id_prefix {
            bytes[..4].copy_from_slice(&prefix);
        }
        bytes
    }

    pub(crate) fn scheduler(&self) -> MutexGuard<'_, Scheduler> {
        held(&self.scheduler)
    }

    pub(crate) fn guests(&self) -> MutexGuard<'_, BTreeMap<GuestKey, Attached>> {
        held(&self.guests)
    }

    pub(crate) fn is_crashed(&self) -> bool {
        self.crashed.load(Ordering::Acquire)
    }

    pub(crate) fn mark_crashed(&self) {
        self.crashed.store(true, Ordering::Release);
        self.started.store(false, Ordering::Release);
    }

    pub(crate) fn set_started(&self, started: bool) {
        self.started.store(started, Ordering::Release);
    }

    /// A fresh incarnation on the same state.
    pub(crate) fn reborn(&self) {
        self.crashed.store(false, Ordering::Release);
        self.guests().clear();
        held(&self.running).clear();
    }

    pub(crate) fn serving(&self) -> Result<(), FlowError> {
        match (self.is_crashed(), self.started.load(Ordering::Acquire)) {
            (true, _) => Err(FlowError::Crashed),
            (_, false) => Err(Refusal::ServiceDown("control".into()).into()),
            _ => Ok(()),
        }
    }

    /// Opens a flow in the log and claims it at once, so that a recovery cannot come between.
    pub(crate) fn open_flow(
        self: &Arc<Self>,
        open: impl FnOnce() -> Result<i64, FlowError>,
    ) -> Result<Running, FlowError> {
        let mut running = held(&self.running);
        let id = open()?;
        running.insert(id);
        Ok(Running { plane: Arc::clone(self), id })
    }

    /// Claims an open flow for recovery; `None` while somebody runs it, or once it has been closed.
    pub(crate) fn claim_flow(self: &Arc<Self>, id: i64) -> Result<Option<Running>, FlowError> {
        let mut running = held(&self.running);
        if running.contains(&id) || !self.db.read(|db| db.open_flows())?.iter().any(|row| row.id == id) {
            return Ok(None);
        }
        running.insert(id);
        Ok(Some(Running { plane: Arc::clone(self), id }))
    }

    /// No flow is at work.
    pub(crate) fn is_idle(&self) -> bool {
        held(&self.running).is_empty()
    }

    /// The named lock of this node.
    pub(crate) async fn lock(&self, kind: LockKind, of: String) -> LockGuard {
        self.locks.lock(kind, of).await
    }

    pub(crate) async fn lock_delete(&self, volume: VolumeId) -> LockGuard {
        self.lock(LockKind::DeleteVolume, volume.to_string()).await
    }

    pub(crate) async fn lock_control(&self, volume: VolumeId) -> LockGuard {
        self.lock(LockKind::Control, volume.to_string()).await
    }

    pub(crate) fn put_type(&self, name: &str, specs: BTreeMap<String, String>) -> Result<(), FlowError> {
        self.db.read(|db| db.put_type(name, &specs))?;
        held(&self.types).insert(name.to_owned(), Arc::new(specs));
        Ok(())
    }

    pub(crate) fn specs(&self, volume_type: Option<&str>) -> Option<Specs> {
        match volume_type {
            None => Some(Specs::default()),
            Some(name) => held(&self.types).get(name).cloned(),
        }
    }

    pub(crate) fn driver(&self, volume: &VolumeView) -> Result<Arc<dyn VolumeDriver>, Cause> {
        let name = volume.backend().unwrap_or("");
        match self.backends.get(name) {
            Some(backend) => Ok(Arc::clone(&backend.driver)),
            None => Err(Cause::Gone(format!("back end {name:?} of volume {} does not exist", volume.id))),
        }
    }

    pub(crate) fn volume_ref(&self, volume: &VolumeView) -> VolumeRef {
        let specs = self.specs(volume.volume_type.as_deref()).unwrap_or_default();
        VolumeRef {
            id: volume.id,
            name_id: volume.name_id,
            size_gib: volume.size_gib,
            pool: volume.pool().unwrap_or("").to_owned(),
            extra_specs: (*specs).clone(),
            use_quota: true,
            provider_id: volume.provider_id.clone(),
            provider_location: volume.provider_location.clone(),
        }
    }

    pub(crate) fn snapshot_ref(&self, snapshot: &SnapshotView, volume: &VolumeView) -> SnapshotRef {
        SnapshotRef {
            id: snapshot.id,
            volume: self.volume_ref(volume),
            volume_size_gib: snapshot.size_gib,
            provider_id: snapshot.provider_id.clone(),
            provider_location: snapshot.provider_location.clone(),
        }
    }

    /// The volume row, or the cause that it has gone.
    pub(crate) fn volume(&self, id: VolumeId) -> Result<VolumeView, crate::error::StepError> {
        let row = self.db.read(|db| db.volume(id))?;
        row.ok_or_else(|| Cause::Gone(format!("volume {id} has gone")).into())
    }

    /// Asks back ends whose reports are due.
    pub(crate) async fn refresh_stats(&self) {
        let due = self.scheduler().due(self.env.now(), self.config.stats_max_age);
        for name in due {
            let Some(backend) = self.backends.get(&name) else { continue };
            let (ticket, at) = (self.scheduler().begin_report(), self.env.now());
            match backend.driver.get_volume_stats().await {
                Ok(stats) => {
                    if let Err(e) = self.db.single(|db| db.put_stats(&name, &stats, at)) {
                        self.env
                            .note("flow", || json!({"event": "stats not stored", "error": e.to_string()}));
                    }
                    self.scheduler().report(&name, stats, ticket, at);
                }
                Err(e) => {
                    self.env.note(
                        "flow",
                        || json!({"event": "no stats", "backend": name, "error": e.to_string()}),
                    );
                }
            }
        }
    }

    /// Places a request; `Err` is [`Cause::NoValidBackend`] or a broken database.
    pub(crate) async fn place(
        &self,
        request: &Request,
    ) -> Result<(String, Promise), crate::error::StepError> {
        self.refresh_stats().await;
        let allocated = self.db.read(|db| db.allocated_gib(self.config.defects.allocated_counts_some))?;
        let options = Options {
            multiplier: self.config.capacity_weight_multiplier,
            default_ratio: self.config.default_over_subscription,
        };
        let (decision, promise) = self.scheduler().place(request, &allocated, options, self.env.now());
        self.env
            .note("schedule", || json!({"volume": request.volume.to_string(), "chosen": decision.chosen}));
        match (decision.chosen.clone(), promise) {
            (Some(host), Some(promise)) => Ok((host, promise)),
            _ => Err(Cause::NoValidBackend(decision.reasons()).into()),
        }
    }

    /// A request about a volume that has its place already.
    pub(crate) fn request_at(&self, volume: &VolumeView, operation: Operation, size_gib: u64) -> Request {
        Request {
            operation,
            volume: volume.id,
            size_gib,
            extra_specs: (*self.specs(volume.volume_type.as_deref()).unwrap_or_default()).clone(),
            availability_zone: None,
            pinned: volume.host.clone(),
            attached: volume.attach_status != AttachStatus::Detached,
            attempted: Vec::new(),
        }
    }

    pub(crate) fn decisions(&self) -> Vec<Decision> {
        self.scheduler().decisions()
    }

    /// Writes a line about something that failed without failing its operation.
    pub(crate) fn warn(&self, what: &str, why: &dyn std::fmt::Display) {
        self.env.note("flow", || json!({"event": "warning", "what": what, "error": why.to_string()}));
    }
}
