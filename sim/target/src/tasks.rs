//! SCSI commands and their data: immediate and unsolicited data, R2T, Data-In, status (RFC 7143 sections 4.2.4, 11.3 to 11.8).

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use sanbench_array::DeviceId;
use sanbench_wire::bhs::RESERVED_TAG;
use sanbench_wire::frame::RawPdu;
use sanbench_wire::pdu::{
    DataIn, DataInStatus, DataOut, R2t, RejectReason, Residual, ResponseCode, ScsiCommand, ScsiResponse,
};
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::sense::{Asc, Sense, SenseKey};
use sanbench_wire::scsi::status::Status;
use sanbench_world::Fault;
use serde_json::json;

use crate::full::Full;
use crate::scsi::{self, Outcome};
use crate::session::Common;

/// A burst of data that was asked for.
#[derive(Debug)]
struct Burst {
    ttt: u32,
    next: u32,
    end: u32,
    data_sn: u32,
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
    /// Bytes that came or were skipped as unsolicited data (may exceed `length` when the initiator announced too much).
    seen: u32,
    /// How far data was asked for.
    asked: u32,
    bursts: VecDeque<Burst>,
    r2t_sn: u32,
    mute: bool,
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
        if let Some(sense) = unexpected_data(&self.params, &command) {
            return self.reply(common, now, asker, Err(sense), 0);
        }
        let outcome = scsi::begin(&mut common.array.lock(), now, nexus, command.lun, &command.cdb);
        match outcome {
            Outcome::Good(data) => {
                // Data to send has no room in a PDU that does not announce a read.
                let room = if command.read || data.is_empty() { expected } else { 0 };
                let asker = Asker { expected: room, ..asker };
                self.reply(common, now, asker, Ok(data), 0);
            }
            Outcome::Check(sense) => self.reply(common, now, asker, Err(sense), 0),
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
            seen,
            asked: 0,
            bursts: VecDeque::new(),
            r2t_sn: 0,
            mute: asker.mute,
        };
        if task.unsolicited.is_none() && immediate.len() == length as usize {
            // The whole write in one PDU: no copy on the way to the array.
            return self.complete(common, now, &task, immediate);
        }
        task.data.extend_from_slice(immediate);
        self.tasks.push(task);
        self.solicit(common);
    }

    /// Does the work of a write whose data is complete, and answers.
    fn complete(&mut self, common: &mut Common, now: Duration, task: &WriteTask, data: &[u8]) {
        let Some(nexus) = &self.nexus else { return };
        let done = scsi::finish(&mut common.array.lock(), now, nexus, task.lun, task.device, &task.cdb, data);
        let asker = task.asker();
        self.reply(common, now, asker, done, task.wanted);
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
                let r2t = R2t {
                    lun: task.lun,
                    itt: task.itt,
                    ttt,
                    stat_sn: common.numbers.stat_sn,
                    exp_cmd_sn: common.numbers.exp_cmd_sn,
                    max_cmd_sn: common.numbers.max_cmd_sn,
                    r2t_sn: task.r2t_sn,
                    offset: from,
                    length: burst,
                };
                task.r2t_sn += 1;
                task.asked = from + burst;
                task.bursts.push_back(Burst { ttt, next: from, end: from + burst, data_sn: 0 });
                common.send(r2t);
            }
        }
    }

    /// SCSI Data-Out. Data for a task that has ended meanwhile is thrown away.
    pub(crate) fn data_out(&mut self, common: &mut Common, now: Duration, data: DataOut, raw: &RawPdu) {
        let Some(at) = self.tasks.iter().position(|task| task.itt == data.itt) else { return };
        let task = &mut self.tasks[at];
        let taken = if data.ttt == RESERVED_TAG {
            task.take_unsolicited(&data, self.params.first_burst)
        } else if task.bursts.iter().all(|burst| burst.ttt != data.ttt) {
            common.reject(RejectReason::INVALID_FIELD, &raw.bhs);
            Err(Asc::PROTOCOL_SERVICE_CRC_ERROR)
        } else {
            task.take_solicited(&data)
        };
        if let Err(asc) = taken {
            return self.break_task(common, data.itt, asc);
        }
        if task.unsolicited.is_none() && task.data.len() == task.length as usize {
            let mut task = self.tasks.remove(at);
            let data = std::mem::take(&mut task.data);
            self.complete(common, now, &task, &data);
        }
        self.solicit(common);
    }

    /// Ends a task whose data went wrong: ABORTED COMMAND (RFC 7143 section 11.4.7.2).
    pub(crate) fn break_task(&mut self, common: &mut Common, itt: u32, asc: Asc) {
        let Some(at) = self.tasks.iter().position(|task| task.itt == itt) else { return };
        let asker = self.tasks.remove(at).asker();
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
        done: Result<Vec<Bytes>, Sense>,
        moved: u64,
    ) {
        common.numbers.open_window(common.config.queue_depth, self.tasks.len());
        if common.config.trace_commands {
            self.trace(common, asker, &done);
        }
        let done = match common.around.fault("target.command.after") {
            None => done,
            Some(Fault::Fail) => Err(internal_failure()),
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
            Err(sense) => self.check_condition(common, asker, sense, moved),
        }
    }

    fn trace(&self, common: &mut Common, asker: Asker, done: &Result<Vec<Bytes>, Sense>) {
        let initiator = &self.initiator;
        common.around.note("scsi", &|| {
            let result = match done {
                Ok(_) => "GOOD".to_owned(),
                Err(sense) => sense.to_string(),
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
        let bytes = Bytes::copy_from_slice(&sense.build_fixed());
        self.status(common, asker, Status::CHECK_CONDITION, bytes, moved);
    }

    fn status(&mut self, common: &mut Common, asker: Asker, status: Status, sense: Bytes, moved: u64) {
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
            let status = end.then(|| DataInStatus {
                status: Status::GOOD,
                stat_sn: common.numbers.take_stat(),
                residual,
            });
            let header = DataIn {
                last: sequence_ends,
                acknowledge: false,
                status,
                lun: Lun::ZERO,
                itt: asker.itt,
                ttt: RESERVED_TAG,
                exp_cmd_sn: common.numbers.exp_cmd_sn,
                max_cmd_sn: common.numbers.max_cmd_sn,
                data_sn,
                offset,
                data: Bytes::new(),
            }
            .header();
            common.out.push_parts(header, &[], &slices, common.digests);
            offset += segment;
            data_sn += 1;
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

    /// Bytes that the task holds or has asked for.
    fn reserved(&self) -> usize {
        self.data.len().max(self.asked as usize)
    }

    fn take_unsolicited(&mut self, data: &DataOut, first_burst: u32) -> Result<(), Asc> {
        let Some(expected_sn) = self.unsolicited else { return Err(Asc::UNEXPECTED_UNSOLICITED_DATA) };
        if data.data_sn != expected_sn || data.offset != self.seen {
            return Err(Asc::PROTOCOL_SERVICE_CRC_ERROR);
        }
        let end = u64::from(self.seen) + data.data.len() as u64;
        if end > u64::from(self.expected.min(first_burst)) {
            return Err(Asc::UNEXPECTED_UNSOLICITED_DATA);
        }
        let room = (self.length as usize).saturating_sub(self.data.len());
        self.data.extend_from_slice(&data.data[..data.data.len().min(room)]);
        self.seen = end as u32;
        self.unsolicited = (!data.last).then_some(expected_sn + 1);
        Ok(())
    }

    fn take_solicited(&mut self, data: &DataOut) -> Result<(), Asc> {
        // Bursts are answered in order (DataSequenceInOrder=Yes), and within a burst so is the data.
        let Some(burst) = self.bursts.front_mut().filter(|burst| burst.ttt == data.ttt) else {
            return Err(Asc::PROTOCOL_SERVICE_CRC_ERROR);
        };
        let end = u64::from(burst.next) + data.data.len() as u64;
        let in_order = data.data_sn == burst.data_sn && data.offset == burst.next;
        // A sequence ends exactly with its F bit.
        if !in_order || end > u64::from(burst.end) || (end == u64::from(burst.end)) != data.last {
            return Err(Asc::PROTOCOL_SERVICE_CRC_ERROR);
        }
        burst.next = end as u32;
        burst.data_sn += 1;
        self.data.extend_from_slice(&data.data);
        if data.last {
            self.bursts.pop_front();
        }
        Ok(())
    }
}

/// Immediate and announced unsolicited data against what was negotiated (RFC 7143 sections 11.3, 13.10, 13.11).
fn unexpected_data(params: &crate::negotiate::Params, command: &ScsiCommand) -> Option<Sense> {
    let length = command.data.len() as u64;
    let too_much = length > u64::from(params.first_burst) || length > u64::from(command.expected_length);
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
