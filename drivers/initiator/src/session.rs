//! The full feature phase of a session with one connection, as a value (RFC 7143 sections 4.2 and 11).
//!
//! Order of calls: commands go in by [`Session::submit`], [`Session::manage`], [`Session::text`] and
//! [`Session::logout`]; bytes by [`Session::handle_input`]; time by [`Session::handle_timeout`] at
//! [`Session::next_timeout`]. Then drain [`Session::outbox`] and [`Session::poll_event`]. An error of either `handle_*` is final:
//! at error recovery level 0 the connection ends and every open task with it (section 7.1.5).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sanbench_wire::bhs::RESERVED_TAG;
use sanbench_wire::frame::{self, Decoded, FrameLimits};
use sanbench_wire::pdu::{
    AsyncEvent, DataIn, LogoutReason, LogoutRequest, LogoutResponseCode, NopIn, NopOut, Pdu, R2t, Reject,
    RejectReason, Residual, ResponseCode, ScsiCommand, ScsiResponse, TaskAttribute, TaskFunction,
    TaskManagementRequest, TaskResponse, TextRequest, TextResponse,
};
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::sense::Sense;
use sanbench_wire::scsi::status::Status;
use sanbench_wire::{Bhs, Outbox, RawPdu};

use crate::error::ProtocolError;
use crate::login::LoggedIn;
use crate::negotiate::Parameters;
use crate::sequence::{Head, Incoming, Outgoing, opening};

/// Text of one discovery at most, bytes.
const MAX_TEXT: usize = 1 << 20;
/// Text responses of one discovery at most.
const MAX_TEXT_PDUS: u32 = 4096;

/// The caller's name for something it asked for. Never reused within a session.
pub type Ticket = u64;

/// A SCSI command to be run.
#[derive(Clone, Debug)]
pub struct Request {
    /// Logical unit.
    pub lun: Lun,
    /// CDB.
    pub cdb: [u8; 16],
    /// What moves.
    pub data: Transfer,
}

/// Data direction of a command.
#[derive(Clone, Debug)]
pub enum Transfer {
    /// Nothing.
    None,
    /// At most this many bytes come in.
    In(u32),
    /// These bytes go out.
    Out(Bytes),
}

/// How a command ended at the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// SCSI status.
    pub status: Status,
    /// Sense data of CHECK CONDITION.
    pub sense: Option<Sense>,
    /// Data that came in, in order.
    pub data: Vec<Bytes>,
    /// Difference to what was expected, bytes.
    pub residual: Residual,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandEnd {
    /// The device server answered.
    Completed(Completion),
    /// The target answered with a service failure or rejected the PDU; nothing is known of the effect.
    Failed(String),
    /// A task management function ended it: it will not be applied any later (SAM-5 clause 7.2).
    Aborted,
    /// It was withdrawn before it was sent.
    Withdrawn,
}

/// What the session tells its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A command ended.
    Command(Ticket, CommandEnd),
    /// A task management function was answered.
    Managed(Ticket, TaskResponse),
    /// A text exchange ended.
    Text(Ticket, Bytes),
    /// The target closed the session as asked, with its code.
    LoggedOut(LogoutResponseCode),
    /// The target announced something.
    Announced(AsyncEvent),
}

#[derive(Debug)]
enum Data {
    None,
    In(Incoming),
    Out(Outgoing),
}

#[derive(Debug)]
enum Open {
    Command { ticket: Ticket, lun: Lun, cmd_sn: u32, expected: u32, data: Data },
    Manage { ticket: Ticket, function: TaskFunction, lun: Lun, referenced: u32 },
    Text { ticket: Ticket, text: BytesMut, pdus: u32 },
    Logout,
    Ping,
}

/// Limits that the owner chooses.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Commands in flight at most.
    pub queue_depth: usize,
    /// Silence before a ping.
    pub ping_interval: Duration,
    /// Silence after a ping before the connection is given up.
    pub ping_timeout: Duration,
}

/// One session.
#[derive(Debug)]
pub struct Session {
    parameters: Parameters,
    limits: Limits,
    cmd_sn: u32,
    exp_cmd_sn: u32,
    max_cmd_sn: u32,
    exp_stat_sn: u32,
    next_itt: u32,
    commands: usize,
    open: BTreeMap<u32, Open>,
    backlog: VecDeque<(Ticket, Request)>,
    out: Outbox,
    events: VecDeque<Event>,
    heard: Duration,
    pinged: Option<Duration>,
    closing: bool,
}

/// `a` is after or equal to `b` in serial number arithmetic (RFC 1982).
fn reached(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) < 1 << 31
}

impl Session {
    /// Takes over after a login at `now`.
    pub fn new(login: LoggedIn, limits: Limits, now: Duration) -> Self {
        Self {
            parameters: login.parameters,
            limits,
            cmd_sn: login.cmd_sn,
            exp_cmd_sn: login.cmd_sn,
            max_cmd_sn: login.max_cmd_sn,
            exp_stat_sn: login.exp_stat_sn,
            next_itt: 1,
            commands: 0,
            open: BTreeMap::new(),
            backlog: VecDeque::new(),
            out: Outbox::new(),
            events: VecDeque::new(),
            heard: now,
            pinged: None,
            closing: false,
        }
    }

    /// The agreed parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Bytes to be sent.
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.out
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Commands open or waiting.
    pub fn busy(&self) -> usize {
        self.commands + self.backlog.len()
    }

    /// Queues a command; it goes out as soon as the window and the queue depth allow.
    pub fn submit(&mut self, ticket: Ticket, request: Request) {
        self.backlog.push_back((ticket, request));
        self.fill();
    }

    /// Withdraws a command that was not sent yet. `false`: it is at the target, abort it there.
    pub fn withdraw(&mut self, ticket: Ticket) -> bool {
        match self.backlog.iter().position(|(t, _)| *t == ticket) {
            Some(at) => {
                self.backlog.remove(at);
                self.events.push_back(Event::Command(ticket, CommandEnd::Withdrawn));
                true
            }
            None => false,
        }
    }

    /// Withdraws every command that was not sent yet.
    pub fn withdraw_all(&mut self) {
        for (ticket, _) in std::mem::take(&mut self.backlog) {
            self.events.push_back(Event::Command(ticket, CommandEnd::Withdrawn));
        }
    }

    /// Sends ABORT TASK for an open command (RFC 7143 section 11.5). `false`: the command is not open any more.
    pub fn abort(&mut self, ticket: Ticket, command: Ticket) -> bool {
        let found = self.open.iter().find_map(|(itt, open)| match open {
            Open::Command { ticket, lun, cmd_sn, .. } if *ticket == command => Some((*itt, *lun, *cmd_sn)),
            _ => None,
        });
        let Some((referenced, lun, ref_cmd_sn)) = found else { return false };
        self.manage(ticket, TaskFunction::ABORT_TASK, lun, referenced, ref_cmd_sn);
        true
    }

    /// Sends LOGICAL UNIT RESET.
    pub fn reset_lun(&mut self, ticket: Ticket, lun: Lun) {
        self.manage(ticket, TaskFunction::LOGICAL_UNIT_RESET, lun, RESERVED_TAG, 0);
    }

    fn manage(&mut self, ticket: Ticket, function: TaskFunction, lun: Lun, referenced: u32, ref_cmd_sn: u32) {
        let itt = self.itt();
        let pdu = TaskManagementRequest {
            immediate: true,
            function,
            lun,
            itt,
            referenced_itt: referenced,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
            ref_cmd_sn,
            exp_data_sn: 0,
        };
        self.send(pdu.into());
        self.open.insert(itt, Open::Manage { ticket, function, lun, referenced });
    }

    /// Starts a text exchange (discovery sessions).
    pub fn text(&mut self, ticket: Ticket, text: Bytes) {
        let itt = self.itt();
        self.open.insert(itt, Open::Text { ticket, text: BytesMut::new(), pdus: 0 });
        self.send_text(itt, RESERVED_TAG, Lun::ZERO, text);
    }

    fn send_text(&mut self, itt: u32, ttt: u32, lun: Lun, text: Bytes) {
        // Immediate, so that an exchange never waits for the window; there is at most one.
        let pdu = TextRequest {
            immediate: true,
            last: true,
            continues: false,
            lun,
            itt,
            ttt,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
            text,
        };
        self.send(pdu.into());
    }

    /// Asks the target to close the session. Nothing new is sent afterwards.
    pub fn logout(&mut self) {
        if self.closing {
            return;
        }
        self.closing = true;
        let itt = self.itt();
        let pdu = LogoutRequest {
            immediate: true,
            reason: LogoutReason::CLOSE_SESSION,
            itt,
            cid: 0,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
        };
        self.send(pdu.into());
        self.open.insert(itt, Open::Logout);
    }

    /// When [`Session::handle_timeout`] wants to be called. It may come late, and may be called early.
    pub fn next_timeout(&self) -> Duration {
        match self.pinged {
            Some(at) => at + self.limits.ping_timeout,
            None => self.heard + self.limits.ping_interval,
        }
    }

    /// Pings a silent target, and gives up one that does not answer.
    ///
    /// # Errors
    /// [`ProtocolError::PingTimeout`].
    pub fn handle_timeout(&mut self, now: Duration) -> Result<(), ProtocolError> {
        if now < self.next_timeout() {
            return Ok(());
        }
        if self.pinged.is_some() {
            return Err(ProtocolError::PingTimeout);
        }
        self.pinged = Some(now);
        if self.closing {
            // A logout is open; its answer is the sign of life.
            return Ok(());
        }
        let itt = self.itt();
        self.open.insert(itt, Open::Ping);
        let pdu = NopOut {
            immediate: true,
            lun: Lun::ZERO,
            itt,
            ttt: RESERVED_TAG,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
            data: Bytes::new(),
        };
        self.send(pdu.into());
        Ok(())
    }

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
            // The echo of a hostile flood of pings is bounded by what the peer takes: while it does not read, neither do we
            // answer more than a window's worth.
            if self.out.len() > 4 << 20 {
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

    fn itt(&mut self) -> u32 {
        // Tags are unique among open tasks, also after the counter wrapped.
        loop {
            let itt = self.next_itt;
            self.next_itt = self.next_itt.wrapping_add(1);
            if itt != RESERVED_TAG && !self.open.contains_key(&itt) {
                return itt;
            }
        }
    }

    fn send(&mut self, pdu: Pdu) {
        pdu.push_to(&mut self.out, self.parameters.digests);
    }

    /// Sends waiting commands while the CmdSN window and the queue depth allow (section 4.2.2.1).
    fn fill(&mut self) {
        while self.commands < self.limits.queue_depth
            && !self.closing
            && reached(self.max_cmd_sn, self.cmd_sn)
        {
            let Some((ticket, request)) = self.backlog.pop_front() else { return };
            self.start(ticket, request);
        }
    }

    fn start(&mut self, ticket: Ticket, request: Request) {
        let itt = self.itt();
        let cmd_sn = self.cmd_sn;
        self.cmd_sn = cmd_sn.wrapping_add(1);
        self.commands += 1;
        let mut command = ScsiCommand {
            immediate: false,
            last: true,
            read: false,
            write: false,
            attribute: TaskAttribute::SIMPLE,
            lun: request.lun,
            itt,
            expected_length: 0,
            cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
            cdb: request.cdb,
            ahs: Bytes::new(),
            data: Bytes::new(),
        };
        let digests = self.parameters.digests;
        let (expected, data) = match request.data {
            Transfer::None => {
                self.out.push_parts(command.header(), &[], &[], digests);
                (0, Data::None)
            }
            Transfer::In(length) => {
                command.read = true;
                command.expected_length = length;
                self.out.push_parts(command.header(), &[], &[], digests);
                (length, Data::In(Incoming::new(length)))
            }
            Transfer::Out(data) => {
                let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
                let plan = opening(length, &self.parameters);
                let mut outgoing = Outgoing::new(data);
                command.write = true;
                command.expected_length = length;
                command.last = plan.unsolicited == plan.immediate;
                let parts = [outgoing.slice(0, plan.immediate)];
                self.out.push_parts(command.header(), &[], &parts, digests);
                let head = Head::unsolicited(itt, self.exp_stat_sn);
                let limit = self.parameters.send_data_segment;
                outgoing.emit(&mut self.out, digests, limit, &head, plan.immediate, plan.unsolicited);
                outgoing.opened(plan.unsolicited);
                (length, Data::Out(outgoing))
            }
        };
        self.open.insert(itt, Open::Command { ticket, lun: request.lun, cmd_sn, expected, data });
    }
}
