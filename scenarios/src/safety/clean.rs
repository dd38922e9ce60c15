//! Removing what earlier runs left, and nothing else.

use std::collections::BTreeSet;

use sanbench_api::{ArrayInventory, DriverError, Inventory, ObjectKind, ObjectRef, VolumeDriver};
pub use sanbench_runner::Cleaned;

use super::tag::Tag;
use crate::defects::BenchDefects;

/// Why nothing could be cleaned.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CleanError {
    /// The driver could not be set up.
    #[error("clean-up could not log in: {0}")]
    SetUp(DriverError),
    /// What is left cannot be found.
    #[error("the driver offers no inventory, so what is left cannot be found")]
    NoInventory,
    /// The array could not be listed.
    #[error("clean-up could not list the array: {0}")]
    Unlisted(DriverError),
}

/// Sets up a driver that nobody uses, removes every object that carries one of the tags, and shuts it down.
pub(crate) async fn clean_by(driver: &dyn VolumeDriver, tags: &[Tag]) -> Result<Cleaned, CleanError> {
    driver.do_setup().await.map_err(CleanError::SetUp)?;
    let cleaned = match driver.inventory() {
        None => Err(CleanError::NoInventory),
        Some(inventory) => clean(inventory, tags).await.map_err(CleanError::Unlisted),
    };
    driver.shutdown().await;
    cleaned
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
        let (mut progress, mut mapped) = (false, false);
        for object in &objects {
            let label = format!("{:?} {}", object.kind, object.name).to_lowercase();
            if mapped && object.kind == ObjectKind::Host {
                // Whose a group or view is may be told by its hosts alone. What was busy is tried again.
                progress = true;
                cleaned.left.push(format!("{label}: a group or view of such hosts is still there"));
                continue;
            }
            match inventory.remove(object).await {
                Ok(()) => {
                    progress = true;
                    cleaned.removed.push(label);
                }
                Err(e) => {
                    mapped |= matches!(
                        object.kind,
                        ObjectKind::MappingView | ObjectKind::LunGroup | ObjectKind::HostGroup
                    );
                    cleaned.left.push(format!("{label}: {e}"));
                }
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
    // Whom a mapping object maps for the moment says nothing about whose it is: others may have taken our hosts into theirs. Only
    // where a driver never tells whom one was made for is there nothing else to go by.
    let groups = inventory.host_groups.iter().map(|g| &g.made_for);
    let others = inventory.views.iter().map(|v| &v.made_for);
    let told =
        groups.chain(others).chain(inventory.lun_groups.iter().map(|g| &g.made_for)).any(Option::is_some);
    let made_by_us = |name: &str, host: &Option<String>| ours(name) || for_us(host);
    let host_groups: BTreeSet<&str> = inventory
        .host_groups
        .iter()
        .filter(|g| made_by_us(&g.name, &g.made_for) || (!told && !g.members.is_empty()))
        .filter(|g| g.members.iter().all(|m| hosts.contains(m.as_str())))
        .map(|g| g.id.as_str())
        .collect();
    let views: Vec<_> = inventory
        .views
        .iter()
        .filter(|v| made_by_us(&v.name, &v.made_for) || (!told && v.host_group.is_some()))
        .filter(|v| v.host_group.as_deref().is_none_or(|group| host_groups.contains(group)))
        .collect();
    let viewed: BTreeSet<&str> = views.iter().filter_map(|v| v.lun_group.as_deref()).collect();
    let our_luns: BTreeSet<&str> =
        inventory.luns.iter().filter(|l| ours(&l.name)).map(|l| l.id.as_str()).collect();
    // A run that was killed between two calls leaves groups in no view.
    let lun_groups: BTreeSet<&str> = inventory
        .lun_groups
        .iter()
        .filter(|g| made_by_us(&g.name, &g.made_for) || (!told && viewed.contains(g.id.as_str())))
        .filter(|g| viewed.contains(g.id.as_str()) || g.members.iter().all(|m| our_luns.contains(m.as_str())))
        .map(|g| g.id.as_str())
        .collect();
    objects.extend(views.iter().map(|v| object(ObjectKind::MappingView, &v.id, &v.name)));
    let groups = inventory.lun_groups.iter().filter(|g| lun_groups.contains(g.id.as_str()));
    objects.extend(groups.map(|g| object(ObjectKind::LunGroup, &g.id, &g.name)));
    let groups = inventory.host_groups.iter().filter(|g| host_groups.contains(g.id.as_str()));
    objects.extend(groups.map(|g| object(ObjectKind::HostGroup, &g.id, &g.name)));
    let hosts = inventory.hosts.iter().filter(|h| ours(&h.name));
    objects.extend(hosts.map(|h| object(ObjectKind::Host, &h.id, &h.name)));
    let initiators = inventory.initiators.iter().filter(|i| ours(&i.iqn));
    objects.extend(initiators.map(|i| object(ObjectKind::Initiator, &i.iqn, &i.iqn)));
    let writes_ours = |lun: &Option<String>| lun.as_deref().is_some_and(|id| our_luns.contains(id));
    let jobs = inventory.jobs.iter().filter(|j| ours(&j.name) || writes_ours(&j.lun));
    objects.extend(jobs.map(|j| object(ObjectKind::Job, &j.id, &j.name)));
    let mut luns: Vec<_> = inventory.luns.iter().filter(|l| ours(&l.name)).collect();
    luns.sort_by_key(|l| std::cmp::Reverse(inventory.depth(&l.id).unwrap_or(u32::MAX)));
    let (clones, roots): (Vec<_>, Vec<_>) = luns.into_iter().partition(|l| l.parent.is_some());
    objects.extend(clones.iter().map(|l| object(ObjectKind::Lun, &l.id, &l.name)));
    let snapshots = inventory.snapshots.iter().filter(|s| ours(&s.name));
    objects.extend(snapshots.map(|s| object(ObjectKind::Snapshot, &s.id, &s.name)));
    objects.extend(roots.iter().map(|l| object(ObjectKind::Lun, &l.id, &l.name)));
    objects
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use sanbench_api::{
        GroupEntry, HostEntry, JobEntry, LunEntry, RefusalKind, SnapshotId, ViewEntry, VolumeId, Wwn,
        async_trait,
    };

    use super::*;

    const TAG: Tag = Tag([0x00, 0xc0, 0xff, 0xee]);

    fn group(id: &str, name: &str, members: &[&str], made_for: Option<&str>) -> GroupEntry {
        GroupEntry {
            id: id.into(),
            name: name.into(),
            members: members.iter().map(|m| (*m).to_owned()).collect(),
            made_for: made_for.map(str::to_owned),
        }
    }

    fn host(id: &str, name: &str) -> HostEntry {
        HostEntry { id: id.into(), name: name.into(), initiators: Vec::new() }
    }

    fn lun(id: &str, name: &str) -> LunEntry {
        LunEntry {
            id: id.into(),
            name: name.into(),
            wwn: Wwn([0; 16]),
            blocks: 1,
            pool: "pool0".into(),
            parent: None,
            mapped: false,
            description: String::new(),
        }
    }

    fn ids(listing: &ArrayInventory, kind: ObjectKind) -> Vec<String> {
        let ours = owned(listing, &[TAG], false).into_iter();
        ours.filter(|object| object.kind == kind).map(|object| object.id).collect()
    }

    #[test]
    fn groups_and_views_of_others_stay_whomever_they_map() {
        let view = |id: &str, host_group: Option<&str>, made_for: Option<&str>| ViewEntry {
            id: id.into(),
            name: format!("view {id}"),
            host_group: host_group.map(str::to_owned),
            lun_group: Some("6".into()),
            made_for: made_for.map(str::to_owned),
        };
        let listing = ArrayInventory {
            hosts: vec![host("1", &TAG.host(1)), host("2", "theirs")],
            host_groups: vec![
                group("3", "made for 1", &["1"], Some("1")),
                group("4", "theirs", &["1"], None),
                group("5", "made for 1, taken over", &["1", "2"], Some("1")),
            ],
            luns: vec![lun("9", "00c0ffee-0"), lun("10", "payroll")],
            lun_groups: vec![
                group("6", "theirs", &["9"], None),
                group("7", "made for 1", &["9"], Some("1")),
                group("8", "made for 1, taken over", &["9", "10"], Some("1")),
            ],
            views: vec![
                view("11", Some("3"), Some("1")),
                view("12", Some("3"), None),
                view("13", None, Some("1")),
                view("14", Some("5"), Some("1")),
            ],
            ..ArrayInventory::default()
        };
        assert_eq!(ids(&listing, ObjectKind::HostGroup), ["3"]);
        assert_eq!(ids(&listing, ObjectKind::LunGroup), ["7"]);
        assert_eq!(ids(&listing, ObjectKind::MappingView), ["11", "13"]);
        assert_eq!(ids(&listing, ObjectKind::Host), ["1"]);
    }

    #[test]
    fn where_nobody_tells_whom_groups_are_for_the_hosts_in_them_do() {
        let view = |id: &str, host_group: &str, lun_group: &str| ViewEntry {
            id: id.into(),
            name: format!("view {id}"),
            host_group: Some(host_group.into()),
            lun_group: Some(lun_group.into()),
            made_for: None,
        };
        let listing = ArrayInventory {
            hosts: vec![host("1", &TAG.host(1)), host("2", "theirs")],
            host_groups: vec![
                group("3", "a", &["1"], None),
                group("4", "b", &["2"], None),
                group("5", "c", &[], None),
            ],
            lun_groups: vec![group("6", "a", &["9"], None), group("7", "b", &["9"], None)],
            views: vec![view("11", "3", "6"), view("12", "4", "7"), view("13", "5", "7")],
            ..ArrayInventory::default()
        };
        assert_eq!(ids(&listing, ObjectKind::HostGroup), ["3"]);
        assert_eq!(ids(&listing, ObjectKind::LunGroup), ["6"]);
        assert_eq!(ids(&listing, ObjectKind::MappingView), ["11"]);
    }

    /// An array that is busy at the first removal of a group; a host that is removed leaves its groups.
    struct Busy(Mutex<(ArrayInventory, bool)>);

    #[async_trait]
    impl Inventory for Busy {
        async fn list(&self) -> Result<ArrayInventory, DriverError> {
            Ok(self.0.lock().unwrap().0.clone())
        }

        fn lun_name(&self, name_id: &VolumeId) -> String {
            name_id.to_string()
        }

        fn snapshot_name(&self, id: &SnapshotId) -> String {
            id.to_string()
        }

        fn host_name(&self, host: &str) -> String {
            host.to_owned()
        }

        async fn remove(&self, object: &ObjectRef) -> Result<(), DriverError> {
            let (all, was_busy) = &mut *self.0.lock().unwrap();
            if object.kind == ObjectKind::HostGroup && !std::mem::replace(was_busy, true) {
                return Err(DriverError::refused(RefusalKind::Busy, "busy"));
            }
            all.host_groups.retain(|g| g.id != object.id);
            all.hosts.retain(|h| h.id != object.id);
            all.host_groups.iter_mut().for_each(|g| g.members.retain(|m| *m != object.id));
            Ok(())
        }
    }

    #[test]
    fn a_group_that_could_not_be_removed_at_first_is_not_forgotten() {
        for made_for in [None, Some("1")] {
            let all = ArrayInventory {
                hosts: vec![host("1", &TAG.host(1))],
                host_groups: vec![group("3", "a", &["1"], made_for)],
                ..ArrayInventory::default()
            };
            let array = Busy(Mutex::new((all, false)));
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let cleaned = runtime.block_on(clean(&array, &[TAG])).unwrap();
            assert_eq!(cleaned.left, Vec::<String>::new());
            assert_eq!(array.0.into_inner().unwrap().0, ArrayInventory::default(), "{made_for:?}");
        }
    }

    #[test]
    fn a_job_without_a_name_belongs_to_whoever_has_what_it_writes() {
        let job = |id: &str, name: &str, lun: Option<&str>| JobEntry {
            id: id.into(),
            name: name.into(),
            lun: lun.map(str::to_owned),
        };
        let listing = ArrayInventory {
            luns: vec![lun("1", "00c0ffee-0"), lun("2", "payroll")],
            jobs: vec![
                job("3", "clone pair 3", Some("1")),
                job("4", "clone pair 4", Some("2")),
                job("5", "clone pair 5", None),
                job("6", "00c0ffee-1", None),
            ],
            ..ArrayInventory::default()
        };
        assert_eq!(ids(&listing, ObjectKind::Job), ["3", "6"]);
    }
}
