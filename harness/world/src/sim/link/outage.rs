//! What outages do to a connection: cut paths, lost power, forgotten state, resets, and the time-outs of a sender
//! that nobody answers. The undisturbed data path is in the parent module.

use std::io::ErrorKind;
use std::sync::Weak;
use std::time::Duration;

use bytes::Bytes;

use super::{After, Conn, End, Hold, PARKED, Path, State, other};
use crate::capture::SegmentKind;
use crate::lock;
use crate::sim::net::Fabric;

/// First retransmission time-out (RFC 6298 allows 1 s; common stacks use 200 ms).
const RTO_FIRST_NS: u64 = 200_000_000;
/// The time-out doubles up to this.
const RTO_CAP_NS: u64 = 120_000_000_000;
/// Retransmissions before the sender gives up with `TimedOut`.
const RTO_TRIES: u32 = 15;
/// Time from the first unacknowledged segment to `TimedOut`, nanoseconds: 924.6 s.
pub(in crate::sim) fn give_up_ns() -> u64 {
    (0..=RTO_TRIES).map(|n| (RTO_FIRST_NS << n).min(RTO_CAP_NS)).sum()
}

/// The first retransmission at or after `now` of what was first sent at `since`.
fn next_retransmission(since: u64, now: u64) -> u64 {
    let mut at = since;
    let mut n = 0;
    loop {
        at += (RTO_FIRST_NS << n).min(RTO_CAP_NS);
        if at >= now {
            return at;
        }
        n = (n + 1).min(RTO_TRIES);
    }
}

impl Conn {
    /// The time-out of `end`'s unacknowledged data came.
    pub(in crate::sim) fn give_up(&self, end: End, number: u64) {
        let mut after = After::default();
        {
            let mut state = lock(&self.state);
            if state.watch[end] != number || state.unacked[end].is_none() || state.holds[end] != Hold::Open {
                return;
            }
            state.holds[end] = Hold::Gone;
            state.errors[end] = Some(ErrorKind::TimedOut);
            for dir in &mut state.dirs {
                dir.wake_both(&mut after);
            }
            state.dirs[other(end)].clear();
            // What was parked never made it.
            state.dirs[end].queue.retain(|(at, _)| *at != PARKED);
            state.dirs[end].queued = state.dirs[end].queue.iter().map(|(_, bytes)| bytes.len()).sum();
        }
        self.finish(after);
    }

    /// The host of `end` loses power: nothing more comes from it and nothing reaches it. What it sent before is
    /// on the wire and still arrives.
    pub(in crate::sim) fn go_dark(&self, end: End) {
        let mut after = After::default();
        {
            let mut guard = lock(&self.state);
            let state = &mut *guard;
            let was = state.holds[end];
            state.holds[end] = Hold::Dark;
            state.errors[end].get_or_insert(ErrorKind::ConnectionAborted);
            let peer = other(end);
            for dir in &mut state.dirs {
                dir.wake_both(&mut after);
            }
            // Parked segments can never be sent again by a host without power.
            if state.dirs[end].cut {
                state.dirs[end].queue.retain(|(at, _)| *at != PARKED);
                let left = state.dirs[end].queue.iter().map(|(_, bytes)| bytes.len()).sum();
                state.dirs[end].queued = left;
                state.dirs[end].end = state.dirs[end].end.filter(|(at, _)| *at != PARKED);
            }
            let now = self.now();
            let unread = state.dirs[peer].queue.iter().any(|(at, _)| *at > now);
            state.dirs[peer].clear();
            if was == Hold::Open && unread && state.holds[peer] == Hold::Open {
                self.start_watch(state, peer, now, &mut after);
            }
        }
        self.finish(after);
    }

    /// The host of `end` is back and knows nothing of this connection: the peer's next (re)transmission is reset.
    pub(in crate::sim) fn come_back(&self, end: End) {
        let mut after = After::default();
        {
            let mut guard = lock(&self.state);
            let state = &mut *guard;
            if state.holds[end] != Hold::Dark {
                return;
            }
            state.holds[end] = Hold::Gone;
            self.answer_unacked(state, other(end), &mut after);
        }
        self.finish(after);
    }

    /// `end` has unacknowledged data and its peer's host does not know the connection: the next retransmission
    /// is answered with a reset, if the paths let it.
    fn answer_unacked(&self, state: &mut State, end: End, after: &mut After) {
        let peer = other(end);
        let open = !state.dirs[0].cut && !state.dirs[1].cut;
        if let (Some(since), true, Hold::Open) = (state.unacked[end], open, state.holds[end]) {
            state.unacked[end] = None;
            let there = self.delay(end, &mut state.dirs[end]);
            let sent = next_retransmission(since, self.now()).saturating_add(there);
            self.answer_reset(state, peer, sent, after);
        }
    }

    /// `end` forgets the connection without a word; its own process sees it aborted.
    pub(in crate::sim) fn forget(&self, end: End) {
        let mut after = After::default();
        {
            let mut guard = lock(&self.state);
            let state = &mut *guard;
            if state.holds[end] != Hold::Open {
                return;
            }
            state.holds[end] = Hold::Gone;
            state.errors[end] = Some(ErrorKind::ConnectionAborted);
            let peer = other(end);
            let now = self.now();
            let coming = state.dirs[peer].queue.iter().map(|(at, _)| *at).find(|at| *at > now);
            state.dirs[peer].clear();
            for dir in &mut state.dirs {
                dir.wake_both(&mut after);
            }
            if let Some(at) = coming.filter(|at| *at != PARKED) {
                self.answer_reset(state, end, at, &mut after);
            }
        }
        self.finish(after);
    }

    /// Both ends see a reset at once; everything under way is lost.
    pub(in crate::sim) fn reset(&self) {
        let mut after = After::default();
        let broke = {
            let mut state = lock(&self.state);
            let broke = state.holds.contains(&Hold::Open);
            for end in [0, 1] {
                if state.holds[end] == Hold::Open {
                    state.holds[end] = Hold::Gone;
                    state.errors[end] = Some(ErrorKind::ConnectionReset);
                }
                state.dirs[end].clear();
                state.dirs[end].wake_both(&mut after);
            }
            broke
        };
        if broke {
            self.capture(0, SegmentKind::Rst, Bytes::new());
        }
        self.finish(after);
    }

    /// New conditions of both paths.
    pub(in crate::sim) fn set_paths(&self, paths: [Path; 2]) {
        let mut after = After::default();
        {
            let mut guard = lock(&self.state);
            let state = &mut *guard;
            let now = self.now();
            for end in [0, 1] {
                state.dirs[end].latency = paths[end].latency;
                if std::mem::replace(&mut state.dirs[end].shape, paths[end].shape) != paths[end].shape {
                    state.dirs[end].wake_both(&mut after);
                }
                if paths[end].cut && !state.dirs[end].cut {
                    self.cut(state, end, now, &mut after);
                }
            }
            let healed = [0, 1].map(|end| state.dirs[end].cut && !paths[end].cut);
            for end in [0, 1] {
                state.dirs[end].cut = paths[end].cut;
            }
            for end in [0, 1] {
                if healed[end] {
                    self.release(state, end, now, &mut after);
                }
            }
            if healed != [false, false] && !paths[0].cut && !paths[1].cut {
                for end in [0, 1] {
                    match state.holds[other(end)] {
                        Hold::Open => state.unacked[end] = None,
                        Hold::Gone => self.answer_unacked(state, end, &mut after),
                        Hold::Dark => {}
                    }
                }
            }
        }
        self.finish(after);
    }

    /// The path from `end` begins to swallow everything; what is on it now is lost and must be sent again.
    fn cut(&self, state: &mut State, end: End, now: u64, after: &mut After) {
        let dir = &mut state.dirs[end];
        dir.cut = true;
        let mut parked = false;
        for (at, _) in dir.queue.iter_mut().filter(|(at, _)| *at > now) {
            *at = PARKED;
            parked = true;
        }
        if let Some((at, _)) = &mut dir.end
            && *at > now
        {
            *at = PARKED;
        }
        if parked && state.holds[end] == Hold::Open {
            self.start_watch(state, end, now, after);
        }
    }

    /// The path from `end` works again: parked segments arrive with the next retransmission, in order.
    fn release(&self, state: &mut State, end: End, now: u64, after: &mut After) {
        let since = state.unacked[end].unwrap_or(now);
        let sent = next_retransmission(since, now);
        let delay = self.delay(end, &mut state.dirs[end]);
        let peer = other(end);
        let dir = &mut state.dirs[end];
        let at = dir.last.max(sent.saturating_add(delay));
        let mut released = false;
        for (parked, _) in dir.queue.iter_mut().filter(|(at, _)| *at == PARKED) {
            *parked = at;
            released = true;
        }
        if let Some((parked, _)) = &mut dir.end
            && *parked == PARKED
        {
            *parked = at;
            released = true;
        }
        if released {
            dir.last = at;
            after.wakers.extend(dir.reader.take());
        }
        if state.holds[peer] != Hold::Open {
            // Nobody is there to read it. The reset, if one is due, answers the unacknowledged data.
            state.dirs[end].clear();
            after.wakers.extend(state.dirs[end].writer.take());
        }
    }
}

/// Sleeps until the time-out and then lets the connection give up.
pub(in crate::sim) async fn watch(fabric: Weak<Fabric>, conn: Weak<Conn>, end: End, number: u64, at: u64) {
    let Some(start) = fabric.upgrade().map(|fabric| fabric.recorder.start()) else { return };
    tokio::time::sleep_until(start + Duration::from_nanos(at)).await;
    if let Some(conn) = conn.upgrade() {
        conn.give_up(end, number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retransmissions_double_up_to_the_cap() {
        let s = |ms: u64| ms * 1_000_000;
        assert_eq!(next_retransmission(0, 0), s(200));
        assert_eq!(next_retransmission(0, s(200)), s(200));
        assert_eq!(next_retransmission(0, s(201)), s(600));
        assert_eq!(next_retransmission(s(1000), s(2500)), s(4000));
        // From the cap on they come every 120 s.
        let late = next_retransmission(0, s(800_000));
        assert_eq!(next_retransmission(0, late + 1) - late, RTO_CAP_NS);
        assert_eq!(give_up_ns(), s(924_600));
    }
}
