//! Which ways between a node and an address carry bytes, and who carries them where they are late.
//!
//! The real network cannot be cut, so the node's own end plays the path: what it would send is kept here, what has arrived
//! stays in the kernel, until the way is healed. The other end needs no part in it and may be a foreign machine.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::conn::{Conn, Fate};
use crate::lock;
use crate::recorder::Recorder;

/// One end of a way that [`LiveWorld`](super::LiveWorld) breaks. As a direction it is the end that bytes go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiveEnd {
    /// The node of the world.
    Node,
    /// The address that the node connects to.
    Peer,
}

impl LiveEnd {
    pub(super) const BOTH: [LiveEnd; 2] = [LiveEnd::Node, LiveEnd::Peer];
}

/// Connections whose owner is gone or has forgotten them and that are still kept; a further one is reset instead.
const KEPT: usize = 256;

/// How one direction of a way treats bytes. The default is a way without fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rule {
    /// Nothing passes.
    pub(super) cut: bool,
    /// How much later everything arrives, nanoseconds.
    pub(super) delay_ns: u64,
    /// Bytes that pass at once at most; 0 is as many as there are.
    pub(super) segment: usize,
    /// Of a hundred pieces so many come as late as a lost segment does.
    pub(super) loss: u8,
}

impl Rule {
    pub(super) fn is_plain(&self) -> bool {
        *self == Rule::default()
    }

    /// Something may have to wait.
    pub(super) fn is_late(&self) -> bool {
        self.delay_ns > 0 || self.loss > 0
    }
}

/// Both directions of a way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    /// From the peer to the node.
    pub(super) inward: Rule,
    /// From the node to the peer.
    pub(super) outward: Rule,
}

impl Rules {
    pub(super) fn towards(&mut self, end: LiveEnd) -> &mut Rule {
        match end {
            LiveEnd::Node => &mut self.inward,
            LiveEnd::Peer => &mut self.outward,
        }
    }
}

/// All ways of one world.
pub(super) struct Gates {
    handle: Handle,
    pub(super) recorder: Arc<Recorder>,
    pub(super) seed: u64,
    table: Mutex<Table>,
    /// Some way changed.
    changed: Notify,
    /// What goes on without the owner of a connection.
    carriers: Mutex<JoinSet<()>>,
}

#[derive(Default)]
struct Table {
    rules: BTreeMap<(Arc<str>, SocketAddr), Rules>,
    conns: BTreeMap<u64, Entry>,
}

/// A connection, with what is asked about it: it is upgraded only where it is used, because the last reference must not go
/// while the table is locked.
struct Entry {
    node: Arc<str>,
    local: SocketAddr,
    peer: SocketAddr,
    conn: Weak<Conn>,
}

impl Table {
    fn rules(&self, node: &Arc<str>, peer: SocketAddr) -> Rules {
        self.rules.get(&(node.clone(), peer)).copied().unwrap_or_default()
    }

    /// The connections of a node with an address.
    fn between(&self, node: &str, peer: SocketAddr) -> impl Iterator<Item = &Entry> {
        self.conns.values().filter(move |entry| *entry.node == *node && entry.peer == peer)
    }

    /// The other ends of these connections, as far as they are in this world.
    fn other_ends(&self, node: &str, peer: SocketAddr) -> impl Iterator<Item = &Entry> {
        let ours: BTreeSet<SocketAddr> = self.between(node, peer).map(|entry| entry.local).collect();
        self.conns.values().filter(move |entry| entry.local == peer && ours.contains(&entry.peer))
    }
}

fn alive<'t>(entries: impl Iterator<Item = &'t Entry>) -> Vec<Arc<Conn>> {
    entries.filter_map(|entry| entry.conn.upgrade()).collect()
}

impl Gates {
    pub(super) fn new(handle: Handle, recorder: Arc<Recorder>, seed: u64) -> Gates {
        Gates {
            handle,
            recorder,
            seed,
            table: Mutex::default(),
            changed: Notify::new(),
            carriers: Mutex::default(),
        }
    }

    /// Waits until a connection attempt of a node gets through to an address.
    pub(super) async fn passage(&self, node: &Arc<str>, peer: SocketAddr) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // Registered before the look, so that no heal falls between the two.
            changed.as_mut().enable();
            let rules = lock(&self.table).rules(node, peer);
            if !rules.inward.cut && !rules.outward.cut {
                // What is asked and what is answered are late once each.
                let late = Duration::from_nanos(rules.inward.delay_ns.saturating_add(rules.outward.delay_ns));
                if !late.is_zero() {
                    tokio::time::sleep_until(self.recorder.start() + self.recorder.now() + late).await;
                }
                return;
            }
            changed.await;
        }
    }

    /// A connection exists from now on.
    pub(super) fn register(&self, conn: &Arc<Conn>) {
        // Rules reach connections under the lock of the table, so that none overtakes a later one.
        let mut table = lock(&self.table);
        let rules = {
            let (node, local, peer) = (conn.node.clone(), conn.local, conn.peer);
            table.conns.insert(conn.id, Entry { node, local, peer, conn: Arc::downgrade(conn) });
            table.rules(&conn.node, conn.peer)
        };
        if rules != Rules::default() {
            conn.set(rules);
        }
    }

    pub(super) fn forget(&self, conn: u64) {
        lock(&self.table).conns.remove(&conn);
    }

    /// Changes the rules of one way.
    pub(super) fn change(&self, node: &str, peer: SocketAddr, change: impl FnOnce(&mut Rules)) {
        let key: (Arc<str>, SocketAddr) = (node.into(), peer);
        let conns = {
            let mut table = lock(&self.table);
            let mut rules = table.rules(&key.0, peer);
            change(&mut rules);
            if rules == Rules::default() {
                table.rules.remove(&key);
            } else {
                table.rules.insert(key, rules);
            }
            let conns = alive(table.between(node, peer));
            conns.iter().for_each(|conn| conn.set(rules));
            conns
        };
        // The last reference to a connection must not go while the table is locked: see `Conn::drop`.
        drop(conns);
        self.changed.notify_waiters();
    }

    /// All ways are without fault again.
    pub(super) fn heal_all(&self) {
        let conns = {
            let mut table = lock(&self.table);
            let broken = std::mem::take(&mut table.rules);
            let conns = alive(broken.keys().flat_map(|(node, peer)| table.between(node, *peer)));
            conns.iter().for_each(|conn| conn.set(Rules::default()));
            conns
        };
        drop(conns);
        self.changed.notify_waiters();
    }

    /// Both ends of the connections between a node and an address see a reset. Gives how many there were.
    pub(super) fn reset(&self, node: &str, peer: SocketAddr) -> usize {
        let conns = alive(lock(&self.table).between(node, peer));
        conns.iter().for_each(|conn| conn.end(ErrorKind::ConnectionReset, Fate::Reset));
        conns.len()
    }

    /// One end of the connections between a node and an address forgets them. Gives how many there were.
    pub(super) fn half_open(&self, node: &str, peer: SocketAddr, forgetful: LiveEnd) -> usize {
        let conns = {
            let table = lock(&self.table);
            match forgetful {
                LiveEnd::Node => alive(table.between(node, peer)),
                LiveEnd::Peer => alive(table.other_ends(node, peer)),
            }
        };
        conns.iter().for_each(|conn| conn.end(ErrorKind::ConnectionAborted, Fate::Forgotten));
        conns.len()
    }

    /// Lets something go on that outlives its stream; it ends with the world. False when too much goes on already.
    pub(super) fn carry(&self, work: impl Future<Output = ()> + Send + 'static) -> bool {
        let mut carriers = lock(&self.carriers);
        while carriers.try_join_next().is_some() {}
        if carriers.len() >= KEPT {
            return false;
        }
        carriers.spawn_on(work, &self.handle);
        true
    }

    /// Ends what goes on without its owner.
    pub(super) fn close(&self) {
        lock(&self.carriers).abort_all();
    }

    /// A second handle of the same socket, for a task that writes while its owner reads.
    ///
    /// # Errors
    /// What the operating system reports, such as too many open files.
    #[cfg(unix)]
    pub(super) fn twin(&self, tcp: &TcpStream) -> io::Result<TcpStream> {
        use std::os::fd::AsFd as _;
        let _runtime = self.handle.enter();
        TcpStream::from_std(tcp.as_fd().try_clone_to_owned()?.into())
    }

    /// Ways can be broken only where a socket can have two handles.
    #[cfg(not(unix))]
    pub(super) fn twin(&self, _: &TcpStream) -> io::Result<TcpStream> {
        Err(ErrorKind::Unsupported.into())
    }
}
