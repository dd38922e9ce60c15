//! Dialling, listening, and the loop around one connection. All waiting of the link is here.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use sanbench_array::{ArrayHandle, Secret};
use sanbench_world::{Env, Fault, Listener, Stream, Wrong};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;

use crate::frame::{Codec, FrameError, HELLO_BYTES, Hello, PROOF_BYTES};

/// Bytes that wait to be written before more messages are asked for.
const OUT_ENOUGH: usize = 512 << 10;
/// Room that a read offers, bytes.
const READ_CHUNK: usize = 128 << 10;
/// Connections that may be greeting at a time.
const STRANGERS: usize = 8;
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How a link behaves.
#[derive(Clone)]
pub struct LinkConfig {
    /// What both arrays know and nobody else; never shown by `Debug`.
    pub secret: Secret,
    /// Pause between two attempts to connect.
    pub retry: Duration,
    /// A connection attempt and the exchange of hellos must be over within this time.
    pub patience: Duration,
    /// Called when a fault point says that the node must crash here.
    pub on_crash: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl LinkConfig {
    /// With that secret and the usual times.
    pub fn new(secret: Secret) -> Self {
        Self { secret, retry: Duration::from_secs(1), patience: Duration::from_secs(5), on_crash: None }
    }
}

impl fmt::Debug for LinkConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkConfig").field("retry", &self.retry).finish_non_exhaustive()
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Array(#[from] sanbench_array::pair::LinkError),
    #[error("the other array took too long")]
    Slow,
    #[error("the array has given it up")]
    GivenUp,
    #[error("a fault says so")]
    Fault,
    #[error("the array cannot make anything durable any more")]
    Medium,
}

/// One end of a link. Clones are the same end.
#[derive(Clone)]
struct LinkEnd {
    env: Env,
    array: ArrayHandle,
    remote: u64,
    config: LinkConfig,
    /// Number of the connection that the array means; older ones have nothing to say any more.
    current: Arc<AtomicU64>,
}

/// Keeps a connection to the array that listens at `to`, for the remote device of that id, until the node goes down.
pub async fn dial(env: Env, array: ArrayHandle, remote: u64, to: SocketAddr, config: LinkConfig) {
    let end = LinkEnd { env, array, remote, config, current: Arc::default() };
    loop {
        let attempt = end.env.timeout(end.config.patience, end.env.connect(to)).await;
        if let Ok(Ok(stream)) = attempt {
            end.connection(stream, true).await;
        }
        end.env.sleep(end.config.retry).await;
    }
}

/// Serves the array that dials here, as the remote device of that id, until the node goes down. A newer connection takes
/// the place of an older one.
pub async fn listen(env: Env, array: ArrayHandle, remote: u64, mut listener: Listener, config: LinkConfig) {
    let end = LinkEnd { env, array, remote, config, current: Arc::default() };
    let strangers = Arc::new(Semaphore::new(STRANGERS));
    loop {
        match listener.accept().await {
            Ok(stream) => {
                // A stranger holds a place until it has proved itself or has been sent away.
                let Ok(place) = Arc::clone(&strangers).try_acquire_owned() else { continue };
                let own = end.clone();
                end.env.spawn(async move {
                    own.connection(stream, false).await;
                    drop(place);
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NetworkDown => return,
            Err(_) => end.env.sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Hellos and proofs.
async fn introduce<S>(stream: &mut S, env: &Env, secret: &Secret, dials: bool) -> Result<Codec, End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut own = Hello { nonce: [0; 32] };
    env.entropy(&mut own.nonce);
    stream.write_all(&own.emit()).await?;
    let mut hello = [0; HELLO_BYTES];
    stream.read_exact(&mut hello).await?;
    let codec = Codec::new(secret, dials, own, Hello::parse(&hello)?);
    stream.write_all(&codec.proof()).await?;
    let mut proof = [0; PROOF_BYTES];
    stream.read_exact(&mut proof).await?;
    codec.check(&proof)?;
    Ok(codec)
}

impl LinkEnd {
    /// Serves one connection to its end.
    async fn connection(&self, mut stream: Stream, dials: bool) {
        let (env, remote) = (&self.env, self.remote);
        let introduced =
            env.timeout(self.config.patience, introduce(&mut stream, env, &self.config.secret, dials)).await;
        let codec = match introduced.map_err(|_| End::Slow).flatten() {
            Ok(codec) => codec,
            Err(end) => {
                tracing::warn!(%end, peer = %stream.peer_addr(), "no link");
                env.note("link", || json!({"event": "refused", "why": end.to_string()}));
                return;
            }
        };
        let number = {
            let mut array = self.array.lock();
            if array.link_up(env.now(), remote).is_err() {
                return;
            }
            self.current.fetch_add(1, Ordering::Relaxed) + 1
        };
        env.note("link", || json!({"event": "up", "remote": remote}));
        let end = self.talk(stream, codec, number).await;
        let mut array = self.array.lock();
        if self.current.load(Ordering::Relaxed) == number {
            array.link_down(env.now(), remote);
        }
        drop(array);
        env.note("link", || json!({"event": "down", "remote": remote, "why": end.to_string()}));
    }

    /// Moves messages until the connection ends; says why.
    async fn talk(&self, mut stream: Stream, mut codec: Codec, number: u64) -> End {
        let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
        let mut stirs = self.array.stirs();
        let mut close = false;
        loop {
            let timer = match self.exchange(&mut codec, &mut input, &mut out, number, &mut close).await {
                Ok(timer) => timer,
                Err(end) => return end,
            };
            if close && out.is_empty() {
                return End::Fault;
            }
            input.reserve(READ_CHUNK);
            let (mut stir, mut sleep) = (pin!(stirs.next()), pin!(self.env.sleep_until(timer)));
            // Whichever is possible: two ends that both only write would stand still.
            let turn = poll_fn(|cx| {
                if let Poll::Ready(read) = pin!(stream.read_buf(&mut input)).poll(cx) {
                    let end = |n| if n == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) };
                    return Poll::Ready(read.and_then(end));
                }
                if !out.is_empty()
                    && let Poll::Ready(written) = pin!(stream.write_buf(&mut out)).poll(cx)
                {
                    return Poll::Ready(written.map(|_| ()));
                }
                if stir.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Ok(()));
                }
                sleep.as_mut().poll(cx).map(Ok)
            });
            if let Err(error) = turn.await {
                return End::Io(error);
            }
        }
    }

    /// Hears what has come and fetches what is to be said; gives the time to look again at the latest.
    async fn exchange(
        &self,
        codec: &mut Codec,
        input: &mut BytesMut,
        out: &mut BytesMut,
        number: u64,
        close: &mut bool,
    ) -> Result<Duration, End> {
        while let Some(message) = codec.decode(input)? {
            self.meant(number, |array| array.receive(self.env.now(), self.remote, message))??;
        }
        while out.len() < OUT_ENOUGH && !*close {
            let next = self.meant(number, |array| array.poll_link(self.env.now(), self.remote))?;
            let Some(mut message) = next else { break };
            let mut torn = false;
            match self.env.fault(&format!("link.send:{}", message.name())) {
                None => {}
                Some(Fault::Answer(Wrong::Garbage)) => torn = !message.distort(),
                Some(Fault::Fail | Fault::Answer(_) | Fault::Message(_)) => return Err(End::Fault),
                Some(Fault::Delay(delay)) => self.env.sleep(delay).await,
                Some(Fault::DropReply) => *close = true,
                Some(Fault::CrashNode) => {
                    if let Some(crash) = &self.config.on_crash {
                        crash();
                    }
                    return Err(End::Fault);
                }
            }
            codec.encode(&message, out)?;
            if let (true, Some(last)) = (torn, out.last_mut()) {
                *last ^= 0xff;
            }
        }
        // What is said here may acknowledge what is not durable yet: it leaves when it is.
        if !out.is_empty()
            && let Some(gate) = self.array.gate()
        {
            let promised = self.meant(number, |array| array.promised())?;
            gate.settled(promised).await.map_err(|_| End::Medium)?;
        }
        if out.is_empty() && out.capacity() > OUT_ENOUGH {
            *out = BytesMut::new();
        }
        let timer = self.meant(number, |array| array.link_timer(self.remote))?;
        timer.ok_or(End::GivenUp)
    }

    /// Does something with the array, if it still means this connection.
    fn meant<T>(&self, number: u64, act: impl FnOnce(&mut sanbench_array::Array) -> T) -> Result<T, End> {
        let mut array = self.array.lock();
        if self.current.load(Ordering::Relaxed) != number || !array.link_is_up(self.remote) {
            return Err(End::GivenUp);
        }
        Ok(act(&mut array))
    }
}
