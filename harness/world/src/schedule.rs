//! Which of the ready tasks runs next.
//!
//! The runtime's queue is first come, first served. A policy explores other orders without touching it: a task whose turn
//! it is may have to stand behind everybody once more, a number of times that comes from a stream of its own. Virtual time
//! does not pass meanwhile, so the order is all that changes.

use crate::dice::{Dice, dice};

/// How the order of ready tasks is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Schedule {
    /// First come, first served.
    #[default]
    Fifo,
    /// Every turn may be passed on.
    Random,
    /// Priorities that seldom change (after *probabilistic concurrency testing*, Burckhardt et al. 2010): each task draws
    /// one when it begins; at a few moments of the run the task whose turn it is gets the lowest.
    Priorities,
}

/// Priorities that a task can draw; each costs so many turns.
const PRIORITIES: u64 = 4;
/// Turns that the lowest priority costs.
const LOWEST: u8 = 8;
/// Moments at which a priority changes.
const CHANGES: usize = 3;
/// Powers of two between which those moments are drawn. Generated plans take 1,200 to 21,000 turns, half of them fewer than 6,000
/// (300 seeds): no number of turns fits them all, so each power is as likely as the next.
const POWERS: (u64, u64) = (7, 16);

/// A policy at work.
#[derive(Debug)]
pub(crate) struct Scheduler {
    policy: Schedule,
    dice: Dice,
    turns: u64,
    changes: Vec<u64>,
    /// The turn at which a priority has changed, until somebody asks.
    changed: Option<u64>,
}

/// What a policy knows of one task.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// Turns that each wake costs; drawn at the first.
    cost: Option<u8>,
    /// Turns still to pass on before this one counts.
    left: Option<u8>,
}

impl Scheduler {
    /// Nothing for the policy that changes nothing.
    pub(crate) fn new(policy: Schedule, seed: u64) -> Option<Self> {
        if policy == Schedule::Fifo {
            return None;
        }
        let mut dice = dice(seed, "scheduler", "ready queue");
        let changes = (0..CHANGES).map(|_| moment(&mut dice)).collect();
        Some(Self { policy, dice, turns: 0, changes, changed: None })
    }

    /// The turn at which a priority has changed since this was asked the last time.
    pub(crate) fn changed(&mut self) -> Option<u64> {
        self.changed.take()
    }

    /// True if the task must stand behind the others once more.
    pub(crate) fn passes(&mut self, task: &mut Standing) -> bool {
        let left = match task.left {
            Some(left) => left,
            None => {
                self.turns += 1;
                match self.policy {
                    Schedule::Fifo => 0,
                    Schedule::Random => [0, 0, 0, 1, 1, 2][self.dice.below(6) as usize],
                    Schedule::Priorities => {
                        if self.changes.contains(&self.turns) {
                            task.cost = Some(LOWEST);
                            self.changed = Some(self.turns);
                        }
                        let dice = &mut self.dice;
                        *task.cost.get_or_insert_with(|| dice.below(PRIORITIES) as u8)
                    }
                }
            }
        };
        task.left = left.checked_sub(1);
        task.left.is_some()
    }
}

/// A turn, drawn evenly by its logarithm: a short run has its share of changes as well as a long one.
fn moment(dice: &mut Dice) -> u64 {
    let (from, until) = POWERS;
    let floor = 1 << (from + dice.below(until - from));
    floor + dice.below(floor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_costs_the_same_at_every_wake_and_a_turn_always_comes() {
        assert!(Scheduler::new(Schedule::Fifo, 1).is_none());
        for policy in [Schedule::Random, Schedule::Priorities] {
            let mut scheduler = Scheduler::new(policy, 1).unwrap();
            let mut task = Standing::default();
            let mut costs = std::collections::BTreeSet::new();
            for _ in 0..50 {
                let mut cost = 0;
                while scheduler.passes(&mut task) {
                    cost += 1;
                    assert!(cost <= LOWEST);
                }
                costs.insert(cost);
            }
            assert_eq!(costs.len() > 1, policy == Schedule::Random, "{policy:?}: {costs:?}");
        }
    }

    #[test]
    fn a_priority_changes_in_many_short_runs_and_in_most_long_ones() {
        let changes_within = |turns: u64| {
            let changes = |seed: u64| {
                let mut scheduler = Scheduler::new(Schedule::Priorities, seed).unwrap();
                let mut told = Vec::new();
                for turn in 1..=turns {
                    // A task of its own for each turn: only who has waited to its end begins another.
                    let mut task = Standing::default();
                    scheduler.passes(&mut task);
                    told.extend(scheduler.changed().inspect(|at| assert_eq!(*at, turn)));
                    if told.len() == CHANGES {
                        break;
                    }
                }
                assert_eq!(scheduler.changed(), None);
                told
            };
            (0..200).filter(|seed| !changes(*seed).is_empty()).count()
        };
        let [short, usual, long] = [500, 5_000, 50_000].map(changes_within);
        assert!(short > 80, "{short} of 200");
        assert!(usual > 170, "{usual} of 200");
        assert!(long > 195, "{long} of 200");
        assert_eq!(changes_within(500), short);
    }

    #[test]
    fn whoever_has_its_turn_when_a_priority_changes_has_the_lowest_from_then_on() {
        let mut scheduler = Scheduler::new(Schedule::Priorities, 3).unwrap();
        let mut task = Standing::default();
        let mut wake = || {
            let mut cost = 0;
            while scheduler.passes(&mut task) {
                cost += 1;
            }
            (cost, scheduler.changed())
        };
        let before =
            std::iter::from_fn(|| Some(wake())).take(1 << POWERS.1).find(|(_, changed)| changed.is_some());
        assert_eq!(before.map(|(cost, _)| cost), Some(LOWEST));
        assert_eq!(wake().0, LOWEST);
    }
}
