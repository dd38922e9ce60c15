//! vStores: virtual arrays on the array, each with objects, names and hosts of its own.
//!
//! A command belongs to the array's administrator, or with [`Command::Within`] to a vStore. Before anything else, every
//! object that it mentions is looked for in that vStore: what belongs to another one does not exist, not even by the kind of
//! refusal. The administrator reaches all vStores, one at a time: a command that mentions objects of two is refused, and
//! what it makes belongs where the objects belong that it mentions. Pools, ports and cache partitions are everybody's.
//! Hosts see LUNs through groups and views of one vStore, so that masking follows by itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::object::{DeviceId, GroupRef};
use crate::{Array, Command, Outcome, Refusal};

/// A virtual array: its sessions see their own objects only, and its hosts its own LUNs only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VStore {
    /// Id; 0 is the array's own.
    pub id: u64,
    /// Name, unique among vStores.
    pub name: String,
    /// Free text.
    pub description: String,
}

/// The vStore of the array itself; it always exists.
pub const SYSTEM_VSTORE: u64 = 0;
/// Its name.
pub(crate) const SYSTEM_NAME: &str = "System_vStore";

/// An object that a command mentions or a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the variants are the kinds of objects, with their ids")]
pub enum Mention<'a> {
    Lun(u64),
    Snapshot(u64),
    LunCopy(u64),
    ClonePair(u64),
    /// By the LUN that moves.
    Migration(u64),
    Host(u64),
    HostGroup(u64),
    LunGroup(u64),
    PortGroup(u64),
    View(u64),
    Initiator(&'a str),
    Qos(u64),
}

impl From<DeviceId> for Mention<'_> {
    fn from(device: DeviceId) -> Self {
        match device {
            DeviceId::Lun(id) => Self::Lun(id),
            DeviceId::Snapshot(id) => Self::Snapshot(id),
        }
    }
}

impl From<GroupRef> for Mention<'_> {
    fn from(group: GroupRef) -> Self {
        match group {
            GroupRef::Host(id) => Self::HostGroup(id),
            GroupRef::Lun(id) => Self::LunGroup(id),
            GroupRef::Port(id) => Self::PortGroup(id),
        }
    }
}

impl Mention<'_> {
    /// How the array says that there is no such object.
    fn missing(self) -> Refusal {
        match self {
            Self::Lun(_) => Refusal::NoSuchLun,
            Self::Snapshot(_) => Refusal::NoSuchSnapshot,
            Self::LunCopy(_) => Refusal::NoSuchLunCopy,
            Self::ClonePair(_) => Refusal::NoSuchClonePair,
            Self::Migration(_) => Refusal::NoSuchMigration,
            Self::Host(_) => Refusal::NoSuchHost,
            Self::HostGroup(_) => Refusal::NoSuchHostGroup,
            Self::LunGroup(_) => Refusal::NoSuchLunGroup,
            Self::PortGroup(_) => Refusal::NoSuchPortGroup,
            Self::View(_) => Refusal::NoSuchView,
            Self::Initiator(_) => Refusal::NoSuchInitiator,
            Self::Qos(_) => Refusal::NoSuchQos,
        }
    }
}

impl Command {
    /// Calls `each` for every object of a vStore that the command mentions.
    fn mentions<'a>(&'a self, each: &mut impl FnMut(Mention<'a>)) {
        use Mention as M;
        match self {
            Self::CreateLun { .. }
            | Self::CreateHost { .. }
            | Self::CreateHostGroup { .. }
            | Self::CreateLunGroup { .. }
            | Self::CreatePortGroup { .. }
            | Self::CreateView { .. }
            | Self::AddInitiator { .. }
            | Self::CreatePartition { .. }
            | Self::DeletePartition { .. }
            | Self::SetPortEnabled { .. }
            | Self::SetPoolThreshold { .. }
            | Self::CreateVStore { .. }
            | Self::UpdateVStore { .. }
            | Self::DeleteVStore { .. }
            | Self::Pairs(_)
            | Self::Within { .. } => {}
            Self::CloneLun { source, .. } => each((*source).into()),
            Self::RenameLun { lun, .. }
            | Self::ExpandLun { lun, .. }
            | Self::DeleteLun { lun }
            | Self::StartSplit { lun }
            | Self::StopSplit { lun }
            | Self::SetLunLabels { lun, .. }
            | Self::SetHome { lun, .. }
            | Self::PutInPartition { lun, .. }
            | Self::TakeFromPartition { lun, .. }
            | Self::OpenExport { lun }
            | Self::CloseExport { lun }
            | Self::CreateSnapshot { parent: lun, .. } => each(M::Lun(*lun)),
            Self::ActivateSnapshots { ids } => ids.iter().for_each(|id| each(M::Snapshot(*id))),
            Self::StopSnapshot { snapshot }
            | Self::RenameSnapshot { snapshot, .. }
            | Self::DeleteSnapshot { snapshot }
            | Self::RollbackSnapshot { snapshot, .. }
            | Self::CancelRollback { snapshot } => each(M::Snapshot(*snapshot)),
            Self::CreateLunCopy { source, target, .. } | Self::CreateClonePair { source, target, .. } => {
                each((*source).into());
                each(M::Lun(*target));
            }
            Self::StartLunCopy { copy } | Self::StopLunCopy { copy } | Self::DeleteLunCopy { copy } => {
                each(M::LunCopy(*copy));
            }
            Self::SyncClonePair { pair } | Self::StopClonePair { pair } | Self::DeleteClonePair { pair } => {
                each(M::ClonePair(*pair));
            }
            Self::CreateMigration { lun, target, .. } => {
                each(M::Lun(*lun));
                each(M::Lun(*target));
            }
            Self::DeleteMigration { lun } => each(M::Migration(*lun)),
            Self::CreateQos { luns, .. } => luns.iter().for_each(|lun| each(M::Lun(*lun))),
            Self::UpdateQos { qos, luns, .. } => {
                each(M::Qos(*qos));
                luns.iter().flatten().for_each(|lun| each(M::Lun(*lun)));
            }
            Self::ActivateQos { qos, .. } | Self::DeleteQos { qos } => each(M::Qos(*qos)),
            Self::UpdateHost { host, .. } | Self::DeleteHost { host } | Self::SetHostAccess { host, .. } => {
                each(M::Host(*host));
            }
            Self::DeleteHostGroup { group } => each(M::HostGroup(*group)),
            Self::AddHostToGroup { group, host } | Self::RemoveHostFromGroup { group, host } => {
                each(M::HostGroup(*group));
                each(M::Host(*host));
            }
            Self::DeleteLunGroup { group } => each(M::LunGroup(*group)),
            Self::AddToLunGroup { group, object } | Self::RemoveFromLunGroup { group, object } => {
                each(M::LunGroup(*group));
                each((*object).into());
            }
            Self::DeletePortGroup { group }
            | Self::AddPortToGroup { group, .. }
            | Self::RemovePortFromGroup { group, .. } => each(M::PortGroup(*group)),
            Self::DeleteView { view } => each(M::View(*view)),
            Self::AddToView { view, group } | Self::RemoveFromView { view, group } => {
                each(M::View(*view));
                each((*group).into());
            }
            Self::SetHostLunId { view, object, .. } => {
                each(M::View(*view));
                each((*object).into());
            }
            Self::BindInitiator { iqn, host } => {
                each(M::Initiator(iqn));
                each(M::Host(*host));
            }
            Self::UpdateInitiator { iqn, .. }
            | Self::SetInitiatorPaths { iqn, .. }
            | Self::UnbindInitiator { iqn }
            | Self::DeleteInitiator { iqn } => each(M::Initiator(iqn)),
        }
    }

    /// Whether only the array's administrator may ask for it.
    fn is_for_the_array(&self) -> bool {
        matches!(
            self,
            Self::CreateVStore { .. }
                | Self::UpdateVStore { .. }
                | Self::DeleteVStore { .. }
                | Self::Pairs(_)
                | Self::Within { .. }
                | Self::SetPortEnabled { .. }
                | Self::SetPoolThreshold { .. }
                | Self::CreatePartition { .. }
                | Self::DeletePartition { .. }
                | Self::OpenExport { .. }
                | Self::CloseExport { .. }
        )
    }
}

impl Array {
    /// The vStore of an object; none when there is no such object.
    pub fn vstore_of(&self, object: Mention<'_>) -> Option<u64> {
        match object {
            Mention::Lun(id) => self.luns.get(id).map(|row| row.vstore),
            Mention::Snapshot(id) => self.snapshots.get(id).map(|row| row.vstore),
            Mention::LunCopy(id) => self.lun_copies.get(id).map(|row| row.vstore),
            Mention::ClonePair(id) => self.clone_pairs.get(&id).map(|row| row.vstore),
            Mention::Migration(id) => self.migrations.get(&id).map(|row| row.vstore),
            Mention::Host(id) => self.hosts.get(id).map(|row| row.vstore),
            Mention::HostGroup(id) => self.host_groups.get(id).map(|row| row.vstore),
            Mention::LunGroup(id) => self.lun_groups.get(id).map(|row| row.vstore),
            Mention::PortGroup(id) => self.port_groups.get(id).map(|row| row.vstore),
            Mention::View(id) => self.views.get(id).map(|row| row.vstore),
            Mention::Initiator(iqn) => self.initiators.get(iqn).map(|row| row.vstore),
            Mention::Qos(id) => self.qos.get(id).map(|row| row.vstore),
        }
    }

    /// Whether an object exists for a vStore's session (`None`: the administrator's, which sees everything).
    pub fn is_visible(&self, vstore: Option<u64>, object: Mention<'_>) -> bool {
        self.vstore_of(object).is_some_and(|of| self.is_of(vstore, of))
    }

    /// Whether what belongs to the vStore `of` is visible to a session of `vstore`.
    pub fn is_of(&self, vstore: Option<u64>, of: u64) -> bool {
        vstore.is_none_or(|own| own == of) || self.defects.vstore_leak
    }

    /// Carries out a command as a vStore's session.
    pub(crate) fn apply_within(&mut self, vstore: u64, command: Command) -> Result<Outcome, Refusal> {
        if vstore != SYSTEM_VSTORE && !self.vstores.contains_key(&vstore) {
            return Err(Refusal::NoSuchVStore);
        }
        if command.is_for_the_array() {
            return Err(Refusal::NotForVStores);
        }
        let mut missing = None;
        command.mentions(&mut |object| {
            if !self.is_visible(Some(vstore), object) {
                missing.get_or_insert(object.missing());
            }
        });
        if let Some(refusal) = missing {
            return Err(refusal);
        }
        self.scope = vstore;
        let done = self.carry_out(command);
        self.scope = SYSTEM_VSTORE;
        done
    }

    /// Carries out a command as the administrator.
    pub(crate) fn apply_as_administrator(&mut self, command: Command) -> Result<Outcome, Refusal> {
        if !self.vstores.is_empty() {
            let mut scope = None;
            let mut mixed = false;
            command.mentions(&mut |object| {
                if let Some(of) = self.vstore_of(object) {
                    mixed |= *scope.get_or_insert(of) != of;
                }
            });
            if mixed {
                return Err(Refusal::OtherVStore);
            }
            self.scope = scope.unwrap_or(SYSTEM_VSTORE);
        }
        let done = self.carry_out(command);
        self.scope = SYSTEM_VSTORE;
        done
    }

    pub(crate) fn create_vstore(&mut self, name: String, description: String) -> Result<Outcome, Refusal> {
        self.check_text(&name, &description)?;
        if self.vstore_by_name(&name).is_some() {
            return Err(Refusal::NameExists);
        }
        if self.vstores.len() >= self.limits.vstores {
            return Err(Refusal::LimitReached);
        }
        let id = self.new_id();
        self.vstores.insert(id, VStore { id, name, description });
        Ok(Outcome::Created(id))
    }

    pub(crate) fn update_vstore(
        &mut self,
        id: u64,
        name: Option<String>,
        description: Option<String>,
    ) -> Result<Outcome, Refusal> {
        let current = self.vstores.get(&id).ok_or(Refusal::NoSuchVStore)?;
        let name = name.unwrap_or_else(|| current.name.clone());
        let description = description.unwrap_or_else(|| current.description.clone());
        self.check_text(&name, &description)?;
        if self.vstore_by_name(&name).is_some_and(|other| other.id != id) {
            return Err(Refusal::NameExists);
        }
        self.vstores.insert(id, VStore { id, name, description });
        Ok(Outcome::Done)
    }

    pub(crate) fn delete_vstore(&mut self, id: u64) -> Result<Outcome, Refusal> {
        if !self.vstores.contains_key(&id) {
            return Err(Refusal::NoSuchVStore);
        }
        if self.objects_of_vstore(id) > 0 {
            return Err(Refusal::VStoreBusy);
        }
        self.vstores.remove(&id);
        Ok(Outcome::Done)
    }

    /// How many objects belong to a vStore.
    pub fn objects_of_vstore(&self, id: u64) -> usize {
        let of = |vstores: &mut dyn Iterator<Item = u64>| vstores.filter(|of| *of == id).count();
        of(&mut self.luns.iter().map(|row| row.vstore))
            + of(&mut self.snapshots.iter().map(|row| row.vstore))
            + of(&mut self.lun_copies.iter().map(|row| row.vstore))
            + of(&mut self.clone_pairs.values().map(|row| row.vstore))
            + of(&mut self.migrations.values().map(|row| row.vstore))
            + of(&mut self.hosts.iter().map(|row| row.vstore))
            + of(&mut self.host_groups.iter().map(|row| row.vstore))
            + of(&mut self.lun_groups.iter().map(|row| row.vstore))
            + of(&mut self.port_groups.iter().map(|row| row.vstore))
            + of(&mut self.views.iter().map(|row| row.vstore))
            + of(&mut self.initiators.values().map(|row| row.vstore))
            + of(&mut self.qos.iter().map(|row| row.vstore))
    }

    /// All vStores but the array's own, ordered by id.
    pub fn vstores(&self) -> impl Iterator<Item = &VStore> {
        self.vstores.values()
    }

    /// A vStore by id; the array's own is not among them.
    pub fn vstore(&self, id: u64) -> Option<&VStore> {
        self.vstores.get(&id)
    }

    /// A vStore by name, the array's own included.
    pub fn vstore_by_name(&self, name: &str) -> Option<VStore> {
        if name == SYSTEM_NAME {
            return Some(VStore {
                id: SYSTEM_VSTORE,
                name: SYSTEM_NAME.to_owned(),
                description: String::new(),
            });
        }
        self.vstores.values().find(|vstore| vstore.name == name).cloned()
    }

    /// Name of a vStore, the array's own included.
    pub fn vstore_name(&self, id: u64) -> &str {
        match id {
            SYSTEM_VSTORE => SYSTEM_NAME,
            id => self.vstores.get(&id).map_or("", |vstore| vstore.name.as_str()),
        }
    }

    /// Audit: what belongs together belongs to one vStore, and every vStore exists.
    pub(crate) fn audit_vstores(&self, out: &mut Vec<String>) {
        if self.vstores.is_empty() {
            return;
        }
        let mut pairs: BTreeMap<(String, u64), u64> = BTreeMap::new();
        let mut note = |what: String, one: u64, other: Option<u64>| {
            if let Some(other) = other.filter(|other| *other != one) {
                pairs.insert((what, one), other);
            }
        };
        for snapshot in self.snapshots.iter() {
            let lun = self.luns.get(snapshot.parent);
            note(format!("snapshot {} and its LUN", snapshot.id), snapshot.vstore, lun.map(|lun| lun.vstore));
        }
        for lun in self.luns.iter() {
            let source = lun.origin.and_then(|origin| self.vstore_of(origin.source.into()));
            note(format!("LUN {} and its source", lun.id), lun.vstore, source);
        }
        for group in self.lun_groups.iter() {
            for member in &group.members {
                let member = self.vstore_of((*member).into());
                note(format!("LUN group {} and a member", group.id), group.vstore, member);
            }
        }
        for group in self.host_groups.iter() {
            for host in &group.hosts {
                let host = self.vstore_of(Mention::Host(*host));
                note(format!("host group {} and a host", group.id), group.vstore, host);
            }
        }
        for view in self.views.iter() {
            let groups = [
                view.host_group.map(Mention::HostGroup),
                view.lun_group.map(Mention::LunGroup),
                view.port_group.map(Mention::PortGroup),
            ];
            for group in groups.into_iter().flatten() {
                note(format!("view {} and a group", view.id), view.vstore, self.vstore_of(group));
            }
        }
        for initiator in self.initiators.values() {
            let host = initiator.host.and_then(|host| self.vstore_of(Mention::Host(host)));
            note(format!("{} and its host", initiator.iqn), initiator.vstore, host);
        }
        if !self.defects.vstore_leak {
            out.extend(pairs.into_iter().map(|((what, one), other)| {
                format!("{what} belong to different vStores, {one} and {other}")
            }));
        }
        let known = |id: u64| id == SYSTEM_VSTORE || self.vstores.contains_key(&id);
        if let Some(lun) = self.luns.iter().find(|lun| !known(lun.vstore)) {
            out.push(format!("LUN {}: its vStore is gone", lun.id));
        }
    }
}
