//! The capture of live connections.

use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use crate::capture::SegmentKind;
use crate::recorder::Recorder;

/// Records both directions of one connection.
pub(super) struct Tap {
    recorder: Arc<Recorder>,
    conn: u64,
    local: SocketAddr,
    peer: SocketAddr,
    connected: bool,
    /// The end that connected is in this world too and records this connection.
    mirrored: bool,
    /// The SYN is recorded with the first event, in its place before it.
    begun: bool,
    ended_out: bool,
    ended_in: bool,
}

impl Tap {
    pub(super) fn new(
        recorder: Arc<Recorder>,
        conn: u64,
        local: SocketAddr,
        peer: SocketAddr,
        connected: bool,
    ) -> Tap {
        if connected {
            recorder.own_ends().insert((local, peer));
        }
        let mut tap = Tap {
            recorder,
            conn,
            local,
            peer,
            connected,
            mirrored: false,
            begun: false,
            ended_out: false,
            ended_in: false,
        };
        tap.mirrored = tap.is_mirror();
        if connected {
            tap.begin();
        }
        tap
    }

    fn is_mirror(&self) -> bool {
        !self.connected && self.recorder.own_ends().contains(&(self.peer, self.local))
    }

    /// False when the other end records.
    fn begin(&mut self) -> bool {
        // Accept may come before the other end's connect has returned, so the first event looks again.
        self.mirrored |= !self.begun && self.is_mirror();
        if self.mirrored {
            return false;
        }
        if !std::mem::replace(&mut self.begun, true) {
            let (src, dst) = if self.connected { (self.local, self.peer) } else { (self.peer, self.local) };
            self.recorder.capture(self.conn, src, dst, SegmentKind::Syn, Bytes::new());
        }
        true
    }

    fn record(&mut self, out: bool, kind: SegmentKind, bytes: Bytes) {
        if self.begin() {
            let (src, dst) = if out { (self.local, self.peer) } else { (self.peer, self.local) };
            self.recorder.capture(self.conn, src, dst, kind, bytes);
        }
    }

    pub(super) fn sent(&mut self, slices: &[IoSlice<'_>], written: usize) {
        if written == 0 {
            return;
        }
        let mut bytes = Vec::with_capacity(written);
        for slice in slices {
            let rest = written - bytes.len();
            bytes.extend_from_slice(&slice[..slice.len().min(rest)]);
        }
        self.record(true, SegmentKind::Data, bytes.into());
    }

    /// Nothing received is the end of the stream.
    pub(super) fn received(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            self.finished(false);
        } else {
            self.record(false, SegmentKind::Data, Bytes::copy_from_slice(bytes));
        }
    }

    pub(super) fn finished(&mut self, out: bool) {
        let ended = if out { &mut self.ended_out } else { &mut self.ended_in };
        if !std::mem::replace(ended, true) {
            self.record(out, SegmentKind::Fin, Bytes::new());
        }
    }

    pub(super) fn broken(&mut self) {
        self.ended_out = true;
        if !std::mem::replace(&mut self.ended_in, true) {
            self.record(false, SegmentKind::Rst, Bytes::new());
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.finished(true);
        if self.connected {
            // The port may come again.
            self.recorder.own_ends().remove(&(self.local, self.peer));
        }
    }
}
