//! The basic header segment: 48 bytes at the front of every PDU (RFC 7143 section 11.2.1).

use crate::scsi::luns::Lun;

/// Length of the basic header segment in bytes.
pub const BHS_LEN: usize = 48;

/// The reserved task tag: "no task" in an initiator task tag, "no transfer" in a target transfer tag.
pub const RESERVED_TAG: u32 = 0xffff_ffff;

/// Largest value of the 24-bit DataSegmentLength field, in bytes.
pub const MAX_DATA_SEGMENT: usize = 0x00ff_ffff;

/// The opcodes of RFC 7143 section 11.2.1.2, without the immediate bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// NOP-Out, `00h`.
    NopOut = 0x00,
    /// SCSI Command, `01h`.
    ScsiCommand = 0x01,
    /// SCSI Task Management Function Request, `02h`.
    TaskManagementRequest = 0x02,
    /// Login Request, `03h`.
    LoginRequest = 0x03,
    /// Text Request, `04h`.
    TextRequest = 0x04,
    /// SCSI Data-Out, `05h`.
    DataOut = 0x05,
    /// Logout Request, `06h`.
    LogoutRequest = 0x06,
    /// SNACK Request, `10h`.
    Snack = 0x10,
    /// NOP-In, `20h`.
    NopIn = 0x20,
    /// SCSI Response, `21h`.
    ScsiResponse = 0x21,
    /// SCSI Task Management Function Response, `22h`.
    TaskManagementResponse = 0x22,
    /// Login Response, `23h`.
    LoginResponse = 0x23,
    /// Text Response, `24h`.
    TextResponse = 0x24,
    /// SCSI Data-In, `25h`.
    DataIn = 0x25,
    /// Logout Response, `26h`.
    LogoutResponse = 0x26,
    /// Ready To Transfer, `31h`.
    R2t = 0x31,
    /// Asynchronous Message, `32h`.
    AsyncMessage = 0x32,
    /// Reject, `3Fh`.
    Reject = 0x3f,
}

impl Opcode {
    /// Every opcode this crate knows.
    pub const ALL: [Opcode; 18] = [
        Opcode::NopOut,
        Opcode::ScsiCommand,
        Opcode::TaskManagementRequest,
        Opcode::LoginRequest,
        Opcode::TextRequest,
        Opcode::DataOut,
        Opcode::LogoutRequest,
        Opcode::Snack,
        Opcode::NopIn,
        Opcode::ScsiResponse,
        Opcode::TaskManagementResponse,
        Opcode::LoginResponse,
        Opcode::TextResponse,
        Opcode::DataIn,
        Opcode::LogoutResponse,
        Opcode::R2t,
        Opcode::AsyncMessage,
        Opcode::Reject,
    ];

    /// Reads the low six bits of byte 0.
    pub fn from_byte(byte: u8) -> Option<Opcode> {
        Opcode::ALL.into_iter().find(|o| *o as u8 == byte & 0x3f)
    }
}

/// A basic header segment. All multi-byte fields are big-endian.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bhs(pub [u8; BHS_LEN]);

impl Bhs {
    /// A header with the opcode and the F bit set as given, all else zero.
    pub fn new(opcode: Opcode, immediate: bool, flags: u8) -> Bhs {
        let mut raw = [0; BHS_LEN];
        raw[0] = opcode as u8 | if immediate { 0x40 } else { 0 };
        raw[1] = flags;
        Bhs(raw)
    }

    /// The opcode, or `None` when the six bits name none.
    pub fn opcode(&self) -> Option<Opcode> {
        Opcode::from_byte(self.0[0])
    }

    /// The six opcode bits as they stand.
    pub fn opcode_bits(&self) -> u8 {
        self.0[0] & 0x3f
    }

    /// The I bit: immediate delivery.
    pub fn immediate(&self) -> bool {
        self.0[0] & 0x40 != 0
    }

    /// Byte 1: the final bit and the opcode-specific flags.
    pub fn flags(&self) -> u8 {
        self.0[1]
    }

    /// The F bit (T in Login PDUs).
    pub fn is_final(&self) -> bool {
        self.0[1] & 0x80 != 0
    }

    /// Total length of the additional header segments, in bytes (the field counts 4-byte words).
    pub fn ahs_len(&self) -> usize {
        usize::from(self.0[4]) * 4
    }

    /// DataSegmentLength in bytes, without padding.
    pub fn data_len(&self) -> usize {
        usize::from(self.0[5]) << 16 | usize::from(self.0[6]) << 8 | usize::from(self.0[7])
    }

    /// Sets the two length fields; lengths in bytes, `ahs` a multiple of 4.
    pub fn set_lengths(&mut self, ahs: usize, data: usize) {
        debug_assert!(data <= MAX_DATA_SEGMENT && ahs.is_multiple_of(4) && ahs <= 255 * 4);
        self.0[4] = (ahs / 4) as u8;
        self.0[5] = (data >> 16) as u8;
        self.0[6] = (data >> 8) as u8;
        self.0[7] = data as u8;
    }

    /// The LUN field, bytes 8 to 15.
    pub fn lun(&self) -> Lun {
        let mut raw = [0; 8];
        raw.copy_from_slice(&self.0[8..16]);
        Lun(raw)
    }

    /// Writes the LUN field.
    pub fn set_lun(&mut self, lun: Lun) {
        self.0[8..16].copy_from_slice(&lun.0);
    }

    /// Initiator task tag, bytes 16 to 19.
    pub fn itt(&self) -> u32 {
        self.u32(16)
    }

    /// Reads a big-endian `u16` at a fixed offset below 47.
    pub fn u16(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.0[at], self.0[at + 1]])
    }

    /// Reads a big-endian `u32` at a fixed offset below 45.
    pub fn u32(&self, at: usize) -> u32 {
        u32::from_be_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }

    /// Writes a big-endian `u16` at a fixed offset below 47.
    pub fn put_u16(&mut self, at: usize, value: u16) {
        self.0[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }

    /// Writes a big-endian `u32` at a fixed offset below 45.
    pub fn put_u32(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }
}

impl std::fmt::Debug for Bhs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.opcode() {
            Some(op) => write!(f, "Bhs({op:?}")?,
            None => write!(f, "Bhs({:#04x}", self.opcode_bits())?,
        }
        write!(f, " flags={:#04x} data={} itt={:#x})", self.flags(), self.data_len(), self.itt())
    }
}
