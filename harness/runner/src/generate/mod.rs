//! Plans by chance: `generate(seed, profile)` is pure, and the plan that it gives is all that a run needs.
//!
//! Every run draws first what it leaves out (swarm testing: each kind of operation and of fault is off in half of the
//! runs), then weights, sizes, and a site with tiny limits; all of it stands in the plan. Every step has dice of its own,
//! keyed by (seed, who, step), so that taking one away leaves the others as they are.
//!
//! | module | what it is for |
//! |---|---|
//! | `options` | what one run is made of |
//! | `belief` | which volumes, snapshots and attachments there would be if every step went well |
//! | `rare`, `pairs`, `lineage`, `beside` | features that few runs have, in sequences of steps |
//! | `workload` | chooses operations that are legal by that belief, and some that must be refused |
//! | [`nemesis`] | the one table of fault kinds; faults between the steps of a plan |
//! | [`exhaustive`] | all short plans over a small alphabet, each with one fault at each place |

mod belief;
mod beside;
pub mod exhaustive;
mod lineage;
pub mod nemesis;
mod options;
mod pairs;
mod rare;
mod workload;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use sanbench_world::dice;
use serde::{Deserialize, Serialize};

use crate::plan::{Plan, PlanStep, Step};
use belief::Belief;
use options::Options;

/// How often what is broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Profile {
    /// Its name, for reports.
    pub name: String,
    /// Single faults for each hundred steps.
    pub faults: u64,
    /// Outages for each hundred steps; each is healed a few steps later.
    pub outages: u64,
    /// Weight of each kind, by its name; kinds that are not named weigh 1, and 0 leaves one out.
    pub kinds: BTreeMap<String, u64>,
    /// Weight of each operation of generated plans, by its name ([`OPERATIONS`]), as for `kinds`. `create`, `attach` and `write`
    /// cannot be left out; of what few runs have ([`RARITIES`]) only a weight of 0 counts.
    pub operations: BTreeMap<String, u64>,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            name: "default".into(),
            faults: 20,
            outages: 6,
            kinds: BTreeMap::new(),
            operations: BTreeMap::new(),
        }
    }
}

impl Profile {
    /// The built-in profiles, the mildest first.
    pub const NAMES: &[&str] = &["none", "light", "default", "heavy"];

    /// The built-in profile of that name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        let (faults, outages) = match name {
            "none" => (0, 0),
            "light" => (8, 2),
            "default" => (20, 6),
            "heavy" => (60, 15),
            _ => return None,
        };
        Some(Self { name: name.to_owned(), faults, outages, ..Self::default() })
    }

    /// The first kind that it names and that does not exist.
    #[must_use]
    pub fn unknown_kind(&self) -> Option<&str> {
        let unknown = |name: &&String| nemesis::KINDS.iter().all(|kind| kind.name != **name);
        self.kinds.keys().find(unknown).map(String::as_str)
    }

    /// The first operation that it names and that does not exist.
    #[must_use]
    pub fn unknown_operation(&self) -> Option<&str> {
        let known = |name: &&str| OPERATIONS.contains(name) || RARITIES.contains(name);
        self.operations.keys().map(String::as_str).find(|name| !known(name))
    }

    /// Nothing is broken.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.faults == 0 && self.outages == 0
    }
}

/// The words of all of a kind.
macro_rules! words {
    ($kind:ty) => {
        &{
            let mut names = [""; <$kind>::ALL.len()];
            let mut i = 0;
            while i < names.len() {
                names[i] = <$kind>::ALL[i].word();
                i += 1;
            }
            names
        }
    };
}

/// Names of the operations of generated plans.
pub const OPERATIONS: &[&str] = words!(workload::Kind);

/// Names of what few generated plans have.
pub const RARITIES: &[&str] = words!(rare::Rarity);

/// Name of the story whose plans are generated.
pub const SWARM: &str = "swarm";

/// Requirements that every generated plan puts to the test, whatever it leaves out.
pub const REQUIRES: &[&str] = &["CLU-001", "CLU-005", "CRE-001", "DAT-002", "DAT-003", "QTA-001"];

/// The plan of a seed.
#[must_use]
pub fn generate(seed: u64, profile: &Profile) -> Plan {
    let options = Options::draw(seed, profile);
    let mut plan = Plan {
        title: String::new(),
        requires: REQUIRES.iter().map(|id| (*id).to_owned()).collect(),
        site: options.site(),
        steps: Vec::new(),
    };
    let mut belief = Belief::new(&plan.site);
    let mut number = 0;
    while number < options.steps {
        let steps = workload::next(seed, number, &options, &mut belief);
        number += steps.len().max(1) as u64;
        plan.steps.extend(steps);
    }
    plan.title = options.title(profile, &nemesis::drawn(&plan, seed, profile, true));
    nemesis::weave(&mut plan, seed, profile, true);
    if options.lanes || !options.rarities.is_empty() || plan.steps.iter().any(|s| s.lane.is_some()) {
        plan.steps.push(PlanStep::from(Step::Settle));
    }
    plan
}

/// A story with faults between its steps.
#[must_use]
pub fn with_faults(story: &Plan, seed: u64, profile: &Profile) -> Plan {
    let mut plan = story.clone();
    nemesis::weave(&mut plan, seed, profile, false);
    plan
}

/// Dice of one step of one author.
fn step_dice(seed: u64, who: &str, step: u64) -> sanbench_world::Dice {
    dice(seed, who, &format!("step {step}"))
}
