//! What may fail, and why: faults that fired, outages in force, operations beside each other.
//!
//! A step that nothing disturbed is judged strictly. Under a disturbance whose promise allows it, a failure is an unknown:
//! the models keep both outcomes, and what the step names is left alone until `settle` has decided.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::plan::{FaultAction, PlacedFault};

/// Delays below this many milliseconds only cost time: less than any time-out of driver and initiator.
const HARMLESS_DELAY_MS: u64 = 4000;

/// What was so when a step began.
#[derive(Debug, Clone)]
pub(crate) struct Before {
    /// Faults that had fired, by point.
    pub(crate) faults: BTreeMap<String, u64>,
    /// Upsets so far; `None` where only what is in force counts.
    pub(crate) upsets: Option<u64>,
}

/// Volumes and snapshots that a step is about, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) volumes: BTreeSet<Name>,
    pub(crate) snapshots: BTreeSet<Name>,
}

impl Names {
    /// Something is in both.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        !self.volumes.is_disjoint(&other.volumes) || !self.snapshots.is_disjoint(&other.snapshots)
    }
}

/// A fault at this point and of this kind may make the operation fail.
pub(crate) fn may_fail(action: FaultAction) -> bool {
    match action {
        FaultAction::Delay(ms) => ms >= HARMLESS_DELAY_MS,
        _ => true,
    }
}

/// The rule speaks of this point.
fn covers(fault: &PlacedFault, point: &str) -> bool {
    match fault.point.strip_suffix('*') {
        Some(prefix) => point.starts_with(prefix),
        None => fault.point == point,
    }
}

impl Player<'_> {
    /// The state of faults now, for a step that begins; `beside` others, also of upsets that come and go meanwhile.
    pub(super) fn before(&self, beside: bool) -> Before {
        Before { faults: self.site.faults_fired(), upsets: beside.then(|| self.judge().upsets) }
    }

    /// Volumes and snapshots that the step is about.
    pub(super) fn names(&self, step: &Step) -> Names {
        let mut names = Names::default();
        let mut add = |volume: &Name| {
            names.volumes.insert(volume.clone());
        };
        let mut snapshot = None;
        match step {
            Step::Create { volume, source, .. } => {
                add(volume);
                match source {
                    Source::Volume(from) => add(from),
                    Source::Snapshot(from) => snapshot = Some(from),
                    Source::Blank | Source::Image(_) => {}
                }
            }
            Step::Snapshot { snapshot: taken, volume, .. } => {
                add(volume);
                snapshot = Some(taken);
            }
            Step::DeleteSnapshot { snapshot: gone, .. } => snapshot = Some(gone),
            Step::Attach { volume, .. }
            | Step::Write { volume, .. }
            | Step::Unmap { volume, .. }
            | Step::Flush { volume }
            | Step::Extend { volume, .. }
            | Step::Flatten { volume, .. }
            | Step::Detach { volume, .. }
            | Step::Delete { volume, .. }
            | Step::Depth { volume, .. }
            | Step::Intrude { volume, .. }
            | Step::Verify { volume }
            | Step::Scan { volume }
            | Step::Reimage { volume, .. } => add(volume),
            _ => {}
        }
        if let Some(name) = snapshot {
            // A snapshot is the business of its volume, and of those that were made from it.
            let judge = self.judge();
            if let Some(known) = judge.snapshots.get(name) {
                names.volumes.insert(known.volume.clone());
                if matches!(step, Step::DeleteSnapshot { .. }) {
                    names.volumes.extend(known.children.iter().cloned());
                }
            }
            names.snapshots.insert(name.clone());
        }
        names
    }

    /// Why the step may have failed: a fault that fired meanwhile, or an outage.
    pub(super) fn excused(&self, step: &Step, before: &Before) -> Option<String> {
        let judge = self.judge();
        if !judge.armed.is_empty() {
            for (point, count) in self.site.faults_fired() {
                let fired = count > before.faults.get(&point).copied().unwrap_or(0);
                if fired && judge.armed.iter().any(|f| covers(f, &point) && may_fail(f.action)) {
                    return Some(format!("fault at {point}"));
                }
            }
        }
        if judge.down && is_managed(step) {
            return Some("the volume service is down".into());
        }
        if before.upsets.is_some_and(|upsets| upsets != judge.upsets) {
            return Some("an outage began or ended meanwhile".into());
        }
        if judge.outage.controllers.is_empty() && judge.outage.paths.is_empty() {
            return None;
        }
        let names = self.hosts_of(&judge, step);
        names
            .into_iter()
            .find(|host| judge.outage.cuts_off(host, self.paths_of(host)))
            .map(|host| format!("host {host} may have no path left"))
    }

    /// Hosts whose paths the step, or what is read back after it, needs.
    fn hosts_of(&self, judge: &Judge, step: &Step) -> BTreeSet<Name> {
        let mut hosts = BTreeSet::new();
        if let Step::Attach { host, .. } | Step::Detach { host, .. } | Step::Intrude { host, .. } = step {
            hosts.insert(host.clone());
        }
        let named = match step {
            Step::Write { volume, .. }
            | Step::Unmap { volume, .. }
            | Step::Flush { volume }
            | Step::Extend { volume, .. }
            | Step::Verify { volume }
            | Step::Scan { volume } => Some(volume),
            _ => None,
        };
        let read_back =
            judge.volumes.iter().filter(|(name, v)| !v.pending.is_empty() || Some(*name) == named);
        hosts.extend(read_back.flat_map(|(_, v)| v.hosts.iter().cloned()));
        hosts
    }

    /// Paths that the host was given.
    pub(super) fn paths_of(&self, host: &Name) -> u64 {
        self.plan.site.hosts.iter().find(|(name, _)| name == host).map_or(1, |(_, paths)| *paths)
    }

    /// A refusal that operations beside this one, or earlier failures, explain.
    pub(super) fn explained(&self, failed: &Failed, met: bool) -> bool {
        let refusal = failed.clean || failed.refused.is_some();
        refusal && (met || self.judge().drifted)
    }

    /// What the step names is in doubt from now on.
    pub(super) fn doubt(&self, step: &Step) {
        let names = self.names(step);
        let mut judge = self.judge();
        judge.drifted = true;
        judge.unsettled = true;
        judge.down |= matches!(step, Step::Restart { .. });
        judge.doubt.extend(names.volumes);
        judge.doubt.extend(names.snapshots);
    }

    /// Something waits to be settled: inventories prove nothing now.
    pub(super) fn unsettled(&self) -> bool {
        self.judge().unsettled
    }

    /// Steps that cannot be judged after what has happened.
    pub(super) fn skipped(&self, step: &Step) -> Result<(), StepEnd> {
        let skip = |why: String| Err(StepEnd::Skipped(why));
        let names = self.names(step);
        let judge = self.judge();
        if let Some(name) = names.volumes.iter().chain(&names.snapshots).find(|n| judge.doubt.contains(n)) {
            return skip(format!("{name} is in doubt"));
        }
        if judge.down && is_managed(step) && !matches!(step, Step::Restart { .. } | Step::Settle) {
            return skip("the volume service is down".into());
        }
        match step {
            Step::Depth { .. } if judge.drifted => skip("the story took another turn".into()),
            Step::Intrude { .. } | Step::Census if judge.unsettled => {
                skip("something waits to be settled".into())
            }
            _ => Ok(()),
        }
    }
}
