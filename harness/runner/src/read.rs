//! Reading a volume back and judging every block that was read.

use std::cell::RefCell;
use std::ops::Range;

use sanbench_api::{BlockDevice, BlockError, LbaState, VolumeId};
use sanbench_check::stamp::is_zero;
use sanbench_check::{Finding, ModelError};
use sanbench_world::Dice;

use crate::judge::Judge;

/// Blocks around every range that was ever written, on both sides.
const MARGIN: u64 = 16;
/// Blocks in one read.
const CHUNK: u64 = 1024;
/// Holes that are sampled, each with one read of [`HOLE`] blocks.
const HOLES: u64 = 6;
/// Blocks of one sampled hole.
const HOLE: u64 = 8;
/// Most blocks that GET LBA STATUS may add to a verification (4 GiB); a thick volume is sampled beyond that.
const MAPPED_MAX: u64 = 8 << 20;
/// Most descriptors asked of GET LBA STATUS for one volume.
const DESCRIPTORS_MAX: usize = 100_000;

/// What a verification did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Verified {
    /// Blocks compared.
    pub(crate) blocks: u64,
    /// Of these, blocks that hold zeroes.
    pub(crate) zero: u64,
    /// GET LBA STATUS was answered.
    pub(crate) status: bool,
}

/// Why a verification could not be finished.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The device failed.
    Device(BlockError),
    /// The bench asked its model for something that is not there.
    Model(ModelError),
}

impl From<BlockError> for ReadError {
    fn from(e: BlockError) -> Self {
        Self::Device(e)
    }
}

impl From<ModelError> for ReadError {
    fn from(e: ModelError) -> Self {
        Self::Model(e)
    }
}

/// Reads every block ever written, its neighbours, every range that GET LBA STATUS calls mapped and a seeded sample of
/// holes; the whole volume with `scan`. The first findings end it. `since` is its size in blocks when its device was asked for.
pub(crate) async fn verify(
    judge: &RefCell<Judge>,
    volume: VolumeId,
    device: &dyn BlockDevice,
    dice: &mut Dice,
    (scan, since): (bool, u64),
) -> Result<(Verified, Vec<Finding>), ReadError> {
    let mut verified = Verified::default();
    let blocks = judge.borrow().data.blocks(volume)?;
    let seen = device.capacity_blocks();
    // While it grows, its host may see either size; and who opened it before that sees the size of then.
    let grown = since < blocks && (since..blocks).contains(&seen);
    if seen != blocks && !grown && !judge.borrow().extending.contains(&volume) {
        let finding = Finding::new("CRE-001", "capacity", "device", "blocks")
            .says(format!("the host sees volume {volume} with another size"))
            .compared(format!("{blocks} blocks"), format!("{seen} blocks"));
        return Ok((verified, vec![finding]));
    }
    let blocks = if grown { seen } else { blocks };
    let mapped = mapped(device, blocks).await?;
    verified.status = mapped.is_some();
    let mut ranges = judge.borrow().data.interesting_ranges(volume, MARGIN)?;
    // Another lane may have extended it since: what is new is not asked for, its host may not see it yet.
    ranges.iter_mut().for_each(|range| range.end = range.end.min(blocks));
    if scan {
        ranges.clear();
        ranges.push(0..blocks);
    } else {
        let mut budget = MAPPED_MAX;
        for range in mapped.iter().flatten() {
            let end = range.end.min(range.start.saturating_add(budget));
            budget -= end - range.start;
            ranges.push(range.start..end);
        }
        for _ in 0..HOLES {
            let at = dice.below(blocks.saturating_sub(HOLE).max(1));
            ranges.push(at..(at + HOLE).min(blocks));
        }
    }
    for range in joined(ranges) {
        let mut at = range.start;
        while at < range.end {
            let count = (range.end - at).min(CHUNK);
            let ticket = judge.borrow_mut().data.begin_read(volume)?;
            let read = device.read(at, u32::try_from(count).unwrap_or(u32::MAX)).await;
            let data = match read {
                Ok(data) => data,
                Err(e) => {
                    judge.borrow_mut().data.cancel(ticket);
                    return Err(e.into());
                }
            };
            let quiet = judge.borrow().group.is_none();
            let mut findings = judge.borrow_mut().data.end_read(ticket, at, &data)?;
            for (block, lba) in data.chunks_exact(512).zip(at..) {
                if is_zero(block) {
                    verified.zero += 1;
                } else if mapped.as_ref().is_some_and(|m| !covers(m, lba)) && findings.is_empty() && quiet {
                    findings.push(
                        Finding::new("SCS-009", "lba-status", "volume", "state")
                            .says(format!(
                                "GET LBA STATUS calls LBA {lba} of {volume} deallocated, yet it holds data"
                            ))
                            .compared("mapped", "deallocated"),
                    );
                }
            }
            verified.blocks += count;
            if !findings.is_empty() {
                return Ok((verified, findings));
            }
            at += count;
        }
    }
    let ledger = &mut judge.borrow_mut().ledger;
    ledger.compared("DAT-002", verified.blocks);
    ledger.compared("DAT-003", verified.zero);
    ledger.compared("DAT-008", verified.blocks);
    ledger.compared("SCS-009", u64::from(verified.status));
    Ok((verified, Vec::new()))
}

/// Ranges that GET LBA STATUS calls mapped or anchored, joined; `None` when the device does not offer the command.
async fn mapped(device: &dyn BlockDevice, blocks: u64) -> Result<Option<Vec<Range<u64>>>, BlockError> {
    let mut ranges = Vec::new();
    let (mut at, mut asked) = (0, 0);
    while at < blocks {
        let list = match device.lba_status(at).await {
            Ok(list) => list,
            // INVALID COMMAND OPERATION CODE: not offered.
            Err(BlockError::Sense { key: 0x5, asc: 0x20, .. }) => return Ok(None),
            Err(e) => return Err(e),
        };
        let before = at;
        for d in list {
            asked += 1;
            if d.state != LbaState::Deallocated {
                ranges.push(d.lba.max(at)..d.lba.saturating_add(d.blocks).min(blocks));
            }
            at = at.max(d.lba.saturating_add(d.blocks));
        }
        if at <= before || asked > DESCRIPTORS_MAX {
            return Err(BlockError::Protocol { message: "GET LBA STATUS makes no progress".into() });
        }
    }
    Ok(Some(joined(ranges)))
}

/// Whether one of the joined ranges holds the block.
fn covers(ranges: &[Range<u64>], lba: u64) -> bool {
    let after = ranges.partition_point(|r| r.start <= lba);
    after > 0 && ranges[after - 1].end > lba
}

/// Sorted, without overlaps and empty ranges.
fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.retain(|r| r.start < r.end);
    ranges.sort_by_key(|r| r.start);
    let mut out: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match out.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => out.push(range),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_and_cover() {
        let ranges = joined(vec![8..10, 0..4, 3..5, 7..7, 10..12]);
        assert_eq!(ranges, [0..5, 8..12]);
        let covered: Vec<u64> = (0..14).filter(|lba| covers(&ranges, *lba)).collect();
        assert_eq!(covered, [0, 1, 2, 3, 4, 8, 9, 10, 11]);
    }
}
