//! Our own initiator: against a target over TCP, and with our own target in one process over simulated streams.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use sanbench_array::{Array, ArrayConfig, Command, PoolConfig, PortalConfig};
use sanbench_initiator::HostConfig;
use sanbench_initiator::chap::OwnChallenge;
use sanbench_initiator::link::Link;
use sanbench_initiator::login::LoginPlan;
use sanbench_initiator::session::{Request, Transfer};
use sanbench_target::{TargetConfig, serve};
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::status::Status;
use sanbench_world::{Env, LiveConfig, LiveWorld, SimConfig, SimWorld};

use crate::peers::{clock, processor};
use crate::raw::Url;

const LIMIT: Duration = Duration::from_secs(30);
const IQN: &str = "iqn.2020-01.example.bench:initiator";

async fn log_in(env: &Env, url: &Url) -> Result<Link, String> {
    let host = HostConfig::new("bench", IQN, url.address.ip());
    let plan = LoginPlan {
        initiator: IQN.to_owned(),
        target: Some(url.iqn.clone()),
        isid: [0x80, 0, 0, 2, 0, 0],
        auth: None,
        own_challenge: OwnChallenge { id: 0, challenge: [0; 32] },
    };
    Link::open(env, &host, &plan, url.address, None).await.map_err(|e| e.to_string())
}

fn read(lun: Lun, lba: u32) -> Request {
    let mut cdb = [0; 16];
    cdb[0] = 0x28;
    cdb[2..6].copy_from_slice(&lba.to_be_bytes());
    cdb[8] = 8;
    Request { lun, cdb, data: Transfer::In(4096) }
}

/// Reads until no unit attention is in the way.
async fn settle(env: &Env, link: &Link, lun: Lun) -> Result<(), String> {
    for _ in 0..8 {
        let done = link.run(env, read(lun, 0), LIMIT).await.map_err(|e| format!("{e:?}"))?;
        if done.status == Status::GOOD {
            return Ok(());
        }
    }
    Err("the unit does not become ready".to_owned())
}

/// Random 4 KiB reads over TCP: commands a second, processor seconds of this process per million.
pub(crate) fn over_tcp(url: &Url, depth: usize, span: u64, seconds: f64) -> Result<(f64, f64), String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let scratch = tempfile::tempdir().map_err(|e| e.to_string())?;
        let world = LiveWorld::new(LiveConfig {
            seed: 0,
            trace: false,
            state_dir: scratch.path().to_path_buf(),
            faults: Default::default(),
            capture: false,
        })
        .map_err(|e| e.to_string())?;
        let env = world.node("host", &[IpAddr::V4(Ipv4Addr::LOCALHOST)]);
        let link = log_in(&env, url).await?;
        let lun = Lun::from_number(url.lun).ok_or("no LUN number")?;
        settle(&env, &link, lun).await?;
        let (own, begun) = (std::process::id(), clock());
        let spent = processor(own);
        let end = begun + seconds;
        let workers: Vec<_> = (0..depth as u64)
            .map(|n| {
                let (link, worker_env) = (link.clone(), env.clone());
                env.spawn(async move {
                    let (mut done, mut random) = (0u64, 0x9e37_79b9_7f4a_7c15 ^ (n << 32));
                    while done % 16 != 0 || clock() < end {
                        random ^= random << 13;
                        random ^= random >> 7;
                        random ^= random << 17;
                        let lba = (random % (span / 4096)) as u32 * 8;
                        match link.run(&worker_env, read(lun, lba), LIMIT).await {
                            Ok(answer) if answer.status == Status::GOOD => done += 1,
                            other => return Err(format!("a read failed: {other:?}")),
                        }
                    }
                    Ok(done)
                })
            })
            .collect();
        let mut done = 0;
        for worker in workers {
            done += worker.await.map_err(|_| "a worker is gone".to_owned())??;
        }
        let (took, spent) = (clock() - begun, processor(own) - spent);
        link.logout(&env).await;
        Ok((done as f64 / took, spent / done as f64 * 1e6))
    })
}

/// READ round trips a second at depth 1: initiator, streams and target in one simulated world, on one processor.
pub(crate) fn simulated(rounds: u32) -> Result<f64, String> {
    SimWorld::run(SimConfig { latency: 0..1, ..SimConfig::default() }, |world| async move {
        let (near, far) = (Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 1));
        let array_env = world.node("array", &[far.into()]);
        let env = world.node("host", &[near.into()]);
        let address = (far, 3260).into();
        let listener = array_env.listen(address).await.map_err(|e| e.to_string())?;
        let mut array = Array::new(ArrayConfig {
            pools: vec![PoolConfig::new("pool0", 1 << 20)],
            portals: vec![PortalConfig { address, port_no: 1, tpgt: 1, controller: 0 }],
            ..ArrayConfig::default()
        });
        let (name, description) = ("lun".to_owned(), String::new());
        let lun = Command::CreateLun { name, description, pool: 0, blocks: 1 << 16, thin: true };
        let lun = array.apply(env.now(), lun).map_err(|e| format!("{e:?}"))?.id().ok_or("no LUN")?;
        array.apply(env.now(), Command::OpenExport { lun }).map_err(|e| format!("{e:?}"))?;
        let url = Url { address, iqn: array.target_iqn().to_owned(), lun: 0 };
        array_env.spawn(serve(array_env.clone(), array.into(), vec![listener], TargetConfig::default()));
        let link = log_in(&env, &url).await?;
        let lun = Lun::from_number(0).ok_or("no LUN number")?;
        settle(&env, &link, lun).await?;
        let begun = clock();
        for n in 0..rounds {
            let done = link.run(&env, read(lun, n % 8000 * 8), LIMIT).await.map_err(|e| format!("{e:?}"))?;
            if done.status != Status::GOOD {
                return Err("a read failed".to_owned());
            }
        }
        Ok(f64::from(rounds) / (clock() - begun))
    })
}
