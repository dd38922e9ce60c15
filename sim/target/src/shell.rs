//! The pump around [`Session`]: accept, read, act, write. All waiting is here, all rules are elsewhere.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use sanbench_array::{ArrayHandle, DeviceId, Gate};
use sanbench_wire::frame::Outbox;
use sanbench_wire::pdu::AsyncEvent;
use sanbench_wire::scsi::sense::Asc;
use sanbench_world::{Env, Listener, Stream, Task};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::config::{Redirect, TargetConfig};
use crate::login::PortalContext;
use crate::registry::{Event, Mailbox, Registry};
use crate::session::{Session, SessionParts};
use crate::surroundings::NodeSurroundings;

/// Room that a read offers at first, bytes. It doubles when a read fills it, so that idle connections stay small.
const READ_CHUNK: usize = 8 * 1024;
/// Room that a read offers at most, bytes.
const READ_CHUNK_MAX: usize = 256 * 1024;
/// How long the last answers of a connection may take to leave.
const LINGER: Duration = Duration::from_secs(5);
/// How often the array is looked at for the sake of silent sessions.
const WATCH: Duration = Duration::from_secs(1);
/// Pause after an accept that failed for want of resources.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// When a timer is due, and the sleep until then.
type Alarm = (Duration, Pin<Box<dyn Future<Output = ()> + Send>>);

/// A target in front of an array. Clones are the same target.
#[derive(Clone, Debug)]
pub struct Target {
    parts: SessionParts,
    connections: Arc<AtomicUsize>,
    /// Power cycles of the array at the last look.
    power: Arc<AtomicU64>,
}

impl Target {
    /// A target that listens nowhere yet.
    pub fn new(array: ArrayHandle, config: TargetConfig) -> Target {
        let power = Arc::new(AtomicU64::new(array.lock().power_generation()));
        let parts = SessionParts { array, registry: Registry::new(), config: Arc::new(config) };
        Target { parts, connections: Arc::new(AtomicUsize::new(0)), power }
    }

    /// Serves each listener in a task of the node. The listener's address decides which of the array's portals it is; one
    /// that is none of them counts as the portal of its place in the list.
    pub fn spawn(&self, env: &Env, listeners: Vec<Listener>) -> Vec<Task<()>> {
        let serve = |(place, listener)| env.spawn(accept(env.clone(), self.clone(), listener, place));
        let tasks = listeners.into_iter().enumerate().map(serve).collect();
        env.spawn(watch(env.clone(), self.clone()));
        env.spawn(hear(self.clone()));
        tasks
    }

    /// Asks the initiators of a portal (`None`: of all portals) to log out within a time, seconds at the finest; those that
    /// stay are told that the session is dropped, and it is (RFC 7143 section 11.9, events 1 and 3). How many were asked.
    pub fn request_logout(&self, portal: Option<SocketAddr>, within: Duration) -> usize {
        self.parts.registry.tell(|at| portal.is_none_or(|only| only == at), Event::RequestLogout(within))
    }

    /// Asks the initiators of a portal (`None`: of all portals) to negotiate parameters anew within a time (event 4).
    pub fn request_negotiation(&self, portal: Option<SocketAddr>, within: Duration) -> usize {
        self.parts.registry.tell(|at| portal.is_none_or(|only| only == at), Event::RequestNegotiation(within))
    }

    /// Tells the initiators of a portal (`None`: of all portals) that their connection (event 2) or with `session` their
    /// session (event 3) is dropped, and drops it. How many it were.
    pub fn drop_connections(&self, portal: Option<SocketAddr>, session: bool) -> usize {
        let how = if session { AsyncEvent::SESSION_DROPPED } else { AsyncEvent::CONNECTION_DROPPED };
        self.parts.registry.tell(|at| portal.is_none_or(|only| only == at), Event::Farewell(how))
    }

    /// Tells every initiator that sees the device of a unit attention at once (event 0, sense data). The unit attention
    /// itself is queued by what caused it.
    pub fn announce(&self, device: DeviceId, asc: Asc) -> usize {
        self.parts.registry.tell(|_| true, Event::Announce(device, asc))
    }

    /// From now on a portal sends normal sessions elsewhere, or no longer does with `None`; this comes before
    /// [`TargetConfig::redirects`]. Sessions that run go on.
    pub fn set_redirect(&self, portal: SocketAddr, to: Option<Redirect>) {
        self.parts.registry.set_redirect(portal, to);
    }

    /// Looks at the array: sessions on portals that are down end (with a word of farewell where the portal was disabled), and
    /// all sessions when the power was off. Commands notice
    /// by themselves; a watch of the pump calls this each second for sessions that are silent.
    pub fn observe_array(&self) {
        let array = self.parts.array.lock();
        let power = array.power_generation();
        let (mut down, mut disabled) = (Vec::new(), Vec::new());
        for (at, portal) in array.portals().iter().enumerate() {
            match (array.portal_is_up(at), portal.enabled) {
                (true, _) => {}
                (false, true) => down.push(portal.address),
                (false, false) => disabled.push(portal.address),
            }
        }
        drop(array);
        if self.power.swap(power, Ordering::Relaxed) != power {
            self.parts.registry.drop_all();
            return;
        }
        if !down.is_empty() {
            self.parts.registry.tell(|at| down.contains(&at), Event::Close);
        }
        if !disabled.is_empty() {
            let farewell = Event::Farewell(AsyncEvent::SESSION_DROPPED);
            self.parts.registry.tell(|at| disabled.contains(&at), farewell);
        }
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

/// Wakes sessions whose writes wait for another array when something has come from it.
async fn hear(target: Target) {
    let mut stirs = target.parts.array.stirs();
    loop {
        stirs.next().await;
        target.parts.registry.stir();
    }
}

/// Ends silent sessions whose portal or array went away.
async fn watch(env: Env, target: Target) {
    loop {
        env.sleep(WATCH).await;
        target.observe_array();
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
                let is_up = {
                    let array = target.parts.array.lock();
                    array.portal_is_up(usize::from(portal.relative_port - array.port_base()) - 1)
                };
                if !is_up {
                    // The portal is disabled, or the controller behind it is down: nobody is there.
                    continue;
                }
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
        let (count, config) = (&target.connections, &target.parts.config);
        let before = count.fetch_add(1, Ordering::Relaxed);
        // Those that have not logged in cannot take every place.
        let logins = before.saturating_sub(target.parts.registry.len());
        if before < config.max_connections && logins < config.max_logins {
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
    let number = u16::try_from(at + 1).unwrap_or(u16::MAX).saturating_add(array.port_base());
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
    let mut link = Link { stream, input: BytesMut::new(), chunk: READ_CHUNK };
    let mut timer: Option<Alarm> = None;
    let (mut moved, mut last_moved) = (false, Duration::ZERO);
    loop {
        let now = env.now();
        if std::mem::take(&mut moved) {
            last_moved = now;
        }
        session.handle_events();
        session.handle(now, &mut link.input);
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
        let may = May {
            read: session.wants_input() && !held,
            write: !held && !session.out().is_empty(),
            spin: now.saturating_sub(last_moved) < parts.config.spin,
        };
        let kept = parts.array.gate().zip(session.awaits());
        match link.turn(session.out(), &mailbox, &mut timer, may, kept).await {
            Turn::Moved => moved = true,
            Turn::Looked => {}
            Turn::Gone => return,
            Turn::Timer => {
                timer = None;
                link.slim();
                session.out().slim();
                session.handle_timer(env.now());
            }
        }
    }
    if let Some(until) = session.output_held_until(env.now()) {
        env.sleep_until(until).await;
    }
    // Whether the last words arrive is the peer's business; they only must not wait for ever.
    let stream = &mut link.stream;
    let _ = env.timeout(LINGER, async { stream.write_all_buf(session.out()).await }).await;
    let _ = env.timeout(LINGER, stream.shutdown()).await;
}

/// What ended a turn of the pump.
enum Turn {
    /// Bytes came or went.
    Moved,
    /// Something may have changed without bytes.
    Looked,
    /// The timer fired.
    Timer,
    /// The connection is gone.
    Gone,
}

/// What a turn of the pump may do.
#[derive(Clone, Copy)]
struct May {
    read: bool,
    write: bool,
    /// Look again soon instead of sleeping: another command is likely to follow within microseconds, and waking a
    /// sleeping processor takes longer than that.
    spin: bool,
}

/// The stream and what was read from it.
struct Link {
    stream: Stream,
    input: BytesMut,
    /// Room that the next read offers, bytes.
    chunk: usize,
}

impl Link {
    /// Moves bytes one way, or waits until they can move or something else happens.
    async fn turn(
        &mut self,
        out: &mut Outbox,
        mailbox: &Mailbox,
        timer: &mut Option<Alarm>,
        may: May,
        kept: Option<(&Arc<Gate>, u64)>,
    ) -> Turn {
        let Link { stream, input, chunk } = self;
        if may.read {
            input.reserve(*chunk);
        }
        let mut ring = pin!(mailbox.ring.notified());
        let mut again = pin!(tokio::task::yield_now());
        // Reading comes first: answers go out together when the input runs dry or the output is full.
        poll_fn(|cx| {
            if may.read
                && let Poll::Ready(read) = pin!(stream.read_buf(input)).poll(cx)
            {
                return Poll::Ready(match read {
                    Ok(0) | Err(_) => Turn::Gone,
                    Ok(n) => {
                        if n >= *chunk {
                            *chunk = (*chunk * 2).min(READ_CHUNK_MAX);
                        }
                        Turn::Moved
                    }
                });
            }
            if may.write
                && let Poll::Ready(written) = pin!(stream.write_buf(out)).poll(cx)
            {
                return Poll::Ready(if written.is_ok() { Turn::Moved } else { Turn::Gone });
            }
            if ring.as_mut().poll(cx).is_ready()
                || kept.is_some_and(|(gate, promise)| gate.poll(promise, cx).is_ready())
            {
                return Poll::Ready(Turn::Looked);
            }
            if let Some((_, sleep)) = timer
                && sleep.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(Turn::Timer);
            }
            if may.spin && again.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Turn::Looked);
            }
            Poll::Pending
        })
        .await
    }

    /// Gives the room of busier times back. Called when a timer fires, which a busy connection keeps postponing.
    fn slim(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
            self.chunk = READ_CHUNK;
        }
    }
}
