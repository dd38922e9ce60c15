//! The commands of a unit as one table: what its CDB may hold, what it touches, through which ports it may come, how long
//! it takes. Parsing, reservations, access states and REPORT SUPPORTED OPERATION CODES all go by it.

use sanbench_array::Touch;
use sanbench_wire::scsi::cdb::op;
use sanbench_wire::scsi::opcodes::{self as wire, Supported, Timeouts, option};
use sanbench_wire::scsi::sense::{Asc, Sense};

use super::{Done, bad_field, cut, illegal};

/// Through which target ports a command may come, by their access state (SPC-4 clause 5.15.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// Whatever the state is.
    Always,
    /// Not in transitions.
    Settled,
    /// Active and standby.
    Standby,
    /// Active.
    Active,
}

/// What must hold for a command to be there at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    Nothing,
    Thin,
    ExplicitAlua,
    Sanitize,
}

/// One command.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) opcode: u8,
    /// Service action, for operation codes that have such.
    pub(super) action: Option<u8>,
    /// CDB usage data (SPC-4 clause 6.35.3): codes as they are, and a one for each bit that is looked at.
    pub(super) usage: &'static [u8],
    pub(super) touch: Touch,
    pub(super) reach: Reach,
    pub(super) needs: Needs,
    /// Recommended time-out, seconds.
    timeout: u32,
}

/// Time-outs, seconds: of commands that answer from memory, of those that move data, of those that take their time.
const QUICK: u32 = 10;
const DATA: u32 = 30;
const LONG: u32 = 120;

const F: u8 = 0xff;
/// GROUP NUMBER: anything goes, and means nothing here.
const G: u8 = 0x1f;

const fn plain(
    opcode: u8,
    usage: &'static [u8],
    touch: Touch,
    reach: Reach,
    needs: Needs,
    timeout: u32,
) -> Entry {
    Entry { opcode, action: None, usage, touch, reach, needs, timeout }
}

const fn with_action(
    opcode: u8,
    action: u8,
    usage: &'static [u8],
    touch: Touch,
    reach: Reach,
    needs: Needs,
) -> Entry {
    let timeout = if matches!(touch, Touch::Write) { LONG } else { QUICK };
    Entry { opcode, action: Some(action), usage, touch, reach, needs, timeout }
}

use Needs::{ExplicitAlua, Nothing as Any, Sanitize, Thin};
use Reach::{Active, Always, Settled, Standby};
use Touch::{Nothing, Read, Status, Write};

/// Every command, ascending by operation code and service action.
#[rustfmt::skip]
static TABLE: &[Entry] = &[
    plain(op::TEST_UNIT_READY, &[0x00, 0, 0, 0, 0, 0], Status, Active, Any, QUICK),
    plain(op::REQUEST_SENSE, &[0x03, 1, 0, 0, F, 0], Nothing, Always, Any, QUICK),
    plain(op::READ_6, &[0x08, 0x1f, F, F, F, 0], Read, Active, Any, DATA),
    plain(op::WRITE_6, &[0x0a, 0x1f, F, F, F, 0], Write, Active, Any, DATA),
    plain(op::INQUIRY, &[0x12, 1, F, F, F, 0], Nothing, Always, Any, QUICK),
    plain(op::MODE_SELECT_6, &[0x15, 0x11, 0, 0, F, 0], Write, Standby, Any, QUICK),
    // What RESERVE and RELEASE conflict with is their own matter.
    plain(op::RESERVE_6, &[0x16, 0, 0, 0, 0, 0], Nothing, Standby, Any, QUICK),
    plain(op::RELEASE_6, &[0x17, 0, 0, 0, 0, 0], Nothing, Standby, Any, QUICK),
    plain(op::MODE_SENSE_6, &[0x1a, 0x08, F, F, F, 0], Read, Standby, Any, QUICK),
    plain(op::START_STOP_UNIT, &[0x1b, 1, 0, 0, 0x05, 0], Write, Active, Any, QUICK),
    plain(op::PREVENT_ALLOW, &[0x1e, 0, 0, 0, 1, 0], Write, Active, Any, QUICK),
    plain(op::READ_CAPACITY_10, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], Nothing, Active, Any, QUICK),
    plain(op::READ_10, &[0x28, 0x18, F, F, F, F, G, F, F, 0], Read, Active, Any, DATA),
    plain(op::WRITE_10, &[0x2a, 0x18, F, F, F, F, G, F, F, 0], Write, Active, Any, DATA),
    plain(op::WRITE_AND_VERIFY_10, &[0x2e, 0x16, F, F, F, F, G, F, F, 0], Write, Active, Any, DATA),
    plain(op::VERIFY_10, &[0x2f, 0x16, F, F, F, F, G, F, F, 0], Read, Active, Any, DATA),
    plain(op::PRE_FETCH_10, &[0x34, 2, F, F, F, F, G, F, F, 0], Read, Active, Any, DATA),
    plain(op::SYNCHRONIZE_CACHE_10, &[0x35, 2, F, F, F, F, G, F, F, 0], Write, Active, Any, LONG),
    plain(op::READ_DEFECT_DATA_10, &[0x37, 0, 0x1f, 0, 0, 0, 0, F, F, 0], Read, Active, Any, QUICK),
    // UNMAP is looked at, and refused.
    plain(op::WRITE_SAME_10, &[0x41, 0x08, F, F, F, F, G, F, F, 0], Write, Active, Any, LONG),
    plain(op::UNMAP, &[0x42, 0, 0, 0, 0, 0, G, F, F, 0], Write, Active, Thin, LONG),
    with_action(op::SANITIZE, 0x01, &[0x48, 0xa1, 0, 0, 0, 0, 0, F, F, 0], Write, Active, Sanitize),
    with_action(op::SANITIZE, 0x02, &[0x48, 0xa2, 0, 0, 0, 0, 0, F, F, 0], Write, Active, Sanitize),
    with_action(op::SANITIZE, 0x03, &[0x48, 0xa3, 0, 0, 0, 0, 0, F, F, 0], Write, Active, Sanitize),
    with_action(op::SANITIZE, 0x1f, &[0x48, 0xbf, 0, 0, 0, 0, 0, F, F, 0], Write, Active, Sanitize),
    plain(op::LOG_SENSE, &[0x4d, 0, F, F, 0, F, F, F, F, 0], Nothing, Standby, Any, QUICK),
    plain(op::MODE_SELECT_10, &[0x55, 0x11, 0, 0, 0, 0, 0, F, F, 0], Write, Standby, Any, QUICK),
    plain(op::RESERVE_10, &[0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0], Nothing, Standby, Any, QUICK),
    plain(op::RELEASE_10, &[0x57, 0, 0, 0, 0, 0, 0, 0, 0, 0], Nothing, Standby, Any, QUICK),
    plain(op::MODE_SENSE_10, &[0x5a, 0x18, F, F, 0, 0, 0, F, F, 0], Read, Standby, Any, QUICK),
    with_action(op::PERSISTENT_RESERVE_IN, 0, &[0x5e, 0, 0, 0, 0, 0, 0, F, F, 0], Status, Standby, Any),
    with_action(op::PERSISTENT_RESERVE_IN, 1, &[0x5e, 1, 0, 0, 0, 0, 0, F, F, 0], Status, Standby, Any),
    with_action(op::PERSISTENT_RESERVE_IN, 2, &[0x5e, 2, 0, 0, 0, 0, 0, F, F, 0], Status, Standby, Any),
    with_action(op::PERSISTENT_RESERVE_IN, 3, &[0x5e, 3, 0, 0, 0, 0, 0, F, F, 0], Status, Standby, Any),
    // Each service action of PERSISTENT RESERVE OUT knows its own conflicts.
    with_action(op::PERSISTENT_RESERVE_OUT, 0, &[0x5f, 0, F, 0, 0, F, F, F, F, 0], Status, Standby, Any),
    with_action(op::PERSISTENT_RESERVE_OUT, 1, &[0x5f, 1, F, 0, 0, F, F, F, F, 0], Status, Standby, Any),
    with_action(op::PERSISTENT_RESERVE_OUT, 2, &[0x5f, 2, F, 0, 0, F, F, F, F, 0], Status, Standby, Any),
    with_action(op::PERSISTENT_RESERVE_OUT, 3, &[0x5f, 3, F, 0, 0, F, F, F, F, 0], Status, Standby, Any),
    with_action(op::PERSISTENT_RESERVE_OUT, 4, &[0x5f, 4, F, 0, 0, F, F, F, F, 0], Status, Standby, Any),
    with_action(op::PERSISTENT_RESERVE_OUT, 5, &[0x5f, 5, F, 0, 0, F, F, F, F, 0], Status, Standby, Any),
    with_action(op::PERSISTENT_RESERVE_OUT, 6, &[0x5f, 6, F, 0, 0, F, F, F, F, 0], Status, Standby, Any),
    with_action(op::PERSISTENT_RESERVE_OUT, 7, &[0x5f, 7, F, 0, 0, F, F, F, F, 0], Status, Standby, Any),
    with_action(op::EXTENDED_COPY, 0, &[0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0, F, F, F, F, 0, 0], Write, Active, Any),
    with_action(op::RECEIVE_COPY_RESULTS, 0, &[0x84, 0, F, 0, 0, 0, 0, 0, 0, 0, F, F, F, F, 0, 0], Read, Active, Any),
    with_action(op::RECEIVE_COPY_RESULTS, 3, &[0x84, 3, F, 0, 0, 0, 0, 0, 0, 0, F, F, F, F, 0, 0], Read, Active, Any),
    with_action(op::RECEIVE_COPY_RESULTS, 4, &[0x84, 4, F, 0, 0, 0, 0, 0, 0, 0, F, F, F, F, 0, 0], Read, Active, Any),
    plain(op::READ_16, &[0x88, 0x18, F, F, F, F, F, F, F, F, F, F, F, F, G, 0], Read, Active, Any, DATA),
    plain(op::COMPARE_AND_WRITE, &[0x89, 0x18, F, F, F, F, F, F, F, F, 0, 0, 0, F, G, 0], Write, Active, Any, DATA),
    plain(op::WRITE_16, &[0x8a, 0x18, F, F, F, F, F, F, F, F, F, F, F, F, G, 0], Write, Active, Any, DATA),
    plain(op::OR_WRITE_16, &[0x8b, 0x18, F, F, F, F, F, F, F, F, F, F, F, F, G, 0], Write, Active, Any, DATA),
    plain(op::WRITE_AND_VERIFY_16, &[0x8e, 0x16, F, F, F, F, F, F, F, F, F, F, F, F, G, 0], Write, Active, Any, DATA),
    plain(op::VERIFY_16, &[0x8f, 0x16, F, F, F, F, F, F, F, F, F, F, F, F, G, 0], Read, Active, Any, DATA),
    plain(op::PRE_FETCH_16, &[0x90, 2, F, F, F, F, F, F, F, F, F, F, F, F, G, 0], Read, Active, Any, DATA),
    plain(op::SYNCHRONIZE_CACHE_16, &[0x91, 2, F, F, F, F, F, F, F, F, F, F, F, F, G, 0], Write, Active, Any, LONG),
    plain(op::WRITE_SAME_16, &[0x93, 0x09, F, F, F, F, F, F, F, F, F, F, F, F, G, 0], Write, Active, Any, LONG),
    plain(op::WRITE_ATOMIC_16, &[0x9c, 0x18, F, F, F, F, F, F, F, F, F, F, F, F, G, 0], Write, Active, Any, DATA),
    with_action(op::SERVICE_ACTION_IN_16, 0x10, &[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, F, F, F, F, 0, 0], Nothing, Active, Any),
    with_action(op::SERVICE_ACTION_IN_16, 0x12, &[0x9e, 0x12, F, F, F, F, F, F, F, F, F, F, F, F, 0, 0], Read, Active, Any),
    plain(op::REPORT_LUNS, &[0xa0, 0, F, 0, 0, 0, F, F, F, F, 0, 0], Nothing, Always, Any, QUICK),
    with_action(op::MAINTENANCE_IN, 0x0a, &[0xa3, 0xea, 0, 0, 0, 0, F, F, F, F, 0, 0], Nothing, Always, Any),
    with_action(op::MAINTENANCE_IN, 0x0c, &[0xa3, 0x0c, 0x87, F, F, F, F, F, F, F, 0, 0], Read, Standby, Any),
    with_action(op::MAINTENANCE_IN, 0x0d, &[0xa3, 0x0d, 0x80, 0, 0, 0, F, F, F, F, 0, 0], Read, Standby, Any),
    with_action(op::MAINTENANCE_OUT, 0x0a, &[0xa4, 0x0a, 0, 0, 0, 0, F, F, F, F, 0, 0], Write, Settled, ExplicitAlua),
    plain(op::READ_12, &[0xa8, 0x18, F, F, F, F, F, F, F, F, G, 0], Read, Active, Any, DATA),
    plain(op::WRITE_12, &[0xaa, 0x18, F, F, F, F, F, F, F, F, G, 0], Write, Active, Any, DATA),
    plain(op::WRITE_AND_VERIFY_12, &[0xae, 0x16, F, F, F, F, F, F, F, F, G, 0], Write, Active, Any, DATA),
    plain(op::VERIFY_12, &[0xaf, 0x16, F, F, F, F, F, F, F, F, G, 0], Read, Active, Any, DATA),
    plain(op::READ_DEFECT_DATA_12, &[0xb7, 0x1f, F, F, F, F, F, F, F, F, 0, 0], Read, Active, Any, QUICK),
];

/// Where the entries of an operation code begin and end in the table.
static INDEX: [(u8, u8); 256] = index();

const fn index() -> [(u8, u8); 256] {
    let mut all = [(0, 0); 256];
    let mut at = 0;
    while at < TABLE_LENGTH {
        let code = TABLE[at].opcode as usize;
        if all[code].1 == 0 {
            all[code].0 = at as u8;
        }
        all[code].1 = at as u8 + 1;
        at += 1;
    }
    all
}

const TABLE_LENGTH: usize = TABLE.len();

fn entries(opcode: u8) -> &'static [Entry] {
    let (from, to) = INDEX[usize::from(opcode)];
    &TABLE[usize::from(from)..usize::from(to)]
}

/// The command of a CDB, its bits looked at: an unknown operation code, an unknown service action, and a bit that means
/// nothing here are refused. `present` says whether what an entry needs is there.
pub(super) fn find(raw: &[u8; 16], present: impl Fn(Needs) -> bool) -> Result<&'static Entry, Sense> {
    let all = entries(raw[0]);
    let entry = match all {
        [one] if one.action.is_none() => one,
        _ => {
            if !all.iter().any(|entry| present(entry.needs)) {
                return Err(illegal(Asc::INVALID_OPERATION_CODE));
            }
            // The operation code is known, its service action is not (SPC-4 clause 4.2.5.2).
            let action = raw[1] & 0x1f;
            all.iter().find(|entry| entry.action == Some(action)).ok_or(bad_field(1, Some(4)))?
        }
    };
    if !present(entry.needs) {
        return Err(illegal(Asc::INVALID_OPERATION_CODE));
    }
    let bytes = raw.iter().zip(entry.usage).enumerate().skip(1);
    for (at, (byte, usage)) in bytes {
        let allowed = if at == 1 && entry.action.is_some() { usage | 0x1f } else { *usage };
        let wrong = byte & !allowed;
        if wrong != 0 {
            // The three high bits of the second byte are one field wherever there is no service action: protection.
            let protection = at == 1 && entry.action.is_none() && wrong & 0xe0 != 0;
            let bit = if protection { 7 } else { 7 - wrong.leading_zeros() as u8 };
            return Err(bad_field(at as u16, Some(bit)));
        }
    }
    Ok(entry)
}

fn timeouts(entry: &Entry) -> Timeouts {
    Timeouts { nominal: entry.timeout / 10, recommended: entry.timeout }
}

/// REPORT SUPPORTED OPERATION CODES (SPC-4 clause 6.35).
pub(super) fn report(
    timed: bool,
    what: u8,
    opcode: u8,
    action: u16,
    allocation: u32,
    present: impl Fn(Needs) -> bool,
) -> Done {
    let there = |entry: &&Entry| present(entry.needs);
    let all: Vec<&Entry> = entries(opcode).iter().filter(there).collect();
    let has_actions = all.first().is_some_and(|entry| entry.action.is_some());
    let one = match what {
        option::ALL => {
            let list: Vec<Supported> = TABLE
                .iter()
                .filter(there)
                .map(|entry| Supported {
                    opcode: entry.opcode,
                    action: entry.action.map(u16::from),
                    length: entry.usage.len() as u16,
                    timeouts: timed.then(|| timeouts(entry)),
                })
                .collect();
            return Ok(cut(wire::build_all(&list), allocation as usize));
        }
        option::OPCODE if has_actions => return Err(bad_field(2, Some(2))),
        option::SERVICE_ACTION if !all.is_empty() && !has_actions => return Err(bad_field(2, Some(2))),
        option::OPCODE | option::SERVICE_ACTION | option::EITHER => all.into_iter().find(|entry| {
            let plain = action == 0 || what == option::OPCODE;
            if has_actions { entry.action.map(u16::from) == Some(action) } else { plain }
        }),
        _ => return Err(bad_field(2, Some(2))),
    };
    let times = one.filter(|_| timed).map(timeouts);
    Ok(cut(wire::build_one(one.map(|entry| entry.usage), times), allocation as usize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sanbench_wire::scsi::cdb::{self, Cdb};

    #[test]
    fn the_table_is_sorted_and_of_the_right_lengths() {
        for pair in TABLE.windows(2) {
            assert!((pair[0].opcode, pair[0].action) < (pair[1].opcode, pair[1].action), "{:?}", pair[1]);
        }
        for entry in TABLE {
            assert_eq!(entry.usage.len(), cdb::length(entry.opcode), "{entry:?}");
            assert_eq!(entry.usage[0], entry.opcode);
            let mut raw = [0; 16];
            raw[0] = entry.opcode;
            raw[1] = entry.action.unwrap_or(0);
            assert!(!matches!(Cdb::parse(&raw), Cdb::Unknown(_)), "{entry:?} is parsed");
            assert!(find(&raw, |_| true).is_ok(), "{entry:?}");
        }
    }

    #[test]
    fn what_is_not_in_the_table_is_refused() {
        for opcode in 0..=255u8 {
            let mut raw = [0; 16];
            raw[0] = opcode;
            raw[1] = 0x1e;
            let found = find(&raw, |_| true).map(|entry| entry.opcode);
            match entries(opcode) {
                [] => assert_eq!(found, Err(illegal(Asc::INVALID_OPERATION_CODE))),
                [first, ..] if first.action.is_some() => assert_eq!(found, Err(bad_field(1, Some(4)))),
                _ => {}
            }
        }
        for entry in TABLE {
            for bit in 8..entry.usage.len() * 8 {
                let (byte, mask) = (bit / 8, 1u8 << (bit % 8));
                if byte == 1 && entry.action.is_some() && mask & 0x1f != 0 {
                    continue;
                }
                let mut raw = [0; 16];
                raw[0] = entry.opcode;
                raw[1] = entry.action.unwrap_or(0);
                raw[byte] |= mask;
                let refused = find(&raw, |_| true).err();
                let field = if byte == 1 && entry.action.is_none() && mask & 0xe0 != 0 { 0x80 } else { mask };
                let wanted = (entry.usage[byte] & mask == 0)
                    .then(|| bad_field(byte as u16, Some(field.trailing_zeros() as u8)));
                assert_eq!(refused, wanted, "{entry:?} byte {byte} mask {mask:02x}");
            }
        }
    }
}
