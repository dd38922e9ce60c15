//! An initiator of a hundred lines, byte by byte from RFC 7143: one session, one command at a time, blocking. It shares
//! nothing with the bench's own, so that a mistake there is none here.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Bytes of a basic header segment.
const BHS: usize = 48;

/// What a command answers: the SCSI status and the data.
pub type Answer = (u8, Vec<u8>);

/// A session in full feature phase.
pub struct Session {
    stream: TcpStream,
    lun: u16,
    cmd_sn: u32,
    exp_stat_sn: u32,
    itt: u32,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

impl Session {
    /// Logs in, without digests and authentication, data immediate and unsolicited.
    pub fn log_in(
        address: SocketAddr,
        iqn: &str,
        lun: u16,
        initiator: &str,
        number: u16,
    ) -> io::Result<Session> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut session = Session { stream, lun, cmd_sn: 1, exp_stat_sn: 0, itt: 0 };
        let text = [
            &format!("InitiatorName={initiator}"),
            &format!("TargetName={iqn}"),
            "SessionType=Normal",
            "AuthMethod=None",
            "HeaderDigest=None",
            "DataDigest=None",
            "MaxRecvDataSegmentLength=262144",
            "FirstBurstLength=262144",
            "MaxBurstLength=262144",
            "InitialR2T=No",
            "ImmediateData=Yes",
            "ErrorRecoveryLevel=0",
        ]
        .map(|pair| format!("{pair}\0"))
        .concat();
        let (mut stage, mut tsih, mut text) = (0_u8, 0_u16, text);
        while stage < 3 {
            // Both negotiating stages say the rest in the second; the first one says who is there.
            let next = if stage == 0 { 1 } else { 3 };
            let mut head = [0; BHS];
            (head[0], head[1]) = (0x43, 0x80 | stage << 2 | next);
            head[8..14].copy_from_slice(&[0x80, 0, 0, 2, (number >> 8) as u8, number as u8]);
            head[14..16].copy_from_slice(&tsih.to_be_bytes());
            head[16..20].copy_from_slice(&1_u32.to_be_bytes());
            head[20..22].copy_from_slice(&1_u16.to_be_bytes());
            head[24..28].copy_from_slice(&session.cmd_sn.to_be_bytes());
            head[28..32].copy_from_slice(&session.exp_stat_sn.to_be_bytes());
            let split = text.find("HeaderDigest").filter(|_| stage == 0).unwrap_or(text.len());
            let rest = text.split_off(split);
            session.send(head, text.as_bytes())?;
            text = rest;
            let (answer, _) = session.receive()?;
            if answer[0] & 0x3f != 0x23 || answer[36] != 0 {
                return Err(io::Error::other(format!("login refused: {:02x}{:02x}", answer[36], answer[37])));
            }
            tsih = u16::from_be_bytes([answer[14], answer[15]]);
            session.exp_stat_sn = u32_at(&answer, 24).wrapping_add(1);
            if answer[1] & 0x80 != 0 {
                stage = next;
            }
        }
        // What waits for a new nexus, and nothing else.
        for _ in 0..8 {
            if session.command(&[0; 6], &[], 0)?.0 == 0 {
                return Ok(session);
            }
        }
        Err(io::Error::other("the unit does not become ready"))
    }

    fn send(&mut self, mut head: [u8; BHS], data: &[u8]) -> io::Result<()> {
        head[5..8].copy_from_slice(&(data.len() as u32).to_be_bytes()[1..]);
        let mut pdu = head.to_vec();
        pdu.extend_from_slice(data);
        pdu.resize(BHS + data.len().next_multiple_of(4), 0);
        self.stream.write_all(&pdu)
    }

    fn receive(&mut self) -> io::Result<([u8; BHS], Vec<u8>)> {
        let mut head = [0; BHS];
        self.stream.read_exact(&mut head)?;
        let length = (u32_at(&head, 4) & 0xff_ffff) as usize;
        let mut data = vec![0; length.next_multiple_of(4) + usize::from(head[4]) * 4];
        self.stream.read_exact(&mut data)?;
        data.truncate(length);
        Ok((head, data))
    }

    /// One command: `out` is what it writes (at most 64 KiB), `room` what it may read.
    pub fn command(&mut self, cdb: &[u8], out: &[u8], room: usize) -> io::Result<Answer> {
        self.itt = self.itt.wrapping_add(1) & 0x7fff_ffff;
        let mut head = [0; BHS];
        let (read, write) = (if room > 0 { 0x40 } else { 0 }, if out.is_empty() { 0 } else { 0x20 });
        (head[0], head[1]) = (0x01, 0x80 | read | write | 1);
        head[8..10].copy_from_slice(&self.lun.to_be_bytes());
        head[16..20].copy_from_slice(&self.itt.to_be_bytes());
        head[20..24].copy_from_slice(&(room.max(out.len()) as u32).to_be_bytes());
        head[24..28].copy_from_slice(&self.cmd_sn.to_be_bytes());
        head[28..32].copy_from_slice(&self.exp_stat_sn.to_be_bytes());
        head[32..32 + cdb.len()].copy_from_slice(cdb);
        self.cmd_sn = self.cmd_sn.wrapping_add(1);
        // What a target must take at least, unless it says more, is 8 KiB in one PDU; the rest it asks for.
        let immediate = out.len().min(8192);
        self.send(head, &out[..immediate])?;
        let mut data = vec![0; room];
        let mut filled = 0;
        loop {
            let (head, part) = self.receive()?;
            let mine = u32_at(&head, 16) == self.itt;
            match head[0] & 0x3f {
                0x25 if mine => {
                    let at = u32_at(&head, 40) as usize;
                    let end = at + part.len();
                    data.get_mut(at..end)
                        .ok_or_else(|| io::Error::other("data behind the end"))?
                        .copy_from_slice(&part);
                    filled = filled.max(end);
                    if head[1] & 1 != 0 {
                        self.exp_stat_sn = u32_at(&head, 24).wrapping_add(1);
                        data.truncate(filled);
                        return Ok((head[3], data));
                    }
                }
                0x21 if mine => {
                    self.exp_stat_sn = u32_at(&head, 24).wrapping_add(1);
                    data.truncate(filled);
                    return Ok((head[3], data));
                }
                0x31 if mine => {
                    let (from, length) = (u32_at(&head, 40) as usize, u32_at(&head, 44) as usize);
                    let mut at = from;
                    for sn in 0_u32.. {
                        let end = (at + 8192).min(from + length);
                        let mut pdu = [0; BHS];
                        (pdu[0], pdu[1]) = (0x05, if end == from + length { 0x80 } else { 0 });
                        pdu[8..10].copy_from_slice(&self.lun.to_be_bytes());
                        pdu[16..20].copy_from_slice(&self.itt.to_be_bytes());
                        pdu[20..24].copy_from_slice(&head[20..24]);
                        pdu[28..32].copy_from_slice(&self.exp_stat_sn.to_be_bytes());
                        pdu[36..40].copy_from_slice(&sn.to_be_bytes());
                        pdu[40..44].copy_from_slice(&(at as u32).to_be_bytes());
                        let part = out.get(at..end).ok_or_else(|| io::Error::other("asked for too much"))?;
                        self.send(pdu, part)?;
                        at = end;
                        if at == from + length {
                            break;
                        }
                    }
                }
                0x20 if u32_at(&head, 20) != u32::MAX => {
                    // A ping: its answer carries the target's tag and takes no command number.
                    let mut pdu = [0; BHS];
                    (pdu[0], pdu[1]) = (0x40, 0x80);
                    pdu[8..16].copy_from_slice(&head[8..16]);
                    pdu[16..20].copy_from_slice(&u32::MAX.to_be_bytes());
                    pdu[20..24].copy_from_slice(&head[20..24]);
                    pdu[24..28].copy_from_slice(&self.cmd_sn.to_be_bytes());
                    pdu[28..32].copy_from_slice(&self.exp_stat_sn.to_be_bytes());
                    self.send(pdu, &part)?;
                }
                _ => {}
            }
        }
    }
}
