//! Path selection as a pure value: groups, failover, failback, queueing, transitions.

use std::time::Duration;

use proptest::prelude::*;
use sanbench_initiator::multipath::alua::Access;
use sanbench_initiator::multipath::policy::{Failback, Health, NoPath, PathId, Pick, Policy};

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

const QUEUE: NoPath = NoPath::Queue { commands: 2, time: Duration::from_secs(120) };

/// Paths 0 and 1 optimized, 2 and 3 not.
fn four(failback: Failback, no_path: NoPath) -> Policy {
    let mut policy = Policy::new(failback, no_path, secs(60));
    for n in 0..4 {
        let id = PathId(n);
        policy.add(secs(0), id, true);
        policy.checked(secs(0), id, Health::Good);
        let access = if n < 2 { Access::ActiveOptimized } else { Access::ActiveNonOptimized };
        policy.set_access(secs(0), id, Some(access), false);
    }
    policy
}

fn picks(policy: &mut Policy, now: Duration, n: usize) -> Vec<u32> {
    let mut all: Vec<u32> = (0..n)
        .filter_map(|_| match policy.pick(now) {
            Pick::Path(id) => Some(id.0),
            _ => None,
        })
        .collect();
    all.sort_unstable();
    all
}

#[test]
fn the_best_group_takes_turns_and_the_next_takes_over() {
    let mut policy = four(Failback::Immediate, QUEUE);
    assert_eq!(picks(&mut policy, secs(1), 4), [0, 0, 1, 1]);
    policy.set_connected(secs(2), PathId(0), false);
    assert_eq!(picks(&mut policy, secs(2), 2), [1, 1]);
    policy.checked(secs(3), PathId(1), Health::Faulty);
    assert_eq!((picks(&mut policy, secs(3), 4), policy.failovers()), (vec![2, 2, 3, 3], 1));
    // A path that comes back is not used before it was checked.
    policy.set_connected(secs(4), PathId(0), true);
    assert_eq!(picks(&mut policy, secs(4), 2), [2, 3]);
    policy.checked(secs(5), PathId(0), Health::Good);
    assert_eq!(picks(&mut policy, secs(5), 2), [0, 0]);
    // A new path is not used before it was checked, either.
    policy.add(secs(6), PathId(9), true);
    assert_eq!(picks(&mut policy, secs(6), 2), [0, 0]);
}

#[test]
fn the_load_returns_when_it_is_allowed_to() {
    for (failback, stays_until) in
        [(Failback::Immediate, 10), (Failback::After(secs(30)), 40), (Failback::Manual, u64::MAX)]
    {
        let mut policy = four(failback, QUEUE);
        for id in [PathId(0), PathId(1)] {
            policy.checked(secs(1), id, Health::Faulty);
        }
        policy.checked(secs(10), PathId(0), Health::Good);
        for now in [10, 11, 39, 40, 41, 400] {
            let wanted = if now < stays_until { vec![2, 3] } else { vec![0, 0] };
            assert_eq!(picks(&mut policy, secs(now), 2), wanted, "{failback:?} at {now}");
        }
        // The last paths of the group in use are gone: no failback policy holds commands there.
        let mut policy = four(failback, QUEUE);
        policy.checked(secs(1), PathId(0), Health::Faulty);
        policy.checked(secs(1), PathId(1), Health::Faulty);
        policy.checked(secs(2), PathId(1), Health::Good);
        policy.remove(secs(2), PathId(2));
        policy.set_connected(secs(2), PathId(3), false);
        assert_eq!(picks(&mut policy, secs(2), 2), [1, 1]);
    }
    // A better group that flaps starts its delay anew.
    let mut policy = four(Failback::After(secs(30)), QUEUE);
    for now in [1, 20] {
        policy.checked(secs(now), PathId(0), Health::Faulty);
        policy.checked(secs(now), PathId(1), Health::Faulty);
        policy.checked(secs(now + 1), PathId(0), Health::Good);
    }
    assert_eq!(policy.next_timeout(), Some(secs(51)));
    assert_eq!(picks(&mut policy, secs(50), 2), [2, 3]);
    assert_eq!(picks(&mut policy, secs(51), 2), [0, 0]);
}

#[test]
fn standby_and_unavailable_paths_are_not_used() {
    let mut policy = four(Failback::Immediate, QUEUE);
    for (n, access) in
        [Access::Standby, Access::Unavailable, Access::Offline, Access::Reserved(9)].into_iter().enumerate()
    {
        policy.set_access(secs(1), PathId(n as u32), Some(access), true);
    }
    assert_eq!((policy.pick(secs(1)), policy.usable()), (Pick::None, 0));
    policy.set_access(secs(2), PathId(1), Some(Access::LbaDependent), false);
    assert_eq!(policy.pick(secs(2)), Pick::Path(PathId(1)));
    // PREF orders groups that are not optimized.
    policy.set_access(secs(3), PathId(2), Some(Access::ActiveNonOptimized), false);
    policy.set_access(secs(3), PathId(3), Some(Access::ActiveNonOptimized), true);
    assert_eq!(picks(&mut policy, secs(3), 2), [3, 3]);
    // Without ALUA all are equal.
    for n in 0..4 {
        policy.set_access(secs(4), PathId(n), None, false);
    }
    assert_eq!(picks(&mut policy, secs(4), 4), [0, 1, 2, 3]);
}

#[test]
fn a_transition_is_waited_for_within_its_bound() {
    for no_path in [QUEUE, NoPath::Fail] {
        let mut policy = four(Failback::Immediate, no_path);
        for n in 0..4 {
            policy.set_access(secs(10), PathId(n), Some(Access::Transitioning), false);
        }
        assert!(policy.is_transitioning());
        // Hearing of it again does not prolong it.
        policy.set_access(secs(50), PathId(0), Some(Access::Transitioning), false);
        let pick = policy.pick(secs(50));
        assert_eq!(pick, Pick::Transition(secs(70)));
        let end = if no_path == NoPath::Fail { secs(70) } else { secs(50 + 120) };
        assert_eq!(policy.may_wait(secs(50), 0, pick), Some(end));
        assert_eq!(policy.pick(secs(70)), Pick::None);
    }
}

#[test]
fn queueing_is_bounded_in_count_and_time() {
    let policy = four(Failback::Immediate, QUEUE);
    assert_eq!(policy.may_wait(secs(5), 0, Pick::None), Some(secs(125)));
    assert_eq!(policy.may_wait(secs(5), 1, Pick::None), Some(secs(125)));
    assert_eq!(policy.may_wait(secs(5), 2, Pick::None), None);
    let policy = four(Failback::Immediate, NoPath::Fail);
    assert_eq!(policy.may_wait(secs(5), 0, Pick::None), None);
}

#[derive(Clone, Debug)]
enum Step {
    Add(u32),
    Remove(u32),
    Connected(u32, bool),
    Health(u32, u8),
    Access(u32, u8),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u32..5).prop_map(Step::Add),
        (0u32..5).prop_map(Step::Remove),
        (0u32..5, any::<bool>()).prop_map(|(n, up)| Step::Connected(n, up)),
        (0u32..5, 0u8..8).prop_map(|(n, h)| Step::Health(n, h)),
        (0u32..5, 0u8..17).prop_map(|(n, a)| Step::Access(n, a)),
        (0u64..40).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever happens: only a usable path is picked, one is picked whenever one is usable, an expelled one never comes back, and
    /// a better group waits no longer than the failback says.
    #[test]
    fn a_pick_is_always_usable(steps in proptest::collection::vec(step(), 1..80), delay in 0u64..60) {
        let mut policy = Policy::new(Failback::After(secs(delay)), QUEUE, secs(60));
        let mut now = secs(0);
        let mut expelled = std::collections::BTreeSet::new();
        let mut better = None;
        for step in steps {
            match step {
                Step::Add(n) => { policy.add(now, PathId(n), true); expelled.remove(&n); }
                Step::Remove(n) => policy.remove(now, PathId(n)),
                Step::Connected(n, up) => policy.set_connected(now, PathId(n), up),
                Step::Health(n, h) => {
                    let health = match h {
                        0 => Health::Faulty,
                        1 => Health::Short,
                        2 => Health::Expelled,
                        3 => Health::Unchecked,
                        _ => Health::Good,
                    };
                    if health == Health::Expelled && policy.path(PathId(n)).is_some() { expelled.insert(n); }
                    policy.checked(now, PathId(n), health);
                }
                Step::Access(n, a) => {
                    policy.set_access(now, PathId(n), (a < 16).then(|| Access::from_bits(a)), a % 2 == 0);
                }
                Step::Wait(n) => now += secs(n),
            }
            let best = policy.paths().iter().filter_map(|p| p.priority()).max();
            match policy.pick(now) {
                Pick::Path(id) => {
                    prop_assert!(!expelled.contains(&id.0));
                    let got = policy.path(id).and_then(|p| p.priority());
                    prop_assert!(got.is_some());
                    prop_assert_eq!(got, policy.group());
                    if got < best {
                        let since = *better.get_or_insert(now);
                        prop_assert!(now < since + secs(delay));
                    } else {
                        better = None;
                    }
                }
                Pick::Transition(end) => {
                    prop_assert!(end > now && best.is_none());
                    better = None;
                }
                Pick::None => {
                    prop_assert_eq!(best, None);
                    better = None;
                }
            }
        }
    }
}
