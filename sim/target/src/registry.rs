//! The sessions of a target, so that one session can reach the others: reinstatement (RFC 7143 section 6.3.5), resets
//! that concern every I_T nexus, messages of the target's owner, and what all sessions share.
//!
//! A session acts on what was posted to it at the latest when it next holds the array's lock, so whoever posts and then
//! takes that lock once knows that nothing older is done afterwards.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sanbench_array::{DeviceId, NexusId};
use sanbench_wire::pdu::AsyncEvent;
use sanbench_wire::scsi::sense::Asc;
use tokio::sync::Notify;

use crate::config::Redirect;
use crate::defects::TargetDefects;

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
    /// Tell the initiator to log out within this time (asynchronous event 1).
    RequestLogout(Duration),
    /// Tell the initiator to negotiate anew within this time (asynchronous event 4).
    RequestNegotiation(Duration),
    /// Say that the connection or the session is dropped (asynchronous events 2 and 3), then do it.
    Farewell(AsyncEvent),
    /// A unit attention that is told at once (asynchronous event 0).
    Announce(DeviceId, Asc),
    /// A unit attention that waits for the next command.
    Attention(DeviceId, Asc),
}

/// Where a session receives its events.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    events: Mutex<Vec<Event>>,
    pending: AtomicBool,
    /// The session waits for what another array says.
    expects: AtomicBool,
    /// Wakes the pump.
    pub(crate) ring: Notify,
}

impl Mailbox {
    pub(crate) fn post(&self, event: Event) {
        {
            let mut events = lock(&self.events);
            // One of a kind is enough, which also bounds the box.
            if !events.contains(&event) {
                events.push(event);
            }
            self.pending.store(true, Ordering::Release);
        }
        self.ring.notify_one();
    }

    /// Whether stirs of the array matter to the session.
    pub(crate) fn expect_stirs(&self, expects: bool) {
        self.expects.store(expects, Ordering::Release);
    }

    /// Whether something waits. Cheap: every command asks.
    pub(crate) fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Acquire)
    }

    pub(crate) fn take(&self) -> Vec<Event> {
        if !self.is_pending() {
            return Vec::new();
        }
        let mut events = lock(&self.events);
        self.pending.store(false, Ordering::Release);
        std::mem::take(&mut *events)
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

/// A connection that wants to join.
#[derive(Clone, Debug)]
pub(crate) struct Joiner {
    pub(crate) nexus: NexusName,
    /// Session handle of the request; 0 for a new session.
    pub(crate) tsih: u16,
    pub(crate) cid: u16,
    /// Address of the portal.
    pub(crate) local: SocketAddr,
    /// Relative target port identifier of the portal.
    pub(crate) port: u16,
}

#[derive(Debug)]
struct Entry {
    nexus: NexusName,
    cid: u16,
    local: SocketAddr,
    port: u16,
    mailbox: Arc<Mailbox>,
}

#[derive(Debug, Default)]
struct Shared {
    sessions: Mutex<BTreeMap<u16, Entry>>,
    redirects: Mutex<BTreeMap<SocketAddr, Redirect>>,
    tasks: Arc<AtomicUsize>,
    /// Nexuses that had a session, and the power generation of that.
    known: Mutex<BTreeMap<NexusName, u64>>,
}

/// Nexuses that are remembered after their session, at most.
const MAX_KNOWN: usize = 4_096;

/// The sessions of one target. Cheap to clone; all clones are the same registry.
#[derive(Clone, Debug, Default)]
pub struct Registry(Arc<Shared>);

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

/// One of the commands that may wait for data at a time; given back when dropped.
#[derive(Debug)]
pub(crate) struct TaskSlot(Arc<AtomicUsize>);

impl Drop for TaskSlot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Registry {
    /// A registry without sessions.
    pub fn new() -> Registry {
        Registry::default()
    }

    /// Number of sessions in full feature phase.
    pub fn len(&self) -> usize {
        lock(&self.0.sessions).len()
    }

    /// True when there is no session.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends every session at once, as a controller that restarts would.
    pub fn drop_all(&self) {
        self.tell(|_| true, Event::Close);
    }

    /// Enters a session and gives its handle. With handle 0 a session of the same nexus is reinstated: the old one is
    /// closed. With another value the login must be the same initiator's, for the same connection.
    pub(crate) fn join(
        &self,
        joiner: Joiner,
        seed: u16,
        mailbox: &Arc<Mailbox>,
        defects: TargetDefects,
    ) -> Result<u16, JoinError> {
        let mut sessions = lock(&self.0.sessions);
        let Joiner { nexus, tsih, cid, local, port } = joiner;
        let entry = Entry { nexus, cid, local, port, mailbox: Arc::clone(mailbox) };
        if tsih != 0 {
            let old =
                sessions.get(&tsih).filter(|old| old.nexus == entry.nexus).ok_or(JoinError::NoSuchSession)?;
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
        let old = sessions.iter().find(|(_, old)| old.nexus == entry.nexus).map(|(tsih, _)| *tsih);
        if old.is_some() && defects.reinstatement_refused {
            return Err(JoinError::Full);
        }
        if let Some(old) = old.and_then(|tsih| sessions.remove(&tsih))
            && !defects.reinstatement_keeps_tasks
        {
            old.mailbox.post(Event::Close);
        }
        sessions.insert(free, entry);
        Ok(free)
    }

    /// Removes a session that ended, unless a newer connection took its handle over; true when it was there.
    pub(crate) fn leave(&self, tsih: u16, mailbox: &Arc<Mailbox>) -> bool {
        let mut sessions = lock(&self.0.sessions);
        let own = sessions.get(&tsih).is_some_and(|entry| Arc::ptr_eq(&entry.mailbox, mailbox));
        if own {
            sessions.remove(&tsih);
        }
        own
    }

    /// Whether this nexus was there before, since the power came on; from now on it was.
    pub(crate) fn returns(&self, nexus: NexusName, power_generation: u64) -> bool {
        let mut known = lock(&self.0.known);
        known.retain(|_, generation| *generation == power_generation);
        if known.len() >= MAX_KNOWN && !known.contains_key(&nexus) {
            known.pop_first();
        }
        known.insert(nexus, power_generation).is_some()
    }

    /// The array has stirred: sessions that wait for that look again.
    pub(crate) fn stir(&self) {
        let sessions = lock(&self.0.sessions);
        let expect = |entry: &&Entry| entry.mailbox.expects.load(Ordering::Acquire);
        sessions.values().filter(expect).for_each(|entry| entry.mailbox.ring.notify_one());
    }

    /// Tells the session of a nexus, if it has one.
    pub(crate) fn tell_nexus(&self, nexus: &NexusId, event: Event) {
        let sessions = lock(&self.0.sessions);
        let own = |entry: &&Entry| {
            let name = &entry.nexus;
            name.initiator == nexus.initiator && name.isid == nexus.isid && entry.port == nexus.port
        };
        sessions.values().filter(own).for_each(|entry| entry.mailbox.post(event));
    }

    /// Tells every session but the sender.
    pub(crate) fn tell_others(&self, sender: &Arc<Mailbox>, event: Event) {
        for entry in lock(&self.0.sessions).values().filter(|entry| !Arc::ptr_eq(&entry.mailbox, sender)) {
            entry.mailbox.post(event);
        }
    }

    /// Tells the sessions of those portals; how many heard it.
    pub(crate) fn tell(&self, portal: impl Fn(SocketAddr) -> bool, event: Event) -> usize {
        let sessions = lock(&self.0.sessions);
        sessions.values().filter(|entry| portal(entry.local)).map(|entry| entry.mailbox.post(event)).count()
    }

    /// Where a portal sends its initiators at present.
    pub(crate) fn redirect(&self, portal: SocketAddr) -> Option<Redirect> {
        lock(&self.0.redirects).get(&portal).cloned()
    }

    pub(crate) fn set_redirect(&self, portal: SocketAddr, to: Option<Redirect>) {
        let mut redirects = lock(&self.0.redirects);
        match to {
            Some(to) => redirects.insert(portal, to),
            None => redirects.remove(&portal),
        };
    }

    /// Room for one more command that waits for data, when fewer than `limit` wait.
    pub(crate) fn task_slot(&self, limit: usize) -> Option<TaskSlot> {
        let slot = TaskSlot(Arc::clone(&self.0.tasks));
        (slot.0.fetch_add(1, Ordering::Relaxed) < limit).then_some(slot)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
