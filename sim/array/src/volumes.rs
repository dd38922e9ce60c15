//! Commands on LUNs and snapshots.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::access::Access;
use crate::cache::Cache;
use crate::jobs::{Job, JobKind};
use crate::object::{CloneOrigin, DeviceId, Lun, Snapshot, SplitStatus};
use crate::pair::{Pair, PairState};
use crate::services::Labels;
use crate::store::content::extents;
use crate::store::{Content, Counter, EXTENT_BLOCKS, Quota};
use crate::{Array, Outcome, Refusal, Reservations};

/// What the planted defect D78 leaves behind the old end of an extended LUN.
const GARBAGE: u8 = 0x5a;

impl Array {
    pub(crate) fn create_lun(
        &mut self,
        name: String,
        description: String,
        pool: u64,
        blocks: u64,
        thin: bool,
    ) -> Result<Outcome, Refusal> {
        self.admit_device(&name, &description)?;
        self.luns.admits(self.scope, &name, self.limits.devices)?;
        if blocks == 0 || blocks > self.limits.lun_blocks {
            return Err(Refusal::BadParameter);
        }
        let room = self.pool(pool).ok_or(Refusal::NoSuchPool)?.free_extents();
        let needed = if thin { 1 } else { extents(blocks) };
        if needed > room {
            return Err(Refusal::PoolFull);
        }
        let quota = (!thin).then_some(needed);
        let place = self.plant.next_home();
        Ok(self.insert_lun((name, description), (pool, place), Content::empty(blocks), quota, None))
    }

    pub(crate) fn clone_lun(
        &mut self,
        name: String,
        source: DeviceId,
        description: String,
    ) -> Result<Outcome, Refusal> {
        self.admit_device(&name, &description)?;
        self.luns.admits(self.scope, &name, self.limits.devices)?;
        let siblings = self.luns.iter().filter(|lun| lun.origin.is_some_and(|o| o.source == source)).count();
        if siblings >= self.limits.clones {
            return Err(Refusal::LimitReached);
        }
        let (layer, pool, blocks, place) = match source {
            DeviceId::Lun(id) => {
                let lun = self.luns.get_mut(id).ok_or(Refusal::NoSuchLun)?;
                lun.cache.forget_all();
                let (pool, content) = (lun.pool, lun.content.clone());
                let blocks = content.blocks();
                let place = (lun.access.home, lun.owner);
                (self.new_layer(content), pool, blocks, place)
            }
            DeviceId::Snapshot(id) => {
                let snapshot = self.snapshots.get(id).ok_or(Refusal::NoSuchSnapshot)?;
                let layer = Arc::clone(snapshot.layer.as_ref().ok_or(Refusal::NotActivated)?);
                let content = self.snapshot_content(snapshot).ok_or(Refusal::NotActivated)?;
                let (pool, blocks) = (snapshot.pool, snapshot.blocks);
                let place = (snapshot.access.home, snapshot.owner);
                let layer = if self.defects.snapshot_map_misses_new {
                    let content = self.without_new(id, content.clone());
                    self.new_layer(content)
                } else if std::ptr::eq(content, &layer.content) {
                    layer
                } else {
                    self.new_layer(content.clone())
                };
                (layer, pool, blocks, place)
            }
        };
        if layer.content.chain() + 1 > self.limits.chain {
            return Err(Refusal::TooDeep);
        }
        let origin = CloneOrigin { source, overlap_blocks: blocks };
        Ok(self.insert_lun((name, description), (pool, place), Content::over(layer), None, Some(origin)))
    }

    /// Planted defect D18: the content of a snapshot without the extents that the snapshot before it did not have.
    fn without_new(&self, id: u64, mut content: Content) -> Content {
        let Some(of) = self.snapshots.get(id).map(|s| (s.parent, s.activated)) else { return content };
        let older = self.snapshots.iter().filter(|s| s.parent == of.0 && s.id != id && s.activated <= of.1);
        let Some(before) =
            older.filter_map(|s| Some((s.activated, s.layer.as_ref()?))).max_by_key(|(at, _)| *at)
        else {
            return content;
        };
        let mut at = 0;
        while let Some(index) = content.next_visible(at) {
            if before.1.content.visible(index).is_none() {
                content.clear(index);
            }
            at = index + 1;
        }
        content
    }

    fn insert_lun(
        &mut self,
        (name, description): (String, String),
        (pool, (home, owner)): (u64, (u8, u8)),
        content: Content,
        reserved: Option<u64>,
        origin: Option<CloneOrigin>,
    ) -> Outcome {
        let id = self.new_id();
        let quota = reserved.map(|extents| Quota { used: Counter::of_quota(id), extents });
        let (wwn, serial) = self.new_wwn();
        if let Some(pool) = self.pools.get_mut(pool as usize) {
            pool.provisioned += content.blocks();
            pool.reserved += quota.as_ref().map_or(0, |quota| quota.extents);
        }
        if let Some(origin) = &origin {
            self.kin.add_clone(origin.source, id);
        }
        self.luns.insert(Lun {
            id,
            vstore: self.scope,
            name,
            description,
            pool,
            thin: quota.is_none(),
            wwn,
            serial,
            size_generation: 1,
            origin,
            split: SplitStatus::None,
            split_progress: 0,
            groups: BTreeSet::new(),
            created: self.now,
            owner,
            labels: Labels::new(),
            partitions: BTreeMap::new(),
            access: Access::at(home),
            reservations: Reservations::default(),
            cache: Cache::new(self.write_cache),
            content,
            quota,
            stale_view: None,
            broken: false,
        });
        Outcome::Created(id)
    }

    pub(crate) fn rename_lun(
        &mut self,
        lun: u64,
        name: String,
        description: Option<String>,
    ) -> Result<Outcome, Refusal> {
        if !self.luns.contains(lun) {
            return Err(Refusal::NoSuchLun);
        }
        self.check_text(&name, description.as_deref().unwrap_or_default())?;
        self.luns.rename(lun, &name)?;
        if let (Some(lun), Some(description)) = (self.luns.get_mut(lun), description) {
            lun.description = description;
        }
        Ok(Outcome::Done)
    }

    pub(crate) fn expand_lun(&mut self, id: u64, blocks: u64) -> Result<Outcome, Refusal> {
        if self.is_migrating(id) {
            return Err(Refusal::InCopy);
        }
        // Both halves have one size while they are compared; each is extended while the pair rests.
        let rests = |pair: &Pair| !matches!(pair.state, PairState::Normal | PairState::Syncing);
        if self.pair_of_lun(id).is_some_and(|pair| !rests(pair)) {
            return Err(Refusal::Paired);
        }
        let lun = self.luns.get_mut(id).ok_or(Refusal::NoSuchLun)?;
        let old = lun.content.blocks();
        if blocks <= old {
            return Err(Refusal::MustGrow);
        }
        if blocks > self.limits.lun_blocks {
            return Err(Refusal::BadParameter);
        }
        let pool = self.pools.get_mut(lun.pool as usize).ok_or(Refusal::NoSuchPool)?;
        if let Some(quota) = &mut lun.quota {
            let more = extents(blocks) - quota.extents;
            if more > pool.free_extents() {
                return Err(Refusal::PoolFull);
            }
            quota.extents += more;
            pool.reserved += more;
        }
        pool.provisioned += blocks - old;
        lun.cache.forget_all();
        if self.defects.stale_read_after_extend {
            lun.stale_view = Some(lun.content.clone());
        }
        lun.content.grow(blocks);
        lun.size_generation += 1;
        if self.defects.stale_tail_after_extend {
            let stale = (blocks - old).min(EXTENT_BLOCKS) as usize;
            // Without space there is no garbage to leave either.
            let _ =
                lun.content.write(old, &vec![GARBAGE; stale * 512], &pool.space(lun.quota.as_ref()), false);
        }
        Ok(Outcome::Done)
    }

    pub(crate) fn delete_lun(&mut self, id: u64) -> Result<Outcome, Refusal> {
        let lun = self.luns.get(id).ok_or(Refusal::NoSuchLun)?;
        let device = DeviceId::Lun(id);
        if !lun.groups.is_empty() {
            return Err(Refusal::InLunGroup);
        }
        if self.reach.is_exported(id) {
            return Err(Refusal::Exported);
        }
        if self.is_paired(id) {
            return Err(Refusal::Paired);
        }
        if self.snapshots_of(id).next().is_some() {
            return Err(Refusal::HasSnapshots);
        }
        self.refuse_if_source(device)?;
        self.jobs.retain(|_, job| !matches!(job.kind, JobKind::Split { lun } if lun == id));
        if let Some(Lun { pool, content, quota, origin, .. }) = self.luns.remove(id)
            && let Some(pool) = self.pools.get_mut(pool as usize)
        {
            if let Some(origin) = origin {
                self.kin.drop_clone(origin.source, id);
            }
            pool.provisioned -= content.blocks();
            drop(content);
            if let Some(quota) = quota {
                pool.reserved -= quota.extents;
                pool.orphans.push(quota.used);
            }
            pool.orphans.retain(|counter| counter.load(Ordering::Relaxed) > 0);
        }
        self.forget_in_policies(id);
        Ok(Outcome::Done)
    }

    /// Linked clones and copy tasks keep a device from going.
    fn refuse_if_source(&self, device: DeviceId) -> Result<(), Refusal> {
        if self.clones_of(device).next().is_some() {
            return Err(Refusal::HasClones);
        }
        if self.in_copy(device) || self.is_rolling_back(device) { Err(Refusal::InCopy) } else { Ok(()) }
    }

    pub(crate) fn start_split(&mut self, id: u64) -> Result<Outcome, Refusal> {
        if self.is_migrating(id) {
            return Err(Refusal::InCopy);
        }
        let lun = self.luns.get_mut(id).ok_or(Refusal::NoSuchLun)?;
        if lun.origin.is_none() {
            return Err(Refusal::NotAClone);
        }
        if lun.split != SplitStatus::Running {
            lun.cache.forget_all();
            lun.split = SplitStatus::Running;
            lun.split_progress = 0;
            self.start_job(Job::new(JobKind::Split { lun: id }, self.now, self.flatten_rate));
        }
        Ok(Outcome::Done)
    }

    pub(crate) fn stop_split(&mut self, id: u64) -> Result<Outcome, Refusal> {
        let lun = self.luns.get_mut(id).ok_or(Refusal::NoSuchLun)?;
        if lun.split != SplitStatus::Running {
            return Err(Refusal::NoSplit);
        }
        lun.split = SplitStatus::None;
        lun.split_progress = 0;
        self.jobs.retain(|_, job| !matches!(job.kind, JobKind::Split { lun } if lun == id));
        Ok(Outcome::Done)
    }

    pub(crate) fn create_snapshot(
        &mut self,
        name: String,
        description: String,
        parent: u64,
    ) -> Result<Outcome, Refusal> {
        self.admit_device(&name, &description)?;
        self.snapshots.admits(self.scope, &name, self.limits.devices)?;
        let lun = self.luns.get(parent).ok_or(Refusal::NoSuchLun)?;
        let (pool, blocks) = (lun.pool, lun.content.blocks());
        let (home, owner) = (lun.access.home, lun.owner);
        let id = self.new_id();
        let (wwn, serial) = self.new_wwn();
        self.kin.add_snapshot(parent, id);
        self.snapshots.insert(Snapshot {
            id,
            vstore: self.scope,
            name,
            description,
            parent,
            pool,
            wwn,
            serial,
            blocks,
            groups: BTreeSet::new(),
            created: self.now,
            activated: None,
            owner,
            access: Access::at(home),
            reservations: Reservations::default(),
            rollback: None,
            layer: None,
        });
        if self.snapshots_born_active() {
            self.activate_snapshots(&[id])?;
        }
        Ok(Outcome::Created(id))
    }

    pub(crate) fn activate_snapshots(&mut self, ids: &[u64]) -> Result<Outcome, Refusal> {
        if ids.iter().any(|id| !self.snapshots.contains(*id)) {
            return Err(Refusal::NoSuchSnapshot);
        }
        for (at, id) in ids.iter().enumerate() {
            let Some(snapshot) = self.snapshots.get(*id).filter(|snapshot| !snapshot.is_active()) else {
                continue;
            };
            if at > 0 && self.defects.group_snapshot_torn {
                self.torn.push(*id);
            }
            // A snapshot's LUN cannot be deleted before it.
            let Some(lun) = self.luns.get_mut(snapshot.parent) else { continue };
            lun.cache.forget_all();
            let content = lun.content.clone();
            let layer = self.new_layer(content);
            if let Some(snapshot) = self.snapshots.get_mut(*id) {
                snapshot.blocks = layer.content.blocks();
                snapshot.activated = Some(self.now);
                snapshot.layer = Some(layer);
            }
        }
        Ok(Outcome::Done)
    }

    /// Planted: the late ones of a group are frozen now.
    pub(crate) fn freeze_torn(&mut self) {
        for id in std::mem::take(&mut self.torn) {
            let Some(parent) = self.snapshots.get(id).filter(|s| s.is_active()).map(|s| s.parent) else {
                continue;
            };
            let Some(content) = self.luns.get(parent).map(|lun| lun.content.clone()) else { continue };
            let layer = self.new_layer(content);
            if let Some(snapshot) = self.snapshots.get_mut(id) {
                snapshot.layer = Some(layer);
            }
        }
    }

    pub(crate) fn stop_snapshot(&mut self, id: u64) -> Result<Outcome, Refusal> {
        let snapshot = self.snapshots.get(id).ok_or(Refusal::NoSuchSnapshot)?;
        if snapshot.is_active() {
            if !snapshot.groups.is_empty() {
                return Err(Refusal::InLunGroup);
            }
            // Its content is gone afterwards, so that whatever needs it comes first.
            self.refuse_if_source(DeviceId::Snapshot(id))?;
            if let Some(snapshot) = self.snapshots.get_mut(id) {
                snapshot.layer = None;
                snapshot.activated = None;
            }
        }
        Ok(Outcome::Done)
    }

    pub(crate) fn rename_snapshot(
        &mut self,
        id: u64,
        name: String,
        description: Option<String>,
    ) -> Result<Outcome, Refusal> {
        if !self.snapshots.contains(id) {
            return Err(Refusal::NoSuchSnapshot);
        }
        self.check_text(&name, description.as_deref().unwrap_or_default())?;
        self.snapshots.rename(id, &name)?;
        if let (Some(snapshot), Some(description)) = (self.snapshots.get_mut(id), description) {
            snapshot.description = description;
        }
        Ok(Outcome::Done)
    }

    pub(crate) fn delete_snapshot(&mut self, id: u64) -> Result<Outcome, Refusal> {
        let snapshot = self.snapshots.get(id).ok_or(Refusal::NoSuchSnapshot)?;
        if !snapshot.groups.is_empty() {
            return Err(Refusal::InLunGroup);
        }
        self.refuse_if_source(DeviceId::Snapshot(id))?;
        if snapshot.is_active() {
            return Err(Refusal::Activated);
        }
        if let Some(snapshot) = self.snapshots.remove(id) {
            self.kin.drop_snapshot(snapshot.parent, id);
        }
        Ok(Outcome::Done)
    }

    fn admit_device(&self, name: &str, description: &str) -> Result<(), Refusal> {
        self.check_text(name, description)?;
        if self.luns.len() + self.snapshots.len() >= self.limits.devices {
            Err(Refusal::LimitReached)
        } else {
            Ok(())
        }
    }

    /// The content that a snapshot shows; none while it is inactive.
    pub(crate) fn snapshot_content<'a>(&'a self, snapshot: &'a Snapshot) -> Option<&'a Content> {
        let frozen = &snapshot.layer.as_ref()?.content;
        if self.defects.snapshot_not_frozen
            && let Some(lun) = self.luns.get(snapshot.parent)
        {
            return Some(&lun.content);
        }
        Some(frozen)
    }
}
