//! An initiator that speaks half-valid iSCSI: it knows the numbers and tags that would be right, and bends some of them.
//!
//! Every choice is read from a string of bytes, so that the same mischief serves a fuzzer with coverage (the bytes are its
//! input) and one with a seed (the bytes are dice).
#![allow(unreachable_pub, dead_code, reason = "a library to libFuzzer, a module to the test that replays")]

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use sanbench_wire::bhs::{BHS_LEN, RESERVED_TAG};
use sanbench_wire::frame::{Decoded, Digests, FrameLimits, Outbox, crc32c, decode, padding};
use sanbench_wire::keys::{self, KeyLimits};
use sanbench_wire::pdu::{LoginRequest, LoginStatus, R2t, Stage, Stages};
use sanbench_wire::{Bhs, Opcode, Pdu};

/// Longest data segment that a talker sends, bytes.
const MOST_DATA: usize = 8192;
/// Tags and R2Ts remembered.
const REMEMBERED: usize = 32;

/// Choices, taken from bytes; zeros when there are no more.
pub struct Choices<'a>(pub &'a [u8]);

impl<'a> Choices<'a> {
    /// True when all were taken.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One byte.
    pub fn u8(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// Two bytes, big-endian.
    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    /// Four bytes, big-endian.
    pub fn u32(&mut self) -> u32 {
        u32::from(self.u16()) << 16 | u32::from(self.u16())
    }

    /// As many bytes as there are, `count` at most.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// What the target let a talker know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not logged in.
    Login,
    /// Full feature phase.
    Full,
    /// The target refused.
    Refused,
}

/// One connection of the initiator.
pub struct Talker {
    initiator: String,
    target: String,
    isid: [u8; 6],
    /// The only unit that it touches, when others are to be spared.
    pub lun: u16,
    /// Leave other units and other sessions alone: no target resets, no LUN but its own.
    pub spares: bool,
    /// Where it stands.
    pub phase: Phase,
    /// PDUs of the target that were read.
    pub heard: u64,
    digests: Digests,
    wanted: Digests,
    cmd_sn: u32,
    stat_sn: u32,
    itt: u32,
    pings: VecDeque<u32>,
    r2ts: VecDeque<R2t>,
    input: BytesMut,
}

/// Operation codes that a talker prefers.
const OPCODES: [u8; 48] = [
    0x00, 0x03, 0x04, 0x08, 0x0a, 0x12, 0x15, 0x16, 0x17, 0x1a, 0x1b, 0x1d, 0x25, 0x28, 0x2a, 0x2e, 0x2f,
    0x34, 0x35, 0x3b, 0x3c, 0x41, 0x42, 0x48, 0x4d, 0x55, 0x5a, 0x5e, 0x5f, 0x7f, 0x83, 0x84, 0x88, 0x89,
    0x8a, 0x8b, 0x8e, 0x8f, 0x91, 0x93, 0x9c, 0x9e, 0x9f, 0xa0, 0xa3, 0xa4, 0xa8, 0xaa,
];

impl Talker {
    /// An initiator that has not said anything yet.
    pub fn new(initiator: &str, target: &str, isid: [u8; 6], lun: u16) -> Talker {
        Talker {
            initiator: initiator.to_owned(),
            target: target.to_owned(),
            isid,
            lun,
            spares: false,
            phase: Phase::Login,
            heard: 0,
            digests: Digests::default(),
            wanted: Digests::default(),
            cmd_sn: 1,
            stat_sn: 0,
            itt: 1,
            pings: VecDeque::new(),
            r2ts: VecDeque::new(),
            input: BytesMut::new(),
        }
    }

    /// A valid login into the full feature phase, its keys by choice.
    pub fn log_in(&mut self, c: &mut Choices<'_>) -> Vec<u8> {
        let how = c.u8();
        self.wanted = Digests { header: how & 1 != 0, data: how & 2 != 0 };
        let digest = |on| if on { "CRC32C" } else { "None" };
        let yes = |bit: u8| if how & bit != 0 { "Yes" } else { "No" };
        let small = how & 0x20 != 0;
        let pairs = [
            ("InitiatorName", self.initiator.as_str()),
            ("TargetName", self.target.as_str()),
            ("HeaderDigest", digest(self.wanted.header)),
            ("DataDigest", digest(self.wanted.data)),
            ("InitialR2T", yes(4)),
            ("ImmediateData", yes(8)),
            ("ErrorRecoveryLevel", if how & 0x10 != 0 { "1" } else { "0" }),
            ("MaxRecvDataSegmentLength", if small { "512" } else { "65536" }),
            ("MaxBurstLength", if small { "1024" } else { "65536" }),
            ("FirstBurstLength", if small { "512" } else { "16384" }),
            ("MaxOutstandingR2T", if how & 0x40 != 0 { "4" } else { "1" }),
        ];
        let pdu = Pdu::from(LoginRequest {
            stages: Stages { continues: false, current: Stage::Operational, next: Some(Stage::FullFeature) },
            version_max: 0,
            version_min: 0,
            isid: self.isid,
            tsih: 0,
            itt: 0,
            cid: 0,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: 0,
            text: keys::encode(pairs).into(),
        });
        let mut out = Outbox::new();
        pdu.push_to(&mut out, Digests::default());
        out.take_all().to_vec()
    }

    /// Reads what the target sent. False when it is not iSCSI, which no mischief excuses.
    pub fn hear(&mut self, bytes: &[u8]) -> bool {
        self.input.extend_from_slice(bytes);
        let limits = FrameLimits { max_data_segment: 1 << 17, max_ahs: 0 };
        loop {
            let raw = match decode(&mut self.input, limits, self.digests) {
                Ok(Decoded::Pdu(raw)) if raw.data_digest_ok => raw,
                Ok(Decoded::NeedMore(_)) => return true,
                _ => return false,
            };
            self.heard += 1;
            let Ok(pdu) = Pdu::parse(&raw) else { return false };
            self.stat_sn = raw.bhs.u32(24);
            match pdu {
                Pdu::LoginResponse(r) if r.status != LoginStatus::SUCCESS => self.phase = Phase::Refused,
                Pdu::LoginResponse(r) if r.stages.next == Some(Stage::FullFeature) => {
                    let Ok(pairs) = keys::decode(&r.text, KeyLimits::RFC) else { return false };
                    let on = |key: &str| pairs.iter().any(|(k, v)| k == key && v == "CRC32C");
                    self.digests = Digests { header: on("HeaderDigest"), data: on("DataDigest") };
                    self.phase = Phase::Full;
                }
                Pdu::R2t(r2t) => {
                    self.r2ts.push_back(r2t);
                    self.r2ts.truncate(REMEMBERED);
                }
                Pdu::NopIn(ping) if ping.ttt != RESERVED_TAG => {
                    self.pings.push_back(ping.ttt);
                    self.pings.truncate(REMEMBERED);
                }
                _ => {}
            }
        }
    }

    /// The next thing to say: mostly one PDU, mostly right.
    pub fn say(&mut self, c: &mut Choices<'_>) -> Vec<u8> {
        let kind = c.u8();
        if self.phase != Phase::Full && kind >= 16 {
            return self.log_in(c);
        }
        let (mut bhs, mut data) = match kind % 64 {
            0..24 => self.command(c),
            24..40 => self.data_out(c),
            40..44 => self.task_management(c),
            44..48 => self.nop(c),
            48..50 => self.text(c),
            50 => self.header(Opcode::LogoutRequest, 0x80 | c.u8() & 3, c),
            51..53 => self.header(Opcode::Snack, 0x80 | c.u8() & 3, c),
            53 => self.header(Opcode::LoginRequest, 0x87, c),
            54..58 => {
                // Any header at all.
                let mut bhs = Bhs([0; BHS_LEN]);
                let raw = c.take(BHS_LEN);
                bhs.0[..raw.len()].copy_from_slice(raw);
                (bhs, c.take(64).to_vec())
            }
            _ => {
                let mut both = self.command(c);
                both.0.0[1] ^= 1 << (c.u8() & 7);
                both
            }
        };
        bhs.set_lengths(0, data.len());
        self.bend(bhs, &mut data, c)
    }

    fn header(&mut self, opcode: Opcode, flags: u8, c: &mut Choices<'_>) -> (Bhs, Vec<u8>) {
        let mut bhs = Bhs::new(opcode, c.u8() & 3 == 1, flags);
        bhs.0[9] = self.lun as u8;
        self.itt = self.itt.wrapping_add(1);
        bhs.put_u32(16, self.itt);
        bhs.put_u32(20, RESERVED_TAG);
        bhs.put_u32(24, self.cmd_sn);
        bhs.put_u32(28, self.stat_sn.wrapping_add(1));
        if !bhs.immediate() && opcode != Opcode::DataOut && opcode != Opcode::Snack {
            self.cmd_sn = self.cmd_sn.wrapping_add(1);
        }
        (bhs, Vec::new())
    }

    fn command(&mut self, c: &mut Choices<'_>) -> (Bhs, Vec<u8>) {
        let (op, how) = (c.u8(), c.u8());
        // Final, and read or write by chance; mostly what the operation code wants.
        let opcode = OPCODES.get(usize::from(op)).copied().unwrap_or(if op & 1 == 0 { 0x28 } else { 0x2a });
        let out = matches!(
            opcode,
            0x0a | 0x15 | 0x2a | 0x2e | 0x3b | 0x41 | 0x42 | 0x55 | 0x5f | 0x83 | 0x89..=0x8b
        ) || matches!(opcode, 0x8e | 0x93 | 0x9c | 0xa4 | 0xaa);
        let direction = if (how & 0x0f == 0) ^ out { 0x20 } else { 0x40 };
        let (mut bhs, _) = self.header(Opcode::ScsiCommand, 0x80 | direction | how >> 4 & 3, c);
        let mut cdb = [0; 16];
        cdb[0] = opcode;
        let blocks = u32::from(c.u8() % 40);
        match opcode {
            0x28 | 0x2a | 0x2e | 0x2f | 0x41 => {
                cdb[2..6].copy_from_slice(&u32::from(c.u8()).to_be_bytes());
                cdb[8] = blocks as u8;
            }
            0x88 | 0x8a | 0x8e | 0x8f | 0x93 => {
                cdb[9] = c.u8();
                cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
            }
            _ => {
                let length = usize::from(c.u8() & 15);
                let rest = c.take(length);
                cdb[1..][..rest.len()].copy_from_slice(rest);
            }
        }
        bhs.0[32..48].copy_from_slice(&cdb);
        let expected = match how >> 6 {
            0 | 1 => blocks * 512,
            2 => u32::from(c.u8()),
            _ => u32::from(c.u16()) << (c.u8() & 15),
        };
        bhs.put_u32(20, expected);
        let data =
            if direction == 0x20 && c.u8() & 1 == 1 { self.bytes(expected as usize, c) } else { Vec::new() };
        (bhs, data)
    }

    /// Data: a few chosen bytes, then the same ones over again.
    fn bytes(&self, length: usize, c: &mut Choices<'_>) -> Vec<u8> {
        let count = usize::from(c.u8() & 31);
        let chosen = c.take(count);
        let length = length.min(MOST_DATA);
        chosen.iter().chain(&[0]).copied().cycle().take(length).collect()
    }

    fn data_out(&mut self, c: &mut Choices<'_>) -> (Bhs, Vec<u8>) {
        let how = c.u8();
        let Some(r2t) = self.r2ts.pop_front() else {
            // Unsolicited data of the last command.
            let (itt, (mut bhs, _)) = (self.itt, self.header(Opcode::DataOut, how & 0x80, c));
            bhs.put_u32(16, itt);
            self.itt = itt;
            let data = self.bytes(usize::from(c.u16()), c);
            return (bhs, data);
        };
        let mut answered = (r2t.length as usize).min(MOST_DATA);
        if how & 7 == 1 {
            answered = answered.min(usize::from(c.u16()));
        }
        let last = answered == r2t.length as usize;
        let (itt, (mut bhs, _)) = (self.itt, self.header(Opcode::DataOut, if last { 0x80 } else { 0 }, c));
        self.itt = itt;
        bhs.put_u32(16, r2t.itt);
        bhs.put_u32(20, r2t.ttt);
        bhs.put_u32(36, u32::from(how >> 3 & 1));
        bhs.put_u32(40, r2t.offset);
        let data = self.bytes(answered, c);
        if !last {
            let done = answered as u32;
            self.r2ts.push_front(R2t { offset: r2t.offset + done, length: r2t.length - done, ..r2t });
        }
        (bhs, data)
    }

    fn task_management(&mut self, c: &mut Choices<'_>) -> (Bhs, Vec<u8>) {
        let function = 0x80 | c.u8() & 0x0f;
        let (mut bhs, _) = self.header(Opcode::TaskManagementRequest, function, c);
        bhs.put_u32(20, self.itt.wrapping_sub(u32::from(c.u8())));
        bhs.put_u32(32, self.cmd_sn.wrapping_sub(u32::from(c.u8())));
        (bhs, Vec::new())
    }

    fn nop(&mut self, c: &mut Choices<'_>) -> (Bhs, Vec<u8>) {
        let (mut bhs, _) = self.header(Opcode::NopOut, 0x80, c);
        if let Some(ttt) = self.pings.pop_front() {
            bhs.put_u32(16, RESERVED_TAG);
            bhs.put_u32(20, ttt);
        }
        (bhs, self.bytes(usize::from(c.u8()), c))
    }

    fn text(&mut self, c: &mut Choices<'_>) -> (Bhs, Vec<u8>) {
        let how = c.u8();
        let (bhs, _) = self.header(Opcode::TextRequest, if how & 7 == 0 { 0x40 } else { 0x80 }, c);
        let text: &[u8] = match how >> 3 & 7 {
            0 => b"SendTargets=\0",
            1 => b"SendTargets=All\0",
            2 => b"MaxRecvDataSegmentLength=512\0",
            3 => b"X-com.example=1\0",
            4 => b"InitialR2T=Yes\0HeaderDigest=CRC32C\0",
            _ => c.take(64),
        };
        (bhs, text.to_vec())
    }

    /// Spoils a PDU by choice, then puts it on the wire.
    fn bend(&mut self, mut bhs: Bhs, data: &mut Vec<u8>, c: &mut Choices<'_>) -> Vec<u8> {
        let (mut ahs, mut wrong_header_digest, mut wrong_data_digest) = (Vec::new(), false, false);
        let mut keep = usize::MAX;
        let how = c.u8();
        if how >= 160 {
            let at = usize::from(c.u8()) % 12 * 4;
            match how % 16 {
                0 => bhs.0[usize::from(c.u8()) % BHS_LEN] ^= 1 << (c.u8() & 7),
                1 => bhs.put_u32(at, 0),
                2 => bhs.put_u32(at, u32::MAX),
                3 => bhs.put_u32(at, bhs.u32(at).wrapping_add(1)),
                4 => bhs.put_u32(at, bhs.u32(at).wrapping_sub(1)),
                5 => bhs.put_u32(at, c.u32()),
                6 => bhs.set_lengths(0, usize::from(c.u16())),
                7 => bhs.set_lengths(0, c.u32() as usize & 0x00ff_ffff),
                8 => {
                    let length = usize::from(c.u8() & 15) * 4;
                    ahs = c.take(length).to_vec();
                    ahs.resize(ahs.len().next_multiple_of(4), 0);
                    bhs.set_lengths(ahs.len(), data.len());
                }
                9 => wrong_header_digest = true,
                10 => wrong_data_digest = true,
                11 => keep = usize::from(c.u8()),
                12 => bhs.put_u32(24, self.cmd_sn.wrapping_add(c.u32() % 300)),
                13 => bhs.put_u32(16, self.itt.wrapping_sub(u32::from(c.u8() & 7))),
                14 => bhs.put_u32(40, bhs.u32(40).wrapping_add(c.u32())),
                _ => bhs.0[0] = c.u8(),
            }
        }
        if self.spares {
            self.spare(&mut bhs);
        }
        let mut out = bhs.0.to_vec();
        out.extend_from_slice(&ahs);
        if self.digests.header {
            let crc = crc32c(&out) ^ u32::from(wrong_header_digest);
            out.extend_from_slice(&crc.to_le_bytes());
        }
        if !data.is_empty() {
            data.resize(data.len() + padding(data.len()), 0);
            out.extend_from_slice(data);
            if self.digests.data {
                let crc = crc32c(data) ^ u32::from(wrong_data_digest);
                out.extend_from_slice(&crc.to_le_bytes());
            }
        }
        out.truncate(keep);
        out
    }

    /// Takes the sting out of what would legitimately hurt others.
    fn spare(&self, bhs: &mut Bhs) {
        match bhs.opcode() {
            Some(Opcode::TaskManagementRequest) if matches!(bhs.0[1] & 0x7f, 6 | 7) => bhs.0[1] = 0x81,
            Some(Opcode::TaskManagementRequest | Opcode::ScsiCommand) => {}
            _ => return,
        }
        bhs.0[8..16].copy_from_slice(&[0, self.lun as u8, 0, 0, 0, 0, 0, 0]);
    }
}

/// The bytes of PDUs as they would go out without digests.
pub fn plain(pdus: impl IntoIterator<Item = Pdu>) -> Bytes {
    let mut out = Outbox::new();
    pdus.into_iter().for_each(|pdu| pdu.push_to(&mut out, Digests::default()));
    out.take_all()
}
