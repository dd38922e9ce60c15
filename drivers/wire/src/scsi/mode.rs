//! MODE SENSE parameter data: headers, control page 0Ah, caching page 08h (SPC-4 clause 7.5, SBC-3 clause 6.4).

use super::{BadData, u16_at, u32_at};

/// Page codes.
pub mod page {
    /// Caching.
    pub const CACHING: u8 = 0x08;
    /// Control.
    pub const CONTROL: u8 = 0x0a;
    /// All pages.
    pub const ALL: u8 = 0x3f;
}

/// PAGE CONTROL field of MODE SENSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageControl {
    /// Current values.
    Current,
    /// Mask of changeable bits.
    Changeable,
    /// Default values.
    Default,
    /// Saved values.
    Saved,
}

impl PageControl {
    /// Reads the two bits.
    pub fn from_bits(bits: u8) -> PageControl {
        match bits & 3 {
            0 => PageControl::Current,
            1 => PageControl::Changeable,
            2 => PageControl::Default,
            _ => PageControl::Saved,
        }
    }

    /// The two bits.
    pub fn bits(self) -> u8 {
        match self {
            PageControl::Current => 0,
            PageControl::Changeable => 1,
            PageControl::Default => 2,
            PageControl::Saved => 3,
        }
    }
}

/// A mode page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModePage {
    /// Caching page.
    Caching(Caching),
    /// Control page.
    Control(Control),
    /// Any other page: code, sub-page (0 for page_0 format) and the bytes after the header.
    Other {
        /// Page code, six bits.
        code: u8,
        /// Sub-page code.
        subpage: u8,
        /// Body, at most 255 bytes in page_0 format.
        body: Vec<u8>,
    },
}

/// Caching mode page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caching {
    /// WCE: write cache enabled (data may be volatile until SYNCHRONIZE CACHE).
    pub write_cache: bool,
    /// RCD: read cache disabled.
    pub read_cache_disabled: bool,
}

/// Control mode page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// D_SENSE: sense data comes in descriptor format.
    pub descriptor_sense: bool,
    /// SWP: software write protect.
    pub write_protect: bool,
    /// TST, three bits: 0 one task set for all nexuses, 1 one for each.
    pub task_set_type: u8,
    /// QUEUE ALGORITHM MODIFIER, four bits.
    pub queue_algorithm: u8,
    /// TAS: aborted commands of other nexuses end with TASK ABORTED.
    pub task_aborted_status: bool,
}

impl ModePage {
    fn build(&self, out: &mut Vec<u8>) {
        match self {
            ModePage::Caching(c) => {
                let mut page = [0; 20];
                page[0] = page::CACHING;
                page[1] = 18;
                page[2] = u8::from(c.write_cache) << 2 | u8::from(c.read_cache_disabled);
                out.extend_from_slice(&page);
            }
            ModePage::Control(c) => {
                let mut page = [0; 12];
                page[0] = page::CONTROL;
                page[1] = 10;
                page[2] = (c.task_set_type & 7) << 5 | u8::from(c.descriptor_sense) << 2;
                page[3] = (c.queue_algorithm & 0x0f) << 4;
                page[4] = u8::from(c.write_protect) << 3;
                page[5] = u8::from(c.task_aborted_status) << 6;
                out.extend_from_slice(&page);
            }
            ModePage::Other { code, subpage: 0, body } => {
                let body = &body[..body.len().min(255)];
                out.extend_from_slice(&[code & 0x3f, body.len() as u8]);
                out.extend_from_slice(body);
            }
            ModePage::Other { code, subpage, body } => {
                let body = &body[..body.len().min(usize::from(u16::MAX))];
                out.extend_from_slice(&[0x40 | code & 0x3f, *subpage]);
                out.extend_from_slice(&(body.len() as u16).to_be_bytes());
                out.extend_from_slice(body);
            }
        }
    }

    fn parse_all(mut data: &[u8]) -> Result<Vec<ModePage>, BadData> {
        const WHAT: BadData = BadData("mode page");
        let mut pages = Vec::new();
        while !data.is_empty() {
            let head = data.first_chunk::<2>().ok_or(WHAT)?;
            let code = head[0] & 0x3f;
            let (subpage, start, length) = if head[0] & 0x40 != 0 {
                (head[1], 4, usize::from(u16_at(data, 2).ok_or(WHAT)?))
            } else {
                (0, 2, usize::from(head[1]))
            };
            let body = data.get(start..start + length).ok_or(WHAT)?;
            pages.push(match (code, subpage) {
                (page::CACHING, 0) if length >= 1 => ModePage::Caching(Caching {
                    write_cache: body[0] & 0x04 != 0,
                    read_cache_disabled: body[0] & 0x01 != 0,
                }),
                (page::CONTROL, 0) if length >= 4 => ModePage::Control(Control {
                    task_set_type: body[0] >> 5,
                    descriptor_sense: body[0] & 0x04 != 0,
                    queue_algorithm: body[1] >> 4,
                    write_protect: body[2] & 0x08 != 0,
                    task_aborted_status: body[3] & 0x40 != 0,
                }),
                _ => ModePage::Other { code, subpage, body: body.to_vec() },
            });
            data = &data[start + length..];
        }
        Ok(pages)
    }
}

/// Short block descriptor: number of blocks (saturated at `FFFFFFFFh`) and block length in bytes (24 bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockDescriptor {
    /// Number of blocks.
    pub blocks: u32,
    /// Block length, bytes.
    pub block_length: u32,
}

/// MODE SENSE parameter data for a direct access device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModeData {
    /// WP: the medium is write protected.
    pub write_protected: bool,
    /// DPOFUA: the DPO and FUA bits are supported.
    pub dpofua: bool,
    /// Short block descriptor, absent with DBD.
    pub descriptor: Option<BlockDescriptor>,
    /// Pages in order of their codes.
    pub pages: Vec<ModePage>,
}

impl ModeData {
    fn specific(&self) -> u8 {
        u8::from(self.write_protected) << 7 | u8::from(self.dpofua) << 4
    }

    fn tail(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(d) = self.descriptor {
            out.extend_from_slice(&d.blocks.to_be_bytes());
            out.extend_from_slice(&(d.block_length & 0x00ff_ffff).to_be_bytes());
        }
        for page in &self.pages {
            page.build(&mut out);
        }
        out
    }

    /// MODE SENSE (6) data: four header bytes, descriptor, pages.
    pub fn build6(&self) -> Vec<u8> {
        let tail = self.tail();
        let length = u8::try_from(tail.len() + 3).unwrap_or(u8::MAX);
        let mut data = vec![length, 0, self.specific(), if self.descriptor.is_some() { 8 } else { 0 }];
        data.extend_from_slice(&tail);
        data
    }

    /// MODE SENSE (10) data: eight header bytes, descriptor, pages.
    pub fn build10(&self) -> Vec<u8> {
        let tail = self.tail();
        let mut data = u16::try_from(tail.len() + 6).unwrap_or(u16::MAX).to_be_bytes().to_vec();
        data.extend_from_slice(&[0, self.specific(), 0, 0, 0, if self.descriptor.is_some() { 8 } else { 0 }]);
        data.extend_from_slice(&tail);
        data
    }

    /// Reads MODE SENSE (6) data.
    pub fn parse6(data: &[u8]) -> Result<ModeData, BadData> {
        let h = data.first_chunk::<4>().ok_or(BadData("mode parameter header"))?;
        ModeData::parse(h[2], usize::from(h[3]), data, 4, 1 + usize::from(h[0]))
    }

    /// Reads MODE SENSE (10) data.
    pub fn parse10(data: &[u8]) -> Result<ModeData, BadData> {
        let h = data.first_chunk::<8>().ok_or(BadData("mode parameter header"))?;
        let length = usize::from(u16::from_be_bytes([h[0], h[1]]));
        ModeData::parse(h[3], usize::from(u16::from_be_bytes([h[6], h[7]])), data, 8, 2 + length)
    }

    /// Reads a MODE SELECT (6) parameter list: the data length is reserved there.
    pub fn parse_select6(data: &[u8]) -> Result<ModeData, BadData> {
        let h = data.first_chunk::<4>().ok_or(BadData("mode parameter header"))?;
        ModeData::parse(h[2], usize::from(h[3]), data, 4, data.len())
    }

    /// Reads a MODE SELECT (10) parameter list.
    pub fn parse_select10(data: &[u8]) -> Result<ModeData, BadData> {
        let h = data.first_chunk::<8>().ok_or(BadData("mode parameter header"))?;
        ModeData::parse(h[3], usize::from(u16::from_be_bytes([h[6], h[7]])), data, 8, data.len())
    }

    fn parse(
        specific: u8,
        block: usize,
        data: &[u8],
        header: usize,
        total: usize,
    ) -> Result<ModeData, BadData> {
        const WHAT: BadData = BadData("mode parameter data");
        let body = data.get(header..total).ok_or(WHAT)?;
        let descriptor = match block {
            0 => None,
            8 => Some(BlockDescriptor {
                blocks: u32_at(body, 0).ok_or(WHAT)?,
                block_length: u32_at(body, 4).ok_or(WHAT)? & 0x00ff_ffff,
            }),
            _ => return Err(BadData("mode block descriptor length")),
        };
        Ok(ModeData {
            write_protected: specific & 0x80 != 0,
            dpofua: specific & 0x10 != 0,
            descriptor,
            pages: ModePage::parse_all(body.get(block..).ok_or(WHAT)?)?,
        })
    }
}
