//! PERSISTENT RESERVE IN and OUT: codes and parameter data (SPC-4 clauses 6.15, 6.16), TransportIDs of iSCSI (7.6.4.6).

use super::{BadData, u16_at, u32_at, u64_at};
use crate::codes::codes;

/// Service actions of PERSISTENT RESERVE IN.
pub mod read {
    /// READ KEYS.
    pub const KEYS: u8 = 0;
    /// READ RESERVATION.
    pub const RESERVATION: u8 = 1;
    /// REPORT CAPABILITIES.
    pub const CAPABILITIES: u8 = 2;
    /// READ FULL STATUS.
    pub const FULL_STATUS: u8 = 3;
}

/// Service actions of PERSISTENT RESERVE OUT.
pub mod action {
    /// REGISTER.
    pub const REGISTER: u8 = 0;
    /// RESERVE.
    pub const RESERVE: u8 = 1;
    /// RELEASE.
    pub const RELEASE: u8 = 2;
    /// CLEAR.
    pub const CLEAR: u8 = 3;
    /// PREEMPT.
    pub const PREEMPT: u8 = 4;
    /// PREEMPT AND ABORT.
    pub const PREEMPT_AND_ABORT: u8 = 5;
    /// REGISTER AND IGNORE EXISTING KEY.
    pub const REGISTER_AND_IGNORE: u8 = 6;
    /// REGISTER AND MOVE.
    pub const REGISTER_AND_MOVE: u8 = 7;
}

codes! {
    /// TYPE of a persistent reservation; four bits.
    Kind(u8) {
        WRITE_EXCLUSIVE = 1, "Write Exclusive";
        EXCLUSIVE_ACCESS = 3, "Exclusive Access";
        WRITE_EXCLUSIVE_REGISTRANTS = 5, "Write Exclusive - Registrants Only";
        EXCLUSIVE_ACCESS_REGISTRANTS = 6, "Exclusive Access - Registrants Only";
        WRITE_EXCLUSIVE_ALL = 7, "Write Exclusive - All Registrants";
        EXCLUSIVE_ACCESS_ALL = 8, "Exclusive Access - All Registrants";
    }
}

/// READ KEYS parameter data: PRGENERATION and the keys, one for each registration.
pub fn build_keys(generation: u32, keys: &[u64]) -> Vec<u8> {
    let mut data = generation.to_be_bytes().to_vec();
    data.extend_from_slice(&u32::try_from(keys.len() * 8).unwrap_or(!7).to_be_bytes());
    for key in keys {
        data.extend_from_slice(&key.to_be_bytes());
    }
    data
}

/// Reads READ KEYS data, possibly cut: PRGENERATION and keys.
pub fn parse_keys(data: &[u8]) -> Result<(u32, Vec<u64>), BadData> {
    const WHAT: BadData = BadData("READ KEYS data");
    let generation = u32_at(data, 0).ok_or(WHAT)?;
    let length = u32_at(data, 4).ok_or(WHAT)? as usize;
    let list = data.get(8..).ok_or(WHAT)?;
    let list = &list[..list.len().min(length)];
    Ok((generation, list.chunks_exact(8).filter_map(|key| u64_at(key, 0)).collect()))
}

/// READ RESERVATION parameter data: PRGENERATION; key of the holder (0 for all registrants) and type, if there is one.
pub fn build_reservation(generation: u32, held: Option<(u64, Kind)>) -> Vec<u8> {
    let mut data = generation.to_be_bytes().to_vec();
    data.extend_from_slice(&(if held.is_some() { 16u32 } else { 0 }).to_be_bytes());
    if let Some((key, kind)) = held {
        data.extend_from_slice(&key.to_be_bytes());
        data.extend_from_slice(&[0, 0, 0, 0, 0, kind.0 & 0x0f, 0, 0]);
    }
    data
}

/// Reads READ RESERVATION data: PRGENERATION, key and type.
pub fn parse_reservation(data: &[u8]) -> Result<(u32, Option<(u64, Kind)>), BadData> {
    const WHAT: BadData = BadData("READ RESERVATION data");
    let generation = u32_at(data, 0).ok_or(WHAT)?;
    if u32_at(data, 4).ok_or(WHAT)? == 0 {
        return Ok((generation, None));
    }
    let key = u64_at(data, 8).ok_or(WHAT)?;
    let kind = data.get(21).ok_or(WHAT)?;
    Ok((generation, Some((key, Kind(kind & 0x0f)))))
}

/// REPORT CAPABILITIES parameter data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// CRH: RESERVE and RELEASE go along with registrations as SPC-4 clause 5.13.3 says.
    pub compatible_reservations: bool,
    /// SIP_C: SPEC_I_PT is understood.
    pub specify_initiators: bool,
    /// ATP_C: ALL_TG_PT is understood.
    pub all_target_ports: bool,
    /// PTPL_C: registrations can outlast a loss of power.
    pub persist: bool,
    /// PTPL_A: they do at present.
    pub persist_active: bool,
}

impl Capabilities {
    /// Writes the 8 bytes; all six types are supported.
    pub fn build(self) -> [u8; 8] {
        let flags = u8::from(self.compatible_reservations) << 4
            | u8::from(self.specify_initiators) << 3
            | u8::from(self.all_target_ports) << 2
            | u8::from(self.persist);
        // TMV is set; ALLOW COMMANDS 001b: TEST UNIT READY goes through, MODE SENSE and the like under Write Exclusive.
        [0, 8, flags, 0x90 | u8::from(self.persist_active), 0xea, 0x01, 0, 0]
    }

    /// Reads the 8 bytes.
    pub fn parse(data: &[u8]) -> Result<Capabilities, BadData> {
        let d = data.first_chunk::<8>().ok_or(BadData("REPORT CAPABILITIES data"))?;
        Ok(Capabilities {
            compatible_reservations: d[2] & 0x10 != 0,
            specify_initiators: d[2] & 0x08 != 0,
            all_target_ports: d[2] & 0x04 != 0,
            persist: d[2] & 0x01 != 0,
            persist_active: d[3] & 0x01 != 0,
        })
    }
}

/// One registration in READ FULL STATUS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullStatus {
    /// Reservation key.
    pub key: u64,
    /// R_HOLDER with the type of the reservation.
    pub holds: Option<Kind>,
    /// RELATIVE TARGET PORT IDENTIFIER.
    pub port: u16,
    /// The initiator port.
    pub initiator: TransportId,
}

/// READ FULL STATUS parameter data.
pub fn build_full_status(generation: u32, all: &[FullStatus]) -> Vec<u8> {
    let mut data = generation.to_be_bytes().to_vec();
    data.extend_from_slice(&[0; 4]);
    for one in all {
        let id = one.initiator.build();
        data.extend_from_slice(&one.key.to_be_bytes());
        data.extend_from_slice(&[0; 4]);
        data.push(u8::from(one.holds.is_some()));
        data.push(one.holds.map_or(0, |kind| kind.0 & 0x0f));
        data.extend_from_slice(&[0; 4]);
        data.extend_from_slice(&one.port.to_be_bytes());
        data.extend_from_slice(&u32::try_from(id.len()).unwrap_or(0).to_be_bytes());
        data.extend_from_slice(&id);
    }
    let length = u32::try_from(data.len() - 8).unwrap_or(u32::MAX);
    data[4..8].copy_from_slice(&length.to_be_bytes());
    data
}

/// Reads READ FULL STATUS data; registrations that the allocation length cut are left out.
pub fn parse_full_status(data: &[u8]) -> Result<(u32, Vec<FullStatus>), BadData> {
    const WHAT: BadData = BadData("READ FULL STATUS data");
    let generation = u32_at(data, 0).ok_or(WHAT)?;
    let length = u32_at(data, 4).ok_or(WHAT)? as usize;
    let mut rest = data.get(8..).ok_or(WHAT)?;
    rest = &rest[..rest.len().min(length)];
    let mut all = Vec::new();
    while rest.len() >= 24 {
        let end = 24 + u32_at(rest, 20).ok_or(WHAT)? as usize;
        let Some(id) = rest.get(24..end) else { break };
        all.push(FullStatus {
            key: u64_at(rest, 0).ok_or(WHAT)?,
            holds: (rest[12] & 1 != 0).then_some(Kind(rest[13] & 0x0f)),
            port: u16_at(rest, 18).ok_or(WHAT)?,
            initiator: TransportId::parse(id)?.0,
        });
        rest = &rest[end..];
    }
    Ok((generation, all))
}

/// iSCSI TransportID: initiator name, with an ISID when it names an initiator port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportId {
    /// iSCSI name of the initiator.
    pub initiator: String,
    /// ISID; `None` is format 00b, the initiator as a whole.
    pub isid: Option<[u8; 6]>,
}

impl TransportId {
    /// Writes the TransportID: a multiple of four bytes, at least 24.
    pub fn build(&self) -> Vec<u8> {
        let mut text = self.initiator.clone();
        if let Some(isid) = self.isid {
            text.push_str(",i,0x");
            for byte in isid {
                text.push_str(&format!("{byte:02x}"));
            }
        }
        let mut name = text.into_bytes();
        name.push(0);
        name.resize(name.len().next_multiple_of(4).max(20), 0);
        let length = u16::try_from(name.len()).unwrap_or(u16::MAX - 3);
        let mut data = vec![if self.isid.is_some() { 0x45 } else { 0x05 }, 0];
        data.extend_from_slice(&length.to_be_bytes());
        data.extend_from_slice(&name);
        data
    }

    /// Reads one TransportID from the front; gives its length in bytes too.
    pub fn parse(data: &[u8]) -> Result<(TransportId, usize), BadData> {
        const WHAT: BadData = BadData("iSCSI TransportID");
        let head = data.first_chunk::<4>().ok_or(WHAT)?;
        let end = 4 + usize::from(u16::from_be_bytes([head[2], head[3]]));
        let name = data.get(4..end).ok_or(WHAT)?;
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let name = std::str::from_utf8(name).map_err(|_| WHAT)?;
        let (name, isid) = match head[0] {
            0x05 => (name, None),
            0x45 => {
                let (name, digits) = name.split_once(",i,0x").ok_or(WHAT)?;
                if digits.len() != 12 || !digits.is_ascii() {
                    return Err(WHAT);
                }
                let isid = u64::from_str_radix(digits, 16).map_err(|_| WHAT)?.to_be_bytes();
                (name, isid.last_chunk::<6>().copied())
            }
            _ => return Err(WHAT),
        };
        if name.is_empty() || name.len() > 223 {
            return Err(WHAT);
        }
        Ok((TransportId { initiator: name.to_owned(), isid }, end))
    }
}

/// Basic PERSISTENT RESERVE OUT parameter list (24 bytes).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutList {
    /// RESERVATION KEY.
    pub key: u64,
    /// SERVICE ACTION RESERVATION KEY.
    pub service_key: u64,
    /// SPEC_I_PT.
    pub specify_initiators: bool,
    /// ALL_TG_PT.
    pub all_target_ports: bool,
    /// APTPL: outlast a loss of power.
    pub persist: bool,
}

impl OutList {
    /// Writes the 24 bytes.
    pub fn build(self) -> [u8; 24] {
        let mut data = [0; 24];
        data[..8].copy_from_slice(&self.key.to_be_bytes());
        data[8..16].copy_from_slice(&self.service_key.to_be_bytes());
        data[20] = u8::from(self.specify_initiators) << 3
            | u8::from(self.all_target_ports) << 2
            | u8::from(self.persist);
        data
    }

    /// Reads the list; `None` when it is not 24 bytes long.
    pub fn parse(data: &[u8]) -> Option<OutList> {
        let d = <&[u8; 24]>::try_from(data).ok()?;
        Some(OutList {
            key: u64_at(d, 0)?,
            service_key: u64_at(d, 8)?,
            specify_initiators: d[20] & 0x08 != 0,
            all_target_ports: d[20] & 0x04 != 0,
            persist: d[20] & 0x01 != 0,
        })
    }
}

/// REGISTER AND MOVE parameter list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveList {
    /// RESERVATION KEY.
    pub key: u64,
    /// SERVICE ACTION RESERVATION KEY: what the new holder registers with.
    pub service_key: u64,
    /// UNREG: the mover loses its registration.
    pub unregister: bool,
    /// APTPL.
    pub persist: bool,
    /// RELATIVE TARGET PORT IDENTIFIER of the new holder's nexus.
    pub port: u16,
    /// The new holder.
    pub initiator: TransportId,
}

impl MoveList {
    /// Writes the list.
    pub fn build(&self) -> Vec<u8> {
        let id = self.initiator.build();
        let mut data = self.key.to_be_bytes().to_vec();
        data.extend_from_slice(&self.service_key.to_be_bytes());
        data.extend_from_slice(&[0, u8::from(self.unregister) << 1 | u8::from(self.persist)]);
        data.extend_from_slice(&self.port.to_be_bytes());
        data.extend_from_slice(&u32::try_from(id.len()).unwrap_or(0).to_be_bytes());
        data.extend_from_slice(&id);
        data
    }

    /// Reads the list.
    pub fn parse(data: &[u8]) -> Result<MoveList, BadData> {
        const WHAT: BadData = BadData("REGISTER AND MOVE list");
        let length = u32_at(data, 20).ok_or(WHAT)? as usize;
        let id = data.get(24..).filter(|id| id.len() == length).ok_or(WHAT)?;
        let (initiator, used) = TransportId::parse(id)?;
        if used != length {
            return Err(WHAT);
        }
        Ok(MoveList {
            key: u64_at(data, 0).ok_or(WHAT)?,
            service_key: u64_at(data, 8).ok_or(WHAT)?,
            unregister: data[17] & 2 != 0,
            persist: data[17] & 1 != 0,
            port: u16_at(data, 18).ok_or(WHAT)?,
            initiator,
        })
    }
}
