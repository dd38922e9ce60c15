//! The live make: real clock, real TCP, the operating system's entropy, real directories and processes.
//!
//! All nodes of a live world share one process and one host; a node's addresses must be addresses of the host.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;

use crate::capture::{Segment, SegmentKind};
use crate::disk::Disk;
use crate::env::{Env, EnvInner, Make};
use crate::fault::{Fault, FaultPlan};
use crate::lock;
use crate::recorder::Recorder;
use crate::task::TaskSet;
use crate::trace::TraceLine;

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
    nodes: Mutex<BTreeMap<String, Entry>>,
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
        let handle = Handle::try_current().map_err(io::Error::other)?;
        std::fs::create_dir_all(&config.state_dir)?;
        let recorder = Arc::new(Recorder::new(config.trace, config.capture, config.faults));
        Ok(LiveWorld(Arc::new(Core {
            seed: config.seed,
            state_dir: config.state_dir,
            handle,
            recorder,
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
            name: name_arc,
            seed: self.0.seed,
            recorder,
            tasks: Arc::new(tasks),
            disk,
            make: Make::Live(LiveNode {
                core: Arc::downgrade(&self.0),
                recorder: self.0.recorder.clone(),
                name: name.into(),
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

    /// Adds a fault rule, which counts from now on; see [`FaultPlan::rule`].
    pub fn add_fault(&self, point: impl Into<String>, nth: u64, fault: Fault) {
        self.0.recorder.add_fault(point.into(), nth, fault);
    }

    /// Removes all fault rules.
    pub fn clear_faults(&self) {
        self.0.recorder.clear_faults();
    }

    /// The captured segments so far. Each stream end records what it sends, so a connection between two nodes of
    /// this world appears under two connection numbers, one for each direction.
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
    recorder: Arc<Recorder>,
    name: String,
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
        let tcp = match from {
            None => TcpStream::connect(to).await?,
            Some(from) => {
                let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
                socket.bind(SocketAddr::new(from, 0))?;
                socket.connect(to).await?
            }
        };
        let stream = LiveStream::new(tcp, &self.recorder)?;
        stream.record(SegmentKind::Syn, Bytes::new());
        Ok(stream)
    }

    #[expect(clippy::disallowed_methods, reason = "the live make of Env::listen")]
    pub(crate) async fn listen(&self, on: SocketAddr) -> io::Result<LiveListener> {
        let tcp = TcpListener::bind(on).await?;
        Ok(LiveListener { addr: tcp.local_addr()?, tcp, recorder: self.recorder.clone() })
    }
}

pub(crate) struct LiveListener {
    tcp: TcpListener,
    addr: SocketAddr,
    recorder: Arc<Recorder>,
}

impl LiveListener {
    pub(crate) async fn accept(&mut self) -> io::Result<LiveStream> {
        let (tcp, _) = self.tcp.accept().await?;
        LiveStream::new(tcp, &self.recorder)
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.addr
    }
}

pub(crate) struct LiveStream {
    tcp: TcpStream,
    local: SocketAddr,
    peer: SocketAddr,
    conn: u64,
    recorder: Arc<Recorder>,
    fin_recorded: bool,
}

impl LiveStream {
    fn new(tcp: TcpStream, recorder: &Arc<Recorder>) -> io::Result<LiveStream> {
        tcp.set_nodelay(true)?;
        Ok(LiveStream {
            local: tcp.local_addr()?,
            peer: tcp.peer_addr()?,
            tcp,
            conn: recorder.next_conn(),
            recorder: recorder.clone(),
            fin_recorded: false,
        })
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    pub(crate) fn conn_id(&self) -> u64 {
        self.conn
    }

    fn record(&self, kind: SegmentKind, bytes: Bytes) {
        self.recorder.capture(self.conn, self.local, self.peer, kind, bytes);
    }

    fn record_sent(&self, slices: &[IoSlice<'_>], written: usize) {
        if !self.recorder.is_capturing() || written == 0 {
            return;
        }
        let mut bytes = Vec::with_capacity(written);
        for slice in slices {
            let rest = written - bytes.len();
            bytes.extend_from_slice(&slice[..slice.len().min(rest)]);
        }
        self.record(SegmentKind::Data, bytes.into());
    }

    fn record_fin(&mut self) {
        if !self.fin_recorded {
            self.fin_recorded = true;
            self.record(SegmentKind::Fin, Bytes::new());
        }
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }

    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.tcp).poll_write(cx, data);
        if let Poll::Ready(Ok(written)) = polled {
            self.record_sent(&[IoSlice::new(data)], written);
        }
        polled
    }

    pub(crate) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.tcp).poll_write_vectored(cx, slices);
        if let Poll::Ready(Ok(written)) = polled {
            self.record_sent(slices, written);
        }
        polled
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.record_fin();
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

impl Drop for LiveStream {
    fn drop(&mut self) {
        self.record_fin();
    }
}
