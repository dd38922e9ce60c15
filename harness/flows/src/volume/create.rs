//! Create, API side (workflow contract 2.1), and the loop over scheduling attempts (1.10).

use std::sync::Arc;

use sanbench_api::VolumeId;
use serde_json::json;

use super::build::{BUILD, BuildCx};
use super::from_image::BUILD_FROM_IMAGE;
use crate::control::Plane;
use crate::db::{Amount, FlowRow};
use crate::engine::{self, Flow, FlowContext, OnUndoFailure, Recovery, Step, StepFuture};
use crate::error::{FlowError, Refusal};
use crate::model::{CreateRequest, Source, VolumeView};
use crate::scheduler::satisfies;
use crate::status::{AttachStatus, SnapshotStatus, VolumeStatus};

/// Before the request is accepted: a crash here means that the volume never was.
pub(crate) static ACCEPT: Flow<AcceptCx> = Flow {
    name: "create_volume",
    steps: &[
        Step::both("reserve_quota", reserve_quota, release_quota),
        Step::both("create_row", create_row, destroy_row),
    ],
    recovery: Recovery::Unwind,
    on_undo_failure: OnUndoFailure::Continue,
};

pub(crate) struct AcceptCx {
    plane: Arc<Plane>,
    id: VolumeId,
    size_gib: u64,
    row: Option<VolumeView>,
    reservation: Option<i64>,
}

impl FlowContext for AcceptCx {
    fn plane(&self) -> &Arc<Plane> {
        &self.plane
    }

    fn rebuild(plane: &Arc<Plane>, row: &FlowRow) -> Result<Option<Self>, FlowError> {
        let Ok(id) = row.subject.parse() else { return Ok(None) };
        let size_gib = row.params.get("size_gib").and_then(serde_json::Value::as_u64).unwrap_or(0);
        Ok(Some(Self { plane: Arc::clone(plane), id, size_gib, row: None, reservation: None }))
    }
}

fn reserve_quota(cx: &mut AcceptCx) -> StepFuture<'_> {
    Box::pin(async move {
        if cx.reservation.is_none() {
            let amount = Amount { volumes: 1, gigabytes: cx.size_gib, snapshots: 0 };
            let limits = cx.plane.config.quota;
            cx.reservation = Some(cx.plane.db.tx(|db| db.reserve(amount, &limits))?);
        }
        Ok(())
    })
}

fn release_quota(cx: &mut AcceptCx) -> StepFuture<'_> {
    Box::pin(async move {
        if let Some(reservation) = cx.reservation {
            cx.plane.db.read(|db| db.release(reservation))?;
        }
        Ok(())
    })
}

/// Row and usage come into being together, so that one tells about the other.
fn create_row(cx: &mut AcceptCx) -> StepFuture<'_> {
    Box::pin(async move {
        let (Some(row), Some(reservation)) = (&cx.row, cx.reservation) else { return Ok(()) };
        cx.plane.db.read(|db| {
            if db.volume(row.id)?.is_none() {
                db.insert_volume(row)?;
                db.commit(reservation)?;
                db.put_worker("volume", row.id, row.status.as_str())?;
            }
            Ok(())
        })?;
        Ok(())
    })
}

fn destroy_row(cx: &mut AcceptCx) -> StepFuture<'_> {
    Box::pin(async move {
        let (id, size_gib) = (cx.id, cx.size_gib);
        cx.plane.db.read(|db| {
            if db.abandon_volume(id)? {
                db.give_back(Amount { volumes: 1, gigabytes: size_gib, snapshots: 0 })?;
                db.remove_worker("volume", id)?;
            }
            Ok(())
        })?;
        Ok(())
    })
}

/// Creates a volume and waits until it is available, or has failed for good.
pub(crate) async fn create(plane: Arc<Plane>, request: CreateRequest) -> Result<VolumeId, FlowError> {
    plane.serving()?;
    let (row, pinned) = check(&plane, &request)?;
    let id = row.id;
    let mut cx = AcceptCx {
        plane: Arc::clone(&plane),
        id,
        size_gib: row.size_gib,
        row: Some(row.clone()),
        reservation: None,
    };
    engine::run(&ACCEPT, id.to_string(), json!({"size_gib": row.size_gib}), &mut cx).await?;
    drop(cx);

    let max = plane.config.scheduler_max_attempts.max(1);
    let mut attempted = Vec::new();
    for attempt in 1.. {
        let mut cx = BuildCx::new(&plane, &row);
        cx.zone = request.availability_zone.clone();
        cx.pinned = pinned.clone();
        cx.attempted = attempted.clone();
        cx.may_retry = attempt < max && pinned.is_none();
        let params = json!({"size_gib": row.size_gib});
        let answer = match row.source {
            Source::Image(_) => engine::run(&BUILD_FROM_IMAGE, id.to_string(), params, &mut cx).await,
            _ => engine::run(&BUILD, id.to_string(), params, &mut cx).await,
        };
        match answer {
            Ok(()) => return Ok(id),
            Err(_) if cx.reschedule => attempted.extend(cx.host.take()),
            Err(error) => return Err(error),
        }
    }
    Err(FlowError::Internal("attempts have no end".into()))
}

/// The checks of the API, and the row that will be made. Also answers the pool that the source pins it to.
fn check(plane: &Plane, request: &CreateRequest) -> Result<(VolumeView, Option<String>), FlowError> {
    let not_found = |kind, id: String| Refusal::NotFound { kind, id };
    let bad_size = |reason: String| FlowError::from(Refusal::Size { asked: request.size_gib, reason });
    let limit = plane.config.quota.per_volume_gigabytes;
    if request.size_gib == 0 || request.size_gib > limit {
        return Err(bad_size(format!("must be 1 to {limit}")));
    }
    let (mut from_source, mut pinned, mut least) = (None, None, 0);
    match request.source {
        Source::Raw => {}
        Source::Image(id) => {
            let image = plane.images.get(id).ok_or_else(|| not_found("image", id.to_string()))?;
            least = image.min_disk_gib;
        }
        Source::Volume(id) => {
            let source =
                plane.db.read(|db| db.volume(id))?.ok_or_else(|| not_found("volume", id.to_string()))?;
            if !matches!(source.status, VolumeStatus::Available | VolumeStatus::InUse) {
                return Err(conflict("volume", id, source.status.as_str(), "available or in-use").into());
            }
            least = source.size_gib;
            pinned = source.host;
            from_source = source.volume_type;
        }
        Source::Snapshot(id) => {
            let snapshot =
                plane.db.read(|db| db.snapshot(id))?.ok_or_else(|| not_found("snapshot", id.to_string()))?;
            if snapshot.status != SnapshotStatus::Available {
                return Err(conflict("snapshot", id, snapshot.status.as_str(), "available").into());
            }
            let parent = plane
                .db
                .read(|db| db.volume(snapshot.volume))?
                .ok_or_else(|| not_found("volume", snapshot.volume.to_string()))?;
            least = snapshot.size_gib;
            pinned = parent.host;
            from_source = parent.volume_type;
        }
    }
    if request.size_gib < least {
        return Err(bad_size(format!("the source needs {least}")));
    }
    let volume_type =
        request.volume_type.clone().or(from_source).or_else(|| plane.config.default_volume_type.clone());
    let specs = plane
        .specs(volume_type.as_deref())
        .ok_or_else(|| not_found("volume type", volume_type.clone().unwrap_or_default()))?;
    type_size(&specs, request.size_gib)?;
    let id = request.id.unwrap_or_else(|| VolumeId::from_random(plane.id_bytes()));
    if plane.db.read(|db| db.volume(id))?.is_some() {
        return Err(Refusal::Exists { kind: "volume", id: id.to_string() }.into());
    }
    let multiattach =
        specs.get("multiattach").is_some_and(|spec| satisfies(&sanbench_api::Capability::Bool(true), spec));
    let row = VolumeView {
        id,
        name_id: id,
        name: request.name.chars().take(255).collect(),
        size_gib: request.size_gib,
        status: VolumeStatus::Creating,
        attach_status: AttachStatus::Detached,
        previous_status: None,
        host: None,
        volume_type,
        source: request.source,
        provider_id: None,
        provider_location: None,
        multiattach,
        internal: false,
        created_at: plane.env.now(),
    };
    Ok((row, pinned))
}

/// Size limits of a type (`provisioning:min_vol_size`, `provisioning:max_vol_size`).
pub(crate) fn type_size(
    specs: &std::collections::BTreeMap<String, String>,
    asked: u64,
) -> Result<(), FlowError> {
    let bound = |key: &str| specs.get(key).and_then(|v| v.parse::<u64>().ok());
    let reason = match (bound("provisioning:min_vol_size"), bound("provisioning:max_vol_size")) {
        (Some(min), _) if asked < min => format!("the type needs at least {min}"),
        (_, Some(max)) if asked > max => format!("the type allows at most {max}"),
        _ => return Ok(()),
    };
    Err(Refusal::Size { asked, reason }.into())
}

pub(crate) fn conflict(kind: &'static str, id: impl ToString, status: &str, wanted: &'static str) -> Refusal {
    Refusal::Conflict { kind, id: id.to_string(), status: status.to_owned(), wanted }
}
