//! READ, WRITE, VERIFY, ORWRITE, COMPARE AND WRITE, WRITE ATOMIC, PRE-FETCH, SYNCHRONIZE CACHE (SBC-3 clause 5, SBC-4 for
//! the atomic write).

use std::time::Duration;

use sanbench_array::{Array, EXTENT_BLOCKS, IoError};
use sanbench_wire::scsi::cdb::{Transfer, Verify, Width};
use sanbench_wire::scsi::sense::{Asc, Sense, SenseKey};

use super::{BLOCK, Done, Nexus, Unit, bad_field, illegal, in_range, io_sense, ready, writable};
use crate::config::{MAX_ATOMIC_BLOCKS, MAX_COMPARE_BLOCKS, MAX_TRANSFER_BLOCKS};

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
    // FUA asks for what is on the medium: what the cache holds goes there first.
    if t.fua {
        array.flush(now, unit.device, t.lba, u64::from(t.blocks)).map_err(io_sense)?;
    }
    array.read(now, unit.device, t.lba, t.blocks).map_err(io_sense)
}

/// Checks a WRITE or ORWRITE before its data is asked for; gives its length in bytes.
pub(super) fn check_write(array: &Array, unit: Unit, t: Transfer) -> Result<u64, Sense> {
    writable(array, unit)?;
    check_transfer(unit, t)?;
    Ok(u64::from(t.blocks) * BLOCK)
}

/// The whole blocks that arrived; less than the CDB says when the initiator announced less.
fn whole(data: &[u8]) -> &[u8] {
    &data[..data.len() - data.len() % BLOCK as usize]
}

pub(super) fn write(array: &mut Array, now: Duration, unit: Unit, t: Transfer, data: &[u8]) -> Done {
    check_write(array, unit, t)?;
    store(array, now, unit, t.lba, whole(data), t.fua).map_err(io_sense)?;
    Ok(Vec::new())
}

fn store(
    array: &mut Array,
    now: Duration,
    unit: Unit,
    lba: u64,
    data: &[u8],
    fua: bool,
) -> Result<(), IoError> {
    if fua {
        array.write_through(now, unit.device, lba, data)
    } else {
        array.write(now, unit.device, lba, data)
    }
}

pub(super) fn or_write(array: &mut Array, now: Duration, unit: Unit, t: Transfer, data: &[u8]) -> Done {
    check_write(array, unit, t)?;
    array.or_write(now, unit.device, t.lba, whole(data), t.fua).map_err(io_sense)?;
    Ok(Vec::new())
}

/// Checks a WRITE AND VERIFY; gives the length of its data, in bytes.
pub(super) fn check_write_verify(array: &Array, unit: Unit, v: Verify) -> Result<u64, Sense> {
    if v.byte_check > 1 {
        return Err(bad_field(1, Some(2)));
    }
    let Verify { width, lba, blocks, dpo, protect, .. } = v;
    check_write(array, unit, Transfer { width, lba, blocks, dpo, fua: true, protect })
}

/// Writes durably, then compares the medium with what was sent: that is what is verified, whatever BYTCHK says.
pub(super) fn write_verify(array: &mut Array, now: Duration, unit: Unit, v: Verify, data: &[u8]) -> Done {
    check_write_verify(array, unit, v)?;
    let data = whole(data);
    store(array, now, unit, v.lba, data, true).map_err(io_sense)?;
    // On its way to the other half of a pair, which applies it here again before it is acknowledged.
    if array.is_forwarded(unit.device) {
        return Ok(Vec::new());
    }
    compare(array, now, unit, Verify { byte_check: 1, ..v }, data)
}

/// Checks a WRITE ATOMIC; gives the length of its data, in bytes.
pub(super) fn check_atomic(array: &Array, unit: Unit, t: Transfer, boundary: u16) -> Result<u64, Sense> {
    let bytes = check_write(array, unit, t)?;
    if u32::from(boundary) > MAX_ATOMIC_BLOCKS {
        return Err(bad_field(10, None));
    }
    if t.blocks > MAX_ATOMIC_BLOCKS {
        return Err(bad_field(12, None));
    }
    Ok(bytes)
}

/// Writes everything or nothing: what did not arrive as a whole is not written at all.
pub(super) fn write_atomic(
    array: &mut Array,
    now: Duration,
    unit: Unit,
    t: Transfer,
    boundary: u16,
    data: &[u8],
) -> Done {
    let bytes = check_atomic(array, unit, t, boundary)?;
    if (data.len() as u64) < bytes {
        return Err(bad_field(12, None));
    }
    store(array, now, unit, t.lba, data, t.fua).map_err(io_sense)?;
    Ok(Vec::new())
}

/// Checks a COMPARE AND WRITE; gives the length of its data in bytes: what to compare with, and what to write.
pub(super) fn check_compare_write(array: &Array, unit: Unit, t: Transfer) -> Result<u64, Sense> {
    writable(array, unit)?;
    in_range(unit, t.lba, u64::from(t.blocks))?;
    if t.blocks > MAX_COMPARE_BLOCKS {
        return Err(bad_field(13, None));
    }
    Ok(2 * u64::from(t.blocks) * BLOCK)
}

/// COMPARE AND WRITE: one step, however many extents it spans.
pub(super) fn compare_and_write(
    array: &mut Array,
    now: Duration,
    nexus: &Nexus,
    unit: Unit,
    t: Transfer,
    data: &[u8],
) -> Done {
    let bytes = check_compare_write(array, unit, t)?;
    // Half of such data would mean something else; too little of it is a wrong length in the CDB.
    if (data.len() as u64) < bytes {
        return Err(bad_field(13, None));
    }
    let (expected, new) = data.split_at(data.len() / 2);
    // D28: in parts, each of which is atomic for itself.
    let part = if nexus.defects.compare_and_write_not_atomic { EXTENT_BLOCKS } else { u64::MAX };
    let mut at = 0;
    while at < expected.len() {
        let lba = t.lba + at as u64 / BLOCK;
        let room = (part - lba % part).min(u64::from(MAX_COMPARE_BLOCKS)) * BLOCK;
        let end = expected.len().min(at + room as usize);
        array
            .compare_and_write(now, unit.device, lba, &expected[at..end], &new[at..end], t.fua)
            .map_err(io_sense)?
            .map_err(|offset| miscompare(at + offset))?;
        at = end;
    }
    Ok(Vec::new())
}

/// MISCOMPARE with the offset of the first byte that differs.
pub(super) fn miscompare(offset: usize) -> Sense {
    Sense {
        information: Some(offset as u64),
        ..Sense::new(SenseKey::MISCOMPARE, Asc::MISCOMPARE_DURING_VERIFY)
    }
}

/// Checks a VERIFY; gives the length of the data to compare with, in bytes.
pub(super) fn check_verify(unit: Unit, v: Verify) -> Result<u64, Sense> {
    ready(unit)?;
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

/// VERIFY with data to compare with.
pub(super) fn verify_data(array: &mut Array, now: Duration, unit: Unit, v: Verify, data: &[u8]) -> Done {
    check_verify(unit, v)?;
    compare(array, now, unit, v, data)
}

/// Compares the medium with the data, or each block with the one block sent (BYTCHK 3).
fn compare(array: &mut Array, now: Duration, unit: Unit, v: Verify, data: &[u8]) -> Done {
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
                return Err(miscompare(at + i));
            }
        }
        at += part.len();
    }
    Ok(Vec::new())
}

/// PRE-FETCH: everything is near already. Zero blocks are those to the end.
pub(super) fn pre_fetch(unit: Unit, lba: u64, blocks: u32) -> Done {
    ready(unit)?;
    in_range(unit, lba, u64::from(blocks))?;
    Ok(Vec::new())
}

/// SYNCHRONIZE CACHE; with IMMED too the answer comes when it is done.
pub(super) fn synchronize(array: &mut Array, now: Duration, unit: Unit, lba: u64, blocks: u32) -> Done {
    ready(unit)?;
    in_range(unit, lba, u64::from(blocks))?;
    array.flush(now, unit.device, lba, u64::from(blocks)).map_err(io_sense)?;
    Ok(Vec::new())
}

/// READ DEFECT DATA: a list in the wanted format, without any defect.
pub(super) fn defect_data(width: Width, flags: u8, format: u8, allocation: u32) -> Done {
    let byte = if width == Width::Ten { 2 } else { 1 };
    // Formats are numbered 0 to 6; the seventh is reserved.
    if format == 7 {
        return Err(bad_field(byte, Some(2)));
    }
    let head = [0, flags << 3 | format, 0, 0, 0, 0, 0, 0];
    let length = if width == Width::Ten { 4 } else { 8 };
    Ok(super::cut(&head[..length], allocation as usize))
}

/// What a thin unit that has no room left, or anything else, means for a copy that had begun.
pub(super) fn copy_error(error: IoError) -> Sense {
    match error {
        IoError::OutOfRange => illegal(Asc::LBA_OUT_OF_RANGE),
        other => Sense { key: SenseKey::COPY_ABORTED, ..io_sense(other) },
    }
}
