//! The monitors at work on connections of others: whoever is the initiator, and whatever it is about, what a target sends is
//! checked against the rules of numbering, lengths and residuals (RFC 7143 sections 4.2.2, 11 and 13).
//!
//! Segments in, breaches out. The order of the segments must be that in which they were sent, or that in which the initiator
//! saw them; both make sense of every answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::BytesMut;
use sanbench_wire::frame::{self, Decoded, Digests, FrameLimits};
use sanbench_wire::pdu::Stage;
use sanbench_wire::{Pdu, RawPdu};
use sanbench_world::{Segment, SegmentKind};

use crate::monitor::{Agreed, Breach, Monitor};

/// What the rules are about that a whole connection upholds: each is compared once with every PDU of a target.
pub const UPHELD: [&str; 6] = ["ISC-004", "ISC-005", "ISC-007", "ISC-008", "ISC-009", "ISC-010"];

/// What a receiver would take at most; larger is no PDU that anybody agreed on.
const LIMITS: FrameLimits = FrameLimits { max_data_segment: 16 << 20, max_ahs: 1024 };
/// Text of a login that is kept for each side, bytes (RFC 7143 section 6.2 asks for 64 KiB at least).
const MOST_TEXT: usize = 64 << 10;
/// First byte of a login request: immediate, 03h. No other connection begins so.
const LOGIN: u8 = 0x43;

/// Follows every iSCSI connection among the segments that it is shown.
#[derive(Default)]
pub struct Follower {
    /// None: no iSCSI, or not to be followed any further.
    connections: BTreeMap<u64, Option<Connection>>,
    breaches: Vec<Breach>,
    answers: u64,
}

/// One direction of a connection.
#[derive(Default)]
struct Direction {
    unread: BytesMut,
    /// Keys that were said during the login.
    text: Vec<u8>,
}

struct Connection {
    initiator: SocketAddr,
    forth: Direction,
    back: Direction,
    digests: Digests,
    monitor: Monitor,
    full: bool,
    /// One side sends no more.
    half_over: bool,
}

impl Follower {
    /// Takes the next segment of any connection.
    pub fn segment(&mut self, segment: &Segment) {
        match segment.kind {
            SegmentKind::Data => {}
            SegmentKind::Syn => return,
            // The other side may still send.
            SegmentKind::Fin => {
                let known = self.connections.get_mut(&segment.conn);
                if known.is_some_and(|known| known.as_mut().is_none_or(Connection::half_over)) {
                    self.connections.remove(&segment.conn);
                }
                return;
            }
            SegmentKind::Rst => {
                self.connections.remove(&segment.conn);
                return;
            }
        }
        let known = self
            .connections
            .entry(segment.conn)
            .or_insert_with(|| (segment.bytes.first() == Some(&LOGIN)).then(|| Connection::new(segment.src)));
        let Some(connection) = known else { return };
        let followed = connection.take(segment, &mut self.answers);
        self.breaches.extend(connection.monitor.take());
        if !followed {
            *known = None;
        }
    }

    /// The breaches in the order in which they were seen, and how many PDUs of targets were looked at.
    #[must_use]
    pub fn end(self) -> (Vec<Breach>, u64) {
        (self.breaches, self.answers)
    }
}

impl Connection {
    fn new(initiator: SocketAddr) -> Connection {
        Connection {
            initiator,
            forth: Direction::default(),
            back: Direction::default(),
            digests: Digests::default(),
            monitor: Monitor::new(),
            full: false,
            half_over: false,
        }
    }

    /// A side sends no more; true when the other one does not either.
    fn half_over(&mut self) -> bool {
        std::mem::replace(&mut self.half_over, true)
    }

    /// False when the stream cannot be followed any further.
    fn take(&mut self, segment: &Segment, answers: &mut u64) -> bool {
        let out = segment.src == self.initiator;
        let direction = if out { &mut self.forth } else { &mut self.back };
        direction.unread.extend_from_slice(&segment.bytes);
        loop {
            let direction = if out { &mut self.forth } else { &mut self.back };
            // The answer that ends the login does so for both directions: nothing is under way then.
            let digests = if self.full { self.digests } else { Digests::default() };
            let raw = match frame::decode(&mut direction.unread, LIMITS, digests) {
                Ok(Decoded::Pdu(raw)) => raw,
                Ok(Decoded::NeedMore(_)) => return true,
                Err(_) => return false,
            };
            if out {
                self.request(&raw);
            } else if !self.answer(&raw) {
                return false;
            } else {
                *answers += 1;
            }
        }
    }

    fn request(&mut self, raw: &RawPdu) {
        if let (false, Ok(Pdu::LoginRequest(p))) = (self.full, Pdu::parse(raw)) {
            self.forth.says(&p.text);
        }
        self.monitor.sent(raw);
    }

    fn answer(&mut self, raw: &RawPdu) -> bool {
        let Ok(pdu) = Pdu::parse(raw) else { return false };
        self.monitor.received(raw, &pdu);
        if let (false, Pdu::LoginResponse(p)) = (self.full, &pdu) {
            self.back.says(&p.text);
            if p.status.0 == 0 && p.stages.next == Some(Stage::FullFeature) {
                self.full = true;
                self.agree();
            }
        }
        true
    }

    /// What the login has agreed on, from what both sides said.
    fn agree(&mut self) {
        let least = |key: &str, default: u32| {
            let said = [&self.forth, &self.back].into_iter().flat_map(|side| side.numbers(key));
            said.min().unwrap_or(default)
        };
        // Both are the smaller of two values (RFC 7143 sections 13.13 and 13.17); the length of a segment is what the
        // receiver declares (section 13.12).
        let agreed = Agreed {
            max_recv: self.forth.numbers("MaxRecvDataSegmentLength").last().unwrap_or(8192) as usize,
            max_burst: least("MaxBurstLength", 262_144),
            max_r2t: least("MaxOutstandingR2T", 1),
        };
        self.monitor.recovers = least("ErrorRecoveryLevel", 0) > 0;
        self.digests = Digests {
            header: self.back.chose("HeaderDigest=CRC32C"),
            data: self.back.chose("DataDigest=CRC32C"),
        };
        self.monitor.full_feature(agreed);
    }
}

impl Direction {
    fn says(&mut self, text: &[u8]) {
        if self.text.len() + text.len() <= MOST_TEXT {
            self.text.extend_from_slice(text);
        }
    }

    fn pairs(&self) -> impl Iterator<Item = &[u8]> {
        self.text.split(|byte| *byte == 0)
    }

    fn chose(&self, pair: &str) -> bool {
        self.pairs().any(|said| said == pair.as_bytes())
    }

    fn numbers(&self, key: &str) -> impl Iterator<Item = u32> {
        self.pairs().filter_map(move |pair| {
            let value = pair.strip_prefix(key.as_bytes())?.strip_prefix(b"=")?;
            std::str::from_utf8(value).ok()?.parse().ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use sanbench_wire::Outbox;
    use sanbench_wire::bhs::RESERVED_TAG;
    use sanbench_wire::pdu::{LoginRequest, LoginResponse, LoginStatus, NopIn, Stages};
    use sanbench_wire::scsi::luns::Lun;

    use super::*;

    const HOST: &str = "10.0.0.9:40000";
    const PORTAL: &str = "10.0.0.1:3260";

    /// Shows a follower what both ends of one connection send, in pieces of so many bytes.
    struct Talk {
        follower: Follower,
        digests: Digests,
        piece: usize,
    }

    impl Talk {
        fn send(&mut self, src: &str, dst: &str, bytes: &[u8]) {
            for piece in bytes.chunks(self.piece) {
                self.follower.segment(&Segment {
                    at: Duration::ZERO,
                    src: src.parse().unwrap(),
                    dst: dst.parse().unwrap(),
                    conn: 1,
                    kind: SegmentKind::Data,
                    bytes: Bytes::copy_from_slice(piece),
                });
            }
        }

        fn pdu(&mut self, src: &str, dst: &str, pdu: impl Into<Pdu>) {
            let mut out = Outbox::new();
            pdu.into().push_to(&mut out, self.digests);
            let bytes = out.take_all();
            self.send(src, dst, &bytes);
        }

        fn ping(&mut self, stat_sn: u32, length: usize) {
            let (exp_cmd_sn, max_cmd_sn, data) = (2, 9, vec![7; length].into());
            let (lun, itt, ttt) = (Lun::ZERO, 1, RESERVED_TAG);
            self.pdu(PORTAL, HOST, NopIn { lun, itt, ttt, stat_sn, exp_cmd_sn, max_cmd_sn, data });
        }

        /// Requirements that were broken, and answers seen.
        fn end(self) -> (Vec<&'static str>, u64) {
            let (breaches, answers) = self.follower.end();
            (breaches.into_iter().map(|b| b.requirement).collect(), answers)
        }
    }

    /// Both ends have logged in: segments of 512 bytes at most, digests, StatSN 5 is next.
    fn talk(piece: usize) -> Talk {
        let mut talk = Talk { follower: Follower::default(), digests: Digests::default(), piece };
        let stages = Stages { continues: false, current: Stage::Operational, next: Some(Stage::FullFeature) };
        let text = b"MaxRecvDataSegmentLength=512\0HeaderDigest=CRC32C,None\0DataDigest=CRC32C\0";
        let request = LoginRequest {
            stages,
            version_max: 0,
            version_min: 0,
            isid: [0; 6],
            tsih: 0,
            itt: 1,
            cid: 0,
            cmd_sn: 1,
            exp_stat_sn: 0,
            text: Bytes::from_static(text),
        };
        talk.pdu(HOST, PORTAL, request);
        let text = b"MaxRecvDataSegmentLength=65536\0HeaderDigest=CRC32C\0DataDigest=CRC32C\0";
        let response = LoginResponse {
            stages,
            version_max: 0,
            version_active: 0,
            isid: [0; 6],
            tsih: 1,
            itt: 1,
            stat_sn: 4,
            exp_cmd_sn: 1,
            max_cmd_sn: 8,
            status: LoginStatus(0),
            text: Bytes::from_static(text),
        };
        talk.pdu(PORTAL, HOST, response);
        talk.digests = Digests { header: true, data: true };
        talk
    }

    #[test]
    fn what_a_target_sends_is_judged_however_it_is_cut() {
        for piece in [1, 7, usize::MAX] {
            let mut right = talk(piece);
            (5..9).for_each(|stat_sn| right.ping(stat_sn, 512));
            assert_eq!(right.end(), (vec![], 5));
            let mut jumps = talk(piece);
            jumps.ping(6, 1);
            assert_eq!(jumps.end(), (vec!["ISC-008"], 2));
            let mut long = talk(piece);
            long.ping(5, 513);
            assert_eq!(long.end(), (vec!["ISC-005"], 2));
        }
    }

    #[test]
    fn what_is_no_iscsi_or_ends_is_followed_no_further() {
        let mut web = Talk { follower: Follower::default(), digests: Digests::default(), piece: 9 };
        web.send(HOST, PORTAL, b"GET / HTTP/1.1\r\n\r\n");
        web.send(PORTAL, HOST, &[0x43; 400]);
        assert_eq!(web.end(), (vec![], 0));
        let mut noise = talk(100);
        noise.send(PORTAL, HOST, &[0xff; 4000]);
        noise.ping(77, 1);
        assert_eq!(noise.end(), (vec![], 1));
        let mut reset = talk(100);
        let over = Segment {
            at: Duration::ZERO,
            src: PORTAL.parse().unwrap(),
            dst: HOST.parse().unwrap(),
            conn: 1,
            kind: SegmentKind::Rst,
            bytes: Bytes::new(),
        };
        reset.follower.segment(&over);
        reset.ping(77, 1);
        assert_eq!(reset.end(), (vec![], 1));
    }
}
