//! ALUA, path checker, queueing and healing of a multipath map against a scripted target.

use std::time::Duration;

use crate::fake::*;
use sanbench_api::{BlockError, Connector, ConnectorError};
use sanbench_initiator::config::PathsConfig;
use sanbench_initiator::{HostConfig, HostConnector};
use sanbench_wire::scsi::sense::{Asc, Sense, SenseKey};
use sanbench_world::{SimConfig, SimWorld};

fn sim<F: Future<Output = ()>>(body: impl FnOnce(SimWorld) -> F) {
    SimWorld::run(SimConfig { seed: 3, ..SimConfig::default() }, body);
}

fn attention(asc: u16) -> Sense {
    Sense::new(SenseKey::UNIT_ATTENTION, Asc(asc))
}

fn served(site: &Site, portal: &str) -> u32 {
    site.fake.lock().served.get(&at(portal)).copied().unwrap_or(0)
}

/// Reads a few times and tells how many each portal served.
async fn load(site: &Site, device: &std::sync::Arc<dyn sanbench_api::BlockDevice>) -> (u32, u32) {
    let before = (served(site, A), served(site, B));
    for _ in 0..8 {
        device.read(0, 1).await.unwrap();
    }
    (served(site, A) - before.0, served(site, B) - before.1)
}

fn states(site: &Site, a: u8, b: u8) {
    site.fake.lock().alua = [(1, a), (2, b)].into();
}

#[test]
fn optimized_paths_are_preferred_and_the_load_follows_the_states() {
    sim(|world| async move {
        let site = Site::new(world, [1, 2]).await;
        states(&site, 0x0, 0x1);
        let wwn = site.fake.volume(1, 1, 64);
        let connector = site.connector();
        let attached = connector.connect_volume(&info(&[A, B], 1, wwn)).await.unwrap();
        let device = attached.device;
        assert_eq!(attached.paths, 2);
        assert_eq!(load(&site, &device).await, (8, 0));
        // An implicit transition: told by a unit attention, acted on without waiting for the checker's interval.
        states(&site, 0x1, 0x0);
        site.fake.lock().attentions.push_back(attention(0x2a06));
        let start = site.host.now();
        device.read(0, 1).await.unwrap();
        site.host.sleep(Duration::from_millis(100)).await;
        assert_eq!(load(&site, &device).await, (0, 8));
        assert!(site.host.now() - start < secs(2));
        // Without any word, the checker sees it.
        states(&site, 0x0, 0x2);
        site.host.sleep(secs(6)).await;
        assert_eq!(load(&site, &device).await, (8, 0));
        // Equal states share the load.
        states(&site, 0x0, 0x0);
        site.host.sleep(secs(6)).await;
        assert_eq!(load(&site, &device).await, (4, 4));
    });
}

#[test]
fn a_standby_refusal_moves_the_command() {
    sim(|world| async move {
        let site = Site::new(world, [1, 2]).await;
        states(&site, 0x0, 0x1);
        let wwn = site.fake.volume(1, 1, 64);
        let device = site.connector().connect_volume(&info(&[A, B], 1, wwn)).await.unwrap().device;
        for state in [0x2, 0x3] {
            states(&site, 0x0, 0x1);
            site.host.sleep(secs(6)).await;
            states(&site, state, 0x0);
            let start = site.host.now();
            device.write(0, pattern(1, state)).await.unwrap();
            assert_eq!(device.read(0, 1).await.unwrap(), pattern(1, state));
            assert!(site.host.now() - start < secs(2));
        }
    });
}

#[test]
fn a_transition_is_waited_out_and_bounded() {
    sim(|world| async move {
        let site = Site::new(world, [1, 2]).await;
        states(&site, 0x0, 0x1);
        let wwn = site.fake.volume(1, 1, 64);
        let device = site.connector().connect_volume(&info(&[A, B], 1, wwn)).await.unwrap().device;
        states(&site, 0xf, 0xf);
        let (fake, env) = (site.fake.clone(), site.host.clone());
        site.host.spawn(async move {
            env.sleep(secs(20)).await;
            fake.lock().alua = [(1, 0x1), (2, 0x0)].into();
        });
        let start = site.host.now();
        device.write(0, pattern(1, 1)).await.unwrap();
        let took = site.host.now() - start;
        assert!(took >= secs(20) && took < secs(30), "{took:?}");
        site.host.sleep(secs(6)).await;
        assert_eq!(load(&site, &device).await, (0, 8));
        states(&site, 0xf, 0xf);
        let start = site.host.now();
        let error = device.read(0, 1).await.unwrap_err();
        assert!(
            matches!(
                error,
                BlockError::NoPath { .. }
                    | BlockError::Sense { key: 2, .. }
                    | BlockError::Status { status: 2 }
            ),
            "{error}"
        );
        assert!(site.host.now() - start < secs(200));
    });
}

#[test]
fn a_failed_controller_is_fenced_by_its_state() {
    // The portals are in two groups, so a login through the other proves nothing; that the group is out of service does.
    for out_of_service in [true, false] {
        sim(|world| async move {
            let site = Site::new(world, [1, 2]).await;
            states(&site, 0x0, 0x1);
            let wwn = site.fake.volume(1, 1, 4096);
            let connector = site.connector();
            let device = connector.connect_volume(&info(&[A, B], 1, wwn)).await.unwrap().device;
            device.write(0, pattern(256, 1)).await.unwrap();
            site.world.cut_addr(ip("10.0.0.9"), ip("10.0.0.1"));
            if out_of_service {
                states(&site, 0x3, 0x0);
            }
            let start = site.host.now();
            device.write(0, pattern(256, 2)).await.unwrap();
            let took = site.host.now() - start;
            // Found by pings after 10 s; then at once, or when the target's own pings must have ended the session.
            assert_eq!(took < secs(20), out_of_service, "{took:?}");
            assert!(took < secs(90), "{took:?}");
            assert!(site.fake.lock().resets > 0);
            site.world.heal_addr(ip("10.0.0.9"), ip("10.0.0.1"));
            states(&site, 0x0, 0x1);
            site.host.sleep(secs(60)).await;
            assert_eq!(device.read(0, 256).await.unwrap(), pattern(256, 2));
            assert_eq!(load(&site, &device).await, (8, 0), "the load is back");
        });
    }
}

/// Waits until the host knows that both sessions are down.
async fn lose_both(site: &Site) {
    site.world.cut("host", "array");
    site.world.cut("array", "host");
    site.host.sleep(secs(15)).await;
}

#[test]
fn without_paths_commands_fail_or_queue_within_bounds() {
    sim(|world| async move {
        let site = Site::new(world, [1, 1]).await;
        let wwn = site.fake.volume(1, 1, 64);
        for queue in [None, Some(2)] {
            let paths = PathsConfig { queue_if_no_path: queue, ..PathsConfig::default() };
            let connector = HostConnector::new(site.host.clone(), HostConfig { paths, ..site.config() });
            let volume = info(&[A, B], 1, wwn);
            let device = connector.connect_volume(&volume).await.unwrap().device;
            lose_both(&site).await;
            let start = site.host.now();
            let reads: Vec<_> = (0..5)
                .map(|_| {
                    let (device, env) = (device.clone(), site.host.clone());
                    site.host.spawn(async move { (device.read(0, 1).await.is_ok(), env.now()) })
                })
                .collect();
            site.host.sleep(secs(5)).await;
            site.world.heal("host", "array");
            site.world.heal("array", "host");
            let mut good = 0;
            for read in reads {
                let (ok, when) = read.await.unwrap();
                good += usize::from(ok);
                assert_eq!(
                    ok,
                    when > start + secs(1),
                    "a refusal comes at once, an answer after the path is back"
                );
            }
            assert_eq!(good, queue.unwrap_or(0));
            site.host.sleep(secs(30)).await;
            device.write(0, pattern(1, 1)).await.unwrap();
            connector.disconnect_volume(&volume, false).await.unwrap();
            assert_eq!(connector.table().at_rest(), []);
        }
    });
}

#[test]
fn a_path_to_another_volume_is_expelled_and_joins_again_when_right() {
    sim(|world| async move {
        let site = Site::new(world, [1, 1]).await;
        let (wwn, other) = (site.fake.volume(1, 1, 64), site.fake.volume(2, 2, 64));
        let connector = site.connector();
        let volume = info(&[A, B], 1, wwn);
        let device = connector.connect_volume(&volume).await.unwrap().device;
        site.fake.lock().strangers.insert((at(B), 1), other);
        site.fake.lock().attentions.extend([attention(0x3f0e), attention(0x3f0e)]);
        device.write(0, pattern(1, 1)).await.unwrap();
        site.host.sleep(secs(8)).await;
        let census = connector.census();
        assert_eq!((census.devices.len(), census.maps[0].paths.len()), (1, 1), "{census:?}");
        assert_eq!(connector.table().at_rest(), []);
        assert_eq!(load(&site, &device).await, (8, 0));
        site.fake.lock().strangers.clear();
        site.host.sleep(secs(130)).await;
        assert_eq!(connector.census().maps[0].paths.len(), 2);
        assert_eq!(load(&site, &device).await, (4, 4));
        connector.disconnect_volume(&volume, false).await.unwrap();
        assert!(connector.census().is_empty());
    });
}

#[test]
fn a_partial_attach_heals_but_not_with_another_size() {
    sim(|world| async move {
        let site = Site::new(world, [1, 1]).await;
        let wwn = site.fake.volume(1, 1, 64);
        let connector = site.connector();
        let volume = info(&[A, B], 1, wwn);
        site.world.cut_addr(ip("10.0.1.9"), ip("10.0.1.1"));
        let attached = connector.connect_volume(&volume).await.unwrap();
        assert_eq!((attached.path.as_str(), attached.paths), ("/dev/dm-0", 1));
        // The volume grew meanwhile: the path that comes back shows it, the map does not yet (D45).
        site.fake.lock().luns.get_mut(&1).unwrap().blocks = 128;
        site.world.heal_addr(ip("10.0.1.9"), ip("10.0.1.1"));
        site.host.sleep(secs(130)).await;
        assert_eq!(connector.census().devices.len(), 1);
        assert_eq!(connector.table().at_rest(), []);
        assert_eq!(connector.extend_volume(&volume).await, Ok(65_536));
        site.host.sleep(secs(130)).await;
        let census = connector.census();
        assert_eq!((census.devices.len(), census.maps[0].paths.len()), (2, 2));
        assert_eq!(connector.table().at_rest(), []);
        assert_eq!(load(&site, &attached.device).await, (4, 4));
        // A path that comes back too short is left out until it is right.
        site.fake.lock().short.insert((at(B), 1), 100);
        site.world.reset("host", "array");
        site.host.sleep(secs(20)).await;
        assert_eq!(load(&site, &attached.device).await, (8, 0));
        site.fake.lock().short.clear();
        site.host.sleep(secs(20)).await;
        assert_eq!(load(&site, &attached.device).await, (4, 4));
        connector.disconnect_volume(&volume, false).await.unwrap();
        site.host.sleep(secs(300)).await;
        assert!(connector.census().is_empty(), "nothing heals what is gone");
    });
}

#[test]
fn what_a_forced_disconnect_leaves_in_doubt_is_fenced_by_the_next_attach() {
    sim(|world| async move {
        let site = Site::new(world, [1, 1]).await;
        site.fake.lock().answers = vec![("DefaultTime2Wait", "60")];
        let wwn = site.fake.volume(1, 1, 4096);
        let paths = PathsConfig { queue_if_no_path: None, ..PathsConfig::default() };
        let config = HostConfig { paths, replacement_timeout: secs(12), ..site.config() };
        let connector = HostConnector::new(site.host.clone(), config);
        let device = connector.connect_volume(&info(&[A], 1, wwn)).await.unwrap().device;
        drop(device);
        connector.disconnect_volume(&info(&[A], 1, wwn), false).await.unwrap();
        // A map whose second portal is dead from the start.
        site.world.cut_addr(ip("10.0.1.9"), ip("10.0.1.1"));
        let device = connector.connect_volume(&info(&[A, B], 1, wwn)).await.unwrap().device;
        site.world.cut_addr(ip("10.0.0.9"), ip("10.0.0.1"));
        assert!(device.write(0, pattern(64, 1)).await.is_err());
        connector.disconnect_volume(&info(&[A, B], 1, wwn), true).await.unwrap();
        assert!(connector.census().is_empty());
        // Now the other portal alone works; the old write may still be on its way to the first.
        site.world.heal_addr(ip("10.0.1.9"), ip("10.0.1.1"));
        let device = connector.connect_volume(&info(&[A, B], 1, wwn)).await.unwrap().device;
        device.write(0, pattern(64, 2)).await.unwrap();
        site.world.heal_addr(ip("10.0.0.9"), ip("10.0.0.1"));
        site.host.sleep(secs(100)).await;
        assert_eq!(device.read(0, 64).await.unwrap(), pattern(64, 2));
    });
}

#[test]
fn rules_of_the_host_hold_through_faults_of_every_kind() {
    for seed in 0..12u64 {
        SimWorld::run(SimConfig { seed, ..SimConfig::default() }, |world| async move {
            let site = Site::new(world, if seed % 2 == 0 { [1, 1] } else { [1, 2] }).await;
            let wwn = site.fake.volume(1, 1, 256);
            let connector = site.connector();
            let volume = info(&[A, B], 1, wwn);
            let mut dice = site.host.rng("steps");
            for _ in 0..20 {
                match dice.below(8) {
                    0 => site.world.cut_addr(ip("10.0.0.9"), ip("10.0.0.1")),
                    1 => site.world.cut_addr(ip("10.0.1.9"), ip("10.0.1.1")),
                    2 => {
                        site.world.reset("host", "array");
                    }
                    3 | 4 => {
                        if let Ok(attached) = connector.connect_volume(&volume).await {
                            assert!(attached.paths >= 1);
                        }
                    }
                    5 => {
                        let done = connector.disconnect_volume(&volume, dice.chance(1, 2)).await;
                        assert!(matches!(done, Ok(()) | Err(ConnectorError::FlushFailed(_))), "{done:?}");
                    }
                    6 => site
                        .fake
                        .lock()
                        .refuse
                        .push_back(sanbench_wire::pdu::LoginStatus::SERVICE_UNAVAILABLE),
                    _ => {
                        site.world.heal_addr(ip("10.0.0.9"), ip("10.0.0.1"));
                        site.world.heal_addr(ip("10.0.1.9"), ip("10.0.1.1"));
                    }
                }
                site.host.sleep(Duration::from_millis(dice.below(20_000))).await;
                assert_eq!(connector.table().check(), Ok(()), "seed {seed}");
                assert_eq!(connector.table().at_rest(), [], "seed {seed}");
            }
            connector.disconnect_volume(&volume, true).await.unwrap();
            assert!(connector.census().is_empty(), "seed {seed}");
        });
    }
}
