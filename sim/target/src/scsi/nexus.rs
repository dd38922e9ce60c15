//! What the device server keeps for each I_T nexus: unit attentions (SAM-5 clause 5.14) and the port it came through.

use std::collections::{BTreeMap, VecDeque};

use sanbench_array::{Array, DeviceId};
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::sense::Asc;

use super::Unit;

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

#[derive(Debug)]
struct UnitState {
    device: DeviceId,
    size_generation: u64,
    attentions: VecDeque<Asc>,
}

/// One I_T nexus.
#[derive(Debug)]
pub(crate) struct Nexus {
    pub(crate) iqn: String,
    pub(crate) port: PortIdentity,
    view_generation: u64,
    /// REPORTED LUNS DATA HAS CHANGED waits; it belongs to all units of the nexus together and is reported once.
    luns_changed: bool,
    units: BTreeMap<u16, UnitState>,
}

impl Nexus {
    /// A new nexus: every unit it sees has a power-on attention waiting.
    pub(crate) fn new(array: &Array, iqn: &str, port: PortIdentity) -> Nexus {
        let mut nexus = Nexus {
            iqn: iqn.to_owned(),
            port,
            view_generation: array.view_generation(iqn),
            luns_changed: false,
            units: BTreeMap::new(),
        };
        for (lun, device) in array.view(iqn) {
            if let Some(geometry) = array.geometry(device) {
                nexus.see(lun, Unit { device, geometry });
            }
        }
        nexus
    }

    /// Compares what the array shows now with what this nexus was told; differences become unit attentions.
    pub(crate) fn observe(&mut self, array: &Array, lun: Lun, unit: Option<Unit>) {
        let generation = array.view_generation(&self.iqn);
        if generation != self.view_generation {
            self.view_generation = generation;
            self.luns_changed = true;
            let view = array.view(&self.iqn);
            self.units.retain(|lun, state| view.contains(&(*lun, state.device)));
        }
        if let (Some(number), Some(unit)) = (lun.number(), unit) {
            self.see(number, unit);
        }
    }

    fn see(&mut self, lun: u16, unit: Unit) {
        let state = self.units.entry(lun).or_insert_with(|| UnitState {
            device: unit.device,
            size_generation: unit.geometry.size_generation,
            attentions: VecDeque::from([Asc::POWER_ON_RESET]),
        });
        if state.size_generation != unit.geometry.size_generation {
            state.size_generation = unit.geometry.size_generation;
            push(&mut state.attentions, Asc::CAPACITY_DATA_HAS_CHANGED);
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
}

/// One waiting attention of a kind is enough; that also bounds the queue.
fn push(queue: &mut VecDeque<Asc>, asc: Asc) {
    if !queue.contains(&asc) {
        queue.push_back(asc);
    }
}
