//! Extend, offline and attached (workflow contract 4.2 and 8.6). The size is absolute, so a crash resumes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use sanbench_api::VolumeId;
use serde_json::json;

use super::create::{conflict, type_size};
use crate::attach::LocalAttachment;
use crate::control::{Plane, Promise};
use crate::db::{Amount, FlowRow};
use crate::engine::{self, Flow, FlowContext, OnUndoFailure, Recovery, Step, StepFuture};
use crate::error::{FlowError, Refusal, StepError};
use crate::model::ExtendReport;
use crate::scheduler::Operation;
use crate::status::{AttachmentStatus, VolumeStatus};

pub(crate) static EXTEND: Flow<ExtendCx> = Flow {
    name: "extend_volume",
    steps: &[
        Step::both("reserve_quota", reserve_quota, release_quota),
        Step::both("begin", begin, restore_status),
        Step::both("schedule", schedule, unschedule),
        Step::undo_only("mark_error", mark_error),
        Step::run("grow", grow),
        Step::run("finish", finish),
        Step::best_effort("notify", notify),
    ],
    recovery: Recovery::Forward,
    on_undo_failure: OnUndoFailure::Continue,
};

pub(crate) struct ExtendCx {
    plane: Arc<Plane>,
    id: VolumeId,
    old_gib: u64,
    new_gib: u64,
    reservation: Option<i64>,
    begun: bool,
    recovered: bool,
    /// The array was asked to grow it before the crash: it cannot be as small as before any more.
    asked: bool,
    promise: Option<Promise>,
    hosts: BTreeMap<String, Result<u64, sanbench_api::ConnectorError>>,
}

impl FlowContext for ExtendCx {
    fn plane(&self) -> &Arc<Plane> {
        &self.plane
    }

    fn rebuild(plane: &Arc<Plane>, row: &FlowRow) -> Result<Option<Self>, FlowError> {
        let Ok(id) = row.subject.parse() else { return Ok(None) };
        let Some(volume) = plane.db.read(|db| db.volume(id))? else { return Ok(None) };
        let new_gib = row.params.get("new_gib").and_then(serde_json::Value::as_u64).unwrap_or(0);
        // Size and usage are written together: the size tells whether it is done.
        if volume.size_gib >= new_gib {
            return Ok(None);
        }
        let mut cx = Self::new(plane, id, volume.size_gib, new_gib);
        cx.recovered = true;
        let grow = EXTEND.steps.iter().position(|step| step.name == "grow");
        cx.asked = plane.db.read(|db| db.flow_log(row.id))?.iter().any(|line| Some(line.step) == grow);
        Ok(Some(cx))
    }
}

impl ExtendCx {
    fn new(plane: &Arc<Plane>, id: VolumeId, old_gib: u64, new_gib: u64) -> Self {
        Self {
            plane: Arc::clone(plane),
            id,
            old_gib,
            new_gib,
            reservation: None,
            begun: false,
            recovered: false,
            asked: false,
            promise: None,
            hosts: BTreeMap::new(),
        }
    }
}

/// Grows a volume to `new_gib` and tells the hosts that have it.
pub(crate) async fn extend(plane: Arc<Plane>, id: VolumeId, new_gib: u64) -> Result<ExtendReport, FlowError> {
    plane.serving()?;
    let row = plane.db.read(|db| db.volume(id))?;
    let row = row.ok_or_else(|| Refusal::NotFound { kind: "volume", id: id.to_string() })?;
    if new_gib <= row.size_gib {
        let reason = format!("must be more than {}", row.size_gib);
        return Err(Refusal::Size { asked: new_gib, reason }.into());
    }
    let limit = plane.config.quota.per_volume_gigabytes;
    if new_gib > limit {
        return Err(Refusal::Size { asked: new_gib, reason: format!("must be at most {limit}") }.into());
    }
    type_size(&plane.specs(row.volume_type.as_deref()).unwrap_or_default(), new_gib)?;
    let mut cx = ExtendCx::new(&plane, id, row.size_gib, new_gib);
    engine::run(&EXTEND, id.to_string(), json!({"new_gib": new_gib}), &mut cx).await?;
    Ok(ExtendReport { size_gib: new_gib, hosts: cx.hosts })
}

fn reserve_quota(cx: &mut ExtendCx) -> StepFuture<'_> {
    Box::pin(async move {
        if cx.reservation.is_none() {
            let counted = if cx.plane.config.defects.extend_quota_whole { 0 } else { cx.old_gib };
            let amount = Amount { volumes: 0, gigabytes: cx.new_gib - counted, snapshots: 0 };
            let limits = cx.plane.config.quota;
            cx.reservation = Some(cx.plane.db.tx(|db| db.reserve(amount, &limits))?);
        }
        Ok(())
    })
}

fn release_quota(cx: &mut ExtendCx) -> StepFuture<'_> {
    Box::pin(async move {
        if let Some(reservation) = cx.reservation {
            cx.plane.db.read(|db| db.release(reservation))?;
        }
        Ok(())
    })
}

fn begin(cx: &mut ExtendCx) -> StepFuture<'_> {
    Box::pin(async move {
        if cx.begun {
            return Ok(());
        }
        let (id, resumed, old_gib) = (cx.id, cx.recovered, cx.old_gib);
        cx.plane.db.tx(|db| {
            let row =
                db.volume(id)?.ok_or_else(|| Refusal::NotFound { kind: "volume", id: id.to_string() })?;
            if resumed && row.status == VolumeStatus::Extending {
                return Ok(());
            }
            // A snapshot that is being taken counts by the size that the volume had when it was asked for. Its row does not
            // change the volume's status, so it has to be looked for.
            if let Some(snapshot) = db.snapshot_under_way(id)? {
                let wanted = "available, before its volume is extended";
                return Err(StepError::from(conflict("snapshot", snapshot, "creating", wanted)));
            }
            let from = [VolumeStatus::Available, VolumeStatus::InUse];
            // Another extend may have ended since the size was read.
            let before = match row.size_gib == old_gib {
                true => db.cas_volume(id, &from, VolumeStatus::Extending)?,
                false => None,
            };
            match before {
                Some(before) => Ok(db.set_previous(id, Some(before))?),
                None => {
                    Err(StepError::from(conflict("volume", id, row.status.as_str(), "available or in-use")))
                }
            }
        })?;
        cx.begun = true;
        Ok(())
    })
}

/// A refusal by the scheduler changes nothing (INV-D10).
fn restore_status(cx: &mut ExtendCx) -> StepFuture<'_> {
    Box::pin(async move {
        let id = cx.id;
        let careless = cx.plane.config.defects.refused_extend_sets_available;
        cx.plane.db.read(|db| {
            let previous = db.volume(id)?.and_then(|row| row.previous_status);
            let previous = if careless { Some(VolumeStatus::Available) } else { previous };
            if let Some(previous) = previous {
                db.cas_volume(id, &[VolumeStatus::Extending], previous)?;
            }
            Ok(())
        })?;
        Ok(())
    })
}

fn schedule(cx: &mut ExtendCx) -> StepFuture<'_> {
    Box::pin(async move {
        if cx.promise.is_none() {
            let row = cx.plane.volume(cx.id)?;
            let request = cx.plane.request_at(&row, Operation::ExtendVolume, cx.new_gib - cx.old_gib);
            match cx.plane.place(&request).await {
                Ok((_, promise)) => cx.promise = Some(promise),
                // Its place was found before the crash. To give up now would leave a LUN that is larger than its row says.
                Err(error) if cx.asked => cx.plane.warn("place of an extend that goes on", &error),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    })
}

fn unschedule(cx: &mut ExtendCx) -> StepFuture<'_> {
    Box::pin(async move {
        if let Some(promise) = cx.promise.take() {
            cx.plane.scheduler().dropped(promise);
        }
        Ok(())
    })
}

fn mark_error(cx: &mut ExtendCx) -> StepFuture<'_> {
    Box::pin(async move {
        cx.plane
            .db
            .read(|db| db.cas_volume(cx.id, &[VolumeStatus::Extending], VolumeStatus::ErrorExtending))?;
        Ok(())
    })
}

fn grow(cx: &mut ExtendCx) -> StepFuture<'_> {
    Box::pin(async move {
        let row = cx.plane.volume(cx.id)?;
        let driver = cx.plane.driver(&row)?;
        let wanted = match cx.plane.config.defects.guest_format_probed {
            true => probed_size(&cx.plane, cx.id).await?.unwrap_or(cx.new_gib),
            false => cx.new_gib,
        };
        Ok(driver.extend_volume(&cx.plane.volume_ref(&row), wanted).await?)
    })
}

/// Planted defect D78: the size that a qcow2 header says which the guest wrote, in GiB and one more, as if it were the
/// size that the data needs.
async fn probed_size(plane: &Arc<Plane>, id: VolumeId) -> Result<Option<u64>, StepError> {
    let mut local = LocalAttachment::prepare(plane, id).await?;
    local.map().await?;
    local.connect().await?;
    let head = match local.device() {
        Some(device) => device.read(0, 1).await?,
        None => Default::default(),
    };
    local.release().await?;
    if !head.starts_with(b"QFI\xfb") {
        return Ok(None);
    }
    let size = head.get(24..32).and_then(|b| b.try_into().ok()).map_or(0, u64::from_be_bytes);
    Ok(Some(size.div_ceil(1 << 30) + 1))
}

fn finish(cx: &mut ExtendCx) -> StepFuture<'_> {
    Box::pin(async move {
        let (id, new_gib, reservation) = (cx.id, cx.new_gib, cx.reservation);
        cx.plane.db.read(|db| {
            if let Some(reservation) = reservation {
                db.commit(reservation)?;
            }
            db.set_size(id, new_gib)?;
            // From the attachments, not from the status before.
            let attached = db.attachments_of(id)?.iter().any(|a| a.status == AttachmentStatus::Attached);
            let to = if attached { VolumeStatus::InUse } else { VolumeStatus::Available };
            db.cas_volume(id, &[VolumeStatus::Extending], to)
        })?;
        if let Some(promise) = cx.promise.take() {
            cx.plane.scheduler().kept(promise);
        }
        Ok(())
    })
}

/// Nova's part: the recorded size first, then the host (8.6). Its failure does not change the volume.
fn notify(cx: &mut ExtendCx) -> StepFuture<'_> {
    Box::pin(async move {
        for row in cx.plane.db.read(|db| db.attachments_of(cx.id))? {
            if row.status != AttachmentStatus::Attached {
                continue;
            }
            cx.plane.db.single(|db| db.set_bdm_size(row.instance, cx.id, cx.new_gib))?;
            let Some(info) = row.connection_info else { continue };
            if cx.hosts.contains_key(&row.host) {
                continue;
            }
            let seen = crate::compute::connector_of(&cx.plane, &row.host)?.extend_volume(&info).await;
            if let Err(e) = &seen {
                cx.plane.warn("extend on the host", e);
            }
            cx.hosts.insert(row.host, seen);
            if cx.plane.config.defects.extend_tells_first_host {
                break;
            }
        }
        Ok(())
    })
}
