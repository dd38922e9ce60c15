//! Detach (workflow contract 8.4): the guest lets go first, then the host, then the array.

use std::sync::Arc;

use sanbench_api::{InstanceId, VolumeId};
use serde_json::json;

use super::{DetachOptions, connector_of, guarded_place};
use crate::attach::api;
use crate::control::{LockGuard, LockKind, Plane};
use crate::db::FlowRow;
use crate::engine::{self, Flow, FlowContext, OnUndoFailure, Recovery, Step, StepFuture};
use crate::error::{FlowError, Refusal, StepError};
use crate::model::AttachmentView;
use crate::status::{AttachStatus, AttachmentStatus, VolumeStatus};
use crate::volume::create::conflict;

pub(crate) static DETACH: Flow<DetachCx> = Flow {
    name: "detach_volume",
    steps: &[
        Step::undo_only("roll_back", roll_back),
        Step::run("begin", begin),
        Step::run("guard", guard),
        Step::run("unplug", unplug),
        Step::run("disconnect", disconnect),
        Step::run("unmap", unmap),
        Step::run("delete_attachment", delete_attachment),
    ],
    recovery: Recovery::Forward,
    on_undo_failure: OnUndoFailure::Continue,
};

pub(crate) struct DetachCx {
    plane: Arc<Plane>,
    row: AttachmentView,
    force: bool,
    begun: bool,
    recovered: bool,
    /// The guest has let go of the disk.
    unplugged: bool,
    /// Planted defect D56: the call to the array failed, and nobody cares.
    forgotten: bool,
    guard: Option<LockGuard>,
}

impl FlowContext for DetachCx {
    fn plane(&self) -> &Arc<Plane> {
        &self.plane
    }

    fn rebuild(plane: &Arc<Plane>, row: &FlowRow) -> Result<Option<Self>, FlowError> {
        let text = |key: &str| row.params.get(key).and_then(|v| v.as_str()).unwrap_or("");
        let Ok(id) = text("attachment").parse() else { return Ok(None) };
        let Some(attachment) = plane.db.read(|db| db.attachment(id))? else { return Ok(None) };
        let force = row.params.get("force").and_then(serde_json::Value::as_bool).unwrap_or(false);
        Ok(Some(Self {
            plane: Arc::clone(plane),
            row: attachment,
            force,
            begun: false,
            recovered: true,
            unplugged: false,
            forgotten: false,
            guard: None,
        }))
    }
}

/// Detaches and waits until nothing of it is left on the host and in the array.
pub(crate) async fn detach(
    plane: Arc<Plane>,
    volume: VolumeId,
    instance: InstanceId,
    options: DetachOptions,
) -> Result<(), FlowError> {
    plane.serving()?;
    let rows = plane.db.read(|db| db.attachments_of(volume))?;
    let row = rows
        .into_iter()
        .find(|a| a.instance == instance && a.status == AttachmentStatus::Attached)
        .ok_or_else(|| Refusal::NotAttached { volume: volume.to_string(), to: instance.to_string() })?;
    let params = json!({"attachment": row.id, "force": options.force});
    let mut cx = DetachCx {
        plane,
        row,
        force: options.force,
        begun: false,
        recovered: false,
        unplugged: false,
        forgotten: false,
        guard: None,
    };
    engine::run(&DETACH, volume.to_string(), params, &mut cx).await
}

fn begin(cx: &mut DetachCx) -> StepFuture<'_> {
    Box::pin(async move {
        if cx.begun {
            return Ok(());
        }
        let volume = cx.row.volume;
        let resumed = cx.recovered;
        cx.plane.db.tx(|db| {
            if db.cas_volume(volume, &[VolumeStatus::InUse], VolumeStatus::Detaching)?.is_some() {
                return Ok(db.set_attach_status(volume, AttachStatus::Detaching)?);
            }
            match db.volume(volume)?.map(|v| v.status) {
                Some(VolumeStatus::Detaching) if resumed => Ok(()),
                // A failed extend or a lost export keeps its status; without this nobody could ever let go of it.
                Some(VolumeStatus::Error | VolumeStatus::ErrorExtending) => {
                    Ok(db.set_attach_status(volume, AttachStatus::Detaching)?)
                }
                Some(status) => Err(StepError::from(conflict("volume", volume, status.as_str(), "in-use"))),
                None => Err(Refusal::NotFound { kind: "volume", id: volume.to_string() }.into()),
            }
        })?;
        cx.begun = true;
        Ok(())
    })
}

/// Back to in-use: the call can be repeated.
fn roll_back(cx: &mut DetachCx) -> StepFuture<'_> {
    Box::pin(async move {
        if !cx.begun && !cx.recovered {
            return Ok(());
        }
        let (volume, id) = (cx.row.volume, cx.row.id);
        cx.plane.db.read(|db| {
            if db.attachment(id)?.is_some() {
                db.cas_volume(volume, &[VolumeStatus::Detaching], VolumeStatus::InUse)?;
                db.set_attach_status(volume, AttachStatus::Attached)?;
            }
            Ok(())
        })?;
        if cx.unplugged {
            // In-use again, so the host has the device again; where that fails now, its next use tries once more.
            cx.guard = None;
            if let Err(e) = super::device(Arc::clone(&cx.plane), volume, cx.row.host.clone()).await {
                cx.plane.warn("device after a failed detach", &e);
            }
        }
        Ok(())
    })
}

fn guard(cx: &mut DetachCx) -> StepFuture<'_> {
    Box::pin(async move {
        if cx.guard.is_none() {
            let place = guarded_place(&cx.plane, cx.row.volume, &cx.row.host)?;
            cx.guard = Some(cx.plane.lock(LockKind::Connection, place).await);
        }
        Ok(())
    })
}

/// The host is not touched while the guest has the disk (INV-P10). A disk that the guest has not is success.
fn unplug(cx: &mut DetachCx) -> StepFuture<'_> {
    Box::pin(async move {
        engine::ask(&cx.plane.env, "guest.unplug").await?;
        cx.plane.guests().remove(&(cx.row.instance, cx.row.volume));
        cx.unplugged = true;
        Ok(cx.plane.db.single(|db| db.remove_guest_disk(cx.row.instance, cx.row.volume))?)
    })
}

fn disconnect(cx: &mut DetachCx) -> StepFuture<'_> {
    Box::pin(async move {
        let Some(info) = &cx.row.connection_info else { return Ok(()) };
        if cx.plane.db.read(|db| db.shared_on_host(cx.row.volume, &cx.row.host, cx.row.id))? {
            return Ok(());
        }
        Ok(connector_of(&cx.plane, &cx.row.host)?.disconnect_volume(info, cx.force).await?)
    })
}

fn unmap(cx: &mut DetachCx) -> StepFuture<'_> {
    Box::pin(async move {
        match api::terminate(&cx.plane, cx.row.id, cx.force).await {
            Err(StepError::Failed(_)) if cx.plane.config.defects.detach_error_forgotten => {
                cx.forgotten = true;
                Ok(())
            }
            answer => answer,
        }
    })
}

fn delete_attachment(cx: &mut DetachCx) -> StepFuture<'_> {
    Box::pin(async move {
        let (row, forgotten) = (&cx.row, cx.forgotten);
        cx.plane.db.read(|db| {
            if !forgotten && db.remove_attachment(row.id)? {
                db.recompute_volume(row.volume)?;
            }
            db.remove_bdm(row.instance, row.volume)
        })?;
        Ok(())
    })
}
