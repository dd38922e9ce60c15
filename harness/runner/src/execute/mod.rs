//! Playing the steps of a plan on a site. Operations and answers go to the models; readings and inventories are
//! judged after every step, or after every group of steps that ran side by side.
//!
//! | module | what it does |
//! |---|---|
//! | this | what a step's end means |
//! | `lanes` | groups: lanes side by side |
//! | `tolerance` | what may fail, and why |
//! | `settle` | heals, tries again, looks at everything |
//! | `contract` | what driver and connector promise, asked directly |
//! | `again` | a host is asked once more to connect what it has |
//! | `clean` | the clean-up of an array that nobody knows any more |
//! | `volumes`, `hosts`, `io`, `outages` | the steps |
//! | `remote` | volumes on two arrays |
//! | `limits` | volumes that the array slows down |
//! | `patience` | how often what never works is tried |

mod administer;
mod again;
mod clean;
mod contract;
mod hosts;
mod io;
mod lanes;
mod limits;
mod outages;
mod patience;
mod remote;
mod settle;
mod spoil;
mod tolerance;
mod volumes;

use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use sanbench_api::{AccessMode, BlockDevice, ConnectionInfo, InstanceId, SnapshotId, VolumeId};
use sanbench_check::model::control::Answer;
use sanbench_check::model::data::Certainty;
use sanbench_check::{Finding, ModelError, Operation, Source as ModelSource, Ticket, Timed};
use sanbench_flows::{
    AttachOptions, CacheEntryView, CreateRequest, DetachOptions, FlowError, Source as FlowSource,
};
use sanbench_world::{Firings, dice};

use crate::audit::{self, AuditError};
use crate::blame;
use crate::judge::{Judge, Met, Snapshot, Volume};
use crate::plan::{ImageKind, PairAct, Plan, Refused, Repeated, Source, Step};
use crate::read::{self, ReadError};
use crate::site::{PathState, Severed, Site, SiteError};
use crate::story::Name;
use tolerance::Before;

pub(crate) use lanes::Played;
pub(crate) use tolerance::Names;

/// How a step ended.
#[derive(Debug)]
pub(crate) enum StepEnd {
    /// As it should; the text is a word about it.
    Done(String),
    /// Refused, as the story expects.
    Refused(String),
    /// Failed, as it may under a fault, or refused beside another operation; what it names is in doubt.
    Tolerated(String),
    /// Not begun, because what it names is not there or in doubt after an earlier failure.
    Skipped(String),
    /// A step that must succeed has failed; whether it may is for the caller to say.
    Failed(Box<Failed>),
    /// Checkers found something.
    Findings(Vec<Finding>),
    /// The array could not be reached.
    Unreachable(String),
    /// The bench broke.
    Broken(String),
}

/// An unexpected failure before it is judged.
#[derive(Debug)]
pub(crate) struct Failed {
    /// What is found when it may not be.
    finding: Finding,
    /// It was a refusal: nothing has changed.
    refused: Option<Refused>,
    /// What it was about does not exist, or has another status: a refusal that other operations may explain.
    clean: bool,
    /// Something that it relied on went away or changed its status meanwhile.
    raced: bool,
}

impl Failed {
    /// What has failed, in a sentence.
    pub(crate) fn message(&self) -> String {
        self.finding.message.clone()
    }
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

impl StepEnd {
    /// The story goes on.
    pub(crate) fn goes_on(&self) -> bool {
        matches!(self, Self::Done(_) | Self::Refused(_) | Self::Tolerated(_) | Self::Skipped(_))
    }

    /// A failure that nobody has excused is a finding.
    pub(crate) fn found(self) -> Self {
        match self {
            Self::Failed(failed) => Self::Findings(vec![failed.finding]),
            other => other,
        }
    }
}

/// One write of the story covers at most this many bytes at once.
const WRITE_CHUNK: u64 = 256 << 10;
/// A step that has not ended after this time never will (CON-004); longer than any limit of driver, flows and initiator, and
/// than the copies and splits of stories.
const LONGEST_STEP: std::time::Duration = std::time::Duration::from_secs(4 * 3600);

/// A case at play.
pub(crate) struct Player<'a> {
    pub(crate) site: &'a dyn Site,
    judge: RefCell<Judge>,
    halves: RefCell<remote::Halves>,
    plan: &'a Plan,
    seed: u64,
    scan: bool,
}

type Ended = Result<String, StepEnd>;

impl<'a> Player<'a> {
    pub(crate) fn new(site: &'a dyn Site, plan: &'a Plan, seed: u64, scan: bool) -> Self {
        let mut judge = Judge::new(site.tag());
        judge.data.set_volatile(plan.site.write_cache);
        judge.multiattach = plan.site.types.iter().any(|(_, specs)| specs.contains_key("multiattach"));
        judge.promise(site.drivers().keys(), site.promise());
        Self { site, judge: RefCell::new(judge), halves: RefCell::default(), plan, seed, scan }
    }

    /// What is believed. Never held over an await: lanes share it.
    pub(crate) fn judge(&self) -> RefMut<'_, Judge> {
        self.judge.borrow_mut()
    }

    /// Remembers what was on the array before the case: not ours, never to be touched.
    pub(crate) async fn prepare(&self) -> Result<(), StepEnd> {
        let listing = audit::inventory(self.site).await.map_err(|e| StepEnd::Unreachable(e.to_string()))?;
        if let Some(listing) = listing {
            let tag: String = self.site.tag().iter().map(|b| format!("{b:02x}")).collect();
            let foreign = |name: &str| name.starts_with(&format!("{tag}-"));
            if let Some(lun) = listing.luns.iter().find(|l| foreign(&l.name)) {
                return Err(StepEnd::Broken(format!("tag {tag} is in use on the array: {}", lun.name)));
            }
            self.judge().baseline = listing;
        }
        Ok(())
    }

    /// Plays one step alone, then looks at everything that it may have touched.
    pub(crate) async fn step(&self, step: &Step) -> StepEnd {
        let before = self.before(false);
        let expected = refused(step);
        let managed = is_managed(step);
        let begun = self.site.env().now();
        if managed {
            self.judge().listing = None;
        }
        let Ok(ended) = self.site.env().timeout(LONGEST_STEP, self.act(step)).await else {
            return self.hung(step);
        };
        if let Some(finding) = self.impatient(step, begun, &before, false) {
            return StepEnd::Findings(vec![finding]);
        }
        if let Some(finding) = self.waited_out(step, begun, &before) {
            return StepEnd::Findings(vec![finding]);
        }
        let ended = match self.judged_end(step, ended, expected, &before, Met::default()) {
            end @ (StepEnd::Done(_) | StepEnd::Refused(_)) => end,
            end @ StepEnd::Tolerated(_) => return end,
            end => return self.in_outage(end),
        };
        if let Some(finding) = self.stalled(step, begun)
            && self.excused(step, &before).is_none()
        {
            return StepEnd::Findings(vec![finding]);
        }
        if let StepEnd::Refused(_) = &ended
            && let Err(end) = self.refused_twice(step).await
        {
            return end;
        }
        match self.look(step, managed, &before).await {
            Ok(()) => {}
            Err(end) => return end,
        }
        if let Some(finding) = self.waited_out(step, begun, &before) {
            return StepEnd::Findings(vec![finding]);
        }
        self.uphold(step, expected, &before);
        ended
    }

    /// Inventories and readings after a step or a group.
    async fn look(&self, step: &Step, managed: bool, before: &Before) -> Result<(), StepEnd> {
        let findings = self.site.take_findings();
        if !findings.is_empty() {
            return Err(StepEnd::Findings(findings));
        }
        if managed && !self.unsettled() {
            match self.audit().await {
                Ok(findings) if findings.is_empty() => {}
                Ok(findings) => return Err(StepEnd::Findings(findings)),
                // A fault of the plan met the listing: `settle` looks again.
                Err(StepEnd::Unreachable(_)) if self.excused(step, before).is_some() => {
                    self.judge().unsettled = true;
                }
                Err(end) => return Err(end),
            }
        }
        let reading = self.before(false);
        match self.read_back(step).await {
            Ok(findings) if findings.is_empty() => Ok(()),
            Ok(findings) => Err(StepEnd::Findings(findings)),
            // The reading stays due. Faults of the management that the step must withstand may have hit the reading instead.
            Err(StepEnd::Failed(_) | StepEnd::Unreachable(_))
                if self.is_down()
                    || self.excused(step, before).is_some()
                    || (self.is_tolerant() && self.met_masked_call(&reading)) =>
            {
                self.judge().unsettled = true;
                Ok(())
            }
            Err(end) => Err(end),
        }
    }

    /// Compares all inventories with the models.
    async fn audit(&self) -> Result<Vec<Finding>, StepEnd> {
        let listing = self.listing().await?;
        Ok(audit::audit(self.site, &mut self.judge(), listing).map_err(AuditError::from)?)
    }

    /// The array's listing as it is since the last management operation; asks the array only when one has begun since.
    async fn listing(&self) -> Result<Option<sanbench_api::ArrayInventory>, StepEnd> {
        let known = self.judge().listing.clone();
        if known.is_some() {
            return Ok(known);
        }
        let listing = audit::inventory(self.site).await.map_err(AuditError::from)?;
        self.judge().listing.clone_from(&listing);
        Ok(listing)
    }

    /// What the end of an action means.
    fn judged_end(
        &self,
        step: &Step,
        ended: Ended,
        expected: Option<Refused>,
        before: &Before,
        met: Met,
    ) -> StepEnd {
        let excuse = self.excused(step, before);
        if excuse.is_some() && is_managed(step) {
            // Something may wait for a second try.
            self.judge().unsettled = true;
        }
        if let (Step::Attach { volume, .. }, Ok(_)) = (step, &ended) {
            let mut judge = self.judge();
            match excuse {
                Some(_) => judge.half_seen.insert(volume.clone()),
                None => judge.half_seen.remove(volume),
            };
        }
        let broken = !self.fired_since(before).is_empty() || self.judge().outage.any();
        if let (Step::Restart { .. }, Ok(_), Some(_), true) = (step, &ended, &excuse, broken) {
            self.not_exported();
        }
        match ended {
            Ok(note) => match expected {
                Some(wanted) if self.taken_away(step, wanted) => {
                    self.judge().drifted = true;
                    StepEnd::Done(note)
                }
                Some(wanted) if !self.judge().drifted && !met.related => {
                    self.not_refused(step, wanted, "it succeeded")
                }
                _ => StepEnd::Done(note),
            },
            Err(StepEnd::Refused(note)) => StepEnd::Refused(note),
            Err(StepEnd::Failed(failed)) => match (excuse, self.explained(step, &failed, met)) {
                (Some(why), _) => {
                    self.doubt(step);
                    StepEnd::Tolerated(format!("{why}: {}", failed.finding.observed))
                }
                (None, true) => {
                    self.judge().drifted = true;
                    // I/O on a volume that was taken away leaves nothing but its own blocks in doubt.
                    if !failed.clean && !tolerance::is_io(step) {
                        self.doubt(step);
                    }
                    StepEnd::Tolerated(failed.finding.observed)
                }
                (None, false) => StepEnd::Findings(vec![failed.finding]),
            },
            Err(StepEnd::Unreachable(message)) => match excuse {
                Some(why) => {
                    self.doubt(step);
                    StepEnd::Tolerated(format!("{why}: {message}"))
                }
                None => StepEnd::Unreachable(message),
            },
            Err(end) => end,
        }
    }

    /// Requirements that a step which ended well and was followed by clean inventories and readings upholds.
    fn uphold(&self, step: &Step, expected: Option<Refused>, before: &Before) {
        if let Some(refused) = expected {
            if self.judge().drifted {
                return;
            }
            for id in blame::must_be_refused(step, refused, self.image_kind(step)) {
                self.judge().ledger.compared(id, 1);
            }
            return;
        }
        for point in self.points_since(before) {
            for id in blame::lost_answer(&point).iter().chain(blame::overcome(step, &point)) {
                self.judge().ledger.compared(id, 1);
            }
        }
        for fault in self.fired_since(before) {
            for id in blame::withstood(step, &fault.point, fault.action) {
                self.judge().ledger.compared(id, 1);
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
            Step::Settle => &["CON-004"],
            _ => &[],
        };
        ids.iter().for_each(|id| self.judge().ledger.compared(id, 1));
        if matches!(step, Step::Settle) && self.has_crashed() {
            // What the crash left open is closed, and nothing is left over.
            self.judge().ledger.compared("DUR-006", 1);
        }
    }

    async fn act(&self, step: &Step) -> Ended {
        self.skipped(step)?;
        self.whole(step)?;
        if !matches!(step, Step::Manage { .. } | Step::Inspect { .. }) {
            self.hand_over();
        }
        match step {
            Step::Create { volume, size, volume_type, source, pool, .. } => {
                let gib = size.whole_gib().unwrap_or(1);
                self.create(step, volume, gib, volume_type.as_ref(), source, pool.as_ref()).await
            }
            Step::Attach { volume, host, .. } => self.attach(step, volume, host).await,
            Step::Write { volume, at, length } => self.write(step, volume, at.0, length.0).await,
            Step::Unmap { volume, at, length } => self.unmap(step, volume, at.0, length.0).await,
            Step::Flush { volume } => self.flush(step, volume).await,
            Step::Reimage { volume, image } => self.reimage(step, volume, image).await,
            Step::Squat { volume } => self.squat(volume).await,
            Step::Manage { call, far, code, ours, remember, times, fields } => {
                self.manage(step, (call, *far), (*code, *ours), *times, remember.as_ref(), fields).await
            }
            Step::Inspect { path, far, count, remember, fields } => {
                self.inspect(step, (path, *far), *count, remember.as_ref(), fields).await
            }
            Step::Clean => self.clean(step).await,
            Step::PowerLoss => self.power_loss().await,
            Step::Reboot { host, off } => self.start_again(step, host, Some(*off)).await,
            Step::RestartInitiator { host } => self.start_again(step, host, None).await,
            Step::FailController { controller } => self.controller(*controller, false).await,
            Step::RestoreController { controller } => self.controller(*controller, true).await,
            Step::Cut { host, path, way } => self.path(host, *path, PathState::Cut(*way)).await,
            Step::Heal { host, path } => self.path(host, *path, PathState::Up).await,
            Step::Slow { host, path, ms, segment, loss } => {
                self.slow(host, *path, PathState::Slow { ms: *ms, segment: *segment, loss: *loss }).await
            }
            Step::Reset { host, path } => self.sever(host, *path, Severed::Reset).await,
            Step::HalfOpen { host, path, side } => self.sever(host, *path, Severed::HalfOpen(*side)).await,
            Step::Limit { volume, iops } => self.limit(volume, *iops).await,
            Step::Portal { portal, enabled } => self.portal(*portal, *enabled).await,
            Step::Pair { volume, act } => self.pair(step, volume, act).await,
            Step::Link { up } => self.link(*up).await,
            Step::Wait { seconds } => {
                self.site.env().sleep(std::time::Duration::from_secs(*seconds)).await;
                self.settled();
                Ok(String::new())
            }
            Step::Extend { volume, size, .. } => {
                self.extend(step, volume, size.whole_gib().unwrap_or(1)).await
            }
            Step::Snapshot { snapshot, volume, .. } => self.snapshot(step, snapshot, volume).await,
            Step::Flatten { volume, .. } => self.flatten_judged(step, volume).await,
            Step::Detach { volume, host, force, .. } => self.detach(step, volume, host, *force).await,
            Step::Delete { volume, .. } => self.delete(step, volume).await,
            Step::DeleteSnapshot { snapshot, .. } => self.delete_snapshot(step, snapshot).await,
            Step::PutBack { snapshot, .. } => self.put_back(step, snapshot).await,
            Step::Restart { options } => self.restart(step, options).await,
            Step::Depth { volume, depth } => self.depth(volume, *depth).await,
            Step::Intrude { volume, host } => self.intrude(volume, host).await,
            Step::Verify { volume } | Step::Scan { volume } => {
                self.volume(volume)?;
                let scan = self.scan || matches!(step, Step::Scan { .. });
                let blocks = self.verify(volume, scan).await?;
                Ok(format!("{blocks} blocks"))
            }
            Step::Census => self.census().await,
            Step::Arm { fault } => {
                let number = self.site.arm(fault).map_err(outages::not_possible)?;
                self.judge().armed.insert(number, fault.clone());
                Ok(String::new())
            }
            Step::Disarm => {
                self.disarm()?;
                Ok(String::new())
            }
            Step::Settle => self.settle().await,
            Step::Repeat { what: Repeated::Connect, volume, host: Some(host) } => {
                self.connect_again(volume, host).await
            }
            Step::Repeat { what, volume, host } => self.repeat(*what, volume, host.as_ref()).await,
            Step::Revoke { volume, host, everywhere } => self.revoke(step, volume, host, *everywhere).await,
            Step::Reserve { volume, host } => self.reserve(step, volume, host).await,
            Step::Reserved { volume, host } => self.reserved(volume, host, false).await,
            Step::Unreserve { volume, host } => self.reserved(volume, host, true).await,
            Step::Forge { volume, what } => self.forge(step, volume, *what).await,
            Step::Fill { pool, leave } => self.fill(pool, leave.0).await,
            Step::Drain { pool } => self.drain(pool).await,
            Step::Spoil { volume, at, how } => self.spoil(step, volume, at.0 / 512, *how).await,
            Step::OutOfSpace { what, volume, at, length } => {
                self.out_of_space(step, *what, volume, at.0, length.0).await
            }
        }
    }

    /// The name that the driver gives the LUN of a volume.
    fn lun_name(&self, id: &VolumeId) -> Result<String, StepEnd> {
        let drivers = self.site.drivers();
        let name = drivers.values().find_map(|d| d.inventory().map(|i| i.lun_name(id)));
        name.ok_or_else(|| StepEnd::Broken("the driver tells no names".into()))
    }

    async fn census(&self) -> Ended {
        if self.unsettled() {
            return Err(StepEnd::Skipped("something waits to be settled".into()));
        }
        let findings = audit::capacity(self.site, &self.judge).await?;
        if findings.is_empty() { Ok(String::new()) } else { Err(StepEnd::Findings(findings)) }
    }

    async fn restart(&self, step: &Step, options: &BTreeMap<String, String>) -> Ended {
        let done = self.site.restart(options).await;
        // Options are in force even where the start failed.
        self.judge().promise(self.site.drivers().keys(), self.site.promise());
        self.judge().decisions_judged = 0;
        done.map_err(|e| match e {
            SiteError::Unreachable(message) => self.failed(step, &message),
            other => StepEnd::Broken(other.to_string()),
        })?;
        self.judge().down = false;
        let names: Vec<Name> = self.judge().volumes.keys().cloned().collect();
        names.iter().for_each(|name| self.judge().expect(name, &["DAT-004"]));
        Ok(String::new())
    }

    /// Everything that still exists is detached and deleted; then nothing may be left.
    pub(crate) async fn clear(&self) -> Result<Vec<Finding>, StepEnd> {
        if self.unsettled() || !self.judge().doubt.is_empty() || self.judge().outage.any() {
            self.settle().await?;
        }
        self.part().await?;
        let attached: Vec<(Name, Name)> = self
            .judge()
            .volumes
            .iter()
            .flat_map(|(name, v)| v.hosts.iter().map(move |h| (name.clone(), h.clone())))
            .collect();
        for (volume, host) in attached {
            let step =
                Step::Detach { volume: volume.clone(), host: host.clone(), force: false, refused: None };
            self.detach(&step, &volume, &host, false).await?;
        }
        let snapshots: Vec<Name> = self.judge().snapshots.keys().cloned().collect();
        for snapshot in snapshots {
            let step = Step::DeleteSnapshot { snapshot: snapshot.clone(), refused: None };
            self.delete_snapshot(&step, &snapshot).await?;
        }
        let volumes: Vec<Name> = self.judge().volumes.keys().cloned().collect();
        for volume in volumes {
            let step = Step::Delete { volume: volume.clone(), refused: None };
            self.delete(&step, &volume).await?;
        }
        let internal = std::mem::take(&mut self.judge().internal);
        if !internal.is_empty() {
            self.site.control().purge_image_cache().await.map_err(|e| StepEnd::Broken(e.to_string()))?;
            let mut findings = Vec::new();
            for id in internal {
                let gone = Operation::DeleteVolume { id };
                findings.extend(self.judge().control.complete(&gone, Answer::Done));
            }
            if !findings.is_empty() {
                return Ok(findings);
            }
        }
        self.judge().listing = None;
        let findings = self.audit().await?;
        if findings.is_empty() {
            self.judge().ledger.compared("CLU-001", 1);
        }
        Ok(findings)
    }

    /// Deletes what it can without judging, after a failure: so that a real array is left clean.
    pub(crate) async fn abandon(&self) {
        // What hangs may hold what this needs.
        let _ = self.site.env().timeout(LONGEST_STEP, self.abandon_all()).await;
    }

    async fn abandon_all(&self) {
        // What is in a pair cannot be deleted.
        let _ = self.part().await;
        let control = self.site.control();
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

    fn volume(&self, name: &Name) -> Result<Volume, StepEnd> {
        let found = self.judge().volumes.get(name).cloned();
        found.ok_or_else(|| self.absent("volume", name))
    }

    fn snapshot_of(&self, name: &Name) -> Result<Snapshot, StepEnd> {
        let found = self.judge().snapshots.get(name).cloned();
        found.ok_or_else(|| self.absent("snapshot", name))
    }

    fn absent(&self, kind: &str, name: &Name) -> StepEnd {
        let mut judge = self.judge();
        if judge.drifted || judge.group.is_some() {
            judge.drifted = true;
            return StepEnd::Skipped(format!("{kind} {name} is not there"));
        }
        StepEnd::Broken(format!("the story uses {kind} {name}, which does not exist at this step"))
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

    /// The moment at which an operation begins; for [`Player::complete`].
    fn begin(&self) -> u64 {
        self.judge().tick()
    }

    /// Tells the control model how an operation that began at `begun` was answered: at once, or with its group.
    fn complete(&self, begun: u64, operation: &Operation, answer: Answer) -> Vec<Finding> {
        let mut judge = self.judge();
        let ended = judge.tick();
        match &mut judge.group {
            Some(group) => {
                group.push(Timed { operation: operation.clone(), answer, begun, ended });
                Vec::new()
            }
            None => judge.control.complete(operation, answer),
        }
    }

    /// A step that must succeed has failed.
    fn failed(&self, step: &Step, observed: &str) -> StepEnd {
        let finding = Finding::new(self.charged(step), "operation", "step", "failed")
            .says(format!("`{}` failed", crate::story::print_step(step)))
            .compared("success", observed);
        StepEnd::Failed(Box::new(Failed { finding, refused: None, clean: false, raced: false }))
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
    fn refused_or_failed(
        &self,
        step: &Step,
        begun: u64,
        operation: &Operation,
        error: &FlowError,
    ) -> StepEnd {
        let expected = refused(step);
        let class = blame::refusal_class(error);
        let answer = match class {
            _ if blame::left_open(error) => Answer::Unknown,
            Some(_) => Answer::Refused,
            None if blame::is_clean(error) => Answer::Refused,
            None if error.outcome() == sanbench_api::Outcome::NotDone => Answer::Failed,
            None => Answer::Unknown,
        };
        self.complete(begun, operation, answer);
        if blame::is_unreachable(error) {
            return StepEnd::Unreachable(error.to_string());
        }
        if expected.is_some() && expected == class {
            return StepEnd::Refused(error.to_string());
        }
        let finding = match (expected, self.failed(step, &error.to_string())) {
            (None, StepEnd::Failed(mut failed)) => {
                if blame::is_wrong_device(error) {
                    "ATT-006".clone_into(&mut failed.finding.requirement);
                }
                failed.finding
            }
            (wanted, _) => {
                let wanted = wanted.unwrap_or(Refused::State);
                match self.not_refused(step, wanted, &error.to_string()) {
                    StepEnd::Findings(mut findings) => findings.swap_remove(0),
                    other => return other,
                }
            }
        };
        StepEnd::Failed(Box::new(Failed {
            finding,
            refused: class,
            clean: blame::is_clean(error),
            raced: blame::is_race(error),
        }))
    }
}

/// The step goes through the management interface.
fn is_managed(step: &Step) -> bool {
    !matches!(
        step,
        Step::Write { .. }
            | Step::Unmap { .. }
            | Step::Flush { .. }
            | Step::Depth { .. }
            | Step::Verify { .. }
            | Step::Scan { .. }
            | Step::Cut { .. }
            | Step::Slow { .. }
            | Step::Reset { .. }
            | Step::HalfOpen { .. }
            | Step::Heal { .. }
            | Step::Portal { .. }
            | Step::Limit { .. }
            | Step::Pair { .. }
            | Step::Link { .. }
            | Step::Wait { .. }
            | Step::Arm { .. }
            | Step::Disarm
            | Step::Inspect { .. }
            | Step::Reserve { .. }
            | Step::Reserved { .. }
            | Step::Unreserve { .. }
            | Step::Forge { .. }
            | Step::OutOfSpace { .. }
            | Step::Spoil { .. }
    )
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
        | Step::DeleteSnapshot { refused, .. }
        | Step::PutBack { refused, .. }
        | Step::Pair { act: PairAct::WriteRemote { refused, .. }, .. } => *refused,
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
    let (refused, clean) = (blame::refusal_class(error), blame::is_clean(error));
    StepEnd::Failed(Box::new(Failed { finding, refused, clean, raced: blame::is_race(error) }))
}

fn unreadable(name: &Name, error: ReadError) -> StepEnd {
    match error {
        ReadError::Model(e) => e.into(),
        ReadError::Device(e) => {
            let finding = Finding::new("DAT-001", "operation", "verify", "read")
                .says(format!("volume {name} cannot be read"))
                .compared("data", e);
            StepEnd::Failed(Box::new(Failed { finding, refused: None, clean: false, raced: false }))
        }
    }
}
