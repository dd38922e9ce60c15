//! Planted defects: switches that make the target wrong on purpose, so that the checkers can show that they bite.
//! Each switch is read in exactly one place of the code. Those of cache, identity and power loss are the array's
//! (`sanbench_array::Defects`: `sync_cache_ignored`, `identity_changes_on_failover`, `aptpl_forgotten`).

/// The set of planted defects of a target. The default is a correct target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TargetDefects {
    /// D64: StatSN jumps by two at every SCSI response without good status.
    pub stat_sn_skips: bool,
    /// D64: commands outside of the CmdSN window are executed as they come.
    pub cmd_sn_window_ignored: bool,
    /// D29: session reinstatement lets the old session and its tasks live on.
    pub reinstatement_keeps_tasks: bool,
    /// D29: an aborted write is answered as aborted and applied when its data comes.
    pub abort_then_apply: bool,
    /// D62: the data digest of short answers is computed without the padding.
    pub digest_wrong_on_short_answers: bool,
    /// D63: writes longer than the first burst report an underflow.
    pub residual_on_short_write: bool,
    /// D65: Data-Out is taken whatever its DataSN says.
    pub data_sn_unchecked: bool,
    /// D65: Data-Out out of order is dropped and its command never answered.
    pub reject_hangs: bool,
    /// ISC-004: unsolicited data beyond FirstBurstLength is accepted.
    pub first_burst_ignored: bool,
    /// ISC-003: numeric keys out of range are clamped instead of rejected.
    pub clamps_silently: bool,
    /// ISC-021: mutual CHAP answers the target's own challenge.
    pub chap_accepts_reflection: bool,
    /// D26: an UNMAP of several descriptors answers twice when one fails.
    pub unmap_answers_twice: bool,
    /// D27: an UNMAP whose last descriptor succeeds hides an earlier failure.
    pub unmap_hides_failure: bool,
    /// D28: COMPARE AND WRITE is not atomic across extents.
    pub compare_and_write_not_atomic: bool,
    /// D31: the caching page says WCE 0 while the cache is on.
    pub write_cache_hidden: bool,
    /// D70: a resize raises no unit attention.
    pub resize_not_told: bool,
    /// D71: UNMAP answers GOOD and does nothing.
    pub unmap_claimed_not_done: bool,
    /// D76: EXTENDED COPY reaches units that the nexus may not.
    pub copy_unchecked: bool,
    /// SCS-015: unit attentions also go to the nexus that caused them, not to the others.
    pub attention_to_wrong_nexus: bool,
    /// DUR-007: a login with the name and ISID of a session that still stands is refused instead of taking its place.
    pub reinstatement_refused: bool,
    /// SCS-014: commands that conflict with a reservation are executed.
    pub conflict_not_reported: bool,
    /// ISC-023: what has come of a header is thrown away when the rest is still on its way.
    pub split_header_dropped: bool,
    /// DAT-009: a write to a mirrored volume is acknowledged before the other half has it.
    pub mirrored_answers_early: bool,
    /// SCS-015: INQUIRY and REPORT LUNS tell a waiting unit attention instead of leaving it alone.
    pub attention_on_inquiry: bool,
}

impl TargetDefects {
    /// Every switch: name, id in the catalogue (of defects, or of the requirement it breaks), what it does.
    pub const ALL: &'static [(&'static str, &'static str, &'static str)] = &[
        ("stat_sn_skips", "D64", "StatSN jumps by two at every SCSI response without good status"),
        ("cmd_sn_window_ignored", "D64", "commands outside of the CmdSN window are executed as they come"),
        (
            "reinstatement_keeps_tasks",
            "D29",
            "session reinstatement lets the old session and its tasks live on",
        ),
        (
            "abort_then_apply",
            "D29",
            "an aborted write is answered as aborted and applied when its data comes",
        ),
        (
            "digest_wrong_on_short_answers",
            "D62",
            "the data digest of short answers is computed without the padding",
        ),
        ("residual_on_short_write", "D63", "writes longer than the first burst report an underflow"),
        ("data_sn_unchecked", "D65", "Data-Out is taken whatever its DataSN says"),
        ("reject_hangs", "D65", "Data-Out out of order is dropped and its command never answered"),
        ("first_burst_ignored", "ISC-004", "unsolicited data beyond FirstBurstLength is accepted"),
        ("clamps_silently", "ISC-003", "numeric keys out of range are clamped instead of rejected"),
        ("chap_accepts_reflection", "ISC-021", "mutual CHAP answers the target's own challenge"),
        ("unmap_answers_twice", "D26", "an UNMAP of several descriptors answers twice when one fails"),
        ("unmap_hides_failure", "D27", "an UNMAP whose last descriptor succeeds hides an earlier failure"),
        ("compare_and_write_not_atomic", "D28", "COMPARE AND WRITE is not atomic across extents"),
        ("write_cache_hidden", "D31", "the caching page says WCE 0 while the cache is on"),
        ("resize_not_told", "D70", "a resize raises no unit attention"),
        ("unmap_claimed_not_done", "D71", "UNMAP answers GOOD and does nothing"),
        ("copy_unchecked", "D76", "EXTENDED COPY reaches units that the nexus may not"),
        (
            "attention_to_wrong_nexus",
            "SCS-015",
            "unit attentions also go to the nexus that caused them, not to the others",
        ),
        (
            "reinstatement_refused",
            "DUR-007",
            "a host that comes back is refused as long as its old session stands",
        ),
        ("conflict_not_reported", "SCS-014", "commands that conflict with a reservation are executed"),
        (
            "split_header_dropped",
            "ISC-023",
            "what has come of a header is thrown away when the rest is still on its way",
        ),
        (
            "mirrored_answers_early",
            "DAT-009",
            "a write to a mirrored volume is acknowledged before the other half has it",
        ),
        (
            "attention_on_inquiry",
            "SCS-015",
            "INQUIRY and REPORT LUNS tell a waiting unit attention instead of leaving it alone",
        ),
    ];

    /// Switches on the defect called `name`; false if there is none of that name.
    pub fn set(&mut self, name: &str) -> bool {
        let switch = match name {
            "stat_sn_skips" => &mut self.stat_sn_skips,
            "cmd_sn_window_ignored" => &mut self.cmd_sn_window_ignored,
            "reinstatement_keeps_tasks" => &mut self.reinstatement_keeps_tasks,
            "abort_then_apply" => &mut self.abort_then_apply,
            "digest_wrong_on_short_answers" => &mut self.digest_wrong_on_short_answers,
            "residual_on_short_write" => &mut self.residual_on_short_write,
            "data_sn_unchecked" => &mut self.data_sn_unchecked,
            "reject_hangs" => &mut self.reject_hangs,
            "first_burst_ignored" => &mut self.first_burst_ignored,
            "clamps_silently" => &mut self.clamps_silently,
            "chap_accepts_reflection" => &mut self.chap_accepts_reflection,
            "unmap_answers_twice" => &mut self.unmap_answers_twice,
            "unmap_hides_failure" => &mut self.unmap_hides_failure,
            "compare_and_write_not_atomic" => &mut self.compare_and_write_not_atomic,
            "write_cache_hidden" => &mut self.write_cache_hidden,
            "resize_not_told" => &mut self.resize_not_told,
            "unmap_claimed_not_done" => &mut self.unmap_claimed_not_done,
            "copy_unchecked" => &mut self.copy_unchecked,
            "attention_to_wrong_nexus" => &mut self.attention_to_wrong_nexus,
            "reinstatement_refused" => &mut self.reinstatement_refused,
            "conflict_not_reported" => &mut self.conflict_not_reported,
            "split_header_dropped" => &mut self.split_header_dropped,
            "mirrored_answers_early" => &mut self.mirrored_answers_early,
            "attention_on_inquiry" => &mut self.attention_on_inquiry,
            _ => return false,
        };
        *switch = true;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::TargetDefects;

    #[test]
    fn every_listed_defect_has_its_own_switch() {
        let mut seen = Vec::new();
        for (name, _, _) in TargetDefects::ALL {
            let mut defects = TargetDefects::default();
            assert!(defects.set(name), "{name}");
            assert!(defects != TargetDefects::default() && !seen.contains(&defects), "{name}");
            seen.push(defects);
        }
        assert!(!TargetDefects::default().set("no_such_defect"));
    }
}
