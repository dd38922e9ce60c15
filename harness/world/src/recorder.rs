//! The part that both makes share: clock, history, capture and fault desk of one world.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;

use crate::capture::{Capture, Segment, SegmentKind, SegmentTap};
use crate::fault::{Fault, FaultDesk, FaultPlan, Firings};
use crate::lock;
use crate::trace::TraceLine;

#[derive(Debug)]
pub(crate) struct Recorder {
    start: Instant,
    tracing: bool,
    capturing: bool,
    tap: Option<SegmentTap>,
    lines: Mutex<Lines>,
    capture: Mutex<Capture>,
    faults: Mutex<FaultDesk>,
    panics: Mutex<Vec<String>>,
    next_conn: AtomicU64,
    /// Live only: (local, peer) of the connections that this world made and records.
    own_ends: Mutex<BTreeSet<(SocketAddr, SocketAddr)>>,
}

#[derive(Debug, Default)]
struct Lines {
    next_seq: u64,
    kept: Vec<TraceLine>,
}

impl Recorder {
    /// Must be called inside the runtime whose clock governs the world.
    pub(crate) fn new(
        tracing: bool,
        capturing: bool,
        tap: Option<SegmentTap>,
        faults: FaultPlan,
    ) -> Recorder {
        Recorder {
            start: instant(),
            tracing,
            capturing,
            tap,
            lines: Mutex::default(),
            capture: Mutex::default(),
            faults: Mutex::new(FaultDesk::new(faults)),
            panics: Mutex::default(),
            next_conn: AtomicU64::new(1),
            own_ends: Mutex::default(),
        }
    }

    pub(crate) fn start(&self) -> Instant {
        self.start
    }

    pub(crate) fn now(&self) -> Duration {
        instant().saturating_duration_since(self.start)
    }

    /// Now in nanoseconds since the start; 584 years fit.
    pub(crate) fn now_ns(&self) -> u64 {
        u64::try_from(self.now().as_nanos()).unwrap_or(u64::MAX - 1)
    }

    pub(crate) fn is_tracing(&self) -> bool {
        self.tracing
    }

    pub(crate) fn note(&self, node: &Arc<str>, topic: &'static str, detail: impl FnOnce() -> Value) {
        if !self.tracing {
            return;
        }
        // The closure runs before the lock: it may itself note something.
        let detail = detail();
        let at = self.now();
        let mut lines = lock(&self.lines);
        let seq = lines.next_seq;
        lines.next_seq += 1;
        lines.kept.push(TraceLine { seq, at, node: node.clone(), topic, detail });
    }

    pub(crate) fn trace(&self) -> Vec<TraceLine> {
        lock(&self.lines).kept.clone()
    }

    pub(crate) fn take_trace(&self) -> Vec<TraceLine> {
        std::mem::take(&mut lock(&self.lines).kept)
    }

    pub(crate) fn fault(&self, point: &str) -> Option<Fault> {
        lock(&self.faults).ask(point)
    }

    pub(crate) fn add_fault(&self, point: String, nth: u64, fault: Fault) -> u64 {
        lock(&self.faults).add(point, nth, fault)
    }

    pub(crate) fn clear_faults(&self) {
        lock(&self.faults).clear();
    }

    pub(crate) fn points_hit(&self) -> BTreeMap<String, u64> {
        lock(&self.faults).hits()
    }

    pub(crate) fn firings(&self) -> Firings {
        lock(&self.faults).firings()
    }

    pub(crate) fn next_conn(&self) -> u64 {
        self.next_conn.fetch_add(1, Ordering::Relaxed)
    }

    /// Somebody wants to know of segments.
    pub(crate) fn is_capturing(&self) -> bool {
        self.capturing || self.tap.is_some()
    }

    pub(crate) fn capture(
        &self,
        conn: u64,
        src: SocketAddr,
        dst: SocketAddr,
        kind: SegmentKind,
        bytes: Bytes,
    ) {
        if !self.is_capturing() {
            return;
        }
        let segment = Segment { at: self.now(), src, dst, conn, kind, bytes };
        if let Some(tap) = &self.tap {
            tap.see(&segment);
        }
        if self.capturing {
            lock(&self.capture).push(segment);
        }
    }

    pub(crate) fn own_ends(&self) -> MutexGuard<'_, BTreeSet<(SocketAddr, SocketAddr)>> {
        lock(&self.own_ends)
    }

    pub(crate) fn segments(&self) -> Vec<Segment> {
        lock(&self.capture).segments.clone()
    }

    pub(crate) fn capture_dropped(&self) -> u64 {
        lock(&self.capture).dropped
    }

    pub(crate) fn task_panicked(&self, node: &Arc<str>) {
        lock(&self.panics).push(node.to_string());
    }

    pub(crate) fn panics(&self) -> Vec<String> {
        lock(&self.panics).clone()
    }
}

/// The runtime's clock: virtual where it is paused.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the runtime's clock")]
fn instant() -> Instant {
    Instant::now()
}
