//! Connect: log in to each portal, scan for the LUN, verify who is there, build the map (workflow: os-brick connect).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sanbench_api::{Attached, ConnectionInfo, ConnectorError, TargetPath, Wwn};
use sanbench_world::watch;
use serde_json::json;

use super::Inner;
use crate::device::{PathDevice, PathFault};
use crate::error::LoginError;
use crate::host::{Hctl, SessionId};
use crate::join::join_all;
use crate::multipath::{MultipathDevice, PathEvent};
use crate::portal::PortalSession;
use crate::scsi::Op;
use crate::{lock, scsi};

/// Logins tried for one portal (os-brick: 3, with pauses of 1 s and 2 s).
const LOGIN_TRIES: u32 = 3;
/// Pause before the one rescan after a wrong identity.
const RESCAN_PAUSE: Duration = Duration::from_secs(1);
/// How long a scan, its commands and the device events may take besides the waits that the configuration names.
const OVERHEAD: Duration = Duration::from_secs(120);
/// How long multipathd may take to learn of a path before it is told (os-brick: 10 s).
const DAEMON_LIMIT: Duration = Duration::from_secs(10);

/// How hard one path is tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// Logins.
    logins: u32,
    /// Rescans after the first look.
    rescans: u32,
}

impl Effort {
    /// One try of each: what healing in the background may cost the calls that wait for it.
    pub(super) const ONCE: Self = Self { logins: 1, rescans: 0 };
}

/// One way to a volume: a portal of a target, over one interface of the host.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way<'a> {
    pub(super) target: &'a TargetPath,
    pub(super) interface: u16,
}

/// What this connect made, so that a failure can take it back (INV-H7).
#[derive(Default)]
pub(super) struct Made {
    nodes: BTreeSet<(std::net::SocketAddr, String)>,
    sessions: BTreeSet<SessionId>,
    devices: BTreeSet<Hctl>,
    map: Option<String>,
    /// Paths added to a map that existed.
    joined: Vec<(String, String)>,
}

/// A device that shows the volume.
pub(super) struct Found {
    pub(super) at: Hctl,
    pub(super) name: String,
    pub(super) wwn: Wwn,
    pub(super) device: Arc<PathDevice>,
    /// Capacity that it shows now.
    pub(super) blocks: u64,
}

/// What a narrow scan sees.
enum Seen {
    /// A logical unit that has an identity.
    Device(Box<PathDevice>),
    /// The target says that there is none.
    Nothing,
    /// Nobody said anything: what was there before may be there still, and may be another volume's that is attached.
    Unknown,
}

impl Inner {
    pub(super) async fn connect(self: &Arc<Self>, info: &ConnectionInfo) -> Result<Attached, ConnectorError> {
        check(info)?;
        let start = self.env.now();
        let before = lock(&self.table).inventory();
        let made = Mutex::new(Made::default());
        let result = self.try_connect(info, &made).await;
        let made = made.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        match &result {
            Ok(attached) => {
                // Portals that gave no device are not kept.
                for id in made.sessions {
                    if !lock(&self.table).session_in_use(id) {
                        self.drop_session(id).await;
                    }
                }
                self.forget_nodes(made.nodes);
                let took = self.env.now().saturating_sub(start);
                let targets = info.paths.iter().map(|p| (p.portal, p.iqn.clone(), p.lun)).collect();
                lock(&self.table).attached(attached.wwn, targets, took, self.connect_limit(info));
                lock(&self.live).attached.insert(attached.wwn, info.clone());
                self.heal_later();
                self.note("connected", || {
                    json!({"volume": info.volume_id.to_string(), "path": attached.path, "paths": attached.paths})
                });
            }
            Err(error) => {
                self.undo(made).await;
                lock(&self.table).failed_connect(&before);
                self.note(
                    "connect-failed",
                    || json!({"volume": info.volume_id.to_string(), "why": error.to_string()}),
                );
            }
        }
        result
    }

    /// The bound of a connect (INV-H9): the logins of one portal, the scans of one device, and the grace for the others; single
    /// path: of all portals one after the other.
    fn connect_limit(&self, info: &ConnectionInfo) -> Duration {
        let logins = self.config.session.login_timeout * LOGIN_TRIES + Duration::from_secs(3);
        let last = u64::from(self.config.scan_attempts + 1);
        let one = logins + Duration::from_secs(last * last) + self.config.path_grace + OVERHEAD;
        if info.multipath { one } else { one * u32::try_from(info.paths.len()).unwrap_or(u32::MAX) }
    }

    fn effort(&self) -> Effort {
        let logins = if self.config.defects.no_login_retry { 1 } else { LOGIN_TRIES };
        Effort { logins, rescans: self.config.scan_attempts }
    }

    fn interfaces(&self) -> u16 {
        self.config.interfaces.clamp(1, super::MAX_INTERFACES)
    }

    /// Every way to the volume, in the order of the connection info.
    pub(super) fn ways<'a>(&self, info: &'a ConnectionInfo) -> Vec<Way<'a>> {
        let mut seen = BTreeSet::new();
        let targets = info.paths.iter().filter(|t| seen.insert((t.portal, t.iqn.as_str())));
        targets
            .flat_map(|target| (0..self.interfaces()).map(move |interface| Way { target, interface }))
            .collect()
    }

    async fn try_connect(
        self: &Arc<Self>,
        info: &ConnectionInfo,
        made: &Mutex<Made>,
    ) -> Result<Attached, ConnectorError> {
        let enforce = info.enforce_multipath || (self.config.enforce_multipath && info.multipath);
        let found = if info.multipath || enforce {
            self.all_paths(info, made).await?
        } else {
            vec![self.first_path(info, made).await?]
        };
        if enforce && found.len() < 2 {
            return Err(ConnectorError::TooFewPaths { found: found.len() });
        }
        let first = found.first().ok_or_else(|| no_session(info, "no path was tried"))?;
        if let Some(other) = found.iter().find(|f| f.wwn != first.wwn) {
            return Err(ConnectorError::WrongDevice {
                lun: other.at.lun,
                expected: first.wwn,
                found: other.wwn,
            });
        }
        self.agree_size(&found).await?;
        let wwn = first.wwn;
        let several = found.len() > 1 || (info.multipath && self.ways(info).len() > 1);
        // A change that an earlier attachment left in doubt is fenced by a map only.
        let haunted = lock(&self.live).doubts.contains_key(&wwn);
        if several || haunted || lock(&self.table).map_of(&wwn).is_some() {
            self.build_map(&found, made).await?;
        }
        self.find_partitions(&found).await;
        self.attached(first.wwn, &first.name, first.at, info)
            .ok_or(ConnectorError::DeviceNotFound { lun: first.at.lun, scans: 0 })
    }

    /// Single path: the targets in order, the first that shows the volume (INV-H10).
    async fn first_path(&self, info: &ConnectionInfo, made: &Mutex<Made>) -> Result<Found, ConnectorError> {
        let mut errors = Vec::new();
        for way in self.ways(info) {
            match self.path(info, way, self.effort(), made).await {
                Ok(found) => return Ok(found),
                Err(error) => {
                    errors.push(error);
                    let partial = std::mem::take(&mut *lock(made));
                    self.undo(partial).await;
                }
            }
        }
        Err(worst(info, errors))
    }

    /// All targets at once. When one works, the others get a grace and are then left out.
    async fn all_paths(
        &self,
        info: &ConnectionInfo,
        made: &Mutex<Made>,
    ) -> Result<Vec<Found>, ConnectorError> {
        let works = watch::Sender::new(false);
        let attempts = self.ways(info).into_iter().map(|way| {
            let works = &works;
            async move {
                let mut other = works.subscribe();
                let grace = async {
                    // The sender lives as long as this function, so waiting cannot fail.
                    let _ = other.wait_for(|w| *w).await;
                    self.env.sleep(self.config.path_grace).await;
                };
                tokio::select! {
                    biased;
                    result = self.path(info, way, self.effort(), made) => {
                        if result.is_ok() {
                            works.send_replace(true);
                        } else if self.config.defects.lost_portal_failure {
                            std::future::pending::<()>().await;
                        }
                        result
                    }
                    () = grace => Err(no_session(info, "too slow, another path works")),
                }
            }
        });
        let mut found = Vec::new();
        let mut errors = Vec::new();
        for result in join_all(attempts).await {
            match result {
                Ok(path) => found.push(path),
                Err(error) => errors.push(error),
            }
        }
        // A path that shows another volume is no partial success: the mapping is broken.
        let wrong = errors.iter().position(|e| matches!(e, ConnectorError::WrongDevice { .. }));
        match wrong {
            Some(at) => Err(errors.swap_remove(at)),
            None if found.is_empty() => Err(worst(info, errors)),
            None => Ok(found),
        }
    }

    pub(super) async fn path(
        &self,
        info: &ConnectionInfo,
        way: Way<'_>,
        effort: Effort,
        made: &Mutex<Made>,
    ) -> Result<Found, ConnectorError> {
        let (id, session) = self.log_in(info, way, effort, made).await?;
        self.scan(info, way.target, effort, id, &session, made).await
    }

    async fn log_in(
        &self,
        info: &ConnectionInfo,
        way: Way<'_>,
        effort: Effort,
        made: &Mutex<Made>,
    ) -> Result<(SessionId, PortalSession), ConnectorError> {
        let target = way.target;
        let known = lock(&self.table).session(target.portal, &target.iqn, way.interface);
        let session = known.and_then(|id| lock(&self.live).sessions.get(&id).cloned());
        if let Some((id, session)) = known.zip(session) {
            // It may just be coming back; its own task sees to that.
            let deadline = self.env.now() + self.config.session.login_timeout;
            return match session.wait_up(deadline).await {
                Ok(_) => Ok((id, session)),
                Err(why) => Err(no_session(info, &why)),
            };
        }
        {
            let mut table = lock(&self.table);
            if !table.has_node(target.portal, &target.iqn) {
                table.add_node(target.portal, &target.iqn);
                lock(made).nodes.insert((target.portal, target.iqn.clone()));
            }
        }
        let mut pause = Duration::from_secs(1);
        let mut tries = 0;
        let config = self.session_config(way.interface);
        let session = loop {
            tries += 1;
            let opened =
                PortalSession::establish(&self.env, &config, target.portal, &target.iqn, info.auth.as_ref());
            match opened.await {
                Ok(session) => break session,
                Err(error) if error.may_retry() && tries < effort.logins => {
                    self.env.sleep(pause).await;
                    pause *= 2;
                }
                Err(error) => {
                    self.note(
                        "login-failed",
                        || json!({"portal": target.portal.to_string(), "why": error.to_string()}),
                    );
                    return Err(match error {
                        LoginError::Refused(_) | LoginError::Authentication(_) => {
                            ConnectorError::LoginRefused { message: error.to_string() }
                        }
                        other => no_session(info, &other.to_string()),
                    });
                }
            }
        };
        let added = lock(&self.table).add_session(target.portal, &target.iqn, way.interface);
        let id = match added {
            Ok(id) => id,
            Err(error) => {
                session.close().await;
                return Err(no_session(info, &error.to_string()));
            }
        };
        self.reinstated(&session);
        let table = self.table.clone();
        session.on_change(move |up| lock(&table).set_logged_in(id, up));
        lock(&self.table).set_logged_in(id, session.up().is_some());
        lock(made).sessions.insert(id);
        lock(&self.live).sessions.insert(id, session.clone());
        Ok((id, session))
    }

    /// Looks for the LUN in a session: at once, then after 4, 9, 16 seconds (os-brick's schedule). Whatever is found must show the
    /// expected identity; a device that was there before and is not what the array shows there now is stale and goes.
    async fn scan(
        &self,
        info: &ConnectionInfo,
        target: &TargetPath,
        effort: Effort,
        id: SessionId,
        session: &PortalSession,
        made: &Mutex<Made>,
    ) -> Result<Found, ConnectorError> {
        let at = Hctl::new(id, target.lun);
        let start = self.env.now();
        let mut wrong: Option<Wwn> = None;
        let mut scans = 0;
        let mut round = 0;
        loop {
            scans += 1;
            if self.config.defects.skip_wwn_check
                && let Some(found) = self.present(at)
            {
                return Ok(found);
            }
            if self.config.defects.first_device_of_session {
                let first = lock(&self.table).devices().map(|(at, _)| at).find(|at| at.host == id);
                if let Some(found) = first.and_then(|at| self.present(at)) {
                    return Ok(found);
                }
            }
            match self.look(session, target.lun).await {
                Seen::Device(device) => {
                    let facts = device.facts();
                    // A probe that succeeds has read an identity.
                    if let Some(wwn) = facts.wwn {
                        let right = info.wwn.is_none_or(|w| w == wwn) || self.config.defects.skip_wwn_check;
                        match self.present(at) {
                            Some(old) if old.wwn == wwn && right => {
                                return Ok(Found { blocks: facts.blocks, ..old });
                            }
                            // A live device of another volume, to which the array has given this LUN since: it stays.
                            Some(old) if old.wwn == wwn => {}
                            Some(_) => {
                                self.note("stale-device", || json!({"hctl": at.to_string()}));
                                self.delete_device(at);
                            }
                            None => {}
                        }
                        if right {
                            return self.take(at, wwn, *device, made);
                        }
                        let expected = info.wwn.unwrap_or(wwn);
                        if wrong.replace(wwn).is_some() {
                            return Err(ConnectorError::WrongDevice {
                                lun: target.lun,
                                expected,
                                found: wwn,
                            });
                        }
                        self.env.sleep(RESCAN_PAUSE).await;
                        continue;
                    }
                }
                Seen::Nothing => {
                    if self.present(at).is_some() {
                        self.note("stale-device", || json!({"hctl": at.to_string()}));
                        self.delete_device(at);
                    }
                }
                Seen::Unknown => {}
            }
            round += 1;
            if round > effort.rescans {
                return match (wrong, info.wwn) {
                    (Some(found), Some(expected)) => {
                        Err(ConnectorError::WrongDevice { lun: target.lun, expected, found })
                    }
                    _ => Err(ConnectorError::DeviceNotFound { lun: target.lun, scans }),
                };
            }
            let seconds = u64::from(round + 1).pow(2);
            self.env.sleep_until(start + Duration::from_secs(seconds)).await;
        }
    }

    /// What a narrow scan sees; waits once for a session that just went down.
    async fn look(&self, session: &PortalSession, lun: u16) -> Seen {
        for _ in 0..2 {
            match PathDevice::probe(&self.env, &self.config, session, lun).await {
                Ok(found) => return found.map_or(Seen::Nothing, |device| Seen::Device(Box::new(device))),
                Err(PathFault::NotSent(_) | PathFault::Lost { .. }) => {
                    let deadline = self.env.now() + self.config.session.login_timeout;
                    if session.wait_up(deadline).await.is_err() {
                        return Seen::Unknown;
                    }
                }
                Err(PathFault::Block(error)) if error == scsi::not_supported() => return Seen::Nothing,
                Err(_) if self.config.defects.silence_is_absence => return Seen::Nothing,
                Err(fault) => {
                    self.note("scan-failed", || json!({"lun": lun, "why": format!("{fault:?}")}));
                    return Seen::Unknown;
                }
            }
        }
        Seen::Unknown
    }

    fn present(&self, at: Hctl) -> Option<Found> {
        let (name, wwn) = {
            let table = lock(&self.table);
            let record = table.device(at)?;
            (record.name.clone(), record.wwn?)
        };
        let device = lock(&self.live).devices.get(&at)?.clone();
        let blocks = device.facts().blocks;
        Some(Found { at, name, wwn, device, blocks })
    }

    /// Makes all paths of the volume show one size, or refuses (INV-H8): the found ones, and those that its map has besides.
    async fn agree_size(&self, found: &[Found]) -> Result<(), ConnectorError> {
        let Some(first) = found.first() else { return Ok(()) };
        let (wwn, blocks) = (first.wwn, first.blocks);
        let mut all: Vec<(Hctl, String, Arc<PathDevice>, u64)> =
            found.iter().map(|f| (f.at, f.name.clone(), f.device.clone(), f.blocks)).collect();
        let others: Vec<(Hctl, String)> = {
            let table = lock(&self.table);
            let same = table.devices().filter(|(_, d)| d.wwn == Some(wwn) && d.size_bytes != bytes(blocks));
            same.filter(|(at, _)| !found.iter().any(|f| f.at == *at))
                .map(|(at, d)| (at, d.name.clone()))
                .collect()
        };
        for (at, name) in others {
            let Some(device) = lock(&self.live).devices.get(&at).cloned() else { continue };
            let blocks = device.read_capacity().await.unwrap_or_else(|_| device.facts().blocks);
            all.push((at, name, device, blocks));
        }
        if all.iter().any(|(.., b)| *b != blocks) {
            let sizes = all.iter().map(|(_, name, _, b)| format!("{name}={b} blocks"));
            return Err(ConnectorError::UnequalPaths { message: sizes.collect::<Vec<_>>().join(", ") });
        }
        let now = self.env.now();
        for (at, _, device, _) in &all {
            if device.facts().blocks != blocks {
                device.set_capacity(blocks);
                let _ = lock(&self.table).resize_device(now, *at, bytes(blocks));
            }
        }
        let map = lock(&self.table).map_of(&wwn).map(|(name, record)| (name, record.size_bytes));
        if let Some((name, _)) = map.filter(|(_, size)| *size != bytes(blocks)) {
            self.resize_map(&name, blocks);
        }
        Ok(())
    }

    pub(super) fn resize_map(&self, name: &str, blocks: u64) {
        let _ = lock(&self.table).resize_map(name, bytes(blocks));
        if let Some(map) = lock(&self.live).maps.get(name) {
            map.set_capacity(blocks);
        }
    }

    /// Reads the first block, as the kernel does with a new disk, and notes the partitions that it names.
    async fn find_partitions(&self, found: &[Found]) {
        let Some(first) = found.first() else { return };
        let block = first.device.run_once(&Op::Read { lba: 0, blocks: 1 }).await;
        let partitions = block.map_or(0, |block| partitions(&block));
        let mut table = lock(&self.table);
        for found in found {
            let _ = table.set_partitions(found.at, partitions);
        }
    }

    fn take(
        &self,
        at: Hctl,
        wwn: Wwn,
        device: PathDevice,
        made: &Mutex<Made>,
    ) -> Result<Found, ConnectorError> {
        let blocks = device.facts().blocks;
        let device = Arc::new(device);
        let name = lock(&self.table).add_device(self.env.now(), at, Some(wwn), bytes(blocks));
        let name = name.map_err(|e| ConnectorError::BadConnectionInfo { message: e.to_string() })?;
        lock(made).devices.insert(at);
        lock(&self.live).devices.insert(at, device.clone());
        self.note(
            "device-added",
            || json!({"hctl": at.to_string(), "name": name, "wwn": wwn.to_string(), "bytes": bytes(blocks)}),
        );
        Ok(Found { at, name, wwn, device, blocks })
    }

    /// Makes or completes the map over the found paths, which all show one size.
    pub(super) async fn build_map(
        self: &Arc<Self>,
        found: &[Found],
        made: &Mutex<Made>,
    ) -> Result<(), ConnectorError> {
        let Some(first) = found.first() else { return Ok(()) };
        let (wwn, blocks) = (first.wwn, first.blocks);
        // multipathd builds maps from what the events told it. A name that it still knows as another volume would put the path
        // into the wrong map (D39): it is told to forget, and told of the path when its event does not come.
        let names: Vec<String> = found.iter().map(|f| f.name.clone()).collect();
        let known = |table: &crate::host::HostTable| names.iter().all(|n| table.daemon_path(n) == Some(wwn));
        if !self.config.defects.trust_daemon_list && !self.settle(DAEMON_LIMIT, known).await {
            let mut table = lock(&self.table);
            for found in found {
                if table.daemon_path(&found.name) != Some(wwn) {
                    table.forget(&found.name);
                    let _ = table.resize_device(self.env.now(), found.at, bytes(blocks));
                }
            }
        }
        let refused =
            |e: crate::host::HostError| ConnectorError::BadConnectionInfo { message: e.to_string() };
        let existing = lock(&self.table).map_of(&wwn).map(|(name, record)| (name, record.paths.clone()));
        let (name, has) = match existing {
            Some((name, paths)) => (name, paths),
            None => {
                let name = lock(&self.table).add_map(wwn, &[], bytes(blocks)).map_err(refused)?;
                lock(made).map = Some(name.clone());
                let map =
                    MultipathDevice::new(self.env.clone(), self.config.clone(), name.clone(), wwn, blocks);
                let (inner, late) = (Arc::downgrade(self), Arc::clone(&self.expelled));
                map.on_event(move |event| {
                    let PathEvent::Expelled(device) = event;
                    lock(&late).push(device);
                    if let Some(inner) = inner.upgrade() {
                        inner.heal_later();
                    }
                });
                let mut live = lock(&self.live);
                map.inherit(live.doubts.remove(&wwn).unwrap_or_default());
                live.maps.insert(name.clone(), map);
                drop(live);
                self.note("map-added", || json!({"name": name, "wwn": wwn.to_string(), "paths": names}));
                (name, BTreeSet::new())
            }
        };
        let map = lock(&self.live).maps.get(&name).cloned();
        for path in found.iter().filter(|f| !has.contains(&f.name)) {
            let heard = lock(&self.table).daemon_path(&path.name);
            if self.config.defects.trust_daemon_list && heard.is_some_and(|w| w != wwn) {
                continue;
            }
            lock(&self.table).add_path(&name, &path.name).map_err(refused)?;
            lock(made).joined.push((name.clone(), path.name.clone()));
            if let Some(map) = &map {
                map.add_path(path.name.clone(), path.device.clone()).await;
            }
        }
        Ok(())
    }

    /// Takes back what a failed connect made, newest first.
    pub(super) async fn undo(&self, made: Made) {
        for (map, path) in made.joined.iter().rev() {
            let _ = lock(&self.table).remove_path(map, path);
            if let Some(map) = lock(&self.live).maps.get(map) {
                map.remove_path(path);
            }
        }
        if let Some(map) = &made.map {
            let _ = lock(&self.table).remove_map(map);
            self.bury(map);
        }
        self.delete_devices(made.devices).await;
        for id in made.sessions {
            if !lock(&self.table).session_in_use(id) {
                self.drop_session(id).await;
            }
        }
        self.forget_nodes(made.nodes);
    }

    /// Removes node records that no session uses.
    fn forget_nodes(&self, nodes: BTreeSet<(std::net::SocketAddr, String)>) {
        let mut table = lock(&self.table);
        for (portal, iqn) in nodes {
            // One that a session uses stays.
            let _ = table.remove_node(portal, &iqn);
        }
    }
}

fn bytes(blocks: u64) -> u64 {
    blocks.saturating_mul(u64::from(sanbench_api::BLOCK_SIZE))
}

/// Entries of the partition table in a first block (MBR; a GPT shows as its one protective entry).
fn partitions(block: &[u8]) -> u8 {
    if block.get(510..512) != Some(&[0x55, 0xaa]) {
        return 0;
    }
    let kinds = (0..4usize).filter_map(|n| block.get(446 + 16 * n + 4));
    kinds.filter(|kind| **kind != 0).count().try_into().unwrap_or(0)
}

fn check(info: &ConnectionInfo) -> Result<(), ConnectorError> {
    let bad = |message: &str| Err(ConnectorError::BadConnectionInfo { message: message.to_owned() });
    if info.driver_volume_type != "iscsi" {
        return bad("only iscsi volumes can be connected");
    }
    if info.paths.is_empty() {
        return bad("no path");
    }
    if info.paths.iter().any(|p| p.iqn.is_empty() || p.iqn.len() > 223) {
        return bad("a target name must have 1 to 223 bytes");
    }
    if info.paths.iter().any(|p| p.lun > sanbench_wire::scsi::luns::Lun::MAX_NUMBER) {
        return bad("a LUN is over 16383");
    }
    Ok(())
}

fn no_session(info: &ConnectionInfo, message: &str) -> ConnectorError {
    let portals: Vec<String> = info.paths.iter().map(|p| p.portal.to_string()).collect();
    ConnectorError::NoSession { portals: portals.join(", "), message: message.to_owned() }
}

/// The error that tells most, when no path worked.
fn worst(info: &ConnectionInfo, errors: Vec<ConnectorError>) -> ConnectorError {
    let rank = |e: &ConnectorError| match e {
        ConnectorError::WrongDevice { .. } => 3,
        ConnectorError::LoginRefused { .. } => 2,
        ConnectorError::DeviceNotFound { .. } => 1,
        _ => 0,
    };
    errors.into_iter().max_by_key(rank).unwrap_or_else(|| no_session(info, "no path was tried"))
}
