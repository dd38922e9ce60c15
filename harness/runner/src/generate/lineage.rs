//! Families of clones and snapshots: what one writes where it inherits is seen by none of the others.

use std::collections::BTreeMap;

use sanbench_world::Dice;

use super::belief::{Belief, Volume};
use super::rare::{attached, create, new_name};
use super::workload::pick;
use crate::plan::{Source, Step};
use crate::story::{Name, Size};

/// All writes of a family are within so many blocks.
const SHARED_BLOCKS: u64 = 640;

/// A family that grows out of an attached volume; in the end all of it is read.
pub(super) fn sequence(d: &mut Dice, belief: &mut Belief) -> Option<Vec<Step>> {
    let (root, _) = attached(d, belief)?;
    let mut family = Family { members: vec![root.clone()], snapshots: Vec::new(), steps: Vec::new() };
    family.write(d, &root);
    for _ in 0..5 + d.below(6) {
        family.grow(d, belief)?;
    }
    for snapshot in std::mem::take(&mut family.snapshots) {
        family.restore(d, belief, snapshot)?;
    }
    let members = family.members.iter().cloned();
    family.steps.extend(members.map(|volume| Step::Verify { volume }));
    Some(family.steps)
}

/// A clone on the host of its source, in part overwritten.
pub(super) fn clone_on(
    d: &mut Dice,
    source: &Name,
    host: &Name,
    belief: &mut Belief,
) -> Option<(Vec<Step>, Name)> {
    let mut family = Family { members: vec![source.clone()], snapshots: Vec::new(), steps: Vec::new() };
    family.write(d, source);
    let clone = family.clone_of(belief, source)?;
    family.attach(belief, &clone, host)?;
    family.write(d, &clone);
    Some((family.steps, clone))
}

/// Clones of clones, mostly past the limit; some in the middle go, and what hangs from them is cloned again. At times the
/// service comes back with another limit, `option`, in between.
pub(super) fn chain(d: &mut Dice, belief: &mut Belief, option: &str) -> Option<Vec<Step>> {
    let (root, host) = attached(d, belief)?;
    let mut family = Family { members: vec![root.clone()], snapshots: Vec::new(), steps: Vec::new() };
    family.write(d, &root);
    let longer = |d: &mut Dice, family: &mut Family, belief: &mut Belief| {
        let last = family.members.last()?.clone();
        let clone = family.clone_of(belief, &last)?;
        if d.chance(1, 2) {
            family.attach(belief, &clone, &host)?;
            family.write(d, &clone);
        }
        Some(())
    };
    for _ in 0..2 + d.below(2) {
        longer(d, &mut family, belief)?;
    }
    let middle = family.members.len() - 1;
    let inner: Vec<Name> = family.members[1..middle].iter().filter(|_| d.chance(2, 3)).cloned().collect();
    for volume in &inner {
        family.remove(belief, volume)?;
    }
    if d.chance(1, 3) {
        let options = BTreeMap::from([(option.to_owned(), d.below(4).to_string())]);
        family.steps.push(Step::Restart { options });
    }
    for _ in 0..1 + d.below(2) {
        longer(d, &mut family, belief)?;
    }
    family.steps.extend(family.members.iter().map(|volume| Step::Verify { volume: volume.clone() }));
    Some(family.steps)
}

struct Family {
    members: Vec<Name>,
    /// Those that nothing was made from yet.
    snapshots: Vec<Name>,
    steps: Vec<Step>,
}

impl Family {
    fn write(&mut self, d: &mut Dice, volume: &Name) {
        let most = if d.chance(1, 2) { 16 } else { 256 };
        let length = 1 + d.below(most);
        let at = d.below(SHARED_BLOCKS - length);
        let (at, length) = (Size(at * 512), Size(length * 512));
        self.steps.push(Step::Write { volume: volume.clone(), at, length });
    }

    fn grow(&mut self, d: &mut Dice, belief: &mut Belief) -> Option<()> {
        let any = pick(d, &self.members)?.clone();
        let host = pick(d, &belief.hosts)?.clone();
        match d.below(7) {
            0 | 1 => {
                // Long chains are what a limit is for.
                let from = if d.chance(1, 2) { self.members.last()?.clone() } else { any };
                let clone = self.clone_of(belief, &from)?;
                self.attach(belief, &clone, &host)?;
                if d.chance(1, 2) {
                    self.write(d, &clone);
                }
            }
            2 => {
                belief.made += 1;
                let snapshot: Name = format!("s{}", belief.made).parse().ok()?;
                let gib = belief.volumes.get(&any)?.gib;
                belief.snapshots.insert(snapshot.clone(), (any.clone(), gib));
                self.snapshots.push(snapshot.clone());
                self.steps.push(Step::Snapshot { snapshot, volume: any, refused: None });
            }
            3 | 4 => {
                if belief.volumes.get(&any)?.host.is_some() {
                    self.write(d, &any);
                }
            }
            5 if !self.snapshots.is_empty() => {
                let at = d.below(self.snapshots.len() as u64) as usize;
                let snapshot = self.snapshots.swap_remove(at);
                self.restore(d, belief, snapshot)?;
            }
            _ => self.remove(belief, &any)?,
        }
        Some(())
    }

    fn made(&mut self, belief: &mut Belief, source: Source, gib: u64) -> Name {
        let volume = new_name(belief);
        belief.volumes.insert(volume.clone(), Volume { gib, host: None, clone: true, written: Vec::new() });
        self.steps.push(create(volume.clone(), gib, source, None));
        volume
    }

    fn clone_of(&mut self, belief: &mut Belief, from: &Name) -> Option<Name> {
        let gib = belief.volumes.get(from)?.gib;
        let clone = self.made(belief, Source::Volume(from.clone()), gib);
        self.members.push(clone.clone());
        Some(clone)
    }

    fn restore(&mut self, d: &mut Dice, belief: &mut Belief, snapshot: Name) -> Option<()> {
        let (_, gib) = belief.snapshots.get(&snapshot)?.clone();
        let volume = self.made(belief, Source::Snapshot(snapshot), gib);
        self.steps.push(Step::Verify { volume: volume.clone() });
        if d.chance(1, 2) {
            self.members.push(volume);
        }
        Some(())
    }

    fn attach(&mut self, belief: &mut Belief, volume: &Name, host: &Name) -> Option<()> {
        belief.volumes.get_mut(volume)?.host = Some(host.clone());
        self.steps.push(Step::Attach { volume: volume.clone(), host: host.clone(), refused: None });
        Some(())
    }

    /// A link in the middle goes: what hangs from it stays.
    fn remove(&mut self, belief: &mut Belief, volume: &Name) -> Option<()> {
        let last = self.members.last() == Some(volume);
        if last || belief.has_snapshots(volume) {
            return Some(());
        }
        let known = belief.volumes.remove(volume)?;
        self.members.retain(|member| member != volume);
        if let Some(host) = known.host {
            self.steps.push(Step::Detach { volume: volume.clone(), host, force: false, refused: None });
        }
        self.steps.push(Step::Delete { volume: volume.clone(), refused: None });
        Some(())
    }
}
