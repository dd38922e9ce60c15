//! A session to one (portal, target) that is re-established for ever, until it is closed.
//!
//! Every life of the session has a generation. A later login with the same ISID is session reinstatement (RFC 7143
//! section 6.3.5): the target ends the older session and its tasks before it takes anything new. So "generation g
//! is surely dead" is known when a newer generation is up, when the target confirmed the logout, or when a login with our
//! ISID through another portal of the same portal group succeeded ([`PortalSession::fence_through`]).

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use sanbench_api::ChapAuth;
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::sense::Asc;
use sanbench_world::Env;
use sanbench_world::watch;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::chap::OwnChallenge;
use crate::config::HostConfig;
use crate::error::LoginError;
use crate::link::Link;
use crate::lock;
use crate::login::LoginPlan;
use crate::session::Announcement;
use crate::signals::{Attentions, SessionCounters, SessionCounts, bump};

/// Longest pause between two tries of a re-login, besides what the target asks for (Time2Wait).
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// A connection that ends sooner after its login than this counts as a failed try, so that a target that takes logins and
/// drops them is not asked without a pause.
const STABLE: Duration = Duration::from_secs(10);
/// One wait for a session at most; whoever may wait longer asks again.
const LONGEST_WAIT: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a session is doing now.
#[derive(Clone, Debug)]
pub enum State {
    /// Logged in.
    Up {
        /// The connection.
        link: Link,
        /// Counts lives, from 1.
        generation: u64,
    },
    /// The connection of `generation` is lost; a new login is being tried.
    Down {
        /// The generation that was lost.
        generation: u64,
        /// The target has surely ended it.
        fenced: bool,
        /// When it was lost, on the world's clock.
        since: Duration,
        /// Why, for people.
        why: String,
        /// The target refused the last login in a way that another try is not expected to cure. It is tried on, but nobody
        /// should wait for it.
        refused: bool,
    },
    /// Closed for good.
    Closed {
        /// The last generation is surely ended at the target.
        fenced: bool,
    },
}

type OnChange = Box<dyn Fn(bool) + Send + Sync>;

struct Inner {
    env: Env,
    config: Arc<HostConfig>,
    portal: SocketAddr,
    iqn: String,
    auth: Option<ChapAuth>,
    isid: [u8; 6],
    state: watch::Sender<State>,
    stop: watch::Sender<bool>,
    inventory: AtomicU64,
    group: Option<u16>,
    /// Where the target has moved for good.
    moved: Mutex<Option<SocketAddr>>,
    counters: SessionCounters,
    /// Who wants to know what the target announces about a logical unit.
    listeners: Mutex<Vec<(Lun, Weak<Attentions>)>>,
    on_change: Mutex<Option<OnChange>>,
    fencing: tokio::sync::Mutex<()>,
}

/// A kept session. Cheap to clone.
#[derive(Clone)]
pub struct PortalSession(Arc<Inner>);

impl std::fmt::Debug for PortalSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PortalSession({}, {})", self.0.portal, self.0.iqn)
    }
}

/// The ISID of a session: random format (RFC 7143 section 11.12.5), but derived from who talks to whom, so that the same
/// initiator comes back under the same name after a restart, and two sessions of one host never share one.
pub fn isid(config: &HostConfig, portal: Option<SocketAddr>, iqn: &str) -> [u8; 6] {
    let mut hash = Sha256::new();
    hash.update(config.iqn.as_bytes());
    hash.update([0]);
    hash.update(iqn.as_bytes());
    hash.update([0]);
    // A discovery session must not reinstate a normal one.
    hash.update(portal.map_or_else(|| "discovery".to_owned(), |p| p.to_string()).as_bytes());
    let digest = hash.finalize();
    let [high, low] = config.session.isid_qualifier.to_be_bytes();
    [0x80, digest[0], digest[1], digest[2], high, low]
}

/// A login plan with fresh random bytes for mutual CHAP.
pub(crate) fn plan(
    env: &Env,
    config: &HostConfig,
    target: Option<&str>,
    isid: [u8; 6],
    auth: Option<&ChapAuth>,
) -> LoginPlan {
    let mut random = [0u8; 33];
    if auth.is_some_and(|a| a.target.is_some()) {
        env.entropy(&mut random);
    }
    let mut challenge = [0; 32];
    challenge.copy_from_slice(&random[1..]);
    LoginPlan {
        initiator: config.iqn.clone(),
        target: target.map(str::to_owned),
        isid,
        auth: auth.cloned(),
        own_challenge: OwnChallenge { id: random[0], challenge },
    }
}

impl PortalSession {
    /// Logs in once; then the session is kept up by a task of the node.
    ///
    /// # Errors
    /// The reason of the first login's failure.
    pub async fn establish(
        env: &Env,
        config: &Arc<HostConfig>,
        portal: SocketAddr,
        iqn: &str,
        auth: Option<&ChapAuth>,
    ) -> Result<Self, LoginError> {
        let isid = isid(config, Some(portal), iqn);
        let source = config.sources.get(&portal).copied();
        let link = Link::open(env, config, &plan(env, config, Some(iqn), isid, auth), portal, source).await?;
        env.note("initiator", || json!({"what": "login", "portal": portal.to_string(), "iqn": iqn}));
        let inner = Arc::new(Inner {
            env: env.clone(),
            config: config.clone(),
            portal,
            iqn: iqn.to_owned(),
            auth: auth.cloned(),
            isid,
            group: link.parameters().portal_group,
            moved: Mutex::new(link.moved()),
            counters: SessionCounters::default(),
            listeners: Mutex::default(),
            state: watch::Sender::new(State::Up { link: link.clone(), generation: 1 }),
            stop: watch::Sender::new(false),
            inventory: AtomicU64::new(0),
            on_change: Mutex::new(None),
            fencing: tokio::sync::Mutex::new(()),
        });
        bump(&inner.counters.logins);
        listen(&inner, &link);
        env.spawn(keep(inner.clone(), link));
        Ok(Self(inner))
    }

    /// Calls `hook` with the new value whenever the session goes up or down.
    pub fn on_change(&self, hook: impl Fn(bool) + Send + Sync + 'static) {
        *lock(&self.0.on_change) = Some(Box::new(hook));
    }

    /// Portal address.
    pub fn portal(&self) -> SocketAddr {
        self.0.portal
    }

    /// Target name.
    pub fn iqn(&self) -> &str {
        &self.0.iqn
    }

    /// ISID: with the initiator's name, the target's and the portal group it names the I_T nexus.
    pub fn isid(&self) -> [u8; 6] {
        self.0.isid
    }

    /// Portal group of the portal, when the target told it.
    pub fn portal_group(&self) -> Option<u16> {
        self.0.group
    }

    /// The connection and its generation, while logged in.
    pub fn up(&self) -> Option<(Link, u64)> {
        match &*self.0.state.borrow() {
            State::Up { link, generation } if link.is_up() => Some((link.clone(), *generation)),
            _ => None,
        }
    }

    /// Changes of the state.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.0.state.subscribe()
    }

    /// What the session did so far.
    pub fn counters(&self) -> SessionCounts {
        self.0.counters.read()
    }

    /// Tells `who` of asynchronous events of a logical unit.
    pub(crate) fn listen(&self, lun: Lun, who: &Arc<Attentions>) {
        let mut listeners = lock(&self.0.listeners);
        listeners.retain(|(_, l)| l.strong_count() > 0);
        listeners.push((lun, Arc::downgrade(who)));
    }

    /// Until when a command that comes now, or came while the session was up, is kept waiting for a session that is down: the
    /// replacement time-out, from the loss on, or from now while the session is up. `Duration::MAX` keeps commands for ever.
    pub fn replacement_deadline(&self) -> Duration {
        let from = match &*self.0.state.borrow() {
            State::Down { since, .. } => *since,
            _ => self.0.env.now(),
        };
        from.saturating_add(self.0.config.replacement_timeout)
    }

    /// Waits until the session is up, at most until `deadline` on the world's clock. A session that the target refuses is not
    /// waited for.
    ///
    /// # Errors
    /// Why it is down.
    pub async fn wait_up(&self, deadline: Duration) -> Result<(Link, u64), String> {
        let mut watch = self.watch();
        loop {
            if let Some(up) = self.up() {
                return Ok(up);
            }
            let why = match &*watch.borrow_and_update() {
                State::Closed { .. } => return Err("the session was closed".to_owned()),
                State::Down { why, refused: true, .. } => return Err(why.clone()),
                State::Down { why, .. } => why.clone(),
                State::Up { .. } => "the connection just ended".to_owned(),
            };
            let left = deadline.saturating_sub(self.0.env.now()).min(LONGEST_WAIT);
            if left.is_zero() {
                return Err(why);
            }
            let _ = self.0.env.timeout(left, watch.changed()).await;
        }
    }

    /// True when nothing of `generation` can take effect at the target any more.
    pub fn surely_dead(&self, generation: u64) -> bool {
        match &*self.0.state.borrow() {
            State::Up { generation: now, .. } => *now > generation,
            State::Down { generation: lost, fenced, .. } => {
                *lost > generation || (*lost == generation && *fenced)
            }
            State::Closed { fenced } => *fenced,
        }
    }

    /// Waits until [`PortalSession::surely_dead`], at most until `deadline` on the world's clock.
    pub async fn wait_dead(&self, generation: u64, deadline: Duration) -> bool {
        let mut watch = self.watch();
        let dead = async {
            loop {
                if self.surely_dead(generation) {
                    return true;
                }
                if watch.changed().await.is_err()
                    || matches!(&*watch.borrow(), State::Closed { fenced: false })
                {
                    return self.surely_dead(generation);
                }
            }
        };
        let left = deadline.saturating_sub(self.0.env.now()).min(LONGEST_WAIT);
        self.0.env.timeout(left, dead).await.unwrap_or(false)
    }

    /// Ends what is left of this session at the target through another portal of the same target and portal group: a login
    /// with our ISID there reinstates the session, a logout closes it. Returns whether `generation` is surely dead.
    pub async fn fence_through(&self, portal: SocketAddr, source: Option<IpAddr>, generation: u64) -> bool {
        let inner = &self.0;
        let _one = inner.fencing.lock().await;
        if self.surely_dead(generation) {
            return true;
        }
        let plan = plan(&inner.env, &inner.config, Some(&inner.iqn), inner.isid, inner.auth.as_ref());
        let link = match Link::open(&inner.env, &inner.config, &plan, portal, source).await {
            Ok(link) => link,
            Err(error) => {
                inner.env.note("initiator", || {
                    json!({"what": "fence-failed", "through": portal.to_string(), "why": error.to_string()})
                });
                return false;
            }
        };
        let same_group = self.0.group.is_some() && link.parameters().portal_group == self.0.group;
        link.logout(&inner.env).await;
        if !same_group {
            // Another portal group is another session space: this login proved nothing.
            return false;
        }
        self.mark_dead(generation);
        inner.env.note(
            "initiator",
            || json!({"what": "fenced", "portal": inner.portal.to_string(), "through": portal.to_string()}),
        );
        self.surely_dead(generation)
    }

    /// True when `generation` was lost so long ago that the target's own pings have ended it.
    pub fn expired(&self, generation: u64) -> bool {
        let limit = self.0.config.fence_after;
        match &*self.0.state.borrow() {
            State::Down { generation: lost, since, .. } => {
                *lost == generation && !limit.is_zero() && self.0.env.now() >= *since + limit
            }
            _ => false,
        }
    }

    /// Records that the caller knows `generation` to be dead.
    pub fn mark_dead(&self, generation: u64) {
        self.0.state.send_if_modified(|state| match state {
            State::Down { generation: lost, fenced, .. } if *lost == generation => {
                *fenced = true;
                true
            }
            State::Closed { fenced } => {
                *fenced = true;
                true
            }
            _ => false,
        });
    }

    /// REPORTED LUNS DATA HAS CHANGED was seen: identities learnt before must be read again.
    pub fn inventory_changed(&self) {
        self.0.inventory.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts inventory changes.
    pub fn inventory(&self) -> u64 {
        self.0.inventory.load(Ordering::SeqCst)
    }

    /// Drops the session without a word and for good. When this returns, the connection's stream is gone: no command that was
    /// given to it, or waited in it, can leave this host any more. What had left before may still be applied by the target until
    /// the session is known to be dead there, see [`PortalSession::surely_dead`].
    pub async fn abandon(&self, why: &str) {
        let inner = &self.0;
        inner.stop.send_replace(true);
        let (link, fenced) = match &*inner.state.borrow() {
            State::Up { link, .. } => (Some(link.clone()), false),
            State::Down { fenced, .. } | State::Closed { fenced } => (None, *fenced),
        };
        if let Some(link) = link {
            link.kill(why);
            link.down().await;
        }
        inner.state.send_replace(State::Closed { fenced });
        inner.env.note(
            "initiator",
            || json!({"what": "abandoned", "portal": inner.portal.to_string(), "iqn": inner.iqn, "why": why}),
        );
    }

    /// Logs out when connected, and stops coming back.
    pub async fn close(&self) {
        let inner = &self.0;
        inner.stop.send_replace(true);
        let up = self.up();
        let fenced = match up {
            Some((link, _)) => link.logout(&inner.env).await.logged_out,
            None => matches!(&*inner.state.borrow(), State::Down { fenced: true, .. }),
        };
        inner.state.send_replace(State::Closed { fenced });
        inner.env.note("initiator", || {
            json!({"what": "logout", "portal": inner.portal.to_string(), "iqn": inner.iqn, "confirmed": fenced})
        });
    }
}

impl Inner {
    fn changed(&self, up: bool) {
        if let Some(hook) = &*lock(&self.on_change) {
            hook(up);
        }
    }

    /// Notes why the last try of a login failed.
    fn tried(&self, error: &LoginError) {
        self.state.send_if_modified(|state| match state {
            State::Down { why, refused, .. } => {
                *why = error.to_string();
                let before = std::mem::replace(refused, !error.may_retry());
                before != *refused
            }
            _ => false,
        });
    }

    /// Sets the state unless the session was closed meanwhile.
    fn set(&self, new: State) -> bool {
        self.state.send_if_modified(|state| {
            let open = !matches!(state, State::Closed { .. });
            if open {
                *state = new;
            }
            open
        })
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that nobody can stop us any more; then nobody needs the session either.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Takes the announcements of a new connection.
fn listen(inner: &Arc<Inner>, link: &Link) {
    let weak = Arc::downgrade(inner);
    link.on_notice(move |notice| {
        if let Some(inner) = weak.upgrade() {
            inner.announced(notice);
        }
    });
}

impl Inner {
    fn announced(&self, notice: &Announcement) {
        bump(&self.counters.announcements);
        self.env.note("initiator", || {
            json!({"what": "announced", "portal": self.portal.to_string(), "event": format!("{notice:?}")})
        });
        let Announcement::Scsi { lun, sense: Some(sense) } = notice else { return };
        if sense.asc == Asc::REPORTED_LUNS_DATA_HAS_CHANGED {
            self.inventory.fetch_add(1, Ordering::SeqCst);
        }
        let listeners: Vec<_> = lock(&self.listeners)
            .iter()
            .filter(|(l, _)| l == lun)
            .filter_map(|(_, listener)| listener.upgrade())
            .collect();
        for listener in listeners {
            listener.note(sense.asc);
        }
    }

    /// The ISID of the next login; with the planted defect D35 another one each time.
    fn isid(&self, logins: u64) -> [u8; 6] {
        let mut isid = self.isid;
        if self.config.defects.fresh_isid {
            isid[3] ^= logins as u8;
        }
        isid
    }

    /// Where to log in: where the target has moved for good, and, should that fail, at the portal that we were given.
    fn address(&self, failures: u32) -> SocketAddr {
        match *lock(&self.moved) {
            Some(moved) if failures.is_multiple_of(2) => moved,
            _ => self.portal,
        }
    }
}

/// The pause before a try after `failures` failures in a row.
fn back_off(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        n => Duration::from_secs(1 << (n - 1).min(10)).min(MAX_PAUSE),
    }
}

/// Keeps a session up until it is closed. Whatever goes wrong at whatever point of a re-login, the next one begins from nothing
/// (D66): connection, login and negotiation are one step here, that succeeds as a whole or leaves nothing behind.
async fn keep(inner: Arc<Inner>, mut link: Link) {
    let mut stop = inner.stop.subscribe();
    let mut generation = 1;
    let mut failures: u32 = 0;
    loop {
        let begun = inner.env.now();
        let down = link.down().await;
        bump(&inner.counters.losses);
        if *inner.stop.borrow() {
            inner.changed(false);
            return;
        }
        let since = inner.env.now();
        failures = if since - begun < STABLE { failures + 1 } else { 0 };
        let lost =
            State::Down { generation, fenced: down.logged_out, since, why: down.why.clone(), refused: false };
        if !inner.set(lost) {
            return;
        }
        inner.changed(false);
        inner.env.note("initiator", || {
            json!({"what": "path-loss", "portal": inner.portal.to_string(), "iqn": inner.iqn, "why": down.why})
        });
        // The target's wish holds from the loss on (RFC 7143 section 13.15).
        let wish = down.wait.unwrap_or(Duration::from_secs(u64::from(link.parameters().time2wait)));
        let mut at = since + wish.max(back_off(failures.saturating_sub(1)));
        let mut tries = 0;
        link = loop {
            tokio::select! {
                biased;
                () = stopped(&mut stop) => return,
                () = inner.env.sleep_until(at) => {}
            }
            let isid = inner.isid(inner.counters.read().logins);
            let plan = plan(&inner.env, &inner.config, Some(&inner.iqn), isid, inner.auth.as_ref());
            let address = inner.address(tries);
            let source = inner.config.sources.get(&address).copied();
            let open = Link::open(&inner.env, &inner.config, &plan, address, source);
            let opened = tokio::select! {
                biased;
                () = stopped(&mut stop) => return,
                opened = open => opened,
            };
            match opened {
                Ok(link) => break link,
                Err(error) => {
                    tries += 1;
                    failures += 1;
                    bump(&inner.counters.failed_logins);
                    inner.env.note("initiator", || {
                        json!({"what": "relogin-failed", "portal": inner.portal.to_string(), "why": error.to_string()})
                    });
                    if inner.config.defects.give_up_relogin && tries > 1 {
                        return;
                    }
                    inner.tried(&error);
                    let pause = if error.may_retry() { back_off(failures) } else { MAX_PAUSE };
                    at = inner.env.now() + pause;
                }
            }
        };
        generation += 1;
        bump(&inner.counters.logins);
        if link.moved().is_some() {
            *lock(&inner.moved) = link.moved();
        }
        listen(&inner, &link);
        // What the session knew about its logical units may have changed while it was away.
        inner.inventory.fetch_add(1, Ordering::SeqCst);
        if !inner.set(State::Up { link: link.clone(), generation }) {
            link.kill("the session was closed");
            return;
        }
        inner.changed(true);
        inner.env.note("initiator", || {
            json!({"what": "relogin", "portal": inner.portal.to_string(), "iqn": inner.iqn, "generation": generation})
        });
    }
}
