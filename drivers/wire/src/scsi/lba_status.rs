//! GET LBA STATUS parameter data (SBC-3 clause 5.5).

use super::{BadData, u32_at, u64_at};
use crate::codes::codes;

codes! {
    /// PROVISIONING STATUS of a run of blocks; four bits.
    Provisioning(u8) {
        MAPPED = 0, "mapped or unknown";
        DEALLOCATED = 1, "deallocated";
        ANCHORED = 2, "anchored";
    }
}

/// One run of blocks with the same provisioning status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LbaStatus {
    /// First LBA of the run.
    pub lba: u64,
    /// Blocks in the run, at least 1.
    pub blocks: u32,
    /// Status of them all.
    pub status: Provisioning,
}

/// Builds the parameter data.
pub fn build(runs: &[LbaStatus]) -> Vec<u8> {
    let mut data = Vec::with_capacity(8 + runs.len() * 16);
    data.extend_from_slice(&u32::try_from(runs.len() * 16 + 4).unwrap_or(u32::MAX).to_be_bytes());
    data.extend_from_slice(&[0; 4]);
    for run in runs {
        data.extend_from_slice(&run.lba.to_be_bytes());
        data.extend_from_slice(&run.blocks.to_be_bytes());
        data.extend_from_slice(&[run.status.0 & 0x0f, 0, 0, 0]);
    }
    data
}

/// Parses the descriptors that were received (data may be cut by the allocation length).
pub fn parse(data: &[u8]) -> Result<Vec<LbaStatus>, BadData> {
    const WHAT: BadData = BadData("GET LBA STATUS data");
    let length = u32_at(data, 0).ok_or(WHAT)? as usize;
    let list = data.get(8..).ok_or(WHAT)?;
    let list = &list[..list.len().min(length.saturating_sub(4))];
    list.chunks_exact(16)
        .map(|d| {
            Ok(LbaStatus {
                lba: u64_at(d, 0).ok_or(WHAT)?,
                blocks: u32_at(d, 8).ok_or(WHAT)?,
                status: Provisioning(d[12] & 0x0f),
            })
        })
        .collect()
}
