//! Controllers and the asymmetric access states of target port groups (ALUA, SPC-4 clause 5.15.2).
//!
//! A device is owned by one controller. The groups of the owner are active/optimized, those of other controllers
//! active/non-optimized, those of a failed controller unavailable; an explicit state (SET TARGET PORT GROUPS) goes before
//! ownership, a failed controller before everything. With [`crate::ArrayConfig::transition`] above zero, a group whose
//! state changes shows *transitioning* for that long first. All of this is control-plane state: power loss leaves it alone.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::events::EventKind;
use crate::object::DeviceId;
use crate::{Array, Refusal};

/// Most controllers of an array.
pub const MOST_CONTROLLERS: u8 = 8;

/// Asymmetric access state of a target port group (SPC-4 clause 5.15.2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AccessState {
    /// Full service, best performance.
    ActiveOptimized,
    /// Full service over the detour through another controller.
    ActiveNonOptimized,
    /// No medium access; takes over when asked to.
    Standby,
    /// Hardly any service: the controller has failed, or a client has said so.
    Unavailable,
    /// Of secondary target port groups only; this array has none and never shows it.
    Offline,
    /// Between two states.
    Transitioning,
}

/// A target port group: the portals with one target portal group tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetPortGroup {
    /// Target port group id, the portals' target portal group tag.
    pub id: u16,
    /// Controller that its portals belong to; 255 for a group of another array.
    pub controller: u8,
    /// Relative target port ids of its portals, from 1 in the order of the configuration, ascending.
    pub ports: Vec<u16>,
    /// Whether the device's home is on this controller (PREF bit).
    pub preferred: bool,
}

/// A controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controller {
    /// Number from 0.
    pub id: u8,
    /// Whether it works.
    pub up: bool,
    /// `0A`, `0B` and so on.
    pub name: String,
}

/// Name of a controller: `0A` for 0, `0B` for 1.
pub fn controller_name(id: u8) -> String {
    format!("0{}", char::from(b'A'.saturating_add(id % 26)))
}

/// An explicit change of an access state was refused; nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AccessError {
    /// No such device.
    #[error("device is gone")]
    Gone,
    /// No portal has this target portal group tag.
    #[error("no such target port group")]
    NoSuchGroup,
    /// Explicit changes are switched off, or the state is none that may be asked for (offline, transitioning).
    #[error("access state cannot be set")]
    NotSupported,
    /// The group's controller has failed.
    #[error("controller of the group is down")]
    ControllerDown,
}

/// What a device remembers beside its owner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Access {
    /// Controller that should own it.
    pub(crate) home: u8,
    /// States set by clients, by group.
    explicit: BTreeMap<u16, AccessState>,
    /// Groups between two states, and until when.
    transitions: BTreeMap<u16, Duration>,
}

impl Access {
    /// Ownership as it is at birth.
    pub(crate) fn at(home: u8) -> Self {
        Self { home, ..Self::default() }
    }
}

/// The array's own part.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plant {
    /// Which controllers work.
    up: Vec<bool>,
    /// Groups: tag, controller, relative port ids; ascending. From the configuration, as the four below.
    #[serde(skip)]
    groups: Vec<(u16, u8, Vec<u16>)>,
    #[serde(skip)]
    transition: Duration,
    #[serde(skip)]
    failback: Option<Duration>,
    #[serde(skip)]
    implicit: bool,
    #[serde(skip)]
    explicit: bool,
    generation: u64,
    /// The earliest moment at which [`Array::advance`] has something to finish.
    due: Option<Duration>,
    /// Restored controllers and when their devices come home.
    failbacks: BTreeMap<u8, Duration>,
    next_home: u8,
}

impl Plant {
    pub(crate) fn new(
        controllers: u8,
        transition: Duration,
        failback: Option<Duration>,
        [implicit, explicit]: [bool; 2],
    ) -> Self {
        Self {
            up: vec![true; usize::from(controllers.clamp(1, MOST_CONTROLLERS))],
            groups: Vec::new(),
            transition,
            failback,
            implicit,
            explicit,
            generation: 0,
            due: None,
            failbacks: BTreeMap::new(),
            next_home: 0,
        }
    }

    /// Takes over the portals: tag and controller of each, in their order. A controller that there is not yet comes to be;
    /// a group is where its first portal is.
    pub(crate) fn set_portals(&mut self, portals: impl Iterator<Item = (u16, u8)>, base: u16) {
        let mut groups: BTreeMap<u16, (u8, Vec<u16>)> = BTreeMap::new();
        for ((tag, controller), port) in portals.zip(base.saturating_add(1)..) {
            let controller = controller.min(MOST_CONTROLLERS - 1);
            if self.up.len() <= usize::from(controller) {
                self.up.resize(usize::from(controller) + 1, true);
            }
            groups.entry(tag).or_insert((controller, Vec::new())).1.push(port);
        }
        self.groups = groups.into_iter().map(|(tag, (controller, ports))| (tag, controller, ports)).collect();
        self.generation += 1;
    }

    /// Takes over what was kept of an earlier one.
    pub(crate) fn restore(&mut self, kept: Self) {
        for (now, was) in self.up.iter_mut().zip(&kept.up) {
            *now = *was;
        }
        self.generation += kept.generation;
        (self.due, self.failbacks, self.next_home) = (kept.due, kept.failbacks, kept.next_home);
    }

    pub(crate) fn is_up(&self, controller: u8) -> bool {
        self.up.get(usize::from(controller)).copied().unwrap_or(false)
    }

    /// Some state shows differently from now on.
    pub(crate) fn touch(&mut self) {
        self.generation += 1;
    }

    /// Whether any controller works.
    pub(crate) fn any_up(&self) -> bool {
        self.up.contains(&true)
    }

    /// Who takes what the controller has: the next one behind it that works, itself when none does.
    fn survivor(&self, controller: u8) -> u8 {
        let count = self.up.len() as u8; // at most MOST_CONTROLLERS
        (0..count).map(|n| (controller + n) % count).find(|c| self.is_up(*c)).unwrap_or(controller)
    }

    /// Home and owner of a new device: homes go round.
    pub(crate) fn next_home(&mut self) -> (u8, u8) {
        let home = self.next_home % self.up.len() as u8;
        self.next_home = home + 1;
        (home, self.survivor(home))
    }

    /// State of a group of `controller` without transitions.
    fn settled(&self, tag: u16, controller: u8, owner: u8, access: &Access) -> AccessState {
        if !self.is_up(controller) {
            return AccessState::Unavailable;
        }
        match access.explicit.get(&tag) {
            Some(state) => *state,
            None if owner == controller => AccessState::ActiveOptimized,
            None => AccessState::ActiveNonOptimized,
        }
    }

    fn state(&self, tag: u16, controller: u8, owner: u8, access: &Access) -> AccessState {
        if access.transitions.contains_key(&tag) && self.is_up(controller) {
            return AccessState::Transitioning;
        }
        self.settled(tag, controller, owner, access)
    }

    fn group(&self, tag: u16) -> Option<&(u16, u8, Vec<u16>)> {
        self.groups.binary_search_by_key(&tag, |(tag, _, _)| *tag).ok().and_then(|at| self.groups.get(at))
    }

    fn wake_at(&mut self, at: Duration) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}

impl Array {
    /// All controllers, ascending.
    pub fn controllers(&self) -> Vec<Controller> {
        (0..)
            .zip(&self.plant.up)
            .map(|(id, up)| Controller { id, up: *up, name: controller_name(id) })
            .collect()
    }

    /// Whether the portal at this place in [`Array::portals`] works: it is enabled and its controller works. Unknown places
    /// do, so that a target with more listeners than the array has portals is not locked out.
    pub fn portal_is_up(&self, index: usize) -> bool {
        self.portals.get(index).is_none_or(|portal| {
            (portal.enabled || self.defects.disabled_portal_serves) && self.plant.is_up(portal.controller)
        })
    }

    /// Whether states change by themselves (TPGS bit 0) and by request (TPGS bit 1).
    pub fn alua_modes(&self) -> (bool, bool) {
        (self.plant.implicit, self.plant.explicit)
    }

    /// How long a transition takes; for REPORT TARGET PORT GROUPS' implicit transition time.
    pub fn transition_time(&self) -> Duration {
        self.plant.transition
    }

    fn ownership(&self, id: DeviceId) -> Option<(u8, &crate::access::Access)> {
        match id {
            DeviceId::Lun(id) => self.luns.get(id).map(|lun| (lun.owner, &lun.access)),
            DeviceId::Snapshot(id) => self.snapshots.get(id).map(|snap| (snap.owner, &snap.access)),
        }
    }

    fn ownership_mut(&mut self, id: DeviceId) -> Option<(&mut u8, &mut Access)> {
        match id {
            DeviceId::Lun(id) => self.luns.get_mut(id).map(|lun| (&mut lun.owner, &mut lun.access)),
            DeviceId::Snapshot(id) => {
                self.snapshots.get_mut(id).map(|snap| (&mut snap.owner, &mut snap.access))
            }
        }
    }

    /// Whether a device is away from home: another controller than its own owns it.
    pub(crate) fn is_trespassed(&self, id: DeviceId) -> bool {
        self.ownership(id).is_some_and(|(owner, access)| owner != access.home)
    }

    /// The target port groups in ascending order with the device's access state in each; none for a device that is gone.
    /// Those of the other array follow when the device is a LUN in a HyperMetro pair.
    pub fn target_port_groups(&self, id: DeviceId) -> Vec<(TargetPortGroup, AccessState)> {
        let mut groups = self.own_port_groups(id);
        groups.extend(self.peer_groups(id));
        groups.sort_by_key(|(group, _)| group.id);
        groups
    }

    /// The groups of this array.
    pub(crate) fn own_port_groups(&self, id: DeviceId) -> Vec<(TargetPortGroup, AccessState)> {
        let Some((owner, access)) = self.ownership(id) else { return Vec::new() };
        self.plant
            .groups
            .iter()
            .map(|(tag, controller, ports)| {
                let group = TargetPortGroup {
                    id: *tag,
                    controller: *controller,
                    ports: ports.clone(),
                    preferred: *controller == access.home,
                };
                (group, self.pair_access(id, self.plant.state(*tag, *controller, owner, access)))
            })
            .collect()
    }

    /// Access state of a device through a target port group. A device that is gone is unavailable; a tag that no portal
    /// has says nothing against access.
    pub fn access_state(&self, id: DeviceId, tpgt: u16) -> AccessState {
        let Some((owner, access)) = self.ownership(id) else { return AccessState::Unavailable };
        match self.plant.group(tpgt) {
            Some((tag, controller, _)) => {
                self.pair_access(id, self.plant.state(*tag, *controller, owner, access))
            }
            None => self.pair_access(id, AccessState::ActiveOptimized),
        }
    }

    /// A number that changes whenever the access state of some device through some group changes.
    pub fn access_generation(&self) -> u64 {
        self.plant.generation
    }

    /// The states of some devices have changed for a reason that this module does not know.
    pub(crate) fn touch_access(&mut self) {
        self.plant.generation += 1;
    }

    /// Changes a device's ownership; groups whose state changes by it pass through a transition.
    fn reshape(&mut self, id: DeviceId, change: impl FnOnce(&mut u8, &mut Access)) {
        let Some((owner, access)) = self.ownership(id) else { return };
        let states = |array: &Self, owner: u8, access: &Access| -> Vec<AccessState> {
            array
                .plant
                .groups
                .iter()
                .map(|(tag, c, _)| array.plant.settled(*tag, *c, owner, access))
                .collect()
        };
        let before = states(self, owner, access);
        let Some((owner, access)) = self.ownership_mut(id) else { return };
        change(owner, access);
        let Some((owner, access)) = self.ownership(id) else { return };
        let after = states(self, owner, access);
        self.pass_over(id, &before, &after);
    }

    /// Starts transitions for the groups whose settled state has changed.
    fn pass_over(&mut self, id: DeviceId, before: &[AccessState], after: &[AccessState]) {
        let changed: Vec<u16> = self
            .plant
            .groups
            .iter()
            .zip(before.iter().zip(after))
            .filter(|(_, (before, after))| before != after)
            .map(|((tag, _, _), _)| *tag)
            .collect();
        if changed.is_empty() {
            return;
        }
        self.plant.generation += 1;
        if self.plant.transition.is_zero() {
            return;
        }
        let until = self.now.saturating_add(self.plant.transition);
        if let Some((_, access)) = self.ownership_mut(id) {
            access.transitions.extend(changed.into_iter().map(|tag| (tag, until)));
            self.plant.wake_at(until);
        }
    }

    /// Sets the access state of a device through one group, as SET TARGET PORT GROUPS asks (SPC-4 clause 6.45).
    ///
    /// *Active/optimized* makes the group's controller the owner; other states stay with the group until the next change of
    /// owner.
    pub fn set_access_state(
        &mut self,
        now: Duration,
        id: DeviceId,
        tpgt: u16,
        to: AccessState,
    ) -> Result<(), AccessError> {
        self.advance(now);
        self.ownership(id).ok_or(AccessError::Gone)?;
        let controller = self.plant.group(tpgt).ok_or(AccessError::NoSuchGroup)?.1;
        if !self.plant.explicit || matches!(to, AccessState::Offline | AccessState::Transitioning) {
            return Err(AccessError::NotSupported);
        }
        if !self.plant.is_up(controller) {
            return Err(AccessError::ControllerDown);
        }
        self.promise();
        self.reshape(id, |owner, access| {
            if to == AccessState::ActiveOptimized {
                *owner = controller;
                access.explicit.remove(&tpgt);
            } else {
                access.explicit.insert(tpgt, to);
            }
        });
        Ok(())
    }

    fn known_controller(&self, controller: u8) -> Result<usize, Refusal> {
        let at = usize::from(controller);
        if at < self.plant.up.len() { Ok(at) } else { Err(Refusal::NoSuchController) }
    }

    /// Every device, LUNs first.
    fn devices(&self) -> Vec<DeviceId> {
        let luns = self.luns.iter().map(|lun| DeviceId::Lun(lun.id));
        luns.chain(self.snapshots.iter().map(|snap| DeviceId::Snapshot(snap.id))).collect()
    }

    /// Switches a controller and moves devices with `owner_after`, as one change for each device.
    fn switch(&mut self, controller: u8, up: bool, owner_after: impl Fn(&Self, u8, &Access) -> u8) {
        let devices = self.devices();
        let settled = |array: &Self, id: DeviceId| -> Vec<AccessState> {
            let Some((owner, access)) = array.ownership(id) else { return Vec::new() };
            array
                .plant
                .groups
                .iter()
                .map(|(tag, c, _)| array.plant.settled(*tag, *c, owner, access))
                .collect()
        };
        let before: Vec<_> = devices.iter().map(|id| settled(self, *id)).collect();
        if let Some(state) = self.plant.up.get_mut(usize::from(controller)) {
            *state = up;
        }
        self.plant.generation += 1;
        for (id, before) in devices.into_iter().zip(before) {
            let Some((owner, access)) = self.ownership(id) else { continue };
            let to = owner_after(self, owner, access);
            if let Some((owner, access)) = self.ownership_mut(id)
                && *owner != to
            {
                *owner = to;
                access.explicit.clear();
            }
            let after = settled(self, id);
            self.pass_over(id, &before, &after);
        }
    }

    /// A controller fails: its portals go down, its groups become unavailable, and with implicit ALUA its devices move to
    /// the next controller that works. Idempotent.
    ///
    /// # Errors
    /// There is no such controller.
    pub fn fail_controller(&mut self, now: Duration, controller: u8) -> Result<(), Refusal> {
        self.advance(now);
        self.fail_at_once(controller)
    }

    /// The same at the present moment.
    pub(crate) fn fail_at_once(&mut self, controller: u8) -> Result<(), Refusal> {
        let at = self.known_controller(controller)?;
        if !self.plant.up[at] {
            return Ok(());
        }
        self.promise();
        self.plant.failbacks.remove(&controller);
        let implicit = self.plant.implicit;
        self.tell(EventKind::ControllerFailed, controller_name(controller));
        self.switch(controller, false, |array, owner, _| {
            if implicit && owner == controller { array.plant.survivor(owner) } else { owner }
        });
        if self.defects.job_lost_on_failover {
            self.forget_jobs();
        }
        Ok(())
    }

    /// A failed controller works again: its groups come back non-optimized, and with implicit ALUA its devices come home
    /// after [`crate::ArrayConfig::failback`]. Devices that had nobody left to own them are served again at once. Idempotent.
    ///
    /// # Errors
    /// There is no such controller.
    pub fn restore_controller(&mut self, now: Duration, controller: u8) -> Result<(), Refusal> {
        self.advance(now);
        let at = self.known_controller(controller)?;
        if self.plant.up[at] {
            return Ok(());
        }
        self.promise();
        let implicit = self.plant.implicit;
        self.tell(EventKind::ControllerRestored, controller_name(controller));
        self.switch(
            controller,
            true,
            |array, owner, _| {
                if implicit { array.plant.survivor(owner) } else { owner }
            },
        );
        if let Some(wait) = self.plant.failback.filter(|_| implicit) {
            let at = self.now.saturating_add(wait);
            self.plant.failbacks.insert(controller, at);
            self.plant.wake_at(at);
            self.settle_access();
        }
        Ok(())
    }

    /// Moves a LUN to a controller (trespass); its home stays, so that it is *preferred* there still.
    ///
    /// # Errors
    /// No such LUN or controller, or the controller is down.
    pub fn set_owner(&mut self, now: Duration, lun: u64, controller: u8) -> Result<(), Refusal> {
        self.advance(now);
        self.move_at_once(lun, controller)
    }

    fn move_at_once(&mut self, lun: u64, controller: u8) -> Result<(), Refusal> {
        if !self.luns.contains(lun) {
            return Err(Refusal::NoSuchLun);
        }
        let at = self.known_controller(controller)?;
        if !self.plant.up[at] {
            return Err(Refusal::ControllerDown);
        }
        self.promise();
        self.reshape(DeviceId::Lun(lun), |owner, access| {
            *owner = controller;
            access.explicit.clear();
        });
        Ok(())
    }

    /// Gives a LUN another home, and moves it there if that controller works.
    ///
    /// # Errors
    /// No such LUN or controller.
    pub fn set_home(&mut self, now: Duration, lun: u64, controller: u8) -> Result<(), Refusal> {
        self.advance(now);
        self.give_home(lun, controller)
    }

    /// The same at the present moment.
    pub(crate) fn give_home(&mut self, lun: u64, controller: u8) -> Result<(), Refusal> {
        self.known_controller(controller)?;
        self.promise();
        let (_, access) = self.ownership_mut(DeviceId::Lun(lun)).ok_or(Refusal::NoSuchLun)?;
        if access.home != controller {
            access.home = controller;
            self.plant.generation += 1;
        }
        match self.move_at_once(lun, controller) {
            Err(Refusal::ControllerDown) => Ok(()),
            other => other,
        }
    }

    /// The controller that should own a device.
    pub fn home(&self, id: DeviceId) -> Option<u8> {
        self.ownership(id).map(|(_, access)| access.home)
    }

    /// Whether [`Array::settle_access`] has something to do.
    pub(crate) fn access_is_due(&self) -> bool {
        self.plant.due.is_some_and(|due| due <= self.now)
    }

    /// Ends transitions and brings devices home as far as time has come.
    pub(crate) fn settle_access(&mut self) {
        while self.access_is_due() {
            let now = self.now;
            let coming: Vec<u8> =
                self.plant.failbacks.iter().filter(|(_, at)| **at <= now).map(|(c, _)| *c).collect();
            self.plant.failbacks.retain(|_, at| *at > now);
            let mut next: Option<Duration> = self.plant.failbacks.values().min().copied();
            let mut ended = false;
            for id in self.devices() {
                let Some((_, access)) = self.ownership_mut(id) else { continue };
                let open = access.transitions.len();
                access.transitions.retain(|_, until| *until > now);
                ended |= access.transitions.len() != open;
                next = next.into_iter().chain(access.transitions.values().copied()).min();
            }
            if ended {
                self.plant.generation += 1;
            }
            self.plant.due = next;
            for controller in coming {
                for id in self.devices() {
                    if self
                        .ownership(id)
                        .is_some_and(|(owner, access)| access.home == controller && owner != controller)
                    {
                        self.reshape(id, |owner, access| {
                            *owner = controller;
                            access.explicit.clear();
                        });
                    }
                }
            }
        }
    }
}
