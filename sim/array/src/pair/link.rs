//! Connections between two arrays: greeting, lease, loss; messages in and out.

use std::collections::VecDeque;
use std::time::Duration;

use super::objects::{Access, Pair, PairState, Role};
use super::{
    LEASE, Message, Mirror, OUTBOX_BYTES, OUTBOX_MESSAGES, Order, PING, PairGreeting, PeerGroup,
    RemoteDevice, RemoteLun, SILENCE, Verdict,
};
use crate::object::{DeviceId, SplitStatus};
use crate::{Array, IoError, Refusal};

/// Questions to another array that may wait for their answer.
const ASKED_MAX: usize = 64;

/// What the other array said makes no sense; the connection must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// There is no connection, or no such remote device.
    #[error("there is no such connection")]
    NotConnected,
    /// Something came before the greeting, or a second greeting.
    #[error("the greeting is not where it belongs")]
    Greeting,
    /// Another array than the one known by this name.
    #[error("another array answers")]
    WrongArray,
    /// A value is outside of its range.
    #[error("a message makes no sense")]
    Nonsense,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    outbox: VecDeque<Message>,
    weight: usize,
    /// The own greeting is on its way.
    begun: bool,
    /// The other end has greeted.
    pub(super) greeted: bool,
    heard: Duration,
    next_ping: Duration,
    /// How long this end may serve HyperMetro secondaries.
    pub(super) lease_until: Duration,
    /// How long the other end may.
    pub(super) promised_until: Duration,
    /// Access generation that the other end was last told of.
    told: Option<u64>,
}

impl Connection {
    pub(super) fn push(&mut self, message: Message) {
        self.weight += message.weight();
        self.outbox.push_back(message);
    }

    fn pop(&mut self) -> Option<Message> {
        let message = self.outbox.pop_front()?;
        self.weight -= message.weight();
        Some(message)
    }
}

impl Mirror {
    fn pairs_with(&self, remote: u64) -> impl Iterator<Item = &Pair> {
        self.pairs.values().filter(move |pair| pair.remote == remote)
    }
}

impl Array {
    /// Makes another array known under a name; its serial number comes with its first greeting. Idempotent.
    pub fn add_remote(&mut self, name: &str) -> u64 {
        if let Some(known) = self.mirror.remotes.values().find(|remote| remote.name == name) {
            return known.id;
        }
        let id = self.mirror.remotes.len() as u64;
        self.mirror
            .remotes
            .insert(id, RemoteDevice { id, name: name.to_owned(), serial: None, is_up: false });
        id
    }

    /// All known arrays at the other ends of links.
    pub fn remotes(&self) -> impl Iterator<Item = &RemoteDevice> {
        self.mirror.remotes.values()
    }

    /// A remote device.
    pub fn remote(&self, id: u64) -> Option<&RemoteDevice> {
        self.mirror.remotes.get(&id)
    }

    /// Whether the other array can be heard.
    pub(crate) fn is_heard(&self, remote: u64) -> bool {
        self.mirror.connections.get(&remote).is_some_and(|link| link.greeted)
    }

    /// A connection to another array stands: from now on [`Array::poll_link`] gives what is to be said on it. One that stood
    /// before is lost.
    pub fn link_up(&mut self, now: Duration, remote: u64) -> Result<(), LinkError> {
        self.advance(now);
        if !self.mirror.remotes.contains_key(&remote) {
            return Err(LinkError::NotConnected);
        }
        self.lose(remote);
        let mut connection = Connection {
            outbox: VecDeque::new(),
            weight: 0,
            begun: false,
            greeted: false,
            heard: self.now,
            next_ping: self.now,
            lease_until: Duration::ZERO,
            promised_until: Duration::ZERO,
            told: None,
        };
        let pairs = self
            .mirror
            .pairs_with(remote)
            .filter(|pair| pair.state != PairState::Invalid)
            .map(|pair| PairGreeting {
                id: pair.id,
                epoch: pair.epoch,
                role: pair.role,
                paused: pair.state == PairState::Paused,
                access: pair.access,
                complete: pair.complete,
            })
            .collect();
        connection.push(Message::Greeting { serial: self.serial.clone(), pairs });
        self.mirror.connections.insert(remote, connection);
        self.mirror.stirred = true;
        Ok(())
    }

    /// The connection is lost. Idempotent.
    pub fn link_down(&mut self, now: Duration, remote: u64) {
        self.advance(now);
        self.lose(remote);
    }

    /// Whether a connection stands, as far as this end knows. It is lost by silence too.
    pub fn link_is_up(&self, remote: u64) -> bool {
        self.mirror.connections.contains_key(&remote)
    }

    /// All connections are lost, and with them what only memory knows: for power losses.
    pub(crate) fn lose_links(&mut self) {
        let remotes: Vec<u64> = self.mirror.remotes.keys().copied().collect();
        remotes.into_iter().for_each(|remote| self.lose(remote));
        for pair in self.mirror.pairs.values_mut() {
            // Whoever waits has lost its session; nothing is acknowledged any more.
            pair.hold_until = None;
            pair.held.drain(..).for_each(|ticket| ticket.settle(Verdict::Failed(IoError::Gone)));
            // Somebody may have forced the other end to go on meanwhile.
            pair.unsure = pair.is_metro() && pair.role == Role::Primary;
        }
    }

    /// Gives up connections on which the greetings have not been exchanged.
    pub(super) fn lose_ungreeted(&mut self) {
        let connections = self.mirror.connections.iter().filter(|(_, link)| !link.greeted);
        let remotes: Vec<u64> = connections.map(|(remote, _)| *remote).collect();
        remotes.into_iter().for_each(|remote| self.lose(remote));
    }

    /// The array is made again of what was kept of it: as behind a power loss.
    pub(crate) fn pairs_restored(&mut self) {
        for pair in self.mirror.pairs.values_mut() {
            pair.recall(false);
            pair.give_back(false);
            if matches!(pair.state, PairState::Normal | PairState::Syncing) {
                pair.state = PairState::Interrupted;
            }
        }
        self.mirror.by_lun = self.mirror.pairs.values().map(|pair| (pair.lun, pair.id)).collect();
        self.lose_links();
    }

    fn lose(&mut self, remote: u64) {
        let Some(connection) = self.mirror.connections.remove(&remote) else { return };
        if let Some(remote) = self.mirror.remotes.get_mut(&remote) {
            remote.is_up = false;
        }
        self.stop_runs(|run| run.remote == remote);
        let (now, forgets) = (self.now, self.defects.inflight_forgotten);
        for pair in self.mirror.pairs.values_mut().filter(|pair| pair.remote == remote) {
            let waiting = pair.recall(forgets);
            pair.staging = None;
            if matches!(pair.state, PairState::Normal | PairState::Syncing) {
                pair.state = PairState::Interrupted;
            }
            if pair.role == Role::Secondary {
                // It led when it said them. Nobody knows whether the new primary has them.
                waiting.iter().for_each(|ticket| ticket.settle(Verdict::Failed(IoError::Inaccessible)));
            } else if pair.is_metro() && connection.promised_until > now {
                pair.held.extend(waiting);
                pair.hold_until = Some(connection.promised_until);
            } else {
                waiting.iter().for_each(|ticket| ticket.settle(Verdict::Done));
            }
        }
        let pairs = &self.mirror.pairs;
        self.mirror.proposals.retain(|_, proposal| {
            let lost = pairs.get(&proposal.pair).is_none_or(|pair| pair.remote == remote);
            if lost {
                proposal.ticket.settle(Verdict::Failed(IoError::Inaccessible));
            }
            !lost
        });
        self.mirror.asked.clear();
        self.mirror.stirred = true;
        self.access_changed();
    }

    /// Access states of LUNs in HyperMetro pairs may have changed.
    pub(super) fn access_changed(&mut self) {
        if self.mirror.pairs.values().any(Pair::is_metro) {
            self.touch_access();
        }
    }

    /// What the time brings: connections that have fallen silent, leases that have run out, points of asynchronous pairs.
    pub(crate) fn advance_pairs(&mut self) {
        let now = self.now;
        let silent = |link: &Connection| now.saturating_sub(link.heard) > SILENCE;
        let slow = |link: &Connection| link.weight > OUTBOX_BYTES || link.outbox.len() > OUTBOX_MESSAGES;
        let lost: Vec<u64> = self
            .mirror
            .connections
            .iter()
            .filter(|(_, link)| silent(link) || slow(link))
            .map(|(remote, _)| *remote)
            .collect();
        lost.into_iter().for_each(|remote| self.lose(remote));
        self.release_holds(now);
        self.start_points();
    }

    /// The next message for the other array, if there is one to send now.
    pub fn poll_link(&mut self, now: Duration, remote: u64) -> Option<Message> {
        self.advance(now);
        self.tell_groups(remote);
        let connection = self.mirror.connections.get_mut(&remote)?;
        if !std::mem::replace(&mut connection.begun, true) {
            return connection.pop();
        }
        if connection.next_ping <= self.now {
            connection.next_ping = self.now + PING;
            // A ping overtakes what waits: the lease must not depend on how much that is.
            return Some(Message::Ping { stamp: self.now });
        }
        if let Some(message) = connection.pop() {
            return Some(message);
        }
        connection.greeted.then(|| self.next_of_runs(remote)).flatten()
    }

    /// When [`Array::poll_link`] has to be called next although nothing has stirred; none without a connection.
    pub fn link_timer(&self, remote: u64) -> Option<Duration> {
        let connection = self.mirror.connections.get(&remote)?;
        Some(self.runs_due(remote).map_or(connection.next_ping, |due| due.min(connection.next_ping)))
    }

    /// Something came from the other array.
    ///
    /// # Errors
    /// It makes no sense: the connection must be closed. It counts as lost already.
    pub fn receive(&mut self, now: Duration, remote: u64, message: Message) -> Result<(), LinkError> {
        self.advance(now);
        // Pings change nothing that outlasts the array.
        let lasts = !matches!(message, Message::Ping { .. } | Message::Pong { .. });
        let done = self.hear(remote, message);
        if lasts {
            self.promise();
        }
        if done.is_err() {
            self.lose(remote);
        }
        done
    }

    fn hear(&mut self, remote: u64, message: Message) -> Result<(), LinkError> {
        let now = self.now;
        let connection = self.mirror.connections.get_mut(&remote).ok_or(LinkError::NotConnected)?;
        connection.heard = now;
        if connection.greeted == matches!(message, Message::Greeting { .. }) {
            return Err(LinkError::Greeting);
        }
        match message {
            Message::Greeting { serial, pairs } => self.greeted(remote, serial, &pairs),
            Message::Ping { stamp } => {
                connection.promised_until = now + LEASE;
                self.mirror.say(remote, Message::Pong { stamp });
                Ok(())
            }
            Message::Pong { stamp } => {
                // A stamp from the future would be a lease without end.
                if stamp > now {
                    return Err(LinkError::Nonsense);
                }
                let until = stamp + LEASE;
                let served = now < connection.lease_until;
                connection.lease_until = connection.lease_until.max(until);
                if !served {
                    self.access_changed();
                }
                Ok(())
            }
            Message::Ask { ask, lun } => {
                let lun = self.about(lun);
                self.mirror.say(remote, Message::Answer { ask, lun });
                Ok(())
            }
            Message::Answer { ask, lun } => {
                if let Some(asked) = self.mirror.asked.get_mut(&ask) {
                    *asked = Some(lun);
                    self.mirror.stirred = true;
                }
                Ok(())
            }
            Message::Op { pair, seq, change } => {
                let follows = |pair: &&Pair| {
                    pair.remote == remote
                        && pair.role == Role::Secondary
                        && pair.kind.is_synchronous()
                        && matches!(pair.state, PairState::Normal | PairState::Syncing)
                };
                if self.mirror.pairs.get(&pair).filter(follows).is_some() {
                    match self.follow(pair, &change) {
                        Ok(()) => self.mirror.say(remote, Message::OpDone { pair, seq }),
                        Err(IoError::OutOfRange) => return Err(LinkError::Nonsense),
                        Err(_) => self.cannot_follow(remote, pair),
                    }
                }
                Ok(())
            }
            Message::OpDone { pair, seq } => {
                let pair = self.mirror.pairs.get_mut(&pair).filter(|pair| pair.remote == remote);
                if let Some(ticket) = pair.and_then(|pair| pair.sent.remove(&seq)?.ticket) {
                    ticket.settle(Verdict::Done);
                    self.mirror.stirred = true;
                }
                Ok(())
            }
            Message::Propose { pair, token, request } => {
                let ours = self.mirror.pairs.get(&pair).is_some_and(|pair| pair.remote == remote);
                let verdict = match ours {
                    true => self.carry_out_for_peer(pair, request),
                    false => Verdict::Failed(IoError::Gone),
                };
                self.mirror.say(remote, Message::Proposed { token, verdict });
                Ok(())
            }
            Message::Proposed { token, verdict } => {
                if let Some(proposal) = self.mirror.proposals.remove(&token) {
                    proposal.ticket.settle(verdict);
                    self.mirror.stirred = true;
                }
                Ok(())
            }
            Message::Groups { pair, groups } => {
                let pair = self.mirror.pairs.get_mut(&pair).filter(|pair| pair.remote == remote);
                if let Some(pair) = pair.filter(|pair| pair.peer_groups != groups) {
                    pair.peer_groups = groups;
                    self.touch_access();
                }
                Ok(())
            }
            Message::Order { unit, order } => {
                // A refusal is not told: whoever asked sees by the state that nothing has happened.
                let led = |unit: &u64| {
                    let members = self.mirror.members(*unit);
                    let pairs = members.iter().filter_map(|pair| self.mirror.pairs.get(pair));
                    pairs.clone().all(|pair| pair.remote == remote && pair.role == Role::Primary)
                };
                if Some(unit).filter(led).is_some() {
                    let _ = match order {
                        Order::Sync => self.lead_sync(unit),
                        Order::Pause => self.lead_pause(unit),
                        Order::Switch => self.lead_switch(unit),
                    };
                }
                Ok(())
            }
            Message::CreatePair(new) => {
                let id = new.id;
                if self.install(remote, new).is_err() {
                    self.mirror.say(remote, Message::PairRefused { pair: id });
                }
                Ok(())
            }
            other => self.hear_of_units(remote, other),
        }
    }

    /// The other array has greeted: pairs are compared, and what can go on goes on.
    fn greeted(&mut self, remote: u64, serial: String, told: &[PairGreeting]) -> Result<(), LinkError> {
        let known = self.mirror.remotes.get_mut(&remote).ok_or(LinkError::NotConnected)?;
        if serial == self.serial || known.serial.as_ref().is_some_and(|known| *known != serial) {
            return Err(LinkError::WrongArray);
        }
        known.serial = Some(serial);
        known.is_up = true;
        if let Some(connection) = self.mirror.connections.get_mut(&remote) {
            connection.greeted = true;
        }
        let mut recover = Vec::new();
        for pair in self.mirror.pairs.values_mut().filter(|pair| pair.remote == remote) {
            // The other end has heard of the loss too, or it would not greet: it serves nobody.
            pair.hold_until = None;
            pair.held.drain(..).for_each(|ticket| ticket.settle(Verdict::Done));
            let Some(theirs) = told.iter().find(|theirs| theirs.id == pair.id) else {
                pair.state = PairState::Invalid;
                continue;
            };
            let paused = pair.state == PairState::Paused || theirs.paused;
            if theirs.epoch != pair.epoch {
                // Somebody has changed the roles while nobody was heard: who did knows.
                if theirs.epoch > pair.epoch {
                    (pair.role, pair.epoch) = (theirs.role.other(), theirs.epoch);
                }
                pair.state = PairState::Paused;
            } else if theirs.role == pair.role {
                pair.state = PairState::Invalid;
                continue;
            } else {
                if pair.role == Role::Primary {
                    (pair.complete, pair.access) = (theirs.complete, theirs.access);
                }
                // What a secondary was opened for must not be overwritten unasked.
                let rests = paused || pair.access == Access::ReadWrite;
                pair.state = if rests { PairState::Paused } else { PairState::Interrupted };
            }
            pair.unsure = false;
            if pair.role == Role::Primary && pair.state == PairState::Interrupted && pair.auto_recovery {
                recover.push(pair.id);
            }
        }
        self.tell_sets(remote);
        for pair in recover {
            let unit = self.mirror.unit_of(pair);
            // Pairs of a group come here one after the other; the first one starts them all.
            let _ = self.lead_sync(unit);
        }
        self.mirror.stirred = true;
        self.access_changed();
        Ok(())
    }

    /// The secondary has no room left: the primary goes on alone.
    pub(super) fn cannot_follow(&mut self, remote: u64, pair: u64) {
        let unit = self.mirror.unit_of(pair);
        for member in self.mirror.members(unit) {
            let Some(pair) = self.mirror.pairs.get_mut(&member) else { continue };
            (pair.state, pair.staging, pair.faulty) = (PairState::Interrupted, None, true);
        }
        self.access_changed();
        self.mirror.say(remote, Message::Fault { pair });
    }

    fn tell_groups(&mut self, remote: u64) {
        let generation = self.access_generation();
        let due = |link: &&mut Connection| link.greeted && link.told != Some(generation);
        let Some(link) = self.mirror.connections.get_mut(&remote).filter(due) else { return };
        link.told = Some(generation);
        let metro = self.mirror.pairs.values().filter(|pair| pair.remote == remote && pair.is_metro());
        let pairs: Vec<(u64, u64)> = metro.map(|pair| (pair.id, pair.lun)).collect();
        for (pair, lun) in pairs {
            let groups = self.own_port_groups(DeviceId::Lun(lun));
            let groups = groups.into_iter().map(|(group, state)| PeerGroup {
                id: group.id,
                ports: group.ports,
                preferred: group.preferred,
                state,
            });
            let message = Message::Groups { pair, groups: groups.collect() };
            self.mirror.say(remote, message);
        }
    }

    // ---- questions before a pair is made

    /// Asks the other array about a LUN of its; [`Array::remote_answer`] has the answer when it is there.
    ///
    /// # Errors
    /// No such remote device, or it cannot be heard.
    pub fn ask_remote(&mut self, now: Duration, remote: u64, lun: u64) -> Result<u64, Refusal> {
        self.advance(now);
        if !self.mirror.remotes.contains_key(&remote) {
            return Err(Refusal::NoSuchRemote);
        }
        if !self.is_heard(remote) {
            return Err(Refusal::RemoteDown);
        }
        if self.mirror.asked.len() >= ASKED_MAX {
            self.mirror.asked.pop_first();
        }
        let ask = self.mirror.next_number();
        self.mirror.asked.insert(ask, None);
        self.mirror.say(remote, Message::Ask { ask, lun });
        Ok(ask)
    }

    /// The answer to a question, which is forgotten by it. None while there is no answer.
    ///
    /// # Errors
    /// There will be none: the connection is lost. Or the other array has no such LUN.
    pub fn remote_answer(&mut self, ask: u64) -> Option<Result<RemoteLun, Refusal>> {
        match self.mirror.asked.get(&ask) {
            None => Some(Err(Refusal::RemoteDown)),
            Some(None) => None,
            Some(Some(_)) => {
                let answer = self.mirror.asked.remove(&ask).flatten().flatten();
                Some(answer.ok_or(Refusal::NoSuchRemoteLun))
            }
        }
    }

    pub(super) fn about(&self, lun: u64) -> Option<RemoteLun> {
        let lun = self.luns.get(lun)?;
        let device = DeviceId::Lun(lun.id);
        Some(RemoteLun {
            id: lun.id,
            name: lun.name.clone(),
            blocks: lun.blocks(),
            busy: self.is_paired(lun.id)
                || lun.split == SplitStatus::Running
                || self.in_copy(device)
                || self.is_rolling_back(device),
        })
    }
}
