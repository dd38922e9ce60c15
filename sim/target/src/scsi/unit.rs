//! Commands about the unit rather than its blocks: capacity, mode pages, sense, LUN list, start and stop.

use bytes::Bytes;
use sanbench_array::Array;
use sanbench_wire::scsi::capacity::{Capacity10, Capacity16};
use sanbench_wire::scsi::cdb::Width;
use sanbench_wire::scsi::luns::{self, Lun, select};
use sanbench_wire::scsi::mode::{BlockDescriptor, Caching, Control, ModeData, ModePage, PageControl, page};
use sanbench_wire::scsi::sense::{Asc, Sense, SenseKey};

use super::{BLOCK, Done, Nexus, Unit, bad_field, cut, illegal, ready};

/// REPORT LUNS (SPC-4 clause 6.33): what this nexus may reach, ascending. There are no well-known units.
pub(super) fn report_luns(array: &Array, nexus: &mut Nexus, which: u8, allocation: u32) -> Done {
    if allocation < 16 {
        return Err(bad_field(6, None));
    }
    let list: Vec<Lun> = match which {
        select::ADDRESSABLE | select::ALL => {
            array.view(&nexus.iqn).into_iter().filter_map(|(number, _)| Lun::from_number(number)).collect()
        }
        select::WELL_KNOWN => Vec::new(),
        _ => return Err(bad_field(2, None)),
    };
    if which != select::WELL_KNOWN {
        nexus.luns_were_reported();
    }
    Ok(cut(luns::build(&list), allocation as usize))
}

/// REQUEST SENSE (SPC-4 clause 6.39): always GOOD; the data tells a waiting unit attention or a wrong LUN.
pub(super) fn request_sense(
    nexus: &mut Nexus,
    lun: Lun,
    unit: Option<Unit>,
    descriptor: bool,
    allocation: u8,
) -> Vec<Bytes> {
    let sense = match unit {
        None => illegal(Asc::LOGICAL_UNIT_NOT_SUPPORTED),
        Some(unit) => match nexus.take_attention(lun) {
            Some(attention) => Sense::new(SenseKey::UNIT_ATTENTION, attention),
            None => ready(unit).err().unwrap_or(Sense::new(SenseKey::NO_SENSE, Asc::NO_ADDITIONAL_SENSE)),
        },
    };
    let data = if descriptor { sense.build_descriptor() } else { sense.build_fixed().to_vec() };
    cut(data, usize::from(allocation))
}

pub(super) fn read_capacity_10(unit: Unit) -> Done {
    ready(unit)?;
    let last = unit.geometry.blocks.saturating_sub(1);
    let last_lba = u32::try_from(last).unwrap_or(u32::MAX);
    Ok(cut(Capacity10 { last_lba, block_length: BLOCK as u32 }.build(), 8))
}

pub(super) fn read_capacity_16(array: &Array, unit: Unit, allocation: u32) -> Done {
    ready(unit)?;
    let thin = array.device(unit.device).is_some_and(|info| info.thin);
    let data = Capacity16 {
        last_lba: unit.geometry.blocks.saturating_sub(1),
        block_length: BLOCK as u32,
        protection: false,
        protection_type: 0,
        physical_exponent: 0,
        thin,
        unmapped_reads_zero: true,
        lowest_aligned: 0,
    };
    Ok(cut(data.build(), allocation as usize))
}

/// MODE SENSE for the caching and control pages. Nothing is changeable and nothing can be saved. The caching page says
/// WCE=0, since an acknowledged write is never volatile here.
pub(super) fn mode_sense(
    unit: Unit,
    width: Width,
    no_descriptors: bool,
    control: PageControl,
    code: u8,
    subpage: u8,
    allocation: u16,
) -> Done {
    if control == PageControl::Saved {
        return Err(illegal(Asc::SAVING_NOT_SUPPORTED));
    }
    if subpage != 0 && subpage != 0xff {
        return Err(bad_field(3, None));
    }
    let changeable = control == PageControl::Changeable;
    let caching = ModePage::Caching(Caching::default());
    let control_page = ModePage::Control(Control {
        write_protect: unit.geometry.read_only && !changeable,
        // Unrestricted reordering is what a bench wants to provoke; a changeable mask has it zero like the rest.
        queue_algorithm: if changeable { 0 } else { 1 },
        ..Control::default()
    });
    let pages = match code {
        page::CACHING => vec![caching],
        page::CONTROL => vec![control_page],
        page::ALL => vec![caching, control_page],
        _ => return Err(bad_field(2, Some(5))),
    };
    let data = ModeData {
        write_protected: unit.geometry.read_only,
        dpofua: true,
        descriptor: (!no_descriptors).then(|| BlockDescriptor {
            blocks: u32::try_from(unit.geometry.blocks).unwrap_or(u32::MAX),
            block_length: BLOCK as u32,
        }),
        pages,
    };
    let bytes = if width == Width::Six { data.build6() } else { data.build10() };
    Ok(cut(bytes, usize::from(allocation)))
}

/// START STOP UNIT: a virtual unit is always started; ejecting and power conditions make no sense for it.
pub(super) fn start_stop(load_eject: bool, power_condition: u8) -> Done {
    if load_eject {
        return Err(bad_field(4, Some(1)));
    }
    if power_condition != 0 {
        return Err(bad_field(4, Some(7)));
    }
    Ok(Vec::new())
}
