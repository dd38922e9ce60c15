//! Create, manager side (workflow contract 2.3 to 2.5): one attempt on one pool, without an image.

use std::sync::Arc;

use sanbench_api::{ModelUpdate, RefusalKind, VolumeId};

use crate::attach::LocalAttachment;
use crate::control::{LockGuard, LockKind, Plane, Promise};
use crate::db::FlowRow;
use crate::engine::{Flow, FlowContext, OnUndoFailure, Recovery, Step, StepFuture};
use crate::error::{Cause, FlowError, StepError};
use crate::image::{Image, Staged};
use crate::model::{Source, VolumeView};
use crate::scheduler::{Operation, Request};
use crate::status::{SnapshotStatus, VolumeStatus};

pub(crate) static BUILD: Flow<BuildCx> = Flow {
    name: "build_volume",
    steps: &[
        Step::undo_only("settle_status", settle_status),
        Step::both("schedule", schedule, unschedule),
        Step::run("lock_source", lock_source),
        Step::undo_only("drop_parts", drop_parts),
        Step::run("make", make),
        Step::run("finish", finish),
    ],
    recovery: Recovery::Unwind,
    on_undo_failure: OnUndoFailure::Continue,
};

/// Shared by all flows that give a volume its content.
pub(crate) struct BuildCx {
    pub(crate) plane: Arc<Plane>,
    pub(crate) id: VolumeId,
    pub(crate) source: Source,
    /// Size that the user asked for; the row may be smaller while the image cache is being filled.
    pub(crate) size_gib: u64,
    pub(crate) volume_type: Option<String>,
    pub(crate) zone: Option<String>,
    pub(crate) pinned: Option<String>,
    pub(crate) attempted: Vec<String>,
    pub(crate) may_retry: bool,
    /// The step now running is one whose failure another pool may cure.
    pub(crate) retryable: bool,
    /// Set while unwinding: the caller tries another pool.
    pub(crate) reschedule: bool,
    pub(crate) host: Option<String>,
    pub(crate) promise: Option<Promise>,
    pub(crate) source_lock: Option<LockGuard>,
    pub(crate) cause: Option<Cause>,
    // Image sources only.
    pub(crate) image: Option<Arc<Image>>,
    pub(crate) staged: Option<Staged>,
    pub(crate) cache_lock: Option<LockGuard>,
    pub(crate) cache_due: bool,
    pub(crate) cloned: bool,
    /// The volume is new and reads as zeroes, so zero ranges need no write.
    pub(crate) fresh: bool,
    pub(crate) local: Option<LocalAttachment>,
    /// Re-imaging: the status to go back to.
    pub(crate) previous: Option<VolumeStatus>,
}

impl BuildCx {
    pub(crate) fn new(plane: &Arc<Plane>, row: &VolumeView) -> Self {
        Self {
            plane: Arc::clone(plane),
            id: row.id,
            source: row.source,
            size_gib: row.size_gib,
            volume_type: row.volume_type.clone(),
            zone: None,
            pinned: None,
            attempted: Vec::new(),
            may_retry: false,
            retryable: false,
            reschedule: false,
            host: row.host.clone(),
            promise: None,
            source_lock: None,
            cause: None,
            image: None,
            staged: None,
            cache_lock: None,
            cache_due: false,
            cloned: false,
            fresh: false,
            local: None,
            previous: None,
        }
    }

    pub(crate) fn row(&self) -> Result<VolumeView, StepError> {
        self.plane.volume(self.id)
    }

    pub(crate) fn save(&self, update: &ModelUpdate) -> Result<(), StepError> {
        Ok(self.plane.db.single(|db| db.set_provider(self.id, update))?)
    }
}

impl FlowContext for BuildCx {
    fn plane(&self) -> &Arc<Plane> {
        &self.plane
    }

    fn rebuild(plane: &Arc<Plane>, row: &FlowRow) -> Result<Option<Self>, FlowError> {
        let Ok(id) = row.subject.parse() else { return Ok(None) };
        let Some(volume) = plane.db.read(|db| db.volume(id))? else { return Ok(None) };
        let mut cx = Self::new(plane, &volume);
        if let Some(asked) = row.params.get("size_gib").and_then(serde_json::Value::as_u64) {
            cx.size_gib = asked;
        }
        if let Some(image) = row.params.get("image").and_then(|v| serde_json::from_value(v.clone()).ok()) {
            cx.source = Source::Image(image);
        }
        Ok(Some(cx))
    }

    fn failed(&mut self, error: &StepError) {
        if let StepError::Failed(cause) = error {
            self.cause = Some(cause.clone());
        }
    }
}

/// The last undo: another attempt leaves the volume `creating` without a host, the end of attempts is `error`.
pub(crate) fn settle_status(cx: &mut BuildCx) -> StepFuture<'_> {
    Box::pin(async move {
        let (id, reschedule) = (cx.id, cx.reschedule);
        cx.plane.db.read(|db| {
            if reschedule {
                db.set_host(id, None)?;
                db.forget_provider(id)?;
            } else {
                db.cas_volume(id, &[VolumeStatus::Creating, VolumeStatus::Downloading], VolumeStatus::Error)?;
                db.remove_worker("volume", id)?;
            }
            Ok(())
        })?;
        Ok(())
    })
}

pub(crate) fn schedule(cx: &mut BuildCx) -> StepFuture<'_> {
    Box::pin(async move {
        if cx.promise.is_some() {
            return Ok(());
        }
        let specs = cx.plane.specs(cx.volume_type.as_deref()).unwrap_or_default();
        let request = Request {
            operation: Operation::CreateVolume,
            volume: cx.id,
            size_gib: cx.size_gib,
            extra_specs: (*specs).clone(),
            availability_zone: cx.zone.clone(),
            pinned: cx.pinned.clone(),
            attached: false,
            attempted: cx.attempted.clone(),
        };
        let (host, promise) = cx.plane.place(&request).await?;
        cx.promise = Some(promise);
        cx.plane.db.single(|db| db.set_host(cx.id, Some(&host)))?;
        cx.host = Some(host);
        Ok(())
    })
}

pub(crate) fn unschedule(cx: &mut BuildCx) -> StepFuture<'_> {
    Box::pin(async move {
        if let Some(promise) = cx.promise.take() {
            cx.plane.scheduler().dropped(promise);
        }
        // What is on the array now, only a report can tell.
        if let Some(host) = &cx.host {
            cx.plane.scheduler().mark_stale(host.split('#').next().unwrap_or(host));
        }
        Ok(())
    })
}

/// The source cannot be deleted until the driver call has ended (INV-P8).
fn lock_source(cx: &mut BuildCx) -> StepFuture<'_> {
    Box::pin(async move {
        if cx.source_lock.is_some() {
            return Ok(());
        }
        match cx.source {
            Source::Volume(id) => {
                cx.source_lock = Some(cx.plane.lock_delete(id).await);
                let source = cx.plane.volume(id)?;
                if !matches!(source.status, VolumeStatus::Available | VolumeStatus::InUse) {
                    return Err(Cause::Gone(format!("source volume {id} is {}", source.status)).into());
                }
            }
            Source::Snapshot(id) => {
                cx.source_lock = Some(cx.plane.lock(LockKind::DeleteSnapshot, id.to_string()).await);
                let snapshot = cx.plane.db.read(|db| db.snapshot(id))?;
                if snapshot.is_none_or(|s| s.status != SnapshotStatus::Available) {
                    return Err(Cause::Gone(format!("source snapshot {id} has gone")).into());
                }
            }
            Source::Raw | Source::Image(_) => {}
        }
        Ok(())
    })
}

/// Failures that another pool cannot cure (workflow contract 2.4).
fn is_final(cause: &Cause) -> bool {
    match cause {
        Cause::Driver(e) => {
            matches!(e.kind(), Some(RefusalKind::NotFound | RefusalKind::InvalidInput | RefusalKind::Exists))
        }
        Cause::Injected => false,
        _ => true,
    }
}

/// Decides on another attempt. What the losing back end may hold is deleted *before* the next attempt begins; if
/// that fails, the volume stays there in `error`, so that a delete can still find it (INV-P9).
pub(crate) fn drop_parts(cx: &mut BuildCx) -> StepFuture<'_> {
    Box::pin(async move {
        let curable = cx.retryable && cx.cause.as_ref().is_some_and(|c| !is_final(c));
        if !cx.may_retry || !curable {
            return Ok(());
        }
        let row = cx.row()?;
        let driver = cx.plane.driver(&row)?;
        match driver.delete_volume(&cx.plane.volume_ref(&row)).await {
            Ok(()) => cx.reschedule = true,
            Err(e) => cx.plane.warn("parts on the losing back end", &e),
        }
        Ok(())
    })
}

fn make(cx: &mut BuildCx) -> StepFuture<'_> {
    Box::pin(async move {
        cx.retryable = true;
        let row = cx.row()?;
        let driver = cx.plane.driver(&row)?;
        let volume = cx.plane.volume_ref(&row);
        let update = match cx.source {
            Source::Raw => driver.create_volume(&volume).await?,
            Source::Volume(id) => {
                let source = cx.plane.volume_ref(&cx.plane.volume(id)?);
                driver.create_cloned_volume(&volume, &source).await?
            }
            Source::Snapshot(id) => {
                let snapshot = cx.plane.db.read(|db| db.snapshot(id))?;
                let snapshot = snapshot.ok_or_else(|| Cause::Gone(format!("snapshot {id} has gone")))?;
                let parent = cx.plane.volume(snapshot.volume)?;
                let snapshot = cx.plane.snapshot_ref(&snapshot, &parent);
                driver.create_volume_from_snapshot(&volume, &snapshot).await?
            }
            Source::Image(_) => {
                return Err(StepError::Internal("image sources have a flow of their own".into()));
            }
        };
        cx.save(&update)
    })
}

pub(crate) fn finish(cx: &mut BuildCx) -> StepFuture<'_> {
    Box::pin(async move {
        cx.retryable = false;
        let id = cx.id;
        let to = cx.previous.unwrap_or(VolumeStatus::Available);
        cx.plane.db.read(|db| {
            db.cas_volume(id, &[VolumeStatus::Creating, VolumeStatus::Downloading], to)?;
            db.remove_worker("volume", id)
        })?;
        if let Some(promise) = cx.promise.take() {
            cx.plane.scheduler().kept(promise);
        }
        cx.source_lock = None;
        cx.cache_lock = None;
        Ok(())
    })
}
