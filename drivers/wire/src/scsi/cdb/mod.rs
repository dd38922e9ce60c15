//! Command descriptor blocks (SPC-4 clause 6, SBC-3 clause 5).
//!
//! | module | what is there |
//! |---|---|
//! | this one | operation codes and the commands as values |
//! | `parse`, `build` | from and to sixteen bytes |
//!
//! [`Cdb::parse`] never fails: what it does not know becomes [`Cdb::Unknown`] with all its bytes. [`Cdb::build`] fails
//! only when a value does not fit its field. LBAs and lengths are in logical blocks.

use super::mode::PageControl;

mod build;
mod parse;

/// Operation codes.
#[expect(missing_docs, reason = "each constant is the operation code of the command of the same name")]
pub mod op {
    pub const TEST_UNIT_READY: u8 = 0x00;
    pub const REQUEST_SENSE: u8 = 0x03;
    pub const READ_6: u8 = 0x08;
    pub const WRITE_6: u8 = 0x0a;
    pub const INQUIRY: u8 = 0x12;
    pub const MODE_SELECT_6: u8 = 0x15;
    pub const RESERVE_6: u8 = 0x16;
    pub const RELEASE_6: u8 = 0x17;
    pub const MODE_SENSE_6: u8 = 0x1a;
    pub const START_STOP_UNIT: u8 = 0x1b;
    pub const PREVENT_ALLOW: u8 = 0x1e;
    pub const READ_CAPACITY_10: u8 = 0x25;
    pub const READ_10: u8 = 0x28;
    pub const WRITE_10: u8 = 0x2a;
    pub const WRITE_AND_VERIFY_10: u8 = 0x2e;
    pub const VERIFY_10: u8 = 0x2f;
    pub const PRE_FETCH_10: u8 = 0x34;
    pub const SYNCHRONIZE_CACHE_10: u8 = 0x35;
    pub const READ_DEFECT_DATA_10: u8 = 0x37;
    pub const WRITE_SAME_10: u8 = 0x41;
    pub const UNMAP: u8 = 0x42;
    pub const SANITIZE: u8 = 0x48;
    pub const LOG_SENSE: u8 = 0x4d;
    pub const MODE_SELECT_10: u8 = 0x55;
    pub const RESERVE_10: u8 = 0x56;
    pub const RELEASE_10: u8 = 0x57;
    pub const MODE_SENSE_10: u8 = 0x5a;
    pub const PERSISTENT_RESERVE_IN: u8 = 0x5e;
    pub const PERSISTENT_RESERVE_OUT: u8 = 0x5f;
    pub const EXTENDED_COPY: u8 = 0x83;
    pub const RECEIVE_COPY_RESULTS: u8 = 0x84;
    pub const READ_16: u8 = 0x88;
    pub const COMPARE_AND_WRITE: u8 = 0x89;
    pub const WRITE_16: u8 = 0x8a;
    pub const OR_WRITE_16: u8 = 0x8b;
    pub const WRITE_AND_VERIFY_16: u8 = 0x8e;
    pub const VERIFY_16: u8 = 0x8f;
    pub const PRE_FETCH_16: u8 = 0x90;
    pub const SYNCHRONIZE_CACHE_16: u8 = 0x91;
    pub const WRITE_SAME_16: u8 = 0x93;
    pub const WRITE_ATOMIC_16: u8 = 0x9c;
    pub const SERVICE_ACTION_IN_16: u8 = 0x9e;
    pub const REPORT_LUNS: u8 = 0xa0;
    pub const MAINTENANCE_IN: u8 = 0xa3;
    pub const MAINTENANCE_OUT: u8 = 0xa4;
    pub const READ_12: u8 = 0xa8;
    pub const WRITE_12: u8 = 0xaa;
    pub const WRITE_AND_VERIFY_12: u8 = 0xae;
    pub const VERIFY_12: u8 = 0xaf;
    pub const READ_DEFECT_DATA_12: u8 = 0xb7;
    /// Service action of SERVICE ACTION IN (16).
    pub const SA_READ_CAPACITY_16: u8 = 0x10;
    /// Service action of SERVICE ACTION IN (16).
    pub const SA_GET_LBA_STATUS: u8 = 0x12;
    /// Service action of MAINTENANCE IN.
    pub const SA_REPORT_TARGET_PORT_GROUPS: u8 = 0x0a;
    /// Service action of MAINTENANCE IN.
    pub const SA_REPORT_SUPPORTED_OPERATION_CODES: u8 = 0x0c;
    /// Service action of MAINTENANCE IN.
    pub const SA_REPORT_SUPPORTED_TASK_FUNCTIONS: u8 = 0x0d;
    /// Service action of MAINTENANCE OUT.
    pub const SA_SET_TARGET_PORT_GROUPS: u8 = 0x0a;
}

/// Which form of a command: its CDB length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Width {
    /// 6-byte CDB: 21-bit LBA, 8-bit length where 0 means 256 blocks.
    Six,
    /// 10-byte CDB: 32-bit LBA, 16-bit length.
    Ten,
    /// 12-byte CDB: 32-bit LBA, 32-bit length.
    Twelve,
    /// 16-byte CDB: 64-bit LBA, 32-bit length.
    Sixteen,
}

/// READ and WRITE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Form.
    pub width: Width,
    /// First block.
    pub lba: u64,
    /// Number of blocks (256 for a zero length field in the 6-byte form).
    pub blocks: u32,
    /// Disable page out (not in the 6-byte form).
    pub dpo: bool,
    /// Force unit access (not in the 6-byte form).
    pub fua: bool,
    /// RDPROTECT or WRPROTECT, three bits (not in the 6-byte form).
    pub protect: u8,
}

impl Transfer {
    /// A plain transfer without flags.
    pub fn new(width: Width, lba: u64, blocks: u32) -> Transfer {
        Transfer { width, lba, blocks, dpo: false, fua: false, protect: 0 }
    }
}

/// VERIFY and WRITE AND VERIFY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verify {
    /// Form; never [`Width::Six`].
    pub width: Width,
    /// First block.
    pub lba: u64,
    /// Number of blocks.
    pub blocks: u32,
    /// Disable page out.
    pub dpo: bool,
    /// BYTCHK, two bits: 0 medium only, 1 compare all, 3 compare one repeated block.
    pub byte_check: u8,
    /// VRPROTECT or WRPROTECT, three bits.
    pub protect: u8,
}

/// WRITE SAME.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteSame {
    /// Form: [`Width::Ten`] or [`Width::Sixteen`].
    pub width: Width,
    /// First block.
    pub lba: u64,
    /// Number of blocks; 0 means to the end of the medium.
    pub blocks: u32,
    /// WRPROTECT, three bits.
    pub protect: u8,
    /// ANCHOR.
    pub anchor: bool,
    /// UNMAP.
    pub unmap: bool,
    /// NDOB: no Data-Out buffer, the pattern is zeros (16-byte form only).
    pub no_data_out: bool,
}

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cdb {
    /// TEST UNIT READY.
    TestUnitReady,
    /// REQUEST SENSE.
    RequestSense {
        /// DESC: descriptor format wanted.
        descriptor: bool,
        /// Allocation length, bytes.
        allocation: u8,
    },
    /// INQUIRY.
    Inquiry {
        /// EVPD: a vital product data page is wanted.
        evpd: bool,
        /// Page code; must be 0 without EVPD.
        page: u8,
        /// Allocation length, bytes.
        allocation: u16,
    },
    /// MODE SENSE, 6 or 10 bytes.
    ModeSense {
        /// [`Width::Six`] or [`Width::Ten`].
        width: Width,
        /// DBD: no block descriptors.
        no_descriptors: bool,
        /// LLBAA: long descriptors accepted (10-byte form only).
        long_lba: bool,
        /// Which values.
        control: PageControl,
        /// Page code, six bits.
        page: u8,
        /// Sub-page code.
        subpage: u8,
        /// Allocation length, bytes.
        allocation: u16,
    },
    /// START STOP UNIT.
    StartStopUnit {
        /// IMMED.
        immediate: bool,
        /// POWER CONDITION, four bits.
        power_condition: u8,
        /// NO_FLUSH.
        no_flush: bool,
        /// LOEJ.
        load_eject: bool,
        /// START.
        start: bool,
    },
    /// READ CAPACITY (10).
    ReadCapacity10,
    /// READ CAPACITY (16).
    ReadCapacity16 {
        /// Allocation length, bytes.
        allocation: u32,
    },
    /// GET LBA STATUS.
    GetLbaStatus {
        /// Starting LBA.
        lba: u64,
        /// Allocation length, bytes.
        allocation: u32,
    },
    /// REPORT LUNS.
    ReportLuns {
        /// SELECT REPORT.
        select: u8,
        /// Allocation length, bytes.
        allocation: u32,
    },
    /// READ.
    Read(Transfer),
    /// WRITE.
    Write(Transfer),
    /// VERIFY.
    Verify(Verify),
    /// SYNCHRONIZE CACHE, 10 or 16 bytes.
    SynchronizeCache {
        /// [`Width::Ten`] or [`Width::Sixteen`].
        width: Width,
        /// First block.
        lba: u64,
        /// Number of blocks; 0 means to the end.
        blocks: u32,
        /// IMMED.
        immediate: bool,
    },
    /// WRITE SAME.
    WriteSame(WriteSame),
    /// UNMAP.
    Unmap {
        /// ANCHOR.
        anchor: bool,
        /// Parameter list length, bytes.
        parameter_length: u16,
    },
    /// WRITE AND VERIFY.
    WriteAndVerify(Verify),
    /// ORWRITE (16).
    OrWrite(Transfer),
    /// COMPARE AND WRITE: the Data-Out buffer holds `blocks` blocks to compare with, then as many to write.
    CompareAndWrite(Transfer),
    /// WRITE ATOMIC (16).
    WriteAtomic {
        /// Range and flags; [`Width::Sixteen`], at most 65,535 blocks.
        transfer: Transfer,
        /// ATOMIC BOUNDARY, blocks; 0 means that the whole range is one atom.
        boundary: u16,
    },
    /// PRE-FETCH, 10 or 16 bytes.
    PreFetch {
        /// [`Width::Ten`] or [`Width::Sixteen`].
        width: Width,
        /// First block.
        lba: u64,
        /// Number of blocks; 0 means to the end.
        blocks: u32,
        /// IMMED.
        immediate: bool,
    },
    /// MODE SELECT, 6 or 10 bytes.
    ModeSelect {
        /// [`Width::Six`] or [`Width::Ten`].
        width: Width,
        /// PF: pages as in the standard.
        page_format: bool,
        /// SP: save the pages.
        save: bool,
        /// Parameter list length, bytes.
        parameter_length: u16,
    },
    /// LOG SENSE.
    LogSense {
        /// SP: save parameters.
        save: bool,
        /// PC, two bits; 1 is cumulative values.
        control: u8,
        /// Page code, six bits.
        page: u8,
        /// Sub-page code.
        subpage: u8,
        /// PARAMETER POINTER: the first parameter wanted.
        pointer: u16,
        /// Allocation length, bytes.
        allocation: u16,
    },
    /// PERSISTENT RESERVE IN.
    PersistentReserveIn {
        /// Service action, five bits (see [`super::reservation::read`]).
        action: u8,
        /// Allocation length, bytes.
        allocation: u16,
    },
    /// PERSISTENT RESERVE OUT.
    PersistentReserveOut {
        /// Service action, five bits (see [`super::reservation::action`]).
        action: u8,
        /// SCOPE, four bits; 0 is the logical unit.
        scope: u8,
        /// TYPE, four bits.
        kind: u8,
        /// Parameter list length, bytes.
        parameter_length: u32,
    },
    /// RESERVE, 6 or 10 bytes (SPC-2).
    Reserve {
        /// [`Width::Six`] or [`Width::Ten`].
        width: Width,
    },
    /// RELEASE, 6 or 10 bytes (SPC-2).
    Release {
        /// [`Width::Six`] or [`Width::Ten`].
        width: Width,
    },
    /// REPORT TARGET PORT GROUPS.
    ReportTargetPortGroups {
        /// PARAMETER DATA FORMAT 001b: the extended header is wanted.
        extended: bool,
        /// Allocation length, bytes.
        allocation: u32,
    },
    /// SET TARGET PORT GROUPS.
    SetTargetPortGroups {
        /// Parameter list length, bytes.
        parameter_length: u32,
    },
    /// REPORT SUPPORTED OPERATION CODES.
    ReportSupportedOpcodes {
        /// RCTD: time-out descriptors are wanted.
        timeouts: bool,
        /// REPORTING OPTIONS, three bits.
        option: u8,
        /// REQUESTED OPERATION CODE.
        opcode: u8,
        /// REQUESTED SERVICE ACTION.
        action: u16,
        /// Allocation length, bytes.
        allocation: u32,
    },
    /// REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS.
    ReportTaskFunctions {
        /// REPD: the extended data is wanted.
        extended: bool,
        /// Allocation length, bytes.
        allocation: u32,
    },
    /// EXTENDED COPY (LID1).
    ExtendedCopy {
        /// Parameter list length, bytes.
        parameter_length: u32,
    },
    /// RECEIVE COPY RESULTS and its relatives.
    ReceiveCopyResults {
        /// Service action, five bits (see [`super::copy::results`]).
        action: u8,
        /// LIST IDENTIFIER.
        list: u8,
        /// Allocation length, bytes.
        allocation: u32,
    },
    /// SANITIZE.
    Sanitize {
        /// IMMED.
        immediate: bool,
        /// AUSE: exit is unrestricted.
        unrestricted: bool,
        /// Service action, five bits.
        action: u8,
        /// Parameter list length, bytes.
        parameter_length: u16,
    },
    /// PREVENT ALLOW MEDIUM REMOVAL.
    PreventAllow {
        /// PREVENT, two bits; 0 allows.
        prevent: u8,
    },
    /// READ DEFECT DATA, 10 or 12 bytes.
    ReadDefectData {
        /// [`Width::Ten`] or [`Width::Twelve`].
        width: Width,
        /// REQ_PLIST.
        primary: bool,
        /// REQ_GLIST.
        grown: bool,
        /// DEFECT LIST FORMAT, three bits.
        format: u8,
        /// Allocation length, bytes.
        allocation: u32,
    },
    /// Anything else, or a known opcode with an unknown service action.
    Unknown([u8; 16]),
}

/// A value that does not fit its CDB field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} does not fit the CDB")]
pub struct DoesNotFit(pub &'static str);

/// Length of a CDB in bytes by its operation code's group (SPC-4 clause 4.2.5.1); 16 for groups without a fixed length.
pub fn length(opcode: u8) -> usize {
    match opcode >> 5 {
        0 => 6,
        1 | 2 => 10,
        5 => 12,
        _ => 16,
    }
}

/// The CONTROL byte (last of the fixed-length CDB); bit 2 is NACA.
pub fn control(cdb: &[u8; 16]) -> u8 {
    cdb[length(cdb[0]) - 1]
}
