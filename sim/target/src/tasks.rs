//! SCSI commands and their data: immediate and unsolicited data, R2T, Data-In, status (RFC 7143 sections 4.2.4, 11.3 to 11.8).

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use sanbench_array::{Array, DeviceId};
use sanbench_wire::bhs::RESERVED_TAG;
use sanbench_wire::frame::RawPdu;
use sanbench_wire::pdu::{
    DataIn, DataInStatus, DataOut, R2t, RejectReason, Residual, ResponseCode, ScsiCommand, ScsiResponse,
    Snack,
};
use sanbench_wire::scsi::cdb::op;
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::sense::{Asc, Sense, SenseKey};
use sanbench_wire::scsi::status::Status;
use sanbench_world::Fault;
use serde_json::json;

use crate::ahs;
use crate::common::{Common, serial_less};
use crate::full::Full;
use crate::recovery::KeptData;
use crate::registry::{Event, TaskSlot};
use crate::scsi::{self, Failure, Outcome};

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

/// What an answer needs to know about its command.
#[derive(Clone, Copy)]
struct Asker {
    itt: u32,
    lun: Lun,
    opcode: u8,
    /// Expected data transfer length in the direction that the command moves data, bytes.
    expected: u32,
    /// Data-In and R2T PDUs that were sent for the command.
    sent: u32,
    mute: bool,
}

impl Full {
    /// A SCSI Command whose turn has come.
    pub(crate) fn command(&mut self, common: &mut Common, now: Duration, command: ScsiCommand, mute: bool) {
        let Some(nexus) = &mut self.nexus else { return };
        let expected = command.expected_length;
        let asker =
            Asker { itt: command.itt, lun: command.lun, opcode: command.cdb[0], expected, sent: 0, mute };
        if let Some(sense) = refused_shape(&command) {
            return self.reply(common, now, asker, Err(sense.into()), 0);
        }
        if let Some(sense) = unexpected_data(&self.params, &command, first_burst(common, &self.params)) {
            return self.reply(common, now, asker, Err(sense.into()), 0);
        }
        let outcome = {
            let mut array = common.array.lock();
            match interrupted(common, &array) {
                Some(why) => Err(why),
                None => Ok(scsi::begin(&mut array, now, nexus, command.lun, &command.cdb, expected)),
            }
        };
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(Interrupted::Lost(why)) => return common.cut(why),
            Err(Interrupted::Events) => {
                self.absorb(common);
                // What was posted may have ended the session; it cannot have aborted a command that has not begun.
                if common.closed.is_none() {
                    self.command(common, now, command, mute);
                }
                return;
            }
        };
        match outcome {
            Outcome::Good(data) => {
                // Data to send has no room in a PDU that does not announce a read.
                let room = if command.read || data.is_empty() { expected } else { 0 };
                let asker = Asker { expected: room, ..asker };
                self.reply(common, now, asker, Ok(data), 0);
            }
            Outcome::Failed(failure) => self.reply(common, now, asker, Err(failure), 0),
            Outcome::NeedData(wanted) => self.start_write(common, now, command, asker, wanted),
        }
    }

    fn start_write(
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

    /// A limit is hit: TASK SET FULL for a nexus whose commands are part of it, else BUSY (SAM-5 clause 5.3.1).
    fn too_busy(&mut self, common: &mut Common, asker: Asker) {
        let status = if self.tasks.is_empty() { Status::BUSY } else { Status::TASK_SET_FULL };
        self.status(common, asker, status, Bytes::new(), 0);
    }

    /// Does the work of a write whose data is complete, and answers.
    fn complete(&mut self, common: &mut Common, now: Duration, task: WriteTask, data: &[u8]) {
        let Some(nexus) = &mut self.nexus else { return };
        let done = {
            let mut array = common.array.lock();
            match interrupted(common, &array) {
                Some(why) => Err(why),
                None => Ok(scsi::finish(&mut array, now, nexus, task.lun, task.device, &task.cdb, data)),
            }
        };
        let done = match done {
            Ok(done) => done,
            Err(Interrupted::Lost(why)) => return common.cut(why),
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
        let preempted = self.nexus.as_mut().map(scsi::Nexus::take_preempted).unwrap_or_default();
        for (nexus, device) in preempted {
            common.registry.tell_nexus(&nexus.initiator, nexus.isid, Event::TasksCleared(device));
        }
        if common.config.defects.unmap_answers_twice && asker.opcode == op::UNMAP && done.is_err() {
            self.reply(common, now, asker, done.clone(), moved);
        }
        self.reply(common, now, asker, done, moved);
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

    /// The fault plan says that this command fails without doing its work.
    pub(crate) fn fail_command(&mut self, common: &mut Common, now: Duration, raw: &RawPdu) {
        let Ok(command) = ScsiCommand::parse(raw) else { return };
        if !command.immediate {
            if command.cmd_sn != common.numbers.exp_cmd_sn {
                return;
            }
            common.numbers.exp_cmd_sn = command.cmd_sn.wrapping_add(1);
        }
        let asker = Asker {
            itt: command.itt,
            lun: command.lun,
            opcode: command.cdb[0],
            expected: command.expected_length,
            sent: 0,
            mute: false,
        };
        self.check_condition(common, asker, internal_failure(), 0);
        self.go_on(common, now);
    }

    /// Answers a command that has done its work. `moved` is what a write's CDB asked for, bytes.
    fn reply(
        &mut self,
        common: &mut Common,
        now: Duration,
        asker: Asker,
        done: Result<Vec<Bytes>, Failure>,
        moved: u64,
    ) {
        common.numbers.open_window(common.config.queue_depth, self.tasks.len());
        if common.config.trace_commands {
            self.trace(common, asker, &done);
        }
        let done = match common.around.fault("target.command.after") {
            None => done,
            Some(Fault::Fail) => Err(internal_failure().into()),
            Some(Fault::Delay(delay)) => {
                common.hold_output = Some(now + delay);
                done
            }
            Some(Fault::DropReply) => return,
            Some(Fault::CrashNode) => return common.crash(),
        };
        if asker.mute {
            return;
        }
        match done {
            Ok(data) if data.is_empty() => self.status(common, asker, Status::GOOD, Bytes::new(), moved),
            Ok(data) => self.data_in(common, asker, &data),
            Err(Failure::Check(sense)) => self.check_condition(common, asker, sense, moved),
            Err(Failure::Status(status)) => self.status(common, asker, status, Bytes::new(), moved),
        }
    }

    fn trace(&self, common: &mut Common, asker: Asker, done: &Result<Vec<Bytes>, Failure>) {
        let initiator = &self.initiator;
        common.around.note("scsi", &|| {
            let result = match done {
                Ok(_) => "GOOD".to_owned(),
                Err(Failure::Check(sense)) => sense.to_string(),
                Err(Failure::Status(status)) => status.to_string(),
            };
            json!({"initiator": initiator, "lun": asker.lun.number(), "opcode": asker.opcode, "result": result})
        });
    }

    fn check_condition(&mut self, common: &mut Common, asker: Asker, sense: Sense, moved: u64) {
        if sense.key == SenseKey::UNIT_ATTENTION {
            let initiator = &self.initiator;
            common.around.note("iscsi", &|| {
                json!({"event": "unit_attention", "initiator": initiator, "lun": asker.lun.number(),
                    "asc": format!("{:02x}/{:02x}", sense.asc.code(), sense.asc.qualifier())})
            });
        }
        let bytes = match &self.nexus {
            Some(nexus) => scsi::sense_bytes(&common.array.lock(), nexus, asker.lun, &sense),
            None => Bytes::copy_from_slice(&sense.build_fixed()),
        };
        self.status(common, asker, Status::CHECK_CONDITION, bytes, moved);
    }

    fn status(&mut self, common: &mut Common, asker: Asker, status: Status, sense: Bytes, moved: u64) {
        if status != Status::GOOD && common.config.defects.stat_sn_skips {
            common.numbers.take_stat();
        }
        let stat_sn = common.numbers.take_stat();
        common.send(ScsiResponse {
            response: ResponseCode::COMPLETED,
            status,
            residual: Residual::between(asker.expected, moved),
            itt: asker.itt,
            snack_tag: 0,
            stat_sn,
            exp_cmd_sn: common.numbers.exp_cmd_sn,
            max_cmd_sn: common.numbers.max_cmd_sn,
            exp_data_sn: asker.sent,
            sense,
            response_data: Bytes::new(),
        });
    }

    /// Sends read data in segments the initiator can take, in sequences of at most `MaxBurstLength`; the status travels in
    /// the last one.
    fn data_in(&mut self, common: &mut Common, asker: Asker, parts: &[Bytes]) {
        let total: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let residual = Residual::between(asker.expected, total);
        let length = u32::try_from(total.min(u64::from(asker.expected))).unwrap_or(asker.expected);
        if length == 0 {
            return self.status(common, asker, Status::GOOD, Bytes::new(), total);
        }
        let mut cursor = Cursor { parts, part: 0, offset: 0 };
        let (mut offset, mut data_sn, mut burst) = (0, 0, 0);
        // At recovery level 1 the status comes for itself, so that each can be asked for again by its own number.
        let keeps = common.replay.is_some();
        let mut slices = Vec::new();
        while offset < length {
            let segment = (length - offset).min(self.params.send_segment).min(self.params.max_burst - burst);
            slices.clear();
            cursor.take(segment as usize, &mut slices);
            burst += segment;
            let end = offset + segment == length;
            let sequence_ends = end || burst >= self.params.max_burst;
            if sequence_ends {
                burst = 0;
            }
            let status = (end && !keeps).then(|| DataInStatus {
                status: Status::GOOD,
                stat_sn: common.numbers.take_stat(),
                residual,
            });
            let acknowledge = keeps && sequence_ends && !end;
            let header = DataIn {
                last: sequence_ends,
                acknowledge,
                status,
                lun: if acknowledge { asker.lun } else { Lun::ZERO },
                itt: asker.itt,
                ttt: if acknowledge { self.new_ttt() } else { RESERVED_TAG },
                exp_cmd_sn: common.numbers.exp_cmd_sn,
                max_cmd_sn: common.numbers.max_cmd_sn,
                data_sn,
                offset,
                data: Bytes::new(),
            }
            .header();
            common.put(header, &slices);
            if let Some(replay) = &mut common.replay {
                let stat_sn = common.numbers.stat_sn;
                replay.keep_data(KeptData { stat_sn, header, parts: std::mem::take(&mut slices) });
            }
            offset += segment;
            data_sn += 1;
        }
        if keeps {
            self.status(common, Asker { sent: data_sn, ..asker }, Status::GOOD, Bytes::new(), total);
        }
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

/// Why a command cannot be done at this moment.
enum Interrupted {
    /// Something was posted to the session; it comes first.
    Events,
    /// The session has nothing to stand on any more.
    Lost(&'static str),
}

/// Asked with the array's lock held, right before a command's work: nothing that was posted before can be overtaken.
fn interrupted(common: &Common, array: &Array) -> Option<Interrupted> {
    if common.mailbox.is_pending() {
        return Some(Interrupted::Events);
    }
    common.lost(array).map(Interrupted::Lost)
}

/// How much unsolicited data a command may bring.
fn first_burst(common: &Common, params: &crate::negotiate::Params) -> u32 {
    if common.config.defects.first_burst_ignored { u32::MAX } else { params.first_burst }
}

/// Commands of a shape that no unit here has: additional header segments, data in both directions.
fn refused_shape(command: &ScsiCommand) -> Option<Sense> {
    let asc = match ahs::walk(&command.ahs) {
        Some(kinds) => ahs::refusal(&kinds),
        None => Some(Asc::INVALID_FIELD_IN_CDB),
    };
    let asc = asc.or((command.read && command.write).then_some(Asc::INVALID_FIELD_IN_CDB));
    asc.map(|asc| Sense::new(SenseKey::ILLEGAL_REQUEST, asc))
}

/// Immediate and announced unsolicited data against what was negotiated (RFC 7143 sections 11.3, 13.10, 13.11).
fn unexpected_data(
    params: &crate::negotiate::Params,
    command: &ScsiCommand,
    first_burst: u32,
) -> Option<Sense> {
    let length = command.data.len() as u64;
    let too_much = length > u64::from(first_burst) || length > u64::from(command.expected_length);
    let not_allowed = length > 0 && (!params.immediate_data || !command.write || too_much);
    let announced = !command.last && (!command.write || params.initial_r2t);
    (not_allowed || announced)
        .then(|| Sense::new(SenseKey::ABORTED_COMMAND, Asc::UNEXPECTED_UNSOLICITED_DATA))
}

fn internal_failure() -> Sense {
    Sense::new(SenseKey::HARDWARE_ERROR, Asc::INTERNAL_TARGET_FAILURE)
}

/// Walks over data in parts without copying it.
struct Cursor<'a> {
    parts: &'a [Bytes],
    part: usize,
    offset: usize,
}

impl Cursor<'_> {
    fn take(&mut self, mut count: usize, into: &mut Vec<Bytes>) {
        while count > 0
            && let Some(part) = self.parts.get(self.part)
        {
            let n = count.min(part.len() - self.offset);
            if n > 0 {
                into.push(part.slice(self.offset..self.offset + n));
            }
            count -= n;
            self.offset += n;
            if self.offset == part.len() {
                self.part += 1;
                self.offset = 0;
            }
        }
    }
}
