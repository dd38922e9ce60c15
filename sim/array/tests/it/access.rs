//! Controllers, ownership and access states: failure, return, transitions in time, explicit changes.

use std::time::Duration;

use sanbench_array::AccessState::{
    ActiveNonOptimized, ActiveOptimized, Offline, Standby, Transitioning, Unavailable,
};
use sanbench_array::{
    AccessError, AccessState, Array, ArrayConfig, Command, Defects, DeviceId, PortalConfig, Refusal,
};

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Two controllers with two portals each, and a LUN at home on the first one.
fn array(change: impl FnOnce(&mut ArrayConfig)) -> (Array, DeviceId) {
    let portal = |n: u8| PortalConfig {
        address: ([192, 0, 2, n], 3260).into(),
        port_no: u32::from(n),
        tpgt: u16::from(n % 2) + 10,
        controller: n % 2,
    };
    let mut config = ArrayConfig { portals: (0..4).map(portal).collect(), ..ArrayConfig::default() };
    change(&mut config);
    let mut a = Array::new(config);
    let id = lun(&mut a, "v");
    (a, id)
}

fn lun(a: &mut Array, name: &str) -> DeviceId {
    let (name, description) = (name.to_owned(), String::new());
    let command = Command::CreateLun { name, description, pool: 0, blocks: 1024, thin: true };
    DeviceId::Lun(a.apply(at(0), command).unwrap().id().unwrap())
}

fn states(a: &Array, id: DeviceId) -> [AccessState; 2] {
    [a.access_state(id, 10), a.access_state(id, 11)]
}

#[test]
fn groups_are_the_portals_of_one_tag() {
    let (mut a, v) = array(|_| {});
    let w = lun(&mut a, "w");
    let groups = a.target_port_groups(v);
    assert_eq!(groups.len(), 2);
    let (first, state) = &groups[0];
    assert_eq!((first.id, first.controller, &first.ports[..], first.preferred), (10, 0, &[1, 3][..], true));
    assert_eq!(*state, ActiveOptimized);
    assert_eq!(
        (&groups[1].0.ports[..], groups[1].0.preferred, groups[1].1),
        (&[2, 4][..], false, ActiveNonOptimized)
    );
    assert_eq!(states(&a, w), [ActiveNonOptimized, ActiveOptimized], "homes go round");
    assert_eq!(a.access_state(DeviceId::Lun(999), 10), Unavailable);
    assert!(a.target_port_groups(DeviceId::Lun(999)).is_empty());
    assert_eq!(a.access_state(v, 99), ActiveOptimized, "a tag of no portal");
    let places: Vec<&str> = a.portals().iter().map(|portal| portal.location.as_str()).collect();
    assert_eq!(places, ["CTE0.A0.P0", "CTE0.B0.P0", "CTE0.A0.P1", "CTE0.B0.P1"]);
    let names: Vec<String> = a.controllers().into_iter().map(|controller| controller.name).collect();
    assert_eq!(names, ["0A", "0B"]);
}

#[test]
fn a_failed_controllers_luns_move_and_come_home() {
    let (mut a, v) = array(|_| {});
    let generation = a.access_generation();
    a.fail_controller(at(1), 0).unwrap();
    assert_eq!(states(&a, v), [Unavailable, ActiveOptimized]);
    assert_ne!(a.access_generation(), generation);
    assert_eq!([0, 1, 2, 3].map(|portal| a.portal_is_up(portal)), [false, true, false, true]);
    let preferred: Vec<bool> = a.target_port_groups(v).iter().map(|(group, _)| group.preferred).collect();
    assert_eq!(preferred, [true, false], "home stays");
    a.write(at(1), v, 0, &[1; 512]).unwrap();
    let generation = a.access_generation();
    a.fail_controller(at(1), 0).unwrap();
    assert_eq!(a.access_generation(), generation, "it cannot fail twice");
    a.restore_controller(at(2), 0).unwrap();
    assert_eq!(states(&a, v), [ActiveOptimized, ActiveNonOptimized]);
    assert_eq!(a.fail_controller(at(2), 7), Err(Refusal::NoSuchController));
    assert_eq!(a.restore_controller(at(2), 7), Err(Refusal::NoSuchController));
}

#[test]
fn with_nobody_left_luns_wait_for_the_first_to_return() {
    let (mut a, v) = array(|_| {});
    a.fail_controller(at(1), 0).unwrap();
    a.fail_controller(at(1), 1).unwrap();
    assert_eq!(states(&a, v), [Unavailable; 2]);
    a.restore_controller(at(2), 1).unwrap();
    assert_eq!(states(&a, v), [Unavailable, ActiveOptimized]);
    a.fail_controller(at(3), 1).unwrap();
    a.restore_controller(at(4), 0).unwrap();
    assert_eq!(states(&a, v), [ActiveOptimized, Unavailable]);
}

#[test]
fn luns_come_home_when_they_are_told_to() {
    let (mut a, v) = array(|config| config.failback = Some(at(30)));
    a.fail_controller(at(1), 0).unwrap();
    a.restore_controller(at(10), 0).unwrap();
    assert_eq!(states(&a, v), [ActiveNonOptimized, ActiveOptimized]);
    a.advance(at(39));
    assert_eq!(states(&a, v), [ActiveNonOptimized, ActiveOptimized]);
    let generation = a.access_generation();
    a.advance(at(40));
    assert_eq!(states(&a, v), [ActiveOptimized, ActiveNonOptimized]);
    assert_ne!(a.access_generation(), generation);
    a.fail_controller(at(50), 0).unwrap();
    a.restore_controller(at(60), 0).unwrap();
    a.fail_controller(at(70), 0).unwrap();
    a.advance(at(100));
    assert_eq!(states(&a, v), [Unavailable, ActiveOptimized], "a second failure calls the return off");

    let (mut a, v) = array(|config| config.failback = None);
    a.fail_controller(at(1), 0).unwrap();
    a.restore_controller(at(2), 0).unwrap();
    a.advance(at(1_000_000));
    assert_eq!(states(&a, v), [ActiveNonOptimized, ActiveOptimized]);
}

#[test]
fn states_change_through_a_transition_that_takes_its_time() {
    let (mut a, v) = array(|config| config.transition = at(3));
    a.set_access_state(at(10), v, 11, ActiveOptimized).unwrap();
    assert_eq!(states(&a, v), [Transitioning; 2]);
    let generation = a.access_generation();
    a.advance(at(12));
    assert_eq!(states(&a, v), [Transitioning; 2]);
    assert_eq!(a.access_generation(), generation);
    a.advance(at(13));
    assert_eq!(states(&a, v), [ActiveNonOptimized, ActiveOptimized]);
    assert_ne!(a.access_generation(), generation);
    a.fail_controller(at(20), 1).unwrap();
    assert_eq!(states(&a, v), [Transitioning, Unavailable], "what has failed does not pass over, it is gone");
    a.advance(at(23));
    assert_eq!(states(&a, v), [ActiveOptimized, Unavailable]);
    a.restore_controller(at(30), 1).unwrap();
    assert_eq!(states(&a, v), [ActiveOptimized, Transitioning]);
    a.advance(at(33));
    assert_eq!(states(&a, v), [ActiveOptimized, ActiveNonOptimized]);
    assert_eq!(a.transition_time(), at(3));
}

#[test]
fn explicit_states_hold_until_the_owner_changes() {
    let (mut a, v) = array(|_| {});
    a.set_access_state(at(1), v, 11, Standby).unwrap();
    a.set_access_state(at(1), v, 10, ActiveNonOptimized).unwrap();
    assert_eq!(states(&a, v), [ActiveNonOptimized, Standby]);
    a.set_owner(at(2), v.number(), 1).unwrap();
    assert_eq!(states(&a, v), [ActiveNonOptimized, ActiveOptimized]);
    assert_eq!(a.set_access_state(at(3), v, 12, Standby), Err(AccessError::NoSuchGroup));
    assert_eq!(a.set_access_state(at(3), v, 10, Offline), Err(AccessError::NotSupported));
    assert_eq!(a.set_access_state(at(3), v, 10, Transitioning), Err(AccessError::NotSupported));
    assert_eq!(a.set_access_state(at(3), DeviceId::Lun(99), 10, Standby), Err(AccessError::Gone));
    a.fail_controller(at(4), 0).unwrap();
    assert_eq!(a.set_access_state(at(4), v, 10, ActiveOptimized), Err(AccessError::ControllerDown));
    assert_eq!(a.set_owner(at(4), v.number(), 0), Err(Refusal::ControllerDown));
    let (mut a, v) = array(|config| config.explicit_alua = false);
    assert_eq!(a.set_access_state(at(1), v, 11, ActiveOptimized), Err(AccessError::NotSupported));
    assert_eq!(a.alua_modes(), (true, false));
}

#[test]
fn without_implicit_changes_luns_stay_where_they_are() {
    let (mut a, v) = array(|config| config.implicit_alua = false);
    a.fail_controller(at(1), 0).unwrap();
    assert_eq!(states(&a, v), [Unavailable, ActiveNonOptimized]);
    a.set_access_state(at(2), v, 11, ActiveOptimized).unwrap();
    assert_eq!(states(&a, v), [Unavailable, ActiveOptimized]);
    a.restore_controller(at(3), 0).unwrap();
    assert_eq!(states(&a, v), [ActiveNonOptimized, ActiveOptimized]);
}

#[test]
fn identity_is_the_same_on_every_controller_unless_planted() {
    for planted in [false, true] {
        let (mut a, v) = array(|config| {
            config.defects = Defects { identity_changes_on_failover: planted, ..Defects::default() };
        });
        let before = a.device(v).unwrap();
        a.fail_controller(at(1), 0).unwrap();
        assert_eq!(a.device(v).unwrap().wwn != before.wwn, planted);
        a.restore_controller(at(2), 0).unwrap();
        assert_eq!(a.device(v).unwrap(), before);
    }
}

#[test]
fn a_power_loss_leaves_the_control_plane_alone() {
    let (mut a, v) = array(|config| config.write_cache = true);
    a.fail_controller(at(1), 0).unwrap();
    a.set_access_state(at(1), v, 11, Standby).unwrap();
    let (before, generation) = (states(&a, v), a.access_generation());
    a.power_loss(at(2), &mut |_| 0);
    assert_eq!((states(&a, v), a.access_generation()), (before, generation));
    assert!(!a.controllers()[0].up);
    assert_eq!(a.audit(), Vec::<String>::new());
}

#[test]
fn controllers_are_bounded() {
    let portal = PortalConfig { address: ([192, 0, 2, 1], 1).into(), port_no: 1, tpgt: 1, controller: 200 };
    let (a, _) = array(|config| {
        config.controllers = 0;
        config.portals = vec![portal];
    });
    assert_eq!(a.controllers().len(), 8);
    let (a, _) = array(|config| {
        config.controllers = 255;
        config.portals = Vec::new();
    });
    assert_eq!(a.controllers().len(), 8);
}
