//! Delete (workflow contract 4.1). A crash while deleting finishes the deletion (INV-P7).

use std::sync::Arc;

use sanbench_api::{RefusalKind, VolumeId};
use serde_json::json;

use super::create::conflict;
use crate::control::{LockGuard, Plane};
use crate::db::{Amount, FlowRow};
use crate::engine::{self, Flow, FlowContext, OnUndoFailure, Recovery, Step, StepFuture};
use crate::error::{FlowError, Refusal, StepError};
use crate::status::{AttachStatus, VolumeStatus};

pub(crate) static DELETE: Flow<DeleteCx> = Flow {
    name: "delete_volume",
    steps: &[
        Step::undo_only("settle_status", settle_status),
        Step::run("begin", begin),
        Step::run("lock", lock),
        Step::run("release_control", release_control),
        Step::run("remove_export", remove_export),
        Step::run("delete_lun", delete_lun),
        Step::run("forget", forget),
    ],
    recovery: Recovery::Forward,
    on_undo_failure: OnUndoFailure::Continue,
};

/// Statuses that may be deleted (`error_deleting` is the repeat of a failed delete, INV-P15).
const DELETABLE: [VolumeStatus; 4] =
    [VolumeStatus::Available, VolumeStatus::Error, VolumeStatus::ErrorExtending, VolumeStatus::ErrorDeleting];

pub(crate) struct DeleteCx {
    plane: Arc<Plane>,
    id: VolumeId,
    begun: bool,
    recovered: bool,
    busy: bool,
    guard: Option<LockGuard>,
}

impl FlowContext for DeleteCx {
    fn plane(&self) -> &Arc<Plane> {
        &self.plane
    }

    fn rebuild(plane: &Arc<Plane>, row: &FlowRow) -> Result<Option<Self>, FlowError> {
        let Ok(id) = row.subject.parse() else { return Ok(None) };
        if plane.db.read(|db| db.volume(id))?.is_none() {
            return Ok(None);
        }
        Ok(Some(Self {
            plane: Arc::clone(plane),
            id,
            begun: false,
            recovered: true,
            busy: false,
            guard: None,
        }))
    }

    fn failed(&mut self, error: &StepError) {
        if let StepError::Failed(cause) = error {
            self.busy = cause.refusal_kind() == Some(RefusalKind::Busy);
        }
    }
}

/// Deletes a user's volume.
pub(crate) async fn delete(plane: Arc<Plane>, id: VolumeId) -> Result<(), FlowError> {
    let not_found = || Refusal::NotFound { kind: "volume", id: id.to_string() };
    if plane.db.read(|db| db.volume(id))?.ok_or_else(not_found)?.internal {
        return Err(not_found().into());
    }
    delete_any(plane, id).await
}

/// Deletes a volume, whichever tenant's.
pub(crate) async fn delete_any(plane: Arc<Plane>, id: VolumeId) -> Result<(), FlowError> {
    plane.serving()?;
    let mut cx = DeleteCx { plane, id, begun: false, recovered: false, busy: false, guard: None };
    engine::run(&DELETE, id.to_string(), json!({}), &mut cx).await
}

fn begin(cx: &mut DeleteCx) -> StepFuture<'_> {
    Box::pin(async move {
        if cx.begun {
            return Ok(());
        }
        let (id, resumed) = (cx.id, cx.recovered);
        let skips_status = cx.plane.config.defects.wrong_status_edge;
        cx.plane.db.tx(|db| {
            let row =
                db.volume(id)?.ok_or_else(|| Refusal::NotFound { kind: "volume", id: id.to_string() })?;
            if resumed && row.status == VolumeStatus::Deleting {
                return Ok(());
            }
            if row.attach_status != AttachStatus::Detached {
                let wanted = "detached";
                return Err(conflict("volume", id, row.attach_status.as_str(), wanted).into());
            }
            let count = db.snapshot_count(id)?;
            if count > 0 {
                return Err(Refusal::HasSnapshots { volume: id.to_string(), count }.into());
            }
            if skips_status && DELETABLE.contains(&row.status) {
                return Ok(());
            }
            if db.cas_volume(id, &DELETABLE, VolumeStatus::Deleting)?.is_none() {
                let wanted = "available or an error status";
                return Err(StepError::from(conflict("volume", id, row.status.as_str(), wanted)));
            }
            Ok(db.put_worker("volume", id, VolumeStatus::Deleting.as_str())?)
        })?;
        cx.begun = true;
        Ok(())
    })
}

/// Busy goes back to `available`; anything else is `error_deleting`, and can be tried again.
fn settle_status(cx: &mut DeleteCx) -> StepFuture<'_> {
    Box::pin(async move {
        if !cx.begun && !cx.recovered {
            return Ok(());
        }
        let id = cx.id;
        let to = if cx.busy { VolumeStatus::Available } else { VolumeStatus::ErrorDeleting };
        cx.plane.db.read(|db| {
            db.cas_volume(id, &[VolumeStatus::Deleting], to)?;
            db.remove_worker("volume", id)
        })?;
        Ok(())
    })
}

fn lock(cx: &mut DeleteCx) -> StepFuture<'_> {
    Box::pin(async move {
        if cx.guard.is_none() {
            cx.guard = Some(cx.plane.lock_delete(cx.id).await);
        }
        Ok(())
    })
}

/// What an earlier image write may have left mapped.
fn release_control(cx: &mut DeleteCx) -> StepFuture<'_> {
    Box::pin(async move { crate::attach::release_leftovers(&cx.plane, cx.id).await })
}

fn remove_export(cx: &mut DeleteCx) -> StepFuture<'_> {
    Box::pin(async move {
        let Some(row) = cx.plane.db.read(|db| db.volume(cx.id))?.filter(|r| r.host.is_some()) else {
            return Ok(());
        };
        Ok(cx.plane.driver(&row)?.remove_export(&cx.plane.volume_ref(&row)).await?)
    })
}

fn delete_lun(cx: &mut DeleteCx) -> StepFuture<'_> {
    Box::pin(async move {
        // Never scheduled: nothing to delete.
        let Some(row) = cx.plane.db.read(|db| db.volume(cx.id))?.filter(|r| r.host.is_some()) else {
            return Ok(());
        };
        Ok(cx.plane.driver(&row)?.delete_volume(&cx.plane.volume_ref(&row)).await?)
    })
}

fn forget(cx: &mut DeleteCx) -> StepFuture<'_> {
    Box::pin(async move {
        let id = cx.id;
        let row = cx.plane.db.read(|db| {
            let row = db.volume(id)?;
            if let Some(row) = &row {
                db.remove_volume(id)?;
                db.remove_worker("volume", id)?;
                if !row.internal {
                    db.give_back(Amount { volumes: 1, gigabytes: row.size_gib, snapshots: 0 })?;
                }
            }
            Ok(row)
        })?;
        if let Some(backend) = row.as_ref().and_then(|r| r.backend()) {
            cx.plane.scheduler().mark_stale(backend);
        }
        cx.guard = None;
        Ok(())
    })
}
