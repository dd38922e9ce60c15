//! Operations, an array in memory that does the same, and what of an array can be seen.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use sanbench_array::{
    Array, ArrayConfig, Chap, ChapCredentials, ChapUpdate, Command, DeviceId, GroupRef, NexusId, Secret,
};

/// Operations with picks instead of ids: a pick counts round the objects that there are.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Create { blocks: u64, thin: bool, pool: u64 },
    Clone { pick: usize },
    Snapshot { pick: usize },
    Delete { pick: usize },
    Expand { pick: usize, by: u64 },
    Split { pick: usize },
    Copy { from: usize, to: usize, pair: bool },
    Migrate { from: usize, to: usize },
    Rollback { pick: usize },
    Host { n: u64 },
    DeleteHost { n: u64 },
    Map { pick: usize },
    Unmap { pick: usize },
    Initiator { n: u64, chap: bool },
    Export { pick: usize },
    Register { pick: usize, persist: bool },
    Controller { up: bool },
    Write { pick: usize, lba: u64, blocks: u64, fill: u8 },
    Deallocate { pick: usize, lba: u64, blocks: u64 },
    Blocks { from: usize, to: usize, lba: u64, blocks: u64 },
    Sanitize { pick: usize, fill: u8 },
    Cache { pick: usize, on: bool },
    Tick { ms: u64 },
}

pub(crate) fn ops(most: usize) -> impl Strategy<Value = Vec<Op>> {
    let pick = || 0..8_usize;
    let lba = || prop_oneof![0..380_u64, (0..48_u64).prop_map(|page| page * 8)];
    let blocks = || prop_oneof![4 => 1..20_u64, 2 => Just(8), 2 => Just(128), 1 => 1..300_u64];
    let op = prop_oneof![
        4 => (1..400_u64, any::<bool>(), 0..2_u64).prop_map(|(blocks, thin, pool)| Op::Create { blocks, thin, pool }),
        2 => pick().prop_map(|pick| Op::Clone { pick }),
        3 => pick().prop_map(|pick| Op::Snapshot { pick }),
        3 => pick().prop_map(|pick| Op::Delete { pick }),
        1 => (pick(), 1..200_u64).prop_map(|(pick, by)| Op::Expand { pick, by }),
        1 => pick().prop_map(|pick| Op::Split { pick }),
        1 => (pick(), pick(), any::<bool>()).prop_map(|(from, to, pair)| Op::Copy { from, to, pair }),
        1 => (pick(), pick()).prop_map(|(from, to)| Op::Migrate { from, to }),
        1 => pick().prop_map(|pick| Op::Rollback { pick }),
        1 => (0..4_u64).prop_map(|n| Op::Host { n }),
        1 => (0..4_u64).prop_map(|n| Op::DeleteHost { n }),
        1 => pick().prop_map(|pick| Op::Map { pick }),
        1 => pick().prop_map(|pick| Op::Unmap { pick }),
        1 => (0..4_u64, any::<bool>()).prop_map(|(n, chap)| Op::Initiator { n, chap }),
        1 => pick().prop_map(|pick| Op::Export { pick }),
        1 => (pick(), any::<bool>()).prop_map(|(pick, persist)| Op::Register { pick, persist }),
        1 => any::<bool>().prop_map(|up| Op::Controller { up }),
        12 => (pick(), lba(), blocks(), any::<u8>()).prop_map(|(pick, lba, blocks, fill)| Op::Write { pick, lba, blocks, fill }),
        3 => (pick(), lba(), blocks()).prop_map(|(pick, lba, blocks)| Op::Deallocate { pick, lba, blocks }),
        2 => (pick(), pick(), lba(), blocks()).prop_map(|(from, to, lba, blocks)| Op::Blocks { from, to, lba, blocks }),
        1 => (pick(), any::<u8>()).prop_map(|(pick, fill)| Op::Sanitize { pick, fill }),
        1 => (pick(), any::<bool>()).prop_map(|(pick, on)| Op::Cache { pick, on }),
        3 => (1..60_u64).prop_map(|ms| Op::Tick { ms }),
    ];
    prop::collection::vec(op, 1..most)
}

fn nexus() -> NexusId {
    NexusId { initiator: "iqn.2026-01.example:host 0".to_owned(), isid: [1, 2, 3, 4, 5, 6], port: 1 }
}

/// What lies outside of the array: names given so far, and the time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Outside {
    names: u64,
    now: Duration,
    /// The array's own time starts anew with each of its processes.
    since: Duration,
}

fn devices(array: &Array) -> Vec<DeviceId> {
    let luns = array.luns().map(|lun| DeviceId::Lun(lun.id));
    luns.chain(array.snapshots().map(|snapshot| DeviceId::Snapshot(snapshot.id))).collect()
}

/// Does an operation; answers what the array said.
pub(crate) fn apply(array: &mut Array, outside: &mut Outside, op: &Op) -> String {
    outside.names += 1;
    if let Op::Tick { ms } = op {
        outside.now += Duration::from_millis(*ms);
    }
    let (name, now) = (format!("n{}", outside.names), outside.now - outside.since);
    let all = devices(array);
    let device = |pick: usize| all.get(pick % all.len().max(1)).copied();
    let lun = |pick: usize| device(pick).map_or(0, DeviceId::number);
    let description = String::new;
    let mut send = |command: Command| format!("{:?}", array.apply(now, command));
    match *op {
        Op::Create { blocks, thin, pool } => match all.len() < 8 {
            true => send(Command::CreateLun { name, description: description(), pool, blocks, thin }),
            false => String::new(),
        },
        Op::Clone { pick } => match device(pick).filter(|_| all.len() < 8) {
            Some(source) => send(Command::CloneLun { name, source, description: description() }),
            None => String::new(),
        },
        Op::Snapshot { pick } => match all.len() < 8 {
            true => send(Command::CreateSnapshot { name, description: description(), parent: lun(pick) }),
            false => String::new(),
        },
        Op::Delete { pick } => match device(pick) {
            Some(DeviceId::Snapshot(snapshot)) => {
                send(Command::StopSnapshot { snapshot }) + &send(Command::DeleteSnapshot { snapshot })
            }
            _ => send(Command::DeleteLun { lun: lun(pick) }),
        },
        Op::Expand { pick, by } => {
            let blocks = array.lun(lun(pick)).map_or(0, |lun| lun.blocks()) + by;
            format!("{:?}", array.apply(now, Command::ExpandLun { lun: lun(pick), blocks: blocks.min(900) }))
        }
        Op::Split { pick } => send(Command::StartSplit { lun: lun(pick) }),
        Op::Copy { from, to, pair } => {
            let Some(source) = device(from) else { return String::new() };
            let made = match pair {
                true => Command::CreateClonePair { source, target: lun(to), rate: 2 },
                false => Command::CreateLunCopy { name, source, target: lun(to), speed: 2 },
            };
            match array.apply(now, made) {
                Ok(outcome) => {
                    let id = outcome.id().unwrap_or(0);
                    let start = if pair {
                        Command::SyncClonePair { pair: id }
                    } else {
                        Command::StartLunCopy { copy: id }
                    };
                    format!("{id} {:?}", array.apply(now, start))
                }
                Err(refusal) => format!("{refusal:?}"),
            }
        }
        Op::Migrate { from, to } => {
            send(Command::CreateMigration { lun: lun(from), target: lun(to), speed: 2 })
        }
        Op::Rollback { pick } => send(Command::RollbackSnapshot { snapshot: lun(pick), speed: 2 }),
        Op::Host { n } => send(Command::CreateHost { name: format!("host{n}"), description: description() }),
        Op::DeleteHost { n } => match array.host_by_name(&format!("host{n}")).map(|host| host.id) {
            Some(host) => format!("{:?}", array.apply(now, Command::DeleteHost { host })),
            None => String::new(),
        },
        Op::Map { pick } => {
            // One view with all hosts, made at the first use.
            let mut make = |command: Command| array.apply(now, command).ok().and_then(|outcome| outcome.id());
            let host_group = make(Command::CreateHostGroup { name: "hg".into(), description: description() });
            let lun_group = make(Command::CreateLunGroup { name: "lg".into(), description: description() });
            let view = make(Command::CreateView { name: "view".into(), description: description() });
            if let (Some(hosts), Some(luns), Some(view)) = (host_group, lun_group, view) {
                make(Command::AddToView { view, group: GroupRef::Host(hosts) });
                make(Command::AddToView { view, group: GroupRef::Lun(luns) });
            }
            let hosts: Vec<u64> = array.hosts().map(|host| host.id).collect();
            let group = array.host_group_by_name("hg").map_or(0, |group| group.id);
            for host in hosts {
                // Those that are in it stay in it.
                let _ = array.apply(now, Command::AddHostToGroup { group, host });
            }
            let group = array.lun_group_by_name("lg").map_or(0, |group| group.id);
            match device(pick) {
                Some(object) => format!("{:?}", array.apply(now, Command::AddToLunGroup { group, object })),
                None => String::new(),
            }
        }
        Op::Unmap { pick } => {
            let group = array.lun_group_by_name("lg").map_or(0, |group| group.id);
            match device(pick) {
                Some(object) => {
                    format!("{:?}", array.apply(now, Command::RemoveFromLunGroup { group, object }))
                }
                None => String::new(),
            }
        }
        Op::Initiator { n, chap } => {
            let iqn = format!("iqn.2026-01.example:host{n}");
            let side = |name: &str| ChapCredentials {
                name: name.to_owned(),
                secret: Secret::new(vec![n as u8, 0xff, 7]),
            };
            let chap = match chap {
                true => ChapUpdate::Enable(Chap { initiator: side("in"), mutual: Some(side("out")) }),
                false => ChapUpdate::Disable,
            };
            send(Command::AddInitiator { iqn: iqn.clone() })
                + &send(Command::UpdateInitiator { iqn, chap, multipath: Some(1) })
        }
        Op::Export { pick } => send(Command::OpenExport { lun: lun(pick) }),
        Op::Register { pick, persist } => {
            let Some(device) = device(pick) else { return String::new() };
            array.promise();
            match array.reservations_mut(device) {
                Some(state) => format!("{:?}", state.register(&nexus(), 0, 0xabcd, persist, true)),
                None => String::new(),
            }
        }
        Op::Controller { up: true } => format!("{:?}", array.restore_controller(now, 1)),
        Op::Controller { up: false } => format!("{:?}", array.fail_controller(now, 1)),
        Op::Write { pick, lba, blocks, fill } => {
            let Some(device) = device(pick) else { return String::new() };
            let data: Vec<u8> = (0..blocks).flat_map(|block| [fill.wrapping_add(block as u8); 512]).collect();
            format!("{:?}", array.write(now, device, lba, &data))
        }
        Op::Deallocate { pick, lba, blocks } => match device(pick) {
            Some(device) => format!("{:?}", array.unmap(now, device, lba, blocks)),
            None => String::new(),
        },
        Op::Blocks { from, to, lba, blocks } => match (device(from), device(to)) {
            (Some(from), Some(to)) => format!("{:?}", array.copy_blocks(now, from, lba, to, lba, blocks)),
            _ => String::new(),
        },
        Op::Sanitize { pick, fill } => match device(pick) {
            Some(device) => format!("{:?}", array.sanitize(now, device, Some(&[fill]))),
            None => String::new(),
        },
        Op::Cache { pick, on } => match device(pick) {
            Some(device) => format!("{:?}", array.set_write_cache(now, device, on)),
            None => String::new(),
        },
        Op::Tick { .. } => {
            array.advance(now);
            String::new()
        }
    }
}

/// Everything of an array that can be seen, line by line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View(BTreeMap<String, String>);

impl View {
    pub(crate) fn matches(&self, other: &View) -> bool {
        self == other
    }

    /// The first line that differs.
    pub(crate) fn difference(&self, other: &View) -> String {
        let keys: std::collections::BTreeSet<&String> = self.0.keys().chain(other.0.keys()).collect();
        for key in keys {
            let (was, is) = (self.0.get(key), other.0.get(key));
            if was != is {
                let short =
                    |line: Option<&String>| line.map(|line| line.chars().take(300).collect::<String>());
                return format!("{key}: was {:?}, came back as {:?}", short(was), short(is));
            }
        }
        "no difference".to_owned()
    }
}

pub(crate) fn look(array: &mut Array) -> View {
    let mut out = BTreeMap::new();
    let mut put = |key: String, value: String| drop(out.insert(key, value));
    put("last id".to_owned(), array.last_id().to_string());
    for device in devices(array) {
        let info = array.device(device);
        let blocks = info.as_ref().map_or(0, |info| info.blocks);
        put(format!("{device:?} info"), format!("{info:?} {:?}", array.write_cache(device)));
        let kept = array.reservations(device).filter(|state| state.persists());
        let kept: Vec<_> = kept.into_iter().flat_map(|state| state.registrants()).collect();
        put(format!("{device:?} registered"), format!("{kept:?}"));
        put(
            format!("{device:?} groups"),
            format!("{:?} {:?}", array.target_port_groups(device), array.home(device)),
        );
        let read = array.read(Duration::ZERO, device, 0, blocks as u32);
        let shown = match read {
            // Runs of equal blocks, so that differences can be read.
            Ok(slices) => {
                let bytes = slices.concat();
                let mut runs: Vec<(u64, Vec<u8>)> = Vec::new();
                for block in bytes.chunks_exact(512) {
                    let mut kinds = block.to_vec();
                    kinds.dedup();
                    match runs.last_mut() {
                        Some((count, last)) if *last == kinds => *count += 1,
                        _ => runs.push((1, kinds)),
                    }
                }
                format!("{runs:?}")
            }
            Err(error) => error.to_string(),
        };
        put(format!("{device:?} content"), shown);
    }
    for lun in array.luns() {
        let facts = (
            &lun.description,
            lun.pool,
            lun.thin,
            lun.size_generation,
            lun.origin,
            lun.split,
            lun.split_progress,
        );
        put(format!("lun {}", lun.id), format!("{facts:?} {:?} {}", lun.groups, lun.allocated_blocks()));
    }
    for snapshot in array.snapshots() {
        put(format!("snapshot {}", snapshot.id), format!("{:?} {:?}", snapshot.activated, snapshot.rollback));
    }
    array.lun_copies().for_each(|copy| put(format!("copy {}", copy.id), format!("{copy:?}")));
    array.clone_pairs().for_each(|pair| put(format!("pair {}", pair.id), format!("{pair:?}")));
    array.migrations().for_each(|task| put(format!("migration {}", task.id), format!("{task:?}")));
    array.hosts().for_each(|host| put(format!("host {}", host.id), format!("{host:?}")));
    array.host_groups().for_each(|group| put(format!("host group {}", group.id), format!("{group:?}")));
    array.lun_groups().for_each(|group| put(format!("lun group {}", group.id), format!("{group:?}")));
    array.views().for_each(|view| put(format!("view {}", view.id), format!("{view:?}")));
    for initiator in array.initiators() {
        let secret = initiator.chap_secret().map(|secret| secret.expose().to_vec());
        put(
            format!("initiator {}", initiator.iqn),
            format!("{initiator:?} {secret:?} {:?}", array.view(&initiator.iqn)),
        );
    }
    for pool in array.pools() {
        let sums = (pool.used_blocks(), pool.provisioned_blocks(), pool.capacity_blocks());
        put(format!("pool {}", pool.id), format!("{sums:?}"));
    }
    put("census".to_owned(), format!("{:?}", array.census()));
    put("controllers".to_owned(), format!("{:?}", array.controllers()));
    put("exports".to_owned(), format!("{:?}", array.exports().collect::<Vec<_>>()));
    put("audit".to_owned(), format!("{:?}", array.audit()));
    View(out)
}

/// The array in memory. It goes back by doing everything again up to a point.
pub(crate) struct Twin {
    config: ArrayConfig,
    array: Array,
    outside: Outside,
    done: Vec<Step>,
    kept: usize,
}

#[derive(Debug, Clone)]
enum Step {
    Op(Op, Outside),
    PowerLoss,
}

impl Twin {
    pub(crate) fn new(config: ArrayConfig) -> Twin {
        Twin {
            array: Array::new(config.clone()),
            config,
            outside: Outside::default(),
            done: Vec::new(),
            kept: 0,
        }
    }

    /// What lies outside, for the other array to do the same.
    pub(crate) fn clone_names(&self) -> Outside {
        self.outside
    }

    pub(crate) fn apply(&mut self, op: &Op) -> String {
        self.done.push(Step::Op(op.clone(), self.outside));
        // Its own process has never ended: it knows the whole time.
        let mut own = Outside { since: Duration::ZERO, ..self.outside };
        let answer = apply(&mut self.array, &mut own, op);
        self.outside = Outside { since: self.outside.since, ..own };
        answer
    }

    /// Everything up to here is durable.
    pub(crate) fn remember(&mut self) {
        self.kept = self.done.len();
    }

    /// Back to what was remembered.
    pub(crate) fn go_back(&mut self) {
        let steps: Vec<Step> = self.done.drain(..).take(self.kept).collect();
        let names = self.outside.names;
        (self.array, self.outside) = (Array::new(self.config.clone()), Outside::default());
        for step in steps {
            match step {
                Step::Op(op, outside) => {
                    self.outside = outside;
                    self.apply(&op);
                }
                Step::PowerLoss => self.lose_power(),
            }
        }
        self.outside.names = self.outside.names.max(names);
        self.kept = self.done.len();
    }

    /// The process is another one now, whose time begins where the array's stood at `clock`; volatile reservations are gone.
    pub(crate) fn after_power_loss(&mut self, clock: Duration) {
        self.lose_power();
        self.outside.since = clock;
        self.kept = self.done.len();
    }

    fn lose_power(&mut self) {
        self.done.push(Step::PowerLoss);
        // What is volatile in it was committed, so that it keeps all of it.
        let luns: Vec<u64> = self.array.luns().map(|lun| lun.id).collect();
        for lun in luns {
            let blocks = self.array.lun(lun).map_or(0, |lun| lun.blocks());
            let _ = self.array.flush(self.outside.now, DeviceId::Lun(lun), 0, blocks);
        }
        self.array.power_loss(self.outside.now, &mut |_| 0);
    }

    pub(crate) fn look(&mut self) -> View {
        look(&mut self.array)
    }
}
