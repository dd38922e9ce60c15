//! Simulated listeners: a bounded backlog of connections that came up.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::net::Fabric;
use super::stream::SimStream;
use crate::lock;

/// Connections waiting to be accepted; further SYNs are dropped, and the client tries again.
const BACKLOG: usize = 1024;

pub(super) struct Door {
    state: Mutex<DoorState>,
}

#[derive(Default)]
struct DoorState {
    backlog: VecDeque<SimStream>,
    waker: Option<Waker>,
    closed: bool,
}

impl Door {
    pub(super) fn new() -> Door {
        Door { state: Mutex::default() }
    }

    /// Whether a SYN is taken.
    pub(super) fn has_room(&self) -> bool {
        let state = lock(&self.state);
        !state.closed && state.backlog.len() < BACKLOG
    }

    /// Queues a connection for accept; resets it when there is no room.
    pub(super) fn offer(&self, stream: SimStream) {
        let (waker, refused) = {
            let mut state = lock(&self.state);
            if state.closed || state.backlog.len() >= BACKLOG {
                (None, Some(stream))
            } else {
                state.backlog.push_back(stream);
                (state.waker.take(), None)
            }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        if let Some(stream) = refused {
            stream.conn().reset();
        }
    }

    /// No more connections. The waiting ones are handed to the caller, to be dropped without any lock.
    pub(super) fn close(&self) -> VecDeque<SimStream> {
        let (backlog, waker) = {
            let mut state = lock(&self.state);
            state.closed = true;
            (std::mem::take(&mut state.backlog), state.waker.take())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        backlog
    }
}

pub(crate) struct SimListener {
    pub(super) fabric: Arc<Fabric>,
    pub(super) node: Arc<str>,
    pub(super) addr: SocketAddr,
    pub(super) door: Arc<Door>,
}

impl SimListener {
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<SimStream>> {
        let mut state = lock(&self.door.state);
        if let Some(stream) = state.backlog.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        if state.closed {
            return Poll::Ready(Err(io::Error::new(
                ErrorKind::NetworkDown,
                "the node of the listener is down",
            )));
        }
        let stale = state.waker.replace(cx.waker().clone());
        drop(state);
        drop(stale);
        Poll::Pending
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.fabric.unlisten(&self.node, self.addr, &self.door);
        for stream in self.door.close() {
            stream.conn().reset();
        }
    }
}
