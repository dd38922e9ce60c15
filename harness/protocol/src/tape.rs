//! What went over the wire in a case, one line a PDU, and the breaches that the monitors saw.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sanbench_wire::pdu::Stages;
use sanbench_wire::scsi::sense::Sense;
use sanbench_wire::{Pdu, RawPdu};

use crate::outcome::Failure;

/// Lines kept of one case.
const LINES: usize = 60;
/// Breaches kept of one case; the first ones tell the story.
const BREACHES: usize = 8;

/// Shared by all connections of a case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tape(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    lines: VecDeque<String>,
    breaches: Vec<Failure>,
}

impl Tape {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a case.
    pub(crate) fn clear(&self) {
        *self.lock() = Inner::default();
    }

    /// Adds a line.
    pub(crate) fn line(&self, at: Duration, who: &str, text: &str) {
        let mut inner = self.lock();
        if inner.lines.len() == LINES {
            inner.lines.pop_front();
        }
        let ms = at.as_micros() as f64 / 1000.0;
        inner.lines.push_back(format!("{ms:>9.3} {who} {text}"));
    }

    /// Adds a breach that a monitor saw.
    pub(crate) fn breach(&self, requirement: &'static str, clause: &str, expected: String, observed: String) {
        let mut inner = self.lock();
        if inner.breaches.len() < BREACHES {
            let trace = inner.lines.iter().cloned().collect();
            inner.breaches.push(Failure {
                requirement: Some(requirement),
                clause: clause.to_owned(),
                expected,
                observed,
                trace,
            });
        }
    }

    /// The lines so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lock().lines.iter().cloned().collect()
    }

    /// Takes the breaches.
    pub(crate) fn take_breaches(&self) -> Vec<Failure> {
        std::mem::take(&mut self.lock().breaches)
    }
}

/// One PDU as a line. Text values are shown for everything but what authentication exchanges.
pub(crate) fn describe(raw: &RawPdu) -> String {
    let b = &raw.bhs;
    let data = raw.data.len();
    let text = |text: &[u8]| {
        let pairs: Vec<String> = text
            .split(|c| *c == 0)
            .filter(|p| !p.is_empty())
            .map(|p| {
                let p = String::from_utf8_lossy(p);
                match p.split_once('=') {
                    Some((key @ ("CHAP_R" | "CHAP_C"), _)) => format!("{key}=..."),
                    _ => p.chars().take(80).collect(),
                }
            })
            .collect();
        pairs.join(" ")
    };
    match Pdu::parse(raw) {
        Ok(Pdu::LoginRequest(p)) => format!(
            "Login Request {} C={} tsih={:#x} cid={} CmdSN={} [{}]",
            stages(p.stages),
            u8::from(p.stages.continues),
            p.tsih,
            p.cid,
            p.cmd_sn,
            text(&p.text)
        ),
        Ok(Pdu::LoginResponse(p)) => format!(
            "Login Response {} C={} status {:04x} ({}) tsih={:#x} StatSN={} ExpCmdSN={} MaxCmdSN={} [{}]",
            stages(p.stages),
            u8::from(p.stages.continues),
            p.status.0,
            p.status,
            p.tsih,
            p.stat_sn,
            p.exp_cmd_sn,
            p.max_cmd_sn,
            text(&p.text)
        ),
        Ok(Pdu::ScsiCommand(p)) => format!(
            "SCSI Command itt={:x} CmdSN={}{} {}{} EDTL={} cdb={} data={data} ahs={}",
            p.itt,
            p.cmd_sn,
            if p.immediate { " I" } else { "" },
            if p.read { "R" } else { "" },
            if p.write { "W" } else { "" },
            p.expected_length,
            hex(&p.cdb),
            raw.ahs.len()
        ),
        Ok(Pdu::ScsiResponse(p)) => format!(
            "SCSI Response itt={:x} {} {} {:?} StatSN={} ExpCmdSN={} MaxCmdSN={}{}",
            p.itt,
            p.response,
            p.status,
            p.residual,
            p.stat_sn,
            p.exp_cmd_sn,
            p.max_cmd_sn,
            Sense::parse(&p.sense).map(|s| format!(" {s}")).unwrap_or_default()
        ),
        Ok(Pdu::DataIn(p)) => format!(
            "Data-In itt={:x} DataSN={} offset={} data={data} F={} {}",
            p.itt,
            p.data_sn,
            p.offset,
            u8::from(p.last),
            p.status
                .map(|s| format!("{} {:?} StatSN={}", s.status, s.residual, s.stat_sn))
                .unwrap_or_default()
        ),
        Ok(Pdu::DataOut(p)) => format!(
            "Data-Out itt={:x} ttt={:x} DataSN={} offset={} data={data} F={}",
            p.itt,
            p.ttt,
            p.data_sn,
            p.offset,
            u8::from(p.last)
        ),
        Ok(Pdu::R2t(p)) => format!(
            "R2T itt={:x} ttt={:x} R2TSN={} offset={} length={} StatSN={}",
            p.itt, p.ttt, p.r2t_sn, p.offset, p.length, p.stat_sn
        ),
        Ok(Pdu::TaskManagementRequest(p)) => format!(
            "Task Management Request {} itt={:x} referenced={:x} RefCmdSN={} CmdSN={}",
            p.function, p.itt, p.referenced_itt, p.ref_cmd_sn, p.cmd_sn
        ),
        Ok(Pdu::TaskManagementResponse(p)) => {
            format!("Task Management Response {} itt={:x} StatSN={}", p.response, p.itt, p.stat_sn)
        }
        Ok(Pdu::Reject(p)) => format!("Reject {} StatSN={} header={}", p.reason, p.stat_sn, p.header.len()),
        Ok(Pdu::TextRequest(p)) => {
            format!(
                "Text Request itt={:x} ttt={:x} F={} C={} [{}]",
                p.itt,
                p.ttt,
                u8::from(p.last),
                u8::from(p.continues),
                text(&p.text)
            )
        }
        Ok(Pdu::TextResponse(p)) => format!(
            "Text Response itt={:x} ttt={:x} F={} C={} StatSN={} [{}]",
            p.itt,
            p.ttt,
            u8::from(p.last),
            u8::from(p.continues),
            p.stat_sn,
            text(&p.text)
        ),
        Ok(Pdu::AsyncMessage(p)) => format!("Async Message {} StatSN={}", p.event, p.stat_sn),
        Ok(Pdu::LogoutRequest(p)) => format!("Logout Request {} itt={:x} cid={}", p.reason, p.itt, p.cid),
        Ok(Pdu::LogoutResponse(p)) => format!("Logout Response {} StatSN={}", p.response, p.stat_sn),
        Ok(Pdu::NopOut(p)) => {
            format!("NOP-Out itt={:x} ttt={:x} CmdSN={} data={data}", p.itt, p.ttt, p.cmd_sn)
        }
        Ok(Pdu::NopIn(p)) => {
            format!("NOP-In itt={:x} ttt={:x} StatSN={} data={data}", p.itt, p.ttt, p.stat_sn)
        }
        Ok(Pdu::Snack(p)) => {
            format!("SNACK {} itt={:x} begin={} run={}", p.kind, p.itt, p.begin, p.run_length)
        }
        Err(e) => format!(
            "PDU {:#04x} ({e}) flags={:#04x} itt={:x} data={data}",
            b.opcode_bits(),
            b.flags(),
            b.itt()
        ),
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The stage and, with the T bit, the one it goes to.
fn stages(stages: Stages) -> String {
    match stages.next {
        Some(next) => format!("{:?} to {next:?}", stages.current),
        None => format!("{:?}", stages.current),
    }
}
