//! Sizes, offsets, counts and delays; and kinds of faults by simpler ones.

use super::draft::Draft;
use super::search::Search;
use crate::plan::{FaultAction, PairAct, Step, Way};
use crate::story::Size;

const GIB: u64 = 1 << 30;
const BLOCK: u64 = 512;

/// Makes every number as small as it may be. What belongs together (all writes at one place) is tried together first.
pub(super) fn all(search: &mut Search<'_>) {
    search.first([together(search.best(), BLOCK), together(search.best(), 64 << 10)]);
    let mut index = 0;
    while index < search.best().items.len() && !search.stopped() {
        let best = search.best().clone();
        let candidates = simpler(&best.items[index].step).into_iter().map(|step| {
            let mut other = best.clone();
            other.items[index].step = step;
            other
        });
        // Once more the same step while it gets simpler.
        if search.first(candidates).is_none() {
            index += 1;
        }
    }
    let mut index = 0;
    while index < search.best().site.faults.len() && !search.stopped() {
        let best = search.best().clone();
        let fault = &best.site.faults[index];
        let mut candidates = Vec::new();
        if fault.nth > 1 {
            let mut first = best.clone();
            first.site.faults[index].nth = 1;
            candidates.push(first);
        }
        for action in simpler_action(fault.action) {
            let mut other = best.clone();
            other.site.faults[index].action = action;
            candidates.push(other);
        }
        if search.first(candidates).is_none() {
            index += 1;
        }
    }
    let mut images = search.best().clone();
    images.site.images.iter_mut().for_each(|(_, _, size)| *size = Size(size.0.min(1 << 20)));
    search.first([images]);
}

/// All volumes of one size, all data at the start, nothing waited for.
fn together(draft: &Draft, length: u64) -> Draft {
    let mut all = draft.clone();
    for item in &mut all.items {
        match &mut item.step {
            Step::Create { size, refused: None, .. } => *size = Size(GIB),
            Step::Write { at, length: l, .. } | Step::Unmap { at, length: l, .. } => {
                *at = Size(0);
                *l = Size(l.0.min(length));
            }
            Step::Wait { seconds } => *seconds = (*seconds).min(1),
            _ => {}
        }
    }
    all
}

/// The same step with a smaller number, the smallest first; every answer is really smaller, so that this ends.
fn simpler(step: &Step) -> Vec<Step> {
    let mut all = Vec::new();
    let mut offer = |change: &dyn Fn(&mut Step)| {
        let mut other = step.clone();
        change(&mut other);
        if other != *step {
            all.push(other);
        }
    };
    match step {
        Step::Create { size, .. } | Step::Extend { size, .. } => {
            for less in halves(size.0, GIB, GIB) {
                offer(&|s| {
                    if let Step::Create { size, .. } | Step::Extend { size, .. } = s {
                        *size = Size(less);
                    }
                });
            }
        }
        Step::Write { at, length, .. } | Step::Unmap { at, length, .. } => {
            for less in halves(length.0, BLOCK, BLOCK) {
                offer(&|s| {
                    if let Step::Write { length, .. } | Step::Unmap { length, .. } = s {
                        *length = Size(less);
                    }
                });
            }
            for less in halves(at.0, 0, BLOCK) {
                offer(&|s| {
                    if let Step::Write { at, .. } | Step::Unmap { at, .. } = s {
                        *at = Size(less);
                    }
                });
            }
        }
        Step::Wait { seconds } => {
            for less in halves(*seconds, 1, 1) {
                offer(&|s| *s = Step::Wait { seconds: less });
            }
        }
        Step::Reboot { host, off } => {
            for less in halves(*off, 1, 1) {
                offer(&|s| *s = Step::Reboot { host: host.clone(), off: less });
            }
        }
        Step::RestartInitiator { host } => {
            offer(&|s| *s = Step::Reset { host: host.clone(), path: 0 });
        }
        Step::Cut { host, path: 0, way } => {
            offer(&|s| *s = Step::Cut { host: host.clone(), path: 1, way: *way });
        }
        // A path that is dead both ways is easier to think about; what is reset is over at once.
        Step::Cut { host, path, way: Way::ToArray | Way::ToHost } => {
            offer(&|s| *s = Step::Cut { host: host.clone(), path: *path, way: Way::Both });
        }
        Step::HalfOpen { host, path, .. } => {
            offer(&|s| *s = Step::Reset { host: host.clone(), path: *path });
        }
        Step::Reset { host, path: 0 } => offer(&|s| *s = Step::Reset { host: host.clone(), path: 1 }),
        Step::Slow { host, path, ms, segment, loss } => {
            let slow = |ms, segment, loss| Step::Slow { host: host.clone(), path: *path, ms, segment, loss };
            offer(&|s| *s = slow(*ms, 0, *loss));
            offer(&|s| *s = slow(*ms, *segment, 0));
            for less in halves(*ms, 0, 1) {
                offer(&|s| *s = slow(less, *segment, *loss));
            }
        }
        Step::FailController { controller: 1.. } => offer(&|s| *s = Step::FailController { controller: 0 }),
        Step::Arm { fault } => {
            if fault.nth > 1 {
                offer(&|s| {
                    if let Step::Arm { fault } = s {
                        fault.nth = 1;
                    }
                });
            }
            for simpler in simpler_action(fault.action) {
                offer(&|s| {
                    if let Step::Arm { fault } = s {
                        fault.action = simpler;
                    }
                });
            }
        }
        Step::Pair { act: PairAct::WriteRemote { at, length, .. }, .. } => {
            for less in halves(length.0, BLOCK, BLOCK) {
                offer(&|s| {
                    if let Step::Pair { act: PairAct::WriteRemote { length, .. }, .. } = s {
                        *length = Size(less);
                    }
                });
            }
            for less in halves(at.0, 0, BLOCK) {
                offer(&|s| {
                    if let Step::Pair { act: PairAct::WriteRemote { at, .. }, .. } = s {
                        *at = Size(less);
                    }
                });
            }
        }
        // The service goes and comes back, the array does not.
        Step::PowerLoss => offer(&|s| *s = Step::Restart { options: Default::default() }),
        _ => {}
    }
    all
}

/// The least, then half of the way to it, three quarters, ...: rounded down to `unit`, none equal to `value`.
fn halves(value: u64, least: u64, unit: u64) -> Vec<u64> {
    let mut all = Vec::new();
    let mut gap = value.saturating_sub(least);
    let mut last = value;
    while gap > 0 {
        let next = (value - gap) / unit * unit;
        if next < value && next != last && next >= least {
            all.push(next);
            last = next;
        }
        gap /= 2;
    }
    all
}

/// Kinds of faults that are easier to think about: a delay loses nothing, a failure says so, and an answer that is wrong in
/// some way of its own is the hardest.
fn simpler_action(action: FaultAction) -> Vec<FaultAction> {
    match action {
        FaultAction::Fail | FaultAction::DropReply => vec![FaultAction::Delay(1)],
        FaultAction::Delay(ms) => halves(ms, 1, 1).into_iter().map(FaultAction::Delay).collect(),
        FaultAction::TaskSetFull => vec![FaultAction::Delay(1), FaultAction::Fail, FaultAction::ScsiBusy],
        FaultAction::ReservationConflict | FaultAction::NotReady => {
            vec![FaultAction::Delay(1), FaultAction::ScsiBusy]
        }
        FaultAction::LunReset => vec![FaultAction::Delay(1), FaultAction::Fail, FaultAction::UnitAttention],
        FaultAction::Twice => vec![FaultAction::Delay(1)],
        _ => vec![FaultAction::Delay(1), FaultAction::Fail],
    }
}
