//! The fabric: who has which address, who listens where, which paths are cut, which connections exist.
//!
//! Lock order: fabric, then connection. Connections are collected under the fabric's lock and worked on after it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::sync::{Arc, Mutex, Weak};

use tokio::runtime::Handle;

use super::link::{self, Conn, End, Path};
use super::listener::Door;
use super::shape::Shape;
use crate::lock;
use crate::recorder::Recorder;

/// First ephemeral port (RFC 6335 section 6).
const EPHEMERAL_FIRST: u16 = 49152;

pub(crate) struct Fabric {
    pub(super) seed: u64,
    pub(super) handle: Handle,
    pub(super) recorder: Arc<Recorder>,
    net: Mutex<Net>,
}

#[derive(Default)]
struct Net {
    hosts: BTreeMap<Arc<str>, Host>,
    by_addr: BTreeMap<IpAddr, Arc<str>>,
    doors: BTreeMap<(Arc<str>, SocketAddr), Arc<Door>>,
    conns: BTreeMap<u64, Weak<Conn>>,
    used: BTreeSet<SocketAddr>,
    ordinals: BTreeMap<(IpAddr, IpAddr), u64>,
    latency: (u64, u64),
    latency_between: BTreeMap<(Arc<str>, Arc<str>), (u64, u64)>,
    /// What segments between two addresses take longer than that, milliseconds.
    delay_addrs: BTreeMap<(IpAddr, IpAddr), u64>,
    cut_nodes: BTreeSet<(Arc<str>, Arc<str>)>,
    cut_addrs: BTreeSet<(IpAddr, IpAddr)>,
    shape_nodes: BTreeMap<(Arc<str>, Arc<str>), Shape>,
    shape_addrs: BTreeMap<(IpAddr, IpAddr), Shape>,
}

struct Host {
    addrs: Vec<IpAddr>,
    powered: bool,
    next_port: u16,
}

/// What a SYN meets.
pub(super) enum Knock {
    /// No answer comes back.
    Lost,
    Refused,
    Listening(Arc<Door>),
}

impl Net {
    fn path(&self, from: (&Arc<str>, IpAddr), to: (&Arc<str>, IpAddr)) -> Path {
        let nodes = (from.0.clone(), to.0.clone());
        let latency = self.latency_between.get(&nodes).copied().unwrap_or(self.latency);
        let more = self.delay_addrs.get(&(from.1, to.1)).copied().unwrap_or(0);
        Path {
            latency: (latency.0.saturating_add(more), latency.1.saturating_add(more)),
            cut: self.cut_nodes.contains(&nodes) || self.cut_addrs.contains(&(from.1, to.1)),
            shape: self
                .shape_addrs
                .get(&(from.1, to.1))
                .or_else(|| self.shape_nodes.get(&nodes))
                .copied()
                .unwrap_or_default(),
        }
    }

    fn paths(&self, conn: &Conn) -> [Path; 2] {
        let ends = [0, 1].map(|end: End| (&conn.nodes[end], conn.addrs[end].ip()));
        [self.path(ends[0], ends[1]), self.path(ends[1], ends[0])]
    }

    /// Whose address it is. A loopback address that no node claims is the asking node's own.
    fn owner(&self, asking: &Arc<str>, ip: IpAddr) -> Option<Arc<str>> {
        match self.by_addr.get(&ip) {
            Some(node) => Some(node.clone()),
            None if ip.is_loopback() => Some(asking.clone()),
            None => None,
        }
    }

    fn listening(&self, node: &Arc<str>, addr: SocketAddr) -> Option<Arc<Door>> {
        [addr, SocketAddr::new(unspecified(addr.ip()), addr.port())]
            .into_iter()
            .find_map(|on| self.doors.get(&(node.clone(), on)).cloned())
    }

    fn port_taken(&self, node: &Arc<str>, on: SocketAddr) -> bool {
        self.doors.keys().any(|(owner, taken)| {
            owner == node
                && taken.port() == on.port()
                && taken.is_ipv4() == on.is_ipv4()
                && (taken.ip() == on.ip() || taken.ip().is_unspecified() || on.ip().is_unspecified())
        }) || self.used.contains(&on)
    }

    fn ephemeral(&mut self, node: &Arc<str>, ip: IpAddr) -> io::Result<u16> {
        for _ in EPHEMERAL_FIRST..=u16::MAX {
            let Some(host) = self.hosts.get_mut(node) else { break };
            let port = host.next_port;
            host.next_port = port.checked_add(1).unwrap_or(EPHEMERAL_FIRST);
            if !self.port_taken(node, SocketAddr::new(ip, port)) {
                return Ok(port);
            }
        }
        Err(ErrorKind::AddrNotAvailable.into())
    }

    fn conns(&self) -> Vec<Arc<Conn>> {
        self.conns.values().filter_map(Weak::upgrade).collect()
    }
}

impl Fabric {
    pub(super) fn new(seed: u64, handle: Handle, recorder: Arc<Recorder>, latency: &Range<u64>) -> Fabric {
        let net = Net { latency: (latency.start, latency.end), ..Net::default() };
        Fabric { seed, handle, recorder, net: Mutex::new(net) }
    }

    /// Adds addresses to a host and gives it power. New connections of a dark host's peers are answered again.
    ///
    /// # Panics
    /// When another host has one of the addresses.
    pub(super) fn power_on(&self, node: &Arc<str>, addrs: &[IpAddr]) {
        let conns = {
            let mut net = lock(&self.net);
            for addr in addrs {
                let owner = net.by_addr.entry(*addr).or_insert_with(|| node.clone());
                assert!(owner == node, "{addr} belongs to node {owner} and was given to {node}");
            }
            let host = net.hosts.entry(node.clone()).or_insert_with(|| Host {
                addrs: Vec::new(),
                powered: true,
                next_port: EPHEMERAL_FIRST,
            });
            for addr in addrs {
                if !host.addrs.contains(addr) {
                    host.addrs.push(*addr);
                }
            }
            if std::mem::replace(&mut host.powered, true) {
                return;
            }
            net.conns()
        };
        for conn in conns {
            for end in [0, 1] {
                if conn.nodes[end] == *node {
                    conn.come_back(end);
                }
            }
        }
    }

    /// The host's process dies (`power_off` false) or the host loses power. Its links are dealt with here, before
    /// any of its tasks is dropped.
    pub(super) fn silence(&self, node: &str, power_off: bool) {
        let (conns, doors) = {
            let mut net = lock(&self.net);
            let Some(host) = net.hosts.get_mut(node) else { return };
            if power_off {
                host.powered = false;
            }
            let keys: Vec<_> = net.doors.keys().filter(|(owner, _)| &**owner == node).cloned().collect();
            let doors: Vec<_> = keys.iter().filter_map(|key| net.doors.remove(key)).collect();
            (net.conns(), doors)
        };
        let waiting: Vec<_> = doors.iter().flat_map(|door| door.close()).collect();
        if !power_off {
            // Nobody will accept them any more; the host says so.
            waiting.iter().for_each(|stream| stream.conn().reset());
        }
        for conn in conns {
            for end in [0, 1] {
                if &*conn.nodes[end] == node {
                    if power_off { conn.go_dark(end) } else { conn.close(end) }
                }
            }
        }
    }

    pub(super) fn addresses(&self, node: &str) -> Vec<IpAddr> {
        lock(&self.net).hosts.get(node).map(|host| host.addrs.clone()).unwrap_or_default()
    }

    pub(super) fn register(
        &self,
        node: &Arc<str>,
        on: SocketAddr,
        door: &Arc<Door>,
    ) -> io::Result<SocketAddr> {
        let mut net = lock(&self.net);
        let ip = on.ip();
        let own = net.hosts.get(node).is_some_and(|host| host.addrs.contains(&ip));
        if !own && !ip.is_unspecified() && net.owner(node, ip).as_ref() != Some(node) {
            return Err(io::Error::new(
                ErrorKind::AddrNotAvailable,
                format!("{ip} is no address of node {node}"),
            ));
        }
        let addr = match on.port() {
            0 => SocketAddr::new(ip, net.ephemeral(node, ip)?),
            _ if net.port_taken(node, on) => {
                return Err(io::Error::new(ErrorKind::AddrInUse, format!("{on} is in use on node {node}")));
            }
            _ => on,
        };
        net.doors.insert((node.clone(), addr), door.clone());
        Ok(addr)
    }

    pub(super) fn unlisten(&self, node: &Arc<str>, addr: SocketAddr, door: &Arc<Door>) {
        let mut net = lock(&self.net);
        let key = (node.clone(), addr);
        // After a crash and restart the address may belong to the next life of the node.
        if net.doors.get(&key).is_some_and(|current| Arc::ptr_eq(current, door)) {
            net.doors.remove(&key);
        }
    }

    /// A connection that is not up yet: it has its addresses, number and dice.
    pub(super) fn prepare(
        self: &Arc<Self>,
        node: &Arc<str>,
        from: Option<IpAddr>,
        to: SocketAddr,
    ) -> io::Result<Conn> {
        let mut net = lock(&self.net);
        if to.port() == 0 || to.ip().is_unspecified() {
            return Err(io::Error::new(
                ErrorKind::AddrNotAvailable,
                format!("{to} is no address to connect to"),
            ));
        }
        let peer = net.owner(node, to.ip());
        let ip = match from {
            Some(from) if net.owner(node, from).as_ref() != Some(node) => {
                return Err(io::Error::new(
                    ErrorKind::AddrNotAvailable,
                    format!("{from} is no address of node {node}"),
                ));
            }
            Some(from) => from,
            None if peer.as_ref() == Some(node) => to.ip(),
            None => {
                let addrs = net.hosts.get(node).map(|host| host.addrs.as_slice()).unwrap_or_default();
                nearest(addrs, to.ip()).ok_or_else(|| {
                    io::Error::new(
                        ErrorKind::AddrNotAvailable,
                        format!("node {node} has no address to reach {to}"),
                    )
                })?
            }
        };
        if ip.is_ipv4() != to.is_ipv4() {
            return Err(io::Error::new(ErrorKind::AddrNotAvailable, format!("no path from {ip} to {to}")));
        }
        let local = SocketAddr::new(ip, net.ephemeral(node, ip)?);
        // Keyed by the pair and the count between them: another connection less elsewhere shifts nothing here.
        let ordinal = net.ordinals.entry((ip, to.ip())).or_insert(0);
        let key = format!("{ip}>{}#{ordinal}", to.ip());
        *ordinal += 1;
        net.used.insert(local);
        // An address that nobody has gets a node name that nobody has.
        let nodes = [node.clone(), peer.unwrap_or_else(|| "".into())];
        let paths = [
            net.path((&nodes[0], ip), (&nodes[1], to.ip())),
            net.path((&nodes[1], to.ip()), (&nodes[0], ip)),
        ];
        let id = self.recorder.next_conn();
        drop(net);
        Ok(Conn::new(self.clone(), id, [local, to], nodes, key, paths))
    }

    /// A SYN arrives.
    pub(super) fn knock(&self, conn: &Arc<Conn>) -> Knock {
        let mut net = lock(&self.net);
        let paths = net.paths(conn);
        let node = &conn.nodes[1];
        let powered = net.hosts.get(node).is_some_and(|host| host.powered);
        if paths.iter().any(|path| path.cut) || !powered {
            return Knock::Lost;
        }
        match net.listening(node, conn.addrs[1]) {
            None => Knock::Refused,
            Some(door) if !door.has_room() => Knock::Lost,
            Some(door) => {
                net.conns.insert(conn.id, Arc::downgrade(conn));
                drop(net);
                // The conditions may have changed since the connection was prepared.
                conn.set_paths(paths);
                Knock::Listening(door)
            }
        }
    }

    pub(super) fn conn_dropped(&self, id: u64, local: SocketAddr) {
        let mut net = lock(&self.net);
        net.conns.remove(&id);
        net.used.remove(&local);
    }

    /// Starts the time-out of unacknowledged data.
    pub(super) fn watch(self: &Arc<Self>, id: u64, end: End, number: u64, at: u64) {
        let conn = lock(&self.net).conns.get(&id).cloned();
        if let Some(conn) = conn {
            drop(self.handle.spawn(link::watch(Arc::downgrade(self), conn, end, number, at)));
        }
    }

    /// Changes conditions, then tells every connection.
    fn change(&self, change: impl FnOnce(&mut Net)) {
        let conns = {
            let mut net = lock(&self.net);
            change(&mut net);
            net.conns().into_iter().map(|conn| (net.paths(&conn), conn)).collect::<Vec<_>>()
        };
        for (paths, conn) in conns {
            conn.set_paths(paths);
        }
    }

    pub(super) fn set_cut(&self, from: &str, to: &str, cut: bool) {
        let pair: (Arc<str>, Arc<str>) = (from.into(), to.into());
        self.change(|net| {
            if cut {
                net.cut_nodes.insert(pair);
            } else {
                net.cut_nodes.remove(&pair);
            }
        });
    }

    pub(super) fn set_cut_addr(&self, pairs: &[(IpAddr, IpAddr)], cut: bool) {
        self.change(|net| {
            for pair in pairs {
                if cut {
                    net.cut_addrs.insert(*pair);
                } else {
                    net.cut_addrs.remove(pair);
                }
            }
        });
    }

    /// Between two addresses nothing is cut, shaped or delayed any more.
    pub(super) fn heal_addrs(&self, a: IpAddr, b: IpAddr) {
        self.change(|net| {
            for pair in [(a, b), (b, a)] {
                net.cut_addrs.remove(&pair);
                net.shape_addrs.remove(&pair);
                net.delay_addrs.remove(&pair);
            }
        });
    }

    pub(super) fn set_delay_addr(&self, from: IpAddr, to: IpAddr, ms: u64) {
        self.change(|net| {
            net.delay_addrs.insert((from, to), ms);
        });
    }

    pub(super) fn heal_all(&self) {
        self.change(|net| {
            net.cut_nodes.clear();
            net.cut_addrs.clear();
            net.shape_nodes.clear();
            net.shape_addrs.clear();
            net.delay_addrs.clear();
        });
    }

    pub(super) fn set_shape(&self, from: &str, to: &str, shape: Shape) {
        self.change(|net| {
            net.shape_nodes.insert((from.into(), to.into()), shape);
        });
    }

    pub(super) fn set_shape_addr(&self, from: IpAddr, to: IpAddr, shape: Shape) {
        self.change(|net| {
            net.shape_addrs.insert((from, to), shape);
        });
    }

    pub(super) fn set_latency(&self, ms: &Range<u64>) {
        self.change(|net| {
            net.latency = (ms.start, ms.end);
            net.latency_between.clear();
        });
    }

    pub(super) fn set_latency_between(&self, from: &str, to: &str, ms: &Range<u64>) {
        self.change(|net| {
            net.latency_between.insert((from.into(), to.into()), (ms.start, ms.end));
        });
    }

    /// The connections between two addresses, in whichever direction they were opened.
    pub(super) fn between_addrs(&self, a: IpAddr, b: IpAddr) -> Vec<Arc<Conn>> {
        let conns = lock(&self.net).conns();
        let ends = |conn: &Conn| (conn.addrs[0].ip(), conn.addrs[1].ip());
        conns.into_iter().filter(|conn| ends(conn) == (a, b) || ends(conn) == (b, a)).collect()
    }

    /// The connections between two nodes, each with the end that `first` has.
    pub(super) fn between(&self, first: &str, second: &str) -> Vec<(Arc<Conn>, End)> {
        let conns = lock(&self.net).conns();
        conns
            .into_iter()
            .filter_map(|conn| match (&*conn.nodes[0], &*conn.nodes[1]) {
                (a, b) if (a, b) == (first, second) => Some((conn, 0)),
                (a, b) if (a, b) == (second, first) => Some((conn, 1)),
                _ => None,
            })
            .collect()
    }
}

/// The address that shares the longest prefix with `to`; the first of equals.
fn nearest(addrs: &[IpAddr], to: IpAddr) -> Option<IpAddr> {
    let shared = |addr: &IpAddr| match (addr, to) {
        (IpAddr::V4(a), IpAddr::V4(b)) => Some((a.to_bits() ^ b.to_bits()).leading_zeros()),
        (IpAddr::V6(a), IpAddr::V6(b)) => Some((a.to_bits() ^ b.to_bits()).leading_zeros()),
        _ => None,
    };
    let mut best: Option<(u32, IpAddr)> = None;
    for addr in addrs {
        if let Some(bits) = shared(addr)
            && best.is_none_or(|(most, _)| bits > most)
        {
            best = Some((bits, *addr));
        }
    }
    best.map(|(_, addr)| addr)
}

fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_address_shares_the_subnet() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let own = [ip("10.0.1.5"), ip("10.0.2.5"), ip("fd00::5")];
        assert_eq!(nearest(&own, ip("10.0.2.1")), Some(ip("10.0.2.5")));
        assert_eq!(nearest(&own, ip("10.0.1.1")), Some(ip("10.0.1.5")));
        assert_eq!(nearest(&own, ip("192.0.2.1")), Some(ip("10.0.1.5")));
        assert_eq!(nearest(&own, ip("fd00::1")), Some(ip("fd00::5")));
        assert_eq!(nearest(&own[..2], ip("fd00::1")), None);
    }
}
