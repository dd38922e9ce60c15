//! The host table and its transitions.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use sanbench_api::{HostCensus, HostDevice, HostSession, MultipathMap, Wwn};

use super::ledger::Ledger;
use super::names::{by_id_names, dm_name, map_wwid, sd_name};
use super::uevent::{Queue, Uevent, UeventKind, UeventPlan};

/// Number of a session; also its SCSI host number, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId(pub u32);

/// Address of a SCSI device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hctl {
    /// SCSI host: the session.
    pub host: SessionId,
    /// Always 0 with iSCSI.
    pub channel: u32,
    /// Always 0: one target in a session.
    pub target: u32,
    /// Logical unit.
    pub lun: u16,
}

impl Hctl {
    /// The device of a LUN in a session.
    pub fn new(host: SessionId, lun: u16) -> Self {
        Self { host, channel: 0, target: 0, lun }
    }
}

impl fmt::Display for Hctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}:{}", self.host.0, self.channel, self.target, self.lun)
    }
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// Portal.
    pub portal: SocketAddr,
    /// Target.
    pub iqn: String,
    /// Which of several sessions to that portal: the host's interface, from 0.
    pub interface: u16,
    /// Logged in now, or waiting to come back.
    pub logged_in: bool,
}

/// A SCSI device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRecord {
    /// `sda`.
    pub name: String,
    /// Identity read when it appeared.
    pub wwn: Option<Wwn>,
    /// Capacity in bytes.
    pub size_bytes: u64,
    /// Partitions that the kernel found when it first read the device.
    pub partitions: u8,
}

/// `node.startup` of a node record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Startup {
    /// Nobody logs in by itself.
    #[default]
    Manual,
    /// The host logs in when it boots: the record of a session in use.
    Automatic,
}

/// A multipath map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapRecord {
    /// Identity of its paths.
    pub wwn: Wwn,
    /// Names of its path devices.
    pub paths: BTreeSet<String>,
    /// Size in bytes.
    pub size_bytes: u64,
}

/// A transition that the host refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// A session to that portal and target exists.
    #[error("a session to {0} exists")]
    SessionExists(SocketAddr),
    /// No such session.
    #[error("no session {0:?}")]
    NoSession(SessionId),
    /// The session has devices; a logout would pull them away.
    #[error("session {0:?} has devices")]
    SessionBusy(SessionId),
    /// A session of that portal and target exists; its node record stays.
    #[error("node record of {0} is in use")]
    NodeBusy(SocketAddr),
    /// A device with that address exists.
    #[error("device {0} exists")]
    DeviceExists(Hctl),
    /// No such device.
    #[error("no device {0}")]
    NoDevice(String),
    /// A map holds the device.
    #[error("{0} is held by a map")]
    DeviceHeld(String),
    /// No such map.
    #[error("no map {0}")]
    NoMap(String),
    /// A map of that identity exists.
    #[error("a map of {0} exists")]
    MapExists(Wwn),
    /// The device shows another identity than the map.
    #[error("{0} is another volume")]
    Stranger(String),
}

/// Everything on one host.
#[derive(Clone, Debug, Default)]
pub struct HostTable {
    host: String,
    plan: UeventPlan,
    pub(super) sessions: BTreeMap<SessionId, SessionRecord>,
    pub(super) nodes: BTreeMap<(SocketAddr, String), Startup>,
    pub(super) devices: BTreeMap<Hctl, DeviceRecord>,
    pub(super) maps: BTreeMap<u32, MapRecord>,
    /// by-id name to device name; made by udev.
    pub(super) by_id: BTreeMap<String, String>,
    /// multipathd's own path list: device name to the identity it learnt.
    pub(super) daemon: BTreeMap<String, Wwn>,
    events: Queue,
    next_session: u32,
    pub(super) ledger: Ledger,
}

impl HostTable {
    /// An empty host.
    pub fn new(host: impl Into<String>, plan: UeventPlan) -> Self {
        Self { host: host.into(), plan, ..Self::default() }
    }

    // ---- node records and sessions

    /// Makes the node record; one that exists keeps its startup value (INV-H12).
    pub fn add_node(&mut self, portal: SocketAddr, iqn: &str) {
        self.nodes.entry((portal, iqn.to_owned())).or_default();
    }

    /// Removes the node record; it may be missing.
    ///
    /// # Errors
    /// [`HostError::NodeBusy`] while a session uses it.
    pub fn remove_node(&mut self, portal: SocketAddr, iqn: &str) -> Result<(), HostError> {
        if self.sessions_to(portal, iqn).next().is_some() {
            return Err(HostError::NodeBusy(portal));
        }
        self.nodes.remove(&(portal, iqn.to_owned()));
        Ok(())
    }

    /// Whether the node record exists.
    pub fn has_node(&self, portal: SocketAddr, iqn: &str) -> bool {
        self.startup(portal, iqn).is_some()
    }

    /// `node.startup` of a node record.
    pub fn startup(&self, portal: SocketAddr, iqn: &str) -> Option<Startup> {
        self.nodes.get(&(portal, iqn.to_owned())).copied()
    }

    /// Adds a session of an interface that has logged in; its node record becomes automatic.
    ///
    /// # Errors
    /// [`HostError::SessionExists`].
    pub fn add_session(
        &mut self,
        portal: SocketAddr,
        iqn: &str,
        interface: u16,
    ) -> Result<SessionId, HostError> {
        if self.session(portal, iqn, interface).is_some() {
            return Err(HostError::SessionExists(portal));
        }
        let id = SessionId(self.next_session);
        self.next_session += 1;
        self.sessions.insert(id, SessionRecord { portal, iqn: iqn.to_owned(), interface, logged_in: true });
        self.nodes.insert((portal, iqn.to_owned()), Startup::Automatic);
        Ok(id)
    }

    /// The session of an interface to a portal and target.
    pub fn session(&self, portal: SocketAddr, iqn: &str, interface: u16) -> Option<SessionId> {
        self.sessions_to(portal, iqn).find(|(_, s)| s.interface == interface).map(|(id, _)| id)
    }

    /// All sessions to a portal and target.
    pub fn sessions_to(
        &self,
        portal: SocketAddr,
        iqn: &str,
    ) -> impl Iterator<Item = (SessionId, &SessionRecord)> {
        let all = self.sessions.iter().map(|(id, s)| (*id, s));
        all.filter(move |(_, s)| s.portal == portal && s.iqn == iqn)
    }

    /// Notes that a session lost or regained its connection.
    pub fn set_logged_in(&mut self, id: SessionId, logged_in: bool) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.logged_in = logged_in;
        }
    }

    /// Removes a session. The node record becomes manual with the last one.
    ///
    /// # Errors
    /// [`HostError::SessionBusy`] while a device of it exists (INV-H2), [`HostError::NoSession`].
    pub fn remove_session(&mut self, id: SessionId) -> Result<(), HostError> {
        if self.session_in_use(id) {
            return Err(HostError::SessionBusy(id));
        }
        let session = self.sessions.remove(&id).ok_or(HostError::NoSession(id))?;
        if self.sessions_to(session.portal, &session.iqn).next().is_none()
            && let Some(startup) = self.nodes.get_mut(&(session.portal, session.iqn))
        {
            *startup = Startup::Manual;
        }
        Ok(())
    }

    /// True while a device of the session exists.
    pub fn session_in_use(&self, id: SessionId) -> bool {
        self.devices.keys().any(|h| h.host == id)
    }

    // ---- devices

    /// A narrow scan found a logical unit. Gives it the first free name.
    ///
    /// # Errors
    /// [`HostError::DeviceExists`], [`HostError::NoSession`].
    pub fn add_device(
        &mut self,
        now: Duration,
        at: Hctl,
        wwn: Option<Wwn>,
        size_bytes: u64,
    ) -> Result<String, HostError> {
        if !self.sessions.contains_key(&at.host) {
            return Err(HostError::NoSession(at.host));
        }
        if self.devices.contains_key(&at) {
            return Err(HostError::DeviceExists(at));
        }
        let used: BTreeSet<&str> = self.devices.values().map(|d| d.name.as_str()).collect();
        let name = (0..).map(sd_name).find(|n| !used.contains(n.as_str())).unwrap_or_default();
        self.devices.insert(at, DeviceRecord { name: name.clone(), wwn, size_bytes, partitions: 0 });
        self.announce(now, UeventKind::Add, &name, wwn);
        Ok(name)
    }

    /// The kernel found partitions on the device.
    ///
    /// # Errors
    /// [`HostError::NoDevice`].
    pub fn set_partitions(&mut self, at: Hctl, partitions: u8) -> Result<(), HostError> {
        let device = self.devices.get_mut(&at).ok_or_else(|| HostError::NoDevice(at.to_string()))?;
        device.partitions = partitions;
        Ok(())
    }

    /// The device at an address.
    pub fn device(&self, at: Hctl) -> Option<&DeviceRecord> {
        self.devices.get(&at)
    }

    /// Addresses and devices.
    pub fn devices(&self) -> impl Iterator<Item = (Hctl, &DeviceRecord)> {
        self.devices.iter().map(|(h, d)| (*h, d))
    }

    /// A rescan read another size.
    ///
    /// # Errors
    /// [`HostError::NoDevice`].
    pub fn resize_device(&mut self, now: Duration, at: Hctl, size_bytes: u64) -> Result<(), HostError> {
        let device = self.devices.get_mut(&at).ok_or_else(|| HostError::NoDevice(at.to_string()))?;
        device.size_bytes = size_bytes;
        let (name, wwn) = (device.name.clone(), device.wwn);
        self.announce(now, UeventKind::Change, &name, wwn);
        Ok(())
    }

    /// Deletes a device. Its by-id names and multipathd's knowledge of it go when the event arrives.
    ///
    /// # Errors
    /// [`HostError::DeviceHeld`] while a map holds it, [`HostError::NoDevice`].
    pub fn remove_device(&mut self, now: Duration, at: Hctl) -> Result<(), HostError> {
        let device = self.devices.get(&at).ok_or_else(|| HostError::NoDevice(at.to_string()))?;
        if self.maps.values().any(|m| m.paths.contains(&device.name)) {
            return Err(HostError::DeviceHeld(device.name.clone()));
        }
        if let Some(device) = self.devices.remove(&at) {
            self.announce(now, UeventKind::Remove, &device.name, device.wwn);
        }
        Ok(())
    }

    // ---- maps

    /// Makes a map over the named devices, which must all show `wwn`.
    ///
    /// # Errors
    /// [`HostError::MapExists`], [`HostError::NoDevice`], [`HostError::DeviceHeld`], [`HostError::Stranger`].
    pub fn add_map(&mut self, wwn: Wwn, names: &[String], size_bytes: u64) -> Result<String, HostError> {
        if self.map_of(&wwn).is_some() {
            return Err(HostError::MapExists(wwn));
        }
        for name in names {
            self.free_path(&wwn, name)?;
        }
        let minor = (0..).find(|m| !self.maps.contains_key(m)).unwrap_or_default();
        let paths = names.iter().cloned().collect();
        self.maps.insert(minor, MapRecord { wwn, paths, size_bytes });
        Ok(dm_name(minor))
    }

    fn free_path(&self, wwn: &Wwn, name: &str) -> Result<(), HostError> {
        let device = self.by_name(name).ok_or_else(|| HostError::NoDevice(name.to_owned()))?;
        if device.wwn != Some(*wwn) {
            return Err(HostError::Stranger(name.to_owned()));
        }
        if self.maps.values().any(|m| m.paths.contains(name)) {
            return Err(HostError::DeviceHeld(name.to_owned()));
        }
        Ok(())
    }

    pub(super) fn by_name(&self, name: &str) -> Option<&DeviceRecord> {
        self.devices.values().find(|d| d.name == name)
    }

    fn map_entry(&mut self, name: &str) -> Result<&mut MapRecord, HostError> {
        self.maps
            .iter_mut()
            .find(|(minor, _)| dm_name(**minor) == name)
            .map(|(_, m)| m)
            .ok_or_else(|| HostError::NoMap(name.to_owned()))
    }

    /// The map of an identity: its name and record.
    pub fn map_of(&self, wwn: &Wwn) -> Option<(String, &MapRecord)> {
        self.maps.iter().find(|(_, m)| m.wwn == *wwn).map(|(minor, m)| (dm_name(*minor), m))
    }

    /// The map that holds a device: its name and record.
    pub fn holder(&self, device: &str) -> Option<(String, &MapRecord)> {
        self.maps.iter().find(|(_, m)| m.paths.contains(device)).map(|(minor, m)| (dm_name(*minor), m))
    }

    /// Adds a path to a map.
    ///
    /// # Errors
    /// As [`HostTable::add_map`].
    pub fn add_path(&mut self, map: &str, device: &str) -> Result<(), HostError> {
        let wwn = self.map_entry(map)?.wwn;
        self.free_path(&wwn, device)?;
        self.map_entry(map)?.paths.insert(device.to_owned());
        Ok(())
    }

    /// Takes a path out of a map; the map may become empty.
    ///
    /// # Errors
    /// [`HostError::NoMap`].
    pub fn remove_path(&mut self, map: &str, device: &str) -> Result<(), HostError> {
        self.map_entry(map)?.paths.remove(device);
        Ok(())
    }

    /// Sets the size of a map.
    ///
    /// # Errors
    /// [`HostError::NoMap`].
    pub fn resize_map(&mut self, map: &str, size_bytes: u64) -> Result<(), HostError> {
        self.map_entry(map)?.size_bytes = size_bytes;
        Ok(())
    }

    /// Removes a map; its paths are free again.
    ///
    /// # Errors
    /// [`HostError::NoMap`].
    pub fn remove_map(&mut self, map: &str) -> Result<(), HostError> {
        self.map_entry(map)?;
        self.maps.retain(|minor, _| dm_name(*minor) != map);
        Ok(())
    }

    // ---- udev and multipathd

    fn announce(&mut self, now: Duration, kind: UeventKind, name: &str, wwn: Option<Wwn>) {
        self.events.push(Uevent { due: self.plan.due(now), kind, name: name.to_owned(), wwn });
        self.advance(now);
    }

    /// Delivers all events that are due.
    pub fn advance(&mut self, now: Duration) {
        while let Some(event) = self.events.pop_due(now) {
            self.deliver(event);
        }
    }

    fn deliver(&mut self, event: Uevent) {
        match event.kind {
            UeventKind::Add | UeventKind::Change => {
                let Some(wwn) = event.wwn else { return };
                // udev looks at the device as it is now: one that is gone again gets no name.
                if self.by_name(&event.name).is_none_or(|d| d.wwn != Some(wwn)) {
                    return;
                }
                self.daemon.insert(event.name.clone(), wwn);
                for link in by_id_names(&wwn) {
                    self.by_id.entry(link).or_insert_with(|| event.name.clone());
                }
            }
            UeventKind::Remove => {
                // The name may belong to a newer device already; its own event makes it known again.
                if self.by_name(&event.name).is_none_or(|d| d.wwn != event.wwn) {
                    self.forget(&event.name);
                }
            }
        }
    }

    /// Makes multipathd and udev forget a device without waiting for its event (os-brick: `multipathd del path`).
    pub fn forget(&mut self, name: &str) {
        self.daemon.remove(name);
        self.by_id.retain(|_, device| device != name);
        // Another path of the same volume takes over the links.
        let known: Vec<(String, Wwn)> = self.daemon.iter().map(|(n, w)| (n.clone(), *w)).collect();
        for (device, wwn) in known {
            for link in by_id_names(&wwn) {
                self.by_id.entry(link).or_insert_with(|| device.clone());
            }
        }
    }

    /// When the next event is due.
    pub fn next_event(&self) -> Option<Duration> {
        self.events.next_due()
    }

    /// True when udev or multipathd still know the device, or an event about it is on its way.
    pub fn is_settling(&self, name: &str) -> bool {
        self.events.mentions(name)
            || (self.by_name(name).is_none()
                && (self.daemon.contains_key(name) || self.by_id.values().any(|d| d == name)))
    }

    /// What multipathd believes a device to be.
    pub fn daemon_path(&self, name: &str) -> Option<Wwn> {
        self.daemon.get(name).copied()
    }

    // ---- listing

    /// The host inventory.
    pub fn census(&self) -> HostCensus {
        HostCensus {
            host: self.host.clone(),
            sessions: self
                .sessions
                .values()
                .map(|s| HostSession {
                    portal: s.portal.to_string(),
                    iqn: s.iqn.clone(),
                    logged_in: s.logged_in,
                })
                .collect(),
            nodes: self.nodes.keys().map(|(portal, iqn)| format!("{portal},{iqn}")).collect(),
            devices: self
                .devices
                .iter()
                .map(|(at, d)| HostDevice {
                    hctl: at.to_string(),
                    name: d.name.clone(),
                    wwn: d.wwn,
                    portal: self.sessions.get(&at.host).map_or_else(String::new, |s| s.portal.to_string()),
                    size_bytes: d.size_bytes,
                })
                .collect(),
            by_id: self.by_id.iter().map(|(link, device)| format!("{link} -> {device}")).collect(),
            maps: self
                .maps
                .iter()
                .map(|(minor, m)| MultipathMap {
                    name: dm_name(*minor),
                    wwid: map_wwid(&m.wwn),
                    paths: m.paths.iter().cloned().collect(),
                    size_bytes: m.size_bytes,
                })
                .collect(),
            violations: Vec::new(),
        }
    }
}
