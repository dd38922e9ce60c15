//! SCSI commands and their answers: Data-In, status, sense (RFC 7143 sections 4.2.4, 11.3, 11.4 and 11.7).

use std::time::Duration;

use bytes::Bytes;
use sanbench_array::Array;
use sanbench_wire::bhs::RESERVED_TAG;
use sanbench_wire::frame::RawPdu;
use sanbench_wire::pdu::{DataIn, DataInStatus, Residual, ResponseCode, ScsiCommand, ScsiResponse};
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::sense::{Asc, Sense, SenseKey};
use sanbench_wire::scsi::status::Status;
use sanbench_world::Fault;
use serde_json::json;

use crate::ahs;
use crate::common::{Common, Loss};
use crate::full::Full;
use crate::limit::toll;
use crate::recovery::KeptData;
use crate::scsi::{self, Failure, Outcome};

/// What an answer needs to know about its command.
#[derive(Clone, Copy)]
pub(crate) struct Asker {
    pub(crate) itt: u32,
    pub(crate) lun: Lun,
    pub(crate) opcode: u8,
    /// Expected data transfer length in the direction that the command moves data, bytes.
    pub(crate) expected: u32,
    /// Data-In and R2T PDUs that were sent for the command.
    pub(crate) sent: u32,
    pub(crate) mute: bool,
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
                None => {
                    let before = array.promised();
                    let outcome = scsi::begin(&mut array, now, nexus, command.lun, &command.cdb, expected);
                    let promise = scsi::promise_since(&array, before, nexus, command.lun);
                    let moved = match &outcome {
                        Outcome::Good(data) if array.limits_traffic() => {
                            data.iter().map(|part| part.len() as u64).sum()
                        }
                        _ => 0,
                    };
                    let what = (command.lun, command.cdb[0]);
                    let toll = (moved > 0).then(|| toll(&mut array, now, nexus, what, moved)).flatten();
                    let tickets = array.take_tickets();
                    // Only a command with a unit behind it has tickets.
                    let unit = scsi::resolve(&array, nexus, command.lun).filter(|_| !tickets.is_empty());
                    let mirrored = unit.map(|unit| (unit.device, tickets));
                    Ok((outcome, toll, promise, mirrored))
                }
            }
        };
        let (outcome, toll, promise, mirrored) = match outcome {
            Ok(outcome) => outcome,
            Err(Interrupted::Lost(how)) => return self.part(common, how),
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
                let then = (promise, toll);
                match (mirrored, promise) {
                    (Some(mirrored), _) => {
                        self.reply_in_time(common, now, mirrored, then, asker, (Ok(data), 0));
                    }
                    (None, None) => self.reply_after(common, now, toll, asker, (Ok(data), 0)),
                    (None, Some(promise)) => {
                        self.reply_when_kept(common, now, promise, toll, asker, (Ok(data), 0));
                    }
                }
            }
            Outcome::Failed(failure) => self.reply(common, now, asker, Err(failure), 0),
            Outcome::NeedData(wanted) => self.start_write(common, now, command, asker, wanted),
        }
    }

    /// A limit is hit: TASK SET FULL for a nexus whose commands are part of it, else BUSY (SAM-5 clause 5.3.1).
    pub(crate) fn too_busy(&mut self, common: &mut Common, asker: Asker) {
        let status = if self.tasks.is_empty() { Status::BUSY } else { Status::TASK_SET_FULL };
        self.status(common, asker, status, Bytes::new(), 0);
    }

    /// The fault plan says that this command fails without doing its work.
    pub(crate) fn fail_command(&mut self, common: &mut Common, now: Duration, raw: &RawPdu) {
        self.refuse_command(common, now, raw, internal_failure().into());
    }

    /// Answers a command, whose turn it is, without doing its work.
    pub(crate) fn refuse_command(
        &mut self,
        common: &mut Common,
        now: Duration,
        raw: &RawPdu,
        failure: Failure,
    ) {
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
        match failure {
            Failure::Check(sense) => self.check_condition(common, asker, sense, 0),
            Failure::Status(status) => self.status(common, asker, status, Bytes::new(), 0),
        }
        self.go_on(common, now);
    }

    /// Answers a command that has done its work. `moved` is what a write's CDB asked for, bytes.
    pub(crate) fn reply(
        &mut self,
        common: &mut Common,
        now: Duration,
        asker: Asker,
        done: Result<Vec<Bytes>, Failure>,
        moved: u64,
    ) {
        common.numbers.open_window(common.config.queue_depth, self.outstanding());
        if common.config.trace_commands && done.is_ok() {
            self.tell(common, asker, Status::GOOD, None);
        }
        let done = match common.around.fault("target.command.after") {
            None => done,
            Some(Fault::Fail | Fault::Answer(_) | Fault::Message(_)) => Err(internal_failure().into()),
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

    /// A line of the history about an answer.
    fn tell(&self, common: &mut Common, asker: Asker, status: Status, sense: Option<&Sense>) {
        let initiator = &self.initiator;
        common.around.note("scsi", &|| {
            let (lun, opcode) = (asker.lun.number(), asker.opcode);
            let mut note =
                json!({"initiator": initiator, "lun": lun, "opcode": opcode, "status": status.to_string()});
            if let Some(sense) = sense {
                let (key, asc) = (sense.key.0, sense.asc);
                note["sense"] = format!("{key:x}/{:02x}/{:02x}", asc.code(), asc.qualifier()).into();
            }
            note
        });
    }

    pub(crate) fn check_condition(&mut self, common: &mut Common, asker: Asker, sense: Sense, moved: u64) {
        if sense.key == SenseKey::UNIT_ATTENTION {
            let initiator = &self.initiator;
            common.around.note("iscsi", &|| {
                json!({"event": "unit_attention", "initiator": initiator, "lun": asker.lun.number(),
                    "asc": format!("{:02x}/{:02x}", sense.asc.code(), sense.asc.qualifier())})
            });
        }
        self.tell(common, asker, Status::CHECK_CONDITION, Some(&sense));
        let bytes = match &self.nexus {
            Some(nexus) => scsi::sense_bytes(&common.array.lock(), nexus, asker.lun, &sense),
            None => Bytes::copy_from_slice(&sense.build_fixed()),
        };
        self.status(common, asker, Status::CHECK_CONDITION, bytes, moved);
    }

    /// Sends a status. What is not GOOD is rare, and what a reader of the history looks for: it is always told.
    fn status(&mut self, common: &mut Common, asker: Asker, status: Status, sense: Bytes, moved: u64) {
        if !matches!(status, Status::GOOD | Status::CHECK_CONDITION) {
            self.tell(common, asker, status, None);
        }
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

/// Why a command cannot be done at this moment.
pub(crate) enum Interrupted {
    /// Something was posted to the session; it comes first.
    Events,
    /// The session has nothing to stand on any more.
    Lost(Loss),
}

/// Asked with the array's lock held, right before a command's work: nothing that was posted before can be overtaken.
pub(crate) fn interrupted(common: &Common, array: &Array) -> Option<Interrupted> {
    if common.mailbox.is_pending() {
        return Some(Interrupted::Events);
    }
    common.lost(array).map(Interrupted::Lost)
}

/// How much unsolicited data a command may bring.
pub(crate) fn first_burst(common: &Common, params: &crate::negotiate::Params) -> u32 {
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
