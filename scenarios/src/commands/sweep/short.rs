//! `sanbench sweep exhaustive`: every short plan with one fault at each place where there can be one.

use std::collections::BTreeSet;

use sanbench_runner::CaseSpec;
use sanbench_runner::generate::exhaustive::{self, DEPTH, KINDS, Place};
use sanbench_world::dice;

use super::Outcomes;
use crate::cli::SweepArgs;
use crate::compose::{SimSetup, run_sim_case};
use crate::failure::Refusal;

/// The word for all short plans.
pub(super) const WORD: &str = "exhaustive";
/// Most places of one kind in one plan, against a fault that never ends.
const PLACES: u64 = 1000;
/// Operations of the longest plans.
const LONGEST: usize = 4;

/// What is played.
pub(super) enum Short {
    /// Each plan with each kind of fault is a task.
    All {
        /// Operations, if the user has said how many.
        depth: Option<u64>,
        /// The plans.
        plans: Vec<exhaustive::Short>,
    },
    /// One fault at one place of one plan.
    One(Place, exhaustive::Short),
}

impl Short {
    /// What the options ask for.
    pub(super) fn of(args: &SweepArgs) -> Result<Self, Refusal> {
        if args.seeds.is_some() || args.faults != "default" {
            return Err(Refusal::new("short plans have no seeds, and place their faults themselves")
                .hint("leave --seeds and --faults out"));
        }
        let Some(name) = &args.plan else {
            let depth = args.depth.and_then(|depth| usize::try_from(depth).ok()).unwrap_or(DEPTH);
            return Ok(Self::All { depth: args.depth, plans: exhaustive::plans(depth) });
        };
        let shown: String = name.chars().filter(|c| !c.is_control()).take(80).collect();
        let place: Place =
            name.parse().map_err(|e: String| Refusal::new(format!("--plan {shown}")).hint(e))?;
        let plan = (1..=LONGEST).find_map(|depth| exhaustive::plans(depth).into_iter().nth(place.plan));
        match plan {
            Some(plan) if plan.with_fault(place).is_some() => Ok(Self::One(place, plan)),
            Some(_) => {
                Err(Refusal::new(format!("--plan {shown}: plan {} has no such operation", place.plan)))
            }
            None => Err(Refusal::new(format!("--plan {shown}: no plan has this number"))),
        }
    }

    /// Numbers of the sweep: a plan and a kind of fault each.
    pub(super) fn tasks(&self) -> u64 {
        match self {
            Self::All { plans, .. } => plans.len() as u64 * KINDS.len() as u64,
            Self::One(..) => 1,
        }
    }

    /// What the command line has besides the word.
    pub(super) fn option(&self) -> String {
        match self {
            Self::All { depth: None, .. } => String::new(),
            Self::All { depth: Some(depth), .. } => format!(" --depth {depth}"),
            Self::One(place, _) => format!(" --plan {place}"),
        }
    }

    /// What breaks, for the head of the report.
    pub(super) fn faults(&self) -> String {
        match self {
            Self::All { plans, .. } => {
                let words: Vec<&str> = KINDS.iter().map(|kind| kind.word).collect();
                format!("one at each place of {} plans: {}", plans.len(), words.join(", "))
            }
            Self::One(place, _) => format!("one: {}", place.kind().word),
        }
    }

    /// The cases of one task: the fault at its first place, its second, and so on until there is none.
    pub(super) fn cases(&self, setup: &SimSetup, number: u64) -> Outcomes {
        let mut outcomes = Vec::new();
        let mut play = |place: Place, plan: &exhaustive::Short| {
            let Some(plan) = plan.with_fault(place) else { return false };
            let seed = dice(place.plan as u64, WORD, place.kind().word).u64();
            let id = format!("{WORD}/{place}");
            let spec = CaseSpec { id, story: WORD.into(), plan, seed, scan: false, directed: false };
            let (outcome, _) = run_sim_case(setup, &spec);
            let fired = outcome.faults > 0;
            outcomes.push((number, outcome));
            fired
        };
        match self {
            Self::One(place, plan) => {
                play(*place, plan);
            }
            Self::All { plans, .. } => {
                let kinds = KINDS.len() as u64;
                let (of, kind) = ((number / kinds) as usize, (number % kinds) as usize);
                let Some(plan) = plans.get(of) else { return outcomes };
                for operation in plan.operations(&KINDS[kind]) {
                    for nth in 1..=PLACES {
                        if !play(Place { plan: of, kind, operation, nth }, plan) {
                            break;
                        }
                    }
                }
            }
        }
        outcomes
    }
}

/// What every short plan exercises.
pub(super) fn required() -> BTreeSet<String> {
    ["CLU-001", "CLU-005", "CRE-001"].map(str::to_owned).into()
}

/// The line that plays one case again, by its id.
pub(super) fn replay(id: &str, defects: &[String]) -> String {
    let place = id.strip_prefix(WORD).and_then(|rest| rest.strip_prefix('/')).unwrap_or(id);
    let mut text = format!("sanbench sweep {WORD} --plan {place}");
    defects.iter().for_each(|defect| text += &format!(" --defect {defect}"));
    text
}
