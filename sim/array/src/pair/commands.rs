//! Management of pairs, groups and domains.

use std::time::Duration;

use super::objects::{Access, Domain, Mode, Pair, PairGroup, PairKind, PairState, Role};
use super::{ExtentSet, Message, NewPair, NewSet, Order, RemoteLun};
use crate::{Array, Outcome, Refusal};

/// A management command on pairs. A *unit* is a consistency group, or a pair that is in none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PairCommand {
    /// Makes a HyperMetro domain with another array, on both.
    CreateDomain {
        /// Name, unique among domains.
        name: String,
        /// Free text.
        description: String,
        /// The other array.
        remote: u64,
    },
    /// Deletes a domain without pairs, on both arrays.
    DeleteDomain {
        /// Which.
        domain: u64,
    },
    /// Makes a pair of which this array has the primary.
    Create {
        /// What it is.
        kind: PairKind,
        /// The other array; that of the domain for HyperMetro.
        remote: u64,
        /// The LUN here.
        lun: u64,
        /// The LUN there, as [`Array::remote_answer`] told.
        peer: RemoteLun,
        /// Speed 1..=4.
        speed: u8,
        /// Whether it recovers by itself when the link is back.
        auto_recovery: bool,
        /// Time between two points of an asynchronous pair.
        interval: Duration,
        /// Synchronise at once.
        start: bool,
    },
    /// Deletes a pair that neither follows nor synchronises, on both arrays.
    Delete {
        /// Which.
        pair: u64,
        /// Only here, whatever its state.
        local: bool,
    },
    /// Changes how a pair or group is copied.
    Update {
        /// Pair or group.
        unit: u64,
        /// Speed 1..=4.
        speed: Option<u8>,
        /// Whether it recovers by itself.
        auto_recovery: Option<bool>,
        /// Time between two points.
        interval: Option<Duration>,
    },
    /// Lifts the protection of the secondary, or puts it back.
    SetAccess {
        /// Pair or group.
        unit: u64,
        /// What hosts may do.
        access: Access,
    },
    /// Synchronises; a mirroring pair stays as it is.
    Sync {
        /// Pair or group.
        unit: u64,
    },
    /// Pauses (HyperMetro) or splits (replication).
    Pause {
        /// Pair or group.
        unit: u64,
    },
    /// Exchanges primary and secondary. On a secondary that cannot hear the primary: takes over, for replication.
    Switch {
        /// Pair or group.
        unit: u64,
    },
    /// Has this half of a HyperMetro pair go on although the other one is not heard. Whoever says so knows that the other half is
    /// down.
    Force {
        /// Pair or group.
        unit: u64,
    },
    /// Makes a consistency group, on both arrays.
    CreateGroup {
        /// Name, unique among groups.
        name: String,
        /// Free text.
        description: String,
        /// What it holds.
        kind: PairKind,
        /// The other array; that of the domain for HyperMetro.
        remote: u64,
        /// Speed 1..=4.
        speed: u8,
        /// Whether its pairs recover by themselves.
        auto_recovery: bool,
        /// Time between two points when it is asynchronous.
        interval: Duration,
    },
    /// Deletes an empty group, on both arrays.
    DeleteGroup {
        /// Which.
        group: u64,
    },
    /// Puts a resting pair into a resting group.
    Join {
        /// The group.
        group: u64,
        /// The pair.
        pair: u64,
    },
    /// Takes a resting pair out of its group.
    Leave {
        /// The group.
        group: u64,
        /// The pair.
        pair: u64,
    },
}

fn rests(pair: &Pair) -> bool {
    !matches!(pair.state, PairState::Normal | PairState::Syncing)
}

impl Array {
    pub(crate) fn apply_to_pairs(&mut self, command: PairCommand) -> Result<Outcome, Refusal> {
        // A greeting that is under way says how things were before this command: say it anew.
        self.lose_ungreeted();
        match command {
            PairCommand::CreateDomain { name, description, remote } => {
                self.create_domain(name, description, remote)
            }
            PairCommand::DeleteDomain { domain } => self.delete_domain(domain),
            PairCommand::Create { kind, remote, lun, peer, speed, auto_recovery, interval, start } => {
                let how = (speed, auto_recovery, interval);
                self.create_pair((kind, remote), (lun, peer), how, start)
            }
            PairCommand::Delete { pair, local } => self.delete_pair(pair, local),
            PairCommand::Update { unit, speed, auto_recovery, interval } => {
                self.update_unit(unit, speed, auto_recovery, interval)
            }
            PairCommand::SetAccess { unit, access } => self.set_secondary_access(unit, access),
            PairCommand::Sync { unit } => match self.role_in(unit)? {
                (Role::Primary, _) => self.lead_sync(unit).map(|()| Outcome::Done),
                (Role::Secondary, remote) => self.order(unit, remote, Order::Sync),
            },
            PairCommand::Pause { unit } => match self.role_in(unit)? {
                (Role::Primary, _) => self.lead_pause(unit).map(|()| Outcome::Done),
                (Role::Secondary, remote) if self.is_heard(remote) => self.order(unit, remote, Order::Pause),
                (Role::Secondary, _) => {
                    self.each(unit, |pair| pair.state = PairState::Paused);
                    Ok(Outcome::Done)
                }
            },
            PairCommand::Switch { unit } => match self.role_in(unit)? {
                (Role::Primary, _) => self.lead_switch(unit).map(|()| Outcome::Done),
                (Role::Secondary, remote) if self.is_heard(remote) => self.order(unit, remote, Order::Switch),
                (Role::Secondary, _) => self.take_over(unit, false),
            },
            PairCommand::Force { unit } => match self.role_in(unit)? {
                (_, remote) if self.is_heard(remote) => Err(Refusal::PairBusy),
                _ => self.take_over(unit, true),
            },
            PairCommand::CreateGroup { name, description, kind, remote, speed, auto_recovery, interval } => {
                let how = (speed, auto_recovery, interval);
                self.create_pair_group((name, description), (kind, remote), how)
            }
            PairCommand::DeleteGroup { group } => self.delete_pair_group(group),
            PairCommand::Join { group, pair } => self.move_pair(pair, group, true),
            PairCommand::Leave { group, pair } => self.move_pair(pair, group, false),
        }
    }

    // ---- listings

    /// All pairs.
    pub fn pairs(&self) -> impl Iterator<Item = &Pair> {
        self.mirror.pairs.values()
    }
    /// A pair.
    pub fn pair(&self, id: u64) -> Option<&Pair> {
        self.mirror.pairs.get(&id)
    }
    /// The pair that a LUN is in.
    pub fn pair_of_lun(&self, lun: u64) -> Option<&Pair> {
        self.pair(self.mirror.pair_of(lun)?)
    }
    /// All consistency groups of pairs.
    pub fn pair_groups(&self) -> impl Iterator<Item = &PairGroup> {
        self.mirror.groups.values()
    }
    /// A consistency group of pairs.
    pub fn pair_group(&self, id: u64) -> Option<&PairGroup> {
        self.mirror.groups.get(&id)
    }
    /// The pairs of a consistency group.
    pub fn pairs_of_group(&self, id: u64) -> impl Iterator<Item = &Pair> {
        self.mirror.pairs.values().filter(move |pair| pair.group == Some(id))
    }
    /// All HyperMetro domains.
    pub fn domains(&self) -> impl Iterator<Item = &Domain> {
        self.mirror.domains.values()
    }
    /// A HyperMetro domain.
    pub fn domain(&self, id: u64) -> Option<&Domain> {
        self.mirror.domains.get(&id)
    }

    // ---- identity and lookup

    /// Role of this end in a unit, and the other array.
    fn role_in(&self, unit: u64) -> Result<(Role, u64), Refusal> {
        if self.mirror.pairs.get(&unit).is_some_and(|pair| pair.group.is_some()) {
            return Err(Refusal::PairInGroup);
        }
        let ids = self.mirror.members(unit);
        let pair = ids.first().and_then(|id| self.mirror.pairs.get(id));
        pair.map(|pair| (pair.role, pair.remote)).ok_or(match self.mirror.groups.contains_key(&unit) {
            true => Refusal::GroupEmpty,
            false => Refusal::NoSuchPair,
        })
    }

    fn each(&mut self, unit: u64, mut change: impl FnMut(&mut Pair)) {
        for id in self.mirror.members(unit) {
            if let Some(pair) = self.mirror.pairs.get_mut(&id) {
                change(pair);
            }
        }
        self.mirror.stirred = true;
        self.access_changed();
    }

    fn order(&mut self, unit: u64, remote: u64, order: Order) -> Result<Outcome, Refusal> {
        if !self.is_heard(remote) {
            return Err(Refusal::RemoteDown);
        }
        self.mirror.say(remote, Message::Order { unit, order });
        Ok(Outcome::Done)
    }

    /// The other array of a kind: that of the domain, or the one named.
    fn remote_for(&self, kind: PairKind, remote: u64) -> Result<u64, Refusal> {
        let remote = match kind {
            PairKind::Metro { domain } => {
                self.mirror.domains.get(&domain).ok_or(Refusal::NoSuchDomain)?.remote
            }
            PairKind::Replication { .. } => remote,
        };
        if !self.mirror.remotes.contains_key(&remote) {
            return Err(Refusal::NoSuchRemote);
        }
        if !self.is_heard(remote) {
            return Err(Refusal::RemoteDown);
        }
        Ok(remote)
    }

    pub(super) fn room_for_pairs(&self) -> Result<(), Refusal> {
        let mirror = &self.mirror;
        match mirror.pairs.len() + mirror.groups.len() + mirror.domains.len() {
            count if count >= self.limits.objects => Err(Refusal::LimitReached),
            _ => Ok(()),
        }
    }

    // ---- domains and groups

    fn create_domain(&mut self, name: String, description: String, remote: u64) -> Result<Outcome, Refusal> {
        self.check_text(&name, &description)?;
        self.room_for_pairs()?;
        if self.mirror.domains.values().any(|domain| domain.name == name) {
            return Err(Refusal::NameExists);
        }
        let kind = PairKind::Replication { mode: Mode::Sync };
        let remote = self.remote_for(kind, remote)?;
        let id = self.shared_id();
        let domain = Domain { id, name, description, remote };
        self.mirror.say(remote, Message::CreateSet(NewSet::from(&domain)));
        self.mirror.domains.insert(id, domain);
        Ok(Outcome::Created(id))
    }

    fn delete_domain(&mut self, id: u64) -> Result<Outcome, Refusal> {
        let remote = self.mirror.domains.get(&id).ok_or(Refusal::NoSuchDomain)?.remote;
        let holds = |kind: PairKind| kind == PairKind::Metro { domain: id };
        if self.mirror.pairs.values().any(|pair| holds(pair.kind))
            || self.mirror.groups.values().any(|group| holds(group.kind))
        {
            return Err(Refusal::DomainBusy);
        }
        self.mirror.domains.remove(&id);
        self.mirror.say(remote, Message::DeleteSet { set: id });
        Ok(Outcome::Done)
    }

    fn create_pair_group(
        &mut self,
        (name, description): (String, String),
        (kind, remote): (PairKind, u64),
        (speed, auto_recovery, interval): (u8, bool, Duration),
    ) -> Result<Outcome, Refusal> {
        self.check_text(&name, &description)?;
        self.room_for_pairs()?;
        if self.mirror.groups.values().any(|group| group.name == name) {
            return Err(Refusal::NameExists);
        }
        let remote = self.remote_for(kind, remote)?;
        let id = self.shared_id();
        let group = PairGroup { id, name, description, remote, kind, speed, auto_recovery, interval };
        self.mirror.say(remote, Message::CreateSet(NewSet::from(&group)));
        self.mirror.groups.insert(id, group);
        Ok(Outcome::Created(id))
    }

    fn delete_pair_group(&mut self, id: u64) -> Result<Outcome, Refusal> {
        let remote = self.mirror.groups.get(&id).ok_or(Refusal::NoSuchPairGroup)?.remote;
        if !self.mirror.members(id).is_empty() {
            return Err(Refusal::GroupNotEmpty);
        }
        self.mirror.groups.remove(&id);
        self.mirror.say(remote, Message::DeleteSet { set: id });
        Ok(Outcome::Done)
    }

    fn move_pair(&mut self, id: u64, group: u64, join: bool) -> Result<Outcome, Refusal> {
        let of = self.mirror.groups.get(&group).ok_or(Refusal::NoSuchPairGroup)?;
        let pair = self.mirror.pairs.get(&id).ok_or(Refusal::NoSuchPair)?;
        match (join, pair.group) {
            (true, Some(now)) if now == group => return Err(Refusal::AlreadyInGroup),
            (true, Some(_)) => return Err(Refusal::PairInGroup),
            (false, now) if now != Some(group) => return Err(Refusal::NotInGroup),
            _ => {}
        }
        let remote = pair.remote;
        let members = || self.mirror.pairs.values().filter(|pair| pair.group == Some(group));
        if join
            && ((of.kind, of.remote) != (pair.kind, remote)
                || members().any(|member| member.role != pair.role || member.epoch != pair.epoch))
        {
            return Err(Refusal::BadParameter);
        }
        if !rests(pair) || !members().all(rests) {
            return Err(Refusal::PairBusy);
        }
        if !self.is_heard(remote) {
            return Err(Refusal::RemoteDown);
        }
        let group = join.then_some(group);
        if let Some(pair) = self.mirror.pairs.get_mut(&id) {
            pair.group = group;
        }
        self.mirror.say(remote, Message::Member { pair: id, group });
        Ok(Outcome::Done)
    }

    // ---- pairs

    fn create_pair(
        &mut self,
        (kind, remote): (PairKind, u64),
        (lun, peer): (u64, RemoteLun),
        (speed, auto_recovery, interval): (u8, bool, Duration),
        start: bool,
    ) -> Result<Outcome, Refusal> {
        self.room_for_pairs()?;
        let remote = self.remote_for(kind, remote)?;
        let own = self.about(lun).ok_or(Refusal::NoSuchLun)?;
        if self.is_paired(lun) || peer.busy {
            return Err(Refusal::Paired);
        }
        if own.busy {
            return Err(Refusal::InCopy);
        }
        if own.blocks != peer.blocks {
            return Err(Refusal::BadCopyTarget);
        }
        if !(1..=4).contains(&speed) {
            return Err(Refusal::BadParameter);
        }
        let identity =
            self.luns.get(lun).map(|lun| (lun.wwn, lun.serial.clone())).ok_or(Refusal::NoSuchLun)?;
        let id = self.shared_id();
        let new =
            NewPair { id, kind, primary: own, secondary: peer.id, identity, speed, auto_recovery, interval };
        self.settle_cache(lun);
        self.insert_pair(remote, &new, Role::Primary, (lun, peer.id, peer.name));
        self.mirror.say(remote, Message::CreatePair(new));
        if start {
            // The other end hears of it behind the pair itself.
            let _ = self.lead_sync(id);
        }
        Ok(Outcome::Created(id))
    }

    /// A pair of which the other array has the primary.
    pub(super) fn install(&mut self, remote: u64, new: NewPair) -> Result<(), Refusal> {
        self.room_for_pairs()?;
        let own = self.about(new.secondary).ok_or(Refusal::NoSuchLun)?;
        if own.busy || own.blocks != new.primary.blocks || self.mirror.pairs.contains_key(&new.id) {
            return Err(Refusal::Paired);
        }
        if let PairKind::Metro { domain } = new.kind
            && self.mirror.domains.get(&domain).is_none_or(|domain| domain.remote != remote)
        {
            return Err(Refusal::NoSuchDomain);
        }
        self.settle_cache(own.id);
        let place = (own.id, new.primary.id, new.primary.name.clone());
        self.insert_pair(remote, &new, Role::Secondary, place);
        self.access_changed();
        Ok(())
    }

    fn insert_pair(&mut self, remote: u64, new: &NewPair, role: Role, place: (u64, u64, String)) {
        let (lun, remote_lun, remote_lun_name) = place;
        let is_metro = matches!(new.kind, PairKind::Metro { .. });
        let diff = self.initial_differences(lun);
        let pair = Pair {
            id: new.id,
            kind: new.kind,
            remote,
            lun,
            remote_lun,
            remote_lun_name,
            role,
            // A new replication pair is split, a new HyperMetro pair is to be synchronised.
            state: if is_metro { PairState::Interrupted } else { PairState::Paused },
            access: Access::ReadOnly,
            auto_recovery: new.auto_recovery,
            speed: new.speed.clamp(1, 4),
            interval: new.interval,
            group: None,
            complete: false,
            faulty: false,
            progress: 0,
            synced_at: None,
            epoch: 1,
            diff,
            taken: ExtentSet::default(),
            sent: Default::default(),
            last_seq: 0,
            held: Vec::new(),
            hold_until: None,
            unsure: false,
            staging: None,
            identity: (is_metro && role == Role::Secondary).then(|| new.identity.clone()),
            peer_groups: Vec::new(),
            next_point: Duration::ZERO,
        };
        self.mirror.by_lun.insert(lun, new.id);
        self.mirror.pairs.insert(new.id, pair);
        self.access_changed();
    }

    fn delete_pair(&mut self, id: u64, local: bool) -> Result<Outcome, Refusal> {
        let pair = self.mirror.pairs.get(&id).ok_or(Refusal::NoSuchPair)?;
        let (remote, invalid) = (pair.remote, pair.state == PairState::Invalid);
        if !local {
            if pair.group.is_some() {
                return Err(Refusal::PairInGroup);
            }
            if !rests(pair) {
                return Err(Refusal::PairBusy);
            }
            if !invalid && !self.is_heard(remote) {
                return Err(Refusal::RemoteDown);
            }
            self.mirror.say(remote, Message::DeletePair { pair: id });
        }
        self.drop_pair(id);
        Ok(Outcome::Done)
    }

    /// The pair is no more on this array.
    pub(super) fn drop_pair(&mut self, id: u64) {
        let unit = self.mirror.unit_of(id);
        self.stop_run(unit);
        let Some(mut pair) = self.mirror.pairs.remove(&id) else { return };
        self.mirror.by_lun.remove(&pair.lun);
        let waiting = pair.recall(false);
        waiting.iter().chain(&pair.held).for_each(|ticket| ticket.settle(super::Verdict::Done));
        self.mirror.stirred = true;
        self.touch_access();
    }

    fn update_unit(
        &mut self,
        unit: u64,
        speed: Option<u8>,
        auto_recovery: Option<bool>,
        interval: Option<Duration>,
    ) -> Result<Outcome, Refusal> {
        if !self.mirror.groups.contains_key(&unit) && !self.mirror.pairs.contains_key(&unit) {
            return Err(Refusal::NoSuchPair);
        }
        if speed.is_some_and(|speed| !(1..=4).contains(&speed)) {
            return Err(Refusal::BadParameter);
        }
        if let Some(group) = self.mirror.groups.get_mut(&unit) {
            group.speed = speed.unwrap_or(group.speed);
            group.auto_recovery = auto_recovery.unwrap_or(group.auto_recovery);
            group.interval = interval.unwrap_or(group.interval);
        }
        self.each(unit, |pair| {
            pair.speed = speed.unwrap_or(pair.speed);
            pair.auto_recovery = auto_recovery.unwrap_or(pair.auto_recovery);
            pair.interval = interval.unwrap_or(pair.interval);
        });
        Ok(Outcome::Done)
    }

    fn set_secondary_access(&mut self, unit: u64, access: Access) -> Result<Outcome, Refusal> {
        let (role, remote) = self.role_in(unit)?;
        let ids = self.mirror.members(unit);
        let members = || ids.iter().filter_map(|id| self.mirror.pairs.get(id));
        if members().any(Pair::is_metro) {
            return Err(Refusal::PairBusy);
        }
        if members().all(|pair| pair.access == access) {
            return Ok(Outcome::Done);
        }
        if access == Access::ReadWrite {
            if !members().all(rests) {
                return Err(Refusal::PairBusy);
            }
            // Half a copy is no volume.
            if !members().all(|pair| pair.complete) {
                return Err(Refusal::Incomplete);
            }
        }
        if role == Role::Primary && !self.is_heard(remote) {
            return Err(Refusal::RemoteDown);
        }
        self.each(unit, |pair| pair.access = access);
        self.mirror.say(remote, Message::SetAccess { unit, access });
        Ok(Outcome::Done)
    }

    pub(super) fn lead_pause(&mut self, unit: u64) -> Result<(), Refusal> {
        let (_, remote) = self.role_in(unit)?;
        self.stop_run(unit);
        // Until the other half has heard it, it may serve what is older than what is acknowledged here from now on.
        let lease = self.mirror.connections.get(&remote).filter(|link| link.greeted);
        let until = lease.map(|link| link.promised_until).filter(|until| *until > self.now);
        self.each(unit, |pair| {
            if pair.is_metro() && pair.state == PairState::Normal {
                pair.hold_until = until;
            }
            if pair.state != PairState::Invalid {
                pair.state = PairState::Paused;
            }
        });
        self.mirror.say(remote, Message::Pause { unit });
        Ok(())
    }

    pub(super) fn lead_switch(&mut self, unit: u64) -> Result<(), Refusal> {
        let (_, remote) = self.role_in(unit)?;
        if !self.is_heard(remote) {
            return Err(Refusal::RemoteDown);
        }
        let ids = self.mirror.members(unit);
        let members = || ids.iter().filter_map(|id| self.mirror.pairs.get(id));
        // The other half of a HyperMetro pair serves hosts: it must have everything that was acknowledged.
        let ready =
            |pair: &Pair| pair.is_mirroring() || (!pair.is_metro() && pair.state == PairState::Paused);
        if self.mirror.runs.contains_key(&unit) || !members().all(ready) {
            return Err(Refusal::PairBusy);
        }
        if !members().all(|pair| pair.complete) {
            return Err(Refusal::Incomplete);
        }
        let epoch = members().map(|pair| pair.epoch).max().unwrap_or(0) + 1;
        self.each(unit, |pair| (pair.role, pair.epoch) = (Role::Secondary, epoch));
        self.mirror.say(remote, Message::Switched { unit, epoch });
        Ok(())
    }

    /// This end becomes the primary without the other one's consent.
    fn take_over(&mut self, unit: u64, forced: bool) -> Result<Outcome, Refusal> {
        let ids = self.mirror.members(unit);
        let members = || ids.iter().filter_map(|id| self.mirror.pairs.get(id));
        if members().any(|pair| pair.is_metro() != forced || !rests(pair)) {
            return Err(if forced { Refusal::PairBusy } else { Refusal::RemoteDown });
        }
        if members().any(|pair| pair.role == Role::Secondary && !pair.complete) {
            return Err(Refusal::Incomplete);
        }
        let epoch = members().map(|pair| pair.epoch).max().unwrap_or(0) + 1;
        self.each(unit, |pair| {
            (pair.role, pair.epoch, pair.unsure) = (Role::Primary, epoch, false);
            pair.state = PairState::Paused;
        });
        Ok(Outcome::Done)
    }

    /// Audit: every pair has its LUN, every index says what the pairs say.
    pub(crate) fn audit_pairs(&self, out: &mut Vec<String>) {
        let mirror = &self.mirror;
        for pair in mirror.pairs.values() {
            if !self.luns.contains(pair.lun) || mirror.by_lun.get(&pair.lun) != Some(&pair.id) {
                out.push(format!("pair {}: its LUN {} does not know it", pair.id, pair.lun));
            }
            if pair.group.is_some_and(|group| !mirror.groups.contains_key(&group)) {
                out.push(format!("pair {}: its group is gone", pair.id));
            }
            if pair.staging.is_some() && (pair.role, pair.state) != (Role::Secondary, PairState::Syncing) {
                out.push(format!("pair {}: staging in state {:?}", pair.id, pair.state));
            }
            let clean = pair.role == Role::Secondary && pair.is_mirroring();
            if clean && pair.diff != ExtentSet::default() {
                out.push(format!("pair {}: follows with differences", pair.id));
            }
        }
        if mirror.by_lun.len() != mirror.pairs.len() {
            out.push("the index of pairs by LUN is wrong".to_owned());
        }
    }
}
