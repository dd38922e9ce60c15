//! Asynchronous Message, Reject and SNACK (RFC 7143 sections 11.9, 11.16 and 11.17).

use bytes::Bytes;

use super::{Malformed, expect_opcode};
use crate::bhs::{Bhs, Opcode, RESERVED_TAG};
use crate::codes::codes;
use crate::frame::RawPdu;
use crate::scsi::luns::Lun;

codes! {
    /// What an Asynchronous Message tells.
    AsyncEvent(u8) {
        SCSI = 0, "SCSI asynchronous event";
        LOGOUT_REQUESTED = 1, "target requests logout";
        CONNECTION_DROPPED = 2, "target will drop the connection";
        SESSION_DROPPED = 3, "target will drop the session";
        NEGOTIATION_REQUESTED = 4, "target requests parameter negotiation";
        TASKS_TERMINATED = 5, "tasks of a logical unit are terminated";
        VENDOR = 255, "vendor specific";
    }
}

/// Asynchronous Message, opcode `32h`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsyncMessage {
    /// Logical unit, for SCSI events.
    pub lun: Lun,
    /// Status sequence number.
    pub stat_sn: u32,
    /// Next CmdSN expected.
    pub exp_cmd_sn: u32,
    /// Last CmdSN acceptable.
    pub max_cmd_sn: u32,
    /// Event.
    pub event: AsyncEvent,
    /// Vendor code.
    pub vendor_code: u8,
    /// Parameters 1 to 3; for drop events CID, Time2Wait and Time2Retain.
    pub parameters: [u16; 3],
    /// Sense and event data.
    pub data: Bytes,
}

impl AsyncMessage {
    /// Reads the PDU.
    pub fn parse(raw: &RawPdu) -> Result<AsyncMessage, Malformed> {
        expect_opcode(raw, Opcode::AsyncMessage)?;
        let b = &raw.bhs;
        Ok(AsyncMessage {
            lun: b.lun(),
            stat_sn: b.u32(24),
            exp_cmd_sn: b.u32(28),
            max_cmd_sn: b.u32(32),
            event: AsyncEvent(b.0[36]),
            vendor_code: b.0[37],
            parameters: [b.u16(38), b.u16(40), b.u16(42)],
            data: raw.data.clone(),
        })
    }

    /// Writes the PDU.
    pub fn emit(&self) -> RawPdu {
        let mut b = Bhs::new(Opcode::AsyncMessage, false, 0x80);
        b.set_lun(self.lun);
        b.put_u32(16, RESERVED_TAG);
        b.put_u32(24, self.stat_sn);
        b.put_u32(28, self.exp_cmd_sn);
        b.put_u32(32, self.max_cmd_sn);
        b.0[36] = self.event.0;
        b.0[37] = self.vendor_code;
        b.put_u16(38, self.parameters[0]);
        b.put_u16(40, self.parameters[1]);
        b.put_u16(42, self.parameters[2]);
        RawPdu::new(b, Bytes::new(), self.data.clone())
    }
}

codes! {
    /// Why a PDU was rejected (RFC 7143 section 11.17.1).
    RejectReason(u8) {
        DATA_DIGEST = 0x02, "data digest error";
        SNACK = 0x03, "SNACK reject";
        PROTOCOL_ERROR = 0x04, "protocol error";
        NOT_SUPPORTED = 0x05, "command not supported";
        TOO_MANY_IMMEDIATE = 0x06, "too many immediate commands";
        TASK_IN_PROGRESS = 0x07, "task in progress";
        INVALID_DATA_ACK = 0x08, "invalid data ack";
        INVALID_FIELD = 0x09, "invalid PDU field";
        LONG_OPERATION = 0x0a, "long operation reject";
        NEGOTIATION_RESET = 0x0b, "negotiation reset";
        WAITING_FOR_LOGOUT = 0x0c, "waiting for logout";
    }
}

/// Reject, opcode `3Fh`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Why.
    pub reason: RejectReason,
    /// Status sequence number.
    pub stat_sn: u32,
    /// Next CmdSN expected.
    pub exp_cmd_sn: u32,
    /// Last CmdSN acceptable.
    pub max_cmd_sn: u32,
    /// DataSN or R2TSN, only for some reasons.
    pub data_sn: u32,
    /// Header of the rejected PDU as it was received.
    pub header: Bytes,
}

impl Reject {
    /// Reads the PDU.
    pub fn parse(raw: &RawPdu) -> Result<Reject, Malformed> {
        expect_opcode(raw, Opcode::Reject)?;
        let b = &raw.bhs;
        Ok(Reject {
            reason: RejectReason(b.0[2]),
            stat_sn: b.u32(24),
            exp_cmd_sn: b.u32(28),
            max_cmd_sn: b.u32(32),
            data_sn: b.u32(36),
            header: raw.data.clone(),
        })
    }

    /// Writes the PDU.
    pub fn emit(&self) -> RawPdu {
        let mut b = Bhs::new(Opcode::Reject, false, 0x80);
        b.0[2] = self.reason.0;
        b.put_u32(16, RESERVED_TAG);
        b.put_u32(24, self.stat_sn);
        b.put_u32(28, self.exp_cmd_sn);
        b.put_u32(32, self.max_cmd_sn);
        b.put_u32(36, self.data_sn);
        RawPdu::new(b, Bytes::new(), self.header.clone())
    }
}

codes! {
    /// What a SNACK asks for; four bits.
    SnackType(u8) {
        DATA_OR_R2T = 0, "Data/R2T";
        STATUS = 1, "Status";
        DATA_ACK = 2, "DataACK";
        R_DATA = 3, "R-Data";
    }
}

/// SNACK Request, opcode `10h`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snack {
    /// Kind.
    pub kind: SnackType,
    /// LUN, with a valid transfer tag.
    pub lun: Lun,
    /// Task asked about, else reserved.
    pub itt: u32,
    /// Target transfer tag or SNACK tag.
    pub ttt: u32,
    /// Next StatSN expected.
    pub exp_stat_sn: u32,
    /// First number asked for.
    pub begin: u32,
    /// How many; 0 means all from there on.
    pub run_length: u32,
}

impl Snack {
    /// Reads the PDU.
    pub fn parse(raw: &RawPdu) -> Result<Snack, Malformed> {
        expect_opcode(raw, Opcode::Snack)?;
        let b = &raw.bhs;
        Ok(Snack {
            kind: SnackType(b.flags() & 0x0f),
            lun: b.lun(),
            itt: b.itt(),
            ttt: b.u32(20),
            exp_stat_sn: b.u32(28),
            begin: b.u32(40),
            run_length: b.u32(44),
        })
    }

    /// Writes the PDU.
    pub fn emit(&self) -> RawPdu {
        let mut b = Bhs::new(Opcode::Snack, false, 0x80 | self.kind.0 & 0x0f);
        b.set_lun(self.lun);
        b.put_u32(16, self.itt);
        b.put_u32(20, self.ttt);
        b.put_u32(28, self.exp_stat_sn);
        b.put_u32(40, self.begin);
        b.put_u32(44, self.run_length);
        RawPdu::new(b, Bytes::new(), Bytes::new())
    }
}
