//! Removing what earlier runs left, and nothing else.

use std::collections::BTreeSet;

use sanbench_api::{ArrayInventory, DriverError, Inventory, ObjectKind, ObjectRef};

use super::tag::Tag;
use crate::defects::BenchDefects;

/// What a clean-up did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Cleaned {
    /// Objects removed, as `kind name`.
    pub removed: Vec<String>,
    /// Objects that could not be removed, as `kind name: why`.
    pub left: Vec<String>,
}

/// Rounds of clean-up: dependents go first, so parents may need another round.
const ROUNDS: usize = 8;

/// Removes every object that carries one of the tags.
///
/// # Errors
/// The array cannot be listed.
pub async fn clean(inventory: &dyn Inventory, tags: &[Tag]) -> Result<Cleaned, DriverError> {
    clean_with(inventory, tags, BenchDefects::default()).await
}

/// The same, with what the selftest has planted.
pub(crate) async fn clean_with(
    inventory: &dyn Inventory,
    tags: &[Tag],
    defects: BenchDefects,
) -> Result<Cleaned, DriverError> {
    let owned = |listing: &ArrayInventory| owned(listing, tags, defects.clean_takes_foreign);
    let mut cleaned = Cleaned::default();
    for _ in 0..ROUNDS {
        cleaned.left.clear();
        let objects = owned(&inventory.list().await?);
        if objects.is_empty() {
            return Ok(cleaned);
        }
        let mut progress = false;
        for object in &objects {
            let label = format!("{:?} {}", object.kind, object.name).to_lowercase();
            match inventory.remove(object).await {
                Ok(()) => {
                    progress = true;
                    cleaned.removed.push(label);
                }
                Err(e) => cleaned.left.push(format!("{label}: {e}")),
            }
        }
        if !progress {
            break;
        }
    }
    if cleaned.left.is_empty() {
        let rest = owned(&inventory.list().await?);
        cleaned.left =
            rest.iter().map(|o| format!("{:?} {}: comes back", o.kind, o.name).to_lowercase()).collect();
    }
    Ok(cleaned)
}

/// Our objects in an order that respects what depends on what: mappings, clones, snapshots, LUNs. `careless` is the planted
/// defect D74: whatever has a name like those of a driver is ours.
pub(super) fn owned(inventory: &ArrayInventory, tags: &[Tag], careless: bool) -> Vec<ObjectRef> {
    let ours = |name: &str| careless || tags.iter().any(|t| t.owns(name));
    let object = |kind, id: &str, name: &str| ObjectRef { kind, id: id.into(), name: name.into() };
    let mut objects = Vec::new();
    let hosts: BTreeSet<&str> =
        inventory.hosts.iter().filter(|h| ours(&h.name)).map(|h| h.id.as_str()).collect();
    let for_us = |host: &Option<String>| host.as_deref().is_some_and(|id| hosts.contains(id));
    let host_groups: BTreeSet<&str> = inventory
        .host_groups
        .iter()
        .filter(|g| g.members.iter().all(|m| hosts.contains(m.as_str())))
        .filter(|g| !g.members.is_empty() || for_us(&g.made_for))
        .map(|g| g.id.as_str())
        .collect();
    let views: Vec<_> = inventory
        .views
        .iter()
        .filter(|v| match v.host_group.as_deref() {
            Some(group) => host_groups.contains(group),
            None => for_us(&v.made_for),
        })
        .collect();
    let mut lun_groups: BTreeSet<&str> = views.iter().filter_map(|v| v.lun_group.as_deref()).collect();
    // A run that was killed between two calls leaves groups in no view; those can only be told by whom they are for.
    let our_luns: BTreeSet<&str> =
        inventory.luns.iter().filter(|l| ours(&l.name)).map(|l| l.id.as_str()).collect();
    let halfway = inventory
        .lun_groups
        .iter()
        .filter(|g| for_us(&g.made_for) && g.members.iter().all(|m| our_luns.contains(m.as_str())));
    lun_groups.extend(halfway.map(|g| g.id.as_str()));
    objects.extend(views.iter().map(|v| object(ObjectKind::MappingView, &v.id, &v.name)));
    let groups = inventory.lun_groups.iter().filter(|g| lun_groups.contains(g.id.as_str()));
    objects.extend(groups.map(|g| object(ObjectKind::LunGroup, &g.id, &g.name)));
    let groups = inventory.host_groups.iter().filter(|g| host_groups.contains(g.id.as_str()));
    objects.extend(groups.map(|g| object(ObjectKind::HostGroup, &g.id, &g.name)));
    let hosts = inventory.hosts.iter().filter(|h| ours(&h.name));
    objects.extend(hosts.map(|h| object(ObjectKind::Host, &h.id, &h.name)));
    let initiators = inventory.initiators.iter().filter(|i| ours(&i.iqn));
    objects.extend(initiators.map(|i| object(ObjectKind::Initiator, &i.iqn, &i.iqn)));
    objects.extend(
        inventory.jobs.iter().filter(|j| ours(&j.name)).map(|j| object(ObjectKind::Job, &j.id, &j.name)),
    );
    let mut luns: Vec<_> = inventory.luns.iter().filter(|l| ours(&l.name)).collect();
    luns.sort_by_key(|l| std::cmp::Reverse(inventory.depth(&l.id).unwrap_or(u32::MAX)));
    let (clones, roots): (Vec<_>, Vec<_>) = luns.into_iter().partition(|l| l.parent.is_some());
    objects.extend(clones.iter().map(|l| object(ObjectKind::Lun, &l.id, &l.name)));
    let snapshots = inventory.snapshots.iter().filter(|s| ours(&s.name));
    objects.extend(snapshots.map(|s| object(ObjectKind::Snapshot, &s.id, &s.name)));
    objects.extend(roots.iter().map(|l| object(ObjectKind::Lun, &l.id, &l.name)));
    objects
}
