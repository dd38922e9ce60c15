//! The volatile write cache of a LUN.

use std::time::Duration;

use crate::object::DeviceId;
use crate::reservation::Reservations;
use crate::{Array, IoError};

/// Unsynchronised writes of one LUN.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    on: bool,
}

impl Cache {
    pub(crate) fn new(on: bool) -> Self {
        Self { on }
    }
}

/// What a power loss did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PowerLoss {
    /// Unsynchronised blocks of 512 bytes that went back to what they were at the last synchronisation.
    pub blocks_lost: u64,
    /// Unsynchronised blocks that made it to the medium all the same.
    pub blocks_kept: u64,
    /// LUNs that had unsynchronised blocks.
    pub luns: u64,
}

impl Array {
    /// Whether the device has a volatile write cache that is on (WCE). Snapshots have none.
    pub fn write_cache(&self, id: DeviceId) -> bool {
        matches!(id, DeviceId::Lun(id) if self.luns.get(id).is_some_and(|lun| lun.cache.on))
    }

    /// Switches the write cache of a LUN; off, what is in it becomes durable first.
    ///
    /// # Errors
    /// The device is gone, or it is a snapshot and shall have a cache.
    pub fn set_write_cache(&mut self, now: Duration, id: DeviceId, on: bool) -> Result<(), IoError> {
        self.advance(now);
        let DeviceId::Lun(lun) = id else { return if on { self.refuse_write(id) } else { Ok(()) } };
        self.luns.get_mut(lun).ok_or(IoError::Gone)?.cache.on = on;
        Ok(())
    }

    /// Writes as [`Array::write`] does, and durably (FUA).
    pub fn write_through(
        &mut self,
        now: Duration,
        id: DeviceId,
        lba: u64,
        data: &[u8],
    ) -> Result<(), IoError> {
        self.write(now, id, lba, data)
    }

    /// Makes acknowledged writes of a range durable (SYNCHRONIZE CACHE); 0 blocks are all from `lba` on.
    pub fn flush(&mut self, now: Duration, id: DeviceId, lba: u64, blocks: u64) -> Result<(), IoError> {
        self.advance(now);
        self.checked(id, lba, blocks).map(drop)
    }

    /// Power is lost and comes back.
    pub fn power_loss(&mut self, now: Duration, _dice: &mut dyn FnMut(u64) -> u64) -> PowerLoss {
        self.advance(now);
        self.power_generation += 1;
        PowerLoss::default()
    }

    /// Number of power losses so far.
    pub fn power_generation(&self) -> u64 {
        self.power_generation
    }

    /// Reservations of a device.
    pub fn reservations(&self, id: DeviceId) -> Option<&Reservations> {
        match id {
            DeviceId::Lun(id) => self.luns.get(id).map(|lun| &lun.reservations),
            DeviceId::Snapshot(id) => self.snapshots.get(id).map(|snap| &snap.reservations),
        }
    }

    /// Reservations of a device, to change.
    pub fn reservations_mut(&mut self, id: DeviceId) -> Option<&mut Reservations> {
        match id {
            DeviceId::Lun(id) => self.luns.get_mut(id).map(|lun| &mut lun.reservations),
            DeviceId::Snapshot(id) => self.snapshots.get_mut(id).map(|snap| &mut snap.reservations),
        }
    }
}
