//! Groups and domains, which both arrays of a link have.
//!
//! They are told when they are made and deleted, and so is which pairs are in them. What is said last on a connection may be lost
//! with it, and nothing is said while there is none: at the beginning of each connection both ends tell all their sets anew,
//! and the primary of each pair which one it is in. A set that one end does not know was not heard of, or deleted meanwhile; the
//! end that has made it knows which.

use super::objects::{PairState, Role};
use super::{Domain, Message, NewSet, PairGroup};
use crate::Array;

impl Array {
    /// An id that the other array will not give.
    pub(super) fn shared_id(&mut self) -> u64 {
        self.id_mark() << 32 | self.new_id()
    }

    /// What the ids of this array's pairs and sets begin with.
    fn id_mark(&self) -> u64 {
        self.wwn_base & 0x7fff
    }

    /// Tells everything about sets at the beginning of a connection.
    pub(super) fn tell_sets(&mut self, remote: u64) {
        let domains = self.mirror.domains.values().filter(|domain| domain.remote == remote);
        let groups = self.mirror.groups.values().filter(|group| group.remote == remote);
        let sets = domains.map(NewSet::from).chain(groups.map(NewSet::from)).map(Message::CreateSet);
        let led = self.mirror.pairs.values().filter(|pair| {
            pair.remote == remote && pair.role == Role::Primary && pair.state != PairState::Invalid
        });
        let members = led.map(|pair| Message::Member { pair: pair.id, group: pair.group });
        let all: Vec<Message> = sets.chain(members).collect();
        all.into_iter().for_each(|message| self.mirror.say(remote, message));
    }

    /// The other array has this set.
    pub(super) fn install_set(&mut self, remote: u64, set: NewSet) {
        if self.mirror.groups.contains_key(&set.id) || self.mirror.domains.contains_key(&set.id) {
            // What is set here stays.
            return;
        }
        if set.id >> 32 == self.id_mark() {
            // It was made here, and deleted while the other array was not heard.
            return self.mirror.say(remote, Message::DeleteSet { set: set.id });
        }
        let NewSet { id, name, description, kind, speed, auto_recovery, interval } = set;
        if self.room_for_pairs().is_err() || self.check_text(&name, &description).is_err() {
            return;
        }
        match kind {
            None => {
                self.mirror.domains.insert(id, Domain { id, name, description, remote });
            }
            Some(kind) => {
                let speed = speed.clamp(1, 4);
                let group = PairGroup { id, name, description, remote, kind, speed, auto_recovery, interval };
                self.mirror.groups.insert(id, group);
            }
        }
    }

    /// The other array has this set no more: whatever was in it is in none.
    pub(super) fn drop_set(&mut self, remote: u64, set: u64) {
        if self.mirror.groups.get(&set).is_some_and(|group| group.remote == remote) {
            self.stop_run(set);
            for pair in self.mirror.members(set) {
                if let Some(pair) = self.mirror.pairs.get_mut(&pair) {
                    pair.group = None;
                }
            }
            self.mirror.groups.remove(&set);
        }
        self.mirror.domains.retain(|id, domain| *id != set || domain.remote != remote);
    }
}

impl From<&Domain> for NewSet {
    fn from(domain: &Domain) -> Self {
        Self {
            id: domain.id,
            name: domain.name.clone(),
            description: domain.description.clone(),
            kind: None,
            // Only groups have what follows.
            speed: 2,
            auto_recovery: true,
            interval: std::time::Duration::ZERO,
        }
    }
}

impl From<&PairGroup> for NewSet {
    fn from(group: &PairGroup) -> Self {
        Self {
            id: group.id,
            name: group.name.clone(),
            description: group.description.clone(),
            kind: Some(group.kind),
            speed: group.speed,
            auto_recovery: group.auto_recovery,
            interval: group.interval,
        }
    }
}
