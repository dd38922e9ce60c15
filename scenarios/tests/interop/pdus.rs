//! What is in a capture, counted without Wireshark: garbage in a stream shows there as plain TCP without any complaint,
//! so only the number of PDUs says that all of them were understood.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use libtest_mimic::Failed;
use pcap_file::pcapng::{Block, PcapNgReader};

use super::tools::ensure;

/// iSCSI opcodes (RFC 7143 section 11.2.1.2).
pub(crate) mod op {
    pub(crate) const COMMAND: u8 = 0x01;
    pub(crate) const LOGIN: u8 = 0x03;
    pub(crate) const DATA_OUT: u8 = 0x05;
    pub(crate) const LOGOUT: u8 = 0x06;
    pub(crate) const RESPONSE: u8 = 0x21;
    pub(crate) const LOGIN_RESPONSE: u8 = 0x23;
    pub(crate) const DATA_IN: u8 = 0x25;
    pub(crate) const LOGOUT_RESPONSE: u8 = 0x26;
    pub(crate) const R2T: u8 = 0x31;
}

/// What the iSCSI connections of a capture carry.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    /// PDUs by opcode.
    pub(crate) pdus: BTreeMap<u8, u64>,
    /// SCSI operation codes of the commands.
    pub(crate) commands: BTreeSet<u8>,
    /// SCSI commands that were answered: a response, or Data-In with status.
    pub(crate) answered: u64,
    /// Longest data segment.
    pub(crate) longest: usize,
    /// Ports on which iSCSI is served.
    pub(crate) iscsi_ports: BTreeSet<u16>,
    /// Ports on which something else is served.
    pub(crate) other_ports: BTreeSet<u16>,
}

struct Flow {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

/// Counts. With `digests`, every PDU after the login carries both.
pub(crate) fn count(pcapng: &[u8], digests: bool) -> Result<Counted, Failed> {
    let flows = flows(pcapng)?;
    let mut counted = Counted::default();
    for pair in flows.as_chunks::<2>().0 {
        let [client, server] = pair;
        if client.bytes.first().is_some_and(|b| b & 0x3f == op::LOGIN) {
            counted.iscsi_ports.insert(client.to.port());
            for flow in pair {
                counted
                    .walk(&flow.bytes, digests)
                    .map_err(|e| format!("{} to {}: {e}", flow.from, flow.to))?;
            }
        } else if !(client.bytes.is_empty() && server.bytes.is_empty()) {
            counted.other_ports.insert(client.to.port());
        }
    }
    Ok(counted)
}

impl Counted {
    fn walk(&mut self, stream: &[u8], digests: bool) -> Result<(), String> {
        let mut at = 0;
        while at < stream.len() {
            let header = stream.get(at..at + 48).ok_or_else(|| format!("half a header at {at}"))?;
            let opcode = header[0] & 0x3f;
            let login = matches!(opcode, op::LOGIN | op::LOGIN_RESPONSE);
            let ahs = usize::from(header[4]) * 4;
            let data = usize::from(header[5]) << 16 | usize::from(header[6]) << 8 | usize::from(header[7]);
            let digest = |there: bool| if digests && !login && there { 4 } else { 0 };
            at += 48 + ahs + digest(true) + data.next_multiple_of(4) + digest(data > 0);
            if at > stream.len() {
                return Err(format!(
                    "the PDU of opcode {opcode:#04x} that ends at {at} is cut at {}",
                    stream.len()
                ));
            }
            *self.pdus.entry(opcode).or_default() += 1;
            self.longest = self.longest.max(data);
            if opcode == op::COMMAND {
                self.commands.insert(header[32]);
            }
            self.answered +=
                u64::from(opcode == op::RESPONSE || (opcode == op::DATA_IN && header[1] & 1 == 1));
        }
        Ok(())
    }
}

/// Both directions of every connection, the client's first, in the order of their handshakes.
fn flows(pcapng: &[u8]) -> Result<Vec<Flow>, Failed> {
    const SYN: u8 = 2;
    const ACK: u8 = 16;
    let mut flows: Vec<Flow> = Vec::new();
    let mut open: BTreeMap<(SocketAddr, SocketAddr), usize> = BTreeMap::new();
    let mut reader = PcapNgReader::new(pcapng)?;
    while let Some(block) = reader.next_block() {
        let Block::EnhancedPacket(packet) = block? else { continue };
        let frame = &packet.data[..];
        ensure!(frame.len() >= 54 && frame[12..14] == [8, 0] && frame[23] == 6, "not TCP over IPv4");
        let end = |ip: usize, port: usize| {
            let address = Ipv4Addr::new(frame[ip], frame[ip + 1], frame[ip + 2], frame[ip + 3]);
            SocketAddr::new(address.into(), u16::from_be_bytes([frame[port], frame[port + 1]]))
        };
        let (from, to) = (end(26, 34), end(30, 36));
        let flags = frame[47];
        if flags & (SYN | ACK) == SYN {
            for (from, to) in [(from, to), (to, from)] {
                open.insert((from, to), flows.len());
                flows.push(Flow { from, to, bytes: Vec::new() });
            }
        }
        let length = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
        let header = 20 + usize::from(frame[46] >> 4) * 4;
        let payload = frame.get(14 + header..14 + length).ok_or("a frame that is cut")?;
        let flow = *open.get(&(from, to)).ok_or("payload without a handshake")?;
        flows[flow].bytes.extend_from_slice(payload);
    }
    Ok(flows)
}
