//! The data of one task: Data-In reassembly and Data-Out production (RFC 7143 sections 4.2.2.4, 11.7, 11.8).
//!
//! DataPDUInOrder and DataSequenceInOrder are always Yes here, so both directions are a straight run of bytes, and
//! anything that skips, repeats or overruns is a broken rule.

use std::collections::VecDeque;

use bytes::Bytes;
use sanbench_wire::bhs::RESERVED_TAG;
use sanbench_wire::pdu::{DataIn, DataOut, R2t};
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::{Digests, Outbox};

use crate::error::{ProtocolError, Rule};
use crate::negotiate::Parameters;

/// Data-In PDUs and R2Ts of one task at most, besides one for every [`LEAST`] bytes of it: they bound a target that moves a byte at
/// a time, for each PDU makes us hold more than it carries.
const MAX_PDUS: u32 = 64;
/// Bytes that one Data-In or R2T should move at least.
const LEAST: u32 = 128;

fn broken(what: &'static str, section: &'static str) -> ProtocolError {
    ProtocolError::Sequence(Rule::new(what, section))
}

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

    /// Takes one Data-In. `true`: the sequence is longer than MaxBurstLength, see [`crate::tolerance::Tolerance::LongDataIn`].
    ///
    /// # Errors
    /// [`ProtocolError::Sequence`] for a DataSN or offset out of order, or too much data.
    #[inline]
    pub fn take(&mut self, pdu: DataIn, parameters: &Parameters) -> Result<bool, ProtocolError> {
        if pdu.data_sn != self.next_sn {
            return Err(broken("DataSN out of order", "4.2.2.4"));
        }
        if self.next_sn >= MAX_PDUS.saturating_add(self.expected / LEAST) {
            return Err(ProtocolError::Limit("Data-In PDUs of one task"));
        }
        if pdu.offset != self.received {
            return Err(broken("Data-In offset out of order", "11.7.6"));
        }
        let length = u32::try_from(pdu.data.len()).unwrap_or(u32::MAX);
        if length > self.expected - self.received {
            return Err(broken("more data than expected", "11.7.6"));
        }
        self.burst = self.burst.saturating_add(length);
        let long = self.burst > parameters.max_burst;
        if pdu.last {
            self.burst = 0;
        }
        self.next_sn += 1;
        self.received += length;
        if length > 0 {
            self.parts.push(pdu.data);
        }
        Ok(long)
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
    /// Where the answers to R2Ts end in the outgoing stream; those that have left are forgotten at the next R2T.
    answers: VecDeque<u64>,
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
        Self { data, sent: 0, next_r2t: 0, answers: VecDeque::new() }
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

    /// Bytes sent, or on their way out.
    pub fn sent(&self) -> u32 {
        self.sent
    }

    /// Judges an R2T and answers the range that it asks for. `left` is how far the outgoing stream has left this host: an
    /// earlier R2T whose answer has not is still outstanding, and the target cannot have thought otherwise.
    ///
    /// # Errors
    /// [`ProtocolError::Sequence`] for an R2TSN or offset out of order, a length of zero, over the data or over the burst limit,
    /// or more R2Ts than were agreed.
    pub fn solicit(
        &mut self,
        r2t: &R2t,
        parameters: &Parameters,
        left: u64,
    ) -> Result<(u32, u32), ProtocolError> {
        if r2t.r2t_sn != self.next_r2t {
            return Err(broken("R2TSN out of order", "11.8.1"));
        }
        if r2t.ttt == RESERVED_TAG {
            return Err(broken("R2T with the reserved transfer tag", "11.8.4"));
        }
        if r2t.offset != self.sent {
            return Err(broken("R2T offset out of order", "11.8.3"));
        }
        if r2t.length == 0 {
            return Err(broken("R2T of no data", "11.8.3"));
        }
        if r2t.length > self.total() - self.sent {
            return Err(broken("R2T past the end of the data", "11.8.3"));
        }
        if r2t.length > parameters.max_burst {
            return Err(broken("R2T over MaxBurstLength", "11.8.3"));
        }
        while self.answers.front().is_some_and(|end| *end <= left) {
            self.answers.pop_front();
        }
        if self.answers.len() >= usize::from(parameters.max_outstanding_r2t) {
            return Err(broken("more R2Ts than MaxOutstandingR2T", "13.17"));
        }
        if self.next_r2t >= MAX_PDUS.saturating_add(self.total() / LEAST) {
            return Err(ProtocolError::Limit("R2Ts of one task"));
        }
        self.next_r2t += 1;
        let from = self.sent;
        self.sent += r2t.length;
        Ok((from, self.sent))
    }

    /// Notes where the answer to the last R2T ends in the outgoing stream.
    pub fn answered(&mut self, end: u64) {
        self.answers.push_back(end);
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
        assert_eq!(Incoming::new(1536).take(data_in(0, 0, 1025, true), &p), Ok(true), "a long sequence");
        let mut drops = Incoming::new(1024);
        let taken = (0..1024).take_while(|n| drops.take(data_in(*n, *n, 1, false), &p).is_ok()).count();
        assert_eq!(taken, 72, "a target that sends single bytes is cut off");
        assert!(good.take(data_in(3, 1536, 1, true), &p).is_err(), "one byte too many");
        for (bad, why) in [
            (data_in(1, 0, 512, true), "first DataSN"),
            (data_in(0, 512, 512, true), "offset"),
            (data_in(0, 0, 1537, true), "length"),
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
        assert_eq!(out.solicit(&r2t(0, 512, 1024), &p, 0), Ok((512, 1536)));
        out.answered(1000);
        let next = r2t(1, 1536, 512);
        for bad in
            [r2t(0, 1536, 512), r2t(1, 512, 512), r2t(1, 1536, 513), r2t(1, 1536, u32::MAX), r2t(1, 1536, 0)]
        {
            assert!(out.solicit(&bad, &p, 1000).is_err(), "{bad:?}");
        }
        assert!(out.solicit(&R2t { ttt: RESERVED_TAG, ..next.clone() }, &p, 1000).is_err());
        assert!(out.solicit(&next, &p, 999).is_err(), "the first answer has not left yet");
        assert_eq!(out.solicit(&next, &p, 1000), Ok((1536, 2048)));
        assert!(out.solicit(&r2t(2, 2048, 1), &p, 2000).is_err());
        let mut burst = Outgoing::new(Bytes::from(vec![0; 4096]));
        assert!(burst.solicit(&r2t(0, 0, 1025), &p, 0).is_err());
        let asked = (0..4096).take_while(|n| burst.solicit(&r2t(*n, *n, 1), &p, 0).is_ok()).count();
        assert_eq!(asked, 96, "a target that asks for single bytes is cut off");
    }
}
