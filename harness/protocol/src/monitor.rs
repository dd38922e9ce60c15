//! Passive monitors: every PDU that a target sends on a connection is checked against the rules of numbering, lengths and
//! residuals, and no unit attention comes with a command that leaves it alone, whatever the case is about. A pure value: PDUs
//! in, breaches out.

use std::collections::BTreeMap;

use sanbench_wire::bhs::RESERVED_TAG;
use sanbench_wire::pdu::{DataIn, R2t, Residual, ResponseCode, ScsiResponse};
use sanbench_wire::scsi::cdb::op;
use sanbench_wire::scsi::sense::{Sense, SenseKey};
use sanbench_wire::scsi::status::Status;
use sanbench_wire::{Pdu, RawPdu};

/// What a monitor found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// The requirement that is broken.
    pub requirement: &'static str,
    /// Where it stands.
    pub clause: &'static str,
    /// What the clause asks for.
    pub expected: String,
    /// What came.
    pub observed: String,
}

/// A SCSI task as its initiator sees it.
#[derive(Clone, Copy, Debug, Default)]
struct Task {
    read: bool,
    write: bool,
    expected: u32,
    data_ins: u32,
    in_offset: u32,
    in_sequence: u32,
    r2ts: u32,
    out_offset: u32,
    outstanding: u32,
    unsolicited: u32,
    /// The command leaves unit attentions alone (SAM-5 clause 5.14).
    quiet: bool,
}

/// What the connection agreed on, as far as the monitors need it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Agreed {
    pub(crate) max_recv: usize,
    pub(crate) max_burst: u32,
    pub(crate) max_r2t: u32,
}

/// The state of the monitors of one connection.
#[derive(Debug)]
pub(crate) struct Monitor {
    /// Next StatSN that the target must use; unknown before its first status.
    pub(crate) stat_sn: Option<u32>,
    exp_cmd_sn: Option<u32>,
    max_cmd_sn: Option<u32>,
    tasks: BTreeMap<u32, Task>,
    /// Tags of tasks that ended or were aborted: an answer may still be under way for the latter.
    forgiven: BTreeMap<u32, bool>,
    full_feature: bool,
    logged_out: bool,
    pub(crate) agreed: Agreed,
    /// Recovery level 1 is agreed: an R2T may ask for bytes again (RFC 7143 section 7.2).
    pub(crate) recovers: bool,
    /// The case has asked for something again, and compares by itself what comes.
    pub(crate) repeating: bool,
    found: Vec<Breach>,
}

/// Serial number arithmetic (RFC 1982 with 32 bits): is `a` before `b`?
pub(crate) fn before(a: u32, b: u32) -> bool {
    a != b && b.wrapping_sub(a) < 1 << 31
}

impl Monitor {
    pub(crate) fn new() -> Monitor {
        Monitor {
            stat_sn: None,
            exp_cmd_sn: None,
            max_cmd_sn: None,
            tasks: BTreeMap::new(),
            forgiven: BTreeMap::new(),
            full_feature: false,
            logged_out: false,
            agreed: Agreed { max_recv: 8192, max_burst: 262_144, max_r2t: 1 },
            recovers: false,
            repeating: false,
            found: Vec::new(),
        }
    }

    /// The login is over.
    pub(crate) fn full_feature(&mut self, agreed: Agreed) {
        self.full_feature = true;
        self.agreed = agreed;
    }

    /// What was found since the last call.
    pub(crate) fn take(&mut self) -> Vec<Breach> {
        std::mem::take(&mut self.found)
    }

    /// Number of commands that the target will take beyond `cmd_sn`, if it said so.
    pub(crate) fn window_end(&self) -> Option<u32> {
        self.max_cmd_sn
    }

    /// ExpCmdSN as last told.
    pub(crate) fn exp_cmd_sn(&self) -> Option<u32> {
        self.exp_cmd_sn
    }

    fn breach(
        &mut self,
        requirement: &'static str,
        clause: &'static str,
        expected: String,
        observed: String,
    ) {
        self.found.push(Breach { requirement, clause, expected, observed });
    }

    /// A PDU of ours left.
    pub(crate) fn sent(&mut self, raw: &RawPdu) {
        match Pdu::parse(raw) {
            Ok(Pdu::ScsiCommand(p)) => {
                self.forgiven.remove(&p.itt);
                let unsolicited = p.data.len() as u32;
                let task = Task {
                    read: p.read,
                    write: p.write,
                    expected: p.expected_length,
                    out_offset: unsolicited,
                    unsolicited: if p.last { 0 } else { 1 },
                    quiet: [op::INQUIRY, op::REPORT_LUNS, op::REQUEST_SENSE].contains(&p.cdb[0]),
                    ..Task::default()
                };
                self.tasks.insert(p.itt, task);
            }
            Ok(Pdu::DataOut(p)) => {
                if let Some(task) = self.tasks.get_mut(&p.itt) {
                    if p.ttt == RESERVED_TAG {
                        task.out_offset = task.out_offset.max(p.offset.wrapping_add(p.data.len() as u32));
                        task.unsolicited = u32::from(!p.last);
                    } else if p.last {
                        task.outstanding = task.outstanding.saturating_sub(1);
                    }
                }
            }
            Ok(Pdu::TaskManagementRequest(_)) => {
                // Answers that crossed the request are legitimate, and so is their absence.
                for (itt, _) in std::mem::take(&mut self.tasks) {
                    self.forgiven.insert(itt, true);
                }
            }
            _ => {}
        }
    }

    /// A PDU of the target came.
    pub(crate) fn received(&mut self, raw: &RawPdu, pdu: &Pdu) {
        if self.repeating {
            return;
        }
        if self.logged_out {
            self.breach(
                "ISC-018",
                "RFC 7143 11.15",
                "nothing after the Logout Response".into(),
                format!("{:?}", pdu.opcode()),
            );
        }
        if raw.data.len() > self.agreed.max_recv {
            self.breach(
                "ISC-005",
                "RFC 7143 13.12",
                format!("at most {} bytes of data in a PDU", self.agreed.max_recv),
                format!("{:?} with {} bytes", pdu.opcode(), raw.data.len()),
            );
        }
        if !raw.data_digest_ok {
            self.breach(
                "ISC-006",
                "RFC 7143 13.1",
                "a data digest that fits the data and its padding".into(),
                format!("{:?} with {} bytes and another CRC-32C", pdu.opcode(), raw.data.len()),
            );
        }
        match pdu {
            Pdu::LoginResponse(p) => {
                // A refusal may leave the numbers out.
                if p.status.class() == 0 {
                    self.status(p.stat_sn, true, "Login Response");
                    self.window(p.exp_cmd_sn, p.max_cmd_sn);
                }
            }
            Pdu::ScsiResponse(p) => {
                self.status(p.stat_sn, true, "SCSI Response");
                self.window(p.exp_cmd_sn, p.max_cmd_sn);
                self.scsi_response(p, raw.bhs.flags());
            }
            Pdu::DataIn(p) => {
                if let Some(s) = p.status {
                    self.status(s.stat_sn, true, "Data-In with status");
                }
                self.window(p.exp_cmd_sn, p.max_cmd_sn);
                self.data_in(p);
            }
            Pdu::R2t(p) => {
                self.status(p.stat_sn, false, "R2T");
                self.window(p.exp_cmd_sn, p.max_cmd_sn);
                self.r2t(p);
            }
            Pdu::NopIn(p) => {
                self.status(p.stat_sn, p.itt != RESERVED_TAG, "NOP-In");
                self.window(p.exp_cmd_sn, p.max_cmd_sn);
            }
            Pdu::TaskManagementResponse(p) => {
                self.status(p.stat_sn, true, "Task Management Response");
                self.window(p.exp_cmd_sn, p.max_cmd_sn);
            }
            Pdu::TextResponse(p) => {
                self.status(p.stat_sn, true, "Text Response");
                self.window(p.exp_cmd_sn, p.max_cmd_sn);
            }
            Pdu::LogoutResponse(p) => {
                self.status(p.stat_sn, true, "Logout Response");
                self.window(p.exp_cmd_sn, p.max_cmd_sn);
                self.logged_out = p.response.0 == 0;
            }
            Pdu::AsyncMessage(p) => {
                self.status(p.stat_sn, true, "Async Message");
                self.window(p.exp_cmd_sn, p.max_cmd_sn);
            }
            Pdu::Reject(p) => {
                self.status(p.stat_sn, true, "Reject");
                self.window(p.exp_cmd_sn, p.max_cmd_sn);
                if p.header.len() < 48 {
                    self.breach(
                        "ISC-017",
                        "RFC 7143 11.17",
                        "the header of the rejected PDU as data".into(),
                        format!("{} bytes", p.header.len()),
                    );
                }
            }
            other => self.breach(
                "ISC-017",
                "RFC 7143 11.2.1.2",
                "an opcode that targets send".into(),
                format!("{:?}", other.opcode()),
            ),
        }
    }

    /// StatSN rises by one with every PDU that carries a status; others show the next one.
    fn status(&mut self, stat_sn: u32, counts: bool, what: &str) {
        if let Some(expected) = self.stat_sn
            && expected != stat_sn
        {
            self.breach(
                "ISC-008",
                "RFC 7143 4.2.2.2",
                format!("StatSN {expected} in the {what}"),
                format!("StatSN {stat_sn}"),
            );
        }
        self.stat_sn = Some(if counts { stat_sn.wrapping_add(1) } else { stat_sn });
    }

    fn window(&mut self, exp: u32, max: u32) {
        if max != exp.wrapping_sub(1) && before(max, exp) {
            self.breach(
                "ISC-007",
                "RFC 7143 4.2.2.1",
                "MaxCmdSN not below ExpCmdSN - 1".into(),
                format!("ExpCmdSN {exp}, MaxCmdSN {max}"),
            );
        }
        if let Some(last) = self.exp_cmd_sn
            && before(exp, last)
        {
            self.breach(
                "ISC-007",
                "RFC 7143 4.2.2.1",
                format!("ExpCmdSN not below {last}"),
                format!("ExpCmdSN {exp}"),
            );
        }
        self.exp_cmd_sn = Some(exp);
        // A smaller MaxCmdSN than told before is to be ignored by the initiator.
        if self.max_cmd_sn.is_none_or(|last| before(last, max)) {
            self.max_cmd_sn = Some(max);
        }
    }

    fn scsi_response(&mut self, p: &ScsiResponse, flags: u8) {
        if flags & 0x80 == 0 {
            self.breach(
                "ISC-009",
                "RFC 7143 11.4.1",
                "the F bit in the SCSI Response".into(),
                format!("flags {flags:#04x}"),
            );
        }
        let Some(task) = self.tasks.remove(&p.itt) else {
            if self.forgiven.remove(&p.itt).is_none() {
                self.breach(
                    "ISC-008",
                    "RFC 7143 11.4",
                    "one response for each command".into(),
                    format!("a SCSI Response for task {:x}, which is not outstanding", p.itt),
                );
            }
            return;
        };
        if p.response.0 == 0 && task.read && p.exp_data_sn != task.data_ins {
            self.breach(
                "ISC-009",
                "RFC 7143 11.4.8",
                format!("ExpDataSN {} for as many Data-In PDUs", task.data_ins),
                format!("ExpDataSN {}", p.exp_data_sn),
            );
        }
        self.residual(p.residual, task);
        if task.quiet
            && (p.response, p.status) == (ResponseCode::COMPLETED, Status::CHECK_CONDITION)
            && let Some(sense) = Sense::parse(&p.sense)
            && sense.key == SenseKey::UNIT_ATTENTION
            && !sense.deferred
        {
            self.breach(
                "SCS-015",
                "SAM-5 5.14",
                "no unit attention with INQUIRY, REPORT LUNS and REQUEST SENSE".into(),
                format!("unit attention {:?}", sense.asc),
            );
        }
    }

    /// An underflow cannot be larger than what was expected.
    fn residual(&mut self, residual: Residual, task: Task) {
        if let Residual::Underflow(n) = residual
            && n > task.expected
        {
            self.breach(
                "ISC-010",
                "RFC 7143 11.4.5.2",
                format!("an underflow of at most {} bytes", task.expected),
                format!("{n} bytes"),
            );
        }
    }

    fn data_in(&mut self, p: &DataIn) {
        let Some(task) = self.tasks.get_mut(&p.itt) else {
            if !self.forgiven.contains_key(&p.itt) {
                self.breach(
                    "ISC-009",
                    "RFC 7143 11.7",
                    "Data-In for an outstanding read".into(),
                    format!("Data-In for task {:x}", p.itt),
                );
            }
            return;
        };
        let length = p.data.len() as u32;
        let before_it = *task;
        task.data_ins = task.data_ins.wrapping_add(1);
        task.in_offset = p.offset.wrapping_add(length);
        task.in_sequence = if p.last { 0 } else { task.in_sequence.wrapping_add(length) };
        let t = before_it;
        let max_burst = self.agreed.max_burst;
        if !t.read {
            self.breach(
                "ISC-009",
                "RFC 7143 11.7",
                "no Data-In for a command without R".into(),
                format!("task {:x}", p.itt),
            );
        }
        if p.data_sn != t.data_ins {
            self.breach(
                "ISC-009",
                "RFC 7143 11.7.5",
                format!("DataSN {}", t.data_ins),
                format!("DataSN {}", p.data_sn),
            );
        }
        if length > 0 && p.offset != t.in_offset {
            self.breach(
                "ISC-009",
                "RFC 7143 13.18",
                format!("buffer offset {} (data PDUs in order)", t.in_offset),
                format!("buffer offset {}", p.offset),
            );
        }
        if u64::from(p.offset) + u64::from(length) > u64::from(t.expected) {
            self.breach(
                "ISC-010",
                "RFC 7143 11.7",
                format!("at most {} bytes in all", t.expected),
                format!("data up to byte {}", u64::from(p.offset) + u64::from(length)),
            );
        }
        if t.in_sequence.saturating_add(length) > max_burst {
            self.breach(
                "ISC-004",
                "RFC 7143 13.13",
                format!("a Data-In sequence of at most {max_burst} bytes (MaxBurstLength)"),
                format!("{} bytes without the F bit before", t.in_sequence.saturating_add(length)),
            );
        }
        if let Some(s) = p.status {
            if !p.last {
                self.breach(
                    "ISC-009",
                    "RFC 7143 11.7.3",
                    "F together with S in Data-In".into(),
                    "S without F".into(),
                );
            }
            self.tasks.remove(&p.itt);
            self.residual(s.residual, t);
        }
    }

    fn r2t(&mut self, p: &R2t) {
        let agreed = self.agreed;
        let Some(task) = self.tasks.get_mut(&p.itt) else {
            if !self.forgiven.contains_key(&p.itt) {
                self.breach(
                    "ISC-009",
                    "RFC 7143 11.8",
                    "R2T for an outstanding write".into(),
                    format!("R2T for task {:x}", p.itt),
                );
            }
            return;
        };
        let t = *task;
        task.r2ts = task.r2ts.wrapping_add(1);
        task.out_offset = p.offset.wrapping_add(p.length);
        task.outstanding += 1;
        if !t.write {
            self.breach(
                "ISC-009",
                "RFC 7143 11.8",
                "no R2T for a command without W".into(),
                format!("task {:x}", p.itt),
            );
        }
        if p.r2t_sn != t.r2ts {
            self.breach(
                "ISC-009",
                "RFC 7143 11.8.3",
                format!("R2TSN {}", t.r2ts),
                format!("R2TSN {}", p.r2t_sn),
            );
        }
        if p.length > agreed.max_burst {
            self.breach(
                "ISC-004",
                "RFC 7143 11.8.4",
                format!("a desired length of at most {} bytes (MaxBurstLength)", agreed.max_burst),
                format!("{} bytes", p.length),
            );
        }
        if u64::from(p.offset) + u64::from(p.length) > u64::from(t.expected) {
            self.breach(
                "ISC-010",
                "RFC 7143 11.8.4",
                format!("no request beyond byte {} (Expected Data Transfer Length)", t.expected),
                format!("bytes {} to {}", p.offset, u64::from(p.offset) + u64::from(p.length)),
            );
        }
        if t.outstanding >= agreed.max_r2t {
            self.breach(
                "ISC-009",
                "RFC 7143 13.17",
                format!("at most {} R2T outstanding for a task", agreed.max_r2t),
                format!("{} outstanding", t.outstanding + 1),
            );
        }
        let again = self.recovers && p.offset < t.out_offset;
        if t.unsolicited == 0 && p.offset != t.out_offset && !again {
            self.breach(
                "ISC-009",
                "RFC 7143 13.19",
                format!("the next bytes in order, from {}", t.out_offset),
                format!("offset {}", p.offset),
            );
        }
    }
}

#[cfg(test)]
mod tests;
