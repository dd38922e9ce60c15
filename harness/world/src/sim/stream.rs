//! One end of a simulated connection: the link's state plus the timer that waits for the next arrival.

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::time::{Instant, Sleep};

use super::link::{Conn, End, other};

pub(crate) struct SimStream {
    conn: Arc<Conn>,
    end: End,
    start: Instant,
    read_timer: Timer,
    write_timer: Timer,
}

/// Made on first use: without latency no stream needs one.
type Timer = Option<Pin<Box<Sleep>>>;

/// Waits until `at` nanoseconds after `start`.
fn wait(timer: &mut Timer, start: Instant, at: u64, cx: &mut Context<'_>) -> Poll<()> {
    let deadline = start + Duration::from_nanos(at);
    let timer = match timer {
        Some(timer) => {
            if timer.deadline() != deadline {
                timer.as_mut().reset(deadline);
            }
            timer
        }
        None => timer.insert(Box::pin(tokio::time::sleep_until(deadline))),
    };
    timer.as_mut().poll(cx)
}

impl SimStream {
    pub(super) fn new(conn: Arc<Conn>, end: End, start: Instant) -> SimStream {
        SimStream { conn, end, start, read_timer: None, write_timer: None }
    }

    pub(super) fn conn(&self) -> &Conn {
        &self.conn
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.conn.addrs[self.end]
    }

    pub(crate) fn peer_addr(&self) -> SocketAddr {
        self.conn.addrs[other(self.end)]
    }

    pub(crate) fn conn_id(&self) -> u64 {
        self.conn.id
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // Takes part in the runtime's cooperative budget: two busy ends must not starve the other nodes.
        let coop = ready!(tokio::task::coop::poll_proceed(cx));
        loop {
            match self.conn.poll_read(self.end, cx, buf) {
                Ok(result) => {
                    coop.made_progress();
                    return Poll::Ready(result);
                }
                Err(None) => return Poll::Pending,
                Err(Some(at)) => ready!(wait(&mut self.read_timer, self.start, at, cx)),
            }
        }
    }

    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let coop = ready!(tokio::task::coop::poll_proceed(cx));
        loop {
            match self.conn.poll_write(self.end, cx, slices) {
                Ok(result) => {
                    coop.made_progress();
                    return Poll::Ready(result);
                }
                Err(None) => return Poll::Pending,
                Err(Some(at)) => ready!(wait(&mut self.write_timer, self.start, at, cx)),
            }
        }
    }

    pub(crate) fn shutdown(&mut self) -> io::Result<()> {
        self.conn.shutdown(self.end)
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.conn.close(self.end);
    }
}
