//! LUN addressing (SAM-5 clause 4.7) and REPORT LUNS parameter data (SPC-4 clause 6.33).

use super::{BadData, u32_at};

/// An 8-byte LUN field as it travels.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lun(pub [u8; 8]);

impl Lun {
    /// LUN 0 in peripheral device addressing.
    pub const ZERO: Lun = Lun([0; 8]);
    /// The REPORT LUNS well-known logical unit (`C101h`).
    pub const REPORT_LUNS: Lun = Lun([0xc1, 0x01, 0, 0, 0, 0, 0, 0]);
    /// Largest number that single-level addressing here can express (flat space addressing, 14 bits).
    pub const MAX_NUMBER: u16 = 0x3fff;

    /// The field for a number: peripheral device addressing below 256, flat space addressing up to 16,383, else `None`.
    pub fn from_number(number: u16) -> Option<Lun> {
        let high = match number {
            0..=0xff => 0x00,
            0x100..=Lun::MAX_NUMBER => 0x40,
            _ => return None,
        };
        let mut raw = [0; 8];
        raw[0] = high | (number >> 8) as u8;
        raw[1] = number as u8;
        Some(Lun(raw))
    }

    /// The number, when the field is single-level in peripheral (bus 0) or flat space addressing.
    pub fn number(self) -> Option<u16> {
        let [a, b, rest @ ..] = self.0;
        if rest != [0; 6] {
            return None;
        }
        match a >> 6 {
            0 if a == 0 => Some(u16::from(b)),
            1 => Some(u16::from(a & 0x3f) << 8 | u16::from(b)),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Lun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.number() {
            Some(n) => write!(f, "Lun({n})"),
            None => write!(f, "Lun({:02x?})", self.0),
        }
    }
}

/// SELECT REPORT values of REPORT LUNS.
pub mod select {
    /// Logical units that are not well-known.
    pub const ADDRESSABLE: u8 = 0x00;
    /// Well-known logical units only.
    pub const WELL_KNOWN: u8 = 0x01;
    /// All logical units.
    pub const ALL: u8 = 0x02;
}

/// Builds REPORT LUNS parameter data: LUN LIST LENGTH in bytes, reserved word, list.
pub fn build(luns: &[Lun]) -> Vec<u8> {
    let mut data = Vec::with_capacity(8 + luns.len() * 8);
    data.extend_from_slice(&u32::try_from(luns.len() * 8).unwrap_or(!7).to_be_bytes());
    data.extend_from_slice(&[0; 4]);
    for lun in luns {
        data.extend_from_slice(&lun.0);
    }
    data
}

/// What REPORT LUNS said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedLuns {
    /// The LUNs that were received.
    pub luns: Vec<Lun>,
    /// LUN LIST LENGTH in bytes; more than `luns` holds when the allocation length was too small.
    pub list_length: u32,
}

/// Parses REPORT LUNS parameter data, possibly cut by the allocation length.
pub fn parse(data: &[u8]) -> Result<ReportedLuns, BadData> {
    const WHAT: BadData = BadData("REPORT LUNS data");
    let list_length = u32_at(data, 0).ok_or(WHAT)?;
    if !list_length.is_multiple_of(8) {
        return Err(WHAT);
    }
    let list = data.get(8..).ok_or(WHAT)?;
    let list = &list[..list.len().min(list_length as usize)];
    let luns = list
        .chunks_exact(8)
        .map(|c| {
            let mut raw = [0; 8];
            raw.copy_from_slice(c);
            Lun(raw)
        })
        .collect();
    Ok(ReportedLuns { luns, list_length })
}
