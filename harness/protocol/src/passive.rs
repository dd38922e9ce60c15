//! The monitors at work on connections of others: whoever is the initiator, and whatever it is about, what a target sends is
//! checked against the rules of numbering, lengths and residuals (RFC 7143 sections 4.2.2, 11 and 13), and of commands that leave
//! unit attentions alone (SAM-5 clause 5.14).
//!
//! Segments in, breaches out. The order of the segments must be that in which they were sent, or that in which the initiator
//! saw them; both make sense of every answer.

use std::collections::BTreeMap;

use sanbench_wire::Pdu;
use sanbench_world::{Segment, SegmentKind};

use crate::dialogue::Dialogue;
use crate::monitor::{Breach, Monitor};

/// Requirements that are compared once with every PDU of a target.
pub const UPHELD: [&str; 3] = ["ISC-005", "ISC-007", "ISC-008"];

/// Follows every iSCSI connection among the segments that it is shown.
#[derive(Default)]
pub struct Follower {
    /// None: no iSCSI, or not to be followed any further.
    connections: BTreeMap<u64, Option<Connection>>,
    /// The first breach of each clause of a requirement.
    breaches: Vec<Breach>,
    answers: u64,
}

struct Connection {
    dialogue: Dialogue,
    monitor: Monitor,
    /// The monitor knows what was agreed.
    full: bool,
    /// One side sends no more.
    half_over: bool,
}

impl Follower {
    /// Takes the next segment of any connection.
    pub fn segment(&mut self, segment: &Segment) {
        match segment.kind {
            SegmentKind::Syn => {}
            SegmentKind::Data => self.data(segment),
            // The other side may still send.
            SegmentKind::Fin => {
                let known = self.connections.get_mut(&segment.conn);
                if known.is_some_and(|known| known.as_mut().is_none_or(Connection::ends_half)) {
                    self.connections.remove(&segment.conn);
                }
            }
            SegmentKind::Rst => {
                self.connections.remove(&segment.conn);
            }
        }
    }

    fn data(&mut self, segment: &Segment) {
        let begin = || Dialogue::begin(segment).map(Connection::new);
        let known = self.connections.entry(segment.conn).or_insert_with(begin);
        let Some(connection) = known else { return };
        let followed = connection.take(segment, &mut self.answers);
        for breach in connection.monitor.take() {
            let known = |b: &Breach| (b.requirement, b.clause) == (breach.requirement, breach.clause);
            if !self.breaches.iter().any(known) {
                self.breaches.push(breach);
            }
        }
        if !followed {
            *known = None;
        }
    }

    /// The first breach of each clause of a requirement, in the order in which they were seen, and how many PDUs of targets were
    /// looked at.
    #[must_use]
    pub fn end(self) -> (Vec<Breach>, u64) {
        (self.breaches, self.answers)
    }
}

impl Connection {
    fn new(dialogue: Dialogue) -> Connection {
        Connection { dialogue, monitor: Monitor::new(), full: false, half_over: false }
    }

    /// A side sends no more; true when the other one does not either.
    fn ends_half(&mut self) -> bool {
        std::mem::replace(&mut self.half_over, true)
    }

    /// False when it cannot be followed any further.
    fn take(&mut self, segment: &Segment, answers: &mut u64) -> bool {
        let out = self.dialogue.hear(segment);
        while let Some(raw) = self.dialogue.next(out) {
            if out {
                self.monitor.sent(&raw);
                continue;
            }
            let Ok(pdu) = Pdu::parse(&raw) else { return false };
            self.monitor.received(&raw, &pdu);
            *answers += 1;
            if let (false, Some((agreed, recovers))) = (self.full, self.dialogue.agreed()) {
                self.full = true;
                self.monitor.recovers = recovers;
                self.monitor.full_feature(agreed);
            }
        }
        !self.dialogue.is_lost()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use sanbench_wire::Outbox;
    use sanbench_wire::bhs::RESERVED_TAG;
    use sanbench_wire::frame::Digests;
    use sanbench_wire::pdu::{LoginRequest, LoginResponse, LoginStatus, NopIn, Stage, Stages};
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
        let text = b"MaxRecvDataSegmentLength=512\0HeaderDigest=CRC32C,None\0DataDigest=CRC32C\0\
            MaxBurstLength=2048\0MaxOutstandingR2T=4\0ErrorRecoveryLevel=1\0";
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
        let text = b"MaxRecvDataSegmentLength=65536\0HeaderDigest=CRC32C\0DataDigest=CRC32C\0\
            MaxBurstLength=1024\0MaxOutstandingR2T=2\0ErrorRecoveryLevel=0\0";
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
    fn the_smaller_of_two_values_counts_and_of_segments_what_the_receiver_declares() {
        let talk = talk(5);
        let monitor = &talk.follower.connections[&1].as_ref().unwrap().monitor;
        let agreed = monitor.agreed;
        assert_eq!((agreed.max_recv, agreed.max_burst, agreed.max_r2t), (512, 1024, 2));
        assert!(!monitor.recovers);
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
