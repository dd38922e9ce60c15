//! Create from an image (workflow contract 2.6 and 3), and re-imaging of an existing volume (4.9).

use std::sync::Arc;

use sanbench_api::{ImageId, RefusalKind, VolumeId};
use serde_json::json;

use super::build::{BuildCx, drop_parts, finish, schedule, settle_status, unschedule};
use super::create::conflict;
use super::write::{Zeroes, write};
use crate::attach::LocalAttachment;
use crate::control::{LockKind, Plane};
use crate::engine::{self, Flow, OnUndoFailure, Recovery, Step, StepFuture};
use crate::error::{Cause, FlowError, Refusal, StepError};
use crate::image::{ImageWork, cache};
use crate::model::Source;
use crate::status::{AttachStatus, VolumeStatus};

/// Bytes in one GiB.
const GIB: u64 = 1 << 30;

pub(crate) static BUILD_FROM_IMAGE: Flow<BuildCx> = Flow {
    name: "build_volume_from_image",
    steps: &[
        Step::undo_only("settle_status", settle_status),
        Step::both("schedule", schedule, unschedule),
        Step::undo_only("drop_parts", drop_parts),
        Step::run("find_image", find_image),
        Step::run("clone_cached", clone_cached),
        Step::undo_only("discard_on_failure", discard),
        Step::run("fetch", fetch),
        Step::run("inspect", inspect),
        Step::both("shrink_to_image", shrink_to_image, restore_size),
        Step::run("create_lun", create_lun),
        Step::run("mark_downloading", mark_downloading),
        Step::undo_only("release_on_failure", release),
        Step::run("map", map),
        Step::run("connect", connect),
        Step::run("write", write_content),
        Step::run("flush", flush),
        Step::run("detach", detach),
        Step::run("discard", discard_done),
        Step::best_effort("fill_cache", fill_cache),
        Step::run("grow_back", grow_back),
        Step::run("finish", finish),
    ],
    recovery: Recovery::Unwind,
    on_undo_failure: OnUndoFailure::Continue,
};

pub(crate) static REIMAGE: Flow<BuildCx> = Flow {
    name: "reimage_volume",
    steps: &[
        Step::undo_only("settle_status", settle_status),
        Step::run("begin", begin_reimage),
        Step::run("find_image", find_image),
        Step::undo_only("discard_on_failure", discard),
        Step::run("fetch", fetch),
        Step::run("inspect", inspect),
        Step::undo_only("release_on_failure", release),
        Step::run("map", map),
        Step::run("connect", connect),
        Step::run("write", write_content),
        Step::run("flush", flush),
        Step::run("detach", detach),
        Step::run("discard", discard_done),
        Step::run("finish", finish),
    ],
    recovery: Recovery::Unwind,
    on_undo_failure: OnUndoFailure::Continue,
};

/// Writes an image over an existing volume (`available` or `error`).
pub(crate) async fn reimage(plane: Arc<Plane>, id: VolumeId, image: ImageId) -> Result<(), FlowError> {
    plane.serving()?;
    if plane.images.get(image).is_none() {
        return Err(Refusal::NotFound { kind: "image", id: image.to_string() }.into());
    }
    let row = plane.db.read(|db| db.volume(id))?;
    let row = row.ok_or_else(|| Refusal::NotFound { kind: "volume", id: id.to_string() })?;
    let mut cx = BuildCx::new(&plane, &row);
    cx.source = Source::Image(image);
    engine::run(&REIMAGE, id.to_string(), json!({"size_gib": row.size_gib, "image": image}), &mut cx).await
}

fn begin_reimage(cx: &mut BuildCx) -> StepFuture<'_> {
    Box::pin(async move {
        if cx.previous.is_some() {
            return Ok(());
        }
        let id = cx.id;
        let from = [VolumeStatus::Available, VolumeStatus::Error];
        if cx.row()?.attach_status != AttachStatus::Detached {
            return Err(conflict("volume", id, "attached", "detached").into());
        }
        let before = cx.plane.db.read(|db| {
            let before = db.cas_volume(id, &from, VolumeStatus::Downloading)?;
            if before.is_some() {
                db.put_worker("volume", id, VolumeStatus::Downloading.as_str())?;
            }
            Ok(before)
        })?;
        if before.is_none() {
            let status = cx.row()?.status;
            return Err(conflict("volume", id, status.as_str(), "available or error").into());
        }
        // A volume that was in error has its content again.
        cx.previous = Some(VolumeStatus::Available);
        Ok(())
    })
}

fn image_id(cx: &BuildCx) -> Result<ImageId, StepError> {
    match cx.source {
        Source::Image(id) => Ok(id),
        _ => Err(StepError::Internal("not an image source".into())),
    }
}

/// Only one request at a time fills the cache for an image (bug 1649636); the others wait and then hit it.
fn find_image(cx: &mut BuildCx) -> StepFuture<'_> {
    Box::pin(async move {
        let id = image_id(cx)?;
        let image = cx.plane.images.get(id).ok_or_else(|| Cause::Gone(format!("image {id} has gone")))?;
        let caching = cx.plane.config.image_cache.is_some() && cx.previous.is_none();
        if caching && cx.cache_lock.is_none() {
            let guard = cx.plane.lock(LockKind::Image, id.to_string()).await;
            if cache::lookup(&cx.plane, &image, cx.host.as_deref().unwrap_or("")).await?.is_none() {
                cx.cache_due = true;
                cx.cache_lock = Some(guard);
            }
        }
        cx.image = Some(image);
        Ok(())
    })
}

/// A hit makes the volume without touching the image. An entry that cannot be cloned any more is evicted and
/// replaced (IMG-012).
fn clone_cached(cx: &mut BuildCx) -> StepFuture<'_> {
    Box::pin(async move {
        let Some(image) = cx.image.clone() else { return Ok(()) };
        if cx.plane.config.image_cache.is_none() || cx.cache_due || cx.cloned {
            return Ok(());
        }
        cx.retryable = true;
        let host = cx.host.clone().unwrap_or_default();
        let Some(entry) = cache::lookup(&cx.plane, &image, &host).await? else { return Ok(()) };
        // Unlike Cinder, an eviction cannot race with the clone.
        let guard = cx.plane.lock_delete(entry.volume).await;
        let Some(cached) = cx.plane.db.read(|db| db.volume(entry.volume))? else { return Ok(()) };
        let row = cx.row()?;
        let driver = cx.plane.driver(&row)?;
        let (volume, source) = (cx.plane.volume_ref(&row), cx.plane.volume_ref(&cached));
        if volume.size_gib < source.size_gib {
            return Ok(());
        }
        match driver.create_cloned_volume(&volume, &source).await {
            Ok(update) => {
                cx.save(&update)?;
                cx.cloned = true;
                cx.plane.db.read(|db| db.touch_cache_entry(entry.volume))?;
            }
            Err(error) => {
                cx.plane.warn("clone of a cached image", &error);
                drop(guard);
                if error.kind() == Some(RefusalKind::LimitReached) {
                    cache::evict(&cx.plane, entry.volume).await;
                    cx.cache_due = true;
                }
                // Whatever the clone may have left must not meet the download.
                driver.delete_volume(&volume).await?;
            }
        }
        Ok(())
    })
}

fn fetch(cx: &mut BuildCx) -> StepFuture<'_> {
    Box::pin(async move {
        cx.retryable = true;
        let Some(image) = cx.image.clone().filter(|_| !cx.cloned) else { return Ok(()) };
        let name = ImageWork::temp_name(image.id, cx.id);
        cx.plane.db.single(|db| db.insert_temp(&name))?;
        cx.staged = Some(cx.plane.work.fetch(&image, cx.plane.config.defects.checksum_ignored).await?);
        Ok(())
    })
}

fn inspect(cx: &mut BuildCx) -> StepFuture<'_> {
    Box::pin(async move {
        cx.retryable = false;
        let (Some(image), Some(staged)) = (cx.image.clone(), cx.staged.as_mut()) else { return Ok(()) };
        let limit = cx.size_gib.min(cx.plane.config.max_image_gib).saturating_mul(GIB);
        let name = ImageWork::temp_name(image.id, cx.id);
        let trusting = cx.plane.config.defects.headers_not_inspected;
        cx.plane.work.prepare(staged, &image, &name, limit, trusting).await?;
        Ok(())
    })
}

/// A cache entry is made at minimal size; the user's volume grows back afterwards.
fn shrink_to_image(cx: &mut BuildCx) -> StepFuture<'_> {
    Box::pin(async move {
        let Some(size) = cx.staged.as_ref().and_then(|s| s.virtual_size()).filter(|_| cx.cache_due) else {
            return Ok(());
        };
        let least = size.div_ceil(GIB).max(1);
        if least < cx.size_gib {
            cx.plane.db.read(|db| db.set_size(cx.id, least))?;
        }
        Ok(())
    })
}

/// A reduced size is never visible at rest (INV-D7).
fn restore_size(cx: &mut BuildCx) -> StepFuture<'_> {
    Box::pin(async move { Ok(cx.plane.db.read(|db| db.set_size(cx.id, cx.size_gib))?) })
}

fn create_lun(cx: &mut BuildCx) -> StepFuture<'_> {
    Box::pin(async move {
        if cx.cloned {
            return Ok(());
        }
        cx.retryable = true;
        let row = cx.row()?;
        let driver = cx.plane.driver(&row)?;
        let volume = cx.plane.volume_ref(&row);
        let update = driver.create_volume(&volume).await?;
        cx.fresh = volume.extra_specs.get("provisioning:type").is_none_or(|t| t != "thick");
        cx.save(&update)
    })
}

fn mark_downloading(cx: &mut BuildCx) -> StepFuture<'_> {
    Box::pin(async move {
        cx.retryable = false;
        if cx.cloned {
            return Ok(());
        }
        let id = cx.id;
        cx.plane.db.read(|db| {
            if db.cas_volume(id, &[VolumeStatus::Creating], VolumeStatus::Downloading)?.is_some() {
                db.put_worker("volume", id, VolumeStatus::Downloading.as_str())?;
            }
            Ok(())
        })?;
        Ok(())
    })
}

fn map(cx: &mut BuildCx) -> StepFuture<'_> {
    Box::pin(async move {
        if cx.cloned {
            return Ok(());
        }
        if cx.local.is_none() {
            cx.local = Some(LocalAttachment::prepare(&cx.plane, cx.id).await?);
        }
        if let Some(local) = cx.local.as_mut() {
            local.map().await?;
        }
        Ok(())
    })
}

fn connect(cx: &mut BuildCx) -> StepFuture<'_> {
    Box::pin(async move {
        if let Some(local) = cx.local.as_mut() {
            local.connect().await?;
        }
        Ok(())
    })
}

fn write_content(cx: &mut BuildCx) -> StepFuture<'_> {
    Box::pin(async move {
        let (Some(staged), Some(device)) = (&cx.staged, cx.local.as_ref().and_then(LocalAttachment::device))
        else {
            return Ok(());
        };
        let _late = match (&cx.image, &cx.cache_lock) {
            (Some(image), None) if cx.plane.config.defects.image_locked_late => {
                Some(cx.plane.lock(LockKind::Image, image.id.to_string()).await)
            }
            _ => None,
        };
        let careless = cx.plane.config.defects.sparse_over_dirty;
        let zeroes = if cx.fresh || careless { Zeroes::Skip } else { Zeroes::Write };
        let mut reader = staged.reader()?;
        let defects = cx.plane.config.defects;
        let in_flight = cx.plane.config.image_writes_in_flight;
        let written =
            write(&cx.plane.env, &device, &mut reader, zeroes, in_flight, defects.holes_do_not_advance).await;
        match (written, cx.local.as_ref().and_then(LocalAttachment::path)) {
            // Planted defect D50: the name that the device had is free, and a file takes it.
            (Err(StepError::Failed(Cause::Block(_))), Some(path)) if defects.write_failure_goes_to_a_file => {
                Ok(cx.plane.db.single(|db| db.insert_temp(path))?)
            }
            (written, _) => written,
        }
    })
}

/// Content is on stable storage before anybody is told so (IMG-011).
fn flush(cx: &mut BuildCx) -> StepFuture<'_> {
    Box::pin(async move {
        if cx.plane.config.defects.skip_flush_after_image {
            return Ok(());
        }
        if let Some(device) = cx.local.as_ref().and_then(LocalAttachment::device) {
            device.flush().await?;
        }
        Ok(())
    })
}

fn detach(cx: &mut BuildCx) -> StepFuture<'_> {
    Box::pin(async move {
        if cx.plane.config.defects.leave_control_attachment
            && let Some(local) = cx.local.take()
        {
            return local.forget_mapping().await;
        }
        if cx.plane.config.defects.release_not_awaited
            && let Some(mut local) = cx.local.take()
        {
            let env = cx.plane.env.clone();
            drop(env.spawn(async move { local.release().await }));
            return Ok(());
        }
        if let Some(local) = cx.local.as_mut() {
            local.release().await?;
        }
        cx.local = None;
        Ok(())
    })
}

/// Undo of everything between mapping and detaching. After a crash only the database knows what was begun.
fn release(cx: &mut BuildCx) -> StepFuture<'_> {
    Box::pin(async move {
        if let Some(local) = cx.local.as_mut() {
            local.release().await?;
            cx.local = None;
        }
        crate::attach::release_leftovers(&cx.plane, cx.id).await
    })
}

fn discard(cx: &mut BuildCx) -> StepFuture<'_> {
    Box::pin(async move {
        cx.staged = None;
        let Ok(image) = image_id(cx) else { return Ok(()) };
        let name = ImageWork::temp_name(image, cx.id);
        cx.plane.work.dispose(&name)?;
        Ok(cx.plane.db.single(|db| db.remove_temp(&name))?)
    })
}

fn discard_done(cx: &mut BuildCx) -> StepFuture<'_> {
    if cx.plane.config.defects.leak_temp_file {
        return Box::pin(async { Ok(()) });
    }
    discard(cx)
}

fn fill_cache(cx: &mut BuildCx) -> StepFuture<'_> {
    Box::pin(async move {
        let Some(image) = cx.image.clone().filter(|_| cx.cache_due) else { return Ok(()) };
        let row = cx.row()?;
        cache::fill(&cx.plane, &image, &row).await?;
        Ok(())
    })
}

fn grow_back(cx: &mut BuildCx) -> StepFuture<'_> {
    Box::pin(async move {
        let row = cx.row()?;
        if row.size_gib >= cx.size_gib {
            return Ok(());
        }
        cx.retryable = true;
        let driver = cx.plane.driver(&row)?;
        driver.extend_volume(&cx.plane.volume_ref(&row), cx.size_gib).await?;
        Ok(cx.plane.db.read(|db| db.set_size(cx.id, cx.size_gib))?)
    })
}
