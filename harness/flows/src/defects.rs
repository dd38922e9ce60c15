//! Planted defects: values at construction, off unless somebody turns them on. Each switch is read in one place.

/// Planted defects of the workflow; none by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FlowDefects {
    /// B1363016: the image is reported written without SYNCHRONIZE CACHE (IMG-011).
    pub skip_flush_after_image: bool,
    /// D11: only volumes that are available or in use count as allocated.
    pub allocated_counts_some: bool,
    /// D47: after an extend only the first host is told.
    pub extend_tells_first_host: bool,
    /// D48: an image is used although its checksum differs from the record.
    pub checksum_ignored: bool,
    /// D49: zero ranges of an image are skipped although the volume holds old data.
    pub sparse_over_dirty: bool,
    /// D50: what cannot be written to the device goes to a file beside it, and the copy counts as done.
    pub write_failure_goes_to_a_file: bool,
    /// D51: a hole that is skipped does not move the place of what follows.
    pub holes_do_not_advance: bool,
    /// D52: backing and data files in the header of an image are not looked for.
    pub headers_not_inspected: bool,
    /// D54: the control host's detach goes on in the background.
    pub release_not_awaited: bool,
    /// D56: a detach whose last call failed is reported done; the attachment stays.
    pub detach_error_forgotten: bool,
    /// D58: a failed attach leaves its block device mapping.
    pub bdm_left_after_failed_attach: bool,
    /// D78: an extend believes what the guest wrote: the first bytes of the volume.
    pub guest_format_probed: bool,
    /// B1685843: the control host's mapping survives an image write (INV-A3).
    pub leave_control_attachment: bool,
    /// OBS-005: a delete removes the row without passing through `deleting` (INV-D1).
    pub wrong_status_edge: bool,
    /// B1497088: the staged image stays behind (INV-F1).
    pub leak_temp_file: bool,
    /// B1718374: a refused extend sets the status available, also of a volume in use (INV-D10).
    pub refused_extend_sets_available: bool,
    /// QTA-003: an extend takes the whole new size from the quota.
    pub extend_quota_whole: bool,
    /// DUR-006: flows that a crash left open are struck off the log, neither finished nor undone.
    pub open_flows_forgotten: bool,
    /// A message that is delivered again starts the flow again, although somebody runs it.
    pub redelivery_not_recognised: bool,
    /// A transaction that the database is too busy for fails at once.
    pub busy_database_not_retried: bool,
    /// CON-004: what a flow had done before a crash is forgotten when it is taken up again, and not undone.
    pub progress_forgotten: bool,
    /// CON-004: an image that is written over a volume is locked only once the control host has its device, against the order.
    pub image_locked_late: bool,
}

impl FlowDefects {
    /// Every switch: name, id in the catalogue of defects (`B` and a number: a bug of Cinder, Nova or os-brick; else the
    /// requirement that it breaks), what it does.
    pub const ALL: &'static [(&'static str, &'static str, &'static str)] = &[
        ("skip_flush_after_image", "B1363016", "an image is reported written without SYNCHRONIZE CACHE"),
        ("allocated_counts_some", "D11", "only available and in-use volumes count as allocated capacity"),
        ("extend_tells_first_host", "D47", "an extend is told to the first of several hosts only"),
        ("checksum_ignored", "D48", "an image stream that broke off is written and reported as whole"),
        (
            "sparse_over_dirty",
            "D49",
            "zero ranges of an image are skipped although the volume holds old data",
        ),
        (
            "write_failure_goes_to_a_file",
            "D50",
            "when the device goes away in the middle of an image, the rest is written to a file of its name",
        ),
        (
            "holes_do_not_advance",
            "D51",
            "zero chunks are skipped without moving the offset, so what follows lands too low",
        ),
        ("headers_not_inspected", "D52", "image headers that name other files are not refused"),
        ("release_not_awaited", "D54", "the detach of the control host is not waited for"),
        (
            "detach_error_forgotten",
            "D56",
            "a detach whose call to the array failed is reported as done, its attachment stays",
        ),
        ("bdm_left_after_failed_attach", "D58", "a failed attach leaves its block device mapping behind"),
        (
            "guest_format_probed",
            "D78",
            "an extend probes the volume's format and believes a header that the guest wrote",
        ),
        ("leave_control_attachment", "B1685843", "the control host's mapping survives an image write"),
        ("wrong_status_edge", "OBS-005", "a delete removes the row without passing through deleting"),
        ("leak_temp_file", "B1497088", "the staged image stays behind"),
        ("refused_extend_sets_available", "B1718374", "a refused extend makes a volume in use available"),
        (
            "extend_quota_whole",
            "QTA-003",
            "an extend takes the whole new size from the quota instead of the difference",
        ),
        (
            "open_flows_forgotten",
            "DUR-006",
            "flows that a crash left open are struck off the log, neither finished nor undone",
        ),
        (
            "redelivery_not_recognised",
            "CON-001",
            "a message that arrives twice starts its flow again, although the flow is at work",
        ),
        (
            "busy_database_not_retried",
            "CON-002",
            "an operation fails when somebody else holds the database for a moment",
        ),
        (
            "progress_forgotten",
            "CON-004",
            "what an operation had done before a crash is not undone when it fails after the restart",
        ),
        (
            "image_locked_late",
            "CON-004",
            "two operations take the lock of an image and that of the control host's device in opposite orders",
        ),
    ];

    /// Switches on the defect called `name`; false if there is none of that name.
    pub fn set(&mut self, name: &str) -> bool {
        let switch = match name {
            "skip_flush_after_image" => &mut self.skip_flush_after_image,
            "allocated_counts_some" => &mut self.allocated_counts_some,
            "extend_tells_first_host" => &mut self.extend_tells_first_host,
            "checksum_ignored" => &mut self.checksum_ignored,
            "sparse_over_dirty" => &mut self.sparse_over_dirty,
            "write_failure_goes_to_a_file" => &mut self.write_failure_goes_to_a_file,
            "holes_do_not_advance" => &mut self.holes_do_not_advance,
            "headers_not_inspected" => &mut self.headers_not_inspected,
            "release_not_awaited" => &mut self.release_not_awaited,
            "detach_error_forgotten" => &mut self.detach_error_forgotten,
            "bdm_left_after_failed_attach" => &mut self.bdm_left_after_failed_attach,
            "guest_format_probed" => &mut self.guest_format_probed,
            "leave_control_attachment" => &mut self.leave_control_attachment,
            "wrong_status_edge" => &mut self.wrong_status_edge,
            "leak_temp_file" => &mut self.leak_temp_file,
            "refused_extend_sets_available" => &mut self.refused_extend_sets_available,
            "extend_quota_whole" => &mut self.extend_quota_whole,
            "open_flows_forgotten" => &mut self.open_flows_forgotten,
            "redelivery_not_recognised" => &mut self.redelivery_not_recognised,
            "busy_database_not_retried" => &mut self.busy_database_not_retried,
            "progress_forgotten" => &mut self.progress_forgotten,
            "image_locked_late" => &mut self.image_locked_late,
            _ => return false,
        };
        *switch = true;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::FlowDefects;

    #[test]
    fn every_listed_defect_has_its_own_switch() {
        let mut seen = Vec::new();
        for (name, _, _) in FlowDefects::ALL {
            let mut defects = FlowDefects::default();
            assert!(defects.set(name), "{name}");
            assert!(defects != FlowDefects::default() && !seen.contains(&defects), "{name}");
            seen.push(defects);
        }
        assert!(!FlowDefects::default().set("no_such_defect"));
    }
}
