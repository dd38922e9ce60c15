//! Which requirement a wrong block breaks, and the finding that says so.
//!
//! The block alone says *how* it is wrong; the history of its volume says *which promise* that is. The rules are tried in
//! order, the most particular first.

use std::collections::BTreeMap;

use super::data::{Change, Origin, Subject, View};
use crate::stamp::{Diagnosis, Expected, Kind, Relation};
use crate::verdict::Finding;

/// Name of the checker.
pub(super) const CHECKER: &str = "data";

/// Blocks around an unmapped range whose loss is charged to the UNMAP: the largest granule of arrays that we know, 1 MiB.
const UNMAP_REACH: u64 = 2048;

/// The requirement that a wrong block breaks.
pub(super) fn requirement(
    view: &View,
    expected: &Expected,
    of_image: bool,
    diagnosis: &Diagnosis,
    lba: u64,
) -> &'static str {
    let stamp = diagnosis.stamp.as_ref();
    // A write from after the instant of a snapshot or clone, by someone else, shows through.
    let from_after = stamp.is_some_and(|stamp| stamp.seq > view.born_seq);
    match (diagnosis.kind, diagnosis.relation) {
        (Kind::Resurrected, Some(Relation::Deleted)) => return "CRE-006",
        (Kind::Foreign, _) if *expected == Expected::Zero && stamp.is_some() => return "CRE-006",
        (_, Some(Relation::Clone)) => return "CLN-001",
        (_, Some(Relation::Source)) if from_after => return "CLN-001",
        _ => {}
    }
    if let Some(Change::PowerLoss(durable)) = view.change {
        return if matches!(expected, Expected::AnyOf(_)) { "DUR-002" } else { durable };
    }
    if view.origin == Origin::Snapshot {
        // Newer than the snapshot: it is not frozen. Otherwise it was not right to begin with.
        return if from_after { "SNP-002" } else { "SNP-001" };
    }
    if view.change == Some(Change::PutBack) {
        return "SNP-008";
    }
    if lba >= view.born {
        return if *expected == Expected::Zero || view.change == Some(Change::Extend) {
            "EXT-001"
        } else {
            generic(diagnosis)
        };
    }
    if view.origin != Origin::Blank && lba >= view.inherited && *expected == Expected::Zero {
        return "CLN-005";
    }
    let lost = matches!(diagnosis.kind, Kind::Zeroed | Kind::Torn);
    let reach = |range: &std::ops::Range<u64>| {
        lba >= range.start.saturating_sub(UNMAP_REACH) && lba < range.end.saturating_add(UNMAP_REACH)
    };
    if lost && view.unmapped.iter().any(reach) {
        return "SCS-007";
    }
    match view.change {
        Some(Change::Flatten) => return "FLT-001",
        Some(Change::Extend) => return "EXT-001",
        Some(Change::Image | Change::PutBack | Change::PowerLoss(_)) | None => {}
    }
    if of_image && !matches!(view.origin, Origin::Clone | Origin::FromSnapshot) {
        // Data where the image has a hole is what stood there before.
        return if *expected == Expected::Zero { "IMG-002" } else { "IMG-001" };
    }
    match view.origin {
        Origin::Clone if view.inherits(expected, lba) => "CLN-001",
        // Newer than the snapshot that it was made from.
        Origin::FromSnapshot if view.inherits(expected, lba) && diagnosis.kind == Kind::Later => "SNP-002",
        Origin::FromSnapshot if view.inherits(expected, lba) => "SNP-006",
        _ if *expected == Expected::Zero => "DAT-003",
        _ => generic(diagnosis),
    }
}

/// What a wrong block breaks when nothing particular explains it.
fn generic(diagnosis: &Diagnosis) -> &'static str {
    match diagnosis.kind {
        // Stale, misdirected, foreign: another generation's, another offset's, another volume's data.
        Kind::Stale | Kind::Misdirected | Kind::Foreign | Kind::Resurrected => "DAT-002",
        Kind::Torn => "SCS-011",
        // An acknowledged write is not there, or one that nobody acknowledged is.
        Kind::Zeroed | Kind::Later => "DAT-001",
    }
}

/// A wrong block before it is written up.
pub(super) struct Wrong {
    pub(super) lba: u64,
    pub(super) requirement: &'static str,
    pub(super) diagnosis: Diagnosis,
    pub(super) expected: Expected,
}

pub(super) fn role(subject: Subject) -> &'static str {
    match subject {
        Subject::Volume(_) => "volume",
        Subject::Snapshot(_) => "snapshot",
    }
}

/// One finding for each requirement and kind: the first wrong block stands for all.
pub(super) fn write_up(subject: Subject, wrong: Vec<Wrong>) -> Vec<Finding> {
    let mut groups: BTreeMap<(&str, Kind), (Wrong, u64)> = BTreeMap::new();
    for one in wrong {
        let key = (one.requirement, one.diagnosis.kind);
        groups.entry(key).and_modify(|(_, count)| *count += 1).or_insert((one, 1));
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(|(one, _)| one.lba);
    let finding = |(one, count): (Wrong, u64)| {
        let more = if count > 1 { format!(" ({count} blocks)") } else { String::new() };
        let kind = one.diagnosis.kind.word();
        Finding::new(one.requirement, CHECKER, role(subject), kind)
            .says(format!("{subject} at LBA {}{more}: {}", one.lba, one.diagnosis.sentence))
            .compared(&one.expected, observed(&one.diagnosis))
    };
    groups.into_iter().map(finding).collect()
}

fn observed(diagnosis: &Diagnosis) -> String {
    match (&diagnosis.stamp, diagnosis.kind) {
        (Some(stamp), Kind::Torn) => format!("part of {stamp}"),
        (Some(stamp), _) => stamp.to_string(),
        (None, Kind::Zeroed) => "zeroes".to_owned(),
        (None, _) => "bytes without a stamp".to_owned(),
    }
}
