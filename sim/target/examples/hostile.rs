//! Besieges a live target: hostile initiators on one unit, a verifying neighbour on another, for as long as one likes.
//!
//! `hostile <portal> <target name> <neighbour LUN> <victim LUN> <seconds> <connections> [seed]`, for example against
//! `sanbench array serve --export own=64MiB --export victim=64MiB`. Prints what was seen; the status is 1 when the neighbour
//! noticed or the target broke a rule.

use std::process::ExitCode;
use std::time::Duration;

use sanbench_world::{FaultPlan, LiveConfig, LiveWorld};

#[path = "../tests/it/mischief/mod.rs"]
mod mischief;
#[path = "../fuzz/src/talker.rs"]
mod talker;

use mischief::{Plan, Shared, run};

const USAGE: &str =
    "hostile <portal> <target name> <neighbour LUN> <victim LUN> <seconds> <connections> [seed]";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [portal, target, neighbour, victim, seconds, hostiles, rest @ ..] = &arguments[..] else {
        return Err(USAGE.into());
    };
    let seed: u64 = rest.first().map_or(Ok(0), |seed| seed.parse())?;
    let state_dir = std::env::temp_dir().join(format!("sanbench-hostile-{}", std::process::id()));
    let faults = FaultPlan::default();
    let world = LiveWorld::new(LiveConfig {
        seed,
        trace: false,
        state_dir: state_dir.clone(),
        faults,
        capture: false,
    })?;
    let (attackers, own) = (world.node("attackers", &[]), world.node("neighbour", &[]));
    let plan = Plan {
        portal: portal.parse()?,
        target: target.clone(),
        neighbour: neighbour.parse()?,
        victim: victim.parse()?,
        hostiles: hostiles.parse()?,
        until: attackers.now() + Duration::from_secs(seconds.parse()?),
        bound: Duration::from_secs(5),
        patience: Duration::from_secs(60),
    };
    let report = Shared::default();
    run(&attackers, &own, &plan, &report).await;
    mischief::note(&report, |report| println!("{report:#?}"));
    // Nothing is kept there; what cannot be removed does no harm.
    let _ = std::fs::remove_dir_all(state_dir);
    let clean = mischief::note(&report, |report| report.wrong.is_empty());
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
