//! Listings that are read page by page while objects come and go (API-012).

use std::collections::BTreeSet;

use sanbench_api::ArrayInventory;

use super::{differs, missing};
use crate::verdict::Finding;

/// What a list breaks that is not whole: it finds no orphans either.
const BROKEN: [&str; 2] = ["CLU-005", "API-012"];

/// What tells an object of a kind from the others: its id. Jobs are of several collections, each of which may count for itself, so
/// that their names belong to it.
type Which<'a> = (&'a str, &'a str);

/// Every kind of object with those that a listing has of it, in its order.
fn kinds(listing: &ArrayInventory) -> [(&'static str, Vec<Which<'_>>); 8] {
    fn ids<T>(all: &[T], id: impl Fn(&T) -> &String) -> Vec<Which<'_>> {
        all.iter().map(|object| (id(object).as_str(), "")).collect()
    }
    [
        ("lun", ids(&listing.luns, |o| &o.id)),
        ("snapshot", ids(&listing.snapshots, |o| &o.id)),
        ("host", ids(&listing.hosts, |o| &o.id)),
        ("initiator", ids(&listing.initiators, |o| &o.iqn)),
        ("host group", ids(&listing.host_groups, |o| &o.id)),
        ("lun group", ids(&listing.lun_groups, |o| &o.id)),
        ("mapping view", ids(&listing.views, |o| &o.id)),
        ("job", listing.jobs.iter().map(|o| (o.id.as_str(), o.name.as_str())).collect()),
    ]
}

/// Whether there are objects in one of the listings and not in the other.
#[must_use]
pub fn came_or_went(before: &ArrayInventory, after: &ArrayInventory) -> bool {
    kinds(before) != kinds(after)
}

/// A listing has no object twice, and everything that was there before it began and after it ended.
#[must_use]
pub fn listed(listing: &ArrayInventory, before: &ArrayInventory, after: &ArrayInventory) -> Vec<Finding> {
    let mut out = Vec::new();
    for (((kind, seen), (_, before)), (_, after)) in
        kinds(listing).into_iter().zip(kinds(before)).zip(kinds(after))
    {
        let mut once = BTreeSet::new();
        for (id, name) in seen {
            if !once.insert((id, name)) {
                let message = format!("{kind} {id} is listed twice");
                let twice = |id| differs(id, kind, "listed", message.clone(), "once", "twice");
                out.extend(BROKEN.map(twice));
            }
        }
        let after: BTreeSet<Which<'_>> = after.into_iter().collect();
        for (id, _) in before.into_iter().filter(|one| after.contains(one) && !once.contains(one)) {
            let message = format!("{kind} {id} lived while the array was listed, and is not in the list");
            out.extend(BROKEN.map(|id| missing(id, kind, message.clone())));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use sanbench_api::JobEntry;

    use super::*;

    fn jobs(ids: &[&str]) -> ArrayInventory {
        let jobs =
            ids.iter().map(|id| JobEntry { id: (*id).into(), name: String::new(), lun: None }).collect();
        ArrayInventory { jobs, ..ArrayInventory::default() }
    }

    #[test]
    fn what_lived_throughout_is_listed_once() {
        let (before, after) = (jobs(&["1", "2", "3"]), jobs(&["2", "3", "4"]));
        assert!(came_or_went(&before, &after) && !came_or_went(&before, &before));
        for good in [&["2", "3"][..], &["1", "2", "3", "4"], &["3", "2", "9"]] {
            assert_eq!(listed(&jobs(good), &before, &after), [], "{good:?}");
        }
        // A LUN copy and a clone pair may have one number.
        let mut two = jobs(&["2", "3", "3"]);
        two.jobs[2].name = "another".into();
        assert_eq!(listed(&two, &before, &after), []);
        for bad in [&["1", "2", "4"][..], &["2", "3", "3"]] {
            let findings = listed(&jobs(bad), &before, &after);
            assert_eq!(
                findings.iter().map(|f| f.requirement.as_str()).collect::<Vec<_>>(),
                BROKEN,
                "{bad:?}"
            );
        }
    }
}
