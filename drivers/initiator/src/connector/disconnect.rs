//! Disconnect in os-brick's order, and extend.

use std::collections::BTreeSet;
use std::sync::Arc;

use sanbench_api::{BlockError, ConnectionInfo, ConnectorError};
use serde_json::json;

use super::{Inner, SETTLE_LIMIT};
use crate::device::{PathDevice, PathFault};
use crate::disk::Runner;
use crate::host::{Hctl, HostTable, SessionId};
use crate::lock;
use crate::multipath::MultipathDevice;
use crate::scsi::Op;

/// Flushes tried before a disconnect fails, when the device answers at all.
const FLUSH_TRIES: u32 = 3;

/// What belongs to a volume on this host.
struct Ours {
    devices: Vec<(Hctl, String)>,
    map: Option<String>,
    sessions: BTreeSet<SessionId>,
}

fn ours(table: &HostTable, info: &ConnectionInfo) -> Ours {
    let mut devices = Vec::new();
    let mut sessions = BTreeSet::new();
    for target in &info.paths {
        let Some(id) = table.session(target.portal, &target.iqn) else { continue };
        sessions.insert(id);
        let at = Hctl::new(id, target.lun);
        // At our LUN may sit another volume by now, or still; that one is not ours to remove.
        if let Some(device) = table.device(at)
            && (info.wwn.is_none() || device.wwn.is_none() || device.wwn == info.wwn)
        {
            devices.push((at, device.name.clone()));
        }
    }
    // The volume may also be here under another LUN, from an earlier connection info.
    if info.wwn.is_some() {
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
        let ours = ours(&self.settled_table(), info);
        if let Err(error) = self.flush(&ours, force).await {
            self.note("flush-failed", || json!({"why": error.to_string(), "force": force}));
            // Without force a failed flush keeps everything: the data is not lost yet (INV-H5).
            if !force || self.config.defects.leave_devices_on_force {
                return Err(ConnectorError::FlushFailed(error));
            }
        }
        if let Some(name) = &ours.map {
            let _ = lock(&self.table).remove_map(name);
            let map = lock(&self.live).maps.remove(name);
            if let Some(map) = map {
                map.remove();
            }
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

    async fn flush(&self, ours: &Ours, force: bool) -> Result<(), BlockError> {
        if self.config.defects.skip_flush_on_disconnect {
            return Ok(());
        }
        let map = ours.map.as_ref().and_then(|name| lock(&self.live).maps.get(name).cloned());
        if let Some(map) = map {
            return self.flush_one::<MultipathDevice>(&map, force).await;
        }
        for (at, _) in &ours.devices {
            let device = lock(&self.live).devices.get(at).cloned();
            if let Some(device) = device {
                self.flush_one::<PathDevice>(&device, force).await?;
            }
        }
        Ok(())
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
        let gone = |table: &HostTable| names.iter().all(|name| !table.is_settling(name));
        if !self.settle(SETTLE_LIMIT, gone).await {
            let mut table = lock(&self.table);
            names.iter().for_each(|name| table.forget(name));
        }
    }

    /// Makes all paths and the map show the present size, or none (INV-H8). Answers it in bytes.
    pub(super) async fn extend(&self, info: &ConnectionInfo) -> Result<u64, ConnectorError> {
        let ours = ours(&self.settled_table(), info);
        let mut paths: Vec<(Hctl, String, Arc<PathDevice>)> = Vec::new();
        for (at, name) in &ours.devices {
            if let Some(device) = lock(&self.live).devices.get(at).cloned() {
                paths.push((*at, name.clone(), device));
            }
        }
        if self.config.defects.extend_one_path_only {
            paths.truncate(1);
        }
        let unreadable = |name: &str, fault: PathFault| ConnectorError::UnequalPaths {
            message: format!("{name} cannot be read: {}", describe(fault)),
        };
        // Every path must work before anything is changed.
        for (_, name, device) in &paths {
            device.check_readable().await.map_err(|f| unreadable(name, f))?;
        }
        let mut sizes = Vec::new();
        for (at, name, device) in &paths {
            let blocks = device.read_capacity().await.map_err(|f| unreadable(name, f))?;
            sizes.push((*at, name, device, blocks));
        }
        let Some(blocks) = sizes.first().map(|(.., blocks)| *blocks) else {
            let lun = info.paths.first().map_or(0, |p| p.lun);
            return Err(ConnectorError::DeviceNotFound { lun, scans: 0 });
        };
        if sizes.iter().any(|(.., b)| *b != blocks) {
            let all = sizes.iter().map(|(_, name, _, b)| format!("{name}={b} blocks"));
            return Err(ConnectorError::UnequalPaths { message: all.collect::<Vec<_>>().join(", ") });
        }
        let bytes = blocks.saturating_mul(u64::from(sanbench_api::BLOCK_SIZE));
        let now = self.env.now();
        for (at, _, device, _) in &sizes {
            device.set_capacity(blocks);
            let _ = lock(&self.table).resize_device(now, *at, bytes);
        }
        if let Some(name) = &ours.map {
            let _ = lock(&self.table).resize_map(name, bytes);
            if let Some(map) = lock(&self.live).maps.get(name) {
                map.set_capacity(blocks);
            }
        }
        self.note("extended", || json!({"volume": info.volume_id.to_string(), "bytes": bytes}));
        Ok(bytes)
    }
}

fn describe(fault: PathFault) -> String {
    match fault {
        PathFault::NotSent(why) | PathFault::Lost { why, .. } => why,
        PathFault::Aborted => "timed out".to_owned(),
        PathFault::Stranger(_) => "it is another volume now".to_owned(),
        PathFault::Block(error) => error.to_string(),
    }
}
