//! Commands with write data: immediate and unsolicited data, R2T, Data-Out, recovery of what was lost
//! (RFC 7143 sections 4.2.4, 7.9, 11.7 and 11.8).

use std::collections::VecDeque;
use std::time::Duration;

use sanbench_array::DeviceId;
use sanbench_wire::bhs::RESERVED_TAG;
use sanbench_wire::frame::RawPdu;
use sanbench_wire::pdu::{DataOut, R2t, RejectReason, ScsiCommand, Snack};
use sanbench_wire::scsi::cdb::op;
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::sense::{Asc, Sense, SenseKey};

use crate::common::{Common, serial_less};
use crate::full::Full;
use crate::limit::toll;
use crate::registry::TaskSlot;
use crate::scsi;
use crate::tasks::{Asker, Interrupted, first_burst, interrupted};

/// A burst of data that was asked for.
#[derive(Debug)]
struct Burst {
    ttt: u32,
    next: u32,
    end: u32,
    data_sn: u32,
    /// Number of the R2T that asked for it, and where that began.
    r2t_sn: u32,
    begin: u32,
    /// Some of it was lost; the rest of the sequence is thrown away and asked for anew (recovery level 1).
    lost: bool,
}

/// A command that waits for write data.
#[derive(Debug)]
pub(crate) struct WriteTask {
    pub(crate) itt: u32,
    pub(crate) lun: Lun,
    pub(crate) device: DeviceId,
    cdb: [u8; 16],
    /// Expected data transfer length of the PDU, bytes.
    expected: u32,
    /// What the CDB asks for, bytes.
    wanted: u64,
    /// What is really moved: the smaller of the two.
    length: u32,
    /// Received so far, in order.
    data: Vec<u8>,
    /// Next DataSN of unsolicited data, while it goes on.
    unsolicited: Option<u32>,
    /// Bytes that unsolicited data may bring at most.
    promised: u32,
    /// Bytes that came or were skipped as unsolicited data (may exceed `length` when the initiator announced too much).
    seen: u32,
    /// How far data was asked for.
    asked: u32,
    bursts: VecDeque<Burst>,
    r2t_sn: u32,
    /// Unsolicited data was lost; what is missing is asked for when the sequence ends (recovery level 1).
    lost: bool,
    pub(crate) mute: bool,
    /// Its place among all commands of the target that wait, given back with it.
    slot: Option<TaskSlot>,
}

impl Full {
    pub(crate) fn start_write(
        &mut self,
        common: &mut Common,
        now: Duration,
        command: ScsiCommand,
        asker: Asker,
        wanted: u64,
    ) {
        let device = {
            let array = common.array.lock();
            self.nexus
                .as_ref()
                .and_then(|nexus| scsi::resolve(&array, nexus, command.lun))
                .map(|unit| unit.device)
        };
        let Some(device) = device else { return };
        let expected = if command.write { command.expected_length } else { 0 };
        let length = u32::try_from(wanted.min(u64::from(expected))).unwrap_or(expected);
        let immediate = &command.data[..command.data.len().min(length as usize)];
        let seen = command.data.len() as u32;
        let mut task = WriteTask {
            itt: command.itt,
            lun: command.lun,
            device,
            cdb: command.cdb,
            expected,
            wanted,
            length,
            data: Vec::new(),
            unsolicited: (!command.last).then_some(0),
            promised: self.params.first_burst.min(length),
            seen,
            asked: 0,
            bursts: VecDeque::new(),
            r2t_sn: 0,
            lost: false,
            mute: asker.mute,
            slot: None,
        };
        if task.unsolicited.is_none() && immediate.len() == length as usize {
            // The whole write in one PDU: no copy on the way to the array.
            return self.complete(common, now, task, immediate);
        }
        task.slot = common.registry.task_slot(common.config.max_tasks);
        if task.slot.is_none() {
            return self.too_busy(common, asker);
        }
        let reserved: usize = self.tasks.iter().map(WriteTask::reserved).sum();
        let more = if command.last { immediate.len() } else { self.params.first_burst as usize };
        if !self.tasks.is_empty() && reserved + more > common.config.write_buffer {
            return self.too_busy(common, asker);
        }
        task.data.extend_from_slice(immediate);
        self.tasks.push(task);
        self.solicit(common);
    }

    /// Does the work of a write whose data is complete, and answers.
    fn complete(&mut self, common: &mut Common, now: Duration, task: WriteTask, data: &[u8]) {
        let Some(nexus) = &mut self.nexus else { return };
        let done = {
            let mut array = common.array.lock();
            match interrupted(common, &array) {
                Some(why) => Err(why),
                None => {
                    let before = array.promised();
                    let done = scsi::finish(&mut array, now, nexus, task.lun, task.device, &task.cdb, data);
                    for (other, event) in nexus.take_concerned() {
                        common.registry.tell_nexus(&other, event);
                    }
                    let promise = scsi::promise_since(&array, before, nexus, task.lun);
                    let what = (task.lun, task.cdb[0]);
                    let toll = toll(&mut array, now, nexus, what, data.len() as u64);
                    Ok((done, (promise, toll), array.take_tickets()))
                }
            }
        };
        let (done, then, tickets) = match done {
            Ok(done) => done,
            Err(Interrupted::Lost(how)) => return self.part(common, how),
            Err(Interrupted::Events) => {
                // Another session may have aborted it: then it is not among the tasks afterwards.
                let itt = task.itt;
                self.tasks.push(task);
                self.absorb(common);
                if let Some(at) = self.tasks.iter().position(|task| task.itt == itt)
                    && common.closed.is_none()
                {
                    let task = self.tasks.remove(at);
                    self.complete(common, now, task, data);
                }
                return;
            }
        };
        let asker = task.asker();
        let first_burst = u64::from(self.params.first_burst);
        let moved = match common.config.defects.residual_on_short_write && task.wanted > first_burst {
            true => first_burst,
            false => task.wanted,
        };
        if common.config.defects.unmap_answers_twice && asker.opcode == op::UNMAP && done.is_err() {
            self.reply(common, now, asker, done.clone(), moved);
        }
        self.reply_in_time(common, now, (task.device, tickets), then, asker, (done, moved));
    }

    /// Sends R2Ts for all tasks that may have them: as many as were negotiated for each, as much as the buffer allows for
    /// all together; the oldest task is always served.
    fn solicit(&mut self, common: &mut Common) {
        let budget = common.config.write_buffer;
        let mut reserved: usize = self.tasks.iter().map(WriteTask::reserved).sum();
        for at in 0..self.tasks.len() {
            loop {
                let task = &self.tasks[at];
                let from = task.asked.max(task.data.len() as u32);
                let burst = (task.length.saturating_sub(from)).min(self.params.max_burst);
                let full = task.bursts.len() >= usize::from(self.params.max_outstanding_r2t);
                if burst == 0 || full || task.unsolicited.is_some() {
                    break;
                }
                if at > 0 && reserved + burst as usize > budget {
                    return;
                }
                reserved += burst as usize;
                let ttt = self.new_ttt();
                let task = &mut self.tasks[at];
                task.asked = from + burst;
                let burst = task.ask(ttt, from, from + burst);
                common.send(task.r2t(&burst, common));
                task.bursts.push_back(burst);
            }
        }
    }

    /// SCSI Data-Out. Data for a task that has ended meanwhile is thrown away.
    pub(crate) fn data_out(&mut self, common: &mut Common, now: Duration, data: DataOut, raw: &RawPdu) {
        let Some(at) = self.tasks.iter().position(|task| task.itt == data.itt) else { return };
        let recover = self.params.error_recovery_level > 0;
        let in_order = !common.config.defects.data_sn_unchecked;
        let task = &mut self.tasks[at];
        let taken = if data.ttt == RESERVED_TAG {
            task.take_unsolicited(&data, first_burst(common, &self.params), in_order)
        } else if task.bursts.iter().all(|burst| burst.ttt != data.ttt) {
            if recover && task.is_known(data.ttt) {
                // The rest of a sequence that was given up and asked for anew.
                return;
            }
            common.reject(RejectReason::INVALID_FIELD, &raw.bhs);
            Err(Bad::Wrong(Asc::PROTOCOL_SERVICE_CRC_ERROR))
        } else {
            task.take_solicited(&data, in_order)
        };
        match taken {
            Ok(()) => {}
            // A number that is ahead tells of a lost PDU, one that is behind of a PDU that came twice (section 7.9).
            Err(Bad::Ahead) if recover => return self.lost_data(common, now, &data),
            Err(Bad::Behind) if recover => return,
            Err(Bad::Ahead | Bad::Behind) => {
                return self.break_task(common, data.itt, Asc::PROTOCOL_SERVICE_CRC_ERROR);
            }
            Err(Bad::Wrong(asc)) => return self.break_task(common, data.itt, asc),
        }
        self.advance(common, now, at);
    }

    /// Write data that was damaged or never came. At recovery level 1 the rest of its sequence is asked for again
    /// (RFC 7143 section 7.2), below the task ends.
    pub(crate) fn lost_data(&mut self, common: &mut Common, now: Duration, data: &DataOut) {
        let Some(at) = self.tasks.iter().position(|task| task.itt == data.itt) else { return };
        if self.params.error_recovery_level == 0 {
            return self.break_task(common, data.itt, Asc::PROTOCOL_SERVICE_CRC_ERROR);
        }
        let task = &mut self.tasks[at];
        if data.ttt == RESERVED_TAG {
            task.lost = true;
            if data.last {
                task.unsolicited = None;
            }
            return self.advance(common, now, at);
        }
        let Some(place) = task.bursts.iter().position(|burst| burst.ttt == data.ttt) else { return };
        task.bursts[place].lost = true;
        if data.last {
            let (from, end) = (task.bursts[place].next, task.bursts[place].end);
            let ttt = self.new_ttt();
            let task = &mut self.tasks[at];
            let burst = task.ask(ttt, from, end);
            common.send(task.r2t(&burst, common));
            task.bursts[place] = burst;
        }
    }

    /// Goes on with a task after some of its data came.
    fn advance(&mut self, common: &mut Common, now: Duration, at: usize) {
        let task = &self.tasks[at];
        if task.unsolicited.is_none() && task.data.len() == task.length as usize {
            let mut task = self.tasks.remove(at);
            let data = std::mem::take(&mut task.data);
            self.complete(common, now, task, &data);
        }
        self.solicit(common);
    }

    /// Ends a task whose data went wrong: ABORTED COMMAND (RFC 7143 section 11.4.7.2).
    pub(crate) fn break_task(&mut self, common: &mut Common, itt: u32, asc: Asc) {
        let Some(at) = self.tasks.iter().position(|task| task.itt == itt) else { return };
        let asker = self.tasks.remove(at).asker();
        if common.config.defects.reject_hangs {
            return;
        }
        self.check_condition(common, asker, Sense::new(SenseKey::ABORTED_COMMAND, asc), 0);
        self.solicit(common);
    }
}

impl WriteTask {
    fn asker(&self) -> Asker {
        Asker {
            itt: self.itt,
            lun: self.lun,
            opcode: self.cdb[0],
            expected: self.expected,
            sent: self.r2t_sn,
            mute: self.mute,
        }
    }

    /// Bytes that the task holds, has asked for, or was told to come.
    fn reserved(&self) -> usize {
        let promised = if self.unsolicited.is_some() { self.promised } else { 0 };
        self.data.len().max(self.asked.max(promised) as usize)
    }

    /// The next burst to ask for.
    fn ask(&mut self, ttt: u32, from: u32, end: u32) -> Burst {
        let r2t_sn = self.r2t_sn;
        self.r2t_sn += 1;
        Burst { ttt, next: from, end, data_sn: 0, r2t_sn, begin: from, lost: false }
    }

    fn r2t(&self, burst: &Burst, common: &Common) -> R2t {
        R2t {
            lun: self.lun,
            itt: self.itt,
            ttt: burst.ttt,
            stat_sn: common.numbers.stat_sn,
            exp_cmd_sn: common.numbers.exp_cmd_sn,
            max_cmd_sn: common.numbers.max_cmd_sn,
            r2t_sn: burst.r2t_sn,
            offset: burst.begin,
            length: burst.end - burst.begin,
        }
    }

    /// Whether a transfer tag was one of this task's, most likely: tags only grow.
    fn is_known(&self, ttt: u32) -> bool {
        self.bursts.front().is_some_and(|burst| ttt < burst.ttt)
    }

    fn take_unsolicited(&mut self, data: &DataOut, first_burst: u32, in_order: bool) -> Result<(), Bad> {
        let unexpected = Bad::Wrong(Asc::UNEXPECTED_UNSOLICITED_DATA);
        let Some(expected_sn) = self.unsolicited else { return Err(unexpected) };
        let end = u64::from(data.offset) + data.data.len() as u64;
        if end > u64::from(self.expected.min(first_burst)) {
            return Err(unexpected);
        }
        if self.lost {
            self.unsolicited = (!data.last).then_some(expected_sn);
            return Ok(());
        }
        if in_order {
            order(data.data_sn, expected_sn)?;
        }
        if data.offset != self.seen {
            return Err(Bad::Wrong(Asc::PROTOCOL_SERVICE_CRC_ERROR));
        }
        let room = (self.length as usize).saturating_sub(self.data.len());
        self.data.extend_from_slice(&data.data[..data.data.len().min(room)]);
        self.seen = end as u32;
        self.unsolicited = (!data.last).then_some(expected_sn.wrapping_add(1));
        Ok(())
    }

    fn take_solicited(&mut self, data: &DataOut, in_order: bool) -> Result<(), Bad> {
        let wrong = Bad::Wrong(Asc::PROTOCOL_SERVICE_CRC_ERROR);
        // Bursts are answered in order (DataSequenceInOrder=Yes), and within a burst so is the data.
        let Some(burst) = self.bursts.front_mut().filter(|burst| burst.ttt == data.ttt) else {
            return Err(wrong);
        };
        if burst.lost {
            return Err(Bad::Ahead);
        }
        if in_order {
            order(data.data_sn, burst.data_sn)?;
        }
        let end = u64::from(burst.next) + data.data.len() as u64;
        // A sequence ends exactly with its F bit.
        let fits = end <= u64::from(burst.end) && (end == u64::from(burst.end)) == data.last;
        if data.offset != burst.next || !fits || data.lun != self.lun {
            return Err(wrong);
        }
        burst.next = end as u32;
        burst.data_sn = burst.data_sn.wrapping_add(1);
        self.data.extend_from_slice(&data.data);
        if data.last {
            self.bursts.pop_front();
        }
        Ok(())
    }
}

impl Full {
    /// The R2Ts that a SNACK asks for, if it names a task that waits for data. Empty when one of them is answered already
    /// or was never sent.
    pub(crate) fn asked_again(&self, common: &Common, snack: &Snack) -> Option<Vec<R2t>> {
        let task = self.tasks.iter().find(|task| task.itt == snack.itt)?;
        let end =
            if snack.run_length == 0 { task.r2t_sn } else { snack.begin.wrapping_add(snack.run_length) };
        let wanted = snack.begin..end;
        let bursts: Vec<&Burst> = task.bursts.iter().filter(|burst| wanted.contains(&burst.r2t_sn)).collect();
        let whole = bursts.len() == wanted.len();
        Some(if whole {
            bursts.into_iter().map(|burst| task.r2t(burst, common)).collect()
        } else {
            Vec::new()
        })
    }
}

/// Write data that does not fit.
enum Bad {
    /// A later PDU than expected.
    Ahead,
    /// A PDU that came before.
    Behind,
    /// Against the rules; the task ends with this.
    Wrong(Asc),
}

/// DataSN against what is expected (RFC 7143 section 4.2.2.4).
fn order(data_sn: u32, expected: u32) -> Result<(), Bad> {
    match data_sn {
        sn if sn == expected => Ok(()),
        sn if serial_less(sn, expected) => Err(Bad::Behind),
        _ => Err(Bad::Ahead),
    }
}
