//! READ, WRITE, VERIFY, SYNCHRONIZE CACHE (SBC-3 clause 5).

use std::time::Duration;

use sanbench_array::Array;
use sanbench_wire::scsi::cdb::{Transfer, Verify, Width};
use sanbench_wire::scsi::sense::{Asc, Sense, SenseKey};

use super::{BLOCK, Done, Unit, bad_field, in_range, io_sense, ready, writable};
use crate::config::MAX_TRANSFER_BLOCKS;

/// Byte of the transfer length field, for field pointers.
fn length_byte(width: Width) -> u16 {
    match width {
        Width::Six => 4,
        Width::Ten => 7,
        Width::Twelve => 6,
        Width::Sixteen => 10,
    }
}

fn check_transfer(unit: Unit, t: Transfer) -> Result<(), Sense> {
    if t.protect != 0 {
        return Err(bad_field(1, Some(7)));
    }
    in_range(unit, t.lba, u64::from(t.blocks))?;
    if t.blocks > MAX_TRANSFER_BLOCKS {
        return Err(bad_field(length_byte(t.width), None));
    }
    Ok(())
}

pub(super) fn read(array: &mut Array, now: Duration, unit: Unit, t: Transfer) -> Done {
    ready(unit)?;
    check_transfer(unit, t)?;
    if t.blocks == 0 {
        return Ok(Vec::new());
    }
    array.read(now, unit.device, t.lba, t.blocks).map_err(io_sense)
}

/// Checks a WRITE before its data is asked for; gives its length in bytes.
pub(super) fn check_write(unit: Unit, t: Transfer) -> Result<u64, Sense> {
    writable(unit)?;
    check_transfer(unit, t)?;
    Ok(u64::from(t.blocks) * BLOCK)
}

/// Writes the whole blocks that arrived; less than the CDB says when the initiator announced less.
pub(super) fn write(array: &mut Array, now: Duration, unit: Unit, t: Transfer, data: &[u8]) -> Done {
    check_write(unit, t)?;
    let whole = data.len() - data.len() % BLOCK as usize;
    array.write(now, unit.device, t.lba, &data[..whole]).map_err(io_sense)?;
    Ok(Vec::new())
}

/// Checks a VERIFY; gives the length of the data to compare with, in bytes.
pub(super) fn check_verify(unit: Unit, v: Verify) -> Result<u64, Sense> {
    ready(unit)?;
    if v.protect != 0 {
        return Err(bad_field(1, Some(7)));
    }
    in_range(unit, v.lba, u64::from(v.blocks))?;
    if v.blocks > MAX_TRANSFER_BLOCKS && v.byte_check != 0 {
        return Err(bad_field(length_byte(v.width), None));
    }
    match v.byte_check {
        0 => Ok(0),
        1 => Ok(u64::from(v.blocks) * BLOCK),
        3 if v.blocks > 0 => Ok(BLOCK),
        3 => Ok(0),
        _ => Err(bad_field(1, Some(2))),
    }
}

/// Compares the medium with the data, or each block with the one block sent (BYTCHK 3).
pub(super) fn verify_data(array: &mut Array, now: Duration, unit: Unit, v: Verify, data: &[u8]) -> Done {
    check_verify(unit, v)?;
    let block = BLOCK as usize;
    let blocks = if v.byte_check == 3 { v.blocks } else { v.blocks.min((data.len() / block) as u32) };
    if blocks == 0 || data.len() < block {
        return Ok(Vec::new());
    }
    let medium = array.read(now, unit.device, v.lba, blocks).map_err(io_sense)?;
    let mut at = 0usize;
    for part in &medium {
        for (i, byte) in part.iter().enumerate() {
            let expected = if v.byte_check == 3 { data[(at + i) % block] } else { data[at + i] };
            if *byte != expected {
                return Err(Sense {
                    information: Some((at + i) as u64),
                    ..Sense::new(SenseKey::MISCOMPARE, Asc::MISCOMPARE_DURING_VERIFY)
                });
            }
        }
        at += part.len();
    }
    Ok(Vec::new())
}

pub(super) fn synchronize(array: &mut Array, now: Duration, unit: Unit, lba: u64, blocks: u32) -> Done {
    ready(unit)?;
    in_range(unit, lba, u64::from(blocks))?;
    array.flush(now, unit.device, lba, u64::from(blocks)).map_err(io_sense)?;
    Ok(Vec::new())
}
