//! Whether a step makes sense where it stands: what a storage administrator sees by reading the plan from above, without
//! playing it.
//!
//! It guards against plans that fail because they are nonsense: a volume that was never made, a refusal whose reason has
//! been shrunk away. Steps that made no sense in the start plan either (a generated plan goes on after a failed create) are
//! left alone as long as what they name is there.

use std::collections::{BTreeMap, BTreeSet};

use super::draft::Draft;
use super::mention;
use crate::plan::{
    ImageKind, Mirroring, PairAct, Refused, Repeated, SecondaryAccess, SitePlan, Source, Step, SyncEnd,
};
use crate::story::{Name, Size};

/// A volume as the reader of the plan knows it.
#[derive(Debug, Clone)]
struct Volume {
    size: Size,
    hosts: BTreeSet<Name>,
    /// Its type allows several hosts.
    shared: bool,
    linked: bool,
    /// Holder of its persistent reservation.
    reserved: Option<Name>,
    /// Its half on the other array.
    half: Option<Half>,
}

/// The second half of a volume as the reader of the plan knows it.
#[derive(Debug, Clone, Copy)]
struct Half {
    how: Mirroring,
    /// It has held a complete point.
    complete: bool,
    /// It follows, as far as the plan tells.
    follows: bool,
    /// It leads.
    leads: bool,
    /// Its protection is lifted.
    open: bool,
}

impl Half {
    /// Whether it takes writes of hosts.
    fn is_written(&self) -> bool {
        match self.how {
            Mirroring::Metro => self.follows || self.leads,
            Mirroring::Sync | Mirroring::Async => self.leads || (self.open && !self.follows),
        }
    }
}

/// What exists at some place of a plan.
#[derive(Debug, Default)]
struct Scene {
    volumes: BTreeMap<Name, Volume>,
    /// Snapshots with their volume and size.
    snapshots: BTreeMap<Name, (Name, Size)>,
    squatted: BTreeSet<Name>,
    /// Volumes that were deleted.
    gone: BTreeSet<Name>,
    /// Pools that somebody else filled.
    full: BTreeSet<Name>,
    /// The link between the arrays is cut.
    cut: bool,
}

/// Indices of steps that make no sense, and of those that name something that is not there.
fn strange(site: &SitePlan, steps: &[(usize, &Step)]) -> BTreeMap<usize, Strange> {
    let mut scene = Scene::default();
    let mut all = BTreeMap::new();
    for (origin, step) in steps {
        if let Some(strange) = scene.strange(site, step) {
            all.insert(*origin, strange);
        }
        scene.play(site, step);
    }
    all
}

/// What is wrong with a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strange {
    /// It names something that nobody made.
    Missing,
    /// It stands in the wrong place.
    Misplaced,
}

/// Steps of the start plan that make no sense; by their origin.
pub(super) fn accepted(start: &Draft) -> BTreeSet<usize> {
    let steps: Vec<(usize, &Step)> = start.items.iter().map(|i| (i.origin, &i.step)).collect();
    strange(&start.site, &steps).into_keys().collect()
}

/// Drops steps that no longer make sense, and what of the site nobody uses.
pub(super) fn repair(mut draft: Draft, accepted: &BTreeSet<usize>) -> Draft {
    let mut scene = Scene::default();
    let site = draft.site.clone();
    draft.items.retain(|item| {
        let stays = match scene.strange(&site, &item.step) {
            None => true,
            Some(Strange::Misplaced) => accepted.contains(&item.origin),
            Some(Strange::Missing) => false,
        };
        if stays {
            scene.play(&site, &item.step);
        }
        stays
    });
    tidy(&mut draft);
    draft
}

/// Hosts, types and images that no step names go, and what is unusual about such hosts.
fn tidy(draft: &mut Draft) {
    let mut hosts = BTreeSet::new();
    let mut types = BTreeSet::new();
    let mut images = BTreeSet::new();
    for item in &draft.items {
        let m = mention::of(&item.step);
        hosts.extend(m.host.cloned());
        types.extend(m.volume_type.cloned());
        images.extend(m.image.cloned());
    }
    draft.site.hosts.retain(|(name, _)| hosts.contains(name));
    draft.site.tunes.retain(|name, _| hosts.contains(name));
    draft.site.types.retain(|(name, _)| types.contains(name));
    draft.site.images.retain(|(name, ..)| images.contains(name));
    draft.site.remote &= draft.items.iter().any(|item| item.step.is_of_two_arrays());
}

impl Scene {
    fn strange(&self, site: &SitePlan, step: &Step) -> Option<Strange> {
        let m = mention::of(step);
        let made = match step {
            Step::Create { volume, .. } | Step::Squat { volume } => Some(volume),
            _ => None,
        };
        let taken = match step {
            Step::Snapshot { snapshot, .. } => Some(snapshot),
            _ => None,
        };
        let deleted = match step {
            Step::Repeat { what: Repeated::Delete, volume, .. } => self.gone.get(volume),
            _ => None,
        };
        let known = |v: &Name| Some(v) == made || Some(v) == deleted || self.volumes.contains_key(v);
        let there = m.volumes.iter().all(|v| known(v))
            && m.snapshots.iter().all(|s| Some(*s) == taken || self.snapshots.contains_key(*s))
            && m.host.is_none_or(|host| site.hosts.iter().any(|(name, _)| name == host))
            && m.image.is_none_or(|image| site.images.iter().any(|(name, ..)| name == image))
            && m.volume_type.is_none_or(|wanted| site.types.iter().any(|(name, _)| name == wanted));
        if !there {
            return Some(Strange::Missing);
        }
        (!self.fits(site, step)).then_some(Strange::Misplaced)
    }

    /// Everything that the step names is there; is this its place?
    fn fits(&self, site: &SitePlan, step: &Step) -> bool {
        let attached = |volume: &Name| self.volumes.get(volume).is_some_and(|v| !v.hosts.is_empty());
        let size = |volume: &Name| self.volumes.get(volume).map_or(Size(0), |v| v.size);
        let on =
            |volume: &Name, host: &Name| self.volumes.get(volume).is_some_and(|v| v.hosts.contains(host));
        let taken = |volume: &Name, host: &Name| {
            on(volume, host) || self.volumes.get(volume).is_some_and(|v| !v.shared && !v.hosts.is_empty())
        };
        let half = |volume: &Name| self.volumes.get(volume).and_then(|v| v.half);
        let mirrored = |volume: &Name| half(volume).is_some();
        match step {
            // The bench does not play these on a volume with two halves.
            Step::Extend { volume, .. }
            | Step::Flatten { volume, .. }
            | Step::Delete { volume, .. }
            | Step::Reimage { volume, .. }
            | Step::Forge { volume, .. }
            | Step::OutOfSpace { volume, .. }
            | Step::Spoil { volume, .. }
                if mirrored(volume) =>
            {
                false
            }
            Step::Pair { volume, act: PairAct::Mirror { .. } } => site.remote && !mirrored(volume),
            Step::Pair { volume, act: PairAct::Sync { .. } } => mirrored(volume) && !self.cut,
            // A refusal must have its reason.
            Step::Pair { volume, act: PairAct::WriteRemote { at, length, refused } } => {
                half(volume).is_some_and(|half| half.complete && half.is_written() == refused.is_none())
                    && at.0.saturating_add(length.0) <= size(volume).0
            }
            Step::Pair { volume, act: PairAct::Alike } => {
                half(volume).is_some_and(|half| half.follows && half.how != Mirroring::Async)
                    && attached(volume)
            }
            Step::Pair { volume, act: PairAct::VerifyRemote | PairAct::FailOver } => {
                half(volume).is_some_and(|half| half.complete)
            }
            Step::Pair { volume, act: PairAct::Secondary { .. } } => half(volume)
                .is_some_and(|half| half.complete && !half.follows && half.how != Mirroring::Metro),
            Step::Pair { volume, act: PairAct::Pause | PairAct::Unmirror } => mirrored(volume),
            Step::Link { up } => site.remote && self.cut == *up,
            Step::Create { volume, size: wanted, source, refused, .. } => {
                let least = match source {
                    Source::Volume(from) => size(from),
                    Source::Snapshot(from) => self.snapshots.get(from).map_or(Size(0), |(_, size)| *size),
                    Source::Blank | Source::Image(_) => Size(0),
                };
                let hostile = matches!(source, Source::Image(image)
                    if site.images.iter().any(|(name, kind, _)| name == image && !harmless(*kind)));
                !self.volumes.contains_key(volume)
                    && match refused {
                        None => *wanted >= least && !hostile && !self.squatted.contains(volume),
                        Some(Refused::Invalid) => *wanted < least,
                        Some(Refused::UnsafeImage) => hostile,
                        Some(Refused::Exists) => self.squatted.contains(volume),
                        Some(_) => true,
                    }
            }
            Step::Squat { volume } => !self.volumes.contains_key(volume) && !self.squatted.contains(volume),
            Step::Attach { volume, host, refused } => match refused {
                None => !taken(volume, host),
                Some(Refused::State) => taken(volume, host),
                Some(_) => true,
            },
            Step::Detach { volume, host, refused, .. } => match refused {
                None => on(volume, host),
                Some(Refused::State) => !on(volume, host),
                Some(_) => true,
            },
            Step::Write { volume, at, length } | Step::Unmap { volume, at, length } => {
                attached(volume) && at.0.saturating_add(length.0) <= size(volume).0
            }
            Step::Flush { volume } | Step::Forge { volume, .. } => attached(volume),
            Step::OutOfSpace { volume, at, length, .. } => {
                attached(volume) && !self.full.is_empty() && at.0.saturating_add(length.0) <= size(volume).0
            }
            Step::Spoil { volume, at, .. } => attached(volume) && site.journal && at.0 < size(volume).0,
            Step::Drain { pool } => self.full.contains(pool),
            Step::Revoke { volume, host, .. } | Step::Reserve { volume, host } => on(volume, host),
            Step::Reserved { volume, host } | Step::Unreserve { volume, host } => {
                on(volume, host)
                    && self.volumes.get(volume).is_some_and(|v| v.reserved.as_ref() == Some(host))
            }
            // What is done once more must have been done.
            Step::Repeat { what: Repeated::Create, .. } => true,
            Step::Repeat { what: Repeated::Detach, volume, host } => {
                host.as_ref().is_some_and(|host| !on(volume, host))
            }
            Step::Repeat { what: Repeated::Connect, volume, host } => {
                host.as_ref().is_some_and(|host| on(volume, host))
            }
            Step::Repeat { what: Repeated::Delete, volume, .. } => !self.volumes.contains_key(volume),
            Step::Extend { volume, size: wanted, refused } => match refused {
                None => *wanted > size(volume),
                Some(Refused::Invalid) => *wanted <= size(volume),
                Some(_) => true,
            },
            Step::Snapshot { snapshot, .. } => !self.snapshots.contains_key(snapshot),
            Step::Flatten { volume, refused: None } => self.volumes.get(volume).is_some_and(|v| v.linked),
            Step::Delete { volume, refused } => {
                let snapped = self.snapshots.values().any(|(of, _)| of == volume);
                match refused {
                    None => !attached(volume) && !snapped,
                    Some(Refused::State) => attached(volume),
                    Some(Refused::Busy) => snapped && !attached(volume),
                    Some(_) => true,
                }
            }
            // A refusal must have its reason.
            Step::PutBack { snapshot, refused } => {
                !self.snapshots.get(snapshot).is_some_and(|(of, _)| mirrored(of))
                    && (*refused != Some(Refused::NoSpace) || !self.full.is_empty())
            }
            Step::Intrude { volume, host } => !on(volume, host),
            Step::Reimage { volume, image } => {
                !attached(volume)
                    && site.images.iter().any(|(name, kind, _)| name == image && harmless(*kind))
            }
            _ => true,
        }
    }

    fn play(&mut self, site: &SitePlan, step: &Step) {
        match step {
            Step::Create { volume, size, volume_type, source, refused: None, .. } => {
                let linked = matches!(source, Source::Volume(_) | Source::Snapshot(_));
                let of_type = |(name, specs): &(Name, BTreeMap<String, String>)| {
                    Some(name) == volume_type.as_ref() && specs.contains_key("multiattach")
                };
                let shared = site.types.iter().any(of_type);
                let made = Volume {
                    size: *size,
                    hosts: BTreeSet::new(),
                    shared,
                    linked,
                    reserved: None,
                    half: None,
                };
                self.volumes.insert(volume.clone(), made);
            }
            Step::Squat { volume } => {
                self.squatted.insert(volume.clone());
            }
            Step::Attach { volume, host, refused: None } => {
                if let Some(v) = self.volumes.get_mut(volume) {
                    v.hosts.insert(host.clone());
                }
            }
            Step::Detach { volume, host, refused: None, .. } => {
                if let Some(v) = self.volumes.get_mut(volume) {
                    v.hosts.remove(host);
                }
            }
            Step::Reserve { volume, host } => {
                if let Some(v) = self.volumes.get_mut(volume) {
                    v.reserved = Some(host.clone());
                }
            }
            Step::Unreserve { volume, .. } => {
                if let Some(v) = self.volumes.get_mut(volume) {
                    v.reserved = None;
                }
            }
            Step::Pair { volume, act } => {
                let cut = self.cut;
                if let Some(v) = self.volumes.get_mut(volume) {
                    play_pair(&mut v.half, act, cut);
                }
            }
            Step::Link { up } => {
                self.cut = !up;
                self.volumes
                    .values_mut()
                    .filter_map(|v| v.half.as_mut())
                    .for_each(|half| half.follows &= *up);
            }
            Step::Fill { pool, .. } => {
                self.full.insert(pool.clone());
            }
            Step::Drain { pool } => {
                self.full.remove(pool);
            }
            Step::Extend { volume, size, refused: None } => {
                if let Some(v) = self.volumes.get_mut(volume) {
                    v.size = *size;
                }
            }
            Step::Flatten { volume, refused: None } => {
                if let Some(v) = self.volumes.get_mut(volume) {
                    v.linked = false;
                }
            }
            Step::Snapshot { snapshot, volume, refused: None } => {
                let size = self.volumes.get(volume).map_or(Size(0), |v| v.size);
                self.snapshots.insert(snapshot.clone(), (volume.clone(), size));
            }
            Step::Delete { volume, refused: None } => {
                self.volumes.remove(volume);
                self.gone.insert(volume.clone());
            }
            Step::DeleteSnapshot { snapshot, refused: None } => {
                self.snapshots.remove(snapshot);
            }
            _ => {}
        }
    }
}

/// What a step does to a far half.
fn play_pair(half: &mut Option<Half>, act: &PairAct, cut: bool) {
    if let PairAct::Mirror { how } = act {
        *half = Some(Half { how: *how, complete: false, follows: false, leads: false, open: false });
    }
    if *act == PairAct::Unmirror {
        *half = None;
    }
    let Some(half) = half else { return };
    match act {
        PairAct::Sync { ends } => {
            half.follows = *ends == SyncEnd::Normal;
            half.complete |= half.follows;
            half.open = false;
        }
        PairAct::Pause => half.follows = false,
        PairAct::FailOver => {
            half.leads = !half.leads;
            half.follows &= !cut;
        }
        PairAct::Secondary { access } => half.open = *access == SecondaryAccess::ReadWrite,
        PairAct::Mirror { .. }
        | PairAct::Unmirror
        | PairAct::WriteRemote { .. }
        | PairAct::VerifyRemote
        | PairAct::Alike => {}
    }
}

fn harmless(kind: ImageKind) -> bool {
    matches!(kind, ImageKind::Sample | ImageKind::Raw | ImageKind::Iso)
}
