//! The rules of a host, INV-H1 to INV-H12.
//!
//! | rule | where it is asserted |
//! |---|---|
//! | H1 nothing but the devices, names and maps of attached volumes | [`HostTable::at_rest`] |
//! | H2 a session and a node record exactly where an attached volume uses them | [`HostTable::at_rest`]; [`HostTable::remove_session`] refuses a logout under a device |
//! | H3 every path of a volume shows its WWN | [`HostTable::check`] |
//! | H4 flush before removal, H5 force or keep, H6 one call at a time, H7 a failed connect leaves nothing, H9 bounded time | breaches recorded by the transition (`ledger`) |
//! | H8 all paths and the map show one size | [`HostTable::at_rest`] |
//! | H10 one dead portal does not fail a single-path connect | no state shows it; a test of the connector does |
//! | H11 encrypted volumes | this host has no encryptor, so there is nothing to assert |
//! | H12 startup values are those of use, not of discovery | [`HostTable::at_rest`] |

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::names::by_id_names;
use super::table::{HostTable, Startup};

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// `INV-H1` to `INV-H12`, or `table` for the value's own consistency.
    pub rule: &'static str,
    /// What is wrong, for people.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.text)
    }
}

impl HostTable {
    /// The rules that hold between any two transitions, and the breaches that transitions recorded.
    ///
    /// # Errors
    /// The first rule that is broken, in words.
    pub fn check(&self) -> Result<(), String> {
        match self.always().into_iter().next() {
            Some(violation) => Err(violation.to_string()),
            None => Ok(()),
        }
    }

    fn always(&self) -> Vec<Violation> {
        let mut found = self.ledger.breaches.clone();
        let mut say = |rule, text| found.push(Violation { rule, text });
        let mut names = BTreeSet::new();
        for (at, device) in &self.devices {
            if !self.sessions.contains_key(&at.host) {
                say("table", format!("device {at} has no session"));
            }
            if !names.insert(&device.name) {
                say("table", format!("two devices are called {}", device.name));
            }
        }
        for session in self.sessions.values() {
            if !self.has_node(session.portal, &session.iqn) {
                say("table", format!("session to {} has no node record", session.portal));
            }
        }
        let mut held = BTreeSet::new();
        for map in self.maps.values() {
            for path in &map.paths {
                if self.by_name(path).is_none_or(|d| d.wwn != Some(map.wwn)) {
                    say("INV-H3", format!("map of {} holds {path}, which is not it", map.wwn));
                }
                if !held.insert(path) {
                    say("table", format!("{path} is in two maps"));
                }
            }
        }
        for (link, device) in &self.by_id {
            if !self.is_settling(device) && self.by_name(device).is_none() {
                say("INV-H1", format!("{link} points to nothing"));
            }
        }
        found
    }

    /// Every rule, for a host on which no call is in progress and all events have been delivered.
    pub fn at_rest(&self) -> Vec<Violation> {
        let mut found = self.always();
        let mut say = |rule, text| found.push(Violation { rule, text });
        let mut wanted_names = BTreeSet::new();
        for (wwn, targets) in self.attachments() {
            wanted_names.extend(by_id_names(&wwn));
            let mut any = false;
            for (at, _) in self.devices.iter().filter(|(_, d)| d.wwn == Some(wwn)) {
                any = true;
                let session = self.sessions.get(&at.host);
                if !session.is_some_and(|s| targets.contains(&(s.portal, s.iqn.clone(), at.lun))) {
                    say("INV-H1", format!("{at} shows {wwn}, but not where it was asked for"));
                }
            }
            if !any {
                say("INV-H1", format!("{wwn} is attached and has no device"));
            }
        }
        for (at, device) in &self.devices {
            if !device.wwn.is_some_and(|w| self.is_attached(&w)) {
                say("INV-H1", format!("device {at} ({}) belongs to no attached volume", device.name));
            }
        }
        for map in self.maps.values().filter(|m| !self.is_attached(&m.wwn)) {
            say("INV-H1", format!("the map of {} belongs to no attached volume", map.wwn));
        }
        for (link, device) in self.by_id.iter().filter(|(link, _)| !wanted_names.contains(*link)) {
            say("INV-H1", format!("{link} -> {device} belongs to no attached volume"));
        }
        for (name, wwn) in &self.daemon {
            if self.by_name(name).is_none_or(|d| d.wwn != Some(*wwn)) {
                say("INV-H1", format!("multipathd still knows {name} as {wwn}"));
            }
        }
        let mut used = BTreeMap::new();
        for at in self.devices.keys() {
            used.insert(at.host, ());
        }
        for (id, session) in self.sessions.iter().filter(|(id, _)| !used.contains_key(id)) {
            say("INV-H2", format!("session {} to {} is used by nobody", id.0, session.portal));
        }
        for ((portal, iqn), startup) in &self.nodes {
            let sessions = self.sessions_to(*portal, iqn).count();
            if sessions == 0 {
                say("INV-H2", format!("the node record of {portal},{iqn} is used by nobody"));
            }
            if (sessions > 0) != (*startup == Startup::Automatic) {
                say(
                    "INV-H12",
                    format!("the node record of {portal},{iqn} is {startup:?} with {sessions} sessions"),
                );
            }
        }
        for map in self.maps.values() {
            for path in &map.paths {
                let size = self.by_name(path).map_or(0, |d| d.size_bytes);
                if size != map.size_bytes {
                    say("INV-H8", format!("{path} has {size} bytes, its map {}", map.size_bytes));
                }
            }
        }
        let mut sizes = BTreeMap::new();
        for device in self.devices.values() {
            let Some(wwn) = device.wwn else { continue };
            let first = *sizes.entry(wwn).or_insert(device.size_bytes);
            if first != device.size_bytes {
                say("INV-H8", format!("paths of {wwn} have {first} and {} bytes", device.size_bytes));
            }
        }
        found
    }
}
