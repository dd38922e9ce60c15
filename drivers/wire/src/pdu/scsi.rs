//! SCSI Command and SCSI Response (RFC 7143 sections 11.3 and 11.4).

use bytes::{BufMut, Bytes, BytesMut};

use super::{Malformed, expect_opcode};
use crate::bhs::{Bhs, Opcode};
use crate::codes::codes;
use crate::frame::RawPdu;
use crate::scsi::luns::Lun;
use crate::scsi::status::Status;

codes! {
    /// Task attribute of a command; three bits.
    TaskAttribute(u8) {
        UNTAGGED = 0, "untagged";
        SIMPLE = 1, "simple";
        ORDERED = 2, "ordered";
        HEAD_OF_QUEUE = 3, "head of queue";
        ACA = 4, "ACA";
    }
}

/// SCSI Command, opcode `01h`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScsiCommand {
    /// I bit.
    pub immediate: bool,
    /// F bit: no unsolicited Data-Out follows.
    pub last: bool,
    /// R bit: data is expected to come in.
    pub read: bool,
    /// W bit: data is expected to go out.
    pub write: bool,
    /// Task attribute.
    pub attribute: TaskAttribute,
    /// Logical unit.
    pub lun: Lun,
    /// Initiator task tag.
    pub itt: u32,
    /// Expected data transfer length, bytes (of the write for a bidirectional command).
    pub expected_length: u32,
    /// Command sequence number.
    pub cmd_sn: u32,
    /// Next StatSN expected.
    pub exp_stat_sn: u32,
    /// First sixteen bytes of the CDB.
    pub cdb: [u8; 16],
    /// Additional header segments as they stand (extended CDB, bidirectional length); a multiple of four bytes.
    pub ahs: Bytes,
    /// Immediate data.
    pub data: Bytes,
}

impl ScsiCommand {
    /// Reads the PDU.
    pub fn parse(raw: &RawPdu) -> Result<ScsiCommand, Malformed> {
        expect_opcode(raw, Opcode::ScsiCommand)?;
        let b = &raw.bhs;
        let mut cdb = [0; 16];
        cdb.copy_from_slice(&b.0[32..48]);
        Ok(ScsiCommand {
            immediate: b.immediate(),
            last: b.is_final(),
            read: b.flags() & 0x40 != 0,
            write: b.flags() & 0x20 != 0,
            attribute: TaskAttribute(b.flags() & 7),
            lun: b.lun(),
            itt: b.itt(),
            expected_length: b.u32(20),
            cmd_sn: b.u32(24),
            exp_stat_sn: b.u32(28),
            cdb,
            ahs: raw.ahs.clone(),
            data: raw.data.clone(),
        })
    }

    /// The header alone, for immediate data given in parts to [`crate::frame::Outbox::push_parts`].
    pub fn header(&self) -> Bhs {
        let flags = if self.last { 0x80 } else { 0 }
            | if self.read { 0x40 } else { 0 }
            | if self.write { 0x20 } else { 0 }
            | self.attribute.0 & 7;
        let mut b = Bhs::new(Opcode::ScsiCommand, self.immediate, flags);
        b.set_lun(self.lun);
        b.put_u32(16, self.itt);
        b.put_u32(20, self.expected_length);
        b.put_u32(24, self.cmd_sn);
        b.put_u32(28, self.exp_stat_sn);
        b.0[32..48].copy_from_slice(&self.cdb);
        b
    }

    /// Writes the PDU.
    pub fn emit(&self) -> RawPdu {
        RawPdu::new(self.header(), self.ahs.clone(), self.data.clone())
    }
}

/// The difference between what the initiator expected and what the command moved (RFC 7143 section 11.4.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Residual {
    /// As expected.
    #[default]
    None,
    /// U bit: this many bytes less than expected were moved.
    Underflow(u32),
    /// O bit: this many bytes more than expected would have been moved.
    Overflow(u32),
}

impl Residual {
    /// Compares the length that the initiator expected with the length that the command wanted to move, bytes.
    pub fn between(expected: u32, wanted: u64) -> Residual {
        let expected = u64::from(expected);
        match wanted.cmp(&expected) {
            std::cmp::Ordering::Equal => Residual::None,
            std::cmp::Ordering::Less => Residual::Underflow((expected - wanted) as u32),
            std::cmp::Ordering::Greater => {
                Residual::Overflow(u32::try_from(wanted - expected).unwrap_or(u32::MAX))
            }
        }
    }

    /// The residual count field.
    pub fn count(self) -> u32 {
        match self {
            Residual::None => 0,
            Residual::Underflow(n) | Residual::Overflow(n) => n,
        }
    }

    pub(super) fn flags(self) -> u8 {
        match self {
            Residual::None => 0,
            Residual::Underflow(_) => 0x02,
            Residual::Overflow(_) => 0x04,
        }
    }

    pub(super) fn from_flags(flags: u8, count: u32) -> Result<Residual, Malformed> {
        match flags & 0x06 {
            0 => Ok(Residual::None),
            0x02 => Ok(Residual::Underflow(count)),
            0x04 => Ok(Residual::Overflow(count)),
            _ => Err(Malformed::Field("residual overflow and underflow at once")),
        }
    }
}

codes! {
    /// iSCSI service response.
    ResponseCode(u8) {
        COMPLETED = 0, "command completed at target";
        TARGET_FAILURE = 1, "target failure";
    }
}

/// SCSI Response, opcode `21h`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScsiResponse {
    /// Service response.
    pub response: ResponseCode,
    /// SCSI status, meaningful when the command completed.
    pub status: Status,
    /// Residual of the transfer (of the write part for a bidirectional command).
    pub residual: Residual,
    /// Tag of the command.
    pub itt: u32,
    /// SNACK tag, else 0.
    pub snack_tag: u32,
    /// Status sequence number.
    pub stat_sn: u32,
    /// Next CmdSN expected.
    pub exp_cmd_sn: u32,
    /// Last CmdSN acceptable.
    pub max_cmd_sn: u32,
    /// Number of Data-In and R2T PDUs that the target sent for the command.
    pub exp_data_sn: u32,
    /// Sense data, empty when there is none; at most 65,535 bytes.
    pub sense: Bytes,
    /// Response data after the sense data, rarely used.
    pub response_data: Bytes,
}

impl ScsiResponse {
    /// Reads the PDU.
    pub fn parse(raw: &RawPdu) -> Result<ScsiResponse, Malformed> {
        expect_opcode(raw, Opcode::ScsiResponse)?;
        let b = &raw.bhs;
        let (sense, response_data) = if raw.data.is_empty() {
            (Bytes::new(), Bytes::new())
        } else {
            let Some(len) = raw.data.first_chunk::<2>() else {
                return Err(Malformed::Field("sense length is cut off"));
            };
            let end = 2 + usize::from(u16::from_be_bytes(*len));
            if end > raw.data.len() {
                return Err(Malformed::Field("sense length is over the data segment"));
            }
            (raw.data.slice(2..end), raw.data.slice(end..))
        };
        Ok(ScsiResponse {
            response: ResponseCode(b.0[2]),
            status: Status(b.0[3]),
            residual: Residual::from_flags(b.flags(), b.u32(44))?,
            itt: b.itt(),
            snack_tag: b.u32(20),
            stat_sn: b.u32(24),
            exp_cmd_sn: b.u32(28),
            max_cmd_sn: b.u32(32),
            exp_data_sn: b.u32(36),
            sense,
            response_data,
        })
    }

    /// Writes the PDU.
    pub fn emit(&self) -> RawPdu {
        let mut b = Bhs::new(Opcode::ScsiResponse, false, 0x80 | self.residual.flags());
        b.0[2] = self.response.0;
        b.0[3] = self.status.0;
        b.put_u32(16, self.itt);
        b.put_u32(20, self.snack_tag);
        b.put_u32(24, self.stat_sn);
        b.put_u32(28, self.exp_cmd_sn);
        b.put_u32(32, self.max_cmd_sn);
        b.put_u32(36, self.exp_data_sn);
        b.put_u32(44, self.residual.count());
        let mut data = BytesMut::new();
        if !self.sense.is_empty() || !self.response_data.is_empty() {
            let sense = &self.sense[..self.sense.len().min(usize::from(u16::MAX))];
            data.put_u16(sense.len() as u16);
            data.put_slice(sense);
            data.put_slice(&self.response_data);
        }
        RawPdu::new(b, Bytes::new(), data.freeze())
    }
}
