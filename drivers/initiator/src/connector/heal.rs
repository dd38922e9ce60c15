//! Between calls: paths that their map expelled are removed, and paths that were missing when a volume was attached, or were
//! expelled, join its map once they work (MPX-008, MPX-012).

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use sanbench_api::{ConnectionInfo, Wwn};
use sanbench_world::Env;
use serde_json::json;

use super::Inner;
use super::connect::{Effort, Found, Made, Way};
use crate::lock;

/// How long a portal may take to accept a connection before it is left for the next round.
const REACH: Duration = Duration::from_secs(2);
/// The pause between rounds doubles up to this many times the first one.
const MAX_PAUSE: u32 = 12;

impl Inner {
    /// Starts the task, when there is something to do and it does not run yet.
    pub(super) fn heal_later(self: &Arc<Self>) {
        if !self.has_work() || self.healing.swap(true, Ordering::SeqCst) {
            return;
        }
        self.env.spawn(keep_healing(self.env.clone(), Arc::downgrade(self), self.config.paths.heal_after));
    }

    fn has_work(&self) -> bool {
        !lock(&self.expelled).is_empty() || !self.missing().is_empty()
    }

    /// The attached volumes with a map, and the ways of each that have no device.
    fn missing(&self) -> Vec<(Wwn, ConnectionInfo)> {
        let mut attached: Vec<(Wwn, ConnectionInfo)> =
            lock(&self.live).attached.iter().map(|(wwn, info)| (*wwn, info.clone())).collect();
        let table = lock(&self.table);
        attached.retain(|(wwn, info)| {
            info.multipath
                && table.map_of(wwn).is_some()
                && self.ways(info).iter().any(|way| !Self::has_path(&table, wwn, *way))
        });
        attached
    }

    fn has_path(table: &crate::host::HostTable, wwn: &Wwn, way: Way<'_>) -> bool {
        let target = way.target;
        let Some(id) = table.session(target.portal, &target.iqn, way.interface) else { return false };
        let device = table.device(crate::host::Hctl::new(id, target.lun));
        device.is_some_and(|d| d.wwn == Some(*wwn) && table.holder(&d.name).is_some())
    }

    /// Removes the devices that maps expelled. Whoever calls has the lock.
    async fn remove_expelled(&self) {
        let names = std::mem::take(&mut *lock(&self.expelled));
        let found: Vec<_> = {
            let table = lock(&self.table);
            table.devices().filter(|(_, d)| names.contains(&d.name)).map(|(at, _)| at).collect()
        };
        for at in found {
            // The name may belong to another device by now: only one that shows a stranger goes.
            let device = lock(&self.live).devices.get(&at).cloned();
            let Some(device) = device else { continue };
            let last = {
                let table = lock(&self.table);
                let name = table.device(at).map(|d| d.name.clone()).unwrap_or_default();
                table.holder(&name).is_some_and(|(_, map)| map.paths.len() <= 1)
            };
            // The last path of a map stays with it: the volume is attached until it is disconnected.
            if last || device.confirm().await.is_ok() {
                continue;
            }
            self.note("path-removed", || json!({"hctl": at.to_string()}));
            self.delete_devices([at]).await;
            if !lock(&self.table).session_in_use(at.host) {
                self.drop_session(at.host).await;
            }
        }
    }

    /// Tries the reachable missing ways once. Whoever calls has the lock.
    async fn heal(self: &Arc<Self>, reachable: &[std::net::SocketAddr]) {
        for (wwn, info) in self.missing() {
            for way in self.ways(&info) {
                let lacking = !Self::has_path(&lock(&self.table), &wwn, way);
                if !lacking || !reachable.contains(&way.target.portal) {
                    continue;
                }
                let made = Mutex::new(Made::default());
                let joined = match self.path(&info, way, Effort::ONCE, &made).await {
                    Ok(found) => self.join(&wwn, found, &made).await,
                    Err(_) => false,
                };
                if !joined {
                    self.undo(made.into_inner().unwrap_or_else(PoisonError::into_inner)).await;
                }
            }
        }
    }

    /// Adds a path to its map, when it shows the same volume in the same size: one of another size waits for the rescan that
    /// an extend makes (D45).
    async fn join(self: &Arc<Self>, wwn: &Wwn, found: Found, made: &Mutex<Made>) -> bool {
        let size = lock(&self.table).map_of(wwn).map(|(_, map)| map.size_bytes);
        let same = size == Some(found.blocks.saturating_mul(u64::from(sanbench_api::BLOCK_SIZE)));
        if found.wwn != *wwn || !same {
            self.note("path-not-merged", || json!({"name": found.name, "blocks": found.blocks}));
            return false;
        }
        let name = found.name.clone();
        let joined = self.build_map(&[found], made).await.is_ok();
        if joined {
            self.note("path-joined", || json!({"name": name, "wwn": wwn.to_string()}));
        }
        joined
    }

    /// The portals of missing ways that accept a connection now. Asked without the lock, so that a dead one delays nobody.
    async fn reachable(&self) -> Vec<std::net::SocketAddr> {
        let mut portals: Vec<_> =
            self.missing().iter().flat_map(|(_, info)| info.paths.iter().map(|p| p.portal)).collect();
        portals.sort_unstable();
        portals.dedup();
        let mut reachable = Vec::new();
        for portal in portals {
            let connected = match self.config.sources.get(&portal) {
                Some(source) => self.env.timeout(REACH, self.env.connect_from(*source, portal)).await,
                None => self.env.timeout(REACH, self.env.connect(portal)).await,
            };
            if matches!(connected, Ok(Ok(_))) {
                reachable.push(portal);
            }
        }
        reachable
    }
}

async fn keep_healing(env: Env, inner: Weak<Inner>, first: Duration) {
    let mut pause = first;
    loop {
        let Some(strong) = inner.upgrade() else { return };
        let urgent = !lock(&strong.expelled).is_empty();
        drop(strong);
        if !urgent {
            env.sleep(pause).await;
            pause = (pause * 2).min(first * MAX_PAUSE);
        }
        let Some(strong) = inner.upgrade() else { return };
        let reachable = strong.reachable().await;
        let gate = strong.gate.clone().lock_owned().await;
        strong.remove_expelled().await;
        strong.heal(&reachable).await;
        if !strong.has_work() {
            strong.healing.store(false, Ordering::SeqCst);
            // Whatever comes from here on finds the flag down and starts a task of its own.
            if !strong.has_work() || strong.healing.swap(true, Ordering::SeqCst) {
                return;
            }
        }
        drop(gate);
    }
}
