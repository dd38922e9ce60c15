//! Tables for [`choose`].

use std::collections::BTreeMap;
use std::time::Duration;

use sanbench_api::{Capability, Capacity, OverSubscription, PoolStats, VolumeId};

use super::*;

const OPTIONS: Options = Options { multiplier: 1.0, default_ratio: 20.0 };

fn pool(host: &str, free: Capacity) -> PoolState {
    let (backend, name) = host.split_once('#').unwrap();
    PoolState {
        host: host.into(),
        zone: "nova".into(),
        enabled: true,
        volume_backend_name: backend.split('@').nth(1).unwrap().into(),
        vendor_name: "v".into(),
        driver_version: "1".into(),
        storage_protocol: "iSCSI".into(),
        stats: PoolStats {
            pool_name: name.into(),
            total_capacity_gb: free,
            free_capacity_gb: free,
            provisioned_capacity_gb: Some(0.0),
            reserved_percentage: 0,
            max_over_subscription_ratio: OverSubscription::Ratio(1.0),
            thin_provisioning_support: true,
            thick_provisioning_support: true,
            multiattach: false,
            online_extend_support: true,
            capabilities: BTreeMap::from([
                ("tier".into(), Capability::Text("gold".into())),
                ("qos".into(), Capability::Map(BTreeMap::from([("iops".into(), Capability::Number(500.0))]))),
            ]),
        },
        consumed_gib: 0.0,
        allocated_gib: 0.0,
    }
}

pub(super) fn request(size_gib: u64) -> Request {
    Request {
        operation: Operation::CreateVolume,
        volume: VolumeId::from_random([1; 16]),
        size_gib,
        extra_specs: BTreeMap::new(),
        availability_zone: None,
        pinned: None,
        attached: false,
        attempted: Vec::new(),
    }
}

fn chosen(request: &Request, states: &[PoolState]) -> Option<String> {
    choose(request, states, OPTIONS, Duration::ZERO).chosen
}

fn three() -> Vec<PoolState> {
    vec![
        pool("h@a#x", Capacity::Gib(50.0)),
        pool("h@a#y", Capacity::Gib(90.0)),
        pool("h@b#z", Capacity::Unknown),
    ]
}

#[test]
fn most_free_wins_unknown_is_last_and_ties_go_to_the_first() {
    assert_eq!(chosen(&request(10), &three()).as_deref(), Some("h@a#y"));
    // Too large for those that know: only then the one that does not.
    assert_eq!(chosen(&request(95), &three()).as_deref(), Some("h@b#z"));
    let same = [pool("h@a#x", Capacity::Gib(5.0)), pool("h@a#y", Capacity::Gib(5.0))];
    assert_eq!(chosen(&request(1), &same).as_deref(), Some("h@a#x"));
    let stack = Options { multiplier: -1.0, ..OPTIONS };
    let states = three();
    let decision = choose(&request(10), &states, stack, Duration::ZERO);
    assert_eq!(decision.chosen.as_deref(), Some("h@a#x"));
    // Infinity is replaced by max + 100 * (max - min).
    assert_eq!(decision.candidates[2].raw_weight, 90.0 + 100.0 * 40.0);
}

#[test]
fn every_rejection_names_its_filter() {
    let why = |request: &Request, state: PoolState| {
        choose(request, &[state], OPTIONS, Duration::ZERO).candidates[0].rejected.clone().unwrap_or_default()
    };
    let state = || pool("h@a#x", Capacity::Gib(50.0));
    assert_eq!(why(&request(51), state()), "Capacity: provisioned ratio 1.02 exceeds 1");
    let zoned = Request { availability_zone: Some("az2".into()), ..request(1) };
    assert_eq!(why(&zoned, state()), "AvailabilityZone: nova");
    assert_eq!(why(&request(1), PoolState { enabled: false, ..state() }), "Service: disabled or down");
    let again = Request { attempted: vec!["h@a#x".into()], ..request(1) };
    assert_eq!(why(&again, state()), "Retry: failed before");
    let mut offline = state();
    offline.stats.online_extend_support = false;
    let grow = Request { operation: Operation::ExtendVolume, attached: true, ..request(1) };
    assert_eq!(why(&grow, offline), "Capabilities: no extend while attached");
    for (key, requirement, passes) in [
        ("tier", "gold", true),
        ("tier", "silver", false),
        ("capabilities:tier", "gold", true),
        ("capabilities:qos:iops", ">= 500", true),
        ("capabilities:qos:iops", ">= 501", false),
        ("missing", "x", false),
        ("vendor:whatever", "x", true),
        ("provisioning:type", "thin", true),
        ("volume_backend_name", "a", true),
        ("volume_backend_name", "b", false),
        ("storage_protocol", "iscsi", true),
        ("multiattach", "<is> True", false),
    ] {
        let typed = Request { extra_specs: BTreeMap::from([(key.into(), requirement.into())]), ..request(1) };
        assert_eq!(why(&typed, state()).is_empty(), passes, "{key} {requirement}");
    }
}

#[test]
fn a_pin_holds_and_still_must_fit() {
    let pinned = |pin: &str, gib| Request { pinned: Some(pin.into()), ..request(gib) };
    assert_eq!(chosen(&pinned("h@a#x", 10), &three()).as_deref(), Some("h@a#x"));
    assert_eq!(chosen(&pinned("h@a", 10), &three()).as_deref(), Some("h@a#y"));
    assert_eq!(chosen(&pinned("h@a#x", 60), &three()), None);
    assert_eq!(chosen(&pinned("h@c#q", 1), &three()), None);
}

#[test]
fn a_decision_repeats_from_its_record() {
    let first = choose(&request(10), &three(), OPTIONS, Duration::from_secs(1));
    let again = choose(&first.request, &first.states, first.options, first.at);
    assert_eq!(first, again);
}

#[test]
fn promises_survive_a_report_that_cannot_know_them() {
    let stats = |provisioned: f64| {
        let mut one = pool("h@a#x", Capacity::Gib(10.0)).stats;
        one.provisioned_capacity_gb = Some(provisioned);
        sanbench_api::BackendStats {
            volume_backend_name: "a".into(),
            vendor_name: "v".into(),
            driver_version: "1".into(),
            storage_protocol: "iSCSI".into(),
            pools: vec![one],
        }
    };
    let mut scheduler = Scheduler::default();
    scheduler.add("h@a", "nova");
    scheduler.set_up("h@a", true);
    let ticket = scheduler.begin_report();
    scheduler.report("h@a", stats(0.0), ticket, Duration::ZERO);
    let place = |scheduler: &mut Scheduler, gib| {
        let (decision, promise) = scheduler.place(&request(gib), &BTreeMap::new(), OPTIONS, Duration::ZERO);
        assert_eq!(decision.chosen.is_some(), promise.is_some());
        promise
    };
    let first = place(&mut scheduler, 6).unwrap();
    assert_eq!(place(&mut scheduler, 6), None);
    // Asked for before the volume existed: it does not show it.
    let early = scheduler.begin_report();
    scheduler.kept(first);
    scheduler.report("h@a", stats(0.0), early, Duration::from_secs(1));
    assert_eq!(place(&mut scheduler, 6), None);
    // Asked for afterwards: it does.
    let late = scheduler.begin_report();
    scheduler.report("h@a", stats(6.0), late, Duration::from_secs(2));
    let second = place(&mut scheduler, 4).unwrap();
    scheduler.dropped(second);
    assert!(place(&mut scheduler, 4).is_some());
}
