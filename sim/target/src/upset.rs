//! What the fault plan does to commands that arrive: statuses without work, unit attentions, resets by somebody else.
//!
//! The world knows error codes only as numbers ([`sanbench_world::Wrong::Code`]). Here they are, at the points
//! `target.command.before...`: up to FFh a status (SAM-5 table 34), above it CHECK CONDITION as sense key, ASC and ASCQ.

use std::time::Duration;

use sanbench_wire::frame::RawPdu;
use sanbench_wire::pdu::ScsiCommand;
use sanbench_wire::scsi::cdb::op::{INQUIRY, REPORT_LUNS, REQUEST_SENSE};
use sanbench_wire::scsi::sense::{Asc, Sense, SenseKey};
use sanbench_wire::scsi::status::Status;

use crate::common::Common;
use crate::full::Full;
use crate::scsi;

/// BUSY.
pub const BUSY: i64 = Status::BUSY.0 as i64;
/// TASK SET FULL.
pub const TASK_SET_FULL: i64 = Status::TASK_SET_FULL.0 as i64;
/// RESERVATION CONFLICT.
pub const RESERVATION_CONFLICT: i64 = Status::RESERVATION_CONFLICT.0 as i64;
/// NOT READY: logical unit not ready, manual intervention required (04h/03h): it is offline.
pub const NOT_READY: i64 = (SenseKey::NOT_READY.0 as i64) << 16 | 0x0403;
/// Unit attention: power on, reset, or bus device reset occurred (29h/00h).
pub const POWER_ON_RESET: i64 = attention(Asc::POWER_ON_RESET);
/// The logical unit is reset as by another initiator's LOGICAL UNIT RESET: every nexus loses its tasks there and meets the unit
/// attention bus device reset function occurred (29h/03h).
pub const LUN_RESET: i64 = attention(Asc::BUS_DEVICE_RESET);

const fn attention(asc: Asc) -> i64 {
    (SenseKey::UNIT_ATTENTION.0 as i64) << 16 | asc.0 as i64
}

impl Full {
    /// Does to a command what `code` says; whether the command then goes its way. A unit attention is queued for the command's
    /// unit before it is looked at, so that INQUIRY and REPORT LUNS pass it by (SPC-4 clauses 6.6, 6.33).
    pub(crate) fn upset(&mut self, common: &mut Common, now: Duration, raw: &RawPdu, code: i64) -> bool {
        // What tells of the unit itself is answered in any state of it (SPC-4 clauses 6.6, 6.33, 6.39).
        let tells = matches!(raw.bhs.0[32], INQUIRY | REPORT_LUNS | REQUEST_SENSE);
        if tells && matches!(code, RESERVATION_CONFLICT | NOT_READY) {
            return true;
        }
        if let Ok(status) = u8::try_from(code) {
            self.refuse_command(common, now, raw, scsi::Failure::Status(Status(status)));
            return false;
        }
        if code == NOT_READY {
            let sense = Sense::new(SenseKey::NOT_READY, Asc(0x0403));
            self.refuse_command(common, now, raw, sense.into());
            return false;
        }
        let asc =
            (code >> 16 == i64::from(SenseKey::UNIT_ATTENTION.0)).then_some(Asc((code & 0xffff) as u16));
        let Some(asc) = asc else {
            self.fail_command(common, now, raw);
            return false;
        };
        let Ok(command) = ScsiCommand::parse(raw) else { return true };
        let device = {
            let array = common.array.lock();
            self.nexus.as_ref().and_then(|nexus| scsi::resolve(&array, nexus, command.lun)).map(|u| u.device)
        };
        match (device, &mut self.nexus) {
            (Some(device), _) if asc == Asc::BUS_DEVICE_RESET => self.reset_device(common, device),
            (Some(device), Some(nexus)) => nexus.alert(device, asc),
            _ => {}
        }
        true
    }
}
