//! The SCSI device server: one command in, data or sense out. Plain functions over the array and the I_T nexus.
//!
//! [`begin`] does everything that can be done before write data arrives: masking, unit attentions, checks of the CDB,
//! and, for commands without write data, the work itself. [`finish`] does the work of commands with write data, after
//! looking at the mapping again, since it may have been revoked while the data was under way.
//!
//! It must not know PDUs, sequence numbers or sockets.

mod inquiry;
mod medium;
mod nexus;
mod provisioning;
mod unit;

use std::time::Duration;

use bytes::Bytes;
use sanbench_array::{Array, DeviceId, Geometry, IoError};
use sanbench_wire::scsi::cdb::{self, Cdb};
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::sense::{Asc, FieldPointer, Sense, SenseKey};

pub(crate) use nexus::{Nexus, PortIdentity};

/// Block length in bytes; the array has no other.
pub(crate) const BLOCK: u64 = 512;

/// How a command, or its first half, ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// GOOD, with the data to send (already cut to the allocation length).
    Good(Vec<Bytes>),
    /// CHECK CONDITION.
    Check(Sense),
    /// The command takes this many bytes of write data (more than zero); call [`finish`] with them.
    NeedData(u64),
}

/// Result of one command's work.
pub(crate) type Done = Result<Vec<Bytes>, Sense>;

/// A mapped logical unit as one command sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unit {
    pub(crate) device: DeviceId,
    pub(crate) geometry: Geometry,
}

/// The device behind a LUN for this initiator, at this moment.
pub(crate) fn resolve(array: &Array, nexus: &Nexus, lun: Lun) -> Option<Unit> {
    let device = array.resolve(&nexus.iqn, lun.number()?)?;
    Some(Unit { device, geometry: array.geometry(device)? })
}

/// First half of a command.
pub(crate) fn begin(
    array: &mut Array,
    now: Duration,
    nexus: &mut Nexus,
    lun: Lun,
    raw: &[u8; 16],
) -> Outcome {
    let unit = resolve(array, nexus, lun);
    nexus.observe(array, lun, unit);
    let command = Cdb::parse(raw);
    // These three answer for any LUN and leave unit attentions alone (SPC-4 clauses 6.6, 6.33, 6.39; SAM-5 clause 5.14).
    match command {
        Cdb::Inquiry { evpd, page, allocation } => {
            return outcome(
                check_control(raw)
                    .and_then(|()| inquiry::inquiry(array, nexus, unit, evpd, page, allocation)),
            );
        }
        Cdb::ReportLuns { select, allocation } => {
            return outcome(
                check_control(raw).and_then(|()| unit::report_luns(array, nexus, select, allocation)),
            );
        }
        Cdb::RequestSense { descriptor, allocation } => {
            return Outcome::Good(unit::request_sense(nexus, lun, unit, descriptor, allocation));
        }
        _ => {}
    }
    let Some(unit) = unit else { return Outcome::Check(illegal(Asc::LOGICAL_UNIT_NOT_SUPPORTED)) };
    if let Some(attention) = nexus.take_attention(lun) {
        return Outcome::Check(Sense::new(SenseKey::UNIT_ATTENTION, attention));
    }
    if let Err(sense) = check_control(raw) {
        return Outcome::Check(sense);
    }
    match data_out_length(array, unit, command) {
        Err(sense) => Outcome::Check(sense),
        Ok(Some(bytes)) => Outcome::NeedData(bytes),
        Ok(None) => outcome(execute(array, now, unit, command)),
    }
}

/// Second half of a command that takes write data. `device` is the one that [`begin`] saw; `data` may be shorter than
/// asked for when the initiator announced less.
pub(crate) fn finish(
    array: &mut Array,
    now: Duration,
    nexus: &Nexus,
    lun: Lun,
    device: DeviceId,
    raw: &[u8; 16],
    data: &[u8],
) -> Done {
    let unit = resolve(array, nexus, lun).filter(|unit| unit.device == device);
    let unit = unit.ok_or(illegal(Asc::LOGICAL_UNIT_NOT_SUPPORTED))?;
    match Cdb::parse(raw) {
        Cdb::Write(t) => medium::write(array, now, unit, t, data),
        Cdb::Verify(v) => medium::verify_data(array, now, unit, v, data),
        Cdb::WriteSame(w) => provisioning::write_same(array, now, unit, w, Some(data)),
        Cdb::Unmap { .. } => provisioning::unmap(array, now, unit, data),
        _ => Err(illegal(Asc::INVALID_OPERATION_CODE)),
    }
}

/// How much write data a command takes, after its checks; `None` when it takes none.
fn data_out_length(array: &Array, unit: Unit, command: Cdb) -> Result<Option<u64>, Sense> {
    let bytes = match command {
        Cdb::Write(t) => medium::check_write(unit, t)?,
        Cdb::Verify(v) if v.byte_check != 0 => medium::check_verify(unit, v)?,
        Cdb::WriteSame(w) if !w.no_data_out => {
            provisioning::check_write_same(array, unit, w)?;
            BLOCK
        }
        Cdb::Unmap { anchor, parameter_length } => {
            provisioning::check_unmap(array, unit, anchor)?;
            u64::from(parameter_length)
        }
        _ => return Ok(None),
    };
    Ok(Some(bytes).filter(|bytes| *bytes > 0))
}

/// Commands that need nothing more from the initiator, those with a length of zero included.
fn execute(array: &mut Array, now: Duration, unit: Unit, command: Cdb) -> Done {
    match command {
        Cdb::TestUnitReady => ready(unit).map(|()| Vec::new()),
        Cdb::Read(t) => medium::read(array, now, unit, t),
        Cdb::Write(_) | Cdb::Unmap { .. } => Ok(Vec::new()),
        Cdb::Verify(v) => medium::check_verify(unit, v).map(|_| Vec::new()),
        Cdb::SynchronizeCache { lba, blocks, .. } => medium::synchronize(array, now, unit, lba, blocks),
        Cdb::WriteSame(w) => {
            provisioning::check_write_same(array, unit, w)?;
            provisioning::write_same(array, now, unit, w, None)
        }
        Cdb::ReadCapacity10 => unit::read_capacity_10(unit),
        Cdb::ReadCapacity16 { allocation } => unit::read_capacity_16(array, unit, allocation),
        Cdb::GetLbaStatus { lba, allocation } => provisioning::lba_status(array, unit, lba, allocation),
        Cdb::ModeSense { width, no_descriptors, control, page, subpage, allocation, .. } => {
            unit::mode_sense(unit, width, no_descriptors, control, page, subpage, allocation)
        }
        Cdb::StartStopUnit { load_eject, power_condition, .. } => {
            unit::start_stop(load_eject, power_condition)
        }
        // The operation code is known, its service action is not (SPC-4 clause 4.2.5.2).
        Cdb::Unknown(raw) if raw[0] == cdb::op::SERVICE_ACTION_IN_16 => Err(bad_field(1, Some(4))),
        Cdb::Inquiry { .. } | Cdb::ReportLuns { .. } | Cdb::RequestSense { .. } | Cdb::Unknown(_) => {
            Err(illegal(Asc::INVALID_OPERATION_CODE))
        }
    }
}

fn outcome(done: Done) -> Outcome {
    match done {
        Ok(data) => Outcome::Good(data),
        Err(sense) => Outcome::Check(sense),
    }
}

/// NACA is not supported (SAM-5 clause 5.2: NORMACA is zero in our INQUIRY data).
fn check_control(raw: &[u8; 16]) -> Result<(), Sense> {
    if cdb::control(raw) & 0x04 == 0 {
        return Ok(());
    }
    Err(bad_field((cdb::length(raw[0]) - 1) as u16, Some(2)))
}

/// ILLEGAL REQUEST with a code.
fn illegal(asc: Asc) -> Sense {
    Sense::new(SenseKey::ILLEGAL_REQUEST, asc)
}

/// INVALID FIELD IN CDB, pointing at the field.
fn bad_field(byte: u16, bit: Option<u8>) -> Sense {
    Sense { field: Some(FieldPointer { in_cdb: true, bit, byte }), ..illegal(Asc::INVALID_FIELD_IN_CDB) }
}

/// NOT READY for a device without content (a snapshot that is not activated).
fn ready(unit: Unit) -> Result<(), Sense> {
    if unit.geometry.online {
        return Ok(());
    }
    Err(Sense::new(SenseKey::NOT_READY, Asc::NOT_READY_CAUSE_NOT_REPORTABLE))
}

fn writable(unit: Unit) -> Result<(), Sense> {
    ready(unit)?;
    if unit.geometry.read_only {
        return Err(Sense::new(SenseKey::DATA_PROTECT, Asc::WRITE_PROTECTED));
    }
    Ok(())
}

/// LBA range check; the sense names the first LBA that is not there.
fn in_range(unit: Unit, lba: u64, blocks: u64) -> Result<(), Sense> {
    let size = unit.geometry.blocks;
    // SBC-3: a transfer of zero blocks must still start on the medium.
    if lba < size && lba.checked_add(blocks).is_some_and(|end| end <= size) {
        return Ok(());
    }
    Err(Sense { information: Some(lba.max(size)), ..illegal(Asc::LBA_OUT_OF_RANGE) })
}

/// What an array error means to the initiator.
fn io_sense(error: IoError) -> Sense {
    match error {
        IoError::OutOfRange => illegal(Asc::LBA_OUT_OF_RANGE),
        IoError::NoSpace => Sense::new(SenseKey::DATA_PROTECT, Asc::SPACE_ALLOCATION_FAILED),
        IoError::ReadOnly => Sense::new(SenseKey::DATA_PROTECT, Asc::WRITE_PROTECTED),
        IoError::Offline => Sense::new(SenseKey::NOT_READY, Asc::NOT_READY_CAUSE_NOT_REPORTABLE),
        IoError::Gone => illegal(Asc::LOGICAL_UNIT_NOT_SUPPORTED),
    }
}

/// Parameter data cut to the allocation length.
fn cut(data: impl Into<Vec<u8>>, allocation: usize) -> Vec<Bytes> {
    let mut data = data.into();
    data.truncate(allocation);
    if data.is_empty() { Vec::new() } else { vec![Bytes::from(data)] }
}
