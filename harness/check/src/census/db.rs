//! Rows of the state database.

use std::collections::BTreeSet;

use super::{DbCensus, differs, leftover, missing};
use crate::model::world::{Row, World};
use crate::verdict::Finding;

pub(super) fn compare(world: &World, seen: &DbCensus, out: &mut Vec<Finding>) {
    volumes(world, seen, out);
    snapshots(world, seen, out);
    attachments(world, seen, out);
    mappings(world, seen, out);
    disks(seen, out);
    quota(seen, out);
    for open in &seen.open {
        out.push(leftover("CLU-001", "flow", format!("{open} has neither ended nor been undone")));
    }
}

fn volumes(world: &World, seen: &DbCensus, out: &mut Vec<Finding>) {
    for (id, volume) in &world.volumes {
        let row = seen.volumes.iter().find(|row| row.id == *id);
        let Some(row) = row else {
            if volume.row == Row::Healthy {
                out.push(missing("CLU-005", "volume row", format!("volume {id} has no row")));
            }
            continue;
        };
        status(
            id,
            "volume row",
            volume.row,
            &row.status,
            if volume.attached.is_empty() { "available" } else { "in-use" },
            out,
        );
        if volume.row == Row::Healthy && row.size_gib != volume.size_gib {
            let requirement = if volume.extended { "EXT-001" } else { "CRE-001" };
            let message = format!("volume {id} has the wrong size in its row");
            out.push(differs(requirement, "volume row", "size", message, volume.size_gib, row.size_gib));
        }
        let host = row.host.as_deref().unwrap_or("");
        if volume.row == Row::Healthy && !volume.host.is_empty() && host != volume.host {
            let message = format!("volume {id} has the wrong host in its row");
            out.push(differs("SCH-001", "volume row", "host", message, &volume.host, host));
        }
    }
    for row in seen.volumes.iter().filter(|row| !world.volumes.contains_key(&row.id)) {
        let message = format!("volume {} has a row in {} and should not exist", row.id, row.status);
        out.push(leftover("CLU-005", "volume row", message));
    }
}

fn snapshots(world: &World, seen: &DbCensus, out: &mut Vec<Finding>) {
    for (id, snapshot) in &world.snapshots {
        match seen.snapshots.iter().find(|row| row.id == *id) {
            None if snapshot.row == Row::Healthy => {
                out.push(missing("CLU-005", "snapshot row", format!("snapshot {id} has no row")));
            }
            None => {}
            Some(row) => status(id, "snapshot row", snapshot.row, &row.status, "available", out),
        }
    }
    for row in seen.snapshots.iter().filter(|row| !world.snapshots.contains_key(&row.id)) {
        let message = format!("snapshot {} has a row in {} and should not exist", row.id, row.status);
        out.push(leftover("CLU-005", "snapshot row", message));
    }
}

fn status(
    id: &impl std::fmt::Display,
    role: &str,
    row: Row,
    observed: &str,
    settled: &str,
    out: &mut Vec<Finding>,
) {
    let (right, expected) = match row {
        Row::Healthy => (observed == settled, settled),
        Row::Broken => (observed.starts_with("error"), "no row, or an error status"),
        Row::Gone => (false, "no row"),
        Row::Any => return,
    };
    if !right {
        out.push(differs(
            "OBS-005",
            role,
            "status",
            format!("{id} has the wrong status"),
            expected,
            observed,
        ));
    }
}

fn attachments(world: &World, seen: &DbCensus, out: &mut Vec<Finding>) {
    let expected: BTreeSet<_> = (world.volumes.iter())
        .flat_map(|(id, volume)| volume.attached.iter().map(move |host| (*id, host.as_str())))
        .collect();
    let uncertain = |id| world.volumes.get(id).is_some_and(|volume| volume.row == Row::Any);
    let mut found = BTreeSet::new();
    for row in &seen.attachments {
        let key = (row.volume, row.host.as_str());
        if !found.insert(key) {
            let message = format!("volume {} is attached to {} twice", row.volume, row.host);
            out.push(leftover("ATT-012", "attachment row", message));
        } else if !expected.contains(&key) && !uncertain(&row.volume) {
            let message =
                format!("an attachment of volume {} to {} is left in {}", row.volume, row.host, row.status);
            out.push(leftover("ATT-012", "attachment row", message));
        } else if expected.contains(&key) && row.status != "attached" && !uncertain(&row.volume) {
            let message =
                format!("the attachment of volume {} to {} has the wrong status", row.volume, row.host);
            out.push(differs("OBS-005", "attachment row", "status", message, "attached", &row.status));
        }
    }
    for (id, host) in expected.iter().filter(|key| !found.contains(*key)) {
        let message = format!("volume {id} has no attachment to {host}");
        out.push(missing("ATT-004", "attachment row", message));
    }
}

/// A mapping without its attachment blocks the next attach of the pair; an attachment without its mapping is a disk that the
/// compute service knows nothing of, and gives no guest after a restart.
fn mappings(world: &World, seen: &DbCensus, out: &mut Vec<Finding>) {
    let uncertain = |id| world.volumes.get(id).is_none_or(|volume| volume.row == Row::Any);
    for row in seen.attachments.iter().filter(|row| row.status == "attached" && !uncertain(&row.volume)) {
        if !seen.mappings.iter().any(|mapping| mapping.attachment == Some(row.id)) {
            let message = format!(
                "the attachment of volume {} to {} has no block device mapping",
                row.volume, row.host
            );
            out.push(missing("ATT-004", "block device mapping", message));
        }
    }
    for mapping in &seen.mappings {
        if !seen.attachments.iter().any(|row| Some(row.id) == mapping.attachment) {
            let message = format!("a block device mapping of volume {} has no attachment", mapping.volume);
            out.push(leftover("ATT-012", "block device mapping", message));
        }
    }
}

/// A guest has the disks of its mappings and no others, each under a name of its own: `/dev/vdb`, `/dev/vdc`, ... The first one
/// is what it boots from.
fn disks(seen: &DbCensus, out: &mut Vec<Finding>) {
    for disk in &seen.disks {
        out.push(leftover("ATT-004", "guest disk", format!("{disk} is still there without a mapping")));
    }
    let mut names = BTreeSet::new();
    for mapping in &seen.mappings {
        let letters = mapping.disk.strip_prefix("/dev/vd").unwrap_or("");
        let named = !letters.is_empty() && letters.bytes().all(|letter| letter.is_ascii_lowercase());
        if !named || letters == "a" || !names.insert((mapping.guest, &mapping.disk)) {
            let message = format!("the guest's disk of volume {} has no name of its own", mapping.volume);
            let expected = "/dev/vdb and what follows it, once in each guest";
            out.push(differs("ATT-004", "guest disk", "name", message, expected, &mapping.disk));
        }
    }
}

/// Quota against the rows themselves: a row in an error status still counts until it is deleted.
fn quota(seen: &DbCensus, out: &mut Vec<Finding>) {
    let Some(quota) = seen.quota else { return };
    let own = || seen.volumes.iter().filter(|row| !row.internal);
    for (field, expected, observed) in [
        ("volumes", own().count() as u64, quota.volumes),
        // Cinder counts snapshots in the same resource unless `no_snapshot_gb_quota` is set.
        (
            "gigabytes",
            own().map(|row| row.size_gib).sum::<u64>()
                + seen.snapshots.iter().map(|row| row.size_gib).sum::<u64>(),
            quota.gigabytes,
        ),
        ("snapshots", seen.snapshots.len() as u64, quota.snapshots),
        ("reserved", 0, quota.reserved),
    ] {
        if expected != observed {
            let message = format!("quota of {field} does not add up");
            out.push(differs("QTA-001", "quota", field, message, expected, observed));
        }
    }
}
