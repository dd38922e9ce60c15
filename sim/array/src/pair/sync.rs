//! Synchronisation: differences of both ends are copied to the secondary, and shown there all at once.
//!
//! A run is led by the primary and belongs to a pair or a whole group. It asks for the differences of the secondary, takes its
//! own, copies those extents (as they are now where changes follow one by one, as they were when it began where they do
//! not) and ends with a commit. Extents that it has taken go back to the difference log when it is given up.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use super::link::LinkError;
use super::objects::{Access, Pair, PairState, Role};
use super::{Change, ExtentSet, MESSAGE_RUNS, Message};
use crate::object::{DeviceId, SplitStatus};
use crate::store::content::extents;
use crate::store::map::Slot;
use crate::store::{BLOCK_BYTES, Content, EXTENT_BLOCKS, EXTENT_BYTES};
use crate::{Array, Refusal};

/// How far a run is.
#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// These pairs have not said what differs.
    Asking(BTreeSet<u64>),
    /// Extents go over.
    Copying,
    /// The commit is said.
    Committing,
}

/// One pair of a run.
#[derive(Debug, Default)]
struct Member {
    /// Still to copy.
    todo: ExtentSet,
    /// What is copied, where it is not the LUN as it is.
    frozen: Option<Content>,
}

/// A synchronisation that this end leads.
#[derive(Debug)]
pub(crate) struct Run {
    pub(super) remote: u64,
    number: u64,
    phase: Phase,
    members: BTreeMap<u64, Member>,
    /// Extents a second; 0 is as fast as the link.
    rate: u64,
    started: Duration,
    copied: u64,
    total: u64,
    /// The instant that it copies, when that is one.
    point: Duration,
}

impl Run {
    /// Whether changes have to be said, for the copying may be past them.
    pub(super) fn is_copying(&self) -> bool {
        !matches!(self.phase, Phase::Asking(_))
    }

    /// Whether a change that is said now is different without the commit.
    pub(super) fn takes_changes(&self) -> bool {
        self.phase == Phase::Copying
    }

    /// When the next extent may go.
    fn due(&self) -> Option<Duration> {
        match self.phase {
            Phase::Copying if self.rate == 0 => Some(Duration::ZERO),
            Phase::Copying => {
                let nanos = u128::from(self.copied + 1) * 1_000_000_000 / u128::from(self.rate);
                Some(self.started + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
            }
            _ => None,
        }
    }
}

/// Extents with data, as a reader sees them.
fn visible(content: &Content) -> ExtentSet {
    let mut set = ExtentSet::default();
    let mut at = 0;
    while let Some(index) = content.next_visible(at) {
        set.insert(index..index + 1);
        at = index + 1;
    }
    set
}

impl Array {
    /// What may differ between two LUNs of which nothing is known: everything that is not a hole.
    pub(super) fn initial_differences(&self, lun: u64) -> ExtentSet {
        let Some(lun) = self.luns.get(lun) else { return ExtentSet::default() };
        // D21, planted: an incremental copy looks at the clone's own map and forgets what only its parent has.
        if self.defects.sync_skips_parent {
            let own = lun.content.map().occupied().filter(|(_, slot)| matches!(slot, Slot::Data(_)));
            return own.map(|(index, _)| index..index + 1).collect();
        }
        visible(&lun.content)
    }

    /// Starts a run on a unit that this end leads.
    pub(super) fn lead_sync(&mut self, unit: u64) -> Result<(), Refusal> {
        let ids = self.mirror.members(unit);
        let Some(first) = ids.first().and_then(|id| self.mirror.pairs.get(id)) else {
            return Err(Refusal::NoSuchPair);
        };
        let (remote, speed) = (first.remote, first.speed);
        if !self.is_heard(remote) {
            return Err(Refusal::RemoteDown);
        }
        if self.mirror.runs.contains_key(&unit) {
            return Ok(());
        }
        let members = || ids.iter().filter_map(|id| self.mirror.pairs.get(id));
        if members().any(|pair| pair.state == PairState::Invalid || pair.role != Role::Primary || pair.unsure)
        {
            return Err(Refusal::PairBusy);
        }
        if members().all(Pair::is_mirroring) {
            return Ok(());
        }
        let sizes: Vec<(u64, u64)> =
            members().map(|pair| (pair.id, self.luns.get(pair.lun).map_or(0, |lun| lun.blocks()))).collect();
        for id in &ids {
            let Some(pair) = self.mirror.pairs.get_mut(id) else { continue };
            (pair.state, pair.access) = (PairState::Syncing, Access::ReadOnly);
            (pair.progress, pair.faulty) = (0, false);
        }
        let number = self.mirror.next_number();
        let rate = match speed {
            0 | 1 => self.copy_rate.div_ceil(2),
            2 => self.copy_rate,
            3 => self.copy_rate.saturating_mul(2),
            _ => self.copy_rate.saturating_mul(4),
        };
        let run = Run {
            remote,
            number,
            phase: Phase::Asking(ids.iter().copied().collect()),
            members: ids.iter().map(|id| (*id, Member::default())).collect(),
            rate,
            started: self.now,
            copied: 0,
            total: 0,
            point: self.now,
        };
        self.mirror.runs.insert(unit, run);
        self.mirror.say(remote, Message::SyncBegin { unit, run: number, pairs: sizes });
        Ok(())
    }

    /// Gives runs up: what they had taken is different again.
    pub(super) fn stop_runs(&mut self, which: impl Fn(&Run) -> bool) {
        let units: Vec<u64> =
            self.mirror.runs.iter().filter(|(_, run)| which(run)).map(|(unit, _)| *unit).collect();
        for unit in units {
            let Some(run) = self.mirror.runs.remove(&unit) else { continue };
            for id in run.members.into_keys() {
                let Some(pair) = self.mirror.pairs.get_mut(&id) else { continue };
                pair.give_back(self.defects.resync_forgets);
                if pair.state == PairState::Syncing {
                    pair.state = PairState::Interrupted;
                }
            }
        }
    }

    /// Stops the run of one unit.
    pub(super) fn stop_run(&mut self, unit: u64) {
        if let Some(number) = self.mirror.runs.get(&unit).map(|run| run.number) {
            self.stop_runs(|run| run.number == number);
        }
    }

    /// Starts the points of asynchronous pairs that are due.
    pub(super) fn start_points(&mut self) {
        let now = self.now;
        let due: BTreeSet<u64> = self
            .mirror
            .pairs
            .values()
            .filter(|pair| !pair.kind.is_synchronous() && pair.role == Role::Primary)
            .filter(|pair| pair.state == PairState::Normal && pair.next_point <= now)
            .map(|pair| pair.group.unwrap_or(pair.id))
            .collect();
        for unit in due {
            let ids = self.mirror.members(unit);
            let clean = |id: &u64| self.mirror.pairs.get(id).is_some_and(|pair| pair.diff.is_empty());
            if ids.iter().all(clean) {
                for id in &ids {
                    let Some(pair) = self.mirror.pairs.get_mut(id) else { continue };
                    (pair.next_point, pair.synced_at) = (now.saturating_add(pair.interval), Some(now));
                }
            } else {
                let _ = self.lead_sync(unit);
            }
        }
    }

    /// The next thing that the runs with this array have to say.
    pub(super) fn next_of_runs(&mut self, remote: u64) -> Option<Message> {
        let now = self.now;
        let (unit, run) = self.mirror.runs.iter_mut().find(|(_, run)| {
            let nothing_left = || run.members.values().all(|member| member.todo.is_empty());
            run.remote == remote && run.due().is_some_and(|due| due <= now || nothing_left())
        })?;
        let unit = *unit;
        let next = run.members.iter_mut().find_map(|(id, member)| Some((*id, member.todo.pop_first()?)));
        let Some((id, index)) = next else {
            run.phase = Phase::Committing;
            return Some(Message::Commit { unit, run: run.number });
        };
        run.copied += 1;
        let progress = (run.copied.min(run.total) * 100 / run.total.max(1)).min(99);
        let frozen = run.members.get(&id).and_then(|member| member.frozen.as_ref());
        let lun = self.mirror.pairs.get(&id).and_then(|pair| self.luns.get(pair.lun))?;
        let content = frozen.unwrap_or(&lun.content);
        let start = index * EXTENT_BLOCKS;
        let blocks = content.blocks().saturating_sub(start).min(EXTENT_BLOCKS);
        let data = content.visible(index).map(|_| {
            let mut parts = Vec::new();
            content.read(start, blocks, &mut parts).map(|()| match parts.len() {
                1 => parts.swap_remove(0),
                _ => Bytes::from(parts.concat()),
            })
        });
        let Ok(data) = data.transpose() else {
            // What cannot be read cannot be copied.
            return Some(self.cannot_read(unit));
        };
        for member in self.mirror.members(unit) {
            if let Some(pair) = self.mirror.pairs.get_mut(&member) {
                pair.progress = progress as u8;
            }
        }
        Some(Message::Extent { pair: id, index, data })
    }

    /// An extent of this end is unreadable: the run ends.
    fn cannot_read(&mut self, unit: u64) -> Message {
        let run = self.mirror.runs.get(&unit).map_or(0, |run| run.number);
        self.stop_run(unit);
        for id in self.mirror.members(unit) {
            if let Some(pair) = self.mirror.pairs.get_mut(&id) {
                pair.faulty = true;
            }
        }
        Message::SyncStop { unit, run }
    }

    /// When the runs with this array have something to say by themselves.
    pub(super) fn runs_due(&self, remote: u64) -> Option<Duration> {
        self.mirror.runs.values().filter(|run| run.remote == remote).filter_map(Run::due).min()
    }

    /// Messages about runs, groups, domains and roles.
    pub(super) fn hear_of_units(&mut self, remote: u64, message: Message) -> Result<(), LinkError> {
        match message {
            Message::SyncBegin { unit, run, pairs } => self.sync_begins(remote, unit, run, &pairs),
            Message::Differences { unit, run, pair, runs, more } => {
                self.differences(unit, run, (pair, &runs), more)?;
            }
            Message::SyncStop { unit, run } => self.sync_stops(remote, unit, run),
            Message::Extent { pair, index, data } => return self.extent(remote, pair, index, data),
            Message::Commit { unit, run } => self.commit(remote, unit, run),
            Message::Committed { unit, run } => self.committed(unit, run),
            Message::Fault { pair } => self.peer_failed(remote, pair),
            Message::Pause { unit } => {
                for pair in self.followed(remote, unit) {
                    let Some(pair) = self.mirror.pairs.get_mut(&pair) else { continue };
                    (pair.state, pair.staging) = (PairState::Paused, None);
                }
                self.access_changed();
                self.mirror.say(remote, Message::Paused { unit });
            }
            Message::Paused { unit } => {
                for id in self.mirror.members(unit) {
                    let Some(pair) = self.mirror.pairs.get_mut(&id) else { continue };
                    if pair.remote == remote && pair.state == PairState::Paused {
                        pair.hold_until = Some(Duration::ZERO);
                    }
                }
                self.release_holds(self.now);
            }
            Message::Switched { unit, epoch } => {
                for id in self.followed(remote, unit) {
                    let Some(pair) = self.mirror.pairs.get_mut(&id) else { continue };
                    if epoch > pair.epoch {
                        (pair.role, pair.epoch) = (Role::Primary, epoch);
                    }
                }
                self.access_changed();
            }
            Message::SetAccess { unit, access } => {
                for id in self.mirror.members(unit) {
                    let Some(pair) = self.mirror.pairs.get_mut(&id) else { continue };
                    let rests = !matches!(pair.state, PairState::Normal | PairState::Syncing);
                    if pair.remote == remote && (rests || access == Access::ReadOnly) {
                        pair.access = access;
                    }
                }
            }
            Message::Member { pair, group } => {
                let known = group.is_none_or(|group| self.mirror.groups.contains_key(&group));
                let pair = self.mirror.pairs.get_mut(&pair).filter(|pair| pair.remote == remote);
                if let Some(pair) = pair.filter(|_| known) {
                    pair.group = group;
                }
            }
            Message::CreateSet(set) => self.install_set(remote, set),
            Message::DeleteSet { set } => self.drop_set(remote, set),
            Message::DeletePair { pair } | Message::PairRefused { pair } => {
                let refused = matches!(message, Message::PairRefused { .. });
                match self.mirror.pairs.get_mut(&pair).filter(|pair| pair.remote == remote) {
                    Some(pair) if refused => pair.state = PairState::Invalid,
                    Some(_) => self.drop_pair(pair),
                    None => {}
                }
            }
            _ => return Err(LinkError::Nonsense),
        }
        self.mirror.stirred = true;
        Ok(())
    }

    /// Pairs of a unit that follow that array.
    fn followed(&self, remote: u64, unit: u64) -> Vec<u64> {
        let mut ids = self.mirror.members(unit);
        ids.retain(|id| {
            self.mirror
                .pairs
                .get(id)
                .is_some_and(|pair| pair.remote == remote && pair.role == Role::Secondary)
        });
        ids
    }

    // ---- on the secondary

    fn sync_begins(&mut self, remote: u64, unit: u64, run: u64, pairs: &[(u64, u64)]) {
        let fits = |(id, blocks): &(u64, u64)| {
            let follows = |pair: &&Pair| {
                pair.remote == remote && pair.role == Role::Secondary && pair.state != PairState::Invalid
            };
            let lun = self.mirror.pairs.get(id).filter(follows).and_then(|pair| self.luns.get(pair.lun));
            lun.is_some_and(|lun| lun.blocks() == *blocks && lun.split != SplitStatus::Running)
        };
        if !pairs.iter().all(fits) {
            return self.mirror.say(remote, Message::SyncStop { unit, run });
        }
        let no_staging = self.defects.secondary_out_of_order;
        for (id, _) in pairs {
            let Some(pair) = self.mirror.pairs.get_mut(id) else { continue };
            (pair.state, pair.access, pair.faulty) = (PairState::Syncing, Access::ReadOnly, false);
            let lun = self.luns.get_mut(pair.lun);
            pair.staging = lun.filter(|_| !no_staging).map(|lun| lun.content.clone());
            let mut runs: Vec<Range<u64>> = pair.diff.runs().collect();
            loop {
                let rest = runs.split_off(runs.len().min(MESSAGE_RUNS));
                let more = !rest.is_empty();
                self.mirror.say(remote, Message::Differences { unit, run, pair: *id, runs, more });
                if !more {
                    break;
                }
                runs = rest;
            }
        }
        self.access_changed();
    }

    fn extent(&mut self, remote: u64, id: u64, index: u64, data: Option<Bytes>) -> Result<(), LinkError> {
        let Some(pair) = self.mirror.pairs.get(&id).filter(|pair| pair.remote == remote) else {
            return Ok(());
        };
        // What comes behind a failure of this end has nowhere to go.
        if pair.role != Role::Secondary || pair.state != PairState::Syncing {
            return Ok(());
        }
        let Some(blocks) = self.luns.get(pair.lun).map(|lun| lun.blocks()) else { return Ok(()) };
        let start = index.checked_mul(EXTENT_BLOCKS).filter(|start| *start < blocks);
        let start = start.ok_or(LinkError::Nonsense)?;
        let blocks = (blocks - start).min(EXTENT_BLOCKS);
        let change = match data {
            Some(data) if data.len() as u64 == blocks * BLOCK_BYTES && data.len() <= EXTENT_BYTES => {
                Change::Write { lba: start, data }
            }
            Some(_) => return Err(LinkError::Nonsense),
            None => Change::Unmap { lba: start, blocks },
        };
        if self.follow(id, &change).is_err() {
            self.cannot_follow(remote, id);
        }
        Ok(())
    }

    fn commit(&mut self, remote: u64, unit: u64, run: u64) {
        for id in self.followed(remote, unit) {
            let Some(pair) = self.mirror.pairs.get_mut(&id) else { continue };
            if pair.state != PairState::Syncing {
                continue;
            }
            if let (Some(staging), Some(lun)) = (pair.staging.take(), self.luns.get_mut(pair.lun)) {
                lun.content = staging;
                lun.cache.forget_all();
            }
            (pair.state, pair.complete, pair.progress) = (PairState::Normal, true, 100);
            pair.diff = ExtentSet::default();
        }
        self.access_changed();
        self.mirror.say(remote, Message::Committed { unit, run });
    }

    // ---- on the primary

    fn differences(
        &mut self,
        unit: u64,
        run: u64,
        (pair, theirs): (u64, &[Range<u64>]),
        more: bool,
    ) -> Result<(), LinkError> {
        let size = |pair: u64| {
            let lun = self.mirror.pairs.get(&pair).and_then(|pair| self.luns.get(pair.lun));
            lun.map_or(0, |lun| extents(lun.blocks()))
        };
        let size = size(pair);
        let known = self.mirror.runs.get_mut(&unit).filter(|known| known.number == run);
        let Some(run) = known else { return Ok(()) };
        let taker = self.mirror.pairs.get_mut(&pair).filter(|_| run.members.contains_key(&pair));
        let (Phase::Asking(waiting), Some(taker)) = (&mut run.phase, taker) else {
            return Err(LinkError::Nonsense);
        };
        if theirs.len() > MESSAGE_RUNS || theirs.iter().any(|run| run.start > run.end || run.end > size) {
            return Err(LinkError::Nonsense);
        }
        theirs.iter().for_each(|run| taker.taken.insert(run.clone()));
        if !more {
            waiting.remove(&pair);
        }
        if waiting.is_empty() {
            // All pairs at this one instant.
            run.phase = Phase::Copying;
            (run.started, run.point) = (self.now, self.now);
            for (id, member) in &mut run.members {
                let Some(pair) = self.mirror.pairs.get_mut(id) else { continue };
                let own = std::mem::take(&mut pair.diff);
                pair.taken.union(&own);
                member.todo = pair.taken.clone();
                run.total += member.todo.len();
                if !pair.kind.is_synchronous() {
                    member.frozen = self.luns.get(pair.lun).map(|lun| lun.content.clone());
                }
            }
        }
        Ok(())
    }

    fn committed(&mut self, unit: u64, number: u64) {
        let Some(run) = self.mirror.runs.remove(&unit) else { return };
        if run.number != number || run.phase != Phase::Committing {
            self.mirror.runs.insert(unit, run);
            return;
        }
        for id in run.members.keys() {
            let Some(pair) = self.mirror.pairs.get_mut(id) else { continue };
            (pair.state, pair.complete, pair.progress) = (PairState::Normal, true, 100);
            (pair.synced_at, pair.taken) = (Some(run.point), ExtentSet::default());
            pair.next_point = run.point.saturating_add(pair.interval).max(self.now);
        }
        self.access_changed();
    }

    /// Either end gives the run up.
    fn sync_stops(&mut self, remote: u64, unit: u64, number: u64) {
        if self.mirror.runs.get(&unit).is_some_and(|run| run.number == number && run.remote == remote) {
            self.stop_run(unit);
        }
        for id in self.followed(remote, unit) {
            let Some(pair) = self.mirror.pairs.get_mut(&id) else { continue };
            if pair.state == PairState::Syncing {
                (pair.state, pair.staging) = (PairState::Interrupted, None);
            }
        }
        self.access_changed();
    }

    /// The secondary could not follow, and serves nobody: this end goes on alone.
    fn peer_failed(&mut self, remote: u64, pair: u64) {
        if self.mirror.pairs.get(&pair).is_none_or(|pair| pair.remote != remote || pair.role != Role::Primary)
        {
            return;
        }
        let unit = self.mirror.unit_of(pair);
        self.stop_run(unit);
        for id in self.mirror.members(unit) {
            let Some(pair) = self.mirror.pairs.get_mut(&id) else { continue };
            let waiting = pair.recall(self.defects.inflight_forgotten);
            waiting.iter().for_each(|ticket| ticket.settle(super::Verdict::Done));
            (pair.state, pair.faulty) = (PairState::Interrupted, true);
        }
        self.access_changed();
        // Other pairs of the group may still be following.
        self.mirror.say(remote, Message::Pause { unit });
    }

    /// Whether what the array reads of a LUN for others is that of a pair's lower half: for audits.
    pub(crate) fn stagings(&self) -> impl Iterator<Item = (u64, &Content)> {
        self.mirror.pairs.values().filter_map(|pair| Some((pair.lun, pair.staging.as_ref()?)))
    }

    /// Content frozen for points of asynchronous pairs: for audits.
    pub(crate) fn frozen_points(&self) -> impl Iterator<Item = (u64, &Content)> {
        let members = self.mirror.runs.values().flat_map(|run| run.members.iter());
        members.filter_map(|(id, member)| Some((*id, member.frozen.as_ref()?)))
    }

    /// Blocks of a device are durable as they are: what a pair is made of.
    pub(super) fn settle_cache(&mut self, lun: u64) {
        let blocks = self.luns.get(lun).map_or(0, |lun| lun.blocks());
        self.make_durable(DeviceId::Lun(lun), 0, blocks);
    }
}
