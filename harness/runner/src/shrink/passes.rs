//! What is made simpler, in order: whole objects first, then steps, faults, concurrency, and numbers last.

use std::collections::BTreeSet;

use super::draft::{Draft, Item};
use super::pins::kin;
use super::search::Search;
use super::{mention, number};
use crate::plan::{Schedule, Source, Step};
use crate::story::Name;

/// Rounds over all passes; most plans stand still after the second.
const ROUNDS: usize = 6;

/// Runs every pass until none finds anything simpler.
pub(super) fn all(search: &mut Search<'_>) {
    for _ in 0..ROUNDS {
        let before = search.best().key();
        search.pass("what the failure depends on");
        cone(search);
        search.pass("expectations beside the failure");
        expectations(search);
        search.pass("whole objects");
        objects(search);
        search.pass("steps");
        steps(search);
        search.pass("faults");
        faults(search);
        search.pass("concurrency");
        concurrency(search);
        search.pass("objects that can stand in for others");
        stand_ins(search);
        search.pass("the site");
        site(search);
        search.pass("numbers");
        number::all(search);
        if search.stopped() || search.best().key() == before {
            return;
        }
    }
}

/// Keeps only what the volumes of the failing step descend from; if that is too little, all of their kin.
fn cone(search: &mut Search<'_>) {
    let best = search.best();
    let Some(shown) = best.items.get(search.hit()) else { return };
    let volumes: Vec<Name> = volumes_of(best, &shown.step);
    if volumes.is_empty() {
        return;
    }
    let roots: BTreeSet<Name> = volumes.iter().flat_map(|v| ancestors(best, v)).collect();
    let family: BTreeSet<Name> = volumes.iter().flat_map(|v| kin(best, v)).collect();
    let candidates = [only(best, &roots), only(best, &family)];
    search.first(candidates);
}

/// Volumes that a step is about, those of its snapshots included.
fn volumes_of(draft: &Draft, step: &Step) -> Vec<Name> {
    let m = mention::of(step);
    let mut all: Vec<Name> = m.volumes.into_iter().cloned().collect();
    for snapshot in m.snapshots {
        all.extend(draft.items.iter().filter_map(|item| match &item.step {
            Step::Snapshot { snapshot: made, volume, .. } if made == snapshot => Some(volume.clone()),
            _ => None,
        }));
    }
    all
}

/// The volume and what it was made from, at any distance.
fn ancestors(draft: &Draft, volume: &Name) -> BTreeSet<Name> {
    let mut all = BTreeSet::from([volume.clone()]);
    loop {
        let before = all.len();
        for item in &draft.items {
            if let Step::Create { volume, .. } = &item.step
                && all.contains(volume)
            {
                all.extend(volumes_of(draft, &item.step));
            }
        }
        if all.len() == before {
            return all;
        }
    }
}

/// The plan without steps about other volumes.
fn only(draft: &Draft, volumes: &BTreeSet<Name>) -> Draft {
    draft.without(|_, item| {
        let about = volumes_of(draft, &item.step);
        !about.is_empty() && !about.iter().any(|v| volumes.contains(v))
    })
}

/// Depths, places and censuses that the plan expects on its way say nothing about the failure, and hold only as long as
/// nothing is taken away.
fn expectations(search: &mut Search<'_>) {
    let best = search.best();
    let hit = search.hit();
    let mut bare = best.without(|index, item| {
        index != hit
            && matches!(
                item.step,
                Step::Depth { .. } | Step::Census | Step::Verify { .. } | Step::Scan { .. }
            )
    });
    for item in &mut bare.items {
        if let Step::Create { pool, .. } = &mut item.step {
            *pool = None;
        }
    }
    let depths = best.without(|index, item| index != hit && matches!(item.step, Step::Depth { .. }));
    search.first([bare, depths]);
}

/// Drops kin, volumes, snapshots and hosts with all that happens to them: halves first, then one by one.
fn objects(search: &mut Search<'_>) {
    type Test = Box<dyn Fn(&Draft, &Item) -> bool>;
    let best = search.best();
    let mut groups: Vec<Test> = Vec::new();
    let mut volumes: BTreeSet<Name> = BTreeSet::new();
    let mut snapshots: BTreeSet<Name> = BTreeSet::new();
    for item in &best.items {
        let m = mention::of(&item.step);
        volumes.extend(m.volumes.into_iter().cloned());
        snapshots.extend(m.snapshots.into_iter().cloned());
    }
    let mut families: Vec<BTreeSet<Name>> = Vec::new();
    for volume in &volumes {
        if !families.iter().any(|f| f.contains(volume)) {
            families.push(kin(best, volume));
        }
    }
    if families.len() > 1 {
        for family in families {
            groups.push(Box::new(move |draft, item| {
                volumes_of(draft, &item.step).iter().any(|v| family.contains(v))
            }));
        }
    }
    for volume in volumes {
        groups.push(Box::new(move |_, item| mention::of(&item.step).volumes.contains(&&volume)));
    }
    for snapshot in snapshots {
        groups.push(Box::new(move |_, item| mention::of(&item.step).snapshots.contains(&&snapshot)));
    }
    for (host, _) in best.site.hosts.clone() {
        groups.push(Box::new(move |_, item| mention::of(&item.step).host == Some(&host)));
    }
    // Later objects depend on earlier ones, so they go first.
    groups.reverse();
    let mut size = groups.len().div_ceil(2).max(1);
    loop {
        let mut from = 0;
        while from < groups.len() && !search.stopped() {
            let best = search.best().clone();
            let rest = &groups[from..];
            let candidates =
                rest.chunks(size).map(|chunk| best.without(|_, item| chunk.iter().any(|g| g(&best, item))));
            match search.first(candidates) {
                Some(place) => from += (place + 1) * size,
                None => break,
            }
        }
        if size == 1 || search.stopped() {
            return;
        }
        size = size.div_ceil(2);
    }
}

/// Drops steps: delta debugging with chunks from a half down to one, the last steps first.
fn steps(search: &mut Search<'_>) {
    let mut size = search.best().items.len().div_ceil(2).max(1);
    loop {
        let mut end = search.best().items.len();
        while end > 0 && !search.stopped() {
            let best = search.best().clone();
            let ends = (0..end.div_ceil(size)).map(move |n| end - n * size);
            let candidates = ends.clone().map(|end| {
                let start = end.saturating_sub(size);
                best.without(|index, _| (start..end).contains(&index))
            });
            match search.first(candidates) {
                // Repair may have dropped more; what lies before the chunk is as it was, or shorter.
                Some(place) => {
                    end = ends
                        .clone()
                        .nth(place)
                        .unwrap_or(0)
                        .saturating_sub(size)
                        .min(search.best().items.len());
                }
                None => break,
            }
        }
        if search.stopped() || size == 1 {
            return;
        }
        size = size.div_ceil(2);
    }
}

/// Drops the faults that the site begins with, all, then one by one.
fn faults(search: &mut Search<'_>) {
    let mut none = search.best().clone();
    none.site.faults.clear();
    search.first([none]);
    let mut at = 0;
    while at < search.best().site.faults.len() && !search.stopped() {
        let best = search.best().clone();
        let candidates = (at..best.site.faults.len()).map(|index| {
            let mut fewer = best.clone();
            fewer.site.faults.remove(index);
            fewer
        });
        match search.first(candidates) {
            Some(place) => at += place,
            None => return,
        }
    }
}

/// Drops lanes one by one, then lets what is left run in order; then tasks run first come, first served.
fn concurrency(search: &mut Search<'_>) {
    let lanes: BTreeSet<Name> = search.best().items.iter().filter_map(|item| item.lane.clone()).collect();
    for lane in &lanes {
        let best = search.best().clone();
        let mut in_order = best.clone();
        in_order.items.iter_mut().filter(|i| i.lane.as_ref() == Some(lane)).for_each(|i| i.lane = None);
        search.first([best.without(|_, item| item.lane.as_ref() == Some(lane)), in_order]);
    }
    let mut in_order = search.best().clone();
    in_order.items.iter_mut().for_each(|item| item.lane = None);
    search.first([in_order]);
    for schedule in [Schedule::Fifo, Schedule::Priorities] {
        let mut plain = search.best().clone();
        if plain.site.schedule != Schedule::Fifo && plain.site.schedule != schedule {
            plain.site.schedule = schedule;
            search.first([plain]);
        }
    }
}

/// Lets one object do for another: a clone made from nothing or from its source's source, one host for two, one volume for
/// two.
fn stand_ins(search: &mut Search<'_>) {
    while !search.stopped() {
        let best = search.best().clone();
        let mut candidates = Vec::new();
        for (index, item) in best.items.iter().enumerate() {
            let Step::Create { source, .. } = &item.step else { continue };
            for simpler in simpler_sources(&best, source) {
                let mut other = best.clone();
                if let Step::Create { source, .. } = &mut other.items[index].step {
                    *source = simpler;
                }
                candidates.push(other);
            }
        }
        let hosts: Vec<&Name> = best.site.hosts.iter().map(|(name, _)| name).collect();
        for (from, to) in pairs(&hosts) {
            candidates.push(renamed(&best, from, to));
        }
        if search.first(candidates).is_none() {
            return;
        }
    }
}

/// Sources that ask for less, the simplest first.
fn simpler_sources(draft: &Draft, source: &Source) -> Vec<Source> {
    let made_of = |volume: &Name| {
        draft.items.iter().find_map(|item| match &item.step {
            Step::Create { volume: made, source, refused: None, .. } if made == volume => {
                Some(source.clone())
            }
            _ => None,
        })
    };
    let snapped = |snapshot: &Name| {
        draft.items.iter().find_map(|item| match &item.step {
            Step::Snapshot { snapshot: made, volume, .. } if made == snapshot => Some(volume.clone()),
            _ => None,
        })
    };
    match source {
        Source::Blank => Vec::new(),
        Source::Image(_) => vec![Source::Blank],
        Source::Volume(volume) => [Some(Source::Blank), made_of(volume).filter(|s| *s != Source::Blank)]
            .into_iter()
            .flatten()
            .collect(),
        Source::Snapshot(snapshot) => {
            let volume = snapped(snapshot);
            [Some(Source::Blank), volume.map(Source::Volume)].into_iter().flatten().collect()
        }
    }
}

/// Each later one with each earlier one.
fn pairs<'n>(names: &[&'n Name]) -> Vec<(&'n Name, &'n Name)> {
    let later = names.iter().enumerate().rev();
    later.flat_map(|(n, from)| names.iter().take(n).map(|to| (*from, *to))).collect()
}

/// Every step of one host on another.
fn renamed(draft: &Draft, from: &Name, to: &Name) -> Draft {
    let mut other = draft.clone();
    for item in &mut other.items {
        match &mut item.step {
            Step::Attach { host, .. }
            | Step::Detach { host, .. }
            | Step::Intrude { host, .. }
            | Step::Cut { host, .. }
            | Step::Slow { host, .. }
            | Step::Reset { host, .. }
            | Step::HalfOpen { host, .. }
            | Step::Reboot { host, .. }
            | Step::RestartInitiator { host }
            | Step::Heal { host, .. }
            | Step::Revoke { host, .. }
            | Step::Reserve { host, .. }
            | Step::Reserved { host, .. }
            | Step::Unreserve { host, .. }
            | Step::Repeat { host: Some(host), .. }
                if host == from =>
            {
                *host = to.clone();
            }
            _ => {}
        }
    }
    other
}

/// Takes away what the site has beyond the least: options, pools, types, limits, a volatile cache, second paths.
fn site(search: &mut Search<'_>) {
    while !search.stopped() {
        let best = search.best();
        let mut candidates = Vec::new();
        let mut simpler = |change: &dyn Fn(&mut Draft)| {
            let mut other = best.clone();
            change(&mut other);
            candidates.push(other);
        };
        if !best.site.options.is_empty() {
            simpler(&|d| d.site.options.clear());
        }
        if !best.site.pools.is_empty() {
            simpler(&|d| {
                d.site.pools.clear();
                d.site.disks.clear();
            });
        }
        if !best.site.disks.is_empty() {
            simpler(&|d| d.site.disks.clear());
        }
        if best.site.clones.is_some() {
            simpler(&|d| d.site.clones = None);
        }
        if best.site.chain.is_some() {
            simpler(&|d| d.site.chain = None);
        }
        if best.site.devices.is_some() {
            simpler(&|d| d.site.devices = None);
        }
        if best.site.target_name.is_some() {
            simpler(&|d| d.site.target_name = None);
        }
        if best.site.product.is_some() {
            simpler(&|d| d.site.product = None);
        }
        for host in best.site.tunes.keys() {
            simpler(&|d| {
                d.site.tunes.remove(host);
            });
        }
        if best.site.write_cache {
            simpler(&|d| d.site.write_cache = false);
        }
        if best.site.journal {
            simpler(&|d| d.site.journal = false);
        }
        for key in best.site.options.keys() {
            simpler(&|d| {
                d.site.options.remove(key);
            });
        }
        for (n, (_, paths)) in best.site.hosts.iter().enumerate() {
            if *paths > 1 {
                simpler(&|d| d.site.hosts[n].1 = 1);
            }
        }
        for (index, item) in best.items.iter().enumerate() {
            match &item.step {
                Step::Create { volume_type: Some(_), .. } => simpler(&|d| {
                    if let Step::Create { volume_type, .. } = &mut d.items[index].step {
                        *volume_type = None;
                    }
                }),
                Step::Restart { options } => {
                    for key in options.keys() {
                        simpler(&|d| {
                            if let Step::Restart { options } = &mut d.items[index].step {
                                options.remove(key);
                            }
                        });
                    }
                }
                _ => {}
            }
        }
        if search.first(candidates).is_none() {
            return;
        }
    }
}
