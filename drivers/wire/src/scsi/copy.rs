//! EXTENDED COPY (LID1) parameter list and RECEIVE COPY RESULTS data (SPC-4 clauses 6.4 and 6.21 to 6.24).

use super::{BadData, u16_at, u32_at, u64_at};

/// Service actions of RECEIVE COPY RESULTS.
pub mod results {
    /// COPY STATUS.
    pub const COPY_STATUS: u8 = 0;
    /// RECEIVE DATA.
    pub const RECEIVE_DATA: u8 = 1;
    /// OPERATING PARAMETERS.
    pub const OPERATING_PARAMETERS: u8 = 3;
    /// FAILED SEGMENT DETAILS.
    pub const FAILED_SEGMENT_DETAILS: u8 = 4;
}

/// Descriptor type of an identification descriptor CSCD.
pub const CSCD_IDENTIFICATION: u8 = 0xe4;
/// Descriptor type of a block to block segment.
pub const SEGMENT_BLOCK_TO_BLOCK: u8 = 0x02;
/// Bytes of every CSCD descriptor here.
pub const CSCD_BYTES: usize = 32;
/// Bytes of the header of the parameter list.
pub const HEADER_BYTES: usize = 16;

/// Header of the parameter list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// LIST IDENTIFIER.
    pub list: u8,
    /// STR: sequential striped.
    pub striped: bool,
    /// LIST ID USAGE, two bits: 0 hold results, 2 discard, 3 no list identifier.
    pub usage: u8,
    /// PRIORITY, three bits.
    pub priority: u8,
    /// CSCD DESCRIPTOR LIST LENGTH, bytes.
    pub cscd_bytes: u16,
    /// SEGMENT DESCRIPTOR LIST LENGTH, bytes.
    pub segment_bytes: u32,
    /// INLINE DATA LENGTH, bytes.
    pub inline_bytes: u32,
}

impl Header {
    /// Writes the 16 bytes.
    pub fn build(self) -> [u8; HEADER_BYTES] {
        let mut data = [0; HEADER_BYTES];
        data[0] = self.list;
        data[1] = u8::from(self.striped) << 5 | (self.usage & 3) << 3 | self.priority & 7;
        data[2..4].copy_from_slice(&self.cscd_bytes.to_be_bytes());
        data[8..12].copy_from_slice(&self.segment_bytes.to_be_bytes());
        data[12..16].copy_from_slice(&self.inline_bytes.to_be_bytes());
        data
    }

    /// Reads the 16 bytes.
    pub fn parse(data: &[u8]) -> Result<Header, BadData> {
        let d = data.first_chunk::<HEADER_BYTES>().ok_or(BadData("EXTENDED COPY header"))?;
        Ok(Header {
            list: d[0],
            striped: d[1] & 0x20 != 0,
            usage: d[1] >> 3 & 3,
            priority: d[1] & 7,
            cscd_bytes: u16::from_be_bytes([d[2], d[3]]),
            segment_bytes: u32_at(d, 8).unwrap_or(0),
            inline_bytes: u32_at(d, 12).unwrap_or(0),
        })
    }
}

/// Identification descriptor CSCD (type E4h): a unit by its designator. LU ID TYPE and NUL are obsolete since SPC-4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cscd {
    /// Peripheral device type, five bits.
    pub device_type: u8,
    /// CODE SET, four bits.
    pub code_set: u8,
    /// ASSOCIATION, two bits.
    pub association: u8,
    /// DESIGNATOR TYPE, four bits.
    pub kind: u8,
    /// Designator, at most 20 bytes.
    pub designator: Vec<u8>,
    /// DISK BLOCK LENGTH, bytes.
    pub block_length: u32,
}

impl Cscd {
    /// A disk by its 16-byte NAA designator, with blocks of 512 bytes.
    pub fn naa(wwn: &[u8; 16]) -> Cscd {
        let designator = wwn.to_vec();
        Cscd { device_type: 0, code_set: 1, association: 0, kind: 3, designator, block_length: 512 }
    }

    /// Writes the 32 bytes.
    pub fn build(&self) -> [u8; CSCD_BYTES] {
        let mut data = [0; CSCD_BYTES];
        let length = self.designator.len().min(20);
        data[0] = CSCD_IDENTIFICATION;
        data[1] = self.device_type & 0x1f;
        data[4] = self.code_set & 0x0f;
        data[5] = (self.association & 3) << 4 | self.kind & 0x0f;
        data[7] = length as u8;
        data[8..8 + length].copy_from_slice(&self.designator[..length]);
        data[29..32].copy_from_slice(&self.block_length.to_be_bytes()[1..]);
        data
    }

    /// Reads the 32 bytes of a descriptor whose type was looked at.
    pub fn parse(d: &[u8]) -> Result<Cscd, BadData> {
        const WHAT: BadData = BadData("CSCD descriptor");
        let d = d.first_chunk::<CSCD_BYTES>().ok_or(WHAT)?;
        let designator = d.get(8..8 + usize::from(d[7])).filter(|id| id.len() <= 20).ok_or(WHAT)?;
        Ok(Cscd {
            device_type: d[1] & 0x1f,
            code_set: d[4] & 0x0f,
            association: d[5] >> 4 & 3,
            kind: d[5] & 0x0f,
            designator: designator.to_vec(),
            block_length: u32::from_be_bytes([0, d[29], d[30], d[31]]),
        })
    }
}

/// Block to block segment (type 02h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// DC: the count means blocks of the destination.
    pub destination_count: bool,
    /// CAT.
    pub residual: bool,
    /// SOURCE CSCD DESCRIPTOR ID.
    pub source: u16,
    /// DESTINATION CSCD DESCRIPTOR ID.
    pub destination: u16,
    /// BLOCK DEVICE NUMBER OF BLOCKS.
    pub blocks: u16,
    /// SOURCE BLOCK DEVICE LOGICAL BLOCK ADDRESS.
    pub source_lba: u64,
    /// DESTINATION BLOCK DEVICE LOGICAL BLOCK ADDRESS.
    pub destination_lba: u64,
}

/// Bytes of a block to block segment.
pub const SEGMENT_BYTES: usize = 28;

impl Segment {
    /// Writes the 28 bytes.
    pub fn build(self) -> [u8; SEGMENT_BYTES] {
        let mut data = [0; SEGMENT_BYTES];
        data[0] = SEGMENT_BLOCK_TO_BLOCK;
        data[1] = u8::from(self.destination_count) << 1 | u8::from(self.residual);
        data[3] = (SEGMENT_BYTES - 4) as u8;
        data[4..6].copy_from_slice(&self.source.to_be_bytes());
        data[6..8].copy_from_slice(&self.destination.to_be_bytes());
        data[10..12].copy_from_slice(&self.blocks.to_be_bytes());
        data[12..20].copy_from_slice(&self.source_lba.to_be_bytes());
        data[20..28].copy_from_slice(&self.destination_lba.to_be_bytes());
        data
    }

    /// Reads the 28 bytes of a descriptor whose type was looked at.
    pub fn parse(d: &[u8]) -> Result<Segment, BadData> {
        const WHAT: BadData = BadData("segment descriptor");
        let d = d.first_chunk::<SEGMENT_BYTES>().ok_or(WHAT)?;
        if u16::from_be_bytes([d[2], d[3]]) as usize != SEGMENT_BYTES - 4 {
            return Err(WHAT);
        }
        Ok(Segment {
            destination_count: d[1] & 2 != 0,
            residual: d[1] & 1 != 0,
            source: u16_at(d, 4).ok_or(WHAT)?,
            destination: u16_at(d, 6).ok_or(WHAT)?,
            blocks: u16_at(d, 10).ok_or(WHAT)?,
            source_lba: u64_at(d, 12).ok_or(WHAT)?,
            destination_lba: u64_at(d, 20).ok_or(WHAT)?,
        })
    }
}

/// Builds a parameter list of CSCD and segment descriptors.
pub fn build_list(list: u8, usage: u8, units: &[Cscd], segments: &[Segment]) -> Vec<u8> {
    let header = Header {
        list,
        usage,
        cscd_bytes: u16::try_from(units.len() * CSCD_BYTES).unwrap_or(u16::MAX),
        segment_bytes: u32::try_from(segments.len() * SEGMENT_BYTES).unwrap_or(u32::MAX),
        ..Header::default()
    };
    let mut data = header.build().to_vec();
    units.iter().for_each(|unit| data.extend_from_slice(&unit.build()));
    segments.iter().for_each(|segment| data.extend_from_slice(&segment.build()));
    data
}

/// OPERATING PARAMETERS data: the limits of a copy manager.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OperatingParameters {
    /// SNLID: a list identifier of 0 with usage 11b is understood.
    pub no_list: bool,
    /// MAXIMUM CSCD COUNT.
    pub cscds: u16,
    /// MAXIMUM SEGMENT COUNT.
    pub segments: u16,
    /// MAXIMUM DESCRIPTOR LIST LENGTH, bytes.
    pub list_bytes: u32,
    /// MAXIMUM SEGMENT LENGTH, bytes.
    pub segment_bytes: u32,
    /// TOTAL CONCURRENT COPIES and MAXIMUM CONCURRENT COPIES.
    pub concurrent: u8,
    /// DATA SEGMENT GRANULARITY, as a power of two.
    pub granularity: u8,
}

impl OperatingParameters {
    /// Writes the data; the implemented descriptor types are block to block and identification descriptor.
    pub fn build(self) -> Vec<u8> {
        let mut data = vec![0; 44];
        data[4] = u8::from(self.no_list);
        data[8..10].copy_from_slice(&self.cscds.to_be_bytes());
        data[10..12].copy_from_slice(&self.segments.to_be_bytes());
        data[12..16].copy_from_slice(&self.list_bytes.to_be_bytes());
        data[16..20].copy_from_slice(&self.segment_bytes.to_be_bytes());
        data[34..36].copy_from_slice(&u16::from(self.concurrent).to_be_bytes());
        data[36] = self.concurrent;
        data[37] = self.granularity;
        data.extend_from_slice(&[SEGMENT_BLOCK_TO_BLOCK, CSCD_IDENTIFICATION]);
        data[43] = 2;
        let length = (data.len() - 4) as u32;
        data[..4].copy_from_slice(&length.to_be_bytes());
        data
    }

    /// Reads the data.
    pub fn parse(data: &[u8]) -> Result<OperatingParameters, BadData> {
        const WHAT: BadData = BadData("OPERATING PARAMETERS data");
        let d = data.first_chunk::<44>().ok_or(WHAT)?;
        Ok(OperatingParameters {
            no_list: d[4] & 1 != 0,
            cscds: u16_at(d, 8).ok_or(WHAT)?,
            segments: u16_at(d, 10).ok_or(WHAT)?,
            list_bytes: u32_at(d, 12).ok_or(WHAT)?,
            segment_bytes: u32_at(d, 16).ok_or(WHAT)?,
            concurrent: d[36],
            granularity: d[37],
        })
    }
}

/// COPY STATUS data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyStatus {
    /// COPY MANAGER STATUS, seven bits: 0 in progress, 1 done without errors, 2 done with errors.
    pub status: u8,
    /// SEGMENTS PROCESSED.
    pub segments: u16,
    /// TRANSFER COUNT in bytes.
    pub bytes: u32,
}

impl CopyStatus {
    /// Writes the 12 bytes.
    pub fn build(self) -> [u8; 12] {
        let mut data = [0; 12];
        data[3] = 8;
        data[4] = self.status & 0x7f;
        data[5..7].copy_from_slice(&self.segments.to_be_bytes());
        data[8..12].copy_from_slice(&self.bytes.to_be_bytes());
        data
    }

    /// Reads the 12 bytes.
    pub fn parse(data: &[u8]) -> Result<CopyStatus, BadData> {
        const WHAT: BadData = BadData("COPY STATUS data");
        let d = data.first_chunk::<12>().ok_or(WHAT)?;
        Ok(CopyStatus {
            status: d[4] & 0x7f,
            segments: u16_at(d, 5).ok_or(WHAT)?,
            bytes: u32_at(d, 8).ok_or(WHAT)?,
        })
    }
}
