//! What one logical unit remembers for all its I_T nexuses, as a pure value: registrations and persistent reservations
//! (SPC-4 clause 5.13), the reservation of RESERVE (SPC-2 clause 5.5.1), and the mode parameters that all nexuses share.
//!
//! It must not know CDBs, sense data or sessions; it answers who may do what, and whom an action concerns.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Registrations of one unit, at most.
const MAX_REGISTRANTS: usize = 1_024;

/// An I_T nexus as reservations know it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct NexusId {
    /// iSCSI name of the initiator.
    pub initiator: String,
    /// ISID: the initiator port.
    pub isid: [u8; 6],
    /// Relative target port identifier, from 1.
    pub port: u16,
}

impl From<NexusId> for String {
    fn from(nexus: NexusId) -> String {
        let isid: String = nexus.isid.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{isid} {} {}", nexus.port, nexus.initiator)
    }
}

impl TryFrom<String> for NexusId {
    type Error = &'static str;
    fn try_from(text: String) -> Result<NexusId, &'static str> {
        let mut parts = text.splitn(3, ' ');
        let isid = parts.next().and_then(|isid| u64::from_str_radix(isid, 16).ok()).ok_or("no ISID")?;
        let port = parts.next().and_then(|port| port.parse().ok()).ok_or("no port")?;
        let initiator = parts.next().ok_or("no initiator")?.to_owned();
        let [_, _, isid @ ..] = isid.to_be_bytes();
        Ok(NexusId { initiator, isid, port })
    }
}

/// Type of a persistent reservation (SPC-4 table 45); the discriminants are its codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ReservationKind {
    /// Write Exclusive.
    WriteExclusive = 1,
    /// Exclusive Access.
    ExclusiveAccess = 3,
    /// Write Exclusive - Registrants Only.
    WriteExclusiveRegistrants = 5,
    /// Exclusive Access - Registrants Only.
    ExclusiveAccessRegistrants = 6,
    /// Write Exclusive - All Registrants.
    WriteExclusiveAll = 7,
    /// Exclusive Access - All Registrants.
    ExclusiveAccessAll = 8,
}

impl ReservationKind {
    /// The kind with this code.
    pub fn from_code(code: u8) -> Option<ReservationKind> {
        use ReservationKind::*;
        [
            WriteExclusive,
            ExclusiveAccess,
            WriteExclusiveRegistrants,
            ExclusiveAccessRegistrants,
            WriteExclusiveAll,
            ExclusiveAccessAll,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == code)
    }

    /// Every registrant is a holder.
    pub fn all_registrants(self) -> bool {
        matches!(self, ReservationKind::WriteExclusiveAll | ReservationKind::ExclusiveAccessAll)
    }

    /// Registrants are let in without holding.
    fn registrants(self) -> bool {
        self as u8 >= 5
    }

    /// Others may not even read.
    fn exclusive(self) -> bool {
        matches!(
            self,
            ReservationKind::ExclusiveAccess
                | ReservationKind::ExclusiveAccessRegistrants
                | ReservationKind::ExclusiveAccessAll
        )
    }
}

/// What a command does as far as reservations go (SPC-4 table 44, SBC-3 table 12, SPC-2 table 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// Allowed whatever is reserved.
    Nothing,
    /// Allowed in presence of persistent reservations, not of another's RESERVE.
    Status,
    /// Refused to others by exclusive access.
    Read,
    /// Refused to others by every reservation.
    Write,
}

/// Something that a nexus must be told through a unit attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alert {
    /// RESERVATIONS PREEMPTED.
    ReservationsPreempted,
    /// RESERVATIONS RELEASED.
    ReservationsReleased,
    /// REGISTRATIONS PREEMPTED.
    RegistrationsPreempted,
}

/// Why a service action was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReserveError {
    /// RESERVATION CONFLICT.
    #[error("reservation conflict")]
    Conflict,
    /// A release of another scope or type than the reservation's.
    #[error("invalid release of a persistent reservation")]
    InvalidRelease,
    /// A key that means nothing here.
    #[error("a key that the action does not take")]
    BadKey,
    /// No room for a further registration.
    #[error("insufficient registration resources")]
    NoRoom,
}

/// Mode parameters that all nexuses of a unit share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModeState {
    /// SWP: software write protect.
    pub write_protect: bool,
    /// D_SENSE: sense data in descriptor format.
    pub descriptor_sense: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    /// Whose it is; with an all-registrants kind who made it, which then means nothing.
    holder: NexusId,
    kind: ReservationKind,
}

/// Registrations, reservations and mode parameters of one device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservations {
    registrants: BTreeMap<NexusId, u64>,
    generation: u32,
    held: Option<Held>,
    persist: bool,
    /// Holder of RESERVE.
    #[serde(skip)]
    legacy: Option<NexusId>,
    /// Whom the last service action concerns beside its sender.
    #[serde(skip)]
    alerts: Vec<(NexusId, Alert)>,
    mode: ModeState,
    saved_mode: ModeState,
    /// Changes of mode parameters, and who made the last one.
    mode_generation: u64,
    #[serde(skip)]
    mode_changed_by: Option<NexusId>,
}

impl Reservations {
    // ---- access

    /// Whether nothing here can concern any command: the short way of reads and writes.
    pub fn is_idle(&self) -> bool {
        self.held.is_none() && self.legacy.is_none()
    }

    /// Whether a command of this nexus conflicts with a reservation.
    pub fn conflicts(&self, nexus: &NexusId, touch: Touch) -> bool {
        if let Some(holder) = &self.legacy
            && holder != nexus
        {
            return touch != Touch::Nothing;
        }
        let Some(held) = &self.held else { return false };
        let may = held.holder == *nexus && !held.kind.all_registrants()
            || held.kind.registrants() && self.registrants.contains_key(nexus);
        match touch {
            Touch::Nothing | Touch::Status => false,
            Touch::Read => held.kind.exclusive() && !may,
            Touch::Write => !may,
        }
    }

    /// Whether this nexus holds the persistent reservation.
    pub fn holds(&self, nexus: &NexusId) -> bool {
        self.held.as_ref().is_some_and(|held| {
            if held.kind.all_registrants() {
                self.registrants.contains_key(nexus)
            } else {
                held.holder == *nexus
            }
        })
    }

    // ---- what PERSISTENT RESERVE IN tells

    /// PRGENERATION.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Registrations and their keys, in a stable order.
    pub fn registrants(&self) -> impl Iterator<Item = (&NexusId, u64)> {
        self.registrants.iter().map(|(nexus, key)| (nexus, *key))
    }

    /// Key of the holder (0 when all registrants hold) and type of the persistent reservation.
    pub fn reservation(&self) -> Option<(u64, ReservationKind)> {
        let held = self.held.as_ref()?;
        let key = if held.kind.all_registrants() {
            0
        } else {
            self.registrants.get(&held.holder).copied().unwrap_or(0)
        };
        Some((key, held.kind))
    }

    /// APTPL: registrations and reservation outlast a loss of power.
    pub fn persists(&self) -> bool {
        self.persist
    }

    // ---- service actions of PERSISTENT RESERVE OUT

    /// REGISTER, and with `ignore` REGISTER AND IGNORE EXISTING KEY. A `service_key` of 0 ends the registration.
    pub fn register(
        &mut self,
        nexus: &NexusId,
        key: u64,
        service_key: u64,
        persist: bool,
        ignore: bool,
    ) -> Result<(), ReserveError> {
        let present = self.registrants.get(nexus).copied();
        if !ignore && present.unwrap_or(0) != key {
            return Err(ReserveError::Conflict);
        }
        match (present, service_key) {
            (None, 0) => return Ok(()),
            (Some(_), 0) => self.unregister(nexus),
            (None, _) if self.registrants.len() >= MAX_REGISTRANTS => return Err(ReserveError::NoRoom),
            _ => drop(self.registrants.insert(nexus.clone(), service_key)),
        }
        self.persist = persist && !self.registrants.is_empty();
        self.count();
        Ok(())
    }

    /// RESERVE.
    pub fn reserve(&mut self, nexus: &NexusId, key: u64, kind: ReservationKind) -> Result<(), ReserveError> {
        self.check_key(nexus, key)?;
        match &self.held {
            None => self.held = Some(Held { holder: nexus.clone(), kind }),
            Some(held) if held.kind == kind && self.holds(nexus) => {}
            Some(_) => return Err(ReserveError::Conflict),
        }
        Ok(())
    }

    /// RELEASE. One who holds nothing releases nothing, without an error.
    pub fn release(&mut self, nexus: &NexusId, key: u64, kind: ReservationKind) -> Result<(), ReserveError> {
        self.check_key(nexus, key)?;
        let Some(held) = self.held.as_ref().filter(|_| self.holds(nexus)) else { return Ok(()) };
        if held.kind != kind {
            return Err(ReserveError::InvalidRelease);
        }
        self.held = None;
        if kind.registrants() {
            self.alert_others(nexus, Alert::ReservationsReleased);
        }
        Ok(())
    }

    /// CLEAR: no reservation, no registrations.
    pub fn clear(&mut self, nexus: &NexusId, key: u64) -> Result<(), ReserveError> {
        self.check_key(nexus, key)?;
        self.alert_others(nexus, Alert::ReservationsPreempted);
        self.held = None;
        self.registrants.clear();
        self.persist = false;
        self.count();
        Ok(())
    }

    /// PREEMPT (SPC-4 clause 5.13.11.4). Gives the nexuses that lost their registration, whose tasks PREEMPT AND ABORT
    /// ends.
    pub fn preempt(
        &mut self,
        nexus: &NexusId,
        key: u64,
        service_key: u64,
        kind: ReservationKind,
    ) -> Result<Vec<NexusId>, ReserveError> {
        self.check_key(nexus, key)?;
        let takes_over = match &self.held {
            Some(held) if held.kind.all_registrants() => service_key == 0,
            Some(held) => {
                service_key != 0 && self.registrants.get(&held.holder).copied() == Some(service_key)
            }
            None => false,
        };
        if service_key == 0 && !takes_over {
            return Err(ReserveError::BadKey);
        }
        let gone: Vec<NexusId> = self
            .registrants
            .iter()
            // Who takes a reservation over keeps its own registration.
            .filter(|(other, own)| {
                (service_key == 0 || **own == service_key) && !(takes_over && *other == nexus)
            })
            .map(|(other, _)| other.clone())
            .collect();
        if gone.is_empty() && !takes_over {
            return Err(ReserveError::Conflict);
        }
        let before = self.held.as_ref().map(|held| held.kind);
        for other in &gone {
            self.registrants.remove(other);
            if other != nexus {
                self.alerts.push((other.clone(), Alert::RegistrationsPreempted));
            }
        }
        if takes_over {
            self.held = Some(Held { holder: nexus.clone(), kind });
            if before != Some(kind) {
                self.alert_others(nexus, Alert::ReservationsReleased);
            }
        } else if self.registrants.is_empty() {
            self.held = None;
        }
        self.count();
        Ok(gone)
    }

    /// REGISTER AND MOVE: `to` is registered and becomes the holder.
    pub fn register_and_move(
        &mut self,
        nexus: &NexusId,
        key: u64,
        service_key: u64,
        unregister: bool,
        persist: bool,
        to: &NexusId,
    ) -> Result<(), ReserveError> {
        self.check_key(nexus, key)?;
        let all = self.held.as_ref().is_some_and(|held| held.kind.all_registrants());
        if all || !self.holds(nexus) {
            return Err(ReserveError::Conflict);
        }
        if service_key == 0 || to == nexus {
            return Err(ReserveError::BadKey);
        }
        if !self.registrants.contains_key(to) && self.registrants.len() >= MAX_REGISTRANTS {
            return Err(ReserveError::NoRoom);
        }
        self.registrants.insert(to.clone(), service_key);
        if let Some(held) = &mut self.held {
            held.holder = to.clone();
        }
        if unregister {
            self.registrants.remove(nexus);
        }
        self.persist = persist;
        self.count();
        Ok(())
    }

    // ---- RESERVE and RELEASE of SPC-2

    /// RESERVE. A registrant's RESERVE is good and reserves nothing (CRH, SPC-4 clause 5.13.3);
    /// where others are registered it conflicts.
    pub fn reserve_unit(&mut self, nexus: &NexusId) -> Result<(), ReserveError> {
        if !self.registrants.is_empty() {
            let known = self.registrants.contains_key(nexus);
            return if known { Ok(()) } else { Err(ReserveError::Conflict) };
        }
        match &self.legacy {
            Some(holder) if holder != nexus => Err(ReserveError::Conflict),
            _ => {
                self.legacy = Some(nexus.clone());
                Ok(())
            }
        }
    }

    /// RELEASE: ends the own reservation, does nothing to another's.
    pub fn release_unit(&mut self, nexus: &NexusId) -> Result<(), ReserveError> {
        if !self.registrants.is_empty() && !self.registrants.contains_key(nexus) {
            return Err(ReserveError::Conflict);
        }
        if self.legacy.as_ref() == Some(nexus) {
            self.legacy = None;
        }
        Ok(())
    }

    /// Whether RESERVE is in force, for the service actions that it shuts out (SPC-2 table 10).
    pub fn reserved_by_legacy(&self) -> bool {
        self.legacy.is_some()
    }

    // ---- events

    /// A session of a nexus ended: its RESERVE goes with it, registrations stay.
    pub fn session_lost(&mut self, nexus: &NexusId) {
        if self.legacy.as_ref() == Some(nexus) {
            self.legacy = None;
        }
    }

    /// A session of a nexus began: what an earlier one left goes.
    pub fn session_begun(&mut self, nexus: &NexusId) {
        self.session_lost(nexus);
    }

    /// The unit was reset: RESERVE goes, mode parameters return to their saved values, registrations stay.
    pub fn reset(&mut self) {
        self.legacy = None;
        self.mode = self.saved_mode;
    }

    /// Power is lost: what was not made to persist goes.
    pub fn power_loss(&mut self) {
        self.reset();
        self.generation = 0;
        if !self.persist {
            self.registrants.clear();
            self.held = None;
        }
    }

    /// Who must be told of what, after a service action. A nexus without a session has nothing to be told: its next one begins
    /// anew (SAM-5 clause 5.14).
    #[must_use]
    pub fn take_alerts(&mut self) -> Vec<(NexusId, Alert)> {
        std::mem::take(&mut self.alerts)
    }

    // ---- mode parameters

    /// Current mode parameters.
    pub fn mode(&self) -> ModeState {
        self.mode
    }

    /// Saved mode parameters.
    pub fn saved_mode(&self) -> ModeState {
        self.saved_mode
    }

    /// Sets mode parameters, and with `save` what resets return to. Counts a change that others must hear of when
    /// anything differs, or when `also` says that something outside of here did.
    pub fn set_mode(&mut self, nexus: &NexusId, mode: ModeState, save: bool, also: bool) {
        if self.mode != mode || also {
            self.mode_generation += 1;
            self.mode_changed_by = Some(nexus.clone());
        }
        self.mode = mode;
        if save {
            self.saved_mode = mode;
        }
    }

    /// How often mode parameters changed, and who changed them last.
    pub fn mode_change(&self) -> (u64, Option<&NexusId>) {
        (self.mode_generation, self.mode_changed_by.as_ref())
    }

    /// How often mode parameters changed.
    pub fn mode_generation(&self) -> u64 {
        self.mode_generation
    }

    // ---- inside

    fn check_key(&self, nexus: &NexusId, key: u64) -> Result<(), ReserveError> {
        if self.registrants.get(nexus) == Some(&key) { Ok(()) } else { Err(ReserveError::Conflict) }
    }

    fn count(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }

    /// Ends one registration and what hangs on it (SPC-4 clause 5.13.11.3).
    fn unregister(&mut self, nexus: &NexusId) {
        let held = self.holds(nexus);
        self.registrants.remove(nexus);
        let Some(kind) = self.held.as_ref().map(|held| held.kind).filter(|_| held) else { return };
        if kind.all_registrants() && !self.registrants.is_empty() {
            return;
        }
        self.held = None;
        if kind.registrants() {
            self.alert_others(nexus, Alert::ReservationsReleased);
        }
    }

    fn alert_others(&mut self, but: &NexusId, alert: Alert) {
        let others = self.registrants.keys().filter(|other| *other != but);
        self.alerts.extend(others.map(|other| (other.clone(), alert)));
    }
}
