//! Array, target, host and workload, the same on simulated and on real sockets.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sanbench_api::{AccessMode, BlockDevice, ConnectionInfo, Connector, TargetPath, VolumeId, Wwn};
use sanbench_array::{
    Array, ArrayConfig, ArrayHandle, Command, DeviceId, GroupRef, PoolConfig, PortalConfig,
};
use sanbench_initiator::{HostConfig, HostConnector};
use sanbench_target::{Target, TargetConfig};
use sanbench_world::{Dice, Env};

use super::model::{Model, Wrong, fill};

pub const BLOCKS: u64 = 2048;
pub const HOST_IQN: &str = "iqn.2026-01.org.example:host";
/// Longest that one operation may take: the replacement time-out, then one more command on the path that came back.
pub const LONGEST_OPERATION: Duration = Duration::from_secs(200);

/// An array with one volume for one host.
pub fn make_array(portals: &[SocketAddr], write_cache: bool) -> (ArrayHandle, DeviceId) {
    make_array_of(array_config(portals, write_cache))
}

/// What an array at these portals is made of.
pub fn array_config(portals: &[SocketAddr], write_cache: bool) -> ArrayConfig {
    ArrayConfig {
        pools: vec![PoolConfig::new("pool0", 1 << 20)],
        portals: (0u8..)
            .zip(portals)
            .map(|(n, address)| PortalConfig {
                address: *address,
                port_no: 20_200 + u32::from(n),
                tpgt: u16::from(n) + 1,
                controller: n % 2,
            })
            .collect(),
        write_cache,
        ..ArrayConfig::default()
    }
}

/// An array with one volume for one host, made of that.
pub fn make_array_of(config: ArrayConfig) -> (ArrayHandle, DeviceId) {
    let mut array = Array::new(config);
    let mut apply = |command| array.apply(Duration::ZERO, command).unwrap().id().unwrap_or(0);
    let named = |name: &str| (name.to_owned(), String::new());
    let (name, description) = named("disk");
    let lun = apply(Command::CreateLun { name, description, pool: 0, blocks: BLOCKS, thin: true });
    let (name, description) = named("host");
    let host = apply(Command::CreateHost { name, description });
    let (name, description) = named("hosts");
    let hosts = apply(Command::CreateHostGroup { name, description });
    apply(Command::AddHostToGroup { group: hosts, host });
    let (name, description) = named("luns");
    let luns = apply(Command::CreateLunGroup { name, description });
    let (name, description) = named("view");
    let view = apply(Command::CreateView { name, description });
    apply(Command::AddToView { view, group: GroupRef::Host(hosts) });
    apply(Command::AddToView { view, group: GroupRef::Lun(luns) });
    apply(Command::AddInitiator { iqn: HOST_IQN.into() });
    apply(Command::BindInitiator { iqn: HOST_IQN.into(), host });
    apply(Command::AddToLunGroup { group: luns, object: DeviceId::Lun(lun) });
    (ArrayHandle::new(array), DeviceId::Lun(lun))
}

/// Serves the array on a node that has just come up.
/// Initiators are pinged every `ping`, and have as long again to answer: lost ones are to be noticed before the host's
/// `fence_after`.
pub async fn serve(env: &Env, array: &ArrayHandle, portals: &[SocketAddr], ping: Duration) -> Target {
    let mut listeners = Vec::new();
    for portal in portals {
        listeners.push(env.listen(*portal).await.unwrap());
    }
    let config = TargetConfig { ping_interval: ping, ping_timeout: ping, ..TargetConfig::default() };
    let target = Target::new(array.clone(), config);
    // The tasks end with their node.
    drop(target.spawn(env, listeners));
    target
}

pub fn host_config(ip: IpAddr) -> HostConfig {
    HostConfig { multipath: true, enforce_multipath: true, ..HostConfig::new("host", HOST_IQN, ip) }
}

pub fn info(array: &ArrayHandle, device: DeviceId, portals: &[SocketAddr]) -> ConnectionInfo {
    let array = array.lock();
    let lun = array.view(HOST_IQN).into_iter().find(|(_, d)| *d == device).unwrap().0;
    ConnectionInfo {
        driver_volume_type: "iscsi".into(),
        volume_id: VolumeId::from_bytes([7; 16]),
        paths: portals
            .iter()
            .map(|portal| TargetPath { portal: *portal, iqn: array.target_iqn().into(), lun })
            .collect(),
        auth: None,
        wwn: Some(Wwn(array.device(device).unwrap().wwn)),
        access_mode: AccessMode::ReadWrite,
        discard: true,
        multipath: true,
        enforce_multipath: true,
    }
}

/// What workers share.
pub struct Work {
    pub env: Env,
    pub device: Arc<dyn BlockDevice>,
    model: Mutex<Model>,
    stop: AtomicBool,
    wrong: Mutex<Option<String>>,
    pub done: AtomicU64,
    pub failed: AtomicU64,
}

impl Work {
    pub fn new(env: Env, device: Arc<dyn BlockDevice>) -> Arc<Work> {
        Arc::new(Work {
            env,
            device,
            model: Mutex::new(Model::new(BLOCKS)),
            stop: AtomicBool::new(false),
            wrong: Mutex::new(None),
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        })
    }

    pub fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap()
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::SeqCst) || self.wrong.lock().unwrap().is_some()
    }

    /// The first thing that was wrong.
    pub fn verdict(&self) -> Result<(), String> {
        self.wrong.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    fn judge(&self, result: Result<(), Wrong>) {
        if let Err(Wrong(text)) = result {
            let at = self.env.now();
            self.wrong.lock().unwrap().get_or_insert(format!("{text} (at {at:?})"));
        }
    }

    /// Operations until told to stop; `pause` is the usual longest pause between two, ms; now and then one is long.
    pub async fn worker(self: Arc<Self>, number: u32, pause: u64) {
        let mut dice = self.env.rng(&format!("worker {number}"));
        while !self.is_over() {
            let longest = if dice.below(8) == 0 { 25 * pause } else { pause };
            self.env.sleep(Duration::from_millis(dice.below(longest))).await;
            let begun = self.env.now();
            self.operation(&mut dice).await;
            let took = self.env.now().saturating_sub(begun);
            if took > LONGEST_OPERATION {
                self.judge(Err(Wrong(format!("an operation took {took:?}"))));
            }
        }
    }

    async fn operation(&self, dice: &mut Dice) {
        // Most are small; a few need R2Ts and more than one command.
        let longest = if dice.below(24) == 0 { 900 } else { 16 };
        let length = 1 + dice.below(longest);
        let start = dice.below(BLOCKS - length);
        let range = start..start + length;
        match dice.below(100) {
            0..=49 => self.change(range, false).await,
            50..=57 => self.change(range, true).await,
            58..=67 => self.flush().await,
            _ => self.read(range).await,
        }
    }

    async fn change(&self, range: std::ops::Range<u64>, unmap: bool) {
        let stamp = {
            let mut model = self.model();
            if model.is_busy(&range) {
                return;
            }
            model.begin_change(&range, unmap)
        };
        let result = match unmap {
            true => self.device.unmap(&[(range.start, (range.end - range.start) as u32)]).await,
            false => self.device.write(range.start, fill(&range, stamp)).await,
        };
        self.count(result.is_ok());
        self.model().end_change(&range, stamp, result.err().map(|e| e.outcome()));
    }

    pub async fn flush(&self) {
        let id = self.model().begin_flush();
        let done = self.device.flush().await.is_ok();
        self.count(done);
        self.model().end_flush(id, done);
    }

    pub async fn read(&self, range: std::ops::Range<u64>) {
        let id = self.model().begin_read(range.clone());
        let data = self.device.read(range.start, (range.end - range.start) as u32).await;
        self.count(data.is_ok());
        let judged = self.model().end_read(id, data.as_deref().ok());
        self.judge(judged);
    }

    fn count(&self, done: bool) {
        let counter = if done { &self.done } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until I/O works and both sessions are up; the time that it took.
    pub async fn recovered(&self, host: &HostConnector, within: Duration) -> Result<Duration, String> {
        let begun = self.env.now();
        // Let everybody notice first.
        self.env.sleep(Duration::from_millis(20)).await;
        loop {
            let sessions = host.census().sessions;
            if sessions.len() == 2 && sessions.iter().all(|s| s.logged_in) {
                break;
            }
            if self.env.now() - begun > within {
                return Err(format!("not recovered within {within:?}: {sessions:?}"));
            }
            self.env.sleep(Duration::from_millis(50)).await;
        }
        let took = self.env.now() - begun;
        self.read(0..1).await;
        self.read(BLOCKS - 1..BLOCKS).await;
        Ok(took)
    }
}
