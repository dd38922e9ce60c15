//! SCSI Data-Out, SCSI Data-In and Ready To Transfer (RFC 7143 sections 11.7 and 11.8).

use bytes::Bytes;

use super::scsi::Residual;
use super::{Malformed, expect_opcode};
use crate::bhs::{Bhs, Opcode, RESERVED_TAG};
use crate::frame::RawPdu;
use crate::scsi::luns::Lun;
use crate::scsi::status::Status;

/// SCSI Data-Out, opcode `05h`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataOut {
    /// F bit: last PDU of this sequence.
    pub last: bool,
    /// LUN, when `ttt` is valid.
    pub lun: Lun,
    /// Task the data belongs to.
    pub itt: u32,
    /// Transfer tag of the R2T being answered; reserved for unsolicited data.
    pub ttt: u32,
    /// Next StatSN expected.
    pub exp_stat_sn: u32,
    /// Number of the PDU in its sequence.
    pub data_sn: u32,
    /// Place of the data in the whole transfer, bytes.
    pub offset: u32,
    /// Data.
    pub data: Bytes,
}

impl DataOut {
    /// Reads the PDU.
    pub fn parse(raw: &RawPdu) -> Result<DataOut, Malformed> {
        expect_opcode(raw, Opcode::DataOut)?;
        let b = &raw.bhs;
        Ok(DataOut {
            last: b.is_final(),
            lun: b.lun(),
            itt: b.itt(),
            ttt: b.u32(20),
            exp_stat_sn: b.u32(28),
            data_sn: b.u32(36),
            offset: b.u32(40),
            data: raw.data.clone(),
        })
    }

    /// The header alone, for a data segment given in parts to [`crate::frame::Outbox::push_parts`].
    pub fn header(&self) -> Bhs {
        let mut b = Bhs::new(Opcode::DataOut, false, if self.last { 0x80 } else { 0 });
        b.set_lun(self.lun);
        b.put_u32(16, self.itt);
        b.put_u32(20, self.ttt);
        b.put_u32(28, self.exp_stat_sn);
        b.put_u32(36, self.data_sn);
        b.put_u32(40, self.offset);
        b
    }

    /// Writes the PDU.
    pub fn emit(&self) -> RawPdu {
        RawPdu::new(self.header(), Bytes::new(), self.data.clone())
    }
}

/// Status that travels in the last Data-In of a command (S bit), sparing the SCSI Response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataInStatus {
    /// SCSI status; never CHECK CONDITION, since there is no room for sense.
    pub status: Status,
    /// Status sequence number.
    pub stat_sn: u32,
    /// Residual count.
    pub residual: Residual,
}

/// SCSI Data-In, opcode `25h`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataIn {
    /// F bit: last PDU of this sequence.
    pub last: bool,
    /// A bit: the target asks for a DataACK SNACK.
    pub acknowledge: bool,
    /// Present when the S bit is set.
    pub status: Option<DataInStatus>,
    /// LUN, with the A bit.
    pub lun: Lun,
    /// Task the data belongs to.
    pub itt: u32,
    /// Transfer tag, with the A bit, else reserved.
    pub ttt: u32,
    /// Next CmdSN expected.
    pub exp_cmd_sn: u32,
    /// Last CmdSN acceptable.
    pub max_cmd_sn: u32,
    /// Number of the PDU within the command.
    pub data_sn: u32,
    /// Place of the data in the whole transfer, bytes.
    pub offset: u32,
    /// Data.
    pub data: Bytes,
}

impl DataIn {
    /// Reads the PDU.
    pub fn parse(raw: &RawPdu) -> Result<DataIn, Malformed> {
        expect_opcode(raw, Opcode::DataIn)?;
        let b = &raw.bhs;
        let status = if b.flags() & 0x01 != 0 {
            Some(DataInStatus {
                status: Status(b.0[3]),
                stat_sn: b.u32(24),
                residual: Residual::from_flags(b.flags(), b.u32(44))?,
            })
        } else {
            None
        };
        Ok(DataIn {
            last: b.is_final(),
            acknowledge: b.flags() & 0x40 != 0,
            status,
            lun: b.lun(),
            itt: b.itt(),
            ttt: b.u32(20),
            exp_cmd_sn: b.u32(28),
            max_cmd_sn: b.u32(32),
            data_sn: b.u32(36),
            offset: b.u32(40),
            data: raw.data.clone(),
        })
    }

    /// The header alone, for a data segment given in parts to [`crate::frame::Outbox::push_parts`].
    pub fn header(&self) -> Bhs {
        let flags = if self.last { 0x80 } else { 0 } | if self.acknowledge { 0x40 } else { 0 };
        let mut b = Bhs::new(Opcode::DataIn, false, flags);
        if let Some(s) = self.status {
            b.0[1] |= 0x01 | s.residual.flags();
            b.0[3] = s.status.0;
            b.put_u32(24, s.stat_sn);
            b.put_u32(44, s.residual.count());
        }
        b.set_lun(self.lun);
        b.put_u32(16, self.itt);
        b.put_u32(20, self.ttt);
        b.put_u32(28, self.exp_cmd_sn);
        b.put_u32(32, self.max_cmd_sn);
        b.put_u32(36, self.data_sn);
        b.put_u32(40, self.offset);
        b
    }

    /// Writes the PDU.
    pub fn emit(&self) -> RawPdu {
        RawPdu::new(self.header(), Bytes::new(), self.data.clone())
    }
}

/// Ready To Transfer, opcode `31h`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct R2t {
    /// LUN to be echoed in the Data-Out PDUs.
    pub lun: Lun,
    /// Task that is asked for data.
    pub itt: u32,
    /// Transfer tag; never the reserved value.
    pub ttt: u32,
    /// Next StatSN (not advanced).
    pub stat_sn: u32,
    /// Next CmdSN expected.
    pub exp_cmd_sn: u32,
    /// Last CmdSN acceptable.
    pub max_cmd_sn: u32,
    /// Number of the R2T within the command.
    pub r2t_sn: u32,
    /// Where the wanted data begins in the whole transfer, bytes.
    pub offset: u32,
    /// How much is wanted, bytes; never 0.
    pub length: u32,
}

impl R2t {
    /// Reads the PDU.
    pub fn parse(raw: &RawPdu) -> Result<R2t, Malformed> {
        expect_opcode(raw, Opcode::R2t)?;
        let b = &raw.bhs;
        if b.u32(44) == 0 {
            return Err(Malformed::Field("R2T with a desired length of zero"));
        }
        if b.u32(20) == RESERVED_TAG {
            return Err(Malformed::Field("R2T with the reserved transfer tag"));
        }
        Ok(R2t {
            lun: b.lun(),
            itt: b.itt(),
            ttt: b.u32(20),
            stat_sn: b.u32(24),
            exp_cmd_sn: b.u32(28),
            max_cmd_sn: b.u32(32),
            r2t_sn: b.u32(36),
            offset: b.u32(40),
            length: b.u32(44),
        })
    }

    /// Writes the PDU.
    pub fn emit(&self) -> RawPdu {
        let mut b = Bhs::new(Opcode::R2t, false, 0x80);
        b.set_lun(self.lun);
        b.put_u32(16, self.itt);
        b.put_u32(20, self.ttt);
        b.put_u32(24, self.stat_sn);
        b.put_u32(28, self.exp_cmd_sn);
        b.put_u32(32, self.max_cmd_sn);
        b.put_u32(36, self.r2t_sn);
        b.put_u32(40, self.offset);
        b.put_u32(44, self.length);
        RawPdu::new(b, Bytes::new(), Bytes::new())
    }
}
