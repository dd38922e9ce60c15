//! Volumes meet hosts, and hosts that must not have them try.

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
            if let Some(v) = judge.volumes.get_mut(volume) {
                v.hosts.insert(host.clone());
                v.pending.insert("DAT-004");
            }
            match judge.outage.any() {
                true => judge.narrow.insert(volume.clone()),
                false => judge.narrow.remove(volume),
            };
        }
        let device = self.device(step, volume).await?;
        self.judge().wwns.insert(id, device.wwn());
        let info = match self.connection(id) {
            // Another lane has detached it since.
            Err(_) if self.judge().group.is_some() => return Ok("gone again".into()),
            info => info?,
        };
        self.offered(volume, &info)?;
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

    pub(super) async fn detach(&self, step: &Step, volume: &Name, host: &Name) -> Ended {
        let id = self.volume(volume)?.id;
        let name = self.site.host_name(host).ok_or_else(|| missing("host", host))?;
        let instance = self.instance(host, &name)?;
        let operation = Operation::Detach { volume: id, host: name };
        let begun = self.begin();
        let flush = self.judge().data.begin_flush(id)?;
        if let Err(error) = self.site.control().detach(id, instance, DetachOptions::default()).await {
            self.judge().data.cancel(flush);
            return Err(self.refused_or_failed(step, begun, &operation, &error));
        }
        let findings = self.complete(begun, &operation, Answer::Done);
        if !findings.is_empty() {
            return Err(StepEnd::Findings(findings));
        }
        self.judge().expect(volume, &["DAT-004"]);
        if self.volume(volume)?.hosts.len() > 1 {
            self.judge().expect(volume, &["ATT-004"]);
        }
        self.judge().data.end_flush(flush, "ATT-007")?;
        if let Some(v) = self.judge().volumes.get_mut(volume) {
            v.hosts.remove(host);
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
        match self.connection(v.id) {
            Ok(info) => tries.push(info),
            // Not attached anywhere: try every LUN that a host could have, at the portals of any attachment.
            Err(_) => {
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
            self.judge().ledger.compared("ATT-016", u64::from(!self.plan.site.tunes.is_empty()));
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

    /// Connection info of the volume's attachment.
    pub(super) fn connection(&self, id: VolumeId) -> Result<ConnectionInfo, StepEnd> {
        let all = self.site.control().attachments().map_err(broken)?;
        all.into_iter()
            .find(|a| a.volume == id)
            .and_then(|a| a.connection_info)
            .ok_or_else(|| StepEnd::Broken(format!("no connection info is stored for volume {id}")))
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
