//! What the host was asked for: attached volumes, calls in progress, and the breaches of rules that only a transition shows.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use sanbench_api::Wwn;

use super::invariants::Violation;
use super::table::{Hctl, HostTable, SessionId};

/// Breaches kept at most; the first ones tell most.
const MAX_BREACHES: usize = 100;

/// Where a volume can be reached: portal, target name, LUN.
pub type Target = (SocketAddr, String, u16);

/// How a volume left the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    /// The flush before it succeeded.
    pub flushed: bool,
    /// It was forced.
    pub forced: bool,
}

/// The record of requests.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    pub(super) attached: BTreeMap<Wwn, BTreeSet<Target>>,
    pub(super) calls: u32,
    pub(super) breaches: Vec<Violation>,
}

/// What existed at a moment, to be compared after a failed connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inventory {
    sessions: BTreeSet<SessionId>,
    nodes: BTreeSet<(SocketAddr, String)>,
    devices: BTreeSet<Hctl>,
    maps: BTreeSet<u32>,
}

impl HostTable {
    fn breach(&mut self, rule: &'static str, text: String) {
        if self.ledger.breaches.len() < MAX_BREACHES {
            self.ledger.breaches.push(Violation { rule, text });
        }
    }

    /// Breaches of rules by transitions so far.
    pub fn breaches(&self) -> &[Violation] {
        &self.ledger.breaches
    }

    /// A connect, disconnect or extend begins. Two at once break INV-H6.
    pub fn begin_call(&mut self, what: &str) {
        self.ledger.calls += 1;
        if self.ledger.calls > 1 {
            self.breach("INV-H6", format!("{what} began while another call was in progress"));
        }
    }

    /// It ended, somehow.
    pub fn end_call(&mut self) {
        self.ledger.calls = self.ledger.calls.saturating_sub(1);
    }

    /// Calls in progress.
    pub fn calls(&self) -> u32 {
        self.ledger.calls
    }

    /// A connect succeeded: `targets` are all that its connection info named. `took` of `limit` time.
    pub fn attached(&mut self, wwn: Wwn, targets: BTreeSet<Target>, took: Duration, limit: Duration) {
        // One that is connected anew keeps the paths that it has: they were asked for, too.
        self.ledger.attached.entry(wwn).or_default().extend(targets);
        if took > limit {
            self.breach("INV-H9", format!("a connect took {took:?}, its bound is {limit:?}"));
        }
    }

    /// The volumes that are attached, and where they can be reached.
    pub fn attachments(&self) -> impl Iterator<Item = (Wwn, &BTreeSet<Target>)> {
        self.ledger.attached.iter().map(|(wwn, targets)| (*wwn, targets))
    }

    /// True when the volume is attached.
    pub fn is_attached(&self, wwn: &Wwn) -> bool {
        self.ledger.attached.contains_key(wwn)
    }

    /// A disconnect removed the volume. Without force it must have been flushed (INV-H4).
    pub fn departed(&mut self, wwn: Wwn, how: Departure) {
        let was = self.ledger.attached.remove(&wwn).is_some();
        if was && !how.flushed && !how.forced {
            self.breach("INV-H4", format!("{wwn} was removed without a flush"));
        }
    }

    /// A disconnect failed and says that the volume is kept: without force that must be so, with force it must not (INV-H5).
    pub fn kept(&mut self, wwn: Wwn, forced: bool) {
        if forced {
            self.breach("INV-H5", format!("{wwn} was kept although the disconnect was forced"));
        } else if self.is_attached(&wwn) && !self.devices.values().any(|d| d.wwn == Some(wwn)) {
            self.breach("INV-H5", format!("{wwn} lost its devices although its flush failed"));
        }
    }

    /// What exists now.
    pub fn inventory(&self) -> Inventory {
        Inventory {
            sessions: self.sessions.keys().copied().collect(),
            nodes: self.nodes.keys().cloned().collect(),
            devices: self.devices.keys().copied().collect(),
            maps: self.maps.keys().copied().collect(),
        }
    }

    /// A connect failed; before it there was `before`. Nothing may have come (INV-H7); stale devices may have gone.
    pub fn failed_connect(&mut self, before: &Inventory) {
        let now = self.inventory();
        let came = now.sessions.difference(&before.sessions).count()
            + now.nodes.difference(&before.nodes).count()
            + now.devices.difference(&before.devices).count()
            + now.maps.difference(&before.maps).count();
        if came > 0 {
            self.breach("INV-H7", format!("a failed connect left {came} objects behind"));
        }
    }
}
