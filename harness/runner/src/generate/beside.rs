//! Sequences in which one thing happens beside another, or upon another.

use sanbench_world::Dice;

use super::belief::Belief;
use super::lineage;
use super::nemesis::{OUTLASTS, relapsing};
use super::options::name;
use super::rare::{attached, new_blank};
use super::workload::pick;
use crate::plan::{FaultAction, PlacedFault, PlanStep, Step, Way};
use crate::story::{Name, Size};

/// Lanes of one group.
const LANES: &[&str] = &["a", "b", "c"];
/// The first `GET lun` of a flatten that is surely for its job: those before look its volume up.
const FIRST_POLL: u64 = 5;

fn lane(lane: &str, step: Step) -> PlanStep {
    PlanStep { lane: Some(name(lane)), step }
}

fn armed(point: &str, nth: u64, action: FaultAction) -> PlanStep {
    Step::Arm { fault: PlacedFault { point: point.to_owned(), nth, action, masked: true, most: None } }.into()
}

/// A flatten that takes half a minute: other volumes do not feel it; or nobody can look at its job for a while, which does not
/// mean that it failed; or a controller fails while it works.
pub(super) fn long_flatten(d: &mut Dice, belief: &mut Belief) -> Option<Vec<PlanStep>> {
    let slow = armed("job.*", 1, FaultAction::Delay(30_000));
    let flatten = |volume| Step::Flatten { volume, refused: None };
    let mut steps = Vec::new();
    match d.below(3) {
        0 => {
            let clone = pick(d, &belief.volumes(|_, v| v.clone))?.clone();
            steps.push(slow);
            steps.extend(
                (FIRST_POLL..FIRST_POLL + 2 * OUTLASTS)
                    .map(|nth| armed("rest.before:GET lun", nth, FaultAction::Fail)),
            );
            steps.push(flatten(clone).into());
        }
        1 => {
            let clone = pick(d, &belief.volumes(|_, v| v.clone))?.clone();
            steps.push(slow);
            steps.push(lane("a", flatten(clone)));
            steps.push(lane("b", Step::Wait { seconds: 2 }));
            steps.push(lane("b", new_blank(belief).1));
        }
        _ => {
            // One that inherits something, unless the chain is at its limit and all of it is copied at once.
            let (source, host) = attached(d, belief)?;
            let (made, clone) = lineage::clone_on(d, &source, &host, belief)?;
            let controller = d.below(2);
            steps.extend(made.into_iter().map(PlanStep::from));
            steps.push(slow);
            steps.push(lane("a", flatten(clone.clone())));
            steps.push(lane("b", Step::Wait { seconds: 2 }));
            steps.push(lane("b", Step::FailController { controller }));
            steps.push(Step::RestoreController { controller }.into());
            steps.push(Step::Verify { volume: clone }.into());
        }
    }
    steps.push(Step::Disarm.into());
    Some(steps)
}

/// What the volume service is at when it crashes fails once more when it is taken up again: it is undone as far as it had come
/// before the crash, or the next `settle` has to do with what is left. Only of operations that are taken up again.
pub(super) fn relapse(d: &mut Dice, belief: &mut Belief) -> Option<Vec<PlanStep>> {
    let mut steps = Vec::new();
    let step = match d.below(4) {
        0 => {
            let (volume, host) = attached(d, belief)?;
            belief.volumes.get_mut(&volume)?.host = None;
            Step::Detach { volume, host, force: false, refused: None }
        }
        1 => {
            let snapshots: Vec<Name> = belief.snapshots.keys().cloned().collect();
            let snapshot = pick(d, &snapshots)?.clone();
            belief.snapshots.remove(&snapshot);
            Step::DeleteSnapshot { snapshot, refused: None }
        }
        // Volumes of which nobody believes anything afterwards: they may be as they were, or in error.
        grows => {
            let (volume, made) = new_blank(belief);
            belief.volumes.remove(&volume);
            steps.push(made);
            match grows {
                2 => Step::Delete { volume, refused: None },
                _ => Step::Extend { volume, size: Size(2 << 30), refused: None },
            }
        }
    };
    let (crash, failure) = relapsing(d, &step)?;
    steps.extend([crash, failure, step, Step::Restart { options: Default::default() }, Step::Settle]);
    Some(steps.into_iter().map(PlanStep::from).collect())
}

/// Up to three volumes that are on a host, or on none, come or go, once or there and back, all at once: the first that comes and
/// the last that goes make and take away what the host's volumes share.
pub(super) fn crowd(d: &mut Dice, belief: &mut Belief) -> Option<Vec<PlanStep>> {
    let host = pick(d, &belief.hosts)?.clone();
    let mut volumes = belief.volumes(|_, v| v.host.is_none() || v.host.as_ref() == Some(&host));
    // A group of their own, whatever lanes are before and behind.
    let apart = || PlanStep::from(Step::Wait { seconds: 1 });
    let mut steps = vec![apart()];
    while volumes.len() < 2 {
        let (volume, made) = new_blank(belief);
        steps.push(made.into());
        volumes.push(volume);
    }
    for at in LANES {
        if volumes.is_empty() {
            break;
        }
        let volume = volumes.swap_remove(d.below(volumes.len() as u64) as usize);
        let known = belief.volumes.get_mut(&volume)?;
        for _ in 0..=d.below(3) {
            let (volume, host) = (volume.clone(), host.clone());
            let step = match known.host.take() {
                Some(host) => Step::Detach { volume, host, force: false, refused: None },
                None => {
                    known.host = Some(host.clone());
                    Step::Attach { volume, host, refused: None }
                }
            };
            steps.push(lane(at, step));
        }
    }
    steps.push(apart());
    Some(steps)
}

/// The array takes its time over a write, longer than the host believes in the path, which is cut; newer writes to the same
/// blocks are what is read in the end.
pub(super) fn straggler(d: &mut Dice, belief: &mut Belief) -> Option<Vec<PlanStep>> {
    let (volume, host) = attached(d, belief)?;
    let at = Size(d.below(512) * 512);
    let write = || Step::Write { volume: volume.clone(), at, length: Size(4096) };
    let fault = PlacedFault {
        point: "target.command.before:WRITE".to_owned(),
        nth: 1 + d.below(2),
        action: FaultAction::Delay(40_000),
        masked: true,
        most: None,
    };
    let path = 1 + d.below(2);
    Some(vec![
        write().into(),
        Step::Arm { fault }.into(),
        lane("a", write()),
        lane("a", write()),
        lane("b", Step::Wait { seconds: 1 }),
        lane("b", Step::Cut { host: host.clone(), path, way: Way::Both }),
        Step::Wait { seconds: 60 }.into(),
        Step::Heal { host, path }.into(),
        Step::Wait { seconds: 150 }.into(),
        Step::Disarm.into(),
        Step::Verify { volume }.into(),
    ])
}
