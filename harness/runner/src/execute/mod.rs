//! Playing the steps of a plan on a site. Operations and answers go to the models; readings and inventories are
//! judged after every step.
//!
//! This file decides what a step's end means; `volumes`, `hosts`, `io` and `outages` do the steps.

mod hosts;
mod io;
mod outages;
mod volumes;

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
        judge.data.set_volatile(plan.site.write_cache);
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
                | Step::Cut { .. }
                | Step::Heal { .. }
                | Step::Wait { .. }
        );
        let begun = self.site.env().now();
        if managed {
            self.judge.listing = None;
        }
        let ended = match self.act(step).await {
            Ok(note) => match expected {
                None => StepEnd::Done(note),
                Some(wanted) => return self.not_refused(step, wanted, "it succeeded"),
            },
            Err(StepEnd::Refused(note)) => StepEnd::Refused(note),
            Err(end) => return self.in_outage(end),
        };
        if let Some(finding) = self.stalled(step, begun) {
            return StepEnd::Findings(vec![finding]);
        }
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
            Step::Attach { .. } => &["ATT-001"],
            Step::Flatten { .. } => &["FLT-003", "FLT-005"],
            // Every session of the management interface went with the power; the inventory was listed all the same.
            Step::PowerLoss => &["DUR-005", "API-002"],
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
                let id = self.volume(volume)?.id;
                self.judge.data.flush(id, "DUR-001")?;
                Ok(String::new())
            }
            Step::Reimage { volume, image } => self.reimage(step, volume, image).await,
            Step::Squat { volume } => self.squat(volume).await,
            Step::PowerLoss => self.power_loss().await,
            Step::FailController { controller } => self.controller(*controller, false).await,
            Step::RestoreController { controller } => self.controller(*controller, true).await,
            Step::Cut { host, path } => self.path(host, *path, false).await,
            Step::Heal { host, path } => self.path(host, *path, true).await,
            Step::Wait { seconds } => {
                self.site.env().sleep(std::time::Duration::from_secs(*seconds)).await;
                self.settled();
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
