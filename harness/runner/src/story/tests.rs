use proptest::prelude::*;

use super::{Name, Size, parse, print};
use crate::plan::*;

fn error(text: &str) -> String {
    parse(text).unwrap_err().render("bad.story")
}

#[test]
fn errors_show_line_column_snippet_and_hint() {
    let mut all = String::new();
    for text in [
        "",
        "create v size=1GiB",
        "story \"x\"\ncraete v size=1GiB",
        "story \"x\"\ncreate v size=1GiB\nhost h",
        "story \"x\"\nstory \"y\"",
        "story \"x\ncreate v",
        "story \"x\"\ncreate v size=1000MiB",
        "story \"x\"\ncreate v size=1",
        "story \"x\"\ncreate v colour=red size=1GiB",
        "story \"x\"\ncreate v size=1GiB size=2GiB",
        "story \"x\"\ncreate v",
        "story \"x\"\ncreate v size=1GiB image=nope",
        "story \"x\"\ncreate 9v size=1GiB",
        "story \"x\"\nhost h paths=3",
        "story \"x\"\nhost h\ncreate v size=1GiB\ncreate v size=1GiB",
        "story \"x\"\nhost h\ncreate v size=1GiB\nattach v g",
        "story \"x\"\ncreate v size=1GiB\nwrite v at=100B length=512B",
        "story \"x\"\ncreate v size=1GiB\nwrite v at=0 length=0",
        "story \"x\"\nimage i kind=evil",
        "story \"x\"\nrequires CLN-2",
        "story \"x\"\nimage i kind=raw\ncreate v size=1GiB\ncreate w size=1GiB image=i volume=v",
        "story \"x\"\ncreate v size=1GiB refused=maybe",
        "story \"x\"\ncreate v size=99999999999TiB",
        "story \"x\"\nfault target.login do=http",
        "story \"x\"\nmanage GARBAGE",
        "story \"x\"\nmanage \"PATCH lun/1\"",
        "story \"x\"\nmanage \"PUT ../lun\" NAME=x",
        "story \"x\"\nmanage \"DELETE lun/{nobody}\"",
        "story \"x\"\nmanage \"POST lun\" NAME={x",
        "story \"x\"\ninspect /etc/passwd",
        "story \"x\"\nfault \"rest.before:GET lun\" do=newer",
        "story \"x\"\nfault \"rest.before:GET lun\" do=code code=0",
        "story \"x\"\nfault \"rest.before:GET lun\" do=code code=12x",
        "story \"x\"\nfault \"rest.before:GET lun\" do=http status=200",
        "story \"x\"\nfault \"rest.before:GET lun\" do=fail ms=5",
        "story \"x\"\nfault target.login do=scsi-busy",
        "story \"x\"\nfault \"rest.before:GET lun\" do=crash",
        "story \"x\"\narm \"rest.before:POST lun\" do=fail most=3",
        "story \"x\"\narm \"rest.before:POST lun\" nth=0 do=fail most=0",
        "story \"x\"\nmanage \"POST lun\" times=0 NAME=x",
        "story \"x\"\nmanage \"POST lun\" times=1001 NAME=x-{n}",
        "story \"x\"\nmanage \"POST lun\" NAME=x-{n}",
        "story \"x\"\nhost h\ncreate v size=1GiB\nattach v h\n@a repeat connect v host=h",
        "story \"x\"\narray target-name=224",
        "story \"x\"\n\u{7}\u{1b}[31mboo",
        "story \"x\"\n@a host h",
        "story \"x\"\n@9 census",
        "story \"x\"\n@a",
        "story \"x\"\ncreate v size=1GiB\nlimit v iops=0",
        "story \"x\"\nhost h\nslow h ms=1 loss=60",
        "story \"x\"\nhost h\n@a restart-initiator h",
        "story \"x\"\ncut-link",
        "story \"x\"\nhost h\ncreate v size=1GiB\nattach v h\nspoil v at=0 how=rot",
        "story \"x\"\nremote\ncreate v size=1GiB\n@a sync v",
        "story \"x\"\nremote\ncreate v size=1GiB\nmirror v as=rumour",
    ] {
        all.push_str(&error(text));
        all.push('\n');
    }
    insta::assert_snapshot!(all);
}

#[test]
fn a_story_in_every_verb_prints_as_it_reads() {
    let text = include_str!("../../tests/golden/every-verb.story");
    let plan = parse(text).map_err(|e| e.render("every-verb.story")).unwrap();
    let printed = print(&plan);
    assert_eq!(parse(&printed).map_err(|e| e.render("printed")).unwrap(), plan);
    for verb in super::verbs::VERBS {
        assert!(
            printed.lines().any(|l| l.split(' ').find(|w| !w.starts_with('@')) == Some(verb.name)),
            "{} is not in the golden file",
            verb.name
        );
    }
    insta::assert_snapshot!(printed);
}

#[test]
fn the_examples_of_the_verb_table_are_valid() {
    let context = "story \"x\"\nremote\njournal on\nhost compute-1\nhost compute-2\ntype gold\nimage small kind=sample\ncreate web size=2GiB\nsnapshot monday web\nmanage \"POST vstore\" as=tenant\n";
    for verb in super::verbs::VERBS {
        let text = match (verb.name, verb.place) {
            ("story", _) => format!("{}\n", verb.example),
            ("tune", _) => format!("story \"x\"\nhost compute-1\n{}\n", verb.example),
            (_, super::verbs::Place::Header) => format!("story \"x\"\n{}\n", verb.example),
            ("create" | "snapshot", _) => {
                context.replace("create web size=2GiB\nsnapshot monday web\n", "create web2 size=1GiB\n")
                    + &verb.example.replace("monday web", "monday web2")
            }
            _ => format!("{context}{}\n", verb.example),
        };
        parse(&text).map_err(|e| e.render(verb.name)).unwrap();
    }
}

fn name() -> impl Strategy<Value = Name> {
    "[a-z][a-z0-9_-]{0,8}".prop_map(|s| s.parse().unwrap())
}

fn gib() -> impl Strategy<Value = Size> {
    (1u64..2000).prop_map(|n| Size(n << 30))
}

fn text() -> impl Strategy<Value = String> {
    "[ -~äß漢]{1,30}"
}

/// A plan whose names are distinct and made before use.
fn plan() -> impl Strategy<Value = Plan> {
    let site = (
        prop::collection::btree_map("[a-z_]{1,12}", text(), 0..3),
        prop::collection::btree_map(name(), gib(), 0..3),
        prop::collection::btree_map(name(), 1u64..3, 1..4),
        prop::collection::btree_map(name(), prop::collection::btree_map("[a-z_:]{1,12}", text(), 0..3), 0..3),
        prop::collection::vec((text(), 0u64..9, 0u64..36), 0..3),
    );
    let steps = prop::collection::vec((0u8..44, any::<prop::sample::Index>(), any::<u16>(), gib()), 1..30);
    (text(), prop::collection::btree_set("[A-Z]{3}-[0-9]{3}", 0..14), site, steps).prop_map(
        |(title, requires, (options, pools, hosts, types, faults), steps)| {
            let hosts: Vec<_> = hosts.into_iter().collect();
            let mut plan = Plan { title, requires: requires.into_iter().collect(), ..Plan::default() };
            plan.site = SitePlan {
                options,
                disks: pools
                    .iter()
                    .filter(|(_, size)| size.0 >> 30 & 1 == 1)
                    .map(|(name, size)| {
                        let all = [Disks::Ssd, Disks::Sas, Disks::NlSas, Disks::Mix, Disks::Untold];
                        (name.clone(), all[(size.0 >> 31) as usize % all.len()])
                    })
                    .collect(),
                pools: pools.into_iter().collect(),
                hosts: hosts.clone(),
                types: types.into_iter().collect(),
                images: vec![("img".parse().unwrap(), ImageKind::Truncated, Size(1536))],
                faults: faults
                    .into_iter()
                    .map(|(point, nth, a)| {
                        let numbered = [
                            FaultAction::Delay(a),
                            FaultAction::Http(500 + a as u16),
                            FaultAction::Code(-401 - a as i64),
                        ];
                        let plain = FaultAction::PLAIN.iter().map(|(action, _, _)| *action);
                        let all: Vec<FaultAction> = numbered.into_iter().chain(plain).collect();
                        let action = all[a as usize % all.len()];
                        let point = match action {
                            _ if action == FaultAction::Crash || action.is_of_message() => {
                                format!("flow.{point}")
                            }
                            _ if action.is_scsi() => format!("target.command.before:{point}"),
                            _ if action.is_answer() => format!("rest.after:{point}"),
                            _ => point,
                        };
                        PlacedFault { point, nth, action, masked: false, most: None }
                    })
                    .collect(),
                write_cache: steps.len() % 2 == 0,
                journal: steps.len() % 5 < 2,
                clones: (steps.len() % 3 == 0).then_some(steps.len() as u64),
                chain: (steps.len() % 4 == 1).then_some(steps.len() as u64),
                devices: (steps.len() % 5 == 2).then_some(steps.len() as u64),
                target_name: (steps.len() % 4 == 2).then_some(100 + steps.len() as u64),
                tunes: hosts
                    .iter()
                    .filter(|(_, paths)| *paths == 2)
                    .map(|(host, _)| {
                        let few = steps.len() as u64 % 9;
                        let tune = Tune {
                            interfaces: few,
                            events: few * 3,
                            name_length: few * 20,
                            digests: few % 2 == 1,
                            burst: (few % 3) << 12,
                            solicited: few % 4 == 2,
                        };
                        (host.clone(), tune)
                    })
                    .collect(),
                schedule: [Schedule::Fifo, Schedule::Random, Schedule::Priorities][steps.len() % 3],
                remote: steps.len() % 4 != 0,
                product: steps.len().is_multiple_of(5).then(|| "V500R007C60 SPC".to_owned()),
            };
            let mut volumes: Vec<Name> = vec!["v0".parse().unwrap()];
            let mut snapshots: Vec<Name> = Vec::new();
            plan.steps.push(PlanStep::from(Step::Create {
                volume: volumes[0].clone(),
                size: Size(1 << 30),
                volume_type: None,
                source: Source::Image("img".parse().unwrap()),
                pool: None,
                refused: None,
            }));
            for (n, (kind, pick, number, size)) in steps.into_iter().enumerate() {
                let volume = volumes[pick.index(volumes.len())].clone();
                let host = hosts[pick.index(hosts.len())].0.clone();
                let (at, length) = (Size(u64::from(number) * 512), Size(u64::from(number) * 512 + 512));
                let refused = (number % 5 == 0).then_some(Refused::NoSpace);
                let lane = match number % 4 {
                    0 | 1 => None,
                    n => Some(format!("l{n}").parse().unwrap()),
                };
                let step = match kind {
                    0 => {
                        let new: Name = format!("v{}", n + 1).parse().unwrap();
                        volumes.push(new.clone());
                        Step::Create {
                            volume: new,
                            size,
                            volume_type: None,
                            source: Source::Volume(volume),
                            pool: None,
                            refused: None,
                        }
                    }
                    1 => Step::Attach { volume, host, refused },
                    2 => Step::Write { volume, at, length },
                    3 => Step::Unmap { volume, at, length },
                    4 => Step::Extend { volume, size, refused },
                    5 => {
                        let new: Name = format!("s{n}").parse().unwrap();
                        if refused.is_none() {
                            snapshots.push(new.clone());
                        }
                        Step::Snapshot { snapshot: new, volume, refused }
                    }
                    6 => Step::Detach { volume, host, force: number % 4 == 2, refused },
                    7 => Step::Delete { volume, refused },
                    8 => Step::Restart { options: [("a".to_owned(), " \"b\\ #=".to_owned())].into() },
                    9 => Step::Depth { volume, depth: u64::from(number) },
                    10 => Step::Intrude { volume, host },
                    11 => Step::Reimage { volume, image: "img".parse().unwrap() },
                    12 => Step::Squat { volume: format!("q{n}").parse().unwrap() },
                    13 => Step::PowerLoss,
                    14 => Step::FailController { controller: u64::from(number) },
                    15 => Step::RestoreController { controller: u64::from(number) },
                    16 => Step::Cut {
                        host,
                        path: u64::from(number % 3),
                        way: [Way::Both, Way::ToArray, Way::ToHost][usize::from(number) / 3 % 3],
                    },
                    17 => Step::Heal { host, path: u64::from(number % 3) },
                    18 => Step::Wait { seconds: u64::from(number) },
                    19 => Step::Arm {
                        fault: PlacedFault {
                            point: format!("rest.after:P {number}"),
                            nth: if number % 3 == 0 { 0 } else { u64::from(number) },
                            action: FaultAction::Delay(u64::from(number)),
                            masked: number % 2 == 0,
                            most: (number % 3 == 0).then_some(u64::from(number) + 1),
                        },
                    },
                    20 => Step::Disarm,
                    21 => Step::Settle,
                    22 => match number % 4 {
                        0 => Step::Repeat { what: Repeated::Detach, volume, host: Some(host) },
                        3 => Step::Repeat { what: Repeated::Connect, volume, host: Some(host) },
                        1 => Step::Repeat { what: Repeated::Create, volume, host: None },
                        _ => Step::Repeat { what: Repeated::Delete, volume, host: None },
                    },
                    23 => Step::Revoke { volume, host, everywhere: number % 2 == 0 },
                    24 => Step::Reserve { volume, host },
                    25 => Step::Reserved { volume, host },
                    26 => Step::Unreserve { volume, host },
                    27 => Step::Forge {
                        volume,
                        what: [Forged::Qcow2, Forged::Partitions][usize::from(number) % 2],
                    },
                    28 | 29 => match plan.site.pools.first().map(|(pool, _)| pool.clone()) {
                        Some(pool) if kind == 28 => Step::Fill { pool, leave: length },
                        Some(pool) => Step::Drain { pool },
                        None => Step::Census,
                    },
                    30 if number % 3 == 0 && plan.site.journal => Step::Spoil {
                        volume,
                        at,
                        how: [Spoiled::Rot, Spoiled::Torn, Spoiled::Misdirected][usize::from(number / 3) % 3],
                    },
                    30 => Step::OutOfSpace {
                        what: [Starved::Write, Starved::Unmap][usize::from(number) % 2],
                        volume,
                        at,
                        length,
                    },
                    31 => Step::Slow {
                        host,
                        path: u64::from(number % 3),
                        ms: u64::from(number),
                        segment: u64::from(number % 5),
                        loss: u64::from(number % 4),
                    },
                    32 => Step::Reset { host, path: u64::from(number % 3) },
                    33 => Step::HalfOpen {
                        host,
                        path: u64::from(number % 3),
                        side: [Side::Array, Side::Host][usize::from(number) / 3 % 2],
                    },
                    34 if plan.site.remote => Step::Link { up: number.is_multiple_of(2) },
                    35 if plan.site.remote => Step::Pair { volume, act: pair_act(number, at, length) },
                    37 => Step::Limit { volume, iops: u64::from(number % 3) },
                    36 => Step::Portal { portal: u64::from(number % 3), enabled: number % 2 == 0 },
                    39 => Step::Manage {
                        call: format!("POST x/{number}"),
                        far: number.is_multiple_of(2),
                        code: i64::from(number % 3) - 1,
                        ours: number.is_multiple_of(7),
                        remember: number.is_multiple_of(5).then_some(host),
                        times: number.is_multiple_of(4).then_some(u64::from(number % 1_000) + 1),
                        fields: [("a".to_owned(), " \"b\\ #=".to_owned())].into(),
                    },
                    40 => Step::Inspect {
                        path: format!("x/{number}"),
                        far: number.is_multiple_of(2),
                        count: number.is_multiple_of(3).then_some(u64::from(number)),
                        remember: number.is_multiple_of(5).then_some(host),
                        fields: std::collections::BTreeMap::new(),
                    },
                    38 => Step::Reboot { host, off: u64::from(number % 3600) + 1 },
                    41 => Step::RestartInitiator { host },
                    42 if !snapshots.is_empty() => {
                        Step::PutBack { snapshot: snapshots[pick.index(snapshots.len())].clone(), refused }
                    }
                    43 => Step::Clean,
                    _ => Step::Census,
                };
                let lane = lane.filter(|_| !step.runs_alone());
                plan.steps.push(PlanStep { lane, step });
            }
            plan
        },
    )
}

fn pair_act(number: u16, at: Size, length: Size) -> PairAct {
    match number % 13 {
        0 => PairAct::Mirror { how: Mirroring::Metro },
        1 => PairAct::Mirror { how: Mirroring::Sync },
        2 => PairAct::Mirror { how: Mirroring::Async },
        3 => PairAct::Sync { ends: SyncEnd::Normal },
        4 => PairAct::Sync { ends: SyncEnd::Interrupted },
        5 => PairAct::Pause,
        6 => PairAct::FailOver,
        7 => PairAct::Secondary { access: SecondaryAccess::ReadOnly },
        8 => PairAct::Secondary { access: SecondaryAccess::ReadWrite },
        9 => PairAct::WriteRemote { at, length, refused: number.is_multiple_of(2).then_some(Refused::Io) },
        10 => PairAct::VerifyRemote,
        11 => PairAct::Alike,
        _ => PairAct::Unmirror,
    }
}

proptest! {
    #[test]
    fn parse_undoes_print(plan in plan()) {
        let text = print(&plan);
        let back = parse(&text).map_err(|e| TestCaseError::fail(e.render(&text)))?;
        prop_assert_eq!(back, plan);
    }

    #[test]
    fn plans_survive_json(plan in plan()) {
        let json = serde_json::to_string(&plan).unwrap();
        prop_assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,200}", tail in "[a-z =\"#\\\\\n0-9GiB]{0,200}") {
        let _ = parse(&text);
        let _ = parse(&format!("story \"x\"\n{tail}"));
    }
}

#[test]
fn the_committed_grammar_is_that_of_the_table() {
    insta::assert_snapshot!(super::verbs::grammar());
}
