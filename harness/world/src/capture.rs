//! Payload segments as they were sent, for packet captures.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

/// What a segment did to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// The connection came up; `src` is the side that connected. No bytes.
    Syn,
    /// Payload.
    Data,
    /// `src` will send no more. No bytes.
    Fin,
    /// `src` refused or broke the connection. No bytes.
    Rst,
}

/// One captured segment. A segment is what one write call sent; it may be larger than a real TCP segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// When it was sent, since the world's start.
    pub at: Duration,
    /// Sender.
    pub src: SocketAddr,
    /// Receiver.
    pub dst: SocketAddr,
    /// Number of the connection in its world, from 1.
    pub conn: u64,
    /// What it did.
    pub kind: SegmentKind,
    /// Payload bytes; empty unless `kind` is `Data`.
    pub bytes: Bytes,
}

/// Sees every segment at the moment in which it is sent, whether payload is kept or not. It must not call back into the world.
#[derive(Clone)]
pub struct SegmentTap(Arc<dyn Fn(&Segment) + Send + Sync>);

impl SegmentTap {
    /// Calls `see` with every segment.
    pub fn new(see: impl Fn(&Segment) + Send + Sync + 'static) -> SegmentTap {
        SegmentTap(Arc::new(see))
    }

    pub(crate) fn see(&self, segment: &Segment) {
        (self.0)(segment);
    }
}

impl fmt::Debug for SegmentTap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SegmentTap")
    }
}

/// Payload kept at most, bytes. Later segments are dropped and counted, so that a long run cannot eat all memory.
const CAPTURE_LIMIT: usize = 1 << 30;

#[derive(Debug, Default)]
pub(crate) struct Capture {
    pub(crate) segments: Vec<Segment>,
    held: usize,
    pub(crate) dropped: u64,
}

impl Capture {
    pub(crate) fn push(&mut self, segment: Segment) {
        // Every segment has a price, so that an endless stream of empty ones is bounded too.
        let price = segment.bytes.len() + size_of::<Segment>();
        if self.held.saturating_add(price) > CAPTURE_LIMIT {
            self.dropped += 1;
            return;
        }
        self.held += price;
        self.segments.push(segment);
    }
}
