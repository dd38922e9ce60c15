//! What the bench believes during one case: the models, the ledger, and which requirements wait for a clean reading.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sanbench_api::{ArrayInventory, InstanceId, SnapshotId, VolumeId, Wwn};
use sanbench_check::access::Identities;
use sanbench_check::depth::Depths;
use sanbench_check::lifecycle::{Kind, Lifecycles};
use sanbench_check::locks::LockOrder;
use sanbench_check::model::control::BackendRules;
use sanbench_check::{ControlModel, DataModel, Finding, Ledger, RunTag, Timed};
use sanbench_flows::Transition;

use crate::execute::Names;
use crate::plan::PlacedFault;
use crate::site::Promise;
use crate::story::Name;

/// A volume of the story.
#[derive(Debug, Clone)]
pub(crate) struct Volume {
    pub(crate) id: VolumeId,
    pub(crate) size_gib: u64,
    /// Hosts that it is attached to, by story name.
    pub(crate) hosts: BTreeSet<Name>,
    /// Volumes made from it or that it was made from: a change here must not show there.
    pub(crate) kin: BTreeSet<Name>,
    /// Made from another volume or a snapshot.
    pub(crate) is_clone: bool,
    /// Requirements that its next clean verification upholds.
    pub(crate) pending: BTreeSet<&'static str>,
}

/// A snapshot of the story.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) id: SnapshotId,
    pub(crate) volume: Name,
    /// The volume was written, unmapped, extended or flattened since.
    pub(crate) changed_after: bool,
    /// The volume was extended since.
    pub(crate) extended_after: bool,
    /// Volumes made from it.
    pub(crate) children: BTreeSet<Name>,
}

impl Snapshot {
    /// One that is gone by now.
    pub(crate) fn gone(volume: &Name) -> Self {
        Self {
            id: SnapshotId::from_random([0; 16]),
            volume: volume.clone(),
            changed_after: false,
            extended_after: false,
            children: BTreeSet::new(),
        }
    }
}

/// Everything that is believed.
pub(crate) struct Judge {
    pub(crate) data: DataModel,
    pub(crate) control: ControlModel,
    pub(crate) lifecycles: Lifecycles,
    pub(crate) locks: LockOrder,
    pub(crate) depths: Depths,
    pub(crate) identities: Identities,
    pub(crate) ledger: Ledger,
    pub(crate) volumes: BTreeMap<Name, Volume>,
    pub(crate) snapshots: BTreeMap<Name, Snapshot>,
    pub(crate) instances: BTreeMap<Name, InstanceId>,
    pub(crate) baseline: ArrayInventory,
    /// What of it is as an earlier run of the driver left it: the driver's as soon as it is asked for anything.
    pub(crate) earlier: ArrayInventory,
    /// Ids that administrators have given names.
    pub(crate) remembered: BTreeMap<Name, String>,
    /// The array as last listed; forgotten as soon as a management operation begins.
    pub(crate) listing: Option<ArrayInventory>,
    pub(crate) wwns: BTreeMap<VolumeId, Wwn>,
    /// Volumes of the workflow itself (image cache) that are known.
    pub(crate) internal: BTreeSet<VolumeId>,
    /// Hosts for which an attach has been repeated.
    pub(crate) repeated: BTreeSet<Name>,
    /// Volumes whose persistent reservation a host of the story holds, and whether the power was lost since.
    pub(crate) reserved: BTreeMap<Name, bool>,
    /// Types of the story allow several hosts.
    pub(crate) multiattach: bool,
    /// Something written was deleted: a new volume must not show it.
    pub(crate) something_deleted: bool,
    pub(crate) decisions_judged: usize,
    /// What of the site does not work now.
    pub(crate) outage: Outage,
    /// Volumes that the array slows down: write commands a second.
    pub(crate) limits: BTreeMap<Name, u64>,
    /// Volumes that it slowed down before, and to what.
    pub(crate) unlimited: BTreeMap<Name, u64>,
    /// The volume that each host last had at each LUN.
    pub(crate) luns_seen: BTreeMap<(Name, u16), VolumeId>,
    /// Counts beginnings and ends of operations.
    pub(crate) clock: u64,
    /// Operations of the group that is being played; `None` between groups.
    pub(crate) group: Option<Vec<Timed>>,
    /// Steps of the group, under way or over.
    pub(crate) running: BTreeMap<u64, Running>,
    /// All steps of the group, those that have not begun included.
    pub(crate) in_group: Vec<Running>,
    /// Volumes that are being extended, each as often as it is.
    pub(crate) extending: Vec<VolumeId>,
    /// Until when a disturbance of the data path may be felt.
    pub(crate) shaken_until: Duration,
    /// Faults armed by steps and not taken away, by number.
    pub(crate) armed: BTreeMap<u64, PlacedFault>,
    /// Faults were taken away: what was to fail by them may succeed.
    pub(crate) disarmed: bool,
    /// Outages that began or ended so far, power losses among them.
    pub(crate) upsets: u64,
    /// Power losses so far.
    pub(crate) power_losses: u64,
    /// Some step did not end as the plan foresaw: what it names later may not be there.
    pub(crate) drifted: bool,
    /// Something waits for a second try: inventories are not judged before `settle`.
    pub(crate) unsettled: bool,
    /// The volume service did not come up.
    pub(crate) down: bool,
    /// Volumes that were attached while something was out of order.
    pub(crate) narrow: BTreeSet<Name>,
    /// Volumes that were attached under a disturbance: what their devices offer may not have been seen.
    pub(crate) half_seen: BTreeSet<Name>,
    /// Volumes that are to be detached once more: a detach failed, or a host was not told of a new size.
    pub(crate) detach_again: BTreeSet<Name>,
    /// Volumes whose flatten is in doubt: it is asked for again.
    pub(crate) flatten_again: BTreeSet<Name>,
    /// Volumes whose mapping was taken away behind the back of their hosts, until they are detached.
    pub(crate) revoked: BTreeSet<Name>,
    /// Volumes that were extended beside other lanes while not every host that has them was told.
    pub(crate) untold: BTreeSet<Name>,
    /// Volumes and snapshots that a tolerated failure has left in doubt.
    pub(crate) doubt: BTreeSet<Name>,
}

/// A step of a group.
#[derive(Debug)]
pub(crate) struct Running {
    /// Its lane.
    pub(crate) lane: Name,
    /// What it is about.
    pub(crate) names: Names,
}

/// What other lanes of the group did before a step ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Met {
    /// A step about the same volume or snapshot.
    pub(crate) related: bool,
    /// One that takes the volume away.
    pub(crate) removal: bool,
}

/// What of the site does not work now, and what was done meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    /// Controllers that are down.
    pub(crate) controllers: BTreeSet<u64>,
    /// Paths that are cut, by host; 0 is all.
    pub(crate) paths: BTreeMap<Name, BTreeSet<u64>>,
    /// Portals that are switched off, from 1.
    pub(crate) portals: BTreeSet<u64>,
    /// Pools that somebody else has filled.
    pub(crate) pools: BTreeSet<Name>,
    /// Volumes that were written while paths were cut.
    pub(crate) written: BTreeSet<Name>,
}

impl Outage {
    /// Something does not work.
    pub(crate) fn any(&self) -> bool {
        !self.controllers.is_empty() || !self.paths.is_empty() || !self.portals.is_empty()
    }

    /// Whether a host with so many paths may have none left. Path n leads to controller n - 1 by portal n; a host of one path
    /// may use either.
    pub(crate) fn cuts_off(&self, host: &Name, paths: u64) -> bool {
        let none = BTreeSet::new();
        let cut = self.paths.get(host).unwrap_or(&none);
        if paths < 2 {
            return !cut.is_empty() || !self.controllers.is_empty() || !self.portals.is_empty();
        }
        (1..=paths).all(|path| {
            cut.contains(&0)
                || cut.contains(&path)
                || self.controllers.contains(&(path - 1))
                || self.portals.contains(&path)
        })
    }

    /// A volume was written.
    pub(crate) fn wrote(&mut self, volume: &Name) {
        if !self.paths.is_empty() {
            self.written.insert(volume.clone());
        }
    }
}

impl Judge {
    pub(crate) fn new(tag: [u8; 4]) -> Self {
        Self {
            data: DataModel::new(RunTag(u32::from_be_bytes(tag))),
            control: ControlModel::default(),
            lifecycles: Lifecycles::default(),
            locks: LockOrder::default(),
            depths: Depths::default(),
            identities: Identities::default(),
            ledger: Ledger::default(),
            volumes: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            instances: BTreeMap::new(),
            baseline: ArrayInventory::default(),
            earlier: ArrayInventory::default(),
            remembered: BTreeMap::new(),
            listing: None,
            wwns: BTreeMap::new(),
            internal: BTreeSet::new(),
            repeated: BTreeSet::new(),
            reserved: BTreeMap::new(),
            multiattach: false,
            something_deleted: false,
            decisions_judged: 0,
            outage: Outage::default(),
            limits: BTreeMap::new(),
            unlimited: BTreeMap::new(),
            luns_seen: BTreeMap::new(),
            clock: 0,
            group: None,
            running: BTreeMap::new(),
            in_group: Vec::new(),
            extending: Vec::new(),
            untold: BTreeSet::new(),
            shaken_until: Duration::ZERO,
            armed: BTreeMap::new(),
            disarmed: false,
            upsets: 0,
            power_losses: 0,
            drifted: false,
            unsettled: false,
            down: false,
            narrow: BTreeSet::new(),
            half_seen: BTreeSet::new(),
            detach_again: BTreeSet::new(),
            flatten_again: BTreeSet::new(),
            revoked: BTreeSet::new(),
            doubt: BTreeSet::new(),
        }
    }

    /// The next moment in the order of beginnings and ends.
    pub(crate) fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// A step of a group begins.
    pub(crate) fn run_begins(&mut self, lane: &Name, names: Names) -> u64 {
        let id = self.tick();
        self.running.insert(id, Running { lane: lane.clone(), names });
        id
    }

    /// A step of the group ends; what steps of other lanes it met or came after, or came before although the plan may have
    /// meant it to come after: lanes have no order between them.
    pub(crate) fn met(&self, id: u64) -> Met {
        let mut met = Met::default();
        let Some(own) = self.running.get(&id) else { return met };
        for other in self.running.values().filter(|o| o.lane != own.lane && o.names.meets(&own.names)) {
            met.related = true;
            met.removal |= other.names.removes;
        }
        met.related |= self.in_group.iter().any(|o| o.lane != own.lane && o.names.meets(&own.names));
        met
    }

    /// Tells the control model what the back ends promise from now on.
    pub(crate) fn promise<'a>(&mut self, backends: impl Iterator<Item = &'a String>, promise: Promise) {
        let rules = BackendRules {
            clone_depth_limit: promise.max_clone_depth.unwrap_or(i64::MAX),
            flatten_from_snapshot: promise.flatten_from_snapshot,
            linked_clones: promise.max_clone_depth.is_none_or(|limit| limit > 0),
            multiattach: self.multiattach,
        };
        for backend in backends {
            self.control.set_backend(backend, rules);
        }
    }

    /// Adds requirements to what the next clean verification of a volume upholds.
    pub(crate) fn expect(&mut self, volume: &Name, ids: &[&'static str]) {
        if let Some(v) = self.volumes.get_mut(volume) {
            v.pending.extend(ids);
        }
    }

    /// The same for everything that shares content with a volume.
    pub(crate) fn expect_kin(&mut self, volume: &Name, ids: &[&'static str]) {
        let kin = self.volumes.get(volume).map(|v| v.kin.clone()).unwrap_or_default();
        for name in kin {
            self.expect(&name, ids);
        }
    }

    /// Two volumes share content from now on.
    pub(crate) fn relate(&mut self, a: &Name, b: &Name) {
        for (one, other) in [(a, b), (b, a)] {
            if let Some(v) = self.volumes.get_mut(one) {
                v.kin.insert(other.clone());
            }
        }
    }

    /// The volume's content changed, so its snapshots must be seen not to.
    pub(crate) fn changed(&mut self, volume: &Name, extended: bool) {
        for snapshot in self.snapshots.values_mut().filter(|s| s.volume == *volume) {
            snapshot.changed_after = true;
            snapshot.extended_after |= extended;
        }
    }

    /// Judges status changes against the state machines.
    pub(crate) fn transitions(&mut self, transitions: &[Transition]) -> Vec<Finding> {
        let mut findings = Vec::new();
        for t in transitions {
            let Some(kind) = Kind::of_word(t.kind) else { continue };
            findings.extend(self.lifecycles.take(kind, &t.id, t.from, t.to));
        }
        findings
    }

    /// Volumes that wait for a reading and are not in doubt.
    pub(crate) fn waiting(&self) -> Vec<Name> {
        let ready = |name: &Name| !self.doubt.contains(name) && !self.revoked.contains(name);
        self.volumes
            .iter()
            .filter(|(name, v)| !v.pending.is_empty() && ready(name))
            .map(|(name, _)| name.clone())
            .collect()
    }
}
