//! How one direction of a path treats what is sent over it, short of losing it.

use std::time::Duration;

use super::link::WINDOW;

/// How one direction of a path treats the bytes sent over it. The default lets them through as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bytes that one read of the receiver gives at most, 1 or more: 1 is a sender whose every byte is a segment of its own.
    pub segment: usize,
    /// Segments arrive only at multiples of this time, so that what was sent in between arrives together. Whole
    /// milliseconds; zero: as the latency says.
    pub coalesce: Duration,
    /// Bytes sent and not yet read before the sender must wait, 1 to [`WINDOW`].
    pub window: usize,
    /// Of a hundred segments (and of handshakes) so many are lost, 0 to 99. TCP sends each again when its time-out is over,
    /// and what was sent behind it waits for it.
    pub loss: u8,
    /// The receiver's process reads nothing: the window closes, and the connection lives on (zero-window probes are
    /// answered by its host, RFC 9293 section 3.8.6.1).
    pub stalled: bool,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape { segment: usize::MAX, coalesce: Duration::ZERO, window: WINDOW, loss: 0, stalled: false }
    }
}

impl Shape {
    /// Every byte arrives in a segment of its own.
    pub fn crumbs() -> Shape {
        Shape { segment: 1, ..Shape::default() }
    }

    /// The receiver does not read.
    pub fn stall() -> Shape {
        Shape { stalled: true, ..Shape::default() }
    }

    /// What was sent within each `time` arrives together.
    pub fn coalesced(time: Duration) -> Shape {
        Shape { coalesce: time, ..Shape::default() }
    }

    /// The window that counts.
    pub(super) fn room(&self) -> usize {
        self.window.clamp(1, WINDOW)
    }

    /// The time at which something that would arrive at `at` does arrive, nanoseconds.
    pub(super) fn arrival(&self, at: u64) -> u64 {
        let step = u64::try_from(self.coalesce.as_nanos()).unwrap_or(u64::MAX);
        at.checked_next_multiple_of(step.max(1)).unwrap_or(at)
    }
}
