//! A few seeds over real TCP on loopback: sessions dropped by the target, and a target that dies and comes back.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::Duration;

use sanbench_api::Connector;
use sanbench_initiator::HostConnector;
use sanbench_world::{LiveConfig, LiveWorld};

use super::rig::{BLOCKS, Work, host_config, info, make_array, serve};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

async fn play(seed: u64, restart: bool) -> Result<String, String> {
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let config = LiveConfig {
        seed,
        trace: false,
        state_dir: dir.path().to_path_buf(),
        faults: Default::default(),
        capture: false,
    };
    let world = LiveWorld::new(config).map_err(|e| e.to_string())?;
    let env = world.node("array", &[LOCALHOST]);
    // Two free ports, which the target takes again after its restart.
    let mut portals = Vec::new();
    for _ in 0..2 {
        portals.push(env.listen(SocketAddr::new(LOCALHOST, 0)).await.map_err(|e| e.to_string())?);
    }
    let addresses: Vec<SocketAddr> = portals.iter().map(|l| l.local_addr()).collect();
    drop(portals);
    let (array, device) = make_array(&addresses, false);
    let mut target = serve(&env, &array, &addresses, Duration::from_secs(10)).await;
    let host_env = world.node("host", &[LOCALHOST]);
    let mut config = host_config(LOCALHOST);
    // Real seconds are dear.
    config.session.time2wait = 0;
    let host = HostConnector::new(host_env.clone(), config);
    let info = info(&array, device, &addresses);
    let attached = host.connect_volume(&info).await.map_err(|e| e.to_string())?;
    let work = Work::new(host_env.clone(), attached.device);
    let tasks: Vec<_> = (0..3).map(|n| host_env.spawn(work.clone().worker(n, 4))).collect();
    for _ in 0..2 {
        host_env.sleep(Duration::from_millis(200)).await;
        if restart {
            world.stop("array");
            host_env.sleep(Duration::from_millis(100)).await;
            let env = world.node("array", &[LOCALHOST]);
            target = serve(&env, &array, &addresses, Duration::from_secs(10)).await;
        } else {
            target.drop_sessions();
        }
        work.recovered(&host, Duration::from_secs(30)).await?;
        work.verdict()?;
    }
    work.stop();
    for task in tasks {
        let ended = host_env.timeout(Duration::from_secs(60), task).await;
        ended.map_err(|_| "a worker hangs".to_owned())?.map_err(|e| format!("{e:?}"))?;
    }
    for start in (0..BLOCKS).step_by(256) {
        work.read(start..start + 256).await;
    }
    work.verdict()?;
    host.disconnect_volume(&info, false).await.map_err(|e| e.to_string())?;
    if !host.census().is_empty() {
        return Err(format!("left on the host: {:?}", host.census()));
    }
    world.stop("host");
    world.stop("array");
    let done = work.done.load(Ordering::Relaxed);
    if done < 20 { Err(format!("only {done} operations")) } else { Ok(format!("{done} done")) }
}

fn run(seed: u64, restart: bool) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    match runtime.block_on(play(seed, restart)) {
        Ok(told) => println!("seed {seed}: {told}"),
        Err(why) => panic!("loopback, restart={restart}, seed {seed}: {why}"),
    }
}

#[test]
fn dropped_sessions_on_real_sockets() {
    (1..=3).for_each(|seed| run(seed, false));
}

#[test]
fn a_restarted_target_on_real_sockets() {
    (1..=2).for_each(|seed| run(seed, true));
}
