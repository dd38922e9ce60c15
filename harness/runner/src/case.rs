//! One case: a plan with its seed, and what came of it.

use std::collections::BTreeMap;

use sanbench_check::Ledger;
use sanbench_reports::{Case, Leftover};

use crate::plan::Plan;

/// A case to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseSpec {
    /// Unique in the run: `story/k`.
    pub id: String,
    /// The story's name.
    pub story: String,
    /// What is done.
    pub plan: Plan,
    /// Seed of every choice that the plan leaves open.
    pub seed: u64,
    /// Every verification reads whole volumes.
    pub scan: bool,
}

/// What came of a case.
#[derive(Debug, Clone, Default)]
pub struct CaseOutcome {
    /// Steps, verdict and findings.
    pub case: Case,
    /// What was compared, by requirement.
    pub ledger: Ledger,
    /// The history as JSON lines.
    pub history: String,
    /// How often each fault point was passed.
    pub points: BTreeMap<String, u64>,
    /// Faults that fired.
    pub faults: u64,
    /// What was met, counted by name: cells of the coverage grids and "sometimes" marks.
    pub marks: BTreeMap<String, u64>,
    /// Objects that the bench's own clean-up could not remove.
    pub leftovers: Vec<Leftover>,
    /// The array could not be reached or failed us.
    pub unreachable: Option<String>,
    /// The bench itself broke.
    pub broken: Option<String>,
    /// The plan in the story language.
    pub plan_text: String,
    /// Evidence for each requirement beyond the number of comparisons: names of cases and how they ended.
    pub evidence: BTreeMap<String, Vec<String>>,
    /// Requirements that cannot be judged here because the array does not claim what they are about, with the reason.
    pub not_applicable: BTreeMap<String, String>,
    /// What the reader must know.
    pub notes: Vec<String>,
}
