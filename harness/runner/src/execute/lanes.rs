//! Groups: the lanes of a plan side by side, on one task; at the end everything is looked at.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use sanbench_world::Dice;

use super::*;
use crate::judge::Running;
use crate::plan::PlanStep;

/// How one step of a group went.
#[derive(Debug)]
pub(crate) struct Played {
    /// Index in the group.
    pub(crate) index: usize,
    /// When it began and ended.
    pub(crate) time: (std::time::Duration, std::time::Duration),
    /// Faults that fired meanwhile.
    pub(crate) faults: Vec<String>,
    /// How it ended.
    pub(crate) end: StepEnd,
}

impl Player<'_> {
    /// Plays a group; `first` is the number of its first step. Answers its steps in the order of their ends, and what was
    /// found once all lanes had ended.
    pub(crate) async fn group(&self, steps: &[PlanStep], first: u32) -> (Vec<Played>, Option<StepEnd>) {
        let (before, begun) = (self.before(true), self.site.env().now());
        let of_lane =
            |step: &PlanStep| step.lane.clone().map(|lane| Running { lane, names: self.names(step) });
        let in_group = steps.iter().filter_map(of_lane).collect();
        {
            let mut judge = self.judge();
            judge.in_group = in_group;
            judge.listing = None;
            judge.group = Some(Vec::new());
            judge.running.clear();
        }
        let mut lanes: Vec<(&Name, Vec<(usize, &Step)>)> = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            let Some(lane) = &step.lane else { continue };
            match lanes.iter_mut().find(|(name, _)| *name == lane) {
                Some((_, steps)) => steps.push((index, &step.step)),
                None => lanes.push((lane, vec![(index, &step.step)])),
            }
        }
        let played = RefCell::new(Vec::with_capacity(steps.len()));
        let stop = Cell::new(false);
        let futures: Vec<Pin<Box<dyn Future<Output = ()> + '_>>> = lanes
            .iter()
            .map(|(lane, steps)| Box::pin(self.lane(lane, steps, first, &played, &stop)) as Pin<Box<_>>)
            .collect();
        side_by_side(futures, dice(self.seed, "lanes", &format!("group {first}"))).await;
        let operations = self.judge().group.take().unwrap_or_default();
        self.judge().extending.clear();
        let played = played.into_inner();
        if stop.get() {
            return (played, None);
        }
        let last = steps.last().map_or(&Step::Disarm, |s| &s.step);
        let waited =
            self.held_up(steps, &played, &before).or_else(|| self.impatient(last, begun, &before, true));
        if let Some(finding) = waited {
            return (played, Some(StepEnd::Findings(vec![finding])));
        }
        let findings = self.judge().control.complete_group(operations);
        if !findings.is_empty() {
            return (played, Some(StepEnd::Findings(findings)));
        }
        // What was read back beside changes is read again now that it is quiet.
        let touched: Vec<Name> = self.judge().volumes.keys().cloned().collect();
        let named = steps.iter().map(|s| self.names(s)).fold(Names::default(), |mut all, names| {
            all.volumes.extend(names.volumes);
            all
        });
        touched
            .iter()
            .filter(|n| named.volumes.contains(n))
            .for_each(|n| self.judge().expect(n, &["CON-001"]));
        let managed = steps.iter().any(|step| is_managed(step));
        // An upset that one lane made concerns what all read back.
        let looked = match last {
            Step::Verify { .. } | Step::Scan { .. } | Step::Depth { .. } | Step::Census => {
                self.look(&Step::Disarm, managed, &before).await
            }
            other => self.look(other, managed, &before).await,
        };
        (played, looked.err())
    }

    async fn lane(
        &self,
        lane: &Name,
        steps: &[(usize, &Step)],
        first: u32,
        played: &RefCell<Vec<Played>>,
        stop: &Cell<bool>,
    ) {
        let env = self.site.env();
        for (index, step) in steps {
            if stop.get() {
                return;
            }
            let number = u64::from(first) + *index as u64;
            let text = crate::story::print_step(step);
            env.note("step", || serde_json::json!({"n": number, "lane": lane.as_str(), "text": text}));
            let begun = env.now();
            let before = self.site.faults_fired();
            let end = self.beside(lane, step).await;
            let (status, note) = crate::run::told(&end);
            env.note("step", || {
                serde_json::json!({"n": number, "lane": lane.as_str(), "status": status.word(), "note": note})
            });
            if !end.goes_on() {
                stop.set(true);
            }
            let time = (begun, env.now());
            let faults = crate::run::fired(&before, &self.site.faults_fired());
            played.borrow_mut().push(Played { index: *index, time, faults, end });
        }
    }

    /// Whether an extend left a host out, and something that was done to the run excuses it.
    fn left_untold(&self, step: &Step, before: &Before) -> bool {
        let Step::Extend { volume, .. } = step else { return false };
        self.judge().untold.remove(volume) && self.excused(step, before).is_some()
    }

    /// Plays one step beside those of other lanes.
    async fn beside(&self, lane: &Name, step: &Step) -> StepEnd {
        let before = self.before(true);
        let names = self.names(step);
        let begun = self.site.env().now();
        let id = self.judge().run_begins(lane, names);
        let ended = self.act(step).await;
        let met = self.judge().met(id);
        match self.judged_end(step, ended, refused(step), &before, met) {
            StepEnd::Broken(message) if met.related => {
                self.judge().drifted = true;
                StepEnd::Skipped(message)
            }
            StepEnd::Done(_) if self.left_untold(step, &before) => {
                self.doubt(step);
                StepEnd::Tolerated("a host was not told of the new size".to_owned())
            }
            end @ (StepEnd::Done(_) | StepEnd::Refused(_)) => match self.stalled(step, begun) {
                Some(finding) if self.excused(step, &before).is_none() => StepEnd::Findings(vec![finding]),
                _ => end,
            },
            end => self.in_outage(end),
        }
    }
}

/// Polls all futures until each has ended. Which comes first is drawn anew for every turn.
async fn side_by_side(mut futures: Vec<Pin<Box<dyn Future<Output = ()> + '_>>>, mut dice: Dice) {
    poll_fn(|context| {
        let mut rest: Vec<_> = std::mem::take(&mut futures);
        while !rest.is_empty() {
            let mut future = rest.swap_remove(dice.below(rest.len() as u64) as usize);
            if future.as_mut().poll(context).is_pending() {
                futures.push(future);
            }
        }
        if futures.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
