//! Who sees what under which LUN number: host LUN ids, open exports, and the view of each initiator with its generation.
//!
//! All of it is derived from the mapping objects by one function, [`Array::refresh_reach`], which runs after each command
//! that touches them, for the hosts that the command concerns. Only the numbers are state of their own: they stay while an object stays mapped to the host.

use std::collections::{BTreeMap, BTreeSet};

use crate::durable::Tracked;
use crate::object::DeviceId;
use crate::{Array, Outcome, Refusal};

/// What one initiator sees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Sight {
    generation: u64,
    /// Sorted by LUN number.
    luns: Vec<(u16, DeviceId)>,
}

#[derive(Debug, Default)]
pub(crate) struct Reach {
    /// LUN -> LUN number of its open export.
    pub(crate) exports: Tracked<u64, u16>,
    /// Host -> object -> host LUN id.
    pub(crate) numbers: Tracked<u64, BTreeMap<DeviceId, u16>>,
    /// Registered initiators.
    sights: BTreeMap<String, Sight>,
    /// Everybody else.
    open: Sight,
    clock: u64,
}

impl Reach {
    pub(crate) fn is_exported(&self, lun: u64) -> bool {
        self.exports.contains_key(&lun)
    }

    fn sight(&self, iqn: &str) -> &Sight {
        self.sights.get(iqn).unwrap_or(&self.open)
    }

    fn update(sight: &mut Sight, luns: Vec<(u16, DeviceId)>, clock: &mut u64) {
        if sight.luns != luns {
            *clock += 1;
            *sight = Sight { generation: *clock, luns };
        }
    }
}

impl Array {
    /// What an initiator may reach, sorted by LUN number: what its host's views show, and the open exports.
    pub fn view(&self, iqn: &str) -> Vec<(u16, DeviceId)> {
        self.reach.sight(iqn).luns.clone()
    }

    /// The device behind a LUN number for this initiator; none when nothing is mapped there (masking, on every command).
    pub fn resolve(&self, iqn: &str, lun: u16) -> Option<DeviceId> {
        let luns = &self.reach.sight(iqn).luns;
        let at = luns.binary_search_by_key(&lun, |(number, _)| *number).ok()?;
        luns.get(at).map(|(_, device)| *device)
    }

    /// A number that changes whenever the view of this initiator changes.
    pub fn view_generation(&self, iqn: &str) -> u64 {
        self.reach.sight(iqn).generation
    }

    /// The number under which a host sees a LUN or snapshot; none while it is not mapped to it.
    pub fn host_lun_id(&self, host: u64, object: DeviceId) -> Option<u16> {
        self.reach.numbers.get(&host)?.get(&object).copied()
    }

    /// Everything mapped to a host, ordered by object, with its host LUN id.
    pub fn host_luns(&self, host: u64) -> impl Iterator<Item = (DeviceId, u16)> {
        self.reach.numbers.get(&host).into_iter().flatten().map(|(object, number)| (*object, *number))
    }

    /// Whether a LUN or snapshot is mapped to any host, or exported.
    pub fn is_mapped(&self, object: DeviceId) -> bool {
        let groups = match object {
            DeviceId::Lun(id) if self.reach.is_exported(id) => return true,
            DeviceId::Lun(id) => self.luns.get(id).map(|lun| &lun.groups),
            DeviceId::Snapshot(id) => self.snapshots.get(id).map(|snapshot| &snapshot.groups),
        };
        let views = groups.into_iter().flatten().filter_map(|group| self.lun_groups.get(*group));
        let views = views.flat_map(|group| &group.views).filter_map(|view| self.views.get(*view));
        let mut hosts = views.filter_map(|view| self.host_groups.get(view.host_group?));
        hosts.any(|group| !group.hosts.is_empty())
    }

    /// Open exports: LUN and LUN number, ordered by LUN.
    pub fn exports(&self) -> impl Iterator<Item = (u64, u16)> {
        self.reach.exports.iter().map(|(lun, number)| (*lun, *number))
    }

    /// Host LUN ids that [`crate::Command::SetHostLunId`] could give in a view: free on each of its hosts, ascending.
    pub fn available_host_lun_ids(&self, view: u64) -> Vec<u16> {
        let mut taken: BTreeSet<u16> = self.reach.exports.values().copied().collect();
        for host in self.hosts_of_view(view) {
            taken.extend(self.reach.numbers.get(&host).into_iter().flat_map(BTreeMap::values));
        }
        (1..=self.limits.host_lun_id).filter(|number| !taken.contains(number)).collect()
    }

    pub(crate) fn hosts_of_view(&self, view: u64) -> BTreeSet<u64> {
        let group = self
            .views
            .get(view)
            .and_then(|view| view.host_group)
            .and_then(|group| self.host_groups.get(group));
        group.map(|group| group.hosts.clone()).unwrap_or_default()
    }

    /// Hosts to which views show a LUN group.
    pub(crate) fn hosts_of_lun_group(&self, group: u64) -> BTreeSet<u64> {
        let views = self.lun_groups.get(group).into_iter().flat_map(|group| group.views.iter());
        views.flat_map(|view| self.hosts_of_view(*view)).collect()
    }

    /// What the views show to a host.
    fn mapped_to(&self, host: &crate::Host) -> BTreeSet<DeviceId> {
        let mut objects = BTreeSet::new();
        for group in host.groups.iter().filter_map(|group| self.host_groups.get(*group)) {
            for view in group.views.iter().filter_map(|view| self.views.get(*view)) {
                if let Some(group) = view.lun_group.and_then(|group| self.lun_groups.get(group)) {
                    objects.extend(group.members.iter().copied());
                }
            }
        }
        objects
    }

    /// Derives numbers and views of these hosts from the mapping objects. Fails, with what it could number numbered, when a
    /// host has no number left; the caller then takes its change back and derives again.
    pub(crate) fn refresh_reach(&mut self, hosts: &BTreeSet<u64>) -> Result<(), Refusal> {
        let mut short = false;
        for host in hosts.iter().filter_map(|host| self.hosts.get(*host)) {
            let objects = self.mapped_to(host);
            let known = self.reach.numbers.get(&host.id);
            let mut own = known.cloned().unwrap_or_default();
            own.retain(|object, _| objects.contains(object));
            let mut taken: BTreeSet<u16> = own.values().chain(self.reach.exports.values()).copied().collect();
            let mut next = 1;
            for object in objects {
                if own.contains_key(&object) {
                    continue;
                }
                while taken.contains(&next) {
                    next += 1;
                }
                if next > self.limits.host_lun_id {
                    short = true;
                    break;
                }
                taken.insert(next);
                own.insert(object, next);
            }
            let id = host.id;
            match own.is_empty() {
                true if known.is_some() => drop(self.reach.numbers.remove(&id)),
                false if known != Some(&own) => drop(self.reach.numbers.insert(id, own)),
                _ => {}
            }
        }
        // Where masking is ignored, everybody sees everything.
        match self.defects.masking_ignored {
            true => self.refresh_sights(),
            false => self.refresh_sights_of(|host| host.is_some_and(|host| hosts.contains(&host))),
        }
        if short { Err(Refusal::HostLunIdTaken) } else { Ok(()) }
    }

    /// Derives what initiators see, all of them and strangers.
    pub(crate) fn refresh_sights(&mut self) {
        let open = self.sight_of(None);
        Reach::update(&mut self.reach.open, open, &mut self.reach.clock);
        self.reach.sights.retain(|iqn, _| self.initiators.contains_key(iqn));
        self.refresh_sights_of(|_| true);
    }

    /// Derives what the initiators see whose host is one of those.
    fn refresh_sights_of(&mut self, concerned: impl Fn(Option<u64>) -> bool) {
        let fresh: Vec<_> = self
            .initiators
            .values()
            .filter(|initiator| concerned(initiator.host))
            .map(|initiator| (initiator.iqn.clone(), self.sight_of(initiator.host)))
            .collect();
        fresh.into_iter().for_each(|(iqn, luns)| self.see(iqn, luns));
    }

    /// Derives what one initiator sees; it may be new, bound anew, or gone.
    pub(crate) fn refresh_sight(&mut self, iqn: &str) {
        match self.initiators.get(iqn).map(|initiator| initiator.host) {
            Some(host) => {
                let luns = self.sight_of(host);
                self.see(iqn.to_owned(), luns);
            }
            None => drop(self.reach.sights.remove(iqn)),
        }
    }

    fn see(&mut self, iqn: String, luns: Vec<(u16, DeviceId)>) {
        let reach = &mut self.reach;
        // A new initiator starts from what it saw as a stranger.
        let open = &reach.open;
        let sight = reach.sights.entry(iqn).or_insert_with(|| open.clone());
        Reach::update(sight, luns, &mut reach.clock);
    }

    /// What an initiator of this host sees.
    fn sight_of(&self, host: Option<u64>) -> Vec<(u16, DeviceId)> {
        let mut luns: BTreeMap<u16, DeviceId> =
            self.reach.exports.iter().map(|(lun, number)| (*number, DeviceId::Lun(*lun))).collect();
        let own = host.and_then(|host| self.reach.numbers.get(&host));
        luns.extend(own.into_iter().flatten().map(|(object, number)| (*number, *object)));
        if self.defects.masking_ignored {
            for (object, number) in self.reach.numbers.values().flatten() {
                if !luns.values().any(|seen| seen == object) {
                    let free = (*number..).find(|number| !luns.contains_key(number));
                    luns.extend(free.map(|number| (number, *object)));
                }
            }
        }
        luns.into_iter().collect()
    }

    pub(crate) fn set_host_lun_id(
        &mut self,
        view: u64,
        object: DeviceId,
        number: u16,
    ) -> Result<Outcome, Refusal> {
        let group = self.views.get(view).ok_or(Refusal::NoSuchView)?.lun_group;
        let members = group.and_then(|group| self.lun_groups.get(group)).map(|group| &group.members);
        let hosts = self.hosts_of_view(view);
        if !members.is_some_and(|members| members.contains(&object)) || hosts.is_empty() {
            return Err(Refusal::NotMapped);
        }
        if number > self.limits.host_lun_id {
            return Err(Refusal::BadParameter);
        }
        let clash = |host: &u64| {
            let numbers = self.reach.numbers.get(host).into_iter().flatten();
            numbers.into_iter().any(|(other, taken)| *taken == number && *other != object)
        };
        if self.reach.exports.values().any(|taken| *taken == number) || hosts.iter().any(clash) {
            return Err(Refusal::HostLunIdTaken);
        }
        for host in hosts {
            self.reach.numbers.or_default(host).insert(object, number);
        }
        self.refresh_sights();
        Ok(Outcome::Done)
    }

    pub(crate) fn open_export(&mut self, lun: u64) -> Result<Outcome, Refusal> {
        if !self.luns.contains(lun) {
            return Err(Refusal::NoSuchLun);
        }
        if self.reach.is_exported(lun) {
            return Ok(Outcome::Done);
        }
        let taken: BTreeSet<u16> = self
            .reach
            .exports
            .values()
            .chain(self.reach.numbers.values().flat_map(BTreeMap::values))
            .copied()
            .collect();
        let number = (0..=self.limits.host_lun_id)
            .find(|number| !taken.contains(number))
            .ok_or(Refusal::LimitReached)?;
        self.reach.exports.insert(lun, number);
        self.refresh_sights();
        Ok(Outcome::Done)
    }

    pub(crate) fn close_export(&mut self, lun: u64) -> Result<Outcome, Refusal> {
        self.reach.exports.remove(&lun).ok_or(Refusal::NoSuchLun)?;
        self.refresh_sights();
        Ok(Outcome::Done)
    }

    /// Audit: numbers are unique and exactly cover what is mapped; the views say what a fresh derivation says.
    pub(crate) fn audit_reach(&self, out: &mut Vec<String>) {
        for host in self.hosts.iter() {
            let numbers = self.reach.numbers.get(&host.id);
            let objects: BTreeSet<DeviceId> =
                numbers.into_iter().flatten().map(|(object, _)| *object).collect();
            if objects != self.mapped_to(host) {
                out.push(format!("host {}: numbered objects are not the mapped ones", host.id));
            }
            let mut used: BTreeSet<u16> = self.reach.exports.values().copied().collect();
            for (object, number) in numbers.into_iter().flatten() {
                if !used.insert(*number) || *number > self.limits.host_lun_id {
                    out.push(format!("host {}: LUN id {number} of {object:?} is not unique", host.id));
                }
                if self.geometry(*object).is_none() {
                    out.push(format!("host {}: {object:?} is mapped and does not exist", host.id));
                }
            }
        }
        if self.reach.numbers.keys().any(|host| !self.hosts.contains(*host)) {
            out.push("a host that is gone has numbers".to_owned());
        }
        if self.reach.exports.keys().any(|lun| !self.luns.contains(*lun)) {
            out.push("a LUN that is gone is exported".to_owned());
        }
        if self.reach.open.luns != self.sight_of(None) {
            out.push("the strangers' view is stale".to_owned());
        }
        for initiator in self.initiators.values() {
            if self.reach.sights.get(&initiator.iqn).map(|sight| &sight.luns)
                != Some(&self.sight_of(initiator.host))
            {
                out.push(format!("the view of {} is stale", initiator.iqn));
            }
        }
    }
}
