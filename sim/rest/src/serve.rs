//! The accept loop: every connection is one hyper HTTP/1.1 connection in a task of the node, with or without TLS.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sanbench_array::ArrayHandle;
use sanbench_world::{Env, Listener, Stream, Task};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::handle::{CloseAfter, DropConnection, Peer, router};
use crate::{RestConfig, RestState};

/// Pause after a failed accept (out of descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Failed accepts in a row after which the listener counts as gone.
const ACCEPT_FAILURES: u32 = 200;
/// Most bytes of a request head.
const HEAD_BYTES: usize = 64 * 1024;
/// Most headers of a request.
const HEADERS: usize = 64;
/// When the house is full, a connection unused for this long gives its place to a newcomer.
const SPARE_AFTER: Duration = Duration::from_secs(5);
/// How often a full house looks for such a connection.
const SPARE_LOOK: Duration = Duration::from_secs(1);

/// Why a connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is dropped by a fault")]
struct Dropped;

/// Runs the management API on `listener` until it is aborted (or its listener dies); its connections end with it.
pub async fn serve(env: Env, array: ArrayHandle, listener: Listener, config: RestConfig) {
    serve_state(RestState::new(env, array, config), listener).await;
}

/// As [`serve`], for a state that the caller keeps a handle of.
pub async fn serve_state(state: RestState, mut listener: Listener) {
    let env = state.inner().env.clone();
    let slots = Arc::new(Semaphore::new(state.inner().config.connection_limit.max(1)));
    let router = router(state.clone());
    let mut connections = Connections(Vec::new());
    let mut failures = 0;
    while failures < ACCEPT_FAILURES {
        // A full house leaves newcomers in the backlog until a place is free or can be spared.
        let slot = loop {
            match env.timeout(SPARE_LOOK, Arc::clone(&slots).acquire_owned()).await {
                Ok(Ok(slot)) => break slot,
                Ok(Err(_)) => return,
                Err(_) => connections.spare_one(env.now()),
            }
        };
        let stream = match listener.accept().await {
            Ok(stream) => stream,
            Err(_) => {
                failures += 1;
                env.sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        failures = 0;
        let activity = Arc::new(Activity::new(env.clone()));
        let (state, router, own) = (state.clone(), router.clone(), Arc::clone(&activity));
        let task = env.spawn(async move {
            connection(state, router, stream, own).await;
            drop(slot);
        });
        connections.add(task, activity);
    }
}

/// The tasks of the connections; they end when the server does.
struct Connections(Vec<(Task<()>, Arc<Activity>)>);

impl Connections {
    fn add(&mut self, task: Task<()>, activity: Arc<Activity>) {
        self.0.retain(|(task, _)| !task.is_finished());
        self.0.push((task, activity));
    }

    /// Ends the connection that has been idle longest, if that is long enough.
    fn spare_one(&mut self, now: Duration) {
        let idle = self.0.iter().filter(|(task, _)| !task.is_finished());
        let idle = idle.filter_map(|(task, activity)| Some((activity.idle_since()?, task)));
        if let Some((since, task)) = idle.min_by_key(|(since, _)| *since)
            && now.saturating_sub(since) >= SPARE_AFTER
        {
            task.abort();
        }
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        for (task, _) in &self.0 {
            task.abort();
        }
    }
}

/// No time: what [`Activity::head`] says while no request head is arriving.
const NEVER: u64 = u64::MAX;

/// What the watch of a connection looks at.
struct Activity {
    env: Env,
    /// Requests being worked on.
    running: AtomicUsize,
    /// When the last one began or ended, in nanoseconds of the node's clock.
    last: AtomicU64,
    /// When the first byte of a request head came that is not complete yet.
    head: AtomicU64,
    /// The next request is not taken any more.
    closing: AtomicBool,
}

impl Activity {
    fn new(env: Env) -> Self {
        let activity = Self {
            env,
            running: AtomicUsize::new(0),
            last: AtomicU64::new(0),
            head: AtomicU64::new(NEVER),
            closing: AtomicBool::new(false),
        };
        activity.stamp();
        activity
    }

    fn now(&self) -> u64 {
        u64::try_from(self.env.now().as_nanos()).unwrap_or(NEVER - 1)
    }

    fn stamp(&self) {
        self.last.store(self.now(), Ordering::Relaxed);
    }

    fn begin(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
        self.head.store(NEVER, Ordering::Relaxed);
        self.stamp();
    }

    fn end(&self) {
        self.running.fetch_sub(1, Ordering::Relaxed);
        self.stamp();
    }

    /// Bytes came in.
    fn heard(&self) {
        if self.running.load(Ordering::Relaxed) == 0 && self.head.load(Ordering::Relaxed) == NEVER {
            self.head.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Since when nothing is being worked on; none while something is.
    fn idle_since(&self) -> Option<Duration> {
        let busy = self.running.load(Ordering::Relaxed) > 0;
        (!busy).then(|| Duration::from_nanos(self.last.load(Ordering::Relaxed)))
    }

    /// How long the watch may sleep; zero when the connection has overstayed.
    fn patience(&self, limits: &RestConfig) -> Duration {
        let now = self.env.now();
        // A request being worked on has limits of its own; the watch then looks again later.
        let Some(idle) = self.idle_since() else { return limits.connection_idle };
        let idle = (idle + limits.connection_idle).saturating_sub(now);
        match self.head.load(Ordering::Relaxed) {
            NEVER => idle.min(limits.head_limit),
            since => idle.min((Duration::from_nanos(since) + limits.head_limit).saturating_sub(now)),
        }
    }
}

/// A stream that tells the watch when bytes come in.
struct Heard<T> {
    io: T,
    activity: Arc<Activity>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Heard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.activity.heard();
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Heard<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, data)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// One connection, from its TLS handshake, if it has one, to its end.
async fn connection(state: RestState, router: Router, stream: Stream, activity: Arc<Activity>) {
    let peer = Peer(stream.peer_addr());
    let config = &state.inner().config;
    match &config.tls {
        None => http(config, router, stream, peer, activity).await,
        Some(identity) => {
            let handshake = TlsAcceptor::from(Arc::clone(&identity.0)).accept(stream);
            match activity.env.timeout(config.handshake_limit, handshake).await {
                Ok(Ok(stream)) => {
                    activity.stamp();
                    http(config, router, stream, peer, activity).await;
                }
                // Strangers, scanners and clients that do not trust us: nothing that an answer could help.
                Ok(Err(_)) | Err(_) => state.inner().tally.handshake_failed(),
            }
        }
    }
}

async fn http<T>(config: &RestConfig, router: Router, stream: T, peer: Peer, activity: Arc<Activity>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = {
        let activity = Arc::clone(&activity);
        service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            let (router, activity) = (router.clone(), Arc::clone(&activity));
            activity.begin();
            async move {
                if activity.closing.load(Ordering::Relaxed) {
                    return Err(Dropped);
                }
                let answer: Result<Response, Infallible> = router.oneshot(request.map(Body::new)).await;
                activity.end();
                let Ok(response) = answer;
                if response.extensions().get::<DropConnection>().is_some() {
                    return Err(Dropped);
                }
                if response.extensions().get::<CloseAfter>().is_some() {
                    activity.closing.store(true, Ordering::Relaxed);
                }
                Ok(response)
            }
        })
    };
    // Head and body leave in one write: clients with delayed acknowledgements would stall otherwise. No Date header: it
    // would put the wall clock on the wire.
    let http = hyper::server::conn::http1::Builder::new()
        .auto_date_header(false)
        .keep_alive(true)
        .writev(false)
        .max_headers(HEADERS)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(Heard { io: stream, activity: Arc::clone(&activity) }), service);
    let mut http = pin!(http);
    loop {
        let wait = activity.patience(config);
        if wait.is_zero() {
            return;
        }
        // The connection ends by itself: closed by the client, broken, malformed, or dropped by a fault.
        if activity.env.timeout(wait, http.as_mut()).await.is_ok() {
            return;
        }
    }
}
