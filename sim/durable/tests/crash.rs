//! The journal under power cuts: commands and data go to an array with a disk that loses its power between any two calls,
//! and to a twin in memory. What comes back is one whole state of the twin, and nothing that was acknowledged is missing.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

mod disk;
mod folder;
mod twin;

use std::sync::Arc;

use disk::CrashDisk;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use sanbench_array::{Array, ArrayConfig, Command, DeviceId, IoError, Medium, PoolConfig, Refusal};
use sanbench_durable::{Defects, Keeper, Pages, revive};
use twin::{Op, Twin, ops};

fn config() -> ArrayConfig {
    ArrayConfig {
        product: "V600R005C30".to_owned(),
        pools: vec![PoolConfig::new("pool0", 100_000 * 128), PoolConfig::new("pool1", 100 * 128)],
        flatten_rate: 50,
        copy_rate: 50,
        write_cache: true,
        ..ArrayConfig::default()
    }
}

/// An array on a disk; made when there is nothing on it.
fn open(disk: &CrashDisk, defects: Defects) -> (Array, Keeper) {
    let contents = disk.contents();
    if contents.saved.objects.is_empty() {
        let file = Arc::new(disk.clone());
        let pages = Arc::new(Pages::new(Arc::clone(&file) as _, &[], defects));
        pages.sweep();
        let mut array = Array::new(config());
        array.keep(Arc::clone(&pages) as Arc<dyn Medium>, defects.journal);
        let keeper = Keeper::new(file, pages, Box::new(disk.clone()), &[], defects);
        return (array, keeper);
    }
    revive(Arc::new(disk.clone()), Box::new(disk.clone()), contents, config(), defects)
        .unwrap_or_else(|damage| panic!("the array does not come back: {damage}"))
}

/// Runs commands with a commit behind every `every`th of them until the disk has done `budget` calls, lets the power fail
/// with this seed, and looks at what comes back. Then goes on from there, until the commands run out. The error tells what
/// was wrong; the number is how many power cuts there were.
fn run(ops: &[Op], every: usize, budgets: &[u64], seed: u64, defects: Defects) -> Result<u64, String> {
    let disk = CrashDisk::default();
    let mut twin = Twin::new(config());
    let (mut array, mut keeper) = open(&disk, defects);
    // The very first commit makes the array; before it nothing exists.
    let first = keeper.collect(&mut array);
    keeper.commit(first).unwrap();
    let mut states = vec![twin.look()];
    let mut cuts = 0;
    let mut budgets = budgets.iter().copied();
    disk.power_for(budgets.next());
    for (n, op) in ops.iter().enumerate() {
        let got = twin::apply(&mut array, &mut twin.clone_names(), op);
        let want = twin.apply(op);
        if got != want {
            return Err(format!("{op:?} answers {got:?}, the twin {want:?}"));
        }
        if n % every != 0 {
            continue;
        }
        let batch = keeper.collect(&mut array);
        let now = twin.look();
        let answered = defects.answers_before_commit;
        if answered {
            states = vec![now.clone()];
        }
        if keeper.commit(batch).is_ok() {
            states = vec![now];
            twin.remember();
            continue;
        }
        // No power any more. The commit under way may be over or not, nobody has heard.
        if !answered {
            states.push(now);
        }
        cuts += 1;
        drop((array, keeper));
        disk.power_comes_back(seed.wrapping_add(cuts));
        (array, keeper) = std::panic::catch_unwind(|| open(&disk, defects))
            .map_err(|_| "the array does not come back".to_owned())?;
        let found = twin::look(&mut array);
        let Some(which) = states.iter().position(|state| state.matches(&found)) else {
            return Err(states[0].difference(&found));
        };
        match which {
            0 => twin.go_back(),
            _ => twin.remember(),
        }
        twin.after_power_loss(disk.clock());
        states = vec![twin.look()];
        let batch = keeper.collect(&mut array);
        disk.power_for(budgets.next());
        if keeper.commit(batch).is_ok() {
            twin.remember();
        } else {
            // Cut off at once again: the state is the same before and behind.
            drop((array, keeper));
            disk.power_comes_back(seed);
            disk.power_for(None);
            (array, keeper) = open(&disk, defects);
        }
    }
    let found = twin::look(&mut array);
    let last = twin.look();
    if last.matches(&found) { Ok(cuts) } else { Err(last.difference(&found)) }
}

#[test]
fn the_power_fails_at_every_call_of_the_disk() {
    let mut runner = TestRunner::deterministic();
    for round in 0..6 {
        let ops = ops(30).new_tree(&mut runner).unwrap().current();
        // How many calls the disk sees without a power cut.
        let calls = {
            let disk = CrashDisk::default();
            let (mut array, mut keeper) = open(&disk, Defects::default());
            let mut twin = Twin::new(config());
            for op in &ops {
                twin::apply(&mut array, &mut twin.clone_names(), op);
                twin.apply(op);
                let batch = keeper.collect(&mut array);
                keeper.commit(batch).unwrap();
            }
            disk.calls()
        };
        for budget in 0..calls {
            run(&ops, 1, &[budget], round * 1000 + budget, Defects::default())
                .unwrap_or_else(|what| panic!("round {round}, cut at call {budget}: {what}\n{ops:?}"));
        }
    }
}

proptest! {
    #![proptest_config(Config { cases: 64, ..Config::default() })]

    #[test]
    fn what_comes_back_is_a_state_that_was(
        ops in ops(120),
        every in 1..8_usize,
        budgets in prop::collection::vec(0..60_u64, 1..6),
        seed: u64,
    ) {
        run(&ops, every, &budgets, seed, Defects::default()).map_err(TestCaseError::fail)?;
    }
}

/// Looks for commands and power cuts under which the defect shows.
fn caught(name: &str) -> String {
    let mut defects = Defects::default();
    assert!(defects.set(name), "{name}");
    let mut runner = TestRunner::deterministic();
    let strategy = (ops(120), 1..6_usize, prop::collection::vec(0..40_u64, 1..5), any::<u64>());
    for _ in 0..200 {
        let (ops, every, budgets, seed) = strategy.new_tree(&mut runner).unwrap().current();
        if let Err(seen) = run(&ops, every, &budgets, seed, defects) {
            return seen;
        }
    }
    panic!("{name}: 200 runs did not show it");
}

#[test]
fn every_planted_defect_is_seen() {
    std::panic::set_hook(Box::new(|_| {}));
    let seen: Vec<(&str, String)> = Defects::ALL
        .iter()
        .filter(|(name, ..)| *name != "checksums_ignored") // see below
        .map(|(name, ..)| {
            (*name, std::panic::catch_unwind(|| caught(name)).unwrap_or_else(|_| "MISSED".to_owned()))
        })
        .collect();
    let _ = std::panic::take_hook();
    for (name, what) in &seen {
        println!("{name}: {what}");
        assert_ne!(what, "MISSED", "{name}");
    }
}

/// An array with one LUN of two written pages, committed; everything dropped.
fn with_a_page(disk: &CrashDisk) -> u64 {
    let (mut array, mut keeper) = open(disk, Defects::default());
    let now = std::time::Duration::ZERO;
    let create =
        Command::CreateLun { name: "l".into(), description: String::new(), pool: 0, blocks: 256, thin: true };
    let lun = array.apply(now, create).unwrap().id().unwrap();
    array.write(now, DeviceId::Lun(lun), 8, &[7; 16 * 512]).unwrap();
    let batch = keeper.collect(&mut array);
    keeper.commit(batch).unwrap();
    lun
}

#[test]
fn a_rotten_page_is_a_medium_error_and_never_data() {
    let disk = CrashDisk::default();
    let lun = DeviceId::Lun(with_a_page(&disk));
    disk.rot(&[7; 4096], 100);
    let now = std::time::Duration::ZERO;
    let (mut array, _keeper) = open(&disk, Defects::default());
    assert_eq!(array.read(now, lun, 0, 32), Err(IoError::Unreadable { lba: 8 }));
    assert_eq!(array.read(now, lun, 10, 1), Err(IoError::Unreadable { lba: 10 }));
    assert_eq!(
        array.write(now, lun, 10, &[1; 512]),
        Err(IoError::Unreadable { lba: 8 }),
        "the rest of the page is unknown"
    );
    assert_eq!(array.read(now, lun, 16, 8).unwrap().concat(), [7; 4096], "its neighbour is well");
    array.write(now, lun, 8, &[9; 4096]).unwrap();
    assert_eq!(array.read(now, lun, 8, 8).unwrap().concat(), [9; 4096], "a new page heals it");
    // The defect gives bad data as good.
    let mut defects = Defects::default();
    assert!(defects.set("checksums_ignored"));
    let (mut array, _keeper) = open(&disk, defects);
    assert_ne!(array.read(now, lun, 8, 8).unwrap().concat(), [7; 4096]);
}

#[test]
fn a_full_disk_refuses_and_loses_nothing() {
    let disk = CrashDisk::default();
    let lun = DeviceId::Lun(with_a_page(&disk));
    let now = std::time::Duration::ZERO;
    let (mut array, mut keeper) = open(&disk, Defects::default());
    disk.fill_up();
    let grow = |array: &mut Array| {
        let create = Command::CreateLun {
            name: "big".into(),
            description: String::new(),
            pool: 0,
            blocks: 1 << 24,
            thin: true,
        };
        array.apply(now, create).unwrap().id().unwrap()
    };
    let big = DeviceId::Lun(grow(&mut array));
    let mut written = 0_u64;
    let refused = loop {
        match array.write(now, big, written * 2048, &vec![3; 1 << 20]) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        let batch = keeper.collect(&mut array);
        keeper.commit(batch).unwrap();
        assert!(written < 10_000, "the disk never fills up");
    };
    assert_eq!(refused, IoError::NoSpace);
    assert_eq!(array.write(now, lun, 8, &[8; 4096]), Ok(()), "small writes still have the last free pages");
    // The catalogue's turn: no space for rows either. What was admitted is committed with the ballast.
    disk.starve();
    let batch = keeper.collect(&mut array);
    keeper.commit(batch).unwrap();
    let create = Command::CreateHost { name: "h".into(), description: String::new() };
    assert_eq!(array.apply(now, create.clone()), Err(Refusal::PoolFull));
    assert_eq!(array.write(now, lun, 8, &[9; 4096]), Err(IoError::NoSpace));
    array.apply(now, Command::DeleteLun { lun: big.number() }).unwrap();
    let batch = keeper.collect(&mut array);
    keeper.commit(batch).unwrap();
    disk.feed();
    // The commit after the next sees that there is space again.
    for n in 0..2 {
        array.write_through(now, lun, 100, &[n; 512]).ok();
        array.promise();
        array.set_write_cache(now, lun, n == 0).unwrap();
        let batch = keeper.collect(&mut array);
        keeper.commit(batch).unwrap();
    }
    array.apply(now, create).unwrap();
    let batch = keeper.collect(&mut array);
    keeper.commit(batch).unwrap();
    drop((array, keeper));
    let (mut array, _keeper) = open(&disk, Defects::default());
    assert_eq!(array.read(now, lun, 8, 8).unwrap().concat(), [8; 4096]);
    assert_eq!(array.hosts().count(), 1);
    assert!(array.lun(big.number()).is_none());
}
