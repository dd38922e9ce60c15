//! The handle of one node to the outside world.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::dice::{Dice, dice};
use crate::disk::Disk;
use crate::exec::{self, Command, ExecError, Output};
use crate::fault::Fault;
use crate::live::LiveNode;
use crate::lock;
use crate::net::{Listener, ListenerMake, Stream, StreamMake};
use crate::recorder::Recorder;
use crate::sim::SimNode;
use crate::task::{Task, TaskSet};

/// The handle of one node to the outside world. Cheap to clone.
///
/// After a crash of the node its handle stays valid but does nothing any more: connections and listeners fail,
/// new tasks do not start. A restart gives a new handle.
#[derive(Clone)]
pub struct Env(pub(crate) Arc<EnvInner>);

pub(crate) struct EnvInner {
    pub(crate) name: Arc<str>,
    pub(crate) seed: u64,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) tasks: Arc<TaskSet>,
    pub(crate) disk: Arc<Disk>,
    pub(crate) make: Make,
}

pub(crate) enum Make {
    Sim {
        node: SimNode,
        /// The node's fork of the seed for secrets. It outlives a crash, so that no token comes twice.
        entropy: Arc<Mutex<Dice>>,
    },
    Live(LiveNode),
}

/// The time of [`Env::timeout`] passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the time limit passed")]
pub struct Elapsed;

impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, elapsed)
    }
}

impl Env {
    /// Name of the node, such as `array`, `control` or `compute-1`.
    pub fn node(&self) -> &str {
        &self.0.name
    }

    /// Monotonic time since the world's start; virtual in the simulation.
    pub fn now(&self) -> Duration {
        self.0.recorder.now()
    }

    /// Waits for `d`. Both makes round up to whole milliseconds.
    #[expect(clippy::disallowed_methods, reason = "this is the sleep that everybody else calls")]
    pub async fn sleep(&self, d: Duration) {
        tokio::time::sleep(d).await;
    }

    /// Waits until `t` on the scale of [`Env::now`].
    pub async fn sleep_until(&self, t: Duration) {
        self.sleep(t.saturating_sub(self.now())).await;
    }

    /// Runs `f` for at most `d`; `f` is dropped when the time passes.
    ///
    /// # Errors
    /// [`Elapsed`] when `f` did not end in time. A future that is ready at the same moment wins.
    #[expect(clippy::disallowed_methods, reason = "this is the timeout that everybody else calls")]
    pub async fn timeout<F: Future>(&self, d: Duration, f: F) -> Result<F::Output, Elapsed> {
        tokio::time::timeout(d, f).await.map_err(|_| Elapsed)
    }

    /// Starts a task that belongs to this node and dies with it. Dropping the handle detaches it.
    pub fn spawn<F>(&self, f: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.0.tasks.spawn(f)
    }

    /// The stream of random numbers keyed by (seed, node, `purpose`). Each call starts it anew: keep what you get.
    pub fn rng(&self, purpose: &str) -> Dice {
        dice(self.0.seed, &self.0.name, purpose)
    }

    /// Fills `buf` with bytes for secrets (challenges, tokens, passwords): a fork of the seed in the simulation,
    /// the operating system's generator elsewhere.
    ///
    /// # Panics
    /// When the operating system has no random numbers; going on would hand out guessable secrets.
    pub fn entropy(&self, buf: &mut [u8]) {
        match &self.0.make {
            Make::Sim { entropy, .. } => lock(entropy).fill(buf),
            Make::Live(_) => getrandom::fill(buf).expect("the operating system supplies random numbers"),
        }
    }

    /// A random UUID (version 4, RFC 9562 section 5.4) from the entropy stream.
    pub fn uuid_bytes(&self) -> [u8; 16] {
        let mut id = [0; 16];
        self.entropy(&mut id);
        id[6] = (id[6] & 0x0f) | 0x40;
        id[8] = (id[8] & 0x3f) | 0x80;
        id
    }

    /// Connects to `to`. The source address is the node's own one that shares the longest prefix with `to`.
    ///
    /// # Errors
    /// `ConnectionRefused` when nobody listens there, `TimedOut` when nobody answers (in the simulation after
    /// [`crate::sim::CONNECT_TIMEOUT`]), `NetworkDown` when this node crashed, else what the system reports.
    pub async fn connect(&self, to: SocketAddr) -> io::Result<Stream> {
        self.dial(None, to).await
    }

    /// Connects from the node's address `from`, which chooses the path. An unspecified address chooses nothing.
    ///
    /// # Errors
    /// As [`Env::connect`]; `AddrNotAvailable` when `from` is not an address of this node.
    pub async fn connect_from(&self, from: IpAddr, to: SocketAddr) -> io::Result<Stream> {
        self.dial(Some(from).filter(|from| !from.is_unspecified()), to).await
    }

    async fn dial(&self, from: Option<IpAddr>, to: SocketAddr) -> io::Result<Stream> {
        match &self.0.make {
            Make::Sim { node, .. } => {
                node.connect(&self.0.tasks, from, to).await.map(|s| Stream(StreamMake::Sim(s)))
            }
            Make::Live(node) => node.connect(from, to).await.map(|s| Stream(StreamMake::Live(s))),
        }
    }

    /// Listens on an address of this node; port 0 picks a free one.
    ///
    /// # Errors
    /// `AddrInUse`, `AddrNotAvailable`, `NetworkDown` when this node crashed.
    pub async fn listen(&self, on: SocketAddr) -> io::Result<Listener> {
        match &self.0.make {
            Make::Sim { node, .. } => node.listen(&self.0.tasks, on).map(|l| Listener(ListenerMake::Sim(l))),
            Make::Live(node) => node.listen(on).await.map(|l| Listener(ListenerMake::Live(l))),
        }
    }

    /// The addresses behind a host name: a literal (brackets around IPv6 allowed), a node name of this world, or,
    /// live only, what the system's resolver knows.
    ///
    /// # Errors
    /// `NotFound` when there are none.
    pub async fn lookup(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        if let Ok(ip) = literal.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let found = match &self.0.make {
            Make::Sim { node, .. } => node.lookup(host),
            Make::Live(node) => match node.lookup(host) {
                known if !known.is_empty() => known,
                _ => return resolve(host, port).await,
            },
        };
        if found.is_empty() {
            return Err(unknown_host(host));
        }
        Ok(found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
    }

    /// The addresses of this node, in the order given; `127.0.0.1` when none were configured.
    pub fn addresses(&self) -> Vec<IpAddr> {
        match &self.0.make {
            Make::Sim { node, .. } => node.addresses(),
            Make::Live(node) => node.addresses(),
        }
    }

    /// What survives a crash of this node.
    pub fn disk(&self) -> &Disk {
        &self.0.disk
    }

    /// Runs a child process to its end. The child is killed when the returned future is dropped.
    ///
    /// # Errors
    /// [`ExecError::NotInSim`] in the simulation; else what went wrong. A non-zero status is no error.
    pub async fn exec(&self, cmd: Command) -> Result<Output, ExecError> {
        match &self.0.make {
            Make::Sim { .. } => Err(ExecError::NotInSim),
            Make::Live(_) => exec::run(cmd).await,
        }
    }

    /// Asks the fault plan whether `point` must misbehave now, and counts the visit. `None`: go on. A fault that fires is a
    /// line of the history.
    pub fn fault(&self, point: &str) -> Option<Fault> {
        let fault = self.0.recorder.fault(point);
        if let Some(fault) = &fault {
            self.note("fault", || json!({"point": point, "what": format!("{fault:?}")}));
        }
        fault
    }

    /// Adds a line to the world's history. When tracing is off, `detail` is not run and the call is free.
    pub fn note(&self, topic: &'static str, detail: impl FnOnce() -> Value) {
        self.0.recorder.note(&self.0.name, topic, detail);
    }

    /// True when notes are kept.
    pub fn is_tracing(&self) -> bool {
        self.0.recorder.is_tracing()
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Env({})", self.0.name)
    }
}

async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let mut found: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
    found.dedup();
    if found.is_empty() { Err(unknown_host(host)) } else { Ok(found) }
}

fn unknown_host(host: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no address is known for host {host:?}"))
}
