//! Captured payload as a pcapng file that Wireshark and tshark decode.
//!
//! The world records payload bytes, not packets. Around each segment this module puts a synthetic Ethernet, IPv4 or IPv6
//! and TCP header with valid checksums, and around each connection a handshake and an end, so that a dissector reassembles
//! the stream. Time stamps are the world's clock in nanoseconds (virtual in `sim`).
//!
//! For iSCSI on a port other than 3260, tell the dissector: `tshark -d tcp.port==PORT,iscsi`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Payload bytes that one packet can carry: 65,535 less 20 of IPv4 and 20 of TCP. (IPv6 does not count its own header,
/// so the same bound holds there.)
pub const LARGEST_PAYLOAD: usize = 65_495;

/// One recorded event of one direction of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// When it was sent, on the world's clock.
    pub at: Duration,
    /// Who sent it.
    pub src: SocketAddr,
    /// To whom.
    pub dst: SocketAddr,
    /// The connection: the same number in both directions, and never used again.
    pub connection: u64,
    /// What happened.
    pub kind: SegmentKind,
    /// Payload, for [`SegmentKind::Data`]; ignored otherwise.
    pub bytes: Vec<u8>,
}

/// What a segment does to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// The connection opens; `src` is the client.
    Open,
    /// Payload.
    Data,
    /// `src` sends no more.
    Close,
    /// The connection is gone.
    Reset,
}

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// The file as bytes: a section header, one Ethernet interface with nanosecond time stamps, one block for each packet.
///
/// A connection whose opening was not recorded gets its handshake before its first segment.
#[must_use]
pub fn write(segments: &[Segment]) -> Vec<u8> {
    let mut file = Vec::with_capacity(segments.iter().map(|s| s.bytes.len() + 100).sum::<usize>() + 64);
    section_header(&mut file);
    interface(&mut file);
    let mut connections: BTreeMap<u64, Connection> = BTreeMap::new();
    for segment in segments {
        if segment.src.is_ipv4() != segment.dst.is_ipv4() {
            continue; // no such packet exists
        }
        let connection = connections.entry(segment.connection).or_insert_with(|| {
            let mut connection = Connection::new(segment.src, segment.dst, segment.connection);
            connection.handshake(&mut file, segment.at);
            connection
        });
        connection.take(&mut file, segment);
    }
    file
}

/// Sequence numbers of both directions; index 0 is the side that opened.
struct Connection {
    ends: [SocketAddr; 2],
    next: [u32; 2],
    over: bool,
}

impl Connection {
    fn new(client: SocketAddr, server: SocketAddr, number: u64) -> Self {
        // Different, repeatable initial numbers: nothing depends on them but the reader's eye.
        let initial = (number as u32).wrapping_mul(0x0100_0193);
        Self { ends: [client, server], next: [initial, initial ^ 0x8000_0000], over: false }
    }

    fn handshake(&mut self, file: &mut Vec<u8>, at: Duration) {
        self.packet(file, at, 0, SYN, &[]);
        self.packet(file, at, 1, SYN | ACK, &[]);
        self.packet(file, at, 0, ACK, &[]);
    }

    fn take(&mut self, file: &mut Vec<u8>, segment: &Segment) {
        if self.over {
            return;
        }
        let from = usize::from(segment.src != self.ends[0]);
        match segment.kind {
            SegmentKind::Open => {}
            SegmentKind::Data => {
                for part in segment.bytes.chunks(LARGEST_PAYLOAD) {
                    self.packet(file, segment.at, from, PSH | ACK, part);
                }
            }
            SegmentKind::Close => self.packet(file, segment.at, from, FIN | ACK, &[]),
            SegmentKind::Reset => {
                self.packet(file, segment.at, from, RST | ACK, &[]);
                self.over = true;
            }
        }
    }

    fn packet(&mut self, file: &mut Vec<u8>, at: Duration, from: usize, flags: u8, payload: &[u8]) {
        let (src, dst) = (self.ends[from], self.ends[1 - from]);
        let sequence = self.next[from];
        let acknowledged = if flags & ACK == 0 { 0 } else { self.next[1 - from] };
        // SYN and FIN take one number each.
        let taken = payload.len() as u32 + u32::from(flags & (SYN | FIN) != 0);
        self.next[from] = sequence.wrapping_add(taken);
        let tcp = tcp_segment(src, dst, sequence, acknowledged, flags, payload);
        packet_block(file, at, &frame(src.ip(), dst.ip(), &tcp));
    }
}

fn tcp_segment(
    src: SocketAddr,
    dst: SocketAddr,
    sequence: u32,
    acknowledged: u32,
    flags: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut tcp = Vec::with_capacity(20 + payload.len());
    tcp.extend(src.port().to_be_bytes());
    tcp.extend(dst.port().to_be_bytes());
    tcp.extend(sequence.to_be_bytes());
    tcp.extend(acknowledged.to_be_bytes());
    // Data offset of five words, flags, the largest window, checksum to come, no urgent data.
    tcp.extend([5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    tcp.extend(payload);
    let length = tcp.len() as u32;
    // RFC 9293 section 3.1: the pseudo-header of either family sums to the same words.
    let mut sum = Sum::default();
    match (src.ip(), dst.ip()) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => sum.add(&src.octets()).add(&dst.octets()),
        (src, dst) => sum.add(&octets6(src)).add(&octets6(dst)),
    };
    sum.add(&length.to_be_bytes()).add(&[0, 6]).add(&tcp);
    tcp[16..18].copy_from_slice(&sum.finish().to_be_bytes());
    tcp
}

fn frame(src: IpAddr, dst: IpAddr, tcp: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(54 + tcp.len());
    frame.extend(mac(dst));
    frame.extend(mac(src));
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            frame.extend([0x08, 0x00]);
            let mut ip = vec![0x45, 0];
            ip.extend(((20 + tcp.len()) as u16).to_be_bytes());
            // No identification, do not fragment, 64 hops, TCP, checksum to come.
            ip.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
            ip.extend(src.octets());
            ip.extend(dst.octets());
            let mut sum = Sum::default();
            let checksum = sum.add(&ip).finish();
            ip[10..12].copy_from_slice(&checksum.to_be_bytes());
            frame.extend(ip);
        }
        (src, dst) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend((tcp.len() as u16).to_be_bytes());
            frame.extend([6, 64]);
            frame.extend(octets6(src));
            frame.extend(octets6(dst));
        }
    }
    frame.extend(tcp);
    frame
}

fn octets6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// A locally administered address made of the last four bytes of the IP address.
fn mac(ip: IpAddr) -> [u8; 6] {
    let bytes = octets6(ip);
    [0x02, 0x5b, bytes[12], bytes[13], bytes[14], bytes[15]]
}

/// The Internet checksum (RFC 1071). Every slice but the last must have an even length.
#[derive(Default)]
struct Sum(u64);

impl Sum {
    fn add(&mut self, bytes: &[u8]) -> &mut Self {
        let (pairs, odd) = bytes.as_chunks::<2>();
        self.0 += pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair))).sum::<u64>();
        self.0 += odd.first().map_or(0, |byte| u64::from(*byte) << 8);
        self
    }

    fn finish(&self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }
}

fn section_header(file: &mut Vec<u8>) {
    // Byte order magic, version 1.0, section length unknown.
    let mut body = Vec::new();
    body.extend(0x1a2b_3c4d_u32.to_le_bytes());
    body.extend([1, 0, 0, 0]);
    body.extend(u64::MAX.to_le_bytes());
    block(file, 0x0a0d_0d0a, &body);
}

fn interface(file: &mut Vec<u8>) {
    // Ethernet, no snap length; option 9 (if_tsresol) 10^-9, padded to four bytes; end of options.
    let mut body = vec![1, 0, 0, 0, 0, 0, 0, 0];
    body.extend([9, 0, 1, 0, 9, 0, 0, 0]);
    body.extend([0, 0, 0, 0]);
    block(file, 1, &body);
}

fn packet_block(file: &mut Vec<u8>, at: Duration, frame: &[u8]) {
    let nanos = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
    let length = (frame.len() as u32).to_le_bytes();
    let mut body = Vec::with_capacity(frame.len() + 24);
    body.extend([0; 4]);
    body.extend(((nanos >> 32) as u32).to_le_bytes());
    body.extend((nanos as u32).to_le_bytes());
    body.extend(length);
    body.extend(length);
    body.extend(frame);
    body.resize(body.len().next_multiple_of(4), 0);
    block(file, 6, &body);
}

fn block(file: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let length = (body.len() as u32 + 12).to_le_bytes();
    file.extend(kind.to_le_bytes());
    file.extend(length);
    file.extend(body);
    file.extend(length);
}

#[cfg(test)]
mod tests {
    use pcap_file::pcapng::{Block, PcapNgReader};

    use super::*;

    fn segment(at_ms: u64, back: bool, kind: SegmentKind, bytes: &[u8]) -> Segment {
        let client: SocketAddr = "192.0.2.2:40000".parse().unwrap();
        let server: SocketAddr = "192.0.2.1:3261".parse().unwrap();
        let (src, dst) = if back { (server, client) } else { (client, server) };
        Segment { at: Duration::from_millis(at_ms), src, dst, connection: 7, kind, bytes: bytes.to_vec() }
    }

    /// Reads the file back with an independent reader; answers (nanoseconds, frame).
    fn frames(file: &[u8]) -> Vec<(u128, Vec<u8>)> {
        let mut reader = PcapNgReader::new(file).unwrap();
        let mut out = Vec::new();
        while let Some(block) = reader.next_block() {
            if let Block::EnhancedPacket(packet) = block.unwrap() {
                assert_eq!(packet.original_len as usize, packet.data.len());
                out.push((packet.timestamp.as_nanos(), packet.data.to_vec()));
            }
        }
        out
    }

    /// Sums 16-bit words as a receiver does: a right checksum gives 0xffff.
    fn receiver_sum(words: &[u8]) -> u32 {
        let mut sum = 0_u32;
        for pair in words.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum
    }

    fn check_v4(frame: &[u8]) -> (u32, u32, u8, Vec<u8>) {
        assert_eq!(&frame[12..14], [8, 0]);
        let ip = &frame[14..34];
        assert_eq!(receiver_sum(ip), 0xffff, "IPv4 header checksum");
        assert_eq!(usize::from(u16::from_be_bytes([ip[2], ip[3]])), frame.len() - 14);
        let tcp = &frame[34..];
        let mut pseudo = ip[12..20].to_vec();
        pseudo.extend([0, 6]);
        pseudo.extend((tcp.len() as u16).to_be_bytes());
        pseudo.extend(tcp);
        assert_eq!(receiver_sum(&pseudo), 0xffff, "TCP checksum");
        let number = |at: usize| u32::from_be_bytes(tcp[at..at + 4].try_into().unwrap());
        (number(4), number(8), tcp[13], tcp[20..].to_vec())
    }

    #[test]
    fn a_connection_has_handshake_payload_and_end_with_right_numbers() {
        let file = write(&[
            segment(1, false, SegmentKind::Open, b""),
            segment(2, false, SegmentKind::Data, b"hello"),
            segment(3, true, SegmentKind::Data, b"hi!"),
            segment(4, false, SegmentKind::Close, b""),
            segment(5, true, SegmentKind::Reset, b""),
            segment(6, true, SegmentKind::Data, b"too late"),
        ]);
        let got: Vec<_> =
            frames(&file).iter().map(|(at, frame)| (*at / 1_000_000, check_v4(frame))).collect();
        let flags: Vec<u8> = got.iter().map(|(_, packet)| packet.2).collect();
        assert_eq!(flags, [SYN, SYN | ACK, ACK, PSH | ACK, PSH | ACK, FIN | ACK, RST | ACK]);
        let times: Vec<u128> = got.iter().map(|(at, _)| *at).collect();
        assert_eq!(times, [1, 1, 1, 2, 3, 4, 5]);
        let (client, server) = (got[0].1.0, got[1].1.0);
        let numbers: Vec<(u32, u32)> = got.iter().map(|(_, packet)| (packet.0, packet.1)).collect();
        assert_eq!(
            numbers,
            [
                (client, 0),
                (server, client + 1),
                (client + 1, server + 1),
                (client + 1, server + 1),
                (server + 1, client + 6),
                (client + 6, server + 4),
                (server + 4, client + 7),
            ]
        );
    }

    #[test]
    fn large_segments_are_split_and_lose_nothing() {
        let payload: Vec<u8> = (0..200_001_u32).map(|n| (n % 251) as u8).collect();
        let file = write(&[segment(0, false, SegmentKind::Data, &payload)]);
        let parts: Vec<Vec<u8>> = frames(&file).iter().map(|(_, frame)| check_v4(frame).3).collect();
        assert_eq!(parts.len(), 3 + 4, "handshake and four parts");
        assert!(parts.iter().all(|part| part.len() <= LARGEST_PAYLOAD));
        assert_eq!(parts.concat(), payload);
    }

    #[test]
    fn ipv6_has_a_right_checksum() {
        let mut one = segment(0, false, SegmentKind::Data, b"odd");
        one.src = "[2001:db8::2]:4000".parse().unwrap();
        one.dst = "[2001:db8::1]:3260".parse().unwrap();
        for (_, frame) in frames(&write(&[one])) {
            assert_eq!(&frame[12..14], [0x86, 0xdd]);
            let tcp = &frame[54..];
            let mut pseudo = frame[22..54].to_vec();
            pseudo.extend((tcp.len() as u32).to_be_bytes());
            pseudo.extend([0, 0, 0, 6]);
            pseudo.extend(tcp);
            assert_eq!(receiver_sum(&pseudo), 0xffff);
            assert_eq!(usize::from(u16::from_be_bytes([frame[18], frame[19]])), tcp.len());
        }
    }

    #[test]
    fn mixed_families_and_empty_captures_are_harmless() {
        let mut mixed = segment(0, false, SegmentKind::Data, b"x");
        mixed.dst = "[::1]:3260".parse().unwrap();
        assert!(frames(&write(&[mixed])).is_empty());
        assert!(frames(&write(&[])).is_empty());
    }
}
