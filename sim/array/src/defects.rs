//! Planted defects: switches that make the array wrong on purpose, so that the checkers can show that they bite.
//! Each switch is read in exactly one place of the code.

/// The set of planted defects. The default is a correct array.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Defects {
    /// EXT-001: the range that an extend adds shows old garbage instead of zeros.
    pub stale_tail_after_extend: bool,
    /// EXT-001: after an extend, reads of the old range come from the content as it was before the extend.
    pub stale_read_after_extend: bool,
    /// CLN-001: what is written to a linked clone also lands in its source LUN.
    pub clone_shares_writes: bool,
    /// D17: a split trusts a stale map and forgets the odd extents that the child never touched.
    pub flatten_skips_hole: bool,
    /// D18: an activated snapshot keeps following its LUN.
    pub snapshot_not_frozen: bool,
    /// ATT-001: LUN masking is ignored; every initiator reaches every mapped LUN.
    pub masking_ignored: bool,
    /// D25: UNMAP rounds its range outward to whole extents.
    pub unmap_out_of_bounds: bool,
    /// D32: two devices in a row get one WWN.
    pub duplicate_wwn: bool,
    /// D22: a write below the copy-on-write grain loses the neighbouring bytes of the grain when it copies up.
    pub lost_write_on_cow: bool,
    /// D30: SYNCHRONIZE CACHE is answered and nothing is made durable.
    pub sync_cache_ignored: bool,
    /// D33: a LUN away from its home controller shows another WWN.
    pub identity_changes_on_failover: bool,
    /// D34: registrations and reservations go with the power in spite of APTPL.
    pub aptpl_forgotten: bool,
    /// API-011: sessions of a vStore reach the objects of others.
    pub vstore_leak: bool,
    /// ATT-017: a disabled portal goes on serving.
    pub disabled_portal_serves: bool,
    /// API-014: a copy or migration that fails destroys its source.
    pub failed_job_wipes_source: bool,
    /// API-014: jobs of a controller that fails count as done.
    pub job_lost_on_failover: bool,
    /// SNP-009: snapshots activated together are frozen one after the other.
    pub group_snapshot_torn: bool,
    /// QOS-001: the limits of a LUN act on all LUNs of its hosts.
    pub qos_per_host: bool,
    /// D18: a clone of a snapshot does not see what was first written since the snapshot before.
    pub snapshot_map_misses_new: bool,
    /// D19: what a clone copies up when it is written shows in its older snapshots.
    pub copy_up_reaches_snapshots: bool,
    /// D20: the split of a clone that has nothing of its parent fails.
    pub empty_split_fails: bool,
    /// D21: a full copy of a clone that has content of its own leaves out what its parent holds.
    pub copy_skips_parent: bool,
    /// D69: a write that finds the pool full takes the whole LUN out of service.
    pub full_pool_breaks_lun: bool,
    /// D77: in a split the secondary of a HyperMetro pair goes on too.
    pub split_brain: bool,
    /// D23: what was under way when the link was lost is not noted as different.
    pub inflight_forgotten: bool,
    /// D23: a synchronisation that breaks loses half of the differences that it had taken.
    pub resync_forgets: bool,
    /// D21: a synchronisation of a linked clone copies what the clone has written itself and forgets its parent's data.
    pub sync_skips_parent: bool,
    /// D79: hosts may write the protected secondary of a replication pair.
    pub secondary_unprotected: bool,
    /// D80: a synchronisation shows what it copies at once, in the order of block numbers.
    pub secondary_out_of_order: bool,
}

impl Defects {
    /// Every switch: name, id in the catalogue of defects, what it does.
    pub const ALL: &'static [(&'static str, &'static str, &'static str)] = &[
        (
            "stale_tail_after_extend",
            "EXT-001",
            "the range added by an extend shows old garbage instead of zeros",
        ),
        ("stale_read_after_extend", "EXT-001", "reads after an extend are served from the content before it"),
        ("clone_shares_writes", "CLN-001", "writes to a linked clone also land in its source LUN"),
        ("flatten_skips_hole", "D17", "a split forgets odd extents that the child never touched"),
        ("snapshot_not_frozen", "D18", "an activated snapshot keeps following its LUN"),
        ("masking_ignored", "ATT-001", "every initiator reaches every mapped LUN"),
        ("unmap_out_of_bounds", "D25", "UNMAP rounds its range outward to whole extents"),
        ("duplicate_wwn", "D32", "two devices in a row share one WWN"),
        ("lost_write_on_cow", "D22", "a partial write loses neighbouring bytes when it copies up"),
        ("sync_cache_ignored", "D30", "SYNCHRONIZE CACHE is answered and nothing is made durable"),
        ("identity_changes_on_failover", "D33", "a LUN away from its home controller shows another WWN"),
        ("aptpl_forgotten", "D34", "persistent reservations go with the power in spite of APTPL"),
        ("vstore_leak", "API-011", "sessions of a vStore reach the objects of others"),
        ("disabled_portal_serves", "ATT-017", "a disabled portal goes on serving"),
        ("failed_job_wipes_source", "API-014", "a copy or migration that fails destroys its source"),
        ("job_lost_on_failover", "API-014", "background work counts as done when a controller fails"),
        ("group_snapshot_torn", "SNP-009", "snapshots activated together are not frozen at one instant"),
        ("qos_per_host", "QOS-001", "the limits of a LUN act on all LUNs of its hosts"),
        (
            "snapshot_map_misses_new",
            "D18",
            "clones of a snapshot miss what was new since the snapshot before",
        ),
        ("copy_up_reaches_snapshots", "D19", "what a clone copies up shows in its older snapshots"),
        ("empty_split_fails", "D20", "the split of a clone that has nothing of its parent fails"),
        ("copy_skips_parent", "D21", "a full copy of a changed clone leaves out what its parent holds"),
        ("full_pool_breaks_lun", "D69", "a write into a full pool takes the whole LUN out of service"),
        ("split_brain", "D77", "both halves of a HyperMetro pair accept writes in a split"),
        ("inflight_forgotten", "D23", "writes under way when the link is lost are not noted as different"),
        ("resync_forgets", "D23", "a broken synchronisation loses differences that it had taken"),
        ("sync_skips_parent", "D21", "a synchronisation of a linked clone forgets its parent's data"),
        ("secondary_unprotected", "D79", "hosts may write the protected secondary of a replication pair"),
        ("secondary_out_of_order", "D80", "a synchronisation shows its extents before all of them are there"),
    ];

    /// Switches on the defect called `name`; false if there is none of that name.
    pub fn set(&mut self, name: &str) -> bool {
        let switch = match name {
            "stale_tail_after_extend" => &mut self.stale_tail_after_extend,
            "stale_read_after_extend" => &mut self.stale_read_after_extend,
            "clone_shares_writes" => &mut self.clone_shares_writes,
            "flatten_skips_hole" => &mut self.flatten_skips_hole,
            "snapshot_not_frozen" => &mut self.snapshot_not_frozen,
            "masking_ignored" => &mut self.masking_ignored,
            "unmap_out_of_bounds" => &mut self.unmap_out_of_bounds,
            "duplicate_wwn" => &mut self.duplicate_wwn,
            "lost_write_on_cow" => &mut self.lost_write_on_cow,
            "sync_cache_ignored" => &mut self.sync_cache_ignored,
            "identity_changes_on_failover" => &mut self.identity_changes_on_failover,
            "aptpl_forgotten" => &mut self.aptpl_forgotten,
            "vstore_leak" => &mut self.vstore_leak,
            "disabled_portal_serves" => &mut self.disabled_portal_serves,
            "failed_job_wipes_source" => &mut self.failed_job_wipes_source,
            "job_lost_on_failover" => &mut self.job_lost_on_failover,
            "group_snapshot_torn" => &mut self.group_snapshot_torn,
            "qos_per_host" => &mut self.qos_per_host,
            "snapshot_map_misses_new" => &mut self.snapshot_map_misses_new,
            "copy_up_reaches_snapshots" => &mut self.copy_up_reaches_snapshots,
            "empty_split_fails" => &mut self.empty_split_fails,
            "copy_skips_parent" => &mut self.copy_skips_parent,
            "full_pool_breaks_lun" => &mut self.full_pool_breaks_lun,
            "split_brain" => &mut self.split_brain,
            "inflight_forgotten" => &mut self.inflight_forgotten,
            "resync_forgets" => &mut self.resync_forgets,
            "sync_skips_parent" => &mut self.sync_skips_parent,
            "secondary_unprotected" => &mut self.secondary_unprotected,
            "secondary_out_of_order" => &mut self.secondary_out_of_order,
            _ => return false,
        };
        *switch = true;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::Defects;

    #[test]
    fn every_listed_defect_has_its_own_switch() {
        let mut seen = Vec::new();
        for (name, _, _) in Defects::ALL {
            let mut defects = Defects::default();
            assert!(defects.set(name), "{name}");
            assert!(defects != Defects::default() && !seen.contains(&defects), "{name}");
            seen.push(defects);
        }
        assert!(!Defects::default().set("no_such_defect"));
    }
}
