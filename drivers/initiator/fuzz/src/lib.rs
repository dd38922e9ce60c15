//! What the fuzz targets of the initiator do with one input. `tests/fuzz_corpus.rs` includes this file too and replays the
//! corpora, so that a finding stays found without libFuzzer; `tests/hostile.rs` feeds it dice.
//!
//! Whatever a target sends: no panic, no login without the proof that was asked for, each command ends exactly once, and
//! what waits is bounded.
#![allow(unreachable_pub, dead_code, reason = "a library to libFuzzer, a module to the test that replays")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sanbench_api::{ChapAuth, Secret};
use sanbench_initiator::SessionConfig;
use sanbench_initiator::chap::OwnChallenge;
use sanbench_initiator::login::{LoggedIn, Login, LoginPlan, LoginStep};
use sanbench_initiator::negotiate::Parameters;
use sanbench_initiator::session::{CommandEnd, Event, Limits, Request, Session, Transfer};
use sanbench_initiator::{discovery, multipath, scsi};
use sanbench_wire::bhs::{BHS_LEN, RESERVED_TAG};
use sanbench_wire::frame::{Decoded, Digests, FrameLimits, crc32c, decode, padding};
use sanbench_wire::keys;
use sanbench_wire::pdu::{LoginResponse, LoginStatus, Stage, Stages, TaskFunction};
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::sense::Sense;
use sanbench_wire::{Bhs, Opcode, Pdu};

/// Choices, taken from bytes; zeros when there are no more.
struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    fn u8(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    fn u32(&mut self) -> u32 {
        u32::from(self.u16()) << 16 | u32::from(self.u16())
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// Login Responses: for each request flags, a length and text.
pub fn login(data: &[u8]) {
    let mut c = Choices(data);
    let how = c.u8();
    let auth = (how & 3 != 0).then(|| ChapAuth {
        username: "host".into(),
        password: Secret::new("host-secret-long"),
        target: (how & 3 == 3).then(|| ("array".into(), Secret::new("array-secret-long"))),
    });
    let plan = LoginPlan {
        initiator: "iqn.2026-01.org.example:host".into(),
        target: (how & 4 == 0).then(|| "iqn.2026-01.org.example:array".into()),
        isid: [0x80, 1, 2, 3, 0, 0],
        auth,
        own_challenge: OwnChallenge { id: 3, challenge: [9; 32] },
    };
    let mut login = Login::new(SessionConfig::default(), plan);
    for round in 0..64 {
        assert!(round < 40, "a login without an end");
        let Some(request) = login.poll_request() else { return };
        let flags = c.u8();
        let honest = flags & 0x80 == 0;
        let mut text = match flags & 0x40 {
            0 => Vec::new(),
            _ if request.stages.current == Stage::Security => keys::encode([
                ("TargetPortalGroupTag", "1"),
                ("AuthMethod", if how & 3 == 0 { "None" } else { "CHAP" }),
            ]),
            _ => keys::encode([
                ("HeaderDigest", "None"),
                ("MaxBurstLength", "65536"),
                ("FirstBurstLength", "4096"),
            ]),
        };
        let length = usize::from(c.u16() % 9000);
        text.extend_from_slice(c.take(length));
        let bend = if honest { 0 } else { c.u8() };
        let response = LoginResponse {
            stages: Stages {
                continues: flags & 0x20 != 0,
                current: if bend & 1 != 0 { Stage::FullFeature } else { request.stages.current },
                next: match flags & 3 {
                    0 => None,
                    1 => request.stages.next,
                    2 => Some(Stage::Operational),
                    _ => Some(Stage::FullFeature),
                },
            },
            version_max: 0,
            version_active: u8::from(bend & 2 != 0),
            isid: request.isid,
            tsih: if flags & 4 != 0 { 0 } else { 5 },
            itt: request.itt ^ u32::from(bend & 4),
            stat_sn: round + u32::from(bend & 8),
            exp_cmd_sn: if bend & 0x10 != 0 { c.u32() } else { request.cmd_sn },
            max_cmd_sn: if bend & 0x20 != 0 { c.u32() } else { request.cmd_sn + 16 },
            status: if bend & 0x40 != 0 { LoginStatus(c.u16()) } else { LoginStatus::SUCCESS },
            text: text.into(),
        };
        match login.handle_response(&response) {
            Ok(LoginStep::Continue) => {}
            Ok(LoginStep::Done(done)) => {
                assert!(how & 3 != 3, "the target never proved itself: {done:?}");
                let p = &done.parameters;
                assert!(
                    p.first_burst <= p.max_burst && p.send_data_segment >= 512 && p.max_outstanding_r2t > 0
                );
                return;
            }
            Ok(LoginStep::Redirect { .. }) => return,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                login.try_md5_after(&error);
                return;
            }
        }
    }
}

/// What a hostile target knows of one open command.
#[derive(Clone, Copy)]
struct Asked {
    itt: u32,
    expected: u32,
    write: bool,
}

/// The full feature phase: commands are submitted, a target that knows all numbers answers, and bends some of them.
pub fn session(data: &[u8]) {
    let mut c = Choices(data);
    let how = c.u8();
    let digests = Digests { header: how & 1 != 0, data: how & 2 != 0 };
    let parameters = Parameters {
        digests,
        initial_r2t: how & 4 != 0,
        immediate_data: how & 8 != 0,
        max_outstanding_r2t: 2,
        max_burst: 16_384,
        first_burst: 4096,
        ..Parameters::default()
    };
    let login = LoggedIn { parameters, tsih: 1, cmd_sn: 1, exp_stat_sn: 10, max_cmd_sn: 16 };
    let limits = Limits {
        queue_depth: 8,
        ping_interval: Duration::from_secs(5),
        ping_timeout: Duration::from_secs(5),
    };
    let mut now = Duration::from_secs(1);
    let mut session = Session::new(login, limits, now);
    let mut target = Hostile { digests, stat_sn: 10, exp_cmd_sn: 1, asked: Vec::new() };
    let (mut tickets, mut open) = (0, BTreeMap::new());
    let mut input = BytesMut::new();
    let mut sent_back = 0;
    for _ in 0..300 {
        let act = c.u8();
        let outcome = match act % 16 {
            0..3 if tickets < 64 => {
                tickets += 1;
                let size = u32::from(c.u16()) & 0x7fff;
                let data = match act >> 4 & 3 {
                    0 => Transfer::None,
                    1 => Transfer::Out(vec![7; size as usize].into()),
                    _ => Transfer::In(size),
                };
                open.insert(tickets, if let Transfer::In(size) = data { size } else { 0 });
                session.submit(tickets, Request { lun: Lun::ZERO, cdb: [0x28; 16], data });
                Ok(())
            }
            3 if tickets < 64 => {
                tickets += 1;
                let victim = u64::from(c.u8());
                if act & 0x10 != 0 {
                    session.abort(tickets, victim);
                } else if act & 0x20 != 0 {
                    session.manage(tickets, TaskFunction(c.u8() & 0x7f), Lun::ZERO);
                } else if act & 0x40 != 0 {
                    session.text(tickets, Bytes::from_static(b"SendTargets=All\0"));
                } else {
                    session.withdraw(victim);
                }
                Ok(())
            }
            4 => {
                now += Duration::from_millis(u64::from(c.u8()) * 50);
                session.handle_timeout(now)
            }
            5 if act == 0xf5 => {
                session.logout();
                Ok(())
            }
            _ => {
                input.extend_from_slice(&target.say(&mut c));
                session.handle_input(now, &mut input)
            }
        };
        assert!(session.outbox().len() <= 9 << 20, "{} bytes of output wait", session.outbox().len());
        if act & 0x40 == 0 {
            let out = session.outbox().take_all();
            sent_back += out.len();
            target.hear(&out);
        }
        settle(&mut session, &mut open);
        if outcome.is_err() || c.0.is_empty() {
            break;
        }
    }
    session.end();
    settle(&mut session, &mut open);
    assert!(open.is_empty(), "commands without an end: {open:?}, {sent_back} bytes were sent");
}

/// Takes the events; each command ends once, with no more data than it asked for.
fn settle(session: &mut Session, open: &mut BTreeMap<u64, u32>) {
    while let Some(event) = session.poll_event() {
        if let Event::Command(ticket, end) = event {
            let asked = open.remove(&ticket).unwrap_or_else(|| panic!("{ticket} ended twice, now {end:?}"));
            if let CommandEnd::Completed(done) = end {
                assert!(done.data.iter().map(Bytes::len).sum::<usize>() <= asked as usize);
            }
        }
    }
}

/// A target that knows what would be right.
struct Hostile {
    digests: Digests,
    stat_sn: u32,
    exp_cmd_sn: u32,
    asked: Vec<Asked>,
}

impl Hostile {
    fn hear(&mut self, bytes: &Bytes) {
        let mut rest = BytesMut::from(&bytes[..]);
        let limits = FrameLimits { max_data_segment: 1 << 24, max_ahs: 0 };
        while let Decoded::Pdu(raw) =
            decode(&mut rest, limits, self.digests).expect("an initiator frames well")
        {
            match Pdu::parse(&raw).expect("an initiator speaks iSCSI") {
                Pdu::ScsiCommand(p) => {
                    self.exp_cmd_sn = p.cmd_sn.wrapping_add(1);
                    self.asked.push(Asked { itt: p.itt, expected: p.expected_length, write: p.write });
                }
                Pdu::TextRequest(p) => self.asked.push(Asked { itt: p.itt, expected: 0, write: false }),
                Pdu::TaskManagementRequest(p) => {
                    self.asked.push(Asked { itt: p.itt, expected: 0, write: false });
                }
                _ => {}
            }
        }
        assert!(rest.is_empty(), "half a PDU");
    }

    fn say(&mut self, c: &mut Choices<'_>) -> Vec<u8> {
        let (kind, which) = (c.u8(), usize::from(c.u8()));
        let asked = match self.asked.len() {
            0 => Asked { itt: c.u32(), expected: 512, write: false },
            count => self.asked[which % count],
        };
        let (mut bhs, mut data, mut takes_number) = (Bhs([0; BHS_LEN]), Vec::new(), true);
        let flags = c.u8();
        let fill = |c: &mut Choices<'_>, most: usize| vec![0x5a; usize::from(c.u16()).min(most)];
        match kind % 24 {
            0..6 => {
                bhs = Bhs::new(Opcode::ScsiResponse, false, 0x80);
                bhs.0[3] = if flags & 1 == 0 { 0 } else { c.u8() };
                if flags & 2 != 0 {
                    let sense = c.take(24).to_vec();
                    data = (sense.len() as u16).to_be_bytes().into_iter().chain(sense).collect();
                }
            }
            6..11 if !asked.write => {
                bhs = Bhs::new(Opcode::DataIn, false, if flags & 1 == 0 { 0x81 } else { 0 });
                takes_number = flags & 1 == 0;
                let (offset, length) = match flags & 6 {
                    0 => (0, asked.expected.min(8192)),
                    _ => (u32::from(c.u16()), u32::from(c.u16() & 0x3fff)),
                };
                bhs.put_u32(40, offset);
                bhs.put_u32(36, u32::from(flags >> 3 & 1));
                data = vec![0xa5; length as usize];
            }
            6..13 => {
                bhs = Bhs::new(Opcode::R2t, false, 0x80);
                takes_number = false;
                bhs.put_u32(36, u32::from(flags >> 3 & 3));
                let offset = if flags & 1 == 0 { 0 } else { u32::from(c.u16()) };
                bhs.put_u32(40, offset);
                bhs.put_u32(
                    44,
                    if flags & 2 == 0 { asked.expected.saturating_sub(offset).min(16_384) } else { c.u32() },
                );
            }
            13..15 => {
                bhs = Bhs::new(Opcode::NopIn, false, 0x80);
                takes_number = flags & 1 == 0;
                data = fill(c, 8192);
            }
            15 => bhs = Bhs::new(Opcode::TaskManagementResponse, false, 0x80),
            16 => {
                bhs = Bhs::new(Opcode::TextResponse, false, if flags & 1 == 0 { 0x80 } else { 0x40 });
                data = c.take(usize::from(flags)).to_vec();
            }
            17 => bhs = Bhs::new(Opcode::LogoutResponse, false, 0x80),
            18 => {
                bhs = Bhs::new(Opcode::AsyncMessage, false, 0x80);
                bhs.0[36] = flags & 7;
                data = c.take(usize::from(flags >> 3)).to_vec();
            }
            19 => {
                bhs = Bhs::new(Opcode::Reject, false, 0x80);
                bhs.0[2] = flags & 15;
                data = Bhs::new(Opcode::ScsiCommand, false, 0).0.to_vec();
                data[16..20].copy_from_slice(&asked.itt.to_be_bytes());
            }
            20 => {
                let raw = c.take(BHS_LEN);
                bhs.0[..raw.len()].copy_from_slice(raw);
            }
            _ => {
                bhs = Bhs::new(Opcode::NopIn, false, 0x80);
                bhs.put_u32(20, if flags & 1 == 0 { RESERVED_TAG } else { 9 });
            }
        }
        bhs.put_u32(16, if matches!(kind % 24, 18 | 19 | 21..) { RESERVED_TAG } else { asked.itt });
        if bhs.u32(20) == 0 {
            bhs.put_u32(20, if matches!(kind % 24, 11 | 12) { 7 } else { RESERVED_TAG });
        }
        bhs.put_u32(24, self.stat_sn);
        bhs.put_u32(28, self.exp_cmd_sn);
        bhs.put_u32(32, self.exp_cmd_sn.wrapping_add(8));
        if takes_number {
            self.stat_sn = self.stat_sn.wrapping_add(1);
        }
        self.bend(bhs, data, c)
    }

    fn bend(&self, mut bhs: Bhs, mut data: Vec<u8>, c: &mut Choices<'_>) -> Vec<u8> {
        bhs.set_lengths(0, data.len());
        let how = c.u8();
        let (mut spoil, mut keep) = (0, usize::MAX);
        if how >= 200 {
            let at = usize::from(c.u8()) % 12 * 4;
            match how % 10 {
                0 => bhs.put_u32(at, c.u32()),
                1 => bhs.put_u32(at, bhs.u32(at).wrapping_add(1)),
                2 => bhs.put_u32(at, bhs.u32(at).wrapping_sub(1)),
                3 => bhs.put_u32(at, u32::MAX),
                4 => bhs.0[usize::from(c.u8()) % BHS_LEN] ^= 1 << (c.u8() & 7),
                5 => spoil = 1,
                6 => keep = usize::from(c.u8()),
                7 => bhs.0[0] = c.u8(),
                _ => bhs.0[1] = c.u8(),
            }
        }
        let mut out = bhs.0.to_vec();
        if self.digests.header {
            out.extend_from_slice(&(crc32c(&out) ^ spoil).to_le_bytes());
        }
        if !data.is_empty() {
            data.resize(data.len() + padding(data.len()), 0);
            out.extend_from_slice(&data);
            if self.digests.data {
                out.extend_from_slice(&(crc32c(&data) ^ spoil).to_le_bytes());
            }
        }
        out.truncate(keep);
        out
    }
}

/// Data of answers: the first byte chooses who reads it.
pub fn answers(data: &[u8]) {
    let [which, body @ ..] = data else { return };
    match which % 11 {
        0 => {
            let asked = ([10, 0, 0, 1], 3260).into();
            if let Ok(found) = discovery::parse(body, asked) {
                assert!(found.iter().all(|one| !one.iqn.is_empty() && one.iqn.len() <= 223));
            }
        }
        1 => drop(scsi::parse_present(body)),
        2 => drop(scsi::parse_wwn(body)),
        3 => drop(scsi::parse_capacity(body, which & 0x80 != 0)),
        4 => drop(scsi::parse_luns(body)),
        5 => {
            if let Ok(ranges) = scsi::parse_lba_status(body, 5) {
                assert!(ranges.len() <= body.len());
            }
        }
        6 => {
            let (limits, provisioning) = body.split_at(body.len() / 2);
            let limits = scsi::DeviceLimits::from_pages(Some(limits), Some(provisioning));
            let parts = limits.split_unmap(&[(0, 4096), (1 << 40, 1)]);
            let blocks: u64 = parts.iter().flatten().map(|(_, blocks)| u64::from(*blocks)).sum();
            assert_eq!(blocks, 4097, "{limits:?}");
        }
        7 => drop(multipath::alua::parse_groups(body)),
        8 => drop(multipath::alua::parse_own_group(body)),
        9 => {
            if let Some(sense) = Sense::parse(body) {
                assert!(!scsi::sense_error(sense).to_string().is_empty());
            }
        }
        _ => {
            if let Ok(text) = std::str::from_utf8(body) {
                let kept: BTreeSet<_> =
                    text.split(',').filter_map(sanbench_initiator::negotiate::segment_length).collect();
                assert!(kept.iter().all(|length| (512..1 << 24).contains(length)));
            }
        }
    }
}
