//! Power, controllers and paths go and come back; somebody else is on the array; old content is overwritten.

use std::time::Duration;

use super::*;

/// Longest that one step may stand still in an outage that leaves a way to the data: pings notice a dead link within 10 s,
/// the target notices a dead session within 45 s, and a write that may still be on its way is fenced after 60 s.
const LONGEST_STALL: Duration = Duration::from_secs(90);

/// A target notices within this time that a portal of its array is off.
const DISMISSAL: Duration = Duration::from_secs(3);

impl Player<'_> {
    /// Volumes that some host has.
    fn attached(&self) -> Vec<Name> {
        self.judge()
            .volumes
            .iter()
            .filter(|(_, v)| !v.hosts.is_empty())
            .map(|(name, _)| name.clone())
            .collect()
    }

    pub(super) async fn power_loss(&self) -> Ended {
        // What is under way meets it, whether it is answered before the power is back or after.
        let mut upheld = self.judge().data.power_loss();
        self.judge().upsets += 1;
        self.judge().power_losses += 1;
        self.site.power_loss().await.map_err(|error| match error {
            SiteError::NotRestored(what) => StepEnd::Findings(vec![
                Finding::new("DUR-010", "restore", "array", "journal")
                    .says("the array does not come back from a loss of power")
                    .compared("the array as it was committed", what),
            ]),
            other => not_possible(other),
        })?;
        if self.plan.site.journal {
            self.judge().ledger.compared("DUR-010", 1);
        }
        self.judge().reserved.values_mut().for_each(|power| *power = true);
        upheld.extend(self.judge().data.power_loss());
        self.judge().upsets += 1;
        self.shaken();
        for (id, ids) in upheld {
            let name = self.judge().volumes.iter().find(|(_, v)| v.id == id).map(|(name, _)| name.clone());
            if let Some(name) = name {
                self.judge().expect(&name, &ids);
                if self.plan.site.journal {
                    self.judge().expect(&name, &["DUR-010"]);
                }
                if ids.contains(&"DUR-001") {
                    self.judge().expect(&name, &["SCS-018"]);
                }
            }
        }
        Ok(String::new())
    }

    /// A host goes down without a word for `off` seconds, or only its initiator is killed, and comes back: what the array kept
    /// of it must not be in its way.
    pub(super) async fn start_again(&self, step: &Step, host: &Name, off: Option<u64>) -> Ended {
        if self.judge().group.is_some() {
            return Err(StepEnd::Broken("a host starts again beside other steps".into()));
        }
        let held = {
            let judge = self.judge();
            let on_host = judge.volumes.iter().filter(|(_, v)| v.hosts.contains(host));
            judge.outage.any() && on_host.into_iter().any(|(name, _)| judge.reserved.contains_key(name))
        };
        if held && self.is_tolerant() {
            return Err(StepEnd::Skipped(format!(
                "{host} holds a reservation, and would come back over paths that are not registered"
            )));
        }
        self.far_devices_lost(host);
        let begun = match off {
            Some(off) => self.site.reboot(host, off).await,
            None => self.site.restart_initiator(host).await,
        };
        self.judge().upsets += 1;
        if self.is_tolerant() {
            self.shaken();
        }
        {
            let mut judge = self.judge();
            let outage = judge.outage.any();
            let on_host = judge.volumes.iter().filter(|(_, v)| v.hosts.contains(host));
            let names: Vec<Name> = on_host.map(|(name, _)| name.clone()).collect();
            for name in names {
                match outage {
                    true => judge.narrow.insert(name),
                    false => judge.narrow.remove(&name),
                };
            }
        }
        match begun {
            Ok(()) => {}
            Err(SiteError::Unreachable(message)) => return Err(self.failed(step, &message)),
            Err(other) => return Err(not_possible(other)),
        }
        self.on_host(host, &["DUR-007"]);
        Ok(String::new())
    }

    pub(super) async fn controller(&self, controller: u64, up: bool) -> Ended {
        if self.is_tolerant() {
            let down = self.judge().outage.controllers.clone();
            if down.contains(&controller) != up {
                return Err(StepEnd::Skipped("it is so already".into()));
            }
            if !up && !down.is_empty() {
                return Err(StepEnd::Skipped("the other one is down".into()));
            }
            // Paths need time to follow; inventories are judged once all has settled.
            self.judge().unsettled = true;
        }
        self.site.set_controller(controller, up).await.map_err(not_possible)?;
        self.shaken();
        let changed = {
            let mut judge = self.judge();
            judge.upsets += 1;
            let down = &mut judge.outage.controllers;
            if up { down.remove(&controller) } else { down.insert(controller) }
        };
        if changed {
            // Read back over what is left; what the failed controller had acknowledged is to be there.
            self.attached().iter().for_each(|name| self.judge().expect(name, &["MPX-005", "DUR-008"]));
        }
        Ok(String::new())
    }

    pub(super) async fn path(&self, host: &Name, path: u64, state: PathState) -> Ended {
        let up = state == PathState::Up;
        self.site.set_path(host, path, state).await.map_err(not_possible)?;
        if up && !self.judge().outage.paths.contains_key(host) {
            // It was slow at most.
            return Ok(String::new());
        }
        if up {
            self.shaken();
        }
        if self.is_tolerant() {
            self.judge().unsettled = true;
        }
        let all = self.paths_of(host);
        let mut judge = self.judge();
        judge.upsets += 1;
        let cut = judge.outage.paths.entry(host.clone()).or_default();
        let were_all = cut.contains(&0) || cut.len() as u64 == all;
        match (up, path) {
            (true, 0) => cut.clear(),
            (true, path) => {
                if cut.remove(&0) {
                    cut.extend(1..=all);
                }
                cut.remove(&path);
            }
            (false, path) => {
                cut.insert(path);
            }
        }
        let (none, some_left) = (cut.is_empty(), !cut.contains(&0) && (cut.len() as u64) < all);
        if none {
            judge.outage.paths.remove(host);
        }
        let on_host = judge.volumes.iter().filter(|(_, v)| v.hosts.contains(host));
        let names: Vec<Name> = on_host.map(|(name, _)| name.clone()).collect();
        for name in names {
            if up && were_all && some_left | none {
                judge.expect(&name, &["MPX-006"]);
            } else if !up && some_left {
                judge.expect(&name, &["MPX-001"]);
            }
        }
        Ok(String::new())
    }

    /// A portal is switched off or on. One that is off serves nobody: those who are there are sent away, others do not get in.
    pub(super) async fn portal(&self, portal: u64, enabled: bool) -> Ended {
        self.site.set_portal(portal, enabled).await.map_err(not_possible)?;
        if enabled {
            self.shaken();
        }
        {
            let mut judge = self.judge();
            judge.upsets += 1;
            let off = &mut judge.outage.portals;
            if enabled {
                off.remove(&portal)
            } else {
                off.insert(portal)
            };
        }
        if enabled {
            return Ok(String::new());
        }
        self.attached().iter().for_each(|name| self.judge().expect(name, &["MPX-001"]));
        self.site.env().sleep(DISMISSAL).await;
        let all = self.site.control().attachments().map_err(broken)?;
        // By way of a volume that the host may see: only the portal can keep it out.
        let hosts = self.site.hosts();
        let tried = all.into_iter().find_map(|a| {
            let host = hosts.iter().find(|host| self.site.host_name(host).as_ref() == Some(&a.host))?;
            Some((self.site.intruder(host)?, a.connection_info?))
        });
        let Some((connector, info)) = tried else {
            return Ok("no volume is attached by which it could be tried".into());
        };
        let at = usize::try_from(portal).ok().and_then(|n| n.checked_sub(1));
        let off = at.and_then(|at| self.site.every_portal().get(at).copied());
        let off = off.ok_or_else(|| StepEnd::Broken(format!("the array has no portal {portal}")))?;
        let Some(mut path) = info.paths.first().cloned() else { return Ok(String::new()) };
        path.portal = off;
        // Whatever it finds there: nobody may be let in at all.
        let info = ConnectionInfo { paths: vec![path], wwn: None, multipath: false, ..info };
        if connector.connect_volume(&info).await.is_err() {
            self.judge().ledger.compared("ATT-017", 1);
            return Ok(String::new());
        }
        let _ = connector.disconnect_volume(&info, true).await;
        let finding = Finding::new("ATT-017", "portals", "portal", "serves")
            .says(format!("portal {portal} is disabled and goes on serving"))
            .compared("no session", "a session and a device");
        Err(StepEnd::Findings(vec![finding]))
    }

    /// Paths of a host become slow: nothing but time may be lost by that.
    pub(super) async fn slow(&self, host: &Name, path: u64, state: PathState) -> Ended {
        self.site.set_path(host, path, state).await.map_err(not_possible)?;
        self.on_host(host, &["ISC-023"]);
        Ok(String::new())
    }

    /// Connections of a host end; sessions come back over new ones, and what was under way is sent again.
    pub(super) async fn sever(&self, host: &Name, path: u64, how: Severed) -> Ended {
        self.site.sever(host, path, how).await.map_err(not_possible)?;
        // Whoever is just logging in beside this may fail to.
        self.judge().upsets += 1;
        let id = match how {
            Severed::Reset => "ISC-015",
            Severed::HalfOpen(_) => "ISC-024",
        };
        self.on_host(host, &[id]);
        Ok(String::new())
    }

    /// What the next clean reading of the host's volumes upholds.
    fn on_host(&self, host: &Name, ids: &[&'static str]) {
        let mut judge = self.judge();
        let on_host = judge.volumes.iter().filter(|(_, v)| v.hosts.contains(host));
        let names: Vec<Name> = on_host.map(|(name, _)| name.clone()).collect();
        names.iter().for_each(|name| judge.expect(name, ids));
    }

    /// Time has passed: what a healed path held has arrived or never will.
    pub(super) fn settled(&self) {
        let mut judge = self.judge();
        if judge.outage.paths.is_empty() {
            let written = std::mem::take(&mut judge.outage.written);
            written.iter().for_each(|name| judge.expect(name, &["MPX-002"]));
        }
    }

    /// A step that took longer than an outage may hold it up.
    pub(super) fn stalled(&self, step: &Step, begun: Duration) -> Option<Finding> {
        let took = self.site.env().now().saturating_sub(begun);
        let io = matches!(
            step,
            Step::Write { .. } | Step::Unmap { .. } | Step::Flush { .. } | Step::Verify { .. }
        );
        (io && took > LONGEST_STALL).then(|| {
            Finding::new("MPX-005", "operation", "step", "stalled")
                .says(format!("`{}` stood still", crate::story::print_step(step)))
                .compared(format!("at most {} s", LONGEST_STALL.as_secs()), format!("{} s", took.as_secs()))
        })
    }

    /// A failure of plain I/O while something is out of order is charged to the promise that covers the outage.
    pub(super) fn in_outage(&self, end: StepEnd) -> StepEnd {
        let judge = self.judge();
        let outage = &judge.outage;
        let id = match (outage.controllers.is_empty(), outage.paths.is_empty()) {
            (true, true) => return end,
            (false, _) => "MPX-005",
            (true, false) => "MPX-001",
        };
        match end {
            StepEnd::Findings(findings) => StepEnd::Findings(
                findings
                    .into_iter()
                    .map(|mut finding| {
                        if finding.requirement == "DAT-001" && finding.checker == "operation" {
                            finding.requirement = id.to_owned();
                        }
                        finding
                    })
                    .collect(),
            ),
            other => other,
        }
    }

    /// Writes an image over what a volume holds.
    pub(super) async fn reimage(&self, step: &Step, volume: &Name, image: &Name) -> Ended {
        let id = self.volume(volume)?.id;
        let image = self.site.image(image).ok_or_else(|| missing("image", image))?;
        if let Err(error) = self.site.control().reimage_volume(id, image.id).await {
            let clean = blame::is_clean(&error);
            if let (Some(digests), false) = (&image.digests, clean) {
                self.judge().data.write_image(id, digests, Certainty::Unknown)?;
            }
            if blame::is_unreachable(&error) {
                return Err(StepEnd::Unreachable(error.to_string()));
            }
            return Err(match self.failed(step, &error.to_string()) {
                StepEnd::Failed(mut failed) => {
                    failed.refused = blame::refusal_class(&error);
                    failed.clean = clean;
                    StepEnd::Failed(failed)
                }
                other => other,
            });
        }
        if let Some(digests) = &image.digests {
            self.judge().data.write_image(id, digests, Certainty::Done)?;
            self.judge().data.flush(id, "IMG-011")?;
        }
        self.judge().expect(volume, &["IMG-001", "IMG-002"]);
        self.judge().changed(volume, false);
        Ok(String::new())
    }

    /// Somebody else makes a LUN with the name that the volume would get.
    pub(super) async fn squat(&self, volume: &Name) -> Ended {
        let id = VolumeId::from_random(self.id_bytes("volume", volume));
        let Some(name) = self.named(|names| names.lun(id)) else {
            return Ok("the driver tells no names".into());
        };
        self.site.squat(&name).await.map_err(|error| match error {
            // There is no room for it.
            SiteError::Internal(why) if self.is_tolerant() => {
                self.judge().drifted = true;
                StepEnd::Skipped(why)
            }
            other => not_possible(other),
        })?;
        // It is not ours: it must stay as it is to the end.
        let listing = audit::inventory(self.site).await.map_err(|e| StepEnd::Unreachable(e.to_string()))?;
        let lun = listing.and_then(|l| l.lun_by_name(&name).cloned());
        match lun {
            Some(lun) => self.judge().baseline.luns.push(lun),
            None => return Err(StepEnd::Broken(format!("the array does not list {name}"))),
        }
        Ok(name)
    }
}

pub(super) fn not_possible(error: SiteError) -> StepEnd {
    match error {
        SiteError::Unreachable(message) => StepEnd::Unreachable(message),
        other => StepEnd::Broken(other.to_string()),
    }
}
