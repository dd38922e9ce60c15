//! Serves one memory-backed LUN over real TCP, for foreign clients and for measuring.
//!
//! `cargo run --release -p sanbench-target --example ramdisk -- 127.0.0.1:3260 1024` serves 1 GiB (in MiB) as LUN 0 until
//! it is killed (a third argument `--allow-sanitize` offers SANITIZE); then for example `iscsi-ls iscsi://127.0.0.1:3260`.

use std::net::SocketAddr;

use sanbench_array::{Array, ArrayConfig, Command, PoolConfig, PortalConfig};
use sanbench_target::{SPIN, TargetConfig, serve};
use sanbench_world::{FaultPlan, LiveConfig, LiveWorld};

// Many buffers of two sizes live long; an allocator that keeps sizes apart reaches them with far fewer cache misses.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address: SocketAddr = arguments.next().unwrap_or_else(|| "127.0.0.1:3260".to_owned()).parse()?;
    let mebibytes: u64 = arguments.next().unwrap_or_else(|| "256".to_owned()).parse()?;
    let allow_sanitize = arguments.any(|argument| argument == "--allow-sanitize");
    let blocks = mebibytes * 2048;
    let state_dir = std::env::temp_dir().join(format!("sanbench-ramdisk-{}", std::process::id()));
    let faults = FaultPlan::default();
    let world = LiveWorld::new(LiveConfig { seed: 0, trace: false, state_dir, faults, capture: false })?;
    let env = world.node("array", &[address.ip()]);
    let listener = env.listen(address).await?;
    let mut array = Array::new(ArrayConfig {
        pools: vec![PoolConfig::new("pool0", blocks * 2)],
        portals: vec![PortalConfig { address: listener.local_addr(), port_no: 1, tpgt: 1, controller: 0 }],
        ..ArrayConfig::default()
    });
    let (name, description) = ("ramdisk".to_owned(), String::new());
    let made =
        array.apply(env.now(), Command::CreateLun { name, description, pool: 0, blocks, thin: true })?;
    let lun = made.id().ok_or("the array made no LUN")?;
    array.apply(env.now(), Command::OpenExport { lun })?;
    println!("iscsi://{}/{}/0", listener.local_addr(), array.target_iqn());
    serve(
        env,
        array.into(),
        vec![listener],
        TargetConfig { spin: SPIN, allow_sanitize, ..TargetConfig::default() },
    )
    .await;
    Ok(())
}
