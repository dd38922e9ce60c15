//! What the array tells by itself: events in the order in which they happened, and pools that become too full.

use std::collections::VecDeque;
use std::time::Duration;

use crate::object::DeviceId;
use crate::{Array, Outcome, Refusal};

/// Events that are remembered.
const REMEMBERED: usize = 1024;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// More of a pool is in use than its threshold allows.
    PoolAboveThreshold,
    /// The pool is below its threshold again.
    PoolBelowThreshold,
    /// A controller has failed.
    ControllerFailed,
    /// A controller works again.
    ControllerRestored,
    /// A job has failed.
    JobFailed,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Number, from 1.
    pub number: u64,
    /// When.
    pub at: Duration,
    /// What.
    pub kind: EventKind,
    /// Name of the pool or controller, or what the job did.
    pub object: String,
}

/// The latest events.
#[derive(Debug, Default)]
pub(crate) struct Events {
    all: VecDeque<Event>,
    last: u64,
    /// Writes that copied from a parent first.
    pub(crate) copy_ups: u64,
}

impl Array {
    /// The latest events, oldest first.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.all.iter()
    }

    /// Writes of linked clones that copied from their parents first, since this value of the array was made.
    pub fn copy_ups(&self) -> u64 {
        self.events.copy_ups
    }

    pub(crate) fn tell(&mut self, kind: EventKind, object: String) {
        let events = &mut self.events;
        events.last += 1;
        if events.all.len() == REMEMBERED {
            events.all.pop_front();
        }
        events.all.push_back(Event { number: events.last, at: self.now, kind, object });
    }

    pub(crate) fn set_pool_threshold(&mut self, id: u64, percent: u8) -> Result<Outcome, Refusal> {
        let pool = usize::try_from(id).ok().and_then(|id| self.pools.get_mut(id));
        let pool = pool.ok_or(Refusal::NoSuchPool)?;
        if !(1..=99).contains(&percent) {
            return Err(Refusal::BadParameter);
        }
        (pool.threshold, pool.armed) = (percent, true);
        Ok(Outcome::Done)
    }

    /// Looks whether a pool has crossed its threshold.
    pub(crate) fn note_pool(&mut self, at: usize) {
        let Some(pool) = self.pools.get_mut(at) else { return };
        let above = pool.used_extents() * 100 > pool.capacity * u64::from(pool.threshold);
        if above == pool.above {
            return;
        }
        pool.above = above;
        pool.crossings += u64::from(above && pool.armed);
        let kind = if above { EventKind::PoolAboveThreshold } else { EventKind::PoolBelowThreshold };
        let name = pool.name.clone();
        self.tell(kind, name);
    }

    /// The same for all pools.
    pub(crate) fn note_pools(&mut self) {
        (0..self.pools.len()).for_each(|at| self.note_pool(at));
    }

    /// A number that grows whenever the pool of a device becomes fuller than the threshold that somebody has set for it
    /// (SBC-3: THIN PROVISIONING SOFT THRESHOLD REACHED); the threshold of birth only makes an event.
    pub fn threshold_generation(&self, device: DeviceId) -> u64 {
        let pool = match device {
            DeviceId::Lun(id) => self.luns.get(id).filter(|lun| lun.thin).map(|lun| lun.pool),
            DeviceId::Snapshot(_) => None,
        };
        pool.and_then(|pool| self.pool(pool)).map_or(0, |pool| pool.crossings)
    }
}

impl crate::Pool {
    /// How full it may become before the array tells, in percent.
    pub fn threshold(&self) -> u8 {
        self.threshold
    }
    /// Whether it is fuller than that.
    pub fn is_above_threshold(&self) -> bool {
        self.above
    }
}
