//! The path checker: on an interval, after every change of a session and after ASYMMETRIC ACCESS STATE CHANGED it looks at each
//! path: is it still the volume, in which access state is its port group, is it ready, is it long enough.

use std::sync::{Arc, Weak};
use std::time::Duration;

use sanbench_api::BlockError;
use sanbench_world::Env;
use serde_json::json;
use tokio::sync::Notify;

use super::alua::{self, Access, Report};
use super::policy::{Health, PathId, Policy};
use super::{MultipathDevice, any};
use crate::device::{PathDevice, PathFault};
use crate::join::join_all;
use crate::lock;

/// How often the states are read while one of them is in transition.
const TRANSITION_LOOK: Duration = Duration::from_secs(1);

/// What one look at a path found.
enum Look {
    /// The session is down.
    Down,
    Is(Health),
    /// It refuses media access because of its state.
    Refuses(Access),
}

/// Runs until the map is removed or gone.
pub(super) async fn keep_checking(env: Env, map: Weak<MultipathDevice>, kick: Arc<Notify>) {
    loop {
        let Some(strong) = map.upgrade() else { return };
        if strong.is_removed() {
            return;
        }
        strong.check_due().await;
        let until = strong.next_look();
        let mut watches: Vec<_> =
            lock(&strong.inner).paths.iter().map(|p| p.device.session().watch()).collect();
        let stale = strong.refresh();
        drop(strong);
        if stale {
            // A session changed during the checks.
            continue;
        }
        // The watches of sessions that are closed for good never change again.
        let changes = watches.iter_mut().map(|w| {
            Box::pin(async {
                if w.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            })
        });
        tokio::select! {
            biased;
            () = any(changes.collect()) => {}
            () = kick.notified() => {}
            () = env.sleep_until(until) => {}
        }
    }
}

impl MultipathDevice {
    /// Takes over which sessions are up. `true`: some path came or went.
    fn refresh(&self) -> bool {
        let now = self.env.now();
        let mut changed = false;
        {
            let mut inner = lock(&self.inner);
            let inner = &mut *inner;
            for path in &mut inner.paths {
                let up = path.device.session().up().is_some();
                if inner.policy.path(path.id).is_some_and(|p| p.connected != up) {
                    inner.policy.set_connected(now, path.id, up);
                    path.due = Duration::ZERO;
                    changed = true;
                }
            }
        }
        if changed {
            self.changed.notify_waiters();
        }
        changed
    }

    fn next_look(&self) -> Duration {
        let inner = lock(&self.inner);
        let now = self.env.now();
        let soon = inner.policy.is_transitioning().then(|| now + TRANSITION_LOOK);
        let due = inner.paths.iter().map(|p| p.due).min();
        let idle = now + self.config.paths.checker_interval;
        [soon, due, inner.policy.next_timeout()].into_iter().flatten().fold(idle, Duration::min)
    }

    /// Looks at every path that is due.
    async fn check_due(&self) {
        self.refresh();
        let now = self.env.now();
        let due: Vec<PathId> = {
            let inner = lock(&self.inner);
            let transitioning = inner.policy.is_transitioning();
            inner
                .paths
                .iter()
                .filter(|p| p.due <= now || transitioning || p.device.access_changes() != p.access_seen)
                .map(|p| p.id)
                .collect()
        };
        join_all(due.into_iter().map(|id| self.check_path(id))).await;
        // The load may return to a better group by now.
        self.tell(Policy::tick);
    }

    /// Looks at one path and tells the policy.
    pub(super) async fn check_path(&self, id: PathId) {
        let found = {
            let mut inner = lock(&self.inner);
            let interval = self.config.paths.checker_interval;
            let next = self.env.now() + interval;
            inner.paths.iter_mut().find(|p| p.id == id).map(|path| {
                path.due = next;
                path.access_seen = path.device.access_changes();
                (path.device.clone(), path.sized)
            })
        };
        let Some((device, sized)) = found else { return };
        let Some((_, generation)) = device.session().up() else {
            self.tell(|policy, now| policy.set_connected(now, id, false));
            return;
        };
        let limit = self.config.paths.checker_timeout;
        let look = match self.env.timeout(limit, self.look(id, &device, sized != generation)).await {
            Ok(look) => look,
            Err(_) => Look::Is(Health::Faulty),
        };
        if device.session().up().is_none_or(|(_, now)| now != generation) {
            // What was seen belongs to a connection that is gone.
            self.tell(|policy, now| policy.set_connected(now, id, false));
            self.look_again(id);
            return;
        }
        match look {
            Look::Down => self.tell(|policy, now| policy.set_connected(now, id, false)),
            Look::Refuses(access) => self.tell(|policy, now| {
                policy.set_connected(now, id, true);
                policy.set_access(now, id, Some(access), false);
                policy.checked(now, id, Health::Good);
            }),
            Look::Is(Health::Expelled) => self.expel(id),
            Look::Is(health) => {
                if health == Health::Good
                    && let Some(path) = lock(&self.inner).paths.iter_mut().find(|p| p.id == id)
                {
                    path.sized = generation;
                }
                let before = lock(&self.inner).policy.path(id).map(|p| p.health);
                self.tell(|policy, now| {
                    policy.set_connected(now, id, true);
                    policy.checked(now, id, health);
                });
                if before != Some(health) {
                    self.env.note("initiator", || {
                        json!({"what": "path-checked", "map": self.name(),
                               "portal": device.session().portal().to_string(), "health": format!("{health:?}")})
                    });
                }
            }
        }
    }

    async fn look(&self, id: PathId, device: &PathDevice, size: bool) -> Look {
        // Identity first: what a stranger says about its state is of no interest.
        if let Err(fault) = device.confirm().await {
            return judge(fault);
        }
        match alua::read(device).await {
            Ok(Some(report)) => {
                let own = report.own_group().map(|g| g.access);
                self.learn(id, &report);
                let refusing = [Access::Standby, Access::Unavailable, Access::Offline, Access::Transitioning];
                if own.is_some_and(|own| refusing.contains(&own)) {
                    return Look::Is(Health::Good);
                }
            }
            Ok(None) => self.tell(|policy, now| policy.set_access(now, id, None, false)),
            Err(fault) => return judge(fault),
        }
        if let Err(fault) = device.path_check().await {
            return judge(fault);
        }
        if size {
            match device.read_capacity().await {
                Ok(blocks) if blocks < lock(&self.inner).blocks => return Look::Is(Health::Short),
                Ok(_) => {}
                Err(fault) => return judge(fault),
            }
        }
        Look::Is(Health::Good)
    }

    /// Takes over the states of all groups that one path reported.
    fn learn(&self, id: PathId, report: &Report) {
        let now = self.env.now();
        {
            let mut inner = lock(&self.inner);
            let inner = &mut *inner;
            for path in &mut inner.paths {
                if path.id == id {
                    path.group = report.own;
                }
                if let Some(group) = path.group.and_then(|g| report.group(g)) {
                    inner.policy.set_access(now, path.id, Some(group.access), group.preferred);
                }
            }
        }
        self.changed.notify_waiters();
    }
}

fn judge(fault: PathFault) -> Look {
    match fault {
        PathFault::NotSent(_) | PathFault::Lost { .. } => Look::Down,
        PathFault::Stranger(_) => Look::Is(Health::Expelled),
        PathFault::Aborted => Look::Is(Health::Faulty),
        PathFault::Block(error) => match Access::from_refusal(&error) {
            Some(access) => Look::Refuses(access),
            None if matches!(error, BlockError::Sense { key: 0x5, asc: 0x25, .. }) => {
                Look::Is(Health::Expelled)
            }
            None => Look::Is(Health::Faulty),
        },
    }
}
