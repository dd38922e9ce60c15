//! A hand-driven initiator over the sans-IO session: no sockets, no tasks, time by hand.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use sanbench_array::{
    Array, ArrayConfig, ArrayHandle, Chap, ChapCredentials, ChapUpdate, Command, DeviceId, GroupRef,
    PoolConfig, PortalConfig, Secret,
};
use sanbench_target::{PortalContext, Registry, Session, SessionParts, Surroundings, TargetConfig};
use sanbench_wire::Pdu;
use sanbench_wire::bhs::RESERVED_TAG;
use sanbench_wire::frame::{Decoded, Digests, FrameLimits, Outbox, decode};
use sanbench_wire::keys;
use sanbench_wire::pdu::*;
use sanbench_wire::scsi::cdb::{Cdb, Transfer, Width};
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::sense::Sense;
use sanbench_wire::scsi::status::Status;
use sanbench_world::Fault;
use serde_json::Value;

pub const HOST: &str = "iqn.2026-01.org.example:host-a";
pub const OTHER: &str = "iqn.2026-01.org.example:host-b";
pub const NOW: Duration = Duration::from_secs(1);

/// Faults by point, and the notes that were made.
#[derive(Clone, Default)]
pub struct Script(Arc<Mutex<Scripted>>);

#[derive(Default)]
struct Scripted {
    faults: BTreeMap<&'static str, Fault>,
    notes: Vec<String>,
}

impl Script {
    pub fn fault_once(&self, point: &'static str, fault: Fault) {
        self.0.lock().unwrap().faults.insert(point, fault);
    }
    pub fn notes(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().notes)
    }
}

struct Around(Script, u8);

impl Surroundings for Around {
    fn entropy(&mut self, buf: &mut [u8]) {
        for byte in buf {
            self.1 = self.1.wrapping_mul(5).wrapping_add(7);
            *byte = self.1;
        }
    }
    fn fault(&mut self, point: &'static str) -> Option<Fault> {
        self.0.0.lock().unwrap().faults.remove(point)
    }
    fn note(&mut self, topic: &'static str, detail: &dyn Fn() -> Value) {
        self.0.0.lock().unwrap().notes.push(format!("{topic} {}", detail()));
    }
    fn crash(&mut self) {
        self.0.0.lock().unwrap().notes.push("crash".to_owned());
    }
}

pub struct Bench {
    pub parts: SessionParts,
    pub script: Script,
    seed: u8,
}

impl Bench {
    pub fn new() -> Bench {
        Bench::with(TargetConfig::default())
    }

    /// Two portals, one pool, a host for [`HOST`] with LUN group `lg` in view; nothing mapped yet.
    pub fn with(config: TargetConfig) -> Bench {
        let portal = |n: u8| PortalConfig {
            address: ([10, 0, 0, n], 3260).into(),
            port_no: 20_200 + u32::from(n),
            tpgt: u16::from(n),
            controller: (n - 1) % 2,
        };
        let array = Array::new(ArrayConfig {
            pools: vec![PoolConfig::new("pool0", 1 << 16)],
            portals: vec![portal(1), portal(2)],
            ..ArrayConfig::default()
        });
        let bench = Bench {
            parts: SessionParts {
                array: ArrayHandle::new(array),
                registry: Registry::new(),
                config: Arc::new(config),
            },
            script: Script::default(),
            seed: 0,
        };
        let host = bench.apply(Command::CreateHost { name: "a".into(), description: String::new() });
        let group = bench.apply(Command::CreateHostGroup { name: "hg".into(), description: String::new() });
        bench.apply(Command::AddHostToGroup { group, host });
        let luns = bench.apply(Command::CreateLunGroup { name: "lg".into(), description: String::new() });
        let view = bench.apply(Command::CreateView { name: "v".into(), description: String::new() });
        bench.apply(Command::AddToView { view, group: GroupRef::Host(group) });
        bench.apply(Command::AddToView { view, group: GroupRef::Lun(luns) });
        bench.apply(Command::AddInitiator { iqn: HOST.into() });
        bench.apply(Command::BindInitiator { iqn: HOST.into(), host });
        bench
    }

    /// Applies a management command; the id of what it made, or 0.
    pub fn apply(&self, command: Command) -> u64 {
        let shown = format!("{command:?}");
        self.parts
            .array
            .lock()
            .apply(NOW, command)
            .unwrap_or_else(|e| panic!("{shown}: {e}"))
            .id()
            .unwrap_or(0)
    }

    pub fn lun_group(&self) -> u64 {
        self.parts.array.lock().lun_groups().next().unwrap().id
    }

    /// Makes a thin LUN.
    pub fn lun(&self, name: &str, blocks: u64) -> u64 {
        let (name, description) = (name.to_owned(), String::new());
        self.apply(Command::CreateLun { name, description, pool: 0, blocks, thin: true })
    }

    /// Shows a device to the host; its LUN number.
    pub fn map(&self, object: DeviceId) -> u16 {
        self.apply(Command::AddToLunGroup { group: self.lun_group(), object });
        let array = self.parts.array.lock();
        array.view(HOST).into_iter().find(|(_, device)| *device == object).unwrap().0
    }

    pub fn unmap(&self, object: DeviceId) {
        self.apply(Command::RemoveFromLunGroup { group: self.lun_group(), object });
    }

    pub fn chap(&self, mutual: bool) -> Chap {
        let credentials =
            |name: &str, secret: &str| ChapCredentials { name: name.into(), secret: Secret::new(secret) };
        let chap = Chap {
            initiator: credentials("alice", "wonderland-01"),
            mutual: mutual.then(|| credentials("array", "looking-glass")),
        };
        let update = ChapUpdate::Enable(chap.clone());
        self.apply(Command::UpdateInitiator { iqn: HOST.into(), chap: update, multipath: None });
        chap
    }

    pub fn target(&self) -> String {
        self.parts.array.lock().target_iqn().to_owned()
    }

    pub fn connect(&mut self) -> Conn {
        self.connect_to(1)
    }

    pub fn connect_to(&mut self, portal: u8) -> Conn {
        self.seed += 1;
        let context = PortalContext {
            local: ([10, 0, 0, portal], 3260).into(),
            tpgt: u16::from(portal),
            relative_port: u16::from(portal),
        };
        Conn {
            session: Session::new(
                &self.parts,
                Box::new(Around(self.script.clone(), self.seed)),
                context,
                NOW,
            ),
            now: NOW,
            outgoing: BytesMut::new(),
            incoming: BytesMut::new(),
            digests: Digests::default(),
            cmd_sn: 100,
            itt: 0x10,
            isid: [0x80, 0, 0, 0, 0, self.seed],
            piece: usize::MAX,
        }
    }

    /// A connection in full feature phase, power-on attentions still waiting.
    pub fn session(&mut self) -> Conn {
        let target = self.target();
        let mut conn = self.connect();
        conn.log_in(HOST, Some(&target), OPERATIONAL);
        conn
    }

    /// A connection in full feature phase, with the attention of one LUN taken.
    pub fn ready(&mut self, lun: u16) -> Conn {
        let mut conn = self.session();
        let (status, ..) = conn.run(lun, Cdb::TestUnitReady, 0);
        assert_eq!(status, Status::CHECK_CONDITION);
        conn
    }
}

/// What the test initiators ask for: small segments, so that everything is split.
pub const OPERATIONAL: &[(&str, &str)] = &[
    ("HeaderDigest", "None"),
    ("DataDigest", "None"),
    ("MaxRecvDataSegmentLength", "4096"),
    ("MaxBurstLength", "8192"),
    ("FirstBurstLength", "4096"),
    ("InitialR2T", "No"),
    ("ImmediateData", "Yes"),
    ("MaxOutstandingR2T", "2"),
];

pub struct Conn {
    pub session: Session,
    pub now: Duration,
    pub outgoing: BytesMut,
    pub incoming: BytesMut,
    pub digests: Digests,
    pub cmd_sn: u32,
    pub itt: u32,
    pub isid: [u8; 6],
    /// Input is given in pieces of this many bytes.
    pub piece: usize,
}

impl Conn {
    /// Gives raw bytes to the session and collects its answers.
    pub fn raw(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            self.session.handle(self.now, &mut self.outgoing);
            self.collect();
        }
        for piece in bytes.chunks(self.piece.min(bytes.len()).max(1)) {
            self.outgoing.extend_from_slice(piece);
            self.session.handle(self.now, &mut self.outgoing);
            self.collect();
        }
    }

    /// Takes the session's output.
    pub fn collect(&mut self) {
        while !self.session.out().is_empty() && self.session.output_held_until(self.now).is_none() {
            let out = self.session.out().take_all();
            self.incoming.extend_from_slice(&out);
            self.session.handle(self.now, &mut self.outgoing);
        }
    }

    pub fn send(&mut self, pdu: impl Into<Pdu>) {
        let mut out = Outbox::new();
        pdu.into().push_to(&mut out, self.digests);
        let bytes = out.take_all();
        self.raw(&bytes);
    }

    /// The next PDU from the session, if there is one.
    pub fn next(&mut self) -> Option<Pdu> {
        let limits = FrameLimits { max_data_segment: 1 << 20, max_ahs: 0 };
        match decode(&mut self.incoming, limits, self.digests).unwrap() {
            Decoded::Pdu(raw) => {
                assert!(raw.data_digest_ok);
                Some(Pdu::parse(&raw).unwrap())
            }
            Decoded::NeedMore(_) => {
                assert!(!self.incoming.has_remaining(), "half a PDU");
                None
            }
        }
    }

    pub fn rest(&mut self) -> Vec<Pdu> {
        std::iter::from_fn(|| self.next()).collect()
    }

    pub fn login_request(&self, current: Stage, next: Option<Stage>, pairs: &[(&str, &str)]) -> LoginRequest {
        LoginRequest {
            stages: Stages { continues: false, current, next },
            version_max: 0,
            version_min: 0,
            isid: self.isid,
            tsih: 0,
            itt: 1,
            cid: 1,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: 0,
            text: keys::encode(pairs.iter().copied()).into(),
        }
    }

    /// Sends a login request and gives the answer with its text.
    pub fn login_step(
        &mut self,
        current: Stage,
        next: Option<Stage>,
        pairs: &[(&str, &str)],
    ) -> (LoginResponse, Vec<keys::Pair>) {
        let request = self.login_request(current, next, pairs);
        self.login_raw(request)
    }

    pub fn login_raw(&mut self, request: LoginRequest) -> (LoginResponse, Vec<keys::Pair>) {
        self.send(request);
        let Some(Pdu::LoginResponse(response)) = self.next() else { panic!("no login response") };
        let text = keys::decode(&response.text, keys::KeyLimits::RFC).unwrap();
        (response, text)
    }

    /// Logs in without authentication, straight in the operational stage.
    pub fn log_in(&mut self, initiator: &str, target: Option<&str>, keys: &[(&str, &str)]) -> LoginResponse {
        let mut pairs = vec![("InitiatorName", initiator)];
        match target {
            Some(target) => pairs.push(("TargetName", target)),
            None => pairs.push(("SessionType", "Discovery")),
        }
        pairs.extend(keys);
        let (response, text) = self.login_step(Stage::Operational, Some(Stage::FullFeature), &pairs);
        let on = |key: &str| text.contains(&(key.to_owned(), "CRC32C".to_owned()));
        self.digests = Digests { header: on("HeaderDigest"), data: on("DataDigest") };
        response
    }

    pub fn command(&mut self, lun: u16, cdb: Cdb, read: u32, write: Option<u32>) -> ScsiCommand {
        self.itt += 1;
        self.cmd_sn += 1;
        ScsiCommand {
            immediate: false,
            last: true,
            read: read > 0,
            write: write.is_some(),
            attribute: TaskAttribute::SIMPLE,
            lun: Lun::from_number(lun).unwrap(),
            itt: self.itt,
            expected_length: write.unwrap_or(read),
            cmd_sn: self.cmd_sn - 1,
            exp_stat_sn: 0,
            cdb: cdb.build().unwrap(),
            ahs: Bytes::new(),
            data: Bytes::new(),
        }
    }

    /// Runs a command that reads up to `read` bytes: status, data, sense, residual. Checks every Data-In on the way.
    pub fn run(&mut self, lun: u16, cdb: Cdb, read: u32) -> (Status, Vec<u8>, Option<Sense>, Residual) {
        let command = self.command(lun, cdb, read, None);
        self.send(command);
        self.finish(4096, 8192)
    }

    /// Collects Data-In and status of the one command under way.
    pub fn finish(&mut self, segment: usize, burst: usize) -> (Status, Vec<u8>, Option<Sense>, Residual) {
        let mut data = Vec::new();
        let (mut in_burst, mut data_sn) = (0, 0);
        loop {
            match self.next().expect("an answer") {
                Pdu::DataIn(p) => {
                    assert_eq!((p.itt, p.offset as usize, p.data_sn), (self.itt, data.len(), data_sn));
                    assert!(p.data.len() <= segment);
                    data_sn += 1;
                    in_burst += p.data.len();
                    assert!(in_burst <= burst);
                    data.extend_from_slice(&p.data);
                    if p.last {
                        in_burst = 0;
                    }
                    if let Some(s) = p.status {
                        assert!(p.last);
                        return (s.status, data, None, s.residual);
                    }
                }
                Pdu::ScsiResponse(p) => {
                    assert_eq!((p.itt, p.response), (self.itt, ResponseCode::COMPLETED));
                    return (p.status, data, Sense::parse(&p.sense), p.residual);
                }
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    /// The sense of a command that must fail.
    pub fn fails(&mut self, lun: u16, cdb: Cdb) -> Sense {
        let (status, _, sense, _) = self.run(lun, cdb, 0);
        assert_eq!(status, Status::CHECK_CONDITION, "{cdb:?}");
        sense.unwrap()
    }

    /// Reads blocks; panics unless GOOD.
    pub fn read(&mut self, lun: u16, lba: u64, blocks: u32) -> Vec<u8> {
        let cdb = Cdb::Read(Transfer::new(Width::Sixteen, lba, blocks));
        let (status, data, sense, residual) = self.run(lun, cdb, blocks * 512);
        assert_eq!((status, residual), (Status::GOOD, Residual::None), "{sense:?}");
        data
    }

    /// Runs a command with write data: immediate data up to what was agreed, then as the R2Ts ask.
    pub fn put(&mut self, lun: u16, cdb: Cdb, data: &[u8]) -> (Status, Option<Sense>, Residual) {
        let mut command = self.command(lun, cdb, 0, Some(data.len() as u32));
        let first = data.len().min(2048);
        command.data = Bytes::copy_from_slice(&data[..first]);
        self.send(command);
        loop {
            match self.next().expect("an answer") {
                Pdu::R2t(r2t) => self.answer(&r2t, data, 4096),
                Pdu::ScsiResponse(p) => return (p.status, Sense::parse(&p.sense), p.residual),
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    /// Sends the data that an R2T asks for, in segments.
    pub fn answer(&mut self, r2t: &R2t, data: &[u8], segment: usize) {
        let end = (r2t.offset + r2t.length) as usize;
        let mut offset = r2t.offset as usize;
        let mut data_sn = 0;
        while offset < end {
            let next = end.min(offset + segment);
            self.send(DataOut {
                last: next == end,
                lun: r2t.lun,
                itt: r2t.itt,
                ttt: r2t.ttt,
                exp_stat_sn: 0,
                data_sn,
                offset: offset as u32,
                data: Bytes::copy_from_slice(&data[offset..next]),
            });
            offset = next;
            data_sn += 1;
        }
    }

    pub fn unsolicited(&self, offset: u32, data_sn: u32, last: bool, data: &[u8]) -> DataOut {
        DataOut {
            last,
            lun: Lun::ZERO,
            itt: self.itt,
            ttt: RESERVED_TAG,
            exp_stat_sn: 0,
            data_sn,
            offset,
            data: Bytes::copy_from_slice(data),
        }
    }

    pub fn text(&mut self, pairs: &[(&str, &str)]) -> Vec<keys::Pair> {
        self.cmd_sn += 1;
        self.itt += 1;
        let mut all = Vec::new();
        let mut ttt = RESERVED_TAG;
        let mut text = Bytes::from(keys::encode(pairs.iter().copied()));
        loop {
            let (itt, cmd_sn) = (self.itt, self.cmd_sn - 1);
            let immediate = ttt != RESERVED_TAG;
            self.send(TextRequest {
                immediate,
                last: true,
                continues: false,
                lun: Lun::ZERO,
                itt,
                ttt,
                cmd_sn,
                exp_stat_sn: 0,
                text,
            });
            let Some(Pdu::TextResponse(response)) = self.next() else { panic!("no text response") };
            all.extend_from_slice(&response.text);
            if response.last {
                return keys::decode(&all, keys::KeyLimits::RFC).unwrap();
            }
            ttt = response.ttt;
            text = Bytes::new();
        }
    }
}

/// Blocks that differ from each other.
pub fn pattern(blocks: usize, salt: u8) -> Vec<u8> {
    (0..blocks * 512).map(|i| (i / 512) as u8 ^ (i % 251) as u8 ^ salt).collect()
}
