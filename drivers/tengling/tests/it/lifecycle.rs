//! Volumes, snapshots, clones and attachments against the scripted array.

use std::net::IpAddr;

use crate::common::{Act, snapshot, volume, with_driver};
use sanbench_api::{ConnectorProperties, Inventory, ParentLink, RefusalKind, VolumeDriver};
use sanbench_tengling::DriverDefects;

fn none() -> DriverDefects {
    DriverDefects::default()
}

fn connector(n: u8) -> ConnectorProperties {
    ConnectorProperties {
        host: format!("compute-{n}"),
        ip: IpAddr::from([10, 0, 5, n]),
        initiator: Some(format!("iqn.1994-05.com.example:compute-{n}")),
        multipath: true,
        enforce_multipath: false,
    }
}

#[test]
fn create_is_repeatable_but_never_takes_what_is_not_its_own() {
    with_driver(&[], none(), |_, peer, driver| async move {
        let first = driver.create_volume(&volume(1, 1)).await.unwrap();
        assert_eq!(driver.create_volume(&volume(1, 1)).await.unwrap(), first);
        assert_eq!(driver.create_volume(&volume(1, 2)).await.unwrap_err().kind(), Some(RefusalKind::Exists));
        assert_eq!(
            driver.create_volume(&volume(9, 0)).await.unwrap_err().kind(),
            Some(RefusalKind::InvalidInput)
        );
        assert_eq!(
            driver.create_volume(&volume(9, u64::MAX)).await.unwrap_err().kind(),
            Some(RefusalKind::InvalidInput)
        );
        let name = driver.inventory().unwrap().lun_name(&volume(2, 1).name_id);
        peer.lock().state.plant(&name, "somebody else", 2_097_152);
        for _ in 0..2 {
            assert_eq!(
                driver.create_volume(&volume(2, 1)).await.unwrap_err().kind(),
                Some(RefusalKind::Exists)
            );
        }
        driver.delete_volume(&volume(2, 1)).await.unwrap();
        assert_eq!(peer.lock().state.luns().len(), 2, "the foreign LUN was not deleted");
    });
}

#[test]
fn the_adopting_defect_takes_and_deletes_foreign_luns() {
    let defects = DriverDefects { adopt_foreign: true, ..none() };
    with_driver(&[], defects, |_, peer, driver| async move {
        let name = driver.inventory().unwrap().lun_name(&volume(2, 1).name_id);
        peer.lock().state.plant(&name, "somebody else", 2_097_152);
        driver.create_volume(&volume(2, 1)).await.unwrap();
        driver.delete_volume(&volume(2, 1)).await.unwrap();
        assert_eq!(peer.lock().state.luns().len(), 0);
    });
}

#[test]
fn extend_is_absolute_and_survives_a_lost_answer() {
    with_driver(&[], none(), |_, peer, driver| async move {
        driver.create_volume(&volume(1, 1)).await.unwrap();
        peer.fault("PUT lun/expand", 0, 1, Act::DropAfter);
        driver.extend_volume(&volume(1, 1), 3).await.unwrap();
        driver.extend_volume(&volume(1, 3), 3).await.unwrap();
        let error = driver.extend_volume(&volume(1, 3), 2).await.unwrap_err();
        assert_eq!(error.kind(), Some(RefusalKind::InvalidInput));
        let error = driver.extend_volume(&volume(7, 1), 2).await.unwrap_err();
        assert_eq!(error.kind(), Some(RefusalKind::NotFound));
        assert_eq!(driver.list().await.unwrap().luns[0].blocks, 3 * 2_097_152);
    });
}

#[test]
fn the_depth_limit_holds_and_its_calls_are_these() {
    with_driver(&[("tengling_max_clone_depth", "2")], none(), |_, peer, driver| async move {
        driver.create_volume(&volume(0, 1)).await.unwrap();
        for n in 1..3 {
            driver.create_cloned_volume(&volume(n, 1), &volume(n - 1, 1)).await.unwrap();
        }
        peer.take_log();
        driver.create_cloned_volume(&volume(3, 2), &volume(2, 1)).await.unwrap();
        insta::assert_snapshot!("clone_at_the_limit", peer.take_log().join("\n"));
        driver.create_cloned_volume(&volume(4, 2), &volume(3, 2)).await.unwrap();
        let listing = driver.list().await.unwrap();
        let depths: Vec<_> = listing.luns.iter().map(|l| listing.depth(&l.id).unwrap()).collect();
        assert_eq!(depths, [0, 1, 2, 0, 1]);
        assert_eq!(listing.luns[3].blocks, 2 * 2_097_152);
    });
}

#[test]
fn a_snapshot_link_counts_and_temporary_volumes_obey_too() {
    with_driver(&[("tengling_max_clone_depth", "1")], none(), |_, _, driver| async move {
        let (a, b, mut c) = (volume(1, 1), volume(2, 1), volume(3, 1));
        c.use_quota = false;
        driver.create_volume(&a).await.unwrap();
        let s = snapshot(1, &a);
        driver.create_snapshot(&s).await.unwrap();
        driver.create_volume_from_snapshot(&b, &s).await.unwrap();
        driver.create_cloned_volume(&c, &b).await.unwrap();
        let listing = driver.list().await.unwrap();
        assert_eq!(listing.luns[1].parent, Some(ParentLink::Snapshot(listing.snapshots[0].id.clone())));
        assert_eq!(listing.luns[2].parent, None);
        let error = driver.delete_volume(&a).await.unwrap_err();
        assert_eq!(error.kind(), Some(RefusalKind::Busy), "it has a snapshot");
        // Deleting the snapshot makes its child independent first.
        driver.delete_snapshot(&s).await.unwrap();
        driver.delete_snapshot(&s).await.unwrap();
        let listing = driver.list().await.unwrap();
        assert_eq!((listing.snapshots.len(), listing.luns[1].parent.clone()), (0, None));
    });
}

#[test]
fn the_depth_defect_lets_chains_grow() {
    let defects = DriverDefects { no_depth_limit: true, ..none() };
    with_driver(&[("tengling_max_clone_depth", "1")], defects, |_, _, driver| async move {
        driver.create_volume(&volume(0, 1)).await.unwrap();
        for n in 1..4 {
            driver.create_cloned_volume(&volume(n, 1), &volume(n - 1, 1)).await.unwrap();
        }
        let listing = driver.list().await.unwrap();
        assert_eq!(listing.depth(&listing.luns[3].id), Some(3));
    });
}

#[test]
fn flatten_volume_from_snapshot_is_honoured() {
    with_driver(&[("tengling_flatten_volume_from_snapshot", "True")], none(), |_, _, driver| async move {
        let a = volume(1, 1);
        driver.create_volume(&a).await.unwrap();
        let s = snapshot(1, &a);
        driver.create_snapshot(&s).await.unwrap();
        driver.create_snapshot(&s).await.unwrap();
        driver.create_volume_from_snapshot(&volume(2, 2), &s).await.unwrap();
        let small = driver.create_volume_from_snapshot(&volume(3, 0), &s).await.unwrap_err();
        assert_eq!(small.kind(), Some(RefusalKind::InvalidInput));
        assert!(driver.list().await.unwrap().luns.iter().all(|l| l.parent.is_none()));
    });
}

#[test]
fn silent_parents_go_with_their_last_child() {
    with_driver(&[], none(), |_, peer, driver| async move {
        for n in 0..4 {
            match n {
                0 => driver.create_volume(&volume(0, 1)).await.unwrap(),
                _ => driver.create_cloned_volume(&volume(n, 1), &volume(n - 1, 1)).await.unwrap(),
            };
        }
        driver.delete_volume(&volume(0, 1)).await.unwrap();
        driver.delete_volume(&volume(1, 1)).await.unwrap();
        insta::assert_snapshot!("silent_parents", peer.lock().state.luns().join("\n"));
        assert_eq!(driver.list().await.unwrap().luns.len(), 4);
        // The names are free again.
        driver.create_volume(&volume(0, 1)).await.unwrap();
        driver.delete_volume(&volume(0, 1)).await.unwrap();
        driver.flatten_volume(&volume(2, 1)).await.unwrap();
        driver.flatten_volume(&volume(2, 1)).await.unwrap();
        assert_eq!(peer.lock().state.luns().len(), 2, "both silent parents went");
        driver.delete_volume(&volume(2, 1)).await.unwrap();
        driver.delete_volume(&volume(3, 1)).await.unwrap();
        assert!(peer.lock().state.counts().is_empty());
    });
}

#[test]
fn an_orphaned_silent_parent_is_swept_by_the_repeated_delete() {
    with_driver(&[], none(), |_, peer, driver| async move {
        driver.create_volume(&volume(0, 1)).await.unwrap();
        driver.create_cloned_volume(&volume(1, 1), &volume(0, 1)).await.unwrap();
        driver.delete_volume(&volume(0, 1)).await.unwrap();
        peer.fault("DELETE lun/", 1, 1, Act::Code(50_331_651));
        driver.delete_volume(&volume(1, 1)).await.unwrap_err();
        assert_eq!(peer.lock().state.luns().len(), 1);
        driver.delete_volume(&volume(1, 1)).await.unwrap();
        assert!(peer.lock().state.counts().is_empty());
    });
}

#[test]
fn zero_depth_and_old_products_make_full_copies_and_leave_no_helpers() {
    for (depth, version) in [("0", "V600R003C00"), ("5", "V500R007C61")] {
        with_driver(&[("tengling_max_clone_depth", depth)], none(), |_, peer, driver| async move {
            peer.lock().state.version = version;
            let a = volume(1, 1);
            driver.create_volume(&a).await.unwrap();
            driver.create_cloned_volume(&volume(2, 2), &a).await.unwrap();
            let s = snapshot(1, &a);
            driver.create_snapshot(&s).await.unwrap();
            driver.create_volume_from_snapshot(&volume(3, 1), &s).await.unwrap();
            let listing = driver.list().await.unwrap();
            assert!(listing.luns.iter().all(|l| l.parent.is_none() && !l.description.contains("copying")));
            assert_eq!(listing.luns.len(), 3);
            assert_eq!((listing.snapshots.len(), listing.jobs.len()), (1, 0));
            assert_eq!(listing.luns[1].blocks, 2 * 2_097_152);
        });
    }
}

#[test]
fn a_failed_step_of_any_create_leaves_nothing() {
    let steps = [
        ("PUT lun/expand", "5"),
        ("PUT lunclone_split_switch", "1"),
        ("POST clonepair/relation", "0"),
        ("PUT clonepair/synchronize", "0"),
        ("PUT lun/expand", "0"),
        ("POST snapshot/activate", "0"),
    ];
    for (step, depth) in steps {
        with_driver(&[("tengling_max_clone_depth", depth)], none(), |_, peer, driver| async move {
            driver.create_volume(&volume(0, 1)).await.unwrap();
            if depth == "1" {
                driver.create_cloned_volume(&volume(1, 1), &volume(0, 1)).await.unwrap();
            } else {
                driver.create_volume(&volume(1, 1)).await.unwrap();
            }
            peer.fault(step, 0, 99, Act::Code(50_331_651));
            let error = driver.create_cloned_volume(&volume(2, 2), &volume(1, 1)).await.unwrap_err();
            assert_eq!(error.kind(), Some(RefusalKind::InvalidInput), "{step}");
            let counts = peer.lock().state.counts();
            assert_eq!(counts.get("lun"), Some(&2), "{step}: {counts:?}");
            assert_eq!(counts.len(), 1, "{step}: {counts:?}");
        });
    }
    let defects = DriverDefects { lun_left_after_failed_create: true, ..none() };
    with_driver(&[], defects, |_, peer, driver| async move {
        driver.create_volume(&volume(1, 1)).await.unwrap();
        peer.fault("PUT lun/expand", 0, 99, Act::Code(50_331_651));
        driver.create_cloned_volume(&volume(2, 2), &volume(1, 1)).await.unwrap_err();
        assert_eq!(peer.lock().state.luns().len(), 2);
    });
}

#[test]
fn a_failed_split_is_a_failed_job() {
    with_driver(&[("tengling_max_clone_depth", "1")], none(), |_, peer, driver| async move {
        driver.create_volume(&volume(0, 1)).await.unwrap();
        driver.create_cloned_volume(&volume(1, 1), &volume(0, 1)).await.unwrap();
        peer.lock().state.split_fails = true;
        let error = driver.create_cloned_volume(&volume(2, 1), &volume(1, 1)).await.unwrap_err();
        assert_eq!(error.kind(), Some(RefusalKind::JobFailed));
        assert_eq!(peer.lock().state.luns().len(), 2);
    });
}

#[test]
fn attach_and_detach_leave_exactly_what_is_in_use() {
    let chap = [("use_chap_auth", "true"), ("chap_username", "u"), ("chap_password", "chap-canary-secret")];
    with_driver(&chap, none(), |world, peer, driver| async move {
        let (a, b) = (volume(1, 1), volume(2, 1));
        driver.create_volume(&a).await.unwrap();
        driver.create_volume(&b).await.unwrap();
        let bare = peer.lock().state.counts();
        let info = driver.initialize_connection(&a, &connector(1)).await.unwrap();
        assert_eq!(info.paths.len(), 2, "the third port's link is down");
        assert_eq!(info.paths[0].portal, "10.0.9.1:4001".parse().unwrap());
        assert!(info.paths[0].iqn.ends_with(":10.0.9.1"));
        assert_eq!(info.wwn, Some(driver.list().await.unwrap().luns[0].wwn));
        assert_eq!(info.auth.as_ref().unwrap().password.reveal(), "chap-canary-secret");
        assert_eq!(driver.initialize_connection(&a, &connector(1)).await.unwrap(), info);
        driver.initialize_connection(&b, &connector(1)).await.unwrap();
        driver.initialize_connection(&b, &connector(2)).await.unwrap();
        assert_eq!(driver.delete_volume(&b).await.unwrap_err().kind(), Some(RefusalKind::Busy));
        assert!(!driver.terminate_connection(&a, Some(&connector(1)), false).await.unwrap());
        assert!(driver.terminate_connection(&b, Some(&connector(1)), false).await.unwrap());
        let listing = driver.list().await.unwrap();
        assert_eq!((listing.hosts.len(), listing.initiators.len(), listing.views.len()), (1, 1, 1));
        assert!(listing.views[0].host_group.is_some() && listing.views[0].lun_group.is_some());
        assert!(!driver.terminate_connection(&b, None, true).await.unwrap());
        assert!(!driver.terminate_connection(&b, Some(&connector(2)), false).await.unwrap());
        assert_eq!(peer.lock().state.counts(), bare);
        let trace: String = world.trace().iter().map(|l| l.to_json_line()).collect();
        assert!(!trace.contains("chap-canary-secret"));
    });
}

#[test]
fn concurrent_attaches_of_one_host_share_its_objects() {
    with_driver(&[], none(), |world, peer, driver| async move {
        let env = world.node("helper", &["10.0.0.9".parse().unwrap()]);
        for n in 0..6 {
            driver.create_volume(&volume(n, 1)).await.unwrap();
        }
        let bare = peer.lock().state.counts();
        for round in 0..2 {
            let tasks: Vec<_> = (0..6)
                .map(|n| {
                    let driver = driver.clone();
                    env.spawn(async move {
                        match round {
                            0 => driver.initialize_connection(&volume(n, 1), &connector(1)).await.map(drop),
                            _ => driver
                                .terminate_connection(&volume(n, 1), Some(&connector(1)), false)
                                .await
                                .map(drop),
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap().unwrap();
            }
            if round == 0 {
                let counts = peer.lock().state.counts();
                assert_eq!((counts["host"], counts["lungroup"], counts["mappingview"]), (1, 1, 1));
            }
        }
        assert_eq!(peer.lock().state.counts(), bare);
    });
}

#[test]
fn an_attach_that_fails_at_any_call_takes_everything_back() {
    let steps = [
        "POST host",
        "POST iscsi_initiator",
        "PUT iscsi_initiator/",
        "POST hostgroup",
        "POST hostgroup/associate",
        "POST lungroup",
        "POST lungroup/associate",
        "POST mappingview",
        "PUT mappingview/create_associate",
        "GET lun/associate",
    ];
    for step in steps {
        with_driver(&[], none(), |_, peer, driver| async move {
            driver.create_volume(&volume(1, 1)).await.unwrap();
            let bare = peer.lock().state.counts();
            peer.fault(step, 0, 1, Act::Code(50_331_651));
            let error = driver.initialize_connection(&volume(1, 1), &connector(1)).await.unwrap_err();
            assert_eq!(error.kind(), Some(RefusalKind::InvalidInput), "{step}");
            assert_eq!(peer.lock().state.counts(), bare, "{step}");
        });
    }
}

#[test]
fn a_missing_lun_number_is_waited_for_but_never_guessed() {
    with_driver(&[], none(), |_, peer, driver| async move {
        driver.create_volume(&volume(1, 1)).await.unwrap();
        peer.lock().state.hide_lun_id = 2;
        driver.initialize_connection(&volume(1, 1), &connector(1)).await.unwrap();
        peer.lock().state.hide_lun_id = 9;
        let error = driver.initialize_connection(&volume(1, 1), &connector(1)).await.unwrap_err();
        assert_eq!(error.kind(), Some(RefusalKind::Other));
        assert_eq!(peer.lock().state.counts()["host"], 1, "the attachment that worked before stays");
    });
}

#[test]
fn an_initiator_of_another_host_is_never_taken_over() {
    with_driver(&[], none(), |_, peer, driver| async move {
        driver.create_volume(&volume(1, 1)).await.unwrap();
        let iqn = connector(1).initiator.unwrap();
        peer.lock().state.plant_initiator(&iqn, "777");
        let error = driver.initialize_connection(&volume(1, 1), &connector(1)).await.unwrap_err();
        assert_eq!(error.kind(), Some(RefusalKind::Busy));
        assert_eq!(peer.lock().state.initiator(&iqn).unwrap()["PARENTID"], "777");
        assert!(!peer.lock().state.counts().contains_key("host"));
        let mut bare = connector(1);
        bare.initiator = None;
        assert_eq!(driver.validate_connector(&bare).unwrap_err().kind(), Some(RefusalKind::InvalidConnector));
        driver.validate_connector(&connector(1)).unwrap();
    });
}

#[test]
fn listings_are_paged_and_whole() {
    with_driver(&[], none(), |_, peer, driver| async move {
        for n in 0..250 {
            peer.lock().state.plant(&format!("planted-{n}"), "x", 2_097_152);
        }
        assert_eq!(driver.list().await.unwrap().luns.len(), 250);
        driver.create_volume(&volume(1, 1)).await.unwrap();
        assert_eq!(driver.list().await.unwrap().luns.len(), 251);
        let all = driver.list().await.unwrap();
        for lun in &all.luns {
            let object = sanbench_api::ObjectRef {
                kind: sanbench_api::ObjectKind::Lun,
                id: lun.id.clone(),
                name: lun.name.clone(),
            };
            driver.remove(&object).await.unwrap();
            driver.remove(&object).await.unwrap();
        }
        assert!(peer.lock().state.counts().is_empty());
    });
}
