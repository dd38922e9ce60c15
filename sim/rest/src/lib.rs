//! The management API of the simulated array in the OceanStor dialect.
//!
//! What it is for: clients log in, and make, map and delete the objects of a [`sanbench_array::Array`] by JSON over HTTP
//! exactly as they would on the real thing, its oddities included (errors under HTTP 200, attributes that are all
//! strings, object names without case). What it must not know: the drivers that use it, the iSCSI target, the flows.
//! It holds no truth of its own; the array does, down to the labels that only clients understand.
//!
//! Where to start: [`serve()`] runs it on a listener, [`router()`] gives the same thing without a network.
//!
//! | module | what |
//! |---|---|
//! | `serve` | accept loop, connections, their limits |
//! | `handle` | one request from bytes to bytes: body limit, session, faults, dispatch, note |
//! | `tls` | certificate and key of the port |
//! | `session` | log-in, tokens, idle expiry, lock-out |
//! | `query`, `envelope`, `codes` | the dialect's syntax: what comes in, what goes out, error codes |
//! | `routes` | the table of calls that the router runs from |
//! | `openapi` | the description that the array serves, made from `routes` |
//! | `dialect` | the objects, one module for each |
//! | `points`, `wrong` | the fault points, and answers that are wrong on purpose |
//! | `status` | the page for people at `GET /`, and `/metrics` |
//! | `control` | the `/_ctl` surface for foreign test drivers |

mod codes;
mod control;
mod desk;
mod dialect;
mod envelope;
mod handle;
mod openapi;
mod points;
mod query;
mod routes;
mod serve;
mod session;
mod status;
mod tls;
mod wrong;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicU8;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sanbench_array::ArrayHandle;
use sanbench_world::Env;

pub use desk::{Desk, NoAnswer};
pub use handle::{CloseAfter, DropConnection, Peer, router};
pub use points::endpoints;
pub use serve::{serve, serve_state};
pub use tls::{TlsError, TlsIdentity};

use control::Control;
use envelope::Unsent;
use session::{Rules, Sessions};
use status::Tally;

/// How the management API behaves.
#[derive(Clone)]
pub struct RestConfig {
    /// The one user that may log in.
    pub user: String,
    /// Its password; never shown by `Debug`.
    pub password: String,
    /// `accountstate` of log-in answers: 1 is normal, 3 and 4 ask for a new password.
    pub account_state: u8,
    /// Most sessions at a time.
    pub session_limit: usize,
    /// A session unused for this long is lost.
    pub idle: Duration,
    /// Wrong passwords in a row that lock the account; 0 never locks.
    pub lock_after: u32,
    /// Wrong passwords in a row, of whatever accounts, that lock a client's address; 0 never locks.
    pub lock_address_after: u32,
    /// How long an account or address stays locked.
    pub lock_for: Duration,
    /// Certificate and key of the port; without them it speaks plain HTTP.
    pub tls: Option<TlsIdentity>,
    /// A TLS handshake must be complete within this time.
    pub handshake_limit: Duration,
    /// Most connections at a time; more wait to be accepted.
    pub connection_limit: usize,
    /// A connection without a request for this long is closed.
    pub connection_idle: Duration,
    /// A request head must be complete within this time of its first byte.
    pub head_limit: Duration,
    /// A request body must be complete within this time.
    pub read_limit: Duration,
    /// Longest request body in bytes.
    pub body_limit: usize,
    /// Whether the `/_ctl` surface is open (to loopback peers only).
    pub control: bool,
    /// Called when a fault point says that the node must crash here; whoever drives the world does the crashing.
    pub on_crash: Option<CrashHook>,
}

/// What is called when a fault point asks for a crash of the node.
pub type CrashHook = Arc<dyn Fn() + Send + Sync>;

impl Default for RestConfig {
    fn default() -> Self {
        Self {
            user: "admin".to_owned(),
            password: "Admin@storage1".to_owned(),
            account_state: 1,
            session_limit: 128,
            idle: Duration::from_secs(1200),
            lock_after: 5,
            lock_address_after: 20,
            lock_for: Duration::from_secs(900),
            tls: None,
            handshake_limit: Duration::from_secs(10),
            connection_limit: 256,
            connection_idle: Duration::from_secs(300),
            head_limit: Duration::from_secs(30),
            read_limit: Duration::from_secs(30),
            body_limit: 1 << 20,
            control: false,
            on_crash: None,
        }
    }
}

impl fmt::Debug for RestConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestConfig")
            .field("user", &self.user)
            .field("password", &"..")
            .field("session_limit", &self.session_limit)
            .field("idle", &self.idle)
            .field("connection_limit", &self.connection_limit)
            .field("body_limit", &self.body_limit)
            .field("control", &self.control)
            .finish_non_exhaustive()
    }
}

/// The state behind the router: cheap to clone, shared by all connections.
#[derive(Clone)]
pub struct RestState(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) env: Env,
    pub(crate) array: ArrayHandle,
    pub(crate) config: RestConfig,
    pub(crate) sessions: Mutex<Sessions>,
    pub(crate) control: Mutex<Control>,
    /// `accountstate` of log-in answers from now on.
    pub(crate) account_state: AtomicU8,
    pub(crate) tally: Tally,
    pub(crate) unsent: Unsent,
    pub(crate) told: Mutex<wrong::Told>,
}

impl fmt::Debug for RestState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestState").field("config", &self.0.config).finish_non_exhaustive()
    }
}

impl RestState {
    /// A fresh management plane before an array: no sessions.
    pub fn new(env: Env, array: ArrayHandle, config: RestConfig) -> Self {
        let rules = Rules {
            limit: config.session_limit,
            idle: config.idle,
            lock_after: config.lock_after,
            lock_address_after: config.lock_address_after,
            lock_for: config.lock_for,
        };
        Self(Arc::new(Inner {
            env,
            array,
            account_state: AtomicU8::new(config.account_state),
            config,
            sessions: Mutex::new(Sessions::new(rules)),
            control: Mutex::new(Control::default()),
            tally: Tally::default(),
            unsent: Unsent::default(),
            told: Mutex::default(),
        }))
    }

    /// Ends every session, as a controller restart does.
    pub fn expire_sessions(&self) {
        lock(&self.0.sessions).expire_all();
    }

    /// Live sessions.
    pub fn sessions(&self) -> usize {
        lock(&self.0.sessions).count(self.0.env.now())
    }

    /// How many objects of each kind exist, by their REST names; kinds without objects are left out.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        dialect::counts(&self.0.array.lock())
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }
}

/// Locks, ignoring poison: every change under these locks is a single step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
