//! MODE SENSE and MODE SELECT (SPC-4 clauses 6.9 to 6.12, 7.5; SBC-3 clause 6.4), LOG SENSE (SPC-4 clause 6.7).

use std::time::Duration;

use sanbench_array::{Array, ModeState};
use sanbench_wire::scsi::cdb::Width;
use sanbench_wire::scsi::mode::{BlockDescriptor, Caching, Control, ModeData, ModePage, PageControl, page};
use sanbench_wire::scsi::sense::{Asc, FieldPointer, Sense};

use super::{BLOCK, Done, Nexus, Unit, bad_field, cut, illegal, io_sense};

/// Which values are wanted of a page.
#[derive(Clone, Copy)]
struct Values {
    mode: ModeState,
    write_cache: bool,
    queue_algorithm: u8,
}

fn pages(values: Values) -> [ModePage; 2] {
    let Values { mode, write_cache, queue_algorithm } = values;
    [
        ModePage::Caching(Caching { write_cache, read_cache_disabled: false }),
        ModePage::Control(Control {
            write_protect: mode.write_protect,
            descriptor_sense: mode.descriptor_sense,
            queue_algorithm,
            ..Control::default()
        }),
    ]
}

/// WCE, SWP and D_SENSE can be changed; unrestricted reordering is what a bench wants to provoke, so that it is fixed.
fn values(array: &Array, nexus: &Nexus, unit: Unit, which: PageControl) -> Option<Values> {
    let state = array.reservations(unit.device)?;
    let told = array.write_cache(unit.device) && !nexus.defects.write_cache_hidden;
    let all = ModeState { write_protect: true, descriptor_sense: true };
    Some(match which {
        PageControl::Current => Values { mode: state.mode(), write_cache: told, queue_algorithm: 1 },
        // The cache keeps its setting through resets and loss of power.
        PageControl::Saved => Values { mode: state.saved_mode(), write_cache: told, queue_algorithm: 1 },
        PageControl::Default => Values { mode: ModeState::default(), write_cache: false, queue_algorithm: 1 },
        // Snapshots cannot be written, so that nothing about writing can be changed.
        PageControl::Changeable if unit.geometry.read_only => {
            Values { mode: ModeState { write_protect: false, ..all }, write_cache: false, queue_algorithm: 0 }
        }
        PageControl::Changeable => Values { mode: all, write_cache: true, queue_algorithm: 0 },
    })
}

/// MODE SENSE for the caching and control pages.
pub(super) fn sense(
    array: &Array,
    nexus: &Nexus,
    unit: Unit,
    (width, no_descriptors): (Width, bool),
    control: PageControl,
    (code, subpage): (u8, u8),
    allocation: u16,
) -> Done {
    if subpage != 0 && subpage != 0xff {
        return Err(bad_field(3, None));
    }
    let values = values(array, nexus, unit, control).ok_or(illegal(Asc::LOGICAL_UNIT_NOT_SUPPORTED))?;
    let mut pages = Vec::from(pages(values));
    match code {
        page::CACHING => pages.truncate(1),
        page::CONTROL => drop(pages.remove(0)),
        page::ALL => {}
        _ => return Err(bad_field(2, Some(5))),
    }
    let data = ModeData {
        write_protected: protected(array, unit),
        dpofua: true,
        descriptor: (!no_descriptors).then(|| descriptor(unit)),
        pages,
    };
    let (mut bytes, header) = if width == Width::Six { (data.build6(), 4) } else { (data.build10(), 8) };
    // PS: each of these pages can be saved.
    let mut at = header + if no_descriptors { 0 } else { 8 };
    while let Some([head, length]) = bytes.get_mut(at..at + 2) {
        *head |= 0x80;
        at += 2 + usize::from(*length);
    }
    Ok(cut(bytes, usize::from(allocation)))
}

fn descriptor(unit: Unit) -> BlockDescriptor {
    let blocks = u32::try_from(unit.geometry.blocks).unwrap_or(u32::MAX);
    BlockDescriptor { blocks, block_length: BLOCK as u32 }
}

/// Whether nobody may write: a snapshot, or SWP.
pub(super) fn protected(array: &Array, unit: Unit) -> bool {
    unit.geometry.read_only || array.reservations(unit.device).is_some_and(|state| state.mode().write_protect)
}

/// Checks a MODE SELECT before its list is asked for.
pub(super) fn check_select(page_format: bool, length: u16) -> Result<u64, Sense> {
    if !page_format {
        return Err(bad_field(1, Some(4)));
    }
    Ok(u64::from(length))
}

fn bad_parameter(byte: usize, bit: Option<u8>) -> Sense {
    let field = Some(FieldPointer { in_cdb: false, bit, byte: byte as u16 });
    Sense { field, ..illegal(Asc::INVALID_FIELD_IN_PARAMETER_LIST) }
}

/// MODE SELECT. The whole list is checked before anything changes; a bit that cannot be changed must be as it is.
pub(super) fn select(
    array: &mut Array,
    now: Duration,
    nexus: &Nexus,
    unit: Unit,
    width: Width,
    save: bool,
    list: &[u8],
) -> Done {
    let short = illegal(Asc::PARAMETER_LIST_LENGTH_ERROR);
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let (header, described) = match (width, list) {
        (Width::Six, [_, _, _, length, ..]) => (4, usize::from(*length)),
        (Width::Ten, [_, _, _, _, long, _, high, low, ..]) => {
            if *long != 0 {
                return Err(bad_parameter(4, Some(0)));
            }
            (8, usize::from(u16::from_be_bytes([*high, *low])))
        }
        _ => return Err(short),
    };
    if !matches!(described, 0 | 8) {
        return Err(bad_parameter(header - 1, None));
    }
    let body = list.get(header + described..).ok_or(short)?;
    if described == 8 {
        check_descriptor(unit, &list[header..header + 8])
            .map_err(|byte| bad_parameter(header + byte, None))?;
    }
    let gone = illegal(Asc::LOGICAL_UNIT_NOT_SUPPORTED);
    let current = values(array, nexus, unit, PageControl::Current).ok_or(gone)?;
    let fixed = values(array, nexus, unit, PageControl::Changeable).ok_or(gone)?;
    let (current, changeable) = (raw(pages(current)), raw(pages(fixed)));
    let (mut mode, mut cache) = (array.reservations(unit.device).ok_or(gone)?.mode(), None);
    let mut at = 0;
    while at < body.len() {
        let start = header + described + at;
        let [code, length, ..] = body[at..] else { return Err(short) };
        if code & 0xc0 != 0 {
            return Err(bad_parameter(start, Some(if code & 0x80 != 0 { 7 } else { 6 })));
        }
        let which = current.iter().position(|page| page[0] == code).ok_or(bad_parameter(start, Some(5)))?;
        let (now_is, mask) = (&current[which], &changeable[which]);
        if usize::from(length) + 2 != now_is.len() {
            return Err(bad_parameter(start + 1, None));
        }
        let page = body.get(at..at + now_is.len()).ok_or(short)?;
        for (n, byte) in page.iter().enumerate().skip(2) {
            let wrong = (byte ^ now_is[n]) & !mask[n];
            if wrong != 0 {
                return Err(bad_parameter(start + n, Some(7 - wrong.leading_zeros() as u8)));
            }
        }
        if code == page::CACHING {
            cache = Some(page[2] & 0x04 != 0);
        } else {
            mode = ModeState { descriptor_sense: page[2] & 0x04 != 0, write_protect: page[4] & 0x08 != 0 };
        }
        at += page.len();
    }
    let before = array.write_cache(unit.device);
    let cached = cache.unwrap_or(before);
    if cached != before {
        array.set_write_cache(now, unit.device, cached).map_err(io_sense)?;
    }
    if save {
        array.promise();
    }
    if let Some(state) = array.reservations_mut(unit.device) {
        state.set_mode(&nexus.id, mode, save, cached != before);
    }
    Ok(Vec::new())
}

/// A block descriptor may say only what is so; the byte that does not, otherwise. Zero blocks and all ones mean "as it is".
fn check_descriptor(unit: Unit, d: &[u8]) -> Result<(), usize> {
    let blocks = u32::from_be_bytes([d[0], d[1], d[2], d[3]]);
    if blocks != 0 && blocks != u32::MAX && blocks != descriptor(unit).blocks {
        return Err(0);
    }
    if u32::from_be_bytes([0, d[5], d[6], d[7]]) != BLOCK as u32 {
        return Err(5);
    }
    Ok(())
}

/// Pages as they travel, without PS.
fn raw(pages: [ModePage; 2]) -> [Vec<u8>; 2] {
    pages.map(|page| {
        let data = ModeData { write_protected: false, dpofua: false, descriptor: None, pages: vec![page] };
        data.build6().split_off(4)
    })
}

/// LOG SENSE: the list of pages, and informational exceptions, of which there are none.
pub(super) fn log_sense(
    save: bool,
    control: u8,
    code: u8,
    subpage: u8,
    pointer: u16,
    allocation: u16,
) -> Done {
    const SUPPORTED: u8 = 0x00;
    const EXCEPTIONS: u8 = 0x2f;
    if save {
        return Err(bad_field(1, Some(0)));
    }
    if subpage != 0 {
        return Err(bad_field(3, None));
    }
    let body: &[u8] = match code {
        SUPPORTED => &[SUPPORTED, EXCEPTIONS],
        // Parameter 0: no additional sense; the temperature is not known.
        EXCEPTIONS => &[0, 0, 0x03, 4, 0, 0, 0xff, 0],
        _ => return Err(bad_field(2, Some(5))),
    };
    // Only cumulative and threshold values can be asked for, and only from a parameter on that there is.
    if control > 1 {
        return Err(bad_field(2, Some(7)));
    }
    if pointer != 0 {
        return Err(bad_field(5, None));
    }
    let mut data = vec![code, 0, 0, body.len() as u8];
    data.extend_from_slice(body);
    Ok(cut(data, usize::from(allocation)))
}
