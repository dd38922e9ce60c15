//! The named locks of a node, and which of them operations asked for while they had others.
//!
//! Every operation runs as one task, so the task that took a lock is the operation that has it. What a caller goes on to do
//! with a lock that an operation left in its hands ([`crate::LocalRead`]) is another operation's, and is not seen as one order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use sanbench_world::Env;
use tokio::sync::OwnedMutexGuard;
use tokio::task::Id;

/// What a lock is for. Where several are needed, they are taken in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockKind {
    /// Around the map and connect, and the disconnect and unmap, of one back end's volumes at a host.
    Connection,
    /// Only one operation fills the cache for an image.
    Image,
    /// A volume that is being deleted, or that must not be.
    DeleteVolume,
    /// A snapshot that is being deleted, or that must not be.
    DeleteSnapshot,
    /// The attachment of a volume to the control host.
    Control,
}

impl LockKind {
    /// The kind in one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Image => "image",
            Self::DeleteVolume => "delete_volume",
            Self::DeleteSnapshot => "delete_snapshot",
            Self::Control => "control",
        }
    }
}

/// A lock: what it is for, and of what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LockName {
    /// What it is for.
    pub kind: LockKind,
    /// The object.
    pub of: String,
}

/// An operation asked for a lock while it had another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeldBefore {
    /// The lock that it had.
    pub held: LockName,
    /// The lock that it asked for, whether it got it or not.
    pub asked: LockName,
}

/// Who has what: the ticket of the guard, the task that took it, the lock.
type Holdings = Arc<Mutex<Vec<(u64, Id, LockName)>>>;

/// The locks of one incarnation of a node.
#[derive(Default)]
pub(crate) struct Locks {
    named: Mutex<BTreeMap<LockName, Weak<tokio::sync::Mutex<()>>>>,
    holdings: Holdings,
    tickets: AtomicU64,
    order: Arc<Order>,
}

/// What was seen; it outlives a crash of the service.
#[derive(Default)]
struct Order(Mutex<BTreeSet<HeldBefore>>);

/// Somebody has a lock as long as this lives.
pub(crate) struct LockGuard {
    ticket: u64,
    holdings: Holdings,
    _lock: OwnedMutexGuard<()>,
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        held(&self.holdings).retain(|(ticket, _, _)| *ticket != self.ticket);
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Locks {
    pub(crate) fn new(env: &Env) -> Self {
        Self { order: env.disk().cell("lock-order", Order::default), ..Self::default() }
    }

    /// Waits for a lock. Names nobody holds or waits for are forgotten.
    pub(crate) async fn lock(&self, kind: LockKind, of: String) -> LockGuard {
        let name = LockName { kind, of };
        // Outside of a task nobody runs an operation.
        let task = tokio::task::try_id();
        if let Some(task) = task {
            self.asks(task, &name);
        }
        let mutex = {
            let mut named = held(&self.named);
            match named.get(&name).and_then(Weak::upgrade) {
                Some(mutex) => mutex,
                None => {
                    named.retain(|_, weak| weak.strong_count() > 0);
                    let mutex = Arc::new(tokio::sync::Mutex::new(()));
                    named.insert(name.clone(), Arc::downgrade(&mutex));
                    mutex
                }
            }
        };
        let lock = mutex.lock_owned().await;
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        if let Some(task) = task {
            held(&self.holdings).push((ticket, task, name));
        }
        LockGuard { ticket, holdings: Arc::clone(&self.holdings), _lock: lock }
    }

    fn asks(&self, task: Id, name: &LockName) {
        let holdings = held(&self.holdings);
        let own = holdings.iter().filter(|(_, holder, _)| *holder == task);
        held(&self.order.0)
            .extend(own.map(|(_, _, lock)| HeldBefore { held: lock.clone(), asked: name.clone() }));
    }

    /// What was seen since the last call.
    pub(crate) fn take_order(&self) -> Vec<HeldBefore> {
        std::mem::take(&mut *held(&self.order.0)).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sanbench_world::{SimConfig, SimWorld};

    use super::*;

    fn name(kind: LockKind) -> LockName {
        LockName { kind, of: "x".into() }
    }

    /// Takes both, one after the other, as one operation.
    async fn both(env: &Env, locks: &Arc<Locks>, first: LockKind, second: LockKind) {
        let locks = Arc::clone(locks);
        let operation = async move {
            let _first = locks.lock(first, "x".into()).await;
            let _second = locks.lock(second, "x".into()).await;
        };
        env.spawn(operation).await.unwrap();
    }

    #[test]
    fn an_operation_that_asks_for_more_shows_its_order() {
        SimWorld::run(SimConfig::default(), |world| async move {
            let env = world.node("control", &[]);
            let locks = Arc::new(Locks::new(&env));
            both(&env, &locks, LockKind::Image, LockKind::Control).await;
            both(&env, &locks, LockKind::Control, LockKind::Image).await;
            both(&env, &locks, LockKind::Image, LockKind::Control).await;
            let (image, control) = (name(LockKind::Image), name(LockKind::Control));
            let expected = vec![
                HeldBefore { held: image.clone(), asked: control.clone() },
                HeldBefore { held: control, asked: image },
            ];
            // The next incarnation of the service knows it as well.
            assert_eq!(Locks::new(&env).take_order(), expected);
            assert_eq!(locks.take_order(), []);
        });
    }

    #[test]
    fn what_others_have_or_what_was_given_back_is_no_order() {
        SimWorld::run(SimConfig::default(), |world| async move {
            let env = world.node("control", &[]);
            let locks = Arc::new(Locks::new(&env));
            let (own, clock) = (Arc::clone(&locks), env.clone());
            let other = env.spawn(async move {
                let first = own.lock(LockKind::Image, "x".into()).await;
                clock.sleep(Duration::from_secs(1)).await;
                drop(first);
                let _second = own.lock(LockKind::Connection, "x".into()).await;
            });
            let own = Arc::clone(&locks);
            env.spawn(async move { drop(own.lock(LockKind::Control, "x".into()).await) }).await.unwrap();
            other.await.unwrap();
            assert_eq!(locks.take_order(), []);
        });
    }

    #[test]
    fn who_waits_for_a_lock_that_he_has_shows_it() {
        SimWorld::run(SimConfig::default(), |world| async move {
            let env = world.node("control", &[]);
            let locks = Arc::new(Locks::new(&env));
            let twice = both(&env, &locks, LockKind::Image, LockKind::Image);
            assert!(env.timeout(Duration::from_secs(9), twice).await.is_err());
            let image = name(LockKind::Image);
            assert_eq!(locks.take_order(), [HeldBefore { held: image.clone(), asked: image }]);
        });
    }
}
