//! What a host may see, and what a device says about itself.

use std::collections::{BTreeMap, BTreeSet};

use sanbench_api::Wwn;

use crate::verdict::Finding;

const CHECKER: &str = "access";

/// Judges the devices that an initiator reaches: exactly those that it was granted (masking, ATT-001). `seen` is what it
/// found by its own login and scan; `granted` what the model says. A granted device that is missing is not judged here:
/// the path may be down.
#[must_use]
pub fn check_masking(initiator: &str, granted: &BTreeSet<Wwn>, seen: &[Wwn]) -> Vec<Finding> {
    seen.iter()
        .filter(|wwn| !granted.contains(wwn))
        .map(|wwn| {
            Finding::new("ATT-001", CHECKER, "initiator", "sees more")
                .says(format!("{initiator} reaches {wwn:?}, which it was not granted"))
                .compared(format!("{} granted devices", granted.len()), format!("{wwn:?}"))
        })
        .collect()
}

/// What one device says about itself over one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathView {
    /// Portal or path device, for people.
    pub path: String,
    /// Identity from VPD page 83h.
    pub wwn: Wwn,
    /// Capacity from READ CAPACITY, in blocks of 512 bytes.
    pub blocks: u64,
}

/// Judges all paths of one volume: one identity (MPX-003), and the expected size on each (CRE-001, or EXT-004 once it was
/// extended).
#[must_use]
pub fn check_paths(volume: &str, wwn: Wwn, blocks: u64, extended: bool, paths: &[PathView]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for path in paths {
        if path.wwn != wwn {
            findings.push(
                Finding::new("MPX-003", CHECKER, "path", "identity")
                    .says(format!("{} does not lead to volume {volume}", path.path))
                    .compared(format!("{wwn:?}"), format!("{:?}", path.wwn)),
            );
        } else if path.blocks != blocks {
            let requirement = if extended { "EXT-004" } else { "CRE-001" };
            findings.push(
                Finding::new(requirement, CHECKER, "path", "size")
                    .says(format!("{} shows another size of volume {volume}", path.path))
                    .compared(format!("{blocks} blocks"), format!("{} blocks", path.blocks)),
            );
        }
    }
    findings
}

/// Every identity that the array ever gave out, and to which LUN: none is given twice (CRE-012), and none changes (SCS-003).
#[derive(Debug, Clone, Default)]
pub struct Identities {
    by_wwn: BTreeMap<Wwn, String>,
    by_lun: BTreeMap<String, Wwn>,
}

impl Identities {
    /// Forgets which LUN had which array id once it is gone: the array may use the id again, but never the identity.
    pub fn retain(&mut self, there: impl Fn(&str) -> bool) {
        for (lun, wwn) in &self.by_lun {
            if !there(lun)
                && let Some(holder) = self.by_wwn.get_mut(wwn)
                && holder == lun
            {
                *holder = format!("{lun}, which is gone");
            }
        }
        self.by_lun.retain(|lun, _| there(lun));
    }

    /// Takes one observation of a LUN (by its id on the array, since names may change) and its identity.
    pub fn take(&mut self, lun: &str, wwn: Wwn) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Some(before) = self.by_lun.insert(lun.to_owned(), wwn)
            && before != wwn
        {
            findings.push(
                Finding::new("SCS-003", CHECKER, "lun", "identity changed")
                    .says(format!("{lun} changed its identity"))
                    .compared(format!("{before:?}"), format!("{wwn:?}")),
            );
        }
        let holder = self.by_wwn.entry(wwn).or_insert_with(|| lun.to_owned());
        if holder != lun {
            findings.push(
                Finding::new("CRE-012", CHECKER, "lun", "identity shared")
                    .says(format!("{lun} has the identity that {holder} was given"))
                    .compared("an identity of its own", format!("{wwn:?}")),
            );
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Wwn = Wwn([1; 16]);
    const TWO: Wwn = Wwn([2; 16]);

    fn ids(findings: Vec<Finding>) -> Vec<String> {
        findings.into_iter().map(|finding| finding.requirement).collect()
    }

    #[test]
    fn seeing_more_than_granted_fires() {
        let granted = BTreeSet::from([ONE]);
        assert_eq!(ids(check_masking("iqn.x", &granted, &[ONE])), [""; 0]);
        assert_eq!(ids(check_masking("iqn.x", &granted, &[])), [""; 0]);
        assert_eq!(ids(check_masking("iqn.x", &granted, &[ONE, TWO])), ["ATT-001"]);
    }

    #[test]
    fn unequal_paths_fire() {
        let path = |wwn, blocks| PathView { path: "p".into(), wwn, blocks };
        assert_eq!(ids(check_paths("v", ONE, 8, false, &[path(ONE, 8), path(ONE, 8)])), [""; 0]);
        assert_eq!(ids(check_paths("v", ONE, 8, false, &[path(ONE, 8), path(ONE, 7)])), ["CRE-001"]);
        assert_eq!(ids(check_paths("v", ONE, 8, true, &[path(ONE, 4)])), ["EXT-004"]);
        assert_eq!(ids(check_paths("v", ONE, 8, true, &[path(TWO, 8)])), ["MPX-003"]);
    }

    #[test]
    fn identities_are_unique_and_constant() {
        let mut identities = Identities::default();
        assert_eq!(ids(identities.take("a", ONE)), [""; 0]);
        assert_eq!(ids(identities.take("a", ONE)), [""; 0]);
        assert_eq!(ids(identities.take("b", ONE)), ["CRE-012"]);
        assert_eq!(ids(identities.take("a", TWO)), ["SCS-003"]);
    }
}
