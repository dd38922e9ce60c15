//! Cinder's side of attaching: the control host's own short-lived attachments (workflow contract 3.4) here, the
//! attachment API (6.2 to 6.4) in `api`.

pub(crate) mod api;

use std::sync::Arc;

use sanbench_api::{AccessMode, Attached, BlockDevice, ConnectionInfo, ConnectorError, VolumeId};

use crate::control::{LockGuard, Plane};
use crate::db::ControlRow;
use crate::error::{Cause, FlowError, StepError};

/// A volume mapped to the control host. The row in the database is written before the mapping is made, so that a
/// restart finds it. One volume has at most one at a time.
pub(crate) struct LocalAttachment {
    plane: Arc<Plane>,
    volume: VolumeId,
    read_only: bool,
    row: Option<i64>,
    info: Option<ConnectionInfo>,
    attached: Option<Attached>,
    _guard: LockGuard,
}

impl LocalAttachment {
    /// Waits for its turn; maps nothing yet.
    pub(crate) async fn prepare(plane: &Arc<Plane>, volume: VolumeId) -> Result<Self, StepError> {
        let guard = plane.lock_control(volume).await;
        Ok(Self {
            plane: Arc::clone(plane),
            volume,
            read_only: false,
            row: None,
            info: None,
            attached: None,
            _guard: guard,
        })
    }

    /// Export and initialize_connection, in the order of 6.3.
    pub(crate) async fn map(&mut self) -> Result<(), StepError> {
        let mut connector = self.plane.control_host.properties();
        connector.multipath = self.plane.config.multipath_for_image_xfer;
        connector.enforce_multipath = self.plane.config.enforce_multipath_for_image_xfer;
        let row = self.plane.volume(self.volume)?;
        let driver = self.plane.driver(&row)?;
        if self.row.is_none() {
            self.row = Some(self.plane.db.single(|db| db.insert_control(self.volume, &connector))?);
        }
        let info = api::initialize(&self.plane, &*driver, &row, &connector).await?;
        if let Some(id) = self.row {
            self.plane.db.single(|db| db.set_control_info(id, &info))?;
        }
        self.info = Some(info);
        Ok(())
    }

    pub(crate) async fn connect(&mut self) -> Result<(), StepError> {
        let Some(info) = self.info.as_mut() else { return Err(Cause::Gone("not mapped".into()).into()) };
        info.multipath = self.plane.config.multipath_for_image_xfer;
        info.enforce_multipath = self.plane.config.enforce_multipath_for_image_xfer;
        if self.read_only {
            info.access_mode = AccessMode::ReadOnly;
        }
        let attached = self.plane.control_host.connect_volume(info).await?;
        let checked = check_identity(info, &attached);
        self.attached = Some(attached);
        Ok(checked?)
    }

    pub(crate) fn device(&self) -> Option<Arc<dyn BlockDevice>> {
        self.attached.as_ref().map(|a| Arc::clone(&a.device))
    }

    /// Name of the device.
    pub(crate) fn path(&self) -> Option<&str> {
        self.attached.as_ref().map(|a| a.path.as_str())
    }

    /// Forced detach: every part is tried, and nothing there is success.
    pub(crate) async fn release(&mut self) -> Result<(), StepError> {
        self.attached = None;
        let Some(id) = self.row else { return Ok(()) };
        let Some(row) = self.plane.db.read(|db| db.control_of(self.volume))?.into_iter().find(|r| r.id == id)
        else {
            return Ok(());
        };
        release_row(&self.plane, &row).await
    }

    /// Planted defect: the host is tidy, the array is not.
    pub(crate) async fn forget_mapping(mut self) -> Result<(), StepError> {
        self.attached = None;
        if let Some(info) = &self.info {
            self.plane.control_host.disconnect_volume(info, true).await?;
        }
        if let Some(id) = self.row {
            self.plane.db.single(|db| db.remove_control(id))?;
        }
        Ok(())
    }
}

/// The device must be the volume (ATT-006). The connector checks too; trusting it alone would be one check for two.
pub(crate) fn check_identity(info: &ConnectionInfo, attached: &Attached) -> Result<(), Cause> {
    match info.wwn {
        Some(expected) if expected != attached.wwn => {
            let lun = info.paths.first().map_or(0, |p| p.lun);
            Err(ConnectorError::WrongDevice { lun, expected, found: attached.wwn }.into())
        }
        _ => Ok(()),
    }
}

async fn release_row(plane: &Plane, row: &ControlRow) -> Result<(), StepError> {
    let mut first: Option<Cause> = None;
    let mut note = |answer: Result<(), Cause>| {
        if let Err(cause) = answer {
            first.get_or_insert(cause);
        }
    };
    if let Some(info) = &row.info {
        note(plane.control_host.disconnect_volume(info, true).await.map_err(Cause::from));
    }
    // Without a volume row there is no LUN either.
    if let Some(volume) = plane.db.read(|db| db.volume(row.volume))?
        && volume.host.is_some()
    {
        let driver = plane.driver(&volume)?;
        let reference = plane.volume_ref(&volume);
        match driver.terminate_connection(&reference, Some(&row.connector), true).await {
            Ok(true) => {}
            Ok(false) => note(driver.remove_export(&reference).await.map_err(Cause::from)),
            Err(e) => note(Err(e.into())),
        }
    }
    if let Some(cause) = first {
        return Err(cause.into());
    }
    Ok(plane.db.single(|db| db.remove_control(row.id))?)
}

/// Releases whatever the database still shows mapped to the control host for this volume.
pub(crate) async fn release_leftovers(plane: &Arc<Plane>, volume: VolumeId) -> Result<(), StepError> {
    let _guard = plane.lock_control(volume).await;
    for row in plane.db.read(|db| db.control_of(volume))? {
        release_row(plane, &row).await?;
    }
    Ok(())
}

/// A volume attached read-only to the control host; [`LocalRead::close`] detaches it. Dropped without that, the
/// mapping stays until the next `reconcile` or start.
pub struct LocalRead {
    local: LocalAttachment,
    _delete: LockGuard,
}

impl std::fmt::Debug for LocalRead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LocalRead({})", self.local.volume)
    }
}

impl LocalRead {
    /// Attaches. The volume cannot be deleted meanwhile.
    pub(crate) async fn open(plane: Arc<Plane>, volume: VolumeId) -> Result<Self, FlowError> {
        plane.serving()?;
        let delete = plane.lock_delete(volume).await;
        let mut read = Self { local: new_local(&plane, volume).await?, _delete: delete };
        match read.connect().await {
            Ok(()) => Ok(read),
            Err(error) => {
                let undo = read.local.release().await;
                Err(failure("control_host_read", "connect", volume, error, undo.err()))
            }
        }
    }

    async fn connect(&mut self) -> Result<(), StepError> {
        self.local.read_only = true;
        self.local.map().await?;
        self.local.connect().await
    }

    /// The device.
    pub fn device(&self) -> Option<Arc<dyn BlockDevice>> {
        self.local.device()
    }

    /// Detaches.
    pub async fn close(mut self) -> Result<(), FlowError> {
        let volume = self.local.volume;
        let mut tries = 0;
        loop {
            match self.local.release().await {
                Ok(()) => return Ok(()),
                Err(error) if tries >= self.local.plane.config.undo_retries => {
                    return Err(failure("control_host_read", "release", volume, error, None));
                }
                Err(_) => self.local.plane.env.sleep(std::time::Duration::from_secs(1 << tries.min(5))).await,
            }
            tries += 1;
        }
    }
}

async fn new_local(plane: &Arc<Plane>, volume: VolumeId) -> Result<LocalAttachment, FlowError> {
    match LocalAttachment::prepare(plane, volume).await {
        Ok(local) => Ok(local),
        Err(error) => Err(failure("control_host_read", "prepare", volume, error, None)),
    }
}

/// A failure outside the flow engine in the same shape as inside.
fn failure(
    flow: &'static str,
    step: &'static str,
    subject: VolumeId,
    error: StepError,
    undo: Option<StepError>,
) -> FlowError {
    let cause = match error {
        StepError::Failed(cause) => cause,
        StepError::Refused(refusal) => return refusal.into(),
        StepError::Crash => return FlowError::Crashed,
        StepError::Lost => return FlowError::Unanswered,
        StepError::Internal(message) => return FlowError::Internal(message),
    };
    FlowError::Failed(Box::new(crate::error::Failure {
        flow,
        step,
        subject: subject.to_string(),
        outcome: cause.outcome(),
        cause,
        undo_failures: undo.map(|e| e.to_string()).into_iter().collect(),
    }))
}
