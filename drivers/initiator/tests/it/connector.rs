//! The connector against a scripted target in a simulated world.

use crate::fake::*;
use sanbench_api::{BlockError, Connector, ConnectorError, LbaState, Outcome};
use sanbench_initiator::chap::ChapHash;
use sanbench_initiator::config::{ConnectorDefects, DigestOffer};
use sanbench_initiator::host::UeventPlan;
use sanbench_initiator::{HostConfig, HostConnector, SessionConfig};
use sanbench_wire::pdu::LoginStatus;
use sanbench_wire::scsi::sense::{Asc, Sense, SenseKey};
use sanbench_wire::scsi::status::Status;
use sanbench_world::{Fault, FaultPlan, SimConfig, SimWorld};

fn sim<F: Future<Output = ()>>(body: impl FnOnce(SimWorld) -> F) {
    SimWorld::run(SimConfig { seed: 1, ..SimConfig::default() }, body);
}

fn hard() -> Sense {
    Sense::new(SenseKey::HARDWARE_ERROR, Asc::INTERNAL_TARGET_FAILURE)
}

#[test]
fn single_path_life() {
    sim(|world| async move {
        let site = Site::new(world, [1, 2]).await;
        let wwn = site.fake.volume(1, 1, 4096);
        let connector = site.connector();
        let info = info(&[A], 1, wwn);
        let attached = connector.connect_volume(&info).await.unwrap();
        assert_eq!((attached.path.as_str(), attached.wwn, attached.paths), ("/dev/sda", wwn, 1));
        assert_eq!(attached.device.capacity_blocks(), 4096);
        // 300 blocks: five commands of at most 64.
        attached.device.write(10, pattern(300, 1)).await.unwrap();
        assert_eq!(attached.device.read(10, 300).await.unwrap(), pattern(300, 1));
        assert_eq!(attached.device.read(9, 1).await.unwrap(), vec![0; 512]);
        assert_eq!(attached.device.lba_status(10).await.unwrap()[0].state, LbaState::Mapped);
        attached.device.unmap(&[(10, 250), (300, 5), (306, 4)]).await.unwrap();
        assert_eq!(attached.device.lba_status(10).await.unwrap()[0].state, LbaState::Deallocated);
        assert_eq!(attached.device.read(10, 250).await.unwrap(), vec![0; 250 * 512]);
        assert!(matches!(attached.device.read(4090, 7).await, Err(BlockError::OutOfRange { .. })));
        assert!(matches!(
            attached.device.write(0, pattern(1, 0).slice(1..)).await,
            Err(BlockError::OutOfRange { .. })
        ));
        insta::assert_debug_snapshot!(connector.census());
        // Connecting again gives the same device.
        assert_eq!(connector.connect_volume(&info).await.unwrap().path, "/dev/sda");
        connector.disconnect_volume(&info, false).await.unwrap();
        assert!(connector.census().is_empty(), "{:?}", connector.census());
        assert!(site.fake.lock().flushes > 0);
        assert_eq!(site.fake.lock().logouts, 1);
        assert_eq!(attached.device.read(0, 1).await, Err(BlockError::Removed));
        connector.disconnect_volume(&info, false).await.unwrap();
    });
}

#[test]
fn sessions_are_shared_and_kept_while_used() {
    sim(|world| async move {
        let site = Site::new(world, [1, 2]).await;
        let (one, two) = (site.fake.volume(1, 1, 64), site.fake.volume(300, 2, 64));
        let connector = site.connector();
        let (first, second) = (info(&[A, B], 1, one), info(&[A, B], 300, two));
        connector.connect_volume(&first).await.unwrap();
        let b = connector.connect_volume(&second).await.unwrap();
        assert_eq!(b.path, "/dev/dm-1");
        assert_eq!(connector.census().sessions.len(), 2);
        assert_eq!(connector.report_luns(at(A), IQN).await, Ok(vec![1, 300]));
        assert!(connector.report_luns(at(A), "iqn.other").await.is_err());
        connector.disconnect_volume(&first, false).await.unwrap();
        assert_eq!(connector.census().sessions.len(), 2, "the other volume uses them");
        b.device.write(0, pattern(4, 2)).await.unwrap();
        // sda is free again and is taken by the next device.
        let third = info(&[A], 1, one);
        assert_eq!(connector.connect_volume(&third).await.unwrap().path, "/dev/sda");
        connector.disconnect_volume(&third, false).await.unwrap();
        connector.disconnect_volume(&second, false).await.unwrap();
        assert!(connector.census().is_empty());
    });
}

#[test]
fn login_with_every_hash_digest_and_transfer_setting() {
    for hash in [ChapHash::Md5, ChapHash::Sha1, ChapHash::Sha256, ChapHash::Sha3_256] {
        for (initial_r2t, immediate_data) in [(true, true), (true, false), (false, true), (false, false)] {
            sim(|world| async move {
                let site = Site::new(world, [1, 2]).await;
                let auth = sanbench_api::ChapAuth {
                    username: "host".into(),
                    password: sanbench_api::Secret::new("host-secret-1"),
                    target: Some(("array".into(), sanbench_api::Secret::new("array-secret-2"))),
                };
                {
                    let mut array = site.fake.lock();
                    array.chap = Some((auth.clone(), hash));
                    array.window = 3;
                    array.data_in = 700;
                    array.answers = vec![
                        ("MaxBurstLength", "4096"),
                        ("FirstBurstLength", "2048"),
                        ("MaxRecvDataSegmentLength", "1024"),
                    ];
                }
                let wwn = site.fake.volume(1, 1, 4096);
                let session = SessionConfig {
                    header_digest: DigestOffer::Prefer,
                    data_digest: DigestOffer::Require,
                    initial_r2t,
                    immediate_data,
                    ..SessionConfig::default()
                };
                let connector =
                    HostConnector::new(site.host.clone(), HostConfig { session, ..site.config() });
                let mut info = info(&[A], 1, wwn);
                info.auth = Some(auth);
                let attached = connector.connect_volume(&info).await.unwrap();
                for (lba, blocks) in [(0, 1), (1, 3), (10, 5), (20, 64), (100, 200)] {
                    attached.device.write(lba, pattern(blocks, 5)).await.unwrap();
                    assert_eq!(attached.device.read(lba, blocks as u32).await.unwrap(), pattern(blocks, 5));
                }
                connector.disconnect_volume(&info, false).await.unwrap();
            });
        }
    }
}

#[test]
fn authentication_failures_are_told_and_leave_nothing() {
    sim(|world| async move {
        let site = Site::new(world, [1, 2]).await;
        let wwn = site.fake.volume(1, 1, 64);
        let auth = |password: &str| sanbench_api::ChapAuth {
            username: "host".into(),
            password: sanbench_api::Secret::new(password),
            target: Some(("array".into(), sanbench_api::Secret::new("array-secret-2"))),
        };
        site.fake.lock().chap = Some((auth("right-secret"), ChapHash::Sha256));
        let connector = site.connector();
        let mut info = info(&[A, B], 1, wwn);
        for (given, impostor) in
            [(None, false), (Some(auth("wrong-secret")), false), (Some(auth("right-secret")), true)]
        {
            site.fake.lock().impostor = impostor;
            info.auth = given;
            let error = connector.connect_volume(&info).await.unwrap_err();
            assert!(matches!(error, ConnectorError::LoginRefused { .. }), "{error}");
            assert!(!error.to_string().contains("secret"));
            assert!(connector.census().is_empty());
        }
        // A target without CHAP gets no session when it should prove itself.
        site.fake.lock().chap = None;
        info.auth = Some(auth("right-secret"));
        assert!(connector.connect_volume(&info).await.is_err());
        assert!(connector.census().is_empty());
    });
}

#[test]
fn dead_portals_are_survived() {
    sim(|world| async move {
        let site = Site::new(world, [1, 2]).await;
        let wwn = site.fake.volume(1, 1, 64);
        let connector = site.connector();
        let nobody = "10.0.0.1:9999";
        site.world.cut_addr(ip("10.0.1.9"), ip("10.0.1.1"));
        let start = site.host.now();
        // Refused, black-holed, working.
        let many = info(&[nobody, B, A], 1, wwn);
        let attached = connector.connect_volume(&many).await.unwrap();
        assert_eq!((attached.path.as_str(), attached.paths), ("/dev/dm-0", 1), "the others may join later");
        assert!(site.host.now() - start < secs(30));
        assert_eq!(connector.census().nodes.len(), 1);
        connector.disconnect_volume(&many, false).await.unwrap();
        assert!(connector.census().is_empty());

        let mut single = info(&[nobody, A], 1, wwn);
        single.multipath = false;
        assert_eq!(connector.connect_volume(&single).await.unwrap().paths, 1);
        connector.disconnect_volume(&single, false).await.unwrap();

        let mut both = info(&[nobody, A], 1, wwn);
        both.enforce_multipath = true;
        let error = connector.connect_volume(&both).await.unwrap_err();
        assert_eq!(error, ConnectorError::TooFewPaths { found: 1 });
        assert!(connector.census().is_empty());
        let error = connector.connect_volume(&info(&[nobody], 1, wwn)).await.unwrap_err();
        assert!(matches!(error, ConnectorError::NoSession { .. }), "{error}");
        assert_eq!(error.outcome(), Outcome::NotDone);
        assert!(connector.census().is_empty());
    });
}

#[test]
fn temporary_refusals_are_tried_again_and_redirections_followed() {
    sim(|world| async move {
        let site = Site::new(world, [1, 2]).await;
        let wwn = site.fake.volume(1, 1, 64);
        let connector = site.connector();
        let info = info(&[A], 1, wwn);
        site.fake.lock().refuse.extend([LoginStatus::SERVICE_UNAVAILABLE, LoginStatus::OUT_OF_RESOURCES]);
        connector.connect_volume(&info).await.unwrap();
        assert_eq!(site.fake.lock().logins, 3);
        connector.disconnect_volume(&info, false).await.unwrap();
        site.fake.lock().redirect = Some(B.to_owned());
        connector.connect_volume(&info).await.unwrap();
        connector.disconnect_volume(&info, false).await.unwrap();
        // A redirection that always leads on ends after a bound.
        site.fake.lock().redirect = Some("10.0.0.1:3260,7".to_owned());
        let before = site.fake.lock().logins;
        assert!(matches!(connector.connect_volume(&info).await, Err(ConnectorError::NoSession { .. })));
        assert!(site.fake.lock().logins - before <= 5);
        assert!(connector.census().is_empty());
    });
}

#[test]
fn a_late_lun_is_found_and_a_missing_one_leaves_nothing() {
    sim(|world| async move {
        let site = Site::new(world, [1, 2]).await;
        let wwn = site.fake.volume(5, 1, 64);
        let late = site.fake.lock().luns.remove(&5).unwrap();
        let connector = site.connector();
        let info = info(&[A, B], 5, wwn);
        let error = connector.connect_volume(&info).await.unwrap_err();
        assert_eq!(error, ConnectorError::DeviceNotFound { lun: 5, scans: 4 });
        assert!(connector.census().is_empty());
        let (fake, host) = (site.fake.clone(), site.host.clone());
        site.host.spawn(async move {
            host.sleep(secs(6)).await;
            fake.lock().luns.insert(5, late);
        });
        let attached = connector.connect_volume(&info).await.unwrap();
        assert_eq!(attached.paths, 2);
    });
}

#[test]
fn another_volume_at_the_lun_is_refused() {
    sim(|world| async move {
        let site = Site::new(world, [1, 2]).await;
        let other = site.fake.volume(1, 9, 64);
        let mut wanted = other;
        wanted.0[15] = 1;
        let connector = site.connector();
        for portals in [&[A][..], &[A, B][..]] {
            let error = connector.connect_volume(&info(portals, 1, wanted)).await.unwrap_err();
            assert_eq!(error, ConnectorError::WrongDevice { lun: 1, expected: wanted, found: other });
            assert!(connector.census().is_empty());
        }
    });
}

/// A volume is unmapped behind the host's back, its LUN number given to another one: the device of the first is stale.
async fn stale_device(
    site: &Site,
    defects: ConnectorDefects,
) -> (sanbench_api::Wwn, sanbench_api::Wwn, HostConnector) {
    let old = site.fake.volume(1, 1, 64);
    let keep = site.fake.volume(2, 3, 64);
    let connector = HostConnector::new(site.host.clone(), HostConfig { defects, ..site.config() });
    connector.connect_volume(&info(&[A], 2, keep)).await.unwrap();
    let first = connector.connect_volume(&info(&[A], 1, old)).await.unwrap();
    first.device.write(0, pattern(1, 1)).await.unwrap();
    let new = site.fake.volume(1, 2, 128);
    site.fake
        .lock()
        .attentions
        .push_back(Sense::new(SenseKey::UNIT_ATTENTION, Asc::REPORTED_LUNS_DATA_HAS_CHANGED));
    if !defects.skip_wwn_check {
        // MPX-008: the old device does not write to the new volume.
        let error = first.device.write(0, pattern(1, 7)).await.unwrap_err();
        assert!(matches!(error, BlockError::NoPath { .. }), "{error}");
        assert!(site.fake.lock().luns[&1].data.is_empty());
    }
    (old, new, connector)
}

#[test]
fn a_stale_device_is_replaced() {
    sim(|world| async move {
        let site = Site::new(world, [1, 2]).await;
        let (_, new, connector) = stale_device(&site, ConnectorDefects::default()).await;
        let attached = connector.connect_volume(&info(&[A], 1, new)).await.unwrap();
        assert_eq!((attached.wwn, attached.device.capacity_blocks()), (new, 128));
        attached.device.write(100, pattern(1, 7)).await.unwrap();
        connector.disconnect_volume(&info(&[A], 1, new), false).await.unwrap();
        assert_eq!(connector.census().devices.len(), 1);
    });
}

#[test]
fn defect_d36_takes_the_stale_device() {
    sim(|world| async move {
        let site = Site::new(world, [1, 2]).await;
        let defects = ConnectorDefects { skip_wwn_check: true, ..ConnectorDefects::default() };
        let (old, new, connector) = stale_device(&site, defects).await;
        let attached = connector.connect_volume(&info(&[A], 1, new)).await.unwrap();
        assert_eq!(attached.wwn, old, "the cached identity, not the one of the device");
        assert_eq!(attached.device.capacity_blocks(), 64);
    });
}

#[test]
fn multipath_survives_the_loss_of_a_path() {
    for tags in [[1, 1], [1, 2]] {
        sim(|world| async move {
            let site = Site::new(world, tags).await;
            let wwn = site.fake.volume(1, 1, 4096);
            let connector = site.connector();
            let info = info(&[A, B], 1, wwn);
            let attached = connector.connect_volume(&info).await.unwrap();
            assert_eq!((attached.path.as_str(), attached.paths), ("/dev/dm-0", 2));
            assert_eq!(attached.multipath_id, Some(format!("3{wwn}")));
            attached.device.write(0, pattern(256, 1)).await.unwrap();
            site.world.cut_addr(ip("10.0.0.9"), ip("10.0.0.1"));
            // Writes are in flight on the lost path; they come to an end on the other, in order.
            for round in 2..6 {
                attached.device.write(0, pattern(256, round)).await.unwrap();
                assert_eq!(attached.device.read(0, 256).await.unwrap(), pattern(256, round));
            }
            let down = connector.census().sessions.iter().filter(|s| !s.logged_in).count();
            assert_eq!(down, 1);
            assert_eq!(connector.extend_volume(&info).await.unwrap_err().outcome(), Outcome::NotDone);
            site.world.heal_addr(ip("10.0.0.9"), ip("10.0.0.1"));
            site.host.sleep(secs(200)).await;
            assert_eq!(attached.device.read(0, 256).await.unwrap(), pattern(256, 5), "nothing old came late");
            assert!(connector.census().sessions.iter().all(|s| s.logged_in), "the path is back");
            connector.disconnect_volume(&info, false).await.unwrap();
            assert!(connector.census().is_empty());
        });
    }
}

/// D29: what was on its way over the lost path arrives while the old session is alive at the target, before this host logs
/// in there again. Only the fence through the other portal keeps it from being applied after newer writes.
#[test]
fn a_write_on_a_lost_path_never_comes_late() {
    sim(|world| async move {
        let site = Site::new(world, [1, 1]).await;
        site.fake.lock().answers = vec![("DefaultTime2Wait", "60")];
        let wwn = site.fake.volume(1, 1, 4096);
        let connector = site.connector();
        let attached = connector.connect_volume(&info(&[A, B], 1, wwn)).await.unwrap();
        site.world.cut_addr(ip("10.0.0.9"), ip("10.0.0.1"));
        for round in 1..4 {
            attached.device.write(0, pattern(256, round)).await.unwrap();
        }
        assert_eq!(connector.census().sessions.iter().filter(|s| s.logged_in).count(), 1);
        site.world.heal_addr(ip("10.0.0.9"), ip("10.0.0.1"));
        site.host.sleep(secs(100)).await;
        assert_eq!(attached.device.read(0, 256).await.unwrap(), pattern(256, 3));
    });
}

#[test]
fn all_paths_lost_and_back_or_gone() {
    sim(|world| async move {
        let site = Site::new(world, [1, 1]).await;
        let wwn = site.fake.volume(1, 1, 4096);
        let connector = site.connector();
        let attached = connector.connect_volume(&info(&[A, B], 1, wwn)).await.unwrap();
        site.world.cut("host", "array");
        site.world.cut("array", "host");
        let (device, world, host) = (attached.device.clone(), site.world.clone(), site.host.clone());
        site.array.spawn(async move {
            host.sleep(secs(40)).await;
            world.heal("host", "array");
            world.heal("array", "host");
        });
        device.write(3, pattern(2, 3)).await.unwrap();
        assert_eq!(device.read(3, 2).await.unwrap(), pattern(2, 3));
        site.world.cut("host", "array");
        site.world.cut("array", "host");
        let start = site.host.now();
        let error = device.write(3, pattern(2, 4)).await.unwrap_err();
        assert!(matches!(error, BlockError::NoAnswer { .. }), "{error}");
        assert!(site.host.now() - start < secs(200), "the queue is bounded");
        // The lost write is in doubt: a newer one must not be overtaken by it, so it is not sent.
        assert!(matches!(device.write(4, pattern(1, 5)).await, Err(BlockError::NoPath { .. })));
        // Forced detach ends all the same (INV-H5).
        connector.disconnect_volume(&info(&[A, B], 1, wwn), true).await.unwrap();
        assert!(connector.census().is_empty(), "{:?}", connector.census());
    });
}

#[test]
fn a_single_path_waits_for_its_session() {
    sim(|world| async move {
        let site = Site::new(world, [1, 1]).await;
        let wwn = site.fake.volume(1, 1, 4096);
        let connector = site.connector();
        let attached = connector.connect_volume(&info(&[A], 1, wwn)).await.unwrap();
        for round in 0..3 {
            site.world.reset("host", "array");
            attached.device.write(0, pattern(64, round)).await.unwrap();
            assert_eq!(attached.device.read(0, 64).await.unwrap(), pattern(64, round));
        }
        // A target that is deaf to pings is given up and found again.
        site.fake.lock().deaf = true;
        site.host.sleep(secs(11)).await;
        assert!(!connector.census().sessions[0].logged_in);
        site.fake.lock().deaf = false;
        site.host.sleep(secs(11)).await;
        assert!(connector.census().sessions[0].logged_in);
    });
}

#[test]
fn sense_and_status_policy() {
    sim(|world| async move {
        let site = Site::new(world, [1, 1]).await;
        let wwn = site.fake.volume(1, 1, 4096);
        let connector = site.connector();
        let attached = connector.connect_volume(&info(&[A], 1, wwn)).await.unwrap();
        let attention = |asc| Sense::new(SenseKey::UNIT_ATTENTION, asc);
        site.fake.lock().attentions.extend([
            attention(Asc::POWER_ON_RESET),
            attention(Asc::CAPACITY_DATA_HAS_CHANGED),
            attention(Asc::REPORTED_LUNS_DATA_HAS_CHANGED),
            attention(Asc::BUS_DEVICE_RESET),
            Sense::new(SenseKey::ABORTED_COMMAND, Asc::PROTOCOL_SERVICE_CRC_ERROR),
        ]);
        site.fake.lock().statuses.extend([Status::BUSY, Status::TASK_SET_FULL]);
        attached.device.write(0, pattern(1, 1)).await.unwrap();
        site.fake.lock().statuses.extend([Status::BUSY; 60]);
        assert_eq!(attached.device.read(0, 1).await, Err(BlockError::Status { status: 8 }));
        site.fake.lock().statuses.clear();
        site.fake.lock().statuses.push_back(Status::RESERVATION_CONFLICT);
        assert_eq!(attached.device.read(0, 1).await, Err(BlockError::Status { status: 0x18 }));
        site.fake.lock().attentions.push_back(hard());
        let error = attached.device.write(0, pattern(1, 1)).await.unwrap_err();
        assert!(matches!(error, BlockError::Sense { key: 4, asc: 0x44, .. }));
        assert_eq!(error.outcome(), Outcome::Unknown);
    });
}

#[test]
fn command_timeouts_climb_the_ladder() {
    sim(|world| async move {
        let site = Site::new(world, [1, 1]).await;
        let wwn = site.fake.volume(1, 1, 4096);
        let connector = site.connector();
        let attached = connector.connect_volume(&info(&[A], 1, wwn)).await.unwrap();
        // What was aborted is sent again, and fails when it is never answered.
        site.fake.lock().swallow = 1;
        attached.device.write(0, pattern(1, 1)).await.unwrap();
        assert_eq!(site.fake.ladder(), (1, 0, 1));
        site.fake.lock().swallow = 3;
        let error = attached.device.write(0, pattern(1, 1)).await.unwrap_err();
        assert!(matches!(error, BlockError::NoAnswer { .. }), "{error}");
        assert_eq!(site.fake.ladder(), (4, 0, 1));
        // Neither abort nor reset works: the session is dropped, and the command sent again in the next one.
        {
            let mut array = site.fake.lock();
            array.abort_works = false;
            array.swallow = 1;
        }
        attached.device.write(0, pattern(1, 2)).await.unwrap();
        assert_eq!(site.fake.ladder(), (5, 1, 2));
        assert_eq!(attached.device.read(0, 1).await.unwrap(), pattern(1, 2));
    });
}

#[test]
fn flush_failure_keeps_or_forces() {
    sim(|world| async move {
        let site = Site::new(world, [1, 1]).await;
        let wwn = site.fake.volume(1, 1, 4096);
        let connector = site.connector();
        let info = info(&[A, B], 1, wwn);
        let attached = connector.connect_volume(&info).await.unwrap();
        let before = connector.census();
        site.fake.lock().flush_sense = Some(hard());
        let error = connector.disconnect_volume(&info, false).await.unwrap_err();
        assert!(matches!(error, ConnectorError::FlushFailed(BlockError::Sense { .. })), "{error}");
        assert_eq!(connector.census(), before);
        attached.device.write(0, pattern(1, 1)).await.unwrap();
        connector.disconnect_volume(&info, true).await.unwrap();
        assert!(connector.census().is_empty());
    });
}

#[test]
fn defects_of_disconnect() {
    sim(|world| async move {
        let site = Site::new(world, [1, 1]).await;
        let wwn = site.fake.volume(1, 1, 4096);
        let info = info(&[A, B], 1, wwn);
        let defects = ConnectorDefects { leave_devices_on_force: true, ..ConnectorDefects::default() };
        let connector = HostConnector::new(site.host.clone(), HostConfig { defects, ..site.config() });
        connector.connect_volume(&info).await.unwrap();
        site.fake.lock().flush_sense = Some(hard());
        assert!(connector.disconnect_volume(&info, true).await.is_err());
        assert_eq!(connector.census().devices.len(), 2, "D44");
        site.fake.lock().flush_sense = None;
        connector.disconnect_volume(&info, true).await.unwrap();
        let flushes = site.fake.lock().flushes;
        let defects = ConnectorDefects { skip_flush_on_disconnect: true, ..ConnectorDefects::default() };
        let connector = HostConnector::new(site.host.clone(), HostConfig { defects, ..site.config() });
        connector.connect_volume(&info).await.unwrap();
        connector.disconnect_volume(&info, false).await.unwrap();
        assert_eq!(site.fake.lock().flushes, flushes);
    });
}

#[test]
fn extend_needs_every_path() {
    sim(|world| async move {
        let site = Site::new(world, [1, 2]).await;
        let wwn = site.fake.volume(1, 1, 64);
        let info = info(&[A, B], 1, wwn);
        let connector = site.connector();
        let attached = connector.connect_volume(&info).await.unwrap();
        site.fake.lock().luns.get_mut(&1).unwrap().blocks = 128;
        assert!(attached.device.read(64, 1).await.is_err());
        site.fake
            .lock()
            .attentions
            .push_back(Sense::new(SenseKey::UNIT_ATTENTION, Asc::CAPACITY_DATA_HAS_CHANGED));
        assert_eq!(connector.extend_volume(&info).await, Ok(65_536));
        attached.device.read(127, 1).await.unwrap();
        let sizes: Vec<u64> = connector.census().devices.iter().map(|d| d.size_bytes).collect();
        assert_eq!(sizes, [65_536, 65_536]);
        assert_eq!(connector.census().maps[0].size_bytes, 65_536);
        // Another extend between the two readings: they are read again.
        site.fake.lock().growth = Some(192);
        assert_eq!(connector.extend_volume(&info).await, Ok(192 * 512));
        // Paths that go on to show different sizes are refused.
        site.fake.lock().short.insert((at(B), 1), 160);
        let error = connector.extend_volume(&info).await.unwrap_err();
        assert!(matches!(error, ConnectorError::UnequalPaths { .. }), "{error}");
        site.fake.lock().short.clear();
        // One path gone: nothing changes anywhere.
        site.fake.lock().luns.get_mut(&1).unwrap().blocks = 256;
        site.fake.lock().hidden.push((at(B), 1));
        let error = connector.extend_volume(&info).await.unwrap_err();
        assert!(matches!(error, ConnectorError::UnequalPaths { .. }), "{error}");
        assert_eq!(attached.device.capacity_blocks(), 192);
        connector.disconnect_volume(&info, false).await.unwrap();
        assert!(matches!(connector.extend_volume(&info).await, Err(ConnectorError::DeviceNotFound { .. })));
    });
}

#[test]
fn defect_d45_extends_one_path() {
    sim(|world| async move {
        let site = Site::new(world, [1, 2]).await;
        let wwn = site.fake.volume(1, 1, 64);
        let info = info(&[A, B], 1, wwn);
        let defects = ConnectorDefects { extend_one_path_only: true, ..ConnectorDefects::default() };
        let connector = HostConnector::new(site.host.clone(), HostConfig { defects, ..site.config() });
        connector.connect_volume(&info).await.unwrap();
        site.fake.lock().luns.get_mut(&1).unwrap().blocks = 128;
        assert_eq!(connector.extend_volume(&info).await, Ok(65_536));
        let sizes: Vec<u64> = connector.census().devices.iter().map(|d| d.size_bytes).collect();
        assert_eq!(sizes, [65_536, 32_768]);
    });
}

#[test]
fn late_device_events_never_give_a_wrong_map() {
    for (delay, burst) in [(0, 0), (300, 0), (2000, 5000), (40_000, 0), (0, 60_000)] {
        sim(|world| async move {
            let site = Site::new(world, [1, 2]).await;
            let (one, two) = (site.fake.volume(1, 1, 64), site.fake.volume(2, 2, 64));
            let ms = std::time::Duration::from_millis;
            let uevents = UeventPlan { delay: ms(delay), burst_every: ms(burst) };
            let connector = HostConnector::new(site.host.clone(), HostConfig { uevents, ..site.config() });
            for _ in 0..3 {
                for (lun, wwn) in [(1, one), (2, two)] {
                    let info = info(&[A, B], lun, wwn);
                    let attached = connector.connect_volume(&info).await.unwrap();
                    assert_eq!((attached.wwn, attached.paths), (wwn, 2));
                    let census = connector.census();
                    assert_eq!(census.maps.len(), 1);
                    assert_eq!(census.maps[0].paths, ["sda", "sdb"]);
                    connector.table().check().unwrap();
                    connector.disconnect_volume(&info, false).await.unwrap();
                    connector.table().check().unwrap();
                    assert!(connector.census().is_empty(), "{:?}", connector.census());
                }
            }
        });
    }
}

#[test]
fn read_only_attachments_refuse_writes() {
    sim(|world| async move {
        let site = Site::new(world, [1, 2]).await;
        let wwn = site.fake.volume(1, 1, 64);
        let mut info = info(&[A], 1, wwn);
        info.access_mode = sanbench_api::AccessMode::ReadOnly;
        let device = site.connector().connect_volume(&info).await.unwrap().device;
        device.read(0, 1).await.unwrap();
        for error in [device.write(0, pattern(1, 1)).await, device.unmap(&[(0, 1)]).await] {
            assert!(matches!(error, Err(BlockError::Sense { key: 7, asc: 0x27, .. })));
        }
    });
}

#[test]
fn fault_points_and_bad_infos() {
    let faults = FaultPlan::default()
        .rule("connector.connect", 1, Fault::Fail)
        .rule("connector.connect", 2, Fault::DropReply)
        .rule("initiator.login", 1, Fault::DropReply);
    SimWorld::run(SimConfig { faults, ..SimConfig::default() }, |world| async move {
        let site = Site::new(world, [1, 2]).await;
        let wwn = site.fake.volume(1, 1, 64);
        let connector = site.connector();
        let good = info(&[A], 1, wwn);
        assert_eq!(connector.connect_volume(&good).await.unwrap_err().outcome(), Outcome::NotDone);
        assert!(connector.census().is_empty());
        // The work is done, the answer lost; the first login's answer is lost, too, and tried again.
        assert_eq!(connector.connect_volume(&good).await.unwrap_err().outcome(), Outcome::Unknown);
        assert_eq!(connector.census().devices.len(), 1);
        connector.connect_volume(&good).await.unwrap();
        connector.disconnect_volume(&good, false).await.unwrap();
        let mut no_paths = good.clone();
        no_paths.paths.clear();
        let mut fc = good.clone();
        fc.driver_volume_type = "fibre_channel".into();
        for bad in [no_paths, fc, info(&[A], 0x4000, wwn)] {
            assert!(matches!(
                connector.connect_volume(&bad).await,
                Err(ConnectorError::BadConnectionInfo { .. })
            ));
        }
        assert!(connector.census().is_empty());
    });
}

#[test]
fn discovery_lists_portals_over_continued_text() {
    sim(|world| async move {
        let site = Site::new(world, [1, 2]).await;
        let found = site.connector().discover(at(B), None).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].iqn.as_str(), found[0].port, found[0].portal_group), (IQN, 3260, Some(2)));
        assert_eq!(site.fake.lock().logouts, 1);
    });
}

#[test]
fn one_seed_gives_one_history() {
    let run = || {
        SimWorld::run(SimConfig { seed: 7, trace: true, ..SimConfig::default() }, |world| async move {
            let site = Site::new(world.clone(), [1, 2]).await;
            let wwn = site.fake.volume(1, 1, 4096);
            let connector = site.connector();
            let info = info(&[A, B], 1, wwn);
            let attached = connector.connect_volume(&info).await.unwrap();
            site.world.reset("host", "array");
            attached.device.write(0, pattern(500, 1)).await.unwrap();
            connector.disconnect_volume(&info, false).await.unwrap();
            world.trace().iter().map(|l| l.to_json_line()).collect::<Vec<_>>()
        })
    };
    let first = run();
    assert!(first.len() > 8, "{first:#?}");
    assert_eq!(first, run());
}
