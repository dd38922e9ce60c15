//! Commands of hosts on a LUN that is in a pair, and the changes of the other end.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use super::objects::Sent;
use super::{
    Access, Change, MESSAGE_DATA, Message, Pair, PairState, PeerGroup, Proposal, Request, Role, Run, Ticket,
    Verdict,
};
use crate::access::{AccessState, TargetPortGroup};
use crate::object::DeviceId;
use crate::store::{BLOCK_BYTES, EXTENT_BLOCKS};
use crate::{Array, IoError};

/// Where a change by a host of this array goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    /// The LUN is on its own.
    Plain,
    /// This end makes the change and tells the other one, or notes it for later.
    Lead,
    /// The primary at the other end makes it.
    Forward,
    /// Nowhere.
    Refused(IoError),
}

/// The extents of a range of blocks; the range is not empty.
fn span(lba: u64, blocks: u64) -> Range<u64> {
    lba / EXTENT_BLOCKS..(lba + blocks).div_ceil(EXTENT_BLOCKS)
}

/// A write as changes of a size that a message can carry.
fn writes(lba: u64, data: &[u8]) -> impl Iterator<Item = Change> {
    (0..).zip(data.chunks(MESSAGE_DATA)).map(move |(n, chunk)| Change::Write {
        lba: lba + n * (MESSAGE_DATA as u64 / BLOCK_BYTES),
        data: Bytes::copy_from_slice(chunk),
    })
}

impl Array {
    fn pair_on(&self, lun: u64) -> Option<&Pair> {
        self.mirror.pairs.get(self.mirror.by_lun.get(&lun)?)
    }

    /// Whether a LUN is in a pair.
    pub(crate) fn is_paired(&self, lun: u64) -> bool {
        self.mirror.by_lun.contains_key(&lun)
    }

    /// Whether the secondary of a HyperMetro pair may serve hosts at this moment.
    fn may_serve(&self, pair: &Pair) -> bool {
        let lease = self.mirror.connections.get(&pair.remote).filter(|link| link.greeted);
        pair.state == PairState::Normal && lease.is_some_and(|link| self.now < link.lease_until)
    }

    /// Where a host's change of this LUN goes.
    pub(crate) fn path(&self, lun: u64) -> Path {
        let Some(pair) = self.pair_on(lun) else { return Path::Plain };
        match (pair.is_metro(), pair.role) {
            (true, Role::Primary) if pair.unsure => Path::Refused(IoError::Inaccessible),
            (_, Role::Primary) => Path::Lead,
            (true, Role::Secondary) if self.may_serve(pair) => Path::Forward,
            // D77, planted: in a split the other site goes on as well.
            (true, Role::Secondary) if self.defects.split_brain && pair.complete => Path::Plain,
            (true, Role::Secondary) => Path::Refused(IoError::Inaccessible),
            (false, Role::Secondary) => {
                let rests = !matches!(pair.state, PairState::Normal | PairState::Syncing);
                match pair.access {
                    Access::ReadWrite if rests => Path::Lead,
                    _ if self.defects.secondary_unprotected => Path::Plain,
                    _ => Path::Refused(IoError::ReadOnly),
                }
            }
        }
    }

    /// Whether hosts may not write the LUN because it is a protected secondary.
    pub(crate) fn is_protected(&self, lun: u64) -> bool {
        !self.mirror.is_idle() && self.path(lun) == Path::Refused(IoError::ReadOnly)
    }

    /// Refuses a read of a LUN that may hold something else than its other half.
    pub(crate) fn check_readable(&self, id: DeviceId) -> Result<(), IoError> {
        match id {
            DeviceId::Lun(lun) if !self.mirror.is_idle() => match self.path(lun) {
                Path::Refused(IoError::Inaccessible) => Err(IoError::Inaccessible),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Whether the primary at the other end has to carry out this device's commands.
    pub fn is_forwarded(&self, id: DeviceId) -> bool {
        matches!(id, DeviceId::Lun(lun) if !self.mirror.is_idle() && self.path(lun) == Path::Forward)
    }

    /// A write by a host of a LUN in a pair.
    pub(crate) fn write_paired(
        &mut self,
        path: Path,
        lun: u64,
        lba: u64,
        data: &[u8],
    ) -> Result<(), IoError> {
        let blocks = data.len() as u64 / BLOCK_BYTES;
        match path {
            Path::Refused(error) => Err(error),
            Path::Plain => self.write_plain(lun, lba, data),
            Path::Forward => {
                self.checked(DeviceId::Lun(lun), lba, blocks)?;
                if !(data.len() as u64).is_multiple_of(BLOCK_BYTES) {
                    return Err(IoError::OutOfRange);
                }
                writes(lba, data).for_each(|change| self.propose(lun, Request::Change(change)));
                Ok(())
            }
            Path::Lead => {
                self.write_plain(lun, lba, data)?;
                if blocks > 0 {
                    self.tell_half(lun, lba, blocks, || writes(lba, data).collect());
                }
                Ok(())
            }
        }
    }

    /// An UNMAP by a host of a LUN in a pair.
    pub(crate) fn unmap_paired(
        &mut self,
        path: Path,
        lun: u64,
        lba: u64,
        blocks: u64,
    ) -> Result<(), IoError> {
        match path {
            Path::Refused(error) => Err(error),
            Path::Plain => self.unmap_plain(lun, lba, blocks),
            Path::Forward => {
                self.checked(DeviceId::Lun(lun), lba, blocks)?;
                if blocks > 0 {
                    self.propose(lun, Request::Change(Change::Unmap { lba, blocks }));
                }
                Ok(())
            }
            Path::Lead => {
                self.unmap_plain(lun, lba, blocks)?;
                if blocks > 0 {
                    self.tell_half(lun, lba, blocks, || vec![Change::Unmap { lba, blocks }]);
                }
                Ok(())
            }
        }
    }

    /// This end has changed a range: it is durable, and the other end hears of it or has it noted as different.
    fn tell_half(&mut self, lun: u64, lba: u64, blocks: u64, changes: impl FnOnce() -> Vec<Change>) {
        self.make_durable(DeviceId::Lun(lun), lba, blocks);
        let Some(id) = self.mirror.pair_of(lun) else { return };
        let unit = self.mirror.unit_of(id);
        let Some(pair) = self.mirror.pairs.get_mut(&id) else { return };
        let (remote, extents) = (pair.remote, span(lba, blocks));
        let connected = self.mirror.connections.get(&remote).is_some_and(|link| link.greeted);
        let run = self.mirror.runs.get(&unit);
        let follows = pair.state == PairState::Normal || run.is_some_and(Run::is_copying);
        if pair.role != Role::Primary || !pair.kind.is_synchronous() || !connected || !follows {
            pair.diff.insert(extents);
            if pair.hold_until.is_some() {
                let ticket = Ticket::default();
                pair.held.push(ticket.clone());
                self.mirror.issued.push(ticket);
            }
            self.promise();
            return;
        }
        if run.is_some_and(|run| run.takes_changes()) {
            pair.taken.insert(extents);
        }
        let mut said = Vec::new();
        for change in changes() {
            pair.last_seq += 1;
            let (lba, blocks) = change.range();
            let ticket = Ticket::default();
            let sent = Sent { span: span(lba, blocks), ticket: Some(ticket.clone()) };
            pair.sent.insert(pair.last_seq, sent);
            self.mirror.issued.push(ticket);
            said.push(Message::Op { pair: id, seq: pair.last_seq, change });
        }
        said.into_iter().for_each(|message| self.mirror.say(remote, message));
        self.promise();
    }

    /// Has the primary carry out a host's command.
    pub(crate) fn propose(&mut self, lun: u64, request: Request) {
        let Some((pair, remote)) = self.pair_on(lun).map(|pair| (pair.id, pair.remote)) else { return };
        let token = self.mirror.next_number();
        let ticket = Ticket::default();
        self.mirror.proposals.insert(token, Proposal { pair, ticket: ticket.clone() });
        self.mirror.issued.push(ticket);
        self.mirror.say(remote, Message::Propose { pair, token, request });
    }

    /// Carries out what a host of the other end wants.
    pub(super) fn carry_out_for_peer(&mut self, pair: u64, request: Request) -> Verdict {
        let leads = |pair: &Pair| pair.is_metro() && pair.role == Role::Primary && pair.is_mirroring();
        let lun = self.mirror.pairs.get(&pair).filter(|pair| leads(pair)).map(|pair| pair.lun);
        let Some(lun) = lun else { return Verdict::Failed(IoError::Inaccessible) };
        let (now, device) = (self.now, DeviceId::Lun(lun));
        // Nobody here waits for it: the answer goes behind the change on the same way.
        let issued = std::mem::take(&mut self.mirror.issued);
        let done = match request {
            Request::Change(Change::Write { lba, data }) => self.write(now, device, lba, &data),
            Request::Change(Change::Unmap { lba, blocks }) => self.unmap(now, device, lba, blocks),
            Request::Or { lba, data } => self.or_write(now, device, lba, &data, true),
            Request::CompareWrite { lba, expected, data } => {
                match self.compare_and_write(now, device, lba, &expected, &data, true) {
                    Ok(Err(offset)) => {
                        self.mirror.issued = issued;
                        return Verdict::Miscompare(offset as u64);
                    }
                    other => other.map(|_| ()),
                }
            }
        };
        self.mirror.issued = issued;
        done.map_or_else(Verdict::Failed, |()| Verdict::Done)
    }

    /// Makes a change that the primary has made, durably: in what a synchronisation has brought so far, else in what hosts
    /// see.
    pub(super) fn follow(&mut self, id: u64, change: &Change) -> Result<(), IoError> {
        let (lba, blocks) = change.range();
        let pair = self.mirror.pairs.get_mut(&id).ok_or(IoError::Gone)?;
        let lun = self.luns.get_mut(pair.lun).ok_or(IoError::Gone)?;
        let pool = self.pools.get(lun.pool as usize).ok_or(IoError::Gone)?;
        let whole = match change {
            Change::Write { data, .. } => (data.len() as u64).is_multiple_of(BLOCK_BYTES),
            Change::Unmap { .. } => true,
        };
        if !whole || lba.checked_add(blocks).is_none_or(|end| end > lun.content.blocks()) {
            return Err(IoError::OutOfRange);
        }
        if blocks == 0 {
            return Ok(());
        }
        // What is staged lives beside the old point, and so beyond the reservation of a thick LUN.
        let (content, space) = match &mut pair.staging {
            Some(staging) => (staging, pool.space(None)),
            None => (&mut lun.content, pool.space(lun.quota.as_ref())),
        };
        match change {
            Change::Write { lba, data } => content.write(*lba, data, &space, false)?,
            Change::Unmap { lba, blocks } => content.unmap(*lba, *blocks, &space)?,
        }
        if pair.staging.is_none() {
            span(lba, blocks).for_each(|index| lun.cache.forget(index));
        }
        Ok(())
    }

    // ---- what hosts are told about the two halves

    /// Identity that hosts see instead of the LUN's own.
    pub(crate) fn shown_identity(&self, lun: u64) -> Option<&([u8; 16], String)> {
        self.pair_on(lun)?.identity.as_ref()
    }

    /// The state of a group of this array for a LUN in a HyperMetro pair: the half that does not lead is never optimized, one
    /// that may not serve is unavailable.
    pub(crate) fn pair_access(&self, id: DeviceId, state: AccessState) -> AccessState {
        let DeviceId::Lun(lun) = id else { return state };
        if self.mirror.is_idle() {
            return state;
        }
        match (self.path(lun), state) {
            (Path::Refused(IoError::Inaccessible), _) => AccessState::Unavailable,
            (Path::Forward, AccessState::ActiveOptimized) => AccessState::ActiveNonOptimized,
            _ => state,
        }
    }

    /// Target port groups of the other array for a LUN in a HyperMetro pair: as told, and unavailable while that one is not
    /// heard or does not follow.
    pub(crate) fn peer_groups(&self, id: DeviceId) -> Vec<(TargetPortGroup, AccessState)> {
        let DeviceId::Lun(lun) = id else { return Vec::new() };
        let Some(pair) = self.pair_on(lun).filter(|pair| pair.is_metro()) else { return Vec::new() };
        let heard = self.is_heard(pair.remote) && pair.state == PairState::Normal;
        pair.peer_groups
            .iter()
            .map(|PeerGroup { id, ports, preferred, state }| {
                let group = TargetPortGroup {
                    id: *id,
                    controller: u8::MAX,
                    ports: ports.clone(),
                    preferred: *preferred,
                };
                (group, if heard { *state } else { AccessState::Unavailable })
            })
            .collect()
    }

    /// Ends tickets that a HyperMetro primary has held back, as far as the leases that it gave have run out.
    pub(super) fn release_holds(&mut self, now: Duration) {
        let due = |pair: &&Pair| pair.hold_until.is_some_and(|until| until <= now);
        let ids: Vec<u64> = self.mirror.pairs.values().filter(due).map(|pair| pair.id).collect();
        for id in ids {
            let Some(pair) = self.mirror.pairs.get_mut(&id) else { continue };
            pair.hold_until = None;
            pair.held.drain(..).for_each(|ticket| ticket.settle(Verdict::Done));
            self.mirror.stirred = true;
        }
    }
}
