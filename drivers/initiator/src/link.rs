//! The pump of one connection: bytes and time in, bytes out, answers to whoever waits for them.
//!
//! [`Link::open`] connects and logs in; then one task of the node owns the stream and drives a [`Session`]. All whole
//! PDUs of a read are handled before the answers leave in one vectored write. A link never comes back: when
//! it is down, [`crate::portal`] makes a new one.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sanbench_wire::frame::{self, Decoded, FrameLimits};
use sanbench_wire::pdu::{LoginResponse, Pdu, TaskFunction, TaskResponse};
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::{Digests, Outbox};
use sanbench_world::watch;
use sanbench_world::{Env, Fault, Stream};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Notify, oneshot};

use crate::chap::ChapHash;
use crate::config::{CrashHook, HostConfig, SessionConfig};
use crate::error::LoginError;
use crate::lock;
use crate::login::{LoggedIn, Login, LoginPlan, LoginStep};
use crate::negotiate::Parameters;
use crate::session::{Announcement, CommandEnd, Completion, Event, Limits, Request, Session, Ticket};
use crate::tolerance::Tolerated;

/// Bytes read at once from a stream.
const READ_CHUNK: usize = 128 * 1024;
/// Room that a read needs at least, bytes.
const READ_LEAST: usize = 16 * 1024;
/// Data segment accepted before MaxRecvDataSegmentLength is negotiated (RFC 7143 section 13.12).
const LOGIN_SEGMENT: usize = 8192;
/// Announcements kept for whoever asks for them; older ones go.
const MAX_NOTICES: usize = 64;

/// Why a command did not come to an answer of the device server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkError {
    /// No byte of it left this host, or the target refused to take it.
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
    closed: bool,
}

type OnNotice = Box<dyn Fn(&Announcement) + Send + Sync>;

struct Inner {
    state: Mutex<State>,
    wake: Notify,
    down: watch::Sender<Option<Down>>,
    parameters: Parameters,
    manage_timeout: Duration,
    address: SocketAddr,
    moved: Option<SocketAddr>,
    notices: Mutex<VecDeque<Announcement>>,
    on_notice: Mutex<Option<OnNotice>>,
}

/// How a link ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Down {
    /// Why, for people.
    pub why: String,
    /// The target confirmed the logout, so that nothing of the session is left there.
    pub logged_out: bool,
    /// The target wants no login before this has passed, when it said so (Time2Wait of a logout response or of an asynchronous
    /// message); else what was negotiated holds.
    pub wait: Option<Duration>,
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
            Some(Fault::Fail | Fault::Answer(_) | Fault::Message(_)) => {
                return Err(LoginError::Io("injected fault".to_owned()));
            }
            Some(Fault::Delay(d)) => env.sleep(d).await,
            Some(Fault::DropReply) => lose = true,
            Some(Fault::CrashNode) => return crash_here(env, &host.on_crash, "initiator.login").await,
        }
        let work = log_in(env, config, plan, portal, source);
        let LoggedInAt { stream, input, login, address, moved } =
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
                closed: false,
            }),
            wake: Notify::new(),
            down: watch::Sender::new(None),
            parameters,
            manage_timeout: config.manage_timeout,
            address,
            moved,
            notices: Mutex::default(),
            on_notice: Mutex::new(None),
        });
        env.spawn(pump(env.clone(), inner.clone(), stream, input));
        Ok(Link(inner))
    }

    /// The agreed parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.0.parameters
    }

    /// Where the connection leads: the portal, or where it redirected us.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Where the target has moved for good, when it said so during this login (status 0102h).
    pub fn moved(&self) -> Option<SocketAddr> {
        self.0.moved
    }

    /// Departures from the RFC that were let pass on this connection.
    pub fn tolerated(&self) -> Tolerated {
        *lock(&self.0.state).session.tolerated()
    }

    /// Calls `hook` with every announcement of the target, those that came before included. The hook must not call back
    /// into the link.
    pub fn on_notice(&self, hook: impl Fn(&Announcement) + Send + Sync + 'static) {
        *lock(&self.0.on_notice) = Some(Box::new(hook));
        self.0.tell_notices();
    }

    /// True until the connection ends.
    pub fn is_up(&self) -> bool {
        self.0.down.borrow().is_none()
    }

    /// Waits for the end of the connection.
    pub async fn down(&self) -> Down {
        let mut down = self.0.down.subscribe();
        let gone = || Down { why: "the host went down".to_owned(), logged_out: false, wait: None };
        match down.wait_for(Option::is_some).await {
            Ok(value) => value.unwrap_or_else(gone),
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
        let (ticket, end) = self.submit(request)?;
        let mut running = Running { link: self, env, lun, ticket, end: Some(end) };
        let answer = running.end_within(limit).await;
        running.end = None;
        answer
    }

    /// Aborts a command: ABORT TASK, then LOGICAL UNIT RESET, then the connection is dropped.
    async fn take_back(
        &self,
        env: &Env,
        lun: Lun,
        ticket: Ticket,
        end: &mut oneshot::Receiver<CommandEnd>,
    ) -> Result<Completion, LinkError> {
        if let Some(answer) = self.abort(env, ticket).await
            && answer == TaskResponse::COMPLETE
        {
            return judge(end.await.ok());
        }
        match end.try_recv() {
            Ok(done) => return judge(Some(done)),
            // The connection ended meanwhile. A closed channel must not be asked again.
            Err(oneshot::error::TryRecvError::Closed) => return judge(None),
            Err(oneshot::error::TryRecvError::Empty) => {}
        }
        if self.reset_lun(env, lun).await == Some(TaskResponse::COMPLETE) {
            return judge(end.await.ok());
        }
        self.kill("a command timed out and could not be aborted");
        judge(end.await.ok())
    }

    /// Takes a command back of which no byte has left this host.
    fn withdraw(&self, ticket: Ticket) -> bool {
        let withdrawn = lock(&self.0.state).session.withdraw(ticket);
        if withdrawn {
            self.0.wake.notify_one();
        }
        withdrawn
    }

    fn submit(&self, request: Request) -> Result<(Ticket, oneshot::Receiver<CommandEnd>), LinkError> {
        let (sender, receiver) = oneshot::channel();
        let ticket = {
            let mut state = lock(&self.0.state);
            if state.closed {
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

    /// Runs a task management function that names no task: ABORT TASK SET, CLEAR TASK SET, or a reset. `None`: no answer in
    /// time.
    pub async fn manage(&self, env: &Env, function: TaskFunction, lun: Lun) -> Option<TaskResponse> {
        self.managed(env, |session, ticket| {
            session.manage(ticket, function, lun);
            true
        })
        .await
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

/// A command that somebody waits for. Whoever stops waiting leaves a task at the target, and a place in the queue of the session
/// taken: it is aborted then.
struct Running<'a> {
    link: &'a Link,
    env: &'a Env,
    lun: Lun,
    ticket: Ticket,
    /// Where its end arrives; nothing once that is known.
    end: Option<oneshot::Receiver<CommandEnd>>,
}

impl Running<'_> {
    async fn end_within(&mut self, limit: Duration) -> Result<Completion, LinkError> {
        let Some(end) = &mut self.end else { return judge(None) };
        if let Ok(end) = self.env.timeout(limit, &mut *end).await {
            return judge(end.ok());
        }
        if self.link.withdraw(self.ticket) {
            return Err(LinkError::NotSent("the command window stayed closed".to_owned()));
        }
        self.env.note("initiator", || json!({"what": "command-timeout", "lun": self.lun.number()}));
        self.link.take_back(self.env, self.lun, self.ticket, end).await
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let Some(mut end) = self.end.take() else { return };
        if !matches!(end.try_recv(), Err(oneshot::error::TryRecvError::Empty)) {
            return;
        }
        if self.link.withdraw(self.ticket) {
            return;
        }
        let (link, env, lun, ticket) = (self.link.clone(), self.env.clone(), self.lun, self.ticket);
        self.env.spawn(async move {
            let _ = link.take_back(&env, lun, ticket, &mut end).await;
        });
    }
}

fn judge(end: Option<CommandEnd>) -> Result<Completion, LinkError> {
    match end {
        Some(CommandEnd::Completed(completion)) => Ok(completion),
        Some(CommandEnd::Failed(why)) => Err(LinkError::Failed(why)),
        Some(CommandEnd::Aborted) => Err(LinkError::Aborted),
        Some(CommandEnd::Withdrawn) => Err(LinkError::NotSent("the connection ended".to_owned())),
        Some(CommandEnd::Lost) | None => {
            Err(LinkError::Lost("the connection ended with the command in flight".to_owned()))
        }
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
    fn deliver(&mut self, notices: &Mutex<VecDeque<Announcement>>) -> Option<Down> {
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
                Event::LoggedOut { response, wait } => {
                    let why = format!("logged out: {response}");
                    return Some(Down { why, logged_out: response.0 == 0, wait: Some(wait) });
                }
                Event::Announced(Announcement::Dropped { event, wait }) => {
                    return Some(Down { why: event.to_string(), logged_out: false, wait: Some(wait) });
                }
                Event::Announced(other) => {
                    let mut notices = lock(notices);
                    if notices.len() >= MAX_NOTICES {
                        notices.pop_front();
                    }
                    notices.push_back(other);
                }
            }
        }
        None
    }
}

impl Inner {
    /// Gives waiting announcements to the hook, if there is one; the state's lock is not held.
    fn tell_notices(&self) {
        let hook = lock(&self.on_notice);
        let Some(hook) = &*hook else { return };
        let waiting = std::mem::take(&mut *lock(&self.notices));
        for notice in &waiting {
            hook(notice);
        }
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
        state.session.end();
        let _ = state.deliver(&inner.notices);
        std::mem::take(&mut state.waiting)
    };
    // Whoever still waits learns that the connection is lost.
    drop(waiting);
    inner.down.send_replace(Some(down));
}

async fn run(env: &Env, inner: &Inner, stream: &mut Stream, input: &mut BytesMut) -> Down {
    let broken = |why: String| Down { why, logged_out: false, wait: None };
    let mut notified = pin!(inner.wake.notified());
    let mut armed = lock(&inner.state).session.next_timeout();
    let mut timer = Box::pin(env.sleep_until(armed));
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
            // Data that was handed out keeps its part of the buffer, so new room costs a buffer: only when little is left.
            if input.capacity() - input.len() < READ_LEAST {
                input.reserve(READ_CHUNK);
            }
            let received = pin!(stream.read_buf(input)).poll(cx);
            match received {
                Poll::Ready(Ok(0)) => return Poll::Ready(broken("closed by the target".to_owned())),
                Poll::Ready(Ok(_)) => {
                    if let Err(error) = state.session.handle_input(env.now(), input) {
                        let _ = state.deliver(&inner.notices);
                        return Poll::Ready(broken(error.to_string()));
                    }
                    if let Some(down) = state.deliver(&inner.notices) {
                        return Poll::Ready(down);
                    }
                    continue;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(broken(error.to_string())),
                Poll::Pending => {}
            }
            if notified.as_mut().poll(cx).is_ready() {
                notified.set(inner.wake.notified());
                if let Some(down) = state.deliver(&inner.notices) {
                    return Poll::Ready(down);
                }
                continue;
            }
            let due = timer.as_mut().poll(cx).is_ready();
            if due && let Err(error) = state.session.handle_timeout(env.now()) {
                return Poll::Ready(broken(error.to_string()));
            }
            // Traffic moves the next ping into the future, which the old timer finds out when it fires; only something
            // earlier needs a new one.
            let next = state.session.next_timeout();
            if due || next < armed {
                armed = next;
                timer.set(env.sleep_until(armed));
                continue;
            }
            if !lock(&inner.notices).is_empty() {
                drop(state);
                inner.tell_notices();
                state = lock(&inner.state);
            }
            return Poll::Pending;
        }
    })
    .await
}

/// What a login led to.
struct LoggedInAt {
    stream: Stream,
    input: BytesMut,
    login: LoggedIn,
    address: SocketAddr,
    moved: Option<SocketAddr>,
}

async fn log_in(
    env: &Env,
    config: &SessionConfig,
    plan: &LoginPlan,
    portal: SocketAddr,
    source: Option<IpAddr>,
) -> Result<LoggedInAt, LoginError> {
    let mut at = portal;
    let mut visited = vec![portal];
    let mut moved = None;
    let mut for_good = true;
    let mut config = Cow::Borrowed(config);
    // What went wrong with the whole list of CHAP algorithms: the truth about the credentials, should MD5 alone not help.
    let mut first: Option<LoginError> = None;
    loop {
        let mut stream = match source {
            // A redirection leads elsewhere: the source was chosen for the first portal only.
            Some(source) if at == portal => env.connect_from(source, at).await?,
            _ => env.connect(at).await?,
        };
        let mut input = BytesMut::new();
        match negotiate(&mut stream, &mut input, &config, plan)
            .await
            .map_err(|e| first.take().unwrap_or(e))?
        {
            Outcome::Done(login) => {
                return Ok(LoggedInAt { stream, input, login: *login, address: at, moved });
            }
            Outcome::Redirect { address, permanent } => {
                at = resolve(env, &address).await?;
                if visited.contains(&at) {
                    return Err(LoginError::Redirect(format!("in a circle, back to {at}")));
                }
                if visited.len() > config.max_redirects as usize {
                    return Err(LoginError::Redirect(format!(
                        "more than {} redirections",
                        config.max_redirects
                    )));
                }
                visited.push(at);
                // A temporary step makes all that follows temporary.
                for_good &= permanent;
                moved = for_good.then_some(at);
            }
            Outcome::WithMd5(error) => {
                env.note(
                    "initiator",
                    || json!({"what": "chap-md5-only", "portal": at.to_string(), "why": error.to_string()}),
                );
                config.to_mut().chap_hashes = vec![ChapHash::Md5];
                first = Some(error);
            }
        }
    }
}

enum Outcome {
    Done(Box<LoggedIn>),
    Redirect {
        address: String,
        permanent: bool,
    },
    /// CHAP failed in a way that another list of algorithms may cure.
    WithMd5(LoginError),
}

async fn negotiate(
    stream: &mut Stream,
    input: &mut BytesMut,
    config: &SessionConfig,
    plan: &LoginPlan,
) -> Result<Outcome, LoginError> {
    let mut login = Login::new(config.clone(), plan.clone());
    match exchange(stream, input, &mut login).await {
        Err(error) if login.try_md5_after(&error) => Ok(Outcome::WithMd5(error)),
        other => other,
    }
}

async fn exchange(
    stream: &mut Stream,
    input: &mut BytesMut,
    login: &mut Login,
) -> Result<Outcome, LoginError> {
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
            LoginStep::Redirect { address, permanent } => {
                return Ok(Outcome::Redirect { address, permanent });
            }
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
