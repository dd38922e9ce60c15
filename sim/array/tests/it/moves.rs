//! LUN migration and snapshot rollback: data, placement, space, progress, failure.

use std::time::Duration;

use sanbench_array::{Array, ArrayConfig, Command, CopyStatus, DeviceId, PoolConfig, Refusal};

const BLOCKS: u64 = 64 * 128;

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Two pools; ten extents a second.
fn array(pool1_blocks: u64) -> Array {
    Array::new(ArrayConfig {
        pools: vec![PoolConfig::new("pool0", 1 << 20), PoolConfig::new("pool1", pool1_blocks)],
        copy_rate: 10,
        ..ArrayConfig::default()
    })
}

fn ask(a: &mut Array, now: Duration, command: Command) -> Result<u64, Refusal> {
    let answer = a.apply(now, command).map(|outcome| outcome.id().unwrap_or(0));
    assert_eq!(a.audit(), Vec::<String>::new());
    answer
}

fn lun(a: &mut Array, name: &str, pool: u64, thin: bool) -> u64 {
    let (name, description) = (name.to_owned(), String::new());
    ask(a, at(0), Command::CreateLun { name, description, pool, blocks: BLOCKS, thin }).unwrap()
}

fn write(a: &mut Array, now: Duration, lun: u64, extent: u64, byte: u8) {
    a.write(now, DeviceId::Lun(lun), extent * 128 + 3, &[byte; 1024]).unwrap();
}

fn content(a: &mut Array, now: Duration, lun: u64) -> Vec<u8> {
    a.read(now, DeviceId::Lun(lun), 0, BLOCKS as u32).unwrap().concat()
}

/// Source with 20 extents of data in pool 0, target in pool 1, and a migration that has just begun.
fn moving(pool1_blocks: u64, thin: bool) -> (Array, u64, u64) {
    let mut a = array(pool1_blocks);
    let (source, target) = (lun(&mut a, "source", 0, true), lun(&mut a, "target", 1, thin));
    for extent in 0..20 {
        write(&mut a, at(0), source, extent * 2, 1 + extent as u8);
    }
    ask(&mut a, at(0), Command::CreateMigration { lun: source, target, speed: 2 }).unwrap();
    (a, source, target)
}

#[test]
fn a_lun_moves_while_hosts_write_to_it() {
    for thin in [true, false] {
        let (mut a, source, target) = moving(1 << 20, thin);
        let wwn = a.lun(source).unwrap().wwn;
        let mut model = content(&mut a, at(0), source);
        let mut now = 0;
        // A write every 70 ms, before the cursor and behind it, and an unmap now and then.
        for n in 0..60u64 {
            now = n * 70;
            let extent = n * 7 % 64;
            let from = (extent * 65_536 + 3 * 512) as usize;
            if n % 5 == 4 {
                a.unmap(at(now), DeviceId::Lun(source), extent * 128, 128).unwrap();
                model[extent as usize * 65_536..][..65_536].fill(0);
            } else {
                write(&mut a, at(now), source, extent, 100 + n as u8);
                model[from..from + 1024].fill(100 + n as u8);
            }
            assert!(content(&mut a, at(now), source) == model, "after {now} ms");
            assert_eq!(a.audit(), Vec::<String>::new(), "after {now} ms");
        }
        assert_eq!(a.migration(source).unwrap().status, CopyStatus::Running);
        a.advance(at(now + 60_000));
        let task = a.migration(source).unwrap();
        assert_eq!((task.status, task.progress), (CopyStatus::Complete, 100));
        let (moved, left) = (a.lun(source).unwrap(), a.lun(target).unwrap());
        assert_eq!((moved.pool, moved.thin, moved.wwn, moved.name.as_str()), (1, thin, wwn, "source"));
        assert_eq!((left.pool, left.thin, left.name.as_str()), (0, true, "target"));
        assert!(content(&mut a, at(now + 60_000), source) == model);
        ask(&mut a, at(70_000), Command::DeleteMigration { lun: source }).unwrap();
        ask(&mut a, at(70_000), Command::DeleteLun { lun: target }).unwrap();
        assert_eq!(a.pool(0).unwrap().used_blocks(), 0, "the old place is empty");
        assert!(content(&mut a, at(70_000), source) == model);
    }
}

#[test]
fn a_migration_that_fails_or_is_given_up_leaves_the_lun_alone() {
    // Room for five extents in the target's pool.
    let (mut a, source, target) = moving(5 * 128, true);
    let before = content(&mut a, at(0), source);
    a.advance(at(400));
    let task = a.migration(source).unwrap().clone();
    assert_eq!(task.status, CopyStatus::Running);
    assert!((1..99).contains(&task.progress), "{}", task.progress);
    a.advance(at(5_000));
    assert_eq!(a.migration(source).unwrap().status, CopyStatus::Failed);
    assert_eq!(a.lun(source).unwrap().pool, 0);
    assert!(content(&mut a, at(5_000), source) == before);
    ask(&mut a, at(5_000), Command::DeleteMigration { lun: source }).unwrap();
    assert_eq!(
        ask(&mut a, at(5_000), Command::DeleteMigration { lun: source }),
        Err(Refusal::NoSuchMigration)
    );
    ask(&mut a, at(5_000), Command::DeleteLun { lun: target }).unwrap();

    let (mut a, source, _) = moving(1 << 20, true);
    a.advance(at(900));
    ask(&mut a, at(900), Command::DeleteMigration { lun: source }).unwrap();
    a.advance(at(60_000));
    assert_eq!(a.lun(source).unwrap().pool, 0);
    assert!(content(&mut a, at(60_000), source) == before);
}

#[test]
fn what_moves_may_not_change_shape() {
    let (mut a, source, target) = moving(1 << 20, true);
    let now = at(100);
    for command in [
        Command::DeleteLun { lun: source },
        Command::DeleteLun { lun: target },
        Command::ExpandLun { lun: source, blocks: BLOCKS * 2 },
        Command::ExpandLun { lun: target, blocks: BLOCKS * 2 },
        Command::CreateMigration { lun: source, target, speed: 2 },
    ] {
        let shown = format!("{command:?}");
        assert_eq!(ask(&mut a, now, command), Err(Refusal::InCopy), "{shown}");
    }
    let other = lun(&mut a, "other", 0, true);
    let command = Command::CreateMigration { lun: other, target: other, speed: 2 };
    assert_eq!(ask(&mut a, now, command), Err(Refusal::BadCopyTarget));
}

#[test]
fn a_rollback_shows_the_snapshot_at_once_and_keeps_later_writes() {
    let mut a = array(1 << 20);
    let lun = lun(&mut a, "v", 0, true);
    for extent in 0..10 {
        write(&mut a, at(0), lun, extent, 1);
    }
    let then = content(&mut a, at(0), lun);
    let (name, description) = ("s".to_owned(), String::new());
    let snapshot = ask(&mut a, at(0), Command::CreateSnapshot { name, description, parent: lun }).unwrap();
    assert_eq!(
        ask(&mut a, at(0), Command::RollbackSnapshot { snapshot, speed: 2 }),
        Err(Refusal::NotActivated)
    );
    ask(&mut a, at(0), Command::ActivateSnapshots { ids: vec![snapshot] }).unwrap();
    for extent in 5..15 {
        write(&mut a, at(0), lun, extent, 2);
    }
    a.unmap(at(0), DeviceId::Lun(lun), 0, 128).unwrap();
    ask(&mut a, at(0), Command::ExpandLun { lun, blocks: BLOCKS + 256 }).unwrap();
    a.write(at(0), DeviceId::Lun(lun), BLOCKS, &[9; 512]).unwrap();

    ask(&mut a, at(10), Command::RollbackSnapshot { snapshot, speed: 2 }).unwrap();
    assert!(content(&mut a, at(10), lun) == then);
    let tail = a.read(at(10), DeviceId::Lun(lun), BLOCKS, 256).unwrap().concat();
    assert!(tail.iter().all(|byte| *byte == 0), "what was added since reads zero");
    for command in [Command::StopSnapshot { snapshot }, Command::RollbackSnapshot { snapshot, speed: 4 }] {
        assert_eq!(ask(&mut a, at(20), command), Err(Refusal::InCopy));
    }
    write(&mut a, at(30), lun, 14, 7);
    a.advance(at(500));
    let rollback = a.snapshot(snapshot).unwrap().rollback.unwrap();
    assert_eq!(rollback.status, CopyStatus::Running);
    assert!((1..99).contains(&rollback.progress), "{}", rollback.progress);
    a.advance(at(10_000));
    let rollback = a.snapshot(snapshot).unwrap().rollback.unwrap();
    assert_eq!((rollback.status, rollback.progress), (CopyStatus::Complete, 100));
    let mut model = then;
    model[14 * 65_536 + 1536..][..1024].fill(7);
    assert!(content(&mut a, at(10_000), lun) == model);
    assert_eq!(ask(&mut a, at(10_000), Command::CancelRollback { snapshot }), Err(Refusal::NoRollback));

    write(&mut a, at(10_000), lun, 1, 8);
    ask(&mut a, at(10_000), Command::RollbackSnapshot { snapshot, speed: 1 }).unwrap();
    ask(&mut a, at(10_001), Command::CancelRollback { snapshot }).unwrap();
    ask(&mut a, at(10_002), Command::StopSnapshot { snapshot }).unwrap();
    ask(&mut a, at(10_002), Command::DeleteSnapshot { snapshot }).unwrap();
    ask(&mut a, at(10_002), Command::DeleteLun { lun }).unwrap();
    assert_eq!(a.pool(0).unwrap().used_blocks(), 0);
}

#[test]
fn a_rollback_without_room_changes_nothing() {
    let mut a =
        Array::new(ArrayConfig { pools: vec![PoolConfig::new("pool0", 12 * 128)], ..ArrayConfig::default() });
    let lun = lun(&mut a, "v", 0, true);
    for extent in 0..6 {
        write(&mut a, at(0), lun, extent, 1);
    }
    let (name, description) = ("s".to_owned(), String::new());
    let snapshot = ask(&mut a, at(0), Command::CreateSnapshot { name, description, parent: lun }).unwrap();
    ask(&mut a, at(0), Command::ActivateSnapshots { ids: vec![snapshot] }).unwrap();
    for extent in 0..6 {
        write(&mut a, at(0), lun, extent, 2);
    }
    let before = content(&mut a, at(0), lun);
    assert_eq!(ask(&mut a, at(0), Command::RollbackSnapshot { snapshot, speed: 2 }), Err(Refusal::PoolFull));
    assert!(content(&mut a, at(0), lun) == before);
    assert!(a.snapshot(snapshot).unwrap().rollback.is_none());
}
