//! The facade: what a user, an operator and the bench itself may ask the control plane for.
//!
//! Every operation runs as a task of the control node and dies with it; the caller then gets
//! [`FlowError::Crashed`], and a new [`ControlPlane`] on the restarted node recovers in [`ControlPlane::start`].
//! A caller that stops waiting does not stop the operation.

mod locks;
mod plane;
mod startup;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use sanbench_api::{
    AttachmentId, BlockDevice, Connector, DriverError, ImageId, InstanceId, SnapshotId, VolumeId,
};
use sanbench_world::Env;

pub(crate) use locks::LockGuard;
pub use locks::{HeldBefore, LockKind, LockName};
pub(crate) use plane::{Plane, Promise};

use crate::attach::LocalRead;
use crate::compute::{self, AttachOptions, DetachOptions};
use crate::config::{Backend, FlowsConfig};
use crate::engine;
use crate::error::{FlowError, Refusal};
use crate::image::{ImageStore, cache};
use crate::model::{
    AttachmentView, BdmView, CacheEntryView, CreateRequest, ExtendReport, InstanceView, QuotaView,
    SnapshotView, Transition, VolumeView,
};
use crate::scheduler::Decision;
use crate::volume;

/// What a start found and did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StartReport {
    /// Back ends whose driver could not be set up; they get no requests.
    pub failed: BTreeMap<String, DriverError>,
    /// What was brought to an end, for people.
    pub recovered: Vec<String>,
}

/// What should not exist while nothing runs (INV-F1, INV-D12, INV-C4, INV-A3).
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Leftovers {
    /// Staged images.
    pub temp_files: Vec<String>,
    /// Flows that have not been closed, as `kind subject`.
    pub open_flows: Vec<String>,
    /// Worker rows, as `kind id status`.
    pub workers: Vec<String>,
    /// Volumes that the database shows mapped to the control host.
    pub control_attachments: Vec<VolumeId>,
    /// Disks that guests have although no block device mapping names them, as `guest volume`.
    pub guest_disks: Vec<String>,
    /// Quota reserved, as `resource count`.
    pub reservations: Vec<String>,
}

impl Leftovers {
    /// True when there is nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The control plane of one node. Clones share it.
#[derive(Clone)]
pub struct ControlPlane(Arc<Plane>);

impl std::fmt::Debug for ControlPlane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ControlPlane({})", self.0.env.node())
    }
}

impl ControlPlane {
    /// Opens the node's state database and takes the services over; asks nobody anything yet.
    pub fn new(
        env: Env,
        backends: Vec<Backend>,
        control_host: Arc<dyn Connector>,
        computes: BTreeMap<String, Arc<dyn Connector>>,
        images: ImageStore,
        config: FlowsConfig,
    ) -> Result<Self, FlowError> {
        Ok(Self(Plane::new(env, backends, control_host, computes, images, config)?))
    }

    /// Runs an operation as a task of the node.
    async fn on_node<T, F>(&self, operation: F) -> Result<T, FlowError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, FlowError>> + Send + 'static,
    {
        match self.0.env.spawn(operation).await {
            Ok(answer) => answer,
            Err(sanbench_world::TaskGone::Panicked) => Err(FlowError::Internal("a flow panicked".into())),
            Err(_) => Err(FlowError::Crashed),
        }
    }

    /// Sets the drivers up (three extra tries each), recovers what a crash interrupted, and begins to serve.
    pub async fn start(&self) -> Result<StartReport, FlowError> {
        let plane = Arc::clone(&self.0);
        self.on_node(async move { startup::start(&plane).await }).await
    }

    /// It has crashed: nothing is served, and only another service on the same database goes on where it was.
    pub fn is_crashed(&self) -> bool {
        self.0.is_crashed()
    }

    /// The state database is lost with everything in it: volumes, snapshots, attachments, types, open flows. To be called when
    /// nothing runs; only a [`ControlPlane`] that is made afterwards knows of it.
    ///
    /// # Errors
    /// The database cannot be emptied.
    pub fn lose_database(&self) -> Result<(), FlowError> {
        self.0.db.lose()
    }

    /// Stops serving and logs the drivers out.
    pub async fn stop(&self) -> Result<(), FlowError> {
        let plane = Arc::clone(&self.0);
        self.on_node(async move {
            plane.set_started(false);
            for backend in plane.backends.values() {
                backend.driver.shutdown().await;
            }
            Ok(())
        })
        .await
    }

    /// Tries again what is still open although nobody runs it: drivers that could not be set up, failed undos, mappings
    /// to the control host. To be
    /// called when the world has healed. Answers what was done, for people.
    pub async fn reconcile(&self) -> Result<Vec<String>, FlowError> {
        let plane = Arc::clone(&self.0);
        self.on_node(async move {
            plane.serving()?;
            let mut said = startup::revive(&plane).await;
            said.extend(engine::recover_all(&plane).await?);
            // What a flow that stood still had reserved is nobody's once nothing runs.
            if plane.is_idle() {
                plane.db.read(|db| db.drop_reservations())?;
            }
            startup::control_host(&plane, &mut said).await?;
            Ok(said)
        })
        .await
    }

    /// Makes or replaces a volume type.
    pub fn create_type(&self, name: &str, extra_specs: BTreeMap<String, String>) -> Result<(), FlowError> {
        self.0.put_type(name, extra_specs)
    }

    /// Enables or disables a back end (`host@backend`): disabled, it gets no new volumes.
    pub fn enable_backend(&self, name: &str, enabled: bool) -> Result<(), FlowError> {
        if !self.0.db.read(|db| db.enable_service(name, enabled))? {
            return Err(Refusal::NotFound { kind: "back end", id: name.to_owned() }.into());
        }
        self.0.scheduler().enable(name, enabled);
        Ok(())
    }

    /// Creates a volume and waits for the end. After [`FlowError::Failed`] its row exists, mostly in `error`.
    pub async fn create_volume(&self, request: CreateRequest) -> Result<VolumeId, FlowError> {
        self.on_node(volume::create::create(Arc::clone(&self.0), request)).await
    }

    /// Deletes a volume.
    pub async fn delete_volume(&self, id: VolumeId) -> Result<(), FlowError> {
        self.on_node(volume::delete::delete(Arc::clone(&self.0), id)).await
    }

    /// Grows a volume to `new_size_gib`, attached or not.
    pub async fn extend_volume(&self, id: VolumeId, new_size_gib: u64) -> Result<ExtendReport, FlowError> {
        self.on_node(volume::extend::extend(Arc::clone(&self.0), id, new_size_gib)).await
    }

    /// Takes a snapshot; the caller may choose its id.
    pub async fn create_snapshot(
        &self,
        volume: VolumeId,
        name: impl Into<String>,
        id: Option<SnapshotId>,
    ) -> Result<SnapshotId, FlowError> {
        self.on_node(volume::snapshot::create(Arc::clone(&self.0), volume, name.into(), id)).await
    }

    /// Deletes a snapshot.
    pub async fn delete_snapshot(&self, id: SnapshotId) -> Result<(), FlowError> {
        self.on_node(volume::snapshot::delete(Arc::clone(&self.0), id)).await
    }

    /// Makes a volume independent of what it was cloned from.
    pub async fn flatten_volume(&self, id: VolumeId) -> Result<(), FlowError> {
        self.on_node(volume::flatten::flatten(Arc::clone(&self.0), id)).await
    }

    /// Writes an image over an existing volume; its old content may be anything, so zeroes are written too.
    pub async fn reimage_volume(&self, id: VolumeId, image: ImageId) -> Result<(), FlowError> {
        self.on_node(volume::from_image::reimage(Arc::clone(&self.0), id, image)).await
    }

    /// Makes an instance on a compute host; the caller may choose its id.
    pub fn create_instance(&self, host: &str, id: Option<InstanceId>) -> Result<InstanceId, FlowError> {
        compute::create_instance(&self.0, host, id)
    }

    /// Deletes an instance; its volumes are detached by force.
    pub async fn delete_instance(&self, id: InstanceId) -> Result<(), FlowError> {
        self.on_node(compute::delete_instance(Arc::clone(&self.0), id)).await
    }

    /// Attaches a volume to an instance on its host.
    pub async fn attach(
        &self,
        volume: VolumeId,
        instance: InstanceId,
        options: AttachOptions,
    ) -> Result<AttachmentId, FlowError> {
        self.on_node(compute::attach::attach(Arc::clone(&self.0), volume, instance, options)).await
    }

    /// Detaches a volume from an instance.
    pub async fn detach(
        &self,
        volume: VolumeId,
        instance: InstanceId,
        options: DetachOptions,
    ) -> Result<(), FlowError> {
        self.on_node(compute::detach::detach(Arc::clone(&self.0), volume, instance, options)).await
    }

    /// The disk that a guest on `host` sees.
    pub async fn device(&self, volume: VolumeId, host: &str) -> Result<Arc<dyn BlockDevice>, FlowError> {
        self.on_node(compute::device(Arc::clone(&self.0), volume, host.to_owned())).await
    }

    /// A compute host has lost its power and is back. What its guests held is gone; every volume that is attached there is
    /// connected anew (Nova `resume_guests_state_on_host_boot`).
    ///
    /// # Errors
    /// The first volume that could not be connected; the others were tried all the same, and each is tried again when its
    /// disk is asked for.
    pub async fn host_booted(&self, host: &str) -> Result<(), FlowError> {
        self.on_node(compute::host_booted(Arc::clone(&self.0), host.to_owned())).await
    }

    /// Attaches a volume read-only to the control host; the caller closes it.
    pub async fn open_for_reading(&self, volume: VolumeId) -> Result<LocalRead, FlowError> {
        self.on_node(LocalRead::open(Arc::clone(&self.0), volume)).await
    }

    /// Attaches a volume read-only to the control host, hands the device to `body`, and detaches it whatever came
    /// of that. An error of the detach is answered only if `body` went well.
    pub async fn control_host_read<T, F, Fut>(&self, volume: VolumeId, body: F) -> Result<T, FlowError>
    where
        T: Send + 'static,
        F: FnOnce(Arc<dyn BlockDevice>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, FlowError>> + Send + 'static,
    {
        let plane = Arc::clone(&self.0);
        self.on_node(async move {
            let read = LocalRead::open(plane, volume).await?;
            let answer = match read.device() {
                Some(device) => body(device).await,
                None => Err(FlowError::Internal("attached without a device".into())),
            };
            let closed = read.close().await;
            let value = answer?;
            closed?;
            Ok(value)
        })
        .await
    }

    /// Deletes all cached image volumes.
    pub async fn purge_image_cache(&self) -> Result<(), FlowError> {
        self.on_node(cache::purge(Arc::clone(&self.0))).await
    }

    /// The image service.
    pub fn images(&self) -> &ImageStore {
        &self.0.images
    }

    /// One volume.
    pub fn volume(&self, id: VolumeId) -> Result<Option<VolumeView>, FlowError> {
        self.0.db.read(|db| db.volume(id))
    }

    /// All volumes, cached images included, oldest first.
    pub fn volumes(&self) -> Result<Vec<VolumeView>, FlowError> {
        self.0.db.read(|db| db.volumes())
    }

    /// All snapshots by id.
    pub fn snapshots(&self) -> Result<Vec<SnapshotView>, FlowError> {
        self.0.db.read(|db| db.snapshots())
    }

    /// All attachments of instances by id.
    pub fn attachments(&self) -> Result<Vec<AttachmentView>, FlowError> {
        self.0.db.read(|db| db.attachments())
    }

    /// All instances by id.
    pub fn instances(&self) -> Result<Vec<InstanceView>, FlowError> {
        self.0.db.read(|db| db.instances())
    }

    /// All block device mappings.
    pub fn block_device_mappings(&self) -> Result<Vec<BdmView>, FlowError> {
        self.0.db.read(|db| db.bdms())
    }

    /// The image cache, least recently used first.
    pub fn cache_entries(&self) -> Result<Vec<CacheEntryView>, FlowError> {
        self.0.db.read(|db| db.cache_entries())
    }

    /// Quota usage.
    pub fn quota(&self) -> Result<QuotaView, FlowError> {
        self.0.db.read(|db| db.quota())
    }

    /// What the scheduler decided since the service was made, with all it was made from.
    pub fn decisions(&self) -> Vec<Decision> {
        self.0.decisions()
    }

    /// Status changes since the last call; they outlive a crash.
    pub fn take_transitions(&self) -> Vec<Transition> {
        self.0.db.take_transitions()
    }

    /// Locks that operations asked for while they had others, since the last call; they outlive a crash.
    pub fn take_lock_order(&self) -> Vec<HeldBefore> {
        self.0.locks.take_order()
    }

    /// What should not exist while nothing runs.
    pub fn leftovers(&self) -> Result<Leftovers, FlowError> {
        self.0.db.read(|db| {
            let quota = db.quota()?;
            let reserved = [
                ("volumes", quota.reserved_volumes),
                ("gigabytes", quota.reserved_gigabytes),
                ("snapshots", quota.reserved_snapshots),
            ];
            Ok(Leftovers {
                temp_files: db.temps()?,
                open_flows: db.open_flows()?.iter().map(|f| format!("{} {}", f.kind, f.subject)).collect(),
                workers: db.workers()?.iter().map(|(kind, id, s)| format!("{kind} {id} {s}")).collect(),
                control_attachments: db.control_attachments()?.iter().map(|r| r.volume).collect(),
                guest_disks: db.stray_guest_disks()?,
                reservations: reserved
                    .iter()
                    .filter(|(_, n)| *n > 0)
                    .map(|(resource, n)| format!("{resource} {n}"))
                    .collect(),
            })
        })
    }
}
