//! NOP-Out and NOP-In (RFC 7143 sections 11.18 and 11.19).

use bytes::Bytes;

use super::{Malformed, expect_opcode};
use crate::bhs::{Bhs, Opcode};
use crate::frame::RawPdu;
use crate::scsi::luns::Lun;

/// NOP-Out, opcode `00h`: a ping (valid `itt`) or the answer to a NOP-In (valid `ttt`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NopOut {
    /// I bit.
    pub immediate: bool,
    /// Echo of the NOP-In's LUN when `ttt` is valid.
    pub lun: Lun,
    /// Initiator task tag; reserved when no answer is wanted.
    pub itt: u32,
    /// Echo of the NOP-In's transfer tag, else reserved.
    pub ttt: u32,
    /// Command sequence number.
    pub cmd_sn: u32,
    /// Next StatSN expected.
    pub exp_stat_sn: u32,
    /// Ping data.
    pub data: Bytes,
}

impl NopOut {
    /// Reads the PDU.
    pub fn parse(raw: &RawPdu) -> Result<NopOut, Malformed> {
        expect_opcode(raw, Opcode::NopOut)?;
        let b = &raw.bhs;
        Ok(NopOut {
            immediate: b.immediate(),
            lun: b.lun(),
            itt: b.itt(),
            ttt: b.u32(20),
            cmd_sn: b.u32(24),
            exp_stat_sn: b.u32(28),
            data: raw.data.clone(),
        })
    }

    /// Writes the PDU.
    pub fn emit(&self) -> RawPdu {
        let mut b = Bhs::new(Opcode::NopOut, self.immediate, 0x80);
        b.set_lun(self.lun);
        b.put_u32(16, self.itt);
        b.put_u32(20, self.ttt);
        b.put_u32(24, self.cmd_sn);
        b.put_u32(28, self.exp_stat_sn);
        RawPdu::new(b, Bytes::new(), self.data.clone())
    }
}

/// NOP-In, opcode `20h`: the answer to a ping (valid `itt`), a ping (valid `ttt`), or a plain notice of numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NopIn {
    /// LUN to be echoed when `ttt` is valid.
    pub lun: Lun,
    /// Tag of the NOP-Out being answered, else reserved.
    pub itt: u32,
    /// Transfer tag when the target wants an answer, else reserved.
    pub ttt: u32,
    /// Status sequence number (advances only when `itt` is valid).
    pub stat_sn: u32,
    /// Next CmdSN expected.
    pub exp_cmd_sn: u32,
    /// Last CmdSN acceptable.
    pub max_cmd_sn: u32,
    /// Echo of the ping data.
    pub data: Bytes,
}

impl NopIn {
    /// Reads the PDU.
    pub fn parse(raw: &RawPdu) -> Result<NopIn, Malformed> {
        expect_opcode(raw, Opcode::NopIn)?;
        let b = &raw.bhs;
        Ok(NopIn {
            lun: b.lun(),
            itt: b.itt(),
            ttt: b.u32(20),
            stat_sn: b.u32(24),
            exp_cmd_sn: b.u32(28),
            max_cmd_sn: b.u32(32),
            data: raw.data.clone(),
        })
    }

    /// Writes the PDU.
    pub fn emit(&self) -> RawPdu {
        let mut b = Bhs::new(Opcode::NopIn, false, 0x80);
        b.set_lun(self.lun);
        b.put_u32(16, self.itt);
        b.put_u32(20, self.ttt);
        b.put_u32(24, self.stat_sn);
        b.put_u32(28, self.exp_cmd_sn);
        b.put_u32(32, self.max_cmd_sn);
        RawPdu::new(b, Bytes::new(), self.data.clone())
    }
}
