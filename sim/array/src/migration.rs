//! LUN migration: a LUN moves to the place of another one, under the feet of its hosts.
//!
//! A job copies the LUN's content into the target while hosts go on writing to the LUN. Behind its end it looks for what
//! has changed since and copies that as well; when nothing differs (or after some rounds, all at once) the two LUNs
//! exchange content, pool and allocation. Identity stays: id, name, WWN, mappings, reservations, controllers. Nothing that a
//! host wrote is lost at any time, and a migration that fails or is given up leaves the LUN as it is.

use crate::jobs::{Job, JobKind, paced};
use crate::object::{CopyStatus, DeviceId, Migration, SplitStatus};
use crate::store::Content;
use crate::{Array, Outcome, Refusal};

/// Rounds over the content after which the rest is copied at once, so that a busy LUN arrives too.
const ROUNDS: u32 = 4;

/// The first extent at or after `from` that the two show differently, or may.
pub(crate) fn next_difference(one: &Content, other: &Content, mut from: u64) -> Option<u64> {
    loop {
        let next = [one.next_visible(from), other.next_visible(from)];
        let index = next.into_iter().flatten().min()?;
        match (one.visible(index), other.visible(index)) {
            (Some(a), Some(b)) if a.body.is_same(&b.body) => from = index + 1,
            _ => return Some(index),
        }
    }
}

impl Array {
    pub(crate) fn create_migration(&mut self, id: u64, target: u64, speed: u8) -> Result<Outcome, Refusal> {
        let lun = self.luns.get(id).ok_or(Refusal::NoSuchLun)?;
        let other = self.luns.get(target).ok_or(Refusal::NoSuchLun)?;
        if id == target
            || lun.blocks() != other.blocks()
            || other.origin.is_some()
            || !other.groups.is_empty()
        {
            return Err(Refusal::BadCopyTarget);
        }
        if self.is_paired(id) || self.is_paired(target) {
            return Err(Refusal::Paired);
        }
        // Both must stay what they are until the exchange.
        let busy = |device| self.in_copy(device) || self.is_rolling_back(device);
        if lun.split == SplitStatus::Running || busy(DeviceId::Lun(id)) || busy(DeviceId::Lun(target)) {
            return Err(Refusal::InCopy);
        }
        if self.snapshots_of(target).next().is_some() {
            return Err(Refusal::HasSnapshots);
        }
        if self.migrations.len() >= self.limits.objects {
            return Err(Refusal::LimitReached);
        }
        let task =
            Migration { id, vstore: self.scope, target, speed, status: CopyStatus::Running, progress: 0 };
        self.migrations.insert(id, task);
        let kind = JobKind::Migration { lun: id, target, round: 0 };
        self.start_job(Job::new(kind, self.now, paced(self.copy_rate, speed)));
        Ok(Outcome::Created(id))
    }

    pub(crate) fn delete_migration(&mut self, id: u64) -> Result<Outcome, Refusal> {
        self.migrations.remove(&id).ok_or(Refusal::NoSuchMigration)?;
        self.jobs.retain(|_, job| !matches!(job.kind, JobKind::Migration { lun, .. } if lun == id));
        Ok(Outcome::Done)
    }

    /// Copies the next extent that differs. In the last rounds all of them at once, and then the LUNs change places, if they
    /// may.
    pub(crate) fn migrate_step(
        &mut self,
        (lun, target): (u64, u64),
        (from, round): (u64, u32),
        (may_copy, may_end): (bool, bool),
    ) -> MigrateStep {
        let Some(source) = self.luns.get(lun).map(|lun| lun.content.clone()) else {
            return MigrateStep::Failed;
        };
        let at_once = round >= ROUNDS;
        let mut from = from;
        loop {
            let Some(other) = self.luns.get_mut(target) else { return MigrateStep::Failed };
            let Some(index) = next_difference(&source, &other.content, from) else {
                if from > 0 {
                    // Look again from the start for what hosts have changed behind the cursor.
                    return MigrateStep::NextRound;
                }
                if !may_end {
                    return MigrateStep::Ready;
                }
                drop(source);
                self.exchange(lun, target);
                return MigrateStep::Finished;
            };
            if !may_copy && !at_once {
                return MigrateStep::Wait;
            }
            let Some(pool) = self.pools.get(other.pool as usize) else { return MigrateStep::Failed };
            let space = pool.space(other.quota.as_ref());
            if other.content.copy_extent(index, &source, &space).is_err() {
                return MigrateStep::Failed;
            }
            other.cache.forget(index); // copies go to the medium
            if !at_once {
                return MigrateStep::Copied(index);
            }
            from = index + 1;
        }
    }

    /// Exchanges content and placement of two LUNs of one size.
    fn exchange(&mut self, one: u64, other: u64) {
        let Some(mut away) = self.luns.remove(other) else { return };
        // Its target is no clone.
        if let Some(origin) = self.luns.get(one).and_then(|lun| lun.origin) {
            self.kin.drop_clone(origin.source, one);
            self.kin.add_clone(origin.source, other);
        }
        if let Some(lun) = self.luns.get_mut(one) {
            lun.cache.forget_all();
            away.cache.forget_all();
            std::mem::swap(&mut lun.content, &mut away.content);
            std::mem::swap(&mut lun.pool, &mut away.pool);
            std::mem::swap(&mut lun.thin, &mut away.thin);
            std::mem::swap(&mut lun.quota, &mut away.quota);
            std::mem::swap(&mut lun.origin, &mut away.origin);
            std::mem::swap(&mut lun.split, &mut away.split);
            std::mem::swap(&mut lun.split_progress, &mut away.split_progress);
            std::mem::swap(&mut lun.stale_view, &mut away.stale_view);
        }
        self.luns.insert(away);
    }

    /// Whether a migration that runs moves this LUN or takes its place.
    pub(crate) fn is_migrating(&self, id: u64) -> bool {
        let running = |task: &&Migration| task.status == CopyStatus::Running;
        self.migrations.values().filter(running).any(|task| task.id == id || task.target == id)
    }

    /// All LUN migrations.
    pub fn migrations(&self) -> impl Iterator<Item = &Migration> {
        self.migrations.values()
    }

    /// A LUN migration by the id of the LUN that moves.
    pub fn migration(&self, lun: u64) -> Option<&Migration> {
        self.migrations.get(&lun)
    }
}

/// What one step of a migration did.
pub(crate) enum MigrateStep {
    /// This extent is copied.
    Copied(u64),
    /// The end is reached; the next round starts from 0.
    NextRound,
    /// There is more to copy, and time does not allow it yet.
    Wait,
    /// Nothing differs; the LUNs could change places.
    Ready,
    /// The LUNs have changed places.
    Finished,
    /// Out of space, or a LUN is gone.
    Failed,
}
