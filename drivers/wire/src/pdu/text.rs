//! Text Request and Text Response (RFC 7143 sections 11.10 and 11.11).

use bytes::Bytes;

use super::{Malformed, expect_opcode};
use crate::bhs::{Bhs, Opcode};
use crate::frame::RawPdu;
use crate::scsi::luns::Lun;

/// Text Request, opcode `04h`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextRequest {
    /// I bit.
    pub immediate: bool,
    /// F bit: the initiator has nothing more to say.
    pub last: bool,
    /// C bit: the text goes on in the next PDU.
    pub continues: bool,
    /// Echo of the target's LUN field when the transfer tag is valid.
    pub lun: Lun,
    /// Initiator task tag.
    pub itt: u32,
    /// Target transfer tag of the response being continued, else [`crate::bhs::RESERVED_TAG`].
    pub ttt: u32,
    /// Command sequence number.
    pub cmd_sn: u32,
    /// Next StatSN expected.
    pub exp_stat_sn: u32,
    /// `key=value` text.
    pub text: Bytes,
}

impl TextRequest {
    /// Reads the PDU.
    pub fn parse(raw: &RawPdu) -> Result<TextRequest, Malformed> {
        expect_opcode(raw, Opcode::TextRequest)?;
        let b = &raw.bhs;
        Ok(TextRequest {
            immediate: b.immediate(),
            last: b.is_final(),
            continues: b.flags() & 0x40 != 0,
            lun: b.lun(),
            itt: b.itt(),
            ttt: b.u32(20),
            cmd_sn: b.u32(24),
            exp_stat_sn: b.u32(28),
            text: raw.data.clone(),
        })
    }

    /// Writes the PDU.
    pub fn emit(&self) -> RawPdu {
        let mut b = Bhs::new(Opcode::TextRequest, self.immediate, flags(self.last, self.continues));
        b.set_lun(self.lun);
        b.put_u32(16, self.itt);
        b.put_u32(20, self.ttt);
        b.put_u32(24, self.cmd_sn);
        b.put_u32(28, self.exp_stat_sn);
        RawPdu::new(b, Bytes::new(), self.text.clone())
    }
}

/// Text Response, opcode `24h`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextResponse {
    /// F bit: the target has nothing more to say.
    pub last: bool,
    /// C bit: the text goes on in the next PDU.
    pub continues: bool,
    /// LUN field, echoed by the initiator when it continues.
    pub lun: Lun,
    /// Tag of the request.
    pub itt: u32,
    /// Transfer tag to continue with, else [`crate::bhs::RESERVED_TAG`].
    pub ttt: u32,
    /// Status sequence number.
    pub stat_sn: u32,
    /// Next CmdSN expected.
    pub exp_cmd_sn: u32,
    /// Last CmdSN acceptable.
    pub max_cmd_sn: u32,
    /// `key=value` text.
    pub text: Bytes,
}

impl TextResponse {
    /// Reads the PDU.
    pub fn parse(raw: &RawPdu) -> Result<TextResponse, Malformed> {
        expect_opcode(raw, Opcode::TextResponse)?;
        let b = &raw.bhs;
        Ok(TextResponse {
            last: b.is_final(),
            continues: b.flags() & 0x40 != 0,
            lun: b.lun(),
            itt: b.itt(),
            ttt: b.u32(20),
            stat_sn: b.u32(24),
            exp_cmd_sn: b.u32(28),
            max_cmd_sn: b.u32(32),
            text: raw.data.clone(),
        })
    }

    /// Writes the PDU.
    pub fn emit(&self) -> RawPdu {
        let mut b = Bhs::new(Opcode::TextResponse, false, flags(self.last, self.continues));
        b.set_lun(self.lun);
        b.put_u32(16, self.itt);
        b.put_u32(20, self.ttt);
        b.put_u32(24, self.stat_sn);
        b.put_u32(28, self.exp_cmd_sn);
        b.put_u32(32, self.max_cmd_sn);
        RawPdu::new(b, Bytes::new(), self.text.clone())
    }
}

fn flags(last: bool, continues: bool) -> u8 {
    u8::from(last) << 7 | u8::from(continues) << 6
}
