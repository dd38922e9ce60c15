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
    /// The plan is a story as somebody wrote it: a fault of it that never fires is noted. Those that dice placed need not fire.
    pub directed: bool,
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

impl CaseOutcome {
    /// Puts a finding into ledger and report, with the step that showed it.
    pub fn find(&mut self, found: sanbench_check::Finding, step: Option<u32>) {
        self.case.findings.push(sanbench_reports::Finding {
            requirement: found.requirement.clone(),
            checker: found.checker.to_owned(),
            signature: found.signature.clone(),
            message: found.message.clone(),
            expected: found.expected.clone(),
            observed: found.observed.clone(),
            case: self.case.id.clone(),
            step,
            seed: self.case.seed,
            ..sanbench_reports::Finding::default()
        });
        self.ledger.found(found);
    }

    /// As [`CaseOutcome::find`], for what shows when all steps are over: the case fails by it.
    pub fn find_at_end(&mut self, found: sanbench_check::Finding) {
        self.case.verdict = sanbench_reports::Verdict::Failed;
        if self.case.findings.is_empty() {
            self.case.reason.clone_from(&found.message);
        }
        self.find(found, None);
    }
}
