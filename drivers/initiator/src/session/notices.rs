//! What a target sends besides answers to commands: asynchronous messages, rejects, text.

use std::time::Duration;

use bytes::Bytes;
use sanbench_wire::Bhs;
use sanbench_wire::bhs::{Opcode, RESERVED_TAG};
use sanbench_wire::keys::{self, KeyLimits};
use sanbench_wire::pdu::{
    AsyncEvent, AsyncMessage, NopOut, Reject, RejectReason, TaskResponse, TextResponse,
};
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::sense::Sense;

use super::{Announcement, BytesMut, CommandEnd, Event, Open, Session};
use crate::error::{ProtocolError, Rule};
use crate::negotiate;
use crate::tolerance::Tolerance;

/// Text of one discovery at most, bytes.
const MAX_TEXT: usize = 1 << 20;
/// Text responses of one discovery at most.
const MAX_TEXT_PDUS: u32 = 4096;
/// Text of one negotiation in the full feature phase at most, bytes.
const MAX_PARAMETERS: usize = 64 * 1024;
/// Text responses of such a negotiation at most.
const MAX_PARAMETER_PDUS: u32 = 16;
/// A logout that was asked for is sent after this time at the latest, however long the target allows.
const MAX_DRAIN: Duration = Duration::from_secs(30);

fn seconds(n: u16) -> Duration {
    Duration::from_secs(u64::from(n))
}

impl Session {
    /// An asynchronous message (RFC 7143 section 11.9).
    pub(super) fn announced(&mut self, p: AsyncMessage) -> Result<(), ProtocolError> {
        self.numbers(Some(p.stat_sn), p.exp_cmd_sn, p.max_cmd_sn)?;
        let what = match p.event {
            AsyncEvent::SCSI => Announcement::Scsi { lun: p.lun, sense: announced_sense(&p.data) },
            AsyncEvent::LOGOUT_REQUESTED => {
                self.drain(seconds(p.parameters[2]));
                Announcement::LogoutRequested
            }
            // There is one connection here, and its CID is 0; what happens to another one does not concern us.
            AsyncEvent::CONNECTION_DROPPED if p.parameters[0] != 0 => Announcement::Other(p.event),
            AsyncEvent::CONNECTION_DROPPED | AsyncEvent::SESSION_DROPPED => {
                Announcement::Dropped { event: p.event, wait: seconds(p.parameters[1]) }
            }
            AsyncEvent::NEGOTIATION_REQUESTED => {
                self.renegotiate();
                Announcement::Other(p.event)
            }
            AsyncEvent::TASKS_TERMINATED => {
                self.acknowledge(p.lun);
                self.end_tasks(|_, lun| lun == p.lun);
                Announcement::TasksTerminated(p.lun)
            }
            AsyncEvent::VENDOR => Announcement::Other(p.event),
            _ => {
                self.tolerated.note(Tolerance::UnknownEvent);
                Announcement::Other(p.event)
            }
        };
        self.events.push_back(Event::Announced(what));
        Ok(())
    }

    /// Takes nothing new, lets open commands end, and logs out in time.
    fn drain(&mut self, within: Duration) {
        if self.draining.is_some() || self.closing {
            return;
        }
        // A quarter of the time is kept for the logout itself.
        self.draining = Some(self.heard + within.min(MAX_DRAIN) * 3 / 4);
        self.withdraw_all();
        if self.commands == 0 || within.is_zero() {
            self.logout();
        }
    }

    /// Tells the target that its message about ended tasks has been taken: a NOP-Out that wants no answer, with the LUN of
    /// the message (section 11.9.1, event 5).
    fn acknowledge(&mut self, lun: Lun) {
        if self.closing {
            return;
        }
        let pdu = NopOut {
            immediate: true,
            lun,
            itt: RESERVED_TAG,
            ttt: RESERVED_TAG,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
            data: Bytes::new(),
        };
        self.send(pdu.into());
    }

    /// Starts the negotiation that the target asked for, with nothing to propose of our own.
    fn renegotiate(&mut self) {
        // One negotiation at a time (section 6.4).
        let busy = self
            .tasks
            .iter()
            .any(|(_, open)| matches!(open, Open::Text { .. } | Open::Parameters { .. } | Open::Logout));
        if busy || self.closing {
            return;
        }
        let itt = self.tasks.tag();
        self.tasks.put(itt, Open::Parameters { text: BytesMut::new(), pdus: 0 });
        self.send_text(itt, RESERVED_TAG, Lun::ZERO, Bytes::new());
    }

    pub(super) fn text_response(&mut self, p: TextResponse) -> Result<(), ProtocolError> {
        self.numbers(Some(p.stat_sn), p.exp_cmd_sn, p.max_cmd_sn)?;
        let (text, pdus, most, most_pdus) = match self.tasks.get_mut(p.itt) {
            Some(Open::Text { text, pdus, .. }) => (text, pdus, MAX_TEXT, MAX_TEXT_PDUS),
            Some(Open::Parameters { text, pdus }) => (text, pdus, MAX_PARAMETERS, MAX_PARAMETER_PDUS),
            Some(_) => return Err(ProtocolError::Unexpected("text response")),
            None => return Err(ProtocolError::UnknownTask(p.itt)),
        };
        *pdus += 1;
        if text.len() + p.text.len() > most || *pdus > most_pdus {
            return Err(ProtocolError::Limit("text of one exchange"));
        }
        if p.last && p.continues {
            return Err(ProtocolError::Sequence(Rule::new("a text response with F and C bit", "11.11.2")));
        }
        text.extend_from_slice(&p.text);
        if !p.last && p.ttt == RESERVED_TAG {
            let rule = Rule::new("text that goes on without a transfer tag", "11.11.4");
            return Err(ProtocolError::Sequence(rule));
        }
        let answer = match self.tasks.get_mut(p.itt) {
            Some(Open::Parameters { text, .. }) if !p.continues => {
                let whole = text.split();
                self.parameters_told(&whole)?
            }
            _ => Bytes::new(),
        };
        if !p.last {
            self.send_text(p.itt, p.ttt, p.lun, answer);
            return Ok(());
        }
        if let Some(Open::Text { ticket, text, .. }) = self.tasks.remove(p.itt) {
            self.events.push_back(Event::Text(ticket, text.freeze()));
        }
        Ok(())
    }

    /// Keys that a target proposes in the full feature phase, and our answer. Only MaxRecvDataSegmentLength can be told anew
    /// (section 13: use FFPO); it is a declaration, and holds from now on.
    fn parameters_told(&mut self, text: &[u8]) -> Result<Bytes, ProtocolError> {
        let rule = |what| ProtocolError::Sequence(Rule::new(what, "6.4"));
        let pairs = keys::decode(text, KeyLimits::RFC).map_err(|_| rule("malformed text"))?;
        let mut answers = Vec::new();
        for (key, value) in pairs {
            match key.as_str() {
                "MaxRecvDataSegmentLength" => {
                    let length = negotiate::segment_length(&value);
                    self.parameters.send_data_segment =
                        length.ok_or_else(|| rule("MaxRecvDataSegmentLength out of range"))?;
                }
                "TargetAlias" | "TargetAddress" | "TargetName" => {}
                _ if [keys::NOT_UNDERSTOOD, keys::REJECT, keys::IRRELEVANT].contains(&value.as_str()) => {}
                _ if negotiate::is_known(&key) => answers.push((key, keys::REJECT)),
                _ => answers.push((key, keys::NOT_UNDERSTOOD)),
            }
        }
        Ok(Bytes::from(keys::encode(answers)))
    }

    /// A Reject (section 11.17): what it costs depends on what was rejected.
    pub(super) fn reject(&mut self, p: Reject) -> Result<(), ProtocolError> {
        self.numbers(Some(p.stat_sn), p.exp_cmd_sn, p.max_cmd_sn)?;
        let Some(header) = p.header.first_chunk::<48>() else {
            return Err(ProtocolError::Rejected(p.reason));
        };
        let bhs = Bhs(*header);
        let itt = bhs.itt();
        if p.reason == RejectReason::DATA_DIGEST {
            // The target goes on to end the task with CHECK CONDITION (section 7.8); the command's own limit covers it if it
            // does not.
            return Ok(());
        }
        match (bhs.opcode(), self.tasks.get_mut(itt)) {
            (Some(Opcode::NopOut), Some(Open::Ping)) => {
                self.tasks.remove(itt);
                Ok(())
            }
            // The answer to a ping of the target, or an acknowledgement: nothing of ours waits for it.
            (Some(Opcode::NopOut), None) if itt == RESERVED_TAG => Ok(()),
            (Some(Opcode::TaskManagementRequest), Some(Open::Manage { ticket, .. })) => {
                let ticket = *ticket;
                self.tasks.remove(itt);
                self.events.push_back(Event::Managed(ticket, TaskResponse::REJECTED));
                Ok(())
            }
            (Some(Opcode::TextRequest), Some(Open::Parameters { .. })) => {
                self.tasks.remove(itt);
                Ok(())
            }
            (Some(Opcode::ScsiCommand), Some(Open::Command { ticket, .. })) => {
                let ticket = *ticket;
                let end = match p.reason {
                    RejectReason::WAITING_FOR_LOGOUT => CommandEnd::Withdrawn,
                    RejectReason::NOT_SUPPORTED
                    | RejectReason::INVALID_FIELD
                    | RejectReason::TASK_IN_PROGRESS
                    | RejectReason::LONG_OPERATION => CommandEnd::Failed(format!("rejected: {}", p.reason)),
                    _ => return Err(ProtocolError::Rejected(p.reason)),
                };
                self.tasks.remove(itt);
                self.finish(ticket, end);
                Ok(())
            }
            _ => Err(ProtocolError::Rejected(p.reason)),
        }
    }
}

/// Sense data of a SCSI asynchronous event: two bytes of length, then the sense data (section 11.9.4).
fn announced_sense(data: &[u8]) -> Option<Sense> {
    let length = usize::from(u16::from_be_bytes(*data.first_chunk::<2>()?));
    Sense::parse(data.get(2..2 + length)?)
}
