//! What both ends of an iSCSI connection say, out of the segments that they send. Whoever listens knows when the login is over,
//! and what it agreed on.

use std::net::SocketAddr;

use bytes::BytesMut;
use sanbench_wire::frame::{self, Decoded, Digests, FrameLimits};
use sanbench_wire::pdu::Stage;
use sanbench_wire::{Pdu, RawPdu};
use sanbench_world::Segment;

use crate::monitor::Agreed;

/// What a receiver would take at most; larger is no PDU that anybody agreed on.
const LIMITS: FrameLimits = FrameLimits { max_data_segment: 16 << 20, max_ahs: 1024 };
/// Text of a login that is kept for each side, bytes (RFC 7143 section 6.2 asks for 64 KiB at least).
const MOST_TEXT: usize = 64 << 10;
/// First byte of a login request: immediate, 03h. No other connection begins so.
const LOGIN: u8 = 0x43;

/// A connection while it is listened to.
#[derive(Debug)]
pub struct Dialogue {
    initiator: SocketAddr,
    forth: Direction,
    back: Direction,
    digests: Digests,
    full: bool,
    lost: bool,
}

#[derive(Debug, Default)]
struct Direction {
    unread: BytesMut,
    /// Keys that were said during the login.
    text: Vec<u8>,
}

impl Dialogue {
    /// Begins with the first segment of a connection, which is still to be [heard](Dialogue::hear). None: it is no iSCSI.
    #[must_use]
    pub fn begin(first: &Segment) -> Option<Dialogue> {
        (first.bytes.first() == Some(&LOGIN)).then(|| Dialogue {
            initiator: first.src,
            forth: Direction::default(),
            back: Direction::default(),
            digests: Digests::default(),
            full: false,
            lost: false,
        })
    }

    /// Takes the next segment of either end. True: it is the initiator's. [`Dialogue::next`] then gives the PDUs that it
    /// completes.
    pub fn hear(&mut self, segment: &Segment) -> bool {
        let out = segment.src == self.initiator;
        self.direction(out).unread.extend_from_slice(&segment.bytes);
        out
    }

    /// The next whole PDU of the initiator (`out`) or of the target.
    pub fn next(&mut self, out: bool) -> Option<RawPdu> {
        if self.lost {
            return None;
        }
        // The answer that ends the login does so for both directions: nothing is under way then.
        let digests = if self.full { self.digests } else { Digests::default() };
        match frame::decode(&mut self.direction(out).unread, LIMITS, digests) {
            Ok(Decoded::Pdu(raw)) => {
                if !self.full {
                    self.log_in(&raw);
                }
                Some(raw)
            }
            Ok(Decoded::NeedMore(_)) => None,
            Err(_) => {
                self.lost = true;
                None
            }
        }
    }

    /// Nobody can make sense of it any more.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    fn direction(&mut self, out: bool) -> &mut Direction {
        if out { &mut self.forth } else { &mut self.back }
    }

    fn log_in(&mut self, raw: &RawPdu) {
        match Pdu::parse(raw) {
            Ok(Pdu::LoginRequest(p)) => self.forth.says(&p.text),
            Ok(Pdu::LoginResponse(p)) => {
                self.back.says(&p.text);
                self.full = p.status.0 == 0 && p.stages.next == Some(Stage::FullFeature);
                self.digests = Digests {
                    header: self.back.chose("HeaderDigest=CRC32C"),
                    data: self.back.chose("DataDigest=CRC32C"),
                };
            }
            _ => {}
        }
    }

    /// What the login has agreed on, from what both ends said, and whether lost PDUs may be asked for again (recovery level 1
    /// and above). None before it is over.
    pub(crate) fn agreed(&self) -> Option<(Agreed, bool)> {
        // The smaller of two values (RFC 7143 sections 13.13, 13.17 and 13.20).
        let least = |key: &str, default: u32| {
            let said = [&self.forth, &self.back].into_iter().flat_map(|side| side.numbers(key));
            said.min().unwrap_or(default)
        };
        let agreed = Agreed {
            // What the receiver declares (section 13.12).
            max_recv: self.forth.numbers("MaxRecvDataSegmentLength").last().unwrap_or(8192) as usize,
            max_burst: least("MaxBurstLength", 262_144),
            max_r2t: least("MaxOutstandingR2T", 1),
        };
        self.full.then(|| (agreed, least("ErrorRecoveryLevel", 0) > 0))
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
