//! Command descriptor blocks (SPC-4 clause 6, SBC-3 clause 5).
//!
//! [`Cdb::parse`] never fails: what it does not know becomes [`Cdb::Unknown`] with all its bytes. [`Cdb::build`] fails
//! only when a value does not fit its field. LBAs and lengths are in logical blocks.

use super::mode::PageControl;
use super::{u16_at, u32_at, u64_at};

/// Operation codes.
#[expect(missing_docs, reason = "each constant is the operation code of the command of the same name")]
pub mod op {
    pub const TEST_UNIT_READY: u8 = 0x00;
    pub const REQUEST_SENSE: u8 = 0x03;
    pub const READ_6: u8 = 0x08;
    pub const WRITE_6: u8 = 0x0a;
    pub const INQUIRY: u8 = 0x12;
    pub const MODE_SENSE_6: u8 = 0x1a;
    pub const START_STOP_UNIT: u8 = 0x1b;
    pub const READ_CAPACITY_10: u8 = 0x25;
    pub const READ_10: u8 = 0x28;
    pub const WRITE_10: u8 = 0x2a;
    pub const VERIFY_10: u8 = 0x2f;
    pub const SYNCHRONIZE_CACHE_10: u8 = 0x35;
    pub const WRITE_SAME_10: u8 = 0x41;
    pub const UNMAP: u8 = 0x42;
    pub const MODE_SENSE_10: u8 = 0x5a;
    pub const READ_16: u8 = 0x88;
    pub const WRITE_16: u8 = 0x8a;
    pub const VERIFY_16: u8 = 0x8f;
    pub const SYNCHRONIZE_CACHE_16: u8 = 0x91;
    pub const WRITE_SAME_16: u8 = 0x93;
    pub const SERVICE_ACTION_IN_16: u8 = 0x9e;
    pub const REPORT_LUNS: u8 = 0xa0;
    pub const READ_12: u8 = 0xa8;
    pub const WRITE_12: u8 = 0xaa;
    pub const VERIFY_12: u8 = 0xaf;
    /// Service action of SERVICE ACTION IN (16).
    pub const SA_READ_CAPACITY_16: u8 = 0x10;
    /// Service action of SERVICE ACTION IN (16).
    pub const SA_GET_LBA_STATUS: u8 = 0x12;
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

/// VERIFY.
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
    /// VRPROTECT, three bits.
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

impl Cdb {
    /// Reads a CDB as it stands in the SCSI Command PDU.
    pub fn parse(cdb: &[u8; 16]) -> Cdb {
        let b = cdb;
        // Offsets below are constants within the 16 bytes, so the defaults are never taken.
        let u16 = |at| u16_at(b, at).unwrap_or(0);
        let u32 = |at| u32_at(b, at).unwrap_or(0);
        let u64 = |at| u64_at(b, at).unwrap_or(0);
        let range = |width| match width {
            Width::Six => {
                let lba = u32(0) & 0x001f_ffff;
                (u64::from(lba), if b[4] == 0 { 256 } else { u32::from(b[4]) })
            }
            Width::Ten => (u64::from(u32(2)), u32::from(u16(7))),
            Width::Twelve => (u64::from(u32(2)), u32(6)),
            Width::Sixteen => (u64(2), u32(10)),
        };
        let transfer = |width| {
            let (lba, blocks) = range(width);
            let flags = if width == Width::Six { 0 } else { b[1] };
            Transfer {
                width,
                lba,
                blocks,
                dpo: flags & 0x10 != 0,
                fua: flags & 0x08 != 0,
                protect: flags >> 5,
            }
        };
        let verify = |width| {
            let (lba, blocks) = range(width);
            let byte_check = b[1] >> 1 & 3;
            Cdb::Verify(Verify { width, lba, blocks, dpo: b[1] & 0x10 != 0, byte_check, protect: b[1] >> 5 })
        };
        let synchronize = |width| {
            let (lba, blocks) = range(width);
            Cdb::SynchronizeCache { width, lba, blocks, immediate: b[1] & 0x02 != 0 }
        };
        let write_same = |width| {
            let (lba, blocks) = range(width);
            Cdb::WriteSame(WriteSame {
                width,
                lba,
                blocks,
                protect: b[1] >> 5,
                anchor: b[1] & 0x10 != 0,
                unmap: b[1] & 0x08 != 0,
                no_data_out: width == Width::Sixteen && b[1] & 0x01 != 0,
            })
        };
        let mode_sense = |width, long_lba, allocation| Cdb::ModeSense {
            width,
            no_descriptors: b[1] & 0x08 != 0,
            long_lba,
            control: PageControl::from_bits(b[2] >> 6),
            page: b[2] & 0x3f,
            subpage: b[3],
            allocation,
        };
        match b[0] {
            op::TEST_UNIT_READY => Cdb::TestUnitReady,
            op::REQUEST_SENSE => Cdb::RequestSense { descriptor: b[1] & 1 != 0, allocation: b[4] },
            op::INQUIRY => Cdb::Inquiry { evpd: b[1] & 1 != 0, page: b[2], allocation: u16(3) },
            op::MODE_SENSE_6 => mode_sense(Width::Six, false, u16::from(b[4])),
            op::MODE_SENSE_10 => mode_sense(Width::Ten, b[1] & 0x10 != 0, u16(7)),
            op::START_STOP_UNIT => Cdb::StartStopUnit {
                immediate: b[1] & 1 != 0,
                power_condition: b[4] >> 4,
                no_flush: b[4] & 4 != 0,
                load_eject: b[4] & 2 != 0,
                start: b[4] & 1 != 0,
            },
            op::READ_CAPACITY_10 => Cdb::ReadCapacity10,
            op::SERVICE_ACTION_IN_16 => match b[1] & 0x1f {
                op::SA_READ_CAPACITY_16 => Cdb::ReadCapacity16 { allocation: u32(10) },
                op::SA_GET_LBA_STATUS => Cdb::GetLbaStatus { lba: u64(2), allocation: u32(10) },
                _ => Cdb::Unknown(*b),
            },
            op::REPORT_LUNS => Cdb::ReportLuns { select: b[2], allocation: u32(6) },
            op::READ_6 => Cdb::Read(transfer(Width::Six)),
            op::READ_10 => Cdb::Read(transfer(Width::Ten)),
            op::READ_12 => Cdb::Read(transfer(Width::Twelve)),
            op::READ_16 => Cdb::Read(transfer(Width::Sixteen)),
            op::WRITE_6 => Cdb::Write(transfer(Width::Six)),
            op::WRITE_10 => Cdb::Write(transfer(Width::Ten)),
            op::WRITE_12 => Cdb::Write(transfer(Width::Twelve)),
            op::WRITE_16 => Cdb::Write(transfer(Width::Sixteen)),
            op::VERIFY_10 => verify(Width::Ten),
            op::VERIFY_12 => verify(Width::Twelve),
            op::VERIFY_16 => verify(Width::Sixteen),
            op::SYNCHRONIZE_CACHE_10 => synchronize(Width::Ten),
            op::SYNCHRONIZE_CACHE_16 => synchronize(Width::Sixteen),
            op::WRITE_SAME_10 => write_same(Width::Ten),
            op::WRITE_SAME_16 => write_same(Width::Sixteen),
            op::UNMAP => Cdb::Unmap { anchor: b[1] & 1 != 0, parameter_length: u16(7) },
            _ => Cdb::Unknown(*b),
        }
    }

    /// Writes the CDB, padded with zeros to sixteen bytes.
    pub fn build(&self) -> Result<[u8; 16], DoesNotFit> {
        let mut b = [0u8; 16];
        match *self {
            Cdb::TestUnitReady => b[0] = op::TEST_UNIT_READY,
            Cdb::RequestSense { descriptor, allocation } => {
                b[0] = op::REQUEST_SENSE;
                b[1] = u8::from(descriptor);
                b[4] = allocation;
            }
            Cdb::Inquiry { evpd, page, allocation } => {
                b[0] = op::INQUIRY;
                b[1] = u8::from(evpd);
                b[2] = page;
                b[3..5].copy_from_slice(&allocation.to_be_bytes());
            }
            Cdb::ModeSense { width, no_descriptors, long_lba, control, page, subpage, allocation } => {
                b[1] = u8::from(no_descriptors) << 3;
                b[2] = control.bits() << 6 | bits(page, 6, "page code")?;
                b[3] = subpage;
                match width {
                    Width::Six => {
                        b[0] = op::MODE_SENSE_6;
                        b[4] = u8::try_from(allocation).map_err(|_| DoesNotFit("allocation length"))?;
                        if long_lba {
                            return Err(DoesNotFit("LLBAA"));
                        }
                    }
                    Width::Ten => {
                        b[0] = op::MODE_SENSE_10;
                        b[1] |= u8::from(long_lba) << 4;
                        b[7..9].copy_from_slice(&allocation.to_be_bytes());
                    }
                    Width::Twelve | Width::Sixteen => return Err(DoesNotFit("MODE SENSE width")),
                }
            }
            Cdb::StartStopUnit { immediate, power_condition, no_flush, load_eject, start } => {
                b[0] = op::START_STOP_UNIT;
                b[1] = u8::from(immediate);
                b[4] = bits(power_condition, 4, "power condition")? << 4
                    | u8::from(no_flush) << 2
                    | u8::from(load_eject) << 1
                    | u8::from(start);
            }
            Cdb::ReadCapacity10 => b[0] = op::READ_CAPACITY_10,
            Cdb::ReadCapacity16 { allocation } => {
                b[0] = op::SERVICE_ACTION_IN_16;
                b[1] = op::SA_READ_CAPACITY_16;
                b[10..14].copy_from_slice(&allocation.to_be_bytes());
            }
            Cdb::GetLbaStatus { lba, allocation } => {
                b[0] = op::SERVICE_ACTION_IN_16;
                b[1] = op::SA_GET_LBA_STATUS;
                b[2..10].copy_from_slice(&lba.to_be_bytes());
                b[10..14].copy_from_slice(&allocation.to_be_bytes());
            }
            Cdb::ReportLuns { select, allocation } => {
                b[0] = op::REPORT_LUNS;
                b[2] = select;
                b[6..10].copy_from_slice(&allocation.to_be_bytes());
            }
            Cdb::Read(t) => {
                put_transfer(&mut b, t, [op::READ_6, op::READ_10, op::READ_12, op::READ_16])?;
            }
            Cdb::Write(t) => {
                put_transfer(&mut b, t, [op::WRITE_6, op::WRITE_10, op::WRITE_12, op::WRITE_16])?;
            }
            Cdb::Verify(v) => {
                b[0] = match v.width {
                    Width::Six => return Err(DoesNotFit("VERIFY width")),
                    Width::Ten => op::VERIFY_10,
                    Width::Twelve => op::VERIFY_12,
                    Width::Sixteen => op::VERIFY_16,
                };
                put_range(&mut b, v.width, v.lba, v.blocks)?;
                b[1] = bits(v.protect, 3, "VRPROTECT")? << 5
                    | u8::from(v.dpo) << 4
                    | bits(v.byte_check, 2, "BYTCHK")? << 1;
            }
            Cdb::SynchronizeCache { width, lba, blocks, immediate } => {
                b[0] = match width {
                    Width::Ten => op::SYNCHRONIZE_CACHE_10,
                    Width::Sixteen => op::SYNCHRONIZE_CACHE_16,
                    Width::Six | Width::Twelve => return Err(DoesNotFit("SYNCHRONIZE CACHE width")),
                };
                put_range(&mut b, width, lba, blocks)?;
                b[1] = u8::from(immediate) << 1;
            }
            Cdb::WriteSame(w) => {
                b[0] = match w.width {
                    Width::Ten => op::WRITE_SAME_10,
                    Width::Sixteen => op::WRITE_SAME_16,
                    Width::Six | Width::Twelve => return Err(DoesNotFit("WRITE SAME width")),
                };
                if w.no_data_out && w.width == Width::Ten {
                    return Err(DoesNotFit("NDOB"));
                }
                put_range(&mut b, w.width, w.lba, w.blocks)?;
                b[1] = bits(w.protect, 3, "WRPROTECT")? << 5
                    | u8::from(w.anchor) << 4
                    | u8::from(w.unmap) << 3
                    | u8::from(w.no_data_out);
            }
            Cdb::Unmap { anchor, parameter_length } => {
                b[0] = op::UNMAP;
                b[1] = u8::from(anchor);
                b[7..9].copy_from_slice(&parameter_length.to_be_bytes());
            }
            Cdb::Unknown(raw) => b = raw,
        }
        Ok(b)
    }
}

fn bits(value: u8, count: u32, what: &'static str) -> Result<u8, DoesNotFit> {
    if u32::from(value) < 1 << count { Ok(value) } else { Err(DoesNotFit(what)) }
}

fn put_transfer(b: &mut [u8; 16], t: Transfer, ops: [u8; 4]) -> Result<(), DoesNotFit> {
    put_range(b, t.width, t.lba, t.blocks)?;
    b[0] = ops[t.width as usize];
    if t.width == Width::Six {
        if t.dpo || t.fua || t.protect != 0 {
            return Err(DoesNotFit("DPO, FUA or protection in a 6-byte CDB"));
        }
    } else {
        b[1] = bits(t.protect, 3, "protection")? << 5 | u8::from(t.dpo) << 4 | u8::from(t.fua) << 3;
    }
    Ok(())
}

fn put_range(b: &mut [u8; 16], width: Width, lba: u64, blocks: u32) -> Result<(), DoesNotFit> {
    const LBA: DoesNotFit = DoesNotFit("LBA");
    const LENGTH: DoesNotFit = DoesNotFit("transfer length");
    match width {
        Width::Six => {
            if lba > 0x1f_ffff {
                return Err(LBA);
            }
            if blocks == 0 || blocks > 256 {
                return Err(LENGTH);
            }
            b[1..4].copy_from_slice(&(lba as u32).to_be_bytes()[1..]);
            b[4] = blocks as u8; // 256 becomes 0, as the standard has it
        }
        Width::Ten => {
            b[2..6].copy_from_slice(&u32::try_from(lba).map_err(|_| LBA)?.to_be_bytes());
            b[7..9].copy_from_slice(&u16::try_from(blocks).map_err(|_| LENGTH)?.to_be_bytes());
        }
        Width::Twelve => {
            b[2..6].copy_from_slice(&u32::try_from(lba).map_err(|_| LBA)?.to_be_bytes());
            b[6..10].copy_from_slice(&blocks.to_be_bytes());
        }
        Width::Sixteen => {
            b[2..10].copy_from_slice(&lba.to_be_bytes());
            b[10..14].copy_from_slice(&blocks.to_be_bytes());
        }
    }
    Ok(())
}
