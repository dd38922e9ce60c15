//! What the device server keeps for each I_T nexus: unit attentions (SAM-5 clause 5.14) and the port it came through.

use std::collections::{BTreeMap, VecDeque};

use sanbench_array::{AccessState, Alert, Array, DeviceId, NexusId};
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::sense::Asc;

use super::Unit;
use super::copy::CopyResults;
use crate::defects::TargetDefects;
use crate::registry::Event;

/// The target port of a nexus, for the device identification page.
#[derive(Clone, Debug)]
pub(crate) struct PortIdentity {
    /// Target portal group tag.
    pub(crate) tpgt: u16,
    /// Relative target port identifier, from 1.
    pub(crate) relative: u16,
    /// iSCSI name of the target.
    pub(crate) target: String,
}

/// What the nexus was told of a unit.
#[derive(Debug)]
struct UnitState {
    device: DeviceId,
    size_generation: u64,
    mode_generation: u64,
    threshold_generation: u64,
    /// The array's access generation that `states` belongs to.
    access_generation: u64,
    /// Access states of all groups when they were last at rest.
    states: Vec<AccessState>,
    /// The nexus itself asked for the change that is under way.
    own_change: bool,
    attentions: VecDeque<Asc>,
}

/// One I_T nexus.
#[derive(Debug)]
pub(crate) struct Nexus {
    pub(crate) iqn: String,
    pub(crate) port: PortIdentity,
    /// The nexus as reservations know it.
    pub(super) id: NexusId,
    pub(super) defects: TargetDefects,
    pub(super) allow_sanitize: bool,
    /// Results of copies that the initiator may still ask for.
    pub(super) copies: CopyResults,
    /// What a service action of this nexus means to others.
    concerned: Vec<(NexusId, Event)>,
    /// What a unit that is new to the nexus has to say first.
    birth: Asc,
    view_generation: u64,
    /// REPORTED LUNS DATA HAS CHANGED waits; it belongs to all units of the nexus together and is reported once.
    luns_changed: bool,
    units: BTreeMap<u16, UnitState>,
}

/// What is known of a nexus when its session begins.
pub(crate) struct NexusParts<'a> {
    pub(crate) initiator: &'a str,
    pub(crate) isid: [u8; 6],
    pub(crate) port: PortIdentity,
    pub(crate) defects: TargetDefects,
    pub(crate) allow_sanitize: bool,
    /// The nexus was there before, since the last power on.
    pub(crate) returns: bool,
}

impl Nexus {
    /// A new nexus: every unit it sees has an attention waiting. It is *power on* after a loss of power, *nexus loss* for
    /// one that was there before, and otherwise *power on, reset, or bus device reset*.
    pub(crate) fn new(array: &mut Array, parts: NexusParts<'_>) -> Nexus {
        let NexusParts { initiator, isid, port, defects, allow_sanitize, returns } = parts;
        let id = NexusId { initiator: initiator.to_owned(), isid, port: port.relative };
        let birth = match (returns, array.power_generation()) {
            (true, _) => Asc::NEXUS_LOSS,
            (false, 0) => Asc::POWER_ON_RESET,
            (false, _) => Asc::POWER_ON,
        };
        let mut nexus = Nexus {
            iqn: initiator.to_owned(),
            port,
            id,
            defects,
            allow_sanitize,
            copies: CopyResults::default(),
            concerned: Vec::new(),
            birth,
            view_generation: array.view_generation(initiator),
            luns_changed: false,
            units: BTreeMap::new(),
        };
        for (lun, device) in array.view(initiator) {
            if let Some(reservations) = array.reservations_mut(device) {
                reservations.session_begun(&nexus.id);
            }
            if let Some(geometry) = array.geometry(device) {
                nexus.see(array, lun, Unit { device, geometry });
            }
        }
        nexus
    }

    /// The session ended for good: what hangs on it goes.
    pub(crate) fn end(&self, array: &mut Array) {
        for state in self.units.values() {
            if let Some(reservations) = array.reservations_mut(state.device) {
                reservations.session_lost(&self.id);
            }
        }
    }

    /// Compares what the array shows now with what this nexus was told; differences become unit attentions.
    pub(crate) fn observe(&mut self, array: &mut Array, lun: Lun, unit: Option<Unit>) {
        let generation = array.view_generation(&self.iqn);
        if generation != self.view_generation {
            self.view_generation = generation;
            self.luns_changed = true;
            let view = array.view(&self.iqn);
            self.units.retain(|lun, state| view.contains(&(*lun, state.device)));
        }
        if let (Some(number), Some(unit)) = (lun.number(), unit) {
            self.see(array, number, unit);
        }
    }

    fn see(&mut self, array: &mut Array, lun: u16, unit: Unit) {
        let access_generation = array.access_generation();
        let Some(reservations) = array.reservations(unit.device) else { return };
        let mode_generation = reservations.mode_generation();
        let threshold_generation = array.threshold_generation(unit.device);
        let birth = self.birth;
        let state = self.units.entry(lun).or_insert_with(|| UnitState {
            device: unit.device,
            size_generation: unit.geometry.size_generation,
            mode_generation,
            threshold_generation,
            access_generation,
            states: at_rest(array, &self.iqn, unit.device).unwrap_or_default(),
            own_change: false,
            attentions: VecDeque::from([birth]),
        });
        if state.size_generation != unit.geometry.size_generation {
            state.size_generation = unit.geometry.size_generation;
            if !self.defects.resize_not_told {
                push(&mut state.attentions, Asc::CAPACITY_DATA_HAS_CHANGED);
            }
        }
        if state.mode_generation != mode_generation {
            state.mode_generation = mode_generation;
            // Who changed them knows; all others are told.
            let own = reservations.mode_change().1 == Some(&self.id);
            if own == self.defects.attention_to_wrong_nexus {
                push(&mut state.attentions, Asc::MODE_PARAMETERS_CHANGED);
            }
        }
        if state.threshold_generation != threshold_generation {
            state.threshold_generation = threshold_generation;
            push(&mut state.attentions, Asc::SOFT_THRESHOLD_REACHED);
        }
        // A change that is still under way has not arrived; transitions are told by their own sense data.
        if state.access_generation != access_generation
            && let Some(states) = at_rest(array, &self.iqn, unit.device)
        {
            state.access_generation = access_generation;
            if state.states != states {
                state.states = states;
                if !std::mem::take(&mut state.own_change) {
                    push(&mut state.attentions, Asc::ASYMMETRIC_ACCESS_STATE_CHANGED);
                }
            }
        }
    }

    /// The nexus changes access states of a device itself and needs not be told.
    pub(super) fn expect_access_change(&mut self, device: DeviceId) {
        for state in self.units.values_mut().filter(|state| state.device == device) {
            state.own_change = true;
        }
    }

    /// The next attention for a unit, removed: the unit's own in order, then that of the whole nexus.
    pub(crate) fn take_attention(&mut self, lun: Lun) -> Option<Asc> {
        let own =
            lun.number().and_then(|n| self.units.get_mut(&n)).and_then(|state| state.attentions.pop_front());
        own.or_else(|| std::mem::take(&mut self.luns_changed).then_some(Asc::REPORTED_LUNS_DATA_HAS_CHANGED))
    }

    /// REPORT LUNS told the new list, so that nothing about it waits any longer (SPC-4 clause 6.33).
    pub(crate) fn luns_were_reported(&mut self) {
        self.luns_changed = false;
    }

    /// Queues an attention for a device wherever this nexus sees it.
    pub(crate) fn alert(&mut self, device: DeviceId, asc: Asc) {
        for state in self.units.values_mut().filter(|state| state.device == device) {
            push(&mut state.attentions, asc);
        }
    }

    /// Queues an attention for every unit.
    pub(crate) fn alert_all(&mut self, asc: Asc) {
        for state in self.units.values_mut() {
            push(&mut state.attentions, asc);
        }
    }

    /// The tasks of these nexuses on a device must end.
    pub(super) fn preempt_tasks(&mut self, device: DeviceId, of: Vec<NexusId>) {
        self.concerned.extend(of.into_iter().map(|nexus| (nexus, Event::TasksCleared(device))));
    }

    /// These nexuses must hear of what became of reservations and registrations of a device.
    pub(super) fn tell(&mut self, device: DeviceId, alerts: Vec<(NexusId, Alert)>) {
        let told =
            alerts.into_iter().map(|(nexus, alert)| (nexus, Event::Attention(device, alert_code(alert))));
        self.concerned.extend(told);
    }

    /// What other nexuses must be told now; asked after every command, while the array is still locked.
    pub(crate) fn take_concerned(&mut self) -> Vec<(NexusId, Event)> {
        std::mem::take(&mut self.concerned)
    }
}

/// Access states of all groups, unless one is between two states.
fn at_rest(array: &Array, iqn: &str, device: DeviceId) -> Option<Vec<AccessState>> {
    let states: Vec<AccessState> =
        array.target_port_groups_for(iqn, device).into_iter().map(|(_, state)| state).collect();
    (!states.contains(&AccessState::Transitioning)).then_some(states)
}

fn alert_code(alert: Alert) -> Asc {
    match alert {
        Alert::ReservationsPreempted => Asc::RESERVATIONS_PREEMPTED,
        Alert::ReservationsReleased => Asc::RESERVATIONS_RELEASED,
        Alert::RegistrationsPreempted => Asc::REGISTRATIONS_PREEMPTED,
    }
}

/// Order of precedence (SAM-5 clause 5.14, table 40): what begins the unit anew comes first and makes weaker ones of its
/// kind needless; all others come in order.
fn rank(asc: Asc) -> Option<u8> {
    [Asc::POWER_ON, Asc::POWER_ON_RESET, Asc::BUS_DEVICE_RESET, Asc::NEXUS_LOSS]
        .iter()
        .position(|first| *first == asc)
        .map(|at| at as u8)
}

/// One waiting attention of a kind is enough; that also bounds the queue.
fn push(queue: &mut VecDeque<Asc>, asc: Asc) {
    if queue.contains(&asc) {
        return;
    }
    let Some(own) = rank(asc) else { return queue.push_back(asc) };
    if queue.iter().filter_map(|other| rank(*other)).any(|other| other < own) {
        return;
    }
    queue.retain(|other| rank(*other).is_none());
    queue.push_front(asc);
}
