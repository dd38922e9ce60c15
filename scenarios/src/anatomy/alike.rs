//! Planted defects that break the same requirement: what a failure may be an old acquaintance of.

use crate::defects::{self, Plantable};
use crate::register;
use crate::registry::Registry;

/// Defects that break this requirement, by their ids in the catalogue, with what they do.
pub(super) fn alike(registry: &Registry, requirement: &str) -> Vec<(String, String)> {
    let breaks = |defect: &Plantable| {
        let known = register::defects().iter().find(|d| d.id == defect.catalogue);
        known.is_some_and(|d| d.caught_by.contains(&requirement))
            || defect.directed().is_some_and(|d| d.by.contains(&requirement))
    };
    let all = defects::all(registry).into_iter().filter(breaks);
    all.map(|d| (d.catalogue.to_owned(), d.text.to_owned())).collect()
}
