//! What one live connection knows of its way, and the task that carries what is late.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::gate::{Gates, Rules};
use crate::dice::{Dice, dice};
use crate::lock;
use crate::loss::{RTO, retransmissions};
use crate::recorder::Recorder;

/// Bytes that one direction keeps before its sender must wait; the same as in the simulation.
pub(super) const WINDOW: usize = crate::sim::WINDOW;
/// Bytes that the carrier hands to the kernel at once.
const PIECE: usize = 16 << 10;
/// Time after which a sender gives up that nobody acknowledges; the same as in the simulation.
const GIVE_UP: Duration = Duration::from_millis(924_600);

/// What becomes of the socket of a connection that was ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The other end is reset at once.
    Reset,
    /// The other end hears nothing, and is reset when it sends.
    Forgotten,
}

pub(super) struct Conn {
    pub(super) id: u64,
    pub(super) node: Arc<str>,
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
    pub(super) recorder: Arc<Recorder>,
    seed: u64,
    gates: Weak<Gates>,
    /// Something was ever wrong with it: every call looks at the state from then on.
    odd: AtomicBool,
    state: Mutex<State>,
    /// For the carrier.
    changed: Notify,
}

#[derive(Default)]
struct State {
    rules: Rules,
    ended: Option<(ErrorKind, Fate)>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// What was written and is not yet with the kernel: when it is due (nanoseconds of the world), and the bytes.
    out: VecDeque<(u64, Bytes)>,
    held: usize,
    losses: Option<Dice>,
    /// The owner sends no more.
    finished: bool,
    /// A carrier has the outward direction.
    carried: bool,
}

/// What the carrier does next.
enum Next {
    Write(Bytes),
    /// Until the way changes, at most until then.
    Wait(Duration),
    Finish,
    Done,
}

/// How a stream goes on with a call.
pub(super) enum Call<T> {
    /// As if nothing were wrong.
    Plain,
    /// The answer is known.
    Answer(Poll<io::Result<T>>),
    /// The connection was ended from outside.
    Ended(ErrorKind, Fate),
}

impl Conn {
    pub(super) fn new(
        gates: &Arc<Gates>,
        id: u64,
        node: Arc<str>,
        local: SocketAddr,
        peer: SocketAddr,
    ) -> Arc<Conn> {
        let conn = Arc::new(Conn {
            id,
            node,
            local,
            peer,
            recorder: gates.recorder.clone(),
            seed: gates.seed,
            gates: Arc::downgrade(gates),
            odd: AtomicBool::new(false),
            state: Mutex::default(),
            changed: Notify::new(),
        });
        gates.register(&conn);
        conn
    }

    /// What decides about losses in one direction.
    pub(super) fn losses(&self, direction: &str) -> Dice {
        dice(self.seed, &format!("{}>{}#{}", self.node, self.peer, self.id), direction)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(super) fn is_odd(&self) -> bool {
        self.odd.load(Ordering::Acquire)
    }

    pub(super) fn gates(&self) -> Option<Arc<Gates>> {
        self.gates.upgrade()
    }

    /// The way is so from now on.
    pub(super) fn set(&self, rules: Rules) {
        self.upset(|state| state.rules = rules);
    }

    /// Ends the connection on this side.
    pub(super) fn end(&self, kind: ErrorKind, fate: Fate) {
        self.upset(|state| {
            if state.ended.is_none() {
                state.ended = Some((kind, fate));
            }
            // Nobody sends it any more.
            state.out.clear();
            state.held = 0;
        });
    }

    fn upset(&self, change: impl FnOnce(&mut State)) {
        let woken = {
            let mut state = self.state();
            change(&mut state);
            self.odd.store(true, Ordering::Release);
            [state.reader.take(), state.writer.take()]
        };
        self.changed.notify_one();
        woken.into_iter().flatten().for_each(Waker::wake);
    }

    /// A read of an undisturbed connection waits. False when something is wrong since.
    pub(super) fn reader_waits(&self, cx: &Context<'_>) -> bool {
        let mut state = self.state();
        remember(&mut state.reader, cx);
        !self.is_odd()
    }

    /// A write of an undisturbed connection waits. False when something is wrong since.
    pub(super) fn writer_waits(&self, cx: &Context<'_>) -> bool {
        let mut state = self.state();
        remember(&mut state.writer, cx);
        !self.is_odd()
    }

    /// What a read meets: the rule of its direction, unless it is cut or over.
    pub(super) fn reading(&self, cx: &Context<'_>) -> (Rules, Call<()>) {
        let mut state = self.state();
        remember(&mut state.reader, cx);
        let call = match state.ended {
            Some((kind, fate)) => Call::Ended(kind, fate),
            None if state.rules.inward.cut => Call::Answer(Poll::Pending),
            None => Call::Plain,
        };
        (state.rules, call)
    }

    /// What a write meets. Bytes that are late are taken here and carried; without an owner's help from then on.
    pub(super) fn writing(
        self: &Arc<Self>,
        cx: &Context<'_>,
        tcp: &TcpStream,
        slices: &[IoSlice<'_>],
    ) -> Call<usize> {
        let mut state = self.state();
        if let Some((kind, fate)) = state.ended {
            return Call::Ended(kind, fate);
        }
        remember(&mut state.writer, cx);
        if state.finished {
            return Call::Answer(Poll::Ready(Err(ErrorKind::BrokenPipe.into())));
        }
        let rule = state.rules.outward;
        if rule.is_plain() && !state.carried {
            return Call::Plain;
        }
        let room = WINDOW.saturating_sub(state.held);
        let wanted: usize = slices.iter().map(|slice| slice.len()).sum();
        if wanted == 0 {
            return Call::Answer(Poll::Ready(Ok(0)));
        }
        if room == 0 {
            return Call::Answer(Poll::Pending);
        }
        let mut bytes = Vec::with_capacity(wanted.min(room));
        for slice in slices {
            let rest = room - bytes.len();
            bytes.extend_from_slice(&slice[..slice.len().min(rest)]);
        }
        let taken = bytes.len();
        let losses = state.losses.get_or_insert_with(|| self.losses("loss.forth"));
        let late = rule.delay_ns.saturating_add(retransmissions(losses, rule.loss, RTO));
        let due = self.recorder.now_ns().saturating_add(late);
        state.out.push_back((due, bytes.into()));
        state.held += taken;
        if let Err(error) = self.carried(&mut state, tcp) {
            return Call::Answer(Poll::Ready(Err(error)));
        }
        drop(state);
        self.changed.notify_one();
        Call::Answer(Poll::Ready(Ok(taken)))
    }

    /// The owner sends no more: the end comes behind what is late.
    pub(super) fn finishing(self: &Arc<Self>, tcp: &TcpStream) -> Call<()> {
        let mut state = self.state();
        if let Some((kind, fate)) = state.ended {
            return Call::Ended(kind, fate);
        }
        if !state.carried && !state.rules.outward.cut {
            return Call::Plain;
        }
        state.finished = true;
        if let Err(error) = self.carried(&mut state, tcp) {
            return Call::Answer(Poll::Ready(Err(error)));
        }
        drop(state);
        self.changed.notify_one();
        Call::Answer(Poll::Ready(Ok(())))
    }

    /// Sees to it that a carrier has the outward direction.
    fn carried(self: &Arc<Self>, state: &mut State, tcp: &TcpStream) -> io::Result<()> {
        if state.carried {
            return Ok(());
        }
        let gates = self.gates().ok_or(ErrorKind::NetworkDown)?;
        let twin = gates.twin(tcp)?;
        if !gates.carry(carry(self.clone(), twin)) {
            return Err(io::Error::other("too many connections wait for their way to be healed"));
        }
        state.carried = true;
        Ok(())
    }

    /// The owner is gone. Over a cut way nobody hears of that before it is healed; the answer is how the socket ends
    /// otherwise.
    pub(super) fn dropped(self: &Arc<Self>, tcp: TcpStream) {
        let mut state = self.state();
        if let Some((_, fate)) = state.ended {
            drop(state);
            return self.let_go(tcp, fate);
        }
        if state.carried || !state.rules.outward.cut {
            // A carrier has a handle of its own and closes when it is done.
            return;
        }
        state.carried = true;
        drop(state);
        if let Some(gates) = self.gates() {
            gates.carry(carry(self.clone(), tcp));
        }
    }

    /// Closes the socket of a connection that was ended from outside.
    pub(super) fn let_go(&self, tcp: TcpStream, fate: Fate) {
        // Closing without this would say good-bye first. A socket that refuses is gone already.
        let _ = tcp.set_zero_linger();
        if let (Fate::Forgotten, Some(gates)) = (fate, self.gates()) {
            gates.carry(async move {
                // Held without a word until the other end says something; the answer is a reset. A look, because readiness
                // alone may be a false alarm.
                let _ = tcp.peek(&mut [0]).await;
            });
        }
    }

    fn next(&self, waiting_since: u64) -> Next {
        let mut state = self.state();
        if state.ended.is_some() {
            return Next::Done;
        }
        let now = self.recorder.now_ns();
        let rule = state.rules.outward;
        if rule.cut {
            let waited = Duration::from_nanos(now.saturating_sub(waiting_since));
            return Next::Wait(GIVE_UP.saturating_sub(waited));
        }
        let Some((due, bytes)) = state.out.front_mut() else {
            if state.finished {
                return Next::Finish;
            }
            state.carried = false;
            return Next::Done;
        };
        if rule.is_late() && *due > now {
            return Next::Wait(Duration::from_nanos(*due - now));
        }
        let most = if rule.segment == 0 { PIECE } else { rule.segment.min(PIECE) };
        let piece = bytes.split_to(bytes.len().min(most));
        if !bytes.has_remaining() {
            state.out.pop_front();
        }
        state.held -= piece.len();
        let writer = state.writer.take();
        drop(state);
        writer.into_iter().for_each(Waker::wake);
        Next::Write(piece)
    }

    fn is_cut(&self) -> bool {
        self.state().rules.outward.cut
    }

    fn is_over(&self) -> bool {
        self.state().ended.is_some()
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        if let Some(gates) = self.gates.upgrade() {
            gates.forget(self.id);
        }
    }
}

fn remember(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

/// Hands what a connection holds to the kernel when it is due, and closes behind it.
async fn carry(conn: Arc<Conn>, mut tcp: TcpStream) {
    let mut since = conn.recorder.now_ns();
    loop {
        match conn.next(since) {
            Next::Done => return,
            Next::Finish => {
                // The peer may be gone; then it needs no end either.
                let _ = tcp.shutdown().await;
                return;
            }
            Next::Wait(limit) if limit.is_zero() => return conn.end(ErrorKind::TimedOut, Fate::Reset),
            Next::Wait(limit) => {
                if !conn.is_cut() {
                    since = conn.recorder.now_ns();
                }
                let until = conn.recorder.start() + conn.recorder.now() + limit;
                tokio::select! {
                    biased;
                    () = conn.changed.notified() => {}
                    () = tokio::time::sleep_until(until) => {}
                }
            }
            Next::Write(piece) => {
                since = conn.recorder.now_ns();
                if let Err(error) = write(&conn, &tcp, &piece).await {
                    return conn.end(error.kind(), Fate::Reset);
                }
            }
        }
    }
}

/// Writes all of it, unless the connection is ended meanwhile.
async fn write(conn: &Conn, tcp: &TcpStream, mut piece: &[u8]) -> io::Result<()> {
    while !piece.is_empty() {
        tokio::select! {
            biased;
            () = conn.changed.notified() => {
                if conn.is_over() {
                    return Ok(());
                }
            }
            ready = tcp.writable() => ready?,
        }
        match tcp.try_write(piece) {
            Ok(written) => piece = &piece[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
