//! Commands that read and write under one lock: COMPARE AND WRITE, ORWRITE, block copies, SANITIZE.

use std::time::Duration;

use bytes::Bytes;

use crate::object::DeviceId;
use crate::pair::Request;
use crate::store::content::pieces;
use crate::store::{BLOCK_BYTES, EXTENT_BLOCKS, EXTENT_BYTES};
use crate::{Array, IoError};

impl Array {
    /// Compares the blocks from `lba` on with `expected`, and if they are equal writes `data` (SBC-3 COMPARE AND WRITE), as
    /// one step. Both have the same length.
    ///
    /// # Errors
    /// As for reads and writes; [`IoError::OutOfRange`] too for lengths that differ or are no multiple of 512. The inner
    /// error is the byte offset of the first difference; on the secondary of a HyperMetro pair it comes with the ticket.
    pub fn compare_and_write(
        &mut self,
        now: Duration,
        id: DeviceId,
        lba: u64,
        expected: &[u8],
        data: &[u8],
        fua: bool,
    ) -> Result<Result<(), usize>, IoError> {
        let blocks = whole_blocks(expected.len())?;
        if data.len() != expected.len() {
            return Err(IoError::OutOfRange);
        }
        self.advance(now);
        if let DeviceId::Lun(lun) = id
            && self.is_forwarded(id)
        {
            self.checked(id, lba, blocks.into())?;
            let (expected, data) = (Bytes::copy_from_slice(expected), Bytes::copy_from_slice(data));
            self.propose(lun, Request::CompareWrite { lba, expected, data });
            return Ok(Ok(()));
        }
        let mut at = 0;
        for slice in self.read(now, id, lba, blocks)? {
            let want = &expected[at..at + slice.len()];
            if slice != want {
                let differs = slice.iter().zip(want).position(|(is, want)| is != want).unwrap_or(0);
                return Ok(Err(at + differs));
            }
            at += slice.len();
        }
        self.store(now, id, lba, data, fua).map(Ok)
    }

    /// Writes the bitwise OR of `data` and what is there (SBC-3 ORWRITE), as one step.
    ///
    /// # Errors
    /// As for reads and writes.
    pub fn or_write(
        &mut self,
        now: Duration,
        id: DeviceId,
        lba: u64,
        data: &[u8],
        fua: bool,
    ) -> Result<(), IoError> {
        let blocks = whole_blocks(data.len())?;
        self.advance(now);
        if let DeviceId::Lun(lun) = id
            && self.is_forwarded(id)
        {
            self.checked(id, lba, blocks.into())?;
            self.propose(lun, Request::Or { lba, data: Bytes::copy_from_slice(data) });
            return Ok(());
        }
        let mut sum = data.to_vec();
        let mut at = 0;
        for slice in self.read(now, id, lba, blocks)? {
            sum[at..at + slice.len()].iter_mut().zip(&slice[..]).for_each(|(byte, old)| *byte |= old);
            at += slice.len();
        }
        self.store(now, id, lba, &sum, fua)
    }

    fn store(
        &mut self,
        now: Duration,
        id: DeviceId,
        lba: u64,
        data: &[u8],
        fua: bool,
    ) -> Result<(), IoError> {
        if fua { self.write_through(now, id, lba, data) } else { self.write(now, id, lba, data) }
    }

    /// Copies blocks between devices, or within one, where the result is as if all had been read first (EXTENDED COPY).
    /// What is read becomes durable; what is written is volatile as by [`Array::write`].
    ///
    /// Between thin LUNs of one pool whole extents at equal offsets are shared and take no space until either side
    /// changes; everything else is copied byte by byte.
    ///
    /// # Errors
    /// As for reads of the source and writes of the target. Out of space, a part may have been copied.
    pub fn copy_blocks(
        &mut self,
        now: Duration,
        from: DeviceId,
        from_lba: u64,
        to: DeviceId,
        to_lba: u64,
        blocks: u64,
    ) -> Result<(), IoError> {
        self.advance(now);
        self.checked(from, from_lba, blocks)?;
        let DeviceId::Lun(target) = to else { return self.refuse_write(to) };
        self.checked(to, to_lba, blocks)?;
        if blocks == 0 || (from == to && from_lba == to_lba) {
            return Ok(());
        }
        self.make_durable(from, from_lba, blocks);
        let shares = !self.is_paired(target)
            && from_lba % EXTENT_BLOCKS == to_lba % EXTENT_BLOCKS
            && self.thin_home(from) == self.thin_home(to);
        let mut at: Vec<(u64, u64)> = pieces(to_lba, blocks)
            .map(|(index, offset, len)| {
                (index * EXTENT_BLOCKS + offset as u64 / BLOCK_BYTES, len as u64 / BLOCK_BYTES)
            })
            .collect();
        // Within one device, so that no piece is overwritten before it is read.
        if to_lba > from_lba {
            at.reverse();
        }
        for (lba, run) in at {
            let source = from_lba + (lba - to_lba);
            if shares && self.thin_home(to).is_some() && run == EXTENT_BLOCKS {
                let extent = self.content(from)?.visible(source / EXTENT_BLOCKS).cloned();
                let lun = self.luns.get_mut(target).ok_or(IoError::Gone)?;
                let before = lun.cache.is_on().then(|| lun.cache.before_write(&lun.content, lba, run));
                lun.content.share(lba / EXTENT_BLOCKS, extent);
                match before {
                    Some(before) => lun.cache.mark(before, lba, run, self.cache_blocks),
                    None => self.promise(),
                }
            } else {
                let data = self.read(now, from, source, run as u32)?.concat();
                self.write(now, to, lba, &data)?;
            }
        }
        Ok(())
    }

    /// The pool of a thin device.
    fn thin_home(&self, id: DeviceId) -> Option<u64> {
        match id {
            DeviceId::Lun(id) => self.luns.get(id).filter(|lun| lun.thin).map(|lun| lun.pool),
            DeviceId::Snapshot(id) => {
                let snapshot = self.snapshots.get(id)?;
                self.luns.get(snapshot.parent).filter(|lun| lun.thin).map(|lun| lun.pool)
            }
        }
    }

    /// Overwrites the whole LUN durably (SBC-3 SANITIZE): with `pattern` repeated in each block, or none to deallocate it.
    ///
    /// # Errors
    /// As for writes; [`IoError::OutOfRange`] too for a pattern that is not 1 to 512 bytes long, [`IoError::ReadOnly`] for a LUN
    /// in a pair.
    pub fn sanitize(&mut self, now: Duration, id: DeviceId, pattern: Option<&[u8]>) -> Result<(), IoError> {
        self.advance(now);
        let DeviceId::Lun(lun) = id else { return self.refuse_write(id) };
        // The other half would keep what this one forgets.
        if self.is_paired(lun) {
            return Err(IoError::ReadOnly);
        }
        let lun = self.luns.get_mut(lun).ok_or(IoError::Gone)?;
        if pattern.is_some_and(|pattern| pattern.is_empty() || pattern.len() as u64 > BLOCK_BYTES) {
            return Err(IoError::OutOfRange);
        }
        let pool = self.pools.get(lun.pool as usize).ok_or(IoError::Gone)?;
        let space = pool.space(lun.quota.as_ref());
        match pattern.filter(|pattern| pattern.iter().any(|byte| *byte != 0)) {
            None => lun.content.unmap(0, lun.content.blocks(), &space)?,
            Some(pattern) => {
                let block = pattern.iter().copied().cycle().take(BLOCK_BYTES as usize);
                let block: Vec<u8> = block.collect();
                let mut extent = [0; EXTENT_BYTES];
                extent.chunks_exact_mut(block.len()).for_each(|part| part.copy_from_slice(&block));
                lun.content.fill(&extent, &space)?;
            }
        }
        lun.cache.forget_all();
        self.promise();
        Ok(())
    }
}

/// Bytes as blocks.
fn whole_blocks(bytes: usize) -> Result<u32, IoError> {
    let bytes = bytes as u64;
    if !bytes.is_multiple_of(BLOCK_BYTES) {
        return Err(IoError::OutOfRange);
    }
    u32::try_from(bytes / BLOCK_BYTES).map_err(|_| IoError::OutOfRange)
}
