//! Commands about the unit rather than its blocks: capacity, sense, LUN list, task functions, sanitize.

use std::time::Duration;

use bytes::Bytes;
use sanbench_array::Array;
use sanbench_wire::scsi::capacity::{Capacity10, Capacity16};
use sanbench_wire::scsi::luns::{self, Lun, select};
use sanbench_wire::scsi::sense::{Asc, FieldPointer, Sense, SenseKey};

use super::{BLOCK, Done, Nexus, Unit, bad_field, cut, illegal, io_sense, ready, writable};

/// REPORT LUNS (SPC-4 clause 6.33): what this nexus may reach, ascending, and the well-known unit that answers this.
pub(super) fn report_luns(array: &Array, nexus: &mut Nexus, which: u8, allocation: u32) -> Done {
    if allocation < 16 {
        return Err(bad_field(6, None));
    }
    if !matches!(which, select::ADDRESSABLE | select::ALL | select::WELL_KNOWN) {
        return Err(bad_field(2, None));
    }
    let mut list: Vec<Lun> = Vec::new();
    if which != select::WELL_KNOWN {
        list.extend(array.view(&nexus.iqn).into_iter().filter_map(|(number, _)| Lun::from_number(number)));
        nexus.luns_were_reported();
    }
    if which != select::ADDRESSABLE {
        list.push(Lun::REPORT_LUNS);
    }
    Ok(cut(luns::build(&list), allocation as usize))
}

/// REQUEST SENSE (SPC-4 clause 6.39): always GOOD; the data tells a waiting unit attention or a wrong LUN.
pub(super) fn request_sense(
    nexus: &mut Nexus,
    lun: Lun,
    unit: Option<Unit>,
    descriptor: bool,
    allocation: u8,
) -> Vec<Bytes> {
    let sense = match unit {
        None => illegal(Asc::LOGICAL_UNIT_NOT_SUPPORTED),
        Some(unit) => match nexus.take_attention(lun) {
            Some(attention) => Sense::new(SenseKey::UNIT_ATTENTION, attention),
            None => ready(unit).err().unwrap_or(Sense::new(SenseKey::NO_SENSE, Asc::NO_ADDITIONAL_SENSE)),
        },
    };
    sense_data(&sense, descriptor, allocation)
}

pub(super) fn sense_data(sense: &Sense, descriptor: bool, allocation: u8) -> Vec<Bytes> {
    let data = if descriptor { sense.build_descriptor() } else { sense.build_fixed().to_vec() };
    cut(data, usize::from(allocation))
}

pub(super) fn read_capacity_10(unit: Unit) -> Done {
    ready(unit)?;
    let last = unit.geometry.blocks.saturating_sub(1);
    let last_lba = u32::try_from(last).unwrap_or(u32::MAX);
    Ok(cut(Capacity10 { last_lba, block_length: BLOCK as u32 }.build(), 8))
}

pub(super) fn read_capacity_16(array: &Array, unit: Unit, allocation: u32) -> Done {
    ready(unit)?;
    let thin = array.device(unit.device).is_some_and(|info| info.thin);
    let data = Capacity16 {
        last_lba: unit.geometry.blocks.saturating_sub(1),
        block_length: BLOCK as u32,
        protection: false,
        protection_type: 0,
        physical_exponent: 0,
        thin,
        unmapped_reads_zero: true,
        lowest_aligned: 0,
    };
    Ok(cut(data.build(), allocation as usize))
}

/// REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (SPC-4 clause 6.36): ABORT TASK, ABORT TASK SET, CLEAR TASK SET, LOGICAL UNIT
/// RESET, TARGET RESET.
pub(super) fn task_functions(extended: bool, allocation: u32) -> Done {
    const FUNCTIONS: u8 = 0x80 | 0x40 | 0x10 | 0x08 | 0x02;
    if allocation < 4 {
        return Err(bad_field(6, None));
    }
    let mut data = vec![FUNCTIONS, 0, 0, 0];
    if extended {
        // Time-outs are not told.
        data.resize(16, 0);
        data[3] = 12;
    }
    Ok(cut(data, allocation as usize))
}

/// Service actions of SANITIZE.
mod sanitize {
    pub(super) const OVERWRITE: u8 = 1;
    pub(super) const EXIT_FAILURE_MODE: u8 = 0x1f;
}

/// Checks a SANITIZE before its list is asked for; gives the length of the list.
pub(super) fn check_sanitize(array: &Array, unit: Unit, action: u8, length: u16) -> Result<u64, Sense> {
    writable(array, unit)?;
    let right = match action {
        sanitize::OVERWRITE => (5..=4 + BLOCK as u16).contains(&length),
        _ => length == 0,
    };
    if !right {
        return Err(bad_field(7, None));
    }
    Ok(u64::from(length))
}

/// SANITIZE (SBC-3 clause 5.24): overwritten, or deallocated, which is what a lost key leaves too. It never fails, so that
/// there is no failure mode to exit from.
pub(super) fn sanitize(
    array: &mut Array,
    now: Duration,
    unit: Unit,
    action: u8,
    length: u16,
    list: &[u8],
) -> Done {
    check_sanitize(array, unit, action, length)?;
    if action == sanitize::EXIT_FAILURE_MODE {
        return Ok(Vec::new());
    }
    if action != sanitize::OVERWRITE {
        array.sanitize(now, unit.device, None).map_err(io_sense)?;
        return Ok(Vec::new());
    }
    let refuse = |byte, bit| {
        let field = Some(FieldPointer { in_cdb: false, bit, byte });
        Sense { field, ..illegal(Asc::INVALID_FIELD_IN_PARAMETER_LIST) }
    };
    let [flags, reserved, high, low, pattern @ ..] = list else {
        return Err(illegal(Asc::PARAMETER_LIST_LENGTH_ERROR));
    };
    if flags & 0x1f == 0 {
        return Err(refuse(0, Some(4)));
    }
    if *reserved != 0 {
        return Err(refuse(1, None));
    }
    let stated = usize::from(u16::from_be_bytes([*high, *low]));
    if stated == 0 || stated > BLOCK as usize || stated != pattern.len() {
        return Err(refuse(2, None));
    }
    // With INVERT each pass inverts the one before; what stays is the pattern of the last.
    let inverted = flags & 0x80 != 0 && (flags & 0x1f).is_multiple_of(2);
    let last: Vec<u8> = pattern.iter().map(|byte| if inverted { !byte } else { *byte }).collect();
    array.sanitize(now, unit.device, Some(&last)).map_err(io_sense)?;
    Ok(Vec::new())
}
