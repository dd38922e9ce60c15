//! Operations that are legal by what is believed, some that must be refused, and groups of lanes.

use sanbench_world::Dice;

use super::belief::{Belief, Volume};
use super::options::{Options, name};
use super::{rare, step_dice};
use crate::plan::{PlanStep, Refused, Source, Step};
use crate::story::{Name, Size};

/// Kinds of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Create,
    CreateFromImage,
    CreateFromSnapshot,
    Clone,
    Attach,
    Detach,
    Write,
    Unmap,
    Flush,
    Verify,
    Extend,
    Snapshot,
    DeleteSnapshot,
    Flatten,
    Delete,
    Reimage,
    Intrude,
    Census,
    Restart,
}

impl Kind {
    pub(super) const ALL: &[Self] = &[
        Self::Create,
        Self::CreateFromImage,
        Self::CreateFromSnapshot,
        Self::Clone,
        Self::Attach,
        Self::Detach,
        Self::Write,
        Self::Unmap,
        Self::Flush,
        Self::Verify,
        Self::Extend,
        Self::Snapshot,
        Self::DeleteSnapshot,
        Self::Flatten,
        Self::Delete,
        Self::Reimage,
        Self::Intrude,
        Self::Census,
        Self::Restart,
    ];

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::CreateFromImage => "from-image",
            Self::CreateFromSnapshot => "from-snapshot",
            Self::Clone => "clone",
            Self::Attach => "attach",
            Self::Detach => "detach",
            Self::Write => "write",
            Self::Unmap => "unmap",
            Self::Flush => "flush",
            Self::Verify => "verify",
            Self::Extend => "extend",
            Self::Snapshot => "snapshot",
            Self::DeleteSnapshot => "delete-snapshot",
            Self::Flatten => "flatten",
            Self::Delete => "delete",
            Self::Reimage => "reimage",
            Self::Intrude => "intrude",
            Self::Census => "census",
            Self::Restart => "restart",
        }
    }

    /// It may run beside others: what it does is one operation of one volume.
    fn in_lanes(self) -> bool {
        !matches!(self, Self::Reimage | Self::Intrude | Self::Census | Self::Restart)
    }
}

/// The next step, or a group of several.
pub(super) fn next(seed: u64, number: u64, options: &Options, belief: &mut Belief) -> Vec<PlanStep> {
    if let Some(steps) = rare::next(seed, number, options, belief) {
        return steps;
    }
    let mut d = step_dice(seed, "workload", number);
    if number == 0 {
        return vec![create(&mut d, options, belief, Source::Blank, 1).into()];
    }
    if options.lanes && number > 2 && d.chance(1, 4) {
        return group(&mut d, options, belief);
    }
    if options.illegal
        && d.chance(1, 6)
        && let Some(step) = illegal(&mut d, options, belief)
    {
        return vec![step.into()];
    }
    vec![legal(&mut d, options, belief, false, None).into()]
}

/// Lanes beside each other, on the same volume in half of the groups.
fn group(d: &mut Dice, options: &Options, belief: &mut Belief) -> Vec<PlanStep> {
    let lanes = 2 + d.below(2);
    let all = belief.volumes(|_, _| true);
    let focus = (!all.is_empty() && d.chance(1, 2)).then(|| all[d.below(all.len() as u64) as usize].clone());
    // Each lane sees what was there before, and what it does itself.
    let before = belief.clone();
    let mut steps = Vec::new();
    for n in 0..lanes {
        let mut own = before.clone();
        own.made = belief.made;
        for _ in 0..=d.below(3) {
            let step = legal(d, options, &mut own, true, focus.as_ref());
            steps.push(PlanStep { lane: Some(name(["a", "b", "c"][n as usize])), step });
        }
        belief.made = own.made;
        merge(belief, &before, own);
    }
    // What one lane took a snapshot of, another may have extended before.
    for (name, (of, gib)) in &mut belief.snapshots {
        if let Some(volume) = belief.volumes.get(of).filter(|_| !before.snapshots.contains_key(name)) {
            *gib = volume.gib;
        }
    }
    steps
}

/// What a lane has changed is so afterwards, unless another one has changed it as well.
fn merge(belief: &mut Belief, before: &Belief, own: Belief) {
    for (name, volume) in &own.volumes {
        if !before.volumes.contains_key(name) {
            belief.volumes.insert(name.clone(), volume.clone());
        }
        if let (Some(known), Some(old)) = (belief.volumes.get_mut(name), before.volumes.get(name)) {
            known.gib = known.gib.max(volume.gib);
            if old.host != volume.host {
                known.host.clone_from(&volume.host);
            }
            for at in &volume.written {
                if !known.written.contains(at) {
                    known.written.push(*at);
                }
            }
        }
    }
    for name in before.volumes.keys().filter(|name| !own.volumes.contains_key(*name)) {
        belief.volumes.remove(name);
    }
    for (name, snapshot) in &own.snapshots {
        if !before.snapshots.contains_key(name) {
            belief.snapshots.insert(name.clone(), snapshot.clone());
        }
    }
    for name in before.snapshots.keys().filter(|name| !own.snapshots.contains_key(*name)) {
        belief.snapshots.remove(name);
    }
    // A snapshot whose volume another lane has deleted was not taken, or the volume was not deleted: nothing builds on it.
    let volumes = &belief.volumes;
    belief.snapshots.retain(|_, (of, _)| volumes.contains_key(of));
}

pub(super) fn pick<'a, T>(d: &mut Dice, of: &'a [T]) -> Option<&'a T> {
    (!of.is_empty()).then(|| &of[d.below(of.len() as u64) as usize])
}

/// A step that should work, by weight among those that are possible now.
fn legal(d: &mut Dice, options: &Options, belief: &mut Belief, in_lane: bool, focus: Option<&Name>) -> Step {
    for _ in 0..12 {
        let kinds: Vec<(Kind, u64)> = options
            .weights
            .iter()
            .filter(|(kind, _)| !in_lane || kind.in_lanes())
            .map(|(kind, weight)| (*kind, *weight))
            .collect();
        let mut at = d.below(kinds.iter().map(|(_, weight)| weight).sum());
        let kind = kinds.iter().find(|(_, weight)| {
            let here = at < *weight;
            at = at.saturating_sub(*weight);
            here
        });
        let Some((kind, _)) = kind else { continue };
        if let Some(step) = attempt(d, *kind, options, belief, in_lane, focus) {
            return step;
        }
    }
    Step::Wait { seconds: 1 }
}

fn attempt(
    d: &mut Dice,
    kind: Kind,
    options: &Options,
    belief: &mut Belief,
    in_lane: bool,
    focus: Option<&Name>,
) -> Option<Step> {
    let near = |name: &Name| focus.is_none_or(|focus| focus == name);
    let any = belief.volumes(|name, _| near(name));
    let attached = belief.volumes(|name, v| near(name) && v.host.is_some());
    let free = belief.volumes(|name, v| near(name) && v.host.is_none());
    let room = belief.volumes.len() < options.volumes_max;
    Some(match kind {
        Kind::Create if room => create(d, options, belief, Source::Blank, 1),
        Kind::CreateFromImage if room && (!in_lane || options.lanes_may_use_images()) => {
            let image = pick(d, &belief.images.clone())?.clone();
            create(d, options, belief, Source::Image(image), 1)
        }
        Kind::CreateFromSnapshot if room => {
            let snapshots: Vec<(Name, u64)> = belief
                .snapshots
                .iter()
                .filter(|(_, (of, _))| near(of))
                .map(|(name, (_, gib))| (name.clone(), *gib))
                .collect();
            let (snapshot, gib) = pick(d, &snapshots)?.clone();
            create(d, options, belief, Source::Snapshot(snapshot), gib)
        }
        Kind::Clone if room => {
            // Long chains are what a depth limit is for.
            let clones = belief.volumes(|name, v| near(name) && v.clone);
            let from = if d.chance(1, 2) { clones.last() } else { None };
            let from = from.or_else(|| pick(d, &any))?.clone();
            let gib = belief.volumes.get(&from)?.gib;
            create(d, options, belief, Source::Volume(from), gib)
        }
        Kind::Attach => {
            let (volume, host) = (pick(d, &free)?.clone(), pick(d, &belief.hosts.clone())?.clone());
            belief.volumes.get_mut(&volume)?.host = Some(host.clone());
            Step::Attach { volume, host, refused: None }
        }
        Kind::Detach => {
            let volume = pick(d, &attached)?.clone();
            let host = belief.volumes.get_mut(&volume)?.host.take()?;
            Step::Detach { volume, host, force: false, refused: None }
        }
        Kind::Write | Kind::Unmap => {
            let volume = pick(d, &attached)?.clone();
            let (at, length) = extent(d, belief.volumes.get_mut(&volume)?, kind == Kind::Write);
            match kind {
                Kind::Write => Step::Write { volume, at, length },
                _ => Step::Unmap { volume, at, length },
            }
        }
        Kind::Flush => Step::Flush { volume: pick(d, &attached)?.clone() },
        Kind::Verify => Step::Verify { volume: pick(d, &any)?.clone() },
        Kind::Extend => {
            let small = belief.volumes(|name, v| near(name) && v.gib <= options.gib_max);
            let volume = pick(d, &small)?.clone();
            let v = belief.volumes.get_mut(&volume)?;
            v.gib += 1 + d.below(2);
            Step::Extend { volume, size: Size(v.gib << 30), refused: None }
        }
        Kind::Snapshot if belief.snapshots.len() < 4 => {
            let volume = pick(d, &any)?.clone();
            belief.made += 1;
            let snapshot = name(&format!("s{}", belief.made));
            let gib = belief.volumes.get(&volume)?.gib;
            belief.snapshots.insert(snapshot.clone(), (volume.clone(), gib));
            Step::Snapshot { snapshot, volume, refused: None }
        }
        Kind::DeleteSnapshot => {
            let of: Vec<Name> =
                belief.snapshots.iter().filter(|(_, (of, _))| near(of)).map(|(n, _)| n.clone()).collect();
            let snapshot = pick(d, &of)?.clone();
            belief.snapshots.remove(&snapshot);
            Step::DeleteSnapshot { snapshot, refused: None }
        }
        Kind::Flatten => {
            let clones = belief.volumes(|name, v| near(name) && v.clone);
            Step::Flatten { volume: pick(d, &clones)?.clone(), refused: None }
        }
        Kind::Delete => {
            let idle: Vec<Name> = free.into_iter().filter(|name| !belief.has_snapshots(name)).collect();
            let volume = pick(d, &idle)?.clone();
            belief.volumes.remove(&volume);
            Step::Delete { volume, refused: None }
        }
        Kind::Reimage => {
            let volume = pick(d, &free)?.clone();
            Step::Reimage { volume, image: pick(d, &belief.images.clone())?.clone() }
        }
        Kind::Intrude if belief.hosts.len() > 1 => {
            let volume = pick(d, &attached)?.clone();
            let own = belief.volumes.get(&volume)?.host.clone();
            let others: Vec<Name> =
                belief.hosts.iter().filter(|h| Some(*h) != own.as_ref()).cloned().collect();
            Step::Intrude { volume, host: pick(d, &others)?.clone() }
        }
        Kind::Census => Step::Census,
        Kind::Restart => Step::Restart { options: Default::default() },
        _ => return None,
    })
}

fn create(d: &mut Dice, options: &Options, belief: &mut Belief, source: Source, least_gib: u64) -> Step {
    belief.made += 1;
    let volume = name(&format!("v{}", belief.made));
    let more = options.gib_max.saturating_sub(least_gib);
    let gib = if d.chance(1, 2) { least_gib } else { least_gib + d.below(more + 1) };
    let clone = matches!(source, Source::Volume(_) | Source::Snapshot(_));
    // Where the source was written it is worth writing again: that is what copies share.
    let written = match &source {
        Source::Volume(from) => belief.volumes.get(from).map(|v| v.written.clone()),
        Source::Snapshot(from) => {
            belief.snapshots.get(from).and_then(|(of, _)| belief.volumes.get(of)).map(|v| v.written.clone())
        }
        Source::Blank | Source::Image(_) => None,
    };
    let made = Volume { gib, host: None, clone, written: written.unwrap_or_default() };
    belief.volumes.insert(volume.clone(), made);
    Step::Create { volume, size: Size(gib << 30), volume_type: None, source, pool: None, refused: None }
}

/// Where and how much: near what was written, at the ends, at odd offsets; small.
pub(super) fn extent(d: &mut Dice, volume: &mut Volume, write: bool) -> (Size, Size) {
    let blocks = volume.gib << 21;
    let length = match d.below(6) {
        0 => 1,
        1 => 8,
        2 => 1 + d.below(32),
        3 => 128,
        4 => 16,
        _ => 1 + d.below(256),
    };
    let at = match d.below(6) {
        0 => 0,
        1 => blocks - length,
        // Around the boundary of a GiB, where an extend begins.
        2 => (d.below(volume.gib) << 21).saturating_sub(length / 2),
        3 => d.below(2048),
        _ => match volume.written.len() as u64 {
            0 => d.below(512),
            n => volume.written[d.below(n) as usize].saturating_add(d.below(32)).saturating_sub(d.below(32)),
        },
    };
    let at = at.min(blocks - length);
    if write && volume.written.len() < 8 && !volume.written.contains(&at) {
        volume.written.push(at);
    }
    (Size(at * 512), Size(length * 512))
}

/// A step that must be refused.
fn illegal(d: &mut Dice, options: &Options, belief: &mut Belief) -> Option<Step> {
    let any = belief.volumes(|_, _| true);
    let attached = belief.volumes(|_, v| v.host.is_some());
    Some(match d.below(6) {
        0 if belief.hosts.len() > 1 => {
            let volume = pick(d, &attached)?.clone();
            let own = belief.volumes.get(&volume)?.host.clone();
            let others: Vec<Name> =
                belief.hosts.iter().filter(|h| Some(*h) != own.as_ref()).cloned().collect();
            Step::Attach { volume, host: pick(d, &others)?.clone(), refused: Some(Refused::State) }
        }
        1 => Step::Delete { volume: pick(d, &attached)?.clone(), refused: Some(Refused::State) },
        2 => {
            let held = belief.volumes(|name, v| v.host.is_none() && belief.has_snapshots(name));
            Step::Delete { volume: pick(d, &held)?.clone(), refused: Some(Refused::Busy) }
        }
        3 => {
            let volume = pick(d, &any)?.clone();
            let gib = belief.volumes.get(&volume)?.gib;
            Step::Extend { volume, size: Size(gib << 30), refused: Some(Refused::Invalid) }
        }
        4 if belief.volumes.len() < options.volumes_max => {
            let large = belief.volumes(|_, v| v.gib > 1);
            let from = pick(d, &large)?.clone();
            belief.made += 1;
            Step::Create {
                volume: name(&format!("v{}", belief.made)),
                size: Size(1 << 30),
                volume_type: None,
                source: Source::Volume(from),
                pool: None,
                refused: Some(Refused::Invalid),
            }
        }
        _ => return None,
    })
}
