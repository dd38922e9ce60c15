//! Playing the steps of a plan on a site. Operations and answers go to the models; readings and inventories are
//! judged after every step.

use std::sync::Arc;

use bytes::Bytes;
use sanbench_api::{AccessMode, BlockDevice, ConnectionInfo, InstanceId, SnapshotId, VolumeId};
use sanbench_check::model::control::Answer;
use sanbench_check::model::data::Certainty;
use sanbench_check::{Finding, ModelError, Operation, Source as ModelSource};
use sanbench_flows::{
    AttachOptions, CacheEntryView, CreateRequest, DetachOptions, FlowError, Source as FlowSource,
};
use sanbench_world::dice;

use crate::audit::{self, AuditError};
use crate::blame;
use crate::judge::{Judge, Snapshot, Volume};
use crate::plan::{ImageKind, Plan, Refused, Source, Step};
use crate::read::{self, ReadError};
use crate::site::{Site, SiteError};
use crate::story::Name;

/// How a step ended.
#[derive(Debug)]
pub(crate) enum StepEnd {
    /// As it should; the text is a word about it.
    Done(String),
    /// Refused, as the story expects.
    Refused(String),
    /// Checkers found something.
    Findings(Vec<Finding>),
    /// The array could not be reached.
    Unreachable(String),
    /// The bench broke.
    Broken(String),
}

impl From<ModelError> for StepEnd {
    fn from(e: ModelError) -> Self {
        Self::Broken(format!("model: {e}"))
    }
}

impl From<AuditError> for StepEnd {
    fn from(e: AuditError) -> Self {
        match e {
            AuditError::Array(e) => Self::Unreachable(e.to_string()),
            AuditError::Flow(e) => Self::Broken(e.to_string()),
        }
    }
}

/// One write of the story covers at most this many bytes at once.
const WRITE_CHUNK: u64 = 256 << 10;

/// A case at play.
pub(crate) struct Player<'a> {
    pub(crate) site: &'a mut dyn Site,
    pub(crate) judge: Judge,
    plan: &'a Plan,
    seed: u64,
    scan: bool,
}

type Ended = Result<String, StepEnd>;

impl<'a> Player<'a> {
    pub(crate) fn new(site: &'a mut dyn Site, plan: &'a Plan, seed: u64, scan: bool) -> Self {
        let mut judge = Judge::new(site.tag());
        judge.promise(site.drivers().keys(), site.promise());
        Self { site, judge, plan, seed, scan }
    }

    /// Remembers what was on the array before the case: not ours, never to be touched.
    pub(crate) async fn prepare(&mut self) -> Result<(), StepEnd> {
        let listing = audit::inventory(self.site).await.map_err(|e| StepEnd::Unreachable(e.to_string()))?;
        if let Some(listing) = listing {
            let tag: String = self.site.tag().iter().map(|b| format!("{b:02x}")).collect();
            let foreign = |name: &str| name.starts_with(&format!("{tag}-"));
            if let Some(lun) = listing.luns.iter().find(|l| foreign(&l.name)) {
                return Err(StepEnd::Broken(format!("tag {tag} is in use on the array: {}", lun.name)));
            }
            self.judge.baseline = listing;
        }
        Ok(())
    }

    /// Plays one step, then looks at everything that it may have touched.
    pub(crate) async fn step(&mut self, step: &Step) -> StepEnd {
        let faults_before = self.site.faults_fired();
        let expected = refused(step);
        let managed = !matches!(
            step,
            Step::Write { .. }
                | Step::Unmap { .. }
                | Step::Flush { .. }
                | Step::Depth { .. }
                | Step::Verify { .. }
                | Step::Scan { .. }
        );
        if managed {
            self.judge.listing = None;
        }
        let ended = match self.act(step).await {
            Ok(note) => match expected {
                None => StepEnd::Done(note),
                Some(wanted) => return self.not_refused(step, wanted, "it succeeded"),
            },
            Err(StepEnd::Refused(note)) => StepEnd::Refused(note),
            Err(end) => return end,
        };
        let findings = self.site.take_findings();
        if !findings.is_empty() {
            return StepEnd::Findings(findings);
        }
        if managed {
            let findings = match audit::audit(&*self.site, &mut self.judge).await {
                Ok(findings) => findings,
                Err(e) => return e.into(),
            };
            if !findings.is_empty() {
                return StepEnd::Findings(findings);
            }
        }
        match self.read_back(step).await {
            Ok(findings) if findings.is_empty() => {}
            Ok(findings) => return StepEnd::Findings(findings),
            Err(end) => return end,
        }
        self.uphold(step, expected, &faults_before);
        ended
    }

    /// Requirements that a step which ended well and was followed by clean inventories and readings upholds.
    fn uphold(
        &mut self,
        step: &Step,
        expected: Option<Refused>,
        before: &std::collections::BTreeMap<String, u64>,
    ) {
        if let Some(refused) = expected {
            for id in blame::must_be_refused(step, refused, self.image_kind(step)) {
                self.judge.ledger.compared(id, 1);
            }
            return;
        }
        for (point, count) in self.site.faults_fired() {
            if count > before.get(&point).copied().unwrap_or(0) {
                for id in blame::lost_answer(&point) {
                    self.judge.ledger.compared(id, 1);
                }
            }
        }
        let ids: &[&str] = match step {
            Step::Delete { .. } => &["CRE-007", "QTA-004"],
            Step::DeleteSnapshot { .. } => &["QTA-004"],
            Step::Extend { .. } => &["QTA-003"],
            Step::Attach { .. } => &["ATT-001", "ATT-002"],
            Step::Flatten { .. } => &["FLT-003", "FLT-005"],
            _ => &[],
        };
        ids.iter().for_each(|id| self.judge.ledger.compared(id, 1));
    }

    async fn act(&mut self, step: &Step) -> Ended {
        match step {
            Step::Create { volume, size, volume_type, source, pool, .. } => {
                let gib = size.whole_gib().unwrap_or(1);
                self.create(step, volume, gib, volume_type.as_ref(), source, pool.as_ref()).await
            }
            Step::Attach { volume, host, .. } => self.attach(step, volume, host).await,
            Step::Write { volume, at, length } => self.write(step, volume, at.0, length.0).await,
            Step::Unmap { volume, at, length } => self.unmap(step, volume, at.0, length.0).await,
            Step::Flush { volume } => {
                let device = self.device(step, volume).await?;
                device.flush().await.map_err(|e| self.failed(step, &e.to_string()))?;
                Ok(String::new())
            }
            Step::Extend { volume, size, .. } => {
                self.extend(step, volume, size.whole_gib().unwrap_or(1)).await
            }
            Step::Snapshot { snapshot, volume, .. } => self.snapshot(step, snapshot, volume).await,
            Step::Flatten { volume, .. } => self.flatten(step, volume).await,
            Step::Detach { volume, host, .. } => self.detach(step, volume, host).await,
            Step::Delete { volume, .. } => self.delete(step, volume).await,
            Step::DeleteSnapshot { snapshot, .. } => self.delete_snapshot(step, snapshot).await,
            Step::Restart { options } => {
                self.site.restart(options).await.map_err(|e| match e {
                    SiteError::Unreachable(message) => StepEnd::Unreachable(message),
                    other => StepEnd::Broken(other.to_string()),
                })?;
                self.judge.promise(self.site.drivers().keys(), self.site.promise());
                self.judge.decisions_judged = 0;
                let names: Vec<Name> = self.judge.volumes.keys().cloned().collect();
                names.iter().for_each(|name| self.judge.expect(name, &["DAT-004"]));
                Ok(String::new())
            }
            Step::Depth { volume, depth } => self.depth(volume, *depth).await,
            Step::Intrude { volume, host } => self.intrude(volume, host).await,
            Step::Verify { volume } | Step::Scan { volume } => {
                self.volume(volume)?;
                let scan = self.scan || matches!(step, Step::Scan { .. });
                let blocks = self.verify(volume, scan).await?;
                Ok(format!("{blocks} blocks"))
            }
            Step::Census => {
                let findings = audit::capacity(&*self.site, &mut self.judge).await?;
                if findings.is_empty() { Ok(String::new()) } else { Err(StepEnd::Findings(findings)) }
            }
        }
    }

    async fn create(
        &mut self,
        step: &Step,
        volume: &Name,
        gib: u64,
        volume_type: Option<&Name>,
        source: &Source,
        pool: Option<&Name>,
    ) -> Ended {
        let id = VolumeId::from_random(self.id_bytes("volume", volume));
        let mut image = None;
        let flow_source = match source {
            Source::Blank => FlowSource::Raw,
            Source::Image(name) => {
                let site_image = self.site.image(name).ok_or_else(|| missing("image", name))?;
                image = Some(site_image.clone());
                FlowSource::Image(site_image.id)
            }
            Source::Snapshot(name) => FlowSource::Snapshot(self.snapshot_of(name)?.id),
            Source::Volume(name) => FlowSource::Volume(self.volume(name)?.id),
        };
        let mut request = CreateRequest::raw(volume.as_str(), gib).with_id(id).from_source(flow_source);
        request.volume_type = volume_type.map(|t| t.to_string());
        let cached = self.site.control().cache_entries().map_err(broken)?;
        let answer = self.site.control().create_volume(request).await;
        let host = self.site.control().volume(id).ok().flatten().and_then(|v| v.host).unwrap_or_default();
        let model_source = match source {
            Source::Snapshot(name) => ModelSource::Snapshot(self.snapshot_of(name)?.id),
            Source::Volume(name) => ModelSource::Volume(self.volume(name)?.id),
            Source::Blank | Source::Image(_) => ModelSource::Blank,
        };
        if let Err(error) = answer {
            let operation =
                Operation::CreateVolume { id, size_gib: gib, host, source: model_source, internal: false };
            // A create that failed leaves a row in `error`, as in Cinder; the user deletes it.
            let ended = self.refused_or_failed(step, &operation, &error);
            if matches!(ended, StepEnd::Refused(_)) && self.site.control().volume(id).ok().flatten().is_some()
            {
                self.site.control().delete_volume(id).await.map_err(|e| self.failed(step, &e.to_string()))?;
                self.judge.control.complete(&Operation::DeleteVolume { id }, Answer::Done);
            }
            return Err(ended);
        }
        let entry = image
            .as_ref()
            .and_then(|i| cached.iter().find(|e| e.image == i.id && same_backend(&e.host, &host)));
        self.created(volume, id, gib, &host, model_source, source, image.as_ref(), entry).await?;
        if let Some(pool) = pool
            && host.split('#').nth(1) != Some(pool.as_str())
        {
            let finding = Finding::new("SCH-001", "placement", "volume", "pool")
                .says(format!("volume {volume} was placed where the story does not allow it"))
                .compared(pool, &host);
            return Err(StepEnd::Findings(vec![finding]));
        }
        Ok(host)
    }

    /// Tells the models about a volume that was made.
    #[expect(clippy::too_many_arguments, reason = "one call from one place, each argument a fact of its own")]
    async fn created(
        &mut self,
        volume: &Name,
        id: VolumeId,
        gib: u64,
        host: &str,
        model_source: ModelSource,
        source: &Source,
        image: Option<&crate::site::SiteImage>,
        entry: Option<&CacheEntryView>,
    ) -> Result<(), StepEnd> {
        let blocks = gib << 21;
        let limit = self.judge.control.backend(host).clone_depth_limit;
        let mut pending: Vec<&'static str> = Vec::new();
        let mut kin = Vec::new();
        let operation = |size_gib, source, internal, id| Operation::CreateVolume {
            id,
            size_gib,
            host: host.to_owned(),
            source,
            internal,
        };
        let mut findings = Vec::new();
        match (source, image, entry) {
            (Source::Image(_), Some(_), Some(entry)) => {
                // The image cache had it: the volume is a clone of the cached one.
                let from = ModelSource::Volume(entry.volume);
                findings.extend(self.judge.control.complete(&operation(gib, from, false, id), Answer::Done));
                self.judge.data.clone_from(id, entry.volume, blocks)?;
                pending.extend(["IMG-001", "CLN-001"]);
            }
            (Source::Image(_), Some(image), None) => {
                let made: Vec<_> = self
                    .site
                    .control()
                    .cache_entries()
                    .map_err(broken)?
                    .into_iter()
                    .filter(|e| e.image == image.id && !self.judge.internal.contains(&e.volume))
                    .collect();
                // With a cache entry due, the volume was made at minimal size, cloned into the cache, then extended.
                let first = made.first().map_or(gib, |e| e.size_gib.min(gib));
                findings.extend(
                    self.judge.control.complete(&operation(first, model_source, false, id), Answer::Done),
                );
                self.judge.data.create(id, first << 21)?;
                if let Some(digests) = &image.digests {
                    self.judge.data.write_image(id, digests, Certainty::Done)?;
                }
                for entry in made {
                    let from = ModelSource::Volume(id);
                    let op = operation(entry.size_gib, from, true, entry.volume);
                    findings.extend(self.judge.control.complete(&op, Answer::Done));
                    self.judge.data.clone_from(entry.volume, id, entry.size_gib << 21)?;
                    self.judge.internal.insert(entry.volume);
                    self.note_made(entry.volume, limit);
                }
                if first < gib {
                    let op = Operation::Extend { id, size_gib: gib };
                    findings.extend(self.judge.control.complete(&op, Answer::Done));
                    self.judge.data.extend(id, blocks)?;
                    pending.push("EXT-001");
                }
                pending.push("IMG-001");
            }
            (Source::Snapshot(name), ..) => {
                findings.extend(
                    self.judge.control.complete(&operation(gib, model_source, false, id), Answer::Done),
                );
                let snapshot = self.snapshot_of(name)?.clone();
                self.judge.data.clone_from(id, snapshot.id, blocks)?;
                pending.extend(["SNP-001", "SNP-006", "DAT-004"]);
                if snapshot.changed_after {
                    pending.push("SNP-002");
                }
                if snapshot.extended_after {
                    pending.push("EXT-005");
                }
                if self.site.promise().flatten_from_snapshot {
                    pending.push("FLT-001");
                }
                kin.push(snapshot.volume.clone());
                if let Some(s) = self.judge.snapshots.get_mut(name) {
                    s.children.insert(volume.clone());
                }
            }
            (Source::Volume(name), ..) => {
                let from = self.volume(name)?.clone();
                let depth = self.judge.control.expected_depth(from.id);
                findings.extend(
                    self.judge.control.complete(&operation(gib, model_source, false, id), Answer::Done),
                );
                self.judge.data.clone_from(id, from.id, blocks)?;
                pending.extend(["CLN-001", "DAT-004"]);
                if gib > from.size_gib {
                    pending.push("CLN-005");
                }
                if depth.is_some_and(|d| sanbench_check::depth::must_flatten(d, limit)) {
                    pending.extend(["CLN-003", "FLT-001"]);
                }
                kin.push(name.clone());
            }
            _ => {
                findings.extend(
                    self.judge.control.complete(&operation(gib, model_source, false, id), Answer::Done),
                );
                self.judge.data.create(id, blocks)?;
                if self.judge.something_deleted {
                    pending.push("CRE-006");
                }
            }
        }
        self.note_made(id, limit);
        let made = Volume {
            id,
            size_gib: gib,
            hosts: Default::default(),
            kin: Default::default(),
            is_clone: !kin.is_empty(),
            pending: pending.into_iter().collect(),
        };
        self.judge.volumes.insert(volume.clone(), made);
        for other in kin {
            self.judge.relate(volume, &other);
            self.judge.expect(&other, &["CLN-001"]);
        }
        if findings.is_empty() { Ok(()) } else { Err(StepEnd::Findings(findings)) }
    }

    /// A new LUN must respect the limit from now on.
    fn note_made(&mut self, id: VolumeId, limit: i64) {
        let names: Vec<String> =
            self.site.drivers().values().filter_map(|d| d.inventory().map(|i| i.lun_name(&id))).collect();
        for name in names {
            self.judge.depths.made(&name, limit);
        }
    }

    async fn attach(&mut self, step: &Step, volume: &Name, host: &Name) -> Ended {
        let id = self.volume(volume)?.id;
        let name = self.site.host_name(host).ok_or_else(|| missing("host", host))?;
        let instance = self.instance(host, &name)?;
        let connector = self.site.connector(host).ok_or_else(|| missing("host", host))?;
        let properties = connector.properties();
        let options = AttachOptions { multipath: properties.multipath, enforce_multipath: false };
        let operation = Operation::Attach { volume: id, host: name.clone() };
        if let Err(error) = self.site.control().attach(id, instance, options).await {
            return Err(self.refused_or_failed(step, &operation, &error));
        }
        let findings = self.judge.control.complete(&operation, Answer::Done);
        if !findings.is_empty() {
            return Err(StepEnd::Findings(findings));
        }
        if let Some(v) = self.judge.volumes.get_mut(volume) {
            v.hosts.insert(host.clone());
            v.pending.insert("DAT-004");
        }
        let device = self.device(step, volume).await?;
        self.judge.wwns.insert(id, device.wwn());
        let info = self.connection(id)?;
        self.repeat_attach(id, &properties, &info).await?;
        Ok(format!("{} path(s)", info.paths.len()))
    }

    /// Asking once more for the same host gives the same answer.
    async fn repeat_attach(
        &mut self,
        id: VolumeId,
        properties: &sanbench_api::ConnectorProperties,
        info: &ConnectionInfo,
    ) -> Result<(), StepEnd> {
        let row = self.site.control().volume(id).map_err(broken)?;
        let Some(row) = row else { return Ok(()) };
        let Some(driver) = row.backend().and_then(|b| self.site.drivers().get(b)).cloned() else {
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

    async fn detach(&mut self, step: &Step, volume: &Name, host: &Name) -> Ended {
        let id = self.volume(volume)?.id;
        let name = self.site.host_name(host).ok_or_else(|| missing("host", host))?;
        let instance = self.instance(host, &name)?;
        let operation = Operation::Detach { volume: id, host: name };
        if let Err(error) = self.site.control().detach(id, instance, DetachOptions::default()).await {
            return Err(self.refused_or_failed(step, &operation, &error));
        }
        let findings = self.judge.control.complete(&operation, Answer::Done);
        if !findings.is_empty() {
            return Err(StepEnd::Findings(findings));
        }
        self.judge.expect(volume, &["DAT-004"]);
        if let Some(v) = self.judge.volumes.get_mut(volume) {
            v.hosts.remove(host);
        }
        // Everything else on that host must still be there.
        let others: Vec<Name> = self
            .judge
            .volumes
            .iter()
            .filter(|(other, v)| *other != volume && v.hosts.contains(host))
            .map(|(other, _)| other.clone())
            .collect();
        others.iter().for_each(|other| self.judge.expect(other, &["ATT-004"]));
        Ok(String::new())
    }

    async fn write(&mut self, step: &Step, volume: &Name, at: u64, length: u64) -> Ended {
        let device = self.device(step, volume).await?;
        let v = self.volume(volume)?.clone();
        if at.saturating_add(length) > v.size_gib << 30 {
            return Err(StepEnd::Broken(format!("the story writes beyond the end of {volume}")));
        }
        let stamp = self.judge.data.next_stamp(v.id, at / 512, 1);
        let mut done = 0;
        while done < length {
            let count = (length - done).min(WRITE_CHUNK);
            let mut buffer = vec![0; usize::try_from(count).unwrap_or(0)];
            stamp.at((at + done) / 512).fill(&mut buffer);
            let lba = (at + done) / 512;
            if let Err(e) = device.write(lba, Bytes::from(buffer)).await {
                return Err(self.failed(step, &e.to_string()));
            }
            done += count;
        }
        self.judge.data.write(&stamp, length / 512, Certainty::Done)?;
        let partial = !at.is_multiple_of(64 << 10) || !length.is_multiple_of(64 << 10);
        self.judge.expect(volume, &["DAT-001"]);
        if v.is_clone && partial {
            self.judge.expect(volume, &["CLN-009"]);
        }
        self.judge.expect_kin(volume, &["CLN-001"]);
        self.judge.changed(volume, false);
        Ok(String::new())
    }

    async fn unmap(&mut self, step: &Step, volume: &Name, at: u64, length: u64) -> Ended {
        let device = self.device(step, volume).await?;
        let id = self.volume(volume)?.id;
        let blocks =
            u32::try_from(length / 512).map_err(|_| StepEnd::Broken("unmap of 2 TiB or more".into()))?;
        device.unmap(&[(at / 512, blocks)]).await.map_err(|e| self.failed(step, &e.to_string()))?;
        self.judge.data.unmap(id, at / 512, length / 512, Certainty::Done)?;
        self.judge.expect(volume, &["SCS-007", "DAT-008"]);
        self.judge.expect_kin(volume, &["CLN-001"]);
        self.judge.changed(volume, false);
        Ok(String::new())
    }

    async fn extend(&mut self, step: &Step, volume: &Name, gib: u64) -> Ended {
        let v = self.volume(volume)?.clone();
        let operation = Operation::Extend { id: v.id, size_gib: gib };
        let report = match self.site.control().extend_volume(v.id, gib).await {
            Ok(report) => report,
            Err(error) => return Err(self.refused_or_failed(step, &operation, &error)),
        };
        let mut findings = self.judge.control.complete(&operation, Answer::Done);
        self.judge.data.extend(v.id, gib << 21)?;
        if let Some(v) = self.judge.volumes.get_mut(volume) {
            v.size_gib = gib;
        }
        self.judge.expect(volume, &["EXT-001"]);
        if v.is_clone {
            self.judge.expect(volume, &["EXT-006"]);
        }
        self.judge.changed(volume, true);
        for (host, seen) in &report.hosts {
            match seen {
                Ok(bytes) if *bytes == gib << 30 => self.judge.ledger.compared("EXT-004", 1),
                other => {
                    let observed = match other {
                        Ok(bytes) => format!("{bytes} bytes"),
                        Err(e) => e.to_string(),
                    };
                    findings.push(
                        Finding::new("EXT-004", "capacity", "host", "bytes")
                            .says(format!("host {host} does not see the new size of {volume}"))
                            .compared(format!("{} bytes", gib << 30), observed),
                    );
                }
            }
        }
        if findings.is_empty() { Ok(String::new()) } else { Err(StepEnd::Findings(findings)) }
    }

    async fn snapshot(&mut self, step: &Step, snapshot: &Name, volume: &Name) -> Ended {
        let v = self.volume(volume)?.clone();
        let id = SnapshotId::from_random(self.id_bytes("snapshot", snapshot));
        let operation = Operation::CreateSnapshot { id, volume: v.id };
        if let Err(error) = self.site.control().create_snapshot(v.id, snapshot.as_str(), Some(id)).await {
            return Err(self.refused_or_failed(step, &operation, &error));
        }
        let findings = self.judge.control.complete(&operation, Answer::Done);
        self.judge.data.snapshot(id, v.id)?;
        let taken = Snapshot {
            id,
            volume: volume.clone(),
            changed_after: false,
            extended_after: false,
            children: Default::default(),
        };
        self.judge.snapshots.insert(snapshot.clone(), taken);
        self.judge.expect(volume, &["DAT-004"]);
        if findings.is_empty() { Ok(String::new()) } else { Err(StepEnd::Findings(findings)) }
    }

    async fn flatten(&mut self, step: &Step, volume: &Name) -> Ended {
        let id = self.volume(volume)?.id;
        let operation = Operation::Flatten { id };
        if let Err(error) = self.site.control().flatten_volume(id).await {
            return Err(self.refused_or_failed(step, &operation, &error));
        }
        let findings = self.judge.control.complete(&operation, Answer::Done);
        self.judge.data.flatten(id)?;
        self.judge.expect(volume, &["FLT-001", "DAT-004"]);
        if findings.is_empty() { Ok(String::new()) } else { Err(StepEnd::Findings(findings)) }
    }

    async fn delete(&mut self, step: &Step, volume: &Name) -> Ended {
        let v = self.volume(volume)?.clone();
        let operation = Operation::DeleteVolume { id: v.id };
        if let Err(error) = self.site.control().delete_volume(v.id).await {
            return Err(self.refused_or_failed(step, &operation, &error));
        }
        let findings = self.judge.control.complete(&operation, Answer::Done);
        self.judge.data.delete(v.id)?;
        self.judge.something_deleted = true;
        self.judge.volumes.remove(volume);
        self.judge.wwns.remove(&v.id);
        for name in v.kin {
            self.judge.expect(&name, &["CLN-006"]);
        }
        if findings.is_empty() { Ok(String::new()) } else { Err(StepEnd::Findings(findings)) }
    }

    async fn delete_snapshot(&mut self, step: &Step, snapshot: &Name) -> Ended {
        let taken = self.snapshot_of(snapshot)?.clone();
        let operation = Operation::DeleteSnapshot { id: taken.id };
        if let Err(error) = self.site.control().delete_snapshot(taken.id).await {
            return Err(self.refused_or_failed(step, &operation, &error));
        }
        let findings = self.judge.control.complete(&operation, Answer::Done);
        self.judge.data.delete(taken.id)?;
        self.judge.snapshots.remove(snapshot);
        for name in taken.children.iter().chain([&taken.volume]) {
            self.judge.expect(name, &["CLN-006", "DAT-004"]);
        }
        if findings.is_empty() { Ok(String::new()) } else { Err(StepEnd::Findings(findings)) }
    }

    async fn depth(&mut self, volume: &Name, depth: u64) -> Ended {
        let id = self.volume(volume)?.id;
        let Some(listing) = audit::listing(&*self.site, &mut self.judge).await.map_err(AuditError::from)?
        else {
            return Ok("array inventory not checked".into());
        };
        let mut names = self.site.drivers().values().filter_map(|d| d.inventory().map(|i| i.lun_name(&id)));
        let found = names.find_map(|name| listing.lun_by_name(&name).and_then(|l| listing.depth(&l.id)));
        if found.map(u64::from) == Some(depth) {
            self.judge.ledger.compared("CLN-002", 1);
            self.judge.ledger.compared("CLN-003", 1);
            return Ok(String::new());
        }
        let observed = found.map_or_else(|| "no LUN, or a broken chain".to_owned(), |d| format!("depth {d}"));
        let finding = Finding::new("CLN-002", "depth", "lun", "depth")
            .says(format!("{volume} does not stand at the depth that the story demands"))
            .compared(format!("depth {depth}"), observed);
        Err(StepEnd::Findings(vec![finding]))
    }

    /// Another host takes the volume's connection info, as it was or would be, and tries.
    async fn intrude(&mut self, volume: &Name, host: &Name) -> Ended {
        let v = self.volume(volume)?.clone();
        let connector = self.site.intruder(host).ok_or_else(|| missing("host", host))?;
        if v.hosts.contains(host) {
            return Err(StepEnd::Broken(format!("{volume} is attached to {host}: that is no intrusion")));
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
        let wwn = self.judge.wwns.get(&v.id).copied();
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
            self.judge.ledger.compared("ATT-001", 1);
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

    fn own_wwns(&self, host: &Name) -> Vec<sanbench_api::Wwn> {
        let own = self.judge.volumes.values().filter(|v| v.hosts.contains(host));
        own.filter_map(|v| self.judge.wwns.get(&v.id).copied()).collect()
    }

    /// Reads back every volume that something may have happened to.
    async fn read_back(&mut self, step: &Step) -> Result<Vec<Finding>, StepEnd> {
        if matches!(step, Step::Depth { .. } | Step::Census | Step::Verify { .. } | Step::Scan { .. }) {
            return Ok(Vec::new());
        }
        for name in self.judge.waiting() {
            match self.verify(&name, self.scan).await {
                Ok(_) => {}
                Err(StepEnd::Findings(findings)) => return Ok(findings),
                Err(end) => return Err(end),
            }
        }
        Ok(Vec::new())
    }

    /// Reads one volume back, through its host or through the control host; answers the number of blocks compared.
    async fn verify(&mut self, name: &Name, scan: bool) -> Result<u64, StepEnd> {
        let v = self.volume(name)?.clone();
        let mut dice = dice(self.seed, "holes", &format!("{name} {}", self.site.env().now().as_nanos()));
        let judge = &mut self.judge;
        let (verified, findings) = match v.hosts.first().and_then(|h| self.site.host_name(h)) {
            Some(host) => {
                let device = self.site.control().device(v.id, &host).await.map_err(|e| lost(name, &e))?;
                read::verify(&mut judge.data, &mut judge.ledger, v.id, device.as_ref(), &mut dice, scan)
                    .await
                    .map_err(|e| unreadable(name, e))?
            }
            None => {
                let local = self.site.control().open_for_reading(v.id).await.map_err(|e| lost(name, &e))?;
                let read = match local.device() {
                    Some(device) => {
                        read::verify(
                            &mut judge.data,
                            &mut judge.ledger,
                            v.id,
                            device.as_ref(),
                            &mut dice,
                            scan,
                        )
                        .await
                    }
                    None => return Err(StepEnd::Broken("the control host has no device to read".into())),
                };
                let closed = local.close().await;
                let read = read.map_err(|e| unreadable(name, e))?;
                closed.map_err(|e| lost(name, &e))?;
                read
            }
        };
        if !findings.is_empty() {
            return Err(StepEnd::Findings(findings));
        }
        self.judge.data.verified(v.id)?;
        let pending = match self.judge.volumes.get_mut(name) {
            Some(v) => std::mem::take(&mut v.pending),
            None => Default::default(),
        };
        for id in pending {
            self.judge.ledger.compared(id, verified.blocks);
        }
        Ok(verified.blocks)
    }

    /// Everything that still exists is detached and deleted; then nothing may be left.
    pub(crate) async fn clear(&mut self) -> Result<Vec<Finding>, StepEnd> {
        let attached: Vec<(Name, Name)> = self
            .judge
            .volumes
            .iter()
            .flat_map(|(name, v)| v.hosts.iter().map(move |h| (name.clone(), h.clone())))
            .collect();
        for (volume, host) in attached {
            let step = Step::Detach { volume: volume.clone(), host: host.clone(), refused: None };
            self.detach(&step, &volume, &host).await?;
        }
        let snapshots: Vec<Name> = self.judge.snapshots.keys().cloned().collect();
        for snapshot in snapshots {
            let step = Step::DeleteSnapshot { snapshot: snapshot.clone(), refused: None };
            self.delete_snapshot(&step, &snapshot).await?;
        }
        let volumes: Vec<Name> = self.judge.volumes.keys().cloned().collect();
        for volume in volumes {
            let step = Step::Delete { volume: volume.clone(), refused: None };
            self.delete(&step, &volume).await?;
        }
        if !self.judge.internal.is_empty() {
            self.site.control().purge_image_cache().await.map_err(|e| StepEnd::Broken(e.to_string()))?;
            let mut findings = Vec::new();
            for id in std::mem::take(&mut self.judge.internal) {
                findings.extend(self.judge.control.complete(&Operation::DeleteVolume { id }, Answer::Done));
            }
            if !findings.is_empty() {
                return Ok(findings);
            }
        }
        self.judge.listing = None;
        let findings = audit::audit(&*self.site, &mut self.judge).await?;
        if findings.is_empty() {
            self.judge.ledger.compared("CLU-001", 1);
        }
        Ok(findings)
    }

    /// Deletes what it can without judging, after a failure: so that a real array is left clean.
    pub(crate) async fn abandon(&mut self) {
        let control = self.site.control().clone();
        for attachment in control.attachments().unwrap_or_default() {
            let _ =
                control.detach(attachment.volume, attachment.instance, DetachOptions { force: true }).await;
        }
        for snapshot in control.snapshots().unwrap_or_default() {
            let _ = control.delete_snapshot(snapshot.id).await;
        }
        let _ = control.purge_image_cache().await;
        for volume in control.volumes().unwrap_or_default() {
            let _ = control.delete_volume(volume.id).await;
        }
    }

    fn volume(&self, name: &Name) -> Result<&Volume, StepEnd> {
        let gone =
            || StepEnd::Broken(format!("the story uses volume {name}, which does not exist at this step"));
        self.judge.volumes.get(name).ok_or_else(gone)
    }

    fn snapshot_of(&self, name: &Name) -> Result<&Snapshot, StepEnd> {
        let gone =
            || StepEnd::Broken(format!("the story uses snapshot {name}, which does not exist at this step"));
        self.judge.snapshots.get(name).ok_or_else(gone)
    }

    async fn device(&self, step: &Step, volume: &Name) -> Result<Arc<dyn BlockDevice>, StepEnd> {
        let v = self.volume(volume)?;
        let Some(host) = v.hosts.first() else {
            return Err(StepEnd::Broken(format!("the story does I/O on {volume}, which is not attached")));
        };
        let host = self.site.host_name(host).ok_or_else(|| missing("host", host))?;
        self.site.control().device(v.id, &host).await.map_err(|e| self.failed(step, &e.to_string()))
    }

    /// Connection info of the volume's attachment.
    fn connection(&self, id: VolumeId) -> Result<ConnectionInfo, StepEnd> {
        let all = self.site.control().attachments().map_err(broken)?;
        all.into_iter()
            .find(|a| a.volume == id)
            .and_then(|a| a.connection_info)
            .ok_or_else(|| StepEnd::Broken(format!("no connection info is stored for volume {id}")))
    }

    fn instance(&mut self, host: &Name, real: &str) -> Result<InstanceId, StepEnd> {
        if let Some(id) = self.judge.instances.get(host) {
            return Ok(*id);
        }
        let id = InstanceId::from_random(self.id_bytes("instance", host));
        let id = self.site.control().create_instance(real, Some(id)).map_err(broken)?;
        self.judge.instances.insert(host.clone(), id);
        Ok(id)
    }

    /// Identity of an object of the story: the run's tag, then dice keyed by its kind and name.
    fn id_bytes(&self, kind: &str, name: &Name) -> [u8; 16] {
        let mut bytes = [0; 16];
        dice(self.seed, "workload", &format!("{kind} {name}")).fill(&mut bytes);
        bytes[..4].copy_from_slice(&self.site.tag());
        bytes
    }

    fn image_kind(&self, step: &Step) -> Option<ImageKind> {
        let Step::Create { source: Source::Image(image), .. } = step else { return None };
        self.plan.site.images.iter().find(|(name, ..)| name == image).map(|(_, kind, _)| *kind)
    }

    /// A step that must succeed has failed.
    fn failed(&self, step: &Step, observed: &str) -> StepEnd {
        let finding = Finding::new(blame::must_succeed(step), "operation", "step", "failed")
            .says(format!("`{}` failed", crate::story::print_step(step)))
            .compared("success", observed);
        StepEnd::Findings(vec![finding])
    }

    /// A step that must be refused was not, or not in that way.
    fn not_refused(&self, step: &Step, wanted: Refused, observed: &str) -> StepEnd {
        let ids = blame::must_be_refused(step, wanted, self.image_kind(step));
        let id = ids.first().copied().unwrap_or("CRE-008");
        let finding = Finding::new(id, "operation", "step", "not refused")
            .says(format!("`{}` had to be refused", crate::story::print_step(step)))
            .compared(format!("refusal: {wanted:?}"), observed);
        StepEnd::Findings(vec![finding])
    }

    /// Sorts an error into expected refusal, wrong refusal, failure, or nobody there.
    fn refused_or_failed(&mut self, step: &Step, operation: &Operation, error: &FlowError) -> StepEnd {
        let expected = refused(step);
        let class = blame::refusal_class(error);
        if blame::is_unreachable(error) {
            return StepEnd::Unreachable(error.to_string());
        }
        let answer = match class {
            Some(_) => Answer::Refused,
            None if error.outcome() == sanbench_api::Outcome::NotDone => Answer::Failed,
            None => Answer::Unknown,
        };
        self.judge.control.complete(operation, answer);
        match (expected, class) {
            (Some(wanted), Some(found)) if wanted == found => StepEnd::Refused(error.to_string()),
            (Some(wanted), _) => self.not_refused(step, wanted, &error.to_string()),
            (None, _) => self.failed(step, &error.to_string()),
        }
    }
}

fn refused(step: &Step) -> Option<Refused> {
    match step {
        Step::Create { refused, .. }
        | Step::Attach { refused, .. }
        | Step::Extend { refused, .. }
        | Step::Snapshot { refused, .. }
        | Step::Flatten { refused, .. }
        | Step::Detach { refused, .. }
        | Step::Delete { refused, .. }
        | Step::DeleteSnapshot { refused, .. } => *refused,
        _ => None,
    }
}

fn missing(kind: &str, name: &Name) -> StepEnd {
    StepEnd::Broken(format!("the site has no {kind} {name}"))
}

fn broken(e: FlowError) -> StepEnd {
    StepEnd::Broken(e.to_string())
}

/// A volume that must be readable cannot be reached.
fn lost(name: &Name, error: &FlowError) -> StepEnd {
    if blame::is_unreachable(error) {
        return StepEnd::Unreachable(error.to_string());
    }
    let finding = Finding::new("ATT-001", "operation", "verify", "attach")
        .says(format!("volume {name} cannot be attached for reading"))
        .compared("a device", error);
    StepEnd::Findings(vec![finding])
}

fn unreadable(name: &Name, error: ReadError) -> StepEnd {
    match error {
        ReadError::Model(e) => e.into(),
        ReadError::Device(e) => StepEnd::Findings(vec![
            Finding::new("DAT-001", "operation", "verify", "read")
                .says(format!("volume {name} cannot be read"))
                .compared("data", e),
        ]),
    }
}

fn same_backend(a: &str, b: &str) -> bool {
    a.split('#').next() == b.split('#').next()
}
