//! What a connection has read over a slow way and its owner may not have yet.

use std::collections::VecDeque;
use std::future::Future as _;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::conn::WINDOW;
use super::gate::Rule;
use crate::dice::Dice;
use crate::loss::{RTO, retransmissions};
use crate::recorder::Recorder;

/// Bytes read from the kernel at once.
const PIECE: usize = 16 << 10;

pub(super) struct Inward {
    /// When it is due (nanoseconds of the world), and what it is. An end stays here for ever.
    queue: VecDeque<(u64, Arrival)>,
    held: usize,
    /// An end has come: nothing follows.
    over: bool,
    timer: Option<Pin<Box<Sleep>>>,
    losses: Dice,
}

enum Arrival {
    Data(Bytes),
    End,
    Broken(ErrorKind),
}

impl Inward {
    pub(super) fn new(losses: Dice) -> Inward {
        Inward { queue: VecDeque::new(), held: 0, over: false, timer: None, losses }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Gives what is due, and takes what the kernel has.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        tcp: &mut TcpStream,
        recorder: &Recorder,
        rule: Rule,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let now = recorder.now_ns();
            self.fill(cx, tcp, now, rule);
            // The kernel will wake the owner when more comes.
            let Some((due, arrival)) = self.queue.front_mut() else { return Poll::Pending };
            if rule.is_late() && *due > now {
                let at = recorder.start() + std::time::Duration::from_nanos(*due);
                let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
                if timer.deadline() != at {
                    timer.as_mut().reset(at);
                }
                match timer.as_mut().poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) => continue,
                }
            }
            return Poll::Ready(match arrival {
                Arrival::End => Ok(()),
                Arrival::Broken(kind) => Err((*kind).into()),
                Arrival::Data(bytes) => {
                    let most = if rule.segment == 0 { usize::MAX } else { rule.segment };
                    let piece = bytes.split_to(bytes.len().min(buf.remaining()).min(most));
                    if !bytes.has_remaining() {
                        self.queue.pop_front();
                    }
                    self.held -= piece.len();
                    buf.put_slice(&piece);
                    Ok(())
                }
            });
        }
    }

    /// Takes what the kernel has, as far as the window goes.
    fn fill(&mut self, cx: &mut Context<'_>, tcp: &mut TcpStream, now: u64, rule: Rule) {
        while !self.over && self.held < WINDOW {
            let mut space = vec![0; PIECE];
            let mut piece = ReadBuf::new(&mut space);
            let arrival = match Pin::new(&mut *tcp).poll_read(cx, &mut piece) {
                Poll::Pending => return,
                Poll::Ready(Err(error)) => Arrival::Broken(error.kind()),
                Poll::Ready(Ok(())) if piece.filled().is_empty() => Arrival::End,
                Poll::Ready(Ok(())) => Arrival::Data(Bytes::copy_from_slice(piece.filled())),
            };
            match &arrival {
                Arrival::Data(bytes) => self.held += bytes.len(),
                Arrival::End | Arrival::Broken(_) => self.over = true,
            }
            let late = rule.delay_ns.saturating_add(retransmissions(&mut self.losses, rule.loss, RTO));
            self.queue.push_back((now.saturating_add(late), arrival));
        }
    }
}
