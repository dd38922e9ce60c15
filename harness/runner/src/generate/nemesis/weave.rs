//! Which kinds a run has, and how they come between the steps of a plan.

use std::collections::BTreeSet;

use super::super::{Profile, step_dice};
use super::{FaultKind, KINDS, SESSION_OVER};
use crate::plan::{PairAct, Plan, PlanStep, Step};
use crate::story::Name;

/// Sessions that may end without a rest between them: all of them may meet one call.
const MOST_SESSIONS_OVER: u32 = 2;

/// Kinds that leave what a story says of the two halves of a mirrored volume as it is: neither half loses anything under them,
/// and none is out of reach.
const OF_TWO_ARRAYS: &[&str] = &[
    "call-slow",
    SESSION_OVER,
    "message-twice",
    "database-busy",
    "job-slow",
    "command-slow",
    "service-restart",
];

/// The kinds of a run with their weights: with `swarm`, kinds are left out by chance.
pub(in super::super) fn drawn(
    plan: &Plan,
    seed: u64,
    profile: &Profile,
    swarm: bool,
) -> Vec<(&'static FaultKind, u64)> {
    if profile.is_quiet() {
        return Vec::new();
    }
    let mut mask = sanbench_world::dice(seed, "nemesis", "kinds");
    // What the nemesis drains would not be full for the plan.
    let fills = plan.steps.iter().any(|s| matches!(s.step, Step::Fill { .. }));
    KINDS
        .iter()
        .map(|kind| {
            let on = mask.chance(1, 2) || !swarm;
            let weight = 1 + mask.below(4);
            let fits = !plan.site.remote || OF_TWO_ARRAYS.contains(&kind.name);
            let fits = fits && !(fills && kind.name == "pool-full");
            let wanted = if fits { profile.kinds.get(kind.name).copied().unwrap_or(1) } else { 0 };
            (kind, if on { weight * wanted } else { 0 })
        })
        .filter(|(_, weight)| *weight > 0)
        .collect()
}

/// Puts faults between the steps of a plan, each drawn from dice of the step that it stands before, and what mends them
/// behind. With `swarm`, kinds are left out by chance. A plan that got any ends with `settle`.
pub fn weave(plan: &mut Plan, seed: u64, profile: &Profile, swarm: bool) {
    if profile.is_quiet() {
        return;
    }
    let kinds = drawn(plan, seed, profile, swarm);
    let mut open: Vec<(u64, Vec<Step>)> = Vec::new();
    let mut since_settle = 0;
    let mut sessions = 0;
    let mut disturbed = false;
    // Volumes with two halves, or without the mapping that they should have, and full pools: `settle` mends that, and what comes
    // next would mean something else.
    let mut odd: BTreeSet<&Name> = BTreeSet::new();
    let mut woven: Vec<PlanStep> = Vec::new();
    let steps = std::mem::take(&mut plan.steps);
    for (number, step) in (0u64..).zip(&steps) {
        let mut d = step_dice(seed, "nemesis", number);
        // What a plan arms itself is for its next step: nothing comes in between and uses it up, and nothing meets what is left
        // of it before the plan takes it away.
        let armed = number > 0 && matches!(steps[number as usize - 1].step, Step::Arm { .. });
        let glued = armed || matches!(step.step, Step::Disarm);
        let alone = step.lane.is_none() || number == 0 || steps[number as usize - 1].lane.is_none();
        if alone && !glued {
            for (_, ends) in open.extract_if(.., |(at, _)| *at <= number) {
                woven.extend(ends.into_iter().map(PlanStep::from));
            }
            if disturbed && since_settle > 5 && odd.is_empty() && d.chance(1, 6) {
                open.clear();
                woven.push(Step::Settle.into());
                (since_settle, sessions) = (0, 0);
            }
        }
        since_settle += 1;
        match &step.step {
            Step::Pair { act: PairAct::Mirror { .. }, volume } | Step::Revoke { volume, .. } => {
                odd.insert(volume);
            }
            Step::Pair { act: PairAct::Unmirror, volume } | Step::Detach { volume, .. } => {
                odd.remove(volume);
            }
            Step::Fill { pool, .. } => {
                odd.insert(pool);
            }
            Step::Drain { pool } => {
                odd.remove(pool);
            }
            _ => {}
        }
        // The first step has nothing yet that could be hit.
        for (outage, rate) in [(false, profile.faults), (true, profile.outages)] {
            if number == 0 || glued || !d.chance(rate, 100) {
                continue;
            }
            let fitting: Vec<(&FaultKind, u64)> =
                kinds.iter().filter(|(kind, _)| kind.is_outage() == outage).copied().collect();
            let total: u64 = fitting.iter().map(|(_, weight)| weight).sum();
            let mut at = d.below(total);
            let Some((kind, _)) = fitting.iter().find(|(_, weight)| {
                let here = at < *weight;
                at = at.saturating_sub(*weight);
                here
            }) else {
                continue;
            };
            // Within a group only faults that wait for their points, and cuts in a lane of their own.
            let begun = (kind.begin)(&mut d, plan, step);
            let groupable = begun
                .iter()
                .all(|s| matches!(s, Step::Arm { .. } | Step::FailController { .. }) || s.is_of_network());
            if begun.is_empty() || (!alone && !groupable) {
                continue;
            }
            if kind.name == SESSION_OVER {
                // A driver need not log in anew for one call for ever.
                sessions += 1;
                if sessions > MOST_SESSIONS_OVER {
                    continue;
                }
            }
            disturbed = true;
            let ends = (kind.end)(&begun);
            if !ends.is_empty() {
                open.push((number + 1 + d.below(4), ends));
            }
            let lane = (!alone).then(|| "n".parse().expect("a letter is a name"));
            woven.extend(begun.into_iter().map(|step| PlanStep { lane: lane.clone(), step }));
        }
        woven.push(step.clone());
    }
    if disturbed {
        woven.push(Step::Settle.into());
    }
    plan.steps = woven;
}
