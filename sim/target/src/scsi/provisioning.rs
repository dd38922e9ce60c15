//! UNMAP, WRITE SAME, GET LBA STATUS (SBC-3 clauses 5.5, 5.28, 5.46).

use std::time::Duration;

use sanbench_array::{Array, Mapped};
use sanbench_wire::scsi::cdb::{Width, WriteSame};
use sanbench_wire::scsi::lba_status::{self, LbaStatus, Provisioning};
use sanbench_wire::scsi::sense::{Asc, FieldPointer, Sense};
use sanbench_wire::scsi::unmap;

use super::{BLOCK, Done, Nexus, Unit, bad_field, cut, illegal, in_range, io_sense, ready, writable};
use crate::config::{MAX_UNMAP_BLOCKS, MAX_UNMAP_DESCRIPTORS, MAX_WRITE_SAME_BLOCKS};

/// Blocks written at a time by WRITE SAME.
const SAME_CHUNK: u64 = 1024;
/// Runs told by one GET LBA STATUS at most.
const MAX_RUNS: u32 = 256;

pub(super) fn is_thin(array: &Array, unit: Unit) -> bool {
    array.device(unit.device).is_some_and(|info| info.thin)
}

/// Checks an UNMAP before its parameter list is asked for. A list that is too short for its header is no error, and means
/// nothing, only when it is empty.
pub(super) fn check_unmap(array: &Array, unit: Unit, length: u16) -> Result<(), Sense> {
    writable(array, unit)?;
    if (1..8).contains(&length) {
        return Err(illegal(Asc::PARAMETER_LIST_LENGTH_ERROR));
    }
    Ok(())
}

/// Unmaps all ranges of the list. Every descriptor is checked before the first block changes.
pub(super) fn unmap(array: &mut Array, now: Duration, nexus: &Nexus, unit: Unit, list: &[u8]) -> Done {
    writable(array, unit)?;
    let ranges = unmap::parse(list).map_err(|_| illegal(Asc::PARAMETER_LIST_LENGTH_ERROR))?;
    let total: u64 = ranges.iter().map(|range| u64::from(range.blocks)).sum();
    if ranges.len() > MAX_UNMAP_DESCRIPTORS as usize || total > u64::from(MAX_UNMAP_BLOCKS) {
        let field = Some(FieldPointer { in_cdb: false, bit: None, byte: 2 });
        return Err(Sense { field, ..illegal(Asc::INVALID_FIELD_IN_PARAMETER_LIST) });
    }
    for range in &ranges {
        // A descriptor of zero blocks is no error (SBC-3 clause 5.28.2), even right behind the last block.
        if range.blocks > 0 || range.lba > unit.geometry.blocks {
            in_range(unit, range.lba, u64::from(range.blocks))?;
        }
    }
    if nexus.defects.unmap_claimed_not_done {
        return Ok(Vec::new());
    }
    let mut last = Ok(());
    for range in ranges.iter().filter(|range| range.blocks > 0) {
        last = array.unmap(now, unit.device, range.lba, u64::from(range.blocks)).map_err(io_sense);
        if last.is_err() && !nexus.defects.unmap_hides_failure {
            break;
        }
    }
    last.map(|()| Vec::new())
}

/// Number of blocks that a WRITE SAME means: 0 is "to the end of the medium".
fn same_blocks(unit: Unit, w: WriteSame) -> u64 {
    if w.blocks == 0 { unit.geometry.blocks.saturating_sub(w.lba) } else { u64::from(w.blocks) }
}

/// Checks a WRITE SAME before its block is asked for.
pub(super) fn check_write_same(array: &Array, unit: Unit, w: WriteSame) -> Result<(), Sense> {
    writable(array, unit)?;
    // WRITE SAME (10) does not claim UNMAP (LBPWS10 0), thick units none at all.
    if w.unmap && (w.width == Width::Ten || !is_thin(array, unit)) {
        return Err(bad_field(1, Some(3)));
    }
    let blocks = same_blocks(unit, w);
    in_range(unit, w.lba, blocks)?;
    if blocks > MAX_WRITE_SAME_BLOCKS {
        return Err(bad_field(if w.width == Width::Ten { 7 } else { 10 }, None));
    }
    Ok(())
}

/// Writes one block's content to the whole range; `None` is the zero block (NDOB). With UNMAP and zeros the range is
/// deallocated, since unmapped blocks read as zeros here.
pub(super) fn write_same(
    array: &mut Array,
    now: Duration,
    unit: Unit,
    w: WriteSame,
    data: Option<&[u8]>,
) -> Done {
    check_write_same(array, unit, w)?;
    let zero = [0; BLOCK as usize];
    let block = match data {
        None => &zero[..],
        Some(data) => data.get(..BLOCK as usize).ok_or(bad_field(1, Some(0)))?,
    };
    let blocks = same_blocks(unit, w);
    if w.unmap && block == zero {
        array.unmap(now, unit.device, w.lba, blocks).map_err(io_sense)?;
        return Ok(Vec::new());
    }
    let chunk = block.repeat(blocks.min(SAME_CHUNK) as usize);
    let mut done = 0;
    while done < blocks {
        let n = (blocks - done).min(SAME_CHUNK);
        array.write(now, unit.device, w.lba + done, &chunk[..(n * BLOCK) as usize]).map_err(io_sense)?;
        done += n;
    }
    Ok(Vec::new())
}

pub(super) fn lba_status(array: &Array, unit: Unit, lba: u64, allocation: u32) -> Done {
    ready(unit)?;
    in_range(unit, lba, 1)?;
    // At least one run is made even for a short allocation length, which then cuts it.
    let wanted = (allocation.saturating_sub(8) / 16).clamp(1, MAX_RUNS);
    let mut runs: Vec<LbaStatus> = Vec::new();
    let mut at = lba;
    while at < unit.geometry.blocks && (runs.len() as u32) < wanted {
        let (length, state) = array.lba_status(unit.device, at).map_err(io_sense)?;
        let blocks = u32::try_from(length.max(1)).unwrap_or(u32::MAX);
        let status = match state {
            Mapped::Mapped => Provisioning::MAPPED,
            Mapped::Deallocated => Provisioning::DEALLOCATED,
        };
        // The array may tell a long run in parts; neighbours of one state are one run.
        match runs.last_mut() {
            Some(last) if last.status == status && last.blocks.checked_add(blocks).is_some() => {
                last.blocks += blocks
            }
            _ => runs.push(LbaStatus { lba: at, blocks, status }),
        }
        at += u64::from(blocks);
    }
    Ok(cut(lba_status::build(&runs), allocation as usize))
}
