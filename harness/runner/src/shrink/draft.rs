//! A plan whose steps remember which steps of the start plan they were.

use crate::plan::{Plan, PlanStep, SitePlan, Step};
use crate::story::{Name, print};

/// A step at work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    /// Index in the start plan.
    pub(super) origin: usize,
    /// The lane that it runs in.
    pub(super) lane: Option<Name>,
    /// What is done.
    pub(super) step: Step,
}

/// A plan at work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) title: String,
    pub(super) requires: Vec<String>,
    pub(super) site: SitePlan,
    pub(super) items: Vec<Item>,
}

impl Draft {
    pub(super) fn of(plan: &Plan) -> Self {
        let items = plan.steps.iter().enumerate();
        Self {
            title: plan.title.clone(),
            requires: plan.requires.clone(),
            site: plan.site.clone(),
            items: items
                .map(|(origin, s)| Item { origin, lane: s.lane.clone(), step: s.step.clone() })
                .collect(),
        }
    }

    pub(super) fn plan(&self) -> Plan {
        Plan {
            title: self.title.clone(),
            requires: self.requires.clone(),
            site: self.site.clone(),
            steps: self
                .items
                .iter()
                .map(|item| PlanStep { lane: item.lane.clone(), step: item.step.clone() })
                .collect(),
        }
    }

    /// Equal for plans that do the same.
    pub(super) fn key(&self) -> String {
        print(&self.plan())
    }

    /// Without the steps that the test names.
    pub(super) fn without(&self, drop: impl Fn(usize, &Item) -> bool) -> Self {
        let mut rest = self.clone();
        let mut index = 0;
        rest.items.retain(|item| {
            index += 1;
            !drop(index - 1, item)
        });
        rest
    }
}
