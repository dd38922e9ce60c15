//! Hostile initiators against a target in the simulated world, with a neighbour that must not notice. `examples/hostile.rs`
//! does the same on real sockets for as long as one likes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::bench::Bench;
use crate::mischief::{Plan, Report, Shared, run};
use sanbench_array::{Command, DeviceId};
use sanbench_target::{Target, TargetConfig};
use sanbench_world::{SimConfig, SimWorld};

const PORTAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 3260);

fn besiege(seed: u64, hostiles: u32, seconds: u64) -> Report {
    SimWorld::run(SimConfig { seed, ..SimConfig::default() }, |world| async move {
        let bench = Bench::new();
        let victim = bench.lun("victim", 4096);
        let own = bench.lun("own", 4096);
        for lun in [victim, own] {
            bench.apply(Command::OpenExport { lun });
        }
        let array = bench.parts.array.clone();
        let number = |id| array.lock().exports().find(|(lun, _)| *lun == id).unwrap().1;
        let name = array.lock().target_iqn().to_owned();
        let node = world.node("array", &[PORTAL.ip()]);
        let target = Target::new(array.clone(), TargetConfig::default());
        target.spawn(&node, vec![node.listen(PORTAL).await.unwrap()]);
        let [attackers, neighbour] = [("attackers", "10.0.0.8"), ("neighbour", "10.0.0.9")]
            .map(|(name, address)| world.node(name, &[address.parse().unwrap()]));
        let plan = Plan {
            portal: PORTAL,
            target: name,
            neighbour: number(own),
            victim: number(victim),
            hostiles,
            until: Duration::from_secs(seconds),
            bound: Duration::from_secs(1),
            patience: Duration::from_secs(60),
        };
        let report = Shared::default();
        run(&attackers, &neighbour, &plan, &report).await;
        // Whatever is left of them ends by itself.
        attackers.sleep(Duration::from_secs(120)).await;
        let mut report = std::mem::take(&mut *report.lock().unwrap());
        if (target.connections(), target.sessions()) != (0, 0) {
            report.wrong.push(format!(
                "{} connections, {} sessions stay",
                target.connections(),
                target.sessions()
            ));
        }
        let faults = array.lock().audit();
        report.wrong.extend(faults);
        report.wrong.extend(world.panics().into_iter().map(|node| format!("a task of {node} panicked")));
        assert!(bench.parts.array.lock().device(DeviceId::Lun(own)).is_some());
        report
    })
}

#[test]
fn a_neighbour_does_not_notice() {
    let (mut verified, mut heard) = (0, 0);
    for seed in 0..6 {
        let report = besiege(seed, 8, 20);
        assert!(report.wrong.is_empty(), "seed {seed}: {report:#?}");
        verified += report.verified;
        heard += report.heard;
    }
    assert!(verified > 1000 && heard > 1000, "{verified} verified, {heard} answers");
}

/// The same seed gives the same siege.
#[test]
fn a_siege_can_be_repeated() {
    let [one, again] = [0, 0].map(|_| format!("{:?}", besiege(99, 3, 5)));
    assert_eq!(one, again);
}
