//! What few runs have: features beside the common operations, each played as a short sequence of steps.
//!
//! They are drawn from dice of their own, so that a run without any is what it would be if they did not exist.

use std::collections::BTreeMap;

use sanbench_world::{Dice, dice};

use super::belief::{Belief, Volume};
use super::options::{Options, name};
use super::workload::{extent, pick};
use super::{Profile, step_dice};
use super::{beside, lineage, pairs};
use crate::plan::{
    FaultAction, Forged, ImageKind, PlacedFault, PlanStep, Refused, Repeated, SitePlan, Source, Spoiled,
    Starved, Step, Tune,
};
use crate::story::{Name, Size};

/// A feature that few runs have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rarity {
    /// A guest holds a persistent reservation.
    Reservations,
    /// Mappings are taken away behind the back of their hosts.
    Revocations,
    /// Calls whose work is done are made once more.
    Repetitions,
    /// Somebody else takes the name of a volume to be.
    Squatters,
    /// Guests write what means something to others.
    Forgeries,
    /// A volume that two hosts share.
    Sharing,
    /// An image that must not be taken.
    Hostile,
    /// The array limits the clones of one source.
    CloneLimit,
    /// The array limits the commands of a volume.
    Limits,
    /// Portals are switched off and on.
    Portals,
    /// Volumes have a far half on a second array.
    Pairs,
    /// Families of clones and snapshots that are written again where they inherit.
    Lineages,
    /// Chains of clones about as deep as the limit, with links in the middle deleted.
    Chains,
    /// Flattens that take long, beside other work, and that cannot be looked at for a while.
    LongFlattens,
    /// One host's volumes come and go at once.
    Crowds,
    /// A write waits in the array on a path that is lost meanwhile.
    Stragglers,
    /// Pools without any space left.
    FullPools,
    /// The array's disk spoils pages.
    Spoils,
    /// Device events come late.
    LateEvents,
    /// Hosts have several sessions to each portal.
    Interfaces,
    /// Hosts have long names that begin alike.
    LongNames,
    /// What a crash has stopped fails when it is taken up again.
    Relapses,
}

impl Rarity {
    pub(super) const ALL: &[Self] = &[
        Self::Reservations,
        Self::Revocations,
        Self::Repetitions,
        Self::Squatters,
        Self::Forgeries,
        Self::Sharing,
        Self::Hostile,
        Self::CloneLimit,
        Self::Limits,
        Self::Portals,
        Self::Pairs,
        Self::Lineages,
        Self::Chains,
        Self::LongFlattens,
        Self::Crowds,
        Self::Stragglers,
        Self::FullPools,
        Self::Spoils,
        Self::LateEvents,
        Self::Interfaces,
        Self::LongNames,
        Self::Relapses,
    ];

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Reservations => "reservations",
            Self::Revocations => "revocations",
            Self::Repetitions => "repetitions",
            Self::Squatters => "squatters",
            Self::Forgeries => "forgeries",
            Self::Sharing => "sharing",
            Self::Hostile => "hostile-images",
            Self::CloneLimit => "clone-limit",
            Self::Limits => "limits",
            Self::Portals => "portals",
            Self::Pairs => "pairs",
            Self::Lineages => "lineages",
            Self::Chains => "chains",
            Self::LongFlattens => "long-flattens",
            Self::Crowds => "crowds",
            Self::Stragglers => "stragglers",
            Self::FullPools => "full-pools",
            Self::Spoils => "spoils",
            Self::LateEvents => "late-events",
            Self::Interfaces => "interfaces",
            Self::LongNames => "long-names",
            Self::Relapses => "relapses",
        }
    }

    /// Something is broken or in the way of somebody.
    const fn disturbs(self) -> bool {
        matches!(
            self,
            Self::Revocations
                | Self::Portals
                | Self::LongFlattens
                | Self::Stragglers
                | Self::FullPools
                | Self::Spoils
                | Self::LateEvents
                | Self::Relapses
        )
    }

    /// It is a matter of the site alone.
    const fn is_of_site(self) -> bool {
        matches!(self, Self::LateEvents | Self::Interfaces | Self::LongNames)
    }
}

/// The rarities of a run: none in half of the runs, else up to three. A profile may leave any out.
pub(super) fn draw(seed: u64, profile: &Profile) -> Vec<Rarity> {
    let mut d = dice(seed, "swarm", "rarities");
    let mut drawn = Vec::new();
    if d.chance(1, 2) {
        return drawn;
    }
    for _ in 0..=d.below(3) {
        let rarity = Rarity::ALL[d.below(Rarity::ALL.len() as u64) as usize];
        if !drawn.contains(&rarity) {
            drawn.push(rarity);
        }
    }
    let wanted = |rarity: &Rarity| profile.operations.get(rarity.word()) != Some(&0);
    drawn.retain(|rarity| wanted(rarity) && !(profile.is_quiet() && rarity.disturbs()));
    // Where the array has a limit of its own, chains are as it wants them.
    if drawn.contains(&Rarity::CloneLimit) {
        drawn.retain(|rarity| *rarity != Rarity::Chains);
    }
    // What fills up here is not what the far half needs, and arrays in a pair have no journal.
    if drawn.contains(&Rarity::Pairs) {
        drawn.retain(|rarity| !matches!(rarity, Rarity::FullPools | Rarity::Spoils));
    }
    // Those that bring hosts come before those that change each of them.
    drawn.sort_by_key(|rarity| !matches!(rarity, Rarity::Sharing | Rarity::LongNames));
    drawn
}

/// Name of the volume type that several hosts may attach.
const SHARED: &str = "shared";
/// The option that limits the depth of chains.
const DEPTH: &str = "tengling_max_clone_depth";
/// Name of the image that must not be taken.
const BAD: &str = "bad";

/// What the rarities want of the site.
pub(super) fn furnish(seed: u64, rarities: &[Rarity], site: &mut SitePlan) {
    let mut d = dice(seed, "swarm", "rare site");
    for rarity in rarities {
        match rarity {
            Rarity::Sharing => {
                let specs = BTreeMap::from([("multiattach".to_owned(), "<is> True".to_owned())]);
                site.types.push((name(SHARED), specs));
                while site.hosts.len() < 2 {
                    site.hosts.push((name(&format!("h{}", site.hosts.len() + 1)), 1 + d.below(2)));
                }
            }
            Rarity::Hostile => {
                use ImageKind::*;
                let all = [
                    BackingFile,
                    DataFile,
                    Truncated,
                    AbsurdSize,
                    Mislabelled,
                    TwoFormats,
                    ForeignExtent,
                    HugeTable,
                    ShortTable,
                ];
                let kind = all[d.below(all.len() as u64) as usize];
                site.images.push((name(BAD), kind, Size(1 << 20)));
            }
            Rarity::CloneLimit => {
                site.clones = Some(1 + d.below(3));
                // The image cache makes clones of its own, and with a limit of the chain some are full copies.
                site.options.retain(|key, _| !key.starts_with("image_volume_cache") && key != DEPTH);
            }
            Rarity::Chains => {
                site.options.retain(|key, _| !key.starts_with("image_volume_cache"));
                site.options.insert(DEPTH.to_owned(), (1 + d.below(3)).to_string());
            }
            Rarity::FullPools if site.pools.is_empty() => {
                site.pools.push((name("pool0"), Size(16 << 30)));
            }
            Rarity::Spoils => site.journal = true,
            // With a second path a device can be found on one while the other keeps what was there before.
            Rarity::Revocations => {
                if d.chance(1, 2) {
                    site.hosts.iter_mut().for_each(|(_, paths)| *paths = 2);
                }
            }
            Rarity::Portals | Rarity::Stragglers => site.hosts.iter_mut().for_each(|(_, paths)| *paths = 2),
            Rarity::Pairs => {
                site.remote = true;
                site.journal = false;
                site.pools.clear();
            }
            Rarity::LateEvents => tune(site, |tune| tune.events = 1 + d.below(3)),
            Rarity::Interfaces => tune(site, |tune| tune.interfaces = 2),
            Rarity::LongNames => {
                if site.hosts.len() < 2 {
                    site.hosts.push((name("h2"), 1));
                }
                tune(site, |tune| tune.name_length = 60);
            }
            Rarity::Reservations
            | Rarity::Repetitions
            | Rarity::Squatters
            | Rarity::Forgeries
            | Rarity::Limits
            | Rarity::Lineages
            | Rarity::LongFlattens
            | Rarity::Crowds
            | Rarity::Relapses
            | Rarity::FullPools => {}
        }
    }
}

fn tune(site: &mut SitePlan, mut change: impl FnMut(&mut Tune)) {
    for (host, _) in &site.hosts {
        change(site.tunes.entry(host.clone()).or_default());
    }
}

/// A sequence of one of the run's rarities, now and then.
pub(super) fn next(seed: u64, number: u64, options: &Options, belief: &mut Belief) -> Option<Vec<PlanStep>> {
    let of: Vec<Rarity> = options.rarities.iter().copied().filter(|rarity| !rarity.is_of_site()).collect();
    if of.is_empty() || number < 2 {
        return None;
    }
    let mut d = step_dice(seed, "rarities", number);
    if !d.chance(2, 5) {
        return None;
    }
    let rarity = *pick(&mut d, &of)?;
    match rarity {
        Rarity::LongFlattens => beside::long_flatten(&mut d, belief),
        Rarity::Crowds => beside::crowd(&mut d, belief),
        Rarity::Stragglers => beside::straggler(&mut d, belief),
        Rarity::Relapses => beside::relapse(&mut d, belief),
        _ => {
            let steps = sequence(&mut d, rarity, options, belief)?;
            Some(steps.into_iter().map(PlanStep::from).collect())
        }
    }
}

fn sequence(d: &mut Dice, rarity: Rarity, options: &Options, belief: &mut Belief) -> Option<Vec<Step>> {
    match rarity {
        Rarity::Reservations => reservation(d, options, belief),
        Rarity::Revocations => revocation(d, belief),
        Rarity::Repetitions => repetition(d, options, belief),
        Rarity::Squatters => {
            let volume = new_name(belief);
            Some(vec![Step::Squat { volume: volume.clone() }, blank(volume, Some(Refused::Exists))])
        }
        Rarity::Forgeries => forgery(d, options, belief),
        Rarity::Sharing => shared(d, belief),
        Rarity::Hostile => {
            let source = Source::Image(name(BAD));
            Some(vec![create(new_name(belief), 1, source, Some(Refused::UnsafeImage))])
        }
        Rarity::CloneLimit => clones(d, belief),
        Rarity::Limits => limits(d, belief),
        Rarity::Portals => portal(d, belief),
        Rarity::FullPools => full_pool(d, belief),
        Rarity::Spoils => spoil(d, belief),
        Rarity::Pairs => {
            let (source, host) = attached(d, belief)?;
            if d.chance(2, 3) {
                return pairs::sequence(d, options.quiet, &source, belief.volumes.get_mut(&source)?);
            }
            // One that has inherited some of what it holds.
            let (mut steps, clone) = lineage::clone_on(d, &source, &host, belief)?;
            steps.extend(pairs::sequence(d, options.quiet, &clone, belief.volumes.get_mut(&clone)?)?);
            Some(steps)
        }
        Rarity::Lineages => lineage::sequence(d, belief),
        Rarity::Chains => lineage::chain(d, belief, DEPTH),
        Rarity::LongFlattens
        | Rarity::Crowds
        | Rarity::Stragglers
        | Rarity::Relapses
        | Rarity::LateEvents
        | Rarity::Interfaces
        | Rarity::LongNames => None,
    }
}

/// An attached volume and its host.
pub(super) fn attached(d: &mut Dice, belief: &Belief) -> Option<(Name, Name)> {
    let volume = pick(d, &belief.volumes(|_, v| v.host.is_some()))?.clone();
    let host = belief.volumes.get(&volume)?.host.clone()?;
    Some((volume, host))
}

pub(super) fn new_name(belief: &mut Belief) -> Name {
    belief.made += 1;
    name(&format!("v{}", belief.made))
}

pub(super) fn create(volume: Name, gib: u64, source: Source, refused: Option<Refused>) -> Step {
    Step::Create { volume, size: Size(gib << 30), volume_type: None, source, pool: None, refused }
}

fn blank(volume: Name, refused: Option<Refused>) -> Step {
    create(volume, 1, Source::Blank, refused)
}

/// One more volume, of 1 GiB and attached to nobody, and the step that makes it.
pub(super) fn new_blank(belief: &mut Belief) -> (Name, Step) {
    let volume = new_name(belief);
    let known = Volume { gib: 1, host: None, clone: false, written: Vec::new() };
    belief.volumes.insert(volume.clone(), known);
    (volume.clone(), blank(volume, None))
}

/// Something is written on a volume of the belief.
pub(super) fn write(d: &mut Dice, volume: &Name, known: &mut Volume) -> Step {
    let (at, length) = extent(d, known, true);
    Step::Write { volume: volume.clone(), at, length }
}

fn reservation(d: &mut Dice, options: &Options, belief: &mut Belief) -> Option<Vec<Step>> {
    let (volume, host) = attached(d, belief)?;
    let known = belief.volumes.get_mut(&volume)?;
    let mut steps =
        vec![Step::Reserve { volume: volume.clone(), host: host.clone() }, write(d, &volume, known)];
    match if options.quiet { 3 } else { d.below(4) } {
        0 => steps.push(Step::PowerLoss),
        1 => steps.push(Step::Reset { host: host.clone(), path: 0 }),
        2 => steps.push(Step::Reboot { host: host.clone(), off: 1 }),
        _ => {}
    }
    steps.push(write(d, &volume, known));
    steps.push(Step::Reserved { volume: volume.clone(), host: host.clone() });
    steps.push(Step::Unreserve { volume, host });
    Some(steps)
}

/// The mapping of one volume goes behind the host's back, and the host gets another volume in its place.
fn revocation(d: &mut Dice, belief: &mut Belief) -> Option<Vec<Step>> {
    let (volume, host) = attached(d, belief)?;
    let other = pick(d, &belief.volumes(|_, v| v.host.is_none()))?.clone();
    let mut steps = vec![
        // What it has not on stable storage yet would keep the device there.
        Step::Flush { volume: volume.clone() },
        Step::Revoke { volume: volume.clone(), host: host.clone(), everywhere: d.chance(1, 4) },
    ];
    let attach = Step::Attach { volume: other.clone(), host: host.clone(), refused: None };
    let wrote = write(d, &other, belief.volumes.get_mut(&other)?);
    if d.chance(1, 3) {
        // One path is found too late; whoever looks later for what was there before gets no answer at all.
        let silent = |nth| {
            let point = "target.command.before:INQUIRY".to_owned();
            Step::Arm {
                fault: PlacedFault { point, nth, action: FaultAction::DropReply, masked: false, most: None },
            }
        };
        steps.extend([silent(1), attach, wrote, silent(0), Step::Wait { seconds: 120 }, Step::Disarm]);
        steps.extend([Step::Wait { seconds: 60 }, write(d, &other, belief.volumes.get_mut(&other)?)]);
    } else {
        steps.extend([attach, wrote]);
    }
    steps.push(Step::Verify { volume: other.clone() });
    steps.push(Step::Detach { volume: volume.clone(), host: host.clone(), force: false, refused: None });
    belief.volumes.get_mut(&volume)?.host = None;
    belief.volumes.get_mut(&other)?.host = Some(host);
    steps.push(Step::Verify { volume: other });
    steps.push(Step::Settle);
    Some(steps)
}

fn repetition(d: &mut Dice, options: &Options, belief: &mut Belief) -> Option<Vec<Step>> {
    let free = belief.volumes(|_, v| v.host.is_none());
    Some(match d.below(3) {
        0 if !options.image_cache => {
            // One that came of something else is not what is asked for.
            let volume = pick(d, &belief.volumes(|_, v| !v.clone))?.clone();
            vec![Step::Repeat { what: Repeated::Create, volume, host: None }]
        }
        1 => {
            let (volume, host) = (pick(d, &free)?.clone(), pick(d, &belief.hosts)?.clone());
            vec![Step::Repeat { what: Repeated::Detach, volume, host: Some(host) }]
        }
        _ => {
            let idle: Vec<Name> = free.into_iter().filter(|name| !belief.has_snapshots(name)).collect();
            let volume = pick(d, &idle)?.clone();
            belief.volumes.remove(&volume);
            vec![
                Step::Delete { volume: volume.clone(), refused: None },
                Step::Repeat { what: Repeated::Delete, volume, host: None },
            ]
        }
    })
}

fn forgery(d: &mut Dice, options: &Options, belief: &mut Belief) -> Option<Vec<Step>> {
    let (volume, host) = attached(d, belief)?;
    let what = if d.chance(1, 2) { Forged::Qcow2 } else { Forged::Partitions };
    let again = pick(d, &belief.hosts)?.clone();
    let known = belief.volumes.get_mut(&volume)?;
    let mut steps = vec![
        Step::Forge { volume: volume.clone(), what },
        Step::Detach { volume: volume.clone(), host, force: false, refused: None },
    ];
    if known.gib <= options.gib_max && d.chance(1, 2) {
        known.gib += 1;
        steps.push(Step::Extend { volume: volume.clone(), size: Size(known.gib << 30), refused: None });
    }
    steps.push(Step::Attach { volume: volume.clone(), host: again.clone(), refused: None });
    known.host = Some(again);
    steps.push(write(d, &volume, known));
    steps.push(Step::Verify { volume });
    Some(steps)
}

fn shared(d: &mut Dice, belief: &mut Belief) -> Option<Vec<Step>> {
    let [first, second, ..] = &belief.hosts[..] else { return None };
    let (first, second) = if d.chance(1, 2) { (second, first) } else { (first, second) };
    let (first, second) = (first.clone(), second.clone());
    let volume = new_name(belief);
    let mut known = Volume { gib: 1, host: None, clone: false, written: Vec::new() };
    let on = |host: &Name| Step::Attach { volume: volume.clone(), host: host.clone(), refused: None };
    let off = |host: &Name| Step::Detach {
        volume: volume.clone(),
        host: host.clone(),
        force: false,
        refused: None,
    };
    let mut steps = vec![
        Step::Create {
            volume: volume.clone(),
            size: Size(1 << 30),
            volume_type: Some(name(SHARED)),
            source: Source::Blank,
            pool: None,
            refused: None,
        },
        on(&first),
        on(&second),
        write(d, &volume, &mut known),
    ];
    if d.chance(2, 3) {
        known.gib = 2;
        steps.push(Step::Extend { volume: volume.clone(), size: Size(2 << 30), refused: None });
    }
    steps.push(write(d, &volume, &mut known));
    steps.push(off(&first));
    steps.push(Step::Verify { volume: volume.clone() });
    steps.push(write(d, &volume, &mut known));
    steps.push(off(&second));
    steps.push(Step::Delete { volume, refused: None });
    Some(steps)
}

/// As many clones of one source as the array allows, and one more.
fn clones(d: &mut Dice, belief: &mut Belief) -> Option<Vec<Step>> {
    let limit = belief.clones?;
    let (source, first) = (new_name(belief), new_name(belief));
    let of = || Source::Volume(source.clone());
    let mut steps = vec![blank(source.clone(), None), create(first.clone(), 1, of(), None)];
    let mut made = vec![source.clone()];
    for _ in 1..limit {
        let volume = new_name(belief);
        made.push(volume.clone());
        steps.push(create(volume, 1, of(), None));
    }
    let over = new_name(belief);
    steps.push(create(over.clone(), 1, of(), Some(Refused::Limit)));
    let gone = |volume: Name| Step::Delete { volume, refused: None };
    if d.chance(1, 2) {
        steps.push(gone(first));
        steps.push(create(over.clone(), 1, of(), None));
        made.push(over);
    } else {
        made.push(first);
    }
    steps.extend(made.into_iter().rev().map(gone));
    Some(steps)
}

fn limits(d: &mut Dice, belief: &mut Belief) -> Option<Vec<Step>> {
    let (volume, host) = attached(d, belief)?;
    let others = belief.volumes(|name, v| *name != volume && v.host.as_ref() == Some(&host));
    // Long enough to tell one from the other.
    let large = |volume: &Name| Step::Write { volume: volume.clone(), at: Size(0), length: Size(2 << 20) };
    let mut steps = Vec::new();
    // Another one of the host feels nothing of it.
    let other = match pick(d, &others) {
        Some(other) => other.clone(),
        None => {
            let (other, made) = new_blank(belief);
            belief.volumes.get_mut(&other)?.host = Some(host.clone());
            steps.push(made);
            steps.push(Step::Attach { volume: other.clone(), host, refused: None });
            other
        }
    };
    steps.push(Step::Limit { volume: volume.clone(), iops: 2 + d.below(4) });
    steps.extend([large(&volume), large(&other)]);
    steps.push(Step::Limit { volume: volume.clone(), iops: 0 });
    steps.push(large(&volume));
    Some(steps)
}

fn portal(d: &mut Dice, belief: &mut Belief) -> Option<Vec<Step>> {
    let (volume, _) = attached(d, belief)?;
    let portal = 1 + d.below(2);
    let known = belief.volumes.get_mut(&volume)?;
    Some(vec![
        Step::Portal { portal, enabled: false },
        write(d, &volume, known),
        Step::Verify { volume: volume.clone() },
        Step::Portal { portal, enabled: true },
        Step::Wait { seconds: 5 },
        write(d, &volume, known),
    ])
}

/// Pages of an attached volume are spoilt on the array's disk, one just written and one that it has, or inherits.
fn spoil(d: &mut Dice, belief: &mut Belief) -> Option<Vec<Step>> {
    let (volume, _) = attached(d, belief)?;
    let (at, length) = extent(d, belief.volumes.get_mut(&volume)?, true);
    let mut spoilt = |at| Step::Spoil {
        volume: volume.clone(),
        at: Size(at),
        how: *pick(d, &[Spoiled::Rot, Spoiled::Torn, Spoiled::Misdirected]).unwrap_or(&Spoiled::Rot),
    };
    let before = spoilt(0);
    let after = spoilt(at.0);
    Some(vec![before, Step::Write { volume: volume.clone(), at, length }, after, Step::Verify { volume }])
}

/// What a snapshot shares needs space when it is written or unmapped, and there is none for a while.
fn full_pool(d: &mut Dice, belief: &mut Belief) -> Option<Vec<Step>> {
    let (volume, _) = attached(d, belief)?;
    belief.made += 1;
    let snapshot = name(&format!("s{}", belief.made));
    let shared = |at: u64, length: u64| (Size(at << 10), Size(length << 10));
    let written = |(at, length)| Step::Write { volume: volume.clone(), at, length };
    let starved = |what, (at, length)| Step::OutOfSpace { what, volume: volume.clone(), at, length };
    let verify = || Step::Verify { volume: volume.clone() };
    let mut steps = vec![
        written(shared(0, 256)),
        Step::Snapshot { snapshot: snapshot.clone(), volume: volume.clone(), refused: None },
    ];
    steps.extend(belief.pools.iter().map(|pool| Step::Fill { pool: pool.clone(), leave: Size(0) }));
    let within = |d: &mut Dice| shared(4 * (1 + d.below(15)), 4);
    if d.chance(2, 3) {
        steps.extend([starved(Starved::Write, within(d)), verify()]);
    }
    if d.chance(2, 3) {
        steps.extend([starved(Starved::Unmap, within(d)), verify()]);
    }
    steps.extend(belief.pools.iter().map(|pool| Step::Drain { pool: pool.clone() }));
    steps.extend([written(within(d)), verify(), Step::DeleteSnapshot { snapshot, refused: None }]);
    Some(steps)
}
