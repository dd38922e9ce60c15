//! Start of the service (workflow contract 2.10, `init_host`): drivers, exports, recovery, reports.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sanbench_api::DriverError;
use serde_json::json;

use super::{Plane, StartReport};
use crate::engine;
use crate::error::{FlowError, StepError};
use crate::status::{SnapshotStatus, VolumeStatus};

/// Pauses before the extra tries of a driver's setup (`reinit_driver_count` 3).
const SETUP_PAUSES: [u64; 3] = [1, 2, 4];

pub(super) async fn start(plane: &Arc<Plane>) -> Result<StartReport, FlowError> {
    plane.reborn();
    // No request is running, so none holds a reservation.
    plane.db.read(|db| db.drop_reservations())?;
    let mut report = StartReport::default();
    for (name, backend) in &plane.backends {
        match setup(plane, &*backend.driver).await {
            Ok(()) => plane.scheduler().set_up(name, true),
            Err(e) => {
                plane.scheduler().set_up(name, false);
                report.failed.insert(name.clone(), e);
            }
        }
    }
    plane.set_started(true);
    exports(plane).await?;
    report.recovered = engine::recover_all(plane).await?;
    control_host(plane, &mut report.recovered).await?;
    // A staged image that no flow has claimed.
    for name in plane.db.read(|db| db.temps())? {
        plane.work.dispose(&name).map_err(|e| FlowError::Internal(e.to_string()))?;
        plane.db.read(|db| db.remove_temp(&name))?;
        report.recovered.push(format!("staged image {name}: removed"));
    }
    workers(plane, &mut report.recovered)?;
    plane.refresh_stats().await;
    plane.env.note("flow", || json!({"event": "started", "recovered": report.recovered}));
    Ok(report)
}

async fn setup(plane: &Plane, driver: &dyn sanbench_api::VolumeDriver) -> Result<(), DriverError> {
    let mut pauses = SETUP_PAUSES.into_iter();
    loop {
        match driver.do_setup().await {
            Ok(()) => return Ok(()),
            Err(e) => match pauses.next() {
                Some(pause) => plane.env.sleep(Duration::from_secs(pause)).await,
                None => return Err(e),
            },
        }
    }
}

/// One more try for drivers that could not be set up.
pub(super) async fn revive(plane: &Plane) -> Vec<String> {
    let mut said = Vec::new();
    for (name, backend) in &plane.backends {
        if plane.scheduler().is_up(name) {
            continue;
        }
        match backend.driver.do_setup().await {
            Ok(()) => {
                plane.scheduler().set_up(name, true);
                said.push(format!("{name}: up again"));
            }
            Err(e) => said.push(format!("{name}: {e}")),
        }
    }
    said
}

/// Exports of volumes in use; one that cannot be restored puts its volume in `error`.
async fn exports(plane: &Plane) -> Result<(), FlowError> {
    for row in plane.db.read(|db| db.volumes())? {
        if row.status != VolumeStatus::InUse || !row.backend().is_some_and(|b| plane.scheduler().is_up(b)) {
            continue;
        }
        let Ok(driver) = plane.driver(&row) else { continue };
        if let Err(e) = driver.ensure_export(&plane.volume_ref(&row)).await {
            plane.warn("ensure_export", &e);
            plane.db.read(|db| db.cas_volume(row.id, &[VolumeStatus::InUse], VolumeStatus::Error))?;
        }
    }
    Ok(())
}

/// What is mapped to the control host without a flow that will unmap it. A read that is going on holds the lock of
/// its volume and is waited for.
pub(super) async fn control_host(plane: &Arc<Plane>, said: &mut Vec<String>) -> Result<(), FlowError> {
    let volumes: BTreeMap<_, _> =
        plane.db.read(|db| db.control_attachments())?.into_iter().map(|r| (r.volume, r.id)).collect();
    for volume in volumes.into_keys() {
        match crate::attach::release_leftovers(plane, volume).await {
            Ok(()) => said.push(format!("mapping of {volume} to the control host: removed")),
            Err(StepError::Crash) => return Err(FlowError::Crashed),
            Err(e) => said.push(format!("mapping of {volume} to the control host: {e}")),
        }
    }
    Ok(())
}

/// The workers table: what was between two flows when the service went down. A row whose flow is still open waits
/// for it; one whose resource has gone, or has another status, is dropped.
pub(super) fn workers(plane: &Plane, said: &mut Vec<String>) -> Result<(), FlowError> {
    let open = plane.db.read(|db| db.open_flows())?;
    for (kind, id, status) in plane.db.read(|db| db.workers())? {
        if open.iter().any(|flow| flow.subject == id) {
            continue;
        }
        let moved = plane.db.read(|db| {
            let creating = [VolumeStatus::Creating, VolumeStatus::Downloading];
            let moved = match (kind.as_str(), id.parse(), id.parse()) {
                ("volume", Ok(volume), _) => db.cas_volume(volume, &creating, VolumeStatus::Error)?.is_some(),
                (_, _, Ok(snapshot)) => {
                    db.cas_snapshot(snapshot, &[SnapshotStatus::Creating], SnapshotStatus::Error)?.is_some()
                }
                _ => false,
            };
            db.remove_worker(&kind, &id)?;
            Ok(moved)
        })?;
        if moved {
            said.push(format!("{kind} {id}: was {status}, now error"));
        }
    }
    Ok(())
}
