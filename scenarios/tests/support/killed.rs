//! `array serve --data` under `kill -9`: the soak of the examples in its short form.

#![allow(dead_code, unreachable_pub, reason = "the example uses more of these modules")]
#![allow(
    clippy::disallowed_methods,
    reason = "a server that is killed lives on the wall clock, and so does this test"
)]

#[path = "../../examples/soak/http.rs"]
mod http;
#[path = "../../examples/soak/iscsi.rs"]
mod iscsi;
#[path = "../../examples/soak/manager.rs"]
mod manager;
#[path = "../../examples/soak/server.rs"]
mod server;
#[path = "../../examples/soak/soak.rs"]
mod soak;
#[path = "../../examples/soak/writer.rs"]
mod writer;

use crate::support::SANBENCH;

/// Clients and initiators work while the server is killed several times; what was acknowledged is there at the end.
#[test]
fn nothing_acknowledged_is_lost_when_the_array_is_killed() {
    let plan = soak::Plan {
        server: SANBENCH.into(),
        seconds: 6,
        clients: 4,
        initiators: 4,
        kill_every: 1,
        ..soak::Plan::default()
    };
    let report = soak::run(&plan).unwrap_or_else(|why| panic!("{why}"));
    println!("{report}");
    for what in ["kills", "mutations", "writes", "reads"] {
        assert!(report[what].as_u64().is_some_and(|n| n > 0), "no {what}: {report}");
    }
}
