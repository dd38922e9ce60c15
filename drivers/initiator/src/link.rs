//! The pump of one connection: bytes and time in, bytes out, answers to whoever waits for them.
//!
//! [`Link::open`] connects and logs in; then one task of the node owns the stream and drives a [`Session`]. All whole
//! PDUs of a read are handled before the answers leave in one vectored write. A link never comes back: when
//! it is down, [`crate::portal`] makes a new one.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sanbench_wire::frame::{self, Decoded, FrameLimits};
use sanbench_wire::pdu::{AsyncEvent, LoginResponse, Pdu, TaskResponse};
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::{Digests, Outbox};
use sanbench_world::{Env, Fault, Stream};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Notify, oneshot, watch};

use crate::config::{CrashHook, HostConfig, SessionConfig};
use crate::error::LoginError;
use crate::lock;
use crate::login::{LoggedIn, Login, LoginPlan, LoginStep};
use crate::negotiate::Parameters;
use crate::session::{CommandEnd, Completion, Event, Limits, Request, Session, Ticket};

/// Bytes read at once from a stream.
const READ_CHUNK: usize = 128 * 1024;
/// Data segment accepted before MaxRecvDataSegmentLength is negotiated (RFC 7143 section 13.12).
const LOGIN_SEGMENT: usize = 8192;

/// Why a command did not come to an answer of the device server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkError {
    /// It never left this host.
    NotSent(String),
    /// It was at the target, or on the way, when the connection ended: it may still be applied until the session is
    /// known to be dead.
    Lost(String),
    /// It took too long and was aborted; the target confirmed, so it will not be applied any later.
    Aborted,
    /// The target answered with a service failure.
    Failed(String),
}

enum Waiter {
    Command(oneshot::Sender<CommandEnd>),
    Manage(oneshot::Sender<TaskResponse>),
    Text(oneshot::Sender<Bytes>),
}

struct State {
    session: Session,
    waiting: BTreeMap<Ticket, Waiter>,
    next: Ticket,
    kill: Option<String>,
    /// The target asked for a logout: nothing new is taken, what is open may end.
    draining: bool,
    closed: bool,
}

struct Inner {
    state: Mutex<State>,
    wake: Notify,
    down: watch::Sender<Option<Down>>,
    parameters: Parameters,
    manage_timeout: Duration,
}

/// How a link ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Down {
    /// Why, for people.
    pub why: String,
    /// The target confirmed the logout, so that nothing of the session is left there.
    pub logged_out: bool,
}

/// A connection in the full feature phase. Cheap to clone.
#[derive(Clone)]
pub struct Link(Arc<Inner>);

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("down", &*self.0.down.borrow()).finish_non_exhaustive()
    }
}

impl Link {
    /// Connects to `portal`, logs in within the time limit of `config` (redirections included), starts the pump.
    ///
    /// # Errors
    /// Every reason why there is no session.
    pub async fn open(
        env: &Env,
        host: &HostConfig,
        plan: &LoginPlan,
        portal: SocketAddr,
        source: Option<IpAddr>,
    ) -> Result<Link, LoginError> {
        let config = &host.session;
        let mut lose = false;
        match env.fault("initiator.login") {
            None => {}
            Some(Fault::Fail) => return Err(LoginError::Io("injected fault".to_owned())),
            Some(Fault::Delay(d)) => env.sleep(d).await,
            Some(Fault::DropReply) => lose = true,
            Some(Fault::CrashNode) => return crash_here(env, &host.on_crash, "initiator.login").await,
        }
        let work = log_in(env, config, plan, portal, source);
        let (stream, input, login) =
            env.timeout(config.login_timeout, work).await.map_err(|_| LoginError::Timeout)??;
        if lose {
            return Err(LoginError::Timeout);
        }
        let parameters = login.parameters.clone();
        let limits = Limits {
            queue_depth: config.queue_depth.max(1),
            ping_interval: config.ping_interval,
            ping_timeout: config.ping_timeout,
        };
        let inner = Arc::new(Inner {
            state: Mutex::new(State {
                session: Session::new(login, limits, env.now()),
                waiting: BTreeMap::new(),
                next: 1,
                kill: None,
                draining: false,
                closed: false,
            }),
            wake: Notify::new(),
            down: watch::Sender::new(None),
            parameters,
            manage_timeout: config.manage_timeout,
        });
        env.spawn(pump(env.clone(), inner.clone(), stream, input));
        Ok(Link(inner))
    }

    /// The agreed parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.0.parameters
    }

    /// True until the connection ends.
    pub fn is_up(&self) -> bool {
        self.0.down.borrow().is_none()
    }

    /// Waits for the end of the connection.
    pub async fn down(&self) -> Down {
        let mut down = self.0.down.subscribe();
        let gone = || Down { why: "the host went down".to_owned(), logged_out: false };
        match down.wait_for(Option::is_some).await {
            Ok(value) => value.clone().unwrap_or_else(gone),
            Err(_) => gone(),
        }
    }

    /// Runs one command to its end. After `limit` it is aborted: ABORT TASK, then LOGICAL UNIT RESET, then the connection
    /// is dropped.
    ///
    /// # Errors
    /// [`LinkError`]; a CHECK CONDITION is no error here.
    pub async fn run(&self, env: &Env, request: Request, limit: Duration) -> Result<Completion, LinkError> {
        let lun = request.lun;
        let (ticket, mut end) = self.submit(request)?;
        match env.timeout(limit, &mut end).await {
            Ok(end) => return judge(end.ok()),
            Err(_) if lock(&self.0.state).session.withdraw(ticket) => {
                self.0.wake.notify_one();
                return Err(LinkError::NotSent("the command window stayed closed".to_owned()));
            }
            Err(_) => {}
        }
        env.note("initiator", || json!({"what": "command-timeout", "lun": lun.number()}));
        if let Some(answer) = self.abort(env, ticket).await
            && answer == TaskResponse::COMPLETE
        {
            return judge(end.await.ok());
        }
        if let Ok(done) = end.try_recv() {
            return judge(Some(done));
        }
        if self.reset_lun(env, lun).await == Some(TaskResponse::COMPLETE) {
            return judge(end.await.ok());
        }
        self.kill("a command timed out and could not be aborted");
        judge(end.await.ok())
    }

    fn submit(&self, request: Request) -> Result<(Ticket, oneshot::Receiver<CommandEnd>), LinkError> {
        let (sender, receiver) = oneshot::channel();
        let ticket = {
            let mut state = lock(&self.0.state);
            if state.closed || state.draining {
                return Err(LinkError::NotSent("the session is down".to_owned()));
            }
            let ticket = state.ticket(Waiter::Command(sender));
            state.session.submit(ticket, request);
            ticket
        };
        self.0.wake.notify_one();
        Ok((ticket, receiver))
    }

    async fn abort(&self, env: &Env, command: Ticket) -> Option<TaskResponse> {
        self.managed(env, |session, ticket| session.abort(ticket, command)).await
    }

    /// Resets a logical unit. `None`: no answer in time.
    pub async fn reset_lun(&self, env: &Env, lun: Lun) -> Option<TaskResponse> {
        self.managed(env, |session, ticket| {
            session.reset_lun(ticket, lun);
            true
        })
        .await
    }

    async fn managed(
        &self,
        env: &Env,
        start: impl FnOnce(&mut Session, Ticket) -> bool,
    ) -> Option<TaskResponse> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = lock(&self.0.state);
            if state.closed {
                return None;
            }
            let ticket = state.ticket(Waiter::Manage(sender));
            if !start(&mut state.session, ticket) {
                state.waiting.remove(&ticket);
                return None;
            }
        }
        self.0.wake.notify_one();
        env.timeout(self.0.manage_timeout, receiver).await.ok()?.ok()
    }

    /// Exchanges text (discovery sessions).
    ///
    /// # Errors
    /// [`LinkError::Lost`] when the connection ends first or no answer comes within `limit`.
    pub async fn text(&self, env: &Env, text: Bytes, limit: Duration) -> Result<Bytes, LinkError> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = lock(&self.0.state);
            if state.closed {
                return Err(LinkError::NotSent("the session is down".to_owned()));
            }
            let ticket = state.ticket(Waiter::Text(sender));
            state.session.text(ticket, text);
        }
        self.0.wake.notify_one();
        match env.timeout(limit, receiver).await {
            Ok(Ok(text)) => Ok(text),
            _ => Err(LinkError::Lost("no text response".to_owned())),
        }
    }

    /// Logs out and waits for the end of the connection; without an answer the connection is dropped.
    pub async fn logout(&self, env: &Env) -> Down {
        lock(&self.0.state).session.logout();
        self.0.wake.notify_one();
        if let Ok(down) = env.timeout(self.0.manage_timeout, self.down()).await {
            return down;
        }
        self.kill("no answer to the logout");
        self.down().await
    }

    /// Drops the connection without a word.
    pub fn kill(&self, why: &str) {
        lock(&self.0.state).kill = Some(why.to_owned());
        self.0.wake.notify_one();
    }
}

fn judge(end: Option<CommandEnd>) -> Result<Completion, LinkError> {
    match end {
        Some(CommandEnd::Completed(completion)) => Ok(completion),
        Some(CommandEnd::Failed(why)) => Err(LinkError::Failed(why)),
        Some(CommandEnd::Aborted) => Err(LinkError::Aborted),
        Some(CommandEnd::Withdrawn) => Err(LinkError::NotSent("the connection ended".to_owned())),
        None => Err(LinkError::Lost("the connection ended with the command in flight".to_owned())),
    }
}

impl State {
    fn ticket(&mut self, waiter: Waiter) -> Ticket {
        let ticket = self.next;
        self.next += 1;
        self.waiting.insert(ticket, waiter);
        ticket
    }

    /// Hands events to their waiters. `Some` when the connection is over.
    fn deliver(&mut self) -> Option<Down> {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Command(ticket, end) => {
                    if let Some(Waiter::Command(sender)) = self.waiting.remove(&ticket) {
                        let _ = sender.send(end);
                    }
                }
                Event::Managed(ticket, response) => {
                    if let Some(Waiter::Manage(sender)) = self.waiting.remove(&ticket) {
                        let _ = sender.send(response);
                    }
                }
                Event::Text(ticket, text) => {
                    if let Some(Waiter::Text(sender)) = self.waiting.remove(&ticket) {
                        let _ = sender.send(text);
                    }
                }
                Event::LoggedOut(code) => {
                    return Some(Down { why: format!("logged out: {code}"), logged_out: code.0 == 0 });
                }
                Event::Announced(AsyncEvent::LOGOUT_REQUESTED) => self.draining = true,
                Event::Announced(event @ (AsyncEvent::CONNECTION_DROPPED | AsyncEvent::SESSION_DROPPED)) => {
                    return Some(Down { why: event.to_string(), logged_out: false });
                }
                Event::Announced(_) => {}
            }
        }
        if self.draining && self.session.busy() == 0 {
            self.session.logout();
        }
        None
    }
}

/// For a fault plan that wants the node to crash here: nothing more happens; whoever drives the run crashes the node.
pub(crate) async fn crash_here<T>(env: &Env, hook: &CrashHook, point: &'static str) -> T {
    env.note("fault", || json!({"what": "crash-node", "point": point}));
    if let Some(crash) = &hook.0 {
        crash();
    }
    std::future::pending().await
}

async fn pump(env: Env, inner: Arc<Inner>, mut stream: Stream, mut input: BytesMut) {
    let down = run(&env, &inner, &mut stream, &mut input).await;
    // The stream goes first: once the link is known to be down, none of its bytes may be added any more.
    drop(stream);
    let waiting = {
        let mut state = lock(&inner.state);
        state.closed = true;
        state.session.withdraw_all();
        let _ = state.deliver();
        std::mem::take(&mut state.waiting)
    };
    // Whoever still waits learns that the connection is lost.
    drop(waiting);
    inner.down.send_replace(Some(down));
}

async fn run(env: &Env, inner: &Inner, stream: &mut Stream, input: &mut BytesMut) -> Down {
    let broken = |why: String| Down { why, logged_out: false };
    let mut notified = pin!(inner.wake.notified());
    let mut timer = Box::pin(env.sleep_until(lock(&inner.state).session.next_timeout()));
    std::future::poll_fn(|cx| {
        let mut state = lock(&inner.state);
        loop {
            if let Some(why) = state.kill.take() {
                return Poll::Ready(broken(why));
            }
            while !state.session.outbox().is_empty() {
                let sent = pin!(stream.write_buf(state.session.outbox())).poll(cx);
                match sent {
                    Poll::Ready(Ok(0)) => return Poll::Ready(broken("the stream takes no bytes".to_owned())),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(broken(error.to_string())),
                    Poll::Pending => break,
                }
            }
            input.reserve(READ_CHUNK);
            let received = pin!(stream.read_buf(input)).poll(cx);
            match received {
                Poll::Ready(Ok(0)) => return Poll::Ready(broken("closed by the target".to_owned())),
                Poll::Ready(Ok(_)) => {
                    if let Err(error) = state.session.handle_input(env.now(), input) {
                        let _ = state.deliver();
                        return Poll::Ready(broken(error.to_string()));
                    }
                    if let Some(down) = state.deliver() {
                        return Poll::Ready(down);
                    }
                    continue;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(broken(error.to_string())),
                Poll::Pending => {}
            }
            if notified.as_mut().poll(cx).is_ready() {
                notified.set(inner.wake.notified());
                if let Some(down) = state.deliver() {
                    return Poll::Ready(down);
                }
                continue;
            }
            if timer.as_mut().poll(cx).is_ready() {
                if let Err(error) = state.session.handle_timeout(env.now()) {
                    return Poll::Ready(broken(error.to_string()));
                }
                timer.set(env.sleep_until(state.session.next_timeout()));
                continue;
            }
            return Poll::Pending;
        }
    })
    .await
}

async fn log_in(
    env: &Env,
    config: &SessionConfig,
    plan: &LoginPlan,
    portal: SocketAddr,
    source: Option<IpAddr>,
) -> Result<(Stream, BytesMut, LoggedIn), LoginError> {
    let mut at = portal;
    for _ in 0..=config.max_redirects {
        let mut stream = match source {
            // A redirection leads elsewhere: the source was chosen for the first portal only.
            Some(source) if at == portal => env.connect_from(source, at).await?,
            _ => env.connect(at).await?,
        };
        let mut input = BytesMut::new();
        match negotiate(&mut stream, &mut input, config, plan).await? {
            Outcome::Done(login) => return Ok((stream, input, *login)),
            Outcome::Redirect(address) => at = resolve(env, &address).await?,
        }
    }
    Err(LoginError::Redirect(format!("more than {} redirections", config.max_redirects)))
}

enum Outcome {
    Done(Box<LoggedIn>),
    Redirect(String),
}

async fn negotiate(
    stream: &mut Stream,
    input: &mut BytesMut,
    config: &SessionConfig,
    plan: &LoginPlan,
) -> Result<Outcome, LoginError> {
    let mut login = Login::new(config.clone(), plan.clone());
    let limits = FrameLimits { max_data_segment: LOGIN_SEGMENT, max_ahs: 0 };
    let mut out = Outbox::new();
    loop {
        while let Some(request) = login.poll_request() {
            Pdu::from(request).push_to(&mut out, Digests::default());
        }
        stream.write_all_buf(&mut out).await?;
        let raw = loop {
            match frame::decode(input, limits, Digests::default())
                .map_err(|e| LoginError::Protocol(e.to_string()))?
            {
                Decoded::Pdu(raw) => break raw,
                Decoded::NeedMore(_) => {
                    input.reserve(LOGIN_SEGMENT);
                    if stream.read_buf(input).await? == 0 {
                        return Err(LoginError::Io("closed by the target during login".to_owned()));
                    }
                }
            }
        };
        let response = LoginResponse::parse(&raw).map_err(|e| LoginError::Protocol(e.to_string()))?;
        match login.handle_response(&response)? {
            LoginStep::Continue => {}
            LoginStep::Done(done) => return Ok(Outcome::Done(done)),
            LoginStep::Redirect { address } => return Ok(Outcome::Redirect(address)),
        }
    }
}

/// Reads a TargetAddress: `host[:port][,tag]`, IPv6 in brackets (RFC 7143 section 13.8).
pub(crate) fn split_address(address: &str) -> Option<(&str, u16)> {
    let host_port = address.split_once(',').map_or(address, |(a, _)| a);
    let (host, port) = match host_port.rfind(':') {
        Some(at) if !host_port[at..].contains(']') => (&host_port[..at], host_port[at + 1..].parse().ok()?),
        _ => (host_port, 3260),
    };
    (!host.is_empty() && host.len() <= 255).then_some((host, port))
}

async fn resolve(env: &Env, address: &str) -> Result<SocketAddr, LoginError> {
    let shown = || address.chars().take(80).collect::<String>();
    let (host, port) = split_address(address).ok_or_else(|| LoginError::Redirect(shown()))?;
    let found =
        env.lookup(host, port).await.map_err(|e| LoginError::Redirect(format!("{}: {e}", shown())))?;
    found.into_iter().next().ok_or_else(|| LoginError::Redirect(shown()))
}
