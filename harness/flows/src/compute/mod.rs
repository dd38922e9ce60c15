//! Nova's side: instances, block device mappings, and the order in which a host gets and gives back a disk.

pub(crate) mod attach;
pub(crate) mod detach;

use std::sync::Arc;

use sanbench_api::{BlockDevice, Connector, InstanceId, VolumeId};

use crate::attach::check_identity;
use crate::control::{LockKind, Plane};
use crate::error::{FlowError, Refusal, StepError};
use crate::model::{AttachmentView, InstanceView};
use crate::status::AttachmentStatus;

/// How to attach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AttachOptions {
    /// Several paths.
    pub multipath: bool,
    /// Fewer than two paths is an error.
    pub enforce_multipath: bool,
}

/// How to detach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DetachOptions {
    /// Nothing may be left on the host, even if unflushed data is lost (instance deletion).
    pub force: bool,
}

/// Makes an instance on a compute host.
pub(crate) fn create_instance(
    plane: &Plane,
    host: &str,
    id: Option<InstanceId>,
) -> Result<InstanceId, FlowError> {
    plane.serving()?;
    if !plane.computes.contains_key(host) {
        return Err(Refusal::NotFound { kind: "host", id: host.to_owned() }.into());
    }
    let id = id.unwrap_or_else(|| InstanceId::from_random(plane.env.uuid_bytes()));
    let row = InstanceView { id, host: host.to_owned() };
    plane.db.tx(|db| {
        if db.instance(id)?.is_some() {
            return Err(FlowError::from(Refusal::Exists { kind: "instance", id: id.to_string() }));
        }
        Ok(db.insert_instance(&row)?)
    })?;
    Ok(id)
}

/// Deletes an instance; its volumes are detached by force.
pub(crate) async fn delete_instance(plane: Arc<Plane>, id: InstanceId) -> Result<(), FlowError> {
    plane.serving()?;
    for row in plane.db.read(|db| db.attachments())?.into_iter().filter(|a| a.instance == id) {
        detach::detach(Arc::clone(&plane), row.volume, id, DetachOptions { force: true }).await?;
    }
    if plane.db.read(|db| db.remove_instance(id))? {
        return Ok(());
    }
    Err(Refusal::NotFound { kind: "instance", id: id.to_string() }.into())
}

pub(crate) fn connector_of<'a>(plane: &'a Plane, host: &str) -> Result<&'a Arc<dyn Connector>, StepError> {
    plane
        .computes
        .get(host)
        .ok_or_else(|| crate::error::Cause::Gone(format!("compute host {host:?} does not exist")).into())
}

/// The attached row of a volume on a host.
pub(crate) fn attached_on(
    plane: &Plane,
    volume: VolumeId,
    host: &str,
) -> Result<Option<AttachmentView>, FlowError> {
    let rows = plane.db.read(|db| db.attachments_of(volume))?;
    Ok(rows.into_iter().find(|a| a.host == host && a.status == AttachmentStatus::Attached))
}

/// The disk that a guest on `host` sees. After a restart of the control service the handle is made again: the
/// connection is refreshed (credentials are not stored) and connected anew, both of which are repeatable.
pub(crate) async fn device(
    plane: Arc<Plane>,
    volume: VolumeId,
    host: String,
) -> Result<Arc<dyn BlockDevice>, FlowError> {
    let not_here = || Refusal::NotAttached { volume: volume.to_string(), to: host.clone() };
    let known = |row: &AttachmentView| {
        plane.guests().get(&(row.instance, volume)).map(|attached| Arc::clone(&attached.device))
    };
    if let Some(device) = known(&attached_on(&plane, volume, &host)?.ok_or_else(not_here)?) {
        // A guest keeps its disk while the volume service is away.
        return Ok(device);
    }
    plane.serving()?;
    let _guard = plane.lock(LockKind::Connection, guarded_place(&plane, volume, &host)?).await;
    // Whoever held the guard may have detached it, and what a detach took away must not come back; or connected it.
    let row = attached_on(&plane, volume, &host)?.ok_or_else(not_here)?;
    if let Some(device) = known(&row) {
        return Ok(device);
    }
    let key = (row.instance, volume);
    let reconnect = async {
        let view = plane.volume(volume)?;
        let driver = plane.driver(&view)?;
        let connector = row.connector.clone().ok_or_else(|| StepError::from(not_here()))?;
        let mut info = crate::attach::api::initialize(&plane, &*driver, &view, &connector).await?;
        info.multipath = connector.multipath;
        info.enforce_multipath = connector.enforce_multipath;
        let attached = connector_of(&plane, &host)?.connect_volume(&info).await?;
        check_identity(&info, &attached)?;
        Ok::<_, StepError>(attached)
    };
    let attached = reconnect.await.map_err(|error| match error {
        StepError::Failed(cause) => FlowError::Failed(Box::new(crate::error::Failure {
            flow: "device",
            step: "reconnect",
            subject: volume.to_string(),
            outcome: cause.outcome(),
            cause,
            undo_failures: Vec::new(),
        })),
        StepError::Refused(refusal) => refusal.into(),
        StepError::Crash => FlowError::Crashed,
        StepError::Lost => FlowError::Unanswered,
        StepError::Internal(message) => FlowError::Internal(message),
    })?;
    // The domain is written anew: a host that has started again may have found its devices in another order.
    plane.db.single(|db| db.move_guest_disk(row.instance, volume, &attached.path))?;
    let device = Arc::clone(&attached.device);
    plane.guests().insert(key, attached);
    Ok(device)
}

/// A compute host has lost its power and is back (Nova `resume_guests_state_on_host_boot`): what its guests held is gone,
/// and every volume that is attached there is connected anew.
pub(crate) async fn host_booted(plane: Arc<Plane>, host: String) -> Result<(), FlowError> {
    let rows: Vec<AttachmentView> =
        plane.db.read(|db| db.attachments())?.into_iter().filter(|row| row.host == host).collect();
    for row in &rows {
        plane.guests().remove(&(row.instance, row.volume));
    }
    let mut first = Ok(());
    for row in rows.into_iter().filter(|row| row.status == AttachmentStatus::Attached) {
        // One that fails does not keep the others away.
        let connected = device(Arc::clone(&plane), row.volume, host.clone()).await;
        first = first.and(connected.map(|_| ()));
    }
    first
}

/// What the lock is of that is around [map + connect] and [disconnect + unmap] (os-brick `guard_connection`): one for each
/// back end and host, because a scan for one volume may bring back a device that another detach just removed.
pub(crate) fn guarded_place(plane: &Plane, volume: VolumeId, host: &str) -> Result<String, FlowError> {
    let row = plane.db.read(|db| db.volume(volume))?;
    let backend = row.as_ref().and_then(|r| r.backend()).unwrap_or("").to_owned();
    Ok(format!("{backend}-{host}"))
}
