//! Persistent reservations of a volume, over all of its paths (mpathpersist's role): every path is an I_T nexus of its own, and
//! each must be registered.

use std::sync::Arc;
use std::time::Duration;

use sanbench_api::{BlockError, ConnectionInfo, ConnectorError};
use sanbench_wire::scsi::reservation::{Kind, OutList, action};

use super::Inner;
use crate::device::{PathDevice, PathFault};
use crate::lock;

/// Type of reservation: others may read, registrants may write (SPC-4 table 51).
const KIND: Kind = Kind(5);

/// How long a session that is down is waited for: longer than it takes to find a dead connection and to log in anew.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);

impl Inner {
    /// Path devices of the volume.
    fn paths(&self, info: &ConnectionInfo) -> Result<Vec<Arc<PathDevice>>, ConnectorError> {
        let table = lock(&self.table);
        let live = lock(&self.live);
        let ours = |at: &crate::host::Hctl| table.device(*at).is_some_and(|d| d.wwn == info.wwn);
        let paths: Vec<_> =
            live.devices.iter().filter(|(at, _)| ours(at)).map(|(_, device)| device.clone()).collect();
        match paths.is_empty() {
            true => {
                Err(ConnectorError::BadConnectionInfo { message: "the volume is not connected".to_owned() })
            }
            false => Ok(paths),
        }
    }

    pub(super) async fn reserve(&self, info: &ConnectionInfo, key: u64) -> Result<(), ConnectorError> {
        let paths = self.paths(info)?;
        let register = OutList { service_key: key, persist: true, ..OutList::default() };
        for path in &paths {
            self.until_back(path, action::REGISTER_AND_IGNORE, Kind(0), register).await?;
        }
        let reserve = OutList { key, ..OutList::default() };
        match paths.first() {
            Some(path) => self.until_back(path, action::RESERVE, KIND, reserve).await,
            None => Ok(()),
        }
    }

    /// A call that may be carried out more than once, over this very path: a session that is just coming back is waited for.
    async fn until_back(
        &self,
        path: &PathDevice,
        action: u8,
        kind: Kind,
        list: OutList,
    ) -> Result<(), ConnectorError> {
        let until = self.env.now() + PATIENCE;
        loop {
            match path.reserve_out(action, kind, list).await {
                Err(PathFault::NotSent(_) | PathFault::Lost { .. }) if self.env.now() < until => {
                    self.env.sleep(PAUSE).await;
                }
                other => return other.map_err(refused),
            }
        }
    }

    /// Every path that works shows the same.
    pub(super) async fn holder(&self, info: &ConnectionInfo) -> Result<Option<u64>, ConnectorError> {
        let mut answer = Ok(None);
        for path in self.paths(info)? {
            answer = path.reservation().await.map_err(refused).map(|(_, held)| held.map(|(key, _)| key));
            if answer.is_ok() {
                break;
            }
        }
        answer
    }

    /// Gives up what is held and registered with this key, also over paths that are away now; answers who held the reservation.
    pub(super) async fn release(
        &self,
        info: &ConnectionInfo,
        key: u64,
    ) -> Result<Option<u64>, ConnectorError> {
        let (paths, holder) = (self.paths(info)?, self.holder(info).await?);
        let unregister = OutList::default();
        if holder != Some(key) {
            for path in &paths {
                // One that is not registered is as good.
                let _ = path.reserve_out(action::REGISTER_AND_IGNORE, Kind(0), unregister).await;
            }
            return Ok(holder);
        }
        // Preempting one's own key leaves only the path that does it, as the holder; what that one gives up is gone for all. Other
        // hosts keep their registrations (SPC-4 clause 5.13.11.4).
        let preempt = OutList { key, service_key: key, ..OutList::default() };
        let mut done = Ok(());
        for path in &paths {
            done = path.reserve_out(action::PREEMPT, KIND, preempt).await.map_err(refused);
            if done.is_ok() {
                return self
                    .until_back(path, action::REGISTER_AND_IGNORE, Kind(0), unregister)
                    .await
                    .map(|()| holder);
            }
        }
        done.map(|()| holder)
    }
}

fn refused(fault: PathFault) -> ConnectorError {
    let error = match fault {
        PathFault::Block(error) => error,
        PathFault::NotSent(message) => BlockError::NoPath { message },
        PathFault::Lost { why, .. } => BlockError::NoAnswer { message: why },
        PathFault::Aborted => BlockError::NoAnswer { message: "aborted".to_owned() },
        PathFault::Stranger(found) => BlockError::Protocol { message: format!("another volume: {found:?}") },
    };
    ConnectorError::Device(error)
}
