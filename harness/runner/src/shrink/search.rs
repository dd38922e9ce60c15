//! Candidates in batches, each asked once, the first success taken.

use std::collections::BTreeSet;

use super::draft::Draft;
use super::pins::Pins;
use super::{Answers, Goal, Progress, Shrunk, sense};
use crate::plan::Plan;

/// A search for a simpler plan.
pub(super) struct Search<'a> {
    best: Draft,
    /// The simplest plan that was really played.
    proven: Draft,
    /// Step of the best plan that shows the failure, from 1; `None` when it shows after the last.
    hit: Option<usize>,
    goal: &'a Goal,
    width: usize,
    ask: &'a mut dyn FnMut(&[Plan]) -> Answers,
    told: &'a mut dyn FnMut(&Progress<'_>),
    /// Plans that were asked and do not show it.
    refuted: BTreeSet<String>,
    accepted: BTreeSet<usize>,
    pins: Pins,
    from: usize,
    runs: u64,
    stopped: bool,
    pass: &'static str,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        start: Draft,
        goal: &'a Goal,
        width: usize,
        ask: &'a mut dyn FnMut(&[Plan]) -> Answers,
        told: &'a mut dyn FnMut(&Progress<'_>),
    ) -> Self {
        let accepted = sense::accepted(&start);
        let hit = goal.step.and_then(|n| usize::try_from(n).ok());
        let from = start.items.len();
        Self {
            proven: start.clone(),
            pins: Pins::of(&start, goal, hit),
            best: start,
            hit,
            goal,
            width,
            ask,
            told,
            refuted: BTreeSet::new(),
            accepted,
            from,
            runs: 0,
            stopped: false,
            pass: "the plan as it is",
        }
    }

    /// Whether the start plan shows the failure.
    pub(super) fn confirm(&mut self) -> bool {
        let start = self.best.clone();
        self.batch(vec![start]).is_some()
    }

    /// The simplest plan so far.
    pub(super) fn best(&self) -> &Draft {
        &self.best
    }

    /// Index of the step that shows the failure.
    pub(super) fn hit(&self) -> usize {
        self.hit.map_or(self.best.items.len(), |n| n.min(self.best.items.len())).saturating_sub(1)
    }

    /// What is tried next, for the progress line.
    pub(super) fn pass(&mut self, name: &'static str) {
        self.pass = name;
    }

    pub(super) fn stopped(&self) -> bool {
        self.stopped
    }

    /// Asks the candidates in their order until one shows the failure; it is the best plan from then on. Answers its place
    /// in the order. Candidates are repaired first; those that change nothing or are known are passed over.
    pub(super) fn first(&mut self, candidates: impl IntoIterator<Item = Draft>) -> Option<usize> {
        let mut waiting: Vec<(usize, Draft)> = Vec::new();
        let mut candidates = candidates.into_iter().enumerate();
        loop {
            if self.stopped {
                return None;
            }
            let next = candidates.next();
            let last = next.is_none();
            if let Some((place, candidate)) = next {
                let candidate = sense::repair(candidate, &self.accepted);
                let fresh = candidate != self.best
                    && self.pins.hold(&candidate)
                    && candidate.items.len() <= self.best.items.len()
                    && !self.refuted.contains(&candidate.key())
                    && !waiting.iter().any(|(_, w)| *w == candidate);
                if fresh {
                    waiting.push((place, candidate));
                }
            }
            if waiting.len() == self.width || (last && !waiting.is_empty()) {
                let (places, drafts): (Vec<usize>, Vec<Draft>) =
                    std::mem::take(&mut waiting).into_iter().unzip();
                if let Some(index) = self.batch(drafts) {
                    return places.get(index).copied();
                }
            }
            if last {
                return None;
            }
        }
    }

    /// Asks one batch; the first that shows the failure becomes the best plan.
    fn batch(&mut self, drafts: Vec<Draft>) -> Option<usize> {
        let plans: Vec<Plan> = drafts.iter().map(Draft::plan).collect();
        let Some(answers) = (self.ask)(&plans) else {
            self.stopped = true;
            return None;
        };
        self.runs += plans.len() as u64;
        let mut found = None;
        for (index, ((draft, plan), seen)) in drafts.into_iter().zip(&plans).zip(&answers).enumerate() {
            let same = self.goal.among(seen, plan);
            match (same, found) {
                (Some(seen), None) => {
                    found = Some(index);
                    self.hit = seen.step.and_then(|n| usize::try_from(n).ok());
                    self.proven = draft;
                }
                // A guess that came too late: what it builds on is no longer the best.
                (Some(_), Some(_)) => {}
                (None, _) => {
                    self.refuted.insert(draft.key());
                }
            }
        }
        if found.is_some() {
            self.best = self.proven.clone();
            self.cut();
        }
        let best = self.best.plan();
        (self.told)(&Progress { from: self.from, best: &best, runs: self.runs, pass: self.pass });
        found
    }

    /// Nothing after the step that shows the failure, or after its group, was played: the plan ends there.
    fn cut(&mut self) {
        let groups = self.best.plan().groups();
        let end = groups.iter().find(|g| g.contains(&self.hit())).map_or(usize::MAX, |g| g.end);
        if self.hit.is_some() && end < self.best.items.len() {
            let shorter = self.best.without(|index, _| index >= end);
            let shorter = sense::repair(shorter, &self.accepted);
            if self.pins.hold(&shorter) {
                self.best = shorter;
            }
        }
    }

    /// The best plan, after it has been played as it stands.
    pub(super) fn done(mut self) -> Shrunk {
        let cut = self.best.clone();
        if cut != self.proven && (self.stopped || self.batch(vec![cut]).is_none()) {
            self.best = self.proven.clone();
        }
        Shrunk { plan: self.best.plan(), runs: self.runs, complete: !self.stopped }
    }
}
