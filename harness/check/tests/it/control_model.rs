//! The control model: predictions, impossible successes, and possible worlds.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sanbench_api::{ArrayInventory, LunEntry, ParentLink, SnapshotEntry, SnapshotId, VolumeId, Wwn};
use sanbench_check::census::{BLOCKS_PER_GIB, Census, DbCensus, DbSnapshot, DbVolume, Naming, Rules};
use sanbench_check::model::control::{Answer, BackendRules, ControlModel, MOST_WORLDS, Operation, Source};
use sanbench_check::model::world::{Parent, Row, World};
use uuid::Uuid;

const HOST: &str = "h@b#pool0";

fn v(n: u8) -> VolumeId {
    VolumeId(Uuid::from_bytes([n; 16]))
}

fn s(n: u8) -> SnapshotId {
    SnapshotId(Uuid::from_bytes([n; 16]))
}

fn create(n: u8, size_gib: u64, source: Source) -> Operation {
    Operation::CreateVolume { id: v(n), size_gib, host: HOST.into(), source, internal: false }
}

fn limited(clone_depth_limit: i64) -> ControlModel {
    let mut model = ControlModel::default();
    model.set_backend("h@b", BackendRules { clone_depth_limit, ..BackendRules::default() });
    model
}

/// Everything succeeds and nothing is found.
fn run(model: &mut ControlModel, operations: &[Operation]) {
    for operation in operations {
        assert_eq!(model.complete(operation, Answer::Done), [], "{operation:?}");
    }
}

fn fires(model: &mut ControlModel, operation: &Operation) -> Vec<String> {
    let findings = model.complete(operation, Answer::Done);
    findings.into_iter().map(|f| format!("{} {}", f.requirement, f.signature)).collect()
}

struct Names;

impl Naming for Names {
    fn lun(&self, volume: VolumeId) -> String {
        volume.to_string()
    }

    fn snapshot(&self, snapshot: SnapshotId) -> String {
        snapshot.to_string()
    }

    fn host(&self, host: &str) -> String {
        host.to_owned()
    }
}

/// What an array and a database would show if this were the world (without attachments).
fn picture(world: &World) -> Census {
    let mut array = ArrayInventory::default();
    let mut db = DbCensus::default();
    for (id, volume) in &world.volumes {
        if volume.lun {
            array.luns.push(LunEntry {
                id: id.to_string(),
                name: if volume.is_silent() { format!("silent {id}") } else { id.to_string() },
                wwn: Wwn(*id.0.as_bytes()),
                blocks: volume.size_gib * BLOCKS_PER_GIB,
                pool: "pool0".into(),
                parent: volume.parent.map(|parent| match parent {
                    Parent::Volume(id) => ParentLink::Lun(id.to_string()),
                    Parent::Snapshot(id) => ParentLink::Snapshot(id.to_string()),
                }),
                mapped: false,
                description: String::new(),
            });
        }
        if volume.row == Row::Healthy {
            db.volumes.push(DbVolume {
                id: *id,
                status: "available".into(),
                size_gib: volume.size_gib,
                host: Some(HOST.into()),
                internal: false,
            });
        }
    }
    for (id, snapshot) in world.snapshots.iter().filter(|(_, snapshot)| snapshot.made) {
        array.snapshots.push(SnapshotEntry {
            id: id.to_string(),
            name: id.to_string(),
            lun: snapshot.volume.to_string(),
            blocks: snapshot.size_gib * BLOCKS_PER_GIB,
            active: true,
            description: String::new(),
        });
        if snapshot.row == Row::Healthy {
            db.snapshots.push(DbSnapshot {
                id: *id,
                volume: snapshot.volume,
                size_gib: snapshot.size_gib,
                status: "available".into(),
            });
        }
    }
    Census { array: Some(array), db, ..Census::default() }
}

fn judge(model: &mut ControlModel, census: &Census) -> Vec<String> {
    let baseline = ArrayInventory::default();
    let rules = Rules { names: &Names, baseline: &baseline, wwns: BTreeMap::new(), initiators_stay: false };
    model.judge(census, &rules).into_iter().map(|f| format!("{} {}", f.requirement, f.signature)).collect()
}

#[test]
fn depth_grows_to_the_limit_and_the_next_clone_stands_alone() {
    let mut model = limited(2);
    run(&mut model, &[create(1, 1, Source::Blank)]);
    for n in 2..=5 {
        run(&mut model, &[create(n, 1, Source::Volume(v(n - 1)))]);
    }
    let depths: Vec<_> = (1..=5).map(|n| model.expected_depth(v(n)).unwrap()).collect();
    assert_eq!(depths, [0, 1, 2, 0, 1]);
    // Links through snapshots count too.
    run(
        &mut model,
        &[Operation::CreateSnapshot { id: s(1), volume: v(3) }, create(6, 1, Source::Snapshot(s(1)))],
    );
    assert_eq!(model.expected_depth(v(6)), Some(0));
    // Lowered: the deep ones stay cloneable.
    model.set_backend("h@b", BackendRules { clone_depth_limit: 1, ..BackendRules::default() });
    run(&mut model, &[create(7, 1, Source::Volume(v(3)))]);
    assert_eq!((model.expected_depth(v(3)), model.expected_depth(v(7))), (Some(2), Some(0)));
    // Zero: full copies.
    model.set_backend("h@b", BackendRules { clone_depth_limit: 0, ..BackendRules::default() });
    run(&mut model, &[create(8, 1, Source::Volume(v(1)))]);
    assert_eq!(model.expected_depth(v(8)), Some(0));
}

#[test]
fn silent_parents_go_when_their_last_child_goes() {
    let mut model = limited(5);
    run(
        &mut model,
        &[
            create(1, 1, Source::Blank),
            create(2, 1, Source::Volume(v(1))),
            create(3, 1, Source::Volume(v(2))),
            create(4, 1, Source::Volume(v(2))),
            Operation::DeleteVolume { id: v(2) },
            Operation::DeleteVolume { id: v(1) },
        ],
    );
    let world = model.settled().unwrap();
    assert!(world.volumes[&v(1)].is_silent() && world.volumes[&v(2)].is_silent());
    assert_eq!(model.expected_depth(v(3)), Some(2));
    run(&mut model, &[Operation::Flatten { id: v(3) }]);
    assert_eq!(model.settled().unwrap().volumes.len(), 4, "the other child still needs both");
    run(&mut model, &[Operation::DeleteVolume { id: v(4) }]);
    let left: Vec<_> = model.settled().unwrap().volumes.keys().copied().collect();
    assert_eq!(left, [v(3)]);
}

#[test]
fn deleting_a_snapshot_flattens_what_hangs_from_it() {
    let mut model = limited(5);
    run(
        &mut model,
        &[
            create(1, 1, Source::Blank),
            Operation::CreateSnapshot { id: s(1), volume: v(1) },
            create(2, 2, Source::Snapshot(s(1))),
            create(3, 2, Source::Volume(v(2))),
            Operation::DeleteSnapshot { id: s(1) },
        ],
    );
    assert_eq!((model.expected_depth(v(2)), model.expected_depth(v(3))), (Some(0), Some(1)));
}

#[test]
fn impossible_successes_fire() {
    let fresh = || {
        let mut model = limited(5);
        run(&mut model, &[create(1, 4, Source::Blank), Operation::CreateSnapshot { id: s(1), volume: v(1) }]);
        model
    };
    let attach = |host: &str| Operation::Attach { volume: v(1), host: host.into() };
    for (operation, fired) in [
        (create(1, 4, Source::Blank), "CRE-003 control:operation:exists"),
        (create(2, 4, Source::Volume(v(9))), "OBS-005 control:operation:no source"),
        (Operation::Flatten { id: v(9) }, "OBS-005 control:operation:no volume"),
        (Operation::CreateSnapshot { id: s(2), volume: v(9) }, "OBS-005 control:operation:no volume"),
        (create(2, 3, Source::Volume(v(1))), "CLN-005 control:operation:smaller"),
        (create(2, 3, Source::Snapshot(s(1))), "SNP-006 control:operation:smaller"),
        (Operation::Extend { id: v(1), size_gib: 4 }, "EXT-002 control:operation:not larger"),
        (Operation::DeleteVolume { id: v(1) }, "CRE-008 control:operation:snapshots"),
    ] {
        assert_eq!(fires(&mut fresh(), &operation), [fired]);
    }
    let mut model = fresh();
    run(&mut model, &[Operation::DeleteSnapshot { id: s(1) }, attach("c1"), attach("c1")]);
    assert_eq!(
        fires(&mut model.clone(), &Operation::DeleteVolume { id: v(1) }),
        ["CRE-008 control:operation:attached"]
    );
    assert_eq!(fires(&mut model, &attach("c2")), ["ATT-009 control:operation:second host"]);
    // Refusing any of these is right.
    assert_eq!(fresh().complete(&Operation::DeleteVolume { id: v(1) }, Answer::Refused), []);
}

#[test]
fn an_unknown_outcome_is_decided_by_an_inventory() {
    let mut model = limited(5);
    run(&mut model, &[create(1, 1, Source::Blank)]);
    let before = picture(model.settled().unwrap());
    assert_eq!(model.widest(), 1);
    model.complete(&Operation::Extend { id: v(1), size_gib: 3 }, Answer::Unknown);
    assert_eq!(model.worlds().len(), 2);
    assert!(model.settled().is_none());

    let mut old = model.clone();
    assert_eq!(judge(&mut old, &before), [""; 0]);
    run(&mut old, &[create(2, 1, Source::Blank)]);
    assert_eq!((old.worlds().len(), old.widest()), (1, 2));
    assert_eq!(old.settled().unwrap().volumes[&v(1)].size_gib, 1);

    let mut new = model.clone();
    let mut grown = before.clone();
    grown.array.as_mut().unwrap().luns[0].blocks = 3 * BLOCKS_PER_GIB;
    assert_eq!(judge(&mut new, &grown), [""; 0]);
    assert_eq!(new.settled().unwrap().volumes[&v(1)].size_gib, 3);

    // Added instead of set: neither world has it.
    let mut wrong = before;
    wrong.array.as_mut().unwrap().luns[0].blocks = 4 * BLOCKS_PER_GIB;
    assert_eq!(judge(&mut model, &wrong).len(), 1);
    assert!(model.settled().is_some(), "the model goes on from the closest world");
}

#[test]
fn a_later_answer_decides_too() {
    let mut model = limited(5);
    model.complete(&create(1, 1, Source::Blank), Answer::Unknown);
    assert_eq!(model.worlds().len(), 2);
    // A clone of it can only be made if it is there.
    run(&mut model, &[create(2, 1, Source::Volume(v(1)))]);
    assert!(model.worlds().iter().all(|world| world.volumes[&v(1)].lun), "{:?}", model.worlds());
}

#[test]
fn a_failed_create_must_leave_nothing() {
    let mut model = limited(5);
    model.complete(&create(1, 1, Source::Blank), Answer::Failed);
    assert_eq!(
        judge(&mut model.clone(), &Census { array: Some(ArrayInventory::default()), ..Census::default() }),
        [""; 0]
    );
    let mut left = limited(5);
    run(&mut left, &[create(1, 1, Source::Blank)]);
    let mut picture = picture(left.settled().unwrap());
    picture.db.volumes[0].status = "error".into();
    assert_eq!(judge(&mut model, &picture), ["CRE-009 census:lun:left over"]);
}

#[test]
fn an_observation_that_no_world_allows_fires() {
    let mut model = limited(5);
    run(&mut model, &[create(1, 1, Source::Blank)]);
    assert_eq!(model.observe("volume 1 exists", |world| world.volumes.contains_key(&v(1))), []);
    let findings = model.observe("volume 2 exists", |world| world.volumes.contains_key(&v(2)));
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].requirement, "CON-001");
}

#[test]
fn worlds_are_bounded_and_an_overflow_accuses_nobody() {
    let mut model = limited(5);
    for n in 1..=8 {
        model.complete(&create(n, 1, Source::Blank), Answer::Unknown);
    }
    assert_eq!(model.worlds().len(), MOST_WORLDS);
    assert!(model.overflowed());
    assert_eq!(
        judge(&mut model, &Census { array: Some(ArrayInventory::default()), ..Census::default() }),
        [""; 0]
    );
    assert!(model.settled().is_none(), "from then on nothing is certain");
}

#[derive(Debug, Clone)]
struct Move(u8, u8, u8, u8);

impl Move {
    fn operation(&self) -> Operation {
        let Self(kind, a, b, size) = *self;
        let size_gib = u64::from(size) + 1;
        match kind {
            0 => create(a, size_gib, Source::Blank),
            1 => create(a, size_gib, Source::Volume(v(b))),
            2 => create(a, size_gib, Source::Snapshot(s(b))),
            3 => Operation::DeleteVolume { id: v(a) },
            4 => Operation::Extend { id: v(a), size_gib },
            5 => Operation::CreateSnapshot { id: s(a), volume: v(b) },
            6 => Operation::DeleteSnapshot { id: s(a) },
            _ => Operation::Flatten { id: v(a) },
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Whatever is told, with whatever answers: a world is always left, none has a circle or a useless silent parent, and
    /// each recognises its own picture.
    #[test]
    fn every_world_stays_sound(
        moves in prop::collection::vec((0..8_u8, 0..5_u8, 0..5_u8, 0..4_u8, 0..8_u8), 0..40),
        limit in -1..4_i64,
    ) {
        let mut model = limited(limit);
        for (kind, a, b, size, answer) in moves {
            let answer = [Answer::Done, Answer::Refused, Answer::Failed, Answer::Unknown][usize::from(answer.min(3))];
            let operation = Move(kind, a, b, size).operation();
            // Only what can happen: a success that is forbidden is another test's affair.
            if answer != Answer::Done || model.clone().complete(&operation, answer).is_empty() {
                model.complete(&operation, answer);
            }
        }
        prop_assert!(!model.worlds().is_empty() && model.worlds().len() <= MOST_WORLDS);
        for world in model.worlds() {
            for (id, volume) in &world.volumes {
                prop_assert!((world.depth(*id) as usize) < world.volumes.len().max(1));
                prop_assert!(volume.parent.is_none() || volume.lun);
                if volume.is_silent() {
                    prop_assert!(world.children(Parent::Volume(*id)).next().is_some(), "{:?}", world);
                }
            }
        }
        if let Some(world) = model.settled().cloned() {
            // A row that may be missing or broken is drawn as missing.
            prop_assert_eq!(judge(&mut model, &picture(&world)), [""; 0], "{:?}", world);
        }
    }
}

fn timed(operation: Operation, answer: Answer, begun: u64, ended: u64) -> sanbench_check::Timed {
    sanbench_check::Timed { operation, answer, begun, ended }
}

fn attach(n: u8, host: &str) -> Operation {
    Operation::Attach { volume: v(n), host: host.into() }
}

#[test]
fn operations_side_by_side_need_an_order_that_explains_their_answers() {
    let base = || {
        let mut model = ControlModel::default();
        run(&mut model, &[create(1, 1, Source::Blank)]);
        model
    };
    let grow = |size_gib| Operation::Extend { id: v(1), size_gib };
    // 2 then 3 GiB works, in either order of their ends.
    for (two, three) in [((1, 3), (2, 4)), ((1, 4), (2, 3))] {
        let mut model = base();
        let group =
            vec![timed(grow(2), Answer::Done, two.0, two.1), timed(grow(3), Answer::Done, three.0, three.1)];
        assert_eq!(model.complete_group(group), []);
        assert_eq!(model.settled().unwrap().volumes[&v(1)].size_gib, 3);
    }
    // One after the other there is one order only.
    let mut model = base();
    let group = vec![timed(grow(3), Answer::Done, 1, 2), timed(grow(2), Answer::Done, 3, 4)];
    assert_eq!(model.complete_group(group)[0].requirement, "CON-001");
    // Two hosts at once: one must be refused.
    let mut model = base();
    let both =
        |second| vec![timed(attach(1, "h1"), Answer::Done, 1, 3), timed(attach(1, "h2"), second, 2, 4)];
    assert_eq!(model.clone().complete_group(both(Answer::Refused)), []);
    assert_eq!(model.complete_group(both(Answer::Done))[0].requirement, "CON-001");
}

#[test]
fn what_lanes_do_in_turn_keeps_its_order_and_unknown_answers_keep_both_worlds() {
    let mut model = ControlModel::default();
    run(&mut model, &[create(1, 1, Source::Blank)]);
    // A clone that began after the delete had ended cannot come before it.
    let group = vec![
        timed(Operation::DeleteVolume { id: v(1) }, Answer::Done, 1, 2),
        timed(create(2, 1, Source::Volume(v(1))), Answer::Done, 3, 4),
    ];
    assert_eq!(model.clone().complete_group(group)[0].requirement, "CON-001");
    // One that had begun before can.
    let group = vec![
        timed(Operation::DeleteVolume { id: v(1) }, Answer::Done, 2, 3),
        timed(create(2, 1, Source::Volume(v(1))), Answer::Done, 1, 4),
    ];
    assert_eq!(model.clone().complete_group(group), []);
    let group = vec![
        timed(Operation::Extend { id: v(1), size_gib: 2 }, Answer::Unknown, 1, 4),
        timed(Operation::CreateSnapshot { id: s(9), volume: v(1) }, Answer::Done, 2, 3),
    ];
    assert_eq!(model.complete_group(group), []);
    let sizes: std::collections::BTreeSet<(u64, u64)> =
        model.worlds().iter().map(|w| (w.volumes[&v(1)].size_gib, w.snapshots[&s(9)].size_gib)).collect();
    assert_eq!(sizes, [(1, 1), (2, 1), (2, 2)].into());
}
