//! The volatile write cache of a LUN: what has been acknowledged and not been made durable.
//!
//! A LUN's content always holds the newest data. For each extent with unsynchronised blocks the cache remembers what is on
//! the medium (a copy that shares its pages) and which blocks differ. Flushing forgets; power loss puts any subset of
//! the remembered blocks back, never a part of one, in no order. Writes and deallocations alike are volatile until flushed.
//!
//! Space is that of the newest content: a volatile write takes its space at once, a volatile UNMAP gives it back at once.
//! A lost UNMAP takes the space again; when there is none, it is one that was not lost.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::object::DeviceId;
use crate::store::content::{Content, pieces};
use crate::store::extent::Body;
use crate::store::{BLOCK_BYTES, EXTENT_BLOCKS};
use crate::{Array, IoError, Reservations};

/// An extent with unsynchronised blocks.
#[derive(Debug)]
struct Dirty {
    /// Bit n: block n of the extent is unsynchronised. Never 0.
    blocks: u128,
    /// The extent on the medium; none reads zero.
    durable: Option<Body>,
    /// Place in the order of destaging.
    turn: u64,
}

/// Unsynchronised blocks of one LUN. While the cache is off there are none.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    on: bool,
    dirty: BTreeMap<u64, Dirty>,
    /// Turn -> extent, oldest first.
    order: BTreeMap<u64, u64>,
    last_turn: u64,
    /// Sum of the bits.
    held: u64,
}

/// Extents that are about to become dirty, with what the medium holds.
pub(crate) type Before = Vec<(u64, Option<Body>)>;

/// The bits of `len` bytes at byte `offset` of an extent.
fn bits(offset: usize, len: usize) -> u128 {
    let (first, count) = (offset as u64 / BLOCK_BYTES, len as u64 / BLOCK_BYTES);
    let ones = if count >= EXTENT_BLOCKS { u128::MAX } else { (1 << count) - 1 };
    ones << first
}

/// Runs of ones: byte offset and bytes of each.
pub(crate) fn runs(mut blocks: u128) -> impl Iterator<Item = (usize, usize)> {
    std::iter::from_fn(move || {
        if blocks == 0 {
            return None;
        }
        let from = blocks.trailing_zeros();
        let count = (blocks >> from).trailing_ones();
        let run = ((u64::from(from) * BLOCK_BYTES) as usize, (u64::from(count) * BLOCK_BYTES) as usize);
        blocks &= !bits(run.0, run.1);
        Some(run)
    })
}

impl Cache {
    pub(crate) fn new(on: bool) -> Self {
        Self { on, ..Self::default() }
    }

    /// Whether changes have to be announced with [`Cache::before_write`] or [`Cache::before_unmap`] and then marked.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    /// Unsynchronised blocks.
    pub(crate) fn held(&self) -> u64 {
        self.held
    }

    /// The first extent at or after `from` with unsynchronised blocks.
    pub(crate) fn next_dirty(&self, from: u64) -> Option<u64> {
        self.dirty.range(from..).next().map(|(index, _)| *index)
    }

    /// What the medium holds of the extents of a range that are clean so far. The range is not empty.
    pub(crate) fn before_write(&self, content: &Content, lba: u64, blocks: u64) -> Before {
        (lba / EXTENT_BLOCKS..=(lba + blocks - 1) / EXTENT_BLOCKS)
            .filter(|index| !self.dirty.contains_key(index))
            .map(|index| (index, content.visible(index).map(|extent| extent.body.clone())))
            .collect()
    }

    /// As [`Cache::before_write`], without the extents that read zero already: deallocating these changes nothing.
    pub(crate) fn before_unmap(&self, content: &Content, lba: u64, blocks: u64) -> Before {
        let last = (lba + blocks - 1) / EXTENT_BLOCKS;
        let mut before = Vec::new();
        let mut at = lba / EXTENT_BLOCKS;
        while let Some(index) = content.next_visible(at).filter(|index| *index <= last) {
            if !self.dirty.contains_key(&index) {
                before.push((index, content.visible(index).map(|extent| extent.body.clone())));
            }
            at = index + 1;
        }
        before
    }

    /// The range has changed: its blocks in dirty extents, those of `before` now among them, are unsynchronised. Destages
    /// the oldest extents beyond `limit` blocks.
    pub(crate) fn mark(&mut self, before: Before, lba: u64, blocks: u64, limit: u64) {
        for (index, durable) in before {
            self.last_turn += 1;
            self.order.insert(self.last_turn, index);
            self.dirty.insert(index, Dirty { blocks: 0, durable, turn: self.last_turn });
        }
        let (first, last) = (lba / EXTENT_BLOCKS, (lba + blocks - 1) / EXTENT_BLOCKS);
        for (index, dirty) in self.dirty.range_mut(first..=last) {
            let new = mask(*index, lba, blocks) & !dirty.blocks;
            dirty.blocks |= new;
            self.held += u64::from(new.count_ones());
        }
        while self.held > limit {
            let Some((_, index)) = self.order.first_key_value() else { break };
            self.forget(*index);
        }
    }

    /// The extent is durable as it is.
    pub(crate) fn forget(&mut self, index: u64) {
        if let Some(dirty) = self.dirty.remove(&index) {
            self.order.remove(&dirty.turn);
            self.held -= u64::from(dirty.blocks.count_ones());
        }
    }

    /// Everything is durable as it is.
    pub(crate) fn forget_all(&mut self) {
        self.dirty.clear();
        self.order.clear();
        self.held = 0;
    }

    /// A range is durable as it is. The range is not empty.
    pub(crate) fn flush(&mut self, content: &Content, lba: u64, blocks: u64) {
        let (first, last) = (lba / EXTENT_BLOCKS, (lba + blocks - 1) / EXTENT_BLOCKS);
        let mut clean = Vec::new();
        for (index, dirty) in self.dirty.range_mut(first..=last) {
            let hit = mask(*index, lba, blocks) & dirty.blocks;
            if hit == dirty.blocks {
                clean.push(*index);
                continue;
            }
            dirty.blocks &= !hit;
            self.held -= u64::from(hit.count_ones());
            // These blocks may become dirty again: then the medium holds what is flushed now.
            let live = content.visible(*index).map(|extent| &extent.body);
            if live.is_some() || dirty.durable.is_some() {
                let durable = dirty.durable.get_or_insert_with(Body::empty);
                if durable.take_over(live, runs(hit)).is_err() {
                    // Unreadable: then nothing older can come back either.
                    clean.push(*index);
                }
            }
        }
        clean.into_iter().for_each(|index| self.forget(index));
    }

    /// Power is lost: each unsynchronised block makes it to the medium or not. Returns how many did not, and how many did.
    pub(crate) fn power_loss(
        &mut self,
        mut lose: impl FnMut() -> bool,
        mut revert: impl FnMut(u64, u128, Option<&Body>) -> Result<(), IoError>,
    ) -> (u64, u64) {
        let (mut lost, mut kept) = (0, 0);
        for (index, dirty) in std::mem::take(&mut self.dirty) {
            let mut gone = 0;
            for block in (0..128).filter(|block| dirty.blocks >> block & 1 == 1) {
                gone |= u128::from(lose()) << block;
            }
            if gone != 0 && revert(index, gone, dirty.durable.as_ref()).is_err() {
                gone = 0; // there is no space for the old content, so that the new one is what survives
            }
            lost += u64::from(gone.count_ones());
            kept += u64::from((dirty.blocks & !gone).count_ones());
        }
        self.forget_all();
        (lost, kept)
    }

    /// Audit: sums and order are right, nothing lies behind `extents`.
    pub(crate) fn audit(&self, extents: u64, what: &str, out: &mut Vec<String>) {
        let held: u64 = self.dirty.values().map(|dirty| u64::from(dirty.blocks.count_ones())).sum();
        let ordered = self.dirty.iter().all(|(index, dirty)| self.order.get(&dirty.turn) == Some(index));
        if held != self.held || !ordered || self.order.len() != self.dirty.len() {
            out.push(format!("{what}: the write cache miscounts"));
        }
        if self.dirty.values().any(|dirty| dirty.blocks == 0)
            || self.dirty.keys().any(|index| *index >= extents)
        {
            out.push(format!("{what}: the write cache holds nothing, or what is behind the size"));
        }
        if !self.on && !self.dirty.is_empty() {
            out.push(format!("{what}: the write cache is off and not empty"));
        }
    }
}

/// The bits of one extent that lie in a range of blocks.
fn mask(index: u64, lba: u64, blocks: u64) -> u128 {
    let (from, to) = (lba.max(index * EXTENT_BLOCKS), (lba + blocks).min((index + 1) * EXTENT_BLOCKS));
    pieces(from, to - from).next().map_or(0, |(_, offset, len)| bits(offset, len))
}

/// What a power loss did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PowerLoss {
    /// Unsynchronised blocks of 512 bytes that went back to what they were at the last synchronisation.
    pub blocks_lost: u64,
    /// Unsynchronised blocks that made it to the medium all the same.
    pub blocks_kept: u64,
    /// LUNs that had unsynchronised blocks.
    pub luns: u64,
}

/// Unsynchronised blocks that a loss of power takes, with what they were at their last synchronisation.
#[derive(Debug)]
pub struct LostWrites(Vec<LostExtent>);

#[derive(Debug)]
struct LostExtent {
    lun: u64,
    index: u64,
    /// Bit n: block n of the extent.
    blocks: u128,
    /// The extent on the medium of the array that is lost; none reads zero.
    durable: Option<Body>,
}

impl LostWrites {
    /// Blocks of 512 bytes.
    pub fn blocks(&self) -> u64 {
        self.0.iter().map(|extent| u64::from(extent.blocks.count_ones())).sum()
    }
}

impl Array {
    /// Whether the device has a volatile write cache that is on (WCE). Snapshots have none.
    pub fn write_cache(&self, id: DeviceId) -> bool {
        matches!(id, DeviceId::Lun(id) if self.luns.get(id).is_some_and(|lun| lun.cache.is_on()))
    }

    /// Switches the write cache of a LUN; off, what is in it becomes durable first.
    ///
    /// # Errors
    /// The device is gone, or it is a snapshot and shall have a cache.
    pub fn set_write_cache(&mut self, now: Duration, id: DeviceId, on: bool) -> Result<(), IoError> {
        self.advance(now);
        let DeviceId::Lun(lun) = id else {
            return if on || self.geometry(id).is_none() { self.refuse_write(id) } else { Ok(()) };
        };
        let lun = self.luns.get_mut(lun).ok_or(IoError::Gone)?;
        lun.cache.forget_all();
        lun.cache.on = on;
        self.promise();
        Ok(())
    }

    /// Unsynchronised blocks of a device.
    pub fn unsynchronised_blocks(&self, id: DeviceId) -> u64 {
        match id {
            DeviceId::Lun(id) => self.luns.get(id).map_or(0, |lun| lun.cache.held()),
            DeviceId::Snapshot(_) => 0,
        }
    }

    /// Writes as [`Array::write`] does, and durably (FUA): these blocks, not the device.
    ///
    /// # Errors
    /// As for writes.
    pub fn write_through(
        &mut self,
        now: Duration,
        id: DeviceId,
        lba: u64,
        data: &[u8],
    ) -> Result<(), IoError> {
        self.write(now, id, lba, data)?;
        self.make_durable(id, lba, data.len() as u64 / BLOCK_BYTES);
        Ok(())
    }

    /// Makes acknowledged writes and deallocations of a range durable (SBC-3 SYNCHRONIZE CACHE); 0 blocks are all from `lba`
    /// to the end.
    ///
    /// # Errors
    /// The range leaves the device, or the device is gone or offline.
    pub fn flush(&mut self, now: Duration, id: DeviceId, lba: u64, blocks: u64) -> Result<(), IoError> {
        self.advance(now);
        self.checked(id, lba, blocks)?;
        let size = self.geometry(id).map_or(0, |geometry| geometry.blocks);
        if !self.defects.sync_cache_ignored {
            self.make_durable(id, lba, if blocks == 0 { size - lba } else { blocks });
        }
        Ok(())
    }

    /// Makes a range durable; the caller keeps within the size.
    pub(crate) fn make_durable(&mut self, id: DeviceId, lba: u64, blocks: u64) {
        if let DeviceId::Lun(lun) = id
            && blocks > 0
            && let Some(lun) = self.luns.get_mut(lun)
        {
            lun.cache.flush(&lun.content, lba, blocks);
        }
        self.promise();
    }

    /// Power is lost and comes back. Of each LUN any subset of the unsynchronised blocks goes back to what it was;
    /// reservations go as they must; objects, mapping, ownership and background work survive.
    ///
    /// `dice` gives numbers below its argument, all equally likely. It first chooses for the whole event how likely
    /// loss is (all, three quarters, half, a quarter, none), then block by block.
    pub fn power_loss(&mut self, now: Duration, dice: &mut dyn FnMut(u64) -> u64) -> PowerLoss {
        self.advance(now);
        self.power_generation += 1;
        self.lose_links();
        self.promise();
        let quarters = dice(5);
        let mut report = PowerLoss::default();
        for lun in self.luns.iter_mut() {
            if self.defects.aptpl_forgotten {
                lun.reservations = Reservations::default();
            }
            lun.reservations.power_loss();
            if lun.cache.held() == 0 {
                continue;
            }
            report.luns += 1;
            let Some(pool) = self.pools.get(lun.pool as usize) else { continue };
            let space = pool.space(lun.quota.as_ref());
            let content = &mut lun.content;
            let (lost, kept) = lun.cache.power_loss(
                || dice(4) < quarters,
                |index, blocks, durable| content.revert(index, runs(blocks), durable, &space),
            );
            report.blocks_lost += lost;
            report.blocks_kept += kept;
        }
        for snapshot in self.snapshots.iter_mut() {
            snapshot.reservations.power_loss();
        }
        report
    }

    /// As [`Array::power_loss`] for an array whose journal makes it again: changes nothing, and says which unsynchronised
    /// blocks did not make it to the medium. See [`Array::undo_lost`].
    pub fn lost_writes(&mut self, now: Duration, dice: &mut dyn FnMut(u64) -> u64) -> LostWrites {
        self.advance(now);
        let quarters = dice(5);
        let mut lost = Vec::new();
        for lun in self.luns.iter_mut() {
            let id = lun.id;
            lun.cache.power_loss(
                || dice(4) < quarters,
                |index, blocks, durable| {
                    lost.push(LostExtent { lun: id, index, blocks, durable: durable.cloned() });
                    Ok(())
                },
            );
        }
        LostWrites(lost)
    }

    /// Puts blocks back that did not make it to the medium, in an array that was made of what was committed. What was
    /// committed and never synchronised may be lost all the same; LUNs that the journal knows nothing of are.
    pub fn undo_lost(&mut self, lost: &LostWrites) {
        for LostExtent { lun, index, blocks, durable } in &lost.0 {
            let Some(lun) = self.luns.get_mut(*lun) else { continue };
            if index * EXTENT_BLOCKS >= lun.content.blocks() {
                continue;
            }
            let Some(pool) = self.pools.get(lun.pool as usize) else { continue };
            let space = pool.space(lun.quota.as_ref());
            // Without space for the old content the new one survives, as ever.
            let _ = lun.content.revert(*index, runs(*blocks), durable.as_ref(), &space);
        }
    }

    /// Number of power losses so far; a target ends its sessions when it changes.
    pub fn power_generation(&self) -> u64 {
        self.power_generation
    }

    /// Reservations of a device.
    pub fn reservations(&self, id: DeviceId) -> Option<&Reservations> {
        match id {
            DeviceId::Lun(id) => self.luns.get(id).map(|lun| &lun.reservations),
            DeviceId::Snapshot(id) => self.snapshots.get(id).map(|snap| &snap.reservations),
        }
    }

    /// Reservations of a device, to change.
    pub fn reservations_mut(&mut self, id: DeviceId) -> Option<&mut Reservations> {
        match id {
            DeviceId::Lun(id) => self.luns.get_mut(id).map(|lun| &mut lun.reservations),
            DeviceId::Snapshot(id) => self.snapshots.get_mut(id).map(|snap| &mut snap.reservations),
        }
    }
}
