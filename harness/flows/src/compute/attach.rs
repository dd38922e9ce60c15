//! Attach (workflow contract 8.1 to 8.3): block device mapping, reservation, map, connect, plug into the guest,
//! complete; undone in reverse.

use std::sync::Arc;

use sanbench_api::{Attached, AttachmentId, ConnectionInfo, InstanceId, VolumeId};
use serde_json::json;

use super::{AttachOptions, connector_of, guarded_place};
use crate::attach::{api, check_identity};
use crate::control::{LockGuard, LockKind, Plane};
use crate::db::FlowRow;
use crate::engine::{self, Flow, FlowContext, OnUndoFailure, Recovery, Step, StepFuture};
use crate::error::{Cause, FlowError, Refusal, StepError};
use crate::model::AttachmentView;
use crate::status::AttachmentStatus;

pub(crate) static ATTACH: Flow<AttachCx> = Flow {
    name: "attach_volume",
    steps: &[
        Step::both("create_bdm", create_bdm, destroy_bdm),
        Step::both("reserve", reserve, unreserve),
        Step::run("guard", guard),
        Step::undo_only("unmap_on_failure", unmap),
        Step::run("map", map),
        Step::undo_only("disconnect_on_failure", disconnect),
        Step::run("connect", connect),
        Step::both("plug", plug, unplug),
        Step::run("complete", complete),
    ],
    recovery: Recovery::Unwind,
    // The reservation must not go while the mapping may still exist.
    on_undo_failure: OnUndoFailure::Stop,
};

pub(crate) struct AttachCx {
    plane: Arc<Plane>,
    volume: VolumeId,
    instance: InstanceId,
    host: String,
    id: AttachmentId,
    options: AttachOptions,
    guard: Option<LockGuard>,
    info: Option<ConnectionInfo>,
    attached: Option<Attached>,
}

impl FlowContext for AttachCx {
    fn plane(&self) -> &Arc<Plane> {
        &self.plane
    }

    fn rebuild(plane: &Arc<Plane>, row: &FlowRow) -> Result<Option<Self>, FlowError> {
        let text = |key: &str| row.params.get(key).and_then(|v| v.as_str()).unwrap_or("");
        let (Ok(volume), Ok(instance), Ok(id)) =
            (row.subject.parse(), text("instance").parse(), text("attachment").parse())
        else {
            return Ok(None);
        };
        Ok(Some(Self {
            plane: Arc::clone(plane),
            volume,
            instance,
            host: text("host").to_owned(),
            id,
            options: AttachOptions::default(),
            guard: None,
            info: None,
            attached: None,
        }))
    }
}

/// Attaches and waits until the guest has the disk.
pub(crate) async fn attach(
    plane: Arc<Plane>,
    volume: VolumeId,
    instance: InstanceId,
    options: AttachOptions,
) -> Result<AttachmentId, FlowError> {
    plane.serving()?;
    let found = plane.db.read(|db| db.instance(instance))?;
    let found = found.ok_or_else(|| Refusal::NotFound { kind: "instance", id: instance.to_string() })?;
    let id = AttachmentId::from_random(plane.env.uuid_bytes());
    let params = json!({"instance": instance, "attachment": id, "host": found.host});
    let mut cx = AttachCx {
        plane,
        volume,
        instance,
        host: found.host,
        id,
        options,
        guard: None,
        info: None,
        attached: None,
    };
    engine::run(&ATTACH, volume.to_string(), params, &mut cx).await?;
    Ok(id)
}

fn create_bdm(cx: &mut AttachCx) -> StepFuture<'_> {
    Box::pin(async move {
        let (instance, volume, id) = (cx.instance, cx.volume, cx.id);
        cx.plane.db.tx(|db| {
            let row = db
                .volume(volume)?
                .ok_or_else(|| Refusal::NotFound { kind: "volume", id: volume.to_string() })?;
            match db.bdm(instance, volume)? {
                // Ours already: the step is being repeated.
                Some(bdm) if bdm.attachment == Some(id) => Ok(()),
                Some(_) => Err(StepError::from(Refusal::AlreadyAttached { volume: volume.to_string() })),
                None => {
                    db.insert_bdm(instance, volume, row.size_gib)?;
                    Ok(db.set_bdm_attachment(instance, volume, id)?)
                }
            }
        })
    })
}

fn destroy_bdm(cx: &mut AttachCx) -> StepFuture<'_> {
    Box::pin(async move {
        if cx.plane.config.defects.bdm_left_after_failed_attach {
            return Ok(());
        }
        let (instance, volume, id) = (cx.instance, cx.volume, cx.id);
        cx.plane.db.read(|db| {
            // Only our own: an earlier attachment of the same pair is not touched.
            if db.bdm(instance, volume)?.is_some_and(|b| b.attachment == Some(id)) {
                db.remove_bdm(instance, volume)?;
            }
            Ok(())
        })?;
        Ok(())
    })
}

fn reserve(cx: &mut AttachCx) -> StepFuture<'_> {
    Box::pin(async move {
        let row = AttachmentView {
            id: cx.id,
            volume: cx.volume,
            instance: cx.instance,
            host: cx.host.clone(),
            status: AttachmentStatus::Reserved,
            connector: None,
            connection_info: None,
        };
        api::reserve(&cx.plane, &row)
    })
}

fn unreserve(cx: &mut AttachCx) -> StepFuture<'_> {
    Box::pin(async move { api::delete(&cx.plane, cx.id, cx.volume) })
}

async fn take_guard(cx: &mut AttachCx) -> Result<(), StepError> {
    if cx.guard.is_none() {
        let place = guarded_place(&cx.plane, cx.volume, &cx.host)?;
        cx.guard = Some(cx.plane.lock(LockKind::Connection, place).await);
    }
    Ok(())
}

fn guard(cx: &mut AttachCx) -> StepFuture<'_> {
    Box::pin(take_guard(cx))
}

fn map(cx: &mut AttachCx) -> StepFuture<'_> {
    Box::pin(async move {
        let mut connector = connector_of(&cx.plane, &cx.host)?.properties();
        connector.multipath = cx.options.multipath;
        connector.enforce_multipath = cx.options.enforce_multipath;
        let mut info = api::update(&cx.plane, cx.id, &connector).await?;
        info.multipath = cx.options.multipath;
        info.enforce_multipath = cx.options.enforce_multipath;
        cx.info = Some(info);
        Ok(())
    })
}

fn unmap(cx: &mut AttachCx) -> StepFuture<'_> {
    Box::pin(async move {
        take_guard(cx).await?;
        api::terminate(&cx.plane, cx.id, true).await
    })
}

fn connect(cx: &mut AttachCx) -> StepFuture<'_> {
    Box::pin(async move {
        let info = cx.info.as_ref().ok_or_else(|| Cause::Gone("not mapped".into()))?;
        let attached = connector_of(&cx.plane, &cx.host)?.connect_volume(info).await?;
        check_identity(info, &attached)?;
        cx.attached = Some(attached);
        Ok(())
    })
}

fn disconnect(cx: &mut AttachCx) -> StepFuture<'_> {
    Box::pin(async move {
        take_guard(cx).await?;
        cx.attached = None;
        let Some(row) = cx.plane.db.read(|db| db.attachment(cx.id))? else { return Ok(()) };
        let Some(info) = cx.info.as_ref().or(row.connection_info.as_ref()) else { return Ok(()) };
        if cx.plane.db.read(|db| db.shared_on_host(cx.volume, &cx.host, cx.id))? {
            return Ok(());
        }
        Ok(connector_of(&cx.plane, &cx.host)?.disconnect_volume(info, true).await?)
    })
}

/// The hypervisor gets the disk: a row for the configuration, a handle for the running guest.
fn plug(cx: &mut AttachCx) -> StepFuture<'_> {
    Box::pin(async move {
        let Some(attached) = &cx.attached else { return Err(Cause::Gone("not connected".into()).into()) };
        cx.plane.db.single(|db| db.put_guest_disk(cx.instance, cx.volume, &attached.path, attached.wwn))?;
        cx.plane.guests().insert((cx.instance, cx.volume), attached.clone());
        Ok(())
    })
}

fn unplug(cx: &mut AttachCx) -> StepFuture<'_> {
    Box::pin(async move {
        cx.plane.guests().remove(&(cx.instance, cx.volume));
        Ok(cx.plane.db.single(|db| db.remove_guest_disk(cx.instance, cx.volume))?)
    })
}

fn complete(cx: &mut AttachCx) -> StepFuture<'_> {
    Box::pin(async move { api::complete(&cx.plane, cx.id, cx.volume) })
}
