//! The block model against bytes: planted wrong reads fire the right requirement, and random histories agree with a naive
//! model that keeps every byte.

use std::sync::Arc;

use proptest::prelude::*;
use sanbench_api::{SnapshotId, VolumeId};
use sanbench_check::model::data::{Certainty, DataModel, ImageDigests, ModelError};
use sanbench_check::stamp::{BLOCK, RunTag, Stamp};
use uuid::Uuid;

const RUN: RunTag = RunTag(0x5a5a_0001);
const A: u8 = 1;
const B: u8 = 2;

fn volume(n: u8) -> VolumeId {
    VolumeId(Uuid::from_bytes([n; 16]))
}

fn snapshot(n: u8) -> SnapshotId {
    SnapshotId(Uuid::from_bytes([n; 16]))
}

/// A model with volume A of 64 blocks, blocks 0..16 written twice; answers the last stamp.
fn written() -> (DataModel, Stamp) {
    let mut model = DataModel::new(RUN);
    model.create(volume(A), 64).unwrap();
    let stamp = write(&mut model, A, 0, 16);
    assert_eq!(stamp.seq, 1);
    let stamp = write(&mut model, A, 0, 16);
    (model, stamp)
}

fn write(model: &mut DataModel, n: u8, lba: u64, blocks: u64) -> Stamp {
    let stamp = model.next_stamp(volume(n), lba, 0);
    model.write(&stamp, blocks, Certainty::Done).unwrap();
    stamp
}

fn bytes(stamp: Stamp, blocks: usize) -> Vec<u8> {
    let mut out = vec![0; blocks * BLOCK];
    stamp.fill(&mut out);
    out
}

/// Requirement ids and signatures of what a read fires.
fn fires(
    model: &mut DataModel,
    subject: impl Into<sanbench_check::Subject>,
    lba: u64,
    data: &[u8],
) -> Vec<String> {
    let findings = model.check_read(subject, lba, data).unwrap();
    findings.into_iter().map(|finding| format!("{} {}", finding.requirement, finding.signature)).collect()
}

#[test]
fn a_right_read_fires_nothing_and_is_counted() {
    let (mut model, stamp) = written();
    let mut data = bytes(stamp, 16);
    data.extend([0; 4 * BLOCK]);
    assert_eq!(fires(&mut model, volume(A), 0, &data), [""; 0]);
    assert_eq!(model.compared(), (20, 0));
}

#[test]
fn stale_torn_misdirected_foreign_and_zeroed_reads_are_named() {
    let (mut model, stamp) = written();
    let old = Stamp { seq: stamp.seq - 1, ..stamp };
    assert_eq!(fires(&mut model, volume(A), 0, &bytes(old, 2)), ["DAT-002 data:volume:stale"]);
    let mut torn = bytes(stamp, 1);
    torn[300] ^= 0x10;
    assert_eq!(fires(&mut model, volume(A), 0, &torn), ["SCS-011 data:volume:torn"]);
    assert_eq!(fires(&mut model, volume(A), 0, &bytes(stamp.at(1), 1)), ["DAT-002 data:volume:misdirected"]);
    let stranger = Stamp { volume: volume(9), ..stamp };
    assert_eq!(fires(&mut model, volume(A), 0, &bytes(stranger, 1)), ["DAT-002 data:volume:foreign"]);
    assert_eq!(fires(&mut model, volume(A), 3, &[0; BLOCK]), ["DAT-001 data:volume:zeroed"]);
    assert_eq!(fires(&mut model, volume(A), 20, &bytes(stranger.at(20), 1)), ["CRE-006 data:volume:foreign"]);
    assert_eq!(fires(&mut model, volume(A), 20, &[3; BLOCK]), ["DAT-003 data:volume:foreign"]);
    assert_eq!(fires(&mut model, volume(A), 0, &[0; 100]), ["DAT-008 data:volume:length"]);
}

#[test]
fn one_finding_stands_for_many_blocks() {
    let (mut model, _) = written();
    let findings = model.check_read(volume(A), 0, &[0; 16 * BLOCK]).unwrap();
    assert_eq!(findings.len(), 1);
    assert!(findings[0].message.contains("LBA 0 (16 blocks)"), "{}", findings[0].message);
}

#[test]
fn a_deleted_volumes_data_must_not_come_back() {
    let (mut model, stamp) = written();
    model.delete(volume(A)).unwrap();
    model.create(volume(B), 64).unwrap();
    assert_eq!(fires(&mut model, volume(B), 0, &bytes(stamp, 1)), ["CRE-006 data:volume:resurrected"]);
}

#[test]
fn the_tail_of_an_extend_must_be_zero_and_the_rest_must_stay() {
    let (mut model, stamp) = written();
    model.extend(volume(A), 128).unwrap();
    assert_eq!(
        fires(&mut model, volume(A), 100, &bytes(stamp.at(100), 1)),
        ["EXT-001 data:volume:resurrected"]
    );
    let old = Stamp { seq: 1, ..stamp };
    assert_eq!(fires(&mut model, volume(A), 0, &bytes(old, 1)), ["EXT-001 data:volume:stale"]);
    model.verified(volume(A)).unwrap();
    assert_eq!(fires(&mut model, volume(A), 0, &bytes(old, 1)), ["DAT-002 data:volume:stale"]);
}

#[test]
fn a_snapshot_must_be_frozen() {
    let (mut model, stamp) = written();
    model.snapshot(snapshot(1), volume(A)).unwrap();
    let later = write(&mut model, A, 0, 16);
    assert_eq!(fires(&mut model, snapshot(1), 0, &bytes(stamp, 16)), [""; 0]);
    assert_eq!(fires(&mut model, volume(A), 0, &bytes(later, 16)), [""; 0]);
    assert_eq!(fires(&mut model, snapshot(1), 0, &bytes(later, 16)), ["SNP-002 data:snapshot:later"]);
    assert_eq!(fires(&mut model, snapshot(1), 0, &[0; BLOCK]), ["SNP-001 data:snapshot:zeroed"]);
}

#[test]
fn clone_and_source_must_not_share_writes() {
    let (mut model, stamp) = written();
    model.clone_from(volume(B), volume(A), 96).unwrap();
    assert_eq!(fires(&mut model, volume(B), 0, &bytes(stamp, 16)), [""; 0]);
    let of_clone = write(&mut model, B, 4, 4);
    assert_eq!(fires(&mut model, volume(A), 4, &bytes(of_clone, 4)), ["CLN-001 data:volume:later"]);
    let of_source = write(&mut model, A, 8, 4);
    assert_eq!(fires(&mut model, volume(B), 8, &bytes(of_source, 4)), ["CLN-001 data:volume:later"]);
    assert_eq!(fires(&mut model, volume(B), 12, &[0; BLOCK]), ["CLN-001 data:volume:zeroed"]);
    assert_eq!(
        fires(&mut model, volume(B), 80, &bytes(stamp.at(80), 1)),
        ["CLN-005 data:volume:resurrected"]
    );
    // The source goes, the clone stays.
    model.delete(volume(A)).unwrap();
    assert_eq!(fires(&mut model, volume(B), 0, &bytes(stamp, 4)), [""; 0]);
}

#[test]
fn a_flatten_that_skips_a_hole_is_named() {
    let (mut model, stamp) = written();
    model.clone_from(volume(B), volume(A), 64).unwrap();
    model.flatten(volume(B)).unwrap();
    assert_eq!(fires(&mut model, volume(B), 0, &bytes(stamp, 16)), [""; 0]);
    assert_eq!(fires(&mut model, volume(B), 0, &[0; BLOCK]), ["FLT-001 data:volume:zeroed"]);
}

#[test]
fn a_volume_from_a_snapshot_has_its_own_requirement() {
    let (mut model, _) = written();
    model.snapshot(snapshot(1), volume(A)).unwrap();
    model.clone_from(volume(B), snapshot(1), 64).unwrap();
    assert_eq!(fires(&mut model, volume(B), 0, &[0; BLOCK]), ["SNP-006 data:volume:zeroed"]);
}

#[test]
fn unmap_takes_its_range_and_no_neighbour() {
    let (mut model, stamp) = written();
    model.unmap(volume(A), 4, 4, Certainty::Done).unwrap();
    assert_eq!(fires(&mut model, volume(A), 4, &[0; 4 * BLOCK]), [""; 0]);
    assert_eq!(fires(&mut model, volume(A), 8, &[0; BLOCK]), ["SCS-007 data:volume:zeroed"]);
    assert_eq!(fires(&mut model, volume(A), 4, &bytes(stamp.at(4), 1)), ["DAT-003 data:volume:resurrected"]);
}

#[test]
fn image_blocks_are_judged_by_digest_and_holes_must_cover_old_data() {
    let (mut model, stamp) = written();
    let mut raw = vec![0; 10 * BLOCK + 100];
    raw[..BLOCK].fill(7);
    raw[10 * BLOCK..].fill(9);
    let image = Arc::new(ImageDigests::of_raw(&raw));
    model.write_image(volume(A), &image, Certainty::Done).unwrap();
    raw.resize(11 * BLOCK, 0);
    assert_eq!(fires(&mut model, volume(A), 0, &raw), [""; 0]);
    assert_eq!(
        fires(&mut model, volume(A), 11, &bytes(stamp.at(11), 5)),
        [""; 0],
        "behind the image nothing changed"
    );
    assert_eq!(fires(&mut model, volume(A), 10, &[9; BLOCK]), ["IMG-001 data:volume:foreign"]);
    assert_eq!(fires(&mut model, volume(A), 0, &bytes(stamp, 1)), ["IMG-001 data:volume:stale"]);
    assert_eq!(fires(&mut model, volume(A), 5, &bytes(stamp.at(5), 1)), ["IMG-002 data:volume:resurrected"]);
}

#[test]
fn an_unknown_write_is_old_or_new_until_a_read_decides() {
    let (mut model, old) = written();
    let new = model.next_stamp(volume(A), 0, 0);
    model.write(&new, 4, Certainty::Unknown).unwrap();
    let mixed = [bytes(new, 1), bytes(old.at(1), 1)].concat();
    assert_eq!(fires(&mut model, volume(A), 0, &mixed), [""; 0]);
    assert_eq!(fires(&mut model, volume(A), 0, &mixed), [""; 0], "the decided blocks stay");
    assert_eq!(fires(&mut model, volume(A), 0, &bytes(old, 1)), ["DAT-002 data:volume:stale"]);
    assert_eq!(fires(&mut model, volume(A), 1, &bytes(new.at(1), 1)), ["DAT-001 data:volume:later"]);
    // Blocks 2 and 3 are still open; a third content is wrong.
    let older = Stamp { seq: 1, ..old };
    assert_eq!(fires(&mut model, volume(A), 2, &bytes(older.at(2), 1)), ["DAT-002 data:volume:stale"]);
}

#[test]
fn too_many_unknown_writes_are_undecided_and_never_wrong() {
    let (mut model, _) = written();
    for _ in 0..100 {
        let stamp = model.next_stamp(volume(A), 0, 0);
        model.write(&stamp, 1, Certainty::Unknown).unwrap();
    }
    assert_eq!(fires(&mut model, volume(A), 0, &[1; BLOCK]), [""; 0]);
    assert_eq!(model.compared(), (0, 1));
}

#[test]
fn walks_cover_what_was_written_and_where_faults_sit() {
    let (mut model, _) = written();
    model.clone_from(volume(B), volume(A), 1000).unwrap();
    write(&mut model, B, 500, 10);
    model.extend(volume(B), 2000).unwrap();
    assert_eq!(model.written_ranges(volume(B)).unwrap(), [0..16, 500..510]);
    assert_eq!(
        model.interesting_ranges(volume(B), 8).unwrap(),
        [0..24, 56..72, 492..518, 992..1008, 1992..2000],
        "written and its neighbours, the source's end, the old end, the end"
    );
}

#[test]
fn a_callers_mistake_is_an_error_and_not_a_finding() {
    let (mut model, _) = written();
    assert_eq!(model.create(volume(A), 1), Err(ModelError::Exists(volume(A).into())));
    assert!(matches!(model.check_read(volume(A), 63, &[0; 2 * BLOCK]), Err(ModelError::OutOfRange { .. })));
    assert!(matches!(model.check_read(volume(A), u64::MAX, &[0; BLOCK]), Err(ModelError::OutOfRange { .. })));
    assert_eq!(model.delete(snapshot(9)), Err(ModelError::Unknown(snapshot(9).into())));
    let stamp = model.next_stamp(volume(A), u64::MAX, 0);
    assert!(matches!(model.write(&stamp, 9, Certainty::Done), Err(ModelError::OutOfRange { .. })));
}

#[derive(Debug, Clone)]
enum Op {
    Write(usize, u64, u64),
    Unmap(usize, u64, u64),
    Image(usize, Vec<bool>),
    Extend(usize, u64),
    Snapshot(usize),
    Clone(usize, u64),
    Flatten(usize),
    Delete(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let which = 0..8_usize;
    prop_oneof![
        6 => (which.clone(), 0..40_u64, 1..20_u64).prop_map(|(v, lba, n)| Op::Write(v, lba, n)),
        2 => (which.clone(), 0..40_u64, 1..20_u64).prop_map(|(v, lba, n)| Op::Unmap(v, lba, n)),
        1 => (which.clone(), prop::collection::vec(any::<bool>(), 1..12)).prop_map(|(v, b)| Op::Image(v, b)),
        1 => (which.clone(), 1..20_u64).prop_map(|(v, n)| Op::Extend(v, n)),
        2 => which.clone().prop_map(Op::Snapshot),
        2 => (which.clone(), 0..10_u64).prop_map(|(v, n)| Op::Clone(v, n)),
        1 => which.clone().prop_map(Op::Flatten),
        1 => which.prop_map(Op::Delete),
    ]
}

/// Keeps every byte of everything.
#[derive(Default)]
struct Naive {
    subjects: Vec<(sanbench_check::Subject, Vec<u8>)>,
    made: u8,
}

impl Naive {
    fn apply(&mut self, model: &mut DataModel, op: Op) {
        let count = self.subjects.len().max(1);
        let index = match &op {
            Op::Write(v, ..) | Op::Unmap(v, ..) | Op::Image(v, _) | Op::Extend(v, _) | Op::Snapshot(v) => {
                v % count
            }
            Op::Clone(v, _) | Op::Flatten(v) | Op::Delete(v) => v % count,
        };
        let Some((subject, content)) = self.subjects.get_mut(index) else { return };
        let (subject, blocks) = (*subject, (content.len() / BLOCK) as u64);
        let target = if let sanbench_check::Subject::Volume(id) = subject { Some(id) } else { None };
        let cut = |lba: u64, n: u64| (lba.min(blocks - 1), n.min(blocks - lba.min(blocks - 1)));
        match (op, target) {
            (Op::Write(_, lba, n), Some(id)) => {
                let (lba, n) = cut(lba, n);
                let stamp = model.next_stamp(id, lba, 1);
                model.write(&stamp, n, Certainty::Done).unwrap();
                stamp.fill(&mut content[lba as usize * BLOCK..(lba + n) as usize * BLOCK]);
            }
            (Op::Unmap(_, lba, n), Some(id)) => {
                let (lba, n) = cut(lba, n);
                model.unmap(id, lba, n, Certainty::Done).unwrap();
                content[lba as usize * BLOCK..(lba + n) as usize * BLOCK].fill(0);
            }
            (Op::Image(_, pattern), Some(id)) if pattern.len() as u64 <= blocks => {
                let raw: Vec<u8> = pattern.iter().flat_map(|set| [u8::from(*set) * 0xa5; BLOCK]).collect();
                model.write_image(id, &Arc::new(ImageDigests::of_raw(&raw)), Certainty::Done).unwrap();
                content[..raw.len()].copy_from_slice(&raw);
            }
            (Op::Extend(_, n), Some(id)) => {
                model.extend(id, blocks + n).unwrap();
                content.resize((blocks + n) as usize * BLOCK, 0);
            }
            (Op::Snapshot(_), Some(id)) if self.made < 200 => {
                self.made += 1;
                let (made, copy) = (snapshot(self.made), content.clone());
                model.snapshot(made, id).unwrap();
                self.subjects.push((made.into(), copy));
            }
            (Op::Clone(_, more), _) if self.made < 200 => {
                self.made += 1;
                let (made, mut copy) = (volume(self.made), content.clone());
                copy.resize(copy.len() + more as usize * BLOCK, 0);
                model.clone_from(made, subject, blocks + more).unwrap();
                self.subjects.push((made.into(), copy));
            }
            (Op::Flatten(_), Some(id)) => model.flatten(id).unwrap(),
            (Op::Delete(_), _) if count > 1 => {
                model.delete(subject).unwrap();
                self.subjects.remove(index);
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn random_histories_agree_with_every_byte(
        ops in prop::collection::vec(op(), 1..60),
        spoil in any::<prop::sample::Index>(),
    ) {
        let mut model = DataModel::new(RUN);
        model.create(volume(0), 48).unwrap();
        let mut naive = Naive { subjects: vec![(volume(0).into(), vec![0; 48 * BLOCK])], made: 0 };
        for op in ops {
            naive.apply(&mut model, op);
        }
        for (subject, content) in &naive.subjects {
            prop_assert_eq!(model.check_read(*subject, 0, content).unwrap(), []);
            // Everything that is not zero lies in a written range.
            let ranges = model.written_ranges(*subject).unwrap();
            for (lba, block) in content.chunks(BLOCK).enumerate() {
                let covered = ranges.iter().any(|range| range.contains(&(lba as u64)));
                prop_assert!(covered || block.iter().all(|byte| *byte == 0), "{} LBA {}", subject, lba);
            }
        }
        // One changed bit anywhere is noticed.
        let (subject, content) = &mut naive.subjects[0];
        let bit = spoil.index(content.len() * 8);
        content[bit / 8] ^= 1 << (bit % 8);
        let findings = model.check_read(*subject, 0, content).unwrap();
        prop_assert_eq!(findings.len(), 1);
    }
}

#[test]
fn a_read_beside_a_write_may_see_old_or_new_and_decides_nothing() {
    let (mut model, old) = written();
    let new = model.next_stamp(volume(A), 4, 0);
    let write = model.begin_write(&new, 4).unwrap();
    let read = model.begin_read(volume(A)).unwrap();
    for seen in [bytes(old.at(4), 4), bytes(new, 4)] {
        let again = model.begin_read(volume(A)).unwrap();
        assert_eq!(model.end_read(again, 4, &seen).unwrap(), []);
    }
    model.end_change(write, Certainty::Done).unwrap();
    // This one began before the write had ended, so both are still right; a third content is not.
    assert_eq!(model.end_read(read, 4, &bytes(old.at(4), 4)).unwrap(), []);
    let zeroes = model.begin_read(volume(A)).unwrap();
    assert_eq!(model.end_read(zeroes, 4, &[0; 512]).unwrap().len(), 1);
    // A read that begins afterwards must see the new one.
    let read = model.begin_read(volume(A)).unwrap();
    assert_eq!(model.end_read(read, 4, &bytes(old.at(4), 4)).unwrap().len(), 1);
    assert_eq!(fires(&mut model, volume(A), 4, &bytes(new, 4)), [""; 0]);
}

#[test]
fn of_overlapping_writes_any_may_stay_and_the_first_quiet_read_decides() {
    for winner in 0..2 {
        let (mut model, old) = written();
        let stamps = [0u64, 2].map(|lba| model.next_stamp(volume(A), lba, 0));
        let tickets = [model.begin_write(&stamps[0], 4).unwrap(), model.begin_write(&stamps[1], 4).unwrap()];
        model.end_change(tickets[1], Certainty::Done).unwrap();
        model.end_change(tickets[0], Certainty::Done).unwrap();
        // Where they do not overlap, nothing is in doubt; where they do, the old content is gone.
        assert_eq!(fires(&mut model, volume(A), 0, &bytes(old, 1)).len(), 1);
        assert_eq!(fires(&mut model, volume(A), 2, &bytes(old.at(2), 1)).len(), 1);
        let seen = bytes(stamps[winner].at(2), 2);
        assert_eq!(fires(&mut model, volume(A), 2, &seen), [""; 0]);
        let other = bytes(stamps[1 - winner].at(2), 2);
        assert_eq!(fires(&mut model, volume(A), 2, &other).len(), 1, "decided by the first read");
    }
}

#[test]
fn a_copy_holds_each_block_of_a_write_that_it_met_as_old_or_new() {
    let (mut model, old) = written();
    let before = model.next_stamp(volume(A), 0, 0);
    let open = model.begin_write(&before, 2).unwrap();
    let copy = model.begin_copy(volume(A)).unwrap();
    let during = write(&mut model, A, 8, 2);
    model.end_snapshot(copy, snapshot(7)).unwrap();
    model.end_change(open, Certainty::Done).unwrap();
    let after = write(&mut model, A, 12, 2);
    for (lba, new) in [(0, before), (8, during)] {
        assert_eq!(fires(&mut model, snapshot(7), lba, &bytes(old.at(lba), 1)), [""; 0]);
        assert_eq!(fires(&mut model, snapshot(7), lba + 1, &bytes(new.at(lba + 1), 1)), [""; 0]);
    }
    assert_eq!(fires(&mut model, snapshot(7), 12, &bytes(after, 1)).len(), 1, "newer than the snapshot");
}

#[test]
fn a_flush_vouches_for_what_was_acknowledged_before_it_began_and_not_across_a_power_loss() {
    let (mut model, old) = written();
    model.set_volatile(true);
    let one = write(&mut model, A, 0, 1);
    let flush = model.begin_flush(volume(A)).unwrap();
    let two = write(&mut model, A, 1, 1);
    model.end_flush(flush, "DUR-001").unwrap();
    let crossed = model.begin_flush(volume(A)).unwrap();
    let late = model.next_stamp(volume(A), 2, 0);
    let open = model.begin_write(&late, 1).unwrap();
    model.power_loss();
    model.end_flush(crossed, "DUR-001").unwrap();
    model.end_change(open, Certainty::Done).unwrap();
    assert_eq!(fires(&mut model, volume(A), 0, &bytes(old, 1)).len(), 1, "flushed");
    assert_eq!(fires(&mut model, volume(A), 0, &bytes(one, 1)), [""; 0]);
    assert_eq!(
        fires(&mut model, volume(A), 1, &bytes(old.at(1), 1)),
        [""; 0],
        "acknowledged after the flush began"
    );
    assert_eq!(fires(&mut model, volume(A), 1, &bytes(two, 1)).len(), 1, "decided");
    assert_eq!(
        fires(&mut model, volume(A), 2, &bytes(old.at(2), 1)),
        [""; 0],
        "acknowledged across the power loss"
    );
}
