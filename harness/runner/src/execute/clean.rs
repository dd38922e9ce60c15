//! The clean-up of an array whose volume service is lost: by what the array lists, and by the run's tag.

use sanbench_check::ControlModel;
use sanbench_check::lifecycle::Lifecycles;

use super::*;

impl Player<'_> {
    /// The service, its database and all hosts are lost; what the run has left on the array is removed, and nothing else. That no
    /// more and no less is gone is for the inventory after the step to say.
    pub(super) async fn clean(&self, step: &Step) -> Ended {
        if self.is_tolerant() {
            return Err(StepEnd::Skipped("the volume service is not lost in plans that settle".into()));
        }
        if self.plan.site.remote {
            return Err(StepEnd::Broken("two arrays are not cleaned up together".into()));
        }
        let cleaned = self.site.clean().await.map_err(|e| match e {
            SiteError::Unreachable(message) => self.failed(step, &message),
            other => outages::not_possible(other),
        })?;
        if !cleaned.left.is_empty() {
            // Not a warning: whoever cleans up must be told that something is left (CLU-004).
            return Err(self.failed(step, &format!("left: {}", cleaned.left.join("; "))));
        }
        self.forget()?;
        let removed = cleaned.removed.len();
        self.judge().ledger.compared("CLU-001", removed as u64);
        self.judge().ledger.compared("CLU-002", u64::from(removed > 0));
        Ok(format!("{removed} removed"))
    }

    /// Nothing of the story exists any more, on the array, in the database or on hosts.
    fn forget(&self) -> Result<(), StepEnd> {
        self.forget_gone()?;
        let mut judge = self.judge();
        let judge = &mut *judge;
        judge.control = ControlModel::default();
        judge.lifecycles = Lifecycles::default();
        judge.promise(self.site.drivers().keys(), self.site.promise());
        judge.decisions_judged = 0;
        judge.upsets += 1;
        for names in [
            &mut judge.doubt,
            &mut judge.narrow,
            &mut judge.half_seen,
            &mut judge.revoked,
            &mut judge.untold,
            &mut judge.repeated,
        ] {
            names.clear();
        }
        judge.instances.clear();
        judge.internal.clear();
        judge.reserved.clear();
        judge.limits.clear();
        judge.unlimited.clear();
        judge.luns_seen.clear();
        (judge.unsettled, judge.down) = (false, false);
        judge.listing = None;
        Ok(())
    }
}
