//! READ CAPACITY (10) and (16) parameter data (SBC-3 clauses 5.15 and 5.16).

use super::{BadData, u32_at, u64_at};

/// READ CAPACITY (10) data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity10 {
    /// LBA of the last block, or `FFFFFFFFh` when it does not fit: ask READ CAPACITY (16).
    pub last_lba: u32,
    /// Block length in bytes.
    pub block_length: u32,
}

impl Capacity10 {
    /// Writes the 8 bytes.
    pub fn build(&self) -> [u8; 8] {
        let mut data = [0; 8];
        data[..4].copy_from_slice(&self.last_lba.to_be_bytes());
        data[4..].copy_from_slice(&self.block_length.to_be_bytes());
        data
    }

    /// Reads the 8 bytes.
    pub fn parse(data: &[u8]) -> Result<Capacity10, BadData> {
        const WHAT: BadData = BadData("READ CAPACITY (10) data");
        Ok(Capacity10 { last_lba: u32_at(data, 0).ok_or(WHAT)?, block_length: u32_at(data, 4).ok_or(WHAT)? })
    }
}

/// READ CAPACITY (16) data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity16 {
    /// LBA of the last block.
    pub last_lba: u64,
    /// Block length in bytes.
    pub block_length: u32,
    /// PROT_EN: formatted with protection information.
    pub protection: bool,
    /// P_TYPE, three bits.
    pub protection_type: u8,
    /// LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT, four bits.
    pub physical_exponent: u8,
    /// LBPME: logical block provisioning management is on (thin).
    pub thin: bool,
    /// LBPRZ: unmapped blocks read as zeros.
    pub unmapped_reads_zero: bool,
    /// LOWEST ALIGNED LOGICAL BLOCK ADDRESS, 14 bits.
    pub lowest_aligned: u16,
}

impl Capacity16 {
    /// Writes the 32 bytes.
    pub fn build(&self) -> [u8; 32] {
        let mut data = [0; 32];
        data[..8].copy_from_slice(&self.last_lba.to_be_bytes());
        data[8..12].copy_from_slice(&self.block_length.to_be_bytes());
        data[12] = (self.protection_type & 7) << 1 | u8::from(self.protection);
        data[13] = self.physical_exponent & 0x0f;
        let low = self.lowest_aligned & 0x3fff;
        data[14] = u8::from(self.thin) << 7 | u8::from(self.unmapped_reads_zero) << 6 | (low >> 8) as u8;
        data[15] = low as u8;
        data
    }

    /// Reads at least the first 16 bytes.
    pub fn parse(data: &[u8]) -> Result<Capacity16, BadData> {
        const WHAT: BadData = BadData("READ CAPACITY (16) data");
        let flags = data.get(12..16).ok_or(WHAT)?;
        Ok(Capacity16 {
            last_lba: u64_at(data, 0).ok_or(WHAT)?,
            block_length: u32_at(data, 8).ok_or(WHAT)?,
            protection: flags[0] & 1 != 0,
            protection_type: flags[0] >> 1 & 7,
            physical_exponent: flags[1] & 0x0f,
            thin: flags[2] & 0x80 != 0,
            unmapped_reads_zero: flags[2] & 0x40 != 0,
            lowest_aligned: u16::from(flags[2] & 0x3f) << 8 | u16::from(flags[3]),
        })
    }
}
