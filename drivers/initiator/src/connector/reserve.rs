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
            self.repeated(path, action::REGISTER_AND_IGNORE, Kind(0), register).await?;
        }
        let reserve = OutList { key, ..OutList::default() };
        match paths.first() {
            Some(path) => self.repeated(path, action::RESERVE, KIND, reserve).await,
            None => Ok(()),
        }
    }

    /// A call that may be carried out more than once, over this very path: a session that is just coming back is waited for.
    async fn repeated(
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

    pub(super) async fn holder(
        &self,
        info: &ConnectionInfo,
        release: Option<u64>,
    ) -> Result<Option<u64>, ConnectorError> {
        let paths = self.paths(info)?;
        // Every path that works shows the same.
        let mut answer = Ok(None);
        for path in &paths {
            answer = path.reservation().await.map_err(refused).map(|(_, held)| held.map(|(key, _)| key));
            if answer.is_ok() {
                break;
            }
        }
        let holder = answer?;
        let Some(key) = release else { return Ok(holder) };
        if holder != Some(key) {
            // Somebody else's stays; of ours, what registrations there are go.
            for path in &paths {
                let _ = path.reserve_out(action::REGISTER_AND_IGNORE, Kind(0), OutList::default()).await;
            }
            return Ok(holder);
        }
        // Over one path for all: registrations of paths that are away now go as well.
        let clear = OutList { key, ..OutList::default() };
        let mut cleared = Ok(());
        for path in &paths {
            cleared = path.reserve_out(action::CLEAR, Kind(0), clear).await.map_err(refused);
            // One whose answer was lost may have done it.
            let done = cleared.is_ok() || matches!(path.reservation().await, Ok((_, None)));
            if done {
                return Ok(holder);
            }
        }
        cleared.map(|()| holder)
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
