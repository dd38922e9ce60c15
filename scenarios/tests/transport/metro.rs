//! One volume on two arrays (HyperMetro, MPX-013): a host with a path to each reads and writes while the link between the
//! arrays, the paths and the arrays themselves break. No read over either array may give what an acknowledged write has
//! overwritten, and in the end both halves hold the same (DAT-009).

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::Duration;

use sanbench_api::{ConnectionInfo, Connector};
use sanbench_array::pair::{PairCommand, PairKind, PairState};
use sanbench_array::{ArrayConfig, ArrayHandle, Command, Defects, DeviceId, Secret};
use sanbench_initiator::HostConnector;
use sanbench_link::LinkConfig;
use sanbench_world::{Crash, Dice, Env, SimConfig, SimWorld};

use super::rig::{BLOCKS, Work, array_config, host_config, info, make_array_of, serve};

const WORKERS: u32 = 4;
const NODES: [&str; 2] = ["site-a", "site-b"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The link swallows everything for a while.
    LinkCut,
    /// The link, and the host's path to the primary: nobody is left who may serve the host.
    LinkAndPrimaryPath,
    /// The host's path to one of the arrays.
    Path,
    /// Connections of the link are reset again and again.
    LinkReset,
    /// An array loses its power and comes back.
    ArrayDown,
}

struct Half {
    handle: ArrayHandle,
    device: DeviceId,
    portal: SocketAddr,
    remote: u64,
}

fn address(site: usize) -> IpAddr {
    [10, 0, site as u8, 10].into()
}

fn host_address() -> IpAddr {
    [10, 0, 9, 101].into()
}

fn half(site: usize, defects: Defects) -> Half {
    let portal = SocketAddr::new(address(site), 3260);
    let mut config = ArrayConfig { defects, copy_rate: 64, ..array_config(&[portal], site == 0) };
    config.serial = format!("21003400a30d84{site:02x}");
    config.target_iqn = format!("iqn.2006-08.com.huawei:oceanstor:{}", config.serial);
    config.port_base = 64 * site as u16;
    config.portals[0].tpgt = 1 + 2 * site as u16;
    let (handle, device) = make_array_of(config);
    let remote = handle.lock().add_remote(NODES[1 - site]);
    Half { handle, device, portal, remote }
}

/// Serves an array and its end of the link on its node.
async fn start(world: &SimWorld, halves: &[Half; 2], site: usize) {
    let env = world.node(NODES[site], &[address(site)]);
    let Half { handle, portal, remote, .. } = &halves[site];
    serve(&env, handle, &[*portal], Duration::from_secs(10)).await;
    let config = LinkConfig::new(Secret::new("a secret of the test"));
    let link = SocketAddr::new(address(1), 7000);
    let (node, handle, remote) = (env.clone(), handle.clone(), *remote);
    // The tasks end with their node.
    if site == 0 {
        drop(env.spawn(sanbench_link::dial(node, handle, remote, link, config)));
    } else {
        let listener = env.listen(link).await.unwrap();
        drop(env.spawn(sanbench_link::listen(node, handle, remote, listener, config)));
    }
}

/// Waits for something that must come about.
async fn until(env: &Env, what: &str, mut is_so: impl FnMut() -> bool) -> Result<(), String> {
    for _ in 0..3_000 {
        if is_so() {
            return Ok(());
        }
        env.sleep(Duration::from_millis(50)).await;
    }
    Err(format!("it has not come to: {what}"))
}

fn state(half: &Half) -> PairState {
    half.handle.lock().pair_of_lun(half.device.number()).map_or(PairState::Invalid, |pair| pair.state)
}

fn are_normal(halves: &[Half; 2]) -> bool {
    halves.iter().all(|half| state(half) == PairState::Normal)
}

/// Makes the two LUNs one.
async fn pair(env: &Env, halves: &[Half; 2]) -> Result<(), String> {
    let [a, b] = halves;
    let heard = |half: &Half| half.handle.lock().remote(half.remote).is_some_and(|remote| remote.is_up);
    until(env, "the arrays hear each other", || heard(a) && heard(b)).await?;
    let apply = |command| {
        a.handle.lock().apply(env.now(), Command::Pairs(command)).map_err(|refusal| refusal.to_string())
    };
    let domain = PairCommand::CreateDomain { name: "d".into(), description: String::new(), remote: a.remote };
    let kind = PairKind::Metro { domain: apply(domain)?.id().unwrap() };
    let ask = a.handle.lock().ask_remote(env.now(), a.remote, b.device.number()).unwrap();
    let mut told = None;
    until(env, "an answer", || {
        told = a.handle.lock().remote_answer(ask);
        told.is_some()
    })
    .await?;
    let peer = told.unwrap().map_err(|refusal| refusal.to_string())?;
    apply(PairCommand::Create {
        kind,
        remote: a.remote,
        lun: a.device.number(),
        peer,
        speed: 4,
        auto_recovery: true,
        interval: Duration::ZERO,
        start: true,
    })?;
    until(env, "a normal pair", || are_normal(halves)).await
}

/// One fault from its beginning to its end.
async fn strike(world: &SimWorld, halves: &[Half; 2], kind: Kind, env: &Env, dice: &mut Dice) {
    let held = Duration::from_millis([200, 2_000, 12_000][dice.below(3) as usize]);
    let site = dice.below(2) as usize;
    match kind {
        Kind::LinkCut => {
            world.cut_addr(address(0), address(1));
            env.sleep(held).await;
        }
        Kind::LinkAndPrimaryPath => {
            world.cut_addr(address(0), address(1));
            world.cut_addr(host_address(), address(0));
            env.sleep(Duration::from_secs(25)).await;
        }
        Kind::Path => {
            world.cut_addr(host_address(), address(site));
            env.sleep(held).await;
        }
        Kind::LinkReset => {
            for _ in 0..6 {
                world.reset(NODES[0], NODES[1]);
                env.sleep(Duration::from_millis(dice.range(1..900))).await;
            }
        }
        Kind::ArrayDown => {
            world.crash(NODES[site], Crash::PowerLoss);
            halves[site].handle.lock().power_loss(world.now(), &mut |n| dice.below(n));
            env.sleep(held).await;
            start(world, halves, site).await;
        }
    }
    world.heal_all();
}

async fn play(world: SimWorld, kind: Kind, defects: Defects) -> Result<String, String> {
    let halves = [half(0, defects), half(1, defects)];
    start(&world, &halves, 0).await;
    start(&world, &halves, 1).await;
    let nemesis = world.node("nemesis", &[]);
    let mut dice = nemesis.rng("strikes");
    pair(&nemesis, &halves).await?;
    let env = world.node("host", &[host_address()]);
    let mut config = host_config(host_address());
    config.replacement_timeout = Duration::from_secs(120);
    config.fence_after = Duration::from_secs(30);
    let host = HostConnector::new(env.clone(), config);
    // Both arrays give one identity, and so the two paths are one device.
    let [mut both, other] = [0, 1].map(|n| info(&halves[n].handle, halves[n].device, &[halves[n].portal]));
    if both.wwn != other.wwn {
        return Err("the halves show two identities".to_owned());
    }
    both.paths.extend(other.paths);
    let both: ConnectionInfo = both;
    let attached = host.connect_volume(&both).await.map_err(|e| e.to_string())?;
    let work = Work::new(env.clone(), attached.device);
    let tasks: Vec<_> = (0..WORKERS).map(|n| env.spawn(work.clone().worker(n, 60))).collect();
    for _ in 0..3 {
        nemesis.sleep(Duration::from_millis(dice.range(200..2_500))).await;
        strike(&world, &halves, kind, &nemesis, &mut dice).await;
        until(&nemesis, "a normal pair again", || are_normal(&halves)).await?;
        work.recovered(&host, Duration::from_secs(90)).await?;
        work.verdict()?;
    }
    work.stop();
    for (n, task) in tasks.into_iter().enumerate() {
        let ended = nemesis.timeout(super::rig::LONGEST_OPERATION, task).await;
        ended.map_err(|_| format!("worker {n} hangs"))?.map_err(|e| format!("worker {n}: {e:?}"))?;
    }
    for start in (0..BLOCKS).step_by(256) {
        work.read(start..start + 256).await;
    }
    work.verdict()?;
    until(&nemesis, "a normal pair at the end", || are_normal(&halves)).await?;
    let [a, b] = halves.each_ref().map(|half| half.handle.lock().peek(half.device.number()));
    if let Some(at) = a.iter().zip(&b).position(|(a, b)| a != b) {
        return Err(format!("a normal pair, and the halves differ in block {}", at / 512));
    }
    for half in &halves {
        if let Some(fault) = half.handle.lock().audit().first() {
            return Err(fault.clone());
        }
    }
    host.disconnect_volume(&both, false).await.map_err(|e| e.to_string())?;
    if let Some(panic) = world.panics().first() {
        return Err(format!("a task of {panic} panicked"));
    }
    let (done, compared) = (work.done.load(Ordering::Relaxed), work.model().compared);
    if done < 50 || compared < 500 {
        return Err(format!("too little happened: {done} operations, {compared} blocks compared"));
    }
    Ok(format!("{done} done, {compared} compared"))
}

fn run(seed: u64, kind: Kind, defects: Defects) -> Result<String, String> {
    let config = SimConfig { seed, trace: false, ..SimConfig::default() };
    SimWorld::try_run(config, |world| play(world, kind, defects)).unwrap_or_else(|e| Err(e.to_string()))
}

fn every_seed(kind: Kind) {
    for seed in 0..4 {
        match run(seed, kind, Defects::default()) {
            Ok(told) => println!("{kind:?} seed {seed}: {told}"),
            Err(why) => panic!("{kind:?} fails with seed {seed}: {why}"),
        }
    }
}

#[test]
fn a_cut_link_leaves_one_site_that_goes_on() {
    every_seed(Kind::LinkCut);
}

#[test]
fn without_link_and_primary_nobody_serves() {
    every_seed(Kind::LinkAndPrimaryPath);
}

#[test]
fn a_lost_path_to_either_array_is_taken_over_by_the_other() {
    every_seed(Kind::Path);
}

#[test]
fn resets_of_the_link_lose_no_difference() {
    every_seed(Kind::LinkReset);
}

#[test]
fn an_array_that_loses_its_power_comes_back_to_the_pair() {
    every_seed(Kind::ArrayDown);
}

#[test]
fn a_seed_gives_the_same_run_twice() {
    assert_eq!(run(9, Kind::LinkReset, Defects::default()), run(9, Kind::LinkReset, Defects::default()));
}

/// MPX-013, D77: a site that goes on in a split on which the other one goes on too is found out by a read.
#[test]
fn two_sites_that_go_on_are_found_out() {
    let defects = Defects { split_brain: true, ..Defects::default() };
    let caught = (0..6).filter_map(|seed| run(seed, Kind::LinkAndPrimaryPath, defects).err()).count();
    assert!(caught > 0);
}

/// DAT-009, D23: writes that were under way when the link went and that nobody noted are found out by a comparison.
#[test]
fn forgotten_writes_are_found_out() {
    let defects = Defects { inflight_forgotten: true, ..Defects::default() };
    let kinds = [Kind::LinkReset, Kind::LinkCut];
    let caught =
        (0..6).flat_map(|seed| kinds.map(|kind| run(seed, kind, defects))).filter_map(Result::err).count();
    assert!(caught > 0);
}
