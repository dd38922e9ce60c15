//! Volumes meet hosts, and hosts that must not have them try.

use std::collections::BTreeSet;

use sanbench_api::{ConnectorError, MultipathMap};
use sanbench_flows::Cause;

use super::*;

impl Player<'_> {
    pub(super) async fn attach(&self, step: &Step, volume: &Name, host: &Name) -> Ended {
        let id = self.volume(volume)?.id;
        let name = self.site.host_name(host).ok_or_else(|| missing("host", host))?;
        let instance = self.instance(host, &name)?;
        let connector = self.site.connector(host).ok_or_else(|| missing("host", host))?;
        let properties = connector.properties();
        let options = AttachOptions { multipath: properties.multipath, enforce_multipath: false };
        let operation = Operation::Attach { volume: id, host: name.clone() };
        let begun = self.begin();
        if let Err(error) = self.site.control().attach(id, instance, options).await {
            return Err(self.refused_or_failed(step, begun, &operation, &error));
        }
        let findings = self.complete(begun, &operation, Answer::Done);
        if !findings.is_empty() {
            return Err(StepEnd::Findings(findings));
        }
        {
            let mut judge = self.judge();
            let mut shared = false;
            if let Some(v) = judge.volumes.get_mut(volume) {
                v.hosts.insert(host.clone());
                v.pending.insert("DAT-004");
                shared = v.hosts.len() > 1;
            }
            match (judge.outage.any(), shared) {
                (true, _) => judge.narrow.insert(volume.clone()),
                // Another host may have it over fewer paths still.
                (false, true) => false,
                (false, false) => judge.narrow.remove(volume),
            };
        }
        let device = self.device(step, volume).await?;
        self.judge().wwns.insert(id, device.wwn());
        let info = match self.connection(id, host) {
            // Another lane has detached it since.
            Err(_) if self.judge().group.is_some() => return Ok("gone again".into()),
            info => info?,
        };
        self.offered(volume, &info)?;
        if self.untroubled() {
            self.complete_paths(volume, host, &info)?;
            self.shown(host, &info, "ATT-001").await?;
        }
        // A LUN number that this host knew as another volume: what it shows must be this one.
        if let Some(path) = info.paths.first() {
            let mut judge = self.judge();
            let before = judge.luns_seen.insert((host.clone(), path.lun), id);
            if before.is_some_and(|before| before != id) {
                judge.expect(volume, &["MPX-007"]);
            }
        }
        // Once for each host: the answer to a repetition does not depend on the volume. Beside other operations a
        // repetition could come after a detach, and would map the volume again.
        let first = self.judge().group.is_none() && self.judge().repeated.insert(host.clone());
        if first {
            self.repeat_attach(id, &properties, &info).await?;
            self.judge().ledger.compared("ATT-002", 1);
        }
        Ok(format!("{} portal(s) offered", info.paths.len()))
    }

    /// Nothing has ever been broken in this case, and nothing runs beside the step: what holds in a sound world must hold.
    fn untroubled(&self) -> bool {
        let quiet = {
            let judge = self.judge();
            judge.group.is_none() && judge.upsets == 0 && !judge.unsettled && !judge.drifted
        };
        quiet && self.site.faults_fired().is_empty()
    }

    /// A host that uses several portals has a path over each of them from the start, when all of them work, and one map over
    /// all: the next loss of one must cost nothing (MPX-001). A host that uses one has the path device itself (os-brick
    /// without multipath), and no map: a map that nobody asked for is what a later volume may be merged into (MPX-007).
    fn complete_paths(&self, volume: &Name, host: &Name, info: &ConnectionInfo) -> Result<(), StepEnd> {
        let (Some(connector), Some(wwn)) = (self.site.connector(host), info.wwn) else { return Ok(()) };
        let multipath = connector.properties().multipath;
        let each = self.plan.site.tunes.get(host).map_or(1, |tune| tune.interfaces.max(1));
        let portals: BTreeSet<_> = info.paths.iter().map(|path| (path.portal, &path.iqn)).collect();
        let (expected, wanted) = match multipath {
            true => (portals.len() as u64 * each, vec![portals.len() as u64 * each]),
            false => (1, Vec::new()),
        };
        let census = connector.census();
        let ours = census.devices.iter().filter(|d| d.wwn == Some(wwn));
        let devices: BTreeSet<&String> = ours.map(|d| &d.name).collect();
        let found = devices.len() as u64;
        let over = |map: &MultipathMap| map.paths.iter().filter(|path| devices.contains(path)).count() as u64;
        let maps: Vec<u64> = census.maps.iter().map(over).filter(|paths| *paths > 0).collect();
        if found == expected && maps == wanted {
            let mut judge = self.judge();
            judge.ledger.compared("MPX-001", u64::from(multipath));
            judge.ledger.compared("MPX-007", 1);
            return Ok(());
        }
        let (requirement, field, message) = match found == expected {
            false if multipath => ("MPX-001", "count", format!("{host} has not all paths of {volume}")),
            false => ("MPX-007", "count", format!("{host} uses one path, and has not one of {volume}")),
            true if multipath => {
                ("MPX-007", "map", format!("{host} has not one map over all paths of {volume}"))
            }
            true => ("MPX-007", "map", format!("{host} uses one path, and has a map of {volume}")),
        };
        let told = |paths: u64, maps: &[u64]| format!("{paths} paths, maps over {maps:?} of them");
        let finding = Finding::new(requirement, "paths", "device", field)
            .says(format!("{message} although every portal works"))
            .compared(told(expected, &wanted), told(found, &maps));
        Err(StepEnd::Findings(vec![finding]))
    }

    /// What the target shows a host is what is mapped to it, and nothing else (ATT-001). What it lacks is charged to `lost`.
    async fn shown(&self, host: &Name, info: &ConnectionInfo, lost: &'static str) -> Result<(), StepEnd> {
        let (Some(connector), Some(name)) = (self.site.connector(host), self.site.host_name(host)) else {
            return Ok(());
        };
        let shown = match connector.shown_luns(info).await {
            Ok(Some(shown)) => shown,
            // Nobody has looked, and that is not the same as having seen nothing wrong.
            Ok(None) => {
                let reason = format!("{host} cannot ask its targets for the logical units that they show");
                self.judge().ledger.undecided("ATT-001", &reason);
                return Ok(());
            }
            // An answer that does not come is the business of whoever reads and writes.
            Err(_) => return Ok(()),
        };
        let logged_in = |path: &sanbench_api::TargetPath| {
            let sessions = connector.census().sessions;
            let portal = path.portal.to_string();
            sessions.iter().any(|s| s.logged_in && s.portal == portal && s.iqn == path.iqn)
        };
        if shown.is_empty() && info.paths.iter().any(logged_in) {
            let reason = format!("{host} is logged in and says of no target what it shows");
            self.judge().ledger.undecided("ATT-001", &reason);
        }
        let rows = self.site.control().attachments().map_err(broken)?;
        let mapped: BTreeSet<u16> = rows
            .into_iter()
            .filter(|row| row.host == name)
            .filter_map(|row| row.connection_info)
            .flat_map(|info| info.paths.into_iter().map(|path| path.lun))
            .collect();
        for luns in shown {
            let luns: BTreeSet<u16> = luns.into_iter().collect();
            if luns != mapped {
                let requirement = if luns.is_subset(&mapped) { lost } else { "ATT-001" };
                let finding = Finding::new(requirement, "masking", "target", "luns")
                    .says(format!(
                        "the target shows {host} other logical units than those that are mapped to it"
                    ))
                    .compared(format!("{mapped:?}"), format!("{luns:?}"));
                return Err(StepEnd::Findings(vec![finding]));
            }
            self.judge().ledger.compared("ATT-001", 1);
        }
        Ok(())
    }

    /// Asking once more for the same host gives the same answer.
    pub(super) async fn repeat_attach(
        &self,
        id: VolumeId,
        properties: &sanbench_api::ConnectorProperties,
        info: &ConnectionInfo,
    ) -> Result<(), StepEnd> {
        let row = self.site.control().volume(id).map_err(broken)?;
        let Some(row) = row else { return Ok(()) };
        let drivers = self.site.drivers();
        let Some(driver) = row.backend().and_then(|b| drivers.get(b)).cloned() else {
            return Ok(());
        };
        let volume = sanbench_api::VolumeRef {
            id: row.id,
            name_id: row.name_id,
            size_gib: row.size_gib,
            pool: row.pool().unwrap_or_default().to_owned(),
            extra_specs: Default::default(),
            use_quota: true,
            provider_id: row.provider_id.clone(),
            provider_location: row.provider_location.clone(),
        };
        let again = driver.initialize_connection(&volume, properties).await;
        let same = again.as_ref().is_ok_and(|again| again.paths == info.paths && again.wwn == info.wwn);
        if same {
            return Ok(());
        }
        let observed = match again {
            Ok(again) => format!("{:?}", again.paths),
            Err(e) => e.to_string(),
        };
        let finding = Finding::new("ATT-002", "idempotency", "connection", "paths")
            .says("asking again for the same host gave another answer")
            .compared(format!("{:?}", info.paths), observed);
        Err(StepEnd::Findings(vec![finding]))
    }

    pub(super) async fn detach(&self, step: &Step, volume: &Name, host: &Name, force: bool) -> Ended {
        let id = self.volume(volume)?.id;
        let name = self.site.host_name(host).ok_or_else(|| missing("host", host))?;
        let instance = self.instance(host, &name)?;
        let operation = Operation::Detach { volume: id, host: name };
        let begun = self.begin();
        let info = self.connection(id, host).ok();
        let flush = self.judge().data.begin_flush(id)?;
        if let Err(error) = self.site.control().detach(id, instance, DetachOptions { force }).await {
            self.judge().data.cancel(flush);
            let ended = self.refused_or_failed(step, begun, &operation, &error);
            let kept = matches!(error.cause(), Some(Cause::Connector(ConnectorError::FlushFailed(_))));
            if kept && self.is_tolerant() && self.judge().revoked.contains(volume) {
                // Its device has no path left: only force takes it away, and `settle` uses that.
                self.doubt(step);
                return Err(StepEnd::Tolerated(error.to_string()));
            }
            return Err(ended);
        }
        let findings = self.complete(begun, &operation, Answer::Done);
        if !findings.is_empty() {
            return Err(StepEnd::Findings(findings));
        }
        self.judge().expect(volume, &["DAT-004"]);
        if self.volume(volume)?.hosts.len() > 1 {
            self.judge().expect(volume, &["ATT-004"]);
        }
        if force {
            // Who forces asks for no flush that succeeds, but for a host on which nothing is left.
            self.judge().data.cancel(flush);
            self.nothing_left(volume, host)?;
        } else {
            self.judge().data.end_flush(flush, "ATT-007")?;
        }
        if self.untroubled()
            && let Some(info) = info
        {
            // Where another volume keeps the sessions, the target shows this one no more, and the other one as before.
            self.shown(host, &info, "ATT-004").await?;
        }
        {
            let mut judge = self.judge();
            judge.revoked.remove(volume);
            if let Some(v) = judge.volumes.get_mut(volume) {
                v.hosts.remove(host);
            }
        }
        // Everything else on that host must still be there.
        let others: Vec<Name> = self
            .judge()
            .volumes
            .iter()
            .filter(|(other, v)| *other != volume && v.hosts.contains(host))
            .map(|(other, _)| other.clone())
            .collect();
        others.iter().for_each(|other| self.judge().expect(other, &["ATT-004"]));
        Ok(String::new())
    }

    /// A host that had to let go by force has no device, name or map of the volume any more (ATT-008).
    fn nothing_left(&self, volume: &Name, host: &Name) -> Result<(), StepEnd> {
        let wwn = self.volume(volume).ok().and_then(|v| self.judge().wwns.get(&v.id).copied());
        let (Some(connector), Some(wwn)) = (self.site.connector(host), wwn) else { return Ok(()) };
        let census = connector.census();
        let devices = census.devices.iter().filter(|d| d.wwn == Some(wwn)).map(|d| d.name.clone());
        let digits = wwn.to_string();
        let names = census.by_id.iter().filter(|name| name.contains(&digits)).cloned();
        let maps = census.maps.iter().filter(|map| map.wwid.contains(&digits)).map(|map| map.name.clone());
        let left: Vec<String> = devices.chain(names).chain(maps).collect();
        if left.is_empty() {
            self.judge().ledger.compared("ATT-008", 1);
            return Ok(());
        }
        let finding = Finding::new("ATT-008", "detach", "host", "left")
            .says(format!("{host} was to let go of {volume} by force, and still has something of it"))
            .compared("nothing", left.join(", "));
        Err(StepEnd::Findings(vec![finding]))
    }

    pub(super) async fn depth(&self, volume: &Name, depth: u64) -> Ended {
        let id = self.volume(volume)?.id;
        let Some(listing) = self.listing().await? else {
            return Ok("array inventory not checked".into());
        };
        let drivers = self.site.drivers();
        let mut names = drivers.values().filter_map(|d| d.inventory().map(|i| i.lun_name(&id)));
        let found = names.find_map(|name| listing.lun_by_name(&name).and_then(|l| listing.depth(&l.id)));
        if found.map(u64::from) == Some(depth) {
            self.judge().ledger.compared("CLN-002", 1);
            self.judge().ledger.compared("CLN-003", 1);
            return Ok(String::new());
        }
        let observed = found.map_or_else(|| "no LUN, or a broken chain".to_owned(), |d| format!("depth {d}"));
        let finding = Finding::new("CLN-002", "depth", "lun", "depth")
            .says(format!("{volume} does not stand at the depth that the story demands"))
            .compared(format!("depth {depth}"), observed);
        Err(StepEnd::Findings(vec![finding]))
    }

    /// Another host takes the volume's connection info, as it was or would be, and tries.
    pub(super) async fn intrude(&self, volume: &Name, host: &Name) -> Ended {
        let v = self.volume(volume)?;
        let connector = self.site.intruder(host).ok_or_else(|| missing("host", host))?;
        if v.hosts.contains(host) {
            let why = format!("{volume} is attached to {host}: that is no intrusion");
            let drifted = self.judge().drifted;
            return Err(if drifted { StepEnd::Skipped(why) } else { StepEnd::Broken(why) });
        }
        let mut tries = Vec::new();
        let of = v.hosts.first().and_then(|on| self.connection(v.id, on).ok());
        match of {
            Some(info) => tries.push(info),
            // Not attached anywhere: try every LUN that a host could have, at the portals of any attachment.
            None => {
                let any = self.site.control().attachments().map_err(broken)?;
                let Some(info) = any.into_iter().find_map(|a| a.connection_info) else {
                    return Ok("no portal is known".into());
                };
                tries.push(info);
            }
        }
        let wwn = self.judge().wwns.get(&v.id).copied();
        let mut reached = None;
        for info in tries {
            for lun in 0..8 {
                let mut info =
                    ConnectionInfo { wwn: None, access_mode: AccessMode::ReadOnly, ..info.clone() };
                info.multipath = false;
                info.paths.truncate(1);
                info.paths.iter_mut().for_each(|p| p.lun = lun);
                // The intruder uses its own identity and no credentials but those of its own attachments.
                if let Ok(attached) = connector.connect_volume(&info).await {
                    if !self.own_wwns(host).contains(&attached.wwn) {
                        reached = Some((lun, attached.wwn));
                    }
                    let _ = connector.disconnect_volume(&info, true).await;
                }
            }
        }
        let Some((lun, found)) = reached else {
            self.judge().ledger.compared("ATT-001", 1);
            let alike = self.plan.site.tunes.values().any(|tune| tune.name_length > 0 || tune.interfaces > 1);
            self.judge().ledger.compared("ATT-016", u64::from(alike));
            return Ok("not let in".into());
        };
        let finding = Finding::new("ATT-001", "masking", "initiator", "reaches")
            .says(format!("host {host} reaches a volume that is not mapped to it, at LUN {lun}"))
            .compared(
                "no device",
                format!("{found:?}{}", if Some(found) == wwn { ", the very volume" } else { "" }),
            );
        Err(StepEnd::Findings(vec![finding]))
    }

    pub(super) fn own_wwns(&self, host: &Name) -> Vec<sanbench_api::Wwn> {
        let judge = self.judge();
        let own = judge.volumes.values().filter(|v| v.hosts.contains(host));
        own.filter_map(|v| judge.wwns.get(&v.id).copied()).collect()
    }

    /// Connection info of the volume's attachment to a host.
    pub(super) fn connection(&self, id: VolumeId, host: &Name) -> Result<ConnectionInfo, StepEnd> {
        let all = self.site.control().attachments().map_err(broken)?;
        let name = self.site.host_name(host).ok_or_else(|| missing("host", host))?;
        all.into_iter()
            .find(|a| a.volume == id && a.host == name)
            .and_then(|a| a.connection_info)
            .ok_or_else(|| StepEnd::Broken(format!("no connection info is stored for volume {id} on {host}")))
    }

    pub(super) fn instance(&self, host: &Name, real: &str) -> Result<InstanceId, StepEnd> {
        let known = self.judge().instances.get(host).copied();
        if let Some(id) = known {
            return Ok(id);
        }
        let id = InstanceId::from_random(self.id_bytes("instance", host));
        let id = self.site.control().create_instance(real, Some(id)).map_err(broken)?;
        self.judge().instances.insert(host.clone(), id);
        Ok(id)
    }
}
