//! The sessions of a target, so that one session can reach the others: reinstatement (RFC 7143 section 6.3.5), resets
//! that concern every I_T nexus, and the drop of all sessions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sanbench_array::DeviceId;
use tokio::sync::Notify;

/// Something that another session or the target's owner did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The session must end now, without a word.
    Close,
    /// A logical unit was reset: its tasks are gone, unit attention 29h/03h.
    DeviceReset(DeviceId),
    /// The task set of a logical unit was cleared by another initiator: unit attention 2Fh/00h.
    TasksCleared(DeviceId),
    /// The whole target was reset.
    TargetReset,
}

/// Where a session receives its events.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    events: Mutex<Vec<Event>>,
    /// Wakes the pump.
    pub(crate) ring: Notify,
}

impl Mailbox {
    fn post(&self, event: Event) {
        lock(&self.events).push(event);
        self.ring.notify_one();
    }

    pub(crate) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *lock(&self.events))
    }
}

/// Who a session belongs to (RFC 7143: the I_T nexus is initiator name, ISID, target, portal group tag).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NexusName {
    pub(crate) initiator: String,
    pub(crate) isid: [u8; 6],
    /// None for a discovery session.
    pub(crate) portal_group: Option<u16>,
}

#[derive(Debug)]
struct Entry {
    nexus: NexusName,
    cid: u16,
    mailbox: Arc<Mailbox>,
}

/// The sessions of one target. Cheap to clone; all clones are the same registry.
#[derive(Clone, Debug, Default)]
pub struct Registry(Arc<Mutex<BTreeMap<u16, Entry>>>);

/// Why a login cannot join a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JoinError {
    /// The handle names no session of this initiator.
    NoSuchSession,
    /// The session has its only connection under another CID.
    TooManyConnections,
    /// Every handle is taken.
    Full,
}

impl Registry {
    /// A registry without sessions.
    pub fn new() -> Registry {
        Registry::default()
    }

    /// Number of sessions in full feature phase.
    pub fn len(&self) -> usize {
        lock(&self.0).len()
    }

    /// True when there is no session.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends every session at once, as a controller that restarts would.
    pub fn drop_all(&self) {
        for entry in lock(&self.0).values() {
            entry.mailbox.post(Event::Close);
        }
    }

    /// Enters a session and gives its handle. With `tsih` 0 a session of the same nexus is reinstated: the old one is
    /// closed. With another value the login must be the same initiator's, for the same connection.
    pub(crate) fn join(
        &self,
        nexus: &NexusName,
        tsih: u16,
        cid: u16,
        seed: u16,
        mailbox: &Arc<Mailbox>,
    ) -> Result<u16, JoinError> {
        let mut sessions = lock(&self.0);
        let entry = Entry { nexus: nexus.clone(), cid, mailbox: Arc::clone(mailbox) };
        if tsih != 0 {
            let old =
                sessions.get(&tsih).filter(|old| old.nexus == *nexus).ok_or(JoinError::NoSuchSession)?;
            if old.cid != cid {
                return Err(JoinError::TooManyConnections);
            }
            old.mailbox.post(Event::Close);
            sessions.insert(tsih, entry);
            return Ok(tsih);
        }
        // Checked first, so that a login that fails leaves the running session alone.
        let free = (0..u16::MAX)
            .map(|step| seed.wrapping_add(step))
            .find(|candidate| *candidate != 0 && !sessions.contains_key(candidate))
            .ok_or(JoinError::Full)?;
        let old = sessions.iter().find(|(_, old)| old.nexus == *nexus).map(|(tsih, _)| *tsih);
        if let Some(old) = old.and_then(|tsih| sessions.remove(&tsih)) {
            old.mailbox.post(Event::Close);
        }
        sessions.insert(free, entry);
        Ok(free)
    }

    /// Removes a session that ended, unless a newer connection took its handle over.
    pub(crate) fn leave(&self, tsih: u16, mailbox: &Arc<Mailbox>) {
        let mut sessions = lock(&self.0);
        if sessions.get(&tsih).is_some_and(|entry| Arc::ptr_eq(&entry.mailbox, mailbox)) {
            sessions.remove(&tsih);
        }
    }

    /// Tells every session but the sender.
    pub(crate) fn tell_others(&self, sender: &Arc<Mailbox>, event: Event) {
        for entry in lock(&self.0).values().filter(|entry| !Arc::ptr_eq(&entry.mailbox, sender)) {
            entry.mailbox.post(event);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
