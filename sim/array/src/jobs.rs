//! Background work: splits and full copies, some extents at a time as time passes.
//!
//! Work stands still while no controller is up. Whoever runs the array may watch jobs with [`Array::watch_jobs`]: at each
//! percent that a job reaches, the watch is asked for the point `job.<kind>.<percent>`, and its answer happens to the job.
//!
//! | kind | what its failure must leave as it was |
//! |---|---|
//! | `split` | the clone reads the same, its link stays; it can be started again |
//! | `luncopy`, `clonepair` | the source; each extent of the target is the old or the new one; it can be started again |
//! | `migration` | the LUN that moves, with all that hosts have written; the task can be removed and made anew |
//! | `rollback` | the LUN has the snapshot's content and what hosts have written since |

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Array;
use crate::events::EventKind;
use crate::migration::MigrateStep;
use crate::object::{CopyStatus, DeviceId, SplitStatus};
use crate::store::Content;
use crate::store::content::extents;

/// What happens to a job at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobFault {
    /// It fails.
    Fail,
    /// It stands still for a while.
    Stall(Duration),
    /// The controller that owns the device it works on fails; the work goes on elsewhere, if there is another.
    ControllerFails,
}

/// Somebody who is asked at each point of each job.
type Ask = Box<dyn FnMut(&str) -> Option<JobFault> + Send>;

/// The watch over all jobs.
#[derive(Default)]
pub(crate) struct JobWatch(Option<Ask>);

impl fmt::Debug for JobWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "JobWatch(..)" } else { "JobWatch" })
    }
}

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
    /// The next percent to ask the watch about; 101 when all have been asked.
    #[serde(default)]
    next_point: u8,
    /// Stands still until then.
    #[serde(default)]
    resumes: Duration,
    /// All extents are done.
    #[serde(default)]
    ending: bool,
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
    /// Nothing is left but the last act.
    Ready,
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
        Self {
            kind,
            started,
            rate,
            done: 0,
            cursor: 0,
            next_point: 0,
            resumes: Duration::ZERO,
            ending: false,
        }
    }

    /// Extents that may be copied by `now` and are not yet.
    fn allowance(&self, now: Duration) -> u64 {
        if now < self.resumes {
            return 0;
        }
        if self.rate == 0 {
            return u64::MAX;
        }
        let earned = now.saturating_sub(self.started).as_nanos() * u128::from(self.rate) / 1_000_000_000;
        u64::try_from(earned).unwrap_or(u64::MAX).saturating_sub(self.done)
    }
}

/// The rate at which a task of speed 1 to 4 goes: half of `rate`, `rate`, twice and four times as much. 0 stays at once.
pub(crate) fn paced(rate: u64, speed: u8) -> u64 {
    match speed {
        _ if rate == 0 => 0,
        1 => (rate / 2).max(1),
        3 => rate.saturating_mul(2),
        4 => rate.saturating_mul(4),
        _ => rate,
    }
}

impl JobKind {
    /// Its name in the points of the watch.
    fn name(&self) -> &'static str {
        match self {
            Self::Split { .. } => "split",
            Self::LunCopy { .. } => "luncopy",
            Self::ClonePair { .. } => "clonepair",
            Self::Migration { .. } => "migration",
            Self::Rollback { .. } => "rollback",
        }
    }
}

impl Array {
    /// Names of the points of one kind of job are `job.<kind>.<percent>`, for these kinds.
    pub const JOB_KINDS: &'static [&'static str] =
        &["split", "luncopy", "clonepair", "migration", "rollback"];

    /// Has every job ask `watch` at every percent that it reaches, 0 before its first step and 100 before it is over. Asked
    /// under the array's lock: the watch must not wait, nor come back to the array.
    pub fn watch_jobs(&mut self, watch: impl FnMut(&str) -> Option<JobFault> + Send + 'static) {
        self.job_watch = JobWatch(Some(Box::new(watch)));
    }

    /// Whether there is background work, under way or standing still.
    pub fn has_jobs(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// Runs background work up to `now`. Time that goes backwards is ignored. Every command and data request calls this.
    pub fn advance(&mut self, now: Duration) {
        let before = self.now;
        self.now = self.now.max(self.journal.as_ref().map_or(now, |journal| journal.since + now));
        if self.access_is_due() {
            self.settle_access();
        }
        if !self.mirror.is_idle() {
            self.advance_pairs();
        }
        if self.jobs.is_empty() {
            return;
        }
        if !self.plant.any_up() {
            // Nobody is there to work; the time does not count.
            for job in self.jobs.values_mut() {
                job.started += self.now - before;
            }
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
            match self.ask_watch(&mut job) {
                None => {}
                Some(JobFault::Fail) => break CopyStatus::Failed,
                Some(JobFault::Stall(pause)) => {
                    job.started = job.started.saturating_add(pause);
                    job.resumes = self.now.saturating_add(pause);
                }
                Some(JobFault::ControllerFails) => self.fail_controller_of(&job),
            }
            if job.resumes > self.now || !self.plant.any_up() {
                break CopyStatus::Running;
            }
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
                // The last points come before the end.
                Some(Step::Ready) => job.ending = true,
                Some(Step::Finished) if !self.may_end(&job) => job.ending = true,
                Some(Step::Finished) => break CopyStatus::Complete,
                Some(Step::Failed) => break CopyStatus::Failed,
                None => break CopyStatus::Running,
            }
        };
        self.record(&job, end);
        self.note_pools();
        if end == CopyStatus::Failed {
            self.tell(EventKind::JobFailed, job.kind.name().to_owned());
        }
        (end == CopyStatus::Running).then_some(job)
    }

    /// Whether every point of the job has been asked for.
    fn may_end(&self, job: &Job) -> bool {
        job.next_point > 100 || self.job_watch.0.is_none()
    }

    /// Asks the watch about the next point that the job has reached, if there is one.
    fn ask_watch(&mut self, job: &mut Job) -> Option<JobFault> {
        self.job_watch.0.as_ref()?;
        let reached = if job.ending { 100 } else { self.percent_of(job) };
        while job.next_point <= reached {
            let point = format!("job.{}.{}", job.kind.name(), job.next_point);
            job.next_point += 1;
            let ask = self.job_watch.0.as_mut()?;
            if let Some(fault) = ask(&point) {
                return Some(fault);
            }
        }
        None
    }

    /// How far a job is that is not over, in percent, at most 99.
    fn percent_of(&self, job: &Job) -> u8 {
        let total = match &job.kind {
            JobKind::Split { lun } => {
                let link = self.luns.get(*lun).and_then(|lun| lun.content.link());
                link.map_or(0, |layer| extents(layer.content.blocks()))
            }
            JobKind::LunCopy { source, .. } | JobKind::ClonePair { source, .. } => extents(source.blocks()),
            // Rounds after the first only fetch what has changed meanwhile.
            JobKind::Migration { round, .. } if *round > 0 => return 99,
            JobKind::Migration { lun, .. } => self.luns.get(*lun).map_or(0, |lun| extents(lun.blocks())),
            JobKind::Rollback { extents, .. } => *extents,
        };
        u8::try_from(job.cursor.min(total) * 100 / total.max(1)).unwrap_or(100).min(99)
    }

    /// The controller that owns the device which the job changes fails.
    fn fail_controller_of(&mut self, job: &Job) {
        let lun = match &job.kind {
            JobKind::Split { lun } | JobKind::Migration { lun, .. } => *lun,
            JobKind::LunCopy { target, .. } | JobKind::ClonePair { target, .. } => *target,
            JobKind::Rollback { snapshot, .. } => {
                self.snapshots.get(*snapshot).map_or(0, |snapshot| snapshot.parent)
            }
        };
        if let Some(owner) = self.luns.get(lun).map(|lun| lun.owner) {
            // An owner is a controller that there is.
            let _ = self.fail_at_once(owner);
        }
    }

    /// Planted: jobs of a failed controller count as done.
    pub(crate) fn forget_jobs(&mut self) {
        let ids: Vec<u64> = self.jobs.keys().copied().collect();
        for job in ids.into_iter().filter_map(|id| self.jobs.remove(&id)).collect::<Vec<_>>() {
            if !matches!(job.kind, JobKind::Migration { .. }) {
                self.record(&job, CopyStatus::Complete);
            }
        }
    }

    /// Copies the next extent, if it may; none when there is one and it may not.
    fn step(&mut self, job: &Job, may_copy: bool) -> Option<Step> {
        let target = match &job.kind {
            JobKind::Split { lun } => *lun,
            JobKind::LunCopy { target, .. } | JobKind::ClonePair { target, .. } => *target,
            JobKind::Migration { lun, target, round } => {
                let may = (may_copy, self.may_end(job));
                return match self.migrate_step((*lun, *target), (job.cursor, *round), may) {
                    MigrateStep::Copied(index) => Some(Step::Copied(index)),
                    MigrateStep::NextRound => Some(Step::Again),
                    MigrateStep::Wait => None,
                    MigrateStep::Ready => Some(Step::Ready),
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
                let Some(index) = content.next_inherited(job.cursor) else {
                    let fails = self.defects.empty_split_fails && job.done == 0;
                    return Some(if fails { Step::Failed } else { Step::Finished });
                };
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
        let percent = if status == CopyStatus::Complete { 100 } else { self.percent_of(job) };
        if status == CopyStatus::Failed && self.defects.failed_job_wipes_source {
            self.wipe_source(job);
        }
        match &job.kind {
            JobKind::Split { lun } => {
                let Some(lun) = self.luns.get_mut(*lun) else { return };
                lun.split_progress = percent;
                lun.split = match status {
                    CopyStatus::Complete => {
                        lun.content.drop_link();
                        if let Some(origin) = lun.origin.take() {
                            self.kin.drop_clone(origin.source, lun.id);
                        }
                        SplitStatus::None
                    }
                    CopyStatus::Failed => SplitStatus::Failed,
                    CopyStatus::Created | CopyStatus::Running => SplitStatus::Running,
                };
            }
            JobKind::LunCopy { copy, .. } => {
                if let Some(copy) = self.lun_copies.get_mut(*copy) {
                    (copy.status, copy.progress) = (status, percent);
                }
            }
            JobKind::ClonePair { pair, .. } => {
                if let Some(pair) = self.clone_pairs.get_mut(pair) {
                    (pair.status, pair.progress) = (status, percent);
                }
            }
            JobKind::Migration { lun, .. } => {
                if let Some(task) = self.migrations.get_mut(lun) {
                    (task.status, task.progress) = (status, percent);
                }
            }
            JobKind::Rollback { snapshot, .. } => {
                let ended = (status != CopyStatus::Running).then_some(self.now);
                let progress = percent;
                if let Some(rollback) = self.snapshots.get_mut(*snapshot).and_then(|s| s.rollback.as_mut()) {
                    (rollback.status, rollback.progress, rollback.ended) = (status, progress, ended);
                }
            }
        }
    }

    /// Planted: a job that fails takes its source with it.
    fn wipe_source(&mut self, job: &Job) {
        let source = match &job.kind {
            JobKind::LunCopy { copy, .. } => self.lun_copies.get(*copy).map(|copy| copy.source),
            JobKind::ClonePair { pair, .. } => self.clone_pairs.get(pair).map(|pair| pair.source),
            JobKind::Split { lun } | JobKind::Migration { lun, .. } => Some(DeviceId::Lun(*lun)),
            JobKind::Rollback { .. } => None,
        };
        if let Some(DeviceId::Lun(lun)) = source
            && let Some(lun) = self.luns.get_mut(lun)
            && let Some(pool) = self.pools.get(lun.pool as usize)
        {
            let blocks = lun.content.blocks();
            // Unmapping whole extents needs no space; a shared tail that cannot be zeroed stays.
            let _ = lun.content.unmap(0, blocks, &pool.space(lun.quota.as_ref()));
        }
    }
}
