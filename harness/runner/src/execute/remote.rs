//! Volumes on two arrays: what each half must hold, and what a host sees of the far one over iSCSI.
//!
//! The data model keeps a view for each half. A change goes into the view of the half that it was made on; whether it must be on
//! the other one as well follows from how far the pair was when the change began and when it ended:
//!
//! | began | ended | on the other half |
//! |---|---|---|
//! | any | normal | yes: it was acknowledged by both |
//! | normal | anything else | perhaps |
//! | anything else | anything else | not before the next synchronisation |
//!
//! A copy of points in time follows no single change: only a synchronisation that has ended brings it forward.

use std::collections::BTreeMap;

use sanbench_api::{BlockError, Connector};
use sanbench_check::Stamp;

use super::*;
use crate::plan::{Mirroring, PairAct, SecondaryAccess, SyncEnd};
use crate::remote::{PairState, Remote};

/// Equality of the halves where they claim it.
const EQUAL: &str = "DAT-009";
/// A far half that does not follow holds one consistent point, nothing mixed.
const POINT: &str = "DUR-002";
/// Blocks around every range that was ever written, on both sides.
const MARGIN: u64 = 16;
/// Blocks in one read.
const CHUNK: u64 = 1024;

/// The mirrored volumes of a case.
#[derive(Default)]
pub(crate) struct Halves {
    all: BTreeMap<Name, Half>,
    /// The story has cut the link.
    cut: bool,
}

/// The far half of a volume.
#[derive(Clone)]
struct Half {
    /// Name of the near LUN.
    lun: String,
    how: Mirroring,
    /// The half in the data model.
    replica: VolumeId,
    /// It leads.
    leads: bool,
    /// What a host has of it.
    device: Option<FarDevice>,
}

/// A far half on a host.
#[derive(Clone)]
struct FarDevice {
    host: Name,
    connector: Arc<dyn Connector>,
    info: ConnectionInfo,
    device: Arc<dyn BlockDevice>,
}

/// A change on one half, before it is known whether the other one has it.
pub(super) struct Following {
    half: Half,
    began: Option<PairState>,
}

/// What was changed.
#[derive(Clone, Copy)]
pub(super) enum Changed<'s> {
    /// Blocks were written with this stamp.
    Written(&'s Stamp, u64),
    /// Blocks were unmapped: first block, number.
    Unmapped(u64, u64),
}

impl Player<'_> {
    fn remote(&self) -> Result<Arc<dyn Remote>, StepEnd> {
        self.site.remote().ok_or_else(|| StepEnd::Broken("the site has no second array".into()))
    }

    fn half(&self, volume: &Name) -> Result<Half, StepEnd> {
        let known = self.halves.borrow().all.get(volume).cloned();
        known.ok_or_else(|| StepEnd::Broken(format!("{volume} is not mirrored at this step")))
    }

    fn change_half(&self, volume: &Name, change: impl FnOnce(&mut Half)) {
        if let Some(half) = self.halves.borrow_mut().all.get_mut(volume) {
            change(half);
        }
    }

    /// Steps that the bench does not play on a volume with two halves: what they mean for the far one is not told.
    pub(super) fn whole(&self, step: &Step) -> Result<(), StepEnd> {
        let volume = match step {
            Step::Extend { volume, .. }
            | Step::Flatten { volume, .. }
            | Step::Delete { volume, .. }
            | Step::Reimage { volume, .. }
            | Step::Forge { volume, .. }
            | Step::OutOfSpace { volume, .. }
            | Step::Spoil { volume, .. } => volume.clone(),
            Step::PutBack { snapshot, .. } => match self.judge().snapshots.get(snapshot) {
                Some(snapshot) => snapshot.volume.clone(),
                None => return Ok(()),
            },
            _ => return Ok(()),
        };
        match self.halves.borrow().all.contains_key(&volume) {
            true => Err(self.out_of_place(format!("{volume} is mirrored: `unmirror` comes first"))),
            false => Ok(()),
        }
    }

    /// A step that cannot be where it is: nonsense of the story, unless the story took another turn before it.
    fn out_of_place(&self, why: String) -> StepEnd {
        if self.is_tolerant() { StepEnd::Skipped(why) } else { StepEnd::Broken(why) }
    }

    pub(super) async fn pair(&self, step: &Step, volume: &Name, act: &PairAct) -> Ended {
        if self.judge().group.is_some() {
            return Err(StepEnd::Broken("steps about two arrays run alone".into()));
        }
        match self.play_pair(step, volume, act).await {
            Err(StepEnd::Broken(why)) => Err(self.out_of_place(why)),
            ended => ended,
        }
    }

    async fn play_pair(&self, step: &Step, volume: &Name, act: &PairAct) -> Ended {
        match act {
            PairAct::Mirror { how } => self.mirror(volume, *how).await,
            PairAct::Sync { ends } => self.sync(step, volume, *ends).await,
            PairAct::Pause => {
                self.remote()?.pause(&self.half(volume)?.lun).await.map_err(outages::not_possible)?;
                Ok(String::new())
            }
            PairAct::FailOver => self.fail_over(volume).await,
            PairAct::Secondary { access } => self.secondary(volume, *access).await,
            PairAct::WriteRemote { at, length, .. } => self.write_remote(step, volume, at.0, length.0).await,
            PairAct::VerifyRemote => {
                let blocks = self.verify_remote(volume).await?;
                Ok(format!("{blocks} blocks"))
            }
            PairAct::Alike => self.alike(step, volume).await,
            PairAct::Unmirror => {
                self.half(volume)?;
                self.unmirror(volume).await?;
                Ok(String::new())
            }
        }
    }

    async fn mirror(&self, volume: &Name, how: Mirroring) -> Ended {
        let v = self.volume(volume)?;
        if self.halves.borrow().all.contains_key(volume) {
            return Err(StepEnd::Broken(format!("{volume} is mirrored already")));
        }
        let lun = self.lun_name(&v.id)?;
        self.remote()?.mirror(&lun, how).await.map_err(outages::not_possible)?;
        let replica = VolumeId::from_random(self.id_bytes("replica", volume));
        self.judge().data.add_replica(replica, v.id)?;
        let half = Half { lun, how, replica, leads: false, device: None };
        self.halves.borrow_mut().all.insert(volume.clone(), half);
        Ok(String::new())
    }

    /// What differs is copied: from now on the half that does not lead holds what the other one does.
    async fn sync(&self, step: &Step, volume: &Name, ends: SyncEnd) -> Ended {
        let (v, half) = (self.volume(volume)?, self.half(volume)?);
        if self.halves.borrow().cut {
            return Err(StepEnd::Broken("the link is cut: `heal-link` comes first".into()));
        }
        let state = self.remote()?.sync(&half.lun).await.map_err(outages::not_possible)?;
        if state == PairState::Normal {
            let (from, to) = if half.leads { (half.replica, v.id) } else { (v.id, half.replica) };
            self.judge().data.replicate(from, to)?;
            // A half that is not complete shows nothing to hosts.
            self.far_device(volume).await?;
            if half.leads {
                self.judge().expect(volume, &[EQUAL]);
            }
        }
        match (ends, state) {
            (SyncEnd::Normal, PairState::Normal) => Ok(String::new()),
            (SyncEnd::Interrupted, PairState::Interrupted) => Ok("broken off".into()),
            (SyncEnd::Interrupted, _) => {
                Err(StepEnd::Broken(format!("nothing broke the synchronisation of {volume} off")))
            }
            (SyncEnd::Normal, _) => Err(self.failed(step, &format!("the pair is {}", state.word()))),
        }
    }

    async fn fail_over(&self, volume: &Name) -> Ended {
        let half = self.half(volume)?;
        self.remote()?.fail_over(&half.lun).await.map_err(outages::not_possible)?;
        self.change_half(volume, |half| half.leads = !half.leads);
        Ok(if half.leads { "the near half leads".into() } else { "the remote half leads".into() })
    }

    async fn secondary(&self, volume: &Name, access: SecondaryAccess) -> Ended {
        let half = self.half(volume)?;
        self.remote()?.set_access(&half.lun, access).await.map_err(outages::not_possible)?;
        Ok(String::new())
    }

    pub(super) async fn link(&self, up: bool) -> Ended {
        self.remote()?.set_link(up).await.map_err(|e| self.out_of_place(e.to_string()))?;
        self.halves.borrow_mut().cut = !up;
        Ok(String::new())
    }

    // ---- changes

    /// A change of the near half begins; `None` where there is no far one.
    pub(super) fn begin_following(&self, volume: &Name) -> Option<Following> {
        let half = self.halves.borrow().all.get(volume).cloned()?;
        let began = self.site.remote().and_then(|remote| remote.state(&half.lun));
        Some(Following { half, began })
    }

    /// The change of one half has ended: the model of `other` learns whether it must be there.
    pub(super) fn followed(
        &self,
        following: &Following,
        other: VolumeId,
        changed: Changed<'_>,
        done: Certainty,
    ) -> Result<(), StepEnd> {
        let Following { half, began } = following;
        if half.how == Mirroring::Async {
            return Ok(());
        }
        let ended = self.site.remote().and_then(|remote| remote.state(&half.lun));
        let certainty = match (began, ended) {
            (_, Some(PairState::Normal)) => done,
            (Some(PairState::Normal), _) => Certainty::Unknown,
            _ => return Ok(()),
        };
        let mut judge = self.judge();
        match changed {
            Changed::Written(stamp, blocks) => judge.data.reach(other, stamp, blocks, certainty)?,
            Changed::Unmapped(lba, blocks) => {
                judge.data.reach_unmapped(other, lba..lba + blocks, certainty)?;
            }
        }
        Ok(())
    }

    /// The near half was changed; see [`Player::followed`].
    pub(super) fn followed_afar(
        &self,
        following: Option<&Following>,
        changed: Changed<'_>,
        done: Certainty,
    ) -> Result<(), StepEnd> {
        match following {
            Some(following) => self.followed(following, following.half.replica, changed, done),
            None => Ok(()),
        }
    }

    async fn write_remote(&self, step: &Step, volume: &Name, at: u64, length: u64) -> Ended {
        let v = self.volume(volume)?;
        if at.saturating_add(length) > v.size_gib << 30 {
            return Err(StepEnd::Broken(format!("the story goes beyond the end of {volume}")));
        }
        let device = self.far_device(volume).await?;
        let stamp = self.judge().data.next_stamp(v.id, at / 512, 1);
        let mut done = 0;
        while done < length {
            let count = (length - done).min(WRITE_CHUNK);
            let mut buffer = vec![0; usize::try_from(count).unwrap_or(0)];
            let stamp = stamp.at((at + done) / 512);
            stamp.fill(&mut buffer);
            let following = self.begin_following(volume);
            let following = following.ok_or_else(|| StepEnd::Broken(format!("{volume} is not mirrored")))?;
            let written = device.write(stamp.lba, Bytes::from(buffer)).await;
            let certainty = match &written {
                Ok(()) => Certainty::Done,
                // Nothing was changed anywhere.
                Err(e) if is_refusal(e) => return Err(self.write_refused(step, volume, e)),
                Err(_) => Certainty::Unknown,
            };
            let half = &following.half;
            self.judge().data.reach(half.replica, &stamp, count / 512, certainty)?;
            self.followed(&following, v.id, Changed::Written(&stamp, count / 512), certainty)?;
            written.map_err(|e| self.failed(step, &e.to_string()))?;
            done += count;
        }
        self.judge().expect(volume, &["DAT-001"]);
        Ok(String::new())
    }

    fn write_refused(&self, step: &Step, volume: &Name, error: &BlockError) -> StepEnd {
        match refused(step) {
            Some(Refused::Io) => StepEnd::Refused(error.to_string()),
            Some(wanted) => self.not_refused(step, wanted, &error.to_string()),
            None => {
                let StepEnd::Failed(mut failed) = self.failed(step, &error.to_string()) else {
                    return StepEnd::Broken(format!("a write of {volume} was refused"));
                };
                failed.refused = Some(Refused::Io);
                StepEnd::Failed(failed)
            }
        }
    }

    // ---- looking

    /// The far half on a host, connected once and kept.
    async fn far_device(&self, volume: &Name) -> Result<Arc<dyn BlockDevice>, StepEnd> {
        let half = self.half(volume)?;
        if let Some(far) = half.device {
            return Ok(far.device);
        }
        let host = {
            let judge = self.judge();
            judge.volumes.get(volume).and_then(|v| v.hosts.first().cloned())
        };
        let host = host.or_else(|| self.plan.site.hosts.first().map(|(host, _)| host.clone()));
        let host = host.ok_or_else(|| StepEnd::Broken("the site has no host".into()))?;
        let connector = self.site.far_connector(&host).ok_or_else(|| missing("host", &host))?;
        let info = self.remote()?.connection(&half.lun).map_err(outages::not_possible)?;
        let attached = connector.connect_volume(&info).await.map_err(|e| {
            let finding = Finding::new("ATT-001", "operation", "replica", "attach")
                .says(format!("the remote half of {volume} cannot be attached"))
                .compared("a device", e);
            StepEnd::Failed(Box::new(Failed { finding, refused: None, clean: false, raced: false }))
        })?;
        let device = attached.device.clone();
        let far = FarDevice { host, connector, info, device: device.clone() };
        self.change_half(volume, |half| half.device = Some(far));
        Ok(device)
    }

    /// A host has lost its power: what it had of far halves is connected anew when it is looked at.
    pub(super) fn far_devices_lost(&self, host: &Name) {
        for half in self.halves.borrow_mut().all.values_mut() {
            half.device.take_if(|far| far.host == *host);
        }
    }

    /// What the far half is judged by: equality where it is claimed, else that it is one consistent point.
    fn claim(&self, half: &Half) -> &'static str {
        let state = self.site.remote().and_then(|remote| remote.state(&half.lun));
        let equal = half.how != Mirroring::Async && state == Some(PairState::Normal);
        if equal { EQUAL } else { POINT }
    }

    /// Reads the far half and judges it by what has reached it; answers the number of blocks compared.
    async fn verify_remote(&self, volume: &Name) -> Result<u64, StepEnd> {
        let half = self.half(volume)?;
        let since = self.judge().data.blocks(half.replica)?;
        let device = self.far_device(volume).await?;
        let now = self.site.env().now().as_nanos();
        let mut dice = dice(self.seed, "holes", &format!("remote {volume} {now}"));
        let claim = self.claim(&half);
        let (verified, findings) =
            read::verify(&self.judge, half.replica, device.as_ref(), &mut dice, (self.scan, since))
                .await
                .map_err(|e| unreadable(volume, e))?;
        if !findings.is_empty() {
            let charged = |mut finding: Finding| {
                // Its size and what it says about mapped blocks are its own affair.
                if !matches!(finding.requirement.as_str(), "CRE-001" | "SCS-009") {
                    claim.clone_into(&mut finding.requirement);
                }
                finding.message = format!("the remote half of {volume}: {}", finding.message);
                finding
            };
            return Err(StepEnd::Findings(findings.into_iter().map(charged).collect()));
        }
        self.judge().ledger.compared(claim, verified.blocks);
        Ok(verified.blocks)
    }

    /// Reads both halves, each for itself and block against block.
    async fn alike(&self, step: &Step, volume: &Name) -> Ended {
        let (v, half) = (self.volume(volume)?, self.half(volume)?);
        if self.claim(&half) != EQUAL {
            return Err(StepEnd::Broken(format!("the halves of {volume} do not claim to be equal now")));
        }
        self.verify_remote(volume).await?;
        let (near, far) = (self.device(step, volume).await?, self.far_device(volume).await?);
        let mut ranges = self.judge().data.interesting_ranges(v.id, MARGIN)?;
        ranges.extend(self.judge().data.interesting_ranges(half.replica, MARGIN)?);
        let mut compared = 0;
        for range in ranges {
            let mut at = range.start;
            while at < range.end {
                let count = u32::try_from((range.end - at).min(CHUNK)).unwrap_or(u32::MAX);
                let ours = near.read(at, count).await.map_err(|e| unreadable(volume, e.into()))?;
                let theirs = far.read(at, count).await.map_err(|e| unreadable(volume, e.into()))?;
                let blocks = ours.chunks_exact(512).zip(theirs.chunks_exact(512));
                if let Some((_, lba)) = blocks.zip(at..).find(|((ours, theirs), _)| ours != theirs) {
                    let finding = Finding::new(EQUAL, "replicas", "volume", "content")
                        .says(format!("both halves of {volume} claim to be equal and differ at LBA {lba}"))
                        .compared("one content", "two");
                    return Err(StepEnd::Findings(vec![finding]));
                }
                compared += u64::from(count);
                at += u64::from(count);
            }
        }
        self.judge().ledger.compared(EQUAL, compared);
        self.judge().expect(volume, &[EQUAL]);
        Ok(format!("{compared} blocks"))
    }

    // ---- the end

    async fn unmirror(&self, volume: &Name) -> Result<(), StepEnd> {
        let half = self.half(volume)?;
        if let Some(FarDevice { connector, info, .. }) = &half.device {
            // Of a half that is going nothing is kept.
            let _ = connector.disconnect_volume(info, true).await;
        }
        self.remote()?.unmirror(&half.lun).await.map_err(outages::not_possible)?;
        self.halves.borrow_mut().all.remove(volume);
        self.judge().data.delete(half.replica)?;
        Ok(())
    }

    /// All far halves go: what is left is a site with one array.
    pub(super) async fn part(&self) -> Result<(), StepEnd> {
        let names: Vec<Name> = self.halves.borrow().all.keys().cloned().collect();
        if !names.is_empty() {
            self.heal_link().await?;
        }
        for name in names {
            self.unmirror(&name).await?;
        }
        Ok(())
    }

    /// A link that the story has cut works again.
    pub(super) async fn heal_link(&self) -> Result<(), StepEnd> {
        let cut = self.halves.borrow().cut;
        if cut { self.link(true).await.map(|_| ()) } else { Ok(()) }
    }
}

/// The device said that it does nothing.
fn is_refusal(error: &BlockError) -> bool {
    const NOT_READY: u8 = 0x2;
    const DATA_PROTECT: u8 = 0x7;
    match error {
        BlockError::Sense { key, .. } => matches!(*key, NOT_READY | DATA_PROTECT),
        BlockError::NoPath { .. } => true,
        _ => false,
    }
}
