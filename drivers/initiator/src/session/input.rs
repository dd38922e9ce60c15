//! The session's side of what a target sends. Everything here is hostile until it has been checked.

use std::time::Duration;

use bytes::BytesMut;
use sanbench_wire::RawPdu;
use sanbench_wire::bhs::RESERVED_TAG;
use sanbench_wire::frame::{self, Decoded, FrameLimits};
use sanbench_wire::pdu::{
    DataIn, NopIn, NopOut, Pdu, R2t, Residual, ResponseCode, ScsiResponse, TaskFunction,
    TaskManagementResponse, TaskResponse,
};
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::sense::Sense;
use sanbench_wire::scsi::status::Status;

use super::{CommandEnd, Completion, Data, Event, Open, Session, Ticket, reached};
use crate::error::{ProtocolError, Rule};
use crate::sequence::Head;
use crate::tolerance::Tolerance;

/// Bytes that may wait for a target that does not read while it asks for echoes.
const MAX_ECHO: usize = 4 << 20;

impl Session {
    /// Takes whole PDUs from the front of `input` and acts on them.
    ///
    /// # Errors
    /// Whatever the target did against the protocol; the connection must be closed.
    pub fn handle_input(&mut self, now: Duration, input: &mut BytesMut) -> Result<(), ProtocolError> {
        let limits = FrameLimits {
            max_data_segment: self.parameters.recv_data_segment as usize,
            // No PDU of a target has additional headers that we could use.
            max_ahs: 0,
        };
        loop {
            match frame::decode(input, limits, self.parameters.digests)? {
                Decoded::NeedMore(_) => return Ok(()),
                Decoded::Pdu(raw) => {
                    self.heard = now;
                    // Any PDU proves that the target lives; a late answer to the ping is then harmless.
                    self.pinged = None;
                    self.handle_pdu(raw)?;
                }
            }
        }
    }

    fn handle_pdu(&mut self, raw: RawPdu) -> Result<(), ProtocolError> {
        if !raw.data_digest_ok {
            return Err(ProtocolError::DataDigest);
        }
        match Pdu::parse(&raw)? {
            Pdu::ScsiResponse(p) => self.scsi_response(p),
            Pdu::DataIn(p) => self.data_in(p),
            Pdu::R2t(p) => self.r2t(p),
            Pdu::NopIn(p) => self.nop_in(p),
            Pdu::TaskManagementResponse(p) => self.task_response(p),
            Pdu::TextResponse(p) => self.text_response(p),
            Pdu::LogoutResponse(p) => {
                self.numbers(Some(p.stat_sn), p.exp_cmd_sn, p.max_cmd_sn)?;
                match self.tasks.remove(p.itt) {
                    Some(Open::Logout) => {
                        let wait = Duration::from_secs(u64::from(p.time2wait));
                        self.events.push_back(Event::LoggedOut { response: p.response, wait });
                        Ok(())
                    }
                    other => self.misplaced(p.itt, other, "logout response"),
                }
            }
            Pdu::AsyncMessage(p) => self.announced(p),
            Pdu::Reject(p) => self.reject(p),
            Pdu::LoginResponse(_) => Err(ProtocolError::Unexpected("login response in full feature phase")),
            Pdu::NopOut(_)
            | Pdu::ScsiCommand(_)
            | Pdu::TaskManagementRequest(_)
            | Pdu::LoginRequest(_)
            | Pdu::TextRequest(_)
            | Pdu::DataOut(_)
            | Pdu::LogoutRequest(_)
            | Pdu::Snack(_) => Err(ProtocolError::Unexpected("initiator PDU from a target")),
        }
    }

    /// Sequence numbers that every PDU of a target carries (RFC 7143 section 4.2.2). `stat_sn` is given when the PDU
    /// advances it.
    #[inline]
    pub(super) fn numbers(
        &mut self,
        stat_sn: Option<u32>,
        exp_cmd_sn: u32,
        max_cmd_sn: u32,
    ) -> Result<(), ProtocolError> {
        if let Some(received) = stat_sn {
            if received != self.exp_stat_sn {
                return Err(ProtocolError::StatSn { expected: self.exp_stat_sn, received });
            }
            self.exp_stat_sn = received.wrapping_add(1);
        }
        // MaxCmdSN below ExpCmdSN - 1 makes both meaningless; numbers that go back are old news (section 4.2.2.1).
        if !reached(max_cmd_sn, exp_cmd_sn.wrapping_sub(1)) {
            return Ok(());
        }
        if reached(exp_cmd_sn, self.exp_cmd_sn) && reached(self.cmd_sn, exp_cmd_sn) {
            self.exp_cmd_sn = exp_cmd_sn;
        }
        if reached(max_cmd_sn, self.max_cmd_sn) {
            self.max_cmd_sn = max_cmd_sn;
            self.fill();
        }
        Ok(())
    }

    /// A PDU for a task that is not open, or is open as something else.
    fn misplaced(&mut self, itt: u32, other: Option<Open>, what: &'static str) -> Result<(), ProtocolError> {
        match other {
            Some(open) => {
                // The session is over; what became of this task is told with the others by `end`.
                self.tasks.put_back(itt, open);
                Err(ProtocolError::Unexpected(what))
            }
            None if self.tasks.was_aborted(itt) => {
                self.tolerated.note(Tolerance::LateAnswer);
                Ok(())
            }
            None => Err(ProtocolError::UnknownTask(itt)),
        }
    }

    pub(super) fn finish(&mut self, ticket: Ticket, end: CommandEnd) {
        self.commands = self.commands.saturating_sub(1);
        self.events.push_back(Event::Command(ticket, end));
        self.settled();
    }

    /// After a command ended: another one may start, or the logout that waited for it.
    pub(super) fn settled(&mut self) {
        if self.draining.is_some() && self.commands == 0 {
            self.logout();
        } else {
            self.fill();
        }
    }

    fn scsi_response(&mut self, p: ScsiResponse) -> Result<(), ProtocolError> {
        self.numbers(Some(p.stat_sn), p.exp_cmd_sn, p.max_cmd_sn)?;
        let (ticket, expected, data) = match self.tasks.remove(p.itt) {
            Some(Open::Command { ticket, expected, data, .. }) => (ticket, expected, data),
            other => return self.misplaced(p.itt, other, "SCSI response"),
        };
        if p.response != ResponseCode::COMPLETED {
            self.finish(ticket, CommandEnd::Failed(format!("service response: {}", p.response)));
            return Ok(());
        }
        if let Data::In(incoming) = &data
            && p.status == Status::GOOD
            && p.exp_data_sn > incoming.count()
        {
            self.events.push_back(Event::Command(ticket, CommandEnd::Lost));
            return Err(ProtocolError::Sequence(Rule::new("Data-In PDUs are missing", "11.4.8")));
        }
        let sense = if p.status == Status::CHECK_CONDITION { Sense::parse(&p.sense) } else { None };
        self.complete(ticket, expected, data, p.status, sense, p.residual);
        Ok(())
    }

    fn complete(
        &mut self,
        ticket: Ticket,
        expected: u32,
        data: Data,
        status: Status,
        sense: Option<Sense>,
        residual: Residual,
    ) {
        let moved = match residual {
            Residual::Underflow(n) => expected.checked_sub(n),
            Residual::None | Residual::Overflow(_) => Some(expected),
        };
        // For GOOD status the residual must be exact (section 11.4.5); with CHECK CONDITION less may have moved. Of a write the
        // target cannot have used more than was sent.
        let exact = status != Status::GOOD
            || match &data {
                Data::In(incoming) => moved == Some(incoming.received()),
                Data::Out(outgoing) => moved.is_some_and(|m| m <= outgoing.sent()),
                Data::None => moved.is_some(),
            };
        match status {
            Status::TASK_SET_FULL => self.throttle(),
            Status::GOOD => self.relax(),
            _ => {}
        }
        let end = if exact {
            let data = match data {
                Data::In(incoming) => incoming.into_parts(),
                Data::Out(_) | Data::None => Vec::new(),
            };
            CommandEnd::Completed(Completion { status, sense, data, residual })
        } else {
            CommandEnd::Failed("residual count does not fit the data that moved".to_owned())
        };
        self.finish(ticket, end);
    }

    fn data_in(&mut self, p: DataIn) -> Result<(), ProtocolError> {
        let status = p.status;
        self.numbers(status.map(|s| s.stat_sn), p.exp_cmd_sn, p.max_cmd_sn)?;
        let itt = p.itt;
        let Some(Open::Command { data: Data::In(incoming), .. }) = self.tasks.get_mut(itt) else {
            let other = self.tasks.remove(itt);
            return self.misplaced(itt, other, "Data-In for a task that reads nothing");
        };
        if status.is_some() && !p.last {
            return Err(ProtocolError::Sequence(Rule::new(
                "status in a Data-In that is not final",
                "11.7.3",
            )));
        }
        if p.acknowledge {
            self.tolerated.note(Tolerance::AcknowledgeAsked);
        }
        if incoming.take(p, &self.parameters)? {
            self.tolerated.note(Tolerance::LongDataIn);
        }
        if let Some(s) = status {
            if s.status == Status::CHECK_CONDITION {
                return Err(ProtocolError::Sequence(Rule::new("CHECK CONDITION in a Data-In", "11.7.3")));
            }
            if let Some(Open::Command { ticket, expected, data, .. }) = self.tasks.remove(itt) {
                self.complete(ticket, expected, data, s.status, None, s.residual);
            }
        }
        Ok(())
    }

    fn r2t(&mut self, p: R2t) -> Result<(), ProtocolError> {
        self.numbers(None, p.exp_cmd_sn, p.max_cmd_sn)?;
        let Some(Open::Command { lun, data: Data::Out(outgoing), .. }) = self.tasks.get_mut(p.itt) else {
            let other = self.tasks.remove(p.itt);
            return self.misplaced(p.itt, other, "R2T for a task that writes nothing");
        };
        if *lun != p.lun {
            return Err(ProtocolError::Sequence(Rule::new("R2T for another LUN than the task's", "11.7.4")));
        }
        let (from, to) = outgoing.solicit(&p, &self.parameters, self.out.taken())?;
        if self.closing {
            // Nothing may follow a logout request (section 11.14).
            return Ok(());
        }
        let head = Head { lun: p.lun, itt: p.itt, ttt: p.ttt, exp_stat_sn: self.exp_stat_sn };
        let limit = self.parameters.send_data_segment;
        outgoing.emit(&mut self.out, self.parameters.digests, limit, &head, from, to);
        outgoing.answered(self.out.taken() + self.out.len() as u64);
        Ok(())
    }

    fn nop_in(&mut self, p: NopIn) -> Result<(), ProtocolError> {
        if p.itt != RESERVED_TAG {
            // The answer to a ping of ours.
            self.numbers(Some(p.stat_sn), p.exp_cmd_sn, p.max_cmd_sn)?;
            return match self.tasks.remove(p.itt) {
                Some(Open::Ping) => Ok(()),
                other => self.misplaced(p.itt, other, "NOP-In"),
            };
        }
        self.numbers(None, p.exp_cmd_sn, p.max_cmd_sn)?;
        if p.ttt == RESERVED_TAG || self.closing {
            return Ok(());
        }
        // A flood of pings is bounded by what the target takes of the answers.
        if self.out.len() > MAX_ECHO {
            return Err(ProtocolError::Limit("answers to pings that the target does not read"));
        }
        let mut data = p.data;
        if !data.is_empty() {
            self.tolerated.note(Tolerance::PingWithData);
            data.truncate(self.parameters.send_data_segment as usize);
        }
        let pdu = NopOut {
            immediate: true,
            lun: p.lun,
            itt: RESERVED_TAG,
            ttt: p.ttt,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
            data,
        };
        self.send(pdu.into());
        Ok(())
    }

    fn task_response(&mut self, p: TaskManagementResponse) -> Result<(), ProtocolError> {
        self.numbers(Some(p.stat_sn), p.exp_cmd_sn, p.max_cmd_sn)?;
        match self.tasks.remove(p.itt) {
            Some(Open::Manage { ticket, function, lun, referenced }) => {
                if p.response == TaskResponse::COMPLETE {
                    self.managed(function, lun, referenced);
                }
                self.events.push_back(Event::Managed(ticket, p.response));
                Ok(())
            }
            other => self.misplaced(p.itt, other, "task management response"),
        }
    }

    /// Ends the tasks that a completed function ended at the target.
    fn managed(&mut self, function: TaskFunction, lun: Lun, referenced: u32) {
        self.end_tasks(|itt, l| match function {
            TaskFunction::ABORT_TASK => itt == referenced,
            TaskFunction::ABORT_TASK_SET
            | TaskFunction::CLEAR_TASK_SET
            | TaskFunction::LOGICAL_UNIT_RESET => l == lun,
            TaskFunction::TARGET_WARM_RESET | TaskFunction::TARGET_COLD_RESET => true,
            _ => false,
        });
    }

    /// Ends commands as aborted.
    pub(super) fn end_tasks(&mut self, which: impl Fn(u32, Lun) -> bool) {
        let ended: Vec<u32> = self
            .tasks
            .iter()
            .filter(|(itt, open)| matches!(open, Open::Command { lun, .. } if which(*itt, *lun)))
            .map(|(itt, _)| itt)
            .collect();
        for itt in ended {
            if let Some(Open::Command { ticket, .. }) = self.tasks.abort(itt) {
                self.finish(ticket, CommandEnd::Aborted);
            }
        }
    }
}
