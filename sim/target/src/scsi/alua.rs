//! Asymmetric logical unit access (SPC-4 clause 5.15): REPORT and SET TARGET PORT GROUPS, and what each state refuses.

use std::time::Duration;

use sanbench_array::{AccessError, AccessState, Array, PathView};
use sanbench_wire::scsi::alua::{self, AccessState as State, PortGroup, PortGroups, StatusCode, Supported};
use sanbench_wire::scsi::sense::{Asc, FieldPointer, Sense, SenseKey};

use super::opcodes::{Entry, Reach};
use super::{Done, Nexus, Unit, bad_field, cut, illegal};

/// Longest parameter list of SET TARGET PORT GROUPS that is looked at, bytes.
pub(super) const MAX_LIST: u32 = 4 + 4 * 256;

fn code(state: AccessState) -> State {
    match state {
        AccessState::ActiveOptimized => State::ACTIVE_OPTIMIZED,
        AccessState::ActiveNonOptimized => State::ACTIVE_NON_OPTIMIZED,
        AccessState::Standby => State::STANDBY,
        AccessState::Unavailable => State::UNAVAILABLE,
        AccessState::Offline => State::OFFLINE,
        AccessState::Transitioning => State::TRANSITIONING,
    }
}

/// TPGS of the INQUIRY data; none for an initiator that is set up not to hear of access states.
pub(super) fn tpgs(array: &Array, nexus: &Nexus) -> u8 {
    if array.path_view(&nexus.iqn) == PathView::Flat {
        return 0;
    }
    let (implicit, explicit) = array.alua_modes();
    u8::from(explicit) << 1 | u8::from(implicit)
}

/// Refuses a command that the port of the nexus does not serve in its present state.
pub(super) fn check(array: &Array, nexus: &Nexus, unit: Unit, entry: &Entry) -> Result<(), Sense> {
    let asc = match array.access_state_for(&nexus.iqn, unit.device, nexus.port.tpgt) {
        AccessState::ActiveOptimized | AccessState::ActiveNonOptimized => return Ok(()),
        AccessState::Standby if entry.reach <= Reach::Standby => return Ok(()),
        AccessState::Standby => Asc::PORT_IN_STANDBY_STATE,
        AccessState::Unavailable if entry.reach <= Reach::Settled => return Ok(()),
        AccessState::Unavailable => Asc::PORT_IN_UNAVAILABLE_STATE,
        AccessState::Offline if entry.reach <= Reach::Always => return Ok(()),
        AccessState::Offline => Asc::PORT_OFFLINE,
        AccessState::Transitioning if entry.reach <= Reach::Always => return Ok(()),
        AccessState::Transitioning => Asc::ACCESS_STATE_TRANSITION,
    };
    Err(Sense::new(SenseKey::NOT_READY, asc))
}

/// Whether the port of the nexus serves the medium of a unit at present.
pub(super) fn is_active(array: &Array, nexus: &Nexus, unit: Unit) -> bool {
    let state = array.access_state_for(&nexus.iqn, unit.device, nexus.port.tpgt);
    matches!(state, AccessState::ActiveOptimized | AccessState::ActiveNonOptimized)
}

/// REPORT TARGET PORT GROUPS.
pub(super) fn report(array: &Array, nexus: &Nexus, unit: Unit, extended: bool, allocation: u32) -> Done {
    let (implicit, explicit) = array.alua_modes();
    let supported = Supported {
        transitioning: true,
        offline: false,
        unavailable: true,
        standby: explicit,
        non_optimized: true,
        optimized: true,
    };
    let seconds = array.transition_time().as_secs().clamp(1, 255) as u8;
    let groups = array
        .target_port_groups_for(&nexus.iqn, unit.device)
        .into_iter()
        .map(|(group, state)| PortGroup {
            preferred: group.preferred,
            state: code(state),
            supported,
            id: group.id,
            status: if implicit { StatusCode::IMPLICIT } else { StatusCode::NONE },
            ports: group.ports,
        })
        .collect();
    let data = PortGroups { transition_time: extended.then_some(seconds), groups };
    Ok(cut(data.build(), allocation as usize))
}

/// SET TARGET PORT GROUPS. The whole list is checked before the first state changes.
pub(super) fn set(array: &mut Array, now: Duration, nexus: &mut Nexus, unit: Unit, list: &[u8]) -> Done {
    let wanted = alua::parse_set(list).map_err(|_| illegal(Asc::PARAMETER_LIST_LENGTH_ERROR))?;
    let known = array.target_port_groups(unit.device);
    for (at, (id, state)) in wanted.iter().enumerate() {
        let refuse = |byte: usize| {
            let field = Some(FieldPointer { in_cdb: false, bit: None, byte: (4 + 4 * at + byte) as u16 });
            Sense { field, ..illegal(Asc::INVALID_FIELD_IN_PARAMETER_LIST) }
        };
        if !known.iter().any(|(group, _)| group.id == *id) {
            return Err(refuse(2));
        }
        asked(*state).ok_or_else(|| refuse(0))?;
    }
    nexus.expect_access_change(unit.device);
    for (id, state) in wanted {
        let Some(to) = asked(state) else { continue };
        array.set_access_state(now, unit.device, id, to).map_err(|error| match error {
            AccessError::Gone => illegal(Asc::LOGICAL_UNIT_NOT_SUPPORTED),
            AccessError::NoSuchGroup | AccessError::NotSupported => {
                illegal(Asc::INVALID_FIELD_IN_PARAMETER_LIST)
            }
            AccessError::ControllerDown => Sense::new(SenseKey::HARDWARE_ERROR, Asc::SET_PORT_GROUPS_FAILED),
        })?;
    }
    Ok(Vec::new())
}

/// States that an initiator may ask for.
fn asked(state: State) -> Option<AccessState> {
    match state {
        State::ACTIVE_OPTIMIZED => Some(AccessState::ActiveOptimized),
        State::ACTIVE_NON_OPTIMIZED => Some(AccessState::ActiveNonOptimized),
        State::STANDBY => Some(AccessState::Standby),
        State::UNAVAILABLE => Some(AccessState::Unavailable),
        _ => None,
    }
}

/// Checks a SET TARGET PORT GROUPS before its list is asked for.
pub(super) fn check_set(length: u32) -> Result<u64, Sense> {
    if length > MAX_LIST {
        return Err(bad_field(6, None));
    }
    Ok(u64::from(length))
}
