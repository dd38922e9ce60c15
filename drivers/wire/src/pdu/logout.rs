//! Logout Request and Logout Response (RFC 7143 sections 11.14 and 11.15).

use bytes::Bytes;

use super::{Malformed, expect_opcode};
use crate::bhs::{Bhs, Opcode};
use crate::codes::codes;
use crate::frame::RawPdu;

codes! {
    /// Why an initiator logs out.
    LogoutReason(u8) {
        CLOSE_SESSION = 0, "close the session";
        CLOSE_CONNECTION = 1, "close the connection";
        RECOVERY = 2, "remove the connection for recovery";
    }
}

codes! {
    /// How a logout ended.
    LogoutResponseCode(u8) {
        SUCCESS = 0, "closed successfully";
        CID_NOT_FOUND = 1, "CID not found";
        RECOVERY_NOT_SUPPORTED = 2, "connection recovery not supported";
        CLEANUP_FAILED = 3, "cleanup failed";
    }
}

/// Logout Request, opcode `06h`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutRequest {
    /// I bit.
    pub immediate: bool,
    /// Reason, seven bits.
    pub reason: LogoutReason,
    /// Initiator task tag.
    pub itt: u32,
    /// Connection to close.
    pub cid: u16,
    /// Command sequence number.
    pub cmd_sn: u32,
    /// Next StatSN expected.
    pub exp_stat_sn: u32,
}

impl LogoutRequest {
    /// Reads the PDU.
    pub fn parse(raw: &RawPdu) -> Result<LogoutRequest, Malformed> {
        expect_opcode(raw, Opcode::LogoutRequest)?;
        let b = &raw.bhs;
        Ok(LogoutRequest {
            immediate: b.immediate(),
            reason: LogoutReason(b.flags() & 0x7f),
            itt: b.itt(),
            cid: b.u16(20),
            cmd_sn: b.u32(24),
            exp_stat_sn: b.u32(28),
        })
    }

    /// Writes the PDU.
    pub fn emit(&self) -> RawPdu {
        let mut b = Bhs::new(Opcode::LogoutRequest, self.immediate, 0x80 | self.reason.0 & 0x7f);
        b.put_u32(16, self.itt);
        b.put_u16(20, self.cid);
        b.put_u32(24, self.cmd_sn);
        b.put_u32(28, self.exp_stat_sn);
        RawPdu::new(b, Bytes::new(), Bytes::new())
    }
}

/// Logout Response, opcode `26h`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutResponse {
    /// Outcome.
    pub response: LogoutResponseCode,
    /// Tag of the request.
    pub itt: u32,
    /// Status sequence number.
    pub stat_sn: u32,
    /// Next CmdSN expected.
    pub exp_cmd_sn: u32,
    /// Last CmdSN acceptable.
    pub max_cmd_sn: u32,
    /// Seconds to wait before a reconnection.
    pub time2wait: u16,
    /// Seconds for which task state is kept after that.
    pub time2retain: u16,
}

impl LogoutResponse {
    /// Reads the PDU.
    pub fn parse(raw: &RawPdu) -> Result<LogoutResponse, Malformed> {
        expect_opcode(raw, Opcode::LogoutResponse)?;
        let b = &raw.bhs;
        Ok(LogoutResponse {
            response: LogoutResponseCode(b.0[2]),
            itt: b.itt(),
            stat_sn: b.u32(24),
            exp_cmd_sn: b.u32(28),
            max_cmd_sn: b.u32(32),
            time2wait: b.u16(40),
            time2retain: b.u16(42),
        })
    }

    /// Writes the PDU.
    pub fn emit(&self) -> RawPdu {
        let mut b = Bhs::new(Opcode::LogoutResponse, false, 0x80);
        b.0[2] = self.response.0;
        b.put_u32(16, self.itt);
        b.put_u32(24, self.stat_sn);
        b.put_u32(28, self.exp_cmd_sn);
        b.put_u32(32, self.max_cmd_sn);
        b.put_u16(40, self.time2wait);
        b.put_u16(42, self.time2retain);
        RawPdu::new(b, Bytes::new(), Bytes::new())
    }
}
