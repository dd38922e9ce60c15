//! Vital product data pages 00h, 80h, 83h, 86h, B0h, B1h, B2h (SPC-4 clause 7.8, SBC-3 clause 6.5).

use super::inquiry::Peripheral;
use super::{BadData, ascii, u16_at, u32_at, u64_at};

/// Page codes.
pub mod page {
    /// Supported VPD pages.
    pub const SUPPORTED: u8 = 0x00;
    /// Unit serial number.
    pub const SERIAL: u8 = 0x80;
    /// Device identification.
    pub const DEVICE_ID: u8 = 0x83;
    /// Extended INQUIRY data.
    pub const EXTENDED: u8 = 0x86;
    /// Block limits.
    pub const BLOCK_LIMITS: u8 = 0xb0;
    /// Block device characteristics.
    pub const CHARACTERISTICS: u8 = 0xb1;
    /// Logical block provisioning.
    pub const PROVISIONING: u8 = 0xb2;
}

/// A VPD page with its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vpd {
    /// Page 00h: the supported page codes, ascending.
    Supported(Vec<u8>),
    /// Page 80h: product serial number, printable ASCII.
    Serial(String),
    /// Page 83h: designators.
    DeviceId(Vec<Designator>),
    /// Page 86h.
    Extended(Extended),
    /// Page B0h.
    BlockLimits(BlockLimits),
    /// Page B1h.
    Characteristics(Characteristics),
    /// Page B2h.
    Provisioning(Provisioning),
}

impl Vpd {
    /// The page code.
    pub fn code(&self) -> u8 {
        match self {
            Vpd::Supported(_) => page::SUPPORTED,
            Vpd::Serial(_) => page::SERIAL,
            Vpd::DeviceId(_) => page::DEVICE_ID,
            Vpd::Extended(_) => page::EXTENDED,
            Vpd::BlockLimits(_) => page::BLOCK_LIMITS,
            Vpd::Characteristics(_) => page::CHARACTERISTICS,
            Vpd::Provisioning(_) => page::PROVISIONING,
        }
    }

    /// Writes the whole page: four header bytes and the body.
    pub fn build(&self, peripheral: Peripheral) -> Vec<u8> {
        let mut data = vec![peripheral.byte(), self.code(), 0, 0];
        match self {
            Vpd::Supported(codes) => data.extend_from_slice(codes),
            Vpd::Serial(text) => {
                data.extend(text.bytes().map(|b| if (0x20..0x7f).contains(&b) { b } else { b'?' }))
            }
            Vpd::DeviceId(designators) => {
                for d in designators {
                    d.build(&mut data);
                }
            }
            Vpd::Extended(e) => data.extend_from_slice(&e.build()),
            Vpd::BlockLimits(limits) => data.extend_from_slice(&limits.build()),
            Vpd::Characteristics(c) => data.extend_from_slice(&c.build()),
            Vpd::Provisioning(p) => data.extend_from_slice(&p.build()),
        }
        let body = u16::try_from(data.len() - 4).unwrap_or(u16::MAX);
        data[2..4].copy_from_slice(&body.to_be_bytes());
        data.truncate(4 + usize::from(body));
        data
    }

    /// Reads one of the pages above.
    pub fn parse(data: &[u8]) -> Result<(Peripheral, Vpd), BadData> {
        const WHAT: BadData = BadData("VPD page");
        let header = data.first_chunk::<4>().ok_or(WHAT)?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let body = data.get(4..4 + length).ok_or(WHAT)?;
        let vpd = match header[1] {
            page::SUPPORTED => Vpd::Supported(body.to_vec()),
            page::SERIAL => Vpd::Serial(ascii(body)),
            page::DEVICE_ID => Vpd::DeviceId(Designator::parse_all(body)?),
            page::EXTENDED => Vpd::Extended(Extended::parse(body)?),
            page::BLOCK_LIMITS => Vpd::BlockLimits(BlockLimits::parse(body)?),
            page::CHARACTERISTICS => Vpd::Characteristics(Characteristics::parse(body)?),
            page::PROVISIONING => Vpd::Provisioning(Provisioning::parse(body)?),
            _ => return Err(BadData("VPD page: unknown page code")),
        };
        Ok((Peripheral::from_byte(header[0]), vpd))
    }
}

/// What a designator describes (ASSOCIATION field).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Association {
    /// The logical unit.
    LogicalUnit,
    /// The target port.
    TargetPort,
    /// The target device.
    TargetDevice,
    /// The reserved value 3.
    Reserved,
}

/// Value of a designator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identifier {
    /// Type 1: T10 vendor ID and vendor specific text.
    T10(String),
    /// Type 3: NAA, 8 or 16 bytes.
    Naa(Vec<u8>),
    /// Type 4: relative target port identifier.
    RelativePort(u16),
    /// Type 5: target port group.
    PortGroup(u16),
    /// Type 8: SCSI name string (an iSCSI name), UTF-8.
    Name(String),
    /// Any other type as it stands.
    Other {
        /// DESIGNATOR TYPE, four bits.
        kind: u8,
        /// CODE SET, four bits.
        code_set: u8,
        /// Bytes.
        value: Vec<u8>,
    },
}

/// One designation descriptor of page 83h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Designator {
    /// What is described.
    pub association: Association,
    /// PROTOCOL IDENTIFIER with PIV set (5 is iSCSI).
    pub protocol: Option<u8>,
    /// The identifier, at most 255 bytes.
    pub id: Identifier,
}

impl Designator {
    fn build(&self, out: &mut Vec<u8>) {
        let (kind, code_set, value) = match &self.id {
            Identifier::T10(text) => (1, 2, text.as_bytes().to_vec()),
            Identifier::Naa(value) => (3, 1, value.clone()),
            Identifier::RelativePort(n) => (4, 1, [0, 0].into_iter().chain(n.to_be_bytes()).collect()),
            Identifier::PortGroup(n) => (5, 1, [0, 0].into_iter().chain(n.to_be_bytes()).collect()),
            Identifier::Name(text) => {
                // SCSI name strings end with NUL and are padded to a multiple of four (SPC-4 clause 7.8.5.11).
                let mut value = text.as_bytes().to_vec();
                value.push(0);
                value.resize(value.len().next_multiple_of(4), 0);
                (8, 3, value)
            }
            Identifier::Other { kind, code_set, value } => (*kind, *code_set, value.clone()),
        };
        let value = &value[..value.len().min(255)];
        let association = match self.association {
            Association::LogicalUnit => 0,
            Association::TargetPort => 1,
            Association::TargetDevice => 2,
            Association::Reserved => 3,
        };
        let piv = if self.protocol.is_some() { 0x80 } else { 0 };
        out.push(self.protocol.unwrap_or(0) << 4 | code_set & 0x0f);
        out.push(piv | association << 4 | kind & 0x0f);
        out.push(0);
        out.push(value.len() as u8);
        out.extend_from_slice(value);
    }

    fn parse_all(mut body: &[u8]) -> Result<Vec<Designator>, BadData> {
        const WHAT: BadData = BadData("device identification page");
        let mut all = Vec::new();
        while !body.is_empty() {
            let head = body.first_chunk::<4>().ok_or(WHAT)?;
            let end = 4 + usize::from(head[3]);
            let value = body.get(4..end).ok_or(WHAT)?;
            let (kind, code_set) = (head[1] & 0x0f, head[0] & 0x0f);
            let id = match (kind, code_set, value.len()) {
                (1, 2, _) => match std::str::from_utf8(value) {
                    Ok(text) => Identifier::T10(text.to_owned()),
                    Err(_) => return Err(WHAT),
                },
                (3, 1, _) => Identifier::Naa(value.to_vec()),
                (4, 1, 4) => Identifier::RelativePort(u16_at(value, 2).ok_or(WHAT)?),
                (5, 1, 4) => Identifier::PortGroup(u16_at(value, 2).ok_or(WHAT)?),
                (8, 3, _) => match std::str::from_utf8(value) {
                    Ok(text) => Identifier::Name(text.trim_end_matches('\0').to_owned()),
                    Err(_) => return Err(WHAT),
                },
                _ => Identifier::Other { kind, code_set, value: value.to_vec() },
            };
            all.push(Designator {
                association: match head[1] >> 4 & 3 {
                    0 => Association::LogicalUnit,
                    1 => Association::TargetPort,
                    2 => Association::TargetDevice,
                    _ => Association::Reserved,
                },
                protocol: (head[1] & 0x80 != 0).then_some(head[0] >> 4),
                id,
            });
            body = &body[end..];
        }
        Ok(all)
    }
}

/// Extended INQUIRY data page, 86h; what is not here is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extended {
    /// HEADSUP: head of queue tasks.
    pub head_of_queue: bool,
    /// ORDSUP: ordered tasks.
    pub ordered: bool,
    /// SIMPSUP: simple tasks.
    pub simple: bool,
    /// V_SUP: the unit may have a volatile cache.
    pub volatile_cache: bool,
    /// LUICLR: unit attentions of REPORTED LUNS DATA HAS CHANGED are cleared for all units of the nexus together.
    pub luns_changed_together: bool,
}

impl Extended {
    fn build(self) -> [u8; 60] {
        let mut b = [0; 60];
        b[1] = u8::from(self.head_of_queue) << 2 | u8::from(self.ordered) << 1 | u8::from(self.simple);
        b[2] = u8::from(self.volatile_cache);
        b[3] = u8::from(self.luns_changed_together);
        b
    }

    fn parse(b: &[u8]) -> Result<Extended, BadData> {
        let head = b.first_chunk::<4>().ok_or(BadData("extended INQUIRY data page"))?;
        Ok(Extended {
            head_of_queue: head[1] & 4 != 0,
            ordered: head[1] & 2 != 0,
            simple: head[1] & 1 != 0,
            volatile_cache: head[2] & 1 != 0,
            luns_changed_together: head[3] & 1 != 0,
        })
    }
}

/// Block limits page, B0h. Lengths in blocks; 0 mostly means "not reported".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockLimits {
    /// WSNZ: WRITE SAME with zero blocks is refused.
    pub write_same_non_zero: bool,
    /// MAXIMUM COMPARE AND WRITE LENGTH.
    pub max_compare_and_write: u8,
    /// OPTIMAL TRANSFER LENGTH GRANULARITY.
    pub optimal_granularity: u16,
    /// MAXIMUM TRANSFER LENGTH.
    pub max_transfer: u32,
    /// OPTIMAL TRANSFER LENGTH.
    pub optimal_transfer: u32,
    /// MAXIMUM PREFETCH LENGTH.
    pub max_prefetch: u32,
    /// MAXIMUM UNMAP LBA COUNT.
    pub max_unmap_blocks: u32,
    /// MAXIMUM UNMAP BLOCK DESCRIPTOR COUNT.
    pub max_unmap_descriptors: u32,
    /// OPTIMAL UNMAP GRANULARITY.
    pub unmap_granularity: u32,
    /// UNMAP GRANULARITY ALIGNMENT with UGAVALID set; 31 bits.
    pub unmap_alignment: Option<u32>,
    /// MAXIMUM WRITE SAME LENGTH.
    pub max_write_same: u64,
    /// MAXIMUM ATOMIC TRANSFER LENGTH.
    pub max_atomic: u32,
    /// ATOMIC ALIGNMENT.
    pub atomic_alignment: u32,
    /// ATOMIC TRANSFER LENGTH GRANULARITY.
    pub atomic_granularity: u32,
    /// MAXIMUM ATOMIC TRANSFER LENGTH WITH ATOMIC BOUNDARY.
    pub max_atomic_with_boundary: u32,
    /// MAXIMUM ATOMIC BOUNDARY SIZE.
    pub max_atomic_boundary: u32,
}

impl BlockLimits {
    fn build(&self) -> [u8; 60] {
        let mut b = [0; 60];
        b[0] = u8::from(self.write_same_non_zero);
        b[1] = self.max_compare_and_write;
        b[2..4].copy_from_slice(&self.optimal_granularity.to_be_bytes());
        b[4..8].copy_from_slice(&self.max_transfer.to_be_bytes());
        b[8..12].copy_from_slice(&self.optimal_transfer.to_be_bytes());
        b[12..16].copy_from_slice(&self.max_prefetch.to_be_bytes());
        b[16..20].copy_from_slice(&self.max_unmap_blocks.to_be_bytes());
        b[20..24].copy_from_slice(&self.max_unmap_descriptors.to_be_bytes());
        b[24..28].copy_from_slice(&self.unmap_granularity.to_be_bytes());
        let alignment = self.unmap_alignment.map_or(0, |a| 0x8000_0000 | a & 0x7fff_ffff);
        b[28..32].copy_from_slice(&alignment.to_be_bytes());
        b[32..40].copy_from_slice(&self.max_write_same.to_be_bytes());
        b[40..44].copy_from_slice(&self.max_atomic.to_be_bytes());
        b[44..48].copy_from_slice(&self.atomic_alignment.to_be_bytes());
        b[48..52].copy_from_slice(&self.atomic_granularity.to_be_bytes());
        b[52..56].copy_from_slice(&self.max_atomic_with_boundary.to_be_bytes());
        b[56..60].copy_from_slice(&self.max_atomic_boundary.to_be_bytes());
        b
    }

    fn parse(b: &[u8]) -> Result<BlockLimits, BadData> {
        const WHAT: BadData = BadData("block limits page");
        if b.len() < 12 {
            return Err(WHAT);
        }
        // The page was 12 bytes in SBC-2 and grew; fields that are not there are not reported.
        let word = |at| u32_at(b, at).unwrap_or(0);
        let alignment = word(28);
        Ok(BlockLimits {
            write_same_non_zero: b[0] & 1 != 0,
            max_compare_and_write: b[1],
            optimal_granularity: u16_at(b, 2).ok_or(WHAT)?,
            max_transfer: word(4),
            optimal_transfer: word(8),
            max_prefetch: word(12),
            max_unmap_blocks: word(16),
            max_unmap_descriptors: word(20),
            unmap_granularity: word(24),
            unmap_alignment: (alignment & 0x8000_0000 != 0).then_some(alignment & 0x7fff_ffff),
            max_write_same: u64_at(b, 32).unwrap_or(0),
            max_atomic: word(40),
            atomic_alignment: word(44),
            atomic_granularity: word(48),
            max_atomic_with_boundary: word(52),
            max_atomic_boundary: word(56),
        })
    }
}

/// Block device characteristics page, B1h.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Characteristics {
    /// MEDIUM ROTATION RATE: 0 not reported, 1 non-rotating, else revolutions a minute.
    pub rotation_rate: u16,
    /// PRODUCT TYPE.
    pub product_type: u8,
    /// WABEREQ, two bits: reads after a block erase; 0 not told, 1 good, 2 and 3 an error.
    pub after_block_erase: u8,
    /// WACEREQ, two bits: the same after a cryptographic erase.
    pub after_crypto_erase: u8,
    /// NOMINAL FORM FACTOR, four bits.
    pub form_factor: u8,
}

impl Characteristics {
    fn build(&self) -> [u8; 60] {
        let mut b = [0; 60];
        b[0..2].copy_from_slice(&self.rotation_rate.to_be_bytes());
        b[2] = self.product_type;
        b[3] =
            (self.after_block_erase & 3) << 6 | (self.after_crypto_erase & 3) << 4 | self.form_factor & 0x0f;
        b
    }

    fn parse(b: &[u8]) -> Result<Characteristics, BadData> {
        let head = b.first_chunk::<4>().ok_or(BadData("block device characteristics page"))?;
        Ok(Characteristics {
            rotation_rate: u16::from_be_bytes([head[0], head[1]]),
            product_type: head[2],
            after_block_erase: head[3] >> 6,
            after_crypto_erase: head[3] >> 4 & 3,
            form_factor: head[3] & 0x0f,
        })
    }
}

/// Logical block provisioning page, B2h.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Provisioning {
    /// THRESHOLD EXPONENT; 0 means no thresholds.
    pub threshold_exponent: u8,
    /// LBPU: UNMAP is supported.
    pub unmap: bool,
    /// LBPWS: WRITE SAME (16) with UNMAP is supported.
    pub write_same_16: bool,
    /// LBPWS10: WRITE SAME (10) with UNMAP is supported.
    pub write_same_10: bool,
    /// LBPRZ: unmapped blocks read as zeros (one bit here; SBC-4 has three).
    pub unmapped_reads_zero: bool,
    /// ANC_SUP: anchoring is supported.
    pub anchor: bool,
    /// PROVISIONING TYPE, three bits: 1 resource, 2 thin.
    pub kind: u8,
}

impl Provisioning {
    fn build(&self) -> [u8; 4] {
        [
            self.threshold_exponent,
            u8::from(self.unmap) << 7
                | u8::from(self.write_same_16) << 6
                | u8::from(self.write_same_10) << 5
                | u8::from(self.unmapped_reads_zero) << 2
                | u8::from(self.anchor) << 1,
            self.kind & 7,
            0,
        ]
    }

    fn parse(b: &[u8]) -> Result<Provisioning, BadData> {
        let head = b.first_chunk::<4>().ok_or(BadData("logical block provisioning page"))?;
        Ok(Provisioning {
            threshold_exponent: head[0],
            unmap: head[1] & 0x80 != 0,
            write_same_16: head[1] & 0x40 != 0,
            write_same_10: head[1] & 0x20 != 0,
            unmapped_reads_zero: head[1] & 0x1c == 0x04,
            anchor: head[1] & 0x02 != 0,
            kind: head[2] & 7,
        })
    }
}
