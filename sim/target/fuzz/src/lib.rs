//! What the fuzz targets of the target do with one input. `tests/fuzz_corpus.rs` includes this file too and replays the
//! corpora, so that a finding stays found without libFuzzer.
//!
//! No input may panic, make the target speak malformed iSCSI, leave the array inconsistent, let anybody in without proof, or
//! make more than a bounded amount of output wait.
#![allow(unreachable_pub, dead_code, reason = "a library to libFuzzer, a module to the test that replays")]

pub mod talker;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use md5::{Digest, Md5};
use sanbench_array::{
    Array, ArrayConfig, ArrayHandle, Chap, ChapCredentials, Command, PoolConfig, PortalConfig, Secret,
};
use sanbench_target::{PortalContext, Registry, Session, SessionParts, Surroundings, TargetConfig};
use sanbench_wire::Pdu;
use sanbench_wire::frame::{Decoded, Digests, FrameLimits, decode};
use sanbench_wire::keys::{self, KeyLimits};
use sanbench_wire::pdu::{DataOut, LoginRequest, ResponseCode, ScsiCommand, Stage, Stages, TaskAttribute};
use sanbench_wire::scsi::luns::Lun;
use sanbench_world::Fault;
use serde_json::Value;
use talker::{Choices, Phase, Talker, plain};

/// Name of the well-known initiator.
const HOST: &str = "iqn.2026-01.org.example:host";
const START: Duration = Duration::from_secs(1);
/// Blocks of the one unit.
const BLOCKS: u64 = 512;
/// What may wait for a peer that does not read, bytes: the high-water mark and the answers of one read of everything.
const MOST_OUTPUT: usize = (1 << 20) + (8 << 20);

struct Around(u8);

impl Surroundings for Around {
    fn entropy(&mut self, buf: &mut [u8]) {
        for byte in buf {
            self.0 = self.0.wrapping_mul(5).wrapping_add(7);
            *byte = self.0;
        }
    }
    fn fault(&mut self, _: &'static str) -> Option<Fault> {
        None
    }
    fn note(&mut self, _: &'static str, detail: &dyn Fn() -> Value) {
        assert!(detail().is_object());
    }
    fn crash(&mut self) {}
}

/// A target with one unit for everybody.
fn site(config: TargetConfig) -> SessionParts {
    let portal = PortalConfig { address: ([10, 0, 0, 1], 3260).into(), port_no: 1, tpgt: 1, controller: 0 };
    let mut array = Array::new(ArrayConfig {
        pools: vec![PoolConfig::new("p", 4 * BLOCKS)],
        portals: vec![portal],
        ..ArrayConfig::default()
    });
    let (name, description) = ("d".to_owned(), String::new());
    let made = array
        .apply(START, Command::CreateLun { name, description, pool: 0, blocks: BLOCKS, thin: true })
        .expect("an empty array has room");
    array
        .apply(START, Command::OpenExport { lun: made.id().unwrap_or(0) })
        .expect("a new unit can be exported");
    SessionParts { array: ArrayHandle::new(array), registry: Registry::new(), config: Arc::new(config) }
}

fn connect(parts: &SessionParts, seed: u8) -> Session {
    let portal = PortalContext { local: ([10, 0, 0, 1], 3260).into(), tpgt: 1, relative_port: 1 };
    Session::new(parts, Box::new(Around(seed)), portal, START)
}

/// Hands bytes over and takes all answers.
fn exchange(session: &mut Session, now: Duration, bytes: &[u8]) -> Bytes {
    let (mut input, mut all) = (BytesMut::from(bytes), BytesMut::new());
    session.handle_events();
    loop {
        let before = input.len();
        session.handle(now, &mut input);
        assert!(session.out().len() <= MOST_OUTPUT, "{} bytes of output wait", session.out().len());
        all.extend_from_slice(&session.out().take_all());
        if input.len() == before {
            return all.freeze();
        }
    }
}

fn request(current: Stage, next: Option<Stage>, continues: bool, text: Bytes) -> Pdu {
    Pdu::from(LoginRequest {
        stages: Stages { continues, current, next },
        version_max: 0,
        version_min: 0,
        isid: [0x80, 0, 0, 0, 0, 1],
        tsih: 0,
        itt: 1,
        cid: 1,
        cmd_sn: 1,
        exp_stat_sn: 0,
        text,
    })
}

/// The PDUs in what a target sent; panics when it is not iSCSI.
fn pdus(bytes: &Bytes, digests: Digests) -> Vec<Pdu> {
    let (mut rest, mut all) = (BytesMut::from(&bytes[..]), Vec::new());
    let limits = FrameLimits { max_data_segment: 1 << 24, max_ahs: 0 };
    while let Decoded::Pdu(raw) = decode(&mut rest, limits, digests).expect("the target frames well") {
        assert!(raw.data_digest_ok);
        all.push(Pdu::parse(&raw).expect("the target speaks iSCSI"));
    }
    assert!(rest.is_empty(), "half a PDU");
    all
}

/// A login in steps: each has a byte that says which stages, whether honest names come first, and how long the text is.
pub fn login(data: &[u8]) {
    let parts = site(TargetConfig::default());
    let target = parts.array.lock().target_iqn().to_owned();
    let mut session = connect(&parts, 1);
    let mut c = Choices(data);
    for _ in 0..24 {
        if c.is_empty() || session.closed().is_some() || session.is_full_feature() {
            break;
        }
        let how = c.u8();
        let stage = |bits| [Stage::Security, Stage::Operational, Stage::FullFeature][usize::from(bits % 3)];
        let next = (how & 4 != 0).then(|| stage(how >> 3 & 3));
        let mut text = Vec::new();
        if how & 0x20 != 0 {
            text = keys::encode([("InitiatorName", HOST), ("TargetName", &target)]);
        }
        let length = usize::from(c.u16() % 3000);
        text.extend_from_slice(c.take(length));
        if how & 0x40 != 0 {
            text.push(0);
        }
        let pdu = request(stage(how & 3), next, how & 0x80 != 0, text.into());
        let answers = pdus(&exchange(&mut session, START, &plain([pdu])), Digests::default());
        assert!(answers.len() <= 1, "one answer to a request");
        for answer in answers {
            let Pdu::LoginResponse(response) = answer else { panic!("not a login response: {answer:?}") };
            assert!(response.text.len() <= 8192);
        }
    }
    assert!(parts.array.lock().audit().is_empty());
}

/// CHAP: the names and the method are given, the rest is the input's. Nobody comes in without the right response.
pub fn chap(data: &[u8]) {
    let [how, data @ ..] = data else { return };
    let credentials =
        |name: &str, secret: &str| ChapCredentials { name: name.into(), secret: Secret::new(secret) };
    let chap = Chap {
        initiator: credentials("alice", "wonderland-01"),
        mutual: (how & 1 != 0).then(|| credentials("array", "looking-glass")),
    };
    let parts = site(TargetConfig { default_chap: Some(chap), ..TargetConfig::default() });
    let target = parts.array.lock().target_iqn().to_owned();
    let mut session = connect(&parts, *how);
    let first = keys::encode([("InitiatorName", HOST), ("TargetName", &target), ("AuthMethod", "CHAP,None")]);
    exchange(&mut session, START, &plain([request(Stage::Security, None, false, first.into())]));
    let mut proof: Option<String> = None;
    // Steps are separated by line feeds, which no text has.
    for (at, step) in data.split(|b| *b == b'\n').take(16).enumerate() {
        let mut text = step.to_vec();
        if let Some(proof) = &proof
            && how & 2 != 0
            && at == 1
        {
            // The honest answer, so that what lies behind it is reached as well.
            text = keys::encode([("CHAP_N", "alice"), ("CHAP_R", proof.as_str())]);
            text.extend_from_slice(step);
        }
        text.push(0);
        let next = (how & 4 != 0).then_some(Stage::FullFeature);
        let sent = plain([request(Stage::Security, next, false, text.into())]);
        for answer in pdus(&exchange(&mut session, START, &sent), Digests::default()) {
            let Pdu::LoginResponse(response) = answer else { panic!("not a login response: {answer:?}") };
            let pairs = keys::decode(&response.text, KeyLimits::RFC).expect("the target writes good text");
            let get = |key: &str| pairs.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
            if let (Some("5"), Some(id), Some(challenge)) = (get("CHAP_A"), get("CHAP_I"), get("CHAP_C")) {
                let challenge = keys::decode_binary(challenge, 1024).expect("a binary value");
                let id: u8 = id.parse().expect("an octet");
                let hash =
                    Md5::new().chain_update([id]).chain_update("wonderland-01").chain_update(challenge);
                proof = Some(keys::encode_hex(&hash.finalize()));
            }
        }
        assert!(!session.is_full_feature() || how & 2 != 0, "in without proof");
        if session.closed().is_some() || session.is_full_feature() {
            break;
        }
    }
}

/// SCSI commands through a session that is all right: each with flags, a unit, an expected length, 16 bytes of CDB and data
/// that R2Ts are answered with.
pub fn commands(data: &[u8]) {
    let parts = site(TargetConfig { allow_sanitize: true, ..TargetConfig::default() });
    let target = parts.array.lock().target_iqn().to_owned();
    let mut session = connect(&parts, 1);
    let mut talker = Talker::new(HOST, &target, [0x80, 0, 0, 0, 0, 1], 0);
    let mut c = Choices(data);
    let login = talker.log_in(&mut Choices(&[c.u8() & 0xfc]));
    let answer = exchange(&mut session, START, &login);
    assert!(talker.hear(&answer) && talker.phase == Phase::Full, "an honest login");
    for number in 1..=12 {
        if c.is_empty() || session.closed().is_some() {
            break;
        }
        one_command(&mut session, number, &mut c);
    }
    drop(session);
    let faults = parts.array.lock().audit();
    assert!(faults.is_empty(), "{faults:?}");
}

fn one_command(session: &mut Session, number: u32, c: &mut Choices<'_>) {
    let how = c.u8();
    let length = c.u16();
    let expected = u32::from(length) << if how & 0x40 != 0 { 6 } else { 0 };
    let mut cdb = [0; 16];
    let raw = c.take(16);
    cdb[..raw.len()].copy_from_slice(raw);
    let count = usize::from(c.u8());
    let chosen = c.take(count);
    let bytes = |from: u32, count: u32| -> Bytes {
        let endless = chosen.iter().chain(&[0]).copied().cycle();
        endless.skip(from as usize % (chosen.len() + 1)).take(count as usize).collect()
    };
    let (read, write) = (how & 1 != 0, how & 2 != 0);
    let immediate = if write && how & 4 != 0 { expected.min(512) } else { 0 };
    let command = Pdu::from(ScsiCommand {
        immediate: false,
        last: true,
        read,
        write,
        attribute: TaskAttribute(how >> 3 & 7),
        lun: if how & 0x80 != 0 { Lun([0, 1, 0, 0, 0, 0, 0, 0]) } else { Lun::ZERO },
        itt: number,
        expected_length: expected,
        cmd_sn: number,
        exp_stat_sn: 0,
        cdb,
        ahs: Bytes::new(),
        data: bytes(0, immediate),
    });
    let mut send = plain([command]);
    let (mut received, mut ended) = (0, false);
    while !send.is_empty() {
        let answers = pdus(&exchange(session, START, &send), Digests::default());
        let mut outgoing = Vec::new();
        for answer in answers {
            assert!(!ended, "something after the status: {answer:?}");
            match answer {
                Pdu::R2t(r2t) => {
                    assert!(write && r2t.itt == number && r2t.length > 0, "{r2t:?}");
                    assert!(r2t.offset.checked_add(r2t.length).is_some_and(|end| end <= expected), "{r2t:?}");
                    outgoing.push(Pdu::from(DataOut {
                        last: true,
                        lun: r2t.lun,
                        itt: number,
                        ttt: r2t.ttt,
                        exp_stat_sn: 0,
                        data_sn: 0,
                        offset: r2t.offset,
                        data: bytes(r2t.offset, r2t.length),
                    }));
                }
                Pdu::DataIn(p) => {
                    assert!(p.itt == number && p.offset == received, "{} after {received}", p.offset);
                    received += p.data.len() as u32;
                    assert!(received <= expected, "more than the expected {expected} bytes");
                    ended = p.status.is_some();
                }
                Pdu::ScsiResponse(p) => {
                    assert!(p.itt == number && p.residual.count() <= expected.max(u32::MAX / 2), "{p:?}");
                    assert!(p.response == ResponseCode::COMPLETED || p.response == ResponseCode(1), "{p:?}");
                    ended = true;
                }
                Pdu::Reject(_) => ended = true,
                Pdu::AsyncMessage(_) | Pdu::NopIn(_) => {}
                other => panic!("{other:?}"),
            }
        }
        send = plain(outgoing);
    }
    assert!(ended || session.closed().is_some(), "a command without an end: {cdb:02x?}");
}

/// Two initiators that speak half-valid iSCSI, time that passes, answers that are left lying.
pub fn stream(data: &[u8]) {
    let config = TargetConfig { write_buffer: 1 << 20, replay_buffer: 1 << 16, ..TargetConfig::default() };
    let parts = site(config);
    let target = parts.array.lock().target_iqn().to_owned();
    let talker = |n: u8| Talker::new(HOST, &target, [0x80, 0, 0, 0, 0, n], 0);
    let mut both =
        [(connect(&parts, 1), talker(1), BytesMut::new()), (connect(&parts, 2), talker(2), BytesMut::new())];
    let mut c = Choices(data);
    let mut now = START;
    for _ in 0..200 {
        if c.is_empty() {
            break;
        }
        let act = c.u8();
        let (session, talker, input) = &mut both[usize::from(act & 1)];
        if act & 0xfe == 0xfe {
            // It is gone, and comes again under the same name or another one.
            *talker = Talker::new(HOST, &target, [0x80, 0, 0, 0, 0, c.u8() & 1], 0);
            (*session, *input) = (connect(&parts, act), BytesMut::new());
            continue;
        }
        match act >> 1 & 15 {
            0 => {
                now += Duration::from_millis(u64::from(c.u16()) * 4);
                if session.next_timer().is_some_and(|due| due <= now) {
                    session.handle_timer(now);
                }
            }
            1 => session.handle_events(),
            _ => input.extend_from_slice(&talker.say(&mut c)),
        }
        session.handle_events();
        session.handle(now, input);
        assert!(session.out().len() <= MOST_OUTPUT, "{} bytes of output wait", session.out().len());
        assert!(session.closed().is_none() || input.is_empty());
        if act & 0x20 == 0 {
            let answers = session.out().take_all();
            assert!(talker.hear(&answers), "the target does not speak iSCSI");
        }
    }
    drop(both);
    assert_eq!(parts.registry.len(), 0, "a session outlived its connection");
    let faults = parts.array.lock().audit();
    assert!(faults.is_empty(), "{faults:?}");
}
