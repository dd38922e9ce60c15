//! Login, renewal, lost answers, back-off, time limits, failover: what the client promises about single calls.

use std::time::Duration;

use crate::common::{Act, snapshot, volume, with_driver};
use sanbench_api::{DriverError, Outcome, RefusalKind, VolumeDriver};
use sanbench_tengling::DriverDefects;

fn none() -> DriverDefects {
    DriverDefects::default()
}

#[test]
fn one_session_serves_all_and_shutdown_leaves_none() {
    with_driver(&[], none(), |_, peer, driver| async move {
        driver.do_setup().await.unwrap();
        let stats = driver.get_volume_stats().await.unwrap();
        assert_eq!(stats.pools.len(), 1);
        driver.create_volume(&volume(1, 1)).await.unwrap();
        assert_eq!((peer.logins(), peer.sessions()), (1, 1));
        driver.shutdown().await;
        driver.shutdown().await;
        assert_eq!(peer.sessions(), 0);
    });
}

#[test]
fn a_lost_session_is_renewed_once_and_nothing_runs_twice() {
    for code in [-401, 1_077_949_069] {
        with_driver(&[], none(), |_, peer, driver| async move {
            driver.do_setup().await.unwrap();
            peer.fault("POST lun", 0, 1, Act::Code(code));
            driver.create_volume(&volume(1, 1)).await.unwrap();
            assert_eq!((peer.logins(), peer.count("POST lun")), (2, 2));
            assert_eq!(peer.lock().state.luns().len(), 1);
            peer.expire();
            driver.delete_volume(&volume(1, 1)).await.unwrap();
            assert_eq!(peer.lock().state.luns().len(), 0);
            peer.fault("GET storagepool", 0, 9, Act::Code(code));
            let error = driver.get_volume_stats().await.unwrap_err();
            assert_eq!(error.kind(), Some(RefusalKind::Unauthorized));
        });
    }
}

#[test]
fn refused_credentials_and_expired_passwords_stop_at_once() {
    with_driver(&[("tengling_password", "wrong")], none(), |_, peer, driver| async move {
        let error = driver.do_setup().await.unwrap_err();
        assert_eq!(error.kind(), Some(RefusalKind::Unauthorized));
        assert_eq!(peer.count("POST sessions"), 1, "more attempts would lock the account");
    });
    for state in [3, 4] {
        with_driver(&[], none(), |_, peer, driver| async move {
            peer.lock().state.account_state = state;
            let error = driver.do_setup().await.unwrap_err();
            assert_eq!(error.kind(), Some(RefusalKind::Unauthorized));
            assert_eq!(peer.sessions(), 0, "the refused session was logged out");
        });
    }
}

#[test]
fn a_lost_answer_to_create_is_settled_by_looking() {
    for (act, posts) in [
        (Act::DropAfter, 1),
        (Act::DropBefore, 2),
        (Act::Code(1_077_949_001), 2),
        (Act::Http(504), 2),
        (Act::Body("{\"err"), 2),
    ] {
        with_driver(&[], none(), |_, peer, driver| async move {
            driver.do_setup().await.unwrap();
            peer.fault("POST lun", 0, 1, act.clone());
            driver.create_volume(&volume(1, 1)).await.unwrap();
            assert_eq!(peer.count("POST lun"), posts, "{act:?}");
            assert_eq!(peer.lock().state.luns().len(), 1);
            // The same for a snapshot, whose loss foreign drivers leak.
            peer.fault("POST snapshot", 0, 1, act.clone());
            driver.create_snapshot(&snapshot(1, &volume(1, 1))).await.unwrap();
            assert_eq!(peer.lock().state.counts()["snapshot"], 1);
        });
    }
}

#[test]
fn create_that_cannot_be_settled_is_an_unknown() {
    with_driver(&[], none(), |_, peer, driver| async move {
        driver.do_setup().await.unwrap();
        peer.fault("POST lun", 0, 1, Act::DropAfter);
        peer.fault("GET lun", 0, 99, Act::DropBefore);
        let error = driver.create_volume(&volume(1, 1)).await.unwrap_err();
        assert!(matches!(error, DriverError::OutcomeUnknown { .. }), "{error}");
        assert_eq!(error.outcome(), Outcome::Unknown);
    });
}

#[test]
fn a_lost_answer_to_delete_is_success_and_an_id_used_again_is_spared() {
    with_driver(&[], none(), |_, peer, driver| async move {
        driver.create_volume(&volume(1, 1)).await.unwrap();
        peer.fault("DELETE lun/", 0, 1, Act::DropAfter);
        driver.delete_volume(&volume(1, 1)).await.unwrap();
        assert_eq!(peer.count("DELETE lun/"), 1);
        driver.delete_volume(&volume(1, 1)).await.unwrap();
    });
}

#[test]
fn busy_answers_are_retried_with_growing_pauses_and_end() {
    with_driver(&[], none(), |world, peer, driver| async move {
        driver.do_setup().await.unwrap();
        for act in [Act::Code(1_077_949_006), Act::Code(1_077_948_995), Act::Http(429), Act::Http(503)] {
            peer.fault("GET storagepool", 0, 2, act);
            let before = world.now();
            driver.get_volume_stats().await.unwrap();
            let waited = world.now() - before;
            assert!(waited >= Duration::from_millis(1500) && waited < Duration::from_secs(4), "{waited:?}");
        }
        peer.take_log();
        peer.fault("GET storagepool", 0, 999, Act::Code(1_077_949_006));
        let error = driver.get_volume_stats().await.unwrap_err();
        assert_eq!(error.kind(), Some(RefusalKind::Busy));
        assert_eq!(peer.count("GET storagepool"), 6);
    });
    with_driver(&[], none(), |_, peer, driver| async move {
        driver.do_setup().await.unwrap();
        peer.take_log();
        peer.fault("GET storagepool", 0, 999, Act::Http(400));
        assert_eq!(driver.get_volume_stats().await.unwrap_err().kind(), Some(RefusalKind::Other));
        assert_eq!(peer.count("GET storagepool"), 1, "4xx is not retried blindly");
    });
}

#[test]
fn a_black_hole_ends_within_the_budget() {
    with_driver(&[], none(), |world, peer, driver| async move {
        driver.do_setup().await.unwrap();
        world.cut("array", "control");
        let before = world.now();
        let error = driver.create_volume(&volume(1, 1)).await.unwrap_err();
        let waited = world.now() - before;
        assert!(waited <= driver.config().limits.budget + Duration::from_secs(60), "{waited:?}: {error}");
        assert_ne!(error.kind(), Some(RefusalKind::Exists));
        world.heal("array", "control");
        driver.create_volume(&volume(2, 1)).await.unwrap();
        assert!(peer.lock().state.luns().len() <= 2);
    });
}

#[test]
fn a_silent_array_makes_the_outcome_of_a_create_unknown() {
    with_driver(&[], none(), |world, peer, driver| async move {
        driver.do_setup().await.unwrap();
        peer.fault("POST lun", 0, 9, Act::Delay(Duration::from_secs(500)));
        peer.fault("GET lun", 0, 99, Act::Delay(Duration::from_secs(500)));
        let before = world.now();
        let error = driver.create_volume(&volume(1, 1)).await.unwrap_err();
        assert!(matches!(error, DriverError::OutcomeUnknown { .. }), "{error}");
        assert!(world.now() - before < Duration::from_secs(300));
    });
}

#[test]
fn the_second_controller_takes_over() {
    let both = "http://10.0.0.1:8080/deviceManager/rest/;http://10.0.1.1:8080/deviceManager/rest/";
    with_driver(&[("tengling_sanip", both)], none(), |world, peer, driver| async move {
        driver.do_setup().await.unwrap();
        let (a, c) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        world.cut_addr(a, c);
        world.cut_addr(c, a);
        driver.create_volume(&volume(1, 1)).await.unwrap();
        assert_eq!(peer.lock().state.luns().len(), 1);
        world.heal_addr(a, c);
        world.heal_addr(c, a);
        peer.fault("POST lun", 0, 1, Act::Code(4_294_967_297));
        driver.create_volume(&volume(2, 1)).await.unwrap();
        assert_eq!(peer.lock().state.luns().len(), 2);
        driver.shutdown().await;
        assert_eq!(peer.sessions(), 0, "sessions on both controllers are logged out");
    });
}

#[test]
fn hostile_answers_become_typed_errors() {
    for body in [
        "",
        "[]",
        "null",
        "{}",
        "{\"error\":{}}",
        "<html>",
        "{\"error\":{\"code\":\"x\"}}",
        "{\"data\":7,\"error\":{\"code\":0}}",
        "{\"data\":[{}],\"error\":{\"code\":0}}",
    ] {
        with_driver(&[], none(), |_, peer, driver| async move {
            driver.do_setup().await.unwrap();
            peer.fault("GET storagepool", 0, 99, Act::Body(body));
            let error = driver.get_volume_stats().await.unwrap_err();
            assert!(matches!(error, DriverError::Fault { .. }), "{body}: {error}");
        });
    }
}
