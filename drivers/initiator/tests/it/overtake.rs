//! MPX-002, D29: a write that was queued on a failed path is never applied after a newer one on another path. The simulated
//! network keeps what a cut path swallowed and hands it over when the path heals, while the old session may still live.

use std::time::Duration;

use crate::fake::*;
use proptest::prelude::*;
use sanbench_api::Connector;
use sanbench_initiator::config::ConnectorDefects;
use sanbench_initiator::{HostConfig, HostConnector};
use sanbench_world::{SimConfig, SimWorld};

#[derive(Clone, Copy, Debug)]
struct Case {
    seed: u64,
    /// Both portals in one target portal group.
    one_group: bool,
    /// From the cut to the first write, ms.
    lead: u64,
    /// From the cut to the healing, ms.
    heal: u64,
    /// Blocks of each write; 64 go into one command.
    blocks: usize,
    /// Newer writes of the same blocks.
    newer: u8,
    /// The caller of the first write gives up after this time, ms.
    patience: Option<u64>,
    /// Seconds until the host itself logs in again.
    time2wait: &'static str,
}

/// Whether the newest data is what the array holds in the end.
fn newest_wins(case: Case, defects: ConnectorDefects) -> bool {
    SimWorld::run(SimConfig { seed: case.seed, ..SimConfig::default() }, |world| async move {
        let ms = Duration::from_millis;
        let site = Site::new(world, if case.one_group { [1, 1] } else { [1, 2] }).await;
        site.fake.lock().answers = vec![("DefaultTime2Wait", case.time2wait)];
        let wwn = site.fake.volume(1, 1, 4096);
        let connector = HostConnector::new(site.host.clone(), HostConfig { defects, ..site.config() });
        let device = connector.connect_volume(&info(&[A, B], 1, wwn)).await.unwrap().device;
        site.world.cut_addr(ip("10.0.0.9"), ip("10.0.0.1"));
        let (world, env) = (site.world.clone(), site.host.clone());
        site.array.spawn(async move {
            env.sleep(ms(case.heal)).await;
            world.heal_addr(ip("10.0.0.9"), ip("10.0.0.1"));
        });
        site.host.sleep(ms(case.lead)).await;
        let first = device.write(0, pattern(case.blocks, 1));
        match case.patience {
            Some(limit) => drop(site.host.timeout(ms(limit), first).await),
            None => first.await.unwrap(),
        }
        for n in 0..case.newer {
            device.write(0, pattern(case.blocks, 2 + n)).await.unwrap();
        }
        site.host.sleep(secs(200)).await;
        let last = pattern(case.blocks, 1 + case.newer);
        let holds: Vec<u8> = {
            let array = site.fake.lock();
            let data = &array.luns[&1].data;
            (0..case.blocks as u64).flat_map(|lba| data[&lba].clone()).collect()
        };
        holds == last
    })
}

fn case() -> impl Strategy<Value = Case> {
    let times = (0u64..3000, 1000u64..60_000, prop_oneof![Just("2"), Just("20"), Just("60")]);
    let work = (1usize..400, 1u8..4, proptest::option::of(1u64..20_000));
    (any::<u64>(), any::<bool>(), times, work).prop_map(
        |(seed, one_group, (lead, heal, time2wait), (blocks, newer, patience))| Case {
            seed,
            one_group,
            lead,
            heal,
            blocks,
            newer,
            patience,
            time2wait,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn an_old_write_never_wins(case in case()) {
        prop_assert!(newest_wins(case, ConnectorDefects::default()));
    }
}

/// The same, with the fence left out: over the seeds the old bytes must win at least sometimes, or the test above shows nothing.
#[test]
fn without_the_fence_old_writes_win() {
    let defects = ConnectorDefects { overtake_on_failover: true, ..ConnectorDefects::default() };
    let case = |seed| Case {
        seed,
        one_group: true,
        lead: 0,
        heal: 4_000 + 250 * seed,
        blocks: 256,
        newer: 2,
        patience: None,
        time2wait: "60",
    };
    let lost: Vec<u64> = (0..40).filter(|seed| !newest_wins(case(*seed), defects)).collect();
    assert!(lost.len() > 5, "only the runs {lost:?} of 40 show the planted defect");
    assert!((0..40).all(|seed| newest_wins(case(seed), ConnectorDefects::default())));
}
