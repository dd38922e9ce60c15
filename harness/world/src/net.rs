//! One stream and one listener type for both makes.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::live::{LiveListener, LiveStream};
use crate::sim::{SimListener, SimStream};

/// A connected byte stream with TCP's semantics; small writes are not delayed (`TCP_NODELAY`).
///
/// Dropping it closes both directions: the peer reads what was sent, then end of file. When this side left
/// received bytes unread, the peer sees a reset instead, as with real TCP. Split it with [`tokio::io::split`].
pub struct Stream(pub(crate) StreamMake);

pub(crate) enum StreamMake {
    Sim(SimStream),
    Live(LiveStream),
}

impl Stream {
    /// Address of this end.
    pub fn local_addr(&self) -> SocketAddr {
        match &self.0 {
            StreamMake::Sim(stream) => stream.local_addr(),
            StreamMake::Live(stream) => stream.local_addr(),
        }
    }

    /// Address of the other end.
    pub fn peer_addr(&self) -> SocketAddr {
        match &self.0 {
            StreamMake::Sim(stream) => stream.peer_addr(),
            StreamMake::Live(stream) => stream.peer_addr(),
        }
    }

    /// Number of the connection in its world, from 1; the same on both ends in the simulation. Captured segments
    /// carry it.
    pub fn conn_id(&self) -> u64 {
        match &self.0 {
            StreamMake::Sim(stream) => stream.conn_id(),
            StreamMake::Live(stream) => stream.conn_id(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            StreamMake::Sim(stream) => stream.poll_read(cx, buf),
            StreamMake::Live(stream) => stream.poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            StreamMake::Sim(stream) => stream.poll_write(cx, &[IoSlice::new(data)]),
            StreamMake::Live(stream) => stream.poll_write(cx, data),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            StreamMake::Sim(stream) => stream.poll_write(cx, slices),
            StreamMake::Live(stream) => stream.poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            StreamMake::Sim(_) => Poll::Ready(Ok(())),
            StreamMake::Live(stream) => stream.poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            StreamMake::Sim(stream) => Poll::Ready(stream.shutdown()),
            StreamMake::Live(stream) => stream.poll_shutdown(cx),
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream#{}({} -> {})", self.conn_id(), self.local_addr(), self.peer_addr())
    }
}

/// Accepts connections on one address. Dropping it frees the address and resets connections not yet accepted.
pub struct Listener(pub(crate) ListenerMake);

pub(crate) enum ListenerMake {
    Sim(SimListener),
    Live(LiveListener),
}

impl Listener {
    /// The next connection.
    ///
    /// # Errors
    /// What the operating system reports; in the simulation only that the listener's node went down.
    pub async fn accept(&mut self) -> io::Result<Stream> {
        match &mut self.0 {
            ListenerMake::Sim(listener) => {
                std::future::poll_fn(|cx| listener.poll_accept(cx)).await.map(|s| Stream(StreamMake::Sim(s)))
            }
            ListenerMake::Live(listener) => listener.accept().await.map(|s| Stream(StreamMake::Live(s))),
        }
    }

    /// The address it listens on, with the port that was picked.
    pub fn local_addr(&self) -> SocketAddr {
        match &self.0 {
            ListenerMake::Sim(listener) => listener.local_addr(),
            ListenerMake::Live(listener) => listener.local_addr(),
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({})", self.local_addr())
    }
}
