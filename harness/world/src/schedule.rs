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
/// Turns among which those moments are drawn.
const TURNS: u64 = 20_000;

/// A policy at work.
#[derive(Debug)]
pub(crate) struct Scheduler {
    policy: Schedule,
    dice: Dice,
    turns: u64,
    changes: Vec<u64>,
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
        let changes = (0..CHANGES).map(|_| dice.below(TURNS)).collect();
        Some(Self { policy, dice, turns: 0, changes })
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
}
