//! The clone depth rule.
//!
//! The depth of a LUN is the number of parent links from it to its root on the array, links made through snapshots
//! included. When a call has succeeded, the new volume stands no deeper than the limit in force, and no call deepens a
//! volume that existed. Chains from before the limit was lowered are legal and stay cloneable. A limit of 0 or less means
//! full copies.

use std::collections::BTreeMap;

use sanbench_api::ArrayInventory;

use crate::verdict::Finding;

const CHECKER: &str = "depth";

/// True if a volume made now from a source of this depth must be flattened (or copied) before the call succeeds.
#[must_use]
pub fn must_flatten(source_depth: u32, limit: i64) -> bool {
    i64::from(source_depth) >= limit
}

/// The deepest that a volume made under this limit may stand.
#[must_use]
pub fn deepest(limit: i64) -> u32 {
    u32::try_from(limit.max(0)).unwrap_or(u32::MAX)
}

/// Follows the depth of every LUN of the run through inventories.
#[derive(Debug, Clone, Default)]
pub struct Depths {
    /// Depth at the last inventory, by LUN name.
    seen: BTreeMap<String, u32>,
    /// Depth allowed to LUNs that were made since, by name.
    allowed: BTreeMap<String, u32>,
    compared: u64,
}

impl Depths {
    /// A call that made this LUN has succeeded under this limit.
    pub fn made(&mut self, lun: &str, limit: i64) {
        self.seen.remove(lun);
        self.allowed.insert(lun.to_owned(), deepest(limit));
    }

    /// Judges an inventory that was taken with no call running. LUNs that the run did not make are ignored.
    pub fn check(&mut self, inventory: &ArrayInventory) -> Vec<Finding> {
        let mut findings = Vec::new();
        for lun in &inventory.luns {
            let allowed = self.allowed.get(&lun.name).copied();
            let before = self.seen.get(&lun.name).copied();
            if allowed.is_none() && before.is_none() {
                continue;
            }
            self.compared += 1;
            let Some(depth) = inventory.depth(&lun.id) else {
                findings.push(
                    Finding::new("CLN-004", CHECKER, "lun", "broken chain")
                        .says(format!("the parent chain of {} leads nowhere or in a circle", lun.name))
                        .compared("a chain that ends at a root", format!("{:?}", lun.parent)),
                );
                continue;
            };
            match (before, allowed) {
                (Some(before), _) if depth > before => findings.push(
                    Finding::new("CLN-004", CHECKER, "lun", "deepened")
                        .says(format!("{} went from depth {before} to {depth}", lun.name))
                        .compared(format!("depth {before} or less"), format!("depth {depth}")),
                ),
                (None, Some(allowed)) if depth > allowed => findings.push(
                    Finding::new("CLN-002", CHECKER, "lun", "too deep")
                        .says(format!("{} stands at depth {depth}, the limit is {allowed}", lun.name))
                        .compared(format!("depth {allowed} or less"), format!("depth {depth}")),
                ),
                _ => {}
            }
            self.seen.insert(lun.name.clone(), depth);
        }
        let there = |name: &String| inventory.luns.iter().any(|lun| lun.name == *name);
        self.seen.retain(|name, _| there(name));
        self.allowed.retain(|name, _| there(name));
        findings
    }

    /// LUNs judged so far.
    #[must_use]
    pub fn compared(&self) -> u64 {
        self.compared
    }
}

#[cfg(test)]
mod tests {
    use sanbench_api::{LunEntry, ParentLink, Wwn};

    use super::*;

    fn lun(n: u8, parent: Option<u8>) -> LunEntry {
        LunEntry {
            id: n.to_string(),
            name: format!("l{n}"),
            wwn: Wwn([n; 16]),
            blocks: 8,
            pool: "pool0".into(),
            parent: parent.map(|parent| ParentLink::Lun(parent.to_string())),
            mapped: false,
            description: String::new(),
        }
    }

    fn chain(parents: &[Option<u8>]) -> ArrayInventory {
        let luns = parents.iter().enumerate().map(|(n, parent)| lun(n as u8, *parent)).collect();
        ArrayInventory { luns, ..ArrayInventory::default() }
    }

    #[test]
    fn the_rule() {
        let table: Vec<bool> = (0..4).map(|depth| must_flatten(depth, 2)).collect();
        assert_eq!(table, [false, false, true, true]);
        assert!(must_flatten(0, 0) && must_flatten(0, -1));
        assert_eq!((deepest(-1), deepest(0), deepest(5)), (0, 0, 5));
    }

    #[test]
    fn too_deep_deepened_and_broken_chains_fire_each_its_own() {
        let mut depths = Depths::default();
        for name in ["l0", "l1", "l2"] {
            depths.made(name, 1);
        }
        let findings = depths.check(&chain(&[None, Some(0), Some(1)]));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].requirement, "CLN-002");
        assert_eq!(depths.check(&chain(&[None, Some(0), Some(1)])), [], "said once, and it does not deepen");
        assert_eq!(depths.check(&chain(&[None, None, Some(1)])), [], "a flatten above makes it shallower");
        let findings = depths.check(&chain(&[None, Some(0), Some(1)]));
        assert_eq!(findings.len(), 2, "both got deeper");
        assert!(findings.iter().all(|finding| finding.signature == "depth:lun:deepened"));
        let findings = depths.check(&chain(&[None, Some(0), Some(7)]));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].signature, "depth:lun:broken chain");
    }

    #[test]
    fn chains_from_before_the_limit_was_lowered_are_legal() {
        let mut depths = Depths::default();
        for name in ["l0", "l1", "l2"] {
            depths.made(name, 5);
        }
        assert_eq!(depths.check(&chain(&[None, Some(0), Some(1)])), []);
        depths.made("l3", 1);
        assert_eq!(depths.check(&chain(&[None, Some(0), Some(1), None])), []);
    }
}
