//! iSCSI PDUs out of captured payload, with CDBs, status, sense and block stamps in words.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use sanbench_check::stamp::{self, BLOCK};
use sanbench_protocol::Dialogue;
use sanbench_reports::anatomy::Pdu as Told;
use sanbench_wire::scsi::cdb::Cdb;
use sanbench_wire::scsi::sense::Sense;
use sanbench_wire::scsi::status::Status;
use sanbench_wire::{Pdu, RawPdu};
use sanbench_world::{Segment, SegmentKind};

/// A PDU with what the look at it needs.
pub(super) struct Seen {
    /// In words.
    pub(super) pdu: Told,
    /// Blocks that travel in it: the first one's address and the bytes.
    pub(super) payload: Bytes,
    /// Address of its first block; of a command the first that it names.
    pub(super) lba: Option<u64>,
    /// Blocks that its command names.
    pub(super) blocks: u64,
}

/// What is known of a task that is under way.
#[derive(Clone, Copy)]
struct Task {
    lba: u64,
    blocks: u64,
    reads: bool,
}

/// A connection while it is read.
struct Connection {
    dialogue: Dialogue,
    tasks: BTreeMap<u32, Task>,
}

/// Every PDU, in the order of sending.
pub(super) fn all(segments: &[Segment], names: &BTreeMap<IpAddr, String>) -> Vec<Seen> {
    // None: no iSCSI.
    let mut connections: BTreeMap<u64, Option<Connection>> = BTreeMap::new();
    let mut all = Vec::new();
    for segment in segments.iter().filter(|s| s.kind == SegmentKind::Data) {
        let begin =
            || Dialogue::begin(segment).map(|dialogue| Connection { dialogue, tasks: BTreeMap::new() });
        let Some(connection) = connections.entry(segment.conn).or_insert_with(begin) else { continue };
        let out = connection.dialogue.hear(segment);
        let (host, portal) = if out { (segment.src, segment.dst) } else { (segment.dst, segment.src) };
        let at_us = u64::try_from(segment.at.as_micros()).unwrap_or(u64::MAX);
        while let Some(raw) = connection.dialogue.next(out) {
            all.push(connection.tell(&raw, at_us, path(host, portal, names), out));
        }
    }
    all
}

/// A path by the name of its host and of the portal it leads to.
fn path(host: SocketAddr, portal: SocketAddr, names: &BTreeMap<IpAddr, String>) -> String {
    match (names.get(&host.ip()), names.get(&portal.ip())) {
        (Some(host), Some(portal)) if host != portal => format!("{host} to {portal}"),
        _ => format!("to {portal}"),
    }
}

impl Connection {
    fn tell(&mut self, raw: &RawPdu, at_us: u64, path: String, out: bool) -> Seen {
        let mut seen = Seen {
            pdu: Told { at_us, path, out, ..Told::default() },
            payload: Bytes::new(),
            lba: None,
            blocks: 0,
        };
        let told = &mut seen.pdu;
        match Pdu::parse(raw) {
            Ok(Pdu::ScsiCommand(p)) => {
                let (name, task) = command(&Cdb::parse(&p.cdb));
                told.opcode = "SCSI Command".to_owned();
                told.lun = p.lun.number().map_or_else(|| "?".to_owned(), |n| n.to_string());
                told.what = format!("{name}  itt {:x} CmdSN {}", p.itt, p.cmd_sn);
                if let Some(task) = task {
                    self.tasks.insert(p.itt, task);
                    (seen.lba, seen.blocks) = (Some(task.lba), task.blocks);
                    if !task.reads {
                        seen.payload = p.data.clone();
                    }
                }
            }
            Ok(Pdu::ScsiResponse(p)) => {
                let sense = Sense::parse(&p.sense).map(|s| format!(", {s}")).unwrap_or_default();
                told.opcode = "SCSI Response".to_owned();
                told.what = format!("{}{sense}  itt {:x}", p.status, p.itt);
                told.wrong = p.status != Status::GOOD;
                self.tasks.remove(&p.itt);
            }
            Ok(Pdu::DataIn(p)) => {
                told.opcode = "Data-In".to_owned();
                let status = p.status.map(|s| format!(", {}", s.status)).unwrap_or_default();
                told.what = format!("{} bytes at {}{status}  itt {:x}", p.data.len(), p.offset, p.itt);
                let task = self.tasks.get(&p.itt).copied().filter(|t| t.reads);
                if let Some(task) = task {
                    seen.lba = Some(task.lba + u64::from(p.offset) / BLOCK as u64);
                    seen.payload = p.data.clone();
                }
                if p.status.is_some() {
                    self.tasks.remove(&p.itt);
                }
            }
            Ok(Pdu::DataOut(p)) => {
                told.opcode = "Data-Out".to_owned();
                told.what = format!("{} bytes at {}  itt {:x}", p.data.len(), p.offset, p.itt);
                if let Some(task) = self.tasks.get(&p.itt).filter(|t| !t.reads) {
                    seen.lba = Some(task.lba + u64::from(p.offset) / BLOCK as u64);
                    seen.payload = p.data.clone();
                }
            }
            Ok(Pdu::R2t(p)) => {
                told.opcode = "R2T".to_owned();
                told.what = format!("{} bytes at {}  itt {:x}", p.length, p.offset, p.itt);
            }
            Ok(Pdu::LoginRequest(p)) => {
                told.opcode = "Login Request".to_owned();
                told.what = format!("{:?}  {}", p.stages.current, keys(&p.text));
            }
            Ok(Pdu::LoginResponse(p)) => {
                told.opcode = "Login Response".to_owned();
                told.what = format!("{:?}, {}  {}", p.stages.current, p.status, keys(&p.text));
                told.wrong = p.status.0 != 0;
            }
            Ok(Pdu::Reject(p)) => {
                told.opcode = "Reject".to_owned();
                told.what = p.reason.to_string();
                told.wrong = true;
            }
            Ok(Pdu::AsyncMessage(p)) => {
                told.opcode = "Async Message".to_owned();
                told.what = p.event.to_string();
            }
            Ok(Pdu::TaskManagementRequest(p)) => {
                told.opcode = "Task Management Request".to_owned();
                told.what = format!("{} of {:x}", p.function, p.referenced_itt);
            }
            Ok(Pdu::TaskManagementResponse(p)) => {
                told.opcode = "Task Management Response".to_owned();
                told.what = p.response.to_string();
            }
            Ok(Pdu::LogoutRequest(p)) => {
                told.opcode = "Logout Request".to_owned();
                told.what = p.reason.to_string();
            }
            Ok(Pdu::LogoutResponse(p)) => {
                told.opcode = "Logout Response".to_owned();
                told.what = p.response.to_string();
            }
            Ok(other) => told.opcode = format!("{:?}", other.opcode()),
            Err(e) => {
                told.opcode = format!("PDU {:#04x}", raw.bhs.opcode_bits());
                told.what = e.to_string();
                told.wrong = true;
            }
        }
        if let (Some(lba), false) = (seen.lba, seen.payload.is_empty()) {
            seen.pdu.data = content(lba, &seen.payload);
        }
        seen
    }
}

/// A command in the words of SBC and SPC, and the blocks that it moves.
fn command(cdb: &Cdb) -> (String, Option<Task>) {
    let range = |name: &str, lba: u64, blocks: u32, reads| {
        let task = Task { lba, blocks: u64::from(blocks), reads };
        (format!("{name} LBA {lba}, {blocks} blocks"), Some(task))
    };
    match cdb {
        Cdb::Read(t) => range("READ", t.lba, t.blocks, true),
        Cdb::Write(t) => range("WRITE", t.lba, t.blocks, false),
        Cdb::CompareAndWrite(t) => range("COMPARE AND WRITE", t.lba, t.blocks, false),
        Cdb::OrWrite(t) => range("ORWRITE", t.lba, t.blocks, false),
        Cdb::SynchronizeCache { lba, blocks, .. } => {
            (format!("SYNCHRONIZE CACHE LBA {lba}, {blocks} blocks"), None)
        }
        Cdb::GetLbaStatus { lba, .. } => (format!("GET LBA STATUS from LBA {lba}"), None),
        Cdb::ReadCapacity10 => ("READ CAPACITY (10)".to_owned(), None),
        Cdb::ReadCapacity16 { .. } => ("READ CAPACITY (16)".to_owned(), None),
        Cdb::TestUnitReady => ("TEST UNIT READY".to_owned(), None),
        Cdb::Inquiry { evpd: true, page, .. } => (format!("INQUIRY, page {page:02x}h"), None),
        other => (spaced(&format!("{other:?}")), None),
    }
}

/// The name of a variant as words, its fields as they are.
fn spaced(text: &str) -> String {
    let (name, rest) = text.split_at(text.find([' ', '(']).unwrap_or(text.len()));
    let mut out = String::new();
    for (n, c) in name.chars().enumerate() {
        if n > 0 && c.is_ascii_uppercase() {
            out.push(' ');
        }
        out.extend(c.to_uppercase());
    }
    out + rest
}

/// Keys of a login, without what authentication exchanges.
fn keys(text: &[u8]) -> String {
    let pairs = text.split(|c| *c == 0).filter(|p| !p.is_empty()).map(|pair| {
        let pair = String::from_utf8_lossy(pair);
        match pair.split_once('=') {
            Some((key @ ("CHAP_R" | "CHAP_C"), _)) => format!("{key}=***"),
            _ => pair.chars().take(80).collect(),
        }
    });
    pairs.collect::<Vec<String>>().join(" ")
}

/// What blocks say about themselves: runs of equal writes become one phrase.
pub(super) fn content(lba: u64, data: &[u8]) -> String {
    let mut phrases: Vec<(String, u64, u64)> = Vec::new();
    for (block, at) in data.chunks(BLOCK).zip(lba..) {
        let phrase = words(block, at);
        match phrases.last_mut() {
            Some((last, _, until)) if *last == phrase => *until = at,
            _ => phrases.push((phrase, at, at)),
        }
    }
    let more = phrases.len().saturating_sub(4);
    phrases.truncate(4);
    let told = phrases.into_iter().map(|(phrase, from, until)| match from == until {
        true => format!("LBA {from}: {phrase}"),
        false => format!("LBA {from} to {until}: {phrase}"),
    });
    let mut text = told.collect::<Vec<_>>().join("; ");
    if more > 0 {
        text += &format!("; and {more} more runs");
    }
    text
}

/// A block in words; `at` is where it lies.
pub(super) fn words(block: &[u8], at: u64) -> String {
    let written = |s: stamp::Stamp| {
        let place = if s.lba == at { String::new() } else { format!(" for LBA {}", s.lba) };
        format!("write {} to volume {}{place}", s.seq, s.volume)
    };
    match stamp::decode(block) {
        stamp::Decoded::Zero => "zeroes".to_owned(),
        stamp::Decoded::Stamp(s) => written(s),
        stamp::Decoded::Torn { head, intact } => {
            format!("torn after {intact} bytes, began as {}", written(head))
        }
        stamp::Decoded::Other => "bytes without a stamp".to_owned(),
    }
}
