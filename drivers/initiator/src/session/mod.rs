//! The full feature phase of a session with one connection, as a value (RFC 7143 sections 4.2 and 11).
//!
//! Order of calls: commands go in by [`Session::submit`], [`Session::abort`], [`Session::text`] and
//! [`Session::logout`]; bytes by [`Session::handle_input`]; time by [`Session::handle_timeout`] at
//! [`Session::next_timeout`]. Then drain [`Session::outbox`] and [`Session::poll_event`]. An error of either `handle_*` is final:
//! at error recovery level 0 the connection ends and every open task with it (section 7.1.5). [`Session::end`] then tells for
//! each command whether it can have had an effect.
//!
//! | file | what |
//! |---|---|
//! | here | what the initiator sends, and when |
//! | `input` | what a target sends: numbers, answers to commands, data |
//! | `notices` | asynchronous messages, rejects, text, parameter negotiation in the full feature phase |
//! | `tasks` | open tasks under their tags |
//! | `types` | what goes in and comes out |

mod input;
mod notices;
mod tasks;
mod types;

pub use types::{Announcement, CommandEnd, Completion, Event, Limits, Request, Ticket, Transfer};

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sanbench_wire::Outbox;
use sanbench_wire::bhs::RESERVED_TAG;
use sanbench_wire::pdu::{
    LogoutReason, LogoutRequest, NopOut, Pdu, ScsiCommand, TaskAttribute, TaskFunction,
    TaskManagementRequest, TextRequest,
};
use sanbench_wire::scsi::luns::Lun;

use crate::error::ProtocolError;
use crate::login::LoggedIn;
use crate::negotiate::Parameters;
use crate::sequence::{Head, Incoming, Outgoing, opening};
use crate::tolerance::Tolerated;
use tasks::Tasks;

#[derive(Debug)]
enum Data {
    None,
    In(Incoming),
    Out(Outgoing),
}

#[derive(Debug)]
enum Open {
    Command {
        ticket: Ticket,
        lun: Lun,
        cmd_sn: u32,
        expected: u32,
        data: Data,
        /// Place of its first byte in the outgoing stream.
        begins: u64,
    },
    Manage {
        ticket: Ticket,
        function: TaskFunction,
        lun: Lun,
        referenced: u32,
    },
    Text {
        ticket: Ticket,
        text: BytesMut,
        pdus: u32,
    },
    /// A negotiation of parameters that the target asked for.
    Parameters {
        text: BytesMut,
        pdus: u32,
    },
    Logout,
    Ping,
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
    /// Commands that may be open now: at most the queue depth, less after TASK SET FULL.
    depth: usize,
    /// Commands that ended well since `depth` changed.
    credit: usize,
    commands: usize,
    tasks: Tasks,
    backlog: VecDeque<(Ticket, Request)>,
    out: Outbox,
    events: VecDeque<Event>,
    heard: Duration,
    pinged: Option<Duration>,
    /// The target asked for a logout: nothing new is taken, and at this time the session logs out at the latest.
    draining: Option<Duration>,
    closing: bool,
    tolerated: Tolerated,
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
            depth: limits.queue_depth.max(1),
            credit: 0,
            commands: 0,
            tasks: Tasks::default(),
            backlog: VecDeque::new(),
            out: Outbox::new(),
            events: VecDeque::new(),
            heard: now,
            pinged: None,
            draining: None,
            closing: false,
            tolerated: Tolerated::default(),
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

    /// Commands that may be open at once now, besides what the CmdSN window allows.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Departures from the RFC that were let pass.
    pub fn tolerated(&self) -> &Tolerated {
        &self.tolerated
    }

    /// Queues a command; it goes out as soon as the window and the queue depth allow. A session that is about to log out
    /// withdraws it at once.
    pub fn submit(&mut self, ticket: Ticket, request: Request) {
        if self.closing || self.draining.is_some() {
            self.events.push_back(Event::Command(ticket, CommandEnd::Withdrawn));
        } else if self.backlog.is_empty() && self.may_start() {
            self.start(ticket, request);
        } else {
            self.backlog.push_back((ticket, request));
        }
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

    /// The connection is gone and takes no more bytes: ends every command. One of which no byte has left
    /// [`Session::outbox`] is withdrawn; of the others nobody knows the effect.
    pub fn end(&mut self) {
        self.closing = true;
        let left = self.out.taken();
        self.withdraw_all();
        for open in self.tasks.drain() {
            if let Open::Command { ticket, begins, .. } = open {
                let end = if begins >= left { CommandEnd::Withdrawn } else { CommandEnd::Lost };
                self.events.push_back(Event::Command(ticket, end));
            }
        }
        self.commands = 0;
    }

    /// Sends ABORT TASK for an open command (RFC 7143 section 11.5). `false`: the command is not open any more.
    pub fn abort(&mut self, ticket: Ticket, command: Ticket) -> bool {
        let found = self.tasks.iter().find_map(|(itt, open)| match open {
            Open::Command { ticket, lun, cmd_sn, .. } if *ticket == command => Some((itt, *lun, *cmd_sn)),
            _ => None,
        });
        let Some((referenced, lun, ref_cmd_sn)) = found else { return false };
        self.function(ticket, TaskFunction::ABORT_TASK, lun, referenced, ref_cmd_sn);
        true
    }

    /// Sends LOGICAL UNIT RESET.
    pub fn reset_lun(&mut self, ticket: Ticket, lun: Lun) {
        self.manage(ticket, TaskFunction::LOGICAL_UNIT_RESET, lun);
    }

    /// Sends a task management function that names no task: ABORT TASK SET, CLEAR TASK SET, a reset. After a logout
    /// nothing may follow (section 11.14), so it is answered as rejected then.
    pub fn manage(&mut self, ticket: Ticket, function: TaskFunction, lun: Lun) {
        self.function(ticket, function, lun, RESERVED_TAG, 0);
    }

    fn function(&mut self, ticket: Ticket, function: TaskFunction, lun: Lun, referenced: u32, cmd_sn: u32) {
        if self.closing {
            let rejected = sanbench_wire::pdu::TaskResponse::REJECTED;
            self.events.push_back(Event::Managed(ticket, rejected));
            return;
        }
        let itt = self.tasks.tag();
        let pdu = TaskManagementRequest {
            immediate: true,
            function,
            lun,
            itt,
            referenced_itt: referenced,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
            ref_cmd_sn: cmd_sn,
            exp_data_sn: 0,
        };
        self.send(pdu.into());
        self.tasks.put(itt, Open::Manage { ticket, function, lun, referenced });
    }

    /// Starts a text exchange (discovery sessions).
    pub fn text(&mut self, ticket: Ticket, text: Bytes) {
        let itt = self.tasks.tag();
        self.tasks.put(itt, Open::Text { ticket, text: BytesMut::new(), pdus: 0 });
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

    /// Asks the target to close the session. Nothing new is sent afterwards; what waits is withdrawn.
    pub fn logout(&mut self) {
        if self.closing {
            return;
        }
        self.closing = true;
        self.withdraw_all();
        let itt = self.tasks.tag();
        let pdu = LogoutRequest {
            immediate: true,
            reason: LogoutReason::CLOSE_SESSION,
            itt,
            cid: 0,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
        };
        self.send(pdu.into());
        self.tasks.put(itt, Open::Logout);
    }

    /// When [`Session::handle_timeout`] wants to be called. It may come late, and may be called early.
    pub fn next_timeout(&self) -> Duration {
        let ping = self.ping_due();
        match self.draining {
            Some(at) if !self.closing => ping.min(at),
            _ => ping,
        }
    }

    fn ping_due(&self) -> Duration {
        match self.pinged {
            Some(at) => at + self.limits.ping_timeout,
            None => self.heard + self.limits.ping_interval,
        }
    }

    /// Pings a silent target, and gives up one that does not answer. Logs out when the target asked for it and its time has
    /// come.
    ///
    /// # Errors
    /// [`ProtocolError::PingTimeout`].
    pub fn handle_timeout(&mut self, now: Duration) -> Result<(), ProtocolError> {
        if self.draining.is_some_and(|at| now >= at) {
            self.logout();
        }
        if now < self.ping_due() {
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
        let itt = self.tasks.tag();
        self.tasks.put(itt, Open::Ping);
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

    fn send(&mut self, pdu: Pdu) {
        pdu.push_to(&mut self.out, self.parameters.digests);
    }

    fn may_start(&self) -> bool {
        self.commands < self.depth && !self.closing && reached(self.max_cmd_sn, self.cmd_sn)
    }

    /// Sends waiting commands while the CmdSN window and the queue depth allow (section 4.2.2.1).
    fn fill(&mut self) {
        while self.may_start() {
            let Some((ticket, request)) = self.backlog.pop_front() else { return };
            self.start(ticket, request);
        }
    }

    /// TASK SET FULL: half of what was open is what this logical unit can bear now.
    fn throttle(&mut self) {
        self.depth = (self.commands / 2).clamp(1, self.limits.queue_depth.max(1));
        self.credit = 0;
    }

    /// A command ended well: after as many as are open at once, one more may be.
    fn relax(&mut self) {
        if self.depth < self.limits.queue_depth {
            self.credit += 1;
            if self.credit >= self.depth {
                self.credit = 0;
                self.depth += 1;
            }
        }
    }

    fn start(&mut self, ticket: Ticket, request: Request) {
        let itt = self.tasks.tag();
        let cmd_sn = self.cmd_sn;
        self.cmd_sn = cmd_sn.wrapping_add(1);
        self.commands += 1;
        let begins = self.out.taken() + self.out.len() as u64;
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
        let lun = request.lun;
        self.tasks.put(itt, Open::Command { ticket, lun, cmd_sn, expected, data, begins });
    }
}
