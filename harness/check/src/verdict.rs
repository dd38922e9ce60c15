//! Findings, and the rule that makes verdicts of them.

use std::collections::BTreeMap;

use serde::Serialize;

/// One thing that a checker found wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Id of the broken requirement, for example `CLN-002`.
    pub requirement: String,
    /// The checker that noticed.
    pub checker: &'static str,
    /// `checker:object role:first divergent field`. Equal for equal causes: it holds no id, number or name of a run, so
    /// that a shrinker may compare it.
    pub signature: String,
    /// The symptom in one sentence.
    pub message: String,
    /// What the model expects.
    pub expected: String,
    /// What was observed.
    pub observed: String,
}

impl Finding {
    /// A finding whose signature is `checker:role:field`.
    pub fn new(requirement: &str, checker: &'static str, role: &str, field: &str) -> Self {
        Self {
            requirement: requirement.to_owned(),
            checker,
            signature: format!("{checker}:{role}:{field}"),
            message: String::new(),
            expected: String::new(),
            observed: String::new(),
        }
    }

    /// Adds the sentence.
    #[must_use]
    pub fn says(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// Adds both sides of the comparison.
    #[must_use]
    pub fn compared(mut self, expected: impl ToString, observed: impl ToString) -> Self {
        self.expected = expected.to_string();
        self.observed = observed.to_string();
        self
    }
}

/// What became of a requirement. (`waived` and `not applicable` are decided by others.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// No checker compared anything.
    NotRun,
    /// Compared, and right.
    Passed,
    /// A checker could not decide.
    Unknown,
    /// Found wrong.
    Failed,
}

impl Verdict {
    /// The verdict of two parts together: the worse one. `NotRun` is neutral, since one of the parts did run.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        self.max(other)
    }
}

/// What the checkers did about one requirement.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Non-trivial comparisons made.
    pub compared: u64,
    /// Comparisons that could not be decided, and the first reason.
    pub undecided: u64,
    /// Why the first of them could not.
    pub reason: String,
    /// Findings.
    pub findings: u64,
}

impl Tally {
    /// Failed if anything was found, unknown if anything stayed undecided, passed if anything was compared.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            Self { findings: 1.., .. } => Verdict::Failed,
            Self { undecided: 1.., .. } => Verdict::Unknown,
            Self { compared: 1.., .. } => Verdict::Passed,
            _ => Verdict::NotRun,
        }
    }
}

/// Counts for each requirement what was compared, left undecided and found. A requirement passes only if a checker really
/// compared something for it.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    tallies: BTreeMap<String, Tally>,
    findings: Vec<Finding>,
}

impl Ledger {
    /// `count` non-trivial comparisons were made for the requirement.
    pub fn compared(&mut self, requirement: &str, count: u64) {
        if count > 0 {
            self.tally(requirement).compared += count;
        }
    }

    /// A comparison could not be decided.
    pub fn undecided(&mut self, requirement: &str, reason: &str) {
        let tally = self.tally(requirement);
        tally.undecided += 1;
        if tally.reason.is_empty() {
            reason.clone_into(&mut tally.reason);
        }
    }

    /// A checker found something.
    pub fn found(&mut self, finding: Finding) {
        self.tally(&finding.requirement).findings += 1;
        self.findings.push(finding);
    }

    /// A checker's whole answer about one requirement: its findings, or else one successful comparison.
    pub fn judged(&mut self, requirement: &str, findings: Vec<Finding>) {
        self.compared(requirement, 1);
        findings.into_iter().for_each(|finding| self.found(finding));
    }

    /// Adds what another ledger holds, for example that of a later case.
    pub fn absorb(&mut self, other: Self) {
        for (requirement, theirs) in other.tallies {
            let ours = self.tallies.entry(requirement).or_default();
            ours.compared += theirs.compared;
            ours.undecided += theirs.undecided;
            ours.findings += theirs.findings;
            if ours.reason.is_empty() {
                ours.reason = theirs.reason;
            }
        }
        self.findings.extend(other.findings);
    }

    /// The verdict on one requirement.
    #[must_use]
    pub fn verdict(&self, requirement: &str) -> Verdict {
        self.tallies.get(requirement).map_or(Verdict::NotRun, Tally::verdict)
    }

    /// Every requirement that was touched, in order of id.
    pub fn tallies(&self) -> impl Iterator<Item = (&str, &Tally)> {
        self.tallies.iter().map(|(id, tally)| (id.as_str(), tally))
    }

    /// Every finding, in order of noticing.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    fn tally(&mut self, requirement: &str) -> &mut Tally {
        if !self.tallies.contains_key(requirement) {
            self.tallies.insert(requirement.to_owned(), Tally::default());
        }
        self.tallies.entry(requirement.to_owned()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_wins_and_nothing_is_not_a_pass() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.verdict("A-1"), Verdict::NotRun);
        ledger.compared("A-1", 0);
        assert_eq!(ledger.verdict("A-1"), Verdict::NotRun, "an empty comparison is none");
        ledger.compared("A-1", 3);
        assert_eq!(ledger.verdict("A-1"), Verdict::Passed);
        ledger.undecided("A-1", "time-out");
        assert_eq!(ledger.verdict("A-1"), Verdict::Unknown);
        ledger.found(Finding::new("A-1", "test", "thing", "size"));
        assert_eq!(ledger.verdict("A-1"), Verdict::Failed);
        let mut other = Ledger::default();
        other.judged("A-2", Vec::new());
        ledger.absorb(other);
        assert_eq!((ledger.verdict("A-2"), ledger.findings().len()), (Verdict::Passed, 1));
        assert_eq!(Verdict::Passed.merge(Verdict::Unknown).merge(Verdict::NotRun), Verdict::Unknown);
    }
}
