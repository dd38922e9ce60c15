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

    /// How often a fault fired at each point.
    pub fn faults_fired(&self) -> BTreeMap<String, u64> {
        self.0.recorder.faults_fired()
    }

    /// Adds a fault rule, which counts from now on; see [`FaultPlan::rule`].
    pub fn add_fault(&self, point: impl Into<String>, nth: u64, fault: Fault) {
        self.0.recorder.add_fault(point.into(), nth, fault);
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
        LiveStream::new(tcp, &self.recorder, true)
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
        LiveStream::new(tcp, &self.recorder, false)
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
    /// Present when the world captures.
    tap: Option<Tap>,
}

impl LiveStream {
    fn new(tcp: TcpStream, recorder: &Arc<Recorder>, connected: bool) -> io::Result<LiveStream> {
        tcp.set_nodelay(true)?;
        let (local, peer) = (tcp.local_addr()?, tcp.peer_addr()?);
        let conn = recorder.next_conn();
        let tap = recorder.is_capturing().then(|| Tap::new(recorder.clone(), conn, local, peer, connected));
        Ok(LiveStream { tcp, local, peer, conn, tap })
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

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let had_room = buf.remaining() > 0;
        let polled = Pin::new(&mut self.tcp).poll_read(cx, buf);
        if let (Some(tap), Poll::Ready(result)) = (&mut self.tap, &polled) {
            match result {
                Ok(()) if had_room => tap.received(&buf.filled()[before..]),
                Ok(()) => {}
                Err(_) => tap.broken(),
            }
        }
        polled
    }

    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.tcp).poll_write(cx, data);
        if let (Some(tap), Poll::Ready(Ok(written))) = (&mut self.tap, &polled) {
            tap.sent(&[IoSlice::new(data)], *written);
        }
        polled
    }

    pub(crate) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.tcp).poll_write_vectored(cx, slices);
        if let (Some(tap), Poll::Ready(Ok(written))) = (&mut self.tap, &polled) {
            tap.sent(slices, *written);
        }
        polled
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(tap) = &mut self.tap {
            tap.finished(true);
        }
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// Records both directions of one connection.
struct Tap {
    recorder: Arc<Recorder>,
    conn: u64,
    local: SocketAddr,
    peer: SocketAddr,
    connected: bool,
    /// The end that connected is in this world too and records this connection.
    mirrored: bool,
    /// The SYN is recorded with the first event, in its place before it.
    begun: bool,
    ended_out: bool,
    ended_in: bool,
}

impl Tap {
    fn new(recorder: Arc<Recorder>, conn: u64, local: SocketAddr, peer: SocketAddr, connected: bool) -> Tap {
        if connected {
            recorder.own_ends().insert((local, peer));
        }
        let mut tap = Tap {
            recorder,
            conn,
            local,
            peer,
            connected,
            mirrored: false,
            begun: false,
            ended_out: false,
            ended_in: false,
        };
        tap.mirrored = tap.is_mirror();
        if connected {
            tap.begin();
        }
        tap
    }

    fn is_mirror(&self) -> bool {
        !self.connected && self.recorder.own_ends().contains(&(self.peer, self.local))
    }

    /// False when the other end records.
    fn begin(&mut self) -> bool {
        // Accept may come before the other end's connect has returned, so the first event looks again.
        self.mirrored |= !self.begun && self.is_mirror();
        if self.mirrored {
            return false;
        }
        if !std::mem::replace(&mut self.begun, true) {
            let (src, dst) = if self.connected { (self.local, self.peer) } else { (self.peer, self.local) };
            self.recorder.capture(self.conn, src, dst, SegmentKind::Syn, Bytes::new());
        }
        true
    }

    fn record(&mut self, out: bool, kind: SegmentKind, bytes: Bytes) {
        if self.begin() {
            let (src, dst) = if out { (self.local, self.peer) } else { (self.peer, self.local) };
            self.recorder.capture(self.conn, src, dst, kind, bytes);
        }
    }

    fn sent(&mut self, slices: &[IoSlice<'_>], written: usize) {
        if written == 0 {
            return;
        }
        let mut bytes = Vec::with_capacity(written);
        for slice in slices {
            let rest = written - bytes.len();
            bytes.extend_from_slice(&slice[..slice.len().min(rest)]);
        }
        self.record(true, SegmentKind::Data, bytes.into());
    }

    /// Nothing received is the end of the stream.
    fn received(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            self.finished(false);
        } else {
            self.record(false, SegmentKind::Data, Bytes::copy_from_slice(bytes));
        }
    }

    fn finished(&mut self, out: bool) {
        let ended = if out { &mut self.ended_out } else { &mut self.ended_in };
        if !std::mem::replace(ended, true) {
            self.record(out, SegmentKind::Fin, Bytes::new());
        }
    }

    fn broken(&mut self) {
        self.ended_out = true;
        if !std::mem::replace(&mut self.ended_in, true) {
            self.record(false, SegmentKind::Rst, Bytes::new());
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.finished(true);
        if self.connected {
            // The port may come again.
            self.recorder.own_ends().remove(&(self.local, self.peer));
        }
    }
}
