//! One block device over several paths (dm-multipath's and multipathd's role).
//!
//! | module | does |
//! |---|---|
//! | [`policy`] | which path is next: groups by ALUA priority, failover, failback, queueing; a pure value |
//! | [`alua`] | target port groups and their states |
//! | [`fence`] | lost changes, and the proof that they are not applied any more |
//! | `check` | the path checker: identity, readiness, ALUA state, size |
//! | [`MultipathDevice`] (here) | the paths, and one command over them |
//!
//! A command that a lost path swallowed is sent over another path: a read at once; a change only when the lost session is
//! surely dead at the target. Until then its ranges are *in doubt*, and newer changes of the same blocks wait, even when the
//! caller of the lost change has given up.

pub mod alua;
mod check;
pub mod fence;
pub mod policy;

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sanbench_api::{BlockError, Wwn};
use sanbench_world::Env;
use serde_json::json;
use tokio::sync::Notify;

use crate::config::HostConfig;
use crate::device::{PathDevice, PathFault};
use crate::disk::{Doubt, Runner};
use crate::lock;
use crate::retry;
use crate::scsi::{DeviceLimits, Op};

use alua::Access;
use fence::{Guard, InDoubt};
use policy::{Health, NoPath, PathId, Pick, Policy};

/// Pause after a refusal that only another look at the access states can cure.
const REFUSAL_PAUSE: Duration = Duration::from_millis(100);
/// How often a waiting command looks by itself.
const LOOK: Duration = Duration::from_secs(1);

/// What a map tells its owner about a path, by device name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathEvent {
    /// It shows another volume, or none: the device has to go (MPX-008).
    Expelled(String),
}

type OnEvent = Box<dyn Fn(PathEvent) + Send + Sync>;

struct Path {
    id: PathId,
    name: String,
    device: Arc<PathDevice>,
    /// Target port group, when the unit has ALUA.
    group: Option<u16>,
    /// Count of access state changes that the checker has answered.
    access_seen: u64,
    /// Generation of the session for which the size was read.
    sized: u64,
    /// When the checker looks again.
    due: Duration,
}

struct Inner {
    policy: Policy,
    paths: Vec<Path>,
    next_path: u32,
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
    removed: AtomicBool,
    waiting: AtomicUsize,
    /// Some path changed its state.
    changed: Notify,
    /// The checker has something to look at.
    kick: Arc<Notify>,
    on_event: Mutex<Option<OnEvent>>,
}

impl std::fmt::Debug for MultipathDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MultipathDevice({}, {:?})", self.name, self.wwn)
    }
}

/// Counts a command that waits for a path.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl MultipathDevice {
    /// A map called `name` of `blocks` blocks, without paths. Its checker runs as a task of the node until the map is removed.
    pub fn new(env: Env, config: Arc<HostConfig>, name: String, wwn: Wwn, blocks: u64) -> Arc<Self> {
        let how = &config.paths;
        let no_path = match how.queue_if_no_path {
            Some(commands) => NoPath::Queue { commands, time: config.replacement_timeout },
            None => NoPath::Fail,
        };
        let policy = Policy::new(how.failback, no_path, how.transition_limit);
        let map = Arc::new(Self {
            env: env.clone(),
            config,
            name,
            wwn,
            inner: Mutex::new(Inner {
                policy,
                paths: Vec::new(),
                next_path: 0,
                doubts: Vec::new(),
                next_doubt: 0,
                blocks,
            }),
            removed: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            changed: Notify::new(),
            kick: Arc::new(Notify::new()),
            on_event: Mutex::new(None),
        });
        env.spawn(check::keep_checking(env.clone(), Arc::downgrade(&map), map.kick.clone()));
        map
    }

    /// Map name, such as `dm-0`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The volume.
    pub fn volume(&self) -> Wwn {
        self.wwn
    }

    /// Calls `hook` for every event of a path.
    pub fn on_event(&self, hook: impl Fn(PathEvent) + Send + Sync + 'static) {
        *lock(&self.on_event) = Some(Box::new(hook));
    }

    /// Adds a path device and looks at it; one of that name is replaced.
    pub async fn add_path(&self, name: String, device: Arc<PathDevice>) {
        let now = self.env.now();
        let id = {
            let mut inner = lock(&self.inner);
            let id = PathId(inner.next_path);
            inner.next_path += 1;
            inner.remove(now, &name);
            inner.policy.add(now, id, device.session().up().is_some());
            let access_seen = device.access_changes();
            device.watch_access(self.kick.clone());
            inner.paths.push(Path {
                id,
                name,
                device,
                group: None,
                access_seen,
                sized: 0,
                due: Duration::ZERO,
            });
            id
        };
        self.check_path(id).await;
        self.kick.notify_one();
    }

    /// Takes a path device out.
    pub fn remove_path(&self, name: &str) {
        lock(&self.inner).remove(self.env.now(), name);
        self.changed.notify_waiters();
    }

    /// Paths that are connected and healthy, whatever their access state.
    pub fn usable(&self) -> usize {
        let inner = lock(&self.inner);
        inner.policy.paths().iter().filter(|p| p.connected && p.health == Health::Good).count()
    }

    /// Device name, target port group and access state of each path; states are `None` without ALUA.
    pub fn access(&self) -> Vec<(String, Option<u16>, Option<Access>)> {
        let inner = lock(&self.inner);
        let access = |id| inner.policy.path(id).and_then(|p| p.access);
        inner.paths.iter().map(|p| (p.name.clone(), p.group, access(p.id))).collect()
    }

    /// Times that the group in use had no path left and another took over.
    pub fn failovers(&self) -> u64 {
        lock(&self.inner).policy.failovers()
    }

    /// Sets the capacity in blocks. Paths that were too short are looked at again.
    pub fn set_capacity(&self, blocks: u64) {
        {
            let mut inner = lock(&self.inner);
            inner.blocks = blocks;
            for path in &mut inner.paths {
                path.due = Duration::ZERO;
            }
        }
        self.kick.notify_one();
    }

    /// The map is deleted: every later command fails.
    pub fn remove(&self) {
        self.removed.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
        self.kick.notify_one();
    }

    fn is_removed(&self) -> bool {
        self.removed.load(Ordering::SeqCst)
    }

    /// Changes the policy and wakes whoever waits for a path.
    fn tell(&self, change: impl FnOnce(&mut Policy, Duration)) {
        let now = self.env.now();
        change(&mut lock(&self.inner).policy, now);
        self.changed.notify_waiters();
    }

    /// The next path. One whose session just went down is passed over.
    fn pick(&self) -> Result<(PathId, Arc<PathDevice>), Pick> {
        let now = self.env.now();
        let mut inner = lock(&self.inner);
        loop {
            let pick = inner.policy.pick(now);
            let Pick::Path(id) = pick else { return Err(pick) };
            let found = inner.paths.iter().find(|p| p.id == id).map(|p| p.device.clone());
            match found {
                Some(device) if device.session().up().is_some() => return Ok((id, device)),
                Some(_) => {
                    inner.policy.set_connected(now, id, false);
                    self.kick.notify_one();
                }
                None => inner.policy.remove(now, id),
            }
        }
    }

    fn expel(&self, id: PathId) {
        self.tell(|policy, now| policy.checked(now, id, Health::Expelled));
        let name = lock(&self.inner).paths.iter().find(|p| p.id == id).map(|p| p.name.clone());
        let Some(name) = name else { return };
        self.env.note("initiator", || json!({"what": "path-expelled", "map": self.name, "path": name}));
        if let Some(hook) = &*lock(&self.on_event) {
            hook(PathEvent::Expelled(name));
        }
    }

    /// Waits for a path on behalf of a command that came at `since`. An error: it may not wait, or not any longer.
    async fn wait_path(&self, since: Duration) -> Result<(PathId, Arc<PathDevice>), BlockError> {
        let before = self.waiting.fetch_add(1, Ordering::SeqCst);
        let _counted = Waiting(&self.waiting);
        loop {
            let mut notified = pin!(self.changed.notified());
            // From here on no change is missed.
            notified.as_mut().enable();
            if self.is_removed() {
                return Err(BlockError::Removed);
            }
            let pick = match self.pick() {
                Ok(path) => return Ok(path),
                Err(pick) => pick,
            };
            let now = self.env.now();
            let end = lock(&self.inner).policy.may_wait(since, before, pick);
            let Some(end) = end.filter(|end| *end > now) else {
                let message = match end {
                    Some(_) => format!("no path of {} came back in time", self.name),
                    None => format!("no path of {}, and the command may not wait", self.name),
                };
                return Err(BlockError::NoPath { message });
            };
            let _ = self.env.timeout((end - now).min(LOOK), notified).await;
        }
    }

    /// What a path's refusal means for it. `true`: the command was not taken, and another path may take it.
    fn refused(&self, id: PathId, error: &BlockError) -> bool {
        if let Some(access) = Access::from_refusal(error) {
            self.tell(|policy, now| {
                let preferred = policy.path(id).is_some_and(|p| p.preferred);
                policy.set_access(now, id, Some(access), preferred);
            });
            self.look_again(id);
            return true;
        }
        // The logical unit is not mapped on this path any more; it may be on others.
        if matches!(error, BlockError::Sense { key: 0x5, asc: 0x25, .. }) && self.usable() > 1 {
            self.expel(id);
            return true;
        }
        false
    }

    /// The checker is to look at a path now.
    fn look_again(&self, id: PathId) {
        if let Some(path) = lock(&self.inner).paths.iter_mut().find(|p| p.id == id) {
            path.due = Duration::ZERO;
        }
        self.kick.notify_one();
    }
}

impl Inner {
    fn remove(&mut self, now: Duration, name: &str) {
        let gone: Vec<PathId> = self.paths.iter().filter(|p| p.name == name).map(|p| p.id).collect();
        self.paths.retain(|p| p.name != name);
        for id in gone {
            self.policy.remove(now, id);
        }
    }
}

#[async_trait]
impl Runner for MultipathDevice {
    async fn run(&self, op: Op) -> Result<Bytes, BlockError> {
        let start = self.env.now();
        let deadline = start + self.config.replacement_timeout;
        let changes = op.changes();
        let mut doubt = Doubt::default();
        let mut aborts = 0;
        loop {
            if self.is_removed() {
                return Err(doubt.color(BlockError::Removed));
            }
            if !changes.is_empty() {
                self.wait_settled(&changes, deadline).await.map_err(|e| doubt.color(e))?;
            }
            let (id, path) = match self.pick() {
                Ok(path) => path,
                Err(_) => {
                    let path = self.wait_path(start).await.map_err(|e| doubt.color(e))?;
                    if changes.is_empty() {
                        path
                    } else {
                        // A change of these blocks may have been lost meanwhile.
                        continue;
                    }
                }
            };
            let guard = Guard::new(self, &changes, &path);
            let result = path.run_once(&op).await;
            guard.done();
            let fault = match result {
                Ok(data) => return Ok(data),
                Err(fault) => fault,
            };
            let late = self.env.now() >= deadline;
            match fault {
                PathFault::Block(BlockError::Removed) => {
                    let name = lock(&self.inner).paths.iter().find(|p| p.id == id).map(|p| p.name.clone());
                    self.remove_path(&name.unwrap_or_default());
                }
                PathFault::Block(error) => {
                    if late || !self.refused(id, &error) {
                        return Err(doubt.color(error));
                    }
                    self.env.sleep(REFUSAL_PAUSE).await;
                }
                PathFault::Stranger(_) => self.expel(id),
                PathFault::NotSent(_) => {
                    if late {
                        let message = format!("no path of {} took the command", self.name);
                        return Err(doubt.color(BlockError::NoPath { message }));
                    }
                    // The link ended under us; let its session notice before the next pick.
                    self.env.sleep(Duration::from_millis(1)).await;
                }
                PathFault::Aborted => {
                    aborts += 1;
                    doubt.note(&op, "timed out and aborted".to_owned());
                    if retry::gives_up(aborts, late) {
                        return Err(BlockError::NoAnswer { message: "timed out and aborted".to_owned() });
                    }
                    // It may be the path that is slow; the checker finds out, other paths come first meanwhile.
                    self.tell(|policy, now| policy.checked(now, id, Health::Unchecked));
                    self.look_again(id);
                }
                PathFault::Lost { generation, why } => {
                    doubt.note(&op, why.clone());
                    self.kick.notify_one();
                    if !changes.is_empty() && !self.config.defects.overtake_on_failover {
                        let id = self.doubt(changes.clone(), &path, generation);
                        if !self.fence_id(id, deadline).await {
                            return Err(BlockError::NoAnswer { message: why });
                        }
                    }
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

/// Waits until any of the futures is ready; they are polled in order.
async fn any<F: Future + Unpin>(mut futures: Vec<F>) {
    std::future::poll_fn(|cx| {
        for future in &mut futures {
            if std::pin::Pin::new(future).poll(cx).is_ready() {
                return std::task::Poll::Ready(());
            }
        }
        std::task::Poll::Pending
    })
    .await;
}
