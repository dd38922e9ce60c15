//! The end of a live connection that a node holds.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::conn::{Call, Conn, Fate};
use super::gate::Gates;
use super::inward::Inward;
use super::tap::Tap;

pub(crate) struct LiveStream {
    /// Gone when the connection was ended from outside.
    tcp: Option<TcpStream>,
    conn: Arc<Conn>,
    /// What has been read and is not due yet; only where the way was ever slow.
    inward: Option<Box<Inward>>,
    /// Present when the world captures.
    tap: Option<Tap>,
}

impl LiveStream {
    pub(super) fn new(
        tcp: TcpStream,
        gates: &Arc<Gates>,
        node: &Arc<str>,
        connected: bool,
    ) -> io::Result<LiveStream> {
        tcp.set_nodelay(true)?;
        let (local, peer) = (tcp.local_addr()?, tcp.peer_addr()?);
        let recorder = &gates.recorder;
        let id = recorder.next_conn();
        let tap = recorder.is_capturing().then(|| Tap::new(recorder.clone(), id, local, peer, connected));
        let conn = Conn::new(gates, id, node.clone(), local, peer);
        Ok(LiveStream { tcp: Some(tcp), conn, inward: None, tap })
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.conn.local
    }

    pub(crate) fn peer_addr(&self) -> SocketAddr {
        self.conn.peer
    }

    pub(crate) fn conn_id(&self) -> u64 {
        self.conn.id
    }

    /// The connection was ended from outside: its socket goes, and this is the answer to every call.
    fn ended<T>(&mut self, kind: io::ErrorKind, fate: Fate) -> Poll<io::Result<T>> {
        if let Some(tcp) = self.tcp.take() {
            self.conn.let_go(tcp, fate);
        }
        Poll::Ready(Err(kind.into()))
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let had_room = buf.remaining() > 0;
        let polled = match (self.conn.is_odd(), &mut self.tcp) {
            (false, Some(tcp)) => match Pin::new(tcp).poll_read(cx, buf) {
                // Something may have happened to the connection between the look and the wait.
                Poll::Pending if !self.conn.reader_waits(cx) => self.read_oddly(cx, buf),
                polled => polled,
            },
            _ => self.read_oddly(cx, buf),
        };
        if let (Some(tap), Poll::Ready(result)) = (&mut self.tap, &polled) {
            match result {
                Ok(()) if had_room => tap.received(&buf.filled()[before..]),
                Ok(()) => {}
                Err(_) => tap.broken(),
            }
        }
        polled
    }

    /// As the way of the connection allows.
    fn read_oddly(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (rules, call) = self.conn.reading(cx);
        match call {
            Call::Ended(kind, fate) => return self.ended(kind, fate),
            Call::Answer(answer) => return answer,
            Call::Plain => {}
        }
        let Some(tcp) = &mut self.tcp else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        if rules.inward.is_plain() && self.inward.as_ref().is_none_or(|inward| inward.is_empty()) {
            return Pin::new(tcp).poll_read(cx, buf);
        }
        let inward = self.inward.get_or_insert_with(|| Box::new(Inward::new(self.conn.losses("loss.back"))));
        inward.poll_read(cx, tcp, &self.conn.recorder, rules.inward, buf)
    }

    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let polled = self.write_with(cx, &[IoSlice::new(data)], |tcp, cx| tcp.poll_write(cx, data));
        if let (Some(tap), Poll::Ready(Ok(written))) = (&mut self.tap, &polled) {
            tap.sent(&[IoSlice::new(data)], *written);
        }
        polled
    }

    pub(crate) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = self.write_with(cx, slices, |tcp, cx| tcp.poll_write_vectored(cx, slices));
        if let (Some(tap), Poll::Ready(Ok(written))) = (&mut self.tap, &polled) {
            tap.sent(slices, *written);
        }
        polled
    }

    /// Writes as the way of the connection allows; `plainly` is the write where nothing is wrong.
    fn write_with(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
        plainly: impl Fn(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let (false, Some(tcp)) = (self.conn.is_odd(), &mut self.tcp) {
            match plainly(Pin::new(tcp), cx) {
                Poll::Pending if !self.conn.writer_waits(cx) => {}
                polled => return polled,
            }
        }
        let call = match &self.tcp {
            Some(tcp) => self.conn.writing(cx, tcp, slices),
            None => Call::Answer(Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))),
        };
        match (call, &mut self.tcp) {
            (Call::Answer(answer), _) => answer,
            (Call::Ended(kind, fate), _) => self.ended(kind, fate),
            (Call::Plain, Some(tcp)) => plainly(Pin::new(tcp), cx),
            (Call::Plain, None) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    pub(crate) fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A TCP socket has nothing to flush, and what a way keeps is no business of its owner.
        Poll::Ready(Ok(()))
    }

    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(tap) = &mut self.tap {
            tap.finished(true);
        }
        // Who closes an ended connection is content.
        let Some(tcp) = &mut self.tcp else { return Poll::Ready(Ok(())) };
        if !self.conn.is_odd() {
            return Pin::new(tcp).poll_shutdown(cx);
        }
        match self.conn.finishing(tcp) {
            Call::Plain => Pin::new(tcp).poll_shutdown(cx),
            Call::Answer(answer) => answer,
            Call::Ended(kind, fate) => self.ended(kind, fate),
        }
    }
}

impl Drop for LiveStream {
    fn drop(&mut self) {
        if let Some(tcp) = self.tcp.take()
            && self.conn.is_odd()
        {
            self.conn.dropped(tcp);
        }
    }
}
