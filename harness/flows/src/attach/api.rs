//! The attachment API: reserve, update, complete, delete (workflow contract 6.2 to 6.4), as steps of the flows in
//! `compute`.

use sanbench_api::{AttachmentId, ConnectionInfo, ConnectorProperties, DriverError, VolumeDriver, VolumeId};

use crate::control::Plane;
use crate::error::{Cause, Refusal, StepError};
use crate::model::{AttachmentView, VolumeView};
use crate::status::{AttachStatus, AttachmentStatus, VolumeStatus};
use crate::volume::create::conflict;

/// validate, create_export, model update, initialize_connection; a failure of the last removes the export (6.3).
pub(crate) async fn initialize(
    plane: &Plane,
    driver: &dyn VolumeDriver,
    volume: &VolumeView,
    connector: &ConnectorProperties,
) -> Result<ConnectionInfo, StepError> {
    let reference = plane.volume_ref(volume);
    driver.validate_connector(connector)?;
    if let Some(update) = driver.create_export(&reference, connector).await? {
        plane.db.read(|db| db.set_provider(volume.id, &update))?;
    }
    match driver.initialize_connection(&reference, connector).await {
        Ok(info) if info.volume_id == volume.id && !info.paths.is_empty() => Ok(info),
        Ok(_) => {
            Err(DriverError::Fault { message: "connection info names no path or another volume".into() }
                .into())
        }
        Err(error) => {
            // The mapping may exist (a lost reply): the caller's undo terminates it.
            if let Err(e) = driver.remove_export(&reference).await {
                plane.warn("remove_export after a failed initialize_connection", &e);
            }
            Err(error.into())
        }
    }
}

/// Reserves the volume for an instance: the row and the status change are one transaction.
pub(crate) fn reserve(plane: &Plane, row: &AttachmentView) -> Result<(), StepError> {
    plane.db.tx(|db| {
        if db.attachment(row.id)?.is_some() {
            return Ok(());
        }
        let volume = db
            .volume(row.volume)?
            .ok_or_else(|| Refusal::NotFound { kind: "volume", id: row.volume.to_string() })?;
        let others = db.attachments_of(row.volume)?;
        if others.iter().any(|a| a.instance == row.instance) || (!others.is_empty() && !volume.multiattach) {
            return Err(Refusal::AlreadyAttached { volume: row.volume.to_string() }.into());
        }
        let from: &[VolumeStatus] = match volume.multiattach {
            true => &[VolumeStatus::Available, VolumeStatus::InUse],
            false => &[VolumeStatus::Available],
        };
        if db.cas_volume(row.volume, from, VolumeStatus::Reserved)?.is_none() {
            let wanted = if volume.multiattach { "available or in-use" } else { "available" };
            return Err(StepError::from(conflict("volume", row.volume, volume.status.as_str(), wanted)));
        }
        if volume.attach_status == AttachStatus::Detached {
            db.set_attach_status(row.volume, AttachStatus::Reserved)?;
        }
        db.insert_attachment(row)?;
        Ok(())
    })
}

/// Maps the volume to the instance's host. The connector is stored first: that is the intent a restart finds.
pub(crate) async fn update(
    plane: &Plane,
    id: AttachmentId,
    connector: &ConnectorProperties,
) -> Result<ConnectionInfo, StepError> {
    let row = plane.db.read(|db| db.attachment(id))?;
    let row = row.ok_or_else(|| Cause::Gone(format!("attachment {id} has gone")))?;
    let volume = plane.volume(row.volume)?;
    let driver = plane.driver(&volume)?;
    plane.db.single(|db| db.set_attachment_connector(id, connector))?;
    let info = initialize(plane, &*driver, &volume, connector).await?;
    plane.db.read(|db| {
        db.set_attachment_info(id, &info)?;
        db.set_attachment_status(id, AttachmentStatus::Attaching)?;
        db.cas_volume(row.volume, &[VolumeStatus::Reserved], VolumeStatus::Attaching)?;
        if volume.attach_status != AttachStatus::Attached {
            db.set_attach_status(row.volume, AttachStatus::Attaching)?;
        }
        Ok(())
    })?;
    Ok(info)
}

/// The attachment is in use.
pub(crate) fn complete(plane: &Plane, id: AttachmentId, volume: VolumeId) -> Result<(), StepError> {
    plane.db.read(|db| {
        db.set_attachment_status(id, AttachmentStatus::Attached)?;
        let from = [VolumeStatus::Attaching, VolumeStatus::Reserved];
        db.cas_volume(volume, &from, VolumeStatus::InUse)?;
        db.set_attach_status(volume, AttachStatus::Attached)
    })?;
    Ok(())
}

/// Removes the mapping of an attachment, unless another one of the same host still needs it (INV-P4).
pub(crate) async fn terminate(plane: &Plane, id: AttachmentId, force: bool) -> Result<(), StepError> {
    let Some(row) = plane.db.read(|db| db.attachment(id))? else { return Ok(()) };
    // A reserved row without a connector was never mapped.
    let Some(connector) = &row.connector else { return Ok(()) };
    let Some(volume) = plane.db.read(|db| db.volume(row.volume))? else { return Ok(()) };
    if plane.db.read(|db| db.shared_on_host(row.volume, &row.host, id))? {
        return Ok(());
    }
    let driver = plane.driver(&volume)?;
    let reference = plane.volume_ref(&volume);
    let shared = driver.terminate_connection(&reference, Some(connector), force).await?;
    if !shared && let Err(e) = driver.remove_export(&reference).await {
        // Only logged (bug 1935057).
        plane.warn("remove_export", &e);
    }
    Ok(())
}

/// Removes the row and recomputes the volume's status.
pub(crate) fn delete(plane: &Plane, id: AttachmentId, volume: VolumeId) -> Result<(), StepError> {
    plane.db.read(|db| {
        if db.remove_attachment(id)? {
            db.recompute_volume(volume)?;
        }
        Ok(())
    })?;
    Ok(())
}
