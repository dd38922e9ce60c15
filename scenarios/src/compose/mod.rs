//! The composition root: the only place that knows every part and puts a site together.
//!
//! | environment | array | network | made by |
//! |---|---|---|---|
//! | `sim` | simulated, in the world | simulated | [`sim`](mod@sim) |
//! | `loopback` | simulated, same process | sockets on 127.0.0.1 | [`live`](mod@live) |
//! | profile | whatever is there | sockets | [`live`](mod@live) |

mod driver;
mod images;
mod kept;
mod live;
mod machine;
mod monitor;
mod naming;
mod options;
mod protocol;
mod redact;
mod remote;
mod sessions;
mod sim;
mod simulated;
mod site;
mod wire;

pub use driver::tengling_entry;
pub(crate) use images::{ImageInput, load_image};
pub(crate) use live::{LiveSetup, Target, needs_simulated_array, probe_env, run_live_case, unreached};
pub(crate) use sim::{SimSetup, run_sim_case, sim_addresses};
pub(crate) use simulated::{
    ArrayParts, CONTROLLERS, LinkEnd, LinkPart, PORTS, RunningArray, pool_configs, start_array, target_iqn,
};
