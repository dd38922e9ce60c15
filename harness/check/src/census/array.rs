//! LUNs, snapshots, mappings, and the objects that carry them.

use std::collections::{BTreeMap, BTreeSet};

use sanbench_api::{ArrayInventory, GroupEntry, LunEntry, ParentLink, SnapshotId, VolumeId};

use super::{BLOCKS_PER_GIB, Rules, differs, leftover, missing};
use crate::model::world::{Row, Volume, World};
use crate::verdict::Finding;

pub(super) fn compare(world: &World, seen: &ArrayInventory, rules: &Rules<'_>, out: &mut Vec<Finding>) {
    foreign(seen, rules.baseline, out);
    let mut array = Array::new(world, seen, rules);
    array.luns(out);
    array.snapshots(out);
    array.unexplained(out);
    array.identities(out);
    array.mappings(out);
    array.carriers(out);
}

/// Objects of others: all there, and unchanged where the run has no business.
fn foreign(seen: &ArrayInventory, baseline: &ArrayInventory, out: &mut Vec<Finding>) {
    let mut judge = |role: &str, name: &str, now: Option<bool>| {
        let what = match now {
            Some(true) => return,
            Some(false) => "was changed",
            None => "is gone",
        };
        let message = format!("{role} {name}, which the run did not make, {what}");
        out.push(differs("CLU-002", role, "foreign", message, "as it was before the run", what));
    };
    for before in &baseline.luns {
        let now = seen.luns.iter().find(|lun| lun.id == before.id);
        // Mappings and links of others come and go; what the run could spoil is identity, name, size and place.
        let same = |now: &LunEntry| {
            (&now.name, now.wwn, now.blocks, &now.pool)
                == (&before.name, before.wwn, before.blocks, &before.pool)
        };
        judge("lun", &before.name, now.map(same));
    }
    for before in &baseline.snapshots {
        let now = seen.snapshots.iter().find(|snapshot| snapshot.id == before.id);
        judge("snapshot", &before.name, now.map(|now| now == before));
    }
    for before in &baseline.hosts {
        let now = seen.hosts.iter().find(|host| host.id == before.id);
        judge("host", &before.name, now.map(|now| now.name == before.name));
    }
    for before in &baseline.host_groups {
        let now = seen.host_groups.iter().find(|group| group.id == before.id);
        judge("host group", &before.name, now.map(|now| now.name == before.name));
    }
    for before in &baseline.lun_groups {
        let now = seen.lun_groups.iter().find(|group| group.id == before.id);
        judge("lun group", &before.name, now.map(|now| now.name == before.name));
    }
    for before in &baseline.views {
        let now = seen.views.iter().find(|view| view.id == before.id);
        judge("mapping view", &before.name, now.map(|now| now == before));
    }
}

struct Array<'a> {
    world: &'a World,
    seen: &'a ArrayInventory,
    rules: &'a Rules<'a>,
    /// Volumes and snapshots by their names on the array.
    volumes: BTreeMap<String, VolumeId>,
    snapshots: BTreeMap<String, SnapshotId>,
    /// LUN id and snapshot id of whatever something expected depends on.
    needed_luns: BTreeSet<&'a str>,
    needed_snapshots: BTreeSet<&'a str>,
}

impl<'a> Array<'a> {
    fn new(world: &'a World, seen: &'a ArrayInventory, rules: &'a Rules<'a>) -> Self {
        let volumes = world.volumes.keys().map(|id| (rules.names.lun(*id), *id)).collect();
        let snapshots = world.snapshots.keys().map(|id| (rules.names.snapshot(*id), *id)).collect();
        Self {
            world,
            seen,
            rules,
            volumes,
            snapshots,
            needed_luns: BTreeSet::new(),
            needed_snapshots: BTreeSet::new(),
        }
    }

    fn is_foreign(&self, lun: &LunEntry) -> bool {
        self.rules.baseline.luns.iter().any(|before| before.id == lun.id)
    }

    fn luns(&mut self, out: &mut Vec<Finding>) {
        for (id, volume) in self.world.volumes.iter().filter(|(_, volume)| volume.lun && !volume.is_silent())
        {
            let name = self.rules.names.lun(*id);
            let mut found = self.seen.luns.iter().filter(|lun| lun.name == name);
            let Some(lun) = found.next() else {
                out.push(missing("CLU-005", "lun", format!("volume {id} has no LUN {name}")));
                continue;
            };
            if found.next().is_some() {
                let message = format!("volume {id} has more than one LUN {name}");
                out.push(differs("API-004", "lun", "count", message, 1, "more"));
            }
            self.lun(*id, volume, lun, out);
        }
    }

    fn lun(&mut self, id: VolumeId, volume: &Volume, lun: &'a LunEntry, out: &mut Vec<Finding>) {
        let blocks = volume.size_gib.saturating_mul(BLOCKS_PER_GIB);
        if lun.blocks != blocks {
            let requirement = if volume.extended { "EXT-001" } else { "CRE-001" };
            let message = format!("LUN of volume {id} has the wrong size");
            out.push(differs(requirement, "lun", "size", message, blocks, lun.blocks));
        }
        if lun.pool != volume.pool() && !volume.host.is_empty() {
            let message = format!("LUN of volume {id} lies in the wrong pool");
            out.push(differs("SCH-001", "lun", "pool", message, volume.pool(), &lun.pool));
        }
        let (expected, observed) = (self.world.depth(id), self.seen.depth(&lun.id));
        if observed != Some(expected) {
            let left = volume.flattened && lun.parent.is_some() && volume.parent.is_none();
            let requirement = if left { "FLT-003" } else { "CLN-003" };
            let observed = observed.map_or("a broken chain".to_owned(), |depth| format!("depth {depth}"));
            let message = format!("LUN of volume {id} stands at the wrong clone depth");
            out.push(differs(requirement, "lun", "depth", message, format!("depth {expected}"), observed));
        }
        if volume.parent.is_some() {
            self.need_ancestors(lun);
        }
    }

    /// Everything that a linked LUN hangs from is needed, whatever its name.
    fn need_ancestors(&mut self, lun: &'a LunEntry) {
        let mut at = Some(lun);
        while let Some(parent) = at.and_then(|lun| lun.parent.as_ref()) {
            let lun_id = match parent {
                ParentLink::Lun(id) => Some(id),
                ParentLink::Snapshot(id) => {
                    self.needed_snapshots.insert(id);
                    self.seen
                        .snapshots
                        .iter()
                        .find(|snapshot| snapshot.id == *id)
                        .map(|snapshot| &snapshot.lun)
                }
            };
            at = lun_id.and_then(|id| self.seen.luns.iter().find(|lun| lun.id == *id));
            if at.is_some_and(|lun| !self.needed_luns.insert(&lun.id)) {
                return; // been there, perhaps in a circle
            }
        }
    }

    fn snapshots(&mut self, out: &mut Vec<Finding>) {
        for (id, _) in self.world.snapshots.iter().filter(|(_, snapshot)| snapshot.made) {
            let name = self.rules.names.snapshot(*id);
            match self.seen.snapshots.iter().find(|snapshot| snapshot.name == name) {
                None => {
                    // Nobody asked for its removal: somebody's own tidying took it.
                    out.push(missing(
                        "SNP-011",
                        "snapshot",
                        format!("snapshot {id} is not on the array as {name}"),
                    ));
                }
                Some(found) if !found.active => {
                    let message = format!("snapshot {id} is not active");
                    out.push(differs("SNP-001", "snapshot", "active", message, "active", "not active"));
                }
                Some(_) => {}
            }
        }
    }

    /// LUNs, snapshots and jobs that nothing explains.
    fn unexplained(&self, out: &mut Vec<Finding>) {
        let mut silent = self.world.volumes.values().filter(|volume| volume.is_silent()).count();
        for lun in self.seen.luns.iter().filter(|lun| !self.is_foreign(lun)) {
            match self.volumes.get(&lun.name).and_then(|id| self.world.volumes.get(id)) {
                Some(volume) if volume.lun && !volume.is_silent() => continue,
                Some(volume) if volume.row == Row::Broken || volume.row == Row::Any => {
                    let message = format!("LUN {} is left of an operation that failed", lun.name);
                    out.push(leftover("CRE-009", "lun", message));
                    continue;
                }
                _ => {}
            }
            if self.needed_luns.contains(lun.id.as_str()) && silent > 0 {
                silent -= 1; // a silent parent, under whatever name the driver keeps it
                continue;
            }
            out.push(leftover("CLU-005", "lun", format!("LUN {} belongs to no volume", lun.name)));
        }
        for snapshot in &self.seen.snapshots {
            let known = self.snapshots.get(&snapshot.name).and_then(|id| self.world.snapshots.get(id));
            let foreign = self.rules.baseline.snapshots.iter().any(|before| before.id == snapshot.id);
            let needed = self.needed_snapshots.contains(snapshot.id.as_str());
            if !foreign && !needed && known.is_none_or(|known| !known.made) {
                let message = format!("snapshot {} belongs to nothing", snapshot.name);
                out.push(leftover("CLU-005", "snapshot", message));
            }
        }
        for job in &self.seen.jobs {
            if !self.rules.baseline.jobs.iter().any(|before| before.id == job.id) {
                out.push(leftover("CLU-001", "job", format!("job {} {} is still there", job.id, job.name)));
            }
        }
    }

    fn identities(&self, out: &mut Vec<Finding>) {
        let mut holders = BTreeMap::new();
        for lun in &self.seen.luns {
            if let Some(other) = holders.insert(lun.wwn, &lun.name) {
                let message = format!("LUNs {other} and {} share one identity", lun.name);
                out.push(differs(
                    "CRE-012",
                    "lun",
                    "wwn",
                    message,
                    "an identity of its own",
                    format!("{:?}", lun.wwn),
                ));
            }
        }
    }

    /// (LUN id, host name) of every mapping that the views make.
    fn mapped(&self) -> BTreeSet<(&'a str, &'a str)> {
        let group = |groups: &'a [GroupEntry], id: &Option<String>| {
            let found = groups.iter().find(|group| Some(&group.id) == id.as_ref());
            found.map_or(&[][..], |group| &group.members[..])
        };
        let mut mapped = BTreeSet::new();
        for view in &self.seen.views {
            let hosts = group(&self.seen.host_groups, &view.host_group);
            let luns = group(&self.seen.lun_groups, &view.lun_group);
            for host in self.seen.hosts.iter().filter(|host| hosts.contains(&host.id)) {
                mapped.extend(luns.iter().map(|lun| (lun.as_str(), host.name.as_str())));
            }
        }
        mapped
    }

    fn mappings(&self, out: &mut Vec<Finding>) {
        let mapped = self.mapped();
        let baseline = |lun: &LunEntry| self.is_foreign(lun);
        for lun in self.seen.luns.iter().filter(|lun| !baseline(lun)) {
            let volume = self.volumes.get(&lun.name).and_then(|id| self.world.volumes.get(id));
            let expected: BTreeSet<String> = volume
                .map(|v| v.attached.iter().map(|host| self.rules.names.host(host)).collect())
                .unwrap_or_default();
            let observed: BTreeSet<&str> =
                mapped.iter().filter(|(id, _)| *id == lun.id).map(|(_, host)| *host).collect();
            for host in observed.iter().filter(|host| !expected.contains(**host)) {
                let message = format!("LUN {} is still mapped to {host}", lun.name);
                out.push(leftover("ATT-001", "mapping", message));
            }
            for host in expected.iter().filter(|host| !observed.contains(host.as_str())) {
                out.push(missing("ATT-004", "mapping", format!("LUN {} is not mapped to {host}", lun.name)));
            }
            if lun.mapped && observed.is_empty() && expected.is_empty() {
                let message = format!("LUN {} says that it is mapped, to nobody known", lun.name);
                out.push(leftover("ATT-001", "mapping", message));
            }
        }
    }

    /// Hosts, groups, views and initiators exist only for hosts that have something attached.
    fn carriers(&self, out: &mut Vec<Finding>) {
        let baseline = self.rules.baseline;
        let names: BTreeSet<String> = self
            .world
            .volumes
            .values()
            .flat_map(|v| &v.attached)
            .map(|host| self.rules.names.host(host))
            .collect();
        let hosts: BTreeSet<&str> = (self.seen.hosts.iter())
            .filter(|host| {
                names.contains(&host.name) || baseline.hosts.iter().any(|before| before.id == host.id)
            })
            .map(|host| host.id.as_str())
            .collect();
        let mut left = |role: &str, name: &str| {
            out.push(leftover("CLU-001", role, format!("{role} {name} serves nobody and is still there")));
        };
        for host in self.seen.hosts.iter().filter(|host| !hosts.contains(host.id.as_str())) {
            left("host", &host.name);
        }
        let mut host_groups = BTreeSet::new();
        for group in &self.seen.host_groups {
            let foreign = baseline.host_groups.iter().any(|before| before.id == group.id);
            if foreign || group.members.iter().any(|member| hosts.contains(member.as_str())) {
                host_groups.insert(group.id.as_str());
            } else {
                left("host group", &group.name);
            }
        }
        let mut lun_groups: BTreeSet<&str> =
            baseline.lun_groups.iter().map(|group| group.id.as_str()).collect();
        for view in &self.seen.views {
            let foreign = baseline.views.iter().any(|before| before.id == view.id);
            let serves = view.host_group.as_deref().is_some_and(|group| host_groups.contains(group));
            if foreign || serves {
                lun_groups.extend(view.lun_group.as_deref());
            } else {
                left("mapping view", &view.name);
            }
        }
        for group in self.seen.lun_groups.iter().filter(|group| !lun_groups.contains(group.id.as_str())) {
            left("lun group", &group.name);
        }
        for initiator in &self.seen.initiators {
            let foreign = baseline.initiators.iter().any(|before| before.iqn == initiator.iqn);
            let serves = initiator.host.as_deref().is_some_and(|host| hosts.contains(host));
            let may_stay = self.rules.initiators_stay && initiator.host.is_none();
            if !foreign && !serves && !may_stay {
                left("initiator", &initiator.iqn);
            }
        }
    }
}
