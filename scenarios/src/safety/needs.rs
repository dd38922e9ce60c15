//! What a story will need at most, so that one which is too large for a profile's limits never begins.

use std::collections::BTreeMap;

use sanbench_runner::plan::{Plan, Step};
use sanbench_runner::story::Name;

use crate::config::Limits;

/// Why the plan cannot be carried out within these limits; nothing when it can. Counts what the plan itself names: the
/// image cache of the workflow is bounded by the guard while it runs.
pub(crate) fn beyond(plan: &Plan, limits: Limits) -> Option<String> {
    let mut volumes: BTreeMap<&Name, u64> = BTreeMap::new();
    let mut snapshots = 0u64;
    // Compute hosts, and the control host for content.
    let hosts = plan.site.hosts.len() as u64 + 1;
    let (mut most_gib, mut most_objects) = (0, 0);
    for step in &plan.steps {
        match &step.step {
            Step::Create { volume, size, refused: None, .. }
            | Step::Extend { volume, size, refused: None } => {
                volumes.insert(volume, size.whole_gib().unwrap_or(1));
            }
            Step::Delete { volume, refused: None } => {
                volumes.remove(volume);
            }
            Step::Snapshot { refused: None, .. } => snapshots += 1,
            Step::DeleteSnapshot { refused: None, .. } => snapshots = snapshots.saturating_sub(1),
            _ => {}
        }
        most_gib = most_gib.max(volumes.values().fold(0u64, |sum, gib| sum.saturating_add(*gib)));
        most_objects = most_objects.max(volumes.len() as u64 + snapshots + hosts);
    }
    if most_gib > limits.capacity_gib {
        let limit = limits.capacity_gib;
        return Some(format!("limit capacity_gib = {limit}: the story needs {most_gib} GiB at once"));
    }
    if most_objects > limits.objects {
        let limit = limits.objects;
        return Some(format!("limit objects = {limit}: the story needs {most_objects} objects at once"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_counts_and_not_the_sum() {
        let plan = sanbench_runner::story::parse(
            "story \"x\"\nhost h\ncreate a size=2GiB\nsnapshot s a\ndelete-snapshot s\ncreate z size=9GiB refused=no-backend\ndelete a\ncreate b size=1GiB\nextend b size=3GiB\ndelete b\n",
        )
        .unwrap();
        let limits = |capacity_gib, objects| Limits { capacity_gib, objects, duration_s: 1 };
        assert_eq!(beyond(&plan, limits(3, 4)), None);
        assert_eq!(
            beyond(&plan, limits(2, 4)).as_deref(),
            Some("limit capacity_gib = 2: the story needs 3 GiB at once")
        );
        assert_eq!(
            beyond(&plan, limits(3, 3)).as_deref(),
            Some("limit objects = 3: the story needs 4 objects at once")
        );
    }
}
