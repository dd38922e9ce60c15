//! Commands that read and write under one lock: COMPARE AND WRITE, ORWRITE, block copies, SANITIZE.

use std::time::Duration;

use crate::object::DeviceId;
use crate::store::{BLOCK_BYTES, EXTENT_BLOCKS};
use crate::{Array, IoError};

impl Array {
    /// Compares the blocks from `lba` on with `expected`, and if they are equal writes `data` (SBC-3 COMPARE AND WRITE), as
    /// one step. Both have the same length.
    ///
    /// # Errors
    /// As for reads and writes; [`IoError::OutOfRange`] too for lengths that differ or are no multiple of 512. The inner
    /// error is the byte offset of the first difference.
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
        let mut at = 0;
        while at < blocks {
            let run = (blocks - at).min(EXTENT_BLOCKS);
            let data = self.read(now, from, from_lba + at, run as u32)?.concat();
            self.write(now, to, to_lba + at, &data)?;
            at += run;
        }
        Ok(())
    }

    /// Overwrites the whole LUN durably (SBC-3 SANITIZE): with `pattern` repeated in each block, or none to deallocate it.
    ///
    /// # Errors
    /// As for writes; a pattern is 1 to 512 bytes long.
    pub fn sanitize(&mut self, now: Duration, id: DeviceId, pattern: Option<&[u8]>) -> Result<(), IoError> {
        let size = self.geometry(id).ok_or(IoError::Gone)?.blocks;
        let _ = pattern;
        self.unmap(now, id, 0, size)
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
