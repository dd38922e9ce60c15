//! The accept loop: every connection is one hyper HTTP/1.1 connection in a task of the node.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
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
use tokio::sync::Semaphore;
use tower::ServiceExt;

use crate::handle::{DropConnection, Peer, router};
use crate::{RestConfig, RestState};

/// Pause after a failed accept (out of descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Failed accepts in a row after which the listener counts as gone.
const ACCEPT_FAILURES: u32 = 200;
/// Most bytes of a request head.
const HEAD_BYTES: usize = 64 * 1024;
/// Most headers of a request.
const HEADERS: usize = 64;

/// Why a connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is dropped by a fault")]
struct Dropped;

/// Runs the management API on `listener` until it is aborted (or its listener dies); its connections end with it.
pub async fn serve(env: Env, array: ArrayHandle, listener: Listener, config: RestConfig) {
    serve_state(RestState::new(env, array, config), listener).await;
}

/// As [`serve`], for a state that the caller keeps a handle of.
pub(crate) async fn serve_state(state: RestState, mut listener: Listener) {
    let env = state.inner().env.clone();
    let slots = Arc::new(Semaphore::new(state.inner().config.connection_limit.max(1)));
    let idle = state.inner().config.connection_idle;
    let router = router(state);
    let mut connections = Connections(Vec::new());
    let mut failures = 0;
    while failures < ACCEPT_FAILURES {
        // A full house leaves newcomers in the backlog.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok(stream) => stream,
            Err(_) => {
                failures += 1;
                env.sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        failures = 0;
        let (node, router) = (env.clone(), router.clone());
        connections.add(env.spawn(async move {
            connection(node, router, stream, idle).await;
            drop(slot);
        }));
    }
}

/// The tasks of the connections; they end when the server does.
struct Connections(Vec<Task<()>>);

impl Connections {
    fn add(&mut self, task: Task<()>) {
        self.0.retain(|task| !task.is_finished());
        self.0.push(task);
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

/// What the idle watch of a connection looks at.
#[derive(Default)]
struct Activity {
    /// Requests being worked on.
    running: AtomicUsize,
    /// When the last one began or ended, in nanoseconds of the node's clock.
    last: AtomicU64,
}

impl Activity {
    fn stamp(&self, env: &Env) {
        self.last.store(u64::try_from(env.now().as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

async fn connection(env: Env, router: Router, stream: Stream, idle: Duration) {
    let activity = Arc::new(Activity::default());
    activity.stamp(&env);
    let peer = Peer(stream.peer_addr());
    let service = {
        let (env, activity) = (env.clone(), Arc::clone(&activity));
        service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            let (env, router, activity) = (env.clone(), router.clone(), Arc::clone(&activity));
            activity.running.fetch_add(1, Ordering::Relaxed);
            activity.stamp(&env);
            async move {
                let answer: Result<Response, Infallible> = router.oneshot(request.map(Body::new)).await;
                activity.running.fetch_sub(1, Ordering::Relaxed);
                activity.stamp(&env);
                let Ok(response) = answer;
                if response.extensions().get::<DropConnection>().is_some() {
                    Err(Dropped)
                } else {
                    Ok(response)
                }
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
        .serve_connection(TokioIo::new(stream), service);
    let mut http = pin!(http);
    loop {
        let since = Duration::from_nanos(activity.last.load(Ordering::Relaxed));
        // A request being worked on has limits of its own; the watch then looks again later.
        let wait = if activity.running.load(Ordering::Relaxed) > 0 {
            idle
        } else {
            (since + idle).saturating_sub(env.now())
        };
        if wait.is_zero() {
            return;
        }
        // The connection ends by itself: closed by the client, broken, malformed, or dropped by a fault.
        if env.timeout(wait, http.as_mut()).await.is_ok() {
            return;
        }
    }
}
