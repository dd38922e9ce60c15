//! Content, space and background work: splits and copies under other traffic, unmap granularity, pools that run full.

use std::time::Duration;

use sanbench_array::{
    Array, ArrayConfig, Command, CopyStatus, DeviceId, IoError, Mapped, PoolConfig, Refusal, SplitStatus,
};

const EXTENT: u64 = 128;

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// One pool of so many extents; splits and copies make 10 extents a second.
fn array(extents: u64) -> Array {
    Array::new(ArrayConfig {
        pools: vec![PoolConfig::new("pool0", extents * EXTENT)],
        flatten_rate: 10,
        copy_rate: 10,
        ..ArrayConfig::default()
    })
}

fn ok(array: &mut Array, ms: u64, command: Command) -> u64 {
    array.apply(at(ms), command).unwrap().id().unwrap_or(0)
}

fn lun(array: &mut Array, name: &str, blocks: u64, thin: bool) -> u64 {
    let name = name.to_owned();
    ok(array, 0, Command::CreateLun { name, description: String::new(), pool: 0, blocks, thin })
}

fn clone_of(array: &mut Array, ms: u64, name: &str, lun: u64) -> u64 {
    let source = DeviceId::Lun(lun);
    ok(array, ms, Command::CloneLun { name: name.to_owned(), source, description: String::new() })
}

fn write(array: &mut Array, ms: u64, lun: u64, lba: u64, blocks: u64, fill: u8) -> Result<(), IoError> {
    array.write(at(ms), DeviceId::Lun(lun), lba, &vec![fill; blocks as usize * 512])
}

/// First byte of each block.
fn blocks(array: &mut Array, ms: u64, lun: u64, lba: u64, count: u32) -> Vec<u8> {
    let bytes = array.read(at(ms), DeviceId::Lun(lun), lba, count).unwrap().concat();
    let blocks: Vec<&[u8]> = bytes.chunks(512).collect();
    assert!(blocks.iter().all(|block| block.iter().all(|byte| byte == &block[0])), "a torn block");
    blocks.iter().map(|block| block[0]).collect()
}

fn used(array: &Array) -> u64 {
    array.pool(0).unwrap().used_blocks() / EXTENT
}

fn clean(array: &Array) {
    assert_eq!(array.audit(), Vec::<String>::new());
}

#[test]
fn a_split_copies_over_time_and_never_over_newer_data() {
    let mut a = array(1_000);
    let parent = lun(&mut a, "parent", 10 * EXTENT, true);
    write(&mut a, 0, parent, 0, 10 * EXTENT, 1).unwrap();
    let child = clone_of(&mut a, 0, "child", parent);
    assert_eq!(used(&a), 10);
    ok(&mut a, 0, Command::StartSplit { lun: child });
    ok(&mut a, 0, Command::StartSplit { lun: child });
    assert_eq!(a.lun(child).unwrap().split, SplitStatus::Running);
    a.advance(at(350));
    assert_eq!((a.lun(child).unwrap().split_progress, used(&a)), (30, 13));
    // Newer data in front of and behind the copying, a hole, a larger child, a newer parent.
    write(&mut a, 350, child, 1, 1, 2).unwrap();
    write(&mut a, 350, child, 8 * EXTENT + 1, 1, 3).unwrap();
    a.unmap(at(350), DeviceId::Lun(child), 9 * EXTENT, EXTENT).unwrap();
    a.unmap(at(350), DeviceId::Lun(child), 2 * EXTENT, EXTENT).unwrap();
    ok(&mut a, 350, Command::ExpandLun { lun: child, blocks: 20 * EXTENT });
    write(&mut a, 350, parent, 0, 10 * EXTENT, 9).unwrap();
    clean(&a);
    assert_eq!(a.clone_depth(child), 1);
    a.advance(at(1_000));
    assert_eq!((a.clone_depth(child), a.lun(child).unwrap().split_progress), (0, 100));
    assert_eq!((a.lun(child).unwrap().split, a.lun(child).unwrap().is_clone()), (SplitStatus::None, false));
    ok(&mut a, 1_000, Command::DeleteLun { lun: parent });
    clean(&a);
    assert_eq!(used(&a), 8);
    let seen = blocks(&mut a, 1_000, child, 0, 20 * EXTENT as u32);
    for (block, got) in (0..).zip(seen) {
        let want = match block {
            1 => 2,
            1025 => 3,
            256..384 | 1152.. => 0,
            _ => 1,
        };
        assert_eq!(got, want, "block {block}");
    }
}

#[test]
fn the_first_write_of_an_extent_that_only_the_parent_has_copies_it_up() {
    let mut a = array(1_000);
    let parent = lun(&mut a, "parent", 10 * EXTENT, true);
    write(&mut a, 0, parent, 0, 3 * EXTENT, 1).unwrap();
    let child = clone_of(&mut a, 0, "child", parent);
    write(&mut a, 0, child, 7 * EXTENT, 1, 2).unwrap();
    write(&mut a, 0, parent, 0, 1, 3).unwrap();
    assert_eq!(a.copy_ups(), 0, "the parent has nothing there, or is nobody's clone");
    write(&mut a, 0, child, 5, 1, 4).unwrap();
    write(&mut a, 0, child, 6, 1, 5).unwrap();
    assert_eq!(a.copy_ups(), 1);
    // One write over what is copied and what is not.
    write(&mut a, 0, child, EXTENT - 1, 2 * EXTENT, 6).unwrap();
    assert_eq!(a.copy_ups(), 2);
    clean(&a);
}

#[test]
fn a_stopped_split_keeps_the_link_and_can_start_again() {
    let mut a = array(1_000);
    let parent = lun(&mut a, "parent", 10 * EXTENT, true);
    write(&mut a, 0, parent, 0, 10 * EXTENT, 1).unwrap();
    let child = clone_of(&mut a, 0, "child", parent);
    ok(&mut a, 0, Command::StartSplit { lun: child });
    ok(&mut a, 500, Command::StopSplit { lun: child });
    assert_eq!(a.apply(at(500), Command::StopSplit { lun: child }), Err(Refusal::NoSplit));
    a.advance(at(60_000));
    assert_eq!((a.clone_depth(child), used(&a)), (1, 15));
    ok(&mut a, 60_000, Command::StartSplit { lun: child });
    a.advance(at(60_500));
    assert_eq!((a.clone_depth(child), used(&a)), (0, 20));
    clean(&a);
}

#[test]
fn a_split_without_space_fails_and_goes_on_later() {
    let mut a = array(15);
    let parent = lun(&mut a, "parent", 10 * EXTENT, true);
    write(&mut a, 0, parent, 0, 10 * EXTENT, 1).unwrap();
    let child = clone_of(&mut a, 0, "child", parent);
    ok(&mut a, 0, Command::StartSplit { lun: child });
    a.advance(at(5_000));
    assert_eq!((a.lun(child).unwrap().split, a.clone_depth(child), used(&a)), (SplitStatus::Failed, 1, 15));
    clean(&a);
    assert_eq!(blocks(&mut a, 5_000, child, 0, 1_280), vec![1; 1_280]);
    a.unmap(at(5_000), DeviceId::Lun(parent), 0, 10 * EXTENT).unwrap();
    assert_eq!(used(&a), 15, "the child still needs the parent's frozen content");
    a.unmap(at(5_000), DeviceId::Lun(child), 5 * EXTENT, 5 * EXTENT).unwrap();
    ok(&mut a, 5_000, Command::StartSplit { lun: child });
    assert_eq!((a.lun(child).unwrap().split, used(&a)), (SplitStatus::None, 5));
    clean(&a);
}

#[test]
fn a_snapshot_from_before_the_split_keeps_what_it_needs() {
    let mut a = array(1_000);
    let parent = lun(&mut a, "parent", 4 * EXTENT, true);
    write(&mut a, 0, parent, 0, 4 * EXTENT, 1).unwrap();
    let child = clone_of(&mut a, 0, "child", parent);
    let snap = ok(
        &mut a,
        0,
        Command::CreateSnapshot { name: "s".to_owned(), description: String::new(), parent: child },
    );
    ok(&mut a, 0, Command::ActivateSnapshots { ids: vec![snap] });
    ok(&mut a, 0, Command::StartSplit { lun: child });
    a.advance(at(1_000));
    write(&mut a, 1_000, child, 0, 4 * EXTENT, 2).unwrap();
    ok(&mut a, 1_000, Command::DeleteLun { lun: parent });
    clean(&a);
    assert_eq!((used(&a), a.census().internal_layers), (8, 1));
    let old = a.read(at(1_000), DeviceId::Snapshot(snap), 0, 512).unwrap().concat();
    assert!(old.iter().all(|byte| *byte == 1));
    ok(&mut a, 1_000, Command::StopSnapshot { snapshot: snap });
    ok(&mut a, 1_000, Command::DeleteSnapshot { snapshot: snap });
    assert_eq!((used(&a), a.census().internal_layers), (4, 0));
}

#[test]
fn unmap_frees_whole_extents_and_zeroes_parts() {
    let mut a = array(1_000);
    let id = lun(&mut a, "one", 5 * EXTENT + 7, true);
    let device = DeviceId::Lun(id);
    write(&mut a, 0, id, 0, 5 * EXTENT + 7, 1).unwrap();
    assert_eq!(used(&a), 6);
    a.unmap(at(0), device, 3, 2 * EXTENT).unwrap();
    assert_eq!(used(&a), 5);
    let seen = blocks(&mut a, 0, id, 0, 5 * EXTENT as u32 + 7);
    for (block, got) in (0..).zip(seen) {
        assert_eq!(got == 0, (3..2 * EXTENT + 3).contains(&block), "block {block}");
    }
    assert_eq!(a.lba_status(device, 5), Ok((123, Mapped::Mapped)));
    assert_eq!(a.lba_status(device, 130), Ok((126, Mapped::Deallocated)));
    assert_eq!(a.lba_status(device, 300), Ok((5 * EXTENT + 7 - 300, Mapped::Mapped)));
    a.unmap(at(0), device, 5 * EXTENT, 7).unwrap();
    assert_eq!(used(&a), 4, "the last, short extent is whole when its blocks are");
    a.unmap(at(0), device, 0, 3).unwrap();
    assert_eq!(used(&a), 3, "an extent of zeros only is given back");
    assert_eq!(a.unmap(at(0), device, 5 * EXTENT, 8), Err(IoError::OutOfRange));
    assert_eq!(a.unmap(at(0), device, u64::MAX, 2), Err(IoError::OutOfRange));
    a.unmap(at(0), device, 1, 0).unwrap();
    clean(&a);
}

#[test]
fn a_full_pool_refuses_writes_whole_until_space_comes_back() {
    let mut a = array(4);
    let (one, two) = (lun(&mut a, "one", 100 * EXTENT, true), lun(&mut a, "two", 100 * EXTENT, true));
    assert_eq!(a.pool(0).unwrap().provisioned_blocks(), 200 * EXTENT, "over-subscription");
    write(&mut a, 0, one, 0, 3 * EXTENT, 1).unwrap();
    assert_eq!(write(&mut a, 0, two, 0, 2 * EXTENT, 2), Err(IoError::NoSpace));
    assert_eq!(blocks(&mut a, 0, two, 0, 256), vec![0; 256], "all or nothing");
    write(&mut a, 0, two, 0, EXTENT, 2).unwrap();
    assert_eq!(write(&mut a, 0, two, EXTENT, 1, 2), Err(IoError::NoSpace));
    write(&mut a, 0, two, 5, 1, 3).unwrap();
    let create = |name: &str, thin| Command::CreateLun {
        name: name.to_owned(),
        description: String::new(),
        pool: 0,
        blocks: 1,
        thin,
    };
    assert_eq!(a.apply(at(0), create("three", true)), Err(Refusal::PoolFull));
    let snap = ok(
        &mut a,
        0,
        Command::CreateSnapshot { name: "s".to_owned(), description: String::new(), parent: one },
    );
    ok(&mut a, 0, Command::ActivateSnapshots { ids: vec![snap] });
    assert_eq!(write(&mut a, 0, one, 0, 1, 9), Err(IoError::NoSpace), "copy on write needs an extent too");
    ok(&mut a, 0, Command::StopSnapshot { snapshot: snap });
    write(&mut a, 0, one, 0, 1, 9).unwrap();
    a.unmap(at(0), DeviceId::Lun(one), EXTENT, EXTENT).unwrap();
    write(&mut a, 0, two, EXTENT, 1, 2).unwrap();
    clean(&a);
}

#[test]
fn a_thick_lun_pays_at_once_and_never_lacks_space_for_its_own() {
    let mut a = array(10);
    let thick = lun(&mut a, "thick", 6 * EXTENT, false);
    assert_eq!(used(&a), 6);
    let other = lun(&mut a, "other", 100 * EXTENT, true);
    write(&mut a, 0, other, 0, 4 * EXTENT, 1).unwrap();
    assert_eq!(write(&mut a, 0, other, 4 * EXTENT, 1, 1), Err(IoError::NoSpace));
    write(&mut a, 0, thick, 0, 6 * EXTENT, 2).unwrap();
    assert_eq!(used(&a), 10);
    assert_eq!(
        a.apply(at(0), Command::ExpandLun { lun: thick, blocks: 6 * EXTENT + 1 }),
        Err(Refusal::PoolFull)
    );
    clean(&a);
    // A clone's snapshot outlives the thick LUN: what it holds stays accounted for.
    a.unmap(at(0), DeviceId::Lun(other), 0, 4 * EXTENT).unwrap();
    a.unmap(at(0), DeviceId::Lun(thick), 0, 4 * EXTENT).unwrap();
    let child = clone_of(&mut a, 0, "child", thick);
    let snap = ok(
        &mut a,
        0,
        Command::CreateSnapshot { name: "s".to_owned(), description: String::new(), parent: child },
    );
    ok(&mut a, 0, Command::ActivateSnapshots { ids: vec![snap] });
    ok(&mut a, 0, Command::StartSplit { lun: child });
    a.advance(at(1_000));
    ok(&mut a, 1_000, Command::DeleteLun { lun: thick });
    assert_eq!(used(&a), 4);
    clean(&a);
    ok(&mut a, 1_000, Command::StopSnapshot { snapshot: snap });
    assert_eq!(used(&a), 2);
}

#[test]
fn full_copies_take_time_and_freeze_their_source() {
    let mut a = array(1_000);
    let source = lun(&mut a, "source", 3 * EXTENT + 10, true);
    let target = lun(&mut a, "target", 5 * EXTENT, true);
    write(&mut a, 0, source, EXTENT, 2 * EXTENT + 10, 1).unwrap();
    write(&mut a, 0, target, 0, 5 * EXTENT, 2).unwrap();
    let pair = ok(&mut a, 0, Command::CreateClonePair { source: DeviceId::Lun(source), target, rate: 2 });
    ok(&mut a, 0, Command::SyncClonePair { pair });
    write(&mut a, 0, source, 0, 3 * EXTENT, 7).unwrap();
    a.advance(at(250));
    let (status, progress) = (a.clone_pair(pair).unwrap().status, a.clone_pair(pair).unwrap().progress);
    assert_eq!((status, progress), (CopyStatus::Running, 50));
    clean(&a);
    a.advance(at(400));
    assert_eq!(a.clone_pair(pair).unwrap().status, CopyStatus::Complete);
    for (block, got) in (0..).zip(blocks(&mut a, 400, target, 0, 5 * EXTENT as u32)) {
        let want = match block {
            0..128 => 0,
            128..394 => 1,
            _ => 2,
        };
        assert_eq!(got, want, "block {block}");
    }
    clean(&a);
    // Again, and given up half-way: nothing of the task stays.
    ok(&mut a, 400, Command::SyncClonePair { pair });
    assert_eq!(a.apply(at(400), Command::SyncClonePair { pair }), Err(Refusal::CopyStarted));
    ok(&mut a, 500, Command::DeleteClonePair { pair });
    a.advance(at(9_000));
    assert_eq!(a.census().jobs, 0);
    clean(&a);
}

#[test]
fn reads_share_the_store_and_bounds_hold() {
    let mut a = array(1_000);
    let id = lun(&mut a, "one", 2 * EXTENT, true);
    let device = DeviceId::Lun(id);
    write(&mut a, 0, id, 0, EXTENT, 5).unwrap();
    let slices = a.read(at(0), device, 0, 2 * EXTENT as u32).unwrap();
    assert_eq!(slices.iter().map(|slice| slice.len()).collect::<Vec<_>>(), [65_536, 65_536]);
    let again = a.read(at(0), device, 8, 8).unwrap();
    assert_eq!(again[0].as_ptr(), slices[0][4_096..].as_ptr(), "no copy");
    write(&mut a, 0, id, 9, 1, 6).unwrap();
    assert!(slices[0].iter().all(|byte| *byte == 5), "a reader's slice never changes");
    assert_eq!(a.read(at(0), device, 2 * EXTENT, 1), Err(IoError::OutOfRange));
    assert_eq!(a.read(at(0), device, u64::MAX, 1), Err(IoError::OutOfRange));
    assert_eq!(a.write(at(0), device, 0, &[0; 100]), Err(IoError::OutOfRange));
    assert_eq!(a.read(at(0), DeviceId::Lun(99), 0, 1), Err(IoError::Gone));
    let snap = ok(
        &mut a,
        0,
        Command::CreateSnapshot { name: "s".to_owned(), description: String::new(), parent: id },
    );
    assert_eq!(a.read(at(0), DeviceId::Snapshot(snap), 0, 1), Err(IoError::Offline));
    assert_eq!(a.write(at(0), DeviceId::Snapshot(snap), 0, &[0; 512]), Err(IoError::ReadOnly));
    assert_eq!(a.flush(at(0), device, 0, 0), Ok(()));
}
