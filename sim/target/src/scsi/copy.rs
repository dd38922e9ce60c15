//! EXTENDED COPY with list identifiers of one byte, and RECEIVE COPY RESULTS (SPC-4 clauses 5.17, 6.4, 6.21 to 6.24).
//!
//! The copy is done when its command is answered. Source and destination are units that the nexus itself may reach, and
//! what a reservation or an access state refuses to the nexus it refuses to the copy.

use std::collections::BTreeMap;
use std::time::Duration;

use sanbench_array::{Array, DeviceId, Touch};
use sanbench_wire::scsi::copy::{
    CSCD_BYTES, CSCD_IDENTIFICATION, CopyStatus, Cscd, HEADER_BYTES, Header, OperatingParameters,
    SEGMENT_BLOCK_TO_BLOCK, SEGMENT_BYTES, Segment, results,
};
use sanbench_wire::scsi::sense::{Asc, FieldPointer, Sense, SenseKey};
use sanbench_wire::scsi::status::Status;

use super::{BLOCK, Done, Failure, Nexus, Unit, bad_field, conflicts, cut, illegal, medium, writable};

/// CSCD descriptors in one list, at most.
const MAX_CSCDS: usize = 16;
/// Segments in one list, at most.
const MAX_SEGMENTS: usize = 64;
/// Blocks of one segment, at most (8 MiB).
const MAX_SEGMENT_BLOCKS: u16 = 16_384;
/// Longest parameter list, bytes.
const MAX_LIST: usize = HEADER_BYTES + MAX_CSCDS * CSCD_BYTES + MAX_SEGMENTS * SEGMENT_BYTES;
/// LIST ID USAGE: the results need not be kept, and there is no list identifier.
const NO_LIST: u8 = 3;
/// LIST ID USAGE: the results need not be kept.
const DISCARD: u8 = 2;

/// What became of the copies of a nexus, by list identifier (so that there are 256 at most).
#[derive(Debug, Default)]
pub(super) struct CopyResults(BTreeMap<u8, (CopyStatus, Option<Sense>)>);

fn bad_parameter(byte: usize) -> Sense {
    let field = Some(FieldPointer { in_cdb: false, bit: None, byte: byte as u16 });
    Sense { field, ..illegal(Asc::INVALID_FIELD_IN_PARAMETER_LIST) }
}

/// Checks an EXTENDED COPY before its list is asked for.
pub(super) fn check(length: u32) -> Result<u64, Sense> {
    match length as usize {
        0 => Ok(0),
        HEADER_BYTES..=MAX_LIST => Ok(u64::from(length)),
        _ => Err(illegal(Asc::PARAMETER_LIST_LENGTH_ERROR)),
    }
}

/// Does an EXTENDED COPY. Every descriptor is checked before the first block moves.
pub(super) fn copy(array: &mut Array, now: Duration, nexus: &mut Nexus, list: &[u8]) -> Result<(), Failure> {
    if list.is_empty() {
        return Ok(());
    }
    let short = illegal(Asc::PARAMETER_LIST_LENGTH_ERROR);
    let header = Header::parse(list).map_err(|_| short)?;
    let (units, segments) = (usize::from(header.cscd_bytes), header.segment_bytes as usize);
    if header.usage == 1 {
        return Err(bad_parameter(1).into());
    }
    if header.usage == NO_LIST && header.list != 0 {
        return Err(bad_parameter(0).into());
    }
    if !units.is_multiple_of(CSCD_BYTES) {
        return Err(bad_parameter(2).into());
    }
    if units > MAX_CSCDS * CSCD_BYTES {
        return Err(illegal(Asc::TOO_MANY_TARGET_DESCRIPTORS).into());
    }
    if segments > MAX_SEGMENTS * SEGMENT_BYTES {
        return Err(illegal(Asc::TOO_MANY_SEGMENT_DESCRIPTORS).into());
    }
    if header.inline_bytes != 0 {
        return Err(illegal(Asc::INLINE_DATA_TOO_LONG).into());
    }
    let units_end = HEADER_BYTES + units;
    if units_end + segments > list.len() {
        return Err(short.into());
    }
    // A list identifier is in use until its results are given up (SPC-4 clause 6.4.3); here a new list replaces an old one.
    let found = resolve_all(array, nexus, &list[HEADER_BYTES..units_end])?;
    let plan = plan(&list[units_end..units_end + segments], units_end, &found)?;
    let mut status = CopyStatus { status: 1, ..CopyStatus::default() };
    let mut done = Ok(());
    for segment in plan {
        done = one(array, now, nexus, &found, segment);
        if done.is_err() {
            status.status = 2;
            break;
        }
        status.segments += 1;
        status.bytes = status.bytes.saturating_add(u32::from(segment.blocks) * BLOCK as u32);
    }
    if header.usage != NO_LIST && (header.usage != DISCARD || done.is_err()) {
        let sense = match &done {
            Err(Failure::Check(sense)) => Some(*sense),
            _ => None,
        };
        nexus.copies.0.insert(header.list, (status, sense));
    }
    done
}

/// The units of the CSCD descriptors. `None` is one that the nexus may not reach: an error only for a segment that uses it.
fn resolve_all(array: &Array, nexus: &Nexus, list: &[u8]) -> Result<Vec<Option<Unit>>, Sense> {
    let view = array.view(&nexus.iqn);
    let mut devices: Vec<DeviceId> = view.into_iter().map(|(_, device)| device).collect();
    if nexus.defects.copy_unchecked {
        devices.extend(array.luns().map(|lun| DeviceId::Lun(lun.id)));
    }
    let mut found = Vec::new();
    for (n, descriptor) in list.chunks_exact(CSCD_BYTES).enumerate() {
        let at = HEADER_BYTES + n * CSCD_BYTES;
        if descriptor[0] != CSCD_IDENTIFICATION {
            return Err(illegal(Asc::UNSUPPORTED_TARGET_DESCRIPTOR));
        }
        let cscd = Cscd::parse(descriptor).map_err(|_| bad_parameter(at + 7))?;
        if cscd.device_type != 0 {
            return Err(Sense::new(SenseKey::COPY_ABORTED, Asc::INCORRECT_COPY_TARGET_TYPE));
        }
        if cscd.block_length != 0 && u64::from(cscd.block_length) != BLOCK {
            return Err(bad_parameter(at + 29));
        }
        let named = |device: &DeviceId| {
            array.device(*device).is_some_and(|info| {
                cscd.code_set == 1
                    && cscd.kind == 3
                    && cscd.association == 0
                    && info.wwn == cscd.designator[..]
            })
        };
        let device = devices.iter().copied().find(named);
        found.push(device.and_then(|device| Some(Unit { device, geometry: array.geometry(device)? })));
    }
    Ok(found)
}

/// The segments, each checked against the table of units.
fn plan(list: &[u8], start: usize, units: &[Option<Unit>]) -> Result<Vec<Segment>, Sense> {
    let mut plan = Vec::new();
    let mut at = 0;
    while at < list.len() {
        if list[at] != SEGMENT_BLOCK_TO_BLOCK {
            return Err(illegal(Asc::UNSUPPORTED_SEGMENT_DESCRIPTOR));
        }
        let segment = Segment::parse(&list[at..]).map_err(|_| bad_parameter(start + at + 2))?;
        if segment.blocks > MAX_SEGMENT_BLOCKS {
            return Err(bad_parameter(start + at + 10));
        }
        for index in [segment.source, segment.destination] {
            match units.get(usize::from(index)) {
                None => return Err(Sense::new(SenseKey::COPY_ABORTED, Asc::UNREACHABLE_COPY_TARGET)),
                Some(None) => {
                    return Err(Sense::new(SenseKey::COPY_ABORTED, Asc::COPY_TARGET_NOT_REACHABLE));
                }
                Some(Some(_)) => {}
            }
        }
        plan.push(segment);
        at += SEGMENT_BYTES;
    }
    Ok(plan)
}

fn one(
    array: &mut Array,
    now: Duration,
    nexus: &Nexus,
    units: &[Option<Unit>],
    segment: Segment,
) -> Result<(), Failure> {
    let unit = |index: u16| units.get(usize::from(index)).copied().flatten();
    let (Some(from), Some(to)) = (unit(segment.source), unit(segment.destination)) else {
        return Err(Sense::new(SenseKey::COPY_ABORTED, Asc::COPY_TARGET_NOT_REACHABLE).into());
    };
    let denied = [(from, Touch::Read), (to, Touch::Write)]
        .into_iter()
        .any(|(unit, touch)| conflicts(array, nexus, unit, touch));
    if denied {
        return Err(Failure::Status(Status::RESERVATION_CONFLICT));
    }
    for unit in [from, to] {
        if !super::alua::is_active(array, nexus, unit) || !unit.geometry.online {
            return Err(Sense::new(SenseKey::COPY_ABORTED, Asc::COPY_TARGET_NOT_REACHABLE).into());
        }
    }
    writable(array, to).map_err(|sense| Sense { key: SenseKey::COPY_ABORTED, ..sense })?;
    let blocks = u64::from(segment.blocks);
    let fits = |unit: Unit, lba: u64| lba.checked_add(blocks).is_some_and(|end| end <= unit.geometry.blocks);
    if !fits(from, segment.source_lba) || !fits(to, segment.destination_lba) {
        return Err(Sense::new(SenseKey::COPY_ABORTED, Asc::NO_ADDITIONAL_SENSE).into());
    }
    array
        .copy_blocks(now, from.device, segment.source_lba, to.device, segment.destination_lba, blocks)
        .map_err(|error| medium::copy_error(error).into())
}

/// RECEIVE COPY RESULTS.
pub(super) fn receive(nexus: &Nexus, what: u8, list: u8, allocation: u32) -> Done {
    let known = nexus.copies.0.get(&list);
    let data = match what {
        results::COPY_STATUS => known.ok_or(bad_field(2, None))?.0.build().to_vec(),
        results::OPERATING_PARAMETERS => OperatingParameters {
            no_list: true,
            cscds: MAX_CSCDS as u16,
            segments: MAX_SEGMENTS as u16,
            list_bytes: MAX_LIST as u32,
            segment_bytes: u32::from(MAX_SEGMENT_BLOCKS) * BLOCK as u32,
            concurrent: 1,
            granularity: BLOCK.trailing_zeros() as u8,
        }
        .build(),
        results::FAILED_SEGMENT_DETAILS => {
            let sense = known.and_then(|(_, sense)| *sense).ok_or(bad_field(2, None))?.build_fixed();
            let mut data = vec![0; 60];
            data[56] = Status::CHECK_CONDITION.0;
            data[58..60].copy_from_slice(&(sense.len() as u16).to_be_bytes());
            data.extend_from_slice(&sense);
            let length = (data.len() - 4) as u32;
            data[..4].copy_from_slice(&length.to_be_bytes());
            data
        }
        _ => return Err(bad_field(1, Some(4))),
    };
    Ok(cut(data, allocation as usize))
}

/// A list for tests and tools is built by the wire crate; here only its limits are known.
#[cfg(test)]
mod tests {
    use super::*;
    use sanbench_wire::scsi::copy as wire;

    #[test]
    fn a_list_is_bounded() {
        let list = wire::build_list(
            0,
            0,
            &vec![Cscd::naa(&[0; 16]); MAX_CSCDS],
            &[Segment::default(); MAX_SEGMENTS],
        );
        assert_eq!(list.len(), MAX_LIST);
        assert!(check(list.len() as u32).is_ok());
        assert!(check(list.len() as u32 + 1).is_err());
    }
}
