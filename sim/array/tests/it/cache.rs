//! The volatile write cache: what may go with the power and what may not, its bound, and the commands that write beside it.

use std::time::Duration;

use sanbench_array::{
    Array, ArrayConfig, Command, Defects, DeviceId, IoError, NexusId, PoolConfig, PowerLoss, ReservationKind,
};

const NOW: Duration = Duration::ZERO;

/// An array with one LUN of 1024 blocks, its cache on.
fn cached(cache_blocks: u64) -> (Array, DeviceId) {
    let mut a = Array::new(ArrayConfig {
        pools: vec![PoolConfig::new("pool0", 128 * 64)],
        write_cache: true,
        cache_blocks,
        ..ArrayConfig::default()
    });
    let lun = lun(&mut a, "v", true);
    (a, lun)
}

fn lun(a: &mut Array, name: &str, thin: bool) -> DeviceId {
    let command =
        Command::CreateLun { name: name.to_owned(), description: String::new(), pool: 0, blocks: 1024, thin };
    DeviceId::Lun(a.apply(NOW, command).unwrap().id().unwrap())
}

fn read(a: &mut Array, id: DeviceId, lba: u64, blocks: u32) -> Vec<u8> {
    a.read(NOW, id, lba, blocks).unwrap().concat()
}

/// Power goes; every choice is `choice` modulo the number of choices. 4 loses all, 0 nothing.
fn cut(a: &mut Array, choice: u64) -> PowerLoss {
    let mut first = Some(choice);
    a.power_loss(NOW, &mut |n| first.take().unwrap_or(0) % n)
}

fn used(a: &Array) -> u64 {
    a.pool(0).unwrap().used_blocks() / 128
}

fn sound(a: &Array) {
    assert_eq!(a.audit(), Vec::<String>::new());
}

#[test]
fn unsynchronised_blocks_go_and_synchronised_ones_stay() {
    let (mut a, id) = cached(10_000);
    a.write(NOW, id, 0, &[1; 512 * 300]).unwrap();
    a.flush(NOW, id, 0, 300).unwrap();
    a.write(NOW, id, 10, &[2; 512 * 200]).unwrap();
    a.write_through(NOW, id, 20, &[3; 512 * 4]).unwrap();
    a.flush(NOW, id, 100, 5).unwrap();
    a.write(NOW, id, 102, &[4; 512]).unwrap();
    assert_eq!(a.unsynchronised_blocks(id), 200 - 4 - 5 + 1);
    assert_eq!(read(&mut a, id, 19, 3), [[2; 512], [3; 512], [3; 512]].concat(), "reads see the newest data");
    let lost = cut(&mut a, 4);
    assert_eq!(lost, PowerLoss { blocks_lost: 192, blocks_kept: 0, luns: 1 });
    let mut want = vec![1; 512 * 300];
    want[512 * 20..512 * 24].fill(3);
    want[512 * 100..512 * 105].fill(2);
    assert!(read(&mut a, id, 0, 300) == want, "block 102 goes back to what the flush had made durable");
    assert_eq!((a.power_generation(), a.unsynchronised_blocks(id)), (1, 0));
    assert_eq!(cut(&mut a, 4), PowerLoss::default(), "nothing is left to lose");
    sound(&a);
}

#[test]
fn any_subset_may_go_and_no_block_is_torn() {
    let (mut a, id) = cached(10_000);
    let mut seen = std::collections::BTreeSet::new();
    let mut state = 1_u64;
    let mut dice = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    for _ in 0..200 {
        a.sanitize(NOW, id, None).unwrap();
        a.write(NOW, id, 126, &[9; 512 * 4]).unwrap();
        a.power_loss(NOW, &mut dice);
        let kept: Vec<bool> = read(&mut a, id, 126, 4)
            .chunks(512)
            .map(|block| match block {
                block if *block == [9; 512] => true,
                block if *block == [0; 512] => false,
                _ => panic!("a torn block"),
            })
            .collect();
        seen.insert(kept);
        sound(&a);
    }
    assert_eq!(seen.len(), 16, "all subsets of four blocks in two extents: {seen:?}");
}

#[test]
fn space_follows_the_newest_content_through_a_power_loss() {
    let (mut a, id) = cached(10_000);
    a.write(NOW, id, 0, &[1; 512 * 256]).unwrap();
    a.flush(NOW, id, 0, 0).unwrap();
    a.unmap(NOW, id, 0, 128).unwrap();
    a.write(NOW, id, 600, &[2; 512]).unwrap();
    assert_eq!(used(&a), 2, "one freed, one taken");
    cut(&mut a, 4);
    assert_eq!(used(&a), 2, "and back");
    assert_eq!(read(&mut a, id, 0, 128), vec![1; 512 * 128]);
    assert_eq!(read(&mut a, id, 600, 1), [0; 512]);
    sound(&a);
}

#[test]
fn an_unmap_that_cannot_be_taken_back_is_not_lost() {
    let mut a = Array::new(ArrayConfig {
        pools: vec![PoolConfig::new("pool0", 128 * 2)],
        write_cache: true,
        ..ArrayConfig::default()
    });
    let (v, w) = (lun(&mut a, "v", true), lun(&mut a, "w", true));
    a.write(NOW, v, 0, &[1; 512 * 256]).unwrap();
    a.flush(NOW, v, 0, 0).unwrap();
    a.unmap(NOW, v, 0, 128).unwrap();
    a.write_through(NOW, w, 0, &[2; 512]).unwrap();
    let report = cut(&mut a, 4);
    assert_eq!((report.blocks_lost, report.blocks_kept), (0, 128));
    assert_eq!(read(&mut a, v, 0, 128), vec![0; 512 * 128]);
    assert_eq!(read(&mut a, w, 0, 1), [2; 512], "a synchronised write does not pay for it");
    sound(&a);
}

#[test]
fn the_oldest_extents_are_destaged_beyond_the_bound() {
    let (mut a, id) = cached(130);
    for extent in 0..4 {
        a.write(NOW, id, extent * 128, &[7; 512 * 60]).unwrap();
        assert!(a.unsynchronised_blocks(id) <= 130);
    }
    assert_eq!(a.unsynchronised_blocks(id), 120);
    cut(&mut a, 4);
    assert_eq!(read(&mut a, id, 128, 1), [7; 512], "destaged, so durable");
    assert_eq!(read(&mut a, id, 256, 1), [0; 512], "one of the newest two");
    let (mut a, id) = cached(0);
    a.write(NOW, id, 0, &[7; 512]).unwrap();
    assert_eq!(cut(&mut a, 4), PowerLoss::default());
    assert_eq!(read(&mut a, id, 0, 1), [7; 512], "a cache without room is no cache");
}

#[test]
fn switching_off_and_freezing_flush() {
    type Act = fn(&mut Array, DeviceId);
    let acts: [(&str, Act); 7] = [
        ("switch off", |a, id| a.set_write_cache(NOW, id, false).unwrap()),
        ("snapshot", |a, id| {
            let parent = id.number();
            let command =
                Command::CreateSnapshot { name: "s".to_owned(), description: String::new(), parent };
            let id = a.apply(NOW, command).unwrap().id().unwrap();
            a.apply(NOW, Command::ActivateSnapshots { ids: vec![id] }).unwrap();
        }),
        ("clone", |a, source| {
            let command = Command::CloneLun { name: "c".to_owned(), source, description: String::new() };
            let clone = DeviceId::Lun(a.apply(NOW, command).unwrap().id().unwrap());
            assert_eq!(read(a, clone, 5, 1), [9; 512]);
            cut(a, 4);
            assert_eq!(read(a, clone, 5, 1), [9; 512], "a clone never differs from what it was made of");
        }),
        ("expand", |a, id| {
            a.apply(NOW, Command::ExpandLun { lun: id.number(), blocks: 2048 }).unwrap();
        }),
        ("full copy", |a, source| {
            let target = lun(a, "t", true).number();
            let command = Command::CreateLunCopy { name: "l".to_owned(), source, target, speed: 1 };
            let copy = a.apply(NOW, command).unwrap().id().unwrap();
            a.apply(NOW, Command::StartLunCopy { copy }).unwrap();
        }),
        ("block copy", |a, source| {
            let target = lun(a, "t", true);
            a.copy_blocks(NOW, source, 0, target, 0, 1024).unwrap();
            assert_eq!(a.unsynchronised_blocks(target), 1024, "the target's blocks are volatile");
        }),
        ("split", |a, source| {
            // The source of the split is a clone of the clone, written before.
            let command = Command::CloneLun { name: "c".to_owned(), source, description: String::new() };
            let clone = a.apply(NOW, command).unwrap().id().unwrap();
            a.write(NOW, DeviceId::Lun(clone), 0, &[8; 512]).unwrap();
            a.apply(NOW, Command::StartSplit { lun: clone }).unwrap();
            assert_eq!(a.unsynchronised_blocks(DeviceId::Lun(clone)), 0);
        }),
    ];
    for (what, act) in acts {
        let (mut a, id) = cached(10_000);
        a.write(NOW, id, 5, &[9; 512 * 10]).unwrap();
        assert_eq!(a.unsynchronised_blocks(id), 10);
        act(&mut a, id);
        assert_eq!(a.unsynchronised_blocks(id), 0, "{what}");
        cut(&mut a, 4);
        assert_eq!(read(&mut a, id, 5, 10), [9; 5120], "{what}");
        sound(&a);
    }
}

#[test]
fn without_a_cache_nothing_is_ever_lost() {
    let (mut a, id) = cached(10_000);
    a.set_write_cache(NOW, id, false).unwrap();
    a.write(NOW, id, 0, &[1; 512 * 500]).unwrap();
    a.unmap(NOW, id, 10, 100).unwrap();
    assert_eq!(cut(&mut a, 4), PowerLoss::default());
    assert_eq!(read(&mut a, id, 9, 2), [[1; 512], [0; 512]].concat());
    assert!(!a.write_cache(id));
}

#[test]
fn a_flush_that_is_planted_wrong_loses_acknowledged_data() {
    let (mut a, id) = {
        let mut a = Array::new(ArrayConfig {
            defects: Defects { sync_cache_ignored: true, ..Defects::default() },
            write_cache: true,
            ..ArrayConfig::default()
        });
        let id = lun(&mut a, "v", true);
        (a, id)
    };
    a.write(NOW, id, 0, &[1; 512]).unwrap();
    assert_eq!(a.flush(NOW, id, 0, 0), Ok(()), "it is answered");
    cut(&mut a, 4);
    assert_eq!(read(&mut a, id, 0, 1), [0; 512]);
}

#[test]
fn reservations_outlast_the_power_when_made_to() {
    for (forgotten, persist, left) in [(false, true, 1), (false, false, 0), (true, true, 0)] {
        let defects = Defects { aptpl_forgotten: forgotten, ..Defects::default() };
        let mut a = Array::new(ArrayConfig { defects, ..ArrayConfig::default() });
        let id = lun(&mut a, "v", true);
        let nexus = NexusId { initiator: "iqn.2026-01.example:a".to_owned(), isid: [1; 6], port: 1 };
        let reservations = a.reservations_mut(id).unwrap();
        reservations.register(&nexus, 0, 7, persist, false).unwrap();
        reservations.reserve(&nexus, 7, ReservationKind::WriteExclusive).unwrap();
        cut(&mut a, 0);
        let reservations = a.reservations(id).unwrap();
        assert_eq!(reservations.registrants().count(), left, "persist {persist}, forgotten {forgotten}");
        assert_eq!(reservations.reservation().is_some(), left == 1);
    }
}

#[test]
fn snapshots_have_no_cache_and_take_no_writes() {
    let (mut a, id) = cached(10);
    let parent = id.number();
    let command = Command::CreateSnapshot { name: "s".to_owned(), description: String::new(), parent };
    let snapshot = a.apply(NOW, command).unwrap().id().unwrap();
    a.apply(NOW, Command::ActivateSnapshots { ids: vec![snapshot] }).unwrap();
    let s = DeviceId::Snapshot(snapshot);
    assert!(!a.write_cache(s));
    assert_eq!(a.set_write_cache(NOW, s, true), Err(IoError::ReadOnly));
    assert_eq!(a.set_write_cache(NOW, s, false), Ok(()));
    assert_eq!(a.write_through(NOW, s, 0, &[0; 512]), Err(IoError::ReadOnly));
    assert_eq!(a.or_write(NOW, s, 0, &[0; 512], false), Err(IoError::ReadOnly));
    assert_eq!(a.sanitize(NOW, s, None), Err(IoError::ReadOnly));
    assert_eq!(a.copy_blocks(NOW, id, 0, s, 0, 1), Err(IoError::ReadOnly));
    assert_eq!(a.flush(NOW, s, 0, 0), Ok(()));
    let gone = DeviceId::Lun(999);
    assert_eq!(a.flush(NOW, gone, 0, 0), Err(IoError::Gone));
    assert_eq!(a.set_write_cache(NOW, gone, false), Err(IoError::Gone));
    assert_eq!(a.flush(NOW, id, 1024, 1), Err(IoError::OutOfRange));
    assert_eq!(a.flush(NOW, id, 1024, 0), Ok(()), "nothing is left behind the last block");
    assert_eq!(a.flush(NOW, id, u64::MAX, 2), Err(IoError::OutOfRange));
}

#[test]
fn compare_and_write_tells_the_first_difference_and_writes_all_or_nothing() {
    let (mut a, id) = cached(10_000);
    a.write(NOW, id, 120, &[5; 512 * 16]).unwrap();
    a.flush(NOW, id, 0, 0).unwrap();
    let mut expected = [5; 512 * 16];
    expected[512 * 9 + 3] = 4;
    assert_eq!(a.compare_and_write(NOW, id, 120, &expected, &[6; 8192], false), Ok(Err(512 * 9 + 3)));
    assert_eq!(a.unsynchronised_blocks(id), 0, "nothing is written");
    assert_eq!(a.compare_and_write(NOW, id, 120, &[5; 8192], &[6; 8192], true), Ok(Ok(())));
    cut(&mut a, 4);
    assert_eq!(read(&mut a, id, 120, 16), [6; 8192], "written with force unit access");
    assert_eq!(a.compare_and_write(NOW, id, 120, &[5; 512], &[6; 1024], false), Err(IoError::OutOfRange));
    assert_eq!(a.compare_and_write(NOW, id, 1024, &[5; 512], &[6; 512], false), Err(IoError::OutOfRange));
    assert_eq!(a.compare_and_write(NOW, id, 0, &[5; 5], &[6; 5], false), Err(IoError::OutOfRange));
}

#[test]
fn aligned_copies_share_and_others_take_space() {
    let (mut a, v) = cached(10_000);
    a.set_write_cache(NOW, v, false).unwrap();
    let (w, thick) = (lun(&mut a, "w", true), lun(&mut a, "t", false));
    for id in [w, thick] {
        a.set_write_cache(NOW, id, false).unwrap();
    }
    let reserved = used(&a);
    a.write(NOW, v, 0, &[1; 512 * 512]).unwrap();
    assert_eq!(used(&a) - reserved, 4);
    a.copy_blocks(NOW, v, 0, w, 128, 512).unwrap();
    assert_eq!(used(&a) - reserved, 4, "shared");
    a.write(NOW, w, 130, &[2; 512]).unwrap();
    assert_eq!(used(&a) - reserved, 5, "parted");
    assert_eq!(read(&mut a, v, 2, 1), [1; 512]);
    a.copy_blocks(NOW, v, 0, thick, 0, 512).unwrap();
    assert_eq!(used(&a) - reserved, 5, "a thick LUN uses what it has reserved");
    a.copy_blocks(NOW, v, 1, w, 3, 300).unwrap();
    assert_eq!(read(&mut a, w, 3, 300), vec![1; 512 * 300]);
    // Within one LUN, overlapping, both ways.
    let ramp: Vec<u8> = (0..400_u32).flat_map(|n| [n as u8; 512]).collect();
    for (from, to) in [(0, 77), (77, 0), (0, 128), (128, 0), (0, 1), (1, 0)] {
        a.write(NOW, v, from, &ramp).unwrap();
        a.copy_blocks(NOW, v, from, v, to, 400).unwrap();
        assert!(read(&mut a, v, to, 400) == ramp, "{from} to {to}");
        sound(&a);
    }
    assert_eq!(a.copy_blocks(NOW, v, 1000, w, 0, 25), Err(IoError::OutOfRange));
    assert_eq!(a.copy_blocks(NOW, v, 0, w, u64::MAX, 25), Err(IoError::OutOfRange));
    assert_eq!(a.copy_blocks(NOW, v, 0, DeviceId::Lun(999), 0, 1), Err(IoError::Gone));
}

#[test]
fn sanitize_overwrites_everything_durably() {
    let (mut a, id) = cached(10_000);
    a.write(NOW, id, 3, &[1; 512 * 200]).unwrap();
    a.sanitize(NOW, id, Some(&[1, 2, 3])).unwrap();
    cut(&mut a, 4);
    let block: Vec<u8> = [1, 2, 3].into_iter().cycle().take(512).collect();
    assert!(
        read(&mut a, id, 0, 1024).chunks(512).all(|found| found == block),
        "each block starts the pattern anew"
    );
    assert_eq!(used(&a), 8);
    a.sanitize(NOW, id, None).unwrap();
    cut(&mut a, 4);
    assert_eq!((read(&mut a, id, 0, 1024), used(&a)), (vec![0; 512 * 1024], 0));
    assert_eq!(a.sanitize(NOW, id, Some(&[])), Err(IoError::OutOfRange));
    assert_eq!(a.sanitize(NOW, id, Some(&[1; 513])), Err(IoError::OutOfRange));
    sound(&a);
}
