//! What exists, and the white-box audit of the array's own invariants.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::Array;
use crate::jobs::JobKind;
use crate::object::{DeviceId, SplitStatus};
use crate::store::EXTENT_BYTES;
use crate::store::content::extents;
use crate::store::map::Slot;
use crate::store::{Content, Counter, EXTENT_BLOCKS};

/// What exists on the array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census {
    /// Objects by kind (`lun`, `snapshot`, `luncopy`, `clonepair`, `lun_migration`, `host`, `hostgroup`, `lungroup`,
    /// `portgroup`, `mappingview`, `iscsi_initiator`, `ioclass`, `vstore`, `hypermetropair`, `hypermetrodomain`,
    /// `replicationpair`, `consistentgroup`); all kinds are present.
    pub counts: BTreeMap<&'static str, u64>,
    /// Extents of 64 KiB in use or reserved over all pools.
    pub physical_extents: u64,
    /// Frozen layers that no visible snapshot owns; clones of LUNs need them.
    pub internal_layers: u64,
    /// Frozen layers that nothing can reach; always 0 unless the array leaks.
    pub leaked_layers: u64,
    /// Background work going on.
    pub jobs: u64,
}

#[derive(Default)]
struct Walk {
    layers: BTreeSet<u64>,
    maps: BTreeSet<usize>,
    extents: BTreeSet<usize>,
    /// Counter -> distinct extents that claim on it.
    claims: BTreeMap<usize, u64>,
    faults: Vec<String>,
}

impl Walk {
    fn visit(&mut self, content: &Content, what: &str) {
        if self.maps.insert(content.map().identity()) {
            for (index, slot) in content.map().occupied() {
                let Slot::Data(extent) = slot else { continue };
                if index >= extents(content.blocks()) {
                    self.faults.push(format!("{what}: extent {index} lies behind the size"));
                }
                if self.extents.insert(Arc::as_ptr(extent) as usize) {
                    *self.claims.entry(extent.token.counter_id()).or_default() += 1;
                }
            }
        }
        let tail = content.blocks() % EXTENT_BLOCKS;
        if tail > 0
            && let Some(extent) = content.visible(content.blocks() / EXTENT_BLOCKS)
        {
            let mut slices = Vec::new();
            let tail = (tail * 512) as usize;
            // Unreadable content is the medium's fault, and whoever reads it hears of it.
            let readable = extent.body.read(tail, EXTENT_BYTES - tail, &mut slices).is_ok();
            if readable && slices.iter().any(|slice| slice.iter().any(|byte| *byte != 0)) {
                self.faults.push(format!("{what}: garbage behind the size"));
            }
        }
        if let Some(layer) = content.link()
            && self.layers.insert(layer.id)
        {
            self.visit(&layer.content, what);
        }
    }
}

impl Array {
    fn walk(&self) -> Walk {
        let mut walk = Walk::default();
        for lun in self.luns.iter() {
            walk.visit(&lun.content, &format!("lun {}", lun.id));
            if let Some(stale) = &lun.stale_view {
                walk.visit(stale, &format!("lun {} before its extend", lun.id));
            }
        }
        for snapshot in self.snapshots.iter() {
            if let Some(layer) = &snapshot.layer {
                walk.layers.insert(layer.id);
                walk.visit(&layer.content, &format!("snapshot {}", snapshot.id));
            }
        }
        for (id, job) in self.jobs.iter() {
            if let JobKind::LunCopy { source, .. } | JobKind::ClonePair { source, .. } = &job.kind {
                walk.visit(source, &format!("job {id}"));
            }
        }
        for (lun, content) in self.stagings() {
            walk.visit(content, &format!("what is copied to lun {lun}"));
        }
        for (pair, content) in self.frozen_points() {
            walk.visit(content, &format!("the point of pair {pair}"));
        }
        walk
    }

    /// Counts what exists.
    pub fn census(&self) -> Census {
        let reached = self.walk().layers;
        let owned: BTreeSet<u64> = self
            .snapshots
            .iter()
            .filter_map(|snapshot| snapshot.layer.as_ref())
            .map(|layer| layer.id)
            .collect();
        let alive: BTreeSet<u64> =
            self.layers.iter().filter(|(_, layer)| layer.strong_count() > 0).map(|(id, _)| *id).collect();
        let counts = [
            ("lun", self.luns.len()),
            ("snapshot", self.snapshots.len()),
            ("luncopy", self.lun_copies.len()),
            ("clonepair", self.clone_pairs.len()),
            ("lun_migration", self.migrations.len()),
            ("host", self.hosts.len()),
            ("hostgroup", self.host_groups.len()),
            ("lungroup", self.lun_groups.len()),
            ("portgroup", self.port_groups.len()),
            ("mappingview", self.views.len()),
            ("iscsi_initiator", self.initiators.len()),
            ("ioclass", self.qos.len()),
            ("vstore", self.vstores.len()),
            ("hypermetropair", self.pairs().filter(|pair| pair.is_metro()).count()),
            ("hypermetrodomain", self.domains().count()),
            ("replicationpair", self.pairs().filter(|pair| !pair.is_metro()).count()),
            ("consistentgroup", self.pair_groups().count()),
        ];
        Census {
            counts: counts.into_iter().map(|(kind, count)| (kind, count as u64)).collect(),
            physical_extents: self.pools.iter().map(|pool| pool.used_extents()).sum(),
            internal_layers: alive.difference(&owned).count() as u64,
            leaked_layers: alive.difference(&reached).count() as u64,
            jobs: self.jobs.len() as u64,
        }
    }

    /// Checks the array's invariants from inside; each string is a fault. Costs a walk over all content.
    pub fn audit(&self) -> Vec<String> {
        let walk = self.walk();
        let mut out = walk.faults;
        self.audit_space(&walk.claims, &mut out);
        for (id, layer) in &self.layers {
            if layer.strong_count() > 0 && !walk.layers.contains(id) {
                out.push(format!("layer {id} is leaked"));
            }
        }
        self.audit_tables(&mut out);
        self.audit_devices(&mut out);
        self.audit_groups(&mut out);
        self.audit_reach(&mut out);
        self.audit_pairs(&mut out);
        out
    }

    fn audit_space(&self, claims: &BTreeMap<usize, u64>, out: &mut Vec<String>) {
        let claimed =
            |counter: &Arc<Counter>| claims.get(&(Arc::as_ptr(counter) as usize)).copied().unwrap_or(0);
        for pool in &self.pools {
            let used = pool.used.load(Ordering::Relaxed);
            if used != claimed(&pool.used) {
                out.push(format!("pool {}: counts {used} extents, holds {}", pool.name, claimed(&pool.used)));
            }
            if pool.used_extents() > pool.capacity {
                out.push(format!(
                    "pool {}: {} of {} extents in use",
                    pool.name,
                    pool.used_extents(),
                    pool.capacity
                ));
            }
            let luns = || self.luns.iter().filter(|lun| lun.pool == pool.id);
            let (provisioned, reserved): (u64, u64) = luns()
                .map(|lun| (lun.blocks(), lun.quota.as_ref().map_or(0, |quota| quota.extents)))
                .fold((0, 0), |sum, lun| (sum.0 + lun.0, sum.1 + lun.1));
            if (pool.provisioned, pool.reserved) != (provisioned, reserved) {
                out.push(format!("pool {}: provisioned or reserved sum is wrong", pool.name));
            }
        }
        for lun in self.luns.iter() {
            if let Some(quota) = &lun.quota {
                let used = quota.used.load(Ordering::Relaxed);
                if used != claimed(&quota.used) || used > quota.extents {
                    out.push(format!(
                        "lun {}: reservation of {} counts {used}, holds {}",
                        lun.id,
                        quota.extents,
                        claimed(&quota.used)
                    ));
                }
            }
        }
    }

    fn audit_tables(&self, out: &mut Vec<String>) {
        self.luns.audit("lun", out);
        self.snapshots.audit("snapshot", out);
        self.lun_copies.audit("luncopy", out);
        self.hosts.audit("host", out);
        self.host_groups.audit("hostgroup", out);
        self.lun_groups.audit("lungroup", out);
        self.port_groups.audit("portgroup", out);
        self.views.audit("mappingview", out);
        self.qos.audit("ioclass", out);
        self.audit_vstores(out);
        self.audit_kin(out);
    }

    fn audit_devices(&self, out: &mut Vec<String>) {
        let exists = |device: DeviceId| self.geometry(device).is_some();
        let mut wwns = BTreeSet::new();
        let identities =
            self.luns.iter().map(|lun| lun.wwn).chain(self.snapshots.iter().map(|snapshot| snapshot.wwn));
        if !self.defects.duplicate_wwn && !identities.into_iter().all(|wwn| wwns.insert(wwn)) {
            out.push("two devices share a WWN".to_owned());
        }
        for lun in self.luns.iter() {
            if lun.origin.is_some() != lun.content.link().is_some() {
                out.push(format!("lun {}: origin and link disagree", lun.id));
            }
            if lun.origin.is_some_and(|origin| !exists(origin.source)) {
                out.push(format!("lun {}: its source is gone", lun.id));
            }
            lun.cache.audit(extents(lun.blocks()), &format!("lun {}", lun.id), out);
            let splitting = self
                .jobs
                .values()
                .filter(|job| matches!(job.kind, JobKind::Split { lun: id } if id == lun.id))
                .count();
            if splitting != usize::from(lun.split == SplitStatus::Running) {
                out.push(format!("lun {}: {splitting} split jobs, status {:?}", lun.id, lun.split));
            }
        }
        for snapshot in self.snapshots.iter() {
            if !self.luns.contains(snapshot.parent) {
                out.push(format!("snapshot {}: its LUN is gone", snapshot.id));
            }
        }
        for (source, target) in self
            .lun_copies
            .iter()
            .map(|c| (c.source, c.target))
            .chain(self.clone_pairs.values().map(|p| (p.source, p.target)))
            .chain(self.migrations.values().map(|task| (DeviceId::Lun(task.id), task.target)))
        {
            if !exists(source) || !exists(DeviceId::Lun(target)) {
                out.push(format!("a copy task refers to {source:?} or LUN {target}, which is gone"));
            }
        }
    }

    fn audit_groups(&self, out: &mut Vec<String>) {
        let mut expect = |good: bool, what: String| {
            if !good {
                out.push(what);
            }
        };
        for group in self.host_groups.iter() {
            let both = group
                .hosts
                .iter()
                .all(|host| self.hosts.get(*host).is_some_and(|host| host.groups.contains(&group.id)));
            expect(both, format!("host group {}: a member does not know it", group.id));
            let views = group
                .views
                .iter()
                .all(|view| self.views.get(*view).is_some_and(|view| view.host_group == Some(group.id)));
            expect(views, format!("host group {}: a view does not hold it", group.id));
        }
        for host in self.hosts.iter() {
            let both = host.groups.iter().all(|group| {
                self.host_groups.get(*group).is_some_and(|group| group.hosts.contains(&host.id))
            });
            expect(both, format!("host {}: a group does not know it", host.id));
        }
        for group in self.lun_groups.iter() {
            let both = group.members.iter().all(|member| match member {
                DeviceId::Lun(id) => self.luns.get(*id).is_some_and(|lun| lun.groups.contains(&group.id)),
                DeviceId::Snapshot(id) => {
                    self.snapshots.get(*id).is_some_and(|snap| snap.groups.contains(&group.id))
                }
            });
            expect(both, format!("LUN group {}: a member does not know it", group.id));
            let views = group
                .views
                .iter()
                .all(|view| self.views.get(*view).is_some_and(|view| view.lun_group == Some(group.id)));
            expect(views, format!("LUN group {}: a view does not hold it", group.id));
        }
        let members = self.luns.iter().map(|lun| (DeviceId::Lun(lun.id), &lun.groups));
        for (device, groups) in
            members.chain(self.snapshots.iter().map(|snap| (DeviceId::Snapshot(snap.id), &snap.groups)))
        {
            let both = groups.iter().all(|group| {
                self.lun_groups.get(*group).is_some_and(|group| group.members.contains(&device))
            });
            expect(both, format!("{device:?}: a group does not know it"));
        }
        for view in self.views.iter() {
            let host = view.host_group.is_none_or(|group| {
                self.host_groups.get(group).is_some_and(|group| group.views.contains(&view.id))
            });
            let lun = view.lun_group.is_none_or(|group| {
                self.lun_groups.get(group).is_some_and(|group| group.views.contains(&view.id))
            });
            let port = view.port_group.is_none_or(|group| {
                self.port_groups.get(group).is_some_and(|group| group.views.contains(&view.id))
            });
            expect(host && lun && port, format!("view {}: a group does not know it", view.id));
        }
        for initiator in self.initiators.values() {
            expect(
                initiator.host.is_none_or(|host| self.hosts.contains(host)),
                format!("{}: its host is gone", initiator.iqn),
            );
        }
    }
}
