//! Changes that a lost path swallowed, and the proof that they cannot be applied any more (MPX-002, D29).
//!
//! A change whose connection ended unanswered is *in doubt*: its bytes may still be on the way to a session that the target
//! believes alive. Until that session is known to be dead, no newer change of the same blocks may be sent by any path. The proofs,
//! in the order in which they are tried:
//!
//! 1. the session logged in again (same ISID: RFC 7143 section 6.3.5 ends the old one and its tasks first), or the target
//!    confirmed a logout;
//! 2. a login with its ISID through another portal of the same target portal group;
//! 3. LOGICAL UNIT RESET over another path ended the tasks that the target had, and the session takes nothing more: the target
//!    reports the port group of the path as unavailable or offline, or the loss is older than `fence_after`, after which the
//!    target's own pings have ended the session.
//!
//! Without any of them the newer change waits, and fails in the end.

use std::sync::Arc;
use std::time::Duration;

use sanbench_api::BlockError;
use serde_json::json;

use super::MultipathDevice;
use super::alua::{self, Access};
use crate::device::PathDevice;
use crate::lock;
use crate::portal::{PortalSession, State};

/// How often an unreachable fence is tried again.
const FENCE_PAUSE: Duration = Duration::from_secs(2);

/// Ranges whose last change may still be on its way to the target.
#[derive(Clone, Debug)]
pub struct InDoubt {
    pub(super) id: u64,
    /// (first block, blocks).
    pub(super) ranges: Vec<(u64, u64)>,
    pub(super) session: PortalSession,
    pub(super) generation: u64,
    /// When it was lost, on the world's clock.
    pub(super) since: Duration,
    /// Target port group (ALUA) of the path.
    pub(super) group: Option<u16>,
}

impl InDoubt {
    /// The session that may still apply it.
    pub fn session(&self) -> &PortalSession {
        &self.session
    }

    /// A later session of the same I_T nexus has logged in: nothing of this one is left.
    pub fn reinstated(&self) {
        self.session.mark_dead(self.generation);
    }
}

pub(super) fn overlap(a: &[(u64, u64)], b: &[(u64, u64)]) -> bool {
    a.iter().any(|(x, n)| b.iter().any(|(y, m)| *x < y.saturating_add(*m) && *y < x.saturating_add(*n)))
}

/// Ranges of a change, its path, and the generation of the session.
type Flight<'a> = (&'a [(u64, u64)], &'a PathDevice, u64);

/// Watches over one change in flight. A caller that goes away before the end leaves a change in doubt behind; its connection is
/// given up, because no newer change may pass while the old one can still be applied.
pub(super) struct Guard<'a> {
    map: &'a MultipathDevice,
    armed: Option<Flight<'a>>,
}

impl<'a> Guard<'a> {
    pub(super) fn new(map: &'a MultipathDevice, ranges: &'a [(u64, u64)], path: &'a PathDevice) -> Self {
        let generation = if ranges.is_empty() { None } else { path.session().up().map(|(_, g)| g) };
        Self { map, armed: generation.map(|g| (ranges, path, g)) }
    }

    /// The change came to an end that is known.
    pub(super) fn done(mut self) {
        self.armed = None;
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let Some((ranges, path, generation)) = self.armed.take() else { return };
        // Should the session have come back just before the send, the change is on its present connection.
        let generation = match &*path.session().watch().borrow() {
            State::Up { generation: now, .. } | State::Down { generation: now, .. } => generation.max(*now),
            State::Closed { .. } => generation,
        };
        self.map.doubt(ranges.to_vec(), path, generation);
        if let Some((link, _)) = path.session().up() {
            link.kill("a caller gave up on a write");
        }
    }
}

impl MultipathDevice {
    pub(super) fn doubt(&self, ranges: Vec<(u64, u64)>, path: &PathDevice, generation: u64) -> u64 {
        let since = self.env.now();
        let mut inner = lock(&self.inner);
        let group = inner
            .paths
            .iter()
            .find(|p| p.device.session().portal() == path.session().portal())
            .and_then(|p| p.group);
        let id = inner.next_doubt;
        inner.next_doubt += 1;
        let session = path.session().clone();
        inner.doubts.push(InDoubt { id, ranges, session, generation, since, group });
        id
    }

    pub(super) fn settle(&self, id: u64) {
        lock(&self.inner).doubts.retain(|d| d.id != id);
    }

    /// The changes that are still in doubt, for whoever takes over the volume after this map.
    pub fn doubts(&self) -> Vec<InDoubt> {
        let inner = lock(&self.inner);
        inner.doubts.iter().filter(|d| !d.session.surely_dead(d.generation)).cloned().collect()
    }

    /// Takes over changes in doubt from an earlier map of the same volume.
    pub fn inherit(&self, doubts: Vec<InDoubt>) {
        let mut inner = lock(&self.inner);
        for mut doubt in doubts {
            doubt.id = inner.next_doubt;
            inner.next_doubt += 1;
            inner.doubts.push(doubt);
        }
    }

    /// Waits until no lost change of these ranges can still be applied.
    pub(super) async fn wait_settled(
        &self,
        ranges: &[(u64, u64)],
        deadline: Duration,
    ) -> Result<(), BlockError> {
        loop {
            let found = lock(&self.inner).doubts.iter().find(|d| overlap(&d.ranges, ranges)).cloned();
            let Some(doubt) = found else { return Ok(()) };
            if !self.fence(&doubt, deadline).await {
                return Err(BlockError::NoPath {
                    message: "an earlier write to these blocks may still be applied".to_owned(),
                });
            }
            self.settle(doubt.id);
        }
    }

    pub(super) async fn fence_id(&self, id: u64, deadline: Duration) -> bool {
        let found = lock(&self.inner).doubts.iter().find(|d| d.id == id).cloned();
        // Somebody else who needed the blocks has settled it.
        let Some(doubt) = found else { return true };
        let fenced = self.fence(&doubt, deadline).await;
        if fenced {
            self.settle(id);
        }
        fenced
    }

    fn others(&self, session: &PortalSession) -> Vec<Arc<PathDevice>> {
        lock(&self.inner)
            .paths
            .iter()
            .filter(|p| p.device.session().portal() != session.portal())
            .filter(|p| p.device.session().up().is_some())
            .map(|p| p.device.clone())
            .collect()
    }

    /// Makes sure that the lost generation of a session is dead at the target.
    async fn fence(&self, doubt: &InDoubt, deadline: Duration) -> bool {
        let (session, generation) = (&doubt.session, doubt.generation);
        loop {
            if session.surely_dead(generation) {
                return true;
            }
            let others = self.others(session);
            for other in &others {
                let other = other.session();
                let same = other.iqn() == session.iqn()
                    && session.portal_group().is_some()
                    && other.portal_group() == session.portal_group();
                let source = self.config.sources.get(&other.portal()).copied();
                if same && session.fence_through(other.portal(), source, generation).await {
                    return true;
                }
            }
            for other in &others {
                if self.reset_proves(doubt, other).await {
                    session.mark_dead(generation);
                    self.env.note(
                        "initiator",
                        || json!({"what": "fenced", "portal": session.portal().to_string(), "by": "reset"}),
                    );
                    return true;
                }
            }
            let now = self.env.now();
            if now >= deadline || self.is_removed() {
                return session.surely_dead(generation);
            }
            session.wait_dead(generation, deadline.min(now + FENCE_PAUSE)).await;
        }
    }

    /// A reset of the logical unit over `other` is proof only when the old session can take nothing more.
    async fn reset_proves(&self, doubt: &InDoubt, other: &PathDevice) -> bool {
        let limit = self.config.fence_after;
        let old = !limit.is_zero() && self.env.now() >= doubt.since.saturating_add(limit);
        let silent = old || self.out_of_service(doubt, other).await;
        // First silence, then the reset: what came before is ended by it, what comes after is not taken.
        silent && other.reset().await
    }

    async fn out_of_service(&self, doubt: &InDoubt, other: &PathDevice) -> bool {
        let Some(group) = doubt.group else { return false };
        match alua::read(other).await {
            Ok(Some(report)) => {
                report.own != Some(group)
                    && report.group(group).map(|g| g.access).is_some_and(Access::is_out_of_service)
            }
            _ => false,
        }
    }
}
