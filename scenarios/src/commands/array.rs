//! `sanbench array serve`: the simulated array as a process of its own.

use std::net::Ipv4Addr;

use sanbench_array::{Command, Outcome};
use sanbench_rest::RestConfig;
use sanbench_world::{LiveConfig, LiveWorld};
use serde_json::json;

use crate::cli::ServeArgs;
use crate::compose::{ArrayParts, start_array};
use crate::failure::Refusal;
use crate::run::print;

/// Serves until SIGINT or SIGTERM. Prints one JSON line once ready.
pub(super) fn serve(args: &ServeArgs) -> Result<u8, Refusal> {
    if args.control && !args.rest.ip().is_loopback() {
        return Err(Refusal::new(format!(
            "--control opens a control surface, and {} is not a loopback address",
            args.rest
        ))
        .hint("listen on 127.0.0.1 or ::1, or leave --control away"));
    }
    let product_ok = args.product.len() <= 64
        && !args.product.is_empty()
        && args.product.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if !product_ok {
        return Err(Refusal::new("--product is not a version such as V600R003C00"));
    }
    // One thread: data and management share the array's lock anyway, and nothing has to be woken across processors.
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Refusal::new(format!("cannot start the runtime: {e}")))?
        .block_on(serve_here(args))
}

async fn serve_here(args: &ServeArgs) -> Result<u8, Refusal> {
    let scratch =
        tempfile::tempdir().map_err(|e| Refusal::new(format!("cannot make a temporary folder: {e}")))?;
    let config = LiveConfig {
        seed: args.seed,
        trace: false,
        state_dir: scratch.path().to_path_buf(),
        faults: Default::default(),
        capture: false,
    };
    let world = LiveWorld::new(config).map_err(|e| Refusal::new(e.to_string()))?;
    let env = world.node("array", &[Ipv4Addr::LOCALHOST.into()]);
    let password = match &args.password {
        Some(password) => password.clone(),
        None => {
            let mut bytes = [0; 12];
            env.entropy(&mut bytes);
            bytes.iter().map(|b| format!("{b:02x}")).collect()
        }
    };
    let mut pools: Vec<(String, u64)> = args.pool.iter().map(|p| (p.name.clone(), p.bytes)).collect();
    if pools.is_empty() {
        pools = vec![("pool0".into(), 1 << 40), ("pool1".into(), 1 << 40)];
    }
    let parts = ArrayParts {
        rest: args.rest,
        portals: args.iscsi.clone(),
        pools: pools.clone(),
        product: args.product.clone(),
        serial: "21003400a30d844d".into(),
        rest_config: RestConfig {
            user: args.user.clone(),
            password: password.clone(),
            control: args.control,
            ..RestConfig::default()
        },
        defects: Default::default(),
        target_defects: Default::default(),
        write_cache: false,
        spin: sanbench_target::SPIN,
        on_crash: None,
    };
    let array = start_array(&env, parts)
        .await
        .map_err(|e| Refusal::new(e.to_string()).hint("port 0 picks a free one"))?;
    group_portals(&array, &env).map_err(|e| Refusal::new(format!("port group {PORT_GROUP}: {e}")))?;
    let mut exports = Vec::new();
    for export in &args.export {
        let lun = export_lun(&array, &env, &export.name, export.bytes)
            .map_err(|e| Refusal::new(format!("--export {}: {e}", export.name)))?;
        let portal = array.portals.first().map(ToString::to_string).unwrap_or_default();
        exports.push(json!({
            "name": export.name,
            "url": format!("iscsi://{portal}/{}/{lun}", array.target_iqn),
        }));
    }
    let ready = json!({
        "rest": format!("http://{}/deviceManager/rest/", array.rest),
        "user": args.user,
        "password": password,
        "pools": pools.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        "portals": array.portals.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "target_iqn": array.target_iqn,
        "exports": exports,
    });
    // Whoever reads the ready line may send a signal at once.
    let stop = stopped();
    print(&format!("{ready}\n")).map_err(|e| Refusal::new(format!("cannot write to stdout: {e}")))?;
    stop.await;
    Ok(0)
}

/// Name of the port group that a served array comes with: foreign drivers are configured with one, and only an
/// administrator can make it.
const PORT_GROUP: &str = "pg0";

/// Puts all portals into the port group; one that is already there (an array that was kept) stays as it is.
fn group_portals(array: &crate::compose::RunningArray, env: &sanbench_world::Env) -> Result<(), String> {
    let mut state = array.handle.lock();
    if state.port_groups().any(|group| group.name == PORT_GROUP) {
        return Ok(());
    }
    let create = Command::CreatePortGroup { name: PORT_GROUP.to_owned(), description: String::new() };
    let Outcome::Created(group) = state.apply(env.now(), create).map_err(|e| e.to_string())? else {
        return Err("no group was made".to_owned());
    };
    let ports: Vec<u64> = state.ports().map(|port| port.id).collect();
    for port in ports {
        state.apply(env.now(), Command::AddPortToGroup { group, port }).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// Makes a thin LUN that any initiator may use; answers its LUN.
fn export_lun(
    array: &crate::compose::RunningArray,
    env: &sanbench_world::Env,
    name: &str,
    bytes: u64,
) -> Result<u16, String> {
    let mut state = array.handle.lock();
    let create = Command::CreateLun {
        name: name.to_owned(),
        description: "export".to_owned(),
        pool: 0,
        blocks: bytes / 512,
        thin: true,
    };
    let Outcome::Created(lun) = state.apply(env.now(), create).map_err(|e| format!("{e:?}"))? else {
        return Err("no LUN was made".to_owned());
    };
    state.apply(env.now(), Command::OpenExport { lun }).map_err(|e| format!("{e:?}"))?;
    state.exports().find(|(id, _)| *id == lun).map(|(_, n)| n).ok_or_else(|| "no LUN was exported".to_owned())
}

/// Listens for SIGINT and SIGTERM from the call on, so that one which comes before the first poll is not missed; the
/// future ends with the first of them. Call it inside a runtime.
pub(super) fn stopped() -> impl Future<Output = ()> {
    use tokio::signal::unix::{Signal, SignalKind, signal};
    async fn next(listener: Option<Signal>) {
        match listener {
            Some(mut listener) => {
                let _ = listener.recv().await;
            }
            // Without a handler the signal ends the process by itself.
            None => std::future::pending().await,
        }
    }
    let terminate = signal(SignalKind::terminate()).ok();
    let interrupt = signal(SignalKind::interrupt()).ok();
    async move {
        tokio::select! {
            biased;
            () = next(terminate) => {}
            () = next(interrupt) => {}
        }
    }
}
