//! Snapshots (workflow contract 4.3).

use std::sync::Arc;

use sanbench_api::{RefusalKind, SnapshotId, VolumeId};
use serde_json::json;

use super::create::conflict;
use crate::control::{LockGuard, LockKind, Plane, Promise};
use crate::db::{Amount, FlowRow};
use crate::engine::{self, Flow, FlowContext, OnUndoFailure, Recovery, Step, StepFuture};
use crate::error::{FlowError, Refusal, StepError};
use crate::model::SnapshotView;
use crate::scheduler::Operation;
use crate::status::{SnapshotStatus, VolumeStatus};

pub(crate) static CREATE_SNAPSHOT: Flow<SnapshotCx> = Flow {
    name: "create_snapshot",
    steps: &[
        Step::both("reserve_quota", reserve_quota, release_quota),
        Step::undo_only("mark_error", mark_error),
        Step::run("create_row", create_row),
        Step::both("schedule", schedule, unschedule),
        Step::run("take", take),
        Step::run("finish", finish),
    ],
    recovery: Recovery::Unwind,
    on_undo_failure: OnUndoFailure::Continue,
};

pub(crate) static DELETE_SNAPSHOT: Flow<SnapshotCx> = Flow {
    name: "delete_snapshot",
    steps: &[
        Step::undo_only("settle_status", settle_status),
        Step::run("begin", begin_delete),
        Step::run("lock", lock),
        Step::run("delete", delete_on_array),
        Step::run("forget", forget),
    ],
    recovery: Recovery::Forward,
    on_undo_failure: OnUndoFailure::Continue,
};

pub(crate) struct SnapshotCx {
    plane: Arc<Plane>,
    id: SnapshotId,
    volume: VolumeId,
    name: String,
    size_gib: u64,
    reservation: Option<i64>,
    promise: Option<Promise>,
    begun: bool,
    recovered: bool,
    busy: bool,
    guard: Option<LockGuard>,
}

impl SnapshotCx {
    fn new(plane: &Arc<Plane>, id: SnapshotId, volume: VolumeId, name: String, size_gib: u64) -> Self {
        Self {
            plane: Arc::clone(plane),
            id,
            volume,
            name,
            size_gib,
            reservation: None,
            promise: None,
            begun: false,
            recovered: false,
            busy: false,
            guard: None,
        }
    }
}

impl FlowContext for SnapshotCx {
    fn plane(&self) -> &Arc<Plane> {
        &self.plane
    }

    fn rebuild(plane: &Arc<Plane>, row: &FlowRow) -> Result<Option<Self>, FlowError> {
        let Ok(id) = row.subject.parse() else { return Ok(None) };
        // Before the row there was nothing but a reservation, and those do not outlive the service.
        let Some(snapshot) = plane.db.read(|db| db.snapshot(id))? else { return Ok(None) };
        let mut cx = Self::new(plane, id, snapshot.volume, snapshot.name, snapshot.size_gib);
        cx.recovered = true;
        Ok(Some(cx))
    }

    fn failed(&mut self, error: &StepError) {
        if let StepError::Failed(cause) = error {
            self.busy = cause.refusal_kind() == Some(RefusalKind::Busy);
        }
    }
}

/// Takes a snapshot of an available or in-use volume.
pub(crate) async fn create(
    plane: Arc<Plane>,
    volume: VolumeId,
    name: String,
    id: Option<SnapshotId>,
) -> Result<SnapshotId, FlowError> {
    plane.serving()?;
    let row = plane.db.read(|db| db.volume(volume))?;
    let row = row
        .filter(|r| !r.internal)
        .ok_or_else(|| Refusal::NotFound { kind: "volume", id: volume.to_string() })?;
    let id = id.unwrap_or_else(|| SnapshotId::from_random(plane.id_bytes()));
    if plane.db.read(|db| db.snapshot(id))?.is_some() {
        return Err(Refusal::Exists { kind: "snapshot", id: id.to_string() }.into());
    }
    let name = name.chars().take(255).collect();
    let mut cx = SnapshotCx::new(&plane, id, volume, name, row.size_gib);
    engine::run(&CREATE_SNAPSHOT, id.to_string(), json!({"volume": volume}), &mut cx).await?;
    Ok(id)
}

/// Deletes a snapshot.
pub(crate) async fn delete(plane: Arc<Plane>, id: SnapshotId) -> Result<(), FlowError> {
    plane.serving()?;
    let row = plane.db.read(|db| db.snapshot(id))?;
    let row = row.ok_or_else(|| Refusal::NotFound { kind: "snapshot", id: id.to_string() })?;
    let mut cx = SnapshotCx::new(&plane, id, row.volume, row.name, row.size_gib);
    engine::run(&DELETE_SNAPSHOT, id.to_string(), json!({}), &mut cx).await
}

fn amount(size_gib: u64) -> Amount {
    Amount { volumes: 0, gigabytes: size_gib, snapshots: 1 }
}

fn reserve_quota(cx: &mut SnapshotCx) -> StepFuture<'_> {
    Box::pin(async move {
        if cx.reservation.is_none() {
            let limits = cx.plane.config.quota;
            cx.reservation = Some(cx.plane.db.tx(|db| db.reserve(amount(cx.size_gib), &limits))?);
        }
        Ok(())
    })
}

fn release_quota(cx: &mut SnapshotCx) -> StepFuture<'_> {
    Box::pin(async move {
        if let Some(reservation) = cx.reservation {
            cx.plane.db.read(|db| db.release(reservation))?;
        }
        Ok(())
    })
}

/// The volume's status is judged in the same transaction that makes the row (race with delete, bug 1739995).
fn create_row(cx: &mut SnapshotCx) -> StepFuture<'_> {
    Box::pin(async move {
        let Some(reservation) = cx.reservation else { return Ok(()) };
        let row = SnapshotView {
            id: cx.id,
            volume: cx.volume,
            name: cx.name.clone(),
            size_gib: cx.size_gib,
            status: SnapshotStatus::Creating,
            provider_id: None,
            provider_location: None,
        };
        cx.plane.db.tx(|db| {
            if db.snapshot(row.id)?.is_some() {
                return Ok(());
            }
            let volume = db
                .volume(row.volume)?
                .ok_or_else(|| Refusal::NotFound { kind: "volume", id: row.volume.to_string() })?;
            if !matches!(volume.status, VolumeStatus::Available | VolumeStatus::InUse) {
                let wanted = "available or in-use";
                return Err(StepError::from(conflict("volume", volume.id, volume.status.as_str(), wanted)));
            }
            // Its size is the volume's, and so is what it takes of the quota: an extend may have ended since both were read.
            if volume.size_gib != row.size_gib {
                let wanted = "as large as when the snapshot was asked for";
                return Err(StepError::from(conflict("volume", volume.id, "extended", wanted)));
            }
            db.insert_snapshot(&row)?;
            db.commit(reservation)?;
            Ok(db.put_worker("snapshot", row.id, row.status.as_str())?)
        })
    })
}

/// An errored snapshot keeps its quota until it is deleted.
fn mark_error(cx: &mut SnapshotCx) -> StepFuture<'_> {
    Box::pin(async move {
        let id = cx.id;
        cx.plane.db.read(|db| {
            db.cas_snapshot(id, &[SnapshotStatus::Creating], SnapshotStatus::Error)?;
            db.remove_worker("snapshot", id)
        })?;
        Ok(())
    })
}

fn schedule(cx: &mut SnapshotCx) -> StepFuture<'_> {
    Box::pin(async move {
        if cx.promise.is_none() {
            let row = cx.plane.volume(cx.volume)?;
            let request = cx.plane.request_at(&row, Operation::CreateSnapshot, cx.size_gib);
            cx.promise = Some(cx.plane.place(&request).await?.1);
        }
        Ok(())
    })
}

fn unschedule(cx: &mut SnapshotCx) -> StepFuture<'_> {
    Box::pin(async move {
        if let Some(promise) = cx.promise.take() {
            cx.plane.scheduler().dropped(promise);
        }
        Ok(())
    })
}

fn take(cx: &mut SnapshotCx) -> StepFuture<'_> {
    Box::pin(async move {
        let parent = cx.plane.volume(cx.volume)?;
        let Some(row) = cx.plane.db.read(|db| db.snapshot(cx.id))? else { return Ok(()) };
        let driver = cx.plane.driver(&parent)?;
        let update = driver.create_snapshot(&cx.plane.snapshot_ref(&row, &parent)).await?;
        Ok(cx.plane.db.single(|db| db.set_snapshot_provider(cx.id, &update))?)
    })
}

fn finish(cx: &mut SnapshotCx) -> StepFuture<'_> {
    Box::pin(async move {
        let id = cx.id;
        cx.plane.db.read(|db| {
            db.cas_snapshot(id, &[SnapshotStatus::Creating], SnapshotStatus::Available)?;
            db.remove_worker("snapshot", id)
        })?;
        if let Some(promise) = cx.promise.take() {
            cx.plane.scheduler().kept(promise);
        }
        Ok(())
    })
}

fn begin_delete(cx: &mut SnapshotCx) -> StepFuture<'_> {
    Box::pin(async move {
        if cx.begun {
            return Ok(());
        }
        let (id, resumed) = (cx.id, cx.recovered);
        cx.plane.db.tx(|db| {
            let from = [SnapshotStatus::Available, SnapshotStatus::Error, SnapshotStatus::ErrorDeleting];
            if db.cas_snapshot(id, &from, SnapshotStatus::Deleting)?.is_some() {
                return Ok(db.put_worker("snapshot", id, SnapshotStatus::Deleting.as_str())?);
            }
            match db.snapshot(id)?.map(|s| s.status) {
                Some(SnapshotStatus::Deleting) if resumed => Ok(()),
                Some(status) => {
                    let wanted = "available or an error status";
                    Err(StepError::from(conflict("snapshot", id, status.as_str(), wanted)))
                }
                None => Err(Refusal::NotFound { kind: "snapshot", id: id.to_string() }.into()),
            }
        })?;
        cx.begun = true;
        Ok(())
    })
}

fn settle_status(cx: &mut SnapshotCx) -> StepFuture<'_> {
    Box::pin(async move {
        if !cx.begun && !cx.recovered {
            return Ok(());
        }
        let id = cx.id;
        let to = if cx.busy { SnapshotStatus::Available } else { SnapshotStatus::ErrorDeleting };
        cx.plane.db.read(|db| {
            db.cas_snapshot(id, &[SnapshotStatus::Deleting], to)?;
            db.remove_worker("snapshot", id)
        })?;
        Ok(())
    })
}

fn lock(cx: &mut SnapshotCx) -> StepFuture<'_> {
    Box::pin(async move {
        if cx.guard.is_none() {
            cx.guard = Some(cx.plane.lock(LockKind::DeleteSnapshot, cx.id.to_string()).await);
        }
        Ok(())
    })
}

fn delete_on_array(cx: &mut SnapshotCx) -> StepFuture<'_> {
    Box::pin(async move {
        let Some(row) = cx.plane.db.read(|db| db.snapshot(cx.id))? else { return Ok(()) };
        let parent = cx.plane.volume(cx.volume)?;
        let driver = cx.plane.driver(&parent)?;
        Ok(driver.delete_snapshot(&cx.plane.snapshot_ref(&row, &parent)).await?)
    })
}

fn forget(cx: &mut SnapshotCx) -> StepFuture<'_> {
    Box::pin(async move {
        let (id, size_gib) = (cx.id, cx.size_gib);
        cx.plane.db.read(|db| {
            if db.remove_snapshot(id)? {
                db.give_back(amount(size_gib))?;
                db.remove_worker("snapshot", id)?;
            }
            Ok(())
        })?;
        if let Some(backend) = cx.plane.volume(cx.volume)?.backend() {
            cx.plane.scheduler().mark_stale(backend);
        }
        cx.guard = None;
        Ok(())
    })
}
