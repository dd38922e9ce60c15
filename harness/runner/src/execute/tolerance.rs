//! What may fail, and why: faults that fired, outages in force, operations beside each other.
//!
//! A step that nothing disturbed is judged strictly. Under a disturbance whose promise allows it, a failure is an unknown:
//! the models keep both outcomes, and what the step names is left alone until `settle` has decided.

use std::collections::BTreeSet;

use super::*;
use crate::judge::Met;
use crate::plan::{FaultAction, PlacedFault, Repeated, Starved};

/// Delays below this many milliseconds only cost time: less than any time-out of driver and initiator.
const HARMLESS_DELAY_MS: u64 = 4000;

/// What was so when a step began.
#[derive(Debug, Clone)]
pub(crate) struct Before {
    /// How often each fault had fired at each point.
    pub(crate) firings: Firings,
    /// Upsets so far; `None` where only what is in force counts.
    pub(crate) upsets: Option<u64>,
    /// The data path had been disturbed a moment ago.
    pub(crate) shaken: bool,
}

/// After a disturbance of the data path, sessions and paths need so long to come back.
const RECOVERY: std::time::Duration = std::time::Duration::from_secs(90);

/// Volumes and snapshots that a step is about, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) volumes: BTreeSet<Name>,
    pub(crate) snapshots: BTreeSet<Name>,
    /// The step takes a volume away from whoever uses it.
    pub(crate) removes: bool,
}

impl Names {
    /// Something is in both.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        !self.volumes.is_disjoint(&other.volumes) || !self.snapshots.is_disjoint(&other.snapshots)
    }
}

/// A fault at this point and of this kind may make the operation fail.
pub(crate) fn may_fail(fault: &PlacedFault) -> bool {
    match fault.action {
        _ if fault.masked => false,
        // Sent again until it is done; only what is refused every time is given up.
        action if action.is_scsi() => fault.nth == 0 || action.ends_command(),
        // Whoever gets it a second time sees that it is at work, or done.
        FaultAction::Twice => false,
        FaultAction::Delay(ms) => ms >= HARMLESS_DELAY_MS,
        // What a later version says besides is no reason to fail.
        FaultAction::Newer => false,
        _ => true,
    }
}

/// Plain I/O of a guest.
pub(super) fn is_io(step: &Step) -> bool {
    matches!(
        step,
        Step::Write { .. }
            | Step::Unmap { .. }
            | Step::Flush { .. }
            | Step::Forge { .. }
            | Step::Verify { .. }
            | Step::Scan { .. }
    )
}

/// What may ask the pool for space.
fn needs_space(step: &Step) -> bool {
    matches!(
        step,
        Step::Create { .. }
            | Step::Write { .. }
            | Step::Unmap { .. }
            | Step::Flush { .. }
            | Step::Forge { .. }
            | Step::Extend { .. }
            | Step::Snapshot { .. }
            | Step::DeleteSnapshot { .. }
            | Step::Flatten { .. }
            | Step::PutBack { .. }
            | Step::Reimage { .. }
    )
}

/// What happens there is felt by sessions and paths, and by whoever uses them later.
fn is_of_data_path(point: &str) -> bool {
    ["target.", "initiator.", "connector."].iter().any(|prefix| point.starts_with(prefix))
}

impl Player<'_> {
    /// The state of faults now, for a step that begins; `beside` others, also of upsets that come and go meanwhile.
    pub(super) fn before(&self, beside: bool) -> Before {
        let judge = self.judge();
        Before {
            firings: self.site.firings(),
            upsets: beside.then_some(judge.upsets),
            shaken: self.site.env().now() < judge.shaken_until,
        }
    }

    /// Takes away all faults that have not fired.
    pub(super) fn disarm(&self) -> Result<(), StepEnd> {
        self.site.disarm().map_err(outages::not_possible)?;
        let mut judge = self.judge();
        judge.disarmed |= !judge.armed.is_empty() || !self.plan.site.faults.is_empty();
        judge.armed.clear();
        Ok(())
    }

    /// A refusal of this kind comes of counted faults of the plan, and a sweep that wove faults and `settle` into it took them
    /// away, or made them meet other calls than they were meant for: whether the step must still fail is not known.
    pub(super) fn taken_away(&self, step: &Step, wanted: Refused) -> bool {
        // These are refused for what they are, faults or not.
        if matches!(step, Step::Pair { .. } | Step::Delete { .. }) {
            return false;
        }
        let counted = self.is_tolerant() && !self.plan.site.faults.is_empty();
        matches!(wanted, Refused::Io | Refused::Busy | Refused::Job) && (counted || self.judge().disarmed)
    }

    /// The plan settles what it breaks; in other stories whoever wrote them has said what must work.
    pub(super) fn is_tolerant(&self) -> bool {
        self.plan.steps.iter().any(|step| matches!(step.step, Step::Settle))
    }

    /// The volume service does not serve: it did not start, or has crashed.
    pub(super) fn is_down(&self) -> bool {
        self.judge().down || self.site.control().is_crashed()
    }

    /// A fault of the plan has crashed the volume service.
    pub(super) fn has_crashed(&self) -> bool {
        let placed = self.plan.placed_faults();
        let crashes: Vec<_> = placed.filter(|f| f.action == FaultAction::Crash && !f.is_of_job()).collect();
        !crashes.is_empty()
            && self.site.faults_fired().keys().any(|point| crashes.iter().any(|f| f.covers(point)))
    }

    /// A disturbance of the data path is over or has been noticed: until when it may still be felt.
    pub(super) fn shaken(&self) {
        self.judge().shaken_until = self.site.env().now() + RECOVERY;
    }

    /// Hosts of the plan that may have no path left.
    pub(super) fn cut_off(&self) -> BTreeSet<Name> {
        let judge = self.judge();
        if !judge.outage.any() || !self.is_tolerant() {
            return BTreeSet::new();
        }
        let hosts = self.plan.site.hosts.iter();
        hosts.filter(|(h, paths)| judge.outage.cuts_off(h, *paths)).map(|(h, _)| h.clone()).collect()
    }

    /// Volumes and snapshots that the step is about.
    pub(super) fn names(&self, step: &Step) -> Names {
        let removes = matches!(step, Step::Detach { .. } | Step::Delete { .. });
        let mut names = Names { removes, ..Names::default() };
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
            Step::DeleteSnapshot { snapshot: named, .. } | Step::PutBack { snapshot: named, .. } => {
                snapshot = Some(named);
            }
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
            | Step::Reimage { volume, .. }
            | Step::Repeat { volume, .. }
            | Step::Revoke { volume, .. }
            | Step::Forge { volume, .. }
            | Step::OutOfSpace { volume, .. }
            | Step::Spoil { volume, .. }
            | Step::Pair { volume, .. }
            | Step::Limit { volume, .. }
            | Step::Reserve { volume, .. }
            | Step::Reserved { volume, .. }
            | Step::Unreserve { volume, .. } => add(volume),
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
        let fired = self.fired(before);
        if fired.iter().any(|point| is_of_data_path(point)) {
            self.shaken();
        }
        if let Some(point) = fired.first() {
            return Some(format!("fault at {point}"));
        }
        // A detached volume is read through the service.
        let needs_service = is_managed(step) || matches!(step, Step::Verify { .. } | Step::Scan { .. });
        if needs_service && self.is_down() {
            return Some("the volume service is down".into());
        }
        let judge = self.judge();
        if before.upsets.is_some_and(|upsets| upsets != judge.upsets) {
            return Some("an outage began or ended meanwhile".into());
        }
        if !self.is_tolerant() {
            return None;
        }
        if needs_space(step)
            && let Some(pool) = judge.outage.pools.first()
        {
            return Some(format!("pool {pool} may be full"));
        }
        if let Step::Unmap { volume, .. } | Step::OutOfSpace { what: Starved::Unmap, volume, .. } = step
            && judge.half_seen.contains(volume)
        {
            return Some(format!(
                "{volume} was attached under a disturbance, and a device is asked for UNMAP only then"
            ));
        }
        if before.shaken || self.site.env().now() < judge.shaken_until {
            return Some("the data path was disturbed a moment ago".into());
        }
        if !judge.outage.any() {
            return None;
        }
        let hosts = self.hosts_of(&judge, step);
        let partly = |host: &Name| {
            judge.outage.paths.contains_key(host)
                || !judge.outage.controllers.is_empty()
                || !judge.outage.portals.is_empty()
        };
        let every = matches!(step, Step::Extend { .. } | Step::Reserve { .. });
        if let (true, Some(host)) = (every, hosts.iter().find(|host| partly(host))) {
            // That a host cannot see the new size over every path is to be reported, and each has a registration of its own;
            // `settle` looks whether it is well then.
            return Some(format!("a path of host {host} is down"));
        }
        // What was attached during an outage has only the paths that there were.
        let narrow = judge
            .volumes
            .iter()
            .find(|(name, v)| judge.narrow.contains(*name) && !v.hosts.is_disjoint(&hosts));
        if let Some((name, _)) = narrow {
            return Some(format!("{name} was attached during an outage"));
        }
        hosts
            .into_iter()
            .find(|host| judge.outage.cuts_off(host, self.paths_of(host)))
            .map(|host| format!("host {host} may have no path left"))
    }

    /// The placed faults that fired since then and were not taken away, each with the points at which it did.
    pub(super) fn fired_since(&self, before: &Before) -> Vec<PlacedFault> {
        let judge = self.judge();
        let placed = |number: u64| {
            let of_header = usize::try_from(number).ok().and_then(|at| self.plan.site.faults.get(at));
            of_header.filter(|_| !judge.disarmed).or_else(|| judge.armed.get(&number))
        };
        self.new_firings(before)
            .filter_map(|(number, point)| placed(number).map(|fault| PlacedFault { point, ..fault.clone() }))
            .collect()
    }

    /// Faults that fired since then, by number, each with the points at which it did.
    fn new_firings<'a>(&self, before: &'a Before) -> impl Iterator<Item = (u64, String)> + use<'a> {
        let firings = self.site.firings().into_iter();
        firings.filter(|(at, times)| *times > before.firings.get(at).copied().unwrap_or(0)).map(|(at, _)| at)
    }

    /// Points at which anything fired since then.
    pub(super) fn points_since(&self, before: &Before) -> BTreeSet<String> {
        self.new_firings(before).map(|(_, point)| point).collect()
    }

    /// A fault of the management interface that operations must withstand has fired since then.
    pub(super) fn met_masked_call(&self, before: &Before) -> bool {
        self.fired_since(before).iter().any(|fault| fault.masked && fault.point.starts_with("rest."))
    }

    /// The points of armed faults that fired meanwhile and under which an operation may fail.
    fn fired(&self, before: &Before) -> Vec<String> {
        let judge = self.judge();
        if judge.armed.is_empty() {
            return Vec::new();
        }
        let may = |point: &str| judge.armed.values().any(|f| f.covers(point) && may_fail(f));
        self.points_since(before).into_iter().filter(|point| may(point)).collect()
    }

    /// Hosts whose paths the step, or what is read back after it, needs.
    fn hosts_of(&self, judge: &Judge, step: &Step) -> BTreeSet<Name> {
        let mut hosts = BTreeSet::new();
        if let Step::Attach { host, .. }
        | Step::Detach { host, .. }
        | Step::Intrude { host, .. }
        | Step::Reserve { host, .. }
        | Step::Reserved { host, .. }
        | Step::Unreserve { host, .. }
        | Step::Reboot { host, .. }
        | Step::RestartInitiator { host } = step
        {
            hosts.insert(host.clone());
        }
        let named = match step {
            Step::Write { volume, .. }
            | Step::Unmap { volume, .. }
            | Step::OutOfSpace { volume, .. }
            | Step::Spoil { volume, .. }
            | Step::Flush { volume }
            | Step::Forge { volume, .. }
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

    /// A refusal that operations beside this one, or earlier failures, explain; or I/O on a volume that was taken away.
    pub(super) fn explained(&self, step: &Step, failed: &Failed, met: Met) -> bool {
        let refusal = failed.clean || failed.refused.is_some();
        // Whether there was room is judged by the checker of placements.
        let full = match failed.refused {
            Some(Refused::NoBackend | Refused::NoSpace | Refused::Quota) => true,
            Some(Refused::Limit) => self.at_limit(step),
            _ => false,
        };
        (full && self.is_tolerant())
            || (refusal && (met.related || self.judge().drifted))
            || (failed.raced && met.related)
            || (is_io(step) && met.removal)
    }

    /// The source of a clone may have as many of them as the array allows.
    fn at_limit(&self, step: &Step) -> bool {
        let (Some(limit), Step::Create { source, .. }) = (self.plan.site.clones, step) else { return false };
        let judge = self.judge();
        if judge.group.is_some() {
            // What lanes have made is counted once all have ended.
            return true;
        }
        let of = match source {
            Source::Volume(name) => Some(name),
            Source::Snapshot(name) => judge.snapshots.get(name).map(|snapshot| &snapshot.volume),
            Source::Blank | Source::Image(_) => None,
        };
        let volume = of.and_then(|name| judge.volumes.get(name));
        volume.is_some_and(|volume| judge.control.most_linked(volume.id) as u64 >= limit)
    }

    /// What the step names is in doubt from now on.
    pub(super) fn doubt(&self, step: &Step) {
        let names = self.names(step);
        let mut judge = self.judge();
        judge.drifted = true;
        judge.unsettled = true;
        judge.down |= matches!(step, Step::Restart { .. });
        if let Step::Detach { volume, .. } | Step::Extend { volume, .. } = step {
            judge.detach_again.insert(volume.clone());
        }
        if let Step::Flatten { volume, .. } = step {
            judge.flatten_again.insert(volume.clone());
        }
        judge.doubt.extend(names.volumes);
        judge.doubt.extend(names.snapshots);
    }

    /// A service that starts under a disturbance may find that it cannot export a volume again, whose status is `error` then: in
    /// doubt until `settle` has decided.
    pub(super) fn not_exported(&self) {
        let rows = self.site.control().volumes().unwrap_or_default();
        let broken: BTreeSet<VolumeId> =
            rows.iter().filter(|row| row.status.as_str().starts_with("error")).map(|row| row.id).collect();
        let mut judge = self.judge();
        let judge = &mut *judge;
        for (name, _) in judge.volumes.iter().filter(|(_, v)| broken.contains(&v.id)) {
            judge.drifted = true;
            judge.unsettled = true;
            judge.doubt.insert(name.clone());
        }
    }

    /// Something waits to be settled: inventories prove nothing now.
    pub(super) fn unsettled(&self) -> bool {
        self.judge().unsettled
    }

    /// Steps that cannot be judged after what has happened.
    pub(super) fn skipped(&self, step: &Step) -> Result<(), StepEnd> {
        let skip = |why: String| Err(StepEnd::Skipped(why));
        let names = self.names(step);
        let down = self.is_down();
        let judge = self.judge();
        // Whatever is in doubt about a volume, the host that has it must not mix sizes of it.
        let whatever = matches!(step, Step::Repeat { what: Repeated::Connect, .. });
        let doubtful = names.volumes.iter().chain(&names.snapshots).find(|n| judge.doubt.contains(n));
        if let Some(name) = doubtful.filter(|_| !whatever) {
            return skip(format!("{name} is in doubt"));
        }
        if down && is_managed(step) && !matches!(step, Step::Restart { .. } | Step::Settle | Step::Clean) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_fault_excuses_nobody() {
        let fault = |masked| PlacedFault {
            point: "rest.before:GET lun/count".into(),
            nth: 1,
            action: FaultAction::Code(1_077_936_861),
            masked,
            most: None,
        };
        assert!(may_fail(&fault(false)));
        assert!(!may_fail(&fault(true)));
    }
}
