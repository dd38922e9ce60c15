//! Login Request and Login Response (RFC 7143 sections 11.12 and 11.13).

use bytes::Bytes;

use super::{Malformed, expect_opcode};
use crate::bhs::{Bhs, Opcode};
use crate::codes::codes;
use crate::frame::RawPdu;

/// A login stage (CSG and NSG fields).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// SecurityNegotiation, 0.
    Security,
    /// LoginOperationalNegotiation, 1.
    Operational,
    /// FullFeaturePhase, 3 (never a current stage in a request).
    FullFeature,
}

impl Stage {
    fn from_bits(bits: u8) -> Result<Stage, Malformed> {
        match bits & 3 {
            0 => Ok(Stage::Security),
            1 => Ok(Stage::Operational),
            3 => Ok(Stage::FullFeature),
            _ => Err(Malformed::Field("login stage 2 is reserved")),
        }
    }

    fn bits(self) -> u8 {
        match self {
            Stage::Security => 0,
            Stage::Operational => 1,
            Stage::FullFeature => 3,
        }
    }
}

/// Byte 1 of both login PDUs: T bit, C bit, current and next stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stages {
    /// C bit: the text goes on in the next PDU.
    pub continues: bool,
    /// CSG: the stage this PDU belongs to.
    pub current: Stage,
    /// T bit with NSG: the stage to move to, when the sender is ready for it.
    pub next: Option<Stage>,
}

impl Stages {
    fn parse(flags: u8) -> Result<Stages, Malformed> {
        let next = if flags & 0x80 != 0 { Some(Stage::from_bits(flags)?) } else { None };
        Ok(Stages { continues: flags & 0x40 != 0, current: Stage::from_bits(flags >> 2)?, next })
    }

    fn bits(self) -> u8 {
        let next = self.next.map_or(0, |n| 0x80 | n.bits());
        next | self.current.bits() << 2 | if self.continues { 0x40 } else { 0 }
    }
}

/// Login Request, opcode `03h`. Always immediate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginRequest {
    /// T, C, CSG, NSG.
    pub stages: Stages,
    /// Highest version supported (0 for RFC 7143).
    pub version_max: u8,
    /// Lowest version supported.
    pub version_min: u8,
    /// Initiator part of the session identifier.
    pub isid: [u8; 6],
    /// Target session handle; zero for a new session.
    pub tsih: u16,
    /// Initiator task tag; the same in all requests of one login.
    pub itt: u32,
    /// Connection identifier.
    pub cid: u16,
    /// Command sequence number.
    pub cmd_sn: u32,
    /// Next StatSN expected.
    pub exp_stat_sn: u32,
    /// `key=value` text.
    pub text: Bytes,
}

impl LoginRequest {
    /// Reads the PDU.
    pub fn parse(raw: &RawPdu) -> Result<LoginRequest, Malformed> {
        expect_opcode(raw, Opcode::LoginRequest)?;
        let b = &raw.bhs;
        Ok(LoginRequest {
            stages: Stages::parse(b.flags())?,
            version_max: b.0[2],
            version_min: b.0[3],
            isid: isid(b),
            tsih: b.u16(14),
            itt: b.itt(),
            cid: b.u16(20),
            cmd_sn: b.u32(24),
            exp_stat_sn: b.u32(28),
            text: raw.data.clone(),
        })
    }

    /// Writes the PDU.
    pub fn emit(&self) -> RawPdu {
        let mut b = Bhs::new(Opcode::LoginRequest, true, self.stages.bits());
        b.0[2] = self.version_max;
        b.0[3] = self.version_min;
        b.0[8..14].copy_from_slice(&self.isid);
        b.put_u16(14, self.tsih);
        b.put_u32(16, self.itt);
        b.put_u16(20, self.cid);
        b.put_u32(24, self.cmd_sn);
        b.put_u32(28, self.exp_stat_sn);
        RawPdu::new(b, Bytes::new(), self.text.clone())
    }
}

fn isid(b: &Bhs) -> [u8; 6] {
    let mut isid = [0; 6];
    isid.copy_from_slice(&b.0[8..14]);
    isid
}

codes! {
    /// Status-Class (high byte) and Status-Detail (low byte) of a Login Response (RFC 7143 section 11.13.5).
    LoginStatus(u16) {
        SUCCESS = 0x0000, "success";
        TARGET_MOVED_TEMPORARILY = 0x0101, "target moved temporarily";
        TARGET_MOVED_PERMANENTLY = 0x0102, "target moved permanently";
        INITIATOR_ERROR = 0x0200, "initiator error";
        AUTHENTICATION_FAILURE = 0x0201, "authentication failure";
        AUTHORIZATION_FAILURE = 0x0202, "authorization failure";
        NOT_FOUND = 0x0203, "target not found";
        TARGET_REMOVED = 0x0204, "target removed";
        UNSUPPORTED_VERSION = 0x0205, "unsupported version";
        TOO_MANY_CONNECTIONS = 0x0206, "too many connections";
        MISSING_PARAMETER = 0x0207, "missing parameter";
        CANNOT_INCLUDE_IN_SESSION = 0x0208, "cannot include in session";
        SESSION_TYPE_NOT_SUPPORTED = 0x0209, "session type not supported";
        SESSION_DOES_NOT_EXIST = 0x020a, "session does not exist";
        INVALID_DURING_LOGIN = 0x020b, "invalid during login";
        TARGET_ERROR = 0x0300, "target error";
        SERVICE_UNAVAILABLE = 0x0301, "service unavailable";
        OUT_OF_RESOURCES = 0x0302, "out of resources";
    }
}

impl LoginStatus {
    /// Status-Class: 0 success, 1 redirection, 2 initiator error, 3 target error.
    pub fn class(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// Status-Detail.
    pub fn detail(self) -> u8 {
        self.0 as u8
    }
}

/// Login Response, opcode `23h`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginResponse {
    /// T, C, CSG, NSG.
    pub stages: Stages,
    /// Highest version supported.
    pub version_max: u8,
    /// Version in use.
    pub version_active: u8,
    /// ISID of the request.
    pub isid: [u8; 6],
    /// Target session handle; non-zero in the last response of a successful login.
    pub tsih: u16,
    /// Tag of the request.
    pub itt: u32,
    /// Status sequence number; meaningful when the class is 0.
    pub stat_sn: u32,
    /// Next CmdSN expected.
    pub exp_cmd_sn: u32,
    /// Last CmdSN acceptable.
    pub max_cmd_sn: u32,
    /// Status class and detail.
    pub status: LoginStatus,
    /// `key=value` text.
    pub text: Bytes,
}

impl LoginResponse {
    /// Reads the PDU.
    pub fn parse(raw: &RawPdu) -> Result<LoginResponse, Malformed> {
        expect_opcode(raw, Opcode::LoginResponse)?;
        let b = &raw.bhs;
        Ok(LoginResponse {
            stages: Stages::parse(b.flags())?,
            version_max: b.0[2],
            version_active: b.0[3],
            isid: isid(b),
            tsih: b.u16(14),
            itt: b.itt(),
            stat_sn: b.u32(24),
            exp_cmd_sn: b.u32(28),
            max_cmd_sn: b.u32(32),
            status: LoginStatus(b.u16(36)),
            text: raw.data.clone(),
        })
    }

    /// Writes the PDU.
    pub fn emit(&self) -> RawPdu {
        let mut b = Bhs::new(Opcode::LoginResponse, false, self.stages.bits());
        b.0[2] = self.version_max;
        b.0[3] = self.version_active;
        b.0[8..14].copy_from_slice(&self.isid);
        b.put_u16(14, self.tsih);
        b.put_u32(16, self.itt);
        b.put_u32(24, self.stat_sn);
        b.put_u32(28, self.exp_cmd_sn);
        b.put_u32(32, self.max_cmd_sn);
        b.put_u16(36, self.status.0);
        RawPdu::new(b, Bytes::new(), self.text.clone())
    }
}
