//! Hosts, groups, mapping views and initiators, and their referential rules.

use std::collections::BTreeSet;

use crate::object::{ChapUpdate, DeviceId, GroupRef, Host, HostGroup, Initiator, LunGroup, PortGroup, View};
use crate::paths::{HostAccess, InitiatorPaths};
use crate::{Array, Outcome, Refusal};

/// Longest iSCSI name in bytes (RFC 7143 section 4.2.7.1).
const IQN_BYTES: usize = 223;
/// Longest CHAP name or secret in bytes (RFC 7143 section 12.1.3 gives the field 1024 at most).
const CHAP_BYTES: usize = 256;

impl Array {
    // ---- hosts

    pub(crate) fn create_host(&mut self, name: String, description: String) -> Result<Outcome, Refusal> {
        self.check_text(&name, &description)?;
        self.hosts.admits(self.scope, &name, self.limits.objects)?;
        let id = self.new_id();
        self.hosts.insert(Host {
            id,
            vstore: self.scope,
            name,
            description,
            groups: BTreeSet::new(),
            access: HostAccess::Unset,
        });
        Ok(Outcome::Created(id))
    }

    pub(crate) fn update_host(
        &mut self,
        id: u64,
        name: Option<String>,
        description: Option<String>,
    ) -> Result<Outcome, Refusal> {
        let host = self.hosts.get(id).ok_or(Refusal::NoSuchHost)?;
        self.check_text(name.as_deref().unwrap_or(&host.name), description.as_deref().unwrap_or_default())?;
        if let Some(name) = name {
            self.hosts.rename(id, &name)?;
        }
        if let (Some(host), Some(description)) = (self.hosts.get_mut(id), description) {
            host.description = description;
        }
        Ok(Outcome::Done)
    }

    pub(crate) fn delete_host(&mut self, id: u64) -> Result<Outcome, Refusal> {
        let host = self.hosts.get(id).ok_or(Refusal::NoSuchHost)?;
        if !host.groups.is_empty() || self.initiators.values().any(|initiator| initiator.host == Some(id)) {
            return Err(Refusal::HostBusy);
        }
        self.hosts.remove(id);
        Ok(Outcome::Done)
    }

    // ---- host groups

    pub(crate) fn create_host_group(
        &mut self,
        name: String,
        description: String,
    ) -> Result<Outcome, Refusal> {
        self.check_text(&name, &description)?;
        self.host_groups.admits(self.scope, &name, self.limits.objects)?;
        let id = self.new_id();
        self.host_groups.insert(HostGroup {
            id,
            vstore: self.scope,
            name,
            description,
            hosts: BTreeSet::new(),
            views: BTreeSet::new(),
        });
        Ok(Outcome::Created(id))
    }

    pub(crate) fn delete_host_group(&mut self, id: u64) -> Result<Outcome, Refusal> {
        let group = self.host_groups.get(id).ok_or(Refusal::NoSuchHostGroup)?;
        if !group.views.is_empty() {
            return Err(Refusal::GroupInView);
        }
        if !group.hosts.is_empty() {
            return Err(Refusal::GroupNotEmpty);
        }
        self.host_groups.remove(id);
        Ok(Outcome::Done)
    }

    pub(crate) fn add_host_to_group(&mut self, group: u64, host: u64) -> Result<Outcome, Refusal> {
        let groups = self.host_groups.get_mut(group).ok_or(Refusal::NoSuchHostGroup)?;
        let hosts = self.hosts.get_mut(host).ok_or(Refusal::NoSuchHost)?;
        if !groups.hosts.insert(host) {
            return Err(Refusal::AlreadyInGroup);
        }
        hosts.groups.insert(group);
        self.refresh_reach(&BTreeSet::from([host])).or_else(|refusal| {
            self.remove_host_from_group(group, host)?;
            Err(refusal)
        })?;
        Ok(Outcome::Done)
    }

    pub(crate) fn remove_host_from_group(&mut self, group: u64, host: u64) -> Result<Outcome, Refusal> {
        let groups = self.host_groups.get_mut(group).ok_or(Refusal::NoSuchHostGroup)?;
        let hosts = self.hosts.get_mut(host).ok_or(Refusal::NoSuchHost)?;
        if !groups.hosts.remove(&host) {
            return Err(Refusal::NotInGroup);
        }
        hosts.groups.remove(&group);
        self.refresh_reach(&BTreeSet::from([host]))?;
        Ok(Outcome::Done)
    }

    // ---- LUN groups

    pub(crate) fn create_lun_group(&mut self, name: String, description: String) -> Result<Outcome, Refusal> {
        self.check_text(&name, &description)?;
        self.lun_groups.admits(self.scope, &name, self.limits.objects)?;
        let id = self.new_id();
        self.lun_groups.insert(LunGroup {
            id,
            vstore: self.scope,
            name,
            description,
            members: BTreeSet::new(),
            views: BTreeSet::new(),
        });
        Ok(Outcome::Created(id))
    }

    pub(crate) fn delete_lun_group(&mut self, id: u64) -> Result<Outcome, Refusal> {
        let group = self.lun_groups.get(id).ok_or(Refusal::NoSuchLunGroup)?;
        if !group.views.is_empty() {
            return Err(Refusal::GroupInView);
        }
        for member in group.members.clone() {
            self.groups_of(member)?.remove(&id);
        }
        self.lun_groups.remove(id);
        Ok(Outcome::Done)
    }

    /// The LUN groups that a device is in.
    fn groups_of(&mut self, object: DeviceId) -> Result<&mut BTreeSet<u64>, Refusal> {
        match object {
            DeviceId::Lun(id) => self.luns.get_mut(id).map(|lun| &mut lun.groups).ok_or(Refusal::NoSuchLun),
            DeviceId::Snapshot(id) => {
                self.snapshots.get_mut(id).map(|snapshot| &mut snapshot.groups).ok_or(Refusal::NoSuchSnapshot)
            }
        }
    }

    pub(crate) fn add_to_lun_group(&mut self, group: u64, object: DeviceId) -> Result<Outcome, Refusal> {
        if !self.lun_groups.contains(group) {
            return Err(Refusal::NoSuchLunGroup);
        }
        if matches!(object, DeviceId::Snapshot(id) if self.snapshots.get(id).is_some_and(|snapshot| !snapshot.is_active()))
        {
            return Err(Refusal::NotActivated);
        }
        if !self.groups_of(object)?.insert(group) {
            return Err(Refusal::AlreadyInGroup);
        }
        if let Some(group) = self.lun_groups.get_mut(group) {
            group.members.insert(object);
        }
        self.refresh_reach(&self.hosts_of_lun_group(group)).or_else(|refusal| {
            self.remove_from_lun_group(group, object)?;
            Err(refusal)
        })?;
        Ok(Outcome::Done)
    }

    pub(crate) fn remove_from_lun_group(&mut self, group: u64, object: DeviceId) -> Result<Outcome, Refusal> {
        if !self.lun_groups.contains(group) {
            return Err(Refusal::NoSuchLunGroup);
        }
        if !self.groups_of(object)?.remove(&group) {
            return Err(Refusal::NotInGroup);
        }
        if let Some(group) = self.lun_groups.get_mut(group) {
            group.members.remove(&object);
        }
        self.refresh_reach(&self.hosts_of_lun_group(group))?;
        Ok(Outcome::Done)
    }

    // ---- port groups

    pub(crate) fn create_port_group(
        &mut self,
        name: String,
        description: String,
    ) -> Result<Outcome, Refusal> {
        self.check_text(&name, &description)?;
        self.port_groups.admits(self.scope, &name, self.limits.objects)?;
        let id = self.new_id();
        self.port_groups.insert(PortGroup {
            id,
            vstore: self.scope,
            name,
            description,
            ports: BTreeSet::new(),
            views: BTreeSet::new(),
        });
        Ok(Outcome::Created(id))
    }

    pub(crate) fn delete_port_group(&mut self, id: u64) -> Result<Outcome, Refusal> {
        let group = self.port_groups.get(id).ok_or(Refusal::NoSuchPortGroup)?;
        if !group.views.is_empty() {
            return Err(Refusal::GroupInView);
        }
        self.port_groups.remove(id);
        Ok(Outcome::Done)
    }

    pub(crate) fn add_port_to_group(&mut self, group: u64, port: u64) -> Result<Outcome, Refusal> {
        if self.port(port).is_none() {
            return Err(Refusal::NoSuchPort);
        }
        let group = self.port_groups.get_mut(group).ok_or(Refusal::NoSuchPortGroup)?;
        if group.ports.insert(port) { Ok(Outcome::Done) } else { Err(Refusal::AlreadyInGroup) }
    }

    pub(crate) fn remove_port_from_group(&mut self, group: u64, port: u64) -> Result<Outcome, Refusal> {
        let group = self.port_groups.get_mut(group).ok_or(Refusal::NoSuchPortGroup)?;
        if group.ports.remove(&port) { Ok(Outcome::Done) } else { Err(Refusal::NotInGroup) }
    }

    // ---- mapping views

    pub(crate) fn create_view(&mut self, name: String, description: String) -> Result<Outcome, Refusal> {
        self.check_text(&name, &description)?;
        self.views.admits(self.scope, &name, self.limits.objects)?;
        let id = self.new_id();
        self.views.insert(View {
            id,
            vstore: self.scope,
            name,
            description,
            host_group: None,
            lun_group: None,
            port_group: None,
        });
        Ok(Outcome::Created(id))
    }

    pub(crate) fn delete_view(&mut self, id: u64) -> Result<Outcome, Refusal> {
        let view = self.views.get(id).ok_or(Refusal::NoSuchView)?;
        if view.host_group.is_some() || view.lun_group.is_some() {
            return Err(Refusal::ViewBusy);
        }
        if let Some(group) = view.port_group.and_then(|group| self.port_groups.get_mut(group)) {
            group.views.remove(&id);
        }
        self.views.remove(id);
        Ok(Outcome::Done)
    }

    /// The place for a group of this kind in a view, and the views that hold the group.
    fn view_ends(
        &mut self,
        view: u64,
        group: GroupRef,
    ) -> Result<(&mut Option<u64>, &mut BTreeSet<u64>, u64), Refusal> {
        let view = self.views.get_mut(view).ok_or(Refusal::NoSuchView)?;
        Ok(match group {
            GroupRef::Host(id) => (
                &mut view.host_group,
                &mut self.host_groups.get_mut(id).ok_or(Refusal::NoSuchHostGroup)?.views,
                id,
            ),
            GroupRef::Lun(id) => (
                &mut view.lun_group,
                &mut self.lun_groups.get_mut(id).ok_or(Refusal::NoSuchLunGroup)?.views,
                id,
            ),
            GroupRef::Port(id) => (
                &mut view.port_group,
                &mut self.port_groups.get_mut(id).ok_or(Refusal::NoSuchPortGroup)?.views,
                id,
            ),
        })
    }

    pub(crate) fn add_to_view(&mut self, view: u64, group: GroupRef) -> Result<Outcome, Refusal> {
        let (place, holders, id) = self.view_ends(view, group)?;
        match *place {
            Some(held) if held == id => return Err(Refusal::AlreadyInView),
            Some(_) => return Err(Refusal::ViewOccupied),
            None => *place = Some(id),
        }
        holders.insert(view);
        self.refresh_reach(&self.hosts_of_view(view)).or_else(|refusal| {
            self.remove_from_view(view, group)?;
            Err(refusal)
        })?;
        Ok(Outcome::Done)
    }

    pub(crate) fn remove_from_view(&mut self, view: u64, group: GroupRef) -> Result<Outcome, Refusal> {
        let hosts = self.hosts_of_view(view);
        let (place, holders, id) = self.view_ends(view, group)?;
        if *place != Some(id) {
            return Err(Refusal::NotInView);
        }
        *place = None;
        holders.remove(&view);
        self.refresh_reach(&hosts)?;
        Ok(Outcome::Done)
    }

    // ---- initiators

    pub(crate) fn add_initiator(&mut self, iqn: String) -> Result<Outcome, Refusal> {
        if iqn.is_empty() || iqn.len() > IQN_BYTES || iqn.chars().any(|c| c.is_control() || c.is_whitespace())
        {
            return Err(Refusal::BadParameter);
        }
        if self.initiators.contains_key(&iqn) {
            return Err(Refusal::InitiatorExists);
        }
        if self.initiators.len() >= self.limits.objects {
            return Err(Refusal::LimitReached);
        }
        let initiator = Initiator {
            iqn: iqn.clone(),
            vstore: self.scope,
            host: None,
            chap: None,
            multipath: 0,
            paths: InitiatorPaths::default(),
            sessions: 0,
        };
        self.initiators.insert(iqn.clone(), initiator);
        self.refresh_sight(&iqn);
        Ok(Outcome::Done)
    }

    pub(crate) fn update_initiator(
        &mut self,
        iqn: &str,
        chap: ChapUpdate,
        multipath: Option<u8>,
    ) -> Result<Outcome, Refusal> {
        let initiator = self.initiators.get_mut(iqn).ok_or(Refusal::NoSuchInitiator)?;
        if let ChapUpdate::Enable(chap) = &chap {
            let mut sides = std::iter::once(&chap.initiator).chain(&chap.mutual);
            let bounds = 1..=CHAP_BYTES;
            if !sides
                .all(|side| bounds.contains(&side.name.len()) && bounds.contains(&side.secret.expose().len()))
            {
                return Err(Refusal::BadParameter);
            }
        }
        match chap {
            ChapUpdate::Keep => {}
            ChapUpdate::Disable => initiator.chap = None,
            ChapUpdate::Enable(chap) => initiator.chap = Some(chap),
        }
        initiator.multipath = multipath.unwrap_or(initiator.multipath);
        self.refresh_path_views();
        Ok(Outcome::Done)
    }

    pub(crate) fn bind_initiator(&mut self, iqn: &str, host: u64) -> Result<Outcome, Refusal> {
        let initiator = self.initiators.get_mut(iqn).ok_or(Refusal::NoSuchInitiator)?;
        if !self.hosts.contains(host) {
            return Err(Refusal::NoSuchHost);
        }
        if initiator.host.is_some_and(|bound| bound != host) {
            return Err(Refusal::InitiatorBound);
        }
        initiator.host = Some(host);
        self.refresh_path_views();
        self.refresh_sight(iqn);
        Ok(Outcome::Done)
    }

    pub(crate) fn unbind_initiator(&mut self, iqn: &str) -> Result<Outcome, Refusal> {
        let initiator = self.initiators.get_mut(iqn).ok_or(Refusal::NoSuchInitiator)?;
        initiator.host.take().ok_or(Refusal::InitiatorNotBound)?;
        self.refresh_path_views();
        self.refresh_sight(iqn);
        Ok(Outcome::Done)
    }

    pub(crate) fn delete_initiator(&mut self, iqn: &str) -> Result<Outcome, Refusal> {
        if self.initiators.get(iqn).ok_or(Refusal::NoSuchInitiator)?.host.is_some() {
            return Err(Refusal::InitiatorBound);
        }
        self.initiators.remove(iqn);
        self.refresh_path_views();
        self.refresh_sight(iqn);
        Ok(Outcome::Done)
    }

    /// The target tells that a session of this initiator began (`open`) or ended; unknown initiators are not counted.
    pub fn count_session(&mut self, iqn: &str, open: bool) {
        if let Some(initiator) = self.initiators.get_mut(iqn) {
            initiator.sessions = if open {
                initiator.sessions.saturating_add(1)
            } else {
                initiator.sessions.saturating_sub(1)
            };
        }
    }
}
