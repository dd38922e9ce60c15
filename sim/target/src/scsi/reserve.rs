//! PERSISTENT RESERVE IN and OUT (SPC-4 clauses 6.15, 6.16), RESERVE and RELEASE (SPC-2 clauses 7.21, 7.22).

use sanbench_array::{Array, NexusId, ReservationKind, ReserveError};
use sanbench_wire::scsi::reservation::{
    self as wire, Capabilities, FullStatus, Kind, MoveList, OutList, TransportId, action, read,
};
use sanbench_wire::scsi::sense::{Asc, FieldPointer, Sense};
use sanbench_wire::scsi::status::Status;

use super::{Done, Failure, Nexus, Unit, bad_field, cut, illegal};

/// Longest parameter list of REGISTER AND MOVE: 24 bytes and a TransportID with the longest name.
const MAX_LIST: u32 = 24 + 4 + 256;

fn gone() -> Sense {
    illegal(Asc::LOGICAL_UNIT_NOT_SUPPORTED)
}

fn bad_parameter(byte: u16, bit: Option<u8>) -> Sense {
    let field = Some(FieldPointer { in_cdb: false, bit, byte });
    Sense { field, ..illegal(Asc::INVALID_FIELD_IN_PARAMETER_LIST) }
}

fn failure(error: ReserveError) -> Failure {
    match error {
        ReserveError::Conflict => Failure::Status(Status::RESERVATION_CONFLICT),
        ReserveError::InvalidRelease => illegal(Asc::INVALID_RELEASE).into(),
        ReserveError::BadKey => bad_parameter(8, None).into(),
        ReserveError::NoRoom => illegal(Asc::INSUFFICIENT_REGISTRATION_RESOURCES).into(),
    }
}

/// PERSISTENT RESERVE IN.
pub(super) fn read(array: &Array, unit: Unit, what: u8, allocation: u16) -> Done {
    let state = array.reservations(unit.device).ok_or(gone())?;
    let generation = state.generation();
    let held = state.reservation().map(|(key, kind)| (key, Kind(kind as u8)));
    let data = match what {
        read::KEYS => {
            let keys: Vec<u64> = state.registrants().map(|(_, key)| key).collect();
            wire::build_keys(generation, &keys)
        }
        read::RESERVATION => wire::build_reservation(generation, held),
        read::CAPABILITIES => Capabilities {
            compatible_reservations: true,
            specify_initiators: false,
            all_target_ports: false,
            persist: true,
            persist_active: state.persists(),
        }
        .build()
        .to_vec(),
        read::FULL_STATUS => {
            let all: Vec<FullStatus> = state
                .registrants()
                .map(|(nexus, key)| FullStatus {
                    key,
                    holds: held.map(|(_, kind)| kind).filter(|_| state.holds(nexus)),
                    port: nexus.port,
                    initiator: TransportId { initiator: nexus.initiator.clone(), isid: Some(nexus.isid) },
                })
                .collect();
            wire::build_full_status(generation, &all)
        }
        _ => return Err(bad_field(1, Some(4))),
    };
    Ok(cut(data, usize::from(allocation)))
}

/// Checks a PERSISTENT RESERVE OUT before its list is asked for.
pub(super) fn check_change(what: u8, scope: u8, kind: u8, length: u32) -> Result<u64, Sense> {
    let typed =
        matches!(what, action::RESERVE | action::RELEASE | action::PREEMPT | action::PREEMPT_AND_ABORT);
    if typed && scope != 0 {
        return Err(bad_field(2, Some(7)));
    }
    if typed && ReservationKind::from_code(kind).is_none() {
        return Err(bad_field(2, Some(3)));
    }
    let right =
        if what == action::REGISTER_AND_MOVE { (24..=MAX_LIST).contains(&length) } else { length == 24 };
    if !right {
        return Err(illegal(Asc::PARAMETER_LIST_LENGTH_ERROR));
    }
    Ok(u64::from(length))
}

/// PERSISTENT RESERVE OUT.
pub(super) fn change(
    array: &mut Array,
    nexus: &mut Nexus,
    unit: Unit,
    what: u8,
    kind: u8,
    list: &[u8],
) -> Result<(), Failure> {
    let ports: Vec<u16> =
        array.target_port_groups(unit.device).into_iter().flat_map(|(group, _)| group.ports).collect();
    array.promise();
    let state = array.reservations_mut(unit.device).ok_or(gone())?;
    // RESERVE shuts persistent reservations out, its own holder's too (SPC-2 clause 5.5.1).
    if state.reserved_by_legacy() {
        return Err(Failure::Status(Status::RESERVATION_CONFLICT));
    }
    if what == action::REGISTER_AND_MOVE {
        let list = MoveList::parse(list).map_err(|_| bad_parameter(20, None))?;
        let isid = list.initiator.isid.ok_or(bad_parameter(24, Some(7)))?;
        if !ports.contains(&list.port) {
            return Err(bad_parameter(18, None).into());
        }
        let to = NexusId { initiator: list.initiator.initiator, isid, port: list.port };
        return state
            .register_and_move(&nexus.id, list.key, list.service_key, list.unregister, list.persist, &to)
            .map_err(failure);
    }
    let list = OutList::parse(list).ok_or(illegal(Asc::PARAMETER_LIST_LENGTH_ERROR))?;
    let registers = matches!(what, action::REGISTER | action::REGISTER_AND_IGNORE);
    if registers && list.specify_initiators {
        return Err(bad_parameter(20, Some(3)).into());
    }
    if registers && list.all_target_ports {
        return Err(bad_parameter(20, Some(2)).into());
    }
    let kind = || ReservationKind::from_code(kind).ok_or(bad_field(2, Some(3)));
    let done = match what {
        action::REGISTER | action::REGISTER_AND_IGNORE => {
            let ignore = what == action::REGISTER_AND_IGNORE;
            state.register(&nexus.id, list.key, list.service_key, list.persist, ignore)
        }
        action::RESERVE => state.reserve(&nexus.id, list.key, kind()?),
        action::RELEASE => state.release(&nexus.id, list.key, kind()?),
        action::CLEAR => state.clear(&nexus.id, list.key),
        action::PREEMPT | action::PREEMPT_AND_ABORT => {
            let gone = state.preempt(&nexus.id, list.key, list.service_key, kind()?);
            gone.map(|gone| {
                if what == action::PREEMPT_AND_ABORT {
                    nexus.preempt_tasks(unit.device, gone);
                }
            })
        }
        _ => return Err(bad_field(1, Some(4)).into()),
    };
    let alerts = state.take_alerts();
    nexus.tell(unit.device, alerts);
    done.map_err(failure)
}

/// RESERVE.
pub(super) fn reserve_unit(array: &mut Array, nexus: &Nexus, unit: Unit) -> Result<(), Failure> {
    array.reservations_mut(unit.device).ok_or(gone())?.reserve_unit(&nexus.id).map_err(failure)
}

/// RELEASE.
pub(super) fn release_unit(array: &mut Array, nexus: &Nexus, unit: Unit) -> Result<(), Failure> {
    array.reservations_mut(unit.device).ok_or(gone())?.release_unit(&nexus.id).map_err(failure)
}
