//! The live make: real clock, real TCP, the operating system's entropy, real directories and processes.
//!
//! All nodes of a live world share one process and one host; a node's addresses must be addresses of the host.
//!
//! | file | holds |
//! |---|---|
//! | `live.rs` | [`LiveWorld`]: nodes, levers, what was recorded |
//! | `live/gate.rs` | which ways are cut or slow |
//! | `live/conn.rs` | what one connection knows of its way; what it sends late |
//! | `live/inward.rs` | what it reads late |
//! | `live/stream.rs` | the end that a node holds |
//! | `live/tap.rs` | the capture |

mod conn;
mod gate;
mod inward;
mod stream;
mod tap;

pub use gate::LiveEnd;
pub(crate) use stream::LiveStream;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;

use crate::capture::{Segment, SegmentTap};
use crate::disk::Disk;
use crate::env::{Env, EnvInner, Make};
use crate::fault::{Fault, FaultPlan, Firings, by_point};
use crate::lock;
use crate::recorder::Recorder;
use crate::sim::CONNECT_TIMEOUT;
use crate::task::TaskSet;
use crate::trace::TraceLine;
use gate::Gates;

/// How to make a live world.
#[derive(Clone, Debug)]
pub struct LiveConfig {
    /// Seed of [`Env::rng`]. Secrets never come from it.
    pub seed: u64,
    /// Keep the lines of [`Env::note`].
    pub trace: bool,
    /// Each node gets the directory of its name in here.
    pub state_dir: PathBuf,
    /// Which asked points misbehave.
    pub faults: FaultPlan,
    /// Keep the payload of all streams.
    pub capture: bool,
}

/// A world on the operating system. Cheap to clone.
#[derive(Clone)]
pub struct LiveWorld(Arc<Core>);

struct Core {
    seed: u64,
    state_dir: PathBuf,
    handle: Handle,
    recorder: Arc<Recorder>,
    gates: Arc<Gates>,
    own_name: Arc<str>,
    nodes: Mutex<BTreeMap<String, Entry>>,
}

impl Drop for Core {
    fn drop(&mut self) {
        self.gates.close();
    }
}

struct Entry {
    env: Env,
    addrs: Vec<IpAddr>,
}

impl LiveWorld {
    /// A world without nodes. Call it inside a tokio runtime with I/O and time; tasks run on that runtime.
    ///
    /// # Errors
    /// Outside of a runtime, or when the state directory cannot be made.
    pub fn new(config: LiveConfig) -> io::Result<LiveWorld> {
        Self::with_tap(config, None)
    }

    /// As [`LiveWorld::new`], where `tap` sees the segments of this world's connections as they are sent and received.
    ///
    /// # Errors
    /// As there.
    pub fn with_tap(config: LiveConfig, tap: Option<SegmentTap>) -> io::Result<LiveWorld> {
        let handle = Handle::try_current().map_err(io::Error::other)?;
        std::fs::create_dir_all(&config.state_dir)?;
        let recorder = Arc::new(Recorder::new(config.trace, config.capture, tap, config.faults));
        Ok(LiveWorld(Arc::new(Core {
            seed: config.seed,
            state_dir: config.state_dir,
            gates: Arc::new(Gates::new(handle.clone(), recorder.clone(), config.seed)),
            handle,
            recorder,
            own_name: "world".into(),
            nodes: Mutex::default(),
        })))
    }

    /// The node called `name`; made on the first call. `addrs` replaces its addresses unless empty.
    ///
    /// A directory that cannot be made is reported through `tracing`; [`Disk::directory`] is then `None`.
    pub fn node(&self, name: &str, addrs: &[IpAddr]) -> Env {
        let mut nodes = lock(&self.0.nodes);
        let disk = match nodes.get_mut(name) {
            Some(entry) if !entry.env.0.tasks.is_down() => {
                if !addrs.is_empty() {
                    entry.addrs = addrs.to_vec();
                }
                return entry.env.clone();
            }
            Some(entry) => entry.env.0.disk.clone(),
            None => Arc::new(Disk::new(self.directory(name))),
        };
        let name_arc: Arc<str> = name.into();
        let recorder = self.0.recorder.clone();
        let tasks = TaskSet::new(name_arc.clone(), self.0.handle.clone(), recorder.clone());
        let env = Env(Arc::new(EnvInner {
            name: name_arc.clone(),
            seed: self.0.seed,
            recorder,
            tasks: Arc::new(tasks),
            disk,
            make: Make::Live(LiveNode {
                core: Arc::downgrade(&self.0),
                gates: self.0.gates.clone(),
                name: name_arc,
            }),
        }));
        let addrs = match addrs {
            [] => vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            some => some.to_vec(),
        };
        nodes.insert(name.to_owned(), Entry { env: env.clone(), addrs });
        env
    }

    fn directory(&self, name: &str) -> Option<PathBuf> {
        // A node name is no path: what is not a plain word is replaced.
        let plain: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' })
            .collect();
        let path = self.0.state_dir.join(plain);
        match std::fs::create_dir_all(&path) {
            Ok(()) => Some(path),
            Err(error) => {
                tracing::error!(node = name, path = %path.display(), %error, "cannot make the node's directory");
                None
            }
        }
    }

    /// Drops all tasks of a node, as a kill of its process would. [`LiveWorld::node`] starts it again.
    pub fn stop(&self, node: &str) {
        let tasks = lock(&self.0.nodes).get(node).map(|entry| entry.env.0.tasks.clone());
        if let Some(tasks) = tasks {
            tasks.kill_all();
        }
    }

    fn note(&self, detail: impl FnOnce() -> Value) {
        self.0.recorder.note(&self.0.own_name, "net", detail);
    }

    /// Makes the way between a node and an address a black hole, both directions, for connections that exist and later
    /// ones: reads and attempts to connect wait, up to [`WINDOW`](crate::sim::WINDOW) bytes that the node writes on a
    /// connection are kept, and further writes wait. What has arrived stays in the kernel. Closing a connection is not heard
    /// of before it is healed. Attempts to connect fail with `TimedOut` after [`CONNECT_TIMEOUT`], connections with kept
    /// bytes after about 15 minutes.
    ///
    /// Only connections that the node makes to exactly this address and port are concerned; they are broken at the node's
    /// end, so that the peer may be a foreign machine. Unlike over a real lost path, the peer's own kernel is answered.
    pub fn cut_addr(&self, node: &str, peer: SocketAddr) {
        self.note(|| json!({ "event": "cut", "from": node, "to": peer, "both": true }));
        self.0
            .gates
            .change(node, peer, |rules| LiveEnd::BOTH.iter().for_each(|end| rules.towards(*end).cut = true));
    }

    /// As [`LiveWorld::cut_addr`], only the direction towards one end: requests arrive and answers do not, or the other way
    /// round. Attempts to connect wait in both cases.
    pub fn cut_addr_one_way(&self, node: &str, peer: SocketAddr, towards: LiveEnd) {
        self.note(|| json!({ "event": "cut", "from": node, "to": peer, "towards": format!("{towards:?}") }));
        self.0.gates.change(node, peer, |rules| rules.towards(towards).cut = true);
    }

    /// Undoes cuts, delays, losses and segments between a node and an address. What was kept goes on its way at once, where TCP would
    /// wait for its next retransmission.
    pub fn heal_addr(&self, node: &str, peer: SocketAddr) {
        self.note(|| json!({ "event": "heal", "from": node, "to": peer, "both": true }));
        self.0.gates.change(node, peer, |rules| *rules = Default::default());
    }

    /// Everything that goes towards one end takes so many milliseconds longer; the throughput stays as it is, up to
    /// [`WINDOW`](crate::sim::WINDOW) bytes under way.
    pub fn delay_addr(&self, node: &str, peer: SocketAddr, towards: LiveEnd, ms: u64) {
        self.note(|| json!({ "event": "delay", "from": node, "to": peer, "towards": format!("{towards:?}"), "ms": ms }));
        self.0
            .gates
            .change(node, peer, |rules| rules.towards(towards).delay_ns = ms.saturating_mul(1_000_000));
    }

    /// What goes towards one end is cut into segments of so many bytes at most; 0: as many as there are. One read of the node
    /// gives one segment at most; the peer's kernel may put together what comes in time.
    pub fn segment_addr(&self, node: &str, peer: SocketAddr, towards: LiveEnd, bytes: usize) {
        self.note(
            || json!({ "event": "shape", "from": node, "to": peer, "towards": format!("{towards:?}"), "segment": bytes }),
        );
        self.0.gates.change(node, peer, |rules| rules.towards(towards).segment = bytes);
    }

    /// Of what goes towards one end so many in a hundred pieces are late as if they had been lost and sent again, and what
    /// follows waits for them. Handshakes are not touched. A piece is what one write or one read has.
    pub fn lose_addr(&self, node: &str, peer: SocketAddr, towards: LiveEnd, percent: u8) {
        self.note(|| json!({ "event": "loss", "from": node, "to": peer, "towards": format!("{towards:?}"), "percent": percent }));
        self.0.gates.change(node, peer, |rules| rules.towards(towards).loss = percent);
    }

    /// Resets every connection that a node has made to an address, whatever its way lets through: both ends see
    /// `ConnectionReset`, what was under way is lost. The peer is reset as soon as the stream's owner has been woken. Gives how
    /// many there were.
    pub fn reset_addr(&self, node: &str, peer: SocketAddr) -> usize {
        let count = self.0.gates.reset(node, peer);
        self.note(|| json!({ "event": "reset", "from": node, "to": peer, "connections": count }));
        count
    }

    /// One end loses its side of every connection that a node has made to an address, without a word: its own streams fail
    /// with `ConnectionAborted`, the other end notices when it sends next and is reset. Gives how many there were: none where
    /// the peer shall forget and is not in this world.
    pub fn half_open_addr(&self, node: &str, peer: SocketAddr, forgetful: LiveEnd) -> usize {
        let count = self.0.gates.half_open(node, peer, forgetful);
        self.note(|| {
            json!({ "event": "half_open", "from": node, "to": peer, "who": format!("{forgetful:?}"), "connections": count })
        });
        count
    }

    /// Undoes all cuts, delays, losses and segments.
    pub fn heal_all(&self) {
        self.note(|| json!({ "event": "heal", "all": true }));
        self.0.gates.heal_all();
    }

    /// The history so far.
    pub fn trace(&self) -> Vec<TraceLine> {
        self.0.recorder.trace()
    }

    /// The history since the last call; its lines are forgotten here.
    pub fn take_trace(&self) -> Vec<TraceLine> {
        self.0.recorder.take_trace()
    }

    /// How often each point was asked.
    pub fn points_hit(&self) -> BTreeMap<String, u64> {
        self.0.recorder.points_hit()
    }

    /// How often a fault fired at each point.
    pub fn faults_fired(&self) -> BTreeMap<String, u64> {
        by_point(self.firings())
    }

    /// How often each fault rule fired at each point.
    pub fn firings(&self) -> Firings {
        self.0.recorder.firings()
    }

    /// Adds a fault rule, which counts from now on; see [`FaultPlan::rule`]. Answers its number: those of the plan come first,
    /// from 0.
    pub fn add_fault(&self, point: impl Into<String>, nth: u64, fault: Fault) -> u64 {
        self.0.recorder.add_fault(point.into(), nth, fault)
    }

    /// Removes all fault rules.
    pub fn clear_faults(&self) {
        self.0.recorder.clear_faults();
    }

    /// The captured segments so far: both directions of every connection, as this process sent and received them.
    /// A connection between two nodes of this world is recorded at the end that connected.
    pub fn capture(&self) -> Vec<Segment> {
        self.0.recorder.segments()
    }

    /// Names of the nodes whose tasks panicked, in order.
    pub fn panics(&self) -> Vec<String> {
        self.0.recorder.panics()
    }
}

/// What [`Env`] knows of its live world. The link is weak: the world holds the handles of its nodes.
pub(crate) struct LiveNode {
    core: std::sync::Weak<Core>,
    gates: Arc<Gates>,
    name: Arc<str>,
}

impl LiveNode {
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        self.lookup(&self.name)
    }

    pub(crate) fn lookup(&self, host: &str) -> Vec<IpAddr> {
        self.core
            .upgrade()
            .and_then(|core| lock(&core.nodes).get(host).map(|entry| entry.addrs.clone()))
            .unwrap_or_default()
    }

    #[expect(clippy::disallowed_methods, reason = "the live make of Env::connect")]
    pub(crate) async fn connect(&self, from: Option<IpAddr>, to: SocketAddr) -> io::Result<LiveStream> {
        let passage = self.gates.passage(&self.name, to);
        tokio::time::timeout(CONNECT_TIMEOUT, passage).await.map_err(|_| ErrorKind::TimedOut)?;
        let tcp = match from {
            None => TcpStream::connect(to).await?,
            Some(from) => {
                let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
                socket.bind(SocketAddr::new(from, 0))?;
                socket.connect(to).await?
            }
        };
        LiveStream::new(tcp, &self.gates, &self.name, true)
    }

    #[expect(clippy::disallowed_methods, reason = "the live make of Env::listen")]
    pub(crate) async fn listen(&self, on: SocketAddr) -> io::Result<LiveListener> {
        let tcp = TcpListener::bind(on).await?;
        Ok(LiveListener { addr: tcp.local_addr()?, tcp, gates: self.gates.clone(), node: self.name.clone() })
    }
}

pub(crate) struct LiveListener {
    tcp: TcpListener,
    addr: SocketAddr,
    gates: Arc<Gates>,
    node: Arc<str>,
}

impl LiveListener {
    pub(crate) async fn accept(&mut self) -> io::Result<LiveStream> {
        let (tcp, _) = self.tcp.accept().await?;
        LiveStream::new(tcp, &self.gates, &self.node, false)
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.addr
    }
}
