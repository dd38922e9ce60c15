//! The management plane alone, on a real socket: `manage LISTEN PRODUCT PORTAL[,PORTAL..]`. The portals are only told of;
//! nobody listens there. For looking at the API and for driving it with foreign management clients.

use std::error::Error;
use std::net::SocketAddr;

use sanbench_array::{Array, ArrayConfig, ArrayHandle, PortalConfig};
use sanbench_rest::RestConfig;
use sanbench_world::{FaultPlan, LiveConfig, LiveWorld};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let listen: SocketAddr = args.next().unwrap_or_else(|| "127.0.0.1:8088".to_owned()).parse()?;
    let product = args.next().unwrap_or_else(|| "V600R003C00".to_owned());
    let portals = args.next().unwrap_or_else(|| "127.0.0.1:3260".to_owned());
    let portals = (1..)
        .zip(portals.split(','))
        .map(|(n, address)| {
            let controller = u8::try_from((n - 1) % 2).unwrap_or(0);
            address.parse().map(|address| PortalConfig {
                address,
                port_no: 20_199 + u32::from(n),
                tpgt: n,
                controller,
            })
        })
        .collect::<Result<_, _>>()?;
    let state_dir = std::env::temp_dir();
    let faults = FaultPlan::default();
    let world = LiveWorld::new(LiveConfig { seed: 0, trace: false, state_dir, faults, capture: false })?;
    let env = world.node("array", &[listen.ip()]);
    let array = Array::new(ArrayConfig { product, portals, ..ArrayConfig::default() });
    let config = RestConfig { control: true, ..RestConfig::default() };
    let listener = env.listen(listen).await?;
    println!("http://{}/deviceManager/rest/", listener.local_addr());
    sanbench_rest::serve(env, ArrayHandle::new(array), listener, config).await;
    Ok(())
}
