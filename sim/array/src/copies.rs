//! LUN copies and clone pairs: full copies in the background.

use crate::jobs::{Job, JobKind, paced};
use crate::object::{ClonePair, CopyStatus, DeviceId, LunCopy};
use crate::store::Content;
use crate::{Array, Outcome, Refusal};

impl Array {
    /// The present content of a copy's source, frozen.
    fn copy_source(&self, source: DeviceId) -> Result<Content, Refusal> {
        let mut content = match source {
            DeviceId::Lun(id) => self.luns.get(id).ok_or(Refusal::NoSuchLun)?.content.clone(),
            DeviceId::Snapshot(id) => {
                let snapshot = self.snapshots.get(id).ok_or(Refusal::NoSuchSnapshot)?;
                self.snapshot_content(snapshot).cloned().ok_or(Refusal::NotActivated)?
            }
        };
        if self.defects.copy_skips_parent && content.own_extents() > 0 {
            content.drop_link();
        }
        Ok(content)
    }

    /// The source has content, the target exists, is another device and not smaller.
    fn check_copy(&self, source: DeviceId, target: u64) -> Result<Content, Refusal> {
        let content = self.copy_source(source)?;
        let target_blocks = self.luns.get(target).ok_or(Refusal::NoSuchLun)?.blocks();
        if source == DeviceId::Lun(target) || target_blocks < content.blocks() {
            return Err(Refusal::BadCopyTarget);
        }
        if self.is_paired(target) {
            return Err(Refusal::Paired);
        }
        Ok(content)
    }

    /// Whether a copy task refers to the device.
    pub(crate) fn in_copy(&self, device: DeviceId) -> bool {
        let hit = |source, target| source == device || DeviceId::Lun(target) == device;
        self.lun_copies.iter().any(|copy| hit(copy.source, copy.target))
            || self.clone_pairs.values().any(|pair| hit(pair.source, pair.target))
            || self.migrations.values().any(|task| hit(DeviceId::Lun(task.id), task.target))
    }

    pub(crate) fn create_lun_copy(
        &mut self,
        name: String,
        source: DeviceId,
        target: u64,
        speed: u8,
    ) -> Result<Outcome, Refusal> {
        self.check_text(&name, "")?;
        self.lun_copies.admits(self.scope, &name, self.limits.objects)?;
        self.check_copy(source, target)?;
        let id = self.new_id();
        self.lun_copies.insert(LunCopy {
            id,
            vstore: self.scope,
            name,
            source,
            target,
            speed,
            status: CopyStatus::Created,
            progress: 0,
        });
        Ok(Outcome::Created(id))
    }

    pub(crate) fn start_lun_copy(&mut self, id: u64) -> Result<Outcome, Refusal> {
        let copy = self.lun_copies.get(id).ok_or(Refusal::NoSuchLunCopy)?;
        if !matches!(copy.status, CopyStatus::Created | CopyStatus::Failed) {
            return Err(Refusal::CopyStarted);
        }
        let (from, target) = (copy.source, copy.target);
        let rate = paced(self.copy_rate, copy.speed);
        let source = self.check_copy(from, target)?;
        self.make_durable(from, 0, source.blocks());
        if let Some(copy) = self.lun_copies.get_mut(id) {
            copy.status = CopyStatus::Running;
            copy.progress = 0;
            let kind = JobKind::LunCopy { copy: id, target: copy.target, source };
            self.start_job(Job::new(kind, self.now, rate));
        }
        Ok(Outcome::Done)
    }

    pub(crate) fn stop_lun_copy(&mut self, id: u64) -> Result<Outcome, Refusal> {
        let copy = self.lun_copies.get_mut(id).ok_or(Refusal::NoSuchLunCopy)?;
        if copy.status != CopyStatus::Running {
            return Err(Refusal::CopyNotRunning);
        }
        (copy.status, copy.progress) = (CopyStatus::Created, 0);
        self.jobs.retain(|_, job| !matches!(job.kind, JobKind::LunCopy { copy, .. } if copy == id));
        Ok(Outcome::Done)
    }

    pub(crate) fn stop_clone_pair(&mut self, id: u64) -> Result<Outcome, Refusal> {
        let pair = self.clone_pairs.get_mut(&id).ok_or(Refusal::NoSuchClonePair)?;
        if pair.status != CopyStatus::Running {
            return Err(Refusal::CopyNotRunning);
        }
        (pair.status, pair.progress) = (CopyStatus::Created, 0);
        self.jobs.retain(|_, job| !matches!(job.kind, JobKind::ClonePair { pair, .. } if pair == id));
        Ok(Outcome::Done)
    }

    pub(crate) fn delete_lun_copy(&mut self, id: u64) -> Result<Outcome, Refusal> {
        self.lun_copies.remove(id).ok_or(Refusal::NoSuchLunCopy)?;
        self.jobs.retain(|_, job| !matches!(job.kind, JobKind::LunCopy { copy, .. } if copy == id));
        Ok(Outcome::Done)
    }

    pub(crate) fn create_clone_pair(
        &mut self,
        source: DeviceId,
        target: u64,
        rate: u8,
    ) -> Result<Outcome, Refusal> {
        if self.clone_pairs.len() >= self.limits.objects {
            return Err(Refusal::LimitReached);
        }
        self.check_copy(source, target)?;
        let id = self.new_id();
        self.clone_pairs.insert(
            id,
            ClonePair {
                id,
                vstore: self.scope,
                source,
                target,
                rate,
                status: CopyStatus::Created,
                progress: 0,
            },
        );
        Ok(Outcome::Created(id))
    }

    pub(crate) fn sync_clone_pair(&mut self, id: u64) -> Result<Outcome, Refusal> {
        let pair = self.clone_pairs.get(&id).ok_or(Refusal::NoSuchClonePair)?;
        if pair.status == CopyStatus::Running {
            return Err(Refusal::CopyStarted);
        }
        let (from, target) = (pair.source, pair.target);
        let rate = paced(self.copy_rate, pair.rate);
        let source = self.check_copy(from, target)?;
        self.make_durable(from, 0, source.blocks());
        if let Some(pair) = self.clone_pairs.get_mut(&id) {
            pair.status = CopyStatus::Running;
            pair.progress = 0;
            let kind = JobKind::ClonePair { pair: id, target: pair.target, source };
            self.start_job(Job::new(kind, self.now, rate));
        }
        Ok(Outcome::Done)
    }

    pub(crate) fn delete_clone_pair(&mut self, id: u64) -> Result<Outcome, Refusal> {
        self.clone_pairs.remove(&id).ok_or(Refusal::NoSuchClonePair)?;
        self.jobs.retain(|_, job| !matches!(job.kind, JobKind::ClonePair { pair, .. } if pair == id));
        Ok(Outcome::Done)
    }
}
