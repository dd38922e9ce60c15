//! Disconnect in os-brick's order.

use std::collections::BTreeSet;
use std::sync::Arc;

use sanbench_api::{BlockError, ConnectionInfo, ConnectorError};
use serde_json::json;

use super::{Inner, SETTLE_LIMIT};
use crate::config::ConnectorDefects;
use crate::device::PathDevice;
use crate::disk::Runner;
use crate::host::{Departure, Hctl, HostTable, SessionId};
use crate::lock;
use crate::multipath::MultipathDevice;
use crate::scsi::Op;

/// Flushes tried before a disconnect fails, when the device answers at all.
const FLUSH_TRIES: u32 = 3;

/// What belongs to a volume on this host.
pub(super) struct Ours {
    pub(super) devices: Vec<(Hctl, String)>,
    pub(super) map: Option<String>,
    sessions: BTreeSet<SessionId>,
}

/// `defects` may make it blind.
pub(super) fn ours(table: &HostTable, info: &ConnectionInfo, defects: ConnectorDefects) -> Ours {
    let mut devices = Vec::new();
    let mut sessions = BTreeSet::new();
    for target in &info.paths {
        // All sessions of the pair: a host may have one for each of its interfaces.
        let most = if defects.first_session_only { 1 } else { usize::MAX };
        for (id, _) in table.sessions_to(target.portal, &target.iqn).take(most) {
            sessions.insert(id);
            let at = Hctl::new(id, target.lun);
            // At our LUN may sit another volume by now, or still; that one is not ours to remove.
            let any = info.wwn.is_none() || defects.disconnect_by_lun;
            if let Some(device) = table.device(at)
                && (any || device.wwn.is_none() || device.wwn == info.wwn)
            {
                devices.push((at, device.name.clone()));
            }
        }
    }
    // The volume may also be here under another LUN, from an earlier connection info.
    if info.wwn.is_some() && !defects.first_session_only {
        for (at, device) in table.devices() {
            if device.wwn == info.wwn && !devices.iter().any(|(known, _)| *known == at) {
                devices.push((at, device.name.clone()));
                sessions.insert(at.host);
            }
        }
    }
    let held = devices.iter().find_map(|(_, name)| table.holder(name)).map(|(name, _)| name);
    let map = held.or_else(|| table.map_of(&info.wwn?).map(|(name, _)| name));
    Ours { devices, map, sessions }
}

impl Inner {
    pub(super) async fn disconnect(&self, info: &ConnectionInfo, force: bool) -> Result<(), ConnectorError> {
        let table = self.settled_table();
        let ours = ours(&table, info, self.config.defects);
        let of = |at: &Hctl| table.device(*at).and_then(|d| d.wwn);
        let wwn = info.wwn.or_else(|| ours.devices.iter().find_map(|(at, _)| of(at)));
        let flush = self.flush(&ours, force).await;
        let flushed = matches!(flush, Ok(true));
        if let Err(error) = flush {
            self.note("flush-failed", || json!({"why": error.to_string(), "force": force}));
            // Without force a failed flush keeps everything: the data is not lost yet (INV-H5).
            if !force || self.config.defects.leave_devices_on_force {
                if let Some(wwn) = wwn {
                    lock(&self.table).kept(wwn, force);
                }
                return Err(ConnectorError::FlushFailed(error));
            }
        }
        if let Some(wwn) = wwn {
            lock(&self.live).attached.remove(&wwn);
            lock(&self.table).departed(wwn, Departure { flushed, forced: force });
        }
        if let Some(name) = &ours.map {
            let _ = lock(&self.table).remove_map(name);
            self.bury(name);
            self.note("map-removed", || json!({"name": name}));
        }
        self.delete_devices(ours.devices.iter().map(|(at, _)| *at)).await;
        for id in ours.sessions {
            self.drop_session(id).await;
        }
        {
            // Records of portals that never had a session.
            let mut table = lock(&self.table);
            for target in &info.paths {
                let _ = table.remove_node(target.portal, &target.iqn);
            }
        }
        self.note("disconnected", || json!({"volume": info.volume_id.to_string(), "force": force}));
        Ok(())
    }

    /// `Ok(true)`: what was written is on the array, or there was nothing to flush.
    async fn flush(&self, ours: &Ours, force: bool) -> Result<bool, BlockError> {
        if self.config.defects.skip_flush_on_disconnect {
            return Ok(false);
        }
        let map = ours.map.as_ref().and_then(|name| lock(&self.live).maps.get(name).cloned());
        if let Some(map) = map {
            return self.flush_one::<MultipathDevice>(&map, force).await.map(|()| true);
        }
        for (at, _) in &ours.devices {
            let device = lock(&self.live).devices.get(at).cloned();
            if let Some(device) = device {
                self.flush_one::<PathDevice>(&device, force).await?;
            }
        }
        Ok(true)
    }

    async fn flush_one<R: Runner>(&self, device: &Arc<R>, force: bool) -> Result<(), BlockError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let flush = device.run(Op::Flush);
            let result = if force {
                // Whoever forces does not wait for paths to come back.
                match self.env.timeout(self.config.command_timeout, flush).await {
                    Ok(result) => result,
                    Err(_) => Err(BlockError::NoAnswer { message: "the flush took too long".to_owned() }),
                }
            } else {
                flush.await
            };
            match result {
                Ok(_) => return Ok(()),
                // These have waited for paths already.
                Err(
                    error @ (BlockError::NoPath { .. } | BlockError::NoAnswer { .. } | BlockError::Removed),
                ) => {
                    return Err(error);
                }
                Err(error) if tries >= FLUSH_TRIES || force => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// Deletes devices and waits until udev and multipathd have let go of their names; then they are told to (D39).
    pub(super) async fn delete_devices(&self, devices: impl IntoIterator<Item = Hctl>) {
        let devices: Vec<Hctl> = devices.into_iter().collect();
        let names: Vec<String> = {
            let table = lock(&self.table);
            devices.iter().filter_map(|at| table.device(*at)).map(|d| d.name.clone()).collect()
        };
        for at in devices {
            self.delete_device(at);
        }
        if self.config.defects.trust_daemon_list {
            return;
        }
        let gone = |table: &HostTable| names.iter().all(|name| !table.is_settling(name));
        if !self.settle(SETTLE_LIMIT, gone).await {
            let mut table = lock(&self.table);
            names.iter().for_each(|name| table.forget(name));
        }
    }
}
