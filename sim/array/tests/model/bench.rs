//! The naive model beside the array: whole contents as byte vectors, mapping as plain maps. One operation at a time goes
//! to both; then everything that can be seen is compared.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sanbench_array::{
    Array, ArrayConfig, Command, Defects, DeviceId, GroupRef, IoError, Mapped, Outcome, PoolConfig,
    PortalConfig, Refusal, SplitStatus,
};

use crate::jobs::{Copy, Faults};
use crate::op::Op;
use crate::plant::Plant;

#[derive(Debug, Clone)]
pub(crate) struct Lun {
    pub(crate) bytes: Vec<u8>,
    /// Unsynchronised blocks: what they may be after a power loss, beside what they are.
    pub(crate) doubt: BTreeMap<u64, BTreeSet<Vec<u8>>>,
    pub(crate) cached: bool,
    /// Registered at the device, and whether to stay through a power loss.
    pub(crate) registered: Option<bool>,
    origin: Option<DeviceId>,
    splitting: bool,
    generation: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) parent: u64,
    /// Frozen content; none while inactive.
    pub(crate) bytes: Option<Vec<u8>>,
}

struct Host {
    iqn: String,
    lun_group: u64,
    numbers: BTreeMap<DeviceId, u16>,
    /// View and generation as last seen.
    seen: (Vec<(u16, DeviceId)>, u64),
}

/// Array and model.
pub(crate) struct Bench {
    pub(crate) array: Array,
    pub(crate) now: Duration,
    pub(crate) luns: BTreeMap<u64, Lun>,
    pub(crate) snapshots: BTreeMap<u64, Snapshot>,
    hosts: Vec<Host>,
    wwns: BTreeSet<[u8; 16]>,
    names: u64,
    pub(crate) roomy: bool,
    pub(crate) plant: Plant,
    /// A vStore that has nothing.
    pub(crate) tenant: u64,
    pub(crate) enabled: [bool; 2],
    pub(crate) copies: BTreeMap<u64, Copy>,
    pub(crate) faults: Faults,
    pub(crate) split_failed: bool,
    /// Everything is compared after so many steps.
    pub(crate) every: usize,
    steps: usize,
    /// LUN -> its QoS policy.
    pub(crate) limited: BTreeMap<u64, u64>,
}

const MOST_LUNS: usize = 6;
const MOST_SNAPSHOTS: usize = 4;
const MOST_BLOCKS: u64 = 420;
/// Small, so that destaging happens.
const CACHE_BLOCKS: u64 = 150;

macro_rules! ensure {
    ($good:expr, $($what:tt)*) => { if !$good { return Err(format!($($what)*)); } };
}
pub(crate) use ensure;

impl Bench {
    /// `pool_extents` bounds the physical space; with 10,000 or more it never runs out.
    pub(crate) fn new(
        defects: Defects,
        [born_active, write_cache]: [bool; 2],
        pool_extents: u64,
        failback: Option<Duration>,
    ) -> Self {
        let portal = |n: u8| PortalConfig {
            address: ([192, 0, 2, n + 1], 3260).into(),
            port_no: 1,
            tpgt: u16::from(n) + 1,
            controller: n,
        };
        let array = Array::new(ArrayConfig {
            product: if born_active { "V600R005C30" } else { "V600R003C00" }.to_owned(),
            pools: vec![PoolConfig::new("pool0", pool_extents * 128)],
            flatten_rate: 100,
            copy_rate: 1000,
            portals: vec![portal(0), portal(1)],
            write_cache,
            cache_blocks: CACHE_BLOCKS,
            failback,
            defects,
            ..ArrayConfig::default()
        });
        let mut bench = Self {
            array,
            now: Duration::ZERO,
            luns: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            hosts: Vec::new(),
            wwns: BTreeSet::new(),
            names: 0,
            roomy: pool_extents >= 10_000,
            plant: Plant::new(failback),
            tenant: 0,
            enabled: [true; 2],
            copies: BTreeMap::new(),
            faults: Faults::default(),
            split_failed: false,
            every: 1,
            steps: 0,
            limited: BTreeMap::new(),
        };
        bench.faults.clone().watch(&mut bench.array);
        let tenant = Command::CreateVStore { name: "tenant".to_owned(), description: String::new() };
        bench.tenant = bench.array.apply(Duration::ZERO, tenant).unwrap().id().unwrap();
        for n in 0..2 {
            let mut make = |command| bench.array.apply(Duration::ZERO, command).unwrap().id().unwrap_or(0);
            let description = String::new;
            let host = make(Command::CreateHost { name: format!("host{n}"), description: description() });
            let host_group =
                make(Command::CreateHostGroup { name: format!("hg{n}"), description: description() });
            let lun_group =
                make(Command::CreateLunGroup { name: format!("lg{n}"), description: description() });
            let view = make(Command::CreateView { name: format!("view{n}"), description: description() });
            let iqn = format!("iqn.2026-01.example:host{n}");
            make(Command::AddInitiator { iqn: iqn.clone() });
            make(Command::BindInitiator { iqn: iqn.clone(), host });
            make(Command::AddHostToGroup { group: host_group, host });
            make(Command::AddToView { view, group: GroupRef::Host(host_group) });
            make(Command::AddToView { view, group: GroupRef::Lun(lun_group) });
            let generation = bench.array.view_generation(&iqn);
            bench.hosts.push(Host {
                iqn,
                lun_group,
                numbers: BTreeMap::new(),
                seen: (Vec::new(), generation),
            });
        }
        bench
    }

    pub(crate) fn name(&mut self) -> String {
        self.names += 1;
        format!("n{}", self.names)
    }

    /// A LUN that no copy is writing.
    pub(crate) fn pick_lun(&self, pick: usize) -> Option<u64> {
        let still: Vec<u64> = self.luns.keys().copied().filter(|id| !self.in_flux(*id)).collect();
        still.get(pick % still.len().max(1)).copied()
    }

    fn pick_snapshot(&self, pick: usize) -> Option<u64> {
        self.snapshots.keys().nth(pick % self.snapshots.len().max(1)).copied()
    }

    /// A LUN or a snapshot.
    pub(crate) fn pick_device(&self, pick: usize) -> Option<DeviceId> {
        let luns = self.luns.keys().map(|id| DeviceId::Lun(*id));
        let all: Vec<DeviceId> =
            luns.chain(self.snapshots.keys().map(|id| DeviceId::Snapshot(*id))).collect();
        all.get(pick % all.len().max(1)).copied()
    }

    /// Sends a command; the answer must be a success when no rule is broken, else the refusal of a broken rule.
    pub(crate) fn send(
        &mut self,
        command: Command,
        broken: &[(bool, Refusal)],
    ) -> Result<Option<Outcome>, String> {
        let shown = format!("{command:?}");
        let broken: Vec<Refusal> = broken.iter().filter(|(is, _)| *is).map(|(_, refusal)| *refusal).collect();
        match self.array.apply(self.now, command) {
            Ok(outcome) if broken.is_empty() => Ok(Some(outcome)),
            Ok(_) => Err(format!("{shown} succeeded against {broken:?}")),
            Err(Refusal::PoolFull) if !self.roomy => Ok(None),
            Err(refusal) if broken.contains(&refusal) => Ok(None),
            Err(refusal) => Err(format!("{shown} was refused with {refusal:?}, broken rules {broken:?}")),
        }
    }

    fn is_source(&self, device: DeviceId) -> bool {
        self.luns.values().any(|lun| lun.origin == Some(device))
    }

    fn is_mapped(&self, device: DeviceId) -> bool {
        self.hosts.iter().any(|host| host.numbers.contains_key(&device))
    }

    fn new_identity(&mut self, wwn: [u8; 16]) -> Result<(), String> {
        ensure!(self.wwns.insert(wwn), "WWN {wwn:02x?} given twice");
        Ok(())
    }

    fn add_lun(&mut self, id: u64, bytes: Vec<u8>, origin: Option<DeviceId>) -> Result<(), String> {
        self.plant.born(DeviceId::Lun(id), origin);
        let lun = Lun {
            bytes,
            doubt: BTreeMap::new(),
            cached: self.array.write_cache(DeviceId::Lun(id)),
            registered: None,
            origin,
            splitting: false,
            generation: 1,
        };
        self.luns.insert(id, lun);
        let wwn = self.array.lun(id).ok_or("a new LUN is missing")?.wwn;
        self.new_identity(wwn)
    }

    /// Applies one operation to both, and compares.
    pub(crate) fn step(&mut self, op: &Op) -> Result<(), String> {
        self.steps += 1;
        let whole = self.steps.is_multiple_of(self.every);
        let done = self.act(op).and_then(|()| if whole { self.compare() } else { self.sync() });
        done.map_err(|what| format!("{op:?}: {what}"))
    }

    fn act(&mut self, op: &Op) -> Result<(), String> {
        match *op {
            Op::Create { blocks, thin } => {
                if self.luns.len() < MOST_LUNS {
                    let command = Command::CreateLun {
                        name: self.name(),
                        description: String::new(),
                        pool: 0,
                        blocks,
                        thin,
                    };
                    if let Some(outcome) = self.send(command, &[])? {
                        self.add_lun(outcome.id().unwrap(), vec![0; blocks as usize * 512], None)?;
                    }
                }
            }
            Op::CloneLun { pick } => {
                if let Some(source) = self.pick_lun(pick).filter(|_| self.luns.len() < MOST_LUNS) {
                    let bytes = self.luns[&source].bytes.clone();
                    if self.clone_device(DeviceId::Lun(source), Some(bytes))? {
                        self.all_durable(source);
                    }
                }
            }
            Op::CloneSnapshot { pick } => {
                if let Some(source) = self.pick_snapshot(pick).filter(|_| self.luns.len() < MOST_LUNS) {
                    self.clone_device(DeviceId::Snapshot(source), self.snapshots[&source].bytes.clone())?;
                }
            }
            Op::Expand { pick, by } => {
                if let Some(lun) = self.pick_lun(pick) {
                    let old = self.luns[&lun].bytes.len() as u64 / 512;
                    let blocks = (old + by).min(MOST_BLOCKS);
                    if self
                        .send(Command::ExpandLun { lun, blocks }, &[(blocks <= old, Refusal::MustGrow)])?
                        .is_some()
                    {
                        self.all_durable(lun);
                        let lun = self.luns.get_mut(&lun).unwrap();
                        lun.bytes.resize(blocks as usize * 512, 0);
                        lun.generation += 1;
                    }
                }
            }
            Op::DeleteLun { pick } => {
                if let Some(lun) = self.pick_lun(pick) {
                    let rules = [
                        (self.is_mapped(DeviceId::Lun(lun)), Refusal::InLunGroup),
                        (
                            self.snapshots.values().any(|snapshot| snapshot.parent == lun),
                            Refusal::HasSnapshots,
                        ),
                        (self.is_source(DeviceId::Lun(lun)), Refusal::HasClones),
                        (self.in_copy(DeviceId::Lun(lun)), Refusal::InCopy),
                    ];
                    if self.send(Command::DeleteLun { lun }, &rules)?.is_some() {
                        self.luns.remove(&lun);
                        self.drop_limit(lun)?;
                        self.plant.died(DeviceId::Lun(lun));
                    }
                }
            }
            Op::StartSplit { pick } => {
                if let Some(lun) = self.pick_lun(pick) {
                    // A split under way may end before the command arrives.
                    self.sync()?;
                    let root = self.luns[&lun].origin.is_none();
                    if self.send(Command::StartSplit { lun }, &[(root, Refusal::NotAClone)])?.is_some() {
                        if !self.luns[&lun].splitting {
                            self.all_durable(lun);
                        }
                        self.luns.get_mut(&lun).unwrap().splitting = true;
                    }
                }
            }
            Op::StopSplit { pick } => {
                if let Some(lun) = self.pick_lun(pick) {
                    self.sync()?;
                    let idle = !self.luns[&lun].splitting;
                    if self.send(Command::StopSplit { lun }, &[(idle, Refusal::NoSplit)])?.is_some() {
                        self.luns.get_mut(&lun).unwrap().splitting = false;
                    }
                }
            }
            Op::Snapshot { pick } => {
                if let Some(parent) = self.pick_lun(pick).filter(|_| self.snapshots.len() < MOST_SNAPSHOTS) {
                    let command =
                        Command::CreateSnapshot { name: self.name(), description: String::new(), parent };
                    if let Some(outcome) = self.send(command, &[])? {
                        let id = outcome.id().unwrap();
                        let bytes =
                            self.array.snapshots_born_active().then(|| self.luns[&parent].bytes.clone());
                        if bytes.is_some() {
                            self.all_durable(parent);
                        }
                        self.plant.born(DeviceId::Snapshot(id), Some(DeviceId::Lun(parent)));
                        self.snapshots.insert(id, Snapshot { parent, bytes });
                        let wwn = self.array.snapshot(id).ok_or("a new snapshot is missing")?.wwn;
                        self.new_identity(wwn)?;
                    }
                }
            }
            Op::Activate { pick } => {
                if let Some(id) = self.pick_snapshot(pick)
                    && !self.in_flux(self.snapshots[&id].parent)
                {
                    self.send(Command::ActivateSnapshots { ids: vec![id] }, &[])?;
                    self.activated(id);
                }
            }
            Op::Stop { pick } => {
                if let Some(id) = self.pick_snapshot(pick) {
                    let device = DeviceId::Snapshot(id);
                    let rules = [
                        (self.is_mapped(device), Refusal::InLunGroup),
                        (self.is_source(device), Refusal::HasClones),
                        (self.in_copy(device), Refusal::InCopy),
                    ];
                    if self.send(Command::StopSnapshot { snapshot: id }, &rules)?.is_some() {
                        self.snapshots.get_mut(&id).unwrap().bytes = None;
                    }
                }
            }
            Op::DeleteSnapshot { pick } => {
                if let Some(id) = self.pick_snapshot(pick) {
                    let device = DeviceId::Snapshot(id);
                    let rules = [
                        (self.is_mapped(device), Refusal::InLunGroup),
                        (self.is_source(device), Refusal::HasClones),
                        (self.in_copy(device), Refusal::InCopy),
                        (self.snapshots[&id].bytes.is_some(), Refusal::Activated),
                    ];
                    if self.send(Command::DeleteSnapshot { snapshot: id }, &rules)?.is_some() {
                        self.snapshots.remove(&id);
                        self.plant.died(device);
                    }
                }
            }
            Op::Write { pick, lba, blocks, fill } => {
                let data: Vec<u8> =
                    (0..blocks).flat_map(|block| [fill.wrapping_add(block as u8); 512]).collect();
                self.change(pick, lba, blocks, data, |array, now, id, data| array.write(now, id, lba, data))?;
            }
            Op::Unmap { pick, lba, blocks } => {
                let zeros = vec![0; blocks as usize * 512];
                self.change(pick, lba, blocks, zeros, |array, now, id, _| array.unmap(now, id, lba, blocks))?;
            }
            Op::Copy { from, to, pair } => self.copy(from, to, pair)?,
            Op::Map { pick, host } => {
                if let Some(object) = self.pick_device(pick) {
                    let inactive =
                        matches!(object, DeviceId::Snapshot(id) if self.snapshots[&id].bytes.is_none());
                    let group = self.hosts[host].lun_group;
                    let rules = [
                        (inactive, Refusal::NotActivated),
                        (self.hosts[host].numbers.contains_key(&object), Refusal::AlreadyInGroup),
                    ];
                    if self.send(Command::AddToLunGroup { group, object }, &rules)?.is_some() {
                        let numbers = &mut self.hosts[host].numbers;
                        let free =
                            (1..).find(|number| !numbers.values().any(|taken| taken == number)).unwrap();
                        numbers.insert(object, free);
                    }
                }
            }
            Op::Unmask { pick, host } => {
                if let Some(object) = self.pick_device(pick) {
                    let host = &self.hosts[host];
                    let (group, missing) = (host.lun_group, !host.numbers.contains_key(&object));
                    let hit = self.send(
                        Command::RemoveFromLunGroup { group, object },
                        &[(missing, Refusal::NotInGroup)],
                    )?;
                    if hit.is_some() {
                        self.hosts.iter_mut().filter(|host| host.lun_group == group).for_each(|host| {
                            host.numbers.remove(&object);
                        });
                    }
                }
            }
            Op::Tick { ms } => {
                self.now += Duration::from_millis(ms);
                self.array.advance(self.now);
                self.plant.advance(self.now);
            }
            Op::Intrude { .. } | Op::SwitchPortal { .. } => self.act_on_plane(op)?,
            Op::StartCopy { .. }
            | Op::AgainCopy { .. }
            | Op::StopCopy { .. }
            | Op::EndCopy { .. }
            | Op::FaultJob { .. }
            | Op::ActivateMany { .. }
            | Op::Limit { .. } => self.act_on_jobs(op)?,
            _ => self.act_on_medium(op)?,
        }
        Ok(())
    }

    /// A deleted LUN leaves its policy, which is taken away then.
    fn drop_limit(&mut self, lun: u64) -> Result<(), String> {
        if let Some(qos) = self.limited.remove(&lun) {
            self.send(Command::ActivateQos { qos, active: false }, &[])?;
            self.send(Command::DeleteQos { qos }, &[])?;
        }
        Ok(())
    }

    pub(crate) fn all_durable(&mut self, lun: u64) {
        self.luns.get_mut(&lun).unwrap().doubt.clear();
    }

    fn clone_device(&mut self, source: DeviceId, bytes: Option<Vec<u8>>) -> Result<bool, String> {
        let command = Command::CloneLun { name: self.name(), source, description: String::new() };
        if let Some(outcome) = self.send(command, &[(bytes.is_none(), Refusal::NotActivated)])? {
            self.add_lun(outcome.id().unwrap(), bytes.unwrap(), Some(source))?;
            return Ok(true);
        }
        Ok(false)
    }

    /// A write or unmap: within the size it succeeds, or finds too little space and changes nothing.
    pub(crate) fn change(
        &mut self,
        pick: usize,
        lba: u64,
        blocks: u64,
        data: Vec<u8>,
        act: impl FnOnce(&mut Array, Duration, DeviceId, &[u8]) -> Result<(), IoError>,
    ) -> Result<(), String> {
        let Some(id) = self.pick_lun(pick) else { return Ok(()) };
        let lun = self.luns.get_mut(&id).unwrap();
        let range = lba as usize * 512..(lba + blocks) as usize * 512;
        let fits = range.end <= lun.bytes.len();
        let free = self.array.pool(0).unwrap().free_blocks();
        match act(&mut self.array, self.now, DeviceId::Lun(id), &data) {
            Ok(()) if fits => lun.overwrite(lba, &data),
            Err(IoError::OutOfRange) if !fits => {}
            Err(IoError::NoSpace) if fits && free / 128 < (lba + blocks).div_ceil(128) - lba / 128 => {}
            other => {
                return Err(format!(
                    "{other:?} for {lba}+{blocks} of {} bytes, {free} blocks free",
                    lun.bytes.len()
                ));
            }
        }
        Ok(())
    }

    /// A full copy, from its creation to the removal of the task, some time apart.
    fn copy(&mut self, from: usize, to: usize, pair: bool) -> Result<(), String> {
        let (Some(source), Some(target)) = (self.pick_device(from), self.pick_lun(to)) else { return Ok(()) };
        let source_in_flux = matches!(source, DeviceId::Lun(id) if self.in_flux(id));
        if !self.roomy || source_in_flux || !self.plant.up.contains(&true) {
            return Ok(());
        }
        self.faults.disarm();
        let bytes = match source {
            DeviceId::Lun(id) => Some(self.luns[&id].bytes.clone()),
            DeviceId::Snapshot(id) => self.snapshots[&id].bytes.clone(),
        };
        let small = bytes.as_ref().is_some_and(|bytes| bytes.len() > self.luns[&target].bytes.len());
        let rules = [
            (bytes.is_none(), Refusal::NotActivated),
            (small || source == DeviceId::Lun(target), Refusal::BadCopyTarget),
        ];
        let command = match pair {
            true => Command::CreateClonePair { source, target, rate: 2 },
            false => Command::CreateLunCopy { name: self.name(), source, target, speed: 2 },
        };
        let Some(outcome) = self.send(command, &rules)? else { return Ok(()) };
        let (id, bytes) = (outcome.id().unwrap(), bytes.unwrap());
        self.send(
            if pair { Command::SyncClonePair { pair: id } } else { Command::StartLunCopy { copy: id } },
            &[],
        )?;
        self.now += Duration::from_millis(20);
        self.array.advance(self.now);
        self.plant.advance(self.now);
        if let DeviceId::Lun(source) = source {
            self.all_durable(source);
        }
        let target = self.luns.get_mut(&target).unwrap();
        target.bytes[..bytes.len()].copy_from_slice(&bytes);
        target.doubt.retain(|block, _| *block >= bytes.len() as u64 / 512);
        self.send(
            if pair { Command::DeleteClonePair { pair: id } } else { Command::DeleteLunCopy { copy: id } },
            &[],
        )?;
        Ok(())
    }

    /// Takes over which splits have ended; only one that was started may have.
    pub(crate) fn sync(&mut self) -> Result<(), String> {
        self.array.advance(self.now);
        self.sync_copies()?;
        let may_fail = !self.roomy || std::mem::take(&mut self.split_failed);
        for (id, model) in &mut self.luns {
            let lun = self.array.lun(*id).ok_or_else(|| format!("LUN {id} is missing"))?;
            let source = lun.origin.map(|origin| origin.source);
            match lun.split {
                SplitStatus::None if model.splitting => {
                    ensure!(source.is_none(), "LUN {id}: the split ended and left the link");
                    (model.splitting, model.origin) = (false, None);
                }
                SplitStatus::Failed if may_fail => model.splitting = false,
                SplitStatus::Failed if !model.splitting => {}
                status => {
                    let running = status == SplitStatus::Running;
                    ensure!(
                        running == model.splitting,
                        "LUN {id}: split {status:?}, model says {}",
                        model.splitting
                    );
                }
            }
            ensure!(source == model.origin, "LUN {id}: origin {source:?}, model says {:?}", model.origin);
        }
        Ok(())
    }

    fn depth(&self, lun: u64) -> u32 {
        match self.luns[&lun].origin {
            None => 0,
            Some(DeviceId::Lun(parent)) => 1 + self.depth(parent),
            Some(DeviceId::Snapshot(parent)) => 1 + self.depth(self.snapshots[&parent].parent),
        }
    }

    fn compare_content(&mut self, id: DeviceId, expected: &[u8]) -> Result<(), String> {
        let geometry = self.array.geometry(id).ok_or("a device is missing")?;
        let blocks = expected.len() as u64 / 512;
        ensure!(geometry.blocks == blocks, "{id:?}: {} blocks, model says {blocks}", geometry.blocks);
        let mut at = 0;
        for slice in
            self.array.read(self.now, id, 0, blocks as u32).map_err(|error| format!("{id:?}: {error}"))?
        {
            let want = &expected[at..at + slice.len()];
            if slice != want {
                let byte = at + slice.iter().zip(want).position(|(got, want)| got != want).unwrap();
                return Err(format!("{id:?}: byte {byte} (block {}) reads wrong", byte / 512));
            }
            at += slice.len();
        }
        ensure!(at == expected.len(), "{id:?}: read gave {at} bytes");
        let mut lba = 0;
        while lba < blocks {
            let (run, state) = self.array.lba_status(id, lba).map_err(|error| format!("{id:?}: {error}"))?;
            ensure!(run > 0 && lba + run <= blocks, "{id:?}: run of {run} blocks at {lba}");
            let bytes = &expected[lba as usize * 512..(lba + run) as usize * 512];
            let zero = bytes.iter().all(|byte| *byte == 0);
            ensure!(state == Mapped::Mapped || zero, "{id:?}: data at {lba}+{run} is called deallocated");
            lba += run;
        }
        Ok(())
    }

    fn compare(&mut self) -> Result<(), String> {
        self.sync()?;
        for (id, lun) in self.luns.clone() {
            if !self.in_flux(id) {
                self.compare_content(DeviceId::Lun(id), &lun.bytes)?;
            }
            ensure!(
                self.array.lun(id).unwrap().size_generation == lun.generation,
                "LUN {id}: size generation is wrong"
            );
            let depth = self.array.clone_depth(id);
            ensure!(depth == self.depth(id), "LUN {id}: depth {depth}, model says {}", self.depth(id));
        }
        self.compare_plant()?;
        self.compare_pool()?;
        self.compare_portals()?;
        self.compare_limits()?;
        for (id, snapshot) in self.snapshots.clone() {
            match snapshot.bytes {
                Some(bytes) => self.compare_content(DeviceId::Snapshot(id), &bytes)?,
                None => {
                    let read = self.array.read(self.now, DeviceId::Snapshot(id), 0, 1);
                    ensure!(read == Err(IoError::Offline), "inactive snapshot {id} gave {read:?}");
                }
            }
        }
        for (n, host) in self.hosts.iter_mut().enumerate() {
            let mut expected: Vec<_> =
                host.numbers.iter().map(|(object, number)| (*number, *object)).collect();
            expected.sort();
            let seen = self.array.view(&host.iqn);
            ensure!(seen == expected, "host {n} sees {seen:?}, model says {expected:?}");
            for number in 0..12 {
                let want = expected.iter().find(|(taken, _)| *taken == number).map(|(_, object)| *object);
                ensure!(
                    self.array.resolve(&host.iqn, number) == want,
                    "host {n}: LUN {number} resolves wrong"
                );
            }
            let generation = self.array.view_generation(&host.iqn);
            let (same_view, same) = (seen == host.seen.0, generation == host.seen.1);
            // Within several steps a view may change and change back.
            let fine = if self.every == 1 { same_view == same } else { same_view || !same };
            ensure!(fine, "host {n}: view changed {}, generation changed {}", !same_view, !same);
            host.seen = (seen, generation);
        }
        ensure!(self.array.view("iqn.2026-01.example:stranger").is_empty(), "a stranger sees LUNs");
        let faults = self.array.audit();
        ensure!(faults.is_empty(), "audit: {faults:?}");
        Ok(())
    }

    /// Lets all work end and takes everything down; nothing may be left.
    pub(crate) fn finish(mut self) -> Result<(), String> {
        self.faults.disarm();
        for controller in 0..2 {
            self.step(&Op::Restore { controller })?;
        }
        self.step(&Op::Tick { ms: 60_000 })?;
        for _ in 0..self.copies.len() {
            self.step(&Op::EndCopy { pick: 0 })?;
        }
        ensure!(!self.roomy || self.luns.values().all(|lun| !lun.splitting), "a split never ends");
        for host in 0..self.hosts.len() {
            for pick in 0..self.luns.len() + self.snapshots.len() {
                self.step(&Op::Unmask { pick, host })?;
            }
        }
        for _ in 0..(self.luns.len() + self.snapshots.len()) * 2 {
            for pick in 0..self.snapshots.len() {
                self.step(&Op::Stop { pick })?;
                self.step(&Op::DeleteSnapshot { pick })?;
            }
            for pick in 0..self.luns.len() {
                self.step(&Op::DeleteLun { pick })?;
            }
        }
        ensure!(self.luns.is_empty() && self.snapshots.is_empty(), "the take-down does not get through");
        let census = self.array.census();
        let left = (census.physical_extents, census.internal_layers, census.leaked_layers, census.jobs);
        ensure!(left == (0, 0, 0, 0), "left over: {census:?}");
        ensure!(self.array.pool(0).unwrap().provisioned_blocks() == 0, "provisioned sum is not 0");
        Ok(())
    }
}

impl Lun {
    /// Changes the newest content, and what may be left of the old one.
    pub(crate) fn overwrite(&mut self, lba: u64, data: &[u8]) {
        for (block, new) in (lba..).zip(data.chunks_exact(512)) {
            let old = &mut self.bytes[block as usize * 512..][..512];
            if self.cached {
                self.doubt.entry(block).or_default().insert(old.to_vec());
            }
            old.copy_from_slice(new);
        }
    }

    /// A range is durable.
    pub(crate) fn durable(&mut self, lba: u64, blocks: u64) {
        self.doubt.retain(|block, _| !(lba..lba + blocks).contains(block));
    }
}

/// Runs a whole sequence; the error names the first divergence. `modes`: snapshots are born active; caches are on.
pub(crate) fn run(ops: &[Op], defects: Defects, modes: [bool; 2], pool_extents: u64) -> Result<(), String> {
    run_at_pace(ops, defects, modes, pool_extents, 1)
}

/// As [`run`], comparing everything only after so many steps.
pub(crate) fn run_at_pace(
    ops: &[Op],
    defects: Defects,
    modes: [bool; 2],
    pool_extents: u64,
    every: usize,
) -> Result<(), String> {
    let failback = [None, Some(Duration::ZERO), Some(Duration::from_millis(30))][ops.len() % 3];
    let mut bench = Bench::new(defects, modes, pool_extents, failback);
    bench.every = every;
    for op in ops {
        bench.step(op)?;
    }
    bench.compare()?;
    bench.every = 1;
    bench.finish()
}
