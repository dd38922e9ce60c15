//! Background work: splits and full copies, some extents at a time as time passes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Array;
use crate::migration::MigrateStep;
use crate::object::{CopyStatus, SplitStatus};
use crate::store::Content;
use crate::store::content::extents;

/// A piece of background work.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) kind: JobKind,
    started: Duration,
    /// Extents a second; 0 is at once.
    rate: u64,
    /// Extents copied.
    done: u64,
    /// Extents below this one are finished with.
    cursor: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum JobKind {
    /// Copies a clone's inherited extents into its own map.
    Split { lun: u64 },
    /// Makes a LUN equal to frozen content.
    LunCopy {
        copy: u64,
        target: u64,
        #[serde(skip)]
        source: Content,
    },
    /// Makes a LUN equal to frozen content.
    ClonePair {
        pair: u64,
        target: u64,
        #[serde(skip)]
        source: Content,
    },
    /// Moves a LUN to the place of another one, in rounds over its content.
    Migration { lun: u64, target: u64, round: u32 },
    /// Only counts: the content was there at once.
    Rollback { snapshot: u64, extents: u64 },
}

enum Step {
    /// This one is copied; go on behind it.
    Copied(u64),
    /// Start again from the first extent.
    Again,
    Finished,
    /// Out of space, or the device is gone.
    Failed,
}

impl Job {
    /// The frozen content that it copies from, if it does. The journal keeps it beside the job.
    pub(crate) fn source(&self) -> Option<&Content> {
        match &self.kind {
            JobKind::LunCopy { source, .. } | JobKind::ClonePair { source, .. } => Some(source),
            JobKind::Split { .. } | JobKind::Migration { .. } | JobKind::Rollback { .. } => None,
        }
    }

    pub(crate) fn source_mut(&mut self) -> Option<&mut Content> {
        match &mut self.kind {
            JobKind::LunCopy { source, .. } | JobKind::ClonePair { source, .. } => Some(source),
            JobKind::Split { .. } | JobKind::Migration { .. } | JobKind::Rollback { .. } => None,
        }
    }

    pub(crate) fn new(kind: JobKind, started: Duration, rate: u64) -> Self {
        Self { kind, started, rate, done: 0, cursor: 0 }
    }

    /// Extents that may be copied by `now` and are not yet.
    fn allowance(&self, now: Duration) -> u64 {
        if self.rate == 0 {
            return u64::MAX;
        }
        let earned = now.saturating_sub(self.started).as_nanos() * u128::from(self.rate) / 1_000_000_000;
        u64::try_from(earned).unwrap_or(u64::MAX).saturating_sub(self.done)
    }
}

impl Array {
    /// Runs background work up to `now`. Time that goes backwards is ignored. Every command and data request calls this.
    pub fn advance(&mut self, now: Duration) {
        self.now = self.now.max(self.journal.as_ref().map_or(now, |journal| journal.since + now));
        if self.access_is_due() {
            self.settle_access();
        }
        if self.jobs.is_empty() {
            return;
        }
        let ids: Vec<u64> = self.jobs.keys().copied().collect();
        for id in ids {
            if let Some(job) = self.jobs.remove(&id)
                && let Some(job) = self.run_job(job, false)
            {
                self.jobs.insert(id, job);
            }
        }
    }

    /// Starts a job. One that has nothing to copy is over at once.
    pub(crate) fn start_job(&mut self, job: Job) {
        if let Some(job) = self.run_job(job, true) {
            let id = self.new_id();
            self.jobs.insert(id, job);
        }
    }

    /// Runs a job as far as time allows; gives it back unless it is over.
    fn run_job(&mut self, mut job: Job, fresh: bool) -> Option<Job> {
        let mut allowance = job.allowance(self.now);
        if allowance == 0 && !fresh {
            return Some(job);
        }
        let end = loop {
            match self.step(&job, allowance > 0) {
                Some(Step::Copied(index)) => {
                    job.cursor = index + 1;
                    job.done = job.done.saturating_add(1);
                    allowance -= 1;
                }
                Some(Step::Again) => {
                    job.cursor = 0;
                    if let JobKind::Migration { round, .. } = &mut job.kind {
                        *round += 1;
                    }
                }
                Some(Step::Finished) => break CopyStatus::Complete,
                Some(Step::Failed) => break CopyStatus::Failed,
                None => break CopyStatus::Running,
            }
        };
        self.record(&job, end);
        (end == CopyStatus::Running).then_some(job)
    }

    /// Copies the next extent, if it may; none when there is one and it may not.
    fn step(&mut self, job: &Job, may_copy: bool) -> Option<Step> {
        let target = match &job.kind {
            JobKind::Split { lun } => *lun,
            JobKind::LunCopy { target, .. } | JobKind::ClonePair { target, .. } => *target,
            JobKind::Migration { lun, target, round } => {
                return match self.migrate_step((*lun, *target), (job.cursor, *round), may_copy) {
                    MigrateStep::Copied(index) => Some(Step::Copied(index)),
                    MigrateStep::NextRound => Some(Step::Again),
                    MigrateStep::Wait => None,
                    MigrateStep::Finished => Some(Step::Finished),
                    MigrateStep::Failed => Some(Step::Failed),
                };
            }
            JobKind::Rollback { extents, .. } => {
                return match job.cursor {
                    cursor if cursor >= *extents => Some(Step::Finished),
                    cursor => may_copy.then_some(Step::Copied(cursor)),
                };
            }
        };
        let Some(lun) = self.luns.get_mut(target) else { return Some(Step::Failed) };
        let Some(pool) = self.pools.get(lun.pool as usize) else { return Some(Step::Failed) };
        let space = pool.space(lun.quota.as_ref());
        let content = &mut lun.content;
        let (next, copied) = match &job.kind {
            JobKind::Split { .. } => {
                let Some(index) = content.next_inherited(job.cursor) else { return Some(Step::Finished) };
                if !may_copy {
                    return None;
                }
                let forgotten = self.defects.flatten_skips_hole && index % 2 == 1;
                (index, if forgotten { Ok(()) } else { content.copy_up(index, &space) })
            }
            JobKind::LunCopy { source, .. } | JobKind::ClonePair { source, .. } => {
                // Unsynchronised holes too: the medium may hold something there.
                let dirty = lun.cache.next_dirty(job.cursor);
                let next = [source.next_visible(job.cursor), content.next_visible(job.cursor), dirty];
                let next = next.into_iter().flatten().min().filter(|index| *index < extents(source.blocks()));
                let Some(index) = next else { return Some(Step::Finished) };
                if !may_copy {
                    return None;
                }
                let copied = content.copy_extent(index, source, &space);
                lun.cache.forget(index); // copies go to the medium
                (index, copied)
            }
            // Answered above.
            JobKind::Migration { .. } | JobKind::Rollback { .. } => return Some(Step::Finished),
        };
        Some(if copied.is_ok() { Step::Copied(next) } else { Step::Failed })
    }

    /// Writes down how far a job is, and does what its end means.
    fn record(&mut self, job: &Job, status: CopyStatus) {
        let percent = |total: u64| match status {
            CopyStatus::Complete => 100,
            _ => u8::try_from(job.cursor.min(total) * 100 / total.max(1)).unwrap_or(100).min(99),
        };
        match &job.kind {
            JobKind::Split { lun } => {
                let Some(lun) = self.luns.get_mut(*lun) else { return };
                lun.split_progress = percent(lun.content.link().map_or(0, |link| extents(link.overlap)));
                lun.split = match status {
                    CopyStatus::Complete => {
                        lun.content.drop_link();
                        lun.origin = None;
                        SplitStatus::None
                    }
                    CopyStatus::Failed => SplitStatus::Failed,
                    CopyStatus::Created | CopyStatus::Running => SplitStatus::Running,
                };
            }
            JobKind::LunCopy { copy, source, .. } => {
                if let Some(copy) = self.lun_copies.get_mut(*copy) {
                    (copy.status, copy.progress) = (status, percent(extents(source.blocks())));
                }
            }
            JobKind::ClonePair { pair, source, .. } => {
                if let Some(pair) = self.clone_pairs.get_mut(pair) {
                    (pair.status, pair.progress) = (status, percent(extents(source.blocks())));
                }
            }
            JobKind::Migration { lun, round, .. } => {
                let total = self.luns.get(*lun).map_or(0, |lun| extents(lun.blocks()));
                if let Some(task) = self.migrations.get_mut(lun) {
                    // Rounds after the first only fetch what has changed meanwhile.
                    let progress =
                        if *round > 0 && status == CopyStatus::Running { 99 } else { percent(total) };
                    (task.status, task.progress) = (status, progress);
                }
            }
            JobKind::Rollback { snapshot, extents } => {
                let ended = (status != CopyStatus::Running).then_some(self.now);
                let progress = percent(*extents);
                if let Some(rollback) = self.snapshots.get_mut(*snapshot).and_then(|s| s.rollback.as_mut()) {
                    (rollback.status, rollback.progress, rollback.ended) = (status, progress, ended);
                }
            }
        }
    }
}
