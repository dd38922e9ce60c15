//! Background work of the array, as the page and the metrics show it.

use sanbench_array::{Array, CopyStatus, DeviceId, SplitStatus};

/// What, on which object, its state, its progress in percent.
pub(super) type Job = (&'static str, String, CopyStatus, u8);

/// Everything under way, or ended and not yet deleted.
pub(super) fn jobs(array: &Array) -> Vec<Job> {
    let mut out = Vec::new();
    for copy in array.lun_copies() {
        let what = format!("{} to LUN {}", device(copy.source), copy.target);
        out.push(("LUN copy", what, copy.status, copy.progress));
    }
    for pair in array.clone_pairs() {
        let what = format!("{} to LUN {}", device(pair.source), pair.target);
        out.push(("clone pair", what, pair.status, pair.progress));
    }
    for task in array.migrations() {
        let what = format!("LUN {} to the place of LUN {}", task.id, task.target);
        out.push(("migration", what, task.status, task.progress));
    }
    for lun in array.luns() {
        let status = match lun.split {
            SplitStatus::None => continue,
            SplitStatus::Running => CopyStatus::Running,
            SplitStatus::Failed => CopyStatus::Failed,
        };
        out.push(("split", format!("LUN {}", lun.id), status, lun.split_progress));
    }
    for snapshot in array.snapshots() {
        if let Some(rollback) = snapshot.rollback {
            let what = format!("LUN {} to snapshot {}", snapshot.parent, snapshot.id);
            out.push(("rollback", what, rollback.status, rollback.progress));
        }
    }
    out
}

pub(super) fn device(id: DeviceId) -> String {
    match id {
        DeviceId::Lun(id) => format!("LUN {id}"),
        DeviceId::Snapshot(id) => format!("snapshot {id}"),
    }
}

pub(super) fn state_name(status: CopyStatus) -> &'static str {
    match status {
        CopyStatus::Created => "created",
        CopyStatus::Running => "running",
        CopyStatus::Complete => "complete",
        CopyStatus::Failed => "failed",
    }
}
