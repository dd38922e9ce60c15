//! The array value: construction, dispatch of commands, listings.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::access::{MOST_CONTROLLERS, Plant, controller_name};
use crate::config::{ArrayConfig, Limits, PoolConfig, PortalConfig};
use crate::durable::{Journal, Tracked};
use crate::events::Events;
use crate::jobs::{Job, JobWatch};
use crate::kin::Kin;
use crate::object::{
    ClonePair, DeviceId, Host, HostGroup, Initiator, Lun, LunCopy, LunGroup, Migration, Pool, PortGroup,
    Portal, Snapshot, View,
};
use crate::pair::Mirror;
use crate::paths::PathView;
use crate::reach::Reach;
use crate::services::first_partitions;
use crate::services::{Partition, QosPolicy};
use crate::store::mark::Mark;
use crate::store::{Content, Counter, EXTENT_BLOCKS, Layer};
use crate::table::Table;
use crate::traffic::Traffic;
use crate::vstores::SYSTEM_VSTORE;
use crate::vstores::VStore;
use crate::{Command, Defects, Outcome, Refusal};

/// Longest name of an older product, bytes.
const OLD_NAME_BYTES: usize = 31;

/// The simulated array.
#[derive(Debug)]
pub struct Array {
    pub(crate) product: String,
    pub(crate) serial: String,
    pub(crate) wwn_base: u64,
    pub(crate) target_iqn: String,
    pub(crate) flatten_rate: u64,
    pub(crate) copy_rate: u64,
    pub(crate) port_base: u16,
    pub(crate) defects: Defects,
    pub(crate) limits: Limits,
    pub(crate) now: Duration,

    pub(crate) pools: Vec<Pool>,
    pub(crate) portals: Vec<Portal>,
    pub(crate) luns: Table<Lun>,
    pub(crate) snapshots: Table<Snapshot>,
    pub(crate) lun_copies: Table<LunCopy>,
    pub(crate) clone_pairs: Tracked<u64, ClonePair>,
    /// By the id of the LUN that moves.
    pub(crate) migrations: Tracked<u64, Migration>,
    pub(crate) hosts: Table<Host>,
    pub(crate) host_groups: Table<HostGroup>,
    pub(crate) lun_groups: Table<LunGroup>,
    pub(crate) port_groups: Table<PortGroup>,
    pub(crate) views: Table<View>,
    pub(crate) initiators: Tracked<String, Initiator>,
    pub(crate) qos: Table<QosPolicy>,
    /// By kind and id.
    pub(crate) partitions: Tracked<String, Partition>,
    /// All but the array's own.
    pub(crate) vstores: Tracked<u64, VStore>,
    /// The vStore in which the present command makes things.
    pub(crate) scope: u64,
    /// Ports that are disabled.
    pub(crate) ports_off: Tracked<u64, bool>,
    pub(crate) reach: Reach,
    pub(crate) plant: Plant,
    pub(crate) write_cache: bool,
    pub(crate) cache_blocks: u64,
    pub(crate) power_generation: u64,
    pub(crate) traffic: Traffic,
    pub(crate) mirror: Mirror,

    pub(crate) jobs: Tracked<u64, Job>,
    pub(crate) job_watch: JobWatch,
    /// Only with [`crate::Defects::group_snapshot_torn`]: snapshots that are frozen with the next command.
    pub(crate) torn: Vec<u64>,
    pub(crate) kin: Kin,
    pub(crate) events: Events,
    /// How initiators see access states, where it is not as they are.
    pub(crate) path_views: BTreeMap<String, PathView>,
    /// Every frozen layer made; the dead ones are swept out now and then.
    pub(crate) layers: BTreeMap<u64, Weak<Layer>>,
    pub(crate) last_id: u64,
    pub(crate) last_wwn: u64,
    pub(crate) last_layer: u64,
    /// What outlasts this value; none for an array in memory.
    pub(crate) journal: Option<Journal>,
}

impl Array {
    /// An array with its pools and portals and nothing else.
    pub fn new(config: ArrayConfig) -> Self {
        let ArrayConfig {
            product,
            serial,
            pools,
            portals,
            target_iqn,
            flatten_rate,
            copy_rate,
            controllers,
            write_cache,
            cache_blocks,
            transition,
            failback,
            implicit_alua,
            explicit_alua,
            port_base,
            defects,
            limits,
        } = config;
        let mut array = Self {
            wwn_base: wwn_base(&serial),
            product,
            serial,
            target_iqn,
            flatten_rate,
            copy_rate,
            port_base,
            defects,
            limits,
            now: Duration::ZERO,
            pools: (0..).zip(pools).map(|(id, pool)| make_pool(id, pool)).collect(),
            portals: Vec::new(),
            luns: Table::default(),
            snapshots: Table::default(),
            lun_copies: Table::default(),
            clone_pairs: Tracked::default(),
            migrations: Tracked::default(),
            hosts: Table::default(),
            host_groups: Table::default(),
            lun_groups: Table::default(),
            port_groups: Table::default(),
            views: Table::default(),
            initiators: Tracked::default(),
            qos: Table::default(),
            partitions: first_partitions(),
            vstores: Tracked::default(),
            scope: SYSTEM_VSTORE,
            ports_off: Tracked::default(),
            reach: Reach::default(),
            plant: Plant::new(controllers, transition, failback, [implicit_alua, explicit_alua]),
            write_cache,
            cache_blocks,
            power_generation: 0,
            traffic: Traffic::default(),
            mirror: Mirror::default(),
            jobs: Tracked::default(),
            job_watch: JobWatch::default(),
            torn: Vec::new(),
            kin: Kin::default(),
            events: Events::default(),
            path_views: BTreeMap::new(),
            layers: BTreeMap::new(),
            last_id: 0,
            last_wwn: 0,
            last_layer: 0,
            journal: None,
        };
        array.set_portals(portals);
        array
    }

    /// Replaces the portals, for listeners that learn their port only when they are bound. Port ids go by position, so
    /// that port groups keep their meaning.
    pub fn set_portals(&mut self, portals: Vec<PortalConfig>) {
        let mut on_controller: BTreeMap<u8, u32> = BTreeMap::new();
        self.portals = (0..)
            .zip(portals)
            .map(|(n, portal)| {
                let controller = portal.controller.min(MOST_CONTROLLERS - 1);
                let place = on_controller.entry(controller).or_default();
                let location = format!("CTE0.{}0.P{place}", &controller_name(controller)[1..]);
                *place += 1;
                Portal {
                    id: 139_264 + n,
                    address: portal.address,
                    port_no: portal.port_no,
                    tpgt: portal.tpgt,
                    controller,
                    enabled: true,
                    iqn: format!("{}::{}:{}", self.target_iqn, portal.port_no, portal.address.ip()),
                    location,
                }
            })
            .collect();
        self.obey_ports_off();
        let places = self.portals.iter().map(|portal| (portal.tpgt, portal.controller));
        self.plant.set_portals(places, self.port_base);
    }

    /// Carries out one management command at time `now`, background work up to `now` first. A refused command changes nothing.
    pub fn apply(&mut self, now: Duration, command: Command) -> Result<Outcome, Refusal> {
        self.advance(now);
        self.admit_change(&command)?;
        self.freeze_torn();
        let done = match command {
            Command::Within { vstore, command } => self.apply_within(vstore, *command),
            command => self.apply_as_administrator(command),
        };
        self.note_pools();
        if done.is_ok() {
            self.promise();
        }
        done
    }

    /// Carries out a command whose objects are known to be within reach.
    pub(crate) fn carry_out(&mut self, command: Command) -> Result<Outcome, Refusal> {
        match command {
            // One within another: only the administrator may say so, and only once.
            Command::Within { .. } => Err(Refusal::NotForVStores),
            Command::CreateLun { name, description, pool, blocks, thin } => {
                self.create_lun(name, description, pool, blocks, thin)
            }
            Command::CloneLun { name, source, description } => self.clone_lun(name, source, description),
            Command::RenameLun { lun, name, description } => self.rename_lun(lun, name, description),
            Command::ExpandLun { lun, blocks } => self.expand_lun(lun, blocks),
            Command::DeleteLun { lun } => self.delete_lun(lun),
            Command::StartSplit { lun } => self.start_split(lun),
            Command::StopSplit { lun } => self.stop_split(lun),
            Command::CreateSnapshot { name, description, parent } => {
                self.create_snapshot(name, description, parent)
            }
            Command::ActivateSnapshots { ids } => self.activate_snapshots(&ids),
            Command::StopSnapshot { snapshot } => self.stop_snapshot(snapshot),
            Command::RenameSnapshot { snapshot, name, description } => {
                self.rename_snapshot(snapshot, name, description)
            }
            Command::DeleteSnapshot { snapshot } => self.delete_snapshot(snapshot),
            Command::CreateLunCopy { name, source, target, speed } => {
                self.create_lun_copy(name, source, target, speed)
            }
            Command::StartLunCopy { copy } => self.start_lun_copy(copy),
            Command::StopLunCopy { copy } => self.stop_lun_copy(copy),
            Command::DeleteLunCopy { copy } => self.delete_lun_copy(copy),
            Command::CreateClonePair { source, target, rate } => self.create_clone_pair(source, target, rate),
            Command::SyncClonePair { pair } => self.sync_clone_pair(pair),
            Command::StopClonePair { pair } => self.stop_clone_pair(pair),
            Command::DeleteClonePair { pair } => self.delete_clone_pair(pair),
            Command::CreateMigration { lun, target, speed } => self.create_migration(lun, target, speed),
            Command::DeleteMigration { lun } => self.delete_migration(lun),
            Command::RollbackSnapshot { snapshot, speed } => self.rollback_snapshot(snapshot, speed),
            Command::CancelRollback { snapshot } => self.cancel_rollback(snapshot),
            Command::CreateHost { name, description } => self.create_host(name, description),
            Command::UpdateHost { host, name, description } => self.update_host(host, name, description),
            Command::DeleteHost { host } => self.delete_host(host),
            Command::CreateHostGroup { name, description } => self.create_host_group(name, description),
            Command::DeleteHostGroup { group } => self.delete_host_group(group),
            Command::AddHostToGroup { group, host } => self.add_host_to_group(group, host),
            Command::RemoveHostFromGroup { group, host } => self.remove_host_from_group(group, host),
            Command::CreateLunGroup { name, description } => self.create_lun_group(name, description),
            Command::DeleteLunGroup { group } => self.delete_lun_group(group),
            Command::AddToLunGroup { group, object } => self.add_to_lun_group(group, object),
            Command::RemoveFromLunGroup { group, object } => self.remove_from_lun_group(group, object),
            Command::CreatePortGroup { name, description } => self.create_port_group(name, description),
            Command::DeletePortGroup { group } => self.delete_port_group(group),
            Command::AddPortToGroup { group, port } => self.add_port_to_group(group, port),
            Command::RemovePortFromGroup { group, port } => self.remove_port_from_group(group, port),
            Command::CreateView { name, description } => self.create_view(name, description),
            Command::DeleteView { view } => self.delete_view(view),
            Command::AddToView { view, group } => self.add_to_view(view, group),
            Command::RemoveFromView { view, group } => self.remove_from_view(view, group),
            Command::SetHostLunId { view, object, host_lun_id } => {
                self.set_host_lun_id(view, object, host_lun_id)
            }
            Command::AddInitiator { iqn } => self.add_initiator(iqn),
            Command::UpdateInitiator { iqn, chap, multipath } => self.update_initiator(&iqn, chap, multipath),
            Command::BindInitiator { iqn, host } => self.bind_initiator(&iqn, host),
            Command::UnbindInitiator { iqn } => self.unbind_initiator(&iqn),
            Command::DeleteInitiator { iqn } => self.delete_initiator(&iqn),
            Command::OpenExport { lun } => self.open_export(lun),
            Command::CloseExport { lun } => self.close_export(lun),
            Command::SetLunLabels { lun, changes } => self.set_lun_labels(lun, changes),
            Command::CreatePartition { kind, name, description } => {
                self.create_partition(kind, name, description)
            }
            Command::DeletePartition { kind, partition } => self.delete_partition(kind, partition),
            Command::PutInPartition { kind, partition, lun } => self.put_in_partition(kind, partition, lun),
            Command::TakeFromPartition { kind, partition, lun } => {
                self.take_from_partition(kind, partition, lun)
            }
            Command::CreateQos { name, luns, limits, labels } => self.create_qos(name, luns, limits, labels),
            Command::UpdateQos { qos, luns, limits, labels } => self.update_qos(qos, luns, limits, labels),
            Command::ActivateQos { qos, active } => self.activate_qos(qos, active),
            Command::DeleteQos { qos } => self.delete_qos(qos),
            Command::SetPortEnabled { port, enabled } => self.set_port_enabled(port, enabled),
            Command::SetHome { lun, controller } => self.give_home(lun, controller).map(|()| Outcome::Done),
            Command::SetInitiatorPaths { iqn, paths } => self.set_initiator_paths(&iqn, paths),
            Command::SetHostAccess { host, access } => self.set_host_access(host, access),
            Command::SetPoolThreshold { pool, percent } => self.set_pool_threshold(pool, percent),
            Command::CreateVStore { name, description } => self.create_vstore(name, description),
            Command::UpdateVStore { vstore, name, description } => {
                self.update_vstore(vstore, name, description)
            }
            Command::DeleteVStore { vstore } => self.delete_vstore(vstore),
            Command::Pairs(command) => self.apply_to_pairs(command),
        }
    }

    // ---- identity

    /// `PRODUCTVERSION`.
    pub fn product(&self) -> &str {
        &self.product
    }
    /// Serial number as configured.
    pub fn serial(&self) -> &str {
        &self.serial
    }
    /// Whether snapshots are born activated on this product (plain string comparison, as the drivers compare versions).
    pub fn snapshots_born_active(&self) -> bool {
        self.product.as_str() >= "V600R005C00"
    }
    /// Longest name in bytes: the older lines (V300 and V500) take no more than the 31 that the dialect needs.
    pub fn name_bytes(&self) -> usize {
        let old = ["V3", "V5"].iter().any(|line| self.product.starts_with(line));
        if old { self.limits.name_bytes.min(OLD_NAME_BYTES) } else { self.limits.name_bytes }
    }
    /// What is added to the place of a portal for its relative target port id.
    pub fn port_base(&self) -> u16 {
        self.port_base
    }
    /// The bounds in force.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }
    /// The planted defects in force.
    pub fn defects(&self) -> Defects {
        self.defects
    }

    // ---- listings, each ordered by id

    /// All pools.
    pub fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.pools.iter()
    }
    /// A pool.
    pub fn pool(&self, id: u64) -> Option<&Pool> {
        usize::try_from(id).ok().and_then(|id| self.pools.get(id))
    }
    /// A pool by name.
    pub fn pool_by_name(&self, name: &str) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.name == name)
    }
    /// All clone pairs.
    pub fn clone_pairs(&self) -> impl Iterator<Item = &ClonePair> {
        self.clone_pairs.values()
    }
    /// A clone pair.
    pub fn clone_pair(&self, id: u64) -> Option<&ClonePair> {
        self.clone_pairs.get(&id)
    }
    /// All registered initiators, ordered by name.
    pub fn initiators(&self) -> impl Iterator<Item = &Initiator> {
        self.initiators.values()
    }
    /// A registered initiator.
    pub fn initiator(&self, iqn: &str) -> Option<&Initiator> {
        self.initiators.get(iqn)
    }
    /// All Ethernet ports (the portals).
    pub fn ports(&self) -> impl Iterator<Item = &Portal> {
        self.portals.iter()
    }
    /// An Ethernet port.
    pub fn port(&self, id: u64) -> Option<&Portal> {
        self.portals.iter().find(|port| port.id == id)
    }
    /// The LUN or snapshot with this number; they share one number space.
    pub fn device_by_number(&self, id: u64) -> Option<DeviceId> {
        if self.luns.contains(id) {
            Some(DeviceId::Lun(id))
        } else {
            self.snapshots.contains(id).then_some(DeviceId::Snapshot(id))
        }
    }

    /// Parent links from the LUN to its root, links made through snapshots included; 0 for a root or an unknown LUN.
    pub fn clone_depth(&self, lun: u64) -> u32 {
        let mut depth = 0;
        let mut at = self.luns.get(lun).and_then(|lun| lun.origin);
        while let Some(origin) = at {
            depth += 1;
            let parent = match origin.source {
                DeviceId::Lun(id) => Some(id),
                DeviceId::Snapshot(id) => self.snapshots.get(id).map(|snapshot| snapshot.parent),
            };
            at = parent.and_then(|id| self.luns.get(id)).and_then(|lun| lun.origin);
        }
        depth
    }

    // ---- target identity

    /// All portals in the order of the configuration.
    pub fn portals(&self) -> &[Portal] {
        &self.portals
    }
    /// The target's plain iSCSI name.
    pub fn target_iqn(&self) -> &str {
        &self.target_iqn
    }
    /// Whether the target answers to this name: its plain name or that of one of its portals.
    pub fn accepts_target_name(&self, name: &str) -> bool {
        name == self.target_iqn || self.portals.iter().any(|portal| portal.iqn == name)
    }

    fn set_port_enabled(&mut self, port: u64, enabled: bool) -> Result<Outcome, Refusal> {
        let portal = self.portals.iter_mut().find(|portal| portal.id == port).ok_or(Refusal::NoSuchPort)?;
        portal.enabled = enabled;
        match enabled {
            true => drop(self.ports_off.remove(&port)),
            false => drop(self.ports_off.insert(port, true)),
        }
        Ok(Outcome::Done)
    }

    /// Ports that were disabled are so again.
    pub(crate) fn obey_ports_off(&mut self) {
        for portal in &mut self.portals {
            portal.enabled = !self.ports_off.contains_key(&portal.id);
        }
    }

    // ---- for the other modules

    /// The highest id that was given so far, 0 at first; none is given twice, a loss of power between or not.
    pub fn last_id(&self) -> u64 {
        self.last_id
    }

    pub(crate) fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// A new NAA 6 identifier (type 6, 24-bit company id, 36 bits of the array, 64 bits of a counter that only grows) and
    /// the unit serial number that goes with it.
    pub(crate) fn new_wwn(&mut self) -> ([u8; 16], String) {
        const COMPANY: u128 = 0x02_5a_be; // locally administered: no vendor's
        self.last_wwn += 1;
        let number = if self.defects.duplicate_wwn { self.last_wwn.div_ceil(2) } else { self.last_wwn };
        let array = u128::from(self.wwn_base & 0xf_ffff_ffff);
        let wwn = 6 << 124 | COMPANY << 100 | array << 64 | u128::from(number);
        (wwn.to_be_bytes(), format!("{:016x}{number:08x}", self.wwn_base))
    }

    /// Freezes content.
    pub(crate) fn new_layer(&mut self, content: Content) -> Arc<Layer> {
        self.last_layer += 1;
        let layer = Arc::new(Layer { id: self.last_layer, content, mark: Mark::default() });
        if let Some(journal) = &mut self.journal {
            journal.new_layers.push(layer.id);
        }
        self.layers.insert(layer.id, Arc::downgrade(&layer));
        if self.layers.len().is_power_of_two() {
            self.layers.retain(|_, layer| layer.strong_count() > 0);
        }
        layer
    }

    /// Checks name and description against the limits.
    pub(crate) fn check_text(&self, name: &str, description: &str) -> Result<(), Refusal> {
        let bad = name.is_empty()
            || name.len() > self.name_bytes()
            || description.len() > self.limits.description_bytes
            || name.chars().any(char::is_control);
        if bad { Err(Refusal::BadName) } else { Ok(()) }
    }
}

macro_rules! listings {
    ($($all:ident, $one:ident, $by_name:ident, $named:ident: $t:ty, $what:literal;)*) => { impl Array { $(
        #[doc = concat!("All ", $what, "s.")]
        pub fn $all(&self) -> impl Iterator<Item = &$t> {
            self.$all.iter()
        }
        #[doc = concat!("A ", $what, " by id.")]
        pub fn $one(&self, id: u64) -> Option<&$t> {
            self.$all.get(id)
        }
        #[doc = concat!("A ", $what, " of the array's own vStore by name.")]
        pub fn $by_name(&self, name: &str) -> Option<&$t> {
            self.$all.by_name(SYSTEM_VSTORE, name)
        }
        #[doc = concat!("All ", $what, "s of a name, at most one of each vStore, the array's own first.")]
        pub fn $named(&self, name: &str) -> impl Iterator<Item = &$t> {
            self.$all.named(name)
        }
    )* } };
}
listings! {
    luns, lun, lun_by_name, luns_named: Lun, "LUN";
    snapshots, snapshot, snapshot_by_name, snapshots_named: Snapshot, "snapshot";
    lun_copies, lun_copy, lun_copy_by_name, lun_copies_named: LunCopy, "LUN copy task";
    hosts, host, host_by_name, hosts_named: Host, "host";
    host_groups, host_group, host_group_by_name, host_groups_named: HostGroup, "host group";
    lun_groups, lun_group, lun_group_by_name, lun_groups_named: LunGroup, "LUN group";
    port_groups, port_group, port_group_by_name, port_groups_named: PortGroup, "port group";
    views, mapping_view, view_by_name, views_named: View, "mapping view";
    qos, qos_policy, qos_by_name, qos_named: QosPolicy, "QoS policy object";
}

fn make_pool(id: u64, pool: PoolConfig) -> Pool {
    Pool {
        id,
        name: pool.name,
        disks: pool.disks,
        capacity: pool.capacity_blocks / EXTENT_BLOCKS,
        used: Counter::new(id),
        reserved: 0,
        provisioned: 0,
        orphans: Vec::new(),
        medium: None,
        threshold: 80,
        above: false,
        crossings: 0,
        armed: false,
    }
}

/// The number that a serial of 16 hexadecimal digits spells; other text gives an FNV-1a hash.
pub(crate) fn wwn_base(serial: &str) -> u64 {
    u64::from_str_radix(serial, 16).unwrap_or_else(|_| {
        serial
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    })
}
