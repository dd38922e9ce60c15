//! The data of one task: Data-In reassembly and Data-Out production (RFC 7143 sections 4.2.2.4, 11.7, 11.8).
//!
//! DataPDUInOrder and DataSequenceInOrder are always Yes here, so both directions are a straight run of bytes, and
//! anything that skips, repeats or overruns is a broken rule.

use bytes::Bytes;
use sanbench_wire::bhs::RESERVED_TAG;
use sanbench_wire::pdu::{DataIn, DataOut, R2t};
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::{Digests, Outbox};

use crate::error::ProtocolError;
use crate::negotiate::Parameters;

/// Data-In PDUs of one task at most; bounds a target that sends a byte at a time.
const MAX_DATA_IN: u32 = 1 << 16;

/// Data coming in.
#[derive(Debug)]
pub struct Incoming {
    expected: u32,
    received: u32,
    burst: u32,
    next_sn: u32,
    parts: Vec<Bytes>,
}

impl Incoming {
    /// Room for at most `expected` bytes.
    pub fn new(expected: u32) -> Self {
        Self { expected, received: 0, burst: 0, next_sn: 0, parts: Vec::new() }
    }

    /// Bytes received.
    pub fn received(&self) -> u32 {
        self.received
    }

    /// Data-In PDUs received.
    pub fn count(&self) -> u32 {
        self.next_sn
    }

    /// Takes one Data-In.
    ///
    /// # Errors
    /// [`ProtocolError::Sequence`] for a DataSN or offset out of order, too much data, or a burst over its limit.
    pub fn take(&mut self, pdu: DataIn, parameters: &Parameters) -> Result<(), ProtocolError> {
        if pdu.data_sn != self.next_sn {
            return Err(ProtocolError::Sequence("DataSN out of order"));
        }
        if self.next_sn >= MAX_DATA_IN {
            return Err(ProtocolError::Limit("Data-In PDUs of one task"));
        }
        if pdu.offset != self.received {
            return Err(ProtocolError::Sequence("Data-In offset out of order"));
        }
        let length = u32::try_from(pdu.data.len()).unwrap_or(u32::MAX);
        if length > self.expected - self.received {
            return Err(ProtocolError::Sequence("more data than expected"));
        }
        self.burst = self.burst.saturating_add(length);
        if self.burst > parameters.max_burst {
            return Err(ProtocolError::Sequence("Data-In sequence over MaxBurstLength"));
        }
        if pdu.last {
            self.burst = 0;
        }
        self.next_sn += 1;
        self.received += length;
        if length > 0 {
            self.parts.push(pdu.data);
        }
        Ok(())
    }

    /// The data, in order.
    pub fn into_parts(self) -> Vec<Bytes> {
        self.parts
    }
}

/// Data going out.
#[derive(Debug)]
pub struct Outgoing {
    data: Bytes,
    sent: u32,
    next_r2t: u32,
}

/// How a write begins: what rides on the command and what follows unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Bytes of immediate data.
    pub immediate: u32,
    /// Bytes that go out at once in all, immediate data included.
    pub unsolicited: u32,
}

/// Computes the opening of a write of `length` bytes (RFC 7143 sections 13.10, 13.11, 13.14).
pub fn opening(length: u32, parameters: &Parameters) -> Opening {
    let first = length.min(parameters.first_burst);
    let immediate = if parameters.immediate_data { first.min(parameters.send_data_segment) } else { 0 };
    let unsolicited = if parameters.initial_r2t { immediate } else { first };
    Opening { immediate, unsolicited }
}

impl Outgoing {
    /// Data to be written; at most 4 GiB less one byte.
    pub fn new(data: Bytes) -> Self {
        Self { data, sent: 0, next_r2t: 0 }
    }

    fn total(&self) -> u32 {
        u32::try_from(self.data.len()).unwrap_or(u32::MAX)
    }

    /// A slice of the data; the range is within it by the checks of the callers.
    pub fn slice(&self, from: u32, to: u32) -> Bytes {
        self.data.slice(from as usize..to as usize)
    }

    /// Notes that the first `bytes` are on their way with the command and its unsolicited Data-Out.
    pub fn opened(&mut self, bytes: u32) {
        self.sent = bytes;
    }

    /// Data-Out PDUs for `from..to` as one sequence.
    pub fn emit(&self, out: &mut Outbox, digests: Digests, limit: u32, head: &Head, from: u32, to: u32) {
        let mut at = from;
        let mut data_sn = 0;
        while at < to {
            let end = to.min(at.saturating_add(limit));
            let pdu = DataOut {
                last: end == to,
                lun: head.lun,
                itt: head.itt,
                ttt: head.ttt,
                exp_stat_sn: head.exp_stat_sn,
                data_sn,
                offset: at,
                data: Bytes::new(),
            };
            out.push_parts(pdu.header(), &[], &[self.slice(at, end)], digests);
            data_sn += 1;
            at = end;
        }
    }

    /// Judges an R2T and answers the range that it asks for.
    ///
    /// # Errors
    /// [`ProtocolError::Sequence`] for an R2TSN or offset out of order, or a length over the data or the burst limit.
    pub fn solicit(&mut self, r2t: &R2t, parameters: &Parameters) -> Result<(u32, u32), ProtocolError> {
        if r2t.r2t_sn != self.next_r2t {
            return Err(ProtocolError::Sequence("R2TSN out of order"));
        }
        if r2t.offset != self.sent {
            return Err(ProtocolError::Sequence("R2T offset out of order"));
        }
        if r2t.length > self.total() - self.sent {
            return Err(ProtocolError::Sequence("R2T past the end of the data"));
        }
        if r2t.length > parameters.max_burst {
            return Err(ProtocolError::Sequence("R2T over MaxBurstLength"));
        }
        self.next_r2t = self.next_r2t.wrapping_add(1);
        let from = self.sent;
        self.sent += r2t.length;
        Ok((from, self.sent))
    }
}

/// The fields that all Data-Out of one sequence share.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Logical unit; only with a transfer tag.
    pub lun: Lun,
    /// Task.
    pub itt: u32,
    /// Transfer tag of the R2T, or reserved.
    pub ttt: u32,
    /// Next StatSN.
    pub exp_stat_sn: u32,
}

impl Head {
    /// Unsolicited Data-Out of a task.
    pub fn unsolicited(itt: u32, exp_stat_sn: u32) -> Self {
        Self { lun: Lun::ZERO, itt, ttt: RESERVED_TAG, exp_stat_sn }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data_in(data_sn: u32, offset: u32, length: usize, last: bool) -> DataIn {
        DataIn {
            last,
            acknowledge: false,
            status: None,
            lun: Lun::ZERO,
            itt: 1,
            ttt: RESERVED_TAG,
            exp_cmd_sn: 0,
            max_cmd_sn: 0,
            data_sn,
            offset,
            data: Bytes::from(vec![0; length]),
        }
    }

    #[test]
    fn opening_follows_the_four_settings() {
        let mut lines = Vec::new();
        for (initial_r2t, immediate_data) in [(true, true), (true, false), (false, true), (false, false)] {
            for length in [0u32, 512, 4096, 8192, 100_000] {
                let p = Parameters {
                    initial_r2t,
                    immediate_data,
                    send_data_segment: 2048,
                    first_burst: 6144,
                    ..Parameters::default()
                };
                let o = opening(length, &p);
                lines.push(format!(
                    "InitialR2T={initial_r2t} ImmediateData={immediate_data} {length}: immediate {} unsolicited {}",
                    o.immediate, o.unsolicited
                ));
            }
        }
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn data_in_must_run_straight() {
        let p = Parameters { max_burst: 1024, ..Parameters::default() };
        let mut good = Incoming::new(1536);
        good.take(data_in(0, 0, 512, false), &p).unwrap();
        good.take(data_in(1, 512, 512, true), &p).unwrap();
        good.take(data_in(2, 1024, 512, true), &p).unwrap();
        assert_eq!((good.received(), good.count()), (1536, 3));
        assert!(good.take(data_in(3, 1536, 1, true), &p).is_err(), "one byte too many");
        for (bad, why) in [
            (data_in(1, 0, 512, true), "first DataSN"),
            (data_in(0, 512, 512, true), "offset"),
            (data_in(0, 0, 1537, true), "length"),
            (data_in(0, 0, 1025, true), "burst"),
        ] {
            assert!(Incoming::new(1536).take(bad, &p).is_err(), "{why}");
        }
    }

    #[test]
    fn r2t_must_run_straight() {
        let p = Parameters { max_burst: 1024, ..Parameters::default() };
        let r2t = |r2t_sn, offset, length| R2t {
            lun: Lun::ZERO,
            itt: 1,
            ttt: 5,
            stat_sn: 0,
            exp_cmd_sn: 0,
            max_cmd_sn: 0,
            r2t_sn,
            offset,
            length,
        };
        let mut out = Outgoing::new(Bytes::from(vec![0; 2048]));
        out.opened(512);
        assert_eq!(out.solicit(&r2t(0, 512, 1024), &p), Ok((512, 1536)));
        for bad in [r2t(0, 1536, 512), r2t(1, 512, 512), r2t(1, 1536, 513), r2t(1, 1536, u32::MAX)] {
            assert!(out.solicit(&bad, &p).is_err(), "{bad:?}");
        }
        assert_eq!(out.solicit(&r2t(1, 1536, 512), &p), Ok((1536, 2048)));
        assert!(out.solicit(&r2t(2, 2048, 1), &p).is_err());
        let mut burst = Outgoing::new(Bytes::from(vec![0; 4096]));
        assert!(burst.solicit(&r2t(0, 0, 1025), &p).is_err());
    }
}
