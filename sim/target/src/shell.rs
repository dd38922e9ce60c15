//! The pump around [`Session`]: accept, read, act, write. All waiting is here, all rules are elsewhere.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use sanbench_array::ArrayHandle;
use sanbench_world::{Env, Listener, Stream, Task};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::config::TargetConfig;
use crate::login::PortalContext;
use crate::registry::Registry;
use crate::session::{Session, SessionParts};
use crate::surroundings::NodeSurroundings;

/// Room that a read offers at first, bytes. It doubles when a read fills it, so that idle connections stay small.
const READ_CHUNK: usize = 8 * 1024;
/// Room that a read offers at most, bytes.
const READ_CHUNK_MAX: usize = 256 * 1024;
/// How long the last answers of a connection may take to leave.
const LINGER: Duration = Duration::from_secs(5);
/// Pause after an accept that failed for want of resources.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// When a timer is due, and the sleep until then.
type Alarm = (Duration, Pin<Box<dyn Future<Output = ()> + Send>>);

/// A target in front of an array. Clones are the same target.
#[derive(Clone, Debug)]
pub struct Target {
    parts: SessionParts,
    connections: Arc<AtomicUsize>,
}

impl Target {
    /// A target that listens nowhere yet.
    pub fn new(array: ArrayHandle, config: TargetConfig) -> Target {
        let parts = SessionParts { array, registry: Registry::new(), config: Arc::new(config) };
        Target { parts, connections: Arc::new(AtomicUsize::new(0)) }
    }

    /// Serves each listener in a task of the node. The listener's address decides which of the array's portals it is; one
    /// that is none of them counts as the portal of its place in the list.
    pub fn spawn(&self, env: &Env, listeners: Vec<Listener>) -> Vec<Task<()>> {
        let serve = |(place, listener)| env.spawn(accept(env.clone(), self.clone(), listener, place));
        listeners.into_iter().enumerate().map(serve).collect()
    }

    /// Sessions in full feature phase, discovery sessions included.
    pub fn sessions(&self) -> usize {
        self.parts.registry.len()
    }

    /// Ends every session at once, without a word to the initiators.
    pub fn drop_sessions(&self) {
        self.parts.registry.drop_all();
    }

    /// Connections being served, those still in login included.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// Serves until the node goes down.
pub async fn serve(env: Env, array: ArrayHandle, listeners: Vec<Listener>, config: TargetConfig) {
    for task in Target::new(array, config).spawn(&env, listeners) {
        // A task that ended with its node leaves nothing to do here.
        let _ = task.await;
    }
}

async fn accept(env: Env, target: Target, mut listener: Listener, place: usize) {
    loop {
        match listener.accept().await {
            Ok(stream) => {
                let Some(slot) = Slot::take(&target) else {
                    tracing::warn!(peer = %stream.peer_addr(), "connection limit reached");
                    continue;
                };
                let portal = portal_of(&target.parts.array, &listener, &stream, place);
                let parts = target.parts.clone();
                let connection = connection(env.clone(), stream, parts, portal);
                env.spawn(async move {
                    connection.await;
                    drop(slot);
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NetworkDown => return,
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                env.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One of the connections that may exist at a time.
struct Slot(Arc<AtomicUsize>);

impl Slot {
    fn take(target: &Target) -> Option<Slot> {
        let count = &target.connections;
        if count.fetch_add(1, Ordering::Relaxed) < target.parts.config.max_connections {
            return Some(Slot(Arc::clone(count)));
        }
        count.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn portal_of(array: &ArrayHandle, listener: &Listener, stream: &Stream, place: usize) -> PortalContext {
    let array = array.lock();
    let portals = array.portals();
    let own = |address| portals.iter().position(|portal| portal.address == address);
    let at = own(stream.local_addr()).or_else(|| own(listener.local_addr())).unwrap_or(place);
    let number = u16::try_from(at + 1).unwrap_or(u16::MAX);
    PortalContext {
        local: stream.local_addr(),
        tpgt: portals.get(at).map_or(number, |portal| portal.tpgt),
        relative_port: number,
    }
}

/// Serves one connection to its end.
async fn connection(env: Env, stream: Stream, parts: SessionParts, portal: PortalContext) {
    let around = NodeSurroundings { env: env.clone(), on_crash: parts.config.on_crash.clone() };
    let mut session = Session::new(&parts, Box::new(around), portal, env.now());
    let mailbox = session.mailbox();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut input = BytesMut::new();
    let mut chunk = READ_CHUNK;
    let mut timer: Option<Alarm> = None;
    loop {
        let now = env.now();
        session.handle_events();
        session.handle(now, &mut input);
        if session.closed().is_some() {
            break;
        }
        // A timer that fires too early only looks again, so it is made anew only when something is due sooner.
        if let Some(due) = session.next_timer()
            && timer.as_ref().is_none_or(|(at, _)| due < *at)
        {
            let env = env.clone();
            timer = Some((due, Box::pin(async move { env.sleep_until(due).await })));
        }
        let held = session.output_held_until(now).is_some();
        let may_read = session.wants_input() && !held;
        let may_write = !held && !session.out().is_empty();
        if may_read {
            input.reserve(chunk);
        }
        // Reading comes first: answers go out together when the input runs dry or the output is full.
        tokio::select! {
            biased;
            read = reader.read_buf(&mut input), if may_read => match read {
                Ok(0) | Err(_) => return,
                Ok(n) if n >= chunk => chunk = (chunk * 2).min(READ_CHUNK_MAX),
                Ok(_) => {}
            },
            written = writer.write_buf(session.out()), if may_write => if written.is_err() {
                return;
            },
            () = mailbox.ring.notified() => {}
            () = fire(&mut timer) => {
                timer = None;
                session.handle_timer(env.now());
            }
        }
    }
    if let Some(until) = session.output_held_until(env.now()) {
        env.sleep_until(until).await;
    }
    // Whether the last words arrive is the peer's business; they only must not wait for ever.
    let _ = env.timeout(LINGER, async { writer.write_all_buf(session.out()).await }).await;
    let _ = env.timeout(LINGER, writer.shutdown()).await;
}

/// Waits for the timer; for ever when there is none.
async fn fire(timer: &mut Option<Alarm>) {
    match timer {
        Some((_, sleep)) => sleep.as_mut().await,
        None => std::future::pending().await,
    }
}
