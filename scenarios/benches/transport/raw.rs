//! A bare initiator as load generator: blocking sockets, many commands in one send, many answers in one receive, so that
//! the target is what is measured and not the client.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sanbench_wire::bhs::{BHS_LEN, Bhs, Opcode, RESERVED_TAG};
use sanbench_wire::frame::{Decoded, Digests, FrameLimits, decode};
use sanbench_wire::keys;
use sanbench_wire::pdu::{
    LoginRequest, LoginResponse, LoginStatus, ScsiCommand, Stage, Stages, TaskAttribute,
};
use sanbench_wire::scsi::luns::Lun;

use crate::peers::clock;

/// Where a LUN is.
#[derive(Clone, Debug)]
pub(crate) struct Url {
    pub(crate) address: SocketAddr,
    pub(crate) iqn: String,
    pub(crate) lun: u16,
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "iscsi://{}/{}/{}", self.address, self.iqn, self.lun)
    }
}

impl std::str::FromStr for Url {
    type Err = io::Error;

    fn from_str(text: &str) -> io::Result<Url> {
        let bad = || io::Error::other(format!("no iSCSI URL: {text}"));
        let mut parts = text.strip_prefix("iscsi://").ok_or_else(bad)?.splitn(3, '/');
        let mut part = || parts.next().ok_or_else(bad);
        let (address, iqn, lun) = (part()?, part()?, part()?);
        Ok(Url {
            address: address.parse().map_err(|_| bad())?,
            iqn: iqn.to_owned(),
            lun: lun.parse().map_err(|_| bad())?,
        })
    }
}

/// What to do with a LUN.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) write: bool,
    /// Bytes of each command.
    pub(crate) bytes: u32,
    /// Commands in flight in each session.
    pub(crate) depth: usize,
    pub(crate) sequential: bool,
    /// Bytes of the LUN that are used.
    pub(crate) span: u64,
}

/// A Ready To Transfer.
#[derive(Clone, Copy)]
struct Asked {
    itt: u32,
    ttt: u32,
    offset: u32,
    length: u32,
}

/// One session.
pub(crate) struct Session {
    stream: TcpStream,
    lun: Lun,
    cmd_sn: u32,
    max_cmd_sn: u32,
    exp_stat_sn: u32,
    input: Vec<u8>,
    have: usize,
    random: u64,
    place: u64,
    free: Vec<u32>,
    heads: Vec<Bhs>,
    /// Largest data segment that the target takes, bytes.
    segment: u32,
    /// Largest immediate data, bytes.
    immediate: u32,
    /// Data that the target asked for and that has not been sent.
    asked: Vec<Asked>,
    /// Part of a large answer that is still to come and holds nothing of interest, bytes.
    skip: usize,
}

fn broken(what: impl Into<String>) -> io::Error {
    io::Error::other(what.into())
}

impl Session {
    /// Logs in to `url` as `initiator`; `number` makes the ISID.
    pub(crate) fn log_in(url: &Url, initiator: &str, number: u16) -> io::Result<Session> {
        let mut stream = TcpStream::connect(url.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let (high, low) = ((number >> 8) as u8, number as u8);
        let mut tsih = 0;
        let mut exp_stat_sn = 0;
        let mut answer = None;
        // Defaults (RFC 7143 sections 13.12 and 13.14), until the target says otherwise.
        let (mut segment, mut first_burst) = (8192, 262_144);
        for (current, next) in
            [(Stage::Security, Stage::Operational), (Stage::Operational, Stage::FullFeature)]
        {
            let text = match current {
                Stage::Security => keys::encode([
                    ("InitiatorName", initiator),
                    ("TargetName", &url.iqn),
                    ("SessionType", "Normal"),
                    ("AuthMethod", "None"),
                ]),
                _ => keys::encode([
                    ("HeaderDigest", "None"),
                    ("DataDigest", "None"),
                    ("MaxRecvDataSegmentLength", "262144"),
                    ("MaxBurstLength", "262144"),
                    ("FirstBurstLength", "262144"),
                    ("InitialR2T", "No"),
                    ("ImmediateData", "Yes"),
                    ("MaxConnections", "1"),
                    ("ErrorRecoveryLevel", "0"),
                ]),
            };
            let mut text = Bytes::from(text);
            for _ in 0..8 {
                let request = LoginRequest {
                    stages: Stages { continues: false, current, next: Some(next) },
                    version_max: 0,
                    version_min: 0,
                    isid: [0x80, 0, 0, 1, high, low],
                    tsih,
                    itt: 1,
                    cid: 1,
                    cmd_sn: 1,
                    exp_stat_sn,
                    text: std::mem::take(&mut text),
                };
                let mut out = sanbench_wire::Outbox::new();
                out.push(&request.emit(), Digests::default());
                stream.write_all(&out.take_all())?;
                let response = receive_login(&mut stream)?;
                if response.status != LoginStatus::SUCCESS {
                    return Err(broken(format!("login refused: {:?}", response.status)));
                }
                exp_stat_sn = response.stat_sn.wrapping_add(1);
                tsih = response.tsih;
                let said = |name| value(&response.text, name);
                segment = said("MaxRecvDataSegmentLength").unwrap_or(segment);
                first_burst = said("FirstBurstLength").unwrap_or(first_burst);
                let done = response.stages.next == Some(next);
                answer = Some(response);
                if done {
                    break;
                }
            }
        }
        let answer = answer.ok_or_else(|| broken("no login response"))?;
        let mut session = Session {
            stream,
            lun: Lun::from_number(url.lun).ok_or_else(|| broken("no LUN number"))?,
            cmd_sn: 1,
            max_cmd_sn: answer.max_cmd_sn,
            exp_stat_sn,
            input: vec![0; 1 << 16],
            have: 0,
            random: 0x9e37_79b9_7f4a_7c15 ^ (u64::from(number) << 32),
            place: 0,
            free: vec![0],
            heads: Vec::new(),
            segment,
            immediate: segment.min(first_burst),
            asked: Vec::new(),
            skip: 0,
        };
        session.settle()?;
        Ok(session)
    }

    /// TEST UNIT READY until no unit attention waits any more.
    fn settle(&mut self) -> io::Result<()> {
        for _ in 0..8 {
            let head = self.command(0, [0; 16], 0, false).header();
            self.cmd_sn = self.cmd_sn.wrapping_add(1);
            self.stream.write_all(&head.0)?;
            let mut bad = 0;
            let mut done = 0;
            while done == 0 {
                done = self.receive(&mut bad)?;
            }
            self.free.truncate(1);
            if bad == 0 {
                return Ok(());
            }
        }
        Err(broken("the unit does not become ready"))
    }

    fn command(&self, itt: u32, cdb: [u8; 16], bytes: u32, write: bool) -> ScsiCommand {
        ScsiCommand {
            immediate: false,
            last: true,
            read: bytes > 0 && !write,
            write: bytes > 0 && write,
            attribute: TaskAttribute::SIMPLE,
            lun: self.lun,
            itt,
            expected_length: bytes,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
            cdb,
            ahs: Bytes::new(),
            data: Bytes::new(),
        }
    }

    /// Makes the headers of a load, one for each command in flight.
    pub(crate) fn prepare(&mut self, load: Load) {
        let mut cdb = [0; 16];
        cdb[0] = if load.write { 0x2a } else { 0x28 };
        cdb[7..9].copy_from_slice(&((load.bytes / 512) as u16).to_be_bytes());
        self.heads = (0..load.depth as u32)
            .map(|itt| {
                let mut head = self.command(itt, cdb, load.bytes, load.write).header();
                head.set_lengths(0, if load.write { load.bytes.min(self.immediate) as usize } else { 0 });
                head
            })
            .collect();
        self.free = (0..load.depth as u32).collect();
        if self.input.len() < (load.bytes as usize + 4096) * 8 {
            self.input.resize((load.bytes as usize + 4096) * 8, 0);
        }
    }

    /// Sends every command that may go; how many.
    pub(crate) fn send(&mut self, load: Load, data: &[u8]) -> io::Result<usize> {
        let mut going = Vec::with_capacity(self.free.len());
        // A depth of zero sends only what was asked for.
        while load.depth > 0
            && (self.max_cmd_sn.wrapping_sub(self.cmd_sn) as i32) >= 0
            && let Some(itt) = self.free.pop()
        {
            let slots = load.span / u64::from(load.bytes);
            let slot = if load.sequential {
                self.place += 1;
                self.place % slots
            } else {
                self.random ^= self.random << 13;
                self.random ^= self.random >> 7;
                self.random ^= self.random << 17;
                self.random % slots
            };
            let head = &mut self.heads[itt as usize];
            head.put_u32(24, self.cmd_sn);
            head.put_u32(28, self.exp_stat_sn);
            head.put_u32(34, (slot * u64::from(load.bytes / 512)) as u32);
            self.cmd_sn = self.cmd_sn.wrapping_add(1);
            going.push(itt as usize);
        }
        let immediate = load.bytes.min(self.immediate) as usize;
        let answers = self.data_out();
        let mut slices = Vec::with_capacity(2 * (going.len() + answers.len()));
        for (head, part) in &answers {
            slices.push(IoSlice::new(&head.0));
            slices.push(IoSlice::new(&data[part.clone()]));
        }
        for at in &going {
            slices.push(IoSlice::new(&self.heads[*at].0));
            if load.write {
                slices.push(IoSlice::new(&data[..immediate]));
            }
        }
        let mut rest = &mut slices[..];
        while !rest.is_empty() {
            let sent = self.stream.write_vectored(rest)?;
            if sent == 0 {
                return Err(broken("the target takes no bytes"));
            }
            IoSlice::advance_slices(&mut rest, sent);
        }
        Ok(going.len())
    }

    /// The Data-Out PDUs that the target asked for: header, and the part of the data.
    fn data_out(&mut self) -> Vec<(Bhs, std::ops::Range<usize>)> {
        let mut pdus = Vec::new();
        for asked in self.asked.drain(..) {
            let (mut at, end) = (asked.offset, asked.offset + asked.length);
            let mut data_sn = 0;
            while at < end {
                let next = end.min(at + self.segment);
                let mut head = Bhs::new(Opcode::DataOut, false, if next == end { 0x80 } else { 0 });
                head.set_lun(self.lun);
                head.put_u32(16, asked.itt);
                head.put_u32(20, asked.ttt);
                head.put_u32(28, self.exp_stat_sn);
                head.put_u32(36, data_sn);
                head.put_u32(40, at);
                head.set_lengths(0, (next - at) as usize);
                pdus.push((head, at as usize..next as usize));
                data_sn += 1;
                at = next;
            }
        }
        pdus
    }

    /// Waits for all that is in flight, so that another load can follow.
    fn drain(&mut self, load: Load, data: &[u8], bad: &mut u64) -> io::Result<()> {
        let nothing_new = Load { depth: 0, ..load };
        while self.free.len() < load.depth || self.skip > 0 {
            self.receive(bad)?;
            self.send(nothing_new, data)?;
        }
        Ok(())
    }

    /// Receives once and counts the commands that ended; adds those that did not end well to `bad`.
    pub(crate) fn receive(&mut self, bad: &mut u64) -> io::Result<usize> {
        let n = self.stream.read(&mut self.input[self.have..])?;
        if n == 0 {
            return Err(broken("the target closed the connection"));
        }
        self.have += n;
        let (mut at, mut done) = (self.skip.min(self.have), 0);
        self.skip -= at;
        while let Some(head) = self.input[at..self.have].first_chunk::<BHS_LEN>() {
            let head = Bhs(*head);
            let whole = BHS_LEN + head.ahs_len() + head.data_len().next_multiple_of(4);
            let ended = match head.opcode() {
                Some(Opcode::DataIn) => head.flags() & 1 != 0,
                Some(Opcode::ScsiResponse) => true,
                Some(Opcode::NopIn) if head.u32(20) == RESERVED_TAG => false,
                Some(Opcode::R2t) => {
                    let (offset, length) = (head.u32(40), head.u32(44));
                    self.asked.push(Asked { itt: head.itt(), ttt: head.u32(20), offset, length });
                    false
                }
                other => return Err(broken(format!("an answer that was not expected: {other:?}"))),
            };
            self.max_cmd_sn = head.u32(32);
            if ended {
                // Byte 3 is the status, byte 2 of a response its response code.
                if head.0[3] != 0 || (head.opcode() == Some(Opcode::ScsiResponse) && head.0[2] != 0) {
                    *bad += 1;
                }
                self.exp_stat_sn = head.u32(24).wrapping_add(1);
                self.free.push(head.itt());
                done += 1;
            }
            if whole > self.have - at {
                // The data says nothing to us, so it need not be whole.
                self.skip = whole - (self.have - at);
                at = self.have;
            } else {
                at += whole;
            }
        }
        self.input.copy_within(at..self.have, 0);
        self.have -= at;
        Ok(done)
    }
}

/// The number that a login response gives a key.
fn value(text: &[u8], name: &str) -> Option<u32> {
    let pair = text.split(|byte| *byte == 0).find_map(|pair| {
        let (key, value) = std::str::from_utf8(pair).ok()?.split_once('=')?;
        (key == name).then(|| value.to_owned())
    });
    pair?.parse().ok()
}

fn receive_login(stream: &mut TcpStream) -> io::Result<LoginResponse> {
    let mut input = BytesMut::new();
    let limits = FrameLimits { max_data_segment: 8192, max_ahs: 0 };
    loop {
        match decode(&mut input, limits, Digests::default()).map_err(io::Error::other)? {
            Decoded::Pdu(raw) => return LoginResponse::parse(&raw).map_err(io::Error::other),
            Decoded::NeedMore(n) => {
                let have = input.len();
                input.resize(have + n, 0);
                stream.read_exact(&mut input[have..])?;
            }
        }
    }
}

/// Runs a load over the sessions for a time after a warm-up; calls `mark` when the measured part begins. Commands that ended in
/// the measured part, and the seconds it took.
pub(crate) fn run(
    sessions: &mut [Session],
    load: Load,
    warm_up: f64,
    seconds: f64,
    mark: &mut dyn FnMut(),
) -> io::Result<(u64, f64)> {
    let data: Vec<u8> = (0..load.bytes).map(|i| (i * 31) as u8 | 1).collect();
    for session in sessions.iter_mut() {
        session.prepare(load);
    }
    let begun = clock();
    let (mut marked, mut done, mut bad) = (None, 0u64, 0);
    loop {
        for session in sessions.iter_mut() {
            session.send(load, &data)?;
        }
        for session in sessions.iter_mut() {
            done += session.receive(&mut bad)? as u64;
        }
        let now = clock();
        match marked {
            None if now - begun >= warm_up => {
                mark();
                marked = Some(now);
                done = 0;
            }
            Some(from) if now - from >= seconds => {
                for session in sessions.iter_mut() {
                    session.drain(load, &data, &mut bad)?;
                }
                if bad > 0 {
                    return Err(broken(format!("{bad} commands failed")));
                }
                return Ok((done, now - from));
            }
            _ => {}
        }
    }
}
