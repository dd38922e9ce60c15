//! What a logical unit tells besides answers: unit attentions and SCSI asynchronous events, sorted by what a host has to do
//! about them, and counters of what a path did.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use sanbench_wire::scsi::sense::Asc;
use sanbench_world::watch;
use tokio::sync::Notify;

use crate::lock;

/// How often each kind of news came, since the device was found. Counts only grow, so whoever watches them misses nothing,
/// however many come at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathSignals {
    /// CAPACITY DATA HAS CHANGED (2Ah/09h): read the capacity again.
    pub capacity: u64,
    /// REPORTED LUNS DATA HAS CHANGED (3Fh/0Eh) or INQUIRY DATA HAS CHANGED (3Fh/03h): scan, and read identities again.
    pub inventory: u64,
    /// ASYMMETRIC ACCESS STATE CHANGED (2Ah/06h), or an implicit transition that failed (2Ah/07h): read the port groups again.
    pub access: u64,
    /// Mode parameters changed (2Ah/01h), log parameters too (2Ah/02h).
    pub mode: u64,
    /// Power on, reset or nexus loss (29h): what a volatile cache held may be gone, reservations without APTPL too.
    pub reset: u64,
    /// Reservations or registrations were preempted or released, or reservations preempted (2Ah/03h to 05h).
    pub reservations: u64,
    /// A threshold of thin provisioning was crossed (38h/07h).
    pub provisioning: u64,
    /// Commands were cleared by another initiator (2Fh).
    pub cleared: u64,
    /// Any other.
    pub other: u64,
}

impl PathSignals {
    /// Counts one additional sense code.
    pub fn count(&mut self, asc: Asc) {
        let slot = match asc.0 {
            0x2a09 => &mut self.capacity,
            0x3f0e | 0x3f03 => &mut self.inventory,
            0x2a06 | 0x2a07 => &mut self.access,
            0x2a01 | 0x2a02 => &mut self.mode,
            0x2900..=0x29ff => &mut self.reset,
            0x2a03..=0x2a05 => &mut self.reservations,
            0x3807 => &mut self.provisioning,
            0x2f00..=0x2fff => &mut self.cleared,
            _ => &mut self.other,
        };
        *slot += 1;
    }
}

/// The news of one logical unit on one path.
#[derive(Debug)]
pub(crate) struct Attentions {
    signals: watch::Sender<PathSignals>,
    capacity_changed: AtomicBool,
    access_watch: Mutex<Option<Arc<Notify>>>,
}

impl Attentions {
    pub(crate) fn new() -> Self {
        Self {
            signals: watch::Sender::new(PathSignals::default()),
            capacity_changed: AtomicBool::new(false),
            access_watch: Mutex::new(None),
        }
    }

    pub(crate) fn note(&self, asc: Asc) {
        let before = *self.signals.borrow();
        self.signals.send_modify(|signals| signals.count(asc));
        let now = *self.signals.borrow();
        if now.capacity != before.capacity {
            self.capacity_changed.store(true, Ordering::SeqCst);
        }
        if now.access != before.access
            && let Some(who) = &*lock(&self.access_watch)
        {
            who.notify_one();
        }
    }

    pub(crate) fn signals(&self) -> PathSignals {
        *self.signals.borrow()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<PathSignals> {
        self.signals.subscribe()
    }

    pub(crate) fn watch_access(&self, who: Arc<Notify>) {
        *lock(&self.access_watch) = Some(who);
    }

    pub(crate) fn capacity_changed(&self) -> bool {
        self.capacity_changed.load(Ordering::SeqCst)
    }

    pub(crate) fn capacity_read(&self) {
        self.capacity_changed.store(false, Ordering::SeqCst);
    }
}

macro_rules! counters {
    ($(#[$all:meta])* $name:ident / $counts:ident { $($(#[$doc:meta])* $field:ident)* }) => {
        #[derive(Debug, Default)]
        pub(crate) struct $name {
            $(pub(crate) $field: AtomicU64,)*
        }

        $(#[$all])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $counts {
            $($(#[$doc])* pub $field: u64,)*
        }

        impl $name {
            pub(crate) fn read(&self) -> $counts {
                $counts { $($field: self.$field.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// What one path did since it was found.
    PathCounters / PathCounts {
        /// Commands sent, repetitions included.
        commands
        /// Sends after BUSY, TASK SET FULL, ABORTED COMMAND and the like.
        retries
        /// Unit attentions.
        attentions
        /// Commands that failed with a status or sense data.
        errors
        /// Commands that were under way when the connection ended.
        lost
        /// Commands that never left this host.
        not_sent
        /// Commands that timed out and were aborted.
        aborted
    }
}

counters! {
    /// What one session did since its first login.
    SessionCounters / SessionCounts {
        /// Logins that succeeded, the first included.
        logins
        /// Logins that failed.
        failed_logins
        /// Connections lost.
        losses
        /// Announcements of the target (asynchronous messages).
        announcements
    }
}

/// Adds one.
pub(crate) fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
