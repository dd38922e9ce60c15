//! Extend: one size on all paths and the map (os-brick's order).

use std::collections::BTreeSet;
use std::sync::Arc;

use sanbench_api::{ConnectionInfo, ConnectorError};
use serde_json::json;

use super::Inner;
use super::disconnect::ours;
use crate::device::{PathDevice, PathFault};
use crate::host::Hctl;
use crate::lock;
use crate::multipath::alua::Access;

/// Readings of all paths until they agree.
const READINGS: u32 = 3;

impl Inner {
    /// Makes all paths and the map show the present size, or none (INV-H8). Answers it in bytes.
    pub(super) async fn extend(self: &Arc<Self>, info: &ConnectionInfo) -> Result<u64, ConnectorError> {
        let ours = ours(&self.settled_table(), info, self.config.defects);
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
        // Every path must work before anything is changed. One whose connection has just ended gets the time to log in again:
        // a rescan blocks while the session is recovered, and does not fail.
        let deadline = self.env.now().saturating_add(self.config.path_grace);
        let mut refusing = BTreeSet::new();
        for (at, name, device) in &paths {
            let readable = loop {
                match device.check_readable().await {
                    Err(PathFault::NotSent(_) | PathFault::Lost { .. })
                        if device.comes_back(deadline).await => {}
                    other => break other,
                }
            };
            match readable {
                Ok(()) => {}
                // A path in standby answers for its identity only; it takes over what the others show.
                Err(PathFault::Block(error)) if Access::from_refusal(&error).is_some() => {
                    device.confirm().await.map_err(|f| unreadable(name, f))?;
                    refusing.insert(*at);
                }
                Err(fault) => return Err(unreadable(name, fault)),
            }
        }
        let answering: Vec<_> = paths.iter().filter(|(at, ..)| !refusing.contains(at)).collect();
        let mut sizes = Vec::new();
        // The volume may grow once more between two readings: only sizes that stay different are refused.
        for _ in 0..READINGS {
            sizes.clear();
            for (at, name, device) in &answering {
                let blocks = device.read_capacity().await.map_err(|f| unreadable(name, f))?;
                sizes.push((*at, name, device, blocks));
            }
            if sizes.windows(2).all(|pair| pair[0].3 == pair[1].3) {
                break;
            }
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
        for (at, _, device) in paths.iter().filter(|(at, ..)| refusing.contains(at)) {
            device.set_capacity(blocks);
            let _ = lock(&self.table).resize_device(now, *at, bytes);
        }
        if let Some(name) = ours.map.as_ref().filter(|_| !self.config.defects.skip_map_resize) {
            self.resize_map(name, blocks);
        }
        // A path that could not join because of its size may join now.
        self.heal_later();
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
