//! Connect: log in to each portal, scan for the LUN, verify who is there, build the map (workflow: os-brick connect).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sanbench_api::{Attached, ConnectionInfo, ConnectorError, TargetPath, Wwn};
use serde_json::json;
use tokio::sync::watch;

use super::Inner;
use crate::device::{PathDevice, PathFault};
use crate::error::LoginError;
use crate::host::{Hctl, SessionId};
use crate::join::join_all;
use crate::lock;
use crate::multipath::MultipathDevice;
use crate::portal::PortalSession;

/// Logins tried for one portal (os-brick: 3, with pauses of 1 s and 2 s).
const LOGIN_TRIES: u32 = 3;
/// Pause before the one rescan after a wrong identity.
const RESCAN_PAUSE: Duration = Duration::from_secs(1);
/// How long multipathd may take to learn of a path before it is told (os-brick: 10 s).
const DAEMON_LIMIT: Duration = Duration::from_secs(10);

/// What this connect made, so that a failure can take it back (INV-H7).
#[derive(Default)]
struct Made {
    nodes: BTreeSet<(std::net::SocketAddr, String)>,
    sessions: BTreeSet<SessionId>,
    devices: BTreeSet<Hctl>,
    map: Option<String>,
    /// Paths added to a map that existed.
    joined: Vec<(String, String)>,
}

/// A device that shows the volume.
struct Found {
    at: Hctl,
    name: String,
    wwn: Wwn,
    device: Arc<PathDevice>,
}

impl Inner {
    pub(super) async fn connect(self: &Arc<Self>, info: &ConnectionInfo) -> Result<Attached, ConnectorError> {
        check(info)?;
        let made = Mutex::new(Made::default());
        let result = self.try_connect(info, &made).await;
        let made = made.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        match &result {
            Ok(attached) => {
                // Portals that gave no device are not kept.
                for id in made.sessions {
                    self.drop_session(id).await;
                }
                self.forget_nodes(made.nodes);
                self.note("connected", || {
                    json!({"volume": info.volume_id.to_string(), "path": attached.path, "paths": attached.paths})
                });
            }
            Err(error) => {
                self.undo(made).await;
                self.note(
                    "connect-failed",
                    || json!({"volume": info.volume_id.to_string(), "why": error.to_string()}),
                );
            }
        }
        result
    }

    async fn try_connect(
        &self,
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
        if found.len() > 1 || lock(&self.table).map_of(&first.wwn).is_some() {
            self.build_map(&found, made).await?;
        }
        self.attached(first.wwn, &first.name, first.at, info)
            .ok_or(ConnectorError::DeviceNotFound { lun: first.at.lun, scans: 0 })
    }

    /// Single path: the targets in order, the first that shows the volume (INV-H10).
    async fn first_path(&self, info: &ConnectionInfo, made: &Mutex<Made>) -> Result<Found, ConnectorError> {
        let mut errors = Vec::new();
        for target in &info.paths {
            match self.path(info, target, made).await {
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
        let mut seen = BTreeSet::new();
        let targets: Vec<&TargetPath> =
            info.paths.iter().filter(|t| seen.insert((t.portal, t.iqn.as_str()))).collect();
        let works = watch::Sender::new(false);
        let attempts = targets.into_iter().map(|target| {
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
                    result = self.path(info, target, made) => {
                        if result.is_ok() {
                            works.send_replace(true);
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

    async fn path(
        &self,
        info: &ConnectionInfo,
        target: &TargetPath,
        made: &Mutex<Made>,
    ) -> Result<Found, ConnectorError> {
        let (id, session) = self.log_in(info, target, made).await?;
        self.scan(info, target, id, &session, made).await
    }

    async fn log_in(
        &self,
        info: &ConnectionInfo,
        target: &TargetPath,
        made: &Mutex<Made>,
    ) -> Result<(SessionId, PortalSession), ConnectorError> {
        let known = lock(&self.table).session(target.portal, &target.iqn);
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
        let session = loop {
            tries += 1;
            let opened = PortalSession::establish(
                &self.env,
                &self.config,
                target.portal,
                &target.iqn,
                info.auth.as_ref(),
            );
            match opened.await {
                Ok(session) => break session,
                Err(error) if error.may_retry() && tries < LOGIN_TRIES => {
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
        let id = match lock(&self.table).add_session(target.portal, &target.iqn) {
            Ok(id) => id,
            Err(error) => return Err(no_session(info, &error.to_string())),
        };
        let table = self.table.clone();
        session.on_change(move |up| lock(&table).set_logged_in(id, up));
        lock(&self.table).set_logged_in(id, session.up().is_some());
        lock(made).sessions.insert(id);
        lock(&self.live).sessions.insert(id, session.clone());
        Ok((id, session))
    }

    /// Looks for the LUN in a session: at once, then after 4, 9, 16 seconds (os-brick's schedule). Whatever is found must show the
    /// expected identity; a device that was there before and does not is stale and goes.
    async fn scan(
        &self,
        info: &ConnectionInfo,
        target: &TargetPath,
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
            match self.look(session, target.lun).await {
                Some(device) => {
                    let facts = device.facts();
                    // A probe that succeeds has read an identity.
                    if let Some(wwn) = facts.wwn {
                        let right = info.wwn.is_none_or(|w| w == wwn) || self.config.defects.skip_wwn_check;
                        match self.present(at) {
                            Some(old) if old.wwn == wwn && right => {
                                self.refresh(&old, facts.blocks);
                                return Ok(old);
                            }
                            Some(_) => {
                                self.note("stale-device", || json!({"hctl": at.to_string()}));
                                self.delete_device(at);
                            }
                            None => {}
                        }
                        if right {
                            return self.take(at, wwn, device, made);
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
                None => {
                    if session.up().is_some() && self.present(at).is_some() {
                        self.note("stale-device", || json!({"hctl": at.to_string()}));
                        self.delete_device(at);
                    }
                }
            }
            round += 1;
            if round > self.config.scan_attempts {
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
    async fn look(&self, session: &PortalSession, lun: u16) -> Option<PathDevice> {
        for _ in 0..2 {
            match PathDevice::probe(&self.env, &self.config, session, lun).await {
                Ok(found) => return found,
                Err(PathFault::NotSent(_) | PathFault::Lost { .. }) => {
                    let deadline = self.env.now() + self.config.session.login_timeout;
                    if session.wait_up(deadline).await.is_err() {
                        return None;
                    }
                }
                Err(fault) => {
                    self.note("scan-failed", || json!({"lun": lun, "why": format!("{fault:?}")}));
                    return None;
                }
            }
        }
        None
    }

    fn present(&self, at: Hctl) -> Option<Found> {
        let (name, wwn) = {
            let table = lock(&self.table);
            let record = table.device(at)?;
            (record.name.clone(), record.wwn?)
        };
        let device = lock(&self.live).devices.get(&at)?.clone();
        Some(Found { at, name, wwn, device })
    }

    fn refresh(&self, found: &Found, blocks: u64) {
        if found.device.facts().blocks != blocks {
            found.device.set_capacity(blocks);
            let bytes = blocks.saturating_mul(u64::from(sanbench_api::BLOCK_SIZE));
            let _ = lock(&self.table).resize_device(self.env.now(), found.at, bytes);
        }
    }

    fn take(
        &self,
        at: Hctl,
        wwn: Wwn,
        device: PathDevice,
        made: &Mutex<Made>,
    ) -> Result<Found, ConnectorError> {
        let bytes = device.facts().blocks.saturating_mul(u64::from(sanbench_api::BLOCK_SIZE));
        let device = Arc::new(device);
        let name = lock(&self.table).add_device(self.env.now(), at, Some(wwn), bytes);
        let name = name.map_err(|e| ConnectorError::BadConnectionInfo { message: e.to_string() })?;
        lock(made).devices.insert(at);
        lock(&self.live).devices.insert(at, device.clone());
        self.note(
            "device-added",
            || json!({"hctl": at.to_string(), "name": name, "wwn": wwn.to_string(), "bytes": bytes}),
        );
        Ok(Found { at, name, wwn, device })
    }

    /// Makes or completes the map over the found paths.
    async fn build_map(&self, found: &[Found], made: &Mutex<Made>) -> Result<(), ConnectorError> {
        let Some(first) = found.first() else { return Ok(()) };
        let wwn = first.wwn;
        let blocks = first.device.facts().blocks;
        if found.iter().any(|f| f.device.facts().blocks != blocks) {
            let sizes = found.iter().map(|f| format!("{}={} blocks", f.name, f.device.facts().blocks));
            return Err(ConnectorError::UnequalPaths { message: sizes.collect::<Vec<_>>().join(", ") });
        }
        // multipathd builds maps from what the events told it. A name that it still knows as another volume would put the path
        // into the wrong map (D39): it is told to forget, and told of the path when its event does not come.
        let names: Vec<String> = found.iter().map(|f| f.name.clone()).collect();
        let known = |table: &crate::host::HostTable| names.iter().all(|n| table.daemon_path(n) == Some(wwn));
        if !self.settle(DAEMON_LIMIT, known).await {
            let mut table = lock(&self.table);
            for found in found {
                if table.daemon_path(&found.name) != Some(wwn) {
                    table.forget(&found.name);
                    let bytes = blocks.saturating_mul(u64::from(sanbench_api::BLOCK_SIZE));
                    let _ = table.resize_device(self.env.now(), found.at, bytes);
                }
            }
        }
        let refused =
            |e: crate::host::HostError| ConnectorError::BadConnectionInfo { message: e.to_string() };
        let existing = lock(&self.table).map_of(&wwn).map(|(name, record)| (name, record.paths.clone()));
        let (name, has) = match existing {
            Some((name, paths)) => (name, paths),
            None => {
                let bytes = blocks.saturating_mul(u64::from(sanbench_api::BLOCK_SIZE));
                let name = lock(&self.table).add_map(wwn, &[], bytes).map_err(refused)?;
                lock(made).map = Some(name.clone());
                let map =
                    MultipathDevice::new(self.env.clone(), self.config.clone(), name.clone(), wwn, blocks);
                lock(&self.live).maps.insert(name.clone(), map);
                self.note("map-added", || json!({"name": name, "wwn": wwn.to_string(), "paths": names}));
                (name, BTreeSet::new())
            }
        };
        let map = lock(&self.live).maps.get(&name).cloned();
        for path in found.iter().filter(|f| !has.contains(&f.name)) {
            lock(&self.table).add_path(&name, &path.name).map_err(refused)?;
            lock(made).joined.push((name.clone(), path.name.clone()));
            if let Some(map) = &map {
                map.add_path(path.name.clone(), path.device.clone()).await;
            }
        }
        Ok(())
    }

    /// Takes back what a failed connect made, newest first.
    async fn undo(&self, made: Made) {
        for (map, path) in made.joined.iter().rev() {
            let _ = lock(&self.table).remove_path(map, path);
            if let Some(map) = lock(&self.live).maps.get(map) {
                map.remove_path(path);
            }
        }
        if let Some(map) = &made.map {
            let _ = lock(&self.table).remove_map(map);
            if let Some(map) = lock(&self.live).maps.remove(map) {
                map.remove();
            }
        }
        self.delete_devices(made.devices).await;
        for id in made.sessions {
            self.drop_session(id).await;
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
