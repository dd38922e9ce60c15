//! Flatten: our own operation. The volume becomes independent of what it was cloned from; its status stays.

use std::sync::Arc;

use sanbench_api::VolumeId;
use serde_json::json;

use super::create::conflict;
use crate::control::{LockGuard, Plane};
use crate::db::FlowRow;
use crate::engine::{self, Flow, FlowContext, OnUndoFailure, Recovery, Step, StepFuture};
use crate::error::{FlowError, Refusal};
use crate::status::VolumeStatus;

pub(crate) static FLATTEN: Flow<FlattenCx> = Flow {
    name: "flatten_volume",
    steps: &[Step::run("lock", lock), Step::run("flatten", flatten_on_array)],
    // Interrupted, the volume is either still a child or independent: nothing to undo.
    recovery: Recovery::Unwind,
    on_undo_failure: OnUndoFailure::Continue,
};

pub(crate) struct FlattenCx {
    plane: Arc<Plane>,
    id: VolumeId,
    guard: Option<LockGuard>,
}

impl FlowContext for FlattenCx {
    fn plane(&self) -> &Arc<Plane> {
        &self.plane
    }

    fn rebuild(_plane: &Arc<Plane>, _row: &FlowRow) -> Result<Option<Self>, FlowError> {
        Ok(None)
    }
}

/// Flattens an available or in-use volume.
pub(crate) async fn flatten(plane: Arc<Plane>, id: VolumeId) -> Result<(), FlowError> {
    plane.serving()?;
    let mut cx = FlattenCx { plane, id, guard: None };
    engine::run(&FLATTEN, id.to_string(), json!({}), &mut cx).await
}

/// A delete must wait, and a volume that is being deleted is not flattened.
fn lock(cx: &mut FlattenCx) -> StepFuture<'_> {
    Box::pin(async move {
        if cx.guard.is_none() {
            cx.guard = Some(cx.plane.lock_delete(cx.id).await);
        }
        let row = cx.plane.db.read(|db| db.volume(cx.id))?;
        let row = row.ok_or_else(|| Refusal::NotFound { kind: "volume", id: cx.id.to_string() })?;
        if !matches!(row.status, VolumeStatus::Available | VolumeStatus::InUse) {
            return Err(conflict("volume", cx.id, row.status.as_str(), "available or in-use").into());
        }
        Ok(())
    })
}

fn flatten_on_array(cx: &mut FlattenCx) -> StepFuture<'_> {
    Box::pin(async move {
        let row = cx.plane.volume(cx.id)?;
        let driver = cx.plane.driver(&row)?;
        Ok(driver.flatten_volume(&cx.plane.volume_ref(&row)).await?)
    })
}
