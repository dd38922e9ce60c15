//! The shrinker against oracles that are functions of the plan alone.

use std::collections::{BTreeMap, BTreeSet};

use sanbench_world::dice;

use super::*;
use crate::plan::{Source, Step};
use crate::story::{parse, print, print_step};

/// A plan of about `steps` steps in the manner of a workload: volumes come, are written, cloned, snapshot, flattened and go.
fn workload(seed: u64, steps: usize) -> Plan {
    let mut dice = dice(seed, "test", "workload");
    let mut text = String::from(
        "story \"a long one\"\nrequires CLN-001\noption tengling_max_clone_depth 3\nhost h1\nhost h2 paths=2\n\
         fault \"rest.after:POST lun\" nth=3 do=drop-reply\nfault \"rest.after:DELETE lun\" nth=2 do=delay ms=500\n",
    );
    let mut free: Vec<String> = Vec::new();
    let mut held: BTreeMap<String, String> = BTreeMap::new();
    let mut snapshots: BTreeMap<String, String> = BTreeMap::new();
    let mut linked: BTreeSet<String> = BTreeSet::new();
    let mut made = 0;
    let mut lines = 0;
    while lines < steps {
        lines += 1;
        let any =
            |list: &[String], n: u64| list.get(usize::try_from(n).unwrap_or(0) % list.len().max(1)).cloned();
        let volumes: Vec<String> = free.iter().chain(held.keys()).cloned().collect();
        let roll = dice.below(10);
        let pick = dice.below(1000);
        let line = match (roll, any(&volumes, pick), any(&free, pick)) {
            (0, ..) | (_, None, _) => {
                made += 1;
                free.push(format!("v{made}"));
                format!("create v{made} size=1GiB")
            }
            (1, Some(from), _) => {
                made += 1;
                free.push(format!("v{made}"));
                linked.insert(format!("v{made}"));
                format!("create v{made} size=1GiB volume={from}")
            }
            (2 | 3, _, Some(volume)) => {
                let host = format!("h{}", 1 + dice.below(2));
                free.retain(|v| *v != volume);
                held.insert(volume.clone(), host.clone());
                format!("attach {volume} {host}")
            }
            (4, Some(volume), _) if held.contains_key(&volume) => {
                let host = held.remove(&volume).unwrap_or_default();
                free.push(volume.clone());
                format!("detach {volume} {host}")
            }
            (5..=6, Some(volume), _) if held.contains_key(&volume) => {
                format!("write {volume} at={}KiB length={}KiB", 4 * dice.below(100), 4 + 4 * dice.below(30))
            }
            (7, Some(volume), _) => {
                made += 1;
                snapshots.insert(format!("s{made}"), volume.clone());
                format!("snapshot s{made} {volume}")
            }
            (8, Some(volume), _) if linked.remove(&volume) => format!("flatten {volume}"),
            (9, _, Some(volume)) if !snapshots.values().any(|v| *v == volume) => {
                free.retain(|v| *v != volume);
                linked.remove(&volume);
                format!("delete {volume}")
            }
            _ => "wait 30".to_owned(),
        };
        text += &line;
        text.push('\n');
    }
    parse(&text).unwrap()
}

fn found(signature: &str, step: usize) -> Vec<Seen> {
    vec![Seen {
        requirement: "FLT-001".into(),
        signature: signature.into(),
        observed: "zeroes".into(),
        step: u32::try_from(step + 1).ok(),
    }]
}

/// A flatten loses what was written to the source of a clone before it was cloned.
fn flatten_loses(plan: &Plan) -> Vec<Seen> {
    let mut written = BTreeSet::new();
    let mut at_risk = BTreeSet::new();
    for (n, step) in plan.steps.iter().enumerate() {
        match &step.step {
            Step::Write { volume, .. } => {
                written.insert(volume.clone());
            }
            Step::Create { volume, source: Source::Volume(from), .. } if written.contains(from) => {
                at_risk.insert(volume.clone());
            }
            Step::Flatten { volume, .. } if at_risk.contains(volume) => {
                return found("data:volume:zeroed", n);
            }
            _ => {}
        }
    }
    Vec::new()
}

fn goal(plan: &Plan, oracle: impl Fn(&Plan) -> Vec<Seen>) -> Goal {
    Goal::of(&oracle(plan)[0], plan)
}

fn run(plan: &Plan, width: usize, oracle: impl Fn(&Plan) -> Vec<Seen>) -> Shrunk {
    let goal = goal(plan, &oracle);
    let mut ask = |plans: &[Plan]| {
        assert!(plans.len() <= width);
        Some(plans.iter().map(&oracle).collect())
    };
    shrink(plan, &goal, width, &mut ask, &mut |_| {}).expect("the plan fails")
}

#[test]
fn two_hundred_steps_become_the_five_that_matter() {
    let mut shrunk_any = 0;
    for seed in 0..20 {
        let plan = workload(seed, 200);
        if flatten_loses(&plan).is_empty() {
            continue;
        }
        shrunk_any += 1;
        let shrunk = run(&plan, 2, flatten_loses);
        assert!(shrunk.complete);
        assert_eq!(shrunk.plan.steps.len(), 5, "{}", print(&shrunk.plan));
        assert!(shrunk.plan.site.faults.is_empty() && shrunk.plan.site.options.is_empty());
        assert_eq!(shrunk.plan.site.hosts.len(), 1);
        assert!(shrunk.runs < 300, "{} runs", shrunk.runs);
        assert_eq!(parse(&print(&shrunk.plan)).unwrap(), shrunk.plan);
    }
    assert!(shrunk_any >= 10, "the workload meets the defect often enough to mean something: {shrunk_any}");
}

#[test]
fn the_answer_does_not_depend_on_how_many_are_asked_at_once() {
    let plan = (0..).map(|seed| workload(seed, 120)).find(|p| !flatten_loses(p).is_empty()).unwrap();
    let one = run(&plan, 1, flatten_loses).plan;
    assert_eq!(one, run(&plan, 3, flatten_loses).plan);
    assert_eq!(one, run(&plan, 16, flatten_loses).plan);
}

#[test]
fn stopped_it_gives_the_best_so_far() {
    let plan = (0..).map(|seed| workload(seed, 120)).find(|p| !flatten_loses(p).is_empty()).unwrap();
    let goal = goal(&plan, flatten_loses);
    let mut left = 6;
    let mut ask = |plans: &[Plan]| {
        left -= 1;
        (left >= 0).then(|| plans.iter().map(flatten_loses).collect())
    };
    let mut seen = Vec::new();
    let mut told = |progress: &Progress<'_>| seen.push(progress.best.steps.len());
    let shrunk = shrink(&plan, &goal, 2, &mut ask, &mut told).unwrap();
    assert!(!shrunk.complete && shrunk.plan.steps.len() < 120);
    assert!(!flatten_loses(&shrunk.plan).is_empty(), "what is given back was played and fails");
    assert!(seen.is_sorted_by(|a, b| a >= b), "{seen:?}");
}

#[test]
fn a_plan_that_does_not_fail_is_not_shrunk() {
    let plan = workload(1, 10);
    let goal = Goal::of(&found("data:volume:zeroed", 3)[0], &plan);
    assert_eq!(shrink(&plan, &goal, 2, &mut |p| Some(vec![Vec::new(); p.len()]), &mut |_| {}), None);
}

/// Every refusal that is expected is missing: the reason must survive the shrinking, or the plan proves nothing.
fn never_refuses(plan: &Plan) -> Vec<Seen> {
    let refused = plan.steps.iter().position(|step| {
        let text = print_step(step);
        text.contains("refused=") || text.starts_with("out-of-space")
    });
    refused.map_or(Vec::new(), |n| {
        let mut seen = found("operation:step:not refused", n);
        seen[0].observed = "it succeeded".into();
        seen
    })
}

#[test]
fn an_expected_refusal_keeps_its_reason() {
    let story = |steps: &str| parse(&format!("story \"x\"\nhost h1\npool p 8GiB\n{steps}")).unwrap();
    for (steps, least) in [
        ("create a size=1GiB\ncreate b size=1GiB\nsnapshot s a\nwait 9\ndelete a refused=busy\n", 3),
        (
            "create b size=1GiB\ncreate a size=1GiB\nattach a h1\nwrite a at=0 length=4KiB\ndelete a refused=state\n",
            3,
        ),
        ("create a size=3GiB\ncreate z size=1GiB\nextend a size=2GiB refused=invalid\n", 2),
        // How full a pool is follows from everything before: nothing of it may go.
        (
            "create a size=5GiB\nwait 3\ncreate b size=2GiB\ncreate c size=4GiB refused=no-backend\ndelete a\n",
            3,
        ),
        (
            "create a size=1GiB\ncreate b size=1GiB\nattach a h1\nfill p leave=0\nflush a\n\
             out-of-space write a at=0 length=4KiB\ndrain p\n",
            5,
        ),
    ] {
        let shrunk = run(&story(steps), 2, never_refuses).plan;
        assert_eq!(shrunk.steps.len(), least, "{}", print(&shrunk));
    }
}

/// The last step always fails: what it is about must survive, and nothing else.
#[test]
fn what_must_have_been_done_is_done() {
    let head = "story \"x\"\ntype shared multiattach=true\nhost h1\nhost h2\ntune h2 events=3\narray clones=2 chain=3 devices=9 target-name=223 product=V500R007C60\n";
    for (steps, least) in [
        (
            "create a size=1GiB\ncreate b size=1GiB\nattach a h1\nwrite a at=0 length=4KiB\nreserve a h1\nwait 5\n\
             reserved a h1\n",
            "create a size=1GiB\nattach a h1\nreserve a h1\nreserved a h1\n",
        ),
        (
            "create a size=1GiB\nattach a h1\ndetach a h1\ndelete a\nwait 5\nrepeat delete a\n",
            "create a size=1GiB\ndelete a\nrepeat delete a\n",
        ),
        (
            "create a size=1GiB type=shared\nattach a h1\nattach a h2\nflush a\nrevoke a h2\n",
            "create a size=1GiB\nattach a h2\nrevoke a h2\n",
        ),
        (
            "create a size=1GiB\nattach a h2\nwrite a at=0 length=4KiB\ndetach a h2\nrepeat detach a host=h2\n",
            "create a size=1GiB\nrepeat detach a host=h2\n",
        ),
    ] {
        let plan = parse(&format!("{head}{steps}")).unwrap();
        let verb = print_step(&plan.steps[plan.steps.len() - 1]);
        let verb = verb.split(' ').next().unwrap().to_owned();
        let oracle = |plan: &Plan| {
            let hit = plan.steps.iter().position(|s| print_step(s).split(' ').next() == Some(&verb));
            hit.map_or(Vec::new(), |n| found("x:y:z", n))
        };
        let shrunk = run(&plan, 2, oracle).plan;
        let text = print(&shrunk);
        assert!(text.ends_with(&format!("\n{least}")), "{text}");
        assert!(shrunk.site.tunes.is_empty() && shrunk.site.clones.is_none(), "{text}");
        assert!(shrunk.site.chain.is_none() && shrunk.site.product.is_none(), "{text}");
        assert!(shrunk.site.devices.is_none() && shrunk.site.target_name.is_none(), "{text}");
        assert!(shrunk.site.hosts.len() <= 1, "{text}");
    }
}

#[test]
fn an_expected_depth_keeps_what_leads_to_it() {
    let plan = parse(
        "story \"x\"\noption tengling_max_clone_depth 2\nhost h1\ncreate a size=1GiB\nattach a h1\n\
         write a at=0 length=4KiB\ncreate z size=1GiB\ncreate b size=1GiB volume=a\ndelete z\n\
         create c size=1GiB volume=b\ncreate d size=1GiB volume=c\ndepth d 0\n",
    )
    .unwrap();
    let wrong_depth = |plan: &Plan| {
        let last = plan.steps.iter().position(|s| matches!(s.step, Step::Depth { .. }));
        last.map_or(Vec::new(), |n| found("depth:lun:depth", n))
    };
    let shrunk = run(&plan, 2, wrong_depth).plan;
    assert_eq!(shrunk.site.options.len(), 1);
    let lines: Vec<String> = shrunk.steps.iter().map(|step| print_step(step)).collect();
    assert_eq!(
        lines,
        [
            "create a size=1GiB",
            "create b size=1GiB volume=a",
            "create c size=1GiB volume=b",
            "create d size=1GiB volume=c",
            "depth d 0"
        ]
    );
}

#[test]
fn numbers_and_faults_become_simple() {
    let plan = parse(
        "story \"x\"\nhost h1 paths=2\nfault \"rest.after:POST snapshot\" nth=2 do=fail\n\
         fault \"rest.after:POST lun\" nth=1 do=drop-reply\ncreate a size=7GiB\nattach a h1\n\
         write a at=300KiB length=1MiB\nwait 60\nunmap a at=1MiB length=64KiB\ndetach a h1\n",
    )
    .unwrap();
    // Needs the second fault, of any kind, and a write that reaches LBA 100.
    let oracle = |plan: &Plan| {
        let armed = plan.site.faults.iter().any(|f| f.point == "rest.after:POST lun");
        let hit = plan.steps.iter().position(|step| match &step.step {
            Step::Write { at, length, .. } => at.0 <= 100 * 512 && at.0 + length.0 > 100 * 512,
            _ => false,
        });
        match hit {
            Some(n) if armed => found("x:y:z", n),
            _ => Vec::new(),
        }
    };
    let mut plan = plan;
    if let Some(Step::Write { at, .. }) =
        plan.steps.iter_mut().map(|s| &mut s.step).find(|s| matches!(s, Step::Write { .. }))
    {
        at.0 = 0;
    }
    let shrunk = run(&plan, 2, oracle).plan;
    let text = print(&shrunk);
    assert!(text.contains("do=delay ms=1\n"), "{text}");
    assert!(text.contains("create a size=1GiB\nattach a h1\nwrite a at=0 length="), "{text}");
    let Step::Write { length, .. } = shrunk.steps[2].step else { panic!("{text}") };
    assert!(length.0 <= 101 * 512, "{text}");
}

#[test]
fn lanes_and_orders_go_where_the_failure_stays_and_stay_where_it_needs_them() {
    let plan = parse(
        "story \"x\"\nhost h1\nschedule random\ncreate a size=1GiB\ncreate b size=1GiB\nattach a h1\n\
         @one write a at=0 length=4KiB\n@one flush a\n@two snapshot s a\n@three wait 5\nwait 1\n",
    )
    .unwrap();
    let position =
        |plan: &Plan, wanted: &dyn Fn(&Step) -> bool| plan.steps.iter().position(|s| wanted(&s.step));
    // A snapshot beside a write.
    let races = |plan: &Plan| {
        let write = position(plan, &|s| matches!(s, Step::Write { .. }));
        let snapshot = position(plan, &|s| matches!(s, Step::Snapshot { .. }));
        match (write, snapshot) {
            (Some(w), Some(s)) if plan.groups().iter().any(|g| g.contains(&w) && g.contains(&s)) => {
                found("data:snapshot:torn", s)
            }
            _ => Vec::new(),
        }
    };
    let text = print(&run(&plan, 2, races).plan);
    assert!(
        text.ends_with("create a size=1GiB\nattach a h1\n@one write a at=0 length=512B\n@two snapshot s a\n"),
        "{text}"
    );
    assert!(!text.contains("schedule"), "{text}");
    // The same without need of concurrency.
    let plainly = |plan: &Plan| {
        let snapshot = position(plan, &|s| matches!(s, Step::Snapshot { .. }));
        snapshot.map_or(Vec::new(), |n| found("data:snapshot:torn", n))
    };
    let text = print(&run(&plan, 2, plainly).plan);
    assert!(text.ends_with("create a size=1GiB\nsnapshot s a\n"), "{text}");
}

#[test]
fn errors_of_another_kind_are_another_failure() {
    let plan = parse("story \"x\"\ncreate web size=1GiB\ncreate db size=1GiB volume=web\n").unwrap();
    let failed = |observed: &str| Seen {
        requirement: "CLN-001".into(),
        signature: "operation:step:failed".into(),
        observed: observed.into(),
        step: Some(2),
    };
    let goal = Goal::of(&failed("clone of web (id 17): code 1077949001, object busy"), &plan);
    let same = [failed("clone of db (id 3): code 1077949001, object busy")];
    assert!(goal.among(&same, &plan).is_some(), "names and numbers do not count");
    let other = [failed("clone of web (id 17): code 1077949003, pool full")];
    assert!(goal.among(&other, &plan).is_none());
    let elsewhere = [Seen { requirement: "CRE-001".into(), ..same[0].clone() }];
    assert!(goal.among(&elsewhere, &plan).is_none());
}
