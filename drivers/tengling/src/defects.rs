//! Planted defects: values at construction, off unless a test turns them on. Each switch is read in one place of the code.

/// Faults that this driver can be told to have, so that the bench can prove that it would see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DriverDefects {
    /// B1561579: a create or clone that fails after its LUN was made leaves the LUN behind.
    pub lun_left_after_failed_create: bool,
    /// D01: each attempt of a create makes an object of its own, so a retry after a lost answer makes a second one.
    pub second_create_after_lost_answer: bool,
    /// D02: a LUN of the wanted name is deleted and made again.
    pub recreate_existing: bool,
    /// API-016: a LUN of the wanted name is adopted and deleted without asking whose it is.
    pub adopt_foreign: bool,
    /// D03: a job whose state cannot be read once counts as failed and is forgotten.
    pub poll_error_is_failure: bool,
    /// D04: management calls have no time limit.
    pub no_call_limit: bool,
    /// D06: the undo of a failed attach waits for the lock that the attach itself holds.
    pub undo_takes_lock_again: bool,
    /// D07: a detach takes the host's objects away although other LUNs are mapped through them.
    pub last_detach_for_all: bool,
    /// D08: attaches and detaches of one host do not wait for each other.
    pub no_host_lock: bool,
    /// D09: the sweep at the start removes snapshots without looking at their names.
    pub sweep_takes_user_snapshots: bool,
    /// D10: the space in use is reported as provisioned.
    pub consumed_as_provisioned: bool,
    /// D13: a clone refused at the array's limit is refused in another class.
    pub limit_error_wrong_class: bool,
    /// D14: while a flatten runs, every other call waits.
    pub flatten_holds_everything: bool,
    /// D15: a clone that the array refuses at its limit is reported as made.
    pub limit_clone_is_done: bool,
    /// D16: clones are never flattened for depth, so chains grow without limit.
    pub no_depth_limit: bool,
    /// D16: silent parents do not count for the depth of a chain.
    pub silent_parents_not_counted: bool,
    /// D59: a clone or restore to a smaller size is accepted.
    pub smaller_accepted: bool,
    /// D60: long host names are cut off, so that hosts become equal.
    pub host_names_truncated: bool,
    /// D61: portals are offered whatever the state of their link.
    pub down_portals_offered: bool,
    /// D72: the body of a login is written into the trace.
    pub secrets_in_trace: bool,
    /// B1772421: an extend adds the new size to the old one.
    pub extend_adds: bool,
    /// B1554740: a clone keeps the size of its source.
    pub larger_size_ignored: bool,
    /// B1880862: a detach of what is not mapped fails.
    pub unmapped_detach_fails: bool,
    /// B1981354: only the first portal is offered.
    pub first_portal_only: bool,
    /// ATT-003: what a detach or delete does not find at the first look counts as gone.
    pub first_absence_believed: bool,
    /// API-001: nobody logs out.
    pub sessions_left: bool,
}

impl DriverDefects {
    /// Every switch: name, id in the catalogue of defects (`B` and a number: a bug of Cinder, Nova or os-brick; else the
    /// requirement that it breaks), what it does.
    pub const ALL: &'static [(&'static str, &'static str, &'static str)] = &[
        (
            "lun_left_after_failed_create",
            "B1561579",
            "a create or clone that fails after its LUN was made leaves the LUN",
        ),
        (
            "second_create_after_lost_answer",
            "D01",
            "a create is tried again under another name when its answer was lost; the first LUN stays",
        ),
        ("recreate_existing", "D02", "a LUN that has the wanted name is deleted and made again"),
        ("adopt_foreign", "API-016", "a LUN of the wanted name is adopted without asking whose it is"),
        ("poll_error_is_failure", "D03", "a job that cannot be looked at once counts as failed"),
        ("no_call_limit", "D04", "management calls have no time limit"),
        ("undo_takes_lock_again", "D06", "the undo of a failed attach waits for the lock that it holds"),
        (
            "last_detach_for_all",
            "D07",
            "a detach removes the host's mapping objects although other LUNs use them",
        ),
        ("no_host_lock", "D08", "attach and detach of one host run into each other"),
        (
            "sweep_takes_user_snapshots",
            "D09",
            "the sweep at the start of the service removes users' snapshots",
        ),
        ("consumed_as_provisioned", "D10", "the space in use is reported as provisioned"),
        (
            "limit_error_wrong_class",
            "D13",
            "a clone refused at the array's limit is reported in the wrong class",
        ),
        ("flatten_holds_everything", "D14", "every other call waits while a flatten runs"),
        ("limit_clone_is_done", "D15", "a clone that the array refused at its limit is reported as made"),
        ("no_depth_limit", "D16", "clones are never flattened for depth"),
        ("silent_parents_not_counted", "D16", "the depth of a chain leaves out deleted parents"),
        ("smaller_accepted", "D59", "a clone or restore to a smaller size is accepted"),
        ("host_names_truncated", "D60", "long host names are cut off, so two hosts become one"),
        ("down_portals_offered", "D61", "portals whose link is down are offered"),
        ("secrets_in_trace", "D72", "the trace holds the password of the management account"),
        ("extend_adds", "B1772421", "an extend adds the new size to the old one"),
        (
            "larger_size_ignored",
            "B1554740",
            "a clone keeps the size of its source although a larger one was asked for",
        ),
        ("unmapped_detach_fails", "B1880862", "a detach of a volume that is not mapped fails"),
        ("first_portal_only", "B1981354", "connection information names only one of the portals"),
        ("sessions_left", "API-001", "the driver shuts down without logging out"),
        (
            "first_absence_believed",
            "ATT-003",
            "what a detach or delete does not find at the first look counts as gone, although a list may be behind",
        ),
    ];

    /// Switches on the defect called `name`; false if there is none of that name.
    pub fn set(&mut self, name: &str) -> bool {
        let switch = match name {
            "lun_left_after_failed_create" => &mut self.lun_left_after_failed_create,
            "second_create_after_lost_answer" => &mut self.second_create_after_lost_answer,
            "recreate_existing" => &mut self.recreate_existing,
            "adopt_foreign" => &mut self.adopt_foreign,
            "poll_error_is_failure" => &mut self.poll_error_is_failure,
            "no_call_limit" => &mut self.no_call_limit,
            "undo_takes_lock_again" => &mut self.undo_takes_lock_again,
            "last_detach_for_all" => &mut self.last_detach_for_all,
            "no_host_lock" => &mut self.no_host_lock,
            "sweep_takes_user_snapshots" => &mut self.sweep_takes_user_snapshots,
            "consumed_as_provisioned" => &mut self.consumed_as_provisioned,
            "limit_error_wrong_class" => &mut self.limit_error_wrong_class,
            "flatten_holds_everything" => &mut self.flatten_holds_everything,
            "limit_clone_is_done" => &mut self.limit_clone_is_done,
            "no_depth_limit" => &mut self.no_depth_limit,
            "silent_parents_not_counted" => &mut self.silent_parents_not_counted,
            "smaller_accepted" => &mut self.smaller_accepted,
            "host_names_truncated" => &mut self.host_names_truncated,
            "down_portals_offered" => &mut self.down_portals_offered,
            "secrets_in_trace" => &mut self.secrets_in_trace,
            "extend_adds" => &mut self.extend_adds,
            "larger_size_ignored" => &mut self.larger_size_ignored,
            "unmapped_detach_fails" => &mut self.unmapped_detach_fails,
            "first_portal_only" => &mut self.first_portal_only,
            "first_absence_believed" => &mut self.first_absence_believed,
            "sessions_left" => &mut self.sessions_left,
            _ => return false,
        };
        *switch = true;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::DriverDefects;

    #[test]
    fn every_listed_defect_has_its_own_switch() {
        let mut seen = Vec::new();
        for (name, _, _) in DriverDefects::ALL {
            let mut defects = DriverDefects::default();
            assert!(defects.set(name), "{name}");
            assert!(defects != DriverDefects::default() && !seen.contains(&defects), "{name}");
            seen.push(defects);
        }
        assert!(!DriverDefects::default().set("no_such_defect"));
    }
}
