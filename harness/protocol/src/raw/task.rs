//! SCSI commands: sending them with their data, and collecting what comes back.

use bytes::Bytes;
use sanbench_wire::Pdu;
use sanbench_wire::bhs::RESERVED_TAG;
use sanbench_wire::pdu::{DataOut, R2t, RejectReason, Residual, ResponseCode, ScsiCommand, TaskAttribute};
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::sense::Sense;
use sanbench_wire::scsi::status::Status;

use super::{Client, Got};
use crate::outcome::{Checked, fail};
use crate::tape::{describe, hex};

/// A command to send.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cmd {
    /// CDB, padded to 16 bytes.
    pub(crate) cdb: [u8; 16],
    /// R bit and bytes expected from the target.
    pub(crate) read: Option<u32>,
    /// W bit and the data.
    pub(crate) write: Option<Bytes>,
    /// Expected Data Transfer Length where it differs from what the data say.
    pub(crate) expected: Option<u32>,
    /// Another LUN than the client's.
    pub(crate) lun: Option<Lun>,
    /// Immediate delivery.
    pub(crate) immediate: bool,
    /// CmdSN to use instead of the next one, which is then not used up.
    pub(crate) cmd_sn: Option<u32>,
    /// Additional header segments.
    pub(crate) ahs: Bytes,
    /// Keep all data back, R2Ts are not answered.
    pub(crate) hold: bool,
    /// Both R and W although only one has data.
    pub(crate) both: bool,
}

impl Cmd {
    /// A command without data.
    pub(crate) fn none(cdb: impl AsRef<[u8]>) -> Cmd {
        let mut all = [0; 16];
        let cdb = cdb.as_ref();
        all[..cdb.len()].copy_from_slice(cdb);
        Cmd { cdb: all, ..Cmd::default() }
    }

    /// A command that reads up to `length` bytes.
    pub(crate) fn read(cdb: impl AsRef<[u8]>, length: u32) -> Cmd {
        Cmd { read: Some(length), ..Cmd::none(cdb) }
    }

    /// A command that writes.
    pub(crate) fn write(cdb: impl AsRef<[u8]>, data: impl Into<Bytes>) -> Cmd {
        Cmd { write: Some(data.into()), ..Cmd::none(cdb) }
    }

    /// To that LUN.
    pub(crate) fn to(mut self, lun: Lun) -> Cmd {
        self.lun = Some(lun);
        self
    }

    /// Keeps its data back.
    pub(crate) fn held(mut self) -> Cmd {
        self.hold = true;
        self
    }
}

/// How a command ended at the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: Status,
    pub(crate) response: ResponseCode,
    pub(crate) sense: Option<Sense>,
    pub(crate) raw_sense: Bytes,
    pub(crate) residual: Residual,
    pub(crate) data: Vec<u8>,
}

impl Answer {
    /// GOOD.
    pub(crate) fn good(&self) -> bool {
        self.status == Status::GOOD && self.response == ResponseCode::COMPLETED
    }

    /// CHECK CONDITION with that key and code.
    pub(crate) fn is(&self, key: u8, asc: u16) -> bool {
        self.status == Status::CHECK_CONDITION && self.sense.is_some_and(|s| s.key.0 == key && s.asc.0 == asc)
    }

    /// CHECK CONDITION with that key.
    pub(crate) fn key(&self, key: u8) -> bool {
        self.status == Status::CHECK_CONDITION && self.sense.is_some_and(|s| s.key.0 == key)
    }

    /// ILLEGAL REQUEST, INVALID COMMAND OPERATION CODE or (for a service action) INVALID FIELD IN CDB.
    pub(crate) fn unsupported(&self) -> bool {
        self.is(5, 0x2000) || self.is(5, 0x2400)
    }

    /// In words.
    pub(crate) fn words(&self) -> String {
        let sense = match (&self.sense, self.raw_sense.is_empty()) {
            (Some(s), _) => format!(": {s}"),
            (None, false) => format!(": sense {}", hex(&self.raw_sense)),
            (None, true) => String::new(),
        };
        let residual = match self.residual {
            Residual::None => String::new(),
            r => format!(", {r:?}"),
        };
        format!("{}{sense}{residual}, {} bytes of data", self.status, self.data.len())
    }
}

/// How a command ended, whatever way.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// With a response.
    Answer(Answer),
    /// With a Reject.
    Rejected(RejectReason),
    /// With the connection.
    Closed(String),
    /// Not at all.
    Silence,
}

impl End {
    /// In words.
    pub(crate) fn words(&self) -> String {
        match self {
            End::Answer(a) => a.words(),
            End::Rejected(r) => format!("Reject ({r})"),
            End::Closed(why) => why.clone(),
            End::Silence => "nothing (a hang)".to_owned(),
        }
    }

    /// Refused in one of the ways that the RFC leaves open.
    pub(crate) fn refused(&self) -> bool {
        match self {
            End::Answer(a) => !a.good(),
            End::Rejected(_) | End::Closed(_) => true,
            End::Silence => false,
        }
    }
}

/// A command that is under way.
#[derive(Debug, Default)]
pub(crate) struct Task {
    write: Bytes,
    hold: bool,
    lun: Lun,
    data: Vec<u8>,
    expected: u32,
    pub(crate) r2ts: Vec<R2t>,
    done: Option<Answer>,
    rejected: Option<RejectReason>,
}

impl Client {
    /// Builds the SCSI Command PDU and its unsolicited data as the agreed keys allow.
    pub(crate) fn compose(&mut self, cmd: &Cmd) -> (ScsiCommand, Vec<DataOut>) {
        let itt = self.itt();
        let cmd_sn = match (cmd.cmd_sn, cmd.immediate) {
            (Some(sn), _) => sn,
            (None, true) => self.cmd_sn,
            (None, false) => self.take_cmd_sn(),
        };
        let data = cmd.write.clone().unwrap_or_default();
        let from_data = cmd.read.unwrap_or(data.len() as u32);
        let expected = cmd.expected.unwrap_or(from_data);
        let p = self.params.clone();
        let useful = (data.len() as u32).min(expected);
        let (mut first, mut outs) = (Bytes::new(), Vec::new());
        let lun = cmd.lun.unwrap_or(self.lun);
        let mut last = true;
        if cmd.write.is_some() && !cmd.hold {
            if p.immediate_data {
                first = data.slice(..useful.min(p.first_burst).min(p.target_max_recv) as usize);
            }
            let mut at = first.len() as u32;
            let end = if p.initial_r2t { at } else { useful.min(p.first_burst) };
            last = at >= end;
            let mut data_sn = 0;
            while at < end {
                let n = (end - at).min(p.target_max_recv);
                outs.push(DataOut {
                    last: at + n == end,
                    lun,
                    itt,
                    ttt: RESERVED_TAG,
                    exp_stat_sn: self.exp_stat_sn(),
                    data_sn,
                    offset: at,
                    data: data.slice(at as usize..(at + n) as usize),
                });
                at += n;
                data_sn += 1;
            }
        }
        let command = ScsiCommand {
            immediate: cmd.immediate,
            last,
            read: cmd.read.is_some() || cmd.both,
            write: cmd.write.is_some() || cmd.both,
            attribute: TaskAttribute::SIMPLE,
            lun,
            itt,
            expected_length: expected,
            cmd_sn,
            exp_stat_sn: self.exp_stat_sn(),
            cdb: cmd.cdb,
            ahs: cmd.ahs.clone(),
            data: first,
        };
        let task = Task { write: data, hold: cmd.hold, lun, expected, ..Task::default() };
        self.tasks.insert(itt, task);
        (command, outs)
    }

    /// Sends a command with its unsolicited data; its tag.
    pub(crate) async fn start(&mut self, cmd: &Cmd) -> u32 {
        let (command, outs) = self.compose(cmd);
        let itt = command.itt;
        self.send(command).await;
        for out in outs {
            self.send(out).await;
        }
        itt
    }

    /// Sends what an R2T asks for.
    pub(crate) async fn serve(&mut self, r2t: &R2t, data: &Bytes, lun: Lun) {
        let (mut at, end) = (r2t.offset, r2t.offset.saturating_add(r2t.length));
        let mut data_sn = 0;
        while at < end {
            let n = (end - at).min(self.params.target_max_recv);
            let (from, to) = (at as usize, (at + n) as usize);
            // A target that asks for more than there is gets zeros.
            let mut part = data.slice(from.min(data.len())..to.min(data.len())).to_vec();
            part.resize(n as usize, 0);
            let out = DataOut {
                last: at + n == end,
                lun,
                itt: r2t.itt,
                ttt: r2t.ttt,
                exp_stat_sn: self.exp_stat_sn(),
                data_sn,
                offset: at,
                data: Bytes::from(part),
            };
            self.send(out).await;
            at += n;
            data_sn += 1;
        }
    }

    /// Takes a PDU that belongs to a task; anything else comes back.
    async fn take(&mut self, pdu: Pdu) -> Option<Pdu> {
        match pdu {
            Pdu::ScsiResponse(p) => {
                if let Some(task) = self.tasks.get_mut(&p.itt) {
                    let data = std::mem::take(&mut task.data);
                    task.done = Some(Answer {
                        status: p.status,
                        response: p.response,
                        sense: Sense::parse(&p.sense),
                        raw_sense: p.sense,
                        residual: p.residual,
                        data,
                    });
                }
                None
            }
            Pdu::DataIn(p) => {
                if let Some(task) = self.tasks.get_mut(&p.itt) {
                    let (from, to) = (p.offset as usize, p.offset as usize + p.data.len());
                    // Bytes past what was expected are a breach that the monitor reports.
                    if to <= task.expected as usize {
                        if task.data.len() < to {
                            task.data.resize(to, 0);
                        }
                        task.data[from..to].copy_from_slice(&p.data);
                    }
                    if let Some(s) = p.status {
                        let data = std::mem::take(&mut task.data);
                        task.done = Some(Answer {
                            status: s.status,
                            response: ResponseCode::COMPLETED,
                            sense: None,
                            raw_sense: Bytes::new(),
                            residual: s.residual,
                            data,
                        });
                    }
                }
                None
            }
            Pdu::R2t(p) => {
                let task = self.tasks.get_mut(&p.itt)?;
                task.r2ts.push(p.clone());
                let (hold, data, lun) = (task.hold, task.write.clone(), task.lun);
                if !hold {
                    self.serve(&p, &data, lun).await;
                }
                None
            }
            Pdu::Reject(p) => {
                // The rejected header tells whose it was: a command or one of its data PDUs.
                let itt =
                    p.header.get(16..20).and_then(|t| t.first_chunk::<4>()).map(|t| u32::from_be_bytes(*t));
                match itt.and_then(|itt| self.tasks.get_mut(&itt)) {
                    Some(task) => {
                        task.rejected = Some(p.reason);
                        None
                    }
                    None => Some(Pdu::Reject(p)),
                }
            }
            Pdu::AsyncMessage(_) => None,
            other => Some(other),
        }
    }

    /// Waits for the end of a command, whatever it is. After a Reject the command's own response is waited for shortly.
    pub(crate) async fn end_of(&mut self, itt: u32) -> Checked<End> {
        let patience = self.patience;
        self.end_within(itt, patience).await
    }

    /// As [`Client::end_of`], with that patience.
    pub(crate) async fn end_within(&mut self, itt: u32, patience: std::time::Duration) -> Checked<End> {
        let until = self.env.now() + patience;
        loop {
            let Some(task) = self.tasks.get_mut(&itt) else {
                return Err(fail("RFC 7143 11.4", "one response for a command", "none is outstanding"));
            };
            if let Some(answer) = task.done.take() {
                self.tasks.remove(&itt);
                return Ok(End::Answer(answer));
            }
            let mut left = until.saturating_sub(self.env.now());
            let rejected = task.rejected;
            if rejected.is_some() {
                left = left.min(patience / 20);
            }
            match self.poll(left).await? {
                Got::Pdu(pdu) => {
                    if let Some(other) = self.take(pdu).await {
                        return Err(fail(
                            "RFC 7143 11",
                            "only answers to what was asked",
                            describe(&other.emit()),
                        ));
                    }
                }
                Got::Closed(why) => return Ok(rejected.map_or(End::Closed(why), End::Rejected)),
                Got::Silence => return Ok(rejected.map_or(End::Silence, End::Rejected)),
            }
        }
    }

    /// Waits for the response of a command.
    pub(crate) async fn finish(&mut self, itt: u32) -> Checked<Answer> {
        match self.end_of(itt).await? {
            End::Answer(answer) => Ok(answer),
            other => Err(fail("RFC 7143 11.4", "a SCSI Response", other.words())),
        }
    }

    /// Runs a command to its response.
    pub(crate) async fn run(&mut self, cmd: &Cmd) -> Checked<Answer> {
        let itt = self.start(cmd).await;
        self.finish(itt).await
    }

    /// Runs a command that must end GOOD; its data.
    pub(crate) async fn good(&mut self, cmd: &Cmd, clause: &str) -> Checked<Vec<u8>> {
        let answer = self.run(cmd).await?;
        if answer.good() {
            return Ok(answer.data);
        }
        Err(fail(clause, format!("GOOD for CDB {}", hex(&cmd.cdb)), answer.words()))
    }

    /// Waits for the first R2T of a command that holds its data back.
    pub(crate) async fn r2t_of(&mut self, itt: u32) -> Checked<R2t> {
        loop {
            if let Some(r2t) =
                self.tasks.get_mut(&itt).filter(|t| !t.r2ts.is_empty()).map(|t| t.r2ts.remove(0))
            {
                return Ok(r2t);
            }
            if self.tasks.get(&itt).is_some_and(|t| t.done.is_some()) {
                let end = self.finish(itt).await?;
                return Err(fail("RFC 7143 11.8", "an R2T for a write without data", end.words()));
            }
            let pdu = self.next("an R2T").await?;
            if let Some(other) = self.take(pdu).await {
                return Err(fail("RFC 7143 11.8", "an R2T", describe(&other.emit())));
            }
        }
    }

    /// Commands that are under way at this side.
    pub(crate) fn forget(&mut self, itt: u32) {
        self.tasks.remove(&itt);
    }
}
