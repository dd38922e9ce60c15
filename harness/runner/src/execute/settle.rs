//! Settling: faults are taken away, outages healed, what is down is restarted; then whatever failed is tried again, and
//! must work; then everything is looked at.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;

/// After paths were cut: dead sessions are noticed, late writes have been fenced or have arrived.
const AFTER_OUTAGE: Duration = Duration::from_secs(150);
/// After faults that only single calls met: jobs that were begun have ended, paths that were doubted are used again.
const AFTER_FAULTS: Duration = Duration::from_secs(60);
/// Pause between two tries to bring open flows to their ends.
const PAUSE: Duration = Duration::from_secs(10);
/// Tries to bring open flows to their ends.
const TRIES: u32 = 6;
/// Longest that a healed world may need to come to rest (CON-004), virtual time.
const LONGEST: Duration = Duration::from_secs(1800);

impl Player<'_> {
    pub(super) async fn settle(&self) -> Ended {
        let begun = self.site.env().now();
        let outage = self.calm().await?;
        if !self.unsettled() && self.judge().doubt.is_empty() {
            if outage {
                self.site.env().sleep(AFTER_OUTAGE).await;
                self.settled();
            }
            self.reread();
            return Ok(String::new());
        }
        self.site.env().sleep(if outage { AFTER_OUTAGE } else { AFTER_FAULTS }).await;
        self.settled();
        if self.is_down() {
            self.site.restart(&BTreeMap::new()).await.map_err(|e| match e {
                SiteError::Unreachable(message) => {
                    stuck("service", "down", "the service does not start", &message)
                }
                other => outages::not_possible(other),
            })?;
            self.judge().down = false;
        }
        self.finish_flows().await?;
        self.unreserve().await?;
        let revoked = self.mark_revoked();
        self.amend(&revoked).await?;
        let took = self.site.env().now().saturating_sub(begun);
        if took > LONGEST {
            let took = format!("{} s", took.as_secs());
            return Err(stuck("world", "slow", "a healed world does not come to rest", &took));
        }
        let resolved = {
            let mut judge = self.judge();
            judge.unsettled = false;
            std::mem::take(&mut judge.doubt).len()
        };
        self.judge().listing = None;
        self.reread();
        Ok(format!("{resolved} in doubt"))
    }

    /// Takes faults away and heals; true if there was an outage.
    async fn calm(&self) -> Result<bool, StepEnd> {
        self.disarm()?;
        let (paths, controllers) = {
            let judge = self.judge();
            (judge.outage.paths.keys().cloned().collect::<Vec<_>>(), judge.outage.controllers.clone())
        };
        let portals = self.judge().outage.portals.clone();
        let outage = !paths.is_empty() || !controllers.is_empty() || !portals.is_empty();
        for controller in controllers {
            self.controller(controller, true).await?;
        }
        for host in paths {
            self.path(&host, 0, PathState::Up).await?;
        }
        for portal in portals {
            self.portal(portal, true).await?;
        }
        let pools = self.judge().outage.pools.clone();
        for pool in pools {
            self.drain(&pool).await?;
        }
        self.heal_link().await?;
        self.site.heal().await.map_err(outages::not_possible)?;
        Ok(outage)
    }

    /// Every volume is to be read back.
    fn reread(&self) {
        let names: Vec<Name> = self.judge().volumes.keys().cloned().collect();
        names.iter().for_each(|name| self.judge().expect(name, &["DAT-004"]));
    }

    /// Brings open flows to their ends.
    async fn finish_flows(&self) -> Result<(), StepEnd> {
        let control = self.site.control();
        let mut said = Vec::new();
        for _ in 0..TRIES {
            said = control.reconcile().await.map_err(|e| {
                stuck("service", "reconcile", "a healed service cannot be reconciled", &e.to_string())
            })?;
            let left = control.leftovers().map_err(broken)?;
            if left.open_flows.is_empty() && left.control_attachments.is_empty() {
                return Ok(());
            }
            self.site.env().sleep(PAUSE).await;
        }
        Err(stuck("flow", "open", "an open flow cannot be brought to its end", &said.join("; ")))
    }

    /// What has no mapping any more is to be detached.
    fn mark_revoked(&self) -> BTreeSet<Name> {
        let mut judge = self.judge();
        let judge = &mut *judge;
        let revoked = std::mem::take(&mut judge.revoked);
        judge.drifted |= !revoked.is_empty();
        judge.doubt.extend(revoked.iter().filter(|name| judge.volumes.contains_key(*name)).cloned());
        judge.detach_again.extend(revoked.iter().cloned());
        revoked
    }

    /// Reservations whose taking or giving up is in doubt are given up: they would keep others away later.
    async fn unreserve(&self) -> Result<(), StepEnd> {
        let held: Vec<(Name, Volume)> = {
            let judge = self.judge();
            let doubtful = judge.reserved.keys().filter(|name| judge.doubt.contains(*name));
            doubtful.filter_map(|name| Some((name.clone(), judge.volumes.get(name)?.clone()))).collect()
        };
        for (name, v) in held {
            for host in &v.hosts {
                let (Some(connector), Some(own), Ok(info)) =
                    (self.site.connector(host), self.site.host_name(host), self.connection(v.id, host))
                else {
                    continue;
                };
                // A host that has booted meanwhile may not have the device yet; what is to be detached need not have one.
                let device = self.site.control().device(v.id, &own).await;
                if device.is_err() && self.judge().detach_again.contains(&name) {
                    continue;
                }
                device
                    .map_err(|e| stuck("guest", "disk", "a guest does not get its disk", &e.to_string()))?;
                // Whoever does not hold it has nothing to give up.
                connector.reservation(&info, Some(self.key_of(host))).await.map_err(|e| {
                    stuck("reservation", "release", "a reservation cannot be given up", &e.to_string())
                })?;
            }
            self.judge().reserved.remove(&name);
        }
        Ok(())
    }

    /// What the user does about objects in an error status: detach, delete, try again. All of it must work (INV-P15).
    async fn amend(&self, revoked: &BTreeSet<Name>) -> Result<(), StepEnd> {
        let control = self.site.control();
        let known: BTreeMap<VolumeId, Name> =
            self.judge().volumes.iter().map(|(name, v)| (v.id, name.clone())).collect();
        let cached = !control.cache_entries().map_err(broken)?.is_empty();
        if cached || !self.judge().internal.is_empty() {
            // What the cache took in meanwhile, or gave up for what never came, is not known: it begins anew.
            control
                .purge_image_cache()
                .await
                .map_err(|e| stuck("cache", "purge", "the image cache", &e.to_string()))?;
            let internal = std::mem::take(&mut self.judge().internal);
            for id in internal {
                self.judge().control.complete(&Operation::DeleteVolume { id }, Answer::Done);
            }
        }
        let snapshots = control.snapshots().map_err(broken)?;
        let known_snapshots: BTreeMap<SnapshotId, Name> =
            self.judge().snapshots.iter().map(|(name, s)| (s.id, name.clone())).collect();
        let doubt = self.judge().doubt.clone();
        let rows = control.volumes().map_err(broken)?;
        let doomed: BTreeSet<VolumeId> = rows
            .iter()
            .filter(|v| !v.internal)
            .filter(|v| v.status.as_str().starts_with("error") || !known.contains_key(&v.id))
            .map(|v| v.id)
            .collect();
        for row in &snapshots {
            let name = known_snapshots.get(&row.id);
            let healthy = row.status.as_str() == "available" && name.is_some();
            if healthy && !doomed.contains(&row.volume) {
                continue;
            }
            control.delete_snapshot(row.id).await.map_err(|e| {
                stuck("snapshot", row.status.as_str(), "a snapshot cannot be deleted", &e.to_string())
            })?;
            self.judge().control.complete(&Operation::DeleteSnapshot { id: row.id }, Answer::Done);
        }
        for row in rows.iter().filter(|v| !v.internal) {
            let name = known.get(&row.id);
            let status = row.status.as_str();
            if !(status.starts_with("error") || matches!(status, "available" | "in-use")) {
                return Err(stuck("volume", status, "a volume stays in a transitional status", status));
            }
            let doomed = doomed.contains(&row.id);
            let attached: Vec<_> =
                control.attachments().map_err(broken)?.into_iter().filter(|a| a.volume == row.id).collect();
            for a in attached {
                let expected = name.is_some_and(|name| {
                    let judge = self.judge();
                    let hosts = judge.volumes.get(name).map(|v| v.hosts.clone()).unwrap_or_default();
                    hosts.iter().any(|h| self.site.host_name(h).as_deref() == Some(a.host.as_str()))
                });
                let again = name.is_some_and(|name| self.judge().detach_again.contains(name));
                if expected && !doomed && !again {
                    // The guest of a host that booted while its paths were cut has no disk yet.
                    control.device(row.id, &a.host).await.map_err(|e| {
                        stuck("guest", "disk", "a guest does not get its disk", &e.to_string())
                    })?;
                    continue;
                }
                let mut done = control.detach(row.id, a.instance, DetachOptions::default()).await;
                if done.is_err() && name.is_some_and(|name| revoked.contains(name)) {
                    // A device that has no path left is only taken away by force.
                    done = control.detach(row.id, a.instance, DetachOptions { force: true }).await;
                }
                done.map_err(|e| stuck("volume", "detach", "a volume cannot be detached", &e.to_string()))?;
                let gone = Operation::Detach { volume: row.id, host: a.host.clone() };
                self.judge().control.complete(&gone, Answer::Done);
            }
            if doomed {
                control
                    .delete_volume(row.id)
                    .await
                    .map_err(|e| stuck("volume", status, "a volume cannot be deleted", &e.to_string()))?;
                self.judge().control.complete(&Operation::DeleteVolume { id: row.id }, Answer::Done);
            } else if let Some(name) = name.filter(|name| doubt.contains(*name)) {
                if self.judge().flatten_again.contains(name) {
                    control.flatten_volume(row.id).await.map_err(|e| {
                        stuck("volume", "flatten", "a volume cannot be flattened", &e.to_string())
                    })?;
                    let _ = self.judge().data.flatten(row.id);
                    self.judge().control.complete(&Operation::Flatten { id: row.id }, Answer::Done);
                }
                self.agree(name, row.size_gib)?;
            }
        }
        self.forget_gone()
    }

    /// A volume in doubt that is whole: what the API says about it is what goes on.
    fn agree(&self, name: &Name, size_gib: u64) -> Result<(), StepEnd> {
        let attachments = self.site.control().attachments().map_err(broken)?;
        let mut judge = self.judge();
        let Some(v) = judge.volumes.get_mut(name) else { return Ok(()) };
        v.size_gib = size_gib;
        let id = v.id;
        v.hosts.retain(|host| {
            let host = self.site.host_name(host);
            attachments.iter().any(|a| a.volume == id && Some(&a.host) == host.as_ref())
        });
        judge.data.extend(id, size_gib << 21)?;
        Ok(())
    }

    /// Volumes and snapshots of the story that do not exist any more.
    pub(super) fn forget_gone(&self) -> Result<(), StepEnd> {
        let control = self.site.control();
        let volumes: BTreeSet<VolumeId> = control.volumes().map_err(broken)?.iter().map(|v| v.id).collect();
        let snapshots: BTreeSet<SnapshotId> =
            control.snapshots().map_err(broken)?.iter().map(|s| s.id).collect();
        let mut judge = self.judge();
        let judge = &mut *judge;
        judge.control.rest(&volumes, &snapshots);
        judge.detach_again.clear();
        judge.flatten_again.clear();
        let gone: Vec<Name> = judge
            .volumes
            .iter()
            .filter(|(_, v)| !volumes.contains(&v.id))
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            if let Some(v) = judge.volumes.remove(&name) {
                judge.data.delete(v.id)?;
                judge.wwns.remove(&v.id);
                judge.something_deleted = true;
            }
        }
        let gone: Vec<Name> = judge
            .snapshots
            .iter()
            .filter(|(_, s)| !snapshots.contains(&s.id))
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            if let Some(s) = judge.snapshots.remove(&name) {
                judge.data.delete(s.id)?;
            }
        }
        Ok(())
    }
}

/// Something does not come to its end although all is healed.
fn stuck(role: &str, field: &str, message: &str, observed: &str) -> StepEnd {
    let finding = Finding::new("CON-004", "settle", role, field)
        .says(message)
        .compared("it works once everything is healed", observed);
    StepEnd::Findings(vec![finding])
}
