//! The SCSI device server: one command in, data or sense out. Plain functions over the array and the I_T nexus.
//!
//! [`begin`] does everything that can be done before write data arrives: masking, unit attentions, checks of the CDB,
//! access states, reservations, and, for commands without write data, the work itself. [`finish`] does the work of commands
//! with write data, after looking at mapping and reservations again, since they may have changed while the data was under
//! way.
//!
//! | module | commands |
//! |---|---|
//! | `opcodes` | the table of all commands, by which the others are found, checked and reported |
//! | `medium` | reads, writes, comparisons, cache |
//! | `provisioning` | UNMAP, WRITE SAME, GET LBA STATUS |
//! | `copy` | EXTENDED COPY and its results |
//! | `reserve`, `alua`, `mode` | reservations; target port groups; mode and log pages |
//! | `inquiry`, `unit` | what the unit is; capacity, sense, LUN list, sanitize |
//! | `nexus` | what an I_T nexus was told: unit attentions |
//!
//! It must not know PDUs, sequence numbers or sockets.

mod alua;
mod copy;
mod inquiry;
mod medium;
mod mode;
mod nexus;
mod opcodes;
mod provisioning;
mod reserve;
mod unit;

use std::time::Duration;

use bytes::Bytes;
use sanbench_array::pair::Verdict;
use sanbench_array::{Array, DeviceId, Geometry, IoError, Touch};
use sanbench_wire::scsi::cdb::{Cdb, op};
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::sense::{Asc, FieldPointer, Sense, SenseKey};
use sanbench_wire::scsi::status::Status;

pub(crate) use nexus::{Nexus, NexusParts, PortIdentity};
use opcodes::Needs;

/// Block length in bytes; the array has no other.
pub(crate) const BLOCK: u64 = 512;

/// How a command, or its first half, ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// GOOD, with the data to send (already cut to the allocation length).
    Good(Vec<Bytes>),
    /// Another end.
    Failed(Failure),
    /// The command takes this many bytes of write data (more than zero); call [`finish`] with them.
    NeedData(u64),
}

/// How a command ended that is not GOOD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// CHECK CONDITION.
    Check(Sense),
    /// A status without sense: RESERVATION CONFLICT and the like.
    Status(Status),
}

impl From<Sense> for Failure {
    fn from(sense: Sense) -> Failure {
        Failure::Check(sense)
    }
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

/// First half of a command. `announced` is the expected data transfer length that came with it, in bytes.
pub(crate) fn begin(
    array: &mut Array,
    now: Duration,
    nexus: &mut Nexus,
    lun: Lun,
    raw: &[u8; 16],
    announced: u32,
) -> Outcome {
    match start(array, now, nexus, lun, raw, announced) {
        Ok(outcome) => outcome,
        Err(failure) => Outcome::Failed(failure),
    }
}

fn start(
    array: &mut Array,
    now: Duration,
    nexus: &mut Nexus,
    lun: Lun,
    raw: &[u8; 16],
    announced: u32,
) -> Result<Outcome, Failure> {
    if lun == Lun::REPORT_LUNS {
        return Ok(Outcome::Good(well_known(array, nexus, raw)?));
    }
    let unit = resolve(array, nexus, lun);
    nexus.observe(array, lun, unit);
    let command = Cdb::parse(raw);
    if nexus.defects.attention_on_inquiry
        && matches!(command, Cdb::Inquiry { .. } | Cdb::ReportLuns { .. })
        && let Some(attention) = nexus.take_attention(lun)
    {
        return Err(Sense::new(SenseKey::UNIT_ATTENTION, attention).into());
    }
    // These three answer for any LUN and leave unit attentions alone (SPC-4 clauses 6.6, 6.33, 6.39; SAM-5 clause 5.14).
    match command {
        Cdb::Inquiry { evpd, page, allocation } => {
            opcodes::find(raw, |_| true)?;
            return Ok(Outcome::Good(inquiry::inquiry(array, nexus, unit, evpd, page, allocation)?));
        }
        Cdb::ReportLuns { select, allocation } => {
            opcodes::find(raw, |_| true)?;
            return Ok(Outcome::Good(unit::report_luns(array, nexus, select, allocation)?));
        }
        Cdb::RequestSense { descriptor, allocation } => {
            opcodes::find(raw, |_| true)?;
            return Ok(Outcome::Good(unit::request_sense(nexus, lun, unit, descriptor, allocation)));
        }
        _ => {}
    }
    let unit = unit.ok_or(illegal(Asc::LOGICAL_UNIT_NOT_SUPPORTED))?;
    if let Some(attention) = nexus.take_attention(lun) {
        return Err(Sense::new(SenseKey::UNIT_ATTENTION, attention).into());
    }
    let entry = opcodes::find(raw, |needs| present(array, nexus, unit, needs))?;
    alua::check(array, nexus, unit, entry)?;
    if conflicts(array, nexus, unit, touch(command, entry.touch)) {
        return Err(Failure::Status(Status::RESERVATION_CONFLICT));
    }
    match data_out_length(array, unit, command, announced)? {
        Some(bytes) => Ok(Outcome::NeedData(bytes)),
        None => execute(array, now, nexus, unit, command).map(Outcome::Good),
    }
}

/// Second half of a command that takes write data. `device` is the one that [`begin`] saw; `data` may be shorter than
/// asked for when the initiator announced less.
pub(crate) fn finish(
    array: &mut Array,
    now: Duration,
    nexus: &mut Nexus,
    lun: Lun,
    device: DeviceId,
    raw: &[u8; 16],
    data: &[u8],
) -> Result<Vec<Bytes>, Failure> {
    let unit = resolve(array, nexus, lun).filter(|unit| unit.device == device);
    let unit = unit.ok_or(illegal(Asc::LOGICAL_UNIT_NOT_SUPPORTED))?;
    let entry = opcodes::find(raw, |needs| present(array, nexus, unit, needs))?;
    // Whoever was shut out meanwhile changes nothing any more.
    if conflicts(array, nexus, unit, entry.touch) {
        return Err(Failure::Status(Status::RESERVATION_CONFLICT));
    }
    Ok(match Cdb::parse(raw) {
        Cdb::Write(t) => medium::write(array, now, unit, t, data)?,
        Cdb::Verify(v) => medium::verify_data(array, now, unit, v, data)?,
        Cdb::WriteAndVerify(v) => medium::write_verify(array, now, unit, v, data)?,
        Cdb::OrWrite(t) => medium::or_write(array, now, unit, t, data)?,
        Cdb::CompareAndWrite(t) => medium::compare_and_write(array, now, nexus, unit, t, data)?,
        Cdb::WriteAtomic { transfer, boundary } => {
            medium::write_atomic(array, now, unit, transfer, boundary, data)?
        }
        Cdb::WriteSame(w) => provisioning::write_same(array, now, unit, w, Some(data))?,
        Cdb::Unmap { .. } => provisioning::unmap(array, now, nexus, unit, data)?,
        Cdb::ModeSelect { width, save, .. } => mode::select(array, now, nexus, unit, width, save, data)?,
        Cdb::PersistentReserveOut { action, kind, .. } => {
            reserve::change(array, nexus, unit, action, kind, data)?;
            Vec::new()
        }
        Cdb::SetTargetPortGroups { .. } => alua::set(array, now, nexus, unit, data)?,
        Cdb::ExtendedCopy { .. } => {
            copy::copy(array, now, nexus, data)?;
            Vec::new()
        }
        Cdb::Sanitize { action, parameter_length, .. } => {
            unit::sanitize(array, now, unit, action, parameter_length, data)?
        }
        _ => return Err(illegal(Asc::INVALID_OPERATION_CODE).into()),
    })
}

/// What an answer has to wait for when its command has made a promise (see [`Array::promised`]): the promise, and the device.
pub(crate) fn promise_since(
    array: &Array,
    before: u64,
    nexus: &Nexus,
    lun: Lun,
) -> Option<(u64, Option<DeviceId>)> {
    let promise = array.promised();
    (promise > before).then(|| (promise, resolve(array, nexus, lun).map(|unit| unit.device)))
}

/// A logical unit was reset, by whatever path: what hangs on it returns to its beginnings.
pub(crate) fn reset_unit(array: &mut Array, device: DeviceId) {
    if let Some(reservations) = array.reservations_mut(device) {
        reservations.reset();
    }
}

/// Every logical unit that this nexus may reach was reset.
pub(crate) fn reset_all(array: &mut Array, nexus: &Nexus) {
    for (_, device) in array.view(&nexus.iqn) {
        reset_unit(array, device);
    }
}

/// Sense data in the format that the unit is set to (D_SENSE).
pub(crate) fn sense_bytes(array: &Array, nexus: &Nexus, lun: Lun, sense: &Sense) -> Bytes {
    let device = lun.number().and_then(|number| array.resolve(&nexus.iqn, number));
    let state = device.and_then(|device| array.reservations(device));
    if state.is_some_and(|state| state.mode().descriptor_sense) {
        Bytes::from(sense.build_descriptor())
    } else {
        Bytes::copy_from_slice(&sense.build_fixed())
    }
}

/// The REPORT LUNS well-known logical unit (SPC-4 clause 8.2).
fn well_known(array: &Array, nexus: &mut Nexus, raw: &[u8; 16]) -> Done {
    let command = Cdb::parse(raw);
    let known = matches!(raw[0], op::INQUIRY | op::REPORT_LUNS | op::REQUEST_SENSE | op::TEST_UNIT_READY);
    if !known {
        return Err(illegal(Asc::INVALID_OPERATION_CODE));
    }
    opcodes::find(raw, |_| true)?;
    match command {
        Cdb::Inquiry { evpd, page, allocation } => inquiry::well_known(array, nexus, evpd, page, allocation),
        Cdb::ReportLuns { select, allocation } => unit::report_luns(array, nexus, select, allocation),
        Cdb::RequestSense { descriptor, allocation } => {
            let sense = Sense::new(SenseKey::NO_SENSE, Asc::NO_ADDITIONAL_SENSE);
            Ok(unit::sense_data(&sense, descriptor, allocation))
        }
        _ => Ok(Vec::new()),
    }
}

/// Whether what a command needs is there.
fn present(array: &Array, nexus: &Nexus, unit: Unit, needs: Needs) -> bool {
    match needs {
        Needs::Nothing => true,
        Needs::Thin => provisioning::is_thin(array, unit),
        Needs::ExplicitAlua => array.alua_modes().1,
        Needs::Sanitize => nexus.allow_sanitize,
    }
}

/// What a command touches, where that depends on more than its code (SBC-3 table 12).
fn touch(command: Cdb, touch: Touch) -> Touch {
    match command {
        Cdb::StartStopUnit { start: true, .. } | Cdb::PreventAllow { prevent: 0 } => Touch::Nothing,
        _ => touch,
    }
}

/// Whether a reservation shuts this nexus out.
fn conflicts(array: &Array, nexus: &Nexus, unit: Unit, touch: Touch) -> bool {
    array.reservations(unit.device).is_some_and(|state| !state.is_idle() && state.conflicts(&nexus.id, touch))
        && !nexus.defects.conflict_not_reported
}

/// How much write data a command takes, after its checks; `None` when it takes none.
fn data_out_length(array: &Array, unit: Unit, command: Cdb, announced: u32) -> Result<Option<u64>, Sense> {
    let bytes = match command {
        // 256 blocks look like none; whoever has data for them must not believe that they were written.
        Cdb::CompareAndWrite(t) if t.blocks == 0 && announced > 0 => return Err(bad_field(13, None)),
        Cdb::Write(t) | Cdb::OrWrite(t) => medium::check_write(array, unit, t)?,
        Cdb::Verify(v) if v.byte_check != 0 => medium::check_verify(unit, v)?,
        Cdb::WriteAndVerify(v) => medium::check_write_verify(array, unit, v)?,
        Cdb::CompareAndWrite(t) => medium::check_compare_write(array, unit, t)?,
        Cdb::WriteAtomic { transfer, boundary } => medium::check_atomic(array, unit, transfer, boundary)?,
        Cdb::WriteSame(w) if !w.no_data_out => {
            provisioning::check_write_same(array, unit, w)?;
            BLOCK
        }
        Cdb::Unmap { parameter_length, .. } => {
            provisioning::check_unmap(array, unit, parameter_length)?;
            u64::from(parameter_length)
        }
        Cdb::ModeSelect { page_format, parameter_length, .. } => {
            mode::check_select(page_format, parameter_length)?
        }
        Cdb::PersistentReserveOut { action, scope, kind, parameter_length } => {
            reserve::check_change(action, scope, kind, parameter_length)?
        }
        Cdb::SetTargetPortGroups { parameter_length } => alua::check_set(parameter_length)?,
        Cdb::ExtendedCopy { parameter_length } => copy::check(parameter_length)?,
        Cdb::Sanitize { action, parameter_length, .. } => {
            unit::check_sanitize(array, unit, action, parameter_length)?
        }
        _ => return Ok(None),
    };
    Ok(Some(bytes).filter(|bytes| *bytes > 0))
}

/// Commands that need nothing more from the initiator, those with a length of zero included.
fn execute(
    array: &mut Array,
    now: Duration,
    nexus: &mut Nexus,
    unit: Unit,
    command: Cdb,
) -> Result<Vec<Bytes>, Failure> {
    Ok(match command {
        Cdb::TestUnitReady => ready(unit).map(|()| Vec::new())?,
        Cdb::Read(t) => medium::read(array, now, unit, t)?,
        Cdb::Verify(v) => medium::check_verify(unit, v).map(|_| Vec::new())?,
        Cdb::PreFetch { lba, blocks, .. } => medium::pre_fetch(unit, lba, blocks)?,
        Cdb::SynchronizeCache { lba, blocks, .. } => medium::synchronize(array, now, unit, lba, blocks)?,
        Cdb::ReadDefectData { width, primary, grown, format, allocation } => {
            let flags = u8::from(primary) << 1 | u8::from(grown);
            medium::defect_data(width, flags, format, allocation)?
        }
        Cdb::WriteSame(w) => {
            provisioning::check_write_same(array, unit, w)?;
            provisioning::write_same(array, now, unit, w, None)?
        }
        Cdb::ReadCapacity10 => unit::read_capacity_10(unit)?,
        Cdb::ReadCapacity16 { allocation } => unit::read_capacity_16(array, unit, allocation)?,
        Cdb::GetLbaStatus { lba, allocation } => provisioning::lba_status(array, unit, lba, allocation)?,
        Cdb::ModeSense { width, no_descriptors, control, page, subpage, allocation, .. } => {
            let which = (page, subpage);
            mode::sense(array, nexus, unit, (width, no_descriptors), control, which, allocation)?
        }
        Cdb::LogSense { save, control, page, subpage, pointer, allocation } => {
            mode::log_sense(save, control, page, subpage, pointer, allocation)?
        }
        // A virtual unit is always started, and nothing can be removed from it.
        Cdb::StartStopUnit { .. } | Cdb::PreventAllow { .. } => Vec::new(),
        Cdb::PersistentReserveIn { action, allocation } => reserve::read(array, unit, action, allocation)?,
        Cdb::Reserve { .. } => {
            reserve::reserve_unit(array, nexus, unit)?;
            Vec::new()
        }
        Cdb::Release { .. } => {
            reserve::release_unit(array, nexus, unit)?;
            Vec::new()
        }
        Cdb::ReportTargetPortGroups { extended, allocation } => {
            alua::report(array, nexus, unit, extended, allocation)?
        }
        Cdb::ReportSupportedOpcodes { timeouts, option, opcode, action, allocation } => {
            let present = |needs| present(array, nexus, unit, needs);
            opcodes::report(timeouts, option, opcode, action, allocation, present)?
        }
        Cdb::ReportTaskFunctions { extended, allocation } => unit::task_functions(extended, allocation)?,
        Cdb::ReceiveCopyResults { action, list, allocation } => {
            copy::receive(nexus, action, list, allocation)?
        }
        Cdb::Sanitize { action, parameter_length, .. } => {
            unit::sanitize(array, now, unit, action, parameter_length, &[])?
        }
        // Nothing to write, unmap, set or copy.
        Cdb::Write(_)
        | Cdb::WriteAndVerify(_)
        | Cdb::OrWrite(_)
        | Cdb::CompareAndWrite(_)
        | Cdb::WriteAtomic { .. }
        | Cdb::Unmap { .. }
        | Cdb::ModeSelect { .. }
        | Cdb::SetTargetPortGroups { .. }
        | Cdb::ExtendedCopy { .. } => Vec::new(),
        Cdb::Inquiry { .. }
        | Cdb::ReportLuns { .. }
        | Cdb::RequestSense { .. }
        | Cdb::PersistentReserveOut { .. }
        | Cdb::Unknown(_) => return Err(illegal(Asc::INVALID_OPERATION_CODE).into()),
    })
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

fn writable(array: &Array, unit: Unit) -> Result<(), Sense> {
    ready(unit)?;
    if unit.geometry.read_only {
        return Err(Sense::new(SenseKey::DATA_PROTECT, Asc::WRITE_PROTECTED));
    }
    if mode::protected(array, unit) {
        return Err(Sense::new(SenseKey::DATA_PROTECT, Asc::SOFTWARE_WRITE_PROTECTED));
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
        IoError::Inaccessible => Sense::new(SenseKey::NOT_READY, Asc::PORT_IN_UNAVAILABLE_STATE),
        IoError::Gone => illegal(Asc::LOGICAL_UNIT_NOT_SUPPORTED),
        IoError::Unreadable { lba } => Sense {
            information: Some(lba),
            ..Sense::new(SenseKey::MEDIUM_ERROR, Asc::UNRECOVERED_READ_ERROR)
        },
    }
}

/// How a command ended that the other half of a pair had to hear of.
pub(crate) fn mirrored(verdict: Verdict) -> Result<(), Failure> {
    match verdict {
        Verdict::Done => Ok(()),
        Verdict::Failed(error) => Err(io_sense(error).into()),
        Verdict::Miscompare(offset) => Err(medium::miscompare(offset as usize).into()),
    }
}

/// Parameter data cut to the allocation length.
fn cut(data: impl Into<Vec<u8>>, allocation: usize) -> Vec<Bytes> {
    let mut data = data.into();
    data.truncate(allocation);
    if data.is_empty() { Vec::new() } else { vec![Bytes::from(data)] }
}
