//! A raw iSCSI client: it sends whatever a case wants, well-formed or not, and watches every answer.
//!
//! It shares nothing with `drivers/initiator` but the wire syntax: each is the other's test. Nothing here waits without a
//! bound; a wait that ends without its PDU is a breach that names what was waited for.

mod login;
mod task;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use sanbench_wire::bhs::{MAX_DATA_SEGMENT, RESERVED_TAG};
use sanbench_wire::frame::{self, Decoded, Digests, FrameLimits, Outbox};
use sanbench_wire::pdu::{
    LogoutReason, LogoutRequest, NopOut, TaskFunction, TaskManagementRequest, TaskManagementResponse,
    TextRequest,
};
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::{Pdu, RawPdu};
use sanbench_world::{Env, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub(crate) use login::{Login, LoginEnd, SessionType, plain_keys};
pub(crate) use task::{Answer, Cmd, End};

use crate::monitor::{Agreed, Monitor};
use crate::outcome::{Checked, Stop, fail};
use crate::tape::{Tape, describe};

/// Most bytes of one PDU that the client takes; larger ones are a breach of its MaxRecvDataSegmentLength anyway.
const LIMITS: FrameLimits = FrameLimits { max_data_segment: MAX_DATA_SEGMENT, max_ahs: 1020 };

/// What the login agreed on (RFC 7143 section 13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Params {
    /// Digests in full feature phase.
    pub(crate) digests: Digests,
    /// Our MaxRecvDataSegmentLength, bytes.
    pub(crate) max_recv: u32,
    /// The target's MaxRecvDataSegmentLength, bytes.
    pub(crate) target_max_recv: u32,
    /// MaxBurstLength, bytes.
    pub(crate) max_burst: u32,
    /// FirstBurstLength, bytes.
    pub(crate) first_burst: u32,
    /// InitialR2T.
    pub(crate) initial_r2t: bool,
    /// ImmediateData.
    pub(crate) immediate_data: bool,
    /// MaxOutstandingR2T.
    pub(crate) max_r2t: u32,
}

impl Default for Params {
    fn default() -> Params {
        Params {
            digests: Digests::default(),
            max_recv: 8192,
            target_max_recv: 8192,
            max_burst: 262_144,
            first_burst: 65_536,
            initial_r2t: true,
            immediate_data: true,
            max_r2t: 1,
        }
    }
}

/// What came, or did not.
#[derive(Debug)]
pub(crate) enum Got {
    /// A PDU.
    Pdu(Pdu),
    /// The connection ended.
    Closed(String),
    /// Nothing within the time.
    Silence,
}

/// One connection.
pub(crate) struct Client {
    env: Env,
    stream: Stream,
    inbuf: BytesMut,
    waiting: VecDeque<Pdu>,
    tape: Tape,
    label: String,
    digests: Digests,
    pub(crate) monitor: Monitor,
    pub(crate) params: Params,
    /// CmdSN of the next non-immediate request.
    pub(crate) cmd_sn: u32,
    /// Tag of the next task.
    pub(crate) next_itt: u32,
    /// LUN that commands go to.
    pub(crate) lun: Lun,
    /// TSIH of the session.
    pub(crate) tsih: u16,
    /// CID of the connection.
    pub(crate) cid: u16,
    /// Send in pieces of so many bytes.
    pub(crate) chunk: Option<usize>,
    /// Longest wait for an answer that has to come.
    pub(crate) patience: Duration,
    tasks: BTreeMap<u32, task::Task>,
    closed: Option<String>,
}

impl Client {
    /// Connects.
    pub(crate) async fn connect(
        env: &Env,
        from: Option<std::net::IpAddr>,
        to: std::net::SocketAddr,
        lun: Lun,
        label: String,
        tape: &Tape,
        patience: Duration,
    ) -> Checked<Client> {
        let dial = async {
            match from {
                Some(from) => env.connect_from(from, to).await,
                None => env.connect(to).await,
            }
        };
        let stream = match env.timeout(patience, dial).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(e)) => return Err(Stop::Unknown(format!("cannot connect to {to}: {e}"))),
            Err(_) => return Err(Stop::Unknown(format!("no connection to {to} within {patience:?}"))),
        };
        tape.line(env.now(), &label, &format!("connected to {to}"));
        Ok(Client {
            env: env.clone(),
            stream,
            inbuf: BytesMut::new(),
            waiting: VecDeque::new(),
            tape: tape.clone(),
            label,
            digests: Digests::default(),
            monitor: Monitor::new(),
            params: Params::default(),
            cmd_sn: 1,
            next_itt: 1,
            lun,
            tsih: 0,
            cid: 1,
            chunk: None,
            patience,
            tasks: BTreeMap::new(),
            closed: None,
        })
    }

    /// A fresh task tag.
    pub(crate) fn itt(&mut self) -> u32 {
        let itt = self.next_itt;
        self.next_itt = self.next_itt.wrapping_add(1) & 0x7fff_ffff;
        itt
    }

    /// Next StatSN that this side waits for.
    pub(crate) fn exp_stat_sn(&self) -> u32 {
        self.monitor.stat_sn.unwrap_or(0)
    }

    /// The CmdSN for a non-immediate request, used up.
    pub(crate) fn take_cmd_sn(&mut self) -> u32 {
        let sn = self.cmd_sn;
        self.cmd_sn = self.cmd_sn.wrapping_add(1);
        sn
    }

    /// Sends a PDU with the digests in force.
    pub(crate) async fn send(&mut self, pdu: impl Into<Pdu>) {
        self.send_raw(&pdu.into().emit()).await;
    }

    /// Sends a PDU that need not be well-formed.
    pub(crate) async fn send_raw(&mut self, raw: &RawPdu) {
        let bytes = self.bytes_of(raw);
        self.note_sent(raw);
        self.send_bytes(&bytes).await;
    }

    /// Writes down that a PDU goes out, for the trace and the monitors.
    pub(crate) fn note_sent(&mut self, raw: &RawPdu) {
        self.tape.line(self.env.now(), &self.label, &format!("> {}", describe(raw)));
        self.monitor.sent(raw);
    }

    /// The PDU as it goes over the wire.
    pub(crate) fn bytes_of(&self, raw: &RawPdu) -> Bytes {
        let mut out = Outbox::new();
        out.push(raw, self.digests);
        out.copy_to_bytes(out.remaining())
    }

    /// Sends bytes as they are. A connection that the target ended meanwhile is noticed by the next receive.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        if self.closed.is_some() {
            return;
        }
        let piece = self.chunk.unwrap_or(bytes.len()).max(1);
        let stream = &mut self.stream;
        let writing = async {
            for part in bytes.chunks(piece) {
                stream.write_all(part).await?;
                stream.flush().await?;
            }
            Ok::<(), io::Error>(())
        };
        match self.env.timeout(self.patience, writing).await {
            Ok(Ok(())) => {}
            // What the target said before it closed is still to be read.
            Ok(Err(e)) => self.tape.line(self.env.now(), &self.label, &format!("sending failed: {e}")),
            Err(_) => {
                self.closed = Some(format!("the target read nothing for {:?}", self.patience));
            }
        }
    }

    /// What comes within `wait`. Pings of the target are answered on the way.
    pub(crate) async fn poll(&mut self, wait: Duration) -> Checked<Got> {
        if let Some(pdu) = self.waiting.pop_front() {
            return Ok(Got::Pdu(pdu));
        }
        let until = self.env.now() + wait;
        loop {
            let digests = self.digests;
            match frame::decode(&mut self.inbuf, LIMITS, digests) {
                Ok(Decoded::Pdu(raw)) => {
                    let line = format!("< {}", describe(&raw));
                    self.tape.line(self.env.now(), &self.label, &line);
                    let pdu = match Pdu::parse(&raw) {
                        Ok(pdu) => pdu,
                        Err(e) => {
                            return Err(fail("RFC 7143 11", "a well-formed PDU", format!("{e}: {line}")));
                        }
                    };
                    self.monitor.received(&raw, &pdu);
                    for b in self.monitor.take() {
                        self.tape.breach(b.requirement, b.clause, b.expected, b.observed);
                    }
                    if let Pdu::NopIn(ping) = &pdu
                        && ping.itt == RESERVED_TAG
                    {
                        if ping.ttt != RESERVED_TAG {
                            let pong = NopOut {
                                immediate: true,
                                lun: ping.lun,
                                itt: RESERVED_TAG,
                                ttt: ping.ttt,
                                cmd_sn: self.cmd_sn,
                                exp_stat_sn: self.exp_stat_sn(),
                                data: Bytes::new(),
                            };
                            self.send(pong).await;
                        }
                        continue;
                    }
                    return Ok(Got::Pdu(pdu));
                }
                Ok(Decoded::NeedMore(_)) => {}
                Err(broken) => {
                    return Err(fail(
                        "RFC 7143 11.2",
                        "a stream of PDUs that can be followed",
                        broken.to_string(),
                    )
                    .of("ISC-006"));
                }
            }
            if let Some(why) = &self.closed {
                return Ok(Got::Closed(why.clone()));
            }
            let left = until.saturating_sub(self.env.now());
            if left.is_zero() {
                return Ok(Got::Silence);
            }
            self.inbuf.reserve(64 * 1024);
            match self.env.timeout(left, self.stream.read_buf(&mut self.inbuf)).await {
                Ok(Ok(0)) => self.closed = Some("the target closed the connection".to_owned()),
                Ok(Ok(_)) => {}
                Ok(Err(e)) => self.closed = Some(format!("the connection broke: {e}")),
                Err(_) => return Ok(Got::Silence),
            }
            if let Some(why) = &self.closed {
                self.tape.line(self.env.now(), &self.label, why);
            }
        }
    }

    /// The next PDU, which has to come.
    pub(crate) async fn next(&mut self, what: &str) -> Checked<Pdu> {
        match self.poll(self.patience).await? {
            Got::Pdu(pdu) => Ok(pdu),
            Got::Closed(why) => Err(fail("RFC 7143 7", what, why)),
            Got::Silence => {
                Err(fail("RFC 7143 7", what, format!("no answer within {:?} (a hang)", self.patience)))
            }
        }
    }

    /// The connection has to end within the patience; PDUs before the end are given back.
    pub(crate) async fn until_closed(&mut self) -> Checked<Option<Vec<Pdu>>> {
        let mut seen = Vec::new();
        let until = self.env.now() + self.patience;
        loop {
            match self.poll(until.saturating_sub(self.env.now())).await? {
                Got::Pdu(pdu) => seen.push(pdu),
                Got::Closed(_) => return Ok(Some(seen)),
                Got::Silence => return Ok(None),
            }
            if seen.len() > 1000 {
                return Ok(None);
            }
        }
    }

    /// Nothing may come for `wait`.
    pub(crate) async fn quiet(&mut self, wait: Duration, clause: &str, why: &str) -> Checked {
        match self.poll(wait).await? {
            Got::Silence => Ok(()),
            Got::Closed(end) => Err(fail(clause, why, end)),
            Got::Pdu(pdu) => Err(fail(clause, why, describe(&pdu.emit()))),
        }
    }

    /// True while the target has not ended the connection, as far as was read.
    pub(crate) fn is_open(&self) -> bool {
        self.closed.is_none()
    }

    /// A NOP-Out ping; the tag of the task.
    pub(crate) async fn ping(&mut self, data: Bytes, immediate: bool) -> u32 {
        let itt = self.itt();
        let cmd_sn = if immediate { self.cmd_sn } else { self.take_cmd_sn() };
        let exp_stat_sn = self.exp_stat_sn();
        let nop = NopOut { immediate, lun: Lun::ZERO, itt, ttt: RESERVED_TAG, cmd_sn, exp_stat_sn, data };
        self.send(nop).await;
        itt
    }

    /// A NOP-Out that wants no answer (RFC 7143 section 11.18.1).
    pub(crate) async fn sign_of_life(&mut self) {
        let nop = NopOut {
            immediate: true,
            lun: Lun::ZERO,
            itt: RESERVED_TAG,
            ttt: RESERVED_TAG,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn(),
            data: Bytes::new(),
        };
        self.send(nop).await;
    }

    /// The connection still works: a ping is answered.
    pub(crate) async fn alive(&mut self, after: &str) -> Checked {
        let itt = self.ping(Bytes::from_static(b"still there?"), true).await;
        match self.next(&format!("the answer to a NOP-Out after {after}")).await? {
            Pdu::NopIn(p) if p.itt == itt && p.data[..] == b"still there?"[..] => Ok(()),
            other => Err(fail(
                "RFC 7143 11.19",
                format!("the answer to a NOP-Out after {after}"),
                describe(&other.emit()),
            )),
        }
    }

    /// Sends an immediate task management request; its tag.
    pub(crate) async fn ask_to_manage(
        &mut self,
        function: TaskFunction,
        lun: Lun,
        referenced_itt: u32,
        ref_cmd_sn: u32,
    ) -> u32 {
        let itt = self.itt();
        let request = TaskManagementRequest {
            immediate: true,
            function,
            lun,
            itt,
            referenced_itt,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn(),
            ref_cmd_sn,
            exp_data_sn: 0,
        };
        self.send(request).await;
        itt
    }

    /// A task management function and its answer. Answers of other tasks on the way are dropped.
    pub(crate) async fn manage(
        &mut self,
        function: TaskFunction,
        lun: Lun,
        referenced_itt: u32,
        ref_cmd_sn: u32,
    ) -> Checked<TaskManagementResponse> {
        let itt = self.ask_to_manage(function, lun, referenced_itt, ref_cmd_sn).await;
        let what = format!("a response to {function}");
        loop {
            match self.next(&what).await? {
                Pdu::TaskManagementResponse(p) if p.itt == itt => return Ok(p),
                Pdu::ScsiResponse(_) | Pdu::DataIn(_) | Pdu::R2t(_) | Pdu::AsyncMessage(_) => {}
                other => return Err(fail("RFC 7143 11.6", what, describe(&other.emit()))),
            }
        }
    }

    /// Logs out with that reason; the answer has to come.
    pub(crate) async fn logout(
        &mut self,
        reason: LogoutReason,
        cid: u16,
    ) -> Checked<sanbench_wire::pdu::LogoutResponse> {
        let itt = self.itt();
        let request = LogoutRequest {
            immediate: true,
            reason,
            itt,
            cid,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn(),
        };
        self.send(request).await;
        loop {
            match self.next("a Logout Response").await? {
                Pdu::LogoutResponse(p) if p.itt == itt => return Ok(p),
                Pdu::ScsiResponse(_) | Pdu::DataIn(_) | Pdu::R2t(_) | Pdu::AsyncMessage(_) => {}
                other => return Err(fail("RFC 7143 11.15", "a Logout Response", describe(&other.emit()))),
            }
        }
    }

    /// Ends the session in good order.
    pub(crate) async fn bye(mut self) -> Checked {
        let cid = self.cid;
        self.logout(LogoutReason::CLOSE_SESSION, cid).await.map(drop)
    }

    /// A Text Request.
    pub(crate) async fn text(&mut self, text: Bytes, itt: u32, ttt: u32, last: bool) {
        let request = TextRequest {
            immediate: false,
            last,
            continues: false,
            lun: Lun::ZERO,
            itt,
            ttt,
            cmd_sn: self.take_cmd_sn(),
            exp_stat_sn: self.exp_stat_sn(),
            text,
        };
        self.send(request).await;
    }

    /// Enters full feature phase with what was agreed.
    fn enter_full_feature(&mut self) {
        self.digests = self.params.digests;
        self.monitor.full_feature(Agreed {
            max_recv: self.params.max_recv as usize,
            max_burst: self.params.max_burst,
            max_r2t: self.params.max_r2t,
        });
    }

    /// The node's clock and network.
    pub(crate) fn env(&self) -> &Env {
        &self.env
    }
}
