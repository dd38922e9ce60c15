//! An array in memory: volumes with content, snapshots, mappings; and a driver for it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use sanbench_api::{
    AccessMode, BLOCK_SIZE, BackendStats, BlockDevice, BlockError, Capacity, ConnectionInfo,
    ConnectorProperties, DriverError, LbaRange, LbaState, ModelUpdate, OverSubscription, PoolStats,
    RefusalKind, SnapshotId, SnapshotRef, TargetPath, VolumeDriver, VolumeId, VolumeRef, Wwn, async_trait,
};

const BLOCK: usize = BLOCK_SIZE as usize;

pub(super) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Content of a volume: blocks that were written, everything else zero. Knows what was not flushed.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk {
    blocks: BTreeMap<u64, [u8; BLOCK]>,
    capacity: u64,
    unflushed: u64,
}

impl MemoryDisk {
    /// One block.
    pub fn block(&self, lba: u64) -> [u8; BLOCK] {
        self.blocks.get(&lba).copied().unwrap_or([0; BLOCK])
    }

    /// Writes that no flush followed.
    pub fn unflushed(&self) -> u64 {
        self.unflushed
    }

    /// Capacity in blocks.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    fn copy(&self, gib: u64) -> Self {
        Self { blocks: self.blocks.clone(), capacity: blocks(gib), unflushed: 0 }
    }
}

fn blocks(gib: u64) -> u64 {
    gib << 21
}

#[derive(Debug, Clone)]
pub(super) struct Lun {
    pub(super) gib: u64,
    pub(super) disk: Arc<Mutex<MemoryDisk>>,
    pub(super) wwn: Wwn,
    pub(super) parent: Option<VolumeId>,
    pub(super) pool: String,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) luns: BTreeMap<VolumeId, Lun>,
    pub(super) snapshots: BTreeMap<SnapshotId, (VolumeId, Lun)>,
    pub(super) mappings: BTreeSet<(VolumeId, String)>,
    /// Errors to answer next, by operation; `true` does the work first and loses the answer.
    script: BTreeMap<&'static str, VecDeque<(DriverError, bool)>>,
    calls: Vec<&'static str>,
}

/// The array. Clones share it; it outlives crashes of the control node.
#[derive(Debug, Clone, Default)]
pub struct FakeArray(pub(super) Arc<Mutex<State>>);

impl FakeArray {
    /// The next call of `operation` (a method name of the driver trait) fails; with `after`, its work is done.
    pub fn fail_next(&self, operation: &'static str, error: DriverError, after: bool) {
        held(&self.0).script.entry(operation).or_default().push_back((error, after));
    }

    /// What exists, for people: volumes, snapshots, mappings.
    pub fn objects(&self) -> Vec<String> {
        let state = held(&self.0);
        let luns = state.luns.keys().map(|id| format!("LUN of {id}"));
        let snapshots = state.snapshots.keys().map(|id| format!("snapshot {id}"));
        let maps = state.mappings.iter().map(|(id, host)| format!("mapping of {id} to {host}"));
        luns.chain(snapshots).chain(maps).collect()
    }

    /// Hosts that a volume is mapped to.
    pub fn mapped_to(&self, volume: VolumeId) -> Vec<String> {
        held(&self.0).mappings.iter().filter(|(id, _)| *id == volume).map(|(_, h)| h.clone()).collect()
    }

    /// Size of a volume's LUN in GiB.
    pub fn size_gib(&self, volume: VolumeId) -> Option<u64> {
        held(&self.0).luns.get(&volume).map(|l| l.gib)
    }

    /// Pool of a volume's LUN.
    pub fn pool(&self, volume: VolumeId) -> Option<String> {
        held(&self.0).luns.get(&volume).map(|l| l.pool.clone())
    }

    /// The volume it depends on.
    pub fn parent(&self, volume: VolumeId) -> Option<VolumeId> {
        held(&self.0).luns.get(&volume).and_then(|l| l.parent)
    }

    /// Content of a volume.
    pub fn disk(&self, volume: VolumeId) -> Option<Arc<Mutex<MemoryDisk>>> {
        held(&self.0).luns.get(&volume).map(|l| Arc::clone(&l.disk))
    }

    /// Driver calls so far, in order.
    pub fn calls(&self) -> Vec<&'static str> {
        held(&self.0).calls.clone()
    }
}

/// The driver of a [`FakeArray`] for one back end.
#[derive(Debug, Clone)]
pub struct FakeDriver {
    array: FakeArray,
    backend_name: String,
    pools: Vec<(String, f64)>,
}

impl FakeDriver {
    /// A back end with pools of the given sizes in GiB.
    pub fn new(array: &FakeArray, backend_name: &str, pools: &[(&str, f64)]) -> Self {
        Self {
            array: array.clone(),
            backend_name: backend_name.to_owned(),
            pools: pools.iter().map(|(name, gib)| ((*name).to_owned(), *gib)).collect(),
        }
    }

    fn call<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&mut State) -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        let mut state = held(&self.array.0);
        state.calls.push(operation);
        match state.script.get_mut(operation).and_then(VecDeque::pop_front) {
            Some((error, false)) => Err(error),
            Some((error, true)) => work(&mut state).and(Err(error)),
            None => work(&mut state),
        }
    }
}

fn wwn(id: VolumeId) -> Wwn {
    Wwn(*id.0.as_bytes())
}

fn lun(volume: &VolumeRef, disk: MemoryDisk, parent: Option<VolumeId>) -> Lun {
    Lun {
        gib: volume.size_gib,
        disk: Arc::new(Mutex::new(disk)),
        wwn: wwn(volume.name_id),
        parent,
        pool: volume.pool.clone(),
    }
}

fn missing(what: &str) -> DriverError {
    DriverError::refused(RefusalKind::NotFound, format!("{what} does not exist"))
}

fn made(volume: &VolumeRef) -> ModelUpdate {
    ModelUpdate { provider_id: Some(volume.name_id.to_string()), ..ModelUpdate::default() }
}

#[async_trait]
impl VolumeDriver for FakeDriver {
    async fn do_setup(&self) -> Result<(), DriverError> {
        self.call("do_setup", |_| Ok(()))
    }

    async fn shutdown(&self) {}

    async fn get_volume_stats(&self) -> Result<BackendStats, DriverError> {
        self.call("get_volume_stats", |state| {
            let pools = self.pools.iter().map(|(name, total)| {
                let used: u64 = state.luns.values().filter(|l| l.pool == *name).map(|l| l.gib).sum();
                let used = u32::try_from(used).map_or(f64::MAX, f64::from);
                PoolStats {
                    pool_name: name.clone(),
                    total_capacity_gb: Capacity::Gib(*total),
                    free_capacity_gb: Capacity::Gib(*total),
                    provisioned_capacity_gb: Some(used),
                    reserved_percentage: 0,
                    max_over_subscription_ratio: OverSubscription::Ratio(1.0),
                    thin_provisioning_support: true,
                    thick_provisioning_support: true,
                    multiattach: true,
                    online_extend_support: true,
                    capabilities: BTreeMap::new(),
                }
            });
            Ok(BackendStats {
                volume_backend_name: self.backend_name.clone(),
                vendor_name: "fake".into(),
                driver_version: "1".into(),
                storage_protocol: "iSCSI".into(),
                pools: pools.collect(),
            })
        })
    }

    async fn create_volume(&self, volume: &VolumeRef) -> Result<ModelUpdate, DriverError> {
        self.call("create_volume", |state| {
            if state.luns.get(&volume.name_id).is_some_and(|l| l.gib != volume.size_gib) {
                return Err(DriverError::refused(RefusalKind::Exists, "another size under that name"));
            }
            let disk = MemoryDisk::default().copy(volume.size_gib);
            state.luns.entry(volume.name_id).or_insert_with(|| lun(volume, disk, None));
            Ok(made(volume))
        })
    }

    async fn delete_volume(&self, volume: &VolumeRef) -> Result<(), DriverError> {
        self.call("delete_volume", |state| {
            if state.mappings.iter().any(|(id, _)| *id == volume.name_id) {
                return Err(DriverError::refused(RefusalKind::Busy, "mapped"));
            }
            if state.snapshots.values().any(|(of, _)| *of == volume.name_id) {
                return Err(DriverError::refused(RefusalKind::Busy, "has snapshots"));
            }
            state.luns.remove(&volume.name_id);
            Ok(())
        })
    }

    async fn create_snapshot(&self, snapshot: &SnapshotRef) -> Result<ModelUpdate, DriverError> {
        self.call("create_snapshot", |state| {
            let of = snapshot.volume.name_id;
            let source = state.luns.get(&of).ok_or_else(|| missing("LUN"))?;
            let frozen =
                Lun { disk: Arc::new(Mutex::new(held(&source.disk).copy(source.gib))), ..source.clone() };
            state.snapshots.entry(snapshot.id).or_insert((of, frozen));
            Ok(ModelUpdate::default())
        })
    }

    async fn delete_snapshot(&self, snapshot: &SnapshotRef) -> Result<(), DriverError> {
        self.call("delete_snapshot", |state| {
            state.snapshots.remove(&snapshot.id);
            Ok(())
        })
    }

    async fn create_volume_from_snapshot(
        &self,
        volume: &VolumeRef,
        snapshot: &SnapshotRef,
    ) -> Result<ModelUpdate, DriverError> {
        self.call("create_volume_from_snapshot", |state| {
            let (of, source) = state.snapshots.get(&snapshot.id).ok_or_else(|| missing("snapshot"))?;
            let disk = held(&source.disk).copy(volume.size_gib);
            let new = lun(volume, disk, Some(*of));
            state.luns.entry(volume.name_id).or_insert(new);
            Ok(made(volume))
        })
    }

    async fn create_cloned_volume(
        &self,
        volume: &VolumeRef,
        source: &VolumeRef,
    ) -> Result<ModelUpdate, DriverError> {
        self.call("create_cloned_volume", |state| {
            let from = state.luns.get(&source.name_id).ok_or_else(|| missing("source"))?;
            let disk = held(&from.disk).copy(volume.size_gib);
            let new = lun(volume, disk, Some(source.name_id));
            state.luns.entry(volume.name_id).or_insert(new);
            Ok(made(volume))
        })
    }

    async fn extend_volume(&self, volume: &VolumeRef, new_size_gib: u64) -> Result<(), DriverError> {
        self.call("extend_volume", |state| {
            let lun = state.luns.get_mut(&volume.name_id).ok_or_else(|| missing("LUN"))?;
            if new_size_gib < lun.gib {
                return Err(DriverError::refused(RefusalKind::InvalidInput, "cannot shrink"));
            }
            lun.gib = new_size_gib;
            held(&lun.disk).capacity = blocks(new_size_gib);
            Ok(())
        })
    }

    async fn flatten_volume(&self, volume: &VolumeRef) -> Result<(), DriverError> {
        self.call("flatten_volume", |state| {
            state.luns.get_mut(&volume.name_id).ok_or_else(|| missing("LUN"))?.parent = None;
            Ok(())
        })
    }

    async fn initialize_connection(
        &self,
        volume: &VolumeRef,
        connector: &ConnectorProperties,
    ) -> Result<ConnectionInfo, DriverError> {
        self.call("initialize_connection", |state| {
            let wwn = state.luns.get(&volume.name_id).ok_or_else(|| missing("LUN"))?.wwn;
            state.mappings.insert((volume.name_id, connector.host.clone()));
            let portal = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 3260);
            Ok(ConnectionInfo {
                driver_volume_type: "iscsi".into(),
                volume_id: volume.id,
                paths: vec![TargetPath { portal, iqn: "iqn.2026-01.test:array".into(), lun: 1 }],
                auth: None,
                wwn: Some(wwn),
                access_mode: AccessMode::ReadWrite,
                discard: false,
                multipath: connector.multipath,
                enforce_multipath: connector.enforce_multipath,
            })
        })
    }

    async fn terminate_connection(
        &self,
        volume: &VolumeRef,
        connector: Option<&ConnectorProperties>,
        _force: bool,
    ) -> Result<bool, DriverError> {
        self.call("terminate_connection", |state| {
            state
                .mappings
                .retain(|(id, host)| *id != volume.name_id || connector.is_some_and(|c| c.host != *host));
            Ok(state.mappings.iter().any(|(id, _)| *id == volume.name_id))
        })
    }
}

/// The data plane of a connected [`FakeArray`] volume.
pub(super) struct FakeDevice {
    pub(super) disk: Arc<Mutex<MemoryDisk>>,
    pub(super) wwn: Wwn,
    pub(super) read_only: bool,
    pub(super) gone: Arc<std::sync::atomic::AtomicBool>,
}

impl FakeDevice {
    fn check(&self, lba: u64, count: u64) -> Result<(), BlockError> {
        if self.gone.load(std::sync::atomic::Ordering::Acquire) {
            return Err(BlockError::Removed);
        }
        let capacity = held(&self.disk).capacity;
        match lba.checked_add(count) {
            Some(end) if end <= capacity => Ok(()),
            _ => Err(BlockError::OutOfRange { lba, blocks: count, capacity }),
        }
    }
}

#[async_trait]
impl BlockDevice for FakeDevice {
    fn capacity_blocks(&self) -> u64 {
        held(&self.disk).capacity
    }

    fn wwn(&self) -> Wwn {
        self.wwn
    }

    async fn read(&self, lba: u64, count: u32) -> Result<Bytes, BlockError> {
        self.check(lba, u64::from(count))?;
        let disk = held(&self.disk);
        let mut out = BytesMut::with_capacity(count as usize * BLOCK);
        for at in lba..lba + u64::from(count) {
            out.extend_from_slice(&disk.block(at));
        }
        Ok(out.freeze())
    }

    async fn write(&self, lba: u64, data: Bytes) -> Result<(), BlockError> {
        self.check(lba, (data.len() / BLOCK) as u64)?;
        if self.read_only {
            return Err(BlockError::Sense { key: 7, asc: 0x27, ascq: 0, text: "write protected".into() });
        }
        let mut disk = held(&self.disk);
        for (at, piece) in (lba..).zip(data.chunks_exact(BLOCK)) {
            let mut block = [0; BLOCK];
            block.copy_from_slice(piece);
            disk.blocks.insert(at, block);
        }
        disk.unflushed += 1;
        Ok(())
    }

    async fn flush(&self) -> Result<(), BlockError> {
        self.check(0, 0)?;
        held(&self.disk).unflushed = 0;
        Ok(())
    }

    async fn unmap(&self, ranges: &[(u64, u32)]) -> Result<(), BlockError> {
        for (lba, count) in ranges {
            self.check(*lba, u64::from(*count))?;
            let mut disk = held(&self.disk);
            for at in *lba..lba + u64::from(*count) {
                disk.blocks.remove(&at);
            }
        }
        Ok(())
    }

    async fn lba_status(&self, lba: u64) -> Result<Vec<LbaRange>, BlockError> {
        self.check(lba, 1)?;
        let mapped = held(&self.disk).blocks.contains_key(&lba);
        let state = if mapped { LbaState::Mapped } else { LbaState::Deallocated };
        Ok(vec![LbaRange { lba, blocks: 1, state }])
    }
}
