//! Asymmetric logical unit access as a host sees it (SPC-4 clauses 5.15 and 6.37): which target port group a path leads
//! through, and in which state it is.

use sanbench_api::BlockError;
use sanbench_wire::scsi::alua::PortGroups;
use sanbench_wire::scsi::cdb::Cdb;
use sanbench_wire::scsi::inquiry::StandardInquiry;
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::vpd::{Association, Identifier, Vpd, page};

use crate::device::{PathDevice, PathFault};
use crate::scsi;
use crate::session::{Request, Transfer};

/// Bytes of a REPORT TARGET PORT GROUPS answer that are asked for: some 250 groups of two ports.
const ALLOCATION: u32 = 4096;

/// Asymmetric access state of a target port group (SPC-4 clause 5.15.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// 0h.
    ActiveOptimized,
    /// 1h.
    ActiveNonOptimized,
    /// 2h.
    Standby,
    /// 3h.
    Unavailable,
    /// 4h: optimized for some blocks only.
    LbaDependent,
    /// Eh.
    Offline,
    /// Fh.
    Transitioning,
    /// A reserved value.
    Reserved(u8),
}

impl Access {
    /// From the four bits of a target port group descriptor.
    pub fn from_bits(bits: u8) -> Self {
        match bits & 0x0f {
            0x0 => Self::ActiveOptimized,
            0x1 => Self::ActiveNonOptimized,
            0x2 => Self::Standby,
            0x3 => Self::Unavailable,
            0x4 => Self::LbaDependent,
            0xe => Self::Offline,
            0xf => Self::Transitioning,
            other => Self::Reserved(other),
        }
    }

    /// The state that a command's refusal with NOT READY tells (SPC-4 table of ASC 04h).
    pub fn from_refusal(error: &BlockError) -> Option<Self> {
        match error {
            BlockError::Sense { key: 0x2, asc: 0x04, ascq: 0x0a, .. } => Some(Self::Transitioning),
            BlockError::Sense { key: 0x2, asc: 0x04, ascq: 0x0b, .. } => Some(Self::Standby),
            BlockError::Sense { key: 0x2, asc: 0x04, ascq: 0x0c, .. } => Some(Self::Unavailable),
            BlockError::Sense { key: 0x2, asc: 0x04, ascq: 0x12, .. } => Some(Self::Offline),
            _ => None,
        }
    }

    /// The device server takes no media access through the group, and whoever would bring it back ends what is left there.
    pub fn is_out_of_service(self) -> bool {
        matches!(self, Self::Unavailable | Self::Offline)
    }
}

/// One target port group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortGroup {
    /// TARGET PORT GROUP.
    pub id: u16,
    /// State.
    pub access: Access,
    /// PREF.
    pub preferred: bool,
    /// Relative target port identifiers.
    pub ports: Vec<u16>,
}

/// What one path told about access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The group that the path leads through, when page 83h names it.
    pub own: Option<u16>,
    /// All groups of the logical unit, in the device's order.
    pub groups: Vec<PortGroup>,
}

impl Report {
    /// The group of the path that was asked.
    pub fn own_group(&self) -> Option<&PortGroup> {
        self.group(self.own?)
    }

    /// A group by its number.
    pub fn group(&self, id: u16) -> Option<&PortGroup> {
        self.groups.iter().find(|g| g.id == id)
    }
}

fn malformed(what: &'static str) -> BlockError {
    BlockError::Protocol { message: what.to_owned() }
}

/// The groups in REPORT TARGET PORT GROUPS data, length-only header format.
///
/// # Errors
/// Malformed data.
pub fn parse_groups(data: &[u8]) -> Result<Vec<PortGroup>, BlockError> {
    let report =
        PortGroups::parse(data, false).map_err(|e| BlockError::Protocol { message: e.to_string() })?;
    let mut groups: Vec<PortGroup> = Vec::new();
    for group in report.groups {
        if groups.iter().any(|g| g.id == group.id) {
            return Err(malformed("a target port group is reported twice"));
        }
        let access = Access::from_bits(group.state.0);
        groups.push(PortGroup { id: group.id, access, preferred: group.preferred, ports: group.ports });
    }
    Ok(groups)
}

/// The target port group in VPD page 83h.
///
/// # Errors
/// Malformed data.
pub fn parse_own_group(data: &[u8]) -> Result<Option<u16>, BlockError> {
    let (_, vpd) = Vpd::parse(data).map_err(|e| BlockError::Protocol { message: e.to_string() })?;
    let Vpd::DeviceId(designators) = vpd else { return Err(malformed("another VPD page than asked for")) };
    Ok(designators.into_iter().filter(|d| d.association == Association::TargetPort).find_map(|d| {
        match d.id {
            Identifier::PortGroup(id) => Some(id),
            _ => None,
        }
    }))
}

/// REPORT TARGET PORT GROUPS, length-only format.
pub fn report_request(lun: Lun) -> Request {
    let cdb = Cdb::ReportTargetPortGroups { extended: false, allocation: ALLOCATION };
    scsi::request(lun, cdb, Transfer::In(ALLOCATION))
}

/// Asks a path for its group and all groups' states. `None`: the unit has no ALUA (TPGS is 0), or knows the command not.
///
/// # Errors
/// Why the path could not be asked.
pub async fn read(path: &PathDevice) -> Result<Option<Report>, PathFault> {
    let lun = path.scsi_lun();
    let standard = path.ask(scsi::inquiry(lun, None)).await?;
    let standard = StandardInquiry::parse(&standard)
        .map_err(|e| PathFault::Block(BlockError::Protocol { message: e.to_string() }))?;
    if standard.tpgs == 0 {
        return Ok(None);
    }
    let own = parse_own_group(&path.ask(scsi::inquiry(lun, Some(page::DEVICE_ID))).await?)?;
    match path.ask(report_request(lun)).await {
        Ok(data) => Ok(Some(Report { own, groups: parse_groups(&data)? })),
        Err(PathFault::Block(BlockError::Sense { key: 0x5, .. })) => Ok(None),
        Err(fault) => Err(fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_a_report_are_read() {
        let mut data = vec![0, 0, 0, 28];
        data.extend([0x80, 0x0f, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]);
        data.extend([0x0c, 0x0f, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3]);
        data[20] = 0x03;
        let groups = parse_groups(&data).expect("well-formed");
        assert_eq!(groups.len(), 2);
        assert_eq!((groups[0].id, groups[0].access, groups[0].preferred), (1, Access::ActiveOptimized, true));
        assert_eq!(groups[0].ports, [1, 2]);
        assert_eq!((groups[1].id, groups[1].access, groups[1].ports.len()), (2, Access::Unavailable, 1));
        // A tail that the allocation length cut off is no error; a group told twice is.
        assert_eq!(parse_groups(&data[..25]).expect("cut off").len(), 1);
        data[23] = 1;
        assert!(parse_groups(&data).is_err());
        assert!(parse_groups(&[0, 0]).is_err());
    }
}
