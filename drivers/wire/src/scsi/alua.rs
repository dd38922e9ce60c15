//! Asymmetric logical unit access: REPORT and SET TARGET PORT GROUPS parameter data (SPC-4 clauses 6.37 and 6.45).

use super::{BadData, u16_at, u32_at};
use crate::codes::codes;

codes! {
    /// ASYMMETRIC ACCESS STATE; four bits.
    AccessState(u8) {
        ACTIVE_OPTIMIZED = 0x0, "active/optimized";
        ACTIVE_NON_OPTIMIZED = 0x1, "active/non-optimized";
        STANDBY = 0x2, "standby";
        UNAVAILABLE = 0x3, "unavailable";
        LBA_DEPENDENT = 0x4, "logical block dependent";
        OFFLINE = 0xe, "offline";
        TRANSITIONING = 0xf, "transitioning";
    }
}

codes! {
    /// STATUS CODE of a target port group: what changed its state last.
    StatusCode(u8) {
        NONE = 0x00, "no status available";
        EXPLICIT = 0x01, "altered by SET TARGET PORT GROUPS";
        IMPLICIT = 0x02, "altered by implicit behaviour";
    }
}

/// Which states a group may take: the bits of byte 1 of its descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Supported {
    /// T_SUP: transitioning.
    pub transitioning: bool,
    /// O_SUP: offline.
    pub offline: bool,
    /// U_SUP: unavailable.
    pub unavailable: bool,
    /// S_SUP: standby.
    pub standby: bool,
    /// AN_SUP: active/non-optimized.
    pub non_optimized: bool,
    /// AO_SUP: active/optimized.
    pub optimized: bool,
}

impl Supported {
    fn byte(self) -> u8 {
        u8::from(self.transitioning) << 7
            | u8::from(self.offline) << 6
            | u8::from(self.unavailable) << 3
            | u8::from(self.standby) << 2
            | u8::from(self.non_optimized) << 1
            | u8::from(self.optimized)
    }

    fn from_byte(byte: u8) -> Supported {
        Supported {
            transitioning: byte & 0x80 != 0,
            offline: byte & 0x40 != 0,
            unavailable: byte & 0x08 != 0,
            standby: byte & 0x04 != 0,
            non_optimized: byte & 0x02 != 0,
            optimized: byte & 0x01 != 0,
        }
    }
}

/// One target port group as REPORT TARGET PORT GROUPS tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortGroup {
    /// PREF: the preferred group.
    pub preferred: bool,
    /// Current state for the logical unit that was asked.
    pub state: AccessState,
    /// States it may take.
    pub supported: Supported,
    /// TARGET PORT GROUP.
    pub id: u16,
    /// What changed the state last.
    pub status: StatusCode,
    /// Relative target port identifiers, at most 255.
    pub ports: Vec<u16>,
}

/// REPORT TARGET PORT GROUPS parameter data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortGroups {
    /// IMPLICIT TRANSITION TIME, seconds, of the extended header; `None` is the length-only header.
    pub transition_time: Option<u8>,
    /// The groups.
    pub groups: Vec<PortGroup>,
}

impl PortGroups {
    /// Writes the whole parameter data.
    pub fn build(&self) -> Vec<u8> {
        let mut data = vec![0; 4];
        if let Some(seconds) = self.transition_time {
            data.extend_from_slice(&[0x10, seconds, 0, 0]);
        }
        for group in &self.groups {
            let ports = &group.ports[..group.ports.len().min(255)];
            let [high, low] = group.id.to_be_bytes();
            data.push(u8::from(group.preferred) << 7 | group.state.0 & 0x0f);
            data.push(group.supported.byte());
            data.extend_from_slice(&[high, low, 0, group.status.0, 0, ports.len() as u8]);
            for port in ports {
                data.extend_from_slice(&[0, 0]);
                data.extend_from_slice(&port.to_be_bytes());
            }
        }
        let length = u32::try_from(data.len() - 4).unwrap_or(u32::MAX);
        data[..4].copy_from_slice(&length.to_be_bytes());
        data
    }

    /// Reads the parameter data; groups that the allocation length cut are left out. Which header it has is told by
    /// FORMAT TYPE, which the length-only format does not have: there the byte holds PREF and a state.
    pub fn parse(data: &[u8], extended: bool) -> Result<PortGroups, BadData> {
        const WHAT: BadData = BadData("REPORT TARGET PORT GROUPS data");
        let length = u32_at(data, 0).ok_or(WHAT)? as usize;
        let mut rest = data.get(4..).ok_or(WHAT)?;
        rest = &rest[..rest.len().min(length)];
        let mut out = PortGroups::default();
        if extended {
            let head = rest.first_chunk::<4>().ok_or(WHAT)?;
            if head[0] & 0x70 != 0x10 {
                return Err(WHAT);
            }
            out.transition_time = Some(head[1]);
            rest = &rest[4..];
        }
        while let Some(head) = rest.first_chunk::<8>() {
            let end = 8 + 4 * usize::from(head[7]);
            let Some(ports) = rest.get(8..end) else { break };
            out.groups.push(PortGroup {
                preferred: head[0] & 0x80 != 0,
                state: AccessState(head[0] & 0x0f),
                supported: Supported::from_byte(head[1]),
                id: u16::from_be_bytes([head[2], head[3]]),
                status: StatusCode(head[5]),
                ports: ports.chunks_exact(4).filter_map(|port| u16_at(port, 2)).collect(),
            });
            rest = &rest[end..];
        }
        Ok(out)
    }
}

/// Builds the SET TARGET PORT GROUPS parameter list: a state for each group.
pub fn build_set(groups: &[(u16, AccessState)]) -> Vec<u8> {
    let mut data = vec![0; 4];
    for (id, state) in groups {
        let [high, low] = id.to_be_bytes();
        data.extend_from_slice(&[state.0 & 0x0f, 0, high, low]);
    }
    data
}

/// Reads the SET TARGET PORT GROUPS parameter list.
pub fn parse_set(data: &[u8]) -> Result<Vec<(u16, AccessState)>, BadData> {
    const WHAT: BadData = BadData("SET TARGET PORT GROUPS list");
    let list = data.get(4..).ok_or(WHAT)?;
    if !list.len().is_multiple_of(4) {
        return Err(WHAT);
    }
    Ok(list.chunks_exact(4).map(|d| (u16::from_be_bytes([d[2], d[3]]), AccessState(d[0] & 0x0f))).collect())
}
