//! REPORT SUPPORTED OPERATION CODES parameter data (SPC-4 clause 6.35).

use super::{BadData, u16_at, u32_at};

/// REPORTING OPTIONS of the CDB.
pub mod option {
    /// Every command.
    pub const ALL: u8 = 0;
    /// One command without service actions.
    pub const OPCODE: u8 = 1;
    /// One service action.
    pub const SERVICE_ACTION: u8 = 2;
    /// One command, with its service action if it has such.
    pub const EITHER: u8 = 3;
}

/// Command time-outs descriptor, in seconds; 0 is not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// NOMINAL COMMAND PROCESSING TIMEOUT.
    pub nominal: u32,
    /// RECOMMENDED COMMAND TIMEOUT.
    pub recommended: u32,
}

impl Timeouts {
    fn build(self, data: &mut Vec<u8>) {
        data.extend_from_slice(&[0, 10, 0, 0]);
        data.extend_from_slice(&self.nominal.to_be_bytes());
        data.extend_from_slice(&self.recommended.to_be_bytes());
    }

    fn parse(data: &[u8]) -> Option<Timeouts> {
        (u16_at(data, 0)? == 10).then_some(())?;
        Some(Timeouts { nominal: u32_at(data, 4)?, recommended: u32_at(data, 8)? })
    }
}

/// One command of the list of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supported {
    /// OPERATION CODE.
    pub opcode: u8,
    /// SERVICE ACTION, when the operation code has such.
    pub action: Option<u16>,
    /// CDB LENGTH, bytes.
    pub length: u16,
    /// Time-outs, when they were asked for.
    pub timeouts: Option<Timeouts>,
}

/// Builds the list of all commands.
pub fn build_all(list: &[Supported]) -> Vec<u8> {
    let mut data = vec![0; 4];
    for one in list {
        let flags = u8::from(one.timeouts.is_some()) << 1 | u8::from(one.action.is_some());
        data.extend_from_slice(&[one.opcode, 0]);
        data.extend_from_slice(&one.action.unwrap_or(0).to_be_bytes());
        data.extend_from_slice(&[0, flags]);
        data.extend_from_slice(&one.length.to_be_bytes());
        if let Some(timeouts) = one.timeouts {
            timeouts.build(&mut data);
        }
    }
    let length = u32::try_from(data.len() - 4).unwrap_or(u32::MAX);
    data[..4].copy_from_slice(&length.to_be_bytes());
    data
}

/// Reads the list of all commands; those that were cut are left out.
pub fn parse_all(data: &[u8]) -> Result<Vec<Supported>, BadData> {
    const WHAT: BadData = BadData("REPORT SUPPORTED OPERATION CODES data");
    let length = u32_at(data, 0).ok_or(WHAT)? as usize;
    let mut rest = data.get(4..).ok_or(WHAT)?;
    rest = &rest[..rest.len().min(length)];
    let mut list = Vec::new();
    while let Some(head) = rest.first_chunk::<8>() {
        let timed = head[5] & 2 != 0;
        let size = if timed { 20 } else { 8 };
        let Some(one) = rest.get(..size) else { break };
        list.push(Supported {
            opcode: head[0],
            action: (head[5] & 1 != 0).then(|| u16::from_be_bytes([head[2], head[3]])),
            length: u16::from_be_bytes([head[6], head[7]]),
            timeouts: if timed { Some(Timeouts::parse(&one[8..]).ok_or(WHAT)?) } else { None },
        });
        rest = &rest[size..];
    }
    Ok(list)
}

/// Builds the answer about one command: its CDB usage data, `None` when it is not supported.
pub fn build_one(usage: Option<&[u8]>, timeouts: Option<Timeouts>) -> Vec<u8> {
    let Some(usage) = usage else { return vec![0, 1, 0, 0] };
    let mut data = vec![0, u8::from(timeouts.is_some()) << 7 | 3];
    data.extend_from_slice(&u16::try_from(usage.len()).unwrap_or(0).to_be_bytes());
    data.extend_from_slice(usage);
    if let Some(timeouts) = timeouts {
        timeouts.build(&mut data);
    }
    data
}

/// CDB usage data of one command, and its time-outs when they were asked for.
pub type Usage = (Vec<u8>, Option<Timeouts>);

/// Reads the answer about one command: its CDB usage data and time-outs; `None` when it is not supported.
pub fn parse_one(data: &[u8]) -> Result<Option<Usage>, BadData> {
    const WHAT: BadData = BadData("REPORT SUPPORTED OPERATION CODES data of one command");
    let head = data.first_chunk::<4>().ok_or(WHAT)?;
    if head[1] & 7 != 3 {
        return Ok(None);
    }
    let end = 4 + usize::from(u16::from_be_bytes([head[2], head[3]]));
    let usage = data.get(4..end).ok_or(WHAT)?.to_vec();
    let timeouts = if head[1] & 0x80 != 0 { Some(Timeouts::parse(&data[end..]).ok_or(WHAT)?) } else { None };
    Ok(Some((usage, timeouts)))
}
