//! One connection: two directions of timed segments, and what each end knows of the other.
//!
//! A direction is a queue of (arrival time, bytes) with a byte cap. Arrival times never fall within a direction,
//! so bytes stay in order; different connections overtake each other freely. A cut path parks segments: they get
//! their arrival time when it heals, at the moment of the next retransmission that TCP would make.
//!
//! Locks: the state of a connection is one mutex. Nothing is woken, spawned or dropped under it ([`After`]).

mod outage;

pub(super) use outage::watch;

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use bytes::{Buf, Bytes};
use tokio::io::ReadBuf;

use super::net::Fabric;
use super::shape::Shape;
use crate::capture::SegmentKind;
use crate::dice::{Dice, dice};
use crate::lock;
use crate::loss::{FIRST_RTO, RTO, retransmissions};
use outage::give_up_ns;

/// Bytes that one direction holds, sent and not yet read, before the writer must wait.
pub const WINDOW: usize = 1 << 20;
/// Arrival time of a segment that waits for a path to heal.
const PARKED: u64 = u64::MAX;
const MS: u64 = 1_000_000;

/// 0 is the end that connected, 1 the end that accepted.
pub(super) type End = usize;

pub(super) fn other(end: End) -> End {
    1 - end
}

pub(super) struct Conn {
    pub(super) id: u64,
    pub(super) addrs: [SocketAddr; 2],
    pub(super) nodes: [Arc<str>; 2],
    fabric: Arc<Fabric>,
    /// Names the dice of this connection: (addresses, ordinal between them).
    key: String,
    state: Mutex<State>,
}

struct State {
    holds: [Hold; 2],
    errors: [Option<ErrorKind>; 2],
    /// `dirs[e]` carries what end `e` sends.
    dirs: [Direction; 2],
    /// When the first segment of an end went unacknowledged; the number tells one such period from the next.
    unacked: [Option<u64>; 2],
    watch: [u64; 2],
    /// The handshake is done; before that, closing is silent.
    up: bool,
}

/// How an end's host holds the connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// A process has it open.
    Open,
    /// The process closed it, or the host forgot it: what arrives is answered with a reset.
    Gone,
    /// The host has no power: what arrives vanishes.
    Dark,
}

struct Direction {
    queue: VecDeque<(u64, Bytes)>,
    queued: usize,
    last: u64,
    end: Option<(u64, EndKind)>,
    /// The sender has shut this direction down.
    shut: bool,
    cut: bool,
    /// Delay of a segment in ms, `lo..hi`.
    latency: (u64, u64),
    shape: Shape,
    dice: Option<Dice>,
    losses: Option<Dice>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum EndKind {
    Fin,
    Rst,
}

/// What to do once the lock is released.
#[derive(Default)]
struct After {
    wakers: Vec<Waker>,
    watch: Vec<(End, u64, u64)>,
}

impl Direction {
    fn new(path: Path) -> Direction {
        Direction {
            queue: VecDeque::new(),
            queued: 0,
            last: 0,
            end: None,
            shut: false,
            cut: path.cut,
            latency: path.latency,
            shape: path.shape,
            dice: None,
            losses: None,
            reader: None,
            writer: None,
        }
    }

    fn wake_both(&mut self, after: &mut After) {
        after.wakers.extend(self.reader.take());
        after.wakers.extend(self.writer.take());
    }

    /// Forgets what is under way. The caller drops the returned segments without the lock or not at all: bytes
    /// have no user code in their drop.
    fn clear(&mut self) {
        self.queue.clear();
        self.queued = 0;
    }
}

impl Conn {
    pub(super) fn new(
        fabric: Arc<Fabric>,
        id: u64,
        addrs: [SocketAddr; 2],
        nodes: [Arc<str>; 2],
        key: String,
        paths: [Path; 2],
    ) -> Conn {
        let state = State {
            holds: [Hold::Open; 2],
            errors: [None; 2],
            dirs: paths.map(Direction::new),
            unacked: [None; 2],
            watch: [0; 2],
            up: false,
        };
        Conn { id, addrs, nodes, fabric, key, state: Mutex::new(state) }
    }

    fn now(&self) -> u64 {
        self.fabric.recorder.now_ns()
    }

    /// One draw of the delay from `end` to the other end, nanoseconds.
    pub(super) fn draw_delay(&self, end: End) -> u64 {
        let mut state = lock(&self.state);
        let dir = &mut state.dirs[end];
        self.delay(end, dir).saturating_add(self.lost(end, dir, FIRST_RTO))
    }

    fn delay(&self, end: End, dir: &mut Direction) -> u64 {
        let (lo, hi) = dir.latency;
        if hi <= lo.saturating_add(1) {
            return lo.saturating_mul(MS);
        }
        let dice = dir.dice.get_or_insert_with(|| {
            dice(self.fabric.seed, &self.key, if end == 0 { "latency.forth" } else { "latency.back" })
        });
        dice.range(lo..hi).saturating_mul(MS)
    }

    /// One draw of the time that losses cost, nanoseconds.
    fn lost(&self, end: End, dir: &mut Direction, rto: u64) -> u64 {
        if dir.shape.loss == 0 {
            return 0;
        }
        let dice = dir.losses.get_or_insert_with(|| {
            dice(self.fabric.seed, &self.key, if end == 0 { "loss.forth" } else { "loss.back" })
        });
        retransmissions(dice, dir.shape.loss, rto)
    }

    /// Arrival time of something that `end` sends now, in order behind all it sent before.
    fn arrival(&self, state: &mut State, end: End, sent: u64) -> u64 {
        let dir = &mut state.dirs[end];
        if dir.cut {
            return PARKED;
        }
        let delay = self.delay(end, dir).saturating_add(self.lost(end, dir, RTO));
        dir.last = dir.last.max(dir.shape.arrival(sent.saturating_add(delay)).min(PARKED - 1));
        dir.last
    }

    fn capture(&self, end: End, kind: SegmentKind, bytes: Bytes) {
        self.fabric.recorder.capture(self.id, self.addrs[end], self.addrs[other(end)], kind, bytes);
    }

    /// The other side took the SYN.
    pub(super) fn establish(&self) {
        lock(&self.state).up = true;
        self.capture(0, SegmentKind::Syn, Bytes::new());
    }

    /// The error that `end` must report, if its connection broke.
    pub(super) fn error(&self, end: End) -> Option<ErrorKind> {
        lock(&self.state).errors[end]
    }

    /// Reads for `end`. `Err(at)` when nothing has arrived: wake at `at`, if that is known.
    pub(super) fn poll_read(
        &self,
        end: End,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Result<io::Result<()>, Option<u64>> {
        let mut writer = None;
        let mut stale = None;
        let result = {
            let mut state = lock(&self.state);
            if let Some(kind) = state.errors[end] {
                return Ok(Err(broken(kind)));
            }
            let dir = &mut state.dirs[other(end)];
            let now = self.now();
            if dir.shape.stalled {
                store(&mut dir.reader, cx, &mut stale);
                return Err(None);
            }
            let before = buf.remaining();
            let least = before.saturating_sub(dir.shape.segment.max(1));
            while let Some((at, bytes)) = dir.queue.front_mut() {
                if *at > now || buf.remaining() <= least {
                    break;
                }
                let n = bytes.len().min(buf.remaining() - least);
                buf.put_slice(&bytes[..n]);
                dir.queued -= n;
                if n == bytes.len() {
                    dir.queue.pop_front();
                } else {
                    bytes.advance(n);
                }
            }
            let next = dir.queue.front().map(|(at, _)| *at);
            match (next, dir.end) {
                _ if buf.remaining() < before || before == 0 => {
                    // Half a window of hysteresis, so that a slow reader does not cause crumbs of writes.
                    if dir.queued <= dir.shape.room() / 2 {
                        writer = dir.writer.take();
                    }
                    Ok(Ok(()))
                }
                (None, Some((at, EndKind::Fin))) if at <= now => Ok(Ok(())),
                (None, Some((at, EndKind::Rst))) if at <= now => Ok(Err(broken(ErrorKind::ConnectionReset))),
                (next, ending) => {
                    store(&mut dir.reader, cx, &mut stale);
                    Err(next.or(ending.map(|(at, _)| at)).filter(|at| *at != PARKED))
                }
            }
        };
        drop(stale);
        if let Some(writer) = writer {
            writer.wake();
        }
        result
    }

    /// Writes for `end`; all slices become one segment. `Err(at)` when the window is full: wake at `at`, if that
    /// is known.
    pub(super) fn poll_write(
        &self,
        end: End,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Result<io::Result<usize>, Option<u64>> {
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        if total == 0 {
            return Ok(Ok(0));
        }
        let peer = other(end);
        let mut after = After::default();
        let mut reader = None;
        let mut stale = None;
        let result = 'done: {
            let mut guard = lock(&self.state);
            let state = &mut *guard;
            if let Some(kind) = state.errors[end] {
                break 'done Ok(Err(broken(kind)));
            }
            if state.dirs[end].shut {
                break 'done Ok(Err(ErrorKind::BrokenPipe.into()));
            }
            let now = self.now();
            if state.dirs[peer].end.is_some_and(|(at, kind)| kind == EndKind::Rst && at <= now) {
                break 'done Ok(Err(broken(ErrorKind::ConnectionReset)));
            }
            let room = state.dirs[end].shape.room().saturating_sub(state.dirs[end].queued);
            if room == 0 {
                store(&mut state.dirs[end].writer, cx, &mut stale);
                // Only a reset that is on its way comes by itself; everything else wakes the writer.
                let reset = state.dirs[peer].end.filter(|(at, kind)| *kind == EndKind::Rst && *at != PARKED);
                break 'done Err(reset.map(|(at, _)| at));
            }
            let n = total.min(room);
            if state.holds[peer] != Hold::Open {
                // The bytes are gone, but they fill the window: nobody acknowledges them.
                state.dirs[end].queued += n;
                self.send_into_void(state, end, now, &mut after);
                break 'done Ok(Ok(n));
            }
            let bytes = gather(slices, n);
            if self.fabric.recorder.is_capturing() {
                self.capture(end, SegmentKind::Data, bytes.clone());
            }
            let at = self.arrival(state, end, now);
            let dir = &mut state.dirs[end];
            // A reader that waits behind an earlier segment has its timer already.
            if dir.queue.is_empty() {
                reader = dir.reader.take();
            }
            dir.queue.push_back((at, bytes));
            dir.queued += n;
            if state.dirs[0].cut || state.dirs[1].cut {
                self.start_watch(state, end, now, &mut after);
            }
            Ok(Ok(n))
        };
        drop(stale);
        if let Some(reader) = reader {
            reader.wake();
        }
        self.finish(after);
        result
    }

    /// `end` sent payload to a host that does not hold the connection any more.
    fn send_into_void(&self, state: &mut State, end: End, now: u64, after: &mut After) {
        let peer = other(end);
        let cut = state.dirs[0].cut || state.dirs[1].cut;
        if state.holds[peer] == Hold::Dark || cut {
            self.start_watch(state, end, now, after);
        } else {
            let there = self.delay(end, &mut state.dirs[end]);
            self.answer_reset(state, peer, now.saturating_add(there), after);
        }
    }

    /// The host of `end` answers with a reset at `sent`.
    fn answer_reset(&self, state: &mut State, end: End, sent: u64, after: &mut After) {
        if matches!(state.dirs[end].end, Some((_, EndKind::Rst))) {
            return;
        }
        self.capture(end, SegmentKind::Rst, Bytes::new());
        let at = self.arrival(state, end, sent);
        state.dirs[end].end = Some((at, EndKind::Rst));
        after.wakers.extend(state.dirs[end].reader.take());
        after.wakers.extend(state.dirs[other(end)].writer.take());
    }

    /// Begins to count towards `TimedOut` for what `end` sent, unless it counts already.
    fn start_watch(&self, state: &mut State, end: End, now: u64, after: &mut After) {
        if state.unacked[end].is_none() {
            state.unacked[end] = Some(now);
            state.watch[end] += 1;
            after.watch.push((end, state.watch[end], now.saturating_add(give_up_ns())));
        }
    }

    fn finish(&self, after: After) {
        for waker in after.wakers {
            waker.wake();
        }
        for (end, number, at) in after.watch {
            self.fabric.watch(self.id, end, number, at);
        }
    }

    /// `end` will send no more.
    pub(super) fn shutdown(&self, end: End) -> io::Result<()> {
        let mut after = After::default();
        {
            let mut state = lock(&self.state);
            if let Some(kind) = state.errors[end] {
                return Err(broken(kind));
            }
            self.send_fin(&mut state, end, &mut after);
        }
        self.finish(after);
        Ok(())
    }

    fn send_fin(&self, state: &mut State, end: End, after: &mut After) {
        if state.dirs[end].shut {
            return;
        }
        state.dirs[end].shut = true;
        after.wakers.extend(state.dirs[end].writer.take());
        if state.dirs[end].end.is_none() && state.holds[other(end)] == Hold::Open {
            self.capture(end, SegmentKind::Fin, Bytes::new());
            // The end needs no room: it cannot be lost behind a full window.
            let at = self.arrival(state, end, self.now());
            state.dirs[end].end = Some((at, EndKind::Fin));
            after.wakers.extend(state.dirs[end].reader.take());
        }
    }

    /// The process of `end` closed its socket, or died while its host goes on. Received and unread bytes make it
    /// a reset, as does data that arrives later.
    pub(super) fn close(&self, end: End) {
        let mut after = After::default();
        {
            let mut guard = lock(&self.state);
            let state = &mut *guard;
            if state.holds[end] != Hold::Open {
                return;
            }
            state.holds[end] = Hold::Gone;
            state.errors[end].get_or_insert(ErrorKind::ConnectionAborted);
            if !state.up {
                return;
            }
            let peer = other(end);
            let now = self.now();
            let inbound = state.dirs[peer].queue.front().map(|(at, _)| *at);
            let cut = state.dirs[peer].cut;
            match inbound {
                _ if state.holds[peer] != Hold::Open => {}
                Some(at) if at <= now => {
                    state.dirs[end].shut = true;
                    self.answer_reset(state, end, now, &mut after);
                }
                // Still on its way: the reset answers its arrival. Parked data is answered when the path heals.
                Some(at) => {
                    self.send_fin(state, end, &mut after);
                    if at != PARKED && !cut {
                        self.answer_reset(state, end, at, &mut after);
                    }
                }
                None => self.send_fin(state, end, &mut after),
            }
            if !cut {
                state.dirs[peer].clear();
            }
            after.wakers.extend(state.dirs[peer].writer.take());
            after.wakers.extend(state.dirs[peer].reader.take());
            after.wakers.extend(state.dirs[end].writer.take());
        }
        self.finish(after);
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.fabric.conn_dropped(self.id, self.addrs[0]);
    }
}

/// Condition of one direction between two addresses.
#[derive(Clone, Copy)]
pub(super) struct Path {
    pub(super) latency: (u64, u64),
    pub(super) cut: bool,
    pub(super) shape: Shape,
}

/// Keeps the newest waker; the replaced one goes to `stale`, to be dropped without the lock.
fn store(slot: &mut Option<Waker>, cx: &mut Context<'_>, stale: &mut Option<Waker>) {
    if !slot.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
        *stale = slot.replace(cx.waker().clone());
    }
}

fn gather(slices: &[IoSlice<'_>], n: usize) -> Bytes {
    let filled: &[u8] = slices.iter().find(|slice| !slice.is_empty()).map_or(&[], |slice| slice);
    if filled.len() >= n {
        return Bytes::copy_from_slice(&filled[..n]);
    }
    let mut bytes = Vec::with_capacity(n);
    for slice in slices {
        let rest = n - bytes.len();
        bytes.extend_from_slice(&slice[..slice.len().min(rest)]);
    }
    bytes.into()
}

fn broken(kind: ErrorKind) -> io::Error {
    let what = match kind {
        ErrorKind::ConnectionReset => "the peer reset the connection",
        ErrorKind::TimedOut => "the peer acknowledged nothing for too long",
        ErrorKind::ConnectionAborted => "this end of the connection is gone",
        _ => return kind.into(),
    };
    io::Error::new(kind, what)
}
