//! Rollback: a LUN becomes what a snapshot of it has frozen.
//!
//! The LUN shows the snapshot's content from the moment that the command is accepted, all of it or (when the pool cannot
//! hold it) none; what hosts write afterwards is theirs and stays. What takes time is the copying behind that, which
//! the progress tells. A rollback that is given up leaves the LUN with the snapshot's content.

use crate::jobs::{Job, JobKind, paced};
use crate::migration::next_difference;
use crate::object::{CopyStatus, DeviceId, Rollback};
use crate::{Array, Outcome, Refusal};

impl Array {
    pub(crate) fn rollback_snapshot(&mut self, id: u64, speed: u8) -> Result<Outcome, Refusal> {
        let snapshot = self.snapshots.get(id).ok_or(Refusal::NoSuchSnapshot)?;
        let lun_id = snapshot.parent;
        let frozen = self.snapshot_content(snapshot).cloned().ok_or(Refusal::NotActivated)?;
        let lun = DeviceId::Lun(lun_id);
        if self.in_copy(lun) || self.is_rolling_back(lun) || self.has_split(lun_id) {
            return Err(Refusal::InCopy);
        }
        if self.is_paired(lun_id) {
            return Err(Refusal::Paired);
        }
        let lun = self.luns.get_mut(lun_id).ok_or(Refusal::NoSuchLun)?;
        let pool = self.pools.get(lun.pool as usize).ok_or(Refusal::NoSuchPool)?;
        let space = pool.space(lun.quota.as_ref());
        lun.cache.forget_all();
        let before = lun.content.clone();
        let (mut at, mut copied) = (0, 0);
        let mut done = Ok(());
        while done.is_ok()
            && let Some(index) = next_difference(&frozen, &lun.content, at)
        {
            done = lun.content.copy_extent(index, &frozen, &space);
            copied += 1;
            at = index + 1;
        }
        // What an extend has added since the snapshot was not there then.
        let (size, old) = (lun.content.blocks(), frozen.blocks());
        if done.is_ok() && size > old {
            done = lun.content.unmap(old, size - old, &space);
        }
        if done.is_err() {
            lun.content = before;
            return Err(Refusal::PoolFull);
        }
        drop(before);
        if let Some(snapshot) = self.snapshots.get_mut(id) {
            snapshot.rollback =
                Some(Rollback { speed, status: CopyStatus::Running, progress: 0, ended: None });
        }
        let kind = JobKind::Rollback { snapshot: id, extents: copied };
        self.start_job(Job::new(kind, self.now, paced(self.copy_rate, speed)));
        Ok(Outcome::Done)
    }

    pub(crate) fn cancel_rollback(&mut self, id: u64) -> Result<Outcome, Refusal> {
        let now = self.now;
        let snapshot = self.snapshots.get_mut(id).ok_or(Refusal::NoSuchSnapshot)?;
        let rollback = snapshot.rollback.as_mut().filter(|rollback| rollback.status == CopyStatus::Running);
        let rollback = rollback.ok_or(Refusal::NoRollback)?;
        rollback.status = CopyStatus::Failed;
        rollback.ended = Some(now);
        self.jobs.retain(|_, job| !matches!(job.kind, JobKind::Rollback { snapshot, .. } if snapshot == id));
        Ok(Outcome::Done)
    }

    /// Whether a rollback of this LUN, or from this snapshot, runs.
    pub(crate) fn is_rolling_back(&self, device: DeviceId) -> bool {
        self.jobs.values().any(|job| match (&job.kind, device) {
            (JobKind::Rollback { snapshot, .. }, DeviceId::Snapshot(id)) => *snapshot == id,
            (JobKind::Rollback { snapshot, .. }, DeviceId::Lun(id)) => {
                self.snapshots.get(*snapshot).is_some_and(|snapshot| snapshot.parent == id)
            }
            _ => false,
        })
    }

    fn has_split(&self, id: u64) -> bool {
        self.jobs.values().any(|job| matches!(job.kind, JobKind::Split { lun } if lun == id))
    }
}
