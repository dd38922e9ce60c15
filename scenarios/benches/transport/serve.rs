//! Our target as a process of its own: the bench starts itself again for it.

use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::process::Stdio;

use sanbench_array::{Array, ArrayConfig, Command, DeviceId, GroupRef, Outcome, PoolConfig, PortalConfig};
use sanbench_target::{SPIN, TargetConfig, serve};
use sanbench_world::{LiveConfig, LiveWorld};

use crate::peers::{Target, pinned};

/// What is served: one open LUN of `mebibytes`, and `hosts` hosts that see `luns` small LUNs each, from LUN 1 on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) mebibytes: u64,
    pub(crate) hosts: u64,
    pub(crate) luns: u64,
}

/// Blocks of a small LUN (1 MiB).
const SMALL: u64 = 2048;

/// The name under which a host is known.
pub(crate) fn host_name(host: u64) -> String {
    format!("iqn.2020-01.example.bench:host-{host}")
}

/// Starts the target on processor 0.
pub(crate) fn start(name: &'static str, plan: Plan) -> Result<Target, String> {
    let own = std::env::current_exe().map_err(|e| format!("where is this program: {e}"))?;
    let mut child = pinned(0, &own)
        .arg("serve")
        .args([plan.mebibytes, plan.hosts, plan.luns].map(|n| n.to_string()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("cannot start our target: {e}"))?;
    let mut line = String::new();
    if let Some(out) = child.stdout.take() {
        BufReader::new(out).read_line(&mut line).map_err(|e| format!("our target says nothing: {e}"))?;
    }
    let url = line.trim().parse().map_err(|e| format!("our target does not serve: {e}"))?;
    Ok(Target::new(name, child, url))
}

/// The child: serves until it is killed.
pub(crate) fn serve_here(plan: Plan) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let scratch = tempfile::tempdir()?;
        let world = LiveWorld::new(LiveConfig {
            seed: 0,
            trace: false,
            state_dir: scratch.path().to_path_buf(),
            faults: Default::default(),
            capture: false,
        })?;
        let env = world.node("array", &[Ipv4Addr::LOCALHOST.into()]);
        let listener = env.listen((Ipv4Addr::LOCALHOST, 0).into()).await?;
        let blocks = plan.mebibytes * 2048;
        let portal = PortalConfig { address: listener.local_addr(), port_no: 1, tpgt: 1, controller: 0 };
        let mut array = Array::new(ArrayConfig {
            pools: vec![PoolConfig::new("pool0", blocks * 2 + plan.hosts * plan.luns * SMALL * 2)],
            portals: vec![portal],
            ..ArrayConfig::default()
        });
        let mut make = |command: Command| -> Result<u64, String> {
            array
                .apply(env.now(), command)
                .map(|outcome: Outcome| outcome.id().unwrap_or_default())
                .map_err(|e| format!("the array refuses: {e:?}"))
        };
        let lun = make(new_lun("big".to_owned(), blocks))?;
        make(Command::OpenExport { lun })?;
        for host in 0..plan.hosts {
            let (name, description) = (format!("host-{host}"), String::new());
            let group =
                make(Command::CreateLunGroup { name: name.clone(), description: description.clone() })?;
            for n in 0..plan.luns {
                let object = DeviceId::Lun(make(new_lun(format!("lun-{host}-{n}"), SMALL))?);
                make(Command::AddToLunGroup { group, object })?;
            }
            let hosts =
                make(Command::CreateHostGroup { name: name.clone(), description: description.clone() })?;
            let view = make(Command::CreateView { name: name.clone(), description: description.clone() })?;
            make(Command::AddToView { view, group: GroupRef::Lun(group) })?;
            make(Command::AddToView { view, group: GroupRef::Host(hosts) })?;
            let id = make(Command::CreateHost { name, description })?;
            let iqn = host_name(host);
            make(Command::AddInitiator { iqn: iqn.clone() })?;
            make(Command::BindInitiator { iqn, host: id })?;
            make(Command::AddHostToGroup { group: hosts, host: id })?;
        }
        println!("iscsi://{}/{}/0", listener.local_addr(), array.target_iqn());
        let config = TargetConfig { spin: SPIN, max_connections: 2048, ..TargetConfig::default() };
        serve(env, array.into(), vec![listener], config).await;
        Ok(())
    })
}

fn new_lun(name: String, blocks: u64) -> Command {
    Command::CreateLun { name, description: String::new(), pool: 0, blocks, thin: true }
}
