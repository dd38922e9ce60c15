//! Operations that ran side by side: their answers must be those of some serial order.

use std::collections::{BTreeMap, BTreeSet};

use super::control::{Answer, ControlModel, Operation};
use super::world::World;
use crate::verdict::Finding;

/// Operations of one group that are judged together; of a larger group the rest is taken in the order of completion.
const MOST_OPERATIONS: usize = 20;

/// Worlds kept for one set of operations that are done.
const MOST_WORLDS: usize = 256;

/// An operation of a group with its place in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timed {
    /// What was asked.
    pub operation: Operation,
    /// How it was answered.
    pub answer: Answer,
    /// When it began, by a counter of beginnings and ends.
    pub begun: u64,
    /// When it ended, by the same counter.
    pub ended: u64,
}

impl ControlModel {
    /// Takes the operations of a group. They may have taken effect in any order in which none comes before one that had
    /// ended when it began. A group for which there is no such order is a finding (CON-001).
    pub fn complete_group(&mut self, mut operations: Vec<Timed>) -> Vec<Finding> {
        operations.sort_by_key(|o| o.ended);
        let rest = operations.split_off(operations.len().min(MOST_OPERATIONS));
        let mut findings = self.any_order(&operations);
        for timed in rest {
            findings.extend(self.complete(&timed.operation, timed.answer));
        }
        findings
    }

    fn any_order(&mut self, operations: &[Timed]) -> Vec<Finding> {
        // Worlds by the set of operations that have taken effect in them.
        let mut reached: BTreeMap<u32, BTreeSet<World>> =
            BTreeMap::from([(0, self.worlds.iter().cloned().collect())]);
        let all = (1u32 << operations.len()) - 1;
        let mut forbidden = None;
        // Every step adds a member, so the sets are met in ascending order.
        while let Some((done, worlds)) = reached.pop_first() {
            if done == all {
                self.settle(worlds.into_iter().collect());
                return Vec::new();
            }
            let open = |index: usize| done & (1 << index) == 0;
            let first_end =
                operations.iter().enumerate().filter(|(i, _)| open(*i)).map(|(_, o)| o.ended).min();
            for (index, timed) in operations.iter().enumerate().filter(|(i, _)| open(*i)) {
                // Somebody else had ended before this one began, and has not taken effect yet.
                if first_end.is_some_and(|end| end < timed.begun) {
                    continue;
                }
                let next = reached.entry(done | 1 << index).or_default();
                for world in &worlds {
                    if timed.answer == Answer::Done
                        && let Some(finding) = self.forbidden(world, &timed.operation)
                    {
                        forbidden.get_or_insert(finding);
                        continue;
                    }
                    next.extend(self.outcomes(world, &timed.operation, timed.answer));
                }
                if next.len() > MOST_WORLDS {
                    self.overflowed = true;
                    while next.len() > MOST_WORLDS {
                        next.pop_last();
                    }
                }
                if next.is_empty() {
                    reached.remove(&(done | 1 << index));
                }
            }
        }
        if self.overflowed {
            return Vec::new();
        }
        let first = forbidden.map_or_else(String::new, |f| format!(": {}", f.message));
        let finding = Finding::new("CON-001", "control", "group", "no order")
            .says(format!("no serial order explains the answers{first}"))
            .compared("the answers of some serial order", told(operations));
        // The model goes on as if they had taken effect in the order of their ends.
        for timed in operations {
            self.complete(&timed.operation, timed.answer);
        }
        vec![finding]
    }
}

fn told(operations: &[Timed]) -> String {
    let one = |o: &Timed| format!("{} {:?}", o.operation.word(), o.answer);
    operations.iter().map(one).collect::<Vec<_>>().join(", ")
}
