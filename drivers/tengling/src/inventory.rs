//! The listing of the array for the census, and removal of single objects for clean-up.

use std::collections::BTreeMap;

use http::Method;
use sanbench_api::{
    ArrayInventory, DriverError, GroupEntry, HostEntry, InitiatorEntry, Inventory, JobEntry, LunEntry,
    ObjectKind, ObjectRef, SnapshotEntry, SnapshotId, ViewEntry, VolumeId, async_trait,
};
use serde_json::json;

use crate::TenglingDriver;
use crate::client::{Client, Repeat};
use crate::copy::{ClonePair, LunCopy};
use crate::error::CallError;
use crate::host::{Host, Initiator};
use crate::lun::Lun;
use crate::mapping::Named;
use crate::names;
use crate::snapshot::Snapshot;
use crate::value::{Record, quote};

const PAIR: &str = "clone pair ";

/// Clone pairs have no names. The number alone may be another one's by the time it is removed.
fn pair_name(pair: &ClonePair) -> String {
    format!("{PAIR}{} to LUN {}", pair.id, pair.target)
}

fn made_for(name: &str) -> Option<String> {
    names::host_of_mapping_object(name).map(str::to_owned)
}

fn by_id<T>(mut items: Vec<T>, id: impl Fn(&T) -> &str) -> Vec<T> {
    // Ids are numbers as text, mostly: order them as such.
    items.sort_by(|a, b| {
        let key = |t| (id(t).parse::<u64>().unwrap_or(u64::MAX), id(t).to_owned());
        key(a).cmp(&key(b))
    });
    items
}

impl Client {
    /// Objects of `collection` that are associated with one object; none when that one is gone.
    async fn associated<T: Record>(
        &self,
        collection: &str,
        kind: u32,
        id: &str,
    ) -> Result<Vec<T>, CallError> {
        let path = format!("{collection}/associate?ASSOCIATEOBJTYPE={kind}&ASSOCIATEOBJID={}", quote(id));
        match self.list(&path).await {
            Err(e) if e.is_missing() => Ok(Vec::new()),
            other => other,
        }
    }

    async fn inventory(&self) -> Result<ArrayInventory, DriverError> {
        let mut luns = Vec::new();
        for lun in self.luns().await? {
            let mapped = self.lun_is_mapped(&lun).await?;
            luns.push(LunEntry {
                mapped,
                id: lun.id,
                name: lun.name,
                wwn: lun.wwn,
                blocks: lun.sectors,
                pool: lun.pool,
                parent: lun.parent,
                description: lun.description,
            });
        }
        let snapshots = self.snapshots().await?.into_iter().map(|s| SnapshotEntry {
            active: s.is_active(),
            id: s.id,
            name: s.name,
            lun: s.parent,
            blocks: s.sectors,
            description: s.description,
        });
        let initiators: Vec<Initiator> = self.list("iscsi_initiator").await?;
        let mut bound: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for initiator in &initiators {
            if let Some(host) = &initiator.host {
                bound.entry(host.clone()).or_default().push(initiator.iqn.clone());
            }
        }
        let hosts = self.list::<Host>("host").await?.into_iter().map(|h| HostEntry {
            initiators: bound.get(&h.id).cloned().unwrap_or_default(),
            id: h.id,
            name: h.name,
        });
        let mut jobs: Vec<JobEntry> = self
            .lun_copies()
            .await?
            .into_iter()
            .map(|j| JobEntry { id: j.id, name: j.name, lun: None })
            .collect();
        let pairs = self.clone_pairs().await?;
        jobs.extend(pairs.into_iter().map(|p| JobEntry {
            name: pair_name(&p),
            id: p.id,
            lun: Some(p.target),
        }));
        Ok(ArrayInventory {
            luns: by_id(luns, |l| &l.id),
            snapshots: by_id(snapshots.collect(), |s| &s.id),
            hosts: by_id(hosts.collect(), |h| &h.id),
            host_groups: self.host_groups().await?,
            lun_groups: self.lun_groups().await?,
            views: self.views().await?,
            initiators: by_id(
                initiators.into_iter().map(|i| InitiatorEntry { iqn: i.iqn, host: i.host }).collect(),
                |i| &i.iqn,
            ),
            jobs: by_id(jobs, |j| &j.id),
        })
    }

    async fn host_groups(&self) -> Result<Vec<GroupEntry>, CallError> {
        let mut groups = Vec::new();
        for group in self.list::<Named>("hostgroup").await? {
            let hosts = self.associated::<Host>("host", 14, &group.id).await?;
            let members = hosts.into_iter().map(|h| h.id).collect();
            groups.push(GroupEntry {
                made_for: made_for(&group.name),
                id: group.id,
                name: group.name,
                members,
            });
        }
        Ok(by_id(groups, |g| &g.id))
    }

    async fn lun_groups(&self) -> Result<Vec<GroupEntry>, CallError> {
        let mut groups = Vec::new();
        for group in self.list::<Named>("lungroup").await? {
            let luns = self.associated::<Lun>("lun", 256, &group.id).await?;
            let snapshots = self.associated::<Snapshot>("snapshot", 256, &group.id).await?;
            let snapshots = snapshots.into_iter().map(|s| format!("snapshot:{}", s.id));
            let members = luns.into_iter().map(|l| l.id).chain(snapshots).collect();
            groups.push(GroupEntry {
                made_for: made_for(&group.name),
                id: group.id,
                name: group.name,
                members,
            });
        }
        Ok(by_id(groups, |g| &g.id))
    }

    async fn views(&self) -> Result<Vec<ViewEntry>, CallError> {
        let mut views = Vec::new();
        for view in self.list::<Named>("mappingview").await? {
            let hosts = self.associated::<Named>("hostgroup", 245, &view.id).await?;
            let luns = self.associated::<Named>("lungroup", 245, &view.id).await?;
            views.push(ViewEntry {
                host_group: hosts.into_iter().next().map(|g| g.id),
                lun_group: luns.into_iter().next().map(|g| g.id),
                made_for: made_for(&view.name),
                id: view.id,
                name: view.name,
            });
        }
        Ok(by_id(views, |v| &v.id))
    }

    /// Takes a group out of every view that has it.
    async fn leave_views(&self, kind: u32, group: &str) -> Result<(), DriverError> {
        for view in self.associated::<Named>("mappingview", kind, group).await? {
            self.remove_from_view(&view.id, kind, group).await?;
        }
        Ok(())
    }

    async fn remove_object(&self, object: &ObjectRef) -> Result<(), DriverError> {
        let id = object.id.as_str();
        match object.kind {
            ObjectKind::Lun => {
                // The id may belong to another LUN by now: names are what is ours.
                if self.lun(id).await?.is_none_or(|l| l.name != object.name) {
                    return Ok(());
                }
                for group in self.groups_of_lun(id).await? {
                    self.remove_from_lun_group(&group.id, 11, id).await?;
                }
                self.delete::<Lun>("lun", id, &object.name).await?;
            }
            ObjectKind::Snapshot => {
                let Some(snapshot) = self.snapshot(id).await?.filter(|s| s.name == object.name) else {
                    return Ok(());
                };
                for group in self.associated::<Named>("lungroup", 27, id).await? {
                    self.remove_from_lun_group(&group.id, 27, id).await?;
                }
                self.remove_snapshot(&snapshot).await?;
            }
            ObjectKind::Host => {
                let Some(host) = self.get_one::<Host>("host", id).await?.filter(|h| h.name == object.name)
                else {
                    return Ok(());
                };
                for initiator in self.initiators_of(id).await? {
                    self.remove_initiator(&initiator).await?;
                }
                for group in self.host_groups().await?.iter().filter(|g| g.members.iter().any(|m| m == id)) {
                    self.remove_host_from_group(&group.id, id).await?;
                }
                self.delete::<Host>("host", id, &host.name).await?;
            }
            ObjectKind::HostGroup => {
                if self.get_one::<Named>("hostgroup", id).await?.is_none_or(|g| g.name != object.name) {
                    return Ok(());
                }
                self.leave_views(14, id).await?;
                for host in self.associated::<Host>("host", 14, id).await? {
                    self.remove_host_from_group(id, &host.id).await?;
                }
                self.delete::<Named>("hostgroup", id, &object.name).await?;
            }
            ObjectKind::LunGroup => {
                if self.get_one::<Named>("lungroup", id).await?.is_none_or(|g| g.name != object.name) {
                    return Ok(());
                }
                self.leave_views(256, id).await?;
                for lun in self.associated::<Lun>("lun", 256, id).await? {
                    self.remove_from_lun_group(id, 11, &lun.id).await?;
                }
                for snapshot in self.associated::<Snapshot>("snapshot", 256, id).await? {
                    self.remove_from_lun_group(id, 27, &snapshot.id).await?;
                }
                self.delete::<Named>("lungroup", id, &object.name).await?;
            }
            ObjectKind::MappingView => {
                if self.get_one::<Named>("mappingview", id).await?.is_none_or(|v| v.name != object.name) {
                    return Ok(());
                }
                for (collection, kind) in [("hostgroup", 14), ("lungroup", 256)] {
                    for group in self.associated::<Named>(collection, 245, id).await? {
                        self.remove_from_view(id, kind, &group.id).await?;
                    }
                }
                self.delete::<Named>("mappingview", id, &object.name).await?;
            }
            ObjectKind::Initiator => {
                if let Some(initiator) = self.get_one::<Initiator>("iscsi_initiator", id).await? {
                    self.remove_initiator(&initiator).await?;
                }
            }
            ObjectKind::Job if object.name.starts_with(PAIR) => {
                let pair = self.get_one::<ClonePair>("clonepair", id).await?;
                if pair.is_some_and(|p| pair_name(&p) == object.name) {
                    self.remove_pair(id).await?;
                }
            }
            ObjectKind::Job => {
                if let Some(job) =
                    self.get_one::<LunCopy>("luncopy", id).await?.filter(|j| j.name == object.name)
                {
                    // A running copy cannot be deleted; one that ended cannot be stopped.
                    let body = json!({"TYPE": "219", "ID": id});
                    let _ = self.call(Method::PUT, "luncopy/stop", Some(body), Repeat::Safe).await;
                    self.remove_lun_copy(&job).await?;
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Inventory for TenglingDriver {
    async fn list(&self) -> Result<ArrayInventory, DriverError> {
        self.client.inventory().await
    }

    fn lun_name(&self, name_id: &VolumeId) -> String {
        names::object_name(&name_id.0)
    }

    fn snapshot_name(&self, id: &SnapshotId) -> String {
        names::object_name(&id.0)
    }

    fn host_name(&self, host: &str) -> String {
        self.client.host_name(host)
    }

    async fn remove(&self, object: &ObjectRef) -> Result<(), DriverError> {
        self.client.remove_object(object).await
    }
}
