//! INQUIRY: standard data and the vital product data pages.

use sanbench_array::{Array, DeviceInfo, EXTENT_BLOCKS};
use sanbench_wire::scsi::inquiry::{Peripheral, StandardInquiry, version};
use sanbench_wire::scsi::vpd::{
    Association, BlockLimits, Characteristics, Designator, Extended, Identifier, Provisioning, Vpd, page,
};

use super::{Done, Nexus, Unit, alua, bad_field, cut};
use crate::config::{
    MAX_ATOMIC_BLOCKS, MAX_COMPARE_BLOCKS, MAX_TRANSFER_BLOCKS, MAX_UNMAP_BLOCKS, MAX_UNMAP_DESCRIPTORS,
    MAX_WRITE_SAME_BLOCKS,
};

/// T10 vendor identification of all units.
const VENDOR: &str = "SANBENCH";
/// iSCSI in PROTOCOL IDENTIFIER fields.
const PROTOCOL_ISCSI: u8 = 5;
/// Peripheral device type of well-known units.
const WELL_KNOWN: u8 = 0x1e;
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
        return Ok(cut(standard(alua::tpgs(array, nexus), peripheral).build(), allocation));
    }
    let info = unit.and_then(|unit| array.device(unit.device)).ok_or(bad_field(1, Some(0)))?;
    let page = vpd(nexus, &info, code).ok_or(bad_field(2, None))?;
    Ok(cut(page.build(Peripheral::DISK), allocation))
}

/// Answers INQUIRY of the REPORT LUNS well-known unit.
pub(super) fn well_known(array: &Array, nexus: &Nexus, evpd: bool, code: u8, allocation: u16) -> Done {
    let peripheral = Peripheral { qualifier: 0, device_type: WELL_KNOWN };
    let data = match (evpd, code) {
        (false, 0) => standard(alua::tpgs(array, nexus), peripheral).build(),
        (true, page::SUPPORTED) => Vpd::Supported(vec![page::SUPPORTED]).build(peripheral),
        _ => return Err(bad_field(2, None)),
    };
    Ok(cut(data, usize::from(allocation)))
}

fn standard(tpgs: u8, peripheral: Peripheral) -> StandardInquiry {
    StandardInquiry {
        peripheral,
        version: version::SPC4,
        hierarchical: true,
        tpgs,
        third_party_copy: true,
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
            page::EXTENDED,
            page::BLOCK_LIMITS,
            page::CHARACTERISTICS,
            page::PROVISIONING,
        ]),
        page::SERIAL => Vpd::Serial(info.serial.clone()),
        page::DEVICE_ID => Vpd::DeviceId(designators(nexus, info)),
        page::EXTENDED => Vpd::Extended(Extended {
            head_of_queue: true,
            ordered: true,
            simple: true,
            volatile_cache: true,
            luns_changed_together: true,
        }),
        page::BLOCK_LIMITS => Vpd::BlockLimits(BlockLimits {
            max_compare_and_write: MAX_COMPARE_BLOCKS as u8,
            max_transfer: MAX_TRANSFER_BLOCKS,
            max_prefetch: 0,
            max_atomic: MAX_ATOMIC_BLOCKS,
            atomic_alignment: 1,
            atomic_granularity: 1,
            max_atomic_with_boundary: MAX_ATOMIC_BLOCKS,
            max_atomic_boundary: MAX_ATOMIC_BLOCKS,
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
            Vpd::Characteristics(Characteristics {
                rotation_rate: 1,
                // After either erasure blocks read as zeros.
                after_block_erase: u8::from(nexus.allow_sanitize),
                after_crypto_erase: u8::from(nexus.allow_sanitize),
                ..Default::default()
            })
        }
        page::PROVISIONING => Vpd::Provisioning(Provisioning {
            threshold_exponent: 0,
            unmap: info.thin,
            write_same_16: info.thin,
            // WRITE SAME (10) has no UNMAP here.
            write_same_10: false,
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
