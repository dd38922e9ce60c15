//! INQUIRY: standard data and the vital product data pages.

use sanbench_array::{Array, DeviceInfo, EXTENT_BLOCKS};
use sanbench_wire::scsi::inquiry::{Peripheral, StandardInquiry, version};
use sanbench_wire::scsi::vpd::{
    Association, BlockLimits, Characteristics, Designator, Identifier, Provisioning, Vpd, page,
};

use super::{Done, Nexus, Unit, bad_field, cut};
use crate::config::{MAX_TRANSFER_BLOCKS, MAX_UNMAP_BLOCKS, MAX_UNMAP_DESCRIPTORS, MAX_WRITE_SAME_BLOCKS};

/// T10 vendor identification of all units.
const VENDOR: &str = "SANBENCH";
/// iSCSI in PROTOCOL IDENTIFIER fields.
const PROTOCOL_ISCSI: u8 = 5;
/// Version descriptors: SAM-5, iSCSI, SPC-4, SBC-3 (SPC-4 annex of version descriptor values).
const VERSIONS: [u16; 4] = [0x00a0, 0x0960, 0x0460, 0x04c0];

/// Answers INQUIRY. A LUN that is not mapped gives qualifier 3, type 1Fh, and has no pages.
pub(super) fn inquiry(
    array: &Array,
    nexus: &Nexus,
    unit: Option<Unit>,
    evpd: bool,
    code: u8,
    allocation: u16,
) -> Done {
    let allocation = usize::from(allocation);
    if !evpd {
        if code != 0 {
            return Err(bad_field(2, None));
        }
        let peripheral = if unit.is_some() { Peripheral::DISK } else { Peripheral::NONE };
        return Ok(cut(standard(peripheral).build(), allocation));
    }
    let info = unit.and_then(|unit| array.device(unit.device)).ok_or(bad_field(1, Some(0)))?;
    let page = vpd(nexus, &info, code).ok_or(bad_field(2, None))?;
    Ok(cut(page.build(Peripheral::DISK), allocation))
}

fn standard(peripheral: Peripheral) -> StandardInquiry {
    StandardInquiry {
        peripheral,
        version: version::SPC4,
        hierarchical: true,
        tpgs: 0,
        third_party_copy: false,
        protect: false,
        command_queue: true,
        vendor: VENDOR.to_owned(),
        product: "SIMULATED LUN".to_owned(),
        revision: "0001".to_owned(),
        version_descriptors: VERSIONS.to_vec(),
    }
}

fn vpd(nexus: &Nexus, info: &DeviceInfo, code: u8) -> Option<Vpd> {
    Some(match code {
        page::SUPPORTED => Vpd::Supported(vec![
            page::SUPPORTED,
            page::SERIAL,
            page::DEVICE_ID,
            page::BLOCK_LIMITS,
            page::CHARACTERISTICS,
            page::PROVISIONING,
        ]),
        page::SERIAL => Vpd::Serial(info.serial.clone()),
        page::DEVICE_ID => Vpd::DeviceId(designators(nexus, info)),
        page::BLOCK_LIMITS => Vpd::BlockLimits(BlockLimits {
            max_transfer: MAX_TRANSFER_BLOCKS,
            optimal_granularity: 8,
            optimal_transfer: EXTENT_BLOCKS as u32,
            max_unmap_blocks: if info.thin { MAX_UNMAP_BLOCKS } else { 0 },
            max_unmap_descriptors: if info.thin { MAX_UNMAP_DESCRIPTORS } else { 0 },
            unmap_granularity: EXTENT_BLOCKS as u32,
            unmap_alignment: Some(0),
            max_write_same: MAX_WRITE_SAME_BLOCKS,
            ..BlockLimits::default()
        }),
        page::CHARACTERISTICS => {
            Vpd::Characteristics(Characteristics { rotation_rate: 1, ..Default::default() })
        }
        page::PROVISIONING => Vpd::Provisioning(Provisioning {
            threshold_exponent: 0,
            unmap: info.thin,
            write_same_16: info.thin,
            write_same_10: info.thin,
            unmapped_reads_zero: true,
            anchor: false,
            kind: if info.thin { 2 } else { 0 },
        }),
        _ => return None,
    })
}

fn designators(nexus: &Nexus, info: &DeviceInfo) -> Vec<Designator> {
    let unit = |id| Designator { association: Association::LogicalUnit, protocol: None, id };
    let port = |id| Designator { association: Association::TargetPort, protocol: Some(PROTOCOL_ISCSI), id };
    let name = format!("{},t,0x{:04x}", nexus.port.target, nexus.port.tpgt);
    vec![
        unit(Identifier::Naa(info.wwn.to_vec())),
        unit(Identifier::T10(format!("{VENDOR:8}{}", info.serial))),
        port(Identifier::RelativePort(nexus.port.relative)),
        port(Identifier::PortGroup(nexus.port.tpgt)),
        port(Identifier::Name(name)),
    ]
}
