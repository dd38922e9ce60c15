//! Byte stream to whole PDUs and back (RFC 7143 sections 11.2 and 13.1).
//!
//! A PDU on the wire is: basic header, additional headers, optional header digest, data segment, padding to four
//! bytes, optional data digest. Digests are CRC-32C; the four bytes go out least significant byte of the CRC first,
//! which is what the RFC's examples show. [`decode`] takes whole PDUs from the front of a buffer; [`Outbox`] collects
//! PDUs, so that a batch leaves in one vectored write.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::bhs::{BHS_LEN, Bhs, MAX_DATA_SEGMENT};

/// Which digests a connection uses in the present phase (none during login).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    /// CRC-32C over basic and additional headers.
    pub header: bool,
    /// CRC-32C over the data segment and its padding.
    pub data: bool,
}

/// What a receiver is willing to buffer for one PDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// Largest data segment accepted, bytes.
    pub max_data_segment: usize,
    /// Largest sum of additional header segments accepted, bytes.
    pub max_ahs: usize,
}

/// A whole PDU: header, additional headers, data segment without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawPdu {
    /// Basic header segment.
    pub bhs: Bhs,
    /// Additional header segments, a multiple of four bytes.
    pub ahs: Bytes,
    /// Data segment without padding.
    pub data: Bytes,
    /// False when a data digest was expected and did not match: the data must not be used, the header may.
    pub data_digest_ok: bool,
}

impl RawPdu {
    /// A PDU with the length fields of `bhs` filled in from the parts; a data segment is at most 16 MiB less one byte.
    pub fn new(mut bhs: Bhs, ahs: Bytes, data: Bytes) -> RawPdu {
        bhs.set_lengths(ahs.len(), data.len());
        RawPdu { bhs, ahs, data, data_digest_ok: true }
    }
}

/// What [`decode`] found at the front of the buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// One whole PDU, removed from the buffer.
    Pdu(RawPdu),
    /// Nothing whole yet; at least this many more bytes are needed. The buffer is unchanged.
    NeedMore(usize),
}

/// The stream cannot be followed any further; the connection has to end (RFC 7143 sections 7.7 and 7.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The header digest does not match; lengths cannot be trusted.
    #[error("header digest mismatch: expected {expected:#010x}, received {received:#010x}")]
    HeaderDigest {
        /// CRC computed over the received header.
        expected: u32,
        /// CRC found on the wire.
        received: u32,
    },
    /// The data segment is longer than the receiver allows. The header is kept for the Reject PDU.
    #[error("data segment of {length} bytes is over the limit of {limit}")]
    DataTooLong {
        /// DataSegmentLength of the header, bytes.
        length: usize,
        /// The caller's limit, bytes.
        limit: usize,
        /// The offending header.
        bhs: Bhs,
    },
    /// The additional headers are longer than the receiver allows.
    #[error("additional header segments of {length} bytes are over the limit of {limit}")]
    AhsTooLong {
        /// TotalAHSLength in bytes.
        length: usize,
        /// The caller's limit, bytes.
        limit: usize,
        /// The offending header.
        bhs: Bhs,
    },
}

/// CRC-32C as iSCSI uses it. `crc32c(b"123456789")` is `e3069283h`.
pub fn crc32c(data: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(data)
}

/// Bytes of padding after a segment of `len` bytes (0 to 3).
pub fn padding(len: usize) -> usize {
    len.wrapping_neg() & 3
}

/// Takes one PDU from the front of `buf` when it is whole.
///
/// The data segment shares the buffer's memory: hold it briefly, or copy it out, so that the buffer can be reused.
pub fn decode(buf: &mut BytesMut, limits: FrameLimits, digests: Digests) -> Result<Decoded, Broken> {
    let Some(head) = buf.first_chunk::<BHS_LEN>() else {
        return Ok(Decoded::NeedMore(BHS_LEN - buf.len()));
    };
    let bhs = Bhs(*head);
    let ahs_len = bhs.ahs_len();
    if ahs_len > limits.max_ahs {
        return Err(Broken::AhsTooLong { length: ahs_len, limit: limits.max_ahs, bhs });
    }
    let headers = BHS_LEN + ahs_len;
    let header_end = headers + if digests.header { 4 } else { 0 };
    if digests.header {
        let Some(wire) = buf.get(headers..header_end) else {
            return Ok(Decoded::NeedMore(header_end - buf.len()));
        };
        let received = digest_bytes(wire);
        let expected = crc32c(&buf[..headers]);
        if received != expected {
            return Err(Broken::HeaderDigest { expected, received });
        }
    }
    // The length is judged only after the header digest: a damaged length is a digest error, not a long PDU.
    let data_len = bhs.data_len();
    if data_len > limits.max_data_segment {
        return Err(Broken::DataTooLong { length: data_len, limit: limits.max_data_segment, bhs });
    }
    let padded = data_len + padding(data_len);
    let with_digest = digests.data && data_len > 0;
    let total = header_end + padded + if with_digest { 4 } else { 0 };
    if buf.len() < total {
        return Ok(Decoded::NeedMore(total - buf.len()));
    }
    let data_digest_ok = !with_digest
        || crc32c(&buf[header_end..header_end + padded]) == digest_bytes(&buf[header_end + padded..total]);
    if data_len == 0 && ahs_len == 0 {
        buf.advance(total);
        return Ok(Decoded::Pdu(RawPdu { bhs, ahs: Bytes::new(), data: Bytes::new(), data_digest_ok }));
    }
    let whole = buf.split_to(total).freeze();
    let ahs = whole.slice(BHS_LEN..headers);
    let data = whole.slice(header_end..header_end + data_len);
    Ok(Decoded::Pdu(RawPdu { bhs, ahs, data, data_digest_ok }))
}

fn digest_bytes(wire: &[u8]) -> u32 {
    match wire.first_chunk::<4>() {
        Some(raw) => u32::from_le_bytes(*raw),
        None => 0,
    }
}

/// Data parts up to this many bytes are copied beside the headers instead of travelling as their own slice.
const COPY_UP_TO: usize = 512;

/// Outgoing PDUs, ready for one vectored write. Implements [`Buf`], so `AsyncWriteExt::write_buf` drains it.
#[derive(Debug, Default)]
pub struct Outbox {
    chunks: VecDeque<Bytes>,
    tail: BytesMut,
    remaining: usize,
    taken: u64,
}

impl Outbox {
    /// An empty queue.
    pub fn new() -> Outbox {
        Outbox::default()
    }

    /// True when every byte has been taken.
    pub fn is_empty(&self) -> bool {
        self.remaining == 0
    }

    /// Bytes waiting.
    pub fn len(&self) -> usize {
        self.remaining
    }

    /// Bytes taken since the beginning. With [`Outbox::len`] it tells where in the outgoing stream a PDU lies, so that its
    /// sender can know whether any byte of it has left.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Adds one PDU with its padding and digests.
    pub fn push(&mut self, pdu: &RawPdu, digests: Digests) {
        self.push_parts(pdu.bhs, &pdu.ahs, std::slice::from_ref(&pdu.data), digests);
    }

    /// Adds one PDU whose data segment is the concatenation of `parts`; fills in the header's length fields.
    /// `ahs` is a multiple of four bytes; the parts together are at most 16 MiB less one byte.
    pub fn push_parts(&mut self, mut bhs: Bhs, ahs: &[u8], parts: &[Bytes], digests: Digests) {
        let data_len: usize = parts.iter().map(Bytes::len).sum();
        debug_assert!(data_len <= MAX_DATA_SEGMENT, "a data segment has a 24-bit length");
        bhs.set_lengths(ahs.len(), data_len);
        self.tail.reserve(BHS_LEN + ahs.len() + 12);
        self.put(&bhs.0);
        self.put(ahs);
        if digests.header {
            let crc = if ahs.is_empty() { crc32c(&bhs.0) } else { crc_of([&bhs.0[..], ahs].into_iter()) };
            self.put(&crc.to_le_bytes());
        }
        if data_len == 0 {
            return;
        }
        for part in parts {
            if part.len() <= COPY_UP_TO {
                self.put(part);
            } else {
                self.seal();
                self.remaining += part.len();
                self.chunks.push_back(part.clone());
            }
        }
        let pad = &[0u8; 3][..padding(data_len)];
        self.put(pad);
        if digests.data {
            let crc = crc_of(parts.iter().map(|p| &p[..]).chain(std::iter::once(pad)));
            self.put(&crc.to_le_bytes());
        }
    }

    /// Adds bytes that are PDUs already, digests included.
    pub fn push_encoded(&mut self, bytes: &[u8]) {
        self.tail.reserve(bytes.len());
        self.put(bytes);
    }

    /// Everything that is waiting, as one contiguous copy; for tests and sans-IO callers.
    pub fn take_all(&mut self) -> Bytes {
        self.copy_to_bytes(self.remaining)
    }

    /// Gives memory back that only busier times needed; does nothing while bytes wait.
    pub fn slim(&mut self) {
        if self.is_empty() {
            *self = Outbox { taken: self.taken, ..Outbox::new() };
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.tail.put_slice(bytes);
        self.remaining += bytes.len();
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            let sealed = self.tail.split().freeze();
            self.chunks.push_back(sealed);
        }
    }
}

fn crc_of<'a>(parts: impl Iterator<Item = &'a [u8]>) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    for part in parts {
        digest.update(part);
    }
    // The algorithm is 32 bits wide, so the upper half of the answer is zero.
    digest.finalize() as u32
}

impl Buf for Outbox {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        match self.chunks.front() {
            Some(front) => front,
            None => &self.tail,
        }
    }

    fn advance(&mut self, mut count: usize) {
        let count_total = count.min(self.remaining);
        count = count_total;
        while count > 0 {
            let Some(front) = self.chunks.front_mut() else {
                self.tail.advance(count);
                break;
            };
            let step = count.min(front.len());
            front.advance(step);
            count -= step;
            if front.is_empty() {
                self.chunks.pop_front();
            }
        }
        self.remaining -= count_total;
        self.taken += count_total as u64;
    }

    fn chunks_vectored<'a>(&'a self, dst: &mut [IoSlice<'a>]) -> usize {
        let mut used = 0;
        let tail = std::iter::once(&self.tail[..]).filter(|t| !t.is_empty());
        for (slot, chunk) in dst.iter_mut().zip(self.chunks.iter().map(|c| &c[..]).chain(tail)) {
            *slot = IoSlice::new(chunk);
            used += 1;
        }
        used
    }
}
