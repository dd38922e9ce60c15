//! SCSI commands as a host uses them: building CDBs, reading answers, judging sense data. No I/O.

use bytes::Bytes;
use sanbench_api::{BLOCK_SIZE, BlockError, LbaRange, LbaState, Wwn};
use sanbench_wire::scsi::capacity::{Capacity10, Capacity16};
use sanbench_wire::scsi::cdb::{Cdb, Transfer as CdbTransfer, Width};
use sanbench_wire::scsi::inquiry::StandardInquiry;
use sanbench_wire::scsi::lba_status;
use sanbench_wire::scsi::luns::{self, Lun};
use sanbench_wire::scsi::sense::{Asc, Sense, SenseKey};
use sanbench_wire::scsi::unmap::{self, UnmapRange};
use sanbench_wire::scsi::vpd::{Association, Identifier, Vpd};

use crate::session::{Request, Transfer};

/// A block command within the limits of the device.
#[derive(Clone, Debug)]
pub enum Op {
    /// READ.
    Read {
        /// First block.
        lba: u64,
        /// Blocks.
        blocks: u32,
    },
    /// WRITE of whole blocks.
    Write {
        /// First block.
        lba: u64,
        /// Data.
        data: Bytes,
    },
    /// SYNCHRONIZE CACHE of the whole medium.
    Flush,
    /// UNMAP of (first block, blocks).
    Unmap(Vec<(u64, u32)>),
    /// GET LBA STATUS.
    LbaStatus {
        /// First block.
        lba: u64,
    },
}

impl Op {
    /// The ranges whose content the command changes, as (first block, blocks).
    pub fn changes(&self) -> Vec<(u64, u64)> {
        match self {
            Self::Write { lba, data } => vec![(*lba, data.len() as u64 / u64::from(BLOCK_SIZE))],
            Self::Unmap(ranges) => ranges.iter().map(|(lba, blocks)| (*lba, u64::from(*blocks))).collect(),
            Self::Read { .. } | Self::Flush | Self::LbaStatus { .. } => Vec::new(),
        }
    }

    /// The command for a logical unit. READ and WRITE take the 16-byte form only where the 10-byte form does not reach, or
    /// when `long` asks for it.
    pub fn request(&self, lun: Lun, long: bool) -> Request {
        let width = |lba: u64, blocks: u64| {
            if long || lba + blocks > u64::from(u32::MAX) || blocks > 0xffff {
                Width::Sixteen
            } else {
                Width::Ten
            }
        };
        match self {
            Self::Read { lba, blocks } => request(
                lun,
                Cdb::Read(CdbTransfer::new(width(*lba, u64::from(*blocks)), *lba, *blocks)),
                Transfer::In(blocks.saturating_mul(BLOCK_SIZE)),
            ),
            Self::Write { lba, data } => {
                let blocks = u32::try_from(data.len() / BLOCK_SIZE as usize).unwrap_or(u32::MAX);
                let width = width(*lba, u64::from(blocks));
                request(lun, Cdb::Write(CdbTransfer::new(width, *lba, blocks)), Transfer::Out(data.clone()))
            }
            Self::Flush => {
                let width = if long { Width::Sixteen } else { Width::Ten };
                let cdb = Cdb::SynchronizeCache { width, lba: 0, blocks: 0, immediate: false };
                request(lun, cdb, Transfer::None)
            }
            Self::Unmap(ranges) => {
                let ranges: Vec<UnmapRange> =
                    ranges.iter().map(|(lba, blocks)| UnmapRange { lba: *lba, blocks: *blocks }).collect();
                let list = unmap::build(&ranges);
                let length = u16::try_from(list.len()).unwrap_or(u16::MAX);
                let cdb = Cdb::Unmap { anchor: false, parameter_length: length };
                request(lun, cdb, Transfer::Out(Bytes::from(list)))
            }
            Self::LbaStatus { lba } => {
                let allocation = 8 + 16 * 64;
                request(lun, Cdb::GetLbaStatus { lba: *lba, allocation }, Transfer::In(allocation))
            }
        }
    }
}

/// A request from a typed CDB. All values that this crate puts into CDBs fit their fields.
pub fn request(lun: Lun, cdb: Cdb, data: Transfer) -> Request {
    // An LBA or length that does not fit becomes an invalid opcode, which a device server refuses.
    Request { lun, cdb: cdb.build().unwrap_or([0xff; 16]), data }
}

/// INQUIRY, standard data or a VPD page.
pub fn inquiry(lun: Lun, vpd: Option<u8>) -> Request {
    let allocation = if vpd.is_some() { 1024 } else { 96 };
    let cdb = Cdb::Inquiry { evpd: vpd.is_some(), page: vpd.unwrap_or(0), allocation };
    request(lun, cdb, Transfer::In(u32::from(allocation)))
}

/// TEST UNIT READY.
pub fn test_unit_ready(lun: Lun) -> Request {
    request(lun, Cdb::TestUnitReady, Transfer::None)
}

/// READ CAPACITY (16) or (10).
pub fn read_capacity(lun: Lun, long: bool) -> Request {
    if long {
        request(lun, Cdb::ReadCapacity16 { allocation: 32 }, Transfer::In(32))
    } else {
        request(lun, Cdb::ReadCapacity10, Transfer::In(8))
    }
}

/// REPORT LUNS to LUN 0.
pub fn report_luns() -> Request {
    let allocation = 8 + 8 * 16_384;
    let cdb = Cdb::ReportLuns { select: luns::select::ADDRESSABLE, allocation };
    request(Lun::ZERO, cdb, Transfer::In(allocation))
}

/// The whole data of a completion in one piece; no copy when it came in one piece.
pub fn joined(mut parts: Vec<Bytes>) -> Bytes {
    match parts.len() {
        0 => Bytes::new(),
        1 => parts.swap_remove(0),
        _ => {
            let mut all = Vec::with_capacity(parts.iter().map(Bytes::len).sum());
            parts.iter().for_each(|p| all.extend_from_slice(p));
            Bytes::from(all)
        }
    }
}

fn malformed(what: impl std::fmt::Display) -> BlockError {
    BlockError::Protocol { message: what.to_string() }
}

/// True when a logical unit is connected there (peripheral qualifier 0, direct access device).
///
/// # Errors
/// Malformed data.
pub fn parse_present(data: &[u8]) -> Result<bool, BlockError> {
    let inquiry = StandardInquiry::parse(data).map_err(malformed)?;
    Ok(inquiry.peripheral.qualifier == 0 && inquiry.peripheral.device_type == 0)
}

/// The identity in VPD page 83h: the longest NAA designator of the logical unit. An 8-byte name is filled up with zeros.
/// `None`: the page tells no NAA name, or that no logical unit is connected.
///
/// # Errors
/// Malformed data.
pub fn parse_wwn(data: &[u8]) -> Result<Option<Wwn>, BlockError> {
    let (peripheral, vpd) = Vpd::parse(data).map_err(malformed)?;
    let Vpd::DeviceId(designators) = vpd else { return Err(malformed("another VPD page than asked for")) };
    if peripheral.qualifier != 0 {
        return Ok(None);
    }
    let best = designators
        .into_iter()
        .filter(|d| d.association == Association::LogicalUnit)
        .filter_map(|d| match d.id {
            Identifier::Naa(name) if name.len() <= 16 && !name.is_empty() => Some(name),
            _ => None,
        })
        .max_by_key(Vec::len);
    Ok(best.map(|name| {
        let mut wwn = [0; 16];
        wwn[..name.len()].copy_from_slice(&name);
        Wwn(wwn)
    }))
}

/// Capacity in blocks.
///
/// # Errors
/// Malformed data, another block length than [`BLOCK_SIZE`], a capacity over 2^63 bytes.
pub fn parse_capacity(data: &[u8], long: bool) -> Result<u64, BlockError> {
    let (last, length) = if long {
        let c = Capacity16::parse(data).map_err(malformed)?;
        (c.last_lba, c.block_length)
    } else {
        let c = Capacity10::parse(data).map_err(malformed)?;
        (u64::from(c.last_lba), c.block_length)
    };
    if length != BLOCK_SIZE {
        return Err(malformed(format_args!("block length of {length} bytes")));
    }
    last.checked_add(1).filter(|b| *b <= 1 << 54).ok_or_else(|| malformed("capacity out of range"))
}

/// LUN numbers of a REPORT LUNS answer, in its order; LUNs of forms that we do not use are left out.
///
/// # Errors
/// Malformed data.
pub fn parse_luns(data: &[u8]) -> Result<Vec<u16>, BlockError> {
    Ok(luns::parse(data).map_err(malformed)?.luns.into_iter().filter_map(Lun::number).collect())
}

/// Block limits that splitting needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceLimits {
    /// Blocks of one READ or WRITE at most.
    pub max_transfer: u32,
    /// Blocks of one UNMAP at most; 0: UNMAP is not supported.
    pub max_unmap_blocks: u32,
    /// Descriptors of one UNMAP at most.
    pub max_unmap_descriptors: u32,
}

/// Blocks of one command at most, whatever the device allows: 256 KiB, so that several are in flight.
pub const CHUNK_BLOCKS: u32 = 512;

impl Default for DeviceLimits {
    /// For a device that tells nothing.
    fn default() -> Self {
        Self { max_transfer: CHUNK_BLOCKS, max_unmap_blocks: 0, max_unmap_descriptors: 0 }
    }
}

impl DeviceLimits {
    /// From the block limits page B0h and the provisioning page B2h, where the device has them.
    pub fn from_pages(limits: Option<&[u8]>, provisioning: Option<&[u8]>) -> Self {
        let mut result = Self::default();
        let can_unmap = match provisioning.map(Vpd::parse) {
            Some(Ok((_, Vpd::Provisioning(p)))) => p.unmap,
            _ => false,
        };
        if let Some(Ok((_, Vpd::BlockLimits(l)))) = limits.map(Vpd::parse) {
            if l.max_transfer != 0 {
                result.max_transfer = l.max_transfer.min(CHUNK_BLOCKS);
            }
            if can_unmap {
                result.max_unmap_blocks = l.max_unmap_blocks;
                // 4,095 is what the parameter list can hold.
                result.max_unmap_descriptors = l.max_unmap_descriptors.min(4095);
            }
        }
        result
    }

    /// Splits ranges into UNMAP commands within both limits. Empty ranges vanish.
    pub fn split_unmap(&self, ranges: &[(u64, u32)]) -> Vec<Vec<(u64, u32)>> {
        let mut commands: Vec<Vec<(u64, u32)>> = Vec::new();
        let (most, count) = (self.max_unmap_blocks.max(1), self.max_unmap_descriptors.max(1) as usize);
        let mut used = 0;
        for (start, blocks) in ranges {
            let (mut lba, mut left) = (*start, *blocks);
            while left > 0 {
                if used == most || commands.last().is_none_or(|c| c.len() >= count) {
                    commands.push(Vec::new());
                    used = 0;
                }
                let step = left.min(most - used);
                if let Some(command) = commands.last_mut() {
                    command.push((lba, step));
                }
                used += step;
                lba += u64::from(step);
                left -= step;
            }
        }
        commands
    }
}

/// Descriptors of GET LBA STATUS from `lba` on, checked to be contiguous and not empty.
///
/// # Errors
/// Malformed or inconsistent data.
pub fn parse_lba_status(data: &[u8], lba: u64) -> Result<Vec<LbaRange>, BlockError> {
    let mut at = lba;
    let mut ranges = Vec::new();
    for run in lba_status::parse(data).map_err(malformed)? {
        let end = run.lba.checked_add(u64::from(run.blocks)).ok_or_else(|| malformed("LBA status range"))?;
        // The first descriptor may begin before the block that was asked for (SBC-3 clause 5.5.2).
        let begin = if ranges.is_empty() { run.lba.max(at) } else { run.lba };
        if begin != at || end <= begin {
            return Err(malformed("LBA status descriptors are not contiguous"));
        }
        let state = match run.status.0 {
            0 => LbaState::Mapped,
            1 => LbaState::Deallocated,
            other => LbaState::Other(other),
        };
        ranges.push(LbaRange { lba: begin, blocks: end - begin, state });
        at = end;
    }
    if ranges.is_empty() { Err(malformed("LBA status without descriptors")) } else { Ok(ranges) }
}

/// Sense data as the contract's error.
pub fn sense_error(sense: Sense) -> BlockError {
    BlockError::Sense {
        key: sense.key.0,
        asc: sense.asc.code(),
        ascq: sense.asc.qualifier(),
        text: format!("{}, {}", sense.key.name(), sense.asc.name()),
    }
}

/// The error of a logical unit that is not mapped (any more).
pub fn not_supported() -> BlockError {
    sense_error(Sense::new(SenseKey::ILLEGAL_REQUEST, Asc::LOGICAL_UNIT_NOT_SUPPORTED))
}
