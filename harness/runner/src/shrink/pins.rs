//! What must stay because the failure is a broken expectation of the plan itself.
//!
//! Most failures are judged by models that know what to expect of any plan. Some are not: `depth c3 0`, `pool=pool1` or
//! `refused=no-space` are the word of whoever wrote the plan, true only as long as what leads to it stays. Whatever can
//! change such an expectation is kept.

use std::collections::BTreeSet;

use super::Goal;
use super::draft::Draft;
use super::mention;
use crate::plan::{Refused, SitePlan, Step};
use crate::story::Name;

/// What must stay.
#[derive(Debug, Default)]
pub(super) struct Pins {
    /// Steps, by their origin, as they were.
    steps: Vec<(usize, Step)>,
    /// Pools, types and options stay as they were.
    site: Option<SitePlan>,
}

impl Pins {
    pub(super) fn of(start: &Draft, goal: &Goal, hit: Option<usize>) -> Self {
        let Some((at, shown)) = hit.and_then(|n| Some((n - 1, start.items.get(n.checked_sub(1)?)?))) else {
            return Self::default();
        };
        // What runs beside it may have run before it.
        let groups = start.plan().groups();
        let end = groups.iter().find(|g| g.contains(&at)).map_or(at + 1, |g| g.end);
        let refused = match &shown.step {
            Step::Create { refused, .. }
            | Step::Extend { refused, .. }
            | Step::Snapshot { refused, .. }
            | Step::PutBack { refused, .. } => *refused,
            // Whether there is space is the doing of everything before.
            Step::OutOfSpace { .. } => Some(Refused::NoSpace),
            _ => None,
        };
        let everything = match goal.signature.as_str() {
            "operation:step:not refused" => matches!(
                refused,
                Some(Refused::NoSpace | Refused::NoBackend | Refused::Quota | Refused::Limit)
            ),
            "placement:volume:pool" => true,
            _ => false,
        };
        let kin = match &shown.step {
            Step::Depth { volume, .. } if goal.signature == "depth:lun:depth" => kin(start, volume),
            _ => BTreeSet::new(),
        };
        if !everything && kin.is_empty() {
            return Self::default();
        }
        let steps = start.items[..end].iter().filter(|item| {
            let changes = matches!(
                item.step,
                Step::Create { .. }
                    | Step::Extend { .. }
                    | Step::Delete { .. }
                    | Step::Snapshot { .. }
                    | Step::DeleteSnapshot { .. }
                    | Step::Flatten { .. }
                    | Step::Restart { .. }
                    | Step::Squat { .. }
                    | Step::Manage { .. }
                    | Step::Fill { .. }
                    | Step::Drain { .. }
            ) || (everything && is_written(&item.step));
            let m = mention::of(&item.step);
            let restart = matches!(item.step, Step::Restart { .. });
            changes && (everything || restart || m.volumes.iter().any(|v| kin.contains(*v)))
        });
        Self {
            steps: steps.chain([shown]).map(|item| (item.origin, item.step.clone())).collect(),
            site: Some(start.site.clone()),
        }
    }

    /// Whether a candidate keeps all of it.
    pub(super) fn hold(&self, draft: &Draft) -> bool {
        let site = self.site.as_ref().is_none_or(|site| {
            site.pools == draft.site.pools
                && site.disks == draft.site.disks
                && site.types == draft.site.types
                && site.options == draft.site.options
                && site.clones == draft.site.clones
                && site.chain == draft.site.chain
                && site.devices == draft.site.devices
                && site.product == draft.site.product
        });
        let kept = |(origin, step): &(usize, Step)| {
            draft.items.iter().any(|item| item.origin == *origin && item.step == *step)
        };
        site && self.steps.iter().all(kept)
    }
}

/// Whether it changes what is allocated.
fn is_written(step: &Step) -> bool {
    matches!(
        step,
        Step::Write { .. }
            | Step::Unmap { .. }
            | Step::Reimage { .. }
            | Step::Forge { .. }
            | Step::Attach { .. }
    )
}

/// The volumes that a volume was made from or that were made from it, at any distance.
pub(super) fn kin(draft: &Draft, volume: &Name) -> BTreeSet<Name> {
    let mut kin = BTreeSet::from([volume.clone()]);
    loop {
        let before = kin.len();
        let mut snapshots = BTreeSet::new();
        for item in &draft.items {
            let m = mention::of(&item.step);
            if m.volumes.iter().any(|v| kin.contains(*v)) {
                kin.extend(m.volumes.iter().map(|v| (*v).clone()));
                snapshots.extend(m.snapshots.iter().map(|s| (*s).clone()));
            }
        }
        for item in &draft.items {
            let m = mention::of(&item.step);
            if m.snapshots.iter().any(|s| snapshots.contains(*s)) {
                kin.extend(m.volumes.iter().map(|v| (*v).clone()));
            }
        }
        if kin.len() == before {
            return kin;
        }
    }
}
