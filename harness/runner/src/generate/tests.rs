use super::*;
use crate::plan::FaultAction;
use crate::story::{parse, print};

#[test]
fn a_plan_follows_from_seed_and_profile_alone_and_reads_as_it_prints() {
    let mut kinds = std::collections::BTreeSet::new();
    for name in Profile::NAMES {
        let profile = Profile::by_name(name).unwrap();
        for seed in 0..400 {
            let plan = generate(seed, &profile);
            assert_eq!(plan, generate(seed, &profile), "seed {seed}");
            let text = print(&plan);
            let back = parse(&text).map_err(|e| format!("seed {seed}\n{}", e.render(&text))).unwrap();
            assert_eq!(back, plan, "seed {seed}");
            kinds.extend(
                text.lines().filter_map(|l| l.split(' ').find(|w| !w.starts_with('@')).map(str::to_owned)),
            );
        }
    }
    for verb in [
        "extend",
        "flatten",
        "reimage",
        "intrude",
        "arm",
        "cut",
        "slow",
        "reset",
        "half-open",
        "restart-initiator",
        "heal",
        "power-loss",
        "settle",
        "restart",
        "reserve",
        "revoke",
        "repeat",
        "squat",
        "forge",
        "limit",
        "disable-portal",
        "mirror",
        "fail-over",
        "cut-link",
        "fill",
        "out-of-space",
        "tune",
        "type",
        "array",
    ] {
        assert!(kinds.contains(verb), "no plan of 1600 has {verb}");
    }
    assert_ne!(generate(1, &Profile::default()), generate(2, &Profile::default()));
}

/// What few defects need, and what no fault by itself brings about.
#[test]
fn among_a_thousand_plans_is_every_sequence_that_few_defects_need() {
    let (mut relapses, mut silences, mut failovers, mut broken_off) = (0, 0, 0, 0);
    for seed in 0..1000 {
        let plan = generate(seed, &Profile::default());
        let mut crashes = None;
        for (at, step) in plan.steps.iter().enumerate() {
            match &step.step {
                Step::Arm { fault } => {
                    let next = plan.steps.get(at + 1).map(|step| &step.step);
                    match (fault.action, fault.point.as_str(), fault.nth) {
                        (FaultAction::Crash, point, 1) => crashes = Some(point),
                        (FaultAction::Fail, point, 2) if crashes.is_some() && point.starts_with("flow.") => {
                            let flow = |point: &str| point.split('.').nth(1).map(str::to_owned);
                            assert_eq!(crashes.and_then(flow), flow(point));
                            let taken_up =
                                ["extend_volume", "delete_volume", "detach_volume", "delete_snapshot"];
                            assert!(
                                taken_up.iter().any(|name| flow(point).as_deref() == Some(name)),
                                "{point}"
                            );
                            relapses += 1;
                        }
                        (_, "target.command.before:INQUIRY", 0) => {
                            assert!(matches!(next, Some(Step::Wait { .. })));
                            silences += 1;
                        }
                        (_, "link.send:Extent", nth) if nth > 1 => broken_off += 1,
                        _ => {}
                    }
                }
                other => {
                    crashes = None;
                    let in_lane = step.lane.as_ref().is_some_and(|lane| lane.as_str() == "b");
                    failovers += u64::from(in_lane && matches!(other, Step::FailController { .. }));
                }
            }
        }
    }
    assert!(
        [relapses, silences, failovers, broken_off].iter().all(|n| *n > 3),
        "{relapses} {silences} {failovers} {broken_off}"
    );
}

#[test]
fn without_faults_nothing_is_broken() {
    let quiet = Profile::by_name("none").unwrap();
    for seed in 0..400 {
        let plan = generate(seed, &quiet);
        let broken = plan.steps.iter().find(|s| {
            use Step::*;
            matches!(
                s.step,
                Arm { .. }
                    | Cut { .. }
                    | PowerLoss
                    | Reset { .. }
                    | Link { .. }
                    | Revoke { .. }
                    | Fill { .. }
                    | Spoil { .. }
            )
        });
        assert_eq!(broken, None, "seed {seed}");
    }
}

#[test]
fn a_kind_of_weight_zero_is_left_out_and_unknown_kinds_are_named() {
    let mut profile = Profile::by_name("heavy").unwrap();
    profile.kinds =
        nemesis::KINDS.iter().map(|k| (k.name.to_owned(), u64::from(k.name == "power-loss"))).collect();
    // What is lost between two arrays, a job that is slow beside others and a write that waits in the array are no kinds: they belong
    // to sequences that a profile leaves out by name. So do a look without an answer and a crash upon which something fails.
    let sequences = ["pairs", "long-flattens", "stragglers", "revocations", "relapses"];
    profile.operations.extend(sequences.map(|name| (name.to_owned(), 0)));
    assert_eq!(profile.unknown_operation(), None);
    let armed = (0..100).flat_map(|seed| generate(seed, &profile).steps);
    let armed = armed.filter(|s| matches!(s.step, Step::Arm { .. } | Step::Cut { .. }));
    assert_eq!(armed.collect::<Vec<_>>(), []);
    assert_eq!(profile.unknown_kind(), None);
    profile.kinds.insert("gremlins".into(), 1);
    assert_eq!(profile.unknown_kind(), Some("gremlins"));
}

#[test]
fn what_a_plan_arms_is_its_next_steps_and_few_sessions_end_without_a_rest() {
    let story = parse(
        "story \"s\"\nhost h\n\ncreate v size=1GiB\nattach v h\nwrite v at=0 length=4KiB\narm job.* nth=1 do=fail\n\
         arm mine nth=1 do=fail\nwrite v at=0 length=4KiB\ndisarm\nwrite v at=0 length=4KiB\nattach v h\ndetach v h\nattach v h\n\
         detach v h\nattach v h\ndetach v h\nattach v h\n",
    )
    .unwrap();
    let mut profile = Profile::by_name("heavy").unwrap();
    (profile.faults, profile.outages) = (100, 100);
    profile.kinds.insert("session-over".into(), 1000);
    let (mut near, mut most) = (0, 0);
    for seed in 0..200 {
        let plan = with_faults(&story, seed, &profile);
        let armed =
            |s: &PlanStep, point: &str| matches!(&s.step, Step::Arm { fault } if fault.point == point);
        let at = plan.steps.iter().position(|s| armed(s, "mine")).unwrap();
        assert!(armed(&plan.steps[at - 1], "job.*"), "seed {seed}");
        assert!(matches!(plan.steps[at + 1].step, Step::Write { .. }), "seed {seed}");
        assert!(matches!(plan.steps[at + 2].step, Step::Disarm), "seed {seed}");
        // Elsewhere faults are woven in.
        near += u64::from(!matches!(plan.steps[at - 2].step, Step::Write { .. }));
        let ends = |s: &PlanStep| matches!(&s.step, Step::Arm { fault } if fault.action == crate::plan::FaultAction::ExpireSession);
        let between = plan.steps.split(|s| matches!(s.step, Step::Settle));
        most = most.max(between.map(|steps| steps.iter().filter(|s| ends(s)).count()).max().unwrap());
    }
    assert!(near > 100, "{near}");
    assert_eq!(most, 2);
}

#[test]
fn the_title_tells_the_sizes_and_which_kinds_are_not_left_out() {
    let (mut on, mut woven) = (0, 0);
    // Rarities break things of their own.
    let operations = RARITIES.iter().map(|name| ((*name).to_owned(), 0)).collect();
    let profile = Profile { operations, ..Profile::default() };
    for seed in 0..200 {
        let plan = generate(seed, &profile);
        let (head, kinds) = plan.title.rsplit_once("; kinds ").unwrap();
        let sizes: Vec<&str> = head.split(", ").take(4).map(|part| part.split(' ').next().unwrap()).collect();
        assert_eq!(sizes, ["swarm", "steps", "volumes", "GiB"], "{head}");
        let named: Vec<&str> = kinds.split(' ').filter_map(|word| Some(word.split_once(':')?.0)).collect();
        assert!(named.iter().all(|name| nemesis::KINDS.iter().any(|kind| kind.name == *name)), "{kinds}");
        on += named.len();
        // Nothing but the nemesis makes these.
        for step in &plan.steps {
            let kind = match step.step {
                Step::PowerLoss => "power-loss",
                Step::Reboot { .. } => "host-reboot",
                Step::RestartInitiator { .. } => "initiator-restart",
                Step::Reset { .. } => "connection-reset",
                Step::HalfOpen { .. } => "half-open",
                _ => continue,
            };
            woven += 1;
            assert!(named.contains(&kind), "seed {seed} has {kind}: {kinds}");
        }
    }
    assert!(woven > 50, "{woven}");
    let half = 200 * nemesis::KINDS.len() / 2;
    assert!((half * 95 / 100..half * 105 / 100).contains(&on), "{on} of about {half}");
    let quiet = generate(1, &Profile::by_name("none").unwrap());
    assert!(quiet.title.ends_with("; kinds none"), "{}", quiet.title);
}

#[test]
fn some_hosts_negotiate_their_sessions_otherwise() {
    let mut seen = [0; 4];
    for seed in 0..200 {
        let plan = generate(seed, &Profile::default());
        let hosts: Vec<_> = plan.site.hosts.iter().map(|(name, _)| name).collect();
        assert!(plan.site.tunes.keys().all(|name| hosts.contains(&name)), "seed {seed}");
        let tunes: Vec<_> = plan.site.tunes.values().collect();
        for (count, here) in seen.iter_mut().zip([
            tunes.iter().any(|tune| tune.digests),
            tunes.iter().any(|tune| tune.solicited),
            tunes.iter().any(|tune| tune.burst > 0),
            tunes.is_empty(),
        ]) {
            *count += u64::from(here);
        }
    }
    assert!(seen.iter().all(|count| (20..150).contains(count)), "{seen:?}");
}
