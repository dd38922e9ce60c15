//! The data plane: what the target asks for a device that it has resolved.

use std::time::Duration;

use bytes::Bytes;

use crate::durable::MEDIUM_PAGE;
use crate::object::{DeviceId, DeviceInfo, Geometry, Mapped};
use crate::pair::Path;
use crate::store::content::pieces;
use crate::store::{BLOCK_BYTES, Content, EXTENT_BLOCKS};
use crate::{Array, IoError};

/// Longest mapped run that one [`Array::lba_status`] looks at, in extents.
const STATUS_EXTENTS: u64 = 65_536;

fn check_range(size: u64, lba: u64, blocks: u64) -> Result<(), IoError> {
    match lba.checked_add(blocks) {
        Some(end) if end <= size => Ok(()),
        _ => Err(IoError::OutOfRange),
    }
}

impl Array {
    /// What there is to tell about a device.
    pub fn device(&self, id: DeviceId) -> Option<DeviceInfo> {
        let Geometry { blocks, size_generation, read_only, online } = self.geometry(id)?;
        let (mut wwn, mut serial, thin, name) = match id {
            DeviceId::Lun(id) => {
                self.luns.get(id).map(|lun| (lun.wwn, lun.serial.clone(), lun.thin, lun.name.clone()))?
            }
            DeviceId::Snapshot(id) => {
                self.snapshots.get(id).map(|snap| (snap.wwn, snap.serial.clone(), true, snap.name.clone()))?
            }
        };
        if let DeviceId::Lun(lun) = id
            && let Some((shown, number)) = self.shown_identity(lun)
        {
            (wwn, serial) = (*shown, number.clone());
        }
        if self.defects.identity_changes_on_failover && self.is_trespassed(id) {
            wwn[15] ^= 0x80;
        }
        Some(DeviceInfo { wwn, serial, blocks, size_generation, read_only, online, thin, name })
    }

    /// Size and state of a device; cheap enough for every command.
    pub fn geometry(&self, id: DeviceId) -> Option<Geometry> {
        match id {
            DeviceId::Lun(id) => self.luns.get(id).map(|lun| Geometry {
                blocks: lun.content.blocks(),
                size_generation: lun.size_generation,
                read_only: self.is_protected(lun.id),
                online: !lun.broken,
            }),
            DeviceId::Snapshot(id) => self.snapshots.get(id).map(|snapshot| Geometry {
                blocks: snapshot.blocks,
                size_generation: 1,
                read_only: true,
                online: snapshot.is_active(),
            }),
        }
    }

    pub(crate) fn content(&self, id: DeviceId) -> Result<&Content, IoError> {
        match id {
            DeviceId::Lun(id) => Ok(&self.luns.get(id).ok_or(IoError::Gone)?.content),
            DeviceId::Snapshot(id) => {
                let snapshot = self.snapshots.get(id).ok_or(IoError::Gone)?;
                self.snapshot_content(snapshot).ok_or(IoError::Offline)
            }
        }
    }

    pub(crate) fn checked(&self, id: DeviceId, lba: u64, blocks: u64) -> Result<&Content, IoError> {
        let content = self.content(id)?;
        let size = match id {
            DeviceId::Lun(_) => content.blocks(),
            DeviceId::Snapshot(id) => self.snapshots.get(id).map_or(0, |snapshot| snapshot.blocks),
        };
        check_range(size, lba, blocks)?;
        Ok(content)
    }

    /// Reads `blocks` blocks from `lba` on: slices in order, shared with the store; holes are slices of a zero page.
    pub fn read(
        &mut self,
        now: Duration,
        id: DeviceId,
        lba: u64,
        blocks: u32,
    ) -> Result<Vec<Bytes>, IoError> {
        self.advance(now);
        let blocks = u64::from(blocks);
        self.check_readable(id)?;
        let content = self.checked(id, lba, blocks)?;
        let mut out = Vec::with_capacity(1 + (blocks / EXTENT_BLOCKS) as usize);
        // Only the planted defect stale_read_after_extend ever sets an older view.
        match self.stale_view(id) {
            Some(stale) if lba < stale.blocks() => {
                let old = blocks.min(stale.blocks() - lba);
                stale.read(lba, old, &mut out)?;
                content.read(lba + old, blocks - old, &mut out)?;
            }
            _ => content.read(lba, blocks, &mut out)?,
        }
        Ok(out)
    }

    /// The page of the medium that a block of a LUN is read from, if it holds data and content is kept on a medium: for whoever
    /// spoils pages, to see what becomes of them.
    pub fn place_of(&self, lun: u64, lba: u64) -> Option<u32> {
        let extent = self.luns.get(lun)?.content.visible(lba / EXTENT_BLOCKS)?;
        let page = (lba % EXTENT_BLOCKS * BLOCK_BYTES) as usize / MEDIUM_PAGE;
        extent.body.places().get(page).copied().filter(|place| *place != 0)
    }

    /// The whole content of a LUN, whoever may read it: for tests that look behind what hosts are let see.
    ///
    /// # Panics
    /// There is no such LUN.
    #[doc(hidden)]
    pub fn peek(&self, lun: u64) -> Vec<u8> {
        let mut out = Vec::new();
        let content = &self.luns.get(lun).expect("the test knows its LUNs").content;
        content.read(0, content.blocks(), &mut out).expect("content in memory is readable");
        out.concat()
    }

    fn stale_view(&self, id: DeviceId) -> Option<&Content> {
        match id {
            DeviceId::Lun(id) => self.luns.get(id)?.stale_view.as_ref(),
            DeviceId::Snapshot(_) => None,
        }
    }

    /// Writes whole blocks of 512 bytes from `lba` on: all of them, or none and an error. Volatile until flushed while the
    /// LUN's write cache is on. On a LUN in a pair it is durable at once, and what its acknowledgement has to wait for is in
    /// [`Array::take_tickets`].
    pub fn write(&mut self, now: Duration, id: DeviceId, lba: u64, data: &[u8]) -> Result<(), IoError> {
        self.advance(now);
        let DeviceId::Lun(lun) = id else { return self.refuse_write(id) };
        match self.path(lun) {
            Path::Plain => self.write_plain(lun, lba, data),
            path => self.write_paired(path, lun, lba, data),
        }
    }

    /// Writes a LUN without regard to pairs.
    pub(crate) fn write_plain(&mut self, lun: u64, lba: u64, data: &[u8]) -> Result<(), IoError> {
        let copied_up = self.copied_up(lun, lba, data.len() as u64 / BLOCK_BYTES);
        match self.write_lun(lun, lba, data) {
            Err(IoError::NoSpace) if self.defects.full_pool_breaks_lun => {
                if let Some(lun) = self.luns.get_mut(lun) {
                    lun.broken = true;
                }
                return Err(IoError::Offline);
            }
            done => done?,
        }
        self.show_to_snapshots(lun, &copied_up);
        self.note_pool_of(lun);
        if self.defects.clone_shares_writes
            && let Some(source) = self.source_lun(lun)
        {
            let _ = self.write_lun(source, lba, data);
        }
        Ok(())
    }

    /// Extents that a write is going to copy up; asked only for the planted defect D19.
    fn copied_up(&self, lun: u64, lba: u64, blocks: u64) -> Vec<u64> {
        match self.luns.get(lun).filter(|_| self.defects.copy_up_reaches_snapshots) {
            Some(lun) => pieces(lba, blocks)
                .map(|(index, ..)| index)
                .filter(|index| lun.content.is_inherited(*index))
                .collect(),
            None => Vec::new(),
        }
    }

    /// Planted defect D19: the snapshots of a LUN show these extents as the LUN has them now.
    fn show_to_snapshots(&mut self, lun: u64, extents: &[u64]) {
        if extents.is_empty() {
            return;
        }
        let Some(now) = self.luns.get(lun).map(|lun| lun.content.clone()) else { return };
        let ids: Vec<u64> = self.snapshots.iter().filter(|s| s.parent == lun).map(|s| s.id).collect();
        for id in ids {
            let Some(mut content) =
                self.snapshots.get(id).and_then(|s| s.layer.as_ref()).map(|l| l.content.clone())
            else {
                continue;
            };
            extents.iter().for_each(|index| content.share(*index, now.visible(*index).cloned()));
            let layer = self.new_layer(content);
            if let Some(snapshot) = self.snapshots.get_mut(id) {
                snapshot.layer = Some(layer);
            }
        }
    }

    fn note_pool_of(&mut self, lun: u64) {
        if let Some(pool) = self.luns.get(lun).map(|lun| lun.pool as usize) {
            self.note_pool(pool);
        }
    }

    /// The LUN that a linked clone was made from, directly or through a snapshot.
    fn source_lun(&self, lun: u64) -> Option<u64> {
        match self.luns.get(lun)?.origin?.source {
            DeviceId::Lun(source) => Some(source),
            DeviceId::Snapshot(source) => self.snapshots.get(source).map(|snapshot| snapshot.parent),
        }
    }

    fn write_lun(&mut self, lun: u64, lba: u64, data: &[u8]) -> Result<(), IoError> {
        let lun = self.luns.get_mut(lun).ok_or(IoError::Gone)?;
        let bytes = data.len() as u64;
        if !bytes.is_multiple_of(BLOCK_BYTES) {
            return Err(IoError::OutOfRange);
        }
        check_range(lun.content.blocks(), lba, bytes / BLOCK_BYTES)?;
        if data.is_empty() {
            return Ok(());
        }
        let pool = self.pools.get(lun.pool as usize).ok_or(IoError::Gone)?;
        let space = pool.space(lun.quota.as_ref());
        let defect = self.defects.lost_write_on_cow;
        let blocks = bytes / BLOCK_BYTES;
        let copies_up = lun.content.copies_up(lba, blocks);
        if !lun.cache.is_on() {
            lun.content.write(lba, data, &space, defect)?;
            self.events.copy_ups += u64::from(copies_up);
            self.promise();
            return Ok(());
        }
        let before = lun.cache.before_write(&lun.content, lba, blocks);
        lun.content.write(lba, data, &space, defect)?;
        self.events.copy_ups += u64::from(copies_up);
        lun.cache.mark(before, lba, blocks, self.cache_blocks);
        self.promise_if_congested();
        Ok(())
    }

    pub(crate) fn refuse_write(&self, id: DeviceId) -> Result<(), IoError> {
        match self.geometry(id) {
            Some(_) => Err(IoError::ReadOnly),
            None => Err(IoError::Gone),
        }
    }

    /// Deallocates a range (SBC-3 UNMAP, WRITE SAME with UNMAP): it reads zero afterwards. Whole extents give their space
    /// back, parts of extents become zero, which may need space when they are shared. Volatile as writes are.
    pub fn unmap(&mut self, now: Duration, id: DeviceId, lba: u64, blocks: u64) -> Result<(), IoError> {
        self.advance(now);
        let DeviceId::Lun(lun) = id else { return self.refuse_write(id) };
        match self.path(lun) {
            Path::Plain => self.unmap_plain(lun, lba, blocks),
            path => self.unmap_paired(path, lun, lba, blocks),
        }
    }

    /// Deallocates without regard to pairs.
    pub(crate) fn unmap_plain(&mut self, lun: u64, lba: u64, blocks: u64) -> Result<(), IoError> {
        let done = self.unmap_lun(lun, lba, blocks);
        self.note_pool_of(lun);
        done
    }

    fn unmap_lun(&mut self, lun: u64, lba: u64, blocks: u64) -> Result<(), IoError> {
        let lun = self.luns.get_mut(lun).ok_or(IoError::Gone)?;
        let size = lun.content.blocks();
        check_range(size, lba, blocks)?;
        if blocks == 0 {
            return Ok(());
        }
        let (mut from, mut to) = (lba, lba + blocks);
        if self.defects.unmap_out_of_bounds {
            from -= from % EXTENT_BLOCKS;
            to = to.next_multiple_of(EXTENT_BLOCKS).min(size);
        }
        let pool = self.pools.get(lun.pool as usize).ok_or(IoError::Gone)?;
        let space = pool.space(lun.quota.as_ref());
        if !lun.cache.is_on() {
            lun.content.unmap(from, to - from, &space)?;
            self.promise();
            return Ok(());
        }
        let before = lun.cache.before_unmap(&lun.content, from, to - from);
        lun.content.unmap(from, to - from, &space)?;
        lun.cache.mark(before, from, to - from, self.cache_blocks);
        self.promise_if_congested();
        Ok(())
    }

    /// The run of blocks with one provisioning state that starts at `lba` (SBC-3 GET LBA STATUS). Long mapped runs may be
    /// told in parts.
    pub fn lba_status(&self, id: DeviceId, lba: u64) -> Result<(u64, Mapped), IoError> {
        let content = self.checked(id, lba, 1)?;
        let size = self.geometry(id).map_or(0, |geometry| geometry.blocks);
        let first = lba / EXTENT_BLOCKS;
        let (next, state) = if content.visible(first).is_some() {
            let last = first + STATUS_EXTENTS;
            let next = (first + 1..last).find(|index| content.visible(*index).is_none()).unwrap_or(last);
            (next, Mapped::Mapped)
        } else {
            (content.next_visible(first).unwrap_or(u64::MAX / EXTENT_BLOCKS), Mapped::Deallocated)
        };
        Ok(((next * EXTENT_BLOCKS).min(size) - lba, state))
    }
}
