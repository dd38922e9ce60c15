//! One block device over several paths (dm-multipath's role).
//!
//! Commands go over the usable paths in turn. A command that a lost path swallowed is sent over another path: a read at once; a
//! change only when the lost session is surely dead at the target (see [`crate::portal`]), because a write that is still
//! on its way there would otherwise be applied after newer ones (MPX-002, D29). Until then its ranges are *in doubt*, and newer
//! changes of the same blocks wait, even when the caller of the lost write has given up.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sanbench_api::{BlockError, Wwn};
use sanbench_world::Env;
use serde_json::json;

use crate::config::HostConfig;
use crate::device::{PathDevice, PathFault};
use crate::disk::{Doubt, Runner};
use crate::lock;
use crate::portal::PortalSession;
use crate::scsi::{DeviceLimits, Op};

/// Aborted tries of one command before it fails.
const MAX_ABORTS: u32 = 3;
/// How often an unreachable fence is tried again.
const FENCE_PAUSE: Duration = Duration::from_secs(2);

struct Path {
    name: String,
    device: Arc<PathDevice>,
    expelled: bool,
}

/// Ranges whose last change may still be on its way to the target.
struct InDoubt {
    id: u64,
    ranges: Vec<(u64, u64)>,
    session: PortalSession,
    generation: u64,
}

struct Inner {
    paths: Vec<Path>,
    doubts: Vec<InDoubt>,
    next_doubt: u64,
    blocks: u64,
}

/// A map.
pub struct MultipathDevice {
    env: Env,
    config: Arc<HostConfig>,
    name: String,
    wwn: Wwn,
    inner: Mutex<Inner>,
    turn: AtomicUsize,
    removed: AtomicBool,
    changed: tokio::sync::Notify,
}

impl std::fmt::Debug for MultipathDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MultipathDevice({}, {:?})", self.name, self.wwn)
    }
}

fn overlap(a: &[(u64, u64)], b: &[(u64, u64)]) -> bool {
    a.iter().any(|(x, n)| b.iter().any(|(y, m)| x < &(y + m) && y < &(x + n)))
}

impl MultipathDevice {
    /// A map called `name` of `blocks` blocks, without paths.
    pub fn new(env: Env, config: Arc<HostConfig>, name: String, wwn: Wwn, blocks: u64) -> Self {
        Self {
            env,
            config,
            name,
            wwn,
            inner: Mutex::new(Inner { paths: Vec::new(), doubts: Vec::new(), next_doubt: 0, blocks }),
            turn: AtomicUsize::new(0),
            removed: AtomicBool::new(false),
            changed: tokio::sync::Notify::new(),
        }
    }

    /// Map name, such as `dm-0`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds a path device; one of that name is replaced.
    pub fn add_path(&self, name: String, device: Arc<PathDevice>) {
        let mut inner = lock(&self.inner);
        inner.paths.retain(|p| p.name != name);
        inner.paths.push(Path { name, device, expelled: false });
        drop(inner);
        self.changed.notify_waiters();
    }

    /// Takes a path device out.
    pub fn remove_path(&self, name: &str) {
        lock(&self.inner).paths.retain(|p| p.name != name);
    }

    /// Paths that can carry a command now.
    pub fn usable(&self) -> usize {
        lock(&self.inner).paths.iter().filter(|p| !p.expelled && p.device.session().up().is_some()).count()
    }

    /// Sets the capacity in blocks.
    pub fn set_capacity(&self, blocks: u64) {
        lock(&self.inner).blocks = blocks;
    }

    /// The map is deleted: every later command fails.
    pub fn remove(&self) {
        self.removed.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    fn pick(&self) -> Option<(String, Arc<PathDevice>)> {
        let inner = lock(&self.inner);
        let usable: Vec<&Path> =
            inner.paths.iter().filter(|p| !p.expelled && p.device.session().up().is_some()).collect();
        let at = self.turn.fetch_add(1, Ordering::SeqCst);
        usable.get(at.checked_rem(usable.len())?).map(|p| (p.name.clone(), p.device.clone()))
    }

    fn expel(&self, name: &str) {
        if let Some(path) = lock(&self.inner).paths.iter_mut().find(|p| p.name == name) {
            path.expelled = true;
        }
        self.env.note("initiator", || json!({"what": "path-expelled", "map": self.name, "path": name}));
    }

    /// Waits until any path changes its state, or `deadline`. `false`: the deadline passed.
    async fn wait_change(&self, deadline: Duration) -> bool {
        let mut watches: Vec<_> = lock(&self.inner)
            .paths
            .iter()
            .filter(|p| !p.expelled)
            .map(|p| p.device.session().watch())
            .collect();
        let left = deadline.saturating_sub(self.env.now());
        let any = std::future::poll_fn(|cx| {
            for watch in &mut watches {
                let changed = std::pin::pin!(watch.changed());
                // A session that is gone for good changes no more; the deadline covers it.
                if let std::task::Poll::Ready(Ok(())) = std::future::Future::poll(changed, cx) {
                    return std::task::Poll::Ready(());
                }
            }
            std::task::Poll::Pending
        });
        let added = self.changed.notified();
        let either = async {
            tokio::select! {
                biased;
                () = any => {}
                () = added => {}
            }
        };
        // A look every second covers a change between the look at the states and the first poll.
        !left.is_zero()
            && (self.env.timeout(left.min(Duration::from_secs(1)), either).await.is_ok()
                || self.env.now() < deadline)
    }

    fn doubt(&self, ranges: Vec<(u64, u64)>, session: &PortalSession, generation: u64) -> u64 {
        let mut inner = lock(&self.inner);
        let id = inner.next_doubt;
        inner.next_doubt += 1;
        inner.doubts.push(InDoubt { id, ranges, session: session.clone(), generation });
        id
    }

    fn settle(&self, id: u64) {
        lock(&self.inner).doubts.retain(|d| d.id != id);
    }

    /// Waits until no lost change of these ranges can still be applied.
    async fn wait_settled(&self, ranges: &[(u64, u64)], deadline: Duration) -> Result<(), BlockError> {
        loop {
            let found = lock(&self.inner)
                .doubts
                .iter()
                .find(|d| overlap(&d.ranges, ranges))
                .map(|d| (d.id, d.session.clone(), d.generation));
            let Some((id, session, generation)) = found else { return Ok(()) };
            if !self.fence(&session, generation, deadline).await {
                return Err(BlockError::NoPath {
                    message: "an earlier write to these blocks may still be applied".to_owned(),
                });
            }
            self.settle(id);
        }
    }

    /// Resets the logical unit over another path, which ends what the target still holds for it.
    async fn reset_elsewhere(&self, session: &PortalSession) -> bool {
        let others: Vec<Arc<PathDevice>> = lock(&self.inner)
            .paths
            .iter()
            .filter(|p| !p.expelled && p.device.session().portal() != session.portal())
            .map(|p| p.device.clone())
            .collect();
        for other in others {
            if other.reset().await {
                self.env.note("initiator", || {
                    json!({"what": "fenced", "portal": session.portal().to_string(), "by": "age and reset"})
                });
                return true;
            }
        }
        false
    }

    /// Makes sure that `generation` of a session is dead at the target. Its own re-login proves it, or a login with its ISID
    /// through the portal of another path in the same portal group; at last, its age (`fence_after`).
    async fn fence(&self, session: &PortalSession, generation: u64, deadline: Duration) -> bool {
        loop {
            if session.surely_dead(generation) {
                return true;
            }
            let others: Vec<PortalSession> = lock(&self.inner)
                .paths
                .iter()
                .map(|p| p.device.session())
                .filter(|s| s.portal() != session.portal() && s.iqn() == session.iqn())
                .filter(|s| {
                    s.portal_group().is_some()
                        && s.portal_group() == session.portal_group()
                        && s.up().is_some()
                })
                .cloned()
                .collect();
            for other in others {
                let source = self.config.sources.get(&other.portal()).copied();
                if session.fence_through(other.portal(), source, generation).await {
                    return true;
                }
            }
            if session.expired(generation) && self.reset_elsewhere(session).await {
                session.mark_dead(generation);
                continue;
            }
            let now = self.env.now();
            if now >= deadline || self.removed.load(Ordering::SeqCst) {
                return session.surely_dead(generation);
            }
            session.wait_dead(generation, deadline.min(now + FENCE_PAUSE)).await;
        }
    }
}

#[async_trait]
impl Runner for MultipathDevice {
    async fn run(&self, op: Op) -> Result<Bytes, BlockError> {
        let deadline = self.env.now() + self.config.replacement_timeout;
        let changes = op.changes();
        let mut doubt = Doubt::default();
        let mut aborts = 0;
        loop {
            if self.removed.load(Ordering::SeqCst) {
                return Err(doubt.color(BlockError::Removed));
            }
            if !changes.is_empty() {
                self.wait_settled(&changes, deadline).await.map_err(|e| doubt.color(e))?;
            }
            let Some((name, path)) = self.pick() else {
                if self.wait_change(deadline).await {
                    continue;
                }
                let message = format!("no path of {} came back in time", self.name);
                return Err(doubt.color(BlockError::NoPath { message }));
            };
            match path.run_once(&op).await {
                Ok(data) => return Ok(data),
                Err(PathFault::Block(BlockError::Removed)) => self.remove_path(&name),
                Err(PathFault::Block(error)) => {
                    // The logical unit is not mapped on this path any more; it may be on others.
                    if matches!(error, BlockError::Sense { key: 0x5, asc: 0x25, .. }) && self.usable() > 1 {
                        self.expel(&name);
                        continue;
                    }
                    return Err(doubt.color(error));
                }
                Err(PathFault::Stranger(_)) => self.expel(&name),
                Err(PathFault::NotSent(_)) => {
                    if self.env.now() >= deadline {
                        let message = format!("no path of {} took the command", self.name);
                        return Err(doubt.color(BlockError::NoPath { message }));
                    }
                    // The link ended under us; let its session notice before the next pick.
                    self.env.sleep(Duration::from_millis(1)).await;
                }
                Err(PathFault::Aborted) => {
                    aborts += 1;
                    doubt.note(&op, "timed out and aborted".to_owned());
                    if aborts >= MAX_ABORTS {
                        return Err(BlockError::NoAnswer { message: "timed out and aborted".to_owned() });
                    }
                }
                Err(PathFault::Lost { generation, why }) => {
                    doubt.note(&op, why.clone());
                    if changes.is_empty() {
                        if self.env.now() >= deadline {
                            return Err(BlockError::NoAnswer { message: why });
                        }
                        continue;
                    }
                    let id = self.doubt(changes.clone(), path.session(), generation);
                    if !self.fence(path.session(), generation, deadline).await {
                        return Err(BlockError::NoAnswer { message: why });
                    }
                    self.settle(id);
                    if self.env.now() >= deadline {
                        return Err(BlockError::NoAnswer { message: why });
                    }
                }
            }
        }
    }

    fn capacity_blocks(&self) -> u64 {
        lock(&self.inner).blocks
    }

    fn wwn(&self) -> Wwn {
        self.wwn
    }

    fn limits(&self) -> DeviceLimits {
        // The strictest of all paths, so that a command may go over any of them.
        let inner = lock(&self.inner);
        let all = inner.paths.iter().map(|p| p.device.facts().limits);
        all.reduce(|a, b| DeviceLimits {
            max_transfer: a.max_transfer.min(b.max_transfer),
            max_unmap_blocks: a.max_unmap_blocks.min(b.max_unmap_blocks),
            max_unmap_descriptors: a.max_unmap_descriptors.min(b.max_unmap_descriptors),
        })
        .unwrap_or_default()
    }
}
