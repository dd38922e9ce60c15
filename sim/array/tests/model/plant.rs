//! The naive model of controllers: two of them, one target port group each, no transitions.

use std::collections::BTreeMap;
use std::time::Duration;

use sanbench_array::{AccessState, DeviceId};

#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) home: u8,
    pub(crate) owner: u8,
    /// By controller.
    explicit: [Option<AccessState>; 2],
}

pub(crate) struct Plant {
    pub(crate) up: [bool; 2],
    pub(crate) places: BTreeMap<DeviceId, Place>,
    failback: Option<Duration>,
    coming: [Option<Duration>; 2],
    turn: u8,
    /// Everything visible as last seen, and its generation.
    pub(crate) seen: (Vec<AccessState>, u64),
}

impl Plant {
    pub(crate) fn new(failback: Option<Duration>) -> Self {
        Self {
            up: [true; 2],
            places: BTreeMap::new(),
            failback,
            coming: [None; 2],
            turn: 0,
            seen: (Vec::new(), 0),
        }
    }

    fn server(&self, owner: u8) -> u8 {
        if self.up[usize::from(owner)] || !self.up[usize::from(1 - owner)] { owner } else { 1 - owner }
    }

    pub(crate) fn born(&mut self, id: DeviceId, of: Option<DeviceId>) {
        let place = match of.map(|source| self.places[&source].clone()) {
            Some(Place { home, owner, .. }) => Place { home, owner, explicit: [None; 2] },
            None => {
                self.turn = 1 - self.turn;
                let home = 1 - self.turn;
                Place { home, owner: self.server(home), explicit: [None; 2] }
            }
        };
        self.places.insert(id, place);
    }

    pub(crate) fn died(&mut self, id: DeviceId) {
        self.places.remove(&id);
    }

    pub(crate) fn moved(&mut self, id: DeviceId, owner: u8) {
        let place = self.places.get_mut(&id).unwrap();
        (place.owner, place.explicit) = (owner, [None; 2]);
    }

    fn move_where(&mut self, which: impl Fn(&Place) -> bool, to: u8) {
        let moving: Vec<_> =
            self.places.iter().filter(|(_, place)| which(place)).map(|(id, _)| *id).collect();
        moving.into_iter().for_each(|id| self.moved(id, to));
    }

    pub(crate) fn fail(&mut self, controller: u8) {
        let c = usize::from(controller);
        if std::mem::replace(&mut self.up[c], false) {
            self.coming[c] = None;
            if self.up[1 - c] {
                self.move_where(|place| place.owner == controller, 1 - controller);
            }
        }
    }

    pub(crate) fn restore(&mut self, controller: u8, now: Duration) {
        let c = usize::from(controller);
        if std::mem::replace(&mut self.up[c], true) {
            return;
        }
        if !self.up[1 - c] {
            self.move_where(|place| place.owner != controller, controller);
        }
        self.coming[c] = self.failback.map(|wait| now + wait);
        self.advance(now);
    }

    pub(crate) fn advance(&mut self, now: Duration) {
        for controller in 0..2_u8 {
            let coming = &mut self.coming[usize::from(controller)];
            if coming.is_some_and(|at| at <= now) {
                *coming = None;
                self.move_where(|place| place.home == controller && place.owner != controller, controller);
            }
        }
    }

    pub(crate) fn set(&mut self, id: DeviceId, controller: u8, state: AccessState) {
        let place = self.places.get_mut(&id).unwrap();
        place.explicit[usize::from(controller)] = match state {
            AccessState::ActiveOptimized => {
                place.owner = controller;
                None
            }
            other => Some(other),
        };
    }

    pub(crate) fn state(&self, id: DeviceId, controller: u8) -> AccessState {
        let place = &self.places[&id];
        match place.explicit[usize::from(controller)] {
            _ if !self.up[usize::from(controller)] => AccessState::Unavailable,
            Some(state) => state,
            None if place.owner == controller => AccessState::ActiveOptimized,
            None => AccessState::ActiveNonOptimized,
        }
    }
}
