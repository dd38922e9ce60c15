//! The session's side of what a target sends. Everything here is hostile until it has been checked.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sanbench_wire::bhs::RESERVED_TAG;
use sanbench_wire::frame::{self, Decoded, FrameLimits};
use sanbench_wire::pdu::{
    DataIn, NopIn, NopOut, Pdu, R2t, Reject, RejectReason, Residual, ResponseCode, ScsiResponse,
    TaskFunction, TaskResponse, TextResponse,
};
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::sense::Sense;
use sanbench_wire::scsi::status::Status;
use sanbench_wire::{Bhs, RawPdu};

use super::{CommandEnd, Completion, Data, Event, Open, Session, Ticket, reached};
use crate::error::ProtocolError;
use crate::sequence::Head;

/// Text of one discovery at most, bytes.
const MAX_TEXT: usize = 1 << 20;
/// Text responses of one discovery at most.
const MAX_TEXT_PDUS: u32 = 4096;
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
            Pdu::TaskManagementResponse(p) => {
                self.numbers(Some(p.stat_sn), p.exp_cmd_sn, p.max_cmd_sn)?;
                match self.open.remove(&p.itt) {
                    Some(Open::Manage { ticket, function, lun, referenced }) => {
                        if p.response == TaskResponse::COMPLETE {
                            self.managed(function, lun, referenced);
                        }
                        self.events.push_back(Event::Managed(ticket, p.response));
                        Ok(())
                    }
                    other => Err(self.misplaced(p.itt, other, "task management response")),
                }
            }
            Pdu::TextResponse(p) => self.text_response(p),
            Pdu::LogoutResponse(p) => {
                self.numbers(Some(p.stat_sn), p.exp_cmd_sn, p.max_cmd_sn)?;
                match self.open.remove(&p.itt) {
                    Some(Open::Logout) => {
                        self.events.push_back(Event::LoggedOut(p.response));
                        Ok(())
                    }
                    other => Err(self.misplaced(p.itt, other, "logout response")),
                }
            }
            Pdu::AsyncMessage(p) => {
                self.numbers(Some(p.stat_sn), p.exp_cmd_sn, p.max_cmd_sn)?;
                self.events.push_back(Event::Announced(p.event));
                Ok(())
            }
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
    fn numbers(
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

    fn misplaced(&mut self, itt: u32, other: Option<Open>, what: &'static str) -> ProtocolError {
        match other {
            Some(_) => ProtocolError::Unexpected(what),
            None => ProtocolError::UnknownTask(itt),
        }
    }

    fn finish(&mut self, ticket: Ticket, end: CommandEnd) {
        self.commands = self.commands.saturating_sub(1);
        self.events.push_back(Event::Command(ticket, end));
        self.fill();
    }

    fn scsi_response(&mut self, p: ScsiResponse) -> Result<(), ProtocolError> {
        self.numbers(Some(p.stat_sn), p.exp_cmd_sn, p.max_cmd_sn)?;
        let (ticket, expected, data) = match self.open.remove(&p.itt) {
            Some(Open::Command { ticket, expected, data, .. }) => (ticket, expected, data),
            other => return Err(self.misplaced(p.itt, other, "SCSI response")),
        };
        if p.response != ResponseCode::COMPLETED {
            self.finish(ticket, CommandEnd::Failed(format!("service response: {}", p.response)));
            return Ok(());
        }
        if let Data::In(incoming) = &data
            && p.status == Status::GOOD
            && p.exp_data_sn > incoming.count()
        {
            return Err(ProtocolError::Sequence("Data-In PDUs are missing"));
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
        // For GOOD status the residual must be exact (section 11.4.5); with CHECK CONDITION less may have moved.
        let exact = status != Status::GOOD
            || match &data {
                Data::In(incoming) => moved == Some(incoming.received()),
                Data::Out(_) | Data::None => moved.is_some(),
            };
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
        let stat_sn = p.status.map(|s| s.stat_sn);
        self.numbers(stat_sn, p.exp_cmd_sn, p.max_cmd_sn)?;
        let itt = p.itt;
        let Some(Open::Command { data: Data::In(incoming), .. }) = self.open.get_mut(&itt) else {
            let other = self.open.remove(&itt);
            return Err(self.misplaced(itt, other, "Data-In for a task that reads nothing"));
        };
        if p.status.is_some() && !p.last {
            return Err(ProtocolError::Sequence("status in a Data-In that is not final"));
        }
        let status = p.status;
        incoming.take(p, &self.parameters)?;
        if let Some(s) = status {
            if s.status == Status::CHECK_CONDITION {
                return Err(ProtocolError::Sequence("CHECK CONDITION in a Data-In"));
            }
            if let Some(Open::Command { ticket, expected, data, .. }) = self.open.remove(&itt) {
                self.complete(ticket, expected, data, s.status, None, s.residual);
            }
        }
        Ok(())
    }

    fn r2t(&mut self, p: R2t) -> Result<(), ProtocolError> {
        self.numbers(None, p.exp_cmd_sn, p.max_cmd_sn)?;
        let Some(Open::Command { data: Data::Out(outgoing), .. }) = self.open.get_mut(&p.itt) else {
            let other = self.open.remove(&p.itt);
            return Err(self.misplaced(p.itt, other, "R2T for a task that writes nothing"));
        };
        let (from, to) = outgoing.solicit(&p, &self.parameters)?;
        let head = Head { lun: p.lun, itt: p.itt, ttt: p.ttt, exp_stat_sn: self.exp_stat_sn };
        let limit = self.parameters.send_data_segment;
        outgoing.emit(&mut self.out, self.parameters.digests, limit, &head, from, to);
        Ok(())
    }

    fn nop_in(&mut self, p: NopIn) -> Result<(), ProtocolError> {
        if p.itt != RESERVED_TAG {
            // The answer to a ping of ours.
            self.numbers(Some(p.stat_sn), p.exp_cmd_sn, p.max_cmd_sn)?;
            return match self.open.remove(&p.itt) {
                Some(Open::Ping) => Ok(()),
                other => Err(self.misplaced(p.itt, other, "NOP-In")),
            };
        }
        self.numbers(None, p.exp_cmd_sn, p.max_cmd_sn)?;
        if p.ttt != RESERVED_TAG && !self.closing {
            // A flood of pings is bounded by what the target takes of the answers.
            if self.out.len() > MAX_ECHO {
                return Err(ProtocolError::Limit("answers to pings that the target does not read"));
            }
            let pdu = NopOut {
                immediate: true,
                lun: p.lun,
                itt: RESERVED_TAG,
                ttt: p.ttt,
                cmd_sn: self.cmd_sn,
                exp_stat_sn: self.exp_stat_sn,
                data: p.data,
            };
            self.send(pdu.into());
        }
        Ok(())
    }

    fn text_response(&mut self, p: TextResponse) -> Result<(), ProtocolError> {
        self.numbers(Some(p.stat_sn), p.exp_cmd_sn, p.max_cmd_sn)?;
        let Some(Open::Text { text, pdus, .. }) = self.open.get_mut(&p.itt) else {
            let other = self.open.remove(&p.itt);
            return Err(self.misplaced(p.itt, other, "text response"));
        };
        *pdus += 1;
        if text.len() + p.text.len() > MAX_TEXT || *pdus > MAX_TEXT_PDUS {
            return Err(ProtocolError::Limit("text of one exchange"));
        }
        text.extend_from_slice(&p.text);
        if p.last && !p.continues {
            if let Some(Open::Text { ticket, text, .. }) = self.open.remove(&p.itt) {
                self.events.push_back(Event::Text(ticket, text.freeze()));
            }
            return Ok(());
        }
        if p.ttt == RESERVED_TAG {
            return Err(ProtocolError::Unexpected("text that goes on without a transfer tag"));
        }
        self.send_text(p.itt, p.ttt, p.lun, Bytes::new());
        Ok(())
    }

    fn reject(&mut self, p: Reject) -> Result<(), ProtocolError> {
        self.numbers(Some(p.stat_sn), p.exp_cmd_sn, p.max_cmd_sn)?;
        let Some(header) = p.header.first_chunk::<48>() else {
            return Err(ProtocolError::Rejected(p.reason));
        };
        let itt = Bhs(*header).itt();
        match (p.reason, self.open.get(&itt)) {
            // The target goes on to end the task with CHECK CONDITION (section 7.8); the command's own limit covers it
            // if it does not.
            (RejectReason::DATA_DIGEST, _) => Ok(()),
            (_, Some(Open::Ping)) => {
                self.open.remove(&itt);
                Ok(())
            }
            (_, Some(Open::Manage { ticket, .. })) => {
                let ticket = *ticket;
                self.open.remove(&itt);
                self.events.push_back(Event::Managed(ticket, TaskResponse::REJECTED));
                Ok(())
            }
            (
                RejectReason::NOT_SUPPORTED | RejectReason::INVALID_FIELD,
                Some(Open::Command { ticket, .. }),
            ) => {
                let ticket = *ticket;
                self.open.remove(&itt);
                self.finish(ticket, CommandEnd::Failed(format!("rejected: {}", p.reason)));
                Ok(())
            }
            _ => Err(ProtocolError::Rejected(p.reason)),
        }
    }

    /// Ends the tasks that a completed function ended at the target.
    fn managed(&mut self, function: TaskFunction, lun: Lun, referenced: u32) {
        let ended: Vec<u32> = self
            .open
            .iter()
            .filter(|(itt, open)| match open {
                Open::Command { lun: l, .. } => match function {
                    TaskFunction::ABORT_TASK => **itt == referenced,
                    TaskFunction::LOGICAL_UNIT_RESET => *l == lun,
                    _ => false,
                },
                _ => false,
            })
            .map(|(itt, _)| *itt)
            .collect();
        for itt in ended {
            if let Some(Open::Command { ticket, .. }) = self.open.remove(&itt) {
                self.finish(ticket, CommandEnd::Aborted);
            }
        }
    }
}
