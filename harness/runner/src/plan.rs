//! A plan: the story as data. The seed chooses contents and delays; the plan alone says what is done.

use serde::{Deserialize, Serialize};

use crate::story::Name;

mod fault;
mod pair;
mod site;
mod step;

pub use fault::{FaultAction, PlacedFault};
pub use pair::{Mirroring, PairAct, SecondaryAccess, SyncEnd};
pub use site::{Disks, ImageKind, Schedule, SitePlan, Tune};
pub use step::{Forged, MOST_LOSS, Refused, Repeated, Side, Source, Spoiled, Starved, Step, Way};

/// A whole story.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Plan {
    /// One sentence.
    pub title: String,
    /// Requirement ids that the story exercises, in the order named.
    pub requires: Vec<String>,
    /// The site it needs.
    pub site: SitePlan,
    /// What is done, in order.
    pub steps: Vec<PlanStep>,
}

/// A step and the lane that it belongs to.
///
/// Steps without a lane run alone, in order. Steps with lanes that follow each other form a *group*: those of one lane run
/// in order, lanes run side by side, and the next step without a lane waits for all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanStep {
    /// Its lane; `None` runs alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<Name>,
    /// What is done.
    #[serde(flatten)]
    pub step: Step,
}

impl From<Step> for PlanStep {
    fn from(step: Step) -> Self {
        Self { lane: None, step }
    }
}

impl std::ops::Deref for PlanStep {
    type Target = Step;
    fn deref(&self) -> &Step {
        &self.step
    }
}

impl Plan {
    /// Faults of the header, and those that steps arm.
    pub fn placed_faults(&self) -> impl Iterator<Item = &PlacedFault> {
        let armed = self.steps.iter().filter_map(|step| match &step.step {
            Step::Arm { fault } => Some(fault),
            _ => None,
        });
        self.site.faults.iter().chain(armed)
    }

    /// Index ranges of the groups: a step without a lane is one alone.
    pub fn groups(&self) -> Vec<std::ops::Range<usize>> {
        let mut groups: Vec<std::ops::Range<usize>> = Vec::new();
        let mut open = false;
        for (index, step) in self.steps.iter().enumerate() {
            match groups.last_mut() {
                Some(last) if open && step.lane.is_some() => last.end = index + 1,
                _ => groups.push(index..index + 1),
            }
            open = step.lane.is_some();
        }
        groups
    }
}
