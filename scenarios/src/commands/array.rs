//! `sanbench array serve`: the simulated array as a process of its own.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use sanbench_array::{ArrayConfig, ArrayHandle, Command, Gate, Outcome, Secret};
use sanbench_durable::{Committer, Folder, OpenError};
use sanbench_rest::{RestConfig, TlsIdentity};
use sanbench_world::{LiveConfig, LiveWorld};
use serde_json::json;

use crate::cli::ServeArgs;
use crate::compose::{
    ArrayParts, CONTROLLERS, LinkEnd, LinkPart, PORTS, pool_configs, start_array, target_iqn,
};
use crate::failure::Refusal;
use crate::run::print;

/// Serial number of the array at site 0; others count from there.
const SERIAL: u64 = 0x2100_3400_a30d_844d;
/// Exit code of an array that its disk has failed.
const INCOMPLETE: u8 = 2;
/// Longest certificate or key file that is read, in bytes.
const PEM_BYTES: u64 = 1 << 20;

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
    for warning in exposure(args) {
        eprintln!("sanbench: warning: {warning}");
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
    let standard = || vec![("pool0".to_owned(), 1 << 40), ("pool1".to_owned(), 1 << 40)];
    let serial = format!("{:016x}", SERIAL + u64::from(args.site));
    let kept = match &args.data {
        Some(data) => Some(Kept::open(data, |is_new| ArrayConfig {
            product: args.product.clone(),
            serial: serial.clone(),
            target_iqn: target_iqn(&serial),
            port_base: args.site * PORTS,
            // Without the option an array that there is keeps its pools.
            pools: match pools.is_empty() && is_new {
                true => pool_configs(&standard()),
                false => pool_configs(&pools),
            },
            controllers: CONTROLLERS as u8,
            ..ArrayConfig::default()
        })?),
        None => None,
    };
    if pools.is_empty() {
        pools = standard();
    }
    let links = links(args)?;
    let parts = ArrayParts {
        rest: args.rest,
        portals: args.iscsi.clone(),
        pools: pool_configs(&pools),
        kept: kept.as_ref().map(|kept| kept.handle.clone()),
        product: args.product.clone(),
        serial,
        rest_config: RestConfig {
            user: args.user.clone(),
            password: password.clone(),
            control: args.control,
            tls: identity(args)?,
            ..RestConfig::default()
        },
        defects: Default::default(),
        target_defects: Default::default(),
        write_cache: false,
        clones: None,
        chain: None,
        devices: None,
        target_name: None,
        // What it holds belongs to somebody.
        allow_sanitize: false,
        spin: sanbench_target::SPIN,
        site: args.site,
        links,
        on_crash: None,
        journal: None,
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
    let scheme = if args.tls_cert.is_some() || args.tls_self_made.is_some() { "https" } else { "http" };
    let mut ready = json!({
        "rest": format!("{scheme}://{}/deviceManager/rest/", array.rest),
        "user": args.user,
        "password": password,
        "pools": array.handle.lock().pools().map(|pool| pool.name.clone()).collect::<Vec<_>>(),
        "portals": array.portals.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "target_iqn": array.target_iqn,
        "exports": exports,
    });
    if !array.link_listeners.is_empty() {
        // Only there when asked for: the line is read by tools that know its keys.
        ready["links"] = json!(array.link_listeners.iter().map(ToString::to_string).collect::<Vec<_>>());
    }
    // Whoever reads the ready line may send a signal at once.
    let stop = stopped();
    print(&format!("{ready}\n")).map_err(|e| Refusal::new(format!("cannot write to stdout: {e}")))?;
    let Some(Kept { handle, committer }) = kept else {
        stop.await;
        return Ok(0);
    };
    let lost = async {
        match handle.gate() {
            Some(gate) => gate.lost().await,
            None => std::future::pending().await,
        }
    };
    let code = tokio::select! {
        biased;
        lost = lost => {
            eprintln!("sanbench: {lost}; what was acknowledged is on the disk, so start it again when the disk is well");
            INCOMPLETE
        }
        () = stop => 0,
    };
    // What is volatile may stay, too.
    drop(committer);
    Ok(code)
}

/// An array that a directory keeps.
struct Kept {
    handle: ArrayHandle,
    committer: Committer,
}

impl Kept {
    /// Opens a directory, or makes an array there.
    fn open(data: &Path, config: impl FnOnce(bool) -> ArrayConfig) -> Result<Kept, Refusal> {
        let opened = Folder::open(data, config, sanbench_durable::Defects::default()).map_err(|error| {
            let refusal = Refusal::new(format!("--data: {error}"));
            match error {
                OpenError::InUse(_) => refusal.hint("stop the other one, or give each its own directory"),
                OpenError::NotOurs(_) => {
                    refusal.hint("name an empty directory, or one that does not exist yet")
                }
                OpenError::Newer { .. } => refusal.hint("use the version of sanbench that wrote it"),
                OpenError::Damaged { .. } => {
                    refusal.hint("nothing in it was changed; restore it from a copy")
                }
                OpenError::Misfit { .. } => refusal.hint("pools keep their order and names, and may grow"),
                OpenError::Io { .. } | OpenError::First { .. } => refusal,
            }
        })?;
        let gate = Arc::new(Gate::default());
        let handle = ArrayHandle::with_gate(opened.array, Arc::clone(&gate));
        let committer = Committer::start(handle.clone(), gate, opened.keeper, opened.folder)
            .map_err(|error| Refusal::new(format!("cannot start a thread: {error}")))?;
        Ok(Kept { handle, committer })
    }
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

/// What of it other machines can reach, and what they can see there.
fn exposure(args: &ServeArgs) -> Vec<String> {
    let mut out = Vec::new();
    if !args.rest.ip().is_loopback() {
        let clear = match args.tls_cert.is_some() || args.tls_self_made.is_some() {
            true => "",
            false => "; without TLS passwords cross the network in the clear",
        };
        out.push(format!("other machines can reach the management API on {}{clear}", args.rest));
    }
    for portal in args.iscsi.iter().filter(|portal| !portal.ip().is_loopback()) {
        let open = match args.export.is_empty() {
            true => "",
            false => ", and every --export there without a password",
        };
        out.push(format!("other machines can reach the iSCSI portal {portal}{open}"));
    }
    out
}

/// Certificate and key of the management port, if it has one.
fn identity(args: &ServeArgs) -> Result<Option<TlsIdentity>, Refusal> {
    let read = |path: &Path| {
        let shown = path.display();
        let meta = std::fs::metadata(path).map_err(|e| Refusal::new(format!("cannot read {shown}: {e}")))?;
        if meta.len() > PEM_BYTES {
            return Err(Refusal::new(format!("{shown} is too long for a certificate or key")));
        }
        std::fs::read(path).map_err(|e| Refusal::new(format!("cannot read {shown}: {e}")))
    };
    match (&args.tls_cert, &args.tls_key, &args.tls_self_made) {
        (Some(cert), Some(key), _) => {
            let made = TlsIdentity::from_pem(&read(cert)?, &read(key)?);
            made.map(Some).map_err(|e| {
                Refusal::new(format!("{} and {}: {e}", cert.display(), key.display()))
                    .hint("both files are PEM; the certificate comes first in its file")
            })
        }
        (.., Some(path)) => {
            let (identity, authority) = TlsIdentity::self_made(names(args.rest.ip()))
                .map_err(|e| Refusal::new(format!("--tls-self-made: {e}")))?;
            std::fs::write(path, authority)
                .map_err(|e| Refusal::new(format!("cannot write {}: {e}", path.display())))?;
            Ok(Some(identity))
        }
        _ => Ok(None),
    }
}

/// Names under which clients of this machine may know an address.
fn names(ip: IpAddr) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if !ip.is_unspecified() && !names.contains(&ip.to_string()) {
        names.push(ip.to_string());
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if !ip.is_loopback() && !host.is_empty() && host.chars().all(plain) {
        names.push(host.to_owned());
    }
    names
}

/// Links to other arrays as the options name them.
fn links(args: &ServeArgs) -> Result<Vec<LinkPart>, Refusal> {
    let dials = args.remote.iter().map(|link| (link, LinkEnd::Dials(link.address)));
    let listens = args.remote_listen.iter().map(|link| (link, LinkEnd::Listens(link.address)));
    let all: Vec<_> = dials.chain(listens).collect();
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let secret = args.link_secret.as_deref().filter(|secret| secret.len() >= 12).ok_or_else(|| {
        Refusal::new("a link to another array needs a secret of at least 12 characters")
            .hint("give both arrays the same --link-secret, better as SANBENCH_ARRAY_LINK_SECRET")
    })?;
    let secret = Secret::new(secret);
    Ok(all
        .into_iter()
        .map(|(link, end)| LinkPart { name: link.name.clone(), end, secret: secret.clone() })
        .collect())
}

/// Makes a thin LUN that any initiator may use; answers its LUN.
fn export_lun(
    array: &crate::compose::RunningArray,
    env: &sanbench_world::Env,
    name: &str,
    bytes: u64,
) -> Result<u16, String> {
    let mut state = array.handle.lock();
    if let Some(lun) = state.lun_by_name(name).map(|lun| lun.id) {
        // From an earlier start; what is in it stays.
        state.apply(env.now(), Command::OpenExport { lun }).map_err(|e| format!("{e:?}"))?;
        let number = state.exports().find(|(id, _)| *id == lun).map(|(_, number)| number);
        return number.ok_or_else(|| "no LUN was exported".to_owned());
    }
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
