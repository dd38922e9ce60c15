//! One iSCSI connection with its session, as a value: bytes and time in, bytes out (RFC 7143 sections 4 and 6).
//!
//! [`Session::handle`] takes received bytes and acts on every whole PDU; answers wait in [`Session::out`]. Time-outs
//! come through [`Session::handle_timer`], events of other sessions through [`Session::handle_events`]. With
//! `MaxConnections=1` a session and its connection are one thing.
//!
//! The phases: `login` until the full feature phase is granted, then `full`, at last `closed`.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use sanbench_array::ArrayHandle;
use sanbench_wire::frame::{Broken, Decoded, Digests, FrameLimits, Outbox, RawPdu, decode, padding};
use sanbench_wire::pdu::{AsyncEvent, LoginRequest, LoginStatus, RejectReason, Stage};
use sanbench_wire::{Bhs, Opcode};
use sanbench_world::{Fault, Wrong};
use serde_json::json;

use crate::common::{Common, Numbers};
use crate::config::TargetConfig;
use crate::full::Full;
use crate::login::{self, Login, PortalContext, Refused};
use crate::negotiate::Params;
use crate::recovery::Replay;
use crate::registry::{JoinError, Joiner, Mailbox, NexusName, Registry};
use crate::scsi::{Nexus, NexusParts, PortIdentity};
use crate::surroundings::Surroundings;

/// Data segments during login are at most as long as the default of `MaxRecvDataSegmentLength`.
const LOGIN_SEGMENT: usize = 8192;
/// Additional header segments accepted: all that the length field can say, so that no header breaks the stream.
const MAX_AHS: usize = 255 * 4;
/// Queued output above which no further input is looked at, bytes.
const HIGH_WATER: usize = 1024 * 1024;

/// Everything needed to make sessions of one target.
#[derive(Clone, Debug)]
pub struct SessionParts {
    /// The array behind the target.
    pub array: ArrayHandle,
    /// Sessions of the same target.
    pub registry: Registry,
    /// Limits and wishes.
    pub config: Arc<TargetConfig>,
}

/// One connection and its session.
pub struct Session {
    common: Common,
    login: Option<Box<Login>>,
    full: Option<Box<Full>>,
    /// Handle, initiator and whether it is counted at the array, once in full feature phase.
    joined: Option<(u16, String, bool)>,
    /// A PDU that a fault delays, and when it is due.
    delayed: Option<(Duration, RawPdu)>,
    opened: Duration,
    last_input: Duration,
    /// Bytes that the last call left in the input.
    unread: usize,
    ping_sent: Option<Duration>,
    /// The latest moment this session heard of.
    clock: Duration,
    /// Bytes of a PDU with a damaged header that are still to be thrown away.
    skip: usize,
    /// Damaged headers in a row.
    damaged_headers: u8,
    /// Output at the last look, and when some of it was last taken.
    queued: usize,
    progressed: Duration,
    /// When an initiator that was asked to log out must be gone.
    leave_by: Option<Duration>,
}

impl Session {
    /// A connection that was accepted at `now` on `portal`.
    pub fn new(
        parts: &SessionParts,
        around: Box<dyn Surroundings>,
        portal: PortalContext,
        now: Duration,
    ) -> Session {
        Session {
            common: Common {
                config: Arc::clone(&parts.config),
                array: parts.array.clone(),
                registry: parts.registry.clone(),
                mailbox: Arc::new(Mailbox::default()),
                around,
                portal: portal.clone(),
                out: Outbox::new(),
                digests: Digests::default(),
                numbers: Numbers { stat_sn: 1, exp_cmd_sn: 0, max_cmd_sn: 0 },
                replay: None,
                power_generation: 0,
                hold_output: None,
                closed: None,
            },
            login: Some(Box::new(Login::new(portal))),
            full: None,
            joined: None,
            delayed: None,
            opened: now,
            last_input: now,
            unread: 0,
            ping_sent: None,
            clock: now,
            skip: 0,
            damaged_headers: 0,
            queued: 0,
            progressed: now,
            leave_by: None,
        }
    }

    /// Queued output; drain it as far as the connection takes it, unless [`Session::output_held_until`] says when.
    pub fn out(&mut self) -> &mut Outbox {
        &mut self.common.out
    }

    /// Until when a fault holds the output back, if it does.
    pub fn output_held_until(&self, now: Duration) -> Option<Duration> {
        self.common.hold_output.filter(|until| now < *until)
    }

    /// The promise of the array's journal that an answer of this session waits for, if one does. When it is kept,
    /// [`Session::handle`] lets the answer go.
    pub fn awaits(&self) -> Option<u64> {
        self.full.as_ref().and_then(|full| full.limited.awaits())
    }

    /// Why the session ended; the connection closes when the output is drained.
    pub fn closed(&self) -> Option<&'static str> {
        self.common.closed
    }

    /// True in full feature phase.
    pub fn is_full_feature(&self) -> bool {
        self.full.is_some()
    }

    /// True while there is room for more input; with false, drain the output first.
    pub fn wants_input(&self) -> bool {
        self.common.closed.is_none() && self.delayed.is_none() && self.common.out.len() < HIGH_WATER
    }

    pub(crate) fn mailbox(&self) -> Arc<Mailbox> {
        Arc::clone(&self.common.mailbox)
    }

    /// Takes whole PDUs from the front of `input` and acts on them until the input runs dry, the output is full or a
    /// fault delays.
    pub fn handle(&mut self, now: Duration, input: &mut BytesMut) {
        // Half a PDU that lies there is no sign of life; only what is new counts.
        if input.len() > self.unread {
            self.last_input = now;
            self.ping_sent = None;
        }
        self.watch_output(now);
        self.release(now);
        if self.awaits().is_some()
            && let Some(full) = &mut self.full
        {
            full.release_promised(&mut self.common, now);
        }
        self.consume(now, input);
        if self.common.closed.is_some() {
            input.clear();
        }
        self.unread = input.len();
        self.queued = self.common.out.len();
    }

    /// Notices whether the peer takes its answers.
    fn watch_output(&mut self, now: Duration) {
        self.clock = now;
        let left = self.common.out.len();
        if left == 0 || left < self.queued || self.common.hold_output.is_some() {
            self.progressed = now;
        }
        self.queued = left;
    }

    fn consume(&mut self, now: Duration, input: &mut BytesMut) {
        while self.wants_input() && self.output_held_until(now).is_none() {
            if self.skip > 0 {
                let gone = self.skip.min(input.len());
                input.advance(gone);
                self.skip -= gone;
                if self.skip > 0 {
                    return;
                }
            }
            let limits = FrameLimits {
                max_data_segment: match self.full {
                    Some(_) => self.common.config.max_recv_data_segment as usize,
                    None => LOGIN_SEGMENT,
                },
                max_ahs: MAX_AHS,
            };
            match decode(input, limits, self.common.digests) {
                Ok(Decoded::NeedMore(_)) => {
                    let planted = self.common.config.defects.split_header_dropped && self.full.is_some();
                    if planted && input.len() < size_of::<Bhs>() {
                        input.clear();
                    }
                    return;
                }
                Ok(Decoded::Pdu(raw)) => {
                    self.damaged_headers = 0;
                    self.receive(now, raw);
                }
                Err(broken) => self.broken(broken, input),
            }
        }
    }

    /// Acts on a delayed PDU and lets held output go when their time has come.
    fn release(&mut self, now: Duration) {
        if self.common.hold_output.is_some_and(|until| until <= now) {
            self.common.hold_output = None;
        }
        if let Some((due, raw)) = self.delayed.take() {
            if due <= now && self.common.closed.is_none() {
                self.act(now, raw, false);
            } else {
                self.delayed = Some((due, raw));
            }
        }
    }

    fn broken(&mut self, broken: Broken, input: &BytesMut) {
        match broken {
            Broken::HeaderDigest { .. } => self.damaged_header(input),
            Broken::DataTooLong { bhs, .. } | Broken::AhsTooLong { bhs, .. } => {
                if self.full.is_some() {
                    self.common.reject(RejectReason::PROTOCOL_ERROR, &bhs);
                }
                self.common.close("PDU over the negotiated length");
            }
        }
    }

    /// A header digest error (RFC 7143 section 7.7). Below recovery level 1 nothing behind it can be trusted; with level 1
    /// the PDU is thrown away when its length is credible, which the digest of the next header will show.
    fn damaged_header(&mut self, input: &BytesMut) {
        self.damaged_headers += 1;
        let level = self.full.as_ref().map_or(0, |full| full.params.error_recovery_level);
        let head = input.first_chunk().map(|head| Bhs(*head));
        let longest = self.common.config.max_recv_data_segment as usize;
        let credible = |head: &Bhs| head.data_len() <= longest && head.opcode().is_some();
        let Some(head) = head.filter(|head| level > 0 && self.damaged_headers < 2 && credible(head)) else {
            return self.common.close("header digest error");
        };
        let data = head.data_len();
        let digest = if self.common.digests.data && data > 0 { 4 } else { 0 };
        self.skip = head.0.len() + head.ahs_len() + 4 + data + padding(data) + digest;
    }

    /// Asks the fault plan about a PDU, then acts on it.
    fn receive(&mut self, now: Duration, raw: RawPdu) {
        let point = match raw.bhs.opcode() {
            Some(Opcode::LoginRequest) if self.login.is_some() => "target.login",
            Some(Opcode::ScsiCommand) if self.full.is_some() => "target.command.before",
            _ => return self.act(now, raw, false),
        };
        let mut fault = self.common.around.fault(point);
        if fault.is_none()
            && self.full.is_some()
            && let Some(named) = named_point(raw.bhs.0[32])
        {
            fault = self.common.around.fault(named);
        }
        match fault {
            None => self.act(now, raw, false),
            Some(Fault::Delay(delay)) => self.delayed = Some((now + delay, raw)),
            Some(Fault::CrashNode) => self.common.crash(),
            Some(Fault::DropReply) => self.act(now, raw, true),
            Some(Fault::Answer(Wrong::Code(code))) if self.full.is_some() => {
                if let Some(full) = &mut self.full
                    && full.upset(&mut self.common, now, &raw, code)
                {
                    self.act(now, raw, false);
                }
            }
            Some(Fault::Fail | Fault::Answer(_) | Fault::Message(_)) => {
                match (&mut self.full, LoginRequest::parse(&raw)) {
                    (Some(full), _) => full.fail_command(&mut self.common, now, &raw),
                    (None, Ok(request)) => {
                        self.refuse(
                            &request,
                            Refused::new(LoginStatus::SERVICE_UNAVAILABLE, "fault injected"),
                        );
                    }
                    (None, Err(_)) => self.common.close("malformed login"),
                }
            }
        }
    }

    /// Acts on one PDU. With `mute` the work is done and its answer is lost.
    fn act(&mut self, now: Duration, raw: RawPdu, mute: bool) {
        if let Some(full) = &mut self.full {
            return full.receive(&mut self.common, now, raw, mute);
        }
        let request = match LoginRequest::parse(&raw) {
            Ok(request) => request,
            // Before the full feature phase nothing but login is legal (RFC 7143 section 6.3).
            Err(_) if raw.bhs.opcode() != Some(Opcode::LoginRequest) => {
                return self.common.close("not a login request");
            }
            Err(malformed) => {
                // Without the reserved stages that made it malformed it can be answered.
                let mut raw = raw;
                raw.bhs.0[1] = 0;
                let Ok(request) = LoginRequest::parse(&raw) else {
                    return self.common.close("malformed login");
                };
                return self
                    .refuse(&request, Refused::new(LoginStatus::INITIATOR_ERROR, malformed.to_string()));
            }
        };
        let before = mute.then(|| std::mem::take(&mut self.common.out));
        self.log_in(&request);
        if let Some(before) = before {
            self.common.out = before;
        }
    }

    fn log_in(&mut self, request: &LoginRequest) {
        let Some(login) = &mut self.login else { return };
        let common = &mut self.common;
        if login.initiator().is_empty() {
            // The first request of the leading connection sets the numbers (RFC 7143 section 11.12.9).
            common.numbers.exp_cmd_sn = request.cmd_sn;
            common.numbers.max_cmd_sn = request.cmd_sn;
            common.numbers.open_window(common.config.queue_depth, 0);
        }
        login.redirect = common.registry.redirect(common.portal.local);
        let around = &mut common.around;
        let step =
            login.handle(request, &common.array.lock(), &common.config, &mut |buf| around.entropy(buf));
        let step = match step {
            Ok(step) => step,
            Err(refused) => return self.refuse(request, refused),
        };
        let done = step.stages.next == Some(Stage::FullFeature);
        let mut response = login::response(request, step);
        let mut digests = None;
        if done {
            match self.enter_full_feature() {
                Ok((tsih, agreed)) => {
                    response.tsih = tsih;
                    digests = Some(agreed);
                }
                Err(refused) => return self.refuse(request, refused),
            }
        }
        let numbers = &mut self.common.numbers;
        response.stat_sn = numbers.take_stat();
        response.exp_cmd_sn = numbers.exp_cmd_sn;
        response.max_cmd_sn = numbers.max_cmd_sn;
        self.common.send(response);
        // Digests begin with the first PDU after the last login response.
        if let Some(digests) = digests {
            self.common.digests = digests;
            self.login = None;
        }
    }

    fn enter_full_feature(&mut self) -> Result<(u16, Digests), Refused> {
        let agreed = self.login.as_ref().and_then(|login| login.finish());
        let Some(agreed) = agreed else {
            return Err(Refused::new(LoginStatus::INITIATOR_ERROR, "login ended before it began"));
        };
        let common = &mut self.common;
        let normal = agreed.target.is_some();
        let nexus = NexusName {
            initiator: agreed.initiator.clone(),
            isid: agreed.isid,
            portal_group: normal.then_some(common.portal.tpgt),
        };
        common.power_generation = common.array.lock().power_generation();
        if let Some(how) = common.lost(&common.array.lock()) {
            return Err(Refused::new(LoginStatus::SERVICE_UNAVAILABLE, how.text()));
        }
        let mut seed = [0; 2];
        common.around.entropy(&mut seed);
        let known = nexus.clone();
        let joiner = Joiner {
            nexus,
            tsih: agreed.tsih,
            cid: agreed.cid,
            local: common.portal.local,
            port: common.portal.relative_port,
        };
        let seed = u16::from_be_bytes(seed);
        let joined = common.registry.join(joiner, seed, &common.mailbox, common.config.defects);
        let tsih = joined.map_err(|error| {
            let (status, why) = match error {
                JoinError::NoSuchSession => (LoginStatus::SESSION_DOES_NOT_EXIST, "no such session"),
                JoinError::TooManyConnections => {
                    (LoginStatus::TOO_MANY_CONNECTIONS, "one connection a session")
                }
                JoinError::Full => (LoginStatus::OUT_OF_RESOURCES, "no session handle is free"),
            };
            Refused::new(status, why)
        })?;
        // Taking the lock waits for what a reinstated session was doing; it does nothing more afterwards.
        drop(common.array.lock());
        if agreed.params.error_recovery_level > 0 {
            common.replay = Some(Box::new(Replay::new(common.config.replay_buffer)));
        }
        let unit_nexus = agreed.target.as_ref().map(|target| {
            let mut array = common.array.lock();
            array.count_session(&agreed.initiator, true);
            let port = PortIdentity {
                tpgt: common.portal.tpgt,
                relative: common.portal.relative_port,
                target: target.clone(),
            };
            let parts = NexusParts {
                initiator: &agreed.initiator,
                isid: agreed.isid,
                port,
                defects: common.config.defects,
                allow_sanitize: common.config.allow_sanitize,
                returns: common.registry.returns(known, array.power_generation()),
            };
            Nexus::new(&mut array, parts)
        });
        self.joined = Some((tsih, agreed.initiator.clone(), normal));
        let (initiator, portal) = (&agreed.initiator, common.portal.local);
        common.around.note("iscsi", &|| {
            json!({"event": "login", "initiator": initiator, "portal": portal.to_string(), "tsih": tsih,
                "session": if normal { "normal" } else { "discovery" }, "keys": keys(&agreed.params)})
        });
        let digests = agreed.params.digests;
        self.full = Some(Box::new(Full::new(agreed, unit_nexus, tsih)));
        Ok((tsih, digests))
    }

    /// Answers with a status and ends the connection.
    fn refuse(&mut self, request: &LoginRequest, refused: Refused) {
        let initiator = self.login.as_ref().map_or(String::new(), |login| login.initiator().to_owned());
        let (status, why) = (refused.status, &refused.why);
        self.common.around.note("iscsi", &|| {
            json!({"event": "login_refused", "initiator": initiator, "status": format!("{:04x}", status.0), "why": why})
        });
        let numbers = self.common.numbers;
        let mut response = login::refusal(request, &refused);
        response.stat_sn = numbers.stat_sn;
        response.exp_cmd_sn = numbers.exp_cmd_sn;
        response.max_cmd_sn = numbers.max_cmd_sn;
        self.common.send(response);
        self.common.close("login refused");
    }

    /// The next moment at which [`Session::handle_timer`] has something to do.
    pub fn next_timer(&self) -> Option<Duration> {
        let config = &self.common.config;
        let idle = match (&self.full, self.ping_sent) {
            (None, _) => Some(self.opened + config.login_timeout),
            (Some(_), Some(sent)) => Some(sent + config.ping_timeout),
            (Some(_), None) => {
                (!config.ping_interval.is_zero()).then(|| self.last_input + config.ping_interval)
            }
        };
        let delayed = self.delayed.as_ref().map(|(due, _)| *due);
        let limited = self.full.as_ref().and_then(|full| full.limited.due());
        [idle, delayed, self.common.hold_output, self.gives_up_at(), self.leave_by, limited]
            .into_iter()
            .flatten()
            .min()
    }

    /// When a peer is given up that takes none of the answers that wait for it; while none do, that moves on.
    fn gives_up_at(&self) -> Option<Duration> {
        let limit = self.common.config.stall_timeout;
        (!limit.is_zero()).then(|| self.progressed + limit)
    }

    /// Acts on what is due: login time limit, pings, delayed PDUs. Call [`Session::handle`] afterwards, since a delay may
    /// have kept input waiting.
    pub fn handle_timer(&mut self, now: Duration) {
        self.watch_output(now);
        self.release(now);
        if self.common.closed.is_some() {
            // Who was cut off in the middle of a PDU must not be pinged behind it.
            return;
        }
        if let Some(full) = &mut self.full {
            full.release_promised(&mut self.common, now);
            full.release_limited(&mut self.common, now);
        }
        let config = Arc::clone(&self.common.config);
        if self.gives_up_at().is_some_and(|due| due <= now) {
            return self.common.cut("the peer takes no answers");
        }
        if self.leave_by.is_some_and(|due| due <= now) {
            self.leave_by = None;
            if let Some(full) = &mut self.full {
                full.farewell(&mut self.common, AsyncEvent::SESSION_DROPPED);
            }
        }
        match (&mut self.full, self.ping_sent) {
            (None, _) if now >= self.opened + config.login_timeout => {
                self.common.close("login takes too long")
            }
            (Some(_), Some(sent)) if now >= sent + config.ping_timeout => {
                self.common.close("no answer to a ping");
            }
            (Some(full), None)
                if !config.ping_interval.is_zero() && now >= self.last_input + config.ping_interval =>
            {
                full.ping(&mut self.common);
                self.ping_sent = Some(now);
            }
            _ => {}
        }
    }

    /// Takes the events that other sessions posted.
    pub fn handle_events(&mut self) {
        match &mut self.full {
            Some(full) => {
                full.absorb(&mut self.common);
                full.release_mirrored(&mut self.common, self.clock);
            }
            None if self.common.mailbox.is_pending() => self.common.mailbox.take().clear(),
            None => {}
        }
        if let Some(within) = self.full.as_mut().and_then(|full| full.leave_within.take()) {
            let due = self.clock + within;
            self.leave_by = Some(self.leave_by.map_or(due, |before| before.min(due)));
        }
    }
}

impl Drop for Session {
    /// However a connection ends, its handle and its count go.
    fn drop(&mut self) {
        if let Some((tsih, initiator, counted)) = self.joined.take() {
            let last = self.common.registry.leave(tsih, &self.common.mailbox);
            if counted {
                let mut array = self.common.array.lock();
                array.count_session(&initiator, false);
                // A session that was replaced leaves nothing: its successor has the nexus now.
                if let Some(nexus) = self.full.as_ref().and_then(|full| full.nexus.as_ref()).filter(|_| last)
                {
                    nexus.end(&mut array);
                }
            }
            let why = self.common.closed.unwrap_or("connection lost");
            self.common.around.note(
                "iscsi",
                &|| json!({"event": "closed", "initiator": initiator, "tsih": tsih, "why": why}),
            );
        }
    }
}

/// What was agreed on, for the history (RFC 7143 section 13).
fn keys(params: &Params) -> serde_json::Value {
    let digest = |on: bool| if on { "CRC32C" } else { "None" };
    let yes = |on: bool| if on { "Yes" } else { "No" };
    json!({
        "HeaderDigest": digest(params.digests.header), "DataDigest": digest(params.digests.data),
        "InitialR2T": yes(params.initial_r2t), "ImmediateData": yes(params.immediate_data),
        "MaxBurstLength": params.max_burst, "FirstBurstLength": params.first_burst,
        "MaxOutstandingR2T": params.max_outstanding_r2t, "ErrorRecoveryLevel": params.error_recovery_level,
    })
}

/// Fault points of single commands, each with its operation codes (byte 0 of the CDB, which is byte 32 of the header). READ has none:
/// the point of all commands serves it.
const COMMAND_POINTS: [(&str, &[u8]); 9] = [
    ("target.command.before:TEST UNIT READY", &[0x00]),
    ("target.command.before:INQUIRY", &[0x12]),
    ("target.command.before:MODE SENSE", &[0x1a, 0x5a]),
    ("target.command.before:WRITE", &[0x2a, 0x8a]),
    ("target.command.before:READ CAPACITY", &[0x25, 0x9e]),
    ("target.command.before:SYNCHRONIZE CACHE", &[0x35, 0x91]),
    ("target.command.before:UNMAP", &[0x42]),
    ("target.command.before:REPORT LUNS", &[0xa0]),
    ("target.command.before:REPORT TARGET PORT GROUPS", &[0xa3]),
];

/// Every fault point that a target asks.
pub fn fault_points() -> impl Iterator<Item = &'static str> {
    let single = COMMAND_POINTS.iter().map(|(point, _)| *point);
    ["target.login", "target.command.before", "target.command.after"].into_iter().chain(single)
}

fn named_point(operation: u8) -> Option<&'static str> {
    COMMAND_POINTS.iter().find(|(_, codes)| codes.contains(&operation)).map(|(point, _)| *point)
}
