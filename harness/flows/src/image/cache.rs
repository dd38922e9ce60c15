//! The image cache (workflow contract 2.6): volumes of the internal tenant that hold an image at minimal size.

use std::sync::Arc;

use sanbench_api::VolumeId;
use serde_json::json;

use super::Image;
use crate::config::CacheLimits;
use crate::control::Plane;
use crate::db::FlowRow;
use crate::engine::{self, Flow, FlowContext, OnUndoFailure, Recovery, Step, StepFuture};
use crate::error::{Cause, FlowError, StepError};
use crate::model::{CacheEntryView, Source, VolumeView};
use crate::status::{AttachStatus, VolumeStatus};

pub(crate) static CACHE_IMAGE: Flow<CacheCx> = Flow {
    name: "cache_image",
    steps: &[
        Step::run("ensure_space", ensure_space),
        Step::undo_only("remove_parts", remove_parts),
        Step::run("create_row", create_row),
        Step::run("clone", clone),
        Step::run("insert_entry", insert_entry),
    ],
    recovery: Recovery::Unwind,
    on_undo_failure: OnUndoFailure::Continue,
};

pub(crate) struct CacheCx {
    plane: Arc<Plane>,
    /// The cached volume to be.
    id: VolumeId,
    /// Image and user's volume; after a crash there is only the undo, which needs neither.
    from: Option<(Arc<Image>, VolumeView)>,
}

impl FlowContext for CacheCx {
    fn plane(&self) -> &Arc<Plane> {
        &self.plane
    }

    fn rebuild(plane: &Arc<Plane>, row: &FlowRow) -> Result<Option<Self>, FlowError> {
        let Ok(id) = row.subject.parse() else { return Ok(None) };
        Ok(Some(Self { plane: Arc::clone(plane), id, from: None }))
    }
}

/// The entry for this image on this pool. One of another version of the image is evicted and counts as none.
pub(crate) async fn lookup(
    plane: &Arc<Plane>,
    image: &Image,
    host: &str,
) -> Result<Option<CacheEntryView>, StepError> {
    let Some(entry) = plane.db.read(|db| db.cache_entry(image.id, host))? else { return Ok(None) };
    if entry.image_version == image.version {
        return Ok(Some(entry));
    }
    evict(plane, entry.volume).await;
    Ok(None)
}

/// Deletes a cached volume like any other. A failure leaves it in an error status for the next purge.
pub(crate) async fn evict(plane: &Arc<Plane>, volume: VolumeId) {
    if let Err(e) = crate::volume::delete::delete_any(Arc::clone(plane), volume).await {
        plane.warn("eviction from the image cache", &e);
    }
}

/// Makes an entry from a user's volume that has just been written.
pub(crate) async fn fill(
    plane: &Arc<Plane>,
    image: &Arc<Image>,
    volume: &VolumeView,
) -> Result<(), FlowError> {
    let host = volume.host.clone().unwrap_or_default();
    if plane.db.read(|db| db.cache_entry(image.id, &host))?.is_some() {
        return Ok(());
    }
    let id = VolumeId::from_random(plane.id_bytes());
    let mut cx = CacheCx { plane: Arc::clone(plane), id, from: Some((Arc::clone(image), volume.clone())) };
    let params = json!({"image": image.id, "source": volume.id});
    engine::run(&CACHE_IMAGE, id.to_string(), params, &mut cx).await
}

/// Deletes all cached volumes, also those whose entry was never made.
pub(crate) async fn purge(plane: Arc<Plane>) -> Result<(), FlowError> {
    plane.serving()?;
    for row in plane.db.read(|db| db.volumes())?.into_iter().filter(|v| v.internal) {
        crate::volume::delete::delete_any(Arc::clone(&plane), row.id).await?;
    }
    Ok(())
}

/// Evicts from the least recently used on until the new entry fits; refuses one that never will.
fn ensure_space(cx: &mut CacheCx) -> StepFuture<'_> {
    Box::pin(async move {
        let (Some((_, source)), Some(limits)) = (&cx.from, cx.plane.config.image_cache) else {
            return Ok(());
        };
        let size = source.size_gib;
        if limits.max_gib != 0 && size > limits.max_gib {
            return Err(Cause::Gone(format!("{size} GiB do not fit into the image cache")).into());
        }
        loop {
            let entries = cx.plane.db.read(|db| db.cache_entries())?;
            let Some(oldest) = entries.first().filter(|_| !fits(limits, &entries, size)) else {
                return Ok(());
            };
            let volume = oldest.volume;
            evict(&cx.plane, volume).await;
            if cx.plane.db.read(|db| db.cache_entries())?.len() >= entries.len() {
                return Err(Cause::Gone("the image cache cannot be emptied".into()).into());
            }
        }
    })
}

fn fits(limits: CacheLimits, entries: &[CacheEntryView], size: u64) -> bool {
    let used: u64 = entries.iter().map(|e| e.size_gib).sum();
    (limits.max_gib == 0 || used + size <= limits.max_gib)
        && (limits.max_count == 0 || (entries.len() as u64) < limits.max_count)
}

fn create_row(cx: &mut CacheCx) -> StepFuture<'_> {
    Box::pin(async move {
        let Some((image, source)) = &cx.from else { return Ok(()) };
        let row = VolumeView {
            id: cx.id,
            name_id: cx.id,
            name: format!("image-{}", image.id),
            size_gib: source.size_gib,
            status: VolumeStatus::Creating,
            attach_status: AttachStatus::Detached,
            previous_status: None,
            host: source.host.clone(),
            volume_type: source.volume_type.clone(),
            source: Source::Volume(source.id),
            provider_id: None,
            provider_location: None,
            multiattach: false,
            internal: true,
            created_at: cx.plane.env.now(),
        };
        cx.plane.db.read(|db| if db.volume(row.id)?.is_none() { db.insert_volume(&row) } else { Ok(()) })?;
        Ok(())
    })
}

/// Deletes what the array may hold, then the row.
fn remove_parts(cx: &mut CacheCx) -> StepFuture<'_> {
    Box::pin(async move {
        let Some(row) = cx.plane.db.read(|db| db.volume(cx.id))? else { return Ok(()) };
        cx.plane.driver(&row)?.delete_volume(&cx.plane.volume_ref(&row)).await?;
        let id = cx.id;
        cx.plane.db.read(|db| db.abandon_volume(id))?;
        Ok(())
    })
}

fn clone(cx: &mut CacheCx) -> StepFuture<'_> {
    Box::pin(async move {
        let Some((_, source)) = &cx.from else { return Ok(()) };
        let _guard = cx.plane.lock_delete(source.id).await;
        let row = cx.plane.volume(cx.id)?;
        let source = cx.plane.volume(source.id)?;
        let driver = cx.plane.driver(&row)?;
        let update =
            driver.create_cloned_volume(&cx.plane.volume_ref(&row), &cx.plane.volume_ref(&source)).await?;
        Ok(cx.plane.db.read(|db| db.set_provider(cx.id, &update))?)
    })
}

fn insert_entry(cx: &mut CacheCx) -> StepFuture<'_> {
    Box::pin(async move {
        let Some((image, source)) = &cx.from else { return Ok(()) };
        let entry = CacheEntryView {
            image: image.id,
            host: source.host.clone().unwrap_or_default(),
            volume: cx.id,
            size_gib: source.size_gib,
            image_version: image.version,
            last_used: 0,
        };
        cx.plane.db.read(|db| {
            db.cas_volume(entry.volume, &[VolumeStatus::Creating], VolumeStatus::Available)?;
            db.put_cache_entry(&entry)
        })?;
        Ok(())
    })
}
