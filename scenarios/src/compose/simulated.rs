//! The simulated array as it stands on a node: management API and iSCSI target over one state.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use sanbench_array::{Array, ArrayConfig, ArrayHandle, Defects, PoolConfig, PortalConfig};
use sanbench_rest::RestConfig;
use sanbench_target::{TargetConfig, TargetDefects};
use sanbench_world::{Env, Task};

/// Controllers of an array.
const CONTROLLERS: u16 = 2;

/// What an array is made of.
pub(crate) struct ArrayParts {
    /// Where the management API listens.
    pub(crate) rest: SocketAddr,
    /// Where the portals listen.
    pub(crate) portals: Vec<SocketAddr>,
    /// Pools: name, bytes.
    pub(crate) pools: Vec<(String, u64)>,
    /// PRODUCTVERSION.
    pub(crate) product: String,
    /// Serial, 16 hexadecimal digits.
    pub(crate) serial: String,
    /// Account of the management API and its settings.
    pub(crate) rest_config: RestConfig,
    /// Planted defects.
    pub(crate) defects: Defects,
    /// Defects planted in its target.
    pub(crate) target_defects: TargetDefects,
    /// What a fault point calls when it says that the node must crash.
    pub(crate) on_crash: Option<Arc<dyn Fn() + Send + Sync>>,
}

/// An array that serves.
pub(crate) struct RunningArray {
    /// Its state.
    pub(crate) handle: ArrayHandle,
    /// Where the management API really listens.
    pub(crate) rest: SocketAddr,
    /// Where the portals really listen, in the order asked for.
    pub(crate) portals: Vec<SocketAddr>,
    /// Name of the target.
    pub(crate) target_iqn: String,
    /// The servers; they go on when this is dropped and end with their node.
    pub(crate) _tasks: Vec<Task<()>>,
}

/// Starts an array on a node.
///
/// # Errors
/// An address cannot be listened on; names it.
pub(crate) async fn start_array(env: &Env, parts: ArrayParts) -> io::Result<RunningArray> {
    let named =
        |addr: SocketAddr, e: io::Error| io::Error::new(e.kind(), format!("cannot listen on {addr}: {e}"));
    let rest = env.listen(parts.rest).await.map_err(|e| named(parts.rest, e))?;
    let mut listeners = Vec::new();
    for portal in &parts.portals {
        listeners.push(env.listen(*portal).await.map_err(|e| named(*portal, e))?);
    }
    let portals: Vec<SocketAddr> = listeners.iter().map(|l| l.local_addr()).collect();
    let config = ArrayConfig {
        product: parts.product,
        target_iqn: format!("iqn.2006-08.com.huawei:oceanstor:{}", parts.serial),
        serial: parts.serial,
        pools: parts.pools.iter().map(|(name, bytes)| PoolConfig::new(name.clone(), bytes / 512)).collect(),
        portals: portals
            .iter()
            .zip(0u16..)
            .map(|(address, n)| PortalConfig {
                address: *address,
                port_no: 20200 + 256 * u32::from(n),
                // Portals take turns on the two controllers; those of one controller are one target port group.
                tpgt: n % CONTROLLERS + 1,
                controller: (n % CONTROLLERS) as u8,
            })
            .collect(),
        controllers: CONTROLLERS as u8,
        defects: parts.defects,
        ..ArrayConfig::default()
    };
    let target_iqn = config.target_iqn.clone();
    let handle = ArrayHandle::new(Array::new(config));
    let rest_addr = rest.local_addr();
    let rest_config = RestConfig { on_crash: parts.on_crash.clone(), ..parts.rest_config };
    let target_config =
        TargetConfig { on_crash: parts.on_crash, defects: parts.target_defects, ..TargetConfig::default() };
    let tasks = vec![
        env.spawn(sanbench_rest::serve(env.clone(), handle.clone(), rest, rest_config)),
        env.spawn(sanbench_target::serve(env.clone(), handle.clone(), listeners, target_config)),
    ];
    Ok(RunningArray { handle, rest: rest_addr, portals, target_iqn, _tasks: tasks })
}
