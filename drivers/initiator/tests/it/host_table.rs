//! The host table under random operations, and against a target that says anything.

use crate::fake;
use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;
use sanbench_api::{Connector, ConnectorError, Wwn};
use sanbench_initiator::HostConnector;
use sanbench_initiator::host::{Hctl, HostError, HostTable, SessionId, UeventPlan};
use sanbench_world::{SimConfig, SimWorld};
use tokio::io::AsyncWriteExt as _;

fn portal(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 3260))
}

fn wwn(n: u8) -> Wwn {
    Wwn([n; 16])
}

#[test]
fn refused_transitions() {
    let ms = Duration::from_millis;
    let mut t = HostTable::new("h", UeventPlan { delay: ms(10), burst_every: ms(0) });
    let a = t.add_session(portal(1), "iqn", 0).unwrap();
    let b = t.add_session(portal(2), "iqn", 0).unwrap();
    assert_eq!(t.add_session(portal(1), "iqn", 0), Err(HostError::SessionExists(portal(1))));
    let (at_a, at_b) = (Hctl::new(a, 4), Hctl::new(b, 4));
    assert_eq!(t.add_device(ms(0), at_a, Some(wwn(1)), 512).unwrap(), "sda");
    assert_eq!(t.add_device(ms(0), at_a, Some(wwn(1)), 512), Err(HostError::DeviceExists(at_a)));
    assert_eq!(t.add_device(ms(0), at_b, Some(wwn(2)), 512).unwrap(), "sdb");
    assert_eq!(t.remove_session(a), Err(HostError::SessionBusy(a)));
    assert_eq!(t.remove_node(portal(1), "iqn"), Err(HostError::NodeBusy(portal(1))));
    let map = t.add_map(wwn(1), &["sda".into()], 512).unwrap();
    assert_eq!(map, "dm-0");
    assert_eq!(t.add_map(wwn(1), &[], 512), Err(HostError::MapExists(wwn(1))));
    assert_eq!(t.add_path(&map, "sdb"), Err(HostError::Stranger("sdb".into())));
    assert_eq!(t.add_path(&map, "sdx"), Err(HostError::NoDevice("sdx".into())));
    assert_eq!(t.remove_device(ms(0), at_a), Err(HostError::DeviceHeld("sda".into())));
    assert_eq!(t.daemon_path("sda"), None, "multipathd has not heard of it yet");
    t.advance(ms(10));
    assert_eq!(t.daemon_path("sda"), Some(wwn(1)));
    t.remove_map(&map).unwrap();
    t.remove_device(ms(10), at_a).unwrap();
    assert!(t.is_settling("sda"));
    assert_eq!(t.census().by_id.len(), 4, "names outlive the device until the event");
    // The freed name is taken at once; the late remove event must not take the new device's names away.
    assert_eq!(t.add_device(ms(10), Hctl::new(b, 9), Some(wwn(3)), 512).unwrap(), "sda");
    t.advance(ms(20));
    assert_eq!(t.daemon_path("sda"), Some(wwn(3)));
    assert_eq!(t.census().by_id.iter().filter(|l| l.ends_with("-> sda")).count(), 2);
    t.remove_session(a).unwrap();
    assert_eq!(t.remove_session(SessionId(77)), Err(HostError::NoSession(SessionId(77))));
    t.check().unwrap();
}

#[derive(Debug, Clone)]
enum Step {
    Session(u8),
    DropSession(u8),
    Device(u8, u16, u8),
    Remove(u8, u16),
    Map(u8),
    Unmap(u8),
    Path(u8, u8),
    Unpath(u8, u8),
    Forget(u8),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u8..3).prop_map(Step::Session),
        (0u8..3).prop_map(Step::DropSession),
        (0u8..3, 0u16..3, 0u8..3).prop_map(|(s, l, w)| Step::Device(s, l, w)),
        (0u8..3, 0u16..3).prop_map(|(s, l)| Step::Remove(s, l)),
        (0u8..3).prop_map(Step::Map),
        (0u8..3).prop_map(Step::Unmap),
        (0u8..3, 0u8..6).prop_map(|(m, d)| Step::Path(m, d)),
        (0u8..3, 0u8..6).prop_map(|(m, d)| Step::Unpath(m, d)),
        (0u8..6).prop_map(Step::Forget),
        (0u64..300).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn rules_hold_under_random_steps(
        steps in proptest::collection::vec(step(), 1..120),
        delay in 0u64..200,
        burst in 0u64..200,
    ) {
        let ms = Duration::from_millis;
        let mut t = HostTable::new("h", UeventPlan { delay: ms(delay), burst_every: ms(burst) });
        let mut now = ms(0);
        let sd = |n: u8| format!("sd{}", char::from(b'a' + n));
        for step in steps {
            let at = |t: &HostTable, s: u8, l: u16| t.session(portal(s), "iqn", 0).map(|id| Hctl::new(id, l));
            match step {
                Step::Session(n) => { let _ = t.add_session(portal(n), "iqn", 0); }
                Step::DropSession(n) => if let Some(id) = t.session(portal(n), "iqn", 0) && t.remove_session(id).is_ok() {
                    t.remove_node(portal(n), "iqn").unwrap();
                }
                Step::Device(s, l, w) => if let Some(at) = at(&t, s, l) {
                    let _ = t.add_device(now, at, Some(wwn(w)), 512);
                }
                Step::Remove(s, l) => if let Some(at) = at(&t, s, l) { let _ = t.remove_device(now, at); }
                Step::Map(w) => { let _ = t.add_map(wwn(w), &[], 512); }
                Step::Unmap(w) => if let Some((name, _)) = t.map_of(&wwn(w)) { t.remove_map(&name).unwrap(); }
                Step::Path(w, d) => if let Some((name, _)) = t.map_of(&wwn(w)) { let _ = t.add_path(&name, &sd(d)); }
                Step::Unpath(w, d) => if let Some((name, _)) = t.map_of(&wwn(w)) { t.remove_path(&name, &sd(d)).unwrap(); }
                Step::Forget(d) => t.forget(&sd(d)),
                Step::Wait(n) => { now += ms(n); t.advance(now); }
            }
            prop_assert_eq!(t.check(), Ok(()));
        }
        // Everything can be taken down again, and when the events have come nothing is left.
        for w in 0..3 {
            if let Some((name, _)) = t.map_of(&wwn(w)) { t.remove_map(&name).unwrap(); }
        }
        for at in t.devices().map(|(at, _)| at).collect::<Vec<_>>() { t.remove_device(now, at).unwrap(); }
        for n in 0..3 {
            if let Some(id) = t.session(portal(n), "iqn", 0) { t.remove_session(id).unwrap(); }
            t.remove_node(portal(n), "iqn").unwrap();
        }
        while let Some(due) = t.next_event() { t.advance(due); }
        prop_assert!(t.census().is_empty(), "{:?}", t.census());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// A target that answers the connection with arbitrary bytes gets no session, and the connect ends.
    #[test]
    fn a_talking_wall_is_no_target(noise in proptest::collection::vec(any::<u8>(), 0..3000), close in any::<bool>()) {
        SimWorld::run(SimConfig::default(), |world| async move {
            let wall = world.node("wall", &[fake::ip("10.0.0.1")]);
            let mut listener = wall.listen(fake::at(fake::A)).await.unwrap();
            wall.spawn(async move {
                let mut kept = Vec::new();
                while let Ok(mut stream) = listener.accept().await {
                    let _ = stream.write_all(&noise).await;
                    if !close {
                        kept.push(stream);
                    }
                }
            });
            let host = world.node("host", &[fake::ip("10.0.0.9")]);
            let config = sanbench_initiator::HostConfig::new("host", fake::HOST_IQN, fake::ip("10.0.0.9"));
            let connector = HostConnector::new(host.clone(), config);
            let error = connector.connect_volume(&fake::info(&[fake::A], 1, wwn(1))).await.unwrap_err();
            assert!(
                matches!(error, ConnectorError::NoSession { .. } | ConnectorError::LoginRefused { .. }),
                "{error}"
            );
            assert!(connector.census().is_empty());
            assert!(host.now() < Duration::from_secs(120));
        });
    }
}
