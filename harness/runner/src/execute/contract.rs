//! What the driver's and the connector's contracts promise, asked directly: repetitions, calls behind somebody's back, sizes
//! that must be refused twice.

use sanbench_api::{ConnectorProperties, RefusalKind, SnapshotRef, VolumeDriver, VolumeRef};
use sanbench_check::ImageDigests;

use super::*;
use crate::plan::{FaultAction, Forged, Repeated, Starved};

/// Blocks of the second range of an `UNMAP` that must fail at its first: what counts is that it comes second.
const ASIDE: u32 = 128;

impl Player<'_> {
    /// The driver of the one back end, asked past the workflow.
    pub(super) fn driver(&self) -> Result<Arc<dyn VolumeDriver>, StepEnd> {
        let driver = self.site.drivers().values().next().cloned();
        driver.ok_or_else(|| StepEnd::Broken("the site has no driver".into()))
    }

    /// The volume as the workflow would name it to the driver; of one that is gone only the identity is left.
    pub(super) fn reference(&self, name: &Name) -> Result<VolumeRef, StepEnd> {
        let id = VolumeId::from_random(self.id_bytes("volume", name));
        let row = self.site.control().volume(id).map_err(broken)?;
        Ok(VolumeRef {
            id,
            name_id: row.as_ref().map_or(id, |r| r.name_id),
            size_gib: row.as_ref().map_or(1, |r| r.size_gib),
            pool: row.as_ref().and_then(|r| r.pool()).unwrap_or_default().to_owned(),
            extra_specs: Default::default(),
            use_quota: true,
            provider_id: row.as_ref().and_then(|r| r.provider_id.clone()),
            provider_location: row.as_ref().and_then(|r| r.provider_location.clone()),
        })
    }

    pub(super) fn properties(&self, host: &Name) -> Result<ConnectorProperties, StepEnd> {
        let connector = self.site.connector(host).ok_or_else(|| missing("host", host))?;
        Ok(connector.properties())
    }

    /// What is to be repeated was done, unless the story took another turn.
    pub(super) fn done_once(
        &self,
        what: Repeated,
        volume: &Name,
        host: Option<&Name>,
    ) -> Result<(), StepEnd> {
        let judge = self.judge();
        let known = judge.volumes.get(volume);
        let done = match (what, host) {
            (Repeated::Create, _) => known.is_some(),
            (Repeated::Delete, _) => known.is_none(),
            (Repeated::Connect, host) => {
                host.is_none_or(|host| known.is_some_and(|v| v.hosts.contains(host)))
            }
            (Repeated::Detach, host) => {
                host.is_none_or(|host| known.is_some_and(|v| !v.hosts.contains(host)))
            }
        };
        match done || !judge.drifted {
            true => Ok(()),
            false => Err(StepEnd::Skipped("what is to be repeated was not done".into())),
        }
    }

    /// A call whose work is done already is made once more: it succeeds, and nothing changes.
    pub(super) async fn repeat(&self, what: Repeated, volume: &Name, host: Option<&Name>) -> Ended {
        self.done_once(what, volume, host)?;
        let (driver, reference) = (self.driver()?, self.reference(volume)?);
        let (id, answer) = match (what, host) {
            (Repeated::Create, _) => {
                // The driver is asked as for the first time: nothing is stored about the volume yet.
                let first = VolumeRef { provider_id: None, provider_location: None, ..reference.clone() };
                let answer = driver.create_volume(&first).await;
                ("CRE-002", answer.map(|update| update.provider_id == reference.provider_id))
            }
            (Repeated::Delete, _) => ("CRE-007", driver.delete_volume(&reference).await.map(|()| true)),
            (Repeated::Detach, Some(host)) => {
                let properties = self.properties(host)?;
                let answer = driver.terminate_connection(&reference, Some(&properties), false).await;
                ("ATT-003", answer.map(|_| true))
            }
            (Repeated::Detach, None) | (Repeated::Connect, _) => {
                return Err(StepEnd::Broken("the call needs a host".into()));
            }
        };
        let (observed, failed) = match answer {
            Ok(true) => {
                self.judge().ledger.compared(id, 1);
                self.judge().expect(volume, &["DAT-004"]);
                return Ok(String::new());
            }
            Ok(false) => ("another object".to_owned(), false),
            Err(e) => (e.to_string(), true),
        };
        let finding = Finding::new(id, "idempotency", "driver", "repeated")
            .says(format!("`{what:?}` of {volume} was asked once more and gave another answer"))
            .compared("the same success", observed);
        Err(if failed { excusable(finding) } else { StepEnd::Findings(vec![finding]) })
    }

    /// Somebody takes the mapping away behind the host's back (CVE-2023-2088): the host still has its devices.
    /// Without a connector the driver ends every mapping of the volume (Cinder's `terminate_connection` of a forced detach).
    pub(super) async fn revoke(&self, step: &Step, volume: &Name, host: &Name, everywhere: bool) -> Ended {
        let (driver, reference, properties) =
            (self.driver()?, self.reference(volume)?, self.properties(host)?);
        let properties = (!everywhere).then_some(&properties);
        {
            // Until somebody detaches, array and database differ, and nobody is to blame; also where only a part of it was done.
            let mut judge = self.judge();
            judge.unsettled = true;
            judge.revoked.insert(volume.clone());
        }
        if let Err(error) = driver.terminate_connection(&reference, properties, true).await {
            return Err(self.failed(step, &error.to_string()));
        }
        Ok(String::new())
    }

    /// The guest writes what means something to others: a header, a partition table.
    pub(super) async fn forge(&self, step: &Step, volume: &Name, what: Forged) -> Ended {
        let device = self.device(step, volume).await?;
        let id = self.volume(volume)?.id;
        let mut content = vec![0; 4096];
        match what {
            Forged::Qcow2 => {
                // Magic, version 3, and a virtual size of 64 GiB (QEMU docs/interop/qcow2.txt).
                content[..4].copy_from_slice(b"QFI\xfb");
                content[4..8].copy_from_slice(&3u32.to_be_bytes());
                content[20..24].copy_from_slice(&16u32.to_be_bytes());
                content[24..32].copy_from_slice(&(64u64 << 30).to_be_bytes());
            }
            Forged::Partitions => {
                // One Linux partition from LBA 2048 on, and the boot signature.
                content[446 + 4] = 0x83;
                content[446 + 8..446 + 12].copy_from_slice(&2048u32.to_le_bytes());
                content[446 + 12..446 + 16].copy_from_slice(&4096u32.to_le_bytes());
                content[510..512].copy_from_slice(&[0x55, 0xaa]);
            }
        }
        let digests = Arc::new(ImageDigests::of_raw(&content));
        if let Err(error) = device.write(0, Bytes::from(content)).await {
            self.judge().data.write_image(id, &digests, Certainty::Unknown)?;
            return Err(self.failed(step, &error.to_string()));
        }
        self.judge().data.write_image(id, &digests, Certainty::Done)?;
        device.flush().await.map_err(|e| self.failed(step, &e.to_string()))?;
        self.judge().data.flush(id, "DUR-001")?;
        self.judge().expect(volume, &["DAT-001"]);
        self.judge().expect_kin(volume, &["CLN-001"]);
        self.judge().changed(volume, false);
        Ok(String::new())
    }

    /// A call that needs space in a full pool fails and says so; what was acknowledged stays.
    pub(super) async fn out_of_space(
        &self,
        step: &Step,
        what: Starved,
        volume: &Name,
        at: u64,
        length: u64,
    ) -> Ended {
        let device = self.device(step, volume).await?;
        let id = self.volume(volume)?.id;
        let (lba, blocks) = (at / 512, length / 512);
        let stamp = self.judge().data.next_stamp(id, lba, 1);
        let mut tickets = Vec::new();
        let (answer, requirement) = match what {
            Starved::Write => {
                let mut buffer = vec![0; usize::try_from(length.min(WRITE_CHUNK)).unwrap_or(0)];
                stamp.fill(&mut buffer);
                tickets.push(self.judge().data.begin_write(&stamp, blocks.min(WRITE_CHUNK / 512))?);
                (device.write(lba, Bytes::from(buffer)).await, "CAP-005")
            }
            Starved::Unmap => {
                let short = u32::try_from(blocks).unwrap_or(u32::MAX);
                let aside = self.judge().data.blocks(id)? / 2;
                tickets.push(self.judge().data.begin_unmap(id, lba, u64::from(short))?);
                tickets.push(self.judge().data.begin_unmap(id, aside, u64::from(ASIDE))?);
                (device.unmap(&[(lba, short), (aside, ASIDE)]).await, "SCS-007")
            }
        };
        // DATA PROTECT, SPACE ALLOCATION FAILED WRITE PROTECT (SBC-3 clause 4.7.3.6).
        let starved =
            matches!(answer, Err(sanbench_api::BlockError::Sense { key: 0x7, asc: 0x27, ascq: 0x07, .. }));
        for ticket in tickets {
            let mut judge = self.judge();
            match &answer {
                _ if starved => judge.data.cancel(ticket),
                Ok(()) => judge.data.end_change(ticket, Certainty::Done)?,
                Err(_) => judge.data.end_change(ticket, Certainty::Unknown)?,
            }
        }
        self.judge().expect(volume, &["CAP-005", "DAT-001"]);
        if starved {
            self.judge().ledger.compared(requirement, 1);
            return Ok(String::new());
        }
        // A loss of power may have taken what would be shared.
        let needless = self.judge().drifted || self.judge().power_losses > 0;
        if answer.is_ok() && needless && self.is_tolerant() {
            return Err(StepEnd::Skipped("the story took another turn: no space was needed".into()));
        }
        let failed = answer.is_err();
        let observed = answer.map_or_else(|e| e.to_string(), |()| "it succeeded".to_owned());
        let finding = Finding::new(requirement, "operation", "step", "not refused")
            .says(format!("`{}` did not fail as it must in a full pool", crate::story::print_step(step)))
            .compared("SPACE ALLOCATION FAILED WRITE PROTECT", observed);
        // Faults may explain another failure, but no success.
        Err(match failed && self.is_tolerant() {
            true => StepEnd::Failed(Box::new(Failed { finding, refused: None, clean: false, raced: false })),
            false => StepEnd::Findings(vec![finding]),
        })
    }

    /// The workflow refused a volume smaller than its source; the driver must refuse it by itself, since others use it too.
    pub(super) async fn refused_twice(&self, step: &Step) -> Result<(), StepEnd> {
        let before = self.before(false);
        let Step::Create { volume, size, source, refused: Some(Refused::Invalid), .. } = step else {
            return Ok(());
        };
        let gib = size.whole_gib().unwrap_or(1);
        let driver = self.driver()?;
        let new = VolumeRef { size_gib: gib, ..self.reference(volume)? };
        let (id, answer) = match source {
            Source::Volume(from) => {
                let source = self.reference(from)?;
                if gib >= source.size_gib {
                    return Ok(());
                }
                let new = VolumeRef { pool: source.pool.clone(), ..new.clone() };
                ("CLN-005", driver.create_cloned_volume(&new, &source).await)
            }
            Source::Snapshot(from) => {
                let snapshot = self.snapshot_of(from)?;
                let row = self.site.control().snapshots().map_err(broken)?;
                let Some(row) = row.into_iter().find(|r| r.id == snapshot.id && gib < r.size_gib) else {
                    return Ok(());
                };
                let parent = self.reference(&snapshot.volume)?;
                let new = VolumeRef { pool: parent.pool.clone(), ..new.clone() };
                let reference = SnapshotRef {
                    id: row.id,
                    volume: parent,
                    volume_size_gib: row.size_gib,
                    provider_id: row.provider_id,
                    provider_location: row.provider_location,
                };
                ("SNP-006", driver.create_volume_from_snapshot(&new, &reference).await)
            }
            Source::Blank | Source::Image(_) => return Ok(()),
        };
        let observed = match answer {
            Err(e) if e.kind() == Some(RefusalKind::InvalidInput) => {
                self.judge().ledger.compared(id, 1);
                return Ok(());
            }
            Ok(_) => {
                let _ = driver.delete_volume(&new).await;
                "it succeeded".to_owned()
            }
            // A fault met it on its way there.
            Err(_) if self.excused(step, &before).is_some() => return Ok(()),
            Err(e) => e.to_string(),
        };
        let finding = Finding::new(id, "contract", "driver", "smaller")
            .says(format!("the driver was asked for {gib} GiB from a larger source"))
            .compared("a refusal: the source does not fit", observed);
        Err(StepEnd::Findings(vec![finding]))
    }

    /// The portals that a host is offered are those that work (ATT-017), as the site knows them.
    pub(super) fn offered(&self, volume: &Name, info: &ConnectionInfo) -> Result<(), StepEnd> {
        let Some(mut usable) = self.site.portals() else { return Ok(()) };
        let mut offered: Vec<_> = info.paths.iter().map(|path| path.portal).collect();
        usable.sort_unstable();
        offered.sort_unstable();
        offered.dedup();
        if offered == usable {
            self.judge().ledger.compared("ATT-017", 1);
            return Ok(());
        }
        let finding = Finding::new("ATT-017", "contract", "connection", "portals")
            .says(format!("the connection information of {volume} names other portals than those that work"))
            .compared(format!("{usable:?}"), format!("{offered:?}"));
        Err(StepEnd::Findings(vec![finding]))
    }

    /// Somebody else fills a pool.
    pub(super) async fn fill(&self, pool: &Name, leave: u64) -> Ended {
        if self.judge().outage.pools.contains(pool) {
            return Err(StepEnd::Skipped(format!("{pool} is filled already")));
        }
        let filled = self.site.fill(pool, leave).await;
        let name = filled.map_err(|error| match error {
            // Less is free than should be left.
            SiteError::Internal(why) if self.is_tolerant() => StepEnd::Skipped(why),
            other => outages::not_possible(other),
        })?;
        self.judge().outage.pools.insert(pool.clone());
        let listing = audit::inventory(self.site).await.map_err(AuditError::from)?;
        match listing.and_then(|l| l.lun_by_name(&name).cloned()) {
            Some(lun) => self.judge().baseline.luns.push(lun),
            None => return Err(StepEnd::Broken(format!("the array does not list {name}"))),
        }
        Ok(name)
    }

    /// What filled a pool goes.
    pub(super) async fn drain(&self, pool: &Name) -> Ended {
        if !self.judge().outage.pools.remove(pool) && self.is_tolerant() {
            return Err(StepEnd::Skipped(format!("{pool} is not filled any more")));
        }
        let name = self.site.drain(pool).await.map_err(outages::not_possible)?;
        self.judge().baseline.luns.retain(|lun| lun.name != name);
        // Volumes of the pool take writes again (CAP-006).
        let names: Vec<Name> = self.judge().volumes.keys().cloned().collect();
        names.iter().for_each(|name| self.judge().expect(name, &["CAP-006"]));
        Ok(name)
    }

    /// What a failed step is charged to: the requirement that the story's own fault puts to the test, else its operation's.
    pub(super) fn charged(&self, step: &Step) -> &'static str {
        let fired = self.site.faults_fired();
        let placed = self.plan.site.faults.iter().filter(|f| fired.contains_key(&f.point));
        let mut under = placed
            .filter_map(|f| blame::under_fault(step, &f.point).or_else(|| blame::under_action(f.action)));
        under.next().unwrap_or_else(|| blame::must_succeed(step))
    }

    /// A step that never ends.
    pub(super) fn hung(&self, step: &Step) -> StepEnd {
        let hangs = |id: &str| {
            Finding::new(id, "liveness", "step", "hangs")
                .says(format!("`{}` does not end", crate::story::print_step(step)))
                .compared(format!("an end within {} s", LONGEST_STEP.as_secs()), "none")
        };
        let mut findings = vec![hangs("CON-004")];
        if let Step::Attach { .. } = step {
            findings.push(hangs("ATT-012"));
        }
        StepEnd::Findings(findings)
    }

    /// A management call that the array does not answer must be given up before a delay of this length is over.
    pub(super) fn waited_out(
        &self,
        step: &Step,
        begun: std::time::Duration,
        before: &Before,
    ) -> Option<Finding> {
        let took = self.site.env().now().saturating_sub(begun);
        for fault in self.fired_since(before) {
            let FaultAction::Delay(ms) = fault.action else { continue };
            let waited = took >= std::time::Duration::from_millis(ms);
            if ms < blame::NO_ANSWER_MS || !fault.point.starts_with("rest.") || !waited {
                continue;
            }
            let finding = Finding::new("API-003", "liveness", "step", "waits")
                .says(format!("`{}` waited for a call that was not answered", crate::story::print_step(step)))
                .compared(format!("given up before {} s", ms / 1000), format!("{} s", took.as_secs()));
            return Some(finding);
        }
        None
    }

    /// A flatten; where nothing is inherited it must succeed all the same (FLT-007).
    pub(super) async fn flatten_judged(&self, step: &Step, volume: &Name) -> Ended {
        let id = self.volume(volume)?.id;
        let nothing = self.judge().data.interesting_ranges(id, 0)?.is_empty();
        match self.flatten(step, volume).await {
            Ok(note) => {
                self.judge().ledger.compared("FLT-007", u64::from(nothing));
                Ok(note)
            }
            Err(StepEnd::Failed(mut failed)) if nothing => {
                "FLT-007".clone_into(&mut failed.finding.requirement);
                Err(StepEnd::Failed(failed))
            }
            other => other,
        }
    }

    /// GiB of all volumes by pool, by the rows themselves.
    pub(super) fn allocated(&self) -> Result<BTreeMap<String, u64>, StepEnd> {
        let mut sums = BTreeMap::new();
        for row in self.site.control().volumes().map_err(broken)? {
            if let Some(host) = row.host {
                *sums.entry(host).or_default() += row.size_gib;
            }
        }
        Ok(sums)
    }

    /// How often the scheduler has decided about the volume so far.
    pub(super) fn decided(&self, id: VolumeId) -> usize {
        self.site.control().decisions().iter().filter(|d| d.request.volume == id).count()
    }

    /// The scheduler placed the volume by what was allocated (CAP-001, bug 1910767). `earlier` decisions about it belong to
    /// attempts before this one.
    pub(super) fn placed_by(
        &self,
        id: VolumeId,
        allocated: BTreeMap<String, u64>,
        earlier: usize,
    ) -> Result<(), StepEnd> {
        // Beside other operations the sums move.
        if self.judge().group.is_some() {
            return Ok(());
        }
        let decisions = self.site.control().decisions();
        // The first one: where a build is tried again, its own remains are counted by then.
        let mut own = decisions.iter().filter(|d| d.request.volume == id);
        let Some(decision) = own.nth(earlier) else { return Ok(()) };
        for state in &decision.states {
            let expected = allocated.get(&state.host).copied().unwrap_or(0);
            let same = (state.allocated_gib - expected as f64).abs() < 0.5;
            if !same {
                let finding = Finding::new("CAP-001", "placement", "pool", "allocated")
                    .says(format!("the scheduler counts another capacity as allocated in {}", state.host))
                    .compared(format!("{expected} GiB"), format!("{} GiB", state.allocated_gib));
                return Err(StepEnd::Findings(vec![finding]));
            }
        }
        self.judge().ledger.compared("CAP-001", decision.states.len() as u64);
        Ok(())
    }

    /// Every host that has the volume was told its new size (EXT-009).
    pub(super) fn all_told(
        &self,
        name: &Name,
        volume: &Volume,
        report: &sanbench_flows::ExtendReport,
    ) -> Vec<Finding> {
        let hosts: Vec<String> = volume.hosts.iter().filter_map(|host| self.site.host_name(host)).collect();
        let untold: Vec<&String> = hosts.iter().filter(|host| !report.hosts.contains_key(*host)).collect();
        if untold.is_empty() {
            self.judge().ledger.compared("EXT-009", u64::from(hosts.len() > 1));
            return Vec::new();
        }
        vec![
            Finding::new("EXT-009", "capacity", "host", "told")
                .says(format!("{name} was extended, and not all hosts that have it were told"))
                .compared(format!("{hosts:?}"), format!("without {untold:?}")),
        ]
    }

    /// The key of a host: its place in the story.
    pub(super) fn key_of(&self, host: &Name) -> u64 {
        let place = self.plan.site.hosts.iter().position(|(name, _)| name == host).unwrap_or(0);
        0x5a00_0000_0000_0001 + place as u64
    }

    /// The host takes the volume's persistent reservation.
    pub(super) async fn reserve(&self, step: &Step, volume: &Name, host: &Name) -> Ended {
        let id = self.volume(volume)?.id;
        let connector = self.site.connector(host).ok_or_else(|| missing("host", host))?;
        self.still_on(volume, host)?;
        let partial = {
            let judge = self.judge();
            self.is_tolerant() && (judge.outage.any() || judge.narrow.contains(volume))
        };
        if partial {
            // Each path is to be registered, and one that comes later would not be.
            self.judge().drifted = true;
            return Err(StepEnd::Skipped(format!("{host} may not have all its paths of {volume}")));
        }
        let info = self.connection(id, host)?;
        let done = connector.reserve_volume(&info, self.key_of(host)).await;
        // Also one that fails may have taken it.
        self.judge().reserved.insert(volume.clone(), false);
        done.map_err(|e| self.failed(step, &e.to_string()))?;
        Ok(String::new())
    }

    /// The volume is on the host, unless the story took another turn.
    fn still_on(&self, volume: &Name, host: &Name) -> Result<(), StepEnd> {
        let on = self.volume(volume)?.hosts.contains(host);
        match on || !self.judge().drifted {
            true => Ok(()),
            false => Err(StepEnd::Skipped(format!("{volume} is not on {host}"))),
        }
    }

    /// The reservation is the host's: as it was taken, or as it outlasted the loss of power (SCS-013).
    pub(super) async fn reserved(&self, volume: &Name, host: &Name, release: bool) -> Ended {
        let id = self.volume(volume)?.id;
        let connector = self.site.connector(host).ok_or_else(|| missing("host", host))?;
        self.still_on(volume, host)?;
        let (info, key) = (self.connection(id, host)?, self.key_of(host));
        let known = self.judge().reserved.get(volume).copied();
        if known.is_none() && self.judge().drifted {
            return Err(StepEnd::Skipped(format!("{volume} is not reserved any more")));
        }
        let power = known.unwrap_or(false);
        let requirement = if power { "SCS-013" } else { "SCS-012" };
        let (observed, failed) = match connector.reservation(&info, release.then_some(key)).await {
            Ok(Some(holder)) if holder == key => {
                self.judge().ledger.compared(requirement, 1);
                if release {
                    self.judge().reserved.remove(volume);
                }
                return Ok(String::new());
            }
            Ok(holder) => (holder.map_or("nobody".to_owned(), |key| format!("key {key:#x}")), false),
            Err(e) => (e.to_string(), true),
        };
        let finding = Finding::new(requirement, "reservation", "volume", "holder")
            .says(format!("the persistent reservation of {volume} is not that of {host} any more"))
            .compared(format!("key {key:#x}"), observed);
        Err(if failed { excusable(finding) } else { StepEnd::Findings(vec![finding]) })
    }

    /// A write that failed; a conflict with one's own reservation is charged to it.
    pub(super) fn write_failed(
        &self,
        step: &Step,
        volume: &Name,
        error: &sanbench_api::BlockError,
    ) -> StepEnd {
        const RESERVATION_CONFLICT: u8 = 0x18;
        let end = self.failed(step, &error.to_string());
        let conflict =
            matches!(error, sanbench_api::BlockError::Status { status } if *status == RESERVATION_CONFLICT);
        match end {
            StepEnd::Failed(mut failed) if conflict && self.judge().reserved.contains_key(volume) => {
                "SCS-012".clone_into(&mut failed.finding.requirement);
                StepEnd::Failed(failed)
            }
            end => end,
        }
    }

    /// A long flatten beside operations on other volumes: these do not wait for its end (FLT-008).
    pub(super) fn held_up(
        &self,
        steps: &[crate::plan::PlanStep],
        played: &[Played],
        before: &Before,
    ) -> Option<Finding> {
        const LONG: std::time::Duration = std::time::Duration::from_secs(10);
        let slow = |fault: &crate::plan::PlacedFault| matches!(fault.action, FaultAction::Delay(ms) if std::time::Duration::from_millis(ms) >= LONG / 2);
        let slow_calls = self.fired_since(before).iter().filter(|fault| slow(fault)).count();
        if self.is_tolerant() && (slow_calls > 1 || self.judge().outage.any()) {
            // Each may have waited for something else.
            return None;
        }
        let of = |p: &Played| steps.get(p.index);
        let flattens =
            played.iter().filter(|p| of(p).is_some_and(|s| matches!(s.step, Step::Flatten { .. })));
        for flatten in flattens.filter(|p| p.time.1.saturating_sub(p.time.0) >= LONG) {
            let Some(flattened) = of(flatten) else { continue };
            let names = self.names(&flattened.step);
            for other in played {
                let Some(step) = of(other).filter(|s| is_managed(&s.step) && s.lane != flattened.lane) else {
                    continue;
                };
                let beside = other.time.0 >= flatten.time.0 && other.time.0 < flatten.time.1;
                if !beside || self.names(&step.step).meets(&names) {
                    continue;
                }
                let waited =
                    other.time.1 >= flatten.time.1 && other.time.1.saturating_sub(other.time.0) >= LONG / 2;
                if !waited {
                    self.judge().ledger.compared("FLT-008", 1);
                    continue;
                }
                let text = crate::story::print_step(&step.step);
                let finding = Finding::new("FLT-008", "liveness", "step", "held up")
                    .says(format!("`{text}` waited for the end of a flatten of another volume"))
                    .compared(
                        "no waiting",
                        format!("{} s", other.time.1.saturating_sub(other.time.0).as_secs()),
                    );
                return Some(finding);
            }
        }
        None
    }

    /// What was written while paths were cut and is wrong afterwards came late over one of them.
    pub(super) fn came_late(&self, name: &Name, mut findings: Vec<Finding>) -> Vec<Finding> {
        let late = self.judge().volumes.get(name).is_some_and(|v| v.pending.contains("MPX-002"));
        for finding in findings.iter_mut().filter(|f| late && f.checker == "data") {
            if matches!(finding.requirement.as_str(), "DAT-001" | "DAT-002") {
                "MPX-002".clone_into(&mut finding.requirement);
            }
        }
        findings
    }

    /// A volume that cannot be read: charged to the story's own fault, or to a detach of another volume, where one explains it.
    pub(super) fn charged_reading(&self, name: &Name, end: StepEnd) -> StepEnd {
        let beside = self.judge().volumes.get(name).is_some_and(|v| v.pending.contains("ATT-004"));
        let id = match (self.logins_failed(), beside) {
            (true, _) => "ISC-015",
            (false, true) => "ATT-004",
            (false, false) => return end,
        };
        match end {
            StepEnd::Failed(mut failed) => {
                id.clone_into(&mut failed.finding.requirement);
                StepEnd::Failed(failed)
            }
            end => end,
        }
    }

    /// The story made logins fail, and some did.
    pub(super) fn logins_failed(&self) -> bool {
        let fired = self.site.faults_fired();
        self.plan.site.faults.iter().any(|f| f.point == "target.login" && fired.contains_key(&f.point))
    }
}

/// A call of the driver or a host that failed: what was done to the run may excuse it.
pub(super) fn excusable(finding: Finding) -> StepEnd {
    StepEnd::Failed(Box::new(Failed { finding, refused: None, clean: false, raced: false }))
}
