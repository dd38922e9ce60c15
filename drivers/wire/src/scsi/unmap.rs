//! UNMAP parameter list (SBC-3 clause 5.28).

use super::{BadData, u16_at, u32_at, u64_at};

/// One UNMAP block descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnmapRange {
    /// First LBA.
    pub lba: u64,
    /// Number of blocks; 0 is allowed and means nothing.
    pub blocks: u32,
}

/// Builds the parameter list; at most 4,095 descriptors fit its 16-bit lengths, more are left out.
pub fn build(ranges: &[UnmapRange]) -> Vec<u8> {
    let ranges = &ranges[..ranges.len().min(4095)];
    let descriptors = ranges.len() * 16;
    let mut data = Vec::with_capacity(8 + descriptors);
    data.extend_from_slice(&((descriptors + 6) as u16).to_be_bytes());
    data.extend_from_slice(&(descriptors as u16).to_be_bytes());
    data.extend_from_slice(&[0; 4]);
    for range in ranges {
        data.extend_from_slice(&range.lba.to_be_bytes());
        data.extend_from_slice(&range.blocks.to_be_bytes());
        data.extend_from_slice(&[0; 4]);
    }
    data
}

/// Parses the parameter list. As the standard asks, a descriptor length that is not a multiple of 16 is rounded down.
/// Lengths that go past the received data are refused.
pub fn parse(data: &[u8]) -> Result<Vec<UnmapRange>, BadData> {
    const WHAT: BadData = BadData("UNMAP parameter list");
    let total = usize::from(u16_at(data, 0).ok_or(WHAT)?);
    let descriptors = usize::from(u16_at(data, 2).ok_or(WHAT)?);
    if descriptors + 6 > total && descriptors > 0 {
        return Err(WHAT);
    }
    let list = data.get(8..8 + descriptors).ok_or(WHAT)?;
    list.chunks_exact(16)
        .map(|d| Ok(UnmapRange { lba: u64_at(d, 0).ok_or(WHAT)?, blocks: u32_at(d, 8).ok_or(WHAT)? }))
        .collect()
}
