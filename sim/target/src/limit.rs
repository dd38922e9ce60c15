//! Answers that wait because their LUN has a traffic policy (QoS). The command has done its work by then; its answer goes out
//! when the policy lets it. Commands to other LUNs of the session overtake it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use sanbench_array::{Array, DeviceId};
use sanbench_wire::scsi::luns::Lun;

use crate::common::Common;
use crate::full::Full;
use crate::scsi::{self, Failure};
use crate::tasks::Asker;

/// An answer that waits.
struct Waiting {
    asker: Asker,
    device: DeviceId,
    done: Result<Vec<Bytes>, Failure>,
    moved: u64,
}

/// The answers of a session that wait, by the time that they are due and the order of their commands.
#[derive(Default)]
pub(crate) struct Limited {
    waiting: BTreeMap<(Duration, u64), Waiting>,
    last: u64,
}

impl Limited {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// When the next one is due.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.waiting.first_key_value().map(|((due, _), _)| *due)
    }

    /// Gives up the answer to a command; false when there is none.
    pub(crate) fn forget_task(&mut self, itt: u32, lun: Lun) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|_, answer| answer.asker.itt != itt || answer.asker.lun != lun);
        self.waiting.len() < before
    }

    /// Gives up the answers of a device; says whether there were any.
    pub(crate) fn forget_device(&mut self, device: DeviceId) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|_, answer| answer.device != device);
        self.waiting.len() < before
    }

    /// Gives up all answers.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// Whether a command with this tag waits for its answer.
    pub(crate) fn has(&self, itt: u32) -> bool {
        self.waiting.values().any(|answer| answer.asker.itt == itt)
    }
}

/// The time that a command's answer has to wait, and its device; none for most commands.
pub(crate) type Toll = Option<(Duration, DeviceId)>;

/// Counts a command against the traffic policies of its LUN. `bytes` is what it moved.
pub(crate) fn toll(
    array: &mut Array,
    now: Duration,
    nexus: &scsi::Nexus,
    (lun, opcode): (Lun, u8),
    bytes: u64,
) -> Toll {
    if !array.limits_traffic() {
        return None;
    }
    let is_write = match opcode {
        0x08 | 0x28 | 0x88 | 0xa8 => false,
        0x0a | 0x2a | 0x2e | 0x41 | 0x89 | 0x8a | 0x8b | 0x8e | 0x93 | 0x9c | 0xaa | 0xae => true,
        _ => return None,
    };
    let device = scsi::resolve(array, nexus, lun)?.device;
    array.admit(now, device, bytes, is_write).map(|wait| (wait, device))
}

impl Full {
    /// Answers a command now, or when its toll is paid.
    pub(crate) fn reply_after(
        &mut self,
        common: &mut Common,
        now: Duration,
        toll: Toll,
        asker: Asker,
        (done, moved): (Result<Vec<Bytes>, Failure>, u64),
    ) {
        // The window bounds how many can wait; immediate commands, which are outside of it, do not wait beyond that.
        let full = self.limited.len() >= usize::from(common.config.queue_depth);
        let Some((wait, device)) = toll.filter(|_| !full) else {
            return self.reply(common, now, asker, done, moved);
        };
        self.limited.last += 1;
        let answer = Waiting { asker, device, done, moved };
        self.limited.waiting.insert((now + wait, self.limited.last), answer);
        common.numbers.open_window(common.config.queue_depth, self.outstanding());
    }

    /// Sends the answers that are due.
    pub(crate) fn release_limited(&mut self, common: &mut Common, now: Duration) {
        while self.limited.due().is_some_and(|due| due <= now)
            && common.closed.is_none()
            && let Some((_, answer)) = self.limited.waiting.pop_first()
        {
            self.reply(common, now, answer.asker, answer.done, answer.moved);
        }
    }

    /// Commands that count against the window although they have begun.
    pub(crate) fn outstanding(&self) -> usize {
        self.tasks.len() + self.limited.len()
    }
}
