//! Answers that wait: because their LUN has a traffic policy (QoS), because the other half of a HyperMetro or replication pair
//! has not heard of the change, or because what they acknowledge is not durable yet. The command has done its work here by
//! then; its answer goes out when the other half, the array's journal and the policy let it. Other commands of the session
//! overtake it, except those that wait for the journal, too.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use sanbench_array::pair::Ticket;
use sanbench_array::{Array, DeviceId};
use sanbench_wire::scsi::luns::Lun;

use crate::common::Common;
use crate::full::Full;
use crate::scsi::{self, Failure};
use crate::tasks::Asker;

/// An answer that waits.
struct Waiting {
    asker: Asker,
    /// None when it is unknown: then no reset of a device takes the answer away.
    device: Option<DeviceId>,
    done: Result<Vec<Bytes>, Failure>,
    moved: u64,
}

/// A promise that a command has made, and its device; none for commands that made none.
pub(crate) type Promise = Option<(u64, Option<DeviceId>)>;

/// An answer that waits for another array, and what it waits for afterwards.
struct Mirrored {
    answer: Waiting,
    tickets: Vec<Ticket>,
    promise: Promise,
    toll: Toll,
}

/// The answers of a session that wait, by the time that they are due and the order of their commands.
#[derive(Default)]
pub(crate) struct Limited {
    waiting: BTreeMap<(Duration, u64), Waiting>,
    /// Those that wait for another array first, in the order of their commands.
    mirrored: Vec<Mirrored>,
    last: u64,
    /// Answers that wait for the journal, in the order of their promises.
    promised: VecDeque<(u64, Toll, Waiting)>,
}

impl Limited {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.mirrored.len() + self.promised.len()
    }

    /// The first promise that an answer waits for.
    pub(crate) fn awaits(&self) -> Option<u64> {
        self.promised.front().map(|(promise, _, _)| *promise)
    }

    fn retain(&mut self, keep: impl Fn(&Waiting) -> bool) -> bool {
        let before = self.len();
        self.waiting.retain(|_, answer| keep(answer));
        self.mirrored.retain(|mirrored| keep(&mirrored.answer));
        self.promised.retain(|(_, _, answer)| keep(answer));
        self.len() < before
    }

    /// When the next one is due.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.waiting.first_key_value().map(|((due, _), _)| *due)
    }

    /// Gives up the answer to a command; false when there is none.
    pub(crate) fn forget_task(&mut self, itt: u32, lun: Lun) -> bool {
        self.retain(|answer| answer.asker.itt != itt || answer.asker.lun != lun)
    }

    /// Gives up the answers of a device; says whether there were any.
    pub(crate) fn forget_device(&mut self, device: DeviceId) -> bool {
        self.retain(|answer| answer.device != Some(device))
    }

    /// Gives up all answers.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
        self.promised.clear();
        self.mirrored.clear();
    }

    /// Whether a command with this tag waits for its answer.
    pub(crate) fn has(&self, itt: u32) -> bool {
        let promised = self.promised.iter().map(|(_, _, answer)| answer);
        let mirrored = self.mirrored.iter().map(|mirrored| &mirrored.answer);
        self.waiting.values().chain(promised).chain(mirrored).any(|answer| answer.asker.itt == itt)
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
    /// Answers a command when the other half of its pair has what it changed, its promise is kept and its toll is paid.
    pub(crate) fn reply_in_time(
        &mut self,
        common: &mut Common,
        now: Duration,
        (device, tickets): (DeviceId, Vec<Ticket>),
        (promise, toll): (Promise, Toll),
        asker: Asker,
        (done, moved): (Result<Vec<Bytes>, Failure>, u64),
    ) {
        if tickets.is_empty() || common.config.defects.mirrored_answers_early {
            return match promise {
                None => self.reply_after(common, now, toll, asker, (done, moved)),
                Some(promise) => self.reply_when_kept(common, now, promise, toll, asker, (done, moved)),
            };
        }
        let answer = Waiting { asker, device: Some(device), done, moved };
        self.limited.mirrored.push(Mirrored { answer, tickets, promise, toll });
        common.mailbox.expect_stirs(true);
        common.numbers.open_window(common.config.queue_depth, self.outstanding());
        // It may have been settled already.
        self.release_mirrored(common, now);
    }

    /// Goes on with the answers of which the other half is settled.
    pub(crate) fn release_mirrored(&mut self, common: &mut Common, now: Duration) {
        let settled = |mirrored: &Mirrored| mirrored.tickets.iter().all(|t| t.verdict().is_some());
        while common.closed.is_none()
            && let Some(at) = self.limited.mirrored.iter().position(settled)
        {
            let Mirrored { answer, tickets, promise, toll } = self.limited.mirrored.remove(at);
            let Waiting { asker, device, done, moved } = answer;
            let failed = tickets.iter().filter_map(Ticket::verdict).find_map(|v| scsi::mirrored(v).err());
            let done = match failed {
                Some(failure) if done.is_ok() => Err(failure),
                _ => done,
            };
            let Some(device) = device else { continue };
            self.reply_in_time(common, now, (device, Vec::new()), (promise, toll), asker, (done, moved));
        }
        if self.limited.mirrored.is_empty() {
            common.mailbox.expect_stirs(false);
        }
    }

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
        let answer = Waiting { asker, device: Some(device), done, moved };
        self.limited.waiting.insert((now + wait, self.limited.last), answer);
        common.numbers.open_window(common.config.queue_depth, self.outstanding());
    }

    /// Answers a command that has made a promise, when the promise is kept (and then when its toll is paid).
    pub(crate) fn reply_when_kept(
        &mut self,
        common: &mut Common,
        now: Duration,
        (promise, device): (u64, Option<DeviceId>),
        toll: Toll,
        asker: Asker,
        (done, moved): (Result<Vec<Bytes>, Failure>, u64),
    ) {
        let Some(gate) = common.array.gate().filter(|gate| gate.durable() < promise) else {
            return self.reply_after(common, now, toll, asker, (done, moved));
        };
        gate.want(promise);
        self.limited.promised.push_back((promise, toll, Waiting { asker, device, done, moved }));
        common.numbers.open_window(common.config.queue_depth, self.outstanding());
    }

    /// Sends the answers whose promises are kept. Behind a commit that failed nothing is kept any more: the session ends.
    pub(crate) fn release_promised(&mut self, common: &mut Common, now: Duration) {
        let Some(gate) = common.array.gate().cloned() else { return };
        while common.closed.is_none()
            && self.limited.awaits().is_some_and(|promise| promise <= gate.durable())
            && let Some((_, toll, answer)) = self.limited.promised.pop_front()
        {
            self.reply_after(common, now, toll, answer.asker, (answer.done, answer.moved));
        }
        if self.limited.awaits().is_some() && gate.why_lost().is_some() {
            common.cut("the array has lost its medium");
        }
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
